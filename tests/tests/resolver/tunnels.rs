//! Data in the labels of names below a zone that may be asked for: how much of it its owner gets.

use std::collections::BTreeSet;

use guard_lab::{AGENT, Shell, Tested, exec};

use super::{
    place::{DNS, POLICY, ResolverScene},
    server::OwnServer,
};
use crate::names::scene::with_resolvers;

const TUNNEL: &str = include_str!("programs/tunnel.py");

/// The zone that may be asked for, as questions have it.
const ZONE: &str = "api.example.com";
const WIRE: &[u8] = b"\x03api\x07example\x03com\0";
/// What a session may say below one zone in an hour.
const AN_HOUR: usize = 4096;

/// How many bytes of names below the zone a server has heard. One that it hears again tells it nothing.
fn data(server: &OwnServer) -> usize {
    let heard = server.heard();
    let names = heard.iter().filter_map(|message| {
        let name = message.get(12..)?;
        let end = name.windows(WIRE.len()).position(|part| part == WIRE)?;
        Some(&name[..end])
    });
    let names: BTreeSet<_> = names.collect();
    names.iter().map(|name| name.len()).sum()
}

/// How much data a program had, and how often it asked.
fn sent(line: &str) -> (usize, usize) {
    let mut words = line.split_whitespace().skip(1);
    let mut number = || words.next().unwrap().parse().unwrap();
    (number(), number())
}

#[test]
fn what_a_tunnel_carries_is_bounded_whatever_it_asks_for_and_from_inside_too() -> Tested {
    let place = ResolverScene::new()?;
    let daemon = &place.daemon;
    let tunnel = daemon.write_for_agents("tunnel.py", TUNNEL)?;
    let tunnel = tunnel.display().to_string();
    // Without the guard all of it arrives.
    let mut outside = place.network.dev().command_as(AGENT, "/usr/bin/python3");
    let outside = exec::output(outside.args([&tunnel, DNS, ZONE, "outside"]))?;
    let (carried, _) = sent(&String::from_utf8_lossy(&outside.stdout));
    assert!(carried > 4 * AN_HOUR, "{carried}");
    assert_eq!(data(&place.dns), carried);
    place.dns.forget();

    let mut shell = Shell::start(daemon, "names")?;
    let line = format!("/usr/bin/python3 {tunnel} {DNS} {ZONE}");
    shell.tell(&format!("{line} within"))?;
    let (own, asked) = sent(&shell.line_with("sent ")?);
    assert!(own > 4 * AN_HOUR && asked > 500, "{own} {asked}");
    let came = data(&place.dns);
    // Some names may be asked for at any time.
    assert!(came > 0 && came <= AN_HOUR, "{came} of {own}");
    let pending = daemon.list(["pending"])?;
    let asked_about: Vec<_> = pending
        .iter()
        .map(|one| &one["destination"]["host"])
        .collect();
    assert_eq!(asked_about, ["*.api.example.com"], "of all at once");

    // A session inside has no budget of its own, and another has.
    let inner = daemon.write_for_agents("inner.toml", &with_resolvers(POLICY))?;
    let guard = daemon.program("guard")?;
    let (guard, inner) = (guard.display(), inner.display());
    shell.tell(&format!("{guard} run -q --policy {inner} -- {line} inside"))?;
    shell.line_with("sent ")?;
    let all = data(&place.dns);
    assert!(all <= AN_HOUR, "{all}");
    let mut other = Shell::start(daemon, "names")?;
    other.tell(&format!("{line} other"))?;
    other.line_with("sent ")?;
    let all = data(&place.dns);
    assert!(all > came && all <= 2 * AN_HOUR, "{all}");
    Ok(())
}
