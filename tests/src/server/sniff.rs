//! Every IP packet that the developer's machine sent, whether or not anything answers it.

use std::io::Read as _;
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};

use super::packet::Packet;
use super::say;
use crate::network::{DEV_V4, DEV_V6};

/// The port for packets that say only how far the sniffer has come: discard (RFC 863).
pub(crate) const MARK_PORT: u16 = 9;
/// How the payload of such a packet starts.
pub(crate) const MARK: &str = "guard-lab mark ";

/// A burst must not be lost between two reads.
const BUFFER: usize = 64 << 20;

pub(super) fn start() -> Result<()> {
    let all = Protocol::from(i32::from((libc::ETH_P_ALL as u16).to_be()));
    let socket =
        Socket::new(Domain::PACKET, Type::DGRAM, Some(all)).context("cannot listen for packets")?;
    // SO_RCVBUFFORCE is only for root, who runs this; without it the default has to do.
    let _ = crate::sys::set_option(
        &socket,
        libc::SOL_SOCKET,
        libc::SO_RCVBUFFORCE,
        &(BUFFER as i32).to_ne_bytes(),
    );
    thread::spawn(move || sniff(socket));
    Ok(())
}

fn sniff(mut socket: Socket) {
    let mut buffer = [0; 65536];
    while let Ok(length) = socket.read(&mut buffer) {
        if let Some(packet) = Packet::parse(&buffer[..length]) {
            report(&packet);
        }
    }
}

fn report(packet: &Packet<'_>) {
    if packet.is_neighbour_discovery() || packet.to == DEV_V4 || packet.to == DEV_V6 {
        return;
    }
    if let Some(mark) = mark(packet) {
        say(&json!({"kind": "mark", "mark": mark}));
        return;
    }
    say(&json!({
        "kind": "packet",
        "from": packet.from,
        "to": packet.to.to_canonical(),
        "protocol": packet.protocol,
        "port": packet.port,
        "source_port": packet.source_port(),
        "routing": packet.routing,
        "reset": packet.is_bare_reset(),
    }));
}

fn mark<'a>(packet: &Packet<'a>) -> Option<&'a str> {
    let is_mark = packet.protocol == libc::IPPROTO_UDP as u8 && packet.port == Some(MARK_PORT);
    // Behind the eight bytes of the UDP header.
    let text = packet.payload.get(8..).filter(|_| is_mark)?;
    str::from_utf8(text).ok()?.strip_prefix(MARK)
}
