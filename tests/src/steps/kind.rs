//! Which system calls are steps: those after which something outside of the process is another than before.
//!
//! What a call does to the process alone (a descriptor, memory, a map or program that nothing names yet) dies
//! with it, so to be killed after such a call is to be killed after the last step before it. The same goes for what
//! is only told to somebody, a log, a socket, a pipe; but of a program that only tells others, its words are its steps.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use libc::{c_long, pid_t};

/// The longest path that is read out of a process, in bytes.
const MAX_PATH: usize = 256;

/// A step that is about to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// The call.
    pub(super) kind: &'static str,
    /// What it is made on, as far as it is known.
    pub(super) on: String,
}

/// The same, or what is told to somebody by a socket.
pub(super) fn step_or_word(pid: pid_t, number: u64, args: [u64; 6]) -> Option<Step> {
    step(pid, number, args).or_else(|| word_by_socket(pid, number, args))
}

fn word_by_socket(pid: pid_t, number: u64, args: [u64; 6]) -> Option<Step> {
    const TELLS: [c_long; 4] = [
        libc::SYS_sendto,
        libc::SYS_sendmsg,
        libc::SYS_write,
        libc::SYS_writev,
    ];
    let number = c_long::try_from(number).ok()?;
    let on = fs::read_link(format!("/proc/{pid}/fd/{}", args[0] as i32)).ok()?;
    let is_told = TELLS.contains(&number) && on.to_string_lossy().starts_with("socket:");
    is_told.then(|| Step {
        kind: "tell",
        // Which of its sockets is another number each time.
        on: String::new(),
    })
}

/// The step that a call is, if it is one.
pub(super) fn step(pid: pid_t, number: u64, args: [u64; 6]) -> Option<Step> {
    let number = c_long::try_from(number).ok()?;
    if number == libc::SYS_bpf {
        return bpf(pid, args);
    }
    if let Some(kind) = on_descriptor(number) {
        let on = file_of(pid, args[0])?;
        return Some(Step { kind, on });
    }
    let (kind, path) = on_path(number, args)?;
    let on = path.and_then(|address| text(pid, address));
    Some(Step {
        kind,
        on: on.unwrap_or_default(),
    })
}

/// The commands of bpf(2) that change what is pinned, attached or in a map; numbers as in linux/bpf.h.
fn bpf(pid: pid_t, args: [u64; 6]) -> Option<Step> {
    let kind = match args[0] {
        2 => "map-update",
        3 => "map-delete",
        26 => "map-update-batch",
        27 => "map-delete-batch",
        6 => "pin",
        28 => "attach",
        29 => "link-update",
        34 => "detach",
        _ => return None,
    };
    // The path is the first word of what pins.
    let path = (args[0] == 6).then(|| word(pid, args[1])).flatten();
    let on = path.and_then(|address| text(pid, address));
    Some(Step {
        kind,
        on: on.unwrap_or_default(),
    })
}

fn on_descriptor(number: c_long) -> Option<&'static str> {
    Some(match number {
        libc::SYS_write | libc::SYS_writev | libc::SYS_pwrite64 => "write",
        libc::SYS_ftruncate => "truncate",
        libc::SYS_fallocate => "allocate",
        libc::SYS_fsetxattr | libc::SYS_fremovexattr => "setxattr",
        libc::SYS_fchmod | libc::SYS_fchown => "chmod",
        _ => return None,
    })
}

/// The file behind a descriptor: none for a pipe, a socket, a terminal, an eventfd, nor for a log.
fn file_of(pid: pid_t, fd: u64) -> Option<String> {
    if [1, 2].contains(&fd) {
        return None;
    }
    let path = fs::read_link(format!("/proc/{pid}/fd/{}", fd as i32)).ok()?;
    let outside = ["/dev", "/proc", "/memfd:"];
    let is_file = path.is_absolute() && !outside.iter().any(|dir| path.starts_with(dir));
    is_file.then(|| path.to_string_lossy().into_owned())
}

/// A call that changes a directory, and where its path is.
fn on_path(number: c_long, args: [u64; 6]) -> Option<(&'static str, Option<u64>)> {
    let creates = |flags: u64| flags & libc::O_CREAT as u64 != 0;
    Some(match number {
        libc::SYS_openat if creates(args[2]) => ("create", Some(args[1])),
        libc::SYS_mkdirat => ("mkdir", Some(args[1])),
        libc::SYS_unlinkat => ("remove", Some(args[1])),
        libc::SYS_renameat | libc::SYS_renameat2 => ("rename", Some(args[3])),
        libc::SYS_linkat => ("link", Some(args[3])),
        libc::SYS_symlinkat => ("link", Some(args[2])),
        libc::SYS_fchmodat | libc::SYS_fchownat => ("chmod", Some(args[1])),
        libc::SYS_truncate => ("truncate", Some(args[0])),
        libc::SYS_setxattr | libc::SYS_removexattr => ("setxattr", Some(args[0])),
        libc::SYS_mount => ("mount", Some(args[1])),
        libc::SYS_umount2 => ("unmount", Some(args[0])),
        // A socket of a path.
        libc::SYS_bind => ("bind", None),
        _ => return on_path_of_old(number, args),
    })
}

/// The calls that newer machines no longer have.
#[cfg(target_arch = "x86_64")]
fn on_path_of_old(number: c_long, args: [u64; 6]) -> Option<(&'static str, Option<u64>)> {
    Some(match number {
        libc::SYS_open if args[1] & libc::O_CREAT as u64 != 0 => ("create", Some(args[0])),
        libc::SYS_creat => ("create", Some(args[0])),
        libc::SYS_mkdir => ("mkdir", Some(args[0])),
        libc::SYS_rmdir | libc::SYS_unlink => ("remove", Some(args[0])),
        libc::SYS_rename | libc::SYS_link | libc::SYS_symlink => ("rename", Some(args[1])),
        libc::SYS_chmod | libc::SYS_chown => ("chmod", Some(args[0])),
        _ => return None,
    })
}

#[cfg(not(target_arch = "x86_64"))]
fn on_path_of_old(_: c_long, _: [u64; 6]) -> Option<(&'static str, Option<u64>)> {
    None
}

fn word(pid: pid_t, address: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    memory(pid)?.read_exact_at(&mut bytes, address).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

/// The string that ends with a NUL at an address of a process.
fn text(pid: pid_t, address: u64) -> Option<String> {
    let mut bytes = [0; MAX_PATH];
    let read = memory(pid)?.read_at(&mut bytes, address).ok()?;
    let end = bytes[..read].iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

fn memory(pid: pid_t) -> Option<fs::File> {
    fs::File::open(PathBuf::from(format!("/proc/{pid}/mem"))).ok()
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;
    use crate::Tested;

    #[test]
    fn what_changes_nothing_outside_is_no_step() -> Tested {
        let own = std::process::id() as pid_t;
        let step = |number: c_long, args| step(own, number as u64, args);
        let path = c"/guard-lab/nowhere";
        let at = path.as_ptr().addr() as u64;
        assert_eq!(step(libc::SYS_openat, [0, at, 0, 0, 0, 0]), None);
        assert_eq!(step(libc::SYS_getpid, [0; 6]), None);
        let created =
            step(libc::SYS_openat, [0, at, libc::O_CREAT as u64, 0, 0, 0]).context("no step")?;
        assert_eq!(
            (created.kind, &created.on[..]),
            ("create", "/guard-lab/nowhere")
        );
        // A map that is only looked up, and one that is written.
        assert_eq!(step(libc::SYS_bpf, [1, 0, 0, 0, 0, 0]), None);
        assert_eq!(
            step(libc::SYS_bpf, [2, 0, 0, 0, 0, 0])
                .context("no step")?
                .kind,
            "map-update"
        );
        Ok(())
    }

    #[test]
    fn what_is_told_by_a_socket_is_a_word_and_no_step() -> Tested {
        use std::os::fd::AsRawFd as _;
        let own = std::process::id() as pid_t;
        let (socket, _other) = std::os::unix::net::UnixStream::pair()?;
        let args = [socket.as_raw_fd() as u64, 0, 0, 0, 0, 0];
        for call in [libc::SYS_write, libc::SYS_writev, libc::SYS_sendto] {
            assert_eq!(step(own, call as u64, args), None);
            let word = step_or_word(own, call as u64, args).context("no word")?;
            assert_eq!(word.kind, "tell");
        }
        assert_eq!(step_or_word(own, libc::SYS_recvfrom as u64, args), None);
        Ok(())
    }
}
