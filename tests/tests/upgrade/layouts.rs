//! The synthetic upgrade from "ABI minus one", and the way back from "ABI plus one": pins of another layout than guardd's own.
//!
//! They are today's pins with another version number, by which alone guardd has to tell. It refuses them and leaves them as they are, and
//! sessions stay guarded, until they are taken down.

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use aya::maps::{Array, Map, MapData};
use guard_common::{ABI, meta};
use guard_lab::{Daemon, Network, Tested};

use crate::upgrade::lived::{self, Lived};
use crate::upgrade::{last_start, programs, start_today};

#[test]
fn pins_of_the_layout_before_are_left_as_they_are_until_they_are_taken_down() -> Tested {
    are_left_as_they_are_until_they_are_taken_down(ABI - 1)?;
    Ok(())
}

#[test]
fn pins_of_the_layout_after_are_left_as_they_are_until_they_are_taken_down() -> Tested {
    are_left_as_they_are_until_they_are_taken_down(ABI + 1)?;
    Ok(())
}

fn are_left_as_they_are_until_they_are_taken_down(version: u64) -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = lived::prepared(&network)?;
    start_today(&mut daemon)?;
    let mut lived = Lived::begin(&daemon)?;
    let before = programs(&daemon)?;
    daemon.kill()?;
    set_version(&daemon, version)?;
    let there = pins(&daemon)?;
    let said = refused(&daemon, &[])?;
    let versions = format!("have layout version {version}, this guardd has {ABI}");
    let what_to_type = format!(
        "end the sessions, run `guardd teardown --pin-dir {} --cgroup-root {}`, then start guardd again",
        daemon.pin_dir().display(),
        daemon.cgroup_root().display()
    );
    for words in [&versions, &what_to_type] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert_eq!(pins(&daemon)?, there);
    lived.is_guarded();

    // The one that made them still can.
    set_version(&daemon, ABI)?;
    start_today(&mut daemon)?;
    assert_eq!(last_start(&daemon)?, "adopted");
    assert_eq!(programs(&daemon)?, before);
    lived.goes_on(&daemon)?;
    daemon.stop()?;

    // What it says to type takes nothing down under which something lives, and helps when nothing does.
    set_version(&daemon, version)?;
    let said = refused(&daemon, &["teardown"])?;
    assert!(said.contains("s1") && said.contains("--force"), "{said}");
    assert_eq!(pins(&daemon)?, there);
    lived.is_guarded();
    daemon.teardown()?;
    assert!(!daemon.pin_dir().exists());
    lived.check(&network, &production)?;
    start_today(&mut daemon)?;
    assert_eq!(last_start(&daemon)?, "fresh");
    let mut lived = Lived::begin(&daemon)?;
    lived.goes_on(&daemon)?;
    daemon.stop()?;
    Ok(())
}

/// What guardd says, told to do something that it refuses.
fn refused(daemon: &Daemon, verb: &[&str]) -> Tested<String> {
    let refused = daemon.guardd()?.args(verb).output()?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    Ok(said)
}

fn set_version(daemon: &Daemon, version: u64) -> Tested {
    let pin = daemon.pin_dir().join("live/meta");
    let map = Map::from_map_data(MapData::from_pin(pin)?)?;
    let mut meta: Array<_, u64> = map.try_into()?;
    meta.set(meta::ABI, version, 0)?;
    Ok(())
}

/// What is pinned, by name and inode.
fn pins(daemon: &Daemon) -> Tested<Vec<(String, u64)>> {
    let pins = fs::read_dir(daemon.pin_dir().join("live"))?.flatten();
    let mut pins: Vec<_> = pins
        .map(|pin| {
            let name = pin.file_name().to_string_lossy().into_owned();
            (name, pin.metadata().unwrap().ino())
        })
        .collect();
    pins.sort();
    Ok(pins)
}
