//! Worked examples.

use std::time::Duration;

use guard_common::{Connection, PolicyId, Protocol, Verdict, policy_verdict, prefix_flags};

use super::{
    super::{
        compile::{Compiled, compile},
        coverage::{Opening, over},
        explain::explain,
        model::{Environment, Policy},
        prefix::Prefix,
        shipped::SHIPPED,
    },
    environment, policy,
};

fn compiled(policy: &Policy) -> Compiled {
    compile(policy, &environment()).unwrap()
}

fn shipped(name: &str) -> Policy {
    let (_, text) = SHIPPED
        .iter()
        .find(|(shipped, _)| *shipped == name)
        .unwrap();
    policy(text)
}

/// The verdict for `tcp/443 192.0.2.1`, say.
fn verdict(compiled: &Compiled, connection: &str) -> Verdict {
    let (spec, address) = connection.split_once(' ').unwrap();
    let spec: super::super::ports::PortSpec = spec.parse().unwrap();
    let to = Connection::new(
        address.parse::<Prefix>().unwrap().address(),
        spec.protocol,
        spec.low,
    );
    policy_verdict(&compiled.lookup(), PolicyId(1), &to).verdict
}

fn expect(compiled: &Compiled, expected: &[(&str, Verdict)]) {
    for (connection, wanted) in expected {
        assert_eq!(verdict(compiled, connection), *wanted, "{connection}");
    }
}

#[test]
fn ports_of_a_wider_prefix_hold_inside() {
    let policy = policy(
        r#"
default = "allow"
[[rule]]
to = ["10.0.0.0/8"]
ports = ["tcp"]
action = "confirm"
[[rule]]
to = ["10.1.0.0/16"]
ports = ["tcp/443"]
action = "allow"
[[rule]]
to = ["10.1.2.0/24"]
action = "deny"
"#,
    );
    expect(
        &compiled(&policy),
        &[
            ("tcp/80 10.1.0.1", Verdict::Confirm),
            ("tcp/443 10.1.0.1", Verdict::Allow),
            ("udp/443 10.1.0.1", Verdict::Allow),
            ("tcp/443 ::ffff:10.1.2.3", Verdict::Deny),
            ("icmp 10.1.2.3", Verdict::Deny),
        ],
    );
}

#[test]
fn a_wide_deny_beats_the_public_group_and_leaves_private_space_alone() {
    let policy = policy(
        r#"
default = "confirm"
[[rule]]
to = ["@public"]
action = "allow"
[[rule]]
to = ["8.0.0.0/6"]
ports = ["tcp/25"]
action = "deny"
"#,
    );
    expect(
        &compiled(&policy),
        &[
            ("tcp/25 9.9.9.9", Verdict::Deny),
            ("tcp/443 9.9.9.9", Verdict::Allow),
            ("tcp/25 10.0.0.1", Verdict::Deny),
            ("tcp/443 10.0.0.1", Verdict::Confirm),
            ("tcp/443 2001:db8::1", Verdict::Allow),
            ("tcp/443 fc00::1", Verdict::Confirm),
        ],
    );
}

#[test]
fn networks_around_lose_to_any_prefix_that_the_policy_names_and_beat_the_internet() {
    let policy = policy(
        r#"
[[rule]]
to = ["@public"]
ports = ["tcp/443"]
action = "allow"
[[rule]]
to = ["@on-link"]
action = "confirm"
[[rule]]
to = ["192.0.0.0/8"]
ports = ["tcp/22"]
action = "deny"
[[rule]]
to = ["2001:db8::/47"]
action = "read-only"
"#,
    );
    expect(
        &compiled(&policy),
        &[
            ("tcp/443 192.0.2.100", Verdict::Confirm),
            ("tcp/22 192.0.2.100", Verdict::Deny),
            ("tcp/443 192.0.2.200", Verdict::Allow),
            ("tcp/443 2001:db8::200", Verdict::ReadOnly),
        ],
    );
}

#[test]
fn the_default_policy_does_what_it_says() {
    let compiled = compiled(&shipped("default"));
    expect(
        &compiled,
        &[
            ("tcp/443 192.0.2.200", Verdict::Allow),
            ("tcp/443 2001:db8:8::200", Verdict::Allow),
            ("tcp/443 192.0.2.100", Verdict::Confirm),
            ("tcp/443 2001:db8::200", Verdict::Confirm),
            ("tcp/80 127.0.0.1", Verdict::Allow),
            ("tcp/80 ::1", Verdict::Allow),
            ("udp/53 192.0.2.53", Verdict::Allow),
            ("tcp/22 192.168.1.1", Verdict::Confirm),
            ("tcp/22 fd12::1", Verdict::Confirm),
            ("tcp/22 64:ff9b::c0a8:101", Verdict::Confirm),
            ("tcp/80 169.254.169.254", Verdict::Deny),
            ("tcp/80 ::ffff:169.254.169.254", Verdict::Deny),
            ("tcp/80 fd00:ec2::254", Verdict::Deny),
            ("udp/5353 224.0.0.251", Verdict::Confirm),
        ],
    );
    assert_eq!(compiled.flags, prefix_flags::INBOUND | prefix_flags::PING);
}

#[test]
fn the_ci_policy_is_an_allowlist() {
    let mut environment = environment();
    let addresses = vec!["198.51.100.7".parse().unwrap()];
    environment.names.insert("github.com".to_owned(), addresses);
    let compiled = compile(&shipped("ci"), &environment).unwrap();
    expect(
        &compiled,
        &[
            ("tcp/443 198.51.100.7", Verdict::Allow),
            ("tcp/80 198.51.100.7", Verdict::Deny),
            ("tcp/443 198.51.100.8", Verdict::Deny),
            ("tcp/443 10.0.0.9", Verdict::Deny),
            // This machine: the runner's services.
            ("tcp/5432 10.0.0.1", Verdict::Allow),
            ("udp/53 192.0.2.53", Verdict::Allow),
        ],
    );
}

#[test]
fn a_policy_that_denies_all_pings_makes_no_ping_sockets() {
    let text = |ports: &str| {
        format!(
            "default = \"deny\"\n[[rule]]\nto = [\"192.0.2.1\"]\nports = [{ports}]\naction = \"confirm\"\n"
        )
    };
    assert_eq!(
        compiled(&policy(&text("\"tcp\""))).flags & prefix_flags::PING,
        0
    );
    assert_ne!(
        compiled(&policy(&text("\"icmp\""))).flags & prefix_flags::PING,
        0
    );
}

const HOLES: &str = r#"
default = "allow"
max_hole = "2h"
[[rule]]
name = "lab"
to = ["192.0.2.0/24"]
action = "confirm"
[[rule]]
name = "short"
to = ["192.0.2.64/26"]
ports = ["tcp/22"]
action = "confirm"
max_hole = "5m"
[[rule]]
name = "never"
to = ["192.0.2.128/25"]
action = "deny"
"#;

#[test]
fn a_hole_is_as_long_as_the_least_patient_rule_in_it_allows() {
    let policy = policy(HOLES);
    let compiled = compiled(&policy);
    let opening = |prefix: &str, ports: &[&str]| {
        let ports: Vec<_> = ports.iter().map(|spec| spec.parse().unwrap()).collect();
        over(&policy, &compiled, &prefix.parse().unwrap(), &ports).opening()
    };
    let minutes = |n: u64| Opening::Possible {
        longest: Duration::from_secs(60 * n),
    };
    assert_eq!(opening("192.0.2.0/24", &[]), minutes(5));
    assert_eq!(opening("192.0.2.0/24", &["tcp/443"]), minutes(120));
    assert_eq!(opening("192.0.2.1", &["tcp/22"]), minutes(120));
    assert_eq!(opening("192.0.2.65", &["tcp/20-30"]), minutes(5));
    assert_eq!(opening("198.51.100.0/24", &[]), Opening::AlreadyAllowed);
    assert!(matches!(
        opening("192.0.2.200", &[]),
        Opening::Denied { rule: Some(rule) } if rule.name == "never"
    ));
}

#[test]
fn what_longer_prefixes_cover_entirely_is_not_met() {
    let policy = policy(
        r#"
default = "allow"
[[rule]]
name = "lower"
to = ["::/1", "192.0.2.0/25"]
action = "deny"
[[rule]]
name = "upper"
to = ["8000::/1", "192.0.2.128/26", "192.0.2.192/26"]
action = "confirm"
[[rule]]
name = "around"
to = ["192.0.2.0/24"]
action = "allow"
"#,
    );
    let compiled = compiled(&policy);
    for everything in ["192.0.2.0/24", "::/0"] {
        let coverage = over(&policy, &compiled, &everything.parse().unwrap(), &[]);
        let rules = coverage
            .met
            .iter()
            .map(|met| met.rule.unwrap().name.as_str());
        assert_eq!(
            rules.collect::<Vec<_>>(),
            ["lower", "upper"],
            "{everything}"
        );
    }
}

#[test]
fn coverages_add_up() {
    let policy = policy(HOLES);
    let compiled = compiled(&policy);
    let over = |prefix: &str| over(&policy, &compiled, &prefix.parse().unwrap(), &[]);
    let both = over("192.0.2.200").and(over("192.0.2.64"));
    let rules: Vec<_> = both
        .met
        .iter()
        .map(|met| met.rule.unwrap().name.as_str())
        .collect();
    assert_eq!(rules, ["never", "lab", "short"]);
    let longest = Duration::from_secs(300);
    assert_eq!(both.opening(), Opening::Possible { longest });
}

#[test]
fn an_explanation_names_rule_line_and_what_matched() {
    let policy = policy(HOLES);
    let compiled = compiled(&policy);
    let explain = |to: &str| {
        explain(
            &policy,
            &compiled,
            &environment(),
            &to.parse().unwrap(),
            &[],
        )
    };

    // A port after a colon is TCP's: there is one answer.
    let one = &explain("192.0.2.70:22")[..];
    let [one] = one else { panic!("{one:?}") };
    assert_eq!((one.rule.as_deref(), one.line), (Some("short"), Some(8)));
    assert_eq!(one.destination, "192.0.2.70:22");
    assert_eq!(one.matched.as_deref(), Some("192.0.2.64/26 tcp/22"));
    assert_eq!(one.ports, ["tcp/22".parse().unwrap()]);

    let default = &explain("198.51.100.1")[0];
    assert_eq!((default.rule.as_deref(), default.line), (None, Some(2)));
    assert_eq!(
        (default.verdict.as_str(), default.matched.as_deref()),
        ("allow", None)
    );

    let inside: Vec<_> = explain("192.0.2.0/24")
        .into_iter()
        .map(|e| e.destination)
        .collect();
    assert_eq!(
        inside,
        [
            "192.0.2.0/24",
            "192.0.2.64/26",
            "192.0.2.64/26",
            "192.0.2.128/25"
        ]
    );
    assert!(explain("unknown.example").is_empty());
    assert_eq!(explain("b.example").len(), 2);

    // A prefix and its port are shown apart, as people type them.
    let group = explain("@private:22").into_iter();
    let group: Vec<_> = group.map(|one| (one.destination, one.ports)).collect();
    let port = vec!["tcp/22".parse().unwrap()];
    assert!(group.contains(&("10.0.0.0/8".to_owned(), port.clone())));
    assert!(group.contains(&("fc00::/7".to_owned(), port)));
}

#[test]
fn names_are_listed_once_and_missed_by_rule() {
    let policy = policy(
        "[[rule]]\nto = [\"a.example\", \"B.example.\"]\naction = \"deny\"\n\
         [[rule]]\nto = [\"gone.example\", \"a.example\"]\naction = \"deny\"\n",
    );
    let names: Vec<_> = policy.names().map(ToString::to_string).collect();
    assert_eq!(names, ["a.example", "b.example", "gone.example"]);
    let environment = environment();
    let missed: Vec<_> = policy.unresolved(&environment).collect();
    assert_eq!(missed.len(), 1);
    assert_eq!(
        (missed[0].0.name.as_str(), missed[0].1.as_str()),
        ("rule 2", "gone.example")
    );
    assert_eq!(policy.unresolved(&Environment::default()).count(), 4);
}

#[test]
fn what_a_policy_does_not_say_is_filled_in() {
    let parsed = super::super::parse::parse("/etc/guard/policies/lab.toml", "").unwrap();
    let policy = parsed.policy;
    assert_eq!(policy.name, "lab");
    assert_eq!(policy.default, Verdict::Deny);
    assert!(policy.inbound);
    assert_eq!(policy.hold, Duration::from_secs(60));
    assert_eq!(policy.longest_hole(None), Duration::from_secs(3_600));
    let compiled = compile(&policy, &Environment::default()).unwrap();
    assert_eq!(compiled.prefixes.len(), 1);
    assert_eq!(compiled.flags, prefix_flags::INBOUND);
}

#[test]
fn a_hundred_thousand_prefixes_are_sorted_and_joined() {
    let hosts: String = (0..100_000_u32)
        .rev()
        .map(|n| format!("\"10.{}.{}.{}\", ", n >> 16, (n >> 8) & 255, n & 255))
        .collect();
    let text = format!("default = \"allow\"\n[[rule]]\nto = [{hosts}]\naction = \"deny\"\n");
    let compiled = compiled(&policy(&text));
    // 100000 is 11000011010100000 in binary: a prefix for each one, and the default.
    // And what is asked about on the loopback.
    assert_eq!(compiled.prefixes.len(), 1 + 6 + 1);
    assert_eq!(verdict(&compiled, "tcp/1 10.1.134.159"), Verdict::Deny);
    assert_eq!(verdict(&compiled, "tcp/1 10.1.134.160"), Verdict::Allow);
    let tcp = PolicyId(1);
    let to = Connection::new(
        "10.0.0.0".parse::<Prefix>().unwrap().address(),
        Protocol(47),
        0,
    );
    assert_eq!(policy_verdict(&compiled.lookup(), tcp, &to).rule, 0);
}

#[test]
fn what_says_the_same_of_all_of_a_name_is_said_once() {
    let policy = policy(HOLES);
    let compiled = compiled(&policy);
    let mut now = environment();
    let addresses = vec![
        "198.51.100.1".parse().unwrap(),
        "2001:db8::1".parse().unwrap(),
    ];
    now.names.insert("same.example.com".into(), addresses);
    let addresses = vec![
        "198.51.100.1".parse().unwrap(),
        "192.0.2.1".parse().unwrap(),
    ];
    now.names.insert("differ.example.com".into(), addresses);
    let joined = |to: &str| {
        let to = to.parse().unwrap();
        let all = explain(&policy, &compiled, &now, &to, &[]);
        let joined = super::super::joined(all, &to).into_iter();
        joined
            .map(|one| (one.destination, one.addresses.join(" ")))
            .collect::<Vec<_>>()
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    let same = pair("same.example.com", "198.51.100.1 2001:db8::1");
    assert_eq!(joined("same.example.com"), [same]);
    let differ = ["198.51.100.1", "192.0.2.1"].map(|one| pair(one, one));
    assert_eq!(joined("differ.example.com"), differ);
    assert_eq!(
        joined("[::ffff:198.51.100.1]:443"),
        [pair("198.51.100.1:443", "198.51.100.1")]
    );
}
