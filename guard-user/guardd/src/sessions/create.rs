//! Making sessions, entering them, and stopping them.

use std::{collections::BTreeSet, time::Duration};

use guard_common::{MAX_CHAIN, PolicyId, SessionId};
use guard_datapath::{Datapath, SessionCgroup};
use guard_judge::command_line::command_without_secrets;
use guard_policy::LONGEST_HOLD;
use guard_probe::attempts as probe;
use guard_proto::{
    self as proto, PolicyRef, Started,
    calls::Run,
    record::{Field, SessionStart},
    varlink::MAX_FRAME,
};
use guard_sys::{clock, pidfd::Peer, user_namespace};
use jiff::Timestamp;

use crate::{
    changes::Change,
    config::{Config, OnDrift, Require},
    control::{
        auth::{Agent, Approver, Authorised},
        failure::CallError,
        ids,
        verbs::in_turn,
    },
    doctor,
    fleet::Fleet,
    policies::{Policies, library::PolicyText, load},
    proxy::{self, worker::ProxyWorker},
    quota::Account,
    record::{Recorder, audit::LogEntry},
    resolver::{self, worker::ResolverWorker},
    sessions::{LifeStage, Session, SessionFacts, Sessions, launchers::stands_in},
    shared::Shared,
    state::State,
    unix,
};

/// Live sessions of one user other than root at most.
const MAX_SESSIONS: usize = 512;
/// Sessions inside one outermost session at most, however deep, with those that ended in the last minute: they do not use up the
/// person's share. For their starts and ends in the audit log those inside have one allowance together
/// ([`crate::record::starts::Starts`]), and one share for all other records ([`crate::record::shares::Shares`]).
const MAX_NESTED: usize = 64;
/// Sessions of one user other than root at most, those inside others included and those that ended in the last minute: these have an
/// entry in the kernel still, which has room for 4,095, and others are to find some of it. Of a user with many they go sooner
/// ([`Sessions::drained`]): else 33 starts a second would leave that user no session for a minute.
pub(super) const MAX_OF_USER: usize = 2000;
/// Names in policies from inside one outermost session, beside those in people's policies.
const MAX_NAMES: usize = 100;
/// Bytes that are kept of a command line.
const MAX_COMMAND: usize = 1024;
const MAX_NAME: usize = 64;
/// Characters that are kept of why a command was not started.
const MAX_WHY: usize = 1024;
/// Policies that are longer are not handed out: as JSON the text may have several times as many bytes, and an answer has a limit.
pub(super) const MAX_TEXT: usize = MAX_FRAME / 4;
/// How often the policies of a new session are put in place once more.
const TRIES: usize = 3;
/// How long stopping waits for the last process to end.
const MAX_STOPPING: Duration = Duration::from_secs(10);

fn hold_is_possible(seconds: f64) -> bool {
    (0.0..=LONGEST_HOLD.as_secs_f64()).contains(&seconds)
}

fn no_such_hold(seconds: f64) -> CallError {
    CallError::invalid(
        format!("connections cannot wait for {seconds} seconds"),
        "it must be 0 or more, and five minutes at most",
        "--hold 60s",
    )
}

/// Makes a session and its cgroup.
///
/// A caller in a session gets a narrower one: what the outer session denies stays denied. If the caller is a `launcher`, the
/// session ends when the caller is killed.
///
/// # Errors
///
/// Why there is no new session; then nothing of it is left.
pub(crate) async fn run(
    shared: &Shared,
    who: Authorised,
    launcher: u32,
    call: Run,
) -> Result<Started, CallError> {
    may_start(shared, who, &call).await?;
    let source = match (&call.policy, who) {
        (Some(asked), _) => shared.with(|state| state.policies.library().resolve(asked.clone()))?,
        (None, Authorised::Approver(_)) => shared.with(|state| {
            let name = state.config.session_policy().to_owned();
            state.policies.library().find(&name)
        })?,
        // The call asks for nothing narrower.
        (None, Authorised::Agent(agent)) => {
            let own = |state: &mut State| own_session(agent, state.shown(agent.session()));
            return in_turn(shared, agent, own).await;
        }
    };
    if let Authorised::Agent(agent) = who {
        // Before its policy is put in place, which writes a record.
        shared.with(|state| state.sessions.may_nest(agent, state.fleet.is_named()))?;
        is_short(&source)?;
        load::may_look_up(shared, agent, &source).await?;
    }
    let text = (source.text.len() <= MAX_TEXT).then(|| source.text.clone());
    let source = if call.observe {
        source.observing()
    } else {
        source
    };
    let (slots, warnings) = put_in_place(shared, who, &call, source).await?;
    let mut started = shared.with(|state| {
        let started = state.start(who, launcher, call, slots, warnings);
        // Those of a session that does not start. Behind one that does a tick comes, in its turn: others' sessions may be about to start.
        started.inspect_err(|_| state.collect_slots())
    })?;
    started
        .warnings
        .extend(resolver::worker::ready(shared).await);
    // For a session inside, the machine was checked when the outermost one began.
    let is_outer = matches!(who, Authorised::Approver(_));
    started.strict = is_outer && shared.with(|state| state.config.strict);
    if is_outer {
        started.text = text;
        shared.with(|state| {
            slots.tell(&state.config, &state.fleet, &state.policies, &mut started);
        });
    }
    if proxy::worker::serves(shared, &started.session.id) {
        have_proxy(shared, &mut started).await;
    }
    Ok(started)
}

/// Waits for the proxy, and for the certificate that the session is to trust.
async fn have_proxy(shared: &Shared, started: &mut Started) {
    started.warnings.extend(proxy::worker::ready(shared).await);
    let trust = proxy::authority::trusted(shared, &started.session.id).await;
    started.authority = trust.certificate;
    started.warnings.extend(trust.warning);
}

/// Whether that caller may have such a session now, whatever its policy.
async fn may_start(shared: &Shared, who: Authorised, call: &Run) -> Result<(), CallError> {
    if let Some(hold) = call.hold
        && !hold_is_possible(hold)
    {
        return Err(no_such_hold(hold));
    }
    shared.with(|state| state.sessions.may_run(who, call.uid))?;
    if call.root {
        shared.with(|state| may_be_root(state.config.run_as_root))?;
    }
    if let Authorised::Approver(_) = who {
        doctor::is_closed(shared).await?;
    }
    if call.observe {
        shared.with(|state| may_observe(who, state.config.observe))?;
    }
    Ok(())
}

/// Puts in place all that judges a new session under the policy from `source`. Also returns warnings for the caller.
async fn put_in_place(
    shared: &Shared,
    who: Authorised,
    call: &Run,
    source: PolicyText,
) -> Result<(Slots, Vec<String>), CallError> {
    let account = shared.with(|state| state.sessions.account_of_whom(who));
    let mut tries = 0..TRIES;
    loop {
        let (own, warnings) = load::slot_for(shared, source.clone(), account).await?;
        let base = match who {
            Authorised::Approver(_) => base(shared, account).await?,
            // It is around the session that this one is in.
            Authorised::Agent(_) => None,
        };
        let project = match &call.beside {
            Some(asked) => Some(projects(shared, who, asked, [Some(own), base], account).await?),
            None => None,
        };
        let others = [Some(own), base, project];
        let apart = apart(shared, who, own, others, account).await?;
        let slots = Slots {
            own,
            project,
            apart,
            base,
        };
        // A session that ends meanwhile takes with it the policies that nobody has yet.
        let are_there =
            shared.with(|state| slots.all().all(|slot| state.policies.get(slot).is_some()));
        if are_there || tries.next().is_none() {
            return Ok((slots, warnings));
        }
    }
}

/// What judges a new session.
#[derive(Clone, Copy, Debug)]
struct Slots {
    /// The policy that was asked for.
    own: PolicyId,
    /// The project's.
    project: Option<PolicyId>,
    /// That of [`apart`].
    apart: Option<PolicyId>,
    /// The fleet's, around an outermost session.
    base: Option<PolicyId>,
}

impl Slots {
    fn all(self) -> impl Iterator<Item = PolicyId> {
        [Some(self.own), self.project, self.apart, self.base]
            .into_iter()
            .flatten()
    }

    /// Adds what is told of a session to the person who starts it.
    fn tell(self, config: &Config, fleet: &Fleet, policies: &Policies, started: &mut Started) {
        let discover = config.discover;
        started.covered = discover.require == Require::Covered;
        started.asks = discover.drift == OnDrift::Ask;
        let around = fleet.base().ok().flatten();
        started.around = around.map(|base| Box::new(base.shown()));
        let slots = [Some(self.own), self.base].into_iter().flatten();
        started.unresolved = slots.flat_map(|slot| policies.unresolved(slot)).collect();
    }
}

/// The slot of a project's policy, which has to allow what the session's policy allows: it can widen nothing. `others`: these judge
/// beside it.
async fn projects(
    shared: &Shared,
    who: Authorised,
    beside: &PolicyRef,
    others: [Option<PolicyId>; 2],
    account: Account,
) -> Result<PolicyId, CallError> {
    let is_text = beside.text.is_some();
    if matches!(who, Authorised::Agent(_)) || !is_text {
        return Err(CallError::invalid(
            "the session has no project's policy",
            "that is a text, and for a session that a person starts",
            "give a policy in its place: --policy FILE",
        ));
    }
    let source = shared.with(|state| {
        let source = state.policies.library().resolve(beside.clone())?;
        let others: Vec<_> = others.into_iter().flatten().collect();
        let may_ask = state.policies.may_ask_name_servers(&others);
        Ok::<_, CallError>(source.of_project(may_ask))
    })?;
    let (slot, _) = load::slot_for(shared, source, account).await?;
    Ok(slot)
}

/// The slot of the policy that the fleet has around each session.
///
/// # Errors
///
/// That it is not known, or cannot be put in place: nothing starts without it.
pub(super) async fn base(shared: &Shared, account: Account) -> Result<Option<PolicyId>, CallError> {
    match shared.with(|state| state.fleet.base())? {
        Some(source) => Ok(Some(load::slot_for(shared, source, account).await?.0)),
        None => Ok(None),
    }
}

/// Where the settings say that what comes into reach is asked about, a person's session is judged by its policy, and by one beside it
/// that has the rules of [`load::narrow`] alone. So no rule that is added can let anything through. `others`: all that judges the session
/// beside it.
async fn apart(
    shared: &Shared,
    who: Authorised,
    slot: PolicyId,
    others: [Option<PolicyId>; 3],
    account: Account,
) -> Result<Option<PolicyId>, CallError> {
    let drift = shared.with(|state| state.config.discover.drift);
    if drift == OnDrift::Tell || matches!(who, Authorised::Agent(_)) {
        return Ok(None);
    }
    let nonce = Timestamp::now().as_nanosecond().to_string();
    let source = shared.with(|state| {
        let policy = state.policies.get(slot)?;
        let others: Vec<_> = others.into_iter().flatten().collect();
        let may_ask = state.policies.may_ask_name_servers(&others);
        Some(PolicyText::apart(&policy.policy, &nonce, may_ask))
    });
    let Some(source) = source else {
        return Ok(None);
    };
    let (apart, _) = load::slot_for(shared, source, account).await?;
    Ok(Some(apart))
}

/// Moves the calling process into a session.
///
/// # Errors
///
/// `NotFound` for sessions that it may not enter; or why it is not inside.
pub(crate) fn enter(
    state: &mut State,
    who: Authorised,
    peer: &Peer,
    pid: u32,
    session: &str,
) -> Result<(), CallError> {
    let id = match who {
        Authorised::Approver(who) => {
            let session = state
                .sessions
                .called(session, |owner| who.answers_for(owner))?;
            is_for_commands(session)?;
            session.cgroup.id
        }
        Authorised::Agent(agent) => state.sessions.inner_session(agent, session)?,
    };
    let Some(live) = state.sessions.live(id) else {
        return Err(ids::no_session(session));
    };
    is_still(peer, pid)?;
    let is_inside = matches!(who, Authorised::Agent(agent) if agent.session() == id);
    if is_inside && live.about.root && live.about.user_namespace.is_none() {
        let namespace = own_user_namespace(peer, pid)?;
        state.sessions.note_user_namespace(id, namespace);
        return unix::judge_unix(&mut state.datapath, &state.sessions, id);
    }
    if !live.cgroup.is_ours() {
        // It is inside already, perhaps in a cgroup further down that the unit has made.
        return Ok(());
    }
    // To move it moves no process, and stops each of the machine that forks.
    if is_inside && live.stage == LifeStage::Live && live.about.pid.is_some() {
        state.notice_network::<ProxyWorker>(id, pid);
        state.notice_network::<ResolverWorker>(id, pid);
        return Ok(());
    }
    state.datapath.enter(&live.cgroup, pid)?;
    // The pid written was the peer's only if the peer still lives.
    is_still(peer, pid)?;
    let unstarted = state.sessions.is_unstarted(id);
    if let Some(session) = unstarted.then(|| state.shown(id)).flatten() {
        (state.sessions).begins(&state.policies, &mut state.recorder, id, &session);
    }
    state.sessions.entered(&mut state.datapath, id, pid);
    state.notice_network::<ProxyWorker>(id, pid);
    state.notice_network::<ResolverWorker>(id, pid);
    Ok(())
}

/// The user namespace of the first process of a session that is to run as root, which names it once, before it becomes the
/// command. The kernel half then takes paths in that namespace literally: nobody can mount anything there.
fn own_user_namespace(peer: &Peer, pid: u32) -> Result<u32, CallError> {
    let unclear = |why: std::io::Error| {
        CallError::failed(
            "the session does not become root",
            format!("its user namespace cannot be seen: {why}"),
            "try again",
        )
    };
    let number = user_namespace::of(pid).map_err(unclear)?;
    is_still(peer, pid)?;
    Ok(number)
}

/// Ends a session and all of its processes. `refused`: why its command was not started.
///
/// # Errors
///
/// `NotFound`, or that its processes did not end.
pub(crate) async fn stop(
    shared: &Shared,
    who: Approver,
    id: &str,
    refused: Option<String>,
) -> Result<proto::SessionsReply, CallError> {
    let (session, shown) = shared.with(|state| {
        let session = state
            .sessions
            .called(id, |owner| who.answers_for(owner))?
            .cgroup
            .id;
        if let Some(why) = refused {
            state.sessions.refuse_start(session, &why);
        }
        let shown: Vec<_> = state.shown(session).into_iter().collect();
        state.sessions.kill(&mut state.datapath, session)?;
        Ok::<_, CallError>((session, shown))
    })?;
    let ends = async {
        loop {
            let goes_on = shared.with(|state| {
                state.check_session(session);
                // A session inside may have begun meanwhile.
                let inside = state.sessions.end_all_inside(&mut state.datapath, session);
                inside.iter().for_each(|inner| state.check_session(*inner));
                let mut all = inside.into_iter().chain([session]);
                all.any(|one| state.sessions.has_processes(&state.datapath, one))
            });
            if !goes_on {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let ended = tokio::time::timeout(MAX_STOPPING, ends).await;
    ended.map_err(|_| {
        CallError::failed(
            format!("the session {id} has not ended yet"),
            "its processes were killed, but the kernel has not let go of all of them",
            "guard sessions, in a while",
        )
    })?;
    Ok(proto::SessionsReply {
        sessions: shown,
        carried: false,
    })
}

/// The limit on a policy from inside a session, so that it cannot fill the kernel's memory.
fn is_short(source: &PolicyText) -> Result<(), CallError> {
    if source.name.is_some() || source.text.len() <= MAX_FRAME {
        return Ok(());
    }
    Err(CallError::refused(
        "the policy is too long for a session inside a session",
        format!("a text from inside has {MAX_FRAME} bytes at most"),
        "put it into /etc/guard/policies, and give its name",
    ))
}

/// A unit's cgroup is the service manager's: no other process is moved there.
fn is_for_commands(session: &Session) -> Result<(), CallError> {
    if session.cgroup.is_ours() {
        Ok(())
    } else {
        Err(CallError::refused(
            format!("{} is the session of a unit", session.about.name),
            "what runs in it is the service manager's to start",
            "guard run -- CMD starts a session of its own",
        ))
    }
}

fn too_deep() -> CallError {
    CallError::refused(
        "sessions nest no deeper",
        format!("this one would be judged by more than {MAX_CHAIN} policies"),
        "run it without another guard run around it",
    )
}

/// Whether sessions may run as root of a user namespace.
fn may_be_root(is_allowed: bool) -> Result<(), CallError> {
    if is_allowed {
        Ok(())
    } else {
        Err(CallError::refused(
            "no session runs as root here",
            "guardd's settings do not say run_as_root = true",
            "put run_as_root = true into /etc/guard/guardd.toml, above its first [table], then: sudo systemctl restart guardd; \
             or leave out --user root",
        ))
    }
}

/// Whether a session may let pass what no rule names: a client outside could have chosen a policy that does.
fn may_observe(who: Authorised, is_allowed: bool) -> Result<(), CallError> {
    match who {
        Authorised::Agent(_) => Err(CallError::refused(
            "no session is observed from inside",
            "it would let pass what no rule names, and nothing inside can widen what it may reach",
            "leave out --observe; the person outside may start one",
        )),
        Authorised::Approver(_) if !is_allowed => Err(CallError::refused(
            "no session is observed here",
            "guardd's settings say observe = false",
            "leave out --observe; or have observe = false taken out of /etc/guard/guardd.toml, then: sudo systemctl restart guardd",
        )),
        Authorised::Approver(_) => Ok(()),
    }
}

/// Whether the peer lives, and that is its pid.
///
/// # Errors
///
/// If it does not.
pub(crate) fn is_still(peer: &Peer, pid: u32) -> Result<(), CallError> {
    match (peer.is_alive(), peer.pid()) {
        (Ok(true), Ok(now)) if now == pid => Ok(()),
        _ => Err(CallError::refused(
            "the calling process cannot be moved",
            "it has ended",
            "start the command again",
        )),
    }
}

/// The answer to a nested run that changes nothing. `shown`: the caller's session.
fn own_session(agent: Agent, shown: Option<proto::Session>) -> Result<Started, CallError> {
    let session = shown.ok_or_else(|| ids::no_session(&ids::session(agent.session())))?;
    let warnings = vec![format!(
        "runs in {}: it asks for no narrower policy",
        session.id
    )];
    Ok(Started::new(session, warnings))
}

impl State {
    /// Makes a session in these slots.
    fn start(
        &mut self,
        who: Authorised,
        launcher: u32,
        call: Run,
        Slots {
            own: slot,
            project,
            apart,
            base,
        }: Slots,
        warnings: Vec<String>,
    ) -> Result<Started, CallError> {
        let mut chain = self.sessions.chain(who, slot)?;
        chain.extend(base);
        self.has_base(&chain)?;
        // An agent may write a project's: of equals people are shown the session's own, which comes after it.
        for slot in project.into_iter().chain(apart) {
            chain.insert(0, slot);
        }
        // No session had them yet, so they may have been tidied away while another was put in place.
        let is_one = chain.len() - usize::from(base.is_some()) == 1;
        if !is_one && chain.iter().any(|slot| self.policies.get(*slot).is_none()) {
            return Err(CallError::failed(
                "cannot start the session",
                "its policy went before it was there",
                "try again",
            ));
        }
        if let (Authorised::Agent(agent), true) = (who, chain[1..].contains(&slot)) {
            return own_session(agent, self.shown(agent.session()));
        }
        let about = SessionFacts {
            unstarted: matches!(who, Authorised::Approver(_)) && self.config.may_refuse_starts(),
            ..self.sessions.about(who, launcher, call)
        };
        let cgroup = self.datapath.add_session(&chain)?;
        let since = clock::now();
        let stage = LifeStage::Empty { since };
        let mut started = self.register(cgroup, chain, about, stage, warnings)?;
        let (sessions, policies) = (&self.sessions, &self.policies);
        self.sockets
            .judge(&mut self.datapath, sessions, policies, &mut started)?;
        Ok(started)
    }

    /// Registers a session that the kernel has.
    ///
    /// # Errors
    ///
    /// `NotFound`, never.
    pub(crate) fn register(
        &mut self,
        cgroup: SessionCgroup,
        chain: Vec<PolicyId>,
        about: SessionFacts,
        stage: LifeStage,
        mut warnings: Vec<String>,
    ) -> Result<Started, CallError> {
        let (id, is_ours) = (cgroup.id, cgroup.is_ours());
        self.machine.watch_session(&cgroup);
        share_with_outermost(&mut self.datapath, id, &about);
        self.flows.add(id, &about);
        let base = self.policies.base_slot();
        let base = base.filter(|base| chain.last() == Some(base));
        let changes = self.sessions.begin(Session {
            cgroup,
            chain,
            base,
            about,
            stage,
        });
        for change in changes {
            self.apply(change);
        }
        if let Some(session) = self.sessions.live(id) {
            let (policies, requests) = (&self.policies, &self.requests);
            self.holds
                .begin(&mut self.datapath, session, policies, requests);
            let user = session.about.uid;
            self.tell_remembered(user);
        }
        self.tell_host();
        unix::judge_unix(&mut self.datapath, &self.sessions, id)?;
        let session = self.shown(id);
        let session = session.ok_or_else(|| ids::no_session(&ids::session(id)))?;
        if !is_ours {
            self.survey_networks::<ProxyWorker>();
            self.survey_networks::<ResolverWorker>();
        }
        if !self.sessions.is_unstarted(id) {
            (self.sessions).write_start(&self.policies, &mut self.recorder, id, &session);
        }
        // In this order, so that a session which the next guardd finds here is in the audit log, or is known not to be.
        self.sessions.keep(id);
        let problem = self.recorder.audit().problem();
        warnings.extend(problem.map(|problem| format!("guarded, but not written down: {problem}")));
        Ok(Started::new(session, warnings))
    }
}

impl Policies {
    /// Whether guardd looks up the names in a policy from inside a session: only names that the session could look up itself,
    /// and up to a limit.
    pub(crate) fn may_bring(
        &mut self,
        sessions: &Sessions,
        agent: Agent,
        names: &BTreeSet<String>,
    ) -> Result<(), CallError> {
        let in_force = self.names();
        let new: BTreeSet<_> = names.difference(&in_force).cloned().collect();
        let Some(first) = new.first() else {
            return Ok(());
        };
        let live = sessions.live(agent.session());
        let is_asked = self.looks_up_brought();
        if is_asked && !live.is_some_and(|live| self.may_ask_name_servers(&live.chain)) {
            return Err(CallError::refused(
                format!("the name {first} is not looked up for this session"),
                "its policy lets it ask no name server, so guardd does not ask for it",
                "write addresses",
            ));
        }
        let outermost = sessions.outermost(agent.session());
        let inside = sessions.brought_into(outermost);
        let of_people = sessions.peoples_slots();
        let brought = self.names_brought(inside, &of_people);
        if new.len() + brought > MAX_NAMES {
            return Err(CallError::refused(
                "the policy has too many names for a session inside a session",
                format!(
                    "{} of them are in no policy that is in force, and {brought} were brought by others inside: {MAX_NAMES} \
                     may be",
                    new.len()
                ),
                "put it into /etc/guard/policies, and give its name",
            ));
        }
        let (_, due) = self.due(&new);
        self.pay_for(sessions.account_of(agent.session()), due.len())
    }

    /// Whether `guard doctor` looks with it: under a policy that denies everything, so that all of it has to be refused.
    pub(crate) fn is_trial(&self, session: &super::Session) -> bool {
        // What was asked for, below what narrows it.
        let own = session.asked_for();
        let policy = own.and_then(|slot| self.get(slot));
        // By its text: what anybody can call a policy hides nothing. Nor does what an agent starts inside its session.
        let is_doctors = policy.is_some_and(|policy| policy.source.text == probe::POLICY);
        is_doctors && session.about.parent.is_none() && !session.about.observed
    }
}

impl Sessions {
    /// Adds a new session. Returns what that changes.
    fn begin(&mut self, session: Session) -> Vec<Change> {
        let is_known = self.all_live().any(|one| one.chain == session.chain);
        self.add(session);
        let chains = (!is_known).then_some(Change::Chains);
        chains.into_iter().chain([Change::Sessions]).collect()
    }

    /// The record of a session's start.
    pub(super) fn start_entry(
        &self,
        policies: &Policies,
        id: SessionId,
        session: &proto::Session,
    ) -> LogEntry {
        let live = self.live(id);
        let parent = live.and_then(|live| live.about.parent);
        let assigned = live.and_then(|live| live.about.assigned);
        let is_trial = live.is_some_and(|live| policies.is_trial(live));
        let record = SessionStart {
            name: session.name.clone().into(),
            policy: session.policy.clone().into(),
            user: session.user.clone().into(),
            parent: parent.map(|id| ids::session(SessionId(id))).into(),
            command: session.command.clone().into(),
            assigned: assigned.map_or(Field::Absent, |by| by.as_str().into()),
            observed: if session.observed {
                true.into()
            } else {
                Field::Absent
            },
            trial: if is_trial { true.into() } else { Field::Absent },
            started: proto::moment::text(session.started_at).into(),
        };
        LogEntry::of(&session.id, session.uid, record)
    }

    /// Whether the caller may have a session for that user.
    fn may_run(&self, who: Authorised, uid: u32) -> Result<(), CallError> {
        let (own, is_root) = match who {
            Authorised::Approver(who) => (who.uid(), who.is_root()),
            Authorised::Agent(agent) => (agent.uid(), false),
        };
        if uid != own && !is_root {
            return Err(CallError::refused(
                format!("you may not run a command as uid {uid}"),
                "only root runs commands as other users",
                "leave out --user, or call sudo",
            ));
        }
        self.has_room_of(match who {
            Authorised::Approver(_) => own,
            Authorised::Agent(agent) => self.account_of(agent.session()).uid(),
        })?;
        let (count, most) = match who {
            Authorised::Approver(_) if own == 0 => return Ok(()),
            Authorised::Approver(_) => {
                let live = self.all_live();
                let mine = live.filter(|session| {
                    session.about.uid == own && session.about.outermost.is_none()
                });
                (mine.count(), MAX_SESSIONS)
            }
            Authorised::Agent(agent) => {
                let around = self.live(agent.session()).map(Session::outermost);
                let around = around.map(|outermost| outermost.0);
                let all = self.iter();
                let inside = all.filter(|session| session.about.outermost == around);
                (inside.count(), MAX_NESTED)
            }
        };
        if count >= most {
            return Err(CallError::refused(
                "no more sessions",
                format!("there are {count}, and {most} is the most"),
                "guard sessions, and guard stop those that are not needed",
            ));
        }
        Ok(())
    }

    /// Whether a user's sessions of all kinds but by `[[assign]]` leave the others of the kernel's room.
    fn has_room_of(&self, user: u32) -> Result<(), CallError> {
        let all = self.iter();
        let theirs = all.filter(|one| one.about.uid == user && one.counts_for_user());
        if user == 0 || theirs.count() < MAX_OF_USER {
            Ok(())
        } else {
            Err(CallError::refused(
                "no more sessions",
                format!(
                    "{MAX_OF_USER} is the most of a user, those inside others and those that have just ended included"
                ),
                "guard sessions, and guard stop those that are not needed; or wait",
            ))
        }
    }

    /// Whether a session may be started inside the caller's: there is a limit to the depth.
    /// Where the machine is in a fleet, one place is that one's, whether it has a policy by now or not.
    fn may_nest(&self, agent: Agent, in_fleet: bool) -> Result<(), CallError> {
        let outer = self.outer(agent)?.own_chain().len();
        if outer + usize::from(in_fleet) >= MAX_CHAIN {
            Err(too_deep())
        } else {
            Ok(())
        }
    }

    /// The policies that judge a new session: its own, then those of its parent session.
    fn chain(&self, who: Authorised, slot: PolicyId) -> Result<Vec<PolicyId>, CallError> {
        let mut chain = vec![slot];
        if let Authorised::Agent(agent) = who {
            chain.extend(self.chain_around(agent)?);
        }
        if chain.len() > MAX_CHAIN {
            Err(too_deep())
        } else {
            Ok(chain)
        }
    }

    /// The policies that judge the caller's session.
    fn chain_around(&self, agent: Agent) -> Result<&[PolicyId], CallError> {
        Ok(&self.outer(agent)?.chain)
    }

    fn outer(&self, agent: Agent) -> Result<&super::Session, CallError> {
        let outer = self.live(agent.session());
        outer.ok_or_else(|| ids::no_session(&ids::session(agent.session())))
    }

    /// Whether a session has processes. A unit's session may have none.
    fn has_processes(&self, kernel: &Datapath, id: SessionId) -> bool {
        let Some(session) = self.live(id) else {
            return false;
        };
        session.cgroup.is_ours() || kernel.is_populated(&session.cgroup).unwrap_or(true)
    }

    /// What is kept about a new session. A nested one has the owner of its parent session.
    fn about(&self, who: Authorised, launcher: u32, call: Run) -> SessionFacts {
        let outer = match who {
            Authorised::Agent(agent) => self.live(agent.session()),
            Authorised::Approver(_) => None,
        };
        let command = shortened(call.command);
        let program = command.first().map_or("", String::as_str);
        let program = program.rsplit('/').next().unwrap_or_default();
        let name = call.name.unwrap_or_else(|| program.to_owned());
        let uid = outer.map_or(call.uid, |outer| outer.about.uid);
        SessionFacts {
            launcher: Some(launcher),
            parent: outer.map(|outer| outer.cgroup.id.0),
            around: outer.map(Session::with_those_around).unwrap_or_default(),
            outermost: outer.map(|outer| outer.outermost().0),
            never_waits: call.hold == Some(0.0)
                || outer.is_some_and(|outer| outer.about.never_waits),
            waits: match outer {
                None => call.hold,
                // A session inside is held no longer than its parent session.
                Some(outer) => {
                    (outer.about.waits).map(|most| call.hold.map_or(most, |hold| hold.min(most)))
                }
            },
            connects: call.connects,
            // A session inside cannot have a scope that its parent session lacks. Units have none.
            scoped: call.scoped
                && outer.is_none_or(|outer| outer.about.scoped || !outer.cgroup.is_ours()),
            // Only a person may say what the namespace is.
            root: call.root && outer.is_none(),
            user_namespace: outer.and_then(|outer| outer.about.user_namespace),
            observed: call.observe,
            beside: call.beside.is_some(),
            brought_by: match who {
                Authorised::Approver(who) => Some(who.uid()),
                Authorised::Agent(_) => None,
            },
            agreed: call.agreed,
            ..SessionFacts::new(shown_name(&name), uid, command)
        }
    }

    /// The session that an agent may enter: one that was made inside its own, and is new.
    fn inner_session(&self, agent: Agent, id: &str) -> Result<SessionId, CallError> {
        let inner = self.live(ids::parse_session(id)?);
        let inner = inner.filter(|session| {
            let is_new = matches!(session.stage, LifeStage::Empty { .. });
            let is_own = session.cgroup.id == agent.session();
            let is_inside = session.about.parent == Some(agent.session().0);
            is_own || (is_new && is_inside)
        });
        let inner = inner.ok_or_else(|| ids::no_session(id))?;
        Ok(inner.cgroup.id)
    }

    /// Notes that a process is in a session; the first one is its command.
    fn entered(&mut self, kernel: &mut Datapath, id: SessionId, pid: u32) {
        let Some(session) = self.get_mut(id) else {
            return;
        };
        session.stage = LifeStage::Live;
        if session.about.pid.is_none() {
            session.about.pid = Some(pid);
            let is_launcher = |launcher: &u32| stands_in(*launcher, pid);
            session.about.launcher = session.about.launcher.filter(is_launcher);
            self.keep(id);
            self.attend(kernel, id);
        }
    }

    /// Whether it was refused, or may be yet.
    pub(super) fn is_unstarted(&self, id: SessionId) -> bool {
        self.get(id).is_some_and(|session| session.about.unstarted)
    }

    /// Notes that a session's command starts, which the settings might have refused before, and writes it, once.
    fn begins(
        &mut self,
        policies: &Policies,
        recorder: &mut Recorder,
        id: SessionId,
        session: &proto::Session,
    ) {
        if !self.is_unstarted(id) {
            return;
        }
        if let Some(unstarted) = self.get_mut(id) {
            unstarted.about.unstarted = false;
        }
        self.write_start(policies, recorder, id, session);
    }

    /// Writes a session's start, unless its starter had too many.
    fn write_start(
        &mut self,
        policies: &Policies,
        recorder: &mut Recorder,
        id: SessionId,
        session: &proto::Session,
    ) {
        let live = self.live(id);
        let by = live.map_or(Account::outside(session.uid), Session::starter);
        let entry = self.start_entry(policies, id, session);
        if !recorder.note_start(by, entry, clock::now()) {
            self.set_unrecorded(id, true);
        }
        recorder.count("sessions_started");
        let (policy, name) = (&session.policy, &session.name);
        tracing::info!(session = session.id, policy, name, "started");
    }

    /// Notes whether its start is written only with another record of it.
    pub(super) fn set_unrecorded(&mut self, id: SessionId, is_so: bool) {
        if let Some(session) = self.get_mut(id) {
            session.about.unrecorded = is_so;
        }
    }

    /// Notes why a command was not started, where it was not.
    fn refuse_start(&mut self, id: SessionId, why: &str) {
        if let Some(session) = self.get_mut(id).filter(|one| one.about.unstarted) {
            session.about.refused = Some(why.chars().take(MAX_WHY).collect());
        }
    }

    /// Notes the user namespace of a session that runs as root.
    fn note_user_namespace(&mut self, id: SessionId, number: u32) {
        if let Some(session) = self.get_mut(id) {
            session.about.user_namespace = Some(number);
            self.keep(id);
        }
    }
}

/// A flood of events from sessions inside counts against their outermost session alone.
pub(super) fn share_with_outermost(kernel: &mut Datapath, id: SessionId, about: &SessionFacts) {
    let Some(outermost) = about.outermost else {
        return;
    };
    if let Err(error) = kernel.share_with(id, SessionId(outermost)) {
        tracing::warn!(%error, session = id.0, "what is told of it is counted by itself");
    }
}

/// A name of bounded length that a terminal can show.
#[must_use]
pub(crate) fn shown_name(name: &str) -> String {
    let is_shown = |c: &char| !c.is_control();
    name.chars().filter(is_shown).take(MAX_NAME).collect()
}

/// Returns a command line of bounded length, without passwords and tokens.
#[must_use]
pub(crate) fn shortened(command: Vec<String>) -> Vec<String> {
    let command = command_without_secrets(&command);
    let mut left = MAX_COMMAND;
    let mut kept = Vec::new();
    for mut word in command {
        if word.len() >= left {
            word.truncate(word.floor_char_boundary(left));
            kept.push(word + "…");
            break;
        }
        left -= word.len() + 1;
        kept.push(word);
    }
    kept
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::{policies, record::recorder, sessions::none_but};

    #[test]
    fn a_start_that_may_be_refused_is_written_once_the_command_begins_or_is_refused() {
        let (mut recorder, _dir) = recorder();
        let log = recorder.audit().path().to_owned();
        let policies = policies::none();
        let mut sessions = none_but(&[(1, None), (2, None)]);
        let (begun, refused) = (SessionId(1), SessionId(2));
        let shown = [begun, refused].map(|id| {
            let session = sessions.get_mut(id).unwrap();
            session.about.unstarted = true;
            session.shown("lab".to_owned(), "dev".to_owned())
        });
        let [first, second] = shown;
        for _ in 0..2 {
            sessions.begins(&policies, &mut recorder, begun, &first);
        }
        sessions.refuse_start(begun, "it is too late");
        sessions.refuse_start(refused, "there is no such program");
        sessions.write_refused(&mut recorder, refused, second, clock::now());
        assert!(!sessions.is_unstarted(begun));
        assert!(sessions.is_unstarted(refused));
        let text = fs::read_to_string(log).unwrap();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        assert!(lines[0].contains(r#""kind":"session-start""#), "{text}");
        assert!(lines[1].contains("there is no such program"), "{text}");
    }

    #[test]
    fn a_session_under_a_chain_that_is_in_use_brings_no_new_one() {
        let mut sessions = none_but(&[(1, None)]);
        let first = sessions.get(SessionId(1)).unwrap().clone();
        let another = |id: u32, slot: u32| {
            let mut another = first.clone();
            another.cgroup.id = SessionId(id);
            another.chain = vec![PolicyId(slot)];
            another
        };
        assert_eq!(sessions.begin(another(2, 1)), [Change::Sessions]);
        let changes = sessions.begin(another(3, 7));
        assert_eq!(changes, [Change::Chains, Change::Sessions]);
        assert_eq!(sessions.all_live().count(), 3);
    }

    /// 63 outermost ones with all that may be inside them would have been the kernel's room for all users.
    #[test]
    fn one_users_sessions_leave_room_for_another_users() {
        let all = |count: u32| -> Vec<(u32, Option<u32>)> {
            let inside = |id: u32| (id > 512).then_some(id % 512 + 1);
            (1..=count).map(|id| (id, inside(id))).collect()
        };
        let most = u32::try_from(MAX_OF_USER).unwrap();
        let user = 1000;
        assert!(none_but(&all(most - 1)).has_room_of(user).is_ok());
        let full = none_but(&all(most));
        let refused = full.has_room_of(user).unwrap_err();
        assert!(refused.failure.why.contains("2000"), "{refused}");
        assert!(full.has_room_of(user + 1).is_ok() && full.has_room_of(0).is_ok());
    }

    #[test]
    fn command_lines_are_cut_at_a_character() {
        let short = vec!["curl".to_owned(), "-v".to_owned()];
        assert_eq!(shortened(short.clone()), short);
        let long = shortened(vec!["é".repeat(4000), "x".to_owned()]);
        assert_eq!(long.len(), 1);
        assert!(long[0].len() <= MAX_COMMAND + '…'.len_utf8());
    }
}
