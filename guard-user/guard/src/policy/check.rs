//! `guard check`: needs no guardd.

use guard_common::Verdict;
use guard_policy::{self as policy, Diagnostic, Environment, Parsed, Severity};
use serde::Serialize;

use crate::args::CheckArgs;
use crate::error::{CliError, Exit};
use crate::policy_file::PolicyFile;
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
    /// Whether nothing may pass at all, as of a file that is empty.
    #[serde(skip)]
    denies_all: bool,
    diagnostics: Vec<Diagnostic>,
}

/// Yes if all files are valid policies.
pub(crate) fn check(args: &CheckArgs, output: Output) -> Result<Exit, CliError> {
    let mut all = Vec::with_capacity(args.files.len());
    for path in &args.files {
        let file = match path.to_str() {
            Some(name) if !path.exists() => PolicyFile::named(name)?,
            _ => PolicyFile::read(path)?,
        };
        let checked = Checked::of(&file);
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

/// Reads and compiles. What names stand for here and now makes no policy invalid.
///
/// # Errors
///
/// All that is wrong with it.
pub(crate) fn valid(file: &PolicyFile) -> Result<Parsed, Vec<Diagnostic>> {
    let parsed = policy::parse(&file.name, &file.text)?;
    policy::compile(&parsed.policy, &Environment::default())?;
    Ok(parsed)
}

impl Checked {
    fn of(file: &PolicyFile) -> Self {
        let (policy, diagnostics) = match valid(file) {
            Ok(parsed) => (Some(parsed.policy), parsed.warnings),
            Err(diagnostics) => (None, diagnostics),
        };
        Self {
            file: file.name.clone(),
            valid: policy.is_some(),
            denies_all: policy
                .as_ref()
                .is_some_and(|policy| policy.rules.is_empty() && policy.default == Verdict::Deny),
            rules: policy.as_ref().map(|policy| policy.rules.len()),
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
    page
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::super::super::render::examples::clock;
    use super::*;

    fn checked(text: &str) -> Checked {
        Checked::of(&PolicyFile {
            name: "agent.toml".into(),
            text: text.into(),
        })
    }

    #[test]
    fn a_valid_policy_is_summed_up() {
        let checked =
            checked("version = 1\n[[rule]]\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n");
        assert!(checked.valid);
        insta::assert_snapshot!(page(&checked, &clock()).plain(), @"agent.toml: valid: policy agent, 1 rule");
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
