//! Holes as wide as a large part of the internet, or as all networks of one's own. A zero in place of an address opens them, so
//! whoever means that says it.

use guard_policy::Prefix;

use super::{checked::CheckedHole, names::Lifted};
use crate::control::failure::CallError;

/// Shorter prefixes are wide, in IPv6 bits: those of IPv4, and others.
const OF_IPV4: u8 = 96 + 8;
const OF_IPV6: u8 = 32;
/// Rules that are named.
const NAMED: usize = 4;

/// Whether it may be opened: all that is not wide, and what is if somebody said so.
///
/// # Errors
///
/// How many addresses it has and which rules it lifts, and what to add.
pub(super) fn may_open(checked: &CheckedHole, wide: bool) -> Result<(), CallError> {
    let widest = checked.prefixes.iter().filter(|prefix| is_wide(prefix));
    let Some(widest) = widest
        .min_by_key(|prefix| prefix.length())
        .filter(|_| !wide)
    else {
        return Ok(());
    };
    // The strictest first: of many some are only counted.
    let reads = checked.lifts.difference(&checked.confirms);
    let lifts = checked.confirms.iter().chain(reads);
    let lifts: Vec<_> = lifts.take(NAMED).map(in_words).collect();
    let more = match checked.lifts.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Err(CallError::refused(
        format!("a hole for {widest} is wider than most"),
        format!(
            "it has {} addresses, and lifts {}{more} there; only what is denied stays denied",
            addresses(widest),
            lifts.join(", ")
        ),
        "name less than that; or, if you mean it, add --wide",
    ))
}

fn is_wide(prefix: &Prefix) -> bool {
    let shortest = if Prefix::IPV4.contains(prefix) {
        OF_IPV4
    } else {
        OF_IPV6
    };
    prefix.length() < shortest
}

fn addresses(prefix: &Prefix) -> String {
    match u32::from(128 - prefix.length()) {
        bits @ 0..=32 => (1_u64 << bits).to_string(),
        bits => format!("2^{bits}"),
    }
}

fn in_words(lifted: &Lifted) -> String {
    match &lifted.rule {
        Some(rule) => format!("the rule {rule:?} of {}", lifted.policy),
        None => format!("the default of {}", lifted.policy),
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, time::Duration};

    use guard_common::SessionId;

    use super::*;

    #[test]
    fn what_is_wide_is_so_whatever_its_family_and_whosever_network_it_is() {
        for (text, expected) in [
            ("0.0.0.0/0", Some("4294967296")),
            ("::ffff:0:0/96", Some("4294967296")),
            ("8.0.0.0/7", Some("33554432")),
            ("8.0.0.0/8", None),
            ("::/0", Some("2^128")),
            ("2000::/3", Some("2^125")),
            ("2001:db8::/31", Some("2^97")),
            ("2001:db8::/32", None),
            ("192.0.2.10", None),
            ("10.0.0.0/8", None),
            ("fd00:7::/32", None),
            ("fc00::/7", Some("2^121")),
            ("fe80::/10", Some("2^118")),
            ("224.0.0.0/4", Some("268435456")),
        ] {
            let prefix: Prefix = text.parse().unwrap();
            let shown = is_wide(&prefix).then(|| addresses(&prefix));
            assert_eq!(shown.as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn the_strictest_rules_are_named_and_the_others_counted() {
        let rule = |name: &str| Lifted {
            policy: "shop".to_owned(),
            rule: Some(name.to_owned()),
        };
        let reads = ["api", "db", "mail", "nas"].map(rule);
        let confirms = BTreeSet::from(["private", "public"].map(rule));
        let checked = CheckedHole {
            session: SessionId(1),
            owner: 0,
            prefixes: vec![Prefix::IPV4],
            ports: Vec::new(),
            time: Duration::from_secs(60),
            connections: None,
            bytes: None,
            read_only: false,
            can_be_read: true,
            warnings: Vec::new(),
            name: None,
            lifts: reads.into_iter().chain(confirms.clone()).collect(),
            confirms,
        };
        let refused = may_open(&checked, false).unwrap_err();
        let said = format!("{refused:?}");
        let at = |name: &str| said.find(&format!("rule \\\"{name}\\\" of"));
        assert!(
            at("private") < at("api") && at("private").is_some(),
            "{said}"
        );
        assert!(at("nas").is_none() && said.contains("and 2 more"), "{said}");
        assert!(may_open(&checked, true).is_ok());
    }
}
