//! A costly answer that many callers want at once.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Each caller gets an answer that is not older than its call. Callers that wait share one, so that a crowd costs no more than
/// the pause allows, and no caller waits longer than the others.
#[derive(Debug)]
pub(crate) struct Fresh<T> {
    pause: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Fresh<T> {
    /// No answer yet; `pause` is the shortest time between two.
    #[must_use]
    pub(crate) fn new(pause: Duration) -> Self {
        let last = Mutex::new(None);
        Self { pause, last }
    }

    /// The answer: from `ask`, or from another caller's call made meanwhile.
    pub(crate) async fn get(&self, ask: impl Future<Output = T>) -> T {
        let came = Instant::now();
        let mut last = self.last.lock().await;
        if let Some((asked, answer)) = &*last {
            if *asked >= came {
                return answer.clone();
            }
            sleep_until(*asked + self.pause).await;
        }
        let asked = Instant::now();
        let answer = ask.await;
        *last = Some((asked, answer.clone()));
        answer
    }

    /// Whether the pause is over.
    #[must_use]
    pub(crate) fn is_over(&self) -> bool {
        let last = self.last.try_lock();
        last.is_ok_and(|last| {
            last.as_ref()
                .is_none_or(|(at, _)| at.elapsed() >= self.pause)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use tokio::time::timeout;

    use super::*;

    const PAUSE: Duration = Duration::from_millis(50);
    /// A pause that no test outlives.
    const HOUR: Duration = Duration::from_secs(3600);

    fn block_on(work: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(work);
    }

    #[test]
    fn those_who_wait_share_an_answer_and_none_is_older_than_its_request() {
        block_on(async {
            let fresh = Fresh::new(PAUSE);
            let (asked, truth) = (Cell::new(0), Cell::new(1));
            let ask = || async {
                asked.set(asked.get() + 1);
                tokio::time::sleep(PAUSE / 5).await;
                truth.get()
            };
            let all = tokio::join!(
                fresh.get(ask()),
                fresh.get(ask()),
                fresh.get(ask()),
                fresh.get(ask())
            );
            assert_eq!(all, (1, 1, 1, 1));
            // The first, and one for the callers that came while that was under way.
            assert_eq!(asked.get(), 2);
            truth.set(2);
            assert_eq!(fresh.get(ask()).await, 2);
        });
    }

    #[test]
    fn nobody_is_asked_again_before_the_pause_is_over() {
        block_on(async {
            let fresh = Fresh::new(HOUR);
            let asked = Cell::new(0);
            let ask = || async {
                asked.set(asked.get() + 1);
                asked.get()
            };
            assert!(fresh.is_over());
            assert_eq!(fresh.get(ask()).await, 1);
            assert!(!fresh.is_over());
            assert!(timeout(PAUSE, fresh.get(ask())).await.is_err());
            assert_eq!(asked.get(), 1);
            let unpaused = Fresh::new(Duration::ZERO);
            assert_eq!(unpaused.get(ask()).await, 2);
            assert!(unpaused.is_over());
            assert_eq!(unpaused.get(ask()).await, 3);
        });
    }

    #[test]
    fn one_who_goes_away_holds_up_nobody() {
        block_on(async {
            let fresh = Fresh::new(Duration::ZERO);
            let hangs = fresh.get(std::future::pending());
            assert!(timeout(PAUSE, hangs).await.is_err());
            assert_eq!(fresh.get(async { 7 }).await, 7);
        });
    }
}
