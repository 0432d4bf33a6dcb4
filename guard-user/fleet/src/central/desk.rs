//! What a console is shown of each machine, and which of it has changed since it was last shown.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
    time::Duration,
};

use guard_proto::{
    Presence,
    central::{self, HoleThere, SessionThere, Untold},
};
use guard_signed::{Bundle, Question, bundle::MAX_REVOKED, visible::visible};
use jiff::{SignedDuration, Timestamp};
use tokio::{
    sync::{Notify, watch},
    time::Instant,
};

use crate::{
    messages::Receipt,
    people::{
        heard::{Fleet, OfMachine, State},
        known::{At, MACHINES},
    },
    subjects::Subject,
};

/// After how long a silence a machine is away: its word was missed three times.
const SILENT: Duration = Duration::from_secs(100);
/// How long one is listed that is away, and one that has said that it goes.
const LISTED: (Duration, Duration) = (
    Duration::from_secs(7 * 24 * 3600),
    Duration::from_secs(3600),
);
/// Sessions, and holes, of a machine.
const MOST: usize = 100;
/// What became of so many questions of a machine is kept.
const OVER: usize = 16;
/// Characters of a text of guardd's.
const LINE: usize = 512;

/// All machines.
#[derive(Debug, Default)]
pub(super) struct Desk {
    known: RefCell<Known>,
    now: watch::Sender<DeskState>,
    lookers: Cell<usize>,
    looked: Notify,
}

/// Which state it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct DeskState {
    /// The last change.
    pub(super) version: u64,
    /// Counts how often machines were taken off the list.
    pub(super) generation: u64,
    /// Whether a server is reached.
    pub(super) is_connected: bool,
}

#[derive(Debug, Default)]
struct Known {
    machines: BTreeMap<At, Entry>,
    /// By the version in which each was changed last.
    changed: BTreeMap<u64, At>,
}

#[derive(Debug)]
struct Entry {
    told: Rc<central::HeardMachine>,
    version: u64,
    heard: Instant,
    /// It has said so itself.
    has_left: bool,
    /// Questions that are over: the request, and the hash.
    gone: VecDeque<(String, String)>,
}

impl Entry {
    fn new() -> Self {
        Self {
            told: Rc::default(),
            version: 0,
            heard: Instant::now(),
            has_left: false,
            gone: VecDeque::new(),
        }
    }
}

impl Desk {
    /// A machine has said something.
    pub(super) fn hear(&self, fleet: &Fleet, at: At) {
        self.update(fleet, at, Some(Instant::now()), |_| {});
    }

    /// All are shown again.
    pub(super) fn hear_all(&self, fleet: &Fleet) {
        let all: Vec<_> = self.known.borrow().machines.keys().cloned().collect();
        for at in all {
            self.update(fleet, at, None, |_| {});
        }
    }

    /// A question is over.
    pub(super) fn over(&self, fleet: &Fleet, of: OfMachine) {
        let hash = Question::hash(&of.asked.bytes);
        let request = of.asked.question.request;
        self.update(
            fleet,
            (of.group, of.machine),
            Some(Instant::now()),
            |entry| {
                entry.gone.truncate(OVER - 1);
                entry.gone.push_front((request, hash));
            },
        );
    }

    /// A machine is in the fleet no more.
    pub(super) fn remove(&self, at: &At) {
        let mut known = self.known.borrow_mut();
        let Some(gone) = known.machines.remove(at) else {
            return;
        };
        known.changed.remove(&gone.version);
        drop(known);
        self.now.send_modify(|now| now.generation += 1);
    }

    /// A machine has said what became of an answer.
    pub(super) fn receipt(&self, fleet: &Fleet, from: &Subject, receipt: &Receipt) {
        let (Some(request), Some(taken)) = (&from.request, &receipt.taken) else {
            return;
        };
        if taken.request != *request {
            return;
        }
        let at = (from.group.clone(), from.machine.clone());
        let asked = fleet.machine(&at.0, &at.1);
        let asked = asked.and_then(|state| state.question(request));
        let asked = asked.map(|asked| Question::hash(&asked.bytes));
        self.update(fleet, at, Some(Instant::now()), |entry| {
            let mut gone = entry.gone.iter();
            let gone = gone.find(|(id, _)| id == request);
            let Some(question) = asked.or_else(|| gone.map(|(_, hash)| hash.clone())) else {
                return;
            };
            let warnings = taken.warnings.iter().take(OVER);
            let over = central::Over {
                request: request.clone(),
                question,
                answer: visible(&taken.answer, LINE),
                by: visible(&taken.by, LINE),
                approvals: taken.approvals,
                wanted: taken.wanted,
                holes: taken.holes.len(),
                warnings: warnings.map(|one| visible(one, LINE)).collect(),
                at: Timestamp::now(),
            };
            let told = Rc::make_mut(&mut entry.told);
            // The same receipt comes once more where its answer did.
            told.over.retain(|one| one.question != over.question);
            if told.over.len() >= OVER {
                told.over.remove(0);
            }
            told.over.push(over);
        });
    }

    /// A server has come, or gone.
    pub(super) fn link(&self, fleet: &Fleet) {
        let is_connected = fleet.link.stands();
        if is_connected {
            // What machines said meanwhile nobody could hear.
            let now = Instant::now();
            let mut known = self.known.borrow_mut();
            for entry in known.machines.values_mut() {
                entry.heard = now;
            }
        }
        self.now.send_modify(|now| now.is_connected = is_connected);
    }

    /// Marks who is silent, and takes off the list who was so for long; whether one has not said yet who may answer there.
    pub(super) fn age(&self, fleet: &Fleet) -> bool {
        if !fleet.link.stands() {
            return false;
        }
        let now = Instant::now();
        let silent: Vec<_> = {
            let known = self.known.borrow();
            let all = known.machines.iter();
            let silent = all.filter(|(_, one)| {
                one.told.away_since.is_none() && now.duration_since(one.heard) > SILENT
            });
            silent.map(|(at, _)| at.clone()).collect()
        };
        for at in silent {
            self.update(fleet, at, None, |_| {});
        }
        let mut known = self.known.borrow_mut();
        let before = known.machines.len();
        let Known { machines, changed } = &mut *known;
        machines.retain(|_, one| {
            let listed = if one.has_left { LISTED.1 } else { LISTED.0 };
            let is_listed = one.told.away_since.is_none() || now.duration_since(one.heard) < listed;
            if !is_listed {
                changed.remove(&one.version);
            }
            is_listed
        });
        let is_less = machines.len() < before;
        let mut here = machines.values();
        let is_one_unknown =
            here.any(|one| one.told.away_since.is_none() && one.told.origins.is_none());
        drop(known);
        if is_less {
            self.now.send_modify(|now| now.generation += 1);
        }
        is_one_unknown
    }

    /// Shows a machine as it is now, after `change`; `heard`: it has just said something.
    fn update(
        &self,
        fleet: &Fleet,
        at: At,
        heard: Option<Instant>,
        change: impl FnOnce(&mut Entry),
    ) {
        let mut known = self.known.borrow_mut();
        let Known { machines, changed } = &mut *known;
        let state = fleet.machine(&at.0, &at.1);
        let is_new = !machines.contains_key(&at);
        if is_new && state.is_none() {
            return;
        }
        if is_new && machines.len() >= MACHINES {
            // A server that makes machines up has them leave as well.
            machines.retain(|_, one| !one.has_left);
            changed.retain(|_, at| machines.contains_key(at));
            self.now.send_modify(|now| now.generation += 1);
        }
        let entry = machines.entry(at.clone()).or_insert_with(Entry::new);
        let before = Rc::clone(&entry.told);
        entry.heard = heard.unwrap_or(entry.heard);
        entry.has_left = state.is_none();
        change(entry);
        let silence = entry.heard.elapsed();
        let is_away = entry.has_left || silence > SILENT;
        let now = shown(&at, &entry.told, state, fleet.is_looked());
        entry.told = Rc::new(if is_away {
            away(now, before.away_since.or_else(|| ago(silence)))
        } else {
            now
        });
        if !is_new && entry.told == before {
            return;
        }
        changed.remove(&entry.version);
        let version = self.now.borrow().version + 1;
        entry.version = version;
        changed.insert(version, at);
        drop(known);
        self.now.send_modify(|now| now.version = version);
    }

    /// What has changed since a version.
    pub(super) fn since(&self, version: u64) -> Vec<Rc<central::HeardMachine>> {
        let known = self.known.borrow();
        let changed = known.changed.range(version + 1..);
        let changed = changed.filter_map(|(_, at)| known.machines.get(at));
        changed.map(|entry| Rc::clone(&entry.told)).collect()
    }

    /// The state, and each that comes.
    pub(super) fn now(&self) -> watch::Receiver<DeskState> {
        self.now.subscribe()
    }

    /// Somebody looks, until this is dropped.
    pub(super) fn look(self: &Rc<Self>) -> DeskLooker {
        self.lookers.set(self.lookers.get() + 1);
        self.looked.notify_one();
        DeskLooker(Rc::clone(self))
    }

    /// Whether somebody does.
    pub(super) fn is_looked(&self) -> bool {
        self.lookers.get() > 0
    }

    /// Until that may have changed.
    pub(super) async fn looked(&self) {
        self.looked.notified().await;
    }
}

/// Somebody who looks.
#[derive(Debug)]
pub(super) struct DeskLooker(Rc<Desk>);

impl Drop for DeskLooker {
    fn drop(&mut self) {
        self.0.lookers.set(self.0.lookers.get() - 1);
        self.0.looked.notify_one();
    }
}

fn ago(time: Duration) -> Option<Timestamp> {
    let time = SignedDuration::try_from(time).ok()?;
    Timestamp::now().checked_sub(time).ok()
}

/// A machine of which nothing is heard any more: what it said last that may still be so.
fn away(now: central::HeardMachine, since: Option<Timestamp>) -> central::HeardMachine {
    central::HeardMachine {
        away_since: since,
        questions: Vec::new(),
        asks_more: false,
        sessions: None,
        holes: None,
        left_out: Vec::new(),
        ..now
    }
}

/// A machine, in words of its own that steer nothing; of one that has gone what was known.
fn shown(
    at: &At,
    before: &central::HeardMachine,
    state: Option<&State>,
    is_looked: bool,
) -> central::HeardMachine {
    let shown = central::HeardMachine {
        group: at.0.to_string(),
        machine: at.1.to_string(),
        away_since: None,
        ..before.clone()
    };
    let Some(state) = state else {
        return shown;
    };
    let guardd = state.here.as_ref().and_then(|here| here.guardd.as_ref());
    let there = state.there.as_ref().map(|(there, _)| there);
    let approvers = there.map(|there| &there.known);
    let questions = state.questions().filter(|_| is_looked);
    let questions = questions.filter_map(|asked| String::from_utf8(asked.bytes.clone()).ok());
    central::HeardMachine {
        state: guardd.map(how_it_is),
        approvers: approvers.map_or(shown.approvers, |known| known.approvers.clone()),
        revoked: approvers.map_or(shown.revoked, |known| revoked(&known.revoked)),
        origins: approvers.map_or(shown.origins, |known| Some(known.origins.clone())),
        sessions: there.and_then(|there| there.sessions.as_ref().map(|all| sessions(all))),
        holes: there.and_then(|there| there.holes.as_ref().map(|all| holes(all))),
        left_out: there.map_or_else(Vec::new, |there| left_out(&there.left_out)),
        approvers_left_out: there.map_or(0, |there| there.approvers_left_out),
        questions: questions.collect(),
        asks_more: is_looked && state.asks_more(),
        ..central::HeardMachine {
            approvers: Vec::new(),
            revoked: Vec::new(),
            origins: None,
            ..shown
        }
    }
}

fn how_it_is(guardd: &Presence) -> central::MachineState {
    let fleet = guardd.fleet.as_ref();
    let text = |text: &Option<String>| text.as_ref().map(|text| visible(text, LINE));
    central::MachineState {
        version: visible(&guardd.version, 32),
        enforcing: guardd.enforcing,
        problem: text(&guardd.problem),
        sessions: guardd.sessions,
        holes: guardd.holes,
        serial: fleet.and_then(|fleet| fleet.serial),
        policies_problem: fleet.and_then(|fleet| text(&fleet.problem)),
    }
}

/// The fingerprints among these.
fn revoked(all: &[String]) -> Vec<String> {
    let all = all.iter().filter(|one| Bundle::is_fingerprint(one));
    all.take(MAX_REVOKED).cloned().collect()
}

fn sessions(all: &[SessionThere]) -> Vec<SessionThere> {
    let shown = |one: &SessionThere| SessionThere {
        id: visible(&one.id, 32),
        name: visible(&one.name, LINE),
        policy: visible(&one.policy, LINE),
        user: visible(&one.user, LINE),
        started_at: one.started_at,
    };
    all.iter().take(MOST).map(shown).collect()
}

fn left_out(all: &[Untold]) -> Vec<Untold> {
    let shown = |one: &Untold| Untold {
        user: visible(&one.user, LINE),
        ..*one
    };
    all.iter().take(MOST).map(shown).collect()
}

fn holes(all: &[HoleThere]) -> Vec<HoleThere> {
    let text = |text: &Option<String>| text.as_ref().map(|text| visible(text, LINE));
    let shown = |one: &HoleThere| HoleThere {
        id: visible(&one.id, 32),
        session: visible(&one.session, 32),
        user: visible(&one.user, LINE),
        destination: visible(&one.destination, LINE),
        ports: text(&one.ports),
        opened_by: text(&one.opened_by),
        expires_at: one.expires_at,
        is_narrow: one.is_narrow,
        shut_by: text(&one.shut_by),
    };
    all.iter().take(MOST).map(shown).collect()
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, Result};
    use guard_proto::{central::FleetUpdate, varlink};

    use super::*;
    use crate::people::known::tests::flooded;

    fn over() -> central::Over {
        let text = "\"".repeat(LINE);
        central::Over {
            request: "r1".to_owned(),
            question: "q".to_owned(),
            answer: text.clone(),
            by: text.clone(),
            approvals: 1,
            wanted: 1,
            holes: 1,
            warnings: vec![text; OVER],
            at: Timestamp::UNIX_EPOCH,
        }
    }

    /// A frame that is longer ends what a console hears of all machines.
    #[test]
    fn a_machine_that_says_all_it_can_fits_into_a_frame() -> Result<()> {
        for quotes in [0, 23_000] {
            let known = flooded(quotes);
            let (group, machine, state) = known.machines().next().context("no machine")?;
            let before = central::HeardMachine {
                over: vec![over(); OVER],
                ..central::HeardMachine::default()
            };
            let at = (group.clone(), machine.clone());
            let shown = shown(&at, &before, Some(state), true);
            assert!(shown.asks_more && shown.questions.len() > 20, "{quotes}");
            assert!(!shown.approvers.is_empty() && shown.sessions.is_some());
            let told = FleetUpdate {
                machine: Some(shown),
                ..FleetUpdate::default()
            };
            let length = varlink::answer(&told, true)?.len() as u64;
            assert!(length < guard_courier::LONGEST / 2, "{quotes}: {length}");
        }
        Ok(())
    }
}
