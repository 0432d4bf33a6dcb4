//! A name server that says what a test wants.

use std::collections::{HashMap, HashSet};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};
use std::sync::{Arc, Mutex, Weak};
use std::thread;
use std::time::Duration;

use guard_lab::{Side, Tested};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record};

#[derive(Default)]
struct Zone {
    addresses: HashMap<String, Vec<IpAddr>>,
    aliases: HashMap<String, String>,
    is_dead: bool,
    asked: HashSet<String>,
}

/// The server, on the loopback of a machine. Its answers hold for a second.
pub(crate) struct NameServer {
    zone: Arc<Mutex<Zone>>,
    at: SocketAddr,
}

impl NameServer {
    pub(crate) fn start(side: &Side) -> Tested<Self> {
        Self::start_at(side, "127.0.0.1:0")
    }

    /// The same at an address of its choice, also by TCP.
    pub(crate) fn start_at(side: &Side, at: &str) -> Tested<Self> {
        let socket = side.enter(|| Ok(UdpSocket::bind(at)?))?;
        socket.set_read_timeout(Some(Duration::from_secs(1)))?;
        let server = Self {
            at: socket.local_addr()?,
            zone: Arc::default(),
        };
        let listener = side.enter(|| Ok(TcpListener::bind(server.at)?))?;
        listener.set_nonblocking(true)?;
        let zone = Arc::downgrade(&server.zone);
        thread::spawn(move || by_tcp(&zone, &listener));
        let zone = Arc::downgrade(&server.zone);
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            // Until the test is done with it.
            while let Some(zone) = zone.upgrade() {
                let Ok((length, from)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let mut zone = zone.lock().unwrap();
                let Some(asked) = Message::from_vec(&buffer[..length]).ok() else {
                    continue;
                };
                zone.asked.extend(asked.queries.iter().map(name_in));
                if let Some(answer) = answer(&zone, &asked) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Ok(server)
    }

    pub(crate) fn at(&self) -> SocketAddr {
        self.at
    }

    /// From now on a name stands for these; for none, it does not exist.
    pub(crate) fn set(&self, name: &str, addresses: &[&str]) {
        let addresses: Vec<_> = addresses.iter().map(|one| one.parse().unwrap()).collect();
        let mut zone = self.zone.lock().unwrap();
        if addresses.is_empty() {
            zone.addresses.remove(name)
        } else {
            zone.addresses.insert(name.to_owned(), addresses)
        };
    }

    /// A name is another's alias.
    pub(crate) fn alias(&self, name: &str, of: &str) {
        let mut zone = self.zone.lock().unwrap();
        zone.aliases.insert(name.to_owned(), of.to_owned());
    }

    /// Whether it was asked about a name that begins so.
    pub(crate) fn was_asked(&self, begin: &str) -> bool {
        let zone = self.zone.lock().unwrap();
        zone.asked.iter().any(|name| name.starts_with(begin))
    }

    /// It answers nobody, or does again.
    pub(crate) fn set_dead(&self, is_dead: bool) {
        self.zone.lock().unwrap().is_dead = is_dead;
    }
}

/// Answers one question on each connection, until the test is done with it.
fn by_tcp(zone: &Weak<Mutex<Zone>>, listener: &TcpListener) {
    while let Some(zone) = zone.upgrade() {
        let Ok((mut stream, _)) = listener.accept() else {
            drop(zone);
            thread::sleep(Duration::from_millis(10));
            continue;
        };
        let mut answered = || -> std::io::Result<()> {
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut asked = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut asked)?;
            let mut zone = zone.lock().unwrap();
            let asked = Message::from_vec(&asked).map_err(std::io::Error::other)?;
            zone.asked.extend(asked.queries.iter().map(name_in));
            if let Some(answer) = answer(&zone, &asked) {
                let length = u16::try_from(answer.len()).map_err(std::io::Error::other)?;
                stream.write_all(&length.to_be_bytes())?;
                stream.write_all(&answer)?;
            }
            Ok(())
        };
        // Whoever asks notices.
        let _ = answered();
    }
}

fn answer(zone: &Zone, asked: &Message) -> Option<Vec<u8>> {
    let query = asked.queries.first().filter(|_| !zone.is_dead)?.clone();
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    answer.add_query(query.clone());
    let mut name = name_in(&query);
    while let Some(target) = zone.aliases.get(&name) {
        let to = RData::CNAME(CNAME(absolute(target)));
        answer.add_answer(Record::from_rdata(absolute(&name), 1, to));
        name.clone_from(target);
    }
    match zone.addresses.get(&name) {
        None => answer.metadata.response_code = ResponseCode::NXDomain,
        Some(addresses) => {
            let records = addresses.iter().map(|address| match address {
                IpAddr::V4(v4) => RData::A((*v4).into()),
                IpAddr::V6(v6) => RData::AAAA((*v6).into()),
            });
            let of_kind = |data: &RData| data.record_type() == query.query_type;
            for data in records.filter(of_kind) {
                answer.add_answer(Record::from_rdata(absolute(&name), 1, data));
            }
        }
    }
    answer.to_vec().ok()
}

fn name_in(query: &Query) -> String {
    query.name.to_ascii().trim_end_matches('.').to_lowercase()
}

fn absolute(name: &str) -> Name {
    Name::from_ascii(format!("{name}.")).unwrap()
}
