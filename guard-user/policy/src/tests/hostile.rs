//! Whatever the text, an answer.

use proptest::prelude::*;

use super::super::{
    diagnostic::{Severity, render},
    parse::parse,
    shipped::SHIPPED,
    target::Destination,
    unseen::is_unseen,
};

/// Parses, renders, and checks that what is said points into the text.
fn survives(text: &str) {
    let Err(found) = parse("hos\u{202e}\u{9b}tile.toml", text) else {
        return;
    };
    assert!(found.iter().any(|d| d.severity == Severity::Error));
    for diagnostic in &found {
        assert!(text.get(diagnostic.span.clone()).is_some());
        assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
        assert!(diagnostic.line <= text.split('\n').count());
    }
    let shown = render(&found, text, false);
    assert!(!shown.is_empty());
    assert!(!shown.contains(|c| c != '\n' && is_unseen(c)), "{shown:?}");
    assert!(!render(&found, "another text", true).is_empty());
}

/// Pieces that mean something, so that nonsense gets far.
const PIECES: &[&str] = &[
    "[[rule]]",
    "[[rule.http]]",
    "[rule]",
    "\n",
    "to",
    "ports",
    "action",
    "name",
    "version",
    " = ",
    "[",
    "]",
    "{",
    "}",
    ",",
    "\"",
    "'",
    "\"\"\"",
    "#",
    ".",
    "\\u0000",
    "\u{202e}",
    "\u{9b}",
    "\u{200b}",
    "\u{2028}",
    "é",
    "😀",
    "\r",
    "\"192.0.2.0/24\"",
    "\"::/0\"",
    "\"@public\"",
    "\"*.x\"",
    "\"tcp/1-0\"",
    "\"allow\"",
    "1",
    "-1",
    "true",
    "1979-05-27",
    "nan",
    "0x",
    "\t",
    "\u{feff}",
    "\"60s\"",
    "hold",
    "default",
    "inbound",
];

fn soup() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES).prop_map(str::to_owned);
    let piece = prop_oneof![8 => piece, 1 => ".{0,3}"];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// A shipped policy with a few pieces cut out, put in or doubled.
fn mutated() -> impl Strategy<Value = String> {
    let change = (any::<prop::sample::Index>(), 0..40_usize, soup());
    let changes = prop::collection::vec(change, 1..6);
    (prop::sample::select(SHIPPED), changes).prop_map(|((_, text), changes)| {
        let mut text = (*text).to_owned();
        for (at, cut, put) in changes {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.ceil_char_boundary((start + cut).min(text.len()));
            text.replace_range(start..end, &put);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn any_text_is_survived(text in any::<String>()) {
        survives(&text);
        let _ = text.parse::<Destination>();
    }

    #[test]
    fn soup_is_survived(text in soup()) {
        survives(&text);
        let _ = text.parse::<Destination>();
    }

    #[test]
    fn changed_policies_are_survived(text in mutated()) {
        survives(&text);
    }
}

#[test]
fn nesting_and_numbers_without_end_are_survived() {
    survives(&"[".repeat(100_000));
    survives(&format!("rule = {}", "[".repeat(100_000)));
    survives(&format!("a = {}", "{a=".repeat(100_000)));
    survives(&format!("version = {}", "9".repeat(100_000)));
    survives(&"a.".repeat(50_000));
    survives(&format!("hold = \"{}s\"", "9".repeat(100_000)));
    survives(&"\u{feff}".repeat(3));
}

#[test]
fn a_hundred_thousand_mistakes_are_a_few_lines() {
    let bad = "\"192.0.2.1/24\", ".repeat(100_000);
    let text = format!("[[rule]]\nto = [{bad}]\naction = \"deny\"\n");
    let found = parse("hostile.toml", &text).unwrap_err();
    assert_eq!(found.len(), 50);
    let shown = render(&found, &text, false);
    assert!(
        shown.contains("99950 more were found and are not shown"),
        "{shown}"
    );
    assert!(shown.len() < 50_000, "{}", shown.len());
}

#[test]
fn warnings_without_end_do_not_hide_an_error() {
    let wild = "\"*.example.com\", ".repeat(1_000);
    let text = format!("[[rule]]\nto = [{wild}]\naction = \"deny\"\n[[rule]]\nto = 1\n");
    let found = parse("hostile.toml", &text).unwrap_err();
    let errors = found.iter().filter(|d| d.severity == Severity::Error);
    assert_eq!(errors.count(), 2);
}

/// What is wrong, and what is right, on one line that is as long as the text: each place in it has a column.
#[test]
fn long_lines_take_no_longer_than_many_short_ones() {
    let rule = |number: usize| {
        format!(
            "{{name = \"r{number}\", to = [\"10.0.0.1\"], ports = [\"tcp/{number}\"], action = \"deny\"}}"
        )
    };
    let rules: Vec<_> = (1..8000).map(rule).collect();
    for text in [
        format!("version = 1\nname = \"p\"{}", "\r".repeat(400_000)),
        format!("version = 1\nrule = [{}]\n", rules.join(", ")),
        format!("version = 1\nrule = [{}]\n", "1, ".repeat(200_000)),
    ] {
        let began = std::time::Instant::now();
        survives(&text);
        let took = began.elapsed();
        assert!(took.as_secs() < 20, "{took:?} for {:?}", &text[..40]);
    }
}
