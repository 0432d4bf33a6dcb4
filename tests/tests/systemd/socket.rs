//! guardd.socket: `guard` works before guardd has started.

use guard_lab::Tested;
use std::fs;
use std::os::unix::fs::MetadataExt as _;

use super::machine::{Machine, UID, USER, as_user, fails, ok, run, state, text};

const SOCKET: &str = "/run/guard/guardd.sock";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_first_call_starts_guardd() -> Tested {
    let _machine = Machine::without_guardd()?;
    ok("systemctl", &["start", "guardd.socket"])?;
    assert_eq!(state("guardd.service")?, "inactive");
    let inode = fs::metadata(SOCKET)?.ino();
    let asked = as_user(&["guard", "status"])?;
    assert!(asked.status.success() && text(&asked.stdout).starts_with("Enforcing"));
    assert_eq!(state("guardd.service")?, "active");

    ok("systemctl", &["stop", "guardd.service"])?;
    assert_eq!(
        fs::metadata(SOCKET)?.ino(),
        inode,
        "it stays where systemd has put it"
    );
    assert!(as_user(&["guard", "sessions"])?.status.success());
    assert_eq!(state("guardd.service")?, "active");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn callers_are_who_they_are() -> Tested {
    let _machine = Machine::without_guardd()?;
    ok("systemctl", &["start", "guardd.socket"])?;
    let mine = as_user(&[
        "guard", "run", "--policy", "default", "--", "guard", "sessions",
    ])?;
    assert!(!mine.status.success(), "from inside nobody lists sessions");
    assert!(text(&mine.stderr).contains("no process under the guard may do this"));
    let shown = as_user(&["guard", "run", "--policy", "default", "--", "id", "-u"])?;
    assert_eq!(text(&shown.stdout).trim(), UID.to_string());
    let log = ok("guard", &["log", "--json"])?;
    let owner = format!("\"uid\":{UID}");
    assert!(
        log.lines()
            .any(|line| line.contains("session-start") && line.contains(&owner)),
        "{log}"
    );
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn root_uses_it_and_starts_no_guardd_of_its_own() -> Tested {
    let _machine = Machine::without_guardd()?;
    ok("systemctl", &["start", "guardd.socket"])?;
    ok("guard", &["run", "--user", USER, "--", "true"])?;
    assert_eq!(state("guardd.service")?, "active");
    assert!(ok("guard", &["status"])?.starts_with("Enforcing"));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn where_guardd_cannot_start_callers_are_told_at_once() -> Tested {
    let machine = Machine::without_guardd()?;
    machine.settings("no_such_setting = 1\n")?;
    ok("systemctl", &["start", "guardd.socket"])?;
    let mut told = String::new();
    for _ in 0..3 {
        told += &fails("guard", &["status"])?;
    }
    // Who calls in the moment in which guardd ends is told so much only.
    let why = "guardd cannot start: the settings in /etc/guard/guardd.toml are wrong";
    assert!(told.contains(why), "{told}");
    let run = run(
        "guard",
        &["run", "--user", USER, "--", "touch", "/run/it-ran"],
    )?;
    assert_eq!(run.status.code(), Some(125));
    assert!(!fs::exists("/run/it-ran")?);
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn without_it_guardd_listens_by_itself() -> Tested {
    let _machine = Machine::without_guardd()?;
    ok("systemctl", &["mask", "--runtime", "guardd.socket"])?;
    ok("systemctl", &["start", "guardd.service"])?;
    let asked = as_user(&["guard", "status"])?;
    ok("systemctl", &["stop", "guardd.service"])?;
    ok("systemctl", &["unmask", "--runtime", "guardd.socket"])?;
    assert!(asked.status.success());
    assert!(!fs::exists(SOCKET)?, "its own goes with it");
    Ok(())
}
