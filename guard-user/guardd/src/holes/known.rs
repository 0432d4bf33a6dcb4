//! The holes that guardd knows of.

use std::{collections::BTreeMap, io, time::Duration};

use guard_common::{Address, BootTime, Event, HoleEntry, HoleId, Hook, Protocol, SessionId};
use guard_datapath::LiveHole;
use guard_policy::{PortSpec, Prefix};
use guard_proto as proto;
use guard_sys::clock::Clocks;

use super::{
    hole::{Connections, Hole, HoleName, HoleOrigin, Scope},
    names::{CLOSED, LeftOut, StoredName},
};
use crate::{
    control::{auth::Approver, ids},
    record::shelf::Shelf,
    times::is_past,
};

/// How long after a hole ends its connections may still send packets.
const AFTERMATH: Duration = Duration::from_secs(2);

/// Owns what guardd knows of holes: those for connections that were open when last read from the kernel, and those that guardd
/// itself judges.
#[derive(Debug)]
pub(crate) struct Holes {
    all: BTreeMap<HoleId, Hole>,
    /// Who opened each hole for connections, by its id.
    files: Shelf<HoleOrigin>,
    /// Those for names.
    names: Shelf<StoredName>,
    /// Addresses of names that did not belong in their holes.
    left_out: LeftOut,
    /// Those that ended a moment ago.
    ended: Vec<EndedHole>,
}

/// A hole for connections that ended a moment ago.
#[derive(Debug)]
struct EndedHole {
    session: SessionId,
    at: BootTime,
    covered: Vec<HoleEntry>,
}

impl EndedHole {
    /// Whether it let such a packet through.
    fn let_through(&self, event: &Event) -> bool {
        let mut covered = self.covered.iter();
        covered.any(|one| one.covers(&event.destination, event.protocol, event.port))
    }
}

impl Holes {
    /// None yet.
    #[must_use]
    pub(crate) fn new(files: Shelf<HoleOrigin>, names: Shelf<StoredName>) -> Self {
        Self {
            all: BTreeMap::new(),
            files,
            names,
            left_out: LeftOut::default(),
            ended: Vec::new(),
        }
    }

    #[cfg(test)]
    pub(super) fn nowhere() -> Self {
        Self::new(Shelf::nowhere(), Shelf::nowhere())
    }

    /// Who opened the holes for connections that an earlier guardd has kept, by their ids.
    #[must_use]
    pub(crate) fn kept(&self) -> BTreeMap<String, HoleOrigin> {
        self.files.all().into_iter().collect()
    }

    /// The holes for names that an earlier guardd has kept.
    #[must_use]
    pub(crate) fn kept_names(&self) -> Vec<(HoleId, StoredName)> {
        let kept = self.names.all().into_iter();
        let kept = kept.filter_map(|(id, hole)| Some((ids::parse_hole(&id).ok()?, hole)));
        kept.collect()
    }

    /// Adds an open hole.
    pub(crate) fn add(&mut self, id: HoleId, hole: Hole) {
        self.all.insert(id, hole);
    }

    /// Keeps a hole's files, so that it outlives guardd. Those for requests have none.
    pub(crate) fn keep(&self, id: HoleId) {
        let Some(hole) = self.get(id) else {
            return;
        };
        if let (Some(_), Some(about)) = (hole.connections(), &hole.about) {
            self.files.keep(&ids::hole(id), about);
        }
        if let Some(name) = hole.stored_name() {
            self.names.keep(&ids::hole(id), &name);
        }
    }

    /// Ends a hole for questions on the disk: its file alone would open it again. Of one for connections the kernel knows.
    ///
    /// # Errors
    ///
    /// The file system's: a later guardd may find it open.
    pub(super) fn close_stored(&self, id: HoleId) -> io::Result<()> {
        let key = ids::hole(id);
        let hole = self.get(id);
        let question = hole.filter(|hole| matches!(hole.scope, Scope::Questions(_)));
        match question.and_then(Hole::stored_name) {
            Some(stored) if self.names.has(&key) => {
                let closed = StoredName {
                    expires: CLOSED.0,
                    ..stored
                };
                let marked = self.names.put_synced(&key, &closed);
                // A full disk takes no mark.
                marked.or_else(|_| self.names.remove_synced(&key))
            }
            _ => Ok(()),
        }
    }

    /// Removes the files of a hole that has ended.
    pub(crate) fn remove_files(&self, id: HoleId) {
        self.files.remove(&ids::hole(id));
        self.names.remove(&ids::hole(id));
    }

    /// Notes the name that a hole for connections is for.
    pub(crate) fn set_name(&mut self, id: HoleId, named: HoleName) {
        if let Some(Scope::Connections(connections)) = self.get_mut(id).map(|hole| &mut hole.scope)
        {
            connections.name = Some(named);
        }
    }

    /// Notes that an address does not belong in a hole for its name.
    pub(super) fn leave_out(&mut self, id: HoleId, to: Address, now: BootTime) {
        self.left_out.note(id, to, now);
    }

    /// Whether it did not a moment ago.
    pub(super) fn has_left_out(&self, id: HoleId, to: Address, now: BootTime) -> bool {
        self.left_out.has(id, to, now)
    }

    /// Has each tried again: policies may say something else of it.
    pub(crate) fn try_left_out(&mut self) {
        self.left_out.clear();
    }

    /// All of them, the oldest first.
    pub(crate) fn all(&self) -> impl Iterator<Item = (HoleId, &Hole)> {
        self.all.iter().map(|(id, hole)| (*id, hole))
    }

    /// Those that the kernel half does not know of: guardd judges what they are for.
    pub(crate) fn judged_here(&self) -> impl Iterator<Item = (HoleId, &Hole)> {
        self.all().filter(|(_, hole)| hole.connections().is_none())
    }

    /// Those of [`Self::judged_here`] of the sessions that the caller answers for, as people see them.
    #[must_use]
    pub(crate) fn shown_to(&self, who: Approver) -> Vec<(HoleId, proto::Hole)> {
        let clocks = Clocks::read();
        let answers = |hole: &Hole| {
            let about = hole.about.as_ref();
            about.is_some_and(|about| who.answers_for(about.owner))
        };
        let mine = self.all().filter(|(_, hole)| answers(hole));
        mine.filter_map(|(id, hole)| Some((id, hole.shown(id, &clocks)?)))
            .collect()
    }

    /// Notes what known holes cover in the kernel.
    pub(crate) fn note_covered(&mut self, live: &[LiveHole]) {
        for one in live {
            let known = self.get_mut(one.entry.id).map(|hole| &mut hole.scope);
            if let Some(Scope::Connections(connections)) = known
                && !connections.covered.contains(&one.entry)
            {
                connections.covered.push(one.entry);
            }
        }
    }

    /// Notes that a hole for connections has ended.
    pub(crate) fn note_end(&mut self, hole: &Hole, now: BootTime) {
        if let Some(connections) = hole.connections() {
            self.ended.push(EndedHole {
                session: hole.session,
                at: now,
                covered: connections.covered.clone(),
            });
        }
    }

    /// Removes the ends of holes whose connections no longer send.
    pub(crate) fn forget_ends(&mut self, now: BootTime) {
        self.ended.retain(|one| !is_past(one.at, AFTERMATH, now));
    }

    /// Whether the event may be a packet of a connection whose hole has just ended: it makes no request.
    #[must_use]
    pub(crate) fn is_aftermath(&self, event: &Event) -> bool {
        let is_its = |ended: &EndedHole| {
            let is_soon = !is_past(ended.at, AFTERMATH, event.at);
            is_soon && ended.session == event.session && ended.let_through(event)
        };
        event.hook == Hook::Egress as u8 && self.ended.iter().any(is_its)
    }

    /// The hole with that id.
    #[must_use]
    pub(crate) fn get(&self, id: HoleId) -> Option<&Hole> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: HoleId) -> Option<&mut Hole> {
        self.all.get_mut(&id)
    }

    /// How many are open, in the kernel (`live`) and here: those that let something new through.
    #[must_use]
    pub(crate) fn count_open(&self, live: &[LiveHole]) -> usize {
        let mut live: Vec<_> = live.iter().collect();
        // One for a name has an entry for each address.
        live.dedup_by_key(|hole| hole.entry.id);
        live.retain(|hole| !hole.is_used_up());
        live.len() + self.judged_here().count()
    }

    /// The number of known holes.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether a hole is for reads alone: of that session, or of any.
    #[must_use]
    pub(crate) fn any_for_reads(&self, session: Option<SessionId>) -> bool {
        self.any_of(session, |connections| connections.read_only)
    }

    /// Whether a hole counts bytes: of that session, or of any.
    #[must_use]
    pub(crate) fn any_counts_bytes(&self, session: Option<SessionId>) -> bool {
        self.any_of(session, |connections| connections.counts_bytes)
    }

    fn any_of(&self, session: Option<SessionId>, is_meant: impl Fn(&Connections) -> bool) -> bool {
        self.all.values().any(|hole| {
            let is_its = session.is_none_or(|id| hole.session == id);
            is_its && hole.connections().is_some_and(&is_meant)
        })
    }

    /// Who opened the hole, and why.
    #[must_use]
    pub(crate) fn about(&self, id: HoleId) -> Option<&HoleOrigin> {
        self.all.get(&id)?.about.as_ref()
    }

    /// The holes that the kernel has (`live`), as people see them, each under its own id: a known one may have ended.
    #[must_use]
    pub(crate) fn listed(
        &self,
        live: &[LiveHole],
        clocks: &Clocks,
    ) -> BTreeMap<HoleId, proto::Hole> {
        let listed = live.iter().map(|hole| {
            let id = hole.entry.id;
            (id, shown(hole, self.about(id), clocks))
        });
        listed.collect()
    }

    /// Removes a hole that is closed. Its files stay until [`Self::remove_files`].
    pub(crate) fn remove(&mut self, id: HoleId) -> Option<Hole> {
        self.all.remove(&id)
    }

    /// Removes the holes that have expired by now, and returns them.
    pub(crate) fn take_expired(&mut self, now: BootTime) -> Vec<(HoleId, Hole)> {
        let is_over = |_: &HoleId, hole: &mut Hole| hole.expires <= now;
        self.all.extract_if(.., is_over).collect()
    }

    /// Removes the holes of a session, and returns them.
    pub(crate) fn take_session(&mut self, session: SessionId) -> Vec<(HoleId, Hole)> {
        let is_of = |_: &HoleId, hole: &mut Hole| hole.session == session;
        self.all.extract_if(.., is_of).collect()
    }

    /// When the next hole ends.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.all.values().map(|hole| hole.expires).min()
    }
}

/// How many of a hole's bytes were used, if they were counted.
#[must_use]
pub(crate) fn used(budget: Option<u64>, left: Option<u64>) -> Option<u64> {
    Some(budget?.saturating_sub(left?))
}

/// A hole as `guard holes` shows it.
#[must_use]
pub(crate) fn shown(hole: &LiveHole, about: Option<&HoleOrigin>, clocks: &Clocks) -> proto::Hole {
    let entry = &hole.entry;
    proto::Hole {
        id: ids::hole(entry.id),
        session: ids::session(hole.session),
        destination: Prefix::new(entry.prefix.to_u128(), entry.prefix_len).to_string(),
        ports: ports(entry.protocol, entry.low, entry.high),
        opened_by: about.map(|about| about.opened_by.clone()),
        reason: about.and_then(|about| about.reason.clone()),
        opened_at: about.map(|about| about.opened_at),
        expires_at: clocks.calendar(entry.expires),
        connections_left: hole.connections_left,
        bytes_left: hole.bytes_left,
        read_only: entry.kind.reads(),
        http: None,
        addresses: Vec::new(),
        shut_by: None,
    }
}

/// As a port specification; `None`: all.
fn ports(protocol: Protocol, low: u16, high: u16) -> Option<String> {
    (protocol != Protocol::ANY).then(|| {
        let spec = PortSpec {
            protocol,
            low,
            high,
        };
        spec.to_string()
    })
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use jiff::Timestamp;

    use super::*;

    #[test]
    fn holes_are_forgotten_when_they_end() {
        let mut holes = Holes::nowhere();
        for (id, session, expires) in [(1, 1, 10), (2, 1, 20), (3, 2, 30)] {
            let connections = Connections {
                read_only: id == 2,
                ..Connections::default()
            };
            let hole = Hole {
                session: SessionId(session),
                expires: BootTime(expires),
                about: None,
                scope: Scope::Connections(connections),
            };
            holes.add(HoleId(id), hole);
        }
        assert!(holes.any_for_reads(None) && holes.any_for_reads(Some(SessionId(1))));
        assert!(!holes.any_for_reads(Some(SessionId(2))));
        assert_eq!(holes.next_expiry(), Some(BootTime(10)));
        assert_eq!(holes.take_expired(BootTime(10)).len(), 1);
        assert_eq!(holes.take_session(SessionId(1)).len(), 1);
        assert!(!holes.any_for_reads(None));
        assert!(holes.remove(HoleId(3)).is_some());
        assert_eq!(holes.next_expiry(), None);
    }

    #[test]
    fn each_is_listed_with_its_own_words_whatever_has_ended_meanwhile() {
        let live = |id| LiveHole {
            session: SessionId(1),
            entry: HoleEntry {
                id: HoleId(id),
                ..HoleEntry::default()
            },
            connections_left: None,
            bytes_left: None,
        };
        let mut holes = Holes::nowhere();
        for id in [1, 2, 4] {
            let about = HoleOrigin {
                session: 1,
                owner: 1000,
                opened_by: format!("opener of h{id}"),
                reason: None,
                opened_at: Timestamp::UNIX_EPOCH,
                bytes: None,
            };
            let hole = Hole {
                session: SessionId(1),
                expires: BootTime(10),
                about: Some(about),
                scope: Scope::Connections(Connections::default()),
            };
            holes.add(HoleId(id), hole);
        }
        // The kernel has ended h1, and nothing is known of h3.
        let listed = holes.listed(&[live(4), live(3), live(2)], &Clocks::read());
        let listed = listed.iter().map(|(id, hole)| {
            assert_eq!(ids::hole(*id), hole.id);
            (hole.id.as_str(), hole.opened_by.as_deref())
        });
        let expected = [
            ("h2", Some("opener of h2")),
            ("h3", None),
            ("h4", Some("opener of h4")),
        ];
        assert_eq!(listed.collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_hole_for_a_name_counts_once_and_one_that_is_used_up_not() {
        let live = |id, connections_left| LiveHole {
            session: SessionId(1),
            entry: HoleEntry {
                id: HoleId(id),
                ..HoleEntry::default()
            },
            connections_left,
            bytes_left: None,
        };
        let mut holes = Holes::nowhere();
        let of_name = [live(1, None), live(1, None)];
        assert_eq!(holes.count_open(&of_name), 1);
        assert_eq!(holes.count_open(&[live(1, Some(1)), live(2, Some(0))]), 1);
        // The kernel does not know of this one.
        let hole = Hole {
            session: SessionId(1),
            expires: BootTime(10),
            about: None,
            scope: Scope::Questions("db.example.com".to_owned()),
        };
        holes.add(HoleId(3), hole);
        assert_eq!(holes.count_open(&of_name), 2);
    }

    #[test]
    fn ports_are_shown_as_they_are_typed() {
        assert_eq!(ports(Protocol::ANY, 0, u16::MAX), None);
        assert_eq!(ports(Protocol::TCP, 443, 443).as_deref(), Some("tcp/443"));
        assert_eq!(ports(Protocol::ICMP, 0, u16::MAX).as_deref(), Some("icmp"));
    }

    #[test]
    fn what_a_connection_still_sends_when_its_hole_has_ended_is_no_attempt_for_a_while() {
        let mut holes = Holes::nowhere();
        let at = |seconds: u64| BootTime(seconds * 1_000_000_000);
        let own = Address::from(IpAddr::from([192, 0, 2, 10]));
        let sends = |session: u32, hook: Hook, seconds: u64| Event {
            session: SessionId(session),
            hook: hook as u8,
            at: at(seconds),
            destination: own,
            port: 443,
            protocol: Protocol::TCP,
            ..Event::default()
        };
        let over = |prefix: &str, id: u32| {
            let prefix: Prefix = prefix.parse().unwrap();
            let live = LiveHole {
                session: SessionId(1),
                entry: HoleEntry {
                    prefix: prefix.address(),
                    mask: prefix.mask(),
                    id: HoleId(id),
                    low: 443,
                    high: 443,
                    protocol: Protocol::TCP,
                    ..HoleEntry::default()
                },
                connections_left: None,
                bytes_left: None,
            };
            Hole::of_kernel(&live, None)
        };
        holes.note_end(&over("192.0.2.10", 1), at(100));
        assert!(holes.is_aftermath(&sends(1, Hook::Egress, 101)));
        // What goes elsewhere is of no connection that it let through.
        for (to, port, protocol) in [
            (IpAddr::from([192, 0, 2, 11]).into(), 443, Protocol::TCP),
            (own, 80, Protocol::TCP),
            (own, 443, Protocol::UDP),
        ] {
            let other = Event {
                destination: to,
                port,
                protocol,
                ..sends(1, Hook::Egress, 101)
            };
            assert!(!holes.is_aftermath(&other), "{to:?} {port} {protocol:?}");
        }
        assert!(!holes.is_aftermath(&sends(1, Hook::Egress, 102)));
        assert!(!holes.is_aftermath(&sends(2, Hook::Egress, 101)));
        assert!(!holes.is_aftermath(&sends(1, Hook::Connect4, 101)));
        holes.forget_ends(at(102));
        assert!(!holes.is_aftermath(&sends(1, Hook::Egress, 101)));
    }
}
