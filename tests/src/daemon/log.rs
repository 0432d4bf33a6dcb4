//! What a daemon says, while it says it.

use std::io::{BufRead as _, BufReader};
use std::process::ChildStderr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use crate::{PATIENCE, patience};

/// What guardd says on standard error.
#[derive(Debug, Default)]
pub(super) struct Log {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Said {
    text: String,
    ended: bool,
}

impl Log {
    pub(super) fn collect(&self, stderr: ChildStderr) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut said = self.lock();
            said.text.push_str(&line);
            said.text.push('\n');
            self.more.notify_all();
        }
        self.lock().ended = true;
        self.more.notify_all();
    }

    /// All of it so far.
    pub(super) fn text(&self) -> String {
        self.lock().text.clone()
    }

    /// A panic elsewhere leaves whole lines behind.
    fn lock(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn wait_for(&self, wanted: &str) -> Result<()> {
        let missing = |said: &mut Said| !said.ended && !said.text.contains(wanted);
        let waited = self
            .more
            .wait_timeout_while(self.lock(), patience(PATIENCE), missing);
        let (said, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if said.text.contains(wanted) {
            return Ok(());
        }
        let how = if said.ended {
            "ended and"
        } else {
            "waited and"
        };
        bail!(
            "guardd {how} did not say {wanted:?}; it said:\n{}",
            said.text
        )
    }
}
