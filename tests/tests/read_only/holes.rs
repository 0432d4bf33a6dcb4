//! Holes for reads: what a `confirm` rule stops is read-only for a while.

use std::{
    thread,
    time::{Duration, Instant},
};

use guard_lab::{AGENT, Attempt, Json as _, NEVER, OPEN, Shell, Tested, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::read_only::scene::{JOB, PHOTOS, PHOTOS_V6, PhotoScene, START, url};

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

/// Requests over one connection, each at a word: what comes of them.
const ONE_BY_ONE: &str = r#"
import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], 8080, timeout=20)
c.connect()
c.auto_open = 0
c.sock.settimeout(float(sys.argv[2]))
print("connected", flush=True)
for method in sys.stdin:
    try:
        c.request(method.strip(), "/api/jobs", "late" if method.strip() == "PUT" else None)
        got = c.getresponse()
        got.read()
        print("came", got.status, flush=True)
    except (OSError, http.client.HTTPException):
        print("came to nothing", flush=True)
"#;

/// `ECONNABORTED` of asm-generic/errno.h.
const ABORTED: &str = "over by 103";

/// The status that `curl` gets; 0 where it gets no answer.
fn curl(shell: &mut Shell, args: &str) -> Tested<u16> {
    let command = format!("curl -s -m 20 -o /dev/null -w 'curl: %{{http_code}}\\n' {args}");
    shell.tell(&command)?;
    let line = shell.line_with("curl: ")?;
    Ok(line.trim().trim_start_matches("curl: ").parse()?)
}

fn put(host: &str) -> String {
    format!("-X PUT -d '{START}' {}", url(host, JOB))
}

/// Begins a connection in the shell that stays open.
fn stay(shell: &mut Shell) -> Tested {
    shell.tell(&format!("python3 -c '{STAYS}' {PHOTOS}"))?;
    let line = shell.line_with("stays")?;
    assert!(line.contains("HTTP/1.1 200"), "{line}");
    Ok(())
}

#[test]
fn what_is_asked_about_can_be_opened_for_reads() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    let page = url(PHOTOS, "/api/jobs");
    // As it was: nobody is asked.
    assert_eq!(scene.outside(&[&page])?.status, 200);
    assert_eq!(curl(&mut agent, &page)?, 0);
    let request = scene.request()?;
    assert_eq!(request["verdict"], "confirm");
    let id = request["id"].text()?;
    let hole = scene.daemon.json(["approve", id, "--read-only"])?;
    assert_eq!(
        (&hole["read_only"], &hole["ports"]),
        (&json!(true), &json!("tcp/8080"))
    );
    assert_eq!(scene.daemon.json(["holes"])?[0]["read_only"], true);
    assert_eq!(scene.pending()?, [""; 0]);

    assert_eq!(curl(&mut agent, &page)?, 200);
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 403);
    let request = scene.request()?;
    assert_eq!(
        (&request["rule"], &request["http"]["method"]),
        (&json!("photos"), &json!("PUT"))
    );
    let id = request["id"].text()?;
    let refused = scene.daemon.refused(["approve", id, "--read-only"])?;
    assert!(refused.contains("changes something"), "{refused}");
    assert_eq!(scene.arrived()?, ["GET /api/jobs"; 2]);
    scene.daemon.json(["approve", id])?;
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 200);
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 403);
    assert_eq!(
        scene.bodies()?.iter().filter(|body| *body == START).count(),
        1
    );

    // Only that is open, and only for HTTP.
    let ssh = Attempt::tcp(PHOTOS, 22);
    assert!(ssh.outside(scene.network.dev(), AGENT)?.ok);
    assert!(!agent.reaches(&ssh)?);
    for kind in ["udp-send", "udp-connect"] {
        assert!(!agent.reaches(&Attempt::new(kind, PHOTOS, 8080))?);
    }
    let explained = scene
        .daemon
        .json(["explain", &format!("{PHOTOS}:8080"), "--session", "s1"])?;
    assert_eq!(
        (&explained["verdict"], &explained["hole"]),
        (&json!("read-only"), &hole["id"])
    );
    let log = scene.daemon.agent(["log", "--json"]).run()?;
    let records = log.json_lines()?;
    let opened = records.iter().find(|record| record["kind"] == "hole-open");
    assert_eq!(opened.unwrap()["read_only"], true);

    scene.daemon.json(["close", hole["id"].text()?])?;
    assert_eq!(curl(&mut agent, &page)?, 0);
    // A yes to what waits would not get it there.
    let waits = scene.pending()?;
    assert!(waits.iter().all(|one| one["http"].is_null()), "{waits:?}");
    Ok(())
}

/// The kernel ends a hole, also where guardd does not go on: the proxy knows no longer than that what it let through.
#[test]
fn a_hole_over_what_is_read_only_ends_where_guardd_does_not_go_on() -> Tested {
    let scene = PhotoScene::new()?;
    let mut agent = scene.shell()?;
    agent.tell(&format!("python3 -c '{ONE_BY_ONE}' {PHOTOS} 5"))?;
    agent.line_with("connected")?;
    let mut ask = |method: &str| -> Tested<String> {
        agent.tell(method)?;
        Ok(agent.line_with("came ")?)
    };
    assert_eq!(ask("GET")?, "came 200");
    let open = ["open", "192.0.2.10:8080", "--session", "s1", "--for", "10s"];
    let opened = Instant::now();
    scene.daemon.json(open)?;
    assert_eq!(ask("PUT")?, "came 200");
    let late = || -> Tested<usize> {
        let bodies = scene.bodies()?;
        Ok(bodies.iter().filter(|body| *body == "late").count())
    };
    assert_eq!(late()?, 1);

    scene.daemon.signal(Signal::STOP)?;
    // The hole's end is the kernel's clock, of which nobody tells.
    thread::sleep(Duration::from_secs(11).saturating_sub(opened.elapsed()));
    assert_eq!(ask("PUT")?, "came to nothing");
    assert_eq!(late()?, 1);
    scene.daemon.signal(Signal::CONT)?;
    eventually("the hole is closed", || {
        Ok(scene.daemon.json(["holes"])?.list()?.is_empty())
    })?;
    assert_eq!(late()?, 1);
    Ok(())
}

#[test]
fn a_whole_destination_is_opened_in_both_families() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    for host in [PHOTOS, PHOTOS_V6] {
        assert_eq!(curl(&mut agent, &url(host, "/"))?, 0);
        let hole = scene
            .daemon
            .json(["open", host, "--read-only", "--for", "10m"])?;
        assert_eq!(
            (&hole["read_only"], &hole["ports"]),
            (&json!(true), &json!("tcp"))
        );
        assert_eq!(curl(&mut agent, &url(host, "/"))?, 200);
        assert_eq!(curl(&mut agent, &put(host))?, 403);
    }
    // Of the default, too, which has no name.
    scene.daemon.json(["open", OPEN, "--read-only"])?;
    assert_eq!(curl(&mut agent, &url(OPEN, "/"))?, 200);
    agent.tell(&format!("curl -s -m 20 -X DELETE {}", url(OPEN, "/x")))?;
    agent.line_with("stopped by guard")?;
    let waits = scene.pending()?;
    let default = waits
        .iter()
        .find(|one| one["http"]["path"] == "/x")
        .unwrap();
    assert_eq!(default["rule"], Value::Null);
    // A prefix leaves what is denied in it closed.
    scene.daemon.json(["open", "192.0.2.0/24", "--read-only"])?;
    assert_eq!(curl(&mut agent, &url(NEVER, "/"))?, 0);
    assert!(scene.production.reached_at(NEVER, 8080)?.is_empty());
    Ok(())
}

#[test]
fn it_ends_by_itself_and_by_hand_and_cuts_what_went_through_it() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    scene
        .daemon
        .json(["open", PHOTOS, "--read-only", "--for", "10s"])?;
    stay(&mut agent)?;
    let over = agent.line_with("over")?;
    assert!(over.contains(ABORTED), "{over}");
    assert_eq!(scene.daemon.json(["holes"])?, json!([]));
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/"))?, 0);

    let hole = scene.daemon.json(["open", PHOTOS, "--read-only"])?;
    stay(&mut agent)?;
    scene.daemon.json(["close", hole["id"].text()?])?;
    let over = agent.line_with("over")?;
    assert!(over.contains(ABORTED), "{over}");
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/"))?, 0);
    // Nobody needs the proxy any more, and nothing is amiss.
    assert_eq!(scene.daemon.json(["status"])?["warnings"], json!([]));
    Ok(())
}

#[test]
fn its_connections_are_counted_and_none_for_nothing() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    scene
        .daemon
        .json(["open", PHOTOS, "--read-only", "--connections", "2"])?;
    let left = || Tested::Ok(scene.holes()?[0]["connections_left"].clone());
    // A network that is not served yet: what is refused there takes none.
    let lab = scene.daemon.program("guard-lab")?;
    let attempt = Attempt::tcp(PHOTOS, 8080).args().join(" ");
    agent.tell(&format!(
        "unshare --map-root-user --net {} {attempt}",
        lab.display()
    ))?;
    let report = agent.line_with("\"ok\"")?;
    assert!(report.contains("EPERM"), "{report}");
    assert_eq!(left()?, 2);
    assert!(!agent.reaches(&Attempt::udp(PHOTOS, 53))?);
    assert_eq!(left()?, 2);
    // Several requests are one connection.
    let page = url(PHOTOS, "/");
    assert_eq!(
        curl(&mut agent, &format!("{page} -o /dev/null {page}"))?,
        200
    );
    agent.line_with("curl: 200")?;
    assert_eq!(left()?, 1);
    assert_eq!(curl(&mut agent, &page)?, 200);
    assert_eq!(left()?, 0);
    assert_eq!(curl(&mut agent, &page)?, 0);
    // And a person is asked, since there is none left.
    let is_asked = |one: &Value| one["destination"]["port"] == 8080;
    eventually("it is asked", || Ok(scene.pending()?.iter().any(is_asked)))?;
    Ok(())
}

#[test]
fn it_survives_the_daemon() -> Tested {
    let mut scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    let hole = scene
        .daemon
        .json(["open", PHOTOS, "--read-only", "--reason", "a look"])?;
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/"))?, 200);
    scene.daemon.kill()?;
    // There is no proxy.
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/"))?, 0);
    scene.daemon.start()?;
    let holes = scene.daemon.json(["holes"])?;
    assert_eq!(
        (&holes[0]["id"], &holes[0]["read_only"]),
        (&hole["id"], &json!(true))
    );
    assert_eq!(holes[0]["reason"], "a look");
    let page = url(PHOTOS, "/");
    eventually("a read passes", || Ok(curl(&mut agent, &page)? == 200))?;
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 403);
    Ok(())
}

#[test]
fn what_it_would_not_change_is_said() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let _agent = scene.shell()?;
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
        let refused = scene.daemon.refused([args, &["--read-only"]].concat())?;
        assert!(refused.contains(why), "{args:?}: {refused}");
    }
    // The rule's time holds, and what is readable without has no say in it.
    let output = scene
        .daemon
        .ask(["open", "192.0.2.0/24", "--read-only", "--for", "1h"])?;
    assert!(output.stderr.contains("30m instead of 1h"), "{output:?}");
    assert!(!output.stderr.contains("nobody is asked"), "{output:?}");
    Ok(())
}

/// Whoever asks for a connection to where requests are judged one by one asks for more than a plain yes gives.
#[test]
fn a_yes_lets_no_writes_past_where_it_is_read_only_already() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    let guard = scene.daemon.program("guard")?;
    let (guard, socket) = (guard.display(), scene.daemon.socket());
    for ports in ["tcp/8080", "udp/9999"] {
        let ask = format!(
            "GUARD_SOCKET={} {guard} request 192.0.2.20 --ports {ports} --reason 'reads only'; echo asked",
            socket.display()
        );
        agent.tell(&ask)?;
        agent.line_with("asked")?;
        let mut asked = scene.pending()?;
        asked.retain(|one| one["http"].is_null());
        assert_eq!(asked.len(), 1, "{asked:?}");
        let request = asked.remove(0);
        assert_eq!(request["verdict"], "read-only");
        let shown = scene.daemon.ask(["pending"])?.stdout;
        assert!(shown.contains("guard open 192.0.2.20"), "{shown}");
        let id = request["id"].text()?;
        let refused = scene.daemon.refused(["approve", id])?;
        assert!(refused.contains("guard open 192.0.2.20"), "{refused}");
        assert_eq!(scene.daemon.json(["holes"])?, json!([]));
        assert_eq!(curl(&mut agent, &put("192.0.2.20"))?, 403);
        for one in scene.pending()? {
            scene.daemon.ask(["deny", one["id"].text()?])?;
        }
    }
    assert!(scene.arrived()?.is_empty());
    Ok(())
}

#[test]
fn a_hole_for_all_comes_first() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut agent = scene.shell()?;
    scene
        .daemon
        .json(["open", PHOTOS, "--ports", "tcp/8080", "--read-only"])?;
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 403);
    // Wider as it is.
    let wide = scene.daemon.json(["open", "192.0.2.0/24", "--all-ports"])?;
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 200);
    let explain = ["explain", &format!("{PHOTOS}:8080"), "--session", "s1"];
    assert_eq!(scene.daemon.json(explain)?["hole"], wide["id"]);
    scene.daemon.json(["close", wide["id"].text()?])?;
    assert_eq!(curl(&mut agent, &put(PHOTOS))?, 403);
    assert_eq!(curl(&mut agent, &url(PHOTOS, "/"))?, 200);
    Ok(())
}

#[test]
fn a_session_inside_has_its_own_and_the_strictest_policy_judges() -> Tested {
    let scene = PhotoScene::with(POLICY)?;
    let mut outer = scene.shell()?;
    let own = scene.daemon.write_policy("own", OWN)?;
    assert!(own.exists());
    scene.daemon.ask(["status"])?.success()?;
    scene
        .daemon
        .json(["open", PHOTOS, "--session", "s1", "--read-only"])?;
    let guard = scene.daemon.program("guard")?;
    // It speaks first: the shell around it may read ahead of it.
    let inner = "sh -c 'echo inside $GUARD_SESSION; exec sh'";
    outer.tell(&format!("{} run --policy own -- {inner}", guard.display()))?;
    assert_eq!(outer.line_with("inside ")?.trim(), "inside s2");
    // It has no holes but its own.
    let page = url(PHOTOS, "/");
    assert_eq!(curl(&mut outer, &page)?, 0);
    scene
        .daemon
        .json(["open", PHOTOS, "--session", "s2", "--read-only"])?;
    assert_eq!(curl(&mut outer, &page)?, 200);
    assert_eq!(curl(&mut outer, &put(PHOTOS))?, 403);
    // The outer policy asks, and the inner one denies that path.
    assert_eq!(
        curl(&mut outer, &format!("-X DELETE {}", url(PHOTOS, "/a")))?,
        403
    );
    let asked = scene.pending()?;
    assert!(
        asked.iter().all(|one| one["http"]["method"] != "DELETE"),
        "{asked:?}"
    );
    Ok(())
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
