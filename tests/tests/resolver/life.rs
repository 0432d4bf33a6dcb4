//! A resolver that ends, and name servers in odd places.

use std::{
    fs,
    path::PathBuf,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Instant,
};

use guard_lab::{
    AGENT, Attempt, Daemon, Json as _, Network, Production, Shell, Tested, bins, eventually, exec,
    mounts,
};
use hickory_proto::{
    op::Message,
    rr::{Name, RData, Record, rdata::TXT},
};
use jiff::{SignedDuration, Timestamp};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    ASK, churn,
    place::{self, API, API_V6, DB, DNS, DNS_V6, ResolverScene, asked, usual},
    server::{self, OwnServer},
};
use crate::{
    doctor::detach,
    names::scene::{told, with_resolvers},
};

#[test]
fn a_resolver_that_is_killed_is_soon_another_and_opens_nothing_meanwhile() -> Tested {
    let place = ResolverScene::new()?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let question = format!("udp {DNS} v1.api.example.com");
    let answered = format!("answered {API}");
    assert_eq!(place.asked(&mut shell, &question)?, answered);
    let resolver = place.resolver().unwrap();
    let began = Instant::now();
    kill_process(Pid::from_raw(resolver.cast_signed()).unwrap(), Signal::KILL)?;
    // What was learned is, and nothing else: also not at the ports that were the resolver's.
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    assert!(!shell.reaches(&Attempt::tcp(DB, 443))?);
    eventually("another one answers", || {
        Ok(place.asked(&mut shell, &question)? == answered)
    })?;
    println!("answered again after {:?}", began.elapsed());
    assert_ne!(place.resolver(), Some(resolver));
    assert!(!place.dns.has_heard(b"secret"));
    let secret = format!("udp {DNS} secret.evil.example");
    assert_eq!(place.asked(&mut shell, &secret)?, "NXDOMAIN");
    Ok(())
}

#[test]
fn what_a_dying_resolver_was_asked_is_refused_and_opens_nothing() -> Tested {
    // It never answers, so that the resolver is asked when it ends.
    let place = ResolverScene::serving(|_, _| Vec::new())?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let program = place.odd.display();
    shell.tell(&format!(
        "/usr/bin/python3 {program} udp {DNS} v1.api.example.com"
    ))?;
    eventually("it is asked", || !place.dns.heard().is_empty())?;
    let resolver = place.resolver().unwrap();
    let pid = Pid::from_raw(resolver.cast_signed()).unwrap();
    kill_process(pid, Signal::KILL)?;
    let said = shell.line_with("answer")?;
    assert!(!said.contains("answered"), "{said}");
    assert!(!shell.reaches(&Attempt::tcp(API, 443))?);
    Ok(())
}

#[test]
fn where_a_name_server_is_silent_what_is_known_goes_on() -> Tested {
    let is_silent = Arc::new(AtomicBool::new(false));
    let silent = Arc::clone(&is_silent);
    let place = ResolverScene::serving(move |asked, is_stream| {
        if silent.load(Ordering::Relaxed) {
            Vec::new()
        } else {
            usual(asked, is_stream)
        }
    })?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let known = format!("udp {DNS} v1.api.example.com");
    assert_eq!(place.asked(&mut shell, &known)?, format!("answered {API}"));
    is_silent.store(true, Ordering::Relaxed);
    let other = format!("udp {DNS} v2.api.example.com");
    assert_eq!(place.asked(&mut shell, &other)?, "SERVFAIL");
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    assert!(!shell.reaches(&Attempt::tcp(DB, 443))?);
    is_silent.store(false, Ordering::Relaxed);
    assert_eq!(place.asked(&mut shell, &other)?, format!("answered {API}"));
    Ok(())
}

/// Asks for a name hundreds of times in one connection, and reads no answer until a file is there: `SERVER NAME FILE`. Prints the
/// addresses of what had come whole by then.
const READS_LATE: &str = r#"
import os, socket, struct, sys, time
server, name, file = sys.argv[1:4]
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
s = socket.socket()
s.connect((server, 53))
for number in range(300):
    question = struct.pack(">HHHHHH", number, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", 28, 1)
    s.sendall(struct.pack(">H", len(question)) + question)
while not os.path.exists(file):
    time.sleep(0.05)
came = b""
try:
    while part := s.recv(1 << 20):
        came += part
except ConnectionResetError:
    pass
got = []
while len(came) > 2 and len(came) >= 2 + (length := struct.unpack(">H", came[:2])[0]):
    answer, came = came[2:2 + length], came[2 + length:]
    at = 12 + len(labels) + 4 + 12
    got.append(socket.inet_ntop(socket.AF_INET6, answer[at:at + 16]))
print("got", *got, "all", flush=True)
"#;

/// An answer with an address that nobody had before, and as much beside it as fits.
fn long_answer(asked: &Message, next: &AtomicU64) -> Vec<Vec<u8>> {
    let name = server::name_in(asked);
    let address = churn::address(next.fetch_add(1, Ordering::Relaxed));
    let mut answer = server::answer(
        asked,
        server::addresses(asked, &name, &[address.into()], 3600),
    );
    let text = TXT::new(vec!["x".repeat(250)]);
    let owner = Name::from_ascii("t.").unwrap();
    let record = Record::from_rdata(owner, 60, RData::TXT(text));
    answer.add_additionals(std::iter::repeat_n(record, 220));
    server::bytes(&answer, true)
}

/// Nobody reads the answers, so that the last of them are known to the kernel and not sent when the resolver ends.
#[test]
fn what_a_dying_resolver_had_learned_counts_and_is_answered_by_the_next() -> Tested {
    let next = Arc::new(AtomicU64::new(0));
    let gives = Arc::clone(&next);
    let place = ResolverScene::serving(move |asked, _| long_answer(asked, &gives))?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let reaches = |shell: &mut Shell, number: u64| -> Tested<bool> {
        let to = churn::address(number).to_string();
        Ok(shell.reaches(&Attempt::tcp(&to, 443))?)
    };
    assert!(!reaches(&mut shell, 0)?);
    let program = place.daemon.write_for_agents("reads_late.py", READS_LATE)?;
    let file = program.with_file_name("reads.toml");
    shell.tell(&format!(
        "/usr/bin/python3 {} {DNS} v1.api.example.com {} &",
        program.display(),
        file.display()
    ))?;
    // Nothing more is asked for, and all that was given is known.
    let (mut last, mut looks) = (0, 0);
    eventually("the resolver cannot send any more", || {
        let given = next.load(Ordering::Relaxed);
        let is_same = given > 0 && given == std::mem::replace(&mut last, given);
        // A busy machine may have it rest for a while.
        looks = if is_same { looks + 1 } else { 0 };
        Ok(looks >= 20 && reaches(&mut shell, given - 1)?)
    })?;
    let resolver = place.resolver().unwrap();
    kill_process(Pid::from_raw(resolver.cast_signed()).unwrap(), Signal::KILL)?;
    place.daemon.write_for_agents("reads", "")?;
    let got = shell.line_with("got ")?;
    let is_missing = |number: &u64| !got.contains(&format!(" {} ", churn::address(*number)));
    let missing = (0..last).rev().find(is_missing).unwrap();
    assert!(reaches(&mut shell, missing)?, "it counts until its time");
    let mut said = String::new();
    eventually("another one answers", || {
        said = place.asked(&mut shell, &format!("tcp-AAAA {DNS} v1.api.example.com"))?;
        Ok(said.starts_with("answered"))
    })?;
    let to = said.trim_start_matches("answered ");
    assert!(shell.reaches(&Attempt::tcp(to, 443))?, "{said}");
    Ok(())
}

#[test]
fn a_name_server_over_ipv6_is_asked() -> Tested {
    let place = ResolverScene::new()?;
    // Production answers for a whole range, and has this address of it.
    let mut ip = place.network.prod().command("ip");
    ip.args([
        "addr",
        "add",
        &format!("{DNS_V6}/128"),
        "dev",
        "lo",
        "nodad",
    ]);
    assert!(ip.status()?.success());
    let server = OwnServer::start(place.network.prod(), &format!("[{DNS_V6}]:53"), usual)?;
    let _production = place.production()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    for way in ["udp-AAAA", "connected-AAAA", "tcp-AAAA"] {
        let said = place.asked(&mut shell, &format!("{way} {DNS_V6} v1.api.example.com"))?;
        assert_eq!(said, format!("answered {API_V6}"), "{way}");
    }
    assert!(shell.reaches(&Attempt::tcp(API_V6, 443))?);
    let secret = format!("udp {DNS_V6} secret.evil.example");
    assert_eq!(place.asked(&mut shell, &secret)?, "NXDOMAIN");
    assert!(!server.has_heard(b"secret"));
    Ok(())
}

/// Asks a server on a link, by the number of that: `ADDRESS LINK NAME`. Says the code.
const ON_LINK_ASKS: &str = r#"
import socket, struct, sys
server, link, name = sys.argv[1], int(sys.argv[2]), sys.argv[3]
labels = b"".join(bytes([len(l)]) + l.encode() for l in name.split(".")) + b"\0"
s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
s.settimeout(60)
try:
    s.connect((server, 53, 0, link))
    s.send(struct.pack(">HH4H", 4711, 0x100, 1, 0, 0, 0) + labels + b"\0\1\0\1")
    print("code", s.recv(4096)[3] & 15, flush=True)
except OSError as error:
    print("code", error, flush=True)
"#;

/// As a router tells of itself, which has no other address.
#[test]
fn a_name_server_that_has_an_address_of_its_link_alone_is_asked_there() -> Tested {
    const ON_LINK: &str = "fe80::53";
    let network = Network::new()?;
    let mut ip = network.prod().command("ip");
    let address = format!("{ON_LINK}/64");
    ip.args(["addr", "add", &address, "dev", "dev0", "nodad"]);
    assert!(ip.status()?.success());
    // The only one of each beside the loopback.
    let links = [network.prod(), network.dev()].map(|side| -> Tested<String> {
        let mut ip = side.command("ip");
        let shown = exec::output(ip.args(["-o", "link", "show", "type", "veth"]))?;
        let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
        Ok(shown.split(':').next().unwrap_or_default().to_owned())
    });
    let [theirs, own] = links;
    let (theirs, own) = (theirs?, own?);
    let server = OwnServer::start(network.prod(), &format!("[{ON_LINK}%{theirs}]:53"), usual)?;
    let daemon = Daemon::in_network(&network)
        .policy("names", &with_resolvers(place::POLICY))
        .config(&format!("resolvers = [\"[{ON_LINK}%{own}]:53\"]\n"))
        .start()?;
    let asks = daemon.write_for_agents("on_link.py", ON_LINK_ASKS)?;
    let ask = |name: &str| format!("/usr/bin/python3 {} {ON_LINK} {own} {name}", asks.display());
    // Without the guard it is asked for anything.
    let line = ask("outside.evil.example");
    let outside = exec::output(network.dev().command("sh").args(["-c", &line]))?;
    let outside = String::from_utf8_lossy(&outside.stdout).into_owned();
    assert_eq!(outside.trim(), "code 0");
    let mut shell = Shell::start(&daemon, "names")?;
    for (name, code) in [
        ("v1.api.example.com", "code 0"),
        ("secret.evil.example", "code 3"),
    ] {
        shell.tell(&ask(name))?;
        assert_eq!(shell.line_with("code ")?.trim(), code, "{name}");
    }
    assert!(server.has_heard(b"v1") && !server.has_heard(b"secret"));
    Ok(())
}

/// As Docker's 127.0.0.11 is: its port 53 leads to a port of the same namespace.
#[test]
fn a_name_server_behind_a_redirect_of_the_machine_s_is_asked() -> Tested {
    let config = "resolvers = [\"127.0.0.11:53\"]\n";
    let place = ResolverScene::build(usual, |daemon| daemon.config(config))?;
    let dev = place.network.dev();
    let engine = OwnServer::start(dev, "127.0.0.11:5300", usual)?;
    let rules = "add table ip nat
add chain ip nat output { type nat hook output priority -100 ; }
add rule ip nat output ip daddr 127.0.0.11 udp dport 53 dnat to 127.0.0.11:5300
add rule ip nat output ip daddr 127.0.0.11 tcp dport 53 dnat to 127.0.0.11:5300\n";
    let mut nft = dev.command("nft");
    let done = exec::output_with(nft.args(["-f", "-"]), rules)?;
    assert!(done.status.success(), "{done:?}");
    let _production = place.production()?;
    assert_eq!(
        place.outside(&["udp", "127.0.0.11", "v1.api.example.com"])?,
        format!("answered {API}")
    );
    let mut shell = Shell::start(&place.daemon, "names")?;
    for way in ["udp", "connected", "tcp"] {
        let said = place.asked(&mut shell, &format!("{way} 127.0.0.11 v1.api.example.com"))?;
        assert_eq!(said, format!("answered {API}"), "{way}");
    }
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    let secret = "udp 127.0.0.11 secret.evil.example";
    assert_eq!(place.asked(&mut shell, secret)?, "NXDOMAIN");
    assert!(!engine.has_heard(b"secret"));
    Ok(())
}

/// Another address of the machine's server, and one more.
const SECOND: &str = "192.0.2.54";
const THIRD: &str = "192.0.2.55";

/// Sends one question to each server at once, from one socket, as musl does, and waits for an answer that is none of failure. Who
/// could not answer is asked again, as by musl: a busy machine's server may be late.
const AT_ONCE: &str = r#"
import socket, struct, sys
name, *servers = sys.argv[1:]
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"
question = struct.pack(">HHHHHH", 4711, 0x100, 1, 0, 0, 0) + labels + struct.pack(">HH", 1, 1)
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(60)
for server in servers:
    s.sendto(question, (server, 53))
print("sent", flush=True)
answer, server = s.recvfrom(512)
while answer[3] & 15 == 2:
    s.sendto(question, server)
    answer, server = s.recvfrom(512)
print("answer", socket.inet_ntoa(answer[-4:]), flush=True)
"#;

#[test]
fn each_server_is_asked_that_a_socket_has_asked_at_once() -> Tested {
    let config = format!("resolvers = [\"{SECOND}:53\", \"{DNS}:53\", \"{THIRD}:53\"]\n");
    let place = ResolverScene::build(usual, |daemon| daemon.config(&config))?;
    let silent = |at: &str| {
        let at = format!("{at}:53");
        OwnServer::start(place.network.prod(), &at, |_, _| Vec::new())
    };
    let (second, third) = (silent(SECOND)?, silent(THIRD)?);
    let _production = place.production()?;
    let program = place.daemon.write_for_agents("at_once.py", AT_ONCE)?;
    let words = format!(
        "{} v1.api.example.com {DNS} {SECOND} {THIRD}",
        program.display()
    );
    let mut outside = place.network.dev().command_as(AGENT, "/usr/bin/python3");
    let said = exec::output(outside.args(words.split(' ')))?;
    assert!(
        String::from_utf8_lossy(&said.stdout).contains(API),
        "{said:?}"
    );
    let mut shell = Shell::start(&place.daemon, "names")?;
    for server in [&place.dns, &second, &third] {
        server.forget();
    }
    // It reads the first when the last is sent.
    let resolver = Pid::from_raw(place.resolver().unwrap().cast_signed()).unwrap();
    kill_process(resolver, Signal::STOP)?;
    shell.tell(&format!("/usr/bin/python3 {words}"))?;
    shell.line_with("sent")?;
    kill_process(resolver, Signal::CONT)?;
    assert!(shell.line_with("answer")?.contains(API));
    for server in [&place.dns, &second, &third] {
        eventually("it is asked", || !server.heard().is_empty())?;
    }
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    Ok(())
}

/// What lets names be asked for at both servers, and speaks of none as the machine's.
const OF_NO_GROUP: &str = r#"
version = 1
name = "names"
default = "deny"

[[rule]]
name = "servers"
to = ["192.0.2.53", "192.0.2.54"]
ports = ["udp/53"]
action = "allow"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"
"#;

/// A machine on which a VPN may come up: `/etc/resolv.conf` has another server then.
struct Roaming {
    daemon: Daemon,
    resolv: PathBuf,
    odd: PathBuf,
    _production: Production,
    _servers: [OwnServer; 2],
    network: Network,
}

impl Roaming {
    /// One that asks [`DNS`] at first, under a policy of that text.
    fn new(policy: &str) -> Tested<Self> {
        let network = Network::new()?;
        let start = |at: &str| OwnServer::start(network.prod(), &format!("{at}:53"), usual);
        let servers = [start(DNS)?, start(SECOND)?];
        let production = Production::launch(&network, &[443], &[], true)?;
        let mut daemon = Daemon::in_network(&network)
            .policy("names", policy)
            .config("")
            .prepare()?;
        let resolv = daemon.write_for_agents("resolv.conf", &format!("nameserver {DNS}\n"))?;
        let odd = daemon.write_for_agents("odd.py", include_str!("programs/odd.py"))?;
        let guardd = mounts::with_file(&daemon.guardd()?, &resolv, "/etc/resolv.conf");
        daemon.start_as(guardd)?;
        Ok(Self {
            daemon,
            resolv,
            odd,
            _production: production,
            _servers: servers,
            network,
        })
    }

    /// What a session gets of a server.
    fn asked(&self, shell: &mut Shell, server: &str) -> Tested<String> {
        let words = format!("udp {server} v1.api.example.com");
        asked(shell, &self.odd, &words)
    }

    /// From now on the machine asks [`SECOND`].
    fn moves(&self) -> Tested {
        fs::write(&self.resolv, format!("nameserver {SECOND}\n"))?;
        Ok(())
    }
}

/// As when a VPN comes up: `/etc/resolv.conf` has another server, and no policy depends on it.
#[test]
fn another_server_of_the_machine_s_teaches_from_then_on() -> Tested {
    let place = Roaming::new(OF_NO_GROUP)?;
    let daemon = &place.daemon;
    let ask = |shell: &mut Shell, server: &str| -> Tested {
        assert_eq!(place.asked(shell, server)?, format!("answered {API}"));
        Ok(())
    };
    let outside = Attempt::tcp(API, 443).outside(place.network.dev(), AGENT)?;
    assert!(outside.ok, "nothing stops it without the guard");
    let mut shell = Shell::start(daemon, "names")?;
    ask(&mut shell, SECOND)?;
    assert!(
        !shell.reaches(&Attempt::tcp(API, 443))?,
        "it is not the machine's"
    );
    ask(&mut shell, DNS)?;
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    place.moves()?;
    let mut other = Shell::start(daemon, "names")?;
    eventually("the other one is the machine's", || {
        ask(&mut other, SECOND)?;
        Ok(other.reaches(&Attempt::tcp(API, 443))?)
    })?;
    // The one of before is not any more.
    let mut last = Shell::start(daemon, "names")?;
    ask(&mut last, DNS)?;
    assert!(!last.reaches(&Attempt::tcp(API, 443))?);
    Ok(())
}

/// What lets names be asked for at the machine's servers, whichever these are.
const OF_THE_GROUP: &str = r#"
version = 1
name = "names"
default = "deny"

[[rule]]
name = "api"
to = ["*.api.example.com"]
ports = ["tcp/443"]
action = "allow"
"#;

#[test]
fn a_rule_for_the_machine_s_servers_is_about_another_one_from_then_on() -> Tested {
    let place = Roaming::new(&with_resolvers(OF_THE_GROUP))?;
    let answered = format!("answered {API}");
    let mut shell = Shell::start(&place.daemon, "names")?;
    assert_eq!(place.asked(&mut shell, SECOND)?, "EPERM");
    assert_eq!(place.asked(&mut shell, DNS)?, answered);
    place.moves()?;
    // It is looked at every ten seconds.
    eventually("the other one may be asked", || {
        Ok(place.asked(&mut shell, SECOND)? == answered)
    })?;
    assert_eq!(place.asked(&mut shell, DNS)?, "EPERM");
    Ok(())
}

/// As on a kernel without these hooks: programs see who has answered, and get no more than before.
#[test]
fn where_hooks_are_gone_that_show_the_server_names_are_judged_as_before() -> Tested {
    const WAYS: [&str; 3] = ["unconnected", "connected", "tcp"];
    const SECRET: &str = "secret.evil.example";
    let place = ResolverScene::new()?;
    let _production = place.production()?;
    let outside = place.outside(&["udp", DNS, SECRET])?;
    assert_eq!(outside, format!("answered {API}"), "without the guard");
    assert!(place.dns.has_heard(b"secret"));
    place.dns.forget();
    let program = place.daemon.write_for_agents("ask.py", ASK)?;
    let program = program.display();
    let mut shell = Shell::start(&place.daemon, "names")?;
    let mut ask = |name: &str, way: &str| -> Tested<String> {
        shell.tell(&format!("/usr/bin/python3 {program} {DNS} {name} A {way}"))?;
        told(&mut shell)
    };
    for way in WAYS {
        let said = ask("v1.api.example.com", way)?;
        assert_eq!(said, format!("0 {DNS} {API}"), "{way}");
    }
    for hook in ["recvmsg4", "getpeername4"] {
        detach(&place.daemon, hook);
    }
    for way in WAYS {
        // The kernel takes them away a moment later.
        eventually("the resolver itself is shown", || {
            Ok(ask("v1.api.example.com", way)? == format!("0 127.0.0.1 {API}"))
        })?;
        assert_eq!(ask(SECRET, way)?, "3 127.0.0.1", "{way}: no such name");
    }
    assert!(!place.dns.has_heard(b"secret"));
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    assert!(!shell.reaches(&Attempt::tcp(DB, 443))?);
    Ok(())
}

/// What is not redirected would get to the server: egress refuses it.
#[test]
fn where_a_hook_is_gone_that_redirects_questions_none_goes_past_the_resolver() -> Tested {
    let place = ResolverScene::new()?;
    let secret = "secret.evil.example";
    let outside = place.outside(&["udp", DNS, secret])?;
    assert_eq!(outside, format!("answered {API}"), "without the guard");
    assert!(place.dns.has_heard(b"secret"));
    place.dns.forget();
    let mut shell = Shell::start(&place.daemon, "names")?;
    let (known, answered) = ("v1.api.example.com", format!("answered {API}"));
    let asks = |shell: &mut Shell, way: &str, name: &str| {
        place.asked(shell, &format!("{way} {DNS} {name}"))
    };
    assert_eq!(asks(&mut shell, "udp", known)?, answered);
    detach(&place.daemon, "sendmsg4");
    eventually("datagrams are not redirected any more", || {
        Ok(asks(&mut shell, "udp", known)? == "EPERM")
    })?;
    assert_eq!(asks(&mut shell, "udp", secret)?, "EPERM");
    // Who connects is judged by another one.
    for way in ["connected", "tcp"] {
        assert_eq!(asks(&mut shell, way, known)?, answered, "{way}");
        assert_eq!(asks(&mut shell, way, secret)?, "NXDOMAIN", "{way}");
    }
    assert!(!place.dns.has_heard(b"secret"));
    eventually("the refusal is written down", || {
        let denied = place.daemon.audited("denied")?;
        Ok(denied.iter().any(|one| {
            let (to, why) = (&one["destination"], one["why"].as_str());
            to["address"] == DNS
                && to["protocol"] == "udp"
                && why.is_some_and(|why| why.contains("past guard's resolver"))
        }))
    })?;
    let status = place.daemon.root(["status", "--json"]).run()?.json()?;
    assert_eq!(status["enforcing"], false, "{status}");
    let problem = status["problem"].text()?;
    assert!(problem.contains("sendmsg4 is not attached"), "{problem}");
    Ok(())
}

#[test]
fn that_a_server_gives_no_answer_is_said() -> Tested {
    let place = ResolverScene::serving(|_, _| Vec::new())?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let name = "v1.api.example.com";
    let said = place.asked(&mut shell, &format!("udp {DNS} {name}"))?;
    assert_eq!(said, "SERVFAIL");
    eventually("it is written down", || {
        let log = place.daemon.root(["log", "--json"]).run()?;
        let records = log.json_lines()?;
        Ok(records.iter().any(|record| {
            let why = record["why"].as_str().unwrap_or_default();
            record["kind"] == "denied"
                && record["destination"]["host"] == name
                && record["destination"]["address"] == DNS
                && record["verdict"] == "failed"
                && why.contains("the server gave no answer")
        }))
    })?;
    // Nothing was denied, and a job that fails on that does not.
    let report = |what| {
        let job = ["report", "--session", shell.session(), "--fail-on", what];
        place.daemon.root(job).run()
    };
    assert_eq!(report("denied")?.code(), Some(0));
    let stopped = report("stopped")?;
    assert_eq!(stopped.code(), Some(1), "{}", stopped.stdout);
    assert!(!stopped.stdout.contains("(default)"), "{}", stopped.stdout);
    let guard = bins::for_everybody("guard", place.daemon.tag())?;
    shell.tell(&format!(
        "{} why --json | tr -d '\n'; echo",
        guard.display()
    ))?;
    let why = shell.line_with(name)?;
    assert!(why.contains("the server gave no answer"), "{why}");
    assert!(why.contains("No rule refuses the name"), "{why}");
    assert!(why.contains("\"failed\""), "{why}");
    Ok(())
}

#[test]
fn the_end_of_a_session_says_how_often_it_was_denied_names() -> Tested {
    let place = ResolverScene::new()?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    for name in ["one", "two"] {
        let question = format!("udp {DNS} {name}.evil.example");
        assert_eq!(place.asked(&mut shell, &question)?, "NXDOMAIN");
    }
    eventually("both are written down", || {
        Ok(place.daemon.audited("denied")?.len() == 2)
    })?;
    shell.tell("exit")?;
    shell.wait()?;
    eventually("it has ended", || {
        Ok(!place.daemon.audited("session-end")?.is_empty())
    })?;
    let ended = place.daemon.audited("session-end")?;
    assert_eq!(ended[0]["denied"], 2, "{ended:?}");
    let report = place.daemon.root(["report"]).run()?.stdout;
    assert!(
        report.starts_with("2 refused, of 2 destinations, in 1 session.\n"),
        "{report}"
    );
    Ok(())
}

/// In suspend the monotonic clock stands still, and boot time goes on: to this guardd and its resolver they are apart.
#[test]
fn what_was_answered_counts_on_a_machine_that_was_suspended() -> Tested {
    let mut place = ResolverScene::new()?;
    let _production = place.production()?;
    place.daemon.stop()?;
    let uptime = std::fs::read_to_string("/proc/uptime")?;
    let uptime: f64 = uptime.split(' ').next().unwrap_or_default().parse()?;
    let slept = format!("-{}", uptime as u64 / 2);
    let mut suspended = Command::new("unshare");
    suspended.args(["--time", "--monotonic", &slept, "--"]);
    // By `exec` alone no program is in it on 6.1, and then makes no threads (`EINVAL`).
    suspended.args(["nsenter", "--time=/proc/self/ns/time_for_children", "--"]);
    let guardd = exec::by(suspended, &place.daemon.guardd()?);
    place.daemon.start_as(guardd)?;
    let mut shell = Shell::start(&place.daemon, "names")?;
    let name = "v1.api.example.com";
    let said = place.asked(&mut shell, &format!("udp {DNS} {name}"))?;
    assert_eq!(said, format!("answered {API}"));
    let resolver = place.resolver().unwrap();
    let offsets = std::fs::read_to_string(format!("/proc/{resolver}/timens_offsets"))?;
    assert!(offsets.contains(&slept), "{offsets}");
    assert!(shell.reaches(&Attempt::tcp(API, 443))?);
    assert!(!shell.reaches(&Attempt::tcp(DB, 443))?);
    let at = format!("{name}:443");
    let explain = ["explain", &at, "--session", shell.session()];
    let known = place.daemon.json(explain)?["addresses"][0].take();
    let until: Timestamp = known["until"].text()?.parse()?;
    // By the record's time, and half as much.
    let counts = Timestamp::now()..Timestamp::now() + SignedDuration::from_mins(5);
    assert!(counts.contains(&until), "{known}");
    Ok(())
}
