//! What follows each end of a hole, however it came: its connections are cut, and the end is written to the audit log.

use guard_common::{BootTime, HoleId, SessionId};
use guard_datapath::Datapath;
use guard_proto::record::HoleClose;
use guard_sys::clock;

use super::{
    hole::{Hole, HoleOrigin, Scope},
    known::{self, Holes},
};
use crate::{
    changes::Change,
    control::{answering::Answering, ids},
    machine::DecidedBy,
    proxy::{record_pass::target, terms::TargetAccess},
    record::audit::LogEntry,
    requests::Pending,
    sessions::Sessions,
    state::State,
};

/// Why a hole ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HoleEnd {
    Expired,
    ExpiredWhileDown,
    Closed,
    SessionEnded,
    UsedUp,
    BytesUsedUp,
    /// Its opening could not be written to the audit log.
    NotWritten,
}

impl HoleEnd {
    /// In the audit log, and for people.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::ExpiredWhileDown => "expired while guardd was down",
            Self::Closed => "closed",
            Self::SessionEnded => "the session has ended",
            Self::UsedUp => "used up",
            Self::BytesUsedUp => "its bytes are used up",
            Self::NotWritten => "not written down",
        }
    }

    /// Among the counted events.
    const fn event(self) -> &'static str {
        match self {
            Self::Expired | Self::ExpiredWhileDown => "holes_closed.expired",
            Self::Closed => "holes_closed.closed",
            Self::SessionEnded => "holes_closed.session-ended",
            Self::UsedUp | Self::BytesUsedUp => "holes_closed.used-up",
            Self::NotWritten => "holes_closed.not-written-down",
        }
    }
}

impl State {
    /// Tidies up after holes that have expired: the kernel has ended those for connections by its own clock.
    pub(crate) fn end_holes(&mut self, now: BootTime) {
        for (id, hole) in self.holes.take_expired(now) {
            self.hole_ended(id, &hole, HoleEnd::Expired, None);
        }
        self.holes.forget_ends(now);
    }

    /// Ends the holes of a session that has ended.
    pub(crate) fn end_holes_of(&mut self, session: SessionId) {
        for (id, hole) in self.holes.take_session(session) {
            self.hole_ended(id, &hole, HoleEnd::SessionEnded, None);
        }
        // Also where it had none: its terms are no more.
        self.apply(Change::Holes);
    }

    /// Writes the end of a hole to the audit log, and cuts the connections that it let through. Every end comes here.
    pub(crate) fn hole_ended(
        &mut self,
        id: HoleId,
        hole: &Hole,
        why: HoleEnd,
        by: Option<&Answering>,
    ) {
        let (used, cut) = match &hole.scope {
            Scope::Connections(_) => {
                let (kernel, sessions) = (&mut self.datapath, &self.sessions);
                self.holes.connections_ended(kernel, sessions, id, hole)
            }
            Scope::Questions(_) => (HoleClose::default(), 0),
            Scope::Requests(requests) => {
                let used = HoleClose {
                    requests: requests.passed.into(),
                    bytes: known::used(byte_budget(hole), requests.bytes).into(),
                    ..HoleClose::default()
                };
                (used, 0)
            }
        };
        let through = used.connections.get().or(used.requests.get());
        let through = through.copied().unwrap_or(0);
        self.requests.note_end(id, why.as_str(), through);
        self.recorder.count(why.event());
        self.recorder.count_by("connections_cut", cut as u64);
        let DecidedBy { by, from } = self.machine.decided_by(by);
        let record = HoleClose {
            hole: ids::hole(id).into(),
            why: why.as_str().into(),
            by,
            from,
            ..used
        };
        let session = ids::session(hole.session);
        self.recorder
            .note(match (&hole.about, self.sessions.get(hole.session)) {
                (Some(about), _) => LogEntry::of(session, about.owner, record),
                (None, Some(live)) => LogEntry::of(session, live.about.uid, record),
                (None, None) => record.into(),
            });
        // In this order: if guardd is killed in between, the end is written twice, not never.
        self.holes.remove_files(id);
        // Once, and after connections are cut: it only marks what the workers know as outdated, and they are told when this is done.
        self.apply(Change::Holes);
        if hole.connections().is_some_and(|of| of.read_only) {
            self.drop_closed_http();
        }
    }

    /// Drops the requests about HTTP whose destinations are closed: a yes would not help.
    fn drop_closed_http(&mut self) {
        let pending = self.requests.pending().iter();
        let http = pending.filter(|one| one.key.http.is_some());
        let is_closed = |one: &&Pending| {
            let access = self.targets().access(&target(&one.key));
            matches!(access, TargetAccess::Closed)
        };
        let closed: Vec<_> = http
            .filter(is_closed)
            .map(|one| one.shown.id.clone())
            .collect();
        for id in closed {
            self.requests.take(&id);
        }
    }
}

impl Holes {
    /// Cuts the connections that an ended hole let through. Returns what was used of it, and how many were cut.
    fn connections_ended(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        id: HoleId,
        hole: &Hole,
    ) -> (HoleClose, usize) {
        let connections = kernel.let_through(id);
        let bytes = known::used(byte_budget(hole), bytes_left(kernel, id));
        self.note_end(hole, clock::now());
        let cut = match sessions.live(hole.session) {
            Some(session) => kernel.cut(&session.cgroup, &[id]),
            None => Ok(0),
        };
        let cut = cut.unwrap_or_else(|error| {
            tracing::warn!(%error, hole = id.0, "connections hang instead of being cut");
            0
        });
        let used = HoleClose {
            connections: connections.into(),
            bytes: bytes.into(),
            cut: cut.into(),
            ..HoleClose::default()
        };
        (used, cut)
    }
}

/// The unused bytes of a hole that has ended, if they were counted.
fn bytes_left(kernel: &mut Datapath, id: HoleId) -> Option<u64> {
    let left = kernel.settle_budgets(id);
    left.unwrap_or_else(|error| {
        tracing::warn!(%error, hole = id.0, "it is not known how much was sent through it");
        None
    })
}

/// The bytes that a person opened it for.
fn byte_budget(hole: &Hole) -> Option<u64> {
    hole.about
        .as_ref()
        .and_then(|about: &HoleOrigin| about.bytes)
}
