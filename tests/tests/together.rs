//! Cases that one test tries one after the other, in a scene that is made once: a guardd takes longer to start than most cases take.
//!
//! What changes the machine or guardd's settings, kills guardd, or wants numbers that begin at 1, is a test of its own.

use std::any::Any;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind};

use guard_lab::Tested;

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

/// Tries each in a scene, and tells of all that fail.
pub(crate) fn each<S>(scene: &S, cases: &[Case<S>]) -> Tested {
    each_from(scene, cases, |_| Ok(()))
}

/// The same; before each of them `begin` makes the scene what it is at first.
pub(crate) fn each_from<S>(scene: &S, cases: &[Case<S>], begin: impl Fn(&S) -> Tested) -> Tested {
    let one = env::var(ONE).ok();
    let is_meant = |case: &&Case<S>| one.as_deref().is_none_or(|one| one == case.name);
    let (mut tried, mut failed) = (0, Vec::new());
    for case in cases.iter().filter(is_meant) {
        tried += 1;
        // One that panics is no reason to leave out those behind it.
        let outcome = catch_unwind(AssertUnwindSafe(|| -> Tested {
            begin(scene)?;
            (case.tries)(scene)
        }));
        match outcome {
            Ok(Ok(())) => println!("{}: as it should be", case.name),
            Ok(Err(why)) => failed.push(format!("{}: {why:?}", case.name)),
            Err(panic) => failed.push(format!("{}: {}", case.name, said_by(&*panic))),
        }
    }
    let (count, failed) = (failed.len(), failed.join("\n"));
    assert!(count == 0, "{count} of {tried} cases failed:\n{failed}");
    Ok(())
}

/// What a panic said.
pub(crate) fn said_by(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
    text.unwrap_or_else(|| "it panicked".to_owned())
}
