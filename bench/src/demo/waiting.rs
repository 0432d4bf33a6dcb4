//! A connection that waits while somebody is there to answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Daemon, Production};
use serde_json::Value;

use super::agent::{Agent, JOB};
use super::story::Story;
use super::{SERVER, requests, show};

/// Until the question is asked, on a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long the person thinks.
const THOUGHT: Duration = Duration::from_secs(2);

/// Somebody watches: the command waits, and goes on after the yes.
pub(super) fn act(
    story: &mut Story,
    production: &Production<'_>,
    daemon: &Daemon,
    agent: &mut Agent,
) -> Result<()> {
    story.step("Where somebody watches, the command waits for the answer");
    let before = requests(production)?;
    story.command("developer", "guard pending --follow --json");
    let mut watching = daemon
        .user(AGENT, ["pending", "--follow", "--json"])
        .spawn()?;
    agent.begin_put(story)?;
    let id = held(&mut || watching.line(PATIENCE))?;
    story.fact(&format!("it waits: question {id}"));
    std::thread::sleep(THOUGHT);
    ensure!(requests(production)? == before, "production saw a request");
    let answered = Instant::now();
    let args = ["approve", &id, "--connections", "1"];
    let text = format!("guard {}", args.join(" "));
    show(story, &daemon.user(AGENT, args), &text)?;
    let status = agent.end_put(story)?;
    ensure!(status == 0, "it was approved, and failed");
    let seen = requests(production)?;
    ensure!(
        seen == before + 1,
        "production saw {} requests",
        seen - before
    );
    story.fact(&format!(
        "production saw: {JOB}, {:.1} s after the yes",
        answered.elapsed().as_secs_f64()
    ));
    Ok(())
}

/// The id of the question for which a connection to production waits.
fn held(line: &mut impl FnMut() -> Result<String>) -> Result<String> {
    loop {
        let change: Value = serde_json::from_str(&line()?)?;
        if change["held"] == true && change["destination"]["address"] == SERVER {
            let id = change["id"].as_str().context("a question without id")?;
            return Ok(id.to_owned());
        }
    }
}
