//! Whether the same sources become the same bytes in another place.

use std::env;
use std::fs;
use std::path::Path;
use std::process::{self, Command};

use anyhow::{Context as _, Result, ensure};

use super::{SUMS, empty, out};
use crate::shell::{cargo_alone, read, root, run, say};

/// Makes the packages again, of the same commit, in a directory of another name, in another time zone and with
/// other permissions for new files; and compares.
///
/// # Errors
///
/// That there is something that no commit has, or which packages differ.
pub(super) fn check() -> Result<()> {
    let changed = read(git().args(["status", "--porcelain"]))?;
    ensure!(
        changed.is_empty(),
        "commit first, for another place gets what is committed:\n{changed}"
    );
    let place = env::temp_dir().join(format!("guard-made-again-{}", process::id()));
    say(&format!("making the packages again in {}", place.display()));
    let differ = make_in(&place).and_then(|()| differences(&place.join("target/package")));
    let removed = fs::remove_dir_all(&place);
    let differ = differ?;
    removed.with_context(|| format!("cannot remove {}", place.display()))?;
    ensure!(
        differ.is_empty(),
        "not the same bytes in another place: {}",
        differ.join(", ")
    );
    say("the same bytes in another place");
    Ok(())
}

fn git() -> Command {
    let mut git = Command::new("git");
    git.current_dir(root());
    git
}

fn make_in(place: &Path) -> Result<()> {
    empty(place)?;
    run(git().args(["clone", "--quiet", "--shared", "."]).arg(place))?;
    let xtask = cargo_alone();
    let mut other = Command::new("sh");
    other
        .args(["-c", "umask 077; exec \"$@\"", "sh"])
        .arg(xtask.get_program());
    for (name, value) in xtask.get_envs() {
        match value {
            Some(value) => other.env(name, value),
            None => other.env_remove(name),
        };
    }
    run(other
        .args(["xtask", "package"])
        .current_dir(place)
        .env("TZ", "Pacific/Kiritimati")
        .env("LC_ALL", "C"))
}

/// The lines of both lists of checksums that are not the same.
fn differences(other: &Path) -> Result<Vec<String>> {
    let lines = |dir: &Path| {
        let path = dir.join(SUMS);
        let text = fs::read_to_string(&path);
        let text = text.with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(text.lines().map(str::to_owned).collect::<Vec<_>>())
    };
    let (ours, theirs) = (lines(&out())?, lines(other)?);
    ensure!(!theirs.is_empty(), "nothing was made");
    Ok(theirs
        .into_iter()
        .filter(|line| !ours.contains(line))
        .collect())
}
