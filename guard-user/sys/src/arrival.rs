//! Datagrams, and when each of them arrived: what is known of their senders may be about later ones.

use std::{
    io,
    mem::{MaybeUninit, size_of},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd as _},
    ptr::from_mut,
};

use guard_common::BootTime;
use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::{call::set_option, clock};

/// Room for one message with a time, and for nothing else.
#[repr(C, align(8))]
struct StampRoom([u8; STAMP]);

// SAFETY: it only counts.
const STAMP: usize = unsafe { libc::CMSG_LEN(size_of::<libc::timespec>() as u32) } as usize;

/// A datagram as it came.
#[derive(Clone, Copy, Debug)]
pub struct Datagram {
    /// Its bytes.
    pub length: usize,
    /// Its sender.
    pub from: SocketAddr,
    /// When the kernel got it; 0 where it does not say.
    pub arrived: BootTime,
}

/// Has the kernel say of each datagram that a socket receives when it arrived (`SO_TIMESTAMPNS`, socket(7)).
///
/// # Errors
///
/// The system's.
pub fn tell(socket: impl AsFd) -> io::Result<()> {
    set_option(socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
}

/// Receives a datagram, as far as it fits, without waiting.
///
/// # Errors
///
/// The system's; `WouldBlock` where there is none.
pub fn receive(socket: impl AsFd, into: &mut [u8]) -> io::Result<Datagram> {
    let mut room = MaybeUninit::<StampRoom>::zeroed();
    let mut sender = MaybeUninit::<libc::sockaddr_in6>::zeroed();
    let mut part = libc::iovec {
        iov_base: into.as_mut_ptr().cast(),
        iov_len: into.len(),
    };
    // SAFETY: zeroes make a message header: null pointers, and no lengths.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    header.msg_name = sender.as_mut_ptr().cast();
    header.msg_namelen = size_of::<libc::sockaddr_in6>() as libc::socklen_t;
    header.msg_iov = from_mut(&mut part);
    header.msg_iovlen = 1;
    header.msg_control = room.as_mut_ptr().cast();
    header.msg_controllen = STAMP as _;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the header points to buffers of the lengths that it has, and they outlive the call.
    let read = unsafe { libc::recvmsg(fd, &raw mut header, libc::MSG_DONTWAIT) };
    let length = usize::try_from(read).map_err(|_| io::Error::last_os_error())?;
    Ok(Datagram {
        length,
        // SAFETY: zeroed at first; all bytes are numbers.
        from: address(unsafe { sender.assume_init_ref() })?,
        arrived: stamp(&header).map_or(BootTime(0), boot_time),
    })
}

/// The sender, of either family: the shorter address lies in the room of the longer.
fn address(sender: &libc::sockaddr_in6) -> io::Result<SocketAddr> {
    match i32::from(sender.sin6_family) {
        libc::AF_INET6 => {
            let ip = Ipv6Addr::from(sender.sin6_addr.s6_addr);
            let port = u16::from_be(sender.sin6_port);
            Ok(SocketAddrV6::new(ip, port, sender.sin6_flowinfo, sender.sin6_scope_id).into())
        }
        libc::AF_INET => {
            // Family and port lie alike, and the address where the other has its flow (ip(7), ipv6(7)).
            let ip = Ipv4Addr::from(sender.sin6_flowinfo.to_ne_bytes());
            Ok((ip, u16::from_be(sender.sin6_port)).into())
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn stamp(header: &libc::msghdr) -> Option<Timespec> {
    // SAFETY: the kernel has written the header, and its control buffer lives.
    let first = unsafe { libc::CMSG_FIRSTHDR(header).as_ref() }?;
    // It is a `u32` in musl.
    #[allow(clippy::unnecessary_cast)]
    let is_whole = first.cmsg_len as usize >= STAMP;
    let is_stamp = (first.cmsg_level, first.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS);
    // SAFETY: the message is as long as a time is; it need not be aligned.
    (is_stamp && is_whole).then(|| unsafe {
        let stamp = libc::CMSG_DATA(first)
            .cast::<libc::timespec>()
            .read_unaligned();
        Timespec {
            tv_sec: stamp.tv_sec,
            tv_nsec: stamp.tv_nsec,
        }
    })
}

/// When that was since boot, or a moment later: as much later as it takes to read the clocks. They run alike, so what is between
/// them changes only when somebody sets the calendar's.
fn boot_time(calendar: Timespec) -> BootTime {
    /// Nanoseconds that it may take: nobody closes a socket and opens another meanwhile.
    const SOON: u64 = 1000;
    const TRIES: usize = 8;
    let mut best = (u64::MAX, 0);
    for _ in 0..TRIES {
        let (before, now, after) = (clock::now(), clock_gettime(ClockId::Realtime), clock::now());
        let took = after.0 - before.0;
        if took < best.0 {
            best = (took, i128::from(after.0) - nanos(now));
        }
        if took < SOON {
            break;
        }
    }
    let since_boot = (nanos(calendar) + best.1).clamp(0, i128::from(u64::MAX));
    BootTime(since_boot as u64)
}

fn nanos(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, thread, time::Duration};

    use super::*;

    #[test]
    fn a_datagram_arrives_when_it_was_sent_and_not_when_it_is_read() {
        for at in ["127.0.0.1:0", "[::1]:0"] {
            let receiver = UdpSocket::bind(at).unwrap();
            tell(&receiver).unwrap();
            let sender = UdpSocket::bind(at).unwrap();
            let send = || {
                let before = clock::now();
                sender
                    .send_to(b"text", receiver.local_addr().unwrap())
                    .unwrap();
                (before, clock::now())
            };
            // The kernel begins to look at the clock some time after it is told to.
            loop {
                let (_, after) = send();
                thread::sleep(Duration::from_millis(5));
                let first = receive(&receiver, &mut [0; 8]).unwrap();
                if first.arrived.0 < after.0 + 1_000_000 {
                    break;
                }
            }
            for _ in 0..100 {
                let (before, after) = send();
                thread::sleep(Duration::from_millis(1));
                let mut buffer = [0; 8];
                let got = receive(&receiver, &mut buffer).unwrap();
                assert_eq!((got.length, got.from), (4, sender.local_addr().unwrap()));
                assert_eq!(&buffer[..4], b"text");
                let late = 100_000;
                assert!(before.0 <= got.arrived.0 && got.arrived.0 <= after.0 + late);
            }
            let none = receive(&receiver, &mut [0; 8]).unwrap_err();
            assert_eq!(none.kind(), io::ErrorKind::WouldBlock);
        }
    }

    #[test]
    fn without_being_told_to_the_kernel_says_no_time() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = receiver.local_addr().unwrap();
        receiver.send_to(b"x", at).unwrap();
        assert_eq!(
            receive(&receiver, &mut [0; 8]).unwrap().arrived,
            BootTime(0)
        );
    }
}
