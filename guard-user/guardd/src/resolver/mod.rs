//! guardd's side of the resolver, which judges the names that sessions ask for.
//!
//! `workers` has one run and listen in network namespaces while a policy in force speaks of names (`needed.rs`). It gets what
//! policies say of names and whose sessions they are for, and tells what sessions have learned (`messages.rs`). A person is asked
//! about names in `asking.rs`, and answers in `answers.rs`. `unserved.rs` says why a question got no answer. `soon.rs` has it know of a
//! policy that is about to take another's place.
//!
//! Without a resolver, the kernel half refuses the questions of sessions whose policies speak of names.

pub mod answers;
pub mod asking;
pub mod messages;
pub mod needed;
mod refused;
pub mod soon;
mod unserved;

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
};

use guard_common::SessionId;
use guard_proto::names::{Names, Number, Pattern, ToResolver};

use self::{asking::HeldQuestions, refused::RefusedNames, soon::Soon};
use crate::{requests::Requests, workers::link::WorkerLink};

/// Owns what guardd knows about its resolver.
#[derive(Debug, Default)]
pub struct Resolver {
    link: WorkerLink<ToResolver>,
    /// Other networks may have to be served.
    needs_survey: bool,
    knows: ResolverKnows,
    /// Questions that a person is asked about.
    held: HeldQuestions,
    /// Names that sessions were not told of.
    refused: RefusedNames,
    /// How often each session was denied one.
    denied: HashMap<SessionId, u64>,
    /// Sessions that another policy is about to judge.
    soon: Vec<Soon>,
    /// How often it was asked whether it has heard everything, and which of these it has answered.
    marks: Number,
    marked: Number,
}

/// What the resolver was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct ResolverKnows {
    policies: BTreeMap<u32, NameTerms>,
    sessions: BTreeMap<u32, Whose>,
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

/// What a policy says of names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct NameTerms {
    names: Names,
    patterns: Vec<Pattern>,
    silent: bool,
    without_ech: bool,
}

/// A session's account and policies.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Whose {
    account: u32,
    policies: Vec<u32>,
    opened: Vec<String>,
}

impl Resolver {
    /// Has it told again what has changed of policies and sessions.
    pub fn renew(&mut self) {
        self.needs_survey = true;
        self.renew_holes();
    }

    /// The same of the names that are open.
    pub fn renew_holes(&mut self) {
        self.link.renew();
    }

    /// Forgets what a session was refused, and says how often it was denied a name.
    pub fn forget_refused(&mut self, session: SessionId) -> u64 {
        self.refused.forget(session);
        self.denied.remove(&session).unwrap_or_default()
    }

    fn say(&mut self, message: ToResolver) {
        self.link.say(message, Vec::new());
    }

    /// Queues what differs from what it was told.
    fn tell(&mut self, now: ResolverKnows) {
        let before = std::mem::replace(&mut self.knows, now);
        let mut messages = Vec::new();
        if (&self.knows.servers, &self.knows.search) != (&before.servers, &before.search) {
            messages.push(ToResolver::Servers {
                addresses: self.knows.servers.clone(),
                search: self.knows.search.clone(),
            });
        }
        for (slot, terms) in &self.knows.policies {
            if before.policies.get(slot) != Some(terms) {
                messages.push(ToResolver::Policy {
                    slot: *slot,
                    names: terms.names,
                    patterns: terms.patterns.clone(),
                    silent: terms.silent,
                    without_ech: terms.without_ech,
                });
            }
        }
        for (session, whose) in &self.knows.sessions {
            if before.sessions.get(session) != Some(whose) {
                messages.push(ToResolver::Session {
                    session: *session,
                    account: whose.account,
                    policies: whose.policies.clone(),
                    opened: whose.opened.clone(),
                });
            }
        }
        let ended = before.sessions.keys();
        for session in ended.filter(|id| !self.knows.sessions.contains_key(*id)) {
            messages.push(ToResolver::ForgetSession { session: *session });
        }
        let gone = before.policies.keys();
        for slot in gone.filter(|slot| !self.knows.policies.contains_key(*slot)) {
            messages.push(ToResolver::ForgetPolicy { slot: *slot });
        }
        for message in messages {
            self.say(message);
        }
    }

    /// Records that no resolver runs: no question is held, and what sessions know counts on.
    fn gone(&mut self, requests: &mut Requests) {
        self.knows = ResolverKnows::default();
        for id in self.held.take_all() {
            requests.hold(&id, None);
        }
    }
}
