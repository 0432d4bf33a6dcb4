//! Listeners on this machine that sessions connect to: who they are, and where they lead. The kernel asks, and decides by
//! the answer.

pub mod command;
pub mod follow;
pub mod look;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    fs::File,
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use guard_common::{
    Address, BootTime, Connection, Event, MAX_LEADS, NetnsCookie, PolicyId, Protocol, Relay,
    SessionId, Ticket, Verdict, relay_flags,
};

use super::{
    events, opening::after, policies::Judged, requests::Question, shared::Shared, state::State,
};
use crate::{
    proto::{Endpoint, Through},
    sys::{cgroup2, clock},
};
use look::{Found, Place, Terms};

/// When a listener is looked at again after a session has connected to it: what it does for that may come later.
const LOOKS: [Duration; 5] = [
    Duration::from_millis(40),
    Duration::from_millis(150),
    Duration::from_millis(600),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// Of each session's so many are looked at together, before it is another's turn.
const TOGETHER: usize = 64;
/// For so long after a look the kernel tells what the processes of a listener connect to.
const FOLLOWED: Duration = Duration::from_secs(60);
/// Listeners that are known at once; as many has the kernel room for.
const MAX_KNOWN: usize = 4096;
/// Those that are looked at no more, since nobody has connected for so long.
const FORGOTTEN: Duration = Duration::from_secs(600);
/// Destinations whose way is remembered, to be shown.
const MAX_WAYS: usize = 1024;

/// A listener that a session connects to.
#[derive(Debug)]
struct Known {
    relay: Relay,
    /// None where it was looked at by an earlier guardd.
    who: Option<Found>,
    /// The session that connected last, and its process.
    by: (SessionId, u32),
    /// When it last did.
    used: BootTime,
    /// When it is looked at next, and the how manieth time that is.
    due: Option<BootTime>,
    step: usize,
    /// The kernel was told.
    is_told: bool,
    /// It counts as leading anywhere only because something could not be read.
    unread: bool,
    /// Where on the loopback its processes connect to.
    dialed: Vec<SocketAddr>,
}

/// All that are known.
#[derive(Debug, Default)]
pub struct Relays {
    known: HashMap<Ticket, Known>,
    /// When this guardd began to look.
    began: BootTime,
    /// By which listeners destinations were tried, the latest last.
    ways: VecDeque<(SessionId, Connection, Through)>,
    /// One is to be looked at.
    pub stir: std::rc::Rc<tokio::sync::Notify>,
}

/// Where a connection to this machine leads.
#[derive(Debug)]
pub enum Behind {
    /// It was not looked at yet, or is no listener that anybody asked about.
    Unknown,
    /// To one of the session's own.
    Own,
    /// To this, which is judged so.
    Leads {
        /// What is asked about.
        question: Question,
        /// What policies say of it.
        verdict: Verdict,
        /// The way there; none where nothing stricter is behind.
        through: Option<Through>,
    },
}

impl Relays {
    /// Those that an earlier guardd has told the kernel of.
    #[must_use]
    pub fn recalled(relays: Vec<Relay>, now: BootTime) -> Self {
        let known = relays.into_iter().map(|relay| {
            let known = Known {
                relay,
                who: None,
                by: (SessionId(0), 0),
                used: BootTime(0),
                due: Some(now),
                step: 0,
                is_told: true,
                unread: false,
                dialed: Vec::new(),
            };
            (relay.ticket, known)
        });
        Self {
            known: known.collect(),
            began: now,
            ..Self::default()
        }
    }

    /// When the next one is to be looked at.
    #[must_use]
    pub fn next_look(&self) -> Option<BootTime> {
        self.known.values().filter_map(|known| known.due).min()
    }

    fn note(&mut self, event: &Event) {
        let ticket = Ticket(event.count);
        let (netns, port) = (NetnsCookie(event.cgroup), event.port);
        if !self.known.contains_key(&ticket) {
            self.forget_those_before(netns, event.destination, port);
            self.make_room();
        }
        let new = || Known {
            relay: Relay::new(ticket, netns, event.destination, port),
            who: None,
            by: (event.session, event.tgid),
            used: event.at,
            due: None,
            step: 0,
            is_told: false,
            unread: false,
            dialed: Vec::new(),
        };
        let known = self.known.entry(ticket).or_insert_with(new);
        // The same listener may be for many addresses: it is looked at by the one that was asked for last.
        known.relay.address = event.destination;
        if netns.0 != 0 {
            known.relay.netns = netns;
            known.by = (event.session, event.tgid);
        }
        known.used = event.at;
        known.step = 0;
        // At once where nobody knows it; else when it has had the time to go on.
        let wait = if known.is_told {
            LOOKS[0]
        } else {
            Duration::ZERO
        };
        known.due = Some(after(event.at, wait));
        self.stir.notify_one();
    }

    /// Forgets who was there before. Whose network namespace nobody knows may be in another one: a session has such of its own.
    fn forget_those_before(&mut self, netns: NetnsCookie, address: Address, port: u16) {
        self.known.retain(|_, known| {
            let relay = &known.relay;
            let is_there = relay.netns == netns && netns.0 != 0;
            !is_there || relay.address != address || relay.port != port
        });
    }

    /// Forgets who was not connected to for longest where there are too many.
    fn make_room(&mut self) {
        if self.known.len() >= MAX_KNOWN {
            let oldest = self.known.iter().min_by_key(|(_, known)| known.used);
            let oldest = oldest.map(|(ticket, _)| *ticket);
            oldest.map(|ticket| self.known.remove(&ticket));
        }
    }

    /// Who gets a connection to there that began then. Who an earlier guardd has seen there may be gone: it is who got
    /// connections in its time.
    fn at(&self, address: Address, port: u16, since: BootTime) -> Option<&Known> {
        let mut at = self.known.values().filter(|known| {
            let is_there = known.relay.address == address && known.relay.port == port;
            let was_seen = known.used.0 != 0 || since.0 < self.began.0;
            known.is_told && is_there && was_seen
        });
        let first = at.next()?;
        // Of several that came one after the other the last counts.
        Some(at.fold(
            first,
            |last, one| if one.used > last.used { one } else { last },
        ))
    }

    /// Adds where the same process there was seen to lead before.
    fn add_known(&self, found: &mut Found, address: Address, port: u16) {
        let is_it = |known: &&Known| {
            let is_there = known.relay.address == address && known.relay.port == port;
            let pid = known.who.as_ref().and_then(|who| who.pid);
            is_there && pid.is_some() && pid == found.pid
        };
        for known in self.known.values().filter(is_it) {
            found.anywhere |= known.is_anywhere() && !known.unread;
            let new = known.leads().iter();
            let new: Vec<_> = new.filter(|lead| !found.leads.contains(lead)).collect();
            found.leads.extend(new);
        }
    }

    /// A process that serves a listener connects to this machine itself: who listens there is to be looked at, too.
    fn note_near_dial(&mut self, event: &Event, process: u32) {
        let to = SocketAddr::new(event.destination.to_ip(), event.port);
        for known in self.known.values_mut() {
            // The loopback of another network is another one.
            let is_there = [0, event.cgroup].contains(&known.relay.netns.0);
            let is_new = !known.dialed.contains(&to) && known.dialed.len() < MAX_LEADS;
            if is_there && is_new && known.is_served_by(process) {
                known.dialed.push(to);
                known.due = Some(event.at);
                self.stir.notify_one();
            }
        }
    }

    fn note_way(&mut self, session: SessionId, to: Connection, through: Through) {
        self.ways
            .retain(|(of, way, _)| (*of, *way) != (session, to));
        if self.ways.len() >= MAX_WAYS {
            self.ways.pop_front();
        }
        self.ways.push_back((session, to, through));
    }

    fn way(&self, question: &Question) -> Option<&Through> {
        let to = Connection::new(question.destination, question.protocol, question.port);
        let is_it =
            |way: &&(SessionId, Connection, Through)| way.0 == question.session && way.1 == to;
        self.ways
            .iter()
            .rev()
            .find(is_it)
            .map(|(_, _, through)| through)
    }
}

impl Known {
    fn leads(&self) -> &[Connection] {
        let count = (self.relay.len as usize).min(MAX_LEADS);
        &self.relay.leads[..count]
    }

    fn is_anywhere(&self) -> bool {
        self.relay.flags & relay_flags::ANYWHERE != 0
    }

    fn through(&self) -> Through {
        let who = self.who.clone().unwrap_or_default();
        through(self.relay.address, self.relay.port, &who)
    }

    /// Takes over what the kernel was told of it.
    fn recall(&mut self, relay: &Relay) {
        let count = (relay.len as usize).min(MAX_LEADS);
        let found = Found {
            leads: relay.leads[..count].to_vec(),
            anywhere: relay.flags & relay_flags::ANYWHERE != 0,
            ..Found::default()
        };
        self.learn(found, relay.owner);
    }

    /// Takes over what was found. What it once led to it may lead to again: nothing is forgotten. True where that is new.
    fn learn(&mut self, found: Found, owner: u64) -> bool {
        let relay = &mut self.relay;
        let before = *relay;
        relay.owner = owner;
        let was = relay.flags & relay_flags::ANYWHERE != 0;
        match (found.anywhere, found.unread) {
            (true, _) => (relay.flags, self.unread) = (relay.flags | relay_flags::ANYWHERE, false),
            // As long as nobody knows better.
            (false, true) => {
                relay.flags |= relay_flags::ANYWHERE;
                self.unread |= !was;
            }
            (false, false) if self.unread => {
                relay.flags &= !relay_flags::ANYWHERE;
                self.unread = false;
            }
            (false, false) => {}
        }
        for lead in &found.leads {
            self.add_lead(lead);
        }
        self.who = Some(found);
        before != self.relay
    }

    /// Takes over one more place that it leads to. True where that is new.
    fn add_lead(&mut self, lead: &Connection) -> bool {
        let relay = &mut self.relay;
        let before = *relay;
        let count = (relay.len as usize).min(MAX_LEADS);
        if relay.leads[..count].contains(lead) {
            return false;
        }
        match relay.leads.get_mut(count) {
            Some(room) => {
                *room = *lead;
                relay.len += 1;
            }
            None => {
                relay.flags |= relay_flags::ANYWHERE;
                self.unread = false;
            }
        }
        before != *relay
    }

    /// Whether that process serves it.
    fn is_served_by(&self, process: u32) -> bool {
        let who = self.who.as_ref();
        who.is_some_and(|who| who.processes.contains(&process))
    }
}

/// A listener as people see it.
#[must_use]
pub fn through(address: Address, port: u16, who: &Found) -> Through {
    Through {
        address: address.to_ip().to_string(),
        port,
        pid: who.pid,
        comm: who.comm.clone(),
        command: who.command.clone(),
    }
}

/// A destination of a listener's as people see it.
#[must_use]
pub fn shown(lead: &Connection) -> Endpoint {
    let question = Question {
        session: SessionId(0),
        destination: lead.to,
        protocol: lead.protocol,
        port: lead.port,
        http: None,
    };
    events::endpoint(&question, None)
}

impl State {
    /// A session connects to a listener that nobody has looked at, or not lately.
    pub(super) fn note_listener(&mut self, event: &Event) {
        if self.sessions.live(event.session).is_some() {
            self.relays.note(event);
        }
    }

    /// A process that serves a listener connects: that is where it leads. It may have many to talk to for reasons of its
    /// own, of which only those count that a policy in force does not simply allow.
    pub(super) fn note_dial(&mut self, event: &Event) {
        let Ok(process) = u32::try_from(event.count) else {
            return;
        };
        let to = Connection::new(event.destination, event.protocol, event.port);
        if to.to.is_loopback() {
            return self.relays.note_near_dial(event, process);
        }
        if !self.is_judged_by_any(&to) {
            return;
        }
        let served = self.relays.known.values_mut();
        let served = served.filter(|known| known.is_served_by(process));
        let new = served.filter_map(|known| known.add_lead(&to).then_some(known.relay));
        let new: Vec<Relay> = new.collect();
        for relay in &new {
            if let Err(error) = self.datapath.set_relay(relay, true) {
                tracing::warn!(%error, "what a listener leads to stays as it was");
            }
        }
        if !new.is_empty() {
            self.look_at_held();
        }
    }

    /// Whether a policy in force has more to say of it than that it is allowed.
    fn is_judged_by_any(&self, to: &Connection) -> bool {
        let chains: HashSet<&[PolicyId]> = self
            .sessions
            .all_live()
            .map(|session| session.chain.as_slice())
            .collect();
        chains.into_iter().any(|chain| {
            let judged = self.policies.judge(chain, to.to, to.protocol, to.port);
            judged.is_none_or(|judged| judged.verdict != Verdict::Allow)
        })
    }

    /// What is to be looked at now, and what is known beforehand. Each session has its share, and what nobody has looked at
    /// comes first.
    pub(super) fn due_looks(&mut self, now: BootTime) -> (Vec<(Ticket, Place)>, Terms) {
        let is_over = |id: SessionId| id.0 != 0 && self.sessions.live(id).is_none();
        let mut due = Vec::new();
        for (ticket, known) in &mut self.relays.known {
            match known.due {
                Some(_) if is_over(known.by.0) => known.due = None,
                Some(at) if at <= now => due.push((known.is_told, at, known.by, *ticket)),
                _ => {}
            }
        }
        if due.is_empty() {
            return (Vec::new(), Terms::default());
        }
        due.sort_unstable();
        let mut shares: HashMap<SessionId, usize> = HashMap::new();
        due.retain(|(_, _, (session, _), _)| {
            let share = shares.entry(*session).or_default();
            *share += 1;
            *share <= TOGETHER
        });
        let ways: Vec<_> = due.iter().map(|(_, _, by, _)| self.way_to(*by)).collect();
        let mut places = Vec::new();
        for ((.., ticket), way) in due.into_iter().zip(ways) {
            let Some(known) = self.relays.known.get_mut(&ticket) else {
                continue;
            };
            let is_old = after(known.used, FORGOTTEN).0 <= now.0;
            let wait = LOOKS.get(known.step).unwrap_or(&LOOKS[LOOKS.len() - 1]);
            known.due = (!is_old).then(|| after(now, *wait));
            known.step += 1;
            places.push((
                ticket,
                Place {
                    way,
                    netns: known.relay.netns,
                    address: known.relay.address,
                    port: known.relay.port,
                    dialed: known.dialed.clone(),
                },
            ));
        }
        (places, self.terms())
    }

    fn terms(&self) -> Terms {
        Terms {
            guarded: self.kernel_path(&self.places.cgroup_root),
            names: self.names_of_people(),
        }
    }

    /// What names stand for in policies that people have put in force. What a session has had looked up says nothing of
    /// where a listener outside leads: to that one, the name may stand for another address.
    fn names_of_people(&self) -> BTreeMap<String, Vec<IpAddr>> {
        let outer = self.sessions.all_live();
        let outer = outer.filter(|session| session.about.outermost.is_none());
        let slots: HashSet<PolicyId> = outer
            .flat_map(|session| session.chain.iter().copied())
            .chain(self.default_slot)
            .collect();
        let policies = slots.iter().filter_map(|slot| self.policies.get(*slot));
        let names: BTreeSet<&str> = policies.flat_map(|policy| policy.names()).collect();
        let mut known = self.names.addresses();
        known.retain(|name, _| names.contains(name.as_str()));
        known
    }

    /// The way into the network of a process of a session's; none where it is guardd's own, or gone.
    fn way_to(&self, (session, tgid): (SessionId, u32)) -> Option<File> {
        let session = self.sessions.live(session)?;
        let processes = self.datapath.processes(&session.cgroup);
        let is_of_session = |pid: &u32| *pid != 0 && processes.contains(pid);
        let first = Some(tgid)
            .filter(is_of_session)
            .or(processes.first().copied())?;
        File::open(format!("/proc/{first}/ns/net")).ok()
    }

    /// Has the kernel know what was found. Connections that wait for it are looked at where it is new.
    pub(super) fn note_found(&mut self, ticket: Ticket, found: Found) {
        let owner = self.owner_of(&found);
        if !self.relays.known.contains_key(&ticket) {
            return;
        }
        // Before anybody gets through to them.
        self.follow(&found);
        let Some(known) = self.relays.known.get_mut(&ticket) else {
            return;
        };
        if !found.listens && known.is_told {
            // What it led to is judged by for as long as its connections live; nobody new gets to it.
            known.due = None;
            return;
        }
        // The kernel may know more of it, from before it was forgotten here.
        if !known.is_told
            && let Ok(Some(relay)) = self.datapath.relay(ticket)
        {
            known.recall(&relay);
        }
        let is_new = known.learn(found, owner);
        if !is_new && known.is_told {
            return;
        }
        let was_told = std::mem::replace(&mut known.is_told, true);
        let relay = known.relay;
        if let Err(error) = self.datapath.set_relay(&relay, was_told) {
            tracing::warn!(%error, "what a listener leads to stays as it was");
        }
        self.look_at_held();
    }

    /// Has the kernel tell what the processes of a listener connect to.
    fn follow(&mut self, found: &Found) {
        let cgroup_of = |pid: u32| {
            let process = cgroup2::path_of(pid).ok()?;
            let root = self.kernel_path(&self.places.cgroup_root)?;
            let session = process.strip_prefix(&root).ok()?.components().next()?;
            cgroup2::id(&self.places.cgroup_root.join(session)).ok()
        };
        let processes = found.processes.iter();
        let processes: Vec<_> = processes
            .map(|pid| (*pid, cgroup_of(*pid).unwrap_or(0)))
            .collect();
        let now = now();
        let until = after(now, FOLLOWED);
        if let Err(error) = self.datapath.follow_dials(&processes, now, until) {
            tracing::warn!(%error, "what a listener connects to from now on may not be seen");
        }
    }

    /// Whether listeners are a session's own.
    pub(super) fn is_own(&self, id: SessionId, found: &Found) -> bool {
        let own = self
            .sessions
            .live(id)
            .map(|session| session.cgroup.cgroup_id);
        own.is_some_and(|own| self.owner_of(found) == own)
    }

    /// The cgroup of the session whose listeners they are, where they are all one's.
    fn owner_of(&self, found: &Found) -> u64 {
        let mut owners = found
            .cgroups
            .iter()
            .map(|id| self.sessions.of_cgroup(*id).map_or(0, |_| *id));
        match owners.next() {
            Some(first) if owners.all(|other| other == first) => first,
            _ => 0,
        }
    }

    /// Where a question about this machine leads that was first asked then: its strictest destination.
    pub(super) fn behind(&mut self, question: &Question, since: BootTime) -> Behind {
        let Some(session) = self.sessions.live(question.session) else {
            return Behind::Unknown;
        };
        let (own, chain) = (session.cgroup.cgroup_id, session.chain.clone());
        let Some(known) = self.relays.at(question.destination, question.port, since) else {
            return Behind::Unknown;
        };
        if known.relay.owner == own {
            return Behind::Own;
        }
        let judge = |to: &Connection| {
            let judged = self.policies.judge(&chain, to.to, to.protocol, to.port);
            judged.map_or(Verdict::Deny, |judged| judged.verdict)
        };
        let asked = Connection::new(question.destination, question.protocol, question.port);
        let mut strictest = (judge(&asked), None);
        for lead in known.leads() {
            let verdict = match judge(lead) {
                Verdict::ReadOnly => Verdict::Confirm,
                verdict => verdict,
            };
            if verdict.strictness() > strictest.0.strictness() {
                strictest = (verdict, Some(*lead));
            }
        }
        if known.is_anywhere() && strictest.0.strictness() < Verdict::Confirm.strictness() {
            strictest = (Verdict::Confirm, Some(asked));
        }
        let through = strictest.1.map(|_| known.through());
        let to = strictest.1.unwrap_or(asked);
        let question = Question {
            destination: to.to,
            protocol: to.protocol,
            port: to.port,
            ..question.clone()
        };
        if let Some(through) = through.clone() {
            self.relays.note_way(question.session, to, through);
        }
        Behind::Leads {
            question,
            verdict: strictest.0,
            through,
        }
    }

    /// By which listener a refused destination was tried, noted so that people see it.
    pub(super) fn note_way(&mut self, event: &Event) {
        let Some(port) = event.through() else {
            return;
        };
        let to = Connection::new(event.destination, event.protocol, event.port);
        let leads_there = |known: &&Known| {
            let is_itself = known.relay.address == to.to && known.relay.port == to.port;
            known.relay.port == port && (is_itself || known.leads().contains(&to))
        };
        let known = self.relays.known.values().filter(leads_there);
        let known = known.max_by_key(|known| known.used).map(Known::through);
        if let Some(through) = known {
            self.relays.note_way(event.session, to, through);
        }
    }

    /// By which listener a destination was tried, where it was.
    pub(super) fn way_of(&self, question: &Question) -> Option<Through> {
        self.relays.way(question).cloned()
    }

    /// Whether it is a listener itself that is asked about, which leads anywhere: no policy's word is enough.
    pub(super) fn is_anywhere(&self, question: &Question) -> bool {
        let way = self.relays.way(question);
        let address = question.destination.to_ip().to_string();
        way.is_some_and(|way| way.address == address && way.port == question.port)
    }

    /// What policies say, where that is not milder than what there is to ask about a listener.
    pub(super) fn verdict_behind(&self, question: &Question, judged: &Judged<'_>) -> Verdict {
        let is_milder = judged.verdict.strictness() < Verdict::Confirm.strictness();
        match is_milder && self.is_anywhere(question) {
            true => Verdict::Confirm,
            false => judged.verdict,
        }
    }
}

/// A question about a port of this machine.
#[must_use]
pub(super) fn is_near(question: &Question) -> bool {
    question.http.is_none()
        && question.protocol == Protocol::TCP
        && question.destination.is_loopback()
}

/// Looks at a port of guardd's own loopback, to explain it. What it was seen to lead to before counts, too. It takes a while.
///
/// # Errors
///
/// The system's.
pub async fn look_now(shared: &Shared, address: IpAddr, port: u16) -> io::Result<Found> {
    let place = Place {
        way: None,
        netns: NetnsCookie(0),
        address: address.into(),
        port,
        dialed: Vec::new(),
    };
    let terms = shared.with(|state| state.terms());
    let looked = tokio::task::spawn_blocking(move || look::look(&place, &terms)).await;
    let mut found = looked.map_err(io::Error::other)??;
    shared.with(|state| state.relays.add_known(&mut found, address.into(), port));
    Ok(found)
}

/// Relays that listen on guardd's own loopback, with who they are and where they lead, for people to see. It takes a while.
///
/// # Errors
///
/// The system's.
pub async fn survey(shared: &Shared) -> io::Result<Vec<(SocketAddr, Found)>> {
    let terms = shared.with(|state| state.terms());
    let surveyed = tokio::task::spawn_blocking(move || look::survey(&terms)).await;
    surveyed.map_err(io::Error::other)?
}

/// The present.
pub(super) fn now() -> BootTime {
    clock::now()
}
