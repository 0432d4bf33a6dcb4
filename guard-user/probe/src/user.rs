//! What takes no rights: the ways in which an ordinary user's process can be held back, and what holds it back already.

use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{self, UnixListener, UnixStream};

use guard_proto::Row;
use guard_sys::{
    attempt,
    bpf::{ANSWER_0, ProgramKind, load_program},
    notify::{self, NotifyListener},
    scopes,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::OwnedFd;
use rustix::net::{SocketAddrUnix, connect};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open,
    set_dumpable_behavior, setsid,
};
use rustix::thread::set_no_new_privs;

use super::child::{Says, Trying, asked, tried, wait_for_end};
use super::{Check, Family, ProbeResult, errno, is_forbidden};

/// Where a process that tries it listens; its pid follows.
const CALLED: &str = "guard-probe-";
const SECOND: Timespec = Timespec {
    tv_sec: 1,
    tv_nsec: 0,
};

const LANDLOCK: Check = Check::part(
    Family::Helper,
    "Landlock",
    "boot with landlock in lsm= (CONFIG_SECURITY_LANDLOCK=y)",
)
.optional();
/// What a domain keeps a process from besides: signals, and abstract names.
pub const SCOPES: Check = Check::part(
    Family::Helper,
    "Landlock's scopes",
    "boot Linux 6.12 or later",
)
.optional();
/// seccomp's user notification.
pub const NOTIFICATION: Check = Check::part(
    Family::Helper,
    "seccomp asks a supervisor",
    "boot Linux 5.14 or later, CONFIG_SECCOMP_FILTER=y",
)
.optional();
const YAMA: Check = Check::part(
    Family::Helper,
    "Yama",
    "sudo sysctl kernel.yama.ptrace_scope=1, else boot with yama in lsm=",
)
.optional();
const NAMESPACES: Check = Check::part(
    Family::Leaving,
    "user namespaces for all",
    "guard doctor again",
)
.optional();
const BPF: Check = Check::way(
    Family::Guard,
    "bpf() by ordinary users",
    "sudo sysctl kernel.unprivileged_bpf_disabled=2",
)
.optional();
const TYPING: Check = Check::way(
    Family::Guard,
    "typing into terminals",
    "sudo sysctl dev.tty.legacy_tiocsti=0",
)
.optional();

/// What each is.
pub const CHECKS: [Check; 7] = [
    LANDLOCK,
    SCOPES,
    NOTIFICATION,
    YAMA,
    NAMESPACES,
    BPF,
    TYPING,
];

/// All of them, for the user of this process, which has one thread.
#[must_use]
pub fn rows() -> Vec<Row> {
    vec![
        LANDLOCK.row(domain()),
        SCOPES.row(scoped_signals()),
        NOTIFICATION.row(notification()),
        YAMA.row(yama()),
        NAMESPACES.row(namespaces()),
        BPF.row(programs()),
        TYPING.row(typing()),
    ]
}

/// A process to be attacked, until this is dropped.
#[derive(Debug)]
pub struct Victim {
    trying: Trying,
    /// Keeps it alive.
    _open: OwnedFd,
    /// Where eight bytes of its memory are.
    pub address: u64,
}

/// What is read out of a victim's memory.
static SECRET: u64 = 0x5ec2_e75e_c2e7_5ec2;

impl Victim {
    /// Starts the process, which first calls `become_whom` to change its user.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn start(become_whom: impl FnOnce() -> io::Result<()>) -> io::Result<Self> {
        let (read, open) = pipe_with(PipeFlags::CLOEXEC)?;
        let mut trying = Trying::start(|says: &mut Says| {
            if become_whom().is_err() {
                return;
            }
            // Root that has become somebody else is not dumpable, which would be why it cannot be attacked. And the
            // other end of the pipe is not to be its own.
            let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
            says.say(&std::ptr::from_ref(&SECRET).addr());
            wait_for_end(read);
        })?;
        let address = trying.hear::<usize>()? as u64;
        Ok(Self {
            trying,
            _open: open,
            address,
        })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.trying.pid().as_raw_nonzero().get().unsigned_abs()
    }
}

/// Whether somebody who may otherwise is kept from a victim by what `hold` does to itself first.
fn kept_from(
    victim: &Victim,
    hold: impl FnOnce() -> io::Result<()>,
    attack: impl FnOnce(u32) -> io::Result<()>,
) -> io::Result<Result<(), io::Error>> {
    let pid = victim.pid();
    // What fails before the attack has another code than the attack's.
    let done = asked(|| match hold() {
        Err(error) => Some((false, error.raw_os_error().unwrap_or(libc::EIO))),
        Ok(()) => attack(pid)
            .err()
            .map(|error| (true, error.raw_os_error().unwrap_or(libc::EIO))),
    })?;
    match done {
        None => Ok(Ok(())),
        Some((true, code)) => Ok(Err(io::Error::from_raw_os_error(code))),
        Some((false, code)) => Err(io::Error::from_raw_os_error(code)),
    }
}

fn held(attack: fn(u32) -> io::Result<()>, what: &str) -> ProbeResult {
    let victim = match Victim::start(|| Ok(())) {
        Ok(victim) => victim,
        Err(error) => return ProbeResult::unclear(error),
    };
    match kept_from(&victim, scopes::enter_domain, attack) {
        Ok(Err(error)) if is_forbidden(&error) => {
            ProbeResult::yes(format!("in a domain of its own a process could not {what}"))
        }
        Ok(Err(error)) => ProbeResult::unclear(errno(&error)),
        Ok(Ok(())) => ProbeResult::no(format!("in a domain of its own a process could {what}")),
        Err(error) => ProbeResult::no(format!("no domain could be entered: {}", errno(&error))),
    }
}

fn domain() -> ProbeResult {
    held(attempt::trace, "trace another")
}

fn scoped_signals() -> ProbeResult {
    held(attempt::signal, "signal another")
}

/// Whether a user's process may trace another of the same user that it has not started.
fn yama() -> ProbeResult {
    let victim = match Victim::start(|| Ok(())) {
        Ok(victim) => victim,
        Err(error) => return ProbeResult::unclear(error),
    };
    match kept_from(&victim, || Ok(()), attempt::trace) {
        Ok(Err(error)) if is_forbidden(&error) => {
            ProbeResult::yes("a process could not trace another of the same user")
        }
        Ok(Err(error)) => ProbeResult::unclear(errno(&error)),
        Ok(Ok(())) => ProbeResult::no("a process could trace another of the same user"),
        Err(error) => ProbeResult::unclear(error),
    }
}

/// Has a child's connect(2) wait, connects its socket, and looks whether what the child writes then arrives: what
/// `guard run` does.
fn notification() -> ProbeResult {
    match connected_for_it() {
        Ok(true) => ProbeResult::yes("a call waited, and was done for its process"),
        Ok(false) => ProbeResult::no("a call did not wait"),
        Err(error) => ProbeResult::no(format!(
            "a call that waited was not answered: {}",
            errno(&error)
        )),
    }
}

fn connected_for_it() -> io::Result<bool> {
    let mut child = Trying::start(|says| {
        let _ = set_dumpable_behavior(DumpableBehavior::Dumpable);
        let listening = set_no_new_privs(true).map_err(io::Error::from);
        let Ok(listener) = listening.and_then(|()| notify::listen_to_connect()) else {
            return says.say(&None::<i32>);
        };
        says.say(&Some(listener.fd().as_raw_fd()));
        says.say(&calls_itself());
    })?;
    let Some(number) = child.hear::<Option<i32>>()? else {
        return Ok(false);
    };
    let listener = NotifyListener::of(taken(child.pid(), number)?);
    let mut ready = [PollFd::new(listener.fd(), PollFlags::IN)];
    if poll(&mut ready, Some(&SECOND))? == 0 {
        return Ok(false);
    }
    let call = listener.receive()?;
    // The caller waits for an answer, whatever fails here.
    let answer = match connect_for(child.pid(), call.arguments[0] as i32) {
        Ok(()) => notify::NotifyResponse::Done(0),
        Err(_) => notify::NotifyResponse::Done(libc::EPERM),
    };
    listener.answer(call.id, answer)?;
    child.hear::<bool>()
}

/// Connects a Unix socket to one that listens here, by a call that another process answers; whether a byte gets there.
fn calls_itself() -> bool {
    let called = || -> io::Result<bool> {
        let name = format!("{CALLED}{}", std::process::id());
        let address = net::SocketAddr::from_abstract_name(name)?;
        let listener = UnixListener::bind_addr(&address)?;
        let mut stream = UnixStream::connect_addr(&address)?;
        stream.write_all(b"!")?;
        let mut byte = [0; 1];
        listener.accept()?.0.read_exact(&mut byte)?;
        Ok(byte == *b"!")
    };
    called().unwrap_or(false)
}

/// Does that call with the process' own socket.
fn connect_for(process: Pid, socket: i32) -> io::Result<()> {
    let name = format!("{CALLED}{process}");
    let address = SocketAddrUnix::new_abstract_name(name.as_bytes())?;
    Ok(connect(taken(process, socket)?, &address)?)
}

fn taken(from: Pid, number: i32) -> io::Result<OwnedFd> {
    let process = pidfd_open(from, PidfdFlags::empty())?;
    Ok(pidfd_getfd(process, number, PidfdGetfdFlags::empty())?)
}

fn namespaces() -> ProbeResult {
    match tried(attempt::own_user_namespace) {
        Ok(Ok(())) => ProbeResult::yes("a process made one; the next rows try what it is good for"),
        Ok(Err(error)) => {
            ProbeResult::yes(format!("a process could not make one: {}", errno(&error)))
        }
        Err(error) => ProbeResult::unclear(error),
    }
}

fn programs() -> ProbeResult {
    match tried(|| load_program(ProgramKind::SOCKET_FILTER, "guard_probe", &ANSWER_0)) {
        Ok(Ok(())) => ProbeResult::no("a user's process loaded a program"),
        Ok(Err(error)) if is_forbidden(&error) => {
            ProbeResult::yes("a user's process could load no program: EPERM")
        }
        Ok(Err(error)) => ProbeResult::unclear(errno(&error)),
        Err(error) => ProbeResult::unclear(error),
    }
}

/// Types into a terminal that was made for it.
fn typing() -> ProbeResult {
    let typed = tried(|| {
        let (outer, inner) = attempt::terminal()?;
        setsid()?;
        attempt::control(&inner)?;
        let typed = attempt::type_into(&inner);
        // Closed, it would hang up on this process before that has reported.
        std::mem::forget(outer);
        typed
    });
    match typed {
        Ok(Ok(())) => ProbeResult::no("a process typed into a terminal of its own"),
        Ok(Err(error)) if is_forbidden(&error) || error.raw_os_error() == Some(libc::EIO) => {
            ProbeResult::yes(format!("a process could not type: {}", errno(&error)))
        }
        Ok(Err(error)) => ProbeResult::unclear(errno(&error)),
        Err(error) => ProbeResult::unclear(error),
    }
}
