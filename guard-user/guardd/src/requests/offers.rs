//! The times and budgets that are offered for a yes: first what the same person chose for the same rule last time. An offer
//! never answers a request by itself.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use guard_common::Protocol;
use guard_policy::{Opening, Prefix};
use guard_proto::{self as proto, HoleTerms, Offer};
use serde::{Deserialize, Serialize};

use crate::{
    control::auth::Approver,
    policies::Policies,
    record::shelf::Shelf,
    requests::{Pending, Requests, bursts::Burst},
    sessions::Sessions,
    times::DEFAULT_TERM,
};

/// Choices that are kept of one user.
const MOST: usize = 64;
/// What everybody is offered, the plain yes first.
const USUAL: [(u64, Option<u32>); 4] = [(900, None), (300, None), (3600, None), (900, Some(1))];

/// A yes for less than so long is one of haste, and is not offered the next time.
const HABIT: f64 = 60.0;

/// The terms of a person's last yes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct LastYes {
    policy: String,
    /// None: the policy's default.
    rule: Option<String>,
    #[serde(flatten)]
    offer: Offer,
}

/// Each user's last choices, latest first.
#[derive(Debug)]
pub(crate) struct Choices {
    of: HashMap<u32, VecDeque<LastYes>>,
    files: Shelf<VecDeque<LastYes>>,
}

impl Choices {
    /// Keeps what a user chose.
    fn note(&mut self, uid: u32, choice: LastYes) {
        let choices = self.of.entry(uid).or_default();
        choices.retain(|one| (&one.policy, &one.rule) != (&choice.policy, &choice.rule));
        choices.push_front(choice);
        choices.truncate(MOST);
        self.files.keep(&uid.to_string(), choices);
    }

    /// The choices that an earlier guardd has kept.
    #[must_use]
    pub(crate) fn kept_on(files: Shelf<VecDeque<LastYes>>) -> Self {
        let kept = files.all().into_iter();
        let kept = kept.filter_map(|(uid, known)| Some((uid.parse().ok()?, known)));
        Self {
            of: kept.collect(),
            files,
        }
    }

    fn last(&self, uid: u32, policy: &str, rule: Option<&str>) -> Option<Offer> {
        let mut choices = self.of.get(&uid)?.iter();
        let found = choices.find(|one| one.policy == policy && one.rule.as_deref() == rule);
        found.map(|one| one.offer)
    }
}

/// The offers to a person who chose `last` the last time, none of them for longer than `longest`.
fn offers(last: Option<Offer>, longest: Duration) -> Vec<Offer> {
    let usual = USUAL.iter().map(|(seconds, connections)| Offer {
        seconds: Duration::from_secs(*seconds).as_secs_f64(),
        connections: *connections,
    });
    let mut offers = Vec::new();
    for offer in last.into_iter().chain(usual) {
        let seconds = offer.seconds.min(longest.as_secs_f64());
        let offer = Offer { seconds, ..offer };
        if !offers.contains(&offer) {
            offers.push(offer);
        }
    }
    offers
}

impl Requests {
    /// The offers that an approver is shown for a request; none for an HTTP request.
    pub(crate) fn offers_to(
        &self,
        sessions: &Sessions,
        policies: &Policies,
        who: Approver,
        asked: &Pending,
    ) -> Vec<Offer> {
        match (
            asked.key.http.is_some(),
            longest_yes(sessions, policies, asked),
        ) {
            (false, Some(longest)) => {
                let is_question = asked.key.question.is_some();
                let (policy, rule) = (&asked.shown.policy, asked.shown.rule.as_deref());
                let last = self.choices.last(who.uid(), policy, rule);
                let mut offers = offers(last.filter(|_| !is_question), longest);
                // Names are not counted.
                offers.retain(|offer| !is_question || offer.connections.is_none());
                offers
            }
            _ => Vec::new(),
        }
    }

    /// Keeps the terms of a person's yes, to be offered first the next time. A yes for reads alone, one that counts bytes, or one for
    /// some seconds is not kept.
    pub(crate) fn note_choice(&mut self, who: Approver, asked: &proto::Request, terms: &HoleTerms) {
        let seconds = terms.seconds.unwrap_or(DEFAULT_TERM.as_secs_f64());
        if terms.read_only || terms.bytes.is_some() || seconds < HABIT {
            return;
        }
        let choice = LastYes {
            policy: asked.policy.clone(),
            rule: asked.rule.clone(),
            offer: Offer {
                seconds,
                connections: terms.connections,
            },
        };
        self.choices.note(who.uid(), choice);
    }
}

/// The longest possible yes, by the shortest `max_hole`. None if nothing can be opened.
pub(crate) fn longest_yes(
    sessions: &Sessions,
    policies: &Policies,
    asked: &Pending,
) -> Option<Duration> {
    let key = &asked.key;
    let session = sessions.live(key.session)?;
    if key.question.is_some() {
        return Some(policies.longest_hole(&session.chain));
    }
    let to = asked.burst.as_ref().map(Burst::prefix);
    let to = to.unwrap_or_else(|| Prefix::host(key.destination));
    let ports = [key.ports()];
    let mut longest: Option<Duration> = None;
    for slot in &session.chain {
        let most = match policies
            .get(*slot)
            .map(|one| one.over(&to, &ports).opening())
        {
            Some(Opening::Possible { longest }) => longest,
            Some(Opening::AlreadyAllowed) => continue,
            Some(Opening::Denied { .. }) => return None,
            None => DEFAULT_TERM,
        };
        longest = Some(longest.map_or(most, |so_far| so_far.min(most)));
    }
    // As for what is opened at the machine: a listener there may lead to what the policies do not allow.
    let is_port = key.is_connection() && key.protocol == Protocol::TCP && asked.burst.is_none();
    let is_listener = is_port && key.destination.is_loopback();
    longest.or_else(|| is_listener.then(|| policies.longest_hole(&session.chain)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn choice(rule: &str, seconds: f64, connections: Option<u32>) -> LastYes {
        LastYes {
            policy: "homelab".to_owned(),
            rule: Some(rule.to_owned()),
            offer: Offer {
                seconds,
                connections,
            },
        }
    }

    #[test]
    fn the_last_choice_for_that_rule_is_offered_first() {
        let mut choices = Choices::kept_on(Shelf::nowhere());
        choices.note(1000, choice("photos", 1800.0, Some(2)));
        choices.note(1000, choice("photos", 60.0, None));
        choices.note(1000, choice("db", 120.0, None));
        let last = choices.last(1000, "homelab", Some("photos"));
        let hour = Duration::from_secs(3600);
        assert_eq!(offers(last, hour)[0].seconds, 60.0);
        for (uid, policy, rule) in [
            (1001, "homelab", "photos"),
            (1000, "other", "photos"),
            (1000, "homelab", "x"),
        ] {
            let last = choices.last(uid, policy, Some(rule));
            assert_eq!(
                offers(last, hour)[0].seconds,
                900.0,
                "{uid} {policy} {rule}"
            );
        }
        for number in 0..1000 {
            choices.note(1000, choice(&number.to_string(), 1.0, None));
        }
        assert_eq!(choices.of[&1000].len(), MOST);
    }

    #[test]
    fn some_seconds_are_offered_to_nobody_the_next_time() {
        let mut requests = Requests::without_files(1);
        let key = crate::requests::RequestKey::new(
            guard_common::SessionId(1),
            std::net::IpAddr::from([192, 0, 2, 1]).into(),
            guard_common::Protocol::TCP,
            443,
        );
        let to = key.endpoint(None);
        let at = guard_common::BootTime(1);
        let asked = crate::requests::drafts::blank(&key, at, to, "homelab".to_owned());
        let who = Approver::on_behalf_of(1000);
        for (seconds, offered) in [(300.0, 300.0), (20.0, 300.0), (60.0, 60.0)] {
            let terms = HoleTerms {
                seconds: Some(seconds),
                ..HoleTerms::default()
            };
            requests.note_choice(who, &asked, &terms);
            let last = requests.choices.last(1000, "homelab", None);
            assert_eq!(last.map(|offer| offer.seconds), Some(offered), "{seconds}");
        }
    }

    #[test]
    fn a_choice_is_kept_as_it_was_made() {
        let kept = serde_json::to_string(&choice("photos", 1800.0, Some(2))).unwrap();
        assert_eq!(
            kept,
            r#"{"policy":"homelab","rule":"photos","for":1800.0,"connections":2}"#
        );
        assert_eq!(
            serde_json::from_str::<LastYes>(&kept).unwrap(),
            choice("photos", 1800.0, Some(2))
        );
    }

    proptest! {
        #[test]
        fn no_offer_is_longer_than_the_rule_allows(last in prop::option::of((1_u32..100_000, prop::option::of(1_u32..9))), longest in 1_u64..90_000) {
            let last = last.map(|(seconds, connections)| Offer { seconds: seconds.into(), connections });
            let longest = Duration::from_secs(longest);
            let all = offers(last, longest);
            prop_assert!(all.iter().all(|one| one.seconds <= longest.as_secs_f64()));
            prop_assert!((1..=5).contains(&all.len()));
            let first = last.unwrap_or(Offer { seconds: 900.0, connections: None });
            prop_assert_eq!(all[0].connections, first.connections);
            prop_assert_eq!(all[0].seconds, first.seconds.min(longest.as_secs_f64()));
        }
    }
}
