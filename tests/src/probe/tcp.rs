//! TCP, in all the ways to open a connection.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use rustix::net::connect_unspec;
use socket2::{Protocol, Socket, Type};

use super::{LINE, Outcome, Step as _, Target};

/// `IPPROTO_MPTCP` in linux/in.h.
const MPTCP: i32 = 262;

pub(super) fn connect(target: &Target) -> Outcome {
    exchange(&open(target)?)
}

/// A connection.
pub(super) fn open(target: &Target) -> Result<Socket, super::Failure> {
    let socket = target.socket(Type::STREAM, None)?;
    socket
        .connect_timeout(&target.address(), target.timeout)
        .step("connect")?;
    Ok(socket)
}

pub(super) fn multipath(target: &Target) -> Outcome {
    let socket = target.socket(Type::STREAM, Some(Protocol::from(MPTCP)))?;
    socket.connect(&target.address()).step("connect")?;
    exchange(&socket)
}

/// The same, and then it waits for what the other side may want to add.
pub(super) fn multipath_waiting(target: &Target) -> Outcome {
    let socket = target.socket(Type::STREAM, Some(Protocol::from(MPTCP)))?;
    socket.connect(&target.address()).step("connect")?;
    exchange(&socket)?;
    /// What the other side adds comes with the first packets, and nothing says that nothing more does.
    const A_WHILE: Duration = Duration::from_millis(1500);
    std::thread::sleep(A_WHILE);
    exchange(&socket)
}

pub(super) fn fast_open(target: &Target) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    socket
        .send_to_with_flags(LINE, &target.address(), libc::MSG_FASTOPEN)
        .step("sendto")?;
    receive(&socket)
}

pub(super) fn reconnect(target: &Target, first: SocketAddr) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    socket.connect(&first.into()).step("first connect")?;
    exchange(&socket)?;
    connect_unspec(&socket).step("dissolve")?;
    socket.connect(&target.address()).step("connect")?;
    exchange(&socket)
}

/// With whom the socket says that it is connected.
pub(super) fn peer(target: &Target) -> anyhow::Result<Outcome> {
    let first = target.other.is_some().then(|| target.other_address());
    Ok(see_peer(target, first.transpose()?))
}

fn see_peer(target: &Target, first: Option<SocketAddr>) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    if let Some(first) = first {
        socket.connect(&first.into()).step("first connect")?;
        exchange(&socket)?;
        connect_unspec(&socket).step("dissolve")?;
    }
    socket.connect(&target.address()).step("connect")?;
    exchange(&socket)?;
    let peer = socket.peer_addr().step("getpeername")?.as_socket();
    Ok(peer.map_or_else(String::new, |peer| peer.to_string()))
}

/// From a port of the caller's choice, which is free again afterwards.
pub(super) fn from(target: &Target) -> anyhow::Result<Outcome> {
    let port = target.other.as_deref().context("it wants a port")?;
    Ok(connect_from(target, port.parse()?))
}

fn connect_from(target: &Target, port: u16) -> Outcome {
    let any: IpAddr = match target.to {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = target.socket(Type::STREAM, None)?;
    socket.set_reuse_address(true).step("socket")?;
    socket.set_linger(Some(Duration::ZERO)).step("socket")?;
    socket
        .bind(&SocketAddr::new(any, port).into())
        .step("bind")?;
    socket.connect(&target.address()).step("connect")?;
    exchange(&socket)
}

/// With a socket that belongs to another cgroup than the process.
pub(super) fn moved(target: &Target) -> anyhow::Result<Outcome> {
    let cgroup = target.other.as_deref().context("it wants a cgroup")?;
    Ok(move_and_connect(target, Path::new(cgroup)))
}

fn move_and_connect(target: &Target, cgroup: &Path) -> Outcome {
    let socket = target.socket(Type::STREAM, None)?;
    let pid = std::process::id().to_string();
    fs::write(cgroup.join("cgroup.procs"), pid).step("move")?;
    socket.connect(&target.address()).step("connect")?;
    exchange(&socket)
}

/// Much, piece by piece.
pub(super) fn upload(target: &Target) -> anyhow::Result<Outcome> {
    let bytes = target.other.as_deref().unwrap_or("1048576").parse()?;
    Ok(send_all(target, bytes))
}

fn send_all(target: &Target, bytes: usize) -> Outcome {
    const PIECE: usize = 4096;
    let mut socket = open(target)?;
    let (sent, mut echo) = ([b'x'; PIECE], [0; PIECE]);
    for _ in 0..bytes.div_ceil(PIECE) {
        socket.write_all(&sent).step("send")?;
        socket.read_exact(&mut echo).step("receive")?;
    }
    Ok("echoed".to_owned())
}

/// What `curl -X PUT` does, where there is no curl.
pub(super) fn put(target: &Target) -> Outcome {
    let mut socket = open(target)?;
    let path = target.other.as_deref().unwrap_or("/");
    let request = format!(
        "PUT {path} HTTP/1.1\r\nHost: {}\r\nContent-Length: 0\r\n\r\n",
        target.to
    );
    socket.write_all(request.as_bytes()).step("send")?;
    let mut answer = String::new();
    BufReader::new(&socket)
        .read_line(&mut answer)
        .step("receive")?;
    Ok(answer.trim_end().to_owned())
}

pub(super) fn exchange(mut socket: &Socket) -> Outcome {
    socket.write_all(LINE).step("send")?;
    receive(socket)
}

pub(super) fn receive(mut socket: &Socket) -> Outcome {
    let mut echo = [0; LINE.len()];
    socket.read_exact(&mut echo).step("receive")?;
    Ok("echoed".to_owned())
}
