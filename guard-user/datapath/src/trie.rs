//! A policy's trie: made and filled before any program reads it.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    thread,
    time::Duration,
};

use aya::maps::{Map, MapData, lpm_trie::Key};
use guard_common::{ListId, PrefixValue};
use guard_policy::{Compiled, Plan, Prefix, Value};
use guard_sys::bpf::{self, MapLayout};

use super::{
    DatapathError, Result,
    maps::{Trie, bytes},
};

/// `BPF_MAP_TYPE_LPM_TRIE`
const LPM_TRIE: u32 = 11;
/// `BPF_F_NO_PREALLOC`
const NO_PREALLOC: u32 = 1;
/// Bytes of a trie's key: the prefix's length, then the address.
const KEY: usize = 4 + 16;
const VALUE: usize = size_of::<PrefixValue>();

/// A trie, and a descriptor of it for calls that aya lacks.
pub(super) struct PolicyTrie {
    map: Trie,
    fd: OwnedFd,
}

impl PolicyTrie {
    pub(super) fn map(&self) -> &Trie {
        &self.map
    }
}

/// A trie that no program reads yet, with room for `prefixes` and some more.
pub(super) fn create(prefixes: usize) -> Result<PolicyTrie> {
    let room = prefixes + prefixes / 8 + 64;
    let layout = MapLayout {
        kind: LPM_TRIE,
        key_size: KEY as u32,
        value_size: VALUE as u32,
        max_entries: u32::try_from(room).unwrap_or(u32::MAX),
        flags: NO_PREALLOC,
    };
    let fd = bpf::create_map("guard_policy", layout)
        .map_err(DatapathError::file("make a trie in", "the kernel"))?;
    let copy = fd
        .try_clone()
        .map_err(DatapathError::file("make a trie in", "the kernel"))?;
    let map = MapData::from_fd(copy)
        .and_then(Map::from_map_data)
        .and_then(Trie::try_from)
        .map_err(DatapathError::ebpf("make a trie"))?;
    Ok(PolicyTrie { map, fd })
}

/// Applies a plan to a trie that no program reads, so that it holds `new`.
pub(super) fn apply(
    trie: &mut PolicyTrie,
    plan: &Plan,
    new: &Compiled,
    lists: &[ListId],
) -> Result<()> {
    remove(trie, &plan.remove)?;
    let mut keys = Vec::with_capacity(plan.upsert.len() * KEY);
    let mut values = Vec::with_capacity(plan.upsert.len() * VALUE);
    for (prefix, value) in &plan.upsert {
        keys.extend_from_slice(&key(prefix));
        values.extend_from_slice(&kernel_value(value, new, lists));
    }
    match bpf::update_batch(trie.fd.as_fd(), &keys, &values, KEY, VALUE) {
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => one_by_one(trie, plan, new, lists),
        done => done.map_err(DatapathError::file("fill", "a trie")),
    }
}

/// Frees a large trie that no program reads, on a thread of its own: freed at once, a million entries block a CPU for a third
/// of a second, and emptied at once for a tenth.
pub(super) fn discard(mut trie: PolicyTrie, compiled: Compiled) {
    const STEP: usize = 512;
    const PAUSE: Duration = Duration::from_millis(1);
    let empty = move || {
        let patterns = compiled.patterns.chunks(STEP);
        for part in compiled.prefixes.chunks(STEP).chain(patterns) {
            let prefixes: Vec<_> = part.iter().map(|(prefix, _)| *prefix).collect();
            if let Err(error) = remove(&mut trie, &prefixes) {
                tracing::warn!(%error, "a trie is freed at once");
                return;
            }
            thread::sleep(PAUSE);
        }
    };
    if let Err(error) = thread::Builder::new().name("discard".into()).spawn(empty) {
        tracing::warn!(%error, "a trie is freed at once");
    }
}

fn remove(trie: &mut PolicyTrie, prefixes: &[Prefix]) -> Result<()> {
    let keys: Vec<u8> = prefixes.iter().flat_map(key).collect();
    match bpf::delete_batch(trie.fd.as_fd(), &keys, KEY) {
        Err(e) if e.kind() == std::io::ErrorKind::Unsupported => {
            for prefix in prefixes {
                super::maps::gone(trie.map.remove(&aya_key(prefix)))
                    .map_err(DatapathError::ebpf("empty a trie"))?;
            }
            Ok(())
        }
        done => done.map_err(DatapathError::file("empty", "a trie")),
    }
}

fn one_by_one(trie: &mut PolicyTrie, plan: &Plan, new: &Compiled, lists: &[ListId]) -> Result<()> {
    for (prefix, value) in &plan.upsert {
        trie.map
            .insert(&aya_key(prefix), kernel_value(value, new, lists), 0)
            .map_err(DatapathError::ebpf("fill a trie"))?;
    }
    Ok(())
}

fn aya_key(prefix: &Prefix) -> Key<[u8; 16]> {
    Key::new(u32::from(prefix.length()), bytes(&prefix.address()))
}

/// A prefix as a key of the kernel's.
pub(super) fn key(prefix: &Prefix) -> [u8; KEY] {
    key_bytes(u32::from(prefix.length()), bytes(&prefix.address()))
}

/// As the kernel's `struct bpf_lpm_trie_key`: the length in the machine's byte order, then the address.
pub(super) fn key_bytes(length: u32, address: [u8; 16]) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..4].copy_from_slice(&length.to_ne_bytes());
    key[4..].copy_from_slice(&address);
    key
}

fn kernel_value(value: &Value, of: &Compiled, lists: &[ListId]) -> [u8; VALUE] {
    bytes(&PrefixValue {
        list: value.list.map_or(ListId(0), |list| lists[list.get()]),
        ..of.prefix_value(value)
    })
}
