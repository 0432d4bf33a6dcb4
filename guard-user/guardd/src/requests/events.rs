//! The kernel half's events.
//!
//! `State::read_events` takes each event out of the ring buffer, and handles them in turn (`turns.rs`). A listener or a dial goes to `relays`. A refusal is judged again, by
//! the policies of now (`verdict_on`), and becomes a `denied` record, a request as well where a hole could allow it
//! (`drafts.rs`), or nothing. A connection that is held goes to `holds/review.rs`, which asks too.

use std::time::{Duration, Instant};

use guard_common::{BootTime, Cause, Event, Hook, Protocol, SessionId, Verdict};
use guard_datapath::KernelEvent;
use guard_policy::protocol_name;
use guard_proto::record::{Denied, Field, RecordedDestination};

use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    policies::NameAsker,
    process::SeenProcess,
    proxy::worker::ProxyWorker,
    record::{Recorder, audit::LogEntry, meters::AdmittedRecord},
    requests::{
        Noted, RequestKey,
        attempts::{AttemptJudge, verdict_at_listener},
        decided::counted_as,
        drafts::AskersWords,
        refused_sockets::{self, SocketRefusals},
        turns::{self, Causer},
    },
    sessions::Sessions,
    state::State,
};

/// Why a connection is refused, or one that was held ends, for which holes are open: its socket does not remember them all.
pub(crate) const MANY_BUDGETS: &str = "more than two of the holes that it needs have a budget, or two of them one of bytes: open one without";

/// Why a connection to the guard's own proxy is refused.
const OWN_PROXY: &str = "guard's own proxy listens there, for what guard redirects to it alone: connect to the destination itself";

/// For how long events are handled before others get their turn; before a call is answered; before a session ends; and before guardd stops.
const TURN: Duration = Duration::from_millis(20);
const BEFORE_A_CALL: Duration = Duration::from_millis(200);
const BEFORE_AN_END: Duration = Duration::from_secs(1);
const BEFORE_THE_STOP: Duration = Duration::from_secs(3);

/// Whether that was a UDP socket refused at `connect`, which sends nothing: so the C library sorts the addresses of a name (RFC 6724).
fn sends_nothing(event: &Event) -> bool {
    Cause::from_u8(event.cause) == Cause::NothingSent
}

/// Whether more of the holes that let it pass have a budget than a socket remembers.
fn has_many_budgets(event: &Event) -> bool {
    Cause::from_u8(event.cause) == Cause::ManyBudgets
}

/// Whether it asked for the guard's own proxy.
fn is_own_proxy(event: &Event) -> bool {
    Cause::from_u8(event.cause) == Cause::OwnProxy
}

/// What becomes of a refusal, by the verdict of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handling {
    /// Nothing: it was refused under a policy that has been replaced since.
    Outdated,
    /// A record: holes let it pass, of which too many have a budget.
    ManyBudgets,
    /// A record: the guard's own proxy listens there, and no hole helps.
    OwnProxy,
    /// The connection is held, and an approver is asked.
    Held,
    /// A record: no hole could allow it.
    Denied,
    /// A record: it is what a connection still sends whose hole has just ended, and nobody has tried it again.
    Aftermath,
    /// A record: TLS has to show a name there, and the proxy looks at the next connection from that network, if it can.
    Nameless,
    /// A record that says why the resolver did not get the question.
    Unresolved,
    /// It could have been redirected to the proxy, and was not. Where no proxy runs, or it serves that network only from now on: a record,
    /// and the next one may be. Else as [`Self::Asked`].
    Direct,
    /// A record, and a request.
    Asked,
}

impl State {
    /// Whether a session may cause a record now, and what that says of others.
    pub(crate) fn admit(&mut self, session: SessionId, now: BootTime) -> Option<AdmittedRecord> {
        self.sessions.admit(&mut self.recorder, session, now)
    }

    /// What judges attempts.
    pub(crate) fn attempts(&self) -> AttemptJudge<'_> {
        AttemptJudge {
            sessions: &self.sessions,
            policies: &self.policies,
        }
    }

    /// Handles the events that there are. Where sessions cause more than can be handled soon, each has had its turns, and the rest waits.
    pub(crate) fn read_events(&mut self) {
        self.read_events_for(None, BEFORE_A_CALL);
    }

    /// Handles those of a session that is about to end, and of those around and inside it.
    pub(crate) fn read_events_of(&mut self, session: SessionId) {
        let outermost = self.sessions.outermost_of(session);
        self.read_events_for(Some(Causer::Refused(outermost)), BEFORE_AN_END);
    }

    /// Handles events for a short while. False where there are more: sessions may cause events without end, and others wait for guardd.
    pub(crate) fn read_some_events(&mut self) -> bool {
        self.read_events_for(None, TURN)
    }

    /// Handles those that guardd has taken out of the ring buffer, which the next guardd would not find there.
    pub(crate) fn read_last_events(&mut self) {
        if self.read_events_for(None, BEFORE_THE_STOP) {
            return;
        }
        while let Some(left_out) = self.next_event(None) {
            note_left_out(&self.sessions, &mut self.recorder, &left_out);
        }
    }

    /// Handles events, `of` one causer or of all, for no longer than that. False where there may be more.
    fn read_events_for(&mut self, of: Option<Causer>, longest: Duration) -> bool {
        let before = self.requests.version();
        let end = Instant::now() + longest;
        let mut is_empty = false;
        while !is_empty && Instant::now() < end {
            match self.next_event(of) {
                Some(KernelEvent::Connection(event)) => {
                    if let Err(error) = self.note_event(&event) {
                        tracing::warn!(%error, session = event.session.0, "a refusal cannot be noted");
                    }
                }
                Some(KernelEvent::Other(event)) => {
                    let (machine, sessions) = (&self.machine, &self.sessions);
                    let recorder = &mut self.recorder;
                    (self.sockets).record_stop(machine, sessions, recorder, &event);
                }
                None => is_empty = true,
            }
        }
        if self.requests.version() != before {
            self.apply(Change::Requests);
        }
        // The ring buffer tells nobody of those that were taken out of it.
        self.events.stir_if_some_wait();
        is_empty
    }

    /// The next event.
    fn next_event(&mut self, of: Option<Causer>) -> Option<KernelEvent> {
        let (sessions, recorder) = (&self.sessions, &mut self.recorder);
        let left_out = |event| note_left_out(sessions, recorder, &event);
        self.events.next(of, sessions, left_out)
    }

    /// Handles one about a connection.
    pub(crate) fn note_event(&mut self, event: &Event) -> Result<(), CallError> {
        // To port 0 no program wants to go.
        if self.note_of_listener(event)
            || (sends_nothing(event) && event.port == 0)
            || self.note_refused_socket(event)
        {
            return Ok(());
        }
        self.relays.note_tried(event);
        if event.hook == Hook::Egress as u8 {
            self.end_spent_holes(Some(event.session));
        }
        let Some(session) = self.sessions.live(event.session) else {
            self.note_denial(event, None);
            return Ok(());
        };
        let (kernel, subject) = (&self.datapath, session.subject());
        self.policies
            .recall_names(kernel, subject, event.destination)?;
        self.requests
            .note_decided(&self.sessions, &self.policies, event);
        self.handle(event, self.handling(event))
    }

    /// What becomes of a refusal.
    fn handling(&self, event: &Event) -> Handling {
        let is_tcp = event.protocol == Protocol::TCP;
        match self.verdict_on(event) {
            _ if is_own_proxy(event) => Handling::OwnProxy,
            Some(Verdict::Confirm | Verdict::ReadOnly) if self.holes.is_aftermath(event) => {
                Handling::Aftermath
            }
            Some(Verdict::Confirm | Verdict::ReadOnly) if has_many_budgets(event) => {
                Handling::ManyBudgets
            }
            Some(Verdict::Confirm) if event.held != 0 => Handling::Held,
            Some(Verdict::Allow) if self.attempts().sni_rule(event).is_some() => Handling::Nameless,
            Some(Verdict::Allow) if self.attempts().is_question(event) => Handling::Unresolved,
            Some(Verdict::Allow) => Handling::Outdated,
            Some(_) if is_socket(event) => Handling::Denied,
            Some(Verdict::ReadOnly) if is_tcp => Handling::Direct,
            Some(Verdict::Confirm | Verdict::ReadOnly) => Handling::Asked,
            Some(Verdict::Deny) | None => Handling::Denied,
        }
    }

    fn handle(&mut self, event: &Event, handling: Handling) -> Result<(), CallError> {
        let (session, process) = (event.session, event.tgid);
        match handling {
            Handling::Outdated => {}
            Handling::ManyBudgets => {
                self.note_refusal(event, Some(session), Some(MANY_BUDGETS.to_owned()));
            }
            Handling::OwnProxy => {
                self.note_refusal(event, Some(session), Some(OWN_PROXY.to_owned()));
            }
            Handling::Held => self.note_held(event)?,
            Handling::Denied => self.note_denial(event, Some(session)),
            Handling::Aftermath => {
                self.holds.expect(event);
                self.note_denial(event, Some(session));
            }
            Handling::Nameless => {
                if event.hook != Hook::Hello as u8 {
                    self.notice_network::<ProxyWorker>(session, process);
                }
                self.note_denial(event, Some(session));
            }
            Handling::Unresolved => {
                let why = self.why_unserved(session, process);
                self.note_refusal(event, Some(session), Some(why));
            }
            Handling::Direct => {
                let is_new = self.notice_network::<ProxyWorker>(session, process);
                if is_new || !self.proxy.is_up() {
                    self.note_denial(event, Some(session))
                } else {
                    self.handle(event, Handling::Asked)?
                }
            }
            Handling::Asked => {
                self.holds.expect(event);
                self.note_denial(event, Some(session));
                self.note_request(event)?;
            }
        }
        Ok(())
    }

    /// Notes a socket that is refused for how it was connected. False: it is about something else.
    fn note_refused_socket(&mut self, event: &Event) -> bool {
        let Some(why) = refused_sockets::cause(event) else {
            return false;
        };
        let to = key(event);
        let socket = SocketRefusals { to, why };
        self.requests
            .refused_sockets
            .note(event.session, socket, (), event.at);
        let why = format!("{why}: open a new socket");
        self.note_refusal(event, Some(event.session), Some(why));
        true
    }

    /// Notes a listener that is to be scanned, or what one's processes connect to. False: it is about something else.
    fn note_of_listener(&mut self, event: &Event) -> bool {
        let (kernel, sessions) = (&mut self.datapath, &self.sessions);
        let noted = if event.hook == Hook::Listener as u8 {
            self.relays.note_listener(kernel, sessions, event)
        } else if turns::is_dial(event.hook) {
            (self.relays).note_dial(kernel, sessions, &self.policies, event)
        } else {
            return false;
        };
        if let Some(change) = noted {
            self.apply(change);
        }
        true
    }

    /// The verdict of the session's policies on the event now. If a hole for reads had it redirected, that is `read-only`.
    fn verdict_on(&self, event: &Event) -> Option<Verdict> {
        let (key, judged) = (key(event), self.attempts().judge(event)?.verdict);
        let verdict = verdict_at_listener(&key, judged, self.relays.tried_through(&key));
        match (verdict, Verdict::from_u8(event.verdict)) {
            (Verdict::Confirm, by_hole @ Verdict::ReadOnly) => Some(by_hole),
            _ => Some(verdict),
        }
    }

    /// Makes a request for a refusal, unless there is one.
    fn note_request(&mut self, event: &Event) -> Result<(), CallError> {
        let live = self.sessions.live(event.session);
        let asker = self.machine.asker_behind(live, event);
        let noted = self.ask(key(event), event.at, asker, AskersWords::default())?;
        if noted == Noted::Full {
            tracing::warn!(
                session = event.session.0,
                "too many requests wait, or were refused"
            );
        }
        Ok(())
    }

    /// Writes a refusal to the audit log, as a `denied` record.
    fn note_denial(&mut self, event: &Event, session: Option<SessionId>) {
        self.note_refusal(event, session, None);
    }

    /// The same; `why` where no policy refuses it.
    fn note_refusal(&mut self, event: &Event, session: Option<SessionId>, why: Option<String>) {
        let Some(admitted) = self.admit(event.session, event.at) else {
            return;
        };
        let judged = self.attempts().judge(event);
        let by = self.attempts().refused_by(event, judged, why);
        let host = judged.and_then(|judged| {
            let policies = &self.policies;
            policies.host_of(event.session, event.destination, &judged)
        });
        let live = session.and_then(|id| self.sessions.live(id));
        let seen = (self.machine).process_behind(self.sessions.live(event.session), event);
        let SeenProcess { pid, process } = seen;
        let who = NameAsker::of(pid, process.comm.as_deref());
        let answered = || {
            let policies = &self.policies;
            policies.answered_to(event.session, event.destination, &who)
        };
        let host = host.or_else(answered);
        let hook = Hook::from_u8(event.hook).map_or("unknown", Hook::as_str);
        let record = Denied {
            cgroup: live.map_or(event.cgroup.into(), |_| Field::Absent),
            destination: destination(event, host).into(),
            rule: by.rule.into(),
            policy: by.policy.map_or(Field::Absent, Into::into),
            verdict: Verdict::from_u8(event.verdict).as_str().into(),
            through: self.relays.tried_through(&key(event)).cloned().into(),
            hook: hook.into(),
            why: by.why.map_or(Field::Absent, Into::into),
            count: event.count.into(),
            pid: pid.into(),
            comm: process.comm.into(),
            exe: process.exe.into(),
            tcp: self
                .attempts()
                .passes_by_tcp(&counted_as(event))
                .map_or(Field::Absent, |verdict| verdict.as_str().into()),
            ..Denied::default()
        };
        let entry = match live {
            Some(live) => LogEntry::of(ids::session(live.cgroup.id), live.about.uid, record),
            None => record.into(),
        };
        self.recorder.note(entry.admitted(admitted));
    }
}

/// Counts an event that is not handled as a record that is lacking. The kernel half reports a listener again when somebody connects.
fn note_left_out(sessions: &Sessions, recorder: &mut Recorder, event: &KernelEvent) {
    let session = match event {
        KernelEvent::Connection(event) if event.hook == Hook::Listener as u8 => None,
        KernelEvent::Connection(event) => Some(event.session),
        KernelEvent::Other(event) => sessions
            .of_cgroup(event.cgroup)
            .map(|session| session.cgroup.id),
    };
    if let Some(session) = session {
        recorder.note_left_out(session, 1);
    }
}

/// Whether it is a `socket` call, which has no destination that a hole could allow.
fn is_socket(event: &Event) -> bool {
    event.hook == Hook::SockCreate as u8
}

fn key(event: &Event) -> RequestKey {
    RequestKey::new(event.session, event.destination, event.protocol, event.port)
}

fn destination(event: &Event, host: Option<String>) -> RecordedDestination {
    if is_socket(event) {
        RecordedDestination::Socket {
            protocol: protocol_name(event.protocol),
            socket_type: event.socket_type.into(),
        }
    } else {
        RecordedDestination::Endpoint(key(event).endpoint(host))
    }
}
