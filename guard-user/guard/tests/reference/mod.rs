//! The parts of docs/reference that are made from the code. `cargo xtask docs --write` writes them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::{env, fs};

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory as _};
use guard::reference::{errors, rows};
use guard_proto::Counters;

use crate::{Config, LogKind, cli, root, varlink};
use source::{Field, Source};

mod source;

/// The environment variable that has the pages written instead of compared.
const WRITE: &str = "GUARD_DOCS_WRITE";

#[test]
fn the_verbs_are_those_of_the_command_line() {
    let guard = cli::args::Cli::command();
    let mut table = String::new();
    for verb in guard.get_subcommands() {
        verbs(&mut table, "", verb);
    }
    is_made("cli.md", "verbs", &table);
}

/// A row for a verb, or one for each of its own verbs.
fn verbs(table: &mut String, before: &str, verb: &Command) {
    let name = format!("{before}{}", verb.get_name());
    if verb.is_hide_set() {
        return;
    }
    if verb.has_subcommands() {
        return verb
            .get_subcommands()
            .for_each(|one| verbs(table, &format!("{name} "), one));
    }
    let operands = verb.get_positionals().map(typed);
    let operands: String = operands.map(|one| format!(" {one}")).collect();
    let aliases: Vec<_> = verb
        .get_all_aliases()
        .map(|one| format!("`{one}`"))
        .collect();
    let also = if aliases.is_empty() {
        String::new()
    } else {
        format!(" ({})", aliases.join(", "))
    };
    let _ = writeln!(table, "- `{name}{operands}`: {}{also}", about(verb));
}

/// An operand, as it is typed: `ID`.
fn typed(operand: &Arg) -> String {
    let names = operand.get_value_names().unwrap_or_default();
    let names: Vec<_> = names.iter().map(|name| name.as_str()).collect();
    if names.is_empty() {
        operand.get_id().as_str().to_uppercase()
    } else {
        // A bar would end a cell.
        names.join(" ").replace('|', " or ")
    }
}

/// Without its exit status, of which the page has a list.
fn about(verb: &Command) -> String {
    let about = verb.get_about().map(ToString::to_string);
    let about = about.unwrap_or_default();
    about.split("; 1 if ").next().unwrap_or_default().to_owned()
}

#[test]
fn the_exit_statuses_are_those_of_the_code() {
    let guard = Source::with("impl Exit {", "");
    let launch = Source::with("const NOT_EXECUTABLE: u8", "");
    let mut rows: BTreeMap<u8, String> = BTreeMap::new();
    for (status, says) in guard.statuses().into_iter().chain(launch.statuses()) {
        // Both have the one for a command that could not be started: the first is told.
        rows.entry(status).or_insert(says);
    }
    let mut answering_no = Vec::new();
    answer_no("", &cli::args::Cli::command(), &mut answering_no);
    assert!(answering_no.len() > 5, "{answering_no:?}");
    for verb in answering_no {
        let says = &rows[&1];
        assert!(
            says.contains(&format!("`{verb}")),
            "nothing is told of 1 by {verb}"
        );
    }
    let rows = rows.iter();
    let rows = rows.map(|(status, says)| format!("- {status}: {}\n", lower(says)));
    is_made("cli.md", "statuses", &rows.collect::<String>());
}

/// The verbs whose help says what the exit status 1 means.
fn answer_no(before: &str, command: &Command, found: &mut Vec<String>) {
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        let name = format!("{before}{}", verb.get_name());
        let told = |text: Option<&StyledStr>| text.map(ToString::to_string).unwrap_or_default();
        let (about, after) = (told(verb.get_about()), told(verb.get_after_help()));
        let statuses = after.split("Exit status:").nth(1).unwrap_or_default();
        if about.contains("; 1 if ") || statuses.split_whitespace().any(|word| word == "1") {
            found.push(name.clone());
        }
        answer_no(&format!("{name} "), verb, found);
    }
}

#[test]
fn the_settings_are_those_of_guardd_toml() {
    let source = Source::with("struct Config {", "deny_unknown_fields");
    // As `max_requests: 1024,`: what has no default is no word of TOML's.
    let defaults = format!("{:#?}", Config::default());
    let default = |name: &str| {
        let line = format!("\n    {name}: ");
        let (_, rest) = defaults.split_once(&line).unwrap();
        let value = rest.split(',').next().unwrap();
        let is_plain = value.parse::<u64>().is_ok() || value.parse::<bool>().is_ok();
        if is_plain {
            format!(" = `{value}`")
        } else {
            String::new()
        }
    };
    let mut table = String::new();
    let mut row = |name: &str, default: &str, field: &Field| {
        let _ = writeln!(table, "- `{name}`{default}: {}", field.says);
    };
    for field in source.fields("Config") {
        let inner = source.structs().find(|name| field.kind.contains(name));
        let Some(inner) = inner else {
            row(&field.name, &default(&field.name), &field);
            continue;
        };
        for one in source.fields(&inner) {
            let shown = if field.kind.starts_with("Vec") {
                format!("[[{}]] {}", field.name, one.name)
            } else {
                format!("[{}] {}", field.name, one.name)
            };
            row(&shown, "", &one);
        }
    }
    is_made("settings.md", "keys", &table);
}

/// What `--json` prints, by where it is defined: a folder, or what its file has.
const OBJECTS: &[(&str, &[(&str, &str)])] = &[
    (
        "guard-user/proto/src/",
        &[
            ("Session", "session"),
            ("LeftProcess", "`left`"),
            ("Request", "request"),
            ("Endpoint", "endpoint (`destination`)"),
            ("HttpRequest", "`http` of a request"),
            ("Burst", "`burst`"),
            ("Alike", "`alike`"),
            ("Offer", "`offers`"),
            ("ChainLink", "`chain`"),
            ("DnsQuestion", "`question`"),
            ("NameTold", "`named`"),
            ("Listener", "`listener`"),
            ("Hole", "hole"),
            ("HttpHole", "`http` of a hole"),
            ("Explanation", "explanation"),
            ("Flow", "flow"),
            ("Status", "status"),
            ("PolicyStatus", "`policies`"),
            ("HookStatus", "`hooks`"),
            ("UnservedNetwork", "`unserved_networks`"),
            ("AuditStatus", "`audit`"),
            ("Counters", "`guard metrics`"),
            ("SessionCounters", "`by_session`"),
            ("WhyReport", "`guard why`"),
            ("Stopped", "`stopped`"),
            ("Outcome", "`outcome`"),
            ("PersonsNo", "`refused`"),
            ("DecidesNow", "`now` of stopped"),
            ("Requested", "`guard request`"),
            ("Row", "`guard doctor`"),
            ("Asked", "`guard question`"),
            ("Taken", "`guard answer`"),
            ("ApproverShown", "`guard approver`"),
            ("KeyShown", "`keys`"),
            ("Invited", "`guard approver invite`"),
            ("Presented", "`guard approver present`"),
        ],
    ),
    (
        "struct StoppedLine {",
        &[
            ("Report", "`guard report`"),
            ("SessionLine", "`sessions`"),
            ("StoppedLine", "`stopped`"),
            ("RequestLine", "`requests`"),
            ("HoleLine", "`holes`"),
        ],
    ),
    (
        "struct Verified {",
        &[("Verified", "`guard log --verify`"), ("Break", "`broken`")],
    ),
    (
        "struct CheckedSignature {",
        &[("CheckedSignature", "`signatures`")],
    ),
    (
        "struct Suggestion {",
        &[
            ("Suggestion", "`guard suggest`"),
            ("SuggestedRule", "`rules`"),
            ("SuggestedHttp", "`http`"),
        ],
    ),
    (
        "struct LearnedPolicy {",
        &[
            ("LearnedPolicy", "`guard suggest --from-flows`"),
            ("LearnedRule", "`rules`"),
        ],
    ),
    (
        "struct Differences {",
        &[
            ("Differences", "`guard diff`"),
            ("NameChange", "`names`"),
            ("SettingChange", "`settings`"),
            ("HoleShift", "`holes`"),
        ],
    ),
    ("enum Opens {", &[("AddressChange", "`changes`")]),
    (
        "struct Discovered {",
        &[
            ("Discovered", "`guard discover`"),
            ("InReach", "`items`"),
            ("Now", "`now`"),
            ("Proposed", "`proposed`"),
        ],
    ),
    (
        "struct LeftOut {",
        &[
            ("Written", "`guard discover --write`"),
            ("LeftOut", "`left_out`"),
        ],
    ),
    ("struct Trusted {", &[("Trusted", "`guard trust`")]),
    ("struct How {", &[("How", "`ended`")]),
    ("struct Broken {", &[("Broken", "`broken` of status")]),
    ("struct Dismissed {", &[("Dismissed", "`dismissed`")]),
    ("\nstruct Checked {", &[("Checked", "`guard check`")]),
    ("struct Diagnostic {", &[("Diagnostic", "`diagnostics`")]),
];

#[test]
fn the_objects_are_those_that_are_printed() {
    let mut list = String::new();
    for (file, objects) in OBJECTS {
        let source = if file.ends_with('/') {
            Source::below(file)
        } else {
            Source::with(file, "")
        };
        for (name, title) in *objects {
            let fields = source.fields(name);
            let fields: Vec<_> = fields.iter().map(told).collect();
            let _ = writeln!(list, "**{}**: {}\n", title, fields.join("; "));
        }
    }
    is_made("json.md", "objects", &list);
    is_made("json.md", "methods", &methods());
}

/// What records share, by the name that it has in them.
const SHARED_OBJECTS: [(&str, &str); 3] = [
    ("DecisionOrigin", "from"),
    ("Signature", "signed"),
    ("Gathered", "burst"),
];

#[test]
fn the_records_are_those_that_are_written() {
    let source = Source::with("macro_rules! kinds {", "");
    let listed = |fields: &[Field]| {
        let fields: Vec<_> = fields.iter().map(commented).collect();
        fields.join("; ")
    };
    let common = source.record("Common");
    let mut list = format!("- of any kind: {}\n", listed(&common.fields));
    for kind in LogKind::ALL {
        let record = source.record(&format!("{kind:?}"));
        let name = serde_json::to_value(kind).unwrap();
        let name = name.as_str().unwrap();
        let note = record.says.split_once(": ");
        let note = note.map_or_else(String::new, |(_, note)| format!(" ({note})"));
        let _ = writeln!(list, "- `{name}`{note}: {}", listed(&record.fields));
    }
    for (object, name) in SHARED_OBJECTS {
        let fields = source.fields(object);
        let fields: Vec<_> = fields.iter().map(told).collect();
        let _ = writeln!(list, "- `{name}`: {}", fields.join("; "));
    }
    is_made("json.md", "records", &list);
}

/// A field, and its comment, if it has one.
fn commented(field: &Field) -> String {
    if field.says.is_empty() {
        format!("`{}`", field.name)
    } else {
        format!("`{}` ({})", field.name, lower(&field.says))
    }
}

/// What the page says of all fields together.
const COMMON: [&str; 20] = [
    "`allow`, `confirm`, `read-only` or `deny`",
    "`allow`, `confirm` or `read-only`",
    "`confirm` or `read-only`",
    "`confirm`, `read-only` or `deny`",
    "null for a connection",
    "null if invalid",
    "null if it is ok",
    "null if the protocol has none",
    "null until it has entered",
    "null while it lives",
    "null while it runs, or unseen",
    "null: all",
    "null: any",
    "null: any number",
    "null: it cannot be said",
    "null: none",
    "null: not known yet",
    "null: the policy's default",
    "null: the policy's default, or unknown",
    "null: unknown",
];

/// A field, and which values it has: what else it is, its name says.
fn told(field: &Field) -> String {
    let parts = field.says.split("; ");
    let parts: Vec<_> = parts
        .filter(|part| !COMMON.contains(part) && has_values(part))
        .collect();
    if parts.is_empty() {
        format!("`{}`", field.name)
    } else {
        format!("`{}` ({})", field.name, lower(&parts.join("; ")))
    }
}

fn has_values(says: &str) -> bool {
    says.contains(|c: char| c == '`' || c.is_ascii_digit())
        || ["null", "Null", "empty", "Empty"]
            .iter()
            .any(|word| says.contains(word))
}

/// As it stands in a sentence.
fn lower(says: &str) -> String {
    let is_name = says.chars().nth(1).is_some_and(char::is_uppercase);
    let (first, rest) = says.split_at(says.chars().next().map_or(0, char::len_utf8));
    if is_name {
        says.to_owned()
    } else {
        first.to_lowercase() + rest
    }
}

/// Methods for `guard run`, of which the page says no more.
const INTERNAL: [&str; 14] = [
    "Run",
    "Enter",
    "Held",
    "NameSockets",
    "SocketAddress",
    "HasSocket",
    "HasBound",
    "SocketRefused",
    "Appeared",
    "InReach",
    "Decisions",
    "Dismiss",
    "DismissFile",
    "PolicyText",
];

/// Those that do what a verb does, and the first sentence about each other.
fn methods() -> String {
    let guard = cli::args::Cli::command();
    let is_verb = |name: &str| guard.find_subcommand(name.to_lowercase()).is_some();
    let (mut verbs, mut others, mut says) = (Vec::new(), Vec::new(), String::new());
    for line in varlink::DESCRIPTION.lines() {
        if let Some(comment) = line.strip_prefix("# ") {
            let _ = write!(says, "{comment} ");
        } else if let Some(method) = line.strip_prefix("method ") {
            let name = method.split('(').next().unwrap();
            let first = says.split(". ").next().unwrap();
            let first = first.trim_end_matches(['.', ' ']);
            match (INTERNAL.contains(&name), is_verb(name)) {
                (true, _) => {}
                (false, true) => verbs.push(format!("`{name}`")),
                (false, false) => others.push(format!("`{name}`: {}.", lower(first))),
            }
        }
        if !line.starts_with('#') {
            says.clear();
        }
    }
    let verbs = verbs.join(", ");
    format!("As the [verbs](cli.md): {verbs}. {}", others.join(" "))
}

#[test]
fn the_metrics_are_those_that_are_served() {
    let text = guard::metrics::text(Counters::default()).unwrap();
    let mut table = String::new();
    let mut help = String::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("# HELP ") {
            let (_, says) = line.split_once(' ').unwrap();
            help = says.trim_end_matches('.').to_owned();
        } else if let Some(line) = line.strip_prefix("# TYPE ") {
            let (family, kind) = line.split_once(' ').unwrap();
            let end = if kind == "counter" { "_total" } else { "" };
            let name = format!("{family}{end}");
            let values = values(&text, &name);
            let _ = writeln!(table, "- `{name}`: {help}{values}");
        }
    }
    is_made("metrics.md", "metrics", &table);
}

/// The values of a family's label that are there from the start.
fn values(text: &str, name: &str) -> String {
    let series = text
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('{'));
    let labels = series.filter_map(|line| line.split_once("=\""));
    let mut found: Vec<_> = labels
        .filter(|(label, _)| !label.contains(','))
        .map(|(label, rest)| (label, rest.split('"').next().unwrap_or_default()))
        .filter(|(_, value)| !value.is_empty())
        .collect();
    found.sort_unstable();
    let Some((label, _)) = found.first().copied() else {
        return String::new();
    };
    let values: Vec<_> = found
        .iter()
        .map(|(_, value)| format!("`{value}`"))
        .collect();
    format!("; `{label}`: {}", values.join(", "))
}

#[test]
fn the_errors_are_those_that_are_told() {
    let code = source::production();
    for one in errors::MESSAGES {
        for part in one
            .message
            .split('\u{2026}')
            .map(|part| part.trim_matches([' ', ':', ',']))
        {
            assert!(code.contains(part), "no code says {part:?} ({})", one.code);
        }
    }
    is_made("errors.md", "errors", &errors::page());
}

#[test]
fn the_rows_of_doctor_are_those_that_are_tried() {
    let code = source::production();
    let named = code.split("Family::").skip(1);
    let named = named
        .filter_map(|rest| rest.split_once(", \""))
        .filter(|(family, _)| family.chars().all(char::is_alphanumeric));
    let named = named.filter_map(|(_, rest)| rest.split('"').next());
    let tried: BTreeSet<_> = named.collect();
    assert!(tried.len() > 30, "{tried:?}");
    let told: BTreeSet<_> = rows::all().map(|row| row.check).collect();
    let missing: Vec<_> = tried.difference(&told).collect();
    assert!(missing.is_empty(), "nothing is told of {missing:?}");
    for row in told.difference(&tried) {
        // What has another name in the code than on the screen.
        let name = row.strip_prefix("hook ").unwrap_or(row);
        assert!(
            code.contains(&format!("\"{name}\"")),
            "guard doctor has no row {row:?}"
        );
    }
    is_made("doctor.md", "rows", &rows::page());
}

/// That the part of that name on a page is what the code says; or writes it.
fn is_made(page: &str, name: &str, made: &str) {
    let path = root().join("docs/reference").join(page);
    let text = fs::read_to_string(&path).unwrap();
    let begin = format!("<!-- {name}: made by `cargo xtask docs --write` -->\n");
    let end = format!("<!-- end of {name} -->");
    let (before, rest) = text.split_once(&begin).unwrap();
    let (old, after) = rest.split_once(&end).unwrap();
    let made = made.trim_end().to_owned() + "\n";
    if env::var_os(WRITE).is_some() {
        fs::write(&path, format!("{before}{begin}{made}{end}{after}")).unwrap();
    } else {
        assert!(
            old == made,
            "docs/reference/{page} is old: run `cargo xtask docs --write`"
        );
    }
}
