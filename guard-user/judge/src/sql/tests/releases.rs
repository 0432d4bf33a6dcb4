//! What an older server takes for a call of a function that anybody may have made.

use super::{Extra, Release, Statement, judge};

/// Calls, and the first release in which they only read.
const LATER: &[(&str, u32)] = &[
    ("gcd(4, 6)", 13),
    ("gen_random_uuid()", 13),
    ("jsonb_path_query_tz('{}', '$')", 13),
    ("normalize(a)", 13),
    ("NORMALIZE(a, NFC)", 13),
    ("a IS NFC NORMALIZED", 13),
    ("similar_to_escape(a)", 13),
    ("a SIMILAR TO similar_to_escape(a)", 13),
    ("bit_count('a')", 14),
    ("date_bin('1 day', a, a)", 14),
    ("\"extract\"('year', a)", 14),
    ("pg_catalog.extract('year', a)", 14),
    ("string_to_table(a, ',')", 14),
    ("unistr(a)", 14),
    ("regexp_like(a, 'x')", 15),
    ("regexp_count(a, 'x')", 15),
    ("regexp_instr(a, 'x')", 15),
    ("regexp_substr(a, 'x')", 15),
    ("SYSTEM_USER", 16),
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
    // Elsewhere than in a `MERGE` it is an error to those that have it, and asks by its kind.
    let explained = "EXPLAIN SELECT merge_action() FROM t";
    assert!(asks(explained, of(16)).is_some() && asks(explained, of(17)).is_none());
    let table = "SELECT * FROM JSON_TABLE('{}'::jsonb, '$' COLUMNS (a int)) t";
    assert!(asks(table, of(16)).is_some() && asks(table, of(17)).is_none());
    // No function of these names is called by them.
    for text in [
        "SELECT a IS JSON FROM t",
        "SELECT json_object('{a,1}')",
        "SELECT EXTRACT(year FROM a), EXTRACT('dow' FROM now()), date_part('year', a) FROM t",
        "SELECT a SIMILAR TO 'x%', a NOT SIMILAR TO 'x' ESCAPE '!', similar_escape(a, 'x') FROM t",
        "SELECT jsonb_path_query('{}', '$'), sha256('x'), SUBSTRING(a SIMILAR 'x' ESCAPE '#') FROM t",
    ] {
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
