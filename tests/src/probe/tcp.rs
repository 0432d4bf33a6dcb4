//! TCP, in all the ways to open a connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;

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

fn receive(mut socket: &Socket) -> Outcome {
    let mut echo = [0; LINE.len()];
    socket.read_exact(&mut echo).step("receive")?;
    Ok("echoed".to_owned())
}
