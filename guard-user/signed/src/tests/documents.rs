//! The canonical form, against one that is written down from RFC 8785 without serde.

use guard_rounds::rounds;
use proptest::prelude::*;
use serde_json::Value;

use super::{answer, question};
use crate::{Answer, AnswerRefusal, Document, Question};

/// RFC 8785, section 3.2: no white space, keys in order of their UTF-16 units, text as ECMAScript writes it.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.encode_utf16().collect::<Vec<_>>());
            let fields = fields.into_iter();
            let fields = fields.map(|(key, value)| format!("{}:{}", text(key), canonical(value)));
            format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
        }
        Value::Array(all) => {
            format!(
                "[{}]",
                all.iter().map(canonical).collect::<Vec<_>>().join(",")
            )
        }
        Value::String(one) => text(one),
        other => other.to_string(),
    }
}

fn text(one: &str) -> String {
    let mut out = String::from('"');
    for c in one.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out + "\""
}

fn is_canonical<D: Document + PartialEq + std::fmt::Debug>(document: &D) {
    let bytes = document.to_bytes().unwrap();
    let value: Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(String::from_utf8(bytes.clone()).unwrap(), canonical(&value));
    assert_eq!(&D::from_bytes(&bytes).unwrap(), document);
}

proptest! {
    #![proptest_config(rounds(256))]

    #[test]
    fn questions_have_one_form(
        shows in prop::collection::vec("\\PC{0,40}|[\\x00-\\x7f]{0,20}", 0..5),
        rule in prop::option::of(any::<String>()),
        at in 0_u64..(1 << 53),
        whole in any::<bool>(),
    ) {
        is_canonical(&Question { shows, rule, asked_at: at, shown_whole: whole, ..question() });
    }

    #[test]
    fn answers_have_one_form(
        by in any::<String>(),
        count in prop::option::of(0_u64..(1 << 53)),
        read_only in any::<bool>(),
    ) {
        is_canonical(&Answer { by, connections: count, bytes: count, read_only, ..answer() });
    }
}

#[test]
fn the_bytes_are_those_of_the_contract() {
    let bytes = String::from_utf8(answer().to_bytes().unwrap()).unwrap();
    let hash = answer().question;
    assert_eq!(
        bytes,
        format!(
            r#"{{"by":"alice","bytes":null,"code":"","connections":null,"for":900,"machine":"m-7fq3","question":"{hash}","read_only":false,"requests":null,"scope":"one","v":1,"verdict":"yes"}}"#
        )
    );
    let bytes = String::from_utf8(question().to_bytes().unwrap()).unwrap();
    assert!(bytes.starts_with(r#"{"asked_at":1795439000,"boot":"9f2c","code_by":"desktop","expires_at":1795442600,"kind":"connect","machine":"m-7fq3","nonce":"#), "{bytes}");
    assert!(bytes.ends_with(r#""user":"dev","v":1}"#), "{bytes}");
}

/// As `printf 'guard question v1\n%s' '{}' | sha256sum` says it.
#[test]
fn hashes_say_what_they_are_of() {
    assert_eq!(
        Question::hash(b"{}"),
        "UiPa1NWv6lR8eWKHWN_fIeiuO0rR3FSc5asIIHenBdc",
    );
    assert_ne!(Answer::challenge(b"{}"), crate::sha256(b"{}"));
}

#[test]
fn what_has_another_form_is_refused() {
    let fine = String::from_utf8(answer().to_bytes().unwrap()).unwrap();
    let forms = [
        fine.replace("\"for\":900", "\"for\": 900"),
        fine.replace("alice", "\\u0061lice"),
        fine.replace("\"v\":1", "\"v\":1.0"),
        fine.replace("\"v\":1", "\"v\":2"),
        fine.replace("\"for\":900", "\"for\":9e2"),
        fine.replace("\"for\":900", "\"for\":9007199254740992"),
        fine.replace("\"for\":900", "\"for\":-1"),
        fine.replace("\"bytes\":null,", ""),
        fine.replace("\"bytes\":null", "\"bytes\":null,\"bytes\":null"),
        fine.replace(
            "\"by\":\"alice\",\"bytes\":null",
            "\"bytes\":null,\"by\":\"alice\"",
        ),
        fine.replace("{\"by\"", "{\"also\":1,\"by\""),
        fine.replace("\"yes\"", "\"maybe\""),
        format!("{fine}\n"),
        format!(" {fine}"),
    ];
    for form in forms {
        assert_ne!(form, fine);
        assert!(Answer::from_bytes(form.as_bytes()).is_err(), "{form}");
    }
    let spaced = fine.replace(":900", ": 900");
    assert_eq!(
        Answer::from_bytes(spaced.as_bytes()),
        Err(AnswerRefusal::NotCanonical("answer"))
    );
    let long = Question {
        shows: vec!["x".repeat(50_000)],
        ..question()
    };
    assert!(long.to_bytes().is_err());
}
