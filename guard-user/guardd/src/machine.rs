//! The machine that guardd runs on: cgroups, networks, users, processes, and what inotify reports of files.

use std::{
    cell::RefCell,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use guard_common::Event;
use guard_datapath::{Places, SessionCgroup};
use guard_proto::record::{Answered, DecisionOrigin, Field};
use guard_sys::{
    cgroup2::{self, Hierarchy},
    host::HostAddresses,
    pidfd::Peer,
};

use crate::{
    control::{
        answering::Answering,
        auth::{Caller, CallerPlace},
        failure::CallError,
        users::Users,
    },
    process::{Process, SeenProcess, Thread},
    sessions::{Session, Sessions},
    watch::{self, Watches},
};

/// Owns what guardd knows of the machine, and where it is read.
#[derive(Debug)]
pub(crate) struct Machine {
    /// The pin directory and the cgroup root.
    places: Places,
    hierarchy: Hierarchy,
    /// Changes of files: policies, and whether cgroups have processes.
    watches: Watches,
    /// Names of users.
    users: Users,
    /// Its addresses and networks, as they were last read.
    host: RefCell<HostAddresses>,
    /// The required rows of `guard doctor` that were not ok in the last run.
    open_rows: Vec<String>,
}

/// Who decided what a record is about, and how, as the audit log has it.
#[derive(Clone, Debug)]
pub(crate) struct DecidedBy {
    pub(crate) by: Field<String>,
    pub(crate) from: Field<DecisionOrigin>,
}

impl Machine {
    /// A machine with these places.
    #[must_use]
    pub(crate) fn new(places: Places, hierarchy: Hierarchy, watches: Watches) -> Self {
        Self {
            places,
            hierarchy,
            watches,
            users: Users::default(),
            host: RefCell::default(),
            open_rows: Vec::new(),
        }
    }

    /// The root of the guarded cgroups.
    #[must_use]
    pub(crate) fn cgroup_root(&self) -> &Path {
        &self.places.cgroup_root
    }

    /// A cgroup's path as `/proc/PID/cgroup` has it.
    #[must_use]
    pub(crate) fn kernel_path(&self, cgroup: &Path) -> Option<PathBuf> {
        self.hierarchy.path(cgroup)
    }

    /// This machine's addresses and networks; those that were read last where they cannot be for now.
    #[must_use]
    pub(crate) fn host(&self) -> HostAddresses {
        let mut last = self.host.borrow_mut();
        match HostAddresses::look() {
            Ok(host) => *last = host,
            Err(error) => {
                tracing::warn!(%error, "cannot tell this machine's networks: those of before count");
            }
        }
        last.clone()
    }

    /// A user's name.
    pub(crate) fn user(&mut self, uid: u32) -> String {
        self.users.name(uid)
    }

    /// The name of who decides something.
    pub(crate) fn name_of(&mut self, by: &Answering) -> String {
        let named = by.name.clone();
        named.unwrap_or_else(|| self.users.name(by.who.uid()))
    }

    /// The record of an answer, with who gave it, and nothing else.
    pub(crate) fn answered_by(&mut self, by: &Answering) -> Answered {
        Answered {
            by: self.name_of(by).into(),
            from: by.from.clone().into(),
            signed: by.signature(),
            with: by.with(),
            ..Answered::default()
        }
    }

    /// Who decided what a record is about, and how; none if nobody did.
    pub(crate) fn decided_by(&mut self, by: Option<&Answering>) -> DecidedBy {
        match by {
            Some(by) => DecidedBy {
                by: self.name_of(by).into(),
                from: by.from.clone().into(),
            },
            None => DecidedBy {
                by: Field::Null,
                from: Field::Absent,
            },
        }
    }

    /// The file changes that inotify has reported since the last call.
    pub(crate) fn file_changes(&mut self) -> Vec<watch::FileChange> {
        self.watches.changes()
    }

    /// Has the kernel report when a session of guardd's own has no process left. For others the cgroup root is watched.
    pub(crate) fn watch_session(&mut self, cgroup: &SessionCgroup) {
        if !cgroup.is_ours() {
            return;
        }
        if let Err(error) = self.watches.session(cgroup.id, &cgroup.path) {
            tracing::warn!(%error, session = cgroup.id.0, "its end will be noticed late");
        }
    }

    /// Takes note of the required rows of `guard doctor` that are not ok.
    pub(crate) fn note_open_rows(&mut self, rows: Vec<String>) {
        self.open_rows = rows;
    }

    /// Those that were not ok in the last run.
    #[must_use]
    pub(crate) fn open_rows(&self) -> &[String] {
        &self.open_rows
    }

    /// The peer of a socket.
    ///
    /// # Errors
    ///
    /// As for [`Peer::of`].
    pub(crate) fn peer(&self, socket: &impl AsFd) -> io::Result<Peer> {
        Peer::of(socket, |cgroup| {
            self.hierarchy.is_guarded(cgroup).unwrap_or(true)
        })
    }

    /// What the kernel says of a peer, now.
    ///
    /// # Errors
    ///
    /// `Refused` where that is in doubt, as for a peer that has ended.
    pub(crate) fn caller(&self, sessions: &Sessions, peer: &Peer) -> Result<Caller, CallError> {
        let told = peer.pid().and_then(|pid| Ok((pid, peer.cgroup()?)));
        let (pid, cgroup) = told.map_err(|error| in_doubt(&error.to_string()))?;
        let root = self.kernel_path(&self.places.cgroup_root);
        let root = root.ok_or_else(|| in_doubt("the cgroup root is not to be seen"))?;
        let place = match cgroup.strip_prefix(&root) {
            Ok(below) => self.place_below(sessions, below),
            Err(_) => self.place_outside(&cgroup)?,
        };
        let uid = peer.uid();
        Ok(Caller { uid, pid, place })
    }

    /// Where a process is that is not under this guard. Another guard's session counts as inside: else a process in it could
    /// have itself moved here, to a policy of its own choice.
    fn place_outside(&self, cgroup: &Path) -> Result<CallerPlace, CallError> {
        match self.hierarchy.is_guarded(cgroup) {
            Ok(false) => Ok(CallerPlace::Outside),
            Ok(true) => Ok(CallerPlace::Inside(None)),
            Err(error) => Err(in_doubt(&error.to_string())),
        }
    }

    /// Where a process is whose cgroup is `below`, a path from the cgroup root on.
    fn place_below(&self, sessions: &Sessions, below: &Path) -> CallerPlace {
        let Some(name) = below.components().next() else {
            return CallerPlace::Inside(None);
        };
        // By its id: a unit that starts again has a new cgroup under the old name.
        let Ok(id) = cgroup2::id(&self.places.cgroup_root.join(name)) else {
            return CallerPlace::Inside(None);
        };
        match sessions.of_cgroup(id) {
            Some(session) => CallerPlace::Inside(Some(session.cgroup.id)),
            None => CallerPlace::Unowned(id),
        }
    }

    /// The process of that id, if it is (still) in the session; its id is 0 if unknown.
    #[must_use]
    pub(crate) fn process_of(&self, session: Option<&Session>, tgid: u32) -> SeenProcess {
        self.seen(session, tgid, Process::look)
    }

    /// The same with its command line, for a person who is asked.
    #[must_use]
    pub(crate) fn asker_of(&self, session: Option<&Session>, tgid: u32) -> SeenProcess {
        self.seen(session, tgid, Process::look_closely)
    }

    fn seen(
        &self,
        session: Option<&Session>,
        tgid: u32,
        look: impl Fn(u32, &Path) -> Option<Process>,
    ) -> SeenProcess {
        let cgroup = session.and_then(|session| self.kernel_path(&session.cgroup.path));
        let known = cgroup
            .filter(|_| tgid != 0)
            .and_then(|cgroup| look(tgid, &cgroup));
        SeenProcess {
            pid: (tgid != 0).then_some(tgid),
            process: known.unwrap_or_default(),
        }
    }

    /// The process of a session's event. If it has ended, or runs another program by now, only its thread's name is known.
    #[must_use]
    pub(crate) fn process_behind(&self, session: Option<&Session>, event: &Event) -> SeenProcess {
        self.thread_behind(session, thread_of(event), &event.comm)
    }

    /// The same with its command line, for a person who is asked.
    #[must_use]
    pub(crate) fn asker_behind(&self, session: Option<&Session>, event: &Event) -> SeenProcess {
        called(
            self.asker_of(session, event.tgid),
            thread_of(event),
            &event.comm,
        )
    }

    /// The process of a thread of that name.
    #[must_use]
    pub(crate) fn thread_behind(
        &self,
        session: Option<&Session>,
        thread: Thread,
        comm: &[u8],
    ) -> SeenProcess {
        called(self.process_of(session, thread.tgid), thread, comm)
    }
}

fn thread_of(event: &Event) -> Thread {
    Thread {
        tgid: event.tgid,
        tid: event.pid,
    }
}

fn called(seen: SeenProcess, thread: Thread, comm: &[u8]) -> SeenProcess {
    let name = comm.split(|byte| *byte == 0).next().unwrap_or(&[]);
    SeenProcess {
        process: seen.process.called(thread, &String::from_utf8_lossy(name)),
        ..seen
    }
}

fn in_doubt(why: &str) -> CallError {
    CallError::refused(
        "cannot tell who is asking",
        why,
        "ask from a process that goes on living",
    )
}

/// This machine, with sessions below that directory.
#[cfg(test)]
pub(crate) fn machine(cgroup_root: &Path) -> Machine {
    let places = Places {
        pin_dir: PathBuf::from("/nonexistent"),
        cgroup_root: cgroup_root.to_owned(),
    };
    let (watches, _) = Watches::new().unwrap();
    Machine::new(places, Hierarchy::find().unwrap(), watches)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::net::UnixStream};

    use guard_common::SessionId;

    use super::*;
    use crate::{
        control::auth::Approver,
        sessions::{none_but, one_in_cgroup},
    };

    /// A user that no machine has.
    const NOBODY: u32 = 4_000_000_000;

    #[tokio::test]
    async fn a_process_is_in_the_session_that_owns_its_cgroup() {
        let root = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            fs::create_dir_all(root.path().join(name)).unwrap();
            cgroup2::id(&root.path().join(name)).unwrap()
        };
        let (own, other) = (make("s1"), make("by-hand"));
        let machine = machine(root.path());
        let place =
            |sessions: &Sessions, below: &str| machine.place_below(sessions, below.as_ref());
        let sessions = one_in_cgroup(own);
        for below in ["s1", "s1/inner", "s1/inner/deeper"] {
            let inside = CallerPlace::Inside(Some(SessionId(1)));
            assert_eq!(place(&sessions, below), inside, "{below}");
        }
        assert_eq!(place(&sessions, "by-hand/s1"), CallerPlace::Unowned(other));
        // The root itself, and what is gone by now.
        for below in ["", "s2"] {
            let inside = CallerPlace::Inside(None);
            assert_eq!(place(&sessions, below), inside, "{below}");
        }
        // Another cgroup under the session's old name is not the session's.
        let before = one_in_cgroup(own + 1);
        assert_eq!(place(&before, "s1"), CallerPlace::Unowned(own));
    }

    #[tokio::test]
    async fn a_caller_is_who_the_kernel_says_and_nobody_where_the_root_cannot_be_seen() {
        let (here, _there) = UnixStream::pair().unwrap();
        let sessions = none_but(&[]);
        let mount = Hierarchy::find().unwrap().mount().to_owned();
        let machine = self::machine(&mount.join("guard-test-no-root"));
        let peer = machine.peer(&here).unwrap();
        let caller = machine.caller(&sessions, &peer).unwrap();
        assert_eq!(caller.uid, rustix::process::geteuid().as_raw());
        assert_eq!(caller.pid, std::process::id());
        assert_eq!(caller.place, CallerPlace::Outside);
        let blind = self::machine(Path::new("/nonexistent"));
        let error = blind.caller(&sessions, &peer).unwrap_err();
        assert_eq!(error.failure.what, "cannot tell who is asking");
    }

    #[tokio::test]
    async fn a_decision_is_said_to_be_the_signers_else_the_users() {
        let (here, _there) = UnixStream::pair().unwrap();
        let mut machine = machine(Path::new("/nonexistent"));
        let peer = machine.peer(&here).unwrap();
        let by = Answering::of(Approver::on_behalf_of(NOBODY), &peer);
        assert_eq!(machine.name_of(&by), NOBODY.to_string());
        let signed = Answering {
            name: Some("alice".to_owned()),
            ..by
        };
        assert_eq!(machine.answered_by(&signed).by, "alice".to_owned().into());
        let DecidedBy { by, from } = machine.decided_by(Some(&signed));
        assert_eq!((by, from), ("alice".to_owned().into(), signed.from.into()));
        let nobody = machine.decided_by(None);
        assert_eq!((nobody.by, nobody.from), (Field::Null, Field::Absent));
    }

    #[tokio::test]
    async fn of_a_process_outside_of_the_session_only_the_name_in_the_event_counts() {
        let machine = machine(Path::new("/nonexistent"));
        let own = std::process::id();
        let seen = machine.thread_behind(None, Thread::main(own), b"curl\0\0\0\0");
        assert_eq!(seen.pid, Some(own));
        assert_eq!(seen.process.comm.as_deref(), Some("curl"));
        assert_eq!(seen.process.exe, None);
        let seen = machine.thread_behind(None, Thread::main(0), b"\0");
        assert_eq!(seen, SeenProcess::default());
    }
}
