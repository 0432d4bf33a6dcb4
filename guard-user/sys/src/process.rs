//! Making a process, and ending one without ado.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd};

use caps::{CapSet, Capability, has_cap};
use rustix::process::Pid;

use super::call::check;

/// A right by which a process gets packets past cgroup programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketRight {
    /// `CAP_NET_RAW`: packet sockets.
    Raw,
    /// `CAP_NET_ADMIN`: what the network does with a packet after those programs, as `tc` and tunnels do.
    Admin,
}

/// The rights of a process to get packets past cgroup programs now. One that is gone has none.
pub fn packet_rights(pid: u32) -> impl Iterator<Item = PacketRight> {
    let pid = i32::try_from(pid).ok();
    let all = [
        (PacketRight::Raw, Capability::CAP_NET_RAW),
        (PacketRight::Admin, Capability::CAP_NET_ADMIN),
    ];
    let has = move |right| {
        pid.is_some_and(|pid| has_cap(Some(pid), CapSet::Permitted, right).unwrap_or(false))
    };
    all.into_iter()
        .filter_map(move |(right, capability)| has(capability).then_some(right))
}

/// On which side of [`fork`] one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fork {
    /// In the new process.
    Child,
    /// In the old one; the pid is the new one's.
    Parent(Pid),
}

/// fork(2), for a process that has one thread.
///
/// With more threads a child may find locks held by threads that it does not have, so that even
/// allocating memory can hang: then this refuses.
///
/// # Errors
///
/// `Other` where there is more than one thread. Else the system's.
pub fn fork() -> io::Result<Fork> {
    if fs::read_dir("/proc/self/task")?.count() != 1 {
        let why = "a process with several threads cannot be copied";
        return Err(io::Error::other(why));
    }
    // SAFETY: this is the only thread, so nobody else holds a lock, and nobody can start another
    // thread meanwhile: the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid => Pid::from_raw(pid)
            .filter(|_| pid > 0)
            .map(Fork::Parent)
            .ok_or_else(io::Error::last_os_error),
    }
}

/// A process group or a session, by its leader; none: one whose leader is outside of this pid namespace, for which the
/// kernel says 0 and which rustix does not expect.
pub type GroupLeader = Option<Pid>;

/// The session of a process (getsid(2)).
///
/// # Errors
///
/// The system's.
pub fn session_of(pid: Pid) -> io::Result<GroupLeader> {
    // SAFETY: getsid(2) touches no memory.
    group(unsafe { libc::getsid(pid.as_raw_nonzero().get()) })
}

/// The process group of a process (getpgid(2)).
///
/// # Errors
///
/// The system's.
pub fn group_of(pid: Pid) -> io::Result<GroupLeader> {
    // SAFETY: getpgid(2) touches no memory.
    group(unsafe { libc::getpgid(pid.as_raw_nonzero().get()) })
}

/// The process group that is in front in the controlling terminal `tty` (tcgetpgrp(3)).
///
/// # Errors
///
/// The system's, above all that it is another's.
pub fn group_in_front(tty: impl AsFd) -> io::Result<GroupLeader> {
    // SAFETY: tcgetpgrp(3) writes to nothing of ours.
    group(unsafe { libc::tcgetpgrp(tty.as_fd().as_raw_fd()) })
}

/// The session whose controlling terminal `tty` is (tcgetsid(3)).
///
/// # Errors
///
/// The system's, where it is not this process' own.
pub fn session_at(tty: impl AsFd) -> io::Result<GroupLeader> {
    // SAFETY: tcgetsid(3) writes to nothing of ours.
    group(unsafe { libc::tcgetsid(tty.as_fd().as_raw_fd()) })
}

fn group(returned: i32) -> io::Result<GroupLeader> {
    check(returned).map(Pid::from_raw)
}

/// _exit(2): ends this process and leaves everything that waits for a normal exit (buffers, exit
/// handlers, destructors) to the process that it is a copy of.
pub fn exit_at_once(status: u8) -> ! {
    // SAFETY: always sound; nothing of this process is used afterwards.
    unsafe { libc::_exit(status.into()) }
}

/// `KEYCTL_GET_KEYRING_ID`, `KEYCTL_JOIN_SESSION_KEYRING`, `KEYCTL_LINK`, `KEY_SPEC_SESSION_KEYRING` and `KEY_SPEC_USER_KEYRING` of
/// the kernel's `linux/keyctl.h`.
const GET_KEYRING_ID: libc::c_long = 0;
const JOIN_SESSION_KEYRING: libc::c_long = 1;
const LINK: libc::c_long = 8;
const SESSION_KEYRING: libc::c_long = -3;
const USER_KEYRING: libc::c_long = -4;

/// Gives this thread, and what it executes, a new session keyring without a name in place of the one that it has: whoever has one
/// possesses what is linked there, whatever its uid, and it stays over fork(2), execve(2) and setuid(2) (session-keyring(7)). In it are
/// the keys of the user that the thread has by now, as in one that pam_keyinit(8) makes.
///
/// Without keyrings there is nothing to leave; nor where a filter refuses keyctl(2) whatever it is asked, as those of container
/// engines do: what this thread executes has the same filter.
///
/// # Errors
///
/// The system's, such as `EDQUOT` where this user has too many.
pub fn leave_session_keyring() -> io::Result<()> {
    let left = keyctl(JOIN_SESSION_KEYRING, 0, 0);
    match code(&left) {
        None => {
            // Who has no room for it has no keys of their own there.
            let _ = keyctl(LINK, USER_KEYRING, SESSION_KEYRING);
            Ok(())
        }
        Some(libc::ENOSYS) => Ok(()),
        Some(libc::EPERM)
            if code(&keyctl(GET_KEYRING_ID, SESSION_KEYRING, 0)) == Some(libc::EPERM) =>
        {
            Ok(())
        }
        _ => left,
    }
}

fn code(done: &io::Result<()>) -> Option<i32> {
    done.as_ref().err().and_then(io::Error::raw_os_error)
}

fn keyctl(operation: libc::c_long, first: libc::c_long, second: libc::c_long) -> io::Result<()> {
    // SAFETY: of these operations the arguments are numbers, or a name where 0 stands for none: no memory is touched.
    check(unsafe { libc::syscall(libc::SYS_keyctl, operation, first, second) }).map(drop)
}

/// Makes `first` and all higher descriptors close when this process executes a program.
///
/// # Errors
///
/// The system's; Linux before 5.11 cannot.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: close_range(2) touches no memory, and with this flag it closes nothing either.
    let done = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    check(done).map(drop)
}

/// Closes all descriptors but these, no matter who owns them here: for a process that has just been made and uses nothing else.
///
/// # Errors
///
/// The system's; Linux before 5.9 cannot.
pub fn close_all_but(kept: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .map(|fd| fd.as_raw_fd().cast_unsigned())
        .collect();
    kept.sort_unstable();
    let mut first = 0;
    for number in kept.into_iter().chain([u32::MAX]) {
        if first < number {
            // SAFETY: close_range(2) touches no memory. The caller uses none of these any more.
            check(unsafe { libc::syscall(libc::SYS_close_range, first, number - 1, 0_u32) })?;
        }
        first = number.saturating_add(1);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_with_several_threads_is_not_copied() {
        let (stop, stopped) = std::sync::mpsc::channel::<()>();
        let other = std::thread::spawn(move || stopped.recv());
        assert_eq!(fork().unwrap_err().kind(), io::ErrorKind::Other);
        drop(stop);
        let _ = other.join().unwrap();
    }
}
