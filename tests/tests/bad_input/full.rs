//! Limits that are reached: a full disk under the audit log, a full list of holes.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use guard_common::MAX_CHAIN;
use guard_lab::{Attempt, Daemon, Network, Production, Shell};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

use crate::bad_input::{POLICY, V4};

/// A file system of little room. It is unmounted on drop.
struct Small(PathBuf);

impl Small {
    fn new(dir: PathBuf) -> Self {
        fs::create_dir_all(&dir).unwrap();
        let options = Some(c"size=256k,mode=0755");
        mount("guard-lab", &dir, "tmpfs", MountFlags::empty(), options).unwrap();
        Self(dir)
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Leaves no room for another line, not even in the last page of the audit log.
    fn fill(&self, trail: &Path) {
        let filler = File::options()
            .create(true)
            .append(true)
            .open(self.filler());
        let mut filler = filler.unwrap();
        while filler.write_all(&[0; 4096]).is_ok() {}
        let line = "{\"at\":\"2026-01-01T00:00:00Z\",\"kind\":\"policy-load\"}\n";
        let mut trail = File::options().append(true).open(trail).unwrap();
        loop {
            let whole = trail.metadata().unwrap().len();
            if !trail
                .write(line.as_bytes())
                .is_ok_and(|written| written == line.len())
            {
                return trail.set_len(whole).unwrap();
            }
        }
    }

    fn empty(&self) {
        fs::remove_file(self.filler()).unwrap();
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).unwrap();
    }
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
fn on_a_full_disk_nothing_is_decided_and_everything_enforced() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .prepare()
        .unwrap();
    let disk = Small::new(daemon.state_dir());
    daemon.start().unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    let attempt = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&attempt).unwrap());
    let open = daemon
        .root(["open", "192.0.2.77", "--all-ports"])
        .json()
        .unwrap();
    disk.fill(&daemon.audit());
    for args in [
        &["approve", "r1"][..],
        &["deny", "r1"],
        &["open", V4, "--all-ports"],
    ] {
        let failure = failure(&daemon, args);
        assert!(
            failure["what"].as_str().unwrap().contains("not done"),
            "{failure}"
        );
        assert!(
            failure["why"].as_str().unwrap().contains("audit.jsonl"),
            "{failure}"
        );
        assert!(
            failure["fix"].as_str().unwrap().contains("make room"),
            "{failure}"
        );
    }
    // Nothing of that was done: the request waits, and nothing new is open.
    assert_eq!(daemon.root(["pending"]).json().unwrap()[0]["id"], "r1");
    let holes = daemon.root(["holes"]).json().unwrap();
    assert_eq!(holes.as_array().unwrap().len(), 1, "{holes}");
    assert!(!shell.reaches(&attempt).unwrap());
    assert!(production.reached_at(V4, 443).unwrap().is_empty());
    // What narrows is done, and says that it is not on record.
    let closed = daemon
        .root(["close", open["id"].as_str().unwrap()])
        .run()
        .unwrap();
    assert_eq!(closed.code(), Some(0), "{closed:?}");
    let said = closed.stderr.contains("audit.jsonl");
    assert!(said || trail(&daemon).contains("hole-close"), "{closed:?}");
    assert_eq!(
        daemon.root(["holes"]).json().unwrap(),
        Value::Array(Vec::new())
    );
    // So is what is guarded.
    disk.fill(&daemon.audit());
    let run = daemon
        .agent(["run", "--policy", "asks", "--", "true"])
        .run()
        .unwrap();
    assert_eq!(run.code(), Some(0), "{run:?}");
    assert!(run.stderr.contains("not written down"), "{run:?}");
    let status = daemon.root(["status"]).json().unwrap();
    assert_eq!(status["enforcing"], true);
    assert!(
        status["warnings"][0]
            .as_str()
            .unwrap()
            .contains("audit.jsonl"),
        "{status}"
    );
    disk.empty();
    let hole = daemon.root(["approve", "r1"]).json().unwrap();
    assert_eq!(hole["session"], "s1");
    assert!(shell.reaches(&attempt).unwrap());
    let trail = trail(&daemon);
    for line in trail.lines() {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    }
    assert!(
        trail.contains("hole-open") && trail.contains("\"answer\":\"yes\""),
        "{trail}"
    );
    drop(shell);
    daemon.teardown().unwrap();
}

#[test]
fn a_daemon_starts_on_a_full_disk_and_goes_on_enforcing() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .prepare()
        .unwrap();
    let disk = Small::new(daemon.state_dir());
    daemon.start().unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    disk.fill(&daemon.audit());
    daemon.kill().unwrap();
    daemon.start().unwrap();
    assert_eq!(daemon.root(["sessions"]).json().unwrap()[0]["id"], "s1");
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    drop(shell);
    daemon.teardown().unwrap();
}

#[test]
fn a_daemon_begins_on_a_full_disk_and_says_so() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .prepare()
        .unwrap();
    let disk = Small::new(daemon.state_dir());
    disk.fill(&disk.filler());
    daemon.start().unwrap();
    let status = daemon.root(["status"]).json().unwrap();
    assert_eq!(status["enforcing"], true, "{status}");
    assert!(
        status["warnings"][0]
            .as_str()
            .unwrap()
            .contains("audit.jsonl"),
        "{status}"
    );
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert!(shell.reaches(&Attempt::tcp("198.51.100.7", 443)).unwrap());
    drop(shell);
    daemon.teardown().unwrap();
}

#[test]
fn so_many_requests_wait_and_no_more() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let daemon = Daemon::in_network(&network).policy("asks", POLICY);
    let daemon = daemon.config("max_requests = 3\n").start().unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    for last in 1..=5 {
        let attempt = Attempt::tcp(&format!("192.0.2.{last}"), 443);
        assert!(!shell.reaches(&attempt).unwrap());
    }
    daemon.wait_for_log("too many requests").unwrap();
    let pending = || {
        daemon
            .root(["pending"])
            .json()
            .unwrap()
            .as_array()
            .unwrap()
            .len()
    };
    assert_eq!(pending(), 3);
    // An answer makes room.
    daemon.root(["deny", "r1"]).json().unwrap();
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert_eq!(pending(), 3);
    let reached = production.reached().unwrap();
    assert!(
        reached
            .iter()
            .all(|one| one.kind == "packet" && one.port != Some(443)),
        "{reached:?}"
    );
}

#[test]
fn sessions_nest_only_so_deep() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network);
    let names: Vec<_> = (0..=MAX_CHAIN).map(|number| format!("p{number}")).collect();
    for name in &names {
        daemon = daemon.policy(name, &POLICY.replace("asks", name));
    }
    let daemon = daemon.start().unwrap();
    let guard = guard_lab::bins::for_everybody("guard", daemon.tag()).unwrap();
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
}

#[test]
fn a_session_has_so_many_holes_and_no_more() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .start()
        .unwrap();
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    for last in 1..=64 {
        daemon
            .root(["open", &format!("192.0.2.{}", 100 + last), "--all-ports"])
            .json()
            .unwrap();
    }
    let failure = failure(&daemon, &["open", V4, "--all-ports"]);
    assert!(failure["why"].as_str().unwrap().contains("64"), "{failure}");
    assert!(
        failure["fix"].as_str().unwrap().contains("guard holes"),
        "{failure}"
    );
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert!(shell.reaches(&Attempt::tcp("192.0.2.164", 443)).unwrap());
    daemon.ask(["close", "h1"]).unwrap().success().unwrap();
    daemon.root(["open", V4, "--all-ports"]).json().unwrap();
    assert!(shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
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
fn on_a_full_disk_no_write_passes_and_all_reads() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("reads", READS)
        .prepare()
        .unwrap();
    let disk = Small::new(daemon.state_dir());
    daemon.start().unwrap();
    let mut shell = Shell::start(&daemon, "reads").unwrap();
    shell
        .tell("exec bash -c 'echo in bash; exec bash'")
        .unwrap();
    shell.line_with("in bash").unwrap();
    let mut answer = |method: &str| {
        let line = format!(
            "exec 3<>/dev/tcp/192.0.2.10/80 && printf '{method} /a HTTP/1.1\\r\\nHost: x\\r\\n\
             Content-Length: 0\\r\\nConnection: close\\r\\n\\r\\n' >&3 && timeout 30 cat <&3 | tr '\\r\\n' '  '; echo ' ended'"
        );
        shell.tell(&line).unwrap();
        shell.line_with("ended").unwrap()
    };
    assert!(answer("POST").contains(" 403 "));
    daemon.root(["approve", "r1", "--writes"]).json().unwrap();
    disk.fill(&daemon.audit());
    let refused = answer("POST");
    assert!(refused.contains("cannot be written down"), "{refused}");
    assert!(answer("GET").contains(" 200 "));
    let posts = || {
        let reached = production.reached_at("192.0.2.10", 80).unwrap();
        let posts = reached.iter().filter(|one| one.record["method"] == "POST");
        posts.count()
    };
    assert_eq!(posts(), 0);
    disk.empty();
    assert!(answer("POST").contains(" 200 "));
    assert_eq!(posts(), 1);
    let trail = trail(&daemon);
    let mut lines = trail.lines();
    let passed = lines.find(|line| line.contains("\"passed\"") && line.contains("\"h1\""));
    assert!(passed.is_some(), "{trail}");
}
