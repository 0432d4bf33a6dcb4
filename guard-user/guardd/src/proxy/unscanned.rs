//! Connections that were redirected to the proxy before guardd had scanned what listens on the port of this machine that they go to:
//! where it leads is known only then, so the proxy waits for its terms.

use std::time::Duration;

use guard_common::{Address, BootTime, Connection, Event, Hook, Protocol, SessionId, Verdict};
use guard_datapath::LiveHole;
use guard_proto::wire::{
    Number, Passing, RedirectTarget, TargetTerms, Tgid, ToProxy, UnscannedListener,
};
use guard_sys::clock;

use crate::{
    changes::Change,
    relays::{ClientSession, Scanned, Upstreams},
    requests::RequestKey,
    state::State,
    times::after,
};

/// How long such a connection waits: a scan reads all processes, and takes seconds on a very busy machine.
const LONGEST: Duration = Duration::from_secs(10);

/// Connections of an outermost session and those inside it that wait at once; more are closed.
const MAX_WAITING: usize = 256;

#[derive(Clone, Copy, Debug)]
struct Unscanned {
    number: Number,
    target: RedirectTarget,
    listener: UnscannedListener,
    outermost: SessionId,
    until: BootTime,
}

/// All connections that wait for a scan, in the order in which they came.
#[derive(Debug, Default)]
pub(crate) struct UnscannedClients(Vec<Unscanned>);

impl UnscannedClients {
    /// The first deadline.
    #[must_use]
    pub(crate) fn next_expiry(&self) -> Option<BootTime> {
        self.0.iter().map(|one| one.until).min()
    }

    /// Forgets all: no proxy runs any more.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    fn has_room(&self, outermost: SessionId) -> bool {
        let of = |one: &&Unscanned| one.outermost == outermost;
        self.0.iter().filter(of).count() < MAX_WAITING
    }
}

fn asked(target: &RedirectTarget) -> Connection {
    Connection::new(Address::from(target.address), Protocol::TCP, target.port)
}

impl State {
    /// The proxy wants the terms of a target; for a connection that was redirected before guardd had scanned what listens there, once it
    /// has been scanned.
    pub(super) fn proxy_wants_terms(
        &mut self,
        number: Number,
        target: RedirectTarget,
        unscanned: Option<UnscannedListener>,
    ) {
        let Some(listener) = unscanned else {
            let terms = self.proxy_terms(&target);
            return self.proxy.say(told(number, terms));
        };
        // The kernel half reported the listener before it redirected, and the proxy may be read first.
        self.read_events();
        let now = clock::now();
        let Some(outermost) = self.outermost_of(&target) else {
            return self.proxy.say(closed(number));
        };
        let one = Unscanned {
            number,
            target,
            listener,
            outermost,
            until: after(now, LONGEST),
        };
        match self.tell_if_scanned(&one, now) {
            Scanned::Awaited if self.proxy.unscanned.has_room(outermost) => {
                self.proxy.unscanned.0.push(one);
            }
            Scanned::Awaited => self.proxy.say(closed(number)),
            Scanned::Done | Scanned::Never => {}
        }
    }

    /// Tells the proxy the terms of targets that have been scanned since. What waits too long is closed.
    pub(crate) fn tell_scanned(&mut self) {
        let now = clock::now();
        for one in std::mem::take(&mut self.proxy.unscanned.0) {
            match self.tell_if_scanned(&one, now) {
                Scanned::Awaited if now < one.until => self.proxy.unscanned.0.push(one),
                Scanned::Awaited => self.proxy.say(closed(one.number)),
                Scanned::Done | Scanned::Never => {}
            }
        }
    }

    /// Answers the proxy, but for a listener that is about to be scanned.
    fn tell_if_scanned(&mut self, one: &Unscanned, now: BootTime) -> Scanned {
        let (target, ticket) = (&one.target, one.listener.ticket);
        let live = self.sessions.live(SessionId(target.session));
        let scanned = live.map_or(Scanned::Never, |session| {
            let client = ClientSession::of(session);
            self.relays.scanned(client, &asked(target), ticket, now)
        });
        match scanned {
            Scanned::Awaited => {}
            Scanned::Never => self.proxy.say(closed(one.number)),
            Scanned::Done => self.tell_first_terms(one),
        }
        scanned
    }

    fn outermost_of(&self, target: &RedirectTarget) -> Option<SessionId> {
        let session = self.sessions.live(SessionId(target.session))?;
        Some(session.outermost())
    }

    fn tell_first_terms(&mut self, one: &Unscanned) {
        let number = one.number;
        let terms = self.proxy_terms(&one.target);
        if terms.is_none() {
            self.note_shut(&one.target, one.listener.client);
        }
        // The kernel half has counted this connection on no hole; it counts the next.
        let terms = terms.filter(|terms| !matches!(terms.passing, Passing::Everything));
        self.proxy.say(told(number, terms));
    }

    /// Notes that a listener leads where the session may not go, as if the kernel half had refused it, which will refuse the next.
    fn note_shut(&mut self, target: &RedirectTarget, client: Tgid) {
        let id = SessionId(target.session);
        let (to, now) = (asked(target), clock::now());
        let key = RequestKey::new(id, to.to, to.protocol, to.port);
        let holes = self.datapath.holes().unwrap_or_default();
        let mut strictest = |holes: &[LiveHole]| {
            let (sessions, policies) = (&self.sessions, &self.policies);
            self.relays
                .strictest_upstream(sessions, policies, &key, now, holes)
        };
        let found = match strictest(&holes) {
            // It is not for the holes that it is shut: one may be counted.
            Upstreams::Judged {
                is_opened: true, ..
            } => strictest(&[]),
            found => found,
        };
        let Upstreams::Judged { key, verdict, .. } = found else {
            return;
        };
        if !matches!(verdict, Verdict::Confirm | Verdict::Deny) {
            return;
        }
        let hook = if to.to.is_v4() {
            Hook::Connect4
        } else {
            Hook::Connect6
        };
        let event = Event {
            at: now,
            count: 1,
            session: id,
            destination: key.destination,
            port: key.port,
            protocol: Protocol::TCP,
            verdict: verdict as u8,
            hook: hook as u8,
            tgid: client.0,
            pid: client.0,
            uid: u32::MAX,
            through: to.port.to_be_bytes(),
            ..Event::default()
        };
        if let Err(error) = self.note_event(&event) {
            tracing::warn!(%error, session = id.0, "a refusal cannot be noted");
        }
        // It may have made a request, and no tick need be near that would keep it.
        self.apply(Change::Requests);
    }
}

const fn closed(number: Number) -> ToProxy {
    told(number, None)
}

const fn told(number: Number, terms: Option<TargetTerms>) -> ToProxy {
    ToProxy::Terms {
        number,
        terms,
        until: None,
    }
}
