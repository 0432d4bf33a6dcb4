//! `cargo xtask docs`: the parts of documents that are made from the code.

use anyhow::Result;

use crate::build::{prepare, workspace};
use crate::shell::{root, run, say};
use crate::test;

/// Environment variable by which guard's `tests/reference` writes its parts in place of comparing them.
const WRITE: &str = "GUARD_DOCS_WRITE";
/// Tests that compare what they record with documents, the environment variables by which they write it, and where.
const RECORDED: [(&str, &str, &str); 3] = [
    ("documents::recording::", "GUARD_LAB_WRITE_DOCUMENTS", "."),
    ("escapes::page::", "GUARD_ESCAPES_PAGE", "docs/escapes.md"),
    ("tools::page::", "GUARD_TOOLS_PAGE", "docs/tools.md"),
];

/// Compares the pages with the code, or writes them.
///
/// # Errors
///
/// That a part is old, or that it could not be made.
pub(crate) fn docs(write: bool) -> Result<()> {
    prepare()?;
    let mut tests = workspace(&["test"]);
    tests.args(["--test", "docs", "reference::"]);
    if write {
        tests.env(WRITE, "1");
    }
    run(&mut tests)?;
    if write {
        say("docs/reference is written: commit it with what it is made from");
    }
    Ok(())
}

/// Has tests write what documents show.
///
/// # Errors
///
/// That this machine cannot run them, or that one fails.
pub(crate) fn record() -> Result<()> {
    let files = RECORDED.map(|(_, variable, file)| (variable, root().join(file)));
    let env = files
        .each_ref()
        .map(|(variable, file)| (*variable, &**file));
    test::these_with(&RECORDED.map(|(tests, ..)| tests), &env)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    use super::*;
    use crate::shell::read;

    /// A tag beside a sentence of a document names the tests that show it, or what their names begin with.
    #[test]
    fn each_tag_names_a_test() -> Result<()> {
        const TAG: &str = "<!-- shown by: ";
        let files = |pattern| -> Result<String> {
            let names = read(
                Command::new("git")
                    .current_dir(root())
                    .args(["ls-files", pattern]),
            )?;
            Ok(names
                .lines()
                .filter_map(|name| fs::read_to_string(root().join(name)).ok())
                .collect())
        };
        let (sources, documents) = (files("*.rs")? + &files("*.play")?, files("*.md")?);
        let tags = documents
            .split(TAG)
            .skip(1)
            .filter_map(|rest| rest.split_once(" -->"));
        let tests: Vec<_> = tags.flat_map(|(tests, _)| tests.split(", ")).collect();
        assert!(tests.len() > 100, "only {} tags were found", tests.len());
        let is_end = |c: char| !c.is_alphanumeric() && c != '_';
        let names: BTreeSet<_> = ["fn ", "mod ", "\nplay ", "\n# plays of "]
            .iter()
            .flat_map(|what| sources.split(what).skip(1))
            .filter_map(|rest| rest.split(is_end).next())
            .collect();
        for test in tests {
            let is_there = test
                .split("::")
                .all(|part| names.iter().any(|name| name.starts_with(part)));
            assert!(
                is_there,
                "no test is called {test}: give the sentence that it shows another test, or change it"
            );
        }
        Ok(())
    }
}
