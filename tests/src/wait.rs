//! Waiting for what takes its time.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// How long anything may take, on a machine as slow and busy as it may be.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often to look.
const PACE: Duration = Duration::from_millis(20);

/// Looks until it is so.
///
/// # Errors
///
/// That it is not after 20 seconds.
pub fn eventually(what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        ensure!(Instant::now() < deadline, "it did not come to this: {what}");
        thread::sleep(PACE);
    }
    Ok(())
}
