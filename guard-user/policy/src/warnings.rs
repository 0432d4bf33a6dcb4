//! What is allowed, and may not do what its author thinks.

use std::{
    net::{IpAddr, Ipv4Addr},
    ops::Range,
    time::Duration,
};

use guard_common::{DNS_PORT, Protocol, Verdict};
use toml::de::DeTable;

use super::{
    coverage::{Met, over},
    diagnostic::{Diagnostic, Lines, Severity},
    diff::Side,
    duration::format_duration,
    group::Group,
    invalid::{Invalid, quoted},
    model::{Action, DnsNames, Environment, LONGEST_HOLD, Policy, Rule, SourceSpan},
    name::{DomainName, Wildcard},
    prefix::Prefix,
    slips::Slip,
    source::{Source, TomlValue},
    target::{Ambiguous, Target},
    zones,
};

/// DNS over TLS and over QUIC (RFC 7858, RFC 9250).
const SECURE_DNS: u16 = 853;

/// The lines, by their beginnings, around the rules that `guard discover --write` adds to a policy.
pub const WRITTEN: [&str; 2] = ["# >>> guard discover", "# <<< guard discover"];

/// What is between those lines, in bytes; none where the text lacks one of them.
#[must_use]
pub fn written(text: &str) -> Option<Range<usize>> {
    let [begins, ends] = WRITTEN.map(|line| format!("\n{line}"));
    let start = text.find(&begins)? + 1;
    let end = text[start..].find(&ends)? + start + 1;
    Some(start..end)
}

/// Warns of wildcards that are stricter than the default: they hold for what programs ask for by name. Not of those that guard has
/// written itself, once a person had agreed. Whoever writes those lines silences nothing about what is let pass.
pub(super) fn wildcards<'s>(
    source: &mut Source<'s>,
    to: &TomlValue<'s>,
    action: Action,
    default: Action,
) {
    let wildcard = |text: &&str| text.starts_with('*') && text.parse::<Wildcard>().is_ok();
    for item in to.get_ref().as_array().into_iter().flatten() {
        if let Some(text) = item.get_ref().as_str().filter(wildcard)
            && action.strictness() > default.strictness()
            && !source.is_written(&item.span())
        {
            source.warn(item.span(), by_address(text, action, default));
        }
    }
}

fn by_address(text: &str, action: Action, default: Action) -> Invalid {
    let (text, wanted, given) = (quoted(text), action.as_str(), default.as_str());
    Invalid::new(format!(
        "{text} holds for who asks for such a name: who knows the address, as by DNS over HTTPS, gets `{given}`, the default, instead of `{wanted}`"
    ))
    .help("list the addresses as well, or write `default = \"deny\"`")
}

/// Warns of wildcards that let programs reach what strangers have put there. What is stricter than the default lets nothing there that
/// would not go without it.
pub(super) fn zones_of_strangers<'s>(
    source: &mut Source<'s>,
    to: &TomlValue<'s>,
    action: Action,
    default: Action,
) {
    if action.strictness() > default.strictness() {
        return;
    }
    for item in to.get_ref().as_array().into_iter().flatten() {
        // Of a hundred thousand addresses none is worth an error's words.
        let text = item.get_ref().as_str().filter(|text| text.starts_with('*'));
        let wildcard = text.map(str::parse::<Wildcard>);
        let Some(Ok(wildcard)) = wildcard.filter(|_| action != Verdict::Deny) else {
            continue;
        };
        if let Some(warning) = zones::warning(wildcard.below()) {
            let help = "list the names that are meant, as in \"yours.example.com\"";
            source.warn(item.span(), Invalid::new(warning).help(help));
        }
    }
}

/// Warns of names that are denied while addresses are open: a name may have others than it had when it was resolved.
pub(super) fn denied_names<'s>(
    source: &mut Source<'s>,
    value: &TomlValue<'s>,
    to: &[Target],
    action: Action,
    default: Action,
) {
    let by_address = |target: &Target| matches!(target, Target::Prefix(_) | Target::Group(_));
    if (action, default) != (Verdict::Deny, Verdict::Allow) || to.iter().any(by_address) {
        return;
    }
    for item in value.get_ref().as_array().into_iter().flatten() {
        let text = item.get_ref().as_str().unwrap_or_default();
        // Of a slip there is more to say.
        if text.parse::<DomainName>().is_ok() && Slip::of(text).is_none() {
            let text = quoted(text);
            let warning = Invalid::new(format!(
                "{text} is denied at the addresses that it resolves to: whoever knows another one of it, as by DNS over HTTPS, gets `allow`, the default"
            ));
            let help = "list its prefixes as well, or write `default = \"deny\"`";
            source.warn(item.span(), warning.help(help));
        }
    }
}

/// What is to be said of `private` where there is no name.
pub(super) fn no_names() -> Invalid {
    Invalid::new("`private` is about names, and `to` has none: it changes nothing here")
        .help("remove it: an address is what it is")
}

/// What is to be said of sockets at paths that anybody can make.
pub(super) fn anybodys_sockets() -> Invalid {
    Invalid::new("anybody can make such a path: an earlier session may have left a link there to another socket")
        .help("name a directory that the agent cannot write to, as in `/run/postgresql/*`")
}

/// What is to be said of `search` where nobody is asked about names.
pub(super) fn nothing_asked() -> Invalid {
    Invalid::new("`search` is about names that a person would be asked about, and nobody is: it changes nothing here")
        .help("write `names = \"ask\"` in `[dns]`, or remove it")
}

/// What is to be said of a time for which no connection is held.
pub(super) fn longer_than_held(hold: Duration) -> Invalid {
    let (most, hold) = (format_duration(LONGEST_HOLD), format_duration(hold));
    Invalid::new(format!(
        "connections and questions for names are held for {most} at most: only HTTP requests and SQL statements for {hold}"
    ))
    .help(format!("write `{most}` unless that is meant"))
}

/// Warns of questions that go past the guard's resolver, where names count.
pub(super) fn secure_dns(source: &mut Source<'_>, rules: &[Rule], speaks_of_names: bool) {
    let is_name = |target: &Target| matches!(target, Target::Name(_) | Target::Wildcard(_));
    if !speaks_of_names && !rules.iter().any(|rule| rule.to.iter().any(is_name)) {
        return;
    }
    let lets_it_pass = |rule: &&Rule| {
        let is_named = rule.ports.iter().any(|spec| {
            spec.width() < SECURE_DNS
                && [Protocol::TCP, Protocol::UDP]
                    .into_iter()
                    .any(|protocol| spec.covers(protocol, SECURE_DNS))
        });
        let is_whole = rule.ports.is_empty() && rule.to.contains(&Target::Group(Group::Dns));
        rule.action != Verdict::Deny && (is_named || is_whole)
    };
    for rule in rules.iter().filter(lets_it_pass) {
        let warning = Invalid::new(
            "questions to port 853 (DNS over TLS) are not judged by name, and their answers open nothing",
        );
        let help = "write `ports = [\"udp/53\", \"tcp/53\"]` for name servers";
        source.warn(rule.place.span.clone(), warning.help(help));
    }
}

/// The resolvers that browsers and programs have built in.
const PUBLIC_RESOLVERS: [IpAddr; 5] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(1, 0, 0, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 4, 4)),
    IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
];

/// Warns of questions that `default = "allow"` lets go past `[dns] names`: to a public resolver, over HTTPS or TLS. Whoever stops
/// connections to one of those has thought of them.
pub(super) fn dns_over_https(source: &mut Source<'_>, policy: &Policy, root: &DeTable<'_>) {
    let judges = matches!(policy.dns_names, Some(DnsNames::Ask | DnsNames::Rules));
    let is_one = |target: &Target| match target {
        Target::Prefix(prefix) => {
            let mut all = PUBLIC_RESOLVERS.iter();
            all.any(|address| prefix.covers(&(*address).into()))
        }
        Target::Group(group) => *group == Group::Public,
        Target::Name(_) | Target::Wildcard(_) => false,
    };
    let stops = |rule: &Rule| rule.action != Verdict::Allow && rule.to.iter().any(is_one);
    if !judges || policy.default != Verdict::Allow || policy.rules.iter().any(stops) {
        return;
    }
    let dns = root.get("dns").and_then(|dns| dns.get_ref().as_table());
    let Some(names) = dns.and_then(|dns| dns.get("names")) else {
        return;
    };
    let warning = Invalid::new(
        "questions to a public resolver over HTTPS (tcp/443) or TLS (port 853) are not judged by name: the default allows them",
    );
    let help =
        "write `default = \"deny\"` or `\"confirm\"`, or rules for the resolvers that are meant";
    source.warn(names.span(), warning.help(help));
}

/// Warns of IPv6 addresses whose end reads as a port: a rule for another address than its author means holds for nobody.
pub(super) fn ports_without_brackets<'s>(source: &mut Source<'s>, to: &TomlValue<'s>) {
    for item in to.get_ref().as_array().into_iter().flatten() {
        if let Some(ambiguous) = item.get_ref().as_str().and_then(Ambiguous::of) {
            source.warn(item.span(), ambiguous.in_a_policy());
        }
    }
}

/// Warns of `::/0` and the like, which look like IPv6 alone: IPv4 lies in them.
pub(super) fn both_families<'s>(source: &mut Source<'s>, value: &TomlValue<'s>, to: &[Target]) {
    let wide = |target: &Target| match target {
        Target::Prefix(prefix) => *prefix != Prefix::IPV4 && prefix.contains(&Prefix::IPV4),
        _ => false,
    };
    // Where an entry was wrong the two lists differ in length, and an error was said.
    let mut items = value.get_ref().as_array().into_iter().flatten().zip(to);
    let Some((item, _)) = items.find(|(_, target)| wide(target)) else {
        return;
    };
    if !to.contains(&Target::Prefix(Prefix::IPV4)) {
        let help = "add \"0.0.0.0/0\" where that is meant, else write \"2000::/3\"";
        let warning = Invalid::new("this prefix has all IPv4 addresses in it too");
        source.warn(item.span(), warning.help(help));
    }
}

/// Warns, once, of cloud metadata and private networks that `default = "allow"` lets pass, as no rule speaks of them: the policy
/// `default`, which most take for the rest of theirs, does not. A rule that allows them is no oversight, and neither is what the policy `around`
/// does not let through.
#[must_use]
pub fn left_open(side: Side<'_>, around: Option<Side<'_>>, text: &str) -> Option<Diagnostic> {
    let policy = side.policy;
    let place = default_place(policy, text)?;
    let metadata = left_to_default(side, around, Group::Metadata);
    let private = left_to_default(side, around, Group::Private);
    let open: Vec<_> = [
        metadata.map(|which| {
            format!("cloud metadata ({which}), where a machine's credentials are handed out")
        }),
        private.map(|which| format!("private networks ({which})")),
    ]
    .into_iter()
    .flatten()
    .collect();
    if policy.default != Verdict::Allow || open.is_empty() {
        return None;
    }
    let warning = Invalid::new(format!("this leaves open {}", open.join(", and ")));
    let help = "add rules, as the policy `default` has them: to = [\"@metadata\"] with action = \"deny\", to = [\"@private\"] with \
                action = \"confirm\"; or action = \"allow\" where that is meant";
    Some(Diagnostic::new(
        Severity::Warning,
        &policy.file,
        place,
        warning.help(help),
    ))
}

/// Where the policy says its default, if it does.
fn default_place(policy: &Policy, text: &str) -> Option<SourceSpan> {
    let line = policy.default_line?;
    let start: usize = text
        .split_inclusive('\n')
        .take(line - 1)
        .map(str::len)
        .sum();
    let said = text[start..].lines().next().unwrap_or_default();
    let said = said.split('#').next().unwrap_or_default();
    let start = start + said.len() - said.trim_start().len();
    Some(Lines::new(text).place(start..start + said.trim().len()))
}

/// Warns, once, of names that let something pass and that nobody can ask for: the default denies the question, and no rule for addresses
/// lets it pass.
#[must_use]
pub fn unasked(policy: &Policy, text: &str) -> Option<Diagnostic> {
    let is_name = |target: &Target| matches!(target, Target::Name(_) | Target::Wildcard(_));
    let passes = |rule: &&Rule| rule.action != Verdict::Deny;
    let asks = |rule: &Rule| {
        let mut covers = rule
            .ports
            .iter()
            .map(|spec| spec.covers(Protocol::UDP, DNS_PORT));
        !rule.to.iter().all(is_name) && (rule.ports.is_empty() || covers.any(|covers| covers))
    };
    let mut passing = policy.rules.iter().filter(passes);
    if policy.default != Verdict::Deny || passing.clone().any(asks) {
        return None;
    }
    let named = passing.find(|rule| rule.to.iter().any(is_name));
    let place = match named {
        Some(rule) => rule.place.clone(),
        // What `[dns]` says is of no use then.
        None => default_place(policy, text).filter(|_| policy.dns_names.is_some())?,
    };
    let warning = Invalid::new(
        "nobody can ask for a name: the default denies questions to name servers (port 53)",
    );
    let help =
        "add a rule: to = [\"@dns\"] with ports = [\"udp/53\", \"tcp/53\"] and action = \"allow\"";
    Some(Diagnostic::new(
        Severity::Warning,
        &policy.file,
        place,
        warning.help(help),
    ))
}

/// What of a group the default decides alone: its name, or some of its prefixes; none if rules decide all of it.
fn left_to_default(side: Side<'_>, around: Option<Side<'_>>, group: Group) -> Option<String> {
    let areas = group.areas(&Environment::default());
    let met = |side: Side<'_>, area: &Prefix, is: fn(&Met<'_>) -> bool| {
        let met = over(side.policy, side.compiled, area, &[]).met;
        met.iter().any(is)
    };
    let by_default = |area: &&Prefix| {
        let passes = |around| met(around, area, |met| met.verdict == Verdict::Allow);
        met(side, area, |met| met.rule.is_none()) && around.is_none_or(passes)
    };
    let left: Vec<_> = areas.iter().filter(by_default).collect();
    match left.len() {
        0 => None,
        all if all == areas.len() => Some(format!("`{group}`")),
        _ => {
            let left = left.iter().map(ToString::to_string);
            Some(left.collect::<Vec<_>>().join(", "))
        }
    }
}
