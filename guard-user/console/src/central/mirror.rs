//! What guard-fleet has reported of all machines.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use guard_courier::{FleetSocket, Refusal};
use guard_proto::{
    ApproverShown,
    approvers::{Approvers, Asked},
    central::{FleetCall, FleetUpdate, HeardMachine, HoleThere, Over, SessionThere},
};
use guard_signed::{Document as _, Question, approvers::Key};
use serde_json::Value;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};

use crate::{
    files::Identity,
    lookers::{Looker, Lookers},
};

/// How long to wait before guard-fleet is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// In which time machines have reported what they ask, since they heard that somebody looks; and how long that may take to begin.
const TOLD: Duration = Duration::from_millis(800);
const BEGUN: Duration = Duration::from_secs(2);

/// Machines by their ids, and by the groups that they are in: one that was moved is in two for a while.
type Machines = BTreeMap<(String, String), Rc<MirroredMachine>>;

/// All of it.
#[derive(Debug)]
pub(crate) struct Mirror {
    machines: RefCell<Machines>,
    now: watch::Sender<Now>,
    lookers: Rc<Lookers>,
    /// Since when machines hear that somebody looks.
    looked: Cell<Option<Instant>>,
}

/// Which state it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Now {
    /// Whether guard-fleet tells, and reaches a server.
    pub(crate) is_connected: bool,
    /// Counts the reports.
    pub(crate) version: u64,
    /// Counts the reports of machines themselves.
    pub(crate) machines: u64,
}

/// A machine.
#[derive(Clone, Debug, Default)]
pub(crate) struct MirroredMachine {
    /// Its own words.
    pub(crate) told: HeardMachine,
    /// Who may answer there. The fingerprints are of the keys, whatever the machine says they are.
    pub(crate) approvers: Vec<ApproverShown>,
    /// What it asks.
    pub(crate) questions: Vec<Open>,
}

/// A question of a machine.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    /// Its bytes, and their hash.
    pub(crate) asked: Asked,
    /// What they say.
    pub(crate) question: Question,
}

impl MirroredMachine {
    /// What a machine has reported.
    pub(crate) fn of(told: HeardMachine) -> Self {
        let questions = told.questions.iter();
        let questions = questions.filter_map(|bytes| {
            let question = Question::from_bytes(bytes.as_bytes()).ok()?;
            (question.machine == told.machine).then(|| Open {
                asked: Asked {
                    request: question.request.clone(),
                    question: bytes.clone(),
                    hash: Question::hash(bytes.as_bytes()),
                },
                question,
            })
        });
        let questions = questions.collect();
        let approvers = told.approvers.iter().map(checked).collect();
        Self {
            told,
            approvers,
            questions,
        }
    }

    /// The approver with this identity on the machine; none if the machine does not know it.
    pub(crate) fn person(&self, identity: &Identity) -> Option<&ApproverShown> {
        let mut people = self.approvers.iter();
        people.find(|one| {
            let mut keys = one.keys.iter();
            identity.is_called(&one.name)
                && keys.any(|key| identity.keys.contains(&key.fingerprint))
        })
    }

    /// What it asks somebody, and nobody has answered yet.
    pub(crate) fn asks<'s>(&'s self, identity: &Identity) -> impl Iterator<Item = &'s Open> {
        let person = self.person(identity);
        let questions = self.questions.iter();
        questions.filter(move |open| {
            let is_its = |one: &ApproverShown| one.answers_for.contains(&open.question.user);
            person.is_some_and(is_its) && !self.is_over(open)
        })
    }

    /// The machine's sessions of users for whom this approver answers.
    pub(crate) fn sessions(&self, identity: &Identity) -> impl Iterator<Item = &SessionThere> {
        let person = self.person(identity);
        let all = self.told.sessions.iter().flatten();
        all.filter(move |one| person.is_some_and(|person| person.answers_for.contains(&one.user)))
    }

    /// The open holes of these users' sessions.
    pub(crate) fn holes(&self, identity: &Identity) -> impl Iterator<Item = &HoleThere> {
        let person = self.person(identity);
        let all = self.told.holes.iter().flatten();
        all.filter(move |one| person.is_some_and(|person| person.answers_for.contains(&one.user)))
    }

    fn is_over(&self, open: &Open) -> bool {
        let over = self.over(&open.asked.hash);
        over.is_some_and(|over| over.answer != "part")
    }

    /// What became of a question, by its hash.
    pub(crate) fn over(&self, hash: &str) -> Option<&Over> {
        let mut over = self.told.over.iter().rev();
        over.find(|over| over.question == hash)
    }

    /// Whether that is more than is known of the same machine in another group: one that was moved is away from the old one.
    fn is_later_than(&self, other: &Self) -> bool {
        match (self.told.away_since, other.told.away_since) {
            (Some(since), Some(other)) => since > other,
            (since, other) => since.is_none() && other.is_some(),
        }
    }

    /// Whether its guardd takes passkeys of such a page; none: it has not said.
    pub(crate) fn takes(&self, origin: &str) -> Option<bool> {
        let origins = self.told.origins.as_ref()?;
        Some(origins.iter().any(|one| one == origin))
    }
}

/// An approver with the keys that are some.
fn checked(told: &ApproverShown) -> ApproverShown {
    let keys = told.keys.iter().filter_map(|key| {
        let read = match key.kind.as_str() {
            "passkey" => Key::passkey(&key.id, &key.public_key),
            _ => Key::ssh(&key.public_key),
        };
        let mut key = key.clone();
        key.fingerprint = read.ok()?.fingerprint;
        Some(key)
    });
    ApproverShown {
        keys: keys.collect(),
        ..told.clone()
    }
}

/// What of a message in many parts has come.
#[derive(Debug, Default)]
struct Telling {
    /// All machines, if they are reported again.
    anew: Option<Machines>,
    /// Whether something is news beside what machines ask.
    is_news: bool,
}

/// Adds a machine, or has it be as it is now; whether that is news beside what it asks.
fn add(machines: &mut Machines, machine: HeardMachine) -> bool {
    let seen = MirroredMachine::of(machine);
    let at = (seen.told.machine.clone(), seen.told.group.clone());
    let before = machines.insert(at, Rc::new(seen.clone()));
    before.is_none_or(|before| {
        let alone = |seen: &MirroredMachine| HeardMachine {
            questions: Vec::new(),
            over: Vec::new(),
            ..seen.told.clone()
        };
        alone(&before) != alone(&seen)
    })
}

impl Mirror {
    pub(super) fn begin(fleet: &FleetSocket) -> Rc<Self> {
        let mirror = Rc::new(Self {
            machines: RefCell::default(),
            now: watch::channel(Now::default()).0,
            lookers: Rc::default(),
            looked: Cell::new(None),
        });
        let (following, fleet) = (Rc::clone(&mirror), fleet.clone());
        tokio::task::spawn_local(async move {
            tokio::join!(following.run(&fleet), following.tell(&fleet));
        });
        mirror
    }

    async fn run(&self, fleet: &FleetSocket) {
        loop {
            if let Err(refusal) = self.follow(fleet).await {
                tracing::debug!(why = refusal.failure.why, "guard-fleet is away");
            }
            self.now.send_if_modified(|now| {
                // Nothing is reported twice of one that is away.
                std::mem::replace(&mut now.is_connected, false)
            });
            sleep(PAUSE).await;
        }
    }

    async fn follow(&self, fleet: &FleetSocket) -> Result<(), Refusal> {
        let mut all = fleet.stream::<FleetUpdate>(&FleetCall::Follow {}).await?;
        let mut telling = Telling::default();
        while let Some(told) = all.next().await? {
            self.hear(&mut telling, told);
        }
        Ok(())
    }

    /// Part of a report: what is reported again counts once all of it has come, and what was known stands until then.
    fn hear(&self, telling: &mut Telling, told: FleetUpdate) {
        if told.anew {
            telling.anew = Some(Machines::new());
            telling.is_news = true;
        }
        if let Some(machine) = told.machine {
            telling.is_news |= match &mut telling.anew {
                Some(anew) => add(anew, machine),
                None => add(&mut self.machines.borrow_mut(), machine),
            };
        }
        if told.whole {
            if let Some(anew) = telling.anew.take() {
                *self.machines.borrow_mut() = anew;
            }
            let is_news = std::mem::take(&mut telling.is_news);
            self.now.send_modify(|now| {
                now.is_connected = told.connected;
                now.version += 1;
                now.machines += u64::from(is_news);
            });
        }
    }

    /// Has machines know that somebody looks, for as long as that is so.
    async fn tell(&self, fleet: &FleetSocket) {
        loop {
            self.lookers.somebody().await;
            tokio::select! {
                () = self.hold(fleet) => {}
                () = self.lookers.nobody() => {}
            }
            self.looked.set(None);
        }
    }

    async fn hold(&self, fleet: &FleetSocket) {
        let look = FleetCall::Look {};
        if let Ok(mut held) = fleet.stream::<Value>(&look).await {
            while let Ok(Some(_)) = held.next().await {
                self.looked.set(Some(Instant::now()));
            }
        }
        self.looked.set(None);
        sleep(PAUSE).await;
    }

    /// How many look.
    pub(crate) fn looking(&self) -> usize {
        self.lookers.count()
    }

    /// Somebody looks, until this is dropped.
    pub(crate) fn look(&self) -> Looker {
        self.lookers.look()
    }

    /// Somebody looks from now on: waits until machines have reported what they ask, or what was meant has come.
    pub(crate) async fn look_at(&self, is_there: impl Fn(&Self) -> bool) -> Looker {
        let looker = self.look();
        let mut now = self.now.subscribe();
        let told = async {
            while now.borrow_and_update().is_connected && !is_there(self) {
                let left = match self.looked.get() {
                    Some(since) => TOLD.saturating_sub(since.elapsed()),
                    None => PAUSE,
                };
                if left.is_zero() {
                    return;
                }
                // Whatever comes first.
                let _ = timeout(left, now.changed()).await;
            }
        };
        let _ = timeout(BEGUN, told).await;
        looker
    }

    /// The state, and each that comes.
    pub(crate) fn now(&self) -> watch::Receiver<Now> {
        self.now.subscribe()
    }

    /// All machines, each once.
    pub(crate) fn machines(&self) -> Vec<Rc<MirroredMachine>> {
        let mut each: Vec<Rc<MirroredMachine>> = Vec::new();
        for seen in self.machines.borrow().values() {
            match each.last_mut() {
                Some(other) if other.told.machine == seen.told.machine => {
                    if seen.is_later_than(other) {
                        *other = Rc::clone(seen);
                    }
                }
                _ => each.push(Rc::clone(seen)),
            }
        }
        each
    }

    /// A machine by its id, if this person is an approver there.
    pub(crate) fn machine_of(&self, identity: &Identity, id: &str) -> Option<Rc<MirroredMachine>> {
        self.machine(id)
            .filter(|seen| seen.person(identity).is_some())
    }

    /// A machine by its id.
    pub(crate) fn machine(&self, id: &str) -> Option<Rc<MirroredMachine>> {
        let machines = self.machines.borrow();
        let first = (id.to_owned(), String::new());
        let own = machines.range(first..).map(|(_, seen)| seen);
        let own = own.take_while(|seen| seen.told.machine == id);
        let latest = own.reduce(|one, other| if other.is_later_than(one) { other } else { one });
        latest.map(Rc::clone)
    }

    /// guard-fleet has just said what became of an answer: pages need not wait until it is sent to all.
    pub(crate) fn note(&self, machine: &str, over: Over) {
        let mut machines = self.machines.borrow_mut();
        let own = machines.values_mut();
        for seen in own.filter(|seen| seen.told.machine == machine) {
            let seen = Rc::make_mut(seen);
            seen.told.over.retain(|one| one.question != over.question);
            seen.told.over.push(over.clone());
        }
        drop(machines);
        self.now.send_modify(|now| now.version += 1);
    }

    /// A machine has just closed a hole: pages need not wait until it tells what there is now.
    pub(crate) fn note_closed(&self, machine: &str, hole: &str) {
        let mut machines = self.machines.borrow_mut();
        let own = machines.values_mut();
        for seen in own.filter(|seen| seen.told.machine == machine) {
            let holes = &mut Rc::make_mut(seen).told.holes;
            holes
                .iter_mut()
                .for_each(|all| all.retain(|one| one.id != hole));
        }
        drop(machines);
        self.now.send_modify(|now| now.version += 1);
    }

    /// The passkeys of all people, each once.
    pub(crate) fn passkeys(&self) -> Vec<String> {
        let machines = self.machines();
        let people = machines.iter().flat_map(|seen| &seen.approvers);
        let keys = people.flat_map(|one| &one.keys);
        let keys = keys.filter(|key| key.kind == "passkey");
        let ids: BTreeSet<_> = keys.map(|key| key.id.as_str()).collect();
        ids.into_iter().map(str::to_owned).collect()
    }

    /// Somebody with the other keys that machines know them by. A machine may name another's key so: then that one logs in again.
    pub(crate) fn with_all_keys(&self, identity: &Identity) -> Identity {
        let machines = self.machines();
        let people = machines.iter().filter_map(|seen| seen.person(identity));
        let keys = people.flat_map(|one| &one.keys);
        let keys = keys.map(|key| key.fingerprint.clone());
        Identity {
            keys: identity.keys.iter().cloned().chain(keys).collect(),
            ..identity.clone()
        }
    }

    /// Who has a passkey of that id, as machines say; who most of them say comes first.
    pub(crate) fn people_with(&self, id: &str) -> Approvers {
        let machines = self.machines();
        let mut said: BTreeMap<(&str, &str), (usize, ApproverShown)> = BTreeMap::new();
        for one in machines.iter().flat_map(|seen| &seen.approvers) {
            for key in one.keys.iter().filter(|key| key.id == id) {
                let alone = || ApproverShown {
                    keys: vec![key.clone()],
                    ..one.clone()
                };
                let known = said.entry((&one.name, &key.public_key));
                known.or_insert_with(|| (0, alone())).0 += 1;
            }
        }
        let mut said: Vec<_> = said.into_values().collect();
        said.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
        Approvers {
            approvers: said.into_iter().map(|(_, one)| one).collect(),
            ..Approvers::default()
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use guard_proto::approvers::KeyShown;

    use super::*;

    pub(crate) fn question(machine: &str, request: &str, shows: &[&str]) -> Question {
        Question {
            asked_at: 1,
            boot: "b".to_owned(),
            code_by: None,
            expires_at: 2,
            kind: "connect".to_owned(),
            machine: machine.to_owned(),
            nonce: "n".to_owned(),
            offers: vec!["for=900".to_owned(), "connections=1".to_owned()],
            policy: "asks".to_owned(),
            request: request.to_owned(),
            rule: None,
            session: "s1".to_owned(),
            shown_whole: true,
            shows: shows.iter().map(|&line| line.to_owned()).collect(),
            user: "dev".to_owned(),
            v: 1,
        }
    }

    /// A key of Ed25519, which signs nothing here, as a passkey's.
    pub(crate) fn key(number: u8, claims: &str) -> KeyShown {
        let head = [
            0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
        ];
        let public = [&head[..], &[number; 32]].concat();
        let public = data_encoding::BASE64URL_NOPAD.encode(&public);
        KeyShown {
            id: "aWQ".to_owned(),
            kind: "passkey".to_owned(),
            fingerprint: claims.to_owned(),
            fido: true,
            public_key: public,
            synced: None,
        }
    }

    pub(crate) fn approver(name: &str, key: KeyShown) -> ApproverShown {
        ApproverShown {
            name: name.to_owned(),
            answers_for: vec!["dev".to_owned()],
            policies: vec![],
            max_for: None,
            keys: vec![key],
        }
    }

    fn machine(id: &str, approvers: Vec<ApproverShown>) -> HeardMachine {
        let asks = question(id, "r1", &["curl wants tcp/443 at 192.0.2.10"]);
        let asks = asks.to_bytes().unwrap_or_default();
        HeardMachine {
            machine: id.to_owned(),
            approvers,
            questions: vec![String::from_utf8(asks).unwrap_or_default()],
            ..HeardMachine::default()
        }
    }

    fn identity(name: &str, seen: &MirroredMachine) -> Identity {
        Identity {
            name: name.to_owned(),
            keys: vec![seen.approvers[0].keys[0].fingerprint.clone()],
            by_key: false,
        }
    }

    #[test]
    fn what_one_machine_says_of_people_counts_at_no_other() {
        let honest =
            MirroredMachine::of(machine("m-1", vec![approver("alice", key(1, "SHA256:x"))]));
        let alice = identity("alice", &honest);
        assert_ne!(alice.keys, ["SHA256:x"], "it is that of the key");
        assert_eq!(honest.asks(&alice).count(), 1);
        // A machine that says another key is hers: it is worth nothing elsewhere.
        let claims = alice.keys[0].clone();
        let rogue = MirroredMachine::of(machine("m-2", vec![approver("alice", key(2, &claims))]));
        let mallory = identity("alice", &rogue);
        assert_ne!(mallory, alice);
        assert_eq!(honest.asks(&mallory).count(), 0);
        assert_eq!(rogue.asks(&mallory).count(), 1);
        assert_eq!(rogue.asks(&alice).count(), 0);
        // Nor does her key count under another name, where a link has logged somebody in by theirs.
        let other = identity("bob", &honest);
        assert_eq!(honest.asks(&other).count(), 0);
        // Who has signed with it has it, whatever another machine calls them.
        let signed = other.by_key();
        assert_eq!(honest.asks(&signed).count(), 1);
        let person = honest.person(&signed);
        assert_eq!(person.map(|one| one.name.as_str()), Some("alice"));
        assert_eq!(rogue.asks(&signed).count(), 0);
    }

    impl Mirror {
        fn add(&self, machine: HeardMachine) -> bool {
            add(&mut self.machines.borrow_mut(), machine)
        }
    }

    #[test]
    fn whoever_has_logged_in_by_one_key_is_found_by_their_others() {
        let (phone, laptop) = (key(1, ""), key(2, ""));
        let mirror = mirror();
        let mut alice = approver("alice", phone.clone());
        alice.keys.push(laptop);
        let bob = approver("bob", key(3, ""));
        mirror.add(machine("m-1", vec![alice, bob]));
        mirror.add(machine("m-2", vec![approver("root", phone)]));
        let seen = mirror.machines();
        let [alice, bob] = [0, 1].map(|at| &seen[0].approvers[at].keys);
        let by = |key: &KeyShown| Identity {
            name: "alice".to_owned(),
            keys: vec![key.fingerprint.clone()],
            by_key: true,
        };
        let [phone, laptop, other] = [&alice[0], &alice[1], &bob[0]].map(by);
        assert!(!phone.is_of_same_person(&laptop));
        for one in [&phone, &laptop] {
            let all = mirror.with_all_keys(one);
            assert!(phone.is_of_same_person(&all) && laptop.is_of_same_person(&all));
            assert!(!other.is_of_same_person(&all));
        }
    }

    #[test]
    fn machines_that_are_told_anew_are_there_meanwhile() {
        let mirror = mirror();
        let alice = || vec![approver("alice", key(1, ""))];
        let mut telling = Telling::default();
        let anew = FleetUpdate {
            anew: true,
            ..FleetUpdate::default()
        };
        let one = |id: &str| FleetUpdate {
            machine: Some(machine(id, alice())),
            ..FleetUpdate::default()
        };
        let whole = || FleetUpdate {
            connected: true,
            whole: true,
            ..FleetUpdate::default()
        };
        let ids = || -> Vec<_> {
            let all = mirror.machines();
            all.iter().map(|seen| seen.told.machine.clone()).collect()
        };
        for told in [anew.clone(), one("m-1"), one("m-2"), whole()] {
            mirror.hear(&mut telling, told);
        }
        assert_eq!(ids(), ["m-1", "m-2"]);
        let now = *mirror.now().borrow();
        for told in [anew, one("m-2")] {
            mirror.hear(&mut telling, told);
            assert_eq!(ids(), ["m-1", "m-2"], "one leaves, and none is away for it");
            assert_eq!(mirror.people_with("aWQ").approvers.len(), 1);
            assert_eq!(*mirror.now().borrow(), now);
        }
        mirror.hear(&mut telling, whole());
        assert_eq!(ids(), ["m-2"]);
        assert_eq!(mirror.now().borrow().machines, now.machines + 1);
        mirror.hear(&mut telling, one("m-3"));
        assert_eq!(
            ids(),
            ["m-2", "m-3"],
            "what is not told again counts at once"
        );
    }

    fn mirror() -> Mirror {
        Mirror {
            machines: RefCell::default(),
            now: watch::channel(Now::default()).0,
            lookers: Rc::default(),
            looked: Cell::new(None),
        }
    }

    #[test]
    fn a_machine_that_was_moved_to_another_group_is_there_once_and_not_away() {
        let later = |seconds| jiff::Timestamp::from_second(seconds).ok();
        for (old, new) in [("ci", "lab"), ("lab", "ci")] {
            let mirror = mirror();
            let of = |group: &str, away_since: Option<jiff::Timestamp>| HeardMachine {
                group: group.to_owned(),
                away_since,
                ..machine("m-2", vec![])
            };
            let groups = || -> Vec<_> {
                let all = mirror.machines();
                all.iter()
                    .map(|seen| (seen.told.machine.clone(), seen.told.group.clone()))
                    .collect()
            };
            mirror.add(machine("m-1", vec![]));
            mirror.add(machine("m-3", vec![]));
            mirror.add(of(new, None));
            mirror.add(of(old, later(1)));
            let each = ["m-1", "m-2", "m-3"].map(str::to_owned);
            let now = [String::new(), new.to_owned(), String::new()];
            assert_eq!(groups(), each.iter().cloned().zip(now).collect::<Vec<_>>());
            let group = || mirror.machine("m-2").map(|seen| seen.told.group.clone());
            assert_eq!(group().as_deref(), Some(new));
            mirror.add(of(new, later(2)));
            assert_eq!(group().as_deref(), Some(new), "it was there later");
            assert!(mirror.machine("m-").is_none() && mirror.machine("m-4").is_none());
        }
    }

    #[test]
    fn a_hole_that_was_closed_is_there_no_more_and_others_are() {
        let mirror = mirror();
        let hole = |id: &str, user: &str| HoleThere {
            id: id.to_owned(),
            session: "s1".to_owned(),
            user: user.to_owned(),
            destination: "192.0.2.10".to_owned(),
            ports: None,
            opened_by: None,
            expires_at: jiff::Timestamp::UNIX_EPOCH,
            is_narrow: false,
            shut_by: None,
        };
        for id in ["m-1", "m-2"] {
            let mut told = machine(id, vec![approver("alice", key(1, ""))]);
            told.holes = Some(vec![
                hole("h1", "dev"),
                hole("h2", "dev"),
                hole("h3", "prod"),
            ]);
            mirror.add(told);
        }
        let seen = mirror.machines();
        let alice = identity("alice", &seen[0]);
        let ids = |machine: &str| -> Vec<_> {
            let seen = mirror.machine_of(&alice, machine);
            let seen = seen.as_deref();
            let holes = seen.into_iter().flat_map(|seen| seen.holes(&alice));
            holes.map(|one| one.id.clone()).collect()
        };
        assert_eq!(ids("m-1"), ["h1", "h2"]);
        let stranger = identity("bob", &seen[0]);
        assert_eq!(seen[0].holes(&stranger).count(), 0);
        mirror.note_closed("m-1", "h1");
        assert_eq!(ids("m-1"), ["h2"]);
        assert_eq!(ids("m-2"), ["h1", "h2"]);
    }

    #[test]
    fn whom_most_machines_name_has_the_key() {
        let mirror = mirror();
        mirror.add(machine("m-0", vec![approver("mallory", key(1, ""))]));
        assert_eq!(mirror.people_with("aWQ").approvers[0].name, "mallory");
        for id in ["m-1", "m-2"] {
            mirror.add(machine(id, vec![approver("alice", key(1, ""))]));
        }
        let people = mirror.people_with("aWQ").approvers;
        assert_eq!((people.len(), people[0].name.as_str()), (2, "alice"));
        assert_eq!(mirror.passkeys(), ["aWQ"]);
        assert!(mirror.people_with("eA").approvers.is_empty());
    }

    #[test]
    fn a_question_of_another_machine_is_none_and_one_that_is_answered_is_over() {
        let mut told = machine("m-1", vec![approver("alice", key(1, ""))]);
        let other = machine("m-2", vec![]).questions;
        told.questions.extend(other);
        told.questions.push("{}".to_owned());
        let seen = MirroredMachine::of(told.clone());
        assert_eq!(seen.questions.len(), 1);
        let alice = identity("alice", &seen);
        let mut over = Over {
            request: "r1".to_owned(),
            question: seen.questions[0].asked.hash.clone(),
            answer: "part".to_owned(),
            by: "bob".to_owned(),
            approvals: 1,
            wanted: 2,
            holes: 0,
            warnings: vec![],
            at: jiff::Timestamp::UNIX_EPOCH,
        };
        told.over.push(over.clone());
        assert_eq!(MirroredMachine::of(told.clone()).asks(&alice).count(), 1);
        over.answer = "yes".to_owned();
        told.over = vec![over];
        assert_eq!(MirroredMachine::of(told).asks(&alice).count(), 0);
    }
}
