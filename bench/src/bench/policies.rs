//! Large policies: how long until a session runs under one, or a changed one is in force, and their memory.

use std::fs;
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use guard_lab::bench::monotonic;
use guard_lab::{Daemon, Network, Running, kernel};
use rustix::process::Signal;

use super::Plan;
use super::client::{Client, guarded, sink};
use super::figure::{Figure, Target, Unit};
use super::prefixes::{Pool, Prefixes};
use super::samples::Samples;
use super::starts::resident;

const SECOND: f64 = 1e9;
const MILLISECOND: f64 = 1e6;

const UNCOUNTED: &str = ", as the kernel counts: 48 bytes a prefix, without the nodes in between, of which there are \
                         up to as many";

/// A session under the daemon's policy `bench`, which is then changed.
struct PolicyStage {
    client: Client,
    daemon: Daemon,
    _sink: Running,
    _network: Network,
}

impl PolicyStage {
    fn start() -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy(
                "bench",
                "version = 1\nname = \"bench\"\ndefault = \"allow\"\n",
            )
            .start()?;
        Ok(Self {
            client: Client::guarded(&daemon, "bench")?,
            daemon,
            _sink: sink,
            _network: network,
        })
    }

    /// Puts a new text in the policy's place, and says so. Gives the nanoseconds until a destination is judged by
    /// it.
    fn change(&mut self, text: &str, to: Pool, allowed: bool) -> Result<f64> {
        let place = self.daemon.policy_dir().join("bench.toml");
        let new = self.daemon.dir().join("bench.new");
        fs::write(&new, text)?;
        self.client.tell_until(to, allowed)?;
        let start = monotonic();
        fs::rename(&new, &place).with_context(|| format!("cannot write {}", place.display()))?;
        self.daemon.signal(Signal::HUP)?;
        Ok(self.client.until()?.saturating_sub(start) as f64)
    }

    /// Bytes of the maps that guardd holds.
    fn map_memory(&self) -> Result<f64> {
        let pid = self.daemon.pid().context("guardd does not run")?;
        Ok(kernel::map_memory(pid)? as f64)
    }
}

/// A policy of 100,000 prefixes: a session's first, and put in the place of another; then ten lines of it.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn large(plan: &Plan) -> Result<Vec<Figure>> {
    let all = Prefixes::MANY;
    let [checked, started] = first_session(plan, all)?;
    let (mut loaded, mut first, mut changed) = <(Samples, Samples, Samples)>::default();
    for _ in 0..plan.fewest.min(3) {
        let mut stage = PolicyStage::start()?;
        loaded
            .0
            .push(stage.change(&all.policy("bench", |_| false), all.one(0, 0), false)?);
        first
            .0
            .push(stage.change(&without_ten(all), all.one(0, 0), true)?);
        for _ in 0..plan.fewest {
            changed
                .0
                .push(stage.change(&all.policy("bench", |_| false), all.one(0, 0), false)?);
            changed
                .0
                .push(stage.change(&without_ten(all), all.one(0, 0), true)?);
        }
    }
    let time = |name, samples, target| Figure::alone(name, Unit::Time, samples, target);
    let (whole, few) = (
        Target::AtMost(2.0 * SECOND),
        Target::AtMost(200.0 * MILLISECOND),
    );
    Ok(vec![
        time("guard check, 100,000 prefixes", checked, Target::Stated),
        time("check, compile, load and run", started, whole),
        time("reload to 100,000 prefixes", loaded, whole),
        time("ten changed lines, the first time", first, few).remark(
            "the text is read, checked and compiled as a whole, and the second trie is filled",
        ),
        time("ten changed lines, again", changed, few)
            .remark("the text is read, checked and compiled as a whole"),
    ])
}

/// Ten lines fewer.
fn without_ten(all: Prefixes) -> String {
    all.policy("bench", |index| index % (all.count / 10) == 0)
}

/// `guard check`, and `guard run` until the command runs, with a policy file.
fn first_session(plan: &Plan, all: Prefixes) -> Result<[Samples; 2]> {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network).start()?;
    let file = daemon.dir().join("large.toml");
    let (mut checked, mut started) = (Samples::default(), Samples::default());
    for round in 0..plan.fewest {
        // Another text each time: guardd knows one that it has compiled.
        fs::write(&file, all.policy(&format!("large-{round}"), |_| false))?;
        let start = Instant::now();
        let mut check = daemon.root(["check", &file.to_string_lossy()]).command()?;
        ensure!(
            check.stdout(Stdio::null()).status()?.success(),
            "guard check failed"
        );
        checked.0.push(start.elapsed().as_nanos() as f64);
        let start = Instant::now();
        let client = Client::start(&mut guarded(&daemon, &file.to_string_lossy())?)?;
        started.0.push(start.elapsed().as_nanos() as f64);
        drop(client);
    }
    Ok([checked, started])
}

/// A policy of 1,000,000 prefixes.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn largest(_: &Plan) -> Result<Vec<Figure>> {
    let all = Prefixes::MOST;
    let mut stage = PolicyStage::start()?;
    let (resident_before, maps_before) = (resident(&stage.daemon)?, stage.map_memory()?);
    let loaded = stage.change(&all.policy("bench", |_| false), all.one(0, 0), false)?;
    let (resident, maps) = (resident(&stage.daemon)?, stage.map_memory()?);
    let one = |name: &str, unit, number: f64, remark: String| {
        Figure::alone(name, unit, Samples(vec![number]), Target::Stated).remark(remark)
    };
    let before = |bytes| format!("{} before it", Unit::Memory.text(bytes));
    Ok(vec![
        one(
            "reload to 1,000,000 prefixes",
            Unit::Time,
            loaded,
            String::new(),
        ),
        one(
            "guardd with them",
            Unit::Memory,
            resident,
            before(resident_before),
        ),
        one(
            "its maps with them",
            Unit::Memory,
            maps,
            before(maps_before) + UNCOUNTED,
        ),
    ])
}
