//! The original destinations of connections and datagrams that the kernel half has redirected to a proxy or a resolver.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};

use guard_common::{Origin, OriginKey};
use zerocopy::{FromZeros as _, IntoBytes as _};

use super::element::{check_sizes, lookup};
use super::{Element, address, bpf};

/// For hash maps since Linux 5.14.
const BPF_MAP_LOOKUP_AND_DELETE_ELEM: libc::c_int = 21;

/// The map `ORIGINS`, or `QUESTIONS`. A process that has inherited its descriptor needs no privilege (since Linux 5.19).
#[derive(Debug)]
pub struct Origins(OwnedFd);

impl Origins {
    /// Takes the map over.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where it is a map of other keys or values. Else the system's, as where it is no map.
    pub fn new(map: OwnedFd) -> io::Result<Self> {
        check_sizes::<OriginKey, Origin>(&map)?;
        Ok(Self(map))
    }

    /// Where a peer was going; `None` where nothing is known of it. It stays there, for datagrams that come from the same port.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn get(&self, key: &OriginKey) -> io::Result<Option<Origin>> {
        // SAFETY: `new` has compared the sizes, and any bytes make an `Origin`.
        unsafe { lookup(&self.0, key) }
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
