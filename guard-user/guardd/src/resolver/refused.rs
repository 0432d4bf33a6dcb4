//! Names that sessions were not told of lately.

use std::net::IpAddr;

use guard_common::{SessionId, Verdict};
use guard_proto::{Stopped, names::FAILED};
use guard_sys::clock::{self, Clocks};

use super::asking::NameQuestion;
use crate::{
    control::advice,
    requests::RequestKey,
    sessions::stops::{Stop, Stops},
    state::State,
};

/// Of a session's names so many are told.
const MAX_TOLD: usize = 8;

/// The names that each session was not told of.
pub(super) type RefusedNames = Stops<64, String, NameRefusal>;

/// How a session was not told of a name, the last time.
#[derive(Clone, Debug)]
pub(super) struct NameRefusal {
    kind: String,
    server: IpAddr,
    why: String,
    /// It was asked for.
    failed: bool,
}

impl NameRefusal {
    pub(super) fn new(asked: &NameQuestion, why: &str, failed: bool) -> Self {
        Self {
            kind: asked.kind.clone(),
            server: asked.server,
            why: why.to_owned(),
            failed,
        }
    }
}

impl State {
    /// The names that a session was not told of lately, in words for it.
    pub(crate) fn stopped_names(&self, id: SessionId, clocks: &Clocks) -> Vec<Stopped> {
        let names = self.resolver.refused.of(id).take(MAX_TOLD);
        names
            .map(|one| self.stopped_name(id, one, clocks))
            .collect()
    }

    fn stopped_name(
        &self,
        id: SessionId,
        one: &Stop<String, NameRefusal>,
        clocks: &Clocks,
    ) -> Stopped {
        let now = clock::now();
        let (name, refusal) = (&one.what, &one.details);
        let key = RequestKey::of_name(id, name);
        let asked = NameQuestion {
            session: id,
            tgid: guard_proto::names::Tgid(0),
            name: name.clone(),
            kind: refusal.kind.clone(),
            server: refusal.server,
        };
        let request = self.requests.find(&key).map(|asked| asked.shown.id.clone());
        let session = self.sessions.live(id);
        let may_ask = session.is_some_and(|live| self.policies.asks_any(&live.chain, name));
        let advice = match &request {
            _ if refusal.failed => advice::name_failed(name, &refusal.why),
            _ if self.holes.lets_ask(id, name, now) => advice::name_opened(name),
            Some(request) => advice::name_asked(name, request),
            None if self.requests.is_refused(&key, now) => advice::name_answered_no(name),
            None => advice::name_refused(name, &refusal.why),
        };
        let verdict = match may_ask {
            _ if refusal.failed => FAILED,
            true => Verdict::Confirm.as_str(),
            false => Verdict::Deny.as_str(),
        };
        Stopped {
            at: clocks.calendar(one.last),
            destination: asked.endpoint(),
            verdict: verdict.to_owned(),
            rule: None,
            reason: None,
            policy: None,
            count: one.count,
            advice,
            request,
            http: None,
            named: None,
            barred: None,
            outcome: None,
        }
    }
}
