//! Sessions: a cgroup right below the root, and the kernel's entry for it. Sockets of a session are closed here, in each network that
//! its processes are in.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::fs::MetadataExt as _,
    },
    path::{Path, PathBuf},
};

use aya::maps::MapError;
use guard_common::{
    AttemptCount, AttemptKey, MAX_CHAIN, PolicyId, Session, SessionId, SessionStats, meta,
};
use guard_sys::netns;

use super::{
    ChildCgroup, Datapath, DatapathError, Result, cgroup,
    maps::{Maps, bytes, gone, read},
};

/// A session's id and its cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCgroup {
    /// The session.
    pub id: SessionId,
    /// The cgroup's id, as programs see it.
    pub cgroup_id: u64,
    /// The cgroup's directory.
    pub path: PathBuf,
}

impl SessionCgroup {
    /// Whether guardd made the cgroup, by its name: no other cgroup with such a name is ever made a session. guardd never
    /// removes another one, and its session lasts as long as the cgroup.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        self.path
            .file_name()
            .is_some_and(|name| *name == *session_name(self.id))
    }

    /// Whether that very cgroup still exists, and not another one with its name.
    #[must_use]
    pub fn stands(&self) -> bool {
        cgroup::is_at(&self.path, self.cgroup_id)
    }
}

impl Maps {
    /// Makes the counters of a session. Without them the kernel half reports nothing.
    pub(super) fn make_stats(&mut self, of: SessionId) -> Result<()> {
        self.stats
            .insert(of.0, bytes(&SessionStats::default()), 0)
            .map_err(DatapathError::ebpf("write the map STATS"))
    }

    /// Has a session share its reports with no other one.
    pub(super) fn forget_outermost(&mut self, session: SessionId) -> Result<()> {
        match &mut self.outermost {
            Some(map) => {
                gone(map.remove(&session.0)).map_err(DatapathError::ebpf("write the map OUTERMOST"))
            }
            None => Ok(()),
        }
    }
}

impl Datapath {
    /// Makes a session that is judged by `policies`, its own first, then those of its parent sessions.
    ///
    /// # Errors
    ///
    /// If there is no room, or the system's; then there is no trace of it.
    pub fn add_session(&mut self, policies: &[PolicyId]) -> Result<SessionCgroup> {
        let chain = chain(policies)?;
        let id = SessionId(self.maps.next_id(meta::NEXT_SESSION)?);
        let made = self.root.create(&session_name(id))?;
        let session = SessionCgroup {
            id,
            cgroup_id: made.id,
            path: made.path,
        };
        self.write_session(
            &session,
            &Session {
                id,
                policies: chain,
            },
        )
        .inspect_err(|_| {
            let _ = cgroup::remove(&session.path);
            let _ = self.forget_session(&session);
        })?;
        Ok(session)
    }

    /// Has the kernel half count a session's reports with those of its outermost session.
    ///
    /// # Errors
    ///
    /// The system's; then it has a share of its own.
    pub fn share_with(&mut self, session: SessionId, outermost: SessionId) -> Result<()> {
        match &mut self.maps.outermost {
            Some(map) => map
                .insert(session.0, outermost.0, 0)
                .map_err(DatapathError::ebpf("write the map OUTERMOST")),
            None => Ok(()),
        }
    }

    /// Makes a session of an existing cgroup, one of [`Self::others`].
    ///
    /// # Errors
    ///
    /// If there is no room, or the system's; then no session owns it, as before.
    pub fn assign_session(
        &mut self,
        path: PathBuf,
        cgroup_id: u64,
        policies: &[PolicyId],
    ) -> Result<SessionCgroup> {
        let policies = chain(policies)?;
        let id = SessionId(self.maps.next_id(meta::NEXT_SESSION)?);
        let session = SessionCgroup {
            id,
            cgroup_id,
            path,
        };
        // Verdicts cached on its sockets were for a cgroup that no session owned.
        self.write_session(&session, &Session { id, policies })
            .and_then(|()| self.maps.bump_generation())
            .inspect_err(|_| {
                let _ = self.forget_session(&session);
            })?;
        Ok(session)
    }

    /// Has a session be judged by other policies from now on, those that its sockets remember included.
    ///
    /// # Errors
    ///
    /// If there are too many, or the system's.
    pub fn set_chain(&mut self, session: &SessionCgroup, policies: &[PolicyId]) -> Result<()> {
        let policies = chain(policies)?;
        let id = session.id;
        self.maps
            .insert_session(session.cgroup_id, Session { id, policies })?;
        self.maps.bump_generation()
    }

    /// The cgroups right below the root that guardd did not make.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn others(&self) -> Result<Vec<ChildCgroup>> {
        let mut others = self.root.children()?;
        others.retain(|other| !cgroup::is_session_name(&other.path));
        Ok(others)
    }

    fn write_session(&mut self, at: &SessionCgroup, session: &Session) -> Result<()> {
        self.maps.make_stats(session.id)?;
        self.maps.insert_session(at.cgroup_id, *session)
    }

    /// The sessions whose cgroup exists, from the kernel.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn sessions(&self) -> Result<Vec<(SessionCgroup, Session)>> {
        let cgroups = self.root.children()?.into_iter();
        let mut cgroups: HashMap<_, _> = cgroups.map(|at| (at.id, at.path)).collect();
        let entries = self.maps.sessions()?.into_iter();
        let mut found: Vec<_> = entries
            .filter_map(|(cgroup_id, session)| {
                let at = SessionCgroup {
                    id: session.id,
                    cgroup_id,
                    path: cgroups.remove(&cgroup_id)?,
                };
                Some((at, session))
            })
            .collect();
        found.sort_by_key(|(at, _)| at.id);
        Ok(found)
    }

    /// Moves a process into a session, and checks that it arrived.
    ///
    /// # Errors
    ///
    /// If it did not.
    pub fn enter(&self, session: &SessionCgroup, pid: u32) -> Result<()> {
        cgroup::enter(&session.path, pid)?;
        if cgroup::processes(&session.path).contains(&pid) {
            return Ok(());
        }
        Err(DatapathError::NotInside {
            pid,
            cgroup: session.path.clone(),
        })
    }

    /// Whether a process is in the session.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn is_populated(&self, session: &SessionCgroup) -> Result<bool> {
        cgroup::is_populated(&session.path)
    }

    /// Whether a process is in a cgroup, which may be no session's.
    #[must_use]
    pub fn has_processes(&self, cgroup: &Path) -> bool {
        cgroup::is_populated(cgroup).unwrap_or(true)
    }

    /// The processes in the session.
    #[must_use]
    pub fn processes(&self, session: &SessionCgroup) -> Vec<u32> {
        cgroup::processes(&session.path)
    }

    /// The same, on any thread.
    #[must_use]
    pub fn processes_in(cgroup: &Path) -> Vec<u32> {
        cgroup::processes(cgroup)
    }

    /// Kills every process of a session.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn kill(&self, session: &SessionCgroup) -> Result<()> {
        cgroup::kill_that(&session.path, session.cgroup_id)
    }

    /// Closes the holes of a session without processes and removes its cgroup, if that is guardd's own. The kernel's entry
    /// stays until [`Self::forget_session`]: it judges what closed sockets still have to send.
    ///
    /// # Errors
    ///
    /// The system's, as if a process is in it.
    pub fn end_session(&mut self, session: &SessionCgroup) -> Result<()> {
        if session.is_ours() {
            cgroup::remove(&session.path)?;
        }
        self.close_all_holes(session.id)
    }

    /// Removes the kernel's entries of an ended session.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn forget_session(&mut self, session: &SessionCgroup) -> Result<()> {
        self.forget_unix(session.cgroup_id);
        gone(self.maps.sessions.remove(&session.cgroup_id))
            .and_then(|()| gone(self.maps.stats.remove(&session.id.0)))
            .map_err(DatapathError::ebpf("remove a session"))?;
        // It may have been set by a guardd before this one.
        self.clear_hold_terms(session.id)?;
        self.set_remembers(session.id, false)?;
        self.maps.forget_outermost(session.id)?;
        if let Some(map) = &mut self.maps.went_on {
            gone(map.remove(&session.id.0))
                .map_err(DatapathError::ebpf("write the map WENT_ON"))?;
        }
        for (key, _) in self.maps.attempts(session.id)? {
            gone(self.maps.attempts.remove(&bytes(&key)))
                .map_err(DatapathError::ebpf("write the map ATTEMPTS"))?;
        }
        Ok(())
    }

    /// Sets the policies of cgroups under the root that no session owns; none: they are denied everything.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn set_default(&mut self, policies: &[PolicyId]) -> Result<()> {
        match policies {
            [] => gone(self.maps.sessions.remove(&0))
                .map_err(DatapathError::ebpf("write the map SESSIONS"))?,
            some => {
                let session = Session {
                    id: SessionId(0),
                    policies: chain(some)?,
                };
                self.maps.insert_session(0, session)?;
            }
        }
        self.maps.bump_generation()
    }

    /// How many connections of a session were held and went on. The counters have them as refused.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn went_on(&self, session: SessionId) -> Result<u64> {
        let Some(map) = &self.maps.went_on else {
            return Ok(0);
        };
        match map.get(&session.0, 0) {
            Ok(count) => Ok(count),
            Err(MapError::KeyNotFound) => Ok(0),
            Err(error) => Err(DatapathError::ebpf("read the map WENT_ON")(error)),
        }
    }

    /// How often each destination was refused to a session.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn attempts(&self, session: SessionId) -> Result<Vec<(AttemptKey, AttemptCount)>> {
        self.maps.attempts(session)
    }

    /// The counters of every session; 0 is for cgroups that no session owns.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn stats(&self) -> Result<Vec<(SessionId, SessionStats)>> {
        self.maps
            .stats
            .iter()
            .map(|entry| entry.map(|(id, value)| (SessionId(id), read(&value))))
            .collect::<std::result::Result<_, _>>()
            .map_err(DatapathError::ebpf("list the map STATS"))
    }

    /// Closes `all` sockets, each in whichever network namespace of a session it is. Returns how many there were. A network that fails
    /// keeps no other from being looked through.
    pub(super) fn destroy(
        &self,
        session: &SessionCgroup,
        all: usize,
        close: impl Fn() -> io::Result<usize> + Send + Sync,
    ) -> Result<usize> {
        let (mut cut, mut failed) = (0, None);
        for namespace in self.namespaces(session).into_iter().take(MAX_SEARCHED) {
            match netns::within(namespace.as_fd(), &close).and_then(|destroyed| destroyed) {
                Ok(destroyed) => cut += destroyed,
                Err(error) => failed = Some(error),
            }
            if cut >= all {
                return Ok(cut);
            }
        }
        let failed = failed.map(DatapathError::file("cut connections of", &session.path));
        failed.map_or(Ok(cut), Err)
    }

    /// The network namespaces that a session's processes are in.
    fn namespaces(&self, session: &SessionCgroup) -> Vec<OwnedFd> {
        let mut seen = HashSet::new();
        // guardd's own too: a process may have connected there and then moved into a new namespace.
        let own = std::iter::once("/proc/self/ns/net".to_owned());
        let theirs = self.processes(session).into_iter();
        own.chain(theirs.map(|pid| format!("/proc/{pid}/ns/net")))
            .filter_map(|path| File::open(path).ok())
            .filter(|file| file.metadata().is_ok_and(|meta| seen.insert(meta.ino())))
            .map(OwnedFd::from)
            .collect()
    }
}

/// Network namespaces of a session that are looked through for sockets at once, which takes a millisecond each: a session can make
/// thousands. What is left in others is dropped packet by packet.
const MAX_SEARCHED: usize = 64;

/// guardd's name for the cgroup that it makes for a session, as [`cgroup::is_session_name`] knows it.
fn session_name(id: SessionId) -> String {
    format!("s{}", id.0)
}

fn chain(policies: &[PolicyId]) -> Result<[PolicyId; MAX_CHAIN]> {
    let mut chain = [PolicyId(0); MAX_CHAIN];
    chain
        .get_mut(..policies.len())
        .filter(|_| !policies.is_empty())
        .ok_or(DatapathError::Full {
            what: "nested sessions",
            limit: MAX_CHAIN,
        })?
        .copy_from_slice(policies);
    Ok(chain)
}
