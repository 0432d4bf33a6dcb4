//! A person of a fleet is told by each machine, and what tells them leads to the page of all.

use std::net::TcpListener;

use anyhow::Context as _;
use guard_lab::{Tested, eventually};
use serde_json::json;

use super::{
    central::{Central, hub_of, line_of, places},
    machines::Machine,
};
use crate::{
    console::{
        notify::{Taker, has_told},
        passkey::Passkey,
        scene::ORIGIN,
    },
    signed::scene::COURIER,
};

#[test]
fn a_phone_that_a_machine_tells_opens_the_page_of_all_and_answers_there() -> Tested {
    let (guarded, colleague) = places()?;
    let hub = hub_of(&guarded, &colleague)?;
    let mut central = Central::start(&guarded, &colleague, &hub)?;
    let alice = Passkey::new("alice");
    for number in 0..2 {
        central.enrol(number, "alice", &line_of(&alice))?;
    }
    let here = guarded[1].dev();
    let listener = here.enter(|| Ok(TcpListener::bind("127.0.0.1:0")?))?;
    let taker = Taker::start(listener, None)?;
    let answers = format!(
        "resolvers = [\"127.0.0.1:1\"]\n\
         [answers]\ncouriers = [\"{COURIER}\"]\ncode = \"never\"\norigins = [\"{ORIGIN}\"]\n"
    );
    let daemon = &mut central.fleet.all[1].scene.daemon;
    has_told(daemon, ORIGIN, taker.port, &answers)?;
    let cookie = central.log_in("alice")?;
    central.sees(&cookie, "2 there")?;

    Machine::begin(&mut central.fleet.all[1].shell, 8080)?;
    eventually("the phone is told", || !taker.got().is_empty())?;
    let link = taker.got()[0].header("click").to_owned();
    let place = link.strip_prefix(ORIGIN).context(link.clone())?;
    let begins = format!("/q/{}/r", central.id(1));
    assert!(place.starts_with(&begins), "{link}");
    assert!(central.fleet.all[1].waits(8080)?, "for whoever was told");
    eventually("the link leads to the question", || {
        central.http.get(place, Some(&cookie)).status == 200
    })?;
    let (question, answer_at) = central.question(&cookie, place)?;
    let scene = &central.fleet.all[1].scene;
    let answer = scene.answer(&question, "alice", &[("for", json!(60))]);
    let signed = alice.sign(&answer, ORIGIN);
    let taken = central.http.json(&answer_at, &signed, Some(&cookie));
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert!(Machine::has_reached(&mut central.fleet.all[1].shell)?);
    assert_eq!(central.holes(1), ["tcp/8080"]);
    assert!(central.holes(0).is_empty());
    // The link stays, and says who it was.
    let over = central.http.get(place, Some(&cookie)).body;
    assert!(over.contains("Yes, by alice"), "{over}");
    Ok(())
}
