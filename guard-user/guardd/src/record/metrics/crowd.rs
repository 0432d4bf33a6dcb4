//! The open connections, each on the account of its user.
//!
//! A new connection is always accepted: if its user has too many, or all together have, the one is closed that has had the most
//! time to send its request and has not. So a client that sends at once is answered, whatever the crowd.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
};

use tokio::task::AbortHandle;

/// Connections at once.
const MOST: usize = 64;
/// Connections at once of one user. Those of unknown users count as one user's.
const MOST_OF_ONE: usize = 8;

/// The account: a uid, if it is known.
pub(super) type AccountId = Option<u32>;

/// The connections, in the order in which they came.
#[derive(Debug, Default)]
pub(super) struct Crowd {
    came: u64,
    open: BTreeMap<u64, Guest>,
}

#[derive(Debug)]
struct Guest {
    account: AccountId,
    has_asked: Rc<Cell<bool>>,
    task: Option<AbortHandle>,
}

/// A connection's slot, released when this is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    crowd: Rc<RefCell<Crowd>>,
    number: u64,
    has_asked: Rc<Cell<bool>>,
}

impl Seat {
    /// A slot for a new connection, and whether another was closed for it.
    pub(super) fn take(crowd: &Rc<RefCell<Crowd>>, account: AccountId) -> (Self, bool) {
        let mut all = crowd.borrow_mut();
        let made_room = all.make_room(account);
        let number = all.came;
        all.came += 1;
        let has_asked = Rc::new(Cell::new(false));
        let guest = Guest {
            account,
            has_asked: Rc::clone(&has_asked),
            task: None,
        };
        all.open.insert(number, guest);
        let seat = Self {
            crowd: Rc::clone(crowd),
            number,
            has_asked,
        };
        (seat, made_room)
    }

    /// Its number for [`Crowd::is_served_by`].
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    /// Its request is complete, and it waits for the answer.
    pub(super) fn asked(&self) {
        self.has_asked.set(true);
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.crowd.borrow_mut().open.remove(&self.number);
    }
}

impl Crowd {
    /// The task that is aborted if the slot is needed.
    pub(super) fn is_served_by(&mut self, number: u64, task: AbortHandle) {
        if let Some(guest) = self.open.get_mut(&number) {
            guest.task = Some(task);
        }
    }

    fn make_room(&mut self, account: AccountId) -> bool {
        let of_one = self.open.values().filter(|one| one.account == account);
        let goes = if of_one.count() >= MOST_OF_ONE {
            self.first_to_go(|one| one.account == account)
        } else if self.open.len() >= MOST {
            self.first_to_go(|_| true)
        } else {
            None
        };
        let Some(gone) = goes.and_then(|number| self.open.remove(&number)) else {
            return false;
        };
        if let Some(task) = gone.task {
            task.abort();
        }
        true
    }

    /// The oldest of those without a complete request, else the oldest.
    fn first_to_go(&self, is_meant: impl Fn(&Guest) -> bool) -> Option<u64> {
        let meant = self.open.iter().filter(|(_, one)| is_meant(one));
        let first = meant.min_by_key(|(number, one)| (one.has_asked.get(), **number));
        first.map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(crowd: &Rc<RefCell<Crowd>>, account: AccountId) -> Seat {
        Seat::take(crowd, account).0
    }

    fn is_there(seat: &Seat) -> bool {
        seat.crowd.borrow().open.contains_key(&seat.number)
    }

    #[test]
    fn a_users_crowd_goes_before_anybody_elses() {
        let crowd = Rc::default();
        let other = take(&crowd, Some(1));
        let unknown = take(&crowd, None);
        let idle: Vec<_> = (0..20).map(|_| take(&crowd, Some(2))).collect();
        assert!(is_there(&other) && is_there(&unknown));
        let left: Vec<_> = idle.iter().map(is_there).collect();
        assert_eq!(left.iter().filter(|there| **there).count(), MOST_OF_ONE);
        assert!(left[20 - MOST_OF_ONE..].iter().all(|there| *there));
    }

    #[test]
    fn who_has_asked_stays_and_the_oldest_goes_first() {
        let crowd = Rc::default();
        let asked = take(&crowd, Some(2));
        asked.asked();
        let idle: Vec<_> = (0..100).map(|_| take(&crowd, Some(2))).collect();
        assert!(is_there(&asked) && is_there(&idle[99]) && !is_there(&idle[0]));
        idle.iter().for_each(Seat::asked);
        let new = take(&crowd, Some(2));
        assert!(!is_there(&asked) && is_there(&new));
        drop(idle);
        drop(asked);
        assert_eq!(crowd.borrow().open.len(), 1);
    }

    #[test]
    fn many_users_together_have_no_more_than_all() {
        let crowd = Rc::default();
        let seats: Vec<_> = (0..1000).map(|uid| take(&crowd, Some(uid))).collect();
        assert_eq!(crowd.borrow().open.len(), MOST);
        assert!(is_there(&seats[999]));
    }
}
