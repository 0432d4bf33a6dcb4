//! The console: pages on which people look and answer. guardd, the session and production are real; so is the browser in
//! `browser.rs`, and elsewhere HTTP is by hand, for what no browser would send.

pub(crate) mod browser;
mod elsewhere;
mod full;
mod gates;
pub(crate) mod http;
mod liar;
pub(crate) mod notify;
pub(crate) mod passkey;
mod push;
pub(crate) mod scene;
pub(crate) mod webdriver;

use guard_lab::{Attempt, Json as _, Network, PATIENCE, Production, Tested, V4};
use serde_json::{Value, json};

use passkey::Passkey;
use scene::{Looked, ORIGIN};

use crate::mistakes::suggests;
use crate::signed::scene::{COURIER, altered};

#[test]
fn what_is_no_verb_of_its_is_answered_with_the_command_that_was_meant() -> Tested {
    suggests("guard-console", "lgoin", "guard-console login")?;
    let enable = "sudo systemctl enable --now guard-console";
    suggests("guard-console", "up", enable)
}

#[test]
fn a_question_appears_and_a_signed_answer_opens_its_hole_once() -> Tested {
    let network = Network::new()?;
    let production = Production::start(&network)?;
    let outside = Attempt::tcp(V4, 443).outside(network.dev(), guard_lab::AGENT);
    assert!(outside?.ok, "without the guard it is reached");
    let looked = Looked::new(&network, "")?;
    let (alice, mallory) = (Passkey::new("alice"), Passkey::new("mallory"));
    looked.enrol("alice", &alice)?;
    let cookie = looked.log_in()?;
    let mut shell = looked.scene.shell();
    let before = production.reached_at(V4, 443)?.len();

    // While nobody looks, nothing waits.
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    let listed = looked.scene.daemon.root(["pending"]).json()?;
    assert_eq!(listed[0]["held"], false);
    let mut events = looked.http.events(&cookie);
    events.next(|event| event["connected"] == true);
    shell.begin(&Attempt::tcp(V4, 443).timeout(PATIENCE))?;
    let event = events.next(|event| event["questions"][0]["waits_until"] != Value::Null);
    let id = event["questions"][0]["id"].text()?;
    assert_eq!(event["questions"][0]["what"], "192.0.2.10:443");
    assert_eq!(production.reached_at(V4, 443)?.len(), before);

    let (asked, place) = looked.question(&cookie, id);
    let answer = looked.scene.answer(&asked, "alice", &[]);
    let signed = alice.sign(&answer, ORIGIN);
    let longer = looked
        .scene
        .answer(&asked, "alice", &[("for", json!(3600))]);
    for (why, wrong) in [
        (
            "not of these bytes",
            altered(&signed, "answer", json!(longer)),
        ),
        (
            "not of these bytes",
            mallory_as_alice(&mallory, &alice, &answer),
        ),
        ("no key", mallory.sign(&answer, ORIGIN)),
        (
            "do not name in `origins`",
            alice.sign(&answer, "http://localhost:1"),
        ),
        (
            "do not name in `origins`",
            alice.sign(&answer, "https://guard.example"),
        ),
    ] {
        let refused = looked.hand_in(&cookie, &place, &wrong);
        assert_eq!(refused.status, 403, "{why}: {}", refused.body);
        assert!(refused.body.contains(why), "{why}: {}", refused.body);
        assert!(looked.scene.holes().is_empty(), "{why}");
    }
    let taken = looked.hand_in(&cookie, &place, &signed);
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert!(taken.body.contains("\"answer\":\"yes\""), "{}", taken.body);
    assert!(shell.line_with("\"ok\"")?.contains("\"ok\":true"));
    assert!(production.reached_at(V4, 443)?.len() > before);
    assert_eq!(looked.scene.holes(), ["tcp/443"]);
    let again = looked.hand_in(&cookie, &place, &signed);
    assert_eq!(again.status, 404, "a signature counts once: {}", again.body);
    assert_eq!(looked.scene.holes(), ["tcp/443"]);
    events.next(|event| event["questions"] == json!([]));

    let answered = &looked.scene.log("answered")[0];
    assert_eq!(
        (&answered["by"], &answered["signed"]["kind"]),
        (&json!("alice"), &json!("passkey"))
    );
    let over = looked
        .http
        .get(place.strip_suffix("/answer").unwrap(), Some(&cookie));
    assert!(over.body.contains("Yes, by alice"), "{}", over.body);
    // Closing takes no signature.
    let holes = looked.http.get("/holes", Some(&cookie));
    let close = format!("/holes/{}", holes.between("action=\"/holes/", "\""));
    assert_eq!(looked.http.form(&close, "", Some(&cookie)).status, 303);
    assert!(looked.scene.holes().is_empty());
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    Ok(())
}

/// Whether that person's passkey opens what is asked, and what is said of it.
fn opens(looked: &Looked<'_>, name: &str, key: &Passkey, id: &str) -> Tested<(bool, String)> {
    let cookie = looked.log_in_as(name)?;
    let (asked, place) = looked.question(&cookie, id);
    let answer = looked.scene.answer(&asked, name, &[]);
    let said = looked.hand_in(&cookie, &place, &key.sign(&answer, ORIGIN));
    assert_eq!(said.status == 200, !looked.scene.holes().is_empty());
    Ok((said.status == 200, said.body))
}

/// What is listed of each approver's only key: whether it is synced.
fn synced(looked: &Looked<'_>) -> Tested<Vec<Value>> {
    let listed = looked.scene.daemon.root(["approver", "list"]).json()?;
    let all = listed.list()?.iter();
    Ok(all.map(|one| one["keys"][0]["synced"].clone()).collect())
}

#[test]
fn a_passkey_that_an_account_copies_says_yes_unless_the_settings_want_none() -> Tested {
    let (copied, kept) = (Passkey::synced("alice"), Passkey::new("bob"));
    {
        let network = Network::new()?;
        let mut looked = Looked::new(&network, "")?;
        looked.enrol("alice", &copied)?;
        assert_eq!(
            synced(&looked)?,
            [Value::Null],
            "nobody has signed that yet"
        );
        let mut shell = looked.scene.shell();
        let id = looked.scene.request(&mut shell, 443);
        let (is_open, said) = opens(&looked, "alice", &copied, &id)?;
        assert!(is_open, "most passkeys are such: {said}");
        assert_eq!(synced(&looked)?, [json!(true)]);
        let cookie = looked.log_in()?;
        let page = looked.http.get("/approvers", Some(&cookie)).body;
        assert!(page.contains("may be on other devices"), "{page}");
        looked.scene.daemon.kill()?;
        looked.scene.daemon.start()?;
        assert_eq!(synced(&looked)?, [json!(true)], "it is kept");
        let listed = looked.scene.daemon.root(["approver", "list"]).run()?;
        let listed = listed.success()?.stdout;
        assert!(listed.contains("may be on other devices"), "{listed}");
    }
    let network = Network::new()?;
    let looked = Looked::new(&network, "synced = false")?;
    looked.enrol("alice", &copied)?;
    looked.enrol("bob", &kept)?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    let (is_open, said) = opens(&looked, "alice", &copied, &id)?;
    assert!(!is_open && said.contains("on other devices"), "{said}");
    assert!(looked.scene.log("answered").is_empty());
    // It was no answer: another's key answers the same question.
    let (is_open, said) = opens(&looked, "bob", &kept, &id)?;
    assert!(is_open, "{said}");
    // What its authenticator said is known of the one that was refused, too.
    assert_eq!(synced(&looked)?, [json!(true), json!(false)]);
    Ok(())
}

/// A user who is not the agent's.
pub(super) const OTHER: &str = "61299";

/// Whose word a no of alice's is.
fn by_alice() -> String {
    format!("alice through {COURIER}, unsigned")
}

/// Another's signature, said to be hers.
fn mallory_as_alice(mallory: &Passkey, alice: &Passkey, answer: &str) -> Value {
    altered(&mallory.sign(answer, ORIGIN), "key", json!(alice.id()))
}

#[test]
fn a_no_takes_the_cookie_alone() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let cookie = looked.log_in()?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    let place = looked.place(&cookie, &id);
    let without = looked.http.form(&format!("{place}/no"), "", None);
    assert_eq!(without.status, 401, "{}", without.body);
    assert!(looked.scene.log("answered").is_empty());
    let said = looked.http.form(&format!("{place}/no"), "", Some(&cookie));
    assert_eq!((said.status, said.header("location")), (303, Some("/")));
    let answered = &looked.scene.log("answered")[0];
    assert_eq!(
        (&answered["answer"], &answered["from"]["right"]),
        (&json!("no"), &json!("courier"))
    );
    assert_eq!(answered["by"], by_alice());
    let over = looked.http.get(&place, Some(&cookie));
    for said in ["No, by ", "It is not asked again until <time"] {
        assert!(over.body.contains(said), "{said}: {}", over.body);
    }
    Ok(())
}

#[test]
fn guardd_is_killed_and_comes_back_with_the_same_question() -> Tested {
    let network = Network::new()?;
    let mut looked = Looked::new(&network, "")?;
    let alice = Passkey::new("alice");
    looked.enrol("alice", &alice)?;
    let cookie = looked.log_in()?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    let (asked, place) = looked.question(&cookie, &id);
    let mut events = looked.http.events(&cookie);
    events.next(|event| event["connected"] == true);
    looked.scene.daemon.kill()?;
    events.next(|event| event["connected"] == false);
    for page in ["/", "/holes", "/sessions", "/flows", "/log", "/approvers"] {
        let away = looked.http.get(page, Some(&cookie));
        assert_eq!(away.status, 503, "{page}");
        assert!(
            away.body.contains("guardd does not answer"),
            "{}",
            away.body
        );
    }
    looked.scene.daemon.start()?;
    events.next(|event| event["connected"] == true && event["questions"][0]["id"] == id.as_str());
    let signed = alice.sign(&looked.scene.answer(&asked, "alice", &[]), ORIGIN);
    let taken = looked.hand_in(&cookie, &place, &signed);
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert_eq!(looked.scene.holes(), ["tcp/443"]);

    // The console itself: who was logged in still is.
    looked.kill();
    looked.start()?;
    assert_eq!(looked.http.get("/", Some(&cookie)).status, 200);
    Ok(())
}

#[test]
fn the_lists_show_what_there_is_and_only_of_whom_somebody_answers_for() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let looked = Looked::new(&network, "")?;
    looked.enrol_for("bob", &Passkey::new("bob"), OTHER)?;
    let bob = looked.log_in_as("bob")?;
    let mut shell = looked.scene.shell();
    let open = [
        "open",
        V4,
        "--ports",
        "tcp/443",
        "--session",
        shell.session(),
    ];
    looked.scene.daemon.root(open).run()?.success()?;
    assert!(shell.reaches(&Attempt::tcp(V4, 443))?);
    assert!(!shell.reaches(&Attempt::tcp(V4, 1000))?);
    let shown = |cookie: &str, page: &str, text: &str| {
        let answer = looked.http.get(page, Some(cookie));
        assert_eq!(answer.status, 200, "{page}: {}", answer.body);
        answer.body.contains(text)
    };
    let own = [
        ("/", "192.0.2.10:1000"),
        ("/sessions", "What it reached"),
        ("/holes", "192.0.2.10/32"),
        ("/flows", "192.0.2.10:443"),
        ("/log", "hole opened"),
    ];
    for (page, text) in own {
        assert!(
            !shown(&bob, page, text),
            "{page}: nobody answers for them yet"
        );
        let why = "sudo guard approver invite bob --answers-for 61299 --answers-for USER";
        assert!(page == "/log" || shown(&bob, page, why), "{page}");
    }
    looked.enrol("alice", &Passkey::new("alice"))?;
    let cookie = looked.log_in()?;
    for (page, text) in own {
        guard_lab::eventually(page, || shown(&cookie, page, text))?;
        assert!(!shown(&bob, page, text), "{page}: bob does not");
    }
    assert!(shown(&cookie, "/approvers", "alice") && !shown(&bob, "/approvers", "alice"));
    Ok(())
}

#[test]
fn the_first_page_counts_what_was_reached_asked_and_stopped() -> Tested {
    let network = Network::new()?;
    let _production = Production::start(&network)?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    looked.enrol_for("bob", &Passkey::new("bob"), OTHER)?;
    let (alice, bob) = (looked.log_in()?, looked.log_in_as("bob")?);
    let counted = |cookie: &str| {
        let page = looked.http.get("/", Some(cookie));
        assert_eq!(page.status, 200, "{}", page.body);
        ["reached", "asked", "stopped"].map(|what| {
            let number = page.between(&format!("<span class=\"key {what}\"><b>"), "</b>");
            number.parse::<usize>().unwrap_or(usize::MAX)
        })
    };
    assert_eq!(counted(&alice)[1..], [0, 0]);
    let mut shell = looked.scene.shell();
    // Nothing in the policy is about that port.
    assert!(shell.reaches(&Attempt::tcp(V4, 2283))?);
    let id = looked.scene.request(&mut shell, 443);
    let no = format!("{}/no", looked.place(&alice, &id));
    assert_eq!(looked.http.form(&no, "", Some(&alice)).status, 303);
    assert!(!shell.reaches(&Attempt::tcp(V4, 443))?);
    guard_lab::eventually("all of that is counted, as the log has it", || {
        let of = |kind: &str| looked.scene.log(kind).len();
        let [reached, asked, stopped] = counted(&alice);
        reached >= 1 && stopped >= 1 && (asked, stopped) == (1, of("denied"))
    })
    .unwrap_or_else(|error| panic!("{error}: {:?}", counted(&alice)));
    assert_eq!(counted(&bob), [0; 3], "bob answers for nobody there");
    Ok(())
}

#[test]
fn who_is_logged_in_decides_for_their_own_users_while_they_are_enrolled() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let root = |args: &[&str]| looked.scene.daemon.root(args).run().unwrap().success();
    looked.enrol("alice", &Passkey::new("alice"))?;
    looked.enrol_for("bob", &Passkey::new("bob"), OTHER)?;
    let (alice, bob) = (looked.log_in()?, looked.log_in_as("bob")?);
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    let open = ["open", V4, "--ports", "tcp/1000", "--session"];
    root(&[&open[..], &[shell.session()]].concat())?;
    let place = looked.place(&alice, &id);
    let holes = looked.http.get("/holes", Some(&alice));
    let close = format!("/holes/{}", holes.between("action=\"/holes/", "\""));
    let no = format!("{place}/no");
    let stands = |why: &str| {
        assert!(looked.scene.log("answered").is_empty(), "{why}");
        assert_eq!(looked.scene.holes(), ["tcp/1000"], "{why}");
    };

    // What is signed now is told to whom it is asked.
    let hash = looked.http.get(&format!("{place}/hash"), Some(&alice));
    let now = looked.scene.question(&id)["hash"].clone();
    assert_eq!(hash.body, json!({ "hash": now }).to_string());
    let others = looked.http.get(&format!("{place}/hash"), Some(&bob));
    assert_eq!(others.status, 404, "{}", others.body);
    // bob answers for somebody else.
    let session = format!("/flows?session={}", shell.session());
    for page in [&place, &session] {
        let answer = looked.http.get(page, Some(&bob));
        assert_eq!(answer.status, 404, "{page}");
        assert!(!answer.body.contains("192.0.2.10"), "{}", answer.body);
    }
    let mut events = looked.http.events(&bob);
    let event = events.next(|event| event["connected"] == true);
    assert_eq!(event["questions"], json!([]));
    for what in [&no, &close] {
        assert_eq!(looked.http.form(what, "", Some(&bob)).status, 404, "{what}");
    }
    stands("another's");

    // alice is removed: her browser sees and does nothing more, and not with a later key's right either.
    let mut events = looked.http.events(&alice);
    events.next(|event| event["questions"][0]["id"] == id.as_str());
    root(&["approver", "remove", "alice"])?;
    looked.scene.request(&mut shell, 1001);
    assert!(!events.rest().contains("1001"));
    looked.enrol("alice", &Passkey::new("later"))?;
    for page in ["/", "/events", "/holes", &place] {
        assert_eq!(looked.http.get(page, Some(&alice)).status, 303, "{page}");
    }
    for what in [&no, &close] {
        assert_eq!(looked.http.form(what, "", Some(&alice)).status, 401);
    }
    stands("removed");

    let alice = looked.log_in()?;
    for what in [&no, &close] {
        assert_eq!(looked.http.form(what, "", Some(&alice)).status, 303);
    }
    assert_eq!(looked.scene.log("answered")[0]["by"], by_alice());
    assert_eq!(looked.scene.log("hole-close")[0]["by"], by_alice());
    Ok(())
}
