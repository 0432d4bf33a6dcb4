//! A person's no to a request: what it holds for, and for how long.

use guard_common::{Address, BootTime, SessionId};
use guard_policy::{PortSpec, Prefix};
use guard_proto as proto;
use guard_sys::clock;

use super::{MAX_NOES, Pending, Requests, bursts::Burst, key::RequestKey};
use crate::{
    control::ids,
    policies::labels,
    sessions::{Session, Sessions},
};

/// So many times a person is asked about one method, URL and body with different headers: after as many noes the next header
/// would not change their mind.
const NOES: usize = 2;
/// The same for names below one zone: data in names is as good in the next one.
const NOES_BELOW: usize = 3;

/// A person's no.
#[derive(Clone, Debug)]
pub(super) struct KeptNo {
    pub(super) until: BootTime,
    /// The request that it answered.
    pub(super) shown: proto::Request,
}

/// A person's no to a burst.
#[derive(Clone, Debug)]
pub(super) struct Wide {
    pub(super) key: RequestKey,
    pub(super) burst: Burst,
    pub(super) no: KeptNo,
}

impl Wide {
    fn covers(&self, key: &RequestKey) -> bool {
        self.burst.prefix().covers(&key.destination) && self.key.is_beside(key)
    }
}

impl Requests {
    /// Whether a person said no to that, and the no still holds.
    #[must_use]
    pub(crate) fn is_refused(&self, key: &RequestKey, now: BootTime) -> bool {
        let no = self.noes.get(&key.alike());
        no.is_some_and(|no| no.until > now) || self.is_refused_beside(key, now)
    }

    /// The same of now, where a no to the outermost session about it counts as well.
    #[must_use]
    pub(crate) fn is_refused_to(&self, sessions: &Sessions, key: &RequestKey) -> bool {
        let now = clock::now();
        let outermost = key.of(sessions.outermost_of(key.session));
        self.is_refused(key, now) || self.is_refused(&outermost, now)
    }

    /// Whether a person said no to that for the session's outermost one: that is a no to all inside it.
    #[must_use]
    pub(crate) fn is_refused_around(
        &self,
        session: &Session,
        key: &RequestKey,
        at: BootTime,
    ) -> bool {
        let outermost = key.of(session.outermost());
        outermost != *key && self.is_refused(&outermost, at)
    }

    /// Whether a person has said no to that session about an address, or to its outermost session.
    #[must_use]
    pub(crate) fn is_refused_at(
        &self,
        sessions: &Sessions,
        session: SessionId,
        to: Address,
        spec: &PortSpec,
    ) -> bool {
        let now = clock::now();
        let outermost = sessions.outermost(session);
        let mut all = std::iter::once(session).chain(outermost);
        all.any(|session| self.has_refused_at(session, to, spec, now))
    }

    /// Whether what a person has refused takes it in, though it is another.
    fn is_refused_beside(&self, key: &RequestKey, now: BootTime) -> bool {
        self.is_refused_widely(key, now)
            || self.is_zone_refused(key, now)
            || self.noes_to_matter(key, now) >= NOES
            || self.noes_below_zone(key, now) >= NOES_BELOW
    }

    /// To how many names in the zone of this one a person has said no.
    fn noes_below_zone(&self, key: &RequestKey, now: BootTime) -> usize {
        let noes = self.noes.iter();
        noes.filter(|(one, no)| no.until > now && one.is_in_zone_of(key))
            .count()
    }

    /// The zone that a name is in, where a person has said no to so many in it that all are refused.
    pub(super) fn refused_zone(&self, key: &RequestKey, now: BootTime) -> Option<String> {
        let zone = labels::zone_of(key.question.as_deref()?)?;
        (self.noes_below_zone(key, now) >= NOES_BELOW).then(|| zone.to_owned())
    }

    /// To how many with the same matter a person has said no.
    fn noes_to_matter(&self, key: &RequestKey, now: BootTime) -> usize {
        let noes = self.noes.iter();
        if key.http.is_none() {
            return 0;
        }
        noes.filter(|(one, no)| no.until > now && one.has_matter_of(key))
            .count()
    }

    /// The other pending requests that one more no to the matter of this one, or in its zone, answers.
    #[must_use]
    pub(super) fn refused_with(&self, asked: &Pending, now: BootTime) -> Vec<Pending> {
        let key = &asked.key;
        let all_matter = self.noes_to_matter(key, now) + 1 >= NOES;
        let all_below = self.noes_below_zone(key, now) + 1 >= NOES_BELOW;
        let its = self.pending().iter().filter(|one| {
            let is_its = (all_matter && one.key.has_matter_of(key))
                || (all_below && one.key.is_in_zone_of(key));
            one.shown.id != asked.shown.id && is_its
        });
        its.cloned().collect()
    }

    fn is_refused_widely(&self, key: &RequestKey, now: BootTime) -> bool {
        let mut wide = self.wide.iter();
        wide.any(|one| one.no.until > now && one.covers(key))
    }

    /// Whether a person has said no to a part of that prefix: then it is not offered.
    #[must_use]
    pub(crate) fn has_refused_in(&self, key: &RequestKey, prefix: &Prefix, now: BootTime) -> bool {
        let counts = |other: &RequestKey, no: &KeptNo| no.until > now && other.is_beside(key);
        let mut noes = self.noes.iter();
        let mut wide = self.wide.iter();
        noes.any(|(other, no)| counts(other, no) && prefix.covers(&other.destination))
            || wide.any(|one| counts(&one.key, &one.no) && prefix.meets(&one.burst.prefix()))
    }

    /// Whether a person has said no to a session about connections to an address by any of some ports.
    #[must_use]
    pub(crate) fn has_refused_at(
        &self,
        session: SessionId,
        to: Address,
        ports: &PortSpec,
        now: BootTime,
    ) -> bool {
        let counts = |key: &RequestKey, no: &KeptNo| {
            let at = PortSpec::one(key.protocol, key.port);
            let is_of = key.session == session && key.is_connection();
            is_of && no.until > now && ports.intersection(&at).is_some()
        };
        let mut noes = self.noes.iter();
        let mut wide = self.wide.iter();
        noes.any(|(key, no)| key.destination == to && counts(key, no))
            || wide.any(|one| one.burst.prefix().covers(&to) && counts(&one.key, &one.no))
    }

    /// The HTTP requests of a session to which a person has said no, while the no holds.
    pub(crate) fn refused_http(
        &self,
        session: SessionId,
        now: BootTime,
    ) -> impl Iterator<Item = &proto::Request> {
        let noes = self.noes.iter();
        let of = noes.filter(move |(key, no)| {
            key.session == session && key.http.is_some() && no.until > now
        });
        of.map(|(_, no)| &no.shown)
    }

    /// Whether as many noes of a session hold as are kept: then it asks for nothing more, so that none goes before its time.
    pub(super) fn has_all_noes(&self, session: SessionId, now: BootTime) -> bool {
        let noes = self.noes.iter().map(|(key, no)| (key.session, no.until));
        let wide = self.wide.iter().map(|one| (one.key.session, one.no.until));
        let holds = |(of, until): &(SessionId, BootTime)| *of == session && *until > now;
        noes.chain(wide).filter(holds).count() >= MAX_NOES
    }

    /// Notes a person's no: until then attempts like `key` make no request. `shown` is the request that was answered.
    pub(crate) fn note_no(&mut self, key: RequestKey, shown: proto::Request, until: BootTime) {
        self.noes.insert(key.alike(), KeptNo { until, shown });
    }

    /// The same for all of a burst.
    pub(crate) fn note_no_to_all(
        &mut self,
        key: RequestKey,
        burst: Burst,
        shown: proto::Request,
        until: BootTime,
    ) {
        let no = KeptNo { until, shown };
        self.wide.push(Wide { key, burst, no });
    }

    /// Removes each no to what a person has opened for a session since, and returns what it was about. `is_open`: whether one hole
    /// opens all of these to that session. The outermost session's go too where they were said to that very session (`keep_no`), or it
    /// would never ask again. What was said to the outermost one itself, or to another inside, stands for all the others: holes for
    /// names leave out what a person has refused.
    pub(crate) fn lift_noes(
        &mut self,
        session: SessionId,
        outermost: SessionId,
        is_open: impl Fn(&[RequestKey]) -> bool,
    ) -> Vec<RequestKey> {
        let as_shown = ids::session(session);
        let is_its = |key: &RequestKey, no: &KeptNo| {
            key.session == session || (key.session == outermost && no.shown.session == as_shown)
        };
        let opens = |key: &RequestKey| is_open(&[key.of(session)]);
        let open = self
            .noes
            .extract_if(|key, no| is_its(key, &*no) && opens(key));
        let mut open: Vec<_> = open.map(|(key, _)| key).collect();
        for one in self.wide.iter().filter(|one| is_its(&one.key, &one.no)) {
            let tried = one.burst.addresses().map(|to| one.key.at(to));
            open.extend(tried.filter(&opens));
        }
        self.wide.retain(|one| {
            let ends = one.key.of(session).ends(&one.burst.prefix());
            !(is_its(&one.key, &one.no) && is_open(&ends))
        });
        open
    }

    /// Removes each no of a session that has ended, if no session inside it is left.
    pub(crate) fn forget_answers(&mut self, session: SessionId) {
        self.noes.retain(|one, _| one.session != session);
        self.wide.retain(|one| one.key.session != session);
        self.given.forget(session);
    }
}
