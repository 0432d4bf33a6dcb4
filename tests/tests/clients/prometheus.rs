//! Prometheus, with curl and with its own client, which is written in Go.

use guard_lab::Tested;
use std::fs;

use crate::clients::scene::{ClientScene, url};
use crate::clients::server::Server;

pub(crate) const PORT: u16 = 9090;

pub(crate) fn start(scene: &ClientScene) -> Tested<Server> {
    let dir = scene.dir().join("prometheus");
    fs::create_dir(&dir)?;
    fs::write(dir.join("prometheus.yml"), "")?;
    let mut command = scene.on_production("prometheus")?;
    command
        .arg(format!(
            "--config.file={}",
            dir.join("prometheus.yml").display()
        ))
        .arg(format!(
            "--storage.tsdb.path={}",
            dir.join("data").display()
        ))
        .arg(format!("--web.listen-address=0.0.0.0:{PORT}"))
        .args(["--web.enable-lifecycle", "--web.enable-admin-api"]);
    let server = Server::start(scene, &mut command, PORT)?;
    guard_lab::eventually("it is ready", || {
        Ok(server.log()?.contains("ready to receive"))
    })?;
    Ok(server)
}

#[test]
fn queries_pass_and_the_administrator_is_asked() -> Tested {
    let scene = ClientScene::new("profile = \"prometheus\"\n")?;
    let server = start(&scene)?;
    let (mut without, mut agent) = (scene.unguarded()?, scene.agent()?);
    let query = format!("promtool query instant {} 'vector(2) + 40'", url(PORT, ""));
    let range = format!(
        "curl -sS -d query=vector(42) -d start=0 -d end=60 -d step=30 {}",
        url(PORT, "/api/v1/query_range")
    )
    .replace("vector(42)", "'vector(42)'");
    for line in [query, range] {
        let expected = without.run(&line)?.ok();
        assert!(expected.contains("42"), "{line}: {expected}");
        // The instant of each is its own.
        let words = |text: &str| text.split("@[").next().unwrap().to_owned();
        assert_eq!(words(&agent.run(&line)?.ok()), words(&expected), "{line}");
    }
    let reloads = || -> Tested<_> {
        Ok(server
            .log()?
            .matches("Completed loading of configuration")
            .count())
    };
    assert_eq!(reloads()?, 1);
    let snapshots = scene.dir().join("prometheus/data/snapshots");
    let reload = curl_post("/-/reload");
    let snapshot = curl_post("/api/v1/admin/tsdb/snapshot");
    agent.run(&reload)?.stopped();
    agent.run(&snapshot)?.stopped();
    assert_eq!((reloads()?, snapshots.exists()), (1, false));
    // In Prometheus some of it is there for GET, too.
    agent
        .run(&format!(
            "curl -sS -w '%{{http_code}}' {}",
            url(PORT, "/-/quit")
        ))?
        .stopped();

    scene.say_yes()?;
    assert!(agent.run(&reload)?.ok().ends_with("200"));
    assert!(agent.run(&snapshot)?.ok().ends_with("200"));
    assert_eq!((reloads()?, snapshots.exists()), (2, true));
    Ok(())
}

fn curl_post(path: &str) -> String {
    format!("curl -sS -w '%{{http_code}}' -X POST {}", url(PORT, path))
}
