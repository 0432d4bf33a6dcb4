//! What is let through as a GraphQL query, against a reader that knows strings, comments and braces only.

use guard_policy::Profile;
use proptest::prelude::*;

use super::{profile, said};

/// The names outside of all braces and parentheses. A document that is not closed has none that count.
fn top_level_names(text: &str) -> Vec<String> {
    let mut names = vec![String::new()];
    let mut depth = 0_i32;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(block) = rest.strip_prefix("\"\"\"") {
            rest = end_of_block(block);
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '#' => rest = rest.find(['\n', '\r']).map_or("", |end| &rest[end..]),
            '"' => rest = end_of_string(rest),
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth -= 1,
            _ => {}
        }
        let is_of_name = c.is_ascii_alphanumeric() || c == '_';
        if is_of_name && depth == 0 {
            names.last_mut().unwrap().push(c);
        } else {
            names.push(String::new());
        }
    }
    names.retain(|name| !name.is_empty());
    names
}

fn end_of_block(text: &str) -> &str {
    let mut rest = text;
    loop {
        if let Some(end) = rest.strip_prefix("\"\"\"") {
            return end;
        }
        rest = rest.strip_prefix("\\\"\"\"").unwrap_or_else(|| {
            let mut chars = rest.chars();
            chars.next();
            chars.as_str()
        });
        if rest.is_empty() {
            return rest;
        }
    }
}

fn end_of_string(text: &str) -> &str {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => drop(chars.next()),
            '"' | '\n' => return chars.as_str(),
            _ => {}
        }
    }
    ""
}

const PIECES: &[&str] = &[
    "query",
    "mutation",
    "subscription",
    "fragment",
    " on ",
    "T",
    "{",
    "}",
    "{ a }",
    "{ b { c } }",
    "(x: 1)",
    "(x: \"}\")",
    "\"",
    "\"\"\"",
    "\\",
    "#",
    "\n",
    "\r",
    "\r\n",
    " ",
    "A",
    "@skip(if: true)",
    "$v",
    ":",
    "(",
    ")",
    "...F",
    "...",
    ",",
    "!",
    "[1]",
    "\t",
    "é",
    "\"\\\"\"",
    "\"\"\" } mutation { x } \"\"\"",
    "# } mutation {\n",
    "query { a } ",
    "mutation { b } ",
    "fragment F on T { x } ",
    "\u{feff}",
];

fn document() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(PIECES);
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(guard_rounds::rounds(6_000))]

    #[test]
    fn what_is_let_through_has_no_other_operation(text in document()) {
        let body = serde_json::json!({ "query": text }).to_string();
        let wire = format!("POST /graphql\nContent-Type: application/json\n\n{body}");
        if said(&profile(Profile::Graphql), &wire) == "read" {
            let names = top_level_names(&text);
            // `query mutation { a }` is a query of that name, and so is `fragment mutation on T`.
            let named = |at: usize| at > 0 && matches!(names[at - 1].as_str(), "query" | "fragment" | "on");
            let other = |(at, name): (usize, &String)| {
                matches!(name.as_str(), "mutation" | "subscription") && !named(at)
            };
            prop_assert!(!names.iter().enumerate().any(other), "{text:?}");
        }
    }
}

#[test]
fn the_reader_finds_what_is_there() {
    for text in [
        "mutation { x }",
        "{ a } mutation M { x }",
        "# x\nmutation{x}",
        "{a(t:\"}\")} mutation{x}",
    ] {
        assert!(
            top_level_names(text).contains(&"mutation".to_owned()),
            "{text}"
        );
    }
    for text in [
        "{ mutation }",
        "# mutation",
        "{a(t:\"\"\" } mutation \"\"\")}",
    ] {
        assert!(
            !top_level_names(text).contains(&"mutation".to_owned()),
            "{text}"
        );
    }
}
