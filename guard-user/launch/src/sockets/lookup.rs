//! The arguments of another process's call, read from outside.

use std::{
    ffi::OsStr,
    fs, io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Path, PathBuf},
};

use guard_sys::{abi::AF_UNIX, notify::read_memory};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
use rustix::io::Errno;

/// `struct sockaddr_un`: the family, and what follows it.
const LONGEST: usize = 110;
const FAMILY: usize = 2;

/// An address, as connect(2) takes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum UnixAddress {
    /// A path.
    Path(PathBuf),
    /// A name without its first byte.
    Abstract(Vec<u8>),
    /// No address, not a Unix socket's, or unreadable.
    Other,
    /// Its process may not be read, as an undumpable one.
    Unread,
}

/// The address that a thread is about to connect to.
pub(super) fn address(thread: i32, at: u64, length: u64) -> UnixAddress {
    let length = usize::try_from(length).unwrap_or(LONGEST).min(LONGEST);
    if length <= FAMILY {
        return UnixAddress::Other;
    }
    match read_memory(thread, at, length) {
        Ok(bytes) => parse(&bytes),
        Err(why) if Errno::from_io_error(&why) == Some(Errno::PERM) => UnixAddress::Unread,
        Err(_) => UnixAddress::Other,
    }
}

fn parse(bytes: &[u8]) -> UnixAddress {
    let Some((family, name)) = bytes.split_first_chunk::<FAMILY>() else {
        return UnixAddress::Other;
    };
    if i32::from(u16::from_ne_bytes(*family)) != AF_UNIX {
        return UnixAddress::Other;
    }
    match name {
        [] => UnixAddress::Other,
        [0, name @ ..] => UnixAddress::Abstract(name.to_vec()),
        name => {
            let end = name.iter().position(|byte| *byte == 0);
            let name = &name[..end.unwrap_or(name.len())];
            UnixAddress::Path(OsStr::from_bytes(name).into())
        }
    }
}

/// The file that a path means to a thread.
///
/// # Errors
///
/// The system's, as connect(2) would give them.
pub(super) fn file(thread: i32, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let proc = PathBuf::from(format!("/proc/{thread}"));
    let path = its_own(thread, path);
    if !has_our_root(&proc) {
        let root = openat(CWD, proc.join("root"), flags, Mode::empty())?;
        let path = if path.is_absolute() {
            path
        } else {
            fs::read_link(proc.join("cwd"))?.join(path)
        };
        let within = ResolveFlags::IN_ROOT;
        return Ok(openat2(root, &path, flags, Mode::empty(), within)?);
    }
    let from = openat(CWD, proc.join("cwd"), flags, Mode::empty())?;
    Ok(openat(from, &path, flags, Mode::empty())?)
}

/// A path's `/proc/self` as the thread's own: read from outside, it would be this process.
fn its_own(thread: i32, path: &Path) -> PathBuf {
    let own = ["/proc/self", "/proc/thread-self"];
    let below = own.iter().find_map(|own| path.strip_prefix(own).ok());
    let below = below.map(|rest| PathBuf::from(format!("/proc/{thread}")).join(rest));
    below.unwrap_or_else(|| path.to_owned())
}

/// Whether a path means the same to that process as here: the same root, of the same mounts.
fn has_our_root(proc: &Path) -> bool {
    let same = |of: &str| {
        let theirs = fs::read_link(proc.join(of));
        theirs.is_ok_and(|theirs| {
            fs::read_link(Path::new("/proc/self").join(of)).is_ok_and(|ours| ours == theirs)
        })
    };
    same("ns/mnt") && same("root")
}

/// The process that a thread is of.
///
/// # Errors
///
/// The system's, as if it has ended.
pub(super) fn process(thread: i32) -> io::Result<u32> {
    let status = fs::read_to_string(format!("/proc/{thread}/status"))?;
    let found = status.lines().find_map(|line| line.strip_prefix("Tgid:"));
    let found = found.and_then(|number| number.trim().parse().ok());
    found.ok_or_else(|| Errno::SRCH.into())
}

/// The name of a process's main thread, which a process chooses.
pub(super) fn name(process: u32) -> Option<String> {
    let name = fs::read(format!("/proc/{process}/comm")).ok()?;
    Some(String::from_utf8_lossy(name.trim_ascii_end()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_the_kernel_reads_them() {
        let unix = AF_UNIX as u8;
        let path = |text: &str| UnixAddress::Path(text.into());
        assert_eq!(parse(&[unix, 0, b'/', b'x']), path("/x"));
        assert_eq!(parse(&[unix, 0, b'/', b'x', 0, b'y']), path("/x"));
        assert_eq!(
            parse(&[unix, 0, 0, b'x', 0]),
            UnixAddress::Abstract(b"x\0".to_vec())
        );
        for other in [
            &[unix, 0][..],
            &[2, 0, 1, 2],
            &[unix],
            &[unix, 1, b'x'],
            &[],
        ] {
            assert_eq!(parse(other), UnixAddress::Other, "{other:?}");
        }
    }

    #[test]
    fn a_path_is_looked_up_as_its_thread_would() {
        let thread = rustix::thread::gettid().as_raw_nonzero().get();
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("x");
        fs::write(&at, "").unwrap();
        let found = file(thread, &at).unwrap();
        let meta = rustix::fs::fstat(found).unwrap();
        use std::os::unix::fs::MetadataExt as _;
        assert_eq!(meta.st_ino, fs::metadata(&at).unwrap().ino());
        let absent = file(thread, &dir.path().join("y")).unwrap_err();
        assert_eq!(absent.kind(), io::ErrorKind::NotFound);
        assert!(file(thread, Path::new("/proc/self/fd")).is_ok());
        assert_eq!(process(thread).unwrap(), std::process::id());
    }
}
