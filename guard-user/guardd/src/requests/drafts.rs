//! How a refusal becomes a request, or one more attempt of a request.
//!
//! In this order: `ask` judges it by each policy of the session and drafts what people are shown; `put` merges it with what is pending;
//! `note_new` merges a new one into a burst, and writes it to the audit log.

use guard_common::{BootTime, SessionId, Verdict};
use guard_proto::{
    self as proto, Endpoint,
    record::{self, Field, Gathered, RecordedDestination},
};
use guard_sys::clock::Clocks;

use super::{
    Noted, Pending, RequestKey, RequestOwner, hosts, questions::AskingProgram, shown::for_log,
    tries,
};
use crate::{
    control::{failure::CallError, ids},
    policies::{ChainVerdict, NameAsker, Policies, UsedName},
    process::SeenProcess,
    record::audit::LogEntry,
    sessions::Session,
    state::State,
};

/// What a program says when it asks by itself; nothing where its connection was refused or held.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskersWords<'a> {
    /// For the approver.
    pub(crate) note: Option<String>,
    /// The name by which it wants to go there.
    pub(crate) typed: Option<&'a str>,
}

impl State {
    /// Makes a request, or counts one more attempt for the one that is pending, and writes a new one to the audit log.
    ///
    /// # Errors
    ///
    /// If the kernel's counter of ids cannot be read.
    pub(crate) fn ask(
        &mut self,
        key: RequestKey,
        at: BootTime,
        asker: SeenProcess,
        words: AskersWords<'_>,
    ) -> Result<Noted, CallError> {
        let Some(session) = self.sessions.live(key.session) else {
            return Err(ids::no_session(&ids::session(key.session)));
        };
        let mut each = each_says(&self.policies, session, &key)?;
        let of_host = hosts::judged(&self.policies, &session.chain, &key);
        let besides = hosts::put_first(&mut each, of_host);
        if self.requests.is_refused_around(session, &key, at) {
            return Ok(Noted::SaidNo);
        }
        let owner = RequestOwner::of(session);
        let judged = verdict_to_show(&each, own_layers(session, &each));
        let SeenProcess { pid, process } = asker;
        let who = NameAsker::of(pid, process.comm.as_deref());
        let used = self.name_used(session, &key, judged, &who, words.typed);
        let (named, beware) = (used.told, used.beware);
        let host = named.as_ref().map(|named| named.name.clone());
        let host = host.or_else(|| self.policies.host_of(key.session, key.destination, judged));
        let strictest = each.iter().max_by_key(|one| one.verdict.strictness());
        let verdict = self
            .relays
            .verdict_at_listener(&key, strictest.unwrap_or(judged));
        let draft = proto::Request {
            verdict: verdict.as_str().to_owned(),
            chain: chain(session, &each),
            own_policy: own_policy(session, &each, judged),
            beside: beside(session, &each, &besides),
            named,
            opens_name: used.is_opened,
            through: self.relays.tried_through(&key).cloned(),
            user: self.machine.user(owner.uid),
            pid,
            comm: process.comm,
            exe: process.exe,
            command: process.command,
            note: words.note,
            ..draft(&key, at, host, judged)
        };
        let warnings = process.warning.into_iter().chain(beware).collect();
        self.put(key, owner, at, draft, warnings)
    }

    /// By which name the session is likely to have gone there, or the one that was `typed`; and whether a yes opens it.
    fn name_used(
        &self,
        session: &Session,
        key: &RequestKey,
        judged: &ChainVerdict<'_>,
        who: &NameAsker,
        typed: Option<&str>,
    ) -> UsedName {
        let (policies, to) = (&self.policies, key.destination);
        let used = match typed {
            Some(typed) => policies.typed_name(key.session, to, judged.rule, typed),
            None => policies.used_name(key.session, to, judged.rule, who),
        };
        used.opened_where(|name| {
            let now = policies.environment(self.machine.host());
            let (subject, ports) = (session.subject(), [key.ports()]);
            key.is_connection() && policies.opens_name(subject, to, &ports, name, &now)
        })
    }

    /// Makes a request of a draft, or counts one more attempt for the one that is pending.
    pub(crate) fn put(
        &mut self,
        key: RequestKey,
        owner: RequestOwner,
        at: BootTime,
        draft: proto::Request,
        warnings: Vec<String>,
    ) -> Result<Noted, CallError> {
        let asker = AskingProgram::of(&draft);
        let ways = match key.question {
            Some(_) => 0,
            None => self.requests.note_way(&key, asker.comm.as_deref(), at),
        };
        let datapath = &mut self.datapath;
        let asked = key.clone();
        let noted = self.requests.note(key, owner, at, || {
            let id = format!("r{}", datapath.next_request()?);
            Ok::<_, CallError>(proto::Request { id, ..draft })
        })?;
        if let Noted::New(id) | Noted::Again(id) = &noted {
            let ways = tries::warning(ways);
            self.requests.note_attempt(id, asker, ways, warnings);
        }
        match &noted {
            Noted::New(id) => Ok(self.note_new(id, &asked, at).unwrap_or(noted)),
            _ => Ok(noted),
        }
    }

    /// Counts a new request and writes it to the audit log. If it became part of a burst, returns the burst's id.
    fn note_new(&mut self, id: &str, asked: &RequestKey, at: BootTime) -> Option<Noted> {
        if asked.http.is_some() {
            self.recorder.counters().http("asked");
        }
        self.recorder.counters().asked();
        let new = self.requests.get(id).map(|one| one.clone().alone(id));
        let session = self.sessions.live(asked.session);
        let (requests, policies) = (&mut self.requests, &self.policies);
        let burst = session.and_then(|session| {
            let names = requests.gather_names(asked, at);
            names.or_else(|| requests.gather_around(session, policies, asked, at))
        });
        if let Some(new) = new {
            self.write_request(&new, at, burst.as_ref());
        }
        burst.map(|burst| Noted::Again(burst.request))
    }

    /// Writes a new request to the audit log. `burst`: the burst that it has become part of.
    fn write_request(&mut self, asked: &Pending, at: BootTime, burst: Option<&Gathered>) {
        let Some(admitted) = self.admit(asked.key.session, at) else {
            return;
        };
        let shown = &asked.shown;
        let warnings = Some(&shown.warnings).filter(|some| !some.is_empty());
        let record = record::Request {
            request: shown.id.clone().into(),
            destination: RecordedDestination::Endpoint(shown.destination.clone()).into(),
            rule: shown.rule.clone().into(),
            verdict: shown.verdict.clone().into(),
            pid: shown.pid.into(),
            comm: shown.comm.clone().into(),
            exe: shown.exe.clone().into(),
            warnings: warnings.cloned().into(),
            note: shown.note.clone().into(),
            through: shown.through.clone().into(),
            http: shown.http.as_ref().map(for_log).into(),
            question: shown.question.clone().map_or(Field::Absent, Field::Is),
            burst: burst.cloned().into(),
        };
        let entry = LogEntry::of(&shown.session, asked.owner, record);
        self.recorder.note(entry.admitted(admitted));
    }
}

/// What each policy of a session says of it.
fn each_says<'p>(
    policies: &'p Policies,
    session: &Session,
    key: &RequestKey,
) -> Result<Vec<ChainVerdict<'p>>, CallError> {
    let (to, protocol, port) = (key.destination, key.protocol, key.port);
    let each = policies.judge_each(session.subject(), to, protocol, port);
    let each = each.filter(|each| !each.is_empty());
    each.ok_or_else(|| ids::no_session(&ids::session(key.session)))
}

/// The verdict that an approver is shown, of those of a chain: the outermost policy's that does not allow it, since an inner
/// policy may be the words of the agent that it stops. Where all allow it, the outermost. Of the last `own` policies, which are the
/// outermost session's, a rule that says the same as a default outside of it is shown in its place, but no project's.
fn verdict_to_show<'j, 'p>(each: &'j [ChainVerdict<'p>], own: usize) -> &'j ChainVerdict<'p> {
    let stops = |one: &&ChainVerdict<'_>| one.verdict != Verdict::Allow;
    let outermost = each.iter().rev().find(stops);
    let outermost = outermost.unwrap_or(&each[each.len() - 1]);
    let mut own = each.iter().rev().take(own);
    let says_it = |one: &&ChainVerdict<'_>| one.verdict == outermost.verdict && one.says_more();
    match outermost.rule {
        Some(_) => outermost,
        None => own.find(says_it).unwrap_or(outermost),
    }
}

/// How many of the last verdicts are those of policies of the outermost session, which may be judged by others beside its own.
fn own_layers(session: &Session, each: &[ChainVerdict<'_>]) -> usize {
    let sessions = session.with_those_around().len();
    1 + each.len().saturating_sub(sessions)
}

/// The policy that the outermost session runs under, where another of its layers stops it: a fleet's base.
fn own_policy(
    session: &Session,
    each: &[ChainVerdict<'_>],
    judged: &ChainVerdict<'_>,
) -> Option<String> {
    let own = own_layers(session, each);
    let [of_session, around @ ..] = &each[each.len().saturating_sub(own)..] else {
        return None;
    };
    let name = |one: &ChainVerdict<'_>| one.policy.policy.name.clone();
    let is_around = around.iter().any(|one| name(one) == name(judged));
    let own = name(of_session);
    (is_around && own != name(judged)).then_some(own)
}

/// The verdict of each policy in the chain, the outermost first.
fn chain(session: &Session, each: &[ChainVerdict<'_>]) -> Vec<proto::requests::ChainLink> {
    let sessions = session.with_those_around();
    let own = own_layers(session, each);
    let (inside, outermost) = each.split_at(each.len().saturating_sub(own));
    let outermost = (!outermost.is_empty()).then(|| verdict_to_show(outermost, own));
    let links = sessions
        .into_iter()
        .zip(outermost.into_iter().chain(inside.iter().rev()));
    let link = |(session, judged): (u32, &ChainVerdict<'_>)| link(SessionId(session), judged);
    links.map(link).collect()
}

/// What of the outermost session's policies stops it beside the one that the chain has of them, the outermost first. A fleet's base
/// that asks hides no rule of the machine's own. A project's policy is left out, which an agent may have written: it only narrows, and
/// has no words beside those of others. `besides`: what each says of it by another rule, [`hosts::put_first`].
fn beside(
    session: &Session,
    each: &[ChainVerdict<'_>],
    besides: &[Option<ChainVerdict<'_>>],
) -> Vec<proto::requests::ChainLink> {
    let own = own_layers(session, each);
    let inside = each.len().saturating_sub(own);
    let outermost = &each[inside..];
    let named = verdict_to_show(outermost, own);
    let others = outermost
        .iter()
        .rev()
        .filter(|one| !std::ptr::eq(*one, named));
    let by_others = besides.iter().skip(inside).rev().flatten();
    let stops = others
        .chain(by_others)
        .filter(|one| one.verdict != Verdict::Allow && !one.policy.source.project);
    stops.map(|one| link(session.outermost(), one)).collect()
}

fn link(session: SessionId, judged: &ChainVerdict<'_>) -> proto::requests::ChainLink {
    proto::requests::ChainLink {
        session: ids::session(session),
        policy: judged.policy.policy.name.clone(),
        rule: judged.rule.map(|rule| rule.name.clone()),
        verdict: judged.verdict.as_str().to_owned(),
        reason: judged.reason(),
    }
}

/// A request without its id and its process.
fn draft(
    key: &RequestKey,
    at: BootTime,
    host: Option<String>,
    judged: &ChainVerdict<'_>,
) -> proto::Request {
    let to = key.endpoint(host);
    let policy = judged.policy.policy.name.clone();
    proto::Request {
        rule: judged.rule.map(|rule| rule.name.clone()),
        reason: judged.reason(),
        verdict: judged.verdict.as_str().to_owned(),
        ..blank(key, at, to, policy)
    }
}

/// A request under a policy's default, without its id and its process.
pub(crate) fn blank(
    key: &RequestKey,
    at: BootTime,
    destination: Endpoint,
    policy: String,
) -> proto::Request {
    let at = Clocks::read().calendar(at);
    proto::Request {
        id: String::new(),
        session: ids::session(key.session),
        policy,
        user: String::new(),
        pid: None,
        comm: None,
        exe: None,
        command: Vec::new(),
        destination,
        rule: None,
        reason: None,
        verdict: Verdict::Confirm.as_str().to_owned(),
        chain: Vec::new(),
        held: false,
        asked_at: at,
        last_at: at,
        waits_until: None,
        count: 1,
        programs: Vec::new(),
        warnings: Vec::new(),
        http: key.http.as_ref().map(|http| http.request.clone()),
        question: None,
        named: None,
        opens_name: false,
        note: None,
        burst: None,
        offers: Vec::new(),
        through: None,
        code: None,
        own_policy: None,
        beside: Vec::new(),
    }
}
