//! Whoever is not heard is missed: at the machine, by whoever watches its numbers, and by whoever has the list.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
};

use anyhow::Context as _;
use guard_lab::{AGENT, Network, PATIENCE, Running, Tested, eventually, exec, patience};
use serde_json::{Value, json};

use super::scene::{Fleet, GROUP};
use crate::{
    metrics::scrape::Scrape,
    signed::scene::{CALLS, COURIER},
};

const REFUSED: &str = "org.guardd.Control.Refused";
/// Another courier, as a console is one.
const OTHER: u32 = 61243;

/// What a machine says of its fleet's servers.
struct Link {
    connected: bool,
    since: Option<jiff::Timestamp>,
    /// The same in its numbers.
    number: Option<f64>,
    /// For people, with the warnings.
    text: String,
}

impl Link {
    fn of(fleet: &Fleet<'_>) -> Tested<Self> {
        let link = fleet.scene.daemon.json(["status"])?["fleet_link"].take();
        let name = "guard_fleet_connected";
        let numbers = Scrape::of(&fleet.scene.daemon)?;
        Ok(Self {
            connected: link["connected"] == true,
            since: link["since"].as_str().map(str::parse).transpose()?,
            number: numbers.has(name, &[]).then(|| numbers.sum(name, &[])),
            text: fleet.scene.daemon.ask(["status"])?.success()?.stdout,
        })
    }

    /// Once it is so.
    fn once(fleet: &Fleet<'_>, connected: bool) -> Tested<Self> {
        let number = Some(f64::from(u8::from(connected)));
        let mut last = None;
        eventually(
            &format!("it says that it is connected: {connected}"),
            || {
                let now = Self::of(fleet)?;
                let is = now.connected == connected && now.number == number;
                last = Some(now);
                Ok(is)
            },
        )?;
        let last = last.context("nothing was said")?;
        let word = if connected { "reached" } else { "away" };
        let said = format!("of the fleet: {word} since 2");
        assert!(last.text.contains(&said), "{}", last.text);
        let by = format!(", as {COURIER} says\n");
        assert!(last.text.contains(&by), "{}", last.text);
        let warned = last.text.contains("the fleet does not hear this machine");
        assert_eq!(warned, !connected, "{}", last.text);
        Ok(last)
    }
}

#[test]
fn a_machine_that_reaches_no_server_says_since_when_to_people_and_in_numbers() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    restart(&mut fleet, "")?;
    let reached = Link::once(&fleet, true)?;
    fleet.nats.kill(0);
    let left = Link::once(&fleet, false)?;
    assert!(left.since > reached.since);
    fleet.nats.start_again(0)?;
    let back = Link::once(&fleet, true)?;
    assert!(back.since > left.since);
    // Whoever ends it is heard no more either.
    fleet.stop()?;
    Link::once(&fleet, false)?;

    // Couriers say it, and nobody else without rights.
    for (user, error) in [(AGENT, json!(REFUSED)), (COURIER, Value::Null)] {
        assert_eq!(says_reached(&fleet, user)?, error, "{user}");
        Link::once(&fleet, error.is_null())?;
    }
    Ok(())
}

/// Starts guardd again, with two couriers, and more in its settings.
fn restart(fleet: &mut Fleet<'_>, more: &str) -> Tested {
    let daemon = &mut fleet.scene.daemon;
    daemon.stop()?;
    daemon.write_config(&format!(
        "resolvers = [\"127.0.0.1:1\"]\n[answers]\ncouriers = [\"{COURIER}\", \"{OTHER}\"]\n{more}"
    ))?;
    Ok(daemon.start()?)
}

/// Has a user say that a server is reached: the error, or null.
fn says_reached(fleet: &Fleet<'_>, user: u32) -> Tested<Value> {
    let daemon = &fleet.scene.daemon;
    let script = daemon.write_for_agents("calls.py", CALLS)?;
    let mut python = daemon.on_machine(user, "/usr/bin/python3");
    python.arg(&script).arg(daemon.socket());
    python.args(["Linked", "{\"connected\":true}"]);
    let said = exec::output(&mut python)?.stdout;
    Ok(serde_json::from_slice::<Value>(&said)?["error"].take())
}

#[test]
fn no_other_courier_says_that_the_fleet_is_reached() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    restart(&mut fleet, "")?;
    Link::once(&fleet, true)?;
    fleet.nats.kill(0);
    Link::once(&fleet, false)?;
    // What it says is its own word, and hides nothing.
    assert_eq!(says_reached(&fleet, OTHER)?, Value::Null);
    Link::once(&fleet, false)?;

    // Where the settings name the one that carries to the fleet, nobody takes it from another one.
    restart(&mut fleet, &format!("[fleet]\nlog = \"{COURIER}\"\n"))?;
    assert_eq!(says_reached(&fleet, OTHER)?, json!(REFUSED));
    assert!(!Link::of(&fleet)?.connected);
    fleet.nats.start_again(0)?;
    Link::once(&fleet, true)?;
    Ok(())
}

#[test]
fn the_service_manager_shows_whether_a_server_is_reached() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.kill();
    let at = fleet.dir().join("notify.sock");
    let manager = UnixDatagram::bind(&at)?;
    fs::set_permissions(&at, fs::Permissions::from_mode(0o777))?;
    manager.set_read_timeout(Some(patience(PATIENCE)))?;
    let until = |text: &str| -> Tested {
        let mut bytes = [0; 4096];
        loop {
            let length = manager.recv(&mut bytes)?;
            if String::from_utf8_lossy(&bytes[..length]).contains(text) {
                return Ok(());
            }
        }
    };
    let mut command = fleet.command("machine", &["serve"])?;
    let _carrier = Running::start(command.env("NOTIFY_SOCKET", &at))?;
    until("READY=1")?;
    until("STATUS=connected to a server of tls://")?;
    fleet.nats.kill(0);
    until("STATUS=no server is reached: tls://")
}

#[test]
fn a_machine_that_is_listed_and_silent_is_named() -> Tested {
    let network = Network::new()?;
    let mut fleet = Fleet::new(&network, 1)?;
    fleet.is_there()?;
    let file = fleet.list();
    let file = file.to_str().unwrap();
    let said = |fleet: &Fleet<'_>, args: &[&str]| -> Tested<(Option<i32>, String)> {
        let done =
            exec::output(&mut fleet.command("person", &[args, &["--list", file]].concat())?)?;
        let said = String::from_utf8_lossy(&done.stdout).into_owned();
        Ok((done.status.code(), said))
    };
    for verb in ["status", "machines"] {
        let (code, text) = said(&fleet, &[verb])?;
        assert_eq!(code, Some(0), "{text}");
        assert!(!text.contains("silent"), "{text}");
    }
    // Of other groups nothing is expected here.
    let [absent, elsewhere] = ["a", "b"].map(|digit| format!("m-{}", digit.repeat(20)));
    let listed = fs::read_to_string(file)?;
    let mut more = String::new();
    for (id, group) in [(&absent, GROUP), (&elsewhere, "elsewhere")] {
        fleet.home(group)?;
        let key = fleet.key(group)?;
        more += &format!("[[machine]]\nid = \"{id}\"\nkey = \"{key}\"\ngroup = \"{group}\"\n");
    }
    fs::write(file, listed + &more)?;
    let (code, text) = said(&fleet, &["status"])?;
    assert_eq!(code, Some(1), "{text}");
    let silent = format!("{absent} of {GROUP} is listed, and silent\n");
    assert!(
        text.contains(&silent) && text.matches("silent").count() == 1,
        "{text}"
    );
    let (code, text) = said(&fleet, &["status", "--json"])?;
    assert_eq!(code, Some(1), "{text}");
    assert_eq!(
        serde_json::from_str::<Value>(&text)?["silent"],
        json!([absent])
    );
    // The one that was there.
    fleet.stop()?;
    let (code, text) = said(&fleet, &["machines", "--json"])?;
    assert_eq!(code, Some(1), "{text}");
    let silent = super::scene::lines(&text)?;
    let silent: Vec<_> = silent.iter().filter(|one| one["silent"] == true).collect();
    let ids: Vec<_> = silent.iter().map(|one| &one["machine"]).collect();
    assert_eq!(ids, [&json!(fleet.machine), &json!(absent)]);

    fs::write(file, "machine = 1")?;
    let (code, text) = said(&fleet, &["status"])?;
    assert_eq!((code, &*text), (Some(2), ""));
    Ok(())
}
