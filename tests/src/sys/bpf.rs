//! `bpf(2)`, as far as measurements go. Attributes are the words of `union bpf_attr` in linux/bpf.h.

use std::ffi::CString;
use std::io;
use std::mem::size_of_val;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

use super::check_long;

const MAP_CREATE: u32 = 0;
const PROG_LOAD: u32 = 5;
const OBJ_GET: u32 = 7;
const PROG_GET_FD_BY_ID: u32 = 13;
const MAP_UPDATE_BATCH: u32 = 26;
const MAP_DELETE_BATCH: u32 = 27;
const LINK_CREATE: u32 = 28;
const LINK_GET_FD_BY_ID: u32 = 30;
const LINK_GET_NEXT_ID: u32 = 31;
const LINK_DETACH: u32 = 34;
const ENABLE_STATS: u32 = 32;

const MAP_TYPE_LPM_TRIE: u32 = 11;
const NO_PREALLOC: u32 = 1;
const PROG_TYPE_CGROUP_SKB: u32 = 8;
const CGROUP_INET_EGRESS: u32 = 1;

/// Room for what these commands take.
type Words = [u64; 16];

/// Two 32-bit fields, one after the other.
const fn pair(first: u32, second: u32) -> u64 {
    let ([a, b, c, d], [e, f, g, h]) = (first.to_ne_bytes(), second.to_ne_bytes());
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

/// A non-negative descriptor, as the attributes hold it.
fn number(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

/// # Safety
///
/// Pointers in `words` are to memory of the length that `command` takes from there.
unsafe fn bpf(command: u32, words: &mut Words) -> io::Result<usize> {
    let size = size_of_val(words);
    // SAFETY: the kernel reads and writes `size` bytes at words; the rest is the caller's.
    check_long(unsafe { libc::syscall(libc::SYS_bpf, command, words.as_mut_ptr(), size) as isize })
}

/// # Safety
///
/// As [`bpf`], and `command` gives a new descriptor.
unsafe fn bpf_fd(command: u32, words: &mut Words) -> io::Result<OwnedFd> {
    // SAFETY: the caller's.
    let fd = unsafe { bpf(command, words) }?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// The smallest egress program: `r0 = 1; exit`, which lets every packet out.
pub(crate) fn load_empty_egress() -> io::Result<OwnedFd> {
    const PROGRAM: [u64; 2] = [0x0000_0001_0000_00b7, 0x0000_0000_0000_0095];
    let license = c"Dual MIT/GPL";
    let mut words: Words = [0; 16];
    words[0] = pair(PROG_TYPE_CGROUP_SKB, PROGRAM.len() as u32);
    words[1] = PROGRAM.as_ptr() as u64;
    words[2] = license.as_ptr() as u64;
    words[8] = pair(0, CGROUP_INET_EGRESS);
    // SAFETY: two instructions of eight bytes, and a string with its end, both alive.
    unsafe { bpf_fd(PROG_LOAD, &mut words) }
}

/// Attaches an egress program to a cgroup for as long as the link lives.
pub(crate) fn attach_egress(program: impl AsFd, cgroup: impl AsFd) -> io::Result<OwnedFd> {
    let mut words: Words = [0; 16];
    words[0] = pair(number(program.as_fd()), number(cgroup.as_fd()));
    words[1] = pair(CGROUP_INET_EGRESS, 0);
    // SAFETY: no pointers.
    unsafe { bpf_fd(LINK_CREATE, &mut words) }
}

/// A program by its id.
pub(crate) fn program(id: u32) -> io::Result<OwnedFd> {
    let mut words: Words = [0; 16];
    words[0] = pair(id, 0);
    // SAFETY: no pointers.
    unsafe { bpf_fd(PROG_GET_FD_BY_ID, &mut words) }
}

/// What is pinned there.
pub(crate) fn open_pin(path: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut words: Words = [0; 16];
    words[0] = path.as_ptr() as u64;
    // SAFETY: a string with its end, alive.
    unsafe { bpf_fd(OBJ_GET, &mut words) }
}

/// Detaches a link.
pub(crate) fn detach(link: impl AsFd) -> io::Result<()> {
    let mut words: Words = [0; 16];
    words[0] = pair(number(link.as_fd()), 0);
    // SAFETY: no pointers.
    unsafe { bpf(LINK_DETACH, &mut words) }.map(drop)
}

/// The number of the first link.
pub(crate) fn first_link() -> io::Result<u32> {
    let mut words: Words = [0; 16];
    // SAFETY: no pointers.
    unsafe { bpf(LINK_GET_NEXT_ID, &mut words) }?;
    // The second of two.
    let [_, _, _, _, a, b, c, d] = words[0].to_ne_bytes();
    Ok(u32::from_ne_bytes([a, b, c, d]))
}

/// Opens a link by its number.
pub(crate) fn open_link(id: u32) -> io::Result<OwnedFd> {
    let mut words: Words = [0; 16];
    words[0] = pair(id, 0);
    // SAFETY: no pointers.
    unsafe { bpf_fd(LINK_GET_FD_BY_ID, &mut words) }
}

/// Has the kernel count and time the runs of all programs for as long as the descriptor is open.
pub(crate) fn enable_stats() -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    unsafe { bpf_fd(ENABLE_STATS, &mut [0; 16]) }
}

/// A trie of prefixes.
pub(crate) fn create_trie(key: u32, value: u32, entries: u32) -> io::Result<OwnedFd> {
    let mut words: Words = [0; 16];
    words[0] = pair(MAP_TYPE_LPM_TRIE, key);
    words[1] = pair(value, entries);
    words[2] = pair(NO_PREALLOC, 0);
    // SAFETY: no pointers.
    unsafe { bpf_fd(MAP_CREATE, &mut words) }
}

/// Puts entries into a map, whose keys and values have these lengths.
pub(crate) fn fill<const K: usize, const V: usize>(
    map: impl AsFd,
    keys: &[[u8; K]],
    values: &[[u8; V]],
) -> io::Result<()> {
    let count = keys.len().min(values.len());
    let mut words = batch(map.as_fd(), keys, count);
    words[3] = values.as_ptr() as u64;
    // SAFETY: keys and values are `count` long, or longer, and alive.
    unsafe { bpf(MAP_UPDATE_BATCH, &mut words) }.map(drop)
}

/// Removes entries from a map.
pub(crate) fn drain<const K: usize>(map: impl AsFd, keys: &[[u8; K]]) -> io::Result<()> {
    let mut words = batch(map.as_fd(), keys, keys.len());
    // SAFETY: that many keys, alive.
    unsafe { bpf(MAP_DELETE_BATCH, &mut words) }.map(drop)
}

fn batch<const K: usize>(map: BorrowedFd<'_>, keys: &[[u8; K]], count: usize) -> Words {
    let mut words: Words = [0; 16];
    words[2] = keys.as_ptr() as u64;
    words[4] = pair(u32::try_from(count).unwrap_or(u32::MAX), number(map));
    words
}
