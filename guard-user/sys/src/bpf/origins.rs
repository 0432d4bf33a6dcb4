//! The original destinations of connections that the kernel half has redirected to a proxy.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use guard_common::{Origin, OriginKey};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::batch::map_sizes;
use super::{Element, address, bpf};

/// For hash maps since Linux 5.14.
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;

/// The map `ORIGINS`. Whoever has inherited its descriptor needs no privilege (since Linux 5.19).
#[derive(Debug)]
pub struct Origins(OwnedFd);

impl Origins {
    /// Takes the map over.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where it is a map of other keys or values. Else the system's, as where it is no map.
    pub fn new(map: OwnedFd) -> io::Result<Self> {
        if map_sizes(map.as_fd())? == (size_of::<OriginKey>(), size_of::<Origin>()) {
            return Ok(Self(map));
        }
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the map's keys or values have another size",
        ))
    }

    /// Takes out where a peer was going; `None` where nothing is known of it. What was taken out is not there again.
    ///
    /// A peer that has reset its connection leaves its port to others, and what is taken out may be theirs: look whether
    /// the connection still stands (`TCP_INFO`) after it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn take(&self, key: &OriginKey) -> io::Result<Option<Origin>> {
        let mut origin = Origin::new_zeroed();
        let mut attr = Element {
            map_fd: self.0.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: address(key.as_bytes().as_ptr()),
            value: address(origin.as_mut_bytes().as_mut_ptr()),
            flags: 0,
        };
        // SAFETY: the kernel reads a key and writes a value, of the sizes that `new` has compared; any bytes make an
        // `Origin`.
        match unsafe { bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &mut attr) } {
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
            done => done.map(|_| Some(origin)),
        }
    }
}
