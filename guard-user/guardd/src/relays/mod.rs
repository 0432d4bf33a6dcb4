//! Listeners on this machine that sessions connect to, and their upstreams. The kernel half reports a listener and holds its
//! connection; guardd scans it and writes its upstreams to the map `RELAYS`, by which the kernel half decides.

pub mod command;
pub mod follow;
mod known;
mod past;
pub mod scan;

use std::{collections::HashSet, fs::File, net::SocketAddr};

use guard_common::{
    Address, BootTime, Connection, Event, Hook, PolicyId, Protocol, SessionId, Ticket, Verdict,
};
use guard_datapath::Datapath;
use guard_proto::{Endpoint, Through};
use guard_sys::clock;

use crate::{
    changes::Change,
    machine::Machine,
    policies::{Judged, Policies},
    requests::{RequestKey, events},
    sessions::{Session, Sessions},
    times::after,
};
pub use known::Relays;
use known::{FOLLOWED, FORGOTTEN, Known, LATER_LOOKS, LOOKS};
use scan::{Found, Listener, ScanContext};

/// Where a connection to this machine leads.
#[derive(Debug)]
pub enum Upstreams {
    /// It was not scanned yet, or is no listener that was reported.
    Unknown,
    /// To one of the session's own.
    Own,
    /// To this, which is judged so.
    Leads {
        /// What is asked about.
        key: RequestKey,
        /// What policies say of it.
        verdict: Verdict,
        /// The way there; none where nothing stricter is behind.
        through: Option<Through>,
    },
}

/// Whether one of these, or what is judged by `last`, has more to say of it than that it is allowed. Whoever has connected
/// may be gone by now.
fn counts(
    policies: &Policies,
    chains: &HashSet<Vec<PolicyId>>,
    last: &[PolicyId],
    to: &Connection,
) -> bool {
    let judge = |chain: &[PolicyId]| {
        let judged = policies.judge(chain, to.to, to.protocol, to.port);
        judged.is_none_or(|judged| judged.verdict != Verdict::Allow)
    };
    let last = (!last.is_empty()).then_some(last);
    chains.iter().map(Vec::as_slice).chain(last).any(judge)
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
    let key = RequestKey {
        session: SessionId(0),
        destination: lead.to,
        protocol: lead.protocol,
        port: lead.port,
        http: None,
    };
    events::endpoint(&key, None)
}

impl Relays {
    /// A session connects to a listener that nobody has looked at, or not lately.
    pub(crate) fn note_listener(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        event: &Event,
    ) {
        let Some(session) = sessions.live(event.session) else {
            return;
        };
        let tells = kernel.dials_problem().is_none();
        // The kernel forgets by itself which was not used for longest, and that may be one that matters.
        let who = (session.outermost(), &session.chain[..]);
        if let Some(gone) = self.note(event, who, tells)
            && let Err(error) = kernel.forget_relay(gone)
        {
            tracing::warn!(%error, "a listener stays known to the kernel");
        }
    }

    /// A process that serves a listener connects: that is where it leads. It may have many to talk to for reasons of its
    /// own, of which only those count that a policy in force does not simply allow.
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
        let chains = sessions.chains(policies.default_slot());
        let mut stirs = false;
        for ticket in &served {
            let Some(known) = self.known.get_mut(ticket) else {
                continue;
            };
            if is_many {
                known.lead_anywhere();
                continue;
            }
            stirs |= known.note_near_dial(event);
            let is_way = !to.to.is_loopback() && !known.is_for_names(&to);
            if is_way && counts(policies, &chains, &known.chain, &to) {
                known.add_lead(&to);
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

    /// Others are judged from now on, or by something else: what it is that listeners lead to is to be seen anew, before
    /// anybody else begins a connection to one.
    pub(crate) fn look_anew(&mut self, kernel: &mut Datapath) {
        let now = now();
        for (ticket, known) in &mut self.known {
            if now < known.followed {
                (known.followed, known.due) = (BootTime(0), Some(now));
                if let Err(error) = kernel.let_begin(*ticket, BootTime(0)) {
                    tracing::warn!(%error, "a listener counts as it did");
                }
            }
        }
        self.stir.notify_one();
    }

    /// Has the kernel know what is known of a listener. True where it knew less.
    fn tell_kernel(&mut self, kernel: &mut Datapath, ticket: Ticket) -> bool {
        let Some(known) = self.known.get_mut(&ticket) else {
            return false;
        };
        if known.told == Some(known.relay) {
            return false;
        }
        match kernel.set_relay(&known.relay, known.told.is_some()) {
            Ok(()) => known.told = Some(known.relay),
            // It is tried again with the next look.
            Err(error) => {
                tracing::warn!(%error, "what a listener leads to stays as it was");
            }
        }
        true
    }

    /// What is to be looked at now. Each session has its share, and what nobody has looked at
    /// comes first.
    pub(crate) fn due_looks(
        &mut self,
        kernel: &Datapath,
        sessions: &Sessions,
        now: BootTime,
    ) -> Vec<(Ticket, Listener)> {
        let outermost = |id| sessions.get(id).map_or(id, Session::outermost);
        let due = self.due(now, outermost);
        if due.is_empty() {
            return Vec::new();
        }
        let ways: Vec<_> = due
            .iter()
            .map(|(_, by)| way_to(kernel, sessions, *by))
            .collect();
        let mut places = Vec::new();
        for ((ticket, _), way) in due.into_iter().zip(ways) {
            let Some(known) = self.known.get_mut(&ticket) else {
                continue;
            };
            let is_old = |since| after(since, FORGOTTEN).0 <= now.0;
            let wait = match LOOKS.get(known.step).unwrap_or(&LOOKS[LOOKS.len() - 1]) {
                _ if is_old(known.used) => LATER_LOOKS,
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

    /// Has the kernel know what was found. Connections that wait for it are looked at where it is new.
    pub(crate) fn note_found(
        &mut self,
        kernel: &mut Datapath,
        sessions: &Sessions,
        policies: &Policies,
        ticket: Ticket,
        mut found: Found,
    ) -> bool {
        let owner = sessions.owner_of(&found.cgroups);
        let chains = sessions.chains(policies.default_slot());
        let now = now();
        let Some(known) = self.known.get_mut(&ticket) else {
            return false;
        };
        if found.is_connected {
            // Who has come may stay for long, and ask for something late.
            known.busy = now;
        }
        if known.waits_for_more(&found) {
            return false;
        }
        match kernel.relay(ticket) {
            // It may know more, from before this was forgotten here.
            Ok(Some(relay)) if known.told.is_none() => known.recall(&relay),
            Ok(Some(_)) => {}
            // It forgets by itself, too.
            _ => known.told = None,
        }
        // What is simply allowed is no matter, and there may be much of it.
        found
            .leads
            .retain(|lead| counts(policies, &chains, &known.chain, lead));
        let has_gone = |at: &SocketAddr| found.dialed.contains(at) && !found.near.contains(at);
        known.dialed.retain(|at| !has_gone(at));
        // It may be in another network than that which was looked at.
        found.unread |= !found.listens && known.relay.netns.0 == 0;
        if !found.listens && !found.is_connected {
            // Nobody new gets to it.
            known.due = None;
        } else if found.is_connected && known.due.is_none() {
            known.due = Some(after(now, LATER_LOOKS));
        }
        if found.listens || known.who.is_none() {
            known.keep_whoever_ends(&mut found);
            known.take_over(&found, owner, &mut self.past);
            known.learn(found, owner);
        }
        self.follow(kernel, sessions, ticket, now)
    }

    /// Policies of these slots are gone, and the slots may be others' soon.
    pub(crate) fn forget_slots(&mut self, slots: &[PolicyId]) {
        for known in self.known.values_mut() {
            if known.chain.iter().any(|slot| slots.contains(slot)) {
                known.chain.clear();
            }
        }
    }

    /// An earlier guardd has left these, and nobody hears what their processes connect to until they are looked at.
    pub(crate) fn follow_none(&mut self, kernel: &mut Datapath) {
        let tickets: Vec<Ticket> = self.known.keys().copied().collect();
        for ticket in tickets {
            if let Err(error) = kernel.let_begin(ticket, BootTime(0)) {
                tracing::warn!(%error, "a listener counts as it did");
            }
        }
    }

    /// One could not be looked at. Where nobody of the session is there any more, nobody can.
    pub(crate) fn note_unseen(&mut self, sessions: &Sessions, ticket: Ticket) {
        let is_live = |id| sessions.live(id).is_some();
        if let Some(known) = self.known.get_mut(&ticket)
            && !is_live(known.by.0)
        {
            known.due = None;
        }
    }

    /// Has the kernel tell what the processes of a listener connect to, know all that is known of it, and then let connections
    /// to it begin. True where that is news for those that wait.
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
        let session = sessions.live(known.by.0);
        let own = session.map(|session| session.cgroup.cgroup_id);
        if known.relay.owner != 0 && Some(known.relay.owner) == own {
            // A session's own servers are its own business.
            return self.tell_kernel(kernel, ticket);
        }
        let until = after(now, FOLLOWED);
        let who = known.who.clone().unwrap_or_default();
        match kernel.follow_dials(&who.processes, now, until) {
            Ok(true) => {}
            // More than could be told.
            Ok(false) => known.lead_anywhere(),
            Err(error) => {
                tracing::warn!(%error, "what a listener connects to may not be seen, so it may lead anywhere");
                known.lead_anywhere();
            }
        }
        let was_followed = now < std::mem::replace(&mut known.followed, until);
        let is_new = self.tell_kernel(kernel, ticket);
        if let Err(error) = kernel.let_begin(ticket, until) {
            tracing::warn!(%error, "nobody new gets to a listener");
        }
        is_new || !was_followed
    }

    /// Where a question about this machine leads that was first asked then: its strictest destination.
    pub(crate) fn behind(
        &mut self,
        sessions: &Sessions,
        policies: &Policies,
        key: &RequestKey,
        since: BootTime,
    ) -> Upstreams {
        let Some(session) = sessions.live(key.session) else {
            return Upstreams::Unknown;
        };
        let (own, chain) = (session.cgroup.cgroup_id, session.chain.clone());
        let Some(known) = self.at(key.destination, key.port, since) else {
            return Upstreams::Unknown;
        };
        if known.relay.owner == own {
            return Upstreams::Own;
        }
        let judge = |to: &Connection| {
            let judged = policies.judge(&chain, to.to, to.protocol, to.port);
            judged.map_or(Verdict::Deny, |judged| judged.verdict)
        };
        let asked = Connection::new(key.destination, key.protocol, key.port);
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
        let key = RequestKey {
            destination: to.to,
            protocol: to.protocol,
            port: to.port,
            ..key.clone()
        };
        if let Some(through) = through.clone() {
            self.note_way(key.session, to, through);
        }
        Upstreams::Leads {
            key,
            verdict: strictest.0,
            through,
        }
    }

    /// By which listener a refused destination was tried, noted so that people see it.
    pub(crate) fn note_tried(&mut self, event: &Event) {
        let Some(port) = event.through() else {
            return;
        };
        let to = Connection::new(event.destination, event.protocol, event.port);
        let leads_there = |known: &&Known| {
            let is_itself = known.relay.address == to.to && known.relay.port == to.port;
            known.relay.port == port && (is_itself || known.leads().contains(&to))
        };
        let known = self.known.values().filter(leads_there);
        let known = known.max_by_key(|known| known.used).map(Known::through);
        if let Some(through) = known {
            self.note_way(event.session, to, through);
        }
    }

    /// Whether it is a listener itself that is asked about, which leads anywhere: no policy's word is enough.
    pub(crate) fn is_anywhere(&self, key: &RequestKey) -> bool {
        let way = self.way(key);
        let address = key.destination.to_ip().to_string();
        way.is_some_and(|way| way.address == address && way.port == key.port)
    }

    /// What policies say, where that is not milder than what there is to ask about a listener.
    pub(crate) fn verdict_behind(&self, key: &RequestKey, judged: &Judged<'_>) -> Verdict {
        let is_milder = judged.verdict.strictness() < Verdict::Confirm.strictness();
        match is_milder && self.is_anywhere(key) {
            true => Verdict::Confirm,
            false => judged.verdict,
        }
    }
}

/// What is known beforehand, of all that is looked at.
pub(super) fn terms(machine: &Machine, policies: &Policies, sessions: &Sessions) -> ScanContext {
    let root = machine.cgroup_root();
    ScanContext {
        guarded: machine.kernel_path(root),
        cgroup_root: root.to_owned(),
        names: policies.peoples_addresses(&sessions.peoples_slots()),
    }
}

/// The way into the network of a process of a session's; none where it is guardd's own, or gone.
fn way_to(
    kernel: &Datapath,
    sessions: &Sessions,
    (session, tgid): (SessionId, u32),
) -> Option<File> {
    let session = sessions.live(session)?;
    let processes = kernel.processes(&session.cgroup);
    let is_of_session = |pid: &u32| *pid != 0 && processes.contains(pid);
    let first = Some(tgid)
        .filter(is_of_session)
        .or(processes.first().copied())?;
    File::open(format!("/proc/{first}/ns/net")).ok()
}

/// A question about a port of this machine.
#[must_use]
pub(super) fn is_near(key: &RequestKey) -> bool {
    key.http.is_none() && key.protocol == Protocol::TCP && key.destination.is_loopback()
}

/// The present.
pub(super) fn now() -> BootTime {
    clock::now()
}
