//! Maps that are made and pinned here, of keys and values that are so many bytes.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use super::{ObjGet, address, bpf, open_pin};

const BPF_MAP_UPDATE_ELEM: libc::c_int = 2;
const BPF_MAP_DELETE_ELEM: libc::c_int = 3;
const BPF_OBJ_PIN: libc::c_int = 6;

/// Pins a map, a program or a link where nothing is yet.
///
/// # Errors
///
/// The system's.
pub fn pin(object: &OwnedFd, at: &Path) -> io::Result<()> {
    let path = CString::new(at.as_os_str().as_bytes())?;
    let mut attr = ObjGet {
        pathname: address(path.as_ptr()),
        bpf_fd: object.as_raw_fd().cast_unsigned(),
        file_flags: 0,
    };
    // SAFETY: `path` is a string ended by a NUL that outlives the call.
    unsafe { bpf(BPF_OBJ_PIN, &mut attr) }.map(drop)
}

/// A map by its pin.
///
/// # Errors
///
/// The system's.
pub fn open_map(at: &Path) -> io::Result<OwnedFd> {
    open_pin(at)
}

/// A map whose keys and values are so many bytes.
#[derive(Debug)]
pub struct Bytes<const KEY: usize, const VALUE: usize>(OwnedFd);

impl<const KEY: usize, const VALUE: usize> Bytes<KEY, VALUE> {
    /// # Errors
    ///
    /// `InvalidInput` where its keys or values have other sizes. Else the system's.
    pub fn of(map: OwnedFd) -> io::Result<Self> {
        match super::batch::map_sizes(map.as_fd())? == (KEY, VALUE) {
            true => Ok(Self(map)),
            false => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the map's keys or values have another size",
            )),
        }
    }

    /// The map.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Puts a value.
    ///
    /// # Errors
    ///
    /// The system's: `E2BIG` where the map is full.
    pub fn put(&self, key: &[u8; KEY], value: &[u8; VALUE]) -> io::Result<()> {
        let mut attr = self.element(key, address(value.as_ptr()));
        // SAFETY: the kernel reads a key and a value of the sizes that were compared in `of`.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &mut attr) }.map(drop)
    }

    /// Takes a value away, if there is one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove(&self, key: &[u8; KEY]) -> io::Result<()> {
        let mut attr = self.element(key, 0);
        // SAFETY: the kernel reads a key of the size that was compared in `of`.
        match unsafe { bpf(BPF_MAP_DELETE_ELEM, &mut attr) } {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done.map(drop),
        }
    }

    fn element(&self, key: &[u8; KEY], value: u64) -> super::Element {
        super::Element {
            map_fd: self.0.as_raw_fd().cast_unsigned(),
            padding: 0,
            key: address(key.as_ptr()),
            value,
            flags: 0,
        }
    }
}
