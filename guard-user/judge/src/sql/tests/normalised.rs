use super::{super::normalise::normalise, NOW, Unread, judge, judged};

fn normalised(text: &str) -> String {
    normalise(text).unwrap_or_else(|why| panic!("{why}: {text}"))
}

#[test]
fn what_nobody_is_told_of_is_not_normalised() {
    assert_eq!(judged("SELECT 1").normalised, "");
    assert_eq!(judged("SELECT 1; BEGIN").normalised, "SELECT $1; BEGIN");
    assert_eq!(
        judged("SET datestyle = 'ISO'").normalised,
        "SET datestyle = $1"
    );
    assert_eq!(judged("DELETE FROM t").normalised, "DELETE FROM t");
}

#[test]
fn constants_are_left_out() {
    let same = |text: &str, wanted: &str| assert_eq!(normalised(text), wanted);
    same(
        "SELECT a.b FROM t WHERE c = 'x'  AND d>12",
        "SELECT a.b FROM t WHERE c = $1 AND d>$2",
    );
    same("SELECT $2, 'x', $1", "SELECT $2, $3, $1");
    same(
        "SELECT E'a\\'b' , U&'x' UESCAPE '!', $a$b$a$, b'1', x'f', 1.5e3",
        "SELECT $1 , $2 UESCAPE '!', $3, $4, $5, $6",
    );
    // By it the name is another table's.
    same(
        "DELETE FROM U&\"#0070\" UESCAPE /* x */ '!' WHERE a = 'b'",
        "DELETE FROM U&\"#0070\" UESCAPE '!' WHERE a = $1",
    );
    same("SELECT 'a'\n  'b'", "SELECT $1");
    same("SELECT /* secret */ 1 -- secret", "SELECT $1");
    same("SELECT 1/* x */+/**/2", "SELECT $1 + $2");
    // No constant becomes part of a name.
    same(
        "SELECT a FROM t WHERE b like'x'AND c",
        "SELECT a FROM t WHERE b like $1AND c",
    );
    same("SELECT \"a''b\", é", "SELECT \"a''b\", é");
    same("SELECT 1; -- x\n;", "SELECT $1");
    same(";SELECT 1; SELECT 2;", ";SELECT $1; SELECT $2");
    same("; ;", "");
    same("", "");
    same("-- x", "");
}

#[test]
fn nothing_secret_is_left_whatever_the_statement() {
    for text in [
        "COMMENT ON TABLE t IS 'secret'",
        "DO $x$ secret $x$",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS $$ select 'secret' $$",
        "PREPARE p AS SELECT 'secret'",
        "EXECUTE p('secret')",
        "CREATE TABLE t (a text DEFAULT 'secret')",
        "NOTIFY a, 'secret'",
        "SET application_name = 'secret'",
        "COPY t FROM PROGRAM 'secret'",
        "ALTER ROLE x PASSWORD E'se\\x63ret' PASSWORD 'secret'",
        "CREATE VIEW v AS SELECT 'secret'",
        "SELECT U&'secret' UESCAPE '!'",
        "SELECT n'secret', e'secret', 'a'\r\n'secret'",
    ] {
        let shown = format!("{:?} {}", judged(text), normalised(text));
        assert!(!shown.contains("secret"), "{shown}");
    }
    for text in [
        "SELECT 'secret",
        "SELECT 1 'secret'",
        "SELECT $$secret",
        "SELECT 'a' 'secret'",
        "SELECT 1 /* secret",
        "SELECT \"secret",
    ] {
        let Err(Unread::Unparsed(why)) = judge(text.as_bytes(), NOW) else {
            panic!("{text}");
        };
        assert!(!why.contains("secret"), "{why}");
    }
}

#[test]
fn it_is_cut_off() {
    let text = format!("SELECT {}", "ä,".repeat(5000) + "b");
    let shown = normalised(&text);
    assert!(shown.len() <= 2048 && shown.ends_with('…'));
    let text = format!("SELECT {}1", "1,".repeat(20_000));
    assert!(normalised(&text).len() <= 2048);
}
