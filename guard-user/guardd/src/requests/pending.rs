//! A request that waits for an approver's answer.

use guard_common::{Address, BootTime};
use guard_policy::Prefix;
use guard_proto as proto;

use super::{
    MAX_PROGRAMS, RequestKey,
    bursts::Burst,
    questions::{AskingProgram, NameBurst},
    series::Series,
    warn,
};
use crate::quota::Account;

/// A request that is pending: it waits for an approver's answer.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// What it is about.
    pub(crate) key: RequestKey,
    /// The burst, if it is about several addresses.
    pub(crate) burst: Option<Burst>,
    /// The names, if it is about several questions.
    pub(crate) names: Option<NameBurst>,
    /// The statements, if it is about several: `key` is about the first, and each has an id.
    pub(crate) series: Series,
    /// The session's user.
    pub(crate) owner: u32,
    /// The account for which it counts.
    pub(crate) account: Account,
    /// The time of the first attempt.
    pub(crate) asked: BootTime,
    /// The time of the last attempt.
    pub(crate) last: BootTime,
    /// The attempts that guardd has seen. The kernel half counts those of connections by itself.
    pub(crate) tried: u64,
    /// What people see of it.
    pub(crate) shown: proto::Request,
}

impl Pending {
    /// Whether an attempt with that key is part of this request.
    #[must_use]
    pub(crate) fn is_about(&self, key: &RequestKey) -> bool {
        let covers =
            |burst: &Burst| burst.prefix().covers(&key.destination) && self.key.is_beside(key);
        let is_own =
            self.key == *key || self.burst.as_ref().is_some_and(covers) || self.has_name(key);
        is_own || self.series.keys().any(|one| one == key)
    }

    /// Whether it has that id, or had it before it became part of a burst.
    #[must_use]
    pub(crate) fn is_called(&self, id: &str) -> bool {
        let is_part = |burst: &Burst| burst.ids().any(|one| one == id);
        let is_name = |names: &NameBurst| names.ids().any(|one| one == id);
        let is_own = self.shown.id == id
            || self.burst.as_ref().is_some_and(is_part)
            || self.names.as_ref().is_some_and(is_name);
        is_own || self.series.ids().any(|one| one == id)
    }

    /// Whether what is open leaves nothing of it to answer. `is_open`: whether one hole opens all of these.
    #[must_use]
    pub(crate) fn is_settled(&self, is_open: impl Fn(&[RequestKey]) -> bool) -> bool {
        let Some(burst) = &self.burst else {
            let is_open = |one: &RequestKey| is_open(std::slice::from_ref(one));
            return is_open(&self.key) && self.series.keys().all(is_open);
        };
        let mut tried = burst.addresses().map(|to| self.key.at(to));
        is_open(&self.key.ends(&burst.prefix()))
            || (!burst.is_full() && tried.all(|one| is_open(&[one])))
    }

    pub(super) fn add(&mut self, address: Address, id: Option<String>) -> bool {
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
    pub(super) fn absorb(&mut self, other: Self) {
        let id = other.shown.id.clone();
        let by = AskingProgram::of(&other.shown);
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
            warn(&mut shown.warnings, warning);
        }
    }

    /// What is left of a burst after a yes for these prefixes: a request about fewer addresses. Its id is `new`; a single
    /// address that is left keeps the id it had of its own, if that was not the burst's.
    pub(super) fn without(self, opened: &[Prefix], new: String) -> Option<Self> {
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
            opens_name: false,
            ..self.shown
        };
        Some(Self {
            key: self.key.at(destination),
            burst: (!alone).then_some(burst),
            shown,
            ..self
        })
    }

    /// The number of its files and ids: one for each statement of a series.
    pub(super) fn count(&self) -> usize {
        self.each().count()
    }
}
