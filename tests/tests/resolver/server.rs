//! A name server whose answers are a test's own, word for word.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{Arc, Mutex, Weak},
    thread,
    time::Duration,
};

use guard_lab::{Side, Tested};
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};

/// What is sent for a question, message by message; `is_stream`: by TCP.
type Serving = dyn Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync;

struct Shared {
    serving: Box<Serving>,
    heard: Mutex<Vec<Vec<u8>>>,
}

/// The server, by UDP and TCP, until it is dropped.
pub(crate) struct OwnServer(Arc<Shared>);

impl OwnServer {
    pub(crate) fn start(
        side: &Side,
        at: &str,
        serving: impl Fn(&Message, bool) -> Vec<Vec<u8>> + Send + Sync + 'static,
    ) -> Tested<Self> {
        let at: SocketAddr = at.parse()?;
        let sockets = || Ok((UdpSocket::bind(at)?, TcpListener::bind(at)?));
        let (udp, tcp) = side.enter(sockets)?;
        let shared = Arc::new(Shared {
            serving: Box::new(serving),
            heard: Mutex::default(),
        });
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || by_datagram(&weak, &udp));
        let weak = Arc::downgrade(&shared);
        thread::spawn(move || by_stream(&weak, &tcp));
        Ok(Self(shared))
    }

    /// Whether anything that it heard has these bytes in it.
    pub(crate) fn has_heard(&self, bytes: &[u8]) -> bool {
        let heard = self.0.heard.lock().unwrap();
        let has = |message: &Vec<u8>| message.windows(bytes.len()).any(|part| part == bytes);
        heard.iter().any(has)
    }

    /// What it heard so far counts no more.
    pub(crate) fn forget(&self) {
        self.0.heard.lock().unwrap().clear();
    }

    /// All that it heard.
    pub(crate) fn heard(&self) -> Vec<Vec<u8>> {
        self.0.heard.lock().unwrap().clone()
    }
}

impl Shared {
    fn answers(&self, message: &[u8], is_stream: bool) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().push(message.to_vec());
        match Message::from_vec(message) {
            Ok(asked) => (self.serving)(&asked, is_stream),
            // Whoever sends such a thing waits for something to come back.
            Err(_) => vec![message.to_vec()],
        }
    }
}

fn by_datagram(shared: &Weak<Shared>, socket: &UdpSocket) {
    let turn = Some(Duration::from_millis(200));
    socket.set_read_timeout(turn).unwrap();
    let mut buffer = vec![0; 65536];
    while let Some(shared) = shared.upgrade() {
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            for answer in shared.answers(&buffer[..length], false) {
                let _ = socket.send_to(&answer, from);
            }
        }
    }
}

fn by_stream(shared: &Weak<Shared>, listener: &TcpListener) {
    listener.set_nonblocking(true).unwrap();
    while shared.strong_count() > 0 {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Weak::clone(shared);
                // Whoever asks notices where it ends.
                thread::spawn(move || drop(serve(&shared, stream)));
            }
            Err(_) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

fn serve(shared: &Weak<Shared>, mut stream: TcpStream) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut message = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut message)?;
        let Some(shared) = shared.upgrade() else {
            return Ok(());
        };
        for answer in shared.answers(&message, true) {
            let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
            stream.write_all(&length.to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }
}

/// The name that is asked for, in lower case.
pub(crate) fn name_in(asked: &Message) -> String {
    let name = asked.queries.first().map(|query| query.name.to_ascii());
    name.unwrap_or_default()
        .trim_end_matches('.')
        .to_lowercase()
}

/// An answer with these records; without any, that there is no such name.
pub(crate) fn answer(asked: &Message, records: Vec<Record>) -> Message {
    let mut answer = Message::response(asked.metadata.id, asked.metadata.op_code);
    answer.metadata.recursion_desired = true;
    answer.metadata.recursion_available = true;
    if records.is_empty() {
        answer.metadata.response_code = ResponseCode::NXDomain;
    }
    answer.add_queries(asked.queries.clone());
    records.into_iter().for_each(|record| {
        answer.add_answer(record);
    });
    answer
}

/// An answer with many addresses of IPv6, each as short as it can be: by name, type, class, time, length and data.
pub(crate) fn many(asked: &Message, all: &[IpAddr], is_stream: bool) -> Vec<Vec<u8>> {
    let mut empty = answer(asked, Vec::new());
    empty.metadata.response_code = ResponseCode::NoError;
    let is_it = asked
        .queries
        .first()
        .is_some_and(|query| query.query_type == RecordType::AAAA);
    let all = if is_it { all } else { &[] };
    let mut whole = empty.to_vec().unwrap();
    let count = u16::try_from(all.len()).unwrap();
    whole[6..8].copy_from_slice(&count.to_be_bytes());
    for address in all {
        let IpAddr::V6(address) = address else {
            panic!("{address} is not of IPv6");
        };
        whole.extend(b"\xc0\x0c\0\x1c\0\x01\0\0\0\x3c\0\x10");
        whole.extend(address.octets());
    }
    cut(&empty, whole, is_stream)
}

/// The same in bytes, of which only a part fits into a datagram.
pub(crate) fn bytes(answer: &Message, is_stream: bool) -> Vec<Vec<u8>> {
    cut(answer, answer.to_vec().unwrap(), is_stream)
}

fn cut(answer: &Message, whole: Vec<u8>, is_stream: bool) -> Vec<Vec<u8>> {
    if is_stream || whole.len() <= 1232 {
        return vec![whole];
    }
    let mut part = Message::response(answer.metadata.id, answer.metadata.op_code);
    part.metadata.truncation = true;
    part.add_queries(answer.queries.clone());
    vec![part.to_vec().unwrap()]
}

/// Records of the kind that is asked for, at most.
pub(crate) fn addresses(asked: &Message, owner: &str, all: &[IpAddr], ttl: u32) -> Vec<Record> {
    let kind = asked.queries.first().map(|query| query.query_type);
    let data = all.iter().map(|address| match address {
        IpAddr::V4(v4) => RData::A((*v4).into()),
        IpAddr::V6(v6) => RData::AAAA((*v6).into()),
    });
    let of_kind = data.filter(|data| Some(data.record_type()) == kind);
    of_kind
        .map(|data| Record::from_rdata(absolute(owner), ttl, data))
        .collect()
}

pub(crate) fn alias(owner: &str, target: &str, ttl: u32) -> Record {
    let to = RData::CNAME(CNAME(absolute(target)));
    Record::from_rdata(absolute(owner), ttl, to)
}

/// Of labels of whatever bytes: a way may have asked for odd ones.
fn absolute(name: &str) -> Name {
    let labels = name.split('.').filter(|label| !label.is_empty());
    Name::from_labels(labels.map(str::as_bytes)).unwrap()
}
