//! Ways round a guard, each as the one call that it takes: for those who want to see it refused.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::call::check;

/// Begins to trace a process, without stopping it (`PTRACE_SEIZE`). It goes on untraced when this process ends.
///
/// # Errors
///
/// The system's: `EPERM` where that is not allowed.
pub fn trace(pid: u32) -> io::Result<()> {
    let none = std::ptr::null_mut::<libc::c_void>();
    // SAFETY: PTRACE_SEIZE reads and writes no memory of this process: address and data are numbers.
    let done = unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid.cast_signed(), none, none) };
    check(done).map(drop)
}

/// Reads eight bytes of the memory of another process (`process_vm_readv`).
///
/// # Errors
///
/// The system's.
pub fn read_memory(pid: u32, address: u64) -> io::Result<u64> {
    let mut value = 0_u64;
    let local = libc::iovec {
        iov_base: (&raw mut value).cast(),
        iov_len: size_of::<u64>(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(address as usize),
        iov_len: size_of::<u64>(),
    };
    // SAFETY: `local` is eight writable bytes that live through the call; the other address is one of the other
    // process, which the kernel checks.
    let read = unsafe {
        libc::process_vm_readv(
            pid.cast_signed(),
            &raw const local,
            1,
            &raw const remote,
            1,
            0,
        )
    };
    check(read).map(|_| value)
}

/// Whether a signal could be sent to a process: none is (signal 0).
///
/// # Errors
///
/// The system's: `EPERM` where that is not allowed.
pub fn signal(pid: u32) -> io::Result<()> {
    // SAFETY: kill(2) touches no memory.
    check(unsafe { libc::kill(pid.cast_signed(), 0) }).map(drop)
}

/// A socket of any family.
///
/// # Errors
///
/// The system's.
pub fn socket(family: i32, kind: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) touches no memory.
    let fd = check(unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Packets of a device, past IP.
///
/// # Errors
///
/// The system's.
pub fn packet_socket() -> io::Result<OwnedFd> {
    socket(libc::AF_PACKET, libc::SOCK_DGRAM)
}

/// To the host of a virtual machine, or to one.
///
/// # Errors
///
/// The system's.
pub fn vsock() -> io::Result<OwnedFd> {
    socket(libc::AF_VSOCK, libc::SOCK_STREAM)
}

/// An `io_uring` with one entry.
///
/// # Errors
///
/// The system's.
pub fn io_uring() -> io::Result<OwnedFd> {
    // `struct io_uring_params` of linux/io_uring.h: 120 bytes, zero where nothing is asked for.
    let mut params = [0_u64; 15];
    // SAFETY: the kernel reads and writes 120 bytes at `params`.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_usize, params.as_mut_ptr()) };
    let fd = check(fd)?;
    // SAFETY: the kernel has just made this descriptor, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Types a line's end into a terminal, as if its user had.
///
/// # Errors
///
/// The system's: `ENOTTY` where it is none, `EIO` where the system forbids it.
pub fn type_into(terminal: impl AsFd) -> io::Result<()> {
    let byte = b'\n';
    // SAFETY: the kernel reads one byte.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSTI, &raw const byte) };
    check(done).map(drop)
}

/// Asks `/dev/net/tun` for a device that cannot be: none is made, whatever it answers.
///
/// # Errors
///
/// The system's: `EINVAL` where it would have looked at the request, `EPERM` where a filter did not let it.
pub fn ask_for_tun(tun: impl AsFd) -> io::Result<()> {
    // `struct ifreq`: neither IFF_TUN nor IFF_TAP is asked for.
    let request = [0_u8; 40];
    // SAFETY: the kernel reads and writes 40 bytes at most, which is the size of `struct ifreq`.
    let done = unsafe { libc::ioctl(tun.as_fd().as_raw_fd(), libc::TUNSETIFF, request.as_ptr()) };
    check(done).map(drop)
}

/// A new terminal: whoever holds the first end is its user, the second is what programs use.
///
/// # Errors
///
/// The system's.
pub fn terminal() -> io::Result<(OwnedFd, OwnedFd)> {
    let (mut outer, mut inner) = (-1, -1);
    let (name, settings, size) = (
        std::ptr::null_mut(),
        std::ptr::null_mut(),
        std::ptr::null_mut(),
    );
    // SAFETY: the two descriptors are written to; null means that nothing else is asked for.
    let done = unsafe { libc::openpty(&raw mut outer, &raw mut inner, name, settings, size) };
    check(done)?;
    // SAFETY: the call has just made both, and nobody else knows them.
    Ok(unsafe { (OwnedFd::from_raw_fd(outer), OwnedFd::from_raw_fd(inner)) })
}

/// Makes a terminal that of this process, which leads a session without one.
///
/// # Errors
///
/// The system's.
pub fn control(terminal: impl AsFd) -> io::Result<()> {
    // SAFETY: the argument is a number.
    check(unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSCTTY, 0_usize) }).map(drop)
}

/// Moves this process, which has one thread, into a user namespace of its own.
///
/// # Errors
///
/// The system's; `EINVAL` where there are several threads.
pub fn own_user_namespace() -> io::Result<()> {
    // SAFETY: a user namespace takes no memory or descriptors away, and the kernel refuses where there are threads that
    // would keep other credentials.
    Ok(unsafe { unshare_unsafe(UnshareFlags::NEWUSER) }?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_as_it_is_there() {
        let there = 0x0123_4567_89ab_cdef_u64;
        let at = (&raw const there).addr() as u64;
        assert_eq!(read_memory(std::process::id(), at).unwrap(), there);
        let nowhere = read_memory(std::process::id(), 8).unwrap_err();
        assert_eq!(nowhere.raw_os_error(), Some(libc::EFAULT));
    }
}
