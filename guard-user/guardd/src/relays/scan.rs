//! The scan of a listener: which processes listen at a port of this machine, and what their upstreams are, by the kernel and
//! `/proc`. It takes a while.

use std::{
    cell::{LazyCell, RefCell},
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    ffi::OsString,
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, LazyLock},
};

use guard_common::{Address, Connection, DNS_PORT, NetnsCookie, Protocol};
use guard_datapath::ServingProcess;
use guard_sys::{
    bounded::{BoundedReader, TIMEOUT},
    cgroup2, host, netns, open_sockets,
    sock_list::{self, ListedSocket, Use},
};

use super::command::{self, NamedUpstream};
use crate::{process, workers::networks::there};

/// Relays to relays that are followed, one after the other.
const MAX_DEPTH: usize = 8;
/// Bytes of a command line.
const MAX_COMMAND: u64 = 16 * 1024;
/// Descriptors read of a session's process; one with more is not scanned.
const MAX_OPEN: usize = 1024;
/// Processes of one listener that are followed; of a listener with more the upstream may be anything.
pub(super) const MAX_PROCESSES: usize = 32;

impl ScanContext {
    /// The id of the cgroup of the session that a process is in: 0 if unknown, none if it is in no session. `known` caches
    /// earlier results.
    fn session_of(&self, pid: u32, known: &mut HashMap<OsString, u64>) -> Option<u64> {
        let path = cgroup2::path_of(pid).ok()?;
        let below = path.strip_prefix(self.guarded.as_deref()?).ok()?;
        let Some(session) = below.components().next() else {
            return Some(0);
        };
        let session = session.as_os_str();
        if let Some(id) = known.get(session) {
            return Some(*id);
        }
        let id = cgroup2::id(&self.cgroup_root.join(session)).unwrap_or(0);
        known.insert(session.to_owned(), id);
        Some(id)
    }
}

/// A listener to scan.
#[derive(Debug)]
pub(crate) struct Listener {
    /// The descriptor of its network namespace; none: guardd's own.
    pub(crate) way: Option<File>,
    /// The expected namespace; 0 if unknown.
    pub(crate) netns: NetnsCookie,
    /// The address that was connected to.
    pub(crate) address: Address,
    /// The port.
    pub(crate) port: u16,
    /// Ports of this machine that its processes were seen to connect to.
    pub(crate) dialed: Vec<SocketAddr>,
}

/// What each scan needs to know beforehand.
#[derive(Clone, Debug, Default)]
pub(crate) struct ScanContext {
    /// Where guarded cgroups are, as `/proc/PID/cgroup` names them.
    pub(crate) guarded: Option<PathBuf>,
    /// The same, as guardd sees it.
    pub(crate) cgroup_root: PathBuf,
    /// The addresses of the names in policies.
    pub(crate) names: BTreeMap<String, Vec<IpAddr>>,
}

/// The result of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScanResult {
    /// A process listens there.
    pub(crate) listens: bool,
    /// A client is connected there.
    pub(crate) is_connected: bool,
    /// The process; none if even root cannot find it.
    pub(crate) pid: Option<u32>,
    /// Its executable's name.
    pub(crate) comm: Option<String>,
    /// Its command line.
    pub(crate) command: Vec<String>,
    /// The cgroups that the listeners were made in.
    pub(crate) cgroups: Vec<u64>,
    /// The processes that serve the listener, and those of the listeners of this machine that are its upstreams.
    pub(crate) processes: Vec<ServingProcess>,
    /// When each of these began, as [`started`]: its id may be another one's later.
    pub(crate) started: BTreeMap<u32, u64>,
    /// [`Listener::dialed`].
    pub(crate) dialed: Vec<SocketAddr>,
    /// Those of [`Self::dialed`] at which another process listens.
    pub(crate) local_listeners: Vec<SocketAddr>,
    /// The addresses of this machine besides the loopback's, where it listens.
    pub(crate) here: Arc<BTreeSet<IpAddr>>,
    /// Its upstreams.
    pub(crate) upstreams: Vec<Connection>,
    /// It connects anywhere, or its upstreams cannot be known.
    pub(crate) anywhere: bool,
    /// Something that tells the upstreams could not be read this time: they may be anything.
    pub(crate) unread: bool,
    /// More processes serve it than are followed, so its upstreams may be anything.
    pub(crate) is_crowded: bool,
}

impl ScanResult {
    /// Whether its upstream may be anything, as far as is known now.
    #[must_use]
    pub(crate) fn may_connect_anywhere(&self) -> bool {
        self.anywhere || self.unread || self.is_crowded
    }

    /// When one of its processes began, by its id; 0 if that is not known.
    pub(super) fn start_of(&self, pid: u32) -> u64 {
        self.started.get(&pid).copied().unwrap_or(0)
    }

    /// Whether its process of that id is one that began then, as far as is known.
    pub(super) fn has_same(&self, pid: u32, started: u64) -> bool {
        let own = self.start_of(pid);
        own == started || own == 0 || started == 0
    }
}

/// Scans one listener.
///
/// # Errors
///
/// The system's, and that the namespace is no longer the expected one.
pub(crate) fn scan(place: &Listener, terms: &ScanContext) -> io::Result<ScanResult> {
    let network = ScannedNetwork::of(place)?;
    let processes = Processes::all(terms);
    Ok(find(place, &network, &processes))
}

/// Scans several listeners at once, which takes hardly longer than one. Results are in the same order.
///
/// # Errors
///
/// As [`scan`], for each.
#[must_use]
pub(crate) fn scan_all(places: &[Listener], terms: &ScanContext) -> Vec<io::Result<ScanResult>> {
    let mut networks: HashMap<NetnsCookie, Rc<ScannedNetwork>> = HashMap::new();
    let listed: Vec<io::Result<Rc<ScannedNetwork>>> = places
        .iter()
        .map(|place| {
            if let Some(known) = networks.get(&place.netns) {
                return Ok(Rc::clone(known));
            }
            let network = Rc::new(ScannedNetwork::of(place)?);
            // Namespace 0 is unknown, so not shared.
            if place.netns.0 != 0 {
                networks.insert(place.netns, Rc::clone(&network));
            }
            Ok(network)
        })
        .collect();
    // After the sockets: a process that has one of them is there, or has ended. Where no network is found nobody asks for them: one session
    // after the other may be tried.
    let processes = LazyCell::new(|| Processes::all(terms));
    let both = places.iter().zip(listed);
    both.map(|(place, network)| Ok(find(place, &*network?, &processes)))
        .collect()
}

fn find(place: &Listener, network: &ScannedNetwork, processes: &Processes<'_>) -> ScanResult {
    let mut search = Search::new(network, processes);
    search.found.is_connected = network.is_connected(place.port);
    search.add(place.address, place.port, MAX_DEPTH);
    for at in &place.dialed {
        search.add_loopback(*at, place.port);
    }
    search.found.dialed.clone_from(&place.dialed);
    search.found.here = Arc::clone(&network.here);
    search.finish()
}

/// The sockets of a network namespace at one moment.
struct ScannedNetwork {
    listed: Vec<ListedSocket>,
    /// The listening sockets of a port, and the sockets of an inode, by their indices in `listed`.
    listeners: HashMap<u16, Vec<usize>>,
    sockets: HashMap<u32, Vec<usize>>,
    /// The ports of this machine to which a client is connected.
    connected: HashSet<u16>,
    /// Its addresses besides the loopback's.
    here: Arc<BTreeSet<IpAddr>>,
    /// Where processes are connected to.
    connections: RefCell<HashMap<u32, Rc<Vec<Peer>>>>,
}

impl ScannedNetwork {
    fn of(place: &Listener) -> io::Result<Self> {
        let (listed, here) = there(place.way.as_ref(), || {
            let here = netns::own()?;
            if place.netns.0 != 0 && here != place.netns {
                return Err(io::Error::other(
                    "the process is in another network namespace by now",
                ));
            }
            Ok((sock_list::list()?, host::addresses()))
        })?;
        let here = here.into_iter().map(|ip| ip.to_canonical());
        Ok(Self::new(listed, here.collect()))
    }

    fn new(listed: Vec<ListedSocket>, here: BTreeSet<IpAddr>) -> Self {
        let mut listeners: HashMap<u16, Vec<usize>> = HashMap::new();
        let mut sockets: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut connected = HashSet::new();
        for (at, one) in listed.iter().enumerate() {
            if one.used == Use::Listens {
                listeners.entry(one.local.port()).or_default().push(at);
            }
            sockets.entry(one.inode).or_default().push(at);
            if let Use::Tcp(peer) = one.used
                && (is_loopback(peer.ip()) || here.contains(&peer.ip().to_canonical()))
            {
                connected.insert(peer.port());
            }
        }
        Self {
            listed,
            listeners,
            sockets,
            connected,
            here: Arc::new(here),
            connections: RefCell::default(),
        }
    }

    /// Whether an address is this machine's.
    fn is_here(&self, address: IpAddr) -> bool {
        is_loopback(address) || self.here.contains(&address.to_canonical())
    }

    /// Whether a client is connected to that port of this machine.
    fn is_connected(&self, port: u16) -> bool {
        self.connected.contains(&port)
    }

    /// The sockets that get connections to that address: those bound to it before those bound to all.
    fn listeners(&self, address: Address, port: u16) -> Vec<&ListedSocket> {
        let all = self.listeners.get(&port).into_iter().flatten();
        let all = all.filter_map(|at| self.listed.get(*at));
        let (exact, others): (Vec<_>, Vec<_>) =
            all.partition(|one| Address::from(one.local.ip()) == address);
        if exact.is_empty() {
            let is_for_all = |one: &&ListedSocket| match one.local.ip() {
                IpAddr::V4(own) => own.is_unspecified() && address.is_v4(),
                IpAddr::V6(own) => own.is_unspecified(),
            };
            return others.into_iter().filter(is_for_all).collect();
        }
        exact
    }

    fn of_inodes<'s>(&'s self, inodes: &'s HashSet<u32>) -> impl Iterator<Item = &'s ListedSocket> {
        let places = inodes.iter().filter_map(|inode| self.sockets.get(inode));
        places.flatten().filter_map(|at| self.listed.get(*at))
    }
}

/// The processes at one moment.
struct Processes<'t> {
    terms: &'t ScanContext,
    /// The processes that have a socket, by its inode.
    holders: HashMap<u32, Vec<u32>>,
    /// The sockets of a process, by their inodes.
    sockets: HashMap<u32, HashSet<u32>>,
    parents: HashMap<u32, u32>,
    children: HashMap<u32, Vec<u32>>,
    /// When each began.
    started: HashMap<u32, u64>,
    /// The cgroup of the session of a process in a session, or 0 if unknown.
    sessions: HashMap<u32, u64>,
    /// The sessions in which not all processes' sockets could be read; 0 for processes in no session.
    blind: HashSet<u64>,
    /// The command lines and executables that were read.
    commands: RefCell<HashMap<u32, Option<Vec<String>>>>,
    programs: RefCell<HashMap<u32, Option<String>>>,
}

impl<'t> Processes<'t> {
    fn all(terms: &'t ScanContext) -> Self {
        let mut all = Self {
            terms,
            holders: HashMap::new(),
            sockets: HashMap::new(),
            parents: HashMap::new(),
            children: HashMap::new(),
            started: HashMap::new(),
            sessions: HashMap::new(),
            blind: HashSet::new(),
            commands: RefCell::default(),
            programs: RefCell::default(),
        };
        let mut cgroups = HashMap::new();
        for pid in processes() {
            if let Some(session) = terms.session_of(pid, &mut cgroups) {
                all.sessions.insert(pid, session);
            }
            let sockets = all.sockets_of(pid);
            if sockets.as_ref().is_err_and(|error| !is_gone(error)) {
                all.blind.insert(all.session_of(pid));
            }
            for inode in sockets.unwrap_or_default() {
                all.holders.entry(inode).or_default().push(pid);
                all.sockets.entry(pid).or_default().insert(inode);
            }
            if let Ok(stat) = ProcessStat::of(pid) {
                all.parents.insert(pid, stat.parent);
                all.children.entry(stat.parent).or_default().push(pid);
                all.started.insert(pid, stat.started);
            }
        }
        all
    }

    /// Those processes that none of the others has started.
    fn first_of(&self, all: &BTreeSet<u32>) -> Vec<u32> {
        let is_started = |pid: &u32| {
            let parent = self.parents.get(pid);
            let parent = parent.filter(|one| all.contains(one) && !self.is_manager(**one));
            // What a session's process does is not its parent's doing, if that is outside the session.
            parent.is_some_and(|parent| self.session_of(*parent) == self.session_of(*pid))
        };
        all.iter().copied().filter(|pid| !is_started(pid)).collect()
    }

    /// Whether it keeps copies of the sockets that it opens for others.
    fn is_manager(&self, pid: u32) -> bool {
        pid == 1 || self.program(pid).as_deref() == Some("systemd")
    }

    /// A process and its descendants, but for those in another session: these are judged by themselves.
    fn family(&self, pid: u32) -> Vec<u32> {
        let session = self.sessions.get(&pid);
        let mut family = vec![pid];
        let mut all = HashSet::from([pid]);
        let mut at = 0;
        while let Some(pid) = family.get(at).copied() {
            at += 1;
            if pid == 1 {
                continue;
            }
            let children = self.children.get(&pid).into_iter().flatten();
            let is_with_it = |child: &&u32| self.sessions.get(child) == session;
            let new: Vec<u32> = children.filter(is_with_it).copied().collect();
            // Ids may be reused while they are read.
            family.extend(new.into_iter().filter(|one| all.insert(*one)));
        }
        family
    }

    /// The id of the cgroup of a process's session; 0 if it is in none.
    fn session_of(&self, pid: u32) -> u64 {
        self.sessions.get(&pid).copied().unwrap_or(0)
    }

    fn is_guarded(&self, pid: u32) -> bool {
        self.sessions.contains_key(&pid)
    }

    /// The name of its executable.
    fn program(&self, pid: u32) -> Option<String> {
        let mut known = self.programs.borrow_mut();
        known.entry(pid).or_insert_with(|| program(pid)).clone()
    }

    /// The sockets that a process has open, by their inodes.
    fn sockets_of(&self, pid: u32) -> io::Result<Vec<u32>> {
        static OF_SESSIONS: LazyLock<BoundedReader<Vec<u64>>> =
            LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
        let proc = PathBuf::from(format!("/proc/{pid}"));
        // A session can delay the reading of sessions' processes, and nothing else.
        let found = if self.is_guarded(pid) {
            OF_SESSIONS.look(move || {
                let open = fs::read_dir(proc.join("fdinfo"))?.take(MAX_OPEN + 1);
                if open.count() > MAX_OPEN {
                    Err(io::ErrorKind::OutOfMemory.into())
                } else {
                    open_sockets::of(&proc, MAX_OPEN)
                }
            })
        } else {
            open_sockets::of(&proc, usize::MAX)
        };
        let inodes = found?.into_iter();
        Ok(inodes.filter_map(|inode| inode.try_into().ok()).collect())
    }

    /// A process's command line; none if it cannot be read now.
    fn command_line(&self, pid: u32) -> Option<Vec<String>> {
        if let Some(known) = self.commands.borrow().get(&pid) {
            return known.clone();
        }
        let read = self.read_command_line(pid);
        self.commands.borrow_mut().insert(pid, read.clone());
        read
    }

    fn read_command_line(&self, pid: u32) -> Option<Vec<String>> {
        static OF_SESSIONS: LazyLock<BoundedReader<Vec<u8>>> =
            LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
        // On a busy machine each read takes a while, and no session can prolong it.
        static OF_OTHERS: LazyLock<BoundedReader<Vec<u8>>> =
            LazyLock::new(|| BoundedReader::waiting(TIMEOUT * 10));
        let reader = if self.is_guarded(pid) {
            &OF_SESSIONS
        } else {
            &OF_OTHERS
        };
        let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
        match reader.read(&path, MAX_COMMAND) {
            Ok(line) => Some(process::words(&line)),
            Err(error) if is_gone(&error) => Some(Vec::new()),
            Err(_) => None,
        }
    }
}

/// A scan in progress.
struct Search<'m> {
    network: &'m ScannedNetwork,
    processes: &'m Processes<'m>,
    found: ScanResult,
    /// Processes, each with the port that it was scanned for: processes that connect to each other, or to themselves, have no
    /// upstream by that.
    seen: HashSet<(u32, u16)>,
}

impl<'m> Search<'m> {
    fn new(network: &'m ScannedNetwork, processes: &'m Processes<'m>) -> Self {
        Self {
            network,
            processes,
            found: ScanResult::default(),
            seen: HashSet::new(),
        }
    }

    fn finish(mut self) -> ScanResult {
        self.found
            .upstreams
            .sort_by_key(|upstream| (upstream.to.0, upstream.port));
        self.found.upstreams.dedup();
        self.found.processes.sort_unstable();
        self.found.processes.dedup();
        if self.found.processes.len() > MAX_PROCESSES {
            self.found.processes.truncate(MAX_PROCESSES);
            self.found.is_crowded = true;
        }
        self.found
    }

    /// Adds a port of this machine that its processes connect to.
    fn add_loopback(&mut self, at: SocketAddr, own: u16) {
        let listeners = self.network.listeners(at.ip().into(), at.port());
        if at.port() != own && !listeners.is_empty() {
            self.found.local_listeners.push(at);
            self.add_upstream(at, Protocol::TCP, MAX_DEPTH);
        }
    }

    /// Adds the processes that listen there, and their upstreams.
    fn add(&mut self, address: Address, port: u16, depth: usize) {
        let (network, processes) = (self.network, self.processes);
        let listeners = network.listeners(address, port);
        let is_first = depth == MAX_DEPTH;
        self.found.listens |= !listeners.is_empty();
        let holders = listeners
            .iter()
            .filter_map(|one| processes.holders.get(&one.inode));
        let holders: BTreeSet<u32> = holders.flatten().copied().collect();
        let unseen = |one: &&ListedSocket| {
            let of_nobody = processes.blind.contains(&0);
            of_nobody || processes.blind.contains(&one.cgroup)
        };
        self.found.unread |= holders.is_empty() && listeners.iter().any(unseen);
        let holders = processes.first_of(&holders);
        if is_first {
            let cgroups = listeners.iter().map(|one| one.cgroup);
            self.found.cgroups.extend(cgroups);
            let others = holders.iter().find(|pid| !processes.is_manager(**pid));
            let shown = others.or(holders.first());
            if let Some(pid) = shown {
                self.found.pid = Some(*pid);
                self.found.comm = processes.program(*pid);
                self.found.command = processes.command_line(*pid).unwrap_or_default();
            }
        }
        self.found.is_crowded |= holders.len() > MAX_PROCESSES;
        let is_served = holders.iter().any(|pid| !processes.is_manager(*pid));
        let holders = holders
            .iter()
            .filter(|pid| !is_served || !processes.is_manager(**pid));
        for pid in holders.take(MAX_PROCESSES) {
            match self.seen.insert((*pid, port)) {
                true if depth == 0 => self.found.anywhere = true,
                true => self.add_process(*pid, port, depth),
                false => {}
            }
        }
    }

    fn add_process(&mut self, pid: u32, port: u16, depth: usize) {
        let processes = self.processes;
        if pid != 1 {
            let cgroup = processes.session_of(pid);
            self.found.processes.push(ServingProcess { pid, cgroup });
            let started = processes.started.get(&pid).copied().unwrap_or(0);
            self.found.started.insert(pid, started);
        }
        let own = self.connections(pid, port);
        let command = processes.command_line(pid);
        self.found.unread |= command.is_none();
        let told = command::upstreams(
            &processes.program(pid).unwrap_or_default(),
            &command.unwrap_or_default(),
            port,
            !own.is_empty(),
        );
        for (peer, protocol) in &own {
            self.add_upstream(*peer, *protocol, depth);
        }
        for upstream in told {
            match upstream {
                NamedUpstream::Anywhere => self.found.anywhere = true,
                NamedUpstream::Peer(port) => {
                    let peers: Vec<_> = own
                        .iter()
                        .filter(|(peer, _)| !self.network.is_here(peer.ip()))
                        .collect();
                    self.found.anywhere |= peers.is_empty();
                    for (peer, _) in peers {
                        self.add_upstream((peer.ip(), port).into(), Protocol::TCP, depth);
                    }
                }
                NamedUpstream::To(host, port) => self.add_named(&host, port, depth),
            }
        }
    }

    fn add_named(&mut self, host: &str, port: u16, depth: usize) {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.add_upstream((address, port).into(), Protocol::TCP, depth);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" {
            let here = SocketAddr::from(([127, 0, 0, 1], port));
            return self.add_upstream(here, Protocol::TCP, depth);
        }
        match self.processes.terms.names.get(&name) {
            Some(addresses) if !addresses.is_empty() => {
                for address in addresses {
                    self.add_upstream((*address, port).into(), Protocol::TCP, depth);
                }
            }
            // No policy has this name, so nobody looks up its address.
            _ => self.found.anywhere = true,
        }
    }

    fn add_upstream(&mut self, to: SocketAddr, protocol: Protocol, depth: usize) {
        if self.network.is_here(to.ip()) && protocol == Protocol::TCP {
            self.add(to.ip().into(), to.port(), depth.saturating_sub(1));
        }
        if is_loopback(to.ip()) {
            return;
        }
        let upstream = Connection::new(to.ip().into(), protocol, to.port());
        if !self.found.upstreams.contains(&upstream) {
            self.found.upstreams.push(upstream);
        }
    }

    /// The outbound connections of a process and its descendants: not those that came in to a port of theirs.
    fn connections(&self, pid: u32, port: u16) -> Vec<Peer> {
        let known = self.network.connections.borrow().get(&pid).cloned();
        let all = known.unwrap_or_else(|| {
            let found = Rc::new(self.find_connections(pid));
            let mut known = self.network.connections.borrow_mut();
            known.insert(pid, Rc::clone(&found));
            found
        });
        // A process that asks a name server does not have it as an upstream.
        let is_way = |peer: &&Peer| port != DNS_PORT || peer.0.port() != DNS_PORT;
        all.iter().filter(is_way).copied().collect()
    }

    fn find_connections(&self, pid: u32) -> Vec<Peer> {
        let family = self.processes.family(pid);
        let sockets = family
            .iter()
            .filter_map(|pid| self.processes.sockets.get(pid));
        let sockets: HashSet<u32> = sockets.flatten().copied().collect();
        let own: Vec<&ListedSocket> = self.network.of_inodes(&sockets).collect();
        let listeners = own.iter().filter(|one| one.used == Use::Listens);
        let served: HashSet<u16> = listeners.map(|one| one.local.port()).collect();
        let outwards = own.iter().filter(|one| !served.contains(&one.local.port()));
        let peers = outwards.filter_map(|one| match one.used {
            Use::Listens => None,
            Use::Tcp(peer) => Some((peer, Protocol::TCP)),
            Use::Udp(peer) => Some((peer, Protocol::UDP)),
        });
        peers.collect()
    }
}

/// The peer of a socket.
type Peer = (SocketAddr, Protocol);

/// Whether an address is on this machine's loopback, in any form.
fn is_loopback(address: IpAddr) -> bool {
    Address::from(address).is_loopback()
}

fn processes() -> Vec<u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    names.collect()
}

fn is_gone(error: &io::Error) -> bool {
    let gone = error
        .raw_os_error()
        .map(rustix::io::Errno::from_raw_os_error);
    error.kind() == io::ErrorKind::NotFound || gone == Some(rustix::io::Errno::SRCH)
}

/// What proc_pid_stat(5) says of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct ProcessStat {
    parent: u32,
    started: u64,
}

impl ProcessStat {
    fn of(pid: u32) -> io::Result<Self> {
        let stat = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&stat).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// The second field may hold anything, and is in parentheses. Behind the state comes the parent; the 22nd field is when it began.
    fn parse(stat: &[u8]) -> Option<Self> {
        let end = stat.iter().rposition(|byte| *byte == b')')?;
        let rest = std::str::from_utf8(&stat[end + 1..]).ok()?;
        let mut from_fourth = rest.split_whitespace().skip(1);
        Some(Self {
            parent: from_fourth.next()?.parse().ok()?,
            started: from_fourth.nth(22 - 5)?.parse().ok()?,
        })
    }
}

/// When the process of that id began, in ticks since the machine's start; 0 if that cannot be read, and none if there is no such process.
pub(super) fn started(pid: u32) -> Option<u64> {
    match ProcessStat::of(pid) {
        Ok(stat) => Some(stat.started),
        Err(error) if is_gone(&error) => None,
        Err(_) => Some(0),
    }
}

fn program(pid: u32) -> Option<String> {
    let exe = fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok()?;
    let name = exe.file_name()?.to_string_lossy();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    Some(name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_and_the_start_of_a_process_are_parsed_whatever_it_calls_itself() {
        let rest = b") S 7 40 40 0 -1 4194560 9 0 0 0 1 2 3 4 20 0 1 0 8150 11 12";
        for name in [&b"relay"[..], b") R 1 1 (", b"\xff a\n"] {
            let stat = [&b"42 ("[..], name, &rest[..]].concat();
            let expected = ProcessStat {
                parent: 7,
                started: 8150,
            };
            assert_eq!(ProcessStat::parse(&stat), Some(expected));
        }
        assert_eq!(ProcessStat::parse(b"42 (relay) S 7 40"), None);
        assert_eq!(ProcessStat::parse(b""), None);
    }

    #[test]
    fn this_process_has_begun() {
        assert!(started(std::process::id()).is_some_and(|started| started > 0));
        assert_eq!(started(u32::MAX), None);
    }
}
