//! `guard-lab bench`: the client of a measurement. It is told what to do on standard input, one JSON object a
//! line, and answers with one line each, so that the same process, and the same loop, is measured on each side
//! of a comparison. Nothing is started or allocated inside of a loop.

mod answering;
mod ask;
mod awake;
mod connect;
mod datagram;
mod hello;
mod http;
mod postgres;
mod sink;
mod spawn;
mod stall;
mod stream;
mod unix;
mod wait;

use std::io::{self, BufRead as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

pub use awake::Awake;
pub use http::Way;
pub use sink::sink;
pub use stall::Watch;

/// Does what its input says, until that ends. Its HTTP goes that way.
///
/// # Errors
///
/// That an order is not JSON. Of one that cannot be carried out the answer says why.
pub fn client(way: &Way) -> Result<()> {
    raise_descriptors();
    say(&json!({"ready": true}));
    let mut kept = Kept::default();
    for line in io::stdin().lock().lines() {
        let order: Value = serde_json::from_str(&line?).context("an order is a JSON object")?;
        let done = obey(&order, way, &mut kept);
        say(&done.unwrap_or_else(|error| json!({"failed": format!("{error:#}")})));
    }
    Ok(())
}

/// What goes on from one order to the next.
#[derive(Default)]
struct Kept {
    idle: http::Idle,
    databases: postgres::Idle,
    waiting: wait::Waiting,
}

fn obey(order: &Value, way: &Way, kept: &mut Kept) -> Result<Value> {
    Ok(match text(order, "do")? {
        "connect" => connect::often(&Pool::of(order)?, number(order, "count")?)?,
        "connect-udp" => datagram::connect(&Pool::of(order)?, number(order, "count")?)?,
        "connect-unix" => unix::often(number(order, "count")?)?,
        "ask" => ask::often(
            &Pool::of(order)?,
            number(order, "count")?,
            order["name"].as_str().unwrap_or(ask::USUAL),
            order["v6"] == true,
        )?,
        "ask-each" => ask::each(&Pool::of(order)?, number(order, "count")?)?,
        "ask-at-once" => ask::at_once(&Pool::of(order)?, number(order, "count")?)?,
        "ask-flood" => ask::flood(&Pool::of(order)?, time(order)?)?,
        "ask-until" => ask::until(&Pool::of(order)?, time(order)?)?,
        "until" => connect::until(&Pool::of(order)?, order["allowed"] == true, time(order)?)?,
        "pace" => connect::pace(&Pool::of(order)?, number(order, "a_second")?, time(order)?)?,
        "send" => datagram::often(
            &Pool::of(order)?,
            number(order, "count")?,
            order["connected"] == true,
        )?,
        "get" => http::kept(way, &Pool::of(order)?, number(order, "count")?)?,
        "get-fresh" => http::fresh(way, &Pool::of(order)?, number(order, "count")?)?,
        "download" => http::download(way, &Pool::of(order)?, number(order, "bytes")?)?,
        "get-at-once" => http::at_once(way, &Pool::of(order)?, number(order, "count")?)?,
        "idle" => kept
            .idle
            .open(way, &Pool::of(order)?, number(order, "count")?)?,
        "idle-postgres" => {
            let to = Pool::of(order)?.address(0);
            kept.databases.open(to, number(order, "count")?)?
        }
        "wait-begin" => (kept.waiting).begin(&Pool::of(order)?, number(order, "count")?)?,
        "wait-end" => kept.waiting.end(time(order)?)?,
        "hello" => hello::often(
            &Pool::of(order)?,
            number(order, "count")?,
            text(order, "name")?,
        )?,
        "stream" => stream::run(
            Pool::of(order)?.address(0),
            time(order)?,
            order["name"].as_str(),
        )?,
        "spawn" => spawn::often(&order["argv"], number(order, "count")?)?,
        "read" => spawn::read(&order["argv"])?,
        "pin" => pin(number(order, "cpu")? as usize)?,
        "ping" => json!({"pong": true}),
        other => bail!("there is nothing to measure called {other}"),
    })
}

/// Stays on one CPU, so that rounds differ in one thing less.
fn pin(cpu: usize) -> Result<Value> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("cannot stay on CPU {cpu}"))?;
    Ok(json!({"pinned": cpu}))
}

/// As many as it may have: there are two thousand connections at times. Where there may be fewer, one of them fails.
fn raise_descriptors() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: maximum,
        maximum,
    };
    let _ = setrlimit(Resource::Nofile, limit);
}

/// `CLOCK_MONOTONIC`, in nanoseconds: the same for all processes of a machine.
#[must_use]
pub fn monotonic() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // It counts from boot, so both are positive.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Addresses at equal distances, used one after the other.
struct Pool {
    first: u32,
    step: u32,
    size: u32,
    port: u16,
}

impl Pool {
    /// Of `to`, and `step` and `size` where it is more than one.
    fn of(order: &Value) -> Result<Self> {
        let to: SocketAddrV4 = text(order, "to")?.parse().context("`to` is no address")?;
        let or = |key, other| order[key].as_u64().map_or(other, |value| value as u32);
        Ok(Self {
            first: to.ip().to_bits(),
            step: or("step", 0),
            size: or("size", 1).max(1),
            port: to.port(),
        })
    }

    fn address(&self, turn: u64) -> SocketAddr {
        let at = (turn % u64::from(self.size)) as u32 * self.step;
        (Ipv4Addr::from_bits(self.first.wrapping_add(at)), self.port).into()
    }
}

fn text<'o>(order: &'o Value, key: &str) -> Result<&'o str> {
    let value = order[key].as_str();
    value.with_context(|| format!("{key} is missing in {order}"))
}

fn number(order: &Value, key: &str) -> Result<u64> {
    let value = order[key].as_u64();
    value.with_context(|| format!("{key} is missing in {order}"))
}

fn time(order: &Value) -> Result<Duration> {
    number(order, "ms").map(Duration::from_millis)
}

/// The middle of what was measured. Sorts it.
fn median(all: &mut [u64]) -> u64 {
    all.sort_unstable();
    all.get(all.len() / 2).copied().unwrap_or_default()
}

/// Prints one line, at once.
fn say(line: &Value) {
    let mut stdout = io::stdout().lock();
    // Who gave the order being gone, the next read of one ends this.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
