//! Another text of the policy that a person brought, for a session that runs under it. The file is read outside of the session by
//! the client that asks for it, and never by guardd: whatever runs as that person may write there, the session too. guardd's own policies follow
//! their files (`policies/load.rs`).

use std::collections::HashSet;

use guard_common::{PolicyId, SessionId};
use guard_datapath::{Datapath, DatapathError};
use guard_proto::{
    PolicyRef,
    calls::Apply,
    record::{Field, PolicyApplied},
    sessions::Applied,
};

use super::{Session, Sessions, create::MAX_TEXT};
use crate::{
    changes::Change,
    control::{answering::Answering, auth::Approver, failure::CallError, ids},
    machine::DecidedBy,
    policies::{InForce, Policies, ReplacedPolicy, library::PolicyText, load, widens::widens},
    proxy::worker::{self, ProxyWorker},
    quota::Account,
    record::{Recorder, audit::LogEntry},
    resolver::{
        self,
        soon::{self, Soon},
        worker::ResolverWorker,
    },
    shared::Shared,
    state::State,
};

/// How often the text is put in place once more, where it goes before the session has it.
const TRIES: usize = 3;

/// Has a session, and all inside it, be judged by another text in place of the one that it was started under.
///
/// # Errors
///
/// Why it is not: then it is judged as before.
pub(crate) async fn apply(
    shared: &Shared,
    by: &Answering,
    call: Apply,
) -> Result<Applied, CallError> {
    let (id, old) = shared.with(|state| {
        let (sessions, policies) = (&state.sessions, &state.policies);
        sessions.may_apply(policies, by.who, &call.session)
    })?;
    if call.policy.text.is_none() {
        return Err(CallError::invalid(
            "no other policy judges the session",
            "the call has no text of one",
            "guard policy apply NAME",
        ));
    }
    let mut source = shared.with(|state| state.policies.library().resolve(call.policy))?;
    source.observe = shared.with(|state| state.policies.get(old).is_some_and(InForce::observes));
    let terms = ApplyTerms {
        widen: call.widen,
        look: call.look,
    };
    let (mut applied, mut tries) = (None, 0..TRIES);
    while applied.is_none() && tries.next().is_some() {
        let (new, warnings) =
            load::slot_for(shared, source.clone(), Account::outside(by.who.uid())).await?;
        let soon = Soon {
            outermost: id,
            old,
            new,
        };
        let put = put(shared, by, soon, terms).await?;
        applied = put.map(|put| (put, warnings));
    }
    let Some((put, mut warnings)) = applied else {
        return Err(changed_meanwhile());
    };
    warnings.extend(resolver::worker::ready(shared).await);
    if worker::serves(shared, &ids::session(id)) {
        warnings.extend(worker::ready(shared).await);
    }
    let session = shared.with(|state| state.shown(id));
    Ok(Applied {
        session: session.ok_or_else(|| ids::no_session(&ids::session(id)))?,
        changed: put.changed,
        widens: put.widens,
        warnings,
    })
}

/// Puts a policy in another's place, once the resolver judges names by both: what it has told the session by then is carried over, and
/// what it tells later is known under both.
async fn put(
    shared: &Shared,
    by: &Answering,
    soon: Soon,
    terms: ApplyTerms,
) -> Result<Option<Put>, CallError> {
    let knows_names = shared.with(|state| state.policies.knows_names(soon)) && !terms.look;
    let taught = if knows_names {
        soon::taught(shared, soon).await
    } else {
        Ok(())
    };
    shared.with(|state| {
        let put = taught.and_then(|()| state.apply_policy(by, soon, terms));
        if knows_names {
            state.resolver.not_soon(soon);
        }
        put.inspect_err(|_| state.collect_slots())
    })
}

/// What a session has looked up cannot be carried over: without it, an address would be known by no name, and a rule stricter than the
/// rest would not hold for it.
fn not_carried(session: SessionId, error: &DatapathError, less: &str) -> CallError {
    CallError::failed(
        format!("no other policy judges {}", ids::session(session)),
        format!("the kernel does not take over what it has looked up: {error}"),
        format!("{less}, and try again"),
    )
}

/// What may be done.
#[derive(Clone, Copy, Debug)]
struct ApplyTerms {
    /// Also what may let more through.
    widen: bool,
    /// Nothing.
    look: bool,
}

/// What was done.
#[derive(Debug)]
struct Put {
    changed: bool,
    widens: Option<String>,
}

impl State {
    /// Puts `new` in the place of `old` for a session and all inside it; none where `new` has gone.
    fn apply_policy(
        &mut self,
        by: &Answering,
        soon: Soon,
        terms: ApplyTerms,
    ) -> Result<Option<Put>, CallError> {
        let Soon {
            outermost: id,
            old,
            new,
        } = soon;
        let Some(session) = self.sessions.live(id) else {
            return Err(ids::no_session(&ids::session(id)));
        };
        if session.asked_for() != Some(old) {
            return Err(changed_meanwhile());
        }
        let owner = session.about.uid;
        let decided = self.machine.decided_by(Some(by));
        let user = self.machine.user(owner);
        let (Some(was), Some(is)) = (self.policies.get(old), self.policies.get(new)) else {
            return Ok(None);
        };
        let (old_name, new_name) = (&*was.policy.name, &*is.policy.name);
        let more = (self.signed_answers).newly_answering(&user, old_name, new_name);
        let more = more.into_iter().map(|name| {
            format!("{name} may answer under the policy {new_name}, and not under {old_name}")
        });
        let widens = widens(was, is).into_iter().chain(more);
        let widens = widens.reduce(|all, one| format!("{all}; {one}"));
        let record = record(decided, is, widens.clone());
        if old == new || terms.look {
            self.collect_slots();
            return Ok(Some(Put {
                changed: false,
                widens,
            }));
        }
        if let Some(what) = widens.as_ref().filter(|_| !terms.widen) {
            return Err(may_widen(what));
        }
        self.switch(soon, owner, record)?;
        self.follow_applied(soon);
        Ok(Some(Put {
            changed: true,
            widens,
        }))
    }

    /// Has the kernel know by the new policy what the session knows, and judge it by that: all of it, or nothing.
    fn switch(&mut self, soon: Soon, owner: u32, record: PolicyApplied) -> Result<(), CallError> {
        let (id, replaced) = (soon.outermost, soon.replaced());
        let ReplacedPolicy { old, new } = replaced;
        let sessions = self.sessions.judged_by(id, old);
        let carried = self
            .policies
            .carry_names(&mut self.datapath, &sessions, replaced)
            .map_err(|error| not_carried(id, &error, &self.sessions.less_named(&self.datapath)))
            .and_then(|()| self.recorder.write_applied(id, owner, record.clone()));
        let switched = carried.and_then(|()| self.rechain_applied(soon, owner, record));
        let (unused, of) = match switched {
            Ok(()) => (old, sessions),
            // What one inside had under its own policy of the same text stays.
            Err(_) => (new, &sessions - &self.sessions.judged_by(id, new)),
        };
        self.policies
            .forget_names_under(&mut self.datapath, &of, unused);
        switched
    }

    /// Has the sessions be judged by the new policy; where they are not, the log says so.
    fn rechain_applied(
        &mut self,
        soon: Soon,
        owner: u32,
        record: PolicyApplied,
    ) -> Result<(), CallError> {
        let (id, replaced) = (soon.outermost, soon.replaced());
        if let Err(error) = self.sessions.rechain(&mut self.datapath, id, replaced) {
            let record = PolicyApplied {
                error: error.to_string().into(),
                ..record
            };
            let entry = LogEntry::of(ids::session(id), owner, record);
            self.recorder.note(entry);
            return Err(error);
        }
        Ok(())
    }

    /// What follows once a session is judged by another text.
    fn follow_applied(&mut self, soon: Soon) {
        self.sessions.note_agreed_no_more(soon.outermost);
        for change in [
            Change::Policies(soon.new),
            Change::Chains,
            Change::Approvers,
        ] {
            self.apply(change);
        }
        self.survey_networks::<ProxyWorker>();
        self.survey_networks::<ResolverWorker>();
        self.collect_slots();
    }
}

impl Soon {
    fn replaced(self) -> ReplacedPolicy {
        ReplacedPolicy {
            old: self.old,
            new: self.new,
        }
    }
}

impl Sessions {
    /// The policy that a session was started under, as it is now.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session that the caller does not answer for; that its text is gone, or too long to be told.
    pub(crate) fn policy_text(
        &self,
        policies: &Policies,
        who: Approver,
        session: &str,
    ) -> Result<PolicyRef, CallError> {
        let session = self.called(session, |owner| who.answers_for(owner))?;
        let policy = session.asked_for().and_then(|slot| policies.get(slot));
        let policy = policy.filter(|policy| policy.source.text.len() <= MAX_TEXT);
        let source = policy.map(|policy| policy.source.clone());
        source.map(PolicyText::shown).ok_or_else(|| {
            CallError::failed(
                "it is not told what the session's policy says",
                "its text is gone, or too long",
                "guard explain DEST --session S",
            )
        })
    }

    /// The session, and the slot of the text that it was started under, where the caller may bring another one.
    fn may_apply(
        &self,
        policies: &Policies,
        who: Approver,
        session: &str,
    ) -> Result<(SessionId, PolicyId), CallError> {
        let session = self.called(session, |owner| who.answers_for(owner))?;
        let id = ids::session(session.cgroup.id);
        let refused = |why: String, fix: String| {
            Err(CallError::refused(
                format!("no other policy judges {id}"),
                why,
                fix,
            ))
        };
        let own = session.asked_for();
        let policy = own.and_then(|slot| Some((slot, policies.get(slot)?)));
        let Some((slot, policy)) = policy else {
            return refused(
                "the text of its policy is gone".to_owned(),
                "guard stop it".to_owned(),
            );
        };
        if let Some(name) = &policy.source.name {
            return refused(
                format!("it runs under guardd's own policy {name}, which follows its file"),
                format!("sudo guard policy edit {name}"),
            );
        }
        let is_persons = session.about.outermost.is_none() && session.cgroup.is_ours();
        if !is_persons {
            return refused(
                "it was started inside of another session, or is a unit's".to_owned(),
                "give the session around it".to_owned(),
            );
        }
        // Else any of its approvers could lift what the user denies who started it.
        if who.is_root() || session.about.brought_by == Some(who.uid()) {
            Ok((session.cgroup.id, slot))
        } else {
            refused(
                "another user gave it its policy".to_owned(),
                format!("sudo guard policy apply FILE --session {id}"),
            )
        }
    }
}

impl Policies {
    /// Whether a session may know addresses by names that the policy has rules for which is to be replaced.
    fn knows_names(&self, Soon { old, new, .. }: Soon) -> bool {
        old != new && self.speaks_of_names(&[old])
    }
}

impl Recorder {
    /// On the disk, before it takes effect.
    fn write_applied(
        &mut self,
        id: SessionId,
        owner: u32,
        record: PolicyApplied,
    ) -> Result<(), CallError> {
        self.reserve()?;
        let entry = LogEntry::of(ids::session(id), owner, record);
        self.write(entry)?;
        Ok(self.sync()?)
    }
}

impl Sessions {
    /// A session and those inside it that a policy judges, those included whose sockets may still send something.
    fn judged_by(&self, outermost: SessionId, slot: PolicyId) -> HashSet<SessionId> {
        let its = self.all.values();
        let its = its.filter(|one| one.outermost() == outermost && one.chain.contains(&slot));
        its.map(|one| one.cgroup.id).collect()
    }

    /// Has a session, and all inside it, be judged by `new` in place of `old`: all of them, or none.
    fn rechain(
        &mut self,
        kernel: &mut Datapath,
        outermost: SessionId,
        ReplacedPolicy { old, new }: ReplacedPolicy,
    ) -> Result<(), CallError> {
        let its = self.all.values();
        let its = its.filter(|one| one.outermost() == outermost && one.chain.contains(&old));
        let before: Vec<_> = its.map(|one| (one.cgroup.id, one.chain.clone())).collect();
        for (at, (id, chain)) in before.iter().enumerate() {
            let after = chain
                .iter()
                .map(|slot| if *slot == old { new } else { *slot });
            if let Err(error) = self.set_chain(kernel, *id, after.collect()) {
                for (id, chain) in &before[..at] {
                    self.set_chain(kernel, *id, chain.clone())
                        .unwrap_or_else(|error| tracing::error!(%error, session = id.0, "stays under a policy that was not put in place"));
                }
                return Err(error);
            }
        }
        Ok(())
    }

    fn set_chain(
        &mut self,
        kernel: &mut Datapath,
        id: SessionId,
        chain: Vec<PolicyId>,
    ) -> Result<(), CallError> {
        if let Some(session) = self.all.get_mut(&id) {
            kernel.set_chain(&session.cgroup, &chain)?;
            session.chain = chain;
        }
        Ok(())
    }

    /// The text that judges it now is a file's alone.
    fn note_agreed_no_more(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(id) {
            session.about.agreed = false;
            self.keep(id);
        }
    }
}

impl Session {
    /// The policy that a person gave it by a file, whose text it has and nothing else.
    #[must_use]
    pub(crate) fn file_of<'p>(&self, policies: &'p Policies) -> Option<&'p InForce> {
        let is_files = self.about.outermost.is_none() && !self.about.agreed;
        let policy = policies.get(self.asked_for().filter(|_| is_files)?)?;
        (policy.source.name.is_none() && policy.source.file.is_some()).then_some(policy)
    }
}

impl InForce {
    fn observes(&self) -> bool {
        self.source.observe
    }
}

/// What is written down of it.
fn record(
    DecidedBy { by, from }: DecidedBy,
    policy: &InForce,
    widens: Option<String>,
) -> PolicyApplied {
    PolicyApplied {
        policy: policy.policy.name.clone().into(),
        file: policy.source.file.clone().into(),
        sha256: policy.sha256.clone().into(),
        widens: widens.into(),
        error: Field::Absent,
        by,
        from,
    }
}

fn changed_meanwhile() -> CallError {
    CallError::failed(
        "no other policy judges the session",
        "what it is judged by has changed meanwhile",
        "try again",
    )
}

fn may_widen(what: &str) -> CallError {
    CallError::refused(
        "the policy is not put in place: it may let more through",
        what,
        "look at it at a terminal: guard policy apply NAME\nor, if you mean it: guard policy apply NAME --widen",
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{policies::of_texts, sessions::none_but};

    #[test]
    fn whoever_brought_a_sessions_policy_may_bring_another_and_so_may_root() {
        let policies = of_texts(&["version = 1\ndefault = \"deny\"\n".to_owned()]);
        let mut sessions = none_but(&[(1, None), (2, Some(1))]);
        let [root, owner, other] = [0, 1000, 1001].map(Approver::on_behalf_of);
        let may = |sessions: &Sessions, who, session: &str| {
            let may = sessions.may_apply(&policies, who, session);
            may.ok() == Some((SessionId(1), PolicyId(1)))
        };
        assert!(may(&sessions, root, "s1"));
        assert!(!may(&sessions, owner, "s1"), "another user brought it");
        let session = sessions.get_mut(SessionId(1)).unwrap();
        session.about.brought_by = Some(1000);
        assert!(may(&sessions, owner, "s1"));
        assert!(!may(&sessions, other, "s1") && !may(&sessions, root, "s3"));
        let inside = sessions.may_apply(&policies, root, "s2");
        assert!(inside.is_err(), "the session around it is meant");
        assert!(sessions.policy_text(&policies, owner, "s1").is_ok());
        assert!(sessions.policy_text(&policies, other, "s1").is_err());
    }
}
