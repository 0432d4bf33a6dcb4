//! `cargo xtask demo --fleet`: machines that ask, a colleague elsewhere who signs, and servers between them of which one is killed.

mod stage;
mod terminal;

use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use guard_lab::{AGENT, Hub, Network, PATIENCE, Running, eventually, exec};
use serde_json::Value;

use super::agent::{Agent, JOB, Put};
use super::story::Story;
use super::waiting::held;
use super::{POLICY, PORT, SERVER, by_guardd, nothing_left, requests, traces};
use stage::{COURIER, DemoMachine, FleetStage, MachineNames, shown};
use terminal::Terminal;

const MACHINES: [MachineNames; 2] = [
    MachineNames {
        host: "build-1",
        machine_id: "b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1b1",
    },
    MachineNames {
        host: "build-2",
        machine_id: "b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2",
    },
];
/// What the colleague is asked at the end of a question.
const PROMPT: &str = "answer (Enter signs nothing): ";

/// Shows answers from elsewhere at work.
///
/// # Errors
///
/// That this machine cannot, or which step did not go as told.
pub(crate) fn demo() -> Result<()> {
    guard_lab::bins::nats_in(xtask::nats::obtain("machines and people meet there")?);
    let mut story = Story::default();
    let left = {
        let networks = [Network::new()?, Network::new()?, Network::new()?];
        let hub = Hub::between(networks.iter().map(Network::dev))?;
        let [first, second, colleague] = &networks;
        story.tell(&format!(
            "Three machines, each a network namespace of its own: build-1 and build-2, where agents work under guardd, with\n\
             production behind each, a photo server at {SERVER}:{PORT}; and a colleague's, which has no guardd. They reach\n\
             {}, where servers of NATS are, and not each other. demo.toml says:\n",
            Hub::ADDRESS
        ));
        story.output(POLICY);
        let mut stage = FleetStage::start(&mut story, &hub, colleague)?;
        story.step("Two machines run guardd, and beside it guard-fleet as a user without rights");
        let mut machines = [
            stage.machine(&mut story, &MACHINES[0], first, POLICY)?,
            stage.machine(&mut story, &MACHINES[1], second, POLICY)?,
        ];
        stage.admit(&story)?;
        let mut left = stage.traces()?;
        left.extend(machines.iter().flat_map(DemoMachine::traces));
        act(&mut story, &mut stage, [first, second], &machines).inspect_err(|_| {
            for machine in &machines {
                eprintln!(
                    "\nguardd's log on {}:\n{}",
                    machine.name,
                    machine.daemon.log()
                );
            }
        })?;
        story.step("Everything is taken down");
        for (machine, network) in machines.iter_mut().zip([first, second]) {
            story.command(&format!("root@{}", machine.name), "guardd teardown --force");
            machine.daemon.teardown()?;
            by_guardd(&mut story, &machine.daemon)?;
            left.extend(traces(network, &machine.daemon));
        }
        left.extend([hub.side().path(), colleague.dev().path()]);
        left
    };
    nothing_left(&mut story, &left)
}

fn act(
    story: &mut Story,
    stage: &mut FleetStage<'_>,
    networks: [&Network; 2],
    machines: &[DemoMachine; 2],
) -> Result<()> {
    story.step("Without the guard, a command on either machine reaches production");
    for (machine, network) in machines.iter().zip(networks) {
        unguarded(story, machine, network)?;
    }
    story.step("Root on each machine says whose signature counts there");
    for machine in machines {
        machine.enrol(story, &stage.public())?;
    }
    story.step(
        "Agents would change something in production: where nobody looks, that fails at once",
    );
    let [first, second] = machines;
    let mut on_first = refused(story, first)?;
    let mut on_second = refused(story, second)?;
    let _looks = looks(story, stage, machines)?;
    let asked = waits(story, first, &mut on_first)?;
    let signed = goes_on(story, stage, first, &asked, &mut on_first)?;
    let asked = waits(story, second, &mut on_second)?;
    replayed(story, second, &signed)?;
    killed(story, stage)?;
    goes_on(story, stage, second, &asked, &mut on_second)?;
    on_first.leave(story)?;
    on_second.leave(story)?;
    proven(story, machines)
}

/// Shows that the write arrives without the guard.
fn unguarded(story: &Story, machine: &DemoMachine, network: &Network) -> Result<()> {
    let put = Put::new(network.tag())?;
    let mut shell = network.dev().command_as(AGENT, "sh");
    shell.args(["-c", &put.shell]);
    let who = format!("developer@{}", machine.name);
    shown(story, &who, &put.text, shell)?;
    ensure!(
        requests(&machine.production)? == 1,
        "production saw no request"
    );
    story.fact(&format!("production saw: {JOB}"));
    Ok(())
}

/// An agent's command fails, and leaves a question.
fn refused(story: &Story, machine: &DemoMachine) -> Result<Agent> {
    let mut agent = Agent::start(story, &machine.daemon, &format!("@{}", machine.name))?;
    let status = agent.put(story)?;
    ensure!(status != 0, "the guard let the command through");
    ensure!(
        requests(&machine.production)? == 1,
        "production saw a request"
    );
    story.fact("production saw nothing");
    Ok(agent)
}

/// The colleague sees the machines, and follows what they ask.
fn looks(story: &mut Story, stage: &FleetStage<'_>, machines: &[DemoMachine]) -> Result<Running> {
    story.step("The colleague sees both machines, and what is asked on them");
    eventually("both machines are there", || {
        let listed = stage.by_colleague(&["machines", "--json"]);
        let listed = listed.and_then(|mut command| exec::run(&mut command));
        listed.is_ok_and(|text| text.lines().count() == machines.len())
    })?;
    for verb in ["status", "machines"] {
        let command = stage.by_colleague(&[verb])?;
        shown(story, "colleague", &format!("guard-fleet {verb}"), command)?;
    }
    story.command("colleague", "guard-fleet pending --follow");
    let mut follow = stage.by_colleague(&["pending", "--follow"])?;
    let mut looks = Running::start(follow.stderr(stage.log()?))?;
    for _ in machines {
        let first = looks.line_with("guard-fleet answer", PATIENCE)?;
        let mut words = first.split_whitespace().skip(2);
        let (id, request) = (words.next(), words.next().context("no request")?);
        let mut machines = machines.iter();
        let from = machines.find(|machine| Some(&*machine.id) == id);
        let from = from.with_context(|| format!("who asks? {first}"))?;
        story.output(&first);
        // As many lines as guardd says that it shows.
        let question = from.daemon.json(["question", request])?;
        let question = question["question"].as_str().context("no question")?;
        let question: Value = serde_json::from_str(question)?;
        for _ in question["shows"].as_array().into_iter().flatten() {
            story.output(&looks.line(PATIENCE)?);
        }
    }
    Ok(looks)
}

/// An agent's command waits, while somebody looks. Gives the request that it waits for.
fn waits(story: &mut Story, machine: &DemoMachine, agent: &mut Agent) -> Result<String> {
    story.step(&format!(
        "While somebody looks, the same command on {} waits",
        machine.name
    ));
    agent.begin_put(story)?;
    let mut request = None;
    eventually("a connection that waits", || {
        request = held(&machine.daemon).ok().flatten();
        request.is_some()
    })?;
    ensure!(
        requests(&machine.production)? == 1,
        "production saw a request"
    );
    story.fact("it waits, and production saw nothing");
    request.context("no question")
}

/// The colleague signs, and the agent's command goes on. Gives what was signed, as the machine's log has it.
fn goes_on(
    story: &mut Story,
    stage: &FleetStage<'_>,
    machine: &DemoMachine,
    request: &str,
    agent: &mut Agent,
) -> Result<Value> {
    story.step(&format!(
        "The colleague reads what {} asks in a terminal, and signs a yes",
        machine.name
    ));
    let words = ["answer", &machine.id, request, "--key"];
    let text = format!("guard-fleet {} alice", words.join(" "));
    story.command("colleague", &text);
    let key = stage.private();
    let key = key.to_str().context("a path that is no text")?;
    let mut terminal = Terminal::start(&stage.by_colleague(&[&words[..], &[key]].concat())?)?;
    terminal.until(PROMPT)?;
    terminal.types("1")?;
    terminal.until("a hole is open")?;
    let opened = Instant::now();
    story.output(&terminal.end()?);
    story.fact(&format!("on {} the command goes on:", machine.name));
    let status = agent.end_put(story)?;
    ensure!(status == 0, "it was approved, and failed");
    ensure!(
        requests(&machine.production)? == 2,
        "production saw no request"
    );
    story.fact(&format!(
        "production saw: {JOB}, {:.1} s after the yes",
        opened.elapsed().as_secs_f64()
    ));
    let answered = machine.daemon.logged("answered")?;
    let answered = answered.first().context("the log has no answer")?;
    ensure!(answered["by"] == "alice", "it is by {}", answered["by"]);
    Ok(answered["signed"].clone())
}

/// Brings to one machine an answer that was signed for another.
fn replayed(story: &mut Story, machine: &DemoMachine, signed: &Value) -> Result<()> {
    story.step(&format!(
        "Somebody on the way has kept that answer, and hands it in on {}",
        machine.name
    ));
    let fields = [
        "answer",
        "key",
        "kind",
        "signature",
        "authenticator_data",
        "client_data",
    ];
    let kept = fields.map(|name| (name.to_owned(), signed[name].clone()));
    let kept = Value::Object(kept.into_iter().collect());
    story.command(
        &format!("guard-fleet@{}", machine.name),
        "guard answer --signed - < kept",
    );
    let answer = machine.daemon.user(COURIER, ["answer", "--signed", "-"]);
    let refused = answer.input(kept.to_string()).refused()?;
    story.output(&refused);
    ensure!(
        refused.contains(&machine.id),
        "it is refused for another reason"
    );
    let holes = machine.daemon.list(["holes"])?;
    ensure!(holes.is_empty(), "it has opened {holes:?}");
    story.fact("no hole is open there");
    Ok(())
}

/// The server that most are connected to is killed.
fn killed(story: &mut Story, stage: &mut FleetStage<'_>) -> Result<()> {
    story.step("While that command waits, a server is killed");
    let (clients, number) = stage.busiest()?;
    story.command("nats", &format!("kill -9 $(cat n{number}.pid)"));
    stage.nats.kill(number);
    ensure!(clients > 0, "nobody was connected to it");
    story.fact(&format!(
        "{clients} of three were connected to it, and go on by another"
    ));
    Ok(())
}

/// Each log says who has said yes, and a signature shows it.
fn proven(story: &mut Story, machines: &[DemoMachine]) -> Result<()> {
    story.step("Each machine's log proves who said yes");
    for machine in machines {
        let who = format!("root@{}", machine.name);
        story.command(&who, "guard log --verify --signatures audit.jsonl");
        let verify = ["log", "--verify", "--signatures"];
        let verify = || machine.daemon.root(verify).args([machine.daemon.audit()]);
        let verified = verify().run()?.success()?;
        story.output(&verified.stdout);
        let found = verify().json()?;
        let is_hers =
            |one: &Value| one["by"] == "alice" && one["answer"] == "yes" && one["ok"] == true;
        let signed = found["signatures"].as_array().context("no signatures")?;
        ensure!(found["whole"] == true, "the log is not whole");
        ensure!(signed.len() == 1 && signed.iter().all(is_hers), "{found}");
    }
    Ok(())
}
