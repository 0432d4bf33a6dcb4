//! The compiler against the sentence that says which rule wins: the most specific prefix; then the
//! narrower protocol and port range; then the stricter action.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use guard_common::{
    Address, Connection, DEFAULT_RULE, MAX_RANGES, PolicyId, Protocol, RangeEntry, Ticket, Verdict,
    policy_verdict, prefix_flags,
};
use guard_rounds::rounds;
use proptest::prelude::*;

use super::{
    super::{
        compile::{Compiled, compile},
        coverage::over,
        explain::explain,
        group::Group,
        model::{Environment, Policy, Rule},
        plan::plan,
        ports::PortSpec,
        prefix::Prefix,
        target::{Destination, Target},
    },
    environment, policy,
    random::{connection, head, rules, text},
};

/// How specific a target is for an address that it has: twice the bits of its prefix, and one more for `@on-link`, which
/// counts like `@public`, or like everything.
fn specific(target: &Target, environment: &Environment, to: &Address) -> Option<u16> {
    let areas = match target {
        Target::Prefix(prefix) => vec![*prefix],
        Target::Name(name) => environment.resolved(name).collect(),
        Target::Wildcard(_) => vec![],
        Target::Group(group) => {
            let inside = group.prefixes(environment);
            if !inside.iter().any(|prefix| prefix.covers(to)) {
                return None;
            }
            if *group == Group::OnLink {
                let public = Group::Public.areas(environment).into_iter();
                let covering = public.filter(|area| area.covers(to));
                return Some(covering.map(|area| doubled(&area)).max().unwrap_or(0) + 1);
            }
            group.areas(environment)
        }
    };
    let covering = areas.iter().filter(|area| area.covers(to));
    covering.map(doubled).max()
}

fn doubled(prefix: &Prefix) -> u16 {
    2 * u16::from(prefix.length())
}

/// How narrow a rule is for a protocol and port that it has; every port of every protocol comes last.
fn width(rule: &Rule, protocol: Protocol, port: u16) -> Option<u32> {
    if rule.ports.is_empty() {
        return Some(u32::MAX);
    }
    let covering = rule.ports.iter().filter(|spec| spec.covers(protocol, port));
    covering.map(|spec| u32::from(spec.high - spec.low)).min()
}

/// The verdict, and the name of the rule that gives it, by trying every rule.
fn naive<'p>(
    policy: &'p Policy,
    environment: &Environment,
    to: &Connection,
) -> (Verdict, Option<&'p str>) {
    let matching = policy.rules.iter().filter_map(|rule| {
        let targets = rule.to.iter();
        let length = targets
            .filter_map(|t| specific(t, environment, &to.to))
            .max()?;
        let width = width(rule, to.protocol, to.port)?;
        let stricter = Reverse(rule.action.strictness());
        Some(((Reverse(length), width, stricter, &rule.name), rule))
    });
    match matching.min_by_key(|(key, _)| *key) {
        Some((_, rule)) => (rule.action, Some(&rule.name)),
        None => (policy.default, None),
    }
}

fn compiled(policy: &Policy) -> Compiled {
    compile(policy, &environment()).unwrap()
}

fn name(policy: &Policy, rule: u16) -> Option<&str> {
    match rule {
        DEFAULT_RULE => None,
        index => Some(&policy.rules[usize::from(index)].name),
    }
}

/// What a trie means, whatever numbers its rules and lists have.
type Meaning = BTreeMap<Prefix, (Verdict, Option<String>, Vec<(RangeEntry, String)>)>;

fn meaning(policy: &Policy, compiled: &Compiled) -> Meaning {
    let owned = |rule| name(policy, rule).map(str::to_owned);
    let values = compiled.prefixes.iter().map(|(prefix, value)| {
        let ranges = compiled.ranges(value).iter().map(|range| {
            let anonymous = RangeEntry { rule: 0, ..*range };
            (anonymous, owned(range.rule).unwrap_or_default())
        });
        (
            *prefix,
            (value.verdict, owned(value.rule), ranges.collect()),
        )
    });
    values.collect()
}

proptest! {
    #![proptest_config(rounds(1_500))]

    #[test]
    fn compiled_tables_say_what_the_sentence_says(
        head in head(),
        rules in rules(),
        connections in prop::collection::vec(connection(), 40),
    ) {
        let policy = policy(&text(&head, &rules));
        let compiled = compiled(&policy);
        let lookup = compiled.lookup();
        let environment = environment();
        for to in connections {
            let decision = policy_verdict(&lookup, PolicyId(1), &to);
            let given = (decision.verdict, name(&policy, decision.rule));
            let expected = naive(&policy, &environment, &to);
            prop_assert_eq!(given, expected, "{:?} {}", to, to.to.to_ip());
            prop_assert_eq!(decision.flags & prefix_flags::INBOUND != 0, policy.inbound);
            // Where ping sockets may not be made, nothing may be pinged.
            let pinged = to.protocol == Protocol::ICMP && given.0 != Verdict::Deny;
            prop_assert!(!pinged || decision.flags & prefix_flags::PING != 0);
        }
    }

    #[test]
    fn a_listener_is_the_stricter_of_its_address_and_of_this_machine(
        head in head(),
        rules in rules(),
        at in prop::sample::select(&["127.0.0.1", "127.0.0.53", "127.9.8.7", "::1"][..]),
        port in prop::sample::select(&[1_u16, 53, 80, 85, 90, 96, 443][..]),
        ticket in any::<u32>(),
    ) {
        let policy = policy(&text(&head, &rules));
        let mut of_machine = policy.clone();
        let host = Target::Group(Group::GuardedHost);
        of_machine.rules.retain(|rule| rule.to.contains(&host));
        for rule in &mut of_machine.rules {
            rule.to = vec![host.clone()];
        }
        if of_machine.default == Verdict::Allow {
            of_machine.default = Verdict::Confirm;
        }
        let environment = environment();
        let to = |ip: &str| {
            let address = Address::from(ip.parse::<std::net::IpAddr>().unwrap());
            Connection::new(address, Protocol::TCP, port)
        };
        let (at, machine) = (to(at), to("10.0.0.1"));
        let (own, _) = naive(&policy, &environment, &at);
        let (of_machine, _) = naive(&of_machine, &environment, &machine);
        let expected = std::cmp::max_by_key(own, of_machine, |verdict| verdict.strictness());

        let listener = Connection::new(at.to.of_listener(Ticket(ticket)), Protocol::TCP, port);
        let decision = policy_verdict(&compiled(&policy).lookup(), PolicyId(1), &listener);
        prop_assert_eq!(decision.verdict, expected, "{:?}", name(&policy, decision.rule));
    }

    #[test]
    fn tables_are_canonical(head in head(), rules in rules()) {
        let policy = policy(&text(&head, &rules));
        let compiled = compiled(&policy);
        let means = meaning(&policy, &compiled);
        prop_assert_eq!(compiled.prefixes[0].0, Prefix::EVERYTHING);
        prop_assert!(compiled.prefixes.is_sorted_by(|a, b| a.0 < b.0));
        for (prefix, value) in means.iter().skip(1) {
            let parent = prefix.parent().unwrap();
            let (around, _) = compiled.longest(&parent).unwrap();
            prop_assert_ne!(&means[around], value, "{} repeats {}", prefix, around);
            let other = parent.halves().unwrap().into_iter().find(|half| half != prefix).unwrap();
            prop_assert_ne!(means.get(&other), Some(value), "{} could join {}", prefix, other);
        }
        let lists: BTreeSet<_> = compiled.lists.iter().map(|list| format!("{list:?}")).collect();
        prop_assert_eq!(lists.len(), compiled.lists.len());
        prop_assert!(compiled.lists.iter().all(|list| (1..=MAX_RANGES).contains(&list.entries.len())));
    }

    #[test]
    fn order_never_matters(
        head in head(),
        (rules, shuffled) in rules().prop_flat_map(|rules| (Just(rules.clone()), Just(rules).prop_shuffle())),
    ) {
        let (one, two) = (policy(&text(&head, &rules)), policy(&text(&head, &shuffled)));
        prop_assert_eq!(meaning(&one, &compiled(&one)), meaning(&two, &compiled(&two)));
        prop_assert_eq!(compiled(&one).flags, compiled(&two).flags);
    }

    #[test]
    fn a_plan_leads_from_the_old_to_the_new(
        heads in (head(), head()),
        old_rules in rules(),
        new_rules in rules(),
        kept in 0..4_usize,
    ) {
        let new_rules = [&old_rules[..kept.min(old_rules.len())], &new_rules].concat();
        let new_rules: Vec<_> = new_rules.into_iter().enumerate().map(|(i, mut rule)| {
            rule.name = format!("n{i}");
            rule
        }).collect();
        let old = compiled(&policy(&text(&heads.0, &old_rules)));
        let new = compiled(&policy(&text(&heads.1, &new_rules)));
        let held = |compiled: &Compiled| -> BTreeMap<_, _> {
            compiled.prefixes.iter().map(|(prefix, value)| {
                (*prefix, (compiled.prefix_value(value), compiled.ranges(value).to_vec()))
            }).collect()
        };
        let mut trie = held(&old);
        let steps = plan(Some(&old), &new);
        for prefix in &steps.remove {
            prop_assert!(trie.remove(prefix).is_some());
        }
        for (prefix, value) in &steps.upsert {
            let written = (new.prefix_value(value), new.ranges(value).to_vec());
            prop_assert_ne!(trie.insert(*prefix, written.clone()), Some(written), "no change");
        }
        prop_assert_eq!(trie, held(&new));
        for (list, same) in new.lists.iter().zip(&steps.same_list) {
            let found = same.map(|same| &old.lists[same.get()]);
            prop_assert_eq!(found, old.lists.iter().find(|old| *old == list));
        }
        prop_assert_eq!(plan(None, &new).upsert, [&new.prefixes[..], &new.patterns].concat());
        let none = plan(Some(&new), &new);
        prop_assert!(none.upsert.is_empty() && none.remove.is_empty());
    }

    #[test]
    fn an_explanation_agrees(head in head(), rules in rules(), to in connection()) {
        let policy = policy(&text(&head, &rules));
        let compiled = compiled(&policy);
        let spec = PortSpec::one(to.protocol, to.port);
        let asked = Destination { target: Target::Prefix(Prefix::host(to.to)), port: None };
        let explained = explain(&policy, &compiled, &environment(), &asked, &[spec]);
        prop_assert_eq!(explained.len(), 1);
        let (verdict, rule) = naive(&policy, &environment(), &to);
        prop_assert_eq!(&explained[0].verdict, verdict.as_str());
        prop_assert_eq!(explained[0].rule.as_deref(), rule);
        if let Some(matched) = &explained[0].matched {
            let (target, spec) = matched.split_once(' ').unwrap_or((matched, "any"));
            let target: Target = target.parse().unwrap();
            prop_assert!(specific(&target, &environment(), &to.to).is_some(), "{}", matched);
            let spec = spec.parse::<PortSpec>().ok();
            prop_assert!(spec.is_none_or(|spec| spec.covers(to.protocol, to.port)), "{}", matched);
        }
    }

}

proptest! {
    // Each case tries every address and port of a small block.
    #![proptest_config(rounds(200))]

    #[test]
    fn a_hole_meets_all_that_is_inside(
        head in head(),
        rules in rules(),
        host in 0..64_u128,
        length in 122..=128_u8,
    ) {
        let policy = policy(&text(&head, &rules));
        let block: Prefix = "192.0.2.0".parse().unwrap();
        let within = Prefix::new(block.bits() | host, length);
        let asked: PortSpec = "tcp/78-97".parse().unwrap();
        let environment = environment();
        let mut expected = BTreeSet::new();
        for bits in within.bits()..=within.last_bits() {
            for port in asked.low..=asked.high {
                let to = Connection::new(Address::from_u128(bits), Protocol::TCP, port);
                let (verdict, rule) = naive(&policy, &environment, &to);
                expected.insert((verdict.as_str(), rule));
            }
        }
        let coverage = over(&policy, &compiled(&policy), &within, &[asked]);
        let met = coverage.met.iter().map(|met| {
            (met.verdict.as_str(), met.rule.map(|rule| rule.name.as_str()))
        });
        prop_assert_eq!(met.collect::<BTreeSet<_>>(), expected);
    }
}
