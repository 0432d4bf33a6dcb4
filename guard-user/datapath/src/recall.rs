//! Policies that an earlier guardd put in place, as the kernel still has them.

use std::collections::{HashMap, HashSet};

use aya::maps::MapError;
use guard_common::{ListId, PolicyId, PrefixValue, RangeList};
use guard_policy::{Compiled, Value, range_list};

use super::{
    Datapath, DatapathError, Result,
    maps::read,
    policies::{LARGE, Slot, Version, entries},
    trie,
};

impl Datapath {
    /// Finds out which lists the pinned policies use, so that they are removed when those are replaced.
    pub(super) fn recall_slots(&mut self) -> Result<()> {
        let mut lists: HashMap<PolicyId, Vec<ListId>> = HashMap::new();
        for entry in self.maps.ranges.iter() {
            let (id, value) = entry.map_err(DatapathError::ebpf("list the map RANGES"))?;
            let list: RangeList = read(&value);
            lists.entry(list.owner).or_default().push(ListId(id));
        }
        let slots: HashSet<_> = self.policy_slots()?.into_iter().collect();
        for (owner, lists) in lists {
            if slots.contains(&owner) {
                let live = Version {
                    content: None,
                    lists,
                };
                self.slots.insert(owner, Slot { live, shadow: None });
            } else {
                self.remove_lists(&lists)?;
            }
        }
        Ok(())
    }

    /// Whether the kernel has exactly this policy in that slot, and nothing of another version beside it. The check is quick
    /// for all but large policies, which count as different; to put the policy in place again would wait for every program that
    /// reads the old one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn holds_policy(&self, slot: PolicyId, wanted: &Compiled) -> Result<bool> {
        if entries(wanted) >= LARGE {
            return Ok(false);
        }
        let trie = match self.maps.policies.get(&slot.0, 0) {
            Err(MapError::KeyNotFound) => return Ok(false),
            found => found.map_err(DatapathError::ebpf("open a policy"))?,
        };
        let expected = wanted.prefixes.iter().chain(&wanted.patterns);
        let mut expected: HashMap<_, _> = expected
            .map(|(prefix, value)| (trie::key(prefix), value))
            .collect();
        let mut used = HashSet::new();
        for entry in trie.iter() {
            let (key, bytes) = entry.map_err(DatapathError::ebpf("list a policy"))?;
            let found: PrefixValue = read(&bytes);
            let same = match expected.remove(&trie::key_bytes(key.prefix_len(), key.data())) {
                Some(value) => self.is_same(&found, value, wanted)?,
                None => false,
            };
            if !same {
                return Ok(false);
            }
            used.insert(found.list);
        }
        let known = self.slots.get(&slot);
        let mut lists = known.into_iter().flat_map(|slot| &slot.live.lists);
        Ok(expected.is_empty() && lists.all(|list| used.contains(list)))
    }

    fn is_same(&self, found: &PrefixValue, value: &Value, wanted: &Compiled) -> Result<bool> {
        let same = PrefixValue {
            list: found.list,
            ..wanted.prefix_value(value)
        };
        if *found != same {
            return Ok(false);
        }
        let Some(index) = value.list else {
            return Ok(found.list == ListId(0));
        };
        let list: RangeList = match self.maps.ranges.get(&found.list.0, 0) {
            Err(MapError::KeyNotFound) => return Ok(false),
            found => read(&found.map_err(DatapathError::ebpf("read the map RANGES"))?),
        };
        let same = wanted.lists.get(index.get()).map(range_list);
        Ok(same.is_some_and(|same| {
            list == RangeList {
                owner: list.owner,
                ..same
            }
        }))
    }
}
