//! `guard diff`: what another policy opens and closes. What a fleet has around both, guardd alone knows; the rest needs none.

use std::collections::{BTreeMap, HashSet};

use guard_policy::{
    self as policy, Action, AddressChange, Compiled, DnsNames, Environment, NamePattern, Opens,
    Parsed, PatternChange, Policy, PortSpec, Rule, Side, Target, format_duration,
};
use guard_proto::Failure;
use serde::Serialize;

use super::args::DiffArgs;
use super::around::{Base, Fleet};
use super::discover::judge::verdict;
use super::error::{CliError, Exit};
use super::policy::explain::{environment_of, environment_with};
use super::policy::valid;
use super::policy_file::{PolicyFile, is_file};
use super::render::Output;
use super::render::page::{BAD, GOOD, HEAD, Page, WARN};
use super::render::time::Clock;

/// Where two policies differ.
#[derive(Debug, Serialize)]
struct Differences {
    old: String,
    new: String,
    /// Both let the same through and are alike in everything else.
    equal: bool,
    /// What changes, by address.
    changes: Vec<Judged>,
    /// What changes by a name that the policy opens, and not for the address: no name lifts a rule's `deny`.
    by_name: Vec<AddressChange>,
    /// Where only replies to incoming connections change: a rule's `deny` stops them, the default's does not.
    replies: Vec<AddressChange>,
    /// What changes by name: another name may have the same address, and this one another address.
    names: Vec<NameChange>,
    /// What holds for all destinations.
    settings: Vec<SettingChange>,
    /// Where holes may last longer, or not as long, by a rule of their own.
    holes: Vec<HoleShift>,
    /// New rules without effect.
    idle_new: Vec<String>,
    /// Rules that are gone, without effect.
    idle_gone: Vec<String>,
    /// What else may have more let through than before, in words: what approvers read, and what networks decide.
    #[serde(skip)]
    words: Vec<String>,
    /// Whether something may get through that did not, or a hole last longer.
    #[serde(skip)]
    widens: bool,
}

/// A change, beside what the fleet has around both.
#[derive(Debug, Serialize)]
struct Judged {
    #[serde(flatten)]
    change: AddressChange,
    /// The fleet's policy, where that is as strict as the stricter of both: nothing changes in a session. Null: something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
}

/// What rules say of a name, or of all names below one.
#[derive(Debug, Serialize)]
struct NameChange {
    /// The name, or the wildcard.
    name: String,
    /// `more`, `less`, or `otherwise`.
    opens: Opens,
    /// Where it opens more: it opens less at other ports, or at other addresses that the name may have.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    is_mixed: bool,
    /// What the rules say that decide; empty: none does.
    before: Vec<String>,
    /// The same after.
    after: Vec<String>,
    /// Its addresses are not compared.
    #[serde(skip)]
    is_unresolved: bool,
}

/// How long holes for some addresses last at most.
#[derive(Debug, Serialize)]
struct HoleShift {
    destination: String,
    ports: Vec<String>,
    before: String,
    after: String,
}

#[derive(Debug, Serialize)]
struct SettingChange {
    setting: &'static str,
    before: String,
    after: String,
}

/// Compares two policies. No where they differ, as diff(1) does.
pub(crate) fn diff(args: &DiffArgs, output: Output) -> Result<Exit, CliError> {
    let [old, new] = [&args.old, &args.new].map(|name| NamedPolicy::of(name, output));
    let (mut old, new) = (old?, new?);
    if args.observed {
        old.parsed.policy.observe();
    }
    let base = match [&args.old, &args.new].into_iter().all(|name| is_file(name)) {
        // They may be for other machines.
        true => None,
        false => Fleet::known().base(output)?,
    };
    let around = base.iter().map(|base| &base.parsed.policy);
    let all: Vec<_> = [&old.parsed.policy, &new.parsed.policy]
        .into_iter()
        .chain(around)
        .collect();
    let environment = judging(&all);
    let [before, after] = [&old, &new].map(|read| read.compile(&environment, output));
    let (before, after) = (before?, after?);
    let [old, new] = [(&old, &before), (&new, &after)].map(|(read, compiled)| Side {
        policy: &read.parsed.policy,
        compiled,
    });
    let mut differences = Differences::of([&args.old, &args.new], old, new, &environment);
    if let Some(base) = &base {
        differences.lie_within(base, &environment)?;
    }
    Exit::answer(differences.equal).once_told(output.print(&differences, page))
}

/// What a newer text of a policy changes, for a person.
///
/// # Errors
///
/// What is wrong with one of them.
pub(super) fn between(
    old: PolicyFile,
    new: PolicyFile,
    called: [&str; 2],
    output: Output,
) -> Result<Page, CliError> {
    let differences = compared([old, new], called, judging, output)?;
    Ok(page(&differences, &Clock::system()))
}

/// The same where the newer text may let through more; none where it only narrows. Whoever wrote it has chosen its names: none is
/// looked up.
///
/// # Errors
///
/// As [`between`].
pub(super) fn widening(
    old: PolicyFile,
    new: PolicyFile,
    called: [&str; 2],
    output: Output,
) -> Result<Option<Page>, CliError> {
    let without_names = |_: &[&Policy]| Environment {
        judges_names: true,
        ..environment_with(BTreeMap::new())
    };
    let mut differences = compared([old, new], called, without_names, output)?;
    if !differences.widens {
        return Ok(None);
    }
    // What closes something is no reason to say no, and could hide what opens.
    let is_more = |opens| opens != Opens::Less;
    differences.changes.retain(|one| is_more(one.change.opens));
    for all in [&mut differences.by_name, &mut differences.replies] {
        all.retain(|one| is_more(one.opens));
    }
    differences.names.retain(|one| is_more(one.opens));
    for name in &mut differences.names {
        name.is_unresolved = false;
    }
    let mut page = match differences.equal {
        true => Page::default(),
        false => page(&differences, &Clock::system()),
    };
    for words in &differences.words {
        page.rest_of_line(words, 4).end();
    }
    Ok(Some(page))
}

fn compared(
    [old, new]: [PolicyFile; 2],
    called: [&str; 2],
    environment: impl FnOnce(&[&Policy]) -> Environment,
    output: Output,
) -> Result<Differences, CliError> {
    let read = |file: PolicyFile| {
        let parsed = valid(&file).map_err(|wrong| file.invalid(&wrong, output))?;
        Ok::<_, CliError>(NamedPolicy { file, parsed })
    };
    let (old, new) = (read(old)?, read(new)?);
    let environment = environment(&[&old.parsed.policy, &new.parsed.policy]);
    let (before, after) = (
        old.compile(&environment, output)?,
        new.compile(&environment, output)?,
    );
    let [old, new] = [(&old, &before), (&new, &after)].map(|(read, compiled)| Side {
        policy: &read.parsed.policy,
        compiled,
    });
    Ok(Differences::of(called, old, new, &environment))
}

/// What names and groups of policies stand for here, where names are judged.
fn judging(policies: &[&Policy]) -> Environment {
    let mut environment = environment_of(policies);
    let names = environment.names.iter();
    let public = names.filter(|(_, addresses)| environment.has_public(addresses));
    environment.public = public.map(|(name, _)| name.clone()).collect();
    environment.judges_names = true;
    environment
}

/// A policy that was named.
pub(super) struct NamedPolicy {
    file: PolicyFile,
    pub(super) parsed: Parsed,
}

impl NamedPolicy {
    /// Reads a policy, given by file or by name.
    pub(super) fn of(name: &str, output: Output) -> Result<Self, CliError> {
        let file = PolicyFile::named(name)?;
        let parsed = file.parse(output)?;
        Ok(Self { file, parsed })
    }

    pub(super) fn compile(
        &self,
        environment: &Environment,
        output: Output,
    ) -> Result<Compiled, CliError> {
        policy::compile(&self.parsed.policy, environment)
            .map_err(|diagnostics| self.file.invalid(&diagnostics, output))
    }
}

impl Differences {
    fn of(called: [&str; 2], old: Side<'_>, new: Side<'_>, environment: &Environment) -> Self {
        let changes = policy::diff(old, new).into_iter();
        let changes: Vec<_> = changes
            .map(|change| Judged {
                change,
                held_by: None,
            })
            .collect();
        let names = policy::diff_names(old, new, environment).into_iter();
        let names: Vec<_> = names.map(|one| NameChange::of(one, environment)).collect();
        let by_name = policy::diff_by_name(old, new);
        let replies = policy::diff_replies(old, new);
        let settings = settings(old.policy, new.policy);
        let holes = holes(old, new);
        let by_address = [changes.len(), by_name.len(), replies.len()];
        let others = [names.len(), settings.len(), holes.len()];
        let equal = by_address.iter().chain(&others).all(|count| *count == 0);
        let by_address = changes.iter().map(|one| &one.change);
        let by_address = by_address.chain(&by_name).chain(&replies);
        let opens = by_address.map(|one| one.opens);
        let mut opens = opens.chain(names.iter().map(|one| one.opens));
        let words = words(old, new);
        let widens = opens.any(|opens| opens != Opens::Less)
            || !words.is_empty()
            || widens_all(old.policy, new.policy)
            || policy::diff_holes(old, new)
                .iter()
                .any(|one| one.after > one.before);
        let idle = |of: Side<'_>, beside: Side<'_>| match equal {
            true => missing(of.policy, beside.policy),
            false => Vec::new(),
        };
        Self {
            old: called[0].to_owned(),
            new: called[1].to_owned(),
            equal,
            changes,
            by_name,
            replies,
            names,
            settings,
            holes,
            idle_new: idle(new, old),
            idle_gone: idle(old, new),
            words,
            widens,
        }
    }
}

impl Differences {
    /// Says of each change where the fleet's policy lets none of it have an effect.
    fn lie_within(&mut self, base: &Base, environment: &Environment) -> Result<(), CliError> {
        let policy = &base.parsed.policy;
        let compiled = policy::compile(policy, environment).map_err(|_| Failure {
            what: "it is not known what a session may reach".to_owned(),
            why: format!("the fleet's policy {} does not fit here", base.name),
            fix: "guard status".to_owned(),
        })?;
        for one in &mut self.changes {
            let change = &one.change;
            let ports = change.ports.iter().map(|spec| spec.parse());
            // What is no port specification stands for all other protocols.
            let ports: Vec<PortSpec> = ports.collect::<Result<_, _>>().unwrap_or_default();
            let strictest = [change.before, change.after].map(|one| verdict(one).strictness());
            let strictest = strictest.into_iter().max().unwrap_or_default();
            let holds = change.prefixes.iter().all(|prefix| {
                let met = policy::over(policy, &compiled, prefix, &ports).met;
                met.iter().all(|met| met.verdict.strictness() >= strictest)
            });
            one.held_by = holds.then(|| base.name.clone());
        }
        Ok(())
    }
}

impl NameChange {
    fn of(change: PatternChange, environment: &Environment) -> Self {
        Self {
            name: change.pattern.to_string(),
            opens: change.opens,
            is_mixed: change.is_mixed,
            before: change.before,
            after: change.after,
            is_unresolved: match &change.pattern {
                NamePattern::Name(name) => environment.resolved(name).next().is_none(),
                NamePattern::Below(_) => false,
            },
        }
    }

    /// Whether it is in its HTTP rules: in all that is told here both are alike.
    fn is_by_requests(&self) -> bool {
        self.opens == Opens::Otherwise && self.before == self.after
    }
}

/// The names of rules that another policy has in no words.
fn missing(of: &Policy, beside: &Policy) -> Vec<String> {
    let does = |rule: &Rule| {
        let mut to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
        let mut ports = rule.ports.clone();
        to.sort_unstable();
        ports.sort_unstable();
        let requests = (&rule.http, &rule.profiles, &rule.lists);
        let how = (rule.action, rule.max_hole, rule.private, rule.by_sni);
        format!("{to:?} {ports:?} {how:?} {requests:?}")
    };
    let known: HashSet<_> = beside.rules.iter().map(does).collect();
    let rules = of.rules.iter().filter(|rule| !known.contains(&does(rule)));
    rules.map(|rule| rule.name.clone()).collect()
}

/// Where a rule lets holes last otherwise. Where the policy does, its setting says so.
fn holes(old: Side<'_>, new: Side<'_>) -> Vec<HoleShift> {
    let [before, after] = [old, new].map(|side| side.policy.longest_hole(None));
    let changes = policy::diff_holes(old, new).into_iter();
    let by_rules = changes.filter(|one| (one.before, one.after) != (before, after));
    let shifts = by_rules.map(|one| HoleShift {
        destination: one.destination,
        ports: one.ports,
        before: format_duration(one.before),
        after: format_duration(one.after),
    });
    shifts.collect()
}

fn settings(old: &Policy, new: &Policy) -> Vec<SettingChange> {
    let of = |policy: &Policy| {
        let longest = policy.longest_hole(None);
        let inbound = if policy.inbound { "true" } else { "false" };
        let sockets: Vec<_> = policy.unix.iter().map(ToString::to_string).collect();
        let searched = if policy.dns_search_silent {
            "silent"
        } else {
            "as any name"
        };
        [
            ("[dns] names", asked(policy).to_owned()),
            ("[dns] search", searched.to_owned()),
            ("hold", format_duration(policy.hold)),
            ("inbound", inbound.to_owned()),
            ("max_hole", format_duration(longest)),
            ("unix", sockets.join(" ")),
        ]
    };
    let pairs = of(old).into_iter().zip(of(new));
    let changes = pairs.map(|((setting, before), (_, after))| SettingChange {
        setting,
        before,
        after,
    });
    changes
        .filter(|change| change.before != change.after)
        .collect()
}

/// What a comparison of destinations does not tell: other words for who is asked, which may have them let through what they would
/// not; and rules for what this machine's networks are at the time.
fn words(old: Side<'_>, new: Side<'_>) -> Vec<String> {
    let asked = policy::diff_words(old, new).into_iter();
    let asked = asked.map(|change| {
        let rule = change.after.unwrap_or_else(|| "the default".to_owned());
        format!(
            "Whoever is asked about {} reads other words: those of the rule {rule}",
            change.destination
        )
    });
    let new_ones = of_machine([new.policy, old.policy], Action::Deny, "is new or changed");
    let gone = of_machine(
        [old.policy, new.policy],
        Action::Allow,
        "is gone or changed",
    );
    asked.chain(new_ones).chain(gone).collect()
}

/// The rules about this machine's networks that another policy has not, but those of one action, in words.
fn of_machine(
    [of, beside]: [&Policy; 2],
    harmless: Action,
    what: &'static str,
) -> impl Iterator<Item = String> {
    let missing: HashSet<_> = missing(of, beside).into_iter().collect();
    let rules = of.rules.iter();
    let rules = rules.filter(move |rule| rule.action != harmless && missing.contains(&rule.name));
    rules.flat_map(move |rule| {
        let (name, action) = (&rule.name, rule.action.as_str());
        let groups = rule
            .to
            .iter()
            .filter(|target| matches!(target, Target::Group(group) if group.is_of_machine()));
        groups.map(move |group| {
            format!("{name} ({action}) {what}: it is about {group}, whatever that is at the time")
        })
    })
}

/// Whether what holds for all destinations lets through more.
fn widens_all(old: &Policy, new: &Policy) -> bool {
    let names = |policy: &Policy| match policy.names_asked() {
        _ if !policy.has_patterns() => 3,
        DnsNames::Any => 2,
        DnsNames::Ask => 1,
        DnsNames::Rules => 0,
    };
    names(new) > names(old)
        || (old.dns_search_silent && !new.dns_search_silent)
        || (new.inbound && !old.inbound)
        || new.longest_hole(None) > old.longest_hole(None)
        || new.unix.iter().any(|socket| !old.unix.contains(socket))
}

fn asked(policy: &Policy) -> &'static str {
    match policy.names_asked() {
        _ if !policy.has_patterns() => "not judged",
        DnsNames::Any => "any",
        DnsNames::Ask => "ask",
        DnsNames::Rules => "rules",
    }
}

fn page(found: &Differences, _: &Clock) -> Page {
    let mut page = Page::default();
    if found.equal {
        page.styled(GOOD, "Equal").line(format_args!(
            ": {} and {} let the same through.",
            found.old, found.new
        ));
        for (rules, word) in [(&found.idle_new, "New"), (&found.idle_gone, "Gone")] {
            if !rules.is_empty() {
                page.line(format_args!(
                    "{word}, and without effect: {}",
                    rules.join(", ")
                ));
            }
        }
        return page;
    }
    for (opens, style, title) in [
        (Opens::More, WARN, "More open:"),
        (Opens::Less, BAD, "Less open:"),
        (Opens::Otherwise, HEAD, "Other rules for HTTP requests:"),
    ] {
        let changes = found.changes.iter();
        let changes: Vec<_> = changes.filter(|one| one.change.opens == opens).collect();
        let names = found.names.iter().filter(|one| one.opens == opens);
        let is_here = |one: &&NameChange| opens != Opens::Otherwise || one.is_by_requests();
        let names: Vec<_> = names.filter(is_here).collect();
        let [by_name, replies] = [&found.by_name, &found.replies].map(|all| {
            let here = all.iter().filter(|one| one.opens == opens);
            here.collect::<Vec<_>>()
        });
        if [changes.len(), names.len(), by_name.len(), replies.len()] == [0; 4] {
            continue;
        }
        page.styled(style, title).end();
        for one in names {
            named(page.text("    "), one);
        }
        for one in changes {
            let held = one.held_by.as_ref();
            let held = held.map_or_else(String::new, |base| {
                format!("; the fleet's {base} holds all the same")
            });
            page.text("    ")
                .rest_of_line(format_args!("{}{held}", line(&one.change, "")), 8);
        }
        for (changes, what) in [(by_name, ", by a name"), (replies, ", replies to there")] {
            for one in changes {
                page.text("    ").rest_of_line(line(one, what), 8);
            }
        }
    }
    elsewhere(&mut page, found);
    page
}

/// "api.example.com: nothing -> allow tcp/443"
fn named(page: &mut Page, change: &NameChange) {
    let of = |said: &[String]| match said.is_empty() {
        true => "nothing".to_owned(),
        false => said.join("; "),
    };
    let remark = match change.is_unresolved {
        true => " (does not resolve here)",
        false => "",
    };
    let mixed = match change.is_mixed {
        true => "; less at other ports or addresses",
        false => "",
    };
    page.styled(WARN, format_args!("{}{remark}", change.name))
        .rest_of_line(
            format_args!(": {} -> {}{mixed}", of(&change.before), of(&change.after)),
            8,
        );
}

/// What opens nothing and closes nothing.
fn elsewhere(page: &mut Page, found: &Differences) {
    let names = found.names.iter();
    for change in names.filter(|one| one.opens == Opens::Otherwise && !one.is_by_requests()) {
        named(page, change);
    }
    for change in &found.holes {
        let (to, ports) = (&change.destination, ports_of(&change.ports));
        let times = format_args!("{} -> {}", change.before, change.after);
        page.rest_of_line(format_args!("{to}{ports} max_hole: {times}"), 4);
    }
    for change in &found.settings {
        let (setting, before, after) = (change.setting, &change.before, &change.after);
        page.rest_of_line(format_args!("{setting}: {before} -> {after}"), 4);
    }
}

/// "192.0.2.7 tcp/80  confirm -> deny  (web -> no)", with what of the destination it is about.
fn line(change: &AddressChange, what: &str) -> String {
    let rules = |rules: &[Option<String>]| {
        let names = rules
            .iter()
            .map(|rule| rule.as_deref().unwrap_or("the default"));
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "{}{}{what}  {} -> {}  ({} -> {})",
        change.destination,
        ports_of(&change.ports),
        change.before,
        change.after,
        rules(&change.before_rules),
        rules(&change.after_rules)
    )
}

/// Behind a destination.
fn ports_of(ports: &[String]) -> String {
    match ports.is_empty() {
        true => String::new(),
        false => format!(" {}", ports.join(",")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::around::tests::around;
    use super::super::render::examples::clock;
    use super::*;

    #[test]
    fn what_opens_is_told_from_what_closes() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("version = 1\ndefault = \"deny\"\n{text}")).unwrap();
            path.display().to_string()
        };
        let rule = |name: &str, to: &str, more: &str| {
            format!("[[rule]]\nname = \"{name}\"\nto = [\"{to}\"]\n{more}\n")
        };
        let old = write(
            "old.toml",
            &(rule(
                "web",
                "192.0.2.0/25",
                "ports = [\"tcp/80\"]\naction = \"confirm\"",
            ) + &rule("gone", "no-such-name.invalid", "action = \"allow\"")
                + &rule("api", "*.api.example.com", "action = \"confirm\"")),
        );
        let new = write(
            "new.toml",
            &("hold = \"5s\"\n".to_owned()
                + &rule(
                    "web",
                    "192.0.2.0/24",
                    "ports = [\"tcp/80\"]\naction = \"allow\"",
                )
                + &rule("no", "192.0.2.7", "action = \"deny\"")
                + &rule(
                    "api",
                    "*.api.example.com",
                    "ports = [\"tcp/443\"]\naction = \"allow\"",
                )),
        );
        let output = Output::new(false);
        let [old_read, new_read] = [&old, &new].map(|name| NamedPolicy::of(name, output).unwrap());
        let environment = resolving(&[]);
        let [a, b] = [&old_read, &new_read].map(|read| read.compile(&environment, output).unwrap());
        fn side<'p>(read: &'p NamedPolicy, compiled: &'p Compiled) -> Side<'p> {
            Side {
                policy: &read.parsed.policy,
                compiled,
            }
        }
        let found = Differences::of(
            ["old", "new"],
            side(&old_read, &a),
            side(&new_read, &b),
            &environment,
        );
        assert!(!found.equal);
        insta::assert_snapshot!(page(&found, &clock()).plain(), @r"
        More open:
            *.api.example.com: confirm all -> allow tcp/443; less at other ports or addresses
            192.0.2.0 - 192.0.2.6 tcp/80  confirm -> allow  (web -> web)
            192.0.2.8 - 192.0.2.127 tcp/80  confirm -> allow  (web -> web)
            192.0.2.128/25 tcp/80  deny -> allow  (the default -> web)
        Less open:
            no-such-name.invalid (does not resolve here): allow all -> nothing
            192.0.2.7 tcp/80  confirm -> deny  (web -> no)
            192.0.2.7 tcp/0-79,tcp/81-65535,udp,icmp,other, by a name  allow -> deny  (the default -> no)
            192.0.2.7 tcp/0-79,tcp/81-65535,udp,icmp,other, replies to there  allow -> deny  (the default -> no)
        [dns] names: rules -> any
        hold: 1m -> 5s
        ");
        let mut within = found;
        let base = "default = \"allow\"\n[[rule]]\nto = [\"192.0.2.0/26\"]\naction = \"deny\"\n";
        let base = around(base).base_alone().unwrap();
        within.lie_within(&base, &environment).unwrap();
        let held = within.changes.iter().map(|one| one.held_by.as_deref());
        // Of the addresses from .8 to .127 it holds but some.
        assert_eq!(
            held.collect::<Vec<_>>(),
            [Some("floor"), Some("floor"), None, None]
        );
        assert!(page(&within, &clock()).plain().contains(
            "192.0.2.7 tcp/80  confirm -> deny  (web -> no); the fleet's floor holds all the same"
        ));
        let same = Differences::of(
            ["old", "new"],
            side(&old_read, &a),
            side(&old_read, &a),
            &environment,
        );
        insta::assert_snapshot!(page(&same, &clock()).plain(), @"Equal: old and new let the same through.");
    }

    #[test]
    fn what_may_let_more_through_is_told_and_what_only_narrows_is_not() {
        let file = |text: &str| PolicyFile {
            name: "one.toml".to_owned(),
            text: format!("version = 1\n{text}"),
        };
        let told = |old: &str, new: &str| {
            let called = ["old", "new"];
            let told = widening(file(old), file(new), called, Output::new(true)).unwrap();
            told.map(|page| page.plain())
        };
        let old =
            "default = \"allow\"\n".to_owned() + &rule("192.0.2.0/24", "action = \"confirm\"");
        let by_address = |action: &str| old.clone() + &web("192.0.2.7", action);
        for narrower in [
            by_address("deny"),
            old.clone() + &web("api.example.com", "deny"),
            "hold = \"5s\"\ninbound = false\nmax_hole = \"15m\"\n".to_owned() + &old,
            // As it is, in other words.
            old.replace("[[rule]]", "# so\n[[rule]]"),
        ] {
            assert_eq!(told(&old, &narrower), None, "{narrower}");
        }
        let sockets = (0..30).map(|number| format!("\"/run/user/1000/harmless-{number}\", "));
        let sockets = sockets.collect::<String>() + "\"/run/last\"";
        for (wider, words) in [
            (by_address("allow"), "192.0.2.7 tcp/80  confirm -> allow"),
            (
                by_address("read-only"),
                "192.0.2.7 tcp/80  confirm -> read-only",
            ),
            (
                "default = \"allow\"\n".to_owned(),
                "192.0.2.0/24  confirm -> allow",
            ),
            (
                old.clone() + "[unix]\nallow = [\"/run/docker.sock\"]\n",
                "/run/docker.sock",
            ),
            ("max_hole = \"20d\"\n".to_owned() + &old, "-> 20d"),
            (
                old.clone() + &rule("@on-link", "action = \"allow\""),
                "it is about @on-link, whatever that is at the time",
            ),
            (
                old.clone()
                    + &web("192.0.2.7", "confirm")
                        .replace("[[rule]]", "[[rule]]\nreason = \"fine\""),
                "Whoever is asked about 192.0.2.7 reads other words",
            ),
            (
                old.clone() + &format!("[unix]\nallow = [{sockets}]\n"),
                "/run/last",
            ),
        ] {
            let told = told(&old, &wider).unwrap_or_default();
            assert!(told.contains(words), "{wider}: {told}");
        }
        // Nobody asked a name server.
        let private = old.replace("192.0.2.0/24", "@private");
        let named = private.clone() + &web("api.example.com", "allow");
        let told = told(&private, &named).unwrap();
        assert!(told.contains("api.example.com: "), "{told}");
        assert!(!told.contains("resolve"), "{told}");
    }

    /// Where these names have these addresses.
    fn resolving(names: &[(&str, &str)]) -> Environment {
        let mut environment = Environment {
            judges_names: true,
            ..Environment::default()
        };
        for (name, address) in names {
            let known = environment.names.entry((*name).to_owned());
            known.or_default().push(address.parse().unwrap());
        }
        environment
    }

    fn parsed(text: &str) -> Policy {
        let text = format!("version = 1\n{text}");
        policy::parse("one.toml", &text).unwrap().policy
    }

    fn differences(before: &str, after: &str, environment: &Environment) -> Differences {
        let [old, new] = [before, after].map(parsed);
        let [a, b] = [&old, &new].map(|one| policy::compile(one, environment).unwrap());
        let [old, new] =
            [(&old, &a), (&new, &b)].map(|(policy, compiled)| Side { policy, compiled });
        Differences::of(["old", "new"], old, new, environment)
    }

    fn told(before: &str, after: &str, environment: &Environment) -> String {
        page(&differences(before, after, environment), &clock()).plain()
    }

    fn rule(to: &str, more: &str) -> String {
        format!(
            "[[rule]]\nname = \"{to} {}\"\nto = [\"{to}\"]\n{more}\n",
            more.len()
        )
    }

    fn web(to: &str, action: &str) -> String {
        rule(to, &format!("ports = [\"tcp/80\"]\naction = \"{action}\""))
    }

    #[test]
    fn a_name_at_an_address_that_another_name_has_is_a_difference() {
        let environment = resolving(&[
            ("two.example.com", "192.0.2.10"),
            ("two.example.com", "192.0.2.11"),
            ("api.example.net", "192.0.2.11"),
        ]);
        let old = web("two.example.com", "allow");
        let new = old.clone() + &web("api.example.net", "allow");
        let found = differences(&old, &new, &environment);
        assert!(!found.equal && found.changes.is_empty());
        insta::assert_snapshot!(told(&old, &new, &environment), @r"
        More open:
            api.example.net: nothing -> allow tcp/80
        ");
        insta::assert_snapshot!(told(&new, &old, &environment), @r"
        Less open:
            api.example.net: allow tcp/80 -> nothing
        ");
        for same in [
            old.clone(),
            new.clone(),
            // In other words.
            old.replace("tcp/80", "tcp/80-90\", \"udp/53"),
        ] {
            assert!(differences(&same, &same, &environment).equal, "{same}");
        }
        let apart = web("two.example.com", "allow")
            + &web("two.example.com", "allow")
                .replace("tcp/80", "tcp/81")
                .replace(" 35", " 36");
        let joined = old.replace("tcp/80", "tcp/80-81");
        assert!(differences(&apart, &joined, &environment).equal, "{apart}");
    }

    #[test]
    fn what_depends_on_the_address_is_told_so_both_ways() {
        let environment = resolving(&[]);
        let old =
            "default = \"allow\"\n[[rule]]\nto = [\"198.51.100.0/24\"]\naction = \"confirm\"\n";
        let new = format!("{old}{}", rule("api.example.com", "action = \"read-only\""));
        insta::assert_snapshot!(told(old, &new, &environment), @r"
        More open:
            api.example.com (does not resolve here): nothing -> read-only all; less at other ports or addresses
        [dns] names: not judged -> any
        ");
        insta::assert_snapshot!(told(&new, old, &environment), @r"
        More open:
            api.example.com (does not resolve here): read-only all -> nothing; less at other ports or addresses
        [dns] names: any -> not judged
        ");
    }

    #[test]
    fn a_name_below_a_wildcard_is_compared_with_what_that_says() {
        let environment = resolving(&[]);
        let old = web("*.example.com", "allow");
        let told = |more: &str| told(&old, &(old.clone() + more), &environment);
        insta::assert_snapshot!(told(&web("api.example.com", "confirm")), @r"
        More open:
            api.example.com (does not resolve here): allow tcp/80 -> confirm tcp/80 private; less at other ports or addresses
        ");
        insta::assert_snapshot!(told(&rule("*.api.example.com", "action = \"confirm\"")), @r"
        More open:
            *.api.example.com: allow tcp/80 -> confirm all; less at other ports or addresses
        ");
        insta::assert_snapshot!(told(&web("*.api.example.com", "allow")), @r"
        Equal: old and new let the same through.
        New, and without effect: *.api.example.com 35
        ");
        // A name that is spelled out may have private addresses.
        insta::assert_snapshot!(told(&web("api.example.com", "allow")), @r"
        More open:
            api.example.com (does not resolve here): allow tcp/80 -> allow tcp/80 private
        ");
        let mut public = resolving(&[("api.example.com", "203.0.113.1")]);
        public.public.insert("api.example.com".to_owned());
        let new = old.clone() + &web("api.example.com", "allow");
        let names = differences(&old, &new, &public).names;
        assert!(names.is_empty(), "{names:?}");
        let new = web("api.example.com", "allow");
        insta::assert_snapshot!(super::page(&differences(&old, &new, &public), &clock()).plain(), @r"
        More open:
            203.0.113.1 tcp/80  deny -> allow  (the default -> api.example.com 35)
        Less open:
            *.example.com: allow tcp/80 -> nothing
        ");
    }

    #[test]
    fn what_may_be_asked_for_is_a_difference() {
        let environment = resolving(&[("api.example.com", "192.0.2.1")]);
        let said = |before: &str, after: &str| told(before, after, &environment);
        let named = web("www.example.net", "allow");
        let denied = named.clone() + &rule("api.example.com", "action = \"deny\"");
        // Nobody could ask for it before, either; others may lead to it, or have its address.
        insta::assert_snapshot!(said(&named, &denied), @r"
        Less open:
            api.example.com: nothing -> deny all
            192.0.2.1 tcp/80, by a name  allow -> deny  (the default -> api.example.com 15)
            192.0.2.1, replies to there  allow -> deny  (the default -> api.example.com 15)
        ");
        let any = "[dns]\nnames = \"any\"\n";
        insta::assert_snapshot!(said(&(any.to_owned() + &named), &(any.to_owned() + &denied)), @r"
        Less open:
            api.example.com: nothing -> deny all
            192.0.2.1 tcp/80, by a name  allow -> deny  (the default -> api.example.com 15)
            192.0.2.1, replies to there  allow -> deny  (the default -> api.example.com 15)
        ");
        // Of some of its ports nothing is let through, and yet it may be asked for.
        let asked = named.clone() + &web("api.example.com", "deny");
        insta::assert_snapshot!(said(&named, &asked), @r"
        More open:
            api.example.com: nothing -> deny tcp/80
        Less open:
            192.0.2.1 tcp/80, by a name  allow -> deny  (the default -> api.example.com 34)
            192.0.2.1 tcp/80, replies to there  allow -> deny  (the default -> api.example.com 34)
        ");
        insta::assert_snapshot!(said(&named, &(any.to_owned() + &named)), @"[dns] names: rules -> any");
        let ask = "[dns]\nnames = \"ask\"\n".to_owned() + &named;
        insta::assert_snapshot!(said(&ask, &(ask.clone() + &web("*.example.com", "confirm"))), @r"
        More open:
            *.example.com: nothing -> confirm tcp/80
        ");
        let silent = ask.replace("\"ask\"", "\"ask\"\nsearch = \"silent\"");
        insta::assert_snapshot!(said(&ask, &silent), @"[dns] search: as any name -> silent");
    }

    #[test]
    fn a_deny_under_a_default_of_deny_is_a_difference_where_it_has_an_effect() {
        let environment = resolving(&[]);
        let said = |before: &str, after: &str| told(before, after, &environment);
        let (open, closed) = ("", "inbound = false\n");
        let names = web("www.example.net", "allow") + &web("*.example.com", "confirm");
        let denied = rule("192.0.2.0/24", "action = \"deny\"");
        insta::assert_snapshot!(said(open, &denied), @r"
        Less open:
            192.0.2.0/24, replies to there  allow -> deny  (the default -> 192.0.2.0/24 15)
        ");
        insta::assert_snapshot!(said(&denied, open), @r"
        More open:
            192.0.2.0/24, replies to there  deny -> allow  (192.0.2.0/24 15 -> the default)
        ");
        let with_names = closed.to_owned() + &names;
        insta::assert_snapshot!(said(&with_names, &(with_names.clone() + &denied)), @r"
        Less open:
            192.0.2.0/24 tcp/80, by a name  allow -> deny  (the default -> 192.0.2.0/24 15)
        ");
        // With neither it changes nothing.
        let alone = closed.to_owned() + &denied;
        insta::assert_snapshot!(said(closed, &alone), @r"
        Equal: old and new let the same through.
        New, and without effect: 192.0.2.0/24 15
        ");
        insta::assert_snapshot!(said(&alone, closed), @r"
        Equal: old and new let the same through.
        Gone, and without effect: 192.0.2.0/24 15
        ");
        // The words of a rule are no difference.
        let reworded = alone.replace("192.0.2.0/24 15", "other");
        insta::assert_snapshot!(said(&alone, &reworded), @"Equal: old and new let the same through.");
    }

    #[test]
    fn a_name_under_an_open_default_only_narrows_but_where_it_may_lift_something() {
        let environment = resolving(&[]);
        let open = "default = \"allow\"\n".to_owned();
        let base = open.clone()
            + &rule("@private", "action = \"confirm\"")
            + &rule("@metadata", "action = \"deny\"");
        let added = |base: &str, to: &str, action: &str| {
            let new = base.to_owned() + &web(to, action);
            differences(base, &new, &environment).names
        };
        let opens = |base: &str, to: &str, action: &str| {
            let names = added(base, to, action);
            names.first().map(|one| one.opens)
        };
        for to in ["*.example.com", "api.example.com"] {
            assert_eq!(opens(&base, to, "confirm"), Some(Opens::Less));
            assert_eq!(opens(&base, to, "deny"), Some(Opens::Less));
            assert_eq!(opens(&open, to, "allow"), None);
        }
        assert_eq!(opens(&base, "*.example.com", "allow"), None);
        assert_eq!(opens(&base, "api.example.com", "allow"), Some(Opens::More));
    }

    #[test]
    fn what_tls_has_to_show_and_other_requests_are_a_difference() {
        let environment = resolving(&[("forge.example.com", "192.0.2.1")]);
        let secure = |to: &str, more: &str| {
            rule(
                to,
                &format!("ports = [\"tcp/443\"]\naction = \"allow\"\n{more}"),
            )
        };
        for name in ["forge.example.com", "*.forge.example.com"] {
            let (plain, by_tls) = (secure(name, ""), secure(name, "tls = \"name\""));
            assert!(differences(&by_tls, &by_tls, &environment).equal);
            let names = differences(&plain, &by_tls, &environment).names;
            let all: Vec<_> = names
                .iter()
                .map(|one| (one.opens, &one.before[..], &one.after[..]))
                .collect();
            let [before, after] = ["allow tcp/443", "allow tcp/443 tls=name"].map(str::to_owned);
            assert_eq!(all, [(Opens::Less, &[before][..], &[after][..])]);
            let reads = web(name, "read-only");
            let more = "[[rule.http]]\nmethod = [\"PUT\"]\naction = \"allow\"\n";
            let requests = differences(&reads, &(reads.clone() + more), &environment);
            let line = format!("\n    {name}: read-only tcp/80 -> read-only tcp/80\n");
            let page = page(&requests, &clock()).plain();
            assert!(
                page.starts_with("Other rules for HTTP requests:") && page.contains(&line),
                "{page}"
            );
        }
    }

    #[test]
    fn holes_that_a_rule_lets_last_otherwise_are_a_difference() {
        let shown = |before: [&str; 2], after: [&str; 2]| {
            let [before, after] = [before, after].map(|[most, longest]| {
                let held = format!(
                    "ports = [\"tcp/443\"]\naction = \"confirm\"\nmax_hole = \"{longest}\""
                );
                let rules = rule("192.0.2.1", &held) + &rule("*.example.com", &held);
                format!("default = \"confirm\"\nmax_hole = \"{most}\"\n{rules}")
            });
            told(&before, &after, &resolving(&[]))
        };
        insta::assert_snapshot!(shown(["2h", "15m"], ["2h", "30d"]), @r"
        *.example.com: confirm tcp/443 max_hole=15m -> confirm tcp/443 max_hole=30d
        192.0.2.1 tcp/443 max_hole: 15m -> 30d
        ");
        // Of all that has no rule of its own it is said once.
        insta::assert_snapshot!(shown(["2h", "15m"], ["3h", "15m"]), @"max_hole: 2h -> 3h");
        insta::assert_snapshot!(shown(["2h", "15m"], ["2h", "15m"]), @"Equal: old and new let the same through.");
    }
}
