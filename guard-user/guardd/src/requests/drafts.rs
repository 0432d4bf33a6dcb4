//! How a refusal becomes a request, or one more attempt of a request.
//!
//! In this order: `ask` judges it by each policy of the session and drafts what people are shown; `put` merges it with what is pending;
//! `note_new` merges a new one into a burst, and writes it to the audit log.

use guard_common::{BootTime, SessionId, Verdict};
use guard_datapath::Datapath;
use guard_proto::{
    self as proto, Endpoint,
    destination::Listener,
    record::{self, Field, Gathered, RecordedDestination},
};
use guard_sys::clock::Clocks;

use super::{
    Noted, Pending, RequestKey, Requests, hosts, questions::AskingProgram, reason, shown::for_log,
    tries,
};
use crate::{
    control::{failure::CallError, ids},
    machine::Machine,
    policies::{ChainVerdict, NameAsker, Policies, UsedName},
    process::SeenProcess,
    quota::Account,
    record::{Recorder, audit::LogEntry},
    sessions::{Session, Sessions},
};

/// What a program says when it asks by itself; nothing where its connection was refused or held.
#[derive(Clone, Debug, Default)]
pub(crate) struct AskersWords<'a> {
    /// For the approver.
    pub(crate) note: Option<String>,
    /// The name by which it wants to go there.
    pub(crate) typed: Option<&'a str>,
}

/// Numbers of requests.
pub(crate) trait RequestNumbers {
    /// The number of a new request; never given twice.
    ///
    /// # Errors
    ///
    /// If the kernel's counter of ids cannot be read.
    fn next_request(&mut self) -> Result<u32, CallError>;
}

impl RequestNumbers for Datapath {
    fn next_request(&mut self) -> Result<u32, CallError> {
        Ok(Self::next_request(self)?)
    }
}

/// What it takes to make a request.
#[derive(Debug)]
pub(crate) struct Drafting<'s, N = Datapath> {
    /// The numbers of new requests.
    pub(crate) numbers: &'s mut N,
    /// Whose they are.
    pub(crate) sessions: &'s Sessions,
    /// What stops them.
    pub(crate) policies: &'s Policies,
    /// Those that are pending.
    pub(crate) requests: &'s mut Requests,
    /// The names of users, and the machine's networks.
    pub(crate) machine: &'s mut Machine,
    /// The audit log.
    pub(crate) recorder: &'s mut Recorder,
}

impl<N: RequestNumbers> Drafting<'_, N> {
    /// Makes a request, or counts one more attempt for the one that is pending, and writes a new one to the audit log. `listener`: what
    /// listens there.
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
        listener: Option<Listener>,
    ) -> Result<Noted, CallError> {
        let (sessions, policies) = (self.sessions, self.policies);
        let Some(session) = sessions.live(key.session) else {
            return Err(ids::no_session(&ids::session(key.session)));
        };
        let mut each = each_says(policies, session, &key)?;
        let of_host = hosts::judged(policies, &session.chain, &key);
        let besides = hosts::put_first(&mut each, of_host);
        if self.requests.is_refused_around(session, &key, at) {
            return Ok(Noted::SaidNo);
        }
        let owner = session.account();
        let judged = verdict_to_show(&each, own_layers(session, &each));
        let SeenProcess { pid, process } = asker;
        let who = NameAsker::of(pid, process.comm.as_deref());
        let request = key.http.as_deref().map(|http| &http.request);
        let shown = request.and_then(hosts::shown_name);
        let used = self.name_used(session, &key, judged, &who, words.typed.or(shown));
        let (named, beware) = (used.told, used.beware);
        let is_clear = request.is_some_and(|http| http.scheme == "http");
        let host = named.as_ref().map(|named| named.name.clone());
        // The name in TLS is no guess.
        let host = host.or_else(|| shown.filter(|_| !is_clear).map(str::to_owned));
        let host = host.or_else(|| policies.host_of(key.session, key.destination, judged));
        let is_known = |name: &&str| {
            host.as_deref()
                .is_some_and(|host| host.eq_ignore_ascii_case(name))
        };
        let unknown = shown.filter(|name| is_clear && !is_known(name));
        let unknown =
            unknown.map(|name| hosts::as_it_says(name, &key.destination.to_ip().to_string()));
        let strictest = each.iter().max_by_key(|one| one.verdict.strictness());
        let strictest = strictest.unwrap_or(judged).verdict;
        let said = words.note.as_deref().and_then(|note| {
            let rule = judged.rule.map(|rule| rule.name.as_str());
            reason::warning(note, &key.endpoint(host.clone()), rule)
        });
        let draft = proto::Request {
            verdict: strictest.as_str().to_owned(),
            chain: chain(session, &each),
            own_policy: own_policy(session, &each, judged),
            beside: beside(session, &each, &besides),
            named,
            opens_name: used.is_opened,
            listener,
            user: self.machine.user(owner.uid()),
            pid,
            comm: process.comm,
            exe: process.exe,
            command: process.command,
            note: words.note,
            ..draft(&key, at, host, judged)
        };
        let warnings = said
            .into_iter()
            .chain(process.warning)
            .chain(beware)
            .chain(unknown)
            .collect();
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
        let (policies, to) = (self.policies, key.destination);
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
    ///
    /// # Errors
    ///
    /// If the kernel's counter of ids cannot be read.
    pub(crate) fn put(
        &mut self,
        key: RequestKey,
        owner: Account,
        at: BootTime,
        draft: proto::Request,
        warnings: Vec<String>,
    ) -> Result<Noted, CallError> {
        let asker = AskingProgram::of(&draft);
        let ways = match key.question {
            Some(_) => 0,
            None => self.requests.note_way(&key, asker.comm.as_deref(), at),
        };
        let numbers = &mut *self.numbers;
        let asked = key.clone();
        let noted = self.requests.note(key, owner, at, || {
            let id = format!("r{}", numbers.next_request()?);
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
            self.recorder.count("http_requests.asked");
        }
        self.recorder.count("requests");
        let new = self.requests.get(id).map(|one| one.clone().alone(id));
        let session = self.sessions.live(asked.session);
        let (requests, policies) = (&mut *self.requests, self.policies);
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
        let (session, recorder) = (asked.key.session, &mut *self.recorder);
        let Some(admitted) = self.sessions.admit(recorder, session, at) else {
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
            listener: shown.listener.clone().map_or(Field::Absent, Field::Is),
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
        listener: None,
        code: None,
        own_policy: None,
        alike: None,
        beside: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, net::IpAddr, path::Path};

    use guard_common::Protocol;

    use super::*;
    use crate::{machine::machine, policies::of_texts, record::recorder, sessions::none_but};

    /// The numbers from 1 on.
    #[derive(Debug, Default)]
    struct Counted(u32);

    impl RequestNumbers for Counted {
        fn next_request(&mut self) -> Result<u32, CallError> {
            self.0 += 1;
            Ok(self.0)
        }
    }

    fn key(session: u32, address: [u8; 4]) -> RequestKey {
        let to = IpAddr::from(address).into();
        RequestKey::new(SessionId(session), to, Protocol::TCP, 5432)
    }

    #[tokio::test]
    async fn a_refusal_makes_one_request_which_is_written_down_once() -> Result<(), CallError> {
        let (mut recorder, _dir) = recorder();
        let log = recorder.audit().path().to_owned();
        let text = "version = 1\nname = \"lab\"\ndefault = \"deny\"\n\
            [[rule]]\nname = \"web\"\nto = [\"192.0.2.0/24\"]\naction = \"confirm\"\n";
        let mut drafting = Drafting {
            numbers: &mut Counted::default(),
            sessions: &none_but(&[(1, None)]),
            policies: &of_texts(&[text.to_owned()]),
            requests: &mut Requests::without_files(10),
            machine: &mut machine(Path::new("/nonexistent")),
            recorder: &mut recorder,
        };
        let mut ask = |session: u32| {
            let (nobody, nothing) = (SeenProcess::default(), AskersWords::default());
            let key = key(session, [192, 0, 2, 1]);
            drafting.ask(key, BootTime(1), nobody, nothing, None)
        };
        assert_eq!(ask(1)?, Noted::New("r1".to_owned()));
        assert_eq!(ask(1)?, Noted::Again("r1".to_owned()));
        assert!(ask(9).is_err(), "there is no such session");
        let asked = drafting.requests.get("r1").map(|one| &one.shown);
        let said = asked.map(|shown| (shown.policy.as_str(), shown.rule.as_deref()));
        assert_eq!(said, Some(("lab", Some("web"))));
        let written = fs::read_to_string(&log).unwrap_or_default();
        assert_eq!(written.lines().count(), 1, "{written}");
        Ok(())
    }
}
