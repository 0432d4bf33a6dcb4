//! Two daemons, a daemon in the wrong place, and what outlives one.

use std::fs;

use guard_lab::{AGENT, Daemon, Network, Tested, V4, eventually, exec};

use serde_json::Value;

use crate::control::{daemon, inside, shell};

#[test]
fn a_second_daemon_on_the_same_directories_says_so() -> Tested {
    let daemon = Daemon::on_this_machine().start()?;
    let second = exec::output(&mut daemon.guardd()?)?;
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(2), "{said}");
    assert!(said.contains("another guardd"), "{said}");
    assert!(daemon.socket().exists());
    let down = exec::output(daemon.guardd()?.arg("teardown"))?;
    assert_eq!(down.status.code(), Some(2));
    Ok(())
}

#[test]
fn a_daemon_does_not_judge_itself() -> Tested {
    let daemon = Daemon::on_this_machine().prepare()?;
    let root = daemon.cgroup_root();
    fs::create_dir_all(root)?;
    let guardd = daemon.guardd()?;
    let command = format!(
        "echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"",
        root.display()
    );
    let mut inside = std::process::Command::new("sh");
    inside
        .arg("-c")
        .arg(command)
        .arg(guardd.get_program())
        .args(guardd.get_args());
    let output = exec::output(&mut inside)?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("inside a guarded cgroup"), "{said}");
    Ok(())
}

#[test]
fn names_requests_and_owners_outlive_the_daemon() -> Tested {
    let network = Network::new()?;
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon, AGENT);
    let asked = inside(
        &daemon,
        &mut shell,
        &format!("request {V4}:443 --reason photos"),
    );
    assert!(asked.contains("code="), "{asked}");
    daemon
        .user(
            AGENT,
            ["open", "192.0.2.20", "--all-ports", "--reason", "a look"],
        )
        .json()?;
    let before = known(&daemon);
    daemon.kill()?;
    daemon.start()?;
    assert_eq!(known(&daemon), before);
    assert!(before.contains(&Value::from("a look")), "{before:?}");
    assert!(before.contains(&Value::from("photos")), "{before:?}");
    daemon.user(AGENT, ["close", "h1"]).json()?;
    let log = fs::read_to_string(daemon.audit())?;
    assert!(log.contains("\"start\":\"adopted\""), "{log}");
    Ok(())
}

/// What only the daemon knows of its one session, hole and request: times come from two clocks, and
/// differ by nanoseconds from one look to the next.
fn known(daemon: &Daemon) -> Vec<Value> {
    let fields = [
        (
            "sessions",
            &[
                "id",
                "name",
                "uid",
                "pid",
                "command",
                "policy",
                "started_at",
            ][..],
        ),
        (
            "holes",
            &[
                "id",
                "session",
                "destination",
                "opened_by",
                "reason",
                "opened_at",
            ],
        ),
        (
            "pending",
            &[
                "id", "session", "comm", "rule", "reason", "note", "asked_at",
            ],
        ),
    ];
    let told = fields.iter().flat_map(|(list, names)| {
        let all = daemon.json([list]).unwrap();
        names.iter().map(move |name| all[0][name].clone())
    });
    told.collect()
}

#[test]
fn a_daemon_that_was_told_to_stop_leaves_everything_in_force() -> Tested {
    let network = Network::new()?;
    let mut daemon = daemon(&network);
    let _shell = shell(&daemon, AGENT);
    assert!(daemon.stop()?.success());
    assert!(!daemon.socket().exists());
    assert!(daemon.pin_dir().exists());
    let log = fs::read_to_string(daemon.audit())?;
    assert!(
        log.trim_end()
            .lines()
            .last()
            .unwrap()
            .contains("daemon-stop")
    );
    daemon.start()?;
    let sessions = daemon.json(["sessions"])?;
    assert_eq!(sessions[0]["id"], "s1");
    assert_eq!(sessions[0]["uid"], AGENT);
    Ok(())
}

#[test]
fn a_session_ends_with_its_last_process_and_is_written_down() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let mut shell = shell(&daemon, AGENT);
    shell.write("exit\n")?;
    shell.wait()?;
    eventually("the end of the session is noticed", || {
        let log = fs::read_to_string(daemon.audit())?;
        Ok(log.contains("session-end"))
    })?;
    let sessions = daemon.json(["sessions"])?;
    assert_eq!(sessions, serde_json::json!([]));
    Ok(())
}
