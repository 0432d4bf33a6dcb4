//! Which session a process is in, and which of them has a socket open.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::net::sockopt::socket_cookie;
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};

use crate::sys::{
    cgroup2::{self, Hierarchy},
    unix_diag::BoundSocket,
};

/// The guard's root cgroup, as a directory and as in `/proc/PID/cgroup`.
#[derive(Debug)]
pub(super) struct Sessions {
    dir: PathBuf,
    path: PathBuf,
}

impl Sessions {
    /// Those beside the one that has this cgroup.
    ///
    /// # Errors
    ///
    /// The system's, or that it is no session's.
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

    /// Whether a process of a session has a socket open.
    pub(super) fn has_open(&self, session: &str, socket: BoundSocket) -> bool {
        let link = format!("socket:[{}]", socket.number);
        processes(&self.dir.join(session)).iter().any(|pid| {
            let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
                return false;
            };
            let mut open = open.filter_map(|one| one.ok().map(|one| one.path()));
            let has = open.any(|fd| {
                let target = fs::read_link(&fd);
                let is_it = target.is_ok_and(|target| target.as_os_str() == link.as_str());
                is_it && cookie(*pid, &fd).is_ok_and(|cookie| cookie == socket.cookie)
            });
            // The number may be another process' by now.
            has && self.of(pid.cast_signed()).as_deref() == Some(session)
        })
    }
}

/// Of a socket that a process has open.
fn cookie(pid: u32, fd: &Path) -> io::Result<u64> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let fd = fd.file_name().and_then(|name| name.to_str()?.parse().ok());
    let (Some(pid), Some(fd)) = (pid, fd) else {
        return Err(io::ErrorKind::NotFound.into());
    };
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let socket = pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty())?;
    Ok(socket_cookie(socket)?)
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
