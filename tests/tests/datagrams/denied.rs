//! Sockets that are connected to what is denied: nothing of it leaves, and it is told when something would have been sent.

use guard_lab::{AGENT, Json as _, NEVER, Production, Scene, Tested, V4, eventually, exec};
use serde_json::Value;

use super::{CLIENT, NAME, OPEN, PORT, client, does, scene};

/// Ways to send on a socket that is connected.
const WAYS: [&str; 7] = [
    "send", "write", "sendmsg", "sendmmsg", "segments", "splice", "cork",
];

/// A CI job may reach one of a name's addresses, and by TCP alone.
const JOB: &str = r#"
version = 1
name = "job"
default = "deny"

[[rule]]
name = "web"
to = ["192.0.2.10"]
ports = ["tcp/443"]
action = "allow"
"#;
const SITE: &str = "site.example.net";

fn arrived(production: &Production) -> Tested<usize> {
    let reached = production.reached_at(NEVER, 443)?;
    Ok(reached.iter().filter(|one| one.kind == "udp").count())
}

/// What a client says outside of any session.
fn said_outside(scene: &Scene, lines: &[String]) -> Tested<String> {
    let file = scene.daemon.write_for_agents("client.py", CLIENT)?;
    let mut outside = scene.network.dev().command_as(AGENT, "/usr/bin/python3");
    let said = exec::output_with(outside.arg(file), &(lines.join("\n") + "\n"))?;
    Ok(String::from_utf8(said.stdout)?)
}

#[test]
fn nothing_leaves_by_any_way_to_send() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let forms = [NEVER.to_owned(), format!("::ffff:{NEVER}")];
    let steps = |to: &str, way: &str| {
        let name = format!("{way}-{to}");
        let connects = format!("connect {name} {to} {PORT}");
        [connects, format!("by {way} {name}")]
    };
    let ways = || forms.iter().flat_map(|to| WAYS.map(|way| (to, way)));
    let lines: Vec<_> = ways().flat_map(|(to, way)| steps(to, way)).collect();
    let said = said_outside(&scene, &lines)?;
    assert_eq!(said.matches(" ok\n").count(), lines.len(), "{said}");
    // Segments are two.
    let all = forms.len() * (WAYS.len() + 1);
    eventually("all of it arrives", || Ok(arrived(&production)? == all))?;

    let mut client = client(&scene, "asks")?;
    for (to, way) in ways() {
        let [connects, sends] = steps(to, way);
        assert_eq!(does(&mut client, &connects)?, "ok", "{connects}");
        // The kernel does not say what came of what was corked, if it had not asked before (`sendmsg`, for a mapped address).
        let is_asked = way != "cork" || to.contains(':');
        let refused = if is_asked { "EPERM" } else { "ok" };
        assert_eq!(does(&mut client, &sends)?, refused, "{sends}");
    }
    // A later packet of another socket is there, and so would be these.
    let opens = format!("connect open {OPEN} {PORT}");
    assert_eq!(does(&mut client, &opens)?, "ok");
    assert_eq!(does(&mut client, "send open")?, "ok");
    assert_eq!(arrived(&production)?, all);
    Ok(())
}

#[test]
fn it_is_told_when_something_is_sent() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    let fails_on = |what| -> Tested<_> {
        let report = ["report", "--session", "s1", "--fail-on", what];
        Ok(scene.daemon.agent(report).run()?.code())
    };
    for port in ["0", "9", PORT] {
        let connects = format!("connect never{port} {NEVER} {port}");
        assert_eq!(does(&mut client, &connects)?, "ok");
    }
    client.tell(&format!("lookup {NAME}"))?;
    client.line_with(&format!("found {NEVER}"))?;
    // What is asked about is told, and all before it would be.
    assert_eq!(does(&mut client, &format!("sendto asked {V4} 9"))?, "EPERM");
    eventually("it is stopped", || Ok(fails_on("stopped")? == Some(1)))?;
    assert_eq!(fails_on("denied")?, Some(0));
    assert_eq!(does(&mut client, &format!("send never{PORT}"))?, "EPERM");
    eventually("it is denied", || Ok(fails_on("denied")? == Some(1)))?;
    let is_denied = |one: &Value| one["verdict"] == "deny";
    let denied = scene.daemon.audited("denied")?;
    let denied: Vec<_> = denied.into_iter().filter(is_denied).collect();
    let [one] = &denied[..] else {
        panic!("{denied:?}");
    };
    assert_eq!(one["destination"]["address"], NEVER);
    assert_eq!(one["destination"]["port"], 443);
    assert_eq!(one["rule"], "never", "{one}");
    assert_eq!(one["hook"], "connect4", "{one}");
    // Who has connected it: a packet has no process.
    assert!(one["comm"].text()?.starts_with("python3"), "{one}");
    let guard = scene.daemon.program("guard")?;
    client.tell(&format!("why {}", guard.display()))?;
    let said = client.line_with("why {")?;
    let said: Value = serde_json::from_str(said.trim().trim_start_matches("why "))?;
    let stopped = said["stopped"].list()?;
    let stopped: Vec<_> = stopped.iter().filter(|one| is_denied(one)).collect();
    let [one] = &stopped[..] else {
        panic!("{said}");
    };
    assert_eq!(one["destination"]["address"], NEVER);
    assert_eq!(one["rule"], "never");
    Ok(())
}

/// curl has the C library sort the addresses of a name, by a socket for each that is connected to the port where curl wants to go.
#[test]
fn a_job_whose_download_succeeds_was_denied_nothing() -> Tested {
    let scene = Scene::new("job", JOB)?;
    let _production = scene.production()?;
    let hosts = format!("{V4} {SITE}\n{NEVER} {SITE}\n");
    let hosts = scene.daemon.write_for_agents("hosts", &hosts)?;
    let url = format!("http://{SITE}:443/");
    let job = |name: &'static str, url: &str| {
        let run = scene
            .daemon
            .agent(["run", "--policy", "job", "--name", name]);
        let run = run.hosts(&hosts);
        run.args(["--", "curl", "-sS", "-m", "20", "-o", "/dev/null", url])
            .run()
    };
    let fails = |name: &str| -> Tested<_> {
        let report = ["report", "--name", name];
        eventually("it has ended", || {
            let said = scene.daemon.json(report).unwrap();
            !said["sessions"][0]["ended_at"].is_null()
        })?;
        let report = scene.daemon.agent(report).args(["--fail-on", "denied"]);
        Ok(report.run()?.code())
    };
    let done = job("succeeds", &url)?.success()?;
    assert!(!done.stderr.contains("stopped"), "{}", done.stderr);
    assert_eq!(fails("succeeds")?, Some(0));
    assert_eq!(
        scene.daemon.json(["report", "--name", "succeeds"])?["refused"],
        0
    );
    // Whoever does want to go there was denied it.
    let refused = job("fails", &format!("http://{NEVER}:443/"))?;
    assert_eq!(refused.code(), Some(7), "{}", refused.stderr);
    assert_eq!(fails("fails")?, Some(1));
    Ok(())
}
