//! Random policies and connections, from a universe so small that they collide.

use guard_common::{Address, Connection, Protocol};
use proptest::{prelude::*, sample::select};

use super::super::prefix::Prefix;

/// One rule, as text.
#[derive(Clone, Debug)]
pub(super) struct RandomRule {
    pub(super) name: String,
    to: Vec<String>,
    ports: Vec<&'static str>,
    action: &'static str,
}

const GROUPS_AND_NAMES: &[&str] = &[
    "@public",
    "@private",
    "@loopback",
    "@link-local",
    "@on-link",
    "@metadata",
    "@multicast",
    "@dns",
    "@guarded-host",
    "a.example",
    "b.example",
    "unknown.example",
    "*.example",
];

const WIDE: &[&str] = &[
    "::/0",
    "0.0.0.0/0",
    "::/1",
    "::/95",
    "::fffe:0:0/95",
    "0.0.0.0/1",
    "8.0.0.0/5",
    "8.0.0.0/6",
    "10.0.0.0/7",
    "10.0.0.0/8",
    "10.0.0.0/9",
    "11.0.0.0/8",
    "11.16.0.0/12",
    "128.0.0.0/1",
    "192.0.0.0/8",
    "192.0.2.0/25",
    "2000::/3",
    "2001:db8::/32",
    "2001:db8::/64",
];

const PORTS: &[&str] = &[
    "tcp",
    "udp",
    "icmp",
    "tcp/80",
    "tcp/80-90",
    "tcp/85-95",
    "tcp/81-96",
    "tcp/1-65535",
    "udp/53",
    "udp/50-60",
    "udp/53-63",
];

/// A prefix inside one of a few small blocks, in one of the ways to write it.
fn narrow() -> impl Strategy<Value = String> {
    const BLOCKS: &[&str] = &["192.0.2.0", "10.0.0.0", "2001:db8::"];
    (select(BLOCKS), 0..64_u128, 122..=128_u8, any::<bool>()).prop_map(
        |(block, host, len, mapped)| {
            let block: Prefix = block.parse().unwrap();
            let prefix = Prefix::new(block.bits() | host, len);
            if mapped && Prefix::IPV4.contains(&prefix) {
                format!("::ffff:{}/{len}", prefix.address().to_ip())
            } else {
                prefix.to_string()
            }
        },
    )
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => narrow(),
        2 => select(WIDE).prop_map(str::to_owned),
        2 => select(GROUPS_AND_NAMES).prop_map(str::to_owned),
    ]
}

fn rule() -> impl Strategy<Value = RandomRule> {
    let actions = &["allow", "confirm", "read-only", "deny"][..];
    (
        prop::collection::vec(target(), 1..6),
        prop::collection::vec(select(PORTS), 0..4),
        select(actions),
    )
        .prop_map(|(to, ports, action)| RandomRule {
            name: String::new(),
            to,
            ports,
            action,
        })
}

/// Rules, each with a name that has nothing to do with its place.
pub(super) fn rules() -> impl Strategy<Value = Vec<RandomRule>> {
    let names: Vec<_> = (0..16).map(|n| format!("r{n:02}")).collect();
    let names = Just(names).prop_shuffle();
    (prop::collection::vec(rule(), 0..10), names).prop_map(|(mut rules, names)| {
        for (rule, name) in rules.iter_mut().zip(names) {
            rule.name = name;
        }
        rules
    })
}

/// What stands before the rules.
pub(super) fn head() -> impl Strategy<Value = String> {
    let defaults = select(&["allow", "confirm", "deny"][..]);
    (defaults, any::<bool>()).prop_map(|(default, inbound)| {
        format!("version = 1\ndefault = {default:?}\ninbound = {inbound}\n")
    })
}

/// The text of a policy.
pub(super) fn text(head: &str, rules: &[RandomRule]) -> String {
    let rules = rules.iter().map(|rule| {
        let ports = if rule.ports.is_empty() {
            String::new()
        } else {
            format!("ports = {:?}\n", rule.ports)
        };
        format!(
            "[[rule]]\nname = {:?}\nto = {:?}\n{ports}action = {:?}\n",
            rule.name, rule.to, rule.action
        )
    });
    head.to_owned() + &rules.collect::<String>()
}

fn address() -> impl Strategy<Value = Address> {
    let elsewhere = &[
        "8.8.8.8",
        "10.128.0.1",
        "11.0.0.1",
        "11.16.0.1",
        "12.0.0.1",
        "127.0.0.1",
        "169.254.169.254",
        "169.254.1.1",
        "172.16.0.1",
        "192.0.0.1",
        "192.0.1.1",
        "192.1.1.1",
        "198.18.0.1",
        "198.18.1.1",
        "64:ff9b:1::1",
        "224.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::fffe:0:1",
        "2001:db8:1::",
        "2600::1",
        "fd00:ec2::254",
        "fe80::1",
        "ff02::1",
        "8000::",
    ][..];
    prop_oneof![
        5 => narrow().prop_map(|text| text.parse::<Prefix>().unwrap().address()),
        2 => select(elsewhere).prop_map(|text| text.parse::<Prefix>().unwrap().address()),
        1 => any::<u128>().prop_map(Address::from_u128),
        1 => any::<u32>().prop_map(|v4| Address::from_v4_be(v4.to_be())),
    ]
}

/// A connection. Protocol 47 (GRE) is one that no rule names.
pub(super) fn connection() -> impl Strategy<Value = Connection> {
    let protocols = select(&[1_u8, 6, 6, 6, 17, 17, 47][..]);
    let ports = prop_oneof![50..100_u16, any::<u16>()];
    (address(), protocols, ports).prop_map(|(to, number, port)| {
        let port = if matches!(number, 6 | 17) { port } else { 0 };
        Connection::new(to, Protocol(number), port)
    })
}
