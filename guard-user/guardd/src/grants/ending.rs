//! How holes end: closed in the kernel, their connections cut, their end written to the audit log.

use guard_common::{BootTime, HoleId};
use guard_datapath::Datapath;
use guard_proto::record::HoleClose;
use guard_sys::clock;

use super::holes;
use crate::{
    changes::Change,
    control::{answering::Answering, ids},
    proxy::{record_pass::target, terms::Standing},
    record::audit::LogEntry,
    requests::Pending,
    state::State,
};

impl State {
    /// Tidies up after holes that the kernel has ended: cuts their connections, and writes their end to the audit log.
    pub(crate) fn end_holes(&mut self, now: BootTime) {
        for (id, known) in self.holes.take_expired(now) {
            self.hole_ended(id, &known, "expired", None);
        }
        self.holes.forget_ends(now);
    }

    /// Cuts the connections that an ended hole let through, and writes its end to the audit log. Every end comes here: `why` is
    /// `expired`, `closed`, or another.
    pub fn hole_ended(
        &mut self,
        id: HoleId,
        known: &holes::Known,
        why: &str,
        by: Option<&Answering>,
    ) {
        let connections = self.datapath.let_through(id);
        let granted = known.about.as_ref().and_then(|about| about.bytes);
        let bytes = holes::used(granted, bytes_left(&mut self.datapath, id));
        self.holes.note_end(known.session, clock::now());
        self.named.remove(id);
        self.apply(Change::Holes);
        let cut = match self.sessions.live(known.session) {
            Some(session) => self.datapath.cut(&session.cgroup, &[id]),
            None => Ok(0),
        };
        let cut = cut.unwrap_or_else(|error| {
            tracing::warn!(%error, hole = id.0, "connections hang instead of being cut");
            0
        });
        self.recorder.counters().hole_closed(why, cut);
        let session = ids::session(known.session);
        let (by, from) = self.machine.told_by(by);
        let record = HoleClose {
            hole: ids::hole(id).into(),
            why: why.into(),
            connections: connections.into(),
            bytes: bytes.into(),
            cut: cut.into(),
            by,
            from,
            ..HoleClose::default()
        };
        self.recorder
            .note(match (&known.about, self.sessions.get(known.session)) {
                (Some(about), _) => LogEntry::of(session, about.owner, record),
                (None, Some(live)) => LogEntry::of(session, live.about.uid, record),
                (None, None) => record.into(),
            });
        // In this order: if guardd is killed in between, the end is written twice, not never.
        self.holes.remove_file(id);
        self.named.remove_file(id);
        if known.read_only {
            self.drop_closed_http();
        }
    }

    /// Drops the requests about HTTP whose destinations are closed: a yes would not help.
    fn drop_closed_http(&mut self) {
        let pending = self.requests.pending().iter();
        let http = pending.filter(|one| one.key.http.is_some());
        let is_closed = |one: &&Pending| {
            let standing = self.standing(&target(&one.key));
            matches!(standing, Standing::Closed)
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

/// The unused bytes of a hole that has ended, if they were counted.
fn bytes_left(kernel: &mut Datapath, id: HoleId) -> Option<u64> {
    let left = kernel.settle_budgets(id);
    left.unwrap_or_else(|error| {
        tracing::warn!(%error, hole = id.0, "it is not known how much was sent through it");
        None
    })
}
