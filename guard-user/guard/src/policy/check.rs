//! `guard check`: needs no guardd, but for what a fleet has.

use std::path::Path;

use guard_common::Verdict;
use guard_policy::{
    self as policy, Compiled, Diagnostic, DnsNames, Environment, Parsed, Policy, Severity, Side,
};
use serde::Serialize;

use crate::args::CheckArgs;
use crate::around::Fleet;
use crate::error::{CliError, Exit};
use crate::policy_file::{PolicyFile, is_file, is_policy};
use crate::project::NAME as PROJECT;
use crate::render::Output;
use crate::render::time::Clock;
use crate::render::{page::BAD, page::GOOD, page::Page};

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

/// Yes if all files are valid policies.
pub(crate) fn check(args: &CheckArgs, output: Output) -> Result<Exit, CliError> {
    let mut all = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let (file, fleet) = match name(path) {
            Some(name) => {
                Fleet::known().tell(output);
                if path.exists() {
                    output.warnings(&[also_a_file(name)]);
                }
                (PolicyFile::named(name)?, Fleet::known())
            }
            // It may be for other machines.
            None => (PolicyFile::read(path)?, &Fleet::None),
        };
        let checked = Checked::of(&file, fleet);
        if !output.is_json() {
            file.show(&checked.diagnostics);
            output.print(&checked, page)?;
        }
        all.push(checked);
    }
    if output.is_json() {
        output.print(&all, |_, _| Page::default())?;
    }
    Ok(Exit::answer(all.iter().all(|checked| checked.valid)))
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
    warnings.sort_by_key(|one| one.span.start);
    warnings
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
            page.styled(GOOD, "valid")
                .text(format_args!(": policy {name}, {}", count(rules, "rule")));
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
        let file = PolicyFile {
            name: "agent.toml".into(),
            text: text.into(),
        };
        Checked::of(&file, &Fleet::None)
    }

    #[test]
    fn a_valid_policy_is_summed_up() {
        let checked =
            checked("version = 1\n[[rule]]\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n");
        assert!(checked.valid);
        insta::assert_snapshot!(page(&checked, &clock()).plain(), @"agent.toml: valid: policy agent, 1 rule");
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
            assert_eq!(warned(text), [""; 0], "{name}");
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
