//! Which program has a socket that gets what is sent to a loopback address: by the sockets of its network namespace, by `/proc`, and by the
//! ticket that the kernel half gave that very socket. It takes a while.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::{self, File},
    io,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::LazyLock,
};

use guard_common::{Address, Connection, Protocol, Ticket};
use guard_proto::destination::Listener;
use guard_sys::{
    bounded::{BoundedReader, TIMEOUT},
    bpf::Tickets,
    open_sockets, pidfd,
    tcp_listeners::{self, ListeningSocket},
};
use rustix::process::{PidfdGetfdFlags, pidfd_getfd};

use super::forwarders;
use crate::{process, workers::networks::there};

/// Bytes of a command line.
const MAX_COMMAND: u64 = 16 * 1024;
/// Descriptors read of a process.
const MAX_OPEN: usize = 65_536;

/// A program that listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ListeningProgram {
    /// Its process.
    pub(crate) pid: u32,
    /// Its executable.
    pub(crate) exe: PathBuf,
    /// Its command line.
    pub(crate) command: Vec<String>,
    /// Its user.
    pub(crate) uid: u32,
    /// The number of the descriptor by which the process has the socket.
    fd: i32,
}

impl ListeningProgram {
    /// The name of its executable.
    #[must_use]
    pub(crate) fn name(&self) -> String {
        let name = self.exe.file_name().unwrap_or_default().to_string_lossy();
        name.strip_suffix(" (deleted)").unwrap_or(&name).to_owned()
    }

    /// Returns true if it is known to lead on to another place.
    #[must_use]
    fn forwards(&self) -> bool {
        forwarders::forwards(&self.name())
    }

    /// As people see it.
    #[must_use]
    pub(crate) fn shown(&self) -> Listener {
        Listener {
            pid: Some(self.pid),
            program: Some(self.name()),
            command: self.command.clone(),
            forwards: self.forwards(),
        }
    }

    /// Returns true if its process still has the socket of that ticket.
    #[must_use]
    pub(crate) fn still_has(&self, tickets: &Tickets, ticket: Ticket) -> bool {
        socket(self.pid, self.fd).is_some_and(|socket| has(tickets, &socket, ticket))
    }

    /// Some program, for tests.
    #[cfg(test)]
    pub(crate) fn of(exe: &str, uid: u32) -> Self {
        Self {
            pid: 7,
            exe: exe.into(),
            command: vec![exe.to_owned()],
            uid,
            fd: 3,
        }
    }
}

/// A listener to identify.
#[derive(Debug)]
pub(crate) struct ListenerAt {
    /// Its network namespace; none: guardd's own.
    pub(crate) way: Option<File>,
    /// The listener, as the kernel half names it.
    pub(crate) to: Connection,
}

/// Identifies listeners, which takes hardly longer for several than for one. Results are in the same order.
#[must_use]
pub(crate) fn identify(places: &[ListenerAt], tickets: &Tickets) -> Vec<Option<ListeningProgram>> {
    let sockets: Vec<Vec<ListeningSocket>> = places
        .iter()
        .map(|place| sockets_at(place).unwrap_or_default())
        .collect();
    let wanted: BTreeSet<u32> = sockets.iter().flatten().map(|one| one.inode).collect();
    // After the sockets: a process that has one of them is there, or has ended.
    let holders = holders(&wanted);
    let both = places.iter().zip(sockets);
    both.map(|(place, sockets)| {
        let ticket = place.to.to.ticket()?;
        let inodes = sockets.iter().map(|one| one.inode);
        let mut all: Vec<_> = inodes.flat_map(|inode| of(&holders, inode)).collect();
        // A manager keeps copies of the sockets that it opens for others.
        all.sort_by_key(|program| (program.pid == 1 || program.name() == "systemd", program.pid));
        all.into_iter()
            .find(|program| program.still_has(tickets, ticket))
    })
    .collect()
}

/// The program that listens at an address of guardd's own network, if it is one.
#[must_use]
pub(crate) fn at(address: Address, protocol: Protocol, port: u16) -> Option<ListeningProgram> {
    let to = Connection::new(address, protocol, port);
    let sockets = sockets_at(&ListenerAt { way: None, to }).ok()?;
    let wanted: BTreeSet<u32> = sockets.iter().map(|one| one.inode).collect();
    let holders = holders(&wanted);
    let mut all: Vec<_> = wanted
        .iter()
        .flat_map(|inode| of(&holders, *inode))
        .collect();
    all.sort_by_key(|program| program.pid == 1 || program.name() == "systemd");
    all.into_iter().next()
}

/// The sockets that may get what is sent there.
fn sockets_at(place: &ListenerAt) -> io::Result<Vec<ListeningSocket>> {
    let (address, port) = (place.to.to.connected().to_ip(), place.to.port);
    let mut all = there(place.way.as_ref(), || match place.to.protocol {
        Protocol::UDP => tcp_listeners::udp_receivers(),
        _ => tcp_listeners::tcp_listeners(),
    })?;
    all.retain(|one| {
        let own = one.at.ip().to_canonical();
        let is_there = own == address || own.is_unspecified();
        one.at.port() == port && is_there
    });
    Ok(all)
}

/// The processes that have some sockets, by the sockets' inodes.
fn holders(wanted: &BTreeSet<u32>) -> HashMap<u32, Vec<u32>> {
    // Processes of a session can delay the reading.
    static READER: LazyLock<BoundedReader<Vec<u64>>> =
        LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
    let mut holders: HashMap<u32, Vec<u32>> = HashMap::new();
    if wanted.is_empty() {
        return holders;
    }
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    for pid in pids {
        let proc = PathBuf::from(format!("/proc/{pid}"));
        let open = READER.look(move || open_sockets::of(&proc, MAX_OPEN));
        let open = open.into_iter().flatten();
        let open = open.filter_map(|inode| u32::try_from(inode).ok());
        for inode in open.filter(|inode| wanted.contains(inode)) {
            holders.entry(inode).or_default().push(pid);
        }
    }
    holders
}

/// The programs that have a socket.
fn of(holders: &HashMap<u32, Vec<u32>>, inode: u32) -> impl Iterator<Item = ListeningProgram> {
    let pids = holders.get(&inode).into_iter().flatten();
    pids.filter_map(move |pid| program(*pid, inode))
}

fn program(pid: u32, inode: u32) -> Option<ListeningProgram> {
    static COMMANDS: LazyLock<BoundedReader<Vec<u8>>> =
        LazyLock::new(|| BoundedReader::waiting(TIMEOUT * 10));
    static DESCRIPTORS: LazyLock<BoundedReader<BTreeMap<u64, i32>>> =
        LazyLock::new(|| BoundedReader::waiting(TIMEOUT));
    let proc = Path::new("/proc").join(pid.to_string());
    let exe = fs::read_link(proc.join("exe")).ok()?;
    let uid = fs::metadata(&proc).ok()?.uid();
    let command = COMMANDS.read(&proc.join("cmdline"), MAX_COMMAND);
    let open = DESCRIPTORS.look(move || open_sockets::descriptors(&proc, MAX_OPEN));
    Some(ListeningProgram {
        pid,
        exe,
        command: command
            .map(|line| process::words(&line))
            .unwrap_or_default(),
        uid,
        fd: *open.ok()?.get(&u64::from(inode))?,
    })
}

fn socket(pid: u32, fd: i32) -> Option<OwnedFd> {
    let process = pidfd::open(pid).ok()?;
    pidfd_getfd(process, fd, PidfdGetfdFlags::empty()).ok()
}

fn has(tickets: &Tickets, socket: &OwnedFd, ticket: Ticket) -> bool {
    matches!(tickets.of(socket), Ok(Some(own)) if own == ticket)
}
