//! Room for bodies that are read before they may pass: whoever sends many at once must not take the memory of others.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Bytes of such bodies of one account at most, and of all.
const MAX_OF_ACCOUNT: usize = 32 * 1024 * 1024;
const MAX: usize = 4 * MAX_OF_ACCOUNT;

/// Bytes that are taken, by account. One thread has them, but hyper wants bodies that could go to another.
#[derive(Debug, Default)]
pub(super) struct Room(Mutex<HashMap<u32, usize>>);

/// What one body has taken. It is given back when this goes.
#[derive(Debug)]
pub(super) struct Taken {
    room: Arc<Room>,
    account: u32,
    bytes: usize,
}

impl Room {
    /// None yet, on that account.
    pub(super) fn taken(self: &Arc<Self>, account: u32) -> Taken {
        Taken {
            room: Arc::clone(self),
            account,
            bytes: 0,
        }
    }

    fn accounts(&self) -> MutexGuard<'_, HashMap<u32, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Taken {
    /// Takes so many bytes more, where there is room for them.
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

impl Drop for Taken {
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
