//! What it costs that TLS has to show a name (`tls = "name"`), beside having no guard: by the kernel's gate, and by the proxy.

use std::time::Duration;

use anyhow::{Result, ensure};
use guard_lab::{Daemon, Network, Running};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Other, Target, Unit};
use super::prefixes::{PORT, Prefixes};
use super::rounds::interleave;
use super::samples::Samples;

/// Connections on each side in a round.
const COUNT: u64 = 200;
/// How long a TCP stream flows in a round.
const STREAM: Duration = Duration::from_millis(200);
const NAME: &str = "forge.example.com";
/// How much longer a connection may take, in nanoseconds.
const MOST: f64 = 10_000.0;
/// The part of the throughput that has to be left.
const BULK: f64 = 0.95;

const GATE: &str = "the hello is corked, walked through and judged before TCP has it; the connection's share of what any costs is in it";
const PROXY: &str = "the hello and all that follows go through guard-proxy";
const BEHIND: &str = "the socket has left the map of sockets by then; rounds of the same side differ more than sides do";

/// The same policy without the key, with it, and with it where the proxy looks.
struct TlsSides {
    none: Client,
    enough: Client,
    gate: Client,
    proxy: Client,
    _daemons: [Daemon; 3],
    _sink: Running,
    _network: Network,
}

fn policy(key: &str) -> String {
    format!(
        "version = 1\ndefault = \"deny\"\n[[rule]]\nto = [\"{NAME}\", \"10.0.0.0/8\"]\nports = [\"tcp/{PORT}\"]\naction = \"allow\"\n{key}\n"
    )
}

fn daemon(network: &Network, key: &str, settings: &str) -> Result<Daemon> {
    let daemon = Daemon::in_network(network).policy("bench", &policy(key));
    daemon
        .config(&format!("resolvers = [\"127.0.0.1:1\"]\n{settings}"))
        .start()
}

impl TlsSides {
    fn start() -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let key = "tls = \"name\"";
        let daemons = [
            daemon(&network, "", "")?,
            daemon(&network, key, "[tls]\ngate = \"kernel\"\n")?,
            daemon(&network, key, "[tls]\ngate = \"proxy\"\n")?,
        ];
        let [enough, gate, proxy] = &daemons;
        ensure!(
            gate.has_hook("gate_hello")?,
            "this kernel has no gate, so the proxy would be measured twice"
        );
        Ok(Self {
            none: Client::free(&network)?.pinned()?,
            enough: Client::guarded(enough, "bench")?.pinned()?,
            gate: Client::guarded(gate, "bench")?.pinned()?,
            proxy: Client::guarded(proxy, "bench")?.pinned()?,
            _daemons: daemons,
            _sink: sink,
            _network: network,
        })
    }

    /// Runs `measure` on each side in turns: none, without the key, with it, and by the proxy.
    fn each(
        &mut self,
        rounds: usize,
        measure: impl Fn(&mut Client) -> Result<f64>,
    ) -> Result<[Samples; 4]> {
        interleave(
            rounds,
            self,
            [
                &mut |sides| measure(&mut sides.none),
                &mut |sides| measure(&mut sides.enough),
                &mut |sides| measure(&mut sides.gate),
                &mut |sides| measure(&mut sides.proxy),
            ],
        )
    }
}

/// A ClientHello, and a TCP stream behind it.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn names(plan: &Plan) -> Result<Vec<Figure>> {
    let mut sides = TlsSides::start()?;
    let pool = Prefixes::TEN.between();
    let hello = sides.each(plan.rounds, |client| client.hello(pool, COUNT, NAME))?;
    let stream = sides.each(plan.rounds, |client| {
        client.stream_behind(pool, STREAM, NAME)
    })?;
    Ok([greeted(hello), streamed(stream)].concat())
}

/// What a ClientHello takes.
fn greeted([none, enough, gate, proxy]: [Samples; 4]) -> Vec<Figure> {
    let time = |name: &str, guard: &Samples, target| {
        Figure::alone(name, Unit::Time, guard.clone(), target)
    };
    vec![
        time(
            "connect + ClientHello + end, tls = \"name\"",
            &gate,
            Target::More(MOST),
        )
        .beside(Other::Measured("without the key", enough))
        .remark(GATE),
        time(
            "connect + ClientHello + end, tls = \"name\"",
            &gate,
            Target::Stated,
        )
        .beside(Other::Measured("no guard", none.clone()))
        .remark(GATE),
        time("the same by the proxy", &proxy, Target::Stated)
            .beside(Other::Measured("no guard", none))
            .remark(PROXY),
    ]
}

/// How fast a stream behind one is.
fn streamed([none, enough, gate, proxy]: [Samples; 4]) -> Vec<Figure> {
    let speed = |name: &str, guard: &Samples, target| {
        Figure::alone(name, Unit::Throughput, guard.clone(), target)
    };
    vec![
        speed(
            "one TCP stream behind its ClientHello",
            &gate,
            Target::RatioAtLeast(BULK),
        )
        .beside(Other::Measured("without the key", enough))
        .remark(BEHIND),
        speed(
            "one TCP stream behind its ClientHello",
            &gate,
            Target::RatioAtLeast(BULK),
        )
        .beside(Other::Measured("no guard", none.clone()))
        .remark(BEHIND),
        speed("the same by the proxy", &proxy, Target::Stated)
            .beside(Other::Measured("no guard", none))
            .remark(PROXY),
    ]
}
