//! The server of HTTP measurements: one thread that waits for all connections at once, so that none costs a thread and
//! many at once are no crowd of them.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::fd::OwnedFd;

/// Written at once.
const CHUNK: usize = 128 * 1024;
/// Whoever takes nothing for so long is not waited for: meanwhile nobody else is answered.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The listener's; no connection has it.
const LISTENER: u64 = u64::MAX;

/// Those that there are, by their descriptors.
struct Answering {
    epoll: OwnedFd,
    connections: HashMap<u64, Connection>,
    body: Vec<u8>,
}

struct Connection {
    stream: TcpStream,
    /// Of a head that is not whole.
    input: Vec<u8>,
}

/// Answers requests on all connections until each ends. The path says how many bytes are wanted.
///
/// # Errors
///
/// The system's.
pub(super) fn answer(listener: &TcpListener) -> Result<()> {
    let mut answering = Answering {
        epoll: epoll::create(CreateFlags::CLOEXEC)?,
        connections: HashMap::new(),
        body: vec![0x67; CHUNK],
    };
    let data = EventData::new_u64(LISTENER);
    epoll::add(&answering.epoll, listener, data, EventFlags::IN)?;
    let mut events = Vec::with_capacity(64);
    loop {
        events.clear();
        epoll::wait(&answering.epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => answering.accept(listener)?,
                one => answering.hear(one),
            }
        }
    }
}

impl Answering {
    fn accept(&mut self, listener: &TcpListener) -> Result<()> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        let one = stream.as_raw_fd() as u64;
        epoll::add(
            &self.epoll,
            &stream,
            EventData::new_u64(one),
            EventFlags::IN,
        )?;
        let input = Vec::new();
        self.connections.insert(one, Connection { stream, input });
        Ok(())
    }

    /// Lets go of a connection that has ended, or says what it should not.
    fn hear(&mut self, one: u64) {
        let connection = self.connections.get_mut(&one);
        if connection.is_none_or(|connection| connection.hear(&self.body).is_err()) {
            self.connections.remove(&one);
        }
    }
}

impl Connection {
    /// Reads what has come, and answers what is whole.
    fn hear(&mut self, body: &[u8]) -> Result<()> {
        let mut read = [0; 4096];
        let length = self.stream.read(&mut read)?;
        self.input.extend_from_slice(&read[..length]);
        anyhow::ensure!(length > 0, "it has ended");
        while let Some(end) = end_of_head(&self.input) {
            let bytes = wanted(&self.input[..end])?;
            self.input.drain(..end);
            self.say(body, bytes)?;
        }
        Ok(())
    }

    fn say(&mut self, body: &[u8], bytes: usize) -> Result<()> {
        let mut answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {bytes}\r\n\r\n"
        )
        .into_bytes();
        let first = bytes.min(4096);
        answer.extend_from_slice(&body[..first]);
        self.stream.write_all(&answer)?;
        let mut left = bytes - first;
        while left > 0 {
            let most = left.min(CHUNK);
            self.stream.write_all(&body[..most])?;
            left -= most;
        }
        Ok(())
    }
}

fn end_of_head(input: &[u8]) -> Option<usize> {
    let mut windows = input.windows(4);
    windows
        .position(|four| four == b"\r\n\r\n")
        .map(|at| at + 4)
}

/// From `GET /1024 HTTP/1.1`.
fn wanted(head: &[u8]) -> Result<usize> {
    let head = std::str::from_utf8(head)?;
    let path = head.split_whitespace().nth(1).context("no path")?;
    Ok(path.trim_start_matches('/').parse()?)
}
