//! HTTP/1.1: requests that read.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::{Pool, median};

/// Bytes of an answer where it is not about them.
const SMALL: usize = 1024;
const CHUNK: usize = 128 * 1024;

/// How long an answer's next byte may take.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The way to a server: straight, or by a proxy that has to be told where to.
#[derive(Debug, Default)]
pub struct Way {
    proxy: Option<SocketAddr>,
    /// A line of its own, where there is one.
    authorization: String,
}

impl Way {
    /// By a proxy, with what it wants to see in `Proxy-Authorization`.
    #[must_use]
    pub fn by(proxy: SocketAddr, authorization: Option<&str>) -> Self {
        let line = |value| format!("Proxy-Authorization: {value}\r\n");
        Self {
            proxy: Some(proxy),
            authorization: authorization.map(line).unwrap_or_default(),
        }
    }

    fn connect(&self, to: SocketAddr) -> io::Result<Connection> {
        let stream = TcpStream::connect(self.proxy.unwrap_or(to))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let origin = self.proxy.map(|_| format!("http://{to}"));
        Ok(Connection {
            stream: BufReader::with_capacity(CHUNK, stream),
            target: origin.unwrap_or_default(),
            headers: format!("Host: {to}\r\nAccept: */*\r\n{}", self.authorization),
        })
    }
}

/// A connection that is kept.
struct Connection {
    stream: BufReader<TcpStream>,
    /// What stands before each path.
    target: String,
    headers: String,
}

impl Connection {
    /// Asks for so many bytes, and reads them.
    fn get(&mut self, bytes: usize) -> Result<()> {
        self.ask(bytes)?;
        self.read(bytes)
    }

    fn ask(&mut self, bytes: usize) -> io::Result<()> {
        let (target, headers) = (&self.target, &self.headers);
        let head = format!("GET {target}/{bytes} HTTP/1.1\r\n{headers}\r\n");
        self.stream.get_mut().write_all(head.as_bytes())
    }

    fn read(&mut self, bytes: usize) -> Result<()> {
        let mut left = answered(&mut self.stream)?;
        ensure!(left == bytes, "{left} bytes instead of {bytes}");
        while left > 0 {
            let got = self.stream.fill_buf()?.len().min(left);
            ensure!(got > 0, "the answer breaks off");
            self.stream.consume(got);
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
pub(super) fn kept(way: &Way, pool: &Pool, count: u64) -> Result<Value> {
    let mut connection = way.connect(pool.address(0))?;
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
pub(super) fn fresh(way: &Way, pool: &Pool, count: u64) -> Result<Value> {
    let mut took = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let start = Instant::now();
        way.connect(pool.address(turn))?.get(SMALL)?;
        took.push(start.elapsed().as_nanos() as u64);
    }
    Ok(json!({"ns": median(&mut took)}))
}

/// One answer of so many bytes; in bytes a second.
pub(super) fn download(way: &Way, pool: &Pool, bytes: u64) -> Result<Value> {
    let mut connection = way.connect(pool.address(0))?;
    let start = Instant::now();
    connection.get(bytes as usize)?;
    Ok(json!({"bytes_a_second": bytes as f64 / start.elapsed().as_secs_f64()}))
}

/// `count` connections at once: all are made, then all ask, then all are answered. What all of it took, in nanoseconds.
pub(super) fn at_once(way: &Way, pool: &Pool, count: u64) -> Result<Value> {
    let start = Instant::now();
    let connecting = (0..count).map(|turn| way.connect(pool.address(turn)));
    let mut all = connecting.collect::<io::Result<Vec<_>>>()?;
    for connection in &mut all {
        connection.ask(SMALL)?;
    }
    for connection in &mut all {
        connection.read(SMALL)?;
    }
    Ok(json!({"ns": start.elapsed().as_nanos() as u64}))
}

/// `count` connections that have asked for something and are kept; they are closed with the next ones.
#[derive(Default)]
pub(super) struct Idle(Vec<Connection>);

impl Idle {
    pub(super) fn open(&mut self, way: &Way, pool: &Pool, count: u64) -> Result<Value> {
        self.0.clear();
        for turn in 0..count {
            let mut connection = way.connect(pool.address(turn))?;
            connection.get(SMALL)?;
            self.0.push(connection);
        }
        Ok(json!({"open": count}))
    }
}
