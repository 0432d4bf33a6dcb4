//! What is mounted where, for one process and its descendants alone.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::mount::{MountFlags, MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::{call::check, cgroup2::unescape};

/// Gives this thread, and what it starts, a view of its own: what it mounts from now on nobody else sees. What others
/// mount still arrives.
///
/// # Errors
///
/// The system's; it takes `CAP_SYS_ADMIN`.
pub fn own_view() -> io::Result<()> {
    // SAFETY: a mount namespace of its own takes no memory, descriptors or credentials away from other threads; the
    // working directory, which it no longer shares with them, stays where it is.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }?;
    let flags = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    Ok(mount_change("/", flags)?)
}

/// Mounts a file system in memory that only root writes to and everybody reads, of at most `size` bytes.
///
/// # Errors
///
/// The system's.
pub fn memory(at: &Path, size: u64) -> io::Result<()> {
    let data = std::ffi::CString::new(format!("mode=0755,size={size}"))?;
    Ok(rustix::mount::mount(
        "guard",
        at,
        "tmpfs",
        HARMLESS,
        data.as_c_str(),
    )?)
}

/// What is mounted with these holds data only.
const HARMLESS: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// Makes what [`memory`] has mounted at `at` read-only, wherever parts of it are mounted.
///
/// # Errors
///
/// The system's.
pub fn freeze(at: &Path) -> io::Result<()> {
    Ok(rustix::mount::mount_remount(
        at,
        MountFlags::RDONLY | HARMLESS,
        "",
    )?)
}

/// Shows the directory `over` as if what is in `with` were in it too, in place of what has the same name. Read-only.
/// overlayfs.rst in the kernel's documentation.
///
/// # Errors
///
/// `InvalidInput` where a path has a character that means something in the options of overlayfs. Else the system's.
pub fn overlay(with: &Path, over: &Path) -> io::Result<()> {
    let data = format!("lowerdir={}:{}", plain(with)?, plain(over)?);
    let data = std::ffi::CString::new(data)?;
    Ok(rustix::mount::mount(
        "guard",
        over,
        "overlay",
        MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
        data.as_c_str(),
    )?)
}

fn plain(path: &Path) -> io::Result<&str> {
    let plain = path
        .to_str()
        .filter(|path| !path.contains([':', ',', '\\']));
    plain.ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} is no plain path", path.display()),
        )
    })
}

/// Makes what is mounted at `at` read-only for this mount namespace.
///
/// # Errors
///
/// The system's.
pub fn make_read_only(at: &Path) -> io::Result<()> {
    let at = std::ffi::CString::new(at.as_os_str().as_bytes())?;
    let change = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
    };
    // SAFETY: the kernel reads a path and as many bytes of the attributes as are said.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            libc::AT_FDCWD,
            at.as_ptr(),
            0_usize,
            &raw const change,
            size_of_val(&change),
        )
    };
    check(done).map(drop)
}

/// Shows an empty directory at `at`, where nobody can make anything.
///
/// # Errors
///
/// The system's.
pub fn cover(at: &Path) -> io::Result<()> {
    let flags = MountFlags::RDONLY | HARMLESS;
    let data = c"mode=0555,size=4k,nr_inodes=1";
    Ok(rustix::mount::mount("guard", at, "tmpfs", flags, data)?)
}

/// Where file systems of these types are mounted, as this process sees it, in the order in which they were.
///
/// # Errors
///
/// The system's.
pub fn of_types(types: &[&str]) -> io::Result<Vec<(PathBuf, String)>> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let found = table.lines().filter_map(|line| {
        let (place, what) = line.split_once(" - ")?;
        let kind = what.split(' ').next()?;
        let point = unescape(place.split(' ').nth(4)?);
        types.contains(&kind).then(|| (point, kind.to_owned()))
    });
    Ok(found.collect())
}

/// What is mounted below `dir`, as this process sees it. proc_pid_mountinfo(5)
///
/// # Errors
///
/// The system's.
pub fn below(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo")?;
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let points = points.map(unescape);
    Ok(points
        .filter(|point| point != dir && point.starts_with(dir))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn characters_with_a_meaning_are_refused() {
        assert_eq!(
            plain(Path::new("/etc/ssl/certs")).unwrap(),
            "/etc/ssl/certs"
        );
        for path in ["/a:b", "/a,upperdir=b", "/a\\"] {
            assert!(plain(Path::new(path)).is_err(), "{path}");
        }
    }

    #[test]
    fn a_view_of_ones_own_is_nobody_elses() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (at, over) = (dir.path().join("at"), dir.path().join("over"));
        for dir in [&at, &over] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(over.join("old"), "old").unwrap();
        thread::scope(|scope| {
            let own = scope.spawn(|| {
                own_view().unwrap();
                memory(&at, 1 << 20).unwrap();
                fs::create_dir(at.join("layer")).unwrap();
                fs::write(at.join("layer/new"), "new").unwrap();
                overlay(&at.join("layer"), &over).unwrap();
                freeze(&at).unwrap();
                assert_eq!(fs::read_to_string(over.join("old")).unwrap(), "old");
                assert_eq!(fs::read_to_string(over.join("new")).unwrap(), "new");
                for dir in [&at, &over] {
                    let refused = fs::write(dir.join("x"), "x").unwrap_err();
                    assert_eq!(refused.kind(), io::ErrorKind::ReadOnlyFilesystem);
                }
                assert_eq!(below(dir.path()).unwrap(), [at.clone(), over.clone()]);
                assert!(below(&over).unwrap().is_empty());
            });
            own.join().unwrap();
        });
        assert!(below(dir.path()).unwrap().is_empty());
        assert!(!over.join("new").exists());
    }
}
