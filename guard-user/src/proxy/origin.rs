//! Where a connection wanted to go: the kernel's word, never the client's.

use std::{io, net::SocketAddr};

use guard_common::{NetnsCookie, OriginKey};
use tokio::net::TcpStream;

use super::wire::Target;
use crate::sys::{bpf::Origins, tcp};

/// Where the peer of a connection was going. What is learnt once is not there again. `None`: it was not turned here, or
/// the connection is gone already, so that what was learnt may be about another one from the same port.
///
/// # Errors
///
/// The system's.
pub(super) fn of(
    origins: &Origins,
    network: NetnsCookie,
    stream: &TcpStream,
    peer: SocketAddr,
) -> io::Result<Option<Target>> {
    let key = OriginKey::new(network, peer.ip().into(), peer.port());
    let origin = origins.take(&key)?;
    let origin = origin.filter(|_| tcp::stands(stream).unwrap_or(false));
    Ok(origin.map(|origin| Target {
        session: origin.session.0,
        address: origin.destination.to_ip(),
        port: origin.port,
    }))
}
