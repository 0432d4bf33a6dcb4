//! `cargo xtask demo`: the main job, step by step, against a network that plays production.
//!
//! Nothing is acted: real daemon, real kernel, and what production says reached it. A step that does not
//! go as told ends the demo with an error, after everything was taken down.

mod agent;
pub(crate) mod fleet;
mod looking;
mod story;
mod waiting;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use guard_lab::{AGENT, Daemon, Guard, Network, Production};
use serde_json::Value;

use agent::{Agent, JOB, Put};
use story::Story;

/// Production's photo server.
const SERVER: &str = "192.0.2.10";
const PORT: u16 = 2283;
/// Another one, which may be looked at.
const READABLE: &str = "192.0.2.20";
/// How long the hole is to live.
const HOLE: Duration = Duration::from_secs(5);
/// How much later than told its end may be seen, on a slow machine.
const SLACK: Duration = Duration::from_secs(2);

const POLICY: &str = r#"version = 1
name = "demo"
default = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
reason = "production photo server"

[[rule]]
name = "gallery"
to = ["192.0.2.20"]
action = "read-only"
reason = "production gallery"
"#;

/// Shows the guard at work.
///
/// # Errors
///
/// That this machine cannot, or which step did not go as told.
pub(crate) fn demo() -> Result<()> {
    let mut story = Story::default();
    let left = {
        let stage = Network::new()?;
        let production = Production::start(&stage)?;
        let mut daemon = Daemon::in_network(&stage).policy("demo", POLICY).start()?;
        story.stage(SERVER, PORT, POLICY);
        act(&mut story, &stage, &production, &daemon)
            .inspect_err(|_| eprintln!("\nguardd's log:\n{}", daemon.log()))?;
        story.step("Everything is taken down");
        story.command("root", "guardd teardown --force");
        daemon.teardown()?;
        by_guardd(&mut story, &daemon)?;
        traces(&stage, &daemon)
    };
    nothing_left(&mut story, &left)
}

fn act(story: &mut Story, stage: &Network, production: &Production, daemon: &Daemon) -> Result<()> {
    without_guard(story, stage, production)?;
    story.step("The agent is started inside the guard");
    let mut agent = Agent::start(story, daemon, "")?;
    waiting::act(story, production, daemon, &mut agent)?;
    refused(story, production, &mut agent)?;
    let request = asked(story, daemon)?;
    let opened = approved(story, daemon, &request)?;
    passes(story, production, &mut agent)?;
    ends_by_itself(story, &mut agent, opened)?;
    refused_again(story, production, &mut agent)?;
    looking::act(story, production, daemon, &mut agent)?;
    agent.leave(story)?;
    logged(story, daemon)
}

fn without_guard(story: &mut Story, stage: &Network, production: &Production) -> Result<()> {
    story.step("Without the guard, the agent's command reaches production");
    let put = Put::new(stage.tag())?;
    story.command("developer", &put.text);
    let mut shell = stage.dev().command_as(AGENT, "sh");
    let output = shell.args(["-c", &put.shell]).output()?;
    story.output(&String::from_utf8_lossy(&output.stdout));
    ensure!(output.status.success(), "production did not answer");
    ensure!(requests(production)? == 1, "production saw no request");
    story.fact(&format!("production saw: {JOB}"));
    Ok(())
}

fn refused(story: &mut Story, production: &Production, agent: &mut Agent) -> Result<()> {
    story.step("Where nobody watches, the same command fails at once");
    let before = production.reached_at(SERVER, PORT)?.len();
    let status = agent.put(story)?;
    ensure!(status != 0, "the guard let the command through");
    let after = production.reached_at(SERVER, PORT)?.len();
    ensure!(before == after, "production saw {} packets", after - before);
    story.fact("production saw nothing, not one packet");
    Ok(())
}

fn asked(story: &mut Story, daemon: &Daemon) -> Result<String> {
    story.step("It leaves a question");
    show(story, &daemon.user(AGENT, ["pending"]), "guard pending")?;
    let pending = daemon.user(AGENT, ["pending"]).json()?;
    let here = |request: &&Value| request["destination"]["address"] == SERVER;
    let mut requests = pending.as_array().into_iter().flatten();
    let request = requests
        .find(here)
        .context("no request for it is pending")?;
    Ok(request["id"]
        .as_str()
        .context("a request without id")?
        .to_owned())
}

fn approved(story: &mut Story, daemon: &Daemon, request: &str) -> Result<Instant> {
    story.step("The person says yes, for five seconds");
    let duration = format!("{}s", HOLE.as_secs());
    let args = ["approve", request, "--for", &duration];
    let opened = Instant::now();
    show(
        story,
        &daemon.user(AGENT, args),
        &format!("guard {}", args.join(" ")),
    )?;
    Ok(opened)
}

fn passes(story: &mut Story, production: &Production, agent: &mut Agent) -> Result<()> {
    let before = requests(production)?;
    let status = agent.put(story)?;
    ensure!(status == 0, "the hole is open, and the command failed");
    ensure!(
        requests(production)? == before + 1,
        "production saw no request"
    );
    story.fact(&format!("production saw: {JOB}"));
    Ok(())
}

fn ends_by_itself(story: &mut Story, agent: &mut Agent, opened: Instant) -> Result<()> {
    story.step("The agent keeps a connection open; the hole ends by itself, and cuts it");
    let cut = agent.hold_open(story, HOLE + SLACK)?;
    let lived = opened.elapsed();
    ensure!(
        cut.echoes > 0,
        "the connection never worked: {}",
        cut.report
    );
    ensure!(
        lived + Duration::from_millis(100) >= HOLE && lived <= HOLE + SLACK,
        "it was cut after {lived:.1?}: {}",
        cut.report
    );
    story.output(&cut.report);
    story.fact(&format!(
        "{} bytes came back, then it was cut, {:.1} s after the yes",
        cut.echoes,
        lived.as_secs_f64()
    ));
    Ok(())
}

fn refused_again(story: &mut Story, production: &Production, agent: &mut Agent) -> Result<()> {
    let before = requests(production)?;
    let status = agent.put(story)?;
    ensure!(
        status != 0,
        "the hole is over, and the command went through"
    );
    ensure!(requests(production)? == before, "production saw a request");
    story.fact("production saw nothing");
    Ok(())
}

fn logged(story: &mut Story, daemon: &Daemon) -> Result<()> {
    story.step("All of it is in the log");
    show(story, &daemon.root(["log"]), "guard log")?;
    let log = daemon
        .root(["log", "--json"])
        .run()?
        .success()?
        .json_lines()?;
    for kind in [
        "session-start",
        "request",
        "answered",
        "hole-open",
        "hole-close",
    ] {
        ensure!(
            log.iter().any(|entry| entry["kind"] == kind),
            "the log has no {kind}"
        );
    }
    Ok(())
}

/// Runs a person's command and shows what it prints.
fn show(story: &mut Story, guard: &Guard<'_>, text: &str) -> Result<()> {
    story.command("developer", text);
    let output = guard.run()?;
    story.output(&output.stdout);
    output.success().with_context(|| text.to_owned()).map(drop)
}

/// How many requests production has answered.
fn requests(production: &Production) -> Result<usize> {
    let reached = production.reached_at(SERVER, PORT)?;
    Ok(reached.iter().filter(|one| one.kind == "http").count())
}

/// What guardd itself must take down.
fn by_guardd(story: &mut Story, daemon: &Daemon) -> Result<()> {
    for path in [daemon.cgroup_root(), daemon.pin_dir()] {
        ensure!(!path.exists(), "guardd left {} behind", path.display());
    }
    story.fact("its cgroups and pins are gone");
    Ok(())
}

/// What must be gone in the end.
fn traces(stage: &Network, daemon: &Daemon) -> Vec<PathBuf> {
    vec![
        daemon.cgroup_root().to_owned(),
        daemon.pin_dir().to_owned(),
        daemon.dir().to_owned(),
        stage.dev().path(),
        stage.prod().path(),
    ]
}

fn nothing_left(story: &mut Story, traces: &[PathBuf]) -> Result<()> {
    let left: Vec<_> = traces.iter().filter(|path| path.exists()).collect();
    if !left.is_empty() {
        bail!("still there: {left:?}");
    }
    story.fact("no namespace, no process and no file of the demo is left");
    story.end();
    Ok(())
}
