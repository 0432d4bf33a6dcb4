//! Holes for names: a session may ask for a name for a while, or reach whatever addresses it has. guardd keeps them, and in files:
//! the kernel half does not judge questions, and has only the addresses, each in an entry with the hole's id.

use std::collections::{BTreeMap, BTreeSet};

use guard_common::{BootTime, HoleId, SessionId};
use guard_proto as proto;
use guard_sys::clock::Clocks;
use serde::{Deserialize, Serialize};

use crate::{
    control::{auth::Approver, ids},
    grants::{grant::Lifted, holes::About},
    policies::labels,
    record::shelf::Shelf,
};

/// The ports of a hole through which nothing but questions pass.
pub const QUESTIONS: &str = "dns";

/// A hole for a name, or for all names below one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NamedHole {
    /// The name, or `*.zone.example`.
    pub pattern: String,
    /// When it ends, in nanoseconds of boot time. These files do not outlive the boot.
    pub expires: u64,
    /// Who opened it, for whom, and why.
    pub about: About,
    /// What is reached through it; none: nothing but questions pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reaches: Option<Reaches>,
}

/// What is reached through a hole for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reaches {
    /// A port specification, or all ports.
    pub ports: Option<String>,
    /// For reads alone.
    pub read_only: bool,
    /// How many connections, of all addresses together.
    pub connections: Option<u32>,
    /// It had an address of this machine's own networks, or a private one, when a person opened it: it may have others.
    pub private: bool,
    /// The rules that stopped connections when a person opened it; none: an older guardd kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lifts: Option<BTreeSet<Lifted>>,
}

impl NamedHole {
    /// For which session.
    #[must_use]
    pub const fn session(&self) -> SessionId {
        SessionId(self.about.session)
    }

    /// As `guard holes` shows it.
    #[must_use]
    pub fn shown(&self, id: HoleId, clocks: &Clocks) -> proto::Hole {
        proto::Hole {
            id: ids::hole(id),
            session: ids::session(self.session()),
            destination: self.pattern.clone(),
            ports: match &self.reaches {
                Some(reaches) => reaches.ports.clone(),
                None => Some(QUESTIONS.to_owned()),
            },
            opened_by: Some(self.about.opened_by.clone()),
            reason: self.about.reason.clone(),
            opened_at: Some(self.about.opened_at),
            expires_at: clocks.calendar(BootTime(self.expires)),
            connections_left: None,
            bytes_left: None,
            read_only: false,
            http: None,
            addresses: Vec::new(),
        }
    }
}

/// Owns the holes for names that have not ended.
#[derive(Debug)]
pub struct NamedHoles {
    all: BTreeMap<HoleId, NamedHole>,
    files: Shelf<NamedHole>,
}

impl NamedHoles {
    /// None yet.
    #[must_use]
    pub const fn new(files: Shelf<NamedHole>) -> Self {
        Self {
            all: BTreeMap::new(),
            files,
        }
    }

    /// What an earlier guardd has kept.
    #[must_use]
    pub fn kept(&self) -> Vec<(HoleId, NamedHole)> {
        let kept = self.files.all().into_iter();
        let kept = kept.filter_map(|(id, hole)| Some((ids::parse_hole(&id).ok()?, hole)));
        kept.collect()
    }

    /// Adds one, and keeps it in a file.
    pub fn add(&mut self, id: HoleId, hole: NamedHole) {
        self.files.keep(&ids::hole(id), &hole);
        self.all.insert(id, hole);
    }

    /// Removes one. Its file stays until [`Self::remove_file`].
    pub fn remove(&mut self, id: HoleId) -> Option<NamedHole> {
        self.all.remove(&id)
    }

    /// Removes the file of one that has ended.
    pub fn remove_file(&self, id: HoleId) {
        self.files.remove(&ids::hole(id));
    }

    /// The hole with that id, where it is for a name.
    #[must_use]
    pub fn get(&self, id: HoleId) -> Option<&NamedHole> {
        self.all.get(&id)
    }

    /// The names of a session whose addresses are open.
    #[must_use]
    pub fn opened(&self, session: SessionId) -> Vec<String> {
        let reached = self.all.values().filter(|hole| hole.session() == session);
        let reached = reached.filter(|hole| hole.reaches.is_some());
        let mut names: Vec<_> = reached.map(|hole| hole.pattern.clone()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The holes through which a session reaches what a name has for addresses.
    #[must_use]
    pub fn reaching(
        &self,
        session: SessionId,
        name: &str,
        now: BootTime,
    ) -> Vec<(HoleId, NamedHole, Reaches)> {
        let all = self.all.iter().filter(|(_, hole)| {
            hole.session() == session && hole.pattern == name && hole.expires > now.0
        });
        let reaching =
            all.filter_map(|(id, hole)| Some((*id, hole.clone(), hole.reaches.clone()?)));
        reaching.collect()
    }

    /// How many there are of which the kernel half knows nothing.
    #[must_use]
    pub fn len(&self) -> usize {
        self.all
            .values()
            .filter(|hole| hole.reaches.is_none())
            .count()
    }

    /// Whether there is none of them.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a session may ask for a name, or for all of a pattern of names.
    #[must_use]
    pub fn lets_ask(&self, session: SessionId, name: &str, now: BootTime) -> bool {
        self.all.values().any(|hole| {
            let is_open = hole.session() == session && hole.expires > now.0;
            is_open && labels::covers(&hole.pattern, name)
        })
    }

    /// Those for questions alone, of the sessions that the caller answers for, as people see them.
    #[must_use]
    pub fn shown_to(&self, who: Approver) -> Vec<(HoleId, proto::Hole)> {
        let clocks = Clocks::read();
        let mine = self
            .all
            .iter()
            .filter(|(_, hole)| hole.reaches.is_none() && who.answers_for(hole.about.owner));
        mine.map(|(id, hole)| (*id, hole.shown(*id, &clocks)))
            .collect()
    }

    /// Removes those for questions that have expired, and returns them.
    pub fn take_expired(&mut self, now: BootTime) -> Vec<(HoleId, NamedHole)> {
        let is_over =
            |_: &HoleId, hole: &mut NamedHole| hole.reaches.is_none() && hole.expires <= now.0;
        self.all.extract_if(.., is_over).collect()
    }

    /// Removes those for questions of a session, and returns them.
    pub fn take_session(&mut self, session: SessionId) -> Vec<(HoleId, NamedHole)> {
        let is_of =
            |_: &HoleId, hole: &mut NamedHole| hole.reaches.is_none() && hole.session() == session;
        self.all.extract_if(.., is_of).collect()
    }

    /// When the next one ends.
    #[must_use]
    pub fn next_expiry(&self) -> Option<BootTime> {
        let questions = self.all.values().filter(|hole| hole.reaches.is_none());
        questions.map(|hole| BootTime(hole.expires)).min()
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    fn hole(session: u32, pattern: &str, expires: u64) -> NamedHole {
        NamedHole {
            pattern: pattern.to_owned(),
            expires,
            about: About {
                session,
                owner: 1000,
                opened_by: "alice".to_owned(),
                reason: None,
                opened_at: Timestamp::UNIX_EPOCH,
                bytes: None,
            },
            reaches: None,
        }
    }

    #[test]
    fn a_name_may_be_asked_for_by_its_session_until_the_hole_ends() {
        let mut holes = NamedHoles::new(Shelf::nowhere());
        holes.add(HoleId(1), hole(1, "x.evil.example", 10));
        holes.add(HoleId(2), hole(2, "*.evil.example", 20));
        let lets = |holes: &NamedHoles, session, name, now| {
            holes.lets_ask(SessionId(session), name, BootTime(now))
        };
        assert!(lets(&holes, 1, "x.evil.example", 9));
        for (session, name, now) in [
            (1, "x.evil.example", 10),
            (1, "y.evil.example", 9),
            (1, "a.x.evil.example", 9),
            (1, "*.evil.example", 9),
            (3, "x.evil.example", 9),
            (2, "evil.example", 9),
        ] {
            assert!(!lets(&holes, session, name, now), "{session} {name} {now}");
        }
        assert!(lets(&holes, 2, "*.evil.example", 9) && lets(&holes, 2, "a.b.evil.example", 19));
        assert_eq!(holes.next_expiry(), Some(BootTime(10)));
        assert_eq!(holes.take_expired(BootTime(10)).len(), 1);
        assert_eq!(holes.take_session(SessionId(2)).len(), 1);
        assert!(holes.is_empty());
    }
}
