//! The kernel log, in guardd's own log: what the kernel half decided, and by what, to debug a verdict.

use std::{rc::Rc, time::Duration};

use guard_common::{DEFAULT_RULE, PolicyId, SessionId};
use guard_datapath::{DecisionLine, LogOf, Logged};
use guard_policy::protocol_name;

use crate::{
    control::{failure::CallError, ids},
    policies::Policies,
    sessions::Sessions,
    shared::Shared,
    state::State,
};

/// The interval at which lines are read. The ring buffer has room for some seconds' lines.
const INTERVAL: Duration = Duration::from_millis(200);

/// All sessions, as people type it.
const ALL: &str = "all";

/// Has the kernel half log the decisions of a session, of `all`, or of none. Returns the new setting.
///
/// # Errors
///
/// `NotFound` if there is no such session; the kernel's.
pub(crate) fn switch(state: &mut State, of: Option<String>) -> Result<Option<String>, CallError> {
    let wanted = match of.as_deref() {
        None => None,
        Some(ALL) => Some(LogOf::All),
        Some(session) => Some(LogOf::Session(state.sessions.logged_session(session)?)),
    };
    write(state);
    state.datapath.log_decisions(wanted)?;
    match &of {
        Some(of) => tracing::info!(of, "the kernel half logs what it decides"),
        None => tracing::info!("the kernel half logs nothing"),
    }
    Ok(of)
}

fn nobody_called(of: &str) -> CallError {
    CallError::not_found(
        format!("there is no session {of}"),
        format!("no live session has that id, and it is neither `{ALL}` nor `off`"),
        "guard sessions\nguard debug kernel-log all\nguard debug kernel-log off",
    )
}

impl Sessions {
    fn logged_session(&self, session: &str) -> Result<SessionId, CallError> {
        let id = ids::parse_session(session).ok();
        let live = id.filter(|id| self.live(*id).is_some());
        live.ok_or_else(|| nobody_called(session))
    }
}

/// Writes what the kernel half logs, while it does.
pub(crate) async fn follow(shared: Rc<Shared>) {
    loop {
        if shared.with(write) {
            tokio::time::sleep(INTERVAL).await
        } else {
            shared.log_switched.notified().await
        }
    }
}

/// Writes the lines there are; false if nothing is logged.
fn write(state: &mut State) -> bool {
    let Some(Logged { lines, left_out }) = state.datapath.decisions() else {
        return false;
    };
    for line in &lines {
        state.policies.log_decision(line);
    }
    if left_out > 0 {
        tracing::warn!(
            left_out,
            "the kernel log has no room for more lines in a second"
        );
    }
    true
}

impl Policies {
    fn log_decision(&self, line: &DecisionLine) {
        let destination = match line.port {
            0 => line.to.to_string(),
            port => std::net::SocketAddr::new(line.to, port).to_string(),
        };
        let decided = line.policy.map(|(slot, rule, verdict)| {
            let (policy, rule) = self.names_of(slot, rule);
            (policy, rule, verdict.as_str())
        });
        let (policy, rule, verdict) = match decided {
            Some((policy, rule, verdict)) => (Some(policy), Some(rule), Some(verdict)),
            None => (None, None, None),
        };
        tracing::info!(
            session = ids::session(line.session),
            hook = line.hook.as_str(),
            protocol = protocol_name(line.protocol),
            destination,
            policy,
            rule,
            verdict,
            hole = line.hole.map(ids::hole),
            outcome = line.outcome.as_str(),
            "decided in the kernel"
        );
    }

    /// The name of a policy and its rule, or their numbers if they are gone.
    fn names_of(&self, slot: PolicyId, rule: u16) -> (String, String) {
        let Some(policy) = self.get(slot).map(|known| &known.policy) else {
            return (slot.0.to_string(), rule.to_string());
        };
        let name = match (policy.rule(rule), rule) {
            (Some(rule), _) => rule.name.clone(),
            (None, DEFAULT_RULE) => "default".to_owned(),
            (None, rule) => rule.to_string(),
        };
        (policy.name.clone(), name)
    }
}
