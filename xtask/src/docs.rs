//! `cargo xtask docs`: the parts of docs/reference that are made from the code.

use anyhow::Result;

use crate::build::{prepare, workspace};
use crate::dependencies;
use crate::shell::{run, say};

/// Has `guard-user/tests/reference` write its parts instead of comparing them.
const WRITE: &str = "GUARD_DOCS_WRITE";

/// Compares the pages with the code, or writes them.
///
/// # Errors
///
/// That a part is old, or that it could not be made.
pub(crate) fn docs(write: bool) -> Result<()> {
    let _ = dependencies::restore()?;
    prepare()?;
    let mut tests = workspace(&["test"]);
    tests.args(["--exclude", "guard-bench", "--test", "docs", "reference::"]);
    if write {
        tests.env(WRITE, "1");
    }
    run(&mut tests)?;
    if write {
        say("docs/reference is written: commit it with what it is made from");
    }
    Ok(())
}
