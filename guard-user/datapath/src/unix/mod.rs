//! What sessions may send to Unix sockets, where the kernel can be asked about that.

mod program;

use std::{
    io,
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};

use guard_sys::{
    bpf::{self, Bytes, MapLayout, PATH_SIZE},
    btf::Btf,
};
use program::{ABSTRACT, FREE, NAMESPACE, Offsets, Terms};

use super::{
    DatapathError, Result, cgroup, pins,
    top::{self, Hook, refused},
};

/// `BPF_MAP_TYPE_HASH`
const HASH: u32 = 1;
/// As many as there are sessions.
const SESSIONS: u32 = 4096;
/// As many paths count for all sessions.
const PATHS: u32 = 256;

/// `BPF_CGROUP_UNIX_CONNECT` and `BPF_CGROUP_UNIX_SENDMSG`.
pub(super) const HOOKS: [Hook; 2] = [("connect_unix", 49), ("sendmsg_unix", 50)];

/// What holds for a session's Unix sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnixTerms {
    /// Nothing of it is judged.
    pub free: bool,
    /// Landlock judges its abstract names.
    pub scoped: bool,
    /// The user namespace, beside the machine's own, in which paths are what they seem.
    pub user_namespace: Option<u32>,
    /// The cgroup of the session that it was started in.
    pub outer: Option<u64>,
}

/// The attached programs and their maps.
#[derive(Debug)]
pub(super) struct Unix {
    sessions: Bytes<8, 8>,
    paths: Bytes<PATH_SIZE, 1>,
}

impl Unix {
    /// Attaches them, with the maps that an earlier guardd has left or new ones, in the place of programs that are there.
    ///
    /// # Errors
    ///
    /// What the kernel lacks; then what was there is as it was.
    pub(super) fn attach(live: &Path, root: &cgroup::Root, btf: &Btf) -> Result<Self> {
        let unix = Self {
            sessions: Bytes::of(map(live, "unix", (8, 8), SESSIONS)?)
                .map_err(refused("its map"))?,
            paths: Bytes::of(map(live, "unix_paths", (PATH_SIZE, 1), PATHS)?)
                .map_err(refused("its map"))?,
        };
        let offsets = Offsets::of(btf).map_err(refused("the kernel's types"))?;
        let terms = Terms {
            root_level: root.session_level() - 1,
            root_id: root.id(),
            sessions: unix.sessions.fd().as_raw_fd(),
            paths: unix.paths.fd().as_raw_fd(),
        };
        top::attach(live, &HOOKS, &program::assemble(&terms, &offsets))?;
        Ok(unix)
    }

    /// What holds for the session that has the cgroup of that id.
    pub(super) fn set(&self, cgroup: u64, terms: UnixTerms) -> Result<()> {
        let free = if terms.free { FREE } else { 0 };
        let scoped = if terms.scoped { ABSTRACT } else { 0 };
        let flags = u64::from((free | scoped).cast_unsigned());
        let namespace = u64::from(terms.user_namespace.unwrap_or(0));
        let value = flags | namespace << NAMESPACE;
        let put = self
            .sessions
            .put(&cgroup.to_ne_bytes(), &value.to_ne_bytes());
        put.map_err(refused("its map"))
    }

    /// Forgets a session.
    pub(super) fn forget(&self, cgroup: u64) {
        // Ids are not used again; what stays takes room.
        let _ = self.sessions.remove(&cgroup.to_ne_bytes());
    }

    /// Lets all sessions connect to that path by themselves.
    pub(super) fn allow(&self, path: &Path) -> Result<()> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut key = [0; PATH_SIZE];
        let bytes = path.as_os_str().as_bytes();
        let Some(to) = key
            .get_mut(..bytes.len())
            .filter(|_| bytes.len() < PATH_SIZE)
        else {
            return Ok(());
        };
        to.copy_from_slice(bytes);
        self.paths.put(&key, &[1]).map_err(refused("its map"))
    }
}

fn map(live: &Path, name: &str, (key, value): (usize, usize), entries: u32) -> Result<OwnedFd> {
    let pin = pins::map(live, name);
    match bpf::open_map(&pin) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => {}
        opened => return opened.map_err(DatapathError::file("open", pin)),
    }
    let layout = MapLayout {
        kind: HASH,
        key_size: key as u32,
        value_size: value as u32,
        max_entries: entries,
        flags: 0,
    };
    let map = bpf::create_map(name, layout).map_err(refused("its map"))?;
    bpf::pin(&map, &pin).map_err(DatapathError::file("pin", pin))?;
    Ok(map)
}

impl super::Datapath {
    /// Why Unix sockets of sessions are not judged; none where they are.
    #[must_use]
    pub fn unix_problem(&self) -> Option<String> {
        match (&self.lsm, &self.unix) {
            (Err(lsm), Err(unix)) => Some(format!("{unix}; and {lsm}")),
            _ => None,
        }
    }

    /// Why nothing judges at the kernel's security hooks; none where something does. Then the kernel looks who listens at a
    /// Unix socket, and nobody connects for sessions.
    #[must_use]
    pub fn lsm_problem(&self) -> Option<&str> {
        self.lsm.as_ref().err().map(String::as_str)
    }

    /// Has the programs at the security hooks judge, where there are any: they know now what holds for whom. What has judged in
    /// their place goes.
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

    /// Judges a session's Unix sockets like that from now on, where they are judged.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn judge_unix(&mut self, cgroup: u64, terms: UnixTerms) -> Result<()> {
        match (&mut self.lsm, &self.unix) {
            (Ok(lsm), _) => lsm.set(cgroup, terms.free, terms.outer),
            (Err(_), Ok(unix)) => unix.set(cgroup, terms),
            (Err(_), Err(_)) => Ok(()),
        }
    }

    /// No more.
    pub(super) fn forget_unix(&mut self, cgroup: u64) {
        if let Ok(lsm) = &mut self.lsm {
            lsm.forget(cgroup);
        }
        if let Ok(unix) = &self.unix {
            unix.forget(cgroup);
        }
    }

    /// Lets all sessions connect to a socket by themselves. The path must be one that nobody but root can have lead
    /// elsewhere.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn allow_unix(&mut self, path: &Path) -> Result<()> {
        match (&mut self.lsm, &self.unix) {
            (Ok(lsm), _) => {
                let name = [path.as_os_str().as_encoded_bytes(), &[0]].concat();
                lsm.allow_name(ALL_SESSIONS, &name)
            }
            (Err(_), Ok(unix)) => unix.allow(path),
            (Err(_), Err(_)) => Ok(()),
        }
    }

    /// Lets a session connect to a socket, by its cookie, where the security hooks judge. None: all sessions, and to none
    /// that all were let connect to before.
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

    /// Lets a session connect to an abstract name, where the security hooks judge.
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
