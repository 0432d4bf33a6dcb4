//! Which sockets a process has open: proc_pid_fdinfo(5).
//!
//! The links of `/proc/PID/fd` tell it, too, but those of another user's process only whoever has `CAP_DAC_READ_SEARCH`, which guardd
//! does without. `fdinfo` takes what `/proc/PID/exe` takes, and has numbers since Linux 5.14. What a process waits for with
//! epoll(7) it may keep from being read for as long as it likes: see [`super::bounded`].

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Read as _},
    os::{fd::AsRawFd as _, unix::net::UnixStream},
    path::Path,
    sync::OnceLock,
};

/// All that is of interest is in the first lines.
const LENGTH: usize = 128;

/// The numbers of the sockets among the first `most` descriptors of a process, as `socket:[N]` in `/proc/PID/fd` has them; `proc`
/// is its `/proc/PID`.
///
/// # Errors
///
/// The system's.
pub fn of(proc: &Path, most: usize) -> io::Result<Vec<u64>> {
    let sockets = file_system()?;
    let open = fs::read_dir(proc.join("fdinfo"))?.take(most).flatten();
    let open = open.filter_map(|one| OpenFile::of(&one.path()).ok());
    let sockets = open.filter(|file| file.mount == sockets);
    Ok(sockets.map(|socket| socket.inode).collect())
}

/// The sockets among the first `most` descriptors of a process by their inodes, with the numbers of the descriptors.
///
/// # Errors
///
/// The system's.
pub fn descriptors(proc: &Path, most: usize) -> io::Result<BTreeMap<u64, i32>> {
    let sockets = file_system()?;
    let open = fs::read_dir(proc.join("fdinfo"))?.take(most).flatten();
    let open = open.filter_map(|one| {
        let number = one.file_name().to_str()?.parse().ok()?;
        let file = OpenFile::of(&one.path()).ok()?;
        (file.mount == sockets).then_some((file.inode, number))
    });
    Ok(open.collect())
}

/// The mount of all sockets: it is the kernel's own, and stays the same.
fn file_system() -> io::Result<u64> {
    static MOUNT: OnceLock<u64> = OnceLock::new();
    if let Some(mount) = MOUNT.get() {
        return Ok(*mount);
    }
    let (own, _other) = UnixStream::pair()?;
    let own = OpenFile::of(Path::new(&format!("/proc/self/fdinfo/{}", own.as_raw_fd())))?;
    Ok(*MOUNT.get_or_init(|| own.mount))
}

/// What a descriptor is of: the mount, and the number there.
struct OpenFile {
    mount: u64,
    inode: u64,
}

impl OpenFile {
    /// Reads `/proc/PID/fdinfo/FD`.
    fn of(descriptor: &Path) -> io::Result<Self> {
        let mut text = [0; LENGTH];
        let length = File::open(descriptor)?.read(&mut text)?;
        let text = String::from_utf8_lossy(&text[..length]);
        let field = |name: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(name))?;
            value.trim().parse().ok()
        };
        let missing = || io::Error::from(io::ErrorKind::InvalidData);
        Ok(Self {
            mount: field("mnt_id:").ok_or_else(missing)?,
            inode: field("ino:").ok_or_else(missing)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use super::*;

    #[test]
    fn sockets_are_told_from_all_else() {
        let (one, other) = UnixStream::pair().unwrap();
        let file = tempfile::tempfile().unwrap();
        let number = |fd| rustix::fs::fstat(fd).unwrap().st_ino;
        let found = of(Path::new("/proc/self"), usize::MAX).unwrap();
        for socket in [&one, &other] {
            assert!(found.contains(&number(socket.as_fd())));
        }
        assert!(!found.contains(&number(file.as_fd())));
        let numbers = descriptors(Path::new("/proc/self"), usize::MAX).unwrap();
        assert_eq!(numbers.get(&number(one.as_fd())), Some(&one.as_raw_fd()));
        assert_eq!(of(Path::new("/proc/self"), 0).unwrap(), [0; 0]);
        assert!(of(Path::new("/proc/0"), 1).is_err());
    }
}
