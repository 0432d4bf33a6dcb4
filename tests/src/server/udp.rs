//! UDP: an echo, from the address that was spoken to.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::thread;

use anyhow::{Context as _, Result};
use socket2::{Domain, Socket, Type};

use super::{record, say};
use crate::sys;

pub(super) fn start(port: u16) -> Result<()> {
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ];
    for address in addresses {
        let socket = bind(address).with_context(|| format!("cannot bind UDP {address}"))?;
        thread::spawn(move || echo(&socket, port));
    }
    Ok(())
}

fn bind(address: SocketAddr) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    let (level, option) = if address.is_ipv6() {
        socket.set_only_v6(true)?;
        // A route makes the addresses local, but only those of devices may be a source without this.
        socket.set_freebind_v6(true)?;
        (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        (libc::IPPROTO_IP, libc::IP_PKTINFO)
    };
    sys::set_option(&socket, level, option, &1_i32.to_ne_bytes())?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn echo(socket: &Socket, port: u16) {
    let mut buffer = [0; 65536];
    loop {
        // An error is an answer to an earlier echo: that its receiver is gone.
        let Ok((length, from, to)) = sys::receive(socket, &mut buffer) else {
            continue;
        };
        let Some(peer) = from.as_socket() else {
            continue;
        };
        say(&record("udp", peer, (to, port).into()));
        let _ = sys::send_from(socket, &buffer[..length], &from, to);
    }
}
