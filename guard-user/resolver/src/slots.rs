//! How much goes on at once, for an account and in all.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

/// So many an account may have where others have taken all.
const RESERVE: usize = 2;

/// Places for work of one kind.
#[derive(Debug)]
pub(super) struct Slots {
    most: usize,
    most_of_account: usize,
    taken: RefCell<HashMap<u32, usize>>,
}

/// A place, until it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Rc<Slots>,
    account: u32,
}

impl Slots {
    /// So many in all, and of one account.
    pub(super) fn new(most: usize, most_of_account: usize) -> Rc<Self> {
        Rc::new(Self {
            most,
            most_of_account,
            taken: RefCell::default(),
        })
    }

    /// A place, where there is one.
    pub(super) fn take(self: &Rc<Self>, account: u32) -> Option<Slot> {
        let mut taken = self.taken.borrow_mut();
        let own = taken.get(&account).copied().unwrap_or_default();
        let is_full = taken.values().sum::<usize>() >= self.most;
        if own >= self.most_of_account || (is_full && own >= RESERVE) {
            return None;
        }
        taken.insert(account, own + 1);
        Some(Slot {
            slots: Rc::clone(self),
            account,
        })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.taken.borrow_mut();
        if let Some(count) = taken.get_mut(&self.account) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_leaves_room_for_others() {
        let slots = Slots::new(8, 4);
        let of = |account| std::iter::from_fn(move || Some(account));
        let take = |account| -> Vec<_> { of(account).map_while(|one| slots.take(one)).collect() };
        let (first, second) = (take(1), take(2));
        assert_eq!((first.len(), second.len()), (4, 4));
        // All are taken: who has none gets a few.
        let third = take(3);
        assert_eq!(third.len(), RESERVE);
        assert!(slots.take(3).is_none());
        drop((first, second));
        assert!(slots.take(3).is_some());
        drop(third);
        assert!(slots.taken.borrow().is_empty());
    }
}
