//! What a new daemon knows of what an old one left.

use std::collections::BTreeMap;
use std::fs;
use std::thread;
use std::time::Duration;

use aya::maps::{HashMap, Map, MapData, MapError};
use guard_common::{HoldTerms, LsmSession, Session, SessionStats, UnixSession};
use guard_lab::{
    AGENT, ALLOWS, ASKS, Attempt, Daemon, Network, OPEN, PATIENCE, Shell, Tested, Unowned, V4,
    eventually, patience,
};
use rustix::process::Signal;
use serde_json::Value;

use crate::lifecycle::started;

/// How many entries of sessions each map of the kernel half has. Key 0 is no session's.
fn entries(daemon: &Daemon) -> Tested<BTreeMap<&'static str, usize>> {
    Ok(BTreeMap::from([
        (
            "sessions",
            keys::<u64, { size_of::<Session>() }>(daemon, "sessions")?,
        ),
        (
            "stats",
            keys::<u32, { size_of::<SessionStats>() }>(daemon, "stats")?,
        ),
        ("outermost", keys::<u32, 4>(daemon, "outermost")?),
        (
            "patience",
            keys::<u32, { size_of::<HoldTerms>() }>(daemon, "patience")?,
        ),
        (
            "lsm_sessions",
            keys::<u64, { size_of::<LsmSession>() }>(daemon, "lsm_sessions")?,
        ),
        (
            "unix",
            keys::<u64, { size_of::<UnixSession>() }>(daemon, "unix")?,
        ),
    ]))
}

/// Those of one map; none where this kernel has no use for it.
fn keys<K: aya::Pod + Default + PartialEq, const V: usize>(
    daemon: &Daemon,
    name: &str,
) -> Tested<usize> {
    let pin = daemon.pin_dir().join("live").join(name);
    if !pin.exists() {
        return Ok(0);
    }
    let map = Map::from_map_data(MapData::from_pin(pin)?)?;
    let map: HashMap<_, K, [u8; V]> = map.try_into()?;
    let keys: Result<Vec<K>, MapError> = map.keys().collect();
    Ok(keys?.into_iter().filter(|key| *key != K::default()).count())
}

/// As of a unit that ends while no guardd runs, and of a session that ended in the minute before.
#[test]
fn of_a_session_whose_cgroup_is_gone_nothing_is_left_in_the_kernel() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    let guard = daemon.program("guard")?;
    let narrow = daemon.write_for_agents("narrow", "version = 1\ndefault = \"deny\"\n")?;
    let run = daemon.agent(["run", "--policy", "asks", "--hold", "60s", "--", "sh"]);
    let mut agent = run.spawn()?;
    let inside = format!(
        "{} run --policy {} -- sh -c 'echo inside; exec sh'\n",
        guard.display(),
        narrow.display()
    );
    agent.write(&inside)?;
    agent.line_with("inside", PATIENCE)?;
    let before = entries(&daemon)?;
    for of in ["sessions", "stats", "outermost", "patience"] {
        assert!(before[of] > 0, "{of}: {before:?}");
    }
    daemon.kill()?;
    for session in ["s1", "s2"] {
        let cgroup = daemon.cgroup_root().join(session);
        fs::write(cgroup.join("cgroup.kill"), "1")?;
        eventually("its cgroup goes", || Ok(fs::remove_dir(&cgroup).is_ok()))?;
    }
    daemon.start()?;
    let left = entries(&daemon)?;
    assert!(left.values().all(|count| *count == 0), "{left:?}");
    Ok(())
}

/// The records of one kind.
fn log(daemon: &Daemon, kind: &str) -> Vec<Value> {
    let log = daemon.ask(["log", "--json"]).unwrap().success().unwrap();
    let mut records = log.json_lines().unwrap();
    records.retain(|record| record["kind"] == kind);
    records
}

#[test]
fn sessions_and_holes_are_known_to_the_next_daemon_as_to_the_last() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    let run = daemon.agent(["run", "--policy", "asks", "--name", "work"]);
    let _shell = Shell::run_by(&daemon, run)?;
    daemon.json([
        "open",
        V4,
        "--all-ports",
        "--reason",
        "a migration",
        "--connections",
        "3",
    ])?;
    let before = (daemon.json(["sessions"])?, daemon.json(["holes"])?);
    assert_eq!(before.0[0]["name"], "work");
    assert_eq!(before.0[0]["uid"], AGENT);
    assert_eq!(before.1[0]["reason"], "a migration");
    for end in [Daemon::kill, Daemon::stop] {
        end(&mut daemon)?;
        daemon.start()?;
        let after = (daemon.json(["sessions"])?, daemon.json(["holes"])?);
        assert_eq!(before.0, after.0);
        assert_eq!(without_clock(&before.1), without_clock(&after.1));
    }
    Ok(())
}

/// The calendar's time of the end is reckoned again each time, from the kernel's clock.
fn without_clock(holes: &Value) -> Value {
    let mut holes = holes.clone();
    let ends = holes[0]["expires_at"].take();
    assert!(ends.is_string(), "{ends}");
    holes
}

#[test]
fn an_adopted_policy_can_be_changed_and_a_brought_one_stays() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let file = daemon.dir().join("own.toml");
    fs::write(&file, ASKS.replace("name = \"asks\"", "name = \"own\""))?;
    let mut named = Shell::start(&daemon, "asks")?;
    let mut own = Shell::start(&daemon, file.to_str().unwrap())?;
    daemon.kill()?;
    fs::write(&file, ALLOWS)?;
    daemon.start()?;
    assert_eq!(daemon.json(["sessions"])?[1]["policy"], "own");
    let attempt = Attempt::tcp(V4, 443);
    assert!(!named.reaches(&attempt)?);
    daemon.write_policy("asks", &ASKS.replace("\"confirm\"", "\"allow\""))?;
    daemon.signal(Signal::HUP)?;
    eventually(
        "the new policy is in force",
        || Ok(named.reaches(&attempt)?),
    )?;
    assert!(!own.reaches(&attempt)?);
    Ok(())
}

#[test]
fn a_policy_that_changed_while_no_daemon_ran_holds_when_one_does() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    daemon.stop()?;
    daemon.write_policy("asks", &ASKS.replace("\"confirm\"", "\"allow\""))?;
    daemon.start()?;
    let attempt = Attempt::tcp(V4, 443);
    eventually(
        "the new policy is in force",
        || Ok(shell.reaches(&attempt)?),
    )?;
    Ok(())
}

#[test]
fn a_hole_that_was_adopted_ends_and_is_cut() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    daemon.json(["open", V4, "--all-ports", "--for", "15s"])?;
    shell.begin(&Attempt::new("hold-open", V4, 443))?;
    shell.line_with("echo")?;
    daemon.kill()?;
    daemon.start()?;
    let report = shell.line_with("\"ok\"")?;
    assert!(report.contains("ECONNABORTED"), "{report}");
    eventually("its end is written down", || {
        log(&daemon, "hole-close")
            .iter()
            .any(|end| end["hole"] == "h1")
    })?;
    Ok(())
}

#[test]
fn a_hole_that_ended_while_no_daemon_ran_is_cut_by_the_next_one() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    daemon.json(["open", V4, "--all-ports", "--for", "10s"])?;
    shell.begin(&Attempt::new("hold-open", V4, 443).timeout(patience(PATIENCE)))?;
    shell.line_with("echo")?;
    daemon.kill()?;
    // Nobody is there who would say that it has ended.
    thread::sleep(Duration::from_secs(10));
    daemon.start()?;
    let report = shell.line_with("\"ok\"")?;
    assert!(report.contains("ECONNABORTED"), "{report}");
    assert_eq!(daemon.json(["holes"])?, Value::Array(Vec::new()));
    assert_eq!(log(&daemon, "hole-close")[0]["hole"], "h1");
    Ok(())
}

#[test]
fn a_session_that_ended_while_no_daemon_ran_is_cleared_away() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    daemon.json(["open", V4, "--all-ports"])?;
    daemon.kill()?;
    shell.tell("exit 3")?;
    assert_eq!(shell.wait()?, 3);
    daemon.start()?;
    eventually("the session has ended", || {
        Ok(daemon.json(["sessions"])? == Value::Array(Vec::new()))
    })?;
    assert_eq!(daemon.json(["holes"])?, Value::Array(Vec::new()));
    assert!(!daemon.cgroup_root().join("s1").exists());
    assert_eq!(log(&daemon, "session-end")[0]["session"], "s1");
    let next = Shell::start(&daemon, "asks")?;
    assert_eq!(next.session(), "s2");
    Ok(())
}

#[test]
fn what_its_daemon_was_killed_over_is_in_the_trail_all_the_same() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    let _shell = Shell::start(&daemon, "asks")?;
    daemon.json(["open", V4, "--ports", "tcp/443"])?;
    daemon.kill()?;
    // As it is between the kernel and the files.
    for kept in ["sessions/s1.json", "holes/h1.json"] {
        fs::remove_file(daemon.state_dir().join(kept))?;
    }
    daemon.start()?;
    for kind in ["session-start", "hole-open"] {
        let records = log(&daemon, kind);
        let last = records.last().unwrap();
        assert_eq!(last["session"], "s1", "{last}");
        assert_eq!(last["noticed"], "after a restart of guardd", "{last}");
    }
    let hole = log(&daemon, "hole-open").pop().unwrap();
    assert_eq!(hole["hole"], "h1");
    assert_eq!(hole["ports"], "tcp/443");
    // Whose it was nobody knows, so it is root's.
    let agents = daemon.agent(["holes"]).json()?;
    assert_eq!(agents, Value::Array(Vec::new()));
    Ok(())
}

#[test]
fn starts_and_stops_are_in_the_trail() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    let _shell = Shell::start(&daemon, "asks")?;
    daemon.stop()?;
    daemon.start()?;
    let starts = log(&daemon, "daemon-start");
    assert_eq!(starts[0]["start"], "fresh");
    assert_eq!(starts[1]["start"], "adopted");
    assert_eq!(starts[1]["sessions"], 1);
    assert_eq!(log(&daemon, "daemon-stop")[0]["sessions"], 1);
    Ok(())
}

#[test]
fn the_default_policy_is_adopted_with_the_rest() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", ASKS)
        .config("default_policy = \"asks\"\n")
        .start()?;
    let unowned = Unowned::new(&daemon)?;
    for _ in 0..2 {
        assert!(unowned.attempt(&Attempt::tcp(OPEN, 443))?.ok);
        assert!(!unowned.attempt(&Attempt::tcp(V4, 443))?.ok);
        daemon.kill()?;
        assert!(unowned.attempt(&Attempt::tcp(OPEN, 443))?.ok);
        assert!(!unowned.attempt(&Attempt::tcp(V4, 443))?.ok);
        daemon.start()?;
    }
    Ok(())
}

#[test]
fn an_answer_of_no_holds_for_its_time_whoever_runs() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    let attempt = Attempt::tcp(V4, 443);
    assert!(!shell.reaches(&attempt)?);
    eventually("it is asked", || !pending(&daemon).is_empty())?;
    daemon.json(["deny", "r1", "--for", "1h"])?;
    assert!(pending(&daemon).is_empty());
    for end in [Daemon::kill, Daemon::stop] {
        end(&mut daemon)?;
        daemon.start()?;
        // Another destination is asked about, so that this is not the silence of a daemon that hears nothing.
        assert!(!shell.reaches(&attempt)?);
        assert!(!shell.reaches(&Attempt::tcp("192.0.2.77", 443))?);
        eventually("the other is asked about", || !pending(&daemon).is_empty())?;
        let asked = pending(&daemon);
        assert!(
            asked.iter().all(|one| one["destination"]["address"] != V4),
            "{asked:?}"
        );
    }
    assert!(production.reached_at(V4, 443)?.is_empty());
    Ok(())
}

fn pending(daemon: &Daemon) -> Vec<Value> {
    daemon.list(["pending"]).unwrap()
}
