//! How often properties are tried: for tests of other crates.

use std::env;

use proptest::{
    prelude::ProptestConfig,
    test_runner::{RngAlgorithm, TestRng, TestRunner},
};

/// How many times as often as usual: for a machine that has a night for it.
const ROUNDS: &str = "GUARD_FUZZ_ROUNDS";

/// This number of cases, times the factor of the environment. A case that fails is printed, and kept in no file.
#[must_use]
pub fn rounds(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases: cases.saturating_mul(factor().unwrap_or(1)),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

fn factor() -> Option<u32> {
    env::var(ROUNDS).ok()?.parse().ok()
}

/// The same, of a property that is async: always the same cases, unless there are to be more of them.
#[must_use]
pub fn runner(cases: u32) -> TestRunner {
    if factor().is_some() {
        return TestRunner::new(rounds(cases));
    }
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    TestRunner::new_with_rng(rounds(cases), rng)
}
