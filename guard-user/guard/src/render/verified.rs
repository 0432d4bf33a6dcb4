//! Whether the audit log is whole.

use guard_trail::verify::Verified;

use super::page::{BAD, GOOD, HEAD, Page, WARN};
use super::time::Clock;

/// The answer first, then what it rests on, and what it cannot show.
pub(crate) fn page(found: &Verified, clock: &Clock) -> Page {
    let mut page = Page::default();
    headline(&mut page, found, clock);
    if let Some(first) = found.first.filter(|first| *first > 1) {
        page.line(format_args!(
            "    It begins with record {first}: those before are not here."
        ));
    }
    if found.unchained > 0 {
        let how_many = records(found.unchained);
        page.line(format_args!(
            "    {how_many} of before the chain can be read; whether they are as they were written, nothing shows."
        ));
    }
    if found.lost > 0 {
        page.styled(
            WARN,
            format_args!("    {} could not be written", records(found.lost)),
        )
        .line(", as those after them say.");
    }
    places(&mut page, found);
    signatures(&mut page, found, clock);
    if let Some(head) = found.head {
        page.line(format_args!("    head {head}"))
            .styled(
                HEAD,
                "    Root can rewrite all of it. Note the head elsewhere; later:",
            )
            .end()
            .line(format_args!("    guard log --verify --head {head}"));
    }
    page
}

/// Who signed what.
fn signatures(page: &mut Page, found: &Verified, clock: &Clock) {
    let Some(all) = &found.signatures else { return };
    if all.is_empty() {
        page.line("    No answer in it is signed.");
    }
    for one in all {
        let request = one.request.as_deref().unwrap_or("-");
        let (style, said) = if one.ok {
            (GOOD, "signed")
        } else {
            (BAD, "NOT signed")
        };
        let at = one.at.map(|at| clock.at(at)).unwrap_or_default();
        page.styled(HEAD, format_args!("    {at}"))
            .text(format_args!("  {request}  {} by {}, ", one.answer, one.by))
            .styled(style, said);
        match (&one.why, one.part_of) {
            (Some(why), _) => page.line(format_args!(": {why}")),
            (None, Some(first)) => page.line(format_args!(" as a part of record {first}")),
            (None, None) => page.line(format_args!(" with {}", one.key)),
        };
        if let Some(shown) = one.shown.first() {
            page.line(format_args!("        {shown}"));
        }
    }
}

/// What was torn, and what became of the heads that were noted.
fn places(page: &mut Page, found: &Verified) {
    for torn in &found.torn {
        page.styled(WARN, format_args!("    {}:{}", torn.file, torn.line))
            .line(" was not written whole: guardd or the machine was stopped in the middle, or it was cut there.");
    }
    for noted in &found.noted {
        let head = noted.head;
        match noted.why {
            None => page.line(format_args!(
                "    Record {} is in it as noted.",
                head.number
            )),
            Some(why) => page
                .styled(
                    BAD,
                    format_args!("    Record {} is not in it as noted", head.number),
                )
                .line(format_args!(": {why}.")),
        };
    }
}

fn headline(page: &mut Page, found: &Verified, clock: &Clock) {
    let files = match found.files {
        1 => "1 file".to_owned(),
        files => format!("{files} files"),
    };
    let span = match (found.from, found.to) {
        (Some(from), Some(to)) => format!(", from {} to {}", clock.at(from), clock.at(to)),
        _ => String::new(),
    };
    let how_many = format!("{} in {files}{span}", records(found.records));
    match (&found.broken, found.whole) {
        (Some(broken), _) => {
            page.styled(BAD, "Broken")
                .line(format_args!(": {broken}"))
                .line(format_args!("    Whole before that: {how_many}."));
        }
        (None, true) => {
            page.text(format_args!("{how_many}, "))
                .styled(GOOD, "whole")
                .line(".");
        }
        (None, false) if found.head.is_none() => {
            page.styled(WARN, "No chain").line(format_args!(
                " in {files}: this audit log is of a guard that chained no records, or empty."
            ));
        }
        (None, false) => {
            page.styled(BAD, "Broken").line(format_args!(
                ": it is whole in itself, but not what was noted of it: {how_many}."
            ));
        }
    }
}

fn records(number: u64) -> String {
    format!("{number} record{}", if number == 1 { "" } else { "s" })
}
