//! Cases that one test tries one after the other, in a scene that is made once: a guardd takes longer to start than most cases take.
//!
//! Each is a function of its own, which takes the scene and begins with what those before it leave. All are tried, whatever becomes of
//! one, and those that fail are told by their names. What changes the machine or guardd's settings, kills guardd, or wants numbers that
//! begin at 1, comes last or is a test of its own.

use std::any::Any;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use anyhow::anyhow;
use guard_lab::{Daemon, Json as _, Tested, eventually};

/// The environment variable that names the one case that is tried, without those beside it.
const ONE: &str = "GUARD_LAB_CASE";

/// A case: its name, and what tries it.
pub(crate) struct Case<S> {
    pub(crate) name: &'static str,
    pub(crate) tries: fn(&S) -> Tested,
}

/// Cases, each by the name of its function.
macro_rules! cases {
    ($($case:ident),+ $(,)?) => {
        &[$($crate::together::Case { name: stringify!($case), tries: $case }),+]
    };
}
pub(crate) use cases;

/// Tries functions in turn in a scene that they may change, and gives what came of all.
macro_rules! in_turn {
    ($scene:expr; $($case:ident),+ $(,)?) => {{
        let mut tried = $crate::together::Cases::default();
        $(tried.take(stringify!($case), || $case($scene));)+
        tried.over()
    }};
}
pub(crate) use in_turn;

/// Tries each in a scene, and tells of all that fail.
pub(crate) fn each<S>(scene: &S, cases: &[Case<S>]) -> Tested {
    each_from(scene, cases, |_| Ok(()))
}

/// The same; before each of them `begin` makes the scene what it is at first.
pub(crate) fn each_from<S>(scene: &S, cases: &[Case<S>], begin: impl Fn(&S) -> Tested) -> Tested {
    let mut tried = Cases::default();
    for case in cases {
        tried.take(case.name, || {
            begin(scene)?;
            (case.tries)(scene)
        });
    }
    tried.over()
}

/// Ends all sessions, with all that is asked about and open for them: what a scene begins with again.
pub(crate) fn end_sessions(daemon: &Daemon) -> Tested {
    for session in daemon.list(["sessions"])? {
        // It may have ended by itself.
        daemon.ask(["stop", session["id"].text()?])?;
    }
    let is_over = || -> Tested<_> {
        let lists = ["sessions", "pending", "holes"].map(|list| daemon.list([list]));
        let [sessions, pending, holes] = lists;
        Ok(sessions?.is_empty() && pending?.is_empty() && holes?.is_empty())
    };
    eventually("nothing of them is left", is_over)?;
    Ok(())
}

/// What came of those that were tried.
#[derive(Default)]
pub(crate) struct Cases {
    tried: usize,
    failed: Vec<String>,
}

impl Cases {
    /// Tries one of that name.
    pub(crate) fn take(&mut self, name: &str, case: impl FnOnce() -> Tested) {
        if env::var(ONE).is_ok_and(|one| one != name) {
            return;
        }
        self.tried += 1;
        // One that panics is no reason to leave out those behind it.
        let problem = match catch_unwind(AssertUnwindSafe(case)) {
            Ok(Ok(())) => return println!("{name}: as it should be"),
            Ok(Err(why)) => format!("{name}: {why:?}"),
            Err(panic) => format!("{name}: {}", said_by(&*panic)),
        };
        // At once: what is tried next may not come to its end.
        eprintln!("{problem}");
        self.failed.push(problem);
    }

    /// That some were tried, and none of them failed.
    pub(crate) fn over(self) -> Tested {
        assert!(self.tried > 0, "{ONE} names a case of this test");
        let (count, failed) = (self.failed.len(), self.failed.join("\n"));
        match count {
            0 => Ok(()),
            _ => Err(anyhow!("{count} of {} cases failed:\n{failed}", self.tried).into()),
        }
    }
}

/// What a panic said.
pub(crate) fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_else(|| "it panicked".to_owned())
}
