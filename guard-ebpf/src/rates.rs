//! How often something may happen: in a second, or one after the other.

use guard_common::{BootTime, SessionId};

use crate::{
    kernel,
    maps::{self, Shared},
};

/// In nanoseconds.
pub(crate) const SECOND: u64 = 1_000_000_000;

/// Counts one more event on a session's share, which it has in common with the sessions around and inside it. Returns how many
/// there were in this second before.
///
/// A function of its own in the kernel too, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn count_together(session: SessionId, of: Shared, now: BootTime) -> u64 {
    match maps::share(session, of, now) {
        // SAFETY: pointers into a live map value.
        Some(share) => unsafe {
            count_in(
                &raw mut (*share).window,
                &raw mut (*share).in_window,
                now,
                SECOND,
            )
        },
        None => u64::MAX,
    }
}

/// Whether a session's outermost session has a turn left, as [`takes_turn`]; `takes`: takes it. False where memory is short.
///
/// A function of its own in the kernel too, as [`crate::emit::due`].
#[inline(never)]
pub(crate) fn may_begin(
    session: SessionId,
    of: Shared,
    interval: u64,
    at_once: u64,
    takes: bool,
) -> bool {
    let now = kernel::boot_time();
    let Some(share) = maps::share(session, of, now) else {
        return false;
    };
    // SAFETY: a pointer into a live map value.
    unsafe {
        let next = &raw mut (*share).in_window;
        if takes {
            takes_turn(next, now, interval, at_once)
        } else {
            next.read_volatile() < now.0 + interval * at_once
        }
    }
}

/// Counts one more in the time of that length, a second mostly, that began at `window`. Returns how many there were before.
///
/// # Safety
///
/// Both point into a live map value, aligned to 8.
#[inline(always)]
pub(crate) unsafe fn count_in(
    window: *mut BootTime,
    count: *mut u64,
    now: BootTime,
    length: u64,
) -> u64 {
    // SAFETY: the caller's. Two writers that race for a new window both write the present, and at worst a few more pass.
    unsafe {
        if now.0 >= window.read_volatile().0 + length {
            window.write_volatile(now);
            count.write_volatile(0);
        }
        kernel::fetch_add(count, 1)
    }
}

/// Whether there is a turn left: one each `interval`, and so many of them at once of those that were not taken.
///
/// # Safety
///
/// `next` points into a live map value, aligned to 8.
#[inline(always)]
pub(crate) unsafe fn takes_turn(
    next: *mut u64,
    now: BootTime,
    interval: u64,
    at_once: u64,
) -> bool {
    // SAFETY: the caller's. Two writers that race for it both write the present, and at worst a few more pass.
    unsafe {
        if next.read_volatile() < now.0 {
            next.write_volatile(now.0);
        }
        let turn = kernel::fetch_add(next, interval);
        let is_left = turn < now.0 + interval * at_once;
        if !is_left {
            kernel::fetch_add(next, interval.wrapping_neg());
        }
        is_left
    }
}
