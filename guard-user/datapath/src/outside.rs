//! Network sockets that were made outside of the guard's root and are used within: inherited, or passed in. Programs at the top
//! of the hierarchy refuse `connect` and `sendmsg` on them (`guard-ebpf/src/outside.rs`). A socket that is connected already is
//! not judged again.

use super::top::NamedHook;

/// `BPF_CGROUP_INET4_CONNECT` and so on.
pub(super) const HOOKS: [NamedHook; 4] = [
    NamedHook::new("top_connect4", 10),
    NamedHook::new("top_connect6", 11),
    NamedHook::new("top_sendmsg4", 14),
    NamedHook::new("top_sendmsg6", 15),
];

impl super::Datapath {
    /// Why sockets that were made outside are not judged when a session uses them; none if they are.
    #[must_use]
    pub fn outside_problem(&self) -> Option<&str> {
        self.outside.as_ref().err().map(String::as_str)
    }
}
