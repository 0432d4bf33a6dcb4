//! The proxy in a network of a session's own.

use guard_lab::eventually;
use serde_json::json;

use crate::{
    PORT, V4,
    scene::{Scene, sending},
};

/// A network with nothing but a loopback, on which there is a server at production's address.
fn own_network() -> String {
    format!(
        "exec unshare --map-root-user --net bash -c 'ip link set lo up && ip addr add {V4}/32 dev lo && \
         (cd /usr/share && exec python3 -m http.server {PORT} >/dev/null 2>&1) & sleep 1; echo in a network; exec bash'"
    )
}

#[test]
fn a_session_reads_through_it_in_a_network_of_its_own() {
    let scene = Scene::new();
    let mut shell = scene.shell();
    let proxy = scene.proxy();
    shell.tell(&own_network()).unwrap();
    shell.line_with("in a network").unwrap();
    // Where it was not seen yet, the first one is refused, and has it served.
    eventually("a read passes", || {
        shell.tell(&sending("GET", "/", "")).unwrap();
        shell.line_with("ended").unwrap();
        scene.listeners(&proxy) >= 3
    })
    .unwrap();
    shell.tell(&sending("GET", "/", "")).unwrap();
    let status = shell.line_with("HTTP/1").unwrap();
    assert!(status.contains(" 200 "), "{status}");
    shell.line_with("ended").unwrap();
    shell.tell(&sending("DELETE", "/x", "")).unwrap();
    let request = scene.request();
    assert_eq!(request["http"]["method"], "DELETE");
    shell.line_with("ended").unwrap();
    // Nobody is in it any more, so it does not live on.
    scene.json(&["stop", shell.session()]);
    eventually("it is forgotten", || scene.listeners(&proxy) <= 2).unwrap();
    assert_eq!(scene.json(&["status"])["warnings"], json!([]));
}
