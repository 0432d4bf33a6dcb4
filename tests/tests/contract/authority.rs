//! Who may answer for what.

use guard_lab::{Json as _, STRANGER, Tested};
use serde_json::json;

use super::{Lab, V4, id, say};

#[test]
fn nobody_sees_or_answers_for_another_users_sessions() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    lab.daemon.json(["open", "192.0.2.11", "--all-ports"])?;
    let stranger = |args: &[&str]| lab.daemon.user(STRANGER, args).run().unwrap();
    for list in ["sessions", "pending", "holes"] {
        let output = stranger(&[list, "--json"]).success()?;
        assert_eq!(output.json()?, json!([]), "{list}");
    }
    assert_eq!(stranger(&["log", "--json"]).success()?.stdout, "");
    for args in [
        &["approve", id(&request)][..],
        &["deny", id(&request)],
        &["close", "h1"],
        &["stop", "s1"],
        &["open", V4, "--all-ports", "--session", "s1"],
        &["explain", V4, "--session", "s1"],
    ] {
        assert_eq!(stranger(args).code(), Some(2), "{args:?}");
    }
    assert_eq!(stranger(&["close", "--all"]).code(), Some(0));
    // All of it is still there, for root and for its owner.
    for list in ["sessions", "pending", "holes"] {
        assert_eq!(lab.daemon.list([list])?.len(), 1, "{list}");
        let own = lab.agent(&[list, "--json"])?.json()?;
        assert_eq!(own.list()?.len(), 1, "{list}");
    }
    Ok(())
}

#[test]
fn owners_answer_for_their_own() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let own = |args: &[&str]| lab.daemon.agent(args).json().unwrap();
    let hole = own(&["approve", id(&request)]);
    let uid = guard_lab::AGENT.to_string();
    assert_eq!(hole["opened_by"], uid.as_str());
    own(&["close", id(&hole)]);
    own(&["open", V4, "--all-ports"]);
    let records = lab.agent(&["log", "--json"])?.json_lines()?;
    assert!(records.iter().any(|one| one["kind"] == "hole-open"));
    own(&["stop", "s1"]);
    Ok(())
}

#[test]
fn inside_nothing_is_answered_whoever_asks_and_however() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    let guard = lab.guard()?;
    let request = id(&request);
    let verbs = [
        format!("approve {request}"),
        format!("deny {request}"),
        format!("open {V4} --all-ports"),
        "close --all".into(),
        "stop s1".into(),
        "pending".into(),
        "holes".into(),
        "sessions".into(),
        "log".into(),
        "status".into(),
        format!("explain {V4} --session s1"),
    ];
    for verb in &verbs {
        let said = say(&mut shell, &format!("{guard} {verb}"))?;
        assert_eq!(said.status, 2, "{verb}: {said:?}");
        let said = say(&mut shell, &format!("GUARD_SESSION= {guard} {verb} --json"))?;
        assert!(said.text.contains("\"error\""), "{verb}: {said:?}");
    }
    // Nor by a grandchild that has left its parents, its session and its environment.
    let file = lab.daemon.dir().join("answer");
    let orphan = format!(
        "env -i {guard} --socket {} approve {request}; echo \"status $?\"",
        lab.daemon.socket().display()
    );
    let shown = file.display();
    std::fs::write(&file, "")?;
    let all = std::os::unix::fs::PermissionsExt::from_mode(0o666);
    std::fs::set_permissions(&file, all)?;
    let fork = format!("(setsid sh -c '(sleep 0.3; {orphan}) > {shown} 2>&1 &' &)");
    say(&mut shell, &fork)?;
    let text = loop {
        let text = std::fs::read_to_string(&file)?;
        if text.contains("status") {
            break text;
        }
    };
    assert!(text.contains("status 2"), "{text}");
    assert_eq!(lab.daemon.json(["pending"])?[0]["id"], request);
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    Ok(())
}

#[test]
fn inside_nothing_is_answered_for_another_uid_either() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    // Root puts a process of its own, and of another user, into the session's cgroup.
    let procs = lab.daemon.cgroup_root().join("s1/cgroup.procs");
    for uid in [0, STRANGER] {
        let script = format!(
            "echo $$ > {}; exec setpriv --reuid={uid} --regid={uid} --clear-groups \
             {} --socket {} approve {}",
            procs.display(),
            lab.guard()?,
            lab.daemon.socket().display(),
            id(&request)
        );
        let mut shell = lab.daemon.on_machine(0, "sh");
        let output = shell.args(["-c", &script]).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains("no process under the guard"), "{text}");
    }
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    Ok(())
}

#[test]
fn a_forged_session_variable_changes_nothing() -> Tested {
    let lab = Lab::new()?;
    let _shell = lab.shell()?;
    let outside = lab.daemon.agent(["why"]).env("GUARD_SESSION", "s1");
    assert_eq!(outside.run()?.code(), Some(2));
    let lists = lab.daemon.agent(["sessions"]).env("GUARD_SESSION", "s1");
    assert_eq!(lists.json()?[0]["id"], "s1");
    let run = [
        "run",
        "--policy",
        "asks",
        "--",
        "sh",
        "-c",
        "echo $GUARD_SESSION",
    ];
    let nested = lab.daemon.agent(run).env("GUARD_SESSION", "s1").run()?;
    assert_eq!(nested.stdout, "s2\n");
    Ok(())
}
