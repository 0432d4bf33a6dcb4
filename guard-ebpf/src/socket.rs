//! What is remembered of a socket, so that an allowed flow costs one look-up a packet.

use aya_ebpf::bindings::bpf_sock;
use guard_common::{Connection, Decision, HoleId};

use crate::{
    kernel,
    maps::{self, SocketState},
};

/// A socket's storage.
#[derive(Clone, Copy)]
pub(crate) struct Socket(*mut SocketState);

/// What the storage says about a destination.
pub(crate) struct Remembered {
    /// It is allowed, under this generation and at this time.
    pub(crate) allowed: bool,
    /// The hole that this socket has taken a connection from for it, or 0.
    pub(crate) granted: HoleId,
    /// The socket belongs to a connection that came in from outside.
    pub(crate) inbound: bool,
}

impl Socket {
    /// `None` when memory is short.
    #[inline(always)]
    pub(crate) fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::sockets(), sk).map(Self)
    }

    /// What is known about this socket going there.
    #[inline(always)]
    pub(crate) fn recall(self, to: &Connection, generation: u64) -> Remembered {
        let state = self.0;
        // SAFETY: a live map value; no helper is called while the lock is held.
        let (same, valid, expires, hole, inbound) = unsafe {
            kernel::lock(&raw mut (*state).lock);
            let same = ((*state).to[0] ^ to.to.0[0])
                | ((*state).to[1] ^ to.to.0[1])
                | ((*state).to[2] ^ to.to.0[2])
                | ((*state).to[3] ^ to.to.0[3])
                | ((*state).port ^ u32::from(to.port))
                | ((*state).protocol ^ u32::from(to.protocol.0));
            let valid = (*state).generation;
            let expires = (*state).expires;
            let hole = (*state).hole;
            let inbound = (*state).inbound;
            kernel::unlock(&raw mut (*state).lock);
            (same == 0, valid, expires, hole, inbound)
        };
        let fresh = same && valid != 0 && valid == generation;
        Remembered {
            allowed: fresh && (expires == 0 || kernel::boot_time().0 < expires),
            granted: HoleId(if same { hole } else { 0 }),
            inbound: inbound != 0,
        }
    }

    /// Remembers an allowance.
    #[inline(always)]
    pub(crate) fn remember(self, to: &Connection, decision: &Decision, generation: u64) {
        let state = self.0;
        // SAFETY: as in `recall`.
        unsafe {
            kernel::lock(&raw mut (*state).lock);
            (*state).to[0] = to.to.0[0];
            (*state).to[1] = to.to.0[1];
            (*state).to[2] = to.to.0[2];
            (*state).to[3] = to.to.0[3];
            (*state).port = u32::from(to.port);
            (*state).protocol = u32::from(to.protocol.0);
            (*state).hole = decision.hole.0;
            (*state).expires = decision.expires.0;
            (*state).generation = generation;
            kernel::unlock(&raw mut (*state).lock);
        }
    }

    /// Forgets all: the same socket may be connected anew, elsewhere and outwards.
    #[inline(always)]
    pub(crate) fn forget(self) {
        let state = self.0;
        // SAFETY: as in `recall`.
        unsafe {
            kernel::lock(&raw mut (*state).lock);
            (*state).generation = 0;
            (*state).hole = 0;
            (*state).port = 0;
            (*state).protocol = 0;
            (*state).inbound = 0;
            kernel::unlock(&raw mut (*state).lock);
        }
    }

    /// Marks a listener that answers somebody: what it accepts inherits the mark.
    #[inline(always)]
    pub(crate) fn mark_inbound(self) {
        // SAFETY: a live map value; one aligned word, and the only value ever written here is 1.
        unsafe { (&raw mut (*self.0).inbound).write_volatile(1) };
    }
}
