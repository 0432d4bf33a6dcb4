//! What an earlier guardd knew of refusals and answers, out of the audit log: for `guard why` alone, nothing is enforced by it.

use std::{collections::HashMap, net::IpAddr};

use guard_common::{
    AttemptCount, AttemptKey, BootTime, HoleEntry, HoleId, Protocol, SessionId, Verdict,
};
use guard_policy::{PortSpec, Prefix, protocol_number};
use guard_proto::{
    self as proto, Endpoint,
    names::FAILED,
    record::{Answered, Denied, HoleClose, HoleOpen, Record, RecordedDestination},
};
use guard_sys::clock::Clocks;

use super::{
    Requests,
    decided::Matter,
    given::{AnsweredRequest, HoleCoverage, OpenedByYes, PersonsAnswer, YesOrNo},
    key::{HttpRequestKey, RequestKey},
};
use crate::{
    control::{ids, inside::apart},
    record::recent::recent,
    sessions::Session,
    state::State,
};

/// Bytes of the audit log that are looked through, from its end.
const LOOKED_THROUGH: u64 = 4 * 1024 * 1024;
/// Why holes for HTTP requests are over that an earlier guardd kept.
const RESTARTED: &str = "guardd restarted";

/// Attempts that the kernel counts, by session.
type Attempts = HashMap<SessionId, Vec<(AttemptKey, AttemptCount)>>;

/// What decided, as a record says it.
struct RecordedRefusal<'r> {
    destination: Option<&'r Endpoint>,
    verdict: Option<&'r str>,
    rule: Option<&'r String>,
    policy: Option<&'r String>,
}

impl State {
    /// Reads what the audit log has of live sessions.
    pub(crate) fn recall(&mut self) {
        let live = self.sessions.all_live();
        let live: Vec<_> = live.map(|session| session.cgroup.id).collect();
        if live.is_empty() {
            return;
        }
        let records = recent(self.recorder.audit(), LOOKED_THROUGH).unwrap_or_else(|error| {
            tracing::warn!(%error, "what was refused and answered before is not known");
            Vec::new()
        });
        let attempts = live.into_iter();
        let attempts = attempts.map(|id| (id, self.datapath.attempts(id).unwrap_or_default()));
        let attempts: Attempts = attempts.collect();
        let clocks = Clocks::read();
        let mut passed: HashMap<HoleId, u64> = HashMap::new();
        for record in &records {
            let session = record.session.as_deref();
            let session = session.and_then(|id| ids::parse_session(id).ok());
            let Some(session) = session.filter(|id| attempts.contains_key(id)) else {
                continue;
            };
            let at = clocks.boot(record.at);
            match record.record() {
                Record::Http(one) => {
                    let hole = one.hole.get().and_then(|id| ids::parse_hole(id).ok());
                    *passed.entry(hole.unwrap_or_default()).or_default() += 1;
                }
                Record::Answered(one) => self.recall_answer(session, at, &one, &attempts),
                other => self.recall_other(session, at, other),
            }
        }
        self.end_lost_holes(&passed);
    }

    fn recall_other(&mut self, session: SessionId, at: BootTime, record: Record) {
        match record {
            Record::Denied(one) => self.recall_denied(session, at, &one),
            Record::Held(one) => {
                let refusal = RecordedRefusal {
                    destination: one
                        .destination
                        .get()
                        .and_then(RecordedDestination::endpoint),
                    verdict: one.verdict.get().map(String::as_str),
                    rule: one.rule.get(),
                    policy: one.policy.get(),
                };
                self.recall_decided(session, at, &refusal);
            }
            Record::HoleOpen(one) => self.requests.recall_hole(session, at, &one),
            Record::HoleClose(one) => self.requests.recall_end(&one),
            _ => {}
        }
    }

    fn recall_denied(&mut self, session: SessionId, at: BootTime, one: &Denied) {
        let Some(to) = one
            .destination
            .get()
            .and_then(RecordedDestination::endpoint)
        else {
            return;
        };
        let why = one.why.get().map(String::as_str);
        match to.protocol.as_str() {
            "dns" => {
                let failed = one.verdict.is(FAILED);
                self.resolver.recall_refused(session, at, to, why, failed);
            }
            "unix" | "handed" | "signal" => self.sockets.recall_stop(session, at, to, why),
            // Where it says why, no rule refused it; what waited was noted when it began to.
            _ if why.is_some() => {}
            _ => {
                let refusal = RecordedRefusal {
                    destination: Some(to),
                    verdict: one.verdict.get().map(String::as_str),
                    rule: one.rule.get(),
                    policy: one.policy.get(),
                };
                self.recall_decided(session, at, &refusal);
            }
        }
    }

    fn recall_decided(&mut self, id: SessionId, at: BootTime, refusal: &RecordedRefusal<'_>) {
        let session = self.sessions.live(id);
        let about = session.and_then(|session| self.recalled_matter(session, refusal));
        let key = refusal.destination.and_then(|to| key_there(id, to));
        if let (Some(about), Some(key)) = (about, key) {
            let attempt = AttemptKey {
                destination: key.destination,
                session: id,
                port: key.port,
                protocol: key.protocol,
                verdict: about.verdict as u8,
            };
            self.requests.decided.note(id, attempt, about, at);
        }
    }

    /// What decided. The record has not the rule's reason: that is the one which the rule has now.
    fn recalled_matter(&self, session: &Session, refusal: &RecordedRefusal<'_>) -> Option<Matter> {
        let to = refusal.destination?;
        let verdict = stopped_by(refusal.verdict?)?;
        let address: IpAddr = to.address.parse().ok()?;
        let policies = &self.policies;
        let policy = match refusal.policy {
            Some(policy) => policy.clone(),
            None => policies.name_of(&session.chain),
        };
        let in_force = session.chain.iter().filter_map(|slot| policies.get(*slot));
        let called = in_force.filter(|one| one.policy.name == policy);
        let rules = called.flat_map(|one| one.policy.rules.iter().map(move |rule| (one, rule)));
        let mut found = rules
            .filter(|(_, rule)| Some(&rule.name) == refusal.rule)
            .peekable();
        let reason = found
            .peek()
            .and_then(|(of, rule)| Some(of.source.told(rule.reason.clone()?)));
        let apart = apart(&self.sessions, policies, session.cgroup.id);
        // Another policy may have a rule that is called the same.
        let is_own = found.peek().is_some()
            && found.all(|(of, _)| apart.is_some_and(|apart| std::ptr::eq(of, apart)));
        let host = to.host.as_deref();
        let told = host
            .and_then(|host| policies.told_of(session.cgroup.id, address.into(), None, Some(host)));
        Some(Matter {
            host: to.host.clone(),
            verdict,
            rule: refusal.rule.cloned(),
            reason,
            is_own,
            around: refusal.policy.cloned(),
            named: told.filter(|told| Some(told.name.as_str()) == host),
            barred: None,
        })
    }

    fn recall_answer(
        &mut self,
        session: SessionId,
        at: BootTime,
        one: &Answered,
        attempts: &Attempts,
    ) {
        let Some(request) = answered(session, one) else {
            return;
        };
        let said = match one.answer.get().map(String::as_str) {
            Some("yes") => YesOrNo::Yes(Vec::new()),
            Some("no") => no(at, one),
            _ => return,
        };
        let attempts = attempts.get(&session).map_or(&[][..], Vec::as_slice);
        let answer = PersonsAnswer {
            session,
            by: one.by.get().cloned().unwrap_or_default(),
            at,
            tried: tried_by_then(attempts, &request.key, at, one.count.get()),
            held: request.shown.held,
            request: Some(request),
            said,
        };
        let outermost = self.sessions.outermost_of(session);
        if answer.is_no() && outermost != session {
            self.requests.given.note(answer.of(outermost));
        }
        self.requests.given.note(answer);
    }

    /// Holes for HTTP requests do not outlive the guardd that keeps them.
    fn end_lost_holes(&mut self, passed: &HashMap<HoleId, u64>) {
        let is_lost = |hole: &HoleId| self.holes.get(*hole).is_none();
        let lost: Vec<_> = self
            .requests
            .given
            .open_for_http()
            .filter(is_lost)
            .collect();
        for hole in lost {
            let passed = passed.get(&hole).copied().unwrap_or(0);
            self.requests.given.note_end(hole, RESTARTED, passed);
        }
    }
}

impl Requests {
    fn recall_hole(&mut self, session: SessionId, at: BootTime, one: &HoleOpen) {
        let Some(hole) = one.hole.get().and_then(|id| ids::parse_hole(id).ok()) else {
            return;
        };
        let prefix = one.destination.get();
        let prefix: Option<Prefix> = prefix.and_then(|to| to.parse().ok());
        let is_as_asked = !one.name.is_none() || !one.http.is_none();
        let Some(request) = one.request.get() else {
            let covers = prefix.and_then(|prefix| entry(hole, &prefix, one.ports.get()));
            if let Some(entry) = covers {
                self.given.note(PersonsAnswer {
                    session,
                    request: None,
                    by: one.by.get().cloned().unwrap_or_default(),
                    at,
                    tried: Vec::new(),
                    held: false,
                    said: YesOrNo::Yes(vec![opened(hole, HoleCoverage::Entry(entry))]),
                });
            }
            return;
        };
        let covers = prefix.filter(|_| !is_as_asked);
        let covers = covers.map_or(HoleCoverage::Asked, HoleCoverage::Prefix);
        let given = &mut self.given;
        given.add(session, request, opened(hole, covers));
    }

    fn recall_end(&mut self, one: &HoleClose) {
        if let Some(hole) = one.hole.get().and_then(|id| ids::parse_hole(id).ok()) {
            let passed = one.connections.get().or(one.requests.get());
            let why = one.why.get().map_or("", String::as_str);
            let passed = passed.copied().unwrap_or(0);
            self.given.note_end(hole, why, passed);
        }
    }
}

/// How often there had been attempts by then: to what was asked about as it was written down, to the rest as far as can be told by
/// when they were last reported.
fn tried_by_then(
    attempts: &[(AttemptKey, AttemptCount)],
    asked: &RequestKey,
    at: BootTime,
    count: Option<&u64>,
) -> Vec<(AttemptKey, u64)> {
    let all = attempts.iter().copied();
    let (its, others): (Vec<_>, Vec<_>) = all.partition(|(key, _)| asked.is_tried_by(key));
    let its = match (count, its.as_slice()) {
        (Some(count), [(key, _)]) => vec![(*key, *count)],
        _ => by_report(&its, at),
    };
    its.into_iter().chain(by_report(&others, at)).collect()
}

fn by_report(attempts: &[(AttemptKey, AttemptCount)], at: BootTime) -> Vec<(AttemptKey, u64)> {
    let by_then = attempts.iter().filter(|(_, tried)| tried.reported <= at);
    by_then.map(|(key, tried)| (*key, tried.count)).collect()
}

const fn opened(hole: HoleId, covers: HoleCoverage) -> OpenedByYes {
    OpenedByYes {
        hole,
        covers,
        ended: None,
    }
}

/// The verdict of that name that stops something.
fn stopped_by(word: &str) -> Option<Verdict> {
    let all = [Verdict::Deny, Verdict::Confirm, Verdict::ReadOnly];
    all.into_iter().find(|one| one.as_str() == word)
}

/// A hole as the kernel had it.
fn entry(id: HoleId, prefix: &Prefix, ports: Option<&String>) -> Option<HoleEntry> {
    let spec = match ports {
        Some(ports) => ports.parse().ok()?,
        None => PortSpec::all(Protocol::ANY),
    };
    Some(HoleEntry {
        prefix: prefix.address(),
        mask: prefix.mask(),
        id,
        low: spec.low,
        high: spec.high,
        prefix_len: prefix.length(),
        protocol: spec.protocol,
        ..HoleEntry::default()
    })
}

fn no(at: BootTime, one: &Answered) -> YesOrNo {
    let prefixes = one.refuses.get().into_iter().flatten();
    let seconds = one.seconds.get().copied().unwrap_or(0.0).max(0.0);
    let nanos = (seconds * 1e9) as u64;
    YesOrNo::No {
        prefixes: prefixes.filter_map(|text| text.parse().ok()).collect(),
        until: BootTime(at.0.saturating_add(nanos)),
    }
}

/// The request that was answered, as it was shown.
fn answered(session: SessionId, one: &Answered) -> Option<AnsweredRequest> {
    let shown = serde_json::Value::Object(one.shown.get()?.clone());
    let shown: proto::Request = serde_json::from_value(shown).ok()?;
    let key = match (&shown.question, &shown.http) {
        (Some(question), _) => {
            let (opens, refuses) = (one.opens.get(), one.refuses.get());
            let pattern = opens.or(refuses).and_then(|names| names.first());
            RequestKey::of_name(session, pattern.unwrap_or(&question.name))
        }
        (None, Some(http)) => {
            let key = key_there(session, &shown.destination)?;
            let http = HttpRequestKey {
                request: http.clone(),
                alone: None,
                plain: true,
                series: false,
                matter: None,
            };
            RequestKey::of_http(session, key.destination, key.port, http.into())
        }
        (None, None) => key_there(session, &shown.destination)?,
    };
    Some(AnsweredRequest {
        id: one.request.get()?.clone(),
        key,
        shown,
    })
}

/// What a request about connections there is about.
fn key_there(session: SessionId, to: &Endpoint) -> Option<RequestKey> {
    let address: IpAddr = to.address.parse().ok()?;
    let protocol = protocol_number(&to.protocol)?;
    let port = to.port.unwrap_or(0);
    Some(RequestKey::new(session, address.into(), protocol, port))
}

#[cfg(test)]
mod tests {
    use guard_proto::record::Field;

    use super::*;
    use crate::requests::{drafts::blank, shown::as_shown};

    fn shown(http: Option<proto::HttpRequest>) -> proto::Request {
        let to = Endpoint {
            address: "192.0.2.10".to_owned(),
            port: Some(443),
            protocol: "tcp".to_owned(),
            host: None,
        };
        let key = key_there(SessionId(4), &to).unwrap();
        proto::Request {
            id: "r3".to_owned(),
            http,
            held: true,
            ..blank(&key, BootTime(1), to, "lab".to_owned())
        }
    }

    fn record(shown: &proto::Request) -> Answered {
        Answered {
            request: "r3".into(),
            answer: "no".into(),
            refuses: Field::Is(vec!["192.0.2.0/30".to_owned(), "*.example.com".to_owned()]),
            seconds: Field::Is(2.0),
            shown: as_shown(shown).into(),
            ..Answered::default()
        }
    }

    #[test]
    fn an_answer_is_what_its_record_shows() {
        let shown = shown(None);
        let one = record(&shown);
        let request = answered(SessionId(4), &one).unwrap();
        assert_eq!((request.id.as_str(), request.shown.held), ("r3", true));
        assert!(request.key.is_connection());
        assert_eq!((request.key.session, request.key.port), (SessionId(4), 443));
        let YesOrNo::No { prefixes, until } = no(BootTime(7), &one) else {
            panic!("a no");
        };
        assert_eq!(until, BootTime(2_000_000_007));
        assert_eq!(prefixes, ["192.0.2.0/30".parse().unwrap()]);
    }

    #[test]
    fn what_was_tried_since_an_answer_is_told_by_its_count() {
        let request = answered(SessionId(4), &record(&shown(None))).unwrap();
        let attempt = |port, count, reported| {
            let key = AttemptKey {
                destination: request.key.destination,
                session: SessionId(4),
                port,
                protocol: Protocol::TCP,
                verdict: Verdict::Confirm as u8,
            };
            let reported = BootTime(reported);
            (key, AttemptCount { count, reported })
        };
        // The second came too soon after the first to be reported.
        let all = [attempt(443, 2, 5), attempt(80, 7, 5), attempt(81, 7, 11)];
        let counts = |count: Option<u64>| {
            let tried = tried_by_then(&all, &request.key, BootTime(10), count.as_ref());
            let tried = tried.iter().map(|(key, count)| (key.port, *count));
            tried.collect::<Vec<_>>()
        };
        assert_eq!(counts(Some(1)), [(443, 1), (80, 7)]);
        assert_eq!(counts(None), [(443, 2), (80, 7)]);
    }

    #[test]
    fn an_http_request_is_known_again_by_its_digest() {
        let http = proto::HttpRequest {
            method: "PUT".to_owned(),
            path: "/a?token=secret".to_owned(),
            digest: Some("d1".to_owned()),
            ..proto::HttpRequest::default()
        };
        let request = answered(SessionId(4), &record(&shown(Some(http.clone())))).unwrap();
        let own = HttpRequestKey {
            request: http,
            alone: None,
            plain: false,
            series: false,
            matter: None,
        };
        let key = &request.key;
        let same = RequestKey::of_http(key.session, key.destination, key.port, own.into());
        assert_eq!(*key, same);
    }
}
