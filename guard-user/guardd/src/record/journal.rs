//! The records of the audit log in systemd's journal, with fields to search by:
//! `journalctl _UID=0 _SYSTEMD_UNIT=guardd.service GUARD_KIND=hole-open`. Any program can log the other fields.
//!
//! The protocol: <https://systemd.io/JOURNAL_NATIVE_PROTOCOL/>. A datagram is an entry, of lines `FIELD=value`; a value
//! with a newline in it goes by its length.

use std::{
    io::{self, Write as _},
    os::unix::net::UnixDatagram,
    path::Path,
};

use guard_log::has_stderr;
use guard_proto::{
    Endpoint, LogKind, LogRecord,
    record::{Appeared, Dismissed, Field, Record},
};
use serde_json::Value;

/// Where journald listens.
const SOCKET: &str = "/run/systemd/journal/socket";
/// The longest value, in bytes: paths and commands may have any length.
const MOST: usize = 4096;

/// The journal, if guardd's own log goes there too.
#[derive(Debug)]
pub(crate) struct Journal(Option<UnixDatagram>);

impl Journal {
    /// journald's, if standard error goes there (systemd.exec(5), `JOURNAL_STREAM`); else none.
    #[must_use]
    pub(crate) fn of_stderr() -> Self {
        if !has_stderr() {
            return Self(None);
        }
        Self::at(Path::new(SOCKET)).unwrap_or_else(|error| {
            tracing::warn!(%error, "the journal gets no records of the audit log");
            Self(None)
        })
    }

    /// The one that listens at `path`.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn at(path: &Path) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.connect(path)?;
        // A journald that does not read delays nothing: the audit log is what counts.
        socket.set_nonblocking(true)?;
        Ok(Self(Some(socket)))
    }

    /// Sends a record. One that journald does not take is in the audit log all the same.
    pub(crate) fn tell(&self, record: &LogRecord) {
        if let Some(socket) = &self.0 {
            let _ = socket.send(&entry(record));
        }
    }
}

/// An entry of the journal: each field that is one word or number, the destination, and the process of an answer.
fn entry(record: &LogRecord) -> Vec<u8> {
    let mut entry = Vec::new();
    let kind = kind(record.kind);
    let typed = record.record();
    add(&mut entry, "SYSLOG_IDENTIFIER", "guardd");
    add(&mut entry, "PRIORITY", priority(&typed));
    add(&mut entry, "MESSAGE", &message(record, &typed));
    add(&mut entry, "GUARD_KIND", &kind);
    if let Some(session) = &record.session {
        add(&mut entry, "GUARD_SESSION", session);
    }
    for (name, value) in &record.fields {
        match (name.as_str(), value) {
            ("destination", value) => {
                for (name, text) in destination(value) {
                    add(&mut entry, name, &text);
                }
            }
            ("from", Value::Object(from)) => {
                for (name, value) in from {
                    add_scalar(&mut entry, &format!("from_{name}"), value);
                }
            }
            (name, value) => add_scalar(&mut entry, name, value),
        }
    }
    entry
}

fn kind(kind: LogKind) -> String {
    let name = serde_json::to_value(kind).ok();
    let name = name.as_ref().and_then(Value::as_str);
    name.unwrap_or_default().to_owned()
}

/// As syslog(3) has them: what somebody should look at, what was refused, and all else.
fn priority(record: &Record) -> &'static str {
    const WARNING: &str = "4";
    const NOTICE: &str = "5";
    const INFO: &str = "6";
    match record {
        Record::PolicyLoad(one) if !one.error.is_none() => WARNING,
        Record::PolicyApplied(one) if !one.error.is_none() => WARNING,
        Record::DaemonStop(one) if !one.error.is_none() => WARNING,
        Record::Http(one) if one.outcome.is("warned") => WARNING,
        Record::AnswerRefused(_) => WARNING,
        Record::Appeared(one) if one.more.is(&true) => WARNING,
        Record::Denied(_)
        | Record::Appeared(_)
        | Record::StartRefused(_)
        | Record::ApproverAdded(_)
        | Record::ApproverRemoved(_)
        | Record::Dismissed(_)
        | Record::PolicyApplied(_)
        | Record::Trusted(_) => NOTICE,
        _ => INFO,
    }
}

fn appeared(one: &Appeared, of: &str) -> String {
    match (one.more.is(&true), one.asks.is(&true)) {
        (false, _) => format!("what looks like production came into reach{of}"),
        (true, false) => {
            format!("more that looks like production came into reach{of} than is told")
        }
        (true, true) => format!(
            "more that looks like production came into reach{of} than is told, and each new connection is asked about"
        ),
    }
}

/// One line for people. Its words are fields that records of many kinds have, read by name.
fn message(record: &LogRecord, typed: &Record) -> String {
    let named = [
        "policy", "rule", "request", "hole", "answer", "approver", "key", "by", "why", "error",
    ];
    let named = named.into_iter().filter_map(|name| {
        let value = record.fields.get(name).and_then(scalar)?;
        Some(format!("{name} {value}"))
    });
    let sentence = sentence(typed, record.session.as_deref());
    let words: Vec<_> = subject(record, typed).into_iter().chain(named).collect();
    let said = if words.is_empty() {
        sentence
    } else {
        format!("{sentence}: {}", words.join(", "))
    };
    // A text with newlines is one line here.
    said.replace(['\n', '\r'], " ")
}

/// The place or the file that it is about.
fn subject(record: &LogRecord, typed: &Record) -> Option<String> {
    let file = |file: &Field<String>, sha256: &Field<String>| {
        format!("{}, SHA-256 {}", word(file), word(sha256))
    };
    match typed {
        Record::Appeared(one) => {
            let [host, ports, file] = [&one.host, &one.ports, &one.file].map(word);
            Some(match &*host {
                "" => format!("file {file}"),
                host => format!("{host} {ports}, file {file}"),
            })
        }
        Record::Dismissed(one) if !is_of_file(one) => {
            Some(format!("{} port {}", word(&one.host), word(&one.port)))
        }
        Record::Dismissed(one) => Some(file(&one.file, &one.sha256)),
        Record::Trusted(one) => Some(file(&one.file, &one.sha256)),
        _ => {
            let to = destination(record.fields.get("destination")?);
            to.into_iter().next().map(|(_, text)| text)
        }
    }
}

/// A field in one word; of another type than this version has for it, too.
fn word<T: ToString>(field: &Field<T>) -> String {
    match field {
        Field::Is(value) => value.to_string(),
        Field::Other(value) => scalar(value).unwrap_or_default(),
        Field::Absent | Field::Null => String::new(),
    }
}

/// What happened.
fn sentence(record: &Record, session: Option<&str>) -> String {
    let of = session.map_or_else(String::new, |session| format!(" of session {session}"));
    match record {
        Record::SessionStart(_) => format!("session {} started", session.unwrap_or("-")),
        Record::SessionEnd(_) => format!("session {} ended", session.unwrap_or("-")),
        Record::StartRefused(_) => "a command was not started".to_owned(),
        Record::Denied(one) if one.names != Field::Absent => {
            format!("names{of} were refused, or not answered")
        }
        Record::Denied(_) => format!("a connection{of} was refused"),
        Record::Held(_) => format!("a connection{of} waits for an answer"),
        Record::Request(_) => format!("a process{of} asks a person"),
        Record::Noted(_) => format!("a process{of} said what a request is for"),
        Record::Settled(_) => format!("a change of policy settled a request{of}"),
        Record::Appeared(one) => appeared(one, &of),
        Record::Answered(_) => format!("a person answered a request{of}"),
        Record::AnsweredInPart(_) => {
            format!("a person said yes to a request{of}, and others have to")
        }
        Record::AnswerRefused(_) => format!("a signed answer{of} was refused"),
        Record::ApproverAdded(_) => "a key may sign answers".to_owned(),
        Record::ApproverRemoved(_) => "a key may not sign answers any more".to_owned(),
        Record::Dismissed(one) => dismissed(one).to_owned(),
        Record::Trusted(one) if one.withdrawn.is(&true) => {
            "a project's policy may not widen any more".to_owned()
        }
        Record::Trusted(_) => "a project's policy may widen another".to_owned(),
        Record::HoleOpen(_) => format!("a hole{of} was opened"),
        Record::HoleClose(_) => format!("a hole{of} was closed"),
        Record::PolicyLoad(one) if one.error.is_none() => "a policy was loaded".to_owned(),
        Record::PolicyLoad(_) => "a policy was refused".to_owned(),
        Record::PolicyApplied(one) if one.error.is_none() => {
            format!("another policy{of} was put in place")
        }
        Record::PolicyApplied(_) => format!("another policy{of} was not put in place"),
        Record::Http(one) if one.outcome.is("warned") => format!("a server{of} reads elsewhere"),
        Record::Http(_) => format!("an HTTP request{of} was judged"),
        Record::DaemonStart(_) => "guardd started".to_owned(),
        Record::DaemonStop(one) if one.error.is_none() => "guardd stopped".to_owned(),
        Record::DaemonStop(_) => "guardd failed".to_owned(),
    }
}

/// Whether a dismissal is about an encrypted file, and not about a place.
fn is_of_file(one: &Dismissed) -> bool {
    one.file.get().is_some()
}

fn dismissed(one: &Dismissed) -> &'static str {
    match (is_of_file(one), one.withdrawn.is(&true)) {
        (true, true) => "what is in an encrypted file is to be known after all",
        (true, false) => "what is in an encrypted file is not known, and that is all right",
        (false, true) => "a place is what it looks like after all",
        (false, false) => "a place is not what it looks like",
    }
}

/// `192.0.2.10 tcp/443`, and its name in the policy; or a prefix, as it is.
fn destination(value: &Value) -> Vec<(&'static str, String)> {
    const TO: &str = "GUARD_DESTINATION";
    if let Some(prefix) = value.as_str() {
        return vec![(TO, prefix.to_owned())];
    }
    let Ok(to) = serde_json::from_value::<Endpoint>(value.clone()) else {
        return Vec::new();
    };
    let port = to.port.map_or_else(String::new, |port| format!("/{port}"));
    let text = format!("{} {}{port}", to.address, to.protocol);
    let host = to.host.map(|host| ("GUARD_HOST", host));
    [(TO, text)].into_iter().chain(host).collect()
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(is) => Some(is.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn add_scalar(entry: &mut Vec<u8>, name: &str, value: &Value) {
    if let Some(text) = scalar(value) {
        add(
            entry,
            &format!("GUARD_{}", name.to_ascii_uppercase()),
            &text,
        );
    }
}

fn add(entry: &mut Vec<u8>, name: &str, value: &str) {
    let value = &value[..value.floor_char_boundary(MOST)];
    // Writing into memory does not fail.
    let _ = if value.contains('\n') {
        let length = (value.len() as u64).to_le_bytes();
        let parts = [name.as_bytes(), b"\n", &length, value.as_bytes(), b"\n"];
        entry.write_all(&parts.concat())
    } else {
        writeln!(entry, "{name}={value}")
    };
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(value: Value) -> LogRecord {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_record_has_fields_to_search_by() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let journald = UnixDatagram::bind(&path).unwrap();
        let journal = Journal::at(&path).unwrap();
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": "photos.example.com"});
        journal.tell(&record(json!({
            "at": "2026-11-20T12:00:00Z", "kind": "answered", "session": "s1", "destination": to, "answer": "yes",
            "by": "alice", "from": {"terminal": "pts/3", "command": ["guard"]}, "number": 7, "shown": {"id": "r1"},
        })));
        let mut read = vec![0; 4096];
        let length = journald.recv(&mut read).unwrap();
        insta::assert_snapshot!(String::from_utf8_lossy(&read[..length]), @r"
        SYSLOG_IDENTIFIER=guardd
        PRIORITY=6
        MESSAGE=a person answered a request of session s1: 192.0.2.10 tcp/443, answer yes, by alice
        GUARD_KIND=answered
        GUARD_SESSION=s1
        GUARD_ANSWER=yes
        GUARD_BY=alice
        GUARD_DESTINATION=192.0.2.10 tcp/443
        GUARD_HOST=photos.example.com
        GUARD_FROM_TERMINAL=pts/3
        GUARD_NUMBER=7
        ");
    }

    /// The value of a field that is one line.
    fn value(record: &LogRecord, name: &str) -> String {
        let entry = String::from_utf8(entry(record)).unwrap();
        let mut lines = entry.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        found
            .unwrap_or_else(|| panic!("no {name}: {entry}"))
            .to_owned()
    }

    /// A record, and what the journal says of it.
    struct Case {
        fields: Value,
        priority: &'static str,
        sentence: &'static str,
    }

    fn case(fields: Value, priority: &'static str, sentence: &'static str) -> Case {
        Case {
            fields,
            priority,
            sentence,
        }
    }

    fn to() -> Value {
        json!({"address": "2001:db8::1", "port": 443, "protocol": "tcp", "host": null})
    }

    fn of_sessions() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "session-start", "session": "s1", "policy": "ci"}),
                "6",
                "session s1 started: policy ci",
            ),
            case(
                json!({"kind": "session-end", "session": "s1"}),
                "6",
                "session s1 ended",
            ),
            case(
                json!({"kind": "start-refused", "policy": "asks", "why": "policy asks leaves db.example open"}),
                "5",
                "a command was not started: policy asks, why policy asks leaves db.example open",
            ),
            case(
                json!({"kind": "noted", "session": "s1", "request": "r1", "note": "to migrate"}),
                "6",
                "a process of session s1 said what a request is for: request r1",
            ),
            case(
                json!({"kind": "settled", "session": "s1", "request": "r1", "policy": "ci", "rule": null, "verdict": "deny"}),
                "6",
                "a change of policy settled a request of session s1: policy ci, request r1",
            ),
        ]
    }

    fn of_connections() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "denied", "session": "s1", "destination": to(), "rule": "metadata"}),
                "5",
                "a connection of session s1 was refused: 2001:db8::1 tcp/443, rule metadata",
            ),
            case(
                json!({"kind": "denied", "session": "s1", "verdict": "deny", "names": 12}),
                "5",
                "names of session s1 were refused, or not answered",
            ),
            case(
                json!({"kind": "held", "session": "s1", "destination": to(), "request": "r1"}),
                "6",
                "a connection of session s1 waits for an answer: 2001:db8::1 tcp/443, request r1",
            ),
            case(
                json!({"kind": "request", "session": "s1", "destination": to(), "request": "r1"}),
                "6",
                "a process of session s1 asks a person: 2001:db8::1 tcp/443, request r1",
            ),
            case(
                json!({"kind": "http", "session": "s1", "destination": to(), "outcome": "passed", "request": "r2"}),
                "6",
                "an HTTP request of session s1 was judged: 2001:db8::1 tcp/443, request r2",
            ),
            case(
                json!({"kind": "http", "session": "s1", "destination": to(), "outcome": "warned", "why": "it has dblink"}),
                "4",
                "a server of session s1 reads elsewhere: 2001:db8::1 tcp/443, why it has dblink",
            ),
        ]
    }

    fn of_what_appeared() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "appeared", "session": "s1", "host": "db.example.net", "ports": "tcp/5432", "file": ".env", "key": "A"}),
                "5",
                "what looks like production came into reach of session s1: db.example.net tcp/5432, file .env, key A",
            ),
            case(
                json!({"kind": "appeared", "session": "s1", "host": "a", "ports": "tcp/1", "file": ".env", "asks": true, "more": true}),
                "4",
                "more that looks like production came into reach of session s1 than is told, and each new connection is asked about: a tcp/1, file .env",
            ),
            case(
                json!({"kind": "appeared", "session": "s1", "host": "", "ports": "", "file": ".env", "asks": true, "more": true}),
                "4",
                "more that looks like production came into reach of session s1 than is told, and each new connection is asked about: file .env",
            ),
            case(
                json!({"kind": "appeared", "session": "s1", "host": "a", "ports": "tcp/1", "file": ".env", "asks": false, "more": true}),
                "4",
                "more that looks like production came into reach of session s1 than is told: a tcp/1, file .env",
            ),
        ]
    }

    fn of_answers() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "answered", "session": "s1", "request": "r1", "answer": "no", "by": "alice"}),
                "6",
                "a person answered a request of session s1: request r1, answer no, by alice",
            ),
            case(
                json!({"kind": "answered-in-part", "session": "s1", "request": "r1", "by": "alice"}),
                "6",
                "a person said yes to a request of session s1, and others have to: request r1, by alice",
            ),
            case(
                json!({"kind": "answer-refused", "request": "r1", "why": "nobody touched the key"}),
                "4",
                "a signed answer was refused: request r1, why nobody touched the key",
            ),
            case(
                json!({"kind": "hole-open", "session": "s1", "destination": "192.0.2.10/32", "hole": "h1", "by": "alice"}),
                "6",
                "a hole of session s1 was opened: 192.0.2.10/32, hole h1, by alice",
            ),
            case(
                json!({"kind": "hole-close", "session": "s1", "hole": "h1", "why": "expired"}),
                "6",
                "a hole of session s1 was closed: hole h1, why expired",
            ),
        ]
    }

    fn of_decisions() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "approver-added", "approver": "alice", "key": "SHA256:x", "by": "root"}),
                "5",
                "a key may sign answers: approver alice, key SHA256:x, by root",
            ),
            case(
                json!({"kind": "approver-removed", "approver": "alice", "key": "SHA256:x", "by": "root"}),
                "5",
                "a key may not sign answers any more: approver alice, key SHA256:x, by root",
            ),
            case(
                json!({"kind": "dismissed", "host": "db.example.net", "port": 5432, "label": "production", "withdrawn": false, "by": "dev"}),
                "5",
                "a place is not what it looks like: db.example.net port 5432, by dev",
            ),
            // What is of another type than here is told all the same.
            case(
                json!({"kind": "dismissed", "host": "db.example.net", "port": "5432", "withdrawn": "no", "by": "dev"}),
                "5",
                "a place is not what it looks like: db.example.net port 5432, by dev",
            ),
            case(
                json!({"kind": "dismissed", "file": ".env.vault", "sha256": "0a", "withdrawn": false, "by": "dev"}),
                "5",
                "what is in an encrypted file is not known, and that is all right: .env.vault, SHA-256 0a, by dev",
            ),
            case(
                json!({"kind": "trusted", "file": "/p/.guard.toml", "sha256": "0a", "policy_sha256": "1b", "withdrawn": false, "by": "dev"}),
                "5",
                "a project's policy may widen another: /p/.guard.toml, SHA-256 0a, by dev",
            ),
            case(
                json!({"kind": "trusted", "file": "/p/.guard.toml", "sha256": "0a", "withdrawn": true, "by": "dev"}),
                "5",
                "a project's policy may not widen any more: /p/.guard.toml, SHA-256 0a, by dev",
            ),
        ]
    }

    fn of_policies() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "policy-applied", "session": "s1", "policy": "shop", "file": "/h/shop.toml", "by": "dev"}),
                "5",
                "another policy of session s1 was put in place: policy shop, by dev",
            ),
            case(
                json!({"kind": "policy-applied", "session": "s1", "policy": "shop", "by": "dev", "error": "full"}),
                "4",
                "another policy of session s1 was not put in place: policy shop, by dev, error full",
            ),
            case(
                json!({"kind": "policy-load", "policy": "ci", "error": null}),
                "6",
                "a policy was loaded: policy ci",
            ),
            case(
                json!({"kind": "policy-load", "policy": "ci", "error": "line 3: bad"}),
                "4",
                "a policy was refused: policy ci, error line 3: bad",
            ),
        ]
    }

    fn of_guardd() -> Vec<Case> {
        vec![
            case(
                json!({"kind": "daemon-start", "version": "0.3.0"}),
                "6",
                "guardd started",
            ),
            case(
                json!({"kind": "daemon-stop", "error": null}),
                "6",
                "guardd stopped",
            ),
            case(
                json!({"kind": "daemon-stop", "error": "a hook is gone"}),
                "4",
                "guardd failed: error a hook is gone",
            ),
        ]
    }

    #[test]
    fn each_kind_has_a_priority_and_a_sentence() {
        let mut unseen: Vec<_> = LogKind::ALL.iter().copied().map(kind).collect();
        let cases = [
            of_sessions(),
            of_connections(),
            of_what_appeared(),
            of_answers(),
            of_decisions(),
            of_policies(),
            of_guardd(),
        ];
        for mut case in cases.into_iter().flatten() {
            case.fields["at"] = json!("2026-11-20T12:00:00Z");
            let record = record(case.fields);
            assert_eq!(value(&record, "MESSAGE"), case.sentence);
            assert_eq!(
                value(&record, "PRIORITY"),
                case.priority,
                "{}",
                case.sentence
            );
            let name = value(&record, "GUARD_KIND");
            unseen.retain(|kind| *kind != name);
        }
        assert_eq!(unseen, [""; 0], "these have none here");
    }

    #[test]
    fn no_value_makes_a_field_of_its_own() {
        let hostile = "x\nPRIORITY=0\nGUARD_KIND=answered";
        let entry = entry(&record(json!({
            "at": "2026-11-20T12:00:00Z", "kind": "denied", "session": hostile, "comm": hostile, "destination": hostile,
            "rule": "r".repeat(2 * MOST),
        })));
        // As journald reads it.
        let (mut rest, mut names) = (&entry[..], Vec::new());
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line = &rest[..end];
            rest = &rest[end + 1..];
            let name = match line.iter().position(|byte| *byte == b'=') {
                Some(at) => &line[..at],
                None => {
                    let length = u64::from_le_bytes(rest[..8].try_into().unwrap()) as usize;
                    rest = &rest[8 + length + 1..];
                    line
                }
            };
            names.push(String::from_utf8(name.to_vec()).unwrap());
        }
        let expected = [
            "SYSLOG_IDENTIFIER",
            "PRIORITY",
            "MESSAGE",
            "GUARD_KIND",
            "GUARD_SESSION",
            "GUARD_COMM",
            "GUARD_DESTINATION",
            "GUARD_RULE",
        ];
        assert_eq!(names, expected);
        assert!(entry.len() < 3 * MOST);
    }

    #[test]
    fn without_a_journal_nothing_is_told() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Journal::at(&dir.path().join("none")).is_err());
    }
}
