//! Looks destinations up in compiled tables, as the kernel half does: for `guard explain` and tests.

use guard_common::{
    Address, BootTime, BudgetId, HoleList, ListId, MAX_RANGES, PolicyId, PrefixValue, RangeEntry,
    RangeList, SessionId, Tables,
};

use super::{
    compile::{Compiled, ListIndex, PortRanges, Value},
    prefix::Prefix,
};

/// The longest of some sorted prefixes that contains `inside`.
pub(super) fn longest<'s, T>(
    sorted: &'s [(Prefix, T)],
    inside: &Prefix,
) -> Option<&'s (Prefix, T)> {
    let mut key = *inside;
    loop {
        // Every prefix that contains `inside` and is no longer than `key` contains `key`, so it comes
        // at or before this candidate, which therefore lies inside it.
        let before = sorted.partition_point(|(prefix, _)| *prefix <= key);
        let candidate = sorted.get(before.checked_sub(1)?)?;
        if candidate.0.contains(inside) {
            return Some(candidate);
        }
        // At most the bits that the candidate shares: fewer than before, so this ends.
        let shared = (candidate.0.bits() ^ inside.bits()).leading_zeros();
        key = Prefix::new(inside.bits(), shared as u8);
    }
}

impl Compiled {
    /// The longest prefix that contains `inside`, and its value.
    #[must_use]
    pub fn longest(&self, inside: &Prefix) -> Option<&(Prefix, Value)> {
        longest(&self.prefixes, inside)
    }

    /// The tables in the form that [`guard_common::policy_verdict`] asks.
    #[must_use]
    pub fn lookup(&self) -> Lookup<'_> {
        let lists = self.lists.iter().map(range_list).collect();
        Lookup {
            compiled: self,
            lists,
        }
    }
}

/// A list of ranges as the kernel holds it.
#[must_use]
pub fn range_list(ranges: &PortRanges) -> RangeList {
    let mut entries = [RangeEntry::default(); MAX_RANGES];
    let len = ranges.entries.len().min(MAX_RANGES);
    entries[..len].copy_from_slice(&ranges.entries[..len]);
    RangeList {
        owner: guard_common::PolicyId(0),
        len: len as u16,
        own: ranges.own,
        entries,
    }
}

/// A compiled policy in the place of the kernel's tables, under any id, without holes.
pub struct Lookup<'c> {
    compiled: &'c Compiled,
    lists: Vec<RangeList>,
}

/// The kernel keeps 0 for "no list".
const fn list_id(index: ListIndex) -> ListId {
    ListId(index.get() as u32 + 1)
}

impl Tables for Lookup<'_> {
    fn prefix(&self, _: PolicyId, to: &Address) -> Option<PrefixValue> {
        let host = Prefix::host(*to);
        let patterns = &self.compiled.patterns;
        let (_, value) = match patterns.binary_search_by_key(&host, |(key, _)| *key) {
            Ok(at) => &patterns[at],
            Err(_) => self.compiled.longest(&host)?,
        };
        Some(PrefixValue {
            list: value.list.map_or(ListId(0), list_id),
            ..self.compiled.prefix_value(value)
        })
    }

    fn ranges(&self, list: ListId) -> Option<&RangeList> {
        self.lists.get(list.0.checked_sub(1)? as usize)
    }

    fn holes(&self, _: SessionId) -> Option<&HoleList> {
        None
    }

    fn version(&self, _: &HoleList) -> u32 {
        0
    }

    fn is_whole(&self, _: &HoleList, _: SessionId, _: u32) -> bool {
        false
    }

    fn has(&self, _: BudgetId) -> bool {
        false
    }

    fn take(&self, _: BudgetId) -> bool {
        false
    }

    fn give_back(&self, _: BudgetId) {}

    fn now(&self) -> BootTime {
        BootTime(0)
    }

    fn find<R>(&self, limit: usize, _: R, at: impl FnMut(usize) -> Option<R>) -> Option<R> {
        (0..limit).find_map(at)
    }
}
