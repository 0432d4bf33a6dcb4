//! Production that may be looked at: what reads passes, what changes something waits for a person.

mod first;
mod holes;
mod home;
mod learned;
mod same;
mod scene;

use std::net::{Ipv4Addr, TcpStream};
use std::{fs, io};

use guard_lab::{Attempt, Json as _, OPEN, Tested, eventually};
use scene::{JOB, PATIENCE, PHOTOS, PHOTOS_V6, PhotoScene, RULES, START, url};

use crate::https::scene::POLICY;

#[test]
fn the_incident_does_not_happen_again() -> Tested {
    let scene = PhotoScene::new()?;
    let job = url(PHOTOS, JOB);
    let put = ["-X", "PUT", "-d", START, job.as_str()];
    // As it was: nobody is asked.
    assert_eq!(scene.outside(&put)?.status, 200);
    assert_eq!(scene.arrived()?, [format!("PUT {JOB}")]);

    let looked = scene.inside(&[&url(PHOTOS, "/api/jobs")])?;
    assert_eq!(looked.status, 200);
    assert_eq!(looked.json()?["served_by"], "production");
    let stopped = scene.inside(&put)?;
    assert_eq!(stopped.status, 403, "{stopped:?}");
    let problem = stopped.json()?;
    assert_eq!(problem["rule"], "photos");
    assert!(
        problem["fix"].as_str().is_some_and(|fix| !fix.is_empty()),
        "{problem}"
    );
    let arrived = [format!("PUT {JOB}"), "GET /api/jobs".to_owned()];
    assert_eq!(scene.arrived()?, arrived);
    Ok(())
}

#[test]
fn the_approver_sees_the_request_and_a_yes_is_for_that_one() -> Tested {
    let scene = PhotoScene::new()?;
    let mut agent = scene.shell()?;
    let put = format!(
        "curl -s -o /dev/null -w '%{{http_code}}\\n' -X PUT -d '{START}' {}",
        url(PHOTOS, JOB)
    );
    agent.tell(&put)?;
    assert_eq!(agent.line_with("403")?.trim(), "403");
    let request = scene.request()?;
    let http = &request["http"];
    assert_eq!(
        (&http["method"], &http["path"]),
        (&"PUT".into(), &JOB.into())
    );
    assert_eq!(
        (&http["bytes"], &http["body_preview"]),
        (&32.into(), &START.into())
    );
    assert_eq!(request["rule"], "photos");
    assert_eq!(request["verdict"], "read-only");
    let warnings = http["warnings"].to_string();
    assert!(warnings.contains("force"), "{warnings}");
    assert_eq!(scene.arrived()?, [""; 0]);

    let id = request["id"].text()?;
    scene.daemon.agent(["approve", id]).run()?.success()?;
    // Another one is another request.
    let other = put.replace("start", "stop");
    agent.tell(&other)?;
    assert_eq!(agent.line_with("403")?.trim(), "403");
    agent.tell(&put)?;
    assert_eq!(agent.line_with("200")?.trim(), "200");
    assert_eq!(scene.bodies()?, [START]);
    agent.tell(&put)?;
    assert_eq!(agent.line_with("403")?.trim(), "403");
    assert_eq!(scene.bodies()?, [START]);
    Ok(())
}

#[test]
fn a_request_waits_where_somebody_can_answer() -> Tested {
    let scene = PhotoScene::new()?;
    let mut person = scene
        .daemon
        .agent(["pending", "--follow", "--json"])
        .spawn()?;
    let mut agent = scene.begin(&["-X", "PUT", "-d", START, &url(PHOTOS, JOB)])?;
    let line = person.line_with("thumbnailGeneration", PATIENCE)?;
    let request: serde_json::Value = serde_json::from_str(&line)?;
    assert_eq!(request["held"], true, "{line}");
    assert_eq!(scene.arrived()?, [""; 0]);
    let id = request["id"].text()?;
    scene.daemon.agent(["approve", id]).run()?.success()?;
    agent.line_with("200", PATIENCE)?;
    assert_eq!(scene.bodies()?, [START]);
    assert_eq!(scene.pending()?, [""; 0]);
    Ok(())
}

#[test]
fn a_no_is_told_at_once() -> Tested {
    let scene = PhotoScene::new()?;
    let mut person = scene
        .daemon
        .agent(["pending", "--follow", "--json"])
        .spawn()?;
    let mut agent = scene.begin(&["-X", "PUT", &url(PHOTOS, JOB)])?;
    let line = person.line_with("thumbnailGeneration", PATIENCE)?;
    let request: serde_json::Value = serde_json::from_str(&line)?;
    let id = request["id"].text()?;
    scene.daemon.agent(["deny", id]).run()?.success()?;
    agent.line_with("403", PATIENCE)?;
    assert_eq!(scene.arrived()?, [""; 0]);
    Ok(())
}

/// The proxy holds it, and ends with guardd; a connection the kernel would hold on.
#[test]
fn a_write_that_waits_is_said_to_have_failed_where_guardd_is_gone() -> Tested {
    let mut scene = PhotoScene::new()?;
    let mut person = scene.daemon.agent(["pending", "--follow"]).spawn()?;
    let mut agent = scene.begin(&["-X", "PUT", &url(PHOTOS, JOB)])?;
    person.line_with("gives up", PATIENCE)?;
    scene.daemon.kill()?;
    let line = person.line_with("it waits no more", PATIENCE)?;
    assert!(line.starts_with("r1: "), "{line}");
    // curl has no answer.
    agent.line_with("000", PATIENCE)?;
    scene.daemon.start()?;
    assert_eq!(scene.arrived()?, [""; 0]);
    Ok(())
}

#[test]
fn rules_of_the_policy_decide_first() -> Tested {
    let scene = PhotoScene::new()?;
    let search = url(PHOTOS, "/api/search/metadata");
    assert_eq!(scene.inside(&["-d", "{}", &search])?.status, 200);
    let gone = scene.inside(&["-X", "DELETE", &url(PHOTOS, "/api/assets/1")])?;
    assert_eq!(gone.status, 403);
    // Nobody is asked.
    assert_eq!(scene.pending()?, [""; 0]);
    assert_eq!(scene.arrived()?, ["POST /api/search/metadata"]);
    // It is told among what was stopped.
    let report = || scene.daemon.json(["report"]);
    eventually("it is on record", || Ok(report()?["writes"] == 1))?;
    let stopped = report()?["stopped"].clone();
    let mut all = stopped.list()?.iter();
    let write = all.find(|one| !one["sends"].is_null());
    let write = write.unwrap();
    assert_eq!(write["sends"], "DELETE /api/assets/1", "{stopped}");
    // A rule denies it.
    assert_eq!(write["verdict"], "deny", "{stopped}");
    let failed = scene.daemon.root(["report", "--fail-on", "denied"]).run()?;
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    Ok(())
}

/// Whatever was refused fails a job that is to fail, and not connections alone.
#[test]
fn a_write_that_was_refused_fails_a_job_that_is_to_fail() -> Tested {
    let scene = PhotoScene::new()?;
    let job = url(PHOTOS, JOB);
    let run = |name: &str, command: &str| {
        let run = [
            "run", "--policy", "photos", "--name", name, "--", "sh", "-c",
        ];
        Tested::Ok(scene.daemon.agent(run).args([command]).run()?.stdout)
    };
    let failing_on = |what, name| {
        let report = ["report", "--name", name, "--fail-on", what, "--json"];
        let report = scene.daemon.agent(report).run()?;
        Tested::Ok((report.code(), report.json()?))
    };
    let told = |name| failing_on("stopped", name);
    let curl = "curl -s -o /dev/null -m 20 -w '%{http_code}'";
    assert_eq!(run("reads", &format!("{curl} {job}"))?, "200");
    assert_eq!(told("reads")?.0, Some(0));
    assert_eq!(run("writes", &format!("{curl} -X PUT {job}"))?, "403");
    eventually("the write is counted", || Ok(told("writes")?.0 == Some(1)))?;
    let (_, writes) = told("writes")?;
    assert_eq!(writes["writes"], 1, "{writes}");
    let stopped = &writes["stopped"][0];
    assert_eq!(stopped["sends"], format!("PUT {JOB}"), "{writes}");
    assert_eq!(
        (&stopped["rule"], &stopped["count"]),
        (&"photos".into(), &1.into())
    );
    // A person could have allowed it: nothing denies it.
    assert_eq!(failing_on("denied", "writes")?.0, Some(0));
    // Nobody can allow a tunnel.
    run(
        "tunnels",
        &format!("curl -s -m 20 -p -x http://{PHOTOS}:8080 http://{PHOTOS}"),
    )?;
    eventually("the tunnel is counted", || {
        Ok(failing_on("denied", "tunnels")?.0 == Some(1))
    })?;
    // What is no HTTP is closed, and told of.
    let nonsense = format!("printf 'nonsense\\r\\n\\r\\n' | curl -s -m 20 telnet://{PHOTOS}:8080");
    run("closed", &nonsense)?;
    eventually("what was closed is counted", || {
        Ok(told("closed")?.0 == Some(1))
    })?;
    let (_, closed) = told("closed")?;
    assert_eq!(
        (&closed["closed"], &closed["writes"]),
        (&1.into(), &0.into()),
        "{closed}"
    );
    Ok(())
}

#[test]
fn it_is_unseen() -> Tested {
    let scene = PhotoScene::new()?;
    for host in [PHOTOS, PHOTOS_V6] {
        let mut args = vec![
            "-o",
            "/dev/null",
            "-w",
            "%{remote_ip} %{remote_port}\n%{http_code}",
        ];
        let url = url(host, "/");
        args.push(&url);
        let answer = scene.inside(&args)?;
        assert_eq!(
            (answer.status, answer.body.trim()),
            (200, &*format!("{host} 8080"))
        );
    }
    // The policy lets everything else alone.
    assert_eq!(scene.inside(&["-X", "PUT", &url(OPEN, "/x")])?.status, 200);
    Ok(())
}

#[test]
fn nothing_but_tcp_is_turned_and_nothing_goes_past() -> Tested {
    let scene = PhotoScene::new()?;
    let arrived = || {
        let reached = scene.production.reached()?;
        let there = reached.iter().filter(|one| one.to.to_string() == PHOTOS);
        Tested::Ok(there.count())
    };
    for kind in ["udp-send", "udp-connect", "ping"] {
        let attempt = Attempt::new(kind, PHOTOS, 8080);
        let at_first = arrived()?;
        attempt.outside(scene.network.dev(), guard_lab::AGENT)?;
        let before = arrived()?;
        assert!(
            before > at_first,
            "{kind} does not arrive without the guard"
        );
        let report = attempt.under(&scene.daemon, "photos")?;
        assert_eq!(
            (report.ok, arrived()?),
            (false, before),
            "{kind}: {report:?}"
        );
    }
    Ok(())
}

#[test]
fn what_is_no_http_is_not_passed_on() -> Tested {
    let scene = PhotoScene::new()?;
    let echo = Attempt::tcp(PHOTOS, 8080);
    assert!(echo.outside(scene.network.dev(), guard_lab::AGENT)?.ok);
    echo.under(&scene.daemon, "photos")?;
    eventually("written down", || {
        let mut http = scene.daemon.logged("http")?.into_iter();
        Ok(http.any(|record| record["outcome"] == "refused" && record["rule"] == "photos"))
    })?;
    Ok(())
}

#[test]
fn what_came_of_a_yes_is_told_inside_also_after_a_restart() -> Tested {
    let mut scene = PhotoScene::new()?;
    let mut agent = guard_lab::Shell::start(&scene.daemon, "photos")?;
    let guard = scene.daemon.program("guard")?;
    let put = format!(
        "curl -s -o /dev/null -w 'status=%{{http_code}}\\n' -X PUT -d '{START}' {}",
        url(PHOTOS, JOB)
    );
    // A guardd that has just begun starts its proxy.
    let sends = |agent: &mut guard_lab::Shell, status: &str| {
        eventually("the proxy answers", || {
            agent.tell(&put)?;
            Ok(agent.line_with("status=")?.trim().ends_with(status))
        })
    };
    sends(&mut agent, "403")?;
    let [request] = <[_; 1]>::try_from(scene.pending()?).unwrap();
    let (id, asked_at) = (request["id"].text()?, request["asked_at"].clone());
    let why = |agent: &mut guard_lab::Shell| -> Tested<serde_json::Value> {
        agent.tell(&format!(
            "{} why --json | tr -d '\\n'; echo",
            guard.display()
        ))?;
        let line = agent.line_with("\"stopped\"")?;
        let report: serde_json::Value = serde_json::from_str(&line)?;
        // A connection that came before the proxy ran is told of as well.
        let stopped = report["stopped"].list()?.iter();
        let http: Vec<_> = stopped.filter(|one| one["http"].is_object()).collect();
        assert_eq!(http.len(), 1, "{report}");
        Ok(http[0].clone())
    };
    let told = why(&mut agent)?;
    assert_eq!(
        (&told["request"], &told["outcome"]),
        (&id.into(), &serde_json::Value::Null)
    );
    // A request that waits keeps its time, too.
    scene.daemon.kill()?;
    scene.daemon.start()?;
    let again = why(&mut agent)?;
    assert_eq!(again["request"], id, "{again}");
    let [pending] = <[_; 1]>::try_from(scene.pending()?).unwrap();
    assert_eq!(pending["asked_at"], asked_at, "{pending}");
    let starts = scene.daemon.logged("daemon-start")?;
    let started = starts
        .last()
        .map(|one| one["at"].clone())
        .unwrap_or_default();
    assert!(again["at"].text()? < started.text()?, "{again}");
    assert!(pending["last_at"].text()? < started.text()?, "{pending}");

    scene.daemon.agent(["approve", id]).run()?.success()?;
    let open = &why(&mut agent)?["outcome"];
    assert_eq!(
        (&open["request"], &open["passed"]),
        (&id.into(), &0.into()),
        "{open}"
    );
    sends(&mut agent, "200")?;
    for _ in 0..2 {
        let told = why(&mut agent)?;
        let outcome = &told["outcome"];
        assert_eq!(told["request"], serde_json::Value::Null, "{told}");
        assert_eq!(told["http"]["method"], "PUT", "{told}");
        assert_eq!(outcome["request"], id, "{told}");
        assert_eq!(
            (&outcome["passed"], &outcome["ended"]),
            (&1.into(), &"used up".into()),
            "{told}"
        );
        scene.daemon.kill()?;
        scene.daemon.start()?;
    }
    // The same once more is asked about once more.
    sends(&mut agent, "403")?;
    let told = why(&mut agent)?;
    assert!(told["request"].is_string(), "{told}");
    assert_eq!(told["outcome"]["request"], id, "{told}");
    Ok(())
}

/// Who is told that the guard is not the reason looks elsewhere.
#[test]
fn what_was_closed_or_refused_again_is_told_inside_and_written_down() -> Tested {
    let scene = PhotoScene::new()?;
    let mut agent = scene.shell()?;
    let guard = scene.daemon.program("guard")?;
    let job = url(PHOTOS, JOB);
    let put = format!("curl -s -o /dev/null -w '%{{http_code}}\\n' -X PUT -d '{START}' {job}");
    agent.tell(&put)?;
    agent.line_with("403")?;
    let request = scene.request()?;
    let id = request["id"].text()?;
    let no = scene.daemon.agent(["deny", id]).run()?;
    assert_eq!(no.code(), Some(0), "{no:?}");
    agent.tell(&put)?;
    agent.line_with("403")?;
    let refused = || {
        let log = scene.daemon.logged("http")?.into_iter();
        let mut refused = log.filter(|one| one["path"] == JOB);
        Ok(refused.any(|one| one["why"].to_string().contains("said no")))
    };
    eventually("the second attempt is written down", refused)?;
    // What is no HTTP is closed.
    agent.tell(&format!(
        "printf 'nonsense\\r\\n\\r\\n' | curl -s -m 20 telnet://{} >/dev/null; echo closed=$?",
        job.trim_start_matches("http://").split('/').next().unwrap()
    ))?;
    agent.line_with("closed=")?;
    // Wrapped to a terminal's width.
    let why = format!("{} why | tr -s ' \\n' ' '; echo end=why", guard.display());
    let mut said = String::new();
    let is_told = eventually("guard why tells of the closed connection", || {
        agent.tell(&why)?;
        said = agent.line_with("end=why")?;
        Ok(said.contains("closed the connection"))
    });
    let log = scene.daemon.root(["log", "--json"]).run()?.stdout;
    assert!(is_told.is_ok(), "{said}\n{log}");
    Ok(())
}

#[test]
fn who_asks_for_the_proxy_itself_is_refused_at_once_and_told_why() -> Tested {
    const LOOPBACK: &str = "\n[[rule]]\nname = \"here\"\nto = [\"127.0.0.0/8\"]\naction = ";
    for action in ["allow", "confirm", "read-only"] {
        let scene = PhotoScene::with(&format!("{POLICY}{RULES}{LOOPBACK}\"{action}\"\n"))?;
        assert_eq!(scene.inside(&[&url(PHOTOS, "/api/jobs")])?.status, 200);
        let listening =
            (scene.network.dev()).enter(|| Ok(fs::read_to_string("/proc/thread-self/net/tcp")?))?;
        let ports = listening.lines().filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let port = fields.next()?.strip_prefix("0100007F:")?;
            (fields.nth(1)? == "0A").then(|| u16::from_str_radix(port, 16))
        });
        let ports = ports.collect::<Result<Vec<_>, _>>()?;
        let &[port] = ports.as_slice() else {
            panic!("{listening}");
        };
        // Without the guard it takes whoever comes, and closes what was not redirected, at times before `connect` returns.
        let taken = |connected: io::Result<TcpStream>| match connected {
            Err(e) if e.kind() != io::ErrorKind::ConnectionReset => Err(e.into()),
            Ok(_) | Err(_) => Ok(()),
        };
        let open = || taken(TcpStream::connect((Ipv4Addr::LOCALHOST, port)));
        scene.network.dev().enter(open)?;
        let report = Attempt::tcp("127.0.0.1", port).under(&scene.daemon, "photos")?;
        assert_eq!(
            report.errno.as_deref(),
            Some("EPERM"),
            "{action}: {report:?}"
        );
        eventually("the refusal is written down", || {
            let denied = scene.daemon.audited("denied")?;
            Ok(denied.iter().any(|one| {
                let why = one["why"].as_str().unwrap_or_default();
                one["destination"]["port"] == port && why.starts_with("guard's own proxy listens")
            }))
        })?;
        assert!(scene.pending()?.is_empty(), "no yes helps: {action}");
    }
    Ok(())
}
