//! The network namespaces that a worker serves.

use std::{
    collections::HashSet,
    fs::{File, Metadata},
    io,
    os::{fd::AsFd, unix::fs::MetadataExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use guard_common::{BootTime, NetnsCookie};
use guard_proto::wire::NetworkId;
use guard_sys::netns;

use super::sockets::NO_PORT;
use crate::{
    process::Process,
    quota::{Account, Limit, Pace, Quota},
};

/// Networks that are served: a session may make as many as it likes, and each takes a worker 34 descriptors.
const NETWORKS: Limit = Limit {
    session: Pace::held(16),
    user: Pace::held(64),
    all: 128,
    reserve: 4,
};
/// For how long one is not tried again that could not be served, and how many of an outermost session are tried meanwhile: each takes
/// guardd a thread, and the kernel a search for a port.
const PAUSE: Duration = Duration::from_millis(250);
const MAX_FAILED: usize = 4;
/// Networks that are not served, of an outermost session and of all, that are known by more than their number.
const MAX_UNSERVED_OF_SESSION: usize = 4;
const MAX_UNSERVED: usize = 64;
/// For how long one is served that no process is in: between two commands of a unit there is none, and the next may ask at once.
const LINGER: Duration = Duration::from_secs(10);

/// The identity of a network namespace: the inode of `/proc/PID/ns/net`, for as long as it is held open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Inode(u64, u64);

impl Inode {
    /// That of an open `/proc/PID/ns/net`.
    #[must_use]
    pub(crate) fn of(file: &Metadata) -> Self {
        Self(file.dev(), file.ino())
    }

    /// As in `net:[4026532281]`.
    #[must_use]
    pub(crate) const fn number(self) -> u64 {
        self.1
    }
}

/// A network that is served.
#[derive(Debug)]
pub(crate) struct Network {
    /// Its number between guardd and the worker.
    pub(crate) id: NetworkId,
    /// Its identity.
    pub(crate) inode: Inode,
    /// The kernel's number for it.
    pub(crate) cookie: NetnsCookie,
    /// Its open namespace file; none if it is guardd's own. It keeps the namespace alive, so unused networks are dropped.
    pub(crate) way: Option<File>,
    /// The outermost session of the process by which it was found first; none if it is guardd's own.
    pub(crate) account: Option<Account>,
    /// No sockets could be made there, and that was reported.
    pub(crate) is_dry: bool,
    /// Since when no process is in it.
    pub(crate) left: Option<Instant>,
}

/// A network that could not be served.
#[derive(Clone, Copy, Debug)]
struct Failed {
    account: Account,
    inode: Inode,
    at: Instant,
}

/// Why a network is not served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum WhyUnserved {
    /// No port of its loopback is free.
    NoPort,
    /// Its loopback is down.
    NoLoopback,
    /// As many are served as may be.
    TooMany,
    /// The system's error.
    Other(String),
}

impl WhyUnserved {
    fn of(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::AddrInUse => Self::NoPort,
            io::ErrorKind::AddrNotAvailable => Self::NoLoopback,
            _ => match error.to_string() {
                text if text == NO_PORT => Self::NoPort,
                text => Self::Other(text),
            },
        }
    }
}

/// A network that a process of a session is in, and that is not served.
#[derive(Clone, Debug)]
pub(crate) struct Unserved {
    /// The outermost session of the process.
    pub(crate) account: Account,
    /// The process by which it was found last.
    pub(crate) pid: u32,
    /// Its identity.
    pub(crate) inode: Inode,
    /// Why it is not served.
    pub(crate) why: WhyUnserved,
}

/// All networks that are served.
#[derive(Debug, Default)]
pub(crate) struct Networks {
    all: Vec<Network>,
    /// How many there have been with this worker.
    count: u32,
    /// Outermost sessions of which it was logged that no more are served: what is inside may ask without end.
    told: HashSet<Account>,
    /// Those that could not be served a moment ago.
    failed: Vec<Failed>,
    /// Those that are not served, until they are, or no process is in them.
    unserved: Vec<Unserved>,
}

impl Networks {
    /// The number of the next network. guardd's own has the first.
    pub(crate) fn next_id(&mut self) -> NetworkId {
        let id = NetworkId(self.count);
        self.count += 1;
        id
    }

    /// Adds a network.
    pub(crate) fn add(&mut self, network: Network) {
        self.unserved.retain(|one| one.inode != network.inode);
        self.all.push(network);
    }

    /// Those that are not served, although a process is in them that needs it.
    #[must_use]
    pub(crate) fn unserved(&self) -> &[Unserved] {
        &self.unserved
    }

    /// Notes that the network of a process is not served. There is room for a few of each outermost session.
    fn note_unserved(&mut self, unserved: Unserved) {
        self.unserved.retain(|one| one.inode != unserved.inode);
        let own = self.unserved.iter();
        let own = own.filter(|one| one.account == unserved.account).count();
        if own < MAX_UNSERVED_OF_SESSION && self.unserved.len() < MAX_UNSERVED {
            self.unserved.push(unserved);
        }
    }

    /// Whether that network is served.
    #[must_use]
    pub(crate) fn has(&self, inode: Inode) -> bool {
        self.all.iter().any(|one| one.inode == inode)
    }

    /// The network with that number.
    #[must_use]
    pub(crate) fn get(&self, id: NetworkId) -> Option<&Network> {
        self.all.iter().find(|one| one.id == id)
    }

    /// Notes whether no sockets can be made there. True if that is new, and bad.
    fn runs_dry(&mut self, id: NetworkId, is_dry: bool) -> bool {
        let Some(network) = self.all.iter_mut().find(|one| one.id == id) else {
            return false;
        };
        let was_dry = std::mem::replace(&mut network.is_dry, is_dry);
        is_dry && !was_dry
    }

    /// The network of a process in that cgroup, if it is to be served from now on; `account`: the outermost session of the process.
    #[must_use]
    pub(crate) fn new_at(
        &mut self,
        account: Account,
        cgroup: &Path,
        pid: u32,
    ) -> Option<(Inode, File)> {
        self.failed.retain(|one| one.at.elapsed() < PAUSE);
        let failed = self.failed.iter().filter(|one| one.account == account);
        if failed.count() >= MAX_FAILED {
            return None;
        }
        let has_failed = |inode| self.failed.iter().any(|one| one.inode == inode);
        let found = way_into(pid, cgroup);
        let found = found.filter(|(inode, _)| !self.has(*inode) && !has_failed(*inode))?;
        if !self.has_room(account) {
            if self.told.insert(account) {
                tracing::warn!(?account, "too many networks are served for it");
            }
            self.note_unserved(Unserved {
                account,
                pid,
                inode: found.0,
                why: WhyUnserved::TooMany,
            });
            return None;
        }
        Some(found)
    }

    /// What `make` makes in a network that is not guardd's own; nothing if it cannot, which is reported once as no sockets for
    /// `whom`.
    pub(crate) fn sockets<T: Default + Send>(
        &mut self,
        id: NetworkId,
        whom: &str,
        make: impl FnOnce() -> io::Result<T> + Send,
    ) -> T {
        let way = self.get(id).and_then(|network| network.way.as_ref());
        let made = way.map(|way| there(Some(way), make));
        let is_news = self.runs_dry(id, matches!(made, Some(Err(_))));
        match made {
            Some(Ok(sockets)) => sockets,
            Some(Err(error)) => {
                if is_news {
                    tracing::warn!(%error, network = id.0, "no sockets there for the {whom}");
                }
                T::default()
            }
            None => T::default(),
        }
    }

    /// Notes that a network of an outermost session, in which that process is, could not be served.
    pub(crate) fn note_failed(
        &mut self,
        account: Account,
        pid: u32,
        inode: Inode,
        error: &io::Error,
    ) {
        let at = Instant::now();
        self.failed.push(Failed { account, inode, at });
        self.note_unserved(Unserved {
            account,
            pid,
            inode,
            why: WhyUnserved::of(error),
        });
    }

    /// Whether one more network of an account may be served.
    #[must_use]
    fn has_room(&self, account: Account) -> bool {
        let served = self.all.iter().filter_map(|one| Some((one.account?, 1)));
        Quota::counted(NETWORKS, served).has_room(account, 1, BootTime(0))
    }

    /// Removes the networks that no process has been in for [`LINGER`], but for guardd's own.
    pub(crate) fn take_left(
        &mut self,
        now: Instant,
        is_in_use: impl Fn(Inode) -> bool,
    ) -> Vec<Network> {
        self.unserved.retain(|one| is_in_use(one.inode));
        let is_left = |one: &mut Network| {
            if one.way.is_none() || is_in_use(one.inode) {
                one.left = None;
                return false;
            }
            now.duration_since(*one.left.get_or_insert(now)) >= LINGER
        };
        let left: Vec<_> = self.all.extract_if(.., is_left).collect();
        if !left.is_empty() {
            self.told.clear();
        }
        left
    }

    /// Removes all. Returns the kernel's numbers for them.
    pub(crate) fn take_all(&mut self) -> Vec<NetnsCookie> {
        self.count = 0;
        self.unserved.clear();
        let all = self.all.drain(..);
        all.map(|one| one.cookie).collect()
    }
}

/// `/proc/PID/ns/net`.
pub(super) fn namespace(pid: u32) -> PathBuf {
    format!("/proc/{pid}/ns/net").into()
}

/// The network of a process, if that is in the session's cgroup. The number may be another process's by now: so the cgroup is
/// checked after the network is opened.
fn way_into(pid: u32, cgroup: &Path) -> Option<(Inode, File)> {
    let way = File::open(namespace(pid)).ok()?;
    let inode = Inode::of(&way.metadata().ok()?);
    Process::is_in(pid, cgroup).then_some((inode, way))
}

/// Runs `work` in a network namespace, or in guardd's own.
///
/// # Errors
///
/// The system's.
pub(crate) fn there<T: Send>(
    way: Option<&File>,
    work: impl FnOnce() -> io::Result<T> + Send,
) -> io::Result<T> {
    match way {
        Some(way) => netns::within(way.as_fd(), work)?,
        None => work(),
    }
}

#[cfg(test)]
mod tests {
    use guard_common::SessionId;

    use super::*;

    const ONE: Account = Account::inside(1000, SessionId(1));
    const OTHER: Account = Account::inside(1001, SessionId(2));

    #[test]
    fn a_network_is_forgotten_when_nobody_is_in_it() {
        let mut networks = Networks::default();
        let own = Inode::of(&std::fs::metadata("/proc/self/ns/net").unwrap());
        for (inode, way) in [(own, false), (Inode(0, 1), true), (Inode(0, 2), true)] {
            let network = Network {
                id: networks.next_id(),
                inode,
                cookie: NetnsCookie(networks.count.into()),
                way: way.then(|| File::open("/proc/self/ns/net").unwrap()),
                account: way.then_some(ONE),
                is_dry: false,
                left: None,
            };
            networks.add(network);
        }
        assert!(networks.has(own) && !networks.has(Inode(0, 3)));
        let dry = [true, true, false, true].map(|is_dry| networks.runs_dry(NetworkId(1), is_dry));
        assert_eq!(dry, [true, false, false, true]);
        let now = Instant::now();
        let in_use = |inode| inode == Inode(0, 1);
        assert!(networks.take_left(now, in_use).is_empty());
        // Somebody comes back, and leaves again.
        assert!(networks.take_left(now + LINGER / 2, |_| true).is_empty());
        let again = now + LINGER;
        assert!(networks.take_left(again, in_use).is_empty());
        let left = networks.take_left(again + LINGER, in_use);
        assert_eq!(left.len(), 1);
        assert_eq!((left[0].id, left[0].cookie), (NetworkId(2), NetnsCookie(3)));
        assert!(networks.get(NetworkId(0)).is_some());
        assert_eq!(networks.take_all(), [NetnsCookie(1), NetnsCookie(2)]);
        assert_eq!(networks.next_id(), NetworkId(0));
    }

    #[test]
    fn what_could_not_be_served_is_not_tried_again_at_once() {
        let mut networks = Networks::default();
        let (one, other) = (ONE, OTHER);
        let (own, cgroup) = (std::process::id(), Path::new("/"));
        let inode = Inode::of(&std::fs::metadata("/proc/self/ns/net").unwrap());
        // However long this test takes, the pause is not over.
        let fail = |networks: &mut Networks, inode| {
            networks.note_failed(one, own, inode, &io::Error::other(NO_PORT));
            networks.failed.last_mut().unwrap().at += 1000 * PAUSE;
        };
        fail(&mut networks, inode);
        assert!(networks.new_at(one, cgroup, own).is_none());
        networks.failed[0].at -= 1001 * PAUSE;
        assert!(networks.new_at(one, cgroup, own).is_some() && networks.failed.is_empty());
        // Of a session that makes one after the other no more are tried than these.
        (1..MAX_FAILED as u64).for_each(|number| fail(&mut networks, Inode(0, number)));
        assert!(networks.new_at(one, cgroup, own).is_some());
        fail(&mut networks, Inode(0, 0));
        assert!(networks.new_at(one, cgroup, own).is_none());
        assert!(networks.new_at(other, cgroup, own).is_some());
    }

    #[test]
    fn what_is_not_served_is_known_until_it_is_or_nobody_is_in_it() {
        let mut networks = Networks::default();
        let account = ONE;
        let fail = |networks: &mut Networks, number, error: io::Error| {
            networks.note_failed(account, 4711, Inode(0, number), &error);
        };
        let known = |networks: &Networks| {
            let all = networks.unserved().iter();
            all.map(|one| (one.inode.number(), one.why.clone()))
                .collect::<Vec<_>>()
        };
        fail(&mut networks, 1, io::ErrorKind::AddrNotAvailable.into());
        fail(&mut networks, 1, io::Error::other(NO_PORT));
        fail(&mut networks, 2, io::ErrorKind::AddrInUse.into());
        fail(&mut networks, 3, io::Error::other("odd"));
        let odd = WhyUnserved::Other("odd".to_owned());
        let all = [
            (1, WhyUnserved::NoPort),
            (2, WhyUnserved::NoPort),
            (3, odd.clone()),
        ];
        assert_eq!(known(&networks), all);
        let is_in_use = |inode: Inode| inode.number() != 2;
        networks.take_left(Instant::now(), is_in_use);
        let served = Network {
            id: networks.next_id(),
            inode: Inode(0, 1),
            cookie: NetnsCookie(1),
            way: None,
            account: Some(account),
            is_dry: false,
            left: None,
        };
        networks.add(served);
        assert_eq!(known(&networks), [(3, odd)]);
        (4..100).for_each(|number| fail(&mut networks, number, io::Error::other(NO_PORT)));
        assert_eq!(networks.unserved().len(), MAX_UNSERVED_OF_SESSION);
    }

    #[test]
    fn a_session_has_so_many_and_no_more() {
        let mut networks = Networks::default();
        for inode in 0..16 {
            assert!(networks.has_room(ONE));
            let network = Network {
                id: networks.next_id(),
                inode: Inode(0, inode),
                cookie: NetnsCookie(inode),
                way: None,
                account: Some(ONE),
                is_dry: false,
                left: None,
            };
            networks.add(network);
        }
        assert!(!networks.has_room(ONE));
        assert!(networks.has_room(OTHER));
    }
}
