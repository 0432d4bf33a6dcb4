//! Judges what sessions send to Unix sockets without security hooks: a program at `cgroup/connect_unix` and
//! `cgroup/sendmsg_unix`, which Linux has from 6.7 on (`guard-ebpf/src/outside.rs`).

use std::{collections::HashSet, os::unix::ffi::OsStrExt as _, path::Path};

use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use guard_common::{NAME_SIZE, UnixSession, unix_flags};
use guard_sys::bpf::{self, ProgramKind};

use super::{
    DatapathError, Object, Result, instructions,
    lsm::Lsm,
    maps::{bytes, gone, open},
    pins,
    top::{self, NamedHook, refused},
};

/// `BPF_CGROUP_UNIX_CONNECT` and `BPF_CGROUP_UNIX_SENDMSG`. One program is attached to both.
pub(super) const HOOKS: [NamedHook; 2] = [
    NamedHook::new("connect_unix", 49),
    NamedHook::new("sendmsg_unix", 50),
];

/// Its name in the eBPF object, and below its maps.
const PROGRAM: &str = "top_unix";
pub(super) const MAPS: [&str; 2] = ["UNIX", "UNIX_PATHS"];

/// How a session's Unix sockets are judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixTerms {
    /// Nothing of it is judged.
    pub free: bool,
    /// Landlock judges its abstract names.
    pub scoped: bool,
    /// The user namespace, beside the machine's own, in which paths have their usual meaning.
    pub user_namespace: Option<u32>,
    /// The cgroup of its parent session.
    pub outer: Option<u64>,
}

/// The maps of the attached programs.
pub(super) struct Unix {
    sessions: HashMap<MapData, u64, [u8; size_of::<UnixSession>()]>,
    paths: HashMap<MapData, [u8; NAME_SIZE], u8>,
}

impl Unix {
    /// Attaches them, with an earlier guardd's maps or new ones, in place of existing programs.
    ///
    /// # Errors
    ///
    /// What the kernel or the object lacks; then the existing ones stay as they were.
    pub(super) fn attach(live: &Path, object: &Object, ebpf: &Ebpf) -> Result<Self> {
        let code = instructions::of_programs(object, ebpf, &[PROGRAM])?;
        for hook in HOOKS {
            let NamedHook { name, attach_type } = hook;
            let kind = ProgramKind::address_hook(attach_type);
            let loaded = instructions::of(&code, PROGRAM)
                .and_then(|code| bpf::load_program(kind, name, code));
            top::attach_one(live, &hook, &loaded.map_err(refused(name))?)?;
        }
        Ok(Self {
            sessions: open(live, "UNIX")?,
            paths: open(live, "UNIX_PATHS")?,
        })
    }

    /// Sets how the session with that cgroup is judged.
    fn set(&mut self, cgroup: u64, terms: UnixTerms) -> Result<()> {
        let free = if terms.free { unix_flags::FREE } else { 0 };
        let scoped = if terms.scoped {
            unix_flags::ABSTRACT
        } else {
            0
        };
        let session = UnixSession {
            flags: free | scoped,
            user_namespace: terms.user_namespace.unwrap_or(0),
        };
        let put = self.sessions.insert(cgroup, bytes(&session), 0);
        put.map_err(DatapathError::ebpf("write the map UNIX"))
    }

    /// The cgroups of the sessions that are known.
    fn cgroups(&self) -> HashSet<u64> {
        let known = self.sessions.keys();
        known.filter_map(std::result::Result::ok).collect()
    }

    /// Removes a session.
    fn forget(&mut self, cgroup: u64) {
        // Ids are not used again; a leftover only takes room.
        let _ = gone(self.sessions.remove(&cgroup));
    }

    /// Allows all sessions to connect to that path without a supervisor. A path that does not fit into an address with a NUL is
    /// no socket's.
    fn allow(&mut self, path: &Path) -> Result<()> {
        let mut key = [0; NAME_SIZE];
        let path = path.as_os_str().as_bytes();
        let Some(to) = key.get_mut(..path.len()).filter(|_| path.len() < NAME_SIZE) else {
            return Ok(());
        };
        to.copy_from_slice(path);
        let put = self.paths.insert(key, 1, 0);
        put.map_err(DatapathError::ebpf("write the map UNIX_PATHS"))
    }
}

impl super::Datapath {
    /// Why Unix sockets of sessions are not judged; none if they are.
    #[must_use]
    pub fn unix_problem(&self) -> Option<String> {
        match (&self.lsm, &self.unix) {
            (Err(lsm), Err(unix)) => Some(format!("{unix}; and {lsm}")),
            _ => None,
        }
    }

    /// Why nothing judges at the kernel's security hooks; none if something does. Then the kernel half judges Unix sockets by
    /// their listener, and there is no supervisor.
    #[must_use]
    pub fn lsm_problem(&self) -> Option<&str> {
        self.lsm.as_ref().err().map(String::as_str)
    }

    /// Has the programs at the security hooks judge, if there are any: their maps are complete now. The programs that have
    /// judged instead are removed.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn judge_at_security_hooks(&mut self) -> Result<()> {
        let Ok(lsm) = &mut self.lsm else {
            return Ok(());
        };
        lsm.judge()?;
        top::detach(&pins::live(&self.places.pin_dir), &HOOKS);
        Ok(())
    }

    /// Sets how a session's Unix sockets are judged, if they are.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn judge_unix(&mut self, cgroup: u64, terms: UnixTerms) -> Result<()> {
        match (&mut self.lsm, &mut self.unix) {
            (Ok(lsm), _) => lsm.set(cgroup, terms.free, terms.outer),
            (Err(_), Ok(unix)) => unix.set(cgroup, terms),
            (Err(_), Err(_)) => Ok(()),
        }
    }

    /// Removes a session.
    pub(super) fn forget_unix(&mut self, cgroup: u64) {
        if let Ok(lsm) = &mut self.lsm {
            lsm.forget(cgroup);
        }
        if let Ok(unix) = &mut self.unix {
            unix.forget(cgroup);
        }
    }

    /// Removes sessions whose cgroup is none of these, which are all that there are. Returns how many there were.
    pub(super) fn sweep_unix(&mut self, standing: &HashSet<u64>) -> usize {
        let lsm = self.lsm.iter().flat_map(Lsm::cgroups);
        let unix = self.unix.iter().flat_map(Unix::cgroups);
        let is_stray = |cgroup: &u64| *cgroup != ALL_SESSIONS && !standing.contains(cgroup);
        let strays: HashSet<u64> = lsm.chain(unix).filter(is_stray).collect();
        for cgroup in &strays {
            self.forget_unix(*cgroup);
        }
        strays.len()
    }

    /// Allows all sessions to connect to a socket without a supervisor. Only root may be able to change where the path leads.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn allow_unix(&mut self, path: &Path) -> Result<()> {
        match (&mut self.lsm, &mut self.unix) {
            (Ok(lsm), _) => {
                let name = [path.as_os_str().as_encoded_bytes(), &[0]].concat();
                lsm.allow_name(ALL_SESSIONS, &name)
            }
            (Err(_), Ok(unix)) => unix.allow(path),
            (Err(_), Err(_)) => Ok(()),
        }
    }

    /// Allows a session to connect to a socket, by its cookie, if the security hooks judge. None: all sessions, and only to
    /// this one of those that all were allowed.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn allow_socket(&mut self, session: Option<u64>, cookie: u64) -> Result<()> {
        let Ok(lsm) = &mut self.lsm else {
            return Ok(());
        };
        if session.is_none() {
            lsm.forget_sockets(ALL_SESSIONS);
        }
        lsm.allow_socket(session.unwrap_or(ALL_SESSIONS), cookie)
    }

    /// Allows a session to connect to an abstract name, if the security hooks judge.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn allow_abstract(&mut self, session: u64, name: &str) -> Result<()> {
        let name = [&[0], name.as_bytes()].concat();
        self.lsm
            .as_mut()
            .map_or(Ok(()), |lsm| lsm.allow_name(session, &name))
    }
}

/// No cgroup has that id.
const ALL_SESSIONS: u64 = 0;
