//! What of a project's policy lets more through than another policy, and the policies that come of both.
//!
//! What is missed here has no effect: the project's policy judges beside the other one, and only rules all of which was found, and
//! shown, are ever added to that. A rule that has more in it is refused.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use guard_discover::Host;
use guard_policy::{
    self as policy, Action, AddressChange, Environment, HttpAction, HttpRule, Opens, Parsed,
    Policy, PortSpec, Prefix, Rule, Side, Target, format_duration,
};
use toml_edit::{Array, DocumentMut, InlineTable, Item, Table, Value, value};

use crate::discover::RuleByName;
use crate::discover::judge::{Judge, verdict};
use crate::policy::explain::environment_with;
use crate::render::escape;

/// Places that a person looks through, of one rule.
const MOST_PLACES: usize = 20;
/// Those that are named of the default.
const PLACES: usize = 3;
/// Characters of a rule's name.
const NAME: usize = 80;

/// What a project's policy lets through that another one does not.
#[derive(Debug, Default)]
pub(super) struct Widens {
    /// For a person, in the order of the file.
    pub(super) lines: Vec<WideningLine>,
    /// What does not, with its line.
    pub(super) narrow: Vec<String>,
    /// What stops nothing either.
    pub(super) neither: Vec<String>,
    /// All that widens, also what is too long for a line.
    all: String,
    /// Rules, by their order.
    rules: BTreeSet<usize>,
    /// The default.
    default: bool,
}

/// A line that lets more through.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WideningLine {
    /// From 1.
    pub(super) number: usize,
    /// What it does.
    pub(super) says: String,
}

impl Widens {
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// What a person agrees to, in words: in another network it may be something else, where the other policy has groups.
    pub(super) fn agreed(&self) -> &str {
        &self.all
    }
}

/// A place where more is let through.
struct WiderPlace {
    to: String,
    /// The verdict that held there.
    before: &'static str,
}

/// Where each rule lets more through; none: the default.
type WiderByRule = BTreeMap<Option<usize>, Vec<WiderPlace>>;
/// Where a rule does so.
type ShownReach = BTreeMap<usize, Vec<Reach>>;

/// Prefixes, and ports; none: all.
struct Reach {
    prefixes: Vec<Prefix>,
    ports: Vec<String>,
}

/// Compares them: without asking name servers, which could have another answer later.
///
/// # Errors
///
/// What is wrong with one of them, or that they do not fit together.
pub(super) fn widens(base: &Parsed, project: &Parsed) -> Result<Widens, String> {
    let (base_policy, own) = (&base.policy, &project.policy);
    let (mut found, shown) = by_address(base_policy, own)?;
    for (number, places) in by_name(base, own)? {
        found.entry(number).or_default().extend(places);
    }
    let mut widens = Widens::default();
    if let Some(line) = own.default_line {
        let places = found.remove(&None).unwrap_or_default();
        widens.default = !places.is_empty();
        let line = OwnLine {
            number: line,
            says: format!("default {}", own.default.as_str()),
            end: String::new(),
            opens: own.default == Action::Allow,
        };
        widens.add(&line, &places, PLACES);
    }
    for (number, rule) in own.rules.iter().enumerate() {
        let places = found.remove(&Some(number)).unwrap_or_default();
        if !places.is_empty() {
            let shown = shown.get(&number).map_or(&[][..], Vec::as_slice);
            is_shown_whole(rule, places.len(), shown)
                .map_err(|why| format!("rule {} lets more through, {why}", rule.name))?;
            widens.rules.insert(number);
        }
        let line = OwnLine {
            number: rule.line,
            says: format!("rule {}: {}", rule.name, rule.action.as_str()),
            end: beats(base_policy, rule),
            opens: rule.action == Action::Allow && rule.http.is_empty() && !rule.by_sni,
        };
        widens.add(&line, &places, MOST_PLACES);
    }
    widens.lines.sort_by_key(|line| line.number);
    Ok(widens)
}

/// A line of the project's policy: a rule, or the default.
struct OwnLine {
    number: usize,
    /// What it does.
    says: String,
    /// What stands at its end.
    end: String,
    /// Whether it could do nothing but let through.
    opens: bool,
}

impl Widens {
    /// One line for each verdict that held before, the strictest first, with so many places at most.
    fn add(&mut self, line: &OwnLine, places: &[WiderPlace], most: usize) {
        let OwnLine {
            number, says, end, ..
        } = line;
        if places.is_empty() {
            let lines = if line.opens {
                &mut self.neither
            } else {
                &mut self.narrow
            };
            lines.push(format!("{number}  {says}"));
            return;
        }
        let mut by_verdict: BTreeMap<_, Vec<&str>> = BTreeMap::new();
        for place in places {
            let strictness = verdict(place.before).strictness();
            let places = by_verdict.entry((Reverse(strictness), place.before));
            places.or_default().push(&place.to);
        }
        for ((_, before), places) in by_verdict {
            let shown = places[..places.len().min(most)].join(", ");
            let more = match places.len().saturating_sub(most) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            self.all += &format!(
                "{number} {says} in place of {before} for {}{end}\n",
                places.join(", ")
            );
            let says = format!("{says} in place of {before} for {shown}{more}{end}");
            self.lines.push(WideningLine {
                number: *number,
                says,
            });
        }
    }
}

/// What is to be said of a rule for addresses that a stricter one by name may be for: nobody looked that name up.
fn beats(base: &Policy, rule: &Rule) -> String {
    let is_address = |to: &Target| matches!(to, Target::Prefix(prefix) if prefix.is_host());
    let beats = RuleByName::beaten(base, rule.action, "", rule.ports.iter());
    let beats = beats.filter(|_| rule.to.iter().any(is_address));
    beats.map_or_else(String::new, |by| format!("; {}", by.words()))
}

/// Whether all that a rule does is in its lines: it is taken as a whole, and has an effect also where it was not found to widen.
fn is_shown_whole(rule: &Rule, places: usize, shown: &[Reach]) -> Result<(), String> {
    let is_name = |to: &Target| matches!(to, Target::Name(_) | Target::Wildcard(_));
    let allows = |http: &HttpRule| http.action == HttpAction::Allow;
    let moves = rule.to.iter().find_map(|to| match to {
        Target::Group(group) if group.is_of_machine() => Some(group.as_str()),
        _ => None,
    });
    if let Some(group) = moves {
        Err(format!(
            "and has {group}, which is something else in another network: write its prefixes"
        ))
    } else if rule.to.iter().any(is_name) {
        Err(
            "and has names, which lead wherever their owner says: only a policy of your own may open names"
                .to_owned(),
        )
    } else if rule.max_hole.is_some() {
        Err("and says how long holes are: take out `max_hole`".to_owned())
    } else if rule.http.iter().any(allows) || !rule.profiles.is_empty() {
        Err("and lets requests through by `http` or `profile`: only a policy of your own may say that".to_owned())
    } else if !rule.to.iter().all(|to| is_shown(to, &rule.ports, shown)) {
        Err(
            "and not for all of its addresses and ports: take out those that pass anyway, here and now"
                .to_owned(),
        )
    } else if places > MOST_PLACES {
        Err(format!(
            "at {places} places, which nobody looks through: write wider prefixes, or fewer"
        ))
    } else {
        Ok(())
    }
}

/// Whether, at each port, a place that is shown has to do with it.
fn is_shown(to: &Target, ports: &[PortSpec], shown: &[Reach]) -> bool {
    let prefixes = match to {
        Target::Prefix(prefix) => vec![*prefix],
        Target::Group(group) => group.prefixes(&Environment::default()),
        Target::Name(_) | Target::Wildcard(_) => return false,
    };
    let meets = |place: &&Reach| {
        let mut all = prefixes
            .iter()
            .flat_map(|one| place.prefixes.iter().map(move |other| (one, other)));
        all.any(|(one, other)| one.contains(other) || other.contains(one))
    };
    let at: Vec<_> = shown.iter().filter(meets).collect();
    let whole = at.iter().any(|place| place.ports.is_empty());
    let is_at = |port: &PortSpec| {
        let port = port.to_string();
        at.iter().any(|place| place.ports.contains(&port))
    };
    whole || !ports.is_empty() && ports.iter().all(is_at)
}

/// What no rule of a file can be called: its number among the project's.
fn mark(number: usize) -> String {
    format!("\n{number}")
}

fn number(mark: &str) -> Option<usize> {
    mark.strip_prefix('\n')?.parse().ok()
}

/// What changes from one policy to another, without asking name servers.
fn changes(from: &Policy, to: &Policy) -> Result<Vec<AddressChange>, String> {
    let environment = environment_with(BTreeMap::new());
    let compiled = |policy: &Policy| {
        policy::compile(policy, &environment).map_err(|wrong| {
            let first = wrong.first().map(|one| one.message.clone());
            first.unwrap_or_else(|| "it cannot be compiled".to_owned())
        })
    };
    let (before, after) = (compiled(from)?, compiled(to)?);
    let side = |policy, compiled| Side { policy, compiled };
    Ok(policy::diff(side(from, &before), side(to, &after)))
}

/// The base with what of `own` has an address, whose rules are [marked](mark) by number.
fn with_addresses(base: &Policy, own: &Policy) -> Policy {
    let mut both = base.clone();
    if own.default_line.is_some() {
        both.default = own.default;
    }
    let has_address = |to: &&Target| matches!(to, Target::Prefix(_) | Target::Group(_));
    for (number, rule) in own.rules.iter().enumerate() {
        let to: Vec<_> = rule.to.iter().filter(has_address).cloned().collect();
        if !to.is_empty() {
            both.rules.push(Rule {
                name: mark(number),
                to,
                ..rule.clone()
            });
        }
    }
    both
}

/// Exactly, for all that has an address; and the prefixes of each rule where it does.
fn by_address(base: &Policy, own: &Policy) -> Result<(WiderByRule, ShownReach), String> {
    let both = with_addresses(base, own);
    let (mut found, mut shown) = (WiderByRule::new(), ShownReach::new());
    for change in changes(base, &both)? {
        if change.opens != Opens::More {
            continue;
        }
        for rule in &change.after_rules {
            let number = match rule {
                None => None,
                Some(rule) => match number(rule) {
                    Some(number) => Some(number),
                    None => continue,
                },
            };
            let to = if change.ports.is_empty() {
                change.destination.clone()
            } else {
                format!("{} {}", change.destination, change.ports.join(" "))
            };
            found.entry(number).or_default().push(WiderPlace {
                to,
                before: change.before,
            });
            if let Some(number) = number {
                shown.entry(number).or_default().push(Reach {
                    prefixes: change.prefixes.clone(),
                    ports: change.ports.clone(),
                });
            }
        }
    }
    Ok((found, shown))
}

/// For names: by what the other policy says of the name, and of addresses like those that it may have.
fn by_name(base: &Parsed, own: &Policy) -> Result<WiderByRule, String> {
    let mut named: Vec<(usize, &Rule, String, Host)> = Vec::new();
    for (number, rule) in own.rules.iter().enumerate() {
        for to in &rule.to {
            let name = match to {
                Target::Name(name) => name.to_string(),
                Target::Wildcard(below) => below.to_string().replacen('*', "any", 1),
                Target::Prefix(_) | Target::Group(_) => continue,
            };
            let host = Host::parse(&name).ok_or_else(|| format!("{name} is no name"))?;
            named.push((number, rule, to.to_string(), host));
        }
    }
    let hosts = named.iter().map(|(_, _, _, host)| (host, &[][..]));
    let judge = Judge::new(base, hosts)
        .map_err(|_| "the policy that it would narrow cannot be compiled".to_owned())?;
    let mut found = WiderByRule::new();
    for (number, rule, shown, host) in &named {
        let ports: Vec<_> = match rule.ports.as_slice() {
            [] => ["tcp", "udp", "icmp"].map(str::to_owned).to_vec(),
            ports => ports.iter().map(ToString::to_string).collect(),
        };
        let all = ports.iter();
        let all = all.flat_map(|ports| judge.explained(host.as_str(), ports));
        let strictest = all.map(|one| verdict(&one.verdict));
        let strictest = strictest.max_by_key(|verdict| verdict.strictness());
        let stricter = strictest.filter(|was| was.strictness() > rule.action.strictness());
        if let Some(was) = stricter {
            found.entry(Some(*number)).or_default().push(WiderPlace {
                to: shown.clone(),
                before: was.as_str(),
            });
        }
    }
    Ok(found)
}

/// The project's policy as it judges beside another one: whatever it does not speak of is left to that. It has the name of that, by
/// which people may be let answer.
///
/// # Errors
///
/// Where it is no TOML.
pub(super) fn beside(project: &str, base: &Policy) -> Result<String, String> {
    let mut document: DocumentMut = project.parse().map_err(|error| format!("{error}"))?;
    let mut names = 0..;
    for_each_rule(&mut document, &mut |rule| {
        let number = names.next().unwrap_or_default();
        let name = named(number, rule.get("name"));
        rule.insert("name", name);
    });
    document.insert("name", value(base.name.as_str()));
    let unix = (!base.unix.is_empty()).then(|| {
        let sockets = base.unix.iter().map(|name| Value::from(name.to_string()));
        let mut unix = Table::new();
        unix.insert("allow", Item::Value(sockets.collect::<Array>().into()));
        Item::Table(unix)
    });
    let most = base.max_hole.map(|most| value(format_duration(most)));
    let absent = [
        ("default", Some(value(Action::Allow.as_str()))),
        ("hold", Some(value(format_duration(base.hold)))),
        ("inbound", Some(value(base.inbound))),
        ("max_hole", most),
        ("unix", unix),
    ];
    for (key, item) in absent {
        if let (Some(item), false) = (item, document.contains_key(key)) {
            document.insert(key, item);
        }
    }
    Ok(document.to_string())
}

/// Whether a policy that judges beside another one is sure to stop nothing that the other lets pass, of what can be compared:
/// addresses, ports and plain verdicts. What has more in it may narrow.
///
/// # Errors
///
/// What is wrong with one of them.
pub(super) fn stops_nothing_more(
    base: &Policy,
    own: &Policy,
    beside: &Policy,
) -> Result<bool, String> {
    let is_name = |to: &Target| matches!(to, Target::Name(_) | Target::Wildcard(_));
    let has_name = |policy: &Policy| policy.rules.iter().any(|rule| rule.to.iter().any(is_name));
    let has_more =
        |rule: &Rule| rule.action == Action::ReadOnly || rule.max_hole.is_some() || rule.by_sni;
    let same = |policy: &Policy| {
        let Policy {
            hold,
            inbound,
            max_hole,
            unix,
            ..
        } = policy;
        (*hold, *inbound, *max_hole, unix.clone())
    };
    // A name that the other policy lets pass has addresses for which a rule here may be stricter.
    let is_compared = own.dns_names.is_none()
        && same(beside) == same(base)
        && !own.rules.iter().any(has_more)
        && (own.rules.is_empty() || !has_name(own) && !has_name(base));
    if !is_compared {
        return Ok(false);
    }
    let changes = changes(base, beside)?;
    Ok(changes.iter().all(|change| change.opens == Opens::More))
}

/// The other policy with all that widens it.
///
/// # Errors
///
/// Where one of them is no TOML.
pub(super) fn merged(
    base: &str,
    base_policy: &Policy,
    project: &str,
    widens: &Widens,
) -> Result<String, String> {
    let parse = |text: &str| {
        text.parse::<DocumentMut>()
            .map_err(|error| error.to_string())
    };
    let (mut document, mut project) = (parse(base)?, parse(project)?);
    // Holes last no longer there than before.
    let of_rules = base_policy.rules.iter().filter_map(|rule| rule.max_hole);
    let least = of_rules.chain(base_policy.max_hole).min();
    let mut rules = rules(document.remove("rule"));
    for (number, mut rule) in self::rules(project.remove("rule")).into_iter().enumerate() {
        if widens.rules.contains(&number) {
            let name = named(number, rule.get("name"));
            rule.insert("name", name);
            if let Some(least) = least {
                rule.insert("max_hole", format_duration(least).into());
            }
            // Nobody was shown it, and it becomes a rule of the policy.
            if let Some(reason) = rule.get("reason").and_then(Value::as_str) {
                let says = format!("the project says {reason:?}");
                rule.insert("reason", says.into());
            }
            rules.push(rule);
        }
    }
    if let (true, Some(default)) = (widens.default, project.get("default")) {
        document.insert("default", default.clone());
    }
    document.insert("name", value(base_policy.name.as_str()));
    let rules: Array = rules.into_iter().map(Value::InlineTable).collect();
    document.insert("rule", value(rules));
    Ok(document.to_string())
}

/// A rule's name, by which a person sees whose rule it is. No two are the same, here and in a policy. One of several words is in quotes:
/// what stands behind a name says what the rule does.
fn named(number: usize, name: Option<&Value>) -> Value {
    let name = match name.and_then(Value::as_str) {
        Some(name) if escape::is_word(name) => cut(name),
        Some(name) => escape::quoted(&cut(name)),
        None => format!("rule {}", number + 1),
    };
    format!(".guard.toml: {name}").into()
}

fn cut(name: &str) -> String {
    name.chars().take(NAME).collect()
}

/// The rules of a document, however they are written.
fn rules(item: Option<Item>) -> Vec<InlineTable> {
    let array = item.and_then(|item| item.into_value().ok());
    let Some(Value::Array(array)) = array else {
        return Vec::new();
    };
    let tables = array.into_iter().filter_map(|rule| match rule {
        Value::InlineTable(table) => Some(table),
        _ => None,
    });
    tables.collect()
}

/// A rule's table.
trait RuleTable {
    fn get(&self, key: &str) -> Option<&Value>;
    fn insert(&mut self, key: &str, to: Value);
}

impl RuleTable for Table {
    fn get(&self, key: &str) -> Option<&Value> {
        Self::get(self, key).and_then(Item::as_value)
    }

    fn insert(&mut self, key: &str, to: Value) {
        Self::insert(self, key, Item::Value(to));
    }
}

impl RuleTable for InlineTable {
    fn get(&self, key: &str) -> Option<&Value> {
        Self::get(self, key)
    }

    fn insert(&mut self, key: &str, to: Value) {
        Self::insert(self, key, to);
    }
}

fn for_each_rule(document: &mut DocumentMut, change: &mut dyn FnMut(&mut dyn RuleTable)) {
    match document.get_mut("rule") {
        Some(Item::ArrayOfTables(rules)) => rules.iter_mut().for_each(|rule| change(rule)),
        Some(Item::Value(Value::Array(rules))) => {
            let tables = rules.iter_mut().filter_map(Value::as_inline_table_mut);
            tables.for_each(|rule| change(rule));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use guard_policy::SHIPPED;

    use super::*;

    fn parsed(text: &str) -> Parsed {
        policy::parse("a.toml", text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}"))
    }

    fn shipped(name: &str) -> &'static str {
        let found = SHIPPED.iter().find(|(shipped, _)| *shipped == name);
        found.map(|(_, text)| *text).unwrap()
    }

    fn lines(base: &str, project: &str) -> Vec<String> {
        let widens = widens(&parsed(base), &parsed(project)).unwrap();
        let lines = widens.lines.iter();
        lines
            .map(|line| format!("{} {}", line.number, line.says))
            .collect()
    }

    #[test]
    fn what_is_stricter_narrows_and_what_is_laxer_widens() {
        let default = shipped("default");
        for project in [
            "",
            "version = 1\n",
            "default = \"deny\"\n",
            "default = \"allow\"\n",
            "[[rule]]\nto = [\"192.0.2.10\"]\naction = \"deny\"\n",
            "[[rule]]\nto = [\"10.1.2.3\"]\nports = [\"tcp/443\"]\naction = \"confirm\"\n",
            "[[rule]]\nto = [\"db.example.net\", \"*.example.org\"]\naction = \"confirm\"\n",
        ] {
            assert_eq!(lines(default, project), [""; 0], "{project}");
        }
        let project = "[[rule]]\nname = \"nas\"\nto = [\"10.1.2.0/24\"]\nports = [\"tcp/443\"]\naction = \"allow\"\n\
            [[rule]]\nto = [\"192.0.2.10\"]\naction = \"deny\"\n\
            [[rule]]\nto = [\"10.1.3.4\"]\naction = \"read-only\"\n";
        insta::assert_snapshot!(lines(default, project).join("\n"), @r"
        1 rule nas: allow in place of confirm for 10.1.2.0/24 tcp/443
        9 rule rule 3: read-only in place of confirm for 10.1.3.4
        ");
        let closed = "default = \"deny\"\n[[rule]]\nto = [\"192.0.2.0/24\"]\naction = \"allow\"\n";
        assert_eq!(lines(closed, "default = \"confirm\"\n").len(), 1);
    }

    #[test]
    fn a_rule_by_name_that_an_address_may_open_is_said() {
        let nas = "[[rule]]\nname = \"nas\"\nto = [\"nas.home.arpa\"]\naction = \"deny\"\n";
        let base = format!("{}\n{nas}", shipped("default"));
        let opens = |to: &str, more: &str| {
            lines(
                &base,
                &format!("[[rule]]\nto = [\"{to}\"]\n{more}action = \"allow\"\n"),
            )
        };
        let web = "ports = [\"tcp/443\"]\n";
        assert_eq!(
            opens("192.168.7.5", web),
            [
                "1 rule rule 1: allow in place of confirm for 192.168.7.5 tcp/443; rule nas, deny, is for nas.home.arpa, which may be there: it was not looked up"
            ]
        );
        // Of equal ports the stricter decides, and a longer prefix whatever its ports.
        for (to, more) in [("192.168.7.5", ""), ("192.168.7.0/24", web)] {
            let lines = opens(to, more);
            assert!(!lines[0].contains("nas"), "{lines:?}");
        }
    }

    #[test]
    fn an_allow_without_an_effect_is_not_said_to_narrow() {
        let base = parsed(
            "default = \"allow\"\n[[rule]]\nname = \"photos\"\nto = [\"192.0.2.10\"]\naction = \"read-only\"\n",
        );
        let project = "default = \"allow\"\n\
            [[rule]]\nname = \"web\"\nto = [\"192.0.2.11\"]\naction = \"allow\"\n\
            [[rule]]\nname = \"db\"\nto = [\"192.0.2.12\"]\naction = \"confirm\"\n\
            [[rule]]\nname = \"tls\"\nto = [\"www.example.net\"]\ntls = \"name\"\naction = \"allow\"\n";
        let found = widens(&base, &parsed(project)).unwrap();
        assert_eq!(found.neither, ["1  default allow", "2  rule web: allow"]);
        assert_eq!(found.narrow, ["6  rule db: confirm", "10  rule tls: allow"]);
    }

    #[test]
    fn what_stops_nothing_more_is_told_from_what_narrows() {
        let stops_nothing_more = |base: &str, project: &str| {
            let (base, own) = (parsed(base).policy, parsed(project).policy);
            let beside = parsed(&beside(project, &base).unwrap()).policy;
            super::stops_nothing_more(&base, &own, &beside).unwrap()
        };
        let default = shipped("default");
        let rule = |to: &str, more: &str| format!("[[rule]]\nto = [\"{to}\"]\n{more}\n");
        for project in [
            "",
            "version = 1\n",
            "default = \"allow\"\n",
            "hold = \"60s\"\n",
            &rule("10.1.2.3", "action = \"confirm\""),
            &rule("@metadata", "action = \"deny\""),
            &rule("192.0.2.10", "action = \"allow\""),
        ] {
            assert!(stops_nothing_more(default, project), "{project}");
        }
        for project in [
            "default = \"confirm\"\n",
            "hold = \"5s\"\n",
            "inbound = false\n",
            "max_hole = \"5m\"\n",
            "[dns]\nnames = \"ask\"\n",
            "[unix]\nallow = []\n[[rule]]\nto = [\"192.0.2.10\"]\naction = \"deny\"\n",
            &rule("192.0.2.10", "action = \"deny\""),
            &rule("10.1.2.3", "action = \"deny\""),
            &rule("10.1.2.3", "action = \"confirm\"\nmax_hole = \"1m\""),
            &rule("db.example.net", "action = \"confirm\""),
        ] {
            assert!(!stops_nothing_more(default, project), "{project}");
        }
        // The name's address, wherever it is, would be asked about.
        let named = format!(
            "{default}{}",
            rule("db.example.net", "private = true\naction = \"allow\"")
        );
        let project = rule("10.0.0.0/8", "action = \"confirm\"");
        assert!(!stops_nothing_more(&named, &project));
    }

    #[test]
    fn a_rule_is_agreed_to_only_where_all_of_it_is_shown() {
        let base = "default = \"confirm\"\n\
            [[rule]]\nname = \"open\"\nto = [\"10.66.0.0/16\"]\naction = \"allow\"\n\
            [[rule]]\nname = \"ro\"\nto = [\"10.99.0.0/16\"]\nports = [\"tcp/443\", \"tcp/8081\"]\naction = \"read-only\"\nmax_hole = \"5m\"\n\
            [[rule]]\nname = \"prod\"\nto = [\"10.88.0.0/24\"]\naction = \"deny\"\n";
        let refused = |rule: &str| {
            let project = format!("[[rule]]\nname = \"nas\"\n{rule}\n");
            widens(&parsed(base), &parsed(&project)).unwrap_err()
        };
        for (rule, why) in [
            (
                "to = [\"10.77.1.1\", \"evil.example.com\"]\naction = \"allow\"",
                "has names",
            ),
            (
                "to = [\"docs.evil.example.com\"]\nports = [\"tcp/5432\"]\naction = \"allow\"",
                "has names",
            ),
            (
                "to = [\"*.evil.example.com\"]\nprivate = true\naction = \"allow\"",
                "has names",
            ),
            (
                "to = [\"10.77.1.1\"]\naction = \"allow\"\nmax_hole = \"720h\"",
                "`max_hole`",
            ),
            (
                "to = [\"10.99.0.5\"]\nports = [\"tcp/443\", \"tcp/9999\"]\naction = \"read-only\"",
                "not for all of its addresses and ports",
            ),
            (
                "to = [\"10.77.1.1\", \"10.99.0.5\"]\nports = [\"tcp/8081\"]\naction = \"read-only\"\n\
                 [[rule.http]]\nmethod = [\"POST\"]\npath = \"/*\"\naction = \"allow\"",
                "`http`",
            ),
            (
                "to = [\"10.77.1.1\"]\nports = [\"tcp/443\"]\naction = \"read-only\"\nprofile = \"docker\"",
                "`profile`",
            ),
            (
                "to = [\"10.77.1.1\", \"@on-link\"]\naction = \"allow\"",
                "@on-link",
            ),
            ("to = [\"10.77.1.1\", \"@dns\"]\naction = \"allow\"", "@dns"),
            (
                "to = [\"10.77.1.1\", \"10.66.0.0/16\"]\naction = \"allow\"",
                "not for all of its addresses",
            ),
        ] {
            let said = refused(rule);
            assert!(
                said.contains("rule nas") && said.contains(why),
                "{rule}: {said}"
            );
        }
        let many: Vec<_> = (0..30).map(|host| format!("\"10.77.{host}.1\"")).collect();
        let many = format!("to = [{}]\naction = \"allow\"", many.join(", "));
        assert!(refused(&many).contains("30 places"));
        // What was denied comes first, and is named.
        let all = "[[rule]]\nname = \"nas\"\nto = [\"10.77.1.1\", \"10.77.1.3\", \"10.77.1.5\", \"10.88.0.0/28\"]\naction = \"allow\"\n";
        insta::assert_snapshot!(lines(base, all).join("\n"), @r"
        1 rule nas: allow in place of deny for 10.88.0.0/28
        1 rule nas: allow in place of confirm for 10.77.1.1, 10.77.1.3, 10.77.1.5
        ");
    }

    #[test]
    fn what_judges_beside_leaves_all_that_it_does_not_name_to_the_other() {
        let base = parsed(
            "name = \"shop\"\nhold = \"5s\"\ninbound = false\nmax_hole = \"3h\"\n[unix]\nallow = [\"/run/a.sock\"]\n",
        );
        for project in [
            "[[rule]]\nname = \"db\"\nto = [\"192.0.2.10\"]\naction = \"deny\"\n",
            "rule = [{ name = \"db\", to = [\"192.0.2.10\"], action = \"deny\" }]\n",
        ] {
            let text = beside(project, &base.policy).unwrap();
            let beside = parsed(&text).policy;
            assert_eq!(beside.default, Action::Allow);
            assert_eq!(beside.rules[0].name, ".guard.toml: db");
            let words = project.replace("\"db\"", "'db (deny): \"ask ops\"'");
            let words = parsed(&super::beside(&words, &base.policy).unwrap()).policy;
            let name = ".guard.toml: \"db (deny): \\\"ask ops\\\"\"";
            assert_eq!(words.rules[0].name, name);
            let of = |policy: &Policy| {
                let Policy {
                    name,
                    hold,
                    inbound,
                    max_hole,
                    unix,
                    ..
                } = policy.clone();
                (name, hold, inbound, max_hole, unix)
            };
            assert_eq!(of(&beside), of(&base.policy), "{text}");
        }
        let named = beside("name = \"homelab\"\ndefault = \"deny\"\n", &base.policy).unwrap();
        let named = parsed(&named).policy;
        assert_eq!((&*named.name, named.default), ("shop", Action::Deny));
    }

    #[test]
    fn only_what_widens_is_added_to_the_policy() {
        for base in [
            shipped("default"),
            "rule = [{ to = [\"10.0.0.0/8\"], action = \"deny\" }]\n",
        ] {
            let project = "# A comment.\ndefault = \"deny\"\n\
                [[rule]]\nname = \"no\"\nto = [\"192.0.2.10\"]\naction = \"deny\"\n\
                [[rule]]\nto = [\n  # Why.\n  \"10.1.2.3\",\n]\naction = \"read-only\" # So.\nreason = \"say yes\"\n\
                [[rule.http]]\nmethod = [\"PUT\"]\npath = \"/api/*\"\naction = \"deny\"\n";
            let (base_parsed, own) = (parsed(base), parsed(project));
            let found = widens(&base_parsed, &own).unwrap();
            let text = merged(base, &base_parsed.policy, project, &found).unwrap();
            let both = parsed(&text).policy;
            let before = &base_parsed.policy;
            assert_eq!(both.default, before.default);
            assert_eq!(both.rules.len(), before.rules.len() + 1, "{text}");
            let added = both.rules.last().unwrap();
            assert_eq!(added.name, ".guard.toml: rule 2");
            let reason = added.reason.as_deref();
            assert_eq!(reason, Some("the project says \"say yes\""));
            assert_eq!(added.http, own.policy.rules[1].http);
            assert_eq!(added.max_hole, before.max_hole);
        }
    }
}
