//! Putting policies in place: at a session's start, when a file changes, when a name moves.

use std::{
    collections::BTreeSet,
    sync::Arc,
    time::{Duration, Instant},
};

use guard_common::{PolicyId, SessionId};
use guard_policy as policy;
use guard_proto::record::PolicyLoad;
use guard_sys::clock;
use jiff::Timestamp;
use tokio::task::spawn_blocking;

use crate::{
    changes::Change,
    control::{auth::Agent, failure::Refusal},
    policies::{self, InForce, Prepared, Read, library::Source, names::Found, unusable},
    shared::Shared,
    state::{NAMES, State},
};

/// Reads a policy, looks its names up where that is due, and compiles it. Nothing is put in place.
///
/// # Errors
///
/// `Invalid`, with all that is wrong with it.
pub async fn prepare(shared: &Shared, source: Source) -> Result<Prepared, Refusal> {
    let _ahead = look_ahead(shared, &source, Bringer::Person).await;
    let (prepared, _) = prepare_known(shared, source, Bringer::Person).await?;
    Ok(prepared)
}

/// Who has brought a policy: what only sessions inside have brought is forgotten with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bringer {
    Person,
    Session,
}

impl Bringer {
    /// Of the daemon's own policies a session only gives the name.
    fn of(source: &Source, inside: Option<SessionId>) -> Self {
        match (&source.name, inside) {
            (None, Some(_)) => Self::Session,
            _ => Self::Person,
        }
    }
}

/// Looks up the names of a policy where that is due. That takes as long as name servers do: whoever puts policies in place does
/// it before it is their turn.
async fn look_ahead<'s>(shared: &'s Shared, source: &Source, by: Bringer) -> Option<Awaited<'s>> {
    // What is wrong with it is told when it is read to be put in place.
    let (_, read) = read(shared, source.clone()).await.ok()?;
    let awaited = Awaited::new(shared, names(&read), by);
    look_up(shared, &awaited.names).await;
    Some(awaited)
}

/// The same as [`prepare`] where its names were looked up: only those are that nobody knows yet, as where the text is another one
/// by now. With what keeps them from being forgotten until it is in force.
async fn prepare_known(
    shared: &Shared,
    source: Source,
    by: Bringer,
) -> Result<(Prepared, Awaited<'_>), Refusal> {
    let (source, read) = read(shared, source).await?;
    let awaited = Awaited::new(shared, names(&read), by);
    let mut unknown = awaited.names.clone();
    shared.with(|state| unknown.retain(|name| !state.names.has(name)));
    look_up(shared, &unknown).await;
    Ok((compile(shared, source, read).await?, awaited))
}

fn names(read: &Read) -> BTreeSet<String> {
    let names = read.policy.names();
    names.map(|name| name.as_str().to_owned()).collect()
}

/// Names by which a policy is about to be compiled: a rule would not hold for one that was forgotten before it is in force.
struct Awaited<'s> {
    shared: &'s Shared,
    names: BTreeSet<String>,
}

impl<'s> Awaited<'s> {
    fn new(shared: &'s Shared, names: BTreeSet<String>, by: Bringer) -> Self {
        shared.with(|state| {
            if by == Bringer::Session {
                state.names.bring(&names);
            }
            state.names.await_all(&names);
        });
        Self { shared, names }
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.shared
            .with(|state| state.names.await_no_more(&self.names));
    }
}

async fn read(shared: &Shared, source: Source) -> Result<(Source, Read), Refusal> {
    // The semaphore is never closed.
    let _permit = shared.compiling.acquire().await;
    in_background(move || {
        let read = policies::read(&source)?;
        Ok((source, read))
    })
    .await
}

async fn compile(shared: &Shared, source: Source, read: Read) -> Result<Prepared, Refusal> {
    let _permit = shared.compiling.acquire().await;
    let now = shared.with(|state| state.environment());
    in_background(move || policies::compile(source, read, &now)).await
}

/// Does what may take long without holding up the answers to others.
pub async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    let done = spawn_blocking(work).await;
    done.unwrap_or_else(|error| {
        Err(Refusal::failed(
            "cannot compile the policy",
            error.to_string(),
            "report it as a bug, with the policy",
        ))
    })
}

/// Looks up those of `names` for which that is due.
pub async fn look_up(shared: &Shared, names: &BTreeSet<String>) {
    let (resolver, due) = shared.with(|state| {
        let due = state.names.due(names, Timestamp::now());
        (state.resolver.clone(), due)
    });
    if due.is_empty() {
        return;
    }
    let found = resolver.look_up(due).await;
    shared.with(|state| {
        let is_urgent = state.learn(found);
        let in_force = state.policies.names();
        let needed = |name: &str| names.contains(name) || in_force.contains(name);
        state.names.make_room(needed);
        state.keep_names(is_urgent);
    });
}

/// Looks up a name for a call from inside, which alone needs it.
///
/// # Errors
///
/// `Refused` where too many were looked up for that session.
pub async fn look_up_in_passing(
    shared: &Shared,
    agent: Agent,
    names: &BTreeSet<String>,
) -> Result<(), Refusal> {
    let (resolver, due) = shared.with(|state| {
        let due = state.names.due_in_passing(names, Timestamp::now());
        state.pay_for(agent, due.len())?;
        Ok::<_, Refusal>((state.resolver.clone(), due))
    })?;
    let found = resolver.look_up(due).await;
    shared.with(|state| {
        let floor = state.config.refresh_floor();
        for (name, answer) in found {
            if let Err(problem) = &answer {
                // Whoever asks can do so for as many names as they like.
                tracing::debug!(name, problem, "does not resolve");
            }
            let now = Timestamp::now();
            state.names.learn_in_passing(name, answer, now, floor);
        }
    });
    Ok(())
}

/// Whether a session may bring a policy with these names: guardd looks them up only where that session might do so itself. They
/// are read where that holds up nobody but those in the same session.
///
/// # Errors
///
/// `Invalid` where it is no policy; `Refused`, with what to do instead.
pub async fn may_look_up(shared: &Shared, agent: Agent, source: &Source) -> Result<(), Refusal> {
    if source.name.is_some() || shared.with(|state| state.is_in_force(source)) {
        return Ok(());
    }
    let outermost = shared.with(|state| state.outermost(agent.session()));
    let turn = shared.turn_of(outermost.unwrap_or(agent.session()));
    let _one_of_those_inside = turn.lock().await;
    let (_, read) = read(shared, source.clone()).await?;
    shared.with(|state| state.may_bring(agent, &names(&read)))
}

/// The slot that holds the policy from `source`, put in place if need be, and what whoever asked
/// for it should know.
///
/// A newer text of a policy that is in force replaces it; where it is bad, the old one stands.
/// `inside`: the session that a person started in which whoever asked is. However many are in it, they hold up others by one
/// policy.
///
/// # Errors
///
/// Where the policy is invalid and none of that name is in force, or the kernel takes no more.
pub async fn slot_for(
    shared: &Shared,
    source: Source,
    inside: Option<SessionId>,
) -> Result<(PolicyId, Vec<String>), Refusal> {
    let is_new = !shared.with(|state| state.is_in_force(&source));
    let turn = inside.filter(|_| is_new);
    let turn = turn.map(|session| shared.turn_of(session));
    let _one_of_those_inside = match &turn {
        Some(turn) => Some(turn.lock().await),
        None => None,
    };
    let by = Bringer::of(&source, inside);
    let _ahead = match is_new {
        true => look_ahead(shared, &source, by).await,
        false => None,
    };
    let _one_at_a_time = shared.loading.lock().await;
    let Some(slot) = shared.with(|state| state.policies.same(&source)) else {
        let (prepared, _awaited) = prepare_known(shared, source, by).await?;
        return shared.with(|state| {
            let slot = state.install(None, prepared)?;
            Ok((slot, state.slot_warnings(slot)))
        });
    };
    let refused = renew(shared, slot, source).await.err();
    let mut warnings = shared.with(|state| state.slot_warnings(slot));
    if let Some(refused) = refused {
        let why = &refused.failure;
        warnings.push(format!(
            "{}, so the version before it stands: {}",
            why.what, why.why
        ));
    }
    Ok((slot, warnings))
}

/// Puts a newer text of a policy into its slot, if it is another one. What it names was looked up.
async fn renew(shared: &Shared, slot: PolicyId, source: Source) -> Result<(), Refusal> {
    if shared.with(|state| state.is_same(slot, &source)) {
        return Ok(());
    }
    let file = source.shown_file();
    let renewed = match prepare_known(shared, source, Bringer::Person).await {
        Ok((prepared, _awaited)) => {
            shared.with(|state| state.install(Some(slot), prepared).map(|_| ()))
        }
        Err(refusal) => Err(refusal),
    };
    if let Err(refusal) = &renewed {
        shared.with(|state| state.refuse_policy(slot, &file, refusal));
    }
    renewed
}

/// Reads the policies in force again that come from the daemon's directories. Bad ones are
/// reported, and the old ones stand. Looks after the audit trail as well, whose file may have been renamed.
pub async fn reload(shared: &Shared) {
    let named = shared.with(|state| {
        state.audit.follow_path();
        let slots = state.policies.iter();
        let named = slots.filter_map(|(_, policy)| policy.source.name.clone());
        named.collect::<Vec<_>>()
    });
    for name in named {
        reload_one(shared, &name).await;
    }
    unusable::look(shared).await;
    shared.arrivals.notify_one();
}

/// Reads one of them again, if it is in force still.
async fn reload_one(shared: &Shared, name: &str) {
    let find = || shared.with(|state| state.sources.find(name));
    let new = find().ok();
    let new = new.filter(|source| !shared.with(|state| state.is_in_force(source)));
    let _ahead = match &new {
        Some(source) => look_ahead(shared, source, Bringer::Person).await,
        None => None,
    };
    let _one_at_a_time = shared.loading.lock().await;
    let Some(slot) = shared.with(|state| state.policies.named(name)) else {
        return;
    };
    // What was looked at before may have changed, and been put in place, since.
    match find() {
        // What was wrong is in the log, the audit trail and `guard status` by now.
        Ok(source) => drop(renew(shared, slot, source).await),
        Err(refusal) => shared.with(|state| state.refuse_policy(slot, name, &refusal)),
    }
}

/// Looks up the names that are due, and compiles the policies again that depend on what has changed.
pub async fn refresh(shared: &Shared) {
    // What groups stand for is known at once, and names may not resolve just when the network is another one.
    refit_all(shared).await;
    let names = shared.with(|state| state.policies.names());
    look_up(shared, &names).await;
    refit_all(shared).await;
}

/// Compiles the policies again that depend on what has changed.
async fn refit_all(shared: &Shared) {
    let _one_at_a_time = shared.loading.lock().await;
    let depending = shared.with(|state| {
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

/// Compiles a policy again for what its names and groups stand for now.
async fn refit(shared: &Shared, slot: PolicyId) -> Result<(), Refusal> {
    let Some((old, now)) = shared.with(|state| {
        let policy = Arc::clone(&state.policies.get(slot)?.policy);
        Some((policy, state.environment()))
    }) else {
        return Ok(());
    };
    let (compiled, fitted) = in_background(move || {
        let compiled = policy::compile(&old, &now).map_err(|wrong| {
            let why: Vec<_> = wrong.iter().map(|one| one.message.clone()).collect();
            Refusal::invalid(
                "the policy does not fit any more",
                why.join("; "),
                "split it",
            )
        })?;
        Ok((compiled, policies::relevant(&old, &now)))
    })
    .await?;
    shared.with(|state| {
        let Some(policy) = state.policies.get_mut(slot) else {
            return Ok(());
        };
        if *policy.compiled == compiled {
            policy.fitted = fitted;
            return Ok(());
        }
        let began = Instant::now();
        state.datapath.install_policy(Some(slot), &compiled)?;
        state.counters.policy_applied(began);
        policy.compiled = Arc::new(compiled);
        policy.fitted = fitted;
        tracing::info!(
            policy = policy.policy.name,
            "follows the names' new addresses"
        );
        state.apply(Change::Policies);
        Ok(())
    })
}

impl State {
    /// Whether some slot holds just that text.
    fn is_in_force(&self, source: &Source) -> bool {
        let slot = self.policies.same(source);
        slot.is_some_and(|slot| self.is_same(slot, source))
    }

    /// Whether a slot holds just that text.
    #[must_use]
    pub fn is_same(&self, slot: PolicyId, source: &Source) -> bool {
        let policy = self.policies.get(slot);
        policy.is_some_and(|policy| policy.error.is_none() && policy.source == *source)
    }

    /// Takes note of what name servers said. True where a rule that a person has put in force may not hold by what a guardd
    /// would read which came after this one now.
    fn learn(&mut self, found: Vec<(String, Result<Found, String>)>) -> bool {
        let (floor, grace) = (self.config.refresh_floor(), self.config.grace());
        let people: BTreeSet<_> = self
            .peoples_names()
            .into_iter()
            .map(str::to_owned)
            .collect();
        let mut is_urgent = false;
        for (name, answer) in found {
            let is_new = !self.names.has(&name);
            let problem = answer.as_ref().err().cloned();
            if let Some(problem) = problem.filter(|new| self.names.problem(&name) != Some(new)) {
                tracing::warn!(name, problem, "does not resolve");
            }
            let now = Timestamp::now();
            let has_moved = self.names.learn(&name, answer, now, floor, grace);
            let counts = people.contains(&name) || self.names.is_awaited(&name);
            is_urgent |= counts && (is_new || has_moved);
        }
        is_urgent
    }

    /// Writes down what is known of names, at once where that is urgent.
    pub(crate) fn keep_names(&mut self, is_urgent: bool) {
        if self.names.take_unwritten(is_urgent, clock::now()) {
            self.shelves.names.keep(NAMES, &self.names);
        }
    }

    /// How long until a name is to be looked up.
    #[must_use]
    pub fn names_due(&self) -> Duration {
        const SOONEST: Duration = Duration::from_millis(100);
        let next = self.names.next_due(&self.policies.names());
        let left = next.map(|at| Timestamp::now().duration_until(at));
        let left = left.map_or(Duration::MAX, |left| left.try_into().unwrap_or(SOONEST));
        left.max(SOONEST)
    }

    /// Puts a policy into the kernel, in a new slot or in place of the one in `slot`: whole, or not
    /// at all.
    ///
    /// # Errors
    ///
    /// The kernel's; what was in force still is.
    pub fn install(
        &mut self,
        slot: Option<PolicyId>,
        prepared: Prepared,
    ) -> Result<PolicyId, Refusal> {
        // The text first, where there is one in force: a guardd that is killed in between is followed by one that
        // goes on from the new text, and not back to the old one.
        if let Some(slot) = slot {
            self.keep_text(slot, &prepared.source);
        }
        let began = Instant::now();
        let installed = self.datapath.install_policy(slot, &prepared.compiled);
        let slot = match (installed, slot) {
            (Ok(installed), Some(_)) => installed,
            (Ok(installed), None) => {
                self.keep_text(installed, &prepared.source);
                installed
            }
            (Err(error), slot) => {
                let stands = slot.and_then(|slot| Some((slot, self.policies.get(slot)?)));
                if let Some((slot, stands)) = stands {
                    self.keep_text(slot, &stands.source);
                }
                return Err(error.into());
            }
        };
        self.counters.policy_applied(began);
        self.counters.policy_loaded();
        let policy = InForce::from(prepared);
        let record = PolicyLoad {
            policy: policy.policy.name.clone().into(),
            file: policy.source.file.clone().into(),
            prefixes: policy.compiled.prefixes.len().into(),
            ..PolicyLoad::default()
        };
        tracing::info!(policy = policy.policy.name, slot = slot.0, "in force");
        self.policies.put(slot, policy);
        self.audit.note(record);
        self.apply(Change::Policies);
        Ok(slot)
    }

    fn keep_text(&self, slot: PolicyId, source: &Source) {
        self.shelves.policies.keep(&slot.0.to_string(), source);
    }

    /// Takes note that a newer text of a policy is not put in place.
    pub fn refuse_policy(&mut self, slot: PolicyId, file: &str, refusal: &Refusal) {
        let Some(policy) = self.policies.get_mut(slot) else {
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
        self.counters.policy_refused();
        let record = PolicyLoad {
            policy: policy.policy.name.clone().into(),
            file: file.into(),
            error: error.clone().into(),
            ..PolicyLoad::default()
        };
        policy.error = Some(error);
        self.audit.note(record);
    }

    /// What whoever uses a slot should know about its policy.
    #[must_use]
    pub fn slot_warnings(&self, slot: PolicyId) -> Vec<String> {
        let Some(policy) = self.policies.get(slot) else {
            return Vec::new();
        };
        let unresolved = self.names.warnings(policy.names());
        policy.status(0, unresolved).warnings
    }

    /// Empties the slots that nothing is judged by any more.
    pub fn collect_slots(&mut self) {
        let slots = self.policies.iter().map(|(slot, _)| slot);
        let used = self.sessions.slots();
        let is_unused = |slot: &PolicyId| !used.contains(slot) && self.default_slot != Some(*slot);
        let unused: Vec<_> = slots.filter(is_unused).collect();
        self.forget_slots(&unused);
        for slot in unused {
            if let Err(error) = self.datapath.remove_policy(slot) {
                tracing::warn!(%error, slot = slot.0, "cannot be emptied");
                continue;
            }
            self.policies.remove(slot);
            self.shelves.policies.remove(&slot.0.to_string());
            self.apply(Change::Slots);
        }
    }
}
