//! Statements that are put together by chance. Many do something, and hide that more or less well.

/// xorshift: the same every time.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.next(items.len())]
    }
}

pub(super) struct Maker(pub(super) Chance);

impl Maker {
    /// `seed`: not 0.
    pub(super) const fn new(seed: u64) -> Self {
        Self(Chance(seed))
    }

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
        match self.0.next(16) {
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
            11 => format!("({one}).{}", self.name()),
            12 => format!("{}.{}", self.of(&["u", "i", "x", "z"]), self.name()),
            _ => self.function(&one, &other),
        }
    }

    fn function(&mut self, one: &str, other: &str) -> String {
        let name = self.name();
        match self.0.next(4) {
            0 => format!("{name}()"),
            1 => format!("{name}('s')"),
            2 => format!("{name}({one})"),
            _ => format!("{name}({one}, {other})"),
        }
    }

    fn name(&mut self) -> String {
        self.of(&[
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
            "sneak",
            "calm",
            "public.calm",
            "pg_restore_relation_stats",
            "ts_stat",
            "pg_stat_reset_shared",
            "table_to_xml",
            "pg_drop_replication_slot",
            "name",
            "value",
            "string_agg",
        ])
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
            "unnest(ARRAY['s'::regclass]) i",
            "unnest(ARRAY[1]) WITH ORDINALITY AS i(value, name)",
            "json_each('{\"a\": 1}') i",
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
            " -- x\n",
            " /* ; */",
        ]);
        text
    }

    /// As `psql` is told it: what is to be sent in one string has `\;` within.
    pub(super) fn statement(&mut self) -> String {
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
                self.of(&[
                    "STDOUT",
                    "'/proc/self/cwd/guard-fuzz'",
                    "PROGRAM 'touch guard-fuzz'"
                ])
            ),
            7 => format!(
                "BEGIN {}\\; {query}\\; {}",
                self.of(&["", "READ ONLY", "READ WRITE"]),
                self.of(&["COMMIT", "ROLLBACK", "END"])
            ),
            8 => format!("BEGIN\\; DECLARE k CURSOR FOR {query}\\; FETCH ALL FROM k"),
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
            11 => format!("{query}\\; {}", self.change(1)),
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
