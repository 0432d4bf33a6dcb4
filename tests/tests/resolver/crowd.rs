//! What sessions know by names is in one map of the kernel's: no agent fills it for others, also not with one session after the other.

use std::{net::IpAddr, os::fd::AsFd as _};

use aya::maps::MapData;
use guard_lab::{Daemon, Shell, Tested, eventually};
use guard_sys::bpf::named_keys;

use super::{
    churn,
    place::{API, DNS, POLICY, ResolverScene},
    server,
};
use crate::names::scene::with_resolvers;

/// Addresses of one answer.
const EACH: usize = 2300;
/// So many such answers have room in what is kept for one person's session and all inside it, as each is known under two policies.
const FIT: usize = 16 * 1024 / (2 * EACH);

/// How many addresses the kernel keeps, for all sessions.
fn known(daemon: &Daemon) -> Tested<usize> {
    let map = MapData::from_pin(daemon.pin_dir().join("live/named"))?;
    Ok(named_keys(map.fd().as_fd())?.len())
}

#[test]
fn sessions_that_end_one_after_the_other_leave_no_more_than_the_share_of_one() -> Tested {
    let all: Vec<_> = (0..)
        .map(churn::address)
        .map(IpAddr::V6)
        .take(EACH)
        .collect();
    let place = ResolverScene::serving(move |asked, is_stream| {
        if server::name_in(asked).starts_with("many") {
            server::many(asked, &all, is_stream)
        } else {
            super::place::usual(asked, is_stream)
        }
    })?;
    let daemon = &place.daemon;
    let guard = daemon.program("guard")?;
    let inner = daemon.write_for_agents("inner.toml", &with_resolvers(POLICY))?;
    let (guard, inner) = (guard.display(), inner.display());
    let mut shell = Shell::start(daemon, "names")?;
    let mut nested = |number: usize| -> Tested<String> {
        let odd = place.odd.display();
        let asks = format!("/usr/bin/python3 {odd} tcp-AAAA {DNS} many{number}.api.example.com");
        shell.tell(&format!("{guard} run -q --policy {inner} -- {asks}"))?;
        let said = shell.line_with("answer")?;
        Ok(said.trim().trim_start_matches("answer ").to_owned())
    };
    let whole = format!("answered {EACH} addresses");
    assert_eq!(known(daemon)?, 0);
    for number in 0..2 * FIT + 2 {
        let expected = if number < FIT {
            whole.as_str()
        } else {
            "SERVFAIL"
        };
        assert_eq!(nested(number)?, expected, "{number}");
        // Of what is refused nothing stays.
        assert_eq!(known(daemon)?, 2 * EACH * FIT.min(number + 1), "{number}");
    }
    // Others have room all the while.
    let mut other = Shell::start(daemon, "names")?;
    let said = place.asked(&mut other, &format!("udp {DNS} v1.api.example.com"))?;
    assert_eq!(said, format!("answered {API}"));
    // What closed sockets still send is judged for a minute. Then it goes, which may take longer than a test waits at once.
    let is_gone = || -> Tested<_> { Ok(known(daemon)? == 1) };
    eventually("what they knew goes", is_gone)
        .or_else(|_| eventually("what they knew goes", is_gone))?;
    assert_eq!(nested(99)?, whole, "there is room again");
    Ok(())
}
