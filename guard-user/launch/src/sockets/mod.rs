//! The supervisor, which connects a session's Unix sockets.
//!
//! If the kernel half cannot judge by the listener, it refuses a session every connection to a Unix socket ([`guard_datapath`],
//! `unix`). Allowed ones are made from outside: each connect(2) of the session waits for the supervisor (seccomp_unotify(2)), a
//! process that `guard run` starts. It looks up the file of the address, judges the listener, and connects the session's own
//! socket (pidfd_getfd(2)) to that very file. All other calls go on to the kernel, which runs guard's programs. So changed
//! arguments of a waiting call gain nothing; and without a supervisor, or with one that was deceived about the kind of address,
//! the answer is no.
//!
//! A session may connect to:
//!
//! - sockets that a process of the same session has open, under whatever name;
//! - what its policy allows: the files that existed when it started, even if another file has their name since.

mod answer;
mod judge;
mod lookup;
mod server;
mod sessions;
mod unread;
mod workers;

use std::{
    io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use rustix::event::{PollFd, PollFlags, poll};
use serde::{Deserialize, Serialize};

use super::identity::CommandIdentity;
use answer::AnswerPlan;
use guard_policy::SocketName;
use guard_proto::sockets::{NamedSocket, SocketAddress, SocketTerms};
use guard_sys::{
    notify::NotifyListener,
    unix_diag::{SocketFile, socket_at},
};
use judge::SocketJudge;
use server::RefusalSender;
pub(super) use server::Server;
use unread::Unread;
use workers::{Workers, become_user};

/// The session's user, as which sockets are connected, so that it can open what that user can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whom {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// A session's sockets, and the terms for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionSockets {
    /// The session's cgroup, a directory.
    cgroup: PathBuf,
    /// The sockets that it may connect to, beside its own.
    terms: SocketTerms,
    /// None if this process is that user already.
    whom: Option<Whom>,
    /// The value of `SSH_AUTH_SOCK`.
    agent: Option<PathBuf>,
    /// guardd's socket.
    guardd: PathBuf,
}

/// A connection that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefusedSocket {
    /// The name: a path, or an abstract one after an `@`; empty where it is not known.
    pub socket: String,
    /// The process that asked. It may end before guardd looks at it.
    pub pid: u32,
    /// The name of its main thread at that moment, where it could be read.
    pub comm: Option<String>,
    /// Who listens there.
    pub listener: Listening,
}

/// Who listens where a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Listening {
    /// Somebody outside of the session.
    Outside,
    /// It is not known.
    Unknown,
}

/// Asks guardd about processes of a session that this one may not read.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// The address in a thread's connect(2). None if it cannot be known.
    pub address: fn(guardd: &Path, session: &str, thread: u32) -> Option<SocketAddress>,
    /// Whether one of them has a socket open, by its number and its cookie. None where that cannot be known.
    pub has_open: fn(guardd: &Path, session: &str, number: u64, cookie: u64) -> Option<bool>,
    /// Whether one of them has the socket open that is bound at a file, by the file's number and the device of its file system.
    pub has_bound: fn(guardd: &Path, session: &str, inode: u64, device: u64) -> bool,
}

impl SessionSockets {
    /// The sockets of a session.
    #[must_use]
    pub fn of(
        cgroup: PathBuf,
        terms: SocketTerms,
        identity: &CommandIdentity,
        guardd: PathBuf,
    ) -> Self {
        let whom = identity.switch().map(|switch| Whom {
            uid: switch.account.uid,
            gid: switch.account.gid,
            groups: switch.groups.clone(),
        });
        Self {
            cgroup,
            terms,
            whom,
            agent: agent(),
            guardd,
        }
    }
}

/// The value of `SSH_AUTH_SOCK`.
fn agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from)
}

/// The sockets that a policy's names mean now, for the kernel half.
#[must_use]
pub fn named(names: &[SocketName]) -> Vec<NamedSocket> {
    let open = judge::open_allowed(names, agent().as_deref());
    let sockets = open.into_iter().filter_map(|(name, file)| {
        let socket = SocketFile::of(file).and_then(socket_at);
        let cookie = socket.ok().flatten()?.cookie;
        Some(NamedSocket { name, cookie })
    });
    sockets.collect()
}

/// Answers calls until no process is left that could make one, on this thread, which becomes one of the session's user's.
///
/// # Errors
///
/// The system's, as if it may not become that user: as another user it connects nothing.
fn answer_all(
    listener: NotifyListener,
    sockets: &SessionSockets,
    ask: Ask,
    told: RefusalSender,
) -> io::Result<()> {
    // Before it opens what the policy names: that user may have planted a link where root alone can follow it.
    if let Some(whom) = &sockets.whom {
        become_user(whom)?;
    }
    let judge = Arc::new(SocketJudge::new(sockets, ask)?);
    let unread = Unread::new(sockets, ask, Arc::clone(&judge), told.clone());
    let workers = Workers::new(listener, unread);
    let listener = workers.listener();
    listener.take_turns();
    // If receiving ends by itself, no wait is needed before it, which is a third of the cost of a call.
    let is_told = NotifyListener::ends_by_itself();
    while is_told || waits(listener) {
        // An error is about one call, whose caller has ended, or about all: no process is left.
        let Ok(call) = listener.receive() else {
            if is_told && !waits(listener) {
                break;
            }
            continue;
        };
        match answer::plan(&call, &judge, &told) {
            AnswerPlan::Answer(answer) => drop(listener.answer(call.id, answer)),
            AnswerPlan::Connect(target) => workers.connect(call, target),
        }
    }
    Ok(())
}

/// Waits for a call; false if there will be none.
fn waits(listener: &NotifyListener) -> bool {
    let mut ready = [PollFd::from_borrowed_fd(
        listener.fd().as_fd(),
        PollFlags::IN,
    )];
    let polled = poll(&mut ready, None);
    match polled {
        Err(rustix::io::Errno::INTR) => true,
        Err(_) => false,
        Ok(_) => !ready.iter().any(|one| {
            let seen = one.revents();
            seen.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL)
        }),
    }
}

/// What all threads share.
type Shared<T> = Mutex<T>;
