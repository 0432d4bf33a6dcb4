//! The slice and its cgroup: stopped, removed, taken down.

use std::fs;
use std::path::Path;

use guard_lab::{Tested, eventually};

use super::life::Prober;
use super::machine::{
    Machine, Target, UID, Unit, as_user, journal, ok, root, run, show, state, status_says,
};

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn nobody_removes_the_root_by_mistake() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    for _ in 0..20 {
        assert!(
            fs::remove_dir(root()?).is_err(),
            "there is always something in it"
        );
    }
    fs::remove_dir(root()?.join("guardd"))?;
    let is_back = || Tested::Ok(root()?.join("guardd").is_dir());
    eventually("what keeps the root is back", is_back)?;
    target.is_out_of_reach()?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_root_that_is_gone_is_noticed_and_made_anew() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    target.is_out_of_reach()?;
    let before = show("guardd.service", "MainPID")?;
    // A guardd that looks would not let it happen.
    ok("systemctl", &["kill", "--signal=STOP", "guardd.service"])?;
    fs::remove_dir(root()?.join("guardd"))?;
    fs::remove_dir(root()?)?;
    ok("systemctl", &["kill", "--signal=CONT", "guardd.service"])?;
    let back = || {
        let is_another = show("guardd.service", "MainPID")? != before;
        Tested::Ok(is_another && state("guardd.service")? == "active")
    };
    eventually("guardd attaches to a new one", back)?;
    target.is_out_of_reach()?;
    status_says("enforcing")?;
    assert!(
        journal("guardd.service")?
            .contains(&format!("the cgroup {} was removed", root()?.display()))
    );
    let trail = fs::read_to_string("/var/log/guard/audit.jsonl")?;
    let mut stops = trail.lines().filter(|line| line.contains("daemon-stop"));
    assert!(stops.any(|line| line.contains("NOT enforcing")), "{trail}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn stopping_and_starting_the_slice_leaves_no_gap() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let unit = Unit::guarded(
        "tries.service",
        &format!("/bin/sh -c '{}; sleep 600'", target.once()),
    )?;
    for _ in 0..2 {
        ok("systemctl", &["start", &unit.name])?;
        ok("systemctl", &["stop", "guard.slice"])?;
        assert_eq!(
            (state(&unit.name)?, state("guardd.service")?),
            ("inactive".into(), "inactive".into())
        );
        // Before systemd has done with stopping, as well.
        ok("systemctl", &["start", &unit.name])?;
        ok("systemctl", &["stop", "--no-block", "guard.slice"])?;
        run("systemctl", &["start", &unit.name])?;
        ok("systemctl", &["restart", "guard.slice"])?;
        target.is_out_of_reach()?;
    }
    eventually("it has tried", || {
        Ok(journal(&unit.name)?.matches("EPERM").count() >= 2)
    })?;
    assert_eq!(target.reached(), 0);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn sessions_stay_guarded_when_the_slice_stops() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let port = target.port.to_string();
    fs::create_dir_all("/etc/guard/policies")?;
    fs::write(
        "/etc/guard/policies/nothing.toml",
        "version = 1\nname = \"nothing\"\ndefault = \"deny\"\n",
    )?;
    let _ = fs::remove_file("/run/session.log");
    let command = format!(
        "exec setpriv --reuid {UID} --regid {UID} --clear-groups guard run --policy nothing -- \
         sh -c 'while :; do guard-lab probe loop 127.0.0.1 {port} 50; done' > /run/session.log"
    );
    let outside = Unit::new(
        "shell.service",
        &format!("[Service]\nExecStart=/bin/sh -c \"{command}\"\n"),
    )?;
    ok("systemctl", &["start", &outside.name])?;
    let tries = || {
        fs::read_to_string("/run/session.log")
            .unwrap_or_default()
            .lines()
            .count()
    };
    eventually("the session tries", || tries() > 2)?;
    ok("systemctl", &["stop", "guard.slice"])?;
    eventually("guardd has stopped", || {
        Ok(state("guardd.service")? == "inactive")
    })?;
    let before = tries();
    eventually("the session goes on", || tries() > before + 2)?;
    let sessions = as_user(&["guard", "sessions", "--json"])?;
    assert!(
        String::from_utf8_lossy(&sessions.stdout).contains("\"nothing\""),
        "it is adopted"
    );
    let before = tries();
    eventually("the session goes on", || tries() > before + 2)?;
    let said = fs::read_to_string("/run/session.log")?;
    assert!(
        said.lines().all(|line| !line.contains("connected\":1")),
        "{said}"
    );
    assert_eq!(target.reached(), 0);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn teardown_stops_the_slice_so_that_its_next_unit_is_guarded_again() -> Tested {
    let _machine = Machine::new()?;
    let target = Target::new()?;
    let prober = Prober::start(&target, "guard.slice")?;
    prober.is_refused_still(&target, "the start")?;
    ok("systemctl", &["stop", "guardd.service", "guardd.socket"])?;
    let refused = run("guardd", &["teardown"])?;
    assert_eq!(refused.status.code(), Some(2), "something lives in it");
    prober.is_refused_still(&target, "a teardown that was refused")?;
    ok("guardd", &["teardown", "--force"])?;
    assert_eq!(state("guard.slice")?, "inactive");
    assert!(!Path::new("/sys/fs/bpf/guard").exists());
    assert_eq!(target.reached(), 0);
    target.is_out_of_reach()?;
    Ok(())
}
