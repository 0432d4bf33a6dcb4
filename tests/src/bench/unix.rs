//! Unix sockets: a server and its clients in one process, as in a session.

use std::fs;
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;
use std::time::Instant;

use anyhow::Result;
use serde_json::{Value, json};

use super::median;

/// `count` connections to a server of its own: what the middle one took, in nanoseconds, with its closing.
pub(super) fn often(count: u64) -> Result<Value> {
    let name = format!("guard-bench-{}.sock", std::process::id());
    let path = std::env::temp_dir().join(name);
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(&path)?;
    let server = thread::spawn(move || (0..count).try_for_each(|_| listener.accept().map(drop)));
    let mut took = Vec::with_capacity(count as usize);
    let connected = (0..count).try_for_each(|_| {
        let start = Instant::now();
        drop(UnixStream::connect(&path)?);
        took.push(start.elapsed().as_nanos() as u64);
        Ok::<_, std::io::Error>(())
    });
    let removed = fs::remove_file(&path);
    connected?;
    removed?;
    let _ = server.join();
    Ok(json!({"ns": median(&mut took)}))
}
