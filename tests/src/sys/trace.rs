//! `ptrace(2)`: a process whose every system call stops it, in each of its threads.

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command};
use std::ptr::{null_mut, without_provenance_mut};

use libc::{c_int, c_long, c_uint, pid_t};

use super::check;

/// What a stopped thread is about to do, or has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// It is about to make that system call.
    Entry {
        /// Its number.
        number: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// It has made it.
    Exit {
        /// Whether it failed.
        failed: bool,
    },
}

/// What a wait for a traced thread gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It stands before or behind a system call.
    Call,
    /// It stands for the tracer's sake only.
    Event,
    /// It stands before a signal.
    Signal(c_int),
    /// It is gone; what its process would exit with, as a shell says it.
    Gone(c_int),
}

/// Starts a command that stops before the first instruction of the program.
pub(crate) fn spawn(command: &mut Command) -> io::Result<Child> {
    let trace_me = || {
        // SAFETY: it takes no pointers, and is allowed between fork and exec.
        let done = unsafe {
            libc::ptrace(
                libc::PTRACE_TRACEME,
                0_i32,
                null_mut::<u8>(),
                null_mut::<u8>(),
            )
        };
        check_long(done).map(drop)
    };
    // SAFETY: the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(trace_me) };
    command.spawn()
}

/// Has the kernel stop all threads of it at each call, and kill them with their tracer.
pub(crate) fn set_options(pid: pid_t) -> io::Result<()> {
    let options = libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_EXITKILL;
    // SAFETY: the last argument is a number here.
    let done = unsafe {
        libc::ptrace(
            libc::PTRACE_SETOPTIONS,
            pid,
            null_mut::<u8>(),
            without_provenance_mut::<u8>(options as usize),
        )
    };
    check_long(done).map(drop)
}

/// Lets a stopped thread go on to its next call, with a signal or 0.
pub(crate) fn go_on(thread: pid_t, signal: c_int) -> io::Result<()> {
    // SAFETY: the last argument is a number here.
    let done = unsafe {
        libc::ptrace(
            libc::PTRACE_SYSCALL,
            thread,
            null_mut::<u8>(),
            without_provenance_mut::<u8>(signal as usize),
        )
    };
    check_long(done).map(drop)
}

/// The layout of `struct ptrace_syscall_info` in linux/ptrace.h, up to what is read here.
#[repr(C)]
struct Info {
    op: u8,
    pad: [u8; 3],
    arch: u32,
    instruction_pointer: u64,
    stack_pointer: u64,
    /// At the entry the number and the arguments, at the exit the result and, in a byte, whether that is an error.
    words: [u64; 8],
}

/// `PTRACE_SYSCALL_INFO_ENTRY`
const ENTRY: u8 = 1;
/// `PTRACE_SYSCALL_INFO_EXIT`
const EXIT: u8 = 2;

/// The call at which a thread stands; `None` where it stands at none.
pub(crate) fn call(thread: pid_t) -> io::Result<Option<Call>> {
    let mut info = MaybeUninit::<Info>::zeroed();
    // SAFETY: the kernel writes as many bytes at `info` as it is told are there.
    let done = unsafe {
        libc::ptrace(
            libc::PTRACE_GET_SYSCALL_INFO as c_uint,
            thread,
            size_of::<Info>(),
            info.as_mut_ptr(),
        )
    };
    check_long(done)?;
    // SAFETY: zeroed, and any bytes make an `Info`.
    let info = unsafe { info.assume_init() };
    let [number, a, b, c, d, e, f, _] = info.words;
    Ok(match info.op {
        ENTRY => Some(Call::Entry {
            number,
            args: [a, b, c, d, e, f],
        }),
        EXIT => Some(Call::Exit {
            failed: info.words[1].to_ne_bytes()[0] != 0,
        }),
        _ => None,
    })
}

/// Stops another process, writes into its memory, and lets it go.
pub(crate) fn poke(pid: pid_t, place: u64, bytes: &[u8]) -> io::Result<()> {
    attached(libc::PTRACE_ATTACH, pid, 0, 0)?;
    let mut status = 0;
    // SAFETY: the kernel writes an int at `status`.
    check(unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) })?;
    let (words, _) = bytes.as_chunks::<8>();
    let poked = (place..)
        .step_by(8)
        .zip(words)
        .try_for_each(|(place, word)| {
            let word = usize::from_ne_bytes(*word);
            attached(libc::PTRACE_POKEDATA, pid, place as usize, word)
        });
    attached(libc::PTRACE_DETACH, pid, 0, 0)?;
    poked
}

fn attached(request: c_uint, pid: pid_t, place: usize, data: usize) -> io::Result<()> {
    // SAFETY: both are numbers here, or addresses in the other process.
    let done = unsafe {
        libc::ptrace(
            request,
            pid,
            without_provenance_mut::<u8>(place),
            without_provenance_mut::<u8>(data),
        )
    };
    check_long(done).map(drop)
}

/// Waits for any thread that is traced.
pub(crate) fn wait() -> io::Result<(pid_t, Stop)> {
    let mut status = 0;
    // SAFETY: the kernel writes an int at `status`.
    let thread = check(unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) })?;
    let stop = if libc::WIFSIGNALED(status) {
        Stop::Gone(128 + libc::WTERMSIG(status))
    } else if libc::WIFEXITED(status) {
        Stop::Gone(libc::WEXITSTATUS(status))
    } else {
        match libc::WSTOPSIG(status) {
            signal if signal == libc::SIGTRAP | 0x80 => Stop::Call,
            libc::SIGTRAP if status >> 16 != 0 => Stop::Event,
            signal => Stop::Signal(signal),
        }
    };
    Ok((thread, stop))
}

fn check_long(result: c_long) -> io::Result<c_long> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}
