//! UDP sockets that are connected: `connect` sends nothing and asks nobody, and what is sent is judged as that would have been.

use guard_lab::{
    AGENT, ASKS, Attempt, Json as _, Production, Scene, Shell, Tested, V4, V6, eventually, exec,
};
use rustix::process::Signal;
use serde_json::Value;

const CLIENT: &str = include_str!("client.py");

/// All else is open.
const OPEN: &str = "198.51.100.7";
/// What [`ASKS`] denies.
const NEVER: &str = "192.0.2.99";
/// A port at which production answers datagrams.
const PORT: &str = "443";

/// A name with several addresses that one has to be asked about: the C library sorts them.
const NAME: &str = "photos.example.net";

fn scene() -> Tested<Scene> {
    Ok(Scene::new("asks", ASKS)?)
}

/// A session in which the client reads lines.
fn client(scene: &Scene, policy: &str) -> Tested<Shell> {
    let hosts =
        format!("192.0.2.10 {NAME}\n192.0.2.11 {NAME}\n2001:db8:7::10 {NAME}\n{NEVER} {NAME}\n");
    let hosts = scene.daemon.write_for_agents("hosts", &hosts)?;
    let file = scene.daemon.write_for_agents("client.py", CLIENT)?;
    let run = scene.daemon.agent(["run", "--policy", policy]);
    let mut shell = Shell::run_by(&scene.daemon, run.hosts(hosts))?;
    shell.tell(&format!("exec python3 {}", file.display()))?;
    shell.line_with("reads lines")?;
    Ok(shell)
}

/// How it went.
fn does(client: &mut Shell, line: &str) -> Tested<String> {
    client.tell(line)?;
    let said = client.line_with(&format!("did {line} "))?;
    Ok(said
        .trim()
        .rsplit(' ')
        .next()
        .unwrap_or_default()
        .to_owned())
}

fn requests(scene: &Scene) -> Tested<Vec<Value>> {
    Ok(scene.daemon.list(["pending"])?)
}

fn has_reached(production: &Production, to: &str) -> Tested<bool> {
    let reached = production.reached()?;
    Ok(reached.iter().any(|one| one.to.to_string() == to))
}

#[test]
fn nobody_is_asked_about_a_socket_that_sends_nothing() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    // As Go does (port 9), glibc (0) and musl (65535), and by a mapped address.
    for (at, to) in [V4, V6, "::ffff:192.0.2.10"].iter().enumerate() {
        for port in ["9", "0", "65535"] {
            assert_eq!(
                does(&mut client, &format!("connect s{at} {to} {port}"))?,
                "ok"
            );
        }
    }
    client.tell(&format!("lookup {NAME}"))?;
    let mut found = Vec::new();
    for _ in 0..4 {
        let line = client.line_with("found ")?;
        found.extend(line.split_whitespace().nth(1).map(str::to_owned));
    }
    assert!(client.line_with("did ")?.trim().ends_with("ok"));
    found.sort();
    assert_eq!(found, ["192.0.2.10", "192.0.2.11", NEVER, "2001:db8:7::10"]);
    // What is denied is so at once.
    for port in ["0", "9"] {
        let connects = format!("connect never{port} {NEVER} {port}");
        assert_eq!(does(&mut client, &connects)?, "EPERM");
    }
    eventually("the denial is written down", || {
        let denied = scene.daemon.audited("denied")?;
        Ok(denied.iter().any(|one| one["destination"]["port"] == 9))
    })?;
    let denied = scene.daemon.audited("denied")?;
    // And nothing of port 0, where nobody wants to go: so addresses are sorted (getent).
    let is_it =
        |one: &Value| one["destination"]["address"] == NEVER && one["destination"]["port"] != 0;
    assert!(denied.iter().all(is_it), "{denied:?}");
    assert!(requests(&scene)?.is_empty());
    for to in [V4, V6] {
        assert!(!has_reached(&production, to)?);
    }
    Ok(())
}

/// Nothing tells it from an attempt by UDP, which ends at `connect` as well: so it counts where TCP is denied, too.
#[test]
fn what_is_denied_counts_where_a_library_only_sorts_the_addresses_of_a_name() -> Tested {
    let scene = scene()?;
    let mut client = client(&scene, "asks")?;
    let job = job(&client);
    client.tell(&format!("lookup {NAME}"))?;
    client.line_with("did ")?;
    fails(&scene, &job, "it is in the report")?;
    let report = scene.daemon.root(job).args(["--json"]).run()?.json()?;
    let stopped = &report["stopped"];
    assert_eq!(stopped[0]["destination"], format!("udp {NEVER}:443"));
    assert_eq!(stopped.list()?.len(), 1, "{stopped}");
    assert!(report["not_counted"].list()?.is_empty(), "{report}");
    Ok(())
}

/// What a job asks of a session at its end.
fn job(session: &Shell) -> [String; 5] {
    let id = session.session();
    ["report", "--session", id, "--fail-on", "denied"].map(str::to_owned)
}

/// A session under the text of a policy, and that.
fn job_under(scene: &Scene, policy: &str) -> Tested<(Shell, [String; 5])> {
    let file = scene.daemon.write_for_agents("ci.toml", policy)?;
    let client = client(scene, &file.display().to_string())?;
    let job = job(&client);
    Ok((client, job))
}

fn fails(scene: &Scene, job: &[String; 5], what: &str) -> Tested {
    eventually(what, || Ok(scene.daemon.root(job).run()?.code() == Some(1)))?;
    Ok(())
}

/// A job that reaches by TCP what it may reach passes, and the same by a datagram fails it.
#[test]
fn what_passes_by_tcp_counts_only_once_it_is_sent_by_udp() -> Tested {
    let scene = scene()?;
    let ci = "version = 1\nname = \"ci\"\ndefault = \"deny\"\n\
              [[rule]]\nname = \"web\"\nto = [\"192.0.2.0/24\", \"2001:db8:7::/64\"]\nports = [\"tcp/443\"]\naction = \"allow\"\n";
    let (mut client, job) = job_under(&scene, ci)?;
    client.tell(&format!("lookup {NAME}"))?;
    client.line_with("did ")?;
    let mut report = Value::Null;
    eventually("it is in the report", || {
        report = scene.daemon.root(&job).args(["--json"]).run()?.json()?;
        Ok(report["not_counted"].list()?.len() == 4)
    })?;
    assert!(report["stopped"].list()?.is_empty(), "{report}");
    let told = scene.daemon.root(&job).run()?;
    assert_eq!(told.code(), Some(0), "{told:?}");
    assert!(told.stdout.starts_with("Nothing was stopped"), "{told:?}");
    assert!(told.stdout.contains("Not counted, 4 times"), "{told:?}");
    let guard = scene.daemon.program("guard")?;
    client.tell(&format!("why {}", guard.display()))?;
    let said = client.line_with("why {")?;
    assert!(said.contains("nothing was sent"), "{said}");
    assert!(!said.contains("Nobody can open it"), "{said}");
    assert_eq!(
        does(&mut client, &format!("sendto quic {V4} 443"))?,
        "EPERM"
    );
    fails(&scene, &job, "what is sent counts")
}

/// Who denies UDP by a rule wants to hear of it.
#[test]
fn what_a_rule_denies_by_udp_counts_before_it_is_sent() -> Tested {
    let scene = scene()?;
    let no_quic = "version = 1\nname = \"ci\"\ndefault = \"allow\"\n\
                   [[rule]]\nname = \"no-quic\"\nto = [\"192.0.2.0/24\"]\nports = [\"udp\"]\naction = \"deny\"\n";
    let (mut client, job) = job_under(&scene, no_quic)?;
    assert_eq!(
        does(&mut client, &format!("connect quic {V4} 443"))?,
        "EPERM"
    );
    fails(&scene, &job, "it counts")
}

#[test]
fn what_is_sent_on_one_is_asked_about_and_passes_while_it_is_open() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    for (name, to) in [("four", V4), ("six", V6)] {
        let outside = Attempt::new("udp-connect", to, 443);
        assert!(outside.outside(scene.network.dev(), AGENT)?.ok);
        let before = production.reached()?.len();
        assert_eq!(
            does(&mut client, &format!("connect {name} {to} {PORT}"))?,
            "ok"
        );
        assert_eq!(does(&mut client, &format!("send {name}"))?, "EPERM");
        assert_eq!(production.reached()?.len(), before);
        let asked = requests(&scene)?;
        let asked = asked.iter().find(|one| one["destination"]["address"] == to);
        let asked = asked.expect("a request");
        assert_eq!(asked["destination"]["protocol"], "udp");
        assert_eq!(asked["verdict"], "confirm");
        assert_eq!(asked["rule"], "production");
        // Who has connected it: a packet has no process.
        assert!(asked["comm"].text()?.starts_with("python3"), "{asked}");
        assert!(asked["pid"].is_u64());
        let id = asked["id"].text()?;
        let hole = scene.daemon.json(["approve", id])?;
        // The same socket goes on.
        assert_eq!(does(&mut client, &format!("send {name}"))?, "ok");
        assert_eq!(does(&mut client, &format!("send {name}"))?, "ok");
        assert!(has_reached(&production, to)?);
        scene.daemon.json(["close", hole["id"].text()?])?;
        let reached = production.reached_at(to, 443)?.len();
        assert_ne!(does(&mut client, &format!("send {name}"))?, "ok");
        assert_eq!(production.reached_at(to, 443)?.len(), reached);
    }
    Ok(())
}

#[test]
fn a_hole_that_counts_connections_counts_the_socket_once() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    for name in ["first", "second"] {
        assert_eq!(
            does(&mut client, &format!("connect {name} {V4} {PORT}"))?,
            "ok"
        );
    }
    scene
        .daemon
        .json(["open", V4, "--all-ports", "--connections", "1"])?;
    for _ in 0..3 {
        assert_eq!(does(&mut client, "send first")?, "ok");
    }
    let reached = production.reached_at(V4, 443)?.len();
    assert_eq!(does(&mut client, "send second")?, "EPERM");
    assert_eq!(production.reached_at(V4, 443)?.len(), reached);
    assert_eq!(scene.daemon.json(["holes"])?[0]["connections_left"], 0);
    Ok(())
}

#[test]
fn a_socket_that_was_connected_to_what_asks_goes_nowhere_else() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    let elsewhere = format!("sendto one {OPEN} {PORT}");
    assert_eq!(does(&mut client, &elsewhere)?, "ok");
    let asks = format!("connect one {V4} {PORT}");
    assert_eq!(does(&mut client, &asks)?, "ok");
    // A packet does not say whether its address is what the socket is connected to, or a tunnel's that leads there; nor when what it
    // has was written.
    assert_eq!(does(&mut client, &elsewhere)?, "EPERM");
    assert_eq!(does(&mut client, "dissolve one")?, "ok");
    assert_eq!(does(&mut client, &elsewhere)?, "EPERM");
    let opens = format!("connect one {OPEN} {PORT}");
    assert_eq!(does(&mut client, &opens)?, "ok");
    assert_eq!(does(&mut client, "send one")?, "EPERM");
    // Another socket does, also after what asks was allowed.
    let opens = format!("connect three {OPEN} {PORT}");
    assert_eq!(does(&mut client, &opens)?, "ok");
    assert_eq!(does(&mut client, "send three")?, "ok");
    let asks = format!("connect three {V4} {PORT}");
    assert_eq!(does(&mut client, &asks)?, "ok");
    let hole = scene.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(does(&mut client, "send three")?, "ok");
    assert_eq!(does(&mut client, &opens)?, "ok");
    assert_eq!(does(&mut client, "send three")?, "ok");
    scene.daemon.json(["close", hole["id"].text()?])?;
    let reached = production.reached_at(V4, 443)?.len();
    // Refused, it stays connected to what it was.
    assert_eq!(
        does(&mut client, &format!("connect two {OPEN} {PORT}"))?,
        "ok"
    );
    assert_eq!(
        does(&mut client, &format!("connect two {NEVER} {PORT}"))?,
        "EPERM"
    );
    assert_eq!(does(&mut client, "send two")?, "ok");
    assert_eq!(production.reached_at(V4, 443)?.len(), reached);
    assert!(production.reached_at(NEVER, 443)?.is_empty());
    Ok(())
}

#[test]
fn a_policy_of_now_judges_what_is_sent() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    assert_eq!(
        does(&mut client, &format!("connect one {V4} {PORT}"))?,
        "ok"
    );
    for (action, sends) in [("allow", "ok"), ("confirm", "EPERM"), ("deny", "EPERM")] {
        let policy = ASKS.replacen("\"confirm\"", &format!("{action:?}"), 1);
        scene.daemon.write_policy("asks", &policy)?;
        scene.daemon.signal(Signal::HUP)?;
        let explained = || scene.daemon.json(["explain", V4, "--session", "s1"]);
        eventually("the policy is in force", || {
            Ok(explained()?["verdict"] == action)
        })?;
        let reached = production.reached_at(V4, 443)?.len();
        assert_eq!(does(&mut client, "send one")?, sends, "{action}");
        let is_there = production.reached_at(V4, 443)?.len() > reached;
        assert_eq!(is_there, sends == "ok", "{action}");
    }
    Ok(())
}

/// Has the machine send what is for [`V4`] to where all is open.
fn redirect(scene: &Scene) -> Tested {
    let rules = format!(
        "add table ip nat
add chain ip nat output {{ type nat hook output priority -100 ; }}
add rule ip nat output ip daddr {V4} udp dport {PORT} dnat to {OPEN}\n"
    );
    let mut nft = scene.network.dev().command("nft");
    let done = exec::output_with(nft.args(["-f", "-"]), &rules)?;
    assert!(done.status.success(), "{done:?}");
    Ok(())
}

/// What a packet's address is, others may say: a redirect of the machine's as here, or a route that encapsulates.
#[test]
fn what_a_socket_is_connected_to_is_judged_wherever_its_packets_lead() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    redirect(&scene)?;
    let outside = Attempt::new("udp-connect", V4, 443);
    assert!(outside.outside(scene.network.dev(), AGENT)?.ok);
    assert!(production.reached_at(V4, 443)?.is_empty());
    let mut client = client(&scene, "asks")?;
    assert_eq!(
        does(&mut client, &format!("connect one {V4} {PORT}"))?,
        "ok"
    );
    let reached = production.reached_at(OPEN, 443)?.len();
    assert_eq!(does(&mut client, "send one")?, "EPERM");
    assert_eq!(production.reached_at(OPEN, 443)?.len(), reached);
    // Where that is open, what it leads to is judged, too.
    scene.daemon.json(["open", V4, "--all-ports"])?;
    assert_eq!(does(&mut client, "send one")?, "ok");
    Ok(())
}

/// How many have come to where all is open.
fn datagrams(production: &Production) -> Tested<usize> {
    let reached = production.reached_at(OPEN, 443)?;
    Ok(reached.iter().filter(|one| one.kind == "udp").count())
}

/// What was corked goes where the socket was connected when it was written, wherever it is connected since.
#[test]
fn what_was_corked_for_what_asks_does_not_leave_by_another_connection() -> Tested {
    let scene = scene()?;
    let production = scene.production()?;
    redirect(&scene)?;
    let steps = |name: &str| {
        [
            format!("connect {name} {V4} {PORT}"),
            format!("corked {name}"),
            format!("dissolve {name}"),
            format!("uncork {name}"),
        ]
    };
    let file = scene.daemon.write_for_agents("client.py", CLIENT)?;
    let mut outside = scene.network.dev().command_as(AGENT, "/usr/bin/python3");
    let lines = steps("one").join("\n") + "\n";
    let said = exec::output_with(outside.arg(file), &lines)?;
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    assert!(said.trim_end().ends_with("did uncork one ok"), "{said}");
    // From no port: it is bound to none any more.
    eventually("it arrives", || Ok(datagrams(&production)? == 1))?;

    let mut client = client(&scene, "asks")?;
    for (name, then) in [
        ("nowhere", "dissolve nowhere".to_owned()),
        ("elsewhere", format!("connect elsewhere {OPEN} {PORT}")),
    ] {
        let [connects, corks, _, uncorks] = steps(name);
        for step in [connects, corks, then] {
            assert_eq!(does(&mut client, &step)?, "ok", "{step}");
        }
        // The kernel does not say what came of it.
        assert_eq!(does(&mut client, &uncorks)?, "ok");
    }
    // A later packet of another socket is there, and so would be these.
    let opens = format!("connect open {OPEN} {PORT}");
    assert_eq!(does(&mut client, &opens)?, "ok");
    assert_eq!(does(&mut client, "send open")?, "ok");
    assert_eq!(datagrams(&production)?, 2);
    Ok(())
}

#[test]
fn a_socket_that_was_connected_again_says_so_where_it_is_refused() -> Tested {
    let scene = scene()?;
    let _production = scene.production()?;
    let mut client = client(&scene, "asks")?;
    let opens = format!("connect open {OPEN} {PORT}");
    assert_eq!(does(&mut client, &opens)?, "ok");
    assert_eq!(does(&mut client, "send open")?, "ok", "others pass");
    for step in [
        format!("connect one {V4} {PORT}"),
        format!("connect one {OPEN} {PORT}"),
        format!("connect two {V4} {PORT}"),
        "dissolve two".to_owned(),
    ] {
        assert_eq!(does(&mut client, &step)?, "ok", "{step}");
    }
    assert_eq!(does(&mut client, "send one")?, "EPERM");
    // Without a connection the packet alone says where it goes.
    assert_eq!(
        does(&mut client, &format!("sendto two {OPEN} 123"))?,
        "EPERM"
    );
    const WHY: &str = "the socket was connected again before what it was connected to was judged";
    for port in [443, 123] {
        let mut denied = Value::Null;
        eventually("the refusal is written down", || {
            let of_it = |one: &Value| {
                one["destination"]["address"] == OPEN && one["destination"]["port"] == port
            };
            denied = scene
                .daemon
                .audited("denied")?
                .into_iter()
                .find(of_it)
                .unwrap_or_default();
            Ok(!denied.is_null())
        })?;
        assert_eq!(
            denied["why"],
            format!("{WHY}: open a new socket"),
            "{denied}"
        );
        assert_eq!(denied["verdict"], "deny", "{denied}");
        assert_eq!(denied["rule"], Value::Null, "its rule allows it: {denied}");
        assert_eq!(denied["hook"], "connect4", "{denied}");
        assert!(denied["comm"].text()?.starts_with("python3"), "{denied}");
    }
    let guard = scene.daemon.program("guard")?;
    client.tell(&format!("why {}", guard.display()))?;
    let said = client.line_with("why {")?;
    let said: Value = serde_json::from_str(said.trim().trim_start_matches("why "))?;
    let stopped = said["stopped"].list()?;
    let of_it = |one: &&Value| one["destination"]["address"] == OPEN;
    let told: Vec<_> = stopped.iter().filter(of_it).collect();
    assert_eq!(told.len(), 2, "{said}");
    for one in told {
        let advice = one["advice"].text()?;
        assert!(
            advice.contains(WHY) && advice.contains("Open a new socket"),
            "{one}"
        );
    }
    let report = scene.daemon.root(["report", "--session", client.session()]);
    let report = report.run()?;
    assert!(report.stdout.contains(WHY), "{report:?}");
    // Nobody is asked about what no yes would let pass.
    assert!(requests(&scene)?.is_empty());
    Ok(())
}
