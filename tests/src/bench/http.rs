//! HTTP/1.1: requests that read, and what answers them.

use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Pool, median};

/// What the other side answers a request for any other path with, in bytes.
const SMALL: usize = 1024;
const CHUNK: usize = 128 * 1024;

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    buffer: Vec<u8>,
}

impl Connection {
    fn new(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::with_capacity(CHUNK, stream),
            buffer: vec![0; CHUNK],
        })
    }

    /// Asks for so many bytes, and reads them.
    fn get(&mut self, bytes: usize) -> Result<()> {
        let head = format!("GET /{bytes} HTTP/1.1\r\nHost: bench\r\nAccept: */*\r\n\r\n");
        self.stream.get_mut().write_all(head.as_bytes())?;
        let mut left = answered(&mut self.stream)?;
        ensure!(left == bytes, "{left} bytes instead of {bytes}");
        while left > 0 {
            let most = left.min(CHUNK);
            let got = self.stream.read(&mut self.buffer[..most])?;
            ensure!(got > 0, "the answer breaks off");
            left -= got;
        }
        Ok(())
    }
}

/// Reads the head of an answer; gives the length of its body.
fn answered(stream: &mut BufReader<TcpStream>) -> Result<usize> {
    let (mut line, mut length, mut first) = (String::new(), None, true);
    loop {
        line.clear();
        ensure!(stream.read_line(&mut line)? > 0, "no answer");
        ensure!(!first || line.starts_with("HTTP/1.1 200 "), "{line}");
        first = false;
        if line == "\r\n" {
            return length.context("an answer without a length");
        }
        let value = line
            .split_once(':')
            .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"));
        if let Some((_, value)) = value {
            length = Some(value.trim().parse()?);
        }
    }
}

/// `count` requests over one connection: how many a second, and what the slowest in a hundred took, in nanoseconds.
pub(super) fn kept(pool: &Pool, count: u64) -> Result<Value> {
    let mut connection = Connection::new(pool.address(0))?;
    connection.get(SMALL)?;
    let mut took = Vec::with_capacity(count as usize);
    let start = Instant::now();
    for _ in 0..count {
        let before = Instant::now();
        connection.get(SMALL)?;
        took.push(before.elapsed().as_nanos() as u64);
    }
    let a_second = count as f64 / start.elapsed().as_secs_f64();
    took.sort_unstable();
    Ok(json!({"a_second": a_second, "p99_ns": took[took.len() * 99 / 100]}))
}

/// `count` connections with one request each: what the middle one took, in nanoseconds, with its making and closing.
pub(super) fn fresh(pool: &Pool, count: u64) -> Result<Value> {
    let mut took = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let start = Instant::now();
        Connection::new(pool.address(turn))?.get(SMALL)?;
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": median(&mut took)}))
}

/// One answer of so many bytes; in bytes a second.
pub(super) fn download(pool: &Pool, bytes: u64) -> Result<Value> {
    let mut connection = Connection::new(pool.address(0))?;
    let start = Instant::now();
    connection.get(bytes as usize)?;
    Ok(json!({"bytes_a_second": bytes as f64 / start.elapsed().as_secs_f64()}))
}

/// `count` connections that have asked for something and are kept; they are closed with the next ones.
#[derive(Default)]
pub(super) struct Idle(Vec<Connection>);

impl Idle {
    pub(super) fn open(&mut self, pool: &Pool, count: u64) -> Result<Value> {
        self.0.clear();
        for turn in 0..count {
            let mut connection = Connection::new(pool.address(turn))?;
            connection.get(SMALL)?;
            self.0.push(connection);
        }
        Ok(json!({"open": count}))
    }
}

/// Answers requests on a connection until it ends. The path says how many bytes are wanted.
pub(super) fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    // A connection that is kept may be idle for as long as it likes.
    stream.set_read_timeout(None)?;
    let body = vec![0x67; CHUNK];
    let mut input = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if input.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split_whitespace().nth(1).unwrap_or_default();
        let bytes: usize = path.trim_start_matches('/').parse().unwrap_or(SMALL);
        while line != "\r\n" {
            line.clear();
            input.read_line(&mut line)?;
        }
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
        );
        let first = bytes.min(SMALL);
        let mut answer = head.into_bytes();
        answer.extend_from_slice(&body[..first]);
        input.get_mut().write_all(&answer)?;
        let mut left = bytes - first;
        while left > 0 {
            let most = left.min(CHUNK);
            input.get_mut().write_all(&body[..most])?;
            left -= most;
        }
    }
}
