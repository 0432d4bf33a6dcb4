//! For `guard suggest`: which of its rules would let everything pass to what looks like production.

use std::path::Path;

use guard_common::{Protocol, Verdict};
use guard_discover::{Bounds, Finding, Label};
use guard_policy::{PortSpec, Prefix, Target};
use rustix::process::geteuid;

use super::dismissals::Dismissals;
use super::{items, look};
use crate::inside;
use crate::person::Person;

/// So many are said, as of places in reach before a command.
const LINES: usize = 8;

/// A rule that is offered.
pub(crate) struct Offered<'r> {
    name: &'r str,
    to: &'r [String],
    ports: &'r [String],
    action: &'r str,
}

/// Says what of that to whoever may look: nothing in a session, and nothing as root.
pub(crate) fn remarks<'r>(socket: &Path, rules: impl Iterator<Item = Offered<'r>>) -> Vec<String> {
    if inside::is_inside_of(socket) || geteuid().is_root() {
        return Vec::new();
    }
    let (dir, person) = (Path::new("."), Person::own());
    // Nothing waits for it, as a command does.
    let Ok(found) = look(dir, &person, Bounds::default()) else {
        return Vec::new();
    };
    // Where that is not known, nothing is.
    let dismissals = Dismissals::known(socket, None, &person, dir).unwrap_or_default();
    let is_dismissed = |one: &Finding| {
        let said = dismissals.of(one.host.as_str(), one.port, one.label);
        said.is_some()
    };
    let places = found.findings.into_iter();
    let places = places.filter(|one| one.label == Label::Production && !is_dismissed(one));
    open(&places.collect::<Vec<_>>(), rules)
}

/// A line for each rule, and the first place that it opens.
fn open<'r>(places: &[Finding], rules: impl Iterator<Item = Offered<'r>>) -> Vec<String> {
    let allow = Verdict::Allow.as_str();
    let opened = rules.filter(|rule| rule.action == allow).filter_map(|rule| {
        let mut opened = places.iter().filter(|one| rule.opens(one));
        let (first, more) = (opened.next()?, opened.count());
        let at = items::at(first.host.as_str(), first.port);
        let by = first.found.first().map(items::seen).unwrap_or_default();
        let more = match more {
            0 => String::new(),
            more => format!(", and to {more} more such places"),
        };
        Some(format!(
            "{:?} lets everything pass to {at}, which looks like production ({by}){more}: without the rule, write one that asks: guard discover --write NAME",
            rule.name
        ))
    });
    let mut lines: Vec<_> = opened.take(LINES + 1).collect();
    if lines.len() > LINES {
        lines.truncate(LINES);
        lines.push(
            "more of these rules let everything pass to what looks like production: guard discover"
                .to_owned(),
        );
    }
    lines
}

impl<'r> Offered<'r> {
    /// One for names, groups, addresses and prefixes, at these ports; none: all.
    pub(crate) const fn of(
        name: &'r str,
        to: &'r [String],
        ports: &'r [String],
        action: &'r str,
    ) -> Self {
        Self {
            name,
            to,
            ports,
            action,
        }
    }

    fn opens(&self, place: &Finding) -> bool {
        let is_port = |spec: &String| {
            let spec: Result<PortSpec, _> = spec.parse();
            spec.is_ok_and(|spec| {
                let own = PortSpec::one(Protocol::TCP, place.port);
                place.port == 0 || spec.intersection(&own).is_some()
            })
        };
        let is_open = self.ports.is_empty() || self.ports.iter().any(is_port);
        is_open && self.to.iter().any(|to| leads_to(to, place))
    }
}

/// Whether a rule for that is one for the place, or for a part of it.
fn leads_to(to: &str, place: &Finding) -> bool {
    let others = place.others.iter().map(String::as_str);
    let mut hosts = [place.host.as_str()].into_iter().chain(others);
    match to.parse() {
        Ok(Target::Name(name)) => hosts.any(|host| match host.parse() {
            Ok(Target::Wildcard(all)) => all.covers(&name),
            _ => host.eq_ignore_ascii_case(name.as_str()),
        }),
        Ok(Target::Wildcard(all)) => hosts.any(|host| match host.parse() {
            Ok(Target::Name(name)) => all.covers(&name),
            _ => host.eq_ignore_ascii_case(to),
        }),
        Ok(Target::Prefix(prefix)) => {
            let network = place.host.as_str().parse::<Prefix>();
            let known = place.addresses.iter().copied();
            let known = known.chain(place.host.address()).map(Prefix::from);
            known.chain(network).any(|own| own.meets(&prefix))
        }
        Ok(Target::Group(_)) | Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{SETTINGS, Tested, look_at};
    use super::*;

    fn said(rules: &[(&str, &str, &str)]) -> Tested<Vec<String>> {
        let found = look_at(&[(".env", SETTINGS)])?.findings;
        let found = found
            .into_iter()
            .filter(|one| one.label == Label::Production);
        let found: Vec<_> = found.collect();
        let lists: Vec<_> = rules
            .iter()
            .map(|(to, ports, action)| {
                let ports = ports.split_whitespace().map(str::to_owned);
                (vec![(*to).to_owned()], ports.collect::<Vec<_>>(), *action)
            })
            .collect();
        let rules = lists
            .iter()
            .map(|(to, ports, action)| Offered::of("one", to, ports, action));
        Ok(open(&found, rules))
    }

    #[test]
    fn a_rule_that_would_never_ask_about_production_is_named() -> Tested {
        let all = said(&[("db.example.net", "tcp/5432", "allow")])?;
        insta::assert_snapshot!(all.join("\n"), @r#""one" lets everything pass to db.example.net:5432, which looks like production (DATABASE_URL  .env:1): without the rule, write one that asks: guard discover --write NAME"#);
        for rule in [
            ("192.168.7.20/32", "tcp/2283", "allow"),
            ("192.168.7.0/24", "tcp", "allow"),
            ("192.168.7.20", "", "allow"),
            ("*.example.net", "tcp/5000-6000", "allow"),
        ] {
            assert_eq!(said(&[rule])?.len(), 1, "{rule:?}");
        }
        Ok(())
    }

    #[test]
    fn what_asks_or_leads_elsewhere_is_not() -> Tested {
        for rule in [
            ("db.example.net", "tcp/5432", "read-only"),
            ("db.example.net", "tcp/5432", "confirm"),
            ("db.example.net", "tcp/5433", "allow"),
            ("db.example.net", "udp", "allow"),
            ("other.example.net", "tcp/5432", "allow"),
            ("192.168.8.0/24", "tcp", "allow"),
            ("@dns", "udp/53", "allow"),
        ] {
            assert!(said(&[rule])?.is_empty(), "{rule:?}");
        }
        Ok(())
    }

    #[test]
    fn more_than_a_screen_is_counted() -> Tested {
        let many = [("db.example.net", "", "allow"); 20];
        let all = said(&many)?;
        assert_eq!(all.len(), LINES + 1);
        assert!(all[LINES].starts_with("more of these rules"), "{all:?}");
        Ok(())
    }
}
