//! While a command runs at a terminal: what of it waits for an answer or was refused as nobody watches, in a line each.
//!
//! The call is not that of an approver who follows requests: connections would be held for one.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::thread;

use guard_launch::TerminalNotes;
use guard_proto::{Call, Request, RequestsReply, Session};

use super::client::Client;
use super::error::CliError;
use super::render::requests::waits;

/// Says what a session asks for.
pub(super) struct HeldTeller {
    socket: PathBuf,
    session: String,
    /// Before what is to be typed.
    sudo: &'static str,
    /// By their ids, and whether they were held: a program that gives up soon and tries again is reported once.
    said: HashSet<(String, bool)>,
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
            for line in self.newly_asked(&held?.requests) {
                notes.say(&line);
            }
        }
        Ok(())
    }

    /// A line for each that was not reported.
    fn newly_asked(&mut self, all: &[Request]) -> Vec<String> {
        let own = all.iter().filter(|one| one.session == self.session);
        let new = own.filter(|one| {
            let has_waited = self.said.contains(&(one.id.clone(), true));
            !has_waited && self.said.insert((one.id.clone(), one.held))
        });
        new.map(|one| waits(one, self.sudo)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::examples::{request, session};

    #[test]
    fn what_is_held_or_was_refused_is_told_once() {
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
        let refused = Request {
            id: "r3".into(),
            note: None,
            ..request()
        };
        assert_eq!(teller.newly_asked(&[other]), Vec::<String>::new());
        let lines = teller.newly_asked(std::slice::from_ref(&refused));
        insta::assert_snapshot!(lines.join("\n"), @"guard: stopped, as nobody watches: tcp 192.0.2.10:443 (photos.example.com) (request r3): guard watch, in another terminal");
        let lines = teller.newly_asked(&[held.clone(), refused]);
        insta::assert_snapshot!(lines.join("\n"), @"guard: waits for a yes to tcp 192.0.2.10:443 (photos.example.com) (request r1): guard watch, in another terminal");
        assert_eq!(teller.newly_asked(&[held]), Vec::<String>::new());
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
