//! Whatever an agent writes stays text: a page with it has the same tags and the same attributes as one without.

use std::rc::Rc;

use guard_proto::{
    ApproverShown, Burst, Endpoint, Failure, Flow, Hole, HttpHole, HttpRequest, LogRecord, Request,
    Session,
    approvers::{Asked, KeyShown, Taken},
    central::{
        HeardMachine, HoleThere, Hour, MachineState, Over, ReachedThere, SessionThere, Untold,
    },
    destination::Listener,
    flows::FlowsReply,
};
use guard_signed::{Document as _, Question, visible::visible_again};
use jiff::Timestamp;
use proptest::prelude::*;
use serde_json::json;

use super::{Assets, Frame, Tab, central, lists, log, login, question, questions};
use crate::{audit_log::Day, central::mirror::MirroredMachine, files::Identity, scope::Scope};

/// The tags of a page with the names of their attributes, and values left out; `Err` where it is not as maud writes pages.
fn skeleton(page: &str) -> Result<Vec<String>, String> {
    let mut tags = Vec::new();
    let mut rest = page;
    while let Some((text, tag)) = rest.split_once('<') {
        if text.contains('>') {
            return Err(format!("> in {text:?}"));
        }
        let mut shown = String::new();
        let (mut in_value, mut end) = (false, None);
        for (at, c) in tag.char_indices() {
            match (c, in_value) {
                ('"', _) => in_value = !in_value,
                ('>', false) => {
                    end = Some(at);
                    break;
                }
                ('<', _) => return Err(format!("< in a tag: {tag:.80}")),
                (_, true) => {}
                (c, false) => shown.push(c),
            }
        }
        tags.push(shown);
        rest = &tag[end.ok_or("a tag without an end")? + 1..];
    }
    Ok(tags)
}

/// A request all of whose texts are `text`.
fn request(text: &str, is_http: bool) -> Request {
    let t = || text.to_owned();
    let now = Timestamp::UNIX_EPOCH;
    Request {
        id: "r1".to_owned(),
        session: t(),
        policy: t(),
        user: t(),
        pid: Some(1),
        comm: Some(t()),
        exe: Some(t()),
        command: vec![t(), t()],
        destination: Endpoint {
            address: t(),
            port: Some(1),
            protocol: t(),
            host: Some(t()),
        },
        rule: Some(t()),
        reason: Some(t()),
        verdict: t(),
        chain: vec![],
        held: true,
        asked_at: now,
        last_at: now,
        waits_until: Some(now),
        count: 2,
        programs: vec![t()],
        warnings: vec![t()],
        http: is_http.then(|| HttpRequest {
            method: t(),
            scheme: t(),
            path: t(),
            host: Some(t()),
            bytes: Some(1),
            body_preview: Some(format!("x{text}")),
            body_form: Some(t()),
            headers: vec![t()],
            kind: t(),
            warnings: vec![t()],
            digest: Some(t()),
        }),
        question: None,
        named: None,
        opens_name: false,
        note: Some(t()),
        burst: (!is_http).then(|| Burst {
            prefix: t(),
            addresses: vec![t()],
            count: 3,
        }),
        offers: vec![],
        listener: Some(Listener {
            pid: Some(1),
            program: Some(t()),
            command: vec![t()],
            forwards: true,
        }),
        code: None,
        own_policy: None,
        alike: None,
        beside: vec![],
    }
}

fn asked(text: &str) -> Asked {
    let question = Question {
        asked_at: 1,
        boot: text.to_owned(),
        code_by: Some(text.to_owned()),
        expires_at: 2,
        kind: "http".to_owned(),
        machine: "m".to_owned(),
        nonce: "n".to_owned(),
        offers: vec![
            "for=900".to_owned(),
            "requests=1".to_owned(),
            format!("path={text}"),
        ],
        policy: text.to_owned(),
        request: "r1".to_owned(),
        rule: Some(text.to_owned()),
        session: text.to_owned(),
        shown_whole: true,
        shows: vec![text.to_owned()],
        user: text.to_owned(),
        v: 1,
    };
    let bytes = question.to_bytes().unwrap();
    Asked {
        request: "r1".to_owned(),
        hash: Question::hash(&bytes),
        question: String::from_utf8(bytes).unwrap(),
    }
}

fn approver(text: &str) -> ApproverShown {
    ApproverShown {
        name: text.to_owned(),
        answers_for: vec![text.to_owned()],
        policies: vec![text.to_owned()],
        max_for: Some(60.0),
        keys: vec![KeyShown {
            id: text.to_owned(),
            kind: "passkey".to_owned(),
            fingerprint: text.to_owned(),
            fido: false,
            public_key: text.to_owned(),
            synced: Some(true),
        }],
    }
}

/// All pages, with that text wherever there may be any.
fn pages(text: &str) -> Vec<String> {
    let t = || text.to_owned();
    let (assets, now) = (Assets::new(), Timestamp::UNIX_EPOCH);
    let frame = Frame {
        assets: &assets,
        tab: Some(Tab::Questions),
    };
    let (asked, people) = (asked(text), [approver(text)]);
    let failure = Failure {
        what: t(),
        why: t(),
        fix: t(),
    };
    let asking = |request, asked| question::Asking {
        request,
        asked,
        approvers: &people,
        by: text,
        machine: "m",
    };
    let scope = &Scope::of_person(&people[0]);
    let [http, connection] = [true, false].map(|is_http| request(text, is_http));
    let session = Session {
        id: t(),
        name: t(),
        policy: t(),
        user: t(),
        uid: 1,
        cgroup: t().into(),
        pid: None,
        command: vec![t()],
        started_at: now,
        command_ended_at: Some(now),
        left: vec![],
        parent: Some(t()),
        observed: true,
        appeared: 0,
        all_asked: false,
        policy_file: None,
        policy_sha256: None,
    };
    let hole = Hole {
        id: t(),
        session: t(),
        destination: t(),
        ports: Some(t()),
        opened_by: Some(t()),
        reason: Some(t()),
        opened_at: Some(now),
        expires_at: now,
        connections_left: Some(1),
        bytes_left: Some(1),
        read_only: true,
        http: Some(HttpHole {
            host: Some(t()),
            method: Some(t()),
            path: Some(t()),
            requests_left: Some(1),
            digest: None,
            sql: false,
        }),
        addresses: vec![t()],
        shut_by: Some(t()),
    };
    let flow = flow(text);
    let flows = FlowsReply {
        flows: vec![flow.clone()],
        warnings: vec![t()],
        ..FlowsReply::default()
    };
    let records = ["denied", "answered", "request", "hole-open", "http"].map(|kind| {
        let record = json!({
            "at": "1970-01-01T00:00:00Z", "kind": kind, "session": text, "destination": {"address": text, "host": text, "port": 1},
            "comm": text, "command": [text], "rule": text, "by": text, "why": text, "reason": text, "request": "r1",
            "http": {"method": text, "path": text},
        });
        serde_json::from_value::<LogRecord>(record).unwrap()
    });
    let day = Day {
        records: records.into_iter().map(Rc::new).collect(),
        ..Day::default()
    };
    let all = [
        questions::page(
            &frame,
            &[http.clone(), connection.clone()],
            scope,
            "m",
            None,
        ),
        questions::page(
            &frame,
            &[],
            scope,
            "m",
            Some(&log::glance(&day, std::slice::from_ref(&flow), None)),
        ),
        question::page(&frame, &asking(&http, Ok(&asked))),
        question::page(&frame, &asking(&connection, Err(&failure))),
        question::over(&frame, "r1", &day),
        lists::sessions(&frame, &[session], scope),
        lists::holes(&frame, &[hole], scope),
        lists::flows(&frame, &flows, Some(text), scope),
        lists::approvers(&frame, &people, None),
        log::page(&frame, &day, &[flow], Some(text)),
        login::enrol(&frame, text),
        login::link(&frame, text),
        login::choose(&frame, text, &[t()]),
        login::again(&frame, text),
        super::refused(
            &frame,
            &guard_courier::Refusal {
                name: None,
                failure,
            },
        ),
    ];
    let fleet = of_machines(&frame, text);
    let all = all.into_iter().chain(fleet);
    all.map(maud::Markup::into_string).collect()
}

fn flow(text: &str) -> Flow {
    let t = || text.to_owned();
    let now = Timestamp::UNIX_EPOCH;
    Flow {
        session: t(),
        host: Some(t()),
        names: vec![t()],
        address: t(),
        protocol: t(),
        port: Some(1),
        program: Some(t()),
        first_at: now,
        last_at: now,
        connections: 1,
        reads: None,
        bytes_sent: Some(1),
        bytes_received: None,
        verdict: t(),
        rule: Some(t()),
    }
}

/// What a machine says that it has reached.
fn reached_there(text: &str, hours: usize) -> ReachedThere {
    ReachedThere {
        at: Timestamp::UNIX_EPOCH,
        flows: vec![flow(text)],
        left_out: 7,
        warnings: vec![text.to_owned()],
        hours: (hours > 0).then(|| vec![most(); hours]),
        is_reading: true,
        late: (hours > 0).then_some(Timestamp::UNIX_EPOCH),
    }
}

/// More than can be added up.
fn most() -> Hour {
    Hour {
        reached: u64::MAX,
        asked: u64::MAX,
        stopped: 0,
    }
}

#[test]
fn a_machine_counts_as_it_likes_and_its_page_is_as_others_are() {
    let assets = Assets::new();
    let frame = Frame {
        assets: &assets,
        tab: Some(Tab::Machines),
    };
    let seen = MirroredMachine::of(HeardMachine {
        machine: "m-1".to_owned(),
        ..HeardMachine::default()
    });
    let shown = |there: &ReachedThere| central::reached(&frame, &seen, there).into_string();
    let page = shown(&reached_there("confirm", 24));
    for part in [
        &*format!("<b>{}</b> newly reached", u64::MAX),
        "As a table (UTC)",
        "class=\"verdict confirm\"",
        "7 more, the older ones",
        "the log is being read",
        "href=\"/machines/m-1\"",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("/flows?session="), "{page}");
    // Of a day that is none there is no chart, nor a class that the style does not know.
    for hours in [0, 23, 25] {
        let page = shown(&reached_there("sr", hours));
        assert!(!page.contains("<svg") && page.contains("data-reading"));
        assert!(page.contains("class=\"verdict \">sr<"), "{page}");
    }
    // Where the log is not being read there is nothing to load again for.
    for hours in [0, 24] {
        let there = ReachedThere {
            is_reading: false,
            late: None,
            ..reached_there("sr", hours)
        };
        let page = shown(&there);
        assert!(!page.contains("data-reading") && !page.contains("being read"));
        let is_untold = page.contains("does not tell what is in its log");
        assert_eq!(
            (page.contains("<svg"), is_untold),
            (hours == 24, hours == 0)
        );
    }
}

#[test]
fn what_a_program_calls_itself_stands_in_quotes() {
    let assets = Assets::new();
    let frame = Frame {
        assets: &assets,
        tab: None,
    };
    let failure = Failure {
        what: String::new(),
        why: String::new(),
        fix: String::new(),
    };
    let people = [approver("bob")];
    let scope = Scope::of_person(&people[0]);
    let pages = |exe: Option<&str>| {
        let request = Request {
            comm: Some("pg_dump".to_owned()),
            exe: exe.map(str::to_owned),
            ..request("x", false)
        };
        let asking = question::Asking {
            request: &request,
            asked: Err(&failure),
            approvers: &people,
            by: "bob",
            machine: "m",
        };
        let one = question::page(&frame, &asking).into_string();
        let all = questions::page(&frame, std::slice::from_ref(&request), &scope, "m", None);
        [one, all.into_string()]
    };
    for page in pages(Some("/usr/bin/pg_dump")) {
        assert!(
            page.contains(">pg_dump<") || page.contains(">pg_dump in x"),
            "{page}"
        );
    }
    for page in pages(None) {
        assert!(page.contains(">&quot;pg_dump&quot;"), "{page}");
    }
}

/// Somebody with a passkey.
fn person_for_dev(name: &str) -> ApproverShown {
    let key = KeyShown {
        id: "aWQ".to_owned(),
        kind: "passkey".to_owned(),
        fingerprint: name.to_owned(),
        fido: true,
        public_key: "MCowBQYDK2VwAyEAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        synced: None,
    };
    ApproverShown {
        answers_for: vec!["dev".to_owned()],
        keys: vec![key],
        ..approver(name)
    }
}

/// Those of many machines, which say `text` of themselves.
fn of_machines(frame: &Frame<'_>, text: &str) -> Vec<maud::Markup> {
    let t = || text.to_owned();
    let mut asked = asked(text);
    let mut question = Question::from_bytes(asked.question.as_bytes()).unwrap();
    question.user = "dev".to_owned();
    question.shows = [
        format!("{text} wants {text} {text} ({text})"),
        format!("beware {text}"),
        t(),
    ]
    .into();
    asked.question = String::from_utf8(question.to_bytes().unwrap()).unwrap();
    let person = person_for_dev(text);
    let state = MachineState {
        version: t(),
        enforcing: false,
        problem: Some(t()),
        sessions: 1,
        holes: 1,
        serial: Some(1),
        policies_problem: Some(t()),
    };
    let over = Over {
        request: "r1".to_owned(),
        question: asked.hash.clone(),
        answer: "yes".to_owned(),
        by: t(),
        approvals: 1,
        wanted: 2,
        holes: 1,
        warnings: vec![t()],
        at: Timestamp::UNIX_EPOCH,
    };
    let taken = Taken {
        request: t(),
        answer: "closed".to_owned(),
        by: t(),
        approvals: 0,
        wanted: 0,
        holes: vec![],
        warnings: vec![t()],
    };
    let lists = MirroredMachine::of(HeardMachine {
        approvers: vec![person.clone()],
        ..HeardMachine::default()
    });
    let told = HeardMachine {
        group: t(),
        machine: "m".to_owned(),
        // Its key is revoked, and taken all the same.
        revoked: vec![lists.approvers[0].keys[0].fingerprint.clone()],
        away_since: None,
        state: Some(state),
        approvers: vec![person],
        approvers_left_out: 1,
        origins: None,
        sessions: Some(vec![session_there(text, "dev")]),
        holes: Some(vec![hole_there(text, "dev")]),
        left_out: vec![Untold {
            user: t(),
            sessions: 1,
            holes: 2,
        }],
        questions: vec![asked.question],
        asks_more: true,
        over: vec![],
    };
    let away = HeardMachine {
        away_since: Some(Timestamp::UNIX_EPOCH),
        origins: Some(vec![t()]),
        ..told.clone()
    };
    let machines = [told, away].map(|told| Rc::new(MirroredMachine::of(told)));
    let identity = Identity {
        name: t(),
        keys: vec![machines[0].approvers[0].keys[0].fingerprint.clone()],
        by_key: false,
    };
    let nobody = Identity {
        name: t(),
        keys: vec![],
        by_key: false,
    };
    let place = |seen| central::AskedQuestion::all(seen, &identity)[0];
    vec![
        central::questions(frame, &machines, &identity),
        central::questions(frame, &machines, &nobody),
        central::machines(frame, &machines, &identity, "https://a"),
        central::machines(frame, &machines, &nobody, "https://a"),
        central::one_machine(frame, &machines[0], &identity, "https://a"),
        central::one_machine(frame, &machines[1], &identity, "https://a"),
        central::question(frame, place(&machines[..1]), &identity, "https://a"),
        central::question(frame, place(&machines[1..]), &identity, "https://a"),
        central::over(frame, &machines[0], text, Some(&over)),
        central::over(frame, &machines[0], text, None),
        central::closed(frame, &machines[0], text, &taken),
        central::no_hole(frame, &machines[0], text),
        central::reached(frame, &machines[0], &reached_there(text, 24)),
        central::reached(frame, &machines[0], &reached_there(text, 0)),
        central::no_machine(frame, text),
        central::no_question(frame, text),
        central::enrol(frame),
    ]
}

fn session_there(id: &str, user: &str) -> SessionThere {
    SessionThere {
        id: id.to_owned(),
        name: id.to_owned(),
        policy: id.to_owned(),
        user: user.to_owned(),
        started_at: Timestamp::UNIX_EPOCH,
    }
}

fn hole_there(id: &str, user: &str) -> HoleThere {
    HoleThere {
        id: id.to_owned(),
        session: id.to_owned(),
        user: user.to_owned(),
        destination: id.to_owned(),
        ports: Some(id.to_owned()),
        opened_by: Some(id.to_owned()),
        expires_at: Timestamp::UNIX_EPOCH,
        is_narrow: true,
        shut_by: Some(id.to_owned()),
    }
}

#[test]
fn of_a_machine_somebody_sees_what_is_of_those_for_whom_they_answer_there() {
    let assets = Assets::new();
    let frame = Frame {
        assets: &assets,
        tab: Some(Tab::Machines),
    };
    let other = ApproverShown {
        answers_for: vec!["prod".to_owned()],
        ..approver("bob")
    };
    let seen = MirroredMachine::of(HeardMachine {
        machine: "m-1".to_owned(),
        approvers: vec![person_for_dev("alice"), other],
        sessions: Some(vec![
            session_there("theirs", "dev"),
            session_there("others", "prod"),
        ]),
        holes: Some(vec![hole_there("h7", "dev"), hole_there("h8", "prod")]),
        ..HeardMachine::default()
    });
    let alice = Identity {
        name: "alice".to_owned(),
        keys: vec![seen.approvers[0].keys[0].fingerprint.clone()],
        by_key: false,
    };
    let page = central::one_machine(&frame, &seen, &alice, "https://a").into_string();
    for is_there in [
        "theirs",
        "Lets nothing through now: h7 denies it",
        "action=\"/machines/m-1/holes/h7/close\"",
        &alice.keys[0],
    ] {
        assert!(page.contains(is_there), "{page}");
    }
    for is_not in ["others", "h8", "bob"] {
        assert!(!page.contains(is_not), "{page}");
    }
}

const KNOWN: [&str; 12] = [
    "</script><script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'><svg/onload=alert(1)>",
    "javascript:alert(1)",
    "\" onmouseover=\"alert(1)",
    "</textarea></title></style><b>",
    "<!--",
    "]]>",
    "&lt;script&gt;",
    "\u{202e}txt.exe\u{200b}\u{0}\r\n",
    "` autofocus onfocus=alert(1)//",
    "{{7*7}}${7*7}",
];

fn hostile() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(&KNOWN[..]).prop_map(str::to_owned),
        "[<>\"'&/=` a-z\\n\\x00-\\x1f\u{202e}]{1,60}",
        any::<String>().prop_map(|text| format!("x{text}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_an_agent_writes_stays_text(text in hostile()) {
        for (page, plain) in pages(&text).iter().zip(pages("plain")) {
            let expected = skeleton(&plain).map_err(TestCaseError::fail)?;
            prop_assert_eq!(skeleton(page).map_err(TestCaseError::fail)?, expected);
        }
    }

    #[test]
    fn nothing_in_a_question_hides(text in any::<String>()) {
        let line = questions::QuestionLine::of(&request(&text, true), "m");
        let shown = [line.verb, line.what, line.to, line.who, line.beware.unwrap_or_default()];
        prop_assert!(shown.iter().all(|text| visible_again(text, usize::MAX) == *text));
    }
}

#[test]
fn letters_beyond_ascii_stand_behind_the_name() {
    const NAME: &str = "xn--bcher-kva.example";
    let of_questions = |text: &str| -> Vec<_> {
        let is_one = |page: &String| page.contains("data-page=\"question\"");
        pages(text).into_iter().filter(is_one).collect()
    };
    let all = of_questions(NAME);
    assert_eq!(all.len(), 4, "a machine's own, and those of many machines");
    for page in all {
        let (before, _) = page.split_once("bücher.example").unwrap();
        assert!(before.contains(NAME), "{page}");
    }
    let plain = of_questions("books.example");
    assert!(plain.iter().all(|page| !page.contains("in letters")));
}

/// Of 60 KiB a phone has all in a second, also by 3G; and what signs is short enough to be read.
#[test]
fn what_a_phone_loads_is_small() {
    let assets = [super::STYLE, super::SCRIPT, super::KEYS, super::ICON].map(<[u8]>::len);
    let longest = pages("plain").iter().map(String::len).max();
    let all = assets.iter().sum::<usize>() + longest.unwrap_or_default();
    assert!(all <= 60 * 1024, "{all} bytes");
    let script = String::from_utf8_lossy(super::SCRIPT);
    assert!(script.lines().count() <= 420);
    let keys = String::from_utf8_lossy(super::KEYS);
    assert!(!keys.contains("credentials"), "what is read signs alone");
}

#[test]
fn the_oracle_sees_what_leaves_its_place() {
    let fine = "<p class=\"x\">a</p>";
    assert_eq!(skeleton(fine).unwrap(), ["p class=", "/p"]);
    for other in [
        "<p class=\"x\">a<b></b></p>",
        "<p class=\"\" onclick=\"x\">a</p>",
        "<p class=\"x\">></p>",
        "<p class=\"<\">a</p>",
    ] {
        assert_ne!(skeleton(other).ok(), skeleton(fine).ok(), "{other}");
    }
}

#[test]
fn a_question_shows_what_is_dangerous_and_what_a_yes_signs() {
    let assets = Assets::new();
    let frame = Frame {
        assets: &assets,
        tab: Some(Tab::Questions),
    };
    let request = Request {
        user: "dev".to_owned(),
        ..request("plain", true)
    };
    let (asked, people) = (
        asked("plain"),
        [ApproverShown {
            answers_for: vec!["dev".to_owned()],
            ..approver("alice")
        }],
    );
    let asking = question::Asking {
        request: &request,
        asked: Ok(&asked),
        approvers: &people,
        by: "alice",
        machine: "m",
    };
    let page = question::page(&frame, &asking).into_string();
    let first = page
        .find("value=\"requests=1\" checked required")
        .expect("the least is chosen");
    assert!(first < page.find("value=\"for=900\"").unwrap());
    for part in [
        "name=\"code\"",
        "id=\"shows\"",
        "data-question=",
        "class=\"no\"",
        "aria-describedby=\"why\"",
        "id=\"why\"",
        "Yes, sign with passkey",
        "/q/m/r1/no",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    let nobody = question::Asking {
        approvers: &[],
        ..asking
    };
    let page = question::page(&frame, &nobody).into_string();
    assert!(
        !page.contains("data-question") && page.contains("class=\"no\""),
        "a no is always there"
    );
}

#[test]
fn nothing_wider_than_once_is_chosen_beforehand() {
    let people = [ApproverShown {
        answers_for: vec!["dev".to_owned()],
        ..approver("alice")
    }];
    let request = Request {
        user: "dev".to_owned(),
        ..request("plain", false)
    };
    let shown = |offers: &[&str]| {
        let mut asked = asked("plain");
        let mut question = Question::from_bytes(asked.question.as_bytes()).unwrap();
        question.offers = offers.iter().map(|&offer| offer.to_owned()).collect();
        asked.question = String::from_utf8(question.to_bytes().unwrap()).unwrap();
        let asking = question::Asking {
            request: &request,
            asked: Ok(&asked),
            approvers: &people,
            by: "alice",
            machine: "m",
        };
        let assets = Assets::new();
        let frame = Frame {
            assets: &assets,
            tab: Some(Tab::Questions),
        };
        question::page(&frame, &asking).into_string()
    };
    let page = shown(&["for=900", "connections=1", "scope=prefix"]);
    assert!(page.contains("value=\"connections=1\" checked required>"));
    assert_eq!(page.matches("\" checked").count(), 1, "{page}");
    for wide in [
        &["for=900"][..],
        &["scope=prefix"],
        &["connections=10", "for=60"],
        &["read-only"],
    ] {
        let page = shown(wide);
        assert!(!page.contains("\" checked"), "{wide:?}: {page}");
        for offer in wide {
            let choice = format!("name=\"offer\" value=\"{offer}\" required>");
            assert!(page.contains(&choice), "{choice}: {page}");
        }
    }
}

#[test]
fn an_approver_for_nobody_is_told_so() {
    let assets = Assets::new();
    let frame = Frame {
        assets: &assets,
        tab: Some(Tab::Sessions),
    };
    let shown = |user: &str| {
        let person = ApproverShown {
            answers_for: vec![user.to_owned()],
            ..approver("alice")
        };
        lists::sessions(&frame, &[], &Scope::of_person(&person)).into_string()
    };
    let nobody = shown("no-such-user");
    assert!(!nobody.contains("Nothing of theirs runs"), "{nobody}");
    for said in [
        "alice answers for nobody here",
        "no user no-such-user on this machine",
        "sudo guard approver invite alice --answers-for USER",
    ] {
        assert!(nobody.contains(said), "{said}: {nobody}");
    }
    let dev = shown("61234");
    for said in [
        "Nothing of theirs runs",
        "sessions of 61234, for whom alice answers",
        "sudo guard approver invite alice --answers-for 61234 --answers-for USER",
    ] {
        assert!(dev.contains(said), "{said}: {dev}");
    }
}
