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

/// Connects to OTHER addresses from the target's on, and waits for all of them, or until its time is up.
pub(super) fn connect_to_all(target: &Target) -> Result<Outcome> {
    let count = target.other.as_deref().context("to how many?")?;
    let count: u32 = count
        .parse()
        .with_context(|| format!("{count} is no number"))?;
    let IpAddr::V4(first) = target.to.ip() else {
        bail!("it wants an IPv4 address");
    };
    let first = first.to_bits();
    Ok(connect_from(first..first + count, target))
}

fn connect_from(addresses: std::ops::Range<u32>, target: &Target) -> Outcome {
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
