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

/// Takes a connection's entry out of `ORIGINS`. `None`: it was not redirected, or not to the proxy, or it is
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
    let key = OriginKey::between(network, peer, stream.local_addr()?);
    let origin = origins.take(&key)?;
    let now = clock::now();
    let origin =
        origin.filter(|origin| is_served(origin, now) && tcp::stands(stream).unwrap_or(false));
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

/// Returns true if the entry was written for the proxy, and what listened there when the connection began still counts for it.
fn is_served(origin: &Origin, now: BootTime) -> bool {
    let is_of_now = !origin.destination.connected().is_loopback()
        || now.0 <= origin.at.0.saturating_add(LISTENER_COUNTS);
    origin.reason.is_for_proxy() && is_of_now
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::{Reason, SessionId};

    use super::*;

    #[test]
    fn an_entry_is_for_the_proxy_and_at_a_port_of_this_machine_for_a_moment() {
        let begun = BootTime(10_000_000_000);
        let at = |after| BootTime(begun.0 + after);
        let (own, other) = ([127, 0, 0, 1], [192, 0, 2, 1]);
        for (reason, address, after, is_its) in [
            (Reason::REDIRECTED, own, 0, true),
            (Reason::REDIRECTED, own, LISTENER_COUNTS, true),
            (Reason::REDIRECTED, own, LISTENER_COUNTS + 1, false),
            (Reason::REDIRECTED, other, LISTENER_COUNTS + 1, true),
            (Reason::QUESTION, other, 0, false),
            (Reason::NONE, other, 0, false),
        ] {
            let to = IpAddr::from(address).into();
            let origin = Origin::new(reason, begun, SessionId(1), 7, to, 80);
            assert_eq!(is_served(&origin, at(after)), is_its, "{origin:?} {after}");
        }
    }
}
