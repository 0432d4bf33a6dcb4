//! Reading over HTTP from a read-only destination: beside no guard, a relay that copies bytes, and mitmproxy.

use std::any::Any;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, ensure};
use guard_lab::{Daemon, Network, PATIENCE, Running, bins};
use xtask::shell::{cargo, read, run, say, target, text};

use super::Plan;
use super::client::{Client, Side, compare, sink};
use super::figure::{Figure, Samples, Unit};
use super::prefixes::{HTTP_PORT, TEN};
use super::starts::own_memory;

const POLICY: &str = r#"
version = 1
name = "reads"
default = "deny"

[[rule]]
name = "bench"
to = ["10.0.0.0/8"]
action = "read-only"
"#;
/// User of the relay, which is in the proxy's place.
const RELAY: u32 = 61_299;
/// The last for Python 3.10 and 3.11.
const MITMPROXY: &str = "mitmproxy==11.0.2";
const MITMPROXY_AT: [&str; 2] = ["127.0.0.1", "9999"];
/// Refuses what is no read.
const SCRIPT: &str = "\
from mitmproxy import http
def running():
    print('ready', flush=True)
def request(flow):
    if flow.request.method not in ('GET', 'HEAD'):
        flow.response = http.Response.make(403)
";
/// Idle connections that are counted, and those before them.
const IDLE: [u64; 2] = [1000, 10];

/// What a client does, its unit, how much of it, and which number of its answer counts.
type Row = (
    &'static str,
    Unit,
    &'static str,
    (&'static str, u64),
    &'static str,
);

/// Each figure.
const ROWS: [Row; 5] = [
    (
        "GETs over one connection",
        Unit::Rate,
        "get",
        ("count", 500),
        "a_second",
    ),
    (
        "the slowest in a hundred of them",
        Unit::Time,
        "get",
        ("count", 500),
        "p99_ns",
    ),
    (
        "connection with one GET",
        Unit::Time,
        "get-fresh",
        ("count", 100),
        "ns",
    ),
    (
        "download",
        Unit::Throughput,
        "download",
        ("bytes", 1 << 28),
        "bytes_a_second",
    ),
    (
        "1,000 connections at once, a GET each",
        Unit::Time,
        "get-at-once",
        ("count", 1000),
        "ns",
    ),
];

/// # Errors
///
/// That something could not be measured.
pub(super) fn http(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let sink = sink(&network)?;
    let daemon = Daemon::in_network(&network)
        .policy("reads", POLICY)
        .start()?;
    let guarded = Client::guarded(&daemon, "reads")?.pinned()?;
    let mut sides = vec![
        Side::new("guard", guarded, ()),
        Side::new("no guard", Client::free(&network)?.pinned()?, ()),
        relay()?,
    ];
    // First: the allocator keeps a part of what it once had.
    let idle = idle(&daemon, &mut sides[0].client)?;
    sides.extend(Side::peer("mitmproxy", mitmproxy(&network)));
    let mut figures = vec![idle];
    for (name, unit, what, amount, measured) in ROWS {
        let order = TEN.between().order(what, HTTP_PORT, amount);
        let rounds = if what == "get-at-once" {
            plan.few.min(3)
        } else {
            plan.few
        };
        let measure = |client: &mut Client| client.number(&order, measured);
        figures.extend(compare((name, unit), rounds, &mut sides, measure)?);
    }
    drop((sides, daemon, sink, network));
    Ok(figures)
}

/// Measures what the proxy keeps for a connection that has asked for something and is open.
fn idle(daemon: &Daemon, client: &mut Client) -> Result<Figure> {
    let mut memory_with = |count| -> Result<f64> {
        client.ask(&TEN.between().order("idle", HTTP_PORT, ("count", count)))?;
        own_memory(daemon, "guard-proxy")
    };
    let before = memory_with(IDLE[1])?;
    let each = (memory_with(IDLE[0])? - before) / (IDLE[0] - IDLE[1]) as f64;
    memory_with(IDLE[1])?;
    Ok(Figure::new(
        "the proxy, for each idle connection",
        Unit::Memory,
        Samples(vec![each]),
    ))
}

/// Starts a client under another guardd, whose connections are redirected to a process that only copies them.
fn relay() -> Result<Side> {
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
    Ok(Side::new("relay", client, (relay, daemon, sink, network)))
}

/// Starts a client behind mitmproxy, which passes on what is large as it comes.
fn mitmproxy(network: &Network) -> Result<(Client, Box<dyn Any>)> {
    let python = pip(MITMPROXY, "mitmproxy")?;
    let dir = network.tag().dir().join("mitmproxy");
    fs::create_dir_all(&dir)?;
    let script = dir.join("reads.py");
    fs::write(&script, SCRIPT)?;
    let [host, port] = MITMPROXY_AT;
    let mut command = network.dev().command(python.with_file_name("mitmdump"));
    command
        .args([
            "--quiet",
            "--listen-host",
            host,
            "--listen-port",
            port,
            "--scripts",
        ])
        .arg(script);
    command
        .args(["--set", "stream_large_bodies=1m", "--set"])
        .arg(format!("confdir={}", dir.display()));
    let mut server = Running::start(&mut command)?;
    server.line_with("ready", PATIENCE)?;
    let mut client = network.dev().command(bins::find("guard-lab")?);
    let client = Client::start(client.args(["bench", &MITMPROXY_AT.join(":")]))?.pinned()?;
    Ok((client, Box::new(server)))
}

/// Returns a Python of its own, in `target/tools`, that has a package.
pub(super) fn pip(package: &str, module: &str) -> Result<PathBuf> {
    let dir = target().join("tools").join(module);
    let python = dir.join("bin/python");
    let import = format!("import {module}");
    let is_there = || read(Command::new(&python).args(["-c", &import])).is_ok();
    if !is_there() {
        say(&format!(
            "installing {package} with pip into {}: guard is compared with it",
            dir.display()
        ));
        run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
        let mut pip = Command::new(&python);
        run(pip.args(["-m", "pip", "install", "--quiet", package]))?;
        ensure!(is_there(), "{} left no {module}", text(&pip));
    }
    Ok(python)
}
