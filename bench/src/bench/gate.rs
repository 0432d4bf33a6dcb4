//! Ten ratios that are measured with each change, and compared with docs/performance.md.
//!
//! The gate's programs are not optimised, but for the kernel half, which is the same in every build. So these are ratios that the
//! kernel half decides: a client does the same system calls on both sides, and between them are the guard's hooks and look-ups.
//! A ratio that is far better than documented is as wrong as one that is worse: the document is old, or something else is measured.
//!
//! A connect's time depends on other work of the machine: a guarded connect wakes more threads, and a sleeping CPU is slow to wake.
//! So nothing is woken on another CPU, and the sink sleeps meanwhile. Connects have many short rounds, so that other work
//! falls on both sides alike.

use std::cmp::Ordering;
use std::env;
use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use guard_lab::kernel::{Link, Program, Timing};
use guard_lab::{Cgroup, Daemon, Network, Running};
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_setaffinity};
use xtask::shell::{root, say};

use super::client::{Client, sink};
use super::figure::{Figure, Samples, Unit, turns};
use super::prefixes::{MANY, PORT, Pool, Prefixes, TEN};

const DOCUMENT: &str = "docs/performance.md";
const SECTION: &str = "\n## What is measured each time\n";
/// Factor by which a ratio may differ from the document's.
const TOO_MUCH: f64 = 4.0 / 3.0;
/// Connections on each side in a round, and rounds.
const CONNECTS: (u64, usize) = (100, 45);
/// Datagrams on each side in a round, milliseconds of a stream, and rounds.
const DATAGRAMS: u64 = 16_384;
const STREAM: u64 = 100;
const ROUNDS: usize = 11;
/// Time that the sink takes at most for the connections of a round.
const SINK: Duration = Duration::from_millis(5);

/// A ratio, and how far it is from the document's.
struct Compared {
    text: String,
    off: Ordering,
}

/// Measures the ratios, and measures all once more where one is off by too much.
///
/// # Errors
///
/// What could not be measured, and which ratios are off by more than a third, twice and to the same side: one that is now worse and
/// now better says how noisy the machine is.
pub(super) fn gate() -> Result<()> {
    let own = env::current_exe()?;
    guard_lab::bins::look_in(own.parent().context("no directory")?.to_owned());
    let text = fs::read_to_string(root().join(DOCUMENT))
        .with_context(|| format!("cannot read {DOCUMENT}"))?;
    let first = compared(&text)?;
    if first.iter().all(|one| one.off.is_eq()) {
        return Ok(());
    }
    say("some are off by more than a third from the document, and all are measured once more");
    let second = compared(&text)?;
    let both = first
        .iter()
        .zip(&second)
        .filter(|(first, second)| second.off.is_ne() && first.off == second.off);
    let wrong: Vec<_> = both
        .map(|(first, second)| format!("{}\n{}", first.text, second.text))
        .collect();
    ensure!(
        wrong.is_empty(),
        "off by more than a third from {DOCUMENT}, twice. Find out why, or measure several times (`cargo xtask bench --gate`) and write \
         down what they are now:\n{}",
        wrong.join("\n")
    );
    Ok(())
}

fn compared(text: &str) -> Result<Vec<Compared>> {
    let mut figures = connects(TEN, "10 rules")?;
    figures.extend(connects(MANY, "100,000 prefixes")?);
    figures.extend(traffic()?);
    figures.iter().map(|figure| compare(figure, text)).collect()
}

fn compare(figure: &Figure, text: &str) -> Result<Compared> {
    let (name, beside) = (
        &figure.name,
        figure.other.as_ref().map_or("", |(beside, _)| beside),
    );
    let documented = documented(text, name, beside);
    let documented =
        documented.with_context(|| format!("{DOCUMENT} has no ratio of {name} beside {beside}"))?;
    let found = figure.ratios().median();
    let worse = if figure.unit == Unit::Time {
        found / documented
    } else {
        documented / found
    };
    ensure!(
        worse.is_finite() && worse > 0.0,
        "{name}: {found} is no ratio"
    );
    let off = off(worse);
    let note = ["too much better", "", "too much worse"][(off as i8 + 1) as usize];
    let text =
        format!("| {name:<33} | {beside:<13} | {found:.3} | documented {documented:.3} {note}");
    println!("{text}");
    Ok(Compared { text, off })
}

fn off(worse: f64) -> Ordering {
    match worse {
        worse if worse > TOO_MUCH => Ordering::Greater,
        worse if worse < 1.0 / TOO_MUCH => Ordering::Less,
        _ => Ordering::Equal,
    }
}

/// Returns the ratio of a row in [`SECTION`]: `| figure | beside | ratio |`.
fn documented(text: &str, name: &str, beside: &str) -> Option<f64> {
    let (_, rest) = text.split_once(SECTION)?;
    let section = rest.split("\n## ").next()?;
    section.lines().find_map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        (*cells.get(1)? == name && *cells.get(2)? == beside).then(|| cells.get(3)?.parse().ok())?
    })
}

/// A client without a guard, one under it, and one under an empty egress program.
struct Sides {
    daemon: Daemon,
    clients: [Client; 3],
    empty: Program,
    sink: Running,
    _needs: (Link, Cgroup, Network),
}

const NONE: usize = 0;
const GUARD: usize = 1;
const EMPTY: usize = 2;

impl Sides {
    fn start(prefixes: Prefixes) -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy("bench", &prefixes.policy())
            .start()?;
        let cgroup = Cgroup::new()?;
        let empty = Program::empty_egress()?;
        let clients = [
            Client::free(&network)?.pinned()?,
            Client::guarded(&daemon, "bench")?.pinned()?,
            Client::in_cgroup(&network, &cgroup)?.pinned()?,
        ];
        let link = empty.attach_egress(cgroup.path())?;
        Ok(Self {
            daemon,
            clients,
            empty,
            sink,
            _needs: (link, cgroup, network),
        })
    }

    /// Measures connects while the sink, which each of them would wake, is stopped: they wait in its queue.
    fn connect(&mut self, side: usize, pool: Pool, allowed: bool) -> Result<f64> {
        self.sink.signal(Signal::STOP)?;
        let measured = self.clients[side].connect(pool, CONNECTS.0, allowed);
        self.sink.signal(Signal::CONT)?;
        thread::sleep(SINK);
        measured
    }

    fn send(&mut self, side: usize, connected: bool) -> Result<f64> {
        let mut order = TEN.between().order("send", PORT, ("count", DATAGRAMS));
        order["connected"] = connected.into();
        self.clients[side].number(&order, "ns")
    }
}

/// Measures a connection beside none without a guard, and a refusal beside a connection. All that a guarded connect wakes stays on
/// the client's CPU: its session's supervisor, and guardd.
fn connects(prefixes: Prefixes, what: &str) -> Result<Vec<Figure>> {
    let mut sides = Sides::start(prefixes)?;
    stay_on_the_first_cpu(sides.clients[GUARD].pid())?;
    stay_on_the_first_cpu(sides.daemon.pid().context("guardd has ended")?)?;
    let samples = turns(CONNECTS.1, 3, |side| match side {
        0 => sides.connect(NONE, prefixes.between(), true),
        1 => sides.connect(GUARD, prefixes.between(), true),
        _ => sides.connect(GUARD, prefixes.inside(), false),
    })?;
    let figure = |name: &str, guard: &Samples, beside, other: &Samples| {
        Figure::new(&format!("{name}, {what}"), Unit::Time, guard.clone())
            .beside(beside, other.clone())
    };
    Ok(vec![
        figure("connect + close", &samples[1], "no guard", &samples[0]),
        figure("refused connect", &samples[2], "allowed", &samples[1]),
    ])
}

fn stay_on_the_first_cpu(pid: u32) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.file_name().to_string_lossy().parse().ok();
        sched_setaffinity(
            Some(task.and_then(Pid::from_raw).context("no thread")?),
            &cpus,
        )?;
    }
    Ok(())
}

/// Measures a TCP stream, small datagrams, and the egress program's own time beside an empty one's.
fn traffic() -> Result<Vec<Figure>> {
    let mut sides = Sides::start(TEN)?;
    let order = TEN.between().order("stream", PORT, ("ms", STREAM));
    let stream = turns(ROUNDS, 2, |side| {
        sides.clients[side].number(&order, "bytes_a_second")
    })?;
    let mut figures = figures("one TCP stream", Unit::Throughput, &stream);
    for (name, connected) in [("64-byte UDP, send", true), ("64-byte UDP, sendto", false)] {
        let sent = turns(ROUNDS, 3, |side| Ok(1e9 / sides.send(side, connected)?))?;
        figures.extend(self::figures(name, Unit::Rate, &sent));
    }
    let egress = program(&sides.daemon, "egress")?;
    let _timing = Timing::enable()?;
    let runs = turns(ROUNDS, 2, |turn| {
        let side = [GUARD, EMPTY][turn];
        let runs = |sides: &Sides| [&egress, &sides.empty][turn].runs();
        let before = runs(&sides)?;
        sides.send(side, true)?;
        runs(&sides)?
            .since(before)
            .context("the program did not run")
    })?;
    let figure = Figure::new("egress, a packet of a flow", Unit::Time, runs[0].clone());
    figures.push(figure.beside("empty program", runs[1].clone()));
    Ok(figures)
}

fn figures(name: &str, unit: Unit, samples: &[Samples]) -> Vec<Figure> {
    let others = [(NONE, "no guard"), (EMPTY, "empty program")].into_iter();
    let measured = others.filter_map(|(side, beside)| Some((beside, samples.get(side)?)));
    measured
        .map(|(beside, other)| {
            Figure::new(name, unit, samples[GUARD].clone()).beside(beside, other.clone())
        })
        .collect()
}

/// Returns one of the guard's programs.
fn program(daemon: &Daemon, hook: &str) -> Result<Program> {
    let status = daemon.root(["status"]).json()?;
    let mut hooks = status["hooks"].as_array().into_iter().flatten();
    let hook = hooks
        .find(|found| found["name"] == hook)
        .with_context(|| format!("guard status names no hook {hook}"))?;
    Program::by_id(u32::try_from(
        hook["program_id"].as_u64().context("no program id")?,
    )?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_read_from_its_row_and_off_by_a_third_is_too_much() {
        let text = format!(
            "| a | nft | 9 |\n{SECTION}\n| figure | beside | ratio |\n| a | nft | 1.5 |\n| a | no guard | 3.125 |\n\
             \n## Next\n| c | nft | 2 |\n"
        );
        assert_eq!(documented(&text, "a", "no guard"), Some(3.125));
        assert_eq!(documented(&text, "a", "nft"), Some(1.5));
        assert_eq!(documented(&text, "b", "nft"), None);
        assert_eq!(documented(&text, "c", "nft"), None);
        let all = [1.4, 1.3, 0.8, 0.7].map(off);
        assert_eq!(
            all,
            [
                Ordering::Greater,
                Ordering::Equal,
                Ordering::Equal,
                Ordering::Less
            ]
        );
    }
}
