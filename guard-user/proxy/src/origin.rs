//! The original destination of a redirected connection: from the kernel half's map `ORIGINS`, never from the client.

use std::{io, net::SocketAddr};

use guard_common::{BootTime, NetnsCookie, Origin, OriginKey};
use guard_sys::{bpf::Origins, clock, tcp};
use tokio::net::TcpStream;

use super::wire::{RedirectTarget, Tgid};

/// For how long what listened at a port of this machine counts for a connection to it. A client may answer the proxy's SYN-ACK when it likes,
/// and another may have the port by then.
const LISTENER_COUNTS: u64 = 3_000_000_000;

/// What the kernel half tells of a redirected connection.
pub(super) struct ConnectionOrigin {
    /// The original destination, and whose connection it is.
    pub(super) target: RedirectTarget,
    /// The process that asked.
    pub(super) tgid: Tgid,
}

/// Takes a connection's entry out of `ORIGINS`. `None`: it was not redirected, or it is
/// closed already, so that the entry may be about a later one from the same port, or it is about a port of this machine, and
/// took too long to be made.
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
    let now = clock::now();
    let origin =
        origin.filter(|origin| is_of_now(origin, now) && tcp::stands(stream).unwrap_or(false));
    Ok(origin.map(|origin| ConnectionOrigin {
        target: RedirectTarget {
            session: origin.session.0,
            address: origin.destination.to_ip(),
            port: origin.port,
            listener: origin.destination.ticket().map_or(0, |ticket| ticket.0),
        },
        tgid: Tgid(origin.tgid),
    }))
}

/// Whether what listened there when the connection began still counts for it.
fn is_of_now(origin: &Origin, now: BootTime) -> bool {
    !origin.destination.connected().is_loopback()
        || now.0 <= origin.at.0.saturating_add(LISTENER_COUNTS)
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::SessionId;

    use super::*;

    #[test]
    fn what_listened_at_a_port_counts_for_connections_that_are_made_at_once() {
        let begun = BootTime(10_000_000_000);
        let to = |address: [u8; 4]| {
            Origin::new(begun, SessionId(1), 7, IpAddr::from(address).into(), 80)
        };
        let at = |after| BootTime(begun.0 + after);
        for (address, after, is_now) in [
            ([127, 0, 0, 1], 0, true),
            ([127, 0, 0, 1], LISTENER_COUNTS, true),
            ([127, 0, 0, 1], LISTENER_COUNTS + 1, false),
            ([192, 0, 2, 1], LISTENER_COUNTS + 1, true),
        ] {
            assert_eq!(
                is_of_now(&to(address), at(after)),
                is_now,
                "{address:?} {after}"
            );
        }
    }
}
