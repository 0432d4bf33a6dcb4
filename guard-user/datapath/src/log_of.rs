//! Whose decisions the programs log ([`super::kernel_log`]): constants of theirs, which a loader sets.

use aya::EbpfLoader;
use aya_log::Level;
use guard_common::{SessionId, kernel_log};

use super::Object;

/// The sessions whose decisions are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOf {
    /// One session.
    Session(SessionId),
    /// All sessions, and cgroups that no session owns.
    All,
}

/// Sets in a loader whose decisions the programs log. If none's, the unused ring buffer gets one page.
pub(super) fn prepare<'l>(loader: &mut EbpfLoader<'l>, of: &'l (u32, u8)) {
    const RING: &str = "AYA_LOGS";
    const PAGE: u32 = 4096;
    // An object of an earlier guard has none of these.
    loader.override_global("KERNEL_LOG", &of.0, false);
    loader.override_global(aya_log::LEVEL, &of.1, false);
    if of.0 == kernel_log::OFF {
        loader.map_max_entries(RING, PAGE);
    }
}

/// The constants that [`prepare`] sets.
pub(super) fn constants(of: Option<LogOf>) -> (u32, u8) {
    match of {
        None => (kernel_log::OFF, 0),
        Some(LogOf::All) => (kernel_log::ALL, Level::Info as u8),
        Some(LogOf::Session(session)) => (session.0, Level::Info as u8),
    }
}

impl Object {
    /// The mark in the kernel that programs of this object are attached, which log decisions or none: a guardd that finds
    /// programs that log replaces them.
    pub(super) fn attached(&self, of: Option<LogOf>) -> u64 {
        match of {
            None => self.build(),
            Some(_) => !self.build(),
        }
    }
}
