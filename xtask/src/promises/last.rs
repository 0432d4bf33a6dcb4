//! When each was last seen true: kept in the cache, so that all clones of a machine know it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::{Promise, Shown, place};
use crate::cache::Cache;
use crate::shell::{read, root, say};
use crate::test::outcome::Outcome;

const FILE: &str = "promises.json";
/// What stands behind a commit where the tree differs.
pub(crate) const CHANGED: &str = ", with changes";

#[derive(Default, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Last(BTreeMap<String, Once>);

/// What was seen of one.
#[derive(Serialize, Deserialize)]
struct Once {
    /// The commit, and its day; none: never.
    seen_true: Option<String>,
    /// Where it was not true since.
    not_true: Option<String>,
}

impl Last {
    /// What is kept; nothing where that cannot be read, which is said where it is damaged.
    pub(super) fn read(cache: &Cache) -> Self {
        let file = cache.path(FILE);
        let Ok(kept) = fs::read(&file) else {
            return Self::default();
        };
        serde_json::from_slice(&kept).unwrap_or_else(|problem| {
            say(&format!(
                "{} is damaged ({problem}): when promises were last seen true is not known any more",
                file.display()
            ));
            Self::default()
        })
    }

    /// Lets no other run write it, until it is dropped: who adds to it reads it again first.
    pub(super) fn lock(cache: &Cache) -> Result<File> {
        cache.lock("promises")
    }

    /// # Errors
    ///
    /// The system's.
    pub(super) fn write(&self, cache: &Cache) -> Result<()> {
        let file = cache.path(FILE);
        let new = tempfile::NamedTempFile::new_in(cache.path("."))?;
        serde_json::to_writer_pretty(&new, self)?;
        new.persist(&file)
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(())
    }

    /// Takes in what came of tests at a commit. Gives the names of those that are not true.
    pub(super) fn take_in(
        &mut self,
        all: &[&Promise],
        outcome: &Outcome,
        commit: &str,
    ) -> Vec<String> {
        let mut is_false = Vec::new();
        for promise in all {
            let Some(is_true) = promise.is_true(outcome) else {
                continue;
            };
            let once = self.0.entry(promise.name.to_owned()).or_insert(Once {
                seen_true: None,
                not_true: None,
            });
            let commit = Some(commit.to_owned());
            if is_true {
                *once = Once {
                    seen_true: commit,
                    not_true: None,
                }
            } else {
                once.not_true = commit;
                is_false.push(promise.name.to_owned());
            }
        }
        is_false
    }

    /// What it is, where it is made, how it is shown, and when it was seen.
    pub(super) fn row(&self, promise: &Promise) -> Result<String> {
        let line = place::line(promise)?;
        let once = self.0.get(promise.name);
        let seen = match once {
            Some(Once {
                not_true: Some(commit),
                ..
            }) => format!("NOT TRUE at {commit}"),
            Some(Once {
                seen_true: Some(commit),
                ..
            }) => format!("true at {commit}"),
            _ => "not seen".to_owned(),
        };
        let by = match promise.shown {
            Shown::Here(_) => "test",
            Shown::InMachines(_) => "vm",
        };
        let tests = promise.tests().join(" ");
        let place = format!("{}:{line}", promise.file);
        let says = promise
            .says
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ");
        Ok(format!(
            "{:<20} {place:<22} {seen}\n    {says}\n    cargo xtask {by} {tests}",
            promise.name
        ))
    }
}

/// This commit and its day; with a `+` where files differ from it.
///
/// # Errors
///
/// That git does not tell.
pub(crate) fn commit() -> Result<String> {
    commit_in(root())
}

fn commit_in(dir: &Path) -> Result<String> {
    let git = |args: &[&str]| read(Command::new("git").arg("-C").arg(dir).args(args));
    let commit = git(&["log", "-1", "--format=%h of %cs"])?;
    let differs = !git(&["status", "--porcelain", "--untracked-files=no"])?
        .trim()
        .is_empty();
    let more = if differs { CHANGED } else { "" };
    Ok(format!("{}{more}", commit.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(dir: &Path, args: &[&str]) -> Result<String> {
        let mut git = Command::new("git");
        git.current_dir(dir)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .args(["-c", "user.name=a", "-c", "user.email=a@example.com"]);
        read(git.args(args))
    }

    #[test]
    fn a_clone_of_depth_1_says_which_commit_it_is() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let (whole, shallow) = (dir.path().join("whole"), dir.path().join("shallow"));
        fs::create_dir(&whole)?;
        git(&whole, &["init", "--quiet"])?;
        for text in ["one", "two"] {
            fs::write(whole.join("file"), text)?;
            git(&whole, &["add", "file"])?;
            git(&whole, &["commit", "--quiet", "-m", text])?;
        }
        let from = format!("file://{}", whole.display());
        git(
            dir.path(),
            &["clone", "--quiet", "--depth=1", &from, "shallow"],
        )?;
        assert_eq!(git(&shallow, &["rev-list", "--count", "HEAD"])?.trim(), "1");
        assert_eq!(commit_in(&shallow)?, commit_in(&whole)?);
        fs::write(shallow.join("file"), "three")?;
        assert!(commit_in(&shallow)?.ends_with(CHANGED));
        Ok(())
    }

    #[test]
    fn what_is_damaged_is_not_known_and_can_be_written_again() -> Result<()> {
        let dir = tempfile::tempdir()?;
        let cache = Cache::at(dir.path());
        let kept = |last: &Last| last.0.keys().cloned().collect::<Vec<_>>();
        for damaged in ["", "{", "[]", "{\"a\": 1}"] {
            fs::write(dir.path().join(FILE), damaged)?;
            let mut last = Last::read(&cache);
            assert!(last.0.is_empty(), "{damaged}");
            let once = Once {
                seen_true: Some("commit".to_owned()),
                not_true: None,
            };
            last.0.insert("a".to_owned(), once);
            last.write(&cache)?;
            assert_eq!(kept(&Last::read(&cache)), ["a"]);
        }
        Ok(())
    }
}
