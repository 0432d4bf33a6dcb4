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

/// A listener that has made room for another. guardd does not note any more what it connects to, so nothing passes to it before the next
/// scan, on open connections either.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictedRelay {
    /// Its ticket.
    pub ticket: Ticket,
    /// What the map keeps of it until then, if no scan finds all of that again.
    pub kept: Option<Relay>,
}

impl Relays {
    pub(super) fn open(dir: &Path, object: &Object) -> Result<Self> {
        let followed = object.tells().then(|| open(dir, "FOLLOWED"));
        Ok(Self {
            known: open(dir, "RELAYS")?,
            followed: followed.transpose()?,
        })
    }

    /// Keeps what is to be kept of a listener, void; where there is no memory for that, nothing.
    fn void(&mut self, evicted: &EvictedRelay) -> std::result::Result<(), MapError> {
        let ticket = evicted.ticket.0;
        let void = evicted.kept.map(|relay| relay.void(clock::now()));
        let is_kept = void.is_some_and(|void| self.known.insert(ticket, bytes(&void), 0).is_ok());
        if is_kept {
            Ok(())
        } else {
            gone(self.known.remove(&ticket))
        }
    }

    /// Admits no new connections to a listener.
    fn admit_none(&mut self, ticket: Ticket) -> std::result::Result<(), MapError> {
        match &mut self.followed {
            Some(followed) => gone(followed.remove(&ticket.0)),
            None => Ok(()),
        }
    }
}

/// Does something with each, whatever fails. Returns the first error.
fn with_each<T, E>(
    all: &[T],
    work: impl FnMut(&T) -> std::result::Result<(), E>,
) -> std::result::Result<(), E> {
    all.iter().map(work).fold(Ok(()), std::result::Result::and)
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

    /// Evicts listeners: connections to them are held until they are scanned, open ones too, since guardd does not note any more what they
    /// connect to. The map keeps what is [`EvictedRelay::kept`], which only [`Self::relay`] and [`Self::relays_known`] read. All verdicts
    /// are taken anew, once.
    ///
    /// # Errors
    ///
    /// The system's first; then some listeners may count as they did.
    pub fn evict_relays(&mut self, evicted: &[EvictedRelay]) -> Result<()> {
        if evicted.is_empty() {
            return Ok(());
        }
        let relays = self.relays()?;
        let written = with_each(evicted, |one| relays.void(one))
            .map_err(DatapathError::ebpf("write the map RELAYS"));
        // Before what may fail, and whatever has: what was written is to count.
        let bumped = self.maps.bump_generation();
        let relays = self.relays()?;
        let shut = with_each(evicted, |one| relays.admit_none(one.ticket))
            .map_err(DatapathError::ebpf("write the map FOLLOWED"));
        written.and(bumped).and(shut)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_one_is_done_with_all_others() {
        let mut done = Vec::new();
        let first = with_each(&[1, 2, 3, 4], |one| {
            done.push(*one);
            if one % 2 == 0 { Err(*one) } else { Ok(()) }
        });
        assert_eq!((first, done), (Err(2), vec![1, 2, 3, 4]));
    }
}
