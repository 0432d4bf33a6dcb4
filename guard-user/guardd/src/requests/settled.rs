//! Requests that a change of policy settled: nobody has answered them, and the audit log has what became of them.

use guard_proto::record::{Field, Settled};
use guard_sys::clock;

use super::{Pending, Requests, bursts::Burst, questions::NameBurst};
use crate::{
    policies::Policies,
    record::{Recorder, audit::LogEntry},
    sessions::Sessions,
};

impl Requests {
    /// Drops the requests that the current policies answer, and writes so to the audit log: not of a session that has ended, as the
    /// request went with it.
    pub(crate) fn settle(
        &mut self,
        sessions: &Sessions,
        policies: &Policies,
        recorder: &mut Recorder,
    ) {
        let now = clock::now();
        for asked in self.settle_by_policies(sessions, policies) {
            let Some(record) = settlement(sessions, policies, &asked) else {
                continue;
            };
            if let Some(admitted) = sessions.admit(recorder, asked.key.session, now) {
                let entry = LogEntry::of(&asked.shown.session, asked.owner, record);
                recorder.note(entry.admitted(admitted));
            }
        }
    }
}

/// What the audit log has of one.
fn settlement(sessions: &Sessions, policies: &Policies, asked: &Pending) -> Option<Settled> {
    let key = &asked.key;
    let live = sessions.live(key.session)?;
    let ids = asked.ids();
    let parts = (ids.len() > 1).then(|| ids[1..].to_vec());
    let record = Settled {
        request: asked.shown.id.clone().into(),
        parts: parts.map_or(Field::Absent, Into::into),
        ..Settled::default()
    };
    let (to, protocol, port) = (key.destination, key.protocol, key.port);
    let judged = policies.judge(live.subject(), to, protocol, port);
    // A name has no verdict of a rule.
    let Some(judged) = judged.filter(|_| key.question.is_none()) else {
        return Some(record);
    };
    Some(Settled {
        policy: judged.policy.policy.name.clone().into(),
        rule: judged.rule.map(|rule| rule.name.clone()).into(),
        verdict: judged.verdict.as_str().into(),
        ..record
    })
}

impl Pending {
    /// Its id, and behind it those of the requests that it has taken in.
    fn ids(&self) -> Vec<String> {
        let own = self.shown.id.as_str();
        let burst = self.burst.iter().flat_map(Burst::ids);
        let names = self.names.iter().flat_map(NameBurst::ids);
        let all = burst.chain(names).chain(self.series.ids());
        let parts = all.filter(|id| *id != own);
        std::iter::once(own)
            .chain(parts)
            .map(str::to_owned)
            .collect()
    }
}
