//! When the guard's resolver had read all that was sent to its sockets.

use std::io;
use std::os::fd::OwnedFd;

use guard_common::{BootTime, QueueKey};

use super::element::{check_sizes, update};

/// The map `DRAINED`. A process that has inherited its descriptor needs no privilege (since Linux 5.19).
#[derive(Debug)]
pub struct Queues(OwnedFd);

impl Queues {
    /// Takes the map over.
    ///
    /// # Errors
    ///
    /// `InvalidInput` where it is a map of other keys or values. Else the system's, as where it is no map.
    pub fn new(map: OwnedFd) -> io::Result<Self> {
        check_sizes::<QueueKey, u64>(&map)?;
        Ok(Self(map))
    }

    /// Has the kernel half count from zero what is sent to a socket, in which nothing was left to read at that time.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn drained(&self, queue: &QueueKey, at: BootTime) -> io::Result<()> {
        // SAFETY: `new` has compared the sizes.
        unsafe { update(&self.0, queue, &at.0) }
    }
}
