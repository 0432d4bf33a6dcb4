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
    /// A connection, closed at once.
    fn one(&mut self, to: &SockAddr) -> io::Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        self.add(socket.connect(to)).map(drop)
    }

    /// The same for a verdict that changes meanwhile, which may leave a connection halfway; and without a port
    /// that is then kept for a minute. Gives whether it was allowed.
    fn brief(&mut self, to: &SockAddr) -> io::Result<bool> {
        const TIMEOUT: Duration = Duration::from_millis(20);
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_linger(Some(Duration::ZERO))?;
        self.add(socket.connect_timeout(to, TIMEOUT))
    }

    fn add(&mut self, result: io::Result<()>) -> io::Result<bool> {
        match result {
            Ok(()) => self.allowed += 1,
            Err(error) if is_refusal(&error) => {
                self.refused += 1;
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}

/// What the guard says, and what others say, who answer in the name of the other side.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::PermissionDenied | ErrorKind::ConnectionRefused | ErrorKind::TimedOut
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
    while seen.brief(&to)? != allowed {
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
