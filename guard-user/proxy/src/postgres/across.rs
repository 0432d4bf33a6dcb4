//! State that the connections of all databases share.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::super::wire::RedirectTarget;

/// Limit of the databases that are kept.
const MAX: usize = 1024;

/// A session, an address and a port, and the key that the server has given a connection for cancelling.
type CancelKey = (u32, std::net::IpAddr, u16, Bytes);

#[derive(Debug, Default)]
pub(crate) struct AcrossConnections {
    /// Databases that were checked for access to other servers.
    looked: RefCell<HashSet<(RedirectTarget, String)>>,
    /// Clients that are held for an answer.
    held: RefCell<HashMap<CancelKey, Rc<Notify>>>,
}

impl AcrossConnections {
    /// Returns true if that database was not checked before, as far as is kept.
    pub(super) fn is_first_look(&self, target: RedirectTarget, login: &str) -> bool {
        let mut looked = self.looked.borrow_mut();
        if looked.len() >= MAX {
            looked.clear();
        }
        looked.insert((target, login.to_owned()))
    }

    /// Waits until a client withdraws the statement for which it is held; `key`: what it has to send for that.
    pub(super) async fn withdrawn(&self, target: RedirectTarget, key: Bytes) {
        if key.is_empty() {
            return std::future::pending().await;
        }
        let key = cancel_key(target, key);
        let withdrawn = Rc::new(Notify::new());
        self.held
            .borrow_mut()
            .insert(key.clone(), Rc::clone(&withdrawn));
        let _held = Held { all: self, key };
        withdrawn.notified().await;
    }

    /// Wakes the client whose connection has that key, if it is held.
    pub(super) fn withdraw(&self, target: RedirectTarget, key: Bytes) {
        if let Some(held) = self.held.borrow().get(&cancel_key(target, key)) {
            held.notify_one();
        }
    }
}

fn cancel_key(target: RedirectTarget, key: Bytes) -> CancelKey {
    (target.session, target.address, target.port, key)
}

/// A held client: once it is not any more, it is forgotten.
struct Held<'a> {
    all: &'a AcrossConnections,
    key: CancelKey,
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.held.borrow_mut().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        net::Ipv4Addr,
        pin::pin,
        task::{Context, Poll, Waker},
    };

    use super::*;

    #[test]
    fn the_key_of_its_own_connection_withdraws_a_held_statement() {
        let target = |session| RedirectTarget {
            session,
            address: Ipv4Addr::LOCALHOST.into(),
            port: 5432,
            listener: 0,
        };
        let all = AcrossConnections::default();
        let key = Bytes::from_static(b"key");
        {
            let mut held = pin!(all.withdrawn(target(1), key.clone()));
            let mut poll = || held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert_eq!(poll(), Poll::Pending);
            all.withdraw(target(1), Bytes::from_static(b"other"));
            all.withdraw(target(2), key.clone());
            assert_eq!(poll(), Poll::Pending);
            all.withdraw(target(1), key);
            assert_eq!(poll(), Poll::Ready(()));
        }
        assert!(all.held.borrow().is_empty());
    }
}
