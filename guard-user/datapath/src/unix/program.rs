//! The program that judges what sessions send to Unix sockets: `cgroup/connect_unix` and `cgroup/sendmsg_unix`, which
//! Linux has from 6.7 on.
//!
//! aya knows no such programs, and an object that has one does not load with it, so it is assembled here. It is attached
//! to the root of the hierarchy and asks which session the *task* is in, so that sockets which were made outside are
//! judged too. In words:
//!
//! ```text
//! not in the guard's root cgroup?                                  allow
//! UNIX[session] has FREE?                                          allow
//! an abstract name?                        allow where UNIX[session] has ABSTRACT, else refuse
//! in another user namespace than the machine's own, and than that in UNIX[session]?   refuse
//! UNIX_PATHS has the path, letter by letter?                       allow
//! else                                                             refuse
//! ```
//!
//! A path is compared and never looked up: that is why only paths count that no agent can have lead elsewhere, in
//! directories of root's, and not for whoever may mount something there, as in a user namespace of its own. In the one that
//! `guard run --user root` has made nobody can, nor change the root directory. What else a session may connect to is connected
//! for it: [`guard_launch::sockets`].

use std::io;

use guard_sys::{bpf::PATH_SIZE, btf::Btf};

use crate::assembler::{
    Assembler, GET_CURRENT_ANCESTOR_CGROUP_ID, GET_CURRENT_TASK, Label, PROBE_READ_KERNEL_STR, R0,
    R1, R2, R3, R6, R7, R10,
};

/// Nothing of the session is judged: nobody connects its sockets for it.
pub(super) const FREE: i32 = 1;
/// Abstract names are judged by Landlock.
pub(super) const ABSTRACT: i32 = 2;
/// From this bit on: the number of a user namespace, or 0.
pub(super) const NAMESPACE: i32 = 32;

/// `PROC_USER_INIT_INO` of linux/proc_ns.h: the machine's own user namespace.
const USER_INIT_INO: i32 = 0xEFFF_FFFD_u32.cast_signed();

/// Where on the stack things are.
const NUMBER: i16 = -8;
const PATH: i16 = -8 - PATH_SIZE as i16 - 4;

/// Where the kernel keeps what the program reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offsets {
    cast: i32,
    uaddr: i32,
    cred: i32,
    user_ns: i32,
    inum: i32,
}

impl Offsets {
    /// Of the kernel that runs.
    ///
    /// # Errors
    ///
    /// What it does not say, or does not have.
    pub(super) fn of(btf: &Btf) -> io::Result<Self> {
        Ok(Self {
            cast: btf.function("bpf_cast_to_kern_ctx")?,
            uaddr: btf.member("bpf_sock_addr_kern", "uaddr")?,
            cred: btf.member("task_struct", "cred")?,
            user_ns: btf.member("cred", "user_ns")?,
            inum: btf.member("user_namespace", "ns")? + btf.member("ns_common", "inum")?,
        })
    }
}

/// What the program is told when it is loaded.
pub(super) struct Terms {
    /// The level of the guard's root cgroup.
    pub(super) root_level: u32,
    /// Its id.
    pub(super) root_id: u64,
    /// The map of sessions.
    pub(super) sessions: i32,
    /// The map of paths.
    pub(super) paths: i32,
}

/// The program.
pub(super) fn assemble(terms: &Terms, at: &Offsets) -> Vec<u64> {
    let mut code = Assembler::default();
    code.copy(R6, R1);
    // Which session, if any?
    code.only_within(terms.root_level, terms.root_id);
    code.set(R1, terms.root_level.cast_signed() + 1);
    code.call(GET_CURRENT_ANCESTOR_CGROUP_ID);
    code.store(NUMBER, R0);
    code.look_up(terms.sessions, NUMBER);
    code.set(R7, 0);
    code.jump_if_equal(R0, 0, Label::Unlisted);
    code.fetch(R7, R0, 0);
    code.here(Label::Unlisted);
    code.jump_if_bits(R7, FREE, Label::Allow);
    // What is the address?
    code.copy(R1, R6);
    code.call_kernel(at.cast);
    code.fetch(R6, R0, at.uaddr as i16);
    code.clear(PATH, NUMBER);
    code.stack(R1, PATH);
    code.set(R2, PATH_SIZE as i32);
    code.copy(R3, R6);
    code.add(R3, 2);
    code.call(PROBE_READ_KERNEL_STR);
    code.fetch_byte(R1, R10, PATH);
    code.jump_unless_equal(R1, 0, Label::Pathname);
    code.jump_if_bits(R7, ABSTRACT, Label::Allow);
    code.jump(Label::Refuse);
    code.here(Label::Pathname);
    // Who says what that path is?
    code.call(GET_CURRENT_TASK);
    code.follow(R0, at.cred, 8, NUMBER);
    code.follow(R1, at.user_ns, 8, NUMBER);
    code.follow(R1, at.inum, 4, NUMBER);
    code.jump_if_equal32(R1, USER_INIT_INO, Label::Known);
    code.shift_right(R7, NAMESPACE);
    code.jump_unless_same32(R1, R7, Label::Refuse);
    code.here(Label::Known);
    code.look_up(terms.paths, PATH);
    code.jump_unless_equal(R0, 0, Label::Allow);
    code.verdicts();
    code.finish()
}
