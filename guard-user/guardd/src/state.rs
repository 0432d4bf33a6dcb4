//! All that guardd knows, with one owner struct for each folder. Methods of [`State`] that need several owners are in the
//! folder that they are about.
//!
//! The kernel's state is the truth: what is here beside the [`Datapath`] is what the kernel has no room for, or a copy that is
//! made again at each start.

use std::{
    collections::VecDeque,
    fs, io,
    path::{Path, PathBuf},
};

use guard_common::{BootTime, SessionId};
use guard_datapath::Datapath;
use guard_policy::Environment;
use guard_proto as proto;
use guard_sys::pidfd::Peer;

use crate::{
    config::Config,
    control::{
        auth::{Caller, CallerPlace},
        failure::CallError,
    },
    decisions::{Decisions, deciding::Deciding},
    fleet::Fleet,
    flows::{Flows, Knowledge, kept::KeptFlows},
    holds::Holds,
    holes::{hole::HoleOrigin, known::Holes, names::StoredName},
    listeners::Listeners,
    machine::Machine,
    policies::{Policies, library::PolicyText, names::PolicyNames},
    process::SeenProcess,
    proxy::{Proxy, terms::TargetJudge},
    record::{Recorder, shelf::Shelf},
    requests::{
        Noted, RequestKey, Requests, StoredRequest,
        attempts::AttemptJudge,
        drafts::{AskersWords, Drafting},
        offers::LastYes,
        turns::Events,
    },
    resolver::Resolver,
    sessions::{self, Sessions},
    signed_answers::{self, SignedAnswers, enrolling::Enrolling, scope::CourierScope},
    tick::Schedule,
    unix::Sockets,
};

/// The files beside the kernel's state.
#[derive(Debug)]
pub(crate) struct Shelves {
    /// By a session's id.
    pub(crate) sessions: Shelf<sessions::SessionFacts>,
    /// By a hole's id.
    pub(crate) holes: Shelf<HoleOrigin>,
    /// By a request's id.
    pub(crate) requests: Shelf<StoredRequest>,
    /// Holes for names, by their ids.
    pub(crate) named: Shelf<StoredName>,
    /// By the number of a slot.
    pub(crate) policies: Shelf<PolicyText>,
    /// The last answers of the name servers, under one key.
    pub(crate) names: Shelf<PolicyNames>,
    /// What sessions have reached, by session.
    pub(crate) flows: Shelf<KeptFlows>,
    /// What people chose last, by uid.
    pub(crate) choices: Shelf<VecDeque<LastYes>>,
    /// Of answers that people sign elsewhere.
    pub(crate) signed_answers: signed_answers::AnswerFiles,
    /// The file for the key of the certificate authority. Only the proxy reads it.
    pub(crate) key: PathBuf,
}

impl Shelves {
    /// The directories of all of them.
    pub(crate) const DIRS: [&str; 11] = [
        "sessions",
        "holes",
        "requests",
        "policies",
        "names",
        "flows",
        "choices",
        "named-holes",
        "questions",
        "used",
        "boot",
    ];

    /// Those in `dir`.
    ///
    /// # Errors
    ///
    /// What the file system says.
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let [
            sessions,
            holes,
            requests,
            policies,
            names,
            flows,
            choices,
            named,
            questions,
            used,
            boot,
        ] = Self::DIRS.map(|shelf| dir.join(shelf));
        Ok(Self {
            sessions: Shelf::open(sessions)?,
            holes: Shelf::open(holes)?,
            requests: Shelf::open(requests)?,
            policies: Shelf::open(policies)?,
            names: Shelf::open(names)?,
            flows: Shelf::open(flows)?,
            choices: Shelf::open(choices)?,
            named: Shelf::open(named)?,
            signed_answers: signed_answers::AnswerFiles {
                questions: Shelf::open(questions)?,
                used: Shelf::open(used)?,
                boot: Shelf::open(boot)?,
            },
            key: dir.join("authority.key"),
        })
    }

    /// Removes temporary files that a killed guardd left. Returns how many.
    pub(crate) fn sweep(&self) -> usize {
        let states = self.sessions.sweep() + self.holes.sweep() + self.requests.sweep();
        let answers = &self.signed_answers;
        let answers = answers.questions.sweep() + answers.used.sweep() + answers.boot.sweep();
        let learned = self.names.sweep() + self.flows.sweep() + self.choices.sweep();
        states + self.named.sweep() + self.policies.sweep() + learned + answers
    }

    /// Removes all of them: nothing is enforced any more.
    pub(crate) fn destroy(self) {
        self.sessions.destroy();
        self.holes.destroy();
        self.requests.destroy();
        self.policies.destroy();
        self.names.destroy();
        self.flows.destroy();
        self.choices.destroy();
        self.named.destroy();
        self.signed_answers.questions.destroy();
        self.signed_answers.used.destroy();
        self.signed_answers.boot.destroy();
        // There may be none.
        let _ = fs::remove_file(&self.key);
    }

    /// Removes the files of kernel state that is gone.
    pub(crate) fn clear(&self) {
        self.sessions.clear();
        self.holes.clear();
        self.requests.clear();
        self.named.clear();
        self.policies.clear();
        self.signed_answers.questions.clear();
        self.signed_answers.used.clear();
        self.signed_answers.boot.clear();
    }
}

/// Everything the daemon knows.
#[derive(Debug)]
pub(crate) struct State {
    /// The kernel half.
    pub(crate) datapath: Datapath,
    /// The kernel half's events.
    pub(crate) events: Events,
    /// The machine that it is on.
    pub(crate) machine: Machine,
    /// The settings.
    pub(crate) config: Config,
    /// Unix sockets.
    pub(crate) sockets: Sockets,
    /// The policies.
    pub(crate) policies: Policies,
    /// The sessions.
    pub(crate) sessions: Sessions,
    /// The holes, and who opened each.
    pub(crate) holes: Holes,
    /// The requests.
    pub(crate) requests: Requests,
    /// Answers that people sign elsewhere.
    pub(crate) signed_answers: SignedAnswers,
    /// What people have decided about places and files.
    pub(crate) decisions: Decisions,
    /// The policies of the fleet.
    pub(crate) fleet: Fleet,
    /// The audit log, metrics, and each session's share of the log.
    pub(crate) recorder: Recorder,
    /// Held connections.
    pub(crate) holds: Holds,
    /// Other programs' listeners on the loopback.
    pub(crate) listeners: Listeners,
    /// The proxy.
    pub(crate) proxy: Proxy,
    /// The resolver.
    pub(crate) resolver: Resolver,
    /// What sessions have reached.
    pub(crate) flows: Flows,
    /// When the next tick comes.
    pub(crate) schedule: Schedule,
}

impl State {
    /// What names and groups stand for now.
    #[must_use]
    pub(crate) fn environment(&self) -> Environment {
        self.policies.environment(self.machine.host())
    }

    /// Does something with what sessions have reached, and with what it takes to say what that is.
    pub(crate) fn with_flows<T>(
        &mut self,
        work: impl FnOnce(&mut Flows, &mut Datapath, Knowledge<'_>) -> T,
    ) -> T {
        let known = Knowledge {
            sessions: &self.sessions,
            policies: &self.policies,
        };
        work(&mut self.flows, &mut self.datapath, known)
    }

    /// What it takes to keep a person's decision.
    pub(crate) fn deciding(&mut self) -> Deciding<'_> {
        Deciding {
            decisions: &mut self.decisions,
            machine: &mut self.machine,
            recorder: &mut self.recorder,
            config: &self.config,
        }
    }

    /// What it takes to enrol an approver who signs.
    pub(crate) fn enrolling(&mut self) -> Enrolling<'_> {
        Enrolling {
            signed_answers: &mut self.signed_answers,
            machine: &mut self.machine,
            recorder: &mut self.recorder,
            config: &self.config,
            revoked: self.fleet.revoked(),
        }
    }

    /// What it takes to say which requests a courier may see.
    pub(crate) fn courier_scope(&mut self) -> CourierScope<'_> {
        CourierScope {
            signed_answers: &self.signed_answers,
            machine: &mut self.machine,
            requests: &self.requests,
        }
    }

    /// What judges attempts.
    pub(crate) fn attempts(&self) -> AttemptJudge<'_> {
        AttemptJudge {
            sessions: &self.sessions,
            policies: &self.policies,
        }
    }

    /// What judges targets of redirected connections.
    pub(crate) fn targets(&self) -> TargetJudge<'_> {
        TargetJudge {
            kernel: &self.datapath,
            sessions: &self.sessions,
            policies: &self.policies,
            holes: &self.holes,
        }
    }

    /// What it takes to make a request.
    pub(crate) fn drafting(&mut self) -> Drafting<'_> {
        Drafting {
            numbers: &mut self.datapath,
            sessions: &self.sessions,
            policies: &self.policies,
            requests: &mut self.requests,
            machine: &mut self.machine,
            recorder: &mut self.recorder,
        }
    }

    /// Makes a request, or counts one more attempt for the one that is pending, and writes a new one to the audit log.
    ///
    /// # Errors
    ///
    /// If the kernel's counter of ids cannot be read.
    pub(crate) fn ask(
        &mut self,
        key: RequestKey,
        at: BootTime,
        asker: SeenProcess,
        words: AskersWords<'_>,
    ) -> Result<Noted, CallError> {
        let listener = self.listeners.shown(&key.destination);
        self.drafting().ask(key, at, asker, words, listener)
    }

    /// What the kernel says of a peer, now.
    ///
    /// # Errors
    ///
    /// `Refused` where that is in doubt, as for a peer that has ended.
    pub(crate) fn caller(&self, peer: &Peer) -> Result<Caller, CallError> {
        let caller = self.machine.caller(&self.sessions, peer)?;
        let is_courier = self.signed_answers.is_courier(caller.uid);
        Ok(match (caller.place, is_courier) {
            (CallerPlace::Outside, true) => Caller {
                place: CallerPlace::Courier,
                ..caller
            },
            _ => caller,
        })
    }

    /// A session as people see it.
    pub(crate) fn shown(&mut self, id: SessionId) -> Option<proto::Session> {
        let session = self.sessions.get(id)?;
        let user = self.machine.user(session.about.uid);
        let mut shown = session.shown(self.policies.name_of(&session.chain), user);
        if let Some(policy) = session.file_of(&self.policies) {
            shown.policy_file.clone_from(&policy.source.file);
            shown.policy_sha256 = Some(policy.sha256.clone());
        }
        if session.is_live() && session.lost_command(&self.datapath) {
            shown.left = session.left(&self.datapath, &self.machine);
        }
        if !session.cgroup.is_ours() && session.cgroup.stands() {
            // Who started it did not say with which process.
            shown.pid = self.datapath.processes(&session.cgroup).into_iter().min();
        }
        Some(shown)
    }
}
