//! Reading from PostgreSQL through the proxy, beside no guard.

use std::fs;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use guard_lab::postgres::{Cluster, SUPERUSER, stop};
use guard_lab::{Daemon, Network, Running, bins, eventually};
use serde_json::json;
use xtask::clients;

use super::Plan;
use super::client::{Client, Side, compare};
use super::figure::{Figure, Unit};

/// Where the server is, as the clients see it.
const AT: [&str; 4] = ["-h", "192.0.2.10", "-p", "5432"];
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
/// Rows of a large answer, each of which is a message, and their bytes.
const COPY: (u64, u64) = (2_560_000, 100);

/// # Errors
///
/// That something could not be measured.
pub(super) fn postgres(plan: &Plan) -> Result<Vec<Figure>> {
    clients::obtain_postgres("guard is measured in front of it")?;
    let network = Network::new()?;
    let server = PostgresServer::start(&network)?;
    let daemon = Daemon::in_network(&network)
        .policy("reads", POLICY)
        .start()?;
    // They stay on no CPU: the server has a process for each connection, and were all on one, the guard would look better than it is.
    let guarded = Client::guarded(&daemon, "reads")?;
    let mut sides = [
        Side::new("guard", guarded, daemon),
        Side::new("no guard", Client::free(&network)?, ()),
    ];
    // What Debian has on PATH is a script that looks for the program.
    let program = |name| Ok::<_, anyhow::Error>(bins::postgres()?.join(name).display().to_string());
    let (pgbench, psql) = (program("pgbench")?, program("psql")?);
    let mut figures = Vec::new();
    for (clients, mode) in [
        ("1", "simple"),
        ("1", "prepared"),
        ("8", "simple"),
        ("8", "prepared"),
    ] {
        let name = format!("pgbench -S -c {clients} -M {mode}");
        // Without -n it begins with VACUUM, which is no read.
        let argv = [
            &[&*pgbench][..],
            &AT,
            &[
                "-U", SUPERUSER, "-n", "-S", "-T", "1", "-c", clients, "-M", mode, SUPERUSER,
            ],
        ];
        let order = json!({"do": "read", "argv": argv.concat()});
        figures.extend(compare(
            (&name, Unit::Rate),
            plan.few,
            &mut sides,
            |client| a_second(client.ask(&order)?["text"].as_str().unwrap_or_default()),
        )?);
    }
    let (rows, width) = COPY;
    // With its end of line. In FROM, the server would write down all numbers first.
    let line = format!(
        "repeat('x', {}) as line, generate_series(1, {rows})",
        width - 1
    );
    let copy = format!("copy (select line from (select {line}) as lines) to stdout");
    let argv = [
        &[&*psql][..],
        &AT,
        &[
            "-U",
            SUPERUSER,
            "-X",
            "-o",
            "/dev/null",
            "-c",
            &copy,
            SUPERUSER,
        ],
    ]
    .concat();
    let name = format!("COPY, rows of {width} bytes");
    figures.extend(compare(
        (&name, Unit::Throughput),
        plan.few.min(5),
        &mut sides,
        |client| Ok((rows * width) as f64 / client.spawn(&argv)? * 1e9),
    )?);
    drop((sides, server, network));
    Ok(figures)
}

/// Returns what pgbench printed as transactions a second. Before 14 it says so twice, first with what connecting took.
fn a_second(printed: &str) -> Result<f64> {
    let line = printed.lines().rfind(|line| line.starts_with("tps = "));
    let number = line.and_then(|line| line.split(' ').nth(2)?.parse().ok());
    number.with_context(|| format!("no transactions a second in {printed:?}"))
}

/// The server, with pgbench's tables in it.
struct PostgresServer(Running);

impl PostgresServer {
    fn start(network: &Network) -> Result<Self> {
        let dir = network.tag().dir().join("production");
        fs::create_dir_all(&dir)?;
        let cluster = Cluster::new(network.prod(), dir.join("postgres"))?;
        cluster.admit("host all all all trust")?;
        let mut postgres = cluster.server();
        // Nothing of its own is to come between two rounds.
        postgres.args(["-c", "autovacuum=off"]);
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
        ensure!(output.status.success(), "{fill:?}: {said}");
        Ok(server)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        stop(&mut self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transactions_a_second_are_read() -> Result<()> {
        let old = "tps = 90.5 (including connections establishing)\ntps = 100.5 (excluding connections establishing)\n";
        for printed in ["x\ntps = 100.5 (without initial connection time)\n", old] {
            assert_eq!(a_second(printed)?, 100.5);
        }
        assert!(a_second("pgbench: error").is_err());
        Ok(())
    }
}
