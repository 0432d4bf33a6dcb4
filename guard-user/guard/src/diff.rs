//! `guard diff`: what another policy opens and closes. What a fleet has around both, guardd alone knows; the rest needs none.

use std::collections::{BTreeMap, HashSet};

use guard_policy::{
    self as policy, AddressChange, Compiled, DnsNames, Environment, NamePattern, Opens, Parsed,
    PatternChange, Policy, PortSpec, Rule, Side, format_duration,
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
    /// For a person, where it is a list: what is new, and what is gone, each by itself.
    #[serde(skip)]
    one_by_one: Vec<String>,
}

/// Compares two policies. No where they differ, as diff(1) does.
pub(crate) fn diff(args: &DiffArgs, output: Output) -> Result<Exit, CliError> {
    let [old, new] = [&args.old, &args.new].map(|name| ReadPolicy::of(name, output));
    let (mut old, new) = (old?, new?);
    if args.observed {
        old.parsed.policy.observe();
    }
    let base = if [&args.old, &args.new].into_iter().all(|name| is_file(name)) {
        // They may be for other machines.
        None
    } else {
        Fleet::known().base(output)?
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
    let compare = |old: Side<'_>, new: Side<'_>, environment: &Environment| {
        Differences::of(called, old, new, environment)
    };
    let differences = compared([old, new], judging, compare, output)?;
    Ok(page(&differences, &Clock::system()))
}

/// What a newer text may let through that the older one does not, each in words; empty where it only narrows. Whoever wrote it has
/// chosen its names: none is looked up.
///
/// # Errors
///
/// As [`between`].
pub(super) fn widening(
    old: PolicyFile,
    new: PolicyFile,
    output: Output,
) -> Result<Vec<String>, CliError> {
    let without_names = |_: &[&Policy]| Environment {
        judges_names: true,
        ..environment_with(BTreeMap::new())
    };
    compared(
        [old, new],
        without_names,
        policy::widens_but_for_names,
        output,
    )
}

fn compared<T>(
    [old, new]: [PolicyFile; 2],
    environment: impl FnOnce(&[&Policy]) -> Environment,
    compare: impl FnOnce(Side<'_>, Side<'_>, &Environment) -> T,
    output: Output,
) -> Result<T, CliError> {
    let read = |file: PolicyFile| {
        let parsed = valid(&file).map_err(|wrong| file.invalid(&wrong, output))?;
        Ok::<_, CliError>(ReadPolicy { file, parsed })
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
    Ok(compare(old, new, &environment))
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
pub(super) struct ReadPolicy {
    file: PolicyFile,
    pub(super) parsed: Parsed,
}

impl ReadPolicy {
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
        let idle = |of: Side<'_>, beside: Side<'_>| {
            if equal {
                missing(of.policy, beside.policy)
            } else {
                Vec::new()
            }
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
        one_by_one: match setting {
            "unix" => sockets(old, new),
            _ => Vec::new(),
        },
        setting,
        before,
        after,
    });
    changes
        .filter(|change| change.before != change.after)
        .collect()
}

/// The Unix sockets that are new, and those that are gone.
fn sockets(old: &Policy, new: &Policy) -> Vec<String> {
    let only = |of: &Policy, beside: &Policy, word: &str| {
        let all = of.unix.iter().filter(|name| !beside.unix.contains(name));
        all.map(|name| format!("{name} is {word}"))
            .collect::<Vec<_>>()
    };
    [only(new, old, "new"), only(old, new, "gone")].concat()
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
        equal(&mut page, found);
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

/// That nothing is let through otherwise, and what is new or gone all the same.
fn equal(page: &mut Page, found: &Differences) {
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
}

/// "api.example.com: nothing -> allow tcp/443"
fn named(page: &mut Page, change: &NameChange) {
    let of = |said: &[String]| {
        if said.is_empty() {
            "nothing".to_owned()
        } else {
            said.join("; ")
        }
    };
    let remark = if change.is_unresolved {
        " (does not resolve here)"
    } else {
        ""
    };
    let mixed = if change.is_mixed {
        "; less at other ports or addresses"
    } else {
        ""
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
        if change.one_by_one.is_empty() {
            page.rest_of_line(format_args!("{setting}: {before} -> {after}"), 4);
        }
        for one in &change.one_by_one {
            page.rest_of_line(format_args!("{setting}: {one}"), 4);
        }
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
    if ports.is_empty() {
        String::new()
    } else {
        format!(" {}", ports.join(","))
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
        let [old_read, new_read] = [&old, &new].map(|name| ReadPolicy::of(name, output).unwrap());
        let environment = resolving(&[]);
        let [a, b] = [&old_read, &new_read].map(|read| read.compile(&environment, output).unwrap());
        fn side<'p>(read: &'p ReadPolicy, compiled: &'p Compiled) -> Side<'p> {
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
            let told = widening(file(old), file(new), Output::new(true));
            told.unwrap().join("\n")
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
            assert_eq!(told(&old, &narrower), "", "{narrower}");
        }
        let sockets = (0..30).map(|number| format!("\"/run/user/1000/harmless-{number}\", "));
        let sockets = sockets.collect::<String>() + "\"/run/last\"";
        for (wider, words) in [
            (
                by_address("allow"),
                "allow in place of confirm for 192.0.2.7 tcp/80",
            ),
            (
                by_address("read-only"),
                "read-only in place of confirm for 192.0.2.7 tcp/80",
            ),
            (
                "default = \"allow\"\n".to_owned(),
                "allow in place of confirm for 192.0.2.0/24",
            ),
            (
                "max_hole = \"20d\"\n".to_owned() + &old,
                "holes that last longer, 20d in place of 1h",
            ),
            (
                old.clone() + &rule("@on-link", "action = \"allow\""),
                "the rule allow @on-link is new",
            ),
            (
                old.clone()
                    + &web("192.0.2.7", "confirm")
                        .replace("[[rule]]", "[[rule]]\nreason = \"fine\""),
                "whoever is asked would read of another rule, \"192.0.2.7 37\", for 192.0.2.7",
            ),
            (
                old.clone() + &rule("@dns", "action = \"confirm\"\nreason = \"fine\""),
                "the rule confirm @dns is new",
            ),
            (
                old.clone() + &format!("[unix]\nallow = [{sockets}]\n"),
                "\nthe Unix socket /run/last",
            ),
        ] {
            let told = told(&old, &wider);
            assert!(told.contains(words), "{wider}: {told}");
        }
        // Nobody asked a name server.
        let private = old.replace("192.0.2.0/24", "@private");
        let named = private.clone() + &web("api.example.com", "allow");
        let told = told(&private, &named);
        assert!(
            told.contains("the rule allow api.example.com tcp/80 is new"),
            "{told}"
        );
    }

    #[test]
    fn each_unix_socket_that_is_new_has_a_line() {
        let allow = |names: &[&str]| format!("[unix]\nallow = {names:?}\n");
        let long = "/run/user/1000/".to_owned() + &"a".repeat(80);
        let (old, new) = (
            allow(&["/run/gone", "/run/kept"]),
            allow(&["/run/kept", &long, "/run/last"]),
        );
        let environment = resolving(&[]);
        assert_eq!(
            told(&old, &new, &environment),
            format!("unix: {long} is new\nunix: /run/last is new\nunix: /run/gone is gone\n")
        );
        let turned = allow(&["/run/kept", "/run/gone"]);
        assert_eq!(
            told(&old, &turned, &environment),
            "unix: /run/gone /run/kept -> /run/kept /run/gone\n"
        );
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
