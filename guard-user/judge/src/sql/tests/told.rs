//! What a person is told.

use super::{
    super::{Effect, Extra, judge},
    Control, NOW, SqlWrite, Statement, assert_asks, assert_reads, judged, one, written,
};

#[test]
fn kinds_name_what_is_changed() {
    let kind = |text: &str| written(text).kind();
    assert_eq!(
        kind("DELETE FROM public.users WHERE id = 1"),
        "deletes rows of public.users"
    );
    assert_eq!(
        kind("UPDATE \"My Table\" SET a = 1"),
        "changes rows of \"My Table\""
    );
    assert_eq!(kind("INSERT INTO a SELECT * FROM b"), "adds rows to a");
    assert_eq!(
        kind("WITH a AS (SELECT * FROM b) DELETE FROM a USING b"),
        "deletes rows of a"
    );
    assert_eq!(kind("TRUNCATE a, b, c, d"), "empties a, b and 2 more");
    assert_eq!(kind("DROP TABLE a.b"), "drops 1 table: a.b");
    assert_eq!(kind("CREATE ROLE x"), "creates the role x");
    assert_eq!(
        kind("CREATE FUNCTION a.f() RETURNS int LANGUAGE sql AS ''"),
        "creates the function or procedure a.f"
    );
    assert_eq!(
        kind("SELECT nextval('s')"),
        "calls nextval: takes a number from a sequence"
    );
    assert_eq!(kind("SELECT my.f()"), "calls the function my.f");
    assert_eq!(kind("COPY t FROM STDIN"), "adds rows to t");
    assert_eq!(kind("CALL p()"), "calls a procedure");
    assert_eq!(
        kind("SELECT pg_advisory_lock(1)"),
        "calls pg_advisory_lock: takes an advisory lock, which ends with its connection"
    );
}

#[test]
fn of_several_statements_the_worst_comes_first_and_alike_ones_are_counted() {
    let all = |text: &str| {
        let statements = judged(text).statements.into_iter();
        statements
            .filter_map(Statement::into_write)
            .reduce(SqlWrite::and)
            .unwrap()
    };
    let inserts = "insert into hits values (1); ".repeat(80);
    let batch = all(&format!("{inserts}drop table orders"));
    assert_eq!(batch.command, "DROP TABLE");
    assert_eq!(
        batch.kind(),
        "drops 1 table: orders; adds rows to hits (80)"
    );
    assert_eq!(batch.warnings, ["DROP cannot be undone"]);
    let drops: String = (1..=21).map(|n| format!("drop table t{n}; ")).collect();
    let kind = all(&format!("{drops}delete from alembic_version where a = 1")).kind();
    assert!(kind.starts_with("drops 21 tables: t1, t2, t3, "), "{kind}");
    assert!(
        kind.ends_with(", t21; deletes rows of alembic_version"),
        "{kind}"
    );
    // What has no room is counted.
    let name = "n".repeat(60);
    let drops: String = (1..=40)
        .map(|n| format!("drop index {name}{n}; "))
        .collect();
    let kind = all(&drops).kind();
    assert!(
        kind.starts_with("drops 40 indexes: ") && kind.ends_with(" more"),
        "{kind}"
    );
    let many: String = (1..=40)
        .map(|n| format!("insert into {name}{n} values (1); "))
        .collect();
    assert!(
        all(&many).kind().ends_with("; and 27 more"),
        "{}",
        all(&many).kind()
    );
    assert_eq!(
        written("alter table t drop column a").command,
        "DROP COLUMN"
    );
}

#[test]
fn a_table_that_may_be_there_is_named() {
    let unless = |text: &str| written(text).unless_there;
    let there = Some((Some("a".to_owned()), "b c".to_owned()));
    assert_eq!(
        unless("CREATE TABLE IF NOT EXISTS a.\"b c\" (i int)"),
        there
    );
    assert_eq!(unless("CREATE TABLE t (i int)"), None);
}

#[test]
fn objects_are_those_that_are_named() {
    let objects = |text: &str| written(text).objects;
    assert_eq!(
        objects("INSERT INTO a.b SELECT * FROM c JOIN d.e.f ON true, c"),
        ["a.b", "c", "d.e.f"]
    );
    assert_eq!(
        objects("WITH x AS (SELECT * FROM a) DELETE FROM b USING x"),
        ["b", "a"]
    );
    assert_eq!(objects("SELECT * FROM a, b FOR UPDATE"), ["a", "b"]);
    assert_eq!(objects("DROP TABLE a, b.c"), ["a", "b.c"]);
    assert_eq!(objects("TRUNCATE a,b,c,d,e,f,g,h,i,j").len(), 8);
    assert_eq!(
        objects("DELETE FROM \"a\u{202e}b\u{1b}[2J\""),
        ["\"a?b?[2J\""]
    );
}

#[test]
fn warnings_say_what_is_large() {
    let warned = |text: &str, about: &str| {
        let warnings = written(text).warnings;
        assert!(
            warnings.iter().any(|w| w.contains(about)),
            "{text}: {warnings:?}"
        );
    };
    warned("DELETE FROM t", "no WHERE");
    warned("UPDATE t SET a = 1", "no WHERE");
    warned("DELETE FROM t WHERE true", "every row");
    warned("DELETE FROM t WHERE 1 = 1", "every row");
    warned("DELETE FROM t WHERE a = 2 OR 'x' = 'x'", "every row");
    warned("UPDATE t SET a = 1 WHERE a = a", "every row");
    warned(
        "WITH x AS (DELETE FROM t RETURNING *) SELECT * FROM x",
        "no WHERE",
    );
    warned("TRUNCATE t", "every row");
    warned("TRUNCATE t CASCADE", "CASCADE");
    warned("DROP TABLE t", "cannot be undone");
    warned("DROP SCHEMA t CASCADE", "CASCADE");
    warned("DROP DATABASE t", "cannot be undone");
    warned("DROP OWNED BY x CASCADE", "CASCADE");
    warned("ALTER TABLE t DROP COLUMN a", "column");
    warned("ALTER TABLE t DROP CONSTRAINT a CASCADE", "CASCADE");
    warned("COPY t FROM PROGRAM 'x'", "program");
    warned("COPY t TO PROGRAM 'x'", "program");
    warned("COPY t TO '/x'", "file");
    warned("DO ''", "code");
    warned("BEGIN READ WRITE", "lock");
    warned("SET transaction_read_only = off", "lock");
    warned("SET TRANSACTION READ WRITE", "lock");
    warned("EXPLAIN ANALYZE DELETE FROM t", "executes");
    warned("EXPLAIN ANALYZE DELETE FROM t", "no WHERE");
    warned("SELECT pg_terminate_backend(1)", "connection");
    warned("SELECT query_to_xml('', true, true, '')", "not judged");
    for text in [
        "DELETE FROM t WHERE a = 1",
        "UPDATE t SET a = 1 WHERE a = b",
        "INSERT INTO t VALUES (1)",
        "DELETE FROM t WHERE a = 2 AND 1 = 1",
    ] {
        assert_eq!(written(text).warnings, [""; 0], "{text}");
    }
}

#[test]
fn definitions_are_told_from_changes() {
    assert!(written("CREATE TABLE t ()").is_definition);
    assert!(written("DROP TABLE t").is_definition);
    assert!(written("GRANT a TO b").is_definition);
    assert!(!written("DELETE FROM t").is_definition);
    assert!(!written("TRUNCATE t").is_definition);
    assert!(!written("VACUUM").is_definition);
}

#[test]
fn the_caller_lets_functions_through() {
    let reads = |text: &str, extra: &[&str]| {
        let extra: Vec<_> = extra.iter().map(|&name| name.to_owned()).collect();
        let extra = Extra {
            functions: &extra,
            ..NOW
        };
        let judged = judge(text.as_bytes(), extra).unwrap();
        judged
            .statements
            .into_iter()
            .all(|s| s.into_write().is_none())
    };
    assert!(reads("SELECT f(1)", &["f"]));
    assert!(!reads("SELECT g(1)", &["f"]));
    assert!(!reads("SELECT f(1)", &["F"]));
    assert!(!reads("SELECT a.f(1)", &["f"]));
    assert!(!reads("SELECT f(1)", &["a.f"]));
    assert!(reads("SELECT a.f(1)", &["a.f"]));
    assert!(reads("SELECT st_area(g), ST_Length(g)", &["st_*"]));
    assert!(reads("SELECT postgis.st_area(g)", &["postgis.*"]));
    assert!(!reads("SELECT postgis.st_area(g)", &["*", "post*"]));
    assert!(!reads("SELECT \"a.f\"(1)", &["a.f", "*"]));
    assert!(!reads(
        "SELECT set_config('role', 'x', true)",
        &["*", "set_config"]
    ));
    assert!(!reads(
        "SELECT pg_catalog.set_config('role', 'x', true)",
        &["pg_catalog.*"]
    ));
    assert!(reads("SELECT nextval('s')", &["nextval"]));
}

#[test]
fn nothing_is_nothing() {
    for text in [
        "",
        ";",
        " ;; ; ",
        "-- x",
        "/* a /* b */ c */",
        "\n\t\r\u{c}",
    ] {
        assert!(judged(text).statements.is_empty(), "{text:?}");
    }
    assert_eq!(judged("SELECT 1;; SELECT 2;").statements.len(), 2);
    assert_reads("SELECT 1;; SELECT 2;");
}

#[test]
fn other_constants_may_stand_where_they_are_values() {
    for text in [
        "DELETE FROM t WHERE id = 1",
        "INSERT INTO t VALUES ('x')",
        "ALTER TABLE t ADD COLUMN a int DEFAULT 1",
        "CREATE TABLE t (a int CHECK (a > 1))",
        "COPY t FROM STDIN (FORMAT binary)",
        "VACUUM ANALYZE t",
    ] {
        assert!(written(text).has_values, "{text}");
    }
    for text in [
        "DELETE FROM t WHERE id = f('x')",
        "ALTER FOREIGN TABLE t OPTIONS (SET program 'x')",
        "ALTER VIEW v SET (security_invoker = 'false')",
        "CREATE VIEW v WITH (security_invoker = 'false') AS SELECT 1",
        "COPY t FROM PROGRAM 'x'",
        "COMMENT ON TABLE t IS 'x'; DO 'x'",
    ] {
        let judged = judged(text).statements;
        let writes = judged.into_iter().filter_map(Statement::into_write);
        assert!(
            writes
                .reduce(SqlWrite::and)
                .is_some_and(|write| !write.has_values),
            "{text}"
        );
    }
}

#[test]
fn settings_that_a_rule_names_may_be_set_and_no_others() {
    let settings = ["myapp.user", "myapp.user_id", "request.jwt.*"].map(str::to_owned);
    let extra = Extra {
        settings: &settings,
        ..NOW
    };
    let reads = |text: &str| {
        let judged = judge(text.as_bytes(), extra).unwrap().statements;
        judged.iter().all(|one| one.effect == Effect::Reads)
    };
    for text in [
        "SET myapp.\"user\" = 'x'",
        "SET LOCAL MyApp.User_Id TO 7",
        "SET request.jwt.claim = '{}'",
        "SELECT set_config('myapp.user', $1, true)",
        "SELECT set_config('request.jwt.claims', '{}', true)",
    ] {
        assert!(reads(text), "{text}");
        assert_asks(text);
    }
    for text in [
        "SET myapp.user_name = 'x'",
        "SET ROLE x",
        "SET request.jwt.claim.sub = 'x'",
        "SELECT set_config('role', $1, true)",
        "SELECT set_config($1, 'x', true)",
        "SELECT set_config('myapp.user', nextval('s')::text, true)",
        "SELECT set_config('myapp.user', 'x')",
        "SET default_transaction_read_only = off",
    ] {
        assert!(!reads(text), "{text}");
    }
}

#[test]
fn functions_of_an_extension_are_named_by_it() {
    let functions = ["@hstore".to_owned(), "@uuid-ossp".to_owned()];
    let extra = Extra {
        functions: &functions,
        ..NOW
    };
    let reads = |text: &str| {
        let judged = judge(text.as_bytes(), extra).unwrap().statements;
        judged.iter().all(|one| one.effect == Effect::Reads)
    };
    for text in [
        "SELECT skeys(h), public.svals(h), (h).akeys, uuid_generate_v4() FROM t",
        "SELECT * FROM each('a=>1'::hstore)",
    ] {
        assert!(reads(text), "{text}");
        assert_asks(text);
    }
    for text in [
        "SELECT digest('a', 'md5')",
        "SELECT other.skeys(h) FROM t",
        "SELECT total()",
    ] {
        assert!(!reads(text), "{text}");
    }
}

#[test]
fn whatever_may_set_something_is_known_to() {
    for text in [
        "FETCH c",
        "MOVE c",
        "EXECUTE a",
        "SELECT set_config('search_path', 'a', false)",
        "WITH a AS (SELECT pg_catalog.set_config('search_path', 'a', false)) SELECT * FROM a",
        "SET search_path = a",
        "SET TIME ZONE 'UTC'",
        "SET NAMES 'UTF8'",
        "RESET datestyle",
        "RESET ALL",
        "PREPARE a AS SELECT set_config('search_path', 'a', false)",
        "ROLLBACK",
        "DO 'x'",
        "CALL p()",
    ] {
        assert!(one(text).sets, "{text}");
    }
    for text in [
        "SELECT 1",
        "DELETE FROM t",
        "BEGIN",
        "SHOW search_path",
        "COPY t FROM STDIN",
        "SET lock_timeout = 1",
        "PREPARE a AS DELETE FROM t",
        "DEALLOCATE a",
    ] {
        assert!(!one(text).sets, "{text}");
    }
}

#[test]
fn what_is_executed_by_a_name_is_told_to_be() {
    for text in [
        "EXECUTE a",
        "EXPLAIN EXECUTE a",
        "EXPLAIN ANALYZE EXECUTE a",
    ] {
        let control = one(text).control;
        assert!(
            matches!(&control, Some(Control::Execute { name }) if name == "a"),
            "{text}: {control:?}"
        );
    }
}
