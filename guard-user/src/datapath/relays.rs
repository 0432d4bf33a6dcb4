//! Listeners on this machine that sessions connect to, and where they lead.

use std::path::Path;

use aya::maps::{HashMap, MapData, MapError};
use guard_common::{Relay, Ticket};

use super::{
    Datapath, DatapathError, Result,
    maps::{bytes, gone, open, read},
};
use crate::sys::clock;

/// The map that only a kernel half has that asks where listeners lead.
pub(super) struct Relays(HashMap<MapData, u64, [u8; size_of::<Relay>()]>);

impl Relays {
    pub(super) fn open(dir: &Path) -> Result<Self> {
        Ok(Self(open(dir, "RELAYS")?))
    }
}

impl Datapath {
    /// From now on that is what is known of a listener. Connections that were allowed before are judged anew where
    /// `is_stricter`.
    ///
    /// # Errors
    ///
    /// The system's; then what was known before still is.
    pub fn set_relay(&mut self, relay: &Relay, is_stricter: bool) -> Result<()> {
        let head = clock::now().0;
        let relay = Relay {
            head,
            tail: head,
            ..*relay
        };
        self.relays()?
            .0
            .insert(relay.ticket.0, bytes(&relay), 0)
            .map_err(DatapathError::ebpf("write the map RELAYS"))?;
        match is_stricter {
            true => self.maps.bump_generation(),
            false => Ok(()),
        }
    }

    /// What is known of one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn relay(&self, ticket: Ticket) -> Result<Option<Relay>> {
        let Some(Relays(map)) = &self.relays else {
            return Ok(None);
        };
        match map.get(&ticket.0, 0) {
            Ok(value) => Ok(Some(read(&value))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DatapathError::ebpf("read the map RELAYS")(error)),
        }
    }

    /// All that is known of listeners.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn relays_known(&self) -> Result<Vec<Relay>> {
        let Some(Relays(map)) = &self.relays else {
            return Ok(Vec::new());
        };
        let entries: std::result::Result<Vec<_>, _> = map.iter().collect();
        let entries = entries.map_err(DatapathError::ebpf("list the map RELAYS"))?;
        Ok(entries.iter().map(|(_, value)| read(value)).collect())
    }

    /// Forgets a listener: who connects to it, if it is still there, waits until it is looked at.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn forget_relay(&mut self, ticket: Ticket) -> Result<()> {
        gone(self.relays()?.0.remove(&ticket.0))
            .map_err(DatapathError::ebpf("write the map RELAYS"))
    }

    fn relays(&mut self) -> Result<&mut Relays> {
        self.relays.as_mut().ok_or_else(|| DatapathError::Absent {
            what: "program in the eBPF object that asks where listeners lead".into(),
        })
    }
}
