//! What an earlier guardd knew of refusals and answers, out of the audit log: for `guard why` alone, nothing is enforced by it.

use std::{collections::HashMap, net::IpAddr};

use guard_common::{
    AttemptCount, AttemptKey, BootTime, HoleEntry, HoleId, Protocol, SessionId, Verdict,
};
use guard_policy::{PortSpec, Prefix, protocol_number};
use guard_proto::{
    self as proto, Endpoint, LogRecord,
    names::FAILED,
    record::{Answered, Denied, Held, HoleClose, HoleOpen, Record, RecordedDestination},
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
    policies::Policies,
    record::{Recorder, recent::recent},
    sessions::{Session, Sessions},
};

/// Bytes of the audit log that are looked through, from its end.
const LOOKED_THROUGH: u64 = 4 * 1024 * 1024;
/// Why holes for HTTP requests are over that an earlier guardd kept.
const RESTARTED: &str = "guardd restarted";

/// Attempts that the kernel counts, by session.
pub(crate) type CountedAttempts = HashMap<SessionId, Vec<(AttemptKey, AttemptCount)>>;

/// What decided, as a record says it.
struct RecordedRefusal<'r> {
    destination: Option<&'r Endpoint>,
    verdict: Option<&'r str>,
    rule: Option<&'r String>,
    policy: Option<&'r String>,
}

/// A refusal that was about no connection, as a record says it.
#[derive(Debug)]
pub(crate) struct RecalledRefusal {
    /// The session that was refused something.
    pub(crate) session: SessionId,
    /// When.
    pub(crate) at: BootTime,
    /// What.
    pub(crate) to: Endpoint,
    /// Why, if the record says so.
    pub(crate) why: Option<String>,
    /// What kind of thing that is.
    pub(crate) kind: RefusedKind,
}

/// What was refused where it was no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RefusedKind {
    /// A name.
    Name {
        /// Whether nobody answered, or not in time.
        failed: bool,
    },
    /// A Unix socket, a socket that was handed over, or a signal.
    Stop,
}

/// What it takes to know again what an earlier guardd knew.
#[derive(Debug)]
pub(crate) struct Recalling<'s> {
    /// The sessions.
    pub(crate) sessions: &'s Sessions,
    /// Their policies, as they are now.
    pub(crate) policies: &'s Policies,
    /// What is known again.
    pub(crate) requests: &'s mut Requests,
    /// Of live sessions: those of others are not read.
    pub(crate) attempts: CountedAttempts,
}

/// What the end of the audit log says.
pub(crate) fn last_records(recorder: &Recorder) -> Vec<LogRecord> {
    recent(recorder.audit(), LOOKED_THROUGH).unwrap_or_else(|error| {
        tracing::warn!(%error, "what was refused and answered before is not known");
        Vec::new()
    })
}

impl Recalling<'_> {
    /// Reads what records say of live sessions. `is_open`: whether there still is a hole. Returns what others keep.
    pub(crate) fn read(
        &mut self,
        records: &[LogRecord],
        is_open: impl Fn(HoleId) -> bool,
    ) -> Vec<RecalledRefusal> {
        let clocks = Clocks::read();
        let mut passed: HashMap<HoleId, u64> = HashMap::new();
        let mut others = Vec::new();
        for record in records {
            let session = record.session.as_deref();
            let session = session.and_then(|id| ids::parse_session(id).ok());
            let Some(session) = session.filter(|id| self.attempts.contains_key(id)) else {
                continue;
            };
            let at = clocks.boot(record.at);
            match record.record() {
                Record::Http(one) => {
                    let hole = one.hole.get().and_then(|id| ids::parse_hole(id).ok());
                    *passed.entry(hole.unwrap_or_default()).or_default() += 1;
                }
                Record::Answered(one) => self.recall_answer(session, at, &one),
                Record::Denied(one) => others.extend(self.recall_denied(session, at, &one)),
                Record::Held(one) => self.recall_held(session, at, &one),
                Record::HoleOpen(one) => self.requests.recall_hole(session, at, &one),
                Record::HoleClose(one) => self.requests.recall_end(&one),
                _ => {}
            }
        }
        self.requests.end_lost_holes(&passed, is_open);
        others
    }

    fn recall_held(&mut self, session: SessionId, at: BootTime, one: &Held) {
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

    /// Returns what was refused if it was no connection.
    fn recall_denied(
        &mut self,
        session: SessionId,
        at: BootTime,
        one: &Denied,
    ) -> Option<RecalledRefusal> {
        let to = one
            .destination
            .get()
            .and_then(RecordedDestination::endpoint)?;
        let why = one.why.get();
        let kind = match to.protocol.as_str() {
            "dns" => RefusedKind::Name {
                failed: one.verdict.is(FAILED),
            },
            "unix" | "handed" | "signal" => RefusedKind::Stop,
            // Where it says why, no rule refused it; what waited was noted when it began to.
            _ if why.is_some() => return None,
            _ => {
                let refusal = RecordedRefusal {
                    destination: Some(to),
                    verdict: one.verdict.get().map(String::as_str),
                    rule: one.rule.get(),
                    policy: one.policy.get(),
                };
                self.recall_decided(session, at, &refusal);
                return None;
            }
        };
        Some(RecalledRefusal {
            session,
            at,
            to: to.clone(),
            why: why.cloned(),
            kind,
        })
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
        let policies = self.policies;
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
        let apart = apart(self.sessions, policies, session.cgroup.id);
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

    fn recall_answer(&mut self, session: SessionId, at: BootTime, one: &Answered) {
        let Some(request) = answered(session, one) else {
            return;
        };
        let said = match one.answer.get().map(String::as_str) {
            Some("yes") => YesOrNo::Yes(Vec::new()),
            Some("no") => no(at, one),
            _ => return,
        };
        let attempts = self.attempts.get(&session).map_or(&[][..], Vec::as_slice);
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
}

impl Requests {
    /// Holes for HTTP requests do not outlive the guardd that keeps them.
    fn end_lost_holes(&mut self, passed: &HashMap<HoleId, u64>, is_open: impl Fn(HoleId) -> bool) {
        let holes = self.given.open_for_http();
        let lost: Vec<_> = holes.filter(|hole| !is_open(*hole)).collect();
        for hole in lost {
            let passed = passed.get(&hole).copied().unwrap_or(0);
            self.given.note_end(hole, RESTARTED, passed);
        }
    }

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
    use guard_proto::record::{Common, Field};
    use jiff::Timestamp;

    use super::*;
    use crate::{
        policies::of_texts,
        requests::{drafts::blank, shown::as_shown},
        sessions::none_but,
    };

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

    fn refused(session: &str, protocol: &str, one: Denied) -> LogRecord {
        let to = Endpoint {
            address: "192.0.2.10".to_owned(),
            port: Some(443),
            protocol: protocol.to_owned(),
            host: None,
        };
        let denied = Denied {
            destination: RecordedDestination::Endpoint(to).into(),
            ..one
        };
        let session = Some(session.to_owned());
        LogRecord::new(
            Timestamp::now(),
            session,
            &Common::default(),
            &denied.into(),
        )
    }

    #[test]
    fn what_live_sessions_were_refused_is_known_again_or_handed_to_who_keeps_it() {
        let sessions = none_but(&[(1, None), (2, None)]);
        let text = "version = 1\nname = \"lab\"\ndefault = \"deny\"\n".to_owned();
        let policies = of_texts(&[text]);
        let mut requests = Requests::without_files(10);
        let denied = || Denied {
            verdict: "deny".into(),
            ..Denied::default()
        };
        let failed = Denied {
            verdict: FAILED.into(),
            ..Denied::default()
        };
        let by_no_rule = Denied {
            why: "it is too late".into(),
            ..denied()
        };
        let records = [
            refused("s1", "tcp", denied()),
            refused("s1", "udp", by_no_rule),
            refused("s1", "dns", failed),
            refused("s1", "unix", denied()),
            // It has ended.
            refused("s2", "unix", denied()),
        ];
        let mut recalling = Recalling {
            sessions: &sessions,
            policies: &policies,
            requests: &mut requests,
            attempts: CountedAttempts::from([(SessionId(1), Vec::new())]),
        };
        let others = recalling.read(&records, |_| false);
        let kinds: Vec<_> = others.iter().map(|one| (one.session, one.kind)).collect();
        let name = RefusedKind::Name { failed: true };
        let expected = [name, RefusedKind::Stop].map(|kind| (SessionId(1), kind));
        assert_eq!(kinds, expected);
        let attempt = |protocol| AttemptKey {
            destination: IpAddr::from([192, 0, 2, 10]).into(),
            session: SessionId(1),
            port: 443,
            protocol,
            verdict: Verdict::Deny as u8,
        };
        let is_known = |protocol| requests.decided_about(&attempt(protocol)).is_some();
        assert!(is_known(Protocol::TCP));
        assert!(!is_known(Protocol::UDP), "no rule refused it");
    }
}
