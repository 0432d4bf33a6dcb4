//! Answers at the edges: long chains, short and long times, many addresses, several names of one.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Instant,
};

use guard_common::NameId;
use guard_lab::{Attempt, Json as _, Shell, Tested, bins, eventually};
use hickory_proto::op::Message;
use serde_json::json;

use crate::names::scene::with_resolvers;

use super::{
    place::{API, DNS, NARROWER, OTHER, POLICY, ResolverScene, usual},
    server,
};

fn reaches(shell: &mut Shell, to: &str) -> Tested<bool> {
    Ok(shell.reaches(&Attempt::tcp(to, 443))?)
}

/// Links of a chain of aliases, and an address at its end.
fn chain(asked: &Message, links: usize) -> Vec<Vec<u8>> {
    let name = server::name_in(asked);
    let link = |number: usize| match number {
        0 => name.clone(),
        number => format!("link{number}.cdn.example"),
    };
    let mut records: Vec<_> = (0..links)
        .map(|number| server::alias(&link(number), &link(number + 1), 60))
        .collect();
    let at: IpAddr = API.parse().unwrap();
    records.extend(server::addresses(asked, &link(links), &[at], 60));
    server::bytes(&server::answer(asked, records), true)
}

#[test]
fn a_chain_of_sixteen_is_followed_and_no_longer_one() -> Tested {
    let place = ResolverScene::serving(|asked, _| {
        let is_long = server::name_in(asked).starts_with("long");
        chain(asked, if is_long { 17 } else { 16 })
    })?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let said = place.asked(&mut shell, &format!("udp {DNS} long.api.example.com"))?;
    assert_eq!(said, "SERVFAIL");
    assert!(!reaches(&mut shell, API)?);
    let said = place.asked(&mut shell, &format!("tcp {DNS} v1.api.example.com"))?;
    assert_eq!(said, format!("answered {API}"));
    assert!(reaches(&mut shell, API)?);
    Ok(())
}

#[test]
fn what_is_to_be_kept_for_no_time_or_for_long_is_reached() -> Tested {
    let place = ResolverScene::serving(|asked, is_stream| {
        let name = server::name_in(asked);
        let (at, ttl) = if name.starts_with("short") {
            (API, 0)
        } else {
            (OTHER, 1_209_600)
        };
        let records = server::addresses(asked, &name, &[at.parse().unwrap()], ttl);
        server::bytes(&server::answer(asked, records), is_stream)
    })?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    for (name, at) in [("short", API), ("long", OTHER)] {
        let said = place.asked(&mut shell, &format!("udp {DNS} {name}.api.example.com"))?;
        assert_eq!(said, format!("answered {at}"));
        assert!(reaches(&mut shell, at)?, "{name}");
    }
    Ok(())
}

/// Of addresses that nothing else has here.
const FIRST: &str = "2001:db8:7:1::";

/// So many addresses, from that one on.
fn many(count: u32) -> Tested<Vec<IpAddr>> {
    let first: Ipv6Addr = FIRST.parse()?;
    let all = (0..u128::from(count)).map(|number| Ipv6Addr::from_bits(first.to_bits() + number));
    Ok(all.map(IpAddr::V6).collect())
}

#[test]
fn each_of_two_thousand_addresses_is_reached() -> Tested {
    let all = many(2000)?;
    let serves = all.clone();
    let place =
        ResolverScene::serving(move |asked, is_stream| server::many(asked, &serves, is_stream))?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let (first, last) = (all[0].to_string(), all[1999].to_string());
    assert!(!reaches(&mut shell, &last)?);
    // They fit into no datagram.
    let said = place.asked(&mut shell, &format!("udp-AAAA {DNS} v1.api.example.com"))?;
    assert_eq!(said, "answered cut");
    let said = place.asked(&mut shell, &format!("tcp-AAAA {DNS} v1.api.example.com"))?;
    let log = || -> Tested<_> { Ok(place.daemon.root(["log"]).run()?.stdout) };
    assert_eq!(said, "answered 2000 addresses", "{}", log()?);
    for at in [first, all[1000].to_string(), last] {
        assert!(reaches(&mut shell, &at)?, "{at}");
    }
    Ok(())
}

#[test]
fn of_four_hundred_addresses_in_turn_those_that_were_given_are_reached() -> Tested {
    let all = many(400)?;
    let serves = all.clone();
    let turn = std::sync::atomic::AtomicUsize::new(0);
    let place = ResolverScene::serving(move |asked, is_stream| {
        let turn = turn.fetch_add(1, std::sync::atomic::Ordering::Relaxed) % 50;
        let some = &serves[turn * 8..turn * 8 + 8];
        let records = server::addresses(asked, &server::name_in(asked), some, 1);
        server::bytes(&server::answer(asked, records), is_stream)
    })?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let mut given = Vec::new();
    for _ in 0..10 {
        let said = place.asked(&mut shell, &format!("udp-AAAA {DNS} v1.api.example.com"))?;
        given.extend(said.split(' ').skip(1).map(str::to_owned));
    }
    assert_eq!(given.len(), 80);
    // Programs go on with what they were given a minute ago.
    for at in given.iter().step_by(7) {
        assert!(reaches(&mut shell, at)?, "{at}");
    }
    let not_given = all.iter().map(ToString::to_string);
    let mut not_given = not_given.filter(|at| !given.contains(at));
    assert!(!reaches(&mut shell, &not_given.next().unwrap())?);
    Ok(())
}

#[test]
fn of_two_names_of_one_address_the_stricter_counts() -> Tested {
    let place = ResolverScene::new()?;
    let _production = place.production()?;
    let strict = POLICY.replace("[[rule]]\nname = \"database\"", "[[rule]]\nname = \"strict\"\nto = [\"*.strict.api.example.com\"]\naction = \"confirm\"\n\n[[rule]]\nname = \"database\"");
    assert_ne!(strict, POLICY);
    place
        .daemon
        .write_policy("names", &with_resolvers(&strict))?;
    place.daemon.signal(rustix::process::Signal::HUP)?;
    let ask = |shell: &mut Shell, name: &str| -> Tested {
        let said = place.asked(shell, &format!("udp {DNS} {name}.api.example.com"))?;
        assert_eq!(said, format!("answered {API}"));
        Ok(())
    };
    eventually("the policy is another", || {
        let mut shell = Shell::start(&place.daemon, "names")?;
        ask(&mut shell, "a.strict")?;
        Ok(!reaches(&mut shell, API)?)
    })?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    ask(&mut shell, "v1")?;
    assert!(reaches(&mut shell, API)?);
    ask(&mut shell, "a.strict")?;
    assert!(!reaches(&mut shell, API)?);
    ask(&mut shell, "v1")?;
    assert!(!reaches(&mut shell, API)?);
    Ok(())
}

/// What stands for one of nine wildcards, of which the eighth is asked about.
fn wildcard(number: usize) -> String {
    let action = if number == 8 { "confirm" } else { "allow" };
    format!(
        "[[rule]]\nname = \"n{number}\"\nto = [\"*.n{number}.example.com\"]\nports = [\"tcp/443\"]\naction = \"{action}\"\n\n"
    )
}

#[test]
fn of_nine_names_of_one_address_the_last_is_not_answered() -> Tested {
    let rules: String = (1..=9).map(wildcard).collect();
    let policy = with_resolvers(&format!("version = 1\ndefault = \"deny\"\n\n{rules}"));
    let place = ResolverScene::build(usual, |daemon| daemon.policy("many", &policy))?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "many")?;
    let mut ask = |number: usize| -> Tested<(String, bool)> {
        let said = place.asked(&mut shell, &format!("udp {DNS} a.n{number}.example.com"))?;
        Ok((said, reaches(&mut shell, API)?))
    };
    let answered = format!("answered {API}");
    assert!(place.outside(&["udp", DNS, "a.n9.example.com"])? == answered);
    for number in 1..=7 {
        assert_eq!(ask(number)?, (answered.clone(), true), "{number}");
    }
    // The strictest counts, and one more has no room.
    assert_eq!(ask(8)?, (answered.clone(), false));
    assert_eq!(ask(9)?, ("SERVFAIL".to_owned(), false));
    // What is known goes on.
    assert_eq!(ask(1)?, (answered, false));
    let log = place.daemon.root(["log", "--json"]).run()?.json_lines()?;
    let said = |record: &serde_json::Value| {
        let why = record["why"].as_str().unwrap_or_default();
        record["destination"]["host"] == "a.n9.example.com" && why.contains("more patterns")
    };
    assert!(log.iter().any(said), "{log:?}");
    Ok(())
}

/// 2,000 addresses each time, and others for each name.
#[test]
fn a_session_that_knows_too_much_gets_no_more() -> Tested {
    let place = ResolverScene::serving(|asked, is_stream| {
        let name = server::name_in(asked);
        let number = name
            .split('.')
            .next()
            .unwrap_or_default()
            .trim_start_matches('n');
        let from = number.parse().unwrap_or(0) * 2000;
        server::many(
            asked,
            &many(from + 2000).unwrap()[from as usize..],
            is_stream,
        )
    })?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let mut answers = (0..9).map(|number| {
        place
            .asked(
                &mut shell,
                &format!("tcp-AAAA {DNS} n{number}.api.example.com"),
            )
            .unwrap()
    });
    let full = "answered 2000 addresses";
    assert!(answers.by_ref().take(8).all(|said| said == full));
    assert_eq!(answers.next().unwrap(), "SERVFAIL");
    // What it knows it goes on reaching, and another session has room.
    assert!(reaches(&mut shell, &many(1)?[0].to_string())?);
    let mut other = Shell::start(&place.daemon, "narrower")?;
    assert!(NARROWER.contains("one.api.example.com"));
    let said = place.asked(&mut other, &format!("tcp-AAAA {DNS} one.api.example.com"))?;
    assert_eq!(said, full);
    Ok(())
}

/// An answer of a second counts for a minute, and half a minute more: here for the sixth part.
#[test]
fn a_connection_outlives_the_answer_that_let_it_in() -> Tested {
    let serving = |asked: &Message, is_stream| {
        let name = server::name_in(asked);
        let records = server::addresses(asked, &name, &[API.parse().unwrap()], 1);
        server::bytes(&server::answer(asked, records), is_stream)
    };
    let place = ResolverScene::build(serving, |daemon| daemon.args(&["--name-least", "10"]))?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    place.asked(&mut shell, &format!("udp {DNS} v1.api.example.com"))?;
    let begun = Instant::now();
    shell.begin(&Attempt::new("hold-open", API, 443))?;
    shell.line_with("echo")?;
    // As after any change: what was cached of verdicts is void.
    let other = POLICY.replace("tcp/443\"]", "tcp/443\", \"tcp/8443\"]");
    assert_ne!(other, POLICY);
    place
        .daemon
        .write_policy("names", &with_resolvers(&other))?;
    place.daemon.signal(rustix::process::Signal::HUP)?;
    let mut new = Shell::start(&place.daemon, "names")?;
    place.asked(&mut new, &format!("udp {DNS} v1.api.example.com"))?;
    assert!(reaches(&mut new, API)?);
    // Whoever goes on with an address from a cache is refused, until it asks again.
    let mut report = new.attempt(&Attempt::tcp(API, 443))?;
    eventually("the answer is over", || {
        report = new.attempt(&Attempt::tcp(API, 443))?;
        Ok(!report.ok)
    })?;
    assert_eq!(report.errno.as_deref(), Some("EPERM"), "{report:?}");
    // Whoever asks is told so.
    const OVER: &str = "`api` has the name, and the time of its answer is over: look it up again";
    let guard = bins::for_everybody("guard", place.daemon.tag())?;
    let why = format!("{} why --json | tr -d '\n'; echo", guard.display());
    new.tell(&why)?;
    let said = new.line_with("stopped")?;
    let said: serde_json::Value = serde_json::from_str(said.trim())?;
    assert_eq!(said["stopped"][0]["barred"], OVER, "{said}");
    let explain = [
        "explain",
        API,
        "--ports",
        "tcp/443",
        "--session",
        new.session(),
    ];
    let said = place.daemon.json(explain)?;
    assert_eq!(
        (&said["verdict"], &said["barred"]),
        (&json!("deny"), &json!(OVER)),
        "{said}"
    );
    place.asked(&mut new, &format!("udp {DNS} v1.api.example.com"))?;
    assert!(reaches(&mut new, API)?);
    // The connection goes on, and would end with a refused packet. There are no more than twenty echoes in a second, so that this
    // many are none of before.
    let past = begun.elapsed().as_millis() as u64 / 50 + 40;
    let mut last = 0;
    while last < past {
        let line: serde_json::Value = serde_json::from_str(shell.line_with("echo")?.trim())?;
        last = line["echo"].as_u64().unwrap();
    }
    Ok(())
}

/// Beside `POLICY`: names that have the same address.
const BESIDE: &str = r#"
[[rule]]
name = "stern"
to = ["*.stern.example.com"]
ports = ["tcp/443"]
action = "confirm"

[[rule]]
name = "beside"
to = ["*.beside.example.com"]
ports = ["tcp/80"]
action = "allow"
"#;

#[test]
fn a_connection_is_judged_by_the_names_that_counted_when_it_began() -> Tested {
    let serving = |asked: &Message, is_stream| {
        let name = server::name_in(asked);
        let records = server::addresses(asked, &name, &[API.parse().unwrap()], 1);
        server::bytes(&server::answer(asked, records), is_stream)
    };
    let text = |ports: &str| {
        let policy = POLICY.replace("name = \"names\"", "name = \"beside\"");
        with_resolvers(&format!("{policy}{}", BESIDE.replace("tcp/80", ports)))
    };
    let place = ResolverScene::build(serving, |daemon| {
        let daemon = daemon.args(&["--name-least", "10"]);
        daemon.policy("beside", &text("tcp/80"))
    })?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "beside")?;
    let session = shell.session().to_owned();
    let verdict = |ports: &str| -> Tested<String> {
        let explain = ["explain", API, "--ports", ports, "--session", &session];
        let said = place.daemon.json(explain)?;
        Ok(said["verdict"].as_str().unwrap().to_owned())
    };
    let is_over = |was: &str| {
        assert_eq!(verdict("tcp/443").unwrap(), was);
        eventually("the name is over", || Ok(verdict("tcp/443")? == "deny"))
    };
    // What a stricter name said is over with its time, for connections that begin after it.
    let ask = |name: &str| format!("udp {DNS} v1.{name}.example.com");
    let answered = format!("answered {API}");
    assert_eq!(place.asked(&mut shell, &ask("stern"))?, answered);
    assert!(!reaches(&mut shell, API)?);
    is_over("confirm")?;
    assert_eq!(place.asked(&mut shell, &ask("api"))?, answered);
    assert!(reaches(&mut shell, API)?);
    let begun = Instant::now();
    let probe = bins::for_everybody("guard-lab", place.daemon.tag())?;
    let hold_open = Attempt::new("hold-open", API, 443).args().join(" ");
    shell.tell(&format!("{} {hold_open} &", probe.display()))?;
    shell.line_with("echo")?;
    is_over("allow")?;
    assert!(!reaches(&mut shell, API)?);
    // What is learned there later, of other ports, takes nothing from the connection.
    assert_eq!(place.asked(&mut shell, &ask("beside"))?, answered);
    assert_eq!(verdict("tcp/80")?, "allow");
    assert_eq!(verdict("tcp/81")?, "deny");
    place.daemon.write_policy("beside", &text("tcp/80-81"))?;
    place.daemon.signal(rustix::process::Signal::HUP)?;
    eventually("what was cached is void", || {
        Ok(verdict("tcp/81")? == "allow")
    })?;
    let past = begun.elapsed().as_millis() as u64 / 50 + 40;
    let mut last = 0;
    while last < past {
        let line: serde_json::Value = serde_json::from_str(shell.line_with("echo")?.trim())?;
        last = line["echo"].as_u64().unwrap();
    }
    Ok(())
}

/// Two names of one number (64 bits of FNV-1a): found in some minutes, by a walk from number to name to number.
const RULES: &str = "un6gp47ko6osk.example";
const CHOSEN: &str = "cdi3mmi6xh4yk.example";
const TWINS: &str = r#"
version = 1
name = "twins"
default = "confirm"

[[rule]]
name = "public"
to = ["un6gp47ko6osk.example"]
ports = ["tcp/443"]
action = "allow"
"#;

#[test]
fn a_name_that_has_the_number_of_a_rules_is_not_the_rules() -> Tested {
    assert_eq!(NameId::of(RULES), NameId::of(CHOSEN));
    // guardd looks the rule's own up, which is elsewhere.
    let serves = |asked: &Message, is_stream| {
        let name = server::name_in(asked);
        let at = if name == RULES { OTHER } else { API };
        let records = server::addresses(asked, &name, &[at.parse().unwrap()], 60);
        server::bytes(&server::answer(asked, records), is_stream)
    };
    let place = ResolverScene::build(serves, |daemon| {
        daemon.policy("twins", &with_resolvers(TWINS))
    })?;
    let mut shell = Shell::start(&place.daemon, "twins")?;
    let _production = place.production()?;
    let said = place.asked(&mut shell, &format!("udp {DNS} {CHOSEN}"))?;
    assert_eq!(said, format!("answered {API}"));
    // guardd has heard of it when it says by which name it is asked about.
    eventually("guardd knows the name", || {
        assert!(!reaches(&mut shell, API)?);
        let pending = place.daemon.json(["pending"])?;
        let is_named = |one: &serde_json::Value| one["destination"]["host"] == CHOSEN;
        Ok(pending.list()?.iter().any(is_named))
    })?;
    assert!(!reaches(&mut shell, API)?);
    // The rule's own opens it.
    let said = place.asked(&mut shell, &format!("udp {DNS} {RULES}"))?;
    assert_eq!(said, format!("answered {OTHER}"));
    assert!(reaches(&mut shell, OTHER)? && !reaches(&mut shell, API)?);
    Ok(())
}
