//! What tells runs apart.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Part of every name that a lab makes: `guard-TAG…`. No two that live at the same time are equal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Tag(String);

impl Tag {
    /// A new one.
    #[must_use]
    #[expect(clippy::new_without_default, reason = "each one differs")]
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self(format!("{}-{count}", process::id()))
    }

    /// `guard-TAG`, the name of directories, cgroups and pins.
    #[must_use]
    pub fn name(&self) -> String {
        format!("guard-{self}")
    }

    /// The directory for the run's files, which every user can reach; what TMPDIR says may be private.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        Path::new("/tmp").join(self.name())
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
