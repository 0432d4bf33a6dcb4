//! What `--json` prints: which fields, of which kind, and where errors go.

use std::process::Command;
use std::thread;
use std::time::Duration;

use guard_lab::{AGENT, Daemon, Json as _, NEVER, Running, Tested, V6, eventually};
use serde_json::{Value, json};

use super::{Lab, PATIENCE, V4, id};
use crate::together::{cases, each_from};

/// What a field holds.
#[derive(Clone, Copy, Debug)]
enum Kind {
    Text,
    MaybeText,
    Number,
    MaybeNumber,
    Flag,
    Time,
    MaybeTime,
    List,
    Object,
    Null,
}

fn is(value: &Value, kind: Kind) -> bool {
    match kind {
        Kind::Text => value.is_string(),
        Kind::MaybeText => value.is_string() || value.is_null(),
        Kind::Number => value.is_number(),
        Kind::MaybeNumber => value.is_number() || value.is_null(),
        Kind::Flag => value.is_boolean(),
        Kind::Time => is_time(value),
        Kind::MaybeTime => value.is_null() || is_time(value),
        Kind::List => value.is_array(),
        Kind::Object => value.is_object(),
        Kind::Null => value.is_null(),
    }
}

/// RFC 3339, in UTC.
fn is_time(value: &Value) -> bool {
    let text = value.as_str().unwrap_or_default();
    text.ends_with('Z') && text.parse::<jiff::Timestamp>().is_ok()
}

fn has(object: &Value, fields: &[(&str, Kind)]) {
    for (name, kind) in fields {
        let value = object.get(name);
        let value = value.unwrap_or_else(|| panic!("no {name} in {object}"));
        assert!(is(value, *kind), "{name} is no {kind:?} in {object}");
    }
}

fn sessions(lab: &Lab) -> Tested {
    assert_eq!(lab.daemon.json(["sessions"])?, json!([]));
    let _shell = lab.shell()?;
    let sessions = lab.daemon.json(["sessions"])?;
    has(
        &sessions[0],
        &[
            ("id", Kind::Text),
            ("name", Kind::Text),
            ("policy", Kind::Text),
            ("user", Kind::Text),
            ("uid", Kind::Number),
            ("cgroup", Kind::Text),
            ("pid", Kind::Number),
            ("command", Kind::List),
            ("started_at", Kind::Time),
            ("command_ended_at", Kind::Null),
            ("left", Kind::List),
        ],
    );
    assert_eq!(sessions[0]["uid"], AGENT);
    assert_eq!(sessions[0]["command"], json!(["sh"]));
    let cgroup = sessions[0]["cgroup"].text()?;
    let pids = std::fs::read_to_string(format!("{cgroup}/cgroup.procs"))?;
    let pid = sessions[0]["pid"].to_string();
    assert!(pids.lines().any(|line| line == pid), "{pid}: {pids}");
    Ok(())
}

const REQUEST: &[(&str, Kind)] = &[
    ("id", Kind::Text),
    ("session", Kind::Text),
    ("policy", Kind::Text),
    ("user", Kind::Text),
    ("pid", Kind::MaybeNumber),
    ("comm", Kind::MaybeText),
    ("destination", Kind::Object),
    ("rule", Kind::MaybeText),
    ("reason", Kind::MaybeText),
    ("verdict", Kind::Text),
    ("held", Kind::Flag),
    ("asked_at", Kind::Time),
    ("waits_until", Kind::MaybeTime),
    ("count", Kind::Number),
    ("http", Kind::Null),
    ("note", Kind::MaybeText),
];

fn requests(lab: &Lab) -> Tested {
    let mut shell = lab.shell()?;
    lab.asked(&mut shell)?;
    let request = lab.asked(&mut shell)?;
    has(&request, REQUEST);
    assert_eq!(request["count"], 2);
    assert_eq!(request["verdict"], "confirm");
    assert_eq!(request["rule"], "production");
    assert_eq!(request["comm"], "guard-lab");
    let to = json!({"address": V4, "port": 443, "protocol": "tcp", "host": null});
    assert_eq!(request["destination"], to);
    // An option before the verb is as good as one after it.
    let before = lab.daemon.json(["--json", "pending"])?;
    assert_eq!(before, json!([request]));
    Ok(())
}

#[test]
fn requests_are_followed_line_by_line() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let mut follow = lab.daemon.root(["pending", "--json", "--follow"]).spawn()?;
    for (to, number) in [(V4, "r1"), (V6, "r2")] {
        lab.reaches(&mut shell, to)?;
        let request: Value = serde_json::from_str(&follow.line(PATIENCE)?)?;
        has(&request, REQUEST);
        assert_eq!(request["id"], number);
    }
    Ok(())
}

#[test]
fn how_a_request_ended_is_told_to_whoever_follows() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let mut lines = lab.daemon.root(["pending", "--follow"]).spawn()?;
    let json = ["pending", "--json", "--follow", "--ends"];
    let mut objects = lab.daemon.root(json).spawn()?;
    for (to, id, verb, answer) in [(V4, "r1", "approve", "yes"), (V6, "r2", "deny", "no")] {
        lab.reaches(&mut shell, to)?;
        lines.line_with(&format!("guard deny {id}"), PATIENCE)?;
        let request: Value = serde_json::from_str(&objects.line(PATIENCE)?)?;
        assert_eq!(request["ended"], Value::Null, "{request}");
        lab.daemon.root([verb, id]).run()?.success()?;
        lines.line_with(&format!("{id}: {answer}, by root"), PATIENCE)?;
        let ended: Value = serde_json::from_str(&objects.line(PATIENCE)?)?;
        has(&ended, REQUEST);
        assert_eq!(ended["id"], id);
        let how = json!({
            "answer": answer, "by": "root", "seconds": 900.0, "why": "answered", "other": null
        });
        assert_eq!(ended["ended"], how);
    }
    Ok(())
}

#[test]
fn that_a_request_was_opened_without_an_answer_is_told_to_whoever_follows() -> Tested {
    let lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let mut lines = lab.daemon.root(["pending", "--follow"]).spawn()?;
    let json = ["pending", "--json", "--follow", "--ends"];
    let mut objects = lab.daemon.root(json).spawn()?;
    lab.reaches(&mut shell, V4)?;
    lines.line_with("guard deny r1", PATIENCE)?;
    objects.line(PATIENCE)?;
    let to = format!("{V4}:443");
    lab.daemon.root(["open", &to]).run()?.success()?;
    lines.line_with("r1: h1, opened by root, lets it pass", PATIENCE)?;
    let ended: Value = serde_json::from_str(&objects.line(PATIENCE)?)?;
    let how = json!({
        "answer": null, "by": "root", "seconds": null, "why": "opened", "other": "h1"
    });
    assert_eq!(ended["ended"], how);
    Ok(())
}

/// Whoever follows is who connections wait for, also after an upgrade.
#[test]
fn whoever_follows_goes_on_with_the_next_guardd() -> Tested {
    let mut lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let mut follows = Command::new("sh");
    follows
        .args(["-c", "exec \"$0\" pending --follow 2>&1"])
        .arg(lab.daemon.program("guard")?)
        .env("GUARD_SOCKET", lab.daemon.socket());
    let mut follow = Running::start(&mut follows)?;
    lab.reaches(&mut shell, V4)?;
    follow.line_with("guard deny r1", PATIENCE)?;
    for end in [Daemon::kill, Daemon::stop] {
        end(&mut lab.daemon)?;
        follow.line_with("followed again once guardd is back", PATIENCE)?;
        lab.daemon.start()?;
        let back = follow.line_with("guardd is back", PATIENCE)?;
        assert!(!back.contains("warning"), "{back}");
    }
    lab.reaches(&mut shell, V6)?;
    let next = follow.line_with(" wants ", PATIENCE)?;
    assert!(next.starts_with("r2"), "r1 is told again: {next}");
    Ok(())
}

fn holes(lab: &Lab) -> Tested {
    let _shell = lab.shell()?;
    assert_eq!(lab.daemon.json(["holes"])?, json!([]));
    let open = [
        "open",
        "192.0.2.10:443",
        "--reason",
        "a test",
        "--connections",
        "3",
    ];
    let opened = lab.daemon.json(open)?;
    let listed = &lab.daemon.json(["holes"])?[0];
    for hole in [&opened, listed] {
        has(
            hole,
            &[
                ("id", Kind::Text),
                ("session", Kind::Text),
                ("destination", Kind::Text),
                ("ports", Kind::MaybeText),
                ("opened_by", Kind::Text),
                ("reason", Kind::MaybeText),
                ("opened_at", Kind::Time),
                ("expires_at", Kind::Time),
                ("connections_left", Kind::MaybeNumber),
                ("read_only", Kind::Flag),
                ("http", Kind::Null),
            ],
        );
        assert_eq!(hole["destination"], "192.0.2.10/32");
        assert_eq!(hole["opened_by"], "root");
        assert_eq!(hole["reason"], "a test");
        assert_eq!(hole["connections_left"], 3);
    }
    let any = lab.daemon.json(["open", V6, "--all-ports"])?;
    assert_eq!(any["destination"], "2001:db8:7::10/128");
    assert_eq!(
        (&any["ports"], &any["connections_left"]),
        (&Value::Null, &Value::Null)
    );
    Ok(())
}

fn explanations(lab: &Lab) -> Tested {
    has(
        &lab.daemon.json(["explain", V4, "--policy", "asks"])?,
        &[
            ("destination", Kind::Text),
            ("verdict", Kind::Text),
            ("rule", Kind::MaybeText),
            ("policy", Kind::Text),
            ("file", Kind::MaybeText),
            ("line", Kind::MaybeNumber),
            ("hole", Kind::MaybeText),
            ("matched", Kind::MaybeText),
        ],
    );
    Ok(())
}

fn status(lab: &Lab) -> Tested {
    let mut shell = lab.shell()?;
    lab.asked(&mut shell)?;
    lab.daemon.json(["open", V6, "--all-ports"])?;
    let status = lab.daemon.json(["status"])?;
    has(
        &status,
        &[
            ("enforcing", Kind::Flag),
            ("version", Kind::Text),
            ("kernel", Kind::Text),
            ("policies", Kind::List),
            ("sessions", Kind::Number),
            ("holes", Kind::Number),
            ("requests", Kind::Number),
            ("hooks", Kind::List),
            ("refused", Kind::Number),
            ("events_lost", Kind::Number),
        ],
    );
    assert_eq!(status["enforcing"], true);
    for count in ["sessions", "holes", "requests"] {
        assert_eq!(status[count], 1, "{count}");
    }
    for hook in status["hooks"].list()? {
        let fields = [
            ("name", Kind::Text),
            ("attached", Kind::Flag),
            ("program_id", Kind::Number),
        ];
        has(hook, &fields);
    }
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease")?;
    assert_eq!(status["kernel"], kernel.trim());
    Ok(())
}

#[test]
fn the_log_has_a_record_of_every_kind() -> Tested {
    let mut lab = Lab::new()?;
    let mut shell = lab.shell()?;
    let request = lab.asked(&mut shell)?;
    lab.reaches(&mut shell, NEVER)?;
    let hole = lab.daemon.json(["approve", id(&request)])?;
    lab.daemon.json(["close", id(&hole)])?;
    lab.daemon.json(["stop", "s1"])?;
    lab.daemon.stop()?;
    lab.daemon.start()?;
    let output = lab.root(&["log", "--json"])?.success()?;
    let records = output.json_lines()?;
    for record in &records {
        has(
            record,
            &[
                ("at", Kind::Time),
                ("kind", Kind::Text),
                ("session", Kind::MaybeText),
            ],
        );
    }
    for (kind, session) in [
        ("daemon-start", Value::Null),
        ("policy-load", Value::Null),
        ("session-start", json!("s1")),
        ("request", json!("s1")),
        ("denied", json!("s1")),
        ("answered", json!("s1")),
        ("hole-open", json!("s1")),
        ("hole-close", json!("s1")),
        ("session-end", json!("s1")),
        ("daemon-stop", Value::Null),
    ] {
        let found = records.iter().find(|record| record["kind"] == kind);
        let found = found.unwrap_or_else(|| panic!("no {kind}: {}", output.stdout));
        assert_eq!(found["session"], session, "{found}");
    }
    // The audit log is the same, in its file.
    let file = std::fs::read_to_string(lab.daemon.audit())?;
    assert_eq!(file.lines().count(), records.len());
    let last = lab.root(&["log", "-n", "2", "--json"])?.json_lines()?;
    assert_eq!(last, records[records.len() - 2..]);
    Ok(())
}

#[test]
fn the_log_is_narrowed_and_followed() -> Tested {
    let lab = Lab::new()?;
    drop(lab.shell()?);
    // Longer ago than what is asked for below.
    thread::sleep(Duration::from_millis(1500));
    let mut shell = lab.shell()?;
    let of_one = lab
        .root(&["log", "--session", "s2", "--json"])?
        .json_lines()?;
    assert!(!of_one.is_empty() && of_one.iter().all(|record| record["session"] == "s2"));
    let late = lab
        .root(&["log", "--since", "1s", "--json"])?
        .json_lines()?;
    assert!(
        late.iter()
            .all(|record| record["session"] != "s1" || record["kind"] == "session-end")
    );
    let follow = ["log", "--follow", "--session", "s2", "--json"];
    let mut follow = lab.daemon.root(follow).spawn()?;
    follow.line_with("session-start", PATIENCE)?;
    lab.reaches(&mut shell, NEVER)?;
    let line = follow.line_with("denied", PATIENCE)?;
    let record: Value = serde_json::from_str(&line)?;
    assert_eq!(record["destination"]["address"], NEVER);
    // One that has ended is in the log; of one that is not there nothing would ever come.
    let ended = ["log", "--follow", "--session", "s1", "--json"];
    let mut ended = lab.daemon.root(ended).spawn()?;
    ended.line_with("session-start", PATIENCE)?;
    let follow = ["log", "--follow", "--session", "s99"];
    let none = ["log", "--session", "s99"];
    // Nothing lately is an answer, where the session was.
    let lately = ["log", "--session", "s1", "--since", "1s", "--json"];
    lab.root(&lately)?.success()?;
    for guard in [
        lab.daemon.root(follow),
        lab.daemon.agent(follow),
        lab.daemon.root(none),
        lab.daemon.agent(none),
        lab.daemon.agent(["suggest", "--session", "s99"]),
    ] {
        let mut none = guard.spawn()?;
        eventually("it ends", || none.has_ended())?;
        assert_eq!(none.wait()?.code(), Some(2));
    }
    Ok(())
}

fn checks(lab: &Lab) -> Tested {
    let good = lab.daemon.policy_dir().join("asks.toml");
    let bad = lab.file("bad.toml", "version = 1\ncolour = \"red\"\n")?;
    let files = [good.to_str().unwrap(), bad.to_str().unwrap()];
    let output = lab.agent(&["check", files[0], files[1], "--json"])?;
    assert_eq!(output.code(), Some(1));
    let checked = output.json()?;
    assert_eq!(
        (&checked[0]["file"], &checked[0]["valid"]),
        (&json!(files[0]), &json!(true))
    );
    assert_eq!(checked[1]["valid"], false);
    let error = &checked[1]["diagnostics"][0];
    assert_eq!((&error["line"], &error["column"]), (&json!(2), &json!(1)));
    assert_eq!(error["text"], "colour");
    Ok(())
}

fn errors(lab: &Lab) -> Tested {
    let nowhere = ["--socket", "/no/such/guardd.sock"];
    for (args, status) in [
        (&["approve", "r1", "--json"][..], 2),
        (&["--json", "approve"], 2),
        (&["frobnicate", "--json"], 2),
        (&["status", "--json", nowhere[0], nowhere[1]], 2),
        (&["open", "192.0.2.1/24", "--all-ports", "--json"], 2),
        (&["explain", V4, "--policy", "./none.toml", "--json"], 2),
        (&["--json", "run", "--policy", "none", "--", "true"], 125),
        (&["run", "--json", "--user", "root", "--", "true"], 125),
        (&["why", "--json"], 2),
    ] {
        let output = lab.agent(args)?;
        assert_eq!(output.code(), Some(status), "{args:?}: {output:?}");
        assert_eq!(output.stdout, "", "{args:?}");
        let told: Value = serde_json::from_str(&output.stderr)?;
        let fields = [
            ("what", Kind::Text),
            ("why", Kind::Text),
            ("fix", Kind::Text),
            ("code", Kind::MaybeText),
        ];
        has(&told["error"], &fields);
    }
    Ok(())
}

#[test]
fn together() -> Tested {
    each_from(
        &Lab::new()?,
        cases![
            sessions,
            requests,
            holes,
            explanations,
            status,
            checks,
            errors,
        ],
        Lab::end_sessions,
    )
}
