//! What went wrong, and what to type next.

use guard_proto::{ErrorName, Failure};
use serde_json::json;

use crate::reference::errors;

use super::escape;
use super::page::{BAD, Page, WARN};

/// What and why in one line, what to do about it, and how to have more said of it, where there is more to say.
pub(crate) fn page(failure: &Failure) -> Page {
    let mut page = Page::default();
    page.styled(BAD, "guard:")
        .text(" ")
        .line(failure)
        .commands(&failure.fix);
    if let Some(code) = errors::code_of(failure) {
        page.commands(format_args!("more: guard explain-error {code}"));
    }
    page
}

/// `{"error": {"what", "why", "fix", "code"}}`; the code is null where there is no more to say.
pub(crate) fn json(failure: &Failure, name: Option<ErrorName>) -> String {
    let Failure { what, why, fix } = failure;
    let code = errors::code_of(failure).or(name.map(|name| errors::named(name).code));
    let error = json!({ "what": what, "why": why, "fix": fix, "code": code });
    escape::json(&json!({ "error": error }).to_string())
}

/// One line.
pub(crate) fn warning(text: &str) -> Page {
    let mut page = Page::default();
    page.styled(WARN, "guard: warning:").text(" ").line(text);
    page
}

/// `{"warning": …}`
pub(crate) fn warning_json(text: &str) -> String {
    escape::json(&json!({ "warning": text }).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure {
            what: "cannot open a hole to 192.0.2.10".into(),
            why: "rule \"metadata\" denies it\u{1b}[2J".into(),
            fix: "look at the rule:\nguard explain 192.0.2.10".into(),
        }
    }

    #[test]
    fn a_failure_ends_with_what_to_type() {
        insta::assert_snapshot!(page(&failure()).plain(), @r#"
        guard: cannot open a hole to 192.0.2.10: rule "metadata" denies it\u{1b}[2J
            look at the rule:
            guard explain 192.0.2.10
        "#);
    }

    #[test]
    fn a_failure_is_json_too() {
        insta::assert_snapshot!(json(&failure(), Some(ErrorName::Refused)), @r#"{"error":{"code":"refused","fix":"look at the rule:\nguard explain 192.0.2.10","what":"cannot open a hole to 192.0.2.10","why":"rule \"metadata\" denies it\u001b[2J"}}"#);
    }

    #[test]
    fn a_failure_of_which_there_is_more_to_say_says_how() {
        let failure = Failure {
            what: "cannot reach guardd at /run/guard/guardd.sock".into(),
            why: "nobody listens there".into(),
            fix: "sudo systemctl start guardd".into(),
        };
        insta::assert_snapshot!(page(&failure).plain(), @r"
        guard: cannot reach guardd at /run/guard/guardd.sock: nobody listens there
            sudo systemctl start guardd
            more: guard explain-error no-guardd
        ");
        assert!(json(&failure, None).contains(r#""code":"no-guardd""#));
        assert!(json(&failure, Some(ErrorName::Failed)).contains(r#""code":"no-guardd""#));
    }

    #[test]
    fn a_warning_is_one_line() {
        assert_eq!(
            warning("shortened\nto 5 min").plain(),
            "guard: warning: shortened\\nto 5 min\n"
        );
        assert_eq!(warning_json("shortened"), r#"{"warning":"shortened"}"#);
    }
}
