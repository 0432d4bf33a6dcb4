//! The original destination of a redirected connection: from the kernel half's map `ORIGINS`, never from the client.

use std::{io, net::SocketAddr};

use guard_common::{NetnsCookie, OriginKey};
use guard_sys::{bpf::Origins, tcp};
use tokio::net::TcpStream;

use super::wire::{RedirectTarget, Tgid, UnscannedListener};

/// What the kernel half tells of a redirected connection.
pub(super) struct ConnectionOrigin {
    /// The original destination, and whose connection it is.
    pub(super) target: RedirectTarget,
    /// The process that asked.
    pub(super) tgid: Tgid,
    /// What listens there, where guardd had not scanned it.
    pub(super) unscanned: Option<UnscannedListener>,
}

/// Takes a connection's entry out of `ORIGINS`. `None`: it was not redirected, or it is
/// closed already, so that the entry may be about a later one from the same port.
///
/// # Errors
///
/// The system's.
pub(super) fn of(
    origins: &Origins,
    network: NetnsCookie,
    stream: &TcpStream,
    peer: SocketAddr,
) -> io::Result<Option<ConnectionOrigin>> {
    let key = OriginKey::new(network, peer.ip().into(), peer.port());
    let origin = origins.take(&key)?;
    let origin = origin.filter(|_| tcp::stands(stream).unwrap_or(false));
    Ok(origin.map(|origin| ConnectionOrigin {
        target: RedirectTarget {
            session: origin.session.0,
            address: origin.destination.to_ip(),
            port: origin.port,
            listener: origin.hash,
        },
        tgid: Tgid(origin.tgid),
        unscanned: (origin.unscanned != 0).then_some(UnscannedListener {
            ticket: origin.hash,
            client: Tgid(origin.tgid),
        }),
    }))
}
