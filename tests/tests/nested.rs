//! Sessions in sessions, and beside sessions: none gives another more than it has.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use guard_lab::PATIENCE;
use guard_lab::network::{DEV_V4, PROD_V4};
use guard_lab::{
    AGENT, ALLOWS, Attempt, Daemon, Json as _, Network, Production, Running, Shell, Tested, V4,
    eventually,
};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// How long an answer may take, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(10);

const ASKS: &str = r#"
version = 1
name = "asks"
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "confirm"
reason = "real users"
"#;

const DENIES: &str = r#"
version = 1
default = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24"]
action = "deny"
"#;

const SHUT: &str = "version = 1\ndefault = \"deny\"\n";

fn daemon(network: &Network) -> Tested<Daemon> {
    let daemon = Daemon::in_network(network)
        .policy("asks", ASKS)
        .policy("denies", DENIES)
        .policy("shut", SHUT)
        .policy("open", ALLOWS);
    Ok(daemon.start()?)
}

fn program(daemon: &Daemon, name: &str) -> Tested<String> {
    let path = daemon.program(name)?;
    Ok(path.display().to_string())
}

/// Whether somebody in production can talk to a listener that was started by this command.
fn is_answered(network: &Network, listener: &mut Running) -> bool {
    let line = listener.line_with("listening", PATIENCE).unwrap();
    let port = serde_json::from_str::<Value>(&line).unwrap()["listening"].clone();
    let port = u16::try_from(port.as_u64().unwrap()).unwrap();
    let called = network.prod().enter(|| {
        let caller = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        let from: SocketAddr = format!("{V4}:0").parse()?;
        caller.bind(&from.into())?;
        let to = SocketAddr::from((DEV_V4, port));
        Ok(caller.connect_timeout(&to.into(), LIMIT)?)
    });
    called.is_ok()
}

#[test]
fn an_inner_policy_lets_no_replies_pass_that_the_outer_one_stops() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let inner = daemon
        .write_for_agents("inner", SHUT)?
        .display()
        .to_string();
    let listen = [&*lab, "probe", "listen", "0.0.0.0", "0"];
    let nested = [&*guard, "run", "--policy", &inner, "--"];
    let run = |policy: &str, command: &[&str]| {
        let run = daemon.agent(["run", "--policy", policy, "--"]);
        is_answered(&network, &mut run.args(command).spawn().unwrap())
    };
    assert!(run("asks", &listen), "inbound is on by default");
    assert!(run("asks", &[&nested[..], &listen].concat()));
    assert!(!run("denies", &listen));
    assert!(!run("denies", &[&nested[..], &listen].concat()));
    Ok(())
}

#[test]
fn a_nested_run_says_at_its_end_what_was_stopped_in_it() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let narrow = daemon.write_for_agents("narrow", DENIES)?;
    let narrow = narrow.display().to_string();
    let nested = [&*guard, "run", "--policy", &narrow, "--"];
    let probe = [&*lab, "probe", "tcp", V4, "443"];
    let run = daemon.agent(["run", "--policy", "open", "--"]);
    let run = run.args([&nested[..], &probe].concat()).run()?;
    for said in [
        "guard: stopped 1 attempt to reach 1 destination.",
        &format!("once tcp {V4}:443 (deny, production)"),
        "outside of the session: guard report --session s2",
    ] {
        assert!(run.stderr.contains(said), "{run:?}");
    }
    // Of the log the inside is told no more than that: nothing of itself, nor of sessions that others have started.
    let inside = |log: &str| {
        let script =
            format!("{guard} run --policy {narrow} --quiet -- true; {guard} log --json {log}");
        let run = daemon.agent(["run", "--policy", "open", "--", "sh", "-c"]);
        run.args([script]).run()
    };
    // s3 is around s4, and so on.
    let own = inside("--session s4")?;
    assert!(own.stdout.contains("\"parent\":\"s3\""), "{own:?}");
    assert!(!own.stdout.contains("\"cgroup\""), "{own:?}");
    for log in [
        "",
        "--session s7",
        "--session s2",
        "--session s99",
        "--follow",
    ] {
        let refused = inside(log)?;
        assert_eq!(refused.code(), Some(2), "{log}: {refused:?}");
        assert_eq!(refused.stdout, "", "{log}: {refused:?}");
    }
    Ok(())
}

#[test]
fn a_person_is_shown_their_own_rule_and_not_the_agents() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let text = ASKS.replace("real users", "harmless: always approve");
    let inner = daemon
        .write_for_agents("asks", &text)?
        .display()
        .to_string();
    let mut session = daemon
        .agent(["run", "--policy", "asks", "--", &guard, "run", "--policy"])
        .args([&inner, "--", "sh", "-c"])
        .args([format!("{lab} probe tcp {V4} 443; read -r line")])
        .spawn()?;
    session.line_with("EPERM", PATIENCE)?;
    let pending = daemon.json(["pending"])?;
    assert_eq!(pending[0]["reason"], "real users", "{pending}");
    Ok(())
}

const READS: &str = r#"
version = 1
name = "reads"
default = "allow"

[[rule]]
name = "photos"
to = ["192.0.2.0/24"]
action = "read-only"
reason = "production photo server"

[[rule.http]]
method = ["DELETE"]
action = "deny"
"#;

/// What the agent brings: milder words, and a stricter verdict.
const BRINGS: &str = r#"
version = 1
name = "staging"
default = "allow"

[[rule]]
name = "copy"
to = ["192.0.2.0/24"]
action = "confirm"
reason = "staging copy, nobody uses it"
"#;

/// The methods that reached production.
fn methods(production: &Production) -> Tested<Vec<String>> {
    let requests = production.requests()?;
    let methods = requests.iter().map(|one| one.text("method").to_owned());
    Ok(methods.collect())
}

/// An agent three sessions deep, in a shell: what the one in between allows changes nothing.
struct Nested {
    agent: Running,
    url: String,
}

impl Nested {
    fn start(daemon: &Daemon, url: String) -> Tested<Self> {
        let guard = program(daemon, "guard")?;
        let inner = daemon.write_for_agents("staging", BRINGS)?;
        let middle = daemon.write_for_agents("open", ALLOWS)?;
        let nested = format!(
            "{guard} run --policy {} -- {guard} run --name mine --policy {} -- sh",
            middle.display(),
            inner.display()
        );
        let run = daemon.agent(["run", "--policy", "reads", "--", "sh", "-c", &nested]);
        let agent = run.spawn()?;
        Ok(Self { agent, url })
    }

    /// The status of a request by it.
    fn sends(&mut self, method: &str) -> Tested<String> {
        let curl = curl(method, &self.url);
        self.agent.write(&format!("echo \"status $({curl})\"\n"))?;
        let line = self.agent.line_with("status ", PATIENCE)?;
        Ok(line.trim().trim_start_matches("status ").to_owned())
    }
}

fn curl(method: &str, url: &str) -> String {
    format!("curl -s -m 20 -o /dev/null -w '%{{http_code}}' -X {method} {url}")
}

/// That people are shown a request of the innermost session as one of the outermost's rule, with all between; gives its id.
fn is_shown_with_its_chain(daemon: &Daemon) -> Tested<String> {
    let pending = daemon.json(["pending"])?;
    let request = &pending[0];
    assert_eq!(request["session"], "s3", "{pending}");
    let shown = ["policy", "rule", "reason"].map(|key| request[key].as_str().unwrap());
    assert_eq!(shown, ["reads", "photos", "production photo server"]);
    let link = |link: &Value| {
        let text = |key: &str| link[key].as_str().unwrap_or_default().to_owned();
        [text("session"), text("verdict"), text("rule")].join(" ")
    };
    let chain: Vec<_> = request["chain"].list()?.iter().map(link).collect();
    assert_eq!(
        chain,
        ["s1 read-only photos", "s2 allow ", "s3 confirm copy"]
    );
    let text = daemon.ask(["pending"])?.stdout;
    for said in [
        "photos (read-only): production photo server",
        "\"staging copy, nobody uses it\"",
        "s3 inside s2 inside s1",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    Ok(request["id"].text()?.to_owned())
}

#[test]
fn a_yes_to_what_a_session_inside_asks_leaves_read_only_as_it_is() -> Tested {
    let network = Network::new()?;
    let production = Production::launch(&network, &[8080], &[], true)?;
    let daemon = Daemon::in_network(&network)
        .policy("reads", READS)
        .policy("open", ALLOWS)
        .start()?;
    let url = format!("http://{V4}:8080/api/jobs");
    let mut outside = network.dev().command_as(AGENT, "sh");
    let outside = outside.args(["-c", &curl("PUT", &url)]).output()?;
    assert_eq!(outside.stdout, b"200");

    let mut nested = Nested::start(&daemon, url)?;
    assert_eq!(nested.sends("GET")?, "000");
    let id = is_shown_with_its_chain(&daemon)?;
    let answer = daemon.ask(["approve", &id])?;
    assert_eq!(answer.code(), Some(0), "{answer:?}");
    assert!(
        answer.stdout.contains("reads only") || answer.stdout.contains("read"),
        "{answer:?}"
    );
    assert_eq!(nested.sends("GET")?, "200");
    for method in ["PUT", "DELETE"] {
        assert_eq!(nested.sends(method)?, "403", "{method}");
    }
    assert_eq!(
        methods(&production)?,
        ["PUT", "GET"],
        "the first was sent outside"
    );

    // Whoever means everything says so, of that session by its id: its name is the agent's.
    let open = |session: &str| -> Tested<_> {
        let ports = ["--ports", "tcp/8080", "--session", session];
        Ok(daemon.root(["open", V4]).args(ports).run()?)
    };
    let refused = open("mine")?;
    assert_eq!(refused.code(), Some(2));
    assert!(
        refused.stderr.contains("s3") && refused.stderr.contains("s1"),
        "{refused:?}"
    );
    open("s3")?.success()?;
    assert_eq!(nested.sends("PUT")?, "200");
    let sessions = daemon.json(["sessions"])?;
    let parents: Vec<_> = sessions
        .list()?
        .iter()
        .map(|one| one["parent"].clone())
        .collect();
    assert_eq!(parents, [Value::Null, "s1".into(), "s2".into()]);
    let text = daemon.ask(["sessions"])?.stdout;
    assert!(text.contains("s2/s3"), "{text}");
    nested.agent.write("exit\n")?;
    Ok(())
}

/// Else whoever was told to stop asking goes on from a session of its own, and from the next one when that has ended.
#[test]
fn a_no_to_what_is_inside_holds_for_the_next_session_inside() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let inner = daemon.write_for_agents("staging", BRINGS)?;
    let run = daemon.agent(["run", "--policy", "asks", "--", "sh"]);
    let mut agent = run.spawn()?;
    let inside = format!(
        "{guard} run --policy {} -- sh -c 'echo told; exec sh'",
        inner.display()
    );
    let attempt = |port: u16| format!("{lab} probe tcp {V4} {port}; echo told");
    let asked = || -> Tested<_> {
        let pending = daemon.json(["pending"])?;
        let pending = pending.list()?.iter();
        let of = |one: &Value| {
            let id = one["id"].as_str().unwrap().to_owned();
            (id, one["destination"]["port"].as_u64().unwrap())
        };
        Ok(pending.map(of).collect::<Vec<_>>())
    };
    // A shell inside reads on where the one around it has read: one line at a time.
    let mut tell = |line: &str| -> Tested {
        agent.write(&format!("{line}\n"))?;
        agent.line_with("told", PATIENCE)?;
        Ok(())
    };
    tell(&inside)?;
    tell(&attempt(443))?;
    let (id, _) = asked()?[0].clone();
    let no = daemon.ask(["deny", &id, "--for", "8h"])?;
    no.success()?;
    tell("trap 'echo told' EXIT; exit")?;
    tell(&attempt(443))?;
    tell(&inside)?;
    tell(&attempt(443))?;
    tell(&attempt(8443))?;
    let ports: Vec<_> = asked()?.into_iter().map(|(_, port)| port).collect();
    assert_eq!(ports, [8443]);
    Ok(())
}

/// The no is kept for the outermost session as well, and would have the session inside refused after the hole.
#[test]
fn what_a_person_opens_to_a_session_inside_is_asked_about_again_after_it() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let inner = daemon.write_for_agents("staging", BRINGS)?;
    let inside = format!(
        "{guard} run --policy {} -- sh -c 'echo told; exec sh'",
        inner.display()
    );
    let mut agent = daemon
        .agent(["run", "--policy", "asks", "--", "sh"])
        .spawn()?;
    let mut tell = |line: &str| -> Tested {
        agent.write(&format!("{line}\n"))?;
        agent.line_with("told", PATIENCE)?;
        Ok(())
    };
    let attempt = format!("{lab} probe tcp {V4} 443; echo told");
    tell(&inside)?;
    tell(&attempt)?;
    let asked = daemon.list(["pending"])?;
    assert_eq!(asked[0]["session"], "s2", "{asked:?}");
    let id = asked[0]["id"].text()?.to_owned();
    daemon.ask(["deny", &id, "--for", "8h"])?.success()?;
    tell(&attempt)?;
    assert!(daemon.list(["pending"])?.is_empty());
    let open = ["open", V4, "--ports", "tcp/443", "--session", "s2"];
    daemon.ask(open)?.success()?;
    daemon.ask(["close", "--all"])?.success()?;
    // The kernel tells of one attempt at a destination each second.
    eventually("it is asked about again", || {
        tell(&attempt)?;
        Ok(!daemon.list(["pending"])?.is_empty())
    })?;
    assert_eq!(daemon.list(["pending"])?[0]["session"], "s2");
    Ok(())
}

#[test]
fn what_only_a_session_inside_stops_is_shown_as_its_own_words() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let inner = daemon.write_for_agents("staging", BRINGS)?;
    let within = format!(
        "{guard} run --policy {} -- sh -c '{lab} probe tcp {V4} 443; read -r line'",
        inner.display()
    );
    let run = daemon.agent(["run", "--policy", "open", "--", "sh", "-c", &within]);
    let mut session = run.spawn()?;
    session.line_with("EPERM", PATIENCE)?;
    let pending = daemon.json(["pending"])?;
    assert_eq!(pending[0]["rule"], "copy", "{pending}");
    let text = daemon.ask(["pending"])?.stdout;
    assert!(
        text.contains("\"copy\" (confirm) of the policy \"staging\" that s2 brought itself"),
        "{text}"
    );
    Ok(())
}

#[test]
fn what_is_inside_uses_up_its_own_share_of_sessions_only() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let guard = program(&daemon, "guard")?;
    for i in 0..70 {
        daemon.write_for_agents(&format!("n{i}"), &format!("{SHUT}# {i}\n"))?;
    }
    let dir = daemon.tag().dir().join("agents");
    let script = format!(
        "for i in $(seq 0 69); do {guard} run --policy {}/n$i.toml -- true 2>&1; done; echo done",
        dir.display()
    );
    let mut flood = daemon
        .agent(["run", "--policy", "asks", "--", "sh", "-c", &script])
        .spawn()?;
    // Those that have ended count too, for a while: each costs the kernel room and the disk a record.
    flood.line_with("no more sessions", PATIENCE)?;
    flood.line_with("done", PATIENCE)?;
    let own = daemon.agent(["run", "--policy", "asks", "--", "true"]);
    own.run()?.success()?;
    Ok(())
}

#[test]
fn what_a_session_has_started_in_others_ends_with_it() -> Tested {
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let guard = program(&daemon, "guard")?;
    let inner = daemon
        .write_for_agents("inner", ALLOWS)?
        .display()
        .to_string();
    let narrow = daemon
        .write_for_agents("narrow", SHUT)?
        .display()
        .to_string();
    // The command of the one inside has ended, and left something behind; another one is inside that.
    let left = "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo left";
    let within = format!("{guard} run --policy {narrow} -- sh -c '{left}'; {left}");
    let script = format!("{guard} run --policy {inner} -- sh -c \"{within}\"; read -r line");
    let mut session = daemon
        .agent(["run", "--policy", "asks", "--", "sh", "-c", &script])
        .spawn()?;
    session.line_with("left", PATIENCE)?;
    session.line_with("left", PATIENCE)?;
    let sessions = || -> Tested<_> { Ok(daemon.json(["sessions"])?) };
    assert_eq!(sessions()?.list()?.len(), 3, "{}", sessions()?);
    let stopped = daemon.root(["stop", "s1"]).run()?;
    stopped.success()?;
    eventually("all of them end", || {
        Ok(sessions()? == serde_json::json!([]))
    })?;
    Ok(())
}

#[test]
fn guardd_asks_no_name_server_for_a_session_that_may_not() -> Tested {
    let (network, production) = Network::with_production()?;
    let daemon = Daemon::in_network(&network)
        .config(&format!("resolvers = [\"{PROD_V4}:53\"]\n"))
        .policy("shut", SHUT)
        .policy("open", ALLOWS)
        .start()?;
    let guard = program(&daemon, "guard")?;
    let names = format!(
        "{SHUT}[[rule]]\nname = \"x\"\nto = [\"a-secret.example.com\"]\naction = \"allow\"\n"
    );
    let named = daemon
        .write_for_agents("named", &names)?
        .display()
        .to_string();
    let asked = |policy: &str| -> Tested<_> {
        for command in [
            [
                &*guard,
                "request",
                "a-secret.example.net:443",
                "--reason",
                "x",
            ],
            [&*guard, "run", "--policy", &named, "true"],
        ] {
            let run = daemon.agent(["run", "--policy", policy, "--"]);
            run.args(command).run()?;
        }
        let server = PROD_V4.to_string();
        Ok(production.reached_at(&server, 53)?.len())
    };
    assert_eq!(asked("shut")?, 0);
    assert!(
        asked("open")? > 0,
        "a session that may ask can have guardd ask"
    );
    Ok(())
}

/// Policies of which each is the only one of its kind, all of them at once.
const POLICIES: &str = r#"
import json, os, socket, sys
control, count = sys.argv[1], int(sys.argv[2])
prefixes = ", ".join(f'"198.{18 + n % 2}.{n // 200}.{n % 200}"' for n in range(3000))
kept = []
for number in range(count):
    text = f'version = 1\nname = "flood-{number}"\ndefault = "allow"\n[[rule]]\nname = "r"\nto = [{prefixes}]\naction = "deny"\n'
    run = {"policy": {"name": None, "file": f"/flood-{number}.toml", "text": text}, "command": ["true"], "uid": os.getuid()}
    client = socket.socket(socket.AF_UNIX)
    client.connect(control)
    client.sendall(json.dumps({"method": "org.guardd.Control.Run", "parameters": run}).encode() + b"\0")
    kept.append(client)
print("sent", flush=True)
for client in kept:
    client.recv(1)
print("answered", flush=True)
"#;

/// The names of the policies that were put in place, in that order.
fn loaded(daemon: &Daemon) -> Tested<Vec<String>> {
    let log = daemon.root(["log", "--json"]).run()?;
    let records = log.json_lines()?.into_iter();
    let loads = records.filter(|one| one["kind"] == "policy-load");
    let names = loads.map(|one| one["policy"].as_str().unwrap().to_owned());
    Ok(names.collect())
}

#[test]
fn policies_from_inside_keep_nobody_elses_waiting() -> Tested {
    // As many calls as guardd takes from one session at a time.
    const COUNT: usize = 32;
    let network = Network::new()?;
    let daemon = daemon(&network)?;
    let guard = program(&daemon, "guard")?;
    let script = daemon.dir().join("policies.py");
    fs::write(&script, POLICIES)?;
    let mut floods = Shell::start(&daemon, "open")?;
    let mut other = Shell::start(&daemon, "open")?;
    let file = |name: &str| {
        let text = format!("{ALLOWS}name = \"{name}\"\n");
        let file = daemon.write_for_agents(name, &text).unwrap();
        file.display().to_string()
    };
    let (inner, own) = (file("inner"), file("own"));
    let flood = format!(
        "python3 {} {} {COUNT} &",
        script.display(),
        daemon.socket().display()
    );
    floods.tell(&flood)?;
    floods.line_with("sent")?;
    let is_flood = |name: &&String| name.starts_with("flood-");
    eventually(
        "the first is in force, and the others are asked for",
        || Ok(loaded(&daemon)?.iter().any(|name| is_flood(&name))),
    )?;
    let person = ["run", "--quiet", "--policy", &own, "--", "true"];
    let mut person = daemon.agent(person).spawn()?;
    let run = format!("{guard} run --quiet --policy {inner} -- true");
    assert_eq!(other.status_of(&run)?, 0);
    assert!(person.wait()?.success());
    // Each waited for a few of them, and not for all that were there before.
    let names = loaded(&daemon)?;
    for name in ["inner", "own"] {
        let at = names.iter().position(|one| one == name).unwrap();
        let before = names[..at].iter().filter(is_flood).count();
        assert!(
            before < COUNT * 3 / 4,
            "{name} came after {before}: {names:?}"
        );
    }
    // Nothing kept the others from coming, either.
    floods.line_with("answered")?;
    let all = loaded(&daemon)?;
    assert_eq!(all.iter().filter(is_flood).count(), COUNT, "{all:?}");
    Ok(())
}

#[test]
fn another_guards_session_is_inside_too() -> Tested {
    let (network, production) = Network::with_production()?;
    let (daemon, other) = (daemon(&network)?, self::daemon(&network)?);
    let (guard, lab) = (program(&daemon, "guard")?, program(&daemon, "guard-lab")?);
    let socket = other.socket().display().to_string();
    let through_other = |verb: &[&str]| -> Tested<_> {
        let run = daemon.agent([
            "run", "--policy", "denies", "--", &guard, "--socket", &socket,
        ]);
        Ok(run.args(verb).run()?)
    };
    let attempt = Attempt::tcp(V4, 443).args().join(" ");
    let command = format!("{lab} {attempt}");
    let run = through_other(&["run", "--policy", "open", "--", "sh", "-c", &command])?;
    assert_eq!(run.code(), Some(125), "{run:?}");
    assert_eq!(through_other(&["sessions"])?.code(), Some(2));
    assert_eq!(production.reached_at(V4, 443)?, []);
    // The other guard answers whoever is in no session at all.
    let outside = other.user(AGENT, ["run", "--policy", "open", "--", "true"]);
    outside.run()?.success()?;
    Ok(())
}

/// One session makes sockets, and has another one, which has a hole, use them first.
const PASSES: &str = r#"
import array, os, socket, sys
path, role = sys.argv[1:]
host = "192.0.2.10"
unix = socket.socket(socket.AF_UNIX)

def attempt(what, call):
    try:
        if what.startswith("their") and theirs is None:
            return print(role, what, "kept out", flush=True)
        call()
        print(role, what, "passed", flush=True)
    except OSError as error:
        print(role, what, "stopped", flush=True)

def give(own):
    rights = array.array("i", [own.fileno()])
    unix.sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])

def take():
    _, ancillary, _, _ = unix.recvmsg(1, 64)
    if not ancillary:
        return None
    taken = socket.socket(fileno=array.array("i", ancillary[0][2][:4])[0])
    taken.settimeout(1)
    return taken

if role == "without":
    listener = unix
    listener.bind(path)
    os.chmod(path, 0o666)
    listener.listen()
    print("ready", flush=True)
    unix, _ = listener.accept()
    stream, datagram = socket.socket(), socket.socket(type=socket.SOCK_DGRAM)
    stream.settimeout(1)
    give(stream)
    unix.recv(1)
    attempt("own stream", lambda: (stream.send(b"x\n"), stream.recv(1)))
    give(datagram)
    unix.recv(1)
    attempt("own datagram", lambda: datagram.sendto(b"x", (host, 53)))
    theirs = take()
    attempt("their datagram", lambda: theirs.sendto(b"x", (host, 53)))
    attempt("their connected datagram", lambda: (theirs.connect((host, 443)), theirs.send(b"x")))
    unix.send(b"x")
else:
    unix.connect(path)
    print("ready", flush=True)
    sys.stdin.readline()
    theirs = take()
    attempt("their stream", lambda: theirs.connect((host, 80)))
    unix.send(b"x")
    theirs = take()
    attempt("their datagram", lambda: theirs.sendto(b"x", (host, 53)))
    unix.send(b"x")
    own = socket.socket(type=socket.SOCK_DGRAM)
    attempt("own datagram", lambda: own.sendto(b"x", (host, 53)))
    other = socket.socket(type=socket.SOCK_DGRAM)
    attempt("own connected datagram", lambda: (other.connect((host, 443)), other.send(b"x")))
    give(own)
    unix.recv(1)
print("done", flush=True)
"#;

#[test]
fn a_socket_that_sessions_pass_on_reaches_what_both_may() -> Tested {
    let (network, _production) = Network::with_production()?;
    let daemon = daemon(&network)?;
    let dir = daemon.tag().dir().join("shared");
    fs::create_dir_all(&dir)?;
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777))?;
    let path = dir.join("socket").display().to_string();
    // Else it would not be connected there.
    let allowed = format!("{ASKS}\n[unix]\nallow = [\"{path}\"]\n");
    let policy = daemon
        .write_for_agents("asks", &allowed)?
        .display()
        .to_string();
    let start = |role: &str| {
        let run = daemon.agent(["run", "--policy", &policy, "--"]);
        let run = run.args(["python3", "-c", PASSES, &path, role]);
        let mut session = run.spawn().unwrap();
        session.line_with("ready", PATIENCE).unwrap();
        session
    };
    let (mut without, mut with) = (start("without"), start("with"));
    daemon.json(["open", V4, "--all-ports", "--session", "s2"])?;
    with.write("go\n")?;
    let mut said = |line: &str| -> Tested {
        let session = if line.starts_with("without") {
            &mut without
        } else {
            &mut with
        };
        assert_eq!(session.line(PATIENCE)?, line);
        Ok(())
    };
    // Where security hooks judge, they are not even handed over.
    let theirs = if daemon.has_hook("file_receive")? {
        "kept out"
    } else {
        "stopped"
    };
    said(&format!("with their stream {theirs}"))?;
    said("without own stream stopped")?;
    said(&format!("with their datagram {theirs}"))?;
    said("without own datagram stopped")?;
    said("with own datagram passed")?;
    said("with own connected datagram passed")?;
    said(&format!("without their datagram {theirs}"))?;
    // What it is connected to is judged by who connected it.
    said(&format!("without their connected datagram {theirs}"))?;
    Ok(())
}
