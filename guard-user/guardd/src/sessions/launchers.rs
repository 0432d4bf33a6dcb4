//! The launchers of sessions: each `guard run`, watched by a pidfd.
//!
//! A launcher passes signals on to its command and ends after it. If the launcher is killed first, nothing would stop the
//! command, so guardd ends the session.

use std::{collections::HashMap, io, mem::MaybeUninit, os::fd::OwnedFd, rc::Rc};

use guard_common::SessionId;
use guard_datapath::Datapath;
use guard_proto::sessions::LeftProcess;
use guard_sys::{
    pidfd::{open_thread, parent_of},
    readiness::Readiness,
};
use jiff::Timestamp;
use rustix::event::{
    Timespec,
    epoll::{self, CreateFlags, Event, EventData, EventFlags},
};

use super::{Session, Sessions};
use crate::{machine::Machine, shared::Shared};

/// Processes left by a command that are named.
const MOST_LEFT: usize = 16;

/// The launchers that are watched.
#[derive(Debug)]
pub(crate) struct Launchers {
    epoll: OwnedFd,
    watched: HashMap<SessionId, OwnedFd>,
}

impl Launchers {
    /// No launcher yet, and what becomes ready when one has ended.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(crate) fn new() -> io::Result<(Self, Readiness)> {
        let none = Self::unheard()?;
        let readable = Readiness::of(&none.epoll)?;
        Ok((none, readable))
    }

    /// No launcher yet, and nothing becomes ready.
    pub(crate) fn unheard() -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            watched: HashMap::new(),
        })
    }

    /// Watches a session's launcher.
    fn watch(&mut self, session: SessionId, launcher: OwnedFd) -> io::Result<()> {
        let data = EventData::new_u64(session.0.into());
        epoll::add(&self.epoll, &launcher, data, EventFlags::IN)?;
        self.watched.insert(session, launcher);
        Ok(())
    }

    /// Stops watching a session's launcher.
    pub(crate) fn forget(&mut self, session: SessionId) {
        self.watched.remove(&session);
    }

    /// The sessions whose launchers have ended since the last call.
    fn ended(&mut self) -> Vec<SessionId> {
        let mut ended = Vec::new();
        loop {
            let mut buffer = [MaybeUninit::<Event>::uninit(); 64];
            let found = epoll::wait(&self.epoll, &mut buffer, Some(&Timespec::default()));
            // An error would come again at the next end.
            let Ok((found @ [_, ..], _)) = found else {
                return ended;
            };
            for event in found {
                let session = SessionId(event.data.u64() as u32);
                self.watched.remove(&session);
                ended.push(session);
            }
        }
    }
}

/// Ends sessions whose launchers are killed, for ever.
pub(crate) async fn follow(shared: Rc<Shared>, readable: Readiness) {
    loop {
        let noticed = readable.drained(|| {
            shared.with(|state| {
                state.sessions.end_unattended(&mut state.datapath);
            })
        });
        if let Err(error) = noticed.await {
            return tracing::error!(%error, "killed launchers are not noticed any more");
        }
    }
}

impl Sessions {
    /// Watches the launcher of a session's command while the command runs. If the launcher is gone, the session is ended.
    pub(crate) fn attend(&mut self, kernel: &mut Datapath, id: SessionId) {
        let Some(session) = self.live(id) else {
            return;
        };
        let (Some(launcher), true) = (session.about.launcher, session.has_command(kernel)) else {
            return;
        };
        let command = session.about.pid;
        let stands_in = || command.is_some_and(|command| stands_in(launcher, command));
        // The process ends with its first thread, though another thread may hang in a call that cannot be interrupted.
        match open_thread(launcher, launcher) {
            // The number is the launcher's only if it is the command's launcher now.
            Ok(pidfd) if stands_in() => {
                if let Err(error) = self.launchers.watch(id, pidfd) {
                    tracing::warn!(%error, session = id.0, "goes on if its launcher is killed");
                }
            }
            _ if stands_in() => tracing::warn!(session = id.0, "goes on if its launcher is killed"),
            _ => self.end_if_unattended(kernel, id),
        }
    }

    /// Ends the sessions whose launchers were killed since the last call.
    fn end_unattended(&mut self, kernel: &mut Datapath) {
        for id in self.launchers.ended() {
            self.end_if_unattended(kernel, id);
        }
    }

    /// If the launcher ended before the command, it was killed; if after it, what is left of the session may go on.
    fn end_if_unattended(&mut self, kernel: &mut Datapath, id: SessionId) {
        let session = self.live(id);
        if !session.is_some_and(|session| session.has_command(kernel)) {
            return self.command_ended(id);
        }
        tracing::warn!(session = id.0, "its launcher was killed, so it is ended");
        if let Err(error) = self.kill(kernel, id) {
            tracing::error!(%error, session = id.0, "goes on without its launcher");
        }
        self.end_all_inside(kernel, id);
    }

    /// Notes when a session's command ended.
    fn command_ended(&mut self, id: SessionId) {
        let Some(session) = self.get_mut(id) else {
            return;
        };
        let now = Timestamp::now();
        session.about.command_ended_at.get_or_insert(now);
        self.keep(id);
    }
}

impl Session {
    /// Whether a session has outlived its command. An assigned cgroup has no command.
    #[must_use]
    pub(crate) fn lost_command(&self, kernel: &Datapath) -> bool {
        self.cgroup.is_ours() && self.about.pid.is_some() && !self.has_command(kernel)
    }

    /// The processes that a command has left behind.
    pub(crate) fn left(&self, kernel: &Datapath, machine: &Machine) -> Vec<LeftProcess> {
        let mut pids = kernel.processes(&self.cgroup);
        pids.sort_unstable();
        pids.truncate(MOST_LEFT);
        let left = pids.into_iter().map(|pid| {
            let comm = machine.process_of(Some(self), pid).process.comm;
            LeftProcess { pid, comm }
        });
        left.collect()
    }

    /// Whether the command that the session was made for runs.
    fn has_command(&self, kernel: &Datapath) -> bool {
        // Its pid may be another's then.
        let is_over = self.about.command_ended_at.is_some();
        let pid = self.about.pid.filter(|_| !is_over);
        pid.is_some_and(|pid| kernel.processes(&self.cgroup).contains(&pid))
    }
}

/// Whether a process is the launcher of a command: its parent, or at a terminal the parent of the monitor, which leads the
/// command's terminal session and ends with it.
#[must_use]
pub(crate) fn stands_in(launcher: u32, command: u32) -> bool {
    let Ok(parent) = parent_of(command) else {
        return false;
    };
    parent == launcher || parent_of(parent).is_ok_and(|parent| parent == launcher)
}
