//! What came into reach of a session while its command runs, as its launcher tells.

use std::sync::Arc;

use guard_common::{PolicyId, SessionId};
use guard_policy::{PortSpec, Target};
use guard_proto::{
    LogRecord,
    production::{Appeared, Place},
    record,
};
use guard_sys::clock;
use jiff::Timestamp;

use crate::{
    control::{auth::Approver, failure::CallError, ids},
    policies::load,
    record::audit::LogEntry,
    sessions::Sessions,
    shared::Shared,
    state::State,
};

/// Characters that are kept of each part: files choose their words.
const LONGEST: usize = 256;

/// Has something asked about from now on that looks like production and has come into reach, where the settings say so, and tells
/// people of it. What the session's owner has dismissed is none.
///
/// # Errors
///
/// `NotFound` for a session that the caller does not answer for; else why its policy could not be narrowed.
pub async fn appeared(
    shared: &Shared,
    who: Approver,
    session: &str,
    place: Place,
) -> Result<Appeared, CallError> {
    let Some(reached) = shared.with(|state| state.comes_into_reach(who, session, &place))? else {
        return Ok(Appeared { asks: false });
    };
    let narrowed = match (reached.slot, rule(&place)) {
        (Some(slot), Some((name, rule))) => {
            let narrowed = load::narrow(shared, slot, (&name, &rule)).await;
            if let Err(error) = &narrowed {
                tracing::error!(session, rule = name, %error, "what came into reach is not asked about");
            }
            narrowed.map(|()| true)
        }
        _ => Ok(false),
    };
    let asks = narrowed.as_ref().is_ok_and(|asks| *asks);
    let told = shared.with(|state| state.record_appeared(&reached, place, asks));
    if let Some(told) = told {
        // That nobody is told by a command is no error.
        let _ = shared.appeared.send(Arc::new(told));
    }
    narrowed.map(|asks| Appeared { asks })
}

/// A session into whose reach something came.
struct ReachedSession {
    id: SessionId,
    uid: u32,
    /// The slot of the policy that is to be narrowed, if there is one.
    slot: Option<PolicyId>,
}

/// A rule for it, and its name; none where the policy does not allow it anyway, or no rule can be for that.
fn rule(place: &Place) -> Option<(String, String)> {
    let (host, ports) = (&place.host, &place.ports);
    let to = host.parse::<Target>().ok()?;
    let only = match ports.as_str() {
        "any" => String::new(),
        ports => {
            ports.parse::<PortSpec>().ok()?;
            format!("ports = [\"{ports}\"]\n")
        }
    };
    let is_one = matches!(to, Target::Name(_) | Target::Prefix(_));
    (is_one && place.verdict == "allow").then(|| {
        let rule = format!(
            "to = [\"{host}\"]\n{only}action = \"confirm\"\n\
             reason = \"looks like production, and came into reach while the command ran\"\n"
        );
        (format!("in reach: {host} {ports}"), rule)
    })
}

impl State {
    /// None where it was dismissed.
    fn comes_into_reach(
        &mut self,
        who: Approver,
        session: &str,
        place: &Place,
    ) -> Result<Option<ReachedSession>, CallError> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let (id, uid) = (live.cgroup.id, live.about.uid);
        if self.decisions.dismisses(uid, place) {
            return Ok(None);
        }
        Ok(Some(ReachedSession {
            id,
            uid,
            slot: self.sessions.slot_apart(id),
        }))
    }

    /// Records it. The record, where there is one.
    fn record_appeared(
        &mut self,
        reached: &ReachedSession,
        place: Place,
        asks: bool,
    ) -> Option<LogRecord> {
        let ReachedSession { id, uid, .. } = *reached;
        self.sessions.note_appeared(id);
        let admitted = self.admit(id, clock::now())?;
        let kept = |text: String| text.chars().take(LONGEST).collect::<String>().into();
        let record = record::Appeared {
            host: kept(place.host),
            ports: kept(place.ports),
            service: kept(place.service),
            file: kept(place.file),
            line: place.line.into(),
            key: kept(place.key),
            verdict: kept(place.verdict),
            asks: asks.into(),
        };
        let (session, common) = (
            ids::session(id),
            record::Common {
                uid: uid.into(),
                ..record::Common::default()
            },
        );
        let told = record.clone().into();
        let told = LogRecord::new(Timestamp::now(), Some(session.clone()), &common, &told);
        let entry = LogEntry::of(session, uid, record);
        self.recorder.note(entry.admitted(admitted));
        Some(told)
    }
}

impl Sessions {
    fn note_appeared(&mut self, id: SessionId) {
        if let Some(session) = self.get_mut(id) {
            session.about.appeared = session.about.appeared.saturating_add(1);
            self.keep(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use guard_policy as policy;

    use super::*;

    fn place(host: &str, ports: &str, verdict: &str) -> Place {
        Place {
            host: host.to_owned(),
            ports: ports.to_owned(),
            service: "postgres".to_owned(),
            file: ".env".to_owned(),
            line: Some(1),
            key: "A".to_owned(),
            verdict: verdict.to_owned(),
        }
    }

    #[test]
    fn a_rule_is_for_what_it_names_and_nothing_else_gets_into_it() {
        for (host, ports) in [
            ("db.example.net", "tcp/5432"),
            ("192.0.2.10", "udp/51820"),
            ("2001:db8::1", "tcp"),
            ("10.20.0.0/16", "any"),
        ] {
            let (name, rule) = rule(&place(host, ports, "allow")).unwrap();
            let text = format!("version = 1\n[[rule]]\nname = \"{name}\"\n{rule}");
            let parsed = policy::parse("a.toml", &text).unwrap();
            assert_eq!(parsed.policy.rules.len(), 1, "{text}");
        }
        for (host, ports, verdict) in [
            ("db.example.net", "tcp/5432", "confirm"),
            ("db.example.net", "tcp/5432", "deny"),
            ("@private", "tcp/5432", "allow"),
            ("*.example.net", "tcp/5432", "allow"),
            ("a\"]\naction = \"allow", "tcp/5432", "allow"),
            ("db.example.net", "tcp/1\"]\nx = [\"", "allow"),
        ] {
            assert_eq!(rule(&place(host, ports, verdict)), None, "{host} {ports}");
        }
    }
}
