//! What the daemon knows, in one place with one owner.
//!
//! The kernel is the truth: what is here beside the [`Datapath`] is what the kernel has no room
//! for, or a copy that is made again at each start.

use std::{
    cell::RefCell,
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    fs, io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use guard_common::{BootTime, PolicyId, SessionId};
use guard_datapath::{Datapath, EventReader, Places};
use guard_policy::{Environment, networks_around};
use guard_proto as proto;
use guard_sys::{
    cgroup2::{self, Hierarchy},
    host::Host,
    pidfd::Peer,
};

use crate::{
    config::Config,
    control::{
        auth::{Caller, Place},
        failure::Refusal,
        ids,
        users::Users,
    },
    grants::holes::{self, Holes},
    holds::Holds,
    policies::{
        Policies,
        library::{Library, Source},
        look_ups::LookUps,
        names::{Names, Resolver},
        unusable::Unusable,
    },
    proxy::Proxy,
    record::{audit::Audit, metrics::Counters, shelf::Shelf},
    relays::Relays,
    requests::{
        Asked, Requests,
        events::Meters,
        followers::Followers,
        offers::{Choice, Choices},
        tries::Tries,
    },
    sessions::{
        self, Session, Sessions,
        arrivals::Unassigned,
        assign,
        launchers::Launchers,
        systemd::{self, Main},
    },
    unix::{SocketStops, looks::Looks},
    watch::Watches,
};

/// The files beside the kernel's state.
#[derive(Debug)]
pub struct Shelves {
    /// By a session's id.
    pub sessions: Shelf<sessions::About>,
    /// By a hole's id.
    pub holes: Shelf<holes::About>,
    /// By a request's id.
    pub requests: Shelf<Asked>,
    /// By the number of a slot.
    pub policies: Shelf<Source>,
    /// The last answers of the name servers, under one key.
    pub names: Shelf<Names>,
    /// What people chose last, by uid.
    pub choices: Shelf<VecDeque<Choice>>,
    /// The file for the key of the certificate authority. Only the proxy reads it.
    pub key: PathBuf,
}

impl Shelves {
    /// The directories of all of them.
    pub const DIRS: [&str; 6] = [
        "sessions", "holes", "requests", "policies", "names", "choices",
    ];

    /// Those in `dir`.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let [sessions, holes, requests, policies, names, choices] =
            Self::DIRS.map(|shelf| dir.join(shelf));
        Ok(Self {
            sessions: Shelf::open(sessions)?,
            holes: Shelf::open(holes)?,
            requests: Shelf::open(requests)?,
            policies: Shelf::open(policies)?,
            names: Shelf::open(names)?,
            choices: Shelf::open(choices)?,
            key: dir.join("authority.key"),
        })
    }

    /// Removes the files that a guardd was killed over. How many there were.
    pub fn sweep(&self) -> usize {
        let states = self.sessions.sweep() + self.holes.sweep() + self.requests.sweep();
        states + self.policies.sweep() + self.names.sweep() + self.choices.sweep()
    }

    /// Takes all of them away: nothing is enforced any more.
    pub fn destroy(self) {
        self.sessions.destroy();
        self.holes.destroy();
        self.requests.destroy();
        self.policies.destroy();
        self.names.destroy();
        self.choices.destroy();
        // There may be none.
        let _ = fs::remove_file(&self.key);
    }

    /// Takes away what belongs to kernel state that is gone.
    pub fn clear(&self) {
        self.sessions.clear();
        self.holes.clear();
        self.requests.clear();
        self.policies.clear();
    }
}

/// The key of the one value on [`Shelves::names`].
pub const NAMES: &str = "known";

/// Everything the daemon knows.
#[derive(Debug)]
pub struct State {
    /// The kernel half.
    pub datapath: Datapath,
    /// The refusals that it tells of.
    pub events: EventReader,
    /// Where the guard lives.
    pub places: Places,
    /// The settings.
    pub config: Config,
    /// Where policies come from.
    pub sources: Library,
    /// Connections to others that were refused.
    pub socket_stops: SocketStops,
    /// The Unix sockets that sessions connect to by themselves.
    pub sockets_by_themselves: Vec<PathBuf>,
    /// What the kernel's slots hold.
    pub policies: Policies,
    /// Policies of the daemon's that could not be put in force, at the last look.
    pub unusable: Unusable,
    /// What an unowned cgroup is judged by.
    pub default_slot: Option<PolicyId>,
    /// The sessions.
    pub sessions: Sessions,
    /// Who opened which hole.
    pub holes: Holes,
    /// The questions that wait.
    pub requests: Requests,
    /// The trail.
    pub audit: Audit,
    /// What has happened, in numbers.
    pub counters: Counters,
    /// Why metrics are not served, where they should be.
    pub metrics_problem: Option<String>,
    /// How much each session has written to it lately.
    pub meters: Meters,
    /// What names stand for.
    pub names: Names,
    /// How many were looked up for sessions.
    pub look_ups: LookUps,
    /// Looks into processes of sessions that go on.
    pub looks: Looks,
    /// Who is asked about names.
    pub resolver: Resolver,
    /// The files beside the kernel's state.
    pub shelves: Shelves,
    /// What the file system tells.
    pub watches: Watches,
    /// Who stands in for the commands of sessions.
    pub launchers: Launchers,
    /// Why cgroups that the settings have a policy for are denied everything, by the cgroup's name.
    pub unassigned: Unassigned,
    /// The units of the slice whose main process is elsewhere, as last seen.
    pub astray: BTreeSet<Main>,
    /// Names of users.
    pub users: Users,
    /// Where the cgroup v2 hierarchy is.
    pub hierarchy: Hierarchy,
    /// When a hole of a session last ended: what its connections still send is no new attempt.
    pub hole_ends: HashMap<SessionId, BootTime>,
    /// The requests, and answers of no, that have a file.
    pub kept_requests: HashSet<String>,
    /// Those who would see a new request at once.
    pub followers: Followers,
    /// This machine's addresses and networks, as they were last read.
    pub host: RefCell<Host>,
    /// What people chose last.
    pub choices: Choices,
    /// In which ways destinations were tried lately.
    pub tries: Tries,
    /// What is known of connections that wait for them.
    pub holds: Holds,
    /// Listeners on this machine that sessions connect to.
    pub relays: Relays,
    /// The process through which read-only destinations are reached.
    pub proxy: Proxy,
    /// The required rows of `guard doctor` that were not ok at the last look.
    pub open_rows: Vec<String>,
    /// Sessions were made by this daemon, or adopted.
    pub had_sessions: bool,
}

impl State {
    /// The names in policies that people have put in force.
    #[must_use]
    pub fn peoples_names(&self) -> BTreeSet<&str> {
        let outer = self.sessions.all_live();
        let outer = outer.filter(|session| session.about.outermost.is_none());
        let slots: HashSet<PolicyId> = outer
            .flat_map(|session| session.chain.iter().copied())
            .chain(self.default_slot)
            .collect();
        let policies = slots.iter().filter_map(|slot| self.policies.get(*slot));
        policies.flat_map(|policy| policy.names()).collect()
    }

    /// The session around a live one that a person started, or itself.
    #[must_use]
    pub fn outermost(&self, id: SessionId) -> Option<SessionId> {
        self.sessions.live(id).map(Session::outermost)
    }

    /// The same of any session of which the kernel knows, and itself where it is none: by what all that is inside one is
    /// counted.
    #[must_use]
    pub fn outermost_of(&self, id: SessionId) -> SessionId {
        self.sessions.get(id).map_or(id, Session::outermost)
    }

    /// What names and groups stand for now.
    #[must_use]
    pub fn environment(&self) -> Environment {
        let host = self.host();
        Environment {
            names: self.names.addresses(),
            dns: self.resolver.addresses(),
            on_link: networks_around(&host.addresses, &host.on_link),
            host: host.addresses,
        }
    }

    /// This machine's addresses and networks; those that were read last where they cannot be for now.
    fn host(&self) -> Host {
        let mut last = self.host.borrow_mut();
        match Host::look() {
            Ok(host) => *last = host,
            Err(error) => {
                tracing::warn!(%error, "cannot tell this machine's networks: those of before count");
            }
        }
        last.clone()
    }

    /// A cgroup's path as `/proc/PID/cgroup` has it.
    #[must_use]
    pub fn kernel_path(&self, cgroup: &Path) -> Option<PathBuf> {
        self.hierarchy.path(cgroup)
    }

    /// Who is at the other end of a socket.
    ///
    /// # Errors
    ///
    /// As for [`Peer::of`].
    pub fn peer(&self, socket: &impl AsFd) -> io::Result<Peer> {
        Peer::of(socket, |cgroup| {
            self.hierarchy.is_guarded(cgroup).unwrap_or(true)
        })
    }

    /// What the kernel says of a peer, now.
    ///
    /// # Errors
    ///
    /// `Refused` where that is in doubt, as for a peer that has ended.
    pub fn caller(&self, peer: &Peer) -> Result<Caller, Refusal> {
        let told = peer.pid().and_then(|pid| Ok((pid, peer.cgroup()?)));
        let (pid, cgroup) = told.map_err(|error| in_doubt(&error.to_string()))?;
        let root = self.kernel_path(&self.places.cgroup_root);
        let root = root.ok_or_else(|| in_doubt("the cgroup root is not to be seen"))?;
        let place = match cgroup.strip_prefix(&root) {
            Ok(below) => self.place_below(below),
            Err(_) => self.place_outside(&cgroup)?,
        };
        let uid = peer.uid();
        Ok(Caller { uid, pid, place })
    }

    /// Where a process is that is not under this guard: another guard's session is inside, too. Else what is held
    /// there could have itself moved here, to a policy of its own.
    fn place_outside(&self, cgroup: &Path) -> Result<Place, Refusal> {
        match self.hierarchy.is_guarded(cgroup) {
            Ok(false) => Ok(Place::Outside),
            Ok(true) => Ok(Place::Inside(None)),
            Err(error) => Err(in_doubt(&error.to_string())),
        }
    }

    /// Where `below` is, a path from the cgroup root on.
    fn place_below(&self, below: &Path) -> Place {
        let Some(name) = below.components().next() else {
            return Place::Inside(None);
        };
        // By its id: a unit that starts again has a new cgroup under the old name.
        let Ok(id) = cgroup2::id(&self.places.cgroup_root.join(name)) else {
            return Place::Inside(None);
        };
        match self.sessions.of_cgroup(id) {
            Some(session) => Place::Inside(Some(session.cgroup.id)),
            None => Place::Unowned(id),
        }
    }

    /// The live session of that id, or of that name, if it is among those that `may` be seen.
    ///
    /// # Errors
    ///
    /// `NotFound`, for the sessions of others too: their ids are nobody else's business. `Invalid` where several have
    /// that name.
    pub fn session(&self, id: &str, may: impl Fn(u32) -> bool) -> Result<&Session, Refusal> {
        if let Ok(parsed) = ids::parse_session(id) {
            let found = self.sessions.live(parsed);
            let found = found.filter(|session| may(session.about.uid));
            return found.ok_or_else(|| ids::no_session(id));
        }
        let name = assign::short(id);
        // What somebody calls like a unit does not stand for that: the unit may not have come up yet.
        let is_units = systemd::is_kept_for_units(id);
        let is_meant = |session: &&Session| {
            let can_be = !is_units || !session.cgroup.is_ours();
            let is_called = [id, &name].contains(&session.about.name.as_str());
            can_be && is_called && may(session.about.uid)
        };
        let named = self.sessions.all_live().filter(is_meant);
        // What is inside gives its own sessions whatever names it likes: they stand for none of them.
        let is_outer = |session: &&Session| session.about.outermost.is_none();
        let (outer, inside): (Vec<_>, Vec<_>) = named.partition(is_outer);
        let mut named = outer.into_iter();
        match (named.next(), named.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(match inside.first() {
                Some(inside) => only_inside(id, inside),
                None => ids::no_session(id),
            }),
            (Some(_), Some(_)) => Err(Refusal::invalid(
                format!("cannot tell which session is meant by {id}"),
                "several of yours have that name",
                "give an id: guard sessions",
            )),
        }
    }

    /// A session as people see it.
    pub fn shown(&mut self, id: SessionId) -> Option<proto::Session> {
        let session = self.sessions.get(id)?;
        let user = self.users.name(session.about.uid);
        let mut shown = session.shown(self.policy_of(session), user);
        if session.is_live() && self.lost_command(session) {
            shown.left = self.left(session);
        }
        if !session.cgroup.is_ours() && session.cgroup.stands() {
            // Who started it did not say with which process.
            shown.pid = self.datapath.processes(&session.cgroup).into_iter().min();
        }
        Some(shown)
    }

    /// The name of a session's own policy.
    #[must_use]
    pub fn policy_of(&self, session: &Session) -> String {
        let slot = session.chain.first();
        let policy = slot.and_then(|slot| self.policies.get(*slot));
        policy.map_or_else(|| "unknown".to_owned(), |known| known.policy.name.clone())
    }
}

/// Somebody inside has given that name.
fn only_inside(name: &str, session: &Session) -> Refusal {
    let around = ids::session(session.outermost());
    let id = ids::session(session.cgroup.id);
    Refusal::not_found(
        format!("no session that you started is called {name}"),
        format!(
            "{id} is, which was started inside {around}, and a name never stands for a session inside"
        ),
        format!("give its id, if you mean that one: {id}"),
    )
}

fn in_doubt(why: &str) -> Refusal {
    Refusal::refused(
        "cannot tell who is asking",
        why,
        "ask from a process that goes on living",
    )
}
