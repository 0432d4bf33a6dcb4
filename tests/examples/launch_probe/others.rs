//! What a process may do to others of the same user: each way tried for real.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixStream;
use std::thread;

use anyhow::{Context as _, Result, bail};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketType};
use rustix::net::{bind, connect, listen, socket};

/// What the victim keeps in its memory.
const SECRET: [u8; 8] = *b"victim's";

/// Waits to be attacked. Prints its pid, where in its memory the secret is, the descriptor of a connection that is
/// echoed, and the name of its abstract sockets. All signals wait at it, so that `/proc` shows which it has got.
pub(crate) fn be_a_victim() -> Result<()> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: sigfillset initialises the set, and the mask of this thread is its own.
    unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), std::ptr::null_mut());
    }
    let secret = Box::new(SECRET);
    let server = TcpListener::bind("127.0.0.1:0")?;
    let connection = TcpStream::connect(server.local_addr()?)?;
    let (mut served, _) = server.accept()?;
    thread::spawn(move || io::copy(&mut served.try_clone()?, &mut served));
    let (pid, name) = (std::process::id(), format!("victim-{}", std::process::id()));
    let abstract_sockets =
        [SocketType::STREAM, SocketType::DGRAM, SocketType::SEQPACKET].map(|kind| {
            let made = socket(AddressFamily::UNIX, kind, None)?;
            bind(&made, &abstract_address(&name, kind)?)?;
            if kind != SocketType::DGRAM {
                listen(&made, 8)?;
            }
            io::Result::Ok(made)
        });
    let _kept: Vec<_> = abstract_sockets.into_iter().collect::<io::Result<_>>()?;
    let fd = connection.as_raw_fd();
    println!("victim {pid} {} {fd} {name}", secret.as_ptr().addr());
    // Until its parent is gone.
    io::stdin().read_to_end(&mut Vec::new())?;
    drop(connection);
    Ok(())
}

fn abstract_address(name: &str, kind: SocketType) -> io::Result<SocketAddrUnix> {
    let name = format!("{name}-{}", kind.as_raw());
    Ok(SocketAddrUnix::new_abstract_name(name.as_bytes())?)
}

/// Does to a process what `words` say.
pub(crate) fn attempt(words: &[&str]) -> Result<io::Result<()>> {
    let pid = |word: &str| word.parse::<i32>().context("no pid");
    Ok(match *words {
        ["ptrace", of] => ptrace(pid(of)?),
        ["vm-readv", of, at] => vm(libc::SYS_process_vm_readv, pid(of)?, at.parse()?),
        ["vm-writev", of, at] => vm(libc::SYS_process_vm_writev, pid(of)?, at.parse()?),
        ["mem", of, at] => mem(of, at.parse()?),
        ["environ", of] => fs::read(format!("/proc/{of}/environ")).map(drop),
        ["descriptor", of] => fs::read_link(format!("/proc/{of}/fd/0")).map(drop),
        ["getfd", of, fd] => getfd(pid(of)?, fd.parse()?),
        ["kill", of, signal] => call(libc::SYS_kill, [pid(of)?.into(), signal.parse()?, 0, 0]),
        ["tgkill", of, signal] => call(
            libc::SYS_tgkill,
            [pid(of)?.into(), pid(of)?.into(), signal.parse()?, 0],
        ),
        ["pidfd-signal", of, signal] => pidfd_open(pid(of)?).and_then(|pidfd| {
            let number = signal.parse().unwrap_or_default();
            call(
                libc::SYS_pidfd_send_signal,
                [pidfd.as_raw_fd().into(), number, 0, 0],
            )
        }),
        ["sigqueue", of, signal] => sigqueue(pid(of)?, signal.parse()?),
        ["sigio", of, signal] => sigio(pid(of)?, signal.parse()?),
        ["abstract", name, "stream"] => reach(name, SocketType::STREAM),
        ["abstract", name, "dgram"] => reach(name, SocketType::DGRAM),
        ["abstract", name, "seqpacket"] => reach(name, SocketType::SEQPACKET),
        _ => bail!("what is {words:?}?"),
    })
}

fn ptrace(pid: i32) -> io::Result<()> {
    let request =
        |request: libc::c_uint| call(libc::SYS_ptrace, [request.into(), pid.into(), 0, 0]);
    request(libc::PTRACE_ATTACH)?;
    let mut status = 0;
    // SAFETY: the kernel writes one int.
    unsafe { libc::waitpid(pid, &raw mut status, libc::__WALL) };
    request(libc::PTRACE_DETACH)
}

/// Reads or writes eight bytes of another's memory.
fn vm(number: libc::c_long, pid: i32, at: usize) -> io::Result<()> {
    let mut here = SECRET;
    let local = libc::iovec {
        iov_base: here.as_mut_ptr().cast(),
        iov_len: here.len(),
    };
    let remote = libc::iovec {
        iov_base: std::ptr::without_provenance_mut(at),
        iov_len: here.len(),
    };
    // SAFETY: both vectors are one long; the local one is all of `here`, and the remote one is not of this process.
    let done = unsafe {
        libc::syscall(
            number,
            pid,
            &raw const local,
            1_i64,
            &raw const remote,
            1_i64,
            0_i64,
        )
    };
    match done {
        8 if here == SECRET => Ok(()),
        -1 => Err(io::Error::last_os_error()),
        _ => Err(io::Error::other("not what the victim has")),
    }
}

fn mem(pid: &str, at: u64) -> io::Result<()> {
    let memory = File::options()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))?;
    let mut read = [0; 8];
    memory.read_exact_at(&mut read, at)?;
    assert_eq!(read, SECRET);
    memory.write_all_at(&read, at)
}

fn pidfd_open(pid: i32) -> io::Result<OwnedFd> {
    descriptor(libc::SYS_pidfd_open, [pid.into(), 0, 0, 0])
}

/// Takes a connection, and talks over it.
fn getfd(pid: i32, fd: i64) -> io::Result<()> {
    let pidfd = pidfd_open(pid)?;
    let taken = descriptor(libc::SYS_pidfd_getfd, [pidfd.as_raw_fd().into(), fd, 0, 0])?;
    let mut taken = TcpStream::from(taken);
    taken.write_all(b"x")?;
    taken.read_exact(&mut [0])
}

fn sigqueue(pid: i32, signal: i64) -> io::Result<()> {
    // SAFETY: all zeros is a valid `siginfo_t`.
    let mut info: libc::siginfo_t = unsafe { MaybeUninit::zeroed().assume_init() };
    info.si_code = libc::SI_QUEUE;
    let info = (&raw const info).addr() as i64;
    call(libc::SYS_rt_sigqueueinfo, [pid.into(), signal, info, 0])
}

/// Has the kernel send it, as it tells the owner of a descriptor that there is something to read.
fn sigio(pid: i32, signal: i64) -> io::Result<()> {
    let (ours, mut theirs) = UnixStream::pair()?;
    let set = |what: libc::c_int, value: i64| {
        let fd = ours.as_raw_fd().into();
        call(libc::SYS_fcntl, [fd, what.into(), value, 0])
    };
    set(libc::F_SETOWN, pid.into())?;
    // F_SETSIG of fcntl(2).
    set(10, signal)?;
    set(libc::F_SETFL, libc::O_ASYNC.into())?;
    theirs.write_all(b"x")
}

fn reach(name: &str, kind: SocketType) -> io::Result<()> {
    let ours = socket(AddressFamily::UNIX, kind, None)?;
    connect(&ours, &abstract_address(name, kind)?)?;
    Ok(())
}

fn descriptor(number: libc::c_long, arguments: [i64; 4]) -> io::Result<OwnedFd> {
    let [one, two, three, four] = arguments;
    // SAFETY: these calls touch no memory.
    let fd = unsafe { libc::syscall(number, one, two, three, four) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made it, and nobody else knows it.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

fn call(number: libc::c_long, [one, two, three, four]: [i64; 4]) -> io::Result<()> {
    // SAFETY: the callers pass plain numbers, or addresses of as much memory as the call takes, which lives
    // until it returns.
    match unsafe { libc::syscall(number, one, two, three, four) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
