//! The endpoint: who gets which numbers, and what it does with nonsense.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::PathBuf;

use guard_lab::{
    ASKS, Attempt, Daemon, Json as _, NEVER, Network, PATIENCE, Running, Scene, Shell, Tested, V4,
    eventually,
};
use rustix::process::Signal;

use super::scrape::{Scrape, ask, get, tcp, unix};

const AT: &str = "127.0.0.1:9478";
/// In the binary, which also runs in machines that have no source tree.
const DASHBOARD: &str = include_str!("../../../packaging/grafana/guard.json");
const ALERTS: &str = include_str!("../../../packaging/prometheus/alerts.yml");
const REFERENCE: &str = include_str!("../../../docs/reference/metrics.md");

/// One whose guardd serves metrics on a socket in its own directory.
fn scene() -> Tested<Scene> {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network)
        .policy("asks", ASKS)
        .prepare()?;
    let listen = format!("unix:{}", socket(&daemon).display());
    daemon.write_config(&config(&listen))?;
    daemon.start()?;
    daemon.wait_for_log("metrics are served")?;
    Ok(Scene { daemon, network })
}

fn scrape(scene: &Scene) -> Scrape {
    Scrape::of(unix(&socket(&scene.daemon)))
}

fn socket(daemon: &Daemon) -> PathBuf {
    daemon.dir().join("metrics.sock")
}

fn config(listen: &str) -> String {
    format!("resolvers = [\"127.0.0.1:1\"]\n[metrics]\nlisten = \"{listen}\"\n")
}

fn over_tcp(network: &Network) -> Tested<Daemon> {
    let daemon = Daemon::in_network(network)
        .policy("asks", ASKS)
        .config(&config(AT))
        .start()?;
    daemon.wait_for_log("metrics are served")?;
    Ok(daemon)
}

#[test]
fn the_numbers_are_what_happened() -> Tested {
    let scene = scene()?;
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    let s1 = [("session", "s1"), ("name", "sh"), ("policy", "asks")];
    let before = scrape(&scene);
    assert_eq!(before.sum("guard_refusals_total", &s1), 0.0);
    for _ in 0..5 {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    }
    let after = scrape(&scene);
    assert_eq!(after.sum("guard_refusals_total", &s1), 5.0);
    assert_eq!(after.sum("guard_refusal_events_total", &s1), 5.0);
    for to in [V4, "192.0.2.11"] {
        assert!(!shell.reaches(&Attempt::tcp(to, 443))?);
    }
    eventually("two requests wait", || {
        scrape(&scene).sum("guard_requests_waiting", &[]) == 2.0
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
    let now = scrape(&scene);
    for (name, labels, value) in expected(&s1, hooks) {
        assert_eq!(now.sum(name, labels), value, "{name} {labels:?}");
    }
    assert!(now.sum("process_resident_memory_bytes", &[]) > 1e6);
    let status = scene.daemon.json(["status"])?;
    assert_eq!(status["refused"], 7);
    assert_eq!(status["requests"], 0);
    Ok(())
}

type Labels<'l> = &'l [(&'l str, &'l str)];

/// What has happened by then, of one session and with so many hooks.
fn expected<'l>(s1: Labels<'l>, hooks: f64) -> [(&'l str, Labels<'l>, f64); 23] {
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
        ("guard_answer_delay_seconds_count", &[], 2.0),
        ("guard_holes", &[], 0.0),
        ("guard_holes_opened_total", &[], 1.0),
        ("guard_holes_closed_total", &[("why", "closed")], 1.0),
        ("guard_policies", &[], 1.0),
        ("guard_policies_refused", &[], 1.0),
        ("guard_policy_loads_total", &[("result", "ok")], 1.0),
        ("guard_policy_loads_total", &[("result", "failed")], 1.0),
        ("guard_policy_apply_seconds_count", &[], 1.0),
        (
            "guard_call_duration_seconds_count",
            &[("method", "Approve")],
            1.0,
        ),
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
        scrape(&scene).sum("guard_requests_waiting", &[]) == 4.0
    })?;
    scene.daemon.ask(["approve", "r1"])?.success()?;
    let now = scrape(&scene);
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
        let now = scrape(&scene);
        now.sum("guard_requests_waiting", &s1) + now.sum("guard_holes", &s1) == 0.0
    })?;
    assert_eq!(scrape(&scene).sum("guard_requests_waiting", &s2), 1.0);
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
    scene.daemon.wait_for_log("metrics are served")?;
    let now = scrape(&scene);
    let s1 = [("session", "s1"), ("name", "sh"), ("policy", "asks")];
    assert_eq!(now.sum("guard_refusals_total", &s1), 4.0);
    assert_eq!(now.sum("guard_sessions_started_total", &[]), 0.0);
    scene.daemon.stop()?;
    assert!(!socket(&scene.daemon).exists());
    Ok(())
}

#[test]
fn it_says_when_nothing_is_enforced() -> Tested {
    let scene = scene()?;
    assert_eq!(scrape(&scene).sum("guard_enforcing", &[]), 1.0);
    fs::remove_file(scene.daemon.pin_dir().join("live/link_connect4"))?;
    let now = scrape(&scene);
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
    let now = scrape(&scene);
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
        scrape(&scene).sum("guard_sessions_ended_total", &[]) == 1.0
    })?;
    // The last packets of closed sockets are still counted for a minute.
    let now = scrape(&scene);
    let counted = now.values("guard_refusals_total", "session");
    assert_eq!(counted, ["none", "s1"].into());
    assert_eq!(now.sum("guard_sessions", &[]), 0.0);
    Ok(())
}

#[test]
fn both_formats_are_served() -> Tested {
    let scene = scene()?;
    let request = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let open = ask(unix(&socket(&scene.daemon)), request).unwrap();
    assert!(
        open.head
            .contains("content-type: application/openmetrics-text; version=1.0.0")
    );
    assert!(open.body.ends_with("# EOF\n"));
    assert!(open.body.contains("# TYPE guard_requests counter\n"));
    let plain = scrape(&scene);
    assert_eq!(plain.kinds["guard_requests_total"], "counter");
    Ok(())
}

#[test]
fn the_socket_is_for_root_and_one_group() -> Tested {
    let scene = scene()?;
    let meta = fs::metadata(socket(&scene.daemon))?;
    assert_eq!(meta.permissions().mode() & 0o777, 0o660);
    assert_eq!(meta.uid(), 0);
    let group = guard_sys::accounts::group("guard")?;
    assert_eq!(meta.gid(), group.unwrap_or(0));
    Ok(())
}

/// What a program there is answered: a status, or the error.
fn curl(daemon: &Daemon) -> String {
    format!(
        "python3 -c 'import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
         s.sendall(b\"GET /metrics HTTP/1.0\\r\\n\\r\\n\"); print(\"answer\", s.recv(99).split()[1].decode())' {}",
        socket(daemon).display()
    )
}

#[test]
fn what_is_inside_is_refused() -> Tested {
    let scene = scene()?;
    // Else the mode of the file would do.
    fs::set_permissions(socket(&scene.daemon), fs::Permissions::from_mode(0o666))?;
    let mut outside = scene.daemon.on_machine(guard_lab::AGENT, "sh");
    let output = outside.arg("-c").arg(curl(&scene.daemon)).output()?;
    assert_eq!(String::from_utf8_lossy(&output.stdout), "answer 200\n");
    let mut shell = Shell::start(&scene.daemon, "asks")?;
    let last = format!(
        "echo \"answer $({} 2>&1 | tail -n 1)\"",
        curl(&scene.daemon)
    );
    shell.tell(&last)?;
    let found = shell.line_with("answer")?;
    // Where Unix sockets are judged it does not get there at all.
    let status = scene.daemon.json(["status"])?;
    let mut hooks = status["hooks"].list()?.iter();
    let judges = ["connect_unix", "unix_stream_connect"];
    if hooks.any(|hook| judges.iter().any(|name| hook["name"] == *name)) {
        assert!(found.contains("PermissionError"), "{found}")
    } else {
        assert_eq!(found.trim(), "answer answer 403")
    }
    Ok(())
}

#[test]
fn it_is_served_on_loopback_too() -> Tested {
    let network = Network::new()?;
    let daemon = over_tcp(&network)?;
    let mut shell = Shell::start(&daemon, "asks")?;
    for _ in 0..5 {
        assert!(!shell.reaches(&Attempt::tcp(NEVER, 443))?);
    }
    let now = Scrape::of(tcp(&network, AT)?);
    assert_eq!(now.sum("guard_refusals_total", &[("session", "s1")]), 5.0);
    Ok(())
}

#[test]
fn it_is_off_unless_the_settings_say_so() -> Tested {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network).start()?;
    assert!(tcp(&network, AT).is_err());
    assert!(!daemon.log().contains("metrics"));
    daemon.stop()?;
    daemon.write_config(&config(AT))?;
    daemon.start()?;
    daemon.wait_for_log("metrics are served")?;
    assert_eq!(get(tcp(&network, AT)?).status, 200);
    daemon.stop()?;
    daemon.write_config(&config("192.0.2.1:9478"))?;
    let refused = daemon.start().unwrap_err().to_string();
    assert!(refused.contains("not loopback"), "{refused}");
    assert!(refused.contains("line 3"), "{refused}");
    Ok(())
}

#[test]
fn an_address_in_use_is_a_warning_and_tried_again() -> Tested {
    let network = Network::new()?;
    let taken = network.dev().enter(|| Ok(std::net::TcpListener::bind(AT)?));
    let taken = taken?;
    let daemon = Daemon::in_network(&network).config(&config(AT)).start();
    let daemon = daemon?;
    daemon.wait_for_log("metrics are not served")?;
    let status = daemon.json(["status"])?;
    assert_eq!(status["enforcing"], true);
    assert!(status["warnings"][0].text()?.contains(AT), "{status}");
    drop(taken);
    daemon.wait_for_log("metrics are served")?;
    let status = daemon.json(["status"])?;
    assert_eq!(status["warnings"].list()?.len(), 0);
    Ok(())
}

#[test]
fn what_is_no_socket_is_left_alone() -> Tested {
    let network = Network::new()?;
    let mut daemon = Daemon::in_network(&network).prepare()?;
    let file = daemon.dir().join("precious");
    fs::write(&file, "text")?;
    daemon.write_config(&config(&format!("unix:{}", file.display())))?;
    daemon.start()?;
    daemon.wait_for_log("no socket")?;
    daemon.stop()?;
    assert_eq!(fs::read_to_string(file)?, "text");
    Ok(())
}

#[test]
fn nonsense_is_answered_or_closed_and_harms_nobody() -> Tested {
    let scene = scene()?;
    let at = socket(&scene.daemon);
    let status = |request: &str| ask(unix(&at), request).map(|answer| answer.status);
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
        assert_eq!(status(request), expected, "{request:?}");
    }
    let long = format!(
        "GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n",
        "a".repeat(100_000)
    );
    assert!(
        matches!(status(&long), None | Some(431)),
        "{:?}",
        status(&long)
    );
    let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(100));
    assert!(
        matches!(status(&many), None | Some(431)),
        "{:?}",
        status(&many)
    );
    assert_eq!(get(unix(&at)).status, 200);
    Ok(())
}

#[test]
fn slow_clients_and_crowds_end_in_time_and_hold_up_nobody_else() -> Tested {
    let scene = scene()?;
    let at = socket(&scene.daemon);
    let mut crowd: Vec<_> = (0..40).map(|_| unix(&at)).collect();
    for stream in &mut crowd {
        // Those that guardd has closed already take no more.
        let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nX: ");
    }
    // guardd itself answers, and so it does whoever asks at once.
    scene.daemon.ask(["status"])?.success()?;
    assert_eq!(get(unix(&at)).status, 200);
    // They end by themselves, all of them.
    let mut end = [0; 1000];
    for mut stream in crowd {
        while stream.read(&mut end).is_ok_and(|read| read > 0) {}
    }
    let open = scrape(&scene).sum("process_open_fds", &[]);
    assert!(open < 100.0, "{open}");
    drop(scene.network);
    Ok(())
}

/// Hangs about in as many connections as it can have, and comes again at once where one is closed. Half of them say
/// something first.
const CROWD: &str = "import selectors, socket, sys
host, port = sys.argv[1].rsplit(':', 1)
waiting = selectors.DefaultSelector()
def come(number):
    one = socket.create_connection((host, int(port)), 10)
    if number % 2: one.sendall(b'GET /metrics HTTP/1.1\\r\\nX: ')
    one.setblocking(False)
    waiting.register(one, selectors.EVENT_READ, number)
for number in range(100): come(number)
print('there', flush=True)
while True:
    for key, _ in waiting.select():
        waiting.unregister(key.fileobj)
        key.fileobj.close()
        try: come(key.data)
        except OSError: pass
";

#[test]
fn a_crowd_on_loopback_keeps_nobody_out_whosever_it_is() -> Tested {
    let network = Network::new()?;
    let daemon = over_tcp(&network)?;
    for uid in [guard_lab::AGENT, 0] {
        let mut crowd = daemon.on_machine(uid, "sh");
        crowd.args(["-c", "exec python3 -c \"$0\" \"$1\"", CROWD, AT]);
        let mut crowd = Running::start(&mut crowd)?;
        crowd.line_with("there", PATIENCE)?;
        for _ in 0..3 {
            assert_eq!(get(tcp(&network, AT)?).status, 200);
            daemon.ask(["status"])?.success()?;
        }
        crowd.signal(Signal::KILL)?;
    }
    Ok(())
}

/// The families that the documents and files may name.
#[test]
fn every_metric_that_is_promised_is_there() -> Tested {
    let scene = scene()?;
    let _shell = Shell::start(&scene.daemon, "asks")?;
    scene.daemon.ask(["status"])?.success()?;
    let now = scrape(&scene);
    let names = now.names();
    for (file, text) in [
        ("packaging/grafana/guard.json", DASHBOARD),
        ("packaging/prometheus/alerts.yml", ALERTS),
        ("docs/reference/metrics.md", REFERENCE),
    ] {
        let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        let promised: std::collections::BTreeSet<_> = words
            .filter(|word| {
                let rest = ["guard_", "process_"].map(|prefix| word.strip_prefix(prefix));
                // A package's file has its version there.
                let mut rest = rest.into_iter().flatten();
                rest.any(|rest| rest.starts_with(|c: char| c.is_ascii_lowercase()))
            })
            .collect();
        assert!(promised.len() > 3, "{file}: {promised:?}");
        for name in promised {
            let is = names.contains(name) || now.kinds.contains_key(name);
            assert!(is, "{file} names {name}, which is not served");
        }
    }
    for family in now.kinds.keys() {
        assert!(
            REFERENCE.contains(&format!("`{family}`")),
            "docs/reference/metrics.md has no {family}"
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
