//! Who reads over HTTP: a client without a guard, one under it, one behind a process that reads nothing, and the peers'.

use std::any::Any;

use anyhow::{Context as _, Result};
use guard_lab::{Daemon, Network, Running, bins};

use super::client::{Client, sink};
use super::figure::Other;
use super::http_peers::{Peer, mitmproxy, pool, sandbox_runtime, sandlock};
use super::memory;
use super::prefixes::HTTP_PORT;
use super::rounds::interleave;
use super::samples::Samples;
use xtask::shell::{cargo, run, target};

/// The user of what is in the proxy's place.
const RELAY: u32 = 61_299;

const POLICY: &str = r#"
version = 1
name = "reads"
default = "deny"

[[rule]]
name = "bench"
to = ["10.0.0.0/8"]
action = "read-only"
"#;

/// What each does once in a round.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) what: &'static str,
    /// How much, under which name.
    pub(super) amount: (&'static str, u64),
    /// What of the answer counts.
    pub(super) measured: &'static str,
    /// Whether who is slow does a part of it: what is measured is the same.
    pub(super) may_be_less: bool,
}

impl Task {
    /// Has a client do a part of it.
    pub(super) fn ask(&self, client: &mut Client, share: u64) -> Result<f64> {
        let mut order = pool().order_to(self.what, HTTP_PORT);
        let share = if self.may_be_less { share } else { 1 };
        order[self.amount.0] = (self.amount.1 / share).into();
        let answer = client.ask(&order)?;
        let measured = answer[self.measured].as_f64();
        measured.with_context(|| format!("no {}: {answer}", self.measured))
    }
}

/// One of them.
struct HttpSide {
    name: &'static str,
    /// Or why there is none.
    client: Result<Client, String>,
    is_peer: bool,
    /// Which part of a task it does.
    share: u64,
    _needs: Box<dyn Any>,
}

impl HttpSide {
    fn of(name: &'static str, client: Client, needs: impl Any) -> Self {
        Self {
            name,
            client: Ok(client),
            is_peer: false,
            share: 1,
            _needs: Box::new(needs),
        }
    }

    fn peer(name: &'static str, share: u64, peer: Result<Peer>) -> Self {
        let (client, server) = match peer {
            Ok(Peer { client, server }) => (Ok(client), server),
            Err(error) => (Err(format!("{error:#}")), None),
        };
        Self {
            name,
            client,
            is_peer: true,
            share,
            _needs: Box::new(server),
        }
    }

    /// Not a number where there is none. A peer that fails is asked no more.
    fn measure(&mut self, task: &Task) -> Result<f64> {
        let Ok(client) = &mut self.client else {
            return Ok(f64::NAN);
        };
        match task.ask(client, self.share) {
            Err(error) if self.is_peer => {
                self.client = Err(format!("{}: {error:#}", task.what));
                Ok(f64::NAN)
            }
            measured => measured.with_context(|| self.name),
        }
    }
}

/// All of them: without a guard first, then under it.
pub(super) struct HttpSides {
    all: [HttpSide; 6],
    daemon: Daemon,
    _sink: Running,
    _network: Network,
}

impl HttpSides {
    pub(super) fn start() -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy("reads", POLICY)
            .start()?;
        let none = Client::free(&network)?.pinned()?;
        let guard = Client::guarded(&daemon, "reads")?.pinned()?;
        Ok(Self {
            all: [
                HttpSide::of("no guard", none, ()),
                HttpSide::of("guard", guard, ()),
                relay()?,
                HttpSide::peer("sandlock", 1, sandlock(&network)),
                HttpSide::peer("sandbox-runtime", 4, sandbox_runtime(&network)),
                HttpSide::peer("mitmproxy", 10, mitmproxy(&network)),
            ],
            daemon,
            _sink: sink,
            _network: network,
        })
    }

    /// On each side in turns.
    pub(super) fn each(&mut self, rounds: usize, task: &Task) -> Result<ComparedSamples> {
        let samples = interleave(
            rounds,
            self,
            [
                &mut |sides: &mut Self| sides.all[0].measure(task),
                &mut |sides| sides.all[1].measure(task),
                &mut |sides| sides.all[2].measure(task),
                &mut |sides| sides.all[3].measure(task),
                &mut |sides| sides.all[4].measure(task),
                &mut |sides| sides.all[5].measure(task),
            ],
        )?;
        let named = samples.into_iter().zip(&self.all);
        let mut sides = named.map(|(samples, side)| match &side.client {
            Ok(_) => Other::Measured(side.name, samples),
            Err(why) => Other::Missing(side.name, why.clone()),
        });
        let (none, guard) = (sides.next(), sides.next());
        let Some((none, Other::Measured(_, guard))) = none.zip(guard) else {
            unreachable!("it has been measured");
        };
        let others = std::iter::once(none).chain(sides).collect();
        Ok(ComparedSamples { guard, others })
    }

    /// Has the client under the guard do something.
    pub(super) fn guarded(&mut self, task: &Task) -> Result<f64> {
        self.all[1].measure(task)
    }

    /// What the proxy has in memory of its own, in bytes.
    pub(super) fn proxy(&self) -> Result<f64> {
        memory::proxy(&self.daemon)
    }
}

/// What was measured of the client under the guard, and of the others.
pub(super) struct ComparedSamples {
    pub(super) guard: Samples,
    /// What there was beside it, no guard first.
    pub(super) others: Vec<Other>,
}

/// A client under another guardd, whose connections are redirected to a process that only copies them.
fn relay() -> Result<HttpSide> {
    run(cargo()
        .args(["build", "--release", "--locked", "--package", "guard-lab"])
        .args(["--example", "relay", "--target-dir"])
        .arg(target()))?;
    let network = Network::new()?;
    let sink = sink(&network)?;
    let mut daemon = Daemon::in_network(&network)
        .policy("reads", POLICY)
        .config(&format!("[proxy]\nuser = \"{RELAY}\"\n"))
        .prepare()?;
    // Where guardd may not become another user, the proxy is whoever comes.
    let mut guardd = daemon.on_machine(0, "setpriv");
    guardd
        .args(["--bounding-set=-setuid,-setgid", "--"])
        .arg(bins::find("guardd")?)
        .args(daemon.arguments());
    daemon.start_as(guardd)?;
    let client = Client::guarded(&daemon, "reads")?.pinned()?;
    let program = bins::for_everybody("examples/relay", daemon.tag())?;
    let mut relay = daemon.on_machine(RELAY, program);
    let relay = Running::start(relay.arg(daemon.state_dir().join("proxy.sock")))?;
    daemon.wait_for_log("the proxy runs")?;
    Ok(HttpSide::of(
        "relay",
        client,
        (relay, daemon, sink, network),
    ))
}
