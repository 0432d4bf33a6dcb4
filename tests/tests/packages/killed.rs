//! dpkg and rpm, killed with what they started where one of the package's scripts is about to do something.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use guard_lab::{NEVER, Network, Tested, V4};

use crate::packages::agent::{Agent, outside};
use crate::packages::machine::{self, Machine, guard, installed, said, succeeds, version_of};

/// The programs that the scripts call, in `/usr/bin`.
const CALLED: [&str; 6] = [
    "deb-systemd-helper",
    "deb-systemd-invoke",
    "find",
    "guardd",
    "systemctl",
    "systemd-sysusers",
];
/// Where scripts look before, whatever rpm tells its own.
const LOOKED_AT_FIRST: &str = "/usr/sbin";
/// In place of each: ends its process group, which is the package manager's, before the one call that is named.
const STAND_IN: &str = r#"#!/bin/sh
case "${DPKG_MAINTSCRIPT_NAME:-scriptlet} ${0##*/} $*" in
"${GUARD_KILLED_AT:-never}"*) kill -KILL 0 ;;
esac
exec "/usr/bin/${0##*/}" "$@"
"#;

/// What stands in for the programs that the scripts call, while it lives.
pub(crate) struct Killer(Vec<PathBuf>);

impl Killer {
    pub(crate) fn new() -> Self {
        let mut killer = Self(Vec::new());
        for program in CALLED {
            let path = Path::new(LOOKED_AT_FIRST).join(program);
            assert!(!path.exists(), "{} is a program", path.display());
            killer.0.push(path.clone());
            fs::write(&path, STAND_IN).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        killer
    }

    /// Runs a package manager, which is killed where a script of this name calls that.
    pub(crate) fn kill(&self, command: &mut Command, at: &str) {
        let command = command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        let command = command.env("GUARD_KILLED_AT", at).process_group(0);
        let output = command.output().unwrap();
        assert_eq!(output.status.signal(), Some(9), "{at}: {}", said(&output));
    }
}

impl Drop for Killer {
    fn drop(&mut self) {
        for path in &self.0 {
            let _ = fs::remove_file(path);
        }
    }
}

/// Has a script of the installed package call something when it begins, where it would call nothing.
fn begin_with_a_call(script: &str) -> Tested {
    let path = format!("/var/lib/dpkg/info/guard.{script}");
    let path = Path::new(&path);
    let text = fs::read_to_string(path)?;
    let (first, rest) = text.split_once('\n').unwrap();
    fs::write(
        path,
        format!("{first}\nsystemctl --version >/dev/null\n{rest}"),
    )?;
    Ok(())
}

/// Each script that runs in an upgrade, in their order; there is no preinst. Each upgrade goes on from what the one before
/// has left, and gets further.
const UPGRADE: [&str; 5] = [
    "prerm systemctl --version",
    "postrm systemctl --version",
    "postinst systemd-sysusers",
    "postinst deb-systemd-invoke restart guardd.service",
    "postinst deb-systemd-invoke start",
];

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_upgrade_killed_in_each_script_leaves_nothing_unguarded_and_can_be_ended() -> Tested {
    let machine = Machine::with_guard();
    let (network, production) = Network::with_production()?;
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443)?;
    agent.hole(&["--all-ports"]);
    let killer = Killer::new();
    let deb = machine.other();
    for script in ["prerm", "postrm"] {
        begin_with_a_call(script)?;
    }
    for at in UPGRADE {
        killer.kill(&mut machine::install(deb), at);
        eprintln!("killed at {at}: {}", machine::state());
        // Whatever state that left, the session is guarded as it was.
        assert_eq!(guard(&["status"])["enforcing"], true, "{at}");
        assert!(!agent.reaches(NEVER, 443), "{at}");
        assert!(agent.reaches(V4, 443), "{at}: the hole is gone");
    }
    succeeds(&mut machine::install(deb));
    assert_eq!(machine::state(), "installed");
    assert_eq!(installed(), version_of(deb));
    assert_eq!(guard(&["sessions"])[0]["id"], *agent.session);
    assert_eq!(guard(&["status"])["enforcing"], true);
    assert!(agent.reaches(V4, 443), "the hole is gone");
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    assert!(outside(&network, NEVER, 443));
    Ok(())
}
