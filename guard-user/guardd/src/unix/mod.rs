//! Which Unix sockets sessions may connect to.

mod calls;
mod lsm;
pub(crate) mod scans;

pub(crate) use lsm::{allow_control, name_sockets};

use std::{
    collections::HashSet,
    fs::{self, File},
    io,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
};

use guard_common::{BootTime, SessionId, Verdict};
use guard_datapath::{Datapath, UnixTerms};
use guard_proto::{
    Endpoint, Started, Stopped,
    record::{Denied, Field, RecordedDestination},
    sockets::{HasSocket, SocketAddress, SocketTerms},
};
use guard_sys::{
    abi::AF_UNIX,
    clock::Clocks,
    notify::{CONNECT, read_memory},
    pidfd,
    unix_diag::{BoundSocket, SocketFile, socket_at},
};
use rustix::net::sockopt::socket_cookie;
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

pub(crate) use self::calls::UnixRefusal;
use crate::{
    control::{advice, failure::CallError, ids},
    policies::Policies,
    process::{Process, SeenProcess},
    quota::{Account, TurnQueue},
    sessions::{Session, Sessions, stops::Stops},
    unix::scans::{ScanTurns, scan},
    workers::networks::{Inode, there},
};

/// Services that programs need, that anybody may talk to, and that do nothing over the network or with another user's rights
/// for their clients: docs/policy.md says what they are for. All are root's, in directories of root's.
const HARMLESS: [&str; 10] = [
    // Logging: syslog(3), sd_journal_print(3), and the standard output of services.
    "/dev/log",
    "/run/systemd/journal/dev-log",
    "/run/systemd/journal/socket",
    "/run/systemd/journal/stdout",
    // Users and groups: nss-systemd(8), sssd(8). Not nscd(8), which asks name servers on behalf of its clients.
    "/run/systemd/userdb/io.systemd.DynamicUser",
    "/run/systemd/userdb/io.systemd.Multiplexer",
    "/run/systemd/userdb/io.systemd.NameServiceSwitch",
    "/run/systemd/userdb/io.systemd.DropIn",
    "/var/lib/sss/pipes/nss",
    "/run/systemd/userdb/io.systemd.Home",
];

/// `struct sockaddr_un`.
const LONGEST_ADDRESS: usize = 110;
/// Network namespaces of one session that are searched for a socket.
const MAX_NETWORKS: usize = 64;
/// The longest path, or abstract name, in bytes.
const LONGEST: usize = 108;
/// Instead of a name that could not be told.
const UNNAMED: &str = "a socket whose name could not be told";

/// What a session was kept from that is not a network destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// Connecting to a Unix socket of a process outside.
    Socket,
    /// A Unix socket of which it could not be told who listens there.
    Unknown,
    /// To be handed a socket of somebody else's.
    Receive,
    /// Signalling a process outside.
    Kill,
}

/// Owns what guardd knows of sessions' Unix sockets.
#[derive(Debug, Default)]
pub(crate) struct Sockets {
    /// By the name of the socket or process.
    stops: Stops<64, (Withheld, String)>,
    /// The sockets that sessions may connect to without a supervisor.
    by_themselves: Vec<PathBuf>,
    /// The reads of sessions' processes that are under way.
    scans: ScanTurns,
}

impl Withheld {
    /// The destination as people and programs see it.
    pub(crate) fn endpoint(self, from: &str) -> Endpoint {
        let protocol = match self {
            Self::Socket | Self::Unknown => "unix",
            Self::Receive => "handed",
            Self::Kill => "signal",
        };
        Endpoint {
            address: from.to_owned(),
            port: None,
            protocol: protocol.to_owned(),
            host: None,
        }
    }

    /// The record of a refusal to a process.
    fn denied(self, from: &str, hook: &str, seen: SeenProcess) -> Denied {
        let why = match self {
            Self::Unknown if from == UNNAMED => "if it was a Unix socket, it was refused".into(),
            Self::Unknown => "it could not be told who listens there".into(),
            Self::Socket | Self::Receive | Self::Kill => Field::Absent,
        };
        Denied {
            destination: RecordedDestination::Endpoint(self.endpoint(from)).into(),
            verdict: Verdict::Deny.as_str().into(),
            hook: hook.into(),
            pid: seen.pid.into(),
            comm: seen.process.comm.into(),
            exe: seen.process.exe.into(),
            why,
            ..Denied::default()
        }
    }

    fn advice(self, from: &str) -> String {
        match self {
            Self::Socket => advice::socket_refused(from),
            Self::Unknown if from == UNNAMED => advice::unnamed_refused(),
            Self::Unknown => advice::socket_unknown(from),
            Self::Receive => advice::handed_refused(),
            Self::Kill => advice::signal_refused(from),
        }
    }
}

impl Sockets {
    /// Notes that a session was kept from something.
    pub(crate) fn note_stop(
        &mut self,
        session: SessionId,
        kept: Withheld,
        from: &str,
        now: BootTime,
    ) {
        let what = (kept, from.to_owned());
        self.stops.note(session, what, (), now);
    }

    /// Notes what a record of the audit log says of a refusal.
    pub(crate) fn recall_stop(
        &mut self,
        session: SessionId,
        at: BootTime,
        to: &Endpoint,
        why: Option<&str>,
    ) {
        let kept = match (to.protocol.as_str(), why) {
            ("unix", None) => Withheld::Socket,
            ("unix", Some(_)) => Withheld::Unknown,
            ("handed", _) => Withheld::Receive,
            _ => Withheld::Kill,
        };
        self.note_stop(session, kept, &to.address, at);
    }

    /// Removes a session that has ended.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.stops.forget(session);
    }

    /// The queue to read the processes of an account.
    pub(crate) fn queue_of(&self, account: Account) -> TurnQueue {
        self.scans.queue(account)
    }

    /// The refusals for `guard why`, latest first.
    pub(crate) fn stopped(&self, session: SessionId, clocks: &Clocks) -> Vec<Stopped> {
        let stopped = self.stops.of(session).map(|stop| {
            let (kept, from) = &stop.what;
            let (at, verdict) = (clocks.calendar(stop.last), Verdict::Deny.as_str());
            Stopped {
                count: stop.count,
                ..Stopped::new(at, kept.endpoint(from), verdict, kept.advice(from))
            }
        });
        stopped.collect()
    }

    /// Sets the sockets that sessions connect to without a supervisor: the harmless ones, and `control`, for an agent's calls.
    pub(crate) fn allow(&mut self, kernel: &mut Datapath, control: &Path) {
        let control = std::path::absolute(control).unwrap_or_else(|_| control.to_owned());
        let harmless = HARMLESS.iter().map(PathBuf::from);
        let mut paths: Vec<_> = harmless.filter(|path| is_roots(path)).collect();
        match is_roots(&control) {
            true => paths.push(control),
            // There guardd's own socket is known by its cookie, not by its path.
            false if kernel.lsm_problem().is_none() => {}
            false => tracing::warn!(
                socket = %control.display(),
                "others than root can put something in its place, so sessions cannot ask there where Unix sockets are judged"
            ),
        }
        for path in &paths {
            if let Err(error) = kernel.allow_unix(path) {
                tracing::warn!(%error, path = %path.display(), "sessions cannot connect to it");
            }
        }
        self.by_themselves = paths;
        if let Some(problem) = kernel.unix_problem() {
            tracing::warn!("{problem}: sessions reach whoever listens at a Unix socket");
        }
        if let Some(problem) = kernel.outside_problem() {
            tracing::warn!("{problem}: sessions may use sockets that are handed in");
        }
        if let Some(problem) = kernel.lsm_problem() {
            tracing::info!(
                "{problem}: nothing there judges signals, and sockets that are connected and handed in"
            );
        }
    }

    /// Tells a session's launcher which sockets it may be connected to.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn judge(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        policies: &Policies,
        started: &mut Started,
    ) -> Result<(), CallError> {
        let Ok(id) = ids::parse_session(&started.session.id) else {
            return Ok(());
        };
        if kernel.lsm_problem().is_none() {
            return lsm::judge(kernel, sessions, policies, id, started);
        }
        self.judge_by_launcher(kernel, sessions, policies, id, started);
        Ok(())
    }

    fn judge_by_launcher(
        &self,
        kernel: &Datapath,
        sessions: &Sessions,
        policies: &Policies,
        id: SessionId,
        started: &mut Started,
    ) {
        let session = sessions.live(id);
        let Some(session) = session.filter(|_| kernel.unix_problem().is_none()) else {
            return;
        };
        if is_free(session) {
            let warning = "this guard is older than guardd: its commands reach whoever listens at a Unix socket";
            started.warnings.push(warning.to_owned());
            return;
        }
        started.sockets = Some(SocketTerms {
            allow: policies.allowed_sockets(&session.chain),
            by_itself: self.by_themselves.clone(),
        });
    }
}

/// Has the kernel judge a session's Unix sockets.
///
/// # Errors
///
/// The kernel's.
pub(crate) fn judge_unix(
    kernel: &mut Datapath,
    sessions: &Sessions,
    id: SessionId,
) -> Result<(), CallError> {
    let Some(session) = sessions.get(id) else {
        return Ok(());
    };
    let outer = session.about.parent.map(SessionId);
    let outer = outer.and_then(|outer| sessions.get(outer));
    let terms = UnixTerms {
        free: match kernel.lsm_problem() {
            None => !session.cgroup.is_ours(),
            Some(_) => is_free(session),
        },
        scoped: session.about.scoped,
        user_namespace: session.about.user_namespace,
        outer: outer.map(|outer| outer.cgroup.cgroup_id),
    };
    let cgroup = session.cgroup.cgroup_id;
    kernel.judge_unix(cgroup, terms)?;
    Ok(())
}

/// The error if a thread does not wait in connect(2).
pub(super) fn connects_nowhere(session: &str, thread: u32) -> CallError {
    CallError::not_found(
        "it cannot be told where that thread connects",
        format!("thread {thread} of session {session} does not wait in connect(2)"),
        "try again in the session",
    )
}

/// The error if the processes of a session could not be scanned in time.
pub(super) fn has_unknown(session: &str) -> CallError {
    CallError::failed(
        format!("it cannot be told which sockets session {session} has open"),
        "the scan of its processes takes too long",
        "try again in the session",
    )
}

/// What connect(2) was called with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Connecting {
    address: u64,
    length: u64,
}

/// The arguments of a thread's connect(2), if it waits there.
fn connecting(thread: u32) -> Option<Connecting> {
    parse_call(&fs::read_to_string(format!("/proc/{thread}/syscall")).ok()?)
}

/// Parses a line of `/proc/PID/syscall`, as proc_pid_syscall(5) has it: the number, and six arguments.
fn parse_call(line: &str) -> Option<Connecting> {
    let mut words = line.split_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let mut argument = || u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok();
    let [_, address, length] = [argument()?, argument()?, argument()?];
    (number == CONNECT).then_some(Connecting {
        address,
        // An `int`: the kernel ignores the rest.
        length: u64::from(length as u32),
    })
}

impl Connecting {
    /// The path, or the abstract name after an `@`, if it is about a Unix socket; an empty path where that cannot be told. Abstract names
    /// that are no text are the kernel's to judge.
    fn socket(&self, thread: u32) -> Option<String> {
        let length = usize::try_from(self.length)
            .unwrap_or(LONGEST_ADDRESS)
            .min(LONGEST_ADDRESS);
        let bytes = read_memory(thread.cast_signed(), self.address, length).ok()?;
        let (family, name) = bytes.split_first_chunk()?;
        if i32::from(u16::from_ne_bytes(*family)) != AF_UNIX {
            return None;
        }
        match name {
            [] => None,
            [0, name @ ..] => Some(format!("@{}", std::str::from_utf8(name).ok()?)),
            path => Some(path_of(path, thread).unwrap_or_default()),
        }
    }
}

/// What a path in `sun_path` means to a thread, as text.
fn path_of(path: &[u8], thread: u32) -> Option<String> {
    let end = path.iter().position(|byte| *byte == 0);
    let path = Path::new(std::str::from_utf8(&path[..end.unwrap_or(path.len())]).ok()?);
    let directory = fs::read_link(format!("/proc/{thread}/cwd")).ok()?;
    Some(directory.join(path).to_str()?.to_owned())
}

/// The processes of a session.
#[derive(Debug)]
pub(crate) struct Members {
    /// Its cgroup, as `/proc/PID/cgroup` names it, and as a directory.
    cgroup: Option<PathBuf>,
    dir: PathBuf,
    queue: TurnQueue,
}

impl Members {
    /// The address in a thread's connect(2), for the supervisor that connects for it and may not read its memory; none if it
    /// does not wait in connect(2), or reading takes too long. `/proc` gives the arguments, so that nothing else of its memory
    /// is revealed.
    pub(crate) async fn address_of(self, caller: u32, thread: u32) -> Option<SocketAddress> {
        let cgroup = self.cgroup?;
        let read = move || {
            let is_its = || Process::is_in(thread, &cgroup);
            let waits = connecting(thread).filter(|_| is_its())?;
            let socket = waits.socket(thread);
            let same_root = has_root_of(thread, caller);
            // All of it is of one thread: its number is not another's by now.
            let still = connecting(thread).as_ref() == Some(&waits) && is_its();
            still.then_some(SocketAddress { socket, same_root })
        };
        scan(self.queue, read).await.flatten()
    }

    /// Whether one of them has a socket open, by its number and its cookie; none where that takes too long.
    pub(crate) async fn have_socket(self, number: u64, cookie: u64) -> Option<HasSocket> {
        let queue = self.queue.clone();
        let open = scan(queue, move || self.have_open(number, cookie)).await?;
        Some(HasSocket { open })
    }

    /// Whether one of them has exactly that socket open.
    fn have_open(&self, number: u64, cookie: u64) -> bool {
        let Some(cgroup) = &self.cgroup else {
            return false;
        };
        let mut all = Datapath::processes_in(&self.dir).into_iter();
        // The number may be another process' by now.
        all.any(|pid| has_open(pid, number, cookie) && Process::is_in(pid, cgroup))
    }

    /// Whether one of them has the socket open that is bound at a file. The kernel lists sockets by network namespace, so
    /// guardd enters each, which takes a while.
    pub(crate) async fn have_bound(self, inode: u64, device: u64) -> HasSocket {
        // The kernel gives half of the file's number: with more it may be another file.
        let file = u32::try_from(inode).map(|_| SocketFile {
            inode,
            device,
            is_sure: true,
        });
        let Ok(file) = file else {
            return HasSocket { open: false };
        };
        let queue = self.queue.clone();
        let read = move || {
            let found = self.bound_at(file);
            found.is_some_and(|socket| self.have_open(socket.number, socket.cookie))
        };
        HasSocket {
            open: scan(queue, read).await.unwrap_or(false),
        }
    }

    fn bound_at(&self, file: SocketFile) -> Option<BoundSocket> {
        let mut seen = HashSet::new();
        for pid in Datapath::processes_in(&self.dir) {
            let Ok(way) = File::open(format!("/proc/{pid}/ns/net")) else {
                continue;
            };
            if !way.metadata().is_ok_and(|way| seen.insert(Inode::of(&way))) {
                continue;
            }
            if seen.len() > MAX_NETWORKS {
                return None;
            }
            if let Ok(Some(socket)) = there(Some(&way), || socket_at(file)) {
                return Some(socket);
            }
        }
        None
    }
}

/// Whether a process has exactly that socket open.
fn has_open(pid: u32, number: u64, cookie: u64) -> bool {
    let link = format!("socket:[{number}]");
    let open = fs::read_dir(format!("/proc/{pid}/fd"));
    let mut open = open.into_iter().flatten().flatten();
    open.any(|fd| {
        let is_named = fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == link.as_str());
        let number = fd.file_name().to_str().and_then(|fd| fd.parse().ok());
        let socket = number.filter(|_| is_named).and_then(|fd| {
            let process = pidfd::open(pid).ok()?;
            pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).ok()
        });
        socket.is_some_and(|socket| socket_cookie(socket) == Ok(cookie))
    })
}

/// Whether a path means the same to a thread and a process: the same root, of the same mounts.
fn has_root_of(thread: u32, other: u32) -> bool {
    let same = |of: &str| {
        let [one, two] = [thread, other].map(|pid| fs::read_link(format!("/proc/{pid}/{of}")));
        matches!((one, two), (Ok(one), Ok(two)) if one == two)
    };
    same("ns/mnt") && same("root")
}

/// Whether a session has no supervisor: those of units and containers, and of an older guard. A session inside another always
/// has one.
fn is_free(session: &Session) -> bool {
    let about = &session.about;
    !session.cgroup.is_ours() || (!about.connects && about.outermost.is_none())
}

/// Whether only root can change where a path leads: each directory on the way is root's, and no other user may write to it.
fn is_roots(path: &Path) -> bool {
    const STICKY: u32 = 0o1000;
    let mut above = path.ancestors().skip(1);
    path.is_absolute()
        && above.all(|dir| match fs::symlink_metadata(dir) {
            // The directory above decides who may make it.
            Err(error) => error.kind() == io::ErrorKind::NotFound,
            Ok(meta) => {
                let mode = meta.permissions().mode();
                let is_closed = mode & 0o022 == 0 || mode & STICKY != 0;
                meta.uid() == 0 && (meta.is_symlink() || is_closed)
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_session_was_kept_from_is_told_with_what_to_do_until_it_ends() {
        let mut sockets = Sockets::default();
        let (session, other) = (SessionId(1), SessionId(2));
        let docker = "/run/docker.sock";
        for at in [1, 2] {
            sockets.note_stop(session, Withheld::Socket, docker, BootTime(at));
        }
        sockets.note_stop(session, Withheld::Kill, "sleep (7)", BootTime(3));
        sockets.note_stop(other, Withheld::Unknown, UNNAMED, BootTime(4));
        let clocks = Clocks::read();
        let stopped = sockets.stopped(session, &clocks);
        let told = stopped.iter().map(|one| {
            let to = &one.destination;
            (to.protocol.as_str(), to.address.as_str(), one.count)
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("signal", "sleep (7)", 1), ("unix", docker, 2)]);
        assert!(
            stopped[1]
                .advice
                .contains(&format!("allow = [\"{docker}\"]"))
        );
        sockets.forget(session);
        assert!(sockets.stopped(session, &clocks).is_empty());
        assert_eq!(sockets.stopped(other, &clocks).len(), 1);
    }

    #[test]
    fn harmless_sockets_are_not_named_twice_and_are_roots() {
        for path in HARMLESS {
            assert!(path.starts_with('/') && path.len() < 108, "{path}");
            assert_eq!(HARMLESS.iter().filter(|one| **one == path).count(), 1);
        }
        assert!(is_roots(Path::new("/run/x.sock")));
        assert!(!is_roots(Path::new("relative/x.sock")));
    }

    #[test]
    fn a_call_is_read_as_the_kernel_writes_it() {
        let line = |number: i64| {
            format!("{number} 0x3 0x7ffd10 0xffffffff0000006e 0x0 0x0 0x0 0x7f 0x7e\n")
        };
        let found = parse_call(&line(CONNECT)).unwrap();
        assert_eq!((found.address, found.length), (0x7f_fd10, 0x6e));
        for other in [&line(CONNECT + 1), "running\n", "-1 0x7ffd 0x7f\n", ""] {
            assert_eq!(parse_call(other), None, "{other}");
        }
    }

    #[test]
    fn a_directory_of_somebody_elses_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(dir.path(), Some(61234), None).unwrap();
        assert!(!is_roots(&dir.path().join("x.sock")));
    }
}
