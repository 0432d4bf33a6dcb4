//! How long a CPU is held up while the kernel frees a trie of a million prefixes.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use guard_lab::bench::Watch;
use guard_lab::kernel::Trie;

use super::Plan;
use super::figure::{Figure, Other, Target, Unit};
use super::rounds::interleave;
use super::samples::Samples;

const ENTRIES: u32 = 1_000_000;
/// How guardd empties one: a few entries at a time, with a pause after each.
const STEP: usize = 512;
const PAUSE: Duration = Duration::from_millis(1);
/// The kernel frees a map some time after the last descriptor is closed.
const AFTER: Duration = Duration::from_secs(3);

/// The longest delay of a real-time thread on any CPU: while a trie is drained and freed, as guardd does it, and
/// while it is only freed; and while nothing happens.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn stalls(plan: &Plan) -> Result<Vec<Figure>> {
    let [drained, freed, idle] = interleave(
        plan.fewest,
        &mut (),
        [
            &mut |()| free(|trie| trie.drain(STEP, PAUSE)),
            &mut |()| free(|_| Ok(())),
            &mut |()| watch(|| Ok(())),
        ],
    )?;
    let rounds = [&drained, &freed].map(|samples| {
        let texts = samples.0.iter().map(|stall| Unit::Time.text(*stall));
        texts.collect::<Vec<_>>().join(", ")
    });
    let [drained, freed, idle] = [drained, freed, idle].map(worst);
    let figure = |other, remark: String| {
        Figure::alone(
            "longest stall, a million freed",
            Unit::Time,
            drained.clone(),
            Target::Stated,
        )
        .beside(other)
        .remark(remark)
    };
    let [with, without] = rounds;
    Ok(vec![
        figure(
            Other::Measured("not emptied first", freed),
            format!("the worst round of each; the rounds: {with}; not emptied first: {without}"),
        ),
        figure(Other::Measured("nothing freed", idle), String::new()),
    ])
}

/// A longest stall is no matter of the middle.
fn worst(rounds: Samples) -> Samples {
    Samples(rounds.0.into_iter().reduce(f64::max).into_iter().collect())
}

fn free(first: impl FnOnce(&Trie) -> Result<()>) -> Result<f64> {
    let trie = Trie::filled(ENTRIES)?;
    watch(|| first(&trie).map(|()| drop(trie)))
}

fn watch(work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let watch = Watch::start()?;
    let done = work();
    thread::sleep(AFTER);
    let longest = watch.stop()?;
    done?;
    Ok(longest.as_nanos() as f64)
}
