//! What the command is still to be run for. Each outermost session has its share of it and its turn, so that one that asks without
//! end delays and leaves out only its own.

use std::time::Duration;

use guard_common::SessionId;
use tokio::time::Instant;

use super::News;

/// What waits for its first run, of one outermost session and those inside it.
pub(super) const MOST: usize = 64;
/// What waits to be run for again, of the same.
const MOST_AGAIN: usize = 16;
/// How much later that is.
const LATER: Duration = Duration::from_secs(15);

/// Owns what waits for a run.
#[derive(Debug, Default)]
pub(super) struct WaitingRuns(Vec<One>);

#[derive(Debug)]
struct One {
    /// The outermost session whose share it is.
    share: SessionId,
    /// Not before.
    at: Instant,
    is_again: bool,
    news: News,
}

impl WaitingRuns {
    /// Adds what is new. False where the share is used up: then people know of it by `guard pending` only.
    pub(super) fn add(&mut self, share: SessionId, news: News, now: Instant) -> bool {
        let one = One {
            share,
            at: now,
            is_again: false,
            news,
        };
        self.push(one, MOST)
    }

    /// The same for what the command is to be run for again, later.
    pub(super) fn add_again(&mut self, share: SessionId, news: News, now: Instant) -> bool {
        let one = One {
            share,
            at: now + LATER,
            is_again: true,
            news,
        };
        self.push(one, MOST_AGAIN)
    }

    fn push(&mut self, new: One, most: usize) -> bool {
        // A request that has grown is announced as it is when its turn comes.
        let mut before = self.0.iter().filter(|one| one.at <= new.at);
        if before.any(|one| one.news.is_same_request(&new.news)) {
            return true;
        }
        let is_like = |one: &&One| one.share == new.share && one.is_again == new.is_again;
        if self.0.iter().filter(is_like).count() >= most {
            return false;
        }
        self.0.push(new);
        true
    }

    /// Takes what has its turn now, if anything has: of the session with the fewest runs at the moment, what has waited longest.
    pub(super) fn next(
        &mut self,
        running: impl Fn(SessionId) -> usize,
        now: Instant,
    ) -> Option<(SessionId, News)> {
        let due = self.0.iter().enumerate().filter(|(_, one)| one.at <= now);
        let (at, _) = due.min_by_key(|(_, one)| (running(one.share), one.at))?;
        let one = self.0.remove(at);
        Some((one.share, one.news))
    }

    /// When the next one is due.
    pub(super) fn due(&self) -> Option<Instant> {
        self.0.iter().map(|one| one.at).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: usize) -> News {
        News::Request(format!("r{id}"))
    }

    fn id(next: Option<(SessionId, News)>) -> Option<String> {
        match next?.1 {
            News::Request(id) | News::Code(id) => Some(id),
            News::Appeared(_) => None,
        }
    }

    const LOUD: SessionId = SessionId(1);
    const QUIET: SessionId = SessionId(2);

    #[test]
    fn one_session_leaves_out_nothing_of_another() {
        let (mut waiting, now) = (WaitingRuns::default(), Instant::now());
        let many = 3 * MOST;
        let taken = (0..many).filter(|at| waiting.add(LOUD, request(*at), now));
        assert_eq!(taken.count(), MOST);
        let again = (many..2 * many).filter(|at| waiting.add_again(LOUD, request(*at), now));
        assert_eq!(again.count(), MOST_AGAIN);
        assert!(waiting.add(QUIET, request(1000), now));
        assert!(waiting.add_again(QUIET, request(1001), now));
        assert_eq!(waiting.due(), Some(now));
        // With one of the loud session's under way, it is the other one's turn.
        let running = |share| usize::from(share == LOUD);
        assert_eq!(id(waiting.next(running, now)).unwrap(), "r1000");
        assert_eq!(id(waiting.next(running, now)).unwrap(), "r0");
        let later = now + LATER;
        assert_eq!(id(waiting.next(running, later)).unwrap(), "r1001");
    }

    #[test]
    fn a_request_waits_once_and_again_is_not_at_once() {
        let (mut waiting, now) = (WaitingRuns::default(), Instant::now());
        assert!(waiting.add(LOUD, request(1), now));
        assert!(waiting.add(LOUD, request(1), now));
        assert!(waiting.add_again(LOUD, request(1), now));
        assert_eq!(id(waiting.next(|_| 0, now)).unwrap(), "r1");
        assert!(waiting.next(|_| 0, now + LATER).is_none());
        assert!(waiting.add_again(LOUD, request(1), now));
        assert!(waiting.next(|_| 0, now).is_none());
        assert_eq!(waiting.due(), Some(now + LATER));
        assert_eq!(id(waiting.next(|_| 0, now + LATER)).unwrap(), "r1");
        assert_eq!(waiting.due(), None);
    }

    #[test]
    fn a_request_that_changes_without_end_is_told_now_and_then() {
        let (mut waiting, now) = (WaitingRuns::default(), Instant::now());
        let code = || News::Code("r1".to_owned());
        assert!(waiting.add(LOUD, request(1), now));
        // It is told as it is when its turn comes, with its code.
        assert!(waiting.add_again(LOUD, code(), now));
        assert_eq!(id(waiting.next(|_| 0, now)).unwrap(), "r1");
        assert_eq!(waiting.due(), None);
        for _ in 0..100 {
            assert!(waiting.add_again(LOUD, code(), now));
        }
        assert!(waiting.next(|_| 0, now).is_none());
        assert_eq!(id(waiting.next(|_| 0, now + LATER)).unwrap(), "r1");
        assert_eq!(waiting.due(), None);
    }
}
