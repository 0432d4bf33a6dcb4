//! How quickly questions by TCP are taken of an account: as the kernel half does with its datagrams. What comes more quickly waits in its
//! connection.

use std::{cell::RefCell, collections::HashMap, time::Duration};

use guard_common::BootTime;
use tokio::{task::yield_now, time::sleep};

/// Nanoseconds for each question of an account, and how many are taken at once.
const INTERVAL: u64 = 250_000;
const AT_ONCE: u64 = 256;
/// Accounts that are kept without a look at whether they have asked lately.
const MANY: usize = 1024;

/// The next turn of each account.
#[derive(Debug, Default)]
pub(super) struct Paces(RefCell<HashMap<u32, u64>>);

impl Paces {
    /// Waits for an account's next turn. Others' questions come before the next one that its connection has.
    pub(super) async fn turn(&self, account: u32, now: BootTime) {
        let wait = self.wait(account, now);
        if wait.is_zero() {
            yield_now().await
        } else {
            // In whole milliseconds.
            sleep(wait).await
        }
    }

    /// Takes that turn, and says how long it is until then.
    fn wait(&self, account: u32, now: BootTime) -> Duration {
        let mut turns = self.0.borrow_mut();
        if turns.len() >= MANY {
            turns.retain(|_, turn| *turn > now.0);
        }
        let next = turns.entry(account).or_default();
        let turn = now.0.max(*next);
        *next = turn + INTERVAL;
        Duration::from_nanos(turn.saturating_sub(now.0 + INTERVAL * (AT_ONCE - 1)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_account_asks_quickly_is_taken_slowly() {
        let paces = Paces::default();
        let now = BootTime(1_000_000_000);
        let waits: Vec<_> = (0..AT_ONCE + 2).map(|_| paces.wait(1, now)).collect();
        let interval = Duration::from_nanos(INTERVAL);
        let (at_once, later) = waits.split_at(AT_ONCE as usize);
        assert!(at_once.iter().all(Duration::is_zero));
        assert_eq!(later, [interval, 2 * interval]);
        assert!(paces.wait(2, now).is_zero());
        let then = BootTime(now.0 + INTERVAL * AT_ONCE);
        assert!(paces.wait(1, then).is_zero());
    }
}
