//! A name server in production, for `guard-lab bench`.

use std::net::UdpSocket;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::Result;
use guard_lab::Network;
use rustix::net::sockopt;

use super::prefixes::Prefixes;

pub(super) const DNS: &str = "192.0.2.53:53";
/// How long a server of a machine thinks, beside what a question takes by itself.
const THINKS: Duration = Duration::from_micros(40);
/// How far away another one is.
const AWAY: Duration = Duration::from_millis(1);
/// Room for what many ask at once, in bytes: none of them asks again.
const UNREAD: usize = 4 << 20;

/// What it answers depends on how a name begins: `v` and a number for so many addresses, `s` for one after a while, `t` for one
/// that takes longer, and any other for one. Of IPv4 there is one address, of IPv6 there are always others.
pub(super) struct NameServer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl NameServer {
    pub(super) fn start(network: &Network) -> Result<Self> {
        let socket = network.prod().enter(|| Ok(UdpSocket::bind(DNS)?))?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        sockopt::set_socket_recv_buffer_size_force(&socket, UNREAD)?;
        let ends: Arc<AtomicBool> = Arc::default();
        let end = Arc::clone(&ends);
        let thread = thread::spawn(move || serve(&socket, &end));
        Ok(Self {
            ends,
            thread: Some(thread),
        })
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        // It has nothing to say.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, ends: &AtomicBool) {
    let mut buffer = [0; 512];
    let mut next = 1_u32;
    while !ends.load(Ordering::Relaxed) {
        if let Ok((length, from)) = socket.recv_from(&mut buffer)
            && let Some(answer) = answer(&buffer[..length], &mut next)
        {
            // Whoever asked may be gone.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// Waits as the first label says, and tells how many addresses it asks for.
fn think(label: &[u8]) -> Option<u16> {
    let (kind, number) = label.split_first()?;
    match kind {
        b'v' => return std::str::from_utf8(number).ok()?.parse().ok(),
        // A sleep would be longer.
        b's' => {
            let begin = Instant::now();
            while begin.elapsed() < THINKS {}
        }
        b't' => thread::sleep(AWAY),
        _ => {}
    }
    Some(1)
}

/// An answer to a question of `guard-lab bench`: what is behind the name is OPT, or nothing.
fn answer(asked: &[u8], next: &mut u32) -> Option<Vec<u8>> {
    const HEADER: usize = 12;
    let mut name = HEADER;
    while let length @ 1.. = usize::from(*asked.get(name)?) {
        name += 1 + length;
    }
    let section = asked.get(HEADER..name + 5)?;
    let kind = *asked.get(name + 2)?;
    let count = think(asked.get(HEADER + 1..=HEADER + usize::from(section[0]))?)?;
    let [high, low] = count.to_be_bytes();
    let mut answer = asked.get(..2)?.to_vec();
    answer.extend([0x81, 0x80, 0, 1, high, low, 0, 0, 0, 0]);
    answer.extend(section);
    for _ in 0..count {
        answer.extend([0xc0, 12, 0, kind, 0, 1, 0, 0, 0, 60, 0]);
        if kind == 28 {
            answer.push(16);
            answer.extend([0x20, 1, 0x0d, 0xb8, 0, 7, 0, 0, 0, 0, 0, 0]);
            answer.extend(next.to_be_bytes());
            *next += 1;
        } else {
            answer.push(4);
            answer.extend(Prefixes::TEN.one(0, 1).first().octets());
        }
    }
    Some(answer)
}
