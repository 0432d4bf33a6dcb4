//! Metrics: who gets which numbers, and what `guard metrics --serve` does with nonsense.

use std::fs;
use std::io::{Read as _, Write as _};
use std::process::Command;

use guard_lab::{
    AGENT, ASKS, Attempt, Daemon, Json as _, NEVER, Network, Running, Scene, Shell, Tested, V4,
    eventually, mounts,
};
use rustix::process::Signal;

use super::scrape::{HttpResponse, Scrape, ask, get, tcp};

const AT: &str = "127.0.0.1:9478";
/// In the binary, which also runs in machines that have no source tree.
const DASHBOARD: &str = include_str!("../../../packaging/grafana/guard.json");
const ALERTS: &str = include_str!("../../../packaging/prometheus/alerts.yml");
const SERVICE: &str = include_str!("../../../packaging/systemd/guard-metrics@.service");
const REFERENCE: &str = include_str!("../../../docs/reference/metrics.md");

fn scene() -> Tested<Scene> {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network)
        .policy("asks", ASKS)
        .config("resolvers = [\"127.0.0.1:1\"]\n")
        .start()?;
    Ok(Scene { daemon, network })
}

fn scrape(scene: &Scene) -> Tested<Scrape> {
    Scrape::of(&scene.daemon)
}

/// Listens on the loopback as guard-metrics.socket does, and starts for each connection what guard-metrics@.service starts.
fn activator(scene: &Scene) -> Tested<Running> {
    let unit = SERVICE
        .lines()
        .find_map(|line| line.strip_prefix("ExecStart=/usr/bin/guard "));
    let guard = scene.daemon.program("guard")?;
    let mut systemd = scene.daemon.on_machine(0, "systemd-socket-activate");
    systemd.args(["--accept", "--inetd", "--listen", AT]);
    systemd
        .arg(guard)
        .arg("--socket")
        .arg(scene.daemon.socket());
    systemd.args(unit.expect("no line that starts it").split(' '));
    let systemd = Running::start(&mut systemd)?;
    eventually("it listens", || Ok(tcp(&scene.network, AT).is_ok()))?;
    Ok(systemd)
}

#[test]
fn the_numbers_are_what_happened() -> Tested {
    let scene = scene()?;
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    let s1 = [("session", "s1"), ("name", "sh"), ("policy", "asks")];
    let before = scrape(&scene)?;
    assert_eq!(before.sum("guard_refusals_total", &s1), 0.0);
    for _ in 0..5 {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    }
    let after = scrape(&scene)?;
    assert_eq!(after.sum("guard_refusals_total", &s1), 5.0);
    assert_eq!(after.sum("guard_refusal_events_total", &s1), 5.0);
    for to in [V4, "192.0.2.11"] {
        assert!(!shell.reaches(&Attempt::tcp(to, 443))?);
    }
    eventually("two requests wait", || {
        Ok(scrape(&scene)?.sum("guard_requests_waiting", &[]) == 2.0)
    })?;
    for args in [&["approve", "r1"][..], &["deny", "r2"], &["close", "h1"]] {
        scene.daemon.ask(args)?.success()?;
    }
    let bad = ASKS.replace("version = 1", "version = 1\nbad = 2");
    scene.daemon.write_policy("asks", &bad)?;
    scene.daemon.signal(Signal::HUP)?;
    scene.daemon.wait_for_log("the version before it stands")?;
    // Not each kernel has as many.
    let status = scene.daemon.json(["status"])?;
    let hooks = status["hooks"].list()?.len() as f64;
    assert!(hooks >= 6.0, "{status}");
    let now = scrape(&scene)?;
    for (name, labels, value) in expected(&s1, hooks) {
        assert_eq!(now.sum(name, labels), value, "{name} {labels:?}");
    }
    assert!(now.sum("guard_answer_delay_seconds_total", &[]) > 0.0);
    assert!(now.sum("guard_start_timestamp_seconds", &[]) > 1e9);
    let status = scene.daemon.json(["status"])?;
    assert_eq!(status["refused"], 7);
    assert_eq!(status["requests"], 0);
    Ok(())
}

type Labels<'l> = &'l [(&'l str, &'l str)];

/// Metrics after seven refusals of one session, with that number of hooks.
fn expected<'l>(s1: Labels<'l>, hooks: f64) -> [(&'l str, Labels<'l>, f64); 20] {
    [
        ("guard_enforcing", &[], 1.0),
        ("guard_hook_attached", &[], hooks),
        ("guard_sessions", &[], 1.0),
        ("guard_sessions_started_total", &[], 1.0),
        ("guard_sessions_ended_total", &[], 0.0),
        ("guard_refusals_total", s1, 7.0),
        ("guard_requests_total", &[], 2.0),
        ("guard_requests_waiting", &[], 0.0),
        ("guard_answers_total", &[("answer", "yes")], 1.0),
        ("guard_answers_total", &[("answer", "no")], 1.0),
        ("guard_holes", &[], 0.0),
        ("guard_holes_opened_total", &[], 1.0),
        ("guard_holes_closed_total", &[("why", "closed")], 1.0),
        ("guard_policies", &[], 1.0),
        ("guard_policies_refused", &[], 1.0),
        ("guard_policy_loads_total", &[("result", "ok")], 1.0),
        ("guard_policy_loads_total", &[("result", "failed")], 1.0),
        ("guard_audit_write_failures_total", &[], 0.0),
        ("guard_audit_problem", &[], 0.0),
        (
            "guard_build_info",
            &[("version", env!("CARGO_PKG_VERSION"))],
            1.0,
        ),
    ]
}

#[test]
fn what_waits_and_what_is_open_is_told_of_each_session() -> Tested {
    let scene = scene()?;
    let mut asks = Shell::start(&scene.daemon, "asks")?;
    let mut quiet = Shell::start(&scene.daemon, "asks")?;
    let [s1, s2] = ["s1", "s2"].map(|id| [("session", id), ("name", "sh"), ("policy", "asks")]);
    for to in [V4, "192.0.2.11", "192.0.2.12"] {
        assert!(!asks.reaches(&Attempt::tcp(to, 443))?);
    }
    assert!(!quiet.reaches(&Attempt::tcp(V4, 443))?);
    eventually("four requests wait", || {
        Ok(scrape(&scene)?.sum("guard_requests_waiting", &[]) == 4.0)
    })?;
    scene.daemon.ask(["approve", "r1"])?.success()?;
    let now = scrape(&scene)?;
    for (name, of_s1, of_s2) in [
        ("guard_requests_waiting", 2.0, 1.0),
        ("guard_holes", 1.0, 0.0),
        ("guard_refusals_total", 3.0, 1.0),
    ] {
        assert_eq!(
            (now.sum(name, &s1), now.sum(name, &s2)),
            (of_s1, of_s2),
            "{name}"
        );
        // No series of what nobody knows: as many as there are sessions, and one for cgroups of none.
        assert_eq!(
            now.values(name, "session"),
            ["none", "s1", "s2"].into(),
            "{name}"
        );
    }
    let status = scene.daemon.json(["status"])?;
    assert_eq!(status["requests"], now.sum("guard_requests_waiting", &[]));
    assert_eq!(status["holes"], now.sum("guard_holes", &[]));
    asks.tell("exit")?;
    asks.wait()?;
    eventually("what it asked and opened goes with it", || {
        let now = scrape(&scene)?;
        Ok(now.sum("guard_requests_waiting", &s1) + now.sum("guard_holes", &s1) == 0.0)
    })?;
    assert_eq!(scrape(&scene)?.sum("guard_requests_waiting", &s2), 1.0);
    Ok(())
}

#[test]
fn the_kernels_counts_survive_guardd() -> Tested {
    let mut scene = scene()?;
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    for _ in 0..3 {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    }
    scene.daemon.kill()?;
    assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    scene.daemon.start()?;
    let now = scrape(&scene)?;
    let s1 = [("session", "s1"), ("name", "sh"), ("policy", "asks")];
    assert_eq!(now.sum("guard_refusals_total", &s1), 4.0);
    assert_eq!(now.sum("guard_sessions_started_total", &[]), 0.0);
    Ok(())
}

#[test]
fn it_says_when_nothing_is_enforced() -> Tested {
    let scene = scene()?;
    assert_eq!(scrape(&scene)?.sum("guard_enforcing", &[]), 1.0);
    fs::remove_file(scene.daemon.pin_dir().join("live/link_connect4"))?;
    let now = scrape(&scene)?;
    assert_eq!(now.sum("guard_enforcing", &[]), 0.0);
    let hook = |hook| now.sum("guard_hook_attached", &[("hook", hook)]);
    assert_eq!((hook("connect4"), hook("connect6")), (0.0, 1.0));
    Ok(())
}

#[test]
fn a_name_that_an_agent_chose_is_only_a_label() -> Tested {
    let scene = scene()?;
    let name = r#"a"} 1 \n{x="b"#;
    let run = scene
        .daemon
        .agent(["run", "--policy", "asks", "--name", name]);
    let _shell = Shell::run_by(&scene.daemon, run)?;
    let now = scrape(&scene)?;
    assert!(now.has("guard_refusals_total", &[("session", "s1"), ("name", name)]));
    assert!(!now.names().contains("x"));
    Ok(())
}

#[test]
fn an_ended_session_is_counted_for_a_minute_more() -> Tested {
    let scene = scene()?;
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    shell.tell("exit")?;
    shell.wait()?;
    eventually("the session ends", || {
        Ok(scrape(&scene)?.sum("guard_sessions_ended_total", &[]) == 1.0)
    })?;
    // The last packets of closed sockets are still counted for a minute.
    let now = scrape(&scene)?;
    let counted = now.values("guard_refusals_total", "session");
    assert_eq!(counted, ["none", "s1"].into());
    assert_eq!(now.sum("guard_sessions", &[]), 0.0);
    Ok(())
}

/// Answered over HTTP, and by status.
fn status(scene: &Scene, request: &str) -> Tested<Option<HttpResponse>> {
    Ok(ask(tcp(&scene.network, AT)?, request))
}

#[test]
fn root_and_the_group_read_them_and_nobody_else_does() -> Tested {
    const GROUP: u32 = 61250;
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", ASKS)
        .prepare()?;
    let groups = daemon.dir().join("group");
    let all = fs::read_to_string("/etc/group")?;
    let others = all.lines().filter(|line| !line.starts_with("guard:"));
    let mut all: Vec<_> = others.map(str::to_owned).collect();
    all.push(format!("guard:x:{GROUP}:\n"));
    fs::write(&groups, all.join("\n"))?;
    let guardd = mounts::with_file(&daemon.guardd()?, &groups, "/etc/group");
    daemon.start_as(guardd)?;
    let guard = daemon.program("guard")?;
    let read = |group: &str| -> Tested<_> {
        let mut command = daemon.on_machine(0, "setpriv");
        let user = format!("--reuid={AGENT}");
        command.args([&user, "--regid=61251", group, "--"]);
        command.arg(&guard).arg("--socket").arg(daemon.socket());
        Ok(command.arg("metrics").output()?)
    };
    let member = read(&format!("--groups=61252,{GROUP}"))?;
    assert!(member.status.success(), "{member:?}");
    assert!(Scrape::parse(&String::from_utf8(member.stdout)?).has("guard_enforcing", &[]));
    let stranger = read("--groups=61252")?;
    assert_eq!(stranger.status.code(), Some(2));
    let said = String::from_utf8(stranger.stderr)?;
    assert!(said.contains("only root and the group guard"), "{said}");
    assert!(Scrape::of(&daemon)?.has("guard_enforcing", &[]));
    // A process of root's in a session neither.
    let mut shell = Shell::start(&daemon, "asks")?;
    let (guard, socket) = (guard.display(), daemon.socket());
    let socket = socket.display();
    shell.tell(&format!(
        "echo \"said $({guard} --socket {socket} metrics 2>&1 | tr '\\n' ' ')\""
    ))?;
    let said = shell.line_with("said")?;
    assert!(!said.contains("guard_enforcing"), "{said}");
    Ok(())
}

#[test]
fn a_scraper_is_answered_by_a_process_of_its_own() -> Tested {
    let scene = scene()?;
    let _systemd = activator(&scene)?;
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    for _ in 0..5 {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    }
    let now = Scrape::over(tcp(&scene.network, AT)?);
    assert_eq!(now.sum("guard_refusals_total", &[("session", "s1")]), 5.0);
    assert_eq!(now.kinds["guard_requests"], "counter");
    // The program that people use.
    let mut curl = scene.daemon.on_machine(AGENT, "curl");
    let output = curl
        .args(["-sSf", &format!("http://{AT}/metrics")])
        .output()?;
    let text = String::from_utf8(output.stdout)?;
    assert!(text.contains("\nguard_enforcing 1\n"), "{text}");
    Ok(())
}

#[test]
fn without_guardd_a_scraper_is_told_so() -> Tested {
    let mut scene = scene()?;
    let _systemd = activator(&scene)?;
    scene.daemon.signal(Signal::STOP)?;
    let hangs = get(tcp(&scene.network, AT)?);
    scene.daemon.signal(Signal::CONT)?;
    assert_eq!(hangs.status, 503, "{}", hangs.body);
    scene.daemon.kill()?;
    let gone = get(tcp(&scene.network, AT)?);
    assert_eq!(gone.status, 503);
    assert!(gone.body.contains("guardd"), "{}", gone.body);
    scene.daemon.start()?;
    assert_eq!(get(tcp(&scene.network, AT)?).status, 200);
    Ok(())
}

#[test]
fn guardd_listens_nowhere_and_a_setting_of_the_last_release_is_a_warning() -> Tested {
    let network = Network::new()?;
    let daemon = Daemon::in_network(&network)
        .config(&format!("[metrics]\nlisten = \"{AT}\"\n"))
        .start()?;
    assert!(tcp(&network, AT).is_err());
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true);
    let warning = "systemctl enable --now guard-metrics.socket";
    assert!(status["warnings"][0].text()?.contains(warning), "{status}");
    assert!(daemon.log().contains(warning));
    let mut check = daemon.guardd()?;
    let said = check.arg("--check").output()?;
    assert!(said.status.success());
    assert!(String::from_utf8(said.stdout)?.contains(warning));
    Ok(())
}

#[test]
fn nonsense_is_answered_or_closed_and_harms_nobody() -> Tested {
    let scene = scene()?;
    let _systemd = activator(&scene)?;
    let status =
        |request: &str| -> Tested<_> { Ok(status(&scene, request)?.map(|answer| answer.status)) };
    for (request, expected) in [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", Some(404)),
        ("GET /metrics/../etc HTTP/1.1\r\nHost: x\r\n\r\n", Some(404)),
        (
            "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            Some(405),
        ),
        ("HEAD /metrics HTTP/1.1\r\nHost: x\r\n\r\n", Some(405)),
        ("\0\0\0\0", Some(400)),
        ("GET /metrics\r\n\r\n", Some(400)),
        ("{\"method\":\"org.guardd.Control.Status\"}\0", Some(400)),
    ] {
        assert_eq!(status(request)?, expected, "{request:?}");
    }
    let long = format!(
        "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    for request in [long, many] {
        let status = status(&request)?;
        assert!(matches!(status, None | Some(431)), "{status:?}");
    }
    assert_eq!(get(tcp(&scene.network, AT)?).status, 200);
    Ok(())
}

/// The processes that answer scrapes now.
fn answering(systemd: &Running) -> Tested<usize> {
    let parent = systemd.pid().to_string();
    let found = Command::new("pgrep").args(["--parent", &parent]).output()?;
    Ok(String::from_utf8(found.stdout)?.lines().count())
}

#[test]
fn slow_clients_end_in_time_and_hold_up_nobody_else() -> Tested {
    let scene = scene()?;
    let systemd = activator(&scene)?;
    let mut crowd: Vec<_> = (0..40)
        .map(|_| tcp(&scene.network, AT))
        .collect::<Result<_, _>>()?;
    for (number, stream) in crowd.iter_mut().enumerate() {
        let said: &[u8] = [&b""[..], b"GET /metrics HTTP/1.1\r\nX: "][number % 2];
        stream.write_all(said)?;
    }
    scene.daemon.ask(["status"])?.success()?;
    assert_eq!(get(tcp(&scene.network, AT)?).status, 200);
    // guardd has not heard of those that asked for nothing.
    let open = fs::read_dir(format!("/proc/{}/fd", scene.daemon.pid().unwrap()))?;
    assert!(open.count() < 100);
    // They end by themselves, all of them.
    for mut stream in crowd {
        let mut end = [0; 1000];
        while stream.read(&mut end).is_ok_and(|read| read > 0) {}
    }
    eventually("none is left", || Ok(answering(&systemd)? == 0))?;
    Ok(())
}

#[test]
fn a_flood_of_scrapes_holds_guardd_up_for_nobody() -> Tested {
    let scene = scene()?;
    let _systemd = activator(&scene)?;
    let mut crowd: Vec<_> = (0..60)
        .map(|_| tcp(&scene.network, AT))
        .collect::<Result<_, _>>()?;
    for stream in &mut crowd {
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")?;
    }
    scene.daemon.ask(["status"])?.success()?;
    for mut stream in crowd {
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
    Ok(())
}

/// The families that the documents and files may name.
#[test]
fn every_metric_that_is_promised_is_there() -> Tested {
    let scene = scene()?;
    let _shell = Shell::start(&scene.daemon, "asks")?;
    scene.daemon.ask(["status"])?.success()?;
    let now = scrape(&scene)?;
    let names = now.names();
    for (file, text) in [
        ("packaging/grafana/guard.json", DASHBOARD),
        ("packaging/prometheus/alerts.yml", ALERTS),
        ("docs/reference/metrics.md", REFERENCE),
    ] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let promised: std::collections::BTreeSet<_> = words
            .filter(|word| {
                // A package's file has its version there.
                let rest = word.strip_prefix("guard_");
                rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
            })
            .collect();
        assert!(promised.len() > 3, "{file}: {promised:?}");
        for name in promised {
            let is = names.contains(name) || now.kinds.contains_key(name);
            assert!(is, "{file} names {name}, which is not served");
        }
    }
    for (family, kind) in &now.kinds {
        let end = if kind == "counter" { "_total" } else { "" };
        let name = format!("`{family}{end}`");
        assert!(
            REFERENCE.contains(&name),
            "docs/reference/metrics.md has no {name}"
        );
    }
    Ok(())
}

#[test]
fn the_dashboard_is_one_that_grafana_can_import() -> Tested {
    let dashboard: serde_json::Value = serde_json::from_str(DASHBOARD)?;
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 36);
    let variables = dashboard["templating"]["list"].list()?;
    let names: Vec<_> = variables
        .iter()
        .map(|one| one["name"].as_str().unwrap())
        .collect();
    assert!(names.contains(&"datasource"));
    let panels = dashboard["panels"].list()?;
    let mut ids: Vec<_> = panels
        .iter()
        .map(|panel| panel["id"].as_u64().unwrap())
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        for target in panel["targets"].list()? {
            let expr = target["expr"].text()?;
            for used in expr.split('$').skip(1) {
                let name = used.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
                let name = name.into_iter().next().unwrap();
                assert!(name.starts_with("__") || names.contains(&name), "{expr}");
            }
        }
    }
    Ok(())
}
