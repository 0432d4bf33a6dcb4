//! The kernel's maps that this process has been given, and what tests put in their place.

use std::{fmt, io};

use guard_common::{BootTime, Named, NamedKey, Origin, OriginKey, QueueKey};
use guard_sys::bpf::{NamedMap, Origins, Queues};

/// `ORIGINS`, `QUESTIONS`, `NAMED` and `DRAINED`.
pub(super) trait Maps: fmt::Debug {
    /// Where datagrams from a port were going, or one question of these. The entry serves for all that come from there.
    fn question(&self, key: &OriginKey) -> io::Result<Option<Origin>>;
    /// Where a connection was going. Its entry serves once.
    fn take_origin(&self, key: &OriginKey) -> io::Result<Option<Origin>>;
    /// Under which patterns a session knows an address.
    fn named(&self, key: &NamedKey) -> io::Result<Option<Named>>;
    /// Has the kernel know that.
    fn put_named(&self, key: &NamedKey, named: &Named) -> io::Result<()>;
    /// Has the kernel know nothing of these.
    fn remove_named(&self, keys: &[NamedKey]) -> io::Result<()>;
    /// Has the kernel count from zero what is sent to a socket: nothing was left to read there at that time.
    fn drained(&self, queue: &QueueKey, at: BootTime) -> io::Result<()>;
}

/// The kernel's own.
#[derive(Debug)]
pub(super) struct Kernel {
    pub(super) origins: Origins,
    pub(super) questions: Origins,
    pub(super) named: NamedMap,
    pub(super) queues: Queues,
}

impl Maps for Kernel {
    fn question(&self, key: &OriginKey) -> io::Result<Option<Origin>> {
        self.questions.get(key)
    }

    fn take_origin(&self, key: &OriginKey) -> io::Result<Option<Origin>> {
        self.origins.take(key)
    }

    fn named(&self, key: &NamedKey) -> io::Result<Option<Named>> {
        self.named.get(key)
    }

    fn put_named(&self, key: &NamedKey, named: &Named) -> io::Result<()> {
        self.named.put(key, named)
    }

    fn remove_named(&self, keys: &[NamedKey]) -> io::Result<()> {
        self.named.remove(keys)
    }

    fn drained(&self, queue: &QueueKey, at: BootTime) -> io::Result<()> {
        self.queues.drained(queue, at)
    }
}
