//! TCP: an echo, and HTTP/1 where the client speaks it.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use rustls::{ServerConnection, StreamOwned};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::tls::Identity;
use super::{record, say};

pub(super) fn start(port: u16, identity: Option<&Identity>) -> Result<()> {
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ];
    for address in addresses {
        let listener = listen(address).with_context(|| format!("cannot listen at {address}"))?;
        let identity = identity.cloned();
        thread::spawn(move || accept(&listener, identity.as_ref()));
    }
    Ok(())
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(4096)?;
    Ok(socket.into())
}

fn accept(listener: &TcpListener, identity: Option<&Identity>) {
    for stream in listener.incoming().flatten() {
        let identity = identity.cloned();
        // A client that is gone again is not worth a word: its packets were seen.
        thread::spawn(move || answer(stream, identity));
    }
}

fn answer(stream: TcpStream, identity: Option<Identity>) -> io::Result<()> {
    /// Content type of a client's first record (RFC 8446 5.1).
    const HANDSHAKE: u8 = 22;
    let (from, to) = (stream.peer_addr()?, stream.local_addr()?);
    say(&record("tcp", from, to));
    let mut first = [0];
    match (stream.peek(&mut first)?, first, identity) {
        (1, [HANDSHAKE], Some(identity)) => {
            let secured = ServerConnection::new(identity).map_err(io::Error::other)?;
            http(BufReader::new(StreamOwned::new(secured, stream)), from, to)
        }
        _ => in_the_clear(stream, from, to),
    }
}

fn in_the_clear(stream: TcpStream, from: SocketAddr, to: SocketAddr) -> io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    if is_http(input.fill_buf()?) {
        return http(input, from, to);
    }
    echo(&mut input, &stream)
}

fn echo(input: &mut BufReader<TcpStream>, mut stream: &TcpStream) -> io::Result<()> {
    loop {
        let data = input.fill_buf()?;
        if data.is_empty() {
            return Ok(());
        }
        stream.write_all(data)?;
        let length = data.len();
        input.consume(length);
    }
}

fn is_http(start: &[u8]) -> bool {
    let method = start.split(|byte| *byte == b' ').next().unwrap_or_default();
    method.len() < start.len() && method.iter().all(u8::is_ascii_uppercase) && method.len() > 2
}

/// Reads requests and answers each with what it was, until the client has enough.
fn http<S: Read + Write>(
    mut input: BufReader<S>,
    from: SocketAddr,
    to: SocketAddr,
) -> io::Result<()> {
    loop {
        let mut line = String::new();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let body = read_body(&mut input)?;
        let mut seen = record("http", from, to);
        seen["method"] = method.into();
        seen["path"] = path.into();
        seen["body"] = String::from_utf8_lossy(&body).into();
        say(&seen);
        let answer = json!({"served_by": "production", "method": method, "path": path});
        let answer = format!("{answer}\n");
        write!(
            input.get_mut(),
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
        input.get_mut().flush()?;
    }
}

/// Reads the header's rest and as much of a body as it announces.
fn read_body(input: &mut impl BufRead) -> io::Result<Vec<u8>> {
    /// More than any test sends.
    const LIMIT: usize = 1 << 20;
    let mut length = 0;
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 && line != "\r\n" {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length.min(LIMIT)];
    input.read_exact(&mut body)?;
    Ok(body)
}
