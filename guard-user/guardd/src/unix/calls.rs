//! The calls of supervisors, which connect Unix sockets for sessions: they report refusals, and ask who owns a socket.

use guard_sys::clock;

use super::{LONGEST, Members, Sockets, UNNAMED, Withheld};
use crate::{
    control::{auth::Approver, failure::CallError, ids},
    machine::Machine,
    process::{SeenProcess, Thread},
    record::{Recorder, audit::LogEntry},
    sessions::Sessions,
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

impl Sockets {
    /// Records that a session was refused a socket.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub(crate) fn socket_refused(
        &mut self,
        machine: &Machine,
        sessions: &Sessions,
        recorder: &mut Recorder,
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
        let live = sessions.called(session, |owner| who.answers_for(owner))?;
        let (id, uid) = (live.cgroup.id, live.about.uid);
        let socket: String = match socket {
            "" => UNNAMED.to_owned(),
            socket => socket.chars().take(LONGEST).collect(),
        };
        let now = clock::now();
        self.note_stop(id, kept, &socket, now);
        let Some(admitted) = sessions.admit(recorder, id, now) else {
            return Ok(());
        };
        let seen = machine.process_of(sessions.live(id), pid);
        let main = seen.pid.unwrap_or_default();
        // It has its answer, and may have ended.
        let comm: String = comm.chars().take(LONGEST).collect();
        let seen = SeenProcess {
            process: seen.process.called(Thread::main(main), &comm),
            ..seen
        };
        let record = kept.denied(&socket, "connect_unix", seen);
        let entry = LogEntry::of(ids::session(id), uid, record);
        recorder.note(entry.admitted(admitted));
        Ok(())
    }

    /// The processes of a session.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for.
    pub(crate) fn members(
        &mut self,
        machine: &Machine,
        sessions: &Sessions,
        who: Approver,
        session: &str,
    ) -> Result<Members, CallError> {
        let live = sessions.called(session, |owner| who.answers_for(owner))?;
        let (account, dir) = (live.account(), live.cgroup.path.clone());
        Ok(Members {
            cgroup: machine.kernel_path(&dir),
            dir,
            queue: self.queue_of(account),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;
    use crate::{machine::machine, record::recorder, sessions::none_but};

    #[tokio::test]
    async fn whoever_answers_for_a_session_says_what_it_was_refused() -> Result<(), CallError> {
        let (mut recorder, _dir) = recorder();
        let machine = machine(Path::new("/nonexistent"));
        let sessions = none_but(&[(1, None)]);
        let mut sockets = Sockets::default();
        let refused = UnixRefusal {
            kept: Withheld::Unknown,
            socket: "",
            pid: 0,
            comm: "psql",
        };
        let [owner, other] = [1000, 1001].map(Approver::on_behalf_of);
        let mut refuse =
            |who| sockets.socket_refused(&machine, &sessions, &mut recorder, who, "s1", refused);
        assert!(refuse(other).is_err());
        refuse(owner)?;
        let log = fs::read_to_string(recorder.audit().path()).unwrap_or_default();
        assert_eq!(log.matches(UNNAMED).count(), 1, "{log}");
        assert!(sockets.members(&machine, &sessions, other, "s1").is_err());
        let members = sockets.members(&machine, &sessions, owner, "s1")?;
        assert_eq!(members.dir, Path::new("/guard/s1"));
        Ok(())
    }
}
