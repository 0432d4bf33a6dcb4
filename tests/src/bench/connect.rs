//! TCP connections: opened and closed, with nothing sent.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Pool, median, monotonic};

/// How many were let through, and how many were not.
#[derive(Default)]
struct Count {
    allowed: u64,
    refused: u64,
}

impl Count {
    /// A connection, closed at once. Gives whether it was allowed.
    fn one(&mut self, to: &SockAddr) -> io::Result<bool> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let allowed = match socket.connect(to) {
            Ok(()) => true,
            Err(error) if is_refusal(&error) => false,
            Err(error) => return Err(error),
        };
        drop(socket);
        if allowed {
            self.allowed += 1;
        } else {
            self.refused += 1;
        }
        Ok(allowed)
    }
}

/// What the guard says, and what others say, who answer in the name of the other side.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ConnectionRefused
    )
}

fn addresses(pool: &Pool) -> Vec<SockAddr> {
    let all = 0..u64::from(pool.size);
    all.map(|turn| SocketAddr::into(pool.address(turn)))
        .collect()
}

/// `count` connections: what the middle one took, in nanoseconds, with the making and closing of its socket.
pub(super) fn often(pool: &Pool, count: u64) -> Result<Value> {
    let addresses = addresses(pool);
    let mut took = Vec::with_capacity(count as usize);
    let mut seen = Count::default();
    for to in addresses.iter().cycle().take(count as usize) {
        let start = Instant::now();
        seen.one(to)?;
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": median(&mut took), "allowed": seen.allowed, "refused": seen.refused}))
}

/// Connects until that is allowed, or no longer is: when the first one that was had come back.
pub(super) fn until(pool: &Pool, allowed: bool, patience: Duration) -> Result<Value> {
    let to = pool.address(0).into();
    let deadline = Instant::now() + patience;
    let mut seen = Count::default();
    while seen.one(&to)? != allowed {
        if Instant::now() > deadline {
            bail!("{:?} stays as it was", pool.address(0));
        }
    }
    Ok(json!({"at": monotonic(), "allowed": seen.allowed, "refused": seen.refused}))
}

/// So many connections in each second, a hundredth of them at a time.
pub(super) fn pace(pool: &Pool, a_second: u64, time: Duration) -> Result<Value> {
    const SLOT: Duration = Duration::from_millis(10);
    let addresses = addresses(pool);
    let mut turns = addresses.iter().cycle();
    let mut seen = Count::default();
    let start = Instant::now();
    let mut next = start;
    while start.elapsed() < time {
        for to in turns.by_ref().take((a_second / 100) as usize) {
            seen.one(to)?;
        }
        next += SLOT;
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(json!({
        "allowed": seen.allowed,
        "refused": seen.refused,
        "seconds": start.elapsed().as_secs_f64(),
    }))
}
