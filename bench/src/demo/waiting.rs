//! A connection that waits while somebody is there to answer.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Daemon, PATIENCE, Production, Running, eventually};
use rustix::process::Signal;

use super::agent::{Agent, JOB};
use super::story::Story;
use super::{SERVER, requests, show};

/// Delay of the answer.
const THOUGHT: Duration = Duration::from_secs(2);

/// Somebody watches: the command waits, and goes on after the yes.
pub(super) fn act(
    story: &mut Story,
    production: &Production,
    daemon: &Daemon,
    agent: &mut Agent,
) -> Result<()> {
    story.step("Where somebody watches, the command waits for the answer");
    let before = requests(production)?;
    story.command("developer", "guard pending --follow");
    let mut watching = daemon.user(AGENT, ["pending", "--follow"]).spawn()?;
    agent.begin_put(story)?;
    story.fact("it waits, and the developer is shown:");
    story.output(&question(&mut watching)?.join("\n"));
    let mut id = None;
    eventually("a connection that waits", || {
        id = held(daemon).ok().flatten();
        id.is_some()
    })?;
    let id = id.context("no question")?;
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
    leave(watching, daemon)
}

/// The question as it is printed, to the last command that answers it.
fn question(watching: &mut Running) -> Result<Vec<String>> {
    let mut lines = vec![watching.line(PATIENCE)?];
    while !lines.last().is_some_and(|line| line.contains("guard deny")) {
        lines.push(watching.line(PATIENCE)?);
    }
    Ok(lines)
}

/// Nobody watches any more, and guardd has taken note.
fn leave(mut watching: Running, daemon: &Daemon) -> Result<()> {
    // A script's job in the background ignores INT, and so does what it starts.
    watching.signal(Signal::TERM)?;
    watching.wait()?;
    // What it is asked after the end of a connection it answers after it has seen that end.
    daemon
        .user(AGENT, ["pending"])
        .run()?
        .success()
        .context("guard pending")
        .map(drop)
}

/// The id of the question for which a connection to production waits, if there is one.
pub(super) fn held(daemon: &Daemon) -> Result<Option<String>> {
    let pending = daemon.user(AGENT, ["pending"]).json()?;
    let mut requests = pending.as_array().into_iter().flatten();
    let held = requests.find(|one| one["held"] == true && one["destination"]["address"] == SERVER);
    let id = held.and_then(|one| one["id"].as_str());
    Ok(id.map(str::to_owned))
}
