//! What supervisors of sessions tell of Unix sockets, and ask.

use guard_common::Verdict;
use guard_proto::LogKind;
use guard_sys::clock;
use serde_json::json;

use super::{Kept, LONGEST, Members};
use crate::{
    control::{auth::Approver, failure::Refusal, ids},
    record::audit::Record,
    state::State,
};

impl State {
    /// Writes down that a session was kept from a socket.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub fn socket_refused(
        &mut self,
        who: Approver,
        session: &str,
        socket: &str,
        pid: u32,
    ) -> Result<(), Refusal> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let (id, uid) = (live.cgroup.id, live.about.uid);
        let socket: String = socket.chars().take(LONGEST).collect();
        let now = clock::now();
        self.sockets.note_stop(id, Kept::Socket, &socket, now);
        let Some(admitted) = self.admit(id, now) else {
            return Ok(());
        };
        let (pid, process) = self.machine.process_of(self.sessions.live(id), pid);
        let record = Record::of(ids::session(id), uid)
            .with("destination", json!(Kept::Socket.endpoint(&socket)))
            .with("verdict", Verdict::Deny.as_str())
            .with("hook", "connect_unix")
            .with("pid", pid)
            .with("comm", process.comm)
            .with("exe", process.exe)
            .with("left_out", admitted.left_out)
            .with("last", admitted.is_last.then_some(true));
        self.audit.note(LogKind::Denied, record);
        Ok(())
    }

    /// The processes of a session.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub(crate) fn members(&mut self, who: Approver, session: &str) -> Result<Members, Refusal> {
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
