//! When a connection began: names count for it that counted then.

use aya_ebpf::bindings::bpf_sock;
use guard_common::{Address, BootTime, Connection, Protocol};

use crate::{ctx, kernel, maps};

/// How many bits of nanoseconds [`Began::coarse`] leaves out.
const COARSE: u32 = 26;

/// When a connection began, by the clock of [`kernel::boot_time`].
#[derive(Clone, Copy)]
pub(crate) struct Began(u64);

impl Began {
    /// It begins. The clock is read only where names are in question.
    pub(crate) const NOW: Self = Self(u64::MAX);

    /// At that moment; 0 where it is not known: all names count then that the session has.
    #[inline(always)]
    pub(crate) const fn at(moment: u64) -> Self {
        Self(moment)
    }

    /// As [`Self::at`] takes it.
    #[inline(always)]
    pub(crate) const fn moment(self) -> u64 {
        self.0
    }

    /// As names have it.
    #[inline(always)]
    pub(crate) fn time(self) -> BootTime {
        if self.0 == Self::NOW.0 {
            kernel::boot_time()
        } else {
            BootTime(self.0)
        }
    }

    /// In half the bytes, for who has no room for all: rounded down to 67 ms, of which there are nine years.
    #[inline(always)]
    pub(crate) const fn coarse(self) -> u32 {
        let coarse = self.0 >> COARSE;
        if self.0 == Self::NOW.0 {
            u32::MAX
        } else if coarse < u32::MAX as u64 {
            coarse as u32
        } else {
            u32::MAX - 1
        }
    }

    /// Out of [`Self::coarse`].
    #[inline(always)]
    pub(crate) const fn of_coarse(coarse: u32) -> Self {
        if coarse == u32::MAX {
            Self::NOW
        } else {
            Self((coarse as u64) << COARSE)
        }
    }

    /// Of a packet's connection.
    ///
    /// A function of its own for the sake of the stack, as [`crate::emit::due`].
    #[inline(never)]
    pub(crate) fn of_packet(sk: *mut bpf_sock, to: &Connection) -> Self {
        let state = kernel::socket_storage::<u64>(maps::began(), sk);
        // SAFETY: a live map value; one aligned word.
        let began = state.map_or(0, |state| unsafe { state.read_volatile() });
        if to.protocol == Protocol::TCP {
            // Without `connect` it is one of the kernel's own, or came in.
            return Self(began);
        }
        if began != 0 && is_connected(sk, to) {
            Self(began)
        } else {
            Self::NOW
        }
    }
}

/// Whether a packet goes where its socket is connected to: others begin a connection each.
#[inline(always)]
fn is_connected(sk: *mut bpf_sock, to: &Connection) -> bool {
    let mut connected = Connection::new(Address::default(), to.protocol, 0);
    let is_any = ctx::connected_to(sk, &mut connected);
    let differs = if to.protocol == Protocol::UDP {
        connected.port ^ to.port
    } else {
        0
    };
    is_any && differs == 0 && connected.to == to.to
}

/// Notes that a socket connects. False where memory is short for that.
#[inline(always)]
pub(crate) fn note(sk: *mut bpf_sock) -> bool {
    let new = kernel::new_socket_storage::<u64>(maps::began(), sk);
    // Another thread may have made it meanwhile.
    let Some(state) = new.or_else(|| kernel::socket_storage(maps::began(), sk)) else {
        return false;
    };
    // SAFETY: a live map value; one aligned word.
    unsafe { state.write_volatile(kernel::boot_time().0) };
    true
}
