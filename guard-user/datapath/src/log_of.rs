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

/// What the programs' constants are: whose decisions they log, and up to which level.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogConstants {
    whose: u32,
    level: u8,
}

/// Sets in a loader whose decisions the programs log. If none's, the unused ring buffer gets one page.
pub(super) fn prepare<'l>(loader: &mut EbpfLoader<'l>, of: &'l LogConstants) {
    const RING: &str = "AYA_LOGS";
    const PAGE: u32 = 4096;
    // An object of an earlier guard has none of these.
    loader.override_global("KERNEL_LOG", &of.whose, false);
    loader.override_global(aya_log::LEVEL, &of.level, false);
    if of.whose == kernel_log::OFF {
        loader.map_max_entries(RING, PAGE);
    }
}

/// The constants that [`prepare`] sets.
pub(super) fn constants(of: Option<LogOf>) -> LogConstants {
    let (whose, level) = match of {
        None => (kernel_log::OFF, 0),
        Some(LogOf::All) => (kernel_log::ALL, Level::Info as u8),
        Some(LogOf::Session(session)) => (session.0, Level::Info as u8),
    };
    LogConstants { whose, level }
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
