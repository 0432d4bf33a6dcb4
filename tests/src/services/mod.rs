//! Services of a desktop and of a system, on a bus of the lab's own. They do what their input says, and tell what they
//! are asked as JSON lines.

mod authority;
mod desktop;

use std::io::{BufRead as _, Write as _};
use std::thread;

use anyhow::{Context as _, Result};
use serde_json::Value;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A notification server, until its input ends.
///
/// # Errors
///
/// That there is no session bus, or somebody else has its name.
pub fn desktop(args: impl Iterator<Item = String>) -> Result<()> {
    let args: Vec<_> = args.collect();
    run(desktop::serve(&args, input()))
}

/// polkit's authority, until its input ends.
///
/// # Errors
///
/// That there is no system bus, or somebody else has its name.
pub fn authority() -> Result<()> {
    run(authority::serve(input()))
}

fn run(service: impl Future<Output = Result<()>>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = runtime.context("no runtime")?;
    let served = runtime.block_on(service);
    runtime.shutdown_background();
    served
}

/// The lines of standard input.
fn input() -> UnboundedReceiver<String> {
    let (lines, received) = unbounded_channel();
    thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    received
}

fn tell(what: &Value) {
    let mut out = std::io::stdout().lock();
    // Where nobody reads, nobody asks either.
    let _ = writeln!(out, "{what}").and_then(|()| out.flush());
}
