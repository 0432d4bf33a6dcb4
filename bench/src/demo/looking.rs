//! The second act: a destination that may be looked at, over HTTP.

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Daemon, Production};

use super::agent::{Agent, JOB};
use super::story::Story;
use super::{PORT, READABLE, show};

const JOBS: &str = "/api/jobs";
const START: &str = r#"{"command":"start","force":true}"#;

/// Reads pass, a write waits, and a yes is for that one.
pub(super) fn act(
    story: &mut Story,
    production: &Production,
    daemon: &Daemon,
    agent: &mut Agent,
) -> Result<()> {
    looked(story, production, agent)?;
    stopped(story, production, agent)?;
    confirmed(story, daemon)?;
    passes_once(story, production, agent)
}

fn looked(story: &mut Story, production: &Production, agent: &mut Agent) -> Result<()> {
    story.step("Where a policy says read-only, the agent may look");
    let status = agent.curl(story, &format!("http://{READABLE}:{PORT}{JOBS}"))?;
    ensure!(status == 0, "the guard stopped a read");
    ensure!(
        seen(production)? == [format!("GET {JOBS}")],
        "the read did not arrive"
    );
    story.fact(&format!("production saw: GET {JOBS}"));
    Ok(())
}

fn stopped(story: &mut Story, production: &Production, agent: &mut Agent) -> Result<()> {
    story.step("What changes something does not get there");
    agent.curl(story, &put())?;
    ensure!(
        seen(production)?.len() == 1,
        "the guard let the write through"
    );
    story.fact("production saw nothing of it");
    Ok(())
}

fn confirmed(story: &mut Story, daemon: &Daemon) -> Result<()> {
    story.step("The person sees that very request, and says yes to it");
    show(story, &daemon.user(AGENT, ["pending"]), "guard pending")?;
    let pending = daemon.user(AGENT, ["pending"]).json()?;
    let mut requests = pending.as_array().into_iter().flatten();
    let request = requests.find(|request| request["destination"]["address"] == READABLE);
    let request = request.context("no request for it is pending")?;
    ensure!(
        request["http"]["body_preview"] == START,
        "another request: {request}"
    );
    let id = request["id"].as_str().context("a request without id")?;
    show(
        story,
        &daemon.user(AGENT, ["approve", id]),
        &format!("guard approve {id}"),
    )
}

fn passes_once(story: &mut Story, production: &Production, agent: &mut Agent) -> Result<()> {
    agent.curl(story, &put())?;
    ensure!(
        seen(production)?.last().is_some_and(|last| last == JOB),
        "the yes opened nothing"
    );
    story.fact(&format!("production saw: {JOB} {START}"));
    story.step("The same again is another question");
    let before = seen(production)?.len();
    agent.curl(story, &put())?;
    ensure!(
        seen(production)?.len() == before,
        "the yes opened more than one request"
    );
    story.fact("production saw nothing of it");
    Ok(())
}

fn put() -> String {
    let path = JOB.trim_start_matches("PUT ");
    format!("-X PUT -d '{START}' http://{READABLE}:{PORT}{path}")
}

/// The requests that production has seen there.
fn seen(production: &Production) -> Result<Vec<String>> {
    let reached = production.reached_at(READABLE, PORT)?;
    let requests = reached.iter().filter(|one| one.kind == "http");
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    Ok(requests
        .map(|one| {
            format!(
                "{} {}",
                text(&one.record["method"]),
                text(&one.record["path"])
            )
        })
        .collect())
}
