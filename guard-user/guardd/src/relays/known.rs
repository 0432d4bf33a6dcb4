//! The listeners that guardd knows, and when each is scanned.

use std::{collections::HashSet, net::SocketAddr, rc::Rc, time::Duration};

use guard_common::{
    Address, BootTime, Connection, DNS_PORT, Event, MAX_UPSTREAMS, NetnsCookie, PolicyId, Protocol,
    Relay, SessionId, Ticket, Verdict, relay_flags,
};
use guard_datapath::EvictedRelay;
use guard_proto::{Endpoint, destination::Through};
use guard_sys::netns;
use tokio::sync::Notify;

use super::{
    Opened, Relays,
    eviction::{Candidate, ClientSessions, Counts, evicted, evicted_waiting},
    past::{ListeningPort, Past, PastProgram},
    scan::{MAX_PROCESSES, ScanResult},
    shown, through,
    ways::{LiveSessions, Ways},
};
use crate::{requests::RequestKey, sessions::Session, times::after};

/// Delays of the scans after a session has connected to a listener: the listener may connect to its upstream late.
pub(super) const SCANS: [Duration; 5] = [
    Duration::from_millis(40),
    Duration::from_millis(150),
    Duration::from_millis(600),
    Duration::from_secs(2),
    Duration::from_secs(5),
];
/// After this many scans, none of which could read everything, the upstream of the listener may be anything.
const SCANS_TO_READ_ALL: usize = 3;
/// Listeners of one session that are scanned together before it is another session's turn.
const TOGETHER: usize = 64;
/// How long after a scan the kernel traces the outbound connections of a listener's processes. New connections to the listener
/// are admitted only meanwhile.
pub(super) const FOLLOWED: Duration = Duration::from_secs(60);
/// Interval between scans of a listener without new connections for [`UNUSED`], while a client stays connected.
pub(super) const LATER_SCANS: Duration = Duration::from_secs(30);
/// How long before its processes are traced no more a listener is evicted that no scan is about, and for which none at its port has had them
/// traced on: these come more often than the rest of [`FOLLOWED`] lasts ([`LATER_SCANS`]).
const EVICTED_BEFORE: Duration = Duration::from_secs(15);
/// Interval before the next scan of a listener to whose network a process did not lead, by another one's.
const TRIED_NEXT: Duration = Duration::from_millis(40);
/// How long after such a scan one is evicted that an earlier guardd knew, whose processes nobody traces, although more may lead there.
const TRIED_FOR: Duration = Duration::from_secs(10);
/// Interval before the scan of a listener whose process has connected to a known port of this machine.
const DIALED_AGAIN: Duration = Duration::from_secs(1);
/// Ports of this machine that one listener's processes connect to.
const MAX_DIALED: usize = 64;
/// Listeners that are known at once, those among them that were replaced, but may still have connections. The kernel map has room for twice
/// as many: it keeps what was known of evicted ones. What it evicts of known ones the next scan writes again, at the latest when a session
/// connects; of one that was replaced it cuts the connections for good once they are judged again. Before Linux 6.16 it may do so with
/// fewer, since each processor keeps up to 128 free entries to itself.
const MAX_KNOWN: usize = 2048;
/// Those that make room at once, if one session has so many.
const EVICTED_AT_ONCE: usize = 64;
/// Those of one port that were replaced: each scan of the port goes on with all of them.
const MAX_REPLACED: usize = 16;
/// Listeners not yet scanned, of one outermost session and those inside it.
const MAX_WAITING: usize = 256;
/// Those that make room for the next ones at once: a session that has so many goes on, and reports of others wait behind its own.
const WAITING_EVICTED_AT_ONCE: usize = 32;
/// A listener without connections for this long is no longer scanned.
pub(super) const UNUSED: Duration = Duration::from_secs(600);
/// Destinations whose listener is kept, to be shown.
const MAX_TRIED: usize = 1024;

/// Who connects to a listener: the session, and its process and thread, or 0 where the kernel reported a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Client {
    pub(super) session: SessionId,
    pub(super) process: u32,
    pub(super) thread: u32,
}

impl Client {
    fn of(event: &Event) -> Self {
        Self {
            session: event.session,
            process: event.tgid,
            thread: event.pid,
        }
    }

    /// A session, by its first process.
    pub(super) const fn first_of(session: SessionId) -> Self {
        Self {
            session,
            process: 0,
            thread: 0,
        }
    }
}

/// The listener by which a session tried a destination.
#[derive(Debug)]
pub(super) struct TriedThrough {
    session: SessionId,
    to: Connection,
    through: Through,
}

/// A session that connects to listeners.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClientSession {
    /// The outermost session around it, or itself.
    outermost: SessionId,
    /// The id of its own cgroup.
    cgroup: u64,
}

impl ClientSession {
    pub(crate) fn of(session: &Session) -> Self {
        Self {
            outermost: session.outermost(),
            cgroup: session.cgroup.cgroup_id,
        }
    }
}

/// A listener that a session connects to.
#[derive(Debug)]
pub(super) struct KnownListener {
    pub(super) relay: Relay,
    /// The result of the last scan by this guardd; none if only an earlier guardd scanned it.
    pub(super) who: Option<ScanResult>,
    /// Who connected last.
    pub(super) by: Client,
    /// Who has connected, as far as the kernel half reports it: one connection to a listener each 250 milliseconds.
    clients: ClientSessions,
    /// By whom scans went to its network.
    ways: Ways,
    /// The policies that judge that session.
    pub(super) chain: Vec<PolicyId>,
    /// Until when new connections are admitted. The kernel reports for as long what the listener's processes connect to.
    pub(super) followed: BootTime,
    /// Until when it does so, also for open connections alone.
    pub(super) traced: BootTime,
    /// When a session last connected.
    pub(super) used: BootTime,
    /// When a scan last found a client connected.
    pub(super) busy: BootTime,
    /// Deadline of the next scan, and below how many scans were done.
    pub(super) due: Option<BootTime>,
    pub(super) step: usize,
    /// What the kernel map has.
    pub(super) in_kernel: Option<Relay>,
    /// The last scan found nobody who listens there, nor who is connected.
    pub(super) has_ended: bool,
    /// Scans of it have failed, by each who could lead to its network.
    pub(super) is_unseen: bool,
    /// Its upstream may be anything, only because something could not be read.
    pub(super) unread: bool,
    /// Its upstream may be anything, only because it has had more processes than are followed: what those that are not have connected to is
    /// never known. A program that is started again has others.
    pub(super) is_crowded: bool,
    /// It was not scanned since policies changed: an upstream that was simply allowed before them is not among those that are known.
    pub(super) is_outdated: bool,
    /// Ports of this machine that its processes connect to, and below when a new one last caused a scan at once.
    pub(super) dialed: Vec<SocketAddr>,
    hurried: BootTime,
}

/// The upstreams that a hole for a listener's own address opens as well.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReachableUpstreams {
    /// The known ones.
    pub(crate) upstreams: Vec<Connection>,
    /// There may be any other.
    pub(crate) anywhere: bool,
}

/// The strictest verdict on a connection to a listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Strictest {
    pub(super) verdict: Verdict,
    /// The upstream that it is about; none: what was asked for, which also stands for unknown upstreams.
    pub(super) upstream: Option<Connection>,
    /// A hole made the verdict milder.
    pub(super) is_opened: bool,
}

impl Strictest {
    /// The same with one more upstream. No proxy is on the way there, so that nothing can be read from it alone.
    fn and_upstream(self, upstream: &Connection, by_policy: Verdict, opened: Opened) -> Self {
        let stops = matches!(by_policy, Verdict::Confirm | Verdict::ReadOnly);
        let is_opened = stops && opened == Opened::All;
        let verdict = match by_policy {
            _ if is_opened => Verdict::Allow,
            Verdict::ReadOnly => Verdict::Confirm,
            other => other,
        };
        let (new, old) = (verdict.strictness(), self.verdict.strictness());
        if new > old || (new == old && is_opened) {
            Self {
                verdict,
                upstream: Some(*upstream),
                is_opened,
            }
        } else {
            self
        }
    }
}

impl Relays {
    /// The listeners that an earlier guardd wrote to the kernel map. Of one that was evicted nothing passes until a session connects to it: a
    /// scan before that may find another one at its port. So it is with one that was replaced, which is evicted at once: nobody knows its
    /// processes any more.
    #[must_use]
    pub(crate) fn recalled(relays: Vec<Relay>, now: BootTime) -> Self {
        let whole = relays.into_iter().filter(Relay::is_whole);
        let known = whole.map(|relay| {
            let mut known = KnownListener {
                relay,
                who: None,
                by: Client::default(),
                clients: ClientSessions::unknown(),
                ways: Ways::default(),
                chain: Vec::new(),
                followed: BootTime(0),
                traced: BootTime(0),
                used: BootTime(0),
                busy: now,
                due: None,
                step: 0,
                in_kernel: Some(relay),
                unread: false,
                is_crowded: false,
                is_outdated: false,
                has_ended: false,
                is_unseen: false,
                dialed: Vec::new(),
                hurried: BootTime(0),
            };
            known.due = (!known.is_replaced()).then_some(now);
            (relay.ticket, known)
        });
        Self {
            known: known.collect(),
            began: now,
            own: netns::own().unwrap_or_default(),
            ..Self::default()
        }
    }

    /// Wakes the task that scans.
    pub(super) fn stirs(&self) -> Rc<Notify> {
        Rc::clone(&self.stir)
    }

    /// Notes that policies or sessions have changed: what is known of each listener counts no more, and those that are scanned from time
    /// to time are due. Returns the tickets of those to which connections began without a scan.
    pub(super) fn outdate(&mut self, now: BootTime) -> Vec<Ticket> {
        let mut followed = Vec::new();
        for (ticket, known) in &mut self.known {
            known.is_outdated = true;
            let was_followed = now < known.followed;
            if was_followed {
                known.followed = BootTime(0);
                followed.push(*ticket);
            }
            // One that nobody has used for long is scanned when somebody does, and so is one that was replaced.
            if !known.is_replaced() && (was_followed || known.due.is_some()) {
                known.due = Some(known.due.map_or(now, |due| due.min(now)));
            }
        }
        self.stir.notify_one();
        followed
    }

    /// Deadline of the next scan.
    fn next_scan(&self) -> Option<BootTime> {
        self.known.values().filter_map(|known| known.due).min()
    }

    /// Deadline of the next scan or eviction.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<BootTime> {
        let evictions = self.known.values().filter_map(KnownListener::evicted_at);
        self.next_scan().into_iter().chain(evictions).min()
    }

    /// Evicts the listeners that no scan is about any more, before their processes are traced no more: those that were replaced at a port
    /// where no scan finds a client, or none is done, and those that cannot be scanned. Returns them.
    pub(super) fn evict_untraced(&mut self, now: BootTime) -> Vec<EvictedRelay> {
        let untraced = self.known.iter().filter(|(_, known)| {
            let at = known.evicted_at();
            at.is_some_and(|at| at <= now)
        });
        let untraced: Vec<Ticket> = untraced.map(|(ticket, _)| *ticket).collect();
        self.remove(&untraced)
    }

    /// Notes that a scan of a listener has failed. True where another one may lead to its network, by whom the next scan goes, and soon. Where
    /// no session is left by which it could be scanned, no scan is due.
    pub(super) fn note_failed(
        &mut self,
        live: &LiveSessions,
        ticket: Ticket,
        now: BootTime,
    ) -> bool {
        let own = self.own;
        let known = self.known.get_mut(&ticket);
        let Some(known) = known.filter(|known| !known.is_replaced()) else {
            return false;
        };
        let (by, clients) = (known.by, &known.clients);
        if known.is_elsewhere(own) && known.ways.fail(now, by, clients, live) {
            // Nothing was scanned, so that none of these scans is over.
            known.step = known.step.saturating_sub(1);
            let soon = after(now, TRIED_NEXT);
            known.due = Some(known.due.map_or(soon, |due| due.min(soon)));
            return true;
        }
        known.is_unseen = true;
        if known.ways.next(by, &known.clients, live).is_none() {
            known.due = None;
        }
        false
    }

    /// Notes that listeners could not be scanned, whoever leads to their networks: no thread could begin, or it has ended before it was done.
    pub(super) fn note_undone(&mut self, tickets: &[Ticket], now: BootTime) {
        for ticket in tickets {
            let known = self.known.get_mut(ticket);
            if let Some(known) = known.filter(|known| !known.is_replaced()) {
                known.ways.note_undone(now);
                let again = after(now, SCANS[SCANS.len() - 1]);
                known.due = known.due.or(Some(again));
            }
        }
    }

    /// Notes which outermost sessions are live, or have a live one inside: what others have used is nobody's.
    pub(super) fn keep_clients(&mut self, live: &HashSet<SessionId>) {
        for known in self.known.values_mut() {
            known.clients.keep(live);
        }
    }

    /// The listeners to scan now. Those not yet scanned come first; each outermost session has a limited share, and what
    /// several use is scanned where one of them has some of it left.
    pub(super) fn due(&self, now: BootTime) -> Vec<Ticket> {
        let due = self.known.iter().filter_map(|(ticket, known)| {
            let at = known.due.filter(|at| *at <= now)?;
            Some((known.in_kernel.is_some(), at, *ticket))
        });
        let mut due: Vec<_> = due.collect();
        due.sort_unstable();
        let mut turns = Counts::default();
        due.retain(|(_, _, ticket)| {
            let known = self.known.get(ticket);
            known.is_some_and(|known| turns.take_turn(&known.clients, TOGETHER))
        });
        due.into_iter().map(|(_, _, ticket)| ticket).collect()
    }

    /// Notes that a session, inside `outermost` and judged by `chain`, connects to a listener. `tells`: the kernel reports the
    /// listener's own connections. Returns the listeners that were evicted for it, if the kernel map has them.
    pub(super) fn note(
        &mut self,
        event: &Event,
        outermost: SessionId,
        chain: &[PolicyId],
        tells: bool,
    ) -> Vec<EvictedRelay> {
        let ticket = Ticket(event.count);
        let (netns, port) = (NetnsCookie(event.cgroup), event.port);
        let mut gone = Vec::new();
        if !self.known.contains_key(&ticket) {
            let spot = ListeningPort { netns, port };
            self.replace_those_before(spot, event.destination, event.at);
            gone.extend(self.evict_replaced(spot));
            gone.extend(self.make_room());
            self.let_wait(outermost);
        }
        let new = || KnownListener::new(ticket, event, outermost);
        let known = self.known.entry(ticket).or_insert_with(new);
        // One listener may serve many addresses: the scan uses the one that was asked for last.
        known.relay.address = event.destination;
        known.clients.add(outermost);
        if netns.0 != 0 {
            known.relay.netns = netns;
            known.by = Client::of(event);
        }
        // Sessions have turns: what one caused before may be handled later.
        known.used = known.used.max(event.at);
        known.has_ended = false;
        known.set_replaced(false);
        known.chain = chain.to_vec();
        let is_followed = known.in_kernel.is_some() && event.at < known.followed;
        known.step = if is_followed && tells {
            // The kernel reports the listener's connections, and each scan reads all processes.
            known.step.min(SCANS.len() / 2)
        } else {
            0
        };
        // At once if its connection is held for the scan; else when the connection has had time to be made.
        let due = if is_followed {
            after(event.at, SCANS[known.step])
        } else {
            event.at
        };
        let earlier = known.due.filter(|before| is_followed && *before < due);
        known.due = Some(earlier.unwrap_or(due));
        self.stir.notify_one();
        gone
    }

    /// Notes that another one listens at that address and port, to which a session connected at `at`. What is known of the earlier ones
    /// counts for their open connections alone, and for a program that is started again or also listens at another address of that port. One
    /// that was connected to since then listens still. One whose network namespace is unknown stays as it is: a session may have its own
    /// namespace.
    fn replace_those_before(&mut self, spot: ListeningPort, address: Address, at: BootTime) {
        let is_there = |known: &KnownListener| {
            spot.netns.0 != 0 && known.spot() == spot && !known.is_replaced()
        };
        for known in self.known.values().filter(|known| is_there(known)) {
            if let Some(before) = known.as_past() {
                self.past.add(known.spot(), before, known.used);
            }
        }
        let is_before = |known: &KnownListener| {
            is_there(known) && known.relay.address == address && known.used <= at
        };
        // Nothing passes to one that was not scanned.
        self.known
            .retain(|_, known| !is_before(known) || known.in_kernel.is_some());
        for known in self.known.values_mut().filter(|known| is_before(known)) {
            known.set_replaced(true);
            known.due = None;
        }
    }

    /// Evicts those of the listeners that were replaced at a port which are too many ([`evicted`]): whoever has others replaced there again and
    /// again cuts no other session's connections. Returns those that the kernel map has.
    fn evict_replaced(&mut self, spot: ListeningPort) -> Vec<EvictedRelay> {
        let mut gone = Vec::new();
        loop {
            let there = self.known.values();
            let there = there.filter(|known| known.is_replaced() && known.spot() == spot);
            if there.clone().count() <= MAX_REPLACED {
                return gone;
            }
            // A client that a scan finds at the port may be connected to any of them: all are as busy.
            let there = there.map(|known| Candidate {
                used: known.used,
                ..known.candidate()
            });
            let first = evicted(there, 1);
            gone.extend(self.remove(&first));
        }
    }

    /// Knows some no more. Returns those that the kernel map has.
    fn remove(&mut self, tickets: &[Ticket]) -> Vec<EvictedRelay> {
        let gone = tickets
            .iter()
            .filter_map(|ticket| self.known.remove(ticket));
        gone.filter_map(|known| known.evicted()).collect()
    }

    /// Those that were not replaced.
    pub(super) fn current(&self) -> impl Iterator<Item = &KnownListener> + Clone {
        self.known.values().filter(|known| !known.is_replaced())
    }

    /// Adds what a listener connects to to those that it replaced, as far as the same processes serve them: their connections go on, and
    /// no scan is about them. Returns the tickets of all that it replaced.
    pub(super) fn add_to_replaced(&mut self, ticket: Ticket) -> Vec<Ticket> {
        let Some(known) = self.known.get(&ticket) else {
            return Vec::new();
        };
        let of = self.known.iter();
        let of = of.filter(|(_, one)| one.is_replaced() && one.spot() == known.spot());
        let replaced: Vec<(Ticket, bool)> = of
            .map(|(ticket, one)| (*ticket, one.shares_process_with(known)))
            .collect();
        let upstreams = known.upstreams().to_vec();
        let is_anywhere = known.is_anywhere() && !known.unread;
        for (ticket, is_shared) in &replaced {
            let Some(one) = self.known.get_mut(ticket).filter(|_| *is_shared) else {
                continue;
            };
            for upstream in &upstreams {
                one.add_upstream(upstream);
            }
            if is_anywhere {
                one.mark_anywhere();
            }
        }
        replaced.into_iter().map(|(ticket, _)| ticket).collect()
    }

    /// Those that were replaced by listeners of other processes.
    pub(super) fn unscanned_replaced(&self) -> Vec<Ticket> {
        let all = self.known.keys().copied();
        all.filter(|ticket| self.is_unscanned_replaced(*ticket))
            .collect()
    }

    /// Whether a listener was replaced by those of other processes: no scan tells what it connects to any more.
    pub(super) fn is_unscanned_replaced(&self, ticket: Ticket) -> bool {
        let known = self.known.get(&ticket).filter(|known| known.is_replaced());
        known.is_some_and(|known| {
            let mut there = self.current().filter(|one| one.spot() == known.spot());
            !there.any(|one| known.shares_process_with(one))
        })
    }

    /// Evicts listeners not yet scanned, if one outermost session uses too many; the kernel reports them again.
    fn let_wait(&mut self, outermost: SessionId) {
        let waits =
            |known: &&KnownListener| known.clients.has(outermost) && known.in_kernel.is_none();
        let waiting = || self.known.values().filter(waits);
        if waiting().count() < MAX_WAITING {
            return;
        }
        let waiting = waiting().map(KnownListener::candidate);
        for ticket in evicted_waiting(waiting, WAITING_EVICTED_AT_ONCE) {
            self.known.remove(&ticket);
        }
    }

    /// Evicts listeners if there are too many ([`evicted`]), as connections to them may wait until somebody connects there again. Where a
    /// client stays connected, a listener is in use. Returns those that the kernel map has: of one that waits for its scan that has at most
    /// what was kept of it before. Several go at once, for all are gone through, and all verdicts are taken anew.
    fn make_room(&mut self) -> Vec<EvictedRelay> {
        if self.known.len() < MAX_KNOWN {
            return Vec::new();
        }
        let gone = evicted(
            self.known.values().map(KnownListener::candidate),
            EVICTED_AT_ONCE,
        );
        self.remove(&gone)
    }

    /// The listener that accepts connections to an address and port that began at `since`. A listener that only an earlier guardd scanned
    /// may be gone; it counts for connections of that time.
    pub(super) fn at(
        &self,
        address: Address,
        port: u16,
        since: BootTime,
    ) -> Option<&KnownListener> {
        let mut at = self.current().filter(|known| {
            let is_there = known.relay.address == address && known.relay.port == port;
            let was_seen = known.used.0 != 0 || since.0 < self.began.0;
            known.in_kernel.is_some() && is_there && was_seen
        });
        let first = at.next()?;
        // Of several that listened one after the other, the last counts.
        Some(at.fold(
            first,
            |last, one| if one.used > last.used { one } else { last },
        ))
    }

    /// The listeners that may accept a session's connections to `to`: the machine's own, and those of any network that the outermost session
    /// and those inside it have connected to; none of the session's own. A listener may have each address of the loopback, and is known by
    /// the last that was asked for.
    pub(super) fn reached_by(
        &self,
        by: ClientSession,
        to: &Connection,
    ) -> impl Iterator<Item = &KnownListener> {
        let known = self.asked_by(by, to);
        known.filter(|known| known.in_kernel.is_some())
    }

    /// The listener at a port with a ticket, of which that is the low half, if it was scanned; also one that was replaced.
    fn scanned_one(&self, ticket: u32, port: u16) -> Option<&KnownListener> {
        let is_it = |known: &&KnownListener| {
            known.relay.ticket.0 as u32 == ticket
                && known.relay.port == port
                && known.in_kernel.is_some()
        };
        self.known.values().find(is_it)
    }

    /// Whether a listener at a port with a ticket, of which that is the low half, was evicted, and not scanned since: what it connects to is
    /// not noted. 0 is none.
    pub(crate) fn is_evicted(&self, ticket: u32, port: u16) -> bool {
        ticket != 0 && self.scanned_one(ticket, port).is_none()
    }

    /// The listeners that a session's proxied connections may have got, as [`Self::reached_by`]: also the one with a ticket, of which
    /// `ticket` is the low half, where it was replaced since they began.
    pub(super) fn read_by(
        &self,
        by: ClientSession,
        to: &Connection,
        ticket: u32,
    ) -> impl Iterator<Item = &KnownListener> {
        let replaced = self
            .scanned_one(ticket, to.port)
            .filter(move |known| known.is_replaced() && known.relay.owner != by.cgroup);
        self.reached_by(by, to).chain(replaced)
    }

    /// As [`Self::reached_by`], whether they were scanned or not.
    pub(super) fn asked_by(
        &self,
        by: ClientSession,
        to: &Connection,
    ) -> impl Iterator<Item = &KnownListener> {
        let is_there = |at: Address| at == to.to || (at.is_loopback() && to.to.is_loopback());
        self.current().filter(move |known| {
            let is_here = known.relay.netns == self.own && self.own.0 != 0;
            (is_here || known.clients.has(by.outermost))
                && !known.has_ended
                && known.relay.owner != by.cgroup
                && known.relay.port == to.port
                && is_there(known.relay.address)
        })
    }

    /// The upstreams that a session's connections reach by a hole for this address: those of all listeners that may accept them. One that has
    /// ended counts, as it may be started again. They are unknown of a listener that was not scanned, or not since policies changed; and at a
    /// port of the loopback without a listener, or with sessions' servers alone, which end when an agent likes, and another listens there.
    pub(crate) fn reachable_upstreams(
        &self,
        by: ClientSession,
        to: &Connection,
    ) -> ReachableUpstreams {
        if to.protocol != Protocol::TCP {
            return ReachableUpstreams::default();
        }
        let is_there = |at: Address| at == to.to || (at.is_loopback() && to.to.is_loopback());
        let there = self.current().filter(|known| {
            let is_here = known.relay.netns == self.own && self.own.0 != 0;
            (is_here || known.clients.has(by.outermost))
                && known.relay.port == to.port
                && is_there(known.relay.address)
        });
        let mut reachable = ReachableUpstreams {
            upstreams: Vec::new(),
            anywhere: to.to.is_loopback() && there.clone().all(|known| known.relay.owner != 0),
        };
        for known in there.filter(|known| known.relay.owner != by.cgroup) {
            reachable.anywhere |=
                known.is_anywhere() || known.in_kernel.is_none() || known.is_outdated;
            reachable.upstreams.extend(known.upstreams());
        }
        reachable
    }

    /// The listener with the most upstreams, and how many, of those by which a session's connections may reach one of these destinations;
    /// none if no listener has several. Each upstream may need a hole of its own.
    pub(crate) fn with_several_upstreams(
        &self,
        by: ClientSession,
        is_one: impl Fn(&Connection) -> bool,
    ) -> Option<(SocketAddr, usize)> {
        let known = self.current().filter(|known| {
            let relay = &known.relay;
            let listener = Connection::new(relay.address, Protocol::TCP, relay.port);
            let is_here = relay.netns == self.own && self.own.0 != 0;
            (is_here || known.clients.has(by.outermost))
                && !known.has_ended
                && relay.owner != by.cgroup
                && known.upstreams().len() > 1
                && (is_one(&listener) || known.upstreams().iter().any(&is_one))
        });
        let most = known.max_by_key(|known| known.upstreams().len())?;
        let at = SocketAddr::new(most.relay.address.to_ip(), most.relay.port);
        Some((at, most.upstreams().len()))
    }

    /// Adds the upstreams that earlier scans found for the same process.
    pub(super) fn add_known(&self, found: &mut ScanResult, address: Address, port: u16) {
        let is_it = |known: &&KnownListener| {
            let is_there = known.relay.address == address && known.relay.port == port;
            let pid = known.who.as_ref().and_then(|who| who.pid);
            is_there && pid.is_some() && pid == found.pid
        };
        for known in self.current().filter(is_it) {
            found.anywhere |= known.is_anywhere() && !known.unread;
            let new = known.upstreams().iter();
            let new: Vec<_> = new
                .filter(|upstream| !found.upstreams.contains(upstream))
                .collect();
            found.upstreams.extend(new);
        }
    }

    pub(super) fn note_tried_through(
        &mut self,
        session: SessionId,
        to: Connection,
        through: Through,
    ) {
        self.tried
            .retain(|tried| (tried.session, tried.to) != (session, to));
        if self.tried.len() >= MAX_TRIED {
            self.tried.pop_front();
        }
        self.tried.push_back(TriedThrough {
            session,
            to,
            through,
        });
    }

    /// The known upstreams of the listener that sessions reach at an address of the loopback.
    pub(crate) fn upstreams(&self, address: Address, port: u16) -> Vec<Endpoint> {
        let known = self.current();
        let there =
            known.filter(|known| (known.relay.address, known.relay.port) == (address, port));
        let upstreams = there.flat_map(|known| known.upstreams().iter());
        let elsewhere =
            upstreams.filter(|upstream| (upstream.to, upstream.port) != (address, port));
        elsewhere.map(shown).collect()
    }

    /// The listener by which what a request is about was tried last.
    pub(crate) fn tried_through(&self, key: &RequestKey) -> Option<&Through> {
        let to = Connection::new(key.destination, key.protocol, key.port);
        let mut latest_first = self.tried.iter().rev();
        let tried = latest_first.find(|tried| (tried.session, tried.to) == (key.session, to))?;
        Some(&tried.through)
    }
}

impl KnownListener {
    /// The strictest verdict on what was asked for and on the upstreams, as the kernel half decides (`guard-ebpf/src/case.rs`): a hole for
    /// an upstream lets nothing through but to that one, and one for what was asked for all. `judge`: what the policies say; `opened`: what
    /// holes let through there. An upstream that is `by_sni`, at which TLS has to show a name, is asked about where the connection went:
    /// nobody looks at what the listener sends.
    pub(super) fn strictest(
        &self,
        asked: &Connection,
        judge: impl Fn(&Connection) -> Verdict,
        by_sni: impl Fn(&Connection) -> bool,
        opened: impl Fn(&Connection) -> Opened,
    ) -> Strictest {
        let by_policy = judge(asked);
        let verdict = opened(asked).over(by_policy);
        let mut strictest = Strictest {
            verdict,
            upstream: None,
            is_opened: verdict != by_policy,
        };
        let mut asks_at_listener = self.is_anywhere();
        for to in self.upstreams() {
            match judge(to) {
                by_policy if by_policy != Verdict::Deny && by_sni(to) => asks_at_listener = true,
                by_policy => strictest = strictest.and_upstream(to, by_policy, opened(to)),
            }
        }
        if asks_at_listener && strictest.verdict.strictness() < Verdict::Confirm.strictness() {
            strictest = Strictest {
                verdict: Verdict::Confirm,
                upstream: Some(*asked),
                is_opened: false,
            };
        }
        let asks_for_upstream =
            strictest.upstream.is_some() && strictest.verdict == Verdict::Confirm;
        if asks_for_upstream && opened(asked) == Opened::All {
            Strictest {
                verdict: Verdict::Allow,
                is_opened: true,
                ..strictest
            }
        } else {
            strictest
        }
    }

    /// One that nobody has scanned.
    fn new(ticket: Ticket, event: &Event, outermost: SessionId) -> Self {
        let netns = NetnsCookie(event.cgroup);
        Self {
            relay: Relay::new(ticket, netns, event.destination, event.port),
            who: None,
            by: Client::of(event),
            clients: ClientSessions::of(outermost),
            ways: Ways::default(),
            chain: Vec::new(),
            followed: BootTime(0),
            traced: BootTime(0),
            used: event.at,
            busy: event.at,
            due: None,
            step: 0,
            in_kernel: None,
            unread: false,
            is_crowded: false,
            is_outdated: false,
            has_ended: false,
            is_unseen: false,
            dialed: Vec::new(),
            hurried: BootTime(0),
        }
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate {
            ticket: self.relay.ticket,
            clients: &self.clients,
            loses: self.has_upstream() && !self.is_replaced(),
            used: self.used.max(self.busy),
        }
    }

    /// As the kernel map has it, if it has it.
    fn evicted(&self) -> Option<EvictedRelay> {
        self.in_kernel?;
        Some(EvictedRelay {
            ticket: self.relay.ticket,
            kept: self.has_upstream().then_some(self.relay),
        })
    }

    /// When it is evicted, if no scan is about it, or none succeeds. Nothing passes to one that the kernel map does not have.
    fn evicted_at(&self) -> Option<BootTime> {
        self.in_kernel?;
        let before = EVICTED_BEFORE.as_nanos() as u64;
        let untraced = BootTime(self.traced.0.saturating_sub(before));
        if self.is_replaced() || self.is_unseen {
            return Some(untraced);
        }
        let failing = self.ways.failing_since()?;
        let is_traced = self.traced.0 != 0;
        Some(if is_traced {
            untraced
        } else {
            after(failing, TRIED_FOR)
        })
    }

    /// Whether a scan gets to its network by a process that is there alone. Nobody could tell of an unknown network that this is it.
    fn is_elsewhere(&self, own: NetnsCookie) -> bool {
        self.relay.netns.0 != 0 && self.relay.netns != own
    }

    /// Notes that a scan has found its network.
    pub(super) fn note_seen(&mut self) {
        self.is_unseen = false;
        self.ways.found();
    }

    /// By whom the scan that begins gets to its network, if that is not guardd's own.
    pub(super) fn begin_scan(&mut self, own: NetnsCookie, live: &LiveSessions) -> Client {
        if self.is_elsewhere(own) {
            self.ways.begin(self.by, &self.clients, live)
        } else {
            self.by
        }
    }

    /// Whether a scan is due, or under way, before new connections reach it.
    pub(super) fn awaits_scan(&self, now: BootTime) -> bool {
        now >= self.followed && self.due.is_some()
    }

    /// Whether new connections reach it: it was scanned, and what it connects to is reported.
    pub(super) fn is_scanned(&self, now: BootTime) -> bool {
        now < self.followed && self.in_kernel.is_some()
    }

    pub(super) fn upstreams(&self) -> &[Connection] {
        let count = (self.relay.len as usize).min(MAX_UPSTREAMS);
        &self.relay.upstreams[..count]
    }

    /// Whether an eviction would lose something: a session's server, and a listener without an upstream, is found again by one
    /// scan.
    pub(super) fn has_upstream(&self) -> bool {
        self.relay.owner == 0 && (self.relay.len > 0 || self.is_anywhere())
    }

    pub(super) fn is_anywhere(&self) -> bool {
        self.relay.flags & relay_flags::ANYWHERE != 0
    }

    /// Whether a session has connected to another listener at its address and port since: a scan finds that one. It may still have
    /// connections, and listen, too (`SO_REUSEPORT`).
    pub(super) fn is_replaced(&self) -> bool {
        self.relay.flags & relay_flags::REPLACED != 0
    }

    fn set_replaced(&mut self, is_replaced: bool) {
        self.relay.flags &= !relay_flags::REPLACED;
        if is_replaced {
            self.relay.flags |= relay_flags::REPLACED;
        }
    }

    pub(super) fn through(&self) -> Through {
        let who = self.who.clone().unwrap_or_default();
        through(self.relay.address, self.relay.port, &who)
    }

    /// Takes over what the kernel map has of it, which says nothing of its processes.
    pub(super) fn recall(&mut self, relay: &Relay) {
        let count = (relay.len as usize).min(MAX_UPSTREAMS);
        self.relay.owner = relay.owner;
        for upstream in &relay.upstreams[..count] {
            self.add_upstream(upstream);
        }
        if relay.flags & relay_flags::ANYWHERE != 0 {
            self.mark_anywhere();
        }
    }

    /// Whether to write nothing to the kernel map before the next scan, which is soon: connections are held meanwhile. What
    /// could not be read may only have been busy.
    pub(super) fn waits_for_more(&self, found: &ScanResult) -> bool {
        found.unread && self.in_kernel.is_none() && self.step <= SCANS_TO_READ_ALL
    }

    /// Counts the result of a scan as unread if the listener's network namespace is unknown, and returns the owner's cgroup, or then 0. The
    /// session's processes choose the namespace that was scanned: a server of its own at that address, or none, would stand for one whose
    /// upstream is production. The next `connect` names the namespace.
    pub(super) fn doubt(&self, found: &mut ScanResult, owner: u64) -> u64 {
        if self.relay.netns.0 != 0 {
            return owner;
        }
        found.unread = true;
        0
    }

    /// Counts the first scan of a listener that the kernel map has from before as one that tells nothing, if nobody listens there any more but a
    /// client is connected: the processes that serve it are not known.
    pub(super) fn doubt_processes(&self, found: &mut ScanResult) {
        found.anywhere |= self.who.is_none() && !found.listens && found.is_connected;
    }

    /// Keeps what is shown of its process if the listener is still there but that is not, because it is about to end.
    pub(super) fn keep_ending_process(&self, found: &mut ScanResult) {
        let Some(who) = &self.who else { return };
        let ends = found.pid.is_none() || (found.pid == who.pid && found.command.is_empty());
        if ends {
            found.pid = who.pid;
            found.comm.clone_from(&who.comm);
            found.command.clone_from(&who.command);
        }
    }

    /// Keeps the processes that served it and live, where a scan finds others: a listener that is closed keeps its open connections, and
    /// before a session connects to the one that has its port since, a scan takes that for it.
    pub(super) fn keep_serving(
        &self,
        found: &mut ScanResult,
        started: impl Fn(u32) -> Option<u64>,
    ) {
        if let Some(who) = &self.who {
            for process in &who.processes {
                let pid = process.pid;
                // The same one may be in another session by now.
                if found.processes.iter().any(|one| one.pid == pid) {
                    continue;
                }
                // Another one may have its id by now.
                let same = started(pid).filter(|started| who.has_same(pid, *started));
                if let Some(started) = same {
                    found.processes.push(*process);
                    found.started.insert(pid, started.max(who.start_of(pid)));
                }
            }
        }
        // Of what the rest connect to nothing is reported, nor by the next scan.
        found.is_crowded |= found.processes.len() > MAX_PROCESSES;
        found.processes.truncate(MAX_PROCESSES);
    }

    /// Where it listens.
    fn spot(&self) -> ListeningPort {
        ListeningPort {
            netns: self.relay.netns,
            port: self.relay.port,
        }
    }

    /// What to keep for when the program is started again. A session's servers are scanned each time, so that they evict
    /// nothing known of others.
    fn as_past(&self) -> Option<PastProgram> {
        let who = self.who.as_ref().filter(|_| self.has_upstream())?;
        Some(PastProgram {
            comm: who.comm.clone(),
            command: who.command.clone(),
            upstreams: self.upstreams().to_vec(),
            anywhere: self.is_anywhere() && !self.unread && !self.is_crowded,
        })
    }

    /// Takes over the upstreams of a program that was started again, whose listener is a new one. A session's server takes over
    /// nothing.
    pub(super) fn take_over(&mut self, found: &ScanResult, owner: u64, past: &mut Past) {
        if owner != 0 {
            return;
        }
        let Some(before) = past.of(self.spot(), found, self.used) else {
            return;
        };
        for upstream in &before.upstreams {
            self.add_upstream(upstream);
        }
        if before.anywhere {
            self.mark_anywhere();
        }
    }

    /// Takes over the result of a scan. Earlier upstreams stay: the listener may connect to them again.
    pub(super) fn learn(&mut self, found: ScanResult, owner: u64) {
        let relay = &mut self.relay;
        relay.owner = owner;
        let was = relay.flags & relay_flags::ANYWHERE != 0;
        if found.anywhere {
            self.mark_anywhere();
        } else if found.is_crowded {
            self.mark_crowded();
        } else if found.unread {
            // Until a scan can read more.
            relay.flags |= relay_flags::ANYWHERE;
            self.unread |= !was;
        } else if self.unread {
            relay.flags &= !relay_flags::ANYWHERE;
            self.unread = false;
        }
        for upstream in &found.upstreams {
            self.add_upstream(upstream);
        }
        self.who = Some(found);
    }

    /// Adds an upstream.
    pub(super) fn add_upstream(&mut self, upstream: &Connection) {
        let relay = &mut self.relay;
        let count = (relay.len as usize).min(MAX_UPSTREAMS);
        if relay.upstreams[..count].contains(upstream) {
            return;
        }
        match relay.upstreams.get_mut(count) {
            Some(room) => {
                *room = *upstream;
                relay.len += 1;
            }
            None => self.mark_anywhere(),
        }
    }

    /// Marks its upstreams as unknowable, for good.
    pub(super) fn mark_anywhere(&mut self) {
        self.relay.flags |= relay_flags::ANYWHERE;
        (self.unread, self.is_crowded) = (false, false);
    }

    /// The same, unless that is so already for another reason.
    fn mark_crowded(&mut self) {
        let is_new = !self.is_anywhere() || self.unread;
        if is_new {
            self.mark_anywhere();
            self.is_crowded = true;
        }
    }

    /// Whether a connection of the listener's process is to its own machine. The loopback of another network namespace is not this one, and
    /// name servers are no upstream.
    pub(super) fn is_local_dial(&self, event: &Event) -> bool {
        let ip = event.destination.to_ip();
        let who = self.who.as_ref();
        let is_here =
            event.destination.is_loopback() || who.is_some_and(|who| who.here.contains(&ip));
        let is_there = [0, event.cgroup].contains(&self.relay.netns.0);
        is_here && is_there && event.port != DNS_PORT
    }

    /// Notes that a process of the listener connects to this machine itself. True if that listener must be scanned too.
    pub(super) fn note_local_dial(&mut self, event: &Event) -> bool {
        if !self.is_local_dial(event) {
            return false;
        }
        let to = SocketAddr::new(event.destination.to_ip(), event.port);
        let is_known = self.dialed.contains(&to);
        match self.dialed.len() < MAX_DIALED {
            _ if is_known => {}
            true => self.dialed.push(to),
            false => self.mark_anywhere(),
        }
        // Another program may listen there by now. The scan goes through all processes.
        let is_soon = event.at < after(self.hurried, DIALED_AGAIN);
        let wait = if is_known || is_soon {
            DIALED_AGAIN
        } else {
            self.hurried = event.at;
            Duration::ZERO
        };
        let due = after(event.at, wait);
        self.due = Some(self.due.map_or(due, |before| before.min(due)));
        true
    }

    /// A name server that asks another name server does not have it as an upstream.
    pub(super) fn is_for_names(&self, to: &Connection) -> bool {
        self.relay.port == DNS_PORT && to.port == DNS_PORT
    }

    /// Whether that process serves the listener.
    pub(super) fn is_served_by(&self, process: u32) -> bool {
        let who = self.who.as_ref();
        who.is_some_and(|who| who.processes.iter().any(|one| one.pid == process))
    }

    fn shares_process_with(&self, other: &Self) -> bool {
        let (Some(own), Some(others)) = (&self.who, &other.who) else {
            return false;
        };
        own.processes.iter().any(|process| {
            let started = own.start_of(process.pid);
            other.is_served_by(process.pid) && others.has_same(process.pid, started)
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use anyhow::Context as _;
    use guard_datapath::ServingProcess;

    use super::*;
    use crate::{relays::Scanned, sessions::none_but};

    /// A session without a parent session.
    const ALONE: SessionId = SessionId(0);
    /// Inside the outermost session 7.
    const CLIENT: ClientSession = ClientSession {
        outermost: SessionId(7),
        cgroup: 42,
    };

    fn inside(outermost: u32, cgroup: u64) -> ClientSession {
        ClientSession {
            outermost: SessionId(outermost),
            cgroup,
        }
    }

    /// Live sessions of these numbers, each perhaps inside another.
    fn live(all: &[(u32, Option<u32>)]) -> LiveSessions {
        LiveSessions::of(&none_but(all))
    }

    /// A harmless one that was scanned says nothing of another one at the same port, which the kernel half could not report.
    #[test]
    fn a_scan_is_for_one_listener_alone() {
        let (mut relays, now) = (Relays::default(), BootTime(10));
        let client = inside(1, 9);
        for (ticket, last) in [(5, 5), (6, 6)] {
            let event = Event {
                count: (7 << 32) | ticket,
                at: now,
                session: client.outermost,
                destination: Address::from(IpAddr::from([127, 0, 0, last])),
                port: 7080,
                protocol: Protocol::TCP,
                ..Event::default()
            };
            relays.note(&event, client.outermost, &[], true);
        }
        let known = relays.known.get_mut(&Ticket((7 << 32) | 5)).unwrap();
        (known.in_kernel, known.due) = (Some(known.relay), None);
        known.followed = BootTime(20);
        let localhost = IpAddr::from([127, 0, 0, 1]).into();
        let to = Connection::new(localhost, Protocol::TCP, 7080);
        let scanned = |ticket, at| relays.scanned(client, &to, ticket, BootTime(at));
        assert_eq!(scanned(5, 10), Scanned::Done);
        assert_eq!(scanned(6, 10), Scanned::Awaited);
        assert_eq!(scanned(4, 10), Scanned::Never);
        // Nothing is reported any more of what it connects to, and nobody scans it.
        assert_eq!(scanned(5, 20), Scanned::Never);
        let of_others = relays.scanned(inside(2, 9), &to, 5, now);
        assert_eq!(of_others, Scanned::Never);
    }

    #[test]
    fn a_listener_with_several_upstreams_is_found_by_each_and_by_its_own_port() {
        let (mut relays, client) = (Relays::default(), inside(1, 9));
        let to = |last, port| {
            let address = Address::from(IpAddr::from([192, 0, 2, last]));
            Connection::new(address, Protocol::TCP, port)
        };
        let localhost = IpAddr::from([127, 0, 0, 1]);
        let event = Event {
            count: 7,
            session: client.outermost,
            destination: Address::from(localhost),
            port: 5432,
            protocol: Protocol::TCP,
            ..Event::default()
        };
        relays.note(&event, client.outermost, &[], true);
        let several_of = |relays: &Relays, is_one: &dyn Fn(&Connection) -> bool| {
            relays.with_several_upstreams(client, is_one)
        };
        let add = |relays: &mut Relays, upstream| {
            let known = relays.known.get_mut(&Ticket(7)).unwrap();
            known.add_upstream(&upstream);
        };
        add(&mut relays, to(10, 5432));
        assert_eq!(several_of(&relays, &|_| true), None);
        add(&mut relays, to(5, 22));
        let found = Some((SocketAddr::new(localhost, 5432), 2));
        let listener = Connection::new(Address::from(localhost), Protocol::TCP, 5432);
        for one in [to(10, 5432), to(5, 22), listener] {
            assert_eq!(several_of(&relays, &|to| *to == one), found);
        }
        assert_eq!(several_of(&relays, &|one| *one == to(10, 22)), None);
        // Not of another's network, nor the session's own.
        let others = relays.with_several_upstreams(inside(2, 9), |_| true);
        assert_eq!(others, None);
        relays.known.get_mut(&Ticket(7)).unwrap().relay.owner = client.cgroup;
        assert_eq!(several_of(&relays, &|_| true), None);
    }

    #[test]
    fn who_connects_to_very_many_makes_room_itself_and_waits() {
        let mut relays = Relays::default();
        let mut note = |ticket, session| {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                session: SessionId(session),
                ..Event::default()
            };
            // All but the first are inside the second.
            let outermost = SessionId(session.min(2));
            relays.note(&event, outermost, &[], true);
            relays.known.len()
        };
        for ticket in 1..=10 {
            note(ticket, 1);
        }
        for ticket in 11..2 * MAX_WAITING as u64 {
            note(ticket, u32::try_from(2 + ticket % 64).unwrap());
        }
        let waiting = MAX_WAITING - WAITING_EVICTED_AT_ONCE..=MAX_WAITING;
        assert!(waiting.contains(&(note(9_000, 2) - 10)));
        assert!(waiting.contains(&(note(9_001, 1) - 11)));
        for known in relays.known.values_mut() {
            known.in_kernel = Some(known.relay);
        }
        for ticket in 10_000..10_100 + MAX_KNOWN as u64 {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                session: SessionId(2),
                ..Event::default()
            };
            relays.note(&event, SessionId(2), &[], true);
            let known = relays.known.get_mut(&Ticket(ticket)).unwrap();
            known.in_kernel = Some(known.relay);
        }
        let room = MAX_KNOWN - EVICTED_AT_ONCE..=MAX_KNOWN;
        assert!(room.contains(&relays.known.len()));
        let of_first = relays
            .known
            .values()
            .filter(|known| known.by.session == SessionId(1));
        assert_eq!(of_first.count(), 11);
    }

    /// Notes that a session connects to a listener at a port of its own, which is scanned. Returns the tickets of those that are evicted for it.
    fn note_scanned(relays: &mut Relays, ticket: u64, session: u32) -> Vec<u64> {
        let event = Event {
            count: ticket,
            at: BootTime(ticket),
            cgroup: 1,
            port: u16::try_from(ticket).unwrap(),
            session: SessionId(session),
            ..Event::default()
        };
        let gone = relays.note(&event, event.session, &[], true);
        let known = relays.known.get_mut(&Ticket(ticket)).unwrap();
        known.in_kernel = Some(known.relay);
        gone.iter().map(|gone| gone.ticket.0).collect()
    }

    #[test]
    fn who_connects_to_very_many_cuts_nothing_that_others_use() {
        let mut relays = Relays::default();
        let (others, busy) = (1, 2);
        let mut note = |ticket: u64, session| {
            let gone = note_scanned(&mut relays, ticket, session);
            if ticket == busy {
                relays.known.get_mut(&Ticket(ticket)).unwrap().busy = BootTime(u64::MAX);
            }
            gone
        };
        assert!(note(others, 2).is_empty());
        let all = MAX_KNOWN as u64;
        for ticket in 1..=all {
            assert!(note(ticket, 1).is_empty());
        }
        let gone: Vec<_> = (1..=100).flat_map(|more| note(all + more, 1)).collect();
        let least_used = busy + 1..=busy + 2 * EVICTED_AT_ONCE as u64;
        assert_eq!(gone, least_used.collect::<Vec<_>>());
    }

    #[test]
    fn who_connect_to_very_many_together_cut_nothing_that_a_third_uses() {
        let mut relays = Relays::default();
        let (thirds, all) = (1, MAX_KNOWN as u64);
        let mut note = |ticket, session| note_scanned(&mut relays, ticket, session);
        assert!(note(thirds, 3).is_empty());
        // Both use all, the third's as well, and the last to connect is one of them.
        for session in [1, 2] {
            for ticket in 1..=all {
                assert!(note(ticket, session).is_empty());
            }
        }
        let mut gone = Vec::new();
        let mut last = all;
        while gone.len() < 2 * EVICTED_AT_ONCE || last % EVICTED_AT_ONCE as u64 != 0 {
            last += 1;
            gone.extend(note(last, 1));
            assert!(note(last, 2).is_empty());
        }
        let least_used = thirds + 1..=thirds + gone.len() as u64;
        assert_eq!(gone, least_used.collect::<Vec<_>>());
        // Once the third has ended, it is theirs alone, and the least recently used.
        relays.keep_clients(&HashSet::from([SessionId(1), SessionId(2)]));
        let event = Event {
            count: last + 1,
            session: SessionId(1),
            ..Event::default()
        };
        let gone = relays.note(&event, event.session, &[], true);
        assert!(gone.iter().any(|gone| gone.ticket == Ticket(thirds)));
    }

    #[test]
    fn what_waits_for_its_scan_is_not_evicted_by_those_who_connect_there_too() {
        let mut relays = Relays::default();
        let mut note = |ticket: u64, session| {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                cgroup: 1,
                session: SessionId(session),
                destination: IpAddr::from([127, 0, 0, 1]).into(),
                port: u16::try_from(ticket).unwrap(),
                ..Event::default()
            };
            relays.note(&event, event.session, &[], true);
        };
        let first = 1;
        note(first, 3);
        for session in [1, 2] {
            for ticket in 1..=MAX_WAITING as u64 {
                note(ticket, session);
            }
        }
        for more in 1..=100 {
            note(1000 + more, 1);
            note(1000 + more, 2);
        }
        assert!(relays.known.contains_key(&Ticket(first)));
        // Several go at once, though both have connected to all.
        let waiting = MAX_WAITING - WAITING_EVICTED_AT_ONCE + 1..MAX_WAITING;
        assert!(waiting.contains(&relays.known.len()));
        // It is scanned in the third's share, though theirs is used up by what is due before.
        let known = relays.known.get_mut(&Ticket(first)).unwrap();
        known.due = Some(BootTime(5000));
        let due = relays.due(BootTime(5000));
        assert!(due.contains(&Ticket(first)));
        assert_eq!(due.len(), 2 * TOGETHER + 1);
    }

    #[test]
    fn what_could_not_be_read_at_first_is_waited_for() {
        let mut relays = Relays::default();
        relays.note(&Event::default(), ALONE, &[], true);
        let known = relays.known.values_mut().next().unwrap();
        let unread = ScanResult {
            unread: true,
            ..ScanResult::default()
        };
        for step in 1..=SCANS_TO_READ_ALL {
            known.step = step;
            assert!(known.waits_for_more(&unread), "{step}");
            assert!(!known.waits_for_more(&ScanResult::default()), "{step}");
        }
        known.step += 1;
        assert!(!known.waits_for_more(&unread));
        // A stricter result is written at once for a listener that the kernel map has.
        (known.step, known.in_kernel) = (1, Some(known.relay));
        assert!(!known.waits_for_more(&unread));
    }

    #[test]
    fn each_session_has_its_share_and_what_was_not_scanned_comes_first() {
        let mut relays = Relays::default();
        let mut add = |ticket, session, is_told: bool, due| {
            let event = Event {
                count: ticket,
                session: SessionId(session),
                at: BootTime(due),
                ..Event::default()
            };
            relays.note(&event, event.session, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket)).unwrap();
            known.in_kernel = is_told.then_some(known.relay);
            known.due = Some(BootTime(due));
        };
        for ticket in 0..500 {
            add(10 + ticket, 1, ticket % 2 == 0, 10 + ticket);
        }
        add(2000, 2, true, 900);
        add(2001, 3, true, 1001);
        let due = relays.due(BootTime(1000));
        let due: Vec<u64> = due.iter().map(|ticket| ticket.0).collect();
        // Those of the first that are new, the oldest first; and the other's, for all that.
        let first = (0..TOGETHER as u64).map(|at| 11 + 2 * at);
        assert_eq!(due, first.chain([2000]).collect::<Vec<_>>());
    }
    #[test]
    fn a_listener_with_an_upstream_is_evicted_last() {
        let mut relays = Relays::default();
        let mut note = |ticket, owner| {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                ..Event::default()
            };
            let gone = relays.note(&event, ALONE, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket)).unwrap();
            known.in_kernel = Some(known.relay);
            let upstream = Connection::new(Address::default(), Protocol::TCP, 5432);
            known.relay.owner = owner;
            if ticket < 10 || owner != 0 {
                known.add_upstream(&upstream);
            }
            gone.iter().map(|gone| gone.ticket.0).collect::<Vec<_>>()
        };
        let all = MAX_KNOWN as u64;
        for ticket in 1..=all {
            assert!(note(ticket, 0).is_empty());
        }
        let first = note(all + 1, 7);
        assert_eq!(first, (10..10 + EVICTED_AT_ONCE as u64).collect::<Vec<_>>());
        for more in 2..all + 100 {
            assert!(note(all + more, 7).iter().all(|gone| *gone > 9));
        }
    }

    /// guardd does not note what an evicted listener connects to: the kernel half is to let nothing pass there.
    #[test]
    fn the_kernel_half_is_told_of_each_that_is_evicted_and_keeps_what_no_scan_finds_again()
    -> anyhow::Result<()> {
        let mut relays = Relays::default();
        let mut note = |ticket: u64| {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                ..Event::default()
            };
            let gone = relays.note(&event, ALONE, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket));
            let known = known.context("it was not noted")?;
            // All but the second and the third have an upstream, and all but the third were scanned.
            if ![2, 3].contains(&ticket) {
                let upstream = Connection::new(Address::default(), Protocol::TCP, 5432);
                known.add_upstream(&upstream);
            }
            known.in_kernel = (ticket != 3).then_some(known.relay);
            anyhow::Ok(gone)
        };
        let all = MAX_KNOWN as u64;
        for ticket in 1..=all {
            assert!(note(ticket)?.is_empty());
        }
        // All together: the third, which the kernel half does not have, and with the others the first.
        let gone = note(all + 1)?;
        assert_eq!(gone.len(), EVICTED_AT_ONCE - 1);
        assert_eq!((gone[0].ticket, gone[0].kept), (Ticket(2), None));
        assert_eq!(gone[1].ticket, Ticket(1));
        assert_eq!(gone[1].kept.map(|kept| kept.len), Some(1));
        assert!(!relays.known.contains_key(&Ticket(3)));
        // Nor does the proxy read from one before it is scanned again.
        let is_evicted = |ticket| relays.is_evicted(ticket, 0);
        assert!([1, 2, 3].into_iter().all(is_evicted));
        assert!(![0, 99].into_iter().any(is_evicted));
        // Another one has half of its number.
        assert!(relays.is_evicted(99, 80));
        let again = Event {
            count: 2,
            ..Event::default()
        };
        relays.note(&again, ALONE, &[], true);
        assert!(relays.is_evicted(2, 0));
        let known = relays.known.get_mut(&Ticket(2)).context("no second")?;
        known.in_kernel = Some(known.relay);
        assert!(!relays.is_evicted(2, 0));
        Ok(())
    }

    #[test]
    fn processes_that_served_a_listener_count_for_as_long_as_they_live() {
        let process = |pid| ServingProcess { pid, cgroup: 0 };
        let found = |processes: &[u32]| ScanResult {
            listens: true,
            processes: processes.iter().copied().map(process).collect(),
            ..ScanResult::default()
        };
        let mut known = KnownListener::new(Ticket(1), &Event::default(), SessionId(1));
        let mut scan = |processes: &[u32], ended: u32| {
            let mut found = found(processes);
            known.keep_serving(&mut found, |pid| (pid != ended).then_some(0));
            known.learn(found, 0);
            let served = (1..=40).filter(|pid| known.is_served_by(*pid));
            (served.collect::<Vec<_>>(), known.is_anywhere())
        };
        assert_eq!(scan(&[1, 2], 0), (vec![1, 2], false));
        // Another program has its port.
        assert_eq!(scan(&[3], 0), (vec![1, 2, 3], false));
        assert_eq!(scan(&[3], 1), (vec![2, 3], false));
        // More than are followed.
        let many: Vec<u32> = (4..=34).collect();
        assert!(scan(&many, 0).1);
        assert!(scan(&[3], 2).1);
    }

    #[test]
    fn a_program_that_had_too_many_processes_may_be_followed_when_it_is_started_again() {
        let crowded = ScanResult {
            is_crowded: true,
            ..ScanResult::default()
        };
        let unread = ScanResult {
            unread: true,
            ..ScanResult::default()
        };
        let anywhere = ScanResult {
            anywhere: true,
            ..ScanResult::default()
        };
        let few = ScanResult::default();
        for (scans, is_anywhere, is_inherited) in [
            (vec![&crowded, &few], true, false),
            (vec![&unread, &crowded, &few], true, false),
            (vec![&crowded, &unread, &few], true, false),
            (vec![&unread, &few], false, false),
            (vec![&crowded, &anywhere, &few], true, true),
            (vec![&anywhere, &crowded, &unread, &few], true, true),
        ] {
            let mut known = KnownListener::new(Ticket(1), &Event::default(), SessionId(1));
            known.add_upstream(&Connection::new(Address::default(), Protocol::TCP, 5432));
            for found in &scans {
                known.learn((*found).clone(), 0);
            }
            assert_eq!(known.is_anywhere(), is_anywhere, "{scans:?}");
            let inherited = known.as_past().map(|past| past.anywhere);
            assert_eq!(inherited, Some(is_inherited), "{scans:?}");
        }
    }

    #[test]
    fn a_process_that_has_the_id_of_one_that_served_a_listener_is_another() {
        let found = |processes: &[(u32, u64)]| ScanResult {
            listens: true,
            processes: processes
                .iter()
                .map(|(pid, _)| ServingProcess {
                    pid: *pid,
                    cgroup: 0,
                })
                .collect(),
            started: processes.iter().copied().collect(),
            ..ScanResult::default()
        };
        let learn = |known: &mut KnownListener, mut found: ScanResult| {
            // Of the second it cannot be read any more, and another one has the third's id.
            let began = |pid: u32| match pid {
                1 => Some(10),
                2 => Some(0),
                3 => Some(31),
                _ => None,
            };
            known.keep_serving(&mut found, began);
            known.learn(found, 0);
        };
        let new = || KnownListener::new(Ticket(1), &Event::default(), SessionId(1));
        let (mut known, mut other) = (new(), new());
        let all = found(&[(1, 10), (2, 20), (3, 30), (4, 40)]);
        learn(&mut known, all);
        // One scan after the other, so that nothing which is known is lost.
        for _ in 0..2 {
            learn(&mut known, found(&[(9, 90)]));
            let served = (1..=9).filter(|pid| known.is_served_by(*pid));
            assert_eq!(served.collect::<Vec<_>>(), [1, 2, 9]);
            let started = known.who.as_ref().map(|who| who.start_of(2));
            assert_eq!(started, Some(20));
        }
        for (process, is_shared) in [((2, 20), true), ((2, 0), true), ((2, 21), false)] {
            learn(&mut other, found(&[process]));
            assert_eq!(known.shares_process_with(&other), is_shared, "{process:?}");
            other.who = None;
        }
    }

    /// Beside one that is about to end, a scan may find those of another listener that it connects to.
    #[test]
    fn neither_a_process_that_is_about_to_end_nor_what_the_kernel_map_has_takes_anothers_place() {
        let found = |pid, processes: &[u32]| ScanResult {
            listens: true,
            pid,
            processes: processes
                .iter()
                .map(|pid| ServingProcess {
                    pid: *pid,
                    cgroup: 0,
                })
                .collect(),
            ..ScanResult::default()
        };
        for shown in [None, Some(1)] {
            let mut known = KnownListener::new(Ticket(1), &Event::default(), SessionId(1));
            let mut learn = |mut found| {
                known.keep_ending_process(&mut found);
                known.keep_serving(&mut found, |_| Some(0));
                known.learn(found, 0);
            };
            learn(found(Some(1), &[1]));
            learn(found(shown, &[2]));
            let relay = known.relay;
            known.recall(&relay);
            assert!([1, 2].iter().all(|pid| known.is_served_by(*pid)));
            assert_eq!(known.who.and_then(|who| who.pid), Some(1));
        }
    }

    /// Several workers of a relay may each have a listener at one port (`SO_REUSEPORT`), and a session may be connected to all of them.
    #[test]
    fn what_one_of_two_listeners_at_a_port_connects_to_counts_for_open_connections_to_the_other()
    -> anyhow::Result<()> {
        let mut relays = Relays::default();
        let address = Address::from(IpAddr::from([127, 0, 0, 1]));
        let event = |ticket| Event {
            count: ticket,
            at: BootTime(ticket),
            cgroup: 1,
            destination: address,
            port: 8080,
            protocol: Protocol::TCP,
            ..Event::default()
        };
        let note = |relays: &mut Relays, ticket: u64, processes: &[u32]| {
            relays.note(&event(ticket), ALONE, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket));
            let known = known.context("it was not noted")?;
            let process = |pid: &u32| ServingProcess {
                pid: *pid,
                cgroup: 0,
            };
            known.who = Some(ScanResult {
                processes: processes.iter().map(process).collect(),
                ..ScanResult::default()
            });
            known.in_kernel = Some(known.relay);
            anyhow::Ok(())
        };
        // The first is another program's, and the fourth was never scanned.
        let before: [(u64, &[u32]); 4] = [(1, &[5]), (2, &[7, 8]), (3, &[8]), (4, &[8])];
        for (ticket, processes) in before {
            note(&mut relays, ticket, processes)?;
        }
        let fourth = relays.known.get_mut(&Ticket(4)).context("no fourth")?;
        fourth.in_kernel = None;
        note(&mut relays, 5, &[7, 8])?;
        assert!(!relays.known.contains_key(&Ticket(4)));
        let at = relays.at(address, 8080, BootTime(9));
        assert_eq!(at.map(|known| known.relay.ticket), Some(Ticket(5)));
        assert_eq!(relays.current().count(), 1);
        assert_eq!(relays.next_scan(), Some(BootTime(5)));
        assert!(relays.outdate(BootTime(10)).is_empty());
        let is_due = |relays: &Relays, ticket| relays.known[&Ticket(ticket)].due.is_some();
        assert!([1, 2, 3].iter().all(|ticket| !is_due(&relays, *ticket)));

        assert_eq!(relays.unscanned_replaced(), [Ticket(1)]);
        let fifth = relays.known.get_mut(&Ticket(5)).context("no fifth")?;
        let upstream = IpAddr::from([192, 0, 2, 1]).into();
        fifth.add_upstream(&Connection::new(upstream, Protocol::TCP, 443));
        let mut told = relays.add_to_replaced(Ticket(5));
        told.sort_unstable();
        assert_eq!(told, [1, 2, 3].map(Ticket));
        let upstreams = [1, 2, 3].map(|ticket| relays.known[&Ticket(ticket)].upstreams().len());
        assert_eq!(upstreams, [0, 1, 1]);
        // What the proxy reads on a connection that began before is judged by the earlier one, too.
        let to = Connection::new(address, Protocol::TCP, 8080);
        let read = |ticket| -> Vec<u64> {
            let all = relays.read_by(inside(0, 42), &to, ticket);
            all.map(|known| known.relay.ticket.0).collect()
        };
        assert_eq!(read(1), [5, 1]);
        assert_eq!(read(3), [5, 3]);
        for none in [0, 4, 5] {
            assert_eq!(read(none), [5]);
        }
        // It listens still.
        relays.note(&event(3), ALONE, &[], true);
        assert_eq!(relays.current().count(), 2);
        assert!(is_due(&relays, 3));
        // A server may be started again and again: each that was replaced is one more to go on with.
        let last = 30;
        for ticket in 6..=last {
            note(&mut relays, ticket, &[9])?;
        }
        assert_eq!(relays.known.len(), MAX_REPLACED + 1);
        let gone = relays.note(&event(last + 1), ALONE, &[], true);
        let gone: Vec<u64> = gone.iter().map(|gone| gone.ticket.0).collect();
        assert_eq!(gone, [last - MAX_REPLACED as u64]);
        Ok(())
    }

    /// Sessions have turns.
    #[test]
    fn what_is_reported_late_replaces_nothing_that_was_connected_to_since_then()
    -> anyhow::Result<()> {
        let mut relays = Relays::default();
        let address = Address::from(IpAddr::from([127, 0, 0, 1]));
        let mut note = |ticket, at| {
            let event = Event {
                count: ticket,
                at: BootTime(at),
                cgroup: 1,
                destination: address,
                port: 8080,
                ..Event::default()
            };
            relays.note(&event, ALONE, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket));
            let known = known.context("it was not noted")?;
            known.in_kernel = Some(known.relay);
            let current = relays.current().map(|known| known.relay.ticket.0);
            let mut current: Vec<_> = current.collect();
            current.sort_unstable();
            let last = relays.at(address, 8080, BootTime(20));
            let last = last.map(|known| (known.relay.ticket.0, known.used.0));
            anyhow::Ok((current, last))
        };
        assert_eq!(note(1, 5)?, (vec![1], Some((1, 5))));
        assert_eq!(note(2, 10)?, (vec![2], Some((2, 10))));
        // Of another session, to the same and to one that the first has not connected to.
        assert_eq!(note(2, 8)?, (vec![2], Some((2, 10))));
        assert_eq!(note(3, 9)?, (vec![2, 3], Some((2, 10))));
        assert_eq!(note(4, 11)?, (vec![4], Some((4, 11))));
        Ok(())
    }

    /// Whatever the reason: the one in its place was evicted, or is scanned no more, or a scan finds no client.
    #[test]
    fn a_listener_that_no_scan_is_about_is_evicted_before_its_processes_are_traced_no_more()
    -> anyhow::Result<()> {
        let mut relays = Relays::default();
        let note = |relays: &mut Relays, ticket: u64, port| {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                cgroup: 1,
                session: SessionId(1),
                port,
                ..Event::default()
            };
            relays.note(&event, event.session, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket));
            let known = known.context("it was not noted")?;
            (known.in_kernel, known.due) = (Some(known.relay), None);
            known.traced = after(event.at, FOLLOWED);
            anyhow::Ok(())
        };
        for (ticket, port) in [(1, 80), (2, 80), (3, 81), (4, 82)] {
            note(&mut relays, ticket, port)?;
        }
        // Of two that cannot be scanned the kernel map does not have the second.
        let fourth = relays.known.get_mut(&Ticket(4)).context("no fourth")?;
        fourth.in_kernel = None;
        for ticket in [3, 4] {
            let session = live(&[(1, None)]);
            assert!(!relays.note_failed(&session, Ticket(ticket), BootTime(5)));
        }
        let ends = |ticket| {
            let traced = after(BootTime(ticket), FOLLOWED);
            BootTime(traced.0 - EVICTED_BEFORE.as_nanos() as u64)
        };
        let mut evicted = |at| -> Vec<u64> {
            let gone = relays.evict_untraced(at);
            gone.iter().map(|gone| gone.ticket.0).collect()
        };
        assert!(evicted(BootTime(ends(1).0 - 1)).is_empty());
        assert_eq!(evicted(ends(1)), [1]);
        assert_eq!(relays.next_deadline(), Some(ends(3)));
        // A scan finds it, and the process of a session that could lead to the fourth is gone.
        let third = relays.known.get_mut(&Ticket(3)).context("no third")?;
        third.note_seen();
        assert_eq!(relays.next_deadline(), None);
        let fourth = relays.known.get_mut(&Ticket(4)).context("no fourth")?;
        (fourth.in_kernel, fourth.due) = (Some(fourth.relay), Some(BootTime(4)));
        assert!(!relays.note_failed(&live(&[]), Ticket(4), BootTime(5)));
        let fourth = relays.known.get(&Ticket(4)).context("no fourth")?;
        assert_eq!(fourth.due, None);
        assert_eq!(relays.next_deadline(), Some(ends(4)));
        let gone = relays.evict_untraced(BootTime(u64::MAX));
        assert_eq!(
            gone.iter().map(|gone| gone.ticket.0).collect::<Vec<_>>(),
            [4]
        );
        assert_eq!(relays.known.len(), 2);
        Ok(())
    }

    /// What an earlier guardd knew of one listener, in a network that is not guardd's.
    fn recalled_elsewhere() -> Relays {
        let relay = Relay::new(Ticket(1), NetnsCookie(7), Address::default(), 5432);
        Relays {
            own: NetnsCookie(9),
            ..Relays::recalled(vec![relay], BootTime(10))
        }
    }

    /// Has the scan of the listener fail that is due next. Returns by which session it went, and whether another one is left.
    fn fail(
        relays: &mut Relays,
        live: &LiveSessions,
        now: BootTime,
    ) -> anyhow::Result<(u32, bool)> {
        let own = relays.own;
        let known = relays.known.get_mut(&Ticket(1)).context("it is gone")?;
        let by = known.begin_scan(own, live).session;
        Ok((by.0, relays.note_failed(live, Ticket(1), now)))
    }

    /// Nobody is known to have connected to it since: who has stays connected.
    #[test]
    fn what_an_earlier_guardd_knew_is_evicted_once_no_session_leads_to_it() -> anyhow::Result<()> {
        let (mut relays, two) = (recalled_elsewhere(), live(&[(4, None), (5, None)]));
        assert_eq!(fail(&mut relays, &two, BootTime(20))?, (4, true));
        let known = relays.known.get(&Ticket(1)).context("it is gone")?;
        assert!(known.due <= Some(after(BootTime(20), TRIED_NEXT)));
        assert!(relays.evict_untraced(BootTime(21)).is_empty());
        assert_eq!(fail(&mut relays, &two, BootTime(30))?, (5, false));
        assert_eq!(relays.evict_untraced(BootTime(31)).len(), 1);
        Ok(())
    }

    /// However many sessions there are to be tried, and where no scan can be done.
    #[test]
    fn what_an_earlier_guardd_knew_is_evicted_where_no_scan_succeeds_for_a_while()
    -> anyhow::Result<()> {
        let two = live(&[(4, None), (5, None)]);
        let end = after(BootTime(20), TRIED_FOR);
        for is_undone in [false, true] {
            let mut relays = recalled_elsewhere();
            if is_undone {
                let known = relays.known.get_mut(&Ticket(1)).context("it is gone")?;
                known.due = None;
                relays.note_undone(&[Ticket(1)], BootTime(20));
                assert!(relays.next_scan().is_some());
            } else {
                assert_eq!(fail(&mut relays, &two, BootTime(20))?, (4, true));
            }
            assert!(relays.evict_untraced(BootTime(end.0 - 1)).is_empty());
            assert_eq!(relays.evict_untraced(end).len(), 1);
        }
        Ok(())
    }

    /// One that is traced goes before it is not, whoever has not been tried yet.
    #[test]
    fn a_traced_listener_that_no_scan_finds_is_evicted_before_its_processes_are_traced_no_more()
    -> anyhow::Result<()> {
        let (mut relays, two) = (recalled_elsewhere(), live(&[(4, None), (5, None)]));
        let known = relays.known.get_mut(&Ticket(1)).context("it is gone")?;
        known.traced = after(BootTime(20), FOLLOWED);
        let end = BootTime(known.traced.0 - EVICTED_BEFORE.as_nanos() as u64);
        let before = BootTime(end.0 - 1);
        assert_eq!(fail(&mut relays, &two, before)?, (4, true));
        assert!(relays.evict_untraced(before).is_empty());
        assert_eq!(relays.evict_untraced(end).len(), 1);
        Ok(())
    }

    #[test]
    fn who_has_listeners_replaced_again_and_again_cuts_no_connection_of_others_at_the_port() {
        let mut relays = Relays::default();
        let mut note = |ticket: u64, session| {
            let event = Event {
                count: ticket,
                at: BootTime(ticket),
                cgroup: 1,
                session: SessionId(session),
                port: 8080,
                ..Event::default()
            };
            let gone = relays.note(&event, event.session, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket)).unwrap();
            known.in_kernel = Some(known.relay);
            gone.iter().map(|gone| gone.ticket.0).collect::<Vec<_>>()
        };
        // The first is the other session's, and the second is used by both.
        assert!(note(1, 2).is_empty());
        assert!(note(2, 2).is_empty());
        let first = 3;
        let full = first + MAX_REPLACED as u64 - 2;
        for ticket in 2..=full {
            assert!(note(ticket, 1).is_empty());
        }
        let gone: Vec<_> = (1..=100).flat_map(|more| note(full + more, 1)).collect();
        assert_eq!(gone, (first..first + 100).collect::<Vec<_>>());
    }

    /// A scan of its port may find another one.
    #[test]
    fn what_an_earlier_guardd_has_evicted_or_replaced_is_scanned_when_a_session_connects()
    -> anyhow::Result<()> {
        let relay = |ticket| Relay::new(Ticket(ticket), NetnsCookie(1), Address::default(), 5432);
        let void = relay(2).void(BootTime(5));
        let replaced = Relay {
            flags: relay_flags::REPLACED,
            ..relay(3)
        };
        let all = vec![relay(1), void, replaced];
        let mut relays = Relays::recalled(all, BootTime(10));
        let due = relays.due(BootTime(10));
        assert_eq!(due, [Ticket(1)]);
        let known = relays.known.get(&Ticket(1)).context("no first")?;
        assert_eq!(known.in_kernel, Some(relay(1)));
        assert_eq!(relays.current().count(), 1);
        assert!(!relays.known.contains_key(&Ticket(2)));
        let gone = relays.evict_untraced(BootTime(10));
        let gone: Vec<_> = gone.iter().map(|gone| gone.ticket).collect();
        assert_eq!(gone, [Ticket(3)]);
        let event = Event {
            count: 3,
            at: BootTime(11),
            cgroup: 1,
            port: 5432,
            ..Event::default()
        };
        relays.note(&event, ALONE, &[], true);
        let due = relays.due(BootTime(11));
        assert_eq!(due, [Ticket(3)]);
        // The first one is replaced now: who takes guardd's place after this one is to find it so.
        let known = relays.known.get(&Ticket(1)).context("no first")?;
        let again = Relays::recalled(vec![known.relay], BootTime(20));
        assert_eq!(again.current().count(), 0);
        Ok(())
    }

    #[test]
    fn what_an_earlier_guardd_knew_may_connect_anywhere_where_nobody_listens_and_a_client_is_connected()
    -> anyhow::Result<()> {
        let relay = Relay::new(Ticket(1), NetnsCookie(1), Address::default(), 5432);
        for (listens, is_connected, is_anywhere) in [
            (true, true, false),
            (true, false, false),
            (false, false, false),
            (false, true, true),
        ] {
            let mut relays = Relays::recalled(vec![relay], BootTime(10));
            let known = relays.known.get_mut(&Ticket(1)).context("no first")?;
            let scan = |known: &mut KnownListener, listens| {
                let mut found = ScanResult {
                    listens,
                    is_connected,
                    ..ScanResult::default()
                };
                known.doubt_processes(&mut found);
                known.learn(found, 0);
                known.is_anywhere()
            };
            assert_eq!(scan(known, listens), is_anywhere);
            // Later ones find other processes, or know of those that the first one has found.
            for listens in [true, false] {
                assert_eq!(scan(known, listens), is_anywhere);
            }
        }
        Ok(())
    }

    #[test]
    fn a_program_that_is_started_again_is_known_again() {
        let mut relays = Relays::default();
        let event = |ticket| Event {
            count: ticket,
            cgroup: 1,
            port: 5432,
            at: BootTime(ticket),
            ..Event::default()
        };
        let found = |pid, command: &str| ScanResult {
            listens: true,
            pid,
            comm: (!command.is_empty()).then(|| "python3".to_owned()),
            command: command.split_whitespace().map(str::to_owned).collect(),
            ..ScanResult::default()
        };
        let mut upstreams_of = |ticket, found: &[ScanResult], owner| {
            relays.note(&event(ticket), ALONE, &[], true);
            let known = relays.known.get_mut(&Ticket(ticket)).unwrap();
            for found in found {
                let mut found = found.clone();
                known.keep_ending_process(&mut found);
                known.take_over(&found, owner, &mut relays.past);
                known.learn(found, owner);
            }
            if ticket == 1 {
                known.add_upstream(&Connection::new(Address::default(), Protocol::TCP, 5432));
            }
            known.upstreams().len()
        };
        // The last scan finds its socket, but no longer its process.
        let last = [
            found(Some(7), "relay.py"),
            found(Some(7), ""),
            found(None, ""),
        ];
        let mut upstreams = |ticket, found: &[ScanResult]| upstreams_of(ticket, found, 0);
        assert_eq!(upstreams(1, &last), 1);
        // A process that ended before the first scan says nothing about its upstream.
        assert_eq!(upstreams(2, &[]), 0);
        assert_eq!(upstreams(3, &[found(Some(9), "relay.py")]), 1);
        // Nor does any other program that was there in between, however often.
        for ticket in 4..10 {
            assert_eq!(upstreams(ticket, &[found(Some(11), "server.py")]), 0);
        }
        assert_eq!(upstreams(10, &[found(Some(13), "relay.py")]), 1);
        // A session's server under the same name is scanned by itself.
        assert_eq!(upstreams_of(11, &[found(Some(15), "relay.py")], 7), 0);
        assert_eq!(upstreams_of(12, &[found(Some(17), "relay.py")], 0), 1);
    }

    #[test]
    fn a_hole_lets_through_to_its_own_upstream_and_one_for_the_listener_to_all() {
        let to = |last: u8, port: u16| {
            let to = IpAddr::from([192, 0, 2, last]).into();
            Connection::new(to, Protocol::TCP, port)
        };
        let localhost = IpAddr::from([127, 0, 0, 1]).into();
        let listener = Connection::new(localhost, Protocol::TCP, 5432);
        let [first, second, denied] = [to(1, 443), to(1, 5432), to(2, 443)];
        let mut known = KnownListener::new(Ticket(1), &Event::default(), SessionId(1));
        let strictest = |known: &KnownListener, open: &[Connection], how: Opened| {
            let judge = |to: &Connection| match *to {
                to if to == listener => Verdict::Allow,
                to if to == first => Verdict::Confirm,
                to if to == second => Verdict::ReadOnly,
                _ => Verdict::Deny,
            };
            let opened = |to: &Connection| {
                if open.contains(to) {
                    how
                } else {
                    Opened::Nothing
                }
            };
            let found = known.strictest(&listener, judge, |_| false, opened);
            (found.verdict, found.upstream, found.is_opened)
        };
        let all = Opened::All;
        assert_eq!(
            strictest(&known, &[], all),
            (Verdict::Allow, None, false),
            "it has no upstream"
        );
        known.add_upstream(&first);
        known.add_upstream(&second);
        let asks = |of| (Verdict::Confirm, Some(of), false);
        assert_eq!(strictest(&known, &[], all), asks(first));
        assert_eq!(strictest(&known, &[first], all), asks(second));
        assert_eq!(strictest(&known, &[second], all), asks(first));
        let passes = |of| (Verdict::Allow, Some(of), true);
        assert_eq!(strictest(&known, &[first, second], all), passes(second));
        assert_eq!(strictest(&known, &[listener], all), passes(first));
        // No proxy is on the way to an upstream.
        let reads = strictest(&known, &[first, second, listener], Opened::Reads);
        assert_eq!(reads, asks(first));
        // What may be anywhere takes a hole for the listener.
        known.mark_anywhere();
        assert_eq!(strictest(&known, &[first, second], all), asks(listener));
        assert_eq!(strictest(&known, &[listener], all), passes(first));
        known.add_upstream(&denied);
        let shut = (Verdict::Deny, Some(denied), false);
        let open = [first, second, denied, listener];
        assert_eq!(strictest(&known, &open, all), shut);
    }

    #[test]
    fn a_hole_for_a_port_opens_the_upstreams_of_all_that_may_listen_there() {
        let at = |last: u8, port: u16| {
            let to = IpAddr::from([127, 0, 0, last]).into();
            Connection::new(to, Protocol::TCP, port)
        };
        let upstream = |last: u8| {
            let to = IpAddr::from([192, 0, 2, last]).into();
            Connection::new(to, Protocol::TCP, 5432)
        };
        let mut relays = Relays {
            own: NetnsCookie(1),
            ..Relays::default()
        };
        let mut listens = |ticket: u64, at: &Connection, (netns, share): (u64, u32)| {
            let event = Event {
                count: ticket,
                cgroup: netns,
                destination: at.to,
                port: at.port,
                ..Event::default()
            };
            let mut known = KnownListener::new(Ticket(ticket), &event, SessionId(share));
            known.add_upstream(&upstream(u8::try_from(ticket).unwrap()));
            known.in_kernel = Some(known.relay);
            relays.known.insert(Ticket(ticket), known);
        };
        listens(1, &at(1, 5432), (1, 7));
        listens(2, &at(2, 5432), (1, 8));
        // Of another port, in a network that the session is not known to be in, and in one that it is.
        listens(3, &at(1, 5433), (1, 7));
        listens(4, &at(1, 5432), (2, 8));
        listens(5, &at(1, 5432), (3, 7));
        let of = |relays: &Relays, to: &Connection| {
            let ReachableUpstreams {
                mut upstreams,
                anywhere,
            } = relays.reachable_upstreams(CLIENT, to);
            upstreams.sort_by_key(|upstream| upstream.to.to_u128());
            (upstreams, anywhere)
        };
        let all = [1, 2, 5].map(upstream).to_vec();
        assert_eq!(of(&relays, &at(9, 5432)), (all, false));
        // Where nobody listens yet, somebody may before the connection is made.
        assert_eq!(of(&relays, &at(1, 5434)), (vec![], true));
        assert_eq!(of(&relays, &upstream(1)), (vec![], false));
        let datagrams = Connection::new(at(1, 5432).to, Protocol::UDP, 5432);
        assert_eq!(of(&relays, &datagrams), (vec![], false));
        let third = relays.known.get_mut(&Ticket(3)).unwrap();
        third.has_ended = true;
        assert_eq!(of(&relays, &at(1, 5433)), (vec![upstream(3)], false));
        let third = relays.known.get_mut(&Ticket(3)).unwrap();
        third.in_kernel = None;
        assert_eq!(of(&relays, &at(1, 5433)), (vec![upstream(3)], true));
        // The session's own servers are its own business, and say nothing of who listens there next; nor do those of another one.
        let third = relays.known.get_mut(&Ticket(3)).unwrap();
        third.relay.owner = 42;
        assert_eq!(of(&relays, &at(1, 5433)), (vec![], true));
        let third = relays.known.get_mut(&Ticket(3)).unwrap();
        (third.relay.owner, third.in_kernel) = (43, Some(third.relay));
        assert_eq!(of(&relays, &at(1, 5433)), (vec![upstream(3)], true));
    }

    #[test]
    fn what_was_scanned_before_policies_changed_may_connect_anywhere_until_it_is_scanned_again() {
        let localhost: Address = IpAddr::from([127, 0, 0, 1]).into();
        let mut relays = Relays {
            own: NetnsCookie(1),
            ..Relays::default()
        };
        let mut listens = |port: u16, followed: u64, due: Option<u64>| {
            let event = Event {
                count: u64::from(port),
                cgroup: 1,
                destination: localhost,
                port,
                ..Event::default()
            };
            let ticket = Ticket(u64::from(port));
            let mut known = KnownListener::new(ticket, &event, SessionId(7));
            known.in_kernel = Some(known.relay);
            (known.followed, known.due) = (BootTime(followed), due.map(BootTime));
            relays.known.insert(ticket, known);
        };
        // One that is admitted to, one that is scanned from time to time, and one that nobody has used for long.
        listens(1, 60, Some(70));
        listens(2, 0, Some(70));
        listens(3, 0, None);
        let are_anywhere = |relays: &Relays| {
            [1, 2, 3].map(|port| {
                let to = Connection::new(localhost, Protocol::TCP, port);
                relays.reachable_upstreams(CLIENT, &to).anywhere
            })
        };
        assert_eq!(are_anywhere(&relays), [false; 3]);
        assert_eq!(relays.outdate(BootTime(50)), [Ticket(1)]);
        assert_eq!(are_anywhere(&relays), [true; 3]);
        let due = [1, 2, 3].map(|port| relays.known[&Ticket(port)].due);
        assert_eq!(due, [Some(BootTime(50)), Some(BootTime(50)), None]);
        assert_eq!(relays.known[&Ticket(1)].followed, BootTime(0));
        // As a scan leaves it.
        let first = relays.known.get_mut(&Ticket(1)).unwrap();
        first.is_outdated = false;
        assert_eq!(are_anywhere(&relays), [false, true, true]);
        assert_eq!(relays.outdate(BootTime(51)), []);
    }

    #[test]
    fn where_tls_has_to_show_a_name_the_listener_itself_is_asked_about() {
        let to = |port: u16| {
            let to = IpAddr::from([192, 0, 2, 1]).into();
            Connection::new(to, Protocol::TCP, port)
        };
        let localhost = IpAddr::from([127, 0, 0, 1]).into();
        let listener = Connection::new(localhost, Protocol::TCP, 5432);
        let [shows, shut] = [to(443), to(22)];
        let mut known = KnownListener::new(Ticket(1), &Event::default(), SessionId(1));
        known.add_upstream(&shows);
        let strictest = |known: &KnownListener, by_policy: Verdict, open: &[Connection]| {
            let judge = |to: &Connection| match *to {
                to if to == shows => by_policy,
                to if to == shut => Verdict::Deny,
                _ => Verdict::Allow,
            };
            let opened = |to: &Connection| {
                if open.contains(to) {
                    Opened::All
                } else {
                    Opened::Nothing
                }
            };
            let found = known.strictest(&listener, judge, |to| *to == shows, opened);
            (found.verdict, found.upstream, found.is_opened)
        };
        // Another policy may ask there, or have it read from.
        for by_policy in [Verdict::Allow, Verdict::Confirm, Verdict::ReadOnly] {
            let strictest = |open: &[Connection]| strictest(&known, by_policy, open);
            let asks = (Verdict::Confirm, Some(listener), false);
            assert_eq!(strictest(&[]), asks, "{by_policy:?}");
            assert_eq!(strictest(&[shows]), asks, "{by_policy:?}");
            let passes = (Verdict::Allow, Some(listener), true);
            assert_eq!(strictest(&[listener]), passes, "{by_policy:?}");
        }
        let denied = (Verdict::Deny, Some(shows), false);
        assert_eq!(strictest(&known, Verdict::Deny, &[listener]), denied);
        known.add_upstream(&shut);
        let denied = (Verdict::Deny, Some(shut), false);
        assert_eq!(strictest(&known, Verdict::Allow, &[listener]), denied);
    }

    #[test]
    fn what_was_found_in_an_unknown_network_may_connect_anywhere_until_a_connect_names_it() {
        let mut relays = Relays::default();
        let syn = Event {
            count: 7,
            session: SessionId(1),
            ..Event::default()
        };
        relays.note(&syn, ALONE, &[], true);
        let served = || ScanResult {
            listens: true,
            cgroups: vec![42],
            ..ScanResult::default()
        };
        let learn = |relays: &mut Relays| {
            let known = relays.known.get_mut(&Ticket(7)).unwrap();
            let mut found = served();
            let owner = known.doubt(&mut found, 42);
            known.learn(found, owner);
            (known.relay.owner, known.is_anywhere())
        };
        assert_eq!(learn(&mut relays), (0, true));
        let connect = Event { cgroup: 5, ..syn };
        relays.note(&connect, ALONE, &[], true);
        assert_eq!(learn(&mut relays), (42, false));
    }
}
