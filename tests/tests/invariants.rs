//! What must always hold, a test for each.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use guard_datapath::{Datapath, Object, Places, TlsBy};
use guard_lab::{Attempt, Daemon, Network, OPEN, Production, Shell, V4, bins, eventually};
use rustix::process::Signal;
use serde_json::Value;

const POLICY: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
"#;

fn daemon(network: &Network) -> Daemon {
    Daemon::in_network(network)
        .policy("asks", POLICY)
        .start()
        .unwrap()
}

fn shell(daemon: &Daemon) -> Shell {
    Shell::start(daemon, "asks").unwrap()
}

fn places(daemon: &Daemon) -> Places {
    Places {
        pin_dir: daemon.pin_dir().to_owned(),
        cgroup_root: daemon.cgroup_root().to_owned(),
    }
}

fn pin(daemon: &Daemon, name: &str) -> std::path::PathBuf {
    daemon.pin_dir().join("live").join(name)
}

#[test]
fn the_pinned_kernel_state_is_the_truth() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon);
    daemon.root(["open", V4, "--all-ports"]).json().unwrap();
    daemon.kill().unwrap();
    assert!(shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    // Whatever the daemon wrote down for itself is gone; the kernel knows.
    remove_metadata(&daemon.state_dir());
    daemon.start().unwrap();
    let sessions = daemon.root(["sessions"]).json().unwrap();
    assert_eq!(sessions[0]["id"], "s1");
    let holes = daemon.root(["holes"]).json().unwrap();
    assert_eq!(holes[0]["destination"], "192.0.2.10/32");
    // Ids are not used twice.
    let next = daemon
        .root(["open", "192.0.2.11", "--all-ports"])
        .json()
        .unwrap();
    assert_eq!(next["id"], "h2");
}

/// All but the audit log, which is not state.
fn remove_metadata(state: &Path) {
    for entry in fs::read_dir(state).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            fs::remove_dir_all(path).unwrap();
        } else if path.extension().is_some_and(|ending| ending == "json") {
            fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn a_hole_ends_by_the_kernels_own_clock() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon);
    let attempt = Attempt::tcp(V4, 443);
    daemon
        .root(["open", V4, "--all-ports", "--for", "10s"])
        .json()
        .unwrap();
    daemon.kill().unwrap();
    assert!(shell.reaches(&attempt).unwrap());
    // Nobody is left who would say that it has ended.
    thread::sleep(Duration::from_secs(10));
    let before = production.reached_at(V4, 443).unwrap().len();
    assert!(!shell.reaches(&attempt).unwrap());
    assert_eq!(production.reached_at(V4, 443).unwrap().len(), before);
}

#[test]
fn doubt_is_denial() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon);
    let attempt = Attempt::tcp(OPEN, 443);
    assert!(shell.reaches(&attempt).unwrap());
    daemon.kill().unwrap();
    let (mut datapath, _) =
        Datapath::start(&places(&daemon), &Object::built_in(), TlsBy::Proxy).unwrap();
    for slot in datapath.policy_slots().unwrap() {
        datapath.remove_policy(slot).unwrap();
    }
    assert!(!shell.reaches(&attempt).unwrap());
}

#[test]
fn an_address_has_one_canonical_form() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let explain = |to: &str| {
        let answer = daemon
            .root(["explain", to, "--policy", "asks"])
            .json()
            .unwrap();
        (answer["verdict"].clone(), answer["rule"].clone())
    };
    assert_eq!(explain(V4), explain("::ffff:192.0.2.10"));
    assert_eq!(explain(V4).0, "confirm");
    let mut shell = shell(&daemon);
    assert!(!shell.reaches(&Attempt::new("mapped", V4, 443)).unwrap());
}

#[test]
fn a_policy_is_applied_whole_or_not_at_all() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let daemon = daemon(&network);
    let mut shell = shell(&daemon);
    let bad = POLICY.replace("\"confirm\"", "\"allow\"") + "\n[[rule]]\nto = [\"192.0.2.0/24x\"]\n";
    daemon.write_policy("asks", &bad).unwrap();
    daemon.signal(Signal::HUP).unwrap();
    let status = wait_for_policy(&daemon, |policy| !policy["error"].is_null());
    assert!(status["error"].as_str().unwrap().contains("192.0.2.0/24x"));
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    let good = POLICY.replace("\"confirm\"", "\"allow\"");
    daemon.write_policy("asks", &good).unwrap();
    daemon.signal(Signal::HUP).unwrap();
    wait_for_policy(&daemon, |policy| policy["error"].is_null());
    assert!(shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
}

fn wait_for_policy(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) -> Value {
    let mut found = None;
    eventually("the policy is so", || {
        let status = daemon.root(["status"]).json().unwrap();
        let mut policies = status["policies"].as_array().unwrap().clone().into_iter();
        found = policies.find(|policy| policy["name"] == "asks" && wanted(policy));
        found.is_some()
    })
    .unwrap();
    found.unwrap()
}

#[test]
fn no_step_of_an_update_lets_through_what_neither_policy_allows() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let daemon = daemon(&network);
    let mut shell = shell(&daemon);
    // The two versions share no rule but the one that both have about production.
    let other = format!(
        "{POLICY}\n[[rule]]\nname = \"more\"\nto = [\"198.51.100.0/24\"]\nports = [\"tcp/1-80\"]\naction = \"deny\"\n"
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for text in [&other, POLICY].iter().cycle().take(40) {
                daemon.write_policy("asks", text).unwrap();
                daemon.signal(Signal::HUP).unwrap();
                thread::sleep(Duration::from_millis(50));
            }
            done.store(true, Ordering::Relaxed);
        });
        while !done.load(Ordering::Relaxed) {
            let attempt = Attempt::new("loop", V4, 443).other("500");
            assert!(!shell.reaches(&attempt).unwrap());
        }
    });
    assert!(production.reached_at(V4, 443).unwrap().is_empty());
    // What both allow was allowed, so that this is not the silence of a broken policy.
    assert!(shell.reaches(&Attempt::tcp(OPEN, 443)).unwrap());
}

#[test]
fn nothing_inside_can_widen_what_it_may_reach() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .policy("open", "version = 1\ndefault = \"allow\"\n")
        .start()
        .unwrap();
    let mut shell = shell(&daemon);
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    let guard = bins::for_everybody("guard", daemon.tag()).unwrap();
    for verb in [
        "open 192.0.2.10 --all-ports",
        "approve r1",
        "deny r1",
        "close --all",
        "stop s1",
        "holes",
        "sessions",
        "log",
        "pending",
    ] {
        let status = shell.status_of(&format!("{} {verb} 2>&1", guard.display()));
        assert_eq!(status.unwrap(), 2, "{verb}");
    }
    // A nested session is judged by both policies, so that a wider one gives nothing.
    let probe = bins::for_everybody("guard-lab", daemon.tag()).unwrap();
    for (to, reached) in [(V4, "false"), (OPEN, "true")] {
        shell
            .tell(&format!(
                "{} run --policy open -- {} probe tcp {to} 443",
                guard.display(),
                probe.display()
            ))
            .unwrap();
        let report = shell.line_with("\"ok\"").unwrap();
        assert!(
            report.contains(&format!("\"ok\":{reached}")),
            "{to}: {report}"
        );
    }
}

#[test]
fn the_daemon_removes_only_what_it_made_and_only_when_told_to() {
    let network = Network::new().unwrap();
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", POLICY)
        .prepare()
        .unwrap();
    fs::create_dir(daemon.cgroup_root()).unwrap();
    fs::create_dir_all(daemon.pin_dir()).unwrap();
    let others = daemon.pin_dir().join("others");
    fs::create_dir(&others).unwrap();
    daemon.start().unwrap();
    daemon.stop().unwrap();
    assert!(pin(&daemon, "link_egress").exists());
    daemon.teardown().unwrap();
    assert!(!daemon.pin_dir().join("live").exists());
    assert!(others.exists(), "somebody else's directory");
    assert!(daemon.cgroup_root().exists(), "somebody else's cgroup");
    // What guardd makes itself goes.
    fs::remove_dir(daemon.cgroup_root()).unwrap();
    fs::remove_dir(&others).unwrap();
    daemon.start().unwrap();
    daemon.teardown().unwrap();
    assert!(!daemon.cgroup_root().exists());
    assert!(!daemon.pin_dir().exists());
}

#[test]
fn enforcing_is_said_only_after_reading_back() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let status = daemon.root(["status"]).json().unwrap();
    assert_eq!(status["enforcing"], true);
    for hook in [
        "connect4",
        "connect6",
        "sendmsg4",
        "sendmsg6",
        "egress",
        "sock_create",
        "getpeername4",
        "getpeername6",
    ] {
        let hooks = status["hooks"].as_array().unwrap();
        let found = hooks.iter().find(|one| one["name"] == hook).unwrap();
        assert_eq!(found["attached"], true, "{hook}");
        assert!(found["program_id"].is_u64(), "{hook}");
    }
    fs::remove_file(pin(&daemon, "link_connect4")).unwrap();
    let output = daemon.ask(["status", "--json"]).unwrap();
    assert_eq!(output.code(), Some(1));
    let status = output.json().unwrap();
    assert_eq!(status["enforcing"], false);
}

const READS: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.10"]
ports = ["tcp/80"]
action = "read-only"
"#;

/// The `/proc/PID` of guardd's proxy, once it runs.
fn proxy(daemon: &Daemon) -> PathBuf {
    let guardd = daemon.pid().unwrap();
    let is_proxy = |process: &PathBuf| {
        let words = fs::read(process.join("cmdline")).unwrap_or_default();
        words.starts_with(b"guard-proxy\0")
    };
    let mut found = None;
    eventually("a proxy", || {
        let children = fs::read_to_string(format!("/proc/{guardd}/task/{guardd}/children"));
        let children = children.unwrap();
        let mut all = children
            .split_whitespace()
            .map(|pid| PathBuf::from(format!("/proc/{pid}")));
        found = all.find(is_proxy);
        found.is_some()
    })
    .unwrap();
    found.unwrap()
}

/// A field of a process's or thread's `status`.
fn field(of: &Path, name: &str) -> String {
    let text = fs::read_to_string(of.join("status")).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap().trim_start_matches(':').trim().to_owned()
}

#[test]
fn what_parses_an_attackers_bytes_has_no_rights() {
    let network = Network::new().unwrap();
    let daemon = Daemon::in_network(&network)
        .policy("reads", READS)
        .start()
        .unwrap();
    let _shell = Shell::start(&daemon, "reads").unwrap();
    let proxy = proxy(&daemon);
    eventually("it has given up all", || field(&proxy, "Seccomp") == "2").unwrap();
    // A thread may have rights of its own.
    for thread in fs::read_dir(proxy.join("task")).unwrap() {
        let thread = thread.unwrap().path();
        for ids in ["Uid", "Gid"] {
            let all = field(&thread, ids);
            assert!(all.split_whitespace().all(|id| id != "0"), "{ids}: {all}");
        }
        assert_eq!(field(&thread, "Groups"), "");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(field(&thread, set), "0000000000000000", "{set}");
        }
        assert_eq!(field(&thread, "NoNewPrivs"), "1");
        assert_eq!(field(&thread, "Seccomp"), "2");
    }
}
