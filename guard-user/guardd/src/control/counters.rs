//! Plain numbers for monitoring: those of the kernel are read at each call, what only guardd sees is counted as it happens.

use std::collections::HashMap;

use guard_common::{SessionId, SessionStats};
use guard_proto::{Counters, Status, counters::SessionCounters};

use crate::{control::ids, fleet::offering::look_again, shared::Shared, state::State};

/// Limit of a session's name, and of its policy's, in characters.
const MAX_NAME: usize = 64;

/// Returns the numbers as they are now. Callers that come together get the same.
pub(crate) async fn counters(shared: &Shared) -> Counters {
    let ask = async {
        look_again(shared).await;
        shared.with(|state| state.counters())
    };
    shared.counters.get(ask).await
}

impl State {
    fn counters(&self) -> Counters {
        let status = self.status();
        let refused = status.policies.iter().filter(|one| one.error.is_some());
        let policies_refused = refused.count() + self.policies.unusable_count();
        let Status {
            enforcing,
            version,
            kernel,
            since,
            hooks,
            sessions,
            policies,
            fleet,
            fleet_link,
            ..
        } = status;
        Counters {
            enforcing,
            version,
            kernel,
            since,
            hooks,
            sessions,
            policies: policies.len(),
            policies_refused,
            fleet,
            fleet_link,
            audit_problem: self.recorder.audit().problem().is_some(),
            audit_failures: self.recorder.audit().failures(),
            by_session: self.counted_by_session(),
            events: self.recorder.events().clone(),
        }
    }

    /// The sessions that the kernel counts for, of which it knows no request.
    fn counted_by_session(&self) -> Vec<SessionCounters> {
        let waiting = self.requests.pending();
        let requests = count(waiting.iter().map(|one| one.key.session));
        let open = self.datapath.holes().unwrap_or_default();
        let judged_here = self.holes.judged_here().map(|(_, hole)| hole.session);
        let open = open.iter().filter(|hole| !hole.is_used_up());
        let holes = count(open.map(|hole| hole.session).chain(judged_here));
        let of = |counts: &HashMap<_, _>, id| counts.get(&id).copied().unwrap_or_default();
        let counted = |(id, stats): (SessionId, SessionStats)| {
            let (name, policy) = self.names(id);
            SessionCounters {
                session: (id != SessionId(0)).then(|| ids::session(id)),
                name,
                policy,
                refused: stats.denied,
                reported: stats.reported,
                summed_up: stats.summed_up,
                lost: stats.lost,
                names_summed_up: self.resolver.names_summed_up(id),
                requests: of(&requests, id),
                holes: of(&holes, id),
            }
        };
        let stats = self.datapath.stats().unwrap_or_default();
        stats.into_iter().map(counted).collect()
    }

    /// Returns the names of a session and of its policy; for cgroups that no session owns, of the default policy.
    fn names(&self, id: SessionId) -> (String, String) {
        let cut = |name: &str| name.chars().take(MAX_NAME).collect::<String>();
        if let Some(session) = self.sessions.get(id) {
            let policy = self.policies.name_of(&session.chain);
            return (cut(&session.about.name), cut(&policy));
        }
        let default = self.policies.default_slot();
        let default = default.filter(|_| id == SessionId(0));
        let policy = default.and_then(|slot| self.policies.get(slot));
        let policy = policy.map(|one| cut(&one.policy.name));
        (String::new(), policy.unwrap_or_default())
    }
}

fn count(ids: impl Iterator<Item = SessionId>) -> HashMap<SessionId, u64> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}
