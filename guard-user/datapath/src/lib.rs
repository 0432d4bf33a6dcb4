//! The kernel half as guardd sees it: programs attached at the guard's root cgroup, and the maps that
//! they read. The only room that knows aya.
//!
//! What is pinned is the truth. A [`Datapath`] exists only if every program is attached and every map is loaded, and it is
//! exclusive: pins and cgroup root are locked while it lives. Dropping it leaves enforcement in place; [`teardown`] removes it.

mod cgroup;
mod error;
mod events;
mod flows;
mod gate;
mod holding;
mod hole_list;
#[cfg(test)]
mod hole_oracle;
mod holes;
mod hooks;
mod instructions;
mod kernel_log;
mod layout;
mod listeners;
mod loader;
mod log_of;
mod lsm;
mod maps;
mod object;
mod outside;
mod pins;
mod policies;
mod probe;
mod proxies;
mod recall;
mod resolvers;
mod sessions;
mod start;
mod sweep;
mod teardown;
mod top;
mod trie;
mod unix;

use std::{collections::HashMap, os::fd::OwnedFd, path::PathBuf};

use guard_common::{HoleId, PolicyId, SessionId};
use guard_proto::HookStatus;

pub use cgroup::{ChildCgroup, default_root};
pub use error::DatapathError;
pub use events::{EventReader, KernelEvent};
pub use gate::TlsBy;
pub use holding::HeldSocket;
pub use holes::{LiveHole, NewHole};
pub use kernel_log::{DecisionLine, Logged};
pub use log_of::LogOf;
pub use lsm::SecurityHooks;
pub use object::Object;
pub use probe::{has_types, security_hooks};
pub use sessions::SessionCgroup;
pub use start::Start;
pub use sweep::Swept;
pub use teardown::{TornDown, teardown};
pub use unix::UnixTerms;

type Result<T> = std::result::Result<T, DatapathError>;

/// The paths of the guard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// The directory of the pins, on a bpffs. Made if it is absent.
    pub pin_dir: PathBuf,
    /// The root of the guarded cgroups, in a cgroup v2 hierarchy. Made if it is absent.
    pub cgroup_root: PathBuf,
}

/// Ids that were given last; 0: none was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LastIds {
    /// Of a session.
    pub session: SessionId,
    /// Of a request.
    pub request: u32,
    /// Of a hole.
    pub hole: HoleId,
}

/// The attached programs and their maps.
pub struct Datapath {
    places: Places,
    /// The object of the attached programs.
    object: Object,
    root: cgroup::Root,
    maps: maps::Maps,
    /// None if the programs log nothing.
    kernel_log: Option<kernel_log::KernelLog>,
    proxies: proxies::Proxies,
    /// None where the programs know no names.
    resolvers: Option<resolvers::Resolvers>,
    holding: holding::Holding,
    /// None where the programs add up no flows.
    flows: Option<flows::Flows>,
    /// What looks at TLS in the kernel, or why nothing does.
    gate: std::result::Result<gate::Gate, String>,
    /// The programs at the kernel's security hooks, or why there are none.
    lsm: std::result::Result<lsm::Lsm, String>,
    /// The programs that refuse Unix sockets without security hooks, or why there are none.
    unix: std::result::Result<unix::Unix, String>,
    /// Why sockets that were made outside are not refused, if they are not.
    outside: std::result::Result<(), String>,
    listeners: listeners::Listeners,
    /// The content of each slot; an adopted slot has none until it is installed again.
    slots: HashMap<PolicyId, policies::Slot>,
    _locks: [OwnedFd; 2],
}

impl std::fmt::Debug for Datapath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Datapath")
            .field("places", &self.places)
            .finish_non_exhaustive()
    }
}

impl Datapath {
    /// Reads back whether every program is attached to the guard's root cgroup.
    ///
    /// # Errors
    ///
    /// [`DatapathError::NotEnforced`] names what is not as it should be; [`DatapathError::RootGone`]: there is no root to be
    /// attached to.
    pub fn read_back(&self) -> Result<Vec<HookStatus>> {
        let live = pins::live(&self.places.pin_dir);
        if !self.root.stands() {
            return Err(DatapathError::RootGone {
                root: self.places.cgroup_root.clone(),
            });
        }
        let mut hooks = hooks::read_back(&live, self.root.id(), self.object.knows_names());
        let at_the_top = [
            top::KnownHooks::new(&unix::HOOKS, self.unix.is_ok()),
            top::KnownHooks::new(&outside::HOOKS, self.outside.is_ok()),
        ];
        hooks.extend(top::read_back(&live, &at_the_top));
        if self.gate.is_ok() {
            hooks.extend(gate::read_back(&live, self.root.id()));
        }
        hooks.extend(lsm::read_back(&live, self.lsm.is_ok()));
        if let Some(hook) = hooks.iter().find(|hook| !hook.attached) {
            return Err(DatapathError::NotEnforced {
                hook: hook.name.clone(),
                root: self.places.cgroup_root.clone(),
                hooks,
            });
        }
        self.maps.check(&self.places)?;
        Ok(hooks)
    }

    /// Checks that the root cgroup is the one that the programs are attached to, and not gone, and keeps it
    /// from being removed.
    ///
    /// # Errors
    ///
    /// [`DatapathError::RootGone`].
    pub fn keep_root(&self) -> Result<()> {
        if self.root.stands() && self.root.keep().is_ok() {
            return Ok(());
        }
        Err(DatapathError::RootGone {
            root: self.places.cgroup_root.clone(),
        })
    }

    /// Has new ids come after those, which an earlier kernel state has given.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn give_after(&mut self, last: LastIds) -> Result<()> {
        use guard_common::meta::{NEXT_HOLE, NEXT_REQUEST, NEXT_SESSION};
        let last = [
            (NEXT_SESSION, last.session.0),
            (NEXT_REQUEST, last.request),
            (NEXT_HOLE, last.hole.0),
        ];
        for (index, last) in last {
            let next = self.maps.get_meta(index)?.max(u64::from(last) + 1);
            self.maps.set_meta(index, next)?;
        }
        Ok(())
    }

    /// The number of a new request; never given twice.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn next_request(&mut self) -> Result<u32> {
        self.maps.next_id(guard_common::meta::NEXT_REQUEST)
    }

    /// The number of a hole that the kernel half does not know of; never given twice.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn next_hole(&mut self) -> Result<HoleId> {
        let id = self.maps.next_id(guard_common::meta::NEXT_HOLE)?;
        Ok(HoleId(id))
    }
}
