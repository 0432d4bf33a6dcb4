//! A TLS client without a certificate, which notices when it is asked for one.
//!
//! Only the holder of a certificate's key can use it, and the proxy has none: TLS proves by it that there is no proxy in
//! between.

use std::{
    cell::RefCell,
    collections::HashSet,
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use rustls::{
    HandshakeKind, SignatureScheme, client::ResolvesClientCert, pki_types::ServerName,
    sign::CertifiedKey,
};

/// Names that are kept at once. Further ones may be found out again.
const MAX_KNOWN: usize = 1024;

/// Has no certificate. One for all handshakes: rustls resumes a connection only with the one that it began with.
#[derive(Debug, Default)]
pub(super) struct Unarmed {
    was_asked: AtomicBool,
}

impl ResolvesClientCert for Unarmed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.was_asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        false
    }
}

impl Unarmed {
    /// The result of a handshake, and whether it asked for a certificate. All handshakes are on one thread, each at a time.
    pub(super) async fn noting<T>(&self, handshake: impl Future<Output = T>) -> (T, bool) {
        let mut handshake = pin!(handshake);
        let mut was_asked = false;
        let done = poll_fn(|cx| {
            self.was_asked.store(false, Ordering::Relaxed);
            let polled = handshake.as_mut().poll(cx);
            was_asked |= self.was_asked.load(Ordering::Relaxed);
            polled
        });
        (done.await, was_asked)
    }
}

/// The destinations that have asked for one: a resumed connection does not ask again.
#[derive(Debug, Default)]
pub(super) struct UnarmedNames(RefCell<HashSet<ServerName<'static>>>);

impl UnarmedNames {
    /// Whether a destination asks, by its last handshake.
    pub(super) fn is_one(
        &self,
        name: &ServerName<'static>,
        was_asked: bool,
        kind: Option<HandshakeKind>,
    ) -> bool {
        let mut known = self.0.borrow_mut();
        if kind == Some(HandshakeKind::Resumed) {
            return known.contains(name);
        }
        if was_asked {
            if known.len() >= MAX_KNOWN {
                known.clear();
            }
            known.insert(name.clone());
        } else {
            known.remove(name);
        }
        was_asked
    }
}
