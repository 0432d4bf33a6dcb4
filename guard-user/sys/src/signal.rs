//! Signals, received one by one with who sent them.

use std::fs::File;
use std::io::{self, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr;

use rustix::process::Pid;

use super::call::check;

/// While this lives, signals to this process wait to be read from it; all but those that the
/// process' own faults raise. Before, and where it is dropped, they do what they did before.
#[derive(Debug)]
pub struct Signals {
    queue: File,
    mask: libc::sigset_t,
    on_child: libc::sigaction,
}

/// A signal that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Which.
    pub signal: i32,
    /// The pid of the process that sent it; `None` where the kernel did, as it does for a terminal.
    pub sender: Option<u32>,
}

/// `SIGCHLD`: a child has ended, stopped or gone on.
pub const CHILD_CHANGED: i32 = libc::SIGCHLD;

/// `SIGCONT`: somebody has made this process go on.
pub const CONTINUE: i32 = libc::SIGCONT;

/// `SIGWINCH`: the terminal has another size.
pub const RESIZED: i32 = libc::SIGWINCH;

/// Whether this is one that terminals and shells send to whole jobs, to end, stop or continue them.
#[must_use]
pub fn is_for_jobs(signal: i32) -> bool {
    let jobs = [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGTERM,
        libc::SIGTSTP,
        libc::SIGCONT,
    ];
    jobs.contains(&signal)
}

/// Whether this is what stops a job that would read from a terminal, or change it, from the background.
#[must_use]
pub fn is_for_terminal(signal: i32) -> bool {
    matches!(signal, libc::SIGTTIN | libc::SIGTTOU)
}

/// Whether this stops whoever gets it, like it or not.
#[must_use]
pub fn is_stop(signal: i32) -> bool {
    signal == libc::SIGSTOP
}

/// What a fault of this process itself raises. The kernel kills a process that blocks these.
const FAULTS: [libc::c_int; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
    libc::SIGABRT,
];

impl Signals {
    /// Begins to hold signals back.
    ///
    /// Whatever the process inherited, the end of its children is reported to it: a parent that
    /// ignores `SIGCHLD` hands that down, and then there would be no exit status to wait for.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn hold() -> io::Result<Self> {
        let mut held = filled();
        for fault in FAULTS {
            // SAFETY: `held` is an initialised set.
            unsafe { libc::sigdelset(&raw mut held, fault) };
        }
        let on_child = default_action(libc::SIGCHLD)?;
        let mask = change_mask(libc::SIG_SETMASK, &held)?;
        let flags = libc::SFD_CLOEXEC | libc::SFD_NONBLOCK;
        // SAFETY: `held` is an initialised set.
        let fd = check(unsafe { libc::signalfd(-1, &raw const held, flags) })?;
        // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
        let queue = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        Ok(Self {
            queue,
            mask,
            on_child,
        })
    }

    /// The next signal. `None`: there is none now.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn receive(&mut self) -> io::Result<Option<Arrival>> {
        let mut bytes = [0_u8; size_of::<libc::signalfd_siginfo>()];
        match self.queue.read(&mut bytes) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        // SAFETY: a `signalfd_siginfo` is numbers only, and signalfd(2) fills whole ones.
        let info: libc::signalfd_siginfo = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
        // si_code is positive where the kernel itself had a reason, sigaction(2).
        let by_process = info.ssi_code <= 0;
        Ok(Some(Arrival {
            signal: info.ssi_signo.cast_signed(),
            sender: by_process.then_some(info.ssi_pid),
        }))
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.queue.as_fd()
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        // Neither can fail with what an earlier call has returned.
        let _ = change_mask(libc::SIG_SETMASK, &self.mask);
        // SAFETY: `on_child` is what sigaction(2) returned, so its handler is as good as it was.
        unsafe { libc::sigaction(libc::SIGCHLD, &raw const self.on_child, ptr::null_mut()) };
    }
}

/// Sends a signal to a process that the caller has not waited for yet, so that its pid is its own.
///
/// # Errors
///
/// The system's.
pub fn send(to: Pid, signal: i32) -> io::Result<()> {
    kill(to.as_raw_nonzero().get(), signal)
}

/// Sends a signal to the process group of a leader that the caller has not waited for yet.
///
/// # Errors
///
/// The system's.
pub fn send_to_group(leader: Pid, signal: i32) -> io::Result<()> {
    kill(-leader.as_raw_nonzero().get(), signal)
}

fn kill(to: libc::pid_t, signal: i32) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory.
    check(unsafe { libc::kill(to, signal) }).map(drop)
}

/// Stops this process as `signal` (one of those that stop) stops others, and returns when it goes
/// on. Does not stop where `signal` is ignored, or where nobody could make it go on.
///
/// # Errors
///
/// The system's.
pub fn stop_by(signal: i32) -> io::Result<()> {
    send(rustix::process::getpid(), signal)?;
    let_in(signal)
}

/// Stops the process group of this process, as a terminal does at ^Z, and returns when this process goes on. SIGSTOP,
/// which no terminal sends, is for this process alone.
///
/// # Errors
///
/// The system's.
pub fn stop_job_by(signal: i32) -> io::Result<()> {
    if is_stop(signal) {
        return stop_by(signal);
    }
    kill(0, signal)?;
    let_in(signal)
}

/// Has a signal that is held back do what it does.
fn let_in(signal: i32) -> io::Result<()> {
    let mut one = empty();
    // SAFETY: `one` is an initialised set.
    unsafe { libc::sigaddset(&raw mut one, signal) };
    // The process stops in this call.
    let mask = change_mask(libc::SIG_UNBLOCK, &one)?;
    change_mask(libc::SIG_SETMASK, &mask).map(drop)
}

fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the whole set and cannot fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn filled() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the whole set and cannot fail.
    unsafe {
        libc::sigfillset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Changes which signals wait, and returns which did before.
fn change_mask(how: libc::c_int, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = empty();
    // SAFETY: both sets are initialised.
    match unsafe { libc::pthread_sigmask(how, set, &raw mut before) } {
        0 => Ok(before),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

/// Makes `signal` do what it does by default, and returns what it did before.
fn default_action(signal: libc::c_int) -> io::Result<libc::sigaction> {
    let mut before = MaybeUninit::zeroed();
    // SAFETY: all zeros is a valid `sigaction`: SIG_DFL, no flags, an empty mask.
    let default: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    // SAFETY: both are good for their size; no handler is installed.
    check(unsafe { libc::sigaction(signal, &raw const default, before.as_mut_ptr()) })?;
    // SAFETY: filled by the call, and valid as zeros before.
    Ok(unsafe { before.assume_init() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_come_with_their_sender() {
        // Mask and action belong to this thread and the whole process; SIGUSR2 goes to nobody else
        // here, as it is sent to this thread alone.
        let mut signals = Signals::hold().unwrap();
        assert_eq!(signals.receive().unwrap(), None);
        // SAFETY: raise(3) touches no memory, and the signal is held back on this thread.
        unsafe { libc::raise(libc::SIGUSR2) };
        let arrival = signals.receive().unwrap().unwrap();
        assert_eq!(arrival.signal, libc::SIGUSR2);
        assert_eq!(arrival.sender, Some(std::process::id()));
    }
}
