//! Texts that look like something else than they are.

use super::{NOW, Unread, assert_asks, assert_reads, judge, judged};

#[test]
fn what_hides_a_statement_does_not() {
    for text in [
        "SELECT 1; DROP TABLE x",
        "SELECT 1;DROP TABLE x;",
        ";;DROP TABLE x",
        "SELECT 1 /* ; */ ; DROP TABLE x",
        "SELECT 1 /* /* */ ; */ ; DROP TABLE x",
        "SELECT 1 -- x\n; DROP TABLE x",
        "SELECT 1 -- x\r; DROP TABLE x",
        "/* x */ DROP TABLE x",
        "--\nDROP TABLE x",
        "SELECT $$ $$; DROP TABLE x; SELECT $$ $$",
        "SELECT $a$ $$ $a$; DROP TABLE x; --$$",
        "SELECT $a$ $A$ $a$; DROP TABLE x",
        "SELECT '\\'; DROP TABLE x; --'",
        "SELECT E'\\\\'; DROP TABLE x; --'",
        "SELECT U&'\\0027'; DROP TABLE x",
        "SELECT U&'a!0027' UESCAPE '!'; DROP TABLE x",
        "SELECT \"a\"\"\"; DROP TABLE x",
        "SELECT 'a'\n'b'; DROP TABLE x",
        "dRoP tAbLe x",
        "DROP\u{c}TABLE\u{b}x",
        "SELECT 1;\n\n\nDELETE\nFROM\nx",
        "(SELECT nextval('s'))",
        "((((SELECT 1 FROM t FOR UPDATE))))",
        "SELECT nextval /* x */ ('s')",
        "SELECT nextval--\n('s')",
        "SELECT\rnextval('s')",
        "SELECT pg_catalog . nextval ( 's' )",
        "SELECT \"pg_catalog\".\"nextval\"('s')",
        "SELECT U&\"nextv!0061l\" UESCAPE '!' ('s')",
        "TABLE t FOR UPDATE",
        "VALUES (1), ((SELECT nextval('s')))",
        "EXPLAIN (VERBOSE, ANALYZE TRUE) DELETE FROM x",
        "explain analyse delete from x",
        "COPY (SELECT * FROM t FOR UPDATE) TO STDOUT",
        "PREPARE p AS SELECT 1; EXECUTE p; DELETE FROM x",
        "BEGIN; SET LOCAL transaction_read_only = off; COMMIT",
        "COMMIT; BEGIN READ WRITE",
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY, READ WRITE",
    ] {
        assert_asks(text);
    }
}

#[test]
fn what_looks_like_a_statement_passes() {
    for text in [
        "SELECT '; DROP TABLE x'",
        "SELECT $$; DROP TABLE x$$",
        "SELECT $a$; $b$ DROP TABLE x $b$ $a$",
        "SELECT E'\\'; DROP TABLE x; --'",
        "SELECT ''';DROP TABLE x'",
        "SELECT /* ; DROP TABLE x; /* */ DROP TABLE y; */ 1",
        "SELECT 1 -- ; DROP TABLE x",
        "SELECT \"; DROP TABLE x\" FROM t",
        "SELECT delete, \"update\", insert FROM truncate",
        "SELECT a AS nextval FROM t",
    ] {
        assert_reads(text);
        assert_eq!(judged(text).statements.len(), 1, "{text}");
    }
}

#[test]
fn what_no_server_reads_is_unread() {
    for text in [
        "SELECT\u{a0}1;DROP\u{a0}TABLE x",
        "ＤＲＯＰ TABLE x",
        "DR\u{200b}OP TABLE x",
        "SELECT 1; nonsense",
        "SELECT 'a",
        "SELECT $a$ b $A$",
        "SELECT /* /* */ 1",
        "SELECT \"\"",
        "SELECT (nextval)('s')",
        "SELECT E'\\u00zz'",
        "SELECT U&'\\d800'",
        "\u{feff}DROP TABLE x",
        "\\d",
        "SELECT ?",
        "SELECT 1 WHERE",
    ] {
        let unread = judge(text.as_bytes(), NOW);
        assert!(
            matches!(unread, Err(Unread::Unparsed(_))),
            "{text}: {unread:?}"
        );
    }
}

#[test]
fn bytes_that_are_no_text_are_unread() {
    assert_eq!(judge(b"SELECT '\xff'", NOW), Err(Unread::NotText));
    assert_eq!(judge(b"SELECT '\xc0\xa7'", NOW), Err(Unread::NotText));
    let zero = judge(b"SELECT 1\0; DROP TABLE x", NOW);
    assert!(matches!(zero, Err(Unread::Unparsed(_))), "{zero:?}");
    assert!(matches!(judge(b"\0", NOW), Err(Unread::Unparsed(_))));
}

#[test]
fn homoglyphs_are_other_names() {
    assert_asks("SELECT lоwer('x')"); // о is Cyrillic.
    assert_asks("SELECT pg_catalog.ｌower('x')");
    assert_asks("SELECT \"lower \"('x')");
}
