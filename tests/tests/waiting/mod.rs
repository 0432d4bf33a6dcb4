//! Connections that wait for a person: held in `connect`, and released, refused or given up.

mod burst;
mod ends;
mod scene;
mod soak;

use std::{thread, time::Duration};

use anyhow::Context as _;
use guard_lab::{AGENT, Attempt, Json as _, PATIENCE, Shell, Tested, V4, V6, eventually, patience};
use rustix::process::Signal;
use scene::{DENIED, HoldScene, ended, id, none_has_ended};
use serde_json::Value;

const KINDS: [&str; 3] = ["blocking", "polled", "asyncio"];

#[test]
fn a_connection_waits_and_goes_on_after_a_yes() -> Tested {
    let scene = HoldScene::new()?;
    assert!(
        Attempt::tcp(V4, 443)
            .outside(scene.network.dev(), guard_lab::AGENT)?
            .ok
    );
    let _watcher = scene.watcher()?;
    for (kind, to) in KINDS
        .into_iter()
        .flat_map(|kind| [V4, V6].map(|to| (kind, to)))
    {
        let before = scene.reached(to, 443)?;
        let mut shell = scene.shell()?;
        scene.begin(&mut shell, &format!("{kind} {to} 443"))?;
        let request = scene.held()?;
        assert_eq!(request["rule"], "production");
        assert_eq!(request["destination"]["address"], to);
        assert!(request["comm"].text()?.contains("python"), "{request}");
        assert!(request["waits_until"].is_string(), "{request}");
        // That nothing passes has no event.
        thread::sleep(Duration::from_millis(1300));
        assert_eq!(scene.reached(to, 443)?, before, "{kind} {to}");
        none_has_ended(&mut shell)?;
        scene.answer(&["approve", scene::id(&request)?])?;
        let ended = ended(&mut shell)?;
        assert!(ended.ok, "{kind} {to}: {ended:?}");
        assert!(scene.reached(to, 443)? > before);
    }
    // What went on was not refused.
    eventually("the sessions have ended", || {
        Ok(scene.daemon.logged("session-end")?.len() == 2 * KINDS.len())
    })?;
    for ended in scene.daemon.logged("session-end")? {
        assert_eq!(ended["denied"], 0, "{ended}");
    }
    Ok(())
}

/// An agent that is told that it was stopped says so, and looks for another way.
#[test]
fn what_waited_and_passed_is_told_inside_as_that() -> Tested {
    let (scene, watcher, mut shell) = HoldScene::watched()?;
    let guard = scene.daemon.program("guard")?;
    let guard = guard.display().to_string();
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    let request = scene.held()?;
    scene.answer(&["approve", scene::id(&request)?, "--connections", "1"])?;
    assert!(ended(&mut shell)?.ok);
    is_told_as_passed(&mut shell, &guard)?;
    scene.answer(&["close", "h1"])?;
    assert_eq!(why(&mut shell, &guard)?["outcome"]["ended"], "closed");
    // What is refused afterwards was stopped, and why the yes does not help any more is told.
    drop(watcher);
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    assert!(!ended(&mut shell)?.ok);
    let again = |shell: &mut Shell, ended: &str| -> Tested<Value> {
        let mut told = Value::Null;
        eventually("it is stopped", || {
            told = why(shell, &guard)?;
            Ok(told["outcome"]["again"] == true && told["outcome"]["ended"] == ended)
        })?;
        Ok(told["outcome"].clone())
    };
    assert_eq!(again(&mut shell, "closed")?["request"], "r1");
    // Where nobody asked, too.
    let once = format!("{V4}:443");
    scene.answer(&["open", &once, "--connections", "1"])?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    assert!(ended(&mut shell)?.ok);
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    assert!(!ended(&mut shell)?.ok);
    let used_up = again(&mut shell, "its connections are used up")?;
    assert_eq!(
        (&used_up["request"], &used_up["passed"]),
        (&Value::Null, &1.into())
    );
    Ok(())
}

/// What `guard why` tells inside of what was stopped first.
fn why(shell: &mut Shell, guard: &str) -> Tested<Value> {
    shell.tell(&format!("{guard} why --json | tr -d '\\n'; echo"))?;
    let report: Value = serde_json::from_str(shell.line_with("\"stopped\"")?.trim())?;
    Ok(report["stopped"][0].clone())
}

fn is_told_as_passed(shell: &mut Shell, guard: &str) -> Tested {
    let told = why(shell, guard)?;
    let outcome = &told["outcome"];
    assert_eq!(
        (&outcome["request"], &outcome["hole"]),
        (&"r1".into(), &"h1".into()),
        "{told}"
    );
    assert_eq!(
        (&outcome["waited"], &outcome["passed"]),
        (&true.into(), &1.into()),
        "{told}"
    );
    assert_eq!(
        (&outcome["by"], &outcome["ended"]),
        (&"root".into(), &Value::Null),
        "{told}"
    );
    shell.tell(&format!("{guard} why; echo end=why"))?;
    let mut said = String::new();
    while !said.contains("end=why") {
        said += &shell.line_with("")?;
    }
    assert!(
        said.contains("yes to r1 by root") && said.contains("1 connection, by h1"),
        "{said}"
    );
    assert!(
        said.contains("    asked ") && !said.contains("    stopped "),
        "{said}"
    );
    Ok(())
}

#[test]
fn an_ipv4_mapped_address_waits_for_the_same_answer() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, "blocking ::ffff:192.0.2.10 443")?;
    scene.begin(&mut shell, "blocking 192.0.2.10 443")?;
    let request = scene.held()?;
    assert_eq!(request["destination"]["address"], V4);
    assert_eq!(scene.pending()?.len(), 1);
    scene.answer(&["approve", scene::id(&request)?])?;
    assert!(ended(&mut shell)?.ok && ended(&mut shell)?.ok);
    Ok(())
}

#[test]
fn a_no_ends_it_at_once_and_the_next_does_not_wait() -> Tested {
    let scene = HoldScene::new()?;
    let _watcher = scene.watcher()?;
    for kind in KINDS {
        let mut shell = scene.shell()?;
        scene.begin(&mut shell, &format!("{kind} {V4} 443"))?;
        let request = scene.held()?;
        scene.answer(&["deny", scene::id(&request)?])?;
        let refused = ended(&mut shell)?;
        assert_eq!(refused.error, "ECONNABORTED", "{kind}: {refused:?}");
        // That is remembered, for that port.
        scene.begin(&mut shell, &format!("{kind} {V4} 443"))?;
        assert_eq!(ended(&mut shell)?.error, "EPERM", "{kind}");
        assert!(scene.pending()?.is_empty());
        scene.begin(&mut shell, &format!("{kind} {V4} 8080"))?;
        let other = scene.held()?;
        assert_eq!(other["destination"]["port"], 8080);
        scene.answer(&["deny", scene::id(&other)?])?;
        assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    }
    assert_eq!(scene.reached(V4, 443)?, 0);
    // What a person opens afterwards is open, and its end asks again.
    let mut shell = scene.shell()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.answer(&["deny", scene::id(&scene.held()?)?])?;
    assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    let session = shell.session().to_owned();
    let opened = scene
        .daemon
        .json(["open", V4, "--all-ports", "--session", &session])?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    assert!(ended(&mut shell)?.ok);
    scene.answer(&["close", scene::id(&opened)?])?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.answer(&["approve", scene::id(&scene.held()?)?])?;
    assert!(ended(&mut shell)?.ok);
    Ok(())
}

/// The kernel reports a destination that was refused just now no second time.
#[test]
fn what_waits_right_after_a_refusal_is_asked_about() -> Tested {
    let scene = HoldScene::new()?;
    let mut shell = scene.shell()?;
    // It tries for as long as it is refused, and waits once.
    let connect = format!("bash -c 'exec 3<>/dev/tcp/{V4}/443' 2>&1");
    let tries = format!("while {connect} | grep -q permitted; do :; done; echo ended");
    shell.tell(&format!("({tries}) &"))?;
    let refused = || -> Tested<_> { Ok(scene.pending()?.iter().any(|one| one["held"] == false)) };
    eventually("it is refused", refused)?;
    let _watcher = scene.watcher()?;
    scene.answer(&["approve", scene::id(&scene.held()?)?])?;
    shell.line_with("ended")?;
    Ok(())
}

#[test]
fn nothing_waits_where_nobody_is_there_to_answer() -> Tested {
    let scene = HoldScene::new()?;
    let mut shell = scene.shell()?;
    let at_once = |shell: &mut guard_lab::Shell, kind: &str| -> Tested {
        scene.begin(shell, &format!("{kind} {V4} 443"))?;
        let refused = ended(shell)?;
        assert_eq!(refused.error, "EPERM", "{kind}: {refused:?}");
        Ok(())
    };
    for kind in KINDS {
        at_once(&mut shell, kind)?;
    }
    assert_eq!(scene.pending()?[0]["held"], false);
    let watcher = scene.watcher()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    let request = scene.held()?;
    assert_eq!(
        scene.pending()?.len(),
        1,
        "it is the request that was there"
    );
    scene.answer(&["approve", scene::id(&request)?, "--connections", "1"])?;
    assert!(ended(&mut shell)?.ok);
    drop(watcher);
    eventually("nobody is there any more", || {
        scene.begin(&mut shell, &format!("blocking {V4} 8080"))?;
        let request = scene.pending()?;
        let held = request.iter().find(|one| one["held"] == true);
        if let Some(held) = held {
            scene.answer(&["deny", scene::id(held)?, "--for", "1s"])?;
        }
        Ok(ended(&mut shell)?.error == "EPERM" && held.is_none())
    })?;
    Ok(())
}

#[test]
fn a_session_may_ask_to_wait_or_not_to() -> Tested {
    let scene = HoldScene::new()?;
    let mut waits = scene.shell_with(&["--hold", "40s"])?;
    scene.begin(&mut waits, &format!("blocking {V4} 443"))?;
    let request = scene.held()?;
    scene.answer(&["approve", scene::id(&request)?])?;
    assert!(ended(&mut waits)?.ok);

    let _watcher = scene.watcher()?;
    let mut never = scene.shell_with(&["--hold", "0s"])?;
    scene.begin(&mut never, &format!("blocking {V4} 443"))?;
    assert_eq!(ended(&mut never)?.error, "EPERM");
    let too_long = scene
        .daemon
        .agent(["run", "--policy", "asks", "--hold", "301s", "--", "true"]);
    let too_long = too_long.run()?;
    assert_eq!(too_long.code(), Some(125));
    assert!(too_long.stderr.contains("--hold 5m"), "{too_long:?}");
    Ok(())
}

#[test]
fn what_cannot_wait_is_refused_at_once() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    for what in [
        format!("datagram {V4} 53"),
        format!("datagram {V6} 53"),
        format!("blocking {DENIED} 443"),
    ] {
        scene.begin(&mut shell, &what)?;
        assert_eq!(ended(&mut shell)?.error, "EPERM", "{what}");
    }
    let pending = scene.pending()?;
    assert!(
        pending.iter().all(|one| one["held"] == false),
        "{pending:?}"
    );
    assert_eq!(pending.len(), 2, "{pending:?}");
    Ok(())
}

#[test]
fn a_yes_for_one_lets_one_through_and_asks_about_the_others() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443 3"))?;
    let request = scene.held()?;
    scene.answer(&["approve", scene::id(&request)?, "--connections", "1"])?;
    assert!(ended(&mut shell)?.ok);
    let next = scene.held()?;
    assert_ne!(scene::id(&next)?, scene::id(&request)?);
    scene.answer(&["approve", scene::id(&next)?, "--connections", "1"])?;
    assert!(ended(&mut shell)?.ok);
    scene.answer(&["deny", scene::id(&scene.held()?)?])?;
    assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    Ok(())
}

#[test]
fn what_waited_is_cut_when_its_hole_ends() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    let long = Attempt::new("hold-open", V4, 443).timeout(patience(PATIENCE));
    shell.begin(&long)?;
    let request = scene.held()?;
    let hole = scene.daemon.json(["approve", scene::id(&request)?])?;
    shell.line_with("echo")?;
    scene.answer(&["close", scene::id(&hole)?])?;
    let report = shell.line_with("\"ok\"")?;
    assert!(report.contains("ECONNABORTED"), "{report}");
    Ok(())
}

#[test]
fn a_yes_for_reads_does_not_let_it_through() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    let request = scene.held()?;
    let yes = scene
        .daemon
        .ask(["approve", scene::id(&request)?, "--read-only"])?
        .success()?;
    for says in ["the connection that waited ends", "guard open 192.0.2.10"] {
        assert!(yes.stderr.contains(says), "{says}: {yes:?}");
    }
    // It can be redirected only when it begins, so it has to begin again.
    assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    assert_eq!(scene.reached(V4, 443)?, 0);
    Ok(())
}

#[test]
fn who_waited_in_vain_is_in_the_audit_log_and_the_report() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    let request = scene.held()?;
    scene.answer(&["deny", scene::id(&request)?])?;
    assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    let exe = request["exe"].as_str().context("no executable")?;
    for kind in ["held", "denied"] {
        let records = scene.daemon.logged(kind)?;
        assert_eq!(records[0]["exe"], exe, "{records:?}");
    }
    let report = scene.daemon.json(["report"])?;
    assert_eq!(report["stopped"][0]["programs"], serde_json::json!([exe]));
    Ok(())
}

#[test]
fn a_thousand_connections_are_one_request() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("many {V4} 443 1000"))?;
    let begun = shell.line_with("begun")?;
    assert!(begun.contains("1000"), "{begun}");
    let request = scene.held()?;
    // That there is no second one has no event.
    thread::sleep(patience(Duration::from_secs(1)));
    assert_eq!(scene.pending()?.len(), 1);
    assert_eq!(scene.reached(V4, 443)?, 0);
    scene.answer(&["approve", scene::id(&request)?])?;
    let line = shell.line_with("\"ok\"")?;
    assert!(line.contains("\"connected\": 1000"), "{line}");
    Ok(())
}

/// There is room for four times what waits of one session at most, and it may begin far more within the time that a scan takes.
#[test]
fn a_session_that_begins_thousands_is_refused_and_others_wait() -> Tested {
    /// At once, and a second: the kernel half's.
    const AT_ONCE: f64 = 4096.0;
    const A_SECOND: f64 = 128.0;
    const TRIES: u32 = 20_000;
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("crowd {V4} 443 {TRIES}"))?;
    let line = shell.line_with("\"ok\"")?;
    let told: Value = serde_json::from_str(line.trim())?;
    let number = |name: &str| told[name].as_f64().context("no number");
    // A machine that begins fewer in a second is refused nothing.
    let most = AT_ONCE + A_SECOND * number("seconds")? + 1.0;
    if told["ok"] == true {
        assert!(most > TRIES.into(), "{told}");
        return Ok(());
    }
    assert_eq!(told["error"], "EPERM", "{told}");
    assert!((AT_ONCE..=most).contains(&number("begun")?), "{told}");
    let mut other = scene.shell()?;
    scene.begin(&mut other, &format!("blocking {V4} 8080"))?;
    let mut request = Value::Null;
    eventually("the other session's waits", || {
        let pending = scene.pending()?.into_iter();
        let mut of_other = pending.filter(|one| one["destination"]["port"] == 8080);
        request = of_other.next().unwrap_or_default();
        Ok(request["held"] == true)
    })?;
    scene.answer(&["approve", id(&request)?])?;
    assert!(ended(&mut other)?.ok);
    Ok(())
}

#[test]
fn a_socket_that_waited_connects_elsewhere_as_any_other() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("again {V4} 443"))?;
    scene.answer(&["deny", scene::id(&scene.held()?)?])?;
    assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    assert!(ended(&mut shell)?.ok, "port 80 is allowed");
    assert!(scene.reached(V4, 80)? > 0);
    assert_eq!(scene.reached(V4, 443)?, 0);
    Ok(())
}

#[test]
fn many_ways_to_one_place_are_a_warning_sign() -> Tested {
    let scene = HoldScene::new()?;
    let mut shell = scene.shell()?;
    for what in [
        format!("blocking {V4} 443"),
        format!("blocking {V4} 8080"),
        format!("datagram {V4} 53"),
    ] {
        scene.begin(&mut shell, &what)?;
        assert_eq!(ended(&mut shell)?.error, "EPERM", "{what}");
    }
    let warned = |scene: &HoldScene| -> Tested<_> {
        let pending = scene.pending()?;
        Ok(pending
            .iter()
            .any(|one| one["warnings"] != serde_json::json!([])))
    };
    assert!(!warned(&scene)?);
    // The kernel tells of the same place once a second. With another program it is another way.
    eventually("it is a warning sign", || {
        assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
        warned(&scene)
    })?;
    let pending = scene.pending()?;
    let https = pending.iter().find(|one| one["destination"]["port"] == 443);
    let https = https.context("it is not asked about")?;
    assert_eq!(https["programs"].list()?.len(), 2);
    Ok(())
}

#[test]
fn a_program_that_was_exchanged_is_named_with_a_warning() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    // guardd comes to it later than the program becomes another one.
    scene.daemon.signal(Signal::STOP)?;
    let client = scene.client();
    shell.tell(&format!("sleep 60 | python3 {client} become {V4} 443 &"))?;
    shell.line_with("exchanged")?;
    scene.daemon.signal(Signal::CONT)?;
    let request = scene.held()?;
    // A name that any process may give itself is not what a request goes by.
    let comm = request["comm"].text()?;
    assert!(!comm.starts_with("python"), "{request}");
    let warning = request["warnings"][0].text()?;
    assert!(
        warning.starts_with("python") && warning.contains("exchanged") && warning.contains(comm),
        "{request}"
    );
    // Threads are no other program.
    scene.begin(&mut shell, &format!("asyncio {V4} 8080"))?;
    eventually("it waits", || Ok(scene.pending()?.len() == 2))?;
    assert_eq!(scene.pending()?[1]["warnings"], serde_json::json!([]));
    Ok(())
}

#[test]
fn who_is_late_is_told_who_answered() -> Tested {
    let scene = HoldScene::new()?;
    let mut shell = scene.shell()?;
    for (answer, how, port) in [("approve", "yes", 443), ("deny", "no", 8080)] {
        scene.begin(&mut shell, &format!("blocking {V4} {port}"))?;
        assert_eq!(ended(&mut shell)?.error, "EPERM");
        let request = scene.pending()?[0].clone();
        scene.answer(&[answer, scene::id(&request)?])?;
        for late in ["approve", "deny"] {
            let late = scene.daemon.root([late, scene::id(&request)?]).run()?;
            assert_eq!(late.code(), Some(2));
            let told = format!("root answered it with {how}");
            assert!(late.stderr.contains(&told), "{late:?}");
        }
        scene.answer(&["close", "--all"])?;
    }
    let nobodys = scene.daemon.user(65_000, ["approve", "r1"]).run()?;
    assert!(!nobodys.stderr.contains("answered it"), "{nobodys:?}");
    Ok(())
}

#[test]
fn a_socket_of_a_session_that_may_is_not_let_through_for_one_that_waits() -> Tested {
    let scene = HoldScene::new()?;
    let _watcher = scene.watcher()?;
    let mut may = scene.shell()?;
    let session = may.session().to_owned();
    scene.answer(&["open", V4, "--all-ports", "--session", &session])?;
    scene.begin(&mut may, &format!("blocking {V4} 443"))?;
    assert!(ended(&mut may)?.ok, "it may");
    let before = scene.reached(V4, 8080)?;
    let path = scene.daemon.open_place("passed")?.display().to_string();
    scene.begin(&mut may, &format!("giver {path} 0"))?;
    may.line_with("listens")?;
    // Else it would not be connected there.
    let allowed = format!("{}\n[unix]\nallow = [\"{path}\"]\n", scene::POLICY);
    let policy = scene.daemon.open_place("passed.toml")?;
    std::fs::write(&policy, allowed)?;
    let policy = policy.display().to_string();
    let run = scene.daemon.agent(["run", "--policy", &policy]);
    let mut waits = Shell::run_by(&scene.daemon, run)?;
    scene.begin(&mut waits, &format!("taker {path} 8080 1 3"))?;
    if scene.daemon.has_hook("file_receive")? {
        // Where security hooks judge, it is not even handed over.
        assert_eq!(ended(&mut waits)?.error, "nothing came with it");
        assert_eq!(scene.pending()?, [""; 0]);
        assert_eq!(scene.reached(V4, 8080)?, before);
        return Ok(());
    }
    let request = scene.held()?;
    assert_eq!(request["session"], waits.session());
    assert_eq!(ended(&mut waits)?.error, "timed out");
    assert_eq!(scene.reached(V4, 8080)?, before);
    Ok(())
}

#[test]
fn a_listener_that_still_answers_somebody_waits_as_any_other() -> Tested {
    let scene = HoldScene::new()?;
    const OTHER: &str = "192.0.2.11";
    let attempt = |to, seconds| Attempt::new("turn-late", to, 443).other(seconds);
    let without = attempt(V4, "1").outside(scene.network.dev(), AGENT)?;
    assert!(without.ok && scene.reached(V4, 443)? > 0, "{without:?}");
    let _watcher = scene.watcher()?;
    let mut shell = scene.shell()?;
    shell.begin(&attempt(OTHER, "6"))?;
    let request = scene.held()?;
    assert_eq!(request["destination"]["address"], OTHER);
    let sum = shell.line_with("{")?;
    let sum: serde_json::Value = serde_json::from_str(&sum)?;
    assert!(sum["tries"].as_u64() > Some(100), "{sum}");
    assert_eq!(sum["connected"], 0, "{sum}");
    assert_eq!(scene.reached(OTHER, 443)?, 0, "{sum}");
    Ok(())
}

#[test]
fn what_fails_before_it_waits_leaves_nothing_behind() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, &format!("nowhere {V4} 443"))?;
    assert!(ended(&mut shell)?.ok);
    eventually("nothing waits", || {
        Ok(scene.pending()?.iter().all(|one| one["held"] == false))
    })?;
    assert_eq!(scene.reached(V4, 443)?, 0);
    Ok(())
}

#[test]
fn what_is_inside_gives_itself_no_patience() -> Tested {
    let scene = HoldScene::new()?;
    let mut shell = scene.shell()?;
    let guard = scene.daemon.program("guard")?;
    let inner = scene.daemon.open_place("inner.toml")?;
    std::fs::write(&inner, scene::POLICY.replace("asks", "inner"))?;
    let (guard, client) = (guard.display(), scene.client());
    let narrow = scene.daemon.open_place("narrow.toml")?;
    std::fs::write(&narrow, scene::POLICY)?;
    let narrow = narrow.display();
    for hold in ["", "--hold 60s"] {
        shell.tell(&format!(
            "{guard} run {hold} --policy {narrow} -- python3 {client} blocking {V4} 443"
        ))?;
        assert_eq!(ended(&mut shell)?.error, "EPERM", "{hold}");
    }
    Ok(())
}

#[test]
fn more_than_there_are_requests_end_and_the_asked_ones_stay() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    scene.begin(&mut shell, "spread 2001:db8:7:%::10 443 80")?;
    eventually("as many are asked about as may be", || {
        Ok(scene.pending()?.len() == 64)
    })?;
    let ids = |scene: &HoldScene| -> Tested<Vec<String>> {
        let pending = scene.pending()?;
        let ids = pending.iter().map(|one| Ok(scene::id(one)?.to_owned()));
        ids.collect()
    };
    let first = ids(&scene)?;
    for _ in 0..16 {
        assert_eq!(ended(&mut shell)?.error, "ECONNABORTED");
    }
    // That none takes the place of another has no event.
    thread::sleep(patience(Duration::from_secs(2)));
    assert_eq!(ids(&scene)?, first, "they are the same requests still");
    scene.answer(&["approve", &first[0]])?;
    assert!(ended(&mut shell)?.ok);
    Ok(())
}

#[test]
fn a_no_to_a_session_holds_for_the_sessions_inside_it() -> Tested {
    let (scene, _watcher, mut shell) = HoldScene::watched()?;
    let guard = scene.daemon.program("guard")?;
    let inner = scene.daemon.open_place("inner.toml")?;
    std::fs::write(&inner, scene::POLICY.replace("asks", "inner"))?;
    let nested = |shell: &mut Shell| -> Tested {
        let (guard, client) = (guard.display(), scene.client());
        let run = format!(
            "{guard} run --policy {} -- python3 {client} blocking {V4} 443 &",
            inner.display()
        );
        shell.tell(&run)?;
        Ok(())
    };
    // Without a no, a request waits for an answer, which lets it go on.
    nested(&mut shell)?;
    scene.answer(&["approve", id(&scene.held()?)?, "--connections", "1"])?;
    assert!(ended(&mut shell)?.ok);
    scene.begin(&mut shell, &format!("blocking {V4} 443"))?;
    scene.answer(&["deny", id(&scene.held()?)?])?;
    assert!(!ended(&mut shell)?.ok);
    let reached = scene.reached(V4, 443)?;
    nested(&mut shell)?;
    let refused = ended(&mut shell)?;
    assert!(!refused.ok, "{refused:?}");
    assert!(scene.pending()?.is_empty(), "{:?}", scene.pending()?);
    assert_eq!(scene.reached(V4, 443)?, reached);
    Ok(())
}
