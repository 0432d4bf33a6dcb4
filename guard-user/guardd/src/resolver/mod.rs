//! guardd's side of the resolver, which judges the names that sessions ask for.
//!
//! `workers` has one run while a policy in force speaks of names (`needed.rs`). `link.rs` is the connection to it: it gets what
//! policies say of names and whose sessions they are for, and tells what sessions have learned. A person is asked about names in
//! `asking.rs`, and answers in `answers.rs`. `serving.rs` and `sockets.rs` have
//! it listen in network namespaces.
//!
//! Without a resolver, the kernel half refuses the questions of sessions whose policies speak of names.

pub mod answers;
pub mod asking;
pub mod link;
pub mod needed;
mod refused;
pub mod serving;
pub mod sockets;

use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    os::fd::OwnedFd,
    rc::Rc,
};

use guard_common::SessionId;
use guard_datapath::Datapath;
use guard_proto::names::{Names, Pattern, ToResolver};
use tokio::sync::Notify;

use self::{asking::HeldQuestions, refused::RefusedNames};
use crate::{proxy::networks::Networks, requests::Requests};

/// A message on its way to the resolver.
#[derive(Debug)]
pub struct Outgoing {
    /// The message.
    pub message: ToResolver,
    /// The descriptors that go with it.
    pub descriptors: Vec<OwnedFd>,
}

/// Owns what guardd knows about its resolver.
#[derive(Debug, Default)]
pub struct Resolver {
    /// Whether a resolver runs and is connected.
    is_up: bool,
    /// Why none does, where that is known.
    problem: Option<String>,
    /// Messages that are not sent yet.
    unsaid: VecDeque<Outgoing>,
    /// What it knows of policies and sessions may be old.
    is_stale: bool,
    /// Other networks may have to be served.
    needs_survey: bool,
    /// There is something to say, or it is needed or not needed any more.
    stir: Rc<Notify>,
    networks: Networks,
    told: Told,
    /// Questions that a person is asked about.
    held: HeldQuestions,
    /// Names that sessions were not told of.
    refused: RefusedNames,
}

/// What the resolver was told.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    policies: BTreeMap<u32, Terms>,
    sessions: BTreeMap<u32, Whose>,
    servers: Vec<IpAddr>,
    search: Vec<String>,
}

/// What a policy says of names.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Terms {
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
    /// Notified when there is something to say, or when it may be needed or not needed any more.
    #[must_use]
    pub fn stirs(&self) -> Rc<Notify> {
        Rc::clone(&self.stir)
    }

    /// Has it told again what has changed of policies and sessions.
    pub fn renew(&mut self) {
        self.needs_survey = true;
        self.renew_holes();
    }

    /// The same of the names that are open.
    pub fn renew_holes(&mut self) {
        self.is_stale = true;
        self.stir.notify_one();
    }

    /// Whether it runs and has been sent all there is to say.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_up && !self.is_stale && self.unsaid.is_empty()
    }

    /// Forgets what a session was refused.
    pub fn forget_refused(&mut self, session: SessionId) {
        self.refused.forget(session);
    }

    /// Queues a message, if one runs.
    fn say(&mut self, message: ToResolver, descriptors: Vec<OwnedFd>) {
        if self.is_up {
            self.unsaid.push_back(Outgoing {
                message,
                descriptors,
            });
            self.stir.notify_one();
        }
    }

    /// Queues what differs from what it was told.
    fn tell(&mut self, now: Told) {
        let before = std::mem::replace(&mut self.told, now);
        let mut messages = Vec::new();
        if (&self.told.servers, &self.told.search) != (&before.servers, &before.search) {
            messages.push(ToResolver::Servers {
                addresses: self.told.servers.clone(),
                search: self.told.search.clone(),
            });
        }
        for (slot, terms) in &self.told.policies {
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
        for (session, whose) in &self.told.sessions {
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
        for session in ended.filter(|id| !self.told.sessions.contains_key(*id)) {
            messages.push(ToResolver::ForgetSession { session: *session });
        }
        let gone = before.policies.keys();
        for slot in gone.filter(|slot| !self.told.policies.contains_key(*slot)) {
            messages.push(ToResolver::ForgetPolicy { slot: *slot });
        }
        for message in messages {
            self.say(message, Vec::new());
        }
    }

    /// Records that no resolver runs: questions are refused, none is held, and what sessions know counts on.
    pub fn down(
        &mut self,
        kernel: &mut Datapath,
        requests: &mut Requests,
        problem: Option<String>,
    ) {
        self.is_up = false;
        self.unsaid.clear();
        self.problem = problem;
        self.told = Told::default();
        for id in self.held.take_all() {
            requests.hold(&id, None);
        }
        for cookie in self.networks.take_all() {
            serving::close_questions(kernel, cookie);
        }
    }
}
