//! What the privileged commands need of this machine.

use anyhow::Result;

use crate::shell::{cargo, run, target, which};
use crate::{build, install};

/// Programs, and the packages of Debian and Ubuntu that they are in.
const PROGRAMS: [(&str, &str); 5] = [
    ("ip", "iproute2"),
    ("ss", "iproute2"),
    ("nft", "nftables"),
    ("nsenter", "util-linux"),
    ("setpriv", "util-linux"),
];

/// Sees to it that the lab can run here, and builds `guard`, `guardd` and `guard-lab` for it.
///
/// # Errors
///
/// That this is not root, that the kernel is not fit, or what could not be had or built.
pub(crate) fn prepare() -> Result<()> {
    guard_lab::fit()?;
    obtain_programs()?;
    build::build()?;
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "guard-lab"])
        .args(["--bins", "--target-dir"])
        .arg(target()))?;
    guard_lab::bins::look_in(build::release());
    Ok(())
}

fn obtain_programs() -> Result<()> {
    let missing = PROGRAMS
        .iter()
        .filter(|(program, _)| which(program).is_none());
    let mut packages: Vec<_> = missing.map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    install::apt_install(&packages, "the lab makes networks with it")
}
