//! The ring buffer `EVENTS`, as guardd reads it.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use aya::maps::{Map, MapData, RingBuf};
use guard_common::{Event, LsmEvent};
use zerocopy::FromBytes as _;

use super::{Datapath, DatapathError, Result, pins};

/// An event of the kernel half.
#[derive(Clone, Copy, Debug)]
pub enum KernelEvent {
    /// Of a cgroup program: about a connection, a listener or a dial.
    Connection(Event),
    /// Of a program at a security hook.
    Other(LsmEvent),
}

/// The events as they come. Its descriptor is readable when there is one.
pub struct EventReader(RingBuf<MapData>);

impl Datapath {
    /// Opens the ring buffer. Unread events come first.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn events(&self) -> Result<EventReader> {
        let pin = pins::map(&pins::live(&self.places.pin_dir), "EVENTS");
        MapData::from_pin(pin)
            .and_then(Map::from_map_data)
            .and_then(RingBuf::try_from)
            .map(EventReader)
            .map_err(DatapathError::ebpf("open the ring buffer EVENTS"))
    }
}

impl EventReader {
    /// The next event, if there is one now.
    #[expect(
        clippy::should_implement_trait,
        reason = "an iterator that goes on after `None` surprises"
    )]
    pub fn next(&mut self) -> Option<KernelEvent> {
        loop {
            let item = self.0.next()?;
            // Only the kernel half writes here; a record of another size is not one of its records.
            if let Ok(event) = Event::read_from_bytes(&item) {
                return Some(KernelEvent::Connection(event));
            }
            if let Ok(event) = LsmEvent::read_from_bytes(&item) {
                return Some(KernelEvent::Other(event));
            }
        }
    }
}

impl std::fmt::Debug for EventReader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("EventReader")
            .field(&self.as_raw_fd())
            .finish()
    }
}

impl AsFd for EventReader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for EventReader {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
