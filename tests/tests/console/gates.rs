//! What does not come from the console's own pages, or from somebody who is logged in, sees and does nothing.

use std::cell::Cell;

use crate::together::in_turn;
use anyhow::Context as _;
use guard_lab::{Network, Tested};
use serde_json::json;

use super::{
    passkey::Passkey,
    scene::{HOST, Looked, ORIGIN},
};

/// A console, and her who is enrolled by the first of these that wants her.
struct Gate<'n> {
    looked: Looked<'n>,
    alice: Passkey,
    is_enrolled: Cell<bool>,
}

impl Gate<'_> {
    /// Each case may be tried alone, or after one that has failed.
    fn enrol(&self) -> Tested {
        if self.is_enrolled.replace(true) {
            Ok(())
        } else {
            self.looked.enrol("alice", &self.alice)
        }
    }
}

#[test]
fn the_console_lets_nobody_do_what_is_not_theirs_to_do() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    let alice = Passkey::new("alice");
    let gate = Gate {
        looked,
        alice,
        is_enrolled: Cell::new(false),
    };
    in_turn!(
        &gate;
        a_link_logs_in_once_when_somebody_presses_the_button,
        there_is_an_end_to_what_it_takes,
        it_does_not_serve_as_root,
        a_page_of_another_name_or_origin_sees_and_does_nothing,
        who_logs_out_everywhere_is_logged_out_of_all_browsers_and_nobody_else_is,
        made_up_invitations_keep_nobody_from_saying_yes,
    )
}

fn a_page_of_another_name_or_origin_sees_and_does_nothing(gate: &Gate<'_>) -> Tested {
    gate.enrol()?;
    let looked = &gate.looked;
    let cookie = looked.log_in()?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    let place = looked.place(&cookie, &id);
    let no = format!("POST {place}/no");
    let own = [("cookie", cookie.as_str()), ("host", HOST)];
    let with = |headers: &[(&'static str, &'static str)]| [&own[..1], headers].concat();
    for host in [
        "rebound.example:4827",
        "127.0.0.1:4827",
        "localhost:4827",
        "guard.localhost",
        "evil.localhost:4827",
    ] {
        for line in ["GET /", "GET /events", "GET /login", &no] {
            let answer =
                looked
                    .http
                    .send(line, &with(&[("host", host), ("origin", ORIGIN)]), "")?;
            assert_eq!(answer.status, 421, "{host} {line}");
            assert!(!answer.body.contains("192.0.2.10"), "{}", answer.body);
        }
    }
    let foreign: [&[(&str, &str)]; 5] = [
        &[("host", HOST)],
        &[("host", HOST), ("origin", "null")],
        &[("host", HOST), ("origin", "http://evil.example")],
        &[("host", HOST), ("origin", "https://guard.localhost:4827")],
        &[
            ("host", HOST),
            ("origin", ORIGIN),
            ("sec-fetch-site", "cross-site"),
        ],
    ];
    for headers in foreign {
        let answer = looked.http.send(&no, &with(headers), "")?;
        assert_eq!(answer.status, 403, "{headers:?}");
    }
    let load = [
        ("host", HOST),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-dest", "script"),
    ];
    assert_eq!(looked.http.send("GET /", &with(&load), "")?.status, 403);
    assert!(looked.scene.log("answered").is_empty());
    let answer = looked
        .http
        .send(&no, &with(&[("host", HOST), ("origin", ORIGIN)]), "")?;
    assert_eq!(answer.status, 303, "its own page does: {}", answer.body);
    Ok(())
}

/// Whoever reaches the page may present keys, the agent too.
fn made_up_invitations_keep_nobody_from_saying_yes(gate: &Gate<'_>) -> Tested {
    gate.enrol()?;
    let Gate { looked, alice, .. } = gate;
    let mallory = Passkey::new("mallory");
    let cookie = looked.log_in()?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    let (asked, place) = looked.question(&cookie, &id);
    let signed = alice.sign(&looked.scene.answer(&asked, "alice", &[]), ORIGIN);
    let made = json!({
        "invitation": "AAAAAAAAAAAAAAAAAAAAAA", "id": mallory.id(), "public_key": mallory.public(),
    });
    for _ in 0..100 {
        let refused = looked.http.json("/enrol", &made, None);
        assert_eq!(refused.status, 403, "{}", refused.body);
        assert!(refused.body.contains("counts no more"), "{}", refused.body);
    }
    let taken = looked.hand_in(&cookie, &place, &signed);
    assert_eq!(taken.status, 200, "{}", taken.body);
    assert!(looked.scene.log("answer-refused").is_empty());
    Ok(())
}

#[test]
fn without_a_session_there_is_nothing_to_see() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let mut shell = looked.scene.shell();
    let id = looked.scene.request(&mut shell, 443);
    for page in [
        "/",
        "/events",
        "/sessions",
        "/holes",
        "/flows",
        "/log",
        "/approvers",
        "/q/m-0/r1",
    ] {
        for cookie in [None, Some("guard="), Some("guard=AAAA"), Some("other=1")] {
            let answer = looked.http.get(page, cookie);
            assert_eq!(
                (answer.status, answer.header("location")),
                (303, Some("/login")),
                "{page}"
            );
        }
    }
    // The agent that asks reaches it, and gets no further.
    let curl = format!("curl -s -m 20 --resolve {HOST}:127.0.0.1 http://{HOST}");
    let agent = |shell: &mut guard_lab::Shell, what: &str| {
        shell.status_of(&format!("{curl}{what}")).unwrap()
    };
    assert_eq!(agent(&mut shell, "/login | grep -q 'Log in to guard'"), 0);
    assert_eq!(agent(&mut shell, "/ -L | grep -q 192.0.2.10"), 1);
    let no = format!("/q/m/{id}/no -d x= -H 'origin: {ORIGIN}' | grep -q 'Log in again'");
    assert_eq!(agent(&mut shell, &no), 0);
    assert!(looked.scene.log("answered").is_empty());
    // Whose that was is in the journal, once for a while however often it knocks, and nothing of what it says.
    std::thread::sleep(std::time::Duration::from_secs(5));
    let before = looked.said()?.lines().count();
    for _ in 0..20 {
        assert_eq!(agent(&mut shell, &no), 0);
    }
    let log = looked.said()?;
    let new: Vec<_> = log.lines().skip(before).collect();
    assert!((1..=3).contains(&new.len()), "{log}");
    let uid = format!("uid={}", guard_lab::AGENT);
    for part in [
        "refused a request",
        "status=401",
        "method=\"POST\"",
        "page=\"q\"",
        &uid,
    ] {
        assert!(new[0].contains(part), "{part}: {log}");
    }
    assert!(!new[0].contains(&id), "{log}");
    let cookie = looked.log_in()?;
    for page in ["/", "/holes", &looked.place(&cookie, &id)] {
        let answer = looked.http.get(page, Some(&cookie));
        assert_eq!(answer.status, 200, "{page}");
        let policy = answer.header("content-security-policy").unwrap();
        for part in [
            "default-src 'none'",
            "script-src 'self';",
            "form-action 'self'",
            "frame-ancestors 'none'",
            "base-uri 'none'",
        ] {
            assert!(policy.contains(part), "{policy}");
        }
        assert!(!policy.contains("unsafe"));
        for (name, value) in [
            ("x-content-type-options", "nosniff"),
            ("cache-control", "no-store"),
            // A page that opened it has no hold of its window, and none has what it sends.
            ("cross-origin-opener-policy", "same-origin"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{page}: {name}");
        }
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert_eq!(looked.http.form("/logout", "", Some(&cookie)).status, 303);
    assert_eq!(
        looked.http.get("/", Some(&cookie)).status,
        303,
        "it has ended"
    );
    Ok(())
}

fn who_logs_out_everywhere_is_logged_out_of_all_browsers_and_nobody_else_is(
    gate: &Gate<'_>,
) -> Tested {
    gate.enrol()?;
    let looked = &gate.looked;
    looked.enrol_for("bob", &Passkey::new("bob"), super::OTHER)?;
    let (here, there) = (looked.log_in()?, looked.log_in()?);
    let bob = looked.log_in_as("bob")?;
    let link = looked.link("alice")?;
    let sees = |cookie: &str| looked.http.get("/", Some(cookie)).status == 200;
    let keys = looked.http.get("/approvers", Some(&here));
    let button = "action=\"/logout/everywhere\"";
    assert!(keys.body.contains(button), "{}", keys.body);
    let without = looked.http.form("/logout/everywhere", "", None);
    assert_eq!(without.status, 401, "{}", without.body);
    assert!(sees(&here) && sees(&there) && sees(&bob));
    let mut events = looked.http.events(&there);
    events.next(|event| event["connected"] == true);
    let done = looked.http.form("/logout/everywhere", "", Some(&here));
    assert_eq!(
        (done.status, done.header("location")),
        (303, Some("/login"))
    );
    assert!(!sees(&here) && !sees(&there) && sees(&bob));
    let used = looked.http.get(&link, None);
    assert_eq!(used.status, 403, "nobody had used it: {}", used.body);
    // What that browser looks at tells nothing more.
    looked.scene.request(&mut looked.scene.shell(), 1001);
    assert!(!events.rest().contains("1001"));

    let logout = |args: &[&str]| {
        let mut command = looked.command(&[&["logout"], args].concat());
        guard_lab::exec::output(&mut command)
    };
    let again = looked.log_in()?;
    let said = logout(&["bob"])?;
    assert!(said.status.success(), "{said:?}");
    assert_eq!(
        String::from_utf8_lossy(&said.stdout),
        "1 session has ended\n"
    );
    assert!(sees(&again) && !sees(&bob));
    assert_eq!(logout(&[])?.status.code(), Some(2), "it says whose");
    assert!(sees(&again));
    assert!(logout(&["--all"])?.status.success());
    assert!(!sees(&again));
    Ok(())
}

fn a_link_logs_in_once_when_somebody_presses_the_button(gate: &Gate<'_>) -> Tested {
    let looked = &gate.looked;
    assert!(!looked.may_link(&["alice"]), "she is not enrolled");
    gate.enrol()?;
    assert!(looked.may_link(&["alice"]) && !looked.may_link(&[]));
    let link = looked.link("alice")?;
    for _ in 0..2 {
        let page = looked.http.get(&link, None);
        assert!(
            page.body.contains("Log in to guard"),
            "whoever only looks uses nothing up: {}",
            page.body
        );
        assert_eq!(page.header("set-cookie"), None);
    }
    let secret = link.strip_prefix("/login/").unwrap();
    let log_in = |secret: &str| {
        looked
            .http
            .form("/login", &format!("secret={secret}"), None)
    };
    assert_eq!(log_in("another").status, 403);
    assert_eq!(looked.http.get(&format!("{link}x"), None).status, 403);
    let cookie = log_in(secret).cookie();
    assert_eq!(log_in(secret).status, 403);
    assert_eq!(looked.http.get("/", Some(&cookie)).status, 200);
    Ok(())
}

fn there_is_an_end_to_what_it_takes(gate: &Gate<'_>) -> Tested {
    let looked = &gate.looked;
    let long = json!({ "answer": "x".repeat(70_000) });
    assert_eq!(looked.http.json("/enrol", &long, None).status, 413);
    assert_eq!(
        looked.http.json("/enrol", &json!({ "x": 1 }), None).status,
        400
    );
    let head = "x".repeat(20_000);
    let answer = looked
        .http
        .send("GET /", &[("host", HOST), ("x-long", &head)], "")?;
    assert_eq!(answer.status, 431);
    Ok(())
}

#[test]
fn two_hundred_pages_look_at_once() -> Tested {
    let network = Network::new()?;
    let looked = Looked::new(&network, "")?;
    looked.enrol("alice", &Passkey::new("alice"))?;
    let cookie = looked.log_in()?;
    let before = looked.memory()?;
    let mut streams: Vec<_> = (0..200).map(|_| looked.http.events(&cookie)).collect();
    // On a slow machine the first ones have ended by now.
    streams.last_mut().context("none")?.next(|_| true);
    let memory = looked.memory()?;
    println!("{before} KiB before, {memory} KiB with 200 pages");
    assert!(memory <= 20 * 1024, "200 pages take {memory} KiB");
    let page = looked.http.get("/", Some(&cookie));
    assert_eq!(page.status, 200, "pages go on");
    Ok(())
}

fn it_does_not_serve_as_root(gate: &Gate<'_>) -> Tested {
    let looked = &gate.looked;
    let program = guard_lab::bins::find("guard-console")?;
    let socket = looked.scene.daemon.socket();
    for verb in [&[][..], &["push"]] {
        let mut command = std::process::Command::new(&program);
        command.args(["--config", "/nonexistent", "--listen"]);
        command.arg(format!("unix:{}/root.sock", looked.state.display()));
        command.arg("--socket").arg(&socket);
        command.arg("--state-dir").arg(&looked.state).args(verb);
        let refused = guard_lab::exec::output(&mut command)?;
        assert_eq!(refused.status.code(), Some(2), "{refused:?}");
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            said.contains("sudo -u guard-console guard-console"),
            "{said}"
        );
    }
    assert!(!looked.state.join("root.sock").exists());
    Ok(())
}
