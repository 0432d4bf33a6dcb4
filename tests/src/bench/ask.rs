//! Questions to a name server.

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::{Value, json};

use super::{Pool, monotonic};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The same of one that is asked once more: what a resolver had not read when it ended is lost.
const SHORT_TIMEOUT: Duration = Duration::from_millis(50);
/// After that a session may send more.
const PAUSE: Duration = Duration::from_millis(1);
/// Questions under way at once, of those that do not wait for each other.
const AT_ONCE: u64 = 32;

/// Names below one that [`each`] asks for: no more are new to the guard in a minute.
const IN_A_ZONE: u64 = 64;

/// The name that is asked for where an order has none, below [`ZONE`].
pub(super) const USUAL: &str = "v1";
const ZONE: &str = "bench.example.com";

/// For an address of that family of a name below [`ZONE`], with room for many.
fn question(id: u16, name: &str, is_v6: bool) -> Vec<u8> {
    let [high, low] = id.to_be_bytes();
    let mut message = vec![high, low, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in name.split('.').chain(ZONE.split('.')) {
        message.push(label.len() as u8);
        message.extend(label.bytes());
    }
    message.extend([0, 0, if is_v6 { 28 } else { 1 }]);
    message.extend(b"\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\0");
    message
}

fn socket(to: &Pool) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(("0.0.0.0", 0))?;
    socket.set_read_timeout(Some(TIMEOUT))?;
    socket.connect(to.address(0))?;
    Ok(socket)
}

/// One question, and its answer.
fn exchange(socket: &UdpSocket, id: u16, name: &str, is_v6: bool) -> io::Result<()> {
    socket.send(&question(id, name, is_v6))?;
    let mut answer = [0; 4096];
    loop {
        let length = socket.recv(&mut answer)?;
        if length > 12 && answer[..2] == id.to_be_bytes() {
            return match answer[3] & 15 {
                0 => Ok(()),
                code => Err(io::Error::other(format!("the answer is code {code}"))),
            };
        }
    }
}

/// The same, and once more in a moment where the session has sent as many as it may: what that one took.
fn exchange_in_turn(socket: &UdpSocket, id: u16, name: &str, is_v6: bool) -> io::Result<Duration> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        let start = Instant::now();
        match exchange(socket, id, name, is_v6) {
            Err(error) if error.kind() == ErrorKind::PermissionDenied && start < deadline => {
                thread::sleep(PAUSE);
            }
            done => return done.map(|()| start.elapsed()),
        }
    }
}

/// `count` questions one after the other: what the middle one took, and the one that is slower than 99 of 100, in nanoseconds.
pub(super) fn often(to: &Pool, count: u64, name: &str, is_v6: bool) -> Result<Value> {
    let socket = socket(to)?;
    let mut took = Vec::with_capacity(count as usize);
    for turn in 0..count {
        let one = exchange_in_turn(&socket, turn as u16, name, is_v6)?;
        took.push(one.as_nanos() as u64);
    }
    took.sort_unstable();
    let at = |part: usize| {
        took.get(took.len() * part / 100)
            .copied()
            .unwrap_or_default()
    };
    Ok(json!({"ns": at(50), "p99": at(99)}))
}

/// One question for each of `count` names, `n0.z000` and so on: how many there were.
pub(super) fn each(to: &Pool, count: u64) -> Result<Value> {
    let socket = socket(to)?;
    for turn in 0..count {
        let name = format!("n{}.z{:03}", turn % IN_A_ZONE, turn / IN_A_ZONE);
        exchange_in_turn(&socket, turn as u16, &name, true)?;
    }
    Ok(json!({"asked": count}))
}

/// `count` questions, some of them at once: how many are answered in a second.
pub(super) fn at_once(to: &Pool, count: u64) -> Result<Value> {
    let socket = socket(to)?;
    let start = Instant::now();
    let (mut asked, mut answered) = (0, 0);
    let mut answer = [0; 4096];
    while answered < count {
        while asked < count && asked - answered < AT_ONCE {
            match socket.send(&question(asked as u16, USUAL, false)) {
                Ok(_) => asked += 1,
                // More in a moment than a session may.
                Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                    thread::sleep(PAUSE);
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        if asked > answered {
            socket.recv(&mut answer)?;
            answered += 1;
        }
    }
    Ok(json!({"a_second": count as f64 / start.elapsed().as_secs_f64()}))
}

/// Sends questions as fast as it can, and hears no answer: how many were sent, and how many were not.
pub(super) fn flood(to: &Pool, time: Duration) -> Result<Value> {
    let socket = socket(to)?;
    let (start, mut sent, mut refused) = (Instant::now(), 0_u64, 0_u64);
    while start.elapsed() < time {
        match socket.send(&question(sent as u16, USUAL, false)) {
            Ok(_) => sent += 1,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => refused += 1,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(json!({"sent": sent, "refused": refused}))
}

/// Asks until that is answered: when it was.
pub(super) fn until(to: &Pool, patience: Duration) -> Result<Value> {
    let deadline = Instant::now() + patience;
    let once = || {
        let socket = socket(to)?;
        socket.set_read_timeout(Some(SHORT_TIMEOUT))?;
        exchange(&socket, 1, USUAL, false)
    };
    while once().is_err() {
        if Instant::now() > deadline {
            bail!("nobody answers");
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok(json!({"at": monotonic()}))
}
