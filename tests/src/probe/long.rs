//! Attempts that go on for a while.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde_json::json;

use super::{Outcome, Step as _, Target, errno, say, tcp};

/// Between two attempts, of which one may have waited for an answer that did not come.
const LONGEST_PAUSE: Duration = Duration::from_millis(20);
/// How often a byte is sent.
const PACE: Duration = Duration::from_millis(50);

/// Says of each byte that came back, until the connection is cut or this process killed.
pub(super) fn hold_open(target: &Target) -> Outcome {
    let mut socket = tcp::open(target)?;
    let mut byte = [b'.'];
    for count in 1.. {
        socket.write_all(&byte).step("send")?;
        socket.read_exact(&mut byte).step("receive")?;
        say(&json!({"echo": count}));
        thread::sleep(PACE);
    }
    Ok("counted to the end".to_owned())
}

/// Opens connections as fast as it can, and sums up what came of them.
pub(super) fn connect_often(target: &Target) -> anyhow::Result<Outcome> {
    let count = target.other.as_deref().unwrap_or("100");
    let count: u64 = count
        .parse()
        .with_context(|| format!("{count} is no number"))?;
    let mut errors = BTreeMap::<String, u64>::new();
    let mut last = None;
    for _ in 0..count {
        if let Err(failure) = tcp::open(target) {
            *errors.entry(errno::of(&failure.error)).or_default() += 1;
            last = Some(failure);
        }
    }
    let failed: u64 = errors.values().sum();
    say(&json!({"connected": count - failed, "errors": errors}));
    Ok(match last {
        Some(failure) => Err(failure),
        None => Ok(format!("connected {count} times")),
    })
}

/// Opens connections for as long as it lives. It leaves the CPU to others for nine tenths of the time, where that is not
/// long: a lower priority would not, where each cgroup has its share.
pub(super) fn keep_connecting(target: &Target) -> ! {
    loop {
        let begun = Instant::now();
        // Whoever is reached counts.
        let _ = tcp::open(target);
        thread::sleep((begun.elapsed() * 9).min(LONGEST_PAUSE));
    }
}

/// Waits for one client, however long that takes.
pub(super) fn listen(target: &Target) -> Outcome {
    let listener = TcpListener::bind(target.to).step("bind")?;
    let port = listener.local_addr().step("bind")?.port();
    say(&json!({"listening": port}));
    let (mut client, _) = listener.accept().step("accept")?;
    let mut output = client.try_clone().step("accept")?;
    let echoed = std::io::copy(&mut client, &mut output).step("echo")?;
    Ok(format!("echoed {echoed} bytes"))
}
