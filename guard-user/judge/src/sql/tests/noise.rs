//! Texts of random tokens are judged without a panic.

use super::{
    super::{judge, shape},
    NOW,
};

/// xorshift: the same every time.
struct Chance(u64);

impl Chance {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(below).unwrap()).unwrap()
    }

    fn of<'a>(&mut self, items: &[&'a str]) -> &'a str {
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
            NOW,
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
            let _ = judge(words.join(" ").as_bytes(), NOW);
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
        let _ = judge(&bytes, NOW);
    }
}

/// What one judgement is used for: SELECTs that differ in numbers are one to the judge.
#[test]
fn numbers_decide_nothing_in_what_has_a_shape() {
    const NUMBERS: &[&str] = &["0", "1", "2", "7", "00", "65535", "999999999"];
    const MORE: &[&str] = &[
        "9.9",
        "1e5",
        "t1",
        "generate_series(",
        "set_config(",
        "nextval(",
        "pg_sleep(",
        "float(",
        "numeric(",
        "cast(",
        "as int)",
        "interval",
        "fetch first",
        "rows only",
        "offset",
        "<",
        "-",
        "within group (",
        "into",
        "for update",
        "array",
    ];
    let mut chance = Chance(0x2545_f491_4f6c_dd1d);
    let mut compared = 0;
    for _ in 0..60_000 {
        let count = 1 + chance.next(10);
        let words: Vec<_> = (0..count)
            .map(|_| match chance.next(4) {
                0 => "#",
                1 => chance.of(MORE),
                _ => chance.of(TOKENS),
            })
            .collect();
        let text = format!("SELECT {}", words.join(chance.of(&[" ", " ", ""])));
        let one = text.replace('#', chance.of(NUMBERS));
        let other = text.replace('#', chance.of(NUMBERS));
        let (Some(shape), Some(second)) = (shape(one.as_bytes()), shape(other.as_bytes())) else {
            continue;
        };
        if shape != second || one == other {
            continue;
        }
        // What the grammar itself says of a number, such as the precision of a type, the server says, too.
        let (Ok(one), Ok(other)) = (judge(one.as_bytes(), NOW), judge(other.as_bytes(), NOW))
        else {
            continue;
        };
        compared += 1;
        assert_eq!(one.statements, other.statements, "{text}");
    }
    assert!(compared > 500, "{compared}");
}
