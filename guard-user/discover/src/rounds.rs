//! How often properties are tried.

use std::env;

use proptest::prelude::ProptestConfig;

/// How many times as often as usual: for a machine that has a night for it.
const ROUNDS: &str = "GUARD_FUZZ_ROUNDS";

/// This number of cases, times the factor of the environment.
pub(crate) fn rounds(cases: u32) -> ProptestConfig {
    let config = ProptestConfig::with_cases(cases.saturating_mul(factor().unwrap_or(1)));
    ProptestConfig {
        failure_persistence: None,
        ..config
    }
}

fn factor() -> Option<u32> {
    env::var(ROUNDS).ok()?.parse().ok()
}
