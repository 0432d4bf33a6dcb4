//! What BPF programs find at a socket.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd, RawFd};

use guard_common::Ticket;

use super::batch::{MapSizes, map_sizes};
use super::{Element, address, bpf};

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;

/// Puts a number into a socket's storage in `map`, for as long as there is the socket.
///
/// # Errors
///
/// `InvalidInput` where the map is of other values. Else the system's, as where it is no socket.
pub fn store_at_socket(map: impl AsFd, socket: impl AsFd, value: u64) -> io::Result<()> {
    let (map, key) = (map.as_fd(), socket.as_fd().as_raw_fd());
    if map_sizes(map)? != MapSizes::of::<RawFd, u64>() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the map's keys or values have another size",
        ));
    }
    let mut attr = Element {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: address(&raw const key),
        value: address(&raw const value),
        flags: 0,
    };
    // SAFETY: the kernel reads a key and a value, of the sizes that were just compared.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}

/// What the kernel half has noted at a socket (`ListenerState`): the second word is the ticket.
type Noted = [u64; 6];

/// The map of what the kernel half has noted at sockets.
#[derive(Debug)]
pub struct Tickets(OwnedFd);

impl Tickets {
    /// Of a descriptor of that map.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where the map is of other values. Else the system's.
    pub fn new(map: OwnedFd) -> io::Result<Self> {
        super::element::check_sizes::<RawFd, Noted>(&map)?;
        Ok(Self(map))
    }

    /// The ticket of a socket; none where it has none.
    ///
    /// # Errors
    ///
    /// The system's, as where it is no socket.
    pub fn of(&self, socket: impl AsFd) -> io::Result<Option<Ticket>> {
        let key = socket.as_fd().as_raw_fd();
        // SAFETY: `new` has compared the sizes, and a socket has one value.
        let noted: Option<Noted> = unsafe { super::element::lookup(&self.0, &key) }?;
        // An earlier kernel half gave longer ones, of which the lower half counts.
        Ok(noted
            .map(|[_, ticket, ..]| Ticket(ticket as u32))
            .filter(|ticket| ticket.0 != 0))
    }
}
