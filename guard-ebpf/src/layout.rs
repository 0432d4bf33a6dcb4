//! Where this kernel keeps what its structures hold, as guardd finds it in the kernel's own description of itself. Only for
//! programs that guardd loads for it: the others do without.

use aya_ebpf::Global;
use guard_common::at;

use crate::{kernel, maps::SESSION_LEVEL};

/// The id of the guard's root cgroup. Set by guardd when it loads such programs, as all here.
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

/// The address of a field.
#[inline(always)]
pub(crate) fn field(structure: u64, index: usize) -> u64 {
    // SAFETY: one element of a table that the loader has written, and nobody changes.
    let offset = unsafe {
        (&raw const OFFSETS)
            .cast::<u32>()
            .add(index)
            .read_volatile()
    };
    structure + u64::from(offset)
}
