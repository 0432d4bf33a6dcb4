//! A report as a section of a GitLab job's log, which is folded until somebody clicks on it.
//!
//! <https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections>

use super::super::render::{self, time::Clock};
use super::markdown::headline;
use super::summary::Report;

/// The section. What is in it was made visible: it cannot end or begin one.
pub(super) fn section(report: &Report) -> String {
    let clock = Clock::system();
    let now = clock.now.as_second();
    let page = render::report::page(report, &clock);
    let page = anstream::adapter::strip_str(page.as_str()).to_string();
    format!(
        "\u{1b}[0Ksection_start:{now}:guard_report[collapsed=true]\r\u{1b}[0Kguard: {}\n\
         {page}\u{1b}[0Ksection_end:{now}:guard_report\r\u{1b}[0K\n",
        headline(report)
    )
}

#[cfg(test)]
mod tests {
    use super::super::summary::tests::{records, story};
    use super::*;

    #[test]
    fn foreign_text_cannot_end_the_section() {
        let hostile = "\r\u{1b}[0Ksection_end:1:guard_report\r\u{1b}[0K\n";
        let report = Report::of(&records(serde_json::json!([
            {"kind": "session-start", "session": "s1", "name": hostile},
            {"kind": "denied", "session": "s1", "destination": hostile, "rule": hostile, "verdict": hostile, "exe": hostile},
        ])));
        for report in [report, story()] {
            let text = section(&report);
            assert_eq!(text.matches("\u{1b}[0Ksection_").count(), 2, "{text:?}");
            assert_eq!(text.matches('\u{1b}').count(), 4, "{text:?}");
            assert_eq!(text.matches('\r').count(), 2, "{text:?}");
        }
    }
}
