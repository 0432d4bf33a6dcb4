//! The proxy's clients that are held for an approver's answer.

use std::collections::BTreeMap;

use guard_common::{BootTime, SessionId};
use guard_proto::wire::{Number, Tgid};

use crate::requests::RequestKey;

/// Clients of one session that are held at once; more are refused.
pub const MAX_WAITERS: usize = 64;

/// A client that is held.
#[derive(Clone, Debug)]
pub struct Waiter {
    /// Its process.
    pub tgid: Tgid,
    /// What its request is about.
    pub key: RequestKey,
    /// The id of the request that an approver sees.
    pub request: String,
    /// The deadline.
    pub until: BootTime,
}

/// All held clients, by the number of the proxy's message: in the order in which they came.
#[derive(Debug, Default)]
pub struct Waiters {
    all: BTreeMap<u64, Waiter>,
    serial: u64,
}

impl Waiters {
    /// A number that no other client has, of this proxy's or a later one's.
    pub fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Whether a client is held for that request.
    #[must_use]
    pub fn is_asking(&self, key: &RequestKey) -> bool {
        self.all.values().any(|waiter| waiter.key == *key)
    }

    /// Adds a client.
    pub fn add(&mut self, number: Number, waiter: Waiter) {
        self.all.insert(number.0, waiter);
    }

    /// Removes a client.
    pub fn remove(&mut self, number: Number) -> Option<Waiter> {
        self.all.remove(&number.0)
    }

    /// The held clients, in the order in which they came.
    #[must_use]
    pub fn all(&self) -> Vec<(Number, Waiter)> {
        let all = self.all.iter();
        all.map(|(number, waiter)| (Number(*number), waiter.clone()))
            .collect()
    }

    /// Whether that client is held.
    #[must_use]
    pub fn has(&self, number: Number) -> bool {
        self.all.contains_key(&number.0)
    }

    /// Whether a session may have one more.
    #[must_use]
    pub fn has_room(&self, session: SessionId) -> bool {
        let of = |waiter: &&Waiter| waiter.key.session == session;
        self.all.values().filter(of).count() < MAX_WAITERS
    }

    /// The last deadline of the clients held for a request.
    #[must_use]
    pub fn until(&self, request: &str) -> Option<BootTime> {
        let of = self.all.values().filter(|waiter| waiter.request == request);
        of.map(|waiter| waiter.until).max()
    }

    /// The last deadline of the clients held for requests with that key.
    #[must_use]
    pub fn until_of(&self, key: &RequestKey) -> Option<BootTime> {
        let of = self.all.values().filter(|one| one.key == *key);
        of.map(|waiter| waiter.until).max()
    }

    /// The first deadline.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        self.all.values().map(|waiter| waiter.until).min()
    }

    /// Removes all; returns the requests for which they were held.
    pub fn take_all(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.all).into_values();
        all.map(|waiter| waiter.request).collect()
    }
}

#[cfg(test)]
mod tests {
    use guard_common::{Address, Protocol};

    use super::*;

    fn waiter(request: &str, until: u64) -> Waiter {
        Waiter {
            tgid: Tgid(0),
            key: RequestKey::new(SessionId(1), Address::default(), Protocol::TCP, 443),
            request: request.to_owned(),
            until: BootTime(until),
        }
    }

    #[test]
    fn a_request_is_waited_for_until_the_last_gives_up() {
        let mut waiters = Waiters::default();
        waiters.add(Number(2), waiter("r1", 20));
        waiters.add(Number(1), waiter("r1", 10));
        assert_eq!(waiters.until("r1"), Some(BootTime(20)));
        assert_eq!(waiters.next_expiry(), Some(BootTime(10)));
        assert_eq!(waiters.all()[0].0, Number(1));
        assert!(waiters.remove(Number(2)).is_some() && !waiters.has(Number(2)));
        assert_eq!(waiters.until("r1"), Some(BootTime(10)));
        assert_eq!(waiters.take_all(), ["r1"]);
        assert_eq!(waiters.next_expiry(), None);
    }

    #[test]
    fn a_session_has_room_for_so_many() {
        let mut waiters = Waiters::default();
        for number in 0..MAX_WAITERS as u64 {
            assert!(waiters.has_room(SessionId(1)));
            waiters.add(Number(number), waiter("r1", 10));
        }
        assert!(!waiters.has_room(SessionId(1)));
        assert!(waiters.has_room(SessionId(2)));
    }
}
