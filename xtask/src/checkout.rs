//! Which commit is built.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::shell::{read, root};
use crate::{tools, vm};

/// What runs write into the tree while others may go on: it is of no program.
const WRITTEN: [&str; 4] = [
    vm::MATRIX_FILE,
    vm::MATRIX_DOCUMENT,
    tools::RECORD_FILE,
    tools::PAGE_FILE,
];

/// The commit that is checked out, and whether something is changed beside it.
pub(crate) struct Checkout {
    pub(crate) commit: String,
    pub(crate) is_changed: bool,
}

impl Checkout {
    /// The one of this workspace.
    ///
    /// # Errors
    ///
    /// That git does not tell.
    pub(crate) fn read() -> Result<Self> {
        let git = |args: &[&str]| read(Command::new("git").current_dir(root()).args(args));
        let commit = git(&["rev-parse", "--short=12", "HEAD"])?;
        let mut status = vec!["status", "--porcelain", "--untracked-files=no", "--", "."];
        let written = WRITTEN.map(|path| format!(":!{path}"));
        status.extend(written.iter().map(String::as_str));
        Ok(Self {
            commit: commit.trim().to_owned(),
            is_changed: !git(&status)?.trim().is_empty(),
        })
    }

    /// The commit that `file` may name beside what passed.
    ///
    /// # Errors
    ///
    /// That files differ from it: what passed is then of no commit.
    pub(crate) fn commit_for(self, file: &str) -> Result<String> {
        let Self { commit, is_changed } = self;
        ensure!(
            !is_changed,
            "{file} says at which commit a test passed, and files differ from {commit}: commit them first, or leave out --write"
        );
        Ok(commit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_names_no_commit_that_files_differ_from() -> Result<()> {
        let checkout = |is_changed| Checkout {
            commit: "aa".to_owned(),
            is_changed,
        };
        assert_eq!(checkout(false).commit_for("record.json")?, "aa");
        let refused = checkout(true)
            .commit_for("record.json")
            .map_err(|why| why.to_string());
        let refused = refused.expect_err("files differ");
        assert!(refused.contains("record.json says"), "{refused}");
        assert!(
            refused.contains("differ from aa: commit them first"),
            "{refused}"
        );
        Ok(())
    }
}
