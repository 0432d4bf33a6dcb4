//! A client on one side of a comparison.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use guard_lab::{AGENT, Cgroup, Daemon, Network, PATIENCE, Running, bins};
use serde_json::{Value, json};

use super::prefixes::{PORT, Pool};

/// `guard-lab bench`, which does what it is told. It ends with this value.
pub(super) struct Client(Running);

impl Client {
    /// Becomes what `command` starts.
    pub(super) fn start(command: &mut Command) -> Result<Self> {
        let mut client = Self::launch(command)?;
        client.ready().with_context(|| format!("{command:?}"))?;
        Ok(client)
    }

    /// The same, without waiting.
    pub(super) fn launch(command: &mut Command) -> Result<Self> {
        Running::start(command).map(Self)
    }

    /// Waits until it takes orders.
    pub(super) fn ready(&mut self) -> Result<()> {
        self.0.line_with("ready", PATIENCE).map(drop)
    }

    /// On the developer's machine, guarded by nothing.
    pub(super) fn free(network: &Network) -> Result<Self> {
        Self::start(&mut free(network)?)
    }

    /// The same, in a cgroup.
    pub(super) fn in_cgroup(network: &Network, cgroup: &Cgroup) -> Result<Self> {
        Self::start(&mut cgroup.wrap(&free(network)?))
    }

    /// Under a policy of the daemon's.
    pub(super) fn guarded(daemon: &Daemon, policy: &str) -> Result<Self> {
        Self::start(&mut guarded(daemon, policy)?)
    }

    /// Has it stay on the first CPU; the sink is on the last.
    pub(super) fn pinned(mut self) -> Result<Self> {
        self.ask(&json!({"do": "pin", "cpu": 0}))?;
        Ok(self)
    }

    /// Who runs it: under a policy `guard run`, with its supervisor.
    pub(super) fn pid(&self) -> u32 {
        self.0.pid()
    }

    /// Gives an order, and waits until it is carried out.
    pub(super) fn ask(&mut self, order: &Value) -> Result<Value> {
        self.tell(order)?;
        self.answer()
    }

    /// Gives an order.
    pub(super) fn tell(&mut self, order: &Value) -> Result<()> {
        self.0.write(&format!("{order}\n"))
    }

    /// Waits until it is carried out.
    pub(super) fn answer(&mut self) -> Result<Value> {
        // Some orders take longer than anything else that is waited for.
        let line = self.0.line(PATIENCE * 2)?;
        let answer: Value =
            serde_json::from_str(&line).with_context(|| format!("not JSON: {line:?}"))?;
        match answer["failed"].as_str() {
            Some(why) => bail!("{why}"),
            None => Ok(answer),
        }
    }

    /// What a connection takes, in nanoseconds; all of them must have been allowed, or none.
    pub(super) fn connect(&mut self, pool: Pool, count: u64, allowed: bool) -> Result<f64> {
        let mut order = pool.order("connect");
        order["count"] = count.into();
        let answer = self.ask(&order)?;
        let other = if allowed { "refused" } else { "allowed" };
        ensure!(
            answer[other] == 0,
            "of {count} connects, {} were {other}",
            answer[other]
        );
        answer["ns"].as_f64().context("no time")
    }

    /// What connect(2) of a socket for datagrams takes, in nanoseconds, with the making and closing of that.
    pub(super) fn connect_udp(&mut self, pool: Pool, count: u64) -> Result<f64> {
        let mut order = pool.order("connect-udp");
        order["count"] = count.into();
        self.ask(&order)?["ns"].as_f64().context("no time")
    }

    /// What a small datagram takes, in nanoseconds.
    pub(super) fn send(&mut self, pool: Pool, count: u64, connected: bool) -> Result<f64> {
        let mut order = pool.order("send");
        order["count"] = count.into();
        order["connected"] = connected.into();
        self.ask(&order)?["ns"].as_f64().context("no time")
    }

    /// What a connection takes that sends a ClientHello and waits for its end, in nanoseconds.
    pub(super) fn hello(&mut self, pool: Pool, count: u64, name: &str) -> Result<f64> {
        let mut order = pool.order("hello");
        order["count"] = count.into();
        order["name"] = name.into();
        self.ask(&order)?["ns"].as_f64().context("no time")
    }

    /// How many bytes a second a TCP stream carries, behind a ClientHello.
    pub(super) fn stream_behind(&mut self, pool: Pool, time: Duration, name: &str) -> Result<f64> {
        let mut order = pool.order("stream");
        order["ms"] = (time.as_millis() as u64).into();
        order["name"] = name.into();
        let answer = self.ask(&order)?;
        answer["bytes_a_second"].as_f64().context("no throughput")
    }

    /// How many bytes a second a TCP stream carries.
    pub(super) fn stream(&mut self, pool: Pool, time: Duration) -> Result<f64> {
        let mut order = pool.order("stream");
        order["ms"] = (time.as_millis() as u64).into();
        let answer = self.ask(&order)?;
        answer["bytes_a_second"].as_f64().context("no throughput")
    }

    /// Has it connect until that is allowed, or refused.
    pub(super) fn tell_until(&mut self, pool: Pool, allowed: bool) -> Result<()> {
        let mut order = pool.order("until");
        order["allowed"] = allowed.into();
        order["ms"] = 60_000.into();
        self.tell(&order)
    }

    /// When that came to be, by `CLOCK_MONOTONIC`.
    pub(super) fn until(&mut self) -> Result<u64> {
        self.answer()?["at"].as_u64().context("no moment")
    }

    /// What each run of a program takes, in nanoseconds.
    pub(super) fn spawn(&mut self, argv: &[String]) -> Result<f64> {
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

/// A client under a policy, yet to be started.
pub(super) fn guarded(daemon: &Daemon, policy: &str) -> Result<Command> {
    let lab = bins::for_everybody("guard-lab", daemon.tag())?;
    let mut command = daemon.agent(["run", "--policy", policy, "--"]).command()?;
    command.arg(lab).arg("bench");
    Ok(command)
}

/// The other side of all of them.
pub(super) fn sink(network: &Network) -> Result<Running> {
    network.answer_for(&["10.0.0.0/8"])?;
    let mut command = network.prod().command(bins::find("guard-lab")?);
    let mut sink = Running::start(command.args(["sink", &PORT.to_string()]))?;
    sink.line_with("ready", PATIENCE)?;
    Ok(sink)
}
