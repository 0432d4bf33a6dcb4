//! A full disk where a server's rights are.

use std::fs;

use anyhow::Context as _;
use guard_lab::{Network, SmallDisk, Tested, eventually};

use super::scene::Fleet;

#[test]
fn on_a_full_disk_rights_stand_as_they_were_and_that_is_said() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    // What the server reads is from now on where there is little room.
    let rights = fleet.nats.users(0);
    let dir = rights.parent().context("no directory")?;
    let mut files = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.is_file() {
            files.push((fs::read(&path)?, path));
        }
    }
    let disk = SmallDisk::new(dir.to_owned())?;
    for (bytes, path) in files {
        fs::write(path, bytes)?;
    }
    let listed = fleet.listed(&fleet.machine)?;
    let _keeper = fleet.keep_with(&listed, &[])?;
    eventually("the list is kept", || {
        Ok(fs::read_to_string(&rights)?.starts_with("# Written by guard-fleet keep"))
    })?;
    fleet.is_there()?;

    disk.fill()?;
    let before = fs::read_to_string(&rights)?;
    let persons = listed.find("[[person]]").context("nobody is listed")?;
    fs::write(fleet.list(), &listed[persons..])?;
    eventually("it is said", || {
        Ok(fleet.kept()?.contains("No space left on device"))
    })?;
    let said = fleet.kept()?;
    assert!(said.contains(rights.to_str().context("no name")?), "{said}");
    assert_eq!(fs::read_to_string(&rights)?, before);
    // Of whoever connects again as well.
    fleet.stop()?;
    fleet.start()?;
    fleet.is_there()?;

    disk.empty()?;
    eventually("the machine is out", || {
        fleet.machines().is_ok_and(|machines| machines.is_empty())
    })?;
    Ok(())
}
