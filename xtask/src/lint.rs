//! `cargo xtask lint`.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell::{cargo, read, root, run};
use crate::timings::Timings;
use crate::{build, dependencies, ebpf, install};

/// Installed where there is none; a later one may want a later compiler.
const DENY_VERSION: &str = "0.20.2";

/// Checks format, lints, what the dependencies may be, and the alerts: all of it, whatever fails first.
///
/// # Errors
///
/// Which of these found something.
pub(crate) fn lint() -> Result<()> {
    let timings = Timings::begin();
    dependencies::restore()?;
    timings.stage("the kernel half", build::prepare)?;
    checks(&timings)
}

/// One of them.
type Check = fn() -> Result<()>;

/// The same of what is prepared.
///
/// # Errors
///
/// As [`lint`].
pub(crate) fn checks(timings: &Timings) -> Result<()> {
    let checks: [(&str, Check); 5] = [
        ("format", format),
        ("licences and sources of dependencies", deny),
        ("alerts for Prometheus", alerts),
        ("clippy of the kernel half", ebpf::lint),
        ("clippy", clippy),
    ];
    let failed: Vec<_> = checks
        .iter()
        .filter_map(|(name, check)| timings.stage(name, check).err())
        .map(|error| format!("{error:#}"))
        .collect();
    ensure!(failed.is_empty(), "{}", failed.join("\nxtask: "));
    Ok(())
}

fn format() -> Result<()> {
    run(cargo().args(["fmt", "--all", "--check"])).context("run `cargo fmt --all`")
}

fn clippy() -> Result<()> {
    run(build::workspace(&["clippy"]).args(["--all-targets", "--", "--deny", "warnings"]))
}

fn deny() -> Result<()> {
    let path = install::path_with_tools()?;
    let version = read(
        Command::new("cargo-deny")
            .arg("--version")
            .env("PATH", &path),
    );
    if version.is_err() {
        let why = "it checks licences and sources of the dependencies";
        install::cargo_install("cargo-deny", DENY_VERSION, why)?;
    }
    let checks = ["bans", "licenses", "sources"];
    run(cargo()
        .args(["deny", "--locked", "check", "--hide-inclusion-graph"])
        .args(checks)
        .env("PATH", path))
}

/// That Prometheus takes the alerts that ship, and that each comes when it should, and only then.
fn alerts() -> Result<()> {
    let why = "it checks the alerts for Prometheus";
    let promtool = install::obtain_unpacked("promtool", "prometheus", why)?;
    for (verb, file) in [("check", "alerts.yml"), ("test", "alerts.test.yml")] {
        run(Command::new(&promtool)
            .current_dir(root().join("packaging/prometheus"))
            .args([verb, "rules", file]))?;
    }
    Ok(())
}
