//! Pins that are not as this guardd would have made them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData};
use guard_lab::{AGENT, Attempt, Daemon, Network, Production, Shell, reap};

use crate::lifecycle::{OPEN, V4, ended, json, prepared, refused, started};

fn pin(daemon: &Daemon, name: &str) -> PathBuf {
    daemon.pin_dir().join("live").join(name)
}

/// Makes the pins those of another version of the layouts.
fn set_version(daemon: &Daemon, version: u64) {
    let map = MapData::from_pin(pin(daemon, "meta")).unwrap();
    let mut meta: Array<_, u64> = Map::from_map_data(map).unwrap().try_into().unwrap();
    meta.set(guard_common::meta::ABI, version, 0).unwrap();
}

#[test]
fn those_of_another_version_are_refused_and_go_on_enforcing() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    daemon.stop().unwrap();
    set_version(&daemon, 7777);
    let said = refused(&mut daemon.guardd().unwrap());
    let ours = guard_common::ABI.to_string();
    for word in ["7777", &ours, "guardd teardown"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert!(production.reached_at(V4, 443).unwrap().is_empty());
    // What it says is what helps.
    let done = ended(daemon.guardd().unwrap().args(["teardown", "--force"]));
    assert!(done.status.success(), "{done:?}");
    daemon.start().unwrap();
    assert_eq!(json(&daemon, &["status"])["enforcing"], true);
}

#[test]
fn links_that_are_gone_are_attached_again() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    for hook in ["egress", "connect4", "sock_create"] {
        fs::remove_file(pin(&daemon, &format!("link_{hook}"))).unwrap();
    }
    let status = daemon.ask(["status"]).unwrap();
    assert_eq!(status.code(), Some(1), "{status:?}");
    daemon.kill().unwrap();
    daemon.start().unwrap();
    assert_eq!(json(&daemon, &["status"])["enforcing"], true);
    assert_eq!(json(&daemon, &["sessions"])[0]["id"], "s1");
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    assert!(shell.reaches(&Attempt::tcp(OPEN, 443)).unwrap());
}

#[test]
fn a_place_that_somebody_else_made_is_not_taken() {
    let network = Network::new().unwrap();
    let mut daemon = prepared(&network);
    let pins = daemon.pin_dir().to_owned();
    let theirs = tempfile::tempdir().unwrap();
    // What anybody can do before guardd starts, where the bpffs was mounted without a mode.
    fs::create_dir(&pins).unwrap();
    chown(&pins, Some(AGENT), Some(AGENT)).unwrap();
    for made in ["a directory", "a link"] {
        let said = refused(&mut daemon.guardd().unwrap());
        assert!(said.contains("no directory of root's"), "{made}: {said}");
        assert_eq!(fs::symlink_metadata(&pins).unwrap().uid(), AGENT);
        assert!(!daemon.cgroup_root().exists());
        fs::remove_dir(&pins)
            .or_else(|_| fs::remove_file(&pins))
            .unwrap();
        if made == "a directory" {
            symlink(theirs.path(), &pins).unwrap();
            lchown(&pins, Some(AGENT), Some(AGENT)).unwrap();
        }
    }
    daemon.start().unwrap();
    assert_eq!(json(&daemon, &["status"])["enforcing"], true);
}

#[test]
fn maps_that_are_gone_are_no_reason_to_guess() {
    let network = Network::new().unwrap();
    let mut daemon = started(&network);
    for map in ["sessions", "proxies", "listeners", "origins"] {
        daemon.stop().unwrap();
        fs::remove_file(pin(&daemon, map)).unwrap();
        let said = refused(&mut daemon.guardd().unwrap());
        assert!(said.contains(map) && said.contains("teardown"), "{said}");
        daemon.teardown().unwrap();
        daemon.start().unwrap();
    }
}

#[test]
fn pins_of_a_root_that_is_gone_guard_nothing_and_make_room() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    daemon.stop().unwrap();
    for again in [false, true] {
        reap::remove_cgroup(daemon.cgroup_root()).unwrap();
        if again {
            // Somebody else was quicker.
            fs::create_dir(daemon.cgroup_root()).unwrap();
        }
        daemon.start().unwrap();
        assert_eq!(json(&daemon, &["status"])["enforcing"], true);
        assert_eq!(json(&daemon, &["sessions"]), serde_json::json!([]));
        let mut shell = Shell::start(&daemon, "asks").unwrap();
        assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
        assert!(shell.reaches(&Attempt::tcp(OPEN, 443)).unwrap());
        shell.tell("exit").unwrap();
        shell.wait().unwrap();
        daemon.stop().unwrap();
    }
    daemon.teardown().unwrap();
    assert!(daemon.cgroup_root().exists(), "it is somebody else's");
}

#[test]
fn a_root_that_goes_while_the_daemon_runs_ends_it() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
    reap::remove_cgroup(daemon.cgroup_root()).unwrap();
    let status = daemon.ask(["status", "--json"]).unwrap();
    assert_eq!(status.code(), Some(1), "{status:?}");
    assert_eq!(status.json().unwrap()["enforcing"], false);
    // A session that nothing would guard is not started.
    let run = daemon
        .agent(["run", "--policy", "asks", "--", "true"])
        .run()
        .unwrap();
    assert_eq!(run.code(), Some(125), "{run:?}");
    assert_eq!(daemon.wait().unwrap().code(), Some(2));
    daemon.wait_for_log("start it again").unwrap();
    assert!(!daemon.socket().exists());
    let trail = fs::read_to_string(daemon.audit()).unwrap();
    let last = trail.lines().next_back().unwrap();
    assert!(
        last.contains("daemon-stop") && last.contains("was removed"),
        "{last}"
    );
    // What it says is what helps.
    daemon.start().unwrap();
    assert_eq!(json(&daemon, &["status"])["enforcing"], true);
    let mut shell = Shell::start(&daemon, "asks").unwrap();
    assert!(!shell.reaches(&Attempt::tcp(V4, 443)).unwrap());
}

#[test]
fn pins_of_another_root_are_not_taken_over() {
    let network = Network::new().unwrap();
    let mut daemon = started(&network);
    daemon.stop().unwrap();
    let elsewhere = daemon.cgroup_root().with_extension("other");
    let mut guardd = daemon.guardd().unwrap();
    let words: Vec<_> = guardd.get_args().map(std::ffi::OsStr::to_owned).collect();
    let swap = |word: &std::ffi::OsStr| match word == daemon.cgroup_root() {
        true => elsewhere.clone().into_os_string(),
        false => word.to_owned(),
    };
    guardd = std::process::Command::new(guardd.get_program());
    let said = refused(guardd.args(words.iter().map(|word| swap(word))));
    assert!(said.contains("another cgroup"), "{said}");
    assert!(said.contains("guardd teardown"), "{said}");
    assert!(!elsewhere.exists());
    daemon.start().unwrap();
}
