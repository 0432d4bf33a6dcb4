//! A conversation of two processes over a `SOCK_SEQPACKET` socket: whole messages, and descriptors with them
//! (unix(7), `SCM_RIGHTS`).

use std::{
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
};
use tokio::io::{Interest, unix::AsyncFd};

/// Bytes of a message at most. The kernel takes a message whole, out of a send buffer of twice that at least.
pub const MAX_MESSAGE: usize = 96 * 1024;
/// Descriptors with one message at most; the kernel would take 253 (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 32;

/// A message as it came.
#[derive(Debug, Default)]
pub struct Packet {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What came with it.
    pub descriptors: Vec<OwnedFd>,
}

/// One end.
#[derive(Debug)]
pub struct Packets(AsyncFd<OwnedFd>);

impl Packets {
    /// Two ends of a conversation: one for a child, as it inherits it, and one for this process.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn pair() -> io::Result<(Self, OwnedFd)> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        Ok((Self::of(ours)?, theirs))
    }

    /// Takes a socket that is connected already.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn of(socket: OwnedFd) -> io::Result<Self> {
        rustix::io::ioctl_fionbio(&socket, true)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        // SAFETY: an `OwnedFd` is open for as long as it lives and never changes its number, and the `AsyncFd` owns
        // it.
        let registered = unsafe { AsyncFd::register_with_interest(socket, both) };
        Ok(Self(registered?))
    }

    /// The end of the process that listens at `path`.
    ///
    /// # Errors
    ///
    /// The system's, such as that nobody does.
    pub fn connect(path: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        rustix::net::connect(&socket, &SocketAddrUnix::new(path)?)?;
        Self::of(socket)
    }

    /// Sends a message, and duplicates of descriptors with it.
    ///
    /// # Errors
    ///
    /// The system's: `EMSGSIZE` for one that is too long, `EPIPE` where the other end is gone.
    pub async fn send(&self, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if bytes.len() > MAX_MESSAGE || descriptors.len() > MAX_DESCRIPTORS {
            return Err(rustix::io::Errno::MSGSIZE.into());
        }
        loop {
            let mut ready = self.0.writable().await?;
            match ready.try_io(|fd| send(fd.as_fd(), bytes, descriptors)) {
                Ok(sent) => return sent,
                Err(_would_block) => {}
            }
        }
    }

    /// The next message; `None` where the other end is gone.
    ///
    /// # Errors
    ///
    /// The system's; `InvalidData` for a message that was longer than [`MAX_MESSAGE`], or came with more descriptors
    /// than fit.
    pub async fn receive(&self) -> io::Result<Option<Packet>> {
        loop {
            let mut ready = self.0.readable().await?;
            match ready.try_io(|fd| receive(fd.as_fd())) {
                Ok(received) => return received,
                Err(_would_block) => {}
            }
        }
    }
}

/// Listens at `path`, where nothing is yet. Readable when somebody has come.
///
/// # Errors
///
/// The system's.
pub fn listen(path: &Path) -> io::Result<AsyncFd<OwnedFd>> {
    const BACKLOG: i32 = 64;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    // SAFETY: as for `Packets::of`.
    let registered = unsafe { AsyncFd::register_with_interest(socket, Interest::READABLE) };
    Ok(registered?)
}

impl AsFd for Packets {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Sends a message on a socket of this kind, and waits until it is sent.
///
/// # Errors
///
/// The system's.
pub fn send(fd: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        beside.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    rustix::net::sendmsg(fd, &[IoSlice::new(bytes)], &mut beside, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Sends a message on a socket of this kind, or not where there is no room.
///
/// # Errors
///
/// The system's; `WouldBlock` where there is no room.
pub fn try_send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    rustix::net::send(fd, bytes, flags)?;
    Ok(())
}

/// Waits for the next message on a socket of this kind; `None` where the other end is gone.
///
/// # Errors
///
/// The errors of [`Packets::receive`].
pub fn receive(fd: BorrowedFd<'_>) -> io::Result<Option<Packet>> {
    let mut bytes = vec![0; MAX_MESSAGE];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let got = rustix::net::recvmsg(fd, &mut into, &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let rights = beside.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
        _ => None,
    });
    let descriptors: Vec<_> = rights.flatten().collect();
    if got
        .flags
        .intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC)
    {
        let why = "a message between the proxy and guardd was cut off";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if got.bytes == 0 {
        return Ok(None);
    }
    bytes.truncate(got.bytes);
    Ok(Some(Packet { bytes, descriptors }))
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Read as _};

    use super::*;

    fn on_a_runtime<T>(work: impl Future<Output = T>) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(work)
    }

    #[test]
    fn messages_come_whole_and_with_their_descriptors() {
        on_a_runtime(async {
            let (ours, theirs) = Packets::pair().unwrap();
            let theirs = Packets::of(theirs).unwrap();
            let mut file = tempfile::tempfile().unwrap();
            std::io::Write::write_all(&mut file, b"shared").unwrap();
            std::io::Seek::rewind(&mut file).unwrap();
            ours.send(b"first", &[file.as_fd()]).await.unwrap();
            ours.send(b"second", &[]).await.unwrap();
            let first = theirs.receive().await.unwrap().unwrap();
            assert_eq!(first.bytes, b"first");
            let mut text = String::new();
            let [passed] = <[OwnedFd; 1]>::try_from(first.descriptors).unwrap();
            File::from(passed).read_to_string(&mut text).unwrap();
            assert_eq!(text, "shared");
            let second = theirs.receive().await.unwrap().unwrap();
            assert_eq!(
                (second.bytes, second.descriptors.len()),
                (b"second".to_vec(), 0)
            );
            drop(ours);
            assert!(theirs.receive().await.unwrap().is_none());
        });
    }

    #[test]
    fn whoever_listens_is_connected_to() {
        on_a_runtime(async {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("proxy.sock");
            let listener = listen(&path).unwrap();
            let theirs = Packets::connect(&path).unwrap();
            let _ready = listener.readable().await.unwrap();
            let ours = rustix::net::accept(listener.get_ref()).unwrap();
            let ours = Packets::of(ours).unwrap();
            theirs.send(b"here", &[]).await.unwrap();
            assert_eq!(ours.receive().await.unwrap().unwrap().bytes, b"here");
            assert!(listen(&path).is_err(), "it is in use");
        });
    }

    #[test]
    fn the_longest_message_passes_and_a_longer_one_is_refused() {
        on_a_runtime(async {
            let (ours, theirs) = Packets::pair().unwrap();
            let theirs = Packets::of(theirs).unwrap();
            let long = vec![b'x'; MAX_MESSAGE + 1];
            assert!(ours.send(&long, &[]).await.is_err());
            ours.send(&long[1..], &[]).await.unwrap();
            let got = theirs.receive().await.unwrap().unwrap();
            assert_eq!(got.bytes.len(), MAX_MESSAGE);
        });
    }

    #[test]
    fn whoever_sends_too_much_waits() {
        on_a_runtime(async {
            let (ours, theirs) = Packets::pair().unwrap();
            let theirs = Packets::of(theirs).unwrap();
            let send = async {
                for number in 0..1000_u32 {
                    ours.send(&number.to_le_bytes(), &[]).await.unwrap();
                }
            };
            let receive = async {
                for number in 0..1000_u32 {
                    let got = theirs.receive().await.unwrap().unwrap();
                    assert_eq!(got.bytes, number.to_le_bytes());
                }
            };
            tokio::join!(send, receive);
        });
    }
}
