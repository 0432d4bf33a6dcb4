//! Who is served next: one of each account in turn, however many another one has waiting.

use std::collections::{HashMap, VecDeque};

/// What waits to be served.
#[derive(Debug)]
pub(super) struct Turns<T> {
    most_of_account: usize,
    waiting: HashMap<u32, VecDeque<T>>,
    /// The accounts that have some waiting, in their order.
    order: VecDeque<u32>,
}

impl<T> Turns<T> {
    /// So many wait of one account at most.
    pub(super) fn new(most_of_account: usize) -> Self {
        Self {
            most_of_account,
            waiting: HashMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    /// Adds one. What is too much of an account is lost.
    pub(super) fn add(&mut self, account: u32, one: T) {
        let own = self.waiting.entry(account).or_default();
        if own.is_empty() {
            self.order.push_back(account);
        }
        if own.len() < self.most_of_account {
            own.push_back(one);
        }
    }

    /// Takes the next one.
    pub(super) fn take(&mut self) -> Option<(u32, T)> {
        let account = self.order.pop_front()?;
        let own = self.waiting.get_mut(&account)?;
        let next = own.pop_front()?;
        if own.is_empty() {
            drop(self.waiting.remove(&account))
        } else {
            self.order.push_back(account)
        }
        Some((account, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_with_much_is_served_as_often_as_one_with_little() {
        let mut turns = Turns::new(100);
        for number in 0..150 {
            turns.add(1, number);
        }
        turns.add(2, 200);
        turns.add(3, 300);
        turns.add(2, 201);
        let first: Vec<_> = std::iter::from_fn(|| turns.take()).take(6).collect();
        let wanted = [(1, 0), (2, 200), (3, 300), (1, 1), (2, 201), (1, 2)];
        assert_eq!(first, wanted);
        // What one has too much of is that one's loss.
        let rest: Vec<_> = std::iter::from_fn(|| turns.take()).collect();
        assert_eq!((rest.len(), rest.last()), (97, Some(&(1, 99))));
        assert!(turns.is_empty() && turns.waiting.is_empty());
    }
}
