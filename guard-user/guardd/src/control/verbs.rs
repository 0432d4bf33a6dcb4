//! What each call does, once its caller is authorised.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use guard_common::SessionId;
use guard_datapath::Datapath;
use guard_policy::Destination;
use guard_proto::{
    self as proto, Call, HolesReply, PolicyRef, RequestsReply, SessionsReply, varlink,
};
use guard_sys::pidfd::Peer;

use crate::{
    config::Config,
    control::{
        answering::Answering,
        auth::{
            Agent, Approver, Authorised, Courier, assigner, authorise, courier, may_read_counters,
        },
        counters,
        explain::{self, Under},
        failure::CallError,
        ids, polkit, status,
    },
    decisions::deciding::{EncryptedFile, NamedPlace},
    doctor,
    fleet::{heard::HeardAt, offering::offer},
    holes::opening::WantedByHand,
    listeners::{self, ProgramAskedAbout},
    policies::load,
    proxy::{approve::Widening, worker},
    quota::{self, Account},
    record::kernel_log,
    requests::bursts::BurstExtent,
    sessions::{Sessions, appeared::appeared, apply, assign, create},
    shared::Shared,
    signed_answers::couriers::{self, Carrier},
    state::State,
    unix::{self, Members, UnixRefusal, Withheld},
};

/// A call that takes less of guardd's time causes no pause.
const NOTHING: Duration = Duration::from_millis(1);
/// The pause after a call from inside, as a multiple of the time that it took.
const PAUSE: u32 = 4;
/// The longest pause, for when the machine was slow.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The frame that answers a call which has one answer.
///
/// # Errors
///
/// Why the call is not done.
pub(crate) async fn answer(shared: &Shared, peer: &Peer, call: Call) -> Result<Vec<u8>, CallError> {
    let caller = shared.with(|state| state.caller(peer))?;
    if let Call::Assign(call) = call {
        let who = assigner(&caller)?;
        return one(&assign::assign(shared, who, peer, caller.pid, call).await?);
    }
    if let Some(who) = courier(&caller, &call)? {
        return carried(shared, who, peer, call).await;
    }
    let who = authorise(&caller, &call)?;
    match (call, who) {
        (Call::Run(call), who) => one(&create::run(shared, who, caller.pid, call).await?),
        (Call::Enter { session }, Authorised::Agent(who)) => {
            in_turn(shared, who, |state| enter(state, peer, &session)).await?;
            one(&serde_json::json!({}))
        }
        (Call::Enter { session }, who) => {
            shared.with(|state| create::enter(state, who, peer, caller.pid, &session))?;
            one(&serde_json::json!({}))
        }
        (call, Authorised::Approver(who)) => approver(shared, who, peer, call).await,
        (call, Authorised::Agent(who)) => agent(shared, who, caller.pid, call).await,
    }
}

/// Who calls from inside is seen once more: it may have moved while it waited.
fn enter(state: &mut State, peer: &Peer, session: &str) -> Result<(), CallError> {
    let call = Call::Enter {
        session: session.to_owned(),
    };
    let caller = state.caller(peer)?;
    let who = authorise(&caller, &call)?;
    create::enter(state, who, peer, caller.pid, session)
}

fn one<T: serde::Serialize>(parameters: &T) -> Result<Vec<u8>, CallError> {
    varlink::answer(parameters, false).map_err(|error| {
        CallError::failed(
            "the answer has no JSON form",
            error.to_string(),
            "report it as a bug",
        )
    })
}

/// A call from inside a session.
async fn agent(shared: &Shared, who: Agent, pid: u32, call: Call) -> Result<Vec<u8>, CallError> {
    match call {
        Call::Why {} => one(&in_turn(shared, who, |state| state.why(who)).await?),
        Call::Production {} => one(&in_turn(shared, who, |state| state.production(who)).await),
        Call::Flows { .. } => {
            let list = |state: &mut State| {
                state.with_flows(|flows, kernel, known| flows.list_own(kernel, known, who))
            };
            one(&in_turn(shared, who, list).await?)
        }
        Call::Request {
            destination,
            ports,
            reason,
        } => {
            let (to, ports) = explain::parse(&destination, &ports)?;
            let may_ask = shared.with(|state| {
                let live = state.sessions.live(who.session());
                live.is_some_and(|live| state.policies.may_ask_name_servers(&live.chain))
            });
            if may_ask {
                load::look_up_in_passing(shared, who, &names_in(&to)).await?;
            }
            let ask = |state: &mut State| state.request(who, pid, &to, &ports, reason);
            one(&in_turn(shared, who, ask).await?)
        }
        _ => Err(not_here()),
    }
}

/// The calls from all sessions of a user are answered one at a time, in a fifth of guardd's time at most: a session that calls without end
/// delays only its user's. So are the decisions that are kept, of all users together, one of each user
/// in turn.
pub(super) struct Turn {
    turn: quota::AccountTurn,
    keeping: Option<tokio::sync::OwnedMutexGuard<()>>,
    began: Instant,
}

impl Turn {
    /// Waits for it.
    pub(super) async fn of(shared: &Shared, who: Agent) -> Self {
        let account = shared.with(|state| state.sessions.account_of(who.session()));
        Self {
            turn: shared.asking.of(account).await,
            keeping: None,
            began: Instant::now(),
        }
    }

    /// The same for a decision of a user's.
    async fn to_decide(shared: &Shared, who: Approver) -> Self {
        let turn = shared.deciding.of(Account::outside(who.uid())).await;
        Self {
            turn,
            keeping: Some(Arc::clone(&shared.keeping).lock_owned().await),
            began: Instant::now(),
        }
    }

    /// Leaves it to the next call, after a pause where it took long.
    pub(super) fn end(self) {
        let spent = self.began.elapsed();
        if spent >= NOTHING {
            tokio::task::spawn_local(async move {
                tokio::time::sleep((spent * PAUSE).min(LONGEST_PAUSE)).await;
                drop((self.keeping, self.turn));
            });
        }
    }
}

/// What is done for a call from inside, when it is its turn.
pub(crate) async fn in_turn<T>(
    shared: &Shared,
    who: Agent,
    work: impl FnOnce(&mut State) -> T,
) -> T {
    let turn = Turn::of(shared, who).await;
    let done = shared.with(work);
    turn.end();
    done
}

/// A call of a courier.
async fn carried(
    shared: &Shared,
    who: Courier,
    peer: &Peer,
    call: Call,
) -> Result<Vec<u8>, CallError> {
    if let Call::Presence {} = call {
        return one(&status::presence(shared).await);
    }
    if let Call::OfferPolicies { bundle, signatures } = call {
        return one(&offer(shared, false, bundle, signatures).await?);
    }
    let carrier = |by| Carrier { who, peer, by };
    shared.with(|state| match call {
        Call::Linked { connected } => linked_by(state, who, connected),
        Call::Pending {} => one(&state.pending_to(who)?),
        Call::Question { id } => {
            let owners = state.courier_scope().owners(None);
            one(&state.question(&id, |owner| owners.contains(&owner))?)
        }
        Call::Approvers {} => one(&state.enrolling().approvers(|_| true)),
        Call::Invitation { invitation } => one(&state.signed_answers.invitation(&invitation)?),
        Call::Present { invitation, key } => {
            one(&state.signed_answers.present(&invitation, &key)?)
        }
        Call::Deny { id, seconds, by } => one(&state.deny_by(&carrier(by), &id, seconds)?),
        Call::Close { ids, all, by } => one(&state.close_by(&carrier(by), &ids, all)?),
        Call::Sessions {} => one(&state.sessions_carried()),
        Call::Holes {} => one(&state.holes_by(None)?),
        Call::Flows {
            session,
            by,
            latest,
        } => {
            let approvers = state.signed_answers.courier_approvers_by(by.as_deref());
            let latest = latest.map(|most| usize::try_from(most).unwrap_or(usize::MAX));
            let session = session.as_deref();
            one(&state.with_flows(|flows, kernel, known| {
                flows.list_of_all(kernel, known, &approvers, session, latest)
            })?)
        }
        call => {
            let from = couriers::courier(who.uid(), peer);
            one(&state.answer_signed(&from, &couriers::handed_in(call)?)?)
        }
    })
}

/// Where the settings name the courier that carries to the fleet's servers, no other one says whether they are reached.
fn linked_by(state: &mut State, who: Courier, connected: bool) -> Result<Vec<u8>, CallError> {
    if state.fleet.link().is_wanted && !state.signed_answers.keeps_log(who) {
        return Err(CallError::refused(
            "this courier does not say whether the fleet's servers are reached",
            "the settings name another one that carries to them",
            "as root, in /etc/guard/guardd.toml, under [fleet]: log = \"USER\"\nsystemctl restart guardd",
        ));
    }
    linked(state, who.uid(), connected)
}

fn linked(state: &mut State, uid: u32, connected: bool) -> Result<Vec<u8>, CallError> {
    let by = state.machine.user(uid);
    state.fleet.link_mut().hear(by, connected, HeardAt::now());
    one(&serde_json::json!({}))
}

/// A call about answers from elsewhere, at the machine.
fn elsewhere(shared: &Shared, by: &Answering, call: Call) -> Result<Vec<u8>, CallError> {
    shared.with(|state| match call {
        Call::Question { id } => one(&state.question(&id, |owner| by.who.answers_for(owner))?),
        Call::Approvers {} => {
            let name = state.machine.user(by.who.uid());
            let may = |users: &[String]| by.who.is_root() || users.contains(&name);
            one(&state.enrolling().approvers(may))
        }
        Call::Invitation { invitation } => one(&state.signed_answers.invitation(&invitation)?),
        Call::Present { invitation, key } => {
            one(&state.signed_answers.present(&invitation, &key)?)
        }
        Call::Invite { who, seconds } => one(&state.enrolling().invite(&who, seconds)?),
        Call::Accept {
            name,
            fingerprint,
            plain,
        } => one(&state.enrolling().accept(by, &name, &fingerprint, plain)?),
        Call::Enrol { who, key, plain } => one(&state.enrolling().enrol(by, &who, &key, plain)?),
        Call::Remove { called } => one(&state.enrolling().remove_approver(by, &called)?),
        _ => Err(not_here()),
    })
}

/// A call from outside.
async fn approver(
    shared: &Shared,
    who: Approver,
    peer: &Peer,
    call: Call,
) -> Result<Vec<u8>, CallError> {
    match call {
        Call::Pending {} => one(&shared.with(|state| state.pending(who))?),
        Call::Sessions {} => one(&shared.with(|state| state.sessions_of(who))),
        Call::Holes {} => one(&shared.with(|state| {
            let (kernel, sessions) = (&state.datapath, &state.sessions);
            state
                .holes
                .listed_to(kernel, sessions, &state.policies, who)
        })?),
        Call::Flows { session, .. } => {
            let session = session.as_deref();
            let list = |state: &mut State| {
                state.with_flows(|flows, kernel, known| flows.list(kernel, known, who, session))
            };
            one(&shared.with(list)?)
        }
        Call::Appeared {
            session,
            place,
            more,
        } => one(&appeared(shared, who, &session, *place, more).await?),
        Call::InReach { session, found } => {
            shared.with(|state| state.keep_production(who, &session, *found))?;
            one(&serde_json::json!({}))
        }
        Call::Decisions { .. }
        | Call::Dismiss { .. }
        | Call::DismissFile { .. }
        | Call::Trust { .. } => decisions(shared, who, peer, call).await,
        Call::Status {} => {
            let now = status::status(shared).await;
            one(&shared.with(|state| state.sessions.status_for(who, now)))
        }
        Call::Presence {} => one(&status::presence(shared).await),
        Call::Counters {} => {
            may_read_counters(who, peer)?;
            one(&counters::counters(shared).await)
        }
        Call::Doctor {} => one(&doctor::found(shared).await),
        Call::SocketRefused { .. }
        | Call::NameSockets { .. }
        | Call::HasSocket { .. }
        | Call::HasBound { .. }
        | Call::SocketAddress { .. } => of_supervisor(shared, who, peer, call).await,
        Call::PolicyText { session } => {
            let text = shared.with(|state| {
                let (sessions, policies) = (&state.sessions, &state.policies);
                sessions.policy_text(policies, who, &session)
            })?;
            one(&text)
        }
        Call::Stop { session, refused } => {
            one(&create::stop(shared, who, &session, refused).await?)
        }
        call @ Call::Explain { .. } => explanation(shared, who, call).await,
        Call::KernelLog { of } => {
            let of = shared.with(|state| kernel_log::switch(state, of))?;
            shared.log_switched.notify_one();
            one(&proto::status::KernelLog { of })
        }
        Call::OfferPolicies { bundle, signatures } => {
            one(&offer(shared, true, bundle, signatures).await?)
        }
        Call::Linked { connected } => shared.with(|state| linked(state, who.uid(), connected)),
        Call::FleetTexts {} => one(&shared.with(|state| state.fleet.texts())),
        Call::Reload {} => {
            load::reload(shared).await;
            doctor::probe_again(shared).await;
            one(&shared.with(|state| state.status()))
        }
        Call::AnswerSigned { .. } => answer_signed(shared, &Answering::of(who, peer), call).await,
        call @ (Call::Question { .. }
        | Call::Approvers {}
        | Call::Invitation { .. }
        | Call::Present { .. }
        | Call::Invite { .. }
        | Call::Accept { .. }
        | Call::Enrol { .. }
        | Call::Remove { .. }) => elsewhere(shared, &Answering::of(who, peer), call),
        call => {
            polkit::check(shared, who, peer, &call).await?;
            act(shared, &Answering::of(who, peer), call).await
        }
    }
}

/// The verdict for a destination, and what gives it.
async fn explanation(shared: &Shared, who: Approver, call: Call) -> Result<Vec<u8>, CallError> {
    let Call::Explain {
        destination,
        ports,
        policy,
        beside,
        session,
    } = call
    else {
        return Err(not_here());
    };
    let (to, ports) = explain::parse(&destination, &ports)?;
    let beside = beside.map(|beside| *beside);
    let under = shared.with(|state| match session {
        Some(session) => {
            let meant = (state.sessions).meant(&state.datapath, who, Some(&session));
            meant.map(Under::Session)
        }
        None => Ok(under_policy(&state.config, policy, beside, who)),
    })?;
    look_up(shared, &to).await;
    one(&explain::explain(shared, &under, &to, &ports).await?)
}

/// A call about the decisions of people that are kept.
async fn decisions(
    shared: &Shared,
    who: Approver,
    peer: &Peer,
    call: Call,
) -> Result<Vec<u8>, CallError> {
    if let Call::Decisions { uid } = call {
        return one(&shared.with(|state| state.decisions.decided_by(who, uid))?);
    }
    // In this order: the calling process may end while this waits for its turn.
    let (by, turn) = (Answering::of(who, peer), Turn::to_decide(shared, who).await);
    let done = shared.with(|state| match call {
        Call::Dismiss {
            host,
            port,
            label,
            dir,
            withdraw,
        } => {
            let place = NamedPlace {
                host,
                port,
                label,
                dir,
            };
            one(&state.deciding().dismiss(&by, place, withdraw)?)
        }
        Call::DismissFile {
            file,
            sha256,
            dir,
            withdraw,
        } => {
            let file = EncryptedFile { file, sha256, dir };
            one(&state.deciding().dismiss_file(&by, file, withdraw)?)
        }
        Call::Trust {
            file,
            uid,
            withdraw,
        } => one(&state.deciding().trust(&by, uid, file, withdraw)?),
        _ => Err(not_here()),
    });
    turn.end();
    done
}

/// A call of a session's supervisor, which connects its Unix sockets.
async fn of_supervisor(
    shared: &Shared,
    who: Approver,
    peer: &Peer,
    call: Call,
) -> Result<Vec<u8>, CallError> {
    match call {
        call @ Call::SocketRefused { .. } => socket_refused(shared, who, call),
        Call::NameSockets { session, sockets } => {
            shared.with(|state| {
                let (kernel, policies) = (&mut state.datapath, &state.policies);
                unix::name_sockets(kernel, &state.sessions, policies, who, &session, &sockets)
            })?;
            one(&serde_json::json!({}))
        }
        Call::HasSocket {
            session,
            number,
            cookie,
        } => {
            let members = members(shared, who, &session)?;
            let found = members.have_socket(number, cookie).await;
            one(&found.ok_or_else(|| unix::has_unknown(&session))?)
        }
        Call::HasBound {
            session,
            inode,
            device,
        } => {
            let members = members(shared, who, &session)?;
            one(&members.have_bound(inode, device).await)
        }
        Call::SocketAddress { session, thread } => {
            let caller = shared.with(|state| state.caller(peer))?.pid;
            let members = members(shared, who, &session)?;
            let found = members.address_of(caller, thread).await;
            one(&found.ok_or_else(|| unix::connects_nowhere(&session, thread))?)
        }
        _ => Err(not_here()),
    }
}

/// A supervisor has refused a socket.
fn socket_refused(shared: &Shared, who: Approver, call: Call) -> Result<Vec<u8>, CallError> {
    let Call::SocketRefused {
        session,
        socket,
        pid,
        comm,
        unknown,
    } = call
    else {
        return Err(not_here());
    };
    let kept = if unknown {
        Withheld::Unknown
    } else {
        Withheld::Socket
    };
    let refused = UnixRefusal {
        kept,
        socket: &socket,
        pid,
        comm: comm.as_deref().unwrap_or_default(),
    };
    shared.with(|state| {
        let (machine, sessions) = (&state.machine, &state.sessions);
        let recorder = &mut state.recorder;
        (state.sockets).socket_refused(machine, sessions, recorder, who, &session, refused)
    })?;
    one(&serde_json::json!({}))
}

/// The processes of a session.
fn members(shared: &Shared, who: Approver, session: &str) -> Result<Members, CallError> {
    shared.with(|state| {
        let (machine, sessions) = (&state.machine, &state.sessions);
        state.sockets.members(machine, sessions, who, session)
    })
}

/// A signed answer that somebody hands in at the machine: the signature stands for what polkit would ask.
async fn answer_signed(shared: &Shared, by: &Answering, call: Call) -> Result<Vec<u8>, CallError> {
    let signed = couriers::handed_in(call)?;
    let mut taken = shared.with(|state| state.answer_signed(&by.from, &signed))?;
    let opened = HolesReply {
        holes: taken.holes,
        warnings: taken.warnings,
    };
    let opened = reached(shared, opened).await;
    (taken.holes, taken.warnings) = (opened.holes, opened.warnings);
    one(&taken)
}

/// The calls that change what is open: approve, deny, close, open, apply.
async fn act(shared: &Shared, by: &Answering, call: Call) -> Result<Vec<u8>, CallError> {
    match call {
        Call::Approve {
            id,
            path,
            writes,
            prefix,
            tried,
            address,
            always,
            terms,
        } => {
            let widening = Widening { path, writes };
            let extent = BurstExtent {
                prefix,
                tried,
                address,
            };
            let opened = shared.with(|state| {
                let program = always.then(|| state.program_asked_about(&id)).transpose()?;
                let opened = state.approve(by, &id, &widening, extent, &terms)?;
                program.map_or(Ok(()), |program| state.remember(&program))?;
                Ok::<_, CallError>(opened)
            })?;
            one(&reached(shared, opened).await)
        }
        Call::Deny { id, seconds, .. } => one(&shared.with(|state| state.deny(by, &id, seconds))?),
        Call::Close { ids, all, .. } => one(&shared.with(|state| state.close(by, &ids, all))?),
        Call::Always { forget } => one(&shared.with(|state| state.always(by.who, &forget))?),
        Call::Apply(call) => one(&apply::apply(shared, by, call).await?),
        Call::Open {
            destination,
            ports,
            session,
            reason,
            wide,
            always,
            terms,
        } => {
            let (to, ports) = explain::parse(&destination, &ports)?;
            look_up(shared, &to).await;
            let program = if always {
                Some(listeners::program_at(&to, &ports).await?)
            } else {
                None
            };
            let wanted = WantedByHand {
                to: &to,
                ports: &ports,
                terms: &terms,
                is_wide: wide,
                reason,
            };
            let opened = shared.with(|state| {
                let (kernel, session) = (&state.datapath, session.as_deref());
                let session = state.sessions.meant(kernel, by.who, session)?;
                let opened = state.open(by, session, wanted)?;
                if let Some((program, protocol, port)) = program {
                    let owner = state.sessions.live(session).map(|live| live.about.uid);
                    let user = owner.ok_or_else(|| ids::no_session(&ids::session(session)))?;
                    state.remember(&ProgramAskedAbout {
                        user,
                        program,
                        protocol,
                        port,
                    })?;
                }
                Ok::<_, CallError>(opened)
            })?;
            one(&reached(shared, opened).await)
        }
        _ => Err(not_here()),
    }
}

/// Waits for the proxy if a hole is for reads: nothing passes before.
async fn reached(shared: &Shared, mut opened: HolesReply) -> HolesReply {
    if opened.holes.iter().any(|hole| hole.read_only) {
        opened.warnings.extend(worker::ready(shared).await);
    }
    opened
}

/// Looks up a destination's name, if it is one.
async fn look_up(shared: &Shared, to: &Destination) {
    load::look_up(shared, &names_in(to)).await;
}

fn names_in(to: &Destination) -> BTreeSet<String> {
    explain::name_in(to).into_iter().collect()
}

/// The error for the name of a session that has outlived its command.
fn only_left(name: &str, session: SessionId) -> CallError {
    let id = ids::session(session);
    CallError::not_found(
        format!("the command of {name} has ended"),
        format!("what it left behind goes on as {id}"),
        format!("give its id, if you mean that: --session {id}"),
    )
}

fn not_here() -> CallError {
    CallError::refused(
        "this cannot be asked from here",
        "it is for the other side of the guard",
        "guard --help",
    )
}

/// What a client has a verdict explained by that names no session: a policy, else the one that sessions get.
fn under_policy(
    config: &Config,
    policy: Option<PolicyRef>,
    beside: Option<PolicyRef>,
    who: Approver,
) -> Under {
    let usual = || PolicyRef {
        name: Some(config.session_policy().to_owned()),
        file: None,
        text: None,
    };
    Under::Policy {
        policy: policy.unwrap_or_else(usual),
        beside,
        account: Account::outside(who.uid()),
    }
}

impl Sessions {
    /// The session that a client names, or its only one.
    fn meant(
        &self,
        kernel: &Datapath,
        who: Approver,
        session: Option<&str>,
    ) -> Result<SessionId, CallError> {
        match session {
            Some(id) => {
                let session = self.called(id, |owner| who.answers_for(owner))?;
                // A name is that of a command: the person may mean the next session.
                let is_name = ids::parse_session(id).is_err();
                if is_name && session.lost_command(kernel) {
                    Err(only_left(id, session.cgroup.id))
                } else {
                    Ok(session.cgroup.id)
                }
            }
            None => self.only(kernel, who),
        }
    }
}

impl State {
    /// The requests that a caller may answer, with the kernel's own counts.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn pending(&mut self, who: Approver) -> Result<RequestsReply, CallError> {
        let (kernel, sessions, policies) = (&self.datapath, &self.sessions, &self.policies);
        let may = |owner| who.answers_for(owner);
        let mut listed = (self.requests).listed_to(kernel, sessions, policies, who, may)?;
        for one in &mut listed.requests {
            let kept = self.signed_answers.question(&one.id);
            let code = kept.map(|kept| kept.code.clone());
            one.code = code.filter(|code| !code.is_empty());
        }
        Ok(listed)
    }

    /// The live sessions of those whom the caller answers for.
    pub(crate) fn sessions_of(&mut self, who: Approver) -> SessionsReply {
        let live = self.sessions.all_live();
        let mine = live.filter(|session| who.answers_for(session.about.uid));
        let mine: Vec<_> = mine.map(|session| session.cgroup.id).collect();
        let sessions = mine.into_iter().filter_map(|id| self.shown(id));
        SessionsReply {
            sessions: sessions.collect(),
            carried: false,
        }
    }
}
