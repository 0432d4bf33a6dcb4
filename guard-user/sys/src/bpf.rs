//! The parts of bpf(2) that aya does not offer, and the file system that pins live in.
//!
//! Layouts and numbers are those of `include/uapi/linux/bpf.h`.

mod batch;
mod element;
mod named;
mod origins;
mod pins;
mod program;
mod queues;
mod socket_storage;

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::call::check;

pub use batch::{delete_batch, lookup_all, update_batch};
pub use named::{NamedMap, all_named, named_keys, remove_named};
pub use origins::Origins;
pub use pins::{is_bpffs, lock_dir, lock_file, mount_bpffs, pin};
pub use program::{
    ANSWER_0, ProgramCode, ProgramKind, READS_KERNEL, attach_to_cgroup, attach_to_function, code,
    counting, encode, first_of_array, is_compiled, load_program, message_program, program_of,
};
pub use queues::Queues;
pub use socket_storage::{Tickets, store_at_socket};

const BPF_MAP_CREATE: libc::c_int = 0;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;

/// `enum bpf_link_type`
const BPF_LINK_TYPE_TRACING: u32 = 2;
const BPF_LINK_TYPE_CGROUP: u32 = 3;

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

/// The attributes of the commands on one element of a map.
#[repr(C)]
struct Element {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
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
    check(done)
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
    let info = info_of(pin, BPF_LINK_TYPE_CGROUP, "a cgroup")?;
    Ok(CgroupLink {
        link_id: info.id,
        prog_id: info.prog_id,
        cgroup_id: info.cgroup_id,
        attach_type: info.attach_type,
    })
}

/// The id of the program whose link, to a function of the kernel's, is pinned at `pin`.
///
/// # Errors
///
/// The system's, `NotFound` where nothing is pinned there, and `InvalidData` where what is pinned is no such link.
pub fn function_program(pin: &Path) -> io::Result<u32> {
    Ok(info_of(pin, BPF_LINK_TYPE_TRACING, "a function")?.prog_id)
}

fn info_of(pin: &Path, kind: u32, to: &str) -> io::Result<LinkInfo> {
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
    if is_link(&link)? && info.kind == kind {
        Ok(info)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("{} is not a link to {to}", pin.display()),
        ))
    }
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

#[cfg(test)]
mod tests;
