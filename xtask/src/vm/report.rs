//! What came of the suites.

use std::fmt;
use std::path::PathBuf;

use super::suites::Kind;

/// How a suite ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Passed,
    Failed,
    /// The machine did, twice.
    Broken,
}

impl Status {
    /// That of two parts together.
    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::Passed { other } else { self }
    }
}

/// Tests of a suite.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed: u32,
    pub(super) failed: u32,
    pub(super) ignored: u32,
}

impl Counts {
    /// Takes in a line of libtest's: `test result: ok. 10 passed; 0 failed; 0 ignored; …`.
    pub(super) fn read(&mut self, line: &str) {
        let Some((_, counts)) = line
            .strip_prefix("test result: ")
            .and_then(|rest| rest.split_once(". "))
        else {
            return;
        };
        for count in counts.split("; ") {
            let Some((number, what)) = count.split_once(' ') else {
                continue;
            };
            let number = number.parse().unwrap_or(0);
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }
}

/// What came of a suite in a machine.
pub(super) struct Outcome {
    pub(super) kernel: &'static str,
    pub(super) kind: Kind,
    pub(super) suite: String,
    pub(super) status: Status,
    pub(super) counts: Counts,
    /// Of the tests alone, without the boot.
    pub(super) seconds: f64,
    pub(super) log: PathBuf,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = match self.status {
            Status::Passed => "ok",
            Status::Failed => "FAILED",
            Status::Broken => "BROKEN",
        };
        let Counts {
            passed,
            failed,
            ignored,
        } = self.counts;
        write!(
            f,
            "{:<5} {:<11} {:<12} {status:<6} {passed:>3} passed, {failed} failed",
            self.kernel,
            self.kind.name(),
            self.suite
        )?;
        if ignored > 0 {
            write!(f, ", {ignored} ignored")?;
        }
        write!(f, ", {:.1} s", self.seconds)?;
        if self.status != Status::Passed {
            write!(f, "; see {}", self.log.display())?;
        }
        Ok(())
    }
}

/// A table for the documents: what each kind of machine passes. What failed has no number in it.
pub(super) fn table(outcomes: &[Outcome]) -> String {
    let mut machines: Vec<_> = outcomes.iter().map(|o| (o.kernel, o.kind)).collect();
    machines.dedup();
    let mut suites: Vec<_> = outcomes.iter().map(|o| o.suite.as_str()).collect();
    suites.sort_unstable();
    suites.dedup();
    let mut table = String::from("| suite |");
    for (kernel, kind) in &machines {
        table.push_str(&format!(" {kernel} {} |", kind.name()));
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(machines.len()));
    for suite in suites {
        table.push_str(&format!("\n| `{suite}` |"));
        for (kernel, kind) in &machines {
            let found = outcomes
                .iter()
                .find(|o| o.suite == suite && o.kernel == *kernel && o.kind == *kind);
            let cell = match found {
                Some(o) if o.status == Status::Passed => o.counts.passed.to_string(),
                Some(_) => "failed".to_owned(),
                None => String::new(),
            };
            table.push_str(&format!(" {cell} |"));
        }
    }
    table.push('\n');
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_counted() {
        let mut counts = Counts::default();
        counts.read("test a ... ok");
        counts.read("test result: FAILED. 3 passed; 1 failed; 2 ignored; 0 measured; 0 filtered out; finished in 11.73s");
        let wanted = Counts {
            passed: 3,
            failed: 1,
            ignored: 2,
        };
        assert_eq!(counts, wanted);
    }
}
