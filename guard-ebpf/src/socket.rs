//! The verdict cache in a socket's storage, so that a packet of an allowed flow costs one look-up.
//!
//! A sequence lock guards it: a reader that meets a writer uses nothing of the cache, and a second writer does not write.
//! `bpf_spin_lock` would do the same for three times the cost of all the rest.

use aya_ebpf::bindings::bpf_sock;
use guard_common::{Address, Connection, Decision, HoleId};

use crate::{
    ctx::Flow,
    kernel,
    maps::{self, SocketState},
};

/// A socket's storage.
#[derive(Clone, Copy)]
pub(crate) struct Socket(*mut SocketState);

/// The bits of [`SocketState::way`] that hold protocol and port.
const WAY: u64 = 0x00ff_ffff;
/// The bit of [`SocketState::way`] for an allowance to a packet.
const BY_PACKET: u64 = 1 << 24;

/// What was allowed: a call of a task, or a packet of a socket.
#[derive(Clone, Copy)]
pub(crate) enum Judge {
    Task,
    Packet,
}

/// What the cache says about a destination.
#[derive(Default)]
pub(crate) struct CachedVerdict {
    /// It is allowed, under this generation and at this time.
    pub(crate) allowed: bool,
    /// The hole that this socket has used for it, or 0.
    pub(crate) hole: HoleId,
    /// The socket belongs to a connection that came in from outside.
    pub(crate) inbound: bool,
}

impl Socket {
    /// `None` if nothing is cached yet.
    #[inline(always)]
    pub(crate) fn of(sk: *mut bpf_sock) -> Option<Self> {
        kernel::socket_storage(maps::sockets(), sk).map(Self)
    }

    /// `None` when memory is short.
    #[inline(always)]
    pub(crate) fn new(sk: *mut bpf_sock) -> Option<Self> {
        kernel::new_socket_storage(maps::sockets(), sk).map(Self)
    }

    /// What is cached about this socket and destination for `owner`, the cgroup that is judged. An allowance to another cgroup
    /// does not count: sockets are passed from session to session.
    #[inline(always)]
    pub(crate) fn cached(self, to: &Connection, generation: u64, owner: u64) -> CachedVerdict {
        let state = self.0;
        // SAFETY: a live map value. The loads of its fields depend on the first of `sequence`, and the last of
        // `sequence` on all of them.
        let (whole, differs, valid, way, expires, inbound) = unsafe {
            let before = (&raw const (*state).sequence).read_volatile();
            let to_high = kernel::load_after(&raw const (*state).to[0], before);
            let to_low = kernel::load_after(&raw const (*state).to[1], before);
            let way = kernel::load_after(&raw const (*state).way, before);
            let valid = kernel::load_after(&raw const (*state).generation, before);
            let expires = kernel::load_after(&raw const (*state).expires, before);
            let allowed_to = kernel::load_after(&raw const (*state).owner, before);
            let inbound = (&raw const (*state).inbound).read_volatile();
            let [high, low] = halves(&to.to);
            let differs =
                (to_high ^ high) | (to_low ^ low) | ((way & WAY) ^ port(to)) | (allowed_to ^ owner);
            let last = differs ^ valid ^ expires ^ way;
            let after = kernel::load_after(&raw const (*state).sequence, last);
            (
                before & 1 == 0 && before == after,
                differs,
                valid,
                way,
                expires,
                inbound,
            )
        };
        let same = whole && differs == 0;
        let fresh = same && valid != 0 && valid == generation;
        CachedVerdict {
            allowed: fresh && (expires == 0 || kernel::boot_time().0 < expires),
            hole: HoleId(if same { (way >> 32) as u32 } else { 0 }),
            inbound: inbound != 0,
        }
    }

    /// Whether a flow is the last one allowed to packets, through no hole that ends: [`Self::cached`] for most packets, with
    /// less to load and to compare. The owner is not compared: that of a packet is its socket's, which never changes. `false`
    /// says nothing.
    #[inline(always)]
    pub(crate) fn has_cached(self, flow: &Flow, generation: u64) -> bool {
        let state = self.0;
        let way = BY_PACKET | (u64::from(flow.protocol) << 16) | u64::from(flow.port);
        let [high, low] = halves(&flow.to);
        // SAFETY: as in `cached`, with the same dependencies.
        unsafe {
            let before = (&raw const (*state).sequence).read_volatile();
            let differs = (kernel::load_after(&raw const (*state).to[1], before) ^ low)
                | (kernel::load_after(&raw const (*state).to[0], before) ^ high)
                | (kernel::load_after(&raw const (*state).way, before) ^ way)
                | (kernel::load_after(&raw const (*state).generation, before) ^ generation)
                | kernel::load_after(&raw const (*state).expires, before)
                | (before & 1);
            let after = kernel::load_after(&raw const (*state).sequence, differs);
            differs | (before ^ after) == 0 && generation != 0
        }
    }

    /// Caches an allowance; false if another CPU is writing.
    #[inline(always)]
    pub(crate) fn cache(
        self,
        to: &Connection,
        decision: &Decision,
        generation: u64,
        owner: u64,
        judge: Judge,
    ) -> bool {
        let by = match judge {
            Judge::Packet => BY_PACKET,
            Judge::Task => 0,
        };
        let way = (u64::from(decision.hole.0) << 32) | by | port(to);
        self.write(halves(&to.to), way, generation, decision.expires.0, owner)
    }

    /// Evicts the allowance, and removes the mark of [`Self::mark_inbound`]: the same socket may be connected again, elsewhere and
    /// outwards. False if another CPU is writing.
    #[inline(always)]
    pub(crate) fn clear(self) -> bool {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*self.0).inbound).write_volatile(0) };
        self.evict()
    }

    /// Evicts what was allowed. False if another CPU is writing.
    #[inline(always)]
    pub(crate) fn evict(self) -> bool {
        self.write([0, 0], 0, 0, 0, 0)
    }

    /// Marks a listener that answers a peer: accepted sockets inherit the mark.
    #[inline(always)]
    pub(crate) fn mark_inbound(self) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*self.0).inbound).write_volatile(1) };
    }

    /// Removes the mark from a socket that has connected outwards. `connect` did so, but an answer of the listener that it was
    /// before may have been on its way.
    #[inline(always)]
    pub(crate) fn unmark_inbound(self) {
        // SAFETY: a live map value; one aligned word.
        unsafe { (&raw mut (*self.0).inbound).write_volatile(0) };
    }

    #[inline(always)]
    fn write(self, to: [u64; 2], way: u64, generation: u64, expires: u64, owner: u64) -> bool {
        let state = self.0;
        // SAFETY: a live map value, aligned to 8. Both changes of `sequence` order what is around them.
        unsafe {
            let sequence = &raw mut (*state).sequence;
            let free = sequence.read_volatile() & !1;
            if kernel::compare_exchange(sequence, free, free + 1) != free {
                return false;
            }
            (&raw mut (*state).to[0]).write_volatile(to[0]);
            (&raw mut (*state).to[1]).write_volatile(to[1]);
            (&raw mut (*state).way).write_volatile(way);
            (&raw mut (*state).generation).write_volatile(generation);
            (&raw mut (*state).expires).write_volatile(expires);
            (&raw mut (*state).owner).write_volatile(owner);
            kernel::fetch_add(sequence, 1);
        }
        true
    }
}

/// Protocol and port as [`SocketState::way`] holds them.
#[inline(always)]
fn port(to: &Connection) -> u64 {
    (u64::from(to.protocol.0) << 16) | u64::from(to.port)
}

/// The destination as [`SocketState::to`].
#[inline(always)]
fn halves(to: &Address) -> [u64; 2] {
    let [a, b, c, d] = to.0;
    [
        (u64::from(a) << 32) | u64::from(b),
        (u64::from(c) << 32) | u64::from(d),
    ]
}
