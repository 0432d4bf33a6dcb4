//! Waiting for what takes its time.

use std::env;
use std::fs;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};

use crate::Tested;

/// How long a test waits for anything, on a machine as slow and busy as it may be. It costs nothing where what is waited for
/// comes; [`patience`] makes more of it where the machine is emulated.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// The environment variable that says how many times slower than others a machine is that is emulated.
pub const SLOWNESS: &str = "GUARD_LAB_SLOWNESS";

/// How long to wait on this machine for what takes less than `time` on any other.
#[must_use]
pub fn patience(time: Duration) -> Duration {
    time * *SLOWER
}

/// Whether this machine is one that is slower than others.
#[must_use]
pub fn is_slow() -> bool {
    *SLOWER > 1
}

/// The environment variable by which the gate asks for what it has the time for, of what goes through very many steps.
pub const SAMPLED: &str = "GUARD_LAB_SAMPLED";

/// Whether some of very many steps will do: another run goes through all of them.
#[must_use]
pub fn is_sampled() -> bool {
    env::var_os(SAMPLED).is_some()
}

static SLOWER: LazyLock<u32> = LazyLock::new(|| {
    let slower = env::var(SLOWNESS).ok().and_then(|n| n.parse().ok());
    slower.unwrap_or(1).max(1)
});

/// How often to look, at first and at the most seldom: many a look runs programs, which take the processor from what is waited for.
const PACE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));
/// Between two looks there is so small a part of the time that it has taken already.
const PART: u32 = 16;

/// What [`eventually`] looks at: whether it is so, or why nobody can tell.
pub trait Looked {
    /// The same as a result.
    ///
    /// # Errors
    ///
    /// Why nobody can tell.
    fn seen(self) -> Result<bool>;
}

impl Looked for bool {
    fn seen(self) -> Result<bool> {
        Ok(self)
    }
}

impl Looked for Tested<bool> {
    fn seen(self) -> Result<bool> {
        self.map_err(|failed| anyhow!("{failed:?}"))
    }
}

/// Looks until it is so.
///
/// # Errors
///
/// That it is not after [`PATIENCE`], or what that is on this machine; or that a look failed.
pub fn eventually<L: Looked>(what: &str, mut look: impl FnMut() -> L) -> Result<()> {
    let begun = Instant::now();
    let deadline = begun + patience(PATIENCE);
    // A machine that stood still until the deadline looks once more.
    let mut is_over = false;
    while !look().seen()? {
        ensure!(!is_over, "it did not come to this: {what}");
        thread::sleep((begun.elapsed() / PART).clamp(PACE.0, PACE.1));
        is_over = Instant::now() > deadline;
    }
    Ok(())
}

/// Whether a process still runs: one that nobody has waited for does not.
#[must_use]
pub fn lives(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let state = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.chars().next());
    state.is_some_and(|state| !"ZX".contains(state))
}
