//! The system calls that no safe wrapper offers.
#![allow(unsafe_code, reason = "the one place for it")]

pub(crate) mod bpf;
pub(crate) mod sched;
pub(crate) mod trace;
pub(crate) mod uring;

use std::io;
use std::mem::{MaybeUninit, size_of, size_of_val};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use libc::{
    c_int, c_uint, c_void, cmsghdr, in_pktinfo, in6_pktinfo, iovec, mmsghdr, msghdr, socklen_t,
};
use rustix::fd::{AsFd, AsRawFd as _, FromRawFd as _, OwnedFd};
use socket2::SockAddr;

/// `setsockopt` with a value of any length.
pub(crate) fn set_option(fd: impl AsFd, level: c_int, name: c_int, value: &[u8]) -> io::Result<()> {
    // SAFETY: the kernel reads value.len() bytes at value, and the descriptor is open.
    let done = unsafe {
        libc::setsockopt(
            fd.as_fd().as_raw_fd(),
            level,
            name,
            value.as_ptr().cast(),
            length(value),
        )
    };
    check(done).map(drop)
}

/// `sendmmsg` of `payload` to each of `destinations`. Gives how many were sent.
pub(crate) fn send_many(
    fd: impl AsFd,
    payload: &[u8],
    destinations: &[SockAddr],
) -> io::Result<usize> {
    let mut data = iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    let mut messages: Vec<mmsghdr> = destinations
        .iter()
        .map(|to| mmsghdr {
            msg_hdr: header(to, &mut data, &mut []),
            msg_len: 0,
        })
        .collect();
    // SAFETY: every header points to `data` and to an address of `destinations`, both alive, which
    // sendmmsg only reads; it writes msg_len in `messages`.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_fd().as_raw_fd(),
            messages.as_mut_ptr(),
            messages.len() as c_uint,
            0,
        )
    };
    check(sent).map(|sent| sent as usize)
}

/// Sends an IPv4 packet through a device, from a packet socket of type `SOCK_DGRAM`.
pub(crate) fn send_through(
    fd: impl AsFd,
    device: u32,
    mac: [u8; 6],
    packet: &[u8],
) -> io::Result<()> {
    let mut link = [0; 8];
    link[..6].copy_from_slice(&mac);
    let to = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_IP as u16).to_be(),
        sll_ifindex: device as c_int,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 6,
        sll_addr: link,
    };
    // SAFETY: the kernel reads packet.len() bytes at packet and the whole of `to`.
    let sent = unsafe {
        libc::sendto(
            fd.as_fd().as_raw_fd(),
            packet.as_ptr().cast(),
            packet.len(),
            0,
            (&raw const to).cast(),
            size_of_val(&to) as socklen_t,
        )
    };
    check_long(sent).map(drop)
}

/// Calls for which the kernel looks first whether one may, with arguments that mean nothing. `None` for others.
pub(crate) fn ask_kernel(what: &str) -> Option<io::Result<()>> {
    let nothing = c"".as_ptr();
    // SAFETY: each reads a string with its end, or nothing, and does nothing: the descriptors, flags and numbers are wrong.
    let done = unsafe {
        match what {
            "module" => libc::syscall(libc::SYS_finit_module, -1_isize, nothing, 0_usize),
            "kexec" => libc::syscall(libc::SYS_kexec_load, 0_usize, 0_usize, 0_usize, u64::MAX),
            "reboot" => libc::syscall(libc::SYS_reboot, 0_usize, 0_usize, 0_usize, 0_usize),
            "log" => libc::syscall(libc::SYS_syslog, 10_usize, 0_usize, 0_usize),
            _ => return None,
        }
    };
    Some(check_long(done as isize).map(drop))
}

/// `io_uring_setup` with one entry.
pub(crate) fn io_uring() -> io::Result<OwnedFd> {
    // struct io_uring_params of linux/io_uring.h: 120 bytes, zero where nothing is asked for.
    let mut params = [0_u64; 15];
    // SAFETY: the kernel reads and writes 120 bytes at params.
    let fd = unsafe { libc::syscall(libc::SYS_io_uring_setup, 1_usize, params.as_mut_ptr()) };
    let fd = check_long(fd as isize)? as c_int;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// `socket` by the call that a 32-bit program would make; it works in a 64-bit one too.
#[cfg(target_arch = "x86_64")]
pub(crate) fn socket_of_i386(family: c_int, kind: c_int) -> io::Result<OwnedFd> {
    /// In arch/x86/entry/syscalls/syscall_32.tbl.
    const SOCKET: u64 = 359;
    let mut result = SOCKET;
    // SAFETY: the call takes numbers only. rbx belongs to the compiler, and is put back; the registers that the kernel may
    // change are declared.
    unsafe {
        std::arch::asm!(
            "xchg {family}, rbx",
            "int 0x80",
            "xchg {family}, rbx",
            family = inout(reg) family as u64 => _,
            inout("rax") result,
            in("rcx") kind as u64,
            in("rdx") 0_u64,
            out("r8") _, out("r9") _, out("r10") _, out("r11") _,
        );
    }
    let result = result as i32;
    if result < 0 {
        return Err(io::Error::from_raw_os_error(-result));
    }
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

/// There are no such calls.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn socket_of_i386(_: c_int, _: c_int) -> io::Result<OwnedFd> {
    Err(io::Error::from_raw_os_error(libc::ENOSYS))
}

/// Takes packets to and from a TUN device of that name (`TUNSETIFF` with `IFF_TUN | IFF_NO_PI`).
pub(crate) fn attach_tun(fd: impl AsFd, name: &str) -> io::Result<()> {
    // struct ifreq of linux/if.h: 16 bytes of name, then the flags.
    let mut request = [0_u8; 40];
    let length = name.len().min(15);
    request[..length].copy_from_slice(&name.as_bytes()[..length]);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request[16..18].copy_from_slice(&(flags as u16).to_ne_bytes());
    // SAFETY: the kernel reads and writes 40 bytes at request.
    let done = unsafe {
        libc::ioctl(
            fd.as_fd().as_raw_fd(),
            libc::TUNSETIFF as _,
            request.as_mut_ptr(),
        )
    };
    check(done).map(drop)
}

/// Puts a key into a terminal's input (`TIOCSTI`).
pub(crate) fn type_key(terminal: impl AsFd, key: u8) -> io::Result<()> {
    // SAFETY: the kernel reads a byte at key.
    let done = unsafe { libc::ioctl(terminal.as_fd().as_raw_fd(), libc::TIOCSTI, &raw const key) };
    check(done).map(drop)
}

/// Another descriptor for one that this process was started with.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    // SAFETY: whether it is open is what the call says; it is only duplicated.
    let fd = check(unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, 3_usize) })?;
    // SAFETY: the call succeeded, so this is a new descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A text in this process's memory, which others may write to behind its back.
pub(crate) struct Shared(Box<[u8; Self::LENGTH]>);

impl Shared {
    const LENGTH: usize = 40;

    pub(crate) fn new(text: &str) -> Self {
        Self(Box::new(Self::padded(text)))
    }

    /// As it stands in memory.
    pub(crate) fn padded(text: &str) -> [u8; Self::LENGTH] {
        let mut padded = [b' '; Self::LENGTH];
        padded[..text.len()].copy_from_slice(text.as_bytes());
        padded
    }

    pub(crate) fn place(&self) -> u64 {
        self.0.as_ptr() as u64
    }

    pub(crate) fn text(&self) -> String {
        // SAFETY: an aligned array of bytes that lives as long as this value.
        let now = unsafe { (&raw const *self.0).read_volatile() };
        String::from_utf8_lossy(&now).trim().to_owned()
    }
}

/// Writes into another process's memory (`process_vm_writev`).
pub(crate) fn write_memory(pid: i32, place: u64, bytes: &[u8]) -> io::Result<()> {
    let data = iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let there = iovec {
        iov_base: std::ptr::without_provenance_mut(place as usize),
        iov_len: bytes.len(),
    };
    // SAFETY: our bytes are only read; the kernel checks where they go to.
    let written =
        unsafe { libc::process_vm_writev(pid, &raw const data, 1, &raw const there, 1, 0) };
    check_long(written).map(drop)
}

/// Reads another process's memory (`process_vm_readv`).
pub(crate) fn read_memory(pid: i32, place: u64, length: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let here = iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: length,
    };
    let there = iovec {
        iov_base: std::ptr::without_provenance_mut(place as usize),
        iov_len: length,
    };
    // SAFETY: the kernel writes `length` bytes at most to `bytes`, and checks where they come from.
    let read = unsafe { libc::process_vm_readv(pid, &raw const here, 1, &raw const there, 1, 0) };
    bytes.truncate(check_long(read)? as usize);
    Ok(bytes)
}

/// In linux/sched.h.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Runs `work` in a child that is made in a cgroup (`clone3` with `CLONE_INTO_CGROUP`), and says what it gave.
pub(crate) fn clone_into(cgroup: impl AsFd, work: impl FnOnce() -> bool) -> io::Result<bool> {
    // struct clone_args of linux/sched.h, as words.
    let mut args = [0_u64; 11];
    args[0] = CLONE_INTO_CGROUP;
    args[4] = libc::SIGCHLD as u64;
    args[10] = cgroup.as_fd().as_raw_fd() as u64;
    // SAFETY: no memory is shared, so the child has a copy of this thread, and there is no other.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, args.as_ptr(), size_of_val(&args)) };
    let pid = check_long(pid as isize)? as c_int;
    if pid == 0 {
        std::process::exit(i32::from(!work()));
    }
    let mut status = 0;
    // SAFETY: the kernel writes an int at `status`.
    check(unsafe { libc::waitpid(pid, &raw mut status, 0) })?;
    Ok(status == 0)
}

/// Room for one control message, aligned as the kernel and the CMSG macros want it.
type Control = [u64; 8];

/// Receives a datagram: its length, its sender, and the address that it was sent to. The latter wants
/// `IP_PKTINFO` or `IPV6_RECVPKTINFO` on the socket.
pub(crate) fn receive(fd: impl AsFd, buffer: &mut [u8]) -> io::Result<(usize, SockAddr, IpAddr)> {
    let mut control: Control = [0; 8];
    let mut data = iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    let mut received = 0;
    // SAFETY: try_init gives memory of that length for an address. The header points to it, to `data`
    // and to `control`, all alive and as long as it says; the kernel sets the address's length.
    let (control_length, from) = unsafe {
        SockAddr::try_init(|address, length| {
            let mut message: msghdr = MaybeUninit::zeroed().assume_init();
            message.msg_name = address.cast();
            message.msg_namelen = *length;
            message.msg_iov = &raw mut data;
            message.msg_iovlen = 1;
            message.msg_control = control.as_mut_ptr().cast();
            message.msg_controllen = size_of::<Control>();
            let count = libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, 0);
            received = check_long(count)?;
            *length = message.msg_namelen;
            Ok(message.msg_controllen)
        })?
    };
    let to = destination(&control, control_length)
        .ok_or_else(|| io::Error::other("the kernel did not say where the datagram was sent"))?;
    Ok((received, from, to))
}

/// What an `IP_PKTINFO` or `IPV6_PKTINFO` message says.
fn destination(control: &Control, length: usize) -> Option<IpAddr> {
    if length < size_of::<cmsghdr>() {
        return None;
    }
    // SAFETY: control is large enough, aligned, and all of it was initialised.
    let header = unsafe { control.as_ptr().cast::<cmsghdr>().read() };
    // SAFETY: a message of that kind holds that structure, behind a header of a whole number of words.
    let data = unsafe { control.as_ptr().byte_add(size_of::<cmsghdr>()) };
    match (header.cmsg_level, header.cmsg_type) {
        (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
            // SAFETY: as above.
            let info = unsafe { data.cast::<in_pktinfo>().read() };
            Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into())
        }
        (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
            // SAFETY: as above.
            let info = unsafe { data.cast::<in6_pktinfo>().read() };
            Some(Ipv6Addr::from(info.ipi6_addr.s6_addr).into())
        }
        _ => None,
    }
}

/// Sends a datagram from an address of this machine, whatever the socket is bound to.
pub(crate) fn send_from(
    fd: impl AsFd,
    payload: &[u8],
    to: &SockAddr,
    from: IpAddr,
) -> io::Result<()> {
    let mut control: Control = [0; 8];
    let used = source(&mut control, from);
    let mut data = iovec {
        iov_base: payload.as_ptr().cast_mut().cast(),
        iov_len: payload.len(),
    };
    let message = header(to, &mut data, &mut control[..used]);
    // SAFETY: the header points to `to`, `data` and `control`, all alive; sendmsg only reads them.
    let sent = unsafe { libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const message, 0) };
    check_long(sent).map(drop)
}

/// Writes the control message that sets the source; gives how many words of it are used.
fn source(control: &mut Control, from: IpAddr) -> usize {
    let start = control.as_mut_ptr();
    let (level, kind, length) = match from {
        IpAddr::V4(_) => (libc::IPPROTO_IP, libc::IP_PKTINFO, size_of::<in_pktinfo>()),
        IpAddr::V6(_) => (
            libc::IPPROTO_IPV6,
            libc::IPV6_PKTINFO,
            size_of::<in6_pktinfo>(),
        ),
    };
    let total = size_of::<cmsghdr>() + length;
    // SAFETY: zeroed integers are a valid header, and the structures, of integers too, fit: a header is
    // 16 bytes, the larger of them 20, the buffer 64. Both are aligned to four bytes or less than a word.
    unsafe {
        let mut header: cmsghdr = MaybeUninit::zeroed().assume_init();
        header.cmsg_len = total;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        start.cast::<cmsghdr>().write(header);
        let data = start.byte_add(size_of::<cmsghdr>());
        match from {
            IpAddr::V4(from) => data.cast::<in_pktinfo>().write(in_pktinfo {
                ipi_ifindex: 0,
                ipi_spec_dst: libc::in_addr {
                    s_addr: from.to_bits().to_be(),
                },
                ipi_addr: libc::in_addr { s_addr: 0 },
            }),
            IpAddr::V6(from) => data.cast::<in6_pktinfo>().write(in6_pktinfo {
                ipi6_addr: libc::in6_addr {
                    s6_addr: from.octets(),
                },
                ipi6_ifindex: 0,
            }),
        }
    }
    total.div_ceil(size_of::<u64>())
}

/// An IPv4 address whose family says nothing, which UDP takes all the same.
pub(crate) fn without_family(to: SocketAddr) -> io::Result<SockAddr> {
    let SocketAddr::V4(to) = to else {
        return Err(io::Error::from_raw_os_error(libc::EAFNOSUPPORT));
    };
    let bare = libc::sockaddr_in {
        sin_family: libc::AF_UNSPEC as u16,
        sin_port: to.port().to_be(),
        sin_addr: libc::in_addr {
            s_addr: to.ip().to_bits().to_be(),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: try_init gives memory that any address fits into, and is told how much of it is written.
    let made = unsafe {
        SockAddr::try_init(|storage, length| {
            storage.cast::<libc::sockaddr_in>().write(bare);
            *length = size_of_val(&bare) as socklen_t;
            Ok(())
        })
    };
    made.map(|((), address)| address)
}

/// Gives the controlling terminal up, for this process and those that it starts (`TIOCNOTTY`, ioctl_tty(2)). Another test of this
/// process may have done so since it was opened.
pub(crate) fn leave_terminal(tty: impl AsFd) -> io::Result<()> {
    // SAFETY: this request takes no argument, and the descriptor is open.
    let done = unsafe { libc::ioctl(tty.as_fd().as_raw_fd(), libc::TIOCNOTTY) };
    match check(done) {
        Err(error) if error.raw_os_error() == Some(libc::ENOTTY) => Ok(()),
        done => done.map(drop),
    }
}

/// A header for sending. It points to its arguments and must not outlive them.
fn header(to: &SockAddr, data: &mut iovec, control: &mut [u64]) -> msghdr {
    // SAFETY: null pointers and zero lengths are a valid header.
    let mut header: msghdr = unsafe { MaybeUninit::zeroed().assume_init() };
    header.msg_name = to.as_ptr().cast_mut().cast::<c_void>();
    header.msg_namelen = to.len();
    header.msg_iov = data;
    header.msg_iovlen = 1;
    if !control.is_empty() {
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(control);
    }
    header
}

fn length(value: &[u8]) -> socklen_t {
    socklen_t::try_from(value.len()).unwrap_or(socklen_t::MAX)
}

fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(result)
}

fn check_long(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
