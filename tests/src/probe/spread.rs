//! Connections to many addresses at once.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{Outcome, Step as _, Target, errno, say};

/// How often those that wait are looked at.
const PACE: Duration = Duration::from_millis(20);

/// Connects to COUNTxSTRIDE addresses: the target's first, and then each STRIDE further. Waits for all of them, or until
/// its time is up.
pub(super) fn connect_to_all(target: &Target) -> Result<Outcome> {
    let which = target.other.as_deref().unwrap_or_default();
    let (count, stride) = which.split_once('x').context("to how many?")?;
    let number = |text: &str| -> Result<usize> {
        text.parse().with_context(|| format!("{text} is no number"))
    };
    let (count, stride) = (number(count)?, number(stride)?);
    let IpAddr::V4(first) = target.to.ip() else {
        bail!("it wants an IPv4 address");
    };
    let first = first.to_bits();
    Ok(connect_to_each(
        (first..).step_by(stride).take(count),
        target,
    ))
}

fn connect_to_each(addresses: impl Iterator<Item = u32>, target: &Target) -> Outcome {
    let end = Instant::now() + target.timeout;
    let mut errors = BTreeMap::<String, u64>::new();
    let (mut connected, mut waiting) = (Vec::new(), Vec::new());
    for address in addresses.map(Ipv4Addr::from) {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).step("socket")?;
        socket.set_nonblocking(true).step("socket")?;
        match socket.connect(&SocketAddr::from((address, target.to.port())).into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                *errors.entry(errno::of(&error)).or_default() += 1;
            }
            _ => waiting.push((address, socket)),
        }
    }
    while !waiting.is_empty() && Instant::now() < end {
        thread::sleep(PACE);
        waiting.retain(|(address, socket)| match state(socket) {
            Ok(true) => {
                connected.push(address.to_string());
                false
            }
            Ok(false) => true,
            Err(error) => {
                *errors.entry(errno::of(&error)).or_default() += 1;
                false
            }
        });
    }
    say(&json!({"connected": connected, "errors": errors, "left": waiting.len()}));
    Ok("tried all".to_owned())
}

/// Whether it is connected; an error where it never will be.
fn state(socket: &Socket) -> io::Result<bool> {
    match socket.take_error()? {
        Some(error) => Err(error),
        None => Ok(socket.peer_addr().is_ok()),
    }
}
