//! Dials: the connections of processes outside that serve a listener to which a session has connected. Programs at the top of
//! the hierarchy report them; they refuse nothing.

use std::path::Path;

use aya::{
    Ebpf,
    maps::{Array, HashMap, MapData},
};
use guard_common::{BootTime, Dialer};

use super::{
    Datapath, DatapathError, Object, Result,
    maps::{bytes, gone, open, read},
    top::{self, NamedHook},
};

/// `BPF_CGROUP_INET4_CONNECT` and so on.
pub(super) const HOOKS: [NamedHook; 2] = [
    NamedHook::new("top_dial4", 10),
    NamedHook::new("top_dial6", 11),
];

/// As the eBPF object names them.
pub(super) const MAPS: [&str; 3] = ["DIALERS", "DIALING", "DIALED"];

/// A process that serves a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServingProcess {
    /// Its id.
    pub pid: u32,
    /// The cgroup of its session; 0 for none.
    pub cgroup: u64,
}

/// The maps of the attached programs.
pub(super) struct Dials {
    dialers: HashMap<MapData, u32, [u8; size_of::<Dialer>()]>,
    dialing: Array<MapData, u64>,
    /// When ended entries were last removed.
    swept: BootTime,
}

/// The shortest interval between two removals, in nanoseconds: one takes a while.
const SWEEP: u64 = 1_000_000_000;

impl Dials {
    /// Attaches the programs, unless attached ones do the same.
    ///
    /// # Errors
    ///
    /// What the kernel lacks; then the attached ones stay as they were.
    pub(super) fn attach(live: &Path, object: &Object, ebpf: &mut Ebpf) -> Result<Self> {
        if !object.tells() {
            // Those of another guardd would report to nobody.
            top::detach(live, &HOOKS);
            return Err(DatapathError::Absent {
                what: "program in the eBPF object that tells what processes connect to".into(),
            });
        }
        let were_there = HOOKS.iter().all(|hook| top::is_pinned(live, hook));
        let attached = Self::attach_both(live, ebpf);
        if attached.is_err() && !were_there {
            top::detach(live, &HOOKS);
        }
        attached
    }

    fn attach_both(live: &Path, ebpf: &mut Ebpf) -> Result<Self> {
        top::attach(live, &HOOKS, ebpf)?;
        Ok(Self {
            dialers: open(live, "DIALERS")?,
            dialing: open(live, "DIALING")?,
            swept: BootTime(0),
        })
    }

    /// Has the kernel half report these processes' connections until then, as far as the map has room. False if it lost reports
    /// about one of them.
    pub(super) fn follow(
        &mut self,
        processes: &[ServingProcess],
        now: BootTime,
        until: BootTime,
    ) -> Result<bool> {
        let mut all = Ok(true);
        for process in processes {
            let put = self.follow_one(*process, until);
            let put = put.or_else(|_| {
                // Ended entries take room.
                self.evict_ended(now);
                self.follow_one(*process, until)
            });
            all = match (all, put) {
                (Ok(all), Ok(put)) => Ok(all && put),
                (Err(error), _) | (_, Err(error)) => Err(error),
            };
        }
        let put = self.dialing.set(0, until.0, 0);
        put.map_err(DatapathError::ebpf("write the map DIALING"))?;
        all
    }

    /// The entry's counts go on.
    fn follow_one(&mut self, process: ServingProcess, until: BootTime) -> Result<bool> {
        let ServingProcess { pid, cgroup } = process;
        let before = self.dialers.get(&pid, 0);
        let before: Dialer = before.map(|value| read(&value)).unwrap_or_default();
        let dialer = bytes(&Dialer {
            until,
            cgroup,
            ..before
        });
        let put = self.dialers.insert(pid, dialer, 0);
        put.map_err(DatapathError::ebpf("write the map DIALERS"))?;
        Ok(before.lost == 0)
    }

    fn evict_ended(&mut self, now: BootTime) {
        if now.0 < self.swept.0 + SWEEP {
            return;
        }
        self.swept = now;
        let entries = self.dialers.iter().flatten();
        let dialers = entries.map(|(process, value)| (process, read::<Dialer, _>(&value)));
        let past = dialers.filter(|(_, dialer)| dialer.until.0 <= now.0);
        let past: Vec<u32> = past.map(|(process, _)| process).collect();
        for process in past {
            let _ = gone(self.dialers.remove(&process));
        }
    }
}

impl Datapath {
    /// Has the kernel half report the connections of these processes, and of those that they start, until then
    /// ([`super::EventReader`]). False if reports about one of them were lost.
    ///
    /// # Errors
    ///
    /// The system's, as if the map is full: then some processes are not reported. None if [`Self::dials_problem`] says why no
    /// process is.
    pub fn follow_dials(
        &mut self,
        processes: &[ServingProcess],
        now: BootTime,
        until: BootTime,
    ) -> Result<bool> {
        match &mut self.dials {
            Ok(dials) if !processes.is_empty() => dials.follow(processes, now, until),
            _ => Ok(true),
        }
    }

    /// Why the connections of processes outside are not reported; none if they are.
    #[must_use]
    pub fn dials_problem(&self) -> Option<&str> {
        self.dials.as_ref().err().map(String::as_str)
    }
}
