//! Under which names sessions have learned addresses.

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use guard_common::{Named, NamedKey};
use zerocopy::{FromBytes as _, IntoBytes as _};

use super::batch::{all_keys, delete_batch, lookup_all};
use super::element::{check_sizes, lookup, update};

/// All that a map of these keys and values has.
///
/// # Errors
///
/// The system's.
pub fn all_named(map: BorrowedFd<'_>) -> io::Result<Vec<(NamedKey, Named)>> {
    let (keys, values) = lookup_all(map)?;
    let keys = keys.chunks_exact(size_of::<NamedKey>());
    let values = values.chunks_exact(size_of::<Named>());
    let all = keys.zip(values).filter_map(|(key, value)| {
        let key = NamedKey::read_from_bytes(key).ok()?;
        Some((key, Named::read_from_bytes(value).ok()?))
    });
    Ok(all.collect())
}

/// Of what a map of these keys has something.
///
/// # Errors
///
/// The system's.
pub fn named_keys(map: BorrowedFd<'_>) -> io::Result<Vec<NamedKey>> {
    let keys = all_keys(map)?;
    let keys = keys.chunks_exact(size_of::<NamedKey>());
    let keys = keys.filter_map(|key| NamedKey::read_from_bytes(key).ok());
    Ok(keys.collect())
}

/// Takes these out of a map of these keys, as far as they are in it.
///
/// # Errors
///
/// The system's.
pub fn remove_named(map: BorrowedFd<'_>, keys: &[NamedKey]) -> io::Result<()> {
    delete_batch(map, keys.as_bytes(), size_of::<NamedKey>())
}

/// The map `NAMED`. A process that has inherited its descriptor needs no privilege (since Linux 5.19).
#[derive(Debug)]
pub struct NamedMap(OwnedFd);

impl NamedMap {
    /// Takes the map over.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where it is a map of other keys or values. Else the system's, as where it is no map.
    pub fn new(map: OwnedFd) -> io::Result<Self> {
        check_sizes::<NamedKey, Named>(&map)?;
        Ok(Self(map))
    }

    /// What is known of an address; `None`: nothing.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn get(&self, key: &NamedKey) -> io::Result<Option<Named>> {
        // SAFETY: `new` has compared the sizes, and any bytes make a `Named`.
        unsafe { lookup(&self.0, key) }
    }

    /// All that is known.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn all(&self) -> io::Result<Vec<(NamedKey, Named)>> {
        all_named(self.0.as_fd())
    }

    /// Has the kernel know that of an address, and nothing else.
    ///
    /// # Errors
    ///
    /// The system's; `E2BIG` where the map is full.
    pub fn put(&self, key: &NamedKey, named: &Named) -> io::Result<()> {
        // SAFETY: `new` has compared the sizes.
        unsafe { update(&self.0, key, named) }
    }

    /// Has the kernel know nothing of these addresses.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove(&self, keys: &[NamedKey]) -> io::Result<()> {
        remove_named(self.0.as_fd(), keys)
    }
}
