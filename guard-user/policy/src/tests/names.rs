//! Rules for names, judged as the kernel half does, against a naive reading of the same rules.

use guard_common::{
    Address, BootTime, Connection, Learned, NameId, Named, NamedKey, PolicyId, PolicyVerdict,
    Protocol, Verdict, may_show, named_verdict, prefix_flags, said_of,
};
use guard_rounds::rounds;
use proptest::{prelude::*, sample::select};

use super::{
    super::{
        compile::{Compiled, compile},
        diff::{AddressChange, Opens, Side, diff, diff_by_name, diff_names},
        explain::{explain, explain_known},
        group::Group,
        known::NamedAt,
        model::{DnsNames, Environment, Policy, Rule},
        name::{DomainName, NamePattern},
        ports::PortSpec,
        prefix::Prefix,
        target::Target,
    },
    diff::covers,
    environment, policy,
};

fn judging() -> Environment {
    Environment {
        judges_names: true,
        public: ["y.test".to_owned()].into(),
        ..environment()
    }
}

/// What a session knows an address by.
fn known(compiled: &Compiled, names: &[&str]) -> Named {
    let mut known = Named::default();
    for name in names {
        let name: DomainName = name.parse().unwrap();
        let own = NamePattern::Name(name);
        let wider: Vec<_> = own.around().collect();
        let mut all = std::iter::once(own).chain(wider);
        let pattern = all.find(|one| compiled.has_pattern(one));
        if let Some(pattern) = pattern.map(|one| one.id()) {
            let learned = Learned {
                pattern,
                until: BootTime(10),
            };
            let key = NamedKey::default();
            known = known.with(&key, learned, BootTime(1)).unwrap();
        }
    }
    known
}

fn verdict_of(compiled: &Compiled, names: &[&str], to: &Connection, now: u64) -> Verdict {
    decided(compiled, names, to, now).verdict
}

fn decided(compiled: &Compiled, names: &[&str], to: &Connection, now: u64) -> PolicyVerdict {
    let lookup = compiled.lookup();
    let known = known(compiled, names);
    named_verdict(
        |pattern| said_of(&lookup, PolicyId(1), pattern, to),
        Some(&known),
        BootTime(now),
    )
}

fn to(address: &str, port: u16) -> Connection {
    let prefix: Prefix = address.parse().unwrap();
    Connection::new(prefix.address(), guard_common::Protocol::TCP, port)
}

const LIST: &str = r#"
default = "deny"

[[rule]]
name = "forge"
to = ["*.forge.example"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "ssh"
to = ["ssh.forge.example"]
ports = ["tcp/22"]
action = "confirm"

[[rule]]
name = "inside"
to = ["*.inside.example"]
action = "allow"
private = true

[[rule]]
name = "closed"
to = ["198.51.100.0/24"]
action = "deny"
"#;

#[test]
fn a_name_counts_as_a_rule_for_the_addresses_that_a_session_learned() {
    let compiled = compile(&policy(LIST), &judging()).unwrap();
    let said = |names: &[&str], at: &str, port| verdict_of(&compiled, names, &to(at, port), 1);
    let at = "203.0.113.7";
    assert_eq!(said(&[], at, 443), Verdict::Deny);
    assert_eq!(said(&["api.forge.example"], at, 443), Verdict::Allow);
    assert_eq!(said(&["api.forge.example"], at, 80), Verdict::Deny);
    // A name inherits from the wildcards that cover it.
    assert_eq!(said(&["ssh.forge.example"], at, 443), Verdict::Allow);
    assert_eq!(said(&["ssh.forge.example"], at, 22), Verdict::Confirm);
    // Of several names the strictest.
    let both = ["ssh.forge.example", "a.inside.example"];
    assert_eq!(said(&both, at, 22), Verdict::Confirm);
    // A wildcard is not the name that it is below.
    assert_eq!(said(&["forge.example"], at, 443), Verdict::Deny);
    // A name lifts no `deny`.
    let closed = "198.51.100.7";
    assert_eq!(said(&["api.forge.example"], closed, 443), Verdict::Deny);
}

/// Two names of one number (64 bits of FNV-1a): found in some minutes, by a walk from number to name to number.
const TWINS: [&str; 2] = ["un6gp47ko6osk.example", "cdi3mmi6xh4yk.example"];

#[test]
fn a_name_that_has_a_patterns_number_is_not_that_pattern() {
    let [own, chosen] = TWINS;
    let text = format!(
        "default = \"confirm\"\n[[rule]]\nname = \"a\"\nto = [\"{own}\"]\naction = \"allow\"\n"
    );
    let policy = policy(&text);
    let compiled = compile(&policy, &judging()).unwrap();
    let [own, chosen]: [DomainName; 2] = [own, chosen].map(|name| name.parse().unwrap());
    let pattern = NamePattern::Name(chosen.clone());
    assert!(compiled.has_number(pattern.id()) && !compiled.has_pattern(&pattern));
    assert_eq!(compiled.pattern_of(&chosen), None);
    assert_eq!(parts_by_name(&policy, &compiled, &chosen), ["confirm"]);
    assert_eq!(parts_by_name(&policy, &compiled, &own), ["allow"]);
}

#[test]
fn two_names_of_one_number_are_no_policy_and_both_are_named() {
    let [one, other] = TWINS;
    let text = format!(
        "default = \"deny\"\n[[rule]]\nname = \"a\"\nto = [\"{one}\"]\naction = \"allow\"\n\
         [[rule]]\nname = \"b\"\nto = [\"{other}\"]\naction = \"deny\"\n"
    );
    let errors = compile(&policy(&text), &judging()).unwrap_err();
    let said: Vec<_> = errors.iter().map(|error| error.message.as_str()).collect();
    assert!(
        matches!(said[..], [said] if said.contains(one) && said.contains(other)),
        "{said:?}"
    );
}

/// What holds for a name, in words.
fn parts_by_name(policy: &Policy, compiled: &Compiled, name: &DomainName) -> Vec<String> {
    let to = name.as_str().parse().unwrap();
    let explained = explain(policy, compiled, &judging(), &to, &[]);
    explained.into_iter().map(|one| one.verdict).collect()
}

#[test]
fn what_is_explained_of_a_known_address_is_what_the_kernel_half_does() {
    let text = format!(
        "{LIST}\n[[rule]]\nname = \"net\"\nto = [\"203.0.113.0/24\"]\nports = [\"tcp/20-500\", \"udp\"]\naction = \"confirm\"\n"
    );
    let policy = policy(&text);
    let compiled = compile(&policy, &judging()).unwrap();
    let names = ["ssh.forge.example", "api.forge.example", "a.inside.example"];
    for at in ["203.0.113.7", "198.51.100.7", "192.0.2.200", "10.1.2.3"] {
        for names in [&[][..], &names[..1], &names[1..2], &names[2..], &names] {
            let named = known(&compiled, names);
            let explained = |now, ports: &[PortSpec]| {
                let to = at.parse().unwrap();
                let known = NamedAt {
                    named: &named,
                    now: BootTime(now),
                };
                explain_known(&policy, &compiled, &judging(), &to, ports, known)
            };
            for (now, protocol, port) in [1, 11].into_iter().flat_map(|now| {
                let tcp = [0, 19, 20, 22, 23, 80, 443, 444, 500, 501, 65535];
                let tcp = tcp.map(|port| (now, Protocol::TCP, port));
                tcp.into_iter()
                    .chain([(now, Protocol::UDP, 443), (now, Protocol::ICMP, 0)])
            }) {
                let to = Connection::new(to(at, 0).to, protocol, port);
                let wanted = decided(&compiled, names, &to, now);
                let all = explained(now, &[]);
                let named = all
                    .iter()
                    .find(|one| one.ports.iter().any(|spec| spec.covers(protocol, port)));
                let rest = || all.iter().find(|one| one.ports.is_empty());
                let found = named.or_else(rest).unwrap();
                assert_eq!(
                    found.verdict,
                    wanted.verdict.as_str(),
                    "{at} {names:?} {port}"
                );
                let rule = policy.rule(wanted.rule).map(|rule| rule.name.clone());
                assert_eq!(found.rule, rule, "{at} {names:?} {port}");
                let alone = explained(now, &[PortSpec::one(protocol, port)]);
                assert_eq!(alone.len(), 1);
                assert_eq!(alone[0].verdict, wanted.verdict.as_str());
            }
        }
    }
    // A name says by which of its patterns.
    let named = known(&compiled, &["api.forge.example"]);
    let to = "203.0.113.7:443".parse().unwrap();
    let known = NamedAt {
        named: &named,
        now: BootTime(1),
    };
    let told = explain_known(&policy, &compiled, &judging(), &to, &[], known);
    assert_eq!(told[0].destination, "203.0.113.7:443");
    assert_eq!(told[0].matched.as_deref(), Some("*.forge.example"));
}

/// The trie has what it says of a pattern under an address, which anybody can work out.
#[test]
fn what_stands_for_a_pattern_is_nobodys_address() {
    let rule = "[[rule]]\nto = [\"*.corp.example\"]\naction = \"allow\"\n";
    let compiled = compile(&policy(&format!("default = \"deny\"\n{rule}")), &judging()).unwrap();
    let at = NameId::of("*.corp.example").key().to_ip().to_string();
    let named = verdict_of(&compiled, &["a.corp.example"], &to("203.0.113.7", 443), 1);
    assert_eq!(named, Verdict::Allow);
    assert_eq!(verdict_of(&compiled, &[], &to(&at, 443), 1), Verdict::Deny);
}

#[test]
fn public_names_open_no_private_addresses() {
    let compiled = compile(&policy(LIST), &judging()).unwrap();
    let at_port = |name: &str, at: &str, port| verdict_of(&compiled, &[name], &to(at, port), 1);
    let said = |name: &str, at: &str| at_port(name, at, 443);
    for private in ["10.1.2.3", "192.168.0.1", "fd00::1", "64:ff9b::a01:203"] {
        // A name that is spelled out has them at its own ports, and not at those that the wildcard opens.
        let own = at_port("ssh.forge.example", private, 22);
        assert_eq!(own, Verdict::Confirm, "{private}");
        let inherited = said("ssh.forge.example", private);
        assert_eq!(inherited, Verdict::Deny, "{private}");
        assert_eq!(
            said("api.forge.example", private),
            Verdict::Deny,
            "{private}"
        );
        assert_eq!(
            said("a.inside.example", private),
            Verdict::Allow,
            "{private}"
        );
    }
    for local in [
        "127.0.0.1",
        "::1",
        "0.0.0.1",
        "169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe",
        // This machine.
        "10.0.0.1",
    ] {
        assert_eq!(said("a.inside.example", local), Verdict::Deny, "{local}");
    }
}

/// What guardd has looked up of names: where these may be.
const REBOUND: &str = r#"
default = "allow"

[[rule]]
name = "api"
to = ["api.example"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "split"
to = ["split.example"]
action = "allow"
private = true

[[rule]]
name = "inside"
to = ["db.example"]
action = "confirm"

[[rule]]
name = "own"
to = ["own.example"]
ports = ["tcp/22"]
action = "deny"

[[rule]]
name = "networks"
to = ["@private", "@loopback", "@link-local"]
ports = ["tcp/1-1000"]
action = "deny"

[[rule]]
name = "ssh"
to = ["10.0.0.0/8"]
ports = ["tcp/22"]
action = "confirm"
"#;

#[test]
fn a_name_that_was_public_opens_no_private_address_later() {
    // What guardd has looked up counts as what a session was told.
    let looked_up = |name: &str, at: &str, public: bool| {
        let mut environment = judging();
        environment.names = [(name.to_owned(), vec![at.parse().unwrap()])].into();
        if public {
            environment.public.insert(name.to_owned());
        }
        compile(&policy(REBOUND), &environment).unwrap()
    };
    let (private, local) = ("10.1.2.3", "127.0.0.1");
    for (name, at, public, wanted) in [
        ("api.example", private, true, Verdict::Deny),
        ("api.example", private, false, Verdict::Allow),
        ("api.example", "64:ff9b::a01:203", true, Verdict::Allow),
        ("split.example", private, true, Verdict::Allow),
        // By no name, whatever it was.
        ("api.example", local, false, Verdict::Deny),
        ("split.example", local, true, Verdict::Deny),
        ("api.example", "169.254.169.254", false, Verdict::Deny),
        // It asks where the network denies: nobody is asked.
        ("db.example", private, true, Verdict::Deny),
        ("db.example", private, false, Verdict::Confirm),
    ] {
        let compiled = looked_up(name, at, public);
        let said = |names: &[&str], port| verdict_of(&compiled, names, &to(at, port), 1);
        assert_eq!(said(&[], 443), wanted, "{name} {at} {public}");
        assert_eq!(said(&[name], 443), wanted, "{name} {at} {public}, told");
    }
    // It makes stricter all the same, port by port.
    let compiled = looked_up("db.example", private, true);
    let said = |port| verdict_of(&compiled, &[], &to(private, port), 1);
    assert_eq!(
        [22, 443, 1001].map(said),
        [Verdict::Confirm, Verdict::Deny, Verdict::Confirm]
    );
    let compiled = looked_up("own.example", private, true);
    let said = |port| verdict_of(&compiled, &[], &to(private, port), 1);
    assert_eq!(
        [22, 443, 1001].map(said),
        [Verdict::Deny, Verdict::Deny, Verdict::Allow]
    );
}

#[test]
fn a_name_counts_until_its_time_is_over() {
    let compiled = compile(&policy(LIST), &judging()).unwrap();
    let connection = to("203.0.113.7", 443);
    let at = |now| verdict_of(&compiled, &["api.forge.example"], &connection, now);
    assert_eq!([at(9), at(10)], [Verdict::Allow, Verdict::Deny]);
    // What was allowed when it began goes on.
    let lookup = compiled.lookup();
    let known = known(&compiled, &["api.forge.example"]);
    let says = |pattern| said_of(&lookup, PolicyId(1), pattern, &connection);
    let stands = named_verdict(says, Some(&known), BootTime(9));
    assert_eq!(stands.verdict, Verdict::Allow);
    // Whoever begins then hears why not.
    let why = |now| {
        let known = NamedAt {
            named: &known,
            now: BootTime(now),
        };
        let barred = crate::barred(&policy(LIST), &compiled, &connection, known);
        barred.map(|one| one.to_string())
    };
    assert_eq!(why(9), None);
    let over = why(10).unwrap();
    assert!(over.ends_with("the time of its answer is over: look it up again"));
}

#[test]
fn a_name_is_explained_apart_for_addresses_that_it_does_not_open() {
    let policy = policy(LIST);
    let names = [
        ("a.forge.example", vec!["10.9.0.6"]),
        ("b.forge.example", vec!["203.0.113.7", "10.9.0.6"]),
        ("c.forge.example", vec!["127.0.0.1"]),
        ("a.inside.example", vec!["10.9.0.6"]),
    ];
    let names = names.map(|(name, at)| {
        let at = at.iter().map(|at| at.parse().unwrap());
        (name.to_owned(), at.collect())
    });
    let environment = Environment {
        names: names.into(),
        ..judging()
    };
    let compiled = compile(&policy, &environment).unwrap();
    let told = |asked: &str| -> Vec<_> {
        let all = explain(
            &policy,
            &compiled,
            &environment,
            &asked.parse().unwrap(),
            &[],
        );
        let all = all.into_iter().map(|one| {
            assert_eq!(one.destination, asked);
            (one.addresses.join(","), one.verdict, one.barred)
        });
        all.collect()
    };
    let said = |at: &str, verdict: &str, barred: Option<&str>| {
        let barred = barred.map(|why| format!("`forge` has the name, and {why}"));
        (at.to_owned(), verdict.to_owned(), barred)
    };
    let private = Some("it opens no address of @private or @on-link without private = true");
    let local = Some(
        "no name opens an address of @loopback, @link-local, @metadata, @multicast or @guarded-host",
    );
    let denied = said("10.9.0.6", "deny", private);
    assert_eq!(told("a.forge.example:443"), std::slice::from_ref(&denied));
    let public = said("203.0.113.7", "allow", None);
    assert_eq!(told("b.forge.example:443"), [public, denied]);
    assert_eq!(
        told("c.forge.example:443"),
        [said("127.0.0.1", "deny", local)]
    );
    assert_eq!(
        told("a.inside.example:443"),
        [said("10.9.0.6", "allow", None)]
    );
    // No rule has the name at that port.
    assert_eq!(told("a.forge.example:80"), [said("10.9.0.6", "deny", None)]);
}

/// No name lifts a rule's `deny`, nor what a rule says of that very address.
#[test]
fn a_name_is_explained_apart_where_another_rule_decides() {
    let text = r#"
    default = "allow"
    [[rule]]
    name = "closed"
    to = ["192.0.2.0/24"]
    action = "deny"
    [[rule]]
    name = "own"
    to = ["203.0.113.9"]
    action = "confirm"
    [[rule]]
    name = "wide"
    to = ["203.0.113.0/24"]
    action = "confirm"
    [[rule]]
    name = "open"
    to = ["*.example.com"]
    action = "allow"
    "#;
    let policy = policy(text);
    let at = ["192.0.2.21", "203.0.113.7", "203.0.113.9"].map(|at| at.parse().unwrap());
    let environment = Environment {
        names: [("prod.example.com".to_owned(), at.to_vec())].into(),
        ..judging()
    };
    let compiled = compile(&policy, &environment).unwrap();
    let asked = "prod.example.com:443".parse().unwrap();
    let all = explain(&policy, &compiled, &environment, &asked, &[]).into_iter();
    let told: Vec<_> = all
        .map(|one| {
            (
                one.addresses.join(","),
                one.verdict,
                one.rule.unwrap_or_default(),
            )
        })
        .collect();
    let said =
        |at: &str, verdict: &str, rule: &str| (at.to_owned(), verdict.to_owned(), rule.to_owned());
    assert_eq!(
        told,
        [
            said("203.0.113.7", "allow", "open"),
            said("192.0.2.21", "deny", "closed"),
            said("203.0.113.9", "confirm", "own"),
        ]
    );
}

#[test]
fn a_pattern_of_another_version_denies() {
    let text = "default = \"allow\"\n[[rule]]\nto = [\"*.forge.example\"]\naction = \"allow\"\n";
    let compiled = compile(&policy(text), &judging()).unwrap();
    let learned = Learned {
        pattern: NameId::of("*.gone.example"),
        until: BootTime(10),
    };
    let key = NamedKey::default();
    let known = Named::default().with(&key, learned, BootTime(1)).unwrap();
    let (lookup, connection) = (compiled.lookup(), to("203.0.113.7", 443));
    let says = |pattern| said_of(&lookup, PolicyId(1), pattern, &connection);
    let said = named_verdict(says, Some(&known), BootTime(1));
    assert_eq!(said.verdict, Verdict::Deny);
}

#[test]
fn names_pass_where_something_lets_the_internet_pass_by_itself() {
    let asked = |text: &str| {
        // Without a rule by name or [dns] it leaves them to others.
        let judges = text.contains("[dns]") || text.contains(".x.test");
        assert!(judges || policy(text).names_asked() == DnsNames::Any);
        let named = "[[rule]]\nto = [\"named.test\"]\naction = \"deny\"\n";
        policy(&format!("{text}{named}")).names_asked()
    };
    let rule = |to: &str, action: &str| {
        asked(&format!(
            "default = \"deny\"\n[[rule]]\nto = [{to:?}]\naction = {action:?}\n"
        ))
    };
    for to in ["192.0.2.12", "10.0.0.0/8", "128.0.0.0/1"] {
        assert_eq!(rule(to, "allow"), DnsNames::Any);
        assert_eq!(rule(to, "read-only"), DnsNames::Any);
        assert_eq!(rule(to, "confirm"), DnsNames::Rules);
        assert_eq!(rule(to, "deny"), DnsNames::Rules);
    }
    for to in ["@public", "0.0.0.0/0", "2000::/3", "::/0"] {
        for action in ["allow", "read-only", "confirm"] {
            assert_eq!(rule(to, action), DnsNames::Any);
        }
        assert_eq!(rule(to, "deny"), DnsNames::Rules);
    }
    for to in ["@private", "@dns", "www.x.test", "*.x.test"] {
        assert_eq!(rule(to, "allow"), DnsNames::Rules);
    }
    for default in ["allow", "confirm"] {
        let text = format!("default = {default:?}\n");
        assert_eq!(asked(&text), DnsNames::Any);
        let said = format!("{text}[dns]\nnames = \"rules\"\n");
        assert_eq!(asked(&said), DnsNames::Rules);
    }
}

#[test]
fn what_no_rule_names_is_explained_by_its_addresses() {
    let text = format!(
        "{LIST}\n[[rule]]\nname = \"net\"\nto = [\"192.0.2.0/29\"]\naction = \"confirm\"\n"
    );
    let policy = policy(&text);
    let compiled = compile(&policy, &judging()).unwrap();
    let explained = |name: &str| {
        let all = explain(&policy, &compiled, &judging(), &name.parse().unwrap(), &[]);
        let all = all.into_iter();
        all.map(|one| (one.destination, one.verdict, one.rule))
            .collect::<Vec<_>>()
    };
    let net = |address: &str| {
        (
            address.to_owned(),
            "confirm".to_owned(),
            Some("net".to_owned()),
        )
    };
    assert_eq!(explained("b.example"), [net("192.0.2.5"), net("192.0.2.6")]);
    let nowhere = ("unknown.example".to_owned(), "deny".to_owned(), None);
    assert_eq!(explained("unknown.example"), [nowhere]);
}

#[test]
fn nothing_changes_where_nobody_judges_names() {
    let compiled = compile(&policy(LIST), &environment()).unwrap();
    assert!(compiled.patterns.is_empty());
    assert_eq!(compiled.flags & prefix_flags::NAMES, 0);
}

const SHOWN: &str = r#"
default = "deny"

[[rule]]
name = "forge"
to = ["forge.example", "*.forge.example", "203.0.113.9"]
action = "allow"
tls = "name"

[[rule]]
name = "enough"
to = ["enough.example"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "elsewhere"
to = ["*.elsewhere.example"]
ports = ["tcp/8443", "udp"]
action = "allow"
tls = "name"

[[rule]]
name = "range"
to = ["api.forge.example"]
ports = ["tcp/400-500"]
action = "confirm"
"#;

#[test]
fn a_name_has_to_be_shown_where_the_rule_says_so() {
    let compiled = compile(&policy(SHOWN), &judging()).unwrap();
    let at = |port| to("203.0.113.7", port);
    let by_sni = |names: &[&str], port| {
        let said = decided(&compiled, names, &at(port), 1);
        (said.verdict, said.flags & prefix_flags::BY_SNI != 0)
    };
    assert_eq!(by_sni(&["a.forge.example"], 443), (Verdict::Allow, true));
    assert_eq!(by_sni(&["a.forge.example"], 22), (Verdict::Allow, false));
    assert_eq!(by_sni(&["enough.example"], 443), (Verdict::Allow, false));
    // Of two that allow, the one that looks is the stricter.
    for both in [
        ["enough.example", "a.forge.example"],
        ["forge.example", "enough.example"],
    ] {
        assert_eq!(by_sni(&both, 443), (Verdict::Allow, true));
    }
    assert_eq!(
        by_sni(&["x.elsewhere.example"], 8443),
        (Verdict::Allow, true)
    );
    // What the key adds is no narrower than the rule.
    assert_eq!(by_sni(&["api.forge.example"], 443).0, Verdict::Confirm);
    let quic = |port| Connection::new(at(port).to, Protocol::UDP, port);
    let udp = |names: &[&str], port| verdict_of(&compiled, names, &quic(port), 1);
    assert_eq!(udp(&["a.forge.example"], 443), Verdict::Deny);
    assert_eq!(udp(&["a.forge.example"], 444), Verdict::Allow);
    assert_eq!(udp(&["x.elsewhere.example"], 8443), Verdict::Deny);
    assert_eq!(udp(&["x.elsewhere.example"], 443), Verdict::Allow);
    // Addresses in `to` are of its names, too.
    let beside = decided(&compiled, &[], &to("203.0.113.9", 443), 1);
    assert!(beside.flags & prefix_flags::BY_SNI != 0 && beside.verdict == Verdict::Allow);
}

#[test]
fn an_explanation_says_what_tls_has_to_show() {
    let policy = policy(SHOWN);
    let compiled = compile(&policy, &judging()).unwrap();
    let says = |asked: &str, ports: &[PortSpec]| {
        let asked = asked.parse().unwrap();
        let all = explain(&policy, &compiled, &judging(), &asked, ports);
        assert_eq!(all.len(), 1, "{all:?}");
        (all[0].verdict.clone(), all[0].tls.clone())
    };
    let names = ["forge.example", "*.forge.example"].map(str::to_owned);
    let shown = ("allow".to_owned(), Some(names.to_vec()));
    assert_eq!(says("a.forge.example:443", &[]), shown);
    assert_eq!(says("203.0.113.9:443", &[]), shown);
    assert_eq!(says("a.forge.example:22", &[]), ("allow".to_owned(), None));
    let quic = PortSpec::one(Protocol::UDP, 443);
    assert_eq!(says("a.forge.example", &[quic]), ("deny".to_owned(), None));
}

#[test]
fn a_name_is_shown_where_rules_allow_it() {
    let compiled = compile(&policy(SHOWN), &judging()).unwrap();
    let lookup = compiled.lookup();
    let connection = to("203.0.113.7", 443);
    let shows = |known: &str, name: &str| {
        let name: DomainName = name.parse().unwrap();
        let pattern = compiled.pattern_of(&name);
        let said = pattern.map(|pattern| said_of(&lookup, PolicyId(1), pattern.id(), &connection));
        may_show(decided(&compiled, &[known], &connection, 1), said)
    };
    assert!(shows("forge.example", "forge.example") && shows("forge.example", "b.forge.example"));
    assert!(shows("forge.example", "enough.example"));
    for other in [
        "api.forge.example",
        "evil.example",
        "x.elsewhere.example",
        "xforge.example",
    ] {
        assert!(!shows("forge.example", other), "{other}");
    }
    // Where the address is enough, names without rules are nobody's.
    assert!(shows("enough.example", "evil.example"));
}

// ---- The naive reading.

/// How narrowly a rule names a name: `None` where it does not.
fn names(rule: &Rule, name: &DomainName) -> Option<usize> {
    let narrow = rule.to.iter().filter_map(|target| match target {
        Target::Name(own) if own == name => Some(usize::MAX),
        Target::Wildcard(all) if all.covers(name) => Some(all.below().as_str().len()),
        _ => None,
    });
    narrow.max()
}

fn width(rule: &Rule, to: &Connection) -> Option<u32> {
    if rule.ports.is_empty() {
        return Some(u32::MAX);
    }
    let covering = rule.ports.iter();
    let covering = covering.filter(|spec| spec.covers(to.protocol, to.port));
    covering.map(|spec| u32::from(spec.high - spec.low)).min()
}

/// A verdict, and whether TLS has to show a name.
type Says = (Verdict, bool);

fn strict(says: Says) -> u8 {
    2 * says.0.strictness() + u8::from(says.1)
}

/// What a rule says of a port that it has.
fn says(rule: &Rule, to: &Connection) -> Says {
    let has = |port| {
        rule.ports.is_empty()
            || rule
                .ports
                .iter()
                .any(|spec| spec.covers(Protocol::TCP, port))
    };
    let is_shown = rule.by_sni
        && if has(443) {
            to.port == 443
        } else {
            has(to.port)
        };
    match (is_shown, to.protocol) {
        (true, Protocol::TCP) => (Verdict::Allow, true),
        (true, Protocol::UDP) => (Verdict::Deny, false),
        _ => (rule.action, false),
    }
}

/// What rules say of a name, and whether they may say it of a private address. `None`: nothing.
fn naive_of_name(policy: &Policy, name: &DomainName, to: &Connection) -> Option<(Says, bool)> {
    let named = policy.rules.iter();
    let named = named.filter_map(|rule| Some((names(rule, name)?, rule)));
    let decides = named.filter_map(|(narrow, rule)| {
        let width = width(rule, to)?;
        let stricter = (3 - rule.action.strictness(), !rule.by_sni);
        let order = (usize::MAX - narrow, width, stricter, rule.private);
        // A name that is spelled out may have private addresses, unless it had public ones first.
        let is_spelled_out = narrow == usize::MAX && !judging().public.contains(name.as_str());
        Some((order, (says(rule, to), is_spelled_out || rule.private)))
    });
    let (_, said) = decides.min_by_key(|(order, _)| *order)?;
    Some(said)
}

fn lies_in(groups: &[Group], address: &Address) -> bool {
    let environment = judging();
    let plain = address.to_u128();
    // 64:ff9b::/96 stands for the IPv4 address in its last 32 bits.
    let translated = (plain >> 32 == 0x0064_ff9b << 64)
        .then(|| Address::from_u128((0xffff << 32) | (plain & u128::from(u32::MAX))));
    groups.iter().any(|group| {
        let prefixes = group.prefixes(&environment);
        let covers = |one: &Address| prefixes.iter().any(|prefix| prefix.covers(one));
        covers(address) || translated.as_ref().is_some_and(covers)
    })
}

fn naive(policy: &Policy, known: &[&str], base: (Says, bool, bool), to: &Connection) -> Says {
    let (base, by_rule, by_own_rule) = base;
    let said = known.iter().filter_map(|name| {
        let name: DomainName = name.parse().unwrap();
        naive_of_name(policy, &name, to)
    });
    let said: Vec<_> = said.collect();
    let Some((strictest, _)) = said.iter().max_by_key(|(says, _)| strict(*says)) else {
        return base;
    };
    let local = [
        Group::Loopback,
        Group::LinkLocal,
        Group::Metadata,
        Group::Multicast,
        Group::GuardedHost,
    ];
    let is_this = Prefix::v4([0, 0, 0, 0], 8).covers(&to.to);
    let is_private = lies_in(&[Group::Private, Group::OnLink], &to.to);
    let is_denied = by_rule && base.0 == Verdict::Deny;
    let may_widen = !is_denied
        && !by_own_rule
        && !lies_in(&local, &to.to)
        && !is_this
        && (!is_private || said.iter().all(|(_, private)| *private));
    if strict(*strictest) < strict(base) && !may_widen {
        base
    } else {
        *strictest
    }
}

const TARGETS: &[&str] = &[
    "a.x.test",
    "b.x.test",
    "*.x.test",
    "*.b.x.test",
    "*.test",
    "y.test",
    "203.0.113.7",
    "203.0.113.0/28",
    "10.0.0.0/8",
    "10.1.2.3",
    "0.0.0.0/0",
    "@loopback",
    "@private",
];

const NAMES: &[&str] = &[
    "a.x.test",
    "b.x.test",
    "c.b.x.test",
    "x.test",
    "y.test",
    "z.other",
];

/// Those of [`TARGETS`] that are names or wildcards.
const PATTERNS: usize = 6;

fn rule(targets: &'static [&'static str]) -> impl Strategy<Value = String> {
    let ports = &[
        "",
        "ports = [\"tcp/443\"]",
        "ports = [\"tcp/400-500\", \"udp\"]",
    ][..];
    let actions = &["allow", "confirm", "read-only", "deny"][..];
    (
        prop::collection::vec(select(targets), 1..4),
        select(ports),
        select(actions),
        any::<bool>(),
        any::<bool>(),
    )
        .prop_map(|(to, ports, action, private, shown)| {
            let is_named = |target: &&str| {
                target
                    .parse::<Target>()
                    .is_ok_and(|to| NamePattern::of(&to).is_some())
            };
            let may_show = action == "allow" && to.iter().any(is_named);
            let tls = if shown && may_show {
                "tls = \"name\""
            } else {
                ""
            };
            format!(
                "[[rule]]\nto = {to:?}\n{ports}\naction = {action:?}\nprivate = {private}\n{tls}\n"
            )
        })
}

const PLACES: &[&str] = &[
    "203.0.113.7",
    "203.0.113.8",
    "10.1.2.3",
    "10.9.9.9",
    "127.0.0.1",
    "64:ff9b::a01:203",
    "2600::1",
];

/// How far a question for a name gets: 0 is not at all.
fn asked(policy: &Policy, compiled: &Compiled, name: &DomainName) -> u8 {
    let pattern = compiled.pattern_of(name);
    let names = match pattern {
        Some(pattern) if compiled.denies(&pattern) => DnsNames::Rules,
        None => policy.names_asked(),
        _ => DnsNames::Any,
    };
    match names {
        DnsNames::Rules => 0,
        DnsNames::Ask => 1,
        DnsNames::Any => 2,
    }
}

/// Whether more is let through to a name, and whether less is: by a look at each place.
fn naive_difference(sides: [Side<'_>; 2], name: &str) -> (bool, bool) {
    let domain: DomainName = name.parse().unwrap();
    let asked = sides.map(|side| asked(side.policy, side.compiled, &domain));
    let (mut more, mut less) = (asked[1] > asked[0], asked[1] < asked[0]);
    for place in PLACES {
        for (protocol, port) in [
            (Protocol::TCP, 443),
            (Protocol::TCP, 450),
            (Protocol::UDP, 22),
        ] {
            let to = Connection::new(to(place, port).to, protocol, port);
            let said = [0, 1].map(|side| {
                // What nobody can ask for is known to nobody.
                let known = match asked[side] {
                    0 => &[][..],
                    _ => &[name][..],
                };
                let said = decided(sides[side].compiled, known, &to, 1);
                strict((said.verdict, said.flags & prefix_flags::BY_SNI != 0))
            });
            more |= asked[1] > 0 && said[1] < said[0];
            less |= asked[0] > 0 && said[1] > said[0];
        }
    }
    (more, less)
}

/// Where connections go that are looked at one by one.
fn connections() -> impl Iterator<Item = Connection> {
    const PORTS: [(Protocol, u16); 3] = [
        (Protocol::TCP, 443),
        (Protocol::TCP, 450),
        (Protocol::UDP, 22),
    ];
    PLACES.iter().flat_map(|place| {
        PORTS.map(|(protocol, port)| Connection::new(to(place, port).to, protocol, port))
    })
}

fn is_told(changes: &[AddressChange], at: &Connection) -> bool {
    changes
        .iter()
        .any(|one| covers(one, at.to.to_u128(), at.protocol.0, at.port))
}

/// The least strict verdict that a connection gets where its address is known by one name, or by none.
fn most_open(compiled: &Compiled, to: &Connection) -> Verdict {
    // No rule names this one but by a wildcard.
    let names = NAMES.iter().chain(&["d.x.test"]);
    let alone = names.map(std::slice::from_ref);
    let verdicts = alone
        .chain([&[][..]])
        .map(|known| verdict_of(compiled, known, to, 1));
    let least = verdicts.min_by_key(|verdict| verdict.strictness());
    least.unwrap_or(Verdict::Deny)
}

/// Whether a connection is judged otherwise where one name may be asked for, and leads to another one.
fn differs(sides: [Side<'_>; 2], known: [&str; 2], to: &Connection) -> bool {
    let asked: DomainName = known[0].parse().unwrap();
    let [was, is] = sides.map(|side| {
        let known = match self::asked(side.policy, side.compiled, &asked) {
            0 => &[][..],
            _ => &known[..],
        };
        verdict_of(side.compiled, known, to, 1)
    });
    was != is
}

proptest! {
    #![proptest_config(rounds(1_500))]

    #[test]
    fn what_names_get_where_rules_for_addresses_differ_is_told_and_nothing_else(
        default in select(&["allow", "confirm", "deny"][..]),
        shared in prop::collection::vec(rule(TARGETS), 1..5),
        own in prop::array::uniform2(prop::collection::vec(rule(&TARGETS[PATTERNS..]), 0..3)),
    ) {
        let policies = own.map(|own| policy(&format!("default = {default:?}\n{}{}", shared.concat(), own.concat())));
        let [a, b] = [0, 1].map(|side| compile(&policies[side], &judging()).unwrap());
        let sides = [Side { policy: &policies[0], compiled: &a }, Side { policy: &policies[1], compiled: &b }];
        let told = diff_by_name(sides[0], sides[1]);
        for at in connections() {
            let [was, is] = [&a, &b].map(|side| verdict_of(side, &[], &at, 1));
            let [before, after] = [&a, &b].map(|side| most_open(side, &at));
            prop_assert_eq!(is_told(&told, &at), was == is && before != after, "{:?} {:?} {:?}", policies, at, told);
        }
        prop_assert!(diff_by_name(sides[0], sides[0]).is_empty());
    }

    #[test]
    fn nothing_is_judged_otherwise_without_a_word(
        default in select(&["confirm", "deny"][..]),
        asks in select(&["", "[dns]\nnames = \"any\"\n", "[dns]\nnames = \"rules\"\n"][..]),
        shared in prop::collection::vec(rule(TARGETS), 0..3),
        own in prop::array::uniform2(prop::collection::vec(rule(TARGETS), 0..3)),
        known in prop::array::uniform2(select(NAMES)),
    ) {
        let policies = own.map(|own| {
            policy(&format!("default = {default:?}\n{asks}{}{}", shared.concat(), own.concat()))
        });
        // Whether names are judged at all, and which may be asked for, is told as a setting.
        let settings = [0, 1].map(|side| (policies[side].has_patterns(), policies[side].names_asked()));
        prop_assume!(settings[0] == settings[1]);
        let [a, b] = [0, 1].map(|side| compile(&policies[side], &judging()).unwrap());
        let sides = [Side { policy: &policies[0], compiled: &a }, Side { policy: &policies[1], compiled: &b }];
        let changes = [diff(sides[0], sides[1]), diff_by_name(sides[0], sides[1])].concat();
        let names = diff_names(sides[0], sides[1], &judging());
        let is_of_known = |pattern: &NamePattern| known.iter().any(|name| {
            let own = NamePattern::Name(name.parse().unwrap());
            own == *pattern || own.around().any(|wider| wider == *pattern)
        });
        let by_name = names.iter().any(|one| is_of_known(&one.pattern));
        for at in connections() {
            let is_silent = !by_name && !is_told(&changes, &at);
            prop_assert!(!(is_silent && differs(sides, known, &at)), "{:?} {:?} {:?} {:?}", policies, known, at, names);
        }
    }

    #[test]
    fn no_name_gets_more_or_less_without_a_word(
        default in select(&["allow", "confirm", "deny"][..]),
        asks in select(&["", "[dns]\nnames = \"any\"\n", "[dns]\nnames = \"ask\"\n", "[dns]\nnames = \"rules\"\n"][..]),
        shared in prop::collection::vec(rule(TARGETS), 0..4),
        named in prop::array::uniform2(prop::collection::vec(rule(&TARGETS[..PATTERNS]), 0..3)),
    ) {
        let policies = named.map(|own| {
            policy(&format!("default = {default:?}\n{asks}{}{}", shared.concat(), own.concat()))
        });
        let [a, b] = [0, 1].map(|side| compile(&policies[side], &judging()).unwrap());
        let sides = [Side { policy: &policies[0], compiled: &a }, Side { policy: &policies[1], compiled: &b }];
        let told = diff_names(sides[0], sides[1], &judging());
        for name in NAMES {
            let own = NamePattern::Name(name.parse().unwrap());
            let wider = own.around();
            let mut covering = std::iter::once(own.clone()).chain(wider);
            let is_named = |pattern: &NamePattern| a.has_pattern(pattern) || b.has_pattern(pattern);
            let Some(narrowest) = covering.find(is_named) else {
                continue;
            };
            let opens = told.iter().find(|one| one.pattern == narrowest).map(|one| one.opens);
            let (more, less) = naive_difference(sides, name);
            match opens {
                Some(Opens::More) => {}
                Some(Opens::Less) => prop_assert!(!more, "{}: {:?} {:?}", name, policies, told),
                _ => prop_assert!(!more && !less, "{}: {:?} {:?}", name, policies, told),
            }
        }
        prop_assert!(diff_names(sides[0], sides[0], &judging()).is_empty());
    }

    #[test]
    fn names_are_judged_as_the_sentences_say(
        default in select(&["allow", "confirm", "deny"][..]),
        rules in prop::collection::vec(rule(TARGETS), 0..7),
        known in prop::sample::subsequence(NAMES, 0..4),
        address in select(PLACES),
        port in select(&[443_u16, 450, 22][..]),
        protocol in select(&[Protocol::TCP, Protocol::UDP][..]),
    ) {
        let text = format!("default = {default:?}\n{}", rules.concat());
        let policy = policy(&text);
        let compiled = compile(&policy, &judging()).unwrap();
        let connection = Connection::new(to(address, port).to, protocol, port);
        // What rules for addresses say is held by other tests.
        let plain = compile(&policy, &environment()).unwrap();
        let lookup = plain.lookup();
        let base = said_of(&lookup, PolicyId(1), NameId(0), &connection);
        let host = Prefix::host(connection.to);
        let is_own = |rule: &Rule| rule.to.contains(&Target::Prefix(host)) && width(rule, &connection).is_some();
        let base = (
            (base.verdict.verdict, base.verdict.flags & prefix_flags::BY_SNI != 0),
            base.verdict.rule != guard_common::DEFAULT_RULE,
            policy.rules.iter().any(is_own),
        );
        let expected = naive(&policy, &known, base, &connection);
        let given = decided(&compiled, &known, &connection, 1);
        let given = (given.verdict, given.flags & prefix_flags::BY_SNI != 0);
        prop_assert_eq!(given, expected, "{} {:?} {} {}", text, known, address, port);
        // Without names it is what it was.
        prop_assert_eq!(verdict_of(&compiled, &[], &connection, 1), base.0.0);
    }
}
