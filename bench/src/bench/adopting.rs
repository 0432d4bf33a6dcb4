//! How long guardd takes to start with many sessions to adopt.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Daemon};
use serde_json::{Value, json};

use super::Plan;
use super::figure::{Figure, Target, Unit};
use super::prefixes::Prefixes;
use super::samples::Samples;

const SECOND: f64 = 1e9;

/// guardd, from its start to enforcing, with a thousand sessions under one policy, and with two hundred under one
/// each: a session that nothing enters ends after half a minute, and policies take their time to be put in place.
///
/// # Errors
///
/// That something could not be measured, or that not all of them were adopted.
pub(super) fn adopting(plan: &Plan) -> Result<Vec<Figure>> {
    let one = |name: &str, sessions, own| -> Result<Figure> {
        let samples = Samples(start_with(plan, sessions, own)?);
        let target = Target::AtMost(SECOND);
        Ok(Figure::alone(name, Unit::Time, samples, target))
    };
    Ok(vec![
        one("guardd start, 1,000 sessions", 1000, false)?,
        one("guardd start, 200 policies", 200, true)?,
    ])
}

fn start_with(plan: &Plan, sessions: usize, own: bool) -> Result<Vec<f64>> {
    let text = Prefixes::TEN.policy("bench", |_| false);
    let mut daemon = Daemon::on_this_machine().policy("bench", &text).start()?;
    make_all(&daemon, sessions, own.then_some(&text))?;
    (0..plan.fewest)
        .map(|_| {
            daemon.kill()?;
            let start = Instant::now();
            daemon.start()?;
            let took = start.elapsed().as_nanos() as f64;
            let listed = daemon.root(["sessions"]).json()?;
            let adopted = listed.as_array().map_or(0, Vec::len);
            ensure!(adopted == sessions, "{adopted} of {sessions} were adopted");
            Ok(took)
        })
        .collect()
}

/// Makes the sessions, over the control socket: no process enters them, which changes nothing for who adopts them.
fn make_all(daemon: &Daemon, sessions: usize, own: Option<&String>) -> Result<()> {
    let mut stream = BufReader::new(UnixStream::connect(daemon.socket())?);
    for number in 0..sessions {
        let policy = match own {
            Some(text) => json!({"text": format!("{text}\n# {number}\n")}),
            None => json!({"name": "bench"}),
        };
        let name = format!("session-{number}");
        let parameters = json!({"policy": policy, "name": name, "command": ["true"], "uid": AGENT});
        let call = json!({"method": "org.guardd.Control.Run", "parameters": parameters});
        let stream_end = stream.get_mut();
        stream_end.write_all(format!("{call}\0").as_bytes())?;
        let mut answer = Vec::new();
        stream.read_until(0, &mut answer)?;
        answer.pop().context("guardd has closed the connection")?;
        let answer: Value = serde_json::from_slice(&answer)?;
        ensure!(answer["error"].is_null(), "no session: {answer}");
    }
    Ok(())
}
