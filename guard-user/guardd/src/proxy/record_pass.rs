//! Lets a write pass: its record is in the audit log before the proxy gets the answer.

use guard_common::HoleId;
use guard_proto::{
    Failure,
    record::{Http, RecordedDestination},
    wire::{AskAnswer, RedirectTarget},
};

use super::terms::TargetAccess;
use crate::{
    control::ids,
    record::audit::{AuditError, LogEntry},
    requests::{RequestKey, shown},
    state::State,
};

impl State {
    /// The answer yes, if it can be written to the audit log. `request` is the request that a person answered, and `hole`
    /// what that opened; without both, the policy has come to allow all.
    ///
    /// No meter leaves out these records: each is a change at a read-only destination.
    #[must_use]
    pub(super) fn pass(
        &mut self,
        key: &RequestKey,
        request: Option<&str>,
        hole: Option<HoleId>,
    ) -> AskAnswer {
        match self.write_passed(key, request, hole) {
            Ok(()) => {
                self.recorder.counters().http("passed");
                AskAnswer::Yes
            }
            Err(error) => unwritten(error),
        }
    }

    /// What a record says of a request, whatever came of it.
    fn of_request(&self, key: &RequestKey) -> Http {
        let http = key.http.as_deref().map(|http| &http.request);
        Http {
            destination: RecordedDestination::Endpoint(key.endpoint(None)).into(),
            method: http.map(|http| http.method.clone()).into(),
            path: http.map(shown::path_for_log).into(),
            host: http.and_then(|http| http.host.clone()).into(),
            rule: rule_of(self.target_access(&target(key))).into(),
            ..Http::default()
        }
    }

    fn write_passed(
        &mut self,
        key: &RequestKey,
        request: Option<&str>,
        hole: Option<HoleId>,
    ) -> Result<(), AuditError> {
        let session = self.sessions.get(key.session);
        let owner = session.map_or(0, |session| session.about.uid);
        let record = Http {
            outcome: "passed".into(),
            request: request.into(),
            hole: hole.map(ids::hole).into(),
            ..self.of_request(key)
        };
        let session = ids::session(key.session);
        self.recorder.write(LogEntry::of(session, owner, record))?;
        self.recorder.sync()
    }
}

/// The outermost rule that stops it without a person's yes.
pub(super) fn rule_of(access: TargetAccess) -> Option<String> {
    match access {
        TargetAccess::Judged { rules, .. } => rules.into_iter().next()?.name,
        TargetAccess::Open | TargetAccess::Closed => None,
    }
}

/// The target of a request.
#[must_use]
pub(crate) fn target(key: &RequestKey) -> RedirectTarget {
    RedirectTarget {
        session: key.session.0,
        address: key.destination.to_ip(),
        port: key.port,
    }
}

fn unwritten(error: AuditError) -> AskAnswer {
    let why = format!("it may pass, but that cannot be written down: {error}");
    tracing::error!("a request is refused: {why}");
    AskAnswer::No {
        request: None,
        why,
        fix: format!(
            "ask the person to {}, then send it again",
            Failure::from(error).fix
        ),
    }
}
