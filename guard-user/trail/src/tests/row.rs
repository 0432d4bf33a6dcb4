//! A signed answer to statements in a row: how many records it may have, and about what.

use std::path::Path;

use guard_signed::{Answer, Question};
use serde_json::{Value, json};

use super::{
    super::verify::signatures::Signatures,
    signed::{answer_to, found_by, question_of, records_about},
};

const MISSING: &str = "the record of r1, which was signed, is missing behind it";
const TWICE: &str = "it is that of record 2, and counts once";
const ANOTHER: &str = "the record is about another request";
const NOT_SHOWN: &str = "it is about other statements than those that were shown";

/// What the log says of one signature: why it is none, and the record of which it is a part.
type Checked = (String, Option<u64>);

fn ok(part_of: Option<u64>) -> Checked {
    (String::new(), part_of)
}

fn wrong(why: &str) -> Checked {
    (why.to_owned(), None)
}

fn to(address: &str, port: u16) -> Value {
    json!({"address": address, "port": port, "protocol": "tcp", "host": null})
}

fn statement(text: &str) -> Value {
    let http =
        json!({"method": "CREATE TABLE", "scheme": "postgres", "path": text, "host": "app@shop"});
    json!({"session": "s1", "destination": to("192.0.2.10", 5432), "http": http})
}

/// A connection to production.
fn connection() -> Value {
    json!({"session": "s1", "destination": to("192.0.2.66", 443), "http": null})
}

/// The log of a machine where somebody has said yes to statements, by a signature, as root there may write it.
struct Log {
    added: Value,
    /// The record with the signature, of r1.
    own: Value,
}

impl Log {
    fn of(dir: &Path, texts: &[&str]) -> Self {
        Self::with(dir, texts, |_| {})
    }

    fn with(dir: &Path, texts: &[&str], change: impl FnOnce(&mut Answer)) -> Self {
        let at = "(postgres://app@shop) at tcp/5432 at 192.0.2.10 (db.example.net)";
        let question = Question {
            kind: "sql".to_owned(),
            shows: vec![format!("psql (4711) wants {} {at}", texts.join("; "))],
            ..question_of("m-1")
        };
        let mut answer = answer_to(&question);
        change(&mut answer);
        let [added, mut own, _] = records_about(dir, &question, &answer);
        own["shown"] = statement(texts.last().unwrap_or(&""));
        Self { added, own }
    }

    /// The answer once more, to a request that is about that.
    fn to(&self, request: &str, shown: Value) -> Value {
        let mut one = self.own.clone();
        one["request"] = json!(request);
        one["shown"] = shown;
        one
    }

    fn part(&self, request: &str, text: &str) -> Value {
        self.to(request, statement(text))
    }

    /// What is found where these records stand behind the key's.
    fn checked(&self, records: &[Value]) -> Vec<Checked> {
        let chain = [std::slice::from_ref(&self.added), records].concat();
        let found = found_by(&chain, Signatures::by_log());
        let signatures = found.signatures.unwrap();
        assert_eq!(found.whole, signatures.iter().all(|one| one.ok));
        let told = signatures.into_iter().map(|one| {
            assert_eq!(one.ok, one.why.is_none());
            (one.why.unwrap_or_default(), one.part_of)
        });
        told.collect()
    }
}

fn of_kind(kind: &str, session: &str, mut fields: Value) -> Value {
    fields["at"] = json!("2026-11-25T12:00:00.000Z");
    fields["kind"] = json!(kind);
    fields["session"] = json!(session);
    fields
}

/// What was opened for a request.
fn opened(request: &str) -> Value {
    let http = json!({"method": "CREATE TABLE", "path": null, "requests_left": 1, "digest": null});
    let mut hole = hole(request, "192.0.2.10/32", "tcp/5432");
    hole["http"] = http;
    hole
}

fn hole(request: &str, destination: &str, ports: &str) -> Value {
    let fields =
        json!({"request": request, "hole": "h1", "destination": destination, "ports": ports});
    of_kind("hole-open", "s1", fields)
}

/// The record of a request of that session about that.
fn asked(session: &str, request: &str, shown: &Value) -> Value {
    let mut fields = shown.clone();
    fields["request"] = json!(request);
    of_kind("request", session, fields)
}

/// Each has a record: behind each other, and the last of the request that was signed.
#[test]
fn a_signed_answer_to_statements_in_a_row_counts_once_however_many_records_it_has() {
    let dir = tempfile::tempdir().unwrap();
    let alone = Log::of(dir.path(), &["c"]);
    assert_eq!(
        alone.checked(&[alone.own.clone(), opened("r1")]),
        [ok(None)]
    );
    let log = Log::of(dir.path(), &["a", "b", "c"]);
    let row = [
        log.part("r8", "a;"),
        opened("r8"),
        log.part("r9", "b"),
        opened("r9"),
        log.own.clone(),
        opened("r1"),
    ];
    assert_eq!(log.checked(&row), [ok(None), ok(Some(2)), ok(Some(2))]);

    // Once more, behind it or later, it is none; nor where it has not what was signed, or something lies between.
    let again = [&row[..], &[log.part("r2", "a"), log.own.clone()]].concat();
    assert_eq!(log.checked(&again)[3..], [wrong(TWICE), wrong(TWICE)]);
    let later = [
        alone.own.clone(),
        opened("r1"),
        opened("r5"),
        alone.part("r7", "c"),
    ];
    assert_eq!(alone.checked(&later), [ok(None), wrong(TWICE)]);
    let part = log.part("r7", "a");
    assert_eq!(log.checked(&[part.clone(), opened("r7")]), [wrong(MISSING)]);
    let both = [part.clone(), opened("r7"), log.part("r8", "b")];
    assert_eq!(log.checked(&both), [wrong(MISSING), wrong(MISSING)]);
    let between = [part.clone(), opened("r8"), log.own.clone()];
    assert_eq!(log.checked(&between), [wrong(MISSING), wrong(TWICE)]);
    let twice = [part.clone(), part.clone(), log.own.clone()];
    assert_eq!(log.checked(&twice)[..2], [wrong(MISSING), wrong(TWICE)]);
    // A no, and a part of a yes, have one record.
    let mut in_part = part;
    in_part["kind"] = json!("answered-in-part");
    assert_eq!(log.checked(&[in_part]), [wrong(ANOTHER)]);
}

#[test]
fn a_row_is_no_longer_than_guardd_makes_one() {
    let dir = tempfile::tempdir().unwrap();
    for (count, fits) in [(32, true), (33, false)] {
        let log = Log::of(dir.path(), &vec!["a"; count]);
        let parts = (1..count).map(|number| log.part(&format!("r{}", number + 1), "a"));
        let row: Vec<_> = parts.chain([log.own.clone()]).collect();
        let checked = log.checked(&row);
        assert_eq!(checked.len(), count);
        for (why, _) in checked {
            assert_eq!(why.is_empty(), fits, "{why}");
        }
    }
}

/// Whoever has a signed yes to a statement has none to a connection, in whatever record that is.
#[test]
fn a_signed_answer_to_a_statement_is_for_nothing_else_in_front_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::of(dir.path(), &["a", "c"]);
    let part = log.part("r8", "a");
    let fine = [asked("s1", "r8", &statement("a")), part.clone()];
    let fine = [&fine[..], &[opened("r8"), log.own.clone()]].concat();
    assert_eq!(log.checked(&fine), [ok(None), ok(Some(3))]);

    // 31 connections to production, each with its request and its hole.
    let forged = (2..33).flat_map(|number| {
        let id = format!("r{number}");
        [
            asked("s1", &id, &connection()),
            log.to(&id, connection()),
            hole(&id, "192.0.2.66/32", "tcp/443"),
        ]
    });
    let forged: Vec<_> = forged.chain([log.own.clone(), opened("r1")]).collect();
    let mut checked = log.checked(&forged);
    assert_eq!(checked.pop(), Some(ok(None)));
    assert_eq!(checked, vec![wrong(ANOTHER); 31]);

    // The request's own record counts, whatever the answer's says that it was about.
    let elsewhere = |key: &str, value: Value| {
        let mut one = statement("a");
        one[key] = value;
        one
    };
    let mut database = statement("a");
    database["http"]["host"] = json!("app@bank");
    for (session, about) in [
        ("s1", connection()),
        ("s1", statement("b")),
        ("s1", elsewhere("destination", to("192.0.2.66", 5432))),
        ("s1", database.clone()),
        ("s2", statement("a")),
    ] {
        let records = [asked(session, "r8", &about), part.clone(), log.own.clone()];
        assert_eq!(log.checked(&records), [wrong(ANOTHER), ok(None)], "{about}");
        // A request of a session that has ended is another one, and so are all after a reboot.
        let over = of_kind("session-end", session, json!({}));
        let reboot = of_kind("daemon-start", "", json!({"start": "fresh"}));
        for over in [over, reboot] {
            let asked = asked(session, "r8", &about);
            let records = [asked, over, part.clone(), log.own.clone()];
            assert_eq!(log.checked(&records), [ok(None), ok(Some(4))], "{about}");
        }
    }

    // So does what it opened, and where the next one is.
    let missing = [wrong(MISSING), wrong(TWICE)];
    let holes = [
        hole("r8", "192.0.2.10/32", "tcp/5432"),
        {
            let mut hole = opened("r8");
            hole["destination"] = json!("192.0.2.0/24");
            hole
        },
        {
            let mut hole = opened("r8");
            hole["session"] = json!("s2");
            hole
        },
    ];
    for hole in holes {
        let records = [part.clone(), hole, log.own.clone()];
        assert_eq!(log.checked(&records), missing);
    }
    for about in [elsewhere("destination", to("192.0.2.66", 5432)), database] {
        let records = [log.to("r8", about), log.own.clone()];
        assert_eq!(log.checked(&records), missing);
    }
}

#[test]
fn the_statements_of_a_row_are_those_that_were_shown() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::of(dir.path(), &["a", "b", "c"]);
    for texts in [
        &["drop table people", "b"][..],
        &["a", "b", "b"],
        &["b", "a"],
        &["a"],
    ] {
        let parts = texts.iter().zip(2..);
        let parts = parts.map(|(text, number)| log.part(&format!("r{number}"), text));
        let records: Vec<_> = parts.chain([log.own.clone()]).collect();
        let expected = vec![wrong(NOT_SHOWN); texts.len() + 1];
        assert_eq!(log.checked(&records), expected, "{texts:?}");
    }
    // Nor is a longer address the same one.
    let log = Log::of(dir.path(), &["a", "c"]);
    let near = |text| {
        let mut one = statement(text);
        one["destination"] = to("192.0.2.1", 5432);
        one
    };
    let records = [log.to("r2", near("a")), log.to("r1", near("c"))];
    assert_eq!(log.checked(&records), [wrong(NOT_SHOWN), wrong(NOT_SHOWN)]);
    // A yes to more than these has one record.
    let log = Log::with(dir.path(), &["a", "c"], |answer| {
        answer.scope = "writes".to_owned();
    });
    let records = [log.part("r2", "a"), log.own.clone()];
    assert_eq!(log.checked(&records), [wrong(ANOTHER), ok(None)]);
}
