//! From one version to the next, and back: with the programs of the version before, and with what it has left, its eBPF
//! object and its files in `fixtures/VERSION`. What runs under it goes on.

mod lived;
mod real;

use crate::half::{self, before};
use std::fs;

use aya::maps::{Array, Map, MapData};
use guard_common::meta;
use guard_lab::{Daemon, Network, Production, Stepped, bins};
use lived::Lived;

/// How the last guardd began, as its audit trail has it.
fn last_start(daemon: &Daemon) -> String {
    let log = daemon.ask(["log", "--json"]).unwrap().success().unwrap();
    let records = log.json_lines().unwrap();
    let mut starts = records
        .iter()
        .filter(|record| record["kind"] == "daemon-start");
    starts.next_back().unwrap()["start"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// Starts today's guardd with the kernel half of the version before.
fn start_before(daemon: &mut Daemon) {
    let guardd = half::guardd(daemon, &before::object(daemon));
    daemon.start_as(guardd).unwrap();
}

/// The ids of the programs that are attached.
fn programs(daemon: &Daemon) -> Vec<u64> {
    let status = daemon.root(["status"]).json().unwrap();
    assert_eq!(status["enforcing"], true, "{status}");
    let hooks = status["hooks"].as_array().unwrap().iter();
    // The others are not in the object, and the same in both.
    let of_object = hooks.filter(|hook| bins::before_has(hook["name"].as_str().unwrap()));
    of_object
        .map(|hook| hook["program_id"].as_u64().unwrap())
        .collect()
}

#[test]
fn everything_survives_an_upgrade_and_a_downgrade() {
    if !before::works_here() {
        return;
    }
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = lived::prepared(&network);
    start_before(&mut daemon);
    let mut lived = Lived::begin(&daemon);
    let before = programs(&daemon);
    daemon.kill().unwrap();
    lived.take_over_its_files(&daemon);

    daemon.start().unwrap();
    assert_eq!(last_start(&daemon), "replaced");
    let today = programs(&daemon);
    assert!(
        today.iter().all(|id| !before.contains(id)),
        "{before:?} {today:?}"
    );
    daemon
        .wait_for_log("replaced the programs of build")
        .unwrap();
    lived.goes_on(&daemon);
    daemon.kill().unwrap();

    start_before(&mut daemon);
    assert_eq!(last_start(&daemon), "replaced");
    assert!(programs(&daemon).iter().all(|id| !today.contains(id)));
    lived.goes_on(&daemon);
    daemon.kill().unwrap();

    // The same again adopts, and changes no program.
    start_before(&mut daemon);
    assert_eq!(last_start(&daemon), "adopted");
    lived.goes_on(&daemon);
    daemon.stop().unwrap();
    lived.check(&network, &production);
}

#[test]
fn a_half_made_upgrade_is_finished_by_whoever_comes() {
    if !before::works_here() {
        return;
    }
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = lived::prepared(&network);
    start_before(&mut daemon);
    let mut lived = Lived::begin(&daemon);
    let before = programs(&daemon);
    daemon.kill().unwrap();
    // Killed in the middle, today's guardd leaves programs of both. The old one takes none of them for its own.
    let today = daemon.guardd().unwrap();
    let ended = Stepped::start(&daemon, &today, Some(20))
        .unwrap()
        .wait()
        .unwrap();
    assert!(ended.was_killed(), "{ended:?}");
    start_before(&mut daemon);
    assert_eq!(last_start(&daemon), "replaced");
    daemon
        .wait_for_log("finished what a guardd was killed over")
        .unwrap();
    assert!(programs(&daemon).iter().all(|id| !before.contains(id)));
    let links = fs::read_dir(daemon.pin_dir().join("live"))
        .unwrap()
        .flatten();
    let links = links.filter(|pin| pin.file_name().to_string_lossy().starts_with("link_"));
    assert_eq!(links.count(), 6);
    lived.goes_on(&daemon);
    daemon.stop().unwrap();
    lived.check(&network, &production);
}

#[test]
fn pins_that_it_would_misread_are_left_as_they_are() {
    if !before::works_here() {
        return;
    }
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = lived::prepared(&network);
    start_before(&mut daemon);
    let mut lived = Lived::begin(&daemon);
    let before = programs(&daemon);
    daemon.kill().unwrap();
    set_version(&daemon, 1);
    let pins = pins(&daemon);
    let refused = daemon.guardd().unwrap().output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for word in [
        "layout version 1, this guardd has 2",
        "end the sessions",
        "guardd teardown",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert_eq!(self::pins(&daemon), pins);
    lived.is_guarded();
    // The one that made them still can.
    set_version(&daemon, guard_common::ABI);
    start_before(&mut daemon);
    assert_eq!(last_start(&daemon), "adopted");
    assert_eq!(programs(&daemon), before);
    lived.goes_on(&daemon);
    daemon.stop().unwrap();
    lived.check(&network, &production);
}

fn set_version(daemon: &Daemon, version: u64) {
    let pin = daemon.pin_dir().join("live/meta");
    let map = Map::from_map_data(MapData::from_pin(pin).unwrap()).unwrap();
    let mut meta: Array<_, u64> = map.try_into().unwrap();
    meta.set(meta::ABI, version, 0).unwrap();
}

/// What is pinned, by name and inode.
fn pins(daemon: &Daemon) -> Vec<(String, u64)> {
    use std::os::unix::fs::MetadataExt as _;
    let pins = fs::read_dir(daemon.pin_dir().join("live"))
        .unwrap()
        .flatten();
    let mut pins: Vec<_> = pins
        .map(|pin| {
            let name = pin.file_name().to_string_lossy().into_owned();
            (name, pin.metadata().unwrap().ino())
        })
        .collect();
    pins.sort();
    pins
}
