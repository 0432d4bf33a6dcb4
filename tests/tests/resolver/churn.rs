//! Addresses that change all the time: whatever a program was told, it reaches at once.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use guard_lab::{Daemon, Running, Tested, patience};
use hickory_proto::op::Message;

use super::{
    place::{DNS, POLICY, ResolverScene},
    server,
};
use crate::names::scene::with_resolvers;

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

/// As [`CHURNS`] of a name with several addresses, each of which it connects a UDP socket to, the last first: `SERVER SECONDS COUNT
/// NEVER`. The kernel half judges that as it judges TCP's `connect`, and nothing has to be there. Where guard has no room for more
/// addresses (SERVFAIL), it waits until others' have ended. Says what `connect` says of an address that it was never told, too.
const CONNECTS: &str = r#"
import errno, socket, struct, sys, time
server, seconds, most, never = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
labels = b"".join(bytes([len(l)]) + l for l in b"v1.api.example.com".split(b".")) + b"\0"
ends = time.monotonic() + seconds
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(5)
s.connect((server, 53))
to = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)

def connects(at):
    try:
        to.connect((at, 443))
        return "connected"
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error))

def addresses(answer):
    at, found = 12 + len(labels) + 4, []
    for _ in range(struct.unpack(">H", answer[6:8])[0]):
        while answer[at] and answer[at] < 192:
            at += answer[at] + 1
        at += 2 if answer[at] >= 192 else 1
        size = struct.unpack(">H", answer[at + 8:at + 10])[0]
        found.append(socket.inet_ntop(socket.AF_INET6, answer[at + 10:at + 10 + size]))
        at += 10 + size
    return found

asked = connected = refused = lost = odd = full = 0
first = ""
never = connects(never)
while time.monotonic() < ends and connected + refused < most:
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
    if answer[3] & 15 == 2:
        full += 1
        time.sleep(0.2)
        continue
    told = [] if answer[3] & 15 else addresses(answer)
    odd += not told
    for at in reversed(told):
        came = connects(at)
        if came == "connected":
            connected += 1
        else:
            refused += 1
            first = first or f"{came} at {at} after {asked}, then {connects(at)}"
print("asked", asked, "connected", connected, "refused", refused, "lost", lost, "odd", odd, "full", full, "never", never, first, flush=True)
"#;

/// Of addresses that nothing else has here.
const FIRST: &str = "2001:db8:7:1::";

/// The address of that number.
pub(crate) fn address(number: u64) -> Ipv6Addr {
    let first: Ipv6Addr = FIRST.parse().unwrap();
    Ipv6Addr::from_bits(first.to_bits() + u128::from(number))
}

pub(crate) struct Churn {
    pub(crate) place: ResolverScene,
    server: &'static str,
    program: String,
    _accepts: Running,
}

impl Churn {
    /// One whose name has an address by this number.
    fn new(number: impl Fn() -> u64 + Send + Sync + 'static) -> Tested<Self> {
        let place = ResolverScene::serving(move |asked, is_stream| {
            let at = IpAddr::V6(address(number()));
            let records = server::addresses(asked, &server::name_in(asked), &[at], 1);
            server::bytes(&server::answer(asked, records), is_stream)
        })?;
        Self::of(place, DNS)
    }

    /// One that asks that server.
    pub(crate) fn of(place: ResolverScene, server: &'static str) -> Tested<Self> {
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
            self.program.clone(),
            self.server.to_owned(),
            time.as_secs().to_string(),
            count.to_string(),
        ];
        said_by(&self.place.daemon, ("names", &words), sessions, time)
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

/// What each of several sessions says at once, under a policy, that runs a program so, which ends after that time.
fn said_by(
    daemon: &Daemon,
    (policy, words): (&str, &[String]),
    sessions: usize,
    time: Duration,
) -> Vec<String> {
    let start = || {
        let run = daemon.agent(["run", "--policy", policy, "--", "/usr/bin/python3"]);
        run.args(words.to_vec()).spawn().unwrap()
    };
    let mut all: Vec<_> = (0..sessions).map(|_| start()).collect();
    let said = |one: &mut Running| one.line_with("asked", patience(time * 4)).unwrap();
    all.iter_mut().map(said).collect()
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

/// Addresses of one answer among a million.
const EACH: u64 = 8;
/// How many of a million each session goes to: of 16,384 that it may know at a time, almost all.
const SHARE: u64 = 16_000;

/// Answers with addresses that nobody had before.
fn eight_each_time() -> impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync {
    let next = AtomicU64::new(0);
    move |asked, is_stream| {
        let first = next.fetch_add(EACH, Ordering::Relaxed);
        let all: Vec<_> = (first..first + EACH).map(address).map(IpAddr::V6).collect();
        let records = server::addresses(asked, &server::name_in(asked), &all, 1);
        server::bytes(&server::answer(asked, records), is_stream)
    }
}

/// The word behind one in what a session says.
fn behind<'l>(line: &'l str, word: &str) -> &'l str {
    let mut words = line.split_whitespace().skip_while(|one| *one != word);
    words.nth(1).unwrap_or_default()
}

/// By one answer with eight for eight of them: guardd is told of each answer. Of all sessions that live, or have ended within a minute,
/// the kernel has room for 196,608.
#[test]
#[ignore = "it takes ten minutes"]
fn a_million_addresses_are_reached_at_once() -> Tested {
    let by_datagrams = POLICY.replace("tcp/443", "udp/443");
    assert_ne!(by_datagrams, POLICY);
    let by_datagrams = with_resolvers(&by_datagrams);
    let place = ResolverScene::build(eight_each_time(), |daemon| {
        daemon.policy("datagrams", &by_datagrams)
    })?;
    let program = place.daemon.write_for_agents("connects.py", CONNECTS)?;
    let time = Duration::from_secs(600);
    let words = [
        program.display().to_string(),
        DNS.to_owned(),
        time.as_secs().to_string(),
        SHARE.to_string(),
        address(u64::MAX).to_string(),
    ];
    let begin = Instant::now();
    let mut all = 0;
    while all < 1_000_000 {
        let said = said_by(&place.daemon, ("datagrams", &words), 4, time);
        for line in &said {
            let number = |word| behind(line, word).parse::<u64>().unwrap();
            assert_eq!(behind(line, "never"), "EPERM", "{said:#?}");
            let none = ["refused", "odd"].map(number);
            let is_well = none == [0, 0] && number("lost") <= 1 + number("asked") / 100;
            assert!(is_well && number("connected") > 0, "{said:#?}");
            all += number("connected");
        }
        eprintln!("{all} after {:?}: {said:#?}", begin.elapsed());
    }
    println!("{all} connections, each to an address that nobody had before, none refused");
    assert!(place.dns.has_heard(b"v1"), "{DNS}");
    Ok(())
}
