//! The server in production, and what reached it: the evidence that a refusal was one.

use std::io::{BufRead as _, BufReader};
use std::net::{IpAddr, UdpSocket};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use anyhow::{Context as _, Result, bail};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::Value;

use crate::network::PROD_V4;
use crate::server::sniff::{MARK, MARK_PORT};
use crate::{Network, PATIENCE, bins, exec, patience};

/// Where it answers unless told otherwise.
const TCP: &[u16] = &[22, 53, 80, 443, 2283, 5432, 8080];
const UDP: &[u16] = &[53, 123, 443, 4433];

/// A server at every address of production. It ends with this value, and its network not before.
#[derive(Debug)]
pub struct Production {
    network: Network,
    server: Child,
    stdin: Option<ChildStdin>,
    seen: Arc<Seen>,
}

impl Production {
    /// Starts it at the usual ports, writing down each packet too.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn start(network: &Network) -> Result<Self> {
        Self::launch(network, TCP, UDP, true)
    }

    /// Starts it at ports of the caller's choice. Without `sniff`, it writes down connections, requests and
    /// datagrams only, and stays out of the way of a measurement.
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn launch(network: &Network, tcp: &[u16], udp: &[u16], sniff: bool) -> Result<Self> {
        Self::launch_as(network, tcp, udp, sniff, None)
    }

    /// The same, which speaks TLS, too: with the certificate and the key in a file (PEM).
    ///
    /// # Errors
    ///
    /// That it cannot be started.
    pub fn launch_as(
        network: &Network,
        tcp: &[u16],
        udp: &[u16],
        sniff: bool,
        identity: Option<&Path>,
    ) -> Result<Self> {
        let mut command = network.prod().command(bins::find("guard-lab")?);
        command.arg("serve").args(sniff.then_some("--sniff"));
        for (option, ports) in [("--tcp", tcp), ("--udp", udp)] {
            for port in ports {
                command.args([option, &port.to_string()]);
            }
        }
        if let Some(identity) = identity {
            command.arg("--tls").arg(identity);
        }
        let mut server = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start guard-lab serve")?;
        let production = Self {
            network: network.clone(),
            stdin: server.stdin.take(),
            seen: Seen::from(server.stdout.take().context("no output")?),
            server,
        };
        production
            .seen
            .wait_for(|record| record["kind"] == "ready")?;
        Ok(production)
    }

    /// All that has reached it so far: what had left the developer's machine when this was called is in it.
    ///
    /// # Errors
    ///
    /// That it is gone.
    pub fn reached(&self) -> Result<Vec<Reached>> {
        self.catch_up()?;
        let records = self.seen.lock();
        let told = records.all.iter();
        Ok(told.filter_map(Reached::from_record).collect())
    }

    /// The requests by HTTP that have reached it, in their order.
    ///
    /// # Errors
    ///
    /// That it is gone.
    pub fn requests(&self) -> Result<Vec<Reached>> {
        let mut reached = self.reached()?;
        reached.retain(|one| one.kind == "http");
        Ok(reached)
    }

    /// Their methods and paths.
    ///
    /// # Errors
    ///
    /// That it is gone.
    pub fn requested(&self) -> Result<Vec<String>> {
        let requests = self.requests()?;
        let lines = requests
            .iter()
            .map(|one| format!("{} {}", one.text("method"), one.text("path")));
        Ok(lines.collect())
    }

    /// What reached an address at a port: packets, and what came of them.
    ///
    /// # Errors
    ///
    /// That `address` is none, or that production is gone.
    pub fn reached_at(&self, address: &str, port: u16) -> Result<Vec<Reached>> {
        let address: IpAddr = address
            .parse()
            .with_context(|| format!("{address} is no address"))?;
        let mut reached = self.reached()?;
        reached.retain(|one| one.to == address && one.port == Some(port));
        Ok(reached)
    }

    /// Waits until the packets that have left the developer's machine are written down: sends one after
    /// them, past any guard, and waits for it. A veth keeps the order of each CPU's packets, so one goes
    /// from each.
    fn catch_up(&self) -> Result<()> {
        let marks = self.network.dev().enter(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0))?;
            let cpus = sched_getaffinity(None)?;
            let allowed = (0..CpuSet::MAX_CPU).filter(|cpu| cpus.is_set(*cpu));
            allowed
                .map(|cpu| self.mark(&socket, cpu))
                .collect::<Result<Vec<_>>>()
        })?;
        marks
            .iter()
            .try_for_each(|mark| self.seen.wait_for(|record| record["mark"] == mark.as_str()))
    }

    /// Sends a mark from a CPU, which the calling thread then stays on.
    fn mark(&self, socket: &UdpSocket, cpu: usize) -> Result<String> {
        let mut only = CpuSet::new();
        only.set(cpu);
        sched_setaffinity(None, &only)?;
        let mark = self.seen.next_mark().to_string();
        socket.send_to(format!("{MARK}{mark}").as_bytes(), (PROD_V4, MARK_PORT))?;
        Ok(mark)
    }
}

impl Drop for Production {
    fn drop(&mut self) {
        drop(self.stdin.take());
        if let Err(error) = exec::ended(&mut self.server) {
            eprintln!("guard-lab serve: {error}");
        }
    }
}

/// The server's lines, as they come.
#[derive(Debug, Default)]
struct Seen {
    records: Mutex<Records>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Records {
    all: Vec<Value>,
    marks: u64,
    ended: bool,
}

impl Seen {
    fn from(output: ChildStdout) -> Arc<Self> {
        let seen = Arc::new(Self::default());
        let writer = Arc::clone(&seen);
        thread::spawn(move || writer.collect(output));
        seen
    }

    fn collect(&self, output: ChildStdout) {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if let Ok(record) = serde_json::from_str(&line) {
                self.lock().all.push(record);
                self.more.notify_all();
            }
        }
        self.lock().ended = true;
        self.more.notify_all();
    }

    /// A panic elsewhere leaves complete records behind.
    fn lock(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_mark(&self) -> u64 {
        let mut records = self.lock();
        records.marks += 1;
        records.marks
    }

    fn wait_for(&self, wanted: impl Fn(&Value) -> bool) -> Result<()> {
        let mut looked_at = 0;
        let missing = |records: &mut Records| {
            let found = records.all[looked_at..].iter().any(&wanted);
            looked_at = records.all.len();
            !found && !records.ended
        };
        let waited = self
            .more
            .wait_timeout_while(self.lock(), patience(PATIENCE), missing);
        let (records, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if records.ended {
            bail!("guard-lab serve ended");
        }
        if timeout.timed_out() {
            bail!("guard-lab serve did not answer within {PATIENCE:?}");
        }
        Ok(())
    }
}

/// Something that reached production.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reached {
    /// `packet`; `tcp`, a connection that was accepted; `http`, a request; `udp`, a datagram received.
    pub kind: String,
    /// The sender's address.
    pub from: IpAddr,
    /// The address that it was sent to.
    pub to: IpAddr,
    /// The port, where the protocol has one.
    pub port: Option<u16>,
    /// The whole record: `protocol`, `routing` and `reset` of a packet, `method`, `path` and `body` of a request.
    pub record: Value,
}

impl Reached {
    fn from_record(record: &Value) -> Option<Self> {
        Some(Self {
            kind: record["kind"].as_str()?.to_owned(),
            from: record["from"].as_str()?.parse().ok()?,
            to: record["to"].as_str()?.parse().ok()?,
            port: record["port"]
                .as_u64()
                .and_then(|port| port.try_into().ok()),
            record: record.clone(),
        })
    }

    /// A text of the record; empty where it has none of that name.
    #[must_use]
    pub fn text(&self, key: &str) -> &str {
        self.record[key].as_str().unwrap_or_default()
    }

    /// The TCP connection that a packet is of: its sender's address and port.
    #[must_use]
    pub fn connection(&self) -> Option<(IpAddr, u64)> {
        let source_port = self.record["source_port"].as_u64();
        let is_tcp = self.record["protocol"] == libc::IPPROTO_TCP;
        source_port.filter(|_| is_tcp).map(|port| (self.from, port))
    }

    /// A TCP reset without data or acknowledgement. The kernel sends such for no socket at all, in answer to a segment of a
    /// connection that is gone.
    #[must_use]
    pub fn is_bare_reset(&self) -> bool {
        self.record["reset"] == true
    }

    /// The IP protocol of a packet.
    #[must_use]
    pub fn protocol(&self) -> Option<u64> {
        self.record["protocol"].as_u64()
    }
}
