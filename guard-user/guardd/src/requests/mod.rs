//! The requests that wait for an approver's answer: one for each session, destination, protocol and port, and one for each HTTP
//! request or SQL statement.
//!
//! In code a [`RequestKey`] is what a request is about, the key by which attempts are merged; a [`Pending`] is a request on the
//! list; a [`StoredRequest`] is its file, which outlives guardd. `events.rs` hears of refusals, which `attempts.rs` has policies
//! judge and `refusals.rs` writes down; `drafts.rs` makes requests of them, `gathering.rs` one of many, `approve_or_deny.rs`
//! takes the answers, and `noes.rs` keeps each no. For `guard why`, `decided.rs` keeps what decided and `given.rs` what
//! approvers said; `recalled.rs` reads both from the audit log.

pub(crate) mod approve_or_deny;
pub(crate) mod attempts;
pub(crate) mod bursts;
pub(crate) mod decided;
pub(crate) mod drafts;
pub(crate) mod events;
pub(crate) mod followers;
mod gathering;
pub(crate) mod given;
pub(crate) mod hosts;
pub(crate) mod key;
mod listed;
pub(crate) mod noes;
pub(crate) mod offers;
pub(crate) mod on_request;
pub(crate) mod pending;
pub(crate) mod questions;
pub(crate) mod reason;
pub(crate) mod recalled;
mod refusals;
pub(crate) mod refused_sockets;
pub(crate) mod series;
mod settled;
pub(crate) mod shown;
pub(crate) mod stored;
pub(crate) mod tries;
pub(crate) mod turns;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    time::Duration,
};

use guard_common::{Address, AttemptKey, BootTime, HoleId, SessionId};
use guard_policy::Prefix;
use guard_proto as proto;
use guard_signed::visible;
use guard_sys::clock::{self, Clocks};
use jiff::{Timestamp, Zoned};

use self::{
    bursts::Burst,
    decided::{Matter, Matters},
    followers::{Followers, Following},
    given::Given,
    noes::{KeptNo, Wide},
    offers::{Choices, LastYes},
    questions::AskingProgram,
    refused_sockets::RefusedSockets,
    series::Series,
    tries::Tries,
};
pub(crate) use self::{
    key::{HttpRequestKey, RequestKey},
    pending::Pending,
    stored::StoredRequest,
};
use crate::{
    control::auth::Approver,
    policies::{NameAsker, Policies, UsedName},
    quota::{Account, Limit, Pace, Quota},
    record::shelf::Shelf,
    sessions::Sessions,
};

/// Most requests of an account. The one without an attempt for longest is dropped for a new one.
pub(crate) const MAX_PER_ACCOUNT: u64 = 64;
/// How long a request without an attempt is kept.
pub(crate) const MAX_AGE: Duration = Duration::from_secs(3600);
/// In nanoseconds.
const SECOND: u64 = 1_000_000_000;
/// Programs that one request names at most.
const MAX_PROGRAMS: usize = 8;
/// Warnings that one request shows at most.
const MAX_WARNINGS: usize = 4;
/// Answers that are kept, so that a later approver learns who was faster.
const MAX_ANSWERED: usize = 256;
/// With so many answers "no" that hold a session asks for nothing more.
const MAX_NOES: usize = 256;

/// The effect of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    /// It made a new request, with this id.
    New(String),
    /// It is part of a pending request, with this id.
    Again(String),
    /// A person said no, and the no still holds.
    SaidNo,
    /// The limit of pending requests, or of noes, is reached.
    Full,
}

/// Owns the requests: those that are pending, the answers, and the followers.
#[derive(Debug)]
pub(crate) struct Requests {
    max: usize,
    version: u64,
    /// Oldest first.
    pending: Vec<Pending>,
    noes: HashMap<RequestKey, KeptNo>,
    wide: Vec<Wide>,
    /// The ids of requests that have grown since their files were written.
    grown: HashSet<String>,
    answered: VecDeque<GivenAnswer>,
    /// What approvers said lately.
    given: Given,
    /// What decided lately.
    decided: Matters,
    /// When this guardd began.
    began: BootTime,
    /// The files of pending requests and of each no; `kept` has the names of those that exist.
    files: Shelf<StoredRequest>,
    kept: HashSet<String>,
    /// The approvers who see a new request at once.
    followers: Followers,
    /// People's last choices.
    choices: Choices,
    /// How destinations were tried lately.
    tries: Tries,
    /// Sockets that were refused lately for how they were connected.
    refused_sockets: RefusedSockets,
}

/// An answer that was given.
#[derive(Clone, Debug)]
struct GivenAnswer {
    id: String,
    owner: u32,
    how: String,
}

impl Requests {
    /// No requests yet, and never more than `max`. People's last choices are read from their files.
    #[must_use]
    pub(crate) fn new(
        max: usize,
        followers: Followers,
        files: Shelf<StoredRequest>,
        choices: Shelf<VecDeque<LastYes>>,
    ) -> Self {
        Self {
            max,
            version: 0,
            pending: Vec::new(),
            noes: HashMap::new(),
            wide: Vec::new(),
            grown: HashSet::new(),
            answered: VecDeque::new(),
            given: Given::default(),
            decided: Matters::default(),
            began: clock::now(),
            files,
            kept: HashSet::new(),
            followers,
            choices: Choices::kept_on(choices),
            tries: Tries::default(),
            refused_sockets: RefusedSockets::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn without_files(max: usize) -> Self {
        let followers = Followers::default();
        Self::new(max, followers, Shelf::nowhere(), Shelf::nowhere())
    }

    /// Adds an approver who sees new requests at once, until what this returns is dropped.
    #[must_use]
    pub(crate) fn follow(&self, who: Approver) -> Following {
        self.followers.join(who)
    }

    /// What approvers said lately.
    pub(crate) fn given(&self) -> &Given {
        &self.given
    }

    /// Notes that a hole of a yes has ended, and how many connections or requests it let through.
    pub(crate) fn note_end(&mut self, hole: HoleId, why: &str, passed: u64) {
        self.given.note_end(hole, why, passed);
    }

    /// When this guardd began.
    pub(crate) fn began(&self) -> BootTime {
        self.began
    }

    /// Whether an approver for that user follows, and so would see a new request at once.
    #[must_use]
    pub(crate) fn is_followed(&self, owner: u32) -> bool {
        self.followers.any_for(owner)
    }

    /// What an earlier guardd has kept, by the names of its files.
    #[must_use]
    pub(crate) fn kept(&self) -> Vec<(String, StoredRequest)> {
        self.files.all()
    }

    /// Notes that a request has a file.
    pub(crate) fn note_file(&mut self, key: String) {
        self.kept.insert(key);
    }

    /// A number that rises with each change of the pending requests, except of the time of their last attempt.
    #[must_use]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Has followers look again: a question was made, and may have a code.
    pub(crate) fn note_signed_question(&mut self) {
        self.version += 1;
    }

    /// Adds an attempt to its pending request, or makes a new one; `ask` makes what people see of a new one.
    ///
    /// # Errors
    ///
    /// Those of `ask`; nothing has changed then.
    pub(crate) fn note<E>(
        &mut self,
        key: RequestKey,
        owner: Account,
        now: BootTime,
        ask: impl FnOnce() -> Result<proto::Request, E>,
    ) -> Result<Noted, E> {
        if self.is_refused(&key, now) {
            return Ok(Noted::SaidNo);
        }
        if let Some(known) = self.find_mut(&key) {
            let is_later = known.last.0 / SECOND != now.0 / SECOND;
            known.last = now;
            known.tried += 1;
            // So that the next guardd knows when; not for each of a loop's.
            let id = is_later.then(|| known.shown.id.clone());
            self.grown.extend(id);
        }
        if let Some(id) = self.join(&key) {
            return Ok(Noted::Again(id));
        }
        if self.has_all_noes(key.session, now) || !self.has_room(owner) {
            return Ok(Noted::Full);
        }
        let shown = ask()?;
        let id = shown.id.clone();
        self.version += 1;
        let mut pending = self.pending.iter_mut();
        if let Some(known) = pending.find(|one| one.is_followed_by(&key, &shown, now)) {
            known.follow(key, shown, now);
            return Ok(Noted::New(id));
        }
        self.pending.push(Pending {
            key,
            burst: None,
            names: None,
            series: Series::default(),
            owner: owner.uid(),
            account: owner,
            asked: now,
            last: now,
            tried: 1,
            shown,
        });
        Ok(Noted::New(id))
    }

    /// The id of the pending request with that key. A burst takes in the address.
    pub(crate) fn join(&mut self, key: &RequestKey) -> Option<String> {
        let known = self.find_mut(key)?;
        let id = known.id_for(key).to_owned();
        if known.add(key.destination, None) || known.add_name(key, None, None) {
            self.version += 1;
            self.grown.insert(id.clone());
        }
        Some(id)
    }

    /// Makes room for one more request of an account: of its own the least recently tried one goes that holds no client, where it has as many
    /// as it may. Where all have, the account with most gives way, held or not.
    fn has_room(&mut self, account: Account) -> bool {
        while self.count(|one| one.account == account) >= MAX_PER_ACCOUNT {
            if !self.drop_stalest(|one| one.account == account && !one.shown.held) {
                return false;
            }
        }
        while self.count(|_| true) >= self.max as u64 {
            let Some(other) = self.quota().gives_way_to(account) else {
                return false;
            };
            let is_its = |one: &Pending| one.account == other;
            let is_dropped = self.drop_stalest(|one| is_its(one) && !one.shown.held)
                || self.drop_stalest(is_its);
            if !is_dropped {
                return false;
            }
        }
        true
    }

    fn count(&self, counts: impl Fn(&Pending) -> bool) -> u64 {
        let counted = self.pending.iter().filter(|one| counts(one));
        counted.map(|one| one.count() as u64).sum()
    }

    fn quota(&self) -> Quota {
        let pending = self.pending.iter();
        let counted = pending.map(|one| (one.account, one.count() as u64));
        Quota::counted(
            Limit {
                all: self.max as u64,
                ..Limit::each(Pace::UNLIMITED, Pace::UNLIMITED)
            },
            counted,
        )
    }

    /// Drops the least recently tried one of these.
    fn drop_stalest(&mut self, is_meant: impl Fn(&Pending) -> bool) -> bool {
        let stale = self
            .pending
            .iter()
            .filter(|one| is_meant(one))
            .min_by_key(|one| one.last)
            .map(|one| one.shown.id.clone());
        stale.is_some_and(|id| self.take(&id).is_some())
    }

    /// All pending requests, oldest first.
    #[must_use]
    pub(crate) fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// The pending request with that id, also if that is now part of it.
    #[must_use]
    pub(crate) fn get(&self, id: &str) -> Option<&Pending> {
        self.pending.iter().find(|one| one.is_called(id))
    }

    /// The pending request about that key.
    #[must_use]
    pub(crate) fn find(&self, key: &RequestKey) -> Option<&Pending> {
        self.pending.iter().find(|one| one.is_about(key))
    }

    /// What decided about such attempts when the last of them was refused or held.
    pub(crate) fn decided_about(&self, attempt: &AttemptKey) -> Option<&Matter> {
        let mut of = self.decided.of(attempt.session);
        let found = of.find(|one| one.what == *attempt);
        found.map(|one| &one.details)
    }

    /// Notes an attempt by that program, and returns in how many ways the destination was tried.
    pub(crate) fn note_way(
        &mut self,
        key: &RequestKey,
        program: Option<&str>,
        at: BootTime,
    ) -> usize {
        self.tries.note(key, program, at)
    }

    /// The ids of requests that have grown since the last call.
    pub(crate) fn take_grown(&mut self) -> HashSet<String> {
        std::mem::take(&mut self.grown)
    }

    fn find_mut(&mut self, key: &RequestKey) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|one| one.is_about(key))
    }

    /// Notes an attempt: which program made it, and warns if the destination was tried in many ways, or for what else there is. Shows who asks
    /// by now: what asked first may be over, and its command line must not stand for what another one sends.
    fn note_attempt(
        &mut self,
        id: &str,
        asker: AskingProgram,
        ways: Option<String>,
        warnings: Vec<String>,
    ) {
        let Some(known) = self.pending.iter_mut().find(|one| one.is_called(id)) else {
            return;
        };
        let is_one = known.shown.burst.is_none() && known.names.is_none();
        let shown = known.shown_mut(id);
        let program = asker.comm.clone();
        let mut is_other = false;
        if is_one && asker.pid.is_some() {
            is_other = (&shown.comm, &shown.command) != (&asker.comm, &asker.command);
            asker.put(shown);
        }
        // A warning is not taken back.
        let worst = shown.warnings.iter().filter_map(|one| tries::ways(one));
        if ways.as_deref().and_then(tries::ways) > worst.max() {
            shown.warnings.retain(|known| tries::ways(known).is_none());
            shown.warnings.splice(..0, ways);
            is_other = true;
        }
        for warning in warnings {
            is_other |= warn(&mut shown.warnings, warning);
        }
        let has_room = shown.programs.len() < MAX_PROGRAMS;
        if let Some(program) = program.filter(|one| has_room && !shown.programs.contains(one)) {
            shown.programs.push(program);
            is_other = true;
        }
        if known.shown.alike.is_some() {
            known.show();
        }
        self.version += u64::from(is_other);
    }

    /// Drops a request whose client was held for the answer and has gone: a later answer is told so. One that an agent asked for with
    /// its own words stays, and so does one about several destinations or statements.
    pub(crate) fn withdraw(&mut self, id: &str) {
        let Some(one) = self.get(id) else { return };
        let is_one = one.burst.is_none() && one.names.is_none() && one.count() == 1;
        if !is_one || one.shown.note.is_some() {
            return;
        }
        let at = Zoned::now().strftime("%F %T %Z");
        let program = one
            .shown
            .comm
            .as_deref()
            .map_or_else(|| "its program".to_owned(), visible::program);
        let how = format!(
            "{program} gave up at {at}, before anybody had answered, and nothing waits for it now"
        );
        let owner = one.owner;
        self.note_answer(id, owner, how);
        self.take(id);
    }

    /// Keeps who answered a request, and how, in words.
    pub(crate) fn note_answer(&mut self, id: &str, owner: u32, how: String) {
        if self.answered.len() >= MAX_ANSWERED {
            self.answered.pop_front();
        }
        let id = id.to_owned();
        self.answered.push_back(GivenAnswer { id, owner, how });
    }

    /// Who answered a request, and how, if the caller `may` know about its user.
    pub(crate) fn answer_to(&self, id: &str, may: impl Fn(u32) -> bool) -> Option<&str> {
        let mut answered = self.answered.iter().rev();
        let found = answered.find(|one| one.id == id && may(one.owner));
        found.map(|one| one.how.as_str())
    }

    /// Shows on a request about an address by which name its process is likely to have gone there: guardd may hear of that later. What was
    /// told only after the attempt says nothing of it: a yes must not open more than a person was shown.
    pub(crate) fn show_name(
        &mut self,
        session: SessionId,
        to: Address,
        at: BootTime,
        told: impl Fn(&RequestKey, &NameAsker) -> UsedName,
    ) {
        let about = |one: &&mut Pending| {
            let key = &one.key;
            let is_there = key.session == session && key.destination == to;
            is_there && key.question.is_none() && one.burst.is_none() && one.asked >= at
        };
        for one in self.pending.iter_mut().filter(about) {
            if one.shown.named.is_none() {
                let who = NameAsker::of(one.shown.pid, one.shown.comm.as_deref());
                let used = told(&one.key, &who);
                let is_warned = used
                    .beware
                    .map(|beware| warn(&mut one.shown.warnings, beware));
                if let Some(told) = &used.told {
                    one.shown.destination.host = Some(told.name.clone());
                }
                let is_other = used.told.is_some() || is_warned == Some(true);
                one.shown.named = used.told;
                one.shown.opens_name = used.is_opened;
                self.version += u64::from(is_other);
            }
        }
    }

    /// Adds the agent's note to a pending request, if it is another one.
    pub(crate) fn annotate(&mut self, key: &RequestKey, note: String) -> bool {
        let Some(known) = self.find_mut(key) else {
            return false;
        };
        if known.shown.note.as_ref() == Some(&note) {
            return false;
        }
        known.shown.note = Some(note);
        let id = known.shown.id.clone();
        self.version += 1;
        self.grown.insert(id);
        true
    }

    /// Shows until when a connection or client is held for the answer; `None`: none is.
    pub(crate) fn show_held_until(&mut self, id: &str, until: Option<Timestamp>) {
        if until.is_some() {
            let mut all = self.pending.iter_mut();
            let part = all.find_map(|one| one.split_off(id));
            self.pending.extend(part);
        }
        let found = self.pending.iter_mut().find(|one| one.shown.id == id);
        if let Some(known) = found.filter(|one| one.shown.waits_until != until) {
            known.shown.held = until.is_some();
            known.shown.waits_until = until;
            self.version += 1;
        }
    }

    /// Drops the requests that the current policies answer, and returns them.
    pub(crate) fn settle_by_policies(
        &mut self,
        sessions: &Sessions,
        policies: &Policies,
    ) -> Vec<Pending> {
        self.take_all(|asked| {
            let key = &asked.key;
            let (to, protocol, port) = (key.destination, key.protocol, key.port);
            let session = sessions.live(key.session);
            if let Some(name) = &key.question {
                return session.is_none_or(|live| !policies.asks_any(&live.chain, name));
            }
            let judged =
                session.and_then(|live| policies.judge(live.subject(), to, protocol, port));
            let is_over = judged.is_none_or(|judged| {
                use guard_common::Verdict::{Confirm, ReadOnly};
                !matches!(judged.verdict, Confirm | ReadOnly)
            });
            let is_one = |burst: &Burst| {
                let ports = key.ports();
                session
                    .is_some_and(|live| policies.confirm_all(&live.chain, &burst.prefix(), ports))
            };
            let each =
                session.and_then(|live| policies.judge_each(live.subject(), to, protocol, port));
            let is_read = || {
                use guard_common::Verdict::ReadOnly;
                let mut each = each.iter().flatten();
                each.any(|judged| judged.verdict == ReadOnly)
            };
            // What was told to open reads alone would open everything.
            let is_wider = key.is_connection() && opens_reads_alone(&asked.shown) && !is_read();
            // The offered prefix is no longer one decision: the next attempt makes a new request.
            is_over || is_wider || !asked.burst.as_ref().is_none_or(is_one)
        })
    }

    /// Shows that a yes opens an address alone, and not whatever the name leads to that it goes by.
    pub(crate) fn show_address_alone(&mut self, id: &str) {
        if let Some(known) = self.pending.iter_mut().find(|one| one.shown.id == id) {
            known.shown.opens_name = false;
            self.version += 1;
            self.grown.insert(id.to_owned());
        }
    }

    /// Shows, for each request about connections, until when some are held for it; for the others, that none is.
    pub(crate) fn show_held(&mut self, asked: &HashMap<String, BootTime>) {
        let clocks = Clocks::read();
        let pending = self.pending().iter();
        let connections = pending.filter(|one| one.key.is_connection());
        let over = connections.filter(|one| one.shown.held && !asked.contains_key(&one.shown.id));
        let over: Vec<_> = over.map(|one| one.shown.id.clone()).collect();
        for id in over {
            self.show_held_until(&id, None);
        }
        for (id, until) in asked {
            self.show_held_until(id, Some(clocks.calendar(*until)));
        }
    }

    /// Removes a request that is answered.
    pub(crate) fn take(&mut self, id: &str) -> Option<Pending> {
        let at = self.pending.iter().position(|one| one.is_called(id))?;
        self.version += 1;
        Some(self.pending.remove(at))
    }

    /// Removes what was answered, each statement of a series by itself. Returns their ids.
    pub(crate) fn take_those(
        &mut self,
        is_answered: impl Fn(&RequestKey, &str) -> bool,
    ) -> Vec<String> {
        let mut ids = Vec::new();
        let pending = std::mem::take(&mut self.pending);
        let left = pending
            .into_iter()
            .filter_map(|one| one.unless(&is_answered, &mut ids));
        self.pending = left.collect();
        if !ids.is_empty() {
            self.version += 1;
        }
        ids
    }

    /// Removes what a yes for these prefixes answers of a request. The rest stays pending, with the id `new` if it has no id of
    /// its own.
    pub(crate) fn take_answered(&mut self, id: &str, opened: &[Prefix], new: String) {
        let Some(at) = self.pending.iter().position(|one| one.is_called(id)) else {
            return;
        };
        self.version += 1;
        let answered = self.pending.remove(at);
        if let Some(rest) = answered.without(opened, new) {
            self.grown.insert(rest.shown.id.clone());
            self.pending.insert(at, rest);
        }
    }

    /// Removes all requests that `is_settled`.
    pub(crate) fn take_all(&mut self, is_settled: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let (settled, waiting): (Vec<_>, _) =
            self.pending.drain(..).partition(|one| is_settled(one));
        self.pending = waiting;
        if !settled.is_empty() {
            self.version += 1;
        }
        settled
    }

    /// Drops the requests of a session that has ended.
    pub(crate) fn end_session(&mut self, session: SessionId) {
        self.take_all(|one| one.key.session == session);
        self.tries.forget(session);
        self.refused_sockets.forget(session);
        self.decided.forget(session);
    }

    /// Drops requests without an attempt for [`MAX_AGE`].
    pub(crate) fn expire(&mut self, now: BootTime) {
        let age = MAX_AGE.as_nanos() as u64;
        self.take_all(|one| one.last.0.saturating_add(age) <= now.0);
        self.noes.retain(|_, no| no.until > now);
        self.wide.retain(|one| one.no.until > now);
    }
}

/// Whether a policy that a person was shown has it read from: a yes leaves that.
fn opens_reads_alone(shown: &proto::Request) -> bool {
    let reads = guard_common::Verdict::ReadOnly.as_str();
    let mut links = shown.chain.iter().chain(&shown.beside);
    shown.verdict == reads || links.any(|link| link.verdict == reads)
}

/// Adds a warning where it is new, and there is room for it. Returns whether that is so.
fn warn(warnings: &mut Vec<String>, warning: String) -> bool {
    let is_new = warnings.len() < MAX_WARNINGS && !warnings.contains(&warning);
    if is_new {
        warnings.push(warning);
    }
    is_new
}

#[cfg(test)]
pub(crate) mod tests;
