//! Signatures in an audit log whose chain somebody has made again: the chain is whole, and no signature fits what was changed.

use std::{
    fs::{self, File},
    io::Cursor,
    path::Path,
    process::Command,
};

use data_encoding::BASE64URL_NOPAD;
use guard_proto::LogRecord;
use guard_signed::{Answer, Document, Question, SignedVerdict, approvers::Key, ssh::unarmour};
use serde_json::{Value, json};

use super::super::{
    chain::{ChainHead, seal},
    verify::{Source, Verified, signatures::Signatures, verify_signed},
};

fn question() -> String {
    text_of(&question_of("m-1"))
}

/// What is asked on that machine.
pub(super) fn question_of(machine: &str) -> Question {
    Question {
        asked_at: 1,
        boot: "b".to_owned(),
        code_by: None,
        expires_at: 2,
        kind: "connect".to_owned(),
        machine: machine.to_owned(),
        nonce: "n".to_owned(),
        offers: vec!["for=900".to_owned()],
        policy: "homelab".to_owned(),
        request: "r1".to_owned(),
        rule: None,
        session: "s1".to_owned(),
        shown_whole: true,
        shows: vec!["curl wants tcp/443 at 192.0.2.10".to_owned()],
        user: "dev".to_owned(),
        v: 1,
    }
}

fn text_of(document: &impl Document) -> String {
    String::from_utf8(document.to_bytes().unwrap()).unwrap()
}

fn answer() -> String {
    text_of(&answer_to(&question_of("m-1")))
}

/// Yes.
pub(super) fn answer_to(question: &Question) -> Answer {
    Answer {
        by: "alice".to_owned(),
        bytes: None,
        code: String::new(),
        connections: None,
        seconds: Some(900),
        machine: question.machine.clone(),
        question: Question::hash(text_of(question).as_bytes()),
        read_only: false,
        requests: None,
        scope: "one".to_owned(),
        v: 1,
        verdict: SignedVerdict::Yes,
    }
}

/// What `ssh-keygen` says of that, of a key in that directory.
fn keygen(dir: &Path, args: &[&str], said: &str) -> String {
    let message = dir.join("message");
    fs::write(&message, said).unwrap();
    let said = Command::new("ssh-keygen")
        .args(args)
        .arg("-f")
        .arg(dir.join("key"))
        .stdin(File::open(message).unwrap())
        .output()
        .unwrap();
    assert!(said.status.success(), "{said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// A key that is added, answers, and is removed.
fn records() -> [Value; 3] {
    let dir = tempfile::tempdir().unwrap();
    records_of(dir.path(), "m-1")
}

/// The same about that machine, of the key in that directory.
fn records_of(dir: &Path, machine: &str) -> [Value; 3] {
    let question = question_of(machine);
    records_about(dir, &question, &answer_to(&question))
}

pub(super) fn records_about(dir: &Path, question: &Question, answer: &Answer) -> [Value; 3] {
    let [question, answer] = [text_of(question), text_of(answer)];
    if !dir.join("key").exists() {
        keygen(dir, &["-q", "-N", "", "-t", "ed25519"], "");
    }
    let public = fs::read_to_string(dir.join("key.pub")).unwrap();
    let key = Key::ssh(&public).unwrap();
    let sign = ["-q", "-Y", "sign", "-n", "answer@guardd.org"];
    let signed = keygen(dir, &sign, &answer);
    let signature = BASE64URL_NOPAD.encode(&unarmour(&signed).unwrap());
    let about = json!({
        "at": "2026-11-25T12:00:00.000Z", "kind": "approver-added", "session": null,
        "approver": "alice", "key": key.id, "key_kind": "ssh", "public_key": key.public,
    });
    let mut gone = about.clone();
    gone["kind"] = json!("approver-removed");
    let answered = json!({
        "at": "2026-11-25T12:00:01.000Z", "kind": "answered", "session": "s1", "request": "r1", "answer": "yes",
        "by": "alice", "signed": {
            "by": "alice", "key": key.id, "kind": "ssh", "question": question, "answer": answer,
            "signature": signature, "authenticator_data": null, "client_data": null,
        },
    });
    [about, answered, gone]
}

/// What is found in a chain of these records.
fn found(records: &[Value]) -> Verified {
    found_by(records, Signatures::by_log())
}

pub(super) fn found_by(records: &[Value], signatures: Signatures) -> Verified {
    let mut head = ChainHead::behind(std::io::empty()).unwrap();
    let mut text = Vec::new();
    for record in records {
        let record: LogRecord = serde_json::from_value(record.clone()).unwrap();
        let (line, next) = seal(&head, text.is_empty(), &record).unwrap();
        text.extend(line);
        head = next;
    }
    let source = Source {
        name: "f".to_owned(),
        lines: Box::new(Cursor::new(text)),
    };
    verify_signed(vec![source], &[], Some(signatures)).unwrap()
}

#[test]
fn who_said_yes_to_what_is_shown_and_cannot_be_made_up() {
    let [added, answered, gone] = records();
    let fine = found(&[added.clone(), answered.clone(), gone.clone()]);
    assert!(fine.whole, "{fine:?}");
    let signatures = fine.signatures.unwrap();
    assert_eq!((&*signatures[0].by, signatures[0].ok), ("alice", true));
    assert_eq!(signatures[0].shown, ["curl wants tcp/443 at 192.0.2.10"]);

    let altered = |change: &dyn Fn(&mut Value)| {
        let mut answered = answered.clone();
        change(&mut answered);
        vec![added.clone(), answered]
    };
    let signed =
        |field: &'static str, to: String| altered(&move |one| one["signed"][field] = json!(to));
    for (records, why) in [
        (vec![answered.clone()], "nobody is known"),
        (
            vec![added.clone(), gone, answered.clone()],
            "nobody is known",
        ),
        (
            altered(&|one| one["request"] = json!("r2")),
            "another request",
        ),
        (
            altered(&|one| one["session"] = json!("s2")),
            "another session",
        ),
        (
            altered(&|one| one["answer"] = json!("no")),
            "something else",
        ),
        (
            signed("answer", answer().replace("900", "901")),
            "not of these bytes",
        ),
        (
            signed("question", question().replace("192.0.2.10", "192.0.2.11")),
            "another question",
        ),
        (signed("by", "bob".to_owned()), "the key is alice's"),
        (signed("kind", "passkey".to_owned()), "something else"),
    ] {
        let found = found(&records);
        assert!(!found.whole && found.broken.is_none(), "{why}");
        let one = &found.signatures.unwrap()[0];
        assert!(
            !one.ok && one.why.as_ref().unwrap().contains(why),
            "{why}: {:?}",
            one.why
        );
    }
}

#[test]
fn an_answer_without_a_name_is_by_whoever_has_the_key_and_by_nobody_else() {
    let question = question_of("m-1");
    for (by, why) in [
        ("", None),
        ("alice", None),
        ("bob", Some("the key is alice's")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let answer = Answer {
            by: by.to_owned(),
            ..answer_to(&question)
        };
        let [added, answered, _] = records_about(dir.path(), &question, &answer);
        let one = &found(&[added, answered]).signatures.unwrap()[0];
        assert_eq!((&*one.by, one.why.as_deref()), ("alice", why), "{by:?}");
    }
}

/// Root of a machine writes into its log what it likes, but for what somebody signs.
#[test]
fn what_was_signed_for_another_machine_or_before_is_signed_here_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let [added, here, _] = records_of(dir.path(), "m-1");
    let [_, there, _] = records_of(dir.path(), "m-2");
    let why = |verified: Verified| {
        let signatures = verified.signatures.unwrap();
        assert_eq!(verified.whole, signatures.iter().all(|one| one.ok));
        let whys = signatures.into_iter().map(|one| one.why);
        whys.map(Option::unwrap_or_default).collect::<Vec<_>>()
    };
    let of = |machine: &str| Signatures::by_log().of(machine);
    let chain = [added.clone(), here.clone()];
    assert_eq!(why(found_by(&chain, of("m-1"))), [""]);
    let another = "it was signed for another machine, ";
    assert_eq!(
        why(found_by(&chain, of("m-2"))),
        [another.to_owned() + "m-1"]
    );
    // Whose log it is, its first signature says where nobody else does.
    let both = [added.clone(), here.clone(), there];
    assert_eq!(why(found(&both)), ["", &(another.to_owned() + "m-2")]);
    // The same once more is none.
    let mut later = here.clone();
    later["at"] = json!("2026-11-25T13:00:00.000Z");
    let twice = [added.clone(), here.clone(), later];
    let once = "it is that of record 2, and counts once";
    assert_eq!(why(found(&twice)), ["", once]);
    // Nor as a part of what it was.
    let mut part = here.clone();
    part["kind"] = json!("answered-in-part");
    assert_eq!(why(found(&[added, here, part])), ["", once]);
}

/// Why the signature in the second record is none, where that says more; empty: it is fine.
fn terms(change: &dyn Fn(&mut Answer), record: &dyn Fn(&mut Value)) -> String {
    let dir = tempfile::tempdir().unwrap();
    let question = question_of("m-1");
    let mut answer = answer_to(&question);
    change(&mut answer);
    let [added, mut answered, _] = records_about(dir.path(), &question, &answer);
    record(&mut answered);
    let verified = found(&[added, answered]);
    let mut signatures = verified.signatures.unwrap();
    signatures.remove(0).why.unwrap_or_default()
}

#[test]
fn a_record_says_no_more_than_what_was_signed() {
    let as_it_was = |_: &mut Answer| {};
    let said =
        |field: &'static str, value: Value| move |record: &mut Value| record[field] = value.clone();
    for (seconds, why) in [
        (60.0, ""),
        (900.0, ""),
        (86_400.0, "the record says 86400 s, and 900 s were signed"),
    ] {
        assert_eq!(terms(&as_it_was, &said("seconds", json!(seconds))), why);
    }
    let once = |answer: &mut Answer| answer.connections = Some(1);
    let twice = |answer: &mut Answer| answer.requests = Some(2);
    let bytes = |answer: &mut Answer| answer.bytes = Some(100);
    let reads = |answer: &mut Answer| answer.read_only = true;
    assert_eq!(terms(&once, &said("connections", json!(1))), "");
    assert_eq!(terms(&twice, &said("connections", json!(1))), "");
    assert_eq!(terms(&bytes, &said("bytes", json!(100))), "");
    assert_eq!(terms(&reads, &said("read_only", json!(true))), "");
    let any = "any number of connections or requests, and 1 were signed";
    assert!(terms(&once, &said("connections", Value::Null)).contains(any));
    let three = "3 connections or requests, and 2 were signed";
    assert!(terms(&twice, &said("connections", json!(3))).contains(three));
    let more = "101 bytes, and 100 were signed";
    assert!(terms(&bytes, &said("bytes", json!(101))).contains(more));
    let all = "more than the reads";
    assert!(terms(&reads, &said("seconds", json!(60))).contains(all));
}

#[test]
fn who_else_said_so_has_signed_it_before() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let question = question_of("m-1");
    let records = |dir: &Path, name: &str, seconds: u64| {
        let answer = Answer {
            by: name.to_owned(),
            seconds: Some(seconds),
            ..answer_to(&question)
        };
        let [mut added, mut answered, _] = records_about(dir, &question, &answer);
        added["approver"] = json!(name);
        answered["by"] = json!(name);
        answered["signed"]["by"] = json!(name);
        [added, answered]
    };
    let [alice, mut yes] = records(one.path(), "alice", 900);
    yes["with"] = json!(["bob"]);
    let mut alone = yes.clone();
    alone["with"] = Value::Null;
    let part = |seconds: u64| {
        let [bob, mut part] = records(other.path(), "bob", seconds);
        part["kind"] = json!("answered-in-part");
        (part["approvals"], part["wanted"]) = (json!(1), json!(2));
        (bob, part)
    };
    let (bob, same) = part(900);
    let why = |records: &[&Value]| {
        let records = [&alice, &bob].into_iter().chain(records.iter().copied());
        let records = records.cloned();
        let records: Vec<_> = records.collect();
        let mut signatures = found(&records).signatures.unwrap();
        signatures.pop().unwrap().why.unwrap_or_default()
    };
    assert_eq!(why(&[&same, &yes]), "");
    let unsigned = "says that bob said so, too, and has no signature of theirs";
    assert!(why(&[&yes]).contains(unsigned));
    assert!(
        why(&[&part(60).1, &yes]).contains(unsigned),
        "it is another"
    );
    let few = "record 3 says that 2 people had to say so, and it is by 1";
    assert_eq!(why(&[&same, &alone]), few);
    // By other settings, one may be enough.
    let start = json!({
        "at": "2026-11-25T12:00:00.500Z", "kind": "daemon-start", "session": null, "version": "0.3.0",
        "start": "adopted", "sessions": 1,
    });
    assert_eq!(why(&[&same, &start, &alone]), "");
}
