//! Policies in the kernel: a slot of `POLICIES` each, whose trie is replaced as a whole.
//!
//! [`Datapath::install_policy`] fills a new trie that no program reads (`prepare`), puts it in the slot by one write and raises
//! the generation (`put_in_place`), and removes range lists that nothing names any more (`remove_unused`). The previous trie of
//! a large policy is kept: the next version is made from it by the [`Plan`] of what differs, instead of from nothing. That
//! policy takes twice the memory.

use std::collections::HashSet;

use guard_common::{ListId, MAX_RANGES, PolicyId, RangeList, meta};
use guard_policy::{Compiled, Plan, PortRanges, plan, range_list};

use super::{
    Datapath, DatapathError, Result,
    maps::{bytes, gone},
    trie::{self, PolicyTrie},
};

/// The number of prefixes from which on a policy's last trie is kept.
pub(super) const LARGE: usize = 1024;

/// The content of a slot, and the version before.
#[derive(Default)]
pub(super) struct Slot {
    pub(super) live: Version,
    /// The version before, of a large policy.
    pub(super) shadow: Option<Version>,
}

/// A version of a policy. `content` is its trie and the tables in it; none if an earlier guardd made it.
#[derive(Default)]
pub(super) struct Version {
    pub(super) content: Option<(PolicyTrie, Compiled)>,
    /// Ids of the lists that the trie names, in the order of the compiled policy's.
    pub(super) lists: Vec<ListId>,
}

impl Datapath {
    /// Puts a policy in place, in a new slot or in place of the one in `slot`, by one write, when it is complete.
    ///
    /// # Errors
    ///
    /// If there is no room, or the system's; then the policy that was in place still is.
    pub fn install_policy(&mut self, slot: Option<PolicyId>, new: &Compiled) -> Result<PolicyId> {
        let id = match slot {
            Some(id) => id,
            None => PolicyId(self.maps.next_id(meta::NEXT_POLICY)?),
        };
        let shadow = self.slots.get_mut(&id).and_then(|slot| slot.shadow.take());
        let shadow_lists = shadow
            .as_ref()
            .map_or_else(Vec::new, |old| old.lists.clone());
        let mut made = Vec::new();
        let placed = self
            .prepare(id, new, shadow, &mut made)
            .and_then(|next| self.put_in_place(id, next));
        match placed {
            // Lists that only the version before the last named are now unused.
            Ok(left) => self.remove_unused(id, left.into_iter().chain(shadow_lists))?,
            Err(e) => {
                self.remove_unused(id, made.into_iter().chain(shadow_lists))?;
                return Err(e);
            }
        }
        Ok(id)
    }

    /// The next version, complete, and not read by any program yet. `made` gets the lists that were made for it.
    fn prepare(
        &mut self,
        owner: PolicyId,
        new: &Compiled,
        shadow: Option<Version>,
        made: &mut Vec<ListId>,
    ) -> Result<Version> {
        let (old, old_lists) = match shadow {
            Some(Version {
                content: Some(content),
                lists,
            }) => (Some(content), lists),
            _ => (None, Vec::new()),
        };
        let steps = plan(old.as_ref().map(|(_, compiled)| compiled), new);
        let lists = self.make_lists(owner, new, &steps, &old_lists, made)?;
        let tree = match old {
            Some((mut tree, compiled)) if fits(&compiled, new) => {
                trie::apply(&mut tree, &steps, new, &lists)?;
                tree
            }
            old => {
                if let Some((tree, compiled)) = old {
                    trie::discard(tree, compiled);
                }
                let mut tree = trie::create(entries(new))?;
                trie::apply(&mut tree, &plan(None, new), new, &lists)?;
                tree
            }
        };
        Ok(Version {
            content: Some((tree, new.clone())),
            lists,
        })
    }

    /// The one write. The kernel returns from it when no program reads the old trie any more. Returns the lists of the old
    /// version, if it is not kept.
    fn put_in_place(&mut self, id: PolicyId, next: Version) -> Result<Vec<ListId>> {
        let Some((tree, _)) = &next.content else {
            return Err(DatapathError::Absent {
                what: "trie".into(),
            });
        };
        self.maps
            .policies
            .insert(id.0, tree.map(), 0)
            .map_err(DatapathError::ebpf("put a policy in place"))?;
        let slot = self.slots.entry(id).or_default();
        let mut old = std::mem::replace(&mut slot.live, next);
        let mut left = Vec::new();
        if old
            .content
            .as_ref()
            .is_some_and(|(_, compiled)| entries(compiled) >= LARGE)
        {
            slot.shadow = Some(old);
        } else {
            left.append(&mut old.lists);
        }
        self.maps.bump_generation()?;
        Ok(left)
    }

    /// Removes those of `lists` that no version of a policy names.
    fn remove_unused(&mut self, id: PolicyId, lists: impl Iterator<Item = ListId>) -> Result<()> {
        let mut lists: HashSet<ListId> = lists.collect();
        if let Some(slot) = self.slots.get(&id) {
            let used = slot.live.lists.iter();
            for list in used.chain(slot.shadow.iter().flat_map(|old| &old.lists)) {
                lists.remove(list);
            }
        }
        let lists: Vec<_> = lists.into_iter().collect();
        self.remove_lists(&lists)
    }

    /// Removes a policy. A session that it still judges is denied everything.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn remove_policy(&mut self, id: PolicyId) -> Result<()> {
        gone(self.maps.policies.remove(&id.0)).map_err(DatapathError::ebpf("remove a policy"))?;
        self.maps.bump_generation()?;
        let Some(slot) = self.slots.remove(&id) else {
            return Ok(());
        };
        for version in [Some(slot.live), slot.shadow].into_iter().flatten() {
            self.remove_lists(&version.lists)?;
            if let Some((tree, compiled)) = version.content
                && entries(&compiled) >= LARGE
            {
                trie::discard(tree, compiled);
            }
        }
        Ok(())
    }

    /// The slots that hold a policy, from the kernel.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn policy_slots(&self) -> Result<Vec<PolicyId>> {
        self.maps
            .policies
            .keys()
            .map(|key| key.map(PolicyId))
            .collect::<std::result::Result<_, _>>()
            .map_err(DatapathError::ebpf("list the map POLICIES"))
    }

    /// Ids for the lists of `new`: those of the old version if they are equal, else new ones.
    fn make_lists(
        &mut self,
        owner: PolicyId,
        new: &Compiled,
        steps: &Plan,
        old_lists: &[ListId],
        made: &mut Vec<ListId>,
    ) -> Result<Vec<ListId>> {
        let mut ids = Vec::with_capacity(new.lists.len());
        for (entries, same) in new.lists.iter().zip(&steps.same_list) {
            let id = match same.and_then(|list| old_lists.get(list.get())) {
                Some(id) => *id,
                None => {
                    let id = ListId(self.maps.next_id(meta::NEXT_LIST)?);
                    self.write_list(id, owner, entries)?;
                    made.push(id);
                    id
                }
            };
            ids.push(id);
        }
        Ok(ids)
    }

    fn write_list(&mut self, id: ListId, owner: PolicyId, ranges: &PortRanges) -> Result<()> {
        if ranges.entries.len() > MAX_RANGES {
            return Err(DatapathError::Full {
                what: "port ranges",
                limit: MAX_RANGES,
            });
        }
        let list = RangeList {
            owner,
            ..range_list(ranges)
        };
        self.maps
            .ranges
            .insert(id.0, bytes(&list), 0)
            .map_err(DatapathError::ebpf("write the map RANGES"))
    }

    pub(super) fn remove_lists(&mut self, lists: &[ListId]) -> Result<()> {
        for list in lists {
            gone(self.maps.ranges.remove(&list.0))
                .map_err(DatapathError::ebpf("write the map RANGES"))?;
        }
        Ok(())
    }
}

/// Whether the trie that was made for `old` has room for `new`; [`trie::create`] leaves some.
fn fits(old: &Compiled, new: &Compiled) -> bool {
    entries(new) <= entries(old) + entries(old) / 16
}

/// How many entries a policy's trie has.
pub(super) const fn entries(compiled: &Compiled) -> usize {
    compiled.prefixes.len() + compiled.patterns.len()
}
