//! Requests that a change of policy settled: nobody has answered them, and the audit log has what became of them.

use guard_common::BootTime;
use guard_proto::record::{Field, Settled};
use guard_sys::clock;

use super::{Pending, bursts::Burst, questions::NameBurst};
use crate::{record::audit::LogEntry, state::State};

impl State {
    /// Drops the requests that the current policies answer, and writes so to the audit log.
    pub(crate) fn settle_by_policies(&mut self) {
        let settled = self
            .requests
            .settle_by_policies(&self.sessions, &self.policies);
        let now = clock::now();
        for asked in &settled {
            self.write_settled(asked, now);
        }
    }

    /// Not of a session that has ended: the request went with it.
    fn write_settled(&mut self, asked: &Pending, now: BootTime) {
        let Some(record) = self.settlement(asked) else {
            return;
        };
        let Some(admitted) = self.admit(asked.key.session, now) else {
            return;
        };
        let entry = LogEntry::of(&asked.shown.session, asked.owner, record);
        self.recorder.note(entry.admitted(admitted));
    }

    fn settlement(&self, asked: &Pending) -> Option<Settled> {
        let key = &asked.key;
        let live = self.sessions.live(key.session)?;
        let ids = asked.ids();
        let parts = (ids.len() > 1).then(|| ids[1..].to_vec());
        let record = Settled {
            request: asked.shown.id.clone().into(),
            parts: parts.map_or(Field::Absent, Into::into),
            ..Settled::default()
        };
        let (to, protocol, port) = (key.destination, key.protocol, key.port);
        let judged = self.policies.judge(live.subject(), to, protocol, port);
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
