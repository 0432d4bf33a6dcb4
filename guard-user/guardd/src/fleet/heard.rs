//! When the fleet's policies were last offered: by the machine's own clock for as long as it is up, which nobody sets, and by the
//! calendar over a reboot alone.

use std::fs;

use guard_sys::clock;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// How far ahead of the clock the last offer may have been.
const AHEAD: SignedDuration = SignedDuration::from_secs(60);
/// Which boot this is.
const BOOT: &str = "/proc/sys/kernel/random/boot_id";

/// A moment, on both clocks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeardAt {
    pub(super) at: Timestamp,
    /// None: it is not known which boot that was in.
    pub(super) up: Option<Uptime>,
}

/// A moment of one boot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Uptime {
    boot: String,
    nanos: u64,
}

impl HeardAt {
    pub(crate) fn now() -> Self {
        let boot = fs::read_to_string(BOOT).ok();
        Self {
            at: Timestamp::now(),
            up: boot.map(|boot| Uptime {
                boot: boot.trim().to_owned(),
                nanos: clock::now().0,
            }),
        }
    }

    /// Whether that is longer ago than policies last. A time that has not come yet is none: clocks are set.
    pub(super) fn is_overdue(&self, lasts: SignedDuration, now: &Self) -> bool {
        let silent = self.until(now);
        silent > lasts || silent < -AHEAD
    }

    /// How long it is from then to now.
    pub(super) fn until(&self, now: &Self) -> SignedDuration {
        match (&self.up, &now.up) {
            (Some(then), Some(now)) if then.boot == now.boot => {
                let nanos = i128::from(now.nanos) - i128::from(then.nanos);
                SignedDuration::from_nanos_i128(nanos)
            }
            _ => now.at.duration_since(self.at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LASTS: SignedDuration = SignedDuration::from_hours(1);

    /// So many seconds after some moment, by the calendar and by a boot's clock.
    fn moment(calendar: i64, boot: &str, up: u64) -> HeardAt {
        HeardAt {
            at: Timestamp::UNIX_EPOCH + SignedDuration::from_secs(1_000_000 + calendar),
            up: Some(Uptime {
                boot: boot.to_owned(),
                nanos: up * 1_000_000_000,
            }),
        }
    }

    #[test]
    fn a_clock_that_is_set_changes_nothing_while_the_machine_is_up() {
        let heard = moment(0, "a", 500);
        for jump in [-1_000_000, -7200, -61, 0, 61, 7200, 1_000_000] {
            let now = |after: u64| moment(jump, "a", 500 + after);
            assert!(!heard.is_overdue(LASTS, &now(0)), "{jump}");
            assert!(!heard.is_overdue(LASTS, &now(3600)), "{jump}");
            assert!(heard.is_overdue(LASTS, &now(3601)), "{jump}");
        }
    }

    #[test]
    fn over_a_reboot_the_calendar_counts_and_what_is_ahead_of_it_is_none() {
        let heard = moment(0, "a", 500);
        for (calendar, is_overdue) in [
            (-7200, true),
            (-61, true),
            (-60, false),
            (0, false),
            (3600, false),
            (3601, true),
        ] {
            for now in [
                moment(calendar, "b", 5),
                HeardAt {
                    up: None,
                    ..moment(calendar, "a", 0)
                },
            ] {
                assert_eq!(heard.is_overdue(LASTS, &now), is_overdue, "{calendar}");
            }
        }
    }

    #[test]
    fn now_is_of_this_boot_and_goes_on() {
        let (one, other) = (HeardAt::now(), HeardAt::now());
        assert!(one.up.is_some() && !one.is_overdue(LASTS, &other));
        assert!(!one.until(&other).is_negative());
        let later = moment(0, "a", 500);
        assert!(later.is_overdue(LASTS, &moment(0, "a", 400)), "of no clock");
    }
}
