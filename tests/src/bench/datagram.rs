//! Small datagrams.

use std::net::{SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Type};

use super::{Pool, median};

const PAYLOAD: [u8; 64] = [0x67; 64];
/// Sent between two looks at the clock, which costs too.
const BLOCK: u64 = 64;

/// `count` sockets that are connected and closed, with nothing sent: what the middle one took, in nanoseconds.
pub(super) fn connect(pool: &Pool, count: u64) -> Result<Value> {
    let mut took = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let to: SockAddr = SocketAddr::into(pool.address(turn));
        let start = Instant::now();
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, None)?;
        socket.connect(&to)?;
        drop(socket);
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": median(&mut took)}))
}

/// `count` datagrams through a connected socket, or by `sendto`: what one took, in nanoseconds, in the middle
/// of the blocks.
pub(super) fn often(pool: &Pool, count: u64, connected: bool) -> Result<Value> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    let to: SockAddr = SocketAddr::into(pool.address(0));
    let socket = socket2::Socket::from(socket);
    if connected {
        socket.connect(&to)?;
    }
    let mut took = Vec::with_capacity((count / BLOCK) as usize);
    for _ in 0..count / BLOCK {
        let start = Instant::now();
        for _ in 0..BLOCK {
            if connected {
                socket.send(&PAYLOAD)?;
            } else {
                socket.send_to(&PAYLOAD, &to)?;
            }
        }
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": median(&mut took) as f64 / BLOCK as f64}))
}
