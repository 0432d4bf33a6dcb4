//! Who listens at a port of this machine, and where that leads: asked of the kernel and of `/proc`. It takes a while.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::{self, File},
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use guard_common::{Address, Connection, NetnsCookie, Protocol};

use super::command::{self, Lead};
use crate::{
    daemon::{process, proxy::networks::there},
    sys::{
        netns, open_sockets,
        patient::{PATIENCE, Patient},
        sock_list::{self, Listed, Use},
    },
};

/// Relays that lead to relays are followed so far.
const MAX_DEPTH: usize = 4;
/// Bytes of a command line.
const MAX_COMMAND: u64 = 16 * 1024;
/// A name server's port: what asks another one for names is not a way there.
const NAMES: u16 = 53;

/// What is looked at.
#[derive(Debug)]
pub struct Place {
    /// The way into its network namespace; none: guardd's own.
    pub way: Option<File>,
    /// The namespace that it must be; 0 where that is not known.
    pub netns: NetnsCookie,
    /// The address that was connected to.
    pub address: Address,
    /// The port.
    pub port: u16,
    /// Where guarded cgroups are, as `/proc/PID/cgroup` names them.
    pub guarded: Option<PathBuf>,
    /// What names stand for that policies know.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

/// Who listens there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Somebody does.
    pub listens: bool,
    /// The process; none where root cannot tell.
    pub pid: Option<u32>,
    /// Its executable's name.
    pub comm: Option<String>,
    /// Its command line.
    pub command: Vec<String>,
    /// The cgroups that the listeners were made in.
    pub cgroups: Vec<u64>,
    /// Where it leads.
    pub leads: Vec<Connection>,
    /// It leads anywhere, or to where nobody can tell.
    pub anywhere: bool,
    /// What says where it leads could not be read this time: it may be anything.
    pub unread: bool,
}

impl Found {
    /// Whether it may lead anywhere, as far as is known now.
    #[must_use]
    pub fn may_lead_anywhere(&self) -> bool {
        self.anywhere || self.unread
    }
}

/// Looks.
///
/// # Errors
///
/// The system's, and that the namespace is another one by now.
pub fn look(place: &Place) -> io::Result<Found> {
    let listed = there(place.way.as_ref(), || {
        let cookie = UdpSocket::bind("127.0.0.1:0").or_else(|_| UdpSocket::bind("[::1]:0"));
        // Where the loopback is down nobody connects to it.
        let here = cookie.and_then(netns::cookie).unwrap_or_default();
        if place.netns.0 != 0 && here != place.netns {
            return Err(io::Error::other(
                "the process is in another network namespace by now",
            ));
        }
        sock_list::list()
    })?;
    let machine = Machine::new(listed, place);
    let mut found = Found::default();
    machine.add(place.address, place.port, MAX_DEPTH, &mut found);
    found.leads.sort_by_key(|lead| (lead.to.0, lead.port));
    found.leads.dedup();
    Ok(found)
}

/// All that listen in guardd's network where its loopback leads, and lead elsewhere.
///
/// # Errors
///
/// The system's.
pub fn survey(place: &Place) -> io::Result<Vec<(SocketAddr, Found)>> {
    let machine = Machine::new(sock_list::list()?, place);
    let near = |one: &&Listed| {
        let at = one.local.ip();
        one.used == Use::Listens && (is_near(at) || at.is_unspecified())
    };
    let mut all: Vec<SocketAddr> = machine
        .listed
        .iter()
        .filter(near)
        .map(|one| one.local)
        .collect();
    all.sort_unstable();
    all.dedup();
    let found = all.into_iter().map(|at| {
        let mut found = Found::default();
        let asked = match at.ip() {
            IpAddr::V4(own) if own.is_unspecified() => IpAddr::from([127, 0, 0, 1]),
            IpAddr::V6(own) if own.is_unspecified() => std::net::Ipv6Addr::LOCALHOST.into(),
            other => other,
        };
        machine.add(asked.into(), at.port(), MAX_DEPTH, &mut found);
        (at, found)
    });
    Ok(found
        .filter(|(_, one)| one.may_lead_anywhere() || !one.leads.is_empty())
        .collect())
}

/// What is known of sockets and processes at one moment.
struct Machine<'p> {
    place: &'p Place,
    listed: Vec<Listed>,
    /// The processes that have a socket, by its inode.
    holders: HashMap<u32, Vec<u32>>,
    /// The sockets of a process, by their inodes.
    sockets: HashMap<u32, HashSet<u32>>,
    children: HashMap<u32, Vec<u32>>,
    /// It may not see the sockets of all processes.
    is_blind: bool,
}

impl<'p> Machine<'p> {
    fn new(listed: Vec<Listed>, place: &'p Place) -> Self {
        let mut machine = Self {
            place,
            listed,
            holders: HashMap::new(),
            sockets: HashMap::new(),
            children: HashMap::new(),
            is_blind: false,
        };
        for pid in processes() {
            let sockets = machine.sockets_of(pid);
            machine.is_blind |= sockets.as_ref().is_err_and(|error| !is_gone(error));
            for inode in sockets.unwrap_or_default() {
                machine.holders.entry(inode).or_default().push(pid);
                machine.sockets.entry(pid).or_default().insert(inode);
            }
            if let Some(parent) = parent_of(pid) {
                machine.children.entry(parent).or_default().push(pid);
            }
        }
        machine
    }

    /// Adds who listens there, and where that leads.
    fn add(&self, address: Address, port: u16, depth: usize, found: &mut Found) {
        let listeners = self.listeners(address, port);
        if depth == 0 {
            found.anywhere = true;
            return;
        }
        let is_first = depth == MAX_DEPTH;
        found.listens |= !listeners.is_empty();
        let holders = listeners
            .iter()
            .filter_map(|one| self.holders.get(&one.inode));
        let mut holders: Vec<u32> = holders.flatten().copied().collect();
        holders.sort_unstable();
        holders.dedup();
        found.unread |= holders.is_empty() && !listeners.is_empty() && self.is_blind;
        if is_first {
            found.cgroups.extend(listeners.iter().map(|one| one.cgroup));
            // PID 1 has a copy of what it opens for others.
            let shown = holders.iter().find(|pid| **pid != 1).or(holders.first());
            if let Some(pid) = shown {
                found.pid = Some(*pid);
                found.comm = program(*pid);
                found.command = self.command_line(*pid).unwrap_or_default();
            }
        }
        let is_served = holders.iter().any(|pid| *pid != 1);
        for pid in holders.iter().filter(|pid| **pid != 1 || !is_served) {
            self.add_process(*pid, port, depth, found);
        }
    }

    /// The sockets that get connections to there: those of that very address before those for all.
    fn listeners(&self, address: Address, port: u16) -> Vec<&Listed> {
        let at_port = |one: &&Listed| one.used == Use::Listens && one.local.port() == port;
        let all = self.listed.iter().filter(at_port);
        let (exact, others): (Vec<_>, Vec<_>) =
            all.partition(|one| Address::from(one.local.ip()) == address);
        if exact.is_empty() {
            let is_for_all = |one: &&Listed| match one.local.ip() {
                IpAddr::V4(own) => own.is_unspecified() && address.is_v4(),
                IpAddr::V6(own) => own.is_unspecified(),
            };
            return others.into_iter().filter(is_for_all).collect();
        }
        exact
    }

    fn add_process(&self, pid: u32, port: u16, depth: usize, found: &mut Found) {
        let own = self.connections(&self.family(pid), port);
        let command = self.command_line(pid);
        found.unread |= command.is_none();
        let told = command::leads(
            &program(pid).unwrap_or_default(),
            &command.unwrap_or_default(),
            port,
            !own.is_empty(),
        );
        for (peer, protocol) in &own {
            self.add_lead(*peer, *protocol, depth, found);
        }
        for lead in told {
            match lead {
                Lead::Anywhere => found.anywhere = true,
                Lead::Peer(port) => {
                    let peers: Vec<_> =
                        own.iter().filter(|(peer, _)| !is_near(peer.ip())).collect();
                    found.anywhere |= peers.is_empty();
                    for (peer, _) in peers {
                        let to = (peer.ip(), port).into();
                        self.add_lead(to, Protocol::TCP, depth, found);
                    }
                }
                Lead::To(host, port) => self.add_named(&host, port, depth, found),
            }
        }
    }

    fn add_named(&self, host: &str, port: u16, depth: usize, found: &mut Found) {
        if let Ok(address) = host.parse::<IpAddr>() {
            return self.add_lead((address, port).into(), Protocol::TCP, depth, found);
        }
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        if name == "localhost" {
            let here = SocketAddr::from(([127, 0, 0, 1], port));
            return self.add_lead(here, Protocol::TCP, depth, found);
        }
        match self.place.names.get(&name) {
            Some(addresses) if !addresses.is_empty() => {
                for address in addresses {
                    self.add_lead((*address, port).into(), Protocol::TCP, depth, found);
                }
            }
            // No policy knows it, so nobody asks for its address.
            _ => found.anywhere = true,
        }
    }

    fn add_lead(&self, to: SocketAddr, protocol: Protocol, depth: usize, found: &mut Found) {
        if is_near(to.ip()) {
            if protocol == Protocol::TCP {
                self.add(to.ip().into(), to.port(), depth - 1, found);
            }
            return;
        }
        let lead = Connection::new(to.ip().into(), protocol, to.port());
        if !found.leads.contains(&lead) {
            found.leads.push(lead);
        }
    }

    /// A process and what it has started, but for what is guarded: that is judged for itself.
    fn family(&self, pid: u32) -> Vec<u32> {
        let mut family = vec![pid];
        let mut at = 0;
        while let Some(pid) = family.get(at).copied() {
            at += 1;
            if pid == 1 {
                continue;
            }
            let children = self.children.get(&pid).into_iter().flatten();
            let is_outside = |child: &&u32| !self.is_guarded(**child);
            let new: Vec<u32> = children.filter(is_outside).copied().collect();
            family.extend(new.into_iter().filter(|one| *one != pid));
        }
        family
    }

    fn is_guarded(&self, pid: u32) -> bool {
        let guarded = self.place.guarded.as_deref();
        guarded.is_some_and(|guarded| process::Process::is_in(pid, guarded))
    }

    /// The sockets that a process has open, by their inodes.
    fn sockets_of(&self, pid: u32) -> io::Result<Vec<u32>> {
        static OF_SESSIONS: LazyLock<Patient<Vec<u64>>> =
            LazyLock::new(|| Patient::waiting(PATIENCE));
        let proc = PathBuf::from(format!("/proc/{pid}"));
        // A session holds up what is read of sessions, and nothing else.
        let found = match self.is_guarded(pid) {
            true => OF_SESSIONS.look(move || open_sockets::of(&proc, usize::MAX)),
            false => open_sockets::of(&proc, usize::MAX),
        };
        let inodes = found?.into_iter();
        Ok(inodes.filter_map(|inode| inode.try_into().ok()).collect())
    }

    /// A process' command line; none where that may not be read for now.
    fn command_line(&self, pid: u32) -> Option<Vec<String>> {
        static OF_SESSIONS: LazyLock<Patient<Vec<u8>>> =
            LazyLock::new(|| Patient::waiting(PATIENCE));
        static OF_OTHERS: LazyLock<Patient<Vec<u8>>> = LazyLock::new(|| Patient::waiting(PATIENCE));
        let patient = match self.is_guarded(pid) {
            true => &OF_SESSIONS,
            false => &OF_OTHERS,
        };
        let path = PathBuf::from(format!("/proc/{pid}/cmdline"));
        match patient.read(&path, MAX_COMMAND) {
            Ok(line) => Some(process::words(&line)),
            Err(error) if is_gone(&error) => Some(Vec::new()),
            Err(_) => None,
        }
    }

    /// Where processes are connected to, of their own accord: not what came in to a port of theirs.
    fn connections(&self, family: &[u32], port: u16) -> Vec<(SocketAddr, Protocol)> {
        let sockets = family.iter().filter_map(|pid| self.sockets.get(pid));
        let sockets: HashSet<u32> = sockets.flatten().copied().collect();
        let own = || {
            self.listed
                .iter()
                .filter(|one| sockets.contains(&one.inode))
        };
        let served: HashSet<u16> = own()
            .filter(|one| one.used == Use::Listens)
            .map(|one| one.local.port())
            .collect();
        let outwards = own().filter(|one| !served.contains(&one.local.port()));
        let peers = outwards.filter_map(|one| match one.used {
            Use::Listens => None,
            Use::Tcp(peer) => Some((peer, Protocol::TCP)),
            Use::Udp(peer) => Some((peer, Protocol::UDP)),
        });
        let is_way = |peer: &(SocketAddr, Protocol)| port != NAMES || peer.0.port() != NAMES;
        peers.filter(is_way).collect()
    }
}

/// Whether an address is on this machine's loopback, whatever way it is written.
fn is_near(address: IpAddr) -> bool {
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

/// proc_pid_stat(5): the second field may hold anything, and is in parentheses.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

fn program(pid: u32) -> Option<String> {
    let exe = fs::read_link(Path::new("/proc").join(pid.to_string()).join("exe")).ok()?;
    let name = exe.file_name()?.to_string_lossy();
    let name = name.strip_suffix(" (deleted)").unwrap_or(&name);
    Some(name.to_owned())
}
