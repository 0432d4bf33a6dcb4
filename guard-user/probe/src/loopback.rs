//! The listeners on loopback outside of every session: each may lead on to somewhere else, or run what it is told.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use guard_proto::Row;
use guard_sys::cgroup2::{self, Hierarchy};
use guard_sys::tcp_listeners::{ListeningSocket, holders, tcp_listeners};

use super::{Check, Family, ProbeResult, errno};

const LISTENERS: Check = Check::way(
    Family::Helper,
    "listeners on loopback",
    "in the policy: deny those ports of @guarded-host",
)
.optional();

/// A connection to a session's own listener, which nobody has accepted yet, goes to a program that shares its port: the socket stays the
/// session's, and no hook sees that its program is another.
const MIGRATION: Check = Check::way(
    Family::Helper,
    "connections change hands",
    "sudo sysctl net.ipv4.tcp_migrate_req=0",
);
/// Of the network of whoever reads it.
const MIGRATES: &str = "/proc/sys/net/ipv4/tcp_migrate_req";

/// What each row is.
pub const CHECKS: [Check; 2] = [LISTENERS, MIGRATION];

/// Limit of the listeners that are named.
const NAMED: usize = 8;

/// One row, with each of them and its process, as far as this process may see that.
#[must_use]
pub fn row() -> Row {
    LISTENERS.row(match tcp_listeners() {
        Ok(all) => told(&all),
        Err(error) => ProbeResult::unclear(errno(&error)),
    })
}

/// Whether connections stay with the listener that they came to.
#[must_use]
pub fn migration() -> Row {
    MIGRATION.row(match fs::read_to_string(MIGRATES) {
        Ok(value) if value.trim() == "0" => {
            ProbeResult::yes("net.ipv4.tcp_migrate_req is 0: each stays with its listener")
        }
        Ok(value) => ProbeResult::no(format!(
            "net.ipv4.tcp_migrate_req is {}: what a listener leaves goes to others that share its port (SO_REUSEPORT)",
            value.trim()
        )),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            ProbeResult::yes("this kernel has no net.ipv4.tcp_migrate_req")
        }
        Err(error) => ProbeResult::unclear(errno(&error)),
    })
}

fn told(all: &[ListeningSocket]) -> ProbeResult {
    let holders = holders();
    let hierarchy = Hierarchy::find().ok();
    let is_inside = |pid: u32| {
        let path = cgroup2::path_of(pid).ok();
        let hierarchy = hierarchy.as_ref();
        path.zip(hierarchy)
            .is_some_and(|(path, hierarchy)| hierarchy.is_guarded(&path).unwrap_or(false))
    };
    let reachable = |one: &&ListeningSocket| {
        let ip = one.at.ip().to_canonical();
        ip.is_loopback() || ip.is_unspecified()
    };
    let mut named: Vec<_> = all
        .iter()
        .filter(reachable)
        .map(|one| (one.at, holders.get(&one.inode).copied()))
        .filter(|(_, pid)| !pid.is_some_and(is_inside))
        .map(|(at, pid)| format!("{at} ({})", pid.map_or_else(unknown, program)))
        .collect();
    named.sort();
    named.dedup();
    if named.is_empty() {
        return ProbeResult::yes("nothing outside of sessions listens on TCP (sock_diag)");
    }
    let more = named.len().saturating_sub(NAMED);
    named.truncate(NAMED);
    let more = match more {
        0 => String::new(),
        more => format!(", and {more} more"),
    };
    ProbeResult::no(format!(
        "a session may reach these where its policy allows @guarded-host at the port, else it asks: {}{more}",
        named.join(", ")
    ))
}

fn unknown() -> String {
    "by whom cannot be seen".to_owned()
}

/// The name of a process' executable; what it calls itself where that may not be looked at.
fn program(pid: u32) -> String {
    let exe = fs::read_link(format!("/proc/{pid}/exe")).ok();
    let name = exe.as_deref().and_then(Path::file_name);
    let name = name.map(|name| name.to_string_lossy().into_owned());
    let comm = || fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    name.or_else(comm)
        .map_or_else(unknown, |name| name.trim().to_owned())
}
