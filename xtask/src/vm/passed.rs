//! What has passed already, at which commit and with which programs: kept in `target/vm-log`, so that a run that was
//! interrupted goes on.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::matrix;
use super::plan::{Cell, MachineName};
use super::report::{self, PassedSuite, Ran, SuiteStatus};
use crate::checkout::Checkout;
use crate::shell::say;

/// In the directory of the logs.
const FILE: &str = "passed.json";
/// What has passed, of one commit and one set of programs.
#[derive(Serialize, Deserialize)]
struct Kept {
    commit: String,
    programs: String,
    passed: Vec<PassedSuite>,
}

/// It, while suites run.
pub(super) struct PassedRecord {
    file: PathBuf,
    kept: Mutex<Kept>,
}

impl PassedRecord {
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
        let this = PassedSuite::none_of(cell);
        kept.passed.iter().any(|one| one.is_same(&this))
    }

    /// Takes in what came of a whole suite. Losing it costs time.
    pub(super) fn add(&self, ran: &Ran) {
        if ran.status() != SuiteStatus::Passed {
            return;
        }
        let mut kept = self.kept();
        kept.passed.push(PassedSuite::of(ran));
        if let Err(problem) = kept.write(&self.file) {
            say(&format!("a later run cannot go on from here: {problem:#}"));
        }
    }

    /// How many tests have passed.
    pub(super) fn tests(&self) -> usize {
        self.kept().passed.iter().map(|one| one.tests).sum()
    }

    /// All of it as a table.
    pub(super) fn table(&self, machines: &[MachineName]) -> String {
        report::table(machines, &self.kept().passed)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn fits(&self, earlier: &Self) -> bool {
        self.commit == earlier.commit && self.programs == earlier.programs
    }

    fn write(&self, file: &Path) -> Result<()> {
        matrix::write(file, &serde_json::to_string_pretty(self)?)
    }
}

fn of_earlier(file: &Path) -> Option<Kept> {
    serde_json::from_slice(&fs::read(file).ok()?).ok()
}

/// The commit, and whether something is changed beside it.
fn commit() -> Result<String> {
    let checkout = Checkout::read()?;
    let changed = if checkout.is_changed {
        " with changes"
    } else {
        ""
    };
    Ok(checkout.commit + changed)
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::kernels::Kernel;
    use super::super::report::TestsOutcome;
    use super::super::suites::{Kind, Suite};
    use super::*;

    pub(in super::super) fn cell(suite: &str) -> Cell {
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

    pub(in super::super) fn ran(suite: &str, failed: &[&str]) -> Ran {
        let failed = failed.iter().map(|&name| name.to_owned()).collect();
        let passed = vec![(format!("{suite}::passes"), 1.0)];
        Ran {
            kernel: "6.12",
            kind: Kind::Plain,
            suite: suite.to_owned(),
            tests: Ok(TestsOutcome {
                passed,
                failed,
                ..TestsOutcome::default()
            }),
            seconds: 1.0,
            log: "log".into(),
        }
    }

    #[test]
    fn what_passed_is_not_run_again_with_the_same_programs() -> Result<()> {
        let logs = tempfile::tempdir()?;
        let begin =
            |programs: &str, resume| PassedRecord::begin(logs.path(), programs.to_owned(), resume);
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
}
