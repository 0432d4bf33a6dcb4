//! How long starting takes, a command and guardd, and what guardd then takes of memory.

use std::fs;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Daemon, Network, SshKey, bins};

use super::Plan;
use super::client::Client;
use super::figure::{Figure, Other, Target, Unit};
use super::prefixes::Prefixes;
use super::rounds::interleave;
use super::samples::Samples;

const MILLISECOND: f64 = 1e6;
const MIB: f64 = 1024.0 * 1024.0;
const TRUE: &str = "/bin/true";
/// People who answer, each with two keys.
const APPROVERS: u32 = 16;
/// Sessions that ask, and what each asks for.
const SIDE: u32 = 8;

/// `guard run -- true` beside `true`, by the same parent.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn run(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network)
        .policy("bench", &Prefixes::TEN.policy("bench", |_| false))
        .start()?;
    let mut client = Client::free(&network)?;
    let guard = bins::for_everybody("guard", daemon.tag())?;
    let socket = daemon.socket();
    let guarded = [
        &guard.to_string_lossy(),
        "run",
        "--socket",
        &socket.to_string_lossy(),
    ]
    .map(str::to_owned)
    .into_iter()
    .chain(["--policy", "bench", "--", TRUE].map(str::to_owned))
    .collect::<Vec<_>>();
    let bare = [TRUE.to_owned()];
    let [guard, none] = interleave(
        plan.few,
        &mut client,
        [&mut |client| client.spawn(&guarded), &mut |client| {
            client.spawn(&bare)
        }],
    )?;
    let target = Target::More(40.0 * MILLISECOND);
    Ok(vec![
        Figure::alone("guard run -- true", Unit::Time, guard, target)
            .beside(Other::Measured("true", none)),
    ])
}

/// guardd, from its start to enforcing: from nothing, and from what another one pinned.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn guardd(plan: &Plan) -> Result<Vec<Figure>> {
    let (mut fresh, mut adopted) = (Samples::default(), Samples::default());
    for _ in 0..plan.fewest {
        let mut daemon = Daemon::on_this_machine()
            .policy("bench", &Prefixes::TEN.policy("bench", |_| false))
            .prepare()?;
        fresh.0.push(start(&mut daemon)?);
        daemon.kill()?;
        adopted.0.push(start(&mut daemon)?);
    }
    let target = Target::AtMost(500.0 * MILLISECOND);
    Ok(vec![
        Figure::alone("guardd start, fresh", Unit::Time, fresh, target),
        Figure::alone("guardd start, adopting", Unit::Time, adopted, target),
    ])
}

fn start(daemon: &mut Daemon) -> Result<f64> {
    let start = Instant::now();
    daemon.start()?;
    Ok(start.elapsed().as_nanos() as f64)
}

/// guardd's memory with 10 sessions under a policy of 1,000 rules; and what answers from elsewhere add to it.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn memory(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network)
        .policy("bench", &thousand_rules())
        .start()?;
    let sessions: Vec<_> = (0..10)
        .map(|_| Client::guarded(&daemon, "bench"))
        .collect::<Result<_>>()?;
    let resident = Samples(vec![resident(&daemon)?]);
    drop(sessions);
    let [mut with, mut without] = [Samples::default(), Samples::default()];
    for _ in 0..plan.fewest {
        with.0.push(asked(true)?);
        without.0.push(asked(false)?);
    }
    Ok(vec![
        Figure::alone(
            "guardd, 10 sessions, 1,000 rules",
            Unit::Memory,
            resident,
            Target::AtMost(24.0 * MIB),
        ),
        Figure::alone(
            "guardd, 16 approvers, 64 requests",
            Unit::Memory,
            with,
            Target::More(2.0 * MIB),
        )
        .beside(Other::Measured("nobody elsewhere", without)),
    ])
}

/// The same where sessions have asked for as much as that, with a question about each that was carried to approvers, or without.
fn asked(elsewhere: bool) -> Result<f64> {
    let network = Network::new()?;
    let daemon =
        Daemon::in_network(&network).policy("bench", &Prefixes::TEN.policy("bench", |_| false));
    let daemon = if elsewhere {
        daemon
            .config("[answers]\ncouriers = []\ncode = \"never\"\n")
            .start()?
    } else {
        daemon.start()?
    };
    if elsewhere {
        let (dir, agent) = (daemon.dir().join("approvers"), AGENT.to_string());
        fs::create_dir(&dir)?;
        for number in 0..2 * APPROVERS {
            let name = format!("approver{}", number / 2);
            let key = SshKey::new(dir.join(number.to_string()))?;
            let add = daemon.root(["approver", "add", &name, "--plain", "--answers-for", &agent]);
            let add = add.args(["--ssh-key"]).args([key.public()]);
            add.run()?.success()?;
        }
    }
    let mut sessions: Vec<_> = (0..SIDE)
        .map(|_| Client::guarded(&daemon, "bench"))
        .collect::<Result<_>>()?;
    for session in &mut sessions {
        for prefix in 0..SIDE {
            session.connect(Prefixes::TEN.one(prefix, 0), 1, false)?;
        }
    }
    let pending = daemon.list(["pending"])?;
    let count = (SIDE * SIDE) as usize;
    ensure!(pending.len() == count, "{} ask, not {count}", pending.len());
    for id in pending.iter().filter_map(|one| one["id"].as_str()) {
        if elsewhere {
            daemon.json(["question", id])?;
        }
    }
    resident(&daemon)
}

/// Each with a prefix, ports and a reason of its own.
fn thousand_rules() -> String {
    let mut text = "version = 1\nname = \"bench\"\ndefault = \"allow\"\n".to_owned();
    for rule in 0..1000 {
        text.push_str(&format!(
            "\n[[rule]]\nname = \"rule-{rule}\"\nto = [\"{}\"]\nports = [\"tcp/{}\", \"udp/53\"]\n\
             action = \"confirm\"\nreason = \"service number {rule}\"\n",
            Prefixes::MANY.text(rule),
            1000 + rule
        ));
    }
    text
}

/// Bytes of memory that a daemon's process keeps resident.
pub(super) fn resident(daemon: &Daemon) -> Result<f64> {
    resident_of(daemon.pid().context("guardd does not run")?)
}

/// How much of a process is in memory, in bytes.
///
/// # Errors
///
/// That it has ended.
pub(super) fn resident_of(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<f64>().ok());
    Ok(kib.context("the kernel does not say what is resident")? * 1024.0)
}
