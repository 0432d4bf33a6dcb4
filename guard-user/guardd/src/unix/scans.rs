//! Reads of sessions' processes, which a session can make slow: by the number of open files, and by memory that its own file
//! system (FUSE) must fill. So each read runs on a thread of its own, an outermost session and those inside it have few at a
//! time, and nothing else waits for one.

use std::time::Duration;

use guard_sys::threads;
use tokio::time::timeout;

use crate::quota::{Account, Limit, Pace, TurnQueue, Turns};

/// Reads at a time: one that never ends keeps its thread.
const AT_ONCE: Limit = Limit::each(Pace::held(4), Pace::held(32));
/// How long a caller waits for one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Turns of accounts at reads.
#[derive(Debug)]
pub(crate) struct ScanTurns(Turns);

impl Default for ScanTurns {
    fn default() -> Self {
        Self(Turns::new(AT_ONCE))
    }
}

impl ScanTurns {
    /// Returns the queue of an account.
    pub(crate) fn queue(&self, account: Account) -> TurnQueue {
        self.0.queue(account)
    }
}

/// Returns the result of `scan` in the account's turn; none if it takes too long.
pub(crate) async fn scan<T: Send + 'static>(
    queue: TurnQueue,
    scan: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    scan_within(queue, TIMEOUT, scan).await
}

async fn scan_within<T: Send + 'static>(
    queue: TurnQueue,
    longest: Duration,
    scan: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let scanned = async {
        let turn = queue.turn().await;
        let scan = move || {
            let found = scan();
            drop(turn);
            found
        };
        threads::run(scan).await.ok()
    };
    timeout(longest, scanned).await.ok().flatten()
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc, Mutex,
        mpsc::{Receiver, channel},
    };

    use guard_common::SessionId;

    use super::*;

    #[test]
    fn what_never_ends_takes_its_own_sessions_turns() {
        let turns = ScanTurns::default();
        let [one, other] = [1, 2].map(|id| turns.queue(Account::inside(1000, SessionId(id))));
        let (end, ends) = channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        let stuck = |ends: &Arc<Mutex<Receiver<()>>>| {
            let ends = Arc::clone(ends);
            move || ends.lock().map(|ends| ends.recv()).is_ok()
        };
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        let (soon, late) = (Duration::from_millis(20), Duration::from_secs(60));
        let done = runtime.block_on(async {
            for _ in 0..4 {
                assert_eq!(scan_within(one.clone(), soon, stuck(&ends)).await, None);
            }
            assert_eq!(scan_within(one.clone(), soon, || 1).await, None);
            let same = turns.queue(Account::inside(1000, SessionId(1)));
            assert_eq!(scan_within(same, soon, || 1).await, None);
            assert_eq!(scan_within(other.clone(), late, || 2).await, Some(2));
            drop(end);
            scan_within(one.clone(), late, || 1).await
        });
        assert_eq!(done, Some(1));
    }
}
