//! Reads pass; what changes something waits for a person.

use guard_lab::PATIENCE;
use guard_lab::{Production, eventually};
use serde_json::{Value, json};

use crate::proxy::{
    POLICY, PORT, V4,
    scene::{Scene, sending},
};

/// The methods of the requests that production was sent.
fn served(production: &Production) -> Vec<String> {
    let seen = production.reached_at(V4, PORT).unwrap();
    let requests = seen.iter().filter(|one| one.kind == "http");
    requests
        .map(|one| one.record["method"].as_str().unwrap().to_owned())
        .collect()
}

/// The policy, where nobody tires of waiting.
fn patient() -> String {
    POLICY.replace("hold = \"20s\"", "hold = \"20m\"")
}

/// guardd's records of what has passed because somebody said yes.
fn passed(scene: &Scene) -> Vec<Value> {
    let mut records = scene.trail("http");
    records.retain(|one| one["outcome"] == "passed" && one["request"].is_string());
    records
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
    let passed = passed(&scene);
    assert_eq!(passed.len(), 1, "{passed:?}");
    assert_eq!(passed[0]["hole"], hole["id"]);
    assert_eq!(passed[0]["request"], id);
    assert_eq!(passed[0]["method"], "POST");
    assert_eq!(passed[0]["rule"], "production");
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
        // It is written down before it goes on.
        assert_eq!(passed(&scene).len(), 1, "{answer}");
        let status = shell.line_with("HTTP/1.1").unwrap();
        assert_eq!(status.contains(" 200 "), passes, "{answer}: {status}");
        shell.line_with("ended").unwrap();
    }
    assert_eq!(served(&production), ["PUT"]);
}

#[test]
fn nobody_waits_in_a_session_that_was_started_so() {
    let mut scene = Scene::with(&patient(), "");
    let mut shell = scene.shell_with(&["--hold", "0s"]);
    let mut other = scene.shell();
    // The next guardd knows it still.
    for path in ["/before", "/after"] {
        eventually("a proxy", || {
            scene.has_proxy() && scene.json(&["status"])["warnings"] == json!([])
        })
        .unwrap();
        let _follower = scene.follower();
        let held = |session: &str| {
            let asked = scene.json(&["pending"]);
            let mut asked = asked.as_array().unwrap().iter();
            asked.any(|one| one["session"] == session && one["held"] == true)
        };
        eventually("the other waits", || {
            let send = sending("PUT", path, "1").replace("timeout 30", "timeout 1");
            other.tell(&format!("({send}) >/dev/null &")).unwrap();
            held(other.session())
        })
        .unwrap();
        shell.tell(&sending("PUT", path, "1")).unwrap();
        shell.line_with("HTTP/1.1 403").unwrap();
        shell.line_with("ended").unwrap();
        assert!(!held(shell.session()));
        scene.daemon.stop().unwrap();
        scene.daemon.start().unwrap();
    }
}

#[test]
fn a_yes_is_for_the_one_that_was_asked_about_and_for_no_other_that_waits() {
    let scene = Scene::with(&patient(), "");
    let production = scene.production();
    let _follower = scene.follower();
    let mut shell = scene.shell();
    for number in [1, 2] {
        let sending = sending("DELETE", &format!("/jobs/{number}"), "");
        let line = format!("({sending}) | sed -u 's/^/{number}: /' &");
        shell.tell(&line).unwrap();
        let waiting = scene.requests(number);
        assert!(waiting.iter().all(|one| one["held"] == true), "{waiting:?}");
    }
    let asked = scene.requests(2);
    let of = |path: &str| {
        let mut asked = asked.iter();
        let found = asked.find(|one| one["http"]["path"] == path);
        found.unwrap()["id"].as_str().unwrap()
    };
    let (first, second) = (of("/jobs/1"), of("/jobs/2"));
    let widened = ["approve", second, "--path", "/jobs/*", "--connections", "2"];
    assert_eq!(scene.json(&widened)["http"]["requests_left"], 1);
    shell.line_with("2: HTTP/1.1 200").unwrap();
    assert_eq!(served(&production), ["DELETE"]);
    let left = scene.requests(1);
    assert_eq!((left.len(), left[0]["id"].as_str()), (1, Some(first)));
    assert_eq!(left[0]["held"], true);
    scene.json(&["approve", first]);
    shell.line_with("1: HTTP/1.1 200").unwrap();
}

#[test]
fn whoever_does_not_wait_any_more_is_not_waited_for() {
    let scene = Scene::with(&patient(), "");
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
    let hole = scene.json(&["approve", id, "--path", "/jobs/*", "--for", "20m"]);
    assert_eq!(hole["http"]["path"], "/jobs/*");
    for path in ["/jobs/1", "/jobs/2"] {
        assert_eq!(shell.status_of(&send(path)).unwrap(), 0, "{path}");
    }
    for path in ["/people/1", "/jobs/../people/1"] {
        assert_ne!(shell.status_of(&send(path)).unwrap(), 0, "{path}");
    }
    scene.json(&["close", hole["id"].as_str().unwrap()]);
    assert_ne!(shell.status_of(&send("/jobs/3")).unwrap(), 0);
    // It ends by itself, too.
    let asked = scene.json(&["pending"]);
    let mut asked = asked.as_array().unwrap().iter();
    let third = asked.find(|one| one["http"]["path"] == "/jobs/3").unwrap();
    let third = third["id"].as_str().unwrap();
    scene.json(&["approve", third, "--path", "/jobs/*", "--for", "1s"]);
    eventually("the hole ends", || scene.json(&["holes"]) == json!([])).unwrap();
    assert_ne!(shell.status_of(&send("/jobs/3")).unwrap(), 0);
}
