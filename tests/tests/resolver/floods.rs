//! Sessions share the resolver: what one of them sends is nothing to others.

use std::time::Duration;

use guard_lab::{Shell, Tested, eventually, is_slow, patience};
use rustix::process::{Pid, Signal, kill_process};

use crate::names::scene::with_resolvers;

use super::{
    place::{self, API, DNS, Place},
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

/// From one port, some questions by UDP: `PATIENCE PORT COUNT NAME`. Says when they are sent, and where they are one, what came.
const SENDS: &str = r#"
import errno, socket, struct, sys
patience, port, count = map(int, sys.argv[1:4])
name = sys.argv[4]
labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("0.0.0.0", port))
s.settimeout(patience)
s.connect(("192.0.2.53", 53))
refused = 0
for id in range(count):
    try:
        s.send(struct.pack(">HH4H", id, 0x100, 1, 0, 0, 0) + labels + b"\0\1\0\1")
    except OSError as error:
        refused += error.errno == errno.EPERM
print("sent", count, "refused", refused, flush=True)
if count == 1:
    try:
        print("came", s.recv(4096)[3] & 15, flush=True)
    except OSError:
        print("came nothing", flush=True)
"#;

/// A resolver that reads nothing.
struct Stopped(Pid);

impl Stopped {
    fn new(place: &Place) -> Tested<Self> {
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

struct Scene {
    place: Place,
    sends: String,
}

impl Scene {
    fn new() -> Tested<Self> {
        let serving = |asked: &_, is_stream| match server::name_in(asked).starts_with("slow") {
            true => Vec::new(),
            false => place::usual(asked, is_stream),
        };
        let place = Place::build(serving, |daemon| daemon.policy("any", &with_resolvers(ANY)))?;
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
    let scene = Scene::new()?;
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

#[test]
fn questions_of_one_session_from_one_port_are_all_answered() -> Tested {
    let scene = Scene::new()?;
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
    let scene = Scene::new()?;
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

#[test]
fn a_server_that_says_nothing_holds_up_nobody_who_asks_for_something_else() -> Tested {
    let scene = Scene::new()?;
    let (mut slow, mut other) = (scene.session("names")?, scene.session("names")?);
    scene.send(&mut slow, "40006 1000 slow.api.example.com")?;
    eventually("asked", || scene.place.dns.has_heard(b"slow"))?;
    let question = format!("udp {DNS} v1.api.example.com");
    assert_eq!(
        scene.place.asked(&mut other, &question)?,
        format!("answered {API}")
    );
    Ok(())
}
