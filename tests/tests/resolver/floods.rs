//! Sessions share the resolver: what one of them sends is nothing to others.

use std::time::Duration;

use guard_lab::{Shell, Tested, eventually, is_slow, patience};
use rustix::process::{Pid, Signal, kill_process};

use crate::names::scene::with_resolvers;

use super::{
    place::{self, API, DNS, PUBLIC, ResolverScene},
    server,
};

/// Any name may be asked for.
const ANY: &str = r#"
version = 1
name = "any"
default = "deny"

[dns]
names = "any"
"#;

/// From one port, some questions by UDP: `PATIENCE PORT COUNT NAME`, in which `%d` is the number of each. Says when they are sent, and
/// where they are one, what came.
const SENDS: &str = r#"
import errno, socket, struct, sys
patience, port, count = map(int, sys.argv[1:4])
name = sys.argv[4]
def labels(number):
    return b"".join(bytes([len(l)]) + l.encode() for l in name.replace("%d", str(number)).split(".")) + b"\0"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", port))
s.settimeout(patience)
s.connect(("192.0.2.53", 53))
refused = 0
for id in range(count):
    try:
        s.send(struct.pack(">HH4H", id, 0x100, 1, 0, 0, 0) + labels(id) + b"\0\1\0\1")
    except OSError as error:
        refused += error.errno == errno.EPERM
print("sent", count, "refused", refused, flush=True)
if count == 1:
    try:
        print("came", s.recv(4096)[3] & 15, flush=True)
    except OSError:
        print("came nothing", flush=True)
"#;

/// Asks `SERVER OTHER` for ever new names in turn, as fast as it can, until it reads a line. Says when it meets its limit, and at the end
/// how much of it was refused.
const FLOODS: &str = r#"
import itertools, socket, struct, sys, threading
servers = sys.argv[1:3]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sent = refused = 0
is_over = False

def flood():
    global sent, refused
    for number in itertools.count():
        if is_over:
            return
        label = b"f%d" % number
        question = struct.pack(">HH4H", number % 65536, 0x100, 1, 0, 0, 0) + bytes([len(label)]) + label
        question += b"\x03api\x07example\x03com\0\0\1\0\1"
        try:
            s.sendto(question, (servers[number % 2], 53))
            sent += 1
        except OSError:
            refused += 1
            if refused == 1:
                print("floods", flush=True)

flooding = threading.Thread(target=flood)
flooding.start()
sys.stdin.readline()
is_over = True
flooding.join()
print("flooded", sent, refused, flush=True)
"#;

/// Asks for a name, again and again, each time once: `PATIENCE COUNT SERVER`. Says how often it was answered.
const ASKS: &str = r#"
import socket, struct, sys
patience, count, server = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(patience)
s.connect((server, 53))
answered = 0
for id in range(count):
    s.send(struct.pack(">HH4H", id, 0x100, 1, 0, 0, 0) + b"\2v1\3api\7example\3com\0\0\1\0\1")
    try:
        answer = s.recv(4096)
        answered += struct.unpack(">H", answer[:2])[0] == id and answer[3] & 15 == 0
    except OSError:
        break
print("was answered", answered, flush=True)
"#;

/// At each line, asks `SERVER` for ever new names until so many are refused one after the other that none pass any more at any rate, or
/// far more has passed than a buffer takes. Says how much has.
const FILLS: &str = r#"
import itertools, socket, struct, sys
server = sys.argv[1]
IN_A_ROW, TOO_MANY = 5000, 20000
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
numbers = itertools.count()
print("fills", flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        break
    sent = in_a_row = 0
    while in_a_row < IN_A_ROW and sent < TOO_MANY:
        number = next(numbers)
        label = b"f%d" % number
        question = struct.pack(">HH4H", number % 65536, 0x100, 1, 0, 0, 0) + bytes([len(label)]) + label
        question += b"\x03api\x07example\x03com\0\0\1\0\1"
        try:
            s.sendto(question, (server, 53))
            sent += 1
            in_a_row = 0
        except OSError:
            in_a_row += 1
    print("filled", sent, flush=True)
print("stopped", flush=True)
"#;

/// A resolver that reads nothing.
struct Stopped(Pid);

impl Stopped {
    fn new(place: &ResolverScene) -> Tested<Self> {
        let resolver = place.resolver().unwrap();
        let pid = Pid::from_raw(resolver.cast_signed()).unwrap();
        kill_process(pid, Signal::STOP)?;
        Ok(Self(pid))
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill_process(self.0, Signal::CONT);
    }
}

struct Flood {
    place: ResolverScene,
    sends: String,
}

impl Flood {
    fn new() -> Tested<Self> {
        let serving = |asked: &_, is_stream| {
            if server::name_in(asked).starts_with("slow") {
                Vec::new()
            } else {
                place::usual(asked, is_stream)
            }
        };
        let place =
            ResolverScene::build(serving, |daemon| daemon.policy("any", &with_resolvers(ANY)))?;
        let sends = place.daemon.write_for_agents("sends.py", SENDS)?;
        let patience = patience(Duration::from_secs(20)).as_secs();
        let sends = format!("/usr/bin/python3 {} {patience}", sends.display());
        Ok(Self { place, sends })
    }

    /// A session whose questions are answered.
    fn session(&self, policy: &str) -> Tested<Shell> {
        let mut shell = Shell::start(&self.place.daemon, policy)?;
        let said = self
            .place
            .asked(&mut shell, &format!("udp {DNS} v1.api.example.com"))?;
        assert_eq!(said, format!("answered {API}"));
        Ok(shell)
    }

    fn send(&self, shell: &mut Shell, what: &str) -> Tested<String> {
        shell.tell(&format!("{} {what}", self.sends))?;
        Ok(shell.line_with("sent ")?)
    }
}

#[test]
fn a_datagram_is_the_session_s_that_sent_it() -> Tested {
    let scene = Flood::new()?;
    let (mut narrow, mut wide) = (scene.session("names")?, scene.session("any")?);
    let secret = format!("udp {DNS} secret.evil.example");
    assert!(
        scene
            .place
            .asked(&mut wide, &secret)?
            .starts_with("answered")
    );
    assert_eq!(scene.place.asked(&mut narrow, &secret)?, "NXDOMAIN");
    let stopped = Stopped::new(&scene.place)?;
    // While it waits to be read, its port becomes another session's that may ask for anything.
    scene.send(&mut narrow, "40001 2 other.evil.example")?;
    scene.send(&mut wide, "40001 1 v1.api.example.com")?;
    drop(stopped);
    assert_eq!(wide.line_with("came")?.trim(), "came 0");
    // Whatever came before that was read, and is answered by now.
    assert!(
        scene
            .place
            .asked(&mut wide, &secret)?
            .starts_with("answered")
    );
    assert!(!scene.place.dns.has_heard(b"other"));
    Ok(())
}

/// What a socket sends that is connected to the resolver, and of which nothing tells any more which server was meant, asks nobody: not
/// in the name of who had its port before, nor of its own earlier question.
#[test]
fn a_socket_whose_next_connect_was_refused_asks_nobody() -> Tested {
    const LOOPBACK: &str = "[[rule]]\nto = [\"@loopback\"]\naction = \"allow\"\n";
    const NOWHERE: &str = "198.51.100.99";
    let policy = |text: &str| with_resolvers(&format!("{text}{LOOPBACK}"));
    let place = ResolverScene::build(place::usual, |daemon| {
        let daemon = daemon.policy("any", &policy(ANY));
        daemon.policy("strict", &policy(place::POLICY))
    })?;
    let mut wide = Shell::start(&place.daemon, "any")?;
    let mut strict = Shell::start(&place.daemon, "strict")?;
    let asks = |shell: &mut Shell, way: &str, name: &str| {
        place.asked(shell, &format!("{way} {DNS} {name} {NOWHERE}"))
    };
    let usual = asks(&mut wide, "from_there", "first.evil.example")?;
    assert!(usual.starts_with("answered"), "{usual}");
    assert_eq!(asks(&mut strict, "udp", "secret.evil.example")?, "NXDOMAIN");
    for (shell, name) in [
        (&mut strict, "secret.evil.example"),
        (&mut wide, "second.evil.example"),
    ] {
        assert_eq!(asks(shell, "refused_again", name)?, "EPERM", "{name}");
    }
    for name in [&b"secret"[..], b"second"] {
        assert!(!place.dns.has_heard(name));
    }
    // The socket that is connected again asks as ever.
    let usual = asks(&mut wide, "from_there", "third.evil.example")?;
    assert!(usual.starts_with("answered"), "{usual}");
    Ok(())
}

#[test]
fn questions_of_one_session_from_one_port_are_all_answered() -> Tested {
    let scene = Flood::new()?;
    let mut shell = scene.session("names")?;
    let stopped = Stopped::new(&scene.place)?;
    scene.send(&mut shell, "40002 2 first.api.example.com")?;
    scene.send(&mut shell, "40002 1 second.api.example.com")?;
    drop(stopped);
    assert_eq!(shell.line_with("came")?.trim(), "came 0");
    eventually("the first are asked, too", || {
        scene.place.dns.has_heard(b"first")
    })?;
    Ok(())
}

#[test]
fn a_flood_of_one_session_loses_no_question_of_another() -> Tested {
    let scene = Flood::new()?;
    let (mut flooder, mut other) = (scene.session("names")?, scene.session("names")?);
    let stopped = Stopped::new(&scene.place)?;
    let sent = scene.send(&mut flooder, "40003 3000 v1.api.example.com")?;
    let refused: usize = sent.trim().rsplit(' ').next().unwrap().parse()?;
    // A slow machine sends no more in a moment than a session may.
    assert!(refused > 0 || is_slow(), "all of it waits: {sent}");
    scene.send(&mut other, "40004 1 v1.api.example.com")?;
    drop(stopped);
    assert_eq!(other.line_with("came")?.trim(), "came 0");
    // Where nothing waits any more it is served again itself.
    scene.send(&mut flooder, "40005 1 v1.api.example.com")?;
    assert_eq!(flooder.line_with("came")?.trim(), "came 0");
    Ok(())
}

/// One by one no more are told than a log has room for.
#[test]
fn of_a_flood_of_refused_names_the_number_is_told() -> Tested {
    let scene = Flood::new()?;
    let daemon = &scene.place.daemon;
    let mut shell = scene.session("names")?;
    let status = || daemon.root(["status"]).json();
    assert_eq!(status()?["names_summed_up"], 0);
    eventually("more are refused in a second than are told", || {
        scene.send(&mut shell, "40006 200 n%d.evil.example")?;
        Ok(status()?["names_summed_up"].as_u64() > Some(0))
    })?;
    eventually("records have their number", || {
        let denied = daemon.audited("denied")?;
        let names: u64 = denied.iter().filter_map(|one| one["names"].as_u64()).sum();
        Ok(Some(names) == status()?["names_summed_up"].as_u64())
    })?;
    let session = ["--session", shell.session()];
    let log = daemon.root(["log"]).args(session).run()?.stdout;
    let told = log.lines().filter(|line| line.contains(" more names"));
    assert!(told.count() > 0, "{log}");
    let status = daemon.root(["status"]).run()?.stdout;
    assert!(
        status.contains("more were refused than are told one by one"),
        "{status}"
    );
    assert!(!scene.place.dns.has_heard(b"evil"));
    Ok(())
}

/// The limit is no rate alone, which a slow machine's resolver may not keep up with: here it reads nothing, however long one session goes on.
#[test]
fn a_resolver_that_does_not_keep_up_loses_no_question_of_those_who_ask_little() -> Tested {
    let scene = Flood::new()?;
    let (mut flooder, mut other) = (scene.session("any")?, scene.session("names")?);
    let fills = scene.place.daemon.write_for_agents("fills.py", FILLS)?;
    flooder.tell(&format!("/usr/bin/python3 {} {DNS}", fills.display()))?;
    // Before, the shell reads what it is told.
    flooder.line_with("fills")?;
    for round in 0..5 {
        let stopped = Stopped::new(&scene.place)?;
        flooder.tell("fill")?;
        let filled = flooder.line_with("filled ")?;
        let sent: usize = filled.trim().trim_start_matches("filled ").parse()?;
        assert!(sent <= 512, "{sent} wait");
        let asks = format!("{} 1 v{round}.api.example.com", 40010 + round);
        assert_eq!(
            scene.send(&mut other, &asks)?.trim(),
            "sent 1 refused 0",
            "{round}"
        );
        drop(stopped);
        assert_eq!(other.line_with("came")?.trim(), "came 0", "{round}");
    }
    flooder.tell("stop")?;
    flooder.line_with("stopped")?;
    let question = format!("udp {DNS} v1.api.example.com");
    eventually("the flooder is served, too", || {
        Ok(scene.place.asked(&mut flooder, &question)? == format!("answered {API}"))
    })?;
    Ok(())
}

/// Each of them is answered the first time that it is sent: nobody else's flood takes its place.
#[test]
fn a_flood_of_new_names_to_two_servers_takes_nothing_from_others() -> Tested {
    const COUNT: usize = 300;
    const PUBLIC_TOO: &str =
        "[[rule]]\nto = [\"198.51.100.53\"]\nports = [\"udp/53\"]\naction = \"allow\"\n";
    let place = ResolverScene::build(place::usual, |daemon| {
        daemon.policy("any", &with_resolvers(&format!("{ANY}{PUBLIC_TOO}")))
    })?;
    let floods = place.daemon.write_for_agents("floods.py", FLOODS)?;
    let asks = place.daemon.write_for_agents("asks.py", ASKS)?;
    let patience = patience(Duration::from_secs(20)).as_secs();
    let asks = format!(
        "/usr/bin/python3 {} {patience} {COUNT} {DNS}",
        asks.display()
    );
    let mut other = Shell::start(&place.daemon, "names")?;
    let mut all_answered = || -> Tested {
        other.tell(&asks)?;
        let said = other.line_with("was answered")?;
        assert_eq!(said.trim(), format!("was answered {COUNT}"));
        Ok(())
    };
    all_answered()?;
    let mut flooder = Shell::start(&place.daemon, "any")?;
    flooder.tell(&format!(
        "/usr/bin/python3 {} {DNS} {PUBLIC}",
        floods.display()
    ))?;
    flooder.line_with("floods")?;
    all_answered()?;
    flooder.tell("stop")?;
    let said = flooder.line_with("flooded ")?;
    let counts: Vec<usize> = said
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    // It went on all the while, and is still served as far as its own limit goes.
    assert!(
        matches!(counts[..], [sent, refused] if sent > 256 && refused > 0),
        "{said}"
    );
    let question = format!("udp {DNS} v1.api.example.com");
    eventually("the flooder is served, once its own flood is over", || {
        Ok(place.asked(&mut flooder, &question)? == format!("answered {API}"))
    })?;
    Ok(())
}

/// From one socket, with one number: a question to each of two servers.
const BOTH: &str = r#"
import socket, struct, sys
patience = int(sys.argv[1])
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(patience)
for label, server in [(b"near", sys.argv[2]), (b"far", sys.argv[3])]:
    question = struct.pack(">HH4H", 500, 0x100, 1, 0, 0, 0) + bytes([len(label)]) + label
    s.sendto(question + b"\x03api\x07example\x03com\0\0\1\0\1", (server, 53))
print("sent", flush=True)
try:
    print("came", *sorted(s.recvfrom(4096)[1][0] for _ in range(2)), flush=True)
except OSError:
    print("came too little", flush=True)
"#;

#[test]
fn questions_with_one_number_go_to_the_server_that_each_was_sent_to() -> Tested {
    let scene = Flood::new()?;
    let both = scene.place.daemon.write_for_agents("both.py", BOTH)?;
    let mut shell = scene.session("names")?;
    let patience = patience(Duration::from_secs(20)).as_secs();
    // Both are sent before the first is read.
    let stopped = Stopped::new(&scene.place)?;
    shell.tell(&format!(
        "/usr/bin/python3 {} {patience} {DNS} {PUBLIC}",
        both.display()
    ))?;
    shell.line_with("sent")?;
    drop(stopped);
    shell.line_with("came")?;
    let (dns, public) = (&scene.place.dns, &scene.place.public);
    assert!(dns.has_heard(b"near") && public.has_heard(b"far"));
    assert!(!dns.has_heard(b"far") && !public.has_heard(b"near"));
    Ok(())
}

#[test]
fn a_server_that_says_nothing_holds_up_nobody_who_asks_for_something_else() -> Tested {
    let scene = Flood::new()?;
    let mut other = scene.session("names")?;
    let question = format!("udp {DNS} v1.api.example.com");
    // The same one, and a thousand.
    for (port, name) in [(40006, "slow"), (40007, "slow%d-of-many")] {
        let mut slow = scene.session("any")?;
        scene.send(&mut slow, &format!("{port} 1000 {name}.api.example.com"))?;
        let first = name.replace("%d", "0");
        eventually("asked", || scene.place.dns.has_heard(first.as_bytes()))?;
        assert_eq!(
            scene.place.asked(&mut other, &question)?,
            format!("answered {API}"),
            "{name}"
        );
    }
    Ok(())
}
