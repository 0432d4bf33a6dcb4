//! A listener that connects outwards while it still answers somebody.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use socket2::{Domain, Socket, Type};

use super::{Failure, Outcome, Step as _, Target, errno, say};

/// Threads of each kind: more would only wait for each other.
const PAIRS: usize = 2;
/// How many connections of a thread wait at once.
const WAITING: usize = 4000;
/// For how long each of them may: for its first SYN, and the next, which TCP sends half a second later
/// (`TCP_RESOURCE_PROBE_INTERVAL`).
const EACH: Duration = Duration::from_millis(700);
/// The longest that a listener is left alone, in turns of an empty loop: about as long as the kernel takes to answer.
const LONGEST_SPIN: u32 = 1024;

/// What came of many tries.
#[derive(Default)]
struct Sum {
    tries: u64,
    connected: u64,
    /// What was refused at once, and how.
    refused: BTreeMap<String, u64>,
}

/// Tries for OTHER seconds (5), in several threads, and says how often.
pub(super) fn connect_listeners(target: &Target) -> anyhow::Result<Outcome> {
    let seconds = target.other.as_deref().unwrap_or("5");
    let seconds: u64 = seconds
        .parse()
        .with_context(|| format!("{seconds} is no number"))?;
    let end = Instant::now() + Duration::from_secs(seconds);
    let outcome = try_all(target, end);
    Ok(outcome.and_then(|sum| {
        say(&json!({"tries": sum.tries, "connected": sum.connected, "refused": sum.refused}));
        match sum.connected {
            0 => Err(io::ErrorKind::TimedOut).step("connect"),
            _ => Ok("connected".to_owned()),
        }
    }))
}

fn try_all(target: &Target, end: Instant) -> Result<Sum, Failure> {
    let most = (PAIRS * (WAITING + 100)) as u64;
    let limit = Rlimit {
        current: Some(most),
        ..getrlimit(Resource::Nofile)
    };
    setrlimit(Resource::Nofile, limit).step("limit")?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..PAIRS)
            .map(|seed| {
                scope.spawn(move || {
                    let port = AtomicU16::new(0);
                    thread::scope(|scope| {
                        scope.spawn(|| knock(&port, end));
                        turn_often(target, &port, end, seed as u32)
                    })
                })
            })
            .collect();
        let mut sum = Sum::default();
        for worker in workers {
            let one = worker
                .join()
                .map_err(|_| io::Error::other("a thread panicked"))
                .step("try")??;
            sum.tries += one.tries;
            sum.connected += one.connected;
            for (error, count) in one.refused {
                *sum.refused.entry(error).or_default() += count;
            }
        }
        Ok(sum)
    })
}

/// Connects to the program that listens there now, again and again.
fn knock(port: &AtomicU16, end: Instant) {
    while Instant::now() < end {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, port.load(Ordering::Acquire)));
        // It may be gone already: that it is answered late is what this is for.
        let _ = Socket::new(Domain::IPV4, Type::STREAM, None).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.set_linger(Some(Duration::ZERO))?;
            socket.connect(&at.into())
        });
    }
}

/// Again and again listens for a moment, then connects the same socket to the target.
fn turn_often(target: &Target, port: &AtomicU16, end: Instant, seed: u32) -> Result<Sum, Failure> {
    let mut sum = Sum::default();
    let mut waiting = VecDeque::new();
    let mut random = seed * 2 + 1;
    while Instant::now() < end {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let socket = listen_for_a_while(port, (random >> 16) % LONGEST_SPIN)?;
        sum.tries += 1;
        match socket.connect(&target.address()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => {
                *sum.refused.entry(errno::of(&error)).or_default() += 1;
            }
            _ => waiting.push_back((Instant::now(), socket)),
        }
        if waiting.len() == WAITING {
            sum.connected += u64::from(waiting.pop_front().is_some_and(came_through));
        }
    }
    let others = waiting.into_iter().map(came_through);
    sum.connected += others.map(u64::from).sum::<u64>();
    Ok(sum)
}

/// A socket that has listened.
fn listen_for_a_while(port: &AtomicU16, spin: u32) -> Result<Socket, Failure> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).step("socket")?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    socket.bind(&any.into()).step("bind")?;
    socket.listen(16).step("listen")?;
    let at = socket.local_addr().step("listen")?.as_socket();
    port.store(at.map_or(0, |at| at.port()), Ordering::Release);
    (0..spin).for_each(|_| std::hint::spin_loop());
    socket.shutdown(std::net::Shutdown::Both).step("shutdown")?;
    socket.set_nonblocking(true).step("shutdown")?;
    Ok(socket)
}

/// Whether a connection that was begun then was answered in time.
fn came_through((begun, socket): (Instant, Socket)) -> bool {
    thread::sleep(EACH.saturating_sub(begun.elapsed()));
    socket.peer_addr().is_ok()
}
