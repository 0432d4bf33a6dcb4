//! A hook's context -> the one [`Connection`] that `decide` takes.

use core::mem::MaybeUninit;

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock, bpf_sock_addr},
    programs::{SockAddrContext, SockOpsContext},
};
use guard_common::{Address, Connection, Protocol};

use crate::kernel;

const IPPROTO_HOPOPTS: u8 = 0;
const IPPROTO_TCP: u8 = 6;
const IPPROTO_UDP: u8 = 17;
const IPPROTO_DCCP: u8 = 33;
const IPPROTO_ROUTING: u8 = 43;
const IPPROTO_FRAGMENT: u8 = 44;
const IPPROTO_AH: u8 = 51;
const IPPROTO_DSTOPTS: u8 = 60;
const IPPROTO_SCTP: u8 = 132;
const IPPROTO_UDPLITE: u8 = 136;

/// `LOOPBACK_IFINDEX` of net/flow.h: the loopback device has this number in every network namespace.
pub(crate) const LOOPBACK_DEVICE: u32 = 1;

/// Extension headers that are walked before a packet counts as unreadable.
const MAX_EXTENSIONS: u32 = 6;

/// Reads an address in a context or a map value word by word, as the verifier wants it; volatile keeps LLVM from joining the loads.
///
/// # Safety
///
/// It is there.
#[inline(always)]
pub(crate) unsafe fn read_address(at: *const [u32; 4]) -> Address {
    let at = at.cast::<u32>();
    // SAFETY: the caller knows that it is there.
    unsafe {
        Address([
            at.read_volatile(),
            at.add(1).read_volatile(),
            at.add(2).read_volatile(),
            at.add(3).read_volatile(),
        ])
    }
}

/// Writes one, as [`read_address`] reads it.
///
/// # Safety
///
/// Its place is there, and may be written.
#[inline(always)]
pub(crate) unsafe fn write_address(at: *mut [u32; 4], address: &Address) {
    let at = at.cast::<u32>();
    // SAFETY: the caller knows that its place is there.
    unsafe {
        at.write_volatile(address.0[0]);
        at.add(1).write_volatile(address.0[1]);
        at.add(2).write_volatile(address.0[2]);
        at.add(3).write_volatile(address.0[3]);
    }
}

/// An IPv6 address in a packet.
///
/// # Safety
///
/// Its 16 bytes were checked.
#[inline(always)]
unsafe fn address6(at: *const u8) -> Address {
    // SAFETY: the caller checked them.
    unsafe {
        Address([
            kernel::packet_word(at),
            kernel::packet_word(at.add(4)),
            kernel::packet_word(at.add(8)),
            kernel::packet_word(at.add(12)),
        ])
    }
}

/// The socket of a connect or sendmsg hook.
#[inline(always)]
pub(crate) fn socket(ctx: &SockAddrContext) -> *mut bpf_sock {
    // SAFETY: the kernel's context, which always has a socket.
    unsafe { (*ctx.sock_addr).__bindgen_anon_1.sk }
}

/// The socket of a callback, if it is a full one.
#[inline(always)]
pub(crate) fn operated(ctx: &SockOpsContext) -> Option<*mut bpf_sock> {
    // SAFETY: the kernel's context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() { None } else { Some(sk) }
}

/// `AF_INET6` of linux/socket.h.
const AF_INET6: u32 = 10;

/// What a packet's UDP socket is connected to, the IPv4-mapped form included; false where it is not connected.
#[inline(always)]
pub(crate) fn connected_to(sk: *mut bpf_sock, to: &mut Connection) -> bool {
    /// `TCP_ESTABLISHED` of net/tcp_states.h, which a connected UDP socket has as well.
    const ESTABLISHED: u32 = 1;
    // SAFETY: a socket from the context. All is read whatever the family is, as in `peer`.
    let (state, port, is_v6, v4, v6) = unsafe {
        (
            (&raw const (*sk).state).read_volatile(),
            u16::from_be((&raw const (*sk).dst_port).read_volatile()),
            (&raw const (*sk).family).read_volatile() == AF_INET6,
            (&raw const (*sk).dst_ip4).read_volatile(),
            read_address(&raw const (*sk).dst_ip6),
        )
    };
    to.to = if is_v6 { v6 } else { Address::from_v4_be(v4) };
    to.port = port;
    state == ESTABLISHED
}

/// The other end of a callback's TCP connection.
#[inline(always)]
pub(crate) fn peer(ctx: &SockOpsContext) -> Connection {
    // SAFETY: the kernel's context. All is read whatever the family is: LLVM would make one load of two in two branches, at an
    // offset that the verifier refuses. `remote_port` has 16 bits in network byte order in its high half.
    let (port, is_v6, v4, v6) = unsafe {
        let ops = ctx.ops;
        (
            u32::from_be((&raw const (*ops).remote_port).read_volatile()) as u16,
            (&raw const (*ops).family).read_volatile() == AF_INET6,
            (&raw const (*ops).remote_ip4).read_volatile(),
            read_address(&raw const (*ops).remote_ip6),
        )
    };
    let to = if is_v6 { v6 } else { Address::from_v4_be(v4) };
    Connection::new(to, Protocol::TCP, port)
}

/// What a program asked for on an IPv4 socket.
#[inline(always)]
pub(crate) fn connection4(ctx: &SockAddrContext) -> Connection {
    // SAFETY: the kernel's context; `user_ip4` is in network byte order.
    let address = unsafe { (&raw const (*ctx.sock_addr).user_ip4).read_volatile() };
    connection(ctx.sock_addr, Address::from_v4_be(address))
}

/// What a program asked for on an IPv6 socket, the IPv4-mapped form included.
#[inline(always)]
pub(crate) fn connection6(ctx: &SockAddrContext) -> Connection {
    // SAFETY: the kernel's context.
    let address = unsafe { read_address(&raw const (*ctx.sock_addr).user_ip6) };
    connection(ctx.sock_addr, address)
}

#[inline(always)]
fn connection(ctx: *const bpf_sock_addr, address: Address) -> Connection {
    // SAFETY: the kernel's context; `user_port` holds 16 bits in network byte order.
    let (port, protocol) = unsafe {
        (
            (&raw const (*ctx).user_port).read_volatile() as u16,
            (*ctx).protocol,
        )
    };
    Connection::new(
        address.as_connected(),
        Protocol::canonical(protocol),
        u16::from_be(port),
    )
}

/// Writes a destination into the context, of the family that was asked for: the kernel connects or sends there, or returns it to the
/// program. The port is in host byte order.
#[inline(always)]
pub(crate) fn set_destination4(ctx: &SockAddrContext, to: &Address, port: u16) {
    // SAFETY: the kernel's context, whose hook may write this, as one word in network byte order.
    unsafe { (&raw mut (*ctx.sock_addr).user_ip4).write_volatile(to.0[3]) };
    set_port(ctx, port);
}

/// The same on an IPv6 socket, the IPv4-mapped form included.
#[inline(always)]
pub(crate) fn set_destination6(ctx: &SockAddrContext, to: &Address, port: u16) {
    // SAFETY: the kernel's context, whose hook may write this.
    unsafe { write_address(&raw mut (*ctx.sock_addr).user_ip6, to) };
    set_port(ctx, port);
}

#[inline(always)]
fn set_port(ctx: &SockAddrContext, port: u16) {
    // SAFETY: the kernel's context; `user_port` takes a whole word, with 16 bits in network byte order.
    unsafe { (&raw mut (*ctx.sock_addr).user_port).write_volatile(u32::from(port.to_be())) };
}

/// The destination of most packets: TCP or UDP right after an IPv4 header without options, not in fragments, or right after an
/// IPv6 header.
pub(crate) struct Flow {
    pub(crate) to: Address,
    pub(crate) protocol: u8,
    /// In host byte order.
    pub(crate) port: u16,
}

/// The destination of a packet that [`Flow`] describes. `None` only says that [`packet`] must be used.
#[inline(always)]
pub(crate) fn flow(skb: *mut __sk_buff) -> Option<Flow> {
    // SAFETY: the kernel's context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if start + 24 > end {
        return None;
    }
    // SAFETY: 24 bytes were just checked.
    let flow = match unsafe { *(start as *const u8) } >> 4 {
        4 => flow4(start)?,
        6 if start + 44 <= end => flow6(start)?,
        _ => return None,
    };
    // SAFETY: the kernel's context.
    let strays = flow.to.is_loopback() && unsafe { (*skb).ifindex } != LOOPBACK_DEVICE;
    if strays { None } else { Some(flow) }
}

#[inline(always)]
fn flow4(start: usize) -> Option<Flow> {
    /// Version 4, and a header of five words.
    const PLAIN: u8 = 0x45;
    let header = start as *const u8;
    // SAFETY: the caller checked 24 bytes.
    let (first, fragment, protocol, address, port) = unsafe {
        (
            *header,
            kernel::packet_half(header.add(6)),
            *header.add(9),
            kernel::packet_word(header.add(16)),
            kernel::packet_half(header.add(22)),
        )
    };
    let plain = first == PLAIN && fragment & 0x1fff_u16.to_be() == 0;
    if !plain || !matches!(protocol, IPPROTO_TCP | IPPROTO_UDP) {
        return None;
    }
    Some(Flow {
        to: Address::from_v4_be(address),
        protocol,
        port: u16::from_be(port),
    })
}

#[inline(always)]
fn flow6(start: usize) -> Option<Flow> {
    let header = start as *const u8;
    // SAFETY: the caller checked 44 bytes.
    let (protocol, to, port) = unsafe {
        (
            *header.add(6),
            address6(header.add(24)),
            kernel::packet_half(header.add(42)),
        )
    };
    if !matches!(protocol, IPPROTO_TCP | IPPROTO_UDP) {
        return None;
    }
    Some(Flow {
        to,
        protocol,
        port: u16::from_be(port),
    })
}

/// Reads the destination of an outgoing packet; false for packets that are never let out: source routes and other IPv4 options,
/// routing headers, fragments (no local socket sends any through this hook, but raw ones can), and packets that cannot be
/// parsed.
///
/// A function of its own in the kernel too, with its result in memory: inlined, LLVM merges the halves of
/// an `Option` through registers that the verifier finds unset.
#[inline(never)]
pub(crate) fn packet(skb: *mut __sk_buff, to: &mut MaybeUninit<Connection>) -> bool {
    // SAFETY: the kernel's context.
    let (start, end) = unsafe { ((*skb).data as usize, (*skb).data_end as usize) };
    if start + 20 > end {
        return false;
    }
    // SAFETY: 20 bytes were just checked.
    match unsafe { *(start as *const u8) } >> 4 {
        4 => packet4(start, end, to),
        6 => packet6(skb, start, end, to),
        _ => false,
    }
}

/// Whether a packet for this host alone leaves by a device that leads elsewhere. A socket that is bound to such a device sends
/// it there, with its data, and some hosts accept it.
#[inline(always)]
pub(crate) fn strays(skb: *mut __sk_buff, to: &Connection) -> bool {
    // SAFETY: the kernel's context.
    to.to.is_loopback() && unsafe { (*skb).ifindex } != LOOPBACK_DEVICE
}

/// The sender's side of a TCP segment or a UDP datagram.
#[repr(C)]
pub(crate) struct Segment {
    pub(crate) from: Address,
    /// In host byte order.
    pub(crate) port: u16,
    /// Bytes 12 and 13 of a TCP header: its length and flags. 0 for a datagram.
    flags: u16,
}

impl Segment {
    /// Whether it begins a connection: SYN without ACK.
    #[inline(always)]
    pub(crate) fn begins(&self) -> bool {
        self.flags & (SYN | ACK) == SYN
    }

    /// Whether it says at which number its sender begins to count.
    #[inline(always)]
    pub(crate) fn has_syn(&self) -> bool {
        self.flags & SYN != 0
    }

    /// Its bytes that are not headers, of all segments that the packet is cut into. Only of a TCP segment.
    #[inline(always)]
    pub(crate) fn payload(&self, skb: *mut __sk_buff) -> u32 {
        let ip = if self.from.is_v4() { 20 } else { 40 };
        let headers = ip + u32::from(self.flags >> 12) * 4;
        // SAFETY: the kernel's context.
        let length = unsafe { (&raw const (*skb).len).read_volatile() };
        length.saturating_sub(headers)
    }
}

/// The TCP segment right after the IP header of a packet; false if there is none, as after extension headers.
///
/// A function of its own in the kernel too, as [`packet`].
#[inline(never)]
pub(crate) fn segment(skb: *mut __sk_buff, segment: &mut MaybeUninit<Segment>) -> bool {
    // SAFETY: the kernel's context. Volatile keeps LLVM from loading these before the call and passing them as numbers.
    let (start, end) = unsafe {
        (
            (&raw const (*skb).data).read_volatile() as usize,
            (&raw const (*skb).data_end).read_volatile() as usize,
        )
    };
    if start + 40 > end {
        return false;
    }
    // SAFETY: 40 bytes were just checked.
    match unsafe { *(start as *const u8) } {
        0x45 => sender4(start, IPPROTO_TCP, segment),
        first if first >> 4 == 6 && start + 60 <= end => sender6(start, IPPROTO_TCP, segment),
        _ => false,
    }
}

/// What of a TCP segment is not its headers.
#[derive(Clone, Copy)]
pub(crate) struct Payload {
    /// In bytes, of all segments that the packet is cut into.
    pub(crate) length: u32,
    /// Whether the segment begins a connection.
    pub(crate) begins: bool,
}

/// The payload of a TCP segment right behind the IP header; `None` where there is none, as in [`segment`].
#[inline(always)]
pub(crate) fn payload(skb: *mut __sk_buff) -> Option<Payload> {
    let mut read = MaybeUninit::uninit();
    if !segment(skb, &mut read) {
        return None;
    }
    // SAFETY: `segment` wrote it.
    let read = unsafe { read.assume_init_ref() };
    Some(Payload {
        length: read.payload(skb),
        begins: read.begins(),
    })
}

/// Whether a packet may be what [`datagram`] reads: most are not, and cost no call.
#[inline(always)]
pub(crate) fn may_be_datagram(skb: *mut __sk_buff) -> bool {
    // SAFETY: as in `segment`.
    let (start, end) = unsafe {
        (
            (&raw const (*skb).data).read_volatile() as usize,
            (&raw const (*skb).data_end).read_volatile() as usize,
        )
    };
    if start + 20 > end {
        return false;
    }
    let header = start as *const u8;
    // SAFETY: 20 bytes were just checked.
    let (first, protocol4, protocol6) = unsafe { (*header, *header.add(9), *header.add(6)) };
    match first >> 4 {
        4 => protocol4 == IPPROTO_UDP,
        _ => protocol6 == IPPROTO_UDP,
    }
}

/// Where a UDP datagram comes from, right behind an IPv4 header without options or an IPv6 header; false for others.
///
/// A function of its own in the kernel too, as [`packet`].
#[inline(never)]
pub(crate) fn datagram(skb: *mut __sk_buff, from: &mut MaybeUninit<Segment>) -> bool {
    // SAFETY: as in `segment`.
    let (start, end) = unsafe {
        (
            (&raw const (*skb).data).read_volatile() as usize,
            (&raw const (*skb).data_end).read_volatile() as usize,
        )
    };
    if start + 28 > end {
        return false;
    }
    // SAFETY: 28 bytes were just checked.
    match unsafe { *(start as *const u8) } {
        0x45 => sender4(start, IPPROTO_UDP, from),
        first if first >> 4 == 6 && start + 48 <= end => sender6(start, IPPROTO_UDP, from),
        _ => false,
    }
}

/// SYN and ACK in byte 13 of a TCP header (RFC 9293 3.1).
const SYN: u16 = 0x02;
const ACK: u16 = 0x10;

/// The sender's side of a TCP segment or a UDP datagram in an IPv4 packet. The caller checked 40 bytes of a segment, 28 of a
/// datagram; the first 20 are the IP header.
#[inline(always)]
fn sender4(start: usize, protocol: u8, segment: &mut MaybeUninit<Segment>) -> bool {
    let header = start as *const u8;
    // SAFETY: see above.
    let (found, address) = unsafe { (*header.add(9), kernel::packet_word(header.add(12))) };
    let address = Address::from_v4_be(address);
    if found != protocol {
        return false;
    }
    segment.write(read_sender(start + 20, protocol, address));
    true
}

/// The same in an IPv6 packet, of which the caller checked 20 bytes more.
#[inline(always)]
fn sender6(start: usize, protocol: u8, segment: &mut MaybeUninit<Segment>) -> bool {
    let header = start as *const u8;
    // SAFETY: see above.
    let (found, address) = unsafe { (*header.add(6), address6(header.add(8))) };
    if found != protocol {
        return false;
    }
    segment.write(read_sender(start + 40, protocol, address));
    true
}

/// What [`sender4`] and [`sender6`] read behind the IP header.
#[inline(always)]
fn read_sender(start: usize, protocol: u8, from: Address) -> Segment {
    let header = start as *const u8;
    // SAFETY: their caller checked the TCP header, or the UDP header.
    let (port, flags) = unsafe {
        let port = kernel::packet_half(header);
        if protocol == IPPROTO_TCP {
            (port, kernel::packet_half(header.add(12)))
        } else {
            (port, 0)
        }
    };
    Segment {
        from,
        port: u16::from_be(port),
        flags: u16::from_be(flags),
    }
}

/// RFC 791 3.1.
#[inline(always)]
fn packet4(start: usize, end: usize, to: &mut MaybeUninit<Connection>) -> bool {
    let header = start as *const u8;
    // SAFETY: the caller checked 20 bytes.
    let (length, fragment, protocol, address) = unsafe {
        (
            *header & 0x0f,
            kernel::packet_half(header.add(6)),
            *header.add(9),
            kernel::packet_word(header.add(16)),
        )
    };
    if length != 5 || u16::from_be(fragment) & 0x1fff != 0 {
        return false;
    }
    let port = if has_ports(protocol) {
        if start + 24 > end {
            return false;
        }
        // SAFETY: 24 bytes were just checked.
        u16::from_be(unsafe { kernel::packet_half(header.add(22)) })
    } else {
        0
    };
    let protocol = Protocol::canonical(u32::from(protocol));
    to.write(Connection::new(
        Address::from_v4_be(address),
        protocol,
        port,
    ));
    true
}

/// RFC 8200 3.
#[inline(always)]
fn packet6(
    skb: *mut __sk_buff,
    start: usize,
    end: usize,
    to: &mut MaybeUninit<Connection>,
) -> bool {
    if start + 44 > end {
        return false;
    }
    let header = start as *const u8;
    // SAFETY: 44 bytes were just checked.
    let (next, port, address) = unsafe {
        (
            *header.add(6),
            kernel::packet_half(header.add(42)),
            address6(header.add(24)),
        )
    };
    let (next, port) = if next == IPPROTO_TCP || next == IPPROTO_UDP {
        (next, u16::from_be(port))
    } else {
        match behind_extensions(skb, next) {
            0 => return false,
            found => ((found >> 16) as u8, found as u16),
        }
    };
    let protocol = Protocol::canonical(u32::from(next));
    to.write(Connection::new(address, protocol, port));
    true
}

/// Protocol (bits 16 to 23) and port after a chain of extension headers (RFC 8200 4); 0 if the packet is not let out. One
/// number, since an `Option` of two comes back in registers that may be unset.
#[inline(always)]
fn behind_extensions(skb: *mut __sk_buff, mut next: u8) -> u32 {
    let mut at = 40_u32;
    let found = kernel::find(MAX_EXTENSIONS, 0, |_| {
        let extends = matches!(
            next,
            IPPROTO_HOPOPTS | IPPROTO_DSTOPTS | IPPROTO_FRAGMENT | IPPROTO_AH
        );
        let mut head = [0_u8; 4];
        if next == IPPROTO_ROUTING {
            return Some(0);
        }
        if (extends || has_ports(next)) && !kernel::load_bytes(skb, at, &mut head) {
            return Some(0);
        }
        let word = u16::from_be_bytes([head[2], head[3]]);
        if !extends {
            let port = if has_ports(next) { word } else { 0 };
            return Some((u32::from(next) << 16) | u32::from(port));
        }
        if next == IPPROTO_FRAGMENT && word & 0xfff8 != 0 {
            return Some(0);
        }
        at += match next {
            IPPROTO_FRAGMENT => 8,
            IPPROTO_AH => (u32::from(head[1]) + 2) * 4,
            _ => (u32::from(head[1]) + 1) * 8,
        };
        next = head[0];
        None
    });
    found.unwrap_or(0)
}

/// Whether the destination port is in bytes 2 and 3.
#[inline(always)]
fn has_ports(protocol: u8) -> bool {
    matches!(
        protocol,
        IPPROTO_TCP | IPPROTO_UDP | IPPROTO_DCCP | IPPROTO_SCTP | IPPROTO_UDPLITE
    )
}
