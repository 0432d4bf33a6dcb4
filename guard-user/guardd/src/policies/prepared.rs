//! From a policy's text to tables: parsed, and compiled for what its names and groups stand for now. Nothing is put in place here.

use guard_policy::{
    self as policy, Compiled, Diagnostic, Environment, Group, Policy, Rule, Severity, Target,
};

use super::library::{self, PolicyText};
use crate::control::failure::CallError;

/// A policy that is ready to be put in place: parsed, resolved and compiled.
#[derive(Clone, Debug)]
pub(crate) struct Prepared {
    /// Its source.
    pub(crate) source: PolicyText,
    /// Its parsed text.
    pub(crate) policy: Policy,
    /// Its tables.
    pub(crate) compiled: Compiled,
    /// Warnings for its author.
    pub(crate) warnings: Vec<String>,
    /// The addresses of its names and groups when it was compiled.
    pub(super) fitted: Environment,
}

/// A policy that is parsed, and not compiled yet.
#[derive(Clone, Debug)]
pub(crate) struct ParsedPolicy {
    /// Its parsed text.
    pub(crate) policy: Policy,
    /// Warnings for its author.
    pub(crate) warnings: Vec<String>,
}

/// Parses a policy's text.
///
/// # Errors
///
/// `Invalid`, with where and what is wrong.
pub(crate) fn parse(source: &PolicyText) -> Result<ParsedPolicy, CallError> {
    let file = source.shown_file();
    let mut parsed = policy::parse(&file, &source.text).map_err(|wrong| invalid(&file, &wrong))?;
    if source.observe {
        parsed.policy.observe();
    }
    if source.base {
        parsed.policy.lie_around();
    }
    let warnings = parsed.warnings.iter();
    Ok(ParsedPolicy {
        policy: parsed.policy,
        warnings: warnings
            .map(|one| {
                let place = policy::place(&one.file, Some(one.line));
                format!("{place}: {}", one.message)
            })
            .collect(),
    })
}

/// Compiles a policy with the current addresses of its names and groups.
///
/// # Errors
///
/// `Invalid` if it does not fit into the kernel's tables, or has a wildcard that nothing could hold sessions to.
pub(crate) fn compile(
    source: PolicyText,
    mut read: ParsedPolicy,
    now: &Environment,
) -> Result<Prepared, CallError> {
    read.policy.is_layer = source.is_layer();
    let compiled = policy::compile(&read.policy, now)
        .map_err(|wrong| invalid(&source.shown_file(), &wrong))?;
    if let Some(wildcard) = unheld(&read.policy, now) {
        return Err(CallError::invalid(
            format!("the policy {} cannot be held to", source.shown_file()),
            format!(
                "{wildcard} is stricter than the default, and nothing judges names: {NO_JUDGE}"
            ),
            "install guard-resolver beside guardd, and sudo systemctl restart guardd; or write prefixes",
        ));
    }
    Ok(Prepared {
        source,
        fitted: relevant(&read.policy, now),
        warnings: [read.warnings, unjudged(&read.policy, now)].concat(),
        policy: read.policy,
        compiled,
    })
}

/// Why nothing judges the names that sessions ask for.
const NO_JUDGE: &str = "guard-resolver is not installed, or the kernel half is of an older version";

/// A wildcard that is stricter than what addresses may get, where nothing judges the names that sessions ask for: what it
/// closes would be open.
fn unheld<'p>(policy: &'p Policy, now: &Environment) -> Option<&'p Target> {
    let narrow = [
        Group::Loopback,
        Group::Dns,
        Group::Multicast,
        Group::Metadata,
    ];
    let is_wide = |target: &Target| match target {
        Target::Prefix(prefix) => !prefix.is_host(),
        Target::Group(group) => !narrow.contains(group),
        Target::Name(_) | Target::Wildcard(_) => false,
    };
    let by_address = policy
        .rules
        .iter()
        .filter(|rule| rule.to.iter().any(is_wide));
    let mildest = by_address.map(|rule| rule.action.strictness());
    let mildest = mildest.fold(policy.default.strictness(), u8::min);
    let is_stricter = |rule: &&Rule| rule.action.strictness() > mildest;
    let rules = policy.rules.iter().filter(is_stricter);
    let mut targets = rules.flat_map(|rule| &rule.to);
    let wildcard = targets.find(|target| matches!(target, Target::Wildcard(_)));
    wildcard.filter(|_| !now.judges_names)
}

/// Warns of wildcards, and of names that TLS has to show, where nothing judges the names that sessions ask for.
fn unjudged(policy: &Policy, now: &Environment) -> Vec<String> {
    let shown = (!now.judges_names && policy.looks_at_sni())
        .then(|| format!("`tls = \"name\"` lets no TLS pass: {NO_JUDGE}"));
    let targets = policy.rules.iter().flat_map(|rule| &rule.to);
    let mut wildcards = targets.filter(|target| matches!(target, Target::Wildcard(_)));
    let first = (!now.judges_names).then(|| wildcards.next()).flatten();
    let warning = first.map(|first| format!("{first} holds for nothing: {NO_JUDGE}"));
    warning.into_iter().chain(shown).collect()
}

/// The part of an environment that a policy's tables depend on: its own names and groups.
#[must_use]
pub(crate) fn relevant(policy: &Policy, known: &Environment) -> Environment {
    let uses = |group: Group| {
        let mut targets = policy.rules.iter().flat_map(|rule| &rule.to);
        targets.any(|target| *target == Target::Group(group))
    };
    let names = policy.names();
    let names = names.filter_map(|name| known.names.get_key_value(name.as_str()));
    let own = policy.names().map(|name| name.as_str().to_owned());
    // Names make nothing more permissive at this machine's addresses, and most not in its networks.
    let judges_names = known.judges_names && policy.has_patterns();
    Environment {
        names: names.map(|(name, at)| (name.clone(), at.clone())).collect(),
        public: own.filter(|name| known.public.contains(name)).collect(),
        dns: kept(uses(Group::Dns), &known.dns),
        host: kept(judges_names || uses(Group::GuardedHost), &known.host),
        on_link: kept(judges_names || uses(Group::OnLink), &known.on_link),
        judges_names,
    }
}

fn kept<T: Clone>(is_used: bool, all: &[T]) -> Vec<T> {
    if is_used { all.to_vec() } else { Vec::new() }
}

/// Errors of a policy that are reported at once.
const MAX_WRONG: usize = 5;

fn invalid(file: &str, wrong: &[Diagnostic]) -> CallError {
    let told = wrong.iter().filter(|one| one.severity == Severity::Error);
    let told: Vec<_> = told.take(MAX_WRONG).map(in_one_line).collect();
    let fix = match library::fleets(file) {
        Some(name) => format!(
            "correct {name} in the directory that is signed, and have it signed again: guard check {name}; guard policy sign DIR"
        ),
        None => format!("guard check {file}"),
    };
    CallError::invalid(
        format!("the policy {file} is not valid"),
        told.join("; "),
        fix,
    )
}

/// A diagnostic for the log and for `guard status`: where, what, and what would be right.
fn in_one_line(one: &Diagnostic) -> String {
    let help = one.help.as_ref().map(|help| format!(" ({help})"));
    let text = one.text.lines().next().unwrap_or_default();
    let shown = !text.is_empty() && !one.message.contains(text);
    let text = shown.then(|| format!(", at {}", cut(text)));
    format!(
        "line {}, column {}{}: {}{}",
        one.line,
        one.column,
        text.unwrap_or_default(),
        one.message,
        help.unwrap_or_default(),
    )
}

/// The beginning of a text from a policy.
fn cut(text: &str) -> String {
    const MOST: usize = 80;
    let kept: String = text.chars().take(MOST).collect();
    if kept.len() < text.len() {
        kept + "…"
    } else {
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_policy::Prefix;

    use super::*;

    #[test]
    fn a_wildcard_that_nothing_holds_sessions_to_is_refused_where_it_is_stricter() {
        let public = "[[rule]]\nto = [\"@public\"]\naction = \"allow\"\n";
        let compiled = |default: &str, action: &str, judges_names| {
            let (default, more) = match default {
                "public" => ("deny", public),
                other => (other, ""),
            };
            let text = format!(
                "version = 1\ndefault = \"{default}\"\n{more}[[rule]]\nto = [\"*.prod.example\"]\naction = \"{action}\"\n"
            );
            let source = PolicyText::brought(None, text);
            let read = parse(&source).unwrap();
            let now = Environment {
                judges_names,
                ..Environment::default()
            };
            compile(source, read, &now)
        };
        for (default, action) in [
            ("allow", "confirm"),
            ("allow", "deny"),
            ("confirm", "deny"),
            ("public", "deny"),
        ] {
            let error = compiled(default, action, false).unwrap_err().to_string();
            assert!(error.contains("*.prod.example"), "{error}");
            assert!(error.contains("guard-resolver is not installed"), "{error}");
            assert!(compiled(default, action, true).is_ok());
        }
        // What would only open stays shut, with a warning.
        let shut = compiled("deny", "allow", false).unwrap();
        assert!(shut.warnings[0].contains("holds for nothing"));
    }

    #[test]
    fn a_policy_depends_on_its_own_names_and_groups_only() {
        let known = Environment {
            names: ["db.example.com", "other.example.com"]
                .map(|name| (name.to_owned(), vec![IpAddr::from([192, 0, 2, 1])]))
                .into(),
            public: ["db.example.com", "other.example.com"]
                .map(str::to_owned)
                .into(),
            dns: vec![IpAddr::from([192, 0, 2, 53])],
            host: vec![IpAddr::from([192, 0, 2, 2])],
            on_link: vec![Prefix::v4([192, 0, 2, 0], 24)],
            judges_names: false,
        };
        let text =
            "default = \"allow\"\n[[rule]]\nto = [\"db.example.com\", \"@dns\"]\naction = \"deny\"";
        let source = PolicyText::brought(None, format!("version = 1\n{text}"));
        let relevant = relevant(&parse(&source).unwrap().policy, &known);
        assert_eq!((relevant.names.len(), relevant.public.len()), (1, 1));
        assert_eq!(relevant.dns, known.dns);
        assert!(relevant.host.is_empty() && relevant.on_link.is_empty());
    }

    #[test]
    fn a_bad_policy_says_where_it_is_bad() {
        let source =
            PolicyText::brought(Some("./mine.toml".to_owned()), "version = 1\nx = 1".into());
        let error = parse(&source).unwrap_err().failure;
        assert!(error.what.contains("./mine.toml"), "{error}");
        assert!(error.why.contains("line 2, column 1"), "{error}");
    }
}
