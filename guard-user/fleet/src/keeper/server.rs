//! What nats-server reads, and that it reads it again.

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use jiff::Timestamp;
use rustix::process::{Pid, Signal, kill_process};

use crate::{
    args::KeepArgs,
    list::{LockedList, read_plain, replace},
    rights,
    subjects::{NatsKey, Subject, SubjectKind},
};

/// A server's name, as the kernel has it: a number in a file may be that of another process by now.
const NAME: &str = "nats-server";
/// A number's file is shorter.
const LONGEST: u64 = 64;
/// How often a server is notified again: it may have refused to read, for what else is in its settings.
const AGAIN: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct Server {
    list: PathBuf,
    rights: PathBuf,
    pid: PathBuf,
    /// Which was notified of what is written, and when.
    told: Option<(Pid, Instant)>,
    /// What was said to be wrong, so that it is said once.
    said: Option<String>,
    /// Machines that are in the list no more: their subjects, until somebody has been notified.
    removed: BTreeSet<String>,
}

impl Server {
    pub(super) fn new(args: &KeepArgs) -> Self {
        Self {
            list: args.list.clone(),
            rights: args.rights.clone(),
            pid: args.pid_file.clone(),
            told: None,
            said: None,
            removed: BTreeSet::new(),
        }
    }

    /// The subjects by which consoles hear of machines that are in the list no more.
    pub(super) fn take_removed(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.removed)
    }

    /// Has the server know what the list says now.
    ///
    /// # Errors
    ///
    /// That the list is wrong, and all stays as it was, nothing can be written, or the server cannot be notified.
    pub(super) fn follow(&mut self, keeper: &NatsKey) -> Result<()> {
        let now = Timestamp::now();
        let mut held = LockedList::open(&self.list)?;
        let mut dropped = Ok(());
        if held.list.invitation.iter().any(|one| one.until.0 <= now) {
            dropped = held.drop_ended();
            held = LockedList::open(&self.list)?;
        }
        let rights = rights::kept_by(keeper, &held.list, now)?;
        let text =
            format!("# Written by guard-fleet keep, of its list: change that one.\n{rights}");
        let before = fs::read_to_string(&self.rights).unwrap_or_default();
        if before != text {
            // Also where only a part of this succeeds.
            self.told = None;
            replace(&self.rights, &text, None)?;
            let now = machines_in(&text);
            let gone = machines_in(&before).into_iter();
            self.removed.extend(gone.filter(|one| !now.contains(one)));
            self.removed.retain(|one| !now.contains(one));
        }
        drop(held);
        self.tell()?;
        dropped.context("an invitation whose time is over counts again where the clock is set back")
    }

    /// The same later, when there is a server that goes on with what it knows.
    pub(super) fn follow_or_say(&mut self, keeper: &NatsKey) {
        let problem = self.follow(keeper).err().map(|error| format!("{error:#}"));
        if problem != self.said
            && let Some(problem) = &problem
        {
            tracing::error!("{problem}");
        }
        self.said = problem;
    }

    /// Has the one that runs read its settings again, unless it has just done so.
    fn tell(&mut self) -> Result<()> {
        let wrong = || format!("cannot reload nats-server by {}", self.pid.display());
        let text = read_plain(&self.pid, LONGEST);
        let text = text.context("pid_file in nats-server.conf says where it writes its number")?;
        let number = text.trim().parse::<i32>().ok().filter(|number| *number > 0);
        let pid = number.and_then(Pid::from_raw).with_context(wrong)?;
        let is_new = |(told, at): (Pid, Instant)| told != pid || at.elapsed() >= AGAIN;
        if !self.told.is_none_or(is_new) {
            return Ok(());
        }
        let comm = format!("/proc/{}/comm", pid.as_raw_nonzero());
        let name = fs::read_to_string(comm).unwrap_or_default();
        ensure!(name.trim() == NAME, "{}: it is of none", wrong());
        kill_process(pid, Signal::HUP).with_context(wrong)?;
        self.told = Some((pid, Instant::now()));
        Ok(())
    }
}

/// The machines that rights are for, as the subjects of their removal: what was written before says it also to one that has just
/// started.
fn machines_in(rights: &str) -> BTreeSet<String> {
    let subjects = rights.split('"').filter_map(Subject::parse);
    let own = subjects.filter(|one| one.what == SubjectKind::Here);
    let removed = own.map(|one| Subject {
        what: SubjectKind::Removed,
        ..one
    });
    removed.map(|one| one.to_string()).collect()
}

#[cfg(test)]
mod tests {
    use nkeys::KeyPair;

    use super::*;
    use crate::list::List;

    #[test]
    fn rights_say_which_machines_they_are_for() -> Result<()> {
        let [machine, person, keeper] = [(); 3].map(|()| KeyPair::new_user().public_key());
        let list = format!(
            "[[machine]]\nid = \"m-0123456789abcdef0123\"\nkey = \"{machine}\"\ngroup = \"ci\"\n[[person]]\nkey = \"{person}\"\ngroups = [\"ci\"]\nconsole = true\n"
        );
        let keeper: NatsKey = keeper.parse().map_err(anyhow::Error::msg)?;
        let rights = rights::kept_by(&keeper, &List::parse(&list)?, Timestamp::now())?;
        let machines = machines_in(&rights).into_iter();
        assert_eq!(
            machines.collect::<Vec<_>>(),
            ["guard.ci.removed.m-0123456789abcdef0123"]
        );
        assert!(machines_in("").is_empty());
        Ok(())
    }
}
