//! Reads pass; what changes something waits for a person.

use std::time::Duration;

use guard_lab::{Production, eventually};
use serde_json::json;

use crate::{
    PORT, V4,
    scene::{Scene, sending},
};

const PATIENCE: Duration = Duration::from_secs(10);

/// The methods of the requests that production was sent.
fn served(production: &Production<'_>) -> Vec<String> {
    let seen = production.reached_at(V4, PORT).unwrap();
    let requests = seen.iter().filter(|one| one.kind == "http");
    requests
        .map(|one| one.record["method"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn reads_pass_and_a_write_waits_for_a_person_who_says_yes_to_just_that() {
    let scene = Scene::new();
    let production = scene.production();
    let mut shell = scene.shell();
    shell.tell(&sending("GET", "/albums", "")).unwrap();
    shell.line_with("served_by").unwrap();
    shell.tell(&sending("POST", "/albums", "new")).unwrap();
    let status = shell.line_with("HTTP/1.1").unwrap();
    assert!(!status.contains(" 200 "), "{status}");
    let request = scene.request();
    let id = request["id"].as_str().unwrap();
    shell.line_with(id).unwrap();
    assert_eq!(request["verdict"], "read-only");
    assert_eq!(request["held"], false);
    let http = &request["http"];
    assert_eq!(http["method"], "POST");
    assert_eq!(http["path"], "/albums");
    assert_eq!(http["host"], "photos.example.com");
    assert_eq!(http["body_preview"], "new");
    assert_eq!(http["digest"].as_str().unwrap().len(), 64);
    assert_eq!(served(&production), ["GET"]);
    let hole = scene.json(&["approve", id]);
    assert_eq!(hole["http"]["requests_left"], 1);
    assert_eq!(scene.json(&["holes"])[0]["id"], hole["id"]);
    assert_eq!(scene.trail("hole-open")[0]["http"]["method"], "POST");
    // Another one is not that one, and that one passes once.
    for (body, passes) in [("old", false), ("new", true), ("new", false)] {
        shell.line_with("ended").unwrap();
        shell.tell(&sending("POST", "/albums", body)).unwrap();
        let status = shell.line_with("HTTP/1.1").unwrap();
        assert_eq!(status.contains(" 200 "), passes, "{body}: {status}");
    }
    assert_eq!(served(&production), ["GET", "POST"]);
    assert_eq!(scene.json(&["holes"]), json!([]));
    let ended = scene.trail("hole-close");
    assert_eq!(ended[0]["why"], "used up", "{ended:?}");
}

#[test]
fn a_write_that_waits_goes_on_at_yes_and_ends_at_no() {
    let scene = Scene::new();
    let production = scene.production();
    let mut follower = scene.follower();
    let mut shell = scene.shell();
    for (answer, passes) in [("approve", true), ("deny", false)] {
        shell
            .tell(&sending("PUT", &format!("/{answer}"), "1"))
            .unwrap();
        follower.line_with("PUT", PATIENCE).unwrap();
        let request = scene.request();
        assert_eq!(request["held"], true, "{request}");
        assert!(request["waits_until"].is_string());
        scene.json(&[answer, request["id"].as_str().unwrap()]);
        let status = shell.line_with("HTTP/1.1").unwrap();
        assert_eq!(status.contains(" 200 "), passes, "{answer}: {status}");
        shell.line_with("ended").unwrap();
    }
    assert_eq!(served(&production), ["PUT"]);
    let logged = scene.trail("http");
    let passed = logged.iter().any(|one| one["outcome"] == "passed");
    assert!(passed, "{logged:?}");
}

#[test]
fn whoever_does_not_wait_any_more_is_not_waited_for() {
    let scene = Scene::new();
    let _production = scene.production();
    let _follower = scene.follower();
    let mut shell = scene.shell();
    shell
        .tell(&sending("PUT", "/a", "1").replace("timeout 30", "timeout 1"))
        .unwrap();
    assert_eq!(scene.request()["held"], true);
    shell.line_with("ended").unwrap();
    shell.tell("exec 3>&-").unwrap();
    eventually("nobody waits", || scene.request()["held"] == false).unwrap();
    assert_eq!(scene.request()["waits_until"], json!(null));
}

#[test]
fn a_yes_may_be_for_more_than_one_request() {
    let scene = Scene::new();
    let _production = scene.production();
    let mut shell = scene.shell();
    let send = |path: &str| {
        format!(
            "exec 3<>/dev/tcp/{V4}/{PORT}; printf 'DELETE {path} HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n' >&3; grep -q served_by <&3"
        )
    };
    assert_ne!(shell.status_of(&send("/jobs/1")).unwrap(), 0);
    let request = scene.request();
    let id = request["id"].as_str().unwrap();
    let wrong = scene
        .daemon
        .ask(["approve", id, "--path", "/people/*"])
        .unwrap();
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    let hole = scene.json(&["approve", id, "--path", "/jobs/*", "--for", "2s"]);
    assert_eq!(hole["http"]["path"], "/jobs/*");
    for path in ["/jobs/1", "/jobs/2"] {
        assert_eq!(shell.status_of(&send(path)).unwrap(), 0, "{path}");
    }
    for path in ["/people/1", "/jobs/../people/1"] {
        assert_ne!(shell.status_of(&send(path)).unwrap(), 0, "{path}");
    }
    eventually("the hole ends", || scene.json(&["holes"]) == json!([])).unwrap();
    assert_ne!(shell.status_of(&send("/jobs/3")).unwrap(), 0);
}
