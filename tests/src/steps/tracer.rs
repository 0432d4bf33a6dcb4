//! `guard-lab steps`: runs a command, says which steps it makes, and kills it after one of them.

use std::collections::HashMap;
use std::io::{self, BufRead as _, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;

use anyhow::{Context as _, Result, bail};
use libc::pid_t;
use rustix::process::{Pid, Signal, kill_process};

use super::kind::{self, Step};
use crate::sys::trace::{self, Call, Stop};

/// What the input has asked for.
#[derive(Default)]
struct Orders {
    /// Steps are counted and told.
    tells: AtomicBool,
    /// After how many steps from now it is killed; never below 1.
    kill_after: AtomicI64,
    /// What it tells others counts as well.
    words: bool,
}

/// Runs a command to its end, and does what its input says meanwhile: `tell` has it print each step from now on,
/// `kill N` print them and kill the command after the Nth, `end` send it SIGTERM, `hup` SIGHUP.
///
/// # Errors
///
/// That it cannot be traced.
pub fn steps(args: impl Iterator<Item = String>) -> Result<()> {
    let given: Vec<_> = args.collect();
    let (words, args) = match given.first().map(String::as_str) {
        Some("--words") => (true, &given[1..]),
        _ => (false, &given[..]),
    };
    let (first, args) = match args {
        [kill, count, args @ ..] if kill == "--kill" => (count.parse()?, args),
        args => (-1, args),
    };
    let (program, args) = args.split_first().context("which command?")?;
    let orders = Arc::new(Orders {
        tells: AtomicBool::new(first >= 0),
        kill_after: AtomicI64::new(first),
        words,
    });
    // What is printed here is the steps.
    let mut command = Command::new(program);
    command.args(args).stdout(Stdio::null());
    let child = trace::spawn(&mut command).with_context(|| format!("cannot trace {program}"))?;
    let pid = child.id() as pid_t;
    let heard = Arc::clone(&orders);
    thread::spawn(move || obey(pid, &heard));
    let code = follow(pid, &orders)?;
    say(&format!("ended {code}"));
    Ok(())
}

/// Takes orders until there are no more.
fn obey(pid: pid_t, orders: &Orders) {
    for line in io::stdin().lock().lines().map_while(io::Result::ok) {
        let process = Pid::from_raw(pid);
        let signal = |signal| process.map(|pid| kill_process(pid, signal));
        match line.split_once(' ') {
            Some(("kill", count)) => {
                let count = count.parse().unwrap_or(1);
                orders.kill_after.store(count, Ordering::SeqCst);
                orders.tells.store(true, Ordering::SeqCst);
                say("armed");
            }
            _ if line == "tell" => {
                orders.tells.store(true, Ordering::SeqCst);
                say("armed");
            }
            // It may have ended by itself.
            _ if line == "hup" => drop(signal(Signal::HUP)),
            _ => drop(signal(Signal::TERM)),
        }
    }
    // Whoever gave orders is gone.
    let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
}

fn follow(pid: pid_t, orders: &Orders) -> Result<i32> {
    let mut known = HashMap::new();
    let mut count = 0;
    loop {
        let (thread, stop) = trace::wait()?;
        let is_new = !known.contains_key(&thread);
        let signal = match stop {
            Stop::Gone(code) if thread == pid => return Ok(code),
            Stop::Gone(_) => {
                known.remove(&thread);
                continue;
            }
            Stop::Call => {
                if let Some(step) = at_call(pid, thread, &mut known, orders) {
                    count += 1;
                    say(&format!("step {count} {} {}", step.kind, step.on));
                    if orders.kill_after.fetch_sub(1, Ordering::SeqCst) == 1 {
                        kill(pid)?;
                    }
                }
                0
            }
            // The first stop of all: that it was started. Then those of new threads.
            Stop::Signal(_) if is_new && thread == pid => {
                trace::set_options(pid)?;
                0
            }
            Stop::Signal(libc::SIGSTOP) if is_new => 0,
            Stop::Event => 0,
            Stop::Signal(signal) => signal,
        };
        known.entry(thread).or_default();
        // It may have been killed where it stood.
        let _ = trace::go_on(thread, signal);
    }
}

/// What a thread was about to do when it last stopped.
type Known = HashMap<pid_t, Option<Step>>;

/// The step that a thread has just made.
fn at_call(pid: pid_t, thread: pid_t, known: &mut Known, orders: &Orders) -> Option<Step> {
    let about = known.entry(thread).or_default();
    match trace::call(thread).ok()?? {
        Call::Entry { number, args } => {
            *about = match (orders.tells.load(Ordering::SeqCst), orders.words) {
                (true, true) => kind::step_or_word(pid, number, args),
                (true, false) => kind::step(pid, number, args),
                (false, _) => None,
            };
            None
        }
        Call::Exit { failed } => about.take().filter(|_| !failed),
    }
}

/// Kills it while the thread that made the step still stands behind it.
fn kill(pid: pid_t) -> Result<()> {
    say("killed");
    match Pid::from_raw(pid) {
        Some(pid) => Ok(kill_process(pid, Signal::KILL)?),
        None => bail!("{pid} is no process"),
    }
}

fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    // Nobody reading is no reason to stop.
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}
