//! Pins that are not as this guardd would have made them.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, chown, lchown, symlink};
use std::path::PathBuf;

use aya::maps::{Array, Map, MapData};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::loaded_programs;
use guard_lab::{AGENT, Attempt, Daemon, Network, OPEN, Shell, Tested, V4, reap};

use crate::lifecycle::{ended, prepared, refused, started};

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
fn those_of_another_version_are_refused_and_go_on_enforcing() -> Tested {
    let (network, production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    daemon.stop()?;
    set_version(&daemon, 7777);
    let said = refused(&mut daemon.guardd()?);
    let ours = guard_common::ABI.to_string();
    for word in ["7777", &ours, "guardd teardown"] {
        assert!(said.contains(word), "{word}: {said}");
    }
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(production.reached_at(V4, 443)?.is_empty());
    // What it says is what helps.
    let done = ended(daemon.guardd()?.args(["teardown", "--force"]));
    assert!(done.status.success(), "{done:?}");
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["enforcing"], true);
    Ok(())
}

/// It is most of what the start of a guardd takes: 110,000 of them on Linux 6.18, 117,000 on 6.1. It goes through a function that is not global again for each state of a caller's.
#[test]
fn the_verifier_goes_through_so_many_instructions_at_most() -> Tested {
    let network = Network::new()?;
    let daemon = started(&network);
    let mut verified = Vec::new();
    for pinned in fs::read_dir(daemon.pin_dir().join("live"))? {
        let pinned = pinned?;
        let name = pinned.file_name().into_string().unwrap();
        if !(name.starts_with("link_") || name.starts_with("top_")) {
            continue;
        }
        let id = FdLink::from(PinnedLink::from_pin(pinned.path())?)
            .info()?
            .program_id();
        // Those of other tests come and go.
        let mut all = loaded_programs().filter_map(Result::ok);
        let program = all.find(|one| one.id() == id).unwrap();
        verified.push((program.verified_instruction_count().unwrap(), name));
    }
    verified.sort();
    let all: u32 = verified.iter().map(|(count, _)| count).sum();
    println!("{all} instructions: {verified:?}");
    assert!(verified.len() > 10, "{verified:?}");
    assert!(all < 120_000, "{all}: {verified:?}");
    Ok(())
}

#[test]
fn links_that_are_gone_are_attached_again() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    for hook in ["egress", "connect4", "sock_create"] {
        fs::remove_file(pin(&daemon, &format!("link_{hook}")))?;
    }
    let status = daemon.ask(["status"])?;
    assert_eq!(status.code(), Some(1), "{status:?}");
    daemon.kill()?;
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["enforcing"], true);
    assert_eq!(daemon.json(["sessions"])?[0]["id"], "s1");
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(shell.reaches(&Attempt::tcp(OPEN, 443))?);
    Ok(())
}

/// What the replaced programs allow until they are gone would count for the new ones, which may know better.
#[test]
fn what_replaced_programs_have_allowed_counts_for_nothing() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    // A start puts things in place that a later one finds there.
    daemon.kill()?;
    daemon.start()?;
    let first = generation(&daemon)?;
    daemon.kill()?;
    daemon.start()?;
    let adopted = generation(&daemon)?;
    daemon.kill()?;
    let hook = pin(&daemon, "link_connect4");
    let old = FdLink::from(PinnedLink::from_pin(pin(&daemon, "link_egress"))?)
        .info()?
        .program_id();
    fs::remove_file(&hook)?;
    daemon.start()?;
    assert!(hook.exists(), "the programs were not replaced");
    let replaced = generation(&daemon)?;
    assert!(first < adopted, "{first} {adopted}");
    assert!(
        replaced - adopted > adopted - first,
        "it was not raised once more behind the replaced programs: {first} {adopted} {replaced}"
    );
    let mut all = loaded_programs().filter_map(Result::ok);
    assert!(
        !all.any(|one| one.id() == old),
        "the old program was there when the generation was raised"
    );
    Ok(())
}

/// That under which verdicts are cached at sockets.
fn generation(daemon: &Daemon) -> Tested<u64> {
    let map = MapData::from_pin(pin(daemon, "meta"))?;
    let meta: Array<_, u64> = Map::from_map_data(map)?.try_into()?;
    Ok(meta.get(&guard_common::meta::GENERATION, 0)?)
}

#[test]
fn a_place_that_somebody_else_made_is_not_taken() -> Tested {
    let network = Network::new()?;
    let mut daemon = prepared(&network);
    let pins = daemon.pin_dir().to_owned();
    let theirs = tempfile::tempdir()?;
    // What anybody can do before guardd starts, where the bpffs was mounted without a mode.
    fs::create_dir(&pins)?;
    chown(&pins, Some(AGENT), Some(AGENT))?;
    for made in ["a directory", "a link"] {
        let said = refused(&mut daemon.guardd()?);
        assert!(said.contains("no directory of root's"), "{made}: {said}");
        assert_eq!(fs::symlink_metadata(&pins)?.uid(), AGENT);
        assert!(!daemon.cgroup_root().exists());
        fs::remove_dir(&pins).or_else(|_| fs::remove_file(&pins))?;
        if made == "a directory" {
            symlink(theirs.path(), &pins)?;
            lchown(&pins, Some(AGENT), Some(AGENT))?;
        }
    }
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["enforcing"], true);
    Ok(())
}

#[test]
fn maps_that_are_gone_are_no_reason_to_guess() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    for map in ["sessions", "proxies", "listeners", "origins"] {
        daemon.stop()?;
        fs::remove_file(pin(&daemon, map))?;
        let said = refused(&mut daemon.guardd()?);
        assert!(said.contains(map) && said.contains("teardown"), "{said}");
        daemon.teardown()?;
        daemon.start()?;
    }
    Ok(())
}

#[test]
fn pins_of_a_root_that_is_gone_guard_nothing_and_make_room() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    daemon.stop()?;
    for again in [false, true] {
        reap::remove_cgroup(daemon.cgroup_root())?;
        if again {
            // Somebody else was quicker.
            fs::create_dir(daemon.cgroup_root())?;
        }
        daemon.start()?;
        assert_eq!(daemon.json(["status"])?["enforcing"], true);
        assert_eq!(daemon.json(["sessions"])?, serde_json::json!([]));
        let mut shell = Shell::start(&daemon, "asks")?;
        assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
        assert!(shell.reaches(&Attempt::tcp(OPEN, 443))?);
        shell.tell("exit")?;
        shell.wait()?;
        daemon.stop()?;
    }
    daemon.teardown()?;
    assert!(daemon.cgroup_root().exists(), "it is somebody else's");
    Ok(())
}

#[test]
fn a_root_that_goes_while_the_daemon_runs_ends_it() -> Tested {
    let (network, _production) = Network::with_production()?;
    let mut daemon = started(&network);
    let mut shell = Shell::start(&daemon, "asks")?;
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    reap::remove_cgroup(daemon.cgroup_root())?;
    let status = daemon.ask(["status", "--json"])?;
    assert_eq!(status.code(), Some(1), "{status:?}");
    assert_eq!(status.json()?["enforcing"], false);
    // A session that nothing would guard is not started.
    let run = daemon
        .agent(["run", "--policy", "asks", "--", "true"])
        .run()?;
    assert_eq!(run.code(), Some(125), "{run:?}");
    assert_eq!(daemon.wait()?.code(), Some(2));
    daemon.wait_for_log("start it again")?;
    assert!(!daemon.socket().exists());
    let trail = fs::read_to_string(daemon.audit())?;
    let last = trail.lines().next_back().unwrap();
    assert!(
        last.contains("daemon-stop") && last.contains("was removed"),
        "{last}"
    );
    // What it says is what helps.
    daemon.start()?;
    assert_eq!(daemon.json(["status"])?["enforcing"], true);
    let mut shell = Shell::start(&daemon, "asks")?;
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    Ok(())
}

#[test]
fn pins_of_another_root_are_not_taken_over() -> Tested {
    let network = Network::new()?;
    let mut daemon = started(&network);
    daemon.stop()?;
    let elsewhere = daemon.cgroup_root().with_extension("other");
    let mut guardd = daemon.guardd()?;
    let words: Vec<_> = guardd.get_args().map(std::ffi::OsStr::to_owned).collect();
    let swap = |word: &std::ffi::OsStr| {
        if word == daemon.cgroup_root() {
            elsewhere.clone().into_os_string()
        } else {
            word.to_owned()
        }
    };
    guardd = std::process::Command::new(guardd.get_program());
    let said = refused(guardd.args(words.iter().map(|word| swap(word))));
    assert!(said.contains("another cgroup"), "{said}");
    assert!(said.contains("guardd teardown"), "{said}");
    assert!(!elsewhere.exists());
    daemon.start()?;
    Ok(())
}
