//! Why a question got no answer.

use guard_common::SessionId;

use super::worker::ResolverWorker;
use crate::state::State;

/// Why questions are refused where the resolver listens nowhere.
const NOT_YET: &str =
    "guard's resolver did not listen in its network yet: it does now, so ask again";
const NOT_AT_ALL: &str = "guard's resolver does not listen there: its process is gone, the network has no free port on its \
                          loopback, too many networks are served for the session, or its socket is bound to a device";

impl State {
    /// Why a question of a process got no answer. Has its network served from now on, if that can be.
    pub(crate) fn why_unserved(&mut self, session: SessionId, pid: u32) -> String {
        if let Some(warning) = self.resolver_warning() {
            return warning;
        }
        let why = match self.notice_network::<ResolverWorker>(session, pid) {
            true => NOT_YET,
            false => NOT_AT_ALL,
        };
        why.to_owned()
    }
}
