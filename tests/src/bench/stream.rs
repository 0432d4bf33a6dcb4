//! One TCP stream.

use std::io::Write as _;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use super::hello;

/// Written at once.
const CHUNK: usize = 128 * 1024;

/// Sends as fast as the other side takes it, behind a ClientHello if a name is to be shown; in bytes a second.
pub(super) fn run(to: SocketAddr, time: Duration, shown: Option<&str>) -> Result<Value> {
    let mut stream = TcpStream::connect(to)?;
    if let Some(name) = shown {
        stream.write_all(&hello::shows(name))?;
    }
    let chunk = vec![0x67; CHUNK];
    let start = Instant::now();
    let mut bytes = 0_u64;
    while start.elapsed() < time {
        bytes += stream.write(&chunk)? as u64;
    }
    Ok(json!({"bytes_a_second": bytes as f64 / start.elapsed().as_secs_f64()}))
}
