//! Times since the machine's start: how long ago one was, and which follows another.

use std::time::Duration;

use guard_common::BootTime;

/// How long a hole lasts if the person gives no time.
pub(crate) const DEFAULT_TERM: Duration = Duration::from_secs(15 * 60);

/// Whether `time` has passed since `since`.
#[must_use]
pub(crate) fn is_past(since: BootTime, time: Duration, now: BootTime) -> bool {
    now.0.saturating_sub(since.0) >= time.as_nanos() as u64
}

/// The time `time` after `now`.
#[must_use]
pub(crate) fn after(now: BootTime, time: Duration) -> BootTime {
    let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    BootTime(now.0.saturating_add(nanos))
}
