//! Addresses that change all the time: whatever a program was told, it reaches at once.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use guard_lab::{Daemon, Running, Tested, patience};

use super::{
    place::{DNS, Place},
    server,
};

/// Asks a server for a name and connects to what it is told, at once, again and again: `SERVER SECONDS COUNT`, whichever comes first.
/// Prints how often it was answered, and what came of the connections.
const CHURNS: &str = r#"
import errno, socket, struct, sys, time
server, seconds, most = sys.argv[1], float(sys.argv[2]), int(sys.argv[3])
labels = b"".join(bytes([len(l)]) + l for l in b"v1.api.example.com".split(b".")) + b"\0"
ends = time.monotonic() + seconds
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((server, 53))
asked = connected = refused = lost = odd = 0
first = ""
while time.monotonic() < ends and asked < most:
    asked += 1
    id = struct.pack(">H", asked & 65535)
    s.send(id + b"\1\0\0\1\0\0\0\0\0\0" + labels + b"\0\x1c\0\1")
    try:
        answer = s.recv(512)
        while answer[:2] != id:
            answer = s.recv(512)
    except TimeoutError:
        lost += 1
        first = first or f"lost the answer {asked}"
        continue
    if answer[3] & 15 or answer[7] != 1:
        odd += 1
        continue
    to = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
    to.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    to.settimeout(10)
    try:
        to.connect((socket.inet_ntop(socket.AF_INET6, answer[-16:]), 443))
        connected += 1
    except OSError as error:
        refused += 1
        at = socket.inet_ntop(socket.AF_INET6, answer[-16:])
        again = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        again = again.connect_ex((at, 443))
        first = first or f"{errno.errorcode.get(error.errno, error)} at {at} after {asked}, then {again}"
    to.close()
print("asked", asked, "connected", connected, "refused", refused, "lost", lost, "odd", odd, first, flush=True)
"#;

/// Accepts whoever comes, and nothing more.
const ACCEPTS: &str = r#"
import socket
s = socket.create_server(("::", 443), family=socket.AF_INET6, backlog=4096)
print("accepts", flush=True)
while True:
    s.accept()[0].close()
"#;

/// Of addresses that nothing else has here.
const FIRST: &str = "2001:db8:7:1::";

/// The address of that number.
pub(crate) fn address(number: u64) -> Ipv6Addr {
    let first: Ipv6Addr = FIRST.parse().unwrap();
    Ipv6Addr::from_bits(first.to_bits() + u128::from(number))
}

pub(crate) struct Churn {
    pub(crate) place: Place,
    server: &'static str,
    program: String,
    _accepts: Running,
}

impl Churn {
    /// One whose name has an address by this number.
    fn new(number: impl Fn() -> u64 + Send + Sync + 'static) -> Tested<Self> {
        let place = Place::serving(move |asked, is_stream| {
            let at = IpAddr::V6(address(number()));
            let records = server::addresses(asked, &server::name_in(asked), &[at], 1);
            server::bytes(&server::answer(asked, records), is_stream)
        })?;
        Self::of(place, DNS)
    }

    /// One that asks that server.
    pub(crate) fn of(place: Place, server: &'static str) -> Tested<Self> {
        let mut accepts = place.network.prod().command("/usr/bin/python3");
        let mut accepts = Running::start(accepts.args(["-c", ACCEPTS]))?;
        accepts.line_with("accepts", guard_lab::PATIENCE)?;
        let program = place.daemon.write_for_agents("churns.py", CHURNS)?;
        Ok(Self {
            place,
            server,
            program: program.display().to_string(),
            _accepts: accepts,
        })
    }

    /// Several sessions at once, and what each said.
    pub(crate) fn run(&self, sessions: usize, time: Duration, count: u64) -> Vec<String> {
        let words = [
            self.server.to_owned(),
            time.as_secs().to_string(),
            count.to_string(),
        ];
        let start = |daemon: &Daemon| {
            let run = daemon.agent([
                "run",
                "--policy",
                "names",
                "--",
                "/usr/bin/python3",
                &self.program,
            ]);
            run.args(words.clone()).spawn().unwrap()
        };
        let mut all: Vec<_> = (0..sessions).map(|_| start(&self.place.daemon)).collect();
        let said = |one: &mut Running| one.line_with("asked", patience(time * 4)).unwrap();
        all.iter_mut().map(said).collect()
    }

    /// How many connections there were, if none of them was refused. Of a hundred questions one may be lost on a busy machine, as
    /// any datagram: programs ask again.
    pub(crate) fn connections(&self, said: &[String]) -> u64 {
        let of = |line: &String| {
            let words: Vec<_> = line.split_whitespace().collect();
            let number = |at: usize| words[at].parse::<u64>().unwrap();
            let (asked, connected, lost) = (number(1), number(3), number(7));
            let is_well = asked == connected + lost && lost <= 1 + asked / 100;
            let log = || self.place.daemon.root(["log"]).run().unwrap().stdout;
            assert!(is_well, "{said:#?}\n{}", log());
            connected
        };
        said.iter().map(of).sum()
    }
}

/// Another address each second, by the clock.
fn each_second() -> impl Fn() -> u64 {
    let begin = Instant::now();
    move || begin.elapsed().as_secs()
}

/// Another one each time.
fn each_time() -> impl Fn() -> u64 {
    let next = AtomicU64::new(0);
    move || next.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn addresses_that_change_each_second_are_reached() -> Tested {
    let churn = Churn::new(each_second())?;
    let said = churn.run(3, Duration::from_secs(20), u64::MAX);
    assert!(churn.connections(&said) > 100, "{said:?}");
    Ok(())
}

#[test]
#[ignore = "it takes ten minutes"]
fn addresses_that_change_each_second_are_reached_for_ten_minutes() -> Tested {
    let churn = Churn::new(each_second())?;
    let said = churn.run(6, Duration::from_secs(600), u64::MAX);
    println!(
        "{} connections, none refused: {said:?}",
        churn.connections(&said)
    );
    Ok(())
}

#[test]
fn addresses_that_nobody_had_before_are_reached_at_once() -> Tested {
    let churn = Churn::new(each_time())?;
    // No more than guardd is told of before it has to hear.
    let said = churn.run(3, Duration::from_secs(15), 300);
    assert!(churn.connections(&said) > 100, "{said:?}");
    Ok(())
}

/// A session may know 16,384 at a time.
#[test]
#[ignore = "it takes ten minutes"]
fn a_million_addresses_are_reached_at_once() -> Tested {
    let churn = Churn::new(each_time())?;
    let mut all = 0;
    while all < 1_000_000 {
        let said = churn.run(4, Duration::from_secs(600), 4000);
        all += churn.connections(&said);
    }
    println!("{all} connections, each to an address that nobody had before, none refused");
    assert!(churn.place.dns.has_heard(b"v1"), "{DNS}");
    Ok(())
}
