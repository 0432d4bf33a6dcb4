//! However deeply a text is nested, the process does not end.

use super::{
    super::{LIMIT, STACK, Unread, judge},
    NOW,
};
use std::thread;

/// A text that is as long as may be.
fn filled(start: &str, more: &str, end: &str, close: &str) -> String {
    let room = LIMIT - start.len() - end.len();
    let times = room / (more.len() + close.len());
    format!("{start}{}{end}{}", more.repeat(times), close.repeat(times))
}

fn deep() -> Vec<String> {
    let texts = [
        ("SELECT 1", "+1", "", ""),
        ("SELECT ", "(", "1", ")"),
        ("SELECT ", "NOT ", "true", ""),
        ("SELECT ", "- ", "1", ""),
        ("SELECT ", "@ ", "1", ""),
        ("SELECT ", "(SELECT ", "1", ")"),
        ("", "(", "SELECT 1", ")"),
        ("SELECT * FROM ", "(SELECT * FROM ", "t", ") a"),
        ("SELECT ", "f(", "1", ")"),
        ("SELECT ", "abs(", "1", ")"),
        ("SELECT ", "ARRAY[", "1", "]"),
        ("SELECT ", "ROW(", "1", ")"),
        ("SELECT a", "[1]", "", ""),
        ("SELECT a", ".b", "", ""),
        ("SELECT 1", "::int", "", ""),
        ("SELECT a", " COLLATE x", "", ""),
        ("SELECT a", " IS NULL", "", ""),
        ("SELECT a", " AND b", "", ""),
        ("SELECT a", " OR b AND c", "", ""),
        ("SELECT a ", "= b AND NOT ", "c", ""),
        ("SELECT 1", " UNION SELECT 1", "", ""),
        ("SELECT 1", " EXCEPT SELECT 1", "", ""),
        ("", "SELECT 1 UNION (", "SELECT 1", ")"),
        ("", "WITH a AS (", "SELECT 1", ") SELECT 1"),
        ("SELECT ", "CASE WHEN true THEN ", "1", " END"),
        ("SELECT ", "CASE ", "1", " WHEN 1 THEN 1 END"),
        ("SELECT 1 FROM a", " JOIN b ON true", "", ""),
        ("SELECT 1 FROM ", "(a JOIN ", "b", " ON true)"),
        ("SELECT 1 WHERE ", "EXISTS (SELECT 1 WHERE ", "true", ")"),
        ("SELECT ", "a IN (", "1", ")"),
        ("SELECT 1 FROM t GROUP BY ", "GROUPING SETS (", "a", ")"),
        ("SELECT ", "xmlconcat(", "a", ")"),
        ("SELECT ", "JSON_ARRAY(", "1", ")"),
        ("SELECT 1", ",1", "", ""),
        ("SELECT 1", ";SELECT 1", "", ""),
        ("", ";", "", ""),
        ("VALUES (1)", ",(1)", "", ""),
        ("SELECT 1 FROM t WHERE a IN (1", ",1", ")", ""),
        ("", "/*", "", "*/"),
        ("", "EXPLAIN ", "SELECT 1", ""),
        ("CREATE VIEW a AS SELECT ", "(SELECT ", "1", ")"),
        ("DELETE FROM t WHERE a", " + a", " > 1", ""),
        ("CREATE SCHEMA a", " CREATE TABLE b()", "", ""),
        ("SELECT a::int", "[]", "", ""),
        ("SELECT ", "\"", "", ""),
        ("SELECT ", "$", "", ""),
        ("SELECT ", "'a'\n", "", ""),
        ("", "(", "", ""),
        ("SELECT ", "/* ", "1", " */"),
        ("SELECT ", "+", "1", ""),
        ("SELECT 1", " +-+-+-+-+-+-+-@+-+-+-+", "1", ""),
        ("SELECT '", "' '", "", ""),
        ("SELECT $a$", "$b$", "$a$", ""),
        ("SELECT ", "$a", "", ""),
        ("SELECT 'a'", "\n--\n", "'b'", ""),
        ("SELECT 'a'", "                   ", "", ""),
        ("SELECT ", "a(", "", ""),
        ("SELECT ", "[", "", ""),
        ("SELECT a FROM t GROUP BY 'a'", ",'a'", "", ""),
    ];
    texts
        .map(|(start, more, end, close)| filled(start, more, end, close))
        .into()
}

fn on(stack: usize) {
    let judging = move || {
        for text in deep() {
            assert!(text.len() <= LIMIT);
            let judged = judge(text.as_bytes(), NOW);
            let start: String = text.chars().take(40).collect();
            // The parser had all of it. The runner ends a test that does not come to an end.
            let is_refused_unparsed = matches!(judged, Err(Unread::TooLong | Unread::NotText));
            assert!(!is_refused_unparsed, "{start}");
        }
    };
    thread::Builder::new()
        .stack_size(stack)
        .spawn(judging)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn a_thread_with_8_mib_survives() {
    on(8 << 20);
}

#[test]
fn a_thread_with_as_little_as_is_asked_for_survives() {
    on(STACK);
}

/// As many levels as fit, one by one: just below each limit most is used.
#[test]
fn every_depth_survives() {
    let judging = || {
        for times in (1..400).chain((400..9000).step_by(397)) {
            for (more, close) in [
                ("(SELECT ", ")"),
                ("abs(", ")"),
                ("NOT ", ""),
                ("1 + (", ")"),
                ("CASE WHEN ", " THEN 1 END"),
            ] {
                let text = format!("SELECT {}1{}", more.repeat(times), close.repeat(times));
                let judged = judge(text.as_bytes(), NOW);
                assert!(times > 12 || judged.is_ok(), "{judged:?}");
            }
        }
    };
    thread::Builder::new()
        .stack_size(STACK)
        .spawn(judging)
        .unwrap()
        .join()
        .unwrap();
}

#[test]
fn what_is_too_long_is_not_parsed() {
    let text = " ".repeat(LIMIT + 1);
    assert_eq!(judge(text.as_bytes(), NOW), Err(Unread::TooLong));
    assert!(judge(" ".repeat(LIMIT).as_bytes(), NOW).is_ok());
}

#[test]
fn what_is_too_deep_says_so() {
    for (more, close) in [("(SELECT ", ")"), ("NOT ", "")] {
        let text = format!("SELECT {}1{}", more.repeat(3000), close.repeat(3000));
        assert_eq!(judge(text.as_bytes(), NOW), Err(Unread::TooDeep));
    }
}
