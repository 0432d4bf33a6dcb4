//! The offsets of fields in the kernel's structures, as guardd finds them in its type information (BTF). Only for programs that
//! guardd loads itself: the others do without.

use aya_ebpf::Global;
use guard_common::at;

use crate::{kernel, maps::SESSION_LEVEL};

/// The id of the guard's root cgroup. Set by guardd when it loads such programs, like all constants here.
#[unsafe(no_mangle)]
static ROOT_ID: Global<u64> = Global::new(0);

/// See [`at`].
#[unsafe(no_mangle)]
static OFFSETS: Global<[u32; at::LEN]> = Global::new([0; at::LEN]);

/// Whether the current task is in the guard's root cgroup.
#[inline(always)]
pub(crate) fn is_within_root() -> bool {
    kernel::task_ancestor_cgroup(SESSION_LEVEL.load().wrapping_sub(1)) == ROOT_ID.load()
}

/// The id of a cgroup's ancestor at a level of the hierarchy; 0 if it has none.
#[inline(always)]
pub(crate) fn ancestor(cgroup: u64, level: u32) -> u64 {
    if cgroup == 0 || kernel::peek::<u32>(field(cgroup, at::CGROUP_LEVEL)) < level {
        return 0;
    }
    let ancestors = field(cgroup, at::CGROUP_ANCESTORS);
    let ancestor: u64 = kernel::peek(ancestors + 8 * u64::from(level));
    let node: u64 = kernel::peek(field(ancestor, at::CGROUP_KN));
    kernel::peek(field(node, at::KN_ID))
}

/// Whether a socket was made in the guard's root cgroup.
#[inline(always)]
pub(crate) fn is_made_within_root(sk: u64) -> bool {
    ancestor(socket_cgroup(sk), SESSION_LEVEL.load().wrapping_sub(1)) == ROOT_ID.load()
}

/// The cgroup that a socket was made in.
#[inline(always)]
pub(crate) fn socket_cgroup(sk: u64) -> u64 {
    kernel::peek(field(sk, at::SK_CGROUP))
}

/// The address of a field.
#[inline(always)]
pub(crate) fn field(structure: u64, index: usize) -> u64 {
    // SAFETY: one element of a table that the loader has written, and that never changes.
    let offset = unsafe {
        (&raw const OFFSETS)
            .cast::<u32>()
            .add(index)
            .read_volatile()
    };
    structure + u64::from(offset)
}
