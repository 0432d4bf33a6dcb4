//! The process at the other end of a Unix socket.
//!
//! A pid alone is never enough: it names whichever process has that number when one looks. A
//! process that connects and exits can be followed, under the same number, by one that may do more
//! than it could. So a [`Peer`] holds a pidfd, which names one process for ever, and everything that
//! is read from `/proc/PID` counts only if the pidfd shows that the process lived afterwards:
//! then the number was its own all the time.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Gid, Pid, PidfdFlags, Uid, pidfd_open};

use super::{
    bounded::{BoundedReader, TIMEOUT},
    call::{list_option, option},
    open_sockets, unix_diag,
};

/// A command line is read up to this many bytes.
const MAX_COMMAND: u64 = 512;
/// Descriptors of a process that are looked at, of those with the lowest numbers: `guard` has a few, and whoever else calls may have
/// as many as it likes.
const MAX_OPEN: usize = 128;

/// The process that connected a Unix socket or had it listen, as the kernel noted it then (`SO_PEERCRED`, unix(7)).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// The effective uid.
    pub uid: Uid,
    /// The effective gid.
    pub gid: Gid,
    /// None: it is not in this pid namespace. The kernel says 0 then, which is no pid for rustix.
    pub pid: Option<Pid>,
}

impl Credentials {
    /// The credentials of the other end of `socket`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of(socket: &impl AsFd) -> io::Result<Self> {
        // `struct ucred`
        let [pid, uid, gid]: [u32; 3] = option(socket, libc::SOL_SOCKET, libc::SO_PEERCRED)?;
        Ok(Self {
            uid: Uid::from_raw(uid),
            gid: Gid::from_raw(gid),
            pid: Pid::from_raw(pid.cast_signed()),
        })
    }
}

/// The peer of a connected Unix socket, as the kernel wrote it down when it connected.
#[derive(Debug)]
pub struct Peer {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
    pidfd: OwnedFd,
}

impl Peer {
    /// The peer of `socket`.
    ///
    /// Linux 6.5 and later hand out the pidfd themselves (`SO_PEERPIDFD`). Before that it is opened
    /// here from the pid of `SO_PEERCRED`, and counts only if that process has the other end open: its
    /// pid may be another's since it connected. It may keep that from being looked at: those in cgroups that `is_held` keep
    /// nobody else from being known.
    ///
    /// # Errors
    ///
    /// The system's; among them those for a peer that has ended, and `TimedOut` for one that cannot be looked at for now.
    pub fn of(socket: &impl AsFd, is_held: impl FnOnce(&Path) -> bool) -> io::Result<Self> {
        let socket = socket.as_fd();
        let credentials = Credentials::of(&socket)?;
        Ok(Self {
            uid: credentials.uid.as_raw(),
            gid: credentials.gid.as_raw(),
            // A peer whose groups cannot be read counts as in no group.
            groups: list_option(socket, libc::SOL_SOCKET, libc::SO_PEERGROUPS).unwrap_or_default(),
            pidfd: pidfd_of(socket, &credentials, is_held)?,
        })
    }

    /// The effective uid with which it connected.
    #[must_use]
    pub fn uid(&self) -> u32 {
        self.uid
    }

    /// Returns true if it was in that group when it connected.
    #[must_use]
    pub fn is_in_group(&self, group: u32) -> bool {
        self.gid == group || self.groups.contains(&group)
    }

    /// The descriptor that stands for the process.
    #[must_use]
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Its pid as this process' pid namespace counts.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended, or is not to be seen from this pid namespace.
    pub fn pid(&self) -> io::Result<u32> {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", self.pidfd.as_raw_fd()))?;
        let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
        match pid.and_then(|pid| pid.trim().parse().ok()) {
            None | Some(0) => Err(gone()),
            Some(pid) => Ok(pid),
        }
    }

    /// Whether it still runs. False as soon as it has ended, be it reaped or not.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn is_alive(&self) -> io::Result<bool> {
        is_running(&self.pidfd)
    }

    /// Its cgroup in the version 2 hierarchy, as in `/proc/PID/cgroup`: `/` is the root.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended, or is in no cgroup of that hierarchy. Else the system's.
    pub fn cgroup(&self) -> io::Result<PathBuf> {
        let text = self.read(|proc| fs::read_to_string(proc.join("cgroup")))?;
        super::cgroup2::path_in(&text)
    }

    /// Its executable.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended. Else the system's.
    pub fn exe(&self) -> io::Result<PathBuf> {
        self.read(|proc| fs::read_link(proc.join("exe")))
    }

    /// Its command line as in `/proc/PID/cmdline`, which it may change; 512 bytes at most.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended; `TimedOut` where it may not be read for now. Else the system's.
    pub fn command(&self) -> io::Result<Vec<u8>> {
        static OF_PEERS: LazyLock<BoundedReader<Vec<u8>>> =
            LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
        self.read(|proc| OF_PEERS.read(&proc.join("cmdline"), MAX_COMMAND))
    }

    /// Its controlling terminal, by the name below `/dev`; `None` where it has none.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended. Else the system's.
    pub fn terminal(&self) -> io::Result<Option<String>> {
        let stat = self.read(|proc| fs::read_to_string(proc.join("stat")))?;
        let number = field_of(&stat, TTY_NR).and_then(|number| number.parse().ok());
        Ok(number.and_then(terminal_name))
    }

    /// When it started, in clock ticks since boot, as proc_pid_stat(5) has it.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended. Else the system's.
    pub fn started(&self) -> io::Result<u64> {
        let stat = self.read(|proc| fs::read_to_string(proc.join("stat")))?;
        let started = field_of(&stat, START_TIME).and_then(|ticks| ticks.parse().ok());
        started.ok_or_else(gone)
    }

    /// Its network namespace.
    ///
    /// # Errors
    ///
    /// `NotFound` where it has ended. Else the system's.
    pub fn netns(&self) -> io::Result<OwnedFd> {
        self.read(|proc| fs::File::open(proc.join("ns/net")).map(OwnedFd::from))
    }

    /// Reads something under `/proc/PID`, and believes it only if the process lived before and
    /// after.
    fn read<T>(&self, read: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
        let proc = PathBuf::from(format!("/proc/{}", self.pid()?));
        let read = read(&proc);
        if self.is_alive()? { read } else { Err(gone()) }
    }
}

/// A descriptor that stands for the process that has that pid now.
///
/// # Errors
///
/// The system's; `ESRCH` where there is none.
pub fn open(pid: u32) -> io::Result<OwnedFd> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    Ok(pidfd_open(pid.ok_or_else(gone)?, PidfdFlags::empty())?)
}

/// The same of one thread, whose end it tells by itself and whose descriptors it gives, from Linux 6.9; before, of its
/// process.
///
/// # Errors
///
/// The system's; `ESRCH` where there is none.
pub fn open_thread(thread: u32, process: u32) -> io::Result<OwnedFd> {
    /// `PIDFD_THREAD` of linux/pidfd.h.
    const THREAD: PidfdFlags = PidfdFlags::from_bits_retain(libc::O_EXCL.cast_unsigned());
    let id = i32::try_from(thread).ok().and_then(Pid::from_raw);
    match pidfd_open(id.ok_or_else(gone)?, THREAD) {
        Err(Errno::INVAL) => open(process),
        opened => Ok(opened?),
    }
}

/// The parent of the process that has that pid now, as in proc_pid_stat(5): after the name, which may have any
/// characters, and the state.
///
/// # Errors
///
/// The system's; `NotFound` where there is none.
pub fn parent_of(pid: u32) -> io::Result<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let parent = field_of(&stat, PPID).and_then(|parent| parent.parse().ok());
    parent.ok_or_else(gone)
}

/// Fields of proc_pid_stat(5), as counted there.
const PPID: usize = 4;
const TTY_NR: usize = 7;
const START_TIME: usize = 22;

/// A field behind the name.
fn field_of(stat: &str, number: usize) -> Option<&str> {
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(number - 3)
}

/// The name of a terminal's device: proc_pid_stat(5) says how its number is written, and the kernel's devices.txt which
/// numbers are terminals.
fn terminal_name(number: u32) -> Option<String> {
    let (major, minor) = (
        (number >> 8) & 0xff,
        (number & 0xff) | (number >> 12 & 0xfff00),
    );
    match (major, minor) {
        (0, 0) => None,
        (136..=143, minor) => Some(format!("pts/{}", minor + ((major - 136) << 8))),
        (4, 0..=63) => Some(format!("tty{minor}")),
        (4, minor) => Some(format!("ttyS{}", minor - 64)),
        _ => {
            let device = fs::read_link(format!("/sys/dev/char/{major}:{minor}")).ok();
            let name = device.as_deref().and_then(|device| device.file_name());
            let known = name.map(|name| name.to_string_lossy().into_owned());
            Some(known.unwrap_or_else(|| format!("{major}:{minor}")))
        }
    }
}

fn is_running(pidfd: &OwnedFd) -> io::Result<bool> {
    let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
    Ok(poll(&mut ended, Some(&Timespec::default()))? == 0)
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the process has ended")
}

fn pidfd_of(
    socket: BorrowedFd<'_>,
    peer: &Credentials,
    is_held: impl FnOnce(&Path) -> bool,
) -> io::Result<OwnedFd> {
    match peer_pidfd(socket) {
        Err(error) if error.raw_os_error() == Some(Errno::NOPROTOOPT.raw_os_error()) => {
            by_number(socket, peer, is_held)
        }
        pidfd => pidfd,
    }
}

/// The process that has a peer's number now. It may be another one than the one that connected, and that has the other
/// end open: so only one is believed that is of the same user and has it open, too.
fn by_number(
    socket: BorrowedFd<'_>,
    peer: &Credentials,
    is_held: impl FnOnce(&Path) -> bool,
) -> io::Result<OwnedFd> {
    let pid = peer.pid.ok_or_else(gone)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let proc = PathBuf::from(format!("/proc/{}", pid.as_raw_nonzero()));
    let cgroup = super::cgroup2::path_in(&fs::read_to_string(proc.join("cgroup"))?)?;
    let callers = match (is_held(&cgroup), peer.uid.is_root()) {
        (true, _) => Callers::Held,
        (false, true) => Callers::Root,
        (false, false) => Callers::Users,
    };
    let is_it = effective_uid(&proc)? == peer.uid.as_raw()
        && callers.has_open(&proc, other_end(socket, &proc)?)?;
    match is_running(&pidfd)? {
        true if is_it => Ok(pidfd),
        true => Err(not_found_open()),
        false => Err(gone()),
    }
}

fn not_found_open() -> io::Error {
    let why = format!(
        "the process has not this connection among its first {MAX_OPEN} open files, by which kernels before 6.5 tell whose it is"
    );
    io::Error::new(io::ErrorKind::NotFound, why)
}

/// The number of the socket at the other end, which is of this network namespace or of that process'.
fn other_end(socket: BorrowedFd<'_>, proc: &Path) -> io::Result<u64> {
    match unix_diag::peer_of(socket) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let theirs = fs::File::open(proc.join("ns/net"))?;
            super::netns::within(theirs.as_fd(), || unix_diag::peer_of(socket))?
        }
        found => found,
    }
}

/// Callers that share a limit: they may keep each other from being known, and nobody else.
#[derive(Clone, Copy)]
enum Callers {
    /// Held by a guard, and so likely to try.
    Held,
    Users,
    Root,
}

impl Callers {
    /// Whether a process has a socket open, among the first of what it has.
    fn has_open(self, proc: &Path, socket: u64) -> io::Result<bool> {
        type Sockets = LazyLock<BoundedReader<Vec<u64>>>;
        static HELD: Sockets = LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
        static USERS: Sockets = LazyLock::new(|| BoundedReader::waiting(TIMEOUT * 5));
        static ROOT: Sockets = LazyLock::new(|| BoundedReader::waiting(TIMEOUT * 60));
        let reader = match self {
            Self::Held => &HELD,
            Self::Users => &USERS,
            Self::Root => &ROOT,
        };
        let proc = proc.to_owned();
        let open = reader.look(move || open_sockets::of(&proc, MAX_OPEN))?;
        Ok(open.contains(&socket))
    }
}

/// The user that a process is, as proc_pid_status(5) has it: real, effective, saved, of file systems.
fn effective_uid(proc: &Path) -> io::Result<u32> {
    let status = fs::read_to_string(proc.join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:"));
    let uid = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
    uid.ok_or_else(gone)
}

/// Whether the kernel itself says which process a peer is, since Linux 6.5. Else [`Peer::of`] has only its number.
#[must_use]
pub fn is_told_by_the_kernel() -> bool {
    UnixStream::pair().is_ok_and(|(one, _other)| peer_pidfd(one.as_fd()).is_ok())
}

/// `SO_PEERPIDFD`, unix(7)
fn peer_pidfd(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let fd = option(socket, libc::SOL_SOCKET, libc::SO_PEERPIDFD)?;
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn terminals_have_the_names_of_their_devices() {
        let number = |major: u32, minor: u32| (minor & 0xfff00) << 12 | major << 8 | minor & 0xff;
        for (major, minor, name) in [
            (136, 3, Some("pts/3")),
            (136, 300, Some("pts/300")),
            (137, 1, Some("pts/257")),
            (4, 1, Some("tty1")),
            (4, 64, Some("ttyS0")),
            (5, 1, Some("console")),
            (250, 9999, Some("250:9999")),
            (0, 0, None),
        ] {
            assert_eq!(terminal_name(number(major, minor)).as_deref(), name);
        }
        let stat = "7 (a) b) S 5 7 7 34819 7 4194560";
        assert_eq!(field_of(stat, PPID), Some("5"));
        assert_eq!(field_of(stat, TTY_NR), Some("34819"));
        assert_eq!(terminal_name(34819).as_deref(), Some("pts/3"));
    }

    #[test]
    fn a_peer_is_this_process_when_it_is() {
        let (one, _other) = UnixStream::pair().unwrap();
        let peer = Peer::of(&one, |_| false).unwrap();
        assert_eq!(peer.pid().unwrap(), std::process::id());
        assert_eq!(peer.uid(), rustix::process::geteuid().as_raw());
        assert!(peer.is_in_group(rustix::process::getegid().as_raw()));
        assert!(peer.is_alive().unwrap());
        let ticks = rustix::param::clock_ticks_per_second();
        let up = fs::read_to_string("/proc/uptime").unwrap();
        let up: f64 = up.split(' ').next().unwrap().parse().unwrap();
        let ago = up - peer.started().unwrap() as f64 / ticks as f64;
        assert!((-1.0..600.0).contains(&ago), "{ago}");
        assert_eq!(peer.exe().unwrap(), std::env::current_exe().unwrap());
        let own = super::super::cgroup2::own_path().unwrap();
        assert_eq!(peer.cgroup().unwrap(), own);
    }

    /// A process of its own that connects to `path` and stays until its input ends.
    fn connected(path: &Path) -> Child {
        connected_by(&["python3"], path)
    }

    fn connected_by(python: &[&str], path: &Path) -> Child {
        let script = "import socket,sys; s=socket.socket(socket.AF_UNIX); \
                      s.connect(sys.argv[1]); sys.stdin.read()";
        Command::new(python[0])
            .args(&python[1..])
            .args(["-c", script])
            .arg(path)
            .stdin(Stdio::piped())
            .spawn()
            .expect("this test needs python3, unshare and root")
    }

    #[test]
    fn a_child_knows_its_parent() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        assert_eq!(parent_of(child.id()).unwrap(), std::process::id());
        assert!(open(child.id()).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(parent_of(child.id()).is_err());
        assert!(open(child.id()).is_err() && open(0).is_err());
    }

    #[test]
    fn nothing_is_believed_of_a_peer_that_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("socket")).unwrap();
        let mut child = connected(&dir.path().join("socket"));
        let peer = Peer::of(&listener.accept().unwrap().0, |_| false).unwrap();
        assert_eq!(peer.pid().unwrap(), child.id());
        assert!(peer.cgroup().is_ok());

        child.kill().unwrap();
        while peer.is_alive().unwrap() {
            std::thread::yield_now();
        }
        // Not reaped yet: its pid and /proc/PID are still there.
        assert!(Path::new(&format!("/proc/{}", child.id())).exists());
        assert_eq!(peer.cgroup().unwrap_err().kind(), io::ErrorKind::NotFound);
        child.wait().unwrap();
        assert_eq!(peer.pid().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn without_the_option_the_pidfd_is_opened_from_the_pid() {
        let (read, _write) = rustix::pipe::pipe().unwrap();
        let no_socket = peer_pidfd(read.as_fd()).unwrap_err();
        assert_eq!(
            no_socket.raw_os_error(),
            Some(Errno::NOTSOCK.raw_os_error())
        );
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("socket");
        let listener = UnixListener::bind(&at).unwrap();
        let mut child = connected(&at);
        let (one, _) = listener.accept().unwrap();
        let peer = Credentials::of(&one).unwrap();
        let pid = |child: &Child| Some(Pid::from_child(child));
        assert_eq!(peer.pid, pid(&child));
        assert!(by_number(one.as_fd(), &peer, |_| false).is_ok());

        let is_gone = |peer: &Credentials| {
            let why = by_number(one.as_fd(), peer, |_| false).unwrap_err();
            why.kind() == io::ErrorKind::NotFound
        };
        let uid = Uid::from_raw(peer.uid.as_raw() + 1);
        assert!(is_gone(&Credentials { uid, ..peer }));
        // Stands for a process that has got the number since.
        let mut other = Command::new("sleep").arg("60").spawn().unwrap();
        let reused = Credentials {
            pid: pid(&other),
            ..peer
        };
        assert!(is_gone(&reused));
        for child in [&mut child, &mut other] {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn without_the_option_a_peer_in_another_network_namespace_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("socket");
        let listener = UnixListener::bind(&at).unwrap();
        let mut child = connected_by(&["unshare", "--net", "python3"], &at);
        let (one, _) = listener.accept().unwrap();
        let peer = Credentials::of(&one).unwrap();
        assert!(by_number(one.as_fd(), &peer, |_| false).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
