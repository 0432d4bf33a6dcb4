//! Policies in guardd's directories that are not in force and have errors: their author learns of these at the reload, not at
//! the next `guard run`.

use std::collections::BTreeMap;

use guard_proto::record::PolicyLoad;

use crate::{
    control::failure::CallError,
    policies::{self, Policies, load},
    record::Recorder,
    shared::Shared,
};

/// A longer text is only read when it is used.
const MAX_TEXT: usize = 1024 * 1024;

/// The error, by the policy's name.
pub(crate) type Unusable = BTreeMap<String, String>;

/// Reads the policies that are not in force.
pub(crate) async fn check(shared: &Shared) {
    let mut unusable = Unusable::new();
    if !shared.with(|state| state.policies.library().is_known()) {
        // No name means anything, and that is the fleet's matter.
        return;
    }
    for name in shared.with(|state| state.policies.idle()) {
        let found = shared.with(|state| state.policies.library().find(&name));
        let read = match found {
            Ok(source) if source.text.len() > MAX_TEXT => continue,
            Ok(source) => load::in_background(move || policies::parse(&source).map(drop)).await,
            Err(refusal) => Err(refusal),
        };
        if let Err(CallError { failure, .. }) = read {
            unusable.insert(name, failure.to_string());
        }
    }
    shared.with(|state| state.policies.note_unusable(&mut state.recorder, unusable));
}

impl Policies {
    /// The names of the daemon's policies that are not in force.
    fn idle(&self) -> Vec<String> {
        let in_force = |name: &String| {
            let mut sources = self.slots.values().map(|policy| &policy.source);
            sources.any(|source| source.name.as_ref() == Some(name))
        };
        let names = self.library.names().into_iter();
        names.filter(|name| !in_force(name)).collect()
    }

    fn note_unusable(&mut self, recorder: &mut Recorder, unusable: Unusable) {
        for (policy, error) in &unusable {
            if self.unusable.get(policy) == Some(error) {
                continue;
            }
            tracing::error!(policy, error, "cannot be used");
            recorder.count("policy_loads.failed");
            recorder.note(PolicyLoad {
                policy: policy.clone().into(),
                error: error.clone().into(),
                ..PolicyLoad::default()
            });
        }
        self.unusable = unusable;
    }

    /// The number of policies with errors.
    #[must_use]
    pub(crate) fn unusable_count(&self) -> usize {
        self.unusable.len()
    }

    /// Warnings about policies with errors that are not in force.
    pub(crate) fn unusable_warnings(&self) -> impl Iterator<Item = String> {
        let said = self.unusable.iter();
        said.map(|(name, error)| format!("the policy {name} cannot be used: {error}"))
    }
}
