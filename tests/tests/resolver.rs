//! Names in the path: the questions of a session go to the guard's resolver, and a rule for a name holds for what the session was
//! told.

mod answered;
mod answers;
mod applied;
mod ask;
mod before;
mod busy;
pub(crate) mod churn;
mod crowd;
mod floods;
mod holes;
mod life;
mod networks;
pub(crate) mod place;
mod rebinding;
mod resolved;
mod reverse;
pub(crate) mod server;
mod spoken;
mod taken_over;
mod tunnels;
mod unheard;

use std::{fs, os::unix::fs::chown};

use guard_lab::{AGENT, Output, Shell, Tested, V6, eventually};

use crate::names::scene::{API, DNS, NameScene, Names, reaches, with_resolvers};

const DB: &str = "192.0.2.11";
const ASKED: &str = "192.0.2.12";

const POLICY: &str = r#"
version = 1
name = "listed"
default = "deny"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"

[[rule]]
name = "database"
to = ["db.example.com"]
action = "deny"

[[rule]]
name = "asked"
to = ["asked.example.com"]
action = "confirm"
"#;

/// Asks a server for a name, prints the code, who answered and the addresses. As programs do that bring a resolver of their own.
pub(crate) const ASK: &str = r#"
import socket, struct, sys
server, name, kind, how = sys.argv[1:5]
family = socket.AF_INET6 if ":" in server else socket.AF_INET
number = {"A": 1, "AAAA": 28, "TXT": 16, "SRV": 33}[kind]
labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split("."))
question = struct.pack(">HHHHHH", 4711, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">HH", number, 1)
try:
    if how == "tcp":
        s = socket.create_connection((server, 53), timeout=10)
        s.sendall(struct.pack(">H", len(question)) + question)
        f = s.makefile("rb")
        answer = f.read(struct.unpack(">H", f.read(2))[0])
        peer = s.getpeername()[0]
    else:
        s = socket.socket(family, socket.SOCK_DGRAM)
        s.settimeout(10)
        if how == "connected":
            s.connect((server, 53))
            s.send(question)
            answer, peer = s.recv(4096), s.getpeername()[0]
        else:
            s.sendto(question, (server, 53))
            answer, peer = s.recvfrom(4096)
            peer = peer[0]
    code = struct.unpack(">H", answer[2:4])[0] & 15
    count = struct.unpack(">H", answer[6:8])[0]
    at = 12
    while answer[at]:
        at += answer[at] + 1
    at += 5
    found = []
    for _ in range(count):
        while answer[at] and answer[at] < 192:
            at += answer[at] + 1
        at += 2 if answer[at] >= 192 else 1
        kind, _, _, size = struct.unpack(">HHIH", answer[at:at + 10])
        data = answer[at + 10:at + 10 + size]
        if kind == 1:
            found.append(socket.inet_ntop(socket.AF_INET, data))
        if kind == 28:
            found.append(socket.inet_ntop(socket.AF_INET6, data))
        at += 10 + size
    print("answer", code, peer, *found)
except OSError as error:
    print("answer", error.errno if error.errno else "timeout")
"#;

const NAMES: Names<'_> = &[
    ("v1.api.example.com", &[API, V6]),
    ("db.example.com", &[DB]),
    ("asked.example.com", &[ASKED]),
    ("other.example.com", &[DB]),
];

fn scene() -> Tested<NameScene> {
    NameScene::with("name_refresh_floor = 1\n", "listed", POLICY, NAMES)
}

/// The policy has no rule by name, so it leaves them to the project's.
#[test]
fn of_a_projects_name_the_others_are_answered_as_before() -> Tested {
    let plain = "version = 1\nname = \"plain\"\ndefault = \"deny\"\n";
    let scene = NameScene::new("plain", plain, NAMES)?;
    let project = scene.daemon.tag().dir().join("agents/project");
    fs::create_dir_all(&project)?;
    let ask = scene.ask.display().to_string();
    let asked = |name: &str| -> Tested<String> {
        let run = ["run", "--policy", "plain", "--", "python3", &ask, DNS, name];
        let run = scene.daemon.agent(run).args(["A", "connected"]);
        let output: Output = run.command()?.current_dir(&project).output()?.into();
        Ok(output.stdout.trim().to_owned())
    };
    for (name, address) in [("v1.api.example.com", API), ("db.example.com", DB)] {
        assert_eq!(asked(name)?, format!("answer 0 {DNS} {address}"));
    }
    let rule = "version = 1\n[[rule]]\nto = [\"db.example.com\"]\naction = \"deny\"\n";
    let file = project.join(".guard.toml");
    fs::write(&file, rule)?;
    chown(&file, Some(AGENT), Some(AGENT))?;
    assert_eq!(asked("db.example.com")?, format!("answer 3 {DNS}"));
    let told = asked("v1.api.example.com")?;
    assert_eq!(told, format!("answer 0 {DNS} {API}"));
    Ok(())
}

#[test]
fn a_wildcard_holds_for_what_a_session_was_told() -> Tested {
    let scene = scene()?;
    scene.assert_open(API, 443)?;
    let mut shell = scene.shell()?;
    assert!(!reaches(&mut shell, API, 443)?);
    for how in ["unconnected", "connected", "tcp"] {
        let told = scene.asked(&mut shell, "v1.api.example.com", how)?;
        // The server that was asked seems to have answered.
        assert_eq!(told, format!("0 {DNS} {API}"), "{how}");
    }
    assert!(reaches(&mut shell, API, 443)?);
    assert!(!reaches(&mut shell, API, 80)?, "only that port");
    assert!(!reaches(&mut shell, DB, 443)?);
    assert!(!reaches(&mut shell, V6, 443)?);
    let told = scene.asked(&mut shell, "v1.api.example.com", "connected-AAAA")?;
    assert_eq!(told, format!("0 {DNS} {V6}"));
    assert!(reaches(&mut shell, V6, 443)?);
    // A socket of IPv6 may ask a server of IPv4.
    let mapped = format!("::ffff:{DNS}");
    for how in ["unconnected", "connected", "tcp"] {
        let ask = scene.ask.display();
        shell.tell(&format!(
            "python3 {ask} {mapped} v1.api.example.com A {how}"
        ))?;
        let told = shell.line_with("answer ")?;
        assert_eq!(told.trim(), format!("answer 0 {mapped} {API}"), "{how}");
    }
    // What one session was told is nothing to another.
    let mut other = scene.shell()?;
    assert!(!reaches(&mut other, API, 443)?);
    Ok(())
}

#[test]
fn what_is_refused_never_leaves() -> Tested {
    let scene = scene()?;
    let mut shell = scene.shell()?;
    // Without the guard they are answered.
    let outside = scene.network.dev().command("python3");
    let mut outside = outside;
    outside
        .arg(&scene.ask)
        .args([DNS, "other.example.com", "A", "udp"]);
    let told = outside.output()?;
    assert!(
        String::from_utf8_lossy(&told.stdout).contains(DB),
        "{told:?}"
    );
    for how in ["unconnected", "connected", "tcp"] {
        let told = scene.asked(&mut shell, "secret.other.example.com", how)?;
        assert_eq!(told, format!("3 {DNS}"), "{how}: no such name");
    }
    assert!(!scene.server.was_asked("secret"));
    let denied = scene.asked(&mut shell, "db.example.com", "connected")?;
    assert_eq!(denied, format!("3 {DNS}"));
    let log = scene.daemon.root(["log", "--session", shell.session()]);
    let log = log.run()?;
    for said in ["no rule names it", "a rule denies the name"] {
        assert!(log.stdout.contains(said), "{said}: {log:?}");
    }
    Ok(())
}

#[test]
fn a_request_says_by_which_name_an_address_is_known() -> Tested {
    let scene = scene()?;
    let mut shell = scene.shell()?;
    let told = scene.asked(&mut shell, "asked.example.com", "connected")?;
    assert_eq!(told, format!("0 {DNS} {ASKED}"));
    assert!(!reaches(&mut shell, ASKED, 443)?);
    let is_asked = || -> Tested<_> {
        let pending = scene.daemon.root(["pending"]).json()?;
        let destination = &pending[0]["destination"];
        Ok(destination["host"] == "asked.example.com" && destination["address"] == ASKED)
    };
    eventually("the name is shown", is_asked)?;
    Ok(())
}

#[test]
fn a_new_policy_holds_for_what_is_known_already() -> Tested {
    let scene = scene()?;
    let mut shell = scene.shell()?;
    scene.asked(&mut shell, "v1.api.example.com", "connected")?;
    assert!(reaches(&mut shell, API, 443)?);
    let narrower = POLICY.replace(
        "[[rule]]\nname = \"database\"",
        "[[rule]]\nname = \"v1\"\nto = [\"v1.api.example.com\"]\naction = \"deny\"\n\n[[rule]]\nname = \"database\"",
    );
    assert_ne!(narrower, POLICY);
    scene
        .daemon
        .write_policy("listed", &with_resolvers(&narrower))?;
    eventually("the narrower rule holds", || {
        Ok(!reaches(&mut shell, API, 443)?)
    })?;
    scene
        .daemon
        .write_policy("listed", &with_resolvers(POLICY))?;
    eventually("the wider one does again", || reaches(&mut shell, API, 443))?;
    Ok(())
}

#[test]
fn the_resolver_is_started_again_and_nothing_is_open_meanwhile() -> Tested {
    let mut scene = scene()?;
    let mut shell = scene.shell()?;
    let name = "v1.api.example.com";
    scene.asked(&mut shell, name, "connected")?;
    assert!(reaches(&mut shell, API, 443)?);
    scene.daemon.kill()?;
    // Its resolver ends with it: nobody answers, and what is known counts on.
    eventually("questions are refused", || {
        Ok(!scene.asked(&mut shell, name, "connected")?.starts_with('0'))
    })?;
    assert!(reaches(&mut shell, API, 443)?);
    assert!(!reaches(&mut shell, DB, 443)?);
    scene.daemon.start()?;
    eventually("it answers again", || {
        Ok(scene.asked(&mut shell, name, "connected")?.starts_with('0'))
    })?;
    assert!(reaches(&mut shell, API, 443)?);
    Ok(())
}

#[test]
fn nobody_asks_the_resolver_but_by_a_redirect() -> Tested {
    let scene = scene()?;
    let mut shell = scene.shell()?;
    assert!(
        scene
            .asked(&mut shell, "v1.api.example.com", "connected")?
            .starts_with('0')
    );
    // Another server than that of the policy is not allowed, so nothing is redirected.
    shell.tell(&format!(
        "python3 {} 198.51.100.53 v1.api.example.com A connected",
        scene.ask.display()
    ))?;
    let told = shell.line_with("answer ")?;
    assert_eq!(told.trim(), "answer 1", "EPERM");
    Ok(())
}

const READS: &str = r#"
version = 1
name = "reads"
default = "allow"
hold = "0s"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/80"]
action = "read-only"
"#;

#[test]
fn a_destination_that_is_read_only_by_name_is_judged_from_the_first_request_on() -> Tested {
    let scene = NameScene::new("reads", READS, NAMES)?;
    let mut shell = scene.shell()?;
    let put = |shell: &mut Shell, at: &str| -> Tested<_> {
        let curl = "curl -s -o /dev/null -w 'code %{http_code}\\n' -X PUT";
        shell.tell(&format!("{curl} http://{at}/job"))?;
        Ok(shell.line_with("code ")?.trim().to_owned())
    };
    // By its address it is anybody's, and passes.
    assert_ne!(put(&mut shell, API)?, "code 403");
    // Each is used as soon as it is known: also where guardd hears of the connection before it hears of the name.
    for last in 20..40 {
        let at = format!("192.0.2.{last}");
        let name = format!("v{last}.api.example.com");
        scene.server.set(&name, &[&at]);
        scene.asked(&mut shell, &name, "connected")?;
        assert_eq!(put(&mut shell, &at)?, "code 403", "{name}");
    }
    Ok(())
}
