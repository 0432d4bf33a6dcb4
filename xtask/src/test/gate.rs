//! `cargo xtask test --gate`: what a change passes through.

use std::path::Path;

use anyhow::Result;

use super::nextest::Selection;
use super::outcome::Outcome;
use super::{SAMPLED, build_and_obtain, documents, ran};
use crate::shell::beside;
use crate::timings::Timings;
use crate::{build, dependencies, lab, lint, vm};

/// Lints, tests on this kernel, and in a machine what no other place can tell. All that fails is told at once.
///
/// # Errors
///
/// That something could not be run at all.
pub(super) fn run(timings: &Timings) -> Result<Outcome> {
    timings.stage("what the lab needs", lab::equip)?;
    let dependencies = timings.stage("compiled dependencies", dependencies::restore)?;
    let found = lint::checks(timings)?;
    let mut outcome = Outcome {
        problems: found.iter().map(|found| format!("lint: {found}")).collect(),
        ..Outcome::default()
    };
    let selection = Selection::default();
    let env = [(SAMPLED, Path::new("1"))];
    // With what measures: by itself it would be compiled one program after the other.
    let (built, others) = build_and_obtain(timings, &selection, &env, build::build_all);
    built?;
    dependencies.keep(true);
    // Not beside each other: emulated machines take all processors, and what waits on either side waits for long.
    let mut here = ran(timings, &selection, &env, &others?)?;
    // But these: one after the other, they are compiled and run while the machines' package is made.
    let (machines, examples) = beside(
        || timings.stage("machines", || vm::gate(timings)),
        || documents(timings),
    );
    match examples {
        Ok(examples) => here += examples,
        // What came of the machines is told beside it.
        Err(problem) => here.problems.push(format!("{problem:#}")),
    }
    let machines = machines?;
    let built = || lab::build_ratios().and_then(|()| lab::test_bench());
    let built = timings.stage("what measures, and its tests", || Ok(built()))?;
    // Alone, for it measures.
    here += timings.stage("ten ratios", || Ok(lab::gate_ratios(built)))?;
    outcome += here;
    outcome += machines;
    Ok(outcome)
}
