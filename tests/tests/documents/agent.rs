//! Claude Code under the guard, as the documents say, with a model on the loopback.

use std::fs;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::Instant;

use anyhow::Context as _;
use guard_lab::{Tested, eventually};

use super::block::{README, SERVICES, block};
use super::model::{Model, SAYS};
use super::person::{Person, add_user, clock};
use crate::packages::machine::{guard, quiet, said, succeeds};

/// What leads an agent to a model, and has it ask nobody else anything.
fn environment(model: &Model) -> [(&'static str, String); 3] {
    [
        ("ANTHROPIC_BASE_URL", model.url()),
        ("ANTHROPIC_API_KEY", "none".to_owned()),
        ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1".to_owned()),
    ]
}

fn on_this_machine() -> anyhow::Result<TcpListener> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?)
}

/// Two commands lead from the package to an agent's answer. How long that takes is printed, and not judged: it
/// depends on what else the machine does.
#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn from_the_package_to_a_guarded_agent_in_a_minute() -> Tested {
    let person = Person::at_a_fresh_machine();
    let model = Model::start(person.network.dev().enter(on_this_machine)?);
    let block = block(README, "sudo apt install");
    let lines = block.trim_end().split_once('\n');
    let (install, run) = lines.with_context(|| format!("not two lines: {block}"))?;

    let begun = Instant::now();
    person.succeeds(install);
    let installed = begun.elapsed();
    let mut shell = person.shell(run);
    shell.envs(environment(&model));
    let mut agent = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    // Without a terminal, the agent reads what it is to do, answers and ends.
    let mut input = agent.stdin.take().context("no input")?;
    input.write_all(b"Is everything in order?\n")?;
    drop(input);
    let output = agent.wait_with_output()?;
    clock("a guarded agent's first answer", begun.elapsed(), installed);

    assert!(output.status.success(), "{}", said(&output));
    assert!(said(&output).contains(SAYS), "{}", said(&output));
    assert!(model.asked() > 0);
    let sessions = succeeds(quiet("guard").args(["log", "--json"]));
    let is_it = |line: &str| line.contains("\"session-start\"") && line.contains("claude");
    assert!(sessions.lines().any(is_it), "{sessions}");
    Ok(())
}

/// Tells units where the model is.
fn tell_units(model: &Model) {
    for (name, value) in environment(model) {
        succeeds(quiet("systemctl").args(["set-environment", &format!("{name}={value}")]));
    }
}

#[test]
#[ignore = "it changes the machine that it runs on: `cargo xtask vm` has some to throw away"]
fn an_agent_is_a_service() -> Tested {
    let person = Person::at_a_machine_with_guard();
    add_user("alice");
    let model = Model::start(on_this_machine()?);
    tell_units(&model);
    person.succeeds(&block(SERVICES, "sudo systemd-run"));
    eventually("the transient unit's agent is answered", || {
        model.asked() > 0
    })?;
    let transient = model.asked();

    person.succeeds(&block(SERVICES, "sudo install -d /etc/guard/agents"));
    eventually("the service's agent is answered", || {
        model.asked() > transient
    })?;
    let log = succeeds(quiet("guard").args(["log", "--json"]));
    let is_it = |line: &str| line.contains("\"session-start\"") && line.contains("agent@alice");
    assert!(log.lines().any(is_it), "{log}");
    assert_eq!(guard(&["status"])["enforcing"], true);
    succeeds(quiet("systemctl").args(["disable", "--now", "agent@alice"]));
    let _ = fs::remove_file("/etc/guard/agents/alice.conf");
    Ok(())
}
