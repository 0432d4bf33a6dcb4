//! Listeners on this machine that sessions connect to, and their upstreams, as guardd writes them to the kernel (`RELAYS`).

use std::path::Path;

use aya::maps::{HashMap, MapData, MapError};
use guard_common::{BootTime, Relay, Ticket};
use guard_sys::clock;

use super::{
    Datapath, DatapathError, Object, Result,
    maps::{bytes, gone, open, read},
};

/// The maps of a kernel half that asks for listeners' upstreams.
pub(super) struct Relays {
    known: HashMap<MapData, u64, [u8; size_of::<Relay>()]>,
    /// None if the kernel half does not ask whether they are traced.
    followed: Option<HashMap<MapData, u64, u64>>,
}

impl Relays {
    pub(super) fn open(dir: &Path, object: &Object) -> Result<Self> {
        let followed = object.tells().then(|| open(dir, "FOLLOWED"));
        Ok(Self {
            known: open(dir, "RELAYS")?,
            followed: followed.transpose()?,
        })
    }
}

impl Datapath {
    /// Writes what is known of a listener. Earlier allowances are judged again if `is_stricter`.
    ///
    /// # Errors
    ///
    /// The system's; then the earlier entry stays.
    pub fn set_relay(&mut self, relay: &Relay, is_stricter: bool) -> Result<()> {
        let head = clock::now().0;
        let relay = Relay {
            head,
            tail: head,
            ..*relay
        };
        self.relays()?
            .known
            .insert(relay.ticket.0, bytes(&relay), 0)
            .map_err(DatapathError::ebpf("write the map RELAYS"))?;
        if is_stricter {
            self.maps.bump_generation()
        } else {
            Ok(())
        }
    }

    /// What is known of a listener.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn relay(&self, ticket: Ticket) -> Result<Option<Relay>> {
        let Some(Relays { known, .. }) = &self.relays else {
            return Ok(None);
        };
        match known.get(&ticket.0, 0) {
            Ok(value) => Ok(Some(read(&value))),
            Err(MapError::KeyNotFound) => Ok(None),
            Err(error) => Err(DatapathError::ebpf("read the map RELAYS")(error)),
        }
    }

    /// What is known of all listeners.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn relays_known(&self) -> Result<Vec<Relay>> {
        let Some(Relays { known, .. }) = &self.relays else {
            return Ok(Vec::new());
        };
        let entries: std::result::Result<Vec<_>, _> = known.iter().collect();
        let entries = entries.map_err(DatapathError::ebpf("list the map RELAYS"))?;
        Ok(entries.iter().map(|(_, value)| read(value)).collect())
    }

    /// Evicts a listener: connections to it are held until it is scanned, open ones too, since guardd does not note any more what it
    /// connects to. The map keeps what is `kept` of it, which only [`Self::relay`] and [`Self::relays_known`] read.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn evict_relay(&mut self, ticket: Ticket, kept: Option<&Relay>) -> Result<()> {
        let relays = self.relays()?;
        let written = match kept {
            Some(relay) => {
                let void = relay.void(clock::now());
                relays.known.insert(ticket.0, bytes(&void), 0)
            }
            None => gone(relays.known.remove(&ticket.0)),
        };
        written.map_err(DatapathError::ebpf("write the map RELAYS"))?;
        // Before what may fail.
        self.maps.bump_generation()?;
        match &mut self.relays()?.followed {
            Some(followed) => gone(followed.remove(&ticket.0))
                .map_err(DatapathError::ebpf("write the map FOLLOWED")),
            None => Ok(()),
        }
    }

    /// Admits new connections of sessions to a listener until then; for good if dials are not reported.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn let_begin(&mut self, ticket: Ticket, until: BootTime) -> Result<()> {
        let until = if self.dials.is_ok() {
            until.0
        } else {
            u64::MAX
        };
        match &mut self.relays()?.followed {
            Some(map) => map
                .insert(ticket.0, until, 0)
                .map_err(DatapathError::ebpf("write the map FOLLOWED")),
            None => Ok(()),
        }
    }

    fn relays(&mut self) -> Result<&mut Relays> {
        self.relays.as_mut().ok_or_else(|| DatapathError::Absent {
            what: "program in the eBPF object that asks for listeners' upstreams".into(),
        })
    }
}
