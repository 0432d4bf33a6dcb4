//! A client on one side of a comparison, and the sides together.

use std::any::Any;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use guard_lab::{AGENT, Cgroup, Daemon, Network, PATIENCE, Running, bins};
use serde_json::{Value, json};
use xtask::shell::say;

use super::figure::{Figure, Unit, turns};
use super::prefixes::{PORT, Pool};

/// `guard-lab bench`, which carries out orders. It ends with this value.
pub(super) struct Client(Running);

impl Client {
    /// Starts a command that becomes a client.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut client = Running::start(command)?;
        client
            .line_with("ready", PATIENCE)
            .with_context(|| format!("{command:?}"))?;
        Ok(Self(client))
    }

    /// Starts one on the developer's machine, without a guard.
    pub(super) fn free(network: &Network) -> Result<Self> {
        Self::start(&mut free(network)?)
    }

    /// Starts one without a guard, in a cgroup.
    pub(super) fn in_cgroup(network: &Network, cgroup: &Cgroup) -> Result<Self> {
        Self::start(&mut cgroup.wrap(&free(network)?))
    }

    /// Starts one under a policy of the daemon's.
    pub(super) fn guarded(daemon: &Daemon, policy: &str) -> Result<Self> {
        let lab = bins::for_everybody("guard-lab", daemon.tag())?;
        let mut command = daemon.agent(["run", "--policy", policy, "--"]).command()?;
        Self::start(command.arg(lab).arg("bench"))
    }

    /// Has the client stay on the first CPU; the sink is on the last.
    pub(super) fn pinned(mut self) -> Result<Self> {
        self.ask(&json!({"do": "pin", "cpu": 0}))?;
        Ok(self)
    }

    /// Returns the process that runs the client: under a policy `guard run`.
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Gives an order, and waits until it is carried out.
    pub(super) fn ask(&mut self, order: &Value) -> Result<Value> {
        self.0.write(&format!("{order}\n"))?;
        // Some orders take longer than anything else that is waited for.
        let line = self.0.line(PATIENCE * 2)?;
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))?;
        match answer["failed"].as_str() {
            Some(why) => bail!("{why}"),
            None => Ok(answer),
        }
    }

    /// Gives an order, and returns a number of the answer.
    pub(super) fn number(&mut self, order: &Value, key: &str) -> Result<f64> {
        let answer = self.ask(order)?;
        answer[key]
            .as_f64()
            .with_context(|| format!("no {key}: {answer}"))
    }

    /// Measures a connection, in nanoseconds; all of them must be allowed, or none.
    pub(super) fn connect(&mut self, pool: Pool, count: u64, allowed: bool) -> Result<f64> {
        let answer = self.ask(&pool.order("connect", PORT, ("count", count)))?;
        let other = if allowed { "refused" } else { "allowed" };
        ensure!(
            answer[other] == 0,
            "of {count} connects, {} were {other}",
            answer[other]
        );
        answer["ns"].as_f64().context("no time")
    }

    /// Measures one run of a program, in nanoseconds.
    pub(super) fn spawn(&mut self, argv: &[&str]) -> Result<f64> {
        let answer = self.ask(&json!({"do": "spawn", "argv": argv, "count": 1}))?;
        answer["ns"][0].as_f64().context("no time")
    }
}

fn free(network: &Network) -> Result<Command> {
    let lab = bins::for_everybody("guard-lab", network.tag())?;
    let mut command = network.dev().command_as(AGENT, lab);
    command.arg("bench");
    Ok(command)
}

/// Starts the other end of all connections.
pub(super) fn sink(network: &Network) -> Result<Running> {
    network.answer_for(&["10.0.0.0/8"])?;
    let mut command = network.prod().command(bins::find("guard-lab")?);
    let mut sink = Running::start(command.args(["sink", &PORT.to_string()]))?;
    sink.line_with("ready", PATIENCE)?;
    Ok(sink)
}

/// One side of a comparison, with what it needs.
pub(super) struct Side {
    name: &'static str,
    pub(super) client: Client,
    _needs: Box<dyn Any>,
}

impl Side {
    pub(super) fn new(name: &'static str, client: Client, needs: impl Any) -> Self {
        Self {
            name,
            client,
            _needs: Box::new(needs),
        }
    }

    /// Returns a peer's side; where there is none, says why.
    pub(super) fn peer(name: &'static str, peer: Result<(Client, Box<dyn Any>)>) -> Option<Self> {
        let said = peer.inspect_err(|error| say(&format!("without {name}: {error:#}")));
        said.ok().map(|(client, needs)| Self {
            name,
            client,
            _needs: needs,
        })
    }
}

/// Measures all sides, of which the first is the guard's: a figure for each other one.
pub(super) fn compare(
    (name, unit): (&str, Unit),
    rounds: usize,
    sides: &mut [Side],
    measure: impl Fn(&mut Client) -> Result<f64>,
) -> Result<Vec<Figure>> {
    let mut samples = turns(rounds, sides.len(), |side| {
        let side = &mut sides[side];
        measure(&mut side.client).with_context(|| side.name)
    })?;
    let others = samples.split_off(1);
    let others = sides[1..].iter().zip(others);
    let figure = |(side, other): (&Side, _)| {
        Figure::new(name, unit, samples[0].clone()).beside(side.name, other)
    };
    Ok(others.map(figure).collect())
}
