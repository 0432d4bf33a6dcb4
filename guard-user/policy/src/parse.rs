//! From the text of a policy to its model: the way in to `rules.rs`, `profiles.rs`, `http.rs` and `target.rs`.

use std::{path::Path, time::Duration};

use guard_common::Verdict;
use toml::de::{DeTable, DeValue};

use super::{
    diagnostic::Diagnostic,
    duration::parse_duration,
    invalid::{Invalid, nearest, printable, quoted},
    model::{Action, DEFAULT_HOLD, DnsNames, LONGEST_HOLD, Policy},
    shadowed,
    socket::SocketName,
    source::{Source, Table},
    warnings,
};

/// A policy, and what its author should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The policy.
    pub policy: Policy,
    /// Warnings, in the order of the file.
    pub warnings: Vec<Diagnostic>,
}

/// The version of the language that is read here.
const VERSION: &str = "1";

pub(super) const POLICY_KEYS: &[&str] = &[
    "version", "name", "default", "hold", "inbound", "max_hole", "rule", "unix", "dns",
];

/// Parses a policy. `file` is the name to show for it.
///
/// # Errors
/// All that is wrong with it, in the order of the file, with the warnings among it.
pub fn parse(file: &str, text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let mut source = Source::new(file, text);
    let (root, errors) = DeTable::parse_recoverable(text);
    let is_first = |error: &&toml::de::Error| !is_consequence(root.get_ref(), error);
    for error in errors.iter().filter(is_first) {
        source.syntax_error(error);
    }
    let mut reader = Reader { source };
    let policy = reader.policy(file, root.get_ref());
    let has_names = policy.dns_names.is_some();
    warnings::secure_dns(&mut reader.source, &policy.rules, has_names);
    warnings::dns_over_https(&mut reader.source, &policy, root.get_ref());
    shadowed::tell(&mut reader.source, &policy.rules);
    let warnings = reader.source.finish()?;
    Ok(Parsed { policy, warnings })
}

/// Whether an error follows only from `rule` being a table, and not a list of tables, for which there is an error of its own.
fn is_consequence(root: &DeTable<'_>, error: &toml::de::Error) -> bool {
    let rule = root.get("rule").filter(|rule| rule.get_ref().is_table());
    let at = error.span().unwrap_or_default().start;
    let follows = rule.is_some_and(|rule| at > rule.span().start);
    follows && error.message() == "duplicate key"
}

/// What `[dns]` says.
#[derive(Clone, Copy, Debug, Default)]
struct Dns {
    names: Option<DnsNames>,
    search_silent: bool,
}

/// A policy that is being read.
pub(super) struct Reader<'s> {
    pub(super) source: Source<'s>,
}

impl<'s> Reader<'s> {
    /// The policy, with something harmless in place of what is wrong: it is thrown away then.
    fn policy(&mut self, file: &str, entries: &DeTable<'s>) -> Policy {
        let table = Table {
            entries,
            span: 0..0,
            known: POLICY_KEYS,
        };
        self.source.check_keys(&table);
        self.version(&table);
        let default = self.default(&table);
        let dns = self.dns(&table);
        Policy {
            name: self
                .source
                .optional(&table, "name", "a name", policy_name)
                .unwrap_or_else(|| stem(file)),
            file: file.to_owned(),
            default,
            default_line: table
                .get("default")
                .map(|value| self.source.place(value.span()).line),
            hold: self.hold(&table),
            inbound: self.inbound(&table),
            max_hole: self.max_hole(&table),
            unix: self.unix(&table),
            dns_names: dns.names,
            dns_search_silent: dns.search_silent,
            rules: self.rules(&table, default),
            is_layer: false,
        }
    }

    fn version(&mut self, table: &Table<'_, 's>) {
        let Some(value) = table.get("version") else {
            return;
        };
        match value.get_ref() {
            DeValue::Integer(number) if number.as_str() == VERSION => {}
            DeValue::Integer(_) => self.source.error(
                value.span(),
                Invalid::new("this guard does not know that version of the language")
                    .help(format!("write `{VERSION}`, or use a newer guard")),
            ),
            _ => self
                .source
                .mismatch(value, &format!("the number {VERSION}")),
        }
    }

    fn default(&mut self, table: &Table<'_, 's>) -> Action {
        const DEFAULTS: &[Action] = &[Verdict::Allow, Verdict::Confirm, Verdict::Deny];
        let expected = "\"allow\", \"confirm\" or \"deny\"";
        let given = self
            .source
            .optional(table, "default", expected, |text| action(text, DEFAULTS));
        given.unwrap_or(Verdict::Deny)
    }

    fn hold(&mut self, table: &Table<'_, 's>) -> Duration {
        let expected = "a duration like \"60s\"";
        let given = self
            .source
            .optional(table, "hold", expected, parse_duration);
        let hold = given.unwrap_or(DEFAULT_HOLD);
        if let Some(value) = table.get("hold").filter(|_| hold > LONGEST_HOLD) {
            self.source
                .warn(value.span(), warnings::longer_than_held(hold));
        }
        hold
    }

    fn inbound(&mut self, table: &Table<'_, 's>) -> bool {
        let Some(value) = table.get("inbound") else {
            return true;
        };
        let given = value.get_ref().as_bool();
        if given.is_none() {
            self.source.mismatch(value, "true or false");
        }
        given.unwrap_or(true)
    }

    /// `[unix]`
    fn unix(&mut self, table: &Table<'_, 's>) -> Vec<SocketName> {
        let Some(value) = table.get("unix") else {
            return Vec::new();
        };
        let DeValue::Table(entries) = value.get_ref() else {
            self.source.mismatch(value, "a table, written `[unix]`");
            return Vec::new();
        };
        let table = Table {
            entries,
            span: value.span(),
            known: &["allow"],
        };
        self.source.check_keys(&table);
        let Some(allow) = table.get("allow") else {
            return Vec::new();
        };
        let named: Option<Vec<SocketName>> = self.source.list(allow, "a socket", str::parse);
        for item in allow.get_ref().as_array().into_iter().flatten() {
            let name = item.get_ref().as_str().map(str::parse::<SocketName>);
            if name.is_some_and(|name| name.is_ok_and(|name| name.is_anybodys())) {
                self.source.warn(item.span(), warnings::anybodys_sockets());
            }
        }
        named.unwrap_or_default()
    }

    /// `[dns]`
    fn dns(&mut self, table: &Table<'_, 's>) -> Dns {
        let Some(value) = table.get("dns") else {
            return Dns::default();
        };
        let DeValue::Table(entries) = value.get_ref() else {
            self.source.mismatch(value, "a table, written `[dns]`");
            return Dns::default();
        };
        let table = Table {
            entries,
            span: value.span(),
            known: &["names", "search"],
        };
        self.source.check_keys(&table);
        let expected = "\"any\", \"ask\" or \"rules\"";
        let names = self.source.optional(&table, "names", expected, dns_names);
        let search = self
            .source
            .optional(&table, "search", "\"silent\"", |text| match text {
                "silent" => Ok(()),
                other => Err(
                    Invalid::new(format!("expected silent, found {}", quoted(other)))
                        .help("write `search = \"silent\"`, or leave it out"),
                ),
            });
        if let Some(value) = table.get("search").filter(|_| names != Some(DnsNames::Ask)) {
            self.source.warn(value.span(), warnings::nothing_asked());
        }
        Dns {
            names,
            search_silent: search.is_some(),
        }
    }

    pub(super) fn max_hole(&mut self, table: &Table<'_, 's>) -> Option<Duration> {
        let expected = "a duration like \"30m\"";
        self.source.optional(table, "max_hole", expected, |text| {
            match parse_duration(text)? {
                Duration::ZERO => Err(Invalid::new("no hole could ever be opened")
                    .help("write `action = \"deny\"` where nothing may pass")),
                duration => Ok(duration),
            }
        })
    }
}

/// What `[dns] names` says.
fn dns_names(text: &str) -> Result<DnsNames, Invalid> {
    const WORDS: &[&str] = &["any", "ask", "rules"];
    match text {
        "any" => Ok(DnsNames::Any),
        "ask" => Ok(DnsNames::Ask),
        "rules" => Ok(DnsNames::Rules),
        other => {
            // The actions that come to the same.
            let meant = match synonym(other, &["allow", "confirm", "deny"]).unwrap_or(other) {
                "allow" | "all" => Some("any"),
                "confirm" => Some("ask"),
                "deny" | "none" => Some("rules"),
                other => nearest(other, WORDS),
            };
            let help = match meant {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => "`rules` refuses names that no rule names, `ask` asks a person, `any` lets them pass".to_owned(),
            };
            let expected = WORDS.join(", ");
            let found = quoted(other);
            Err(Invalid::new(format!("expected one of {expected}, found {found}")).help(help))
        }
    }
}

/// One of the actions that may stand in a place.
pub(super) fn action(text: &str, allowed: &[Action]) -> Result<Action, Invalid> {
    let found = allowed.iter().find(|action| action.as_str() == text);
    found.copied().ok_or_else(|| {
        let names: Vec<_> = allowed.iter().map(|action| action.as_str()).collect();
        let expected = names.join(", ");
        let invalid = Invalid::new(format!(
            "expected one of {expected}, found {}",
            quoted(text)
        ));
        let meant = nearest(text, &names).or_else(|| synonym(text, &names));
        match meant {
            Some(meant) => invalid.help(format!("did you mean `{meant}`?")),
            None => invalid,
        }
    })
}

/// What other tools call an action.
fn synonym<'n>(text: &str, names: &[&'n str]) -> Option<&'n str> {
    let meant = match text.to_ascii_lowercase().as_str() {
        "block" | "drop" | "reject" | "refuse" | "forbid" | "never" | "no" => Verdict::Deny,
        "ask" | "prompt" | "hold" | "wait" => Verdict::Confirm,
        "permit" | "accept" | "pass" | "yes" => Verdict::Allow,
        "read" | "ro" | "get" | "read_only" => Verdict::ReadOnly,
        _ => return None,
    };
    names.iter().copied().find(|name| *name == meant.as_str())
}

const LONGEST_NAME: usize = 100;

/// A policy's name is typed and becomes part of paths.
fn policy_name(text: &str) -> Result<String, Invalid> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.chars().all(plain) && !text.starts_with(['.', '-']) {
        return rule_name(text);
    }
    Err(Invalid::new(format!("{} is not a name", quoted(text)))
        .help("write letters, digits, `-`, `_` and `.`, a letter or digit first"))
}

/// The name of a rule is shown and never typed into a path.
pub(super) fn rule_name(text: &str) -> Result<String, Invalid> {
    match printable(text)? {
        name if name.chars().count() <= LONGEST_NAME => Ok(name),
        _ => Err(Invalid::new(format!(
            "a name has {LONGEST_NAME} characters at most"
        ))),
    }
}

/// The name of a policy that has none: its file's, without what cannot stand in one.
fn stem(file: &str) -> String {
    let stem = Path::new(file).file_stem().unwrap_or_default();
    let stem = stem.to_string_lossy();
    policy_name(&stem).unwrap_or_else(|_| "unnamed".to_owned())
}
