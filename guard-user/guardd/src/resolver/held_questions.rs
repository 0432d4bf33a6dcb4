//! Questions that a person is asked about before any of their labels leave: held where an approver is there, and refused at once
//! where none is, with a request that stays.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use guard_common::{BootTime, DNS_PORT, PolicyId, SessionId, Verdict};
use guard_proto::{
    self as proto, DnsQuestion, Endpoint,
    names::{FAILED, Number, Tgid, ToResolver},
    record::{Denied, Field, RecordedDestination},
};
use guard_sys::clock::{self, Clocks};

use super::{Resolver, refused::NameRefusal};
use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    process::SeenProcess,
    quota::{Account, Limit, Pace, Quota},
    record::audit::LogEntry,
    requests::{Noted, RequestKey, drafts, questions::question},
    state::State,
    times::after,
};

/// How long a question is held: as long as the resolver waits.
const PERSON: Duration = Duration::from_millis(4500);
/// Questions that are held at once; more are refused.
const HELD: Limit = Limit {
    session: Pace::held(64),
    user: Pace::held(512),
    all: 2048,
    reserve: 64,
};
/// What is beware of where a zone is flooded.
const FLOOD: &str = "so many new names below it carry data to whoever owns the zone";

/// A question as the resolver tells of it.
#[derive(Clone, Debug)]
pub(crate) struct NameQuestion {
    /// Whose.
    pub(crate) session: SessionId,
    /// The process.
    pub(crate) tgid: Tgid,
    /// The name, or `*.zone.example`.
    pub(crate) name: String,
    /// The type.
    pub(crate) kind: String,
    /// The server that was meant.
    pub(crate) server: IpAddr,
}

impl NameQuestion {
    /// As people see where it was to go.
    pub(super) fn endpoint(&self) -> Endpoint {
        Endpoint {
            address: self.server.to_canonical().to_string(),
            port: Some(DNS_PORT),
            protocol: DnsQuestion::PROTOCOL.to_owned(),
            host: Some(self.name.clone()),
        }
    }
}

/// A question that is held.
#[derive(Clone, Debug)]
pub(super) struct HeldQuestion {
    pub(super) asked: NameQuestion,
    pub(super) key: RequestKey,
    pub(super) account: Account,
    pub(super) request: String,
    pub(super) until: BootTime,
}

/// Those that are held, by the resolver's numbers.
#[derive(Debug, Default)]
pub(super) struct HeldQuestions(BTreeMap<u64, HeldQuestion>);

impl HeldQuestions {
    fn has_room(&self, account: Account) -> bool {
        let held = self.0.values().map(|held| (held.account, 1));
        Quota::counted(HELD, held).has_room(account, 1, BootTime(0))
    }

    /// Until when the last of those is held that wait for the answer to a request.
    fn until(&self, request: &str) -> Option<BootTime> {
        let of = self.0.values().filter(|held| held.request == request);
        of.map(|held| held.until).max()
    }

    pub(super) fn add(&mut self, number: Number, held: HeldQuestion) {
        self.0.insert(number.0, held);
    }

    /// Removes all; returns the requests for which they were held.
    pub(super) fn take_all(&mut self) -> Vec<String> {
        let all = std::mem::take(&mut self.0).into_values();
        all.map(|held| held.request).collect()
    }
}

impl State {
    /// Answers the resolver whether a name may be asked for: now, or by [`Self::settle_held_questions`] later.
    pub(super) fn resolver_asks(&mut self, number: Number, asked: NameQuestion) {
        match self.asks_person(number, asked) {
            Ok(None) => {}
            Ok(Some(yes)) => self.resolver.answer_question(number, yes),
            Err(error) => {
                tracing::warn!(%error, "nobody can be asked about a name");
                self.resolver.answer_question(number, false);
            }
        }
    }

    /// The answer; none where the question is held for an approver.
    fn asks_person(
        &mut self,
        number: Number,
        asked: NameQuestion,
    ) -> Result<Option<bool>, CallError> {
        let now = clock::now();
        if self.holes.lets_ask(asked.session, &asked.name, now) {
            return Ok(Some(true));
        }
        let key = RequestKey::of_name(asked.session, &asked.name);
        let noted = self.ask_name(&key, &asked, now)?;
        let (Noted::New(request) | Noted::Again(request)) = noted else {
            let why = match noted {
                Noted::SaidNo => "a person said no",
                _ => "as many requests wait, or were refused, as guardd keeps",
            };
            self.note_refused_name(&asked, why);
            return Ok(Some(false));
        };
        let account = self.sessions.account_of(asked.session);
        let live = self.sessions.live(asked.session);
        let hold = live.and_then(|live| self.holds.time_of(live, &self.policies, &self.requests));
        if hold.is_none() || !self.resolver.held.has_room(account) {
            self.note_refused_name(&asked, "nobody was there to be asked");
            self.apply(Change::Requests);
            return Ok(Some(false));
        }
        let held = HeldQuestion {
            asked,
            key,
            account,
            request: request.clone(),
            until: after(now, PERSON),
        };
        self.resolver.held.add(number, held);
        self.show_held_questions(&request);
        self.apply(Change::Requests);
        Ok(None)
    }

    /// Makes a request for a name, or counts one more attempt for the one that is pending.
    fn ask_name(
        &mut self,
        key: &RequestKey,
        asked: &NameQuestion,
        at: BootTime,
    ) -> Result<Noted, CallError> {
        let Some(session) = self.sessions.live(key.session) else {
            return Err(ids::no_session(&ids::session(key.session)));
        };
        if self.requests.is_refused_around(session, key, at) {
            return Ok(Noted::SaidNo);
        }
        let owner = session.account();
        let chain = self.name_chain(key.session, &asked.name);
        let stops = chain
            .iter()
            .find(|link| link.verdict != Verdict::Allow.as_str());
        let policy = stops.or(chain.first()).map(|link| link.policy.clone());
        let SeenProcess { pid, process } = self.machine.asker_of(Some(session), asked.tgid.0);
        let question = question(&asked.name, &asked.kind);
        let beware = question.zone().map(|_| FLOOD.to_owned());
        let draft = proto::Request {
            chain,
            user: self.machine.user(owner.uid()),
            pid,
            comm: process.comm,
            exe: process.exe,
            command: process.command,
            question: Some(question),
            ..drafts::blank(key, at, asked.endpoint(), policy.unwrap_or_default())
        };
        let warnings = process.warning.or(beware).into_iter().collect();
        let noted = self
            .drafting()
            .put(key.clone(), owner, at, draft, warnings)?;
        if let Noted::New(id) | Noted::Again(id) = &noted {
            self.requests.note_type(id, &asked.kind);
        }
        Ok(noted)
    }

    /// What each policy of a session says of a name, the outermost first. That of so many names below a zone all let pass, and
    /// the outermost is asked for more.
    fn name_chain(&self, id: SessionId, name: &str) -> Vec<proto::requests::ChainLink> {
        let Some(session) = self.sessions.live(id) else {
            return Vec::new();
        };
        let sessions = session.with_those_around();
        // The outermost session may be judged by several policies: the fleet's, which may say nothing of names, and one beside its
        // own, which says what that says.
        let outermost = 1 + session.chain.len().saturating_sub(sessions.len());
        let (inside, outermost) = session
            .chain
            .split_at(session.chain.len().saturating_sub(outermost));
        let asks = |slot: &&PolicyId| self.policies.asks_about(**slot, name) == Some(true);
        let outermost = outermost.iter().rev().find(asks).or(outermost.last());
        let slots = outermost.into_iter().chain(inside.iter().rev());
        let links = sessions
            .into_iter()
            .zip(slots)
            .enumerate()
            .map(|(at, (of, slot))| {
                let is_flood = name.starts_with("*.") && at == 0;
                let asks = is_flood || self.policies.asks_about(*slot, name) != Some(false);
                let verdict = if asks {
                    Verdict::Confirm
                } else {
                    Verdict::Allow
                };
                proto::requests::ChainLink {
                    session: ids::session(SessionId(of)),
                    policy: self.policies.name_of(&[*slot]),
                    rule: None,
                    verdict: verdict.as_str().to_owned(),
                    reason: None,
                }
            });
        links.collect()
    }

    /// Answers the held questions that a person has answered.
    pub(crate) fn settle_held_questions(&mut self) {
        let now = clock::now();
        let all: Vec<_> = self
            .resolver
            .held
            .0
            .iter()
            .map(|(n, held)| (*n, held.key.clone()))
            .collect();
        for (number, key) in all {
            let name = key.question.as_deref().unwrap_or_default();
            let outermost = key.of(self.sessions.outermost_of(key.session));
            let is_refused = |key: &RequestKey| self.requests.is_refused(key, now);
            let yes = self.holes.lets_ask(key.session, name, now);
            let is_over = self.requests.find(&key).is_none();
            if yes || is_over || is_refused(&key) || is_refused(&outermost) {
                self.end_question(number);
                self.resolver.answer_question(Number(number), yes);
            }
        }
    }

    fn end_question(&mut self, number: u64) -> Option<NameQuestion> {
        let held = self.resolver.held.0.remove(&number)?;
        self.show_held_questions(&held.request);
        Some(held.asked)
    }

    /// Nobody waits for the answer to a question any more: its time is up, or its policy is another.
    pub(super) fn question_gone(&mut self, number: Number) {
        if let Some(asked) = self.end_question(number.0) {
            self.note_refused_name(&asked, "nobody answered in time");
        }
    }

    /// Shows on a request whether, and until when, a question is held for its answer.
    fn show_held_questions(&mut self, request: &str) {
        let until = self.resolver.held.until(request);
        let until = until.map(|until| Clocks::read().calendar(until));
        self.requests.show_held_until(request, until);
    }

    fn note_refused_name(&mut self, asked: &NameQuestion, why: &str) {
        self.note_unanswered_name(asked, why, false, false);
    }

    /// Writes to the audit log that a session was not told of a name, as a `denied` record; `failed`: though it was asked for;
    /// `searched`: a search list made it of one that may be asked for, so it counts as none.
    pub(super) fn note_unanswered_name(
        &mut self,
        asked: &NameQuestion,
        why: &str,
        failed: bool,
        searched: bool,
    ) {
        let Some(session) = self.sessions.live(asked.session) else {
            return;
        };
        let (owner, account) = (session.about.uid, session.account());
        let now = clock::now();
        let (name, refusal) = (asked.name.clone(), NameRefusal::new(asked, why, failed));
        let refused = &mut self.resolver.refused;
        let count = refused.note(asked.session, name, refusal, now);
        let denied = self.resolver.denied.entry(asked.session).or_default();
        *denied = denied.saturating_add(u64::from(!failed && !searched));
        let SeenProcess { pid, process } = self.machine.process_of(Some(session), asked.tgid.0);
        let admitted = self.recorder.admit(asked.session, account, now);
        let Some(admitted) = admitted else {
            return;
        };
        let record = Denied {
            destination: RecordedDestination::Endpoint(asked.endpoint()).into(),
            verdict: if failed {
                FAILED
            } else {
                Verdict::Deny.as_str()
            }
            .into(),
            why: format!("{why} ({})", asked.kind).into(),
            count: count.into(),
            pid: pid.into(),
            comm: process.comm.into(),
            exe: process.exe.into(),
            searched: if searched { true.into() } else { Field::Absent },
            ..Denied::default()
        };
        let entry = LogEntry::of(ids::session(asked.session), owner, record);
        self.recorder.note(entry.admitted(admitted));
    }
}

impl Resolver {
    pub(super) fn answer_question(&mut self, number: Number, yes: bool) {
        self.say(ToResolver::Answer { number, yes });
    }
}
