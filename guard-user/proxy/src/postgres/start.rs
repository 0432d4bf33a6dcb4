//! The start of a connection: in the clear or in TLS, and the login.

use std::{collections::HashSet, io, rc::Rc, time::Duration};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use super::{
    super::{
        client::ConnectionContext,
        stream::Stream,
        tls::{Greeting, HANDSHAKE, Speaks, Tls},
        upstream::Upstream,
    },
    asking::Login,
    frame::invalid,
    judge,
    parts::MAX_NAME,
    refusal::Refusal,
    replication,
};

/// The longest start-up packet, in bytes (`MAX_STARTUP_PACKET_LENGTH` in PostgreSQL's libpq/pqcomm.h), less what is added to
/// it.
const MAX_PACKET: usize = 10_000 - 100;
/// How long a client may send nothing.
const SILENCE: Duration = Duration::from_secs(60);
/// In the place of a version (PostgreSQL's documentation, 55.7).
const CANCEL: u32 = 80_877_102;
const SSL: u32 = 80_877_103;
const GSS: u32 = 80_877_104;
/// The major version that is spoken.
const MAJOR: u32 = 3;
/// How long a server may take to answer whether it speaks TLS.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Both ends of a connection, and the client's start-up packet.
pub(super) struct StartedConnection {
    pub(super) client: Stream,
    pub(super) server: Stream,
    pub(super) login: Login,
    /// Whether it is to be a replication connection.
    pub(super) replicates: bool,
    /// The start-up packet, for the server.
    pub(super) packet: Bytes,
}

/// Why a connection does not begin.
pub(super) enum Unstarted {
    /// The client gets an error.
    Refused(Box<Stream>, Refusal),
    /// The client has gone, or was served already.
    Ended,
    /// The packet is invalid.
    Broken(String),
    /// There is no server, or none that is trusted. The client gets an error if it speaks already.
    Unreachable(Option<Box<Stream>>, String),
}

impl From<io::Error> for Unstarted {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData => Self::Broken(error.to_string()),
            _ => Self::Ended,
        }
    }
}

/// Both ends, before the login.
struct Ends {
    client: Stream,
    server: Option<Stream>,
    /// Why there is no server.
    problem: Option<String>,
}

/// Reads a client's first packets, and connects to its server.
///
/// # Errors
///
/// Why it does not begin.
pub(super) async fn start(
    context: &mut ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    upstream: &Upstream,
) -> Result<StartedConnection, Unstarted> {
    let starting = Box::pin(begin(context, tls, stream, upstream));
    match tokio::time::timeout(SILENCE, starting).await {
        Ok(started) => started,
        Err(_) => Err(Unstarted::Broken("the client says nothing".to_owned())),
    }
}

async fn begin(
    context: &mut ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    upstream: &Upstream,
) -> Result<StartedConnection, Unstarted> {
    let mut ends = open(context, tls, stream, upstream).await?;
    let packet = match ends.packet().await? {
        Some(packet) => packet,
        None => return Err(Unstarted::Ended),
    };
    let Some(server) = ends.server.take() else {
        let why = ends.problem.unwrap_or_default();
        return Err(Unstarted::Unreachable(Some(ends.client.into()), why));
    };
    match code(&packet) {
        CANCEL => {
            let (mut client, mut server) = (ends.client, server);
            context.across.withdraw(context.target, packet.slice(8..));
            server.write_all(&packet).await?;
            server.flush().await?;
            // The server closes when it has cancelled, and the client waits for that.
            let _ = server.read(&mut [0]).await;
            let _ = client.shutdown().await;
            Err(Unstarted::Ended)
        }
        version if version >> 16 == MAJOR => login(ends.client, server, &packet),
        _ => Err(Unstarted::Broken(
            "the client speaks no version that is known".to_owned(),
        )),
    }
}

/// In the clear or in TLS, as the client asks and the server agrees.
async fn open(
    context: &mut ConnectionContext,
    tls: Rc<Tls>,
    mut stream: TcpStream,
    upstream: &Upstream,
) -> Result<Ends, Unstarted> {
    loop {
        let mut first = [0];
        if stream.peek(&mut first).await? == 0 {
            return Err(Unstarted::Ended);
        }
        if first == [HANDSHAKE] {
            return secured(context, tls, stream, upstream).await;
        }
        let mut ahead = [0; 8];
        if stream.peek(&mut ahead).await? < ahead.len() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        match (length(&ahead), code(&ahead)) {
            // Nothing may follow it in the clear: it would pass for data that TLS protects.
            (8, GSS) => {
                stream.read_exact(&mut ahead).await?;
                stream.write_all(b"N").await?;
            }
            (8, SSL) => {
                stream.read_exact(&mut ahead).await?;
                match asks_for_tls(upstream).await {
                    Ok(Some(server)) => {
                        stream.write_all(b"S").await?;
                        return within(context, tls, stream, server).await;
                    }
                    Ok(None) => stream.write_all(b"N").await?,
                    Err(why) => {
                        stream.write_all(b"N").await?;
                        return Ok(Ends::none(Stream::Plain(stream), why));
                    }
                }
            }
            _ => {
                let client = Stream::Plain(stream);
                return Ok(match upstream.stream().await {
                    Ok(server) => Ends::both(client, Stream::Plain(server)),
                    Err(why) => Ends::none(client, why.to_string()),
                });
            }
        }
    }
}

/// TLS from the first byte on.
async fn secured(
    context: &mut ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    upstream: &Upstream,
) -> Result<Ends, Unstarted> {
    match asks_for_tls(upstream).await {
        Ok(Some(server)) => within(context, tls, stream, server).await,
        Ok(None) => Err(Unstarted::Broken(
            "the client speaks TLS, and the server does not".to_owned(),
        )),
        Err(why) => Err(Unstarted::Unreachable(None, why)),
    }
}

async fn within(
    context: &mut ConnectionContext,
    tls: Rc<Tls>,
    stream: TcpStream,
    server: TcpStream,
) -> Result<Ends, Unstarted> {
    let greeting = Greeting::hear(tls, stream, context.target.address, Speaks::Postgres).await;
    let greeting = greeting.map_err(Unstarted::Broken)?;
    context.secure = Some(Rc::clone(&greeting.secure));
    let held = greeting.secure.hold(context).await;
    held.map_err(|_| Unstarted::Ended)?;
    let server = greeting.secure.dial(server).await;
    // Also if the server cannot be trusted: the client gets that as an error.
    let client = greeting.answer().await.map_err(Unstarted::Broken)?;
    Ok(match server {
        Ok(server) => Ends::both(client, server),
        Err(why) => Ends::none(client, why),
    })
}

/// Asks the server for TLS. Returns the connection if it agrees; else the connection stays for the clear.
async fn asks_for_tls(upstream: &Upstream) -> Result<Option<TcpStream>, String> {
    let mut server = upstream.stream().await.map_err(|why| why.to_string())?;
    let asked = async {
        server.write_all(&request(SSL)).await?;
        server.read_u8().await
    };
    match tokio::time::timeout(TIMEOUT, asked).await {
        Ok(Ok(b'S')) => Ok(Some(server)),
        Ok(Ok(b'N')) => {
            upstream.give_back(server);
            Ok(None)
        }
        Ok(Ok(_)) => Err("it does not answer as a PostgreSQL server does".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("it does not answer in time".to_owned()),
    }
}

fn request(code: u32) -> [u8; 8] {
    let mut request = [0, 0, 0, 8, 0, 0, 0, 0];
    request[4..].copy_from_slice(&code.to_be_bytes());
    request
}

fn word(packet: &[u8], at: usize) -> u32 {
    let bytes = packet
        .get(at..at + 4)
        .and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_be_bytes)
}

fn length(packet: &[u8]) -> u32 {
    word(packet, 0)
}

fn code(packet: &[u8]) -> u32 {
    word(packet, 4)
}

impl Ends {
    fn both(client: Stream, server: Stream) -> Self {
        Self {
            client,
            server: Some(server),
            problem: None,
        }
    }

    fn none(client: Stream, problem: String) -> Self {
        Self {
            client,
            server: None,
            problem: Some(problem),
        }
    }

    /// The start-up packet; none at the end. Nothing beyond it is read.
    async fn packet(&mut self) -> io::Result<Option<Bytes>> {
        let mut length = [0; 4];
        match self.client.read_exact(&mut length).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        };
        let bytes = usize::try_from(u32::from_be_bytes(length)).unwrap_or(0);
        if !(8..=MAX_PACKET).contains(&bytes) {
            return Err(invalid("what the client begins with is no start-up packet"));
        }
        let mut packet = vec![0; bytes];
        packet[..4].copy_from_slice(&length);
        self.client.read_exact(&mut packet[4..]).await?;
        Ok(Some(packet.into()))
    }
}

/// The user, the database and the settings of the client; with the setting that holds it to reading.
fn login(client: Stream, server: Stream, packet: &Bytes) -> Result<StartedConnection, Unstarted> {
    let pairs = pairs(packet)?;
    let value = |name: &str| {
        let found = pairs.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.clone())
    };
    let user = value("user").unwrap_or_default();
    let database = value("database").filter(|name| !name.is_empty());
    if [&user, database.as_ref().unwrap_or(&user)]
        .iter()
        .any(|name| name.len() > MAX_NAME)
    {
        return Err(Unstarted::Broken(
            "a name is longer than a server reads".to_owned(),
        ));
    }
    let login = Login {
        database: database.unwrap_or_else(|| user.clone()),
        user,
        server: None,
    };
    for (name, value) in &pairs {
        let judged = if name.starts_with("_pq_.") {
            Err(format!(
                "{name} changes the protocol in a way that is not known"
            ))
        } else {
            judge::startup(name, value)
        };
        if let Err(why) = judged {
            let refusal = Refusal::startup(&why);
            return Err(Unstarted::Refused(client.into(), refusal));
        }
    }
    Ok(StartedConnection {
        client,
        server,
        login,
        replicates: replication::is_wanted(&pairs),
        packet: locked(packet),
    })
}

/// The parameters of a start-up packet.
fn pairs(packet: &Bytes) -> Result<Vec<(String, String)>, Unstarted> {
    let broken = || Unstarted::Broken("a start-up packet is not what the protocol has".to_owned());
    let body = packet[8..].strip_suffix(&[0]).ok_or_else(broken)?;
    let body = match body {
        [] => return Ok(Vec::new()),
        body => body.strip_suffix(&[0]).ok_or_else(broken)?,
    };
    let words: Result<Vec<_>, _> = body
        .split(|byte| *byte == 0)
        .map(std::str::from_utf8)
        .collect();
    let words = words.map_err(|_| broken())?;
    // An empty name would be the end, to a server.
    if words.len() % 2 != 0 || words.iter().step_by(2).any(|name| name.is_empty()) {
        return Err(broken());
    }
    let names: HashSet<_> = words.iter().step_by(2).collect();
    // Of two equal names a server takes the last, and others take the first.
    if names.len() * 2 != words.len() {
        return Err(broken());
    }
    let pair = |pair: &[&str]| (pair[0].to_owned(), pair[1].to_owned());
    Ok(words.chunks_exact(2).map(pair).collect())
}

/// The packet with two more settings, to which `RESET` and `DISCARD` go back: the lock, and what the parser relies on.
fn locked(packet: &Bytes) -> Bytes {
    let setting = b"default_transaction_read_only\0on\0standard_conforming_strings\0on\0\0";
    let body = &packet[4..packet.len() - 1];
    let mut locked = BytesMut::new();
    // Both parts are short.
    locked.put_u32(u32::try_from(4 + body.len() + setting.len()).unwrap_or(u32::MAX));
    locked.extend_from_slice(body);
    locked.extend_from_slice(setting);
    locked.freeze()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(body: &[u8]) -> Bytes {
        let length = u32::try_from(body.len() + 8).unwrap();
        let version = 196_608_u32;
        let head = [length.to_be_bytes(), version.to_be_bytes()].concat();
        [&head, body].concat().into()
    }

    fn read(body: &[u8]) -> Option<Vec<(String, String)>> {
        pairs(&packet(body)).ok()
    }

    #[test]
    fn parameters_come_in_pairs_and_end() {
        assert_eq!(read(b"\0"), Some(Vec::new()));
        let user = Some(vec![("user".to_owned(), "app".to_owned())]);
        assert_eq!(read(b"user\0app\0\0"), user);
        for body in [
            &b""[..],
            b"user\0app",
            b"user\0app\0",
            b"user\0\0",
            b"user\0app\0\0options\0-c x=y\0\0",
            b"\0app\0\0",
            b"user\0\xff\0\0",
            b"user\0test\0user\0app\0\0",
        ] {
            assert_eq!(read(body), None, "{body:?}");
        }
        let empty = Some(vec![("user".to_owned(), String::new())]);
        assert_eq!(read(b"user\0\0\0"), empty);
    }

    #[test]
    fn the_lock_comes_last() {
        let locked = locked(&packet(b"user\0app\0\0"));
        assert_eq!(usize::try_from(length(&locked)).unwrap(), locked.len());
        let read = pairs(&locked).ok().unwrap();
        let names: Vec<_> = read.iter().map(|(name, _)| name.as_str()).collect();
        let expected = [
            "user",
            "default_transaction_read_only",
            "standard_conforming_strings",
        ];
        assert_eq!(names, expected);
    }

    proptest! {
        /// A server reads pairs up to an empty name; nothing may follow that.
        #[test]
        fn any_bytes_are_parameters_as_a_server_reads_them_or_none(body in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..40)) {
            if let Some(ours) = read(&body) {
                let mut words = body.split(|byte| *byte == 0);
                let mut theirs = Vec::new();
                while let Some(name) = words.next().filter(|name| !name.is_empty()) {
                    let value = words.next().unwrap();
                    theirs.push((String::from_utf8_lossy(name).into_owned(), String::from_utf8_lossy(value).into_owned()));
                }
                let names: HashSet<_> = theirs.iter().map(|(name, _)| name.clone()).collect();
                prop_assert_eq!(names.len(), theirs.len());
                prop_assert_eq!(ours, theirs);
                prop_assert_eq!(words.collect::<Vec<_>>(), [b""]);
            }
        }
    }
}
