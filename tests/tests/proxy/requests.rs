//! Reads pass; what changes something waits for a person.

use std::fs;

use guard_lab::PATIENCE;
use guard_lab::{Json as _, Production, Tested, V4, eventually};
use serde_json::{Value, json};

use crate::proxy::{
    POLICY, PORT,
    scene::{ProxyScene, sending},
};
use crate::watch::terminal::Tmux;

/// The methods of the requests that production was sent.
fn served(production: &Production) -> Tested<Vec<String>> {
    let seen = production.reached_at(V4, PORT)?;
    let requests = seen.iter().filter(|one| one.kind == "http");
    Ok(requests
        .map(|one| one.record["method"].as_str().unwrap().to_owned())
        .collect())
}

/// The policy, where nobody tires of waiting.
fn patient() -> String {
    POLICY.replace("hold = \"20s\"", "hold = \"20m\"")
}

/// guardd's records of what has passed because somebody said yes.
fn passed(scene: &ProxyScene) -> Tested<Vec<Value>> {
    let mut records = scene.daemon.audited("http")?;
    records.retain(|one| one["outcome"] == "passed" && one["request"].is_string());
    Ok(records)
}

#[test]
fn reads_pass_and_a_write_waits_for_a_person_who_says_yes_to_just_that() -> Tested {
    let scene = ProxyScene::new()?;
    let production = scene.production()?;
    let mut shell = scene.shell()?;
    shell.tell(&sending("GET", "/albums", ""))?;
    shell.line_with("served_by")?;
    shell.tell(&sending("POST", "/albums", "new"))?;
    let status = shell.line_with("HTTP/1.1")?;
    assert!(!status.contains(" 200 "), "{status}");
    let request = scene.request()?;
    let id = request["id"].text()?;
    shell.line_with(id)?;
    assert_eq!(request["verdict"], "read-only");
    assert_eq!(request["held"], false);
    let http = &request["http"];
    assert_eq!(http["method"], "POST");
    assert_eq!(http["path"], "/albums");
    assert_eq!(http["host"], "photos.example.com");
    assert_eq!(http["body_preview"], "new");
    assert_eq!(http["digest"].text()?.len(), 64);
    assert_eq!(served(&production)?, ["GET"]);
    let hole = scene.daemon.json(["approve", id])?;
    assert_eq!(hole["http"]["requests_left"], 1);
    assert_eq!(scene.daemon.json(["holes"])?[0]["id"], hole["id"]);
    assert_eq!(
        scene.daemon.audited("hole-open")?[0]["http"]["method"],
        "POST"
    );
    // Another one is not that one, and that one passes once.
    for (body, passes) in [("old", false), ("new", true), ("new", false)] {
        shell.line_with("ended")?;
        shell.tell(&sending("POST", "/albums", body))?;
        let status = shell.line_with("HTTP/1.1")?;
        assert_eq!(status.contains(" 200 "), passes, "{body}: {status}");
    }
    assert_eq!(served(&production)?, ["GET", "POST"]);
    let passed = passed(&scene)?;
    assert_eq!(passed.len(), 1, "{passed:?}");
    assert_eq!(passed[0]["hole"], hole["id"]);
    assert_eq!(passed[0]["request"], id);
    assert_eq!(passed[0]["method"], "POST");
    assert_eq!(passed[0]["rule"], "production");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    let ended = scene.daemon.audited("hole-close")?;
    assert_eq!(ended[0]["why"], "used up", "{ended:?}");
    Ok(())
}

#[test]
fn a_write_that_waits_goes_on_at_yes_and_ends_at_no() -> Tested {
    let scene = ProxyScene::new()?;
    let production = scene.production()?;
    let mut follower = scene.follower()?;
    let mut shell = scene.shell()?;
    for (answer, passes) in [("approve", true), ("deny", false)] {
        shell.tell(&sending("PUT", &format!("/{answer}"), "1"))?;
        follower.line_with("PUT", PATIENCE)?;
        let request = scene.request()?;
        assert_eq!(request["held"], true, "{request}");
        assert!(request["waits_until"].is_string());
        scene.daemon.json([answer, request["id"].text()?])?;
        // It is written down before it goes on.
        assert_eq!(passed(&scene)?.len(), 1, "{answer}");
        let status = shell.line_with("HTTP/1.1")?;
        assert_eq!(status.contains(" 200 "), passes, "{answer}: {status}");
        shell.line_with("ended")?;
    }
    assert_eq!(served(&production)?, ["PUT"]);
    Ok(())
}

#[test]
fn nobody_waits_in_a_session_that_was_started_so() -> Tested {
    let mut scene = ProxyScene::with(&patient(), "")?;
    let mut shell = scene.shell_with(&["--hold", "0s"])?;
    let mut other = scene.shell()?;
    // The next guardd knows it still.
    for path in ["/before", "/after"] {
        eventually("a proxy", || {
            Ok(scene.has_proxy() && scene.daemon.json(["status"])?["warnings"] == json!([]))
        })?;
        let _follower = scene.follower()?;
        let held = |session: &str| {
            let asked = scene.daemon.json(["pending"]).unwrap();
            let mut asked = asked.as_array().unwrap().iter();
            asked.any(|one| one["session"] == session && one["held"] == true)
        };
        eventually("the other waits", || {
            let send = sending("PUT", path, "1").replace("timeout 30", "timeout 1");
            other.tell(&format!("({send}) >/dev/null &"))?;
            Ok(held(other.session()))
        })?;
        shell.tell(&sending("PUT", path, "1"))?;
        shell.line_with("HTTP/1.1 403")?;
        shell.line_with("ended")?;
        assert!(!held(shell.session()));
        scene.daemon.stop()?;
        scene.daemon.start()?;
    }
    Ok(())
}

#[test]
fn a_yes_is_for_the_one_that_was_asked_about_and_for_no_other_that_waits() -> Tested {
    let scene = ProxyScene::with(&patient(), "")?;
    let production = scene.production()?;
    let _follower = scene.follower()?;
    let mut shell = scene.shell()?;
    for number in [1, 2] {
        let sending = sending("DELETE", &format!("/jobs/{number}"), "");
        let line = format!("({sending}) | sed -u 's/^/{number}: /' &");
        shell.tell(&line)?;
        let waiting = scene.requests(number)?;
        assert!(waiting.iter().all(|one| one["held"] == true), "{waiting:?}");
    }
    let asked = scene.requests(2)?;
    let of = |path: &str| {
        let mut asked = asked.iter();
        let found = asked.find(|one| one["http"]["path"] == path);
        found.unwrap()["id"].as_str().unwrap()
    };
    let (first, second) = (of("/jobs/1"), of("/jobs/2"));
    let widened = ["approve", second, "--path", "/jobs/*", "--connections", "2"];
    assert_eq!(scene.daemon.json(widened)?["http"]["requests_left"], 1);
    shell.line_with("2: HTTP/1.1 200")?;
    assert_eq!(served(&production)?, ["DELETE"]);
    let left = scene.requests(1)?;
    assert_eq!((left.len(), left[0]["id"].as_str()), (1, Some(first)));
    assert_eq!(left[0]["held"], true);
    scene.daemon.json(["approve", first])?;
    shell.line_with("1: HTTP/1.1 200")?;
    Ok(())
}

#[test]
fn whoever_does_not_wait_any_more_is_not_waited_for() -> Tested {
    let scene = ProxyScene::with(&patient(), "")?;
    let _production = scene.production()?;
    let _follower = scene.follower()?;
    let mut shell = scene.shell()?;
    shell.tell(&sending("PUT", "/a", "1").replace("timeout 30", "timeout 1"))?;
    assert_eq!(scene.request()?["held"], true);
    shell.line_with("ended")?;
    shell.tell("exec 3>&-")?;
    eventually("nothing is asked", || {
        Ok(scene.daemon.json(["pending"])? == json!([]))
    })?;
    // A yes that comes now is for nothing, and says so.
    let late = scene.daemon.ask(["approve", "r1"])?;
    assert_eq!(late.code(), Some(2), "{late:?}");
    assert!(late.stderr.contains("r1 waits no more"), "{late:?}");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    Ok(())
}

/// A second attempt is no new request, and of one over HTTP nothing is written to the audit log while it is held.
#[test]
fn what_was_refused_first_and_is_held_later_is_told_at_the_terminal() -> Tested {
    let scene = ProxyScene::with(&patient(), "")?;
    let _production = scene.production()?;
    let script = scene.daemon.dir().join("writes");
    let put = sending("PUT", "/a", "1");
    fs::write(&script, format!("{put}; read line; {put}"))?;
    let tmux = Tmux::start(scene.daemon.dir());
    let window = tmux.window_of("run", 250, 50);
    let run = scene
        .daemon
        .agent(["run", "--policy", "reads", "--", "bash"])
        .args([&script]);
    window.guard(&run);
    let first = scene.request()?;
    assert_eq!(first["held"], false);
    window.expect("ended");
    let _watcher = scene.watcher()?;
    window.press(&["Enter"]);
    window.expect("guard: waits for a yes to tcp 192.0.2.10:80: PUT http://photos.example.com/a (request r1): ");
    let second = scene.request()?;
    assert_eq!(
        (&second["id"], &second["held"]),
        (&first["id"], &json!(true))
    );
    scene.daemon.json(["approve", "r1"])?;
    window.expect("HTTP/1.1 200");
    Ok(())
}

#[test]
fn a_yes_may_be_for_more_than_one_request() -> Tested {
    let scene = ProxyScene::new()?;
    let _production = scene.production()?;
    let mut shell = scene.shell()?;
    let send = |path: &str| {
        format!(
            "exec 3<>/dev/tcp/{V4}/{PORT}; printf 'DELETE {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; grep -q served_by <&3"
        )
    };
    assert_ne!(shell.status_of(&send("/jobs/1"))?, 0);
    let request = scene.request()?;
    let id = request["id"].text()?;
    let wrong = scene.daemon.ask(["approve", id, "--path", "/people/*"])?;
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    let hole = scene
        .daemon
        .json(["approve", id, "--path", "/jobs/*", "--for", "20m"])?;
    assert_eq!(hole["http"]["path"], "/jobs/*");
    for path in ["/jobs/1", "/jobs/2"] {
        assert_eq!(shell.status_of(&send(path))?, 0, "{path}");
    }
    for path in ["/people/1", "/jobs/../people/1"] {
        assert_ne!(shell.status_of(&send(path))?, 0, "{path}");
    }
    scene.daemon.json(["close", hole["id"].text()?])?;
    assert_ne!(shell.status_of(&send("/jobs/3"))?, 0);
    // It ends by itself, too.
    let asked = scene.daemon.json(["pending"])?;
    let mut asked = asked.list()?.iter();
    let third = asked.find(|one| one["http"]["path"] == "/jobs/3").unwrap();
    let third = third["id"].text()?;
    scene
        .daemon
        .json(["approve", third, "--path", "/jobs/*", "--for", "1s"])?;
    eventually("the hole ends", || {
        Ok(scene.daemon.json(["holes"])? == json!([]))
    })?;
    assert_ne!(shell.status_of(&send("/jobs/3"))?, 0);
    Ok(())
}
