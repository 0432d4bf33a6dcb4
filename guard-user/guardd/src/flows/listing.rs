//! What sessions have reached, for the approvers who may see it.

use std::{cmp::Reverse, collections::BTreeMap};

use guard_common::{Protocol, SessionId};
use guard_datapath::Datapath;
use guard_policy::protocol_name;
use guard_proto::{
    Flow,
    flows::{FirstReached, FlowsReply as Listed},
};
use jiff::Timestamp;

use super::{
    Flows, Knowledge,
    kept::{FlowTotals, KeptFlows, ProgramTarget},
};
use crate::{
    control::{
        auth::{Agent, Approver},
        failure::CallError,
        ids,
    },
    sessions::Sessions,
};

/// Hours before this one for which new destinations are counted.
const HOURS: i64 = 24;

impl Flows {
    /// What the sessions that a caller answers for have reached, or one of them and those inside it: read now.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session of which nothing is known; the kernel's.
    pub(crate) fn list(
        &mut self,
        kernel: &Datapath,
        known: Knowledge<'_>,
        who: Approver,
        session: Option<&str>,
    ) -> Result<Listed, CallError> {
        self.read(kernel, known)?;
        let mine = self.kept_for(known.sessions, who, session)?;
        Ok(Listed {
            flows: mine.iter().copied().flat_map(shown).collect(),
            name_servers: known.policies.name_servers(),
            warnings: self.missing(&mine, session),
            ..Listed::default()
        })
    }

    /// The same of several callers, without this machine's name servers, and read once for all; `latest`: so many at most.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session of which nothing is known that one of them answers for; the kernel's.
    pub(crate) fn list_of_all(
        &mut self,
        kernel: &Datapath,
        known: Knowledge<'_>,
        who: &[Approver],
        session: Option<&str>,
        latest: Option<usize>,
    ) -> Result<Listed, CallError> {
        if who.is_empty() {
            return Ok(Listed::default());
        }
        self.read(kernel, known)?;
        let mine = self.kept_for_any(known.sessions, who, session)?;
        let listed = match latest {
            Some(most) => latest_of(&mine, most, Timestamp::now()),
            None => Listed {
                flows: mine.iter().copied().flat_map(shown).collect(),
                ..Listed::default()
            },
        };
        Ok(Listed {
            warnings: self.missing(&mine, session),
            ..listed
        })
    }

    /// What the caller's session has reached.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn list_own(
        &mut self,
        kernel: &Datapath,
        known: Knowledge<'_>,
        who: Agent,
    ) -> Result<Listed, CallError> {
        self.read(kernel, known)?;
        let began = self.current.get(&who.session());
        let own = began.and_then(|began| self.all.get(began));
        Ok(Listed {
            flows: own.map(shown).into_iter().flatten().collect(),
            name_servers: known.policies.name_servers(),
            warnings: own.and_then(left_out).into_iter().collect(),
            ..Listed::default()
        })
    }

    /// What is known, as it was last read, of a caller's sessions, or of one of them and those inside it.
    fn kept_for(
        &self,
        sessions: &Sessions,
        who: Approver,
        session: Option<&str>,
    ) -> Result<Vec<&KeptFlows>, CallError> {
        let wanted = session.map(|one| self.meant(sessions, who, one));
        let wanted = wanted.transpose()?;
        let is_wanted = |kept: &&KeptFlows| {
            who.answers_for(kept.uid) && wanted.is_none_or(|id| kept.belongs_to(id))
        };
        Ok(self.all.values().filter(is_wanted).collect())
    }

    /// The same of several callers, of whom one has to know the session.
    fn kept_for_any(
        &self,
        sessions: &Sessions,
        who: &[Approver],
        session: Option<&str>,
    ) -> Result<Vec<&KeptFlows>, CallError> {
        let (mut mine, mut is_known, mut unknown) = (Vec::new(), false, None);
        for one in who {
            match self.kept_for(sessions, *one, session) {
                Ok(kept) => {
                    is_known = true;
                    mine.extend(kept);
                }
                Err(error) => unknown = Some(error),
            }
        }
        match unknown.filter(|_| !is_known) {
            Some(error) => Err(error),
            None => Ok(mine),
        }
    }

    /// What is not known of these, or, unless one session is meant, of earlier ones.
    fn missing(&self, mine: &[&KeptFlows], session: Option<&str>) -> Vec<String> {
        let mut warnings: Vec<_> = mine.iter().filter_map(|kept| left_out(kept)).collect();
        if self.forgotten > 0 && session.is_none() {
            warnings.push(format!(
                "what {} earlier sessions reached was evicted, to make room for later ones",
                self.forgotten
            ));
        }
        warnings
    }

    /// The session that is meant: one that lives, or has ended.
    fn meant(
        &self,
        sessions: &Sessions,
        who: Approver,
        session: &str,
    ) -> Result<SessionId, CallError> {
        let may = |owner| who.answers_for(owner);
        let live = sessions.called(session, may);
        live.map(|live| live.cgroup.id).or_else(|unknown| {
            let id = ids::parse_session(session).map_err(|_| not_by_name(session))?;
            let mut all = self.all.values();
            let is_known = all.any(|kept| kept.belongs_to(id) && may(kept.uid));
            if is_known { Ok(id) } else { Err(unknown) }
        })
    }
}

/// Of sessions that have ended, the audit log alone has the names.
fn not_by_name(session: &str) -> CallError {
    if ids::other_kind(session).is_some() {
        return ids::no_session(session);
    }
    CallError::not_found(
        format!("there is no session {session}"),
        "no live session of yours has that id or name; of one that has ended the id is known",
        format!("guard report --name {session}"),
    )
}

fn left_out(kept: &KeptFlows) -> Option<String> {
    (kept.left_out > 0).then(|| {
        format!(
            "{} has reached more than is kept of a session and those inside it: {} connections are not listed",
            ids::session(kept.id()),
            kept.left_out
        )
    })
}

/// In the order of their first connections.
fn shown(kept: &KeptFlows) -> Vec<Flow> {
    let mut all: Vec<_> = kept.iter().collect();
    all.sort_by_key(|(spot, flow)| (flow.first_at, *spot));
    let session = ids::session(kept.id());
    all.into_iter()
        .map(|(spot, flow)| one(&session, spot, flow, kept))
        .collect()
}

/// The latest of each outermost session, then the one before it of each, for a session could hide by what it reaches what others have. And
/// how much there is of all.
fn latest_of(mine: &[&KeptFlows], most: usize, now: Timestamp) -> Listed {
    let mut each: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for kept in mine {
        let own = kept.iter().map(|(spot, flow)| (*kept, spot, flow));
        each.entry(kept.outermost()).or_default().extend(own);
    }
    let count = each.values().map(Vec::len).sum::<usize>();
    let mut latest = Vec::new();
    for mut own in each.into_values() {
        own.sort_by_key(|(_, _, flow)| Reverse(flow.last_at));
        latest.extend(own.into_iter().take(most).enumerate());
    }
    latest.sort_by_key(|(turn, (_, _, flow))| (*turn, Reverse(flow.last_at)));
    latest.truncate(most);
    let flows = latest.into_iter().map(|(_, (kept, spot, flow))| Flow {
        names: Vec::new(),
        ..one(&ids::session(kept.id()), spot, flow, kept)
    });
    let flows: Vec<_> = flows.collect();
    Listed {
        left_out: count - flows.len(),
        flows,
        first_reached: first_reached(mine, now),
        ..Listed::default()
    }
}

/// By the hour of the last day in which they began.
fn first_reached(mine: &[&KeptFlows], now: Timestamp) -> Vec<FirstReached> {
    let number = |at: Timestamp| at.as_second().div_euclid(3600);
    let last = number(now);
    let mut counts: BTreeMap<i64, u64> = BTreeMap::new();
    for (_, flow) in mine.iter().flat_map(|kept| kept.iter()) {
        let hour = number(flow.first_at);
        if (last - HOURS..=last).contains(&hour) {
            *counts.entry(hour).or_default() += 1;
        }
    }
    let hours = counts.into_iter().filter_map(|(hour, flows)| {
        let hour = Timestamp::from_second(hour * 3600).ok()?;
        Some(FirstReached { hour, flows })
    });
    hours.collect()
}

fn one(session: &str, spot: &ProgramTarget, flow: &FlowTotals, kept: &KeptFlows) -> Flow {
    let protocol = Protocol(spot.protocol);
    let reads = kept.reads_at((spot.address, spot.port));
    let reads = reads.filter(|_| protocol == Protocol::TCP && flow.verdict == "read-only");
    let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
    let is_counted = protocol == Protocol::TCP;
    Flow {
        session: session.to_owned(),
        host: flow.names.first().cloned(),
        names: flow.names.clone(),
        address: spot.address.to_string(),
        protocol: protocol_name(protocol),
        port: has_ports.then_some(spot.port),
        program: (!spot.program.is_empty()).then(|| spot.program.clone()),
        first_at: flow.first_at,
        last_at: reads.map_or(flow.last_at, |reads| reads.last_at.max(flow.last_at)),
        connections: flow.connections,
        reads: reads.map(|reads| reads.count),
        bytes_sent: is_counted.then_some(flow.sent),
        bytes_received: is_counted.then_some(flow.received),
        verdict: flow.verdict.clone(),
        rule: flow.rule.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::{
        record::shelf::Shelf,
        sessions::{SessionFacts, none_but},
    };

    /// A session, in one around it or in none, with so many flows, each a second later.
    fn kept(id: u32, around: &[u32], count: u16, since: i64) -> KeptFlows {
        let facts = SessionFacts {
            around: around.to_vec(),
            ..SessionFacts::new(String::new(), 1000, Vec::new())
        };
        let mut kept = KeptFlows::of(SessionId(id), &facts);
        for port in 0..count {
            let at = Timestamp::from_second(since + i64::from(port)).unwrap();
            let spot = ProgramTarget {
                address: IpAddr::from([192, 0, 2, 1]),
                protocol: Protocol::TCP.0,
                port,
                program: "curl".to_owned(),
            };
            kept.take(spot, || FlowTotals {
                first_at: at,
                last_at: at,
                connections: 1,
                sent: 1,
                received: 1,
                verdict: "allow".to_owned(),
                rule: None,
                boot: 1,
                first: 1,
                names: vec!["api.example.com".to_owned(); 16],
                named: 1,
            });
        }
        kept
    }

    #[test]
    fn whoever_asks_is_told_of_its_own_sessions_also_of_one_that_has_ended() -> Result<(), CallError>
    {
        let mut flows = Flows::new(Shelf::nowhere());
        for one in [(1, &[][..]), (2, &[1][..]), (9, &[][..])] {
            let kept = kept(one.0, one.1, 1, 0);
            flows.all.insert(kept.began(), kept);
        }
        let sessions = none_but(&[(1, None), (2, Some(1))]);
        let of = |who: &[u32], session| {
            let who: Vec<_> = who.iter().map(|uid| Approver::on_behalf_of(*uid)).collect();
            let kept = flows.kept_for_any(&sessions, &who, session)?;
            let mut ids: Vec<_> = kept.into_iter().map(|one| one.id().0).collect();
            ids.sort_unstable();
            Ok::<_, CallError>(ids)
        };
        assert_eq!(of(&[1000], None)?, [1, 2, 9]);
        assert_eq!(of(&[0], None)?, [1, 2, 9]);
        assert!(of(&[1001], None)?.is_empty());
        assert_eq!(of(&[1000], Some("s1"))?, [1, 2]);
        assert_eq!(of(&[1000], Some("s2"))?, [2]);
        assert_eq!(of(&[1000], Some("name1"))?, [1, 2]);
        assert_eq!(of(&[1000], Some("s9"))?, [9]);
        // One of them has to know it.
        assert_eq!(of(&[1001, 1000], Some("s9"))?, [9]);
        for session in ["s1", "s9", "name1"] {
            assert!(of(&[1001], Some(session)).is_err(), "{session}");
        }
        Ok(())
    }

    #[test]
    fn what_was_forgotten_is_said_unless_one_session_is_meant() {
        let mut flows = Flows::new(Shelf::nowhere());
        assert!(flows.missing(&[], None).is_empty());
        flows.forgotten = 3;
        assert!(flows.missing(&[], None)[0].starts_with("what 3 earlier sessions"));
        assert!(flows.missing(&[], Some("s1")).is_empty());
    }

    #[test]
    fn a_session_hides_by_what_it_reaches_nothing_that_another_one_has() {
        // The first has two flows, and began long before; the second 4,000, some of them from sessions inside it.
        let all = [
            kept(1, &[], 2, 0),
            kept(2, &[], 2000, 1000),
            kept(3, &[2], 2000, 5000),
        ];
        let mine: Vec<_> = all.iter().collect();
        let now = Timestamp::from_second(10_000).unwrap();
        let cut = latest_of(&mine, 100, now);
        let of = |session: &str| {
            cut.flows
                .iter()
                .filter(|one| one.session == session)
                .count()
        };
        assert_eq!([of("s1"), of("s2"), of("s3")], [2, 0, 98]);
        assert_eq!((cut.flows.len(), cut.left_out), (100, 3902));
        // A caller with less room cuts off the end, and with it as much of each session.
        let first = cut.flows[..5].iter();
        let first: Vec<_> = first.map(|one| (&*one.session, one.port)).collect();
        let expected = [
            ("s3", 1999),
            ("s1", 1),
            ("s3", 1998),
            ("s1", 0),
            ("s3", 1997),
        ];
        assert_eq!(first, expected.map(|(session, port)| (session, Some(port))));
        let is_bare = |one: &Flow| one.names.is_empty() && one.host.is_some();
        assert!(cut.flows.iter().all(is_bare));
        for (most, told) in [(0, 0), (1, 1), (4002, 4002), (usize::MAX, 4002)] {
            let cut = latest_of(&mine, most, now);
            assert_eq!((cut.flows.len(), cut.left_out), (told, 4002 - told));
        }
        assert_eq!(latest_of(&[], 5, now).left_out, 0);
    }

    #[test]
    fn all_that_was_first_reached_is_counted_by_the_hour_also_what_is_left_out() {
        let hour = |number: i64| Timestamp::from_second(number * 3600).unwrap();
        let all = [
            kept(1, &[], 5, 3600),
            kept(2, &[], 7, 25 * 3600),
            kept(3, &[], 9, 26 * 3600),
        ];
        let mine: Vec<_> = all.iter().collect();
        let counts = |now: i64| {
            let told = latest_of(&mine, 1, hour(now)).first_reached;
            let told = told.iter().map(|one| (one.hour, one.flows));
            told.collect::<Vec<_>>()
        };
        assert_eq!(counts(25), [(hour(1), 5), (hour(25), 7)]);
        assert_eq!(counts(26), [(hour(25), 7), (hour(26), 9)]);
        assert!(counts(60).is_empty(), "of earlier days nothing is told");
    }

    #[test]
    fn no_report_is_proposed_of_what_is_no_sessions_name() {
        for (typed, fix) in [
            ("claude", "guard report --name claude"),
            ("r1", "guard sessions"),
            ("h1", "guard sessions"),
        ] {
            assert_eq!(not_by_name(typed).failure.fix, fix);
        }
    }
}
