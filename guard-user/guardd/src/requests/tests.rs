//! Of requests, bursts and answers.

use std::{convert::Infallible, net::IpAddr, rc::Rc};

use guard_common::{Event, PolicyId, Protocol, Verdict};
use guard_policy::PortSpec;
use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::policies::{self, library::PolicyText};

fn key(session: u32, last: u8) -> RequestKey {
    RequestKey::new(
        SessionId(session),
        IpAddr::from([192, 0, 2, last]).into(),
        Protocol::TCP,
        443,
    )
}

fn write(path: &str, alone: Option<u64>) -> RequestKey {
    let request = proto::HttpRequest {
        method: "POST".to_owned(),
        path: path.to_owned(),
        ..proto::HttpRequest::default()
    };
    let plain = true;
    let http = Some(Rc::new(HttpRequestKey {
        request,
        alone,
        plain,
        series: false,
        matter: None,
    }));
    RequestKey { http, ..key(1, 1) }
}

pub(crate) fn shown(id: u32) -> proto::Request {
    proto::Request {
        id: format!("r{id}"),
        session: "s1".to_owned(),
        policy: "homelab".to_owned(),
        user: "1000".to_owned(),
        pid: None,
        comm: None,
        exe: None,
        command: vec![],
        destination: proto::Endpoint {
            address: "192.0.2.1".to_owned(),
            port: Some(443),
            protocol: "tcp".to_owned(),
            host: None,
        },
        rule: None,
        reason: None,
        verdict: "confirm".to_owned(),
        chain: vec![],
        held: false,
        asked_at: Timestamp::UNIX_EPOCH,
        last_at: Timestamp::UNIX_EPOCH,
        waits_until: None,
        count: 1,
        programs: vec![],
        warnings: vec![],
        http: None,
        question: None,
        named: None,
        opens_name: false,
        note: None,
        burst: None,
        listener: None,
        code: None,
        own_policy: None,
        alike: None,
        beside: vec![],
        offers: vec![],
    }
}

fn note(table: &mut Requests, key: RequestKey, now: u64, id: u32) -> Noted {
    // From 100 on they are inside the first.
    let share = match key.session.0 {
        100.. => SessionId(1),
        session => SessionId(session),
    };
    let owner = Account::inside(1000, share);
    let Ok(noted) = table.note(key, owner, BootTime(now), || Ok::<_, Infallible>(shown(id)));
    noted
}

#[test]
fn the_same_request_is_asked_once() {
    let mut table = Requests::without_files(10);
    let asked = Noted::New("r1".to_owned());
    assert_eq!(note(&mut table, key(1, 1), 1, 1), asked);
    let again = Noted::Again("r1".to_owned());
    assert_eq!(note(&mut table, key(1, 1), 2, 2), again);
    let other = Noted::New("r2".to_owned());
    assert_eq!(note(&mut table, key(2, 1), 2, 2), other);
    assert!(table.take("r1").is_some());
    let anew = Noted::New("r3".to_owned());
    assert_eq!(note(&mut table, key(1, 1), 3, 3), anew);
}

/// A policy of one rule, in the slot of the session s1.
fn under(action: Verdict) -> Policies {
    let text = "version = 1\ndefault = \"allow\"\n[[rule]]\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n";
    let source = PolicyText::brought(None, text.to_owned());
    let mut read = policies::parse(&source).unwrap();
    read.policy.rules[0].action = action;
    let environment = guard_policy::Environment::default();
    let prepared = policies::compile(source, read, &environment).unwrap();
    let mut policies = policies::none();
    policies.put(PolicyId(1), prepared.into());
    policies
}

#[test]
fn what_was_shown_to_open_reads_alone_is_asked_anew_before_it_opens_all() {
    use Verdict::{Allow, Confirm, ReadOnly};
    let sessions = crate::sessions::none_but(&[(1, None)]);
    let is_dropped = |shown_as: Verdict, inside: Verdict, now: Verdict| {
        let mut table = Requests::without_files(10);
        let asked = proto::Request {
            verdict: shown_as.as_str().to_owned(),
            chain: vec![proto::requests::ChainLink {
                session: "s1".to_owned(),
                policy: "homelab".to_owned(),
                rule: None,
                verdict: inside.as_str().to_owned(),
                reason: None,
            }],
            ..shown(1)
        };
        let owner = Account::inside(1000, SessionId(1));
        let Ok(_) = table.note(key(1, 1), owner, BootTime(1), || Ok::<_, Infallible>(asked));
        table.settle_by_policies(&sessions, &under(now));
        table.pending().is_empty()
    };
    assert!(is_dropped(ReadOnly, ReadOnly, Confirm));
    assert!(is_dropped(Confirm, ReadOnly, Confirm), "another policy's");
    for (asked, now) in [
        (ReadOnly, ReadOnly),
        (Confirm, ReadOnly),
        (Confirm, Confirm),
    ] {
        assert!(!is_dropped(asked, asked, now), "{asked:?} {now:?}");
    }
    assert!(is_dropped(Confirm, Confirm, Allow));
}

#[test]
fn a_no_to_the_outermost_session_is_one_to_all_inside_it() {
    let sessions = crate::sessions::none_but(&[(1, None), (2, Some(1)), (3, None)]);
    let [outer, inner] = [1, 2].map(|id| sessions.live(SessionId(id)).unwrap());
    let mut table = Requests::without_files(10);
    table.refuse(key(1, 1), None, shown(1), BootTime(u64::MAX));
    for (session, last, is_refused) in [(1, 1, true), (2, 1, true), (3, 1, false), (2, 2, false)] {
        let key = key(session, last);
        assert_eq!(
            table.is_refused_to(&sessions, &key),
            is_refused,
            "{session} {last}"
        );
    }
    let at = BootTime(1);
    assert!(table.is_refused_around(inner, &key(2, 1), at));
    assert!(
        !table.is_refused_around(outer, &key(1, 1), at),
        "it is its own"
    );
}

#[test]
fn what_a_policy_settles_is_dropped_and_written_down() {
    let sessions = crate::sessions::none_but(&[(1, None)]);
    let (mut recorder, _dir) = crate::record::recorder();
    let mut table = Requests::without_files(10);
    note(&mut table, key(1, 1), 1, 1);
    // What still asks stays; of what is settled there is one record.
    for (now, left, written) in [
        (Verdict::Confirm, 1, 0),
        (Verdict::Deny, 0, 1),
        (Verdict::Deny, 0, 1),
    ] {
        table.settle(&sessions, &under(now), &mut recorder);
        assert_eq!(table.pending().len(), left, "{now:?}");
        let log = std::fs::read_to_string(recorder.audit().path()).unwrap_or_default();
        assert_eq!(log.lines().count(), written, "{log}");
    }
}

#[test]
fn what_decides_about_an_attempt_is_known_unless_policies_allow_it() {
    let sessions = crate::sessions::none_but(&[(1, None)]);
    let known = |now: Verdict, session: u32| {
        let event = Event {
            session: SessionId(session),
            destination: IpAddr::from([192, 0, 2, 1]).into(),
            protocol: Protocol::TCP,
            port: 443,
            verdict: now as u8,
            ..Event::default()
        };
        let mut table = Requests::without_files(10);
        table.note_decided(&sessions, &under(now), &event);
        let about = table.decided_about(&decided::counted_as(&event));
        about.map(|about| about.verdict)
    };
    for now in [Verdict::Confirm, Verdict::Deny] {
        assert_eq!(known(now, 1), Some(now));
    }
    assert_eq!(known(Verdict::Allow, 1), None);
    assert_eq!(known(Verdict::Deny, 9), None, "there is no such session");
}

#[test]
fn what_asks_by_now_is_shown_and_not_what_asked_first() {
    let by = |pid, words: &[&str]| {
        let words: Vec<_> = words.iter().map(|word| (*word).to_owned()).collect();
        AskingProgram::of(&proto::Request {
            pid,
            comm: words.first().cloned(),
            command: words,
            ..shown(1)
        })
    };
    let mut table = Requests::without_files(10);
    note(&mut table, key(1, 1), 1, 1);
    let tried = |table: &mut Requests, asker| {
        table.note_attempt("r1", asker, None, Vec::new());
        table.version()
    };
    let before = tried(&mut table, by(Some(7), &["curl", "http://192.0.2.1/"]));
    let again = tried(&mut table, by(Some(8), &["curl", "http://192.0.2.1/"]));
    assert_eq!(again, before, "it looks the same");
    tried(&mut table, by(Some(9), &["python3", "steal.py"]));
    assert!(table.version() > before);
    let now = &table.get("r1").unwrap().shown;
    assert_eq!((now.pid, now.comm.as_deref()), (Some(9), Some("python3")));
    assert_eq!(now.command, ["python3", "steal.py"]);
    // Of one that is gone nothing is known.
    tried(&mut table, by(None, &[]));
    assert_eq!(table.get("r1").unwrap().shown.pid, Some(9));
}

#[test]
fn each_http_request_is_a_request_of_its_own() {
    let mut table = Requests::without_files(10);
    let asked = [
        key(1, 1),
        write("/a", None),
        write("/b", None),
        write("/a", Some(1)),
    ];
    for (id, key) in (1..).zip(asked) {
        let new = Noted::New(format!("r{id}"));
        assert_eq!(note(&mut table, key, 1, id), new);
    }
    let again = Noted::Again("r2".to_owned());
    assert_eq!(note(&mut table, write("/a", None), 2, 9), again);
    assert_eq!(table.get("r2").unwrap().tried, 2);
    let refused = table.take("r4").unwrap();
    table.note_no(refused.key, refused.shown, BootTime(100));
    assert_eq!(
        note(&mut table, write("/a", Some(2)), 3, 9),
        Noted::SaidNo,
        "it looks just like what was refused"
    );
    assert!(!table.is_refused(&write("/b", None), BootTime(3)));
}

#[test]
fn whoever_waits_is_said_to_until_nobody_does() {
    let mut table = Requests::without_files(10);
    note(&mut table, write("/a", None), 1, 1);
    let before = table.version();
    table.show_held_until("r1", Some(Timestamp::UNIX_EPOCH));
    assert!(table.get("r1").unwrap().shown.held);
    assert_ne!(table.version(), before);
    assert!(!table.to_keep()[0].1.shown.held);
    table.show_held_until("r1", None);
    assert!(!table.get("r1").unwrap().shown.held);
}

#[test]
fn a_no_at_any_port_of_a_range_is_found() {
    let mut table = Requests::without_files(10);
    let no = key(1, 1);
    let (session, to, at) = (no.session, no.destination, no.port);
    let other = key(1, 2).destination;
    table.note_no(no, shown(9), BootTime(100));
    let refused = |to, low, high, now| {
        let ports = PortSpec {
            protocol: Protocol::TCP,
            low,
            high,
        };
        table.has_refused_at(session, to, &ports, BootTime(now))
    };
    assert!(refused(to, at, at, 99));
    assert!(refused(to, 1, at, 99) && refused(to, at, u16::MAX, 99));
    assert!(!refused(to, at + 1, u16::MAX, 99) && !refused(to, 1, at - 1, 99));
    assert!(!refused(other, 1, u16::MAX, 99));
    assert!(!refused(to, 1, u16::MAX, 100));
    let all = PortSpec::all(Protocol::ANY);
    assert!(table.has_refused_at(session, to, &all, BootTime(99)));
    assert!(!table.has_refused_at(SessionId(7), to, &all, BootTime(99)));
}

#[test]
fn a_no_is_remembered_for_its_time() {
    let mut table = Requests::without_files(10);
    table.note_no(key(1, 1), shown(9), BootTime(100));
    assert_eq!(note(&mut table, key(1, 1), 99, 1), Noted::SaidNo);
    assert!(matches!(note(&mut table, key(1, 1), 100, 1), Noted::New(_)));
}

#[test]
fn two_noes_to_one_matter_are_a_no_to_all_of_it() {
    let with = |digest: &str, matter: &str| {
        let one = write("/a", None);
        let http = one.http.as_deref().unwrap();
        let http = HttpRequestKey {
            request: proto::HttpRequest {
                digest: Some(digest.to_owned()),
                ..http.request.clone()
            },
            matter: Some(matter.to_owned()),
            ..http.clone()
        };
        RequestKey {
            http: Some(Rc::new(http)),
            ..one
        }
    };
    let mut table = Requests::without_files(10);
    let now = BootTime(1);
    for (id, digest) in (1..).zip(["a", "b", "c"]) {
        note(&mut table, with(digest, "m"), 0, id);
    }
    note(&mut table, with("d", "n"), 0, 4);
    let beside = |table: &Requests, asked: &Pending| {
        let beside = table.refused_with(asked, now).into_iter();
        beside.map(|one| one.shown.id).collect::<Vec<_>>()
    };
    let first = table.take("r1").unwrap();
    assert_eq!(beside(&table, &first), [""; 0]);
    table.note_no(first.key, first.shown, BootTime(100));
    assert!(table.is_refused(&with("a", "m"), now));
    assert!(!table.is_refused(&with("b", "m"), now));
    let second = table.get("r2").unwrap().clone();
    assert_eq!(beside(&table, &second), ["r3"]);
    table.note_no(second.key, second.shown, BootTime(50));
    assert!(table.is_refused(&with("e", "m"), now));
    assert!(!table.is_refused(&with("d", "n"), now));
    let elsewhere = with("e", "m").at(key(1, 2).destination);
    assert!(!table.is_refused(&elsewhere, now));
    assert_eq!(note(&mut table, with("e", "m"), 1, 5), Noted::SaidNo);
    assert!(
        !table.is_refused(&with("e", "m"), BootTime(50)),
        "one has ended"
    );
}

#[test]
fn no_refusal_goes_before_its_time_and_with_so_many_nothing_more_is_asked() {
    let mut table = Requests::without_files(10);
    for port in 0..256 {
        let key = RequestKey { port, ..key(1, 1) };
        table.note_no(key, shown(u32::from(port)), BootTime(100 + u64::from(port)));
    }
    let first = RequestKey {
        port: 0,
        ..key(1, 1)
    };
    assert_eq!(note(&mut table, key(1, 2), 1, 1), Noted::Full);
    assert_eq!(note(&mut table, first, 1, 1), Noted::SaidNo);
    // Of another session's it says nothing.
    assert_eq!(
        note(&mut table, key(2, 2), 1, 1),
        Noted::New("r1".to_owned())
    );
    assert_eq!(
        note(&mut table, key(1, 2), 100, 2),
        Noted::New("r2".to_owned())
    );
}

#[test]
fn what_waits_and_what_was_refused_is_kept_apart() {
    let mut table = Requests::without_files(10);
    note(&mut table, key(1, 1), 1, 1);
    note(&mut table, key(1, 2), 1, 2);
    let refused = table.take("r2").unwrap();
    table.note_no(refused.key, refused.shown, BootTime(100));
    let kept = table.to_keep();
    let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["r1", "no-r2"]);
    assert_eq!(kept[0].1.refused_until, None);
    assert_eq!(kept[1].1.refused_until, Some(100));
    assert_eq!(kept[1].1.key(), key(1, 2));
    table.expire(BootTime(100));
    assert_eq!(table.to_keep().len(), 1);
}

#[test]
fn what_nobody_tries_any_more_is_dropped() {
    let mut table = Requests::without_files(10);
    note(&mut table, key(1, 1), 0, 1);
    note(&mut table, key(1, 2), 5, 2);
    note(&mut table, key(1, 1), 9, 3);
    let age = MAX_AGE.as_nanos() as u64;
    let before = table.version();
    table.expire(BootTime(age));
    assert_eq!(table.version(), before);
    table.expire(BootTime(age + 6));
    assert_ne!(table.version(), before);
    assert_eq!(table.pending().len(), 1);
    assert!(table.get("r1").is_some());
}

#[test]
fn an_ended_session_leaves_nothing() {
    let mut table = Requests::without_files(10);
    note(&mut table, key(1, 1), 0, 1);
    table.note_no(key(1, 2), shown(9), BootTime(100));
    table.end_session(SessionId(1));
    assert!(table.pending().is_empty());
    assert_eq!(note(&mut table, key(1, 2), 1, 1), Noted::SaidNo);
    table.forget_answers(SessionId(1));
    assert!(matches!(note(&mut table, key(1, 2), 1, 1), Noted::New(_)));
}

#[test]
fn where_all_room_is_used_whoever_has_most_makes_some() {
    const ROOM: u8 = 8;
    let mut table = Requests::without_files(usize::from(ROOM));
    let new = |id: u32| Noted::New(format!("r{id}"));
    // The first, by way of those that are inside it.
    for last in 0..ROOM {
        let (id, session) = (u32::from(last), 100 + u32::from(last));
        assert_eq!(note(&mut table, key(session, last), id.into(), id), new(id));
    }
    assert_eq!(note(&mut table, key(200, 1), 90, 90), Noted::Full);
    // Others have as much of it, and no more.
    for id in 50..54 {
        assert_eq!(note(&mut table, key(2, id), 99, id.into()), new(id.into()));
    }
    assert_eq!(note(&mut table, key(2, 60), 99, 60), Noted::Full);
    let left: Vec<_> = table.pending().iter().map(|one| &*one.shown.id).collect();
    assert_eq!(left, ["r4", "r5", "r6", "r7", "r50", "r51", "r52", "r53"]);
    assert_eq!(note(&mut table, key(3, 1), 99, 61), new(61));
    // Also where somebody waits for the answers to all of them.
    let until = Some(Timestamp::MAX);
    let ids: Vec<_> = table
        .pending()
        .iter()
        .map(|one| one.shown.id.clone())
        .collect();
    for id in ids {
        table.show_held_until(&id, until);
    }
    assert_eq!(note(&mut table, key(4, 1), 99, 62), new(62));
}

/// Notes it, and gathers what is a burst then, as guardd does.
fn ask(table: &mut Requests, key: &RequestKey, now: u64, id: u32) -> Noted {
    let noted = note(table, key.clone(), now, id);
    if matches!(noted, Noted::New(_))
        && let Some(prefix) = table.burst_around(key, BootTime(now), is_one)
    {
        let gathered = table.gather(key, prefix).unwrap();
        return Noted::Again(gathered.request);
    }
    noted
}

/// The lower half of the neighbourhood is one decision, and so is the upper.
fn is_one(prefix: &Prefix) -> bool {
    prefix.length() > 96 + 24
}

#[test]
fn a_burst_is_one_request_and_a_no_to_it_is_for_all_of_it() {
    let mut table = Requests::without_files(100);
    for id in 1..=3 {
        let new = Noted::New(format!("r{id}"));
        assert_eq!(ask(&mut table, &key(1, id as u8), 1, id), new);
    }
    // Another session, another port, and what is asked after a while are no part of it.
    ask(&mut table, &key(2, 4), 1, 11);
    let other = RequestKey {
        port: 80,
        ..key(1, 4)
    };
    ask(&mut table, &other, 1, 12);
    table.show_held_until("r3", Some(Timestamp::UNIX_EPOCH));
    let joined = Noted::Again("r1".to_owned());
    assert_eq!(ask(&mut table, &key(1, 4), 2, 4), joined);
    assert_eq!(table.pending().len(), 3);
    assert_eq!(ask(&mut table, &key(1, 77), 3, 5), joined);
    assert_eq!(
        ask(&mut table, &key(1, 200), 3, 6),
        Noted::New("r6".to_owned())
    );
    for id in ["r1", "r2", "r3", "r4"] {
        assert_eq!(table.get(id).unwrap().shown.id, "r1");
    }
    let burst = table.get("r1").unwrap().shown.burst.clone().unwrap();
    assert_eq!((&*burst.prefix, burst.count), ("192.0.2.0/25", 5));
    assert!(table.get("r1").unwrap().shown.held, "one of them waits");
    assert_eq!(table.join(&key(1, 77)).as_deref(), Some("r1"));
    assert_eq!(table.get("r1").unwrap().burst.as_ref().unwrap().count(), 5);
    assert_eq!(table.join(&key(1, 78)).as_deref(), Some("r1"));
    assert_eq!(table.get("r1").unwrap().burst.as_ref().unwrap().count(), 6);
    let kept = table.to_keep();
    let kept = kept.iter().find(|(name, _)| name == "r1").unwrap();
    assert_eq!(kept.1.burst, table.get("r1").unwrap().burst);
    let taken = table.take("r3").unwrap();
    table.note_no_to_all(taken.key, taken.burst.unwrap(), taken.shown, BootTime(100));
    assert_eq!(ask(&mut table, &key(1, 99), 4, 7), Noted::SaidNo);
    assert!(table.is_refused(&key(1, 5), BootTime(99)));
    assert!(!table.is_refused(&key(1, 130), BootTime(99)));
    assert!(!table.is_refused(&key(1, 5), BootTime(100)));
    let kept = table.to_keep();
    assert!(
        kept.iter()
            .any(|(name, no)| name == "no-r1" && no.burst.is_some())
    );
    // A hole for one of them leaves the no to the others.
    let opened = key(1, 2);
    let session = SessionId(1);
    let lifted = table.lift_noes(session, session, |all| all.iter().all(|one| *one == opened));
    assert_eq!(lifted, [opened]);
    assert!(table.is_refused(&key(1, 5), BootTime(99)));
    table.lift_noes(session, session, |all| {
        all.iter().all(|one| one.session == SessionId(1))
    });
    assert!(!table.is_refused(&key(1, 5), BootTime(99)));
}

/// A no to a session inside is kept for the outermost one too (`State::keep_no`).
#[test]
fn a_yes_lifts_the_no_of_a_session_inside_wherever_it_is_kept() {
    let mut table = Requests::without_files(10);
    let inside = proto::Request {
        session: "s100".to_owned(),
        ..shown(1)
    };
    for session in [100, 1, 2] {
        table.note_no(key(session, 1), inside.clone(), BootTime(100));
    }
    let (inner, outermost) = (SessionId(100), SessionId(1));
    let is_open = |all: &[RequestKey]| all.iter().all(|one| *one == key(100, 1));
    let lifted = table.lift_noes(inner, outermost, is_open);
    assert_eq!(lifted.len(), 2, "{lifted:?}");
    for (session, is_refused) in [(100, false), (1, false), (2, true)] {
        let now = table.is_refused(&key(session, 1), BootTime(50));
        assert_eq!(now, is_refused, "{session}");
    }
    // What was said to the outermost session itself, or to another inside, holds for all inside it.
    let beside = proto::Request {
        session: "s101".to_owned(),
        ..shown(2)
    };
    for other in [shown(2), beside] {
        table.note_no(key(1, 1), other, BootTime(100));
        assert_eq!(table.lift_noes(inner, outermost, is_open), []);
        assert!(table.is_refused(&key(1, 1), BootTime(50)));
    }
}

#[test]
fn what_was_asked_long_ago_makes_no_burst() {
    let mut table = Requests::without_files(100);
    let window = bursts::WINDOW.as_nanos() as u64;
    for (id, at) in [(1, 0), (2, 0), (3, 10), (4, window + 1)] {
        let new = Noted::New(format!("r{id}"));
        assert_eq!(ask(&mut table, &key(1, id as u8), at, id), new);
    }
    let joined = Noted::Again("r1".to_owned());
    ask(&mut table, &key(1, 5), window + 9, 5);
    assert_eq!(ask(&mut table, &key(1, 6), window + 9, 6), joined);
    assert_eq!(table.pending().len(), 1, "and takes in what is there");
}

#[test]
fn no_prefix_is_offered_around_what_was_refused() {
    let mut table = Requests::without_files(100);
    table.note_no(key(1, 9), shown(9), BootTime(1000));
    for id in 1..=8 {
        ask(&mut table, &key(1, id as u8), 1, id);
    }
    let bursts = table.pending().iter().filter_map(|one| one.burst.as_ref());
    let bursts: Vec<_> = bursts.map(|burst| burst.prefix().to_string()).collect();
    assert_eq!(bursts, ["192.0.2.0/29"]);
    let taken = table.take("r1").unwrap();
    table.note_no_to_all(taken.key, taken.burst.unwrap(), taken.shown, BootTime(1000));
    for id in 16..=32 {
        ask(&mut table, &key(1, id as u8), 1, id);
    }
    let bursts = table.pending().iter().filter_map(|one| one.burst.as_ref());
    let bursts: Vec<_> = bursts.map(|burst| burst.prefix().to_string()).collect();
    assert_eq!(bursts, ["192.0.2.16/28"]);
}

proptest! {
    /// Whatever is tried: each that was asked about is found, under its own id, and a burst is one decision that
    /// holds what it says and nothing that another waits for.
    #[test]
    fn nothing_is_lost_in_a_burst(tried in prop::collection::vec((1u32..3, any::<u8>(), 0u64..4), 0..150)) {
        let mut table = Requests::without_files(1000);
        let (mut now, mut known) = (0, HashMap::new());
        for ((session, last, later), id) in tried.into_iter().zip(1..) {
            now += later * 1_000_000_000;
            let key = key(session, last);
            match ask(&mut table, &key, now, id) {
                Noted::New(id) | Noted::Again(id) => {
                    prop_assert!(table.find(&key).is_some_and(|one| one.is_called(&id)));
                }
                other => panic!("{other:?}"),
            }
            known.insert(key, id);
        }
        for key in known.keys() {
            let found = table.pending().iter().filter(|one| one.is_about(key));
            prop_assert_eq!(found.count(), 1);
        }
        for one in table.pending() {
            let Some(burst) = &one.burst else { continue };
            prop_assert!(is_one(&burst.prefix()) && burst.count() >= bursts::MANY);
            prop_assert!(burst.addresses().all(|to| burst.prefix().covers(&to) && known.contains_key(&one.key.at(to))));
            prop_assert!(burst.ids().any(|id| id == one.shown.id));
        }
    }

    /// Whatever 512 sessions of one user do, held or not: another's session is asked about.
    #[test]
    fn a_user_with_many_sessions_keeps_nobody_else_from_being_asked(
        tried in prop::collection::vec((10_u32..522, any::<u8>(), any::<bool>()), 100..200),
    ) {
        let mut table = Requests::without_files(100);
        let mut ask = |uid, session, last, id: u32| {
            let account = Account::inside(uid, SessionId(session));
            let noted = table.note(key(session, last), account, BootTime(id.into()), || Ok::<_, Infallible>(shown(id)));
            if id.is_multiple_of(2) {
                table.show_held_until(&format!("r{id}"), Some(Timestamp::MAX));
            }
            noted
        };
        let mut own = 0;
        for ((session, last, is_others), id) in tried.into_iter().zip(1..) {
            let Ok(_) = ask(1000, session, last, id);
            if is_others && own < 50 {
                own += 1;
                prop_assert_eq!(ask(1001, 1, own, 1000 + id), Ok(Noted::New(format!("r{}", 1000 + id))));
            }
        }
        let kept = table.pending().iter().filter(|one| one.owner == 1001).count();
        prop_assert_eq!(kept, usize::from(own));
    }

    #[test]
    fn no_flood_takes_more_than_its_share(tried in prop::collection::vec((1u32..4, any::<u8>()), 0..1000)) {
        let mut table = Requests::without_files(100);
        for (now, (session, last)) in tried.iter().enumerate() {
            note(&mut table, key(*session, *last), now as u64, now as u32);
        }
        prop_assert!(table.pending().len() <= 100);
        for session in 1..4 {
            let of = table.pending().iter().filter(|one| one.key.session.0 == session);
            prop_assert!(of.count() as u64 <= MAX_PER_ACCOUNT);
        }
    }
}
