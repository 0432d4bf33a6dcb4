//! Sessions that another policy is about to judge: what the resolver tells them is known under both, so that nothing is missing when
//! the one takes the other's place. And policies of which another version is about to take the place: the resolver tells by that.

use std::time::Duration;

use guard_common::{PolicyId, SessionId};
use guard_proto::names::{Number, ToResolver};

use super::{
    Resolver,
    worker::{self, ResolverWorker},
};
use crate::{
    control::failure::CallError,
    policies::{InForce, Prepared},
    shared::Shared,
    workers::Worker as _,
};

/// The timeout for the resolver to do so.
const TIMEOUT: Duration = Duration::from_secs(3);
/// Interval of checks whether it does.
const GLANCE: Duration = Duration::from_millis(5);

/// A session, with all inside it, and the slots of the policy that judges it and of the one that is about to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Soon {
    /// The session.
    pub(crate) outermost: SessionId,
    /// The policy that judges it.
    pub(crate) old: PolicyId,
    /// The policy that is about to.
    pub(crate) new: PolicyId,
}

impl Resolver {
    /// The slots by which a session's names are judged, and what it learns is kept: the chain, and what is about to be in it.
    pub(super) fn slots_of(&self, outermost: SessionId, chain: &[PolicyId]) -> Vec<PolicyId> {
        let slots = chain.iter().flat_map(|slot| {
            let soon = self.soon.iter();
            let soon = soon.filter(move |soon| (soon.outermost, soon.old) == (outermost, *slot));
            soon.map(|soon| soon.new).chain([*slot])
        });
        slots.collect()
    }

    /// The slots of policies that are about to judge a session.
    pub(crate) fn slots_soon(&self) -> impl Iterator<Item = PolicyId> {
        self.soon.iter().map(|soon| soon.new)
    }

    /// Has the resolver say when it has heard everything up to now.
    fn mark(&mut self) -> Number {
        self.marks.0 += 1;
        self.say(ToResolver::Mark { number: self.marks });
        self.marks
    }

    /// The resolver says so.
    pub(super) fn marked(&mut self, number: Number) {
        self.marked = number;
    }

    /// Whether it has said so. One that has ended teaches nobody, and the next one begins with what is said now.
    fn has_heard(&self, mark: Number) -> bool {
        !self.link.is_up() || self.marked.0 >= mark.0
    }
}

/// Has the resolver judge names, and teach sessions, by the other policy as well, until [`State::not_soon`].
///
/// # Errors
///
/// It does not answer.
pub(crate) async fn taught(shared: &Shared, soon: Soon) -> Result<(), CallError> {
    let is_heard = hears(shared, |resolver| resolver.soon.push(soon)).await;
    is_heard.then_some(()).ok_or_else(|| {
        CallError::failed(
            "no other policy judges the session",
            "guard-resolver does not say that it judges names by it, too",
            "try again; if it fails again, sudo systemctl restart guardd",
        )
    })
}

/// Has the resolver hear of a change, and waits until it has. False where it does not say so in time.
async fn hears(shared: &Shared, change: impl FnOnce(&mut Resolver)) -> bool {
    let mark = shared.with(|state| {
        change(&mut state.resolver);
        if state.resolver.link.is_up() {
            ResolverWorker::begin(state);
        }
        state.resolver.mark()
    });
    let is_heard = async {
        while !shared.with(|state| state.resolver.has_heard(mark)) {
            tokio::time::sleep(GLANCE).await;
        }
    };
    tokio::time::timeout(TIMEOUT, is_heard).await.is_ok()
}

/// That the resolver judges names, and teaches sessions, by the version of a policy that is about to take its place, until it is dropped.
#[derive(Debug)]
pub(crate) struct TaughtAhead<'s> {
    shared: &'s Shared,
    slot: PolicyId,
}

/// Has the resolver do so. What it told before is written by guardd, so that between them nothing is missing. One that does not hear in
/// time tells nobody anything, and holds nothing up.
pub(crate) async fn taught_ahead<'s>(
    shared: &'s Shared,
    slot: PolicyId,
    new: &Prepared,
) -> Option<TaughtAhead<'s>> {
    let stands = shared.with(|state| {
        let policy = state.policies.get(slot);
        state.resolver.link.is_up() && policy.is_some_and(InForce::speaks_of_names)
    });
    if !stands {
        return None;
    }
    let taught = TaughtAhead { shared, slot };
    let terms = worker::terms(&new.policy, &new.compiled);
    let is_heard = hears(shared, |resolver| {
        resolver.ahead.insert(slot, terms);
    });
    if !is_heard.await {
        tracing::warn!(
            slot = slot.0,
            "guard-resolver does not say that it judges names by the new version"
        );
    }
    Some(taught)
}

impl Drop for TaughtAhead<'_> {
    fn drop(&mut self) {
        self.shared
            .with(|state| state.resolver.not_ahead(self.slot));
    }
}

impl Resolver {
    /// It judges the session now, or does not come to.
    pub(crate) fn not_soon(&mut self, soon: Soon) {
        self.soon.retain(|one| *one != soon);
        self.renew();
    }

    /// That version is in force now, or does not come to be.
    fn not_ahead(&mut self, slot: PolicyId) {
        self.ahead.remove(&slot);
        self.renew();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged_by_what_is_about_to_judge_as_well() {
        let [outer, other] = [1, 2].map(SessionId);
        let [own, old, new] = [7, 8, 9].map(PolicyId);
        let mut resolver = Resolver::default();
        assert_eq!(resolver.slots_of(outer, &[own, old]), [own, old]);
        resolver.soon.push(Soon {
            outermost: outer,
            old,
            new,
        });
        assert_eq!(resolver.slots_of(outer, &[own, old]), [own, new, old]);
        assert_eq!(resolver.slots_of(other, &[own, old]), [own, old]);
        assert!(resolver.slots_soon().eq([new]));
    }
}
