//! What the command is still to be run for. Each account has its share of it, and each user a turn, so that whoever asks without end
//! delays and leaves out only its own.

use std::time::Duration;

use guard_common::BootTime;
use tokio::time::Instant;

use super::News;
use crate::quota::{Account, AccountPlaces, Limit, Pace, Quota};

/// What waits for its first run.
const FIRST: Limit = Limit::each(Pace::held(64), Pace::held(512));
/// What waits to be run for again.
const AGAIN: Limit = Limit::each(Pace::held(16), Pace::held(128));
/// Commands at once: four, and in spite of others' one of each user's.
const RUNNING: Limit = Limit {
    all: 4,
    reserve: 1,
    ..Limit::each(Pace::held(4), Pace::held(4))
};
/// How much later that is.
const LATER: Duration = Duration::from_secs(15);

/// Returns the places of commands that run.
pub(super) fn running() -> AccountPlaces {
    AccountPlaces::new(RUNNING)
}

/// Owns what waits for a run.
#[derive(Debug, Default)]
pub(super) struct WaitingRuns(Vec<One>);

#[derive(Debug)]
struct One {
    /// The account whose share it is.
    account: Account,
    /// Not before.
    at: Instant,
    is_again: bool,
    news: News,
}

impl WaitingRuns {
    /// Adds what is new. False where the share is used up: then people know of it by `guard pending` only.
    pub(super) fn add(&mut self, account: Account, news: News, now: Instant) -> bool {
        let one = One {
            account,
            at: now,
            is_again: false,
            news,
        };
        self.push(one, FIRST)
    }

    /// The same for what the command is to be run for again, later.
    pub(super) fn add_again(&mut self, account: Account, news: News, now: Instant) -> bool {
        let one = One {
            account,
            at: now + LATER,
            is_again: true,
            news,
        };
        self.push(one, AGAIN)
    }

    fn push(&mut self, new: One, limit: Limit) -> bool {
        // A request that has grown is announced as it is when its turn comes.
        let mut before = self.0.iter().filter(|one| one.at <= new.at);
        if before.any(|one| one.news.is_same_request(&new.news)) {
            return true;
        }
        let alike = self.0.iter().filter(|one| one.is_again == new.is_again);
        let counted = alike.map(|one| (one.account, 1));
        if !Quota::counted(limit, counted).has_room(new.account, 1, BootTime(0)) {
            return false;
        }
        self.0.push(new);
        true
    }

    /// Takes what has its turn now, if anything has: of the user with the fewest runs at the moment, of that user's session with the fewest,
    /// what has waited longest.
    pub(super) fn next(
        &mut self,
        running: &AccountPlaces,
        now: Instant,
    ) -> Option<(Account, News)> {
        let all = self.0.iter().enumerate();
        let due = all.filter(|(_, one)| one.at <= now && running.has_room(one.account));
        let (at, _) = due.min_by_key(|(_, one)| (running.taken(one.account), one.at))?;
        let one = self.0.remove(at);
        Some((one.account, one.news))
    }

    /// When the next one is due of whom one more may run.
    pub(super) fn due(&self, running: &AccountPlaces) -> Option<Instant> {
        let may_run = self.0.iter().filter(|one| running.has_room(one.account));
        may_run.map(|one| one.at).min()
    }
}

#[cfg(test)]
mod tests {
    use guard_common::SessionId;

    use super::*;

    fn request(id: usize) -> News {
        News::Request(format!("r{id}"))
    }

    fn id(next: Option<(Account, News)>) -> Option<String> {
        match next?.1 {
            News::Request(id) | News::Code(id) => Some(id),
            News::Appeared(_) => None,
        }
    }

    const LOUD: Account = Account::inside(1000, SessionId(1));
    const BESIDE: Account = Account::inside(1000, SessionId(2));
    const QUIET: Account = Account::inside(1001, SessionId(3));

    #[test]
    fn one_session_leaves_out_nothing_of_another() {
        let (mut waiting, now) = (WaitingRuns::default(), Instant::now());
        let taken = (0..200).filter(|at| waiting.add(LOUD, request(*at), now));
        assert_eq!(taken.count(), 64);
        let again = (200..400).filter(|at| waiting.add_again(LOUD, request(*at), now));
        assert_eq!(again.count(), 16);
        for (account, first) in [(BESIDE, 900), (QUIET, 1000)] {
            assert!(waiting.add(account, request(first), now));
            assert!(waiting.add_again(account, request(first + 1), now));
        }
        let running = running();
        assert_eq!(waiting.due(&running), Some(now));
        // With some of the loud session's under way, it is the other user's turn, then the other session's.
        let mut loud: Vec<_> = (0..4).filter_map(|_| running.take(LOUD)).collect();
        assert_eq!(id(waiting.next(&running, now)).unwrap(), "r1000");
        let quiet = running.take(QUIET);
        assert_eq!(
            id(waiting.next(&running, now)),
            None,
            "four run, and one of each"
        );
        assert_eq!(waiting.due(&running), None);
        drop(quiet);
        drop(loud.pop());
        assert_eq!(id(waiting.next(&running, now)).unwrap(), "r900");
        assert_eq!(id(waiting.next(&running, now)).unwrap(), "r0");
        let later = now + LATER;
        assert_eq!(id(waiting.next(&running, later)).unwrap(), "r1001");
    }

    #[test]
    fn a_request_waits_once_and_again_is_not_at_once() {
        let (mut waiting, now) = (WaitingRuns::default(), Instant::now());
        let running = running();
        assert!(waiting.add(LOUD, request(1), now));
        assert!(waiting.add(LOUD, request(1), now));
        assert!(waiting.add_again(LOUD, request(1), now));
        assert_eq!(id(waiting.next(&running, now)).unwrap(), "r1");
        assert!(waiting.next(&running, now + LATER).is_none());
        assert!(waiting.add_again(LOUD, request(1), now));
        assert!(waiting.next(&running, now).is_none());
        assert_eq!(waiting.due(&running), Some(now + LATER));
        assert_eq!(id(waiting.next(&running, now + LATER)).unwrap(), "r1");
        assert_eq!(waiting.due(&running), None);
    }

    #[test]
    fn a_request_that_changes_without_end_is_told_now_and_then() {
        let (mut waiting, now) = (WaitingRuns::default(), Instant::now());
        let running = running();
        let code = || News::Code("r1".to_owned());
        assert!(waiting.add(LOUD, request(1), now));
        // It is told as it is when its turn comes, with its code.
        assert!(waiting.add_again(LOUD, code(), now));
        assert_eq!(id(waiting.next(&running, now)).unwrap(), "r1");
        assert_eq!(waiting.due(&running), None);
        for _ in 0..100 {
            assert!(waiting.add_again(LOUD, code(), now));
        }
        assert!(waiting.next(&running, now).is_none());
        assert_eq!(id(waiting.next(&running, now + LATER)).unwrap(), "r1");
        assert_eq!(waiting.due(&running), None);
    }
}
