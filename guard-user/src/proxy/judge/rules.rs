//! What a policy says about the requests to a `read-only` destination.

use serde::{Deserialize, Serialize};

use crate::policy::{HttpRule, Profile, ProfileLists, Rule};

/// What one `read-only` rule says about requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// The rule of the policy.
    pub name: String,
    /// Why it is there, in its author's words.
    pub reason: Option<String>,
    /// Its HTTP rules. The first that matches decides.
    pub http: Vec<HttpRule>,
    /// The protocols that are spoken there.
    pub profiles: Vec<Profile>,
    /// What those profiles have to be told.
    pub lists: ProfileLists,
}

impl Rules {
    /// What a rule of a policy says.
    #[must_use]
    pub fn of(rule: &Rule) -> Self {
        Self {
            name: rule.name.clone(),
            reason: rule.reason.clone(),
            http: rule.http.clone(),
            profiles: rule.profiles.clone(),
            lists: rule.lists.clone(),
        }
    }
}
