//! Connecting a session's Unix sockets for it.
//!
//! Where the kernel cannot judge by who listens, it refuses a session every connection to a Unix socket
//! ([`guard_datapath`], `unix`). What may be is done from outside: each connect(2) of the session waits for a word
//! (seccomp_unotify(2)); a process that `guard run` starts looks up the file that it means, judges who listens there, and connects the
//! session's own socket (pidfd_getfd(2)) to that very file. Whatever else the call was about goes to the kernel, which asks
//! guard's programs: so nothing is gained by changing the arguments of a call that is being judged, and where nobody
//! answers, or whoever does was deceived about what kind of address it is, the answer is no.
//!
//! A session may connect to:
//!
//! - sockets that a process of the same session has open, under whatever name;
//! - what its policy allows: the files that were there when it started, also if another has got their name since.

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

use super::identity::Identity;
use answer::Plan;
use guard_policy::SocketName;
use guard_proto::{NamedSocket, SocketAddress, SocketTerms};
use guard_sys::{
    notify::Listener,
    unix_diag::{SocketFile, socket_at},
};
use judge::Judge;
pub(super) use server::Server;
use server::Told;
use unread::Unread;
use workers::Workers;

/// As whom sockets are connected: the session's user, so that files are open to it as they are to that one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Whom {
    uid: u32,
    gid: u32,
    groups: Vec<u32>,
}

/// What is connected, for whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sockets {
    /// The session's cgroup, a directory.
    cgroup: PathBuf,
    /// What it may connect to, beside its own.
    terms: SocketTerms,
    /// None where this process is that user already.
    whom: Option<Whom>,
    /// What `SSH_AUTH_SOCK` names.
    agent: Option<PathBuf>,
    /// Where guardd listens.
    guardd: PathBuf,
}

/// A connection that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RefusedSocket {
    /// The name: a path, or an abstract one after an `@`; empty where it is not known.
    pub socket: String,
    /// The process that asked.
    pub pid: u32,
    /// Who listens there.
    pub listener: Listening,
}

/// Who listens where a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Listening {
    /// Somebody outside of the session.
    Outside,
    /// It could not be told.
    Unknown,
}

/// Asks the guardd that listens somewhere about processes of a session that this one may not look at.
#[derive(Clone, Copy, Debug)]
pub struct Ask {
    /// Where a thread is about to connect. None where that cannot be known.
    pub address: fn(guardd: &Path, session: &str, thread: u32) -> Option<SocketAddress>,
    /// Whether one of them has a socket open, by its number and its cookie. None where that cannot be known.
    pub has_open: fn(guardd: &Path, session: &str, number: u64, cookie: u64) -> Option<bool>,
    /// Whether one of them has the socket open that is bound at a file, by the file's number and the device of its file system.
    pub has_bound: fn(guardd: &Path, session: &str, (u64, u64)) -> bool,
}

impl Sockets {
    /// Of a session.
    #[must_use]
    pub fn of(cgroup: PathBuf, terms: SocketTerms, identity: &Identity, guardd: PathBuf) -> Self {
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

/// What `SSH_AUTH_SOCK` names.
fn agent() -> Option<PathBuf> {
    std::env::var_os("SSH_AUTH_SOCK").map(PathBuf::from)
}

/// The sockets that a policy's names mean now, where the kernel is to be told.
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

/// Answers calls until nobody is left who could call, on this thread, which becomes one of the session's user's.
///
/// # Errors
///
/// The system's, as where it may not become that user: as somebody else nothing is connected.
fn answer_all(listener: Listener, sockets: &Sockets, ask: Ask, told: Told) -> io::Result<()> {
    let judge = Arc::new(Judge::new(sockets, ask)?);
    let unread = Unread::new(sockets, ask, Arc::clone(&judge), told.clone());
    let workers = Workers::new(listener, sockets.whom.clone(), unread);
    workers.become_user()?;
    let listener = workers.listener();
    listener.take_turns();
    // Where receiving ends by itself, there is no need to wait before it, which is a third of what a call costs.
    let is_told = Listener::ends_by_itself();
    while is_told || waits(listener) {
        // An error is about one call, whose caller has ended, or about all: nobody is left.
        let Ok(call) = listener.receive() else {
            if is_told && !waits(listener) {
                break;
            }
            continue;
        };
        match answer::plan(&call, &judge, &told) {
            Plan::Answer(answer) => drop(listener.answer(call.id, answer)),
            Plan::Connect(target) => workers.connect(call, target),
        }
    }
    Ok(())
}

/// Waits for a call; false where there will be none.
fn waits(listener: &Listener) -> bool {
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

/// What all threads know.
type Shared<T> = Mutex<T>;
