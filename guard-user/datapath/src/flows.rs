//! What sessions have reached, as the kernel half adds it up (`FLOWS`).

use std::path::Path;

use aya::maps::{HashMap, MapData, MapError};
use guard_common::{Flow, FlowCount, FlowKey, SessionId};

use super::{
    Datapath, DatapathError, Result,
    maps::{gone, open, read},
    pins,
};

/// The maps of flows.
pub(super) struct Flows {
    all: HashMap<MapData, [u8; size_of::<FlowKey>()], [u8; size_of::<Flow>()]>,
    shares: HashMap<MapData, u64, u64>,
}

impl Flows {
    /// Opens them where they are pinned; none where the programs that run are of a build that adds up none.
    pub(super) fn open(dir: &Path) -> Result<Option<Self>> {
        if !pins::map(dir, "FLOWS").exists() || !pins::map(dir, "FLOW_SHARES").exists() {
            return Ok(None);
        }
        Ok(Some(Self {
            all: open(dir, "FLOWS")?,
            shares: open(dir, "FLOW_SHARES")?,
        }))
    }

    fn count(&self, outermost: SessionId, of: FlowCount) -> Result<u64> {
        match self.shares.get(&of.of(outermost), 0) {
            Err(MapError::KeyNotFound) => Ok(0),
            found => found.map_err(DatapathError::ebpf("read the map FLOW_SHARES")),
        }
    }
}

const LIST: &str = "list the map FLOWS";
const WRITE: &str = "write the map FLOWS";
const WRITE_SHARES: &str = "write the map FLOW_SHARES";

impl Datapath {
    /// What all sessions have reached.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn flows(&self) -> Result<Vec<(FlowKey, Flow)>> {
        let Some(flows) = &self.flows else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for entry in flows.all.iter() {
            match entry {
                Ok((key, flow)) => found.push((read(&key), read(&flow))),
                // Removed meanwhile.
                Err(MapError::KeyNotFound) => {}
                Err(error) => return Err(DatapathError::ebpf(LIST)(error)),
            }
        }
        Ok(found)
    }

    /// How many connections of an outermost session and those inside it there was no room to add up.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn flows_left_out(&self, outermost: SessionId) -> Result<u64> {
        match &self.flows {
            Some(flows) => flows.count(outermost, FlowCount::LeftOut),
            None => Ok(0),
        }
    }

    /// Removes what sessions have left that are not to be kept, and its share of their outermost ones' room.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn forget_flows(
        &mut self,
        is_kept: impl Fn(SessionId) -> bool,
        outermost_of: impl Fn(SessionId) -> SessionId,
    ) -> Result<()> {
        let Some(flows) = &mut self.flows else {
            return Ok(());
        };
        let keys: std::result::Result<Vec<_>, _> = flows.all.keys().collect();
        for key in keys.map_err(DatapathError::ebpf(LIST))? {
            let session = read::<FlowKey, _>(&key).session;
            if is_kept(session) {
                continue;
            }
            gone(flows.all.remove(&key)).map_err(DatapathError::ebpf(WRITE))?;
            let outermost = outermost_of(session);
            // The kernel half counts at the same time, and one more or less does not matter.
            let left = flows.count(outermost, FlowCount::Kept)?.saturating_sub(1);
            flows
                .shares
                .insert(FlowCount::Kept.of(outermost), left, 0)
                .map_err(DatapathError::ebpf(WRITE_SHARES))?;
        }
        Ok(())
    }

    /// Forgets the counts of outermost sessions that are not to be kept.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn forget_flow_counts(&mut self, is_kept: impl Fn(SessionId) -> bool) -> Result<()> {
        let Some(flows) = &mut self.flows else {
            return Ok(());
        };
        let keys: std::result::Result<Vec<_>, _> = flows.shares.keys().collect();
        let keys = keys.map_err(DatapathError::ebpf("list the map FLOW_SHARES"))?;
        for key in keys
            .into_iter()
            .filter(|key| !is_kept(SessionId(*key as u32)))
        {
            gone(flows.shares.remove(&key)).map_err(DatapathError::ebpf(WRITE_SHARES))?;
        }
        Ok(())
    }
}
