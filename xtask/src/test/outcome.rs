//! What came of tests, wherever they ran.

use std::collections::BTreeSet;
use std::fs;
use std::ops::AddAssign;

use anyhow::{Context as _, Result, ensure};

use crate::shell::target;

/// So many tests may fail at first and pass when they run again.
const MAX_FLAKY: usize = 3;
/// Where both outputs of each of those are kept, below `target`.
const FLAKY: &str = "ci/flaky";

/// A test that failed, and passed when it ran again, alone.
#[derive(Debug)]
pub(crate) struct Flaky {
    pub(crate) name: String,
    /// What it said when it failed,
    pub(crate) failed: String,
    /// and when it passed.
    pub(crate) passed: String,
}

/// What came of all of them.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// Those that passed in the end, flaky ones included.
    pub(crate) passed: usize,
    /// The names of those.
    pub(crate) names: BTreeSet<String>,
    /// The names of those that failed twice.
    pub(crate) failed: Vec<String>,
    pub(crate) flaky: Vec<Flaky>,
    pub(crate) skipped: usize,
    /// What is wrong beside the tests.
    pub(crate) problems: Vec<String>,
}

impl Outcome {
    /// Of one thing that is no test of nextest's.
    pub(crate) fn of(name: &str, done: Result<()>) -> Self {
        match done {
            Ok(()) => Self {
                passed: 1,
                names: BTreeSet::from([name.to_owned()]),
                ..Self::default()
            },
            Err(problem) => Self {
                failed: vec![name.to_owned()],
                problems: vec![format!("{name}: {problem:#}")],
                ..Self::default()
            },
        }
    }

    /// How many were run.
    pub(crate) fn ran(&self) -> usize {
        self.passed + self.failed.len()
    }

    /// Says it, the counts last.
    pub(crate) fn print(&self) {
        println!();
        for flaky in &self.flaky {
            println!("flaky: {}", flaky.name);
            println!("  it failed first, and said:\n{}", indented(&flaky.failed));
            println!(
                "  it passed when it ran again, alone, and said:\n{}",
                indented(&flaky.passed)
            );
        }
        for name in &self.failed {
            println!("failed twice: {name}");
        }
        for problem in &self.problems {
            println!("{problem}");
        }
        if let Err(problem) = self.keep_flaky() {
            println!("what flaky tests said is not kept: {problem:#}");
        }
        if !self.flaky.is_empty() {
            let names: Vec<_> = self.flaky.iter().map(|flaky| &*flaky.name).collect();
            println!("{} flaky: {}", names.len(), names.join(", "));
        }
        if let Err(why) = self.verdict() {
            println!("{why}");
        }
        println!(
            "{} passed, {} failed, {} skipped",
            self.passed,
            self.failed.len(),
            self.skipped
        );
    }

    /// # Errors
    ///
    /// Why the run as a whole has failed.
    pub(crate) fn verdict(&self) -> Result<()> {
        ensure!(self.problems.is_empty(), "not only tests have failed");
        let failed = self.failed.len();
        ensure!(failed == 0, "{failed} tests failed, and failed again");
        ensure!(
            self.flaky.len() <= MAX_FLAKY,
            "{} tests are flaky, which is more than {MAX_FLAKY}: what they said is in {}",
            self.flaky.len(),
            target().join(FLAKY).display()
        );
        Ok(())
    }

    fn keep_flaky(&self) -> Result<()> {
        let dir = target().join(FLAKY);
        crate::cache::remove(&dir)?;
        if self.flaky.is_empty() {
            return Ok(());
        }
        fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
        for flaky in &self.flaky {
            let name = flaky.name.replace([' ', ':', '/', '$'], "-");
            for (which, text) in [("failed", &flaky.failed), ("passed", &flaky.passed)] {
                fs::write(dir.join(format!("{name}.{which}")), text)?;
            }
        }
        Ok(())
    }
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.skipped += other.skipped;
        self.names.extend(other.names);
        self.failed.extend(other.failed);
        self.flaky.extend(other.flaky);
        self.problems.extend(other.problems);
    }
}

fn indented(text: &str) -> String {
    let lines = text.lines().map(|line| format!("    {line}"));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_flaky(count: usize) -> Outcome {
        let flaky = |at| Flaky {
            name: format!("test {at}"),
            failed: String::new(),
            passed: String::new(),
        };
        Outcome {
            passed: 10,
            flaky: (0..count).map(flaky).collect(),
            ..Outcome::default()
        }
    }

    #[test]
    fn three_flaky_tests_pass_and_a_fourth_does_not() {
        assert!(with_flaky(0).verdict().is_ok());
        assert!(with_flaky(3).verdict().is_ok());
        assert!(with_flaky(4).verdict().is_err());
    }

    #[test]
    fn one_that_failed_twice_fails_the_run() {
        let outcome = Outcome {
            failed: vec!["a".to_owned()],
            ..with_flaky(0)
        };
        assert!(outcome.verdict().is_err());
    }

    #[test]
    fn what_ran_in_two_places_is_one_outcome() {
        let mut sum = with_flaky(2);
        sum += with_flaky(2);
        assert_eq!((sum.passed, sum.flaky.len()), (20, 4));
        assert!(sum.verdict().is_err());
    }
}
