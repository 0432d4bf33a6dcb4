//! The program itself, as guardd starts it: as nobody, with the kernel's maps. Needs root, for a kernel makes maps for nobody
//! else.

use std::{
    error::Error,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd as _, OwnedFd},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use guard_common::{
    BootTime, NameId, Named, NamedKey, NetnsCookie, Origin, OriginKey, PolicyId, QueueKey, Reason,
    SessionId,
};
use guard_proto::names::{FromResolver, Names, NetworkId, Pattern, ToResolver, VERSION};
use guard_sys::{
    bpf::{MapLayout, NamedMap, create_map, lookup_all, update_batch},
    packets::{self, Packet},
};
use zerocopy::IntoBytes as _;

type Outcome = Result<(), Box<dyn Error>>;

const HASH: u32 = 1;
const LRU_HASH: u32 = 9;
const COOKIE: NetnsCookie = NetnsCookie(5);
const SESSION: SessionId = SessionId(7);
const SLOT: PolicyId = PolicyId(3);

/// Ends it where a test fails.
struct Resolver(Child);

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn map(kind: u32, key: usize, value: usize) -> io::Result<OwnedFd> {
    let layout = MapLayout {
        kind,
        key_size: key as u32,
        value_size: value as u32,
        max_entries: 16,
        flags: 0,
    };
    create_map("guard_test", layout)
}

fn say(to: &OwnedFd, what: &ToResolver, descriptors: &[&OwnedFd]) -> Outcome {
    let descriptors: Vec<_> = descriptors.iter().map(|fd| fd.as_fd()).collect();
    packets::send(to.as_fd(), &serde_json::to_vec(what)?, &descriptors)?;
    Ok(())
}

fn hear(from: &OwnedFd) -> Result<FromResolver, Box<dyn Error>> {
    let Packet { bytes, .. } = packets::receive(from.as_fd())?.ok_or("it has ended")?;
    Ok(serde_json::from_slice(&bytes)?)
}

/// The question for the address of `a.example.com`.
fn question() -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(b"\x01a\x07example\x03com\0\0\x01\0\x01");
    message
}

/// Answers one question with 192.0.2.1.
fn serve(server: &UdpSocket) -> io::Result<()> {
    let mut buffer = [0; 512];
    let (length, peer) = server.recv_from(&mut buffer)?;
    let mut answer = buffer[..length].to_vec();
    (answer[2], answer[7]) = (0x81, 1);
    answer.extend(b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01");
    server.send_to(&answer, peer).map(drop)
}

#[test]
fn without_any_right_it_answers_and_has_the_kernel_know_first() -> Outcome {
    let origins = map(LRU_HASH, size_of::<OriginKey>(), size_of::<Origin>())?;
    let questions = map(LRU_HASH, size_of::<OriginKey>(), size_of::<Origin>())?;
    let named = map(HASH, size_of::<NamedKey>(), size_of::<Named>())?;
    let drained = map(LRU_HASH, size_of::<QueueKey>(), size_of::<u64>())?;
    let flags = rustix::net::SocketFlags::CLOEXEC;
    let (family, kind) = (
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::SEQPACKET,
    );
    let (guardd, theirs) = rustix::net::socketpair(family, kind, flags, None)?;
    let child = Command::new(env!("CARGO_BIN_EXE_guard-resolver"))
        .args(["--fd", "0", "--user", "nobody"])
        .stdin(Stdio::from(theirs))
        .spawn()?;
    let _resolver = Resolver(child);
    let version = VERSION.to_owned();
    let hello = ToResolver::Hello {
        version,
        least: None,
    };
    say(&guardd, &hello, &[&origins, &questions, &named, &drained])?;
    assert!(matches!(hear(&guardd)?, FromResolver::Hello { version } if version == VERSION));

    let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let resolver = udp.local_addr()?;
    let listen = ToResolver::Listen {
        network: NetworkId(0),
        cookie: COOKIE.0,
        ipv6: false,
        is_roots: true,
    };
    say(&guardd, &listen, &[&udp.into(), &tcp.into()])?;
    let policy = ToResolver::Policy {
        slot: SLOT.0,
        names: Names::Rules,
        patterns: vec![Pattern {
            pattern: "*.example.com".to_owned(),
            denied: false,
        }],
        silent: false,
        without_ech: false,
    };
    say(&guardd, &policy, &[])?;
    let server = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    let addresses = vec![IpAddr::V4(Ipv4Addr::LOCALHOST)];
    say(
        &guardd,
        &ToResolver::Servers {
            addresses,
            search: Vec::new(),
            links: Vec::new(),
        },
        &[],
    )?;
    // The last that it waits for.
    let session = ToResolver::Session {
        session: SESSION.0,
        account: SESSION.0,
        policies: vec![SLOT.0],
        opened: Vec::new(),
    };
    say(&guardd, &session, &[])?;

    let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    client.set_read_timeout(Some(Duration::from_secs(60)))?;
    let key = OriginKey::between(COOKIE, client.local_addr()?, resolver);
    note_origin(&questions, key, server.local_addr()?)?;
    let serving = thread::spawn(move || serve(&server));
    // What guardd says is heard in order, and beside what programs ask: until it is, they are sent away.
    let answered = loop {
        client.send_to(&question(), resolver)?;
        let mut buffer = [0; 512];
        let length = client.recv(&mut buffer)?;
        if buffer[3] & 0xf == 0 {
            break buffer[..length].to_vec();
        }
    };
    assert_eq!(answered[..2], [0x12, 0x34]);
    assert!(answered.ends_with(&[192, 0, 2, 1]));
    serving.join().map_err(|_| "the server has failed")??;
    let key = NamedKey::new(SESSION, SLOT, Ipv4Addr::new(192, 0, 2, 1).into());
    let known = NamedMap::new(named)?.get(&key)?.ok_or("nothing is known")?;
    assert_eq!(known.patterns[0].pattern, NameId::of("*.example.com"));
    let (queues, _) = lookup_all(drained.as_fd())?;
    let queue = QueueKey::new(COOKIE, &Ipv4Addr::LOCALHOST.into());
    assert_eq!(queues, queue.as_bytes());
    let learned = hear(&guardd)?;
    assert!(
        matches!(learned, FromResolver::Learned { ttl: 60, .. }),
        "{learned:?}"
    );
    Ok(())
}

/// That the client's datagrams were going to the server.
fn note_origin(questions: &OwnedFd, key: OriginKey, server: SocketAddr) -> io::Result<()> {
    let (to, port) = (server.ip().into(), server.port());
    let origin = Origin::new(Reason::QUESTION, BootTime(1), SESSION, 1, to, port);
    let (key, value) = (key.as_bytes(), origin.as_bytes());
    update_batch(questions.as_fd(), key, value, key.len(), value.len())
}
