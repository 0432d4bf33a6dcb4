//! Refusals are counted exactly, however many there are.

mod floods;
mod kernel_log;

use aya::maps::{HashMap, Map, MapData};
use guard_common::SessionStats;
use guard_lab::{ASKS, Attempt, Daemon, NEVER, Network, Shell, Tested, V4, V6, eventually};
use serde_json::Value;
use zerocopy::FromBytes as _;

fn started(network: &Network) -> Daemon {
    let daemon = Daemon::in_network(network).policy("asks", ASKS);
    daemon.start().unwrap()
}

fn often(to: &str, times: u32) -> Attempt {
    Attempt::new("loop", to, 443).other(&times.to_string())
}

/// The kernel's own counters of a session.
fn stats(daemon: &Daemon, session: &str) -> SessionStats {
    let pin = daemon.pin_dir().join("live/stats");
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let stats: HashMap<_, u32, [u8; size_of::<SessionStats>()]> = map.try_into().unwrap();
    let id = session[1..].parse().unwrap();
    SessionStats::read_from_bytes(&stats.get(&id, 0).unwrap()).unwrap()
}

fn pending(daemon: &Daemon, session: &str, to: &str) -> Option<Value> {
    let pending = daemon.json(["pending"]).unwrap();
    let mut requests = pending.as_array().unwrap().clone().into_iter();
    requests.find(|one| one["session"] == session && one["destination"]["address"] == to)
}

#[test]
fn every_refusal_is_counted_and_accounted_for() -> Tested {
    let network = Network::new()?;
    let daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    for (to, times) in [(V4, 5000), (V6, 3000), (NEVER, 2000)] {
        let report = shell.attempt(&often(to, times))?;
        assert_eq!(report.errno.as_deref(), Some("EPERM"), "{report:?}");
    }
    for (to, times) in [(V4, 5000), (V6, 3000)] {
        assert_eq!(pending(&daemon, "s1", to).unwrap()["count"], times, "{to}");
    }
    assert!(pending(&daemon, "s1", NEVER).is_none());
    let stats = stats(&daemon, "s1");
    assert_eq!(stats.denied, 10_000);
    assert_eq!(
        stats.denied,
        stats.reported + stats.summed_up + stats.lost,
        "{stats:?}"
    );
    assert!(stats.reported >= 3, "{stats:?}");
    let status = daemon.json(["status"])?;
    assert_eq!(status["events_summed_up"], stats.summed_up);
    assert_eq!(status["events_lost"], stats.lost);
    Ok(())
}

#[test]
fn refusals_of_many_processes_at_once_are_counted_exactly() -> Tested {
    let network = Network::new()?;
    let daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    let probe = daemon.program("guard-lab")?;
    let one = format!(
        "{} {} > /dev/null &",
        probe.display(),
        often(V4, 100).args().join(" ")
    );
    shell.tell(&format!("{}wait; echo done", one.repeat(20)))?;
    shell.line_with("done")?;
    assert_eq!(pending(&daemon, "s1", V4).unwrap()["count"], 2000);
    let stats = stats(&daemon, "s1");
    assert_eq!(stats.denied, 2000);
    assert_eq!(
        stats.denied,
        stats.reported + stats.summed_up + stats.lost,
        "{stats:?}"
    );
    Ok(())
}

#[test]
fn a_flood_of_one_session_does_not_hold_up_the_request_of_another() -> Tested {
    let network = Network::new()?;
    let daemon = started(&network);
    let mut loud = Shell::start(&daemon, "asks")?;
    let mut quiet = Shell::start(&daemon, "asks")?;
    loud.begin(&often(V4, 100_000_000))?;
    let count = || pending(&daemon, "s1", V4).and_then(|request| request["count"].as_u64());
    eventually("it floods", || count() >= Some(1000))?;
    assert!(!quiet.reaches(&Attempt::tcp(V6, 443))?);
    eventually("the other is asked about", || {
        pending(&daemon, "s2", V6).is_some()
    })?;
    let before = count();
    eventually("the flood goes on", || count() > before)?;
    let loud = stats(&daemon, "s1");
    assert!(loud.reported < loud.denied / 2, "{loud:?}");
    daemon.ask(["stop", "s1"])?.success()?;
    Ok(())
}
