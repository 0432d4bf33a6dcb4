//! What went wrong, and what to type next.

use guard_proto::Failure;
use serde_json::json;

use super::escape;
use super::page::{BAD, Page, WARN};

/// Two parts: what and why in one line, and what to do about it.
pub(crate) fn page(failure: &Failure) -> Page {
    let mut page = Page::default();
    page.styled(BAD, "guard:")
        .text(" ")
        .line(failure)
        .commands(&failure.fix);
    page
}

/// `{"error": {"what", "why", "fix"}}`
pub(crate) fn json(failure: &Failure) -> String {
    escape::json(&json!({ "error": failure }).to_string())
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
        insta::assert_snapshot!(json(&failure()), @r#"{"error":{"fix":"look at the rule:\nguard explain 192.0.2.10","what":"cannot open a hole to 192.0.2.10","why":"rule \"metadata\" denies it\u001b[2J"}}"#);
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
