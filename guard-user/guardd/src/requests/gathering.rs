//! How requests about addresses that are near each other become one, a burst.

use std::collections::HashSet;

use guard_common::BootTime;
use guard_policy::Prefix;
use guard_proto::record::Gathered;

use super::{
    Pending, RequestKey, Requests,
    bursts::{self, Burst},
};
use crate::{policies::Policies, sessions::Session};

impl Requests {
    /// The prefix around a destination with so many recent requests that they become one burst. `is_one`: whether one rule says
    /// `confirm` for all of a prefix.
    #[must_use]
    pub(crate) fn burst_around(
        &self,
        key: &RequestKey,
        now: BootTime,
        is_one: impl Fn(&Prefix) -> bool,
    ) -> Option<Prefix> {
        let near: Vec<_> = self.ordinary_beside(key).collect();
        let is_recent =
            |one: &Pending| now.0.saturating_sub(one.asked.0) <= bursts::WINDOW.as_nanos() as u64;
        let is_enough = |prefix: &Prefix| {
            let within = near
                .iter()
                .filter(|one| prefix.covers(&one.key.destination) && is_recent(one));
            within.count() >= bursts::MANY
        };
        bursts::widest(key.destination, is_enough, |prefix| {
            let is_free = !self.has_burst_in(key, prefix);
            is_free && !self.has_refused_in(key, prefix, now) && is_one(prefix)
        })
    }

    /// Whether a part of that prefix is in another burst: two requests about one address could get two answers.
    fn has_burst_in(&self, key: &RequestKey, prefix: &Prefix) -> bool {
        let beside = self.pending.iter();
        let mut beside = beside.filter(|one| one.key.is_beside(key));
        beside.any(|one| {
            let burst = one.burst.as_ref().map(Burst::prefix);
            burst.is_some_and(|burst| prefix.meets(&burst))
        })
    }

    /// The requests that could become a burst: about connections, each about one address.
    fn ordinary_beside(&self, key: &RequestKey) -> impl Iterator<Item = &Pending> {
        let pending = self.pending.iter();
        pending.filter(|one| one.burst.is_none() && one.series.is_empty() && one.key.is_beside(key))
    }

    /// Makes a burst of the pending requests around this one, if there are enough of them.
    pub(crate) fn gather_around(
        &mut self,
        session: &Session,
        policies: &Policies,
        key: &RequestKey,
        now: BootTime,
    ) -> Option<Gathered> {
        if !key.is_connection() {
            return None;
        }
        let ports = key.ports();
        let is_one = |prefix: &Prefix| policies.confirm_all(&session.chain, prefix, ports);
        let prefix = self.burst_around(key, now, is_one)?;
        self.gather(key, prefix)
    }

    /// Makes a burst of the requests beside this one and in that prefix: the oldest takes in the others.
    pub(crate) fn gather(&mut self, key: &RequestKey, prefix: Prefix) -> Option<Gathered> {
        let of_burst: HashSet<_> = self
            .ordinary_beside(key)
            .filter(|one| prefix.covers(&one.key.destination))
            .map(|one| one.shown.id.clone())
            .collect();
        let mut pending = self.pending.iter();
        let first = pending.position(|one| of_burst.contains(&one.shown.id))?;
        let mut others = self
            .take_all(|one| of_burst.contains(&one.shown.id))
            .into_iter();
        let mut root = others.next()?;
        root.burst = Some(Burst::over(prefix));
        // It is of one address.
        (root.shown.named, root.shown.opens_name) = (None, false);
        root.add(root.key.destination, Some(root.shown.id.clone()));
        let mut others_ids = Vec::new();
        for other in others {
            others_ids.push(other.shown.id.clone());
            root.absorb(other);
        }
        let request = root.shown.id.clone();
        self.grown.insert(request.clone());
        self.pending.insert(first, root);
        let prefix = prefix.to_string();
        Some(Gathered {
            request,
            prefix,
            others: others_ids,
        })
    }

    /// Restores the burst of a request that is adopted after a restart.
    pub(crate) fn put_burst(&mut self, id: &str, burst: Option<Burst>) {
        if let Some(known) = self.pending.iter_mut().find(|one| one.shown.id == id) {
            known.shown.burst = burst.as_ref().map(Burst::to_shown);
            known.burst = burst;
        }
    }
}
