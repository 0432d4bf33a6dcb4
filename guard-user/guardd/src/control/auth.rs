//! Authorisation: the only place that makes an approver or an agent of a caller.
//!
//! A [`Caller`] is what the kernel says of the peer. An [`Agent`] comes from [`authorise`] or [`assigner`]. An [`Approver`] comes
//! from [`authorise`], or stands for a user for whom `signed_answers/` acts ([`Approver::on_behalf_of`]). A verb takes one of them, or
//! a [`Courier`].

use guard_common::SessionId;
use guard_proto::Call;
use guard_sys::{accounts, pidfd::Peer};

use crate::control::failure::CallError;

/// Where a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallerPlace {
    /// Outside the guard's root cgroup.
    Outside,
    /// There, too, and a user that the settings name as a courier: it carries what others ask and sign, and is nobody's owner.
    Courier,
    /// In a session's cgroup; none: in another guard's, or in the root itself.
    Inside(Option<SessionId>),
    /// In the cgroup of that id right below the root, or below that one. No session owns it.
    Unowned(u64),
}

/// What the kernel says of a peer, at the moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Its user.
    pub(crate) uid: u32,
    /// Its process.
    pub(crate) pid: u32,
    /// Where it is.
    pub(crate) place: CallerPlace,
}

/// A caller outside every guarded cgroup: it answers for its own sessions, root for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Approver {
    uid: u32,
}

impl Approver {
    /// Its user.
    #[must_use]
    pub(crate) fn uid(self) -> u32 {
        self.uid
    }

    /// The approver who has signed an answer about that user's sessions, once `signed_answers/` has checked that it may; and a courier,
    /// for what it may see of that user's, and say no to.
    #[must_use]
    pub(crate) fn on_behalf_of(owner: u32) -> Self {
        Self { uid: owner }
    }

    /// Whether it answers for all sessions.
    #[must_use]
    pub(crate) fn is_root(self) -> bool {
        self.uid == 0
    }

    /// Whether it answers for the sessions of `owner`.
    #[must_use]
    pub(crate) fn answers_for(self, owner: u32) -> bool {
        self.is_root() || self.uid == owner
    }
}

/// A process in a session's cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Agent {
    uid: u32,
    session: SessionId,
}

impl Agent {
    /// Its user.
    #[must_use]
    pub(crate) fn uid(self) -> u32 {
        self.uid
    }

    /// The session that it is in.
    #[must_use]
    pub(crate) fn session(self) -> SessionId {
        self.session
    }
}

/// A user that carries questions and signed answers, shows what there is, and says no.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Courier {
    uid: u32,
}

impl Courier {
    /// Its user.
    #[must_use]
    pub(crate) fn uid(self) -> u32 {
        self.uid
    }
}

/// A process of root's in a cgroup right below the root that no session owns. It claims to prepare a unit; the service manager
/// is asked whether it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Starter {
    cgroup: u64,
}

impl Starter {
    /// The id of that cgroup.
    #[must_use]
    pub(crate) fn cgroup(self) -> u64 {
        self.cgroup
    }
}

/// The caller of an authorised call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Authorised {
    /// A caller outside.
    Approver(Approver),
    /// A process inside.
    Agent(Agent),
}

/// A caller that may make a session of an existing cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Assigner {
    /// Root outside: of any cgroup.
    Root,
    /// A process that prepares a unit, if that is true: of its own cgroup.
    Starter(Starter),
    /// A process in a session: it changes nothing, but a unit's process may be told that its unit has a policy.
    Agent(Agent),
}

/// The callers that a call is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Audience {
    Approvers,
    Root,
    Agents,
    Both,
}

fn audience(call: &Call) -> Audience {
    match call {
        // Inside, of the log only what a session tells of those that it started (`nested.rs`).
        Call::Run(_) | Call::Enter { .. } | Call::Flows { .. } | Call::Log { .. } => Audience::Both,
        Call::Why {} | Call::Request { .. } | Call::Production {} => Audience::Agents,
        // Other callers of Assign go through `assigner`.
        Call::Assign(_)
        | Call::Reload {}
        | Call::KernelLog { .. }
        | Call::LogLines { .. }
        | Call::OfferPolicies { .. }
        | Call::Linked { .. } => Audience::Root,
        Call::Invite { .. } | Call::Accept { .. } | Call::Enrol { .. } | Call::Remove { .. } => {
            Audience::Root
        }
        Call::Pending {}
        | Call::Held { .. }
        | Call::Approve { .. }
        | Call::Deny { .. }
        | Call::Open { .. }
        | Call::Holes {}
        | Call::Always { .. }
        | Call::Close { .. }
        | Call::Sessions {}
        | Call::Stop { .. }
        | Call::PolicyText { .. }
        | Call::Apply(_)
        | Call::SocketRefused { .. }
        | Call::Appeared { .. }
        | Call::InReach { .. }
        | Call::Decisions { .. }
        | Call::Dismiss { .. }
        | Call::DismissFile { .. }
        | Call::Trust { .. }
        | Call::SocketAddress { .. }
        | Call::HasSocket { .. }
        | Call::HasBound { .. }
        | Call::NameSockets { .. }
        | Call::Status {}
        | Call::Counters {}
        | Call::Presence {}
        | Call::Doctor {}
        | Call::Explain { .. }
        | Call::FleetTexts {}
        | Call::Question { .. }
        | Call::AnswerSigned { .. }
        | Call::Approvers {}
        | Call::Invitation { .. }
        | Call::Present { .. } => Audience::Approvers,
    }
}

/// Whether `caller` may make `call` at all. The verb checks [`Approver::answers_for`] for the session that it concerns.
///
/// # Errors
///
/// `Refused` for other callers, and for processes inside that are in no live session; `Invalid` for a caller outside if only a
/// process inside makes sense.
pub(crate) fn authorise(caller: &Caller, call: &Call) -> Result<Authorised, CallError> {
    match (caller.place, audience(call)) {
        (CallerPlace::Outside, Audience::Root) if caller.uid != 0 => Err(for_root()),
        (CallerPlace::Outside, Audience::Agents) => Err(outside()),
        (CallerPlace::Outside, _) => Ok(Authorised::Approver(Approver { uid: caller.uid })),
        (CallerPlace::Inside(Some(session)), Audience::Agents | Audience::Both) => {
            let uid = caller.uid;
            Ok(Authorised::Agent(Agent { uid, session }))
        }
        (CallerPlace::Courier, _) => Err(only_carries()),
        (CallerPlace::Inside(_) | CallerPlace::Unowned(_), _) => Err(inside()),
    }
}

/// Group whose members may read the counters, beside root.
const READERS: &str = "guard";

/// Checks that a caller outside may read the counters, which are of everybody's sessions.
///
/// # Errors
///
/// `Refused` for all but root and the group `guard`.
pub(crate) fn may_read_counters(who: Approver, peer: &Peer) -> Result<(), CallError> {
    let is_reader = || {
        let group = accounts::group(READERS).ok().flatten();
        group.is_some_and(|group| peer.is_in_group(group))
    };
    if who.is_root() || is_reader() {
        return Ok(());
    }
    Err(CallError::refused(
        "only root and the group guard may read the counters",
        "they are of everybody's sessions",
        "sudo guard metrics",
    ))
}

/// Whether `caller` is a courier that may make `call`; none: it is no courier.
///
/// # Errors
///
/// `Refused` for what a courier may not do: all but to carry, to look, and to say no.
pub(crate) fn courier(caller: &Caller, call: &Call) -> Result<Option<Courier>, CallError> {
    if caller.place != CallerPlace::Courier {
        return Ok(None);
    }
    match call {
        Call::Pending {}
        | Call::Question { .. }
        | Call::AnswerSigned { .. }
        | Call::Deny { .. }
        | Call::Close { .. }
        | Call::Sessions {}
        | Call::Holes {}
        | Call::Flows { .. }
        | Call::Log { .. }
        | Call::LogLines { .. }
        | Call::Presence {}
        | Call::OfferPolicies { .. }
        | Call::Linked { .. }
        | Call::Approvers {}
        | Call::Invitation { .. }
        | Call::Present { .. } => Ok(Some(Courier { uid: caller.uid })),
        _ => Err(only_carries()),
    }
}

/// As [`authorise`], for [`Call::Assign`].
///
/// # Errors
///
/// `Refused` for all but root, and for processes inside that are neither in a session nor in a cgroup that could become one.
pub(crate) fn assigner(caller: &Caller) -> Result<Assigner, CallError> {
    match caller.place {
        CallerPlace::Outside if caller.uid == 0 => Ok(Assigner::Root),
        CallerPlace::Outside | CallerPlace::Courier => Err(for_root()),
        CallerPlace::Unowned(cgroup) if caller.uid == 0 => {
            Ok(Assigner::Starter(Starter { cgroup }))
        }
        CallerPlace::Unowned(_) => Err(not_root_inside()),
        CallerPlace::Inside(Some(session)) => {
            let uid = caller.uid;
            Ok(Assigner::Agent(Agent { uid, session }))
        }
        CallerPlace::Inside(None) => Err(inside()),
    }
}

/// The refusal for a process inside, whatever its user.
pub(crate) fn inside() -> CallError {
    CallError::refused(
        "no process under the guard may do this",
        "the call came from inside a guarded cgroup: what sessions there are, and what they may reach, is for people outside",
        "leave it to the person outside; `guard why` says what was stopped here, and \
         `guard request DEST --reason TEXT` asks",
    )
}

/// The refusal for a courier.
fn only_carries() -> CallError {
    CallError::refused(
        "a courier may not do this",
        "the settings name this user as a courier: it carries questions and signed answers, says no, closes holes, and nothing else",
        "do it as another user; a user of its own is a courier: couriers under [answers]",
    )
}

fn for_root() -> CallError {
    CallError::refused(
        "only root may do this",
        "it changes what holds for every user's sessions",
        "sudo guard …",
    )
}

/// The refusal for users other than root in a unit.
pub(crate) fn not_root_inside() -> CallError {
    CallError::refused(
        "only root gives a unit its policy",
        "the call came from inside its cgroup, and from another user",
        "put a + before the command: ExecStartPre=+guard assign --policy NAME",
    )
}

fn outside() -> CallError {
    CallError::invalid(
        "there is nothing to answer here",
        "this process runs outside every session, so nothing is stopped",
        "see what was stopped, open something, or run it inside:\nguard log --since 10m\nguard open DEST\nguard run -- CMD",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use guard_proto::{
        ErrorName, HoleTerms, PolicyRef,
        calls::{Apply, Assign, Run},
    };

    fn calls() -> Vec<(Call, Audience)> {
        let all = [
            (for_everybody(), Audience::Both),
            (for_root(), Audience::Root),
            (for_approvers(), Audience::Approvers),
            (for_agents(), Audience::Agents),
        ];
        let calls = all.into_iter();
        calls
            .flat_map(|(calls, audience)| calls.into_iter().map(move |call| (call, audience)))
            .collect()
    }

    fn for_everybody() -> Vec<Call> {
        let run = Run {
            policy: None,
            name: None,
            hold: None,
            command: vec![],
            uid: 1000,
            connects: false,
            scoped: false,
            root: false,
            observe: false,
            beside: None,
            agreed: false,
        };
        let session = String::new();
        let flows = Call::Flows {
            session: None,
            by: None,
            latest: None,
        };
        let log = Call::Log {
            follow: false,
            session: None,
            since: None,
        };
        vec![Call::Run(run), Call::Enter { session }, flows, log]
    }

    fn enrolment() -> guard_proto::approvers::Enrolment {
        guard_proto::approvers::Enrolment {
            name: String::new(),
            answers_for: None,
            policies: None,
            max_for: None,
        }
    }

    fn signed() -> Call {
        let text = String::new;
        Call::AnswerSigned {
            answer: text(),
            key: text(),
            kind: text(),
            signature: text(),
            authenticator_data: None,
            client_data: None,
        }
    }

    fn for_root() -> Vec<Call> {
        let text = String::new;
        let assign = Assign {
            policy: PolicyRef {
                name: None,
                file: None,
                text: None,
            },
            unit: None,
            name: None,
            owner: None,
        };
        vec![
            Call::Assign(assign),
            Call::Reload {},
            Call::KernelLog { of: None },
            Call::LogLines {
                from: None,
                follow: false,
            },
            Call::OfferPolicies {
                bundle: text(),
                signatures: Vec::new(),
            },
            Call::Linked { connected: true },
            Call::Remove { called: text() },
            Call::Accept {
                name: text(),
                fingerprint: text(),
                plain: true,
            },
            Call::Invite {
                who: enrolment(),
                seconds: None,
            },
            Call::Enrol {
                who: enrolment(),
                key: text(),
                plain: true,
            },
        ]
    }

    fn for_approvers() -> Vec<Call> {
        let (text, terms) = (String::new, HoleTerms::default());
        let open = Call::Open {
            destination: text(),
            ports: vec![],
            session: None,
            reason: None,
            wide: false,
            always: false,
            terms,
        };
        let explain = Call::Explain {
            destination: text(),
            ports: vec![],
            policy: None,
            beside: None,
            session: None,
        };
        let (id, seconds) = (text(), None);
        let (ids, all) = (vec![], true);
        let policy = PolicyRef {
            name: None,
            file: None,
            text: None,
        };
        vec![
            Call::Pending {},
            Call::Held { session: text() },
            Call::PolicyText { session: text() },
            Call::Apply(Apply {
                session: text(),
                policy,
                widen: true,
                look: false,
            }),
            Call::InReach {
                session: text(),
                found: Box::default(),
            },
            Call::Decisions { uid: None },
            Call::Dismiss {
                host: text(),
                port: 0,
                label: text(),
                dir: None,
                withdraw: false,
            },
            Call::DismissFile {
                file: text(),
                sha256: text(),
                dir: None,
                withdraw: false,
            },
            Call::Trust {
                file: guard_proto::decisions::TrustedFile {
                    file: text(),
                    sha256: text(),
                    policy: text(),
                    shown: text(),
                },
                uid: None,
                withdraw: false,
            },
            Call::Approve {
                id: text(),
                path: None,
                writes: false,
                prefix: false,
                tried: None,
                address: false,
                always: false,
                terms,
            },
            Call::Deny {
                id,
                seconds,
                by: None,
            },
            open,
            Call::Holes {},
            Call::Always { forget: vec![] },
            Call::Close { ids, all, by: None },
            Call::Sessions {},
            Call::Stop {
                session: text(),
                refused: None,
            },
            Call::Status {},
            Call::Counters {},
            Call::Presence {},
            Call::Doctor {},
            explain,
            Call::FleetTexts {},
            Call::Question { id: text() },
            signed(),
            Call::Approvers {},
            Call::Invitation { invitation: text() },
            Call::Present {
                invitation: text(),
                key: guard_proto::approvers::PresentedKey {
                    ssh: None,
                    passkey: None,
                },
            },
        ]
    }

    fn for_agents() -> Vec<Call> {
        let request = Call::Request {
            destination: String::new(),
            ports: vec![],
            reason: None,
        };
        vec![Call::Why {}, Call::Production {}, request]
    }

    fn by(uid: u32, place: CallerPlace, call: &Call) -> Result<Authorised, ErrorName> {
        let caller = Caller { uid, pid: 1, place };
        authorise(&caller, call).map_err(|refusal| refusal.name)
    }

    #[test]
    fn outside_everyone_answers_and_root_reloads() {
        for (call, audience) in calls() {
            for uid in [0, 1000] {
                let expected = match audience {
                    Audience::Root if uid != 0 => Err(ErrorName::Refused),
                    Audience::Agents => Err(ErrorName::Invalid),
                    _ => Ok(Authorised::Approver(Approver { uid })),
                };
                assert_eq!(by(uid, CallerPlace::Outside, &call), expected, "{call:?}");
            }
        }
    }

    #[test]
    fn inside_only_requests_and_narrower_sessions_whatever_the_uid() {
        let session = SessionId(7);
        for (call, audience) in calls() {
            for uid in [0, 1000] {
                let expected = match audience {
                    Audience::Agents | Audience::Both => {
                        Ok(Authorised::Agent(Agent { uid, session }))
                    }
                    _ => Err(ErrorName::Refused),
                };
                assert_eq!(by(uid, CallerPlace::Inside(Some(session)), &call), expected);
                assert_eq!(
                    by(uid, CallerPlace::Inside(None), &call),
                    Err(ErrorName::Refused)
                );
                assert_eq!(
                    by(uid, CallerPlace::Unowned(9), &call),
                    Err(ErrorName::Refused)
                );
            }
        }
    }

    #[test]
    fn a_courier_carries_looks_and_says_no_and_does_nothing_else() {
        let carries = [
            "Pending",
            "Question",
            "AnswerSigned",
            "Deny",
            "Close",
            "Sessions",
            "Holes",
            "Flows",
            "Log",
            "LogLines",
            "Presence",
            "OfferPolicies",
            "Linked",
            "Approvers",
            "Invitation",
            "Present",
        ];
        for (call, _) in calls() {
            let named = serde_json::to_value(&call).unwrap();
            let method = named["method"].as_str().unwrap();
            let method = method.strip_prefix("org.guardd.Control.").unwrap();
            let (uid, place) = (4711, CallerPlace::Courier);
            let caller = Caller { uid, pid: 1, place };
            let may = courier(&caller, &call).map_err(|no| no.name);
            let expected = if carries.contains(&method) {
                Ok(Some(Courier { uid }))
            } else {
                Err(ErrorName::Refused)
            };
            assert_eq!(may, expected, "{method}");
            assert_eq!(by(uid, place, &call), Err(ErrorName::Refused), "{method}");
            assert!(assigner(&caller).is_err());
            for place in [
                CallerPlace::Outside,
                CallerPlace::Inside(None),
                CallerPlace::Unowned(9),
            ] {
                let caller = Caller { uid, pid: 1, place };
                assert_eq!(courier(&caller, &call).unwrap(), None);
            }
        }
    }

    #[test]
    fn root_assigns_and_a_session_is_never_assigned_again() {
        let of = |uid, place| assigner(&Caller { uid, pid: 1, place }).map_err(|no| no.name);
        let session = SessionId(7);
        let refused = Err(ErrorName::Refused);
        assert_eq!(of(0, CallerPlace::Outside), Ok(Assigner::Root));
        assert_eq!(of(1000, CallerPlace::Outside), refused);
        let starter = Assigner::Starter(Starter { cgroup: 9 });
        assert_eq!(of(0, CallerPlace::Unowned(9)), Ok(starter));
        assert_eq!(of(1000, CallerPlace::Unowned(9)), refused);
        for uid in [0, 1000] {
            let agent = Assigner::Agent(Agent { uid, session });
            assert_eq!(of(uid, CallerPlace::Inside(Some(session))), Ok(agent));
            assert_eq!(of(uid, CallerPlace::Inside(None)), refused);
        }
    }

    #[test]
    fn owners_answer_for_their_own_and_root_for_all() {
        assert!(Approver { uid: 1000 }.answers_for(1000));
        assert!(!Approver { uid: 1000 }.answers_for(1001));
        assert!(!Approver { uid: 1000 }.answers_for(0));
        assert!(Approver { uid: 0 }.answers_for(1001));
    }
}
