//! The calls of supervisors, which connect Unix sockets for sessions: they report refusals, and ask who owns a socket.

use guard_sys::clock;

use super::{LONGEST, Members, UNNAMED, Withheld};
use crate::{
    control::{auth::Approver, failure::CallError, ids},
    process::{SeenProcess, Thread},
    record::audit::LogEntry,
    state::State,
};

/// A socket that a supervisor did not connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UnixRefusal<'a> {
    /// Why not.
    pub(crate) kept: Withheld,
    /// Its name; none of one without.
    pub(crate) socket: &'a str,
    /// The process that wanted to connect, as guardd sees it.
    pub(crate) pid: u32,
    /// What that calls itself.
    pub(crate) comm: &'a str,
}

impl State {
    /// Records that a session was refused a socket.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub(crate) fn socket_refused(
        &mut self,
        who: Approver,
        session: &str,
        refused: UnixRefusal<'_>,
    ) -> Result<(), CallError> {
        let UnixRefusal {
            kept,
            socket,
            pid,
            comm,
        } = refused;
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let (id, uid) = (live.cgroup.id, live.about.uid);
        let socket: String = match socket {
            "" => UNNAMED.to_owned(),
            socket => socket.chars().take(LONGEST).collect(),
        };
        let now = clock::now();
        self.sockets.note_stop(id, kept, &socket, now);
        let Some(admitted) = self.admit(id, now) else {
            return Ok(());
        };
        let seen = self.machine.process_of(self.sessions.live(id), pid);
        let main = seen.pid.unwrap_or_default();
        // It has its answer, and may have ended.
        let comm: String = comm.chars().take(LONGEST).collect();
        let seen = SeenProcess {
            process: seen.process.called(Thread::main(main), &comm),
            ..seen
        };
        let record = kept.denied(&socket, "connect_unix", seen);
        let entry = LogEntry::of(ids::session(id), uid, record);
        self.recorder.note(entry.admitted(admitted));
        Ok(())
    }

    /// The processes of a session.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub(crate) fn members(&mut self, who: Approver, session: &str) -> Result<Members, CallError> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let (outermost, dir) = (live.outermost(), live.cgroup.path.clone());
        Ok(Members {
            cgroup: self.machine.kernel_path(&dir),
            dir,
            turns: self.sockets.turns_of(outermost),
        })
    }
}
