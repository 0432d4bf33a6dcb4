//! Limits that are reached: a full disk under the audit log, a full list of holes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use guard_common::MAX_CHAIN;
use guard_lab::{
    Attempt, CONFIRMS, Daemon, Json as _, Network, Production, Shell, SmallDisk, Tested, V4,
};
use serde_json::Value;

use crate::signed::scene::SignedScene;

/// Leaves no room for another line, not even in the last page of the audit log.
fn fill(disk: &SmallDisk, trail: &Path) -> Tested {
    disk.fill()?;
    let line = "{\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"policy-load\"}\n";
    let mut trail = File::options().append(true).open(trail)?;
    loop {
        let whole = trail.metadata()?.len();
        if !trail
            .write(line.as_bytes())
            .is_ok_and(|written| written == line.len())
        {
            return Ok(trail.set_len(whole)?);
        }
    }
}

/// Production, and a guardd that has not begun, whose state is on a small file system.
fn small(name: &str, policy: &str) -> Tested<(Production, Daemon, SmallDisk)> {
    let (network, production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network).policy(name, policy);
    let daemon = daemon.prepare()?;
    let disk = SmallDisk::new(daemon.state_dir())?;
    Ok((production, daemon, disk))
}

fn trail(daemon: &Daemon) -> String {
    fs::read_to_string(daemon.audit()).unwrap()
}

fn failure(daemon: &Daemon, args: &[&str]) -> Value {
    let output = daemon.root(args).args(["--json"]).run().unwrap();
    assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
    serde_json::from_str::<Value>(&output.stderr).unwrap()["error"].clone()
}

#[test]
fn on_a_full_disk_nothing_is_decided_and_everything_enforced() -> Tested {
    let (production, mut daemon, disk) = small("asks", CONFIRMS)?;
    daemon.start()?;
    let mut shell = Shell::start(&daemon, "asks")?;
    let attempt = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&attempt)?);
    let open = daemon.json(["open", "192.0.2.77", "--all-ports"])?;
    fill(&disk, &daemon.audit())?;
    for args in [
        &["approve", "r1"][..],
        &["deny", "r1"],
        &["open", V4, "--all-ports"],
    ] {
        let failure = failure(&daemon, args);
        assert!(failure["what"].text()?.contains("not done"), "{failure}");
        assert!(failure["why"].text()?.contains("audit.jsonl"), "{failure}");
        assert!(failure["fix"].text()?.contains("make room"), "{failure}");
    }
    // Nothing of that was done: the request waits, and nothing new is open.
    assert_eq!(daemon.json(["pending"])?[0]["id"], "r1");
    let holes = daemon.json(["holes"])?;
    assert_eq!(holes.list()?.len(), 1, "{holes}");
    assert!(!shell.reaches(&attempt)?);
    assert!(production.reached_at(V4, 443)?.is_empty());
    // What narrows is done, and says that it is not on record.
    let closed = daemon.root(["close", open["id"].text()?]).run()?;
    assert_eq!(closed.code(), Some(0), "{closed:?}");
    let said = closed.stderr.contains("audit.jsonl");
    assert!(said || trail(&daemon).contains("hole-close"), "{closed:?}");
    assert_eq!(daemon.json(["holes"])?, Value::Array(Vec::new()));
    // So is what is guarded.
    fill(&disk, &daemon.audit())?;
    let run = daemon
        .agent(["run", "--policy", "asks", "--", "true"])
        .run()?;
    assert_eq!(run.code(), Some(0), "{run:?}");
    assert!(run.stderr.contains("not written down"), "{run:?}");
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true);
    assert!(
        status["warnings"][0].text()?.contains("audit.jsonl"),
        "{status}"
    );
    disk.empty()?;
    let hole = daemon.json(["approve", "r1"])?;
    assert_eq!(hole["session"], "s1");
    assert!(shell.reaches(&attempt)?);
    let trail = trail(&daemon);
    for line in trail.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(
        trail.contains("hole-open") && trail.contains("\"answer\":\"yes\""),
        "{trail}"
    );
    drop(shell);
    daemon.teardown()?;
    Ok(())
}

#[test]
fn on_a_full_disk_a_signed_yes_opens_nothing_and_counts_once_there_is_room() -> Tested {
    let (network, production) = Network::with_production()?;
    let (scene, disk) = SignedScene::on_small_disk(&network)?;
    let alice = scene.approver("alice", &[])?;
    let mut shell = scene.shell();
    let id = scene.request(&mut shell, 443);
    let signed = scene.yes(&alice, "alice", &id, &[])?;
    fill(&disk, &scene.daemon.audit())?;
    scene.refused(&signed, "audit.jsonl")?;
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(production.reached_at(V4, 443)?.is_empty());
    disk.empty()?;
    scene.taken(&signed)?;
    assert_eq!(scene.holes(), ["tcp/443"]);
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    assert_eq!(scene.log("answered").len(), 1);
    scene.refused(&signed, "no question that is open here")?;
    Ok(())
}

#[test]
fn a_daemon_starts_on_a_full_disk_and_goes_on_enforcing() -> Tested {
    let (_production, mut daemon, disk) = small("asks", CONFIRMS)?;
    daemon.start()?;
    let mut shell = Shell::start(&daemon, "asks")?;
    fill(&disk, &daemon.audit())?;
    daemon.kill()?;
    daemon.start()?;
    assert_eq!(daemon.json(["sessions"])?[0]["id"], "s1");
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    drop(shell);
    daemon.teardown()?;
    Ok(())
}

#[test]
fn a_daemon_begins_on_a_full_disk_and_says_so() -> Tested {
    let (_production, mut daemon, disk) = small("asks", CONFIRMS)?;
    disk.fill()?;
    daemon.start()?;
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true, "{status}");
    assert!(
        status["warnings"][0].text()?.contains("audit.jsonl"),
        "{status}"
    );
    let mut shell = Shell::start(&daemon, "asks")?;
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(shell.reaches(&Attempt::tcp("198.51.100.7", 443))?);
    drop(shell);
    daemon.teardown()?;
    Ok(())
}

#[test]
fn so_many_requests_wait_and_no_more() -> Tested {
    let (network, production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network).policy("asks", CONFIRMS);
    let daemon = daemon.config("max_requests = 3\n").start()?;
    let mut shell = Shell::start(&daemon, "asks")?;
    for last in 1..=5 {
        let attempt = Attempt::tcp(&format!("192.0.2.{last}"), 443);
        assert!(!shell.reaches(&attempt)?);
    }
    daemon.wait_for_log("too many requests")?;
    let pending = || daemon.list(["pending"]).unwrap().len();
    assert_eq!(pending(), 3);
    // An answer makes room.
    daemon.json(["deny", "r1"])?;
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    assert_eq!(pending(), 3);
    let reached = production.reached()?;
    assert!(
        reached
            .iter()
            .all(|one| one.kind == "packet" && one.port != Some(443)),
        "{reached:?}"
    );
    Ok(())
}

#[test]
fn sessions_nest_only_so_deep() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = Daemon::in_network(&network);
    let names: Vec<_> = (0..=MAX_CHAIN).map(|number| format!("p{number}")).collect();
    for name in &names {
        daemon = daemon.policy(name, CONFIRMS);
    }
    let daemon = daemon.start()?;
    let guard = daemon.program("guard")?;
    let nested = |depth: usize| {
        let inner = names[1..depth].iter().flat_map(|name| {
            let words = [guard.to_str().unwrap(), "run", "--policy", name, "--"];
            words.map(str::to_owned)
        });
        let run = daemon.agent(["run", "--policy", "p0", "--"]).args(inner);
        run.args(["true"]).run().unwrap()
    };
    assert_eq!(nested(MAX_CHAIN).code(), Some(0));
    let refused = nested(MAX_CHAIN + 1);
    assert_eq!(refused.code(), Some(125), "{refused:?}");
    assert!(refused.stderr.contains("nest no deeper"), "{refused:?}");
    Ok(())
}

#[test]
fn a_session_has_so_many_holes_and_no_more() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network)
        .policy("asks", CONFIRMS)
        .start()?;
    let mut shell = Shell::start(&daemon, "asks")?;
    for last in 1..=64 {
        daemon.json(["open", &format!("192.0.2.{}", 100 + last), "--all-ports"])?;
    }
    let failure = failure(&daemon, &["open", V4, "--all-ports"]);
    assert!(failure["why"].text()?.contains("64"), "{failure}");
    assert!(failure["fix"].text()?.contains("guard holes"), "{failure}");
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(shell.reaches(&Attempt::tcp("192.0.2.164", 443))?);
    daemon.ask(["close", "h1"])?.success()?;
    daemon.json(["open", V4, "--all-ports"])?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    Ok(())
}

const READS: &str = r#"
version = 1
name = "reads"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.10"]
action = "read-only"
"#;

#[test]
fn on_a_full_disk_no_write_passes_and_all_reads() -> Tested {
    let (production, mut daemon, disk) = small("reads", READS)?;
    daemon.start()?;
    let mut shell = Shell::start(&daemon, "reads")?;
    shell.tell("exec bash -c 'echo in bash; exec bash'")?;
    shell.line_with("in bash")?;
    let mut answer = |method: &str| {
        let line = format!(
            "exec 3<>/dev/tcp/192.0.2.10/80 && printf '{method} /a HTTP/1.1\\r\\nHost: x\\r\\n\
             Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' >&3 && timeout 30 cat <&3 | tr '\\r\\n' '  '; echo ' ended'"
        );
        shell.tell(&line).unwrap();
        shell.line_with("ended").unwrap()
    };
    assert!(answer("POST").contains(" 403 "));
    daemon.json(["approve", "r1", "--writes"])?;
    fill(&disk, &daemon.audit())?;
    let refused = answer("POST");
    assert!(refused.contains("cannot be written down"), "{refused}");
    assert!(answer("GET").contains(" 200 "));
    let posts = || {
        let reached = production.reached_at("192.0.2.10", 80).unwrap();
        let posts = reached.iter().filter(|one| one.record["method"] == "POST");
        posts.count()
    };
    assert_eq!(posts(), 0);
    disk.empty()?;
    assert!(answer("POST").contains(" 200 "));
    assert_eq!(posts(), 1);
    let trail = trail(&daemon);
    let mut lines = trail.lines();
    let passed = lines.find(|line| line.contains("\"passed\"") && line.contains("\"h1\""));
    assert!(passed.is_some(), "{trail}");
    Ok(())
}
