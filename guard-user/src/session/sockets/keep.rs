//! Going on where `guard run` has ended and left processes of its session behind.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::CommandExt as _},
    process::{Command, Stdio},
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Ask, Sockets, serve};
use crate::sys::notify::Listener;

/// The verb by which `guard` is called for this.
const VERB: &str = "keep-sockets";

/// What is left to do when the command has ended.
#[derive(Debug)]
pub(in crate::session) struct Kept {
    pub(in crate::session) listener: OwnedFd,
    pub(in crate::session) sockets: Sockets,
}

impl Kept {
    /// Starts a process that goes on, where the session has processes that could call.
    pub(in crate::session) fn keep(self) {
        if !self.is_needed() {
            return;
        }
        let Ok(terms) = serde_json::to_string(&self.sockets) else {
            return;
        };
        let mut keeper = Command::new("/proc/self/exe");
        keeper
            .arg0("guard")
            .args([VERB, &terms])
            .current_dir("/")
            .stdin(Stdio::from(self.listener))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        // Without it their calls fail.
        let _ = keeper.spawn();
    }

    fn is_needed(&self) -> bool {
        let mut ready = [PollFd::new(&self.listener, PollFlags::IN)];
        let polled = poll(&mut ready, Some(&Timespec::default()));
        let seen = ready.first().map(|one| one.revents());
        polled.is_ok() && !seen.is_some_and(|seen| seen.contains(PollFlags::HUP))
    }
}

/// Answers calls until nobody is left who could call: the verb's work. `listener` is standard input.
///
/// # Errors
///
/// The system's; `InvalidData` for terms that are none.
pub fn keep_on(listener: OwnedFd, terms: &str, ask: Ask) -> io::Result<()> {
    let sockets: Sockets = serde_json::from_str(terms)?;
    let refused = serve(Listener::of(listener), &sockets, ask)?;
    // Ends with the threads.
    refused.iter().for_each(drop);
    Ok(())
}
