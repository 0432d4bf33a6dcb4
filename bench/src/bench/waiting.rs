//! Connections that wait for a person: from the yes to the connection, from the connection to the question, and what many
//! that wait take.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::bench::monotonic;
use guard_lab::{Daemon, Network, PATIENCE, Running, bins};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Target, Unit};
use super::prefixes::{Pool, Prefixes};
use super::samples::Samples;
use super::starts::resident;

const MILLISECOND: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;
/// Connections that wait at once, each for an answer of its own.
const AT_ONCE: u32 = 10;
/// Between two answers, so that they come at all times between two of the kernel's tries.
const STEP: Duration = Duration::from_millis(130);
/// How many wait for one answer.
const CROWD: u64 = 1000;

/// How long they have waited when the answers begin, and how much of that is for those who have time.
const WAITS: [(&str, u64, bool); 6] = [
    ("yes to connected, after 0 s", 0, true),
    ("yes to connected, after 1 s", 1, true),
    ("yes to connected, after 5 s", 5, true),
    ("yes to connected, after 20 s", 20, true),
    ("yes to connected, after 40 s", 40, false),
    ("yes to connected, after 57 s", 57, false),
];
/// The same where they may wait for five minutes.
const LONG_WAITS: [(&str, u64); 3] = [
    ("yes to connected, after 35 s of 5 min", 35),
    ("yes to connected, after 2 min of 5 min", 120),
    ("yes to connected, after 4 min 50 s of 5 min", 290),
];

/// A guardd, a client whose connections wait, and somebody who watches.
struct WaitingScene {
    client: Client,
    follower: Running,
    daemon: Daemon,
    _sink: Running,
    _network: Network,
}

impl WaitingScene {
    fn start(hold: &str) -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let policy = Prefixes::TEN.policy("bench", |_| false);
        let policy = policy.replacen("version = 1", &format!("version = 1\nhold = \"{hold}\""), 1);
        let daemon = Daemon::in_network(&network)
            .policy("bench", &policy)
            .start()?;
        let follower = daemon.root(["pending", "--follow", "--json"]).spawn()?;
        // It is told nothing before there is something.
        thread::sleep(Duration::from_millis(500));
        let client = Client::guarded(&daemon, "bench")?;
        Ok(Self {
            client,
            follower,
            daemon,
            _sink: sink,
            _network: network,
        })
    }

    fn begin(&mut self, pool: Pool, count: u64) -> Result<u64> {
        let mut order = pool.order("wait-begin");
        order["count"] = count.into();
        self.client.ask(&order)?["at"].as_u64().context("no moment")
    }

    /// Has the client see to it when each is connected.
    fn watch(&mut self) -> Result<()> {
        self.client.tell(&json!({"do": "wait-end", "ms": 20_000}))
    }

    /// When each was connected.
    fn end(&mut self) -> Result<Vec<u64>> {
        let answer = self.client.answer()?;
        let at = answer["at"].as_array().context("no moments")?;
        at.iter()
            .map(|one| one.as_u64().context("no moment"))
            .collect()
    }

    /// The requests that wait, as soon as there are so many, in the order of their addresses.
    fn requests(&self, count: usize) -> Result<Vec<String>> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let pending = self.daemon.root(["pending"]).json()?;
            let pending = pending.as_array().context("no list")?;
            if pending.len() == count {
                let mut ids: Vec<(u32, String)> =
                    pending.iter().map(by_address).collect::<Result<_>>()?;
                ids.sort();
                return Ok(ids.into_iter().map(|(_, id)| id).collect());
            }
            ensure!(
                Instant::now() < deadline,
                "{} requests, not {count}",
                pending.len()
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// From each yes to its connection, for connections that have waited for that time.
    fn released(&mut self, waited: Duration, samples: &mut Samples) -> Result<()> {
        let began = Instant::now();
        self.begin(neighbours(), u64::from(AT_ONCE))?;
        let requests = self.requests(AT_ONCE as usize)?;
        thread::sleep(waited.saturating_sub(began.elapsed()));
        self.watch()?;
        let mut answered = Vec::new();
        for request in &requests {
            answered.push(monotonic());
            self.approve(request)?;
            thread::sleep(STEP);
        }
        for (yes, at) in answered.into_iter().zip(self.end()?) {
            ensure!(at != 0, "a connection failed that was approved");
            samples.0.push(at.saturating_sub(yes) as f64);
        }
        self.daemon.ask(["close", "--all"])?.success()?;
        Ok(())
    }

    /// The program itself, with nothing started before it.
    fn approve(&self, request: &str) -> Result<()> {
        let mut guard = Command::new(bins::find("guard")?);
        guard
            .args(["approve", request])
            .env("GUARD_SOCKET", self.daemon.socket());
        let status = guard.stdout(Stdio::null()).status()?;
        ensure!(status.success(), "guard approve {request}: {status}");
        Ok(())
    }

    /// From a connection to what a follower prints about it.
    fn asked(&mut self, samples: &mut Samples) -> Result<()> {
        let at = self.begin(neighbours(), 1)?;
        self.follower.line_with("\"held\":true", PATIENCE)?;
        samples.0.push(monotonic().saturating_sub(at) as f64);
        let requests = self.requests(1)?;
        self.watch()?;
        self.approve(&requests[0])?;
        self.end()?;
        self.daemon.ask(["close", "--all"])?.success()?;
        Ok(())
    }
}

/// Neighbouring addresses under one rule.
fn neighbours() -> Pool {
    Prefixes::TEN.inside()
}

fn by_address(request: &Value) -> Result<(u32, String)> {
    let address = request["destination"]["address"]
        .as_str()
        .context("no address")?;
    let address: std::net::Ipv4Addr = address.parse()?;
    let id = request["id"].as_str().context("no id")?;
    Ok((address.to_bits(), id.to_owned()))
}

/// All of it.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn waiting(plan: &Plan) -> Result<Vec<Figure>> {
    let mut scene = WaitingScene::start("60s")?;
    let mut asked = Samples::default();
    for _ in 0..plan.few {
        scene.asked(&mut asked)?;
    }
    let most = |milliseconds| Target::AtMost(milliseconds * MILLISECOND);
    let mut figures = vec![Figure::alone(
        "connect to request",
        Unit::Time,
        asked,
        most(100.0),
    )];
    let is_quick = plan.fewest < 5;
    let mut all = Samples::default();
    for (name, seconds, _) in WAITS.into_iter().filter(|(.., quick)| *quick || !is_quick) {
        let mut samples = Samples::default();
        scene.released(Duration::from_secs(seconds), &mut samples)?;
        all.0.extend(&samples.0);
        let slowest = Samples(vec![samples.quantile(1.0)]);
        figures.push(Figure::alone(name, Unit::Time, samples, Target::Stated));
        figures.push(Figure::alone(
            "the slowest of these",
            Unit::Time,
            slowest,
            most(600.0),
        ));
    }
    figures.push(Figure::alone(
        "yes to connected",
        Unit::Time,
        all,
        most(350.0),
    ));
    figures.extend(crowd(&mut scene)?);
    if !is_quick {
        figures.extend(long()?);
    }
    Ok(figures)
}

/// What guardd needs for many that wait.
fn crowd(scene: &mut WaitingScene) -> Result<Vec<Figure>> {
    let before = resident(&scene.daemon)?;
    let pool = Prefixes::TEN.one(0, 0);
    scene.begin(pool, CROWD)?;
    let requests = scene.requests(1)?;
    // guardd has looked at all of them a few times.
    thread::sleep(Duration::from_secs(2));
    let more = Samples(vec![resident(&scene.daemon)? - before]);
    scene.watch()?;
    let yes = monotonic();
    scene.approve(&requests[0])?;
    let ended = scene.end()?;
    ensure!(ended.iter().all(|at| *at != 0), "not all were connected");
    let last = ended.iter().max().copied().unwrap_or_default();
    let last = Samples(vec![last.saturating_sub(yes) as f64]);
    Ok(vec![
        Figure::alone(
            "guardd, 1,000 connections that wait",
            Unit::Memory,
            more,
            Target::AtMost(16.0 * MIB),
        ),
        Figure::alone("yes to the last of 1,000", Unit::Time, last, Target::Stated),
    ])
}

fn long() -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (name, seconds) in LONG_WAITS {
        let mut scene = WaitingScene::start("5m")?;
        let mut samples = Samples::default();
        scene.released(Duration::from_secs(seconds), &mut samples)?;
        let slowest = Samples(vec![samples.quantile(1.0)]);
        figures.push(Figure::alone(name, Unit::Time, samples, Target::Stated));
        let target = Target::AtMost(4000.0 * MILLISECOND);
        figures.push(Figure::alone(
            "the slowest of these",
            Unit::Time,
            slowest,
            target,
        ));
    }
    Ok(figures)
}
