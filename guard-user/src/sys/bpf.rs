//! The parts of bpf(2) that aya does not offer, and the file system that pins live in.
//!
//! Layouts and numbers are those of `include/uapi/linux/bpf.h`.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::mem::size_of;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::mount::MountFlags;

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
const BPF_MAP_UPDATE_BATCH: libc::c_int = 26;
const BPF_MAP_DELETE_BATCH: libc::c_int = 27;

/// `enum bpf_link_type`
const BPF_LINK_TYPE_CGROUP: u32 = 3;

/// The kernel's own "not supported" (`include/linux/errno.h`), which bpf(2) lets out.
const ENOTSUPP: i32 = 524;

/// How many elements go into one call, so that no call keeps the map's locks for long.
const BATCH: usize = 4096;

/// What the kernel says about a pinned link to a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CgroupLink {
    /// The kernel's id of the link.
    pub link_id: u32,
    /// The kernel's id of the program.
    pub prog_id: u32,
    /// The id of the cgroup. 0 once the cgroup is gone: the link then decides nothing any more.
    pub cgroup_id: u64,
    /// `enum bpf_attach_type`
    pub attach_type: u32,
}

#[repr(C)]
struct ObjGet {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

#[repr(C)]
struct InfoByFd {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`, up to the end of its variant for cgroups.
#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    kind: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    cgroup_id: u64,
    attach_type: u32,
    end: u32,
}

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

/// bpf(2).
///
/// # Safety
///
/// `attr` must be laid out as `command` wants it, and every address in it must be good for what the
/// command reads or writes there.
unsafe fn bpf<T>(command: libc::c_int, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: `attr` is `size_of::<T>()` bytes that live through the call; the rest is the caller's
    // promise.
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attr, size_of::<T>()) };
    if done < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(done)
}

fn address<T: ?Sized>(of: *const T) -> u64 {
    of.cast::<u8>().addr() as u64
}

/// What the kernel says about the link pinned at `pin`.
///
/// # Errors
///
/// The system's, `NotFound` where nothing is pinned there, and `InvalidData` where what is pinned is
/// no link to a cgroup.
pub fn link_info(pin: &Path) -> io::Result<CgroupLink> {
    let link = open_pin(pin)?;
    let mut info = LinkInfo::default();
    let mut attr = InfoByFd {
        bpf_fd: link.as_raw_fd().cast_unsigned(),
        info_len: size_of::<LinkInfo>() as u32,
        info: address(&raw mut info),
    };
    // SAFETY: `info` is `info_len` writable bytes, and any bytes make a `LinkInfo`.
    unsafe { bpf(BPF_OBJ_GET_INFO_BY_FD, &mut attr)? };
    // A map or a program fills the same bytes with other things.
    if !is_link(&link)? || info.kind != BPF_LINK_TYPE_CGROUP {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not a link to a cgroup", pin.display()),
        ));
    }
    Ok(CgroupLink {
        link_id: info.id,
        prog_id: info.prog_id,
        cgroup_id: info.cgroup_id,
        attach_type: info.attach_type,
    })
}

fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let mut attr = ObjGet {
        pathname: address(path.as_ptr()),
        bpf_fd: 0,
        file_flags: 0,
    };
    // SAFETY: `path` is a string ended by a NUL that outlives the call.
    let fd = unsafe { bpf(BPF_OBJ_GET, &mut attr)? };
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

fn is_link(fd: &OwnedFd) -> io::Result<bool> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()))?;
    Ok(info.lines().any(|line| line.starts_with("link_type:")))
}

/// What a map is made as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct MapLayout {
    /// `enum bpf_map_type`
    pub kind: u32,
    /// In bytes.
    pub key_size: u32,
    /// In bytes.
    pub value_size: u32,
    /// How many entries it has room for.
    pub max_entries: u32,
    /// `BPF_F_NO_PREALLOC` and the like.
    pub flags: u32,
}

#[repr(C)]
struct MapCreate {
    layout: MapLayout,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
}

/// Makes a map that stands alone. aya makes these too, but keeps their descriptors to itself; from
/// this one it makes a `MapData`.
///
/// `name` is what bpftool shows: up to 15 letters, digits, underscores and dots.
///
/// # Errors
///
/// The system's.
pub fn create_map(name: &str, layout: MapLayout) -> io::Result<OwnedFd> {
    let mut attr = MapCreate {
        layout,
        inner_map_fd: 0,
        numa_node: 0,
        name: [0; 16],
    };
    for (to, byte) in attr.name[..15].iter_mut().zip(name.bytes()) {
        *to = byte;
    }
    // SAFETY: the command reads nothing but `attr`.
    let fd = unsafe { bpf(BPF_MAP_CREATE, &mut attr)? };
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
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
/// As [`update_batch`].
pub fn delete_batch(map: BorrowedFd<'_>, keys: &[u8], key_size: usize) -> io::Result<()> {
    elements(keys, key_size)?;
    keys.chunks(key_size * BATCH)
        .try_for_each(|chunk| delete_chunk(map, chunk, key_size))
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
    let (key_size, value_size) = map_sizes(map)?;
    let values_fit = values.is_empty() || values.len() == count * value_size;
    if keys.len() == count * key_size && values_fit {
        return Ok(());
    }
    Err(invalid("the map's keys or values have another size"))
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

fn map_sizes(map: BorrowedFd<'_>) -> io::Result<(usize, usize)> {
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
    Ok((info.key_size as usize, info.value_size as usize))
}

/// Whether `path` is on a bpffs, where pins can be made.
///
/// # Errors
///
/// The system's, `NotFound` where there is no `path`.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    Ok(rustix::fs::statfs(path)?.f_type == libc::BPF_FS_MAGIC)
}

/// Mounts a bpffs that only root may enter on the directory `on`; `source` names it in the table of
/// mounts.
///
/// # Errors
///
/// The system's.
pub fn mount_bpffs(on: &Path, source: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount(
        source,
        on,
        "bpf",
        flags,
        c"mode=0700",
    )?)
}

/// Takes a directory for this process alone, until the descriptor is closed. `None`: somebody else
/// has it.
///
/// # Errors
///
/// The system's.
pub fn lock_dir(dir: &Path) -> io::Result<Option<OwnedFd>> {
    let dir = File::open(dir)?;
    match rustix::fs::flock(&dir, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(dir.into())),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests;
