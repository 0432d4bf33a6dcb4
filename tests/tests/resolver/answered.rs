//! Policies that speak of no names: no question is redirected, and a person is told the names all the same that the machine's name
//! servers answered. Nothing is decided by them.

use std::path::PathBuf;

use guard_lab::{Daemon, Json as _, Network, OPEN, Scene, Shell, Tested, eventually};
use serde_json::Value;

use super::server::{self, OwnServer};
use crate::{
    flows::apart::Several,
    names::scene::{DNS, NameScene, reaches},
};

const POLICY: &str = r#"
version = 1
name = "plain"
default = "allow"

[[rule]]
name = "resolvers"
to = ["@dns"]
ports = ["udp/53", "tcp/53"]
action = "allow"

[[rule]]
name = "production"
to = ["192.0.2.0/24", "2001:db8:7::/64"]
action = "confirm"
"#;

const NAME: &str = "v1.app.example.com";
const FIRST: &str = "192.0.2.20";
const SECOND: &str = "192.0.2.21";
/// A name server that is not the machine's.
const OTHER_DNS: &str = "198.51.100.53";

/// Sends each question that it is given in hexadecimal to a server, waits for what comes, and tries an address: `SERVER QUESTION TO`.
const TRIES: &str = r#"
import socket, sys
server, question, to = sys.argv[1:4]
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.sendto(bytes.fromhex(question), (server, 53))
s.recv(65536)
try:
    socket.create_connection((to, 443), 20)
    print("tried: yes")
except OSError:
    print("tried: no")
"#;

/// Is a name server in a network of its own, at the machine's server's address, and asks itself.
const ASKS_ITSELF: &str = r#"
import socket, subprocess, sys, threading
for line in ["link set lo up", "addr add 192.0.2.53/32 dev lo"]:
    subprocess.run(["ip", *line.split()], check=True)
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("192.0.2.53", 53))
def serve():
    asked, whom = server.recvfrom(512)
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("192.0.2.21")
    server.sendto(asked[:2] + b"\x81\x80\0\1\0\1\0\0\0\0" + asked[12:] + record, whom)
threading.Thread(target=serve).start()
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(10)
s.bind(("127.0.0.1", 0))
s.connect(("192.0.2.53", 53))
s.send(b"\x12\x67\1\0\0\1\0\0\0\0\0\0\x08harmless\x07example\3com\0\0\1\0\1")
print("itself:", socket.inet_ntoa(s.recv(512)[-4:]), flush=True)
"#;

/// A session, and the program that it asks and tries with.
struct Asking<'d> {
    daemon: &'d Daemon,
    shell: Shell,
    tries: PathBuf,
}

impl<'d> Asking<'d> {
    fn new(daemon: &'d Daemon) -> Tested<Self> {
        Ok(Self {
            daemon,
            shell: Shell::start(daemon, "plain")?,
            tries: daemon.write_for_agents("tries.py", TRIES)?,
        })
    }

    /// Has a program ask a server and try an address, which is refused. Returns the request about it.
    fn asked(&mut self, server: &str, sent: &[u8], to: &str) -> Tested<Value> {
        self.tries(server, sent, to)?;
        self.request(to)
    }

    fn tries(&mut self, server: &str, sent: &[u8], to: &str) -> Tested {
        let tries = self.tries.display();
        let line = format!("python3 {tries} {server} {} {to}", hex(sent));
        self.shell.tell(&line)?;
        assert!(self.shell.line_with("tried: ")?.contains("no"));
        Ok(())
    }

    /// The request about an address.
    fn request(&self, address: &str) -> Tested<Value> {
        let mut found = None;
        eventually("a person is asked", || {
            let pending = self.daemon.root(["pending"]).json()?;
            let mut pending = pending.list()?.iter();
            found = pending
                .find(|one| one["destination"]["address"] == address)
                .cloned();
            Ok(found.is_some())
        })?;
        Ok(found.unwrap_or_default())
    }
}

fn log(daemon: &Daemon) -> Tested<Vec<Value>> {
    Ok(daemon.root(["log", "--json"]).run()?.json_lines()?)
}

fn scene() -> Tested<NameScene> {
    NameScene::at(DNS, "", "plain", POLICY, &[(NAME, &[FIRST])])
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The types of questions for IPv4 and IPv6 addresses.
const A: u8 = 1;
const AAAA: u8 = 28;

/// A question for the IPv4 addresses of a name.
fn question(name: &[&[u8]]) -> Vec<u8> {
    question_of(name, A)
}

/// A question of that type.
fn question_of(name: &[&[u8]], kind: u8) -> Vec<u8> {
    let mut sent = b"\x12\x67\x01\0\0\x01\0\0\0\0\0\0".to_vec();
    for label in name {
        sent.push(label.len() as u8);
        sent.extend(*label);
    }
    sent.extend([0, 0, kind, 0, 1]);
    sent
}

#[test]
fn a_person_is_told_the_name_and_a_yes_opens_the_address_alone() -> Tested {
    let scene = scene()?;
    scene.assert_open(FIRST, 443)?;
    let mut asking = Asking::new(&scene.daemon)?;
    let asked = question(&[b"v1", b"app", b"example", b"com"]);
    let request = asking.asked(DNS, &asked, FIRST)?;
    assert_eq!(request["named"]["name"], NAME, "{request}");
    assert_eq!(request["destination"]["host"], NAME);
    assert_eq!(request["opens_name"], false);
    let comm = request["named"]["comm"].text()?;
    assert!(comm.starts_with("python3"), "{comm}");
    let shown = scene.daemon.root(["pending"]).run()?.stdout;
    assert!(
        shown.contains("v1.app.example.com:443 (192.0.2.20)"),
        "{shown}"
    );
    let log = log(&scene.daemon)?;
    let mut denied = log.iter().filter(|record| record["kind"] == "denied");
    assert!(denied.any(|record| record["destination"]["host"] == NAME));
    let id = request["id"].text()?;
    scene.daemon.root(["approve", id]).json()?;
    assert!(reaches(&mut asking.shell, FIRST, 443)?);
    scene.server.set(NAME, &[SECOND]);
    let request = asking.asked(DNS, &asked, SECOND)?;
    assert_eq!(request["named"]["name"], NAME, "{request}");
    Ok(())
}

#[test]
fn of_ipv6_it_is_told_too_and_of_who_asked_alone() -> Tested {
    let scene = scene()?;
    let address = "2001:db8:7::10";
    scene.assert_open(address, 443)?;
    scene.server.set(NAME, &[address]);
    let mut asking = Asking::new(&scene.daemon)?;
    let asked = question_of(&[b"v1", b"app", b"example", b"com"], AAAA);
    let request = asking.asked(DNS, &asked, address)?;
    assert_eq!(request["named"]["name"], NAME, "{request}");
    scene.daemon.root(["deny", request["id"].text()?]).json()?;
    // Another program goes there that did not ask.
    assert!(!reaches(&mut asking.shell, address, 80)?);
    let request = asking.request(address)?;
    assert_eq!(request["named"], Value::Null, "{request}");
    assert_eq!(request["destination"]["host"], Value::Null, "{request}");
    Ok(())
}

#[test]
fn what_was_reached_goes_by_the_name_that_its_own_program_has_asked_for() -> Tested {
    let scene = scene()?;
    scene.assert_open(OPEN, 443)?;
    scene.server.set(NAME, &[OPEN]);
    let daemon = &scene.daemon;
    let session = || Several::new(daemon, Shell::start(daemon, "plain")?);
    let (mut asks, mut silent) = (session()?, session()?);
    asks.ask("one", NAME)?;
    asks.go("one", OPEN)?;
    asks.go("two", OPEN)?;
    silent.go("one", OPEN)?;
    for (session, program, name) in [
        (&asks, "one", Value::from(NAME)),
        (&asks, "two", Value::Null),
        (&silent, "one", Value::Null),
    ] {
        eventually(&format!("{program} goes by {name}"), || {
            let flows = daemon.list(["flows", "--session", session.session()])?;
            let mut flows = flows.iter();
            let flow = flows.find(|flow| flow["program"] == program && flow["address"] == OPEN);
            Ok(flow.is_some_and(|flow| flow["host"] == name))
        })?;
    }
    for (session, said) in [(&asks, true), (&silent, false)] {
        let suggest = ["suggest", "--from-flows", "--session", session.session()];
        let text = daemon.root(suggest).run()?.success()?.stdout;
        assert_eq!(text.contains(NAME), said, "{text}");
        assert!(said || text.contains(OPEN), "{text}");
    }
    Ok(())
}

#[test]
fn whoever_is_no_name_server_of_the_machine_names_nothing() -> Tested {
    let scene = scene()?;
    let at: [_; 1] = [FIRST.parse()?];
    let other = format!("{OTHER_DNS}:53");
    let _other = OwnServer::start(scene.network.prod(), &other, move |asked, _| {
        let records = server::addresses(asked, &server::name_in(asked), &at, 60);
        vec![server::answer(asked, records).to_vec().unwrap()]
    })?;
    let mut asking = Asking::new(&scene.daemon)?;
    let asked = question(&[b"harmless", b"example", b"com"]);
    let request = asking.asked(OTHER_DNS, &asked, FIRST)?;
    assert_eq!(request["named"], Value::Null, "{request}");
    assert_eq!(request["destination"]["host"], Value::Null, "{request}");
    // Nor is a server of its own, at the address of the machine's, in a network that it made: for another address.
    let itself = scene.daemon.write_for_agents("itself.py", ASKS_ITSELF)?;
    let line = format!("unshare -rn python3 {}", itself.display());
    asking.shell.tell(&line)?;
    assert!(asking.shell.line_with("itself: ")?.contains(SECOND));
    let request = asking.asked(DNS, &question(&[b"none", b"com"]), SECOND)?;
    assert_eq!(request["named"], Value::Null, "{request}");
    assert_eq!(request["destination"]["host"], Value::Null, "{request}");
    Ok(())
}

/// An A record whose owner is compressed, of an address in production's network.
fn record(last: u8) -> Vec<u8> {
    let mut record = b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02".to_vec();
    record.push(last);
    record
}

/// What makes an answer, of the question as it was sent and the address that is tried next.
type Made = fn(&[u8], u8) -> Vec<u8>;

/// An answer with that flags, counts of questions and of records, and records.
fn answer(sent: &[u8], flags: [u8; 2], counts: (u8, u8), records: &[u8]) -> Vec<u8> {
    let mut answer = sent[..2].to_vec();
    answer.extend(flags);
    answer.extend([0, counts.0, 0, counts.1, 0, 0, 0, 0]);
    answer.extend(&sent[12..]);
    answer.extend(records);
    answer
}

const FINE: [u8; 2] = [0x81, 0x80];

fn fine(sent: &[u8], count: u8, records: &[u8]) -> Vec<u8> {
    answer(sent, FINE, (1, count), records)
}

/// Answers, and whether they name the address.
const ANSWERS: [(&str, bool, Made); 18] = [
    ("an address", true, |sent, last| {
        fine(sent, 1, &record(last))
    }),
    ("behind an alias", true, |sent, last| {
        let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x04\x01b\xc0\x0c";
        fine(sent, 2, &[&alias[..], &record(last)].concat())
    }),
    ("the thirty-second", true, |sent, last| {
        fine(sent, 32, &[record(255).repeat(31), record(last)].concat())
    }),
    ("more than one packet holds", true, |sent, last| {
        fine(sent, 200, &[record(last), record(255).repeat(199)].concat())
    }),
    ("the thirty-third", false, |sent, last| {
        fine(sent, 33, &[record(255).repeat(32), record(last)].concat())
    }),
    ("an error", false, |sent, last| {
        answer(sent, [0x81, 0x82], (1, 1), &record(last))
    }),
    ("no response", false, |sent, last| {
        answer(sent, [0x01, 0x00], (1, 1), &record(last))
    }),
    ("another operation", false, |sent, last| {
        answer(sent, [0xa9, 0x80], (1, 1), &record(last))
    }),
    ("two questions", false, |sent, last| {
        answer(sent, FINE, (2, 1), &record(last))
    }),
    ("no question", false, |sent, last| {
        answer(sent, FINE, (0, 1), &record(last))
    }),
    ("no records", false, |sent, last| {
        fine(sent, 0, &record(last))
    }),
    ("an owner in full", false, |sent, last| {
        let owner = &sent[12..sent.len() - 4];
        fine(sent, 1, &[owner, &record(last)[2..]].concat())
    }),
    ("cut short", false, |sent, last| {
        let mut whole = fine(sent, 1, &record(last));
        whole.truncate(whole.len() - 1);
        whole
    }),
    ("data of another length", false, |sent, last| {
        let mut record = record(last);
        record[11] = 5;
        record.push(0);
        fine(sent, 1, &record)
    }),
    ("another class", false, |sent, last| {
        let mut record = record(last);
        record[5] = 3;
        fine(sent, 1, &record)
    }),
    ("a name that goes on for ever", false, |sent, last| {
        let long = [&[63][..], &[b'a'; 63]].concat().repeat(20);
        [&fine(sent, 1, &[])[..12], &long, &record(last)].concat()
    }),
    ("a pointer for a name", false, |sent, last| {
        [
            &fine(sent, 1, &[])[..12],
            b"\xc0\x0c\0\x01\0\x01",
            &record(last),
        ]
        .concat()
    }),
    ("a few bytes", false, |sent, _| sent[..7].to_vec()),
];

#[test]
fn what_is_no_plain_answer_names_nothing_and_harms_nothing() -> Tested {
    let network = Network::new()?;
    let at = format!("{DNS}:53");
    let _server = OwnServer::start(network.prod(), &at, |asked, _| {
        let name = server::name_in(asked);
        let number = name.split('.').next().unwrap().trim_start_matches('n');
        let number: usize = number.parse().unwrap();
        let (_, _, made) = ANSWERS[number];
        vec![made(&asked.to_vec().unwrap(), 100 + number as u8)]
    })?;
    let settings = format!("resolvers = [\"{at}\"]\n");
    let scene = Scene::on(network, |daemon| {
        daemon.policy("plain", POLICY).config(&settings)
    })?;
    let mut asking = Asking::new(&scene.daemon)?;
    for (number, (what, is_named, _)) in ANSWERS.iter().enumerate() {
        let name = format!("n{number}");
        let asked = question(&[name.as_bytes(), b"example", b"com"]);
        let to = format!("192.0.2.{}", 100 + number);
        asking.tries(DNS, &asked, &to)?;
        let host = if *is_named {
            Value::from(format!("{name}.example.com"))
        } else {
            Value::Null
        };
        // Of so many, one request is made for all; each is in the log.
        let mut of = Value::Null;
        eventually("the refusal is logged", || {
            let log = log(&scene.daemon)?;
            let mut denied = log.iter().filter(|record| record["kind"] == "denied");
            let found = denied.find(|record| record["destination"]["address"] == to.as_str());
            of = found.map_or(Value::Null, |record| record["destination"].clone());
            Ok(found.is_some())
        })?;
        assert_eq!(of["host"], host, "{what}: {of}");
    }
    Ok(())
}
