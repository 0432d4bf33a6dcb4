//! aya's loader, one for all that a start loads: making one reads the kernel's types, some megabytes, and takes longer than most of what it
//! is asked for then.

use std::{cell::OnceCell, io};

use aya::EbpfLoader;
use guard_common::at;
use guard_sys::btf::Btf;

use super::{
    LogOf, cgroup, layout,
    log_of::{self, LogConstants},
};

/// The constants that programs are loaded with. A loader only borrows them.
pub(super) struct LoadSettings {
    /// Whose decisions are logged,
    log_of: Option<LogOf>,
    /// and the constants that say so.
    pub(super) log: LogConstants,
    pub(super) session_level: u32,
    pub(super) root_id: u64,
    /// What is found out where something is loaded that wants it.
    pub(super) first_probe: OnceCell<u32>,
    pub(super) own_network: OnceCell<u64>,
    pub(super) reuseport: OnceCell<[u32; 2]>,
    offsets: OnceCell<[u32; at::LEN]>,
    types: OnceCell<Result<Btf, String>>,
}

impl LoadSettings {
    pub(super) fn new(root: &cgroup::Root, log_of: Option<LogOf>) -> Self {
        Self {
            log_of,
            log: log_of::constants(log_of),
            session_level: root.session_level(),
            root_id: root.id(),
            first_probe: OnceCell::new(),
            own_network: OnceCell::new(),
            reuseport: OnceCell::new(),
            offsets: OnceCell::new(),
            types: OnceCell::new(),
        }
    }

    /// The kernel's types. Reading them takes some milliseconds, once for all that is loaded.
    ///
    /// # Errors
    ///
    /// Why they cannot be read.
    pub(super) fn types(&self) -> Result<&Btf, String> {
        let read = || Btf::of_kernel().map_err(|why| why.to_string());
        self.types.get_or_init(read).as_ref().map_err(Clone::clone)
    }

    /// See [`at`].
    pub(super) fn offsets(&self, types: &Btf) -> io::Result<&[u32; at::LEN]> {
        if let Some(offsets) = self.offsets.get() {
            return Ok(offsets);
        }
        let found = layout::offsets(types)?;
        Ok(self.offsets.get_or_init(|| found))
    }
}

/// A loader, which is made when something is loaded.
pub(super) struct Loader<'l> {
    settings: &'l LoadSettings,
    aya: Option<EbpfLoader<'l>>,
}

impl<'l> Loader<'l> {
    pub(super) fn new(settings: &'l LoadSettings) -> Self {
        Self {
            settings,
            aya: None,
        }
    }

    /// Its settings, and aya's loader. That keeps the constants that it was given before, of which each object takes what it has.
    pub(super) fn parts(&mut self) -> (&'l LoadSettings, &mut EbpfLoader<'l>) {
        (self.settings, self.aya.get_or_insert_with(EbpfLoader::new))
    }

    /// Its settings.
    pub(super) fn settings(&self) -> &'l LoadSettings {
        self.settings
    }

    /// Whose decisions are logged by what it loads.
    pub(super) fn log_of(&self) -> Option<LogOf> {
        self.settings.log_of
    }
}
