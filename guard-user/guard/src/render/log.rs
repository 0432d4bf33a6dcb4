//! The audit log, a line for each record: when, where, what, to which destination, by which rule, who.

use anstyle::Style;
use guard_proto::record::{Field, Record};
use guard_proto::{LogKind, LogRecord};
use jiff::Timestamp;
use serde_json::{Map, Value};

use super::escape::{self, claimed, quoted};
use super::page::{BAD, GOOD, HEAD, Page, WARN};
use super::time::Clock;
use super::{command_line, endpoint};

/// One record. Fields that no column shows follow as `key=value`; left out is what fills a screen: what somebody saw who
/// answered, and all about their process. It is in the JSON.
///
/// It goes by the names of fields, and not by [`Record`]: a column takes off what it shows, and the rest follows as it stands, of another
/// version and of another type, too.
pub(crate) fn line(record: &LogRecord, clock: &Clock) -> Page {
    let mut rest = record.fields.clone();
    // The number of the session's user: for programs.
    rest.remove("uid");
    // What chains it to the record before: for `guard log --verify`.
    for chained in ["number", "previous", "hash"] {
        rest.remove(chained);
    }
    if matches!(record.kind, LogKind::Answered) {
        rest.remove("shown");
    }
    // Key, signature and what was signed: for `guard log --verify --signatures`.
    let signed = rest.remove("signed").is_some();
    rest.remove("public_key");
    if signed {
        rest.insert("signed".to_owned(), true.into());
    }
    let (style, words) = words(record.kind, &mut rest);
    let mut page = Page::default();
    page.styled(HEAD, clock.at(record.at))
        .text(format_args!(
            "  {:<4}  ",
            record.session.as_deref().unwrap_or("-")
        ))
        .styled(style, format_args!("{words:<15}"));
    for part in [
        destination(&mut rest),
        more_names(record.kind, &mut rest),
        began(record.kind, &mut rest, clock),
        place(record.kind, &mut rest),
        dismissed(record.kind, &mut rest),
        rule(&mut rest),
        who(&mut rest),
        request(&mut rest),
        others(&rest),
    ]
    .into_iter()
    .flatten()
    {
        page.text("  ").text(part);
    }
    page.end();
    page
}

/// No record.
pub(crate) fn none() -> Page {
    Page::of("The audit log has nothing about that.")
}

/// The kind in words. A record of two outcomes takes the one that its fields tell of.
fn words(kind: LogKind, rest: &mut Map<String, Value>) -> (Style, &'static str) {
    match kind {
        LogKind::SessionStart => (GOOD, "session starts"),
        LogKind::SessionEnd => (HEAD, "session ends"),
        LogKind::StartRefused => (BAD, "not started"),
        LogKind::Denied if lacks_a_yes(rest) => (BAD, "not approved"),
        LogKind::Denied => (BAD, "denied"),
        LogKind::Held => (WARN, "waits"),
        LogKind::Request => (WARN, "asks"),
        LogKind::Noted => (WARN, "says why"),
        LogKind::Settled => (HEAD, "settled"),
        LogKind::Appeared => (WARN, "appeared"),
        LogKind::Answered => answered(rest),
        LogKind::AnsweredInPart => (WARN, "yes of one"),
        LogKind::AnswerRefused => (BAD, "answer refused"),
        LogKind::ApproverAdded => (GOOD, "approver added"),
        LogKind::ApproverRemoved => (HEAD, "approver gone"),
        LogKind::Dismissed | LogKind::Trusted => decided(kind, rest),
        LogKind::HoleOpen => (GOOD, "hole opened"),
        LogKind::HoleClose => (HEAD, "hole closed"),
        LogKind::PolicyLoad if rest.get("error").is_some_and(|error| !error.is_null()) => {
            (BAD, "policy refused")
        }
        LogKind::PolicyLoad => (HEAD, "policy loaded"),
        LogKind::PolicyApplied if rest.get("error").is_some_and(|error| !error.is_null()) => {
            (BAD, "policy refused")
        }
        LogKind::PolicyApplied => (WARN, "policy applied"),
        LogKind::Http => http(rest),
        LogKind::DaemonStart => (HEAD, "guardd starts"),
        LogKind::DaemonStop => (HEAD, "guardd stops"),
    }
}

/// Whether a person may let pass what was refused: nobody was there to be asked, nobody answered in time, or the answer was no.
fn lacks_a_yes(rest: &Map<String, Value>) -> bool {
    let text = |key: &str| rest.get(key).and_then(Value::as_str);
    let may_be_opened = matches!(text("verdict"), Some("confirm" | "read-only"));
    // Other reasons are those of a connection that has its yes.
    let lacks = |why: &str| {
        ["answer", "nobody follows"]
            .iter()
            .any(|words| why.contains(words))
    };
    may_be_opened && text("why").is_none_or(lacks)
}

fn answered(rest: &mut Map<String, Value>) -> (Style, &'static str) {
    match rest.get("answer").and_then(Value::as_str) {
        Some("yes" | "approved" | "approve") => {
            rest.remove("answer");
            (GOOD, "approved")
        }
        Some("no" | "denied" | "deny") => {
            rest.remove("answer");
            (BAD, "turned down")
        }
        _ => (WARN, "answered"),
    }
}

/// What somebody has decided for later, or taken back.
fn decided(kind: LogKind, rest: &mut Map<String, Value>) -> (Style, &'static str) {
    let is_withdrawn = rest.remove("withdrawn") == Some(Value::Bool(true));
    match (kind, is_withdrawn) {
        (LogKind::Trusted, false) => (WARN, "trusted"),
        (LogKind::Trusted, true) => (HEAD, "trusted no more"),
        (_, false) => (WARN, "dismissed"),
        (_, true) => (HEAD, "not dismissed"),
    }
}

/// What became of a request stands first: the end of a line is cut on a narrow screen.
fn http(rest: &mut Map<String, Value>) -> (Style, &'static str) {
    let is_sql = rest.remove("sql") == Some(Value::Bool(true));
    let (style, words) = match (rest.get("outcome").and_then(Value::as_str), is_sql) {
        (Some("passed"), false) => (GOOD, "http passed"),
        (Some("passed"), true) => (GOOD, "sql passed"),
        (Some("refused"), false) => (BAD, "http refused"),
        (Some("refused"), true) => (BAD, "sql refused"),
        (Some("failed"), false) => (WARN, "http failed"),
        (Some("failed"), true) => (WARN, "sql failed"),
        (Some("warned"), _) => (WARN, "warns"),
        (_, false) => return (WARN, "http"),
        (_, true) => return (WARN, "sql"),
    };
    rest.remove("outcome");
    (style, words)
}

fn destination(rest: &mut Map<String, Value>) -> Option<String> {
    let value = rest
        .remove("destination")
        .filter(|value| !value.is_null())?;
    let to = match serde_json::from_value(value.clone()) {
        Ok(endpoint) => endpoint::words(&endpoint),
        Err(_) => scalar(&value),
    };
    // On the loopback: whose server it is.
    let listener = rest.remove("listener");
    let program = listener.as_ref().and_then(|one| one["program"].as_str());
    Some(match program {
        Some(program) => format!("{to} of {}", claimed(program)),
        None => to,
    })
}

/// Names that were refused beyond those with a record of their own: "and 1204 more names".
fn more_names(kind: LogKind, rest: &mut Map<String, Value>) -> Option<String> {
    if kind != LogKind::Denied {
        return None;
    }
    let names = rest.remove("names")?.as_u64()?;
    // It says the same.
    rest.remove("why");
    let what = if names == 1 { "name" } else { "names" };
    Some(format!("and {names} more {what}"))
}

/// When a session began whose start was written later: "began 2026-11-20 11:59:40".
fn began(kind: LogKind, rest: &mut Map<String, Value>, clock: &Clock) -> Option<String> {
    if kind != LogKind::SessionStart {
        return None;
    }
    let started: Timestamp = rest.get("started")?.as_str()?.parse().ok()?;
    rest.remove("started");
    Some(format!("began {}", clock.at(started)))
}

/// What looks like production: "db.example.net tcp/5432 (postgres), by DATABASE_URL in .env:3".
fn place(kind: LogKind, rest: &mut Map<String, Value>) -> Option<String> {
    if kind != LogKind::Appeared {
        return None;
    }
    let line = rest.remove("line").filter(|line| !line.is_null());
    let line = line.map_or_else(String::new, |line| format!(":{}", scalar(&line)));
    let [host, ports, service, key, file] = ["host", "ports", "service", "key", "file"]
        .map(|field| text(rest, field).unwrap_or_default());
    let [asks, more] = ["asks", "more"].map(|field| rest.remove(field) == Some(true.into()));
    let asks = match (asks, more) {
        (true, true) => ", and more than is told: each new connection asks from now on",
        (false, true) => ", and more than is told",
        (true, false) => ", asks from now on",
        (false, false) => "",
    };
    Some(match &*host {
        "" => format!("not all of {file} is read{asks}"),
        host => format!("{host} {ports} ({service}), by {key} in {file}{line}{asks}"),
    })
}

/// What a person has dismissed: "db.example.net port 5432 (production)"; of an unknown port its host alone. Of a file that it is encrypted.
fn dismissed(kind: LogKind, rest: &mut Map<String, Value>) -> Option<String> {
    if kind != LogKind::Dismissed {
        return None;
    }
    if let Some(file) = text(rest, "file") {
        return Some(format!("{file} (encrypted: its contents are not known)"));
    }
    let [host, port, label] =
        ["host", "port", "label"].map(|field| text(rest, field).unwrap_or_default());
    let port = match &*port {
        "" | "0" => String::new(),
        port => format!(" port {port}"),
    };
    Some(format!("{host}{port} ({label})"))
}

/// What came into reach, as a heading and what is to be said below it; none for another record.
pub(crate) fn appeared(record: &LogRecord) -> Option<(String, String)> {
    let Record::Appeared(one) = record.record() else {
        return None;
    };
    let word = |field: &Field<String>| field.get().cloned().unwrap_or_default();
    let session = record.session.as_deref().unwrap_or("a session");
    let line = one.line.get();
    let line = line.map_or_else(String::new, |line| format!(":{line}"));
    let then = match (one.asks.is(&true), &*word(&one.verdict)) {
        (true, _) if one.more.is(&true) => {
            "with more than is told: each new connection is asked about from now on".to_owned()
        }
        (true, _) => "it is asked about from now on".to_owned(),
        (false, _) if one.more.is(&true) => {
            "more than is told came, and what comes later is in no log".to_owned()
        }
        (false, "allow") => "the policy lets everything through".to_owned(),
        (false, verdict) => format!("the policy says {verdict}"),
    };
    let file = word(&one.file);
    let host = word(&one.host);
    if host.is_empty() {
        let head = format!("not all is read that may have come into reach of {session}");
        return Some((
            head,
            format!("{file} has more places than are kept, {then}"),
        ));
    }
    let head = format!("{host} {} came into reach of {session}", word(&one.ports));
    let below = format!(
        "it looks like production ({}), by {} in {file}{line}; {then}",
        word(&one.service),
        word(&one.key),
    );
    Some((head, below))
}

fn rule(rest: &mut Map<String, Value>) -> Option<String> {
    // A record that does not tell the rule is no word about the default.
    let is_told = rest.contains_key("rule");
    // Of a record with a verdict: the policy, where that is not the session's own but one around it, such as the fleet's.
    let around = if rest.contains_key("verdict") {
        text(rest, "policy").map(|policy| format!(" of {policy}"))
    } else {
        None
    };
    let around = around.unwrap_or_default();
    let rule = text(rest, "rule").map(|rule| {
        if rule.starts_with('"') {
            rule
        } else {
            escape::rule(&rule)
        }
    });
    let rule = rule.map(|rule| format!("rule {rule}{around}"));
    match (rule, text(rest, "verdict")) {
        (Some(rule), Some(verdict)) => Some(format!("{rule} ({verdict})")),
        (None, Some(verdict)) if is_told => Some(format!("default{around} ({verdict})")),
        (None, Some(verdict)) => Some(verdict),
        (rule, None) => rule,
    }
}

/// The program, and the person.
fn who(rest: &mut Map<String, Value>) -> Option<String> {
    let person = ["by", "opened_by", "user"]
        .into_iter()
        .find_map(|key| text(rest, key))
        .map(|by| format!("by {by}"));
    let program = program(rest).into_iter();
    let who: Vec<_> = program.chain(person).chain(origin(rest)).collect();
    (!who.is_empty()).then(|| who.join(" "))
}

/// Where a person was: at a terminal, else by which program they said it.
fn origin(rest: &mut Map<String, Value>) -> Option<String> {
    let from = rest.get("from")?.as_object()?;
    let named = |key: &str| from.get(key).filter(|value| !value.is_null()).map(scalar);
    let origin = match named("terminal") {
        Some(terminal) => format!("at {terminal}"),
        None => format!("with {}", named("exe").or_else(|| named("comm"))?),
    };
    rest.remove("from");
    Some(origin)
}

/// The program's executable where it is known; else its name, in quotes, for a program chooses that itself.
fn program(rest: &mut Map<String, Value>) -> Option<String> {
    let pid = rest.remove("pid").filter(|pid| !pid.is_null());
    let chosen = |rest: &mut Map<String, Value>| Some(claimed(rest.remove("comm")?.as_str()?));
    let name = text(rest, "exe").or_else(|| chosen(rest));
    if let (Some(exe), Some(Value::String(comm))) = (&name, rest.get("comm"))
        && exe.rsplit('/').next() == Some(comm)
    {
        rest.remove("comm");
    }
    match (name, pid) {
        (Some(name), Some(pid)) => Some(format!("{name} ({pid})")),
        (None, Some(pid)) => Some(format!("process {pid}")),
        (name, None) => name,
    }
}

/// An HTTP request, or those that are meant: method, path, and what a person was warned about. All of it is in the JSON.
fn request(rest: &mut Map<String, Value>) -> Option<String> {
    let hole = rest.remove("http");
    let is_hole = matches!(&hole, Some(Value::Object(_)));
    let mut http = match hole {
        Some(Value::Object(http)) => http,
        _ => {
            let named = ["method", "path"].map(|key| (key.to_owned(), rest.remove(key)));
            let known = named
                .into_iter()
                .filter_map(|(key, value)| Some((key, value?)));
            known.collect()
        }
    };
    let (headers, warnings) = (texts(&mut http, "headers"), texts(&mut http, "warnings"));
    let method = text(&mut http, "method");
    let method = match method {
        Some(method) => method,
        None if is_hole => "any write".to_owned(),
        // Nothing was read that could be a request.
        None => return None,
    };
    let path = text(&mut http, "path").unwrap_or_default();
    let line = format!("{method} {path}").trim_end().to_owned();
    let shown = [vec![line], headers].concat().join("  ");
    Some(if warnings.is_empty() {
        shown
    } else {
        format!("{shown}  beware {}", warnings.join("; "))
    })
}

fn texts(from: &mut Map<String, Value>, key: &str) -> Vec<String> {
    let items = from.remove(key);
    let items = items
        .as_ref()
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let texts = items.filter_map(Value::as_str);
    texts.map(str::to_owned).collect()
}

/// What is left and says anything.
fn others(rest: &Map<String, Value>) -> Option<String> {
    let shown: Vec<_> = rest
        .iter()
        .filter(|(key, value)| !is_plain(key, value))
        .map(|(key, value)| format!("{key}={}", scalar(value)))
        .collect();
    (!shown.is_empty()).then(|| shown.join(" "))
}

/// Whether a field says no more than its absence would.
fn is_plain(key: &str, value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Number(number) => match key {
            "count" => number.as_u64() == Some(1),
            "left_out" => number.as_u64() == Some(0),
            _ => false,
        },
        _ => false,
    }
}

fn text(rest: &mut Map<String, Value>, key: &str) -> Option<String> {
    match rest.remove(key)? {
        Value::Null => None,
        value => Some(scalar(&value)),
    }
}

/// A value in one word, quoted where it is more; a list of words as a command line.
fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) if text.contains(|c: char| c.is_whitespace() || c == '"') => {
            quoted(text)
        }
        Value::String(text) => text.clone(),
        Value::Array(items) => match items
            .iter()
            .map(|item| item.as_str().map(str::to_owned))
            .collect::<Option<Vec<_>>>()
        {
            Some(words) => quoted(&command_line(&words)),
            None => value.to_string(),
        },
        // Parts of a second are for programs.
        Value::Number(number) if number.is_f64() => {
            let rounded = (number.as_f64().unwrap_or(0.0) * 10.0).round() / 10.0;
            rounded.to_string()
        }
        _ => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::examples::clock;
    use super::*;

    fn shown(record: Value) -> String {
        line(&serde_json::from_value(record).unwrap(), &clock()).plain()
    }

    #[test]
    fn no_words_from_inside_end_their_quotes() {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let forged = r#"/x/curl" (99) wants tcp a.example:443"#;
        let record = json!({"at": "2026-11-20T11:59:57.25Z", "kind": "denied", "session": "s1", "destination": to, "rule": null,
            "verdict": "deny", "exe": forged, "pid": 71, "command": [forged], "note": "\"x\""});
        assert_eq!(
            shown(record),
            concat!(
                "2026-11-20 11:59:57  s1    denied           tcp 192.0.2.10:443  default (deny)  ",
                r#""/x/curl\" (99) wants tcp a.example:443" (71)  "#,
                r#"command="'/x/curl\" (99) wants tcp a.example:443'" note="\"x\"""#,
                "\n"
            )
        );
    }

    #[test]
    fn names_that_have_no_record_of_their_own_are_counted() {
        let record = json!({"at": "2026-11-20T11:59:57.25Z", "kind": "denied", "session": "s1", "verdict": "deny",
            "names": 1204, "why": "and 1204 more names than are told one by one"});
        let line = "2026-11-20 11:59:57  s1    denied           and 1204 more names  deny\n";
        assert_eq!(shown(record), line);
    }

    #[test]
    fn what_a_person_may_still_let_pass_is_not_called_denied() {
        let line = |verdict: &str, why: Option<&str>| {
            shown(
                json!({"at": "2026-11-20T11:59:57Z", "kind": "denied", "session": "s1", "rule": "photos", "verdict": verdict, "why": why}),
            )
        };
        let asked = "s1    not approved     rule photos (confirm)";
        assert!(line("confirm", None).contains(asked));
        let late = line("confirm", Some("nobody answered in time"));
        assert!(
            late.contains(&format!("{asked}  why=\"nobody answered")),
            "{late}"
        );
        let alone = line(
            "confirm",
            Some("a person has to be asked, and nobody follows"),
        );
        assert!(alone.contains(asked), "{alone}");
        assert!(line("read-only", None).contains("  not approved  "));
        assert!(line("deny", None).contains("s1    denied           rule photos (deny)"));
        let has_holes = line("confirm", Some("more than two of the holes have a budget"));
        assert!(has_holes.contains("  denied  "), "{has_holes}");
    }

    #[test]
    fn a_rule_that_is_called_as_the_default_is_a_rule() {
        let of_rule = |rule: Value| {
            shown(
                json!({"at": "2026-11-20T11:59:57Z", "kind": "denied", "session": "s1", "rule": rule, "verdict": "deny"}),
            )
        };
        assert!(of_rule(Value::Null).ends_with("  default (deny)\n"));
        assert!(of_rule(json!("(default)")).ends_with("  rule \"(default)\" (deny)\n"));
        assert!(of_rule(json!("the default")).ends_with("  rule \"the default\" (deny)\n"));
    }

    #[test]
    fn every_kind_has_its_line() {
        let to = json!({"address": "192.0.2.10", "port": 443, "protocol": "tcp", "host": null});
        let at = "2026-11-20T11:59:57.25Z";
        let records = [
            json!({"at": at, "kind": "daemon-start", "session": null, "version": "0.1.0"}),
            json!({"at": at, "kind": "policy-load", "session": null, "policy": "homelab", "error": null}),
            json!({"at": at, "kind": "policy-load", "session": null, "policy": "homelab", "error": "line 3: bad range"}),
            json!({"at": at, "kind": "session-start", "session": "s1", "user": "alice", "command": ["sh", "-c", "a b"]}),
            json!({"at": at, "kind": "denied", "session": "s1", "destination": to, "rule": "metadata", "verdict": "deny", "comm": "curl", "exe": "/usr/bin/curl", "pid": 71, "count": 3, "left_out": 0}),
            json!({"at": at, "kind": "request", "session": "s1", "destination": to, "rule": null, "verdict": "confirm", "comm": "sshd", "exe": "/tmp/x", "pid": 71, "count": 1, "request": "r1"}),
            json!({"at": at, "kind": "held", "session": "s1", "destination": to, "request": "r1"}),
            json!({"at": at, "kind": "answered", "session": "s1", "destination": to, "answer": "yes", "by": "alice", "request": "r1",
                "from": {"exe": "/usr/bin/guard", "terminal": "pts/3", "pid": 9}, "shown": {"id": "r1"}}),
            json!({"at": at, "kind": "answered", "session": "s1", "destination": to, "answer": "no", "by": "alice", "from": {"exe": "/usr/bin/bot", "terminal": null}}),
            json!({"at": at, "kind": "hole-open", "session": "s1", "destination": "192.0.2.10/32", "ports": "tcp/443", "by": "alice", "hole": "h1"}),
            json!({"at": at, "kind": "hole-close", "session": "s1", "destination": "192.0.2.10/32", "hole": "h1", "cause": "expired"}),
            json!({"at": at, "kind": "http", "session": "s1", "destination": to, "outcome": "passed", "method": "PUT", "path": "/api/jobs/1", "host": "photos"}),
            json!({"at": at, "kind": "request", "session": "s1", "destination": to, "request": "r3", "listener": {"program": "ssh"}}),
            json!({"at": at, "kind": "request", "session": "s1", "destination": to, "request": "r2", "http": {"method": "PUT", "path": "/api/jobs/1", "digest": "ab", "headers": ["x-cascade: true"], "warnings": ["`jobs` in the path", "force=true"]}}),
            json!({"at": at, "kind": "hole-open", "session": "s1", "hole": "h2", "http": {"method": null, "path": null, "requests_left": null, "digest": null}}),
            json!({"at": at, "kind": "http", "session": "s1", "destination": to, "outcome": "warned", "host": "app@shop", "why": "it has dblink"}),
            json!({"at": at, "kind": "settled", "session": "s1", "request": "r2", "policy": "homelab", "rule": null, "verdict": "deny"}),
            json!({"at": at, "kind": "session-end", "session": "s1", "status": 0}),
            json!({"at": at, "kind": "daemon-stop", "session": null}),
        ];
        let lines: String = records.into_iter().map(shown).collect();
        insta::assert_snapshot!(lines, @r#"
        2026-11-20 11:59:57  -     guardd starts    version=0.1.0
        2026-11-20 11:59:57  -     policy loaded    policy=homelab
        2026-11-20 11:59:57  -     policy refused   error="line 3: bad range" policy=homelab
        2026-11-20 11:59:57  s1    session starts   by alice  command="sh -c 'a b'"
        2026-11-20 11:59:57  s1    denied           tcp 192.0.2.10:443  rule metadata (deny)  /usr/bin/curl (71)  count=3
        2026-11-20 11:59:57  s1    asks             tcp 192.0.2.10:443  default (confirm)  /tmp/x (71)  comm=sshd request=r1
        2026-11-20 11:59:57  s1    waits            tcp 192.0.2.10:443  request=r1
        2026-11-20 11:59:57  s1    approved         tcp 192.0.2.10:443  by alice at pts/3  request=r1
        2026-11-20 11:59:57  s1    turned down      tcp 192.0.2.10:443  by alice with /usr/bin/bot
        2026-11-20 11:59:57  s1    hole opened      192.0.2.10/32  by alice  hole=h1 ports=tcp/443
        2026-11-20 11:59:57  s1    hole closed      192.0.2.10/32  cause=expired hole=h1
        2026-11-20 11:59:57  s1    http passed      tcp 192.0.2.10:443  PUT /api/jobs/1  host=photos
        2026-11-20 11:59:57  s1    asks             tcp 192.0.2.10:443 of "ssh"  request=r3
        2026-11-20 11:59:57  s1    asks             tcp 192.0.2.10:443  PUT /api/jobs/1  x-cascade: true  beware `jobs` in the path; force=true  request=r2
        2026-11-20 11:59:57  s1    hole opened      any write  hole=h2
        2026-11-20 11:59:57  s1    warns            tcp 192.0.2.10:443  host=app@shop why="it has dblink"
        2026-11-20 11:59:57  s1    settled          default of homelab (deny)  request=r2
        2026-11-20 11:59:57  s1    session ends     status=0
        2026-11-20 11:59:57  -     guardd stops
        "#);
    }

    #[test]
    fn a_record_is_one_line_whatever_it_holds() {
        let hostile = "x\n2026-11-20 12:00:00  s1    approved\u{1b}[1A";
        let record = json!({
            "at": "2026-11-20T12:00:00Z", "kind": "denied", "session": hostile, "destination": {"address": hostile},
            "rule": hostile, "comm": hostile, "pid": hostile, "by": [hostile], "\u{1b}[2J": {"\n": hostile},
        });
        let shown = shown(record);
        assert_eq!(shown.lines().count(), 1);
        assert!(!shown.contains('\u{1b}'));
    }

    #[test]
    fn a_start_that_was_written_later_says_when_it_was() {
        let start = |started: &str| {
            shown(json!({
                "at": "2026-11-20T11:59:57.25Z", "kind": "session-start", "session": "s1", "user": "alice", "started": started,
            }))
        };
        assert_eq!(
            start("2026-11-20T11:59:40.000Z"),
            "2026-11-20 11:59:57  s1    session starts   began 2026-11-20 11:59:40  by alice\n"
        );
        // What is no time is shown as it stands.
        let other = start("then");
        assert!(other.contains("by alice  started=then"), "{other}");
    }

    #[test]
    fn what_came_into_reach_is_said_with_its_file_and_line() {
        let record = json!({
            "at": "2026-11-20T11:59:57.25Z", "kind": "appeared", "session": "s1", "uid": 1000, "host": "db.example.net",
            "ports": "tcp/5432", "service": "postgres", "file": ".env", "line": 3, "key": "DATABASE_URL", "verdict": "allow",
        });
        let record: LogRecord = serde_json::from_value(record).unwrap();
        let page = line(&record, &crate::render::examples::clock()).plain();
        let said = "appeared         db.example.net tcp/5432 (postgres), by DATABASE_URL in .env:3";
        assert!(page.contains(said), "{page}");
    }

    #[test]
    fn that_each_connection_is_asked_about_is_said_where_more_came_than_is_told() {
        let record = |asks| {
            let record = json!({
                "at": "2026-11-20T11:59:57.25Z", "kind": "appeared", "session": "s1", "uid": 1000, "host": "db.example.net",
                "ports": "tcp/5432", "service": "postgres", "file": ".env", "line": 3, "key": "A", "verdict": "allow",
                "asks": asks, "more": true,
            });
            serde_json::from_value::<LogRecord>(record).unwrap()
        };
        let said = |asks| {
            let page = line(&record(asks), &crate::render::examples::clock()).plain();
            let (_, below) = appeared(&record(asks)).unwrap();
            format!("{page}{below}")
        };
        let all = said(true);
        for words in [
            "in .env:3, and more than is told: each new connection asks from now on",
            "with more than is told: each new connection is asked about from now on",
        ] {
            assert!(all.contains(words), "{all}");
        }
        let unread: LogRecord = serde_json::from_value(json!({
            "at": "2026-11-20T11:59:57.25Z", "kind": "appeared", "session": "s1", "uid": 1000, "host": "", "ports": "",
            "service": "", "file": ".env", "line": null, "key": "", "verdict": "", "asks": true, "more": true,
        }))
        .unwrap();
        let page = line(&unread, &crate::render::examples::clock()).plain();
        assert!(
            page.contains("  not all of .env is read, and more than is told"),
            "{page}"
        );
        let (head, below) = appeared(&unread).unwrap();
        assert!(head.starts_with("not all is read"), "{head}");
        assert!(
            below.starts_with(".env has more places than are kept, with more"),
            "{below}"
        );
        let none = said(false);
        assert!(
            none.contains("what comes later is in no log") && !none.contains("asks"),
            "{none}"
        );
    }

    #[test]
    fn what_a_person_has_decided_for_later_is_said_with_who_and_what() {
        let said = |record: serde_json::Value| {
            let record: LogRecord = serde_json::from_value(record).unwrap();
            line(&record, &crate::render::examples::clock()).plain()
        };
        let at = "2026-11-20T11:59:57.25Z";
        let from = json!({"uid": 1000, "right": "owner", "pid": 7, "comm": "guard", "exe": "/usr/bin/guard", "command": [], "terminal": "pts/3"});
        let page = said(json!({
            "at": at, "kind": "dismissed", "session": null, "uid": 1000, "host": "db.example.net", "port": 5432,
            "label": "production", "withdrawn": false, "by": "dev", "from": from,
        }));
        let expected = "dismissed        db.example.net port 5432 (production)  by dev at pts/3\n";
        assert!(page.ends_with(expected), "{page}");
        let page = said(json!({
            "at": at, "kind": "dismissed", "session": null, "uid": 1000, "file": ".env.vault",
            "dir": "/home/dev/shop", "sha256": "0a", "withdrawn": false, "by": "dev", "from": from,
        }));
        let expected = "dismissed        .env.vault (encrypted: its contents are not known)  by dev at pts/3  dir=/home/dev/shop sha256=0a\n";
        assert!(page.ends_with(expected), "{page}");
        let page = said(json!({
            "at": at, "kind": "trusted", "session": null, "uid": 1000, "file": "/p/.guard.toml", "sha256": "0a",
            "withdrawn": true, "by": "dev", "from": from,
        }));
        let expected = "trusted no more  by dev at pts/3  file=/p/.guard.toml sha256=0a\n";
        assert!(page.ends_with(expected), "{page}");
    }
}
