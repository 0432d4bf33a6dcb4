//! The sockets of a network namespace: inet_diag, sock_diag(7).

use std::io;
use std::net::SocketAddr;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkPayload, NetlinkSerializable};
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SOCK_DIAG_BY_FAMILY, SockDiagMessage,
    TCP_ESTABLISHED, TCP_LISTEN,
};

use super::sock_diag::Diag;

/// `IPPROTO_MPTCP` of linux/in.h.
const IPPROTO_MPTCP: u32 = 262;
/// `INET_DIAG_REQ_PROTOCOL` of linux/inet_diag.h: a protocol that has no room in the request.
const REQ_PROTOCOL: u16 = 3;
/// `INET_DIAG_CGROUP_ID` of linux/inet_diag.h.
const CGROUP_ID: u16 = 21;

/// What a socket does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// Takes connections, over TCP or MPTCP.
    Listens,
    /// Is connected to this, over TCP or MPTCP.
    Tcp(SocketAddr),
    /// Is connected to this, over UDP.
    Udp(SocketAddr),
}

/// A socket that listens or is connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedSocket {
    /// Its own address.
    pub local: SocketAddr,
    /// What it does.
    pub used: Use,
    /// What `/proc/PID/fd` knows it by: `socket:[INODE]`; 0 where no process has it.
    pub inode: u32,
    /// The cgroup that it was made in; 0 where the kernel does not tell.
    pub cgroup: u64,
}

/// All of this thread's network namespace that listen, or are connected over TCP, MPTCP or UDP.
///
/// # Errors
///
/// The system's.
pub fn list() -> io::Result<Vec<ListedSocket>> {
    let mut diag = Diag::open()?;
    let mut all = Vec::new();
    for family in [AF_INET, AF_INET6] {
        diag.dump(family, u32::from(IPPROTO_TCP), &mut all)?;
        diag.dump(family, u32::from(IPPROTO_UDP), &mut all)?;
    }
    // One request is for both families, and not every kernel has it.
    let _ = diag.dump(AF_INET, IPPROTO_MPTCP, &mut all);
    let _ = diag.dump(AF_INET6, IPPROTO_MPTCP, &mut all);
    Ok(all)
}

impl Diag {
    fn dump(&mut self, family: u8, protocol: u32, all: &mut Vec<ListedSocket>) -> io::Result<()> {
        self.send(NLM_F_REQUEST | NLM_F_DUMP, Request { family, protocol })?;
        self.receive(|message: SockDiagMessage| {
            if let SockDiagMessage::InetResponse(response) = message {
                let header = &response.header;
                let id = &header.socket_id;
                let peer = SocketAddr::new(id.destination_address, id.destination_port);
                let used = match header.state {
                    TCP_LISTEN => Use::Listens,
                    TCP_ESTABLISHED if protocol == u32::from(IPPROTO_UDP) => Use::Udp(peer),
                    _ if id.destination_port != 0 => Use::Tcp(peer),
                    _ => return,
                };
                all.push(ListedSocket {
                    local: SocketAddr::new(id.source_address, id.source_port),
                    used,
                    inode: header.inode,
                    cgroup: cgroup_of(&response.nlas),
                });
            }
        })
    }
}

fn cgroup_of(attributes: &[Nla]) -> u64 {
    let mut ids = attributes.iter().filter_map(|one| match one {
        Nla::Other(other) if netlink_packet_core::Nla::kind(other) == CGROUP_ID => {
            let mut bytes = [0; 8];
            let has_eight = netlink_packet_core::Nla::value_len(other) == bytes.len();
            if has_eight {
                netlink_packet_core::Nla::emit_value(other, &mut bytes);
            }
            Some(u64::from_ne_bytes(bytes))
        }
        _ => None,
    });
    ids.next().unwrap_or(0)
}

/// `struct inet_diag_req_v2` of linux/inet_diag.h, for sockets of a kind in the states that [`Use`] knows, with the
/// attribute for protocols beyond 255.
#[derive(Clone, Copy, Debug)]
struct Request {
    family: u8,
    protocol: u32,
}

impl Request {
    /// `1 << TCP_ESTABLISHED`, and up to `TCP_CLOSE_WAIT` what is or was connected; `1 << TCP_LISTEN`.
    const STATES: u32 = (1 << 1) | (1 << 2) | (1 << 4) | (1 << 5) | (1 << 8) | (1 << 10);
    const HEAD: usize = 8;
    const ID: usize = 48;
}

impl From<Request> for NetlinkPayload<Request> {
    fn from(request: Request) -> Self {
        Self::InnerMessage(request)
    }
}

impl NetlinkSerializable for Request {
    fn message_type(&self) -> u16 {
        SOCK_DIAG_BY_FAMILY
    }

    fn buffer_len(&self) -> usize {
        Self::HEAD + Self::ID + if self.protocol > 255 { 8 } else { 0 }
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
        buffer[0] = self.family;
        buffer[1] = u8::try_from(self.protocol).unwrap_or(0);
        buffer[4..8].copy_from_slice(&Self::STATES.to_ne_bytes());
        if let Some(attribute) = buffer.get_mut(Self::HEAD + Self::ID..)
            && attribute.len() == 8
        {
            attribute[..2].copy_from_slice(&8_u16.to_ne_bytes());
            attribute[2..4].copy_from_slice(&REQ_PROTOCOL.to_ne_bytes());
            attribute[4..].copy_from_slice(&self.protocol.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::fd::AsFd;

    use super::*;

    fn inode(socket: impl AsFd) -> u32 {
        let status = rustix::fs::fstat(socket).unwrap();
        u32::try_from(status.st_ino).unwrap()
    }

    #[test]
    fn what_listens_and_what_is_connected_is_listed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = listener.local_addr().unwrap();
        let stream = TcpStream::connect(to).unwrap();
        let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
        datagrams.connect(to).unwrap();
        let all = list().unwrap();
        let of = |inode: u32| all.iter().find(|one| one.inode == inode).unwrap();
        let listed = of(inode(&listener));
        assert_eq!((listed.local, listed.used), (to, Use::Listens));
        assert_ne!(listed.cgroup, 0);
        let listed = of(inode(&stream));
        assert_eq!(listed.used, Use::Tcp(to));
        assert_eq!(listed.local, stream.local_addr().unwrap());
        assert_eq!(of(inode(&datagrams)).used, Use::Udp(to));
    }

    #[test]
    fn a_multipath_listener_is_its_process_own() {
        use rustix::net::{AddressFamily, Protocol, SocketType, bind, listen, socket};
        let protocol = std::num::NonZeroU32::new(IPPROTO_MPTCP).map(Protocol::from_raw);
        let made = socket(AddressFamily::INET, SocketType::STREAM, protocol);
        // Not every kernel has it.
        let Ok(made) = made else { return };
        bind(&made, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        listen(&made, 1).unwrap();
        let all = list().unwrap();
        let listed = all.iter().find(|one| one.inode == inode(&made)).unwrap();
        assert_eq!(listed.used, Use::Listens);
    }
}
