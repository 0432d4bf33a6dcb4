//! What else could stop a connection: nftables by cgroup, and sandlock.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{Cgroup, Network, Running, bins, mounts};

use super::client::{Client, sink};
use super::prefixes::Prefixes;
use xtask::shell::{read, run, say, target, text};

/// What is compared with.
pub(super) const SANDLOCK: &str = "sandlock==0.9.0";

/// Starts its command with connections to the prefixes of a file refused.
const DRIVER: &str = "\
import sys
from sandlock import Sandbox
deny = open(sys.argv[1]).read().split()
sandbox = Sandbox(fs_readable=['/'], fs_writable=['/dev'], net_deny=deny)
sys.exit(sandbox.run_interactive(sys.argv[2:]))
";

/// nftables, with a client in a cgroup, on a network of its own: its table is asked for every packet of a
/// network namespace, and would slow the other sides down.
pub(super) struct Nft {
    pub(super) client: Client,
    _sink: Running,
    _cgroup: Cgroup,
    _network: Network,
}

impl Nft {
    pub(super) fn start(prefixes: Prefixes) -> Result<Self> {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let cgroup = Cgroup::new()?;
        load(&network, &ruleset(prefixes, &cgroup))?;
        Ok(Self {
            client: Client::in_cgroup(&network, &cgroup)?.pinned()?,
            _sink: sink,
            _cgroup: cgroup,
            _network: network,
        })
    }
}

/// Refuses at once, as the guard does.
fn ruleset(prefixes: Prefixes, cgroup: &Cgroup) -> String {
    let all: Vec<_> = prefixes.texts().collect();
    format!(
        "table ip bench {{
  set denied {{ type ipv4_addr; flags interval; elements = {{ {} }} }}
  chain output {{
    type filter hook output priority 0; policy accept;
    socket cgroupv2 level 1 \"{}\" ip daddr @denied meta l4proto tcp reject with tcp reset
  }}
}}
",
        all.join(", "),
        cgroup.name().display()
    )
}

/// nft looks for cgroups right below /sys/fs/cgroup, where on a hybrid layout others are: in a mount namespace of
/// its own it finds them.
fn load(network: &Network, ruleset: &str) -> Result<()> {
    const SCRIPT: &str =
        r#"[ "$0" = /sys/fs/cgroup ] || mount --bind "$0" /sys/fs/cgroup; exec nft -f -"#;
    let mut unshare = network.dev().command("unshare");
    unshare.args(["--mount", "sh", "-ec", SCRIPT]);
    unshare.arg(mounts::cgroup2()?).stdin(Stdio::piped());
    let mut child = unshare.spawn().context("cannot start unshare")?;
    let mut stdin = child.stdin.take().context("no input")?;
    stdin.write_all(ruleset.as_bytes())?;
    drop(stdin);
    let status = child.wait()?;
    ensure!(status.success(), "nft could not load the table ({status})");
    Ok(())
}

/// A client under sandlock, on the same network as the guard: it judges system calls, and touches no packet. As
/// root, who can read the interpreter wherever it is.
pub(super) fn sandlock(network: &Network, prefixes: Prefixes) -> Result<Client> {
    let python = pip(SANDLOCK, "sandlock")?;
    let dir = network.tag().dir();
    fs::create_dir_all(&dir)?;
    let file = dir.join("denied");
    fs::write(&file, prefixes.texts().collect::<Vec<_>>().join("\n"))?;
    let mut command = network.dev().command(python);
    command.args(["-c", DRIVER]).arg(&file);
    Client::start(command.arg(bins::find("guard-lab")?).arg("bench"))?.pinned()
}

/// A Python of its own that has a package, in `target/tools`.
pub(super) fn pip(package: &str, module: &str) -> Result<PathBuf> {
    let dir = target().join("tools").join(module);
    let python = dir.join("bin/python");
    let import = format!("import {module}");
    let there = || read(Command::new(&python).args(["-c", &import])).is_ok();
    if there() {
        return Ok(python);
    }
    say(&format!(
        "installing {package} with pip into {}: guard is compared with it",
        dir.display()
    ));
    run(Command::new("python3").args(["-m", "venv"]).arg(&dir))?;
    let mut pip = Command::new(&python);
    pip.args(["-m", "pip", "install", "--quiet", package]);
    run(&mut pip)?;
    ensure!(there(), "{} left no {module}", text(&pip));
    Ok(python)
}
