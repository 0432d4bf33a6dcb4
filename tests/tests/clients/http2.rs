//! HTTP/2 in the ways in which clients begin it without TLS.

use crate::clients::files::{Files, PORT_2};
use crate::clients::scene::{ClientScene, HOST, PATIENCE, url};
use crate::clients::server::Server;
use guard_lab::Tested;

#[test]
fn a_client_that_offers_http2_goes_on_in_the_version_that_works() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let mut agent = scene.agent()?;
    // It says Upgrade: h2c, which RFC 9113 has done away with.
    let line = |rest: &str, port| {
        format!(
            "curl -sS -m 60 -w ' %{{http_code}} %{{http_version}}' {rest} {}",
            url(port, "/photo.txt")
        )
    };
    let offered = agent.run(&line("--http2", 8080))?.ok();
    assert_eq!(offered, "a photo\n 200 1.1");
    let known = agent.run(&line("--http2-prior-knowledge", PORT_2))?.ok();
    assert_eq!(known, "a photo\n 200 2");
    agent
        .run(&line("--http2-prior-knowledge -X DELETE", PORT_2))?
        .stopped();
    agent.run(&line("--http2 -X DELETE", 8080))?.stopped();
    assert!(files.file("photo.txt").exists());
    scene.say_yes()?;
    let gone = agent
        .run(&line("--http2-prior-knowledge -X DELETE", PORT_2))?
        .ok();
    assert_eq!(gone, " 204 2");
    assert!(!files.file("photo.txt").exists());
    Ok(())
}

/// RFC 8441 3: who does not see the setting does not try, and goes on with HTTP/1.1.
#[test]
fn a_websocket_over_http2_is_not_offered_and_does_not_pass() -> Tested {
    let scene = ClientScene::new("")?;
    let files = Files::start(&scene)?;
    let line = format!("/usr/bin/python3 $PROGRAMS/extended.py {HOST} {PORT_2}");
    let told = scene.agent()?.run(&line)?.ok();
    let (offered, refused) = told.split_once('\n').unwrap();
    assert_eq!(offered, "offered False");
    assert!(
        ["answered 4", "ended "]
            .iter()
            .any(|so| refused.starts_with(so)),
        "{told}"
    );
    assert_eq!(files.arrived()?, [""; 0]);
    Ok(())
}

/// Node's server does not wait for its client's preface, nor does gRPC's C core (RFC 9113 3.4 has it so).
#[test]
fn reads_pass_to_a_server_that_says_its_settings_at_once() -> Tested {
    const PORT: u16 = 8083;
    let scene = ClientScene::new("")?;
    let mut node = scene.on_production("node")?;
    node.arg(scene.dir().join("settings.mjs"))
        .arg(PORT.to_string());
    let mut server = Server::start(&scene, &mut node, PORT)?;
    let patient =
        |method: &str| format!("/usr/bin/python3 $PROGRAMS/patient.py {HOST} {PORT} {method} 100");
    let curl = |rest: &str| {
        let url = url(PORT, "/");
        format!("for n in $(seq 20); do curl -sS -m 60 --http2-prior-knowledge {rest} {url}; done")
    };
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    for agent in [&mut without, &mut agent] {
        assert_eq!(agent.run(&patient("GET"))?.ok(), "200 100\n");
        assert_eq!(agent.run(&curl(""))?.ok(), "read\n".repeat(20));
    }
    for _ in 0..240 {
        assert_eq!(server.lines.line(PATIENCE)?, "GET /");
    }
    assert_eq!(agent.run(&patient("DELETE"))?.ok(), "403 100\n");
    agent.run(&curl("-X DELETE"))?.stopped();
    assert_eq!(without.run(&curl("-I"))?.code, 0);
    assert_eq!(server.lines.line(PATIENCE)?, "HEAD /");
    Ok(())
}
