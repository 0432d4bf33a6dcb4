//! What decided about attempts when they were refused or held, so that `guard why` tells that, whatever policy has come since.

use guard_common::{AttemptKey, Cause, Event, Verdict};
use guard_policy::Barred;
use guard_proto::destination::NameTold;

use crate::{
    control::{advice::DecidingRule, inside::matter},
    policies::Policies,
    requests::{RequestKey, Requests},
    sessions::{Sessions, stops::Stops},
};

/// What decided lately, by what the kernel counts.
pub(crate) type Matters = Stops<64, AttemptKey, Matter>;

/// What an attempt is about, and what decides about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Matter {
    /// By which name the session knew the destination.
    pub(crate) host: Option<String>,
    pub(crate) verdict: Verdict,
    pub(crate) rule: Option<String>,
    pub(crate) reason: Option<String>,
    /// Whether guardd added the rule, for what came into reach of the session.
    pub(crate) is_own: bool,
    /// The policy, where it is one around the session's own.
    pub(crate) around: Option<String>,
    pub(crate) named: Option<NameTold>,
    /// Why a rule that has the name opens nothing there.
    pub(crate) barred: Option<Barred>,
}

impl Matter {
    /// What decides, in words.
    pub(crate) fn by(&self) -> DecidingRule<'_> {
        DecidingRule {
            name: self.rule.as_deref(),
            reason: self.reason.as_deref(),
            is_own: self.is_own,
        }
    }

    /// Whether the same decides here and there.
    pub(crate) fn is_by_the_same(&self, other: &Self) -> bool {
        let by = |one: &Self| {
            (
                one.verdict,
                one.rule.clone(),
                one.is_own,
                one.around.clone(),
            )
        };
        by(self) == by(other)
    }
}

/// By what the kernel counts an event.
pub(crate) const fn counted_as(event: &Event) -> AttemptKey {
    AttemptKey {
        destination: event.destination,
        session: event.session,
        port: event.port,
        protocol: event.protocol,
        verdict: match Cause::from_u8(event.cause) {
            Cause::NothingSent => AttemptKey::NOTHING_SENT,
            _ => event.verdict,
        },
    }
}

impl Requests {
    /// Notes what decides about an attempt, as it is refused or held. What policies allow is refused for another reason.
    pub(crate) fn note_decided(&mut self, sessions: &Sessions, policies: &Policies, event: &Event) {
        let key = RequestKey::new(event.session, event.destination, event.protocol, event.port);
        let about = matter(sessions, policies, &key);
        if let Some(about) = about.filter(|about| about.verdict != Verdict::Allow) {
            let attempt = counted_as(event);
            self.decided.note(event.session, attempt, about, event.at);
        }
    }
}
