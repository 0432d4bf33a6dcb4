//! Whether a session may connect to a file.

use std::{
    collections::{HashMap, HashSet},
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use guard_policy::SocketName;
use guard_sys::unix_diag::{BoundSocket, SocketFile, socket_at};
use rustix::fs::{CWD, FileType, Mode, OFlags, fstat, openat, stat};

use super::{
    Ask, Listening, SessionSockets, Shared,
    sessions::{Sessions, SocketSearch},
};

/// Files that are kept.
const CACHED: usize = 256;

/// A file, identified while it is held open: its number is no other file's then.
type FileId = (u64, u64);

/// The verdict on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// The supervisor makes it.
    Connect,
    /// It fails: nothing listens there, or it is no socket.
    Nobody,
    /// It is refused.
    Refuse(Listening),
}

/// Judges files.
pub(super) struct SocketJudge {
    sessions: Sessions,
    /// The session whose policy applies.
    session: String,
    /// The files that the policy allows, which must stay open so that their numbers are not reused.
    allowed: HashSet<FileId>,
    _open: Vec<OwnedFd>,
    names: HashSet<Vec<u8>>,
    by_itself: HashSet<PathBuf>,
    ask: Ask,
    guardd: PathBuf,
    /// Files whose socket is a session's. A file never becomes another socket's.
    own: Shared<HashMap<FileId, (OwnedFd, String)>>,
}

impl SocketJudge {
    /// A judge for a session.
    ///
    /// # Errors
    ///
    /// The system's.
    pub(super) fn new(sockets: &SessionSockets, ask: Ask) -> io::Result<Self> {
        let name = sockets.cgroup.file_name().and_then(|name| name.to_str());
        let open = open_allowed(&sockets.terms.allow, sockets.agent.as_deref());
        let mut open: Vec<_> = open.into_iter().map(|(_, file)| file).collect();
        // By a link at an allowed name the supervisor would be guardd's peer, which is outside and may answer.
        let guardds = stat(&sockets.guardd).ok();
        let guardds = guardds.map(|meta| (meta.st_dev, meta.st_ino));
        open.retain(|file| guardds.is_none() || id(file) != guardds);
        let allowed = open.iter().filter_map(id).collect();
        let abstracts = sockets.terms.allow.iter().filter_map(|name| match name {
            SocketName::Abstract(name) => Some(name.clone().into_bytes()),
            _ => None,
        });
        Ok(Self {
            sessions: Sessions::beside(&sockets.cgroup)?,
            session: name.unwrap_or_default().to_owned(),
            allowed,
            _open: open,
            names: abstracts.collect(),
            by_itself: sockets.terms.by_itself.iter().cloned().collect(),
            ask,
            guardd: sockets.guardd.clone(),
            own: Shared::default(),
        })
    }

    /// Whether the kernel half lets every session connect there.
    pub(super) fn goes_by_itself(&self, path: &Path) -> bool {
        self.by_itself.contains(path)
    }

    /// Whether the policy allows an abstract name to a thread.
    pub(super) fn allows_name(&self, thread: i32, name: &[u8]) -> bool {
        self.names.contains(name) && self.is_ours(thread)
    }

    /// The session that a thread is in, by its id.
    pub(super) fn session_of(&self, thread: i32) -> Option<String> {
        self.sessions.of(thread)
    }

    /// Whether a thread is in the session of the policy, not in one inside it, whose policy is not known here.
    fn is_ours(&self, thread: i32) -> bool {
        self.sessions.of(thread).as_ref() == Some(&self.session)
    }

    /// Judges a thread's connection to a file.
    pub(super) fn judge(&self, thread: i32, file: &OwnedFd) -> Word {
        let is_socket = |mode| FileType::from_raw_mode(mode) == FileType::Socket;
        let found = fstat(file).ok().filter(|meta| is_socket(meta.st_mode));
        let Some(id) = found.map(|meta| (meta.st_dev, meta.st_ino)) else {
            return Word::Nobody;
        };
        let Some(session) = self.sessions.of(thread) else {
            return Word::Refuse(Listening::Unknown);
        };
        if self.allowed.contains(&id) && session == self.session {
            return Word::Connect;
        }
        if self.is_cached(id, &session) {
            return Word::Connect;
        }
        let found = SocketFile::of(file).and_then(|at| Ok((at, socket_at(at)?)));
        let socket = match found {
            Ok((_, Some(socket))) => socket,
            Ok((at, None)) if self.is_bound_elsewhere(&session, at) => {
                self.cache(id, file, session);
                return Word::Connect;
            }
            Ok((_, None)) => return Word::Nobody,
            Err(_) => return Word::Refuse(Listening::Unknown),
        };
        let found = self.sessions.has_open(&session, socket, file);
        // A server that keeps others from looking at it, as ssh-agent does.
        let hidden = || {
            if socket.is_sure {
                self.is_open(&session, socket)
            } else {
                None
            }
        };
        let word = word(found, hidden);
        if word == Word::Connect {
            self.cache(id, file, session);
        }
        word
    }

    fn is_open(&self, session: &str, socket: BoundSocket) -> Option<bool> {
        (self.ask.has_open)(&self.guardd, session, socket.number, socket.cookie)
    }

    /// Whether a process of the session has the socket open that is bound there, in another network namespace than this one:
    /// the kernel lists those of this one.
    fn is_bound_elsewhere(&self, session: &str, at: SocketFile) -> bool {
        at.is_sure
            && self.sessions.has_networks(session)
            && (self.ask.has_bound)(&self.guardd, session, at.inode, at.device)
    }

    fn is_cached(&self, id: FileId, session: &str) -> bool {
        let own = self.own.lock();
        own.is_ok_and(|own| own.get(&id).is_some_and(|(_, of)| of == session))
    }

    fn cache(&self, id: FileId, file: &OwnedFd, session: String) {
        let (Ok(file), Ok(mut own)) = (file.try_clone(), self.own.lock()) else {
            return;
        };
        if own.len() >= CACHED {
            own.clear();
        }
        own.insert(id, (file, session));
    }
}

/// The word on a socket that was looked for in a session. `hidden`: whether a process has it that could not be looked at.
fn word(found: io::Result<SocketSearch>, hidden: impl FnOnce() -> Option<bool>) -> Word {
    match found {
        Ok(SocketSearch::Open) => Word::Connect,
        Ok(SocketSearch::Nowhere) => Word::Refuse(Listening::Outside),
        Ok(SocketSearch::Hidden) => match hidden() {
            Some(true) => Word::Connect,
            Some(false) => Word::Refuse(Listening::Outside),
            None => Word::Refuse(Listening::Unknown),
        },
        Err(nobody) if nobody.kind() == io::ErrorKind::ConnectionRefused => Word::Nobody,
        Err(_) => Word::Refuse(Listening::Unknown),
    }
}

fn id(file: &OwnedFd) -> Option<FileId> {
    let meta = fstat(file).ok()?;
    Some((meta.st_dev, meta.st_ino))
}

/// The files that a policy's names mean now; `agent` is the value of `SSH_AUTH_SOCK`.
pub(super) fn open_allowed(
    allow: &[SocketName],
    agent: Option<&Path>,
) -> Vec<(SocketName, OwnedFd)> {
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let open = |path: PathBuf| openat(CWD, path, flags, Mode::empty()).ok();
    let files = allow.iter().flat_map(|name| {
        let opened = paths(name, agent).into_iter().filter_map(open);
        opened.map(|file| (name.clone(), file)).collect::<Vec<_>>()
    });
    files.collect()
}

fn paths(name: &SocketName, agent: Option<&Path>) -> Vec<PathBuf> {
    match name {
        SocketName::Path(pattern) => {
            let options = glob::MatchOptions {
                require_literal_separator: true,
                ..glob::MatchOptions::new()
            };
            let found = glob::glob_with(&only_stars(pattern), options);
            found.into_iter().flatten().filter_map(Result::ok).collect()
        }
        SocketName::SshAgent => agent.map(Path::to_owned).into_iter().collect(),
        SocketName::Abstract(_) => Vec::new(),
    }
}

/// A pattern in which `?` and `[` stand for themselves.
fn only_stars(pattern: &str) -> String {
    let parts: Vec<_> = pattern.split('*').map(glob::Pattern::escape).collect();
    parts.join("*")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_is_said_where_that_is_known() {
        let [outside, unknown] = [Listening::Outside, Listening::Unknown].map(Word::Refuse);
        let of = |found: SocketSearch, hidden: Option<bool>| word(Ok(found), || hidden);
        assert_eq!(of(SocketSearch::Open, None), Word::Connect);
        assert_eq!(of(SocketSearch::Nowhere, None), outside);
        assert_eq!(of(SocketSearch::Hidden, Some(true)), Word::Connect);
        assert_eq!(of(SocketSearch::Hidden, Some(false)), outside);
        // As without guardd.
        assert_eq!(of(SocketSearch::Hidden, None), unknown);
        let failed = |kind: io::ErrorKind| word(Err(kind.into()), || Some(true));
        assert_eq!(failed(io::ErrorKind::ConnectionRefused), Word::Nobody);
        assert_eq!(failed(io::ErrorKind::PermissionDenied), unknown);
    }
}
