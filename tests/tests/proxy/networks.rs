//! The proxy in a network of a session's own.

use guard_lab::{Tested, V4, eventually};
use serde_json::json;

use crate::proxy::{
    PORT,
    scene::{ProxyScene, sending},
};

/// A network with nothing but a loopback, on which there is a server at production's address.
fn own_network(scene: &ProxyScene) -> Tested<String> {
    let lab = scene.daemon.program("guard-lab")?;
    Ok(format!(
        "exec unshare --map-root-user --net bash -c 'ip link set lo up && ip addr add {V4}/32 dev lo && \
         (sleep infinity | {} serve --tcp {PORT} >/dev/null 2>&1) & echo in a network; exec bash'",
        lab.display()
    ))
}

#[test]
fn a_session_reads_through_it_in_a_network_of_its_own() -> Tested {
    let scene = ProxyScene::new()?;
    let mut shell = scene.shell()?;
    let proxy = scene.proxy()?;
    shell.tell(&own_network(&scene)?)?;
    shell.line_with("in a network")?;
    // Where it was not seen yet, the first one is refused, and has it served; and its server takes its time.
    let read = format!(
        "exec 3<>/dev/tcp/{V4}/{PORT} && printf 'GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n' >&3 && grep -q ' 200 ' <&3"
    );
    eventually("a read passes", || Ok(shell.status_of(&read)? == 0))?;
    assert!(scene.listeners(&proxy)? >= 3);
    shell.tell(&sending("DELETE", "/x", ""))?;
    let request = scene.request()?;
    assert_eq!(request["http"]["method"], "DELETE");
    shell.line_with("ended")?;
    // Nobody is in it any more, so it does not live on.
    scene.daemon.json(["stop", shell.session()])?;
    eventually("it is forgotten", || Ok(scene.listeners(&proxy)? <= 2))?;
    assert_eq!(scene.daemon.json(["status"])?["warnings"], json!([]));
    Ok(())
}
