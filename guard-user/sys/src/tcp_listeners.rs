//! The TCP listeners and UDP receivers of this network namespace: inet_diag, sock_diag(7).

use std::collections::HashMap;
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::Path;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, SocketId, StateFlags};
use netlink_packet_sock_diag::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP, SockDiagMessage};

use super::{open_sockets, sock_diag::Diag};

/// A socket that takes what anybody sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ListeningSocket {
    /// Where; the unspecified address stands for all.
    pub at: SocketAddr,
    /// The number of its inode, as in the links of `/proc/PID/fd`.
    pub inode: u32,
}

/// All TCP listeners.
///
/// # Errors
///
/// The system's.
pub fn tcp_listeners() -> io::Result<Vec<ListeningSocket>> {
    sockets(IPPROTO_TCP, || StateFlags::LISTEN)
}

/// All UDP sockets that are not connected.
///
/// # Errors
///
/// The system's.
pub fn udp_receivers() -> io::Result<Vec<ListeningSocket>> {
    sockets(IPPROTO_UDP, || StateFlags::CLOSE)
}

fn sockets(protocol: u8, states: fn() -> StateFlags) -> io::Result<Vec<ListeningSocket>> {
    let mut found = Vec::new();
    for family in [AF_INET, AF_INET6] {
        let mut diag = Diag::open()?;
        let asked = InetRequest {
            family,
            protocol,
            extensions: ExtensionFlags::empty(),
            states: states(),
            socket_id: match family {
                AF_INET => SocketId::new_v4(),
                _ => SocketId::new_v6(),
            },
        };
        let flags = NLM_F_REQUEST | NLM_F_DUMP;
        diag.send(flags, SockDiagMessage::InetRequest(asked))?;
        diag.receive(|message: SockDiagMessage| {
            if let SockDiagMessage::InetResponse(response) = message {
                let header = response.header;
                let id = header.socket_id;
                found.push(ListeningSocket {
                    at: SocketAddr::new(id.source_address, id.source_port),
                    inode: header.inode,
                });
            }
        })?;
    }
    Ok(found)
}

/// The processes that hold sockets, by the socket's inode: those that this process may look into. Of several one.
#[must_use]
pub fn holders() -> HashMap<u32, u32> {
    let mut holders = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let open = open_sockets::of(Path::new(&format!("/proc/{pid}")), usize::MAX);
        let inodes = open.into_iter().flatten();
        holders.extend(inodes.filter_map(|inode| Some((u32::try_from(inode).ok()?, pid))));
    }
    holders
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_is_found_with_who_holds_it() {
        for loopback in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(loopback) else {
                continue;
            };
            let at = listener.local_addr().unwrap();
            let found = tcp_listeners().unwrap();
            let found = found.iter().find(|one| one.at == at).unwrap();
            assert_eq!(holders().get(&found.inode), Some(&std::process::id()));
            let receiver = std::net::UdpSocket::bind(loopback).unwrap();
            let at = receiver.local_addr().unwrap();
            assert!(udp_receivers().unwrap().iter().any(|one| one.at == at));
        }
    }
}
