//! Holes for reads: what a `confirm` rule stops is read-only for a while.

use guard_lab::{AGENT, Attempt, NEVER, Network, OPEN, Shell, bins, eventually};
use serde_json::{Value, json};

use crate::read_only::scene::{JOB, PHOTOS, PHOTOS_V6, START, Scene, url};

const POLICY: &str = r#"
version = 1
name = "photos"
default = "confirm"
hold = "60s"

[[rule]]
name = "here"
to = ["@loopback"]
action = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.0/24", "2001:db8:7::/48"]
action = "confirm"
max_hole = "30m"
reason = "production photo server"

[[rule]]
name = "never"
to = ["192.0.2.99"]
action = "deny"

[[rule]]
name = "readable"
to = ["192.0.2.20"]
action = "read-only"
"#;

/// A connection that goes on after an answer, until it is cut.
const STAYS: &str = r#"
import socket, sys
s = socket.create_connection((sys.argv[1], 8080), 20)
s.settimeout(20)
s.sendall(b"GET / HTTP/1.1\r\nHost: photos\r\n\r\n")
print("stays", s.recv(12).decode(), flush=True)
try:
    while s.recv(65536): pass
    print("over at its end", flush=True)
except OSError as e:
    print("over by", e.errno, flush=True)
"#;

/// `ECONNABORTED` of asm-generic/errno.h.
const ABORTED: &str = "over by 103";

fn scene(network: &Network) -> Scene<'_> {
    Scene::with(network, POLICY)
}

fn json(scene: &Scene<'_>, args: &[&str]) -> Value {
    scene.daemon.root(args).json().unwrap()
}

fn refusal(scene: &Scene<'_>, args: &[&str]) -> String {
    let output = scene.daemon.ask(args).unwrap();
    assert_eq!(output.code(), Some(2), "{args:?}: {output:?}");
    output.stderr
}

fn shell(scene: &Scene<'_>) -> Shell {
    Shell::start(&scene.daemon, "photos").unwrap()
}

/// The status that `curl` gets; 0 where it gets no answer.
fn curl(shell: &mut Shell, args: &str) -> u16 {
    let command = format!("curl -s -m 20 -o /dev/null -w 'curl: %{{http_code}}\\n' {args}");
    shell.tell(&command).unwrap();
    let line = shell.line_with("curl: ").unwrap();
    line.trim().trim_start_matches("curl: ").parse().unwrap()
}

fn put(host: &str) -> String {
    format!("-X PUT -d '{START}' {}", url(host, JOB))
}

/// Begins a connection in the shell that stays open.
fn stay(shell: &mut Shell) {
    shell
        .tell(&format!("python3 -c '{STAYS}' {PHOTOS}"))
        .unwrap();
    let line = shell.line_with("stays").unwrap();
    assert!(line.contains("HTTP/1.1 200"), "{line}");
}

#[test]
fn what_is_asked_about_can_be_opened_for_reads() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut agent = shell(&scene);
    let page = url(PHOTOS, "/api/jobs");
    // As it was: nobody is asked.
    assert_eq!(scene.outside(&[&page]).status, 200);
    assert_eq!(curl(&mut agent, &page), 0);
    let [request] = <[_; 1]>::try_from(scene.pending()).unwrap();
    assert_eq!(request["verdict"], "confirm");
    let id = request["id"].as_str().unwrap();
    let hole = json(&scene, &["approve", id, "--read-only"]);
    assert_eq!(
        (&hole["read_only"], &hole["ports"]),
        (&json!(true), &json!("tcp/8080"))
    );
    assert_eq!(json(&scene, &["holes"])[0]["read_only"], true);
    assert_eq!(scene.pending(), [""; 0]);

    assert_eq!(curl(&mut agent, &page), 200);
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 403);
    let [request] = <[_; 1]>::try_from(scene.pending()).unwrap();
    assert_eq!(
        (&request["rule"], &request["http"]["method"]),
        (&json!("photos"), &json!("PUT"))
    );
    let id = request["id"].as_str().unwrap();
    let refused = refusal(&scene, &["approve", id, "--read-only"]);
    assert!(refused.contains("changes something"), "{refused}");
    assert_eq!(scene.arrived(), ["GET /api/jobs"; 2]);
    json(&scene, &["approve", id]);
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 200);
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 403);
    assert_eq!(
        scene.bodies().iter().filter(|body| *body == START).count(),
        1
    );

    // Only that is open, and only for HTTP.
    let ssh = Attempt::tcp(PHOTOS, 22);
    assert!(ssh.outside(network.dev(), AGENT).unwrap().ok);
    assert!(!agent.reaches(&ssh).unwrap());
    for kind in ["udp-send", "udp-connect"] {
        assert!(!agent.reaches(&Attempt::new(kind, PHOTOS, 8080)).unwrap());
    }
    let explained = json(
        &scene,
        &["explain", &format!("{PHOTOS}:8080"), "--session", "s1"],
    );
    assert_eq!(
        (&explained["verdict"], &explained["hole"]),
        (&json!("read-only"), &hole["id"])
    );
    let log = scene.daemon.agent(["log", "--json"]).run().unwrap();
    let records = log.json_lines().unwrap();
    let opened = records.iter().find(|record| record["kind"] == "hole-open");
    assert_eq!(opened.unwrap()["read_only"], true);

    json(&scene, &["close", hole["id"].as_str().unwrap()]);
    assert_eq!(curl(&mut agent, &page), 0);
    // A yes to what waits would not get it there.
    let waits = scene.pending();
    assert!(waits.iter().all(|one| one["http"].is_null()), "{waits:?}");
}

#[test]
fn a_whole_destination_is_opened_in_both_families() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut agent = shell(&scene);
    for host in [PHOTOS, PHOTOS_V6] {
        assert_eq!(curl(&mut agent, &url(host, "/")), 0);
        let hole = json(&scene, &["open", host, "--read-only", "--for", "10m"]);
        assert_eq!(
            (&hole["read_only"], &hole["ports"]),
            (&json!(true), &json!("tcp"))
        );
        assert_eq!(curl(&mut agent, &url(host, "/")), 200);
        assert_eq!(curl(&mut agent, &put(host)), 403);
    }
    // Of the default, too, which has no name.
    json(&scene, &["open", OPEN, "--read-only"]);
    assert_eq!(curl(&mut agent, &url(OPEN, "/")), 200);
    agent
        .tell(&format!("curl -s -m 20 -X DELETE {}", url(OPEN, "/x")))
        .unwrap();
    agent.line_with("stopped by guard").unwrap();
    let waits = scene.pending();
    let default = waits
        .iter()
        .find(|one| one["http"]["path"] == "/x")
        .unwrap();
    assert_eq!(default["rule"], Value::Null);
    // A prefix leaves what is denied in it closed.
    json(&scene, &["open", "192.0.2.0/24", "--read-only"]);
    assert_eq!(curl(&mut agent, &url(NEVER, "/")), 0);
    assert!(scene.production.reached_at(NEVER, 8080).unwrap().is_empty());
}

#[test]
fn it_ends_by_itself_and_by_hand_and_cuts_what_went_through_it() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut agent = shell(&scene);
    json(&scene, &["open", PHOTOS, "--read-only", "--for", "10s"]);
    stay(&mut agent);
    let over = agent.line_with("over").unwrap();
    assert!(over.contains(ABORTED), "{over}");
    assert_eq!(json(&scene, &["holes"]), json!([]));
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/")), 0);

    let hole = json(&scene, &["open", PHOTOS, "--read-only"]);
    stay(&mut agent);
    json(&scene, &["close", hole["id"].as_str().unwrap()]);
    let over = agent.line_with("over").unwrap();
    assert!(over.contains(ABORTED), "{over}");
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/")), 0);
    // Nobody needs the proxy any more, and nothing is amiss.
    assert_eq!(json(&scene, &["status"])["warnings"], json!([]));
}

#[test]
fn its_connections_are_counted_and_none_for_nothing() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut agent = shell(&scene);
    json(
        &scene,
        &["open", PHOTOS, "--read-only", "--connections", "2"],
    );
    let left = || json(&scene, &["holes"])[0]["connections_left"].clone();
    // A network that is not served yet: what is refused there takes none.
    let lab = bins::for_everybody("guard-lab", scene.daemon.tag()).unwrap();
    let attempt = Attempt::tcp(PHOTOS, 8080).args().join(" ");
    agent
        .tell(&format!(
            "unshare --map-root-user --net {} {attempt}",
            lab.display()
        ))
        .unwrap();
    let report = agent.line_with("\"ok\"").unwrap();
    assert!(report.contains("EPERM"), "{report}");
    assert_eq!(left(), 2);
    assert!(!agent.reaches(&Attempt::udp(PHOTOS, 53)).unwrap());
    assert_eq!(left(), 2);
    // Several requests are one connection.
    let page = url(PHOTOS, "/");
    assert_eq!(
        curl(&mut agent, &format!("{page} -o /dev/null {page}")),
        200
    );
    agent.line_with("curl: 200").unwrap();
    assert_eq!(left(), 1);
    assert_eq!(curl(&mut agent, &page), 200);
    assert_eq!(left(), 0);
    assert_eq!(curl(&mut agent, &page), 0);
    // And a person is asked, since there is none left.
    let is_asked = |one: &Value| one["destination"]["port"] == 8080;
    eventually("it is asked", || scene.pending().iter().any(is_asked)).unwrap();
}

#[test]
fn it_survives_the_daemon() {
    let network = Network::new().unwrap();
    let mut scene = scene(&network);
    let mut agent = shell(&scene);
    let hole = json(
        &scene,
        &["open", PHOTOS, "--read-only", "--reason", "a look"],
    );
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/")), 200);
    scene.daemon.kill().unwrap();
    // There is no proxy.
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/")), 0);
    scene.daemon.start().unwrap();
    let holes = json(&scene, &["holes"]);
    assert_eq!(
        (&holes[0]["id"], &holes[0]["read_only"]),
        (&hole["id"], &json!(true))
    );
    assert_eq!(holes[0]["reason"], "a look");
    let page = url(PHOTOS, "/");
    eventually("a read passes", || curl(&mut agent, &page) == 200).unwrap();
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 403);
}

#[test]
fn what_it_would_not_change_is_said() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let _agent = shell(&scene);
    for (args, why) in [
        (
            &["open", "192.0.2.20", "--all-ports"][..],
            "can be read from without",
        ),
        (&["open", "127.0.0.1", "--all-ports"], "already allowed"),
        (&["open", NEVER, "--all-ports"], "\"never\""),
        (&["open", PHOTOS, "--ports", "tcp/80,udp/53"], "udp/53"),
        (&["open", PHOTOS, "--ports", "icmp"], "HTTP over TCP"),
    ] {
        let refused = refusal(&scene, &[args, &["--read-only"]].concat());
        assert!(refused.contains(why), "{args:?}: {refused}");
    }
    // The rule's time holds, and what is readable without has no say in it.
    let output = scene
        .daemon
        .ask(["open", "192.0.2.0/24", "--read-only", "--for", "1h"])
        .unwrap();
    assert!(output.stderr.contains("30m instead of 1h"), "{output:?}");
    assert!(!output.stderr.contains("nobody is asked"), "{output:?}");
}

/// Whoever asks for a connection to where requests are judged one by one asks for more than a plain yes gives.
#[test]
fn a_yes_lets_no_writes_past_where_it_is_read_only_already() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut agent = shell(&scene);
    let guard = bins::for_everybody("guard", scene.daemon.tag()).unwrap();
    let (guard, socket) = (guard.display(), scene.daemon.socket());
    for ports in ["tcp/8080", "udp/9999"] {
        let ask = format!(
            "GUARD_SOCKET={} {guard} request 192.0.2.20 --ports {ports} --reason 'reads only'; echo asked",
            socket.display()
        );
        agent.tell(&ask).unwrap();
        agent.line_with("asked").unwrap();
        let asked = scene.pending().into_iter();
        let [request] = <[_; 1]>::try_from(
            asked
                .filter(|one| one["http"].is_null())
                .collect::<Vec<_>>(),
        )
        .unwrap();
        assert_eq!(request["verdict"], "read-only");
        let shown = scene.daemon.ask(["pending"]).unwrap().stdout;
        assert!(shown.contains("guard open 192.0.2.20"), "{shown}");
        let id = request["id"].as_str().unwrap();
        let refused = refusal(&scene, &["approve", id]);
        assert!(refused.contains("guard open 192.0.2.20"), "{refused}");
        assert_eq!(json(&scene, &["holes"]), json!([]));
        assert_eq!(curl(&mut agent, &put("192.0.2.20")), 403);
        for one in scene.pending() {
            scene
                .daemon
                .ask(["deny", one["id"].as_str().unwrap()])
                .unwrap();
        }
    }
    assert!(scene.arrived().is_empty());
}

#[test]
fn a_hole_for_all_comes_first() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut agent = shell(&scene);
    json(
        &scene,
        &["open", PHOTOS, "--ports", "tcp/8080", "--read-only"],
    );
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 403);
    // Wider as it is.
    let wide = json(&scene, &["open", "192.0.2.0/24", "--all-ports"]);
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 200);
    let explain = ["explain", &format!("{PHOTOS}:8080"), "--session", "s1"];
    assert_eq!(json(&scene, &explain)["hole"], wide["id"]);
    json(&scene, &["close", wide["id"].as_str().unwrap()]);
    assert_eq!(curl(&mut agent, &put(PHOTOS)), 403);
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/")), 200);
}

#[test]
fn a_session_inside_has_its_own_and_the_strictest_policy_judges() {
    let network = Network::new().unwrap();
    let scene = scene(&network);
    let mut outer = shell(&scene);
    let own = scene.daemon.write_policy("own", OWN).unwrap();
    assert!(own.exists());
    scene.daemon.ask(["status"]).unwrap().success().unwrap();
    json(&scene, &["open", PHOTOS, "--session", "s1", "--read-only"]);
    let guard = bins::for_everybody("guard", scene.daemon.tag()).unwrap();
    // It speaks first: the shell around it may read ahead of it.
    let inner = "sh -c 'echo inside $GUARD_SESSION; exec sh'";
    outer
        .tell(&format!("{} run --policy own -- {inner}", guard.display()))
        .unwrap();
    assert_eq!(outer.line_with("inside ").unwrap().trim(), "inside s2");
    // It has no holes but its own.
    let page = url(PHOTOS, "/");
    assert_eq!(curl(&mut outer, &page), 0);
    json(&scene, &["open", PHOTOS, "--session", "s2", "--read-only"]);
    assert_eq!(curl(&mut outer, &page), 200);
    assert_eq!(curl(&mut outer, &put(PHOTOS)), 403);
    // The outer policy asks, and the inner one denies that path.
    assert_eq!(
        curl(&mut outer, &format!("-X DELETE {}", url(PHOTOS, "/a"))),
        403
    );
    let asked = scene.pending();
    assert!(
        asked.iter().all(|one| one["http"]["method"] != "DELETE"),
        "{asked:?}"
    );
}

/// Of a session inside.
const OWN: &str = r#"
version = 1
name = "own"
default = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.0/24"]
action = "read-only"

[[rule.http]]
method = ["DELETE"]
action = "deny"
"#;
