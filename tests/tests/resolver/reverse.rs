//! The names of addresses (PTR) are judged as all names are: they carry data as well.

use guard_lab::{Shell, Tested};

use super::{
    place::{DNS, PUBLIC, ResolverScene},
    server::OwnServer,
};

#[test]
fn a_name_of_an_address_is_asked_for_where_a_rule_names_it_only() -> Tested {
    let place = ResolverScene::new()?;
    let refused = [
        // "sec" and "ret" as numbers, and below the zone of IPv6.
        "114.99.101.115.in-addr.arpa",
        "4.7.5.6.2.7.3.6.5.6.3.7.ip6.arpa",
        "secret.evil.example",
        "secret.db.api.example.com",
    ];
    let marks: [&[u8]; 3] = [b"\x03114\x0299\x03101", b"\x014\x017\x015", b"secret"];
    let servers = [(DNS, &place.dns), (PUBLIC, &place.public)];
    let asked = servers
        .into_iter()
        .flat_map(|server| refused.map(|name| (server, name)));
    let has_heard = |server: &OwnServer| marks.iter().any(|mark| server.has_heard(mark));
    // Nothing stops it without the guard; the servers have no such names.
    for ((at, server), name) in asked.clone() {
        place.outside(&["udp-PTR", at, name])?;
        assert!(has_heard(server), "{at} {name}");
        server.forget();
    }
    let mut shell = Shell::start(&place.daemon, "names")?;
    for way in ["udp", "connected", "tcp"] {
        for ((at, server), name) in asked.clone() {
            let said = place.asked(&mut shell, &format!("{way}-PTR {at} {name}"))?;
            assert_eq!(said, "NXDOMAIN", "{way} {at} {name}");
            assert!(!has_heard(server), "{way} {at} {name}");
        }
    }
    // One that a rule names is asked for, and leads to no more than what that rule says.
    place.asked(&mut shell, &format!("udp-PTR {DNS} v1.api.example.com"))?;
    assert!(place.dns.has_heard(b"\x02v1\x03api"));
    let log = place.daemon.root(["log", "--session", shell.session()]);
    let log = log.run()?.stdout;
    assert!(log.contains("114.99.101.115.in-addr.arpa"), "{log}");
    assert!(
        log.contains("PTR") && log.contains("no rule names it"),
        "{log}"
    );
    Ok(())
}
