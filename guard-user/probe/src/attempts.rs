//! The ways round, tried for real: once in a session, where each must fail, and once outside, to see that it works there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use guard_proto::Row;
use guard_sys::attempt;
use guard_sys::cgroup2::{self, Hierarchy};
use rustix::io::IoSliceMut;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg,
    socket,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use serde::{Deserialize, Serialize};

use super::child::tried;
use super::user::Victim;
use super::{Check, Family, ProbeResult, errno, is_forbidden};

/// Whoever answers does so at once.
const TIMEOUT: Duration = Duration::from_secs(1);

/// What an attempt came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Came {
    /// It worked.
    Through,
    /// It was refused: the error says that somebody forbids it.
    Refused {
        /// The words under which people look it up.
        why: String,
    },
    /// This machine has no such thing.
    Absent {
        /// The words under which people look it up.
        why: String,
    },
    /// It failed for a reason of its own, which says nothing about whether it is allowed.
    Failed {
        /// The words under which people look it up.
        why: String,
    },
}

impl Came {
    /// What a call came to.
    #[must_use]
    pub fn of<T>(done: &io::Result<T>) -> Self {
        match done {
            Ok(_) => Self::Through,
            Err(error) => {
                let why = errno(error);
                match error {
                    error if is_forbidden(error) => Self::Refused { why },
                    error if is_absent(error) => Self::Absent { why },
                    _ => Self::Failed { why },
                }
            }
        }
    }

    /// The words of a row's detail.
    fn words(&self) -> &str {
        match self {
            Self::Through => "it works",
            Self::Refused { why } | Self::Absent { why } | Self::Failed { why } => why,
        }
    }
}

/// Whether an error says that this machine has no such thing.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENODEV | libc::EAFNOSUPPORT)
    )
}

/// The outcomes by the names of their checks.
pub type All = BTreeMap<String, Came>;

const FIX_RUN: &str =
    "guard status, and journalctl -u guardd -n 20: what a session is denied was reached";
const FIX_LAUNCH: &str =
    "start commands with guard run of this version, and see what it warns of: it takes this away";
const FIX_SAME_USER: &str = "run agents as a user of their own: sudo guard run --user agent -- CMD; where the row Landlock \
                             is missing: boot with landlock in lsm=";
const FIX_SIGNALS: &str = "sudo guard run --user agent -- CMD, or boot Linux 6.12";
const FIX_UNIX: &str = "run agents as a user of their own: sudo guard run --user agent -- CMD; this kernel or this \
                        version of guard judges no unix sockets: boot Linux 6.7 or later, or a kernel \
                        with CONFIG_FUNCTION_TRACER=y and BTF";
const FIX_HANDED: &str = "run agents as a user of their own, to whom no process of yours hands a socket: sudo guard run \
                          --user agent -- CMD; or boot a kernel with BTF (CONFIG_DEBUG_INFO_BTF=y)";
const FIX_CGROUP: &str = "let root own the guard's cgroup and all above it: sudo chown -R root: the directory that the row names";

const FIX_NO_SESSION: &str = "see that there is a guardd (sudo systemctl start guardd), and that this works: guard run -- true";
const FIX_CONTROL: &str = "see what the row saw: guard doctor --all; a session that was answered is a bug: report it, with \
                           journalctl -u guardd -n 20";

const fn way(family: Family, name: &'static str, fix: &'static str) -> Check {
    Check::way(family, name, fix)
}

/// What is tried, in the order of the rows.
pub const CHECKS: [Check; 19] = [
    way(Family::Call, "TCP over IPv4", FIX_RUN),
    way(Family::Call, "TCP over IPv6", FIX_RUN),
    way(Family::Call, "UDP", FIX_RUN),
    way(Family::Call, "io_uring", FIX_LAUNCH),
    way(Family::Protocol, "packet sockets", FIX_LAUNCH),
    way(Family::Protocol, "vsock", FIX_LAUNCH),
    way(Family::Protocol, "TUN and TAP devices", FIX_LAUNCH),
    way(Family::Elsewhere, "a socket handed in", FIX_HANDED),
    way(Family::Elsewhere, "pidfd_getfd", FIX_SAME_USER),
    way(Family::Leaving, "cgroup.procs", FIX_CGROUP),
    way(Family::Leaving, "a user namespace", FIX_CGROUP),
    way(Family::Helper, "unix sockets by path", FIX_UNIX),
    way(Family::Helper, "abstract unix sockets", FIX_UNIX),
    way(Family::Helper, "ptrace", FIX_SAME_USER),
    way(Family::Helper, "process_vm_readv", FIX_SAME_USER),
    way(Family::Helper, "/proc/PID/mem", FIX_SAME_USER),
    way(Family::Helper, "signals to outside", FIX_SIGNALS).optional(),
    way(Family::Guard, "TIOCSTI", FIX_LAUNCH),
    way(Family::Guard, CONTROL, FIX_CONTROL),
];

/// The policy of the session that it is tried in. Nothing can be reached under it, and each attempt is refused: reports leave
/// such a session out.
pub const POLICY: &str = "version = 1\nname = \"doctor\"\ndefault = \"deny\"\nhold = \"0s\"\n";

/// Calls of guardd that are for people outside. Whoever knows how to talk to guardd tries these.
pub const CONTROL: &str = "control verbs";

/// Whom the attempts are to reach.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Targets {
    tcp: SocketAddr,
    tcp6: Option<SocketAddr>,
    udp: SocketAddr,
    path: PathBuf,
    name: String,
    victim: u32,
    address: u64,
    /// The cgroup of the process that made this.
    cgroup: Option<PathBuf>,
}

/// The servers that the attempts reach, until this is dropped.
#[derive(Debug)]
pub struct AttemptServers {
    /// What the attempts know.
    pub targets: Targets,
    _listeners: Vec<OwnedFd>,
    _victim: Victim,
    _dir: tempfile::TempDir,
}

impl AttemptServers {
    /// Sets it up, with a victim that the caller has started as the user who is to attack it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn new(victim: Victim) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix("guard-doctor-").tempdir()?;
        let all = |mode| fs::Permissions::from_mode(mode);
        fs::set_permissions(dir.path(), all(0o755))?;
        let path = dir.path().join("listens.sock");
        let by_path = UnixListener::bind(&path)?;
        fs::set_permissions(&path, all(0o777))?;
        let name = format!("guard-doctor-{}", std::process::id());
        let by_name = UnixListener::bind_addr(&UnixAddr::from_abstract_name(&name)?)?;
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let tcp6 = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).ok();
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        let own = Hierarchy::find().and_then(|all| Ok(all.dir(&cgroup2::own_path()?)));
        let targets = Targets {
            tcp: tcp.local_addr()?,
            tcp6: tcp6.as_ref().and_then(|tcp| tcp.local_addr().ok()),
            udp: udp.local_addr()?,
            path,
            name,
            victim: victim.pid(),
            address: victim.address,
            cgroup: own.ok().flatten(),
        };
        let mut listeners: Vec<OwnedFd> =
            vec![by_path.into(), by_name.into(), tcp.into(), udp.into()];
        listeners.extend(tcp6.map(OwnedFd::from));
        Ok(Self {
            targets,
            _listeners: listeners,
            _victim: victim,
            _dir: dir,
        })
    }
}

impl Targets {
    /// Tries all of it, in a process of its own with one thread. From `handed`, a unix socket, comes a socket that was
    /// made outside.
    #[must_use]
    pub fn attempt_all(&self, handed: impl AsFd) -> All {
        let victim = self.victim;
        let tries: [(&str, io::Result<()>); 18] = [
            ("TCP over IPv4", self.tcp4()),
            ("TCP over IPv6", self.tcp6()),
            ("UDP", self.udp()),
            ("io_uring", attempt::io_uring().map(drop)),
            ("packet sockets", attempt::packet_socket().map(drop)),
            ("vsock", attempt::vsock().map(drop)),
            ("TUN and TAP devices", make_tun()),
            ("a socket handed in", self.handed_in(&handed)),
            ("pidfd_getfd", take_descriptor(victim)),
            ("cgroup.procs", self.leave()),
            ("a user namespace", self.in_a_namespace()),
            (
                "unix sockets by path",
                UnixStream::connect(&self.path).map(drop),
            ),
            ("abstract unix sockets", self.by_name()),
            ("ptrace", in_child(|| attempt::trace(victim))),
            (
                "process_vm_readv",
                attempt::read_memory(victim, self.address).map(drop),
            ),
            ("/proc/PID/mem", read_by_file(victim, self.address)),
            ("signals to outside", attempt::signal(victim)),
            ("TIOCSTI", attempt::type_into(&handed)),
        ];
        let came = tries
            .iter()
            .map(|(name, done)| ((*name).to_owned(), Came::of(done)));
        came.collect()
    }

    fn tcp4(&self) -> io::Result<()> {
        TcpStream::connect_timeout(&self.tcp, TIMEOUT).map(drop)
    }

    fn tcp6(&self) -> io::Result<()> {
        let to = self.tcp6.ok_or_else(|| absent(libc::EAFNOSUPPORT))?;
        TcpStream::connect_timeout(&to, TIMEOUT).map(drop)
    }

    fn udp(&self) -> io::Result<()> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.send_to(b"?", self.udp).map(drop)
    }

    fn by_name(&self) -> io::Result<()> {
        let address = UnixAddr::from_abstract_name(&self.name)?;
        UnixStream::connect_addr(&address).map(drop)
    }

    /// Takes a socket out of a message, and connects that.
    fn handed_in(&self, from: &impl AsFd) -> io::Result<()> {
        let socket = received(from)?;
        Ok(rustix::net::connect(socket, &self.tcp)?)
    }

    /// Moves this process to where no guard judges, wherever it may be moved.
    fn leave(&self) -> io::Result<()> {
        let hierarchy = Hierarchy::find()?;
        let own = cgroup2::own_path()?;
        let above = own.parent().and_then(|above| hierarchy.dir(above));
        let top = hierarchy.mount().to_owned();
        let ways = [self.cgroup.clone(), above, Some(top)];
        let mut last = Err(io::ErrorKind::NotFound.into());
        for dir in ways.into_iter().flatten() {
            last = in_child(|| move_to(&dir));
            if last.is_ok() {
                return last;
            }
        }
        last
    }

    /// The same attempts as "root" of a user namespace of its own, and those at the network.
    fn in_a_namespace(&self) -> io::Result<()> {
        in_child(|| {
            attempt::own_user_namespace()?;
            // Its parent's children are its own to make: one thread, as before.
            self.leave().or_else(|_| self.tcp4())
        })
    }
}

fn in_child(work: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    tried(work)?
}

fn move_to(dir: &Path) -> io::Result<()> {
    let procs = File::options().write(true).open(dir.join("cgroup.procs"));
    procs?.write_all(b"0")
}

/// A device of another network, without a socket. The request is one that the kernel refuses, if it looks at it.
fn make_tun() -> io::Result<()> {
    let opened = File::options().read(true).write(true).open("/dev/net/tun");
    match opened.and_then(attempt::ask_for_tun) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(absent(libc::ENODEV)),
        // It has looked.
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        done => done,
    }
}

fn absent(code: i32) -> io::Error {
    io::Error::from_raw_os_error(code)
}

fn take_descriptor(victim: u32) -> io::Result<()> {
    let pid = Pid::from_raw(victim.cast_signed()).ok_or(io::ErrorKind::NotFound)?;
    let process = pidfd_open(pid, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, 0, PidfdGetfdFlags::empty()).map(drop)?)
}

fn read_by_file(victim: u32, address: u64) -> io::Result<()> {
    let mut memory = File::open(format!("/proc/{victim}/mem"))?;
    memory.seek(SeekFrom::Start(address))?;
    memory.read_exact(&mut [0; 8])
}

fn received(from: &impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(from, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut sockets = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    // The kernel leaves it out where a security module refuses it.
    sockets
        .next()
        .ok_or_else(|| io::Error::from_raw_os_error(libc::EPERM))
}

/// A unix socket from which [`Targets::attempt_all`] takes one that was made here.
///
/// # Errors
///
/// The system's.
pub fn hand_in() -> io::Result<(OwnedFd, OwnedFd)> {
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
    let (ours, theirs) = UnixStream::pair()?;
    let made = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    let fds = [made.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    let byte = [io::IoSlice::new(b"?")];
    sendmsg(&ours, &byte, &mut control, SendFlags::NOSIGNAL)?;
    Ok((ours.into(), theirs.into()))
}

/// The rows: what was tried in a session, next to the same outside. Where no session could be had, why.
#[must_use]
pub fn rows(inside: &Result<All, String>, outside: &Result<All, String>) -> Vec<Row> {
    let row = |check: &Check| match inside {
        Err(why) => check.unseen(why, FIX_NO_SESSION),
        Ok(inside) => {
            let control = outside.as_ref().ok().and_then(|all| all.get(check.name));
            check.row(match check.name {
                CONTROL => answered(inside.get(CONTROL), control),
                name => compared(inside.get(name), control),
            })
        }
    };
    CHECKS.iter().map(row).collect()
}

/// The same of a call of guardd's: that it is refused inside says something only where it is answered outside.
fn answered(inside: Option<&Came>, outside: Option<&Came>) -> ProbeResult {
    match (inside, outside) {
        (Some(inside @ Came::Refused { .. }), Some(outside @ Came::Failed { .. })) => {
            let (inside, outside) = (inside.words(), outside.words());
            ProbeResult::unclear(format!("in a session {inside}; outside {outside}"))
        }
        (inside, outside) => compared(inside, outside),
    }
}

fn compared(inside: Option<&Came>, outside: Option<&Came>) -> ProbeResult {
    let Some(inside) = inside else {
        return ProbeResult::unclear("it was not tried in a session");
    };
    let Some(outside) = outside else {
        return ProbeResult::unclear("it was not tried outside, to compare");
    };
    let detail = format!(
        "in a session {}; outside {}",
        inside.words(),
        outside.words()
    );
    match (inside, outside) {
        (Came::Through, _) => ProbeResult::no(detail),
        // A refusal is one whatever comes of it outside: a file that is no terminal is looked at after that.
        (Came::Refused { .. }, _) | (Came::Absent { .. }, Came::Absent { .. }) => {
            ProbeResult::yes(detail)
        }
        // What fails for a reason of its own proves nothing.
        (Came::Absent { .. } | Came::Failed { .. }, _) => ProbeResult::unclear(detail),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(code: i32) -> Came {
        Came::of(&io::Result::<()>::Err(io::Error::from_raw_os_error(code)))
    }

    #[test]
    fn what_fails_in_a_session_alone_is_closed() {
        let eperm = failed(libc::EPERM);
        assert!(compared(Some(&eperm), Some(&Came::Through)).is_yes());
        assert!(compared(Some(&eperm), Some(&failed(libc::EPERM))).is_yes());
        let forbidden = failed(libc::EACCES);
        assert!(compared(Some(&forbidden), Some(&Came::Through)).is_yes());
        let absent = failed(libc::ENODEV);
        assert!(compared(Some(&absent), Some(&absent)).is_yes());
        assert!(compared(Some(&eperm), Some(&absent)).is_yes());
        assert_eq!(
            compared(Some(&Came::Through), Some(&Came::Through)),
            ProbeResult::no("in a session it works; outside it works")
        );
        assert!(!compared(Some(&eperm), None).is_yes());
        assert!(!compared(None, Some(&Came::Through)).is_yes());
    }

    #[test]
    fn what_fails_for_a_reason_of_its_own_proves_nothing() {
        for code in [libc::EINVAL, libc::ENOENT, libc::ETIMEDOUT, libc::ENODEV] {
            let broken = failed(code);
            let answer = compared(Some(&broken), Some(&Came::Through));
            assert!(matches!(answer, ProbeResult::Unclear(_)), "{answer:?}");
        }
        let broken = failed(libc::EINVAL);
        let answer = compared(Some(&broken), Some(&broken));
        assert!(matches!(answer, ProbeResult::Unclear(_)), "{answer:?}");
        let refused = failed(libc::EPERM);
        assert!(compared(Some(&refused), Some(&broken)).is_yes());
    }

    #[test]
    fn a_call_that_failed_outside_for_a_reason_of_its_own_proves_nothing() {
        let refused = Came::Refused {
            why: "refused".to_owned(),
        };
        let came = |outside: &Came| answered(Some(&refused), Some(outside));
        assert!(came(&Came::Through).is_yes());
        let unclear = came(&failed(libc::EINTR));
        assert!(matches!(unclear, ProbeResult::Unclear(_)), "{unclear:?}");
        let interrupted = answered(Some(&failed(libc::EINTR)), Some(&Came::Through));
        assert!(
            matches!(interrupted, ProbeResult::Unclear(_)),
            "{interrupted:?}"
        );
        let answered = answered(Some(&Came::Through), Some(&failed(libc::EINTR)));
        assert!(!answered.is_yes());
    }

    #[test]
    fn without_a_session_nothing_is_closed() {
        let rows = rows(&Err("no guardd".to_owned()), &Ok(All::new()));
        assert_eq!(rows.len(), CHECKS.len());
        assert!(
            rows.iter()
                .all(|row| !row.ok && row.detail.contains("no guardd"))
        );
    }
}
