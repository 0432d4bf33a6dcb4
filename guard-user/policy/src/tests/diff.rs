//! Differences against a naive look at every address and port where one may begin or end.

use guard_common::{Address, Connection, Decision, PolicyId, Protocol, Verdict, policy_verdict};
use proptest::prelude::*;

use super::{
    super::{
        Environment, PortSpec, Prefix, compile,
        compile::Compiled,
        diff::{AddressChange, Opens, Side, diff, diff_holes, diff_replies},
        model::Policy,
    },
    environment, policy,
    random::{head, rules, text},
};

fn compiled(policy: &Policy, environment: &Environment) -> Compiled {
    compile(policy, environment).unwrap()
}

fn between(old: &str, new: &str) -> Vec<String> {
    let environment = environment();
    let [old, new] = [old, new].map(|text| policy(&format!("version = 1\n{text}")));
    let [a, b] = [&old, &new].map(|policy| compiled(policy, &environment));
    let [old, new] = [(&old, &a), (&new, &b)].map(|(policy, compiled)| Side { policy, compiled });
    let line = |change: &AddressChange| {
        format!(
            "{} {:?} {} -> {}",
            change.destination,
            change.ports.join(","),
            change.before,
            change.after
        )
    };
    diff(old, new).iter().map(line).collect()
}

fn rule(to: &str, more: &str) -> String {
    format!(
        "[[rule]]\nname = \"{to}{}\"\nto = [\"{to}\"]\n{more}\n",
        more.len()
    )
}

#[test]
fn adjacent_addresses_with_the_same_change_are_one() {
    let deny = "action = \"deny\"";
    let old = "default = \"confirm\"\n".to_owned();
    let new = ["192.0.2.1", "192.0.2.2/31", "192.0.2.4"]
        .map(|to| rule(to, deny))
        .concat();
    assert_eq!(
        between(&old, &(old.clone() + &new)),
        ["192.0.2.1 - 192.0.2.4 \"\" confirm -> deny"]
    );
    let halves = ["192.0.2.0/25", "192.0.2.128/25"]
        .map(|to| rule(to, deny))
        .concat();
    let whole = rule("192.0.2.0/24", deny);
    assert!(between(&(old.clone() + &halves), &(old.clone() + &whole)).is_empty());
    assert_eq!(
        between(&old, &(old.clone() + &halves)),
        ["192.0.2.0/24 \"\" confirm -> deny"]
    );
}

#[test]
fn families_and_ports_are_told_apart() {
    let all = between("default = \"deny\"\n", "default = \"allow\"\n");
    assert_eq!(all.len(), 3, "{all:?}");
    assert_eq!(all[1], "0.0.0.0/0 \"\" deny -> allow");
    let old = "default = \"deny\"\n".to_owned()
        + &rule("192.0.2.1", "ports = [\"tcp/80-90\"]\naction = \"allow\"");
    let new = "default = \"deny\"\n".to_owned()
        + &rule(
            "192.0.2.1",
            "ports = [\"tcp/85-95\", \"icmp\"]\naction = \"allow\"",
        );
    assert_eq!(
        between(&old, &new),
        [
            "192.0.2.1 \"tcp/80-84\" allow -> deny",
            "192.0.2.1 \"tcp/91-95,icmp\" deny -> allow",
        ]
    );
}

#[test]
fn other_rules_for_requests_are_a_change() {
    let reads = |http: &str| {
        "default = \"deny\"\n".to_owned()
            + &rule("192.0.2.1", &format!("action = \"read-only\"\n{http}"))
    };
    let put = "[[rule.http]]\nmethod = [\"PUT\"]\naction = \"allow\"\n";
    assert_eq!(
        between(&reads(put), &reads("")),
        ["192.0.2.1 \"\" read-only -> read-only"]
    );
    assert!(between(&reads(put), &reads(put)).is_empty());
}

#[test]
fn holes_that_last_otherwise_are_told_by_address_and_port() {
    let environment = environment();
    let between = |old: &str, new: &str| -> Vec<String> {
        let [old, new] = [old, new].map(|text| policy(&format!("version = 1\n{text}")));
        let [a, b] = [&old, &new].map(|policy| compiled(policy, &environment));
        let [old, new] =
            [(&old, &a), (&new, &b)].map(|(policy, compiled)| Side { policy, compiled });
        let line = |one: super::super::HoleChange| {
            let [before, after] = [one.before, one.after].map(|term| term.as_secs() / 60);
            format!(
                "{} {:?} {before} -> {after}",
                one.destination,
                one.ports.join(",")
            )
        };
        diff_holes(old, new).into_iter().map(line).collect()
    };
    let held = |to: &str, ports: &str, longest: &str| {
        let more = format!("ports = [\"{ports}\"]\naction = \"confirm\"\nmax_hole = \"{longest}\"");
        rule(to, &more)
    };
    let old = held("192.0.2.0/30", "tcp/1-9", "15m");
    assert!(between(&old, &old).is_empty());
    assert_eq!(
        between(&old, &held("192.0.2.0/30", "tcp/5-12", "20m")),
        ["192.0.2.0/30 \"tcp/5-9\" 15 -> 20"]
    );
    // What is denied or allowed on one side has no holes there.
    for action in ["deny", "allow"] {
        let new = format!("ports = [\"tcp/1-9\"]\naction = \"{action}\"");
        assert!(between(&old, &rule("192.0.2.0/30", &new)).is_empty());
    }
    let asks = "default = \"confirm\"\n".to_owned();
    assert_eq!(
        between(&(asks.clone() + &old), &asks),
        ["192.0.2.0/30 \"tcp/1-9\" 15 -> 60"]
    );
}

/// Addresses at and beside every border, and some between.
fn addresses(sides: [&Compiled; 2]) -> Vec<u128> {
    let prefixes = sides
        .into_iter()
        .flat_map(|side| side.prefixes.iter().map(|(prefix, _)| *prefix));
    let near = |prefix: Prefix| {
        let (first, last) = (prefix.bits(), prefix.last_bits());
        [
            first,
            first.wrapping_sub(1),
            last,
            last.wrapping_add(1),
            first + (last - first) / 2,
        ]
    };
    let mut all: Vec<_> = prefixes.flat_map(near).collect();
    all.sort_unstable();
    all.dedup();
    all
}

/// Every port that a rule may begin or end at, and beside; 47 is a protocol that no rule names.
fn ports() -> Vec<(u8, u16)> {
    let tcp = [0, 1, 79, 80, 81, 84, 85, 90, 91, 95, 96, 97, 65535].map(|port| (6, port));
    let udp = [0, 49, 50, 52, 53, 54, 60, 61, 63, 64, 65535].map(|port| (17, port));
    [&tcp[..], &udp[..], &[(1, 0), (47, 0)]].concat()
}

pub(super) fn covers(change: &AddressChange, to: u128, protocol: u8, port: u16) -> bool {
    let at = change
        .prefixes
        .iter()
        .any(|prefix| prefix.covers(&Address::from_u128(to)));
    let ports = change.ports.iter().any(|spec| match spec.as_str() {
        "other" => protocol == 47,
        spec => spec.parse::<PortSpec>().map_or_else(
            // From port 0 on, which people do not write.
            |_| {
                spec.split_once("/0-").is_some_and(|(name, high)| {
                    (name == "tcp") == (protocol == 6)
                        && matches!(protocol, 6 | 17)
                        && port <= high.parse().unwrap()
                }) || (spec == "tcp/0" && (protocol, port) == (6, 0))
                    || (spec == "udp/0" && (protocol, port) == (17, 0))
            },
            |spec| spec.covers(Protocol(protocol), port),
        ),
    });
    at && (change.ports.is_empty() || ports)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_difference_is_told_and_nothing_else(
        heads in (head(), head()),
        old_rules in rules(),
        new_rules in rules(),
    ) {
        let environment = environment();
        let [old, new] = [(&heads.0, &old_rules), (&heads.1, &new_rules)]
            .map(|(head, rules)| policy(&text(head, rules)));
        let [a, b] = [&old, &new].map(|policy| compiled(policy, &environment));
        let sides = [(&old, &a), (&new, &b)].map(|(policy, compiled)| Side { policy, compiled });
        let changes = diff(sides[0], sides[1]);
        let answered = diff_replies(sides[0], sides[1]);
        let lookups = [a.lookup(), b.lookup()];
        // What holds at listeners on the loopback follows from the rest.
        for to in addresses([&a, &b]).into_iter().filter(|to| !Address::from_u128(*to).is_listener()) {
            let here: Vec<_> = changes.iter()
                .filter(|change| change.prefixes.iter().any(|prefix| prefix.covers(&Address::from_u128(to))))
                .collect();
            for (protocol, port) in ports() {
                let connection = Connection::new(Address::from_u128(to), Protocol(protocol), port);
                let [was, is] = [0, 1].map(|side| policy_verdict(&lookups[side], PolicyId(1), &connection).verdict);
                let told: Vec<_> = here.iter().filter(|change| covers(change, to, protocol, port)).collect();
                let replies = [0, 1].map(|side| {
                    Decision::by(PolicyId(1), policy_verdict(&lookups[side], PolicyId(1), &connection)).allows_reply()
                });
                let shifts = old.inbound && new.inbound && replies[0] != replies[1];
                let answers = answered.iter().find(|change| covers(change, to, protocol, port));
                let answers = answers.map(|change| change.opens);
                let wanted = if replies[1] { Opens::More } else { Opens::Less };
                let denied = [was, is] == [Verdict::Deny; 2];
                prop_assert_eq!(answers, (shifts && denied).then_some(wanted), "{:?}", connection);
                let expected = usize::from(was != is);
                prop_assert_eq!(told.len(), expected, "{:?} {} {:?}", connection, connection.to.to_ip(), told);
                if let Some(told) = told.first() {
                    prop_assert_eq!((told.before, told.after), (was.as_str(), is.as_str()));
                    let opens = is.strictness() < was.strictness();
                    prop_assert_eq!(told.opens == Opens::More, opens);
                }
            }
        }
        prop_assert!(diff(sides[0], sides[0]).is_empty());
        // One after the other, and adjacent ones differ.
        for pair in changes.windows(2) {
            let [one, two] = [&pair[0], &pair[1]];
            prop_assert!(one.prefixes <= two.prefixes);
        }
        prop_assert!(changes.iter().all(|change| change.before != change.after || change.before == Verdict::ReadOnly.as_str()));
    }
}
