//! What an older server takes for a call of a function that anybody may have made.

use super::{Extra, Release, Statement, judge};

/// Calls, and the first release in which they only read.
const LATER: &[(&str, u32)] = &[
    ("any_value(a)", 16),
    ("pg_catalog.any_value(a)", 16),
    ("array_sample(a, 1)", 16),
    ("JSON_ARRAY(1)", 16),
    ("json_array()", 16),
    ("JSON_ARRAY(SELECT 1)", 16),
    ("json_arrayagg(a)", 16),
    ("json_objectagg(a: b)", 16),
    ("json_object()", 16),
    ("JSON_EXISTS('{}', '$')", 17),
    ("json_query('{}', '$')", 17),
    ("json_value('{}', '$')", 17),
    ("json('{}')", 17),
    ("json_scalar(1)", 17),
    ("json_serialize('{}')", 17),
    ("to_bin(1)", 17),
    ("uuidv7()", 18),
];

fn asks(text: &str, extra: Extra<'_>) -> Option<String> {
    let judged = judge(text.as_bytes(), extra).unwrap_or_else(|why| panic!("{why}: {text}"));
    let write = judged
        .statements
        .into_iter()
        .find_map(Statement::into_write);
    write.map(|write| write.because)
}

#[test]
fn what_a_server_does_not_have_yet_is_somebodys_function() {
    let of = |release| Extra {
        release: Release(release),
        ..Extra::default()
    };
    for (call, since) in LATER {
        for text in [
            format!("SELECT {call} FROM t"),
            format!("EXPLAIN SELECT {call} FROM t"),
        ] {
            assert_eq!(asks(&text, of(*since)), None, "{text}");
            for release in [0, since - 1] {
                let because = asks(&text, of(release)).unwrap_or_default();
                assert!(
                    because.contains(&format!("from release {since} on")),
                    "{text}: {because}"
                );
            }
        }
    }
    let table = "SELECT * FROM JSON_TABLE('{}'::jsonb, '$' COLUMNS (a int)) t";
    assert!(asks(table, of(16)).is_some() && asks(table, of(17)).is_none());
    // No function of these names is called by them.
    for text in ["SELECT a IS JSON FROM t", "SELECT json_object('{a,1}')"] {
        assert_eq!(asks(text, of(0)), None, "{text}");
    }
}

#[test]
fn a_rule_may_name_it() {
    let functions = ["json_value".to_owned(), "any_*".to_owned()];
    let extra = Extra {
        functions: &functions,
        ..Extra::default()
    };
    assert_eq!(
        asks("SELECT json_value('{}', '$'), any_value(1)", extra),
        None
    );
    assert!(asks("SELECT json_query('{}', '$')", extra).is_some());
}

#[test]
fn a_release_is_what_a_version_begins_with() {
    for (version, release) in [
        ("15.4 (Debian 15.4-1.pgdg120+1)", 15),
        ("9.6.24", 9),
        ("18beta1", 18),
        ("", 0),
        ("PostgreSQL 15", 0),
        ("99999999999", 0),
    ] {
        assert_eq!(Release::of(version), Release(release), "{version}");
    }
}
