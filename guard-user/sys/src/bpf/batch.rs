//! Many elements of a map in one call.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

use super::{BPF_OBJ_GET_INFO_BY_FD, InfoByFd, address, bpf};

const BPF_MAP_LOOKUP_BATCH: libc::c_int = 24;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// The kernel's own "not supported" (`include/linux/errno.h`), which bpf(2) lets out.
const ENOTSUPP: i32 = 524;

/// How many elements go into one call, so that no call keeps the map's locks for long.
pub(super) const BATCH: usize = 4096;

#[repr(C)]
struct Batch {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    elem_flags: u64,
    flags: u64,
}

/// Puts all of `keys` with their `values`, one after the other in each slice, into a map.
///
/// Not atomic: where it fails, some may be in. So it is for maps that nobody reads yet.
///
/// # Errors
///
/// `Unsupported` where this kind of map has no batches on this kernel; nothing was written then, and
/// single updates still work. `InvalidInput` where the slices are not of whole and equally many
/// elements. Else the system's.
pub fn update_batch(
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    key_size: usize,
    value_size: usize,
) -> io::Result<()> {
    let count = elements(keys, key_size)?;
    if elements(values, value_size)? != count {
        return Err(invalid("there are not as many values as keys"));
    }
    let keys = keys.chunks(key_size * BATCH);
    for (keys, values) in keys.zip(values.chunks(value_size * BATCH)) {
        let count = keys.len() / key_size;
        batch(BPF_MAP_UPDATE_BATCH, map, keys, values, count).map_err(|failed| failed.error)?;
    }
    Ok(())
}

/// Removes all of `keys`, one after the other in the slice, from a map. Those that are not in it are
/// passed over.
///
/// # Errors
///
/// The errors of [`update_batch`].
pub fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], key_size: usize) -> io::Result<()> {
    elements(keys, key_size)?;
    keys.chunks(key_size * BATCH)
        .try_for_each(|chunk| delete_chunk(map, chunk, key_size))
}

/// All keys of a hash table and their values, one after the other in each. What is in the table all the while is there: the kernel
/// copies each bucket whole.
///
/// # Errors
///
/// `InvalidInput` where the map has a value for each CPU. Else the system's.
pub fn lookup_all(map: BorrowedFd<'_>) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut keys, mut values) = (Vec::new(), Vec::new());
    each_batch(map, |some_keys, some_values| {
        keys.extend(some_keys);
        values.extend(some_values);
    })?;
    Ok((keys, values))
}

/// The same of the keys alone.
///
/// # Errors
///
/// The errors of [`lookup_all`].
pub(super) fn all_keys(map: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut keys = Vec::new();
    each_batch(map, |some, _| keys.extend(some))?;
    Ok(keys)
}

/// Hands over all keys of a hash table with their values, some at a time.
fn each_batch(map: BorrowedFd<'_>, mut take: impl FnMut(&[u8], &[u8])) -> io::Result<()> {
    let sizes = map_sizes(map)?;
    let (mut bucket, mut room) = (None, BATCH);
    let mut found = Found::with_room(room, sizes);
    loop {
        found.count = room;
        match found.read(map, bucket) {
            Err(error) if error.raw_os_error() == Some(libc::ENOSPC) => {
                room *= 2;
                found = Found::with_room(room, sizes);
            }
            Err(error) => return Err(error),
            Ok(next) => {
                let keys = found.keys.get(..found.count * sizes.key);
                let values = found.values.get(..found.count * sizes.value);
                take(keys.unwrap_or_default(), values.unwrap_or_default());
                if next.is_none() {
                    return Ok(());
                }
                bucket = next;
            }
        }
    }
}

/// What one call has found.
struct Found {
    keys: Vec<u8>,
    values: Vec<u8>,
    count: usize,
}

impl Found {
    fn with_room(count: usize, sizes: MapSizes) -> Self {
        Self {
            keys: vec![0; count * sizes.key],
            values: vec![0; count * sizes.value],
            count,
        }
    }

    /// Reads from a bucket on, and returns that of the next call; none where there is no more.
    fn read(&mut self, map: BorrowedFd<'_>, bucket: Option<u32>) -> io::Result<Option<u32>> {
        let mut next = 0_u32;
        let mut attr = Batch {
            in_batch: bucket.as_ref().map_or(0, |bucket| address(bucket)),
            out_batch: address(&raw mut next),
            keys: address(self.keys.as_mut_ptr()),
            values: address(self.values.as_mut_ptr()),
            count: self.count as u32,
            map_fd: map.as_raw_fd().cast_unsigned(),
            elem_flags: 0,
            flags: 0,
        };
        // SAFETY: the kernel reads a bucket's number where there is one, and writes one; and no more than `count` keys and values, for
        // which there is room: their sizes are the map's own.
        let done = unsafe { bpf(BPF_MAP_LOOKUP_BATCH, &mut attr) };
        let is_last = matches!(&done, Err(error) if error.raw_os_error() == Some(libc::ENOENT));
        if !is_last {
            done?;
        }
        self.count = attr.count as usize;
        Ok((!is_last).then_some(next))
    }
}

fn delete_chunk(map: BorrowedFd<'_>, mut keys: &[u8], key_size: usize) -> io::Result<()> {
    while !keys.is_empty() {
        let count = keys.len() / key_size;
        match batch(BPF_MAP_DELETE_BATCH, map, keys, &[], count) {
            Ok(()) => return Ok(()),
            Err(failed) if failed.error.raw_os_error() == Some(libc::ENOENT) => {
                keys = keys.get((failed.done + 1) * key_size..).unwrap_or(&[]);
            }
            Err(failed) => return Err(failed.error),
        }
    }
    Ok(())
}

fn elements(bytes: &[u8], size: usize) -> io::Result<usize> {
    if size == 0 || !bytes.len().is_multiple_of(size) {
        return Err(invalid("the bytes are not a whole number of elements"));
    }
    Ok(bytes.len() / size)
}

fn invalid(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, why)
}

struct BatchFailed {
    /// How many elements were done before the one that failed.
    done: usize,
    error: io::Error,
}

/// One batch call of `count` elements. The caller has checked that `keys` (and `values`, where the
/// command takes them) hold that many.
fn batch(
    command: libc::c_int,
    map: BorrowedFd<'_>,
    keys: &[u8],
    values: &[u8],
    count: usize,
) -> Result<(), BatchFailed> {
    let mut attr = Batch {
        in_batch: 0,
        out_batch: 0,
        keys: address(keys.as_ptr()),
        values: address(values.as_ptr()),
        count: count as u32,
        map_fd: map.as_raw_fd().cast_unsigned(),
        elem_flags: 0,
        flags: 0,
    };
    // SAFETY: these commands only read the keys and values. That the map's own sizes are those the
    // slices were cut by is checked first, in `fits`, so the kernel reads within them.
    let outcome = fits(map, keys, values, count).and_then(|()| unsafe { bpf(command, &mut attr) });
    outcome.map(drop).map_err(|error| BatchFailed {
        done: attr.count as usize,
        error: match error.raw_os_error() {
            Some(ENOTSUPP) => io::Error::new(io::ErrorKind::Unsupported, "no batches on this map"),
            _ => error,
        },
    })
}

/// Whether the map's keys and values have the sizes that the slices were cut by.
fn fits(map: BorrowedFd<'_>, keys: &[u8], values: &[u8], count: usize) -> io::Result<()> {
    let sizes = map_sizes(map)?;
    let values_fit = values.is_empty() || values.len() == count * sizes.value;
    if keys.len() == count * sizes.key && values_fit {
        return Ok(());
    }
    Err(invalid("the map's keys or values have another size"))
}

/// The sizes of a map's keys and values, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MapSizes {
    pub(super) key: usize,
    pub(super) value: usize,
}

impl MapSizes {
    /// Those of a map from `K` to `V`.
    pub(super) const fn of<K, V>() -> Self {
        Self {
            key: size_of::<K>(),
            value: size_of::<V>(),
        }
    }
}

/// The beginning of `struct bpf_map_info`.
#[derive(Default)]
#[repr(C)]
struct MapInfo {
    kind: u32,
    id: u32,
    key_size: u32,
    value_size: u32,
}

/// `enum bpf_map_type`: the kinds whose values are one for each CPU, so longer than they say.
const PER_CPU: [u32; 4] = [5, 6, 10, 21];

pub(super) fn map_sizes(map: BorrowedFd<'_>) -> io::Result<MapSizes> {
    let mut info = MapInfo::default();
    let mut attr = InfoByFd {
        bpf_fd: map.as_raw_fd().cast_unsigned(),
        info_len: size_of::<MapInfo>() as u32,
        info: address(&raw mut info),
    };
    // SAFETY: `info` is `info_len` writable bytes, and any bytes make a `MapInfo`.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    if PER_CPU.contains(&info.kind) {
        return Err(invalid("the map has a value for each CPU"));
    }
    Ok(MapSizes {
        key: info.key_size as usize,
        value: info.value_size as usize,
    })
}
