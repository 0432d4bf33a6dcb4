//! The guard's proxies, one in each network namespace at most, to which connections to read-only destinations are
//! redirected.

use std::{
    num::NonZeroU16,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use aya::maps::{HashMap, MapData, MapError};
use guard_common::NetnsCookie;
use guard_sys::bpf;

use super::{
    Datapath, DatapathError, Result,
    maps::{gone, open, open_untyped},
    pins,
};

/// The guard's port by network namespace.
pub(super) type Ports = HashMap<MapData, u64, u16>;

/// The maps for redirected connections.
pub(super) struct Proxies {
    ports: Ports,
    listeners: MapData,
    origins: MapData,
}

impl Proxies {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        Ok(Self {
            ports: open(dir, "PROXIES")?,
            listeners: open_untyped(dir, "LISTENERS")?,
            origins: open_untyped(dir, "ORIGINS")?,
        })
    }

    /// Marks a socket as one of the guard's own.
    pub(super) fn mark_listener(&self, socket: &impl AsFd) -> Result<()> {
        bpf::store_at_socket(self.listeners.fd(), socket, 1)
            .map_err(DatapathError::file("mark a socket in", "the map LISTENERS"))
    }

    /// Removes every proxy from what is pinned, if that has any. What sockets remember of them has to be voided after.
    pub(super) fn clear(dir: &Path) -> Result<()> {
        if !pins::map(dir, "PROXIES").exists() {
            return Ok(());
        }
        let mut ports: Ports = open(dir, "PROXIES")?;
        for (netns, _) in list(&ports)? {
            remove(&mut ports, netns)?;
        }
        Ok(())
    }
}

fn list(ports: &Ports) -> Result<Vec<(NetnsCookie, NonZeroU16)>> {
    let entries: std::result::Result<Vec<_>, _> = ports.iter().collect();
    let entries = entries.map_err(DatapathError::ebpf("list the map PROXIES"))?;
    // A port of 0 means none.
    let proxies = entries
        .into_iter()
        .filter_map(|(netns, port)| Some((NetnsCookie(netns), NonZeroU16::new(port)?)));
    Ok(proxies.collect())
}

fn remove(ports: &mut Ports, netns: NetnsCookie) -> Result<()> {
    gone(ports.remove(&netns.0)).map_err(DatapathError::ebpf("write the map PROXIES"))
}

impl Datapath {
    /// Redirects connections to read-only destinations in that network namespace to that port of 127.0.0.1 and of ::1.
    /// Connections that were redirected to another port there are dropped.
    ///
    /// `listeners` are the sockets that listen there. Connections are redirected to these alone, and only while they are open:
    /// when they are gone, even without guardd, connections are refused, whatever process has the port by then.
    ///
    /// # Errors
    ///
    /// If there is no room, or the system's; then the proxy that was there still is.
    pub fn set_proxy(
        &mut self,
        netns: NetnsCookie,
        port: NonZeroU16,
        listeners: &[impl AsFd],
    ) -> Result<()> {
        let proxies = &mut self.proxies;
        for listener in listeners {
            proxies.mark_listener(listener)?;
        }
        let ports = &mut proxies.ports;
        let before = match ports.get(&netns.0, 0) {
            Err(MapError::KeyNotFound) => None,
            found => Some(found.map_err(DatapathError::ebpf("read the map PROXIES"))?),
        };
        ports
            .insert(netns.0, port.get(), 0)
            .map_err(DatapathError::ebpf("write the map PROXIES"))?;
        // What was sent there before may be cached: it was anybody's port.
        match before {
            Some(known) if known == port.get() => Ok(()),
            _ => self.maps.bump_generation(),
        }
    }

    /// Has connections to read-only destinations in that network namespace refused, and drops redirected ones: another process
    /// may take the port. Must be called before the proxy closes it.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn clear_proxy(&mut self, netns: NetnsCookie) -> Result<()> {
        remove(&mut self.proxies.ports, netns)?;
        self.maps.bump_generation()
    }

    /// The proxies: the port of each, by its network namespace.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn proxies(&self) -> Result<Vec<(NetnsCookie, NonZeroU16)>> {
        list(&self.proxies.ports)
    }

    /// The map from which a proxy takes its clients' original destinations ([`guard_sys::bpf::Origins`]). The holder of the
    /// descriptor needs no privilege.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn origins(&self) -> Result<OwnedFd> {
        let fd = self.proxies.origins.fd().as_fd().try_clone_to_owned();
        fd.map_err(DatapathError::file(
            "copy a descriptor of",
            "the map ORIGINS",
        ))
    }
}
