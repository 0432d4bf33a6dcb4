//! Names that sessions were not told of lately, for `guard why`. Of one name there is one entry, and of one session so many.

use std::{collections::HashMap, net::IpAddr};

use guard_common::{BootTime, SessionId, Verdict};
use guard_proto::Stopped;
use guard_sys::clock::{self, Clocks};

use super::asking::Asked;
use crate::{control::advice, requests::RequestKey, state::State};

/// Names of one session that are known again; the one that was refused longest ago makes room.
const MAX_OF_SESSION: usize = 64;
/// Of these so many are told.
const MAX_TOLD: usize = 8;

/// A name that was refused.
#[derive(Clone, Debug)]
struct RefusedName {
    name: String,
    kind: String,
    server: IpAddr,
    why: String,
    at: BootTime,
    count: u64,
}

/// Those of each session.
#[derive(Debug, Default)]
pub(super) struct RefusedNames(HashMap<SessionId, Vec<RefusedName>>);

impl RefusedNames {
    /// Notes one. Returns how often it was refused, by that.
    pub(super) fn note(&mut self, asked: &Asked, why: &str, at: BootTime) -> u64 {
        let names = self.0.entry(asked.session).or_default();
        let known = names.iter().position(|one| one.name == asked.name);
        let count = known.map_or(0, |known| names.remove(known).count) + 1;
        if names.len() >= MAX_OF_SESSION {
            names.remove(0);
        }
        names.push(RefusedName {
            name: asked.name.clone(),
            kind: asked.kind.clone(),
            server: asked.server,
            why: why.to_owned(),
            at,
            count,
        });
        count
    }

    pub(super) fn forget(&mut self, session: SessionId) {
        self.0.remove(&session);
    }

    /// The latest first.
    fn of(&self, session: SessionId) -> impl Iterator<Item = &RefusedName> {
        self.0.get(&session).into_iter().flatten().rev()
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

    fn stopped_name(&self, id: SessionId, one: &RefusedName, clocks: &Clocks) -> Stopped {
        let now = clock::now();
        let key = RequestKey::of_name(id, &one.name);
        let asked = Asked {
            session: id,
            tgid: guard_proto::names::Tgid(0),
            name: one.name.clone(),
            kind: one.kind.clone(),
            server: one.server,
        };
        let request = self.requests.find(&key).map(|asked| asked.shown.id.clone());
        let session = self.sessions.live(id);
        let may_ask = session.is_some_and(|live| self.policies.asks_any(&live.chain, &one.name));
        let advice = match &request {
            _ if self.holes.lets_ask(id, &one.name, now) => advice::name_opened(&one.name),
            Some(request) => advice::name_asked(&one.name, request),
            None if self.requests.is_refused(&key, now) => advice::name_answered_no(&one.name),
            None => advice::name_refused(&one.name, &one.why),
        };
        let verdict = if may_ask {
            Verdict::Confirm
        } else {
            Verdict::Deny
        };
        Stopped {
            at: clocks.calendar(one.at),
            destination: asked.endpoint(),
            verdict: verdict.as_str().to_owned(),
            rule: None,
            reason: None,
            count: one.count,
            advice,
            request,
            http: None,
            named: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use guard_proto::names::Tgid;

    use super::*;

    #[test]
    fn a_name_is_known_once_and_a_flood_takes_no_more_room() {
        let mut refused = RefusedNames::default();
        let mut note = |name: String, at| {
            let asked = Asked {
                session: SessionId(1),
                tgid: Tgid(7),
                name,
                kind: "A".to_owned(),
                server: [192, 0, 2, 53].into(),
            };
            refused.note(&asked, "no rule names it", BootTime(at))
        };
        assert_eq!(note("a.example".to_owned(), 1), 1);
        assert_eq!(note("b.example".to_owned(), 2), 1);
        assert_eq!(note("a.example".to_owned(), 3), 2);
        for number in 0..1000 {
            note(format!("n{number}.example"), 4);
        }
        let names: Vec<_> = refused.of(SessionId(1)).map(|one| &*one.name).collect();
        assert_eq!((names.len(), names[0]), (MAX_OF_SESSION, "n999.example"));
        assert_eq!(refused.of(SessionId(2)).count(), 0);
        refused.forget(SessionId(1));
        assert_eq!(refused.of(SessionId(1)).count(), 0);
    }
}
