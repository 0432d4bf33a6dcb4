//! What nats-server reads, and that it reads it again.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    args::KeepArgs,
    list::{Held, replace},
    rights,
    subjects::Key,
};

/// A server's name, as the kernel has it: a number in a file may be that of another process by now.
const NAME: &str = "nats-server";

#[derive(Debug)]
pub(super) struct Server {
    list: PathBuf,
    rights: PathBuf,
    pid: PathBuf,
    /// Whether it has been told of what is written.
    is_told: bool,
    /// What was said to be wrong, so that it is said once.
    said: Option<String>,
}

impl Server {
    pub(super) fn new(args: &KeepArgs) -> Self {
        Self {
            list: args.list.clone(),
            rights: args.rights.clone(),
            pid: args.pid_file.clone(),
            is_told: true,
            said: None,
        }
    }

    /// Has the server know what the list says now.
    ///
    /// # Errors
    ///
    /// That the list is wrong, and all stays as it was, or that nothing can be written.
    pub(super) fn follow(&mut self, keeper: &Key) -> Result<()> {
        let held = Held::open(&self.list)?;
        let rights = rights::kept_by(keeper, &held.list, Timestamp::now())?;
        let text = format!(
            "# Written by guard-fleet keep, of {}: change that one.\n{rights}",
            self.list.display()
        );
        if fs::read_to_string(&self.rights).ok().as_deref() != Some(&*text) {
            replace(&self.rights, &text)?;
            self.is_told = false;
        }
        if !self.is_told {
            self.tell()?;
            self.is_told = true;
        }
        Ok(())
    }

    /// The same later, when there is a server that goes on with what it knows.
    pub(super) fn follow_or_say(&mut self, keeper: &Key) {
        let problem = self.follow(keeper).err().map(|error| format!("{error:#}"));
        if problem != self.said
            && let Some(problem) = &problem
        {
            tracing::error!("{problem}");
        }
        self.said = problem;
    }

    /// Has it read its settings again. One that does not run will when it starts.
    fn tell(&self) -> Result<()> {
        let wrong = || format!("cannot reload nats-server by {}", self.pid.display());
        let Ok(text) = fs::read_to_string(&self.pid) else {
            tracing::warn!(
                "{} has no server's number: pid_file in nats-server.conf says where it is written",
                self.pid.display()
            );
            return Ok(());
        };
        let number: i32 = text.trim().parse().with_context(wrong)?;
        let pid = Pid::from_raw(number).with_context(wrong)?;
        let name = fs::read_to_string(format!("/proc/{number}/comm")).unwrap_or_default();
        ensure!(name.trim() == NAME, "{}: {number} is none", wrong());
        kill_process(pid, Signal::HUP).with_context(wrong)
    }
}
