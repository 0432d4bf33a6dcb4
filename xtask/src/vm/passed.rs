//! What has passed already, at which commit and with which programs: kept in `target/vm-log`, so that a run that was
//! interrupted goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};

use super::plan::Cell;
use super::report::{self, Passed, Ran, Status};
use crate::shell::{read, root, say};

/// In the directory of the logs.
const FILE: &str = "passed.json";
/// Where the table is in the documents, and between what.
const DOCUMENT: &str = "docs/kernels.md";
const BEGIN: &str = "<!-- written by cargo xtask vm --write -->\n";
const END: &str = "<!-- end of what is written -->\n";

/// What has passed, of one commit and one set of programs.
#[derive(Serialize, Deserialize)]
struct Kept {
    commit: String,
    programs: String,
    passed: Vec<Passed>,
}

/// It, while suites run.
pub(super) struct Record {
    file: PathBuf,
    kept: Mutex<Kept>,
}

impl Record {
    /// Begins one; what an earlier run left is part of it where that is wished, and fits.
    ///
    /// # Errors
    ///
    /// That git does not say which commit this is.
    pub(super) fn begin(logs: &Path, programs: String, resume: bool) -> Result<Self> {
        let file = logs.join(FILE);
        let commit = commit()?;
        let mut kept = Kept {
            commit,
            programs,
            passed: Vec::new(),
        };
        if resume {
            match of_earlier(&file) {
                Some(earlier) if kept.fits(&earlier) => kept.passed = earlier.passed,
                Some(earlier) => say(&format!(
                    "what passed at {} with other programs says nothing about these: running all",
                    earlier.commit
                )),
                None => say("nothing has passed yet: running all"),
            }
        }
        let kept = Mutex::new(kept);
        Ok(Self { file, kept })
    }

    /// Whether a suite has passed in such a machine, all of it.
    pub(super) fn has(&self, cell: &Cell) -> bool {
        let kept = self.kept();
        kept.passed.iter().any(|one| {
            one.kernel == cell.kernel.name()
                && one.kind == cell.kind.name()
                && one.suite == cell.suite.name
        })
    }

    /// Takes in what came of a whole suite. Losing it costs time.
    pub(super) fn add(&self, ran: &Ran) {
        if ran.status() != Status::Passed {
            return;
        }
        let mut kept = self.kept();
        kept.passed.push(Passed {
            kernel: ran.kernel.to_owned(),
            kind: ran.kind.name().to_owned(),
            suite: ran.suite.clone(),
            tests: ran.passed(),
        });
        if let Err(problem) = kept.write(&self.file) {
            say(&format!("a later run cannot go on from here: {problem:#}"));
        }
    }

    /// How many tests have passed.
    pub(super) fn tests(&self) -> usize {
        self.kept().passed.iter().map(|one| one.tests).sum()
    }

    /// All of it as a table.
    pub(super) fn table(&self, machines: &[(&str, &str)]) -> String {
        report::table(machines, &self.kept().passed)
    }

    /// Writes the table into the documents.
    ///
    /// # Errors
    ///
    /// That there is no place for it, or that it cannot be written.
    pub(super) fn write_table(&self, machines: &[(&str, &str)]) -> Result<()> {
        let date = read(Command::new("date").args(["--utc", "+%F"]))?;
        let commit = &self.kept().commit.clone();
        let says = format!("On {} at commit {commit}.\n", date.trim());
        let path = root().join(DOCUMENT);
        let text =
            fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = between(&text, &format!("{says}\n{}", self.table(machines)))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn fits(&self, earlier: &Self) -> bool {
        self.commit == earlier.commit && self.programs == earlier.programs
    }

    /// Whole or not at all: the run may be killed meanwhile.
    fn write(&self, file: &Path) -> Result<()> {
        let unfinished = file.with_extension("unfinished");
        fs::write(&unfinished, serde_json::to_vec_pretty(self)?)
            .with_context(|| format!("cannot write {}", unfinished.display()))?;
        Ok(fs::rename(unfinished, file)?)
    }
}

fn of_earlier(file: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// The commit, and whether something is changed beside it.
fn commit() -> Result<String> {
    let git = |args: &[&str]| read(Command::new("git").current_dir(root()).args(args));
    let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
    let changed = git(&["status", "--porcelain", "--untracked-files=no"])?;
    let changed = match changed.trim().is_empty() {
        true => "",
        false => " with changes",
    };
    Ok(format!("{}{changed}", commit.trim()))
}

/// The text with something else between the marks.
fn between(text: &str, new: &str) -> Result<String> {
    let (before, rest) = text.split_once(BEGIN).unwrap_or_default();
    let after = rest.split_once(END).map(|(_, after)| after);
    ensure!(
        after.is_some(),
        "{DOCUMENT} has no lines {:?} and {:?}, between which the table belongs",
        BEGIN.trim(),
        END.trim()
    );
    let after = after.unwrap_or_default();
    Ok(format!("{before}{BEGIN}{new}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::super::kernels::Kernel;
    use super::super::report::Tests;
    use super::super::suites::{Kind, Suite};
    use super::*;

    fn cell(suite: &str) -> Cell {
        Cell {
            kernel: Kernel::V6_12,
            kind: Kind::Plain,
            suite: Suite {
                name: suite.to_owned(),
                filters: Vec::new(),
                within: &[],
                without: &[],
            },
        }
    }

    fn ran(suite: &str, failed: &[&str]) -> Ran {
        let failed = failed.iter().map(|&name| name.to_owned()).collect();
        Ran {
            kernel: "6.12",
            kind: Kind::Plain,
            suite: suite.to_owned(),
            tests: Ok(Tests {
                failed,
                ..Tests::default()
            }),
            seconds: 1.0,
            log: "log".into(),
        }
    }

    #[test]
    fn what_passed_is_not_run_again_with_the_same_programs() -> Result<()> {
        let logs = tempfile::tempdir()?;
        let begin =
            |programs: &str, resume| Record::begin(logs.path(), programs.to_owned(), resume);
        let first = begin("these", true)?;
        first.add(&ran("holes", &[]));
        first.add(&ran("ends", &["ends::one"]));
        let second = begin("these", true)?;
        assert!(second.has(&cell("holes")));
        assert!(!second.has(&cell("ends")));
        assert!(!begin("others", true)?.has(&cell("holes")));
        assert!(!begin("these", false)?.has(&cell("holes")));
        Ok(())
    }

    #[test]
    fn the_table_replaces_what_is_between_the_marks() -> Result<()> {
        let text = format!("a\n{BEGIN}old\n{END}b\n");
        assert_eq!(between(&text, "new\n")?, format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(between("no marks", "new").is_err());
        let path = root().join(DOCUMENT);
        assert!(between(&fs::read_to_string(path)?, "new").is_ok());
        Ok(())
    }
}
