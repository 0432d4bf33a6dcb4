//! What a policy says about the requests to a `read-only` destination.

use guard_policy::{HttpRule, Profile, ProfileLists, Rule};
use serde::{Deserialize, Serialize};

/// What one rule says about requests: a `read-only` one, or where a hole makes that of `confirm`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The rule of the policy; none where its default decides.
    pub name: Option<String>,
    /// Why it is there, in its author's words.
    pub reason: Option<String>,
    /// Its HTTP rules. The first that matches decides.
    pub http: Vec<HttpRule>,
    /// The protocols that are spoken there.
    pub profiles: Vec<Profile>,
    /// What those profiles have to know.
    pub lists: ProfileLists,
}

impl Rules {
    /// What a rule of a policy says.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        Self {
            http: rule.http.clone(),
            profiles: rule.profiles.clone(),
            lists: rule.lists.clone(),
            ..Self::plain(Some(rule))
        }
    }

    /// That only reads pass, on behalf of a rule that says nothing about requests; of none where the default decides.
    #[must_use]
    pub fn plain(rule: Option<&Rule>) -> Self {
        Self {
            name: rule.map(|rule| rule.name.clone()),
            reason: rule.and_then(|rule| rule.reason.clone()),
            ..Self::default()
        }
    }
}
