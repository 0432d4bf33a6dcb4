//! Holes for names: a session may ask for a name for a while, or reach whatever addresses it has. guardd keeps them, and in files:
//! the kernel half does not judge questions, and has only the addresses, each in an entry with the hole's id.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use guard_common::{Address, BootTime, HoleId, SessionId};
use serde::{Deserialize, Serialize};

use super::{
    hole::{Connections, Hole, HoleName, HoleOrigin, Scope},
    known::Holes,
};
use crate::{policies::labels, times::is_past};

/// The ports of a hole through which nothing but questions pass.
pub(crate) const QUESTIONS: &str = "dns";
/// For how long an address that did not belong in a hole is not tried again, and how many of them are kept.
const LEFT_OUT: Duration = Duration::from_secs(10);
const MAX_LEFT_OUT: usize = 4096;

/// The file of a hole for a name, or for all names below one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct StoredName {
    /// The name, or `*.zone.example`.
    pub(crate) pattern: String,
    /// When it ends, in nanoseconds of boot time; [`CLOSED`]: a person has closed it. These files do not outlive the boot.
    pub(crate) expires: u64,
    /// Who opened it, for whom, and why.
    pub(crate) about: HoleOrigin,
    /// What is reached through it; none: nothing but questions pass.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) reaches: Option<Reaches>,
}

/// The end of a hole that a person has closed.
pub(crate) const CLOSED: BootTime = BootTime(0);

/// What is reached through a hole for a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reaches {
    /// A port specification, or all ports.
    pub(crate) ports: Option<String>,
    /// For reads alone.
    pub(crate) read_only: bool,
    /// How many connections, of all addresses together.
    pub(crate) connections: Option<u32>,
    /// It had an address of this machine's own networks, or a private one, when a person opened it: it may have others.
    pub(crate) private: bool,
    /// The rules that stopped connections when a person opened it; none: an older guardd kept none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lifts: Option<BTreeSet<Lifted>>,
}

/// A rule that a hole lets connections past.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct Lifted {
    /// The policy.
    pub(crate) policy: String,
    /// The rule; none: its default.
    pub(crate) rule: Option<String>,
}

/// Addresses that did not belong in a hole for their name, and since when: a program may ask for the name again and again.
#[derive(Debug, Default)]
pub(super) struct LeftOut(HashMap<(HoleId, Address), BootTime>);

impl LeftOut {
    /// Notes one.
    pub(super) fn note(&mut self, hole: HoleId, to: Address, now: BootTime) {
        if self.0.len() >= MAX_LEFT_OUT {
            self.0.clear();
        }
        self.0.insert((hole, to), now);
    }

    /// Whether an address was left out for a hole lately.
    pub(super) fn has(&self, hole: HoleId, to: Address, now: BootTime) -> bool {
        let since = self.0.get(&(hole, to));
        since.is_some_and(|since| !is_past(*since, LEFT_OUT, now))
    }

    /// Has each tried again.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl StoredName {
    /// The hole, where nothing but questions pass: of one for connections the kernel knows whether it is open.
    #[must_use]
    pub(crate) fn question(self) -> Hole {
        Hole {
            session: SessionId(self.about.session),
            expires: BootTime(self.expires),
            about: Some(self.about),
            scope: Scope::Questions(self.pattern),
        }
    }
}

impl Hole {
    /// The name whose addresses it opens.
    #[must_use]
    pub(crate) fn named(&self) -> Option<&HoleName> {
        self.connections()?.name.as_ref()
    }

    /// The file of a hole for a name.
    pub(super) fn stored_name(&self) -> Option<StoredName> {
        let (pattern, reaches) = match &self.scope {
            Scope::Connections(Connections { name, .. }) => {
                let named = name.as_ref()?;
                (&named.name, Some(named.reaches.clone()))
            }
            Scope::Questions(pattern) => (pattern, None),
            Scope::Requests(_) => return None,
        };
        Some(StoredName {
            pattern: pattern.clone(),
            expires: self.expires.0,
            about: self.about.clone()?,
            reaches,
        })
    }
}

/// A hole that is for the addresses of a name.
#[derive(Debug)]
pub(crate) struct HoleByName {
    /// Its id.
    pub(crate) id: HoleId,
    /// The hole.
    pub(crate) hole: Hole,
    /// Which of the name's addresses the hole is for.
    pub(crate) reaches: Reaches,
}

impl Holes {
    /// The names of a session whose addresses are open.
    #[must_use]
    pub(crate) fn opened_names(&self, session: SessionId) -> Vec<String> {
        let own = self.all().filter(|(_, hole)| hole.session == session);
        let mut names: Vec<_> = own
            .filter_map(|(_, hole)| Some(hole.named()?.name.clone()))
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// The holes through which a session reaches what a name has for addresses.
    #[must_use]
    pub(crate) fn reaching(
        &self,
        session: SessionId,
        name: &str,
        now: BootTime,
    ) -> Vec<HoleByName> {
        let open = self
            .all()
            .filter(|(_, hole)| hole.session == session && hole.expires > now);
        let reaching = open.filter_map(|(id, hole)| {
            let named = hole.named().filter(|named| named.name == name)?;
            Some(HoleByName {
                id,
                hole: hole.clone(),
                reaches: named.reaches.clone(),
            })
        });
        reaching.collect()
    }

    /// Whether a session may ask for a name, or for all of a pattern of names.
    #[must_use]
    pub(crate) fn lets_ask(&self, session: SessionId, name: &str, now: BootTime) -> bool {
        self.all().any(|(_, hole)| {
            let pattern = match &hole.scope {
                Scope::Questions(pattern) => Some(pattern),
                Scope::Connections(of) => of.name.as_ref().map(|named| &named.name),
                Scope::Requests(_) => None,
            };
            let is_open = hole.session == session && hole.expires > now;
            is_open && pattern.is_some_and(|pattern| labels::covers(pattern, name))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use jiff::Timestamp;

    use super::*;

    fn hole(session: u32, pattern: &str, expires: u64) -> Hole {
        let stored = StoredName {
            pattern: pattern.to_owned(),
            expires,
            about: HoleOrigin {
                session,
                owner: 1000,
                opened_by: "alice".to_owned(),
                reason: None,
                opened_at: Timestamp::UNIX_EPOCH,
                bytes: None,
            },
            reaches: None,
        };
        stored.question()
    }

    #[test]
    fn what_did_not_belong_in_a_hole_is_tried_again_after_a_while_or_under_other_policies() {
        let mut left_out = LeftOut::default();
        let [first, second] = [1, 2].map(|last| Address::from(Ipv4Addr::new(192, 0, 2, last)));
        let at = |seconds: u64| BootTime(seconds * 1_000_000_000);
        left_out.note(HoleId(1), first, at(1));
        assert!(left_out.has(HoleId(1), first, at(10)));
        assert!(!left_out.has(HoleId(1), first, at(11)));
        assert!(!left_out.has(HoleId(1), second, at(10)));
        assert!(!left_out.has(HoleId(2), first, at(10)), "another hole");
        left_out.clear();
        assert!(!left_out.has(HoleId(1), first, at(10)));
    }

    #[test]
    fn no_more_than_so_many_that_did_not_belong_are_kept() {
        let mut left_out = LeftOut::default();
        for number in 0..=MAX_LEFT_OUT as u32 {
            let to = Ipv4Addr::from_bits(number);
            left_out.note(HoleId(1), to.into(), BootTime(1));
        }
        assert!(left_out.0.len() <= MAX_LEFT_OUT);
    }

    #[test]
    fn a_name_may_be_asked_for_by_its_session_until_the_hole_ends() {
        let mut holes = Holes::nowhere();
        holes.add(HoleId(1), hole(1, "x.evil.example", 10));
        holes.add(HoleId(2), hole(2, "*.evil.example", 20));
        let lets = |holes: &Holes, session, name, now| {
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
        assert_eq!(holes.all().count(), 0);
    }
}
