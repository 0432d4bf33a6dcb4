//! Which commit is built.

use std::process::Command;

use anyhow::Result;

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
}
