//! How much is read, and what is said of the rest.

use std::time::Duration;

use serde::Serialize;

/// Why a link was passed over that may lead to a directory elsewhere.
pub const LINK: &str = "a link to elsewhere";
/// Why something was passed over that there was no time for.
pub const OUT_OF_TIME: &str = "out of time";
/// Why something was passed over where there was more to read than is read.
pub(crate) const MORE_FILES: &str = "more files than are read";
/// Limit of the files that are read of one directory in a home.
pub(crate) const IN_DIRECTORY: usize = 256;

/// How much is read. What is beyond it is said.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Files of the project.
    pub files: usize,
    /// Directories below each other.
    pub depth: usize,
    /// In all; none: as long as it takes.
    pub time: Option<Duration>,
    /// Whether what is written for people, as Markdown, is read, too.
    pub deep: bool,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            files: 2_000,
            depth: 12,
            time: Some(Duration::from_secs(5)),
            deep: false,
        }
    }
}

/// What was not read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PassedOver {
    /// The file, or the directory.
    pub file: String,
    /// Where in it.
    pub line: Option<usize>,
    /// Why, in guard's own words.
    pub why: &'static str,
    /// SHA-256 of the whole file, where somebody has encrypted it, or called it so, or of where a link leads: what is there cannot be
    /// known here, and it may be said that that is right.
    pub sha256: Option<String>,
}
