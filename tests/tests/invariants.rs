//! What must always hold, a test for each.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use guard_datapath::{Datapath, Object, TlsBy};
use guard_lab::{
    ALLOWS, Attempt, CONFIRMS, Daemon, Json as _, Network, OPEN, Shell, Tested, V4, eventually,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::redirected::scene::places;

fn daemon(network: &Network) -> Daemon {
    Daemon::in_network(network)
        .policy("asks", CONFIRMS)
        .start()
        .unwrap()
}

fn shell(daemon: &Daemon) -> Shell {
    Shell::start(daemon, "asks").unwrap()
}

fn pin(daemon: &Daemon, name: &str) -> std::path::PathBuf {
    daemon.pin_dir().join("live").join(name)
}

#[test]
fn the_pinned_kernel_state_is_the_truth() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon);
    daemon.json(["open", V4, "--all-ports"])?;
    daemon.kill()?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    // Whatever the daemon wrote down for itself is gone; the kernel knows.
    remove_metadata(&daemon.state_dir())?;
    daemon.start()?;
    let sessions = daemon.json(["sessions"])?;
    assert_eq!(sessions[0]["id"], "s1");
    let holes = daemon.json(["holes"])?;
    assert_eq!(holes[0]["destination"], "192.0.2.10/32");
    // Ids are not used twice.
    let next = daemon.json(["open", "192.0.2.11", "--all-ports"])?;
    assert_eq!(next["id"], "h2");
    Ok(())
}

/// All but the audit log, which is not state.
fn remove_metadata(state: &Path) -> Tested {
    for entry in fs::read_dir(state)?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            fs::remove_dir_all(path)?;
        } else if path.extension().is_some_and(|ending| ending == "json") {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

#[test]
fn a_hole_ends_by_the_kernels_own_clock() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon);
    let attempt = Attempt::tcp(V4, 443);
    daemon.json(["open", V4, "--all-ports", "--for", "10s"])?;
    daemon.kill()?;
    assert!(shell.reaches(&attempt)?);
    // Nobody is left who would say that it has ended.
    thread::sleep(Duration::from_secs(10));
    let before = production.reached_at(V4, 443)?.len();
    assert!(!shell.reaches(&attempt)?);
    assert_eq!(production.reached_at(V4, 443)?.len(), before);
    Ok(())
}

#[test]
fn doubt_is_denial() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = daemon(&network);
    let mut shell = shell(&daemon);
    let attempt = Attempt::tcp(OPEN, 443);
    assert!(shell.reaches(&attempt)?);
    daemon.kill()?;
    let (mut datapath, _) = Datapath::start(&places(&daemon), &Object::built_in(), TlsBy::Proxy)?;
    for slot in datapath.policy_slots()? {
        datapath.remove_policy(slot)?;
    }
    assert!(!shell.reaches(&attempt)?);
    Ok(())
}

#[test]
fn an_address_has_one_canonical_form() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let explain = |to: &str| {
        let answer = daemon.json(["explain", to, "--policy", "asks"]).unwrap();
        (answer["verdict"].clone(), answer["rule"].clone())
    };
    assert_eq!(explain(V4), explain("::ffff:192.0.2.10"));
    assert_eq!(explain(V4).0, "confirm");
    let mut shell = shell(&daemon);
    assert!(!shell.reaches(&Attempt::new("mapped", V4, 443))?);
    Ok(())
}

#[test]
fn a_policy_is_applied_whole_or_not_at_all() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = daemon(&network);
    let mut shell = shell(&daemon);
    let bad =
        CONFIRMS.replace("\"confirm\"", "\"allow\"") + "\n[[rule]]\nto = [\"192.0.2.0/24x\"]\n";
    daemon.write_policy("asks", &bad)?;
    daemon.signal(Signal::HUP)?;
    let status = wait_for_policy(&daemon, |policy| !policy["error"].is_null())?;
    assert!(status["error"].text()?.contains("192.0.2.0/24x"));
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    let good = CONFIRMS.replace("\"confirm\"", "\"allow\"");
    daemon.write_policy("asks", &good)?;
    daemon.signal(Signal::HUP)?;
    wait_for_policy(&daemon, |policy| policy["error"].is_null())?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    Ok(())
}

fn wait_for_policy(daemon: &Daemon, wanted: impl Fn(&Value) -> bool) -> Tested<Value> {
    let mut found = None;
    eventually("the policy is so", || {
        let status = daemon.json(["status"])?;
        let mut policies = status["policies"].list()?.clone().into_iter();
        found = policies.find(|policy| policy["name"] == "asks" && wanted(policy));
        Ok(found.is_some())
    })?;
    Ok(found.unwrap())
}

#[test]
fn no_step_of_an_update_lets_through_what_neither_policy_allows() -> Tested {
    let (network, production) = Network::with_production()?;
    let daemon = daemon(&network);
    let mut shell = shell(&daemon);
    // The two versions share no rule but the one that both have about production.
    let other = format!(
        "{CONFIRMS}\n[[rule]]\nname = \"more\"\nto = [\"198.51.100.0/24\"]\nports = [\"tcp/1-80\"]\naction = \"deny\"\n"
    );
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            for text in [&other, CONFIRMS].iter().cycle().take(40) {
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
    assert!(production.reached_at(V4, 443)?.is_empty());
    // What both allow is allowed once the last update is over, so that this is not the silence of a broken policy: in the middle of
    // one, what cannot be read whole is denied.
    eventually("what both allow passes", || {
        Ok(shell.reaches(&Attempt::tcp(OPEN, 443))?)
    })?;
    Ok(())
}

#[test]
fn nothing_inside_can_widen_what_it_may_reach() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network)
        .policy("asks", CONFIRMS)
        .policy("open", ALLOWS)
        .start()?;
    let mut shell = shell(&daemon);
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    let guard = daemon.program("guard")?;
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
        assert_eq!(status?, 2, "{verb}");
    }
    // A nested session is judged by both policies, so that a wider one gives nothing.
    let probe = daemon.program("guard-lab")?;
    for (to, reached) in [(V4, "false"), (OPEN, "true")] {
        shell.tell(&format!(
            "{} run --policy open -- {} probe tcp {to} 443",
            guard.display(),
            probe.display()
        ))?;
        let report = shell.line_with("\"ok\"")?;
        assert!(
            report.contains(&format!("\"ok\":{reached}")),
            "{to}: {report}"
        );
    }
    Ok(())
}

#[test]
fn the_daemon_removes_only_what_it_made_and_only_when_told_to() -> Tested {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", CONFIRMS)
        .prepare()?;
    fs::create_dir(daemon.cgroup_root())?;
    fs::create_dir_all(daemon.pin_dir())?;
    let others = daemon.pin_dir().join("others");
    fs::create_dir(&others)?;
    daemon.start()?;
    daemon.stop()?;
    assert!(pin(&daemon, "link_egress").exists());
    daemon.teardown()?;
    assert!(!daemon.pin_dir().join("live").exists());
    assert!(others.exists(), "somebody else's directory");
    assert!(daemon.cgroup_root().exists(), "somebody else's cgroup");
    // What guardd makes itself goes.
    fs::remove_dir(daemon.cgroup_root())?;
    fs::remove_dir(&others)?;
    daemon.start()?;
    daemon.teardown()?;
    assert!(!daemon.cgroup_root().exists());
    assert!(!daemon.pin_dir().exists());
    Ok(())
}

#[test]
fn enforcing_is_said_only_after_reading_back() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let status = daemon.json(["status"])?;
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
        let hooks = status["hooks"].list()?;
        let found = hooks.iter().find(|one| one["name"] == hook).unwrap();
        assert_eq!(found["attached"], true, "{hook}");
        assert!(found["program_id"].is_u64(), "{hook}");
    }
    fs::remove_file(pin(&daemon, "link_connect4"))?;
    let output = daemon.ask(["status", "--json"])?;
    assert_eq!(output.code(), Some(1));
    let status = output.json()?;
    assert_eq!(status["enforcing"], false);
    Ok(())
}

const READS: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.10"]
ports = ["tcp/80"]
action = "read-only"

[dns]
names = "rules"
"#;

/// A field of a process's or thread's `status`.
fn field(of: &Path, name: &str) -> String {
    let text = fs::read_to_string(of.join("status")).unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap().trim_start_matches(':').trim().to_owned()
}

#[test]
fn what_parses_an_attackers_bytes_has_no_rights() -> Tested {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network)
        .policy("reads", READS)
        .start()?;
    let _shell = Shell::start(&daemon, "reads")?;
    for program in ["guard-proxy", "guard-resolver"] {
        let process = daemon.child_once(program)?;
        eventually("it has given up all", || field(&process, "Seccomp") == "2")?;
        // A thread may have rights of its own.
        for thread in fs::read_dir(process.join("task"))? {
            assert_no_rights(&thread?.path());
        }
    }
    Ok(())
}

fn assert_no_rights(thread: &Path) {
    for ids in ["Uid", "Gid"] {
        let all = field(thread, ids);
        assert!(all.split_whitespace().all(|id| id != "0"), "{ids}: {all}");
    }
    assert_eq!(field(thread, "Groups"), "");
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(field(thread, set), "0000000000000000", "{set}");
    }
    assert_eq!(field(thread, "NoNewPrivs"), "1");
    assert_eq!(field(thread, "Seccomp"), "2");
}

/// Takes as many connections to guardd as it gets, says how many, and keeps them until its input ends.
const GRAB: &str = r#"
import os, socket, sys
held = []
while len(held) < 500:
    one = socket.socket(socket.AF_UNIX)
    one.connect(os.environ["GUARD_SOCKET"])
    try:
        one.sendall(b'{"method":"org.varlink.service.GetInfo"}\0')
        said = one.recv(4096)
    except OSError:
        break
    if not said.startswith(b'{"parameters":'):
        break
    held.append(one)
print("held", len(held), flush=True)
sys.stdin.read()
"#;

/// Whatever many sessions of one user take, another user, root and that user outside have theirs.
#[test]
fn a_limit_counts_by_account() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let socket = format!("GUARD_SOCKET={}", daemon.socket().display());
    let run = ["run", "-q", "--policy", "asks", "--", "env", &socket];
    let grabs = |uid: u32| -> Tested<_> {
        let mut session = daemon
            .user(uid, run)
            .args(["python3", "-c", GRAB])
            .spawn()?;
        let said = session.line_with("held ", Duration::from_secs(60))?;
        let count: u32 = said.rsplit(' ').next().unwrap_or_default().parse()?;
        Ok((count, session))
    };
    // A session has its share; many sessions of a user have no more than the user's.
    let mut held = Vec::new();
    let mut all = 0;
    for _ in 0..14 {
        let (count, session) = grabs(1000)?;
        assert!(count <= 32, "{count}");
        all += count;
        held.push(session);
    }
    assert_eq!(all, 384);
    assert_eq!(grabs(1001)?.0, 32);
    for uid in [1000, 1001] {
        daemon.user(uid, ["sessions"]).run()?.success()?;
        daemon.user(uid, run).args(["true"]).run()?.success()?;
    }
    daemon.json(["status"])?;
    drop(held);
    eventually("there is room again", || Ok(grabs(1000)?.0 == 32))?;
    Ok(())
}
