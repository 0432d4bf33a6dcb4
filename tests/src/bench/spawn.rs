//! Starting a program, and waiting for its end.

use std::process::{Command, Output, Stdio};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

/// What each of `count` runs took, in nanoseconds.
pub(super) fn often(argv: &Value, count: u64) -> Result<Value> {
    let mut command = command(argv)?;
    let mut took = Vec::new();
    for _ in 0..count {
        let start = Instant::now();
        let output = command.output()?;
        took.push(start.elapsed().as_nanos() as u64);
        check(&command, &output)?;
    }
    Ok(json!({"ns": took}))
}

/// What a program prints that measures by itself.
pub(super) fn read(argv: &Value) -> Result<Value> {
    let mut command = command(argv)?;
    let output = command.output()?;
    check(&command, &output)?;
    Ok(json!({"text": String::from_utf8_lossy(&output.stdout)}))
}

fn command(argv: &Value) -> Result<Command> {
    let words: Vec<_> = argv.as_array().into_iter().flatten().collect();
    let mut words = words.iter().filter_map(|word| word.as_str());
    let mut command = Command::new(words.next().context("argv is missing")?);
    command.args(words).stdin(Stdio::null());
    Ok(command)
}

fn check(command: &Command, output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {said}");
    Ok(())
}
