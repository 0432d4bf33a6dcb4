//! Connections that end, and processes that are killed, at many moments between a question and the receipt of its answer: nothing is
//! open without a signature that is in the log, nothing twice, and in the end it is answered.

use guard_lab::{
    Attempt, Line, Network, Production, Running, Shell, SshKey, Stepped, Tested, V4, eventually,
    exec, is_sampled, is_slow,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    is_asked, is_taken, is_waiting,
    scene::{Fleet, lines},
};
use crate::crashes::scene::{Which, at_each_step, behind};

/// Where production listens, and the policy has somebody asked.
const PORT: u16 = 8080;
/// No connection between a question and its receipt has more records of TLS.
const MOST: usize = 200;

/// What is open now: nothing, or the one hole that somebody has signed for.
fn is_sound(fleet: &Fleet<'_>, request: &str) -> Tested<bool> {
    let holes = fleet.scene.holes();
    let is_signed = |one: &Value| one["request"] == request && one["signed"]["by"] == "alice";
    let answered = fleet.scene.daemon.logged("answered")?;
    let signed = answered.iter().filter(|one| is_signed(one)).count();
    assert!(holes.len() <= 1 && signed <= 1, "{holes:?} {signed}");
    assert!(holes.iter().all(|one| *one == format!("tcp/{PORT}")));
    assert!(signed >= holes.len(), "open and not signed: {answered:?}");
    Ok(!holes.is_empty())
}

/// Signs, and hands it in until the hole is open, whatever becomes of a single try.
fn is_answered_in_the_end(
    fleet: &Fleet<'_>,
    mut shell: Shell,
    request: &str,
    signed: &Value,
) -> Tested {
    eventually("it is answered", || {
        let tried = exec::output(&mut fleet.answer_to(&fleet.machine, request, signed)?)?;
        let is_open = is_sound(fleet, request)?;
        assert!(is_open || !tried.status.success(), "{tried:?}");
        Ok(is_open)
    })?;
    // Where nobody was there to carry the question, the connection has not waited.
    let has_waited = shell.line_with("\"ok\"")?.contains("\"ok\":true");
    assert!(has_waited || shell.reaches(&Attempt::tcp(V4, PORT))?);
    is_sound(fleet, request)?;
    close(fleet)
}

fn close(fleet: &Fleet<'_>) -> Tested {
    let close = fleet.scene.daemon.root(["close", "--all"]);
    close.run()?.success()?;
    Ok(())
}

fn yes(fleet: &Fleet<'_>, key: &SshKey, request: &str) -> Tested<Value> {
    fleet
        .scene
        .yes(key, "alice", request, &[("for", json!(60))])
}

/// Behind one record more with each turn, until nothing is cut any more before it is answered.
fn cut_behind_each_record(whose: &str, apart: usize) -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (mut fleet, key) = Fleet::answered(&network, 1)?;
    let line = Line::to(network.dev(), (fleet.nats.at(), 4222).into())?;
    fleet.settings_with(whose, &[line.url()])?;
    fleet.stop()?;
    fleet.start()?;
    fleet.is_there()?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    for (cuts, records) in (1..MOST).step_by(apart).enumerate() {
        line.cut_behind(records);
        let mut shell = fleet.scene.shell();
        let request = is_waiting(&fleet, &mut shell, PORT)?;
        let signed = yes(&fleet, &key, &request)?;
        is_answered_in_the_end(&fleet, shell, &request, &signed)
            .map_err(|failed| anyhow::anyhow!("cut behind {records} records: {failed:?}"))?;
        if !line.is_cut() {
            eprintln!(
                "cut {cuts} times, the last behind {} records",
                records - apart
            );
            assert!(cuts > 3, "{cuts}");
            return Ok(());
        }
    }
    panic!("it is cut however many records go through");
}

#[test]
fn a_machines_connection_may_end_behind_any_record() -> Tested {
    cut_behind_each_record("machine", 1)
}

#[test]
fn a_persons_connection_may_end_behind_any_record() -> Tested {
    // It has a handshake for each command.
    let apart = if is_sampled() || is_slow() { 9 } else { 3 };
    cut_behind_each_record("person", apart)
}

#[test]
fn a_server_may_be_killed_while_a_question_is_in_front_of_somebody() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (mut fleet, key) = Fleet::answered(&network, 3)?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    for number in 0..3 {
        let (shell, request) = is_asked(&fleet, &mut look, PORT)?;
        fleet.nats.kill(number);
        is_taken(&fleet, shell, &request, &key)?;
        is_sound(&fleet, &request)?;
        close(&fleet)?;
        fleet.nats.start_again(number)?;
    }
    // All of them at once: it is answered once they are back.
    let (shell, request) = is_asked(&fleet, &mut look, PORT)?;
    (0..3).for_each(|number| fleet.nats.kill(number));
    let signed = yes(&fleet, &key, &request)?;
    let failed = exec::output(&mut fleet.answer_to(&fleet.machine, &request, &signed)?)?;
    assert_eq!(failed.status.code(), Some(2), "{failed:?}");
    assert!(!is_sound(&fleet, &request)?);
    for number in 0..3 {
        fleet.nats.start_again(number)?;
    }
    is_answered_in_the_end(&fleet, shell, &request, &signed)
}

/// The answer has gone out, and whoever was to take it stands still; then the server ends.
#[test]
fn a_server_may_be_killed_between_an_answer_and_its_receipt() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (mut fleet, key) = Fleet::answered(&network, 1)?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    for who in ["guard-fleet", "guardd"] {
        let (shell, request) = is_asked(&fleet, &mut look, PORT)?;
        let signed = yes(&fleet, &key, &request)?;
        let mut person = fleet.by_hand(network.dev())?;
        stand(&mut fleet, who, Signal::STOP)?;
        let subject = format!("guard.ci.answer.{}.{request}", fleet.machine);
        assert_eq!(person.publish(&subject, "", &signed.to_string())?, None);
        fleet.nats.kill(0);
        stand(&mut fleet, who, Signal::CONT)?;
        fleet.nats.start_again(0)?;
        is_answered_in_the_end(&fleet, shell, &request, &signed)?;
    }
    Ok(())
}

fn stand(fleet: &mut Fleet<'_>, who: &str, signal: Signal) -> Tested {
    match who {
        "guardd" => Ok(fleet.scene.daemon.signal(signal)?),
        _ => fleet.signal(signal),
    }
}

/// Whatever it says by a socket, to guardd or to a server, and whatever it writes: behind each of these it is killed.
#[test]
fn guard_fleet_may_be_killed_behind_any_word_of_it() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (mut fleet, key) = Fleet::answered(&network, 1)?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    fleet.stop()?;
    let steps = at_each_step(Which::All, |_, step| {
        let serve = fleet.command("machine", &["serve"])?;
        let mut stepped = Stepped::start_one_that_tells(&fleet.scene.daemon, &serve)?;
        fleet.is_there()?;
        stepped.arm(Some(step))?;
        let mut shell = fleet.scene.shell();
        let request = is_waiting(&fleet, &mut shell, PORT)?;
        let signed = yes(&fleet, &key, &request)?;
        let mut answering =
            Running::start(&mut fleet.answer_to(&fleet.machine, &request, &signed)?)?;
        eventually("it is answered, or was killed", || {
            answering.has_ended() || stepped.has_ended()
        })?;
        stepped.stop();
        let ended = stepped.wait()?;
        is_sound(&fleet, &request)?;
        fleet.start()?;
        is_answered_in_the_end(&fleet, shell, &request, &signed)
            .map_err(|failed| anyhow::anyhow!("{}: {failed:?}", behind(step, &ended)))?;
        fleet.stop()?;
        Ok(ended)
    })?;
    assert!(steps.iter().any(|step| step.contains("tell")), "{steps:?}");
    Ok(())
}

/// How many times a server is killed there.
const KILLS: u16 = 100;

#[test]
#[ignore = "a hundred kills take minutes"]
fn of_a_hundred_kills_none_leaves_a_question_unanswered() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let (mut fleet, key) = Fleet::answered(&network, 3)?;
    let mut look = fleet.look()?;
    look.until(|line| line["state"] == "open")?;
    let turns = if is_slow() { 6 } else { KILLS };
    for turn in 0..turns {
        let (number, moment) = (turn % 3, turn % 4);
        if moment == 0 {
            fleet.nats.kill(number);
        }
        let mut shell = fleet.scene.shell();
        let request = is_waiting(&fleet, &mut shell, PORT)?;
        if moment == 1 {
            fleet.nats.kill(number);
        }
        let signed = yes(&fleet, &key, &request)?;
        let mut answering =
            Running::start(&mut fleet.answer_to(&fleet.machine, &request, &signed)?)?;
        if moment == 2 {
            fleet.nats.kill(number);
        }
        answering.wait()?;
        if moment == 3 {
            fleet.nats.kill(number);
        }
        is_answered_in_the_end(&fleet, shell, &request, &signed)
            .map_err(|failed| anyhow::anyhow!("kill {turn}: {failed:?}"))?;
        fleet.nats.start_again(number)?;
    }
    let asked = lines(&fleet.said("person", &["pending", "--json"])?)?;
    assert_eq!(
        asked.len(),
        1,
        "the one that nobody has answered: {asked:?}"
    );
    // What was opened has a signature each, which holds.
    let verify = fleet.scene.daemon.root(["log", "--verify", "--signatures"]);
    let audit = fleet.scene.daemon.audit();
    verify.args([audit]).run()?.success()?;
    let signed = fleet.scene.log("answered");
    let signed = signed.iter().filter(|one| one["signed"]["by"] == "alice");
    let (opened, signed) = (fleet.scene.log("hole-open").len(), signed.count());
    assert_eq!(opened, usize::from(turns), "each was answered once");
    assert!(signed >= opened, "{signed} signatures for {opened} holes");
    Ok(())
}
