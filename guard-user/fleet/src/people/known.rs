//! What machines have said, as long as it counts, and within bounds: no machine takes the room of the others.

use std::collections::{BTreeMap, VecDeque};

use async_nats::Message;

use crate::{
    messages::{self, HeardReached, MachineHere, PublishedQuestion, Receipt, There},
    subjects::{Group, Machine, Subject, SubjectKind},
};

/// Machines that are kept at most: more come from nobody honest.
pub(crate) const MACHINES: usize = 20_000;
/// The same, and bytes of what they ask and who answers.
const MOST: (usize, usize) = (MACHINES, 64 * 1024 * 1024);
/// Questions of one machine, and their bytes: what else it asks is answered there.
const OF_ONE: (usize, usize) = (256, 1024 * 1024);

/// A machine, and where it is.
pub(crate) type At = (Group, Machine);

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct KnownMachines {
    machines: BTreeMap<At, State>,
    /// Bytes of all questions, and of who answers them.
    bytes: usize,
    /// Whether something was left out for all of them, which is said once.
    is_full: bool,
    /// How often somebody has begun to look.
    looked: u64,
    /// What was heard at once.
    news: VecDeque<KnownChange>,
}

/// What is known of a machine.
#[derive(Debug, Default)]
pub(crate) struct State {
    pub(crate) here: Option<MachineHere>,
    /// Heard by consoles alone, with the bytes of its message; none: not said yet.
    pub(crate) there: Option<(There, usize)>,
    questions: BTreeMap<String, OfMachine>,
    /// Bytes of these.
    bytes: usize,
    /// Whether it asks more than is kept of one.
    asks_more: bool,
    /// Whether that was said.
    is_said: bool,
}

/// A question, and where it is from.
#[derive(Clone, Debug)]
pub(crate) struct OfMachine {
    pub(crate) group: Group,
    pub(crate) machine: Machine,
    pub(crate) asked: PublishedQuestion,
    /// The number of the look in which it was heard.
    looked: u64,
}

/// Something new.
#[derive(Debug)]
pub(crate) enum KnownChange {
    Asked(Box<OfMachine>),
    Over(Box<OfMachine>),
    /// What a machine says of itself.
    Machine(Group, Machine),
    /// It is in the fleet no more.
    Removed(Group, Machine),
    Receipt(Box<(Subject, Receipt)>),
    /// What sessions have reached, for the console that asked.
    Reached(Box<(Subject, HeardReached)>),
    /// A server has come, or gone.
    Link,
}

impl KnownMachines {
    /// The next of what was heard.
    pub(super) fn next(&mut self) -> Option<KnownChange> {
        self.news.pop_front()
    }

    /// From now on machines say what they still ask.
    pub(super) fn begin_look(&mut self) {
        self.looked += 1;
        for state in self.machines.values_mut() {
            state.asks_more = false;
        }
    }

    /// Drops what was not asked again.
    pub(super) fn settle(&mut self) {
        let looked = self.looked;
        let mut gone = Vec::new();
        for state in self.machines.values_mut() {
            let old = state.questions.extract_if(.., |_, of| of.looked != looked);
            gone.extend(old.map(|(_, of)| of));
        }
        for over in gone {
            self.is_over(over);
        }
    }

    /// Takes what was heard; none: it is nobody's, or there is no room for it.
    pub(super) fn take(&mut self, heard: &Message) -> Option<()> {
        let subject = Subject::parse(&heard.subject)?;
        if !messages::is_published(heard) {
            return None;
        }
        let at = (subject.group.clone(), subject.machine.clone());
        if !self.machines.contains_key(&at) && self.machines.len() >= MOST.0 {
            self.leave_out();
            return None;
        }
        match (subject.what, subject.request.clone()) {
            (SubjectKind::Here, _) => self.take_here(at, MachineHere::read(&heard.payload)?),
            (SubjectKind::Removed, _) if messages::is_empty(heard) => {
                self.remove(&at);
                self.news.push_back(KnownChange::Removed(at.0, at.1));
                Some(())
            }
            (SubjectKind::Approvers, _) => match HeardReached::read(&heard.payload) {
                Some(said) => {
                    self.news
                        .push_back(KnownChange::Reached(Box::new((subject, said))));
                    Some(())
                }
                None => {
                    let there = messages::read(&heard.payload)?;
                    self.take_there(at, there, heard.payload.len())
                }
            },
            (SubjectKind::Question, Some(request)) if heard.payload.is_empty() => {
                let over = self.machines.get_mut(&at)?.questions.remove(&request)?;
                self.is_over(over);
                Some(())
            }
            (SubjectKind::Question, Some(request)) => {
                let asked = PublishedQuestion::read(&subject, &heard.payload)?;
                self.take_question(at, request, asked)
            }
            (SubjectKind::Receipt, Some(_)) => {
                let receipt = messages::read(&heard.payload)?;
                self.news
                    .push_back(KnownChange::Receipt(Box::new((subject, receipt))));
                Some(())
            }
            _ => None,
        }
    }

    fn take_here(&mut self, at: At, here: MachineHere) -> Option<()> {
        if here.leaves {
            self.machines.get(&at)?;
            self.remove(&at);
        } else {
            self.machines.entry(at.clone()).or_default().here = Some(here);
        }
        self.news.push_back(KnownChange::Machine(at.0, at.1));
        Some(())
    }

    fn take_there(&mut self, at: At, there: There, bytes: usize) -> Option<()> {
        let before = self.machines.get(&at);
        let before = before.and_then(|state| state.there.as_ref());
        let less = before.map_or(0, |(_, bytes)| *bytes);
        if self.bytes - less + bytes > MOST.1 {
            self.leave_out();
            return None;
        }
        self.bytes = self.bytes - less + bytes;
        let state = self.machines.entry(at.clone()).or_default();
        state.there = Some((there, bytes));
        self.news.push_back(KnownChange::Machine(at.0, at.1));
        Some(())
    }

    fn take_question(&mut self, at: At, request: String, asked: PublishedQuestion) -> Option<()> {
        let (looked, bytes) = (self.looked, asked.bytes.len());
        let state = self.machines.entry(at.clone()).or_default();
        let before = state.questions.get_mut(&request);
        let less = before.as_ref().map_or(0, |before| before.asked.bytes.len());
        if let Some(before) = before
            && before.asked.bytes == asked.bytes
        {
            before.looked = looked;
            return None;
        }
        let give_way = state.who_give_way(&request, &asked.question.user, bytes);
        let is_too_much = give_way.is_none();
        if is_too_much || self.bytes - less + bytes > MOST.1 {
            // What it asked before by that name it does not ask any more.
            let over = state.questions.remove(&request);
            match is_too_much {
                true if state.leave_out(&at.1) => {
                    self.news.push_back(KnownChange::Machine(at.0, at.1))
                }
                true => {}
                false => self.leave_out(),
            }
            self.is_over(over?);
            return None;
        }
        let give_way = give_way.into_iter().flatten();
        let gone = give_way.filter_map(|id| state.questions.remove(&id));
        let gone: Vec<_> = gone.collect();
        if !gone.is_empty() && state.leave_out(&at.1) {
            let (group, machine) = at.clone();
            self.news.push_back(KnownChange::Machine(group, machine));
        }
        state.bytes = state.bytes - less + bytes;
        self.bytes = self.bytes - less + bytes;
        let (group, machine) = at;
        let asked = OfMachine {
            group,
            machine,
            asked,
            looked,
        };
        state.questions.insert(request, asked.clone());
        for over in gone {
            self.is_over(over);
        }
        self.news.push_back(KnownChange::Asked(Box::new(asked)));
        Some(())
    }

    fn remove(&mut self, at: &At) {
        let Some(gone) = self.machines.remove(at) else {
            return;
        };
        self.bytes -= gone.there.map_or(0, |(_, bytes)| bytes);
        for over in gone.questions.into_values() {
            self.is_over(over);
        }
    }

    fn is_over(&mut self, over: OfMachine) {
        let bytes = over.asked.bytes.len();
        self.bytes -= bytes;
        let at = (over.group.clone(), over.machine.clone());
        if let Some(state) = self.machines.get_mut(&at) {
            state.bytes -= bytes;
        }
        self.news.push_back(KnownChange::Over(Box::new(over)));
    }

    fn leave_out(&mut self) {
        if !std::mem::replace(&mut self.is_full, true) {
            tracing::warn!("more comes than is cached: not all machines and requests are here");
        }
    }

    /// What is open.
    pub(super) fn questions(&self) -> impl Iterator<Item = &OfMachine> {
        self.machines
            .values()
            .flat_map(|state| state.questions.values())
    }

    /// The machines that were heard.
    pub(crate) fn machines(&self) -> impl Iterator<Item = (&Group, &Machine, &State)> {
        self.machines
            .iter()
            .map(|((group, machine), state)| (group, machine, state))
    }

    /// One of them.
    pub(super) fn machine(&self, group: &Group, machine: &Machine) -> Option<&State> {
        self.machines.get(&(group.clone(), machine.clone()))
    }
}

impl State {
    /// How many questions of it are open.
    pub(crate) fn open(&self) -> usize {
        self.questions.len()
    }

    /// Whether it asks more than these.
    pub(crate) fn asks_more(&self) -> bool {
        self.asks_more
    }

    /// These.
    pub(crate) fn questions(&self) -> impl Iterator<Item = &PublishedQuestion> {
        self.questions.values().map(|of| &of.asked)
    }

    /// The one about a request.
    pub(crate) fn question(&self, request: &str) -> Option<&PublishedQuestion> {
        self.questions.get(request).map(|of| &of.asked)
    }

    /// Which of its questions give way to one about that request, of that user's sessions and of so many bytes. None: that user has as
    /// much room as any other, for one user's agent could else keep the questions of all others from the approvers.
    fn who_give_way(&self, request: &str, user: &str, bytes: usize) -> Option<Vec<String>> {
        let mut shares: BTreeMap<&str, Share<'_>> = BTreeMap::new();
        shares.insert(user, Share::default());
        for (id, of) in self.questions.iter().filter(|(id, _)| *id != request) {
            let user = of.asked.question.user.as_str();
            shares.entry(user).or_default().add(id, of);
        }
        let mut gone = Vec::new();
        loop {
            let all = shares.values();
            let all = all.fold((0, 0), |(count, sum), one| {
                (count + one.ids.len(), sum + one.bytes)
            });
            let is_too_long = all.1 + bytes > OF_ONE.1;
            if !is_too_long && all.0 < OF_ONE.0 {
                return Some(gone);
            }
            let weight = |share: &Share<'_>| {
                if is_too_long {
                    share.bytes
                } else {
                    share.ids.len()
                }
            };
            let own = weight(shares.get(user)?) + if is_too_long { bytes } else { 1 };
            let others = shares.iter_mut().filter(|(name, _)| **name != user);
            let (_, most) = others.max_by_key(|(_, share)| weight(share))?;
            gone.push(most.take_longest()?.to_owned());
            if own > weight(most) {
                return None;
            }
        }
    }

    /// Something of it is left out; whether that is news.
    fn leave_out(&mut self, machine: &Machine) -> bool {
        if !std::mem::replace(&mut self.is_said, true) {
            tracing::warn!(%machine, "asks more than is cached of one machine");
        }
        !std::mem::replace(&mut self.asks_more, true)
    }
}

/// What one user's sessions ask, of a machine.
#[derive(Debug, Default)]
struct Share<'s> {
    /// Each question's bytes, and the request that it is about.
    ids: Vec<(usize, &'s str)>,
    bytes: usize,
}

impl<'s> Share<'s> {
    fn add(&mut self, id: &'s str, of: &OfMachine) {
        let bytes = of.asked.bytes.len();
        self.ids.push((bytes, id));
        self.bytes += bytes;
    }

    fn take_longest(&mut self) -> Option<&'s str> {
        let ids = self.ids.iter().enumerate();
        let (at, _) = ids.max_by_key(|(_, one)| **one)?;
        let (bytes, id) = self.ids.swap_remove(at);
        self.bytes -= bytes;
        Some(id)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use guard_proto::{ApproverShown, approvers::Approvers, central::SessionThere};
    use guard_signed::Document as _;

    use super::*;
    use crate::{
        link::LONGEST,
        messages::{SaidReached, tests::question},
    };

    const ROGUE: &str = "m-0123456789abcdef0123";
    const HONEST: &str = "m-0123456789abcdef9999";

    fn publish(
        known: &mut KnownMachines,
        machine: &str,
        request: &str,
        payload: Vec<u8>,
    ) -> Option<()> {
        hear(
            known,
            SubjectKind::Question,
            machine,
            Some(request),
            payload,
        )
    }

    fn hear(
        known: &mut KnownMachines,
        what: SubjectKind,
        machine: &str,
        request: Option<&str>,
        payload: Vec<u8>,
    ) -> Option<()> {
        let subject = Subject {
            group: "ci".parse().ok()?,
            what,
            machine: machine.parse().ok()?,
            request: request.map(str::to_owned),
        };
        known.take(&Message {
            subject: subject.to_string().into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        })
    }

    /// Nearly as long as a message may be.
    fn there() -> There {
        let session = SessionThere {
            id: "s1".to_owned(),
            name: "\u{1}".repeat(50),
            policy: "\u{1}".repeat(50),
            user: "\"".repeat(50),
            started_at: jiff::Timestamp::UNIX_EPOCH,
        };
        let approver = ApproverShown {
            name: "\"".repeat(10_000),
            answers_for: vec![],
            policies: vec![],
            max_for: None,
            keys: vec![],
        };
        let known = Approvers {
            approvers: vec![approver],
            ..Approvers::default()
        };
        There {
            known,
            sessions: Some(vec![session; 100]),
            holes: Some(Vec::new()),
            ..There::default()
        }
    }

    /// A question that shows that many quotes, which JSON writes in two bytes each.
    fn asks(known: &mut KnownMachines, machine: &str, request: &str, quotes: usize) -> Option<()> {
        asks_for("dev", known, (machine, request), quotes)
    }

    /// The same, of that user's sessions.
    fn asks_for(
        user: &str,
        known: &mut KnownMachines,
        (machine, request): (&str, &str),
        quotes: usize,
    ) -> Option<()> {
        let mut question = question(machine, request);
        question.user = user.to_owned();
        question.shows.push("\"".repeat(quotes));
        let bytes = question.to_bytes().ok()?;
        publish(known, machine, request, bytes)
    }

    /// As much as a machine can have others remember.
    pub(crate) fn flooded(quotes: usize) -> KnownMachines {
        let mut known = KnownMachines::default();
        for number in 0..OF_ONE.0 + 44 {
            asks(&mut known, ROGUE, &format!("r{number}"), quotes);
        }
        let there = messages::bytes(&there());
        assert!(there.len() < LONGEST && there.len() > LONGEST / 2);
        hear(&mut known, SubjectKind::Approvers, ROGUE, None, there);
        known
    }

    fn open(known: &KnownMachines, machine: &str) -> (usize, bool) {
        let mut all = known.machines();
        let found = all.find(|(_, id, _)| id.to_string() == machine);
        found.map_or((0, false), |(_, _, state)| {
            (state.open(), state.asks_more())
        })
    }

    #[test]
    fn a_machine_that_asks_without_end_takes_no_room_of_the_others() {
        for (quotes, most) in [(0, OF_ONE.0), (23_000, 22)] {
            let mut known = flooded(quotes);
            assert_eq!(open(&known, ROGUE), (most, true), "{quotes}");
            assert!(
                known.bytes <= OF_ONE.1 + LONGEST && !known.is_full,
                "{quotes}"
            );
            assert_eq!(asks(&mut known, HONEST, "r1", 23_000), Some(()));
            assert_eq!(open(&known, HONEST), (1, false));
        }
    }

    #[test]
    fn a_user_who_asks_without_end_takes_no_room_of_the_others() {
        for quotes in [0, 23_000] {
            let mut known = flooded(quotes);
            let of = |known: &KnownMachines, user: &str| {
                let all = known.questions();
                all.filter(|one| one.asked.question.user == user).count()
            };
            let before = of(&known, "dev");
            let ask = |known: &mut KnownMachines, number: usize| {
                asks_for("ops", known, (ROGUE, &format!("r{number}")), quotes)
            };
            assert_eq!(ask(&mut known, 9000), Some(()));
            assert_eq!((of(&known, "dev"), of(&known, "ops")), (before - 1, 1));
            assert!(open(&known, ROGUE).1, "it asks more");
            // What the first asks on pushes nothing out, and the other has no more room than the first.
            assert_eq!(asks(&mut known, ROGUE, "r9999", quotes), None);
            assert_eq!(of(&known, "ops"), 1);
            for number in 9001..9400 {
                ask(&mut known, number);
            }
            let (dev, ops) = (of(&known, "dev"), of(&known, "ops"));
            assert!(dev + ops == before && dev.abs_diff(ops) <= 2, "{dev} {ops}");
            let bytes: usize = known.questions().map(|one| one.asked.bytes.len()).sum();
            let at = known.machines().find(|(_, id, _)| id.to_string() == ROGUE);
            assert_eq!(at.map(|(_, _, state)| state.bytes), Some(bytes));
        }
    }

    #[test]
    fn what_is_over_makes_room_again() {
        let mut known = flooded(0);
        let before = known.bytes;
        assert_eq!(asks(&mut known, ROGUE, "r5000", 0), None);
        publish(&mut known, ROGUE, "r7", Vec::new());
        assert!(known.bytes < before);
        assert_eq!(asks(&mut known, ROGUE, "r5000", 0), Some(()));
        // One that grows is asked no more as it was.
        let (mut known, before) = (flooded(23_000), open(&flooded(23_000), ROGUE).0);
        asks(&mut known, ROGUE, "r1", 0);
        for number in 3000..3300 {
            asks(&mut known, ROGUE, &format!("r{number}"), 0);
        }
        asks(&mut known, ROGUE, "r1", 23_000);
        assert!(open(&known, ROGUE).0 >= before);
        let is_r1 = |of: &OfMachine| of.asked.question.request == "r1";
        assert!(!known.questions().any(is_r1));
        // It goes.
        let at = known.machines().next();
        let at = at.map(|(group, machine, _)| (group.clone(), machine.clone()));
        at.iter().for_each(|at| known.remove(at));
        assert_eq!(known.bytes, 0);
    }

    #[test]
    fn what_was_reached_takes_no_room_and_changes_nothing_that_is_known() {
        let mut known = flooded(0);
        let before = (open(&known, ROGUE), known.bytes);
        known.news.clear();
        let said = messages::bytes(&SaidReached {
            asked: vec!["x".to_owned()],
            reached: None,
            refused: None,
        });
        let mut say = |said: &[u8]| {
            let said = said.to_owned();
            hear(&mut known, SubjectKind::Approvers, ROGUE, None, said)
        };
        assert_eq!(say(&said), Some(()));
        for odd in ["", "{}", "[]", "{\"reached\":{}}"] {
            assert_eq!(say(odd.as_bytes()), None, "{odd}");
        }
        let is_it = |news| matches!(news, Some(KnownChange::Reached(_)));
        assert!(is_it(known.next()) && known.next().is_none());
        assert_eq!((open(&known, ROGUE), known.bytes), before);
    }

    #[test]
    fn whoever_looks_again_is_told_anew_whether_there_is_more() {
        let mut known = flooded(0);
        known.begin_look();
        assert_eq!(open(&known, ROGUE), (OF_ONE.0, false));
        known.settle();
        assert_eq!(open(&known, ROGUE), (0, false));
        assert_eq!(
            known.machines.values().map(|one| one.bytes).sum::<usize>(),
            0
        );
        assert!(known.bytes < LONGEST, "who answers there");
    }
}
