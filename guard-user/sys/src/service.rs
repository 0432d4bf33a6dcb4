//! What a service manager hears while a service starts.

use std::time::{Duration, Instant};

use sd_notify::NotifyState;

/// As long as the whole may take, in guardd.service.
const LONGER: u32 = 30_000_000;
/// It is told no more often: nobody may read it yet, and the kernel keeps ten messages.
const PAUSE: Duration = Duration::from_secs(1);

/// A start of many steps, each of which may take as long as the whole should (sd_notify(3), `EXTEND_TIMEOUT_USEC`).
#[derive(Debug)]
pub struct LongStart {
    told: Instant,
}

impl LongStart {
    /// One that begins.
    #[must_use]
    pub fn begin() -> Self {
        tell();
        Self {
            told: Instant::now(),
        }
    }

    /// A step is done.
    pub fn goes_on(&mut self) {
        if self.told.elapsed() >= PAUSE {
            tell();
            self.told = Instant::now();
        }
    }
}

/// Where there is no service manager nothing is told. One that reads nothing is waited for, as with all that guardd tells it.
fn tell() {
    let _ = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(LONGER)]);
}
