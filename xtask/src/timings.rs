//! How long each part of a run took: said as it ends, and in a table behind all of it.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use anyhow::Result;

use crate::shell::say;

/// Parts that have ended, and their seconds. Parts may run beside each other.
pub(crate) struct Timings {
    begun: Instant,
    parts: Mutex<Vec<(String, f64)>>,
}

impl Timings {
    /// Returns those of a run that begins now.
    pub(crate) fn begin() -> Self {
        Self {
            begun: Instant::now(),
            parts: Mutex::default(),
        }
    }

    /// Does a part of the run, and says how long that took.
    ///
    /// # Errors
    ///
    /// What the part says.
    pub(crate) fn stage<T>(&self, name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
        let begun = Instant::now();
        say(&format!("{name} …"));
        let done = work();
        let seconds = begun.elapsed().as_secs_f64();
        say(&format!("{name}: {seconds:.1} s"));
        let mut parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        parts.push((name.to_owned(), seconds));
        done
    }

    /// Prints the table.
    pub(crate) fn print(&self) {
        println!();
        let parts = self.parts.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, seconds) in &*parts {
            println!("{name:<44} {seconds:>8.1} s");
        }
        let whole = self.begun.elapsed().as_secs_f64();
        println!("{:<44} {whole:>8.1} s", "the whole");
    }
}
