//! From a person's yes to the first packet that the kernel lets through.

use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::bench::monotonic;
use guard_lab::{Daemon, Network, PATIENCE, bins};

use super::Plan;
use super::client::{Client, sink};
use super::figure::{Figure, Target, Unit};
use super::prefixes::{Pool, Prefixes};
use super::samples::Samples;

const MILLISECOND: f64 = 1e6;
/// How long the client has been trying when the answer comes.
const TRYING: Duration = Duration::from_millis(30);

/// From `guard approve` being run to the connection, which the client tries again and again, and to the
/// command's end. The hole is closed before the next round.
///
/// # Errors
///
/// That something could not be measured, or that the hole is not listed.
pub(super) fn answer(plan: &Plan) -> Result<Vec<Figure>> {
    const WHY: &str = "guardd writes the audit log to disk before it opens the hole";
    let network = Network::new()?;
    let _sink = sink(&network)?;
    let daemon = Daemon::in_network(&network)
        .policy("bench", &Prefixes::TEN.policy("bench", |_| false))
        .start()?;
    let mut client = Client::guarded(&daemon, "bench")?;
    let (mut passed, mut ended) = (Samples::default(), Samples::default());
    for round in 0..=plan.few as u32 {
        let to = Prefixes::TEN.one(round % 10, round / 10);
        client.connect(to, 1, false)?;
        let request = request(&daemon, to)?;
        client.tell_until(to, true)?;
        thread::sleep(TRYING);
        let start = monotonic();
        approve(&daemon, &request)?;
        let end = monotonic();
        let allowed = client.until()?;
        let holes = daemon.root(["holes"]).json()?;
        ensure!(
            holes[0]["destination"].is_string(),
            "no hole is listed: {holes}"
        );
        daemon.ask(["close", "--all"])?.success()?;
        if round > 0 {
            passed.0.push(allowed.saturating_sub(start) as f64);
            ended.0.push((end - start) as f64);
        }
    }
    let most = |milliseconds| Target::AtMost(milliseconds * MILLISECOND);
    Ok(vec![
        Figure::alone("yes to packet", Unit::Time, passed, most(20.0)).remark(WHY),
        Figure::alone("guard approve, in all", Unit::Time, ended, most(50.0)).remark(WHY),
    ])
}

/// The id of the question about an address, as soon as there is one.
fn request(daemon: &Daemon, to: Pool) -> Result<String> {
    let address = to.first().to_string();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let pending = daemon.root(["pending"]).json()?;
        let mut requests = pending.as_array().into_iter().flatten();
        if let Some(found) = requests.find(|one| one["destination"]["address"] == *address) {
            let id = found["id"].as_str().context("a request without id")?;
            return Ok(id.to_owned());
        }
        ensure!(Instant::now() < deadline, "nothing asks about {address}");
    }
}

/// The program itself, with nothing started before it.
fn approve(daemon: &Daemon, request: &str) -> Result<()> {
    let mut guard = Command::new(bins::find("guard")?);
    guard.args(["approve", request, "--for", "60s"]);
    guard
        .env("GUARD_SOCKET", daemon.socket())
        .stdout(Stdio::null());
    let status = guard.status()?;
    ensure!(status.success(), "guard approve {request}: {status}");
    Ok(())
}
