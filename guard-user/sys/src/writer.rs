//! The writer of what is read from a Unix socket: SCM_CREDENTIALS, unix(7).

use std::io;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _};
use std::ptr::from_mut;

/// Room for one message with credentials, and for nothing else: descriptors that come along find none, and the kernel closes
/// them.
#[repr(C, align(8))]
struct CredentialsRoom([u8; CREDENTIALS]);

// SAFETY: it only counts.
const CREDENTIALS: usize = unsafe { libc::CMSG_LEN(size_of::<libc::ucred>() as u32) } as usize;

/// What one process has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenBy {
    /// Bytes that were read.
    pub length: usize,
    /// The process, as this process' pid namespace counts; 0 where the kernel says nothing of it: the socket has no
    /// `SO_PASSCRED`, had none when that was written, or the process is not to be seen from here.
    pub process: u32,
}

/// Reads what one process has written, as far as it fits, without waiting. The kernel gives no more than one writer's at a time.
///
/// # Errors
///
/// The system's; `WouldBlock` where there is nothing to read.
pub fn read_from(socket: impl AsFd, into: &mut [u8]) -> io::Result<WrittenBy> {
    let mut room = MaybeUninit::<CredentialsRoom>::zeroed();
    let mut part = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: zeroes make a message header: null pointers, and no lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_iov = from_mut(&mut part);
    header.msg_iovlen = 1;
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = CREDENTIALS as _;
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
    // SAFETY: the header points to buffers of the lengths that it has, and they outlive the call.
    let read = unsafe { libc::recvmsg(socket.as_fd().as_raw_fd(), &raw mut header, flags) };
    let length = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    Ok(WrittenBy {
        length,
        process: writer(&header),
    })
}

fn writer(header: &libc::msghdr) -> u32 {
    // SAFETY: the kernel has written the header, and its control buffer lives.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() };
    let Some(first) = first else { return 0 };
    // It is a `u32` in musl.
    #[allow(clippy::unnecessary_cast)]
    let is_whole = first.cmsg_len as usize >= CREDENTIALS;
    if (first.cmsg_level, first.cmsg_type) != (libc::SOL_SOCKET, libc::SCM_CREDENTIALS) || !is_whole
    {
        return 0;
    }
    // SAFETY: the message is as long as credentials are; it need not be aligned.
    let credentials: libc::ucred = unsafe {
        libc::CMSG_DATA(first)
            .cast::<libc::ucred>()
            .read_unaligned()
    };
    u32::try_from(credentials.pid).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::net::UnixStream;
    use std::process::{Command, Stdio};

    use rustix::net::sockopt::set_socket_passcred;

    use super::*;

    fn written(length: usize, process: u32) -> WrittenBy {
        WrittenBy { length, process }
    }

    #[test]
    fn writers_are_told_apart() {
        let (reader, writer) = UnixStream::pair().unwrap();
        set_socket_passcred(&reader, true).unwrap();
        (&writer).write_all(b"own").unwrap();
        let other = Stdio::from(std::os::fd::OwnedFd::from(writer.try_clone().unwrap()));
        let mut echo = Command::new("echo")
            .arg("other")
            .stdout(other)
            .spawn()
            .unwrap();
        echo.wait().unwrap();
        let mut buffer = [0; 64];
        let own = std::process::id();
        assert_eq!(read_from(&reader, &mut buffer).unwrap(), written(3, own));
        let echoed = read_from(&reader, &mut buffer).unwrap();
        assert_eq!(echoed, written(6, echo.id()));
        let nothing = read_from(&reader, &mut buffer).unwrap_err();
        assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
        drop((writer, echo));
        assert_eq!(read_from(&reader, &mut buffer).unwrap().length, 0);
    }

    #[test]
    fn what_nobody_is_known_to_have_written_is_nobodys() {
        let (reader, mut writer) = UnixStream::pair().unwrap();
        writer.write_all(b"early").unwrap();
        assert_eq!(read_from(&reader, &mut [0; 64]).unwrap(), written(5, 0));
    }

    #[test]
    fn descriptors_are_not_taken() {
        use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
        let (reader, writer) = UnixStream::pair().unwrap();
        set_socket_passcred(&reader, true).unwrap();
        let (watched, given) = std::io::pipe().unwrap();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        let fds = [given.as_fd()];
        rights.push(SendAncillaryMessage::ScmRights(&fds));
        let part = [std::io::IoSlice::new(b"x")];
        sendmsg(&writer, &part, &mut rights, SendFlags::empty()).unwrap();
        let own = std::process::id();
        assert_eq!(read_from(&reader, &mut [0; 64]).unwrap(), written(1, own));
        drop(given);
        // The other end is closed.
        assert_eq!(std::io::read_to_string(watched).unwrap(), "");
    }
}
