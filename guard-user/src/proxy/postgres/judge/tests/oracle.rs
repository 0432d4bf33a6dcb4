//! What passes here is executed by a real server, which must be the same afterwards.
//!
//! Ignored: it needs a server of its own, where `tests/fixtures/schema.sql` was run, without autovacuum. `PGHOST` is the
//! directory of its socket: `PGHOST=/tmp/x cargo test oracle -- --ignored`.

use super::{lines, noise::Chance, reads};
use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// All that a statement could change. The last line is the next transaction's number: whoever writes takes one.
const STATE: &str = "
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM (SELECT oid, relname, relkind, relowner, relacl, relfilenode FROM pg_class) x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_proc x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_authid x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_type x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_db_role_setting x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_largeobject x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM pg_file_settings x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM users x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM orders x;
SELECT md5(string_agg(x::text, ',' ORDER BY x::text)) FROM other.t x;
SELECT last_value, is_called FROM s;
SELECT last_value, is_called FROM users_id_seq;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory';
SELECT count(*) FROM pg_replication_slots;
SELECT count(*) FROM pg_replication_origin;
SELECT count(*) FROM pg_prepared_xacts;
SELECT pg_walfile_name(pg_current_wal_lsn() + 1);
SELECT stats_reset FROM pg_stat_bgwriter;
SELECT pg_conf_load_time();
SELECT pg_current_snapshot();
";

/// What psql says, told these commands.
fn psql(options: &str, input: &str) -> String {
    let mut child = Command::new("psql")
        .args(["-X", "-q", "-A", "-t", "-U", "postgres"])
        .env("PGOPTIONS", options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn state() -> String {
    psql("", STATE)
}

/// Executes them one by one, and fails at the first after which something is different: with the server's lock, and by
/// this judge alone.
fn assert_harmless(statements: &[String]) {
    let before = state();
    for lock in ["on", "off"] {
        let options = format!("-c default_transaction_read_only={lock} -c statement_timeout=200");
        for some in statements.chunks(200) {
            execute(&options, some);
            if state() != before {
                let mut each = some.iter();
                let culprit = each.find(|one| {
                    let before = state();
                    execute(&options, std::slice::from_ref(*one));
                    state() != before
                });
                panic!("read-only is {lock}: {culprit:?}");
            }
        }
    }
}

fn execute(options: &str, statements: &[String]) -> String {
    // Whatever one of them leaves open ends well, so that nothing that it did is undone.
    let each = statements
        .iter()
        .map(|s| format!("{s}\n;\nCOMMIT;\nDISCARD ALL;\n"));
    psql(options, &each.collect::<String>())
}

/// Else the tests below say nothing.
#[test]
#[ignore = "needs a server"]
fn what_writes_is_noticed() {
    for statement in [
        "SELECT nextval('s')",
        "SELECT txid_current()",
        "UPDATE orders SET total = total",
        "SELECT pg_switch_wal()",
        "SELECT pg_stat_reset_shared('bgwriter')",
        "BEGIN; SELECT lo_create(0)",
    ] {
        let before = state();
        execute("", &[statement.to_owned()]);
        assert_ne!(state(), before, "{statement}");
    }
}

#[test]
#[ignore = "needs a server"]
fn the_fixtures_that_pass_change_nothing() {
    let fixtures = [
        include_str!("fixtures/reads.sql"),
        include_str!("fixtures/writes.sql"),
    ];
    let each = fixtures.iter().flat_map(|fixture| lines(fixture));
    let each = each.map(|line| line.split_once(" | ").map_or(line, |(_, s)| s).to_owned());
    let passed: Vec<_> = each.filter(|statement| reads(statement)).collect();
    assert!(passed.len() > 200);
    assert_harmless(&passed);
}

/// Each function of the server with arguments of its types.
#[test]
#[ignore = "needs a server"]
fn the_functions_that_pass_change_nothing() {
    const ALL: &str = "SELECT DISTINCT proname || E'\\t' || oidvectortypes(proargtypes) FROM pg_proc \
        WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind <> 'p' ORDER BY 1;";
    let all = psql("", ALL);
    let calls = all.lines().flat_map(|line| {
        let (name, types) = line.split_once('\t').unwrap();
        [0, 1, 2].map(|which| call(name, types, which))
    });
    let passed: Vec<_> = calls.filter(|statement| reads(statement)).collect();
    println!("{} calls", passed.len());
    assert!(passed.len() > 2000);
    let said = execute("-c statement_timeout=200", &passed);
    let errors = said
        .lines()
        .filter(|line| line.starts_with("ERROR"))
        .count();
    println!("{errors} of them fail");
    assert_harmless(&passed);
}

fn call(name: &str, types: &str, which: usize) -> String {
    let types = types.split(", ").filter(|kind| !kind.is_empty());
    let args: Vec<_> = types.map(|kind| argument(kind, which)).collect();
    format!("SELECT pg_catalog.\"{name}\"({})", args.join(", "))
}

fn argument(kind: &str, which: usize) -> String {
    let value = match kind {
        "bigint" | "integer" | "smallint" | "numeric" | "real" | "double precision" => {
            ["1", "4242", "0"][which]
        }
        "oid" => ["1259", "4242", "10"][which],
        "boolean" => ["t", "f", "t"][which],
        "regclass" => ["users", "s", "users_id_seq"][which],
        "text" | "name" | "cstring" | "character varying" | "\"char\"" => {
            ["users", "s", "1"][which]
        }
        "bytea" => ["\\x00", "\\xff", ""][which],
        "date" | "timestamp without time zone" | "timestamp with time zone" => "2020-01-01",
        "interval" => ["1 day", "0", "1 second"][which],
        "json" | "jsonb" => ["{}", "[1]", "{\"a\": 1}"][which],
        "xml" => "<a/>",
        "pg_lsn" => "0/1",
        "anyelement" | "anycompatible" | "\"any\"" => {
            return ["1", "'x'::text", "'users'::regclass"][which].to_owned();
        }
        "anyarray" | "anycompatiblearray" => return "ARRAY[1, 2]".to_owned(),
        "anyrange" => return "int4range(1, 2)".to_owned(),
        "record" => return "ROW(1, 'a')".to_owned(),
        array if array.ends_with("[]") => "{}",
        _ => return format!("'1'::{kind}"),
    };
    format!("'{}'::{kind}", value)
}

/// Statements that are put together by chance.
struct Maker(Chance);

impl Maker {
    fn of(&mut self, items: &[&str]) -> String {
        self.0.of(items).to_owned()
    }

    fn expression(&mut self, depth: usize) -> String {
        if depth == 0 {
            return self.of(&[
                "1",
                "'a'",
                "id",
                "name",
                "u.email",
                "NULL",
                "true",
                "now()",
                "'users'::regclass",
                "'s'",
                "$$x$$",
                "j",
                "a[1]",
                "current_user",
            ]);
        }
        let one = self.expression(depth - 1);
        let other = self.expression(depth - 1);
        match self.0.next(14) {
            0 => format!(
                "({one} {} {other})",
                self.of(&[
                    "=",
                    "<",
                    "||",
                    "+",
                    "AND",
                    "IS DISTINCT FROM",
                    "OPERATOR(pg_catalog.=)",
                    "OPERATOR(public.===)",
                    "LIKE",
                    "->"
                ])
            ),
            1 => format!("CASE WHEN {one} THEN {other} END"),
            2 => format!("({})", self.query(depth - 1)),
            3 => format!("EXISTS ({})", self.query(depth - 1)),
            4 => format!(
                "({one})::{}",
                self.of(&["text", "int", "regclass", "mood", "dom", "jsonb"])
            ),
            5 => format!("COALESCE({one}, {other})"),
            6 => format!("ARRAY[{one}, {other}]"),
            7 => format!("ROW({one}, {other})"),
            8 => format!("{one} IN ({other}, {})", self.query(depth - 1)),
            9 => format!("count({one}) FILTER (WHERE {other})"),
            10 => format!("sum({one}) OVER (ORDER BY {other})"),
            _ => self.function(&one, &other),
        }
    }

    fn function(&mut self, one: &str, other: &str) -> String {
        let name = self.of(&[
            "lower",
            "upper",
            "length",
            "abs",
            "pg_catalog.lower",
            "nextval",
            "pg_catalog.nextval",
            "\"nextval\"",
            "NEXTVAL",
            "setval",
            "lo_create",
            "lo_unlink",
            "pg_notify",
            "pg_advisory_lock",
            "txid_current",
            "pg_current_xact_id",
            "set_config",
            "f",
            "public.f",
            "agg",
            "format",
            "concat",
            "md5",
            "to_json",
            "pg_typeof",
            "query_to_xml",
            "pg_switch_wal",
            "pg_create_restore_point",
            "coalesce",
            "pg_stat_reset",
            "lo_from_bytea",
            "pg_logical_emit_message",
            "pg_total_relation_size",
            "currval",
            "string_agg",
        ]);
        match self.0.next(4) {
            0 => format!("{name}()"),
            1 => format!("{name}('s')"),
            2 => format!("{name}({one})"),
            _ => format!("{name}({one}, {other})"),
        }
    }

    fn source(&mut self, depth: usize) -> String {
        let plain = self.of(&[
            "users u",
            "public.users AS u",
            "orders",
            "v",
            "mv",
            "s",
            "part",
            "other.t",
            "pg_class",
            "generate_series(1, 3) i",
            "nextval('s')",
            "ft",
        ]);
        if depth == 0 {
            return plain;
        }
        match self.0.next(8) {
            0 => format!("({}) x", self.query(depth - 1)),
            1 => format!("LATERAL ({}) y", self.query(depth - 1)),
            2 => format!("{plain} JOIN users w ON {}", self.expression(depth - 1)),
            3 => format!("{plain} TABLESAMPLE system (50)"),
            4 => format!("ROWS FROM ({}) z", self.function("1", "2")),
            5 => format!("(VALUES ({})) q", self.expression(depth - 1)),
            _ => plain,
        }
    }

    fn change(&mut self, depth: usize) -> String {
        let value = self.expression(depth.min(1));
        match self.0.next(5) {
            0 => format!("DELETE FROM users WHERE {value} RETURNING *"),
            1 => format!("UPDATE orders SET total = {value} RETURNING *"),
            2 => format!("INSERT INTO other.t VALUES ({value}) RETURNING *"),
            3 => "TRUNCATE other.t".to_owned(),
            _ => format!("MERGE INTO other.t USING orders ON {value} WHEN MATCHED THEN DELETE"),
        }
    }

    fn query(&mut self, depth: usize) -> String {
        let depth = depth.saturating_sub(1);
        let mut text = String::new();
        match self.0.next(12) {
            0 => text += &format!("WITH c AS ({}) ", self.query(depth)),
            1 => text += &format!("WITH c AS ({}) ", self.change(depth)),
            2 => {
                text += &format!(
                    "WITH RECURSIVE c(n) AS (VALUES (1) UNION ALL SELECT n + 1 FROM c WHERE n < 3 AND {}) ",
                    self.expression(depth)
                )
            }
            _ => {}
        }
        text += &format!(
            "SELECT {}{}",
            self.of(&["", "", "DISTINCT "]),
            self.expression(depth)
        );
        if self.0.next(20) == 0 {
            text += self
                .0
                .of(&[" INTO x1", " INTO TEMP x2", " INTO UNLOGGED x3"]);
        }
        if self.0.next(4) > 0 {
            text += &format!(" FROM {}", self.source(depth));
        }
        for clause in ["WHERE", "GROUP BY", "HAVING", "ORDER BY", "LIMIT"] {
            if self.0.next(5) == 0 {
                text += &format!(" {clause} {}", self.expression(depth));
            }
        }
        text += self.0.of(&[
            "",
            "",
            "",
            "",
            "",
            " FOR UPDATE",
            " FOR SHARE",
            " UNION SELECT 1",
            " EXCEPT SELECT nextval('s')",
            " -- x",
            " /* ; */",
        ]);
        text
    }

    fn statement(&mut self) -> String {
        let query = self.query(3);
        match self.0.next(24) {
            0 => self.change(2),
            1 => format!("EXPLAIN {query}"),
            2 => format!(
                "EXPLAIN (ANALYZE {}) {query}",
                self.of(&["", "off", "true", "1", "0"])
            ),
            3 => format!("EXPLAIN ANALYZE {}", self.change(1)),
            4 => format!("EXPLAIN {}", self.change(1)),
            5 => format!("COPY ({query}) TO STDOUT"),
            6 => format!(
                "COPY {} TO {}",
                self.of(&["users", "orders"]),
                self.of(&["STDOUT", "'/tmp/pgjudge-x'", "PROGRAM 'true'"])
            ),
            7 => format!(
                "BEGIN {}; {query}; {}",
                self.of(&["", "READ ONLY", "READ WRITE"]),
                self.of(&["COMMIT", "ROLLBACK", "END"])
            ),
            8 => format!("BEGIN; DECLARE k CURSOR FOR {query}; FETCH ALL FROM k"),
            9 => format!("PREPARE p AS {query}"),
            10 => format!(
                "SET {} {} {}",
                self.of(&["", "LOCAL", "SESSION"]),
                self.of(&[
                    "search_path TO",
                    "transaction_read_only =",
                    "work_mem =",
                    "role =",
                    "jit ="
                ]),
                self.of(&["on", "off", "public", "DEFAULT", "'1MB'"])
            ),
            11 => format!("{query}; {}", self.change(1)),
            12 => format!(
                "LOCK TABLE users IN {} MODE",
                self.of(&["ACCESS SHARE", "SHARE", "EXCLUSIVE"])
            ),
            13 => format!("CREATE TABLE x{} AS {query}", self.0.next(1000)),
            14 => format!(
                "EXPLAIN ANALYZE CREATE TABLE x{} AS {query}",
                self.0.next(1000)
            ),
            15 => self.of(&[
                "LISTEN a",
                "UNLISTEN *",
                "NOTIFY a",
                "CHECKPOINT",
                "ANALYZE",
                "VACUUM users",
                "DISCARD ALL",
                "RESET ALL",
                "SHOW ALL",
                "CREATE TEMP TABLE x (a int)",
                "REFRESH MATERIALIZED VIEW mv",
                "CALL pr()",
                "DO 'begin perform nextval(''s''); end'",
                "CLUSTER users USING users_pkey",
                "REINDEX TABLE users",
                "TABLE s",
            ]),
            _ => query,
        }
    }
}

#[test]
#[ignore = "needs a server"]
fn random_statements_that_pass_change_nothing() {
    let mut maker = Maker(Chance(0x00c0_ffee));
    let all: Vec<_> = (0..40_000).map(|_| maker.statement()).collect();
    let passed: Vec<_> = all
        .into_iter()
        .filter(|statement| reads(statement))
        .collect();
    println!("{} statements pass", passed.len());
    let said = execute("-c statement_timeout=200", &passed);
    let errors = said
        .lines()
        .filter(|line| line.starts_with("ERROR"))
        .count();
    println!("{errors} errors");
    assert!(passed.len() > 5000);
    assert_harmless(&passed);
}
