//! The requests that wait for an approver's answer: one for each session, destination, protocol and port, and one for each HTTP
//! request or SQL statement.
//!
//! In code a [`RequestKey`] is what a request is about, the key by which attempts are merged; a [`Pending`] is a request on the
//! list; an [`StoredRequest`] is its file, which outlives guardd. `events.rs` makes requests, `answers.rs` takes the answers.

pub mod answers;
pub mod bursts;
pub mod events;
pub mod followers;
pub mod offers;
pub mod on_request;
pub mod questions;
pub mod series;
pub mod tries;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    net::IpAddr,
    rc::Rc,
    time::Duration,
};

use guard_common::{Address, BootTime, Protocol, SessionId};
use guard_policy::{PortSpec, Prefix};
use guard_proto::{self as proto, record::Gathered};
use guard_sys::clock::Clocks;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use self::{
    bursts::Burst,
    followers::{Followers, Following},
    offers::{Choice, Choices},
    questions::NameBurst,
    series::Series,
    tries::Tries,
};
use crate::{
    control::{auth::Approver, ids},
    policies::Policies,
    record::shelf::Shelf,
    sessions::{Session, Sessions},
};

/// Requests of one session at most. The one without an attempt for longest is dropped for a new one.
pub const MAX_PER_SESSION: usize = 64;
/// How long a request without an attempt is kept.
pub const MAX_AGE: Duration = Duration::from_secs(3600);
/// Programs that one request names at most.
const MAX_PROGRAMS: usize = 8;
/// Warnings that one request shows at most.
const MAX_WARNINGS: usize = 4;
/// Answers that are kept, so that a later approver learns who was faster.
const MAX_ANSWERED: usize = 256;
/// Answers "no" that are kept of one session at most.
const MAX_MUTED: usize = 256;
/// Answers "no" to bursts that are kept of one session at most.
const MAX_WIDE: usize = 256;

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestKey {
    /// The session of the attempt.
    pub session: SessionId,
    /// Where to.
    pub destination: Address,
    /// The protocol.
    pub protocol: Protocol,
    /// The port in host byte order, 0 where the protocol has none.
    pub port: u16,
    /// The HTTP request or SQL statement that was stopped; none where the connection was.
    pub http: Option<Rc<HttpRequestKey>>,
    /// The name that was asked for, or a pattern of names; none where it is about a connection. The destination stands for it.
    pub question: Option<Rc<str>>,
}

/// An HTTP request or SQL statement that an approver is asked about. Two with the same digest are equal, whatever else
/// differs: the number of rows that a statement would change differs from one time to the next.
#[derive(Clone, Debug)]
pub struct HttpRequestKey {
    /// The request.
    pub request: proto::HttpRequest,
    /// A number of its own, if it is held and has no digest: requests that look like this may differ in the rest of their
    /// bodies.
    pub alone: Option<u64>,
    /// Whether method and path say all: no header and nothing in the query names another object or action.
    pub plain: bool,
    /// Whether it is asked about together with those that follow it: it is a definition, no client is held for the answer, and
    /// a migration has many.
    pub series: bool,
}

impl HttpRequestKey {
    fn known_by(&self) -> (Option<u64>, Result<&str, (&proto::HttpRequest, bool)>) {
        let by = self.request.digest.as_deref();
        (self.alone, by.ok_or((&self.request, self.plain)))
    }
}

impl PartialEq for HttpRequestKey {
    fn eq(&self, other: &Self) -> bool {
        self.known_by() == other.known_by()
    }
}

impl Eq for HttpRequestKey {}

impl std::hash::Hash for HttpRequestKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.known_by().hash(state);
    }
}

impl RequestKey {
    /// Whether a burst may hold both: they are about connections and differ only in the address.
    fn is_beside(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.session, one.protocol, one.port, one.http.is_none());
        of(self) == of(other) && self.is_connection() && other.is_connection()
    }

    /// Whether it is about connections: neither about what is sent through one, nor a question for a name.
    #[must_use]
    pub fn is_connection(&self) -> bool {
        self.http.is_none() && self.question.is_none()
    }

    /// Whether another one is about the same session and destination.
    #[must_use]
    pub fn is_there(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.session, one.destination, one.protocol, one.port);
        of(self) == of(other)
    }

    /// The same for another session.
    #[must_use]
    pub fn of(&self, session: SessionId) -> Self {
        Self {
            session,
            ..self.clone()
        }
    }

    /// The same about another address.
    #[must_use]
    pub fn at(&self, destination: Address) -> Self {
        Self {
            destination,
            ..self.clone()
        }
    }

    /// The same about the first and the last address of a prefix: what one hole opens to both, it opens to all.
    fn ends(&self, prefix: &Prefix) -> [Self; 2] {
        [prefix.bits(), prefix.last_bits()].map(|bits| self.at(Address::from_u128(bits)))
    }

    /// The same without its own number ([`HttpRequestKey::alone`]): equal to all that look like this.
    #[must_use]
    pub fn alike(&self) -> Self {
        let http = self.http.as_deref().map(|http| {
            Rc::new(HttpRequestKey {
                alone: None,
                ..http.clone()
            })
        });
        Self {
            http,
            ..self.clone()
        }
    }
}

/// A request that is pending: it waits for an approver's answer.
#[derive(Clone, Debug)]
pub struct Pending {
    /// What it is about.
    pub key: RequestKey,
    /// The burst, if it is about several addresses.
    pub burst: Option<Burst>,
    /// The names, if it is about several questions.
    pub names: Option<NameBurst>,
    /// The statements, if it is about several: `key` is about the first, and each has an id.
    pub series: Series,
    /// The session's user.
    pub owner: u32,
    /// The outermost session around its session, or that session itself.
    pub share: SessionId,
    /// The time of the first attempt.
    pub asked: BootTime,
    /// The time of the last attempt.
    pub last: BootTime,
    /// The attempts that guardd has seen. The kernel half counts those of connections by itself.
    pub tried: u64,
    /// What people see of it.
    pub shown: proto::Request,
}

impl Pending {
    /// Whether an attempt with that key is part of this request.
    #[must_use]
    pub fn is_about(&self, key: &RequestKey) -> bool {
        let covers =
            |burst: &Burst| burst.prefix().covers(&key.destination) && self.key.is_beside(key);
        let is_own =
            self.key == *key || self.burst.as_ref().is_some_and(covers) || self.has_name(key);
        is_own || self.series.keys().any(|one| one == key)
    }

    /// Whether it has that id, or had it before it became part of a burst.
    #[must_use]
    pub fn is_called(&self, id: &str) -> bool {
        let is_part = |burst: &Burst| burst.ids().any(|one| one == id);
        let is_name = |names: &NameBurst| names.ids().any(|one| one == id);
        let is_own = self.shown.id == id
            || self.burst.as_ref().is_some_and(is_part)
            || self.names.as_ref().is_some_and(is_name);
        is_own || self.series.ids().any(|one| one == id)
    }

    /// Whether what is open leaves nothing of it to answer. `is_open`: whether one hole opens all of these.
    #[must_use]
    pub fn is_settled(&self, is_open: impl Fn(&[RequestKey]) -> bool) -> bool {
        let Some(burst) = &self.burst else {
            let is_open = |one: &RequestKey| is_open(std::slice::from_ref(one));
            return is_open(&self.key) && self.series.keys().all(is_open);
        };
        let mut tried = burst.addresses().map(|to| self.key.at(to));
        is_open(&self.key.ends(&burst.prefix()))
            || (!burst.is_full() && tried.all(|one| is_open(&[one])))
    }

    fn add(&mut self, address: Address, id: Option<String>) -> bool {
        let Some(burst) = &mut self.burst else {
            return false;
        };
        let is_new = burst.add(address, id);
        if is_new {
            self.shown.burst = Some(burst.to_shown());
        }
        is_new
    }

    /// Merges another request into this burst.
    fn absorb(&mut self, other: Self) {
        let id = other.shown.id.clone();
        let by = questions::Program::of(&other.shown);
        if !self.add_name(&other.key, Some(id.clone()), Some(by)) {
            self.add(other.key.destination, Some(id));
        }
        if let Some(question) = &other.shown.question {
            self.add_types(&question.types);
        }
        self.last = self.last.max(other.last);
        self.tried += other.tried;
        let (shown, other) = (&mut self.shown, other.shown);
        shown.held |= other.held;
        shown.waits_until = shown.waits_until.max(other.waits_until);
        // The note is about that address alone.
        let note = other.note;
        let note = note.map(|note| format!("of {}: {note}", other.destination.address));
        shown.note = shown.note.take().or(note);
        for program in other.programs {
            if shown.programs.len() < MAX_PROGRAMS && !shown.programs.contains(&program) {
                shown.programs.push(program);
            }
        }
        for warning in other.warnings {
            if shown.warnings.len() < MAX_WARNINGS && !shown.warnings.contains(&warning) {
                shown.warnings.push(warning);
            }
        }
    }

    /// What is left of a burst after a yes for these prefixes: a request about fewer addresses. Its id is `new`; a single
    /// address that is left keeps the id it had of its own, if that was not the burst's.
    fn without(self, opened: &[Prefix], new: String) -> Option<Self> {
        let burst = self.burst?.without(opened)?;
        let destination = burst.addresses().next()?;
        let alone = burst.count() == 1;
        let own = burst.first_id();
        let own = own.filter(|own| alone && *own != self.shown.id);
        let id = own.map_or(new, str::to_owned);
        let shown = proto::Request {
            id,
            destination: proto::Endpoint {
                address: destination.to_ip().to_string(),
                host: None,
                ..self.shown.destination
            },
            burst: (!alone).then(|| burst.to_shown()),
            named: None,
            ..self.shown
        };
        Some(Self {
            key: self.key.at(destination),
            burst: (!alone).then_some(burst),
            shown,
            ..self
        })
    }
}

/// A request in a file, so that it outlives guardd: pending, or answered with no.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct StoredRequest {
    /// The session.
    pub session: u32,
    /// The destination.
    pub destination: IpAddr,
    /// The number of the protocol.
    pub protocol: u8,
    /// The port.
    pub port: u16,
    /// What people see of it.
    pub shown: proto::Request,
    /// [`HttpRequestKey::plain`].
    #[serde(default)]
    pub plain: bool,
    /// [`HttpRequestKey::series`].
    #[serde(default)]
    pub series: bool,
    /// Until when a person's no is valid, in nanoseconds of boot time. These files do not outlive the boot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused_until: Option<u64>,
    /// The burst, if it is about several addresses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub burst: Option<Burst>,
    /// [`RequestKey::question`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The names, if it is about several questions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<NameBurst>,
}

/// A person's no.
#[derive(Clone, Debug)]
struct Refused {
    until: BootTime,
    /// The request that it answered.
    shown: proto::Request,
}

/// A person's no to a burst.
#[derive(Clone, Debug)]
struct Wide {
    key: RequestKey,
    burst: Burst,
    no: Refused,
}

impl Wide {
    fn covers(&self, key: &RequestKey) -> bool {
        self.burst.prefix().covers(&key.destination) && self.key.is_beside(key)
    }
}

impl StoredRequest {
    fn of(key: &RequestKey, shown: &proto::Request, refused_until: Option<u64>) -> Self {
        Self {
            session: key.session.0,
            destination: key.destination.to_ip(),
            protocol: key.protocol.0,
            port: key.port,
            // The next guardd holds no connection for it.
            shown: proto::Request {
                held: false,
                waits_until: None,
                ..shown.clone()
            },
            plain: key.http.as_deref().is_some_and(|http| http.plain),
            series: key.http.as_deref().is_some_and(|http| http.series),
            refused_until,
            burst: None,
            question: key.question.as_deref().map(str::to_owned),
            names: None,
        }
    }

    fn with(self, burst: Option<Burst>) -> Self {
        Self { burst, ..self }
    }

    fn with_names(self, names: Option<NameBurst>) -> Self {
        Self { names, ..self }
    }

    /// What the request is about.
    #[must_use]
    pub fn key(&self) -> RequestKey {
        RequestKey {
            session: SessionId(self.session),
            destination: self.destination.into(),
            protocol: Protocol(self.protocol),
            port: self.port,
            http: self.shown.http.clone().map(|request| {
                Rc::new(HttpRequestKey {
                    request,
                    alone: None,
                    plain: self.plain,
                    series: self.series,
                })
            }),
            question: self.question.as_deref().map(Rc::from),
        }
    }
}

/// The number of its files and ids: one for each statement of a series.
fn count(one: &Pending) -> usize {
    one.each().count()
}

/// The effect of an attempt.
#[derive(Debug, PartialEq, Eq)]
pub enum Noted {
    /// It made a new request, with this id.
    New(String),
    /// It is part of a pending request, with this id.
    Again(String),
    /// A person said no, and the no still holds.
    Muted,
    /// The limit of pending requests is reached.
    Full,
}

/// Owns the requests: those that are pending, the answers, and the followers.
#[derive(Debug)]
pub struct Requests {
    max: usize,
    version: u64,
    /// Oldest first.
    pending: Vec<Pending>,
    muted: HashMap<RequestKey, Refused>,
    wide: Vec<Wide>,
    /// The ids of requests that have grown since their files were written.
    grown: HashSet<String>,
    answered: VecDeque<Answered>,
    /// The files of pending requests and of each no; `kept` has the names of those that exist.
    files: Shelf<StoredRequest>,
    kept: HashSet<String>,
    /// The approvers who see a new request at once.
    followers: Followers,
    /// People's last choices.
    choices: Choices,
    /// How destinations were tried lately.
    tries: Tries,
}

/// An answer that was given.
#[derive(Clone, Debug)]
struct Answered {
    id: String,
    owner: u32,
    how: String,
}

impl Requests {
    /// No requests yet, and never more than `max`. People's last choices are read from their files.
    #[must_use]
    pub fn new(
        max: usize,
        followers: Followers,
        files: Shelf<StoredRequest>,
        choices: Shelf<VecDeque<Choice>>,
    ) -> Self {
        Self {
            max,
            version: 0,
            pending: Vec::new(),
            muted: HashMap::new(),
            wide: Vec::new(),
            grown: HashSet::new(),
            answered: VecDeque::new(),
            files,
            kept: HashSet::new(),
            followers,
            choices: Choices::kept_on(choices),
            tries: Tries::default(),
        }
    }

    #[cfg(test)]
    pub(crate) fn without_files(max: usize) -> Self {
        let followers = Followers::default();
        Self::new(max, followers, Shelf::nowhere(), Shelf::nowhere())
    }

    /// Adds an approver who sees new requests at once, until what this returns is dropped.
    #[must_use]
    pub fn follow(&self, who: Approver) -> Following {
        self.followers.join(who)
    }

    /// Whether an approver for that user follows, and so would see a new request at once.
    #[must_use]
    pub fn is_followed(&self, owner: u32) -> bool {
        self.followers.any_for(owner)
    }

    /// What an earlier guardd has kept, by the names of its files.
    #[must_use]
    pub fn kept(&self) -> Vec<(String, StoredRequest)> {
        self.files.all()
    }

    /// Notes that a request has a file.
    pub fn note_file(&mut self, key: String) {
        self.kept.insert(key);
    }

    /// A number that rises with each change of the pending requests, except of the time of their last attempt.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Has followers look again: a question was made, and may have a code.
    pub fn note_question(&mut self) {
        self.version += 1;
    }

    /// Adds an attempt to its pending request, or makes a new one; `ask` makes what people see of a new one. `share`: the
    /// outermost session.
    ///
    /// # Errors
    ///
    /// Those of `ask`; nothing has changed then.
    pub fn note<E>(
        &mut self,
        key: RequestKey,
        (owner, share): (u32, SessionId),
        now: BootTime,
        ask: impl FnOnce() -> Result<proto::Request, E>,
    ) -> Result<Noted, E> {
        if self.is_muted(&key, now) {
            return Ok(Noted::Muted);
        }
        if let Some(known) = self.find_mut(&key) {
            known.last = now;
            known.tried += 1;
        }
        if let Some(id) = self.join(&key) {
            return Ok(Noted::Again(id));
        }
        if !self.has_room(key.session, share) {
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
            owner,
            share,
            asked: now,
            last: now,
            tried: 1,
            shown,
        });
        Ok(Noted::New(id))
    }

    /// The id of the pending request with that key. A burst takes in the address.
    pub fn join(&mut self, key: &RequestKey) -> Option<String> {
        let known = self.find_mut(key)?;
        let id = known.shown.id.clone();
        if known.add(key.destination, None) || known.add_name(key, None, None) {
            self.version += 1;
            self.grown.insert(id.clone());
        }
        Some(id)
    }

    /// Makes room for one more request of a session, if need be by dropping the least recently tried one: of the session's own,
    /// or at the limit of all, of the outermost session that has most.
    fn has_room(&mut self, session: SessionId, share: SessionId) -> bool {
        let is_its = |one: &Pending| one.key.session == session;
        if self.count(is_its) >= MAX_PER_SESSION && !self.drop_stalest(is_its) {
            return false;
        }
        while self.count(|_| true) >= self.max {
            let mut shares: HashMap<SessionId, usize> = HashMap::new();
            for one in &self.pending {
                *shares.entry(one.share).or_default() += count(one);
            }
            let own = shares.get(&share).copied().unwrap_or_default();
            let Some((most, _)) = shares.into_iter().max_by_key(|(id, many)| (*many, id.0)) else {
                return false;
            };
            let has_more = self.count(|one| one.share == most) > own + 1;
            if !has_more || !self.drop_stalest(|one| one.share == most) {
                return false;
            }
        }
        true
    }

    fn count(&self, counts: impl Fn(&Pending) -> bool) -> usize {
        let counted = self.pending.iter().filter(|one| counts(one));
        counted.map(count).sum()
    }

    /// Drops the least recently tried one of these, unless clients are held for all of them.
    fn drop_stalest(&mut self, is_meant: impl Fn(&Pending) -> bool) -> bool {
        let idle = self.pending.iter().filter(|one| !one.shown.held);
        let stale = idle
            .filter(|one| is_meant(one))
            .min_by_key(|one| one.last)
            .map(|one| one.shown.id.clone());
        stale.is_some_and(|id| self.take(&id).is_some())
    }

    /// Whether a person said no to that, and the no still holds.
    #[must_use]
    pub fn is_refused(&self, key: &RequestKey, now: BootTime) -> bool {
        let no = self.muted.get(&key.alike());
        no.is_some_and(|no| no.until > now)
            || self.is_refused_widely(key, now)
            || self.is_zone_refused(key, now)
    }

    fn is_refused_widely(&self, key: &RequestKey, now: BootTime) -> bool {
        let mut wide = self.wide.iter();
        wide.any(|one| one.no.until > now && one.covers(key))
    }

    fn is_muted(&mut self, key: &RequestKey, now: BootTime) -> bool {
        let key = key.alike();
        match self.muted.get(&key) {
            Some(no) if no.until > now => return true,
            Some(_) => drop(self.muted.remove(&key)),
            None => {}
        }
        self.is_refused_widely(&key, now) || self.is_zone_refused(&key, now)
    }

    /// All pending requests, oldest first.
    #[must_use]
    pub fn pending(&self) -> &[Pending] {
        &self.pending
    }

    /// The pending request with that id, also if that is now part of it.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&Pending> {
        self.pending.iter().find(|one| one.is_called(id))
    }

    /// The pending request about that key.
    #[must_use]
    pub fn find(&self, key: &RequestKey) -> Option<&Pending> {
        self.pending.iter().find(|one| one.is_about(key))
    }

    /// The prefix around a destination with so many recent requests that they become one burst. `is_one`: whether one rule says
    /// `confirm` for all of a prefix.
    #[must_use]
    pub fn burst_around(
        &self,
        key: &RequestKey,
        now: BootTime,
        is_one: impl Fn(&Prefix) -> bool,
    ) -> Option<Prefix> {
        let near: Vec<_> = self.ordinary_beside(key).collect();
        let is_recent =
            |one: &Pending| now.0.saturating_sub(one.asked.0) <= bursts::WINDOW.as_nanos() as u64;
        let is_enough = |prefix: &Prefix| {
            let within = near
                .iter()
                .filter(|one| prefix.covers(&one.key.destination) && is_recent(one));
            within.count() >= bursts::MANY
        };
        bursts::widest(key.destination, is_enough, |prefix| {
            let is_free = !self.has_burst_in(key, prefix);
            is_free && !self.has_refused_in(key, prefix, now) && is_one(prefix)
        })
    }

    /// Whether a part of that prefix is in another burst: two requests about one address could get two answers.
    fn has_burst_in(&self, key: &RequestKey, prefix: &Prefix) -> bool {
        let beside = self.pending.iter();
        let mut beside = beside.filter(|one| one.key.is_beside(key));
        beside.any(|one| {
            let burst = one.burst.as_ref().map(Burst::prefix);
            burst.is_some_and(|burst| prefix.meets(&burst))
        })
    }

    /// Whether a person has said no to a part of that prefix: then it is not offered.
    #[must_use]
    pub fn has_refused_in(&self, key: &RequestKey, prefix: &Prefix, now: BootTime) -> bool {
        let counts = |other: &RequestKey, no: &Refused| no.until > now && other.is_beside(key);
        let mut muted = self.muted.iter();
        let mut wide = self.wide.iter();
        muted.any(|(other, no)| counts(other, no) && prefix.covers(&other.destination))
            || wide.any(|one| counts(&one.key, &one.no) && prefix.meets(&one.burst.prefix()))
    }

    /// Whether a person has said no to a session about connections to an address by any of some ports.
    #[must_use]
    pub fn has_refused_at(
        &self,
        session: SessionId,
        to: Address,
        ports: &PortSpec,
        now: BootTime,
    ) -> bool {
        let counts = |key: &RequestKey, no: &Refused| {
            let at = PortSpec::one(key.protocol, key.port);
            let is_of = key.session == session && key.is_connection();
            is_of && no.until > now && ports.intersection(&at).is_some()
        };
        let mut muted = self.muted.iter();
        let mut wide = self.wide.iter();
        muted.any(|(key, no)| key.destination == to && counts(key, no))
            || wide.any(|one| one.burst.prefix().covers(&to) && counts(&one.key, &one.no))
    }

    /// The requests that could become a burst: about connections, each about one address.
    fn ordinary_beside(&self, key: &RequestKey) -> impl Iterator<Item = &Pending> {
        let pending = self.pending.iter();
        pending.filter(|one| one.burst.is_none() && one.key.is_beside(key))
    }

    /// Makes a burst of the pending requests around this one, if there are enough of them.
    pub fn gather_around(
        &mut self,
        session: &Session,
        policies: &Policies,
        key: &RequestKey,
        now: BootTime,
    ) -> Option<Gathered> {
        if !key.is_connection() {
            return None;
        }
        let ports = events::ports_of(key);
        let is_one = |prefix: &Prefix| policies.confirm_all(&session.chain, prefix, ports);
        let prefix = self.burst_around(key, now, is_one)?;
        self.gather(key, prefix)
    }

    /// Notes an attempt by that program, and returns in how many ways the destination was tried.
    pub fn note_way(&mut self, key: &RequestKey, program: Option<&str>, at: BootTime) -> usize {
        self.tries.note(key, program, at)
    }

    /// Makes a burst of the requests beside this one and in that prefix: the oldest takes in the others.
    pub fn gather(&mut self, key: &RequestKey, prefix: Prefix) -> Option<Gathered> {
        let of_burst: HashSet<_> = self
            .ordinary_beside(key)
            .filter(|one| prefix.covers(&one.key.destination))
            .map(|one| one.shown.id.clone())
            .collect();
        let mut pending = self.pending.iter();
        let first = pending.position(|one| of_burst.contains(&one.shown.id))?;
        let mut others = self
            .take_all(|one| of_burst.contains(&one.shown.id))
            .into_iter();
        let mut root = others.next()?;
        root.burst = Some(Burst::over(prefix));
        // It is of one address.
        root.shown.named = None;
        root.add(root.key.destination, Some(root.shown.id.clone()));
        let mut others_ids = Vec::new();
        for other in others {
            others_ids.push(other.shown.id.clone());
            root.absorb(other);
        }
        let request = root.shown.id.clone();
        self.grown.insert(request.clone());
        self.pending.insert(first, root);
        let prefix = prefix.to_string();
        Some(Gathered {
            request,
            prefix,
            others: others_ids,
        })
    }

    /// Restores the burst of a request that is adopted after a restart.
    pub fn put_burst(&mut self, id: &str, burst: Option<Burst>) {
        if let Some(known) = self.pending.iter_mut().find(|one| one.shown.id == id) {
            known.shown.burst = burst.as_ref().map(Burst::to_shown);
            known.burst = burst;
        }
    }

    /// The ids of requests that have grown since the last call.
    pub fn take_grown(&mut self) -> HashSet<String> {
        std::mem::take(&mut self.grown)
    }

    fn find_mut(&mut self, key: &RequestKey) -> Option<&mut Pending> {
        self.pending.iter_mut().find(|one| one.is_about(key))
    }

    /// Notes which program made the attempt, and warns if the destination was tried in many ways or the program looks
    /// suspicious.
    pub fn note_try(
        &mut self,
        id: &str,
        program: Option<String>,
        [ways, of_program]: [Option<String>; 2],
    ) {
        let Some(known) = self.pending.iter_mut().find(|one| one.shown.id == id) else {
            return;
        };
        let shown = &mut known.shown;
        // A warning is not taken back.
        let mut warnings = shown.warnings.clone();
        let worst = warnings.iter().filter_map(|one| tries::ways(one)).max();
        if ways.as_deref().and_then(tries::ways) > worst {
            warnings.retain(|known| tries::ways(known).is_none());
            warnings.splice(..0, ways);
        }
        let has_room = warnings.len() < MAX_WARNINGS;
        warnings.extend(of_program.filter(|warning| has_room && !warnings.contains(warning)));
        let has_room = shown.programs.len() < MAX_PROGRAMS;
        let program = program.filter(|program| has_room && !shown.programs.contains(program));
        if program.is_none() && shown.warnings == warnings {
            return;
        }
        shown.warnings = warnings;
        shown.programs.extend(program);
        self.version += 1;
    }

    /// Keeps who answered a request, and how, in words.
    pub fn note_answer(&mut self, id: &str, owner: u32, how: String) {
        if self.answered.len() >= MAX_ANSWERED {
            self.answered.pop_front();
        }
        let id = id.to_owned();
        self.answered.push_back(Answered { id, owner, how });
    }

    /// Who answered a request, and how, if the caller `may` know about its user.
    pub fn answer_to(&self, id: &str, may: impl Fn(u32) -> bool) -> Option<&str> {
        let mut answered = self.answered.iter().rev();
        let found = answered.find(|one| one.id == id && may(one.owner));
        found.map(|one| one.how.as_str())
    }

    /// Shows on a request about an address by which name the session knows it: guardd may hear of that later.
    pub fn name(
        &mut self,
        session: SessionId,
        to: Address,
        told: impl Fn(&RequestKey) -> Option<proto::NameTold>,
    ) {
        let about = |one: &&mut Pending| {
            let key = &one.key;
            let is_there = key.session == session && key.destination == to;
            is_there && key.question.is_none() && one.burst.is_none()
        };
        for one in self.pending.iter_mut().filter(about) {
            if one.shown.named.is_none() {
                one.shown.named = told(&one.key);
                if let Some(told) = &one.shown.named {
                    one.shown.destination.host = Some(told.name.clone());
                    self.version += 1;
                }
            }
        }
    }

    /// Adds the agent's note to a pending request.
    pub fn annotate(&mut self, key: &RequestKey, note: String) {
        if let Some(known) = self.find_mut(key) {
            known.shown.note = Some(note);
            self.version += 1;
        }
    }

    /// Shows until when a connection or client is held for the answer; `None`: none is.
    pub fn hold(&mut self, id: &str, until: Option<Timestamp>) {
        let found = self.pending.iter_mut().find(|one| one.shown.id == id);
        if let Some(known) = found.filter(|one| one.shown.waits_until != until) {
            known.shown.held = until.is_some();
            known.shown.waits_until = until;
            self.version += 1;
        }
    }

    /// Writes and removes files so that they match the pending requests and each no that holds.
    pub fn keep(&mut self) {
        let mut kept = HashSet::new();
        let grown = self.take_grown();
        for (key, asked) in self.to_keep() {
            if !self.kept.contains(&key) || grown.contains(&key) {
                self.files.keep(&key, &asked);
            }
            kept.insert(key);
        }
        for gone in self.kept.difference(&kept) {
            self.files.remove(gone);
        }
        self.kept = kept;
    }

    /// Drops the requests that the current policies answer.
    pub fn settle(&mut self, sessions: &Sessions, policies: &Policies) {
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
                let ports = events::ports_of(key);
                session
                    .is_some_and(|live| policies.confirm_all(&live.chain, &burst.prefix(), ports))
            };
            // The offered prefix is no longer one decision: the next attempt makes a new request.
            is_over || !asked.burst.as_ref().is_none_or(is_one)
        });
    }

    /// Shows, for each request about connections, until when some are held for it; for the others, that none is.
    pub fn show_held(&mut self, asked: &HashMap<String, BootTime>) {
        let clocks = Clocks::read();
        let pending = self.pending().iter();
        let connections = pending.filter(|one| one.key.is_connection());
        let over = connections.filter(|one| one.shown.held && !asked.contains_key(&one.shown.id));
        let over: Vec<_> = over.map(|one| one.shown.id.clone()).collect();
        for id in over {
            self.hold(&id, None);
        }
        for (id, until) in asked {
            self.hold(id, Some(clocks.calendar(*until)));
        }
    }

    /// The HTTP requests of a session to which a person has said no, while the no holds.
    pub fn refused_http(
        &self,
        session: SessionId,
        now: BootTime,
    ) -> impl Iterator<Item = &proto::Request> {
        let muted = self.muted.iter();
        let of = muted.filter(move |(key, no)| {
            key.session == session && key.http.is_some() && no.until > now
        });
        of.map(|(_, no)| &no.shown)
    }

    /// Removes a request that is answered.
    pub fn take(&mut self, id: &str) -> Option<Pending> {
        let at = self.pending.iter().position(|one| one.is_called(id))?;
        self.version += 1;
        Some(self.pending.remove(at))
    }

    /// Removes what was answered, each statement of a series by itself. Returns their ids.
    pub fn take_those(&mut self, is_answered: impl Fn(&RequestKey, &str) -> bool) -> Vec<String> {
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
    pub fn take_answered(&mut self, id: &str, opened: &[Prefix], new: String) {
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
    pub fn take_all(&mut self, is_settled: impl Fn(&Pending) -> bool) -> Vec<Pending> {
        let (settled, waiting): (Vec<_>, _) =
            self.pending.drain(..).partition(|one| is_settled(one));
        self.pending = waiting;
        if !settled.is_empty() {
            self.version += 1;
        }
        settled
    }

    /// Notes a person's no: until then attempts like `key` make no request. `shown` is the request that was answered.
    pub fn mute(&mut self, key: RequestKey, shown: proto::Request, until: BootTime) {
        let of_session = |one: &&RequestKey| one.session == key.session;
        if self.muted.keys().filter(of_session).count() >= MAX_MUTED {
            let first = self.muted.iter().filter(|(one, _)| of_session(one));
            let first = first.min_by_key(|(_, no)| no.until);
            if let Some(first) = first.map(|(one, _)| one.clone()) {
                self.muted.remove(&first);
            }
        }
        let key = key.alike();
        self.muted.insert(key, Refused { until, shown });
    }

    /// The same for all of a burst.
    pub fn mute_all(
        &mut self,
        key: RequestKey,
        burst: Burst,
        shown: proto::Request,
        until: BootTime,
    ) {
        let of_session = |one: &Wide| one.key.session == key.session;
        if self.wide.iter().filter(|one| of_session(one)).count() >= MAX_WIDE {
            let of = self
                .wide
                .iter()
                .enumerate()
                .filter(|(_, one)| of_session(one));
            let first = of.min_by_key(|(_, one)| one.no.until).map(|(at, _)| at);
            first.map(|at| self.wide.remove(at));
        }
        let no = Refused { until, shown };
        self.wide.push(Wide { key, burst, no });
    }

    /// What outlives guardd, by file name. A no has another file than the request that it answers, so that it is there before
    /// the request's file goes.
    #[must_use]
    pub fn to_keep(&self) -> Vec<(String, StoredRequest)> {
        let waiting = self.pending.iter().flat_map(|one| {
            let keep = |(key, shown): (&RequestKey, &proto::Request)| {
                let asked = StoredRequest::of(key, shown, None);
                let asked = asked.with(one.burst.clone());
                (shown.id.clone(), asked.with_names(one.names.clone()))
            };
            one.each().map(keep).collect::<Vec<_>>()
        });
        // One no may hold for several sessions.
        let file = |key: &RequestKey, no: &Refused| {
            let (id, session) = (&no.shown.id, ids::session(key.session));
            match no.shown.session == session {
                true => format!("no-{id}"),
                false => format!("no-{id}-{session}"),
            }
        };
        let refused = self.muted.iter().map(|(key, no)| {
            let asked = StoredRequest::of(key, &no.shown, Some(no.until.0));
            (file(key, no), asked)
        });
        let wide = self.wide.iter().map(|one| {
            let asked = StoredRequest::of(&one.key, &one.no.shown, Some(one.no.until.0));
            let asked = asked.with(Some(one.burst.clone()));
            (file(&one.key, &one.no), asked)
        });
        waiting.chain(refused).chain(wide).collect()
    }

    /// Removes each no to what a person has opened since, and returns what it was about. `is_open`: whether one hole opens all
    /// of these.
    pub fn unmute(&mut self, is_open: impl Fn(&[RequestKey]) -> bool) -> Vec<RequestKey> {
        let open = self
            .muted
            .extract_if(|key, _| is_open(std::slice::from_ref(key)));
        let mut open: Vec<_> = open.map(|(key, _)| key).collect();
        for one in &self.wide {
            let tried = one.burst.addresses().map(|to| one.key.at(to));
            open.extend(tried.filter(|key| is_open(std::slice::from_ref(key))));
        }
        self.wide
            .retain(|one| !is_open(&one.key.ends(&one.burst.prefix())));
        open
    }

    /// Drops the requests of a session that has ended.
    pub fn end_session(&mut self, session: SessionId) {
        self.take_all(|one| one.key.session == session);
        self.tries.forget(session);
    }

    /// Removes each no of a session that has ended, if no session inside it is left.
    pub fn forget_answers(&mut self, session: SessionId) {
        self.muted.retain(|one, _| one.session != session);
        self.wide.retain(|one| one.key.session != session);
    }

    /// Drops requests without an attempt for [`MAX_AGE`].
    pub fn expire(&mut self, now: BootTime) {
        let age = MAX_AGE.as_nanos() as u64;
        self.take_all(|one| one.last.0.saturating_add(age) <= now.0);
        self.muted.retain(|_, no| no.until > now);
        self.wide.retain(|one| one.no.until > now);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{convert::Infallible, net::IpAddr};

    use jiff::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn key(session: u32, last: u8) -> RequestKey {
        RequestKey {
            session: SessionId(session),
            destination: IpAddr::from([192, 0, 2, last]).into(),
            protocol: Protocol::TCP,
            port: 443,
            http: None,
            question: None,
        }
    }

    fn write(path: &str, alone: Option<u64>) -> RequestKey {
        let request = proto::HttpRequest {
            method: "POST".to_owned(),
            path: path.to_owned(),
            ..proto::HttpRequest::default()
        };
        let plain = true;
        let http = Some(Rc::new(HttpRequestKey {
            request,
            alone,
            plain,
            series: false,
        }));
        RequestKey { http, ..key(1, 1) }
    }

    pub(crate) fn shown(id: u32) -> proto::Request {
        proto::Request {
            id: format!("r{id}"),
            session: "s1".to_owned(),
            policy: "homelab".to_owned(),
            user: "1000".to_owned(),
            pid: None,
            comm: None,
            exe: None,
            command: vec![],
            destination: proto::Endpoint {
                address: "192.0.2.1".to_owned(),
                port: Some(443),
                protocol: "tcp".to_owned(),
                host: None,
            },
            rule: None,
            reason: None,
            verdict: "confirm".to_owned(),
            chain: vec![],
            held: false,
            asked_at: Timestamp::UNIX_EPOCH,
            last_at: Timestamp::UNIX_EPOCH,
            waits_until: None,
            count: 1,
            programs: vec![],
            warnings: vec![],
            http: None,
            question: None,
            named: None,
            note: None,
            burst: None,
            through: None,
            code: None,
            offers: vec![],
        }
    }

    fn note(table: &mut Requests, key: RequestKey, now: u64, id: u32) -> Noted {
        // From 100 on they are inside the first.
        let share = match key.session.0 {
            100.. => SessionId(1),
            session => SessionId(session),
        };
        let whose = (1000, share);
        let Ok(noted) = table.note(key, whose, BootTime(now), || Ok::<_, Infallible>(shown(id)));
        noted
    }

    #[test]
    fn the_same_request_is_asked_once() {
        let mut table = Requests::without_files(10);
        let asked = Noted::New("r1".to_owned());
        assert_eq!(note(&mut table, key(1, 1), 1, 1), asked);
        let again = Noted::Again("r1".to_owned());
        assert_eq!(note(&mut table, key(1, 1), 2, 2), again);
        let other = Noted::New("r2".to_owned());
        assert_eq!(note(&mut table, key(2, 1), 2, 2), other);
        assert!(table.take("r1").is_some());
        let anew = Noted::New("r3".to_owned());
        assert_eq!(note(&mut table, key(1, 1), 3, 3), anew);
    }

    #[test]
    fn each_http_request_is_a_request_of_its_own() {
        let mut table = Requests::without_files(10);
        let asked = [
            key(1, 1),
            write("/a", None),
            write("/b", None),
            write("/a", Some(1)),
        ];
        for (id, key) in (1..).zip(asked) {
            let new = Noted::New(format!("r{id}"));
            assert_eq!(note(&mut table, key, 1, id), new);
        }
        let again = Noted::Again("r2".to_owned());
        assert_eq!(note(&mut table, write("/a", None), 2, 9), again);
        assert_eq!(table.get("r2").unwrap().tried, 2);
        let refused = table.take("r4").unwrap();
        table.mute(refused.key, refused.shown, BootTime(100));
        assert_eq!(
            note(&mut table, write("/a", Some(2)), 3, 9),
            Noted::Muted,
            "it looks just like what was refused"
        );
        assert!(!table.is_refused(&write("/b", None), BootTime(3)));
    }

    #[test]
    fn whoever_waits_is_said_to_until_nobody_does() {
        let mut table = Requests::without_files(10);
        note(&mut table, write("/a", None), 1, 1);
        let before = table.version();
        table.hold("r1", Some(Timestamp::UNIX_EPOCH));
        assert!(table.get("r1").unwrap().shown.held);
        assert_ne!(table.version(), before);
        assert!(!table.to_keep()[0].1.shown.held);
        table.hold("r1", None);
        assert!(!table.get("r1").unwrap().shown.held);
    }

    #[test]
    fn a_no_at_any_port_of_a_range_is_found() {
        let mut table = Requests::without_files(10);
        let no = key(1, 1);
        let (session, to, at) = (no.session, no.destination, no.port);
        let other = key(1, 2).destination;
        table.mute(no, shown(9), BootTime(100));
        let refused = |to, low, high, now| {
            let ports = PortSpec {
                protocol: Protocol::TCP,
                low,
                high,
            };
            table.has_refused_at(session, to, &ports, BootTime(now))
        };
        assert!(refused(to, at, at, 99));
        assert!(refused(to, 1, at, 99) && refused(to, at, u16::MAX, 99));
        assert!(!refused(to, at + 1, u16::MAX, 99) && !refused(to, 1, at - 1, 99));
        assert!(!refused(other, 1, u16::MAX, 99));
        assert!(!refused(to, 1, u16::MAX, 100));
        let all = PortSpec::all(Protocol::ANY);
        assert!(table.has_refused_at(session, to, &all, BootTime(99)));
        assert!(!table.has_refused_at(SessionId(7), to, &all, BootTime(99)));
    }

    #[test]
    fn a_no_is_remembered_for_its_time() {
        let mut table = Requests::without_files(10);
        table.mute(key(1, 1), shown(9), BootTime(100));
        assert_eq!(note(&mut table, key(1, 1), 99, 1), Noted::Muted);
        assert!(matches!(note(&mut table, key(1, 1), 100, 1), Noted::New(_)));
    }

    #[test]
    fn what_waits_and_what_was_refused_is_kept_apart() {
        let mut table = Requests::without_files(10);
        note(&mut table, key(1, 1), 1, 1);
        note(&mut table, key(1, 2), 1, 2);
        let refused = table.take("r2").unwrap();
        table.mute(refused.key, refused.shown, BootTime(100));
        let kept = table.to_keep();
        let names: Vec<_> = kept.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["r1", "no-r2"]);
        assert_eq!(kept[0].1.refused_until, None);
        assert_eq!(kept[1].1.refused_until, Some(100));
        assert_eq!(kept[1].1.key(), key(1, 2));
        table.expire(BootTime(100));
        assert_eq!(table.to_keep().len(), 1);
    }

    #[test]
    fn what_nobody_tries_any_more_is_dropped() {
        let mut table = Requests::without_files(10);
        note(&mut table, key(1, 1), 0, 1);
        note(&mut table, key(1, 2), 5, 2);
        note(&mut table, key(1, 1), 9, 3);
        let age = MAX_AGE.as_nanos() as u64;
        let before = table.version();
        table.expire(BootTime(age));
        assert_eq!(table.version(), before);
        table.expire(BootTime(age + 6));
        assert_ne!(table.version(), before);
        assert_eq!(table.pending().len(), 1);
        assert!(table.get("r1").is_some());
    }

    #[test]
    fn an_ended_session_leaves_nothing() {
        let mut table = Requests::without_files(10);
        note(&mut table, key(1, 1), 0, 1);
        table.mute(key(1, 2), shown(9), BootTime(100));
        table.end_session(SessionId(1));
        assert!(table.pending().is_empty());
        assert_eq!(note(&mut table, key(1, 2), 1, 1), Noted::Muted);
        table.forget_answers(SessionId(1));
        assert!(matches!(note(&mut table, key(1, 2), 1, 1), Noted::New(_)));
    }

    #[test]
    fn where_all_room_is_used_whoever_has_most_makes_some() {
        const ROOM: u8 = 8;
        let mut table = Requests::without_files(usize::from(ROOM));
        let new = |id: u32| Noted::New(format!("r{id}"));
        // The first, by way of those that are inside it.
        for last in 0..ROOM {
            let (id, session) = (u32::from(last), 100 + u32::from(last));
            assert_eq!(note(&mut table, key(session, last), id.into(), id), new(id));
        }
        assert_eq!(note(&mut table, key(200, 1), 90, 90), Noted::Full);
        // Others have as much of it, and no more.
        for id in 50..54 {
            assert_eq!(note(&mut table, key(2, id), 99, id.into()), new(id.into()));
        }
        assert_eq!(note(&mut table, key(2, 60), 99, 60), Noted::Full);
        let left: Vec<_> = table.pending().iter().map(|one| &*one.shown.id).collect();
        assert_eq!(left, ["r4", "r5", "r6", "r7", "r50", "r51", "r52", "r53"]);
        assert_eq!(note(&mut table, key(3, 1), 99, 61), new(61));
        // For those to whose answers somebody waits there is none else.
        let until = Some(Timestamp::MAX);
        let ids: Vec<_> = table
            .pending()
            .iter()
            .map(|one| one.shown.id.clone())
            .collect();
        for id in ids {
            table.hold(&id, until);
        }
        assert_eq!(note(&mut table, key(4, 1), 99, 62), Noted::Full);
    }

    /// Notes it, and gathers what is a burst then, as guardd does.
    fn ask(table: &mut Requests, key: &RequestKey, now: u64, id: u32) -> Noted {
        let noted = note(table, key.clone(), now, id);
        if matches!(noted, Noted::New(_))
            && let Some(prefix) = table.burst_around(key, BootTime(now), is_one)
        {
            let gathered = table.gather(key, prefix).unwrap();
            return Noted::Again(gathered.request);
        }
        noted
    }

    /// The lower half of the neighbourhood is one decision, and so is the upper.
    fn is_one(prefix: &Prefix) -> bool {
        prefix.length() > 96 + 24
    }

    #[test]
    fn a_burst_is_one_request_and_a_no_to_it_is_for_all_of_it() {
        let mut table = Requests::without_files(100);
        for id in 1..=3 {
            let new = Noted::New(format!("r{id}"));
            assert_eq!(ask(&mut table, &key(1, id as u8), 1, id), new);
        }
        // Another session, another port, and what is asked after a while are no part of it.
        ask(&mut table, &key(2, 4), 1, 11);
        let other = RequestKey {
            port: 80,
            ..key(1, 4)
        };
        ask(&mut table, &other, 1, 12);
        table.hold("r3", Some(Timestamp::UNIX_EPOCH));
        let joined = Noted::Again("r1".to_owned());
        assert_eq!(ask(&mut table, &key(1, 4), 2, 4), joined);
        assert_eq!(table.pending().len(), 3);
        assert_eq!(ask(&mut table, &key(1, 77), 3, 5), joined);
        assert_eq!(
            ask(&mut table, &key(1, 200), 3, 6),
            Noted::New("r6".to_owned())
        );
        for id in ["r1", "r2", "r3", "r4"] {
            assert_eq!(table.get(id).unwrap().shown.id, "r1");
        }
        let burst = table.get("r1").unwrap().shown.burst.clone().unwrap();
        assert_eq!((&*burst.prefix, burst.count), ("192.0.2.0/25", 5));
        assert!(table.get("r1").unwrap().shown.held, "one of them waits");
        assert_eq!(table.join(&key(1, 77)).as_deref(), Some("r1"));
        assert_eq!(table.get("r1").unwrap().burst.as_ref().unwrap().count(), 5);
        assert_eq!(table.join(&key(1, 78)).as_deref(), Some("r1"));
        assert_eq!(table.get("r1").unwrap().burst.as_ref().unwrap().count(), 6);
        let kept = table.to_keep();
        let kept = kept.iter().find(|(name, _)| name == "r1").unwrap();
        assert_eq!(kept.1.burst, table.get("r1").unwrap().burst);
        let taken = table.take("r3").unwrap();
        table.mute_all(taken.key, taken.burst.unwrap(), taken.shown, BootTime(100));
        assert_eq!(ask(&mut table, &key(1, 99), 4, 7), Noted::Muted);
        assert!(table.is_refused(&key(1, 5), BootTime(99)));
        assert!(!table.is_refused(&key(1, 130), BootTime(99)));
        assert!(!table.is_refused(&key(1, 5), BootTime(100)));
        let kept = table.to_keep();
        assert!(
            kept.iter()
                .any(|(name, no)| name == "no-r1" && no.burst.is_some())
        );
        // A hole for one of them leaves the no to the others.
        let opened = key(1, 2);
        let unmuted = table.unmute(|all| all.iter().all(|one| *one == opened));
        assert_eq!(unmuted, [opened]);
        assert!(table.is_refused(&key(1, 5), BootTime(99)));
        table.unmute(|all| all.iter().all(|one| one.session == SessionId(1)));
        assert!(!table.is_refused(&key(1, 5), BootTime(99)));
    }

    #[test]
    fn what_was_asked_long_ago_makes_no_burst() {
        let mut table = Requests::without_files(100);
        let window = bursts::WINDOW.as_nanos() as u64;
        for (id, at) in [(1, 0), (2, 0), (3, 10), (4, window + 1)] {
            let new = Noted::New(format!("r{id}"));
            assert_eq!(ask(&mut table, &key(1, id as u8), at, id), new);
        }
        let joined = Noted::Again("r1".to_owned());
        ask(&mut table, &key(1, 5), window + 9, 5);
        assert_eq!(ask(&mut table, &key(1, 6), window + 9, 6), joined);
        assert_eq!(table.pending().len(), 1, "and takes in what is there");
    }

    #[test]
    fn no_prefix_is_offered_around_what_was_refused() {
        let mut table = Requests::without_files(100);
        table.mute(key(1, 9), shown(9), BootTime(1000));
        for id in 1..=8 {
            ask(&mut table, &key(1, id as u8), 1, id);
        }
        let bursts = table.pending().iter().filter_map(|one| one.burst.as_ref());
        let bursts: Vec<_> = bursts.map(|burst| burst.prefix().to_string()).collect();
        assert_eq!(bursts, ["192.0.2.0/29"]);
        let taken = table.take("r1").unwrap();
        table.mute_all(taken.key, taken.burst.unwrap(), taken.shown, BootTime(1000));
        for id in 16..=32 {
            ask(&mut table, &key(1, id as u8), 1, id);
        }
        let bursts = table.pending().iter().filter_map(|one| one.burst.as_ref());
        let bursts: Vec<_> = bursts.map(|burst| burst.prefix().to_string()).collect();
        assert_eq!(bursts, ["192.0.2.16/28"]);
    }

    proptest! {
        /// Whatever is tried: each that was asked about is found, under its own id, and a burst is one decision that
        /// holds what it says and nothing that another waits for.
        #[test]
        fn nothing_is_lost_in_a_burst(tried in prop::collection::vec((1u32..3, any::<u8>(), 0u64..4), 0..150)) {
            let mut table = Requests::without_files(1000);
            let (mut now, mut known) = (0, HashMap::new());
            for ((session, last, later), id) in tried.into_iter().zip(1..) {
                now += later * 1_000_000_000;
                let key = key(session, last);
                match ask(&mut table, &key, now, id) {
                    Noted::New(id) | Noted::Again(id) => {
                        prop_assert!(table.find(&key).is_some_and(|one| one.is_called(&id)));
                    }
                    other => panic!("{other:?}"),
                }
                known.insert(key, id);
            }
            for key in known.keys() {
                let found = table.pending().iter().filter(|one| one.is_about(key));
                prop_assert_eq!(found.count(), 1);
            }
            for one in table.pending() {
                let Some(burst) = &one.burst else { continue };
                prop_assert!(is_one(&burst.prefix()) && burst.count() >= bursts::MANY);
                prop_assert!(burst.addresses().all(|to| burst.prefix().covers(&to) && known.contains_key(&one.key.at(to))));
                prop_assert!(burst.ids().any(|id| id == one.shown.id));
            }
        }

        #[test]
        fn no_flood_takes_more_than_its_share(tried in prop::collection::vec((1u32..4, any::<u8>()), 0..1000)) {
            let mut table = Requests::without_files(100);
            for (now, (session, last)) in tried.iter().enumerate() {
                note(&mut table, key(*session, *last), now as u64, now as u32);
            }
            prop_assert!(table.pending().len() <= 100);
            for session in 1..4 {
                let of = table.pending().iter().filter(|one| one.key.session.0 == session);
                prop_assert!(of.count() <= MAX_PER_SESSION);
            }
        }
    }
}
