//! What sessions have reached, for the approvers who may see it.

use std::{cmp::Reverse, collections::BTreeMap};

use guard_common::{Protocol, SessionId};
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
    state::State,
};

/// Hours before this one in which it is counted what was first reached.
const HOURS: i64 = 24;

impl State {
    /// What is known of sessions, for [`Flows`].
    fn with_flows<T>(
        &mut self,
        work: impl FnOnce(&mut Flows, &mut guard_datapath::Datapath, Knowledge<'_>) -> T,
    ) -> T {
        let known = Knowledge {
            sessions: &self.sessions,
            policies: &self.policies,
            relays: &self.relays,
        };
        work(&mut self.flows, &mut self.datapath, known)
    }

    /// Reads what sessions reach, if that is due.
    pub(crate) fn follow_flows(&mut self, now: guard_common::BootTime) {
        self.with_flows(|flows, kernel, known| flows.follow(kernel, known, now));
    }

    /// Reads it now, and writes it down: guardd is about to end.
    pub(crate) fn keep_flows(&mut self) {
        self.with_flows(|flows, kernel, known| flows.read_and_keep(kernel, known));
    }

    /// The same: a session has ended.
    pub(crate) fn end_flows(&mut self, now: guard_common::BootTime) {
        self.with_flows(|flows, kernel, known| flows.end(kernel, known, now));
    }

    /// Writes down what ended sessions have reached, and removes it from the kernel.
    pub(crate) fn forget_flows(&mut self, ended: &[SessionId]) {
        let forgotten = self.with_flows(|flows, kernel, known| flows.forget(kernel, known, ended));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "what ended sessions have reached stays in the kernel");
        }
    }

    /// Takes over what sessions have reached under an earlier guardd, and since.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn adopt_flows(&mut self) -> Result<(), CallError> {
        self.with_flows(Flows::adopt)?;
        Ok(())
    }

    /// What the sessions that a caller answers for have reached, or one of them and those inside it.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session of which nothing is known; the kernel's.
    pub(crate) fn flows_of(
        &mut self,
        who: Approver,
        session: Option<&str>,
    ) -> Result<Listed, CallError> {
        self.read_flows()?;
        let mine = self.flows_kept_for(who, session)?;
        Ok(Listed {
            flows: mine.iter().copied().flat_map(shown).collect(),
            name_servers: self.policies.name_servers(),
            warnings: self.missing(&mine, session),
            ..Listed::default()
        })
    }

    /// The same of several callers, without this machine's name servers, and read once for all; `latest`: so many at most.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session of which nothing is known that one of them answers for; the kernel's.
    pub(crate) fn flows_of_all(
        &mut self,
        who: &[Approver],
        session: Option<&str>,
        latest: Option<usize>,
    ) -> Result<Listed, CallError> {
        if who.is_empty() {
            return Ok(Listed::default());
        }
        self.read_flows()?;
        let (mut mine, mut is_known, mut unknown) = (Vec::new(), false, None);
        for one in who {
            match self.flows_kept_for(*one, session) {
                Ok(kept) => {
                    is_known = true;
                    mine.extend(kept);
                }
                Err(error) => unknown = Some(error),
            }
        }
        if let Some(error) = unknown.filter(|_| !is_known) {
            return Err(error);
        }
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

    fn read_flows(&mut self) -> Result<(), CallError> {
        self.with_flows(|flows, kernel, known| flows.read(kernel, known))?;
        Ok(())
    }

    /// What is known, as it was last read, of a caller's sessions, or of one of them and those inside it.
    fn flows_kept_for(
        &self,
        who: Approver,
        session: Option<&str>,
    ) -> Result<Vec<&KeptFlows>, CallError> {
        let wanted = session.map(|one| self.meant_flows(who, one)).transpose()?;
        let is_wanted = |kept: &&KeptFlows| {
            who.answers_for(kept.uid) && wanted.is_none_or(|id| kept.belongs_to(id))
        };
        Ok(self.flows.all.values().filter(is_wanted).collect())
    }

    /// What is not known of these, or, unless one session is meant, of earlier ones.
    fn missing(&self, mine: &[&KeptFlows], session: Option<&str>) -> Vec<String> {
        let mut warnings: Vec<_> = mine.iter().filter_map(|kept| left_out(kept)).collect();
        if self.flows.forgotten > 0 && session.is_none() {
            warnings.push(format!(
                "what {} earlier sessions reached was forgotten, to make room for later ones",
                self.flows.forgotten
            ));
        }
        warnings
    }

    /// What the caller's session has reached.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn own_flows(&mut self, who: Agent) -> Result<Listed, CallError> {
        self.with_flows(|flows, kernel, known| flows.read(kernel, known))?;
        let began = self.flows.current.get(&who.session());
        let own = began.and_then(|began| self.flows.all.get(began));
        Ok(Listed {
            flows: own.map(shown).into_iter().flatten().collect(),
            name_servers: self.policies.name_servers(),
            warnings: own.and_then(left_out).into_iter().collect(),
            ..Listed::default()
        })
    }

    /// The session that is meant: one that lives, or has ended.
    fn meant_flows(&self, who: Approver, session: &str) -> Result<SessionId, CallError> {
        let may = |owner| who.answers_for(owner);
        let live = self.sessions.called(session, may);
        live.map(|live| live.cgroup.id).or_else(|unknown| {
            let id = ids::parse_session(session).map_err(|_| not_by_name(session))?;
            let mut all = self.flows.all.values();
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
        .map(|(spot, flow)| one(&session, spot, flow))
        .collect()
}

/// The latest of each outermost session, then the one before it of each, for a session could hide by what it reaches what others have. And
/// how much there is of all.
fn latest_of(mine: &[&KeptFlows], most: usize, now: Timestamp) -> Listed {
    let mut each: BTreeMap<u32, Vec<_>> = BTreeMap::new();
    for kept in mine {
        let own = kept.iter().map(|(spot, flow)| (kept.id(), spot, flow));
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
    let flows = latest.into_iter().map(|(_, (id, spot, flow))| Flow {
        names: Vec::new(),
        leads_to: Vec::new(),
        ..one(&ids::session(id), spot, flow)
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

fn one(session: &str, spot: &ProgramTarget, flow: &FlowTotals) -> Flow {
    let protocol = Protocol(spot.protocol);
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
        last_at: flow.last_at,
        connections: flow.connections,
        bytes_sent: is_counted.then_some(flow.sent),
        bytes_received: is_counted.then_some(flow.received),
        verdict: flow.verdict.clone(),
        rule: flow.rule.clone(),
        leads_to: flow.leads.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::sessions::SessionFacts;

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
                leads: Vec::new(),
            });
        }
        kept
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
        // Whoever has less room leaves out as much of each.
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
