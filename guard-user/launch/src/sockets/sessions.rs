//! Finds the session of a process, and the processes of a session that have a socket open.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use guard_sys::{
    cgroup2::{self, Hierarchy},
    pidfd::Credentials,
    unix_diag::BoundSocket,
};
use rustix::net::{
    AddressFamily, SocketFlags, SocketType, connect, socket_with,
    sockopt::{socket_cookie, socket_type},
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use super::answer::file_address;

/// The result of a search for a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketSearch {
    /// A process of the session has it open.
    Open,
    /// None of those that could be looked at has, and there are others.
    Hidden,
    /// No process has it.
    Nowhere,
}

/// The guard's root cgroup, as a directory and as in `/proc/PID/cgroup`.
#[derive(Debug)]
pub(super) struct Sessions {
    dir: PathBuf,
    path: PathBuf,
}

impl Sessions {
    /// The sessions beside the one with this cgroup.
    ///
    /// # Errors
    ///
    /// The system's, or if it is no session's.
    pub(super) fn beside(cgroup: &Path) -> io::Result<Self> {
        let root = cgroup.parent().unwrap_or(cgroup);
        let path = Hierarchy::find()?.path(root);
        let path =
            path.ok_or_else(|| io::Error::other("the session's cgroup is not to be seen"))?;
        Ok(Self {
            dir: root.to_owned(),
            path,
        })
    }

    /// The session that a thread is in, by the name of its cgroup.
    pub(super) fn of(&self, thread: i32) -> Option<String> {
        let text = fs::read_to_string(format!("/proc/{thread}/cgroup")).ok()?;
        let path = cgroup2::path_in(&text).ok()?;
        let below = path.strip_prefix(&self.path).ok()?;
        let name = below.components().next()?;
        Some(name.as_os_str().to_str()?.to_owned())
    }

    /// Whether a process of a session may be in another network namespace than this one.
    pub(super) fn has_networks(&self, session: &str) -> bool {
        let Ok(own) = fs::read_link("/proc/self/ns/net") else {
            return false;
        };
        let mut all = processes(&self.dir.join(session)).into_iter();
        all.any(|pid| match fs::read_link(format!("/proc/{pid}/ns/net")) {
            Ok(network) => network != own,
            // A process that cannot be read may be.
            Err(why) => why.kind() == io::ErrorKind::PermissionDenied,
        })
    }

    /// Whether a process of a session has the socket open that is bound at a file.
    ///
    /// # Errors
    ///
    /// `ConnectionRefused` if nothing listens at the file, and only a connection can tell.
    pub(super) fn has_open(
        &self,
        session: &str,
        socket: BoundSocket,
        file: &OwnedFd,
    ) -> io::Result<SocketSearch> {
        let link = format!("socket:[{}]", socket.number);
        let mut found = SocketSearch::Nowhere;
        for pid in processes(&self.dir.join(session)) {
            let open = fs::read_dir(format!("/proc/{pid}/fd"));
            if is_denied(&open) {
                found = SocketSearch::Hidden;
            }
            let open = open.into_iter().flatten();
            let is_it = |fd: &PathBuf| {
                fs::read_link(fd).is_ok_and(|target| target.as_os_str() == link.as_str())
            };
            for fd in open.flatten().map(|one| one.path()).filter(is_it) {
                match is_bound(pid, &fd, socket, file) {
                    // The number may be another process' by now.
                    Ok(true) if self.of(pid.cast_signed()).as_deref() == Some(session) => {
                        return Ok(SocketSearch::Open);
                    }
                    Err(nobody) if nobody.kind() == io::ErrorKind::ConnectionRefused => {
                        return Err(nobody);
                    }
                    Err(_) => found = SocketSearch::Hidden,
                    Ok(_) => {}
                }
            }
        }
        Ok(found)
    }
}

fn is_denied<T>(done: &io::Result<T>) -> bool {
    done.as_ref()
        .is_err_and(|why| why.kind() == io::ErrorKind::PermissionDenied)
}

/// Whether a descriptor of a process is that socket, bound at that file.
fn is_bound(pid: u32, fd: &Path, wanted: BoundSocket, file: &OwnedFd) -> io::Result<bool> {
    let socket = open(pid, fd)?;
    let is_it = socket_cookie(&socket)? == wanted.cookie;
    Ok(is_it && (wanted.is_sure || answers_at(&socket, file)?))
}

/// Whether that socket answers at a file, even if another one may be meant: a client that connects learns which process has
/// made it listen. The server sees a connection that ends at once.
///
/// A process of the session that has the number of one outside, which has ended since, is taken for it.
///
/// # Errors
///
/// The system's; `Unsupported` of datagram sockets, which tell nobody.
fn answers_at(socket: &OwnedFd, file: &OwnedFd) -> io::Result<bool> {
    let kind = socket_type(socket)?;
    if kind == SocketType::DGRAM {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let asking = socket_with(AddressFamily::UNIX, kind, flags, None)?;
    connect(&asking, &file_address(file)?)?;
    Ok(Credentials::of(&asking)? == Credentials::of(socket)?)
}

/// A socket that a process has open.
fn open(pid: u32, fd: &Path) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let fd = fd.file_name().and_then(|name| name.to_str()?.parse().ok());
    let (Some(pid), Some(fd)) = (pid, fd) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?)
}

/// The processes of a cgroup and those below it.
fn processes(dir: &Path) -> Vec<u32> {
    let own = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<_> = own.lines().filter_map(|pid| pid.parse().ok()).collect();
    let below = fs::read_dir(dir).into_iter().flatten().flatten();
    for entry in below {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::OpenOptionsExt as _;
    use std::os::unix::net::{UnixDatagram, UnixListener};
    use std::process::{Command, Stdio};

    use super::*;

    fn file(path: &Path) -> OwnedFd {
        let flags = rustix::fs::OFlags::PATH.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path);
        file.unwrap().into()
    }

    #[test]
    fn what_listens_at_a_file_is_told_from_what_another_process_has() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("own"), dir.path().join("other"));
        let listener = OwnedFd::from(UnixListener::bind(&own).unwrap());
        let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(); \
                      print(flush=True); sys.stdin.read()";
        let mut child = Command::new("python3")
            .args(["-c", script])
            .arg(&other)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs python3");
        let mut ready = [0];
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut ready).unwrap();

        assert!(answers_at(&listener, &file(&own)).unwrap());
        assert!(!answers_at(&listener, &file(&other)).unwrap());
        let shut = dir.path().join("shut");
        drop(UnixListener::bind(&shut).unwrap());
        let nobody = answers_at(&listener, &file(&shut)).unwrap_err();
        assert_eq!(nobody.kind(), io::ErrorKind::ConnectionRefused);
        let datagram = dir.path().join("datagram");
        let bound = OwnedFd::from(UnixDatagram::bind(&datagram).unwrap());
        let untold = answers_at(&bound, &file(&datagram)).unwrap_err();
        assert_eq!(untold.kind(), io::ErrorKind::Unsupported);
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
