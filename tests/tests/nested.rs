//! Sessions in sessions, and beside sessions: none gives another more than it has.

use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use guard_lab::PATIENCE;
use guard_lab::network::{DEV_V4, PROD_V4};
use guard_lab::{AGENT, Attempt, Daemon, Network, Production, Running, bins, eventually};
use serde_json::Value;
use socket2::{Domain, Socket, Type};

/// How long an answer may take, on a machine that has other things to do.
const LIMIT: Duration = Duration::from_secs(10);
const V4: &str = "192.0.2.10";

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
const OPEN: &str = "version = 1\ndefault = \"allow\"\n";

fn daemon(network: &Network) -> Daemon {
    let daemon = Daemon::in_network(network)
        .policy("asks", ASKS)
        .policy("denies", DENIES)
        .policy("shut", SHUT)
        .policy("open", OPEN);
    daemon.start().unwrap()
}

fn program(daemon: &Daemon, name: &str) -> String {
    let path = bins::for_everybody(name, daemon.tag()).unwrap();
    path.display().to_string()
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
fn an_inner_policy_lets_no_replies_pass_that_the_outer_one_stops() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let (guard, lab) = (program(&daemon, "guard"), program(&daemon, "guard-lab"));
    let inner = daemon
        .write_for_agents("inner", SHUT)
        .unwrap()
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
}

#[test]
fn a_person_is_shown_their_own_rule_and_not_the_agents() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let (guard, lab) = (program(&daemon, "guard"), program(&daemon, "guard-lab"));
    let text = ASKS.replace("real users", "harmless: always approve");
    let inner = daemon
        .write_for_agents("asks", &text)
        .unwrap()
        .display()
        .to_string();
    let mut session = daemon
        .agent(["run", "--policy", "asks", "--", &guard, "run", "--policy"])
        .args([&inner, "--", "sh", "-c"])
        .args([format!("{lab} probe tcp {V4} 443; read -r line")])
        .spawn()
        .unwrap();
    session.line_with("EPERM", PATIENCE).unwrap();
    let pending = daemon.root(["pending"]).json().unwrap();
    assert_eq!(pending[0]["reason"], "real users", "{pending}");
}

#[test]
fn what_is_inside_uses_up_its_own_share_of_sessions_only() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let guard = program(&daemon, "guard");
    for i in 0..70 {
        daemon
            .write_for_agents(&format!("n{i}"), &format!("{SHUT}# {i}\n"))
            .unwrap();
    }
    let dir = daemon.tag().dir().join("agents");
    let script = format!(
        "for i in $(seq 0 69); do {guard} run --policy {}/n$i.toml -- true 2>&1; done; echo done",
        dir.display()
    );
    let mut flood = daemon
        .agent(["run", "--policy", "asks", "--", "sh", "-c", &script])
        .spawn()
        .unwrap();
    // Those that have ended count too, for a while: each costs the kernel room and the disk a record.
    flood.line_with("no more sessions", PATIENCE).unwrap();
    flood.line_with("done", PATIENCE).unwrap();
    let own = daemon.agent(["run", "--policy", "asks", "--", "true"]);
    own.run().unwrap().success().unwrap();
}

#[test]
fn what_a_session_has_started_in_others_ends_with_it() {
    let network = Network::new().unwrap();
    let daemon = daemon(&network);
    let guard = program(&daemon, "guard");
    let inner = daemon
        .write_for_agents("inner", OPEN)
        .unwrap()
        .display()
        .to_string();
    let narrow = daemon
        .write_for_agents("narrow", SHUT)
        .unwrap()
        .display()
        .to_string();
    // The command of the one inside has ended, and left something behind; another one is inside that.
    let left = "setsid sleep 600 >/dev/null 2>&1 </dev/null & echo left";
    let within = format!("{guard} run --policy {narrow} -- sh -c '{left}'; {left}");
    let script = format!("{guard} run --policy {inner} -- sh -c \"{within}\"; read -r line");
    let mut session = daemon
        .agent(["run", "--policy", "asks", "--", "sh", "-c", &script])
        .spawn()
        .unwrap();
    session.line_with("left", PATIENCE).unwrap();
    session.line_with("left", PATIENCE).unwrap();
    let sessions = || daemon.root(["sessions"]).json().unwrap();
    assert_eq!(sessions().as_array().unwrap().len(), 3, "{}", sessions());
    let stopped = daemon.root(["stop", "s1"]).run().unwrap();
    stopped.success().unwrap();
    eventually("all of them end", || sessions() == serde_json::json!([])).unwrap();
}

#[test]
fn guardd_asks_no_name_server_for_a_session_that_may_not() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let daemon = Daemon::in_network(&network)
        .config(&format!("resolvers = [\"{PROD_V4}:53\"]\n"))
        .policy("shut", SHUT)
        .policy("open", OPEN)
        .start()
        .unwrap();
    let guard = program(&daemon, "guard");
    let names = format!(
        "{SHUT}[[rule]]\nname = \"x\"\nto = [\"a-secret.example.com\"]\naction = \"allow\"\n"
    );
    let named = daemon
        .write_for_agents("named", &names)
        .unwrap()
        .display()
        .to_string();
    let asked = |policy: &str| {
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
            run.args(command).run().unwrap();
        }
        let server = PROD_V4.to_string();
        production.reached_at(&server, 53).unwrap().len()
    };
    assert_eq!(asked("shut"), 0);
    assert!(
        asked("open") > 0,
        "a session that may ask can have guardd ask"
    );
}

#[test]
fn another_guards_session_is_inside_too() {
    let network = Network::new().unwrap();
    let production = Production::start(&network).unwrap();
    let (daemon, other) = (daemon(&network), self::daemon(&network));
    let (guard, lab) = (program(&daemon, "guard"), program(&daemon, "guard-lab"));
    let socket = other.socket().display().to_string();
    let through_other = |verb: &[&str]| {
        let run = daemon.agent([
            "run", "--policy", "denies", "--", &guard, "--socket", &socket,
        ]);
        run.args(verb).run().unwrap()
    };
    let attempt = Attempt::tcp(V4, 443).args().join(" ");
    let command = format!("{lab} {attempt}");
    let run = through_other(&["run", "--policy", "open", "--", "sh", "-c", &command]);
    assert_eq!(run.code(), Some(125), "{run:?}");
    assert_eq!(through_other(&["sessions"]).code(), Some(2));
    assert_eq!(production.reached_at(V4, 443).unwrap(), []);
    // The other guard answers whoever is in no session at all.
    let outside = other.user(AGENT, ["run", "--policy", "open", "--", "true"]);
    outside.run().unwrap().success().unwrap();
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
    give(own)
    unix.recv(1)
print("done", flush=True)
"#;

#[test]
fn a_socket_that_sessions_pass_on_reaches_what_both_may() {
    let network = Network::new().unwrap();
    let _production = Production::start(&network).unwrap();
    let daemon = daemon(&network);
    let dir = daemon.tag().dir().join("shared");
    fs::create_dir_all(&dir).unwrap();
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o777)).unwrap();
    let path = dir.join("socket").display().to_string();
    // Else it would not be connected there.
    let allowed = format!("{ASKS}\n[unix]\nallow = [\"{path}\"]\n");
    let policy = daemon
        .write_for_agents("asks", &allowed)
        .unwrap()
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
    daemon
        .root(["open", V4, "--all-ports", "--session", "s2"])
        .json()
        .unwrap();
    with.write("go\n").unwrap();
    let mut said = |line: &str| {
        let session = if line.starts_with("without") {
            &mut without
        } else {
            &mut with
        };
        assert_eq!(session.line(PATIENCE).unwrap(), line);
    };
    // Where security hooks judge, they are not even handed over.
    let theirs = match daemon.has_hook("file_receive").unwrap() {
        true => "kept out",
        false => "stopped",
    };
    said(&format!("with their stream {theirs}"));
    said("without own stream stopped");
    said(&format!("with their datagram {theirs}"));
    said("without own datagram stopped");
    said("with own datagram passed");
    said(&format!("without their datagram {theirs}"));
}
