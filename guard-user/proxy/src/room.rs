//! Limits for each account, so that none takes from others: memory for bodies that are read before they may pass, and the
//! time in which requests are judged.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of such bodies of one account at most, and of all.
const MAX_OF_ACCOUNT: usize = 32 * 1024 * 1024;
const MAX: usize = 4 * MAX_OF_ACCOUNT;
/// Bytes of each that reading ahead leaves to bodies that have to be judged.
const SPARED: usize = MAX_OF_ACCOUNT / 4;
/// Bytes that one read may bring.
const ONE_READ: usize = 1024 * 1024;

/// A judgement that takes longer lets other accounts go first.
const LONG: Duration = Duration::from_millis(1);

/// Bytes in use by account, and whose turn it is. One thread has them, but hyper wants bodies that could go to another.
#[derive(Debug, Default)]
pub(super) struct Room {
    bytes: Mutex<HashMap<u32, usize>>,
    turns: Mutex<HashMap<u32, Arc<Semaphore>>>,
}

/// An account's turn to have something judged. Each account has one at a time: the rest of its requests wait.
#[derive(Debug)]
pub(super) struct JudgingTurn {
    room: Arc<Room>,
    account: u32,
    permit: Option<OwnedSemaphorePermit>,
    began: Instant,
}

/// The bytes that one body uses, released when this is dropped.
#[derive(Debug)]
pub(super) struct ReservedBytes {
    room: Arc<Room>,
    account: u32,
    bytes: usize,
}

impl Room {
    /// No bytes yet, on that account.
    pub(super) fn taken(self: &Arc<Self>, account: u32) -> ReservedBytes {
        ReservedBytes {
            room: Arc::clone(self),
            account,
            bytes: 0,
        }
    }

    /// Waits for the account's turn. Must not be held during a wait.
    pub(super) async fn turn(self: &Arc<Self>, account: u32) -> JudgingTurn {
        let own = || Arc::new(Semaphore::new(1));
        let semaphore = Arc::clone(self.turns().entry(account).or_insert_with(own));
        // Never closed.
        let permit = semaphore.acquire_owned().await.ok();
        JudgingTurn {
            room: Arc::clone(self),
            account,
            permit,
            began: Instant::now(),
        }
    }

    /// Whether something waits for the account's turn.
    #[cfg(test)]
    pub(super) fn is_waited_for(&self, account: u32) -> bool {
        // The map's, the turn's own, and those of the waiters.
        let count = |own| Arc::strong_count(own) > 2;
        self.turns().get(&account).is_some_and(count)
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn turns(&self) -> MutexGuard<'_, HashMap<u32, Arc<Semaphore>>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl JudgingTurn {
    /// Ends it. After a long turn the other accounts go first, and this account waits for that.
    pub(super) async fn end(self) {
        if self.began.elapsed() > LONG {
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for JudgingTurn {
    fn drop(&mut self) {
        drop(self.permit.take());
        let mut turns = self.room.turns();
        // The next waiter has it too.
        if turns
            .get(&self.account)
            .is_some_and(|own| Arc::strong_count(own) == 1)
        {
            turns.remove(&self.account);
        }
    }
}

impl ReservedBytes {
    /// Returns true if that many bytes may be read ahead, which nothing but the body's sum needs.
    #[must_use]
    pub(super) fn has_to_spare(&self, bytes: u64) -> bool {
        let accounts = self.room.accounts();
        let all = accounts.values().sum::<usize>();
        let own = accounts.get(&self.account).copied().unwrap_or_default();
        let more = usize::try_from(bytes).unwrap_or(usize::MAX).max(ONE_READ);
        own.saturating_add(more) <= MAX_OF_ACCOUNT - SPARED
            && all.saturating_add(more) <= MAX - 4 * SPARED
    }

    /// Takes more bytes, if there is room.
    #[must_use]
    pub(super) fn take(&mut self, bytes: usize) -> bool {
        let mut accounts = self.room.accounts();
        let all = accounts.values().sum::<usize>();
        let own = accounts.get(&self.account).copied().unwrap_or_default();
        if own + bytes > MAX_OF_ACCOUNT || all + bytes > MAX {
            return false;
        }
        accounts.insert(self.account, own + bytes);
        self.bytes += bytes;
        true
    }
}

impl Drop for ReservedBytes {
    fn drop(&mut self) {
        let mut accounts = self.room.accounts();
        if let Some(own) = accounts.get_mut(&self.account) {
            *own = own.saturating_sub(self.bytes);
            if *own == 0 {
                accounts.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_takes_no_more_than_its_share_and_gives_it_back() {
        let room = Arc::new(Room::default());
        let (mut one, mut other) = (room.taken(1), room.taken(1));
        assert!(one.take(MAX_OF_ACCOUNT - 1));
        assert!(other.take(1) && !other.take(1));
        assert!(room.taken(2).take(MAX_OF_ACCOUNT));
        drop(one);
        assert!(other.take(MAX_OF_ACCOUNT - 1));
        drop(other);
        assert!(room.accounts().is_empty());
    }

    #[test]
    fn reading_ahead_leaves_memory_to_what_has_to_be_judged() {
        let room = Arc::new(Room::default());
        let (mut ahead, mut judged) = (room.taken(1), room.taken(1));
        let most = MAX_OF_ACCOUNT - SPARED;
        assert!(ahead.has_to_spare(most as u64) && !ahead.has_to_spare(most as u64 + 1));
        assert!(ahead.take(most) && !ahead.has_to_spare(0));
        assert!(judged.take(SPARED));
    }

    #[tokio::test]
    async fn an_account_has_one_turn_at_a_time_and_takes_none_of_others() {
        let room = Arc::new(Room::default());
        let first = room.turn(1).await;
        let mut second = Box::pin(room.turn(1));
        assert!(polled(&mut second).is_none());
        room.turn(2).await.end().await;
        assert_eq!(room.turns().len(), 1);
        first.end().await;
        let second = polled(&mut second).unwrap();
        second.end().await;
        assert!(room.turns().is_empty());
    }

    fn polled<F: Future>(waiting: &mut std::pin::Pin<Box<F>>) -> Option<F::Output> {
        use std::task::{Context, Poll, Waker};
        match waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn all_together_take_no_more_than_there_is() {
        let room = Arc::new(Room::default());
        let mut taken = Vec::new();
        for account in 0..4 {
            let mut one = room.taken(account);
            assert!(one.take(MAX_OF_ACCOUNT));
            taken.push(one);
        }
        assert!(!room.taken(4).take(1));
    }
}
