//! Other programs' listeners on the loopback. The kernel half names each by a ticket; guardd finds out once which program it is, before
//! anybody is asked about it, and opens what a person has said yes to for good.

pub(crate) mod always;
mod forwarders;
pub(crate) mod identify;

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    path::PathBuf,
    rc::Rc,
};

use guard_common::{Address, Connection, Event, Held, Protocol, SessionId, Ticket};
use guard_policy::{Destination, PortSpec, Prefix, Target};
use guard_proto::{
    HoleTerms,
    destination::Listener,
    holes::AlwaysReply,
    record::DecisionOrigin,
    wire::{Number, RedirectTarget, ToProxy},
};
use guard_sys::threads;
use tokio::sync::Notify;

use self::{
    always::Always,
    identify::{ListenerAt, ListeningProgram},
};
use crate::{
    changes::Change,
    control::{answering::Answering, auth::Approver, failure::CallError},
    holes::checked::CheckedHole,
    requests::RequestKey,
    shared::Shared,
    state::State,
};

/// Listeners that are known at once.
const MAX_KNOWN: usize = 4096;
/// Events that wait until their listener is identified; of more the listener counts as unknown.
const MAX_WAITING: usize = 1024;
/// Why a hole is opened without a question.
const REMEMBERED: &str = "always: a person said so of this program, owner and port";

/// Owns what guardd knows of other programs' listeners.
#[derive(Debug)]
pub(crate) struct Listeners {
    /// By their tickets; none: it could not be told.
    known: HashMap<Ticket, Option<ListeningProgram>>,
    /// Their tickets, the oldest first.
    order: VecDeque<Ticket>,
    /// What waits until a listener is identified.
    waiting: Vec<Waiting>,
    /// The programs that are reached without a question.
    pub(crate) always: Always,
    stir: Rc<Notify>,
}

/// What waits until a listener is identified.
#[derive(Debug)]
enum Waiting {
    /// A refusal, or a held connection.
    Event(Box<Event>),
    /// A held connection, of which nothing was reported.
    Held(Box<Event>),
    /// The proxy is connected there, and asks whether that very listener got the connection.
    Reached(Number, RedirectTarget),
}

impl Waiting {
    fn session(&self) -> SessionId {
        match self {
            Self::Event(event) | Self::Held(event) => event.session,
            Self::Reached(_, target) => SessionId(target.session),
        }
    }

    fn to(&self) -> Connection {
        match self {
            Self::Event(event) | Self::Held(event) => {
                Connection::new(event.destination, event.protocol, event.port)
            }
            Self::Reached(_, target) => {
                Connection::new(destination(target), Protocol::TCP, target.port)
            }
        }
    }

    fn process(&self) -> u32 {
        match self {
            Self::Event(event) | Self::Held(event) => event.tgid,
            Self::Reached(..) => 0,
        }
    }
}

impl Listeners {
    /// None known yet; `file` has the programs that are reached without a question.
    #[must_use]
    pub(crate) fn new(file: PathBuf) -> Self {
        Self {
            known: HashMap::new(),
            order: VecDeque::new(),
            waiting: Vec::new(),
            always: Always::read(file),
            stir: Rc::default(),
        }
    }

    /// The program that listens there, as far as it is known.
    #[must_use]
    pub(crate) fn program(&self, to: &Address) -> Option<&ListeningProgram> {
        self.known.get(&to.ticket()?)?.as_ref()
    }

    /// A destination's listener as people see it; none where it is no other program's.
    #[must_use]
    pub(crate) fn shown(&self, to: &Address) -> Option<Listener> {
        to.ticket()?;
        Some(
            self.program(to)
                .map(ListeningProgram::shown)
                .unwrap_or_default(),
        )
    }

    /// Has something wait until its listener is identified; false where that has been tried, or there is no listener.
    fn waits(&mut self, waiting: impl FnOnce() -> Waiting, to: &Address) -> bool {
        let is_known = to
            .ticket()
            .is_none_or(|ticket| self.known.contains_key(&ticket));
        if is_known || self.waiting.len() >= MAX_WAITING {
            return false;
        }
        self.waiting.push(waiting());
        self.stir.notify_one();
        true
    }

    /// Has an event wait until its listener is identified.
    pub(crate) fn event_waits(&mut self, event: &Event) -> bool {
        self.waits(|| Waiting::Event(Box::new(*event)), &event.destination)
    }

    /// Takes the refusals of a session whose listeners are not identified yet.
    pub(crate) fn take_refusals(&mut self, session: SessionId) -> Vec<Event> {
        let is_its = |one: &mut Waiting| match one {
            Waiting::Event(event) => event.session == session && event.held == 0,
            Waiting::Held(_) | Waiting::Reached(..) => false,
        };
        let taken = self.waiting.extract_if(.., is_its);
        taken
            .filter_map(|one| match one {
                Waiting::Event(event) => Some(*event),
                Waiting::Held(_) | Waiting::Reached(..) => None,
            })
            .collect()
    }

    /// Has a held connection wait until its listener is identified; false where that has been tried.
    pub(crate) fn held_waits(&mut self, held: &Held) -> bool {
        let to = held.destination;
        let is_known = to
            .ticket()
            .is_none_or(|ticket| self.known.contains_key(&ticket));
        let mut waiting = self.waiting.iter();
        if !is_known && waiting.any(|one| one.to().to == to) {
            return true;
        }
        let event = || Event {
            at: held.since,
            session: held.session,
            destination: to,
            protocol: Protocol::TCP,
            port: held.port,
            tgid: held.tgid,
            ..Event::default()
        };
        self.waits(|| Waiting::Held(Box::new(event())), &to)
    }

    fn note(&mut self, ticket: Ticket, program: Option<ListeningProgram>) {
        if self.known.insert(ticket, program).is_none() {
            self.order.push_back(ticket);
        }
        while self.order.len() > MAX_KNOWN {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }
}

/// A program on the loopback, and the user whose sessions are to reach it without a question.
#[derive(Debug)]
pub(crate) struct ProgramAskedAbout {
    pub(crate) user: u32,
    pub(crate) program: ListeningProgram,
    pub(crate) protocol: Protocol,
    pub(crate) port: u16,
}

/// The program that listens now at a port of guardd's own loopback.
///
/// # Errors
///
/// That the destination is none, or the program cannot be told.
pub(crate) async fn program_at(
    to: &Destination,
    ports: &[PortSpec],
) -> Result<(ListeningProgram, Protocol, u16), CallError> {
    let ports = to.ports(ports);
    let place = match (&to.target, &ports[..]) {
        (Target::Prefix(prefix), [one])
            if prefix.is_host() && prefix.address().is_loopback() && one.low == one.high =>
        {
            Some((prefix.address(), one.protocol, one.low))
        }
        _ => None,
    };
    let Some((address, protocol, port)) = place else {
        return Err(not_for_good("it is for one port of a loopback address"));
    };
    let protocol = match protocol {
        Protocol::UDP => Protocol::UDP,
        _ => Protocol::TCP,
    };
    let found = threads::run(move || identify::at(address, protocol, port)).await;
    let program = found.ok().flatten();
    let program = program.ok_or_else(|| not_for_good(UNKNOWN))?;
    Ok((program, protocol, port))
}

/// Why a program is not remembered that is not known.
const UNKNOWN: &str = "it cannot be told which program listens there";

fn not_for_good(why: &str) -> CallError {
    CallError::refused(
        "the program is not remembered",
        why,
        "leave out --always: the yes is for this listener",
    )
}

/// The destination of a redirected connection, as policies judge it.
#[must_use]
pub(crate) fn destination(target: &RedirectTarget) -> Address {
    let to = Address::from(target.address);
    match target.listener {
        0 => to,
        ticket => to.of_listener(Ticket(ticket)),
    }
}

/// Identifies listeners when somebody waits for that, for ever.
pub(crate) async fn follow(shared: Rc<Shared>) {
    let stir = shared.with(|state| Rc::clone(&state.listeners.stir));
    loop {
        let (waiting, places, tickets) = shared.with(State::listeners_to_identify);
        if waiting.is_empty() {
            stir.notified().await;
            continue;
        }
        let found = match tickets {
            Some(tickets) => threads::run(move || identify::identify(&places, &tickets)).await,
            None => Ok(Vec::new()),
        };
        let found = found.unwrap_or_else(|error| {
            tracing::error!(%error, "listeners cannot be identified");
            Vec::new()
        });
        shared.with(|state| state.note_identified(waiting, found));
    }
}

impl State {
    /// What waits, and where to look for each.
    fn listeners_to_identify(
        &mut self,
    ) -> (
        Vec<Waiting>,
        Vec<ListenerAt>,
        Option<guard_sys::bpf::Tickets>,
    ) {
        let waiting = std::mem::take(&mut self.listeners.waiting);
        if waiting.is_empty() {
            return (waiting, Vec::new(), None);
        }
        let places = waiting.iter().map(|one| ListenerAt {
            way: self.network_of(one.session(), one.process()),
            to: one.to(),
        });
        let places = places.collect();
        let tickets = self.datapath.tickets().unwrap_or_else(|error| {
            tracing::warn!(%error, "listeners cannot be identified");
            None
        });
        (waiting, places, tickets)
    }

    /// The network namespace of a process of a session, or of its first one.
    fn network_of(&self, session: SessionId, process: u32) -> Option<File> {
        let session = self.sessions.live(session)?;
        let processes = self.datapath.processes(&session.cgroup);
        let open = |pid: &u32| File::open(format!("/proc/{pid}/ns/net")).ok();
        let asked = processes
            .iter()
            .filter(|pid| **pid == process)
            .find_map(open);
        asked.or_else(|| processes.iter().find_map(open))
    }

    fn note_identified(&mut self, waiting: Vec<Waiting>, found: Vec<Option<ListeningProgram>>) {
        let found = found.into_iter().chain(std::iter::repeat(None));
        let mut events = Vec::new();
        for (one, program) in waiting.into_iter().zip(found) {
            if let Some(ticket) = one.to().to.ticket() {
                self.listeners.note(ticket, program);
            }
            events.push(one);
        }
        for one in events {
            match one {
                Waiting::Reached(number, target) => self.tell_reached(number, &target),
                Waiting::Event(event) | Waiting::Held(event) if self.opens_remembered(&event) => {}
                Waiting::Held(event) => self.holds.review_soon(&event),
                Waiting::Event(event) => {
                    let noted = match event.held {
                        0 => self.note_request(&event),
                        _ => self.note_event(&event),
                    };
                    if let Err(error) = noted {
                        tracing::warn!(%error, session = event.session.0, "a refusal cannot be noted");
                    }
                }
            }
        }
        self.apply(Change::Requests);
    }

    /// Opens a listener to a session whose user has said yes to its program for good. False where nobody has, or that cannot be done.
    pub(crate) fn opens_remembered(&mut self, event: &Event) -> bool {
        let (to, protocol, port) = (event.destination, event.protocol, event.port);
        let Some(owner) = self.sessions.live(event.session).map(|live| live.about.uid) else {
            return false;
        };
        let always = &self.listeners.always;
        let program = self.listeners.program(&to);
        if !program.is_some_and(|program| always.has(owner, program, protocol, port)) {
            return false;
        }
        let done = self.open_listener(
            event.session,
            owner,
            to,
            RequestKey::new(event.session, to, protocol, port),
        );
        if let Err(error) = &done {
            tracing::warn!(%error, session = event.session.0, "a remembered program is asked about");
        }
        done.is_ok()
    }

    fn open_listener(
        &mut self,
        session: SessionId,
        owner: u32,
        to: Address,
        key: RequestKey,
    ) -> Result<(), CallError> {
        let prefixes = vec![Prefix::host(to)];
        let terms = HoleTerms::default();
        let (sessions, policies) = (&self.sessions, &self.policies);
        let checked = CheckedHole::of(
            sessions,
            policies,
            session,
            prefixes,
            vec![key.ports()],
            &terms,
        )?;
        let by = Answering {
            who: Approver::on_behalf_of(owner),
            from: DecisionOrigin {
                uid: owner,
                right: "always".to_owned(),
                pid: None,
                comm: None,
                exe: None,
                command: Vec::new(),
                terminal: None,
            },
            name: None,
            signed: None,
        };
        self.open_all(&by, checked, Some(REMEMBERED.to_owned()), None)?;
        Ok(())
    }

    /// The program that a request is about.
    ///
    /// # Errors
    ///
    /// That there is no such request, or it is about no known program.
    pub(crate) fn program_asked_about(&self, id: &str) -> Result<ProgramAskedAbout, CallError> {
        let asked = self.requests.get(id);
        let asked = asked.ok_or_else(|| not_for_good("there is no such request"))?;
        let key = &asked.key;
        if !key.destination.is_listener() {
            return Err(not_for_good(
                "the request is not about another program on the loopback",
            ));
        }
        let program = self.listeners.program(&key.destination);
        Ok(ProgramAskedAbout {
            user: asked.owner,
            program: program.cloned().ok_or_else(|| not_for_good(UNKNOWN))?,
            protocol: key.protocol,
            port: key.port,
        })
    }

    /// Has a user's sessions reach a program without a question from now on.
    ///
    /// # Errors
    ///
    /// That it cannot be remembered.
    pub(crate) fn remember(&mut self, asked: &ProgramAskedAbout) -> Result<(), CallError> {
        let ProgramAskedAbout {
            user,
            program,
            protocol,
            port,
        } = asked;
        let always = &mut self.listeners.always;
        always.remember(*user, program, *protocol, *port)?;
        self.tell_remembered(*user);
        Ok(())
    }

    /// The programs that are reached without a question, or those of them that are forgotten.
    ///
    /// # Errors
    ///
    /// `NotFound` for one that is not remembered.
    pub(crate) fn always(
        &mut self,
        who: Approver,
        forget: &[String],
    ) -> Result<AlwaysReply, CallError> {
        let machine = &mut self.machine;
        let may = |user| who.answers_for(user);
        let all = self.listeners.always.shown(may, |uid| machine.user(uid));
        if forget.is_empty() {
            return Ok(AlwaysReply { always: all });
        }
        for id in forget {
            let user = self.listeners.always.forget(id, may)?;
            let user = user.ok_or_else(|| {
                CallError::not_found(
                    format!("nothing is remembered as {id:?}"),
                    "no such program is reached without a question",
                    "guard holes --always",
                )
            })?;
            self.tell_remembered(user);
        }
        let forgotten = all.into_iter().filter(|one| forget.contains(&one.id));
        Ok(AlwaysReply {
            always: forgotten.collect(),
        })
    }

    /// Tells the kernel half which sessions' users have programs that are reached without a question.
    pub(crate) fn tell_remembered(&mut self, user: u32) {
        let remembers = self.listeners.always.has_any(user);
        let live = self
            .sessions
            .all_live()
            .filter(|live| live.about.uid == user);
        let ids: Vec<_> = live.map(|live| live.cgroup.id).collect();
        for id in ids {
            if let Err(error) = self.datapath.set_remembers(id, remembers) {
                tracing::warn!(%error, session = id.0, "remembered programs are asked about");
            }
        }
    }

    /// Tells the kernel half the addresses of this machine.
    pub(crate) fn tell_host(&mut self) {
        let addresses = self.machine.host().addresses.into_iter().map(Address::from);
        let others = addresses.filter(|address| !address.is_loopback());
        if let Err(error) = self.datapath.set_host(others) {
            tracing::warn!(%error, "a session's own servers are asked about at this machine's addresses");
        }
    }

    /// Tells it of all live sessions.
    pub(crate) fn tell_all_remembered(&mut self) {
        let users: Vec<u32> = self
            .sessions
            .all_live()
            .map(|live| live.about.uid)
            .collect();
        for user in users {
            self.tell_remembered(user);
        }
    }

    /// Answers the proxy, which is connected to a listener, once that is identified.
    pub(crate) fn proxy_reached(&mut self, number: Number, target: RedirectTarget) {
        let to = destination(&target);
        if !self
            .listeners
            .waits(|| Waiting::Reached(number, target), &to)
        {
            self.tell_reached(number, &target);
        }
    }

    /// Tells the proxy whether the listener that a client wanted is the one that listens there.
    fn tell_reached(&mut self, number: Number, target: &RedirectTarget) {
        let to = destination(target);
        let is_it = match (
            self.listeners.program(&to),
            to.ticket(),
            self.datapath.tickets(),
        ) {
            (Some(program), Some(ticket), Ok(Some(tickets))) => program.still_has(&tickets, ticket),
            _ => false,
        };
        self.proxy.say(ToProxy::Reached { number, is_it });
    }
}
