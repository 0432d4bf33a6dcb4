//! Names that sessions were not told of lately.

use std::net::IpAddr;

use guard_common::{BootTime, SessionId, Verdict};
use guard_proto::{Endpoint, Stopped, names::FAILED};
use guard_sys::clock::{self, Clocks};

use super::{Resolver, asking::NameQuestion};
use crate::{
    control::{advice, inside::refused},
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

impl Resolver {
    /// Notes what a record of the audit log says of a name.
    pub(crate) fn recall_refused(
        &mut self,
        (session, at): (SessionId, BootTime),
        to: &Endpoint,
        why: Option<&str>,
        failed: bool,
    ) {
        let (Some(name), Ok(server)) = (&to.host, to.address.parse()) else {
            return;
        };
        // As it is written: "nobody answered in time (AAAA)".
        let why = why.unwrap_or_default();
        let (why, kind) = why.rsplit_once(" (").unwrap_or((why, ""));
        let refusal = NameRefusal {
            kind: kind.trim_end_matches(')').to_owned(),
            server,
            why: why.to_owned(),
            failed,
        };
        self.refused.note(session, name.clone(), refusal, at);
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
            None if self.is_refused_to(&key) => advice::name_answered_no(name),
            None => advice::name_refused(name, &refusal.why),
        };
        let verdict = match may_ask {
            _ if refusal.failed => FAILED,
            true => Verdict::Confirm.as_str(),
            false => Verdict::Deny.as_str(),
        };
        let answer = self.last_answer(&key);
        let at = clocks.calendar(one.last);
        Stopped {
            count: one.count,
            request,
            refused: answer.and_then(|answer| refused(answer, clocks)),
            ..Stopped::new(at, asked.endpoint(), verdict, advice)
        }
    }
}
