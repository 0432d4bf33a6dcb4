//! The proxy in a network of a session's own.

use guard_lab::{bins, eventually};
use serde_json::json;

use crate::proxy::{
    PORT, V4,
    scene::{Scene, sending},
};

/// A network with nothing but a loopback, on which there is a server at production's address.
fn own_network(scene: &Scene) -> String {
    let lab = bins::for_everybody("guard-lab", scene.daemon.tag()).unwrap();
    format!(
        "exec unshare --map-root-user --net bash -c 'ip link set lo up && ip addr add {V4}/32 dev lo && \
         (sleep infinity | {} serve --tcp {PORT} >/dev/null 2>&1) & echo in a network; exec bash'",
        lab.display()
    )
}

#[test]
fn a_session_reads_through_it_in_a_network_of_its_own() {
    let scene = Scene::new();
    let mut shell = scene.shell();
    let proxy = scene.proxy();
    shell.tell(&own_network(&scene)).unwrap();
    shell.line_with("in a network").unwrap();
    // Where it was not seen yet, the first one is refused, and has it served; and its server takes its time.
    let read = format!(
        "exec 3<>/dev/tcp/{V4}/{PORT} && printf 'GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3 && grep -q ' 200 ' <&3"
    );
    eventually("a read passes", || shell.status_of(&read).unwrap() == 0).unwrap();
    assert!(scene.listeners(&proxy) >= 3);
    shell.tell(&sending("DELETE", "/x", "")).unwrap();
    let request = scene.request();
    assert_eq!(request["http"]["method"], "DELETE");
    shell.line_with("ended").unwrap();
    // Nobody is in it any more, so it does not live on.
    scene.json(&["stop", shell.session()]);
    eventually("it is forgotten", || scene.listeners(&proxy) <= 2).unwrap();
    assert_eq!(scene.json(&["status"])["warnings"], json!([]));
}
