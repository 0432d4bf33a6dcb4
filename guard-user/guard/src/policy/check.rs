//! `guard check`: needs no guardd, but for what a fleet has.

use std::ops::Range;
use std::path::Path;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use guard_common::Verdict;
use guard_policy::{
    self as policy, Compiled, Diagnostic, DnsNames, Environment, Parsed, Policy, Severity, Side,
    Target,
};
use guard_proto::Failure;
use serde::Serialize;

use crate::answers::all_said;
use crate::args::CheckArgs;
use crate::around::Fleet;
use crate::error::{CliError, Exit};
use crate::policy::explain::environment_of_names;
use crate::policy_file::{PolicyFile, is_file, is_policy, is_usual};
use crate::project::NAME as PROJECT;
use crate::render::Output;
use crate::render::time::Clock;
use crate::render::{page::BAD, page::GOOD, page::Page};

/// Time limit for looking up all names of a policy.
const LOOK_UP: Duration = Duration::from_secs(1);

/// What there is to say about a policy file.
#[derive(Debug, Serialize)]
struct Checked {
    file: String,
    valid: bool,
    /// Null if invalid.
    name: Option<String>,
    /// Number of rules; null if invalid.
    rules: Option<usize>,
    /// What becomes of questions for names that no rule names: `any`, `ask` or `rules`; null if invalid, or where none is judged.
    names: Option<DnsNames>,
    /// The rule by which all of them pass, where nothing else says so.
    #[serde(skip)]
    names_opened_by: Option<String>,
    /// Whether nothing may pass at all, as of a file that is empty.
    #[serde(skip)]
    denies_all: bool,
    diagnostics: Vec<Diagnostic>,
}

/// Yes if all files are valid policies. Of one that cannot be read that is said, and the others are checked.
pub(crate) fn check(args: &CheckArgs, output: Output) -> Result<Exit, CliError> {
    let (mut all, mut failed) = (Vec::with_capacity(args.files.len()), Vec::new());
    let mut told = Ok(());
    for path in &args.files {
        all.push(match read(path, output) {
            Ok((file, fleet)) => {
                let checked = Checked::of(&file, fleet);
                if !output.is_json() {
                    file.show(&checked.diagnostics);
                    told = told.and_then(|()| output.print(&checked, page));
                }
                checked
            }
            Err(failure) => {
                let checked = Checked::unread(path, &failure);
                failed.push(failure.into());
                checked
            }
        });
    }
    if output.is_json() {
        told = output.print(&all, |_, _| Page::default());
    }
    let answer = Exit::answer(all.iter().all(|checked| checked.valid)).once_told(told)?;
    if failed.is_empty() {
        Ok(answer)
    } else {
        all_said(failed, output)
    }
}

/// The policy that is meant, and the fleet of the machine that it is for.
fn read(path: &Path, output: Output) -> Result<(PolicyFile, &'static Fleet), Failure> {
    let Some(name) = name(path) else {
        // It may be for other machines.
        return Ok((PolicyFile::read(path)?, &Fleet::None));
    };
    Fleet::known().tell(output);
    if path.is_file() {
        output.warnings(&[also_a_file(name)]);
    }
    Ok((PolicyFile::named(name)?, Fleet::known()))
}

/// The policy's name that is meant, and no file. A word that could be either is the name, as for every other verb; a file that no
/// policy is called like needs no slash.
fn name(path: &Path) -> Option<&str> {
    let name = path.to_str().filter(|word| !is_file(word))?;
    (is_policy(name) || !path.is_file()).then_some(name)
}

fn also_a_file(name: &str) -> String {
    format!(
        "{name} is taken for the policy of that name, and not for what lies here: guard check ./{name}"
    )
}

/// Reads and compiles. What names stand for here and now makes no policy invalid.
///
/// # Errors
///
/// All that is wrong with it.
pub(crate) fn valid(file: &PolicyFile) -> Result<Parsed, Vec<Diagnostic>> {
    compiled(file).map(|(parsed, _)| parsed)
}

fn compiled(file: &PolicyFile) -> Result<(Parsed, Compiled), Vec<Diagnostic>> {
    let parsed = policy::parse(&file.name, &file.text)?;
    let compiled = policy::compile(&parsed.policy, &Environment::default())?;
    // guardd refuses what cannot be judged by names, too.
    let judging = Environment {
        judges_names: true,
        ..Environment::default()
    };
    policy::compile(&parsed.policy, &judging)?;
    Ok((parsed, compiled))
}

/// All that there is to warn of. What a project's policy leaves open is for the one beside it to say, and what the fleet's base does for
/// those that it lies around.
fn warnings(
    file: &PolicyFile,
    parsed: &Parsed,
    compiled: &Compiled,
    fleet: &Fleet,
) -> Vec<Diagnostic> {
    let is_project = Path::new(&file.name).ends_with(PROJECT);
    let is_around = fleet
        .file_around()
        .is_some_and(|around| around == file.name);
    let around = fleet.base_alone().map(|base| base.parsed.policy);
    let around = around.and_then(|base| {
        let compiled = policy::compile(&base, &Environment::default()).ok()?;
        Some((base, compiled))
    });
    let around = around
        .as_ref()
        .map(|(policy, compiled)| Side { policy, compiled });
    let side = Side {
        policy: &parsed.policy,
        compiled,
    };
    let left = policy::left_open(side, around, &file.text);
    let mut warnings = parsed.warnings.clone();
    warnings.extend(left.filter(|_| !is_project && !is_around));
    warnings.extend(policy::unasked(&parsed.policy, &file.text));
    warnings.extend(called_as_another(file, &parsed.policy));
    warnings.extend(open_nothing(file, &parsed.policy));
    warnings.sort_by_key(|one| one.span.start);
    warnings
}

/// Warns of each rule whose name is this machine's own: a name opens nothing at such an address.
fn open_nothing(file: &PolicyFile, policy: &Policy) -> Vec<Diagnostic> {
    let (send, receive) = mpsc::channel();
    let names: Vec<_> = policy.names().cloned().collect();
    if names.is_empty() {
        return Vec::new();
    }
    // What cannot be looked up soon says nothing of the policy.
    thread::spawn(move || {
        // Nobody waits any more where this fails.
        let _ = send.send(environment_of_names(&names)).is_ok();
    });
    let Ok(now) = receive.recv_timeout(LOOK_UP) else {
        return Vec::new();
    };
    let is_own = |target: &&Target| {
        let Target::Name(name) = target else {
            return false;
        };
        let known = now.names.get(name.as_str()).into_iter().flatten();
        known.into_iter().any(|address| now.host.contains(address))
    };
    let opens = policy
        .rules
        .iter()
        .filter(|rule| rule.action != Verdict::Deny);
    let warnings = opens.filter_map(|rule| {
        let name = rule.to.iter().find(is_own)?;
        Some(Diagnostic {
            severity: Severity::Warning,
            file: file.name.clone(),
            line: rule.place.line,
            column: rule.place.column,
            text: rule.place.text.clone(),
            message: format!(
                "rule `{}` opens nothing by the name {name}: it is an address of this machine, and no name opens one of @guarded-host",
                rule.name
            ),
            help: Some("write the address, or @guarded-host, with the ports that are meant".to_owned()),
            span: rule.place.span.clone(),
        })
    });
    warnings.collect()
}

/// A copy that has kept the name of the policy that it was made of.
pub(crate) fn called_as_another(file: &PolicyFile, policy: &Policy) -> Option<Diagnostic> {
    let path = Path::new(&file.name);
    let stem = path.file_stem()?.to_str()?;
    let name = &policy.name;
    let is_copy = stem != name && path.extension()? == "toml" && !path.ends_with(PROJECT);
    if !is_copy || is_file(name) || !is_usual(name) {
        return None;
    }
    let (line, span) = place_of_name(&file.text)?;
    Some(Diagnostic {
        severity: Severity::Warning,
        file: file.name.clone(),
        line,
        column: 1,
        text: file.text[span.clone()].to_owned(),
        message: format!(
            "this file is called `{stem}`, and its policy `{name}`, as one of the machine's is: requests, `guard sessions` and \
             remembered answers take it for that one"
        ),
        help: Some(format!("write `name = \"{stem}\"`, or leave `name` out")),
        span,
    })
}

/// The line on which a policy says its own name, counted from 1, and where that is.
fn place_of_name(text: &str) -> Option<(usize, Range<usize>)> {
    let mut start = 0;
    for (number, line) in (1..).zip(text.split_inclusive('\n')) {
        // What follows is a rule's, or another table's.
        if line.trim_start().starts_with('[') {
            return None;
        }
        let is_name = line
            .split_once('=')
            .is_some_and(|(key, _)| key.trim() == "name");
        if is_name {
            return Some((number, start..start + line.trim_end().len()));
        }
        start += line.len();
    }
    None
}

impl Checked {
    fn of(file: &PolicyFile, fleet: &Fleet) -> Self {
        let (policy, diagnostics) = match compiled(file) {
            Ok((parsed, compiled)) => {
                let warnings = warnings(file, &parsed, &compiled, fleet);
                (Some(parsed.policy), warnings)
            }
            Err(diagnostics) => (None, diagnostics),
        };
        let judged = policy.as_ref().filter(|policy| policy.has_patterns());
        Self {
            file: file.name.clone(),
            valid: policy.is_some(),
            denies_all: policy
                .as_ref()
                .is_some_and(|policy| policy.rules.is_empty() && policy.default == Verdict::Deny),
            rules: policy.as_ref().map(|policy| policy.rules.len()),
            names: judged.map(Policy::names_asked),
            names_opened_by: judged
                .and_then(Policy::names_opened_by)
                .map(|rule| rule.name.clone()),
            name: policy.map(|policy| policy.name),
            diagnostics,
        }
    }

    /// One that cannot be read: what is wrong with it is wrong with all of it.
    fn unread(path: &Path, failure: &Failure) -> Self {
        let file = path.display().to_string();
        Self {
            file: file.clone(),
            valid: false,
            name: None,
            rules: None,
            names: None,
            names_opened_by: None,
            denies_all: false,
            diagnostics: vec![Diagnostic {
                severity: Severity::Error,
                file,
                line: 1,
                column: 1,
                text: String::new(),
                message: failure.why.clone(),
                help: Some(failure.fix.clone()),
                span: 0..0,
            }],
        }
    }

    fn count(&self, severity: Severity) -> usize {
        self.diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    }
}

fn page(checked: &Checked, _clock: &Clock) -> Page {
    let mut page = Page::default();
    page.text(format_args!("{}: ", policy::place(&checked.file, None)));
    match (&checked.name, checked.rules) {
        (Some(name), Some(rules)) => {
            let is_project = Path::new(&checked.file).ends_with(PROJECT);
            let called = if is_project {
                "the project's policy".to_owned()
            } else {
                format!("policy {name}")
            };
            page.styled(GOOD, "valid")
                .text(format_args!(": {called}, {}", count(rules, "rule")));
            if checked.denies_all {
                page.text(", and so it denies everything");
            }
        }
        _ => {
            page.styled(BAD, "invalid").text(format_args!(
                ": {}",
                count(checked.count(Severity::Error), "error")
            ));
        }
    }
    match checked.count(Severity::Warning) {
        0 => page.end(),
        warnings => page.line(format_args!(", {}", count(warnings, "warning"))),
    };
    if let Some(rule) = &checked.names_opened_by {
        page.paragraph(
            "names",
            format_args!(
                "any name may be asked for, as the rule {rule:?} lets addresses pass; to refuse what no rule names: \
                 [dns] names = \"rules\""
            ),
        );
    }
    page
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::super::render::examples::clock;
    use super::*;
    use crate::around::tests::around;

    fn checked(text: &str) -> Checked {
        checked_as("agent.toml", text)
    }

    fn checked_as(file: &str, text: &str) -> Checked {
        let file = PolicyFile {
            name: file.into(),
            text: text.into(),
        };
        Checked::of(&file, &Fleet::None)
    }

    #[test]
    fn a_copy_that_has_kept_its_name_is_warned_of() {
        let text = "# a copy\nversion = 1\nname = \"ci\" # own\ndefault = \"deny\"\n";
        let told = |file: &str, text: &str| {
            let checked = checked_as(file, text);
            assert!(checked.valid);
            let all = checked.diagnostics.into_iter();
            let mut all = all.map(|one| (one.line, one.message, one.help));
            all.find(|(_, message, _)| message.starts_with("this file is called"))
        };
        let (line, message, help) = told("x/lab.toml", text).unwrap();
        assert_eq!(line, 3);
        assert!(message.contains("`lab`, and its policy `ci`"), "{message}");
        assert_eq!(
            help.as_deref(),
            Some("write `name = \"lab\"`, or leave `name` out")
        );
        for (file, text) in [
            ("x/ci.toml", text),
            ("ci.toml", text),
            ("/dev/fd/63", text),
            ("../.guard.toml", text),
            ("lab.toml", "version = 1\n"),
            ("lab.toml", "name = \"own\"\n"),
            (
                "lab.toml",
                "[[rule]]\nname = \"ci\"\nto = [\"192.0.2.1\"]\naction = \"deny\"\n",
            ),
        ] {
            assert_eq!(told(file, text), None, "{file}: {text}");
        }
    }

    #[test]
    fn one_that_cannot_be_read_is_no_policy_and_the_others_are_checked() {
        let dir = tempfile::tempdir().unwrap();
        let good = dir.path().join("good.toml");
        std::fs::write(&good, "version = 1\n").unwrap();
        let missing = dir.path().join("missing.toml");
        let checked = |files: &[&Path]| {
            let files = files.iter().map(|file| file.to_path_buf()).collect();
            check(&CheckArgs { files }, Output::new(true))
        };
        assert_eq!(checked(&[&good]).unwrap(), Exit::DONE);
        let failed = checked(&[&missing, &good]).unwrap_err();
        assert_eq!(failed.exit(), Exit::FAILED);
        let failure = failed.failure().unwrap();
        assert!(failure.what.contains("missing.toml"), "{failure}");
        let unread = Checked::unread(&missing, failure);
        assert!(!unread.valid);
        assert_eq!(unread.diagnostics[0].message, "there is no such file");
    }

    #[test]
    fn a_valid_policy_is_summed_up() {
        let checked =
            checked("version = 1\n[[rule]]\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n");
        assert!(checked.valid);
        insta::assert_snapshot!(page(&checked, &clock()).plain(), @"agent.toml: valid: policy agent, 1 rule");
        let project = checked_as(".guard.toml", "version = 1\n");
        let project = page(&project, &clock()).plain();
        assert!(
            project.starts_with(".guard.toml: valid: the project's policy, 0 rules"),
            "{project}"
        );
    }

    #[test]
    fn a_rule_by_which_any_name_may_be_asked_for_is_named() {
        let text = |action: &str, more: &str| {
            format!(
                "default = \"deny\"\n{more}[[rule]]\nname = \"names\"\nto = [\"www.example.com\", \"@dns\"]\nports = [\"udp/53\", \"tcp/443\"]\naction = \"allow\"\n\
                 [[rule]]\nname = \"box\"\nto = [\"192.0.2.12\"]\naction = \"{action}\"\n"
            )
        };
        let summed = |text: &str| page(&checked(text), &clock()).plain();
        insta::assert_snapshot!(summed(&text("allow", "")), @r#"
        agent.toml: valid: policy agent, 2 rules
            names    any name may be asked for, as the rule "box" lets addresses pass;
                     to refuse what no rule names: [dns] names = "rules"
        "#);
        let quiet = "agent.toml: valid: policy agent, 2 rules\n";
        assert_eq!(summed(&text("confirm", "")), quiet);
        for names in ["any", "rules"] {
            let text = text("allow", &format!("[dns]\nnames = \"{names}\"\n"));
            assert_eq!(summed(&text), quiet);
            let json = serde_json::to_value(checked(&text)).unwrap();
            assert_eq!(json["names"], names);
        }
    }

    /// Its warnings.
    fn warned(text: &str) -> Vec<String> {
        let checked = checked(text);
        assert!(checked.valid, "{:?}", checked.diagnostics);
        let warnings = checked.diagnostics.into_iter();
        warnings.map(|one| one.message).collect()
    }

    #[test]
    fn what_the_default_leaves_open_is_warned_of_once() {
        let open = "version = 1\ndefault = \"allow\" # all\n";
        let all = "this leaves open cloud metadata (`@metadata`), where a machine's credentials are handed out, and private networks \
                   (`@private`)";
        assert_eq!(warned(open), [all]);
        let diagnostic = &checked(open).diagnostics[0];
        assert_eq!((diagnostic.line, diagnostic.column), (2, 1));
        assert_eq!(diagnostic.text, "default = \"allow\"");
        let rule = |to: &str, action: &str| {
            format!("[[rule]]\nname = '{to}'\nto = [\"{to}\"]\naction = \"{action}\"\n")
        };
        // One machine of a network leaves the rest of it.
        assert_eq!(
            warned(&format!("{open}{}", rule("10.1.2.3", "confirm"))),
            [all]
        );
        let metadata = rule("@metadata", "deny");
        let left = "this leaves open private networks (10.0.0.0/8, 172.16.0.0/12, 100.64.0.0/10, fc00::/7)";
        let home = rule("192.168.0.0/16", "confirm");
        assert_eq!(warned(&format!("{open}{metadata}{home}")), [left]);
        // A rule that allows says that it is meant.
        for action in ["confirm", "allow", "deny"] {
            let private = rule("@private", action);
            assert_eq!(warned(&format!("{open}{metadata}{private}")), [""; 0]);
        }
        for strict in ["deny", "confirm"] {
            assert_eq!(warned(&format!("default = \"{strict}\"\n")), [""; 0]);
        }
        for (name, text) in policy::SHIPPED {
            let own = checked_as(&format!("{name}.toml"), text);
            assert_eq!(own.diagnostics, [], "{name}");
        }
        let project = PolicyFile {
            name: "../.guard.toml".into(),
            text: open.into(),
        };
        assert_eq!(Checked::of(&project, &Fleet::None).diagnostics, []);
    }

    #[test]
    fn what_the_fleet_does_not_let_through_is_not_left_open() {
        let open = "version = 1\ndefault = \"allow\"\n";
        let warned = |name: &str, base: &str| {
            let file = PolicyFile {
                name: name.into(),
                text: open.into(),
            };
            let checked = Checked::of(&file, &around(base));
            let warnings = checked.diagnostics.into_iter();
            warnings.map(|one| one.message).collect::<Vec<_>>()
        };
        let rule = "[[rule]]\nto = [\"@metadata\"]\naction = \"deny\"\n";
        let left = warned("agent.toml", &format!("{open}{rule}"));
        assert_eq!(left, ["this leaves open private networks (`@private`)"]);
        assert_eq!(warned("agent.toml", "default = \"confirm\"\n"), [""; 0]);
        // What lies around others opens nothing.
        assert_eq!(warned("(fleet)/floor.toml", open), [""; 0]);
        assert_eq!(warned("agent.toml", open).len(), 1);
    }

    #[test]
    fn names_that_nobody_can_ask_for_are_warned_of_once() {
        let all =
            "nobody can ask for a name: the default denies questions to name servers (port 53)";
        let rule = |to: &str, ports: &str, action: &str| {
            format!("[[rule]]\nname = \"{to}\"\nto = [\"{to}\"]\n{ports}\naction = \"{action}\"\n")
        };
        let shop = rule("shop.example.com", "ports = [\"tcp/443\"]", "allow");
        let both = format!("{shop}{}", rule("*.example.com", "", "confirm"));
        assert_eq!(warned(&both), [all]);
        let diagnostic = &checked(&both).diagnostics[0];
        assert_eq!(diagnostic.line, 2);
        assert!(diagnostic.text.contains("shop.example.com"));
        let dns = "default = \"deny\"\n[dns]\nnames = \"ask\"\n";
        assert_eq!(warned(dns), [all]);
        assert_eq!(warned("default = \"deny\"\n"), [""; 0]);
        // Nothing is lost where every name is denied, and the default lets others ask.
        assert_eq!(warned(&rule("shop.example.com", "", "deny")), [""; 0]);
        assert_eq!(warned(&format!("default = \"confirm\"\n{shop}")), [""; 0]);
        for (to, ports, is_asked) in [
            ("@dns", "ports = [\"udp/53\", \"tcp/53\"]", true),
            ("@dns", "", true),
            ("192.0.2.53", "ports = [\"udp\"]", true),
            ("@dns", "ports = [\"tcp/853\"]", false),
            ("other.example.com", "", false),
        ] {
            let server = rule(to, ports, "allow");
            let is_warned = warned(&format!("{shop}{server}")).contains(&all.to_owned());
            assert_eq!(is_warned, !is_asked, "{to} {ports}");
        }
        let denied = rule("@dns", "ports = [\"udp/53\"]", "deny");
        assert_eq!(warned(&format!("{shop}{denied}")), [all]);
    }

    #[test]
    fn an_example_that_is_copied_leaves_open_what_nobody_meant_to_open() {
        let page = include_str!("../../../../docs/policy.md");
        for block in page.split("\n```toml\n").skip(1) {
            let (text, _) = block.split_once("\n```").unwrap();
            assert_eq!(warned(text), [""; 0], "{text}");
        }
        let man = include_str!("../../../../packaging/man/guard-policy.5");
        let (_, text) = man.split_once("\n.EX\n").unwrap();
        let (text, _) = text.split_once("\n.EE").unwrap();
        assert_eq!(warned(text), [""; 0], "{text}");
    }

    #[test]
    fn an_invalid_policy_counts_its_errors() {
        let checked = checked(
            "version = 1\ncolour = 2\n[[rule]]\nto = [\"192.0.2.1/24\"]\naction = \"confirm\"\n",
        );
        assert!(!checked.valid);
        insta::assert_snapshot!(page(&checked, &clock()).plain(), @"agent.toml: invalid: 2 errors");
        let json = serde_json::to_value(&checked).unwrap();
        assert_eq!(json["diagnostics"][0]["line"], 2);
    }
}
