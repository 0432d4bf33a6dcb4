//! Closing holes before they end by themselves: when a person says so, or when their bytes are used up. Expiry is in `ending.rs`.

use std::io;

use guard_common::{HoleId, SessionId};
use guard_datapath::LiveHole;
use guard_proto as proto;

use crate::{
    control::{answering::Answering, failure::CallError, ids},
    holes::{ending::HoleEnd, hole::Hole, listed::open_holes},
    state::State,
};

impl State {
    /// Closes holes: all of the caller's, or those with the given ids.
    ///
    /// # Errors
    ///
    /// `NotFound` if an id is not that of an open hole of the caller's; then none is closed. The system's: one stays open.
    pub(crate) fn close(
        &mut self,
        by: &Answering,
        ids: &[String],
        all: bool,
    ) -> Result<proto::HolesReply, CallError> {
        let mut holes = open_holes(&self.datapath, &self.sessions, by.who)?;
        let mut judged_here = self.holes.shown_to(by.who);
        if !all {
            choose(ids, &mut holes, &mut judged_here)?;
        }
        let mut shown: Vec<_> = self.holes.shown(&holes).into_values().collect();
        // One for a name has an entry for each address.
        holes.dedup_by_key(|hole| hole.entry.id);
        let mut failed = None;
        // These first: they end whatever the kernel says about the others.
        for (id, as_shown) in judged_here {
            if let Err(error) = self.holes.close_stored(id) {
                failed = Some(not_closed(&as_shown, &error));
                continue;
            }
            if let Some(hole) = self.holes.remove(id) {
                self.hole_ended(id, &hole, HoleEnd::Closed, Some(by));
                shown.push(as_shown);
            }
        }
        for hole in &holes {
            self.close_one(hole, by)?;
        }
        if let Some(failed) = failed {
            return Err(failed);
        }
        // What a person has closed is closed, even if that could not be written to the audit log.
        let unsynced = self.recorder.sync().err().map(|error| error.to_string());
        let problem = unsynced.or_else(|| self.recorder.audit().problem().map(str::to_owned));
        let warnings = problem.map(|problem| format!("closed, but: {problem}"));
        let left = self.datapath.holes().unwrap_or_default();
        let others = holes.iter().filter_map(|closed| still_open(closed, &left));
        Ok(proto::HolesReply {
            holes: shown,
            warnings: warnings.into_iter().chain(others).collect(),
        })
    }

    /// Closes the holes whose byte budget is used up: of that session, or of all.
    pub(crate) fn end_spent_holes(&mut self, session: Option<SessionId>) {
        if !self.holes.any_counts_bytes(session) {
            return;
        }
        let Ok(mut holes) = self.datapath.holes() else {
            return;
        };
        holes.dedup_by_key(|hole| hole.entry.id);
        let is_meant = |hole: &&LiveHole| session.is_none_or(|id| hole.session == id);
        for hole in holes.iter().filter(is_meant).filter(|hole| hole.is_spent()) {
            let id = hole.entry.id;
            if let Err(error) = self.datapath.close_hole(hole.session, id) {
                tracing::warn!(%error, hole = id.0, "lets nothing through, and stays listed");
                continue;
            }
            if let Some(known) = self.holes.remove(id) {
                self.hole_ended(id, &known, HoleEnd::BytesUsedUp, None);
            }
        }
    }

    fn close_one(&mut self, hole: &LiveHole, by: &Answering) -> Result<(), CallError> {
        let id = hole.entry.id;
        self.datapath.close_hole(hole.session, id)?;
        let known = self.holes.remove(id);
        let known = known.unwrap_or_else(|| Hole::of_kernel(hole, None));
        self.hole_ended(id, &known, HoleEnd::Closed, Some(by));
        Ok(())
    }
}

/// The error of a hole whose file cannot be ended.
fn not_closed(hole: &proto::Hole, error: &io::Error) -> CallError {
    let (id, session) = (&hole.id, &hole.session);
    CallError::failed(
        format!("{id} is still open"),
        format!("its file can neither be marked as closed nor removed: {error}"),
        format!(
            "see to the disk with guardd's state, then: guard close {id}; or end its session: guard stop {session}"
        ),
    )
}

/// Leaves those with the given ids alone of the open holes, which the kernel or guardd judges.
///
/// # Errors
///
/// `NotFound` if an id is that of none.
fn choose(
    ids: &[String],
    in_kernel: &mut Vec<LiveHole>,
    judged_here: &mut Vec<(HoleId, proto::Hole)>,
) -> Result<(), CallError> {
    let wanted: Vec<_> = ids
        .iter()
        .map(|id| {
            let hole = ids::parse_hole(id)?;
            let is_open = in_kernel.iter().any(|one| one.entry.id == hole)
                || judged_here.iter().any(|(one, _)| *one == hole);
            is_open.then_some(hole).ok_or_else(|| ids::no_hole(id))
        })
        .collect::<Result<_, _>>()?;
    in_kernel.retain(|hole| wanted.contains(&hole.entry.id));
    judged_here.retain(|(id, _)| wanted.contains(id));
    Ok(())
}

/// That another hole lets pass what one did that was closed, if it does.
fn still_open(closed: &LiveHole, left: &[LiveHole]) -> Option<String> {
    let is_other = |other: &&LiveHole| {
        let (new, old) = (&other.entry, &closed.entry);
        other.session == closed.session
            && new.id != old.id
            && new.covers(&old.prefix, old.protocol, old.low)
    };
    let other = ids::hole(left.iter().find(is_other)?.entry.id);
    let closed = ids::hole(closed.entry.id);
    Some(format!(
        "{other} still lets pass what {closed} did: guard close {other}"
    ))
}

#[cfg(test)]
mod tests {
    use guard_common::{BootTime, HoleEntry};
    use guard_sys::clock::Clocks;

    use super::*;
    use crate::holes::hole::Scope;

    #[test]
    fn those_that_are_meant_are_closed_and_none_where_one_is_unknown() -> Result<(), CallError> {
        let live = |id| LiveHole {
            session: SessionId(1),
            entry: HoleEntry {
                id: HoleId(id),
                ..HoleEntry::default()
            },
            connections_left: None,
            bytes_left: None,
        };
        let question = Hole {
            session: SessionId(1),
            expires: BootTime(10),
            about: None,
            scope: Scope::Questions("db.example.com".to_owned()),
        };
        let question = question.shown(HoleId(3), &Clocks::read());
        let all = || {
            let here = question.clone().map(|shown| (HoleId(3), shown));
            (vec![live(1), live(2)], here.into_iter().collect::<Vec<_>>())
        };
        let ids = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
        let (mut in_kernel, mut here) = all();
        choose(&ids(&["h2", "h3"]), &mut in_kernel, &mut here)?;
        assert_eq!((in_kernel, here.len()), (vec![live(2)], 1));
        let (mut in_kernel, mut here) = all();
        choose(&ids(&["h1"]), &mut in_kernel, &mut here)?;
        assert_eq!((in_kernel, here.len()), (vec![live(1)], 0));
        let (mut in_kernel, mut here) = all();
        assert!(choose(&ids(&["h1", "h9"]), &mut in_kernel, &mut here).is_err());
        assert_eq!((in_kernel.len(), here.len()), (2, 1));
        Ok(())
    }
}
