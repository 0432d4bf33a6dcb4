//! Listeners on this machine that sessions connect to, and their upstreams. The kernel half reports a listener and holds its
//! connection; guardd scans it and writes its upstreams to the map `RELAYS`, by which the kernel half decides.

pub(crate) mod command;
mod eviction;
pub(crate) mod follow;
mod known;
mod past;
pub(crate) mod scan;
mod ways;

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fs::File,
    net::SocketAddr,
    rc::Rc,
};

use guard_common::{
    Address, BootTime, Connection, Event, Hook, NeededHoles, NetnsCookie, Passage, PolicyId,
    Protocol, SessionId, Ticket, Verdict,
};
use guard_datapath::{Datapath, EvictedRelay, LiveHole};
use guard_proto::{Endpoint, destination::Through};
use guard_sys::clock;
use tokio::sync::Notify;

use crate::{
    changes::Change,
    machine::Machine,
    policies::Policies,
    requests::RequestKey,
    sessions::{Session, Sessions},
    times::after,
};
pub(crate) use known::ClientSession;
use known::{Client, FOLLOWED, KnownListener, LATER_SCANS, SCANS, TriedThrough, UNUSED};
use past::Past;
use scan::{Listener, ScanContext, ScanResult};
use ways::LiveSessions;

/// Owns what guardd knows of listeners: those that sessions connect to, and their upstreams.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    /// By their tickets.
    known: HashMap<Ticket, KnownListener>,
    /// Upstreams of programs that may be started again, even if another program has listened there in between.
    past: Past,
    /// When this guardd began to scan.
    began: BootTime,
    /// The network namespace that guardd is in; 0 if that is unknown.
    own: NetnsCookie,
    /// The listeners by which destinations were tried, the latest last.
    tried: VecDeque<TriedThrough>,
    /// Wakes the task that scans.
    stir: Rc<Notify>,
}

/// The upstream of a connection to this machine.
#[derive(Debug)]
pub(crate) enum Upstreams {
    /// The listener was not scanned yet, or never reported.
    Unscanned,
    /// To one of the session's own.
    Own,
    /// To an upstream, with the verdict on it.
    Judged {
        /// What a request would be about.
        key: RequestKey,
        /// The verdict of the policies, holes included.
        verdict: Verdict,
        /// A hole made it milder.
        is_opened: bool,
        /// Whether a socket remembers all holes that the connection needs. One that needs more does not pass.
        is_remembered: bool,
    },
}

/// What the open holes of a session let through at a destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// Nothing.
    Nothing,
    /// Reads, by way of the proxy.
    Reads,
    /// Everything.
    All,
}

impl Opened {
    /// What some holes open to a session. Those that are used up open nothing new.
    #[must_use]
    pub(crate) fn by(holes: &[LiveHole], session: SessionId, to: &Connection) -> Self {
        let over = holes.iter().filter(|hole| {
            let is_its = hole.session == session && !hole.is_used_up();
            is_its && hole.entry.covers(&to.to, to.protocol, to.port)
        });
        over.fold(Self::Nothing, |opened, hole| {
            match (opened, hole.entry.kind.reads()) {
                (Self::All, _) | (_, false) => Self::All,
                (Self::Nothing | Self::Reads, true) => Self::Reads,
            }
        })
    }

    /// A verdict of policies, with it.
    pub(crate) const fn over(self, verdict: Verdict) -> Verdict {
        match (verdict, self) {
            (Verdict::Confirm | Verdict::ReadOnly, Self::All) => Verdict::Allow,
            (Verdict::Confirm, Self::Reads) => Verdict::ReadOnly,
            (verdict, _) => verdict,
        }
    }
}

/// Whether what gets a connection to this machine is scanned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// It is, and what it connects to is reported.
    Done,
    /// It is about to be.
    Awaited,
    /// It is not, and nobody is about to.
    Never,
}

/// Whether one of these policy chains, or `last`, has a verdict other than allow for the destination, or has TLS show a name there. The
/// session that connected may be gone by now.
fn counts(
    policies: &Policies,
    chains: &HashSet<Vec<PolicyId>>,
    last: &[PolicyId],
    to: &Connection,
) -> bool {
    let judge = |chain: &[PolicyId]| {
        let judged = policies.judge(chain, to.to, to.protocol, to.port);
        // A session may know that address by a name, of which its policy says more.
        judged.is_none_or(|judged| judged.verdict != Verdict::Allow)
            || policies.closes_by_name(chain)
            || policies.looks_at_sni(chain, to)
    };
    let last = (!last.is_empty()).then_some(last);
    chains.iter().map(Vec::as_slice).chain(last).any(judge)
}

/// Whether a socket remembers the holes of a session that let a connection through at all of these destinations.
fn are_remembered<'t>(
    to: impl Iterator<Item = &'t Connection>,
    holes: &[LiveHole],
    session: SessionId,
) -> bool {
    let mut needed = NeededHoles::default();
    let mut found = to.filter_map(|to| LiveHole::first(holes, session, to));
    found.all(|hole| {
        needed.add(&Passage {
            hole: hole.entry.id,
            kind: hole.entry.kind.as_u32(),
            expires: hole.entry.expires,
        })
    })
}

/// A listener as people see it.
#[must_use]
pub(crate) fn through(address: Address, port: u16, who: &ScanResult) -> Through {
    Through {
        address: address.to_ip().to_string(),
        port,
        pid: who.pid,
        comm: who.comm.clone(),
        command: who.command.clone(),
    }
}

/// An upstream as people see it.
#[must_use]
pub(crate) fn shown(upstream: &Connection) -> Endpoint {
    let key = RequestKey::new(SessionId(0), upstream.to, upstream.protocol, upstream.port);
    key.endpoint(None)
}

impl Relays {
    /// A session connects to a listener that was not scanned, or not lately.
    pub(crate) fn note_listener(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        event: &Event,
    ) -> Option<Change> {
        let session = sessions.live(event.session)?;
        let tells = kernel.dials_problem().is_none();
        let evicted = self.note(event, session.outermost(), &session.chain, tells);
        evict(kernel, &evicted)
    }

    /// A process of a listener connects: that is an upstream. A process may have many connections; only those count that a
    /// policy in force does not simply allow.
    pub(crate) fn note_dial(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        policies: &Policies,
        event: &Event,
    ) -> Option<Change> {
        let Ok(process) = u32::try_from(event.count) else {
            return None;
        };
        let to = Connection::new(event.destination, event.protocol, event.port);
        let is_many = event.hook == Hook::ManyDials as u8;
        let served = self.known.iter();
        let served = served.filter(|(_, known)| known.is_served_by(process));
        let served: Vec<Ticket> = served.map(|(ticket, _)| *ticket).collect();
        if served.is_empty() {
            return None;
        }
        let chains = sessions.chains(policies.default_chain());
        let unscanned = served.iter().copied();
        let unscanned: Vec<_> = unscanned
            .filter(|ticket| self.is_unscanned_replaced(*ticket))
            .collect();
        let mut stirs = false;
        for ticket in &served {
            let Some(known) = self.known.get_mut(ticket) else {
                continue;
            };
            // What is local may connect anywhere, and no scan goes on to it.
            let is_lost = unscanned.contains(ticket) && known.is_local_dial(event);
            if is_many || is_lost {
                known.mark_anywhere();
                continue;
            }
            // No scan is about one that was replaced: what the other connects to is added (`tell_replaced`).
            stirs |= !known.is_replaced() && known.note_local_dial(event);
            let is_way = !to.to.is_loopback() && !known.is_for_names(&to);
            if is_way && counts(policies, &chains, &known.chain, &to) {
                known.add_upstream(&to);
            }
        }
        if stirs {
            self.stir.notify_one();
        }
        let news = served
            .into_iter()
            .filter(|ticket| self.tell_kernel(kernel, *ticket));
        (news.count() > 0).then_some(Change::Listeners)
    }

    /// Has listeners scanned again, after policies or sessions changed and before another connection to one begins.
    pub(crate) fn scan_again(&mut self, kernel: &mut Datapath) {
        // What they are connected to may have been allowed, and so not be among what is known.
        for ticket in self.unscanned_replaced() {
            if let Some(known) = self.known.get_mut(&ticket) {
                known.mark_anywhere();
            }
            self.tell_kernel(kernel, ticket);
        }
        for ticket in self.outdate(now()) {
            if let Err(error) = kernel.let_begin(ticket, BootTime(0)) {
                tracing::warn!(%error, "a listener counts as it did");
            }
        }
    }

    /// Notes that sessions have begun or ended.
    pub(crate) fn note_sessions(&mut self, sessions: &Sessions) {
        let live: HashSet<_> = sessions.all_live().map(Session::outermost).collect();
        self.keep_clients(&live);
    }

    /// Writes what is known of a listener to the kernel map. True if the map had less.
    fn tell_kernel(&mut self, kernel: &mut Datapath, ticket: Ticket) -> bool {
        let Some(known) = self.known.get_mut(&ticket) else {
            return false;
        };
        if known.in_kernel == Some(known.relay) {
            return false;
        }
        match kernel.set_relay(&known.relay, known.in_kernel.is_some()) {
            Ok(()) => known.in_kernel = Some(known.relay),
            // The next scan tries again.
            Err(error) => {
                tracing::warn!(%error, "cannot write the upstreams of a listener: those of before count");
            }
        }
        true
    }

    /// The listeners to scan now. Each session has its share, and those not yet scanned come first.
    pub(crate) fn due_scans(
        &mut self,
        kernel: &Datapath,
        sessions: &Sessions,
        now: BootTime,
    ) -> Vec<(Ticket, Listener)> {
        let due = self.due(now);
        if due.is_empty() {
            return Vec::new();
        }
        let own = self.own;
        let live = LiveSessions::of(sessions);
        let mut places = Vec::new();
        for ticket in due {
            let Some(known) = self.known.get_mut(&ticket) else {
                continue;
            };
            // No process is needed where guardd is itself: who connects may have moved elsewhere, again and again.
            let is_here = own.0 != 0 && known.relay.netns == own;
            let by = known.begin_scan(own, &live);
            let way = if is_here {
                None
            } else {
                way_to(kernel, sessions, by)
            };
            let is_old = |since| after(since, UNUSED).0 <= now.0;
            let wait = match SCANS.get(known.step).unwrap_or(&SCANS[SCANS.len() - 1]) {
                _ if is_old(known.used) => LATER_SCANS,
                wait => *wait,
            };
            known.due = (!is_old(known.used.max(known.busy))).then(|| after(now, wait));
            known.step += 1;
            places.push((
                ticket,
                Listener {
                    way,
                    netns: known.relay.netns,
                    address: known.relay.address,
                    port: known.relay.port,
                    dialed: known.dialed.clone(),
                },
            ));
        }
        places
    }

    /// Writes the result of a scan to the kernel map. If it is new, the connections held for it are scanned.
    pub(crate) fn note_found(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        policies: &Policies,
        ticket: Ticket,
        mut found: ScanResult,
    ) -> bool {
        let owner = sessions.owner_of(&found.cgroups);
        let chains = sessions.chains(policies.default_chain());
        let now = now();
        let Some(known) = self.known.get_mut(&ticket) else {
            return false;
        };
        // Another one listens there by now.
        if known.is_replaced() {
            return false;
        }
        known.note_seen();
        let is_connected = found.is_connected;
        if is_connected {
            // A client may stay for long, and cause an upstream connection late.
            known.busy = now;
        }
        if known.waits_for_more(&found) {
            // Those that it replaced wait for nothing.
            return self.tell_replaced(kernel, ticket, is_connected.then_some(now));
        }
        let before = kernel.relay(ticket);
        if known.in_kernel.is_some() || !matches!(before, Ok(None)) {
            known.doubt_processes(&mut found);
        }
        match before {
            // The kernel map may have more, from before the listener was evicted here.
            Ok(Some(relay)) if known.in_kernel.is_none() => known.recall(&relay),
            Ok(Some(_)) => {}
            // The kernel map evicts entries too.
            _ => known.in_kernel = None,
        }
        // Upstreams that are simply allowed change no verdict, and there may be many.
        found
            .upstreams
            .retain(|upstream| counts(policies, &chains, &known.chain, upstream));
        let has_gone =
            |at: &SocketAddr| found.dialed.contains(at) && !found.local_listeners.contains(at);
        known.dialed.retain(|at| !has_gone(at));
        let owner = known.doubt(&mut found, owner);
        known.has_ended = !found.listens && !found.is_connected && known.relay.netns.0 != 0;
        if !found.listens && !found.is_connected {
            // No new client reaches it.
            known.due = None;
        } else if found.is_connected && known.due.is_none() {
            known.due = Some(after(now, LATER_SCANS));
        }
        if found.listens || known.who.is_none() {
            known.keep_ending_process(&mut found);
            known.keep_serving(&mut found, scan::started);
            known.take_over(&found, owner, &mut self.past);
            known.learn(found, owner);
            known.is_outdated = false;
        }
        let is_news = self.tell_replaced(kernel, ticket, is_connected.then_some(now));
        self.follow(kernel, sessions, ticket, now) || is_news
    }

    /// Writes what a listener connects to to the kernel map for those that it replaced, too. `connected`: now, where a client is connected at
    /// their port, which may be one of theirs; then the kernel goes on to report what their processes connect to. True if the map had less.
    fn tell_replaced(
        &mut self,
        kernel: &mut Datapath,
        ticket: Ticket,
        connected: Option<BootTime>,
    ) -> bool {
        let mut is_news = false;
        for replaced in self.add_to_replaced(ticket) {
            if let (Some(now), Some(known)) = (connected, self.known.get_mut(&replaced)) {
                known.busy = now;
                known.trace(kernel, now, after(now, FOLLOWED));
            }
            is_news |= self.tell_kernel(kernel, replaced);
        }
        is_news
    }

    /// The policies of these slots are gone, and the slots may soon be others'.
    pub(crate) fn forget_slots(&mut self, slots: &[PolicyId]) {
        for known in self.known.values_mut() {
            if known.chain.iter().any(|slot| slots.contains(slot)) {
                known.chain.clear();
            }
        }
    }

    /// For listeners of an earlier guardd: nobody receives what their processes connect to until they are scanned.
    pub(crate) fn follow_none(&mut self, kernel: &mut Datapath) {
        let tickets: Vec<Ticket> = self.known.keys().copied().collect();
        for ticket in tickets {
            if let Err(error) = kernel.let_begin(ticket, BootTime(0)) {
                tracing::warn!(%error, "a listener counts as it did");
            }
        }
    }

    /// Evicts the listeners that are about to be traced no more while they may have connections.
    pub(crate) fn evict_due(&mut self, kernel: &mut Datapath, now: BootTime) -> Option<Change> {
        let gone = self.evict_untraced(now);
        evict(kernel, &gone)
    }

    /// Has the kernel report the connections of a listener's processes, writes all that is known to the kernel map, and then
    /// admits connections. True if that is news for held connections.
    fn follow(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        ticket: Ticket,
        now: BootTime,
    ) -> bool {
        let Some(known) = self.known.get_mut(&ticket) else {
            return false;
        };
        let session = sessions.live(known.by.session);
        let own = session.map(|session| session.cgroup.cgroup_id);
        if known.relay.owner != 0 && Some(known.relay.owner) == own {
            // A session's own servers are its own business.
            return self.tell_kernel(kernel, ticket);
        }
        let until = after(now, FOLLOWED);
        known.trace(kernel, now, until);
        let was_followed = now < std::mem::replace(&mut known.followed, until);
        let is_new = self.tell_kernel(kernel, ticket);
        if let Err(error) = kernel.let_begin(ticket, until) {
            tracing::warn!(%error, "nobody new gets to a listener");
        }
        is_new || !was_followed
    }

    /// The strictest upstream of the listener that a request is about, and what `holes` change of it: those of the session among them.
    /// The request was first made at `since`.
    pub(crate) fn strictest_upstream(
        &mut self,
        sessions: &Sessions,
        policies: &Policies,
        key: &RequestKey,
        since: BootTime,
        holes: &[LiveHole],
    ) -> Upstreams {
        let Some(session) = sessions.live(key.session) else {
            return Upstreams::Unscanned;
        };
        let (own, subject) = (session.cgroup.cgroup_id, session.subject());
        let Some(known) = self.at(key.destination, key.port, since) else {
            return Upstreams::Unscanned;
        };
        if known.relay.owner == own {
            return Upstreams::Own;
        }
        let judge = |to: &Connection| {
            let judged = policies.judge(subject, to.to, to.protocol, to.port);
            judged.map_or(Verdict::Deny, |judged| judged.verdict)
        };
        let by_sni = |to: &Connection| policies.is_by_sni(subject, to);
        let asked = Connection::new(key.destination, key.protocol, key.port);
        let opened = |to: &Connection| Opened::by(holes, key.session, to);
        let strictest = known.strictest(&asked, judge, by_sni, opened);
        let all = std::iter::once(&asked).chain(known.upstreams());
        let asking = all.filter(|to| matches!(judge(to), Verdict::Confirm | Verdict::ReadOnly));
        // A hole for the listener is one for all of them.
        let is_remembered =
            opened(&asked) == Opened::All || are_remembered(asking, holes, key.session);
        let through = strictest.upstream.map(|_| known.through());
        let to = strictest.upstream.unwrap_or(asked);
        let key = RequestKey {
            destination: to.to,
            protocol: to.protocol,
            port: to.port,
            ..key.clone()
        };
        // The upstream is judged more strictly.
        if let Some(through) = through {
            self.note_tried_through(key.session, to, through);
        }
        Upstreams::Judged {
            key,
            verdict: strictest.verdict,
            is_opened: strictest.is_opened,
            is_remembered,
        }
    }

    /// The destinations that a proxied connection of the session may reach by a listener, where a policy is stricter about them than about
    /// reading: upstreams of the listeners that may accept it, and `to` itself if one may connect anywhere, or has to show a name in TLS (`by_sni`).
    /// `ticket`: as of [`Self::read_by`].
    pub(crate) fn stricter_than_reading(
        &self,
        session: &Session,
        to: &Connection,
        ticket: u32,
        judge: impl Fn(&Connection) -> Verdict,
        by_sni: impl Fn(&Connection) -> bool,
    ) -> Vec<Connection> {
        let mut all = Vec::new();
        for known in self.read_by(ClientSession::of(session), to, ticket) {
            // An upstream that may only be read from is asked about: nobody reads what the listener sends there.
            let is_stricter = |upstream: &&Connection| judge(upstream) != Verdict::Allow;
            all.extend(known.upstreams().iter().filter(is_stricter));
            let asks_here = known.is_anywhere() || known.upstreams().iter().any(&by_sni);
            all.extend(asks_here.then_some(*to));
        }
        all
    }

    /// Whether the listener with a ticket, of which that is the low half, is scanned: it gets a session's new connection there.
    pub(crate) fn scanned(
        &self,
        by: ClientSession,
        to: &Connection,
        ticket: u32,
        now: BootTime,
    ) -> Scanned {
        let mut all = self.asked_by(by, to);
        match all.find(|known| known.relay.ticket.0 as u32 == ticket) {
            Some(known) if known.is_scanned(now) => Scanned::Done,
            Some(known) if known.awaits_scan(now) => Scanned::Awaited,
            _ => Scanned::Never,
        }
    }

    /// Notes the listener by which a refused destination was tried, so that people see it.
    pub(crate) fn note_tried(&mut self, event: &Event) {
        let Some(port) = event.through() else {
            return;
        };
        let to = Connection::new(event.destination, event.protocol, event.port);
        let is_on_the_way = |known: &&KnownListener| {
            let is_itself = known.relay.address == to.to && known.relay.port == to.port;
            known.relay.port == port && (is_itself || known.upstreams().contains(&to))
        };
        let known = self.current().filter(is_on_the_way);
        let known = known
            .max_by_key(|known| known.used)
            .map(KnownListener::through);
        if let Some(through) = known {
            self.note_tried_through(event.session, to, through);
        }
    }
}

impl KnownListener {
    /// Has the kernel report until then what its processes connect to.
    fn trace(&mut self, kernel: &mut Datapath, now: BootTime, until: BootTime) {
        self.traced = until;
        let processes = self
            .who
            .as_ref()
            .map_or(&[][..], |who| who.processes.as_slice());
        match kernel.follow_dials(processes, now, until) {
            Ok(true) => {}
            // More processes than the map holds.
            Ok(false) => self.mark_anywhere(),
            Err(error) => {
                tracing::warn!(%error, "cannot trace a listener's connections: its upstream may be anything");
                self.mark_anywhere();
            }
        }
    }
}

/// Has the kernel half let nothing pass to listeners that were evicted: what passes there was allowed on the condition that their upstreams
/// are noted; and its map evicts the least recently used entry, which may be one that matters.
fn evict(kernel: &mut Datapath, evicted: &[EvictedRelay]) -> Option<Change> {
    if let Err(error) = kernel.evict_relays(evicted) {
        tracing::warn!(%error, "evicted listeners may stay known to the kernel");
    }
    (!evicted.is_empty()).then_some(Change::ListenersEvicted)
}

/// What each scan needs to know beforehand.
pub(super) fn terms(machine: &Machine, policies: &Policies, sessions: &Sessions) -> ScanContext {
    let root = machine.cgroup_root();
    ScanContext {
        guarded: machine.kernel_path(root),
        cgroup_root: root.to_owned(),
        names: policies.peoples_addresses(&sessions.peoples_slots()),
    }
}

/// The network namespace of a client's thread or process, else of the session's first process; none if that is gone.
fn way_to(kernel: &Datapath, sessions: &Sessions, by: Client) -> Option<File> {
    let session = sessions.live(by.session)?;
    let processes = kernel.processes(&session.cgroup);
    let open = |of: String| File::open(format!("/proc/{of}/ns/net")).ok();
    let (process, thread) = (by.process, by.thread);
    if process != 0 && processes.contains(&process) {
        // A process' threads may be in several.
        open(format!("{process}/task/{thread}")).or_else(|| open(process.to_string()))
    } else {
        open(processes.first()?.to_string())
    }
}

/// Whether a request is about a port of this machine.
#[must_use]
pub(super) fn is_on_loopback(key: &RequestKey) -> bool {
    key.http.is_none() && key.protocol == Protocol::TCP && key.destination.is_loopback()
}

/// The present.
pub(super) fn now() -> BootTime {
    clock::now()
}
