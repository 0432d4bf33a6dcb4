//! Two people answer one question at once by two servers; and a code that is read at a machine is typed on the page of all.

use std::{fs, thread};

use anyhow::Context as _;
use guard_lab::Tested;
use rustix::process::Signal;
use serde_json::{Value, json};

use super::{
    central::{Central, by_hand, hub_of, line_of, places},
    client::Heard,
    machines::Machine,
    scene::{PERSON, with_witness},
};
use crate::together::in_turn;
use crate::{
    console::{passkey::Passkey, scene::ORIGIN},
    signed::scene::COURIER,
};

/// By whom a signed answer that was published is.
fn by(published: &Heard) -> Option<String> {
    let signed: Value = serde_json::from_str(&published.payload).ok()?;
    let answer: Value = serde_json::from_str(signed["answer"].as_str()?).ok()?;
    Some(answer["by"].as_str()?.to_owned())
}

/// Has all servers let somebody in who may do all.
fn let_witness_in(central: &mut Central<'_>) -> Tested {
    central.fleet.home("witness", COURIER)?;
    let mut key = central.fleet.as_one("witness", COURIER, &["key"])?;
    let key = guard_lab::exec::run(&mut key)?;
    let users = fs::read_to_string(central.fleet.nats.users(0))?;
    Ok(central
        .fleet
        .nats
        .reload(&with_witness(&users, key.trim()))?)
}

/// Each is about another of two machines.
#[test]
fn on_the_page_of_all_a_code_is_typed_and_two_people_answer_at_once() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut central = Central::start(&guarded, &colleague, &hub)?;
    in_turn!(
        &mut central;
        a_code_is_read_at_one_machine_and_typed_on_the_page_of_all,
        of_two_people_who_answer_at_once_by_two_servers_one_opens_and_the_other_is_told_who,
    )
}

/// Both have been published before the machine hears either.
fn of_two_people_who_answer_at_once_by_two_servers_one_opens_and_the_other_is_told_who(
    central: &mut Central<'_>,
) -> Tested {
    let_witness_in(central)?;
    let bob = Passkey::new("bob");
    central.enrol(0, "bob", &line_of(&bob))?;
    // The page is at the second server, and alice at the first.
    central.be_at(1)?;
    let cookie = central.log_in("bob")?;
    let place = central.asked(&cookie, 0, 443)?;
    let (question, at) = central.question(&cookie, &place)?;
    let answer = central.fleet.all[0]
        .scene
        .answer(&question, "bob", &[("for", json!(60))]);
    let bobs = bob.sign(&answer, ORIGIN);
    let alices = central.fleet.signed(&question, "yes")?;
    let request = place.rsplit('/').next().context("no request")?;
    let subject = format!("guard.ci.answer.{}.{request}", central.id(0));
    let mut witness = by_hand(central, "witness", COURIER)?;
    assert_eq!(witness.subscribe(&subject)?, None);
    let mut alice = by_hand(central, "colleague", PERSON)?;
    assert_eq!(alice.subscribe("guard.ci.receipt.*.*")?, None);

    central.fleet.all[0].carrier.signal(Signal::STOP)?;
    let (http, machine) = (&central.http, &mut central.fleet.all[0]);
    let said = thread::scope(|scope| -> Tested<_> {
        let page = scope.spawn(|| http.json(&at, &bobs, Some(&cookie)));
        assert_eq!(alice.publish(&subject, "", &alices.to_string())?, None);
        let mut published = Vec::new();
        while !["alice", "bob"]
            .iter()
            .all(|who| published.contains(&Some((*who).to_owned())))
        {
            published.push(by(&witness.next()?));
        }
        machine.carrier.signal(Signal::CONT)?;
        Ok(page.join().unwrap())
    })?;
    assert_eq!(central.holes(0), ["tcp/443"]);
    let answered = central.fleet.all[0].scene.log("answered");
    let [answered] = &answered[..] else {
        panic!("{answered:?}");
    };
    let winner = answered["by"].as_str().context("nobody")?;
    assert_eq!(said.status == 200, winner == "bob", "{}", said.body);
    // Its receipt, whichever came first.
    let receipt = loop {
        let receipt: Value = serde_json::from_str(&alice.next()?.payload)?;
        if receipt["answer"] == sha256(&alices.to_string()) {
            break receipt;
        }
    };
    assert_eq!(receipt["taken"].is_object(), winner == "alice", "{receipt}");
    // The link stays, for both, and says who it was.
    let over = format!("Yes, by {winner}");
    guard_lab::eventually("the page says who", || {
        central.http.get(&place, Some(&cookie)).body.contains(&over)
    })?;
    Ok(())
}

fn sha256(text: &str) -> String {
    let hash = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    data_encoding::HEXLOWER.encode(hash.as_ref())
}

fn a_code_is_read_at_one_machine_and_typed_on_the_page_of_all(central: &mut Central<'_>) -> Tested {
    let alice = Passkey::new("alice");
    central.enrol(1, "alice", &line_of(&alice))?;
    let daemon = &mut central.fleet.all[1].scene.daemon;
    let text = fs::read_to_string(daemon.config())?;
    daemon.stop()?;
    daemon.write_config(&text.replace("\"never\"", "\"always\""))?;
    daemon.start()?;
    let cookie = central.log_in("alice")?;
    central.sees(&cookie, "2 there")?;
    Machine::begin(&mut central.fleet.all[1].shell, 8080)?;
    let place = central.asked(&cookie, 1, 8080)?;
    let (question, at) = central.question(&cookie, &place)?;
    let page = central.http.get(&place, Some(&cookie)).body;
    assert!(page.contains("Code, as guard watch shows it"), "{page}");
    let scene = &central.fleet.all[1].scene;
    let pending = scene.daemon.list(["pending"])?;
    let asked = pending
        .iter()
        .find(|one| one["destination"]["port"] == 8080);
    let code = asked.context("it is not asked")?["code"].clone();
    // It is at the machine alone.
    assert!(!question.to_string().contains(&format!("\"code\":{code}")));
    let say = |code: &str| {
        let change = [("for", json!(60)), ("code", json!(code))];
        let signed = alice.sign(&scene.answer(&question, "alice", &change), ORIGIN);
        central.http.json(&at, &signed, Some(&cookie))
    };
    let code = code.as_str().context("no code")?;
    for wrong in ["", if code == "123" { "321" } else { "123" }] {
        let refused = say(wrong);
        assert!(matches!(refused.status, 403 | 409), "{}", refused.body);
        assert!(refused.body.contains("code"), "{}", refused.body);
        assert!(central.holes(1).is_empty());
    }
    let taken = say(code);
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(central.holes(1), ["tcp/8080"]);
    // What came while nobody carried questions yet has not waited.
    let shell = &mut central.fleet.all[1].shell;
    Machine::has_reached(shell)?;
    Machine::begin(shell, 8080)?;
    assert!(Machine::has_reached(shell)?);
    Ok(())
}
