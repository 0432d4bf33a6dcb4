//! An answer that costs something, for many who want it at once.

use std::time::Duration;

use tokio::{
    sync::Mutex,
    time::{Instant, sleep_until},
};

/// Whoever comes gets an answer that was asked for after that. Those who wait share one, so that a crowd costs no more
/// than the pause lets it, and no member of it waits for more than the others.
#[derive(Debug)]
pub struct Fresh<T> {
    pause: Duration,
    last: Mutex<Option<(Instant, T)>>,
}

impl<T: Clone> Fresh<T> {
    /// Nothing is asked yet; nothing is asked sooner after the last time than that.
    #[must_use]
    pub fn new(pause: Duration) -> Self {
        let last = Mutex::new(None);
        Self { pause, last }
    }

    /// The answer: that of `ask`, or of somebody else's who asked meanwhile.
    pub async fn get(&self, ask: impl Future<Output = T>) -> T {
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

    /// Whether there is no pause to be kept any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
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

    use super::*;

    const PAUSE: Duration = Duration::from_millis(50);

    fn block_on(work: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.enable_all().build().unwrap().block_on(work);
    }

    #[test]
    fn those_who_wait_share_an_answer_and_none_is_older_than_its_question() {
        block_on(async {
            let fresh = Fresh::new(PAUSE);
            let (asked, truth) = (Cell::new(0), Cell::new(1));
            let ask = || async {
                asked.set(asked.get() + 1);
                tokio::time::sleep(PAUSE / 5).await;
                truth.get()
            };
            let began = Instant::now();
            let all = tokio::join!(
                fresh.get(ask()),
                fresh.get(ask()),
                fresh.get(ask()),
                fresh.get(ask())
            );
            assert_eq!(all, (1, 1, 1, 1));
            // The first, and one for those who came when it was asked already.
            assert_eq!(asked.get(), 2);
            assert!(began.elapsed() >= PAUSE);
            truth.set(2);
            let began = Instant::now();
            assert_eq!(fresh.get(ask()).await, 2);
            // Unless the machine stood still.
            assert!(!fresh.is_over() || began.elapsed() >= PAUSE);
            tokio::time::sleep(PAUSE).await;
            assert!(fresh.is_over());
        });
    }

    #[test]
    fn one_who_goes_away_holds_up_nobody() {
        block_on(async {
            let fresh = Fresh::new(Duration::ZERO);
            let hangs = fresh.get(std::future::pending());
            assert!(tokio::time::timeout(PAUSE, hangs).await.is_err());
            assert_eq!(fresh.get(async { 7 }).await, 7);
        });
    }
}
