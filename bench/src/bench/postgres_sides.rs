//! Who reads from PostgreSQL: a client without a guard, and one under it.

use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use guard_lab::postgres::{Cluster, SUPERUSER, stop};
use guard_lab::{AGENT, Daemon, Network, Running, bins, eventually};
use serde_json::json;

use super::client::Client;
use super::http_peers::scratch;
use super::memory;
use super::pgbench::{Reads, Run};
use xtask::clients;

/// Where the server is, as the clients see it.
const HOST: &str = "192.0.2.10";
const PORT: u16 = 5432;
/// As many as are ever idle, and some more.
const CONNECTIONS: &str = "max_connections=1100";

const POLICY: &str = r#"
version = 1
name = "reads"
default = "deny"

[[rule]]
name = "bench"
to = ["192.0.2.0/24"]
action = "read-only"
profile = "postgres"
"#;

/// Both of them.
pub(super) struct PostgresSides {
    pub(super) none: PostgresSide,
    pub(super) guard: PostgresSide,
    daemon: Daemon,
    _server: PostgresServer,
    _network: Network,
}

/// One of them. It stays on no CPU, and the server neither: that has a process for each connection, and were they all on one,
/// the guard would look better than it is.
pub(super) struct PostgresSide {
    client: Client,
    programs: PathBuf,
    /// Of pgbench, whose user may write here.
    logs: PathBuf,
}

impl PostgresSides {
    pub(super) fn start() -> Result<Self> {
        clients::obtain_postgres("guard is measured in front of it")?;
        let network = Network::new()?;
        let server = PostgresServer::start(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy("reads", POLICY)
            .start()?;
        Ok(Self {
            none: PostgresSide::of(&network, "none", Client::free(&network)?)?,
            guard: PostgresSide::of(&network, "guard", Client::guarded(&daemon, "reads")?)?,
            daemon,
            _server: server,
            _network: network,
        })
    }

    /// What the proxy has in memory of its own, in bytes.
    pub(super) fn proxy(&self) -> Result<f64> {
        memory::proxy(&self.daemon)
    }
}

impl PostgresSide {
    fn of(network: &Network, name: &str, client: Client) -> Result<Self> {
        let logs = scratch(network, &format!("pgbench-{name}"))?;
        chown(&logs, Some(AGENT), Some(AGENT))?;
        Ok(Self {
            client,
            programs: bins::postgres()?,
            logs,
        })
    }

    /// Has pgbench read for a second.
    pub(super) fn read(&mut self, reads: &Reads) -> Result<Run> {
        let mut argv = self.program("pgbench");
        argv.extend(reads.arguments(&self.logs.join("log")));
        let answer = self.client.ask(&json!({"do": "read", "argv": argv}))?;
        Run::read(answer["text"].as_str().unwrap_or_default(), &self.logs)
    }

    /// Has psql copy what a query gives, and throw it away; in nanoseconds, from its start to its end.
    pub(super) fn copy(&mut self, query: &str) -> Result<f64> {
        let mut argv = self.program("psql");
        let copy = format!("copy ({query}) to stdout");
        argv.extend(
            [
                "-X",
                "-v",
                "ON_ERROR_STOP=1",
                "-o",
                "/dev/null",
                "-c",
                &copy,
            ]
            .map(str::to_owned),
        );
        self.client.spawn(&argv)
    }

    /// Opens so many connections in place of those that are open, each of which reads something and is then idle.
    pub(super) fn idle(&mut self, count: u64) -> Result<()> {
        let to = format!("{HOST}:{PORT}");
        let order = json!({"do": "idle-postgres", "to": to, "count": count});
        self.client.ask(&order).map(drop)
    }

    /// The program itself, not what Debian has on PATH, a script that looks for it; and the words that both understand, of
    /// which the last is the database.
    fn program(&self, name: &str) -> Vec<String> {
        let program = self.programs.join(name).display().to_string();
        let port = PORT.to_string();
        [
            &*program, "-h", HOST, "-p", &port, "-U", SUPERUSER, SUPERUSER,
        ]
        .map(str::to_owned)
        .to_vec()
    }
}

/// The server, with pgbench's tables in it.
struct PostgresServer(Running);

impl PostgresServer {
    fn start(network: &Network) -> Result<Self> {
        let dir = scratch(network, "production")?.join("postgres");
        let cluster = Cluster::new(network.prod(), dir)?;
        cluster.admit("host all all all trust")?;
        let mut postgres = cluster.server();
        // Nothing of its own is to come between two rounds.
        postgres.args(["-c", "autovacuum=off", "-c", CONNECTIONS]);
        let server = Self(Running::start(postgres.stderr(Stdio::null()))?);
        let is_ready = || {
            let mut asking = cluster.program("pg_isready");
            asking.arg("-q").arg("-h").arg(cluster.dir());
            asking.status().is_ok_and(|status| status.success())
        };
        eventually("PostgreSQL takes connections", is_ready)?;
        let mut fill = cluster.program("pgbench");
        // A hundred thousand accounts, 15 MB: nothing is read from a disk.
        fill.args(["-i", "-q", "-s", "1", "-U", SUPERUSER, "-h"]);
        let output = fill.arg(cluster.dir()).arg(SUPERUSER).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(server)
            .with_context(|| format!("{fill:?}: {said}"))
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}
