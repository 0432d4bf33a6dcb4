//! Landlock's scopes: which processes and abstract sockets a domain keeps away from. landlock(7),
//! `include/uapi/linux/landlock.h`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::thread::set_no_new_privs;

use super::call::check;

const CREATE_RULESET_VERSION: u32 = 1;
/// A right that nobody misses: to make a block device (`LANDLOCK_ACCESS_FS_MAKE_BLOCK`). A domain must handle something.
const MAKE_BLOCK: u64 = 1 << 11;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1 << 0;
const SCOPE_SIGNAL: u64 = 1 << 1;
/// The first version of the interface with scopes.
const SCOPES: u32 = 6;

/// `struct landlock_ruleset_attr`
#[repr(C)]
struct Ruleset {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

/// The version of the interface (ABI) that the kernel answers with.
///
/// # Errors
///
/// The system's: `ENOSYS` or `EOPNOTSUPP` where there is no Landlock, or it is not enabled.
pub fn version() -> io::Result<u32> {
    let none = std::ptr::null::<Ruleset>();
    // SAFETY: no attributes are given, and so none are read.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            none,
            0_usize,
            CREATE_RULESET_VERSION,
        )
    };
    check(version).map(|version| version as u32)
}

/// Puts this thread, and all that comes from it, into a domain that keeps off processes outside, and their signals and
/// abstract sockets where the kernel can.
///
/// # Errors
///
/// The system's.
pub fn enter_domain() -> io::Result<()> {
    let has_scopes = version()? >= SCOPES;
    let rules = Ruleset {
        handled_access_fs: MAKE_BLOCK,
        handled_access_net: 0,
        scoped: SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL,
    };
    // An older kernel takes the older, shorter attributes.
    let size = if has_scopes {
        size_of::<Ruleset>()
    } else {
        size_of::<u64>()
    };
    // SAFETY: the kernel reads `size` bytes of `rules`.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const rules,
            size,
            0_usize,
        )
    };
    let ruleset = check(ruleset)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as i32) };
    set_no_new_privs(true)?;
    // SAFETY: landlock_restrict_self(2) touches no memory.
    let done = unsafe {
        libc::syscall(
            libc::SYS_landlock_restrict_self,
            ruleset.as_raw_fd(),
            0_usize,
        )
    };
    check(done).map(drop)
}
