//! UDP and its kin, in all the ways to send a datagram.

use std::io::Read as _;
use std::net::SocketAddr;

use socket2::{Protocol, Socket, Type};

use super::{Failure, LINE, Outcome, Step as _, Target};
use crate::sys;

pub(super) fn send(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    socket.send_to(LINE, &target.address()).step("sendto")?;
    receive(&socket)
}

pub(super) fn connect(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    exchange(&socket, target.to)
}

pub(super) fn send_many(target: &Target) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    let destinations = [target.address(), target.address()];
    sys::send_many(&socket, LINE, &destinations).step("sendmmsg")?;
    receive(&socket)
}

pub(super) fn reconnect(target: &Target, first: SocketAddr) -> Outcome {
    let socket = target.socket(Type::DGRAM, None)?;
    exchange(&socket, first)?;
    exchange(&socket, target.to)
}

pub(super) fn lite(target: &Target) -> Outcome {
    lite_by(target, &lite_socket(target)?)
}

pub(super) fn lite_socket(target: &Target) -> Result<Socket, Failure> {
    let protocol = Protocol::from(libc::IPPROTO_UDPLITE);
    target.socket(Type::DGRAM, Some(protocol))
}

pub(super) fn lite_by(target: &Target, socket: &Socket) -> Outcome {
    socket.connect(&target.address()).step("connect")?;
    socket.send(LINE).step("send")?;
    Ok("sent".to_owned())
}

pub(super) fn exchange(socket: &Socket, to: SocketAddr) -> Outcome {
    socket.connect(&to.into()).step("connect")?;
    socket.send(LINE).step("send")?;
    receive(socket)
}

pub(super) fn receive(mut socket: &Socket) -> Outcome {
    let mut echo = [0; LINE.len()];
    socket.read(&mut echo).step("receive")?;
    Ok("echoed".to_owned())
}
