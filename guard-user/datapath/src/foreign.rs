//! Sockets that were made outside of the guard's root and are used within: inherited, or handed in. No program at the
//! guard's root sees them, for the kernel runs those of the cgroup that a socket was made in. So at the top of the hierarchy
//! `connect` and `sendmsg` of a task within the guard's root are refused on every socket that was made elsewhere:
//!
//! ```text
//! the task is not in the guard's root cgroup?                 allow
//! the socket was made in it?                                  allow: the guard's own programs judge
//! else                                                        refuse
//! ```
//!
//! What is connected already when it is handed in asks nobody any more.

use std::{io, path::Path};

use guard_sys::btf::Btf;

use super::{
    Result,
    assembler::{Assembler, Label, R0, R1, R6, R7},
    cgroup,
    top::{self, Hook},
};

/// `BPF_CGROUP_INET4_CONNECT` and so on.
pub(super) const HOOKS: [Hook; 4] = [
    ("top_connect4", 10),
    ("top_connect6", 11),
    ("top_sendmsg4", 14),
    ("top_sendmsg6", 15),
];

/// Where on the stack is room for what is read.
const READ: i16 = -8;

/// Where the kernel keeps what the program reads.
#[derive(Clone, Copy, Debug)]
struct Offsets {
    cast: i32,
    sk: i32,
    cgroup: i32,
    level: i32,
    ancestors: i32,
    kn: i32,
    id: i32,
}

impl Offsets {
    fn of(btf: &Btf) -> io::Result<Self> {
        Ok(Self {
            cast: btf.function("bpf_cast_to_kern_ctx")?,
            sk: btf.member("bpf_sock_addr_kern", "sk")?,
            cgroup: btf.member("sock", "sk_cgrp_data")?
                + btf.member("sock_cgroup_data", "cgroup")?,
            level: btf.member("cgroup", "level")?,
            ancestors: btf.member("cgroup", "ancestors")?,
            kn: btf.member("cgroup", "kn")?,
            id: btf.member("kernfs_node", "id")?,
        })
    }
}

/// Attaches it.
///
/// # Errors
///
/// What the kernel lacks; then what was there is as it was.
pub(super) fn attach(live: &Path, root: &cgroup::Root, btf: &Btf) -> Result<()> {
    let offsets = Offsets::of(btf).map_err(top::refused("the kernel's types"))?;
    let level = root.session_level() - 1;
    top::attach(live, &HOOKS, &assemble(level, root.id(), &offsets))
}

fn assemble(level: u32, id: u64, at: &Offsets) -> Vec<u64> {
    let mut code = Assembler::default();
    code.copy(R6, R1);
    code.only_within(level, id);
    code.copy(R1, R6);
    code.call_kernel(at.cast);
    code.fetch(R7, R0, at.sk as i16);
    code.follow(R7, at.cgroup, 8, READ);
    code.copy(R7, R1);
    // A cgroup above has no ancestor at that level.
    code.follow(R7, at.level, 4, READ);
    code.jump_if_less(R1, level.cast_signed(), Label::Refuse);
    code.follow(R7, at.ancestors + 8 * level.cast_signed(), 8, READ);
    code.follow(R1, at.kn, 8, READ);
    code.follow(R1, at.id, 8, READ);
    code.copy(R7, R1);
    code.load_u64(R1, id);
    code.jump_if_same(R7, R1, Label::Allow);
    code.verdicts();
    code.finish()
}

impl super::Datapath {
    /// Why sockets that were made outside are not judged when a session uses them; none where they are.
    #[must_use]
    pub fn foreign_problem(&self) -> Option<&str> {
        self.foreign.as_ref().err().map(String::as_str)
    }
}
