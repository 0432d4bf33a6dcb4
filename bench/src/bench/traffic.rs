//! What an open connection costs: throughput, and the egress program's own time beside an empty one's.

use std::fs;
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use guard_lab::kernel::{Link, Program, Timing};
use guard_lab::{Cgroup, Daemon, Network, Running};
use rustix::process::{Pid, Signal};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::prefixes::{Pool, Prefixes};
use super::rounds::interleave;
use super::samples::Samples;

/// Datagrams on each side in a round.
const COUNT: u64 = 16_384;
/// How long a TCP stream flows in a round, and where it is to be quick.
const STREAM: Duration = Duration::from_millis(200);
const SHORT_STREAM: Duration = Duration::from_millis(100);
/// How long the sink takes at most for the connections of a round.
const SINK: Duration = Duration::from_millis(5);
/// Connections in a round that times the connect program.
const CONNECTS: u64 = 400;

/// What stands in the way of a stream, of packets through a connected socket, and of packets with an address each.
const STREAM_WAY: &str =
    "the guard is asked once for up to 64 KiB; rounds of the same side differ more than sides do";
const SEND_WAY: &str = "a packet takes about 3 µs: about half of what is missed is the kernel's way into any egress \
                        program, see the empty one, the rest is finding the socket's storage";
const SENDTO_WAY: &str =
    "as above, and the sendmsg program, which looks at the same storage before";

/// A client without a guard, one under it, and one under an empty egress program.
pub(super) struct TrafficSides {
    daemon: Daemon,
    pub(super) none: Client,
    pub(super) guard: Client,
    empty: Client,
    empty_program: Program,
    _link: Link,
    _cgroup: Cgroup,
    sink: Running,
    _network: Network,
}

impl TrafficSides {
    pub(super) fn start(prefixes: Prefixes) -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy("bench", &prefixes.policy("bench", |_| false))
            .start()?;
        let cgroup = Cgroup::new()?;
        let empty_program = Program::empty_egress()?;
        Ok(Self {
            none: Client::free(&network)?.pinned()?,
            guard: Client::guarded(&daemon, "bench")?.pinned()?,
            empty: Client::in_cgroup(&network, &cgroup)?.pinned()?,
            _link: empty_program.attach_egress(cgroup.path())?,
            daemon,
            empty_program,
            _cgroup: cgroup,
            sink,
            _network: network,
        })
    }

    /// Has all that a guarded connect waits for or wakes stay on the client's CPU: its session's supervisor, and guardd. What is on
    /// another CPU is dear to wake where that sleeps, and costs nothing where that is busy and it has to wait.
    pub(super) fn share_a_cpu(&self) -> Result<()> {
        stay_on_the_first_cpu(self.guard.pid())?;
        stay_on_the_first_cpu(self.daemon.pid().context("guardd has ended")?)
    }

    /// Measures connects while the sink, which each would wake for the same reason, is stopped: they wait in its queue.
    pub(super) fn connects(
        &mut self,
        measure: impl FnOnce(&mut Self) -> Result<f64>,
    ) -> Result<f64> {
        self.sink.signal(Signal::STOP)?;
        let measured = measure(self);
        self.sink.signal(Signal::CONT)?;
        thread::sleep(SINK);
        measured
    }

    /// Runs `measure` on each side in turns: none, guard, empty.
    fn each(
        &mut self,
        rounds: usize,
        measure: impl Fn(&mut Client) -> Result<f64>,
    ) -> Result<[Samples; 3]> {
        interleave(
            rounds,
            self,
            [
                &mut |sides| measure(&mut sides.none),
                &mut |sides| measure(&mut sides.guard),
                &mut |sides| measure(&mut sides.empty),
            ],
        )
    }
}

fn stay_on_the_first_cpu(pid: u32) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(0);
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let task = task?.file_name();
        let task = task.to_string_lossy().parse().ok();
        let task = task.and_then(Pid::from_raw).context("no thread")?;
        sched_setaffinity(Some(task), &cpus)?;
    }
    Ok(())
}

/// One of the guard's programs.
pub(super) fn program(daemon: &Daemon, hook: &str) -> Result<Program> {
    let status = daemon.root(["status"]).json()?;
    let mut hooks = status["hooks"].as_array().into_iter().flatten();
    let hook = hooks
        .find(|found| found["name"] == hook)
        .with_context(|| format!("guard status names no hook {hook}"))?;
    let id = hook["program_id"].as_u64().context("no program id")?;
    Program::by_id(u32::try_from(id)?)
}

/// One TCP stream, and small datagrams.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn throughput(plan: &Plan) -> Result<Vec<Figure>> {
    let mut sides = TrafficSides::start(Prefixes::TEN)?;
    let pool = Prefixes::TEN.between();
    let time = if plan.quick { SHORT_STREAM } else { STREAM };
    let stream = sides.each(plan.rounds, |client| client.stream(pool, time))?;
    let mut figures = beside("one TCP stream", Unit::Throughput, stream, STREAM_WAY);
    for (name, connected, way) in [
        ("64-byte UDP, send", true, SEND_WAY),
        ("64-byte UDP, sendto", false, SENDTO_WAY),
    ] {
        let sent = sides.each(plan.rounds, |client| {
            Ok(1e9 / client.send(pool, COUNT, connected)?)
        })?;
        figures.extend(beside(name, Unit::Packets, sent, way));
    }
    Ok(figures)
}

/// The guard's throughput beside none, and beside an empty program.
fn beside(name: &str, unit: Unit, measured: [Samples; 3], way: &str) -> Vec<Figure> {
    let [none, guard, empty] = measured;
    let figure = |target| Figure::alone(name, unit, guard.clone(), target);
    vec![
        figure(Target::RatioAtLeast(0.98))
            .beside(Other::Measured("no guard", none))
            .remark(way),
        figure(Target::Stated).beside(Other::Measured("empty program", empty)),
    ]
}

/// The egress program's time for a packet of an established flow.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn egress(plan: &Plan) -> Result<Vec<Figure>> {
    const WHY: &str = "finding the socket's storage, which an empty program does not, and the kernel's own \
                       stamp of each run, about 20 ns, which is in both";
    let mut sides = TrafficSides::start(Prefixes::TEN)?;
    let program = program(&sides.daemon, "egress")?;
    let _timing = Timing::enable()?;
    let pool = Prefixes::TEN.between();
    let [guard, empty] = interleave(
        plan.rounds,
        &mut sides,
        [
            &mut |sides| timed(&program, || sides.guard.send(pool, COUNT, true)),
            &mut |sides| timed(&sides.empty_program, || sides.empty.send(pool, COUNT, true)),
        ],
    )?;
    let beside = Other::Measured("empty program", empty);
    let figure = |target| {
        Figure::alone(
            "egress, a packet of a flow",
            Unit::Time,
            guard.clone(),
            target,
        )
        .remark(WHY)
    };
    Ok(vec![
        figure(Target::Ratio(2.0)).beside(beside),
        figure(Target::AtMost(100.0)),
    ])
}

/// The connect program's time.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn connect(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (prefixes, what, most) in [
        (Prefixes::TEN, "10 rules", 500.0),
        (Prefixes::MANY, "100,000 prefixes", 1000.0),
    ] {
        let mut sides = TrafficSides::start(prefixes)?;
        let [allowed, refused] = connect_times(plan, &mut sides, prefixes)?;
        for (name, took) in [("connect", allowed), ("refused connect", refused)] {
            let name = format!("{name} program, {what}");
            figures.push(
                Figure::alone(&name, Unit::Time, took, Target::AtMost(most)).remark(
                    "the look-ups in the kernel's maps; a refusal is counted and reported, too",
                ),
            );
        }
    }
    Ok(figures)
}

fn connect_times(
    plan: &Plan,
    sides: &mut TrafficSides,
    prefixes: Prefixes,
) -> Result<[Samples; 2]> {
    let program = program(&sides.daemon, "connect4")?;
    let _timing = Timing::enable()?;
    let connect = |sides: &mut TrafficSides, pool: Pool, allowed: bool| {
        timed(&program, || sides.guard.connect(pool, CONNECTS, allowed))
    };
    interleave(
        plan.rounds,
        sides,
        [
            &mut |sides| connect(sides, prefixes.between(), true),
            &mut |sides| connect(sides, prefixes.inside(), false),
        ],
    )
}

/// What a run of a program took while something went on.
pub(super) fn timed(program: &Program, work: impl FnOnce() -> Result<f64>) -> Result<f64> {
    let before = program.runs()?;
    work()?;
    program
        .runs()?
        .since(before)
        .context("the program did not run")
}
