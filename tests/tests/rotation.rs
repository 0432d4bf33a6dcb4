//! The audit log goes on when its file is renamed away, for who writes and for who reads.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use guard_lab::{Attempt, Daemon, Network, Shell, Tested, eventually};
use rustix::process::Signal;
use serde_json::Value;

const POLICY: &str = "version = 1\nname = \"closed\"\ndefault = \"deny\"\n";

fn daemon(network: &Network) -> Daemon {
    let daemon = Daemon::in_network(network).policy("closed", POLICY);
    daemon.start().unwrap()
}

/// The audit log's file as logrotate leaves it after so many rotations.
fn rotated(daemon: &Daemon, number: usize) -> PathBuf {
    PathBuf::from(format!("{}.{number}", daemon.audit().display()))
}

/// What logrotate does, `nocreate`.
fn rotate(daemon: &Daemon, times: usize) {
    for number in (1..times).rev() {
        let _ = fs::rename(rotated(daemon, number), rotated(daemon, number + 1));
    }
    fs::rename(daemon.audit(), rotated(daemon, 1)).unwrap();
}

fn records(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The destinations of what was denied.
fn denied(records: &[Value]) -> Vec<String> {
    let denied = records.iter().filter(|one| one["kind"] == "denied");
    let to = denied.map(|one| one["destination"]["address"].as_str().unwrap().to_owned());
    to.collect()
}

#[test]
fn nothing_is_lost_and_who_follows_goes_on() -> Tested {
    const ROUNDS: usize = 4;
    let network = Network::new()?;
    let daemon = daemon(&network);
    let mut shell = Shell::start(&daemon, "closed")?;
    let mut follower = daemon.root(["log", "--follow", "--json"]).spawn()?;
    let mut followed = Vec::new();
    let mut tried = BTreeSet::new();
    for round in 0..ROUNDS {
        for last in 0..10 {
            let to = format!("192.0.2.{}", 100 + 10 * round + last);
            assert!(!shell.reaches(&Attempt::tcp(&to, 443))?);
            if last == 5 && round > 0 {
                // In the middle of it all; what is written before the signal is in the old file.
                rotate(&daemon, ROUNDS);
            }
            if last == 7 && round > 0 {
                daemon.signal(Signal::HUP)?;
                eventually("a new file is there", || daemon.audit().exists())?;
            }
            tried.insert(to);
        }
        let until = tried.last().unwrap().clone();
        loop {
            let line = follower.line_with("\"at\"", guard_lab::PATIENCE)?;
            let record: Value = serde_json::from_str(line.trim())?;
            let is_last = record["destination"]["address"] == until.as_str();
            followed.push(record);
            if is_last {
                break;
            }
        }
    }
    let files = (1..ROUNDS).rev().map(|number| rotated(&daemon, number));
    let files: Vec<_> = files.chain([daemon.audit()]).collect();
    assert!(files.iter().all(|file| !denied(&records(file)).is_empty()));
    let written: Vec<_> = files.iter().flat_map(|file| records(file)).collect();
    let expected: Vec<_> = tried.into_iter().collect();
    assert_eq!(denied(&written), expected);
    assert_eq!(denied(&followed), expected);
    assert_eq!(followed, written[..followed.len()]);
    Ok(())
}

#[test]
fn it_is_noticed_without_a_signal_and_decisions_are_in_the_new_file() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let _shell = Shell::start(&daemon, "closed")?;
    rotate(&daemon, 1);
    eventually("a new file is there", || daemon.audit().exists())?;
    daemon.wait_for_log("goes on in a new file")?;
    let mode = std::os::unix::fs::PermissionsExt::mode;
    assert_eq!(
        mode(&fs::metadata(daemon.audit())?.permissions()) & 0o777,
        0o640
    );
    fs::remove_file(daemon.audit())?;
    eventually("another is there", || daemon.audit().exists())?;
    // One that logrotate makes is as good.
    rotate(&daemon, 2);
    fs::write(daemon.audit(), "")?;
    daemon.signal(Signal::HUP)?;
    eventually("it goes on there", || {
        daemon.log().matches("goes on in a new file").count() == 3
    })?;
    let _other = Shell::start(&daemon, "closed")?;
    let written = records(&daemon.audit());
    assert!(
        written
            .iter()
            .any(|one| one["kind"] == "session-start" && one["session"] == "s2")
    );
    Ok(())
}

#[test]
fn the_log_begins_in_the_file_before() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network);
    let mut shell = Shell::start(&daemon, "closed")?;
    assert!(!shell.reaches(&Attempt::tcp("192.0.2.101", 443))?);
    let seen = || {
        let log = daemon.ask(["log", "--session", "s1", "--json"]).unwrap();
        denied(&log.json_lines().unwrap())
    };
    eventually("it is written down", || seen().len() == 1)?;
    rotate(&daemon, 1);
    daemon.signal(Signal::HUP)?;
    daemon.wait_for_log("goes on in a new file")?;
    assert!(!shell.reaches(&Attempt::tcp("192.0.2.102", 443))?);
    eventually("it is written down", || {
        seen() == ["192.0.2.101", "192.0.2.102"]
    })?;
    // A user sees no more of it than of the other.
    let theirs = daemon.user(61_235, ["log", "--json"]).run()?;
    assert_eq!(theirs.json_lines()?.len(), 0);
    Ok(())
}
