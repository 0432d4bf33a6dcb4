//! The entries to write and to remove in a trie that holds one policy, so that it holds another.

use std::{cmp::Ordering, collections::HashMap};

use super::{
    compile::{Compiled, ListIndex, Value},
    prefix::Prefix,
};

/// The steps from one compiled policy to another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// Prefixes that are new or have a new value; lists are those of the new policy.
    pub upsert: Vec<(Prefix, Value)>,
    /// Prefixes that are gone.
    pub remove: Vec<Prefix>,
    /// For each list of the new policy, the list of the old one that says the same, if any.
    pub same_list: Vec<Option<ListIndex>>,
}

/// The steps from `old`, or from an empty trie, to `new`. Prefixes that mean the same in both do not
/// occur in it.
#[must_use]
pub fn plan(old: Option<&Compiled>, new: &Compiled) -> Plan {
    let Some(old) = old else {
        return Plan {
            upsert: [&new.prefixes[..], &new.patterns].concat(),
            remove: Vec::new(),
            same_list: vec![None; new.lists.len()],
        };
    };
    let same_list = same_lists(old, new);
    // Flags are part of every value.
    let same = |was: &Value, is: &Value| {
        old.flags == new.flags
            && (was.verdict, was.rule, was.flags) == (is.verdict, is.rule, is.flags)
            && was.list == is.list.and_then(|list| same_list[list.get()])
            && was.list.is_some() == is.list.is_some()
    };
    let (mut upsert, mut remove) = merge(&old.prefixes, &new.prefixes, same);
    let of_patterns = merge(&old.patterns, &new.patterns, same);
    upsert.extend(of_patterns.0);
    remove.extend(of_patterns.1);
    Plan {
        upsert,
        remove,
        same_list,
    }
}

fn same_lists(old: &Compiled, new: &Compiled) -> Vec<Option<ListIndex>> {
    let values = old.prefixes.iter().chain(&old.patterns);
    let known: HashMap<_, _> = values
        .filter_map(|(_, value)| value.list)
        .map(|list| (&old.lists[list.get()], list))
        .collect();
    let lists = new.lists.iter();
    lists.map(|list| known.get(list).copied()).collect()
}

/// What differs between two sorted lists: new or changed, and gone.
fn merge(
    mut old: &[(Prefix, Value)],
    mut new: &[(Prefix, Value)],
    same: impl Fn(&Value, &Value) -> bool,
) -> (Vec<(Prefix, Value)>, Vec<Prefix>) {
    let (mut upsert, mut remove) = (Vec::new(), Vec::new());
    while let (Some((was, before)), Some((is, after))) = (old.split_first(), new.split_first()) {
        let order = was.0.cmp(&is.0);
        match order {
            Ordering::Less => remove.push(was.0),
            Ordering::Greater => upsert.push(*is),
            Ordering::Equal if same(&was.1, &is.1) => {}
            Ordering::Equal => upsert.push(*is),
        }
        if order.is_le() {
            old = before;
        }
        if order.is_ge() {
            new = after;
        }
    }
    remove.extend(old.iter().map(|(prefix, _)| *prefix));
    upsert.extend_from_slice(new);
    (upsert, remove)
}
