//! What it costs to read over HTTP from a read-only destination, beside no guard, and beside the same way with every
//! request allowed by the first rule.

use std::fs;

use anyhow::{Context as _, Result};
use guard_lab::{Daemon, Network, Running};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::prefixes::{Pool, Prefixes};
use super::rounds::interleave;
use super::samples::Samples;

/// Requests over one connection in a round.
const KEPT: u64 = 2000;
/// Connections with one request each in a round.
const FRESH: u64 = 200;
/// Bytes of a download in a round; of a large one, once.
const DOWNLOAD: u64 = 256 << 20;
/// Connections that are kept at once.
const IDLE: u64 = 1000;

const POLICY: &str = r#"
version = 1
name = "NAME"
default = "deny"

[[rule]]
name = "bench"
to = ["10.0.0.0/8"]
action = "read-only"
"#;
const UNREAD: &str = "\n[[rule.http]]\naction = \"allow\"\n";

/// A client without a guard, one that reads, and one that is let through unread.
struct Sides {
    none: Client,
    guard: Client,
    unread: Client,
    daemon: Daemon,
    _sink: Running,
    _network: Network,
}

impl Sides {
    fn start() -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let policy = |name: &str| POLICY.replace("NAME", name);
        let daemon = Daemon::in_network(&network)
            .policy("reads", &policy("reads"))
            .policy("unread", &(policy("unread") + UNREAD))
            .start()?;
        Ok(Self {
            none: Client::free(&network)?.pinned()?,
            guard: Client::guarded(&daemon, "reads")?.pinned()?,
            unread: Client::guarded(&daemon, "unread")?.pinned()?,
            daemon,
            _sink: sink,
            _network: network,
        })
    }

    /// On each side in turns: none, guard, unread.
    fn each(&mut self, rounds: usize, order: &Value, field: &str) -> Result<[Samples; 3]> {
        let ask = |client: &mut Client| {
            let answer = client.ask(order)?;
            answer[field]
                .as_f64()
                .with_context(|| format!("no {field}: {answer}"))
        };
        interleave(
            rounds,
            self,
            [
                &mut |sides: &mut Self| ask(&mut sides.none),
                &mut |sides| ask(&mut sides.guard),
                &mut |sides| ask(&mut sides.unread),
            ],
        )
    }

    /// What the proxy has in memory, in bytes.
    fn proxy(&self) -> Result<f64> {
        let guardd = self.daemon.pid().context("guardd does not run")?;
        let children = fs::read_to_string(format!("/proc/{guardd}/task/{guardd}/children"))?;
        let proxy = children
            .split_whitespace()
            .next()
            .context("no proxy runs")?;
        let status = fs::read_to_string(format!("/proc/{proxy}/status"))?;
        let anonymous = status
            .lines()
            .find_map(|line| line.strip_prefix("RssAnon:"));
        let kib =
            anonymous.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
        Ok(kib.context("no size of the proxy")? * 1024.0)
    }
}

fn order(what: &str, field: &str, number: u64) -> Value {
    let pool: Pool = Prefixes::TEN.between();
    let mut order = pool.order(what);
    order[field] = number.into();
    order
}

/// Requests, downloads, and connections that are kept.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn http(plan: &Plan) -> Result<Vec<Figure>> {
    const TWICE: &str = "each byte goes through another process, and each request through two more of the system's wake-ups";
    let mut sides = Sides::start()?;
    let kept = order("get", "count", KEPT);
    let many = sides.each(plan.rounds, &kept, "a_second")?;
    let slow = sides.each(plan.rounds, &kept, "p99_ns")?;
    let fresh = order("get-fresh", "count", FRESH);
    let fresh = sides.each(plan.rounds, &fresh, "ns")?;
    let download = order("download", "bytes", DOWNLOAD);
    let download = sides.each(plan.few, &download, "bytes_a_second")?;
    let mut figures = Vec::new();
    for (name, unit, target, measured) in [
        (
            "GETs over one connection",
            Unit::Requests,
            Target::RatioAtLeast(0.5),
            many,
        ),
        (
            "the slowest in a hundred of them",
            Unit::Time,
            Target::Ratio(2.0),
            slow,
        ),
        (
            "connection with one GET",
            Unit::Time,
            Target::Ratio(1.4),
            fresh,
        ),
        (
            "download of 256 MiB",
            Unit::Throughput,
            Target::RatioAtLeast(0.8),
            download,
        ),
    ] {
        let [none, guard, unread] = measured;
        let figure = |target| Figure::alone(name, unit, guard.clone(), target);
        figures.push(
            figure(target)
                .beside(Other::Measured("no guard", none))
                .remark(TWICE),
        );
        figures.push(figure(Target::Stated).beside(Other::Measured("unread", unread)));
    }
    figures.push(idle(&mut sides)?);
    Ok(figures)
}

/// What a connection costs that has asked for something and is kept.
fn idle(sides: &mut Sides) -> Result<Figure> {
    // What the process needs besides is there by now.
    sides.guard.ask(&order("idle", "count", 10))?;
    let before = sides.proxy()?;
    sides.guard.ask(&order("idle", "count", IDLE))?;
    let each = (sides.proxy()? - before) / IDLE as f64;
    sides.guard.ask(&json!({"do": "ping"}))?;
    let name = "the proxy, for each of 1,000 connections";
    Ok(Figure::alone(
        name,
        Unit::Memory,
        Samples(vec![each]),
        Target::AtMost(32.0 * 1024.0),
    ))
}
