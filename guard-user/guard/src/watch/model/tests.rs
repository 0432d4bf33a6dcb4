use guard_proto::{Call, HoleTerms, HolesReply, Offer};
use proptest::prelude::*;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use serde_json::json;

use super::*;
use crate::render::examples;

fn at(millis: u64) -> Moment {
    Moment::from_millis(millis)
}

fn request(id: &str) -> Request {
    Request {
        id: id.into(),
        ..examples::request()
    }
}

fn http(id: &str) -> Request {
    Request {
        http: Some(examples::http()),
        ..request(id)
    }
}

fn named(id: &str) -> Request {
    Request {
        named: Some(guard_proto::destination::NameTold {
            name: "api.example.com".to_owned(),
            cname: None,
            pid: None,
            comm: None,
            at: jiff::Timestamp::UNIX_EPOCH,
            also: Vec::new(),
        }),
        opens_name: true,
        ..request(id)
    }
}

/// A screen that shows these requests, and has for a while at 1000 ms.
fn showing(requests: &[Request]) -> Model {
    let mut model = Model::new(true);
    model.update(Event::Requests(requests.to_vec()), at(0));
    draw(&mut model, 0);
    model
}

fn draw(model: &mut Model, now: u64) {
    let together = match &model.mode {
        Mode::Together(together) => model.together(together).map(|one| one.id.clone()).collect(),
        _ => Vec::new(),
    };
    draw_of(model, together, now);
}

/// As [`draw`], where of those that a yes is to be for only some have room.
fn draw_of(model: &mut Model, together: Vec<String>, now: u64) {
    let shown = VisibleRows {
        requests: Some(0..10),
        holes: Some(0..10),
        together,
        scroll: 100,
        read: model.subject().map(|subject| subject.request.id),
        bewares: SeenBewares::default(),
    };
    model.drawn(Some(shown), at(now));
}

fn key(model: &mut Model, code: KeyCode, now: u64) -> Vec<Effect> {
    let key = KeyEvent::new(code, KeyModifiers::NONE);
    model.update(Event::Key(key, at(now)), at(now))
}

fn press(model: &mut Model, c: char, now: u64) -> Vec<Effect> {
    key(model, KeyCode::Char(c), now)
}

/// What guardd is told, if it is told something.
fn call(effects: Vec<Effect>) -> Option<Call> {
    let mut answers = calls(effects);
    assert!(answers.len() < 2);
    answers.pop()
}

fn calls(effects: Vec<Effect>) -> Vec<Call> {
    let answers = effects.into_iter().filter_map(|effect| match effect {
        Effect::Answer(answer) => Some(answer.call),
        _ => None,
    });
    answers.collect()
}

/// To which request an answer is, and whether it is a yes.
fn answer(call: &Call) -> Option<(&str, bool)> {
    match call {
        Call::Approve { id, .. } => Some((id, true)),
        Call::Deny { id, .. } => Some((id, false)),
        _ => None,
    }
}

fn told(model: &Model) -> &str {
    model.notice.as_ref().map_or("", |notice| &notice.text)
}

fn record(fields: serde_json::Value) -> Event {
    Event::Record(Box::new(serde_json::from_value(fields).unwrap()))
}

#[test]
fn what_doctor_tries_is_not_listed() {
    let mut model = showing(&[]);
    let session = |id: &str| Session {
        id: id.into(),
        ..examples::session()
    };
    let lists = || Lists {
        sessions: vec![session("s1"), session("s2")],
        ..Lists::default()
    };
    let start = json!({"at": "2026-11-20T12:00:00Z", "kind": "session-start", "session": "s1", "trial": true});
    let denied = json!({"at": "2026-11-20T12:00:00Z", "kind": "denied", "session": "s1"});
    let other = json!({"at": "2026-11-20T12:00:00Z", "kind": "denied", "session": "s2"});
    model.update(Event::Lists(lists()), at(0));
    assert_eq!(model.sessions.len(), 2);
    for one in [start, denied, other] {
        model.update(record(one), at(0));
    }
    let seen: Vec<_> = model.sessions.iter().map(|one| one.id.as_str()).collect();
    assert_eq!(seen, ["s2"]);
    assert_eq!(model.records.len(), 1);
    model.update(Event::Lists(lists()), at(0));
    assert_eq!(model.sessions.len(), 1);
}

fn failure(why: &str) -> Failure {
    Failure {
        what: "cannot do that".into(),
        why: why.into(),
        fix: "guard pending".into(),
    }
}

#[test]
fn each_key_for_yes_says_how_long() {
    for (c, lasts) in [('f', 300.0), ('y', 900.0), ('h', 3600.0)] {
        let mut model = showing(&[request("r1")]);
        let Some(Call::Approve {
            id,
            path: None,
            writes: false,
            prefix: false,
            tried: None,
            address: false,
            always: false,
            terms,
        }) = call(press(&mut model, c, 1000))
        else {
            panic!("{c} is no yes")
        };
        assert_eq!(id, "r1");
        let expected = HoleTerms {
            seconds: Some(lasts),
            ..HoleTerms::default()
        };
        assert_eq!(terms, expected);
    }
}

#[test]
fn each_key_for_no_says_how_long() {
    for (c, lasts) in [('n', 60.0), ('N', 28_800.0)] {
        let mut model = showing(&[request("r1")]);
        let Some(Call::Deny { id, seconds, .. }) = call(press(&mut model, c, 1000)) else {
            panic!("{c} is no no")
        };
        assert_eq!((&*id, seconds), ("r1", Some(lasts)));
    }
}

#[test]
fn no_other_key_answers() {
    let codes = [
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::Backspace,
        KeyCode::Delete,
        KeyCode::F(1),
    ];
    let others = (' '..='~')
        .filter(|c| !"fyhnNq".contains(*c))
        .map(KeyCode::Char);
    for code in others.chain(codes) {
        let mut model = showing(&[request("r1")]);
        assert!(call(key(&mut model, code, 1000)).is_none(), "{code:?}");
        // Nor does Enter after it.
        assert!(
            call(key(&mut model, KeyCode::Enter, 2000)).is_none(),
            "{code:?}, Enter"
        );
        assert!(
            call(key(&mut model, KeyCode::Enter, 3000)).is_none(),
            "{code:?}, Enter, Enter"
        );
    }
    for modifier in [
        KeyModifiers::ALT,
        KeyModifiers::CONTROL,
        KeyModifiers::SUPER,
    ] {
        let mut model = showing(&[request("r1")]);
        let key = KeyEvent::new(KeyCode::Char('y'), modifier);
        assert!(call(model.update(Event::Key(key, at(1000)), at(1000))).is_none());
    }
}

#[test]
fn a_yes_to_some_bytes_takes_a_size() {
    let mut model = showing(&[request("r1")]);
    press(&mut model, 's', 1000);
    for (at, c) in (1010..).step_by(10).zip("x64k".chars()) {
        for back in 0..4 {
            key(&mut model, KeyCode::Backspace, at + back);
        }
        assert!(call(press(&mut model, c, at + 5)).is_none(), "{c}");
    }
    for c in ['f', 'y', 'h'] {
        assert!(call(press(&mut model, c, 1100)).is_none(), "k is no size");
    }
    key(&mut model, KeyCode::Backspace, 1200);
    for (at, c) in (1201..).zip("64kib".chars()) {
        assert!(call(press(&mut model, c, at)).is_none());
    }
    let Some(Call::Approve { terms, .. }) = call(press(&mut model, 'y', 1300)) else {
        panic!("it is a yes")
    };
    assert_eq!((terms.bytes, terms.connections), (Some(64 << 10), None));
    assert_eq!(terms.seconds, Some(900.0));
}

#[test]
fn a_yes_to_some_connections_takes_a_number() {
    let mut model = showing(&[request("r1")]);
    press(&mut model, 'c', 1000);
    key(&mut model, KeyCode::Backspace, 1001);
    assert!(call(press(&mut model, 'y', 1002)).is_none(), "how many?");
    press(&mut model, '0', 1003);
    assert!(
        call(press(&mut model, 'y', 1004)).is_none(),
        "none is no yes"
    );
    press(&mut model, '7', 1005);
    let Some(Call::Approve { terms, .. }) = call(press(&mut model, 'f', 1006)) else {
        panic!("it is a yes")
    };
    assert_eq!((terms.connections, terms.seconds), (Some(7), Some(300.0)));
}

#[test]
fn a_yes_takes_that_all_to_beware_of_was_shown_and_a_no_does_not() {
    let cut = || VisibleRows {
        requests: Some(0..10),
        ..VisibleRows::default()
    };
    for c in ['y', 'w', 'n'] {
        let mut model = showing(&[http("r1")]);
        model.drawn(Some(cut()), at(0));
        let called = call(press(&mut model, c, 1000));
        assert_eq!(called.is_some(), c == 'n', "{c}");
        assert!(matches!(model.mode, Mode::Lists), "{c}");
    }
    // What comes to it later has to be shown, too.
    let mut model = showing(&[http("r1")]);
    key(&mut model, KeyCode::Enter, 1000);
    let mut more = http("r1");
    more.warnings.push("other programs have tried it".into());
    model.update(Event::Requests(vec![more]), at(1001));
    assert!(call(press(&mut model, 'y', 2000)).is_none());
    assert!(
        told(&model).contains("scroll to the rest"),
        "{}",
        told(&model)
    );
    draw(&mut model, 2001);
    assert!(call(press(&mut model, 'y', 3000)).is_some());
}

#[test]
fn what_there_is_more_to_beware_of_in_a_list_has_to_be_drawn_before_a_yes() {
    let mut more = http("r1");
    more.warnings.push("other programs have tried it".into());
    for lists in [false, true] {
        let mut model = showing(&[http("r1")]);
        let event = if lists {
            Event::Lists(Lists {
                requests: vec![more.clone()],
                ..Lists::default()
            })
        } else {
            Event::Requests(vec![more.clone()])
        };
        model.update(event, at(999));
        assert!(call(press(&mut model, 'y', 1000)).is_none());
        draw(&mut model, 1001);
        assert!(call(press(&mut model, 'y', 2000)).is_some());
    }
}

#[test]
fn an_http_request_is_let_through_or_its_path_or_all_writes() {
    let mut model = showing(&[http("r1")]);
    assert!(matches!(
        call(press(&mut model, 'y', 1000)),
        Some(Call::Approve {
            path: None,
            writes: false,
            ..
        })
    ));
    let mut model = showing(&[http("r1")]);
    press(&mut model, 'p', 1000);
    key(&mut model, KeyCode::Backspace, 1001);
    for c in "*y".chars() {
        assert!(
            call(press(&mut model, c, 1002)).is_none(),
            "it is being typed"
        );
    }
    key(&mut model, KeyCode::Backspace, 1003);
    assert!(call(key(&mut model, KeyCode::Enter, 1004)).is_none());
    let Some(Call::Approve {
        path: Some(path),
        writes: false,
        ..
    }) = call(press(&mut model, 'y', 1005))
    else {
        panic!("it is a yes")
    };
    assert_eq!(path, "/api/jobs/*");
    let mut model = showing(&[http("r1")]);
    press(&mut model, 'w', 1000);
    assert!(matches!(
        call(press(&mut model, 'h', 1001)),
        Some(Call::Approve {
            path: None,
            writes: true,
            ..
        })
    ));
    // And a connection for reads alone.
    let mut model = showing(&[request("r1")]);
    press(&mut model, 'w', 1000);
    assert!(told(&model).contains("no HTTP request"));
    press(&mut model, 'r', 1001);
    let Some(Call::Approve { terms, .. }) = call(press(&mut model, 'h', 1002)) else {
        panic!("it is a yes")
    };
    assert!(terms.read_only);
}

#[test]
fn a_key_as_the_request_changes_answers_nobody() {
    let mut model = showing(&[request("r1"), request("r2")]);
    model.update(Event::Requests(vec![request("r2")]), at(1000));
    // Drawn, or not even that.
    assert!(call(press(&mut model, 'y', 1010)).is_none());
    draw(&mut model, 1020);
    for now in [1030, 1200, 1319] {
        assert!(call(press(&mut model, 'y', now)).is_none());
        assert!(told(&model).contains("press again"));
    }
    assert!(
        call(press(&mut model, 'y', 1500)).is_none(),
        "it was never let go"
    );
    assert!(call(press(&mut model, 'y', 1800)).is_some());
}

#[test]
fn what_was_typed_for_a_shell_answers_nobody() {
    let suspend = |model: &mut Model, now| {
        let key = KeyEvent::new(KeyCode::Char('z'), KeyModifiers::CONTROL);
        let effects = model.update(Event::Key(key, at(now)), at(now));
        assert!(matches!(effects[..], [Effect::Suspend]));
    };
    // Typed before it stopped, and read only afterwards; after it came back; where it never stopped.
    for (event, from) in [
        (None, 1000),
        (Some(Event::Resumed), 9000),
        (Some(Event::NotSuspended), 1010),
    ] {
        let mut model = showing(&[request("r1")]);
        suspend(&mut model, 1000);
        let is_told = matches!(event, Some(Event::NotSuspended));
        if let Some(event) = event {
            model.update(event, at(from));
        }
        assert_eq!(told(&model).starts_with("cannot suspend here"), is_told);
        for (c, later) in [('f', 0), ('g', 100), ('f', 999), ('f', 1298)] {
            assert!(call(press(&mut model, c, from + later)).is_none());
        }
        key(&mut model, KeyCode::Enter, from + 1300);
        assert!(matches!(model.mode, Mode::Lists));
        assert!(call(press(&mut model, 'f', from + 1700)).is_some());
    }
}

#[test]
fn what_was_told_goes_away() {
    let mut model = showing(&[request("r1"), request("r2")]);
    assert!(call(press(&mut model, 'n', 1000)).is_some());
    model.update(
        Event::Outcome("r1".into(), AnswerOutcome::Denied(None)),
        at(1100),
    );
    draw(&mut model, 2000);
    draw(&mut model, 11_999);
    assert_eq!(told(&model), "r1: no");
    draw(&mut model, 12_000);
    assert_eq!(told(&model), "");
    // What went wrong stays for longer.
    let refused = AnswerOutcome::Refused(failure("a rule denies it"));
    model.update(Event::Outcome("r2".into(), refused), at(12_100));
    draw(&mut model, 12_200);
    draw(&mut model, 40_000);
    assert!(told(&model).contains("a rule denies it"));
    draw(&mut model, 72_200);
    assert_eq!(told(&model), "");
}

#[test]
fn one_answer_is_given_once() {
    let mut model = showing(&[request("r1")]);
    assert!(call(press(&mut model, 'y', 1000)).is_some());
    assert!(call(press(&mut model, 'y', 2000)).is_none());
    assert!(told(&model).contains("being answered"));
    model.update(
        Event::Outcome(
            "r1".into(),
            AnswerOutcome::Refused(failure("a rule denies it")),
        ),
        at(2100),
    );
    assert!(told(&model).contains("a rule denies it"));
    assert!(
        call(press(&mut model, 'n', 3000)).is_some(),
        "and then again"
    );
}

#[test]
fn what_is_looked_at_stays_when_it_is_gone() {
    for begin in [KeyCode::Enter, KeyCode::Char('c')] {
        let mut model = showing(&[request("r1"), request("r2")]);
        key(&mut model, begin, 1000);
        model.update(
            Event::AuditLog("2026-11-20T12:00:00Z".parse().unwrap()),
            at(1001),
        );
        model.update(Event::Requests(vec![request("r2")]), at(1002));
        draw(&mut model, 1003);
        model.update(
            record(json!({"at": "2026-11-20T12:00:01Z", "kind": "answered", "session": "s1", "request": "r1", "answer": "no", "by": "bob"})),
            at(1010),
        );
        assert_eq!(told(&model), "r1: bob said no");
        assert!(call(press(&mut model, 'y', 5000)).is_none());
        assert_eq!(told(&model), "r1 does not wait any more: bob said no");
    }
}

#[test]
fn who_was_faster_is_told_whatever_comes_first() {
    let answered = || {
        record(
            json!({"at": "2026-11-20T12:00:01Z", "kind": "answered", "session": "s1", "request": "r1", "answer": "yes", "by": "bob"}),
        )
    };
    let gone = || {
        Event::Outcome(
            "r1".into(),
            AnswerOutcome::Gone(failure("it may have been answered")),
        )
    };
    for record_first in [true, false] {
        let mut model = showing(&[request("r1")]);
        model.update(
            Event::AuditLog("2026-11-20T12:00:00Z".parse().unwrap()),
            at(1),
        );
        assert!(call(press(&mut model, 'y', 1000)).is_some());
        let (one, two) = if record_first {
            (answered(), gone())
        } else {
            (gone(), answered())
        };
        model.update(one, at(1100));
        model.update(two, at(1200));
        assert!(told(&model).ends_with("bob said yes"), "{}", told(&model));
    }
}

#[test]
fn what_came_into_reach_is_told_and_rings() {
    let mut model = Model::new(true);
    let record = |at: &str| {
        record(serde_json::json!({
            "at": at, "kind": "appeared", "session": "s1", "uid": 1000, "host": "db.example.net", "ports": "tcp/5432",
            "service": "postgres", "file": ".env\u{1b}[2J", "line": 3, "key": "A", "verdict": "allow", "asks": false,
        }))
    };
    model.update(
        Event::AuditLog("2026-11-20T12:00:00Z".parse().unwrap()),
        at(1),
    );
    let effects = model.update(record("2026-11-20T11:59:59Z"), at(2));
    assert!(effects.is_empty() && told(&model).is_empty());
    let effects = model.update(record("2026-11-20T12:00:01Z"), at(3));
    assert!(effects.iter().any(|one| matches!(one, Effect::Bell)));
    let said = "db.example.net tcp/5432 came into reach of s1: it looks like production (postgres), by A in .env";
    assert!(told(&model).starts_with(said), "{}", told(&model));
    assert!(told(&model).ends_with("; the policy lets everything through"));
    assert!(!told(&model).contains('\u{1b}'));
    // Whoever writes without end rings no more often than whoever asks.
    let effects = model.update(record("2026-11-20T12:00:02Z"), at(3));
    assert!(!effects.iter().any(|one| matches!(one, Effect::Bell)));
}

#[test]
fn old_records_are_no_news() {
    let mut model = showing(&[]);
    model.update(
        Event::AuditLog("2026-11-20T12:00:00Z".parse().unwrap()),
        at(1),
    );
    let old = json!({"at": "2026-11-20T11:59:59Z", "kind": "answered", "session": "s1", "request": "r1", "answer": "yes", "by": "bob"});
    assert!(model.update(record(old), at(2)).is_empty());
    assert_eq!(told(&model), "");
    assert_eq!(model.records.len(), 1);
}

#[test]
fn a_new_request_rings_once() {
    let rings = |effects: Vec<Effect>| effects.iter().any(|effect| matches!(effect, Effect::Bell));
    let mut model = Model::new(true);
    let ask = |model: &mut Model, ids: &[&str], now| {
        let all = ids.iter().map(|id| request(id)).collect();
        rings(model.update(Event::Requests(all), at(now)))
    };
    assert!(!ask(&mut model, &["r1"], 0), "it was there before");
    assert!(ask(&mut model, &["r1", "r2"], 1000));
    assert!(!ask(&mut model, &["r1", "r2"], 4000));
    assert!(!ask(&mut model, &["r1"], 8000));
    assert!(ask(&mut model, &["r1", "r3"], 12_000));
    assert!(!ask(&mut model, &["r1", "r3", "r4"], 13_999), "no din");
    press(&mut model, 'b', 14_000);
    assert!(!ask(&mut model, &["r5"], 20_000));
}

#[test]
fn without_guardd_no_answer_is_taken() {
    let mut model = showing(&[request("r1")]);
    model.update(Event::Lost(failure("no guardd listens there")), at(500));
    assert!(call(press(&mut model, 'y', 1000)).is_none());
    model.update(Event::Requests(vec![request("r1")]), at(2000));
    draw(&mut model, 2000);
    assert!(call(press(&mut model, 'y', 3000)).is_some());
}

#[test]
fn what_was_told_while_guardd_was_away_goes_when_it_is_back() {
    let mut model = showing(&[request("r1")]);
    let away = failure("no guardd listens there");
    model.update(
        Event::Outcome("r1".into(), AnswerOutcome::Refused(away.clone())),
        at(400),
    );
    model.update(Event::Lost(away), at(500));
    draw(&mut model, 600);
    model.update(Event::Requests(vec![request("r1")]), at(2000));
    draw(&mut model, 2000);
    let told = model.notice.as_ref().map(|notice| notice.text.as_str());
    assert_eq!(told, Some("guardd answers again"));
    // A list of requests that comes later is no news of that.
    draw(&mut model, 13_000);
    model.update(Event::Requests(Vec::new()), at(14_000));
    assert!(model.notice.is_none());
}

#[test]
fn what_cannot_be_seen_is_not_answered() {
    let mut model = showing(&[request("r1")]);
    model.drawn(None, at(500));
    assert!(call(press(&mut model, 'y', 1000)).is_none());
    assert!(matches!(press(&mut model, 'q', 1001)[..], [Effect::Quit]));
}

#[test]
fn a_list_that_is_older_brings_no_request_back() {
    let mut model = showing(&[request("r1")]);
    model.update(Event::Requests(Vec::new()), at(1));
    let stale = Lists {
        requests: vec![request("r1")],
        ..Lists::default()
    };
    model.update(Event::Lists(stale), at(2));
    assert!(model.requests.is_empty());
    // Of one that waits it brings how often it was tried.
    model.update(Event::Requests(vec![request("r2")]), at(3));
    let more = Request {
        count: 9,
        ..request("r2")
    };
    model.update(
        Event::Lists(Lists {
            requests: vec![more],
            ..Lists::default()
        }),
        at(4),
    );
    assert_eq!(model.requests[0].count, 9);
}

#[test]
fn the_hole_under_the_cursor_is_closed() {
    let mut model = showing(&[]);
    let hole = |id: &str| Hole {
        id: id.into(),
        ..examples::hole()
    };
    model.update(
        Event::Lists(Lists {
            holes: vec![hole("h1"), hole("h2")],
            ..Lists::default()
        }),
        at(0),
    );
    draw(&mut model, 1);
    assert!(
        call(press(&mut model, 'x', 999)).is_none(),
        "no hole is chosen"
    );
    assert!(told(&model).contains("Tab"), "{}", told(&model));
    key(&mut model, KeyCode::Tab, 1000);
    key(&mut model, KeyCode::Down, 1001);
    let Some(Call::Close {
        ids, all: false, ..
    }) = call(press(&mut model, 'x', 1002))
    else {
        panic!("it closes nothing")
    };
    assert_eq!(ids, ["h2"]);
    let closed = HolesReply {
        holes: vec![hole("h2")],
        warnings: Vec::new(),
    };
    model.update(
        Event::Outcome("h2".into(), AnswerOutcome::Closed(closed)),
        at(1100),
    );
    assert_eq!((told(&model), model.holes.len()), ("h2 closed", 1));
    assert!(
        call(press(&mut model, 'x', 1101)).is_none(),
        "h1 has just come there"
    );
}

#[test]
fn a_filter_narrows_and_lets_go() {
    let other = Request {
        session: "s2".into(),
        ..request("r2")
    };
    let mut model = showing(&[request("r1"), other]);
    press(&mut model, '/', 1000);
    for c in "S2".chars() {
        assert!(call(press(&mut model, c, 1001)).is_none());
    }
    assert_eq!(model.shown_requests().count(), 1);
    assert_eq!(model.asked.id(), Some("r2"));
    key(&mut model, KeyCode::Enter, 1002);
    assert!(
        call(press(&mut model, 'y', 1003)).is_none(),
        "it has just come there"
    );
    key(&mut model, KeyCode::Esc, 1004);
    assert_eq!(model.shown_requests().count(), 2);
}

fn burst(id: &str, count: usize) -> Request {
    Request {
        id: id.into(),
        ..examples::burst(count)
    }
}

#[test]
fn a_yes_to_a_burst_is_for_what_was_on_the_screen() {
    let mut model = showing(&[burst("r1", 4)]);
    model.update(Event::Requests(vec![burst("r1", 9)]), at(900));
    draw(&mut model, 950);
    // 9 have not been there for long enough to be meant.
    let Some(Call::Approve { prefix, tried, .. }) = call(press(&mut model, 'y', 1000)) else {
        panic!("it is a yes")
    };
    assert_eq!((prefix, tried), (false, Some(4)));
    let mut model = showing(&[burst("r1", 4)]);
    press(&mut model, 'p', 1000);
    let Some(Call::Approve { prefix, tried, .. }) = call(press(&mut model, 'f', 1001)) else {
        panic!("it is a yes")
    };
    assert_eq!((prefix, tried), (true, None));
}

#[test]
fn what_has_just_become_a_burst_is_looked_at_first() {
    for first in ["y", "py", "o"] {
        let mut model = showing(&[request("r1")]);
        model.update(Event::Requests(vec![burst("r1", 4)]), at(900));
        draw(&mut model, 950);
        for c in first.chars() {
            assert!(call(press(&mut model, c, 1000)).is_none(), "{first}");
        }
        key(&mut model, KeyCode::Esc, 1500);
        // A no needs no second look.
        assert!(call(press(&mut model, 'n', 1501)).is_some(), "{first}");
    }
}

#[test]
fn what_is_offered_first_is_taken_as_it_was_shown() {
    let offering = |seconds, connections| Request {
        offers: vec![Offer {
            seconds,
            connections,
        }],
        ..request("r1")
    };
    let mut model = showing(&[offering(1800.0, Some(2))]);
    model.update(Event::Requests(vec![offering(60.0, None)]), at(900));
    draw(&mut model, 950);
    let Some(Call::Approve { terms, .. }) = call(press(&mut model, 'o', 1000)) else {
        panic!("it is a yes")
    };
    assert_eq!((terms.seconds, terms.connections), (Some(1800.0), Some(2)));
}

fn of_session(id: &str, session: &str) -> Request {
    Request {
        session: session.into(),
        ..request(id)
    }
}

#[test]
fn a_no_is_for_all_of_a_session_and_the_sum_is_told() {
    let all = [
        of_session("r1", "s1"),
        of_session("r2", "s2"),
        of_session("r3", "s1"),
    ];
    let mut model = showing(&all);
    assert!(call(press(&mut model, 'a', 1000)).is_none());
    assert_eq!(model.marked.len(), 2);
    let sent = calls(press(&mut model, 'n', 1001));
    let to: Vec<_> = sent.iter().filter_map(answer).collect();
    assert_eq!(to, [("r1", false), ("r3", false)]);
    // Held down it is for no other request.
    for now in [1002, 1200, 1400] {
        assert!(calls(press(&mut model, 'n', now)).is_empty());
    }
    model.update(
        Event::Outcome("r1".into(), AnswerOutcome::Denied(None)),
        at(1100),
    );
    assert_eq!(told(&model), "no to 1 of 2 requests");
    let refused = AnswerOutcome::Refused(failure("it cannot be"));
    model.update(Event::Outcome("r3".into(), refused), at(1101));
    assert!(told(&model).starts_with("no to 1 of 2 requests; cannot do that"));
    assert!(model.marked.is_empty());
}

#[test]
fn a_yes_to_many_is_said_twice_and_for_what_was_listed() {
    let all: Vec<_> = ["r1", "r2", "r3"].map(request).into();
    let mut model = showing(&all);
    press(&mut model, 'a', 1000);
    assert!(calls(press(&mut model, 'y', 1001)).is_empty());
    assert!(matches!(model.mode, Mode::Together(_)));
    // Held down it never gets through.
    draw_of(&mut model, vec!["r1".into(), "r2".into()], 1010);
    for now in (1020..2000).step_by(30) {
        assert!(calls(press(&mut model, 'y', now)).is_empty());
    }
    assert_eq!(
        told(&model),
        "1 of 3 have not been on the screen yet: Down, PageDown"
    );
    draw_of(&mut model, vec!["r3".into()], 2000);
    assert!(calls(press(&mut model, 'y', 2299)).is_empty());
    assert!(calls(key(&mut model, KeyCode::Enter, 2700)).is_empty());
    // One that goes is for nobody; one that comes is not among them.
    let now_there: Vec<_> = ["r1", "r3", "r4"].map(request).into();
    model.update(Event::Requests(now_there), at(2700));
    let sent = calls(press(&mut model, 'h', 2800));
    let to: Vec<_> = sent.iter().filter_map(answer).collect();
    assert_eq!(to, [("r1", true), ("r3", true)]);
    assert!(matches!(model.mode, Mode::Lists));
}

#[test]
fn a_yes_to_many_is_for_connections() {
    let mut model = showing(&[request("r1"), request("r2"), burst("r3", 4)]);
    press(&mut model, 'a', 1000);
    press(&mut model, 'y', 1001);
    let told = model.notice.as_ref().map(|notice| notice.text.clone());
    assert!(
        told.unwrap_or_default()
            .starts_with("r3 wants an answer alone")
    );
    draw(&mut model, 1010);
    // One of them has become many meanwhile.
    let grown = vec![request("r1"), burst("r2", 5), burst("r3", 9)];
    model.update(Event::Requests(grown), at(1400));
    draw(&mut model, 1800);
    let answered: Vec<_> = calls(press(&mut model, 'y', 2300))
        .into_iter()
        .map(|call| match call {
            Call::Approve { id, .. } => id,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(answered, ["r1"]);
}

#[test]
fn marks_are_put_one_by_one_and_taken_away() {
    let mut model = showing(&[request("r1"), request("r2"), request("r3")]);
    press(&mut model, ' ', 1000);
    press(&mut model, ' ', 1001);
    assert_eq!((model.marked.len(), model.asked.id()), (2, Some("r3")));
    // What is for one request has to wait.
    for c in "ocspwr".chars() {
        assert!(calls(press(&mut model, c, 1002)).is_empty());
        assert!(matches!(model.mode, Mode::Lists));
    }
    // One that goes takes its mark with it.
    model.update(
        Event::Requests(vec![request("r2"), request("r3")]),
        at(1100),
    );
    assert_eq!(model.marked.len(), 1);
    key(&mut model, KeyCode::Esc, 1101);
    assert!(model.marked.is_empty());
    // Another guardd counts from the beginning: its r2 is another.
    press(&mut model, 'a', 1500);
    assert_eq!(model.marked.len(), 2);
    model.update(Event::Lost(failure("no guardd listens there")), at(1600));
    assert!(model.marked.is_empty());
}

/// What may happen to a screen.
#[derive(Clone, Debug)]
enum Step {
    Ask(Vec<u8>),
    Key(KeyCode),
    Draw,
}

fn steps() -> impl Strategy<Value = Vec<(Step, u64)>> {
    let codes = "fyhnNcprwxjk/?b1* a".chars().map(KeyCode::Char).chain([
        KeyCode::Enter,
        KeyCode::Esc,
        KeyCode::Tab,
        KeyCode::Up,
        KeyCode::Down,
        KeyCode::Backspace,
    ]);
    let step = prop_oneof![
        prop::collection::vec(1_u8..12, 0..6).prop_map(Step::Ask),
        prop::sample::select(codes.collect::<Vec<_>>()).prop_map(Step::Key),
        Just(Step::Draw),
    ];
    prop::collection::vec((step, 0_u64..500), 0..80)
}

proptest! {
    /// Whatever comes in whatever order: an answer is for a request that waits, and that the screen has shown under
    /// the cursor, or as what is looked at, for 300 ms.
    #[test]
    fn an_answer_is_for_what_was_seen(steps in steps()) {
        let mut model = Model::new(true);
        let (mut now, mut drawn): (u64, Vec<(u64, Vec<String>)>) = (0, Vec::new());
        // The list of those that a yes is to be for together.
        let mut listed: Vec<(u64, Vec<String>)> = Vec::new();
        for (step, later) in steps {
            now += later;
            match step {
                Step::Ask(mut numbers) => {
                    numbers.sort_unstable();
                    numbers.dedup();
                    let all = numbers.iter().map(|number| match number % 2 {
                        0 => http(&format!("r{number}")),
                        _ => request(&format!("r{number}")),
                    });
                    model.update(Event::Requests(all.collect()), at(now));
                    model.answering.clear();
                }
                Step::Draw => {
                    draw(&mut model, now);
                    let shown = model.requests.iter().map(|one| one.id.clone());
                    let looked_at = model.subject().map(|subject| subject.request.id.clone());
                    drawn.push((now, shown.chain(looked_at).collect()));
                    let together = match &model.mode {
                        Mode::Together(together) => model.together(together).map(|one| one.id.clone()).collect(),
                        _ => Vec::new(),
                    };
                    listed.push((now, together));
                }
                Step::Key(code) => {
                    let meant = model.subject().map(|subject| subject.request.id.clone());
                    let marked = model.marked.clone();
                    let is_together = matches!(model.mode, Mode::Together(_));
                    let in_lists = matches!(model.mode, Mode::Lists);
                    let sent = calls(key(&mut model, code, now));
                    for (id, is_yes) in sent.iter().filter_map(answer) {
                        prop_assert!(model.waits(id));
                        prop_assert_ne!(code, KeyCode::Enter);
                        if in_lists && !marked.is_empty() {
                            prop_assert!(marked.contains(id) && !is_yes);
                            continue;
                        }
                        prop_assert!(is_together || Some(id) == meant.as_deref());
                        // It was on the screen 300 ms ago, and at each drawing since.
                        let drawn = if is_together { &listed } else { &drawn };
                        let since = drawn.iter().rposition(|(when, _)| when + 300 <= now);
                        let is_in = |shown: &Vec<String>| shown.iter().any(|one| one == id);
                        prop_assert!(since.is_some_and(|since| drawn[since..].iter().all(|(_, shown)| is_in(shown))));
                    }
                }
            }
        }
    }
}

#[test]
fn a_yes_may_be_for_the_address_alone_where_it_has_a_name() {
    let mut model = showing(&[named("r1")]);
    press(&mut model, 'i', 1000);
    let sent = press(&mut model, 'y', 1000);
    let sent = call(sent);
    assert!(
        matches!(sent, Some(Call::Approve { address: true, .. })),
        "{sent:?}"
    );
    let mut model = showing(&[request("r1")]);
    press(&mut model, 'i', 1000);
    assert!(matches!(model.mode, Mode::Lists), "{:?}", model.mode);
    assert!(model.notice.is_some());
}

#[test]
fn a_question_for_a_name_is_not_counted() {
    let question = Request {
        question: Some(guard_proto::DnsQuestion {
            name: "x.evil.example".to_owned(),
            types: vec!["TXT".to_owned()],
            bytes: 14,
        }),
        ..request("r1")
    };
    for key in ['c', 's', 'r', 'i'] {
        let mut model = showing(std::slice::from_ref(&question));
        press(&mut model, key, 1000);
        assert!(matches!(model.mode, Mode::Lists), "{key}");
        assert!(model.notice.is_some(), "{key}");
    }
}
