//! Reads of sessions' processes, which a session can make slow: by the number of open files, and by memory that its own file
//! system (FUSE) must fill. So each read runs on a thread of its own, an outermost session and those inside it have few at a
//! time, and nothing else waits for one.

use std::{collections::HashMap, sync::Arc, time::Duration};

use guard_common::SessionId;
use guard_sys::threads;
use tokio::{sync::Semaphore, time::timeout};

/// Reads at a time: one that never ends keeps its thread.
const AT_ONCE: usize = 4;
/// How long a caller waits for one.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The permits of each outermost session.
#[derive(Debug, Default)]
pub(crate) struct SessionTurns(HashMap<SessionId, Arc<Semaphore>>);

/// The permits of one outermost session.
#[derive(Clone, Debug)]
pub(crate) struct Turns(Arc<Semaphore>);

impl SessionTurns {
    /// The permits of that session, and of those inside it.
    pub(crate) fn of(&mut self, outermost: SessionId) -> Turns {
        // Those of reads that run, or are about to.
        self.0.retain(|_, turns| Arc::strong_count(turns) > 1);
        let new = || Arc::new(Semaphore::new(AT_ONCE));
        Turns(Arc::clone(self.0.entry(outermost).or_insert_with(new)))
    }
}

impl Turns {
    /// The result of `scan`; none if it takes too long.
    pub(crate) async fn scan<T: Send + 'static>(
        self,
        scan: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        self.scan_within(TIMEOUT, scan).await
    }

    async fn scan_within<T: Send + 'static>(
        self,
        longest: Duration,
        scan: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let scanned = async {
            let turn = self.0.acquire_owned().await.ok()?;
            let scan = move || {
                let found = scan();
                drop(turn);
                found
            };
            threads::run(scan).await.ok()
        };
        timeout(longest, scanned).await.ok().flatten()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, mpsc::channel};

    use super::*;

    #[test]
    fn what_never_ends_takes_its_own_sessions_turns() {
        let mut scans = SessionTurns::default();
        let (one, other) = (scans.of(SessionId(1)), scans.of(SessionId(2)));
        let (end, ends) = channel::<()>();
        let ends = Arc::new(Mutex::new(ends));
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        let (soon, late) = (Duration::from_millis(20), Duration::from_secs(60));
        let done = runtime.block_on(async {
            for _ in 0..AT_ONCE {
                let ends = Arc::clone(&ends);
                let stuck = move || ends.lock().map(|ends| ends.recv()).is_ok();
                assert_eq!(one.clone().scan_within(soon, stuck).await, None);
            }
            assert_eq!(one.clone().scan_within(soon, || 1).await, None);
            let same = scans.of(SessionId(1));
            assert_eq!(same.scan_within(soon, || 1).await, None);
            assert_eq!(other.scan_within(late, || 2).await, Some(2));
            drop(end);
            one.scan_within(late, || 1).await
        });
        assert_eq!(done, Some(1));
        // What its threads had is nobody's once they have ended.
        loop {
            drop(scans.of(SessionId(3)));
            if scans.0.len() == 1 {
                break;
            }
            std::thread::yield_now();
        }
    }
}
