//! guardd's side of the resolver, which judges the names that sessions ask for.
//!
//! `workers` has one run and listen in network namespaces while a policy in force speaks of names (`worker.rs`). It gets what
//! policies say of names and whose sessions they are for, and tells what sessions have learned (`messages.rs`). A person is asked
//! about names in `held_questions.rs`, and says yes in `approve.rs`. `unserved.rs` says why a question got no answer. `soon.rs` has
//! it know of a policy that is about to take another's place.
//!
//! Without a resolver, the kernel half refuses the questions of sessions whose policies speak of names.

mod approve;
pub(crate) mod held_questions;
mod messages;
pub(crate) mod refused;
pub(crate) mod soon;
mod unserved;
pub(crate) mod worker;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    net::IpAddr,
};

use guard_common::{PolicyId, SessionId};
use guard_proto::names::{Names, Number, OnLink, Pattern, ToResolver};

use self::{
    held_questions::HeldQuestions,
    refused::{MoreNames, RefusedNames},
    soon::Soon,
};
use crate::{requests::Requests, workers::link::WorkerLink};

/// Owns what guardd knows about its resolver.
#[derive(Debug, Default)]
pub(crate) struct Resolver {
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
    /// How many of these names, and of those not answered, each has that were not reported one by one.
    more: HashMap<SessionId, MoreNames>,
    /// Sessions with sockets that may be connected to this resolver.
    redirected: HashSet<SessionId>,
    /// Sessions that another policy is about to judge.
    soon: Vec<Soon>,
    /// What the version of a policy says that is about to take its place in its slot.
    ahead: BTreeMap<PolicyId, NameTerms>,
    /// How often it was asked whether it has heard everything, and which of these it has answered.
    marks: Number,
    marked: Number,
}

/// What was sent to the resolver.
#[derive(Debug, Default, PartialEq, Eq)]
struct ResolverKnows {
    policies: BTreeMap<u32, NameTerms>,
    sessions: BTreeMap<u32, Whose>,
    /// All sessions of which something may be in the kernel: these, and those that have ended a moment ago.
    there: BTreeSet<u32>,
    servers: Vec<IpAddr>,
    search: Vec<String>,
    links: Vec<OnLink>,
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
    /// Has what changed of policies and sessions sent to it again.
    pub(crate) fn renew(&mut self) {
        self.needs_survey = true;
        self.renew_names();
    }

    /// The same where that means no other networks: of names that are open, and of what sessions knew that are gone.
    pub(crate) fn renew_names(&mut self) {
        self.link.renew();
    }

    /// Forgets what a session was refused, and says how often it was denied a name.
    pub(crate) fn forget_refused(&mut self, session: SessionId) -> u64 {
        self.refused.forget(session);
        self.more.remove(&session);
        self.denied.remove(&session).unwrap_or_default()
    }

    fn say(&mut self, message: ToResolver) {
        self.link.say(message, Vec::new());
    }

    /// Queues what differs from what was sent to it.
    fn tell(&mut self, now: ResolverKnows) {
        let before = std::mem::replace(&mut self.knows, now);
        let mut messages = Vec::new();
        let is_same = self.knows.servers == before.servers
            && self.knows.search == before.search
            && self.knows.links == before.links;
        if !is_same {
            messages.push(ToResolver::Servers {
                addresses: self.knows.servers.clone(),
                search: self.knows.search.clone(),
                links: self.knows.links.clone(),
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
        for session in before.there.difference(&self.knows.there) {
            messages.push(ToResolver::ForgetNames { session: *session });
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
        // What they send goes to nobody: the next one has another port.
        self.redirected.clear();
        for id in self.held.take_all() {
            requests.show_held_until(&id, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use guard_common::BootTime;
    use jiff::Timestamp;

    use super::*;
    use crate::{
        quota::Account,
        requests::{RequestKey, tests::shown},
        resolver::{
            held_questions::{HeldQuestion, NameQuestion},
            refused::NameRefusal,
        },
    };

    const SESSION: SessionId = SessionId(7);

    fn question() -> NameQuestion {
        NameQuestion {
            session: SESSION,
            tgid: guard_proto::names::Tgid(0),
            name: "db.example.com".to_owned(),
            kind: "A".to_owned(),
            server: IpAddr::from([192, 0, 2, 53]),
        }
    }

    fn connected() -> Resolver {
        let mut resolver = Resolver::default();
        resolver.link.up();
        resolver
    }

    fn knows(opened: &[&str]) -> ResolverKnows {
        let terms = NameTerms {
            names: Names::Ask,
            patterns: Vec::new(),
            silent: false,
            without_ech: false,
        };
        let whose = Whose {
            account: 7,
            policies: vec![3],
            opened: opened.iter().map(|name| (*name).to_owned()).collect(),
        };
        ResolverKnows {
            policies: BTreeMap::from([(3, terms)]),
            sessions: BTreeMap::from([(SESSION.0, whose)]),
            there: BTreeSet::from([SESSION.0]),
            servers: vec![IpAddr::from([192, 0, 2, 53])],
            search: Vec::new(),
            links: Vec::new(),
        }
    }

    /// What it has been told since this was asked last, in short.
    fn said(resolver: &mut Resolver) -> Vec<&'static str> {
        let said = resolver.link.take_unsaid().into_iter();
        said.map(|one| match one.message {
            ToResolver::Servers { .. } => "servers",
            ToResolver::Policy { .. } => "policy",
            ToResolver::Session { .. } => "session",
            ToResolver::ForgetSession { .. } => "no session",
            ToResolver::ForgetNames { .. } => "no names",
            ToResolver::ForgetPolicy { .. } => "no policy",
            other => panic!("{other:?}"),
        })
        .collect()
    }

    #[test]
    fn it_is_told_what_differs_from_what_it_was_told_and_no_more() {
        let mut resolver = connected();
        resolver.tell(knows(&[]));
        assert_eq!(said(&mut resolver), ["servers", "policy", "session"]);
        resolver.tell(knows(&[]));
        assert_eq!(said(&mut resolver), [""; 0]);
        resolver.tell(knows(&["db.example.com"]));
        assert_eq!(said(&mut resolver), ["session"]);
        // No session is left without its policies, however short.
        let servers = knows(&[]).servers;
        resolver.tell(ResolverKnows {
            there: BTreeSet::from([SESSION.0]),
            servers: servers.clone(),
            ..ResolverKnows::default()
        });
        assert_eq!(said(&mut resolver), ["no session", "no policy"]);
        // What it has learned counts until the kernel has nothing of it any more.
        resolver.tell(ResolverKnows {
            servers,
            ..ResolverKnows::default()
        });
        assert_eq!(said(&mut resolver), ["no names"]);
    }

    #[test]
    fn the_next_one_is_told_everything() {
        let mut resolver = connected();
        resolver.tell(knows(&[]));
        resolver.link.take_unsaid();
        resolver.gone(&mut Requests::without_files(10));
        resolver.tell(knows(&[]));
        assert_eq!(said(&mut resolver), ["servers", "policy", "session"]);
    }

    #[test]
    fn no_question_is_held_without_it() {
        let mut requests = Requests::without_files(10);
        let key = RequestKey::of_name(SESSION, "db.example.com");
        let asked = || Ok::<_, std::convert::Infallible>(shown(1));
        let owner = Account::inside(1000, SESSION);
        requests
            .note(key.clone(), owner, BootTime(1), asked)
            .unwrap();
        requests.show_held_until("r1", Some(Timestamp::UNIX_EPOCH));
        assert!(requests.get("r1").unwrap().shown.held);
        let mut resolver = connected();
        let held = HeldQuestion {
            asked: question(),
            key,
            account: owner,
            request: "r1".to_owned(),
            until: BootTime(9),
        };
        resolver.held.add(Number(4), held);
        resolver.gone(&mut requests);
        assert!(!requests.get("r1").unwrap().shown.held);
        assert!(resolver.held.take_all().is_empty());
    }

    #[test]
    fn other_sessions_may_mean_other_networks_and_other_holes_do_not() {
        let mut resolver = connected();
        resolver.renew_names();
        assert!(resolver.link.takes_change() && !resolver.needs_survey);
        resolver.renew();
        assert!(resolver.link.takes_change() && resolver.needs_survey);
    }

    #[test]
    fn a_session_that_has_ended_was_refused_nothing() {
        let mut resolver = Resolver::default();
        let refusal = NameRefusal::new(&question(), "a rule denies it", false);
        let name = "db.example.com".to_owned();
        for session in [SESSION, SessionId(8)] {
            let (name, refusal) = (name.clone(), refusal.clone());
            resolver.refused.note(session, name, refusal, BootTime(1));
        }
        resolver.forget_refused(SESSION);
        let count = |session| resolver.refused.of(session).count();
        assert_eq!([count(SESSION), count(SessionId(8))], [0, 1]);
    }
}
