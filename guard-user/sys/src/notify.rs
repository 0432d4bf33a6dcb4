//! System calls that wait for another process' word: seccomp_unotify(2).
//!
//! Layouts and numbers are those of `include/uapi/linux/seccomp.h`.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};

use libc::{c_int, c_ulong, sock_filter, sock_fprog};
use rustix::ioctl::{Opcode, opcode};

use super::{call::check, release::is_at_least};

/// `AUDIT_ARCH_*` of linux/audit.h, of the architecture that this was built for.
#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

/// Where `struct seccomp_data` has the call's number, and its architecture.
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;

/// `SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV`: nothing but its end takes a process away from a call that is being answered, so
/// that none begins it again. Linux 5.19
const WAIT_KILLABLE_RECV: c_ulong = 1 << 5;

/// The number of connect(2).
pub const CONNECT: i64 = libc::SYS_connect;

const MAGIC: u8 = b'!';
const RECEIVE: Opcode = opcode::read_write::<libc::seccomp_notif>(MAGIC, 0);
const SEND: Opcode = opcode::read_write::<libc::seccomp_notif_resp>(MAGIC, 1);
const IS_VALID: Opcode = opcode::write::<u64>(MAGIC, 2);
const ADD_DESCRIPTOR: Opcode = opcode::write::<libc::seccomp_notif_addfd>(MAGIC, 3);
const SET_FLAGS: Opcode = opcode::write::<u64>(MAGIC, 4);

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP`: whoever wakes the other side is about to sleep, so that side may run where it ran.
/// Linux 6.6
const SYNC_WAKE_UP: usize = 1;

/// A call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WaitingCall {
    /// Its number, for the answer.
    pub id: u64,
    /// The thread.
    pub thread: i32,
    /// Its arguments.
    pub arguments: [u64; 6],
}

/// What becomes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotifyResponse {
    /// The kernel does it, whatever its arguments are by now.
    Goes,
    /// It was done for it, with this outcome: 0, or an errno.
    Done(i32),
}

/// The supervisor's end: it answers.
#[derive(Debug)]
pub struct NotifyListener(OwnedFd);

/// Has every connect(2) of this thread, and of all that comes from it, wait for an answer, for good. No other architecture's
/// call waits. no_new_privs must be set.
///
/// # Errors
///
/// The system's: `EBUSY` where somebody listens to it already.
pub fn listen_to_connect() -> io::Result<NotifyListener> {
    let code = |code: u32, jt: u8, jf: u8, k: u32| sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    let give = libc::BPF_RET | libc::BPF_K;
    let mut filter = [
        code(load, 0, 0, ARCHITECTURE),
        code(equal, 0, 3, ARCH),
        code(load, 0, 0, NUMBER),
        code(equal, 0, 1, libc::SYS_connect as u32),
        code(give, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
        code(give, 0, 0, libc::SECCOMP_RET_ALLOW),
    ];
    let program = sock_fprog {
        len: filter.len() as u16,
        filter: filter.as_mut_ptr(),
    };
    let flags = libc::SECCOMP_FILTER_FLAG_NEW_LISTENER | WAIT_KILLABLE_RECV;
    // SAFETY: the program is as long as it says, and lives through the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    let fd = check(fd)? as c_int;
    // SAFETY: the kernel has just made this descriptor, close-on-exec, and nobody else knows it.
    Ok(NotifyListener(unsafe { OwnedFd::from_raw_fd(fd) }))
}

impl NotifyListener {
    /// Out of a descriptor that another process has sent.
    #[must_use]
    pub fn of(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor: readable while a call waits, hung up when nothing is left that could call.
    #[must_use]
    pub fn fd(&self) -> &OwnedFd {
        &self.0
    }

    /// Has caller and listener take turns on one processor, where the kernel can: a call that is only let go takes 9 µs then
    /// in place of 44, if the thread that receives it answers it. Elsewhere all works as before, more slowly.
    pub fn take_turns(&self) {
        // The flags are the argument, and no address of them.
        // SAFETY: the kernel reads nothing through it.
        let flags = AddressOf(std::ptr::without_provenance_mut(SYNC_WAKE_UP));
        let _ = self.control(SET_FLAGS, flags);
    }

    /// Whether [`Self::receive`] ends where nobody is left who could call. Linux 6.11; before, it waits for ever.
    #[must_use]
    pub fn ends_by_itself() -> bool {
        is_at_least(6, 11)
    }

    /// The next call; waits for one.
    ///
    /// # Errors
    ///
    /// The system's: `ENOENT` where the caller has ended meanwhile, or nobody is left.
    pub fn receive(&self) -> io::Result<WaitingCall> {
        // SAFETY: any bytes make a notification, and zeroes are what the kernel wants to find.
        let mut found: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the kernel writes one notification.
        self.control(RECEIVE, unsafe { AddressOf::new(&raw mut found) })?;
        Ok(WaitingCall {
            id: found.id,
            thread: found.pid.cast_signed(),
            arguments: found.data.args,
        })
    }

    /// Whether the caller of a call still waits for its answer: what was read of it by its thread's number was its own.
    #[must_use]
    pub fn still_waits(&self, id: u64) -> bool {
        let mut id = id;
        // SAFETY: the kernel reads one number.
        let found = self.control(IS_VALID, unsafe { AddressOf::new(&raw mut id) });
        found.is_ok()
    }

    /// Puts a descriptor in the place of one that the caller of a call has. It closes when the caller executes a program.
    ///
    /// # Errors
    ///
    /// The system's: `ENOENT` where the caller has ended meanwhile.
    pub fn replace(&self, id: u64, number: u32, by: impl AsFd) -> io::Result<()> {
        let mut request = libc::seccomp_notif_addfd {
            id,
            flags: libc::SECCOMP_ADDFD_FLAG_SETFD as u32,
            srcfd: by.as_fd().as_raw_fd().cast_unsigned(),
            newfd: number,
            newfd_flags: libc::O_CLOEXEC.cast_unsigned(),
        };
        // SAFETY: the kernel reads one request.
        self.control(ADD_DESCRIPTOR, unsafe { AddressOf::new(&raw mut request) })
    }

    /// Answers.
    ///
    /// # Errors
    ///
    /// The system's: `ENOENT` where the caller has ended meanwhile.
    pub fn answer(&self, id: u64, answer: NotifyResponse) -> io::Result<()> {
        let (error, flags) = match answer {
            NotifyResponse::Goes => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            NotifyResponse::Done(errno) => (-errno, 0),
        };
        let mut response = libc::seccomp_notif_resp {
            id,
            val: 0,
            error,
            flags,
        };
        // SAFETY: the kernel reads one response.
        self.control(SEND, unsafe { AddressOf::new(&raw mut response) })
    }

    fn control(&self, request: Opcode, argument: AddressOf) -> io::Result<()> {
        // SAFETY: the caller that made the address says that it is good for the request.
        let done = unsafe { libc::ioctl(self.0.as_fd().as_raw_fd(), request as _, argument.0) };
        check(done).map(drop)
    }
}

/// Where a request finds or leaves what it is about.
struct AddressOf(*mut libc::c_void);

impl AddressOf {
    /// # Safety
    ///
    /// The address must be good for what the request that it is used with reads and writes.
    unsafe fn new<T>(at: *mut T) -> Self {
        Self(at.cast())
    }
}

/// Reads another process' memory, by one of its threads: as much of `length` bytes as there is at `address`.
///
/// # Errors
///
/// The system's: `EPERM` where this process may not.
pub fn read_memory(thread: i32, address: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0_u8; length];
    let here = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: length,
    };
    let there = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: length,
    };
    // SAFETY: the kernel writes `length` bytes at most to `bytes`; the other address is the other process'.
    let read =
        unsafe { libc::process_vm_readv(thread, &raw const here, 1, &raw const there, 1, 0) };
    let read = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    bytes.truncate(read);
    Ok(bytes)
}
