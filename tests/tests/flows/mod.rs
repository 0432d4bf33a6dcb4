//! What sessions reach is recorded; a session may be observed, and a policy learned of that.

pub(crate) mod apart;
mod bounds;
mod learned;
mod ways;

use guard_lab::{Attempt, Daemon, Json as _, Running, Shell, Tested, bins, eventually, mounts};
use serde_json::Value;

use crate::names::scene::{API, DNS, NameScene, Names};

const PKG: &str = API;
const INDEX: &str = "192.0.2.11";
const BARE: &str = "192.0.2.20";
const CLOCK: &str = "192.0.2.21";
const DENIED: &str = "192.0.2.30";
const ASKED: &str = "192.0.2.31";
const READ: &str = "192.0.2.32";

/// What the observed sessions are under: alone, it lets next to nothing pass.
const JOB: &str = r#"
version = 1
name = "job"
default = "deny"
hold = "0s"

[dns]
names = "rules"

[[rule]]
name = "known"
to = ["known.example.com"]
ports = ["tcp/80"]
action = "allow"

[[rule]]
name = "never"
to = ["192.0.2.30", "never.example.com"]
action = "deny"

[[rule]]
name = "asked"
to = ["192.0.2.31"]
action = "confirm"

[[rule]]
name = "reads"
to = ["192.0.2.32"]
ports = ["tcp/80"]
action = "read-only"
"#;

fn scene() -> Tested<NameScene> {
    scene_with("")
}

fn scene_with(settings: &str) -> Tested<NameScene> {
    let names: Names<'_> = &[
        ("pkg.example.com", &[PKG]),
        ("index.example.com", &[INDEX]),
        ("known.example.com", &[INDEX]),
        ("never.example.com", &[DENIED]),
        ("other.example.com", &["192.0.2.12"]),
    ];
    let settings = format!("name_refresh_floor = 1\n{settings}");
    let scene = NameScene::at(DNS, &settings, "job", JOB, names)?;
    scene.server.alias("git.example.com", "pkg.example.com");
    Ok(scene)
}

/// `guard run` with these arguments, which has the lab's name server in `/etc/resolv.conf`.
fn run(daemon: &Daemon, args: &[&str]) -> Tested<Running> {
    let resolver = daemon.write_for_agents("resolv.conf", &format!("nameserver {DNS}\n"));
    let command = daemon.agent(["run"]).args(args.iter().copied());
    let command = command.command()?;
    let mut command = mounts::with_file(&command, &resolver?, "/etc/resolv.conf");
    Ok(Running::start(&mut command)?)
}

/// A shell that is observed.
fn observed(daemon: &Daemon) -> Tested<Shell> {
    let run = daemon.agent(["run", "--observe", "--policy", "job"]);
    Ok(Shell::run_by(daemon, run)?)
}

fn flows(daemon: &Daemon, args: &[&str]) -> Tested<Vec<Value>> {
    let all = daemon.root(["flows"]).args(args.iter().copied()).json();
    Ok(all?.list()?.clone())
}

fn find<'f>(flows: &'f [Value], address: &str, port: u16) -> Option<&'f Value> {
    let mut flows = flows.iter();
    flows.find(|flow| flow["address"] == address && flow["port"] == port)
}

#[test]
fn what_a_session_reaches_is_added_up() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    assert!(shell.reaches(&Attempt::udp(CLOCK, 123))?);
    // Nobody listens there, so nothing is reached.
    assert!(!shell.reaches(&Attempt::tcp(BARE, 444))?);
    let id = shell.session().to_owned();
    let of_it = || flows(&scene.daemon, &["--session", &id]);
    let sent = || -> Tested<_> {
        Ok(find(&of_it()?, BARE, 443).and_then(|flow| flow["bytes_sent"].as_u64()))
    };
    assert!(shell.reaches(&Attempt::tcp(BARE, 443))?);
    // Bytes are counted when a connection is closed.
    eventually("its bytes are counted", || Ok(sent()? > Some(0)))?;
    let each = sent()?.unwrap();
    for _ in 0..2 {
        assert!(shell.reaches(&Attempt::tcp(BARE, 443))?);
    }
    eventually("all bytes are counted", || Ok(sent()? == Some(3 * each)))?;
    let all = of_it()?;
    let flow = find(&all, BARE, 443).unwrap();
    assert_eq!(flow["connections"], 3, "{flow}");
    assert_eq!(flow["session"], *id);
    assert_eq!(flow["protocol"], "tcp");
    assert_eq!(flow["program"], "guard-lab");
    assert_eq!(flow["host"], Value::Null);
    assert_eq!(
        (&flow["verdict"], &flow["rule"]),
        (&"allow".into(), &Value::Null)
    );
    // A line goes there, and comes back; the end of a connection may count as a byte.
    let received = flow["bytes_received"].as_u64().unwrap();
    assert!((3 * each..=3 * each + 3).contains(&received), "{flow}");
    assert!(
        flow["first_at"].as_str() < flow["last_at"].as_str(),
        "{flow}"
    );
    let clock = find(&all, CLOCK, 123).unwrap();
    assert_eq!(clock["protocol"], "udp");
    assert_eq!(clock["connections"], 1, "{clock}");
    assert_eq!(clock["bytes_sent"], Value::Null);
    assert_eq!(find(&all, BARE, 444), None);
    let text = scene.daemon.ask(["flows"])?.stdout;
    assert!(
        text.contains("tcp/443") && text.contains("guard-lab"),
        "{text}"
    );
    Ok(())
}

#[test]
fn who_may_not_answer_for_a_session_sees_nothing_of_it() -> Tested {
    let scene = scene()?;
    let mut one = observed(&scene.daemon)?;
    let mut other = observed(&scene.daemon)?;
    assert!(one.reaches(&Attempt::tcp(PKG, 80))?);
    assert!(other.reaches(&Attempt::tcp(INDEX, 80))?);
    assert_eq!(flows(&scene.daemon, &[])?.len(), 2);
    assert_eq!(
        flows(&scene.daemon, &["--session", one.session()])?.len(),
        1
    );
    let stranger = scene.daemon.user(4711, ["flows", "--json"]).run()?;
    assert_eq!(stranger.stdout.trim(), "[]");
    let id = one.session();
    let stranger = scene.daemon.user(4711, ["flows", "--session", id]).run()?;
    assert!(stranger.stderr.contains("no session"), "{stranger:?}");
    // Inside, a session sees what it has reached itself.
    let guard = bins::for_everybody("guard", scene.daemon.tag())?;
    let guard = guard.display();
    one.tell(&format!("{guard} flows --json | sed 's/^/seen /'"))?;
    let seen = one.line_with("seen ")?;
    assert!(seen.contains(PKG) && !seen.contains(INDEX), "{seen}");
    Ok(())
}

#[test]
fn what_its_own_servers_get_is_not_listed_and_what_others_serve_is() -> Tested {
    let scene = scene()?;
    let mut shell = observed(&scene.daemon)?;
    shell.tell("python3 -m http.server 8081 --bind 127.0.0.1 >/dev/null 2>&1 &")?;
    let fetch = "until curl -s -o /dev/null http://127.0.0.1:8081/; do sleep 0.05; done";
    assert_eq!(shell.status_of(fetch)?, 0);
    let mut command = scene.daemon.on_machine(0, "python3");
    command.args(["-m", "http.server", "8082", "--bind", "127.0.0.1"]);
    let mut others = Running::start(&mut command)?;
    let fetch = fetch.replace("8081", "8082");
    assert_eq!(shell.status_of(&fetch)?, 0);
    let all = flows(&scene.daemon, &[])?;
    assert!(find(&all, "127.0.0.1", 8082).is_some(), "{all:?}");
    assert_eq!(find(&all, "127.0.0.1", 8081), None, "{all:?}");
    others.signal(rustix::process::Signal::TERM)?;
    others.wait()?;
    Ok(())
}
