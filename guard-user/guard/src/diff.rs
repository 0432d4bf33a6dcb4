//! `guard diff`: what another policy opens and closes. What a fleet has around both, guardd alone knows; the rest needs none.

use std::collections::{BTreeMap, BTreeSet};

use guard_policy::{
    self as policy, Change, Compiled, DnsNames, Environment, Opens, Parsed, Policy, PortSpec, Rule,
    Side, Target, format_duration,
};
use guard_proto::Failure;
use serde::Serialize;

use super::args::DiffArgs;
use super::around::{Base, Fleet};
use super::discover::judge::verdict;
use super::error::{CliError, Exit};
use super::policy::explain::environment_of;
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
    /// Wildcards, names without an address here, and names that TLS has to show in one of the two, of which the rules differ.
    names: Vec<NameChange>,
    /// What holds for all destinations.
    settings: Vec<SettingChange>,
    /// Where holes may last longer, or not as long, by a rule of their own.
    holes: Vec<HoleShift>,
}

/// A change, beside what the fleet has around both.
#[derive(Debug, Serialize)]
struct Judged {
    #[serde(flatten)]
    change: Change,
    /// The fleet's policy, where that is as strict as the stricter of both: nothing changes in a session. Null: something does.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_by: Option<String>,
}

/// What rules say of a wildcard, or of a name that does not resolve here.
#[derive(Debug, Serialize)]
struct NameChange {
    name: String,
    before: Vec<String>,
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
    let environment = environment_of(&all);
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
    output.print(&differences, page)?;
    Ok(Exit::answer(differences.equal))
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
    let read = |file: PolicyFile| {
        let parsed = valid(&file).map_err(|wrong| file.invalid(&wrong, output))?;
        Ok::<_, CliError>(NamedPolicy { file, parsed })
    };
    let (old, new) = (read(old)?, read(new)?);
    let environment = environment_of(&[&old.parsed.policy, &new.parsed.policy]);
    let (before, after) = (
        old.compile(&environment, output)?,
        new.compile(&environment, output)?,
    );
    let [old, new] = [(&old, &before), (&new, &after)].map(|(read, compiled)| Side {
        policy: &read.parsed.policy,
        compiled,
    });
    let differences = Differences::of(called, old, new, &environment);
    Ok(page(&differences, &Clock::system()))
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
        let names = names(old.policy, new.policy, environment);
        let settings = settings(old.policy, new.policy);
        let holes = holes(old, new);
        Self {
            old: called[0].to_owned(),
            new: called[1].to_owned(),
            equal: changes.is_empty()
                && names.is_empty()
                && settings.is_empty()
                && holes.is_empty(),
            changes,
            names,
            settings,
            holes,
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

/// Wildcards, and names that do not resolve here, are compared by what their rules say.
fn names(old: &Policy, new: &Policy, environment: &Environment) -> Vec<NameChange> {
    let (shown_before, shown_after) = (shown(old), shown(new));
    let differ: BTreeSet<_> = shown_before.symmetric_difference(&shown_after).collect();
    let said = |policy: &Policy| {
        let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        let unresolved = policy.unresolved(environment);
        let names = unresolved.map(|(rule, name)| (rule, name.to_string()));
        let all = policy.rules.iter();
        let all = all.flat_map(|rule| rule.names().map(move |name| (rule, name.to_string())));
        let by_tls = all.filter(|(_, name)| differ.contains(name));
        for (rule, name) in names.chain(wildcards(policy)).chain(by_tls) {
            said.entry(name).or_default().insert(says(rule));
        }
        said
    };
    let (before, after) = (said(old), said(new));
    let all: BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let of = |said: &BTreeMap<String, BTreeSet<String>>, name: &String| {
        said.get(name)
            .into_iter()
            .flatten()
            .cloned()
            .collect::<Vec<_>>()
    };
    let changes = all.into_iter().map(|name| NameChange {
        name: name.clone(),
        before: of(&before, name),
        after: of(&after, name),
        is_unresolved: !name.starts_with('*')
            && environment.names.get(name).is_none_or(Vec::is_empty),
    });
    changes
        .filter(|change| change.before != change.after)
        .collect()
}

/// The names that TLS has to show.
fn shown(policy: &Policy) -> BTreeSet<String> {
    let rules = policy.rules.iter().filter(|rule| rule.by_sni);
    let names = rules.flat_map(Rule::names);
    names.map(ToString::to_string).collect()
}

fn wildcards(policy: &Policy) -> impl Iterator<Item = (&Rule, String)> {
    policy.rules.iter().flat_map(|rule| {
        let targets = rule.to.iter();
        let wildcards = targets.filter(|target| matches!(target, Target::Wildcard(_)));
        wildcards.map(move |target| (rule, target.to_string()))
    })
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

/// What a rule does, at which ports, and how long holes last by it.
fn says(rule: &Rule) -> String {
    let ports: Vec<_> = rule.ports.iter().map(ToString::to_string).collect();
    let ports = if ports.is_empty() {
        "all".to_owned()
    } else {
        ports.join(",")
    };
    let private = if rule.private { " private" } else { "" };
    let tls = if rule.by_sni { " tls=name" } else { "" };
    let longest = rule.max_hole.map(format_duration);
    let longest = longest.map_or_else(String::new, |most| format!(" max_hole={most}"));
    format!("{} {ports}{private}{tls}{longest}", rule.action.as_str())
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
        return page;
    }
    for (opens, style, title) in [
        (Opens::More, WARN, "More open:"),
        (Opens::Less, BAD, "Less open:"),
        (Opens::Otherwise, HEAD, "Other rules for HTTP requests:"),
    ] {
        let of_kind: Vec<_> = found
            .changes
            .iter()
            .filter(|one| one.change.opens == opens)
            .collect();
        if of_kind.is_empty() {
            continue;
        }
        page.styled(style, title).end();
        for one in of_kind {
            let held = one.held_by.as_ref();
            let held = held.map_or_else(String::new, |base| {
                format!("; the fleet's {base} holds all the same")
            });
            page.text("    ")
                .line(format_args!("{}{held}", line(&one.change)));
        }
    }
    elsewhere(&mut page, found);
    page
}

/// What is not told by address.
fn elsewhere(page: &mut Page, found: &Differences) {
    for change in &found.names {
        let of = |said: &[String]| {
            if said.is_empty() {
                "nothing".to_owned()
            } else {
                said.join("; ")
            }
        };
        let remark = match change.is_unresolved {
            true => " (does not resolve here)",
            false => "",
        };
        page.styled(WARN, format_args!("{}{remark}", change.name))
            .line(format_args!(
                ": {} -> {}",
                of(&change.before),
                of(&change.after)
            ));
    }
    for change in &found.holes {
        page.line(format_args!(
            "{}{} max_hole: {} -> {}",
            change.destination,
            ports_of(&change.ports),
            change.before,
            change.after
        ));
    }
    for change in &found.settings {
        page.line(format_args!(
            "{}: {} -> {}",
            change.setting, change.before, change.after
        ));
    }
}

fn line(change: &Change) -> String {
    let rules = |rules: &[Option<String>]| {
        let names = rules
            .iter()
            .map(|rule| rule.as_deref().unwrap_or("the default"));
        names.collect::<Vec<_>>().join(", ")
    };
    format!(
        "{}{}  {} -> {}  ({} -> {})",
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
        let environment = Environment::default();
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
            192.0.2.0 - 192.0.2.6 tcp/80  confirm -> allow  (web -> web)
            192.0.2.8 - 192.0.2.127 tcp/80  confirm -> allow  (web -> web)
            192.0.2.128/25 tcp/80  deny -> allow  (the default -> web)
        Less open:
            192.0.2.7 tcp/80  confirm -> deny  (web -> no)
        *.api.example.com: confirm all -> allow tcp/443
        no-such-name.invalid (does not resolve here): allow all -> nothing
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
    fn what_tls_has_to_show_and_what_is_asked_differ() {
        let parsed = |text: &str| {
            let text = format!("version = 1\ndefault = \"deny\"\n{text}");
            policy::parse("one.toml", &text).unwrap().policy
        };
        let environment = Environment {
            names: [(
                "forge.example.com".to_owned(),
                vec![std::net::IpAddr::from([192, 0, 2, 1])],
            )]
            .into(),
            ..Environment::default()
        };
        let rule = |to: &str, more: &str| {
            let to = format!("to = [\"{to}\"]\nports = [\"tcp/443\"]\naction = \"allow\"");
            format!("[[rule]]\n{to}\n{more}\n")
        };
        let said = |before: &str, after: &str| -> Vec<String> {
            let names = names(&parsed(before), &parsed(after), &environment);
            let line = |one: NameChange| {
                format!(
                    "{}: {} -> {}",
                    one.name,
                    one.before.join("; "),
                    one.after.join("; ")
                )
            };
            names.into_iter().map(line).collect()
        };
        for name in ["forge.example.com", "*.forge.example.com"] {
            let (plain, by_tls) = (rule(name, ""), rule(name, "tls = \"name\""));
            assert_eq!(said(&plain, &plain), [""; 0]);
            assert_eq!(said(&by_tls, &by_tls), [""; 0]);
            let wanted = format!("{name}: allow tcp/443 -> allow tcp/443 tls=name");
            assert_eq!(said(&plain, &by_tls), [wanted]);
        }
        let ask = |search: &str| parsed(&format!("[dns]\nnames = \"ask\"\n{search}\n"));
        let changed = settings(&ask(""), &ask("search = \"silent\""));
        let changed: Vec<_> = changed.iter().map(|one| one.setting).collect();
        assert_eq!(changed, ["[dns] search"]);
    }

    #[test]
    fn holes_that_a_rule_lets_last_otherwise_are_a_difference() {
        let parsed = |most: &str, longest: &str| {
            let rule = |to: &str| {
                format!(
                    "[[rule]]\nto = [\"{to}\"]\nports = [\"tcp/443\"]\naction = \"confirm\"\nmax_hole = \"{longest}\"\n"
                )
            };
            let rules = rule("192.0.2.1") + &rule("*.example.com");
            let text =
                format!("version = 1\ndefault = \"confirm\"\nmax_hole = \"{most}\"\n{rules}");
            policy::parse("one.toml", &text).unwrap().policy
        };
        let environment = Environment::default();
        let shown = |before: [&str; 2], after: [&str; 2]| {
            let [old, new] = [before, after].map(|[most, longest]| parsed(most, longest));
            let [a, b] = [&old, &new].map(|one| policy::compile(one, &environment).unwrap());
            let [old, new] =
                [(&old, &a), (&new, &b)].map(|(policy, compiled)| Side { policy, compiled });
            let found = Differences::of(["old", "new"], old, new, &environment);
            page(&found, &clock()).plain()
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
