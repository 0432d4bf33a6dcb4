//! How long guardd takes to tell whether a signature is one.

use std::hint::black_box;
use std::time::Instant;

use anyhow::{Context as _, Result};
use guard_signed::{Signed, approvers::ApproverList};

use super::Plan;
use super::figure::{Figure, Target, Unit};
use super::samples::Samples;

/// One of each kind, and the page that passkeys were asked on.
const APPROVERS: &str = include_str!("../../../guard-user/signed/recorded/approvers.toml");
const ANSWERS: &str = include_str!("../../../guard-user/signed/recorded/answers.json");
const ORIGIN: &str = "https://guard.example.net";
/// Signatures in a round.
const TURNS: u32 = 100;
const MICROSECOND: f64 = 1e3;

/// A figure for each kind of key.
///
/// # Errors
///
/// That a signature is none.
pub(super) fn signatures(plan: &Plan) -> Result<Vec<Figure>> {
    let approvers = ApproverList::parse(APPROVERS)?;
    let answers: Vec<Signed> = serde_json::from_str(ANSWERS)?;
    let origins = [ORIGIN.to_owned()];
    let measured = answers.iter().map(|signed| {
        let owner = approvers.owner_of(&signed.key);
        let (owner, key) = owner.context("nobody has that key")?;
        let mut took = Samples::default();
        for _ in 0..plan.rounds {
            let begun = Instant::now();
            for _ in 0..TURNS {
                black_box(black_box(signed).verify(key, &origins))?;
            }
            took.0.push((begun.elapsed() / TURNS).as_nanos() as f64);
        }
        let name = format!("verify, {}", owner.name);
        let most = Target::AtMost(200.0 * MICROSECOND);
        Ok(Figure::alone(&name, Unit::Time, took, most))
    });
    measured.collect()
}
