//! Answers to requests become rules, and another policy judges the requests of the past.

use anyhow::Context as _;
use guard_lab::{Json as _, Shell, Tested, eventually};

use crate::read_only::scene::{JOB, PHOTOS, PhotoScene, START, url};

/// What `curl` is answered in a session's shell.
fn curl(agent: &mut Shell, args: &str) -> Tested<String> {
    let line = format!("curl -s -o /dev/null -w 'status=%{{http_code}}\\n' {args}");
    agent.tell(&line)?;
    let said = agent.line_with("status=")?;
    Ok(said.trim().trim_start_matches("status=").to_owned())
}

/// Is stopped, and asks.
fn asked(scene: &PhotoScene, agent: &mut Shell, args: &str) -> Tested<String> {
    assert_eq!(curl(agent, args)?, "403", "{args}");
    let pending = scene.pending()?;
    let last = pending.last().context("nothing waits")?;
    Ok(last["id"].text()?.to_owned())
}

#[test]
fn answers_to_requests_become_rules_for_them_and_no_others() -> Tested {
    let scene = PhotoScene::new()?;
    let mut agent = scene.shell()?;
    let at = |path: &str| url(PHOTOS, path);
    let empty = format!("-X PUT '{}'", at("/api/albums/1?cover=2"));
    let body = format!("-X PUT -d '{START}' {}", at(JOB));
    let like = format!("-X POST -d x {}", at("/api/tags/1"));
    let never = format!("-X POST {}", at("/api/other"));
    let answer = |args: &[&str]| scene.daemon.agent(args).run()?.success();
    answer(&["approve", &asked(&scene, &mut agent, &empty)?])?;
    answer(&["approve", &asked(&scene, &mut agent, &body)?])?;
    let id = asked(&scene, &mut agent, &like)?;
    answer(&[
        "approve",
        &id,
        "--path",
        "/api/tags/*",
        "--connections",
        "1",
    ])?;
    answer(&["deny", &asked(&scene, &mut agent, &never)?])?;
    let suggested = scene.daemon.agent(["suggest"]).run()?;
    let lines = suggested.success()?.stdout;
    assert!(
        lines.contains("#path = \"/api/jobs/thumbnailGeneration\""),
        "{lines}"
    );
    let text = format!("version = 1\nname = \"learned\"\ndefault = \"deny\"\n{lines}");
    scene.daemon.write_policy("learned", &text)?;
    let mut learned = Shell::start(&scene.daemon, "learned")?;
    for (args, status) in [
        (&empty, "200"),
        (&format!("-X PUT {}", at("/api/albums/1")), "403"),
        (&body, "403"),
        (&like, "200"),
        (&format!("-X PUT {}", at("/api/tags/1")), "403"),
        (&never, "403"),
        (&at("/api/albums"), "200"),
    ] {
        assert_eq!(curl(&mut learned, args)?, status, "{args}\n{lines}");
    }
    Ok(())
}

#[test]
fn reads_are_counted_while_their_connection_lasts() -> Tested {
    let scene = PhotoScene::new()?;
    let mut agent = scene.shell()?;
    let program = format!(
        "import http.client, time\n\
         one = http.client.HTTPConnection('{PHOTOS}', 8080)\n\
         for _ in range(20):\n    one.request('GET', '/api/albums'); one.getresponse().read()\n\
         print('read', flush=True); time.sleep(600)\n"
    );
    let file = scene.daemon.dir().join("reads.py");
    std::fs::write(&file, program)?;
    agent.tell(&format!("python3 {} &", file.display()))?;
    agent.line_with("read")?;
    eventually("they are counted", || {
        let flows = scene.daemon.agent(["flows"]).json()?;
        Ok(flows[0]["reads"] == 20 && flows[0]["connections"] == 1)
    })?;
    Ok(())
}
