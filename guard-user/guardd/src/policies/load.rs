//! Puts policies in place: [`slot_for`] at a session's start, [`reload`] when a file changes, [`refresh`] when a name has other
//! addresses.
//!
//! In order: `look_ahead` parses the text and looks up the names that are due, since name servers may take long. Then
//! `Shared::loading` is taken, so that one policy at a time is put in place: `prepare_known` parses again where the text has
//! changed since, and compiles it; `State::install` writes the tables to the kernel and applies the change.

use std::{
    collections::{BTreeSet, HashSet},
    io,
    sync::Arc,
};

use guard_common::{BootTime, PolicyId, SessionId};
use guard_datapath::Datapath;
use guard_policy::{self as policy, Compiled, Environment};
use guard_proto::record::PolicyLoad;
use guard_sys::{memory, threads};

use crate::{
    changes::Change,
    control::{auth::Agent, failure::CallError},
    policies::{self, InForce, ParsedPolicy, Policies, Prepared, library::PolicyText, unusable},
    quota::{Account, Limit, Pace, Quota},
    record::Recorder,
    resolver::soon,
    shared::Shared,
    state::State,
};

/// Parses a policy, looks up the names that are due, and compiles it. Nothing is put in place.
///
/// # Errors
///
/// `Invalid`, with all that is wrong with it.
pub(crate) async fn prepare(
    shared: &Shared,
    source: PolicyText,
    account: Account,
) -> Result<Prepared, CallError> {
    let by = Bringer::of(&source, Account::ROOT);
    let ahead = look_ahead(shared, &source, by, account).await;
    let _turn = shared.compiling.of(account).await;
    let (prepared, _) = prepare_known(shared, source, by, ahead).await?;
    Ok(prepared)
}

/// Who brought a policy. Names only in policies of nested sessions are dropped with these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bringer {
    Person,
    Session,
    /// An agent, it may be, in a directory that a person entered.
    Project,
}

impl Bringer {
    /// A session only names guardd's own policies, and does not bring them.
    fn of(source: &PolicyText, by: Account) -> Self {
        match &source.name {
            None if by.is_inside() => Self::Session,
            _ if source.unasked => Self::Project,
            _ => Self::Person,
        }
    }

    /// Whether the names of its policies are looked up.
    fn looks_up(self, shared: &Shared) -> bool {
        match self {
            Self::Person => true,
            Self::Session => shared.with(|state| state.policies.looks_up_brought()),
            Self::Project => false,
        }
    }
}

/// A policy that was parsed before [`Shared::loading`] was taken.
struct Ahead<'s> {
    source: PolicyText,
    read: ParsedPolicy,
    awaited: Awaited<'s>,
}

/// Looks up the names of a policy that are due, before [`Shared::loading`] is taken: name servers may take long.
async fn look_ahead<'s>(
    shared: &'s Shared,
    source: &PolicyText,
    by: Bringer,
    account: Account,
) -> Option<Ahead<'s>> {
    // An error in it is reported when it is parsed to be put in place.
    let (source, read) = parse_in_turn(shared, source.clone(), account).await.ok()?;
    let awaited = Awaited::new(shared, names(&read), by);
    if by.looks_up(shared) {
        look_up(shared, &awaited.names).await;
    }
    Some(Ahead {
        source,
        read,
        awaited,
    })
}

/// As [`prepare`], after [`look_ahead`]: looks up only names that are not in the cache yet, as when the text has changed since.
/// Also returns what keeps the names in the cache until the policy is in force.
async fn prepare_known<'s>(
    shared: &'s Shared,
    source: PolicyText,
    by: Bringer,
    ahead: Option<Ahead<'s>>,
) -> Result<(Prepared, Awaited<'s>), CallError> {
    let Ahead {
        source,
        read,
        awaited,
    } = match ahead {
        Some(ahead) if ahead.source == source => ahead,
        // Until the new ones are kept, so are the names of the text before.
        _changed => {
            let (source, read) = parse_in_background(source).await?;
            let awaited = Awaited::new(shared, names(&read), by);
            Ahead {
                source,
                read,
                awaited,
            }
        }
    };
    let mut unknown = awaited.names.clone();
    shared.with(|state| unknown.retain(|name| !state.policies.knows(name)));
    if by.looks_up(shared) {
        look_up(shared, &unknown).await;
    }
    let now = shared.with(|state| state.environment());
    let prepared = in_background(move || policies::compile(source, read, &now)).await?;
    Ok((prepared, awaited))
}

fn names(read: &ParsedPolicy) -> BTreeSet<String> {
    let names = read.policy.names();
    names.map(|name| name.as_str().to_owned()).collect()
}

/// Keeps the names of a policy in the cache until it is in force. The rules of a name that was dropped before would not hold.
struct Awaited<'s> {
    shared: &'s Shared,
    names: BTreeSet<String>,
}

impl<'s> Awaited<'s> {
    fn new(shared: &'s Shared, names: BTreeSet<String>, by: Bringer) -> Self {
        shared.with(|state| {
            let brought = by != Bringer::Person;
            state.policies.await_names(&names, brought);
        });
        Self { shared, names }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.shared
            .with(|state| state.policies.await_no_more(&self.names));
    }
}

/// Parses a policy in the turn of who brings it: nobody else waits.
async fn parse_in_turn(
    shared: &Shared,
    source: PolicyText,
    account: Account,
) -> Result<(PolicyText, ParsedPolicy), CallError> {
    let _turn = shared.compiling.of(account).await;
    parse_in_background(source).await
}

async fn parse_in_background(source: PolicyText) -> Result<(PolicyText, ParsedPolicy), CallError> {
    in_background(move || {
        let read = policies::parse(&source)?;
        Ok((source, read))
    })
    .await
}

/// Runs long work on a thread of its own, so that guardd goes on answering.
///
/// # Errors
///
/// The work's own; and `Failed` where no thread can begin.
pub(crate) async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, CallError> + Send + 'static,
) -> Result<T, CallError> {
    let done = threads::run(work).await;
    done.unwrap_or_else(|error| Err(not_done(&error)))
}

/// The error for work that no thread has done to its end.
fn not_done(error: &io::Error) -> CallError {
    let fix = if threads::are_used_up(error) {
        "let guardd have more threads (TasksMax= of its unit, pids.max of its cgroup), and try again"
    } else {
        "report it as a bug, with the policy"
    };
    CallError::failed("guardd cannot do that", error.to_string(), fix)
}

/// Looks up those of `names` that are due.
pub(crate) async fn look_up(shared: &Shared, names: &BTreeSet<String>) {
    let (name_servers, due) = shared.with(|state| state.policies.due(names));
    if due.is_empty() {
        return;
    }
    let found = name_servers.look_up(due).await;
    shared.with(|state| {
        let of_people = state.sessions.peoples_slots();
        let machine = state.environment();
        let (policies, config) = (&mut state.policies, &state.config);
        policies.learn(found, names, &of_people, config, &machine);
    });
}

/// Looks up names for one call from inside a session, which no policy needs.
///
/// # Errors
///
/// `Refused` if too many names were looked up for that session.
pub(crate) async fn look_up_in_passing(
    shared: &Shared,
    agent: Agent,
    names: &BTreeSet<String>,
) -> Result<(), CallError> {
    let (name_servers, due) = shared.with(|state| {
        let (name_servers, due) = state.policies.due_in_passing(names);
        let account = state.sessions.account_of(agent.session());
        state.policies.pay_for(account, due.len())?;
        Ok::<_, CallError>((name_servers, due))
    })?;
    let found = name_servers.look_up(due).await;
    shared.with(|state| {
        let floor = state.config.refresh_floor();
        state.policies.learn_in_passing(found, floor);
    });
    Ok(())
}

/// Whether a session may bring this policy: guardd looks up only names that the session could look up itself. The text is
/// parsed in the session's turn, so that only callers of the same account wait.
///
/// # Errors
///
/// `Invalid` if it is no policy; `Refused`, with what to do instead.
pub(crate) async fn may_look_up(
    shared: &Shared,
    agent: Agent,
    source: &PolicyText,
) -> Result<(), CallError> {
    if source.name.is_some() || shared.with(|state| state.policies.is_in_force(source)) {
        return Ok(());
    }
    let account = shared.with(|state| state.sessions.account_of(agent.session()));
    let (_, read) = parse_in_turn(shared, source.clone(), account).await?;
    shared.with(|state| {
        let (policies, sessions) = (&mut state.policies, &state.sessions);
        policies.may_bring(sessions, agent, &names(&read))
    })
}

/// The slot of the policy from `source`, put in place if need be, and warnings for the caller.
///
/// A newer text of a policy that is in force replaces it; if it is invalid, the old one stays in force. `by`: who calls. However many
/// callers are of one account, others wait for one policy of theirs at most.
///
/// # Errors
///
/// If the policy is invalid and none of that name is in force, or the kernel refuses it.
pub(crate) async fn slot_for(
    shared: &Shared,
    source: PolicyText,
    account: Account,
) -> Result<(PolicyId, Vec<String>), CallError> {
    let is_new = !shared.with(|state| state.policies.is_in_force(&source));
    let by = Bringer::of(&source, account);
    let ahead = if is_new {
        look_ahead(shared, &source, by, account).await
    } else {
        None
    };
    let _one_of_those = shared.turns.of(account).await;
    let _one_at_a_time = shared.loading.lock().await;
    let Some(slot) = shared.with(|state| state.policies.same(&source)) else {
        shared.with(|state| state.policies.may_bring_text(&source, account))?;
        let (prepared, _awaited) = prepare_known(shared, source, by, ahead).await?;
        return shared.with(|state| {
            state.policies.may_bring_lists(&prepared, account)?;
            let slot = state.install(None, prepared)?;
            state.policies.set_brought(slot, account);
            Ok((slot, state.policies.warnings_of(slot)))
        });
    };
    let refused = put_newer(shared, slot, source, ahead).await.err();
    let mut warnings = shared.with(|state| state.policies.warnings_of(slot));
    if let Some(refused) = refused {
        let why = &refused.failure;
        warnings.push(format!(
            "{}, so the version before it stands: {}",
            why.what, why.why
        ));
    }
    Ok((slot, warnings))
}

/// Puts a newer text of a policy into its slot, if it differs. `ahead`: its names, where they were looked up before.
async fn put_newer<'s>(
    shared: &'s Shared,
    slot: PolicyId,
    source: PolicyText,
    ahead: Option<Ahead<'s>>,
) -> Result<(), CallError> {
    if shared.with(|state| state.policies.is_same(slot, &source)) {
        return Ok(());
    }
    let file = source.shown_file();
    let by = Bringer::of(&source, Account::ROOT);
    let renewed = match prepare_known(shared, source, by, ahead).await {
        Ok((prepared, _awaited)) => {
            let _taught = soon::taught_ahead(shared, slot, &prepared).await;
            shared.with(|state| state.install(Some(slot), prepared).map(|_| ()))
        }
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &renewed {
        shared.with(|state| {
            state
                .policies
                .refuse(&mut state.recorder, slot, &file, refusal)
        });
    }
    renewed
}

/// Adds a rule to the policy that a session has for itself, in [`PolicyText::apart`].
///
/// # Errors
///
/// Why it cannot be; then the policy stands as it was.
pub(crate) async fn narrow(
    shared: &Shared,
    slot: PolicyId,
    name: &str,
    rule: &str,
) -> Result<(), CallError> {
    let _one_at_a_time = shared.loading.lock().await;
    let source = shared.with(|state| {
        let policy = state.policies.get(slot)?;
        policy.source.narrowed(name, rule)
    });
    match source {
        Some(source) => put_newer(shared, slot, source, None).await,
        None => Ok(()),
    }
}

/// Reads guardd's own policies that are in force again. Invalid ones are reported, and the old ones stay in force. Also checks
/// whether the audit log's file was renamed. Runs at SIGHUP, at a change that inotify reports, and once at the start.
pub(crate) async fn reload(shared: &Shared) {
    let named = shared.with(|state| {
        state.recorder.follow_path();
        let slots = state.policies.iter();
        let named = slots.filter_map(|(_, policy)| {
            let source = &policy.source;
            Some((source.name.clone()?, source.observe))
        });
        named.collect::<Vec<_>>()
    });
    for (name, observe) in named {
        reload_one(shared, &name, observe).await;
    }
    unusable::check(shared).await;
    // What parsing leaves free is several times what is kept.
    memory::give_back();
    shared.arrivals.notify_one();
}

/// Reads one of them again, if it is still in force.
async fn reload_one(shared: &Shared, name: &str, observe: bool) {
    let find = || {
        let found = shared.with(|state| state.policies.library().find(name));
        found.map(|source| if observe { source.observing() } else { source })
    };
    let new = find().ok();
    let new = new.filter(|source| !shared.with(|state| state.policies.is_in_force(source)));
    let ahead = match &new {
        Some(source) => look_ahead(shared, source, Bringer::Person, Account::ROOT).await,
        None => None,
    };
    let _one_at_a_time = shared.loading.lock().await;
    let Some(slot) = shared.with(|state| state.policies.named(name, observe)) else {
        return;
    };
    // The file read before may have changed, and the policy been put in place, since.
    match find() {
        // An error is in guardd's log, the audit log and `guard status` by now.
        Ok(source) => drop(put_newer(shared, slot, source, ahead).await),
        // Nothing newer was refused: it is not known what any name means, which the fleet's own warning says.
        Err(_) if shared.with(|state| !state.policies.library().is_known()) => {}
        Err(refusal) => shared.with(|state| {
            state
                .policies
                .refuse(&mut state.recorder, slot, name, &refusal)
        }),
    }
}

/// Looks up the names that are due, and compiles the policies that depend on a changed one.
pub(crate) async fn refresh(shared: &Shared) {
    // Groups are known at once, and names may not resolve just when the network has changed.
    shared.with(|state| state.renew_name_servers());
    refit_all(shared).await;
    let names = shared.with(|state| {
        let of_people = state.sessions.peoples_slots();
        state.policies.names_to_look_up(&of_people)
    });
    look_up(shared, &names).await;
    refit_all(shared).await;
}

/// Compiles the policies that depend on what has changed.
async fn refit_all(shared: &Shared) {
    let _one_at_a_time = shared.loading.lock().await;
    let depending = shared.with(|state| {
        state.tell_host();
        let now = state.environment();
        let slots = state.policies.iter();
        let moved = slots.filter(|(_, policy)| {
            let relevant = policies::relevant(&policy.policy, &now);
            relevant != policy.fitted
        });
        moved.map(|(slot, _)| slot).collect::<Vec<_>>()
    });
    for slot in depending {
        if let Err(error) = refit(shared, slot).await {
            tracing::warn!(%error, slot = slot.0, "cannot be compiled for the names' new addresses");
        }
    }
}

/// Compiles a policy with the current addresses of its names and groups, and puts the tables in place if they differ.
async fn refit(shared: &Shared, slot: PolicyId) -> Result<(), CallError> {
    let Some((old, now)) = shared.with(|state| {
        let policy = Arc::clone(&state.policies.get(slot)?.policy);
        Some((policy, state.environment()))
    }) else {
        return Ok(());
    };
    let (compiled, fitted) = in_background(move || {
        let compiled = policy::compile(&old, &now).map_err(|wrong| {
            let why: Vec<_> = wrong.iter().map(|one| one.message.clone()).collect();
            CallError::invalid(
                "the policy does not fit any more",
                why.join("; "),
                "split it",
            )
        })?;
        Ok((compiled, policies::relevant(&old, &now)))
    })
    .await?;
    shared.with(|state| {
        let (policies, kernel) = (&mut state.policies, &mut state.datapath);
        let changed = policies.refit(kernel, slot, compiled, fitted)?;
        if let Some(change) = changed {
            state.apply(change);
        }
        Ok(())
    })
}

impl State {
    /// Puts a policy into the kernel, in a new slot or in place of the one in `slot`: whole, or not at all.
    ///
    /// # Errors
    ///
    /// The kernel's; the policy that was in force still is.
    pub(crate) fn install(
        &mut self,
        slot: Option<PolicyId>,
        prepared: Prepared,
    ) -> Result<PolicyId, CallError> {
        let judged = slot.map(|slot| self.sessions.judged_under(slot));
        let (policies, kernel) = (&mut self.policies, &mut self.datapath);
        let stands = slot.zip(judged);
        let (slot, change) = policies.install(kernel, &mut self.recorder, stands, prepared)?;
        self.apply(change);
        Ok(slot)
    }

    /// Empties the slots that judge nothing any more.
    pub(crate) fn collect_slots(&mut self) {
        let mut used = self.sessions.slots();
        used.extend(self.resolver.slots_soon());
        let unused = self.policies.unused(&used);
        self.empty_slots(&unused);
    }

    /// Empties slots that judge nothing.
    pub(crate) fn empty_slots(&mut self, unused: &[PolicyId]) {
        if let Some(change) = self.policies.empty(&mut self.datapath, unused) {
            self.apply(change);
        }
    }
}

/// Bytes of policies' texts that are no policies of guardd's: each costs guardd and the kernel several times as much.
const TEXTS: Limit = Limit::each(Pace::held(4 << 20), Pace::held(8 << 20));

/// Lists of ports in policies that are no policies of guardd's.
const LISTS: Limit = Limit::each(Pace::held(1024), Pace::held(2048));
/// Lists of all accounts together, of 65,536 in the kernel. The rest is for guardd's own policies.
const MOST_LISTS: u64 = 49_152;

/// Whether a text is a person's or a session's, and none of guardd's own policies.
fn is_brought(source: &PolicyText, account: Account) -> bool {
    source.name.is_none() && !source.base && account != Account::ROOT
}

impl Policies {
    /// Checks that a text is within the limits of its account.
    ///
    /// # Errors
    ///
    /// `Refused`, with the limit.
    fn may_bring_text(&self, source: &PolicyText, account: Account) -> Result<(), CallError> {
        let length = |source: &PolicyText| source.text.len() as u64;
        let counted = self.brought(|policy| length(&policy.source));
        let quota = Quota::counted(TEXTS, counted);
        if !is_brought(source, account) || quota.has_room(account, length(source), BootTime(0)) {
            return Ok(());
        }
        Err(CallError::refused(
            "too long policies are in force of this user",
            "the texts of all have 8 MiB at most, and of a session's own 4 MiB",
            "end some of the sessions under them: guard sessions; or have the policy put into /etc/guard/policies",
        ))
    }

    /// Checks that the port lists of a policy are within the limits of its account, and leave room for guardd's own policies.
    ///
    /// # Errors
    ///
    /// `Refused`, with the limit.
    fn may_bring_lists(&self, prepared: &Prepared, account: Account) -> Result<(), CallError> {
        let count = |compiled: &Compiled| compiled.lists.len() as u64;
        let counted = || self.brought(|policy| count(&policy.compiled));
        let more = count(&prepared.compiled);
        let quota = Quota::counted(LISTS, counted());
        let all: u64 = counted().map(|(_, lists)| lists).sum();
        let why = if !is_brought(&prepared.source, account) {
            return Ok(());
        } else if !quota.has_room(account, more, BootTime(0)) {
            "the policies of a user have 2,048 lists of ports at most, and those of a session 1,024"
        } else if all + more > MOST_LISTS {
            "the policies of all users have 49,152 lists of ports at most"
        } else {
            return Ok(());
        };
        Err(CallError::refused(
            "too many lists of ports are in force",
            why,
            "write rules with the same ports as one, or have the policy put into /etc/guard/policies",
        ))
    }

    /// Counts something of each policy that was brought, beside the account that brought the policy.
    fn brought(&self, counts: impl Fn(&InForce) -> u64) -> impl Iterator<Item = (Account, u64)> {
        let brought = self.brought_by.iter();
        brought.filter_map(move |(slot, by)| Some((*by, counts(self.slots.get(slot)?))))
    }

    /// Notes who brought the text in a slot.
    fn set_brought(&mut self, slot: PolicyId, account: Account) {
        let source = self.slots.get(&slot).map(|policy| &policy.source);
        if source.is_some_and(|source| source.name.is_none() && !source.base) {
            self.brought_by.insert(slot, account);
        }
    }

    /// Whether some slot has exactly that text.
    #[must_use]
    fn is_in_force(&self, source: &PolicyText) -> bool {
        let slot = self.same(source);
        slot.is_some_and(|slot| self.is_same(slot, source))
    }

    /// Whether a slot has exactly that text.
    #[must_use]
    pub(crate) fn is_same(&self, slot: PolicyId, source: &PolicyText) -> bool {
        let policy = self.slots.get(&slot);
        policy.is_some_and(|policy| policy.error.is_none() && policy.source == *source)
    }

    /// Puts a policy into the kernel, in a new slot or in place of the one in `stands`, which judges these sessions: whole, or not at all.
    ///
    /// # Errors
    ///
    /// The kernel's; the policy that was in force still is.
    pub(crate) fn install(
        &mut self,
        kernel: &mut Datapath,
        recorder: &mut Recorder,
        stands: Option<(PolicyId, HashSet<SessionId>)>,
        prepared: Prepared,
    ) -> Result<(PolicyId, Change), CallError> {
        let policy = InForce::from(prepared);
        let slot = match stands {
            Some((slot, sessions)) => self.replace(kernel, slot, &sessions, &policy)?,
            None => {
                let slot = kernel.install_policy(None, &policy.compiled)?;
                self.keep_text(slot, &policy.source);
                slot
            }
        };
        recorder.count("policy_loads.ok");
        let record = PolicyLoad {
            policy: policy.policy.name.clone().into(),
            file: policy.source.file.clone().into(),
            prefixes: policy.compiled.prefixes.len().into(),
            ..PolicyLoad::default()
        };
        tracing::info!(policy = policy.policy.name, slot = slot.0, "in force");
        self.put(slot, policy);
        recorder.note(record);
        Ok((slot, Change::Policies(slot)))
    }

    /// Puts a policy in place of the one in a slot.
    fn replace(
        &mut self,
        kernel: &mut Datapath,
        slot: PolicyId,
        sessions: &HashSet<SessionId>,
        policy: &InForce,
    ) -> Result<PolicyId, CallError> {
        // The text first: if guardd is killed in between, the next one goes on from the new text, not the old one.
        self.keep_text(slot, &policy.source);
        // Then the names: by patterns that it has and the old one has not, an address would be known by too little until they are written.
        // Before that the old one denies what it has no such pattern for.
        let written = self.write_names_ahead(kernel, sessions, slot, policy);
        let installed = written.and_then(|()| kernel.install_policy(Some(slot), &policy.compiled));
        if installed.is_err() {
            if let Some(stands) = self.slots.get(&slot) {
                self.keep_text(slot, &stands.source);
            }
            self.rewrite_names(kernel, sessions, slot);
        }
        Ok(installed?)
    }

    fn keep_text(&self, slot: PolicyId, source: &PolicyText) {
        self.texts.keep(&slot.0.to_string(), source);
    }

    /// Puts new tables of the same policy in place, if they differ: its names or groups have other addresses now.
    ///
    /// # Errors
    ///
    /// The kernel's; the policy that was in force still is.
    fn refit(
        &mut self,
        kernel: &mut Datapath,
        slot: PolicyId,
        compiled: Compiled,
        fitted: Environment,
    ) -> Result<Option<Change>, CallError> {
        let Some(policy) = self.slots.get_mut(&slot) else {
            return Ok(None);
        };
        if *policy.compiled == compiled {
            policy.fitted = fitted;
            return Ok(None);
        }
        kernel.install_policy(Some(slot), &compiled)?;
        policy.compiled = Arc::new(compiled);
        policy.fitted = fitted;
        tracing::info!(
            policy = policy.policy.name,
            "follows the names' new addresses"
        );
        Ok(Some(Change::Policies(slot)))
    }

    /// Records why a newer text of a policy is not put in place: the old one stays in force.
    pub(crate) fn refuse(
        &mut self,
        recorder: &mut Recorder,
        slot: PolicyId,
        file: &str,
        refusal: &CallError,
    ) {
        let Some(policy) = self.slots.get_mut(&slot) else {
            return;
        };
        let error = format!("{}: {}", refusal.failure.what, refusal.failure.why);
        if policy.error.as_ref() == Some(&error) {
            return;
        }
        tracing::error!(
            policy = policy.policy.name,
            error,
            "the version before it stands"
        );
        recorder.count("policy_loads.failed");
        let record = PolicyLoad {
            policy: policy.policy.name.clone().into(),
            file: file.into(),
            error: error.clone().into(),
            ..PolicyLoad::default()
        };
        policy.error = Some(error);
        recorder.note(record);
    }

    /// The slots that are not in `used` and do not judge unowned cgroups.
    #[must_use]
    pub(crate) fn unused(&self, used: &HashSet<PolicyId>) -> Vec<PolicyId> {
        let slots = self.slots.keys();
        let of_default = self.default_chain().unwrap_or_default();
        let is_unused = |slot: &&PolicyId| !used.contains(slot) && !of_default.contains(slot);
        slots.filter(is_unused).copied().collect()
    }

    /// Empties slots that judge nothing any more.
    pub(crate) fn empty(&mut self, kernel: &mut Datapath, unused: &[PolicyId]) -> Option<Change> {
        let mut emptied = None;
        for slot in unused {
            if let Err(error) = kernel.remove_policy(*slot) {
                tracing::warn!(%error, slot = slot.0, "cannot be emptied");
                continue;
            }
            self.forget(*slot);
            emptied = Some(Change::Slots);
        }
        emptied
    }

    fn forget(&mut self, slot: PolicyId) {
        self.slots.remove(&slot);
        self.brought_by.remove(&slot);
        self.texts.remove(&slot.0.to_string());
    }

    /// Compiles the policy in a slot of the kernel's again, from its source text.
    ///
    /// # Errors
    ///
    /// Why it cannot; then it stays as it is in the kernel.
    pub(crate) fn adopt(
        &mut self,
        kernel: &mut Datapath,
        slot: PolicyId,
        now: &Environment,
    ) -> Result<(), CallError> {
        let Some(source) = self.texts.get(&slot.0.to_string()) else {
            return Err(CallError::not_found(
                "a policy is in force whose text is gone",
                "its file in the state directory is not there",
                "end its sessions: guard sessions",
            ));
        };
        let read = policies::parse(&source)?;
        let prepared = policies::compile(source, read, now)?;
        // The kernel still has the addresses of names whose last answers are lost.
        match prepared
            .policy
            .names()
            .find(|name| !prepared.source.unasked && !self.knows(name.as_str()))
        {
            Some(name) => {
                tracing::warn!(%name, slot = slot.0, "was never asked about: the kernel's version stands")
            }
            None if kernel.holds_policy(slot, &prepared.compiled)? => {}
            None => {
                kernel.install_policy(Some(slot), &prepared.compiled)?;
            }
        }
        self.put(slot, InForce::from(prepared));
        Ok(())
    }

    /// Empties the slots of an earlier guardd that judge nothing, and removes texts of policies that the kernel does not have.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn drop_stray(
        &mut self,
        kernel: &mut Datapath,
        used: &HashSet<PolicyId>,
    ) -> Result<(), CallError> {
        let of_default = self.default_chain().unwrap_or_default();
        for slot in kernel.policy_slots()? {
            if !used.contains(&slot) && !of_default.contains(&slot) {
                kernel.remove_policy(slot)?;
                self.forget(slot);
            }
        }
        let slots = kernel.policy_slots()?.into_iter();
        let slots: HashSet<_> = slots.map(|slot| slot.0.to_string()).collect();
        for key in self.texts.keys() {
            if !slots.contains(&key) {
                self.texts.remove(&key);
            }
        }
        Ok(())
    }
}
