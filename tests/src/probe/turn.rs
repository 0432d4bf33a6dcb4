//! Servers inside, and attempts to make a way out of what came in.

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::Context as _;
use rustix::net::connect_unspec;
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{Outcome, Step as _, Target, say, tcp};

/// Serves one client at the port OTHER, then dissolves that connection and connects the same socket to the
/// target; or the listener itself.
pub(super) fn turn_around(target: &Target, is_listener: bool) -> anyhow::Result<Outcome> {
    let port = target.other.as_deref().context("it wants a port")?;
    let any: IpAddr = match target.to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let at = SocketAddr::new(any, port.parse()?);
    Ok(serve_and_turn(target, at, is_listener))
}

fn serve_and_turn(target: &Target, at: SocketAddr, is_listener: bool) -> Outcome {
    let listener = Socket::new(Domain::for_address(at), Type::STREAM, None).step("socket")?;
    listener.set_reuse_address(true).step("socket")?;
    listener.bind(&at.into()).step("bind")?;
    listener.listen(1).step("listen")?;
    let port = listener.local_addr().step("listen")?.as_socket();
    say(&json!({"listening": port.map(|at| at.port())}));
    let (accepted, _) = listener.accept().step("accept")?;
    let mut byte = [0];
    (&accepted).read_exact(&mut byte).step("serve")?;
    (&accepted).write_all(&byte).step("serve")?;
    let turned = if is_listener { &listener } else { &accepted };
    connect_unspec(turned).step("dissolve")?;
    for limit in [Socket::set_read_timeout, Socket::set_write_timeout] {
        limit(turned, Some(target.timeout)).step("dissolve")?;
    }
    turned.connect(&target.address()).step("connect")?;
    tcp::exchange(turned)
}

/// Sends OTHER bytes, and ends while some of them are still on their way.
pub(super) fn pour(target: &Target) -> anyhow::Result<Outcome> {
    let bytes: usize = target.other.as_deref().context("how much?")?.parse()?;
    Ok(send_and_leave(target, bytes))
}

fn send_and_leave(target: &Target, bytes: usize) -> Outcome {
    let mut socket = tcp::open(target)?;
    // For as long as it takes: what it is about comes after.
    socket.set_write_timeout(None).step("socket")?;
    socket.write_all(&vec![b'.'; bytes]).step("send")?;
    Ok(format!("sent {bytes} bytes"))
}
