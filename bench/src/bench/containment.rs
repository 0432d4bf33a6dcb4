//! What it costs a session that its Unix sockets and processes are kept to themselves.

use anyhow::{Context as _, Result};
use guard_lab::{ALLOWS, Daemon, Network};
use serde_json::json;

use super::Plan;
use super::client::Client;
use super::figure::{Figure, Other, Target, Unit};
use super::rounds::interleave;

/// Connections in a round.
const CONNECTIONS: u64 = 200;
/// Programs in a round, started by one shell as builds do.
const PROGRAMS: &str =
    "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do /bin/true; done";

/// Connections to a session's own Unix sockets, and short programs.
///
/// # Errors
///
/// That something could not be measured.
pub(super) fn containment(plan: &Plan) -> Result<Vec<Figure>> {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network);
    let policy = ALLOWS;
    let daemon = daemon.policy("open", policy).start()?;
    let mut sides = [Client::free(&network)?, Client::guarded(&daemon, "open")?];
    let [free, guarded] = interleave(
        plan.rounds,
        &mut sides,
        [&mut |[free, _]| connect(free), &mut |[_, guarded]| {
            connect(guarded)
        }],
    )?;
    let shell = ["sh", "-c", PROGRAMS].map(ToOwned::to_owned);
    let [bare, kept] = interleave(
        plan.rounds,
        &mut sides,
        [&mut |[free, _]| free.spawn(&shell), &mut |[_, guarded]| {
            guarded.spawn(&shell)
        }],
    )?;
    let time = |name: &str, guard, other, target| {
        Figure::alone(name, Unit::Time, guard, target).beside(Other::Measured("no guard", other))
    };
    Ok(vec![
        time("connect to a Unix socket of its own", guarded, free, Target::Ratio(1.1)).remark(
            "where no programs at security hooks judge, guard run looks the file up, judges it, and connects: three processes take part \
             instead of two",
        ),
        time("20 programs, started by a shell", kept, bare, Target::Ratio(1.02)),
    ])
}

fn connect(client: &mut Client) -> Result<f64> {
    let took = client.ask(&json!({"do": "connect-unix", "count": CONNECTIONS}))?;
    took["ns"].as_f64().context("no time")
}
