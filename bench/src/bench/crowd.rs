//! Two hundred sessions at once, one of them misbehaving.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{Daemon, Network, PATIENCE};
use serde_json::json;

use super::Plan;
use super::client::{Client, guarded};
use super::figure::{Figure, Target, Unit};
use super::prefixes::Prefixes;
use super::samples::Samples;
use super::starts::resident;

const SESSIONS: usize = 200;
/// Refused connects a second of the one that misbehaves.
const RATE: u64 = 10_000;
/// How long it does.
const TIME: Duration = Duration::from_secs(10);

/// Starts them, has one connect to what is refused all the time, and another ask something once in a while.
///
/// # Errors
///
/// That something could not be measured, or that not all sessions live.
pub(super) fn crowd(_: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let daemon = holding_nothing(&network)?;
    let start = Instant::now();
    let mut clients = start_all(&daemon)?;
    let started = start.elapsed();
    for client in &mut clients {
        client.ask(&json!({"do": "ping"}))?;
    }
    all_live(&daemon)?;
    let memory = resident(&daemon)?;
    let [loud, quiet, ..] = &mut clients[..] else {
        unreachable!("{SESSIONS} are more than two");
    };
    let noise = noise(&daemon, loud, quiet)?;
    let one =
        |name: &str, unit, number, target| Figure::alone(name, unit, Samples(vec![number]), target);
    Ok(vec![
        one(
            "200 sessions started",
            Unit::Time,
            started.as_nanos() as f64,
            Target::Stated,
        ),
        one(
            "guardd with 200 sessions",
            Unit::Memory,
            memory,
            Target::Stated,
        ),
        one(
            "guardd, 10,000 refused a second",
            Unit::Cpu,
            noise.share,
            Target::AtMost(5.0),
        )
        .remark(format!("{:.0} a second were refused", noise.rate)),
        Figure::alone(
            "another session's request meanwhile",
            Unit::Time,
            noise.prompt,
            Target::Stated,
        )
        .remark("from the refused connect to its line in guard pending --follow"),
    ])
}

/// A guardd that holds nothing: somebody looks for requests, and what is refused is measured.
fn holding_nothing(network: &Network) -> Result<Daemon> {
    let policy = Prefixes::TEN.policy("bench", |_| false);
    let policy = policy.replacen("version = 1", "version = 1\nhold = \"0s\"", 1);
    let daemon = Daemon::in_network(network).policy("bench", &policy);
    daemon.start()
}

/// All at once.
fn start_all(daemon: &Daemon) -> Result<Vec<Client>> {
    let commands = (0..SESSIONS).map(|_| guarded(daemon, "bench"));
    let mut commands = commands.collect::<Result<Vec<_>>>()?;
    let started = commands.iter_mut().map(Client::launch);
    let mut clients = started.collect::<Result<Vec<_>>>()?;
    clients.iter_mut().try_for_each(Client::ready)?;
    Ok(clients)
}

fn all_live(daemon: &Daemon) -> Result<()> {
    let sessions = daemon.root(["sessions"]).json()?;
    let listed = sessions.as_array().map_or(0, Vec::len);
    ensure!(
        listed == SESSIONS,
        "{listed} of {SESSIONS} sessions are listed"
    );
    Ok(())
}

/// What a misbehaving session costs.
struct Noise {
    /// Percent of a CPU that guardd took.
    share: f64,
    /// Refused connects a second.
    rate: f64,
    /// How long another session's requests took to be listed.
    prompt: Samples,
}

fn noise(daemon: &Daemon, loud: &mut Client, quiet: &mut Client) -> Result<Noise> {
    let mut pending = daemon.root(["pending", "--follow", "--json"]).spawn()?;
    let mut order = Prefixes::TEN.inside().order("pace");
    order["a_second"] = RATE.into();
    order["ms"] = (TIME.as_millis() as u64).into();
    let (before, start) = (cpu_time(daemon)?, Instant::now());
    loud.tell(&order)?;
    let mut prompt = Samples::default();
    for which in 1..=8 {
        std::thread::sleep(TIME / 10);
        let to = Prefixes::TEN.one(which, 20);
        let asked = Instant::now();
        quiet.connect(to, 1, false)?;
        pending.line_with(&format!("\"{}\"", to.first()), PATIENCE)?;
        prompt.0.push(asked.elapsed().as_nanos() as f64);
    }
    let done = loud.answer()?;
    let share = (cpu_time(daemon)? - before).as_secs_f64() / start.elapsed().as_secs_f64();
    let refused = done["refused"].as_f64().context("no count")?;
    Ok(Noise {
        share: share * 100.0,
        rate: refused / done["seconds"].as_f64().context("no time")?,
        prompt,
    })
}

fn cpu_time(daemon: &Daemon) -> Result<Duration> {
    cpu_of(daemon.pid().context("guardd does not run")?)
}

/// User and system time of a process's threads so far: the first field of schedstat, in nanoseconds.
///
/// # Errors
///
/// That it has ended.
pub(super) fn cpu_of(pid: u32) -> Result<Duration> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        let first = text.split(' ').next().context("no time")?;
        total += first.parse::<u64>()?;
    }
    Ok(Duration::from_nanos(total))
}
