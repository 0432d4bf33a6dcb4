//! The kernel half's events.
//!
//! `State::read_events` takes each event out of the ring buffer, and handles them in turn (`turns.rs`). What
//! is about another program's listener waits until `listeners` has identified that. A refusal is judged again, by the policies of now (`refusals.rs`), and becomes a `denied` record, a request as well where a
//! hole could allow it (`drafts.rs`), or nothing. A connection that is held goes to `holds/review.rs`, which asks too.

use std::time::{Duration, Instant};

use guard_common::{Cause, Event, Hook, SessionId};
use guard_datapath::KernelEvent;

use crate::{
    changes::Change,
    control::failure::CallError,
    proxy::worker::ProxyWorker,
    record::Recorder,
    requests::{
        Noted,
        drafts::AskersWords,
        refusals::{Handling, RefusalLog, key},
        turns::Wanted,
    },
    sessions::Sessions,
    state::State,
};

/// Why a connection to the guard's own proxy is refused.
const OWN_PROXY: &str = "guard's own proxy listens there, for what guard redirects to it alone: connect to the destination itself";

/// In the place of a session, of what is in none.
const NO_SESSION: SessionId = SessionId(0);

/// For how long events are handled before others get their turn; before a call is answered; before a session ends; and before guardd stops.
const TURN: Duration = Duration::from_millis(20);
const BEFORE_A_CALL: Duration = Duration::from_millis(200);
const BEFORE_AN_END: Duration = Duration::from_secs(1);
const BEFORE_THE_STOP: Duration = Duration::from_secs(3);

/// Whether that was a UDP socket refused at `connect`, which sends nothing: so the C library sorts the addresses of a name (RFC 6724).
fn sends_nothing(event: &Event) -> bool {
    Cause::from_u8(event.cause) == Cause::NothingSent
}

impl State {
    /// Handles the events that there are. Where sessions cause more than can be handled soon, each has had its turns, and the rest waits.
    pub(crate) fn read_events(&mut self) {
        self.read_events_for(Wanted::All, BEFORE_A_CALL);
    }

    /// Handles those of a session that is about to end, and of those around and inside it.
    pub(crate) fn read_events_of(&mut self, session: SessionId) {
        let outermost = self.sessions.outermost_of(session);
        self.read_events_for(Wanted::Of(outermost), BEFORE_AN_END);
        // What it was refused at other programs' listeners is asked about, though these are not known yet.
        for event in self.listeners.take_refusals(session) {
            if let Err(error) = self.note_request(&event) {
                tracing::warn!(%error, session = session.0, "a refusal cannot be asked about");
            }
        }
    }

    /// Handles events for a short while. False where there are more: sessions may cause events without end, and others wait for guardd.
    pub(crate) fn read_some_events(&mut self) -> bool {
        self.read_events_for(Wanted::All, TURN)
    }

    /// Handles those that guardd has taken out of the ring buffer, which the next guardd would not find there.
    pub(crate) fn read_last_events(&mut self) {
        if self.read_events_for(Wanted::All, BEFORE_THE_STOP) {
            return;
        }
        while let Some(left_out) = self.next_event(Wanted::All) {
            note_left_out(&self.sessions, &mut self.recorder, &left_out);
        }
    }

    /// Handles those events for no longer than that. False where there may be more.
    fn read_events_for(&mut self, wanted: Wanted, longest: Duration) -> bool {
        let before = self.requests.version();
        let end = Instant::now() + longest;
        let mut is_empty = false;
        while !is_empty && Instant::now() < end {
            match self.next_event(wanted) {
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

    /// The next of those events.
    fn next_event(&mut self, wanted: Wanted) -> Option<KernelEvent> {
        let (sessions, recorder) = (&self.sessions, &mut self.recorder);
        let left_out = |event| note_left_out(sessions, recorder, &event);
        self.events.next(wanted, sessions, left_out)
    }

    /// Handles one about a connection.
    pub(crate) fn note_event(&mut self, event: &Event) -> Result<(), CallError> {
        // A refusal is written at once, and its request waits. What is held waits as a whole.
        if event.held != 0 && self.listeners.event_waits(event) {
            return Ok(());
        }
        // To port 0 no program wants to go.
        if sends_nothing(event) && event.port == 0 {
            return Ok(());
        }
        if let Some(why) = self.requests.note_refused_socket(event) {
            self.note_refusal(event, Some(event.session), Some(why));
            return Ok(());
        }
        if event.hook == Hook::Egress as u8 {
            self.end_spent_holes(Some(event.session));
        }
        let Some(session) = self.sessions.live(event.session) else {
            self.note_refusal(event, None, None);
            return Ok(());
        };
        let (kernel, subject) = (&self.datapath, session.subject());
        self.policies
            .recall_names(kernel, subject, event.destination)?;
        self.requests
            .note_decided(&self.sessions, &self.policies, event);
        if event.held != 0 {
            // It may have to be ended, whatever becomes of the event.
            self.holds.review_soon(event);
        }
        let is_aftermath = || self.holes.is_aftermath(event);
        let handling = self.attempts().handling(event, is_aftermath);
        self.handle(event, handling)
    }

    /// Does what becomes of a refusal.
    fn handle(&mut self, event: &Event, handling: Handling) -> Result<(), CallError> {
        let (session, process) = (event.session, event.tgid);
        match handling {
            Handling::Outdated => {}
            Handling::OwnProxy => {
                self.note_refusal(event, Some(session), Some(OWN_PROXY.to_owned()));
            }
            Handling::Held => self.note_held(event)?,
            Handling::Denied => self.note_refusal(event, Some(session), None),
            Handling::Aftermath => {
                self.holds.expect(event);
                self.note_refusal(event, Some(session), None);
            }
            Handling::Nameless => {
                if event.hook != Hook::Hello as u8 {
                    self.notice_network::<ProxyWorker>(session, process);
                }
                self.note_refusal(event, Some(session), None);
            }
            Handling::Unresolved => {
                let why = self.why_unserved(session, process);
                self.note_refusal(event, Some(session), Some(why));
            }
            Handling::Direct => {
                let is_new = self.notice_network::<ProxyWorker>(session, process);
                if is_new || !self.proxy.is_up() {
                    self.note_refusal(event, Some(session), None)
                } else {
                    self.handle(event, Handling::Asked)?
                }
            }
            Handling::Asked => {
                self.holds.expect(event);
                self.note_refusal(event, Some(session), None);
                if !self.listeners.event_waits(event) {
                    self.note_request(event)?;
                }
            }
        }
        Ok(())
    }

    /// Makes a request for a refusal, unless there is one.
    pub(crate) fn note_request(&mut self, event: &Event) -> Result<(), CallError> {
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

    /// Writes a refusal to the audit log; `why` where no policy refuses it.
    fn note_refusal(&mut self, event: &Event, session: Option<SessionId>, why: Option<String>) {
        let mut log = RefusalLog {
            sessions: &self.sessions,
            policies: &self.policies,
            machine: &self.machine,
            recorder: &mut self.recorder,
        };
        let listener = self.listeners.shown(&event.destination);
        log.write(event, session, why, listener);
    }
}

/// Counts an event that is not handled as a record that is lacking.
fn note_left_out(sessions: &Sessions, recorder: &mut Recorder, event: &KernelEvent) {
    let session = match event {
        // Of one that is forgotten no record would ever say so.
        KernelEvent::Connection(event) => {
            let is_kept = event.session == NO_SESSION || sessions.get(event.session).is_some();
            is_kept.then_some(event.session)
        }
        KernelEvent::Other(event) => sessions
            .of_cgroup(event.cgroup)
            .map(|session| session.cgroup.id),
    };
    if let Some(session) = session {
        recorder.note_left_out(session, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{record, sessions::none_but};

    #[test]
    fn an_event_of_a_forgotten_session_is_no_record_that_it_lacks() {
        let (mut recorder, _dir) = record::recorder();
        let sessions = none_but(&[(1, None)]);
        let left_out = [NO_SESSION, SessionId(1), SessionId(2)].map(|session| {
            let event = KernelEvent::Connection(Event {
                hook: Hook::Connect4 as u8,
                session,
                ..Event::default()
            });
            note_left_out(&sessions, &mut recorder, &event);
            recorder.left_out(session)
        });
        assert_eq!(left_out, [1, 1, 0]);
    }
}
