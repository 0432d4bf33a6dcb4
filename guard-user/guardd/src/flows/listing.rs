//! What sessions have reached, for whoever may see it.

use guard_common::{Protocol, SessionId};
use guard_policy::protocol_name;
use guard_proto::{Flow, flows::FlowsReply as Listed};

use super::{
    Flows, Knowledge,
    kept::{FlowTotals, KeptFlows, ProgramTarget},
};
use crate::{
    control::{
        auth::{Agent, Approver},
        failure::CallError,
        ids,
    },
    state::State,
};

impl State {
    /// What is known of sessions, for [`Flows`].
    fn with_flows<T>(
        &mut self,
        work: impl FnOnce(&mut Flows, &mut guard_datapath::Datapath, Knowledge<'_>) -> T,
    ) -> T {
        let known = Knowledge {
            sessions: &self.sessions,
            policies: &self.policies,
            relays: &self.relays,
        };
        work(&mut self.flows, &mut self.datapath, known)
    }

    /// Reads what sessions reach, if that is due.
    pub fn follow_flows(&mut self, now: guard_common::BootTime) {
        self.with_flows(|flows, kernel, known| flows.follow(kernel, known, now));
    }

    /// Reads it now, and writes it down: guardd is about to end.
    pub fn keep_flows(&mut self) {
        self.with_flows(|flows, kernel, known| flows.read_and_keep(kernel, known));
    }

    /// The same: a session has ended.
    pub fn end_flows(&mut self, now: guard_common::BootTime) {
        self.with_flows(|flows, kernel, known| flows.end(kernel, known, now));
    }

    /// Writes down what ended sessions have reached, and removes it from the kernel.
    pub fn forget_flows(&mut self, ended: &[SessionId]) {
        let forgotten = self.with_flows(|flows, kernel, known| flows.forget(kernel, known, ended));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "what ended sessions have reached stays in the kernel");
        }
    }

    /// Takes over what sessions have reached under an earlier guardd, and since.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn adopt_flows(&mut self) -> Result<(), CallError> {
        self.with_flows(Flows::adopt)?;
        Ok(())
    }

    /// What the sessions that a caller answers for have reached, or one of them and those inside it.
    ///
    /// # Errors
    ///
    /// `NotFound` for a session of which nothing is known; the kernel's.
    pub fn flows_of(&mut self, who: Approver, session: Option<&str>) -> Result<Listed, CallError> {
        self.with_flows(|flows, kernel, known| flows.read(kernel, known))?;
        let wanted = session.map(|one| self.meant_flows(who, one)).transpose()?;
        let is_wanted = |kept: &&KeptFlows| {
            who.answers_for(kept.uid) && wanted.is_none_or(|id| kept.belongs_to(id))
        };
        let mine: Vec<_> = self.flows.all.values().filter(is_wanted).collect();
        let mut warnings: Vec<_> = mine.iter().filter_map(|kept| left_out(kept)).collect();
        if self.flows.forgotten > 0 && wanted.is_none() {
            warnings.push(format!(
                "what {} earlier sessions reached was forgotten, to make room for later ones",
                self.flows.forgotten
            ));
        }
        Ok(Listed {
            flows: mine.into_iter().flat_map(shown).collect(),
            name_servers: self.policies.name_servers(),
            warnings,
        })
    }

    /// What the caller's session has reached.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub fn own_flows(&mut self, who: Agent) -> Result<Listed, CallError> {
        self.with_flows(|flows, kernel, known| flows.read(kernel, known))?;
        let began = self.flows.current.get(&who.session());
        let own = began.and_then(|began| self.flows.all.get(began));
        Ok(Listed {
            flows: own.map(shown).into_iter().flatten().collect(),
            name_servers: self.policies.name_servers(),
            warnings: own.and_then(left_out).into_iter().collect(),
        })
    }

    /// The session that is meant: one that lives, or has ended.
    fn meant_flows(&self, who: Approver, session: &str) -> Result<SessionId, CallError> {
        let may = |owner| who.answers_for(owner);
        let live = self.sessions.called(session, may);
        live.map(|live| live.cgroup.id).or_else(|unknown| {
            let id = ids::parse_session(session).map_err(|_| not_by_name(session))?;
            let mut all = self.flows.all.values();
            let is_known = all.any(|kept| kept.belongs_to(id) && may(kept.uid));
            if is_known { Ok(id) } else { Err(unknown) }
        })
    }
}

/// Of sessions that have ended, the audit log alone has the names.
fn not_by_name(session: &str) -> CallError {
    if ids::other_kind(session).is_some() {
        return ids::no_session(session);
    }
    CallError::not_found(
        format!("there is no session {session}"),
        "no live session of yours has that id or name; of one that has ended the id is known",
        format!("guard report --name {session}"),
    )
}

fn left_out(kept: &KeptFlows) -> Option<String> {
    (kept.left_out > 0).then(|| {
        format!(
            "{} has reached more than is kept of a session and those inside it: {} connections are not listed",
            ids::session(kept.id()),
            kept.left_out
        )
    })
}

/// In the order of their first connections.
fn shown(kept: &KeptFlows) -> Vec<Flow> {
    let mut all: Vec<_> = kept.iter().collect();
    all.sort_by_key(|(spot, flow)| (flow.first_at, *spot));
    let session = ids::session(kept.id());
    all.into_iter()
        .map(|(spot, flow)| one(&session, spot, flow))
        .collect()
}

fn one(session: &str, spot: &ProgramTarget, flow: &FlowTotals) -> Flow {
    let protocol = Protocol(spot.protocol);
    let has_ports = matches!(protocol, Protocol::TCP | Protocol::UDP);
    let is_counted = protocol == Protocol::TCP;
    Flow {
        session: session.to_owned(),
        host: flow.names.first().cloned(),
        names: flow.names.clone(),
        address: spot.address.to_string(),
        protocol: protocol_name(protocol),
        port: has_ports.then_some(spot.port),
        program: (!spot.program.is_empty()).then(|| spot.program.clone()),
        first_at: flow.first_at,
        last_at: flow.last_at,
        connections: flow.connections,
        bytes_sent: is_counted.then_some(flow.sent),
        bytes_received: is_counted.then_some(flow.received),
        verdict: flow.verdict.clone(),
        rule: flow.rule.clone(),
        leads_to: flow.leads.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_report_is_proposed_of_what_is_no_sessions_name() {
        for (typed, fix) in [
            ("claude", "guard report --name claude"),
            ("r1", "guard sessions"),
            ("h1", "guard sessions"),
        ] {
            assert_eq!(not_by_name(typed).failure.fix, fix);
        }
    }
}
