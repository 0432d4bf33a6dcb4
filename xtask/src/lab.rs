//! What the privileged commands need of this machine.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};

use crate::shell::{cargo, is_root, run, target, which};
use crate::timings::Timings;
use crate::{build, install};

/// Programs, and the packages of Debian and Ubuntu that they are in.
const PROGRAMS: [(&str, &str); 20] = [
    ("curl", "curl"),
    ("dbus-daemon", "dbus"),
    ("dbus-send", "dbus"),
    ("fish", "fish"),
    ("git", "git"),
    ("gpg", "gpg"),
    ("gpg-agent", "gpg-agent"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("pkcheck", "polkitd"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("socat", "socat"),
    ("ssh-add", "openssh-client"),
    ("ssh-agent", "openssh-client"),
    ("tmux", "tmux"),
    ("wget", "wget"),
    ("zsh", "zsh"),
];

/// Sees to it that the lab can run here, but for the programs.
///
/// # Errors
///
/// That this is not root, or what could not be had.
pub(crate) fn equip() -> Result<()> {
    fit()?;
    obtain(
        &PROGRAMS,
        "the lab makes networks, requests and terminals with it",
    )
}

/// Whether this is root: the lab itself tells what the kernel lacks.
///
/// # Errors
///
/// That it is not.
pub(crate) fn fit() -> Result<()> {
    ensure!(
        is_root(),
        "this makes network namespaces and loads eBPF programs, and so needs root: put `sudo -E env \"PATH=$PATH\"` \
         before the command"
    );
    Ok(())
}

/// Sees to it that the lab can run here, and builds the programs and `guard-lab` for it, as people get them. Gives
/// the directory that they are in.
///
/// # Errors
///
/// That this is not root, or what could not be had or built.
pub fn prepare_as_released() -> Result<PathBuf> {
    equip()?;
    build::build()?;
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "guard-lab"])
        .args(["--bins", "--target-dir"])
        .arg(target()))?;
    Ok(build::release())
}

/// Runs a command of the program that measures guard and shows it at work, having built it and `programs`. It is no part of this one, which
/// is built before anything else.
///
/// # Errors
///
/// That something does not compile, or that it failed.
pub(crate) fn measure(command: &str, args: &[String], programs: &[&str]) -> Result<()> {
    let timings = Timings::begin();
    timings.stage("what the lab needs", equip)?;
    timings.stage("the kernel half", build::prepare)?;
    // At once: what they depend on has the same features then, and is compiled once.
    let all = [programs, &["guard-lab", "guard-bench"]].concat();
    timings.stage(&format!("build of {}", all.join(", ")), || {
        run(build::programs(&all).arg("--target-dir").arg(target()))
    })?;
    run(Command::new(build::tested().join("guard-bench"))
        .arg(command)
        .args(args))
}

/// Shows the guard at work; with `fleet`, on several machines.
///
/// # Errors
///
/// That it does not compile, or which step failed.
pub(crate) fn demo(fleet: bool) -> Result<()> {
    if fleet {
        let programs = [&build::PROGRAMS[..], &build::APART].concat();
        measure("demo", &["--fleet".to_owned()], &programs)
    } else {
        // Its policy has no names to resolve.
        measure("demo", &[], &build::PROGRAMS[..3])
    }
}

/// Builds what measures the ratios that are measured with each change, and the programs that are tested.
///
/// # Errors
///
/// That this is not root, or what could not be had or built.
pub(crate) fn build_ratios() -> Result<()> {
    equip()?;
    build::prepare()?;
    // With the suites, and so with the features of what is tested: little has to be built.
    let programs = ["guard", "guardd", "guard-lab", "guard-bench"];
    let programs = programs.iter().flat_map(|program| ["--bin", program]);
    run(build::workspace(&["build", "--quiet"])
        .args(programs)
        .args(["--test", "suites"]))
}

/// Measures the ratios, with what [`build_ratios`] has built.
///
/// # Errors
///
/// That one is off from what the documents say.
pub(crate) fn ratios() -> Result<()> {
    run(Command::new(build::tested().join("guard-bench")).args(["bench", "--gate"]))
}

/// Installs the packages of those programs that are missing.
///
/// # Errors
///
/// What could not be had.
pub fn obtain(programs: &[(&str, &str)], why: &str) -> Result<()> {
    let missing = programs
        .iter()
        .filter(|(program, _)| which(program).is_none());
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    install::apt_install(&packages, why)
}
