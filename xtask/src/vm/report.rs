//! What came of the suites.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::plan::{Cell, MachineName};
use super::suites::Kind;
use crate::test::outcome::{Flaky, Outcome};

/// How a suite ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum SuiteStatus {
    Passed,
    Failed,
    /// The machine broke, twice: of the tests nothing is known.
    Unknown,
}

/// What came of the tests of a suite, or of a part of it.
#[derive(Debug, Default)]
pub(super) struct TestsOutcome {
    /// Those that passed in the end, with their seconds.
    pub(super) passed: Vec<(String, f64)>,
    /// Those that failed twice.
    pub(super) failed: Vec<String>,
    pub(super) flaky: Vec<Flaky>,
}

impl TestsOutcome {
    pub(super) fn add(&mut self, other: Self) {
        self.passed.extend(other.passed);
        self.failed.extend(other.failed);
        self.flaky.extend(other.flaky);
    }

    pub(super) fn status(&self) -> SuiteStatus {
        if self.failed.is_empty() {
            SuiteStatus::Passed
        } else {
            SuiteStatus::Failed
        }
    }
}

/// What came of a suite in a machine.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) kernel: &'static str,
    pub(super) kind: Kind,
    pub(super) suite: String,
    /// None: the machine broke twice.
    pub(super) tests: Result<TestsOutcome, String>,
    /// Of the tests alone, without the boot.
    pub(super) seconds: f64,
    pub(super) log: PathBuf,
}

impl Ran {
    pub(super) fn status(&self) -> SuiteStatus {
        self.tests
            .as_ref()
            .map_or(SuiteStatus::Unknown, |tests| tests.status())
    }

    /// How many passed, in the end.
    pub(super) fn passed(&self) -> usize {
        self.tests.as_ref().map_or(0, |tests| tests.passed.len())
    }

    fn place(&self) -> String {
        format!("{} {}", self.kernel, self.kind.name())
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, suite) = (self.kind.name(), &self.suite);
        write!(f, "{:<5} {kind:<11} {suite:<12} ", self.kernel)?;
        match &self.tests {
            Ok(tests) => {
                let status = if tests.failed.is_empty() {
                    "ok"
                } else {
                    "FAILED"
                };
                let (passed, failed) = (tests.passed.len(), tests.failed.len());
                write!(f, "{status:<7} {passed:>3} passed, {failed} failed")?;
                if !tests.flaky.is_empty() {
                    write!(f, ", {} flaky", tests.flaky.len())?;
                }
            }
            Err(_) => write!(f, "unknown: the machine broke twice")?,
        }
        write!(f, ", {:.1} s", self.seconds)?;
        if self.status() != SuiteStatus::Passed {
            write!(f, "; see {}", self.log.display())?;
        }
        Ok(())
    }
}

/// All of it, as it is reported of tests anywhere.
pub(super) fn sum(all: Vec<Ran>) -> Outcome {
    let mut outcome = Outcome::default();
    for ran in all {
        let place = ran.place();
        match ran.tests {
            Ok(tests) => {
                outcome.passed += tests.passed.len();
                let names = tests.passed.into_iter().map(|(name, _)| name);
                outcome.names.extend(names);
                let failed = tests.failed.into_iter();
                outcome
                    .failed
                    .extend(failed.map(|name| format!("{place} {name}")));
                outcome
                    .flaky
                    .extend(tests.flaky.into_iter().map(|flaky| Flaky {
                        name: format!("{place} {}", flaky.name),
                        ..flaky
                    }));
            }
            Err(problem) => outcome.problems.push(format!(
                "{place} {}: unknown, for the machine broke twice ({problem}); see {}",
                ran.suite,
                ran.log.display()
            )),
        }
    }
    outcome
}

/// A suite that passed in a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PassedSuite {
    pub(super) kernel: String,
    pub(super) kind: String,
    pub(super) suite: String,
    pub(super) tests: usize,
}

impl PassedSuite {
    pub(super) fn of(ran: &Ran) -> Self {
        Self {
            kernel: ran.kernel.to_owned(),
            kind: ran.kind.name().to_owned(),
            suite: ran.suite.clone(),
            tests: ran.passed(),
        }
    }

    /// With no test yet.
    pub(super) fn none_of(cell: &Cell) -> Self {
        Self {
            kernel: cell.kernel.name().to_owned(),
            kind: cell.kind.name().to_owned(),
            suite: cell.suite.name.clone(),
            tests: 0,
        }
    }

    /// What it is of.
    pub(super) fn place(&self) -> (&str, &str, &str) {
        (&self.kind, &self.suite, &self.kernel)
    }

    /// Whether both are of one suite in one kind of machine, however many tests it had.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.place() == other.place()
    }
}

/// A list for the documents: the suites that each kind of machine passes. A suite that is not known to pass is not in it.
pub(super) fn table(machines: &[MachineName], passed: &[PassedSuite]) -> String {
    let mut suites: Vec<_> = passed.iter().map(|one| one.suite.as_str()).collect();
    suites.sort_unstable();
    suites.dedup();
    let mut kinds: Vec<&str> = Vec::new();
    for machine in machines {
        if !kinds.contains(&machine.kind) {
            kinds.push(machine.kind);
        }
    }
    let mut list = String::new();
    for kind in kinds {
        let of_kind = suites.iter().filter_map(|suite| {
            let of_suite: Vec<_> = passed.iter().filter(|one| one.suite == *suite).collect();
            kernels(machines, &of_suite, kind).map(|kernels| format!("`{suite}`{kernels}"))
        });
        let of_kind: Vec<_> = of_kind.collect();
        if !of_kind.is_empty() {
            list.push_str(&format!("- {kind}: {}\n", of_kind.join(", ")));
        }
    }
    list
}

/// On which kernels a suite passed in such machines; nothing where that is all of them.
fn kernels(machines: &[MachineName], passed: &[&PassedSuite], kind: &str) -> Option<String> {
    let mut all: Vec<_> = machines.iter().map(|machine| machine.kernel).collect();
    all.dedup();
    let has = |kernel: &&str| {
        passed
            .iter()
            .any(|one| one.kernel == *kernel && one.kind == kind)
    };
    let here: Vec<_> = all.iter().copied().filter(has).collect();
    match here.len() {
        0 => None,
        some if some == all.len() => Some(String::new()),
        _ => Some(format!(" on {}", here.join(" and "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(tests: Result<TestsOutcome, String>) -> Ran {
        Ran {
            kernel: "6.12",
            kind: Kind::Plain,
            suite: "holes".to_owned(),
            tests,
            seconds: 1.0,
            log: "log".into(),
        }
    }

    #[test]
    fn a_machine_that_broke_twice_is_a_problem_and_no_failed_test() {
        let outcome = sum(vec![ran(Err("it does not boot".to_owned()))]);
        assert_eq!(outcome.ran(), 0);
        assert_eq!(outcome.problems.len(), 1);
        assert!(outcome.problems[0].contains("holes: unknown"));
        assert!(outcome.verdict().is_err());
    }

    #[test]
    fn a_test_that_passed_at_its_second_go_is_flaky_with_both_outputs() {
        let tests = TestsOutcome {
            passed: vec![("holes::one".to_owned(), 1.0)],
            failed: vec!["holes::two".to_owned()],
            flaky: vec![Flaky {
                name: "holes::one".to_owned(),
                failed: "no".to_owned(),
                passed: "yes".to_owned(),
            }],
        };
        let outcome = sum(vec![ran(Ok(tests))]);
        assert_eq!(outcome.ran(), 2);
        assert_eq!(outcome.failed, ["6.12 plain holes::two"]);
        assert_eq!(outcome.flaky[0].name, "6.12 plain holes::one");
        assert_eq!(outcome.flaky[0].failed, "no");
        assert_eq!(outcome.flaky[0].passed, "yes");
    }

    #[test]
    fn the_list_has_each_suite_by_kind_of_machine() {
        let one = |kernel: &str, kind: &str, suite: &str, tests| PassedSuite {
            kernel: kernel.to_owned(),
            kind: kind.to_owned(),
            suite: suite.to_owned(),
            tests,
        };
        let machines = [
            ("6.1", "plain"),
            ("6.1", "hybrid"),
            ("6.1", "reboot"),
            ("6.12", "plain"),
            ("6.12", "reboot"),
        ]
        .map(|(kernel, kind)| MachineName { kernel, kind });
        let passed = [
            one("6.1", "plain", "b", 2),
            one("6.1", "hybrid", "b", 2),
            one("6.12", "plain", "a", 1),
            one("6.12", "plain", "b", 2),
            one("6.1", "plain", "c", 3),
            one("6.12", "plain", "c", 4),
            one("6.1", "reboot", "d", 5),
            one("6.12", "reboot", "d", 5),
        ];
        let rows = [
            "- plain: `a` on 6.12, `b`, `c`",
            "- hybrid: `b` on 6.1",
            "- reboot: `d`",
        ];
        assert_eq!(table(&machines, &passed), rows.join("\n") + "\n");
    }
}
