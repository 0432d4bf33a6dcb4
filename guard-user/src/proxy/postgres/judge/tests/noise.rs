//! Texts of random tokens are judged without a panic.

use super::super::judge;

/// xorshift: the same every time.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    pub(super) fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }

    pub(super) fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.next(items.len())]
    }
}

const TOKENS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "(",
    ")",
    ",",
    ";",
    "*",
    "t",
    "a",
    "1",
    "'x'",
    "\"y\"",
    "$1",
    "$$",
    "$a$",
    "--",
    "/*",
    "*/",
    "\n",
    "INSERT INTO",
    "VALUES",
    "UPDATE",
    "SET",
    "DELETE",
    "WITH",
    "AS",
    "RECURSIVE",
    "UNION",
    "ALL",
    "EXPLAIN",
    "ANALYZE",
    "COPY",
    "TO",
    "STDOUT",
    "STDIN",
    "PROGRAM",
    "BEGIN",
    "COMMIT",
    "READ",
    "WRITE",
    "ONLY",
    "PREPARE",
    "EXECUTE",
    "DECLARE",
    "CURSOR",
    "FOR",
    "CREATE",
    "TABLE",
    "DROP",
    "ALTER",
    "FUNCTION",
    "CASCADE",
    "nextval(",
    "lower(",
    "pg_catalog.",
    "::",
    "int",
    "[",
    "]",
    "+",
    "=",
    "AND",
    "NOT",
    "NULL",
    "CASE",
    "WHEN",
    "THEN",
    "END",
    "E'\\",
    "U&'",
    "'",
    "\"",
    "GRANT",
    "ON",
    "IN",
    "JOIN",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "OVER",
    "FILTER",
    "é",
    "\u{a0}",
    "\r",
    ".",
    "DO",
    "LOCK",
    "RESET",
    "SHOW",
    "DEFAULT",
    "OPERATOR(",
    "ROLE",
    "DISCARD",
    "XMLTABLE(",
    "JSON_TABLE(",
    "COLUMNS",
    "TABLESAMPLE",
    "SECURITY",
    "IS",
    "TYPE",
];

#[test]
fn random_tokens_are_judged() {
    let mut chance = Chance(0x9e37_79b9_7f4a_7c15);
    for _ in 0..30_000 {
        let count = 1 + chance.next(14);
        let tokens: Vec<_> = (0..count).map(|_| chance.of(TOKENS)).collect();
        let _ = judge(
            tokens.join(chance.of(&[" ", " ", "", "\n"])).as_bytes(),
            &[],
        );
    }
}

/// Statements of the fixtures with one token put in, taken out, or cut off.
#[test]
fn damaged_statements_are_judged() {
    let mut chance = Chance(42);
    let fixtures = concat!(
        include_str!("fixtures/reads.sql"),
        include_str!("fixtures/writes.sql")
    );
    for line in fixtures.lines() {
        let statement = line
            .split_once(" | ")
            .map_or(line, |(_, statement)| statement);
        for _ in 0..20 {
            let mut words: Vec<_> = statement.split(' ').collect();
            let at = chance.next(words.len());
            match chance.next(3) {
                0 => words.insert(at, chance.of(TOKENS)),
                1 => drop(words.remove(at)),
                _ => words.truncate(at),
            }
            let _ = judge(words.join(" ").as_bytes(), &[]);
        }
    }
}

#[test]
fn random_bytes_are_judged() {
    let mut chance = Chance(7);
    for _ in 0..5_000 {
        let count = chance.next(60);
        let bytes: Vec<_> = (0..count)
            .map(|_| u8::try_from(chance.next(256)).unwrap())
            .collect();
        let _ = judge(&bytes, &[]);
    }
}
