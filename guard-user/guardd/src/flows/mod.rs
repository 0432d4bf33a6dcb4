//! What sessions have reached. The kernel half adds it up; it is read from there with each tick and each call, the names by which
//! sessions know the addresses are added, and what a session has reached is kept after it has ended.

pub(crate) mod kept;
mod listing;

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use guard_common::{
    AnsweredKey, BootTime, Flow, FlowKey, PolicyId, PolicyVerdict, SessionId, Verdict,
};
use guard_datapath::{Datapath, DatapathError};
use guard_proto::wire::RedirectTarget;
use guard_sys::clock::Clocks;
use jiff::Timestamp;

use self::kept::{Began, FlowTotals, KeptFlows, ProgramTarget};
use crate::{
    policies::Policies,
    record::shelf::Shelf,
    sessions::{Session, SessionFacts, Sessions},
    times::after,
};

/// The interval between two readings; longer where one takes long.
const INTERVAL: Duration = Duration::from_secs(5);
/// A reading takes at most this part of guardd's time.
const SHARE: u32 = 50;
/// So long the end of a session may take for it.
const LONG: Duration = Duration::from_millis(5);
/// Flows that are kept of all sessions together: beyond, those of the oldest sessions that have ended go.
const MAX_KEPT: usize = 65_536;
/// Sessions of which any are kept.
const MAX_SESSIONS: usize = 1024;

/// Owns what sessions have reached.
#[derive(Debug)]
pub(crate) struct Flows {
    all: BTreeMap<Began, KeptFlows>,
    /// Those of the kernel's sessions.
    current: HashMap<SessionId, Began>,
    files: Shelf<KeptFlows>,
    /// When it is read next, and how long it took last.
    due: BootTime,
    took: Duration,
    /// How many sessions were forgotten to make room for others.
    forgotten: usize,
}

/// What it takes to say what a flow is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Knowledge<'a> {
    /// The sessions.
    pub(crate) sessions: &'a Sessions,
    /// Their policies, and the names that they know.
    pub(crate) policies: &'a Policies,
}

impl Flows {
    /// What earlier guardds have kept.
    #[must_use]
    pub(crate) fn new(files: Shelf<KeptFlows>) -> Self {
        let kept = files.all().into_iter().map(|(_, kept)| kept);
        Self {
            all: kept.map(|kept| (kept.began(), kept)).collect(),
            current: HashMap::new(),
            files,
            due: BootTime(0),
            took: Duration::ZERO,
            forgotten: 0,
        }
    }

    /// Takes note of a session that the kernel has.
    pub(crate) fn add(&mut self, id: SessionId, about: &SessionFacts) {
        let new = KeptFlows::of(id, about);
        let began = new.began();
        self.current.insert(id, began);
        self.all.entry(began).or_insert(new);
    }

    /// Counts what read at a destination of a session.
    pub(crate) fn note_reads(&mut self, target: &RedirectTarget, count: u64) {
        let began = self.current.get(&SessionId(target.session));
        if let Some(kept) = began.and_then(|began| self.all.get_mut(began)) {
            kept.note_reads((target.address, target.port), count, Timestamp::now());
        }
    }

    /// Reads from the kernel what sessions have reached by now, if that is due, and writes it down.
    pub(crate) fn follow(&mut self, kernel: &Datapath, known: Knowledge<'_>, now: BootTime) {
        if now < self.due {
            return;
        }
        self.read_and_keep(kernel, known);
        self.due = after(now, INTERVAL.max(self.took * SHARE));
    }

    /// A session has ended: reads it now, unless that takes long; then soon.
    pub(crate) fn end(&mut self, kernel: &Datapath, known: Knowledge<'_>, now: BootTime) {
        if self.took < LONG {
            self.read_and_keep(kernel, known);
        } else {
            self.due = self.due.min(after(now, self.took * SHARE));
        }
    }

    /// Reads it now, and writes it down.
    pub(crate) fn read_and_keep(&mut self, kernel: &Datapath, known: Knowledge<'_>) {
        let began = Instant::now();
        if let Err(error) = self.read(kernel, known) {
            tracing::error!(%error, "what sessions reach cannot be read");
        }
        self.make_room();
        for kept in self.all.values_mut() {
            if kept.take_unwritten() {
                self.files.keep(&kept.file(), kept);
            }
        }
        self.took = began.elapsed();
    }

    /// Reads it now.
    ///
    /// # Errors
    ///
    /// The kernel's; then it is what it was when it was last read.
    pub(crate) fn read(
        &mut self,
        kernel: &Datapath,
        known: Knowledge<'_>,
    ) -> Result<(), DatapathError> {
        let clocks = Clocks::read();
        for (key, flow) in kernel.flows()? {
            let Some(began) = self.current.get(&key.session) else {
                continue;
            };
            if let Some(kept) = self.all.get_mut(began) {
                kept.take(ProgramTarget::of(&key), || {
                    reached(&key, &flow, &clocks, known)
                });
            }
        }
        let servers = known.policies.teachers();
        for (id, began) in &self.current {
            let left_out = kernel.flows_left_out(*id)?;
            if let Some(kept) = self.all.get_mut(began) {
                kept.note_left_out(left_out);
                let names = known.policies.known_names();
                kept.name(|address, program, then| {
                    let asked = names.name_then(*id, address, program, then);
                    let key = AnsweredKey {
                        session: *id,
                        address,
                    };
                    let answered = || {
                        known
                            .policies
                            .answered_then(kernel, key, program, then, &servers)
                    };
                    asked.map(str::to_owned).or_else(answered)
                });
            }
        }
        Ok(())
    }

    /// Removes from the kernel what sessions have left there that ended a while ago, once it is read.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn forget(
        &mut self,
        kernel: &mut Datapath,
        known: Knowledge<'_>,
        ended: &[SessionId],
    ) -> Result<(), DatapathError> {
        self.read_and_keep(kernel, known);
        forget_in_kernel(kernel, known.sessions, |one| !ended.contains(&one))?;
        for id in ended {
            let began = self.current.remove(id);
            let is_empty = |began: &Began| self.all.get(began).is_some_and(KeptFlows::is_empty);
            if let Some(began) = began.filter(is_empty) {
                self.all.remove(&began);
            }
        }
        Ok(())
    }

    /// Removes from the kernel what sessions have left there that it does not have any more, once it is read.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn adopt(
        &mut self,
        kernel: &mut Datapath,
        known: Knowledge<'_>,
    ) -> Result<(), DatapathError> {
        self.read_and_keep(kernel, known);
        forget_in_kernel(kernel, known.sessions, |_| true)?;
        self.current
            .retain(|id, _| known.sessions.get(*id).is_some());
        Ok(())
    }

    /// Evicts what the oldest ended sessions of the user who has most have reached, where it is too much.
    fn make_room(&mut self) {
        loop {
            let count: usize = self.all.values().map(KeptFlows::len).sum();
            if count <= MAX_KEPT && self.all.len() <= MAX_SESSIONS {
                return;
            }
            let Some(oldest) = self.oldest_of_most() else {
                return;
            };
            if let Some(gone) = self.all.remove(&oldest) {
                self.files.remove(&gone.file());
                self.forgotten += usize::from(!gone.is_empty());
            }
        }
    }

    fn oldest_of_most(&self) -> Option<Began> {
        let ended = || {
            let all = self.all.iter();
            all.filter(|(began, kept)| self.current.get(&kept.id()) != Some(began))
        };
        let mut of: BTreeMap<u32, usize> = BTreeMap::new();
        for (_, kept) in ended() {
            *of.entry(kept.uid).or_default() += kept.len().max(1);
        }
        let (most, _) = of.into_iter().max_by_key(|(_, count)| *count)?;
        let mut oldest = ended().filter(|(_, kept)| kept.uid == most);
        oldest.next().map(|(began, _)| *began)
    }
}

/// Forgets the flows of sessions that guardd does not know, or that are not to be kept.
fn forget_in_kernel(
    kernel: &mut Datapath,
    sessions: &Sessions,
    is_kept: impl Fn(SessionId) -> bool,
) -> Result<(), DatapathError> {
    let stays = |id: SessionId| is_kept(id) && sessions.get(id).is_some();
    kernel.forget_flows(stays, |id| sessions.outermost_of(id))?;
    let kept: HashSet<_> = sessions
        .iter()
        .filter(|one| is_kept(one.cgroup.id))
        .map(Session::outermost)
        .collect();
    kernel.forget_flow_counts(|outermost| kept.contains(&outermost))
}

/// What the kernel says of a flow, in words.
fn reached(key: &FlowKey, flow: &Flow, clocks: &Clocks, known: Knowledge<'_>) -> FlowTotals {
    let said = PolicyVerdict::unpack(flow.said & u64::from(u32::MAX));
    let policy = known.policies.get(PolicyId((flow.said >> 32) as u32));
    let rule = policy.and_then(|policy| policy.policy.rule(said.rule));
    // What a hole let through is what the policy says of it.
    let by_policy = policy.map(|policy| rule.map_or(policy.policy.default, |rule| rule.action));
    let verdict = match said.verdict {
        Verdict::Allow => by_policy.unwrap_or(Verdict::Allow),
        verdict => verdict,
    };
    FlowTotals {
        first_at: clocks.calendar(flow.first),
        last_at: clocks.calendar(flow.last),
        connections: flow.connections,
        sent: flow.sent,
        received: flow.received,
        verdict: verdict.as_str().to_owned(),
        rule: match rule {
            Some(rule) => Some(rule.name.clone()),
            None => rule_beside(key, verdict, known),
        },
        boot: flow.last.0,
        first: flow.first.0,
        named: 0,
        names: Vec::new(),
    }
}

/// The rule of another policy of the session that says the same as the default of the one which decides.
fn rule_beside(key: &FlowKey, verdict: Verdict, known: Knowledge<'_>) -> Option<String> {
    let session = known.sessions.live(key.session);
    let session = session.filter(|session| session.chain.len() > 1)?;
    let (to, protocol, port) = (key.address, key.protocol, key.port);
    let judged = known.policies.judge(session.subject(), to, protocol, port);
    let judged = judged.filter(|judged| judged.verdict == verdict)?;
    Some(judged.rule?.name.clone())
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::Protocol;
    use jiff::Timestamp;

    use super::*;

    fn about(uid: u32, second: i64) -> SessionFacts {
        SessionFacts {
            started_at: Timestamp::from_second(second).unwrap(),
            ..SessionFacts::new(String::new(), uid, Vec::new())
        }
    }

    fn with(shelf: &Shelf<KeptFlows>, sessions: &[(u32, u32)]) -> Flows {
        let mut flows = Flows::new(shelf.clone());
        for (id, uid) in sessions {
            flows.add(SessionId(*id), &about(*uid, i64::from(*id)));
        }
        flows
    }

    /// That session has reached something, and its file says so.
    fn reach(flows: &mut Flows, id: u32) {
        let at = Timestamp::UNIX_EPOCH;
        let kept = flows.all.get_mut(&flows.current[&SessionId(id)]).unwrap();
        kept.take(
            ProgramTarget {
                address: IpAddr::from([192, 0, 2, 1]),
                protocol: Protocol::TCP.0,
                port: 443,
                program: "curl".to_owned(),
            },
            || FlowTotals {
                first_at: at,
                last_at: at,
                connections: 1,
                sent: 1,
                received: 1,
                verdict: "allow".to_owned(),
                rule: None,
                boot: 1,
                first: 1,
                names: Vec::new(),
                named: 0,
            },
        );
        flows.files.keep(&kept.file(), kept);
    }

    fn ids(flows: &Flows) -> Vec<u32> {
        flows.all.keys().map(|(_, id)| *id).collect()
    }

    #[test]
    fn what_was_reached_is_known_to_the_next_guardd() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().to_owned()).unwrap();
        let mut before = with(&shelf, &[(1, 1000), (2, 1000)]);
        reach(&mut before, 1);
        let mut after = Flows::new(shelf);
        assert_eq!(ids(&after), [1]);
        // It goes on where that one was; another session of that id is another.
        after.add(SessionId(1), &about(1000, 1));
        assert_eq!(after.all.values().map(KeptFlows::len).sum::<usize>(), 1);
        after.add(SessionId(1), &about(1000, 9));
        assert_eq!(ids(&after), [1, 1]);
    }

    #[test]
    fn room_is_made_by_the_oldest_ended_session_of_whoever_has_most() {
        let dir = tempfile::tempdir().unwrap();
        let shelf = Shelf::open(dir.path().to_owned()).unwrap();
        let few = [(1, 1000), (2, 1001)];
        let many = (10..10 + MAX_SESSIONS as u32).map(|id| (id, 1001));
        let all: Vec<_> = few.into_iter().chain(many).collect();
        let mut flows = with(&shelf, &all);
        for id in [1, 2, 10] {
            reach(&mut flows, id);
        }
        assert_eq!(shelf.keys().len(), 3);
        // One that goes on is kept, however old; two are too many.
        for id in [1, 10, 11] {
            flows.current.remove(&SessionId(id));
        }
        flows.make_room();
        let left = ids(&flows);
        assert_eq!(left.len(), MAX_SESSIONS);
        assert_eq!(left[..3], [1, 2, 12]);
        // Whose file is gone, too; only the one that had reached something is missed.
        assert_eq!((shelf.keys().len(), flows.forgotten), (2, 1));
    }

    #[test]
    fn nothing_is_forgotten_where_all_sessions_go_on() {
        let all: Vec<_> = (0..MAX_SESSIONS as u32 + 5).map(|id| (id, 1000)).collect();
        let mut flows = with(&Shelf::nowhere(), &all);
        flows.make_room();
        assert_eq!(flows.all.len(), all.len());
    }
}
