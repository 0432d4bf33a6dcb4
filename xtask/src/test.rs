//! `cargo xtask test`.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::shell::{cargo_by, run, target};
use crate::{before, build, clients, lab};

/// Runs every test, the privileged ones on this machine's kernel.
///
/// # Errors
///
/// That this machine cannot run all of them, or that one failed.
pub(crate) fn test(args: &[String]) -> Result<()> {
    test_with(args, &[])
}

/// The same, with more in the environment of the tests.
///
/// # Errors
///
/// As [`test`].
pub(crate) fn test_with(args: &[String], more: &[(&str, &Path)]) -> Result<()> {
    lab::prepare()?;
    let before = before::build()?;
    let clients = clients::obtain(args)?;
    // A job in the background of a script ignores these, and so would what the tests interrupt.
    let mut env = Command::new("env");
    env.arg("--default-signal=INT,QUIT");
    run(cargo_by(env)
        .args(["test", "--locked", "--workspace", "--exclude", "guard-ebpf"])
        .arg("--target-dir")
        .arg(target())
        .args(args)
        .envs(more.iter().copied())
        .env(guard_lab::bins::DIR, build::release())
        .env(guard_lab::bins::BEFORE, before)
        .envs(clients.map(|dir| (guard_lab::bins::CLIENTS, dir))))
}
