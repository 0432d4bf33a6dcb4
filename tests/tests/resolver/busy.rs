//! A session that has guardd hear of refusals without end: others are answered, and the log says what it lacks.

use guard_lab::{Attempt, Json as _, Shell, Tested, eventually};
use serde_json::Value;

use super::place::{API, DB, DNS, OTHER, ResolverScene};
use crate::names::scene::with_resolvers;

const POLICY: &str = r#"
version = 1
name = "busy"
default = "deny"
hold = "0s"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "asked"
to = ["192.0.2.12"]
action = "confirm"
"#;

const BUSY: &str = include_str!("programs/busy.py");
/// Look-ups that are refused, and as many connections, before others are looked at.
const LEAST: u64 = 3000;

/// What it was refused by then: names, and connections.
fn refused(line: &str) -> Tested<[u64; 2]> {
    let mut words = line.split_whitespace().skip(1);
    let mut number = || words.next().unwrap_or_default().parse::<u64>();
    Ok([number()?, number()?])
}

/// What somebody else has of guardd and of its resolver: a name, its address, and a person's yes to another one.
fn is_served(place: &ResolverScene, other: &mut Shell) -> Tested {
    let daemon = &place.daemon;
    assert_eq!(daemon.list(["sessions"])?.len(), 2);
    let question = format!("udp {DNS} v1.api.example.com");
    assert_eq!(place.asked(other, &question)?, format!("answered {API}"));
    assert!(other.reaches(&Attempt::tcp(API, 443))?);
    assert!(!other.reaches(&Attempt::tcp(OTHER, 443))?);
    let mut request = Value::Null;
    eventually("a person is asked", || {
        let pending = daemon.list(["pending"])?;
        let mut own = pending.iter();
        let own = own.find(|one| one["session"] == other.session());
        request = own.cloned().unwrap_or_default();
        Ok(request["destination"]["address"] == OTHER)
    })?;
    daemon.json(["approve", request["id"].text()?])?;
    assert!(other.reaches(&Attempt::tcp(OTHER, 443))?);
    Ok(())
}

#[test]
fn a_session_that_is_refused_without_end_holds_up_nobody_and_the_log_says_what_it_lacks() -> Tested
{
    let (place, mut flooder) = ResolverScene::under("busy", &with_resolvers(POLICY))?;
    let _production = place.production()?;
    let daemon = &place.daemon;
    let outside = Attempt::tcp(DB, 443).outside(place.network.dev(), 0)?;
    assert!(outside.ok, "nothing stops it without the guard");
    let mut other = Shell::start(daemon, "busy")?;
    let busy = daemon.write_for_agents("busy.py", BUSY)?;
    let busy = format!("/usr/bin/python3 {} {DNS} {DB} {LEAST}", busy.display());
    flooder.tell(&busy)?;
    let before = refused(&flooder.line_with("floods ")?)?;
    is_served(&place, &mut other)?;
    flooder.tell("stop")?;
    let after = refused(&flooder.line_with("flooded ")?)?;
    for (before, after) in before.into_iter().zip(after) {
        assert!(after > before && before >= LEAST, "it went on meanwhile");
    }

    let session = flooder.session().to_owned();
    flooder.tell("exit")?;
    flooder.wait()?;
    let own = |kind: &str| -> Tested<_> {
        let mut records = daemon.audited(kind)?;
        records.retain(|one| one["session"] == *session);
        Ok(records)
    };
    eventually("its end is in the log", || {
        Ok(!own("session-end")?.is_empty())
    })?;
    let [denied, ended] = [own("denied")?, own("session-end")?];
    // The kernel counts each connection; of names, what guardd was told of.
    let count = ended[0]["denied"].as_u64().unwrap_or_default();
    assert!(count >= after[1], "{ended:?}: {after:?}");
    // Of some, each says that it is one of many, or how many before it were left out.
    assert!(
        (denied.len() as u64) < after[0].min(after[1]),
        "{}",
        denied.len()
    );
    assert!(denied.iter().any(|one| one["last"] == true), "{denied:?}");
    let left_out = denied.iter().chain(&ended);
    let left_out = left_out.filter_map(|one| one["left_out"].as_u64());
    assert!(left_out.sum::<u64>() > 0, "{denied:?} {ended:?}");
    // Of the other nothing is left out.
    let others = daemon.audited("denied")?;
    let others: Vec<_> = others
        .iter()
        .filter(|one| one["session"] == other.session())
        .collect();
    let is_whole = |one: &&Value| one["left_out"].as_u64() == Some(0) && one["last"] != true;
    assert!(
        !others.is_empty() && others.iter().all(is_whole),
        "{others:?}"
    );
    Ok(())
}
