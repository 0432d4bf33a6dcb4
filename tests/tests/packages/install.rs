//! What an installation leaves.

use std::fs;
use std::path::Path;
use std::time::Duration;

use guard_lab::{NEVER, Network, OPEN, Tested, V4};

use crate::packages::agent::{Agent, outside};
use crate::packages::machine::{self, Machine, files, guard, property, quiet, said, succeeds};
use crate::packages::{BEGIN, ENABLED, KERNEL, POLICY, STATIC};

fn microseconds(unit: &str, name: &str) -> Duration {
    Duration::from_micros(property(unit, name).parse().unwrap())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_installation_enforces_and_a_purge_takes_all_away() -> Tested {
    let machine = Machine::without_guard();
    let before = files();
    let told = succeeds(&mut machine::install(&machine.first));
    let mut told_last = told.lines().skip_while(|line| *line != BEGIN);
    assert_eq!(told_last.next(), Some(BEGIN), "{told}");
    let of_others = |line: &str| line.starts_with("Processing triggers for ");
    assert!(told_last.all(of_others), "{told}");
    assert_eq!(machine::state(), "installed");
    assert_enforces()?;

    machine.write_policy("asks", POLICY);
    assert!(files().len() > before.len());
    let purged = quiet("dpkg").args(["--purge", "guard"]).output()?;
    assert!(purged.status.success(), "{}", said(&purged));
    // Among dpkg's lines stands a sentence, and no line of a log.
    let told: Vec<_> = said(&purged).lines().map(str::to_owned).collect();
    let is_told = |line: &String| line == "taken down: nothing is guarded any more";
    assert!(told.iter().any(is_told), "{told:?}");
    // The group stays, as is the custom of the distribution: files may belong to it.
    let of_the_group = ["/etc/group-", "/etc/gshadow-", "/etc/.pwd.lock"];
    let after = files();
    let left = after
        .difference(&before)
        .filter(|file| !of_the_group.contains(&&***file));
    let left: Vec<_> = left.collect();
    assert!(left.is_empty(), "{left:?}");
    for path in KERNEL {
        assert!(!Path::new(path).exists(), "{path}");
    }
    for unit in ENABLED {
        assert_eq!(property(unit, "ActiveState"), "inactive", "{unit}");
        assert_ne!(property(unit, "LoadState"), "masked", "{unit}");
    }
    Ok(())
}

/// That guardd enforces, and is to do so after each boot, as every package leaves it.
pub(crate) fn assert_enforces() -> Tested {
    let presets = fs::read_to_string("/usr/lib/systemd/system-preset/90-guard.preset")?;
    let presets: Vec<_> = presets.lines().map(str::to_owned).collect();
    let mut expected = ENABLED.map(|unit| format!("enable {unit}")).to_vec();
    expected.push("disable guard-metrics.socket".to_owned());
    assert_eq!(presets, expected);
    assert_eq!(
        property("guard-metrics.socket", "UnitFileState"),
        "disabled"
    );
    for unit in ENABLED {
        assert_eq!(property(unit, "ActiveState"), "active", "{unit}");
        assert_eq!(property(unit, "UnitFileState"), "enabled", "{unit}");
    }
    for unit in STATIC {
        assert_eq!(property(unit, "UnitFileState"), "static", "{unit}");
        assert_ne!(property(unit, "ActiveState"), "failed", "{unit}");
    }
    let status = guard(&["status"]);
    assert_eq!(status["enforcing"], true, "{status}");
    assert_eq!(status["cgroup_root"], "/sys/fs/cgroup/guard.slice");
    tell_how_soon()?;
    Ok(())
}

/// How soon guardd enforced after its start. systemd gives it a time for that, and would have it failed.
fn tell_how_soon() -> Tested {
    let unit = "guardd.service";
    let started = microseconds(unit, "ExecMainStartTimestampMonotonic");
    let took = microseconds(unit, "ActiveEnterTimestampMonotonic") - started;
    let emulated = quiet("systemd-detect-virt").output()?.stdout == b"qemu\n";
    eprintln!("enforcing {took:?} after its start, emulated: {emulated}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn a_unit_that_an_administrator_masked_stays_so_and_the_others_are_enabled() -> Tested {
    const MASKED: &str = "guardd.service";
    let machine = Machine::without_guard();
    succeeds(quiet("systemctl").args(["mask", MASKED]));
    succeeds(&mut machine::install(&machine.first));
    for unit in ENABLED {
        let state = if unit == MASKED { "masked" } else { "enabled" };
        assert_eq!(property(unit, "UnitFileState"), state, "{unit}");
    }
    succeeds(quiet("systemctl").args(["unmask", MASKED]));
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_ordinary_user_runs_a_command_under_it() -> Tested {
    let _machine = Machine::with_guard();
    let (network, production) = Network::with_production()?;
    assert!(outside(&network, V4, 443));
    assert!(outside(&network, NEVER, 443));
    let before = production.reached()?.len();
    let mut agent = Agent::start(&network);
    assert!(!agent.reaches(V4, 443));
    assert!(!agent.reaches(NEVER, 443));
    assert_eq!(production.reached()?.len(), before);
    assert!(agent.reaches(OPEN, 443));
    let sessions = guard(&["sessions"]);
    assert_eq!(sessions[0]["id"], *agent.session, "{sessions}");
    Ok(())
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn the_manual_and_completions_are_there() -> Tested {
    let _machine = Machine::with_guard();
    let files = succeeds(quiet("dpkg-query").args(["--listfiles", "guard"]));
    for file in [
        "/usr/share/man/man1/guard.1.gz",
        "/usr/share/man/man1/guard-run.1.gz",
        "/usr/share/man/man5/guard-policy.5.gz",
        "/usr/share/man/man8/guardd.8.gz",
        "/usr/share/bash-completion/completions/guard",
        "/usr/share/zsh/vendor-completions/_guard",
        "/usr/share/fish/vendor_completions.d/guard.fish",
        "/usr/share/guard/policies/default.toml",
        "/usr/share/doc/guard/copyright",
        "/usr/share/doc/guard/changelog.gz",
    ] {
        assert!(
            files.lines().any(|line| line == file),
            "no {file} in {files}"
        );
    }
    let conffiles =
        succeeds(quiet("dpkg-query").args(["--show", "--showformat=${Conffiles}", "guard"]));
    assert!(conffiles.contains("/etc/guard/guardd.toml"), "{conffiles}");
    assert!(succeeds(quiet("guard").arg("--version")).contains(env!("CARGO_PKG_VERSION")));
    Ok(())
}
