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
    policies::Policies,
    relays::{ClientSession, Relays, Scanned, Upstreams},
    requests::RequestKey,
    sessions::{Session, Sessions},
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

impl Unscanned {
    /// Whether what listens there was scanned by now.
    fn scanned(&self, sessions: &Sessions, relays: &Relays, now: BootTime) -> Scanned {
        let (target, ticket) = (&self.target, self.listener.ticket);
        let live = sessions.live(SessionId(target.session));
        live.map_or(Scanned::Never, |session| {
            let client = ClientSession::of(session);
            relays.scanned(client, &asked(target), ticket, now)
        })
    }
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
            let terms = self.targets().terms(&target);
            return self.proxy.say(told(number, terms));
        };
        let session = self.sessions.live(SessionId(target.session));
        let Some(outermost) = session.map(Session::outermost) else {
            return self.proxy.say(closed(number));
        };
        // The kernel half reported the listener before it redirected, and the proxy may be read first. All else waits: whoever has many such
        // connections has nobody else wait for more.
        self.read_listeners(Some(outermost));
        let now = clock::now();
        let one = Unscanned {
            number,
            target,
            listener,
            outermost,
            until: after(now, LONGEST),
        };
        // It reports one connection to a listener each 250 milliseconds, which may have been another session's.
        if one.scanned(&self.sessions, &self.relays, now) == Scanned::Never {
            self.read_listeners(None);
        }
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
        let scanned = one.scanned(&self.sessions, &self.relays, now);
        match scanned {
            Scanned::Awaited => {}
            Scanned::Never => self.proxy.say(closed(one.number)),
            Scanned::Done => self.tell_first_terms(one),
        }
        scanned
    }

    fn tell_first_terms(&mut self, one: &Unscanned) {
        let number = one.number;
        let terms = self.targets().terms(&one.target);
        if terms.is_none() {
            self.note_shut(&one.target, one.listener.client);
        }
        // The kernel half has counted this connection on no hole; it counts the next.
        let terms = terms.filter(|terms| !matches!(terms.passing, Passing::Everything));
        self.proxy.say(told(number, terms));
    }

    /// Notes that a listener leads where the session may not go, as if the kernel half had refused it, which will refuse the next.
    fn note_shut(&mut self, target: &RedirectTarget, client: Tgid) {
        let (to, now) = (asked(target), clock::now());
        let key = RequestKey::new(SessionId(target.session), to.to, to.protocol, to.port);
        let holes = self.datapath.holes().unwrap_or_default();
        let (sessions, policies) = (&self.sessions, &self.policies);
        let shut = shut_upstream(&mut self.relays, sessions, policies, &key, now, &holes);
        let Some((upstream, verdict)) = shut else {
            return;
        };
        let event = refusal(&upstream, verdict, &to, client, now);
        if let Err(error) = self.note_event(&event) {
            tracing::warn!(%error, session = event.session.0, "a refusal cannot be noted");
        }
        // It may have made a request, and no tick need be near that would keep it.
        self.apply(Change::Requests);
    }
}

/// The upstream by which a listener is shut to a session, and the verdict on it.
fn shut_upstream(
    relays: &mut Relays,
    sessions: &Sessions,
    policies: &Policies,
    key: &RequestKey,
    now: BootTime,
    holes: &[LiveHole],
) -> Option<(RequestKey, Verdict)> {
    let mut strictest =
        |holes: &[LiveHole]| relays.strictest_upstream(sessions, policies, key, now, holes);
    let found = match strictest(holes) {
        // It is not for the holes that it is shut: one may be counted.
        Upstreams::Judged {
            is_opened: true, ..
        } => strictest(&[]),
        found => found,
    };
    match found {
        Upstreams::Judged {
            key,
            verdict: verdict @ (Verdict::Confirm | Verdict::Deny),
            ..
        } => Some((key, verdict)),
        _ => None,
    }
}

/// The event of the kernel half that has refused a client's connection to a listener for its upstream.
fn refusal(
    upstream: &RequestKey,
    verdict: Verdict,
    listener: &Connection,
    client: Tgid,
    now: BootTime,
) -> Event {
    let hook = if listener.to.is_v4() {
        Hook::Connect4
    } else {
        Hook::Connect6
    };
    Event {
        at: now,
        count: 1,
        session: upstream.session,
        destination: upstream.destination,
        port: upstream.port,
        protocol: Protocol::TCP,
        verdict: verdict as u8,
        hook: hook as u8,
        tgid: client.0,
        pid: client.0,
        uid: u32::MAX,
        through: listener.port.to_be_bytes(),
        ..Event::default()
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

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::{policies::of_texts, sessions::none_but};

    #[test]
    fn a_refusal_for_what_listens_is_about_its_upstream() {
        let to = IpAddr::from([192, 0, 2, 9]).into();
        let upstream = RequestKey::new(SessionId(1), to, Protocol::TCP, 5432);
        for (listener, hook) in [
            (IpAddr::from(Ipv4Addr::LOCALHOST), Hook::Connect4),
            (IpAddr::from(Ipv6Addr::LOCALHOST), Hook::Connect6),
        ] {
            let listener = Connection::new(listener.into(), Protocol::TCP, 15_432);
            let verdict = Verdict::Confirm;
            let event = refusal(&upstream, verdict, &listener, Tgid(7), BootTime(1));
            assert_eq!(event.session, upstream.session);
            assert_eq!((event.destination, event.port), (to, 5432));
            assert_eq!(event.through(), Some(15_432));
            assert_eq!((event.hook, event.verdict), (hook as u8, verdict as u8));
        }
    }

    #[test]
    fn what_was_not_scanned_is_shut_for_no_upstream() {
        let policies = of_texts(&["version = 1\ndefault = \"deny\"\n".to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let here = IpAddr::from(Ipv4Addr::LOCALHOST).into();
        let key = RequestKey::new(SessionId(1), here, Protocol::TCP, 15_432);
        let mut relays = Relays::default();
        let shut = shut_upstream(&mut relays, &sessions, &policies, &key, BootTime(1), &[]);
        assert!(shut.is_none());
    }
}
