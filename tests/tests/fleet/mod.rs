//! Answers over NATS: guardd, the session, production, the servers and guard-fleet are real.

mod agent;
mod away;
pub(crate) mod central;
mod client;
pub(crate) mod clock;
mod five;
mod full;
mod kubernetes;
mod log;
mod machines;
mod moments;
mod policies;
mod revoked;
mod rights;
mod scene;
mod together;
mod told;

use crate::{mistakes::suggests, together::in_turn};
use std::{fs, io::Write as _, net::TcpListener, time::Duration};

use anyhow::Context as _;
use guard_lab::{
    Attempt, Json as _, Network, PATIENCE, Production, Shell, SshKey, Tested, V4, eventually, exec,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use scene::{Fleet, GROUP, Look, lines};

#[test]
fn a_question_goes_out_while_somebody_looks_and_a_signed_answer_opens_its_hole_once() -> Tested {
    let network = Network::new()?;
    let production = Production::start(&network)?;
    let outside = Attempt::tcp(V4, 443).outside(network.dev(), guard_lab::AGENT)?;
    assert!(outside.ok, "without the guard it is reached");
    let (fleet, key) = Fleet::answered(&network, 1)?;
    let before = production.reached_at(V4, 443)?.len();

    let mut look = fleet.look()?;
    let open = look.until(|line| line["state"] == "open")?;
    assert_eq!(open["machine"], fleet.machine);
    let mut shell = fleet.scene.shell();
    let tries = format!("curl -sS -m 1 http://{V4}:8080/ >/dev/null 2>&1; echo gave up");
    shell.tell(&tries)?;
    look.until(|line| shown(line).contains("command curl"))?;
    shell.line_with("gave up")?;
    // Another program asks for the same: the question is another, and who looks gets it.
    shell.begin(&Attempt::tcp(V4, 8080).timeout(PATIENCE))?;
    let asked = look.until(|line| shown(line).contains("probe"))?;
    assert_eq!(production.reached_at(V4, 8080)?.len(), 0);
    let request = asked["request"].text()?;

    // What the person got is what guardd asks.
    assert_eq!(fleet.scene.question(request)["question"], asked["question"]);
    let mallory = fleet.scene.key("mallory")?;
    let forged = fleet.scene.yes(&mallory, "alice", request, &[])?;
    let refused = exec::output(&mut fleet.answer(request, &forged)?)?;
    assert_eq!(refused.status.code(), Some(2));
    assert!(fleet.scene.holes().is_empty());
    let signed = fleet
        .scene
        .yes(&key, "alice", request, &[("for", json!(60))])?;
    let said = exec::run(&mut fleet.answer(request, &signed)?)?;
    assert_eq!(said, "yes: a hole is open\n");
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    assert_eq!(fleet.scene.holes(), ["tcp/8080"]);
    look.until(|line| line["request"] == request && line["state"] == "over")?;
    assert_eq!(production.reached_at(V4, 443)?.len(), before);

    let again = exec::output(&mut fleet.answer(request, &signed)?)?;
    assert_eq!(again.status.code(), Some(2), "it is asked no more");
    let answered = &fleet.scene.log("answered")[0];
    assert_eq!(answered["by"], "alice");
    Ok(())
}

/// What a question shows.
fn shown(line: &Value) -> String {
    let question = line["question"].as_str().unwrap_or_default();
    let question: Value = serde_json::from_str(question).unwrap_or_default();
    question["shows"].to_string()
}

/// A machine that asks, and who may answer.
struct Answered<'n> {
    fleet: Fleet<'n>,
    key: SshKey,
}

#[test]
fn one_server_carries_what_is_asked_while_somebody_looks_and_what_is_answered_by_name() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (fleet, key) = Fleet::answered(&network, 1)?;
    let mut answered = Answered { fleet, key };
    in_turn!(
        &mut answered;
        nothing_waits_while_nobody_looks,
        a_machine_is_named_by_enough_of_its_id,
        a_server_that_hangs_loses_no_answer,
    )
}

fn nothing_waits_while_nobody_looks(answered: &mut Answered<'_>) -> Tested {
    let fleet = &answered.fleet;
    let attempt = Attempt::tcp(V4, 443).timeout(Duration::from_secs(1));
    let mut shell = fleet.scene.shell();
    let is_refused = |shell: &mut Shell| -> Tested<bool> {
        Ok(shell.attempt(&attempt)?.errno.as_deref() == Some("EPERM"))
    };
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    assert!(!is_refused(&mut shell)?, "it waits while somebody looks");
    drop(look);
    eventually("it is refused at once", || {
        is_refused(&mut shell).unwrap_or_default()
    })?;
    Ok(())
}

#[test]
fn a_machine_at_a_server_has_its_own_rights_alone_and_is_there_while_it_serves() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    in_turn!(
        &mut fleet;
        where_nobody_is_enrolled_it_is_said_that_requests_wait_all_the_same,
        a_console_without_a_server_says_which_it_asks_and_without_a_key_of_its_own_does_not_begin,
        a_server_gives_each_its_own_rights_alone,
        whoever_is_in_the_way_of_a_server_has_it_started_again_and_no_more,
        a_machine_says_that_it_is_there_and_that_it_goes,
        a_key_says_whose_it_is,
    )
}

fn a_machine_says_that_it_is_there_and_that_it_goes(fleet: &mut Fleet<'_>) -> Tested {
    let machines = fleet.machines()?;
    let guardd = &machines[0]["guardd"];
    assert_eq!(guardd["machine"], fleet.machine);
    assert_eq!(guardd["enforcing"], true);
    let text = fleet.said("person", &["machines"])?;
    assert!(text.contains(&fleet.machine), "{text}");
    fleet.stop()?;
    assert_eq!(fleet.machines()?, [Value::Null; 0]);
    fleet.start()?;
    fleet.is_there()?;
    fleet.kill();
    assert_eq!(fleet.machines()?, [Value::Null; 0], "nobody answers for it");
    Ok(())
}

fn a_server_gives_each_its_own_rights_alone(fleet: &mut Fleet<'_>) -> Tested {
    let (machine, person) = (fleet.key("machine")?, fleet.key("person")?);
    // As each other they may do nothing of what they do.
    let swapped = fleet.rights(&person, &machine)?;
    fleet.nats.reload(&swapped)?;
    eventually("the machine is heard no more", || {
        fleet.machines().is_ok_and(|machines| machines.is_empty())
    })?;
    // One who is in no list is turned away.
    let users = fleet.rights(&machine, &person)?;
    let lines = users.lines().filter(|line| !line.contains(&person));
    let without: Vec<_> = lines.collect();
    fleet.nats.reload(&without.join("\n"))?;
    let unknown = exec::output(&mut fleet.command("person", &["pending"])?)?;
    assert_eq!(unknown.status.code(), Some(2));
    let why = String::from_utf8_lossy(&unknown.stderr);
    assert!(why.starts_with("guard-fleet: "), "{why}");
    assert!(why.contains("does not know the key"), "{why}");
    fleet.nats.reload(&users)?;
    fleet.is_there()
}

#[test]
fn what_is_no_verb_of_its_is_answered_with_the_command_that_was_meant() -> Tested {
    suggests("guard-fleet", "pendign", "guard-fleet pending")?;
    suggests("guard-fleet", "ls", "guard-fleet machines")
}

/// Three servers, a machine that asks, and somebody who looks and answers.
struct OfThree<'n> {
    fleet: Fleet<'n>,
    key: SshKey,
    look: Look,
}

#[test]
fn of_three_servers_some_may_be_killed_and_one_may_hang_and_questions_are_answered_all_the_same()
-> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (fleet, key) = Fleet::answered(&network, 3)?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    let mut of_three = OfThree { fleet, key, look };
    in_turn!(
        &mut of_three;
        servers_may_be_killed_and_questions_are_answered_all_the_same,
        one_server_of_three_carries_questions_and_answers,
        a_server_that_hangs_for_good_is_left,
    )
}

fn servers_may_be_killed_and_questions_are_answered_all_the_same(
    of_three: &mut OfThree<'_>,
) -> Tested {
    let OfThree { fleet, key, look } = of_three;
    for number in 0..3 {
        fleet.nats.kill(number);
        is_answered(fleet, look, key)?;
        fleet.nats.start_again(number)?;
    }
    Ok(())
}

fn one_server_of_three_carries_questions_and_answers(of_three: &mut OfThree<'_>) -> Tested {
    let OfThree { fleet, key, look } = of_three;
    for left in 0..3 {
        let away = (0..3).filter(|number| *number != left);
        let away: Vec<_> = away.collect();
        away.iter().for_each(|number| fleet.nats.kill(*number));
        is_answered(fleet, look, key)?;
        for number in away {
            fleet.nats.start_again(number)?;
        }
    }
    Ok(())
}

/// It takes the connection and everything that is written to it, and says nothing any more.
fn a_server_that_hangs_for_good_is_left(of_three: &mut OfThree<'_>) -> Tested {
    let OfThree { fleet, key, look } = of_three;
    for whose in ["guard-fleet serve", "guard-fleet"] {
        let mut hangs = None;
        eventually("somebody serves it", || {
            hangs = (0..3).find(|number| fleet.nats.serves_one(*number, whose).unwrap_or(false));
            hangs.is_some()
        })?;
        let hangs = hangs.context("nobody does")?;
        fleet.nats.signal(hangs, Signal::STOP)?;
        is_answered(fleet, look, key)?;
        fleet.nats.signal(hangs, Signal::CONT)?;
    }
    Ok(())
}

/// Somebody is asked, and says yes, and the connection goes on.
fn is_answered(fleet: &Fleet<'_>, look: &mut Look, key: &SshKey) -> Tested {
    let (shell, request) = is_asked(fleet, look, 8080)?;
    is_taken(fleet, shell, &request, key)
}

/// A session begins to connect to a port, and whoever looks sees that; gives the session and its request.
fn is_asked(fleet: &Fleet<'_>, look: &mut Look, port: u16) -> Tested<(Shell, String)> {
    let mut shell = fleet.scene.shell();
    let request = is_waiting(fleet, &mut shell, port)?;
    look.until(|line| line["state"] == "open" && line["request"] == *request)?;
    Ok((shell, request))
}

/// The same before anybody sees it.
fn is_waiting(fleet: &Fleet<'_>, shell: &mut Shell, port: u16) -> Tested<String> {
    shell.begin(&Attempt::tcp(V4, port).timeout(PATIENCE))?;
    // A server that hung a while says later what it was told before.
    let mut request = None;
    eventually("it is asked", || {
        let pending = fleet.scene.daemon.list(["pending"])?;
        let mut pending = pending.iter();
        let asked = pending.find(|one| one["destination"]["port"] == port);
        request = asked.and_then(|one| one["id"].as_str().map(str::to_owned));
        Ok(request.is_some())
    })?;
    Ok(request.context("no request")?)
}

/// Somebody says yes, and the connection goes on.
fn is_taken(fleet: &Fleet<'_>, mut shell: Shell, request: &str, key: &SshKey) -> Tested {
    let for_a_while = [("for", json!(60))];
    let signed = fleet.scene.yes(key, "alice", request, &for_a_while)?;
    let said = exec::run(&mut fleet.answer(request, &signed)?)?;
    assert_eq!(said, "yes: a hole is open\n");
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    Ok(())
}

fn a_server_that_hangs_loses_no_answer(answered: &mut Answered<'_>) -> Tested {
    let Answered { fleet, key } = answered;
    let mut shell = fleet.scene.shell();
    let request = fleet.scene.request(&mut shell, 1000);
    eventually("it is listed", || {
        let listed = lines(&fleet.said("person", &["pending", "--json"])?)?;
        Ok(listed.iter().any(|one| one["request"] == *request))
    })?;
    let signed = fleet.scene.yes(key, "alice", &request, &[])?;
    // The answer is on its way when the server stops, and counts once it goes on.
    let mut answering = guard_lab::Running::start(&mut fleet.answer(&request, &signed)?)?;
    fleet.nats.signal(0, Signal::STOP)?;
    fleet.nats.signal(0, Signal::CONT)?;
    assert_eq!(answering.line(PATIENCE)?, "yes: a hole is open");
    let holes = fleet.scene.holes();
    assert!(holes.iter().any(|ports| ports == "tcp/1000"), "{holes:?}");
    Ok(())
}

fn a_machine_is_named_by_enough_of_its_id(answered: &mut Answered<'_>) -> Tested {
    let Answered { fleet, key } = answered;
    let mut listed = Vec::new();
    // Of a session that has just ended nothing is asked any more.
    eventually("one is listed", || {
        listed = lines(&fleet.said("person", &["pending", "--json"])?)?;
        Ok(listed.len() == 1)
    })?;
    let request = listed[0]["request"].text()?;
    let signed = fleet.scene.yes(key, "alice", request, &[])?;
    for (machine, why) in [
        ("", "may be any machine"),
        ("m-", "may be any machine"),
        ("m-zzzz", "was not heard"),
    ] {
        let refused = exec::output(&mut fleet.answer_to(machine, request, &signed)?)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{machine}: {said}");
        assert!(said.contains(why), "{machine}: {said}");
    }
    let whole = fleet.machine.clone();
    let said = exec::run(&mut fleet.answer_to(&whole, request, &signed)?)?;
    assert_eq!(said, "yes: a hole is open\n");
    Ok(())
}

/// What a machine asks, those who are enrolled there can answer.
fn where_nobody_is_enrolled_it_is_said_that_requests_wait_all_the_same(
    fleet: &mut Fleet<'_>,
) -> Tested {
    let machine = fleet.machine.clone();
    let waiting = fleet.scene.daemon.list(["pending"])?;
    let request = waiting[0]["id"].text()?;
    let listed = fleet.machines()?;
    assert_eq!(
        (&listed[0]["questions"], &listed[0]["requests"]),
        (&0.into(), &1.into())
    );
    let table = fleet.said("person", &["machines"])?;
    assert!(table.contains("0 of 1"), "{table}");
    let status = fleet.said("person", &["status"])?;
    assert!(
        status.starts_with("1 machine is there, 1 of them enforces; 0 questions wait\n"),
        "{status}"
    );
    let pending = fleet.said("person", &["pending"])?;
    let waits = "1 request waits on the machines";
    assert!(
        status.contains(waits) && pending.contains(waits),
        "{pending}"
    );
    let refused = exec::output(&mut fleet.command("person", &["answer", &machine, request])?)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(
        said.contains("nobody is enrolled there to answer"),
        "{said}"
    );
    // Enrolled, it is asked, and another one is not.
    fleet.scene.approver("alice", &[])?;
    eventually("it is asked", || Ok(fleet.machines()?[0]["questions"] == 1))?;
    let refused = exec::output(&mut fleet.command("person", &["answer", &machine, "r999"])?)?;
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(
        said.contains(&format!("does not ask r999, but {request}:")),
        "{said}"
    );
    Ok(())
}

fn a_key_says_whose_it_is(fleet: &mut Fleet<'_>) -> Tested {
    let whose = |name: &str| -> Tested<String> {
        let mut command = fleet.command(name, &["key"])?;
        let output = exec::output(command.stderr(std::process::Stdio::piped()))?;
        Ok(String::from_utf8(output.stderr)?)
    };
    let machine = whose("machine")?;
    let words = format!(
        "the key of the machine {}, for a [[machine]]",
        fleet.machine
    );
    assert!(machine.contains(&words), "{machine}");
    let settings = fleet.dir().join("person/fleet.toml");
    let text = std::fs::read_to_string(&settings)?;
    std::fs::write(&settings, format!("groups = [\"lab\"]\n{text}"))?;
    let person = whose("person")?;
    assert!(person.contains("your key, for a [[person]]"), "{person}");
    assert!(!person.contains("machine"), "{person}");
    Ok(())
}

fn whoever_is_in_the_way_of_a_server_has_it_started_again_and_no_more(
    fleet: &mut Fleet<'_>,
) -> Tested {
    // The one that runs has read its settings: only the next one finds the port.
    fleet.is_there()?;
    let port = 4999;
    let dev = fleet.scene.network.dev();
    let listener = dev.enter(|| Ok(TcpListener::bind(("127.0.0.1", port))?))?;
    let answering = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.write_all(b"-ERR\r\n")
    });
    fleet.settings_with("machine", &[format!("tls://127.0.0.1:{port}")])?;
    let ended = exec::output(&mut fleet.command("machine", &["serve"])?)?;
    answering.join().unwrap()?;
    // The unit does not start again what ends with 2: there the settings are wrong.
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    fleet.settings_with("machine", &fleet.nats.urls())
}

#[test]
fn an_invited_machine_joins_once() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    fleet.stop()?;
    let mut keeper = fleet.keep()?;
    let refused = |name: &str, token: &str, why: &str| -> Tested {
        let ended = fleet.join(name, token)?;
        let said = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{why}: {said}");
        Ok(())
    };
    refused("machine", "ci.hello\n", "has no token")?;
    let elsewhere = fleet.invite(&["--group", "dev"])?;
    refused("machine", &elsewhere, "write group = \"dev\"")?;
    let other = format!("m-{}", "0".repeat(20));
    let others = fleet.invite(&["--group", GROUP, "--machine", &other])?;
    refused("machine", &others, "is for another machine")?;

    let token = fleet.invite(&["--group", GROUP])?;
    let before = fs::read_to_string(fleet.list())?;
    let joined = fleet.join("machine", &token)?;
    let said = String::from_utf8_lossy(&joined.stdout);
    assert_eq!(
        said,
        format!("{} is in {GROUP}\n", fleet.machine),
        "{joined:?}"
    );
    refused("machine", &token, "has been used")?;
    // One who has another token cannot take its place.
    fleet.home("thief")?;
    let another = fleet.invite(&["--group", GROUP])?;
    refused("thief", &another, "is in the list")?;
    // A list that is saved as it was brings no token back.
    let after = fs::read_to_string(fleet.list())?;
    fs::write(fleet.list(), before)?;
    refused("thief", &token, "has been used")?;
    fs::write(fleet.list(), after)?;
    fleet.start()?;
    fleet.is_there()?;

    // What is no list changes nothing.
    let listed = fs::read_to_string(fleet.list())?;
    let users = fs::read_to_string(fleet.nats.users(0))?;
    fs::write(fleet.list(), "machine = 1")?;
    eventually("that is said", || {
        fleet
            .kept()
            .is_ok_and(|log| log.contains("fleet.list is wrong"))
    })?;
    assert_eq!(fs::read_to_string(fleet.nats.users(0))?, users);
    // Whom the list has no more, the server does not know.
    let machine = listed.find("[[machine]]").unwrap();
    fs::write(fleet.list(), &listed[..machine])?;
    eventually("the machine is out", || {
        fleet.machines().is_ok_and(|machines| machines.is_empty())
    })?;
    keeper.signal(Signal::TERM)?;
    assert!(keeper.wait()?.success());
    Ok(())
}

#[test]
fn an_invitation_ends() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    fleet.stop()?;
    let _keeper = fleet.keep()?;
    let token = fleet.invite(&["--group", GROUP, "--for", "2s"])?;
    let knows =
        || fs::read_to_string(fleet.nats.users(0)).is_ok_and(|users| users.contains(".join.U"));
    eventually("the server knows it", knows)?;
    eventually("the server has forgotten it", || !knows())?;
    // For good: also where the clock is set back.
    let listed = fs::read_to_string(fleet.list())?;
    assert!(!listed.contains("[[invitation]]"), "{listed}");
    let late = fleet.join("machine", &token)?;
    assert_eq!(late.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&late.stderr).contains("its time is over"));
    Ok(())
}

#[test]
fn one_list_beside_each_of_three_servers_lets_a_machine_in_once() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 3)?;
    fleet.is_there()?;
    fleet.stop()?;
    let _keepers = fleet.keep_all(3)?;
    let token = fleet.invite(&["--group", GROUP])?;
    let joined = fleet.join("machine", &token)?;
    assert!(joined.status.success(), "{joined:?}");
    let listed = fs::read_to_string(fleet.list())?;
    assert_eq!(listed.matches("[[machine]]").count(), 1, "{listed}");
    assert!(!listed.contains("[[invitation]]"), "{listed}");
    // Whichever server one asks, and whichever the machine is connected to.
    for number in 0..3 {
        eventually("each server knows the machine, and no token", || {
            let users = fs::read_to_string(fleet.nats.users(number))?;
            Ok(users.contains(&fleet.machine) && !users.contains(".join.U"))
        })?;
    }
    let late = fleet.join("machine", &token)?;
    assert_eq!(late.status.code(), Some(2), "{late:?}");
    fleet.start()?;
    for url in fleet.nats.urls() {
        fleet.settings_with("person", &[url])?;
        fleet.is_there()?;
    }
    Ok(())
}

#[test]
fn a_machine_that_is_removed_is_known_to_no_server_until_it_joins_anew() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    let _keeper = fleet.keep_with(&fleet.listed(&fleet.machine)?, &[])?;
    let ended = fleet.invite(&["--group", GROUP, "--machine", &fleet.machine])?;
    let remove = |called: &str| -> Tested<std::process::Output> {
        let mut command = fleet.command("keeper", &["remove", called])?;
        Ok(exec::output(command.arg(fleet.list()))?)
    };
    for (called, why) in [
        ("m-", "may be any machine"),
        ("m-zzzz", "lists no machine"),
        (&format!("m-{}", "f".repeat(20)), "lists no machine"),
    ] {
        let refused = remove(called)?;
        let said = String::from_utf8_lossy(&refused.stderr);
        assert_eq!(refused.status.code(), Some(2), "{called}: {said}");
        assert!(said.contains(why), "{called}: {said}");
    }
    let before = fs::read_to_string(fleet.list())?;
    assert!(before.contains("[[machine]]") && before.contains("[[invitation]]"));
    let removed = remove(&fleet.machine[..8])?;
    let said = String::from_utf8_lossy(&removed.stdout).into_owned();
    assert!(removed.status.success(), "{removed:?}");
    assert!(
        said.starts_with(&format!("{} is out of {GROUP}", fleet.machine)),
        "{said}"
    );
    let list = fs::read_to_string(fleet.list())?;
    assert!(!list.contains(&fleet.machine), "{list}");
    assert!(list.contains("[[person]]"), "{list}");
    eventually("the machine is out", || {
        fleet.machines().is_ok_and(|machines| machines.is_empty())
    })?;
    assert!(!fs::read_to_string(fleet.nats.users(0))?.contains(&fleet.machine));
    assert_eq!(remove(&fleet.machine)?.status.code(), Some(2), "once");
    // Nor does what was made for it alone count any more.
    fleet.stop()?;
    let late = fleet.join("machine", &ended)?;
    assert_eq!(late.status.code(), Some(2), "{late:?}");

    let token = fleet.invite(&["--group", GROUP])?;
    let joined = fleet.join("machine", &token)?;
    assert!(joined.status.success(), "{joined:?}");
    fleet.start()?;
    fleet.is_there()
}

fn a_console_without_a_server_says_which_it_asks_and_without_a_key_of_its_own_does_not_begin(
    fleet: &mut Fleet<'_>,
) -> Tested {
    fleet.home("pages")?;
    let home = fleet.dir().join("pages");
    let at = home.join("console.sock");
    let console = || {
        fleet.command(
            "pages",
            &["console", "--user", "0", "--at", at.to_str().unwrap()],
        )
    };
    let settings = home.join("fleet.toml");
    let whole = fs::read_to_string(&settings)?;
    let without: String = whole
        .lines()
        .filter(|line| !line.starts_with("key"))
        .map(|line| format!("{line}\n"))
        .collect();
    fs::write(&settings, &without)?;
    let refused = exec::output(&mut console()?)?;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{said}");
    for part in [
        "key is missing",
        settings.to_str().unwrap(),
        "key = \"/var/lib/guard-fleet-console/console.nk\"",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }

    fs::write(&settings, whole)?;
    let nowhere = "tls://127.0.0.1:4999";
    fleet.settings_with("pages", &[nowhere.to_owned()])?;
    let log = home.join("log");
    let mut command = console()?;
    let _console = guard_lab::Running::start(command.stderr(fs::File::create(&log)?))?;
    let mut said = String::new();
    let done = eventually("it says what is wrong, and where", || {
        said = fs::read_to_string(&log).unwrap_or_default();
        said.contains(&format!("no server answers at {nowhere}"))
            && said.contains(settings.to_str().unwrap())
            && said.contains("systemctl restart")
    });
    done.map_err(|error| error.context(said))?;
    Ok(())
}
