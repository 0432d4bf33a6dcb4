//! What names in the path cost: a look-up through the guard's resolver beside one without, and a connection that a name allows.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context as _, Result};
use guard_lab::bench::monotonic;
use guard_lab::{Daemon, Network, Running};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::memory;
use super::prefixes::{PORT, Prefixes};
use super::rounds::{interleave, take_turns};
use super::samples::Samples;

const DNS: &str = "192.0.2.53:53";
/// Questions in a round.
const QUESTIONS: u64 = 1000;
/// Connections in a round.
const CONNECTS: u64 = 400;
/// Addresses in one answer, and answers that fill a session's share of what the kernel keeps.
const IN_ONE: u16 = 32;
const ANSWERS: u64 = 16_384 / IN_ONE as u64;
const MICROSECOND: f64 = 1e3;
const MIB: f64 = 1024.0 * 1024.0;
const SECOND: f64 = 1e9;

/// What programs connect to is by one policy open by its prefix, and by the other by its name.
fn policy(name: &str, to: &str) -> String {
    format!(
        "version = 1\nname = \"{name}\"\ndefault = \"deny\"\n\
         [[rule]]\nname = \"resolvers\"\nto = [\"@dns\"]\nports = [\"udp/53\", \"tcp/53\"]\naction = \"allow\"\n\
         [[rule]]\nname = \"bench\"\nto = [\"{to}\"]\nports = [\"tcp/{PORT}\"]\naction = \"allow\"\n"
    )
}

struct Stage {
    free: Client,
    plain: Client,
    named: Client,
    flooder: Client,
    daemon: Daemon,
    _server: Server,
    _sink: Running,
    _network: Network,
}

impl Stage {
    fn start() -> Result<Self> {
        let network = Network::new()?;
        let server = Server::start(&network)?;
        let sink = sink(&network)?;
        let named = policy("named", "*.bench.example.com").replace(
            "[[rule]]\nname = \"bench\"",
            "[[rule]]\nprivate = true\nname = \"bench\"",
        );
        let daemon = Daemon::in_network(&network)
            .config(&format!("resolvers = [\"{DNS}\"]\n"))
            .policy("plain", &policy("plain", "10.0.0.0/8"))
            .policy("named", &named)
            .start()?;
        Ok(Self {
            free: Client::free(&network)?,
            plain: Client::guarded(&daemon, "plain")?,
            named: Client::guarded(&daemon, "named")?,
            flooder: Client::guarded(&daemon, "named")?,
            daemon,
            _server: server,
            _sink: sink,
            _network: network,
        })
    }
}

fn order(what: &str, count: u64) -> Value {
    json!({"do": what, "to": DNS, "count": count})
}

/// What the middle question took, and the one slower than 99 of 100.
fn look_up(client: &mut Client) -> Result<[f64; 2]> {
    let answer = client.ask(&order("ask", QUESTIONS))?;
    let number = |key: &str| answer[key].as_f64().context("no time");
    Ok([number("ns")?, number("p99")?])
}

/// Look-ups, connections, memory, and the time without a resolver.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn names(plan: &Plan) -> Result<Vec<Figure>> {
    let mut stage = Stage::start()?;
    let mut figures = look_ups(plan, &mut stage)?;
    figures.push(a_second(plan, &mut stage)?);
    figures.push(beside_a_flood(plan, &mut stage)?);
    figures.push(connects(plan, &mut stage)?);
    figures.push(resident(&mut stage)?);
    figures.push(again(&mut stage)?);
    Ok(figures)
}

fn look_ups(plan: &Plan, stage: &mut Stage) -> Result<Vec<Figure>> {
    let [free, named] = take_turns(
        plan.few,
        stage,
        [
            &mut |stage: &mut Stage| look_up(&mut stage.free),
            &mut |stage: &mut Stage| look_up(&mut stage.named),
        ],
    )?;
    let of = |all: &[[f64; 2]], at: usize| Samples(all.iter().map(|one| one[at]).collect());
    let remark = "two more processes and their wake-ups are in the path";
    let figure = |name, at, most: f64| {
        Figure::alone(
            name,
            Unit::Time,
            of(&named, at),
            Target::More(most * MICROSECOND),
        )
        .beside(Other::Measured("no guard", of(&free, at)))
        .remark(remark)
    };
    Ok(vec![
        figure("look-up", 0, 25.0),
        figure("look-up, the 99th of 100", 1, 100.0),
    ])
}

/// One session's, beside having no guard: the server is one thread.
fn a_second(plan: &Plan, stage: &mut Stage) -> Result<Figure> {
    let rate = |client: &mut Client| {
        let answer = client.ask(&order("ask-at-once", 10 * QUESTIONS))?;
        answer["a_second"].as_f64().context("no rate")
    };
    let [free, named] = interleave(
        plan.fewest,
        stage,
        [
            &mut |stage: &mut Stage| rate(&mut stage.free),
            &mut |stage: &mut Stage| rate(&mut stage.named),
        ],
    )?;
    let remark = "a session sends 4,000 a second at most";
    let figure = Figure::alone(
        "look-ups, 32 at once",
        Unit::Requests,
        named,
        Target::Stated,
    );
    Ok(figure
        .beside(Other::Measured("no guard", free))
        .remark(remark))
}

/// A look-up while another session sends questions as fast as it can.
fn beside_a_flood(plan: &Plan, stage: &mut Stage) -> Result<Figure> {
    let flooded = |stage: &mut Stage| {
        let mut flood = order("ask-flood", 0);
        flood["ms"] = 500.into();
        stage.flooder.tell(&flood)?;
        let mut few = order("ask", QUESTIONS);
        few["count"] = 500.into();
        let answer = stage.named.ask(&few)?;
        stage.flooder.answer()?;
        answer["ns"].as_f64().context("no time")
    };
    let [quiet, flooded] = interleave(
        plan.fewest,
        stage,
        [
            &mut |stage: &mut Stage| Ok(look_up(&mut stage.named)?[0]),
            &mut |stage: &mut Stage| flooded(stage),
        ],
    )?;
    let figure = Figure::alone(
        "look-up, another session floods",
        Unit::Time,
        flooded,
        Target::Ratio(1.1),
    );
    let remark = "the flood takes a CPU by itself, and the resolver reads 4,000 of it a second";
    Ok(figure
        .beside(Other::Measured("nobody does", quiet))
        .remark(remark))
}

fn connects(plan: &Plan, stage: &mut Stage) -> Result<Figure> {
    stage.named.ask(&order("ask", 1))?;
    let to = Prefixes::TEN.one(0, 1);
    let [plain, named] = interleave(
        // All go to one address, and each keeps its port for a minute.
        plan.few,
        stage,
        [
            &mut |stage: &mut Stage| stage.plain.connect(to, CONNECTS, true),
            &mut |stage: &mut Stage| stage.named.connect(to, CONNECTS, true),
        ],
    )?;
    let figure = Figure::alone(
        "connect + close, by name",
        Unit::Time,
        named,
        Target::Ratio(1.05),
    );
    let remark = "what the session knows of the address is looked up, and what the policy says of the pattern";
    Ok(figure
        .beside(Other::Measured("by prefix", plain))
        .remark(remark))
}

/// A session that knows as many addresses as it may.
fn resident(stage: &mut Stage) -> Result<Figure> {
    let mut many = order("ask", ANSWERS - 1);
    many["v6"] = true.into();
    stage.named.ask(&many)?;
    let memory = memory::resolver(&stage.daemon)?;
    let figure = Figure::alone(
        "guard-resolver, 16,384 addresses",
        Unit::Memory,
        Samples(vec![memory]),
        Target::AtMost(32.0 * MIB),
    );
    Ok(figure)
}

/// From the resolver's end to the next answer.
fn again(stage: &mut Stage) -> Result<Figure> {
    let resolver = memory::child(&stage.daemon, "guard-resolver")?;
    let pid = Pid::from_raw(resolver.cast_signed()).context("no process")?;
    let start = monotonic();
    kill_process(pid, Signal::KILL)?;
    let mut until = order("ask-until", 1);
    until["ms"] = 30_000.into();
    let answer = stage.named.ask(&until)?;
    let at = answer["at"].as_u64().context("no moment")?;
    let took = at.saturating_sub(start) as f64;
    Ok(Figure::alone(
        "resolver killed, to the next answer",
        Unit::Time,
        Samples(vec![took]),
        Target::AtMost(SECOND),
    ))
}

/// A name server in production: one address of IPv4, and always others of IPv6.
struct Server {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start(network: &Network) -> Result<Self> {
        let socket = network.prod().enter(|| Ok(UdpSocket::bind(DNS)?))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let ends: Arc<AtomicBool> = Arc::default();
        let end = Arc::clone(&ends);
        let thread = thread::spawn(move || serve(&socket, &end));
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, ends: &AtomicBool) {
    let mut buffer = [0; 512];
    let mut next = 1_u32;
    while !ends.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer)
            && let Some(answer) = answer(&buffer[..length], &mut next)
        {
            // Whoever asked may be gone.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// An answer to a question of `guard-lab bench`: what is behind the name is OPT, or nothing.
fn answer(asked: &[u8], next: &mut u32) -> Option<Vec<u8>> {
    const NAME: usize = 22;
    let section = asked.get(12..12 + NAME + 4)?;
    let is_v6 = section[NAME + 1] == 28;
    let count = if is_v6 { IN_ONE } else { 1 };
    let [high, low] = count.to_be_bytes();
    let mut answer = asked.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, high, low, 0, 0, 0, 0]);
    answer.extend(section);
    for _ in 0..count {
        answer.extend([0xc0, 12, 0, section[NAME + 1], 0, 1, 0, 0, 0, 60, 0]);
        if is_v6 {
            answer.push(16);
            answer.extend([0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0]);
            answer.extend(next.to_be_bytes());
            *next += 1;
        } else {
            answer.push(4);
            answer.extend(Prefixes::TEN.one(0, 1).first().octets());
        }
    }
    Some(answer)
}
