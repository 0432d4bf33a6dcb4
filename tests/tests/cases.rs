//! Several things that one test tries, one after the other, in a scene that they share: to make that takes longer than to try them.
//!
//! Each is a function of its own, which takes the scene and begins with what those before it leave. All are tried, whatever becomes of
//! one, and those that fail are told by their names.

use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::anyhow;
use guard_lab::Tested;

use crate::escapes::way::said_by;

/// What came of those that were tried.
#[derive(Default)]
pub(crate) struct Cases {
    tried: usize,
    failed: Vec<String>,
}

impl Cases {
    /// Tries one of that name.
    pub(crate) fn take(&mut self, name: &str, case: impl FnOnce() -> Tested) {
        self.tried += 1;
        let outcome = catch_unwind(AssertUnwindSafe(case));
        let problem = match outcome {
            Ok(Ok(())) => return println!("{name}: as it should be"),
            Ok(Err(failed)) => format!("{failed:?}"),
            Err(panic) => said_by(&*panic),
        };
        // At once: what is tried next may not come to its end.
        eprintln!("{name}: {problem}");
        self.failed.push(format!("{name}: {problem}"));
    }

    /// That none of them failed.
    pub(crate) fn over(self) -> Tested {
        let (count, failed) = (self.failed.len(), self.failed.join("\n"));
        match count {
            0 => Ok(()),
            _ => Err(anyhow!("{count} of {} failed:\n{failed}", self.tried).into()),
        }
    }
}

/// Tries functions of a scene in turn, and gives what came of all.
macro_rules! in_turn {
    ($scene:expr; $($case:ident),+ $(,)?) => {{
        let mut cases = $crate::cases::Cases::default();
        $(cases.take(stringify!($case), || $case($scene));)+
        cases.over()
    }};
}
