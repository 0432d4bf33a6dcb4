//! Opening a connection, and being refused one: beside no guard, nftables and sandlock.

use std::any::Any;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{Cgroup, Daemon, Network, bins, mounts};

use super::Plan;
use super::client::{Client, Side, compare, sink};
use super::figure::{Figure, Unit};
use super::http::pip;
use super::prefixes::{MANY, Prefixes, TEN};

/// Connections on each side in a round.
const COUNT: u64 = 400;
const SANDLOCK: &str = "sandlock==0.9.0";
/// Starts a command with connections to the prefixes of a file refused.
const DRIVER: &str = "\
import sys
from sandlock import Sandbox
deny = open(sys.argv[1]).read().split()
sandbox = Sandbox(fs_readable=['/'], fs_writable=['/dev'], net_deny=deny)
sys.exit(sandbox.run_interactive(sys.argv[2:]))
";

/// # Errors
///
/// That something could not be measured.
pub(super) fn connects(plan: &Plan) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for (prefixes, what) in [(TEN, "10 rules"), (MANY, "100,000 prefixes")] {
        let network = Network::new()?;
        let sink = sink(&network)?;
        let daemon = Daemon::in_network(&network)
            .policy("bench", &prefixes.policy())
            .start()?;
        let guarded = Client::guarded(&daemon, "bench")?.pinned()?;
        let free = Client::free(&network)?.pinned()?;
        let sandlock = sandlock(&network, prefixes);
        let mut sides = vec![Side::new("guard", guarded, daemon)];
        sides.extend(Side::peer("nftables", nftables(prefixes)));
        sides.extend(Side::peer("sandlock", sandlock));
        sides.push(Side::new("no guard", free, (sink, network)));
        let name = format!("connect + close, {what}");
        let allowed = |client: &mut Client| client.connect(prefixes.between(), COUNT, true);
        figures.extend(compare(
            (&name, Unit::Time),
            plan.rounds,
            &mut sides,
            allowed,
        )?);
        let name = format!("refused connect, {what}");
        let refused = |client: &mut Client| client.connect(prefixes.inside(), COUNT, false);
        // Without a guard nothing is refused.
        let guarded = sides.len() - 1;
        figures.extend(compare(
            (&name, Unit::Time),
            plan.rounds,
            &mut sides[..guarded],
            refused,
        )?);
    }
    Ok(figures)
}

/// Starts a client in a cgroup that nftables refuses the prefixes, on a network of its own: nftables is asked for every packet
/// of a network namespace, and would slow the other sides.
fn nftables(prefixes: Prefixes) -> Result<(Client, Box<dyn Any>)> {
    let network = Network::new()?;
    let sink = sink(&network)?;
    let cgroup = Cgroup::new()?;
    let table = format!(
        "table ip bench {{
  set denied {{ type ipv4_addr; flags interval; elements = {{ {} }} }}
  chain output {{
    type filter hook output priority 0; policy accept;
    socket cgroupv2 level 1 \"{}\" ip daddr @denied meta l4proto tcp reject with tcp reset
  }}
}}
",
        prefixes.texts().join(", "),
        cgroup.name().display()
    );
    load(&network, &table)?;
    let client = Client::in_cgroup(&network, &cgroup)?.pinned()?;
    Ok((client, Box::new((sink, cgroup, network))))
}

/// Loads a table. nft looks for cgroups right below /sys/fs/cgroup, where a hybrid layout has others: in a mount namespace of its
/// own it finds them.
fn load(network: &Network, table: &str) -> Result<()> {
    const SCRIPT: &str =
        r#"[ "$0" = /sys/fs/cgroup ] || mount --bind "$0" /sys/fs/cgroup; exec nft -f -"#;
    let mut unshare = network.dev().command("unshare");
    unshare.args(["--mount", "sh", "-ec", SCRIPT]);
    unshare.arg(mounts::cgroup2()?).stdin(Stdio::piped());
    let mut child = unshare.spawn().context("cannot start unshare")?;
    child
        .stdin
        .take()
        .context("no input")?
        .write_all(table.as_bytes())?;
    let status = child.wait()?;
    ensure!(status.success(), "nft could not load the table ({status})");
    Ok(())
}

/// Starts a client under sandlock, on the guard's network: sandlock judges system calls, and touches no packet. As root, who can read
/// the interpreter wherever it is.
fn sandlock(network: &Network, prefixes: Prefixes) -> Result<(Client, Box<dyn Any>)> {
    let python = pip(SANDLOCK, "sandlock")?;
    let dir = network.tag().dir();
    fs::create_dir_all(&dir)?;
    let file = dir.join("denied");
    fs::write(&file, prefixes.texts().join("\n"))?;
    let mut command = network.dev().command(python);
    command.args(["-c", DRIVER]).arg(&file);
    let client = Client::start(command.arg(bins::find("guard-lab")?).arg("bench"))?.pinned()?;
    Ok((client, Box::new(())))
}
