//! `cargo xtask run -- CMD…`: a command of one's own under the guard, on this machine's own network.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::shell::{read, root, say, text};
use crate::{build, lab};

/// Builds, then becomes `guard run`, which starts a daemon for as long as the command runs if there is none.
///
/// # Errors
///
/// That this machine is not fit, that it does not compile, or that guard cannot be started.
pub(crate) fn run(policy: Option<PathBuf>, command: &[String]) -> Result<()> {
    lab::fit()?;
    build::build()?;
    let mut guard = Command::new(build::release().join("guard"));
    guard.arg("run").arg("--policy");
    guard.arg(policy.unwrap_or_else(|| root().join("policies/default.toml")));
    if let Some(user) = user()? {
        say(&format!("you are root, so it runs as {user}"));
        guard.args(["--user", &user]);
    }
    guard.arg("--").args(command);
    say(&text(&guard));
    let error = guard.exec();
    Err(error).context("cannot start guard")
}

/// Whom to run the command as, where guard does not find that out by itself: under sudo, it does.
fn user() -> Result<Option<String>> {
    if env::var_os("SUDO_UID").is_some() {
        return Ok(None);
    }
    let owner = fs::metadata(env::current_dir()?)?.uid();
    if owner == 0 {
        return Ok(Some("nobody".to_owned()));
    }
    let name = read(Command::new("id").args(["-nu", &owner.to_string()]))
        .with_context(|| format!("this directory belongs to user {owner}, who has no name"))?;
    Ok(Some(name.trim().to_owned()))
}
