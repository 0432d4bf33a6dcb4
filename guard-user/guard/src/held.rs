//! While a command runs at a terminal: what of it waits for an answer, in a line each.
//!
//! What is held is followed, not the requests: who follows those is an approver who is there, and connections would be held for one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread;

use guard_launch::TerminalNotes;
use guard_proto::{Call, Request, RequestsReply, Session};

use super::client::Client;
use super::error::CliError;
use super::render::requests::waits;

/// Says what of a session is held.
pub(super) struct HeldTeller {
    socket: PathBuf,
    session: String,
    /// Before what is to be typed.
    sudo: &'static str,
    /// By their ids: a program that gives up soon and tries again is reported once.
    said: HashSet<String>,
}

impl HeldTeller {
    /// None inside of a session: nobody answers there. Where root has to answer, `is_roots`.
    pub(super) fn of(session: &Session, socket: &Path, is_roots: bool) -> Option<Self> {
        session.parent.is_none().then(|| Self {
            socket: socket.to_owned(),
            session: session.id.clone(),
            sudo: if is_roots { "sudo " } else { "" },
            said: HashSet::new(),
        })
    }

    /// Goes on beside the command, on a thread of its own, and ends with this process. Without a thread nothing is said, nor once guardd
    /// has gone: who looks for it again would start one that somebody has stopped, where systemd listens for it.
    pub(super) fn begin(mut self, notes: TerminalNotes) {
        let thread = thread::Builder::new().name("guard-held".to_owned());
        let _ = thread.spawn(move || self.follow(&notes));
    }

    fn follow(&mut self, notes: &TerminalNotes) -> Result<(), CliError> {
        let call = Call::Held {
            session: self.session.clone(),
        };
        for held in Client::connect(&self.socket)?.stream::<RequestsReply>(&call)? {
            for line in self.newly_held(&held?.requests) {
                notes.say(&line);
            }
        }
        Ok(())
    }

    /// A line for each that is held and was not reported.
    fn newly_held(&mut self, all: &[Request]) -> Vec<String> {
        let own = all.iter().filter(|one| one.session == self.session);
        let held = own.filter(|one| one.held);
        let new = held.filter(|one| self.said.insert(one.id.clone()));
        new.map(|one| waits(one, self.sudo)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples::{request, session};

    /// Whatever came of it before: what was refused tries again.
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
        insta::assert_snapshot!(lines.join("\n"), @"guard: waits for a yes to tcp 192.0.2.10:443 (photos.example.com) (request r1): guard watch, in another terminal");
        assert_eq!(teller.newly_held(&[held]), Vec::<String>::new());
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
