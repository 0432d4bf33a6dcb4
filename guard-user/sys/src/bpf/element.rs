//! One element of a map, for whoever has inherited the map's descriptor.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::batch::{MapSizes, map_sizes};
use super::{Element, address, bpf};

const BPF_MAP_LOOKUP_ELEM: libc::c_int = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;

/// Whether a map has keys and values of these sizes.
///
/// # Errors
///
/// `InvalidInput` where they are others. Else the system's, as where it is no map.
pub(super) fn check_sizes<K, V>(map: &OwnedFd) -> io::Result<()> {
    if map_sizes(map.as_fd())? == MapSizes::of::<K, V>() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::InvalidInput,
        "the map's keys or values have another size",
    ))
}

/// The value of a key; `None` where there is none.
///
/// # Safety
///
/// [`check_sizes`] has found the map to have these keys and values, and it is a map of one value for each key.
pub(super) unsafe fn lookup<K, V>(map: &OwnedFd, key: &K) -> io::Result<Option<V>>
where
    K: IntoBytes + Immutable,
    V: FromBytes + IntoBytes,
{
    let mut value = V::new_zeroed();
    let mut attr = Element {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: address(key.as_bytes().as_ptr()),
        value: address(value.as_mut_bytes().as_mut_ptr()),
        flags: 0,
    };
    // SAFETY: the kernel reads a key and writes a value, of the sizes that the caller has compared; any bytes make a value.
    match unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &mut attr) } {
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        done => done.map(|_| Some(value)),
    }
}

/// Puts a value in, or another in the place of the one that is there.
///
/// # Safety
///
/// The promise of [`lookup`].
pub(super) unsafe fn update<K, V>(map: &OwnedFd, key: &K, value: &V) -> io::Result<()>
where
    K: IntoBytes + Immutable,
    V: IntoBytes + Immutable,
{
    let mut attr = Element {
        map_fd: map.as_raw_fd().cast_unsigned(),
        padding: 0,
        key: address(key.as_bytes().as_ptr()),
        value: address(value.as_bytes().as_ptr()),
        flags: 0,
    };
    // SAFETY: the kernel reads a key and a value, of the sizes that the caller has compared.
    unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
}
