//! Where a connection wanted to go: the kernel's word, never the client's.

use std::{io, net::SocketAddr};

use guard_common::{NetnsCookie, OriginKey};
use guard_sys::{bpf::Origins, tcp};
use tokio::net::TcpStream;

use super::wire::{Target, Tgid};

/// Where the peer of a connection was going, and whose it is. What is learnt once is not there again. `None`: it was not
/// turned here, or the connection is gone already, so that what was learnt may be about another one from the same port.
///
/// # Errors
///
/// The system's.
pub(super) fn of(
    origins: &Origins,
    network: NetnsCookie,
    stream: &TcpStream,
    peer: SocketAddr,
) -> io::Result<Option<(Target, Tgid)>> {
    let key = OriginKey::new(network, peer.ip().into(), peer.port());
    let origin = origins.take(&key)?;
    let origin = origin.filter(|_| tcp::stands(stream).unwrap_or(false));
    Ok(origin.map(|origin| {
        let target = Target {
            session: origin.session.0,
            address: origin.destination.to_ip(),
            port: origin.port,
        };
        (target, Tgid(origin.tgid))
    }))
}
