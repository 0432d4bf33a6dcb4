//! What a test returns, and what it reads of JSON.

use std::cell::Cell;
use std::fmt;
use std::panic::{Location, resume_unwind};
use std::thread::{self, ScopedJoinHandle};

use anyhow::{Context as _, Error, Result, anyhow};
use serde_json::Value;

thread_local! {
    static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Why a test could not go on, and on which of its lines.
pub struct Failed {
    why: Error,
    at: &'static Location<'static>,
}

/// What a test comes to, or a step of it.
pub type Tested<T = ()> = Result<T, Failed>;

impl<E: Into<Error>> From<E> for Failed {
    #[track_caller]
    fn from(why: E) -> Self {
        HAS_FAILED.set(true);
        Self {
            why: why.into(),
            at: Location::caller(),
        }
    }
}

impl fmt::Debug for Failed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "at {}: {:?}", self.at, self.why)
    }
}

/// What a thread of a test came to, for the test that waits for it.
///
/// # Errors
///
/// That thread's, of which this one is known to have failed too. A panic there goes on here.
pub fn joined<T>(thread: ScopedJoinHandle<'_, Tested<T>>) -> Tested<T> {
    let came = thread.join().unwrap_or_else(|panic| resume_unwind(panic));
    Ok(came.map_err(|failed| anyhow!("{failed:?}"))?)
}

/// Whether the test of this thread has failed, so that what is taken down says what it knows.
#[must_use]
pub fn is_failing() -> bool {
    thread::panicking() || HAS_FAILED.get()
}

/// What JSON has to be where a test reads it.
pub trait Json {
    /// As text.
    ///
    /// # Errors
    ///
    /// That it is something else.
    fn text(&self) -> Result<&str>;

    /// As a list.
    ///
    /// # Errors
    ///
    /// That it is something else.
    fn list(&self) -> Result<&Vec<Value>>;
}

impl Json for Value {
    fn text(&self) -> Result<&str> {
        self.as_str().with_context(|| format!("no text: {self}"))
    }

    fn list(&self) -> Result<&Vec<Value>> {
        self.as_array().with_context(|| format!("no list: {self}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step() -> Tested {
        Value::Null.text()?;
        Ok(())
    }

    #[test]
    fn it_says_on_which_line_it_failed() {
        assert!(!is_failing());
        let said = format!("{:?}", step().unwrap_err());
        let here = format!("at {}:", file!());
        assert!(
            said.starts_with(&here) && said.contains("no text: null"),
            "{said}"
        );
        assert!(is_failing());
    }

    #[test]
    fn what_a_thread_says_is_said_by_the_test_that_waits_for_it() {
        let came = thread::scope(|scope| joined(scope.spawn(step)));
        let said = format!("{:?}", came.unwrap_err());
        assert!(said.contains("no text: null"), "{said}");
        assert!(is_failing());
    }
}
