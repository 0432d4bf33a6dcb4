//! Sockets that were made outside of the guard's root and are used within: inherited, or handed in. Programs at the top of the
//! hierarchy refuse `connect` and `sendmsg` on them (`guard-ebpf/src/outside.rs`). What is connected already when it is handed in
//! asks nobody any more.

use super::top::Hook;

/// `BPF_CGROUP_INET4_CONNECT` and so on.
pub(super) const HOOKS: [Hook; 4] = [
    ("top_connect4", 10),
    ("top_connect6", 11),
    ("top_sendmsg4", 14),
    ("top_sendmsg6", 15),
];

impl super::Datapath {
    /// Why sockets that were made outside are not judged when a session uses them; none where they are.
    #[must_use]
    pub fn outside_problem(&self) -> Option<&str> {
        self.outside.as_ref().err().map(String::as_str)
    }
}
