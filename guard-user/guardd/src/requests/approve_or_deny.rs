//! An approver's yes or no to a request: `State::approve` and `State::deny`. A no, and a yes to an HTTP request or statement, are
//! written to the audit log and synced before they take effect. A yes about connections is written (`answered`), then its holes are
//! opened in the kernel and written (`hole-open`), and the log is synced before the caller hears; else none stays open.
//!
//! A yes about connections becomes a `CheckedHole`, which is checked against the policies, and then holes (`holes/opening.rs`). A
//! yes to an HTTP request or SQL statement opens a hole (`proxy/approve.rs`), and so does one to a question for a name
//! (`resolver/approve.rs`). What somebody signed elsewhere comes here by way of `signed_answers/`, once that has checked it.

use guard_common::{BootTime, SessionId, Verdict};
use guard_datapath::Datapath;
use guard_policy::{PortSpec, Prefix};
use guard_proto::{
    self as proto, HoleTerms,
    record::{Answered, Field},
};
use guard_sys::clock;
use jiff::Zoned;

use crate::{
    changes::Change,
    control::{answering::Answering, auth::Approver, failure::CallError, ids},
    holds::refuse_in_kernel,
    holes::checked::{self, CheckedHole},
    policies::Policies,
    proxy::approve::{Widening, no_http},
    record::audit::LogEntry,
    requests::{
        Pending, RequestKey, Requests,
        bursts::{self, Burst, BurstExtent},
        given::{AnsweredRequest, HoleCoverage, OpenedByYes, PersonsAnswer, YesOrNo},
        questions::NameBurst,
        shown,
    },
    sessions::Sessions,
    state::State,
    times::after,
};

/// A request that an approver answers, and the id by which they called it: its own, or that of one of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CalledRequest<'a> {
    /// The id.
    pub(crate) id: &'a str,
    /// The request.
    pub(crate) asked: &'a Pending,
}

/// The ids that an answer answers: first the one of its record, then those of its parts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AnsweredIds<'a> {
    /// The id by which the approver called the request.
    pub(crate) called: &'a str,
    pub(crate) all: &'a [String],
}

impl<'a> AnsweredIds<'a> {
    /// The id of the record.
    pub(crate) fn first(self) -> &'a str {
        &self.all[0]
    }

    pub(crate) fn parts(self) -> &'a [String] {
        &self.all[1..]
    }

    /// The id by which the approver called the request, if the record has another.
    pub(crate) fn called_otherwise(self) -> Option<&'a str> {
        (self.called != self.first()).then_some(self.called)
    }
}

impl State {
    /// Answers a request with yes.
    ///
    /// # Errors
    ///
    /// `NotFound`, or why no hole can be opened; then the request still waits.
    pub(crate) fn approve(
        &mut self,
        by: &Answering,
        id: &str,
        widening: &Widening,
        extent: BurstExtent,
        terms: &HoleTerms,
    ) -> Result<proto::HolesReply, CallError> {
        let asked = self.requests.asked_of(by.who, id)?;
        let called = CalledRequest { id, asked: &asked };
        if asked.key.http.is_some() {
            if !extent.is_none() {
                return Err(bursts::no_burst(id));
            }
            if terms.read_only {
                return Err(no_read(id));
            }
            return self.approve_http(by, called, widening, terms);
        }
        if !widening.is_none() {
            return Err(no_http(id));
        }
        if asked.key.question.is_some() {
            return self.approve_question(by, called, extent, terms);
        }
        if terms.requests.is_some() {
            return Err(checked::no_requests());
        }
        self.approve_connections(by, called, extent, terms)
    }

    /// The same for a request about connections.
    fn approve_connections(
        &mut self,
        by: &Answering,
        CalledRequest { id: called, asked }: CalledRequest<'_>,
        extent: BurstExtent,
        terms: &HoleTerms,
    ) -> Result<proto::HolesReply, CallError> {
        let asked = &asked.clone().alone(called);
        let key = &asked.key;
        let prefixes = match &asked.burst {
            Some(burst) => self.requests.chosen(asked, burst, called, extent)?,
            None if extent.prefix => return Err(bursts::no_burst(called)),
            None => vec![Prefix::host(key.destination)],
        };
        let left = asked.burst.as_ref();
        let left = left.and_then(|burst| burst.without(&prefixes));
        let new = left.as_ref().map(|_| self.datapath.next_request());
        let new = new.transpose()?.map(|number| format!("r{number}"));
        let answered = answered(asked, called, &prefixes);
        let checked = checked_hole(&self.sessions, &self.policies, asked, &prefixes, terms)?;
        let checked = CheckedHole {
            name: self.name_opened(by, asked, extent),
            ..checked
        };
        let reads_alone = (checked.read_only && asked.shown.held).then(|| {
            let ports = [asked.key.ports()];
            held_ends(&everything(checked.session, &prefixes, &ports))
        });
        let ids = AnsweredIds {
            called,
            all: &answered,
        };
        self.write_yes(by, asked, ids, &checked)?;
        let reason = asked.shown.note.clone();
        let mut opened = self.open_all(by, checked, reason, Some(&answered[0]))?;
        opened.warnings.extend(left.as_ref().map(left_out));
        opened.warnings.extend(reads_alone);
        self.count_yes(by, asked, &answered);
        self.note_yes(by, asked, &answered[0], &opened);
        if by.signed.is_none() {
            self.requests.note_choice(by.who, &asked.shown, terms);
        }
        match new {
            Some(new) => self.requests.take_answered(called, &prefixes, new),
            None => drop(self.requests.take_those(|_, id| id == asked.shown.id)),
        }
        self.apply(Change::Answers);
        Ok(opened)
    }

    /// The name whose addresses a yes opens, if it does so.
    fn name_opened(&self, by: &Answering, asked: &Pending, extent: BurstExtent) -> Option<String> {
        match &by.signed {
            // A signature is for what its question shows: that address.
            Some(_) => None,
            None => self.named_of(asked, extent),
        }
    }

    /// Counts a yes, and keeps whose it was.
    pub(crate) fn count_yes(&mut self, by: &Answering, asked: &Pending, answered: &[String]) {
        self.recorder
            .count_answer("answers.yes", asked.shown.asked_at);
        let name = self.machine.name_of(by);
        self.requests
            .note_answers(&name, asked.owner, answered, "yes");
    }

    /// Writes a yes to the audit log, with room left for what it opens.
    fn write_yes(
        &mut self,
        by: &Answering,
        asked: &Pending,
        ids: AnsweredIds<'_>,
        checked: &CheckedHole,
    ) -> Result<(), CallError> {
        let by_whom = self.machine.answered_by(by);
        let record = Answered {
            count: tried_by_now(&self.datapath, &asked.key),
            ..yes(by_whom, asked, ids, checked)
        };
        self.recorder.reserve()?;
        let entry = LogEntry::of(ids::session(checked.session), checked.owner, record);
        Ok(self.recorder.write(entry)?)
    }

    /// Notes what a yes has opened, for `guard why`.
    fn note_yes(
        &mut self,
        by: &Answering,
        asked: &Pending,
        request: &str,
        holes: &proto::HolesReply,
    ) {
        let opened = holes.holes.iter().filter_map(|hole| {
            Some(OpenedByYes {
                hole: ids::parse_hole(&hole.id).ok()?,
                covers: hole
                    .destination
                    .parse()
                    .map_or(HoleCoverage::Asked, HoleCoverage::Prefix),
                ended: None,
            })
        });
        let said = YesOrNo::Yes(opened.collect());
        let key = asked.key.clone();
        let request = AnsweredRequest::of(asked, request, key, &asked.shown);
        self.note_given(by, asked.key.session, said, Some(request));
    }

    /// Notes what a person has said, for `guard why`; `request`: to which request.
    pub(crate) fn note_given(
        &mut self,
        by: &Answering,
        session: SessionId,
        said: YesOrNo,
        request: Option<AnsweredRequest>,
    ) {
        // Without the kernel's word nothing is told of it; of what is sent through a connection it has none.
        let counts = request
            .as_ref()
            .is_none_or(|request| request.key.is_connection());
        let tried = counts.then(|| self.datapath.attempts(session));
        let tried = tried.and_then(Result::ok).unwrap_or_default().into_iter();
        self.requests.given.note(PersonsAnswer {
            session,
            by: self.machine.name_of(by),
            at: clock::now(),
            tried: tried.map(|(key, tried)| (key, tried.count)).collect(),
            held: request.as_ref().is_some_and(|request| request.shown.held),
            request,
            said,
        });
    }

    /// The name that a yes opens, whatever its addresses become: the one that the session was told of that very address by, where the
    /// person was shown that it opens, and where it still does.
    fn named_of(&self, asked: &Pending, extent: BurstExtent) -> Option<String> {
        let told = asked.shown.named.as_ref();
        let told = told.filter(|_| asked.shown.opens_name && asked.burst.is_none())?;
        (!extent.address && self.opens_its_name(asked)).then(|| told.name.clone())
    }

    /// Whether a yes would open the name that a request's session was told of its address by.
    fn opens_its_name(&self, asked: &Pending) -> bool {
        let key = &asked.key;
        let to = [Prefix::host(key.destination)];
        let told = asked.shown.named.as_ref();
        let names = self.names_to_open();
        told.is_some_and(|told| names.opens_name(key.session, &told.name, &to, &[key.ports()]))
    }

    /// Shows that a yes opens the address alone, where it opens the name no more. What was not shown to open a name never does: somebody may
    /// have read it so.
    pub(crate) fn review_names_shown(&mut self) {
        let pending = self.requests.pending().iter();
        let shut = pending.filter(|one| one.shown.opens_name && !self.opens_its_name(one));
        let shut: Vec<_> = shut.map(|one| one.shown.id.clone()).collect();
        for id in shut {
            self.requests.show_address_alone(&id);
        }
    }

    /// Answers a request with no.
    ///
    /// # Errors
    ///
    /// `NotFound`, or that the answer cannot be written down; then the request still waits.
    pub(crate) fn deny(
        &mut self,
        by: &Answering,
        id: &str,
        seconds: Option<f64>,
    ) -> Result<proto::requests::Denied, CallError> {
        let asked = self.requests.asked_of(by.who, id)?;
        let time = checked::term(seconds)?;
        let prefixes: Vec<_> = asked.burst.iter().map(Burst::prefix).collect();
        let with = self.requests.refused_with(&asked, clock::now());
        let mut answered = refused(&asked, &prefixes);
        answered.extend(with.iter().map(|one| one.shown.id.clone()));
        let ids = AnsweredIds {
            called: id,
            all: &answered,
        };
        let record = Answered {
            seconds: time.as_secs_f64().into(),
            count: tried_by_now(&self.datapath, &asked.key),
            ..no(self.machine.answered_by(by), &asked, ids)
        };
        let entry = LogEntry::of(&asked.shown.session, asked.owner, record);
        self.recorder.write(entry)?;
        self.recorder.sync()?;
        let name = self.machine.name_of(by);
        self.requests
            .note_answers(&name, asked.owner, &answered, "no");
        if self.requests.take(id).is_none() {
            return Err(ids::no_request(id));
        }
        self.recorder
            .count_answer("answers.no", asked.shown.asked_at);
        let until = after(clock::now(), time);
        let key = asked.key.clone();
        let mut requests = Vec::new();
        for one in std::iter::once(asked).chain(with) {
            self.requests.take(&one.shown.id);
            self.keep_no(by, &one, until);
            requests.push(one.shown);
        }
        self.apply(Change::Answers);
        Ok(proto::requests::Denied {
            requests,
            until: Some(clock::Clocks::read().calendar(until)),
            below: self.requests.refused_zone(&key, clock::now()),
        })
    }

    /// Keeps a person's no until that time, in the kernel too.
    fn keep_no(&mut self, by: &Answering, asked: &Pending, until: BootTime) {
        for (key, _) in asked.each() {
            refuse_in_kernel(&mut self.datapath, key, until);
        }
        for to in asked.burst.iter().flat_map(Burst::addresses) {
            refuse_in_kernel(&mut self.datapath, &asked.key.at(to), until);
        }
        // The no holds for all sessions inside the same outermost one, or the next session would ask again.
        let session = asked.key.session;
        let outermost = Some(self.sessions.outermost_of(session)).filter(|outer| *outer != session);
        for session in std::iter::once(session).chain(outermost) {
            for (key, shown) in asked.each() {
                let key = match &asked.names {
                    Some(names) => RequestKey::of_name(session, &names.pattern()),
                    None => key.of(session),
                };
                let burst = asked.burst.clone();
                let prefixes = burst.iter().map(Burst::prefix).collect();
                let request = AnsweredRequest::of(asked, &shown.id, key.clone(), shown);
                self.requests.refuse(key, burst, shown.clone(), until);
                let no = YesOrNo::No { prefixes, until };
                self.note_given(by, session, no, Some(request));
            }
        }
    }
}

/// How often connections there had been refused or held by now, for the audit log.
fn tried_by_now(datapath: &Datapath, key: &RequestKey) -> Field<u64> {
    if !key.is_connection() {
        return Field::Absent;
    }
    let attempts = datapath.attempts(key.session).unwrap_or_default();
    let its = attempts
        .iter()
        .filter(|(attempt, _)| key.is_tried_by(attempt));
    its.map(|(_, tried)| tried.count).sum::<u64>().into()
}

impl Requests {
    /// The request with that id, if `who` may answer it.
    ///
    /// # Errors
    ///
    /// `NotFound`, with the approver who was faster, if there was one.
    pub(super) fn asked_of(&self, who: Approver, id: &str) -> Result<Pending, CallError> {
        let asked = self.get(id).filter(|one| who.answers_for(one.owner));
        asked.cloned().ok_or_else(|| self.no_request(who, id))
    }

    /// The error if the request no longer waits; names the approver who was faster.
    fn no_request(&self, who: Approver, id: &str) -> CallError {
        match self.answer_to(id, |owner| who.answers_for(owner)) {
            Some(how) => CallError::not_found(
                format!("{id} waits no more"),
                how,
                "guard log shows all answers, guard holes what is open",
            ),
            None => ids::no_request(id),
        }
    }

    /// Keeps a person's no to a request, until that time.
    pub(crate) fn refuse(
        &mut self,
        key: RequestKey,
        burst: Option<Burst>,
        shown: proto::Request,
        until: BootTime,
    ) {
        match burst {
            Some(burst) => self.note_no_to_all(key, burst, shown, until),
            None => self.note_no(key, shown, until),
        }
    }

    /// What a yes to a burst opens.
    pub(super) fn chosen(
        &self,
        asked: &Pending,
        burst: &Burst,
        called: &str,
        extent: BurstExtent,
    ) -> Result<Vec<Prefix>, CallError> {
        let (own, prefix) = (&asked.shown.id, burst.prefix());
        let chosen = extent.of(burst, own, called)?;
        let now = clock::now();
        if extent.prefix && self.has_refused_in(&asked.key, &prefix, now) {
            let (ports, session) = (asked.key.ports(), asked.key.session);
            return Err(bursts::has_refused(&prefix, ports, own, session));
        }
        Ok(chosen)
    }

    /// Keeps an answer under each of a request's ids.
    fn note_answers(&mut self, by: &str, owner: u32, ids: &[String], answer: &str) {
        let [id, parts @ ..] = ids else { return };
        for part in parts {
            let answer = format!("{answer} as a part of {id}");
            self.answered_by(by, part, owner, &answer);
        }
        self.answered_by(by, id, owner, answer);
    }

    /// Keeps that approver's answer, for approvers who come later.
    pub(crate) fn answered_by(&mut self, by: &str, id: &str, owner: u32, answer: &str) {
        let by = proto::requests::who(by);
        // As `guard` tells people times; the reader may be elsewhere.
        let at = Zoned::now().strftime("%F %T %Z");
        let how = format!("{by} answered it with {answer} at {at}");
        self.note_answer(id, owner, how);
    }
}

/// The hole that a yes opens. It overrides a `confirm` in the chain, but not a `read-only`: else a nested session could remove
/// that by a `confirm` of its own. Nor does it open more than reads where a person was shown one.
fn checked_hole(
    sessions: &Sessions,
    policies: &Policies,
    asked: &Pending,
    prefixes: &[Prefix],
    terms: &HoleTerms,
) -> Result<CheckedHole, CallError> {
    let session = asked.key.session;
    let ports = [asked.key.ports()];
    let checked_for = |terms: &HoleTerms| {
        let (prefixes, ports) = (prefixes.to_vec(), ports.to_vec());
        CheckedHole::of(sessions, policies, session, prefixes, ports, terms)
    };
    let checked = checked_for(terms)?;
    // What a session knows an address by changes without another policy: its names end, and it asks for more of them.
    let reads_alone = checked.can_be_read || super::opens_reads_alone(&asked.shown);
    if terms.read_only || !reads_alone {
        return Ok(checked);
    }
    let reads = HoleTerms {
        read_only: true,
        ..*terms
    };
    let everything = everything(session, prefixes, &ports);
    let mut checked = checked_for(&reads).map_err(|refusal| only_reads(refusal, &everything))?;
    checked.warnings.push(format!(
        "{} says read-only there, and that stays: reads pass, and what changes something is asked about; to open \
         everything: {everything}",
        who_reads(&asked.shown)
    ));
    Ok(checked)
}

/// The warning that a held connection ends where reads alone are opened.
fn held_ends(everything: &str) -> String {
    format!(
        "the connection that waited ends: requests are judged of those alone that begin from now on. What connects again may read \
         over HTTP, and do nothing else; to open everything: {everything}"
    )
}

/// The `guard open` command that opens all of it, if no policy denies it.
fn everything(session: SessionId, prefixes: &[Prefix], ports: &[PortSpec]) -> String {
    let to = prefixes.first().map(ToString::to_string);
    let ports: String = ports
        .iter()
        .map(|spec| format!(" --ports {spec}"))
        .collect();
    format!(
        "guard open {}{ports} --session {}",
        to.unwrap_or_default(),
        ids::session(session)
    )
}

/// The policy that says `read-only`.
fn who_reads(shown: &proto::Request) -> String {
    let says = |link: &&proto::requests::ChainLink| link.verdict == Verdict::ReadOnly.as_str();
    let link = shown.chain.iter().find(says);
    link.map_or_else(
        || "a policy".to_owned(),
        |link| format!("the policy of {}", link.session),
    )
}

/// The error if no hole for reads is possible there.
fn only_reads(refusal: CallError, everything: &str) -> CallError {
    let failure = refusal.failure;
    CallError::refused(
        failure.what,
        format!(
            "a policy says read-only there, which a yes leaves as it is; {}",
            failure.why
        ),
        format!("open everything, if you mean that: {everything}"),
    )
}

/// The audit record of a yes to a request about connections, under one of the ids that it answers.
fn yes(
    by_whom: Answered,
    asked: &Pending,
    ids: AnsweredIds<'_>,
    checked: &CheckedHole,
) -> Answered {
    let is_burst = asked.burst.is_some();
    let opens = is_burst.then(|| shown_prefixes(&checked.prefixes));
    Answered {
        request: ids.first().into(),
        called: ids.called_otherwise().into(),
        parts: is_burst.then(|| ids.parts().to_vec()).into(),
        answer: "yes".into(),
        opens: opens.into(),
        seconds: checked.time.as_secs_f64().into(),
        connections: checked.connections.map(u64::from).into(),
        bytes: checked.bytes.into(),
        read_only: checked.read_only.then_some(true).into(),
        shown: shown::as_shown(&asked.shown).into(),
        ..by_whom
    }
}

/// The audit record of a no to a request, called by that id, and to others with it.
fn no(by_whom: Answered, asked: &Pending, ids: AnsweredIds<'_>) -> Answered {
    let prefixes: Vec<_> = asked.burst.iter().map(Burst::prefix).collect();
    let refuses = match &asked.names {
        Some(names) => Some(vec![names.pattern()]),
        None => asked.burst.is_some().then(|| shown_prefixes(&prefixes)),
    };
    let parts = ids.parts();
    Answered {
        request: ids.first().into(),
        called: ids.called_otherwise().into(),
        parts: (!parts.is_empty()).then(|| parts.to_vec()).into(),
        answer: "no".into(),
        refuses: refuses.into(),
        shown: shown::as_shown(&asked.shown).into(),
        ..by_whom
    }
}

/// The ids that an answer for these prefixes answers: first the one of the record, then those of its parts. The first is the
/// request's own, unless the request stays pending for its own address.
fn answered(asked: &Pending, called: &str, prefixes: &[Prefix]) -> Vec<String> {
    let own = asked.shown.id.as_str();
    let Some(burst) = &asked.burst else {
        let parts = asked.each().map(|(_, shown)| shown.id.as_str());
        let parts = parts.filter(|id| *id != own);
        return std::iter::once(own)
            .chain(parts)
            .map(str::to_owned)
            .collect();
    };
    own_first(own, called, burst.ids_in(prefixes))
}

/// The ids that a no answers: all of them, by whichever the request was named.
fn refused(asked: &Pending, prefixes: &[Prefix]) -> Vec<String> {
    let own = asked.shown.id.as_str();
    let mut ids = answered(asked, own, prefixes);
    let names = asked.names.iter().flat_map(NameBurst::ids);
    ids.extend(names.filter(|id| *id != own).map(str::to_owned));
    ids
}

/// The ids that an answer answers, in the order of its record: the request's own, or `called` if the request stays pending for its
/// own part, and then the others.
pub(crate) fn own_first<'a>(
    own: &'a str,
    called: &'a str,
    ids: impl Iterator<Item = &'a str>,
) -> Vec<String> {
    let ids: Vec<_> = ids.collect();
    let first = if ids.contains(&own) { own } else { called };
    let parts = ids.into_iter().filter(|id| *id != first);
    std::iter::once(first)
        .chain(parts)
        .map(str::to_owned)
        .collect()
}

fn shown_prefixes(prefixes: &[Prefix]) -> Vec<String> {
    prefixes.iter().map(ToString::to_string).collect()
}

/// The warning that a yes was not for all that was tried.
fn left_out(left: &Burst) -> String {
    let (count, prefix) = (left.count(), left.prefix());
    format!(
        "{count} more of the addresses of {prefix} that were tried stay closed: guard pending asks about them"
    )
}

fn no_read(id: &str) -> CallError {
    CallError::invalid(
        format!("cannot answer {id} with reads only"),
        "it is about an HTTP request that changes something: reads pass there as it is",
        format!("guard approve {id}, or guard deny {id}"),
    )
}
