//! What the privileged commands need of this machine.

use anyhow::Result;

use crate::shell::{cargo, run, target, which};
use crate::{build, install};

/// Programs, and the packages of Debian and Ubuntu that they are in.
const PROGRAMS: [(&str, &str); 14] = [
    ("curl", "curl"),
    ("dbus-daemon", "dbus"),
    ("dbus-send", "dbus"),
    ("ip", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("openssl", "openssl"),
    ("pkcheck", "polkitd"),
    ("python3", "python3"),
    ("setpriv", "util-linux"),
    ("socat", "socat"),
    ("ssh-agent", "openssh-client"),
    ("tmux", "tmux"),
    ("wget", "wget"),
];

/// Sees to it that the lab can run here, and builds `guard`, `guardd` and `guard-lab` for it.
///
/// # Errors
///
/// That this is not root, that the kernel is not fit, or what could not be had or built.
pub(crate) fn prepare() -> Result<()> {
    guard_lab::fit()?;
    obtain(
        &PROGRAMS,
        "the lab makes networks, requests and terminals with it",
    )?;
    build::build()?;
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "guard-lab"])
        .args(["--bins", "--target-dir"])
        .arg(target()))?;
    guard_lab::bins::look_in(build::release());
    Ok(())
}

/// Installs the packages of those programs that are missing.
///
/// # Errors
///
/// What could not be had.
pub(crate) fn obtain(programs: &[(&str, &str)], why: &str) -> Result<()> {
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
