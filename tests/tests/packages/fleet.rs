//! guard-fleet's package, by the commands that docs/fleet.md says, under a real systemd.

use std::fs;

use guard_lab::{Tested, eventually};

use crate::documents::block::{FLEET, text};
use crate::fleet::clock;
use crate::packages::{
    SETTINGS,
    console::{typed, typed_in},
    machine::{self, Machine, property, quiet, said, succeeds},
};

const UNIT: &str = "guard-fleet.service";
const OWN_SETTINGS: &str = "/etc/guard/fleet.toml";
const CONSOLE_SETTINGS: &str = "/etc/guard/fleet-console.toml";
const PAGES_SETTINGS: &str = "/etc/guard/console.toml";

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_fleet_is_off_until_somebody_wants_it_and_then_has_a_key() -> Tested {
    let _machine = Machine::with_guard();
    let settings = fs::read_to_string(SETTINGS)?;
    let release = machine::release("guard-fleet");
    typed_in(release.path(), &text(FLEET, "sh", "sudo apt install"));
    assert_eq!(property(UNIT, "UnitFileState"), "disabled");
    assert_eq!(property(UNIT, "ActiveState"), "inactive");
    for unit in ["guard-fleet-console.service", "guard-fleet-keep.service"] {
        assert_eq!(property(unit, "UnitFileState"), "disabled");
        let verified = quiet("systemd-analyze")
            .args(["--man=no", "verify", unit])
            .output()?;
        assert!(verified.status.success(), "{}", said(&verified));
    }
    for (verb, key) in [("console", "console.nk"), ("keep", "keeper.nk")] {
        let file = format!("/etc/guard/fleet-{verb}.toml");
        assert!(fs::read_to_string(&file)?.contains(key), "{file}");
    }
    // As it comes it names no server, and says so.
    let refused = quiet("guard-fleet").args(["serve"]).output()?;
    assert_eq!(refused.status.code(), Some(2));
    assert!(said(&refused).contains("servers"), "{}", said(&refused));

    fs::write(
        SETTINGS,
        settings.clone() + &text(FLEET, "toml", "couriers"),
    )?;
    let own = text(FLEET, "toml", "# /etc/guard/fleet.toml\nservers");
    // Nothing of a machine leaves it: that server is not there.
    fs::write(OWN_SETTINGS, own.replace("nats1.example.net", "localhost"))?;
    let printed = typed(&text(FLEET, "sh", "guard-fleet key"));
    let key = printed.lines().last().unwrap_or_default().to_owned();
    assert!(key.starts_with('U') && key.len() == 56, "{printed}");
    assert_eq!(property(UNIT, "ActiveState"), "active");
    let log = || succeeds(quiet("journalctl").args(["--quiet", "--unit", UNIT]));
    assert!(log().contains(&key), "{}", log());
    // guardd takes it for the courier that it is.
    eventually("it knows its machine", || {
        log().contains("carries what this machine asks")
    })?;

    let pid = property(UNIT, "MainPID");
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    for line in NOBODY {
        assert!(status.contains(line), "{line}: {status}");
    }
    one_page_for_all()?;
    let purged = machine::dpkg(&["--purge", "guard-fleet"]);
    assert!(purged.status.success(), "{}", said(&purged));
    assert_ne!(property(UNIT, "ActiveState"), "active");
    for dir in ["guard-fleet", "guard-fleet-console", "guard-fleet-keep"] {
        let dir = format!("/var/lib/{dir}");
        assert!(!fs::exists(&dir)?, "{dir}");
    }
    fs::write(SETTINGS, settings)?;
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_page_of_all_machines_takes_no_guard_on_its_host() -> Tested {
    let _machine = Machine::without_guard();
    for name in ["guard-fleet", "guard-console"] {
        succeeds(quiet("dpkg").arg("--install").arg(machine::package(name)));
    }
    assert!(!fs::exists("/usr/bin/guard")?);
    one_page_for_all()?;
    let purged = machine::dpkg(&["--purge", "guard-fleet"]);
    assert!(purged.status.success(), "{}", said(&purged));
    Ok(())
}

#[test]
#[ignore = "it sets the machine's clock: `cargo xtask vm` has some to throw away"]
fn a_clock_that_jumps_by_months_leaves_no_question_and_no_record_behind() -> Tested {
    let _machine = Machine::with_guard();
    succeeds(&mut machine::install(&machine::package("guard-fleet")));
    clock::jumps()?;
    let purged = machine::dpkg(&["--purge", "guard-fleet"]);
    assert!(purged.status.success(), "{}", said(&purged));
    Ok(())
}

/// What both processes of it are.
const NOBODY: [&str; 4] = [
    "CapEff:\t0000000000000000",
    "CapBnd:\t0000000000000000",
    "NoNewPrivs:\t1",
    "Seccomp:\t2",
];

/// The console of many machines, beside a guard-fleet of its own.
fn one_page_for_all() -> Tested {
    succeeds(&mut machine::install(&machine::package("guard-console")));
    let own = text(FLEET, "toml", "fleet-console.toml");
    fs::write(
        CONSOLE_SETTINGS,
        own.replace("nats1.example.net", "localhost"),
    )?;
    let pages = fs::read_to_string(PAGES_SETTINGS)?;
    fs::write(
        PAGES_SETTINGS,
        format!("{pages}\nfleet = \"/run/guard-fleet/console.sock\"\n"),
    )?;
    typed(&text(FLEET, "sh", "guard-fleet-console"));
    for unit in ["guard-fleet-console.service", "guard-console.service"] {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
        let pid = property(unit, "MainPID");
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        for line in NOBODY {
            assert!(status.contains(line), "{unit}: {line}: {status}");
        }
    }
    let log = succeeds(quiet("journalctl").args(["--quiet", "--unit", "guard-fleet-console"]));
    assert!(log.contains("this console's key"), "{log}");
    // It hears the console's user: nobody has said yet who may log in.
    let login = [
        "-u",
        "guard-console",
        "--",
        "guard-console",
        "login",
        "alice",
    ];
    let refused = quiet("runuser").args(login).output()?;
    assert!(
        said(&refused).contains("none of 0 machines"),
        "{}",
        said(&refused)
    );
    fs::remove_file(CONSOLE_SETTINGS)?;
    let purged = machine::dpkg(&["--purge", "guard-console"]);
    assert!(purged.status.success(), "{}", said(&purged));
    Ok(())
}
