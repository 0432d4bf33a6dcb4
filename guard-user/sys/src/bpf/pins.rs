//! The file system that pins live in, and who may work in a directory of it.

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::FlockOperation;
use rustix::mount::MountFlags;

use super::{ObjGet, address, bpf};

const BPF_OBJ_PIN: libc::c_int = 6;

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

/// Takes a directory for this process alone, until the descriptor is closed. `None`: somebody else
/// has it. Whoever may open it can take it, so it has to be one that nobody else may look into.
///
/// # Errors
///
/// The system's.
pub fn lock_dir(dir: &Path) -> io::Result<Option<OwnedFd>> {
    lock(File::open(dir)?)
}

/// The same for a file that only its owner may open, and only to write.
///
/// # Errors
///
/// The system's.
pub fn lock_file(file: &Path) -> io::Result<Option<OwnedFd>> {
    lock(File::options().write(true).open(file)?)
}

fn lock(file: File) -> io::Result<Option<OwnedFd>> {
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file.into())),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
