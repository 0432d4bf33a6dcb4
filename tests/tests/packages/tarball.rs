//! The tarball, by the commands that docs/admin.md says.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use guard_lab::{NEVER, Network, OPEN, Tested, eventually};
use serde_json::json;

use crate::documents::block::{ADMIN, text};
use crate::packages::agent::{Agent, outside};
use crate::packages::install::assert_enforces;
use crate::packages::machine::{
    self, Machine, files, guard, is_shared, property, quiet, said, unit_that_tries,
};
use crate::packages::{EDITED, ENABLED, KERNEL, POLICY, SETTINGS};

/// A machine with a tarball, which is taken away however a test ends.
struct Tarball {
    machine: Machine,
    dir: PathBuf,
}

impl Tarball {
    fn open() -> Self {
        let machine = Machine::without_guard();
        let file = machine::packages("xz").pop().unwrap();
        let dir = file.parent().unwrap().to_owned();
        Self { machine, dir }
    }

    /// Runs the commands of a block, as root, from where the tarball is, until one fails.
    fn follow(&self, block: &str) -> Output {
        let mut shell = quiet("bash");
        shell.args(["-euxo", "pipefail", "-c", &block.replace("sudo ", "")]);
        shell.current_dir(&self.dir).output().unwrap()
    }
}

impl Drop for Tarball {
    fn drop(&mut self) {
        if Path::new("/usr/bin/guardd").exists() {
            machine::stop_everything();
            eprintln!("{}", said(&self.follow(&removes())));
        }
        let _ = quiet("systemctl").args(["unmask", "guard.slice"]).output();
        let _ = fs::remove_dir_all("/etc/guard");
        let _ = fs::remove_dir_all("/var/log/guard");
        let _ = fs::remove_dir_all("/var/lib/guard");
    }
}

/// The block that takes it away.
fn removes() -> String {
    text(ADMIN, "sh", "disable --now guardd guardd.socket")
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_tarball_does_what_the_documents_say() -> Tested {
    let tarball = Tarball::open();
    let (network, production) = Network::with_production()?;
    let before = files();
    assert!(outside(&network, NEVER, 443));
    let tried = production.reached_at(NEVER, 443)?.len();

    succeeded(&tarball.follow(&text(ADMIN, "sh", "tar -C / --strip")));
    assert_enforces()?;
    tarball.machine.write_policy("asks", POLICY);
    let mut agent = Agent::start(&network);
    agent.keep_trying(NEVER, 443)?;
    assert!(agent.reaches(OPEN, 443));
    assert!(!agent.reaches(NEVER, 443));

    fs::write(SETTINGS, EDITED)?;
    let guardd = property("guardd.service", "MainPID");
    succeeded(&tarball.follow(&text(ADMIN, "sh", "tar -C / --exclude")));
    assert_ne!(property("guardd.service", "MainPID"), guardd);
    assert_enforces()?;
    assert_eq!(fs::read_to_string(SETTINGS)?, EDITED);
    assert_eq!(guard(&["sessions"])[0]["id"], *agent.session);
    assert!(!agent.reaches(NEVER, 443));

    // Not before the session has ended.
    let refused = tarball.follow(&removes());
    assert!(!refused.status.success(), "{}", said(&refused));
    assert!(said(&refused).contains("live"), "{}", said(&refused));
    assert!(!agent.reaches(NEVER, 443));
    succeeded(&quiet("systemctl").args(["start", "guardd"]).output()?);
    let stop = quiet("guard").args(["stop", &agent.session]).output();
    succeeded(&stop?);
    eventually("the session ended", || guard(&["sessions"]) == json!([]))?;
    succeeded(&tarball.follow(&removes()));
    for path in KERNEL {
        assert!(!Path::new(path).exists(), "{path}");
    }
    for unit in ENABLED {
        assert_eq!(property(unit, "ActiveState"), "inactive", "{unit}");
    }
    only_settings_are_left(&before);
    // A unit that asks to be guarded does not start without a guard.
    let unit = unit_that_tries(&network, NEVER)?;
    assert!(!unit.status.success());
    assert!(said(&unit).contains("masked"), "{}", said(&unit));
    assert_eq!(production.reached_at(NEVER, 443)?.len(), tried);
    Ok(())
}

fn succeeded(output: &Output) {
    assert!(output.status.success(), "{}", said(output));
}

/// What people wrote, and what happened.
fn only_settings_are_left(before: &BTreeSet<String>) {
    let after = files();
    let expected = |file: &str| {
        let of_guard = [
            "/etc/guard",
            "/var/log/guard",
            "/var/lib/guard",
            "/run/guard",
        ];
        let others = [
            "/etc/systemd/system/guard.slice",
            "/etc/group-",
            "/etc/gshadow-",
            "/etc/.pwd.lock",
        ];
        of_guard.iter().any(|dir| file.starts_with(dir)) || others.contains(&file)
    };
    let left: Vec<_> = after
        .difference(before)
        .filter(|file| !expected(file) && !is_shared(file))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(after.contains(SETTINGS));
}
