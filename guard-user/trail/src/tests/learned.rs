//! Learned policies against the flows that they come from.

use std::net::IpAddr;

use guard_common::{
    Address, Connection, NameId, PolicyId, Protocol, Verdict, policy_verdict, said_of,
};
use guard_policy::{DomainName, Environment, compile, parse};
use guard_proto::Flow;
use proptest::{prelude::*, sample::select};

use super::super::suggest::learned::{LearnedPolicy, learn};

fn flow(address: &str, protocol: &str, port: Option<u16>, verdict: &str) -> Flow {
    Flow {
        session: "s1".to_owned(),
        host: None,
        names: Vec::new(),
        address: address.to_owned(),
        protocol: protocol.to_owned(),
        port,
        program: Some("curl".to_owned()),
        first_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        last_at: "2026-11-20T12:00:00Z".parse().unwrap(),
        connections: 2,
        reads: None,
        bytes_sent: None,
        bytes_received: None,
        verdict: verdict.to_owned(),
        rule: None,
    }
}

fn named(name: &str, port: u16) -> Flow {
    Flow {
        host: Some(name.to_owned()),
        names: vec![name.to_owned()],
        ..flow("192.0.2.10", "tcp", Some(port), "allow")
    }
}

fn learned(flows: &[Flow]) -> LearnedPolicy {
    let environment = Environment {
        dns: vec![IpAddr::from([192, 0, 2, 53])],
        ..Environment::default()
    };
    let learned = learn(flows, &environment);
    let parsed = parse("learned.toml", &learned.toml).unwrap();
    assert!(parsed.warnings.is_empty(), "{:?}", parsed.warnings);
    learned
}

#[test]
fn a_policy_reads_well() {
    let question = flow("192.0.2.53", "udp", Some(53), "allow");
    let read = Flow {
        rule: Some("photos".to_owned()),
        program: None,
        ..flow("192.0.2.30", "tcp", Some(443), "read-only")
    };
    let flows = [
        named("pypi.org", 443),
        named("files.pythonhosted.org", 443),
        named("pypi.org", 80),
        question,
        read,
        flow("2001:db8::1", "icmp", None, "allow"),
        flow("192.0.2.31", "136", None, "allow"),
        flow("192.0.2.32", "tcp", Some(9), "deny"),
    ];
    let policy = learned(&flows);
    insta::assert_snapshot!(policy.toml, @r#"
    # What s1 reached, and nothing else. Written by `guard suggest --from-flows`.
    # Beside each destination are the programs, and how often each connected.
    version = 1
    name = "learned"
    default = "deny"

    [dns]
    names = "rules"

    # pypi.org: curl 4
    [[rule]]
    name = "reached pypi.org tcp/80 tcp/443"
    to = ["pypi.org"]
    ports = ["tcp/80", "tcp/443"]
    action = "allow"

    # files.pythonhosted.org: curl 2
    [[rule]]
    name = "reached files.pythonhosted.org tcp/443"
    to = ["files.pythonhosted.org"]
    ports = ["tcp/443"]
    action = "allow"

    # @dns: curl 2
    [[rule]]
    name = "reached @dns udp/53"
    to = ["@dns"]
    ports = ["udp/53"]
    action = "allow"

    # 2001:db8::1: curl 2
    [[rule]]
    name = "reached 2001:db8::1 icmp"
    to = ["2001:db8::1"]
    ports = ["icmp"]
    action = "allow"

    # 192.0.2.30: an unknown program 2, by the rule "photos", which may say more
    [[rule]]
    name = "read 192.0.2.30 tcp/443"
    to = ["192.0.2.30"]
    ports = ["tcp/443"]
    action = "read-only"
    "#);
    assert_eq!(
        policy.left_out,
        [
            "136 192.0.2.31, curl: no rule can name its protocol",
            "tcp 192.0.2.32 port 9, curl: no rule lets it pass",
        ]
    );
    let mut other = flows.to_vec();
    other.reverse();
    assert_eq!(learned(&other).toml, policy.toml);
}

#[test]
fn where_no_name_counts_the_address_is_named() {
    let local = Flow {
        address: "127.0.0.1".to_owned(),
        ..named("app.localhost", 8080)
    };
    let all = learned(&[local, named("not a name", 80)]);
    let to: Vec<_> = all.rules.iter().flat_map(|rule| rule.to.clone()).collect();
    assert_eq!(to, ["@guarded-host", "192.0.2.10", "127.0.0.1"]);
}

#[test]
fn more_ports_than_a_policy_can_tell_apart_become_all() {
    let ports = (0..200).map(|port| flow("192.0.2.10", "udp", Some(1000 + 2 * port), "allow"));
    let few = flow("192.0.2.10", "tcp", Some(22), "allow");
    let all = learned(&ports.chain([few]).collect::<Vec<_>>());
    assert_eq!(all.rules[0].ports, ["tcp/22", "udp"]);
    assert!(
        all.toml.contains("201 ports, so all of them"),
        "{}",
        all.toml
    );
    assert!(all.left_out.is_empty(), "{:?}", all.left_out);
}

const ADDRESSES: [&str; 4] = ["192.0.2.10", "192.0.2.11", "2001:db8::10", "198.51.100.7"];
const NAMES: [&str; 3] = ["a.example.com", "b.example.com", "c.example.net"];
const VERDICTS: [&str; 3] = ["allow", "read-only", "confirm"];

fn flows() -> impl Strategy<Value = Vec<Flow>> {
    let name = proptest::option::of(select(&NAMES[..]));
    let one = (
        select(&ADDRESSES[..]),
        1_u16..6,
        any::<bool>(),
        select(&VERDICTS[..]),
        name,
    );
    let one = one.prop_map(|(address, port, is_udp, verdict, name)| {
        let protocol = if is_udp { "udp" } else { "tcp" };
        Flow {
            host: name.map(str::to_owned),
            names: name.map(str::to_owned).into_iter().collect(),
            ..flow(address, protocol, Some(port), verdict)
        }
    });
    proptest::collection::vec(one, 0..20)
}

/// The strictest of what was seen; nothing passes that was not.
fn expected(flows: &[Flow], at: impl Fn(&Flow) -> bool) -> Verdict {
    let all = [Verdict::Allow, Verdict::ReadOnly, Verdict::Confirm];
    let seen = flows.iter().filter(|flow| at(flow));
    let verdicts = seen.filter_map(|flow| all.iter().find(|one| one.as_str() == flow.verdict));
    let strictest = verdicts.max_by_key(|one| one.strictness());
    strictest.copied().unwrap_or(Verdict::Deny)
}

proptest! {
    #[test]
    fn exactly_what_was_seen_passes(flows in flows()) {
        let learned = learned(&flows);
        let parsed = parse("learned.toml", &learned.toml).unwrap();
        let environment = Environment { judges_names: true, ..Environment::default() };
        let compiled = compile(&parsed.policy, &environment).unwrap();
        let lookup = compiled.lookup();
        for (protocol, word) in [(Protocol::TCP, "tcp"), (Protocol::UDP, "udp")] {
            for port in 0..8 {
                let is_there = |flow: &Flow| flow.protocol == word && flow.port == Some(port);
                for address in ADDRESSES.into_iter().chain(["192.0.2.12"]) {
                    let ip: IpAddr = address.parse().unwrap();
                    let to = Connection::new(Address::from(ip), protocol, port);
                    let verdict = policy_verdict(&lookup, PolicyId(1), &to).verdict;
                    let by_address = |flow: &Flow| {
                        is_there(flow) && flow.address == address && flow.names.is_empty()
                    };
                    prop_assert_eq!(verdict, expected(&flows, by_address), "{} {}/{}", address, word, port);
                }
                for name in NAMES {
                    let parsed: DomainName = name.parse().unwrap();
                    let to = Connection::new(Address::default(), protocol, port);
                    let said = said_of(&lookup, PolicyId(1), NameId::of(parsed.as_str()), &to);
                    let by_name = |flow: &Flow| is_there(flow) && flow.names.iter().any(|one| one == name);
                    prop_assert_eq!(said.verdict.verdict, expected(&flows, by_name), "{} {}/{}", name, word, port);
                }
            }
        }
    }
}
