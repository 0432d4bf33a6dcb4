//! What guardd tells the kernel half of this machine, and reads of sockets on it.

use std::{collections::HashSet, os::fd::AsFd as _, path::Path};

use aya::maps::{HashMap, MapData};
use guard_common::{Address, SessionId};
use guard_sys::bpf::Tickets;

use super::{
    Datapath, DatapathError, Result,
    maps::{bytes, gone, open_if_there, open_untyped, read},
    pins,
};

/// The maps. None where the kernel half is of 0.3.0 or before.
pub(super) struct Listeners {
    here: Option<HashMap<MapData, [u8; size_of::<Address>()], u8>>,
    remembers: Option<HashMap<MapData, u32, u8>>,
    sockets: Option<MapData>,
}

impl Listeners {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        let has_sockets = pins::map(dir, "NEAR").exists();
        Ok(Self {
            here: open_if_there(dir, "HERE")?,
            remembers: open_if_there(dir, "REMEMBERS")?,
            sockets: has_sockets.then(|| open_untyped(dir, "NEAR")).transpose()?,
        })
    }
}

impl Datapath {
    /// Tells the kernel half the addresses of this machine, besides the loopback's.
    ///
    /// # Errors
    ///
    /// The system's, as where there are too many: a session's own server is asked about at those that are left out.
    pub fn set_host(&mut self, addresses: impl Iterator<Item = Address>) -> Result<()> {
        let Some(here) = &mut self.listeners.here else {
            return Ok(());
        };
        let wanted: HashSet<Address> = addresses.collect();
        let known: Vec<Address> = here.keys().flatten().map(|key| read(&key)).collect();
        for address in known.iter().filter(|known| !wanted.contains(known)) {
            gone(here.remove(&bytes(address)))
                .map_err(DatapathError::ebpf("write the map HERE"))?;
        }
        for address in wanted {
            here.insert(bytes(&address), 1, 0)
                .map_err(DatapathError::ebpf("write the map HERE"))?;
        }
        Ok(())
    }

    /// Tells the kernel half whether a session's user has programs on the loopback that are reached without a question.
    ///
    /// # Errors
    ///
    /// The system's: then they are asked about.
    pub fn set_remembers(&mut self, session: SessionId, remembers: bool) -> Result<()> {
        let Some(map) = &mut self.listeners.remembers else {
            return Ok(());
        };
        let done = if remembers {
            map.insert(session.0, 1, 0)
        } else {
            gone(map.remove(&session.0))
        };
        done.map_err(DatapathError::ebpf("write the map REMEMBERS"))
    }

    /// What tells the tickets of sockets; none where the kernel half gives none.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn tickets(&self) -> Result<Option<Tickets>> {
        let Some(map) = &self.listeners.sockets else {
            return Ok(None);
        };
        let fd = map.fd().as_fd().try_clone_to_owned();
        let tickets = fd.and_then(Tickets::new);
        tickets
            .map(Some)
            .map_err(DatapathError::file("read", "the map NEAR"))
    }
}
