//! The fleet's policy around sessions: the last of each chain, so that all that a machine has of its own can only narrow it.

use std::collections::HashMap;

use guard_common::{MAX_CHAIN, PolicyId, SessionId};

use crate::{
    changes::Change,
    control::failure::CallError,
    policies::{self, Prepared},
    sessions::{Session, Sessions},
    state::State,
};

impl State {
    /// Has the base be as the fleet has it, at the start and where time alone changes it. Where that is not known, what the kernel has
    /// stands.
    pub(crate) fn set_base(&mut self) {
        let Ok(source) = self.fleet.base() else {
            return;
        };
        let stands = self.policies.base_slot();
        let stands = stands.filter(|slot| {
            let is_same = |source| self.policies.is_same(*slot, source);
            source.as_ref().is_some_and(is_same)
        });
        let done = match (source, stands) {
            (_, Some(slot)) => self.chain_all(Some(slot)),
            // A slot that judges nothing is emptied, and would be filled again with each offer.
            (Some(_), None) if !self.is_anything_judged() => Ok(()),
            (None, None) => self.lay_base(None),
            (Some(source), None) => policies::parse(&source)
                .and_then(|read| policies::compile(source, read, &self.environment()))
                .and_then(|prepared| self.lay_base(Some(prepared))),
        };
        self.fleet.unlaid = done.err().map(|error| {
            tracing::error!(%error, "the fleet's policy is not around each session");
            error.to_string()
        });
    }

    /// Whether there is anything that the base has to be around: sessions, or what the settings have a policy for that none owns.
    pub(super) fn is_anything_judged(&self) -> bool {
        self.config.default_policy.is_some() || self.sessions.all_live().next().is_some()
    }

    /// Tries again what did not succeed, and turns to [`super::SILENT`] in time.
    pub(crate) fn keep_base(&mut self) {
        self.fleet.write_owed();
        if self.fleet.turns_silent() || self.fleet.unlaid.is_some() {
            self.set_base();
        }
    }

    /// Has the base be that one.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(super) fn lay_base(&mut self, prepared: Option<Prepared>) -> Result<(), CallError> {
        let slot = match prepared {
            Some(prepared) => {
                let stands = self.policies.base_slot();
                Some(self.install(stands, prepared)?)
            }
            None => None,
        };
        self.chain_all(slot)?;
        if slot.is_none() {
            // These alone: at the start it is not known yet what else judges.
            let bases = self.policies.bases();
            self.empty_slots(&bases);
        }
        Ok(())
    }

    /// Has that slot, and no other base, be the last of each session's chain that has room for it, and then says whether one has none.
    fn chain_all(&mut self, base: Option<PolicyId>) -> Result<(), CallError> {
        let bases = self.policies.bases();
        if let Some(base) = base {
            self.carry_around(base)?;
        }
        let is_changed = self.sessions.chain_base(&mut self.datapath, base, &bases)?;
        let default = self.policies.default_slot();
        self.policies
            .chain_default(&mut self.datapath, default, base)?;
        if let Some(slot) = base.or(bases.first().copied()).filter(|_| is_changed) {
            self.apply(Change::Policies(slot));
        }
        match base {
            Some(_) => self.sessions.may_be_around(),
            None => Ok(()),
        }
    }

    /// Has the kernel know under the base what sessions know that it is not around yet: all of it, or none. Without that, a rule of the
    /// base for a name would not hold at an address that a session has looked up already.
    fn carry_around(&mut self, base: PolicyId) -> Result<(), CallError> {
        let bare = self.sessions.without(base);
        if bare.is_empty() {
            return Ok(());
        }
        let kernel = &mut self.datapath;
        let carried = self.policies.carry_names_around(kernel, &bare, base);
        carried.map_err(|error| {
            let sessions = bare.into_keys().collect();
            self.policies
                .forget_names_under(&mut self.datapath, &sessions, base);
            CallError::failed(
                "the fleet's policy is not put around sessions",
                format!("the kernel does not take over what they have looked up: {error}"),
                format!(
                    "{}, and offer the bundle again",
                    self.sessions.less_named(&self.datapath)
                ),
            )
        })
    }

    /// Whether the fleet's policy is around a new session with that chain, where there is one.
    ///
    /// # Errors
    ///
    /// That it is not.
    pub(crate) fn has_base(&self, chain: &[PolicyId]) -> Result<(), CallError> {
        let is_wanted = self.fleet.base()?.is_some();
        let base = self.policies.base_slot();
        let has_one = base.is_some() && chain.last() == base.as_ref();
        if is_wanted == has_one {
            Ok(())
        } else {
            Err(CallError::failed(
                "cannot start the session",
                "the fleet's policy around it has changed meanwhile",
                "try again",
            ))
        }
    }
}

impl Sessions {
    /// The chains of those that a policy does not judge.
    fn without(&self, slot: PolicyId) -> HashMap<SessionId, Vec<PolicyId>> {
        let bare = self.iter().filter(|one| !one.chain.contains(&slot));
        bare.map(|one| (one.cgroup.id, one.chain.clone())).collect()
    }

    /// Whether each session has room for one more policy around it.
    ///
    /// # Errors
    ///
    /// Which has none.
    pub(super) fn may_be_around(&self) -> Result<(), CallError> {
        let is_full = |session: &&Session| session.own_chain().len() >= MAX_CHAIN;
        let full = self.all_live().find(is_full);
        match full {
            None => Ok(()),
            Some(session) => Err(CallError::failed(
                "the fleet's policy is not put around sessions",
                format!(
                    "{} is judged by {MAX_CHAIN} policies already, which is the most",
                    crate::control::ids::session(session.cgroup.id)
                ),
                "end it, and offer the bundle again",
            )),
        }
    }
}
