//! What else judges HTTP requests: sandlock, sandbox-runtime and mitmproxy, each beside the guard on the same network, and
//! told to let through what is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{Network, PATIENCE, Running, bins};
use serde_json::json;

use super::client::Client;
use super::peers::{SANDLOCK, pip};
use super::prefixes::{HTTP_PORT, Pool, Prefixes};
use xtask::lab;
use xtask::shell::{run, say, target};

/// The last that the oldest supported Node.js runs.
const SANDBOX_RUNTIME: &str = "@anthropic-ai/sandbox-runtime@0.0.78";
/// The last for Python 3.10 and 3.11.
const MITMPROXY: &str = "mitmproxy==11.0.2";
/// Where it listens, on the loopback of the lab.
const MITMPROXY_AT: &str = "127.0.0.1:9999";

/// Where all of them read.
pub(super) fn pool() -> Pool {
    Prefixes::TEN.between()
}

/// Starts its command with every GET let through, of all that goes to a port.
const SANDLOCK_DRIVER: &str = "\
import sys
from sandlock import Sandbox
sandbox = Sandbox(fs_readable=['/'], fs_writable=['/dev'], http_allow=['GET */*'], http_ports=[int(sys.argv[1])])
sys.exit(sandbox.run_interactive(sys.argv[2:]))
";

/// Refuses what is no read, as somebody would who had nothing else.
const MITMPROXY_SCRIPT: &str = "\
from mitmproxy import http
def running():
    print('ready', flush=True)
def request(flow):
    if flow.request.method not in ('GET', 'HEAD'):
        flow.response = http.Response.make(403)
";

/// Says to the client by which proxy it goes, and with what name and password.
const SANDBOXED: &str = "exec \"$GUARD_LAB\" bench 127.0.0.1:3128 \"Basic $(printf %s \
                         \"$CLOUDSDK_PROXY_USERNAME:$CLOUDSDK_PROXY_PASSWORD\" | base64 -w0)\"";

/// A client of its own, and what it goes through where that is another process.
pub(super) struct Peer {
    pub(super) client: Client,
    pub(super) server: Option<Running>,
}

/// Redirects connections to its own proxy, as the guard does. As root, who can read the interpreter wherever it is.
pub(super) fn sandlock(network: &Network) -> Result<Peer> {
    let python = pip(SANDLOCK, "sandlock")?;
    let mut command = network.dev().command(python);
    command.args(["-c", SANDLOCK_DRIVER, &HTTP_PORT.to_string()]);
    command.arg(bins::find("guard-lab")?).arg("bench");
    let client = Client::start(&mut command)?.pinned()?;
    Ok(Peer {
        client,
        server: None,
    })
}

/// Leaves its command no network but its own proxy.
pub(super) fn sandbox_runtime(network: &Network) -> Result<Peer> {
    let program = npm(SANDBOX_RUNTIME, "sandbox-runtime")?.join(".bin/srt");
    let dir = scratch(network, "sandbox-runtime")?;
    let settings = dir.join("settings.json");
    let text = json!({
        "network": {"allowedDomains": pool().texts().collect::<Vec<_>>(), "deniedDomains": []},
        "filesystem": {"denyRead": [], "allowWrite": [&dir], "denyWrite": []},
    });
    fs::write(&settings, text.to_string())?;
    let mut command = network.dev().command(program);
    command.arg("--settings").arg(settings);
    command.args(["-c", SANDBOXED]).current_dir(&dir);
    command.env("GUARD_LAB", bins::find("guard-lab")?);
    let client = Client::start(&mut command)?.pinned()?;
    Ok(Peer {
        client,
        server: None,
    })
}

/// An ordinary HTTP proxy with a script. What is large it is told to pass on as it comes, and not to keep.
pub(super) fn mitmproxy(network: &Network) -> Result<Peer> {
    let python = pip(MITMPROXY, "mitmproxy")?;
    let dir = scratch(network, "mitmproxy")?;
    let script = dir.join("reads.py");
    fs::write(&script, MITMPROXY_SCRIPT)?;
    let (host, port) = MITMPROXY_AT.split_once(':').context("no port")?;
    let mut command = network.dev().command(python.with_file_name("mitmdump"));
    command.args(["--quiet", "--listen-host", host, "--listen-port", port]);
    command.arg("--scripts").arg(script);
    command.args(["--set", "stream_large_bodies=1m", "--set"]);
    command.arg(format!("confdir={}", dir.display()));
    let mut server = Running::start(&mut command)?;
    server.line_with("ready", PATIENCE)?;
    let mut client = network.dev().command(bins::find("guard-lab")?);
    Ok(Peer {
        client: Client::start(client.args(["bench", MITMPROXY_AT]))?.pinned()?,
        server: Some(server),
    })
}

/// A directory that is removed with the network.
pub(super) fn scratch(network: &Network, name: &str) -> Result<PathBuf> {
    let dir = network.tag().dir().join(name);
    fs::create_dir_all(&dir).with_context(|| format!("cannot make {}", dir.display()))?;
    Ok(dir)
}

/// The directory of the modules of a Node.js package in `target/tools`, with what it runs.
fn npm(package: &str, name: &str) -> Result<PathBuf> {
    const WHY: &str = "guard is compared with sandbox-runtime";
    const PROGRAMS: [(&str, &str); 4] = [
        ("npm", "npm"),
        ("bwrap", "bubblewrap"),
        ("socat", "socat"),
        ("rg", "ripgrep"),
    ];
    lab::obtain(&PROGRAMS, WHY)?;
    let dir = target().join("tools").join(name);
    let modules = dir.join("node_modules");
    if has(&modules) {
        return Ok(modules);
    }
    let into = dir.display();
    say(&format!("installing {package} with npm into {into}: {WHY}"));
    fs::create_dir_all(&dir)?;
    run(Command::new("npm")
        .args(["install", "--ignore-scripts", "--no-audit", "--no-fund"])
        .arg("--prefix")
        .arg(&dir)
        .arg(package))?;
    ensure!(has(&modules), "npm left no {package}");
    Ok(modules)
}

fn has(modules: &Path) -> bool {
    modules.join(".bin/srt").exists()
}
