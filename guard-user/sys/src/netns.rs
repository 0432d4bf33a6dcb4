//! Doing something in another network namespace.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::thread;

use guard_common::NetnsCookie;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::call::{check, option};

/// Calls `work` in the network namespace that `netns` (an open `/proc/PID/ns/net`) stands for, and
/// returns what it returns. `work` runs on a thread of its own, which ends with it, so that no other
/// thread ever changes its namespace.
///
/// # Errors
///
/// The system's where there can be no such thread or it may not enter the namespace: that takes
/// `CAP_SYS_ADMIN`.
///
/// # Panics
///
/// Where `work` does.
pub fn within<T: Send>(netns: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> io::Result<T> {
    let there = move || {
        move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))?;
        Ok(work())
    };
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into());
        match thread.spawn_scoped(scope, there)?.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}

/// Whether a network namespace (an open `/proc/PID/ns/net`) belongs to the user namespace that this process is in. If it does not,
/// somebody without rights here may be root there. ioctl_ns(2)
///
/// # Errors
///
/// The system's: `EPERM` if it belongs to one that is not within this process' own.
pub fn is_of_own_user_namespace(netns: BorrowedFd<'_>) -> io::Result<bool> {
    // SAFETY: the request has no argument.
    let owner = check(unsafe { libc::ioctl(netns.as_raw_fd(), libc::NS_GET_USERNS) })?;
    // SAFETY: the kernel has made this descriptor for the request, and nobody else has it.
    let owner = File::from(unsafe { OwnedFd::from_raw_fd(owner) }).metadata()?;
    let own = fs::metadata("/proc/thread-self/ns/user")?;
    Ok((owner.dev(), owner.ino()) == (own.dev(), own.ino()))
}

/// The number that names the network namespace of a socket, to BPF programs too (`SO_NETNS_COOKIE`, since Linux 5.14).
///
/// # Errors
///
/// The system's, as where it is no socket.
pub fn cookie(socket: impl AsFd) -> io::Result<NetnsCookie> {
    option(socket, libc::SOL_SOCKET, libc::SO_NETNS_COOKIE).map(NetnsCookie)
}

/// That number of the network namespace that this thread is in.
///
/// # Errors
///
/// The system's, where no socket can be made.
pub fn own() -> io::Result<NetnsCookie> {
    let socket = |family| rustix::net::socket(family, SocketType::DGRAM, None);
    cookie(socket(AddressFamily::INET).or_else(|_| socket(AddressFamily::INET6))?)
}

/// Moves this thread into a network namespace with nothing but a loopback that is down.
#[cfg(test)]
pub(super) fn enter_a_new_one() {
    use rustix::thread::{UnshareFlags, unshare_unsafe};
    // SAFETY: a network namespace of its own takes no memory, descriptors or credentials away from
    // other threads.
    unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("this test needs root");
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::UdpSocket;
    use std::path::PathBuf;
    use std::process::{Command, Stdio};

    use super::*;

    fn own() -> PathBuf {
        fs::read_link("/proc/thread-self/ns/net").unwrap()
    }

    #[test]
    fn work_is_done_there_and_nowhere_else() {
        let (other, name) = thread::spawn(|| {
            enter_a_new_one();
            (File::open("/proc/thread-self/ns/net").unwrap(), own())
        })
        .join()
        .unwrap();
        assert_eq!(within(other.as_fd(), own).unwrap(), name);
        assert_ne!(own(), name);
    }

    #[test]
    fn those_that_any_user_can_make_are_no_roots() {
        let here = File::open("/proc/thread-self/ns/net").unwrap();
        assert!(is_of_own_user_namespace(here.as_fd()).unwrap());
        let roots = thread::spawn(|| {
            enter_a_new_one();
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        assert!(is_of_own_user_namespace(roots.join().unwrap().as_fd()).unwrap());
        let script = "echo; exec cat";
        let mut other = Command::new("unshare")
            .args(["--user", "--net", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(other.stdout.as_mut().unwrap())
            .read_line(&mut line)
            .unwrap();
        let theirs = File::open(format!("/proc/{}/ns/net", other.id())).unwrap();
        assert!(!is_of_own_user_namespace(theirs.as_fd()).unwrap());
        drop(other.stdin.take());
        other.wait().unwrap();
    }

    #[test]
    fn each_has_a_cookie_of_its_own() {
        let socket = || UdpSocket::bind("0.0.0.0:0").unwrap();
        let (here, other) = (
            socket(),
            thread::spawn(move || {
                enter_a_new_one();
                socket()
            }),
        );
        let other = other.join().unwrap();
        assert_eq!(cookie(&here).unwrap(), cookie(socket()).unwrap());
        assert_ne!(cookie(&here).unwrap(), cookie(&other).unwrap());
        assert_ne!(cookie(&other).unwrap(), NetnsCookie(0));
        let no_socket = File::open("/proc/self/ns/net").unwrap();
        assert_eq!(
            cookie(no_socket).unwrap_err().raw_os_error(),
            Some(libc::ENOTSOCK)
        );
    }

    #[test]
    fn what_is_no_network_namespace_is_refused() {
        let mounts = File::open("/proc/self/ns/mnt").unwrap();
        assert!(within(mounts.as_fd(), || ()).is_err());
    }
}
