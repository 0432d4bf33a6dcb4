//! TCP: an echo, and HTTP/1 where the client speaks it.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{record, say};

pub(super) fn start(port: u16) -> Result<()> {
    let addresses: [SocketAddr; 2] = [
        (Ipv4Addr::UNSPECIFIED, port).into(),
        (Ipv6Addr::UNSPECIFIED, port).into(),
    ];
    for address in addresses {
        let listener = listen(address).with_context(|| format!("cannot listen at {address}"))?;
        thread::spawn(move || accept(&listener));
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

fn accept(listener: &TcpListener) {
    for stream in listener.incoming().flatten() {
        // A client that is gone again is not worth a word: its packets were seen.
        thread::spawn(move || answer(stream));
    }
}

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let (from, to) = (stream.peer_addr()?, stream.local_addr()?);
    say(&record("tcp", from, to));
    let mut input = BufReader::new(stream.try_clone()?);
    if is_http(input.fill_buf()?) {
        return http(&mut input, &mut stream, from, to);
    }
    echo(&mut input, &mut stream)
}

fn echo(input: &mut BufReader<TcpStream>, stream: &mut TcpStream) -> io::Result<()> {
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
fn http(
    input: &mut BufReader<TcpStream>,
    stream: &mut TcpStream,
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
        let body = read_body(input)?;
        let mut seen = record("http", from, to);
        seen["method"] = method.into();
        seen["path"] = path.into();
        seen["body"] = String::from_utf8_lossy(&body).into();
        say(&seen);
        let answer = json!({"served_by": "production", "method": method, "path": path});
        let answer = format!("{answer}\n");
        write!(
            stream,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{answer}",
            answer.len()
        )?;
    }
}

/// Reads the header's rest and as much of a body as it announces.
fn read_body(input: &mut BufReader<TcpStream>) -> io::Result<Vec<u8>> {
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
