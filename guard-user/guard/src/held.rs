//! While a command runs at a terminal: what of it waits for an answer, in a line each.
//!
//! The audit log is followed, not the requests: who follows those is an approver who is there, and connections would be held for one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use guard_launch::TerminalNotes;
use guard_proto::{Call, LogKind, LogRecord, Request, RequestsReply, Session};
use jiff::Timestamp;
use serde_json::Value;

use super::client::Client;
use super::error::CliError;
use super::render::requests::waits;

/// Between two looks at what waits, however much is asked.
const PAUSE: Duration = Duration::from_millis(500);
/// What is written down at one moment, and read at another.
const MOMENT: Duration = Duration::from_secs(5);

/// Says what of a session is held.
pub(super) struct HeldTeller {
    socket: PathBuf,
    session: String,
    started_at: Timestamp,
    /// Before what is to be typed.
    sudo: &'static str,
    /// By their ids.
    said: HashSet<String>,
    /// The ids of all that were seen to wait, held or not.
    seen: HashSet<String>,
}

impl HeldTeller {
    /// None inside of a session: nobody answers there. Where root has to answer, `is_roots`.
    pub(super) fn of(session: &Session, socket: &Path, is_roots: bool) -> Option<Self> {
        session.parent.is_none().then(|| Self {
            socket: socket.to_owned(),
            session: session.id.clone(),
            started_at: session.started_at,
            sudo: if is_roots { "sudo " } else { "" },
            said: HashSet::new(),
            seen: HashSet::new(),
        })
    }

    /// Goes on beside the command, on a thread of its own, and ends with this process. Without a thread nothing is said, nor once guardd
    /// has gone: who looks for it again would start one that somebody has stopped, where systemd listens for it.
    pub(super) fn begin(mut self, notes: TerminalNotes) {
        let thread = thread::Builder::new().name("guard-held".to_owned());
        let _ = thread.spawn(move || self.follow(&notes));
    }

    fn follow(&mut self, notes: &TerminalNotes) -> Result<(), CliError> {
        let ago = Timestamp::now().duration_since(self.started_at);
        let call = Call::Log {
            follow: true,
            session: None,
            since: Some(ago.as_secs_f64().max(0.0) + MOMENT.as_secs_f64()),
        };
        for record in Client::connect(&self.socket)?.stream::<LogRecord>(&call)? {
            if self.may_be_held(&record?) {
                self.look(notes)?;
            }
        }
        Ok(())
    }

    /// Whether it is worth a look: what asks often is written down more often than it is looked at, and a look behind the last record would
    /// start a guardd that has stopped.
    fn may_be_held(&self, record: &LogRecord) -> bool {
        let known = match record.kind {
            LogKind::Request => &self.seen,
            LogKind::Held => &self.said,
            _ => return false,
        };
        let request = record.fields.get("request").and_then(Value::as_str);
        let is_new = request.is_none_or(|id| !known.contains(id));
        // The id may have been another session's before a reboot.
        let is_its = record.session.as_ref() == Some(&self.session);
        is_new && is_its && record.at >= self.started_at
    }

    fn look(&mut self, notes: &TerminalNotes) -> Result<(), CliError> {
        let all: RequestsReply = Client::connect(&self.socket)?.call(&Call::Pending {})?;
        for line in self.newly_held(&all.requests) {
            notes.say(&line);
        }
        thread::sleep(PAUSE);
        Ok(())
    }

    /// A line for each that is held and was not told.
    fn newly_held(&mut self, all: &[Request]) -> Vec<String> {
        let own = all.iter().filter(|one| one.session == self.session);
        self.seen.extend(own.clone().map(|one| one.id.clone()));
        let held = own.filter(|one| one.held);
        let new = held.filter(|one| self.said.insert(one.id.clone()));
        new.map(|one| waits(one, self.sudo)).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::render::examples::{request, session};

    #[test]
    fn what_is_held_is_told_once() {
        let socket = Path::new("/run/guard/guardd.sock");
        let mut teller = HeldTeller::of(&session(), socket, false).unwrap();
        let held = Request {
            held: true,
            ..request()
        };
        let other = Request {
            session: "s2".into(),
            id: "r2".into(),
            ..held.clone()
        };
        assert_eq!(teller.newly_held(&[request(), other]), Vec::<String>::new());
        let lines = teller.newly_held(std::slice::from_ref(&held));
        insta::assert_snapshot!(lines.join("\n"), @"guard: waits for a yes to tcp 192.0.2.10:443 (photos.example.com) (request r1): guard approve r1, in another terminal");
        assert_eq!(teller.newly_held(&[held]), Vec::<String>::new());
    }

    #[test]
    fn what_is_known_is_not_looked_for_again() {
        let socket = Path::new("/run/guard/guardd.sock");
        let mut teller = HeldTeller::of(&session(), socket, false).unwrap();
        let record = |kind, of: &str| LogRecord {
            at: session().started_at,
            kind,
            session: Some(of.into()),
            fields: Map::from_iter([("request".to_owned(), "r1".into())]),
        };
        let is_worth = |teller: &HeldTeller| {
            let kinds = [LogKind::Request, LogKind::Held, LogKind::Denied];
            kinds.map(|kind| teller.may_be_held(&record(kind, &session().id)))
        };
        assert_eq!(is_worth(&teller), [true, true, false]);
        assert!(!teller.may_be_held(&record(LogKind::Held, "s9")));
        // It may come to be held.
        teller.newly_held(&[request()]);
        assert_eq!(is_worth(&teller), [false, true, false]);
        let held = Request {
            held: true,
            ..request()
        };
        teller.newly_held(&[held]);
        assert_eq!(is_worth(&teller), [false, false, false]);
    }

    #[test]
    fn root_is_told_how_root_answers_and_nobody_inside_of_a_session_is_told() {
        let socket = Path::new("/run/guard/guardd.sock");
        let inner = Session {
            parent: Some("s1".into()),
            ..session()
        };
        assert!(HeldTeller::of(&inner, socket, false).is_none());
        let teller = HeldTeller::of(&session(), socket, true).unwrap();
        assert_eq!(teller.sudo, "sudo ");
        assert!(teller.said.is_empty());
    }
}
