//! HTTP/2 in the ways in which clients begin it without TLS.

use crate::clients::files::{Files, PORT_2};
use crate::clients::scene::{HOST, Scene, url};

#[test]
fn a_client_that_offers_http2_goes_on_in_the_version_that_works() {
    let scene = Scene::new("");
    let files = Files::start(&scene);
    let mut agent = scene.agent();
    // It says Upgrade: h2c, which RFC 9113 has done away with.
    let line = |rest: &str, port| {
        format!(
            "curl -sS -m 60 -w ' %{{http_code}} %{{http_version}}' {rest} {}",
            url(port, "/photo.txt")
        )
    };
    let offered = agent.run(&line("--http2", 8080)).ok();
    assert_eq!(offered, "a photo\n 200 1.1");
    let known = agent.run(&line("--http2-prior-knowledge", PORT_2)).ok();
    assert_eq!(known, "a photo\n 200 2");
    agent
        .run(&line("--http2-prior-knowledge -X DELETE", PORT_2))
        .stopped();
    agent.run(&line("--http2 -X DELETE", 8080)).stopped();
    assert!(files.file("photo.txt").exists());
    scene.say_yes();
    let gone = agent
        .run(&line("--http2-prior-knowledge -X DELETE", PORT_2))
        .ok();
    assert_eq!(gone, " 204 2");
    assert!(!files.file("photo.txt").exists());
}

/// RFC 8441 3: who does not see the setting does not try, and goes on with HTTP/1.1.
#[test]
fn a_websocket_over_http2_is_not_offered_and_does_not_pass() {
    let scene = Scene::new("");
    let files = Files::start(&scene);
    let line = format!("/usr/bin/python3 $PROGRAMS/extended.py {HOST} {PORT_2}");
    let told = scene.agent().run(&line).ok();
    let (offered, refused) = told.split_once('\n').unwrap();
    assert_eq!(offered, "offered False");
    assert!(
        ["answered 4", "ended "]
            .iter()
            .any(|so| refused.starts_with(so)),
        "{told}"
    );
    assert_eq!(files.arrived(), [""; 0]);
}
