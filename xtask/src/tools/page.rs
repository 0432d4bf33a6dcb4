//! What only the program with the suites knows of its tools: which are tried where, and docs/tools.md, which is made from that and the
//! record.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::record::TriedOn;
use crate::shell::{read, root};
use crate::vm;

/// As seen from the workspace.
pub(crate) const FILE: &str = "docs/tools.md";
/// The tests that write the page and which are tried, and the environment variables that name the files: `tests/tests/tools/page.rs`.
const WRITES_PAGE: &str = "tools::page::the_page_says_what_is_on_record";
const PAGE: &str = "GUARD_TOOLS_PAGE";
const WRITES_TRIED: &str = "tools::page::what_is_on_record_is_tried";
const TRIED: &str = "GUARD_TOOLS_TRIED";

/// That program, built.
pub(super) struct SuitesProgram(PathBuf);

/// The names of the tests that try a tool. Of a tool that is left out in a place, the test does nothing there, and passes.
#[derive(Deserialize)]
pub(super) struct TriedTests {
    pub(super) here: BTreeSet<String>,
    pub(super) machine: BTreeSet<String>,
}

impl SuitesProgram {
    /// # Errors
    ///
    /// That it cannot be built.
    pub(super) fn build() -> Result<Self> {
        Ok(Self(vm::build_suites()?))
    }

    /// # Errors
    ///
    /// That it does not say.
    pub(super) fn tried(&self) -> Result<TriedTests> {
        let file = tempfile::NamedTempFile::new()?;
        self.have_written(WRITES_TRIED, TRIED, file.path())?;
        let tried = serde_json::from_slice(&fs::read(file.path())?);
        tried.with_context(|| format!("{WRITES_TRIED} has written no names"))
    }

    /// # Errors
    ///
    /// That it cannot be written.
    pub(super) fn write_page(&self) -> Result<()> {
        self.have_written(WRITES_PAGE, PAGE, &root().join(FILE))
    }

    fn have_written(&self, test: &str, variable: &str, file: &Path) -> Result<()> {
        let mut program = Command::new(&self.0);
        program.args(["--exact", test, "--nocapture"]);
        read(program.env(variable, file))
            .map(drop)
            .with_context(|| format!("{} is not written", file.display()))
    }
}

impl TriedTests {
    pub(super) fn on(&self, place: TriedOn) -> &BTreeSet<String> {
        match place {
            TriedOn::ThisKernel => &self.here,
            TriedOn::Machine => &self.machine,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of tests is content with a name that none of them has.
    #[test]
    fn what_writes_them_is_a_test() -> Result<()> {
        let tests = vm::tests_in(crate::tools::SUITE)?;
        for writes in [WRITES_PAGE, WRITES_TRIED] {
            assert!(tests.iter().any(|test| test == writes), "{writes}");
        }
        Ok(())
    }
}
