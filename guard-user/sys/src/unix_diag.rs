//! Which socket is bound at a file, and which is at the other end of one: unix_diag, sock_diag(7).

use std::{
    fs, io,
    os::fd::{AsFd, AsRawFd as _},
};

use netlink_packet_core::{Emitable as _, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::{
    SockDiagMessage,
    unix::{
        ShowFlags, StateFlags, UnixRequest,
        nlas::{Nla, Vfs},
    },
};
use rustix::{
    fs::{fstat, makedev},
    net::sockopt::socket_cookie,
};

use super::sock_diag::Diag;

/// `TCP_ESTABLISHED` of net/tcp_states.h: what one connection has accepted bears the file of its listener, too.
const ESTABLISHED: u8 = 1;
/// `SOCK_STREAM`, `SOCK_SEQPACKET`: those that listen. The others are bound in whatever state.
const CONNECTING: [u8; 2] = [1, 5];

/// A socket. Its number may be another's later, for the kernel counts them in 32 bits; its cookie (`SO_COOKIE`) never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BoundSocket {
    /// The N of `socket:[N]` in `/proc/PID/fd`.
    pub number: u64,
    /// What tells it from all others.
    pub cookie: u64,
    /// Whether it is sure to be bound at that file. The kernel tells the lower half of a file's number and the device of
    /// the whole file system, where numbers may be those of several files (a subvolume of Btrfs has its own): a
    /// socket in this network namespace may be bound at another one, while that of the file is in another namespace.
    pub is_sure: bool,
}

/// A file as the kernel tells of it where a socket is bound there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SocketFile {
    /// Its number.
    pub inode: u64,
    /// The device of its file system.
    pub device: u64,
    /// See [`BoundSocket::is_sure`].
    pub is_sure: bool,
}

impl SocketFile {
    /// The socket of an open file: the number is no other's while that is open.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of(file: impl AsFd) -> io::Result<Self> {
        let meta = fstat(file.as_fd())?;
        let device = device(&file).unwrap_or(meta.st_dev);
        Ok(Self {
            inode: meta.st_ino,
            device,
            is_sure: device == meta.st_dev && u32::try_from(meta.st_ino).is_ok(),
        })
    }
}

/// The socket that whoever connects to this file reaches. None
/// where nothing listens there in the network namespace of this thread.
///
/// # Errors
///
/// The system's.
pub fn socket_at(file: SocketFile) -> io::Result<Option<BoundSocket>> {
    let mut diag = Diag::open()?;
    let request = SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: StateFlags::from_bits_retain(u32::MAX),
        inode: 0,
        show_flags: ShowFlags::VFS,
        cookie: [0xff; 8],
    });
    diag.send(NLM_F_REQUEST | NLM_F_DUMP, request)?;
    let mut found = Vec::new();
    diag.receive(|message: SockDiagMessage| {
        let SockDiagMessage::UnixResponse(socket) = message else {
            return;
        };
        let header = &socket.header;
        let is_bound = header.state != ESTABLISHED || !CONNECTING.contains(&header.kind);
        let is_there = socket.nlas.iter().any(|nla| match nla {
            Nla::Vfs(vfs) => is_at(vfs, file.inode, file.device),
            _ => false,
        });
        if is_bound && is_there {
            found.push(BoundSocket {
                number: u64::from(header.inode),
                cookie: u64::from_ne_bytes(header.cookie),
                is_sure: file.is_sure,
            });
        }
    })?;
    let only = found.pop();
    if found.is_empty() {
        Ok(only)
    } else {
        Err(io::Error::other("two sockets seem to be bound there"))
    }
}

/// The number of the socket at the other end of `socket`, as `socket:[N]` in `/proc/PID/fd` has it; both are of the network
/// namespace of this thread.
///
/// # Errors
///
/// The system's; `NotFound` where it is of another one, or nobody is at the other end any more.
pub fn peer_of(socket: impl AsFd) -> io::Result<u64> {
    let number = fstat(&socket)?.st_ino;
    let mut diag = Diag::open()?;
    let request = SockDiagMessage::UnixRequest(UnixRequest {
        state_flags: StateFlags::from_bits_retain(u32::MAX),
        inode: u32::try_from(number).map_err(io::Error::other)?,
        show_flags: ShowFlags::PEER,
        cookie: socket_cookie(&socket)?.to_ne_bytes(),
    });
    diag.send(NLM_F_REQUEST | NLM_F_ACK, request)?;
    let mut found = None;
    diag.receive(|message: SockDiagMessage| {
        let SockDiagMessage::UnixResponse(socket) = message else {
            return;
        };
        let mut known = socket.nlas.iter();
        found = known.find_map(|nla| match nla {
            Nla::Peer(number) => Some(u64::from(*number)),
            _ => None,
        });
    })?;
    // A connection that nobody has accepted has the number 0.
    let found = found.filter(|number| *number != 0);
    found.ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// Whether a `struct unix_diag_vfs` is about that file.
fn is_at(vfs: &Vfs, inode: u64, device: u64) -> bool {
    let mut fields = [0_u8; 8];
    vfs.emit(&mut fields);
    let [a, b, c, d, e, f, g, h] = fields;
    let [number, on] = [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes);
    u64::from(number) == inode & u64::from(u32::MAX) && of_kernel(on) == device
}

/// `dev_t` within the kernel (linux/kdev_t.h) as programs have it.
fn of_kernel(device: u32) -> u64 {
    makedev(device >> 20, device & 0xf_ffff)
}

/// The device of the file system that a file is on. Some file systems tell programs of others (Btrfs has one for each
/// subvolume); /proc/PID/mountinfo has the one that the kernel means.
fn device(file: &impl AsFd) -> Option<u64> {
    let info =
        fs::read_to_string(format!("/proc/self/fdinfo/{}", file.as_fd().as_raw_fd())).ok()?;
    let mount = info.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    let table = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let line = table
        .lines()
        .map(|line| line.split(' '))
        .find(|line| line.clone().next() == Some(mount.trim()));
    let (high, low) = line?.nth(2)?.split_once(':')?;
    Some(makedev(high.parse().ok()?, low.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use std::{
        fs::File,
        os::unix::{
            fs::OpenOptionsExt as _,
            net::{UnixDatagram, UnixListener, UnixStream},
        },
        path::Path,
    };

    use super::*;

    fn at(path: &Path) -> Option<(u64, u64)> {
        let flags = rustix::fs::OFlags::PATH.bits().cast_signed();
        let file = File::options().read(true).custom_flags(flags).open(path);
        let found = socket_at(SocketFile::of(file.unwrap()).unwrap()).unwrap();
        found.map(|socket| (socket.number, socket.cookie))
    }

    fn number(socket: &impl AsFd) -> (u64, u64) {
        let cookie = socket_cookie(socket).unwrap();
        (fstat(socket).unwrap().st_ino, cookie)
    }

    #[test]
    fn listeners_are_found_and_not_what_they_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream");
        let listener = UnixListener::bind(&path).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        let _accepted = listener.accept().unwrap();
        assert_eq!(at(&path), Some(number(&listener)));
        drop(listener);
        assert_eq!(at(&path), None);
        let path = dir.path().join("datagram");
        let socket = UnixDatagram::bind(&path).unwrap();
        assert_eq!(at(&path), Some(number(&socket)));
        let moved = dir.path().join("moved");
        fs::rename(path, &moved).unwrap();
        assert_eq!(at(&moved), Some(number(&socket)));
        assert_eq!(at(dir.path()), None);
    }

    #[test]
    fn both_ends_know_each_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stream");
        let listener = UnixListener::bind(&path).unwrap();
        let client = UnixStream::connect(&path).unwrap();
        assert!(peer_of(&client).is_err(), "it is not accepted yet");
        let (accepted, _) = listener.accept().unwrap();
        assert_eq!(peer_of(&accepted).unwrap(), number(&client).0);
        assert_eq!(peer_of(&client).unwrap(), number(&accepted).0);
        assert_eq!(
            peer_of(&listener).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        let elsewhere = std::thread::spawn(move || {
            super::super::netns::enter_a_new_one();
            peer_of(accepted).unwrap_err().kind()
        });
        assert_eq!(elsewhere.join().unwrap(), io::ErrorKind::NotFound);
        let no_socket = tempfile::tempfile().unwrap();
        assert!(peer_of(no_socket).is_err());
    }

    #[test]
    fn devices_are_the_kernels() {
        assert_eq!(of_kernel(8 << 20 | 1), makedev(8, 1));
        let file = tempfile::tempfile().unwrap();
        let device = device(&file).unwrap();
        assert_eq!(device, fstat(&file).unwrap().st_dev);
    }
}
