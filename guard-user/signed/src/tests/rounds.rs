//! How often properties are tried.

use std::env;

use proptest::prelude::ProptestConfig;

/// How many times as often as usual: for a machine that has a night for it.
const ROUNDS: &str = "GUARD_FUZZ_ROUNDS";

/// So many cases, or as many times more.
pub(crate) fn rounds(cases: u32) -> ProptestConfig {
    let factor = env::var(ROUNDS).ok().and_then(|times| times.parse().ok());
    ProptestConfig::with_cases(cases.saturating_mul(factor.unwrap_or(1)))
}
