//! A ClientHello, and nothing else: what a gate that looks at it costs.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{Pool, median};

/// Bytes of a ClientHello, as curl's has.
const LENGTH: usize = 517;

/// A ClientHello that shows a name, padded (RFC 7685).
pub(super) fn shows(name: &str) -> Vec<u8> {
    let length = name.len() as u16;
    let mut shown = vec![0, 0];
    shown.extend((length + 5).to_be_bytes());
    shown.extend((length + 3).to_be_bytes());
    shown.push(0);
    shown.extend(length.to_be_bytes());
    shown.extend(name.bytes());
    // Version, random, no session, one cipher, no compression.
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.extend([0, 0, 2, 0x13, 1, 1, 0]);
    let padding = LENGTH - 9 - body.len() - 2 - shown.len() - 4;
    let extensions = (shown.len() + 4 + padding) as u16;
    body.extend(extensions.to_be_bytes());
    body.extend([0, 21]);
    body.extend((padding as u16).to_be_bytes());
    body.extend(vec![0; padding]);
    body.extend(shown);
    let mut hello = vec![22, 3, 1];
    hello.extend((body.len() as u16 + 4).to_be_bytes());
    hello.extend([1, 0]);
    hello.extend((body.len() as u16).to_be_bytes());
    hello.extend(body);
    hello
}

/// `count` connections that send one, and wait until the other side has had all: what the middle one took, in nanoseconds.
pub(super) fn often(pool: &Pool, count: u64, name: &str) -> Result<Value> {
    let hello = shows(name);
    let mut took = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let start = Instant::now();
        let mut stream = TcpStream::connect(pool.address(turn))?;
        stream.write_all(&hello)?;
        stream.shutdown(Shutdown::Write)?;
        ensure!(stream.read(&mut [0])? == 0, "the other side says something");
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": median(&mut took)}))
}
