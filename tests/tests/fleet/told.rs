//! A person of a fleet is told by each machine, and what tells them leads to the page of all.

use std::{fs, net::TcpListener, os::unix::fs::PermissionsExt as _};

use anyhow::Context as _;
use guard_lab::{STRANGER, Tested, bins, eventually};
use serde_json::json;

use super::{
    central::{Central, hub_of, line_of, places},
    machines::Machine,
};
use crate::{
    console::{notify::Taker, passkey::Passkey, scene::ORIGIN},
    signed::scene::COURIER,
};

/// Has a machine tell of requests there, with links to the page of all.
fn tells(central: &mut Central<'_>, number: usize, port: u16) -> Tested {
    let daemon = &mut central.fleet.all[number].scene.daemon;
    let program = bins::for_everybody("guard-console", daemon.tag())?;
    let state = daemon.dir().join("told");
    fs::create_dir(&state)?;
    fs::set_permissions(&state, fs::Permissions::from_mode(0o777))?;
    let topic = format!("http://127.0.0.1:{port}/my-topic");
    let words = json!([
        program,
        "--config",
        "/nonexistent",
        "--origin",
        ORIGIN,
        "--state-dir",
        state,
        "notify",
        "--ntfy",
        topic
    ]);
    daemon.stop()?;
    daemon.write_config(&format!(
        "resolvers = [\"127.0.0.1:1\"]\non_request = {words}\non_request_user = \"{STRANGER}\"\non_request_answers = true\n\
         [answers]\ncouriers = [\"{COURIER}\"]\ncode = \"never\"\norigins = [\"{ORIGIN}\"]\n"
    ))?;
    Ok(daemon.start()?)
}

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
    tells(&mut central, 1, taker.port)?;
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
