//! A session is observed, a policy is learned of what it reached, and is enforced.

use std::fs;

use guard_lab::{ALLOWS, Attempt, Daemon, Json as _, PATIENCE, Shell, Tested, bins, eventually};

use serde_json::Value;

use super::{ASKED, BARE, DENIED, INDEX, PKG, find, flows, observed, run, scene, scene_with};

/// A build, as far as the network sees one. It prints what came of each step.
fn build(daemon: &Daemon) -> Tested<String> {
    let probe = bins::for_everybody("guard-lab", daemon.tag())?;
    let probe = probe.display();
    let script = format!(
        r#"
curl -s -m 20 -o /dev/null http://pkg.example.com/a && echo curl ok || echo curl failed
python3 -c 'import urllib.request as u; u.urlopen("http://index.example.com:8080/simple/", timeout=20)' \
    2>/dev/null && echo pip ok || echo pip failed
if command -v git >/dev/null; then
    # It is reached, and is no repository.
    git ls-remote http://git.example.com/repo.git 2>&1 | grep -q "not valid"
else
    like_git=$(mktemp -d)/git-remote-http
    cp "$(command -v curl)" "$like_git" && "$like_git" -s -m 20 -o /dev/null http://git.example.com/repo.git
fi && echo git ok || echo git failed
curl -s -m 20 -o /dev/null http://{BARE}:2283/b && echo bare ok || echo bare failed
{probe} probe udp-connect 192.0.2.21 123 | grep -q '"ok":true' && echo clock ok || echo clock failed
curl -s -m 20 -o /dev/null http://known.example.com/c && echo known ok || echo known failed
curl -s -m 5 -o /dev/null http://{DENIED}/d && echo denied ok || echo denied failed
echo done
"#
    );
    Ok(daemon
        .write_for_agents("build.sh", &script)?
        .display()
        .to_string())
}

const STEPS: [&str; 6] = ["curl", "pip", "git", "bare", "clock", "known"];

/// What came of it under a policy.
fn built(daemon: &Daemon, options: &[&str]) -> Tested<Vec<String>> {
    let script = build(daemon)?;
    let mut running = run(daemon, &[options, &["--", "sh", &script]].concat())?;
    let mut lines = Vec::new();
    loop {
        let line = running.line(PATIENCE)?;
        if line == "done" {
            running.wait()?;
            return Ok(lines);
        }
        lines.push(line);
    }
}

fn all_pass() -> Vec<String> {
    let steps = STEPS.iter().map(|step| format!("{step} ok"));
    steps.chain(["denied failed".to_owned()]).collect()
}

fn reaches(shell: &mut Shell, to: &str, port: u16) -> Tested<bool> {
    Ok(shell.reaches(&Attempt::tcp(to, port))?)
}

#[test]
fn a_build_is_observed_and_its_policy_lets_pass_that_and_nothing_else() -> Tested {
    let scene = scene()?;
    for (to, port) in [(DENIED, 80), ("192.0.2.12", 80), (PKG, 8080)] {
        scene.assert_open(to, port)?;
    }
    // By itself the policy lets next to nothing pass.
    let refused = built(&scene.daemon, &["--policy", "job"])?;
    assert_eq!(
        refused,
        [
            "curl failed",
            "pip failed",
            "git failed",
            "bare failed",
            "clock failed",
            "known failed",
            "denied failed"
        ]
    );
    let observed = ["--observe", "--policy", "job", "--name", "build"];
    assert_eq!(built(&scene.daemon, &observed)?, all_pass());
    let session = is_told_by_program_and_name(&scene.daemon)?;
    let text = suggested(&scene.daemon, &session)?;
    let file = scene.daemon.write_for_agents("learned.toml", &text)?;
    let file = file.to_str().unwrap();
    scene.daemon.agent(["check", file]).run()?.success()?;
    closes_more_than_others(&scene.daemon, file)?;

    assert_eq!(
        built(&scene.daemon, &["--policy", file])?,
        all_pass(),
        "{text}"
    );
    let mut shell = Shell::run_by(&scene.daemon, scene.daemon.agent(["run", "--policy", file]))?;
    assert!(reaches(&mut shell, BARE, 2283)?);
    for (to, port) in [
        (BARE, 80),
        (PKG, 8080),
        ("192.0.2.12", 80),
        (INDEX, 443),
        (DENIED, 80),
    ] {
        assert!(!reaches(&mut shell, to, port)?, "{to} {port}");
    }
    Ok(())
}

/// That flows say which program went where, by which name; gives their session.
fn is_told_by_program_and_name(daemon: &Daemon) -> Tested<String> {
    let all = flows(daemon, &[])?;
    let pkg = find(&all, PKG, 80).unwrap();
    assert_eq!(pkg["program"], "curl");
    assert_eq!(pkg["verdict"], "allow");
    assert!(
        pkg["names"].list()?.contains(&"pkg.example.com".into()),
        "{pkg}"
    );
    // The name that was asked for, and not the one that it is an alias of.
    let by_git =
        |flow: &&Value| flow["port"] == 80 && flow["program"].as_str().unwrap().starts_with("git");
    let names = all.iter().find(by_git).unwrap()["names"].to_string();
    assert!(names.contains("git.example.com"), "{names}");
    Ok(pkg["session"].text()?.to_owned())
}

/// The policy that is suggested from a session's flows, each time the same.
fn suggested(daemon: &Daemon, session: &str) -> Tested<String> {
    let suggest = ["suggest", "--from-flows", "--session", session];
    let text = daemon.agent(suggest).run()?.success()?.stdout;
    for said in [
        "pkg.example.com",
        "index.example.com",
        "git.example.com",
        "\"@dns\"",
        BARE,
        "udp/123",
        "default = \"deny\"",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    for unsaid in [
        DENIED,
        "never.example.com",
        &format!("\"{INDEX}\""),
        "# Left out",
    ] {
        assert!(!text.contains(unsaid), "{unsaid}: {text}");
    }
    assert_eq!(daemon.agent(suggest).run()?.stdout, text);
    Ok(text)
}

/// From what was observed, and from everything, to this policy: what it closes is told.
fn closes_more_than_others(daemon: &Daemon, file: &str) -> Tested {
    // Nobody answers there, at once: the machine's own name server is out of reach here, and each name would be waited for.
    let nobody = daemon.write_for_agents("nobody.conf", "nameserver 127.0.0.1\n")?;
    let job = daemon.policy_dir().join("job.toml");
    let observed = ["diff", "--observed", job.to_str().unwrap(), file];
    let diff = daemon.root(observed).resolv(&nobody).run()?;
    assert_eq!(diff.code(), Some(1));
    assert!(diff.stdout.contains("Less open:"), "{diff:?}");
    // It denies by default what a rule denied: that stops no replies, and a name's rule goes before it.
    let more = diff.stdout.lines().skip_while(|line| *line != "More open:");
    let more = more.skip(1).take_while(|line| line.starts_with("    "));
    let is_of_deny = |line: &str| {
        line.ends_with(": deny all -> nothing")
            || (line.ends_with(" (never -> the default)") && line.contains(", by a name "))
            || (line.ends_with(" (never -> the default)") && line.contains(", replies to there "))
    };
    let more: Vec<_> = more.collect();
    assert_eq!(more.len(), 3, "{diff:?}");
    assert!(more.into_iter().all(is_of_deny), "{diff:?}");
    let open = daemon.write_for_agents("open.toml", ALLOWS)?;
    let diff = daemon.agent(["diff", open.to_str().unwrap(), file]);
    let diff = diff.resolv(&nobody).run()?;
    assert_eq!(diff.code(), Some(1));
    assert!(diff.stdout.contains("Less open:"), "{diff:?}");
    Ok(())
}

#[test]
fn rules_hold_while_a_session_is_observed_and_what_is_inside_it_only_narrows() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    let id = shell.session().to_owned();
    assert!(reaches(&mut shell, BARE, 443)?);
    assert!(!reaches(&mut shell, DENIED, 443)?);
    assert!(!reaches(&mut shell, ASKED, 443)?);
    assert!(scene.production.reached_at(DENIED, 443)?.is_empty());
    // It says so wherever it is seen.
    let sessions = scene.daemon.ask(["sessions", "--json"])?.json()?;
    assert_eq!(sessions[0]["observed"], true);
    assert_eq!(sessions[0]["policy"], "job");
    let status = scene.daemon.root(["status"]).json()?;
    assert_eq!(status["policies"][0]["observed"], true, "{status}");
    let log = scene
        .daemon
        .root(["log", "--session", &id, "--json"])
        .run()?;
    let start = &log.json_lines()?[0];
    assert_eq!(
        (&start["kind"], &start["observed"]),
        (&"session-start".into(), &true.into())
    );
    // What a person lets through is what the rule says, and asked about again.
    scene
        .daemon
        .ask(["open", ASKED, "--ports", "tcp/443", "--session", &id])?
        .success()?;
    assert!(reaches(&mut shell, ASKED, 443)?);
    let all = flows(&scene.daemon, &[])?;
    let flow = find(&all, ASKED, 443).unwrap();
    assert_eq!(
        (&flow["verdict"], &flow["rule"]),
        (&"confirm".into(), &"asked".into())
    );
    let text = scene
        .daemon
        .agent(["suggest", "--from-flows"])
        .run()?
        .stdout;
    assert!(text.contains("action = \"confirm\""), "{text}");
    // Inside, nobody widens, and a session inside is under both.
    let guard = bins::for_everybody("guard", scene.daemon.tag())?;
    let guard = guard.display();
    let refused = shell.status_of(&format!("{guard} run --observe --policy job -- true"))?;
    assert_eq!(refused, 125);
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    let probe = probe.display();
    let inside = |shell: &mut Shell, to: &str| -> Tested<_> {
        shell.tell(&format!(
            "{guard} run --quiet --policy job -- {probe} probe tcp {to} 443"
        ))?;
        Ok(shell.line_with("\"ok\"")?.contains("\"ok\":true"))
    };
    assert!(!inside(&mut shell, BARE)?, "its own policy holds");
    assert!(reaches(&mut shell, BARE, 443)?);
    Ok(())
}

#[test]
fn a_policy_is_learned_of_sessions_with_a_name() -> Tested {
    let scene = scene()?;
    let probe = bins::for_everybody("guard-lab", scene.daemon.tag())?;
    for (name, to) in [("one", BARE), ("other", PKG)] {
        let attempt = Attempt::tcp(to, 443).args().join(" ");
        let script = format!("{} {attempt} >/dev/null; echo tried", probe.display());
        let options = ["--policy", "job", "--observe", "--name", name];
        let mut running = run(
            &scene.daemon,
            &[&options[..], &["--", "sh", "-c", &script]].concat(),
        )?;
        running.line(PATIENCE)?;
        running.wait()?;
    }
    let suggest = |args: &[&str]| -> Tested<_> {
        let args = [&["suggest", "--from-flows"], args].concat();
        Ok(scene.daemon.agent(args).run()?)
    };
    eventually("both are known", || {
        let all = suggest(&[])?.stdout;
        Ok(all.contains(BARE) && all.contains(PKG))
    })?;
    let all = suggest(&[])?.stderr;
    assert!(all.contains("of 2 sessions together"), "{all}");
    let one = suggest(&["--name", "one"])?;
    assert!(
        one.stdout.contains(BARE) && !one.stdout.contains(PKG),
        "{one:?}"
    );
    assert!(!one.stderr.contains("sessions together"), "{one:?}");
    let unknown = suggest(&["--name", "noone"])?;
    assert_eq!(unknown.code(), Some(2), "{unknown:?}");
    eventually("it is some time ago", || {
        Ok(suggest(&["--since", "1s"])?
            .stderr
            .contains("nothing was reached"))
    })?;
    Ok(())
}

#[test]
fn an_administrator_may_forbid_it() -> Tested {
    let scene = scene_with("observe = false\n")?;
    let run = |options: &[&str]| {
        let run = scene
            .daemon
            .agent(["run", "--policy", "job"])
            .args(options.iter().copied());
        run.args(["--", "true"]).run().unwrap()
    };
    assert_eq!(run(&[]).code(), Some(0));
    let refused = run(&["--observe"]);
    assert_eq!(refused.code(), Some(125));
    assert!(refused.stderr.contains("observe = false"), "{refused:?}");
    Ok(())
}

#[test]
fn a_report_says_what_was_reached() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    assert!(reaches(&mut shell, BARE, 443)?);
    eventually("it is reported", || {
        let report = scene
            .daemon
            .agent(["report", "--format", "markdown"])
            .run()?;
        Ok(report.stdout.contains("#### Reached") && report.stdout.contains(BARE))
    })?;
    let report = scene
        .daemon
        .agent(["report", "--session", shell.session()])
        .json()?;
    assert_eq!(report["reached"][0]["address"], BARE);
    let state = fs::read_dir(scene.daemon.state_dir().join("flows"))?;
    eventually("it is written down", || {
        Ok(fs::read_dir(scene.daemon.state_dir().join("flows"))?.count() == 1)
    })?;
    drop(state);
    Ok(())
}
