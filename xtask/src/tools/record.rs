//! Which test of a tool passed last where, at which commit and on which day: kept beside the tests, for all of them take hours where
//! machines are emulated, and are run in parts.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::page::{SuitesProgram, TriedTests};
use crate::checkout::Checkout;
use crate::shell::{root, say};
use crate::test::outcome::Outcome;
use crate::vm::{self, TestRecord};

/// As seen from the workspace.
pub(crate) const FILE: &str = "tests/tools.json";

/// Where tools are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TriedOn {
    ThisKernel,
    Machine,
}

/// When a test passed last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LastPass {
    commit: String,
    date: String,
}

/// What has passed in each place.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct ToolsRecord {
    here: BTreeMap<String, LastPass>,
    machine: BTreeMap<String, LastPass>,
}

impl LastPass {
    /// At the commit that is checked out, today.
    ///
    /// # Errors
    ///
    /// That what is built is of no commit.
    pub(super) fn now() -> Result<Self> {
        let commit = Checkout::read()?.commit_for(FILE)?;
        let date = vm::today()?;
        Ok(Self { commit, date })
    }
}

impl ToolsRecord {
    /// # Errors
    ///
    /// That it cannot be read.
    pub(super) fn read() -> Result<Self> {
        Self::at(&root().join(FILE))
    }

    fn at(file: &Path) -> Result<Self> {
        let text = fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        let record = serde_json::from_slice(&text);
        record.with_context(|| format!("cannot read {}", file.display()))
    }

    pub(super) fn has(&self, place: TriedOn, test: &str) -> bool {
        let tests = match place {
            TriedOn::ThisKernel => &self.here,
            TriedOn::Machine => &self.machine,
        };
        tests.contains_key(test)
    }

    /// Takes in when a test passed; one that failed is not known to pass any more. Gives whether that is new.
    fn take(&mut self, place: TriedOn, test: &str, passed: Option<&LastPass>) -> bool {
        let tests = match place {
            TriedOn::ThisKernel => &mut self.here,
            TriedOn::Machine => &mut self.machine,
        };
        if tests.get(test) == passed {
            return false;
        }
        match passed {
            Some(passed) => tests.insert(test.to_owned(), passed.clone()),
            None => tests.remove(test),
        };
        true
    }

    /// Leaves out what is not tried any more.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub(super) fn keep_only(mut self, tried: &TriedTests) -> Result<()> {
        self.here.retain(|test, _| tried.here.contains(test));
        self.machine.retain(|test, _| tried.machine.contains(test));
        self.write()
    }

    fn write(&self) -> Result<()> {
        vm::write_whole(&root().join(FILE), &self.text()?)
    }

    /// Each test has a line of its own, so that what two have added comes together.
    fn text(&self) -> Result<String> {
        let (here, machine) = (rows(&self.here)?, rows(&self.machine)?);
        Ok(format!(
            "{{\n\"here\": {{\n{here}}},\n\"machine\": {{\n{machine}}}\n}}\n"
        ))
    }
}

fn rows(tests: &BTreeMap<String, LastPass>) -> Result<String> {
    let mut rows = Vec::new();
    for (test, last) in tests {
        let (test, last) = (serde_json::to_string(test)?, serde_json::to_string(last)?);
        rows.push(format!("{test}: {last}"));
    }
    let end = if rows.is_empty() { "" } else { "\n" };
    Ok(rows.join(",\n") + end)
}

/// What came of the tests of one run in one place. Where it is to be written, each test is as soon as it is known: the run may be ended.
pub(super) struct RunRecord<'a> {
    place: TriedOn,
    tried: &'a BTreeSet<String>,
    passed: Mutex<BTreeSet<String>>,
    written: Option<Written<'a>>,
}

/// What is written of them.
struct Written<'a> {
    now: LastPass,
    suites: &'a SuitesProgram,
}

impl<'a> RunRecord<'a> {
    /// One of what is built now. It is written where that has `suites` to write the page.
    ///
    /// # Errors
    ///
    /// That it is to be written, and what is built is of no commit.
    pub(super) fn begin(
        place: TriedOn,
        tried: &'a TriedTests,
        suites: Option<&'a SuitesProgram>,
    ) -> Result<Self> {
        let written = match suites {
            Some(suites) => Some(Written {
                now: LastPass::now()?,
                suites,
            }),
            None => None,
        };
        Ok(Self {
            place,
            tried: tried.on(place),
            passed: Mutex::default(),
            written,
        })
    }

    /// Takes in what came of all.
    ///
    /// # Errors
    ///
    /// That it cannot be written.
    pub(super) fn add_all(&self, outcome: &Outcome) -> Result<()> {
        let passed = outcome.names.iter().map(|name| (name.as_str(), true));
        // Before the name of one that failed stands where.
        let failed = outcome.failed.iter();
        let failed = failed.filter_map(|name| Some((name.rsplit(' ').next()?, false)));
        self.take(&passed.chain(failed).collect::<Vec<_>>())
    }

    /// The names of those that have passed.
    pub(super) fn into_passed(self) -> BTreeSet<String> {
        self.passed
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn passed(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.passed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, ended: &[(&str, bool)]) -> Result<()> {
        // It is held while files are written: two may end at once.
        let mut passed = self.passed();
        let ended = ended.iter().filter(|(test, _)| self.tried.contains(*test));
        let ended: Vec<_> = ended.collect();
        for (test, is_passed) in &ended {
            if *is_passed {
                passed.insert((*test).to_owned())
            } else {
                passed.remove(*test)
            };
        }
        let Some(Written { now, suites }) = &self.written else {
            return Ok(());
        };
        let mut record = ToolsRecord::read()?;
        let mut is_new = false;
        for (test, is_passed) in ended {
            is_new |= record.take(self.place, test, is_passed.then_some(now));
        }
        if is_new {
            record.write()?;
            suites.write_page()?;
        }
        Ok(())
    }
}

impl TestRecord for RunRecord<'_> {
    fn has_passed(&self, test: &str) -> bool {
        self.passed().contains(test)
    }

    fn add(&self, test: &str, passed: bool) {
        if let Err(problem) = self.take(&[(test, passed)]) {
            say(&format!("what came of {test} is not written: {problem:#}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(date: &str) -> LastPass {
        LastPass {
            commit: "aa".to_owned(),
            date: date.to_owned(),
        }
    }

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_passed_is_on_record_until_it_fails_there() -> Result<()> {
        let (first, second) = (on("2026-01-01"), on("2026-01-02"));
        let mut record = ToolsRecord::default();
        assert_eq!(record.text()?, "{\n\"here\": {\n},\n\"machine\": {\n}\n}\n");
        assert!(record.take(TriedOn::ThisKernel, "a", Some(&first)));
        assert!(!record.take(TriedOn::ThisKernel, "a", Some(&first)));
        assert!(record.take(TriedOn::ThisKernel, "a", Some(&second)));
        assert!(record.take(TriedOn::Machine, "a", Some(&first)));
        assert!(record.take(TriedOn::Machine, "b", Some(&second)));
        assert!(record.take(TriedOn::ThisKernel, "a", None));
        assert!(!record.take(TriedOn::ThisKernel, "a", None));
        assert!(!record.has(TriedOn::ThisKernel, "a") && record.has(TriedOn::Machine, "a"));
        let text = record.text()?;
        assert_eq!(
            text,
            "{\n\"here\": {\n},\n\"machine\": {\n\"a\": {\"commit\":\"aa\",\"date\":\"2026-01-01\"},\n\
             \"b\": {\"commit\":\"aa\",\"date\":\"2026-01-02\"}\n}\n}\n"
        );
        assert_eq!(serde_json::from_str::<ToolsRecord>(&text)?, record);
        Ok(())
    }

    #[test]
    fn what_is_in_the_repository_is_as_it_is_written() -> Result<()> {
        let text = fs::read_to_string(root().join(FILE))?;
        assert_eq!(ToolsRecord::read()?.text()?, text);
        Ok(())
    }

    #[test]
    fn a_run_knows_what_has_passed_in_it_of_what_is_tried() -> Result<()> {
        let tried = TriedTests {
            here: BTreeSet::new(),
            machine: names(&["a", "b", "c"]),
        };
        let run = RunRecord::begin(TriedOn::Machine, &tried, None)?;
        for (test, passed) in [("a", true), ("b", true), ("b", false), ("other", true)] {
            run.add(test, passed);
        }
        assert!(run.has_passed("a") && !run.has_passed("b") && !run.has_passed("other"));
        run.add_all(&Outcome {
            names: names(&["c"]),
            failed: vec!["guard-lab::suites a".to_owned()],
            ..Outcome::default()
        })?;
        assert_eq!(run.into_passed(), names(&["c"]));
        Ok(())
    }
}
