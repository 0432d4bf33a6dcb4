//! The proxy's clients that are held for an approver's answer.

use std::collections::BTreeMap;

use guard_common::BootTime;
use guard_proto::wire::{Number, RedirectTarget, Tgid, TransactionState};

use crate::{
    quota::{Account, Limit, Pace, Quota},
    requests::RequestKey,
};

/// Clients that are held at once; more are refused.
const HELD: Limit = Limit {
    session: Pace::held(64),
    user: Pace::held(512),
    all: 2048,
    reserve: 64,
};

/// A client that is held.
#[derive(Clone, Debug)]
pub(crate) struct HeldClient {
    /// Its process.
    pub(crate) tgid: Tgid,
    /// What its connection was redirected for: the answer is judged by what listened there, too.
    pub(crate) target: RedirectTarget,
    /// What its request is about.
    pub(crate) key: RequestKey,
    /// The account for which it counts.
    pub(crate) account: Account,
    /// The state of its statement's transaction.
    pub(crate) transaction: TransactionState,
    /// The id of the request that an approver sees.
    pub(crate) request: String,
    /// The deadline.
    pub(crate) until: BootTime,
}

/// All held clients, by the number of the proxy's message: in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct HeldClients {
    all: BTreeMap<u64, HeldClient>,
    serial: u64,
    /// The version of the requests when clients were last settled.
    settled: Option<u64>,
}

impl HeldClients {
    /// A number that no other client has, of this proxy's or a later one's.
    pub(crate) fn next_serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    /// Whether a client is held for that request.
    #[must_use]
    pub(crate) fn is_asking(&self, key: &RequestKey) -> bool {
        self.all.values().any(|client| client.key == *key)
    }

    /// Adds a client.
    pub(crate) fn add(&mut self, number: Number, client: HeldClient) {
        self.all.insert(number.0, client);
    }

    /// Removes a client.
    pub(crate) fn remove(&mut self, number: Number) -> Option<HeldClient> {
        self.all.remove(&number.0)
    }

    /// The held clients, in the order in which they came.
    #[must_use]
    pub(crate) fn all(&self) -> Vec<(Number, HeldClient)> {
        let all = self.all.iter();
        all.map(|(number, client)| (Number(*number), client.clone()))
            .collect()
    }

    /// Whether that client is held.
    #[must_use]
    pub(crate) fn has(&self, number: Number) -> bool {
        self.all.contains_key(&number.0)
    }

    /// Whether an account may have one more.
    #[must_use]
    pub(crate) fn has_room(&self, account: Account) -> bool {
        let held = self.all.values().map(|client| (client.account, 1));
        Quota::counted(HELD, held).has_room(account, 1, BootTime(0))
    }

    /// Whether a client's time is up, or there are other requests than when clients were last settled.
    #[must_use]
    pub(crate) fn are_due(&self, requests: u64, now: BootTime) -> bool {
        let is_over = self.next_expiry().is_some_and(|at| at <= now);
        !self.all.is_empty() && (is_over || self.settled != Some(requests))
    }

    /// Notes the version of the requests by which clients were settled.
    pub(crate) fn set_settled(&mut self, requests: u64) {
        self.settled = Some(requests);
    }

    /// The last deadline of the clients held for a request.
    #[must_use]
    pub(crate) fn until(&self, request: &str) -> Option<BootTime> {
        let of = self.all.values().filter(|client| client.request == request);
        of.map(|client| client.until).max()
    }

    /// The last deadline of the clients held for requests with that key.
    #[must_use]
    pub(crate) fn until_of(&self, key: &RequestKey) -> Option<BootTime> {
        let of = self.all.values().filter(|one| one.key == *key);
        of.map(|client| client.until).max()
    }

    /// The first deadline.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.all.values().map(|client| client.until).min()
    }

    /// Removes all; returns the requests for which they were held.
    pub(crate) fn take_all(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.all).into_values();
        all.map(|client| client.request).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use guard_common::{Address, Protocol, SessionId};

    use super::*;

    const ONE: Account = Account::inside(1000, SessionId(1));

    fn client(request: &str, until: u64) -> HeldClient {
        HeldClient {
            tgid: Tgid(0),
            target: RedirectTarget {
                session: 1,
                address: Ipv4Addr::LOCALHOST.into(),
                port: 443,
                listener: 7,
            },
            key: RequestKey::new(SessionId(1), Address::default(), Protocol::TCP, 443),
            account: ONE,
            transaction: TransactionState::Able,
            request: request.to_owned(),
            until: BootTime(until),
        }
    }

    #[test]
    fn a_request_is_shown_as_held_until_the_last_deadline() {
        let mut held = HeldClients::default();
        held.add(Number(2), client("r1", 20));
        held.add(Number(1), client("r1", 10));
        assert_eq!(held.until("r1"), Some(BootTime(20)));
        assert_eq!(held.next_expiry(), Some(BootTime(10)));
        assert_eq!(held.all()[0].0, Number(1));
        assert!(held.remove(Number(2)).is_some() && !held.has(Number(2)));
        assert_eq!(held.until("r1"), Some(BootTime(10)));
        assert_eq!(held.take_all(), ["r1"]);
        assert_eq!(held.next_expiry(), None);
    }

    #[test]
    fn an_outermost_session_has_room_for_so_many_and_a_user_for_some_more() {
        let mut held = HeldClients::default();
        let mut number = 0;
        for session in 1..=20 {
            let account = Account::inside(1000, SessionId(session));
            while held.has_room(account) {
                let client = HeldClient {
                    account,
                    ..client("r1", 10)
                };
                held.add(Number(number), client);
                number += 1;
            }
            assert_eq!(number, 64 * u64::from(session).min(8));
        }
        assert!(!held.has_room(ONE));
        assert!(held.has_room(Account::inside(1001, SessionId(30))));
    }

    #[test]
    fn clients_are_settled_after_a_change_and_at_their_end() {
        let mut held = HeldClients::default();
        assert!(!held.are_due(1, BootTime(9)), "there are none");
        held.add(Number(1), client("r1", 10));
        assert!(held.are_due(1, BootTime(9)));
        held.set_settled(1);
        assert!(!held.are_due(1, BootTime(9)));
        assert!(held.are_due(2, BootTime(9)) && held.are_due(1, BootTime(10)));
    }
}
