//! What came into reach of a session while its command runs, as its launcher tells.

use guard_common::PolicyId;
use guard_policy::{PortSpec, Target};
use guard_proto::{
    production::{Appeared, Place},
    record,
};
use guard_sys::clock;

use crate::{
    control::{auth::Approver, failure::CallError, ids},
    policies::load,
    record::audit::LogEntry,
    shared::Shared,
    state::State,
};

/// Characters that are kept of each part: files choose their words.
const LONGEST: usize = 256;

/// Records that something that looks like production has come into reach, and has it asked about from now on where the settings say so.
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
    let rule = rule(&place);
    let slot = shared.with(|state| state.appeared(who, session, place))?;
    let (Some(slot), Some((name, rule))) = (slot, rule) else {
        return Ok(Appeared { asks: false });
    };
    let narrowed = load::narrow(shared, slot, (&name, &rule)).await;
    if let Err(error) = &narrowed {
        tracing::error!(session, rule = name, %error, "what came into reach is not asked about");
    }
    narrowed.map(|()| Appeared { asks: true })
}

/// A rule for it, and its name; none where the policy does not allow it anyway, or no rule can be for that.
fn rule(place: &Place) -> Option<(String, String)> {
    let (host, ports) = (&place.host, &place.ports);
    let to = host.parse::<Target>().ok()?;
    ports.parse::<PortSpec>().ok()?;
    let is_one = matches!(to, Target::Name(_) | Target::Prefix(_));
    (is_one && place.verdict == "allow").then(|| {
        let rule = format!(
            "to = [\"{host}\"]\nports = [\"{ports}\"]\naction = \"confirm\"\n\
             reason = \"looks like production, and came into reach while the command ran\"\n"
        );
        (format!("in reach: {host} {ports}"), rule)
    })
}

impl State {
    /// The slot of the policy that is to be narrowed, if there is one.
    fn appeared(
        &mut self,
        who: Approver,
        session: &str,
        place: Place,
    ) -> Result<Option<PolicyId>, CallError> {
        let live = self
            .sessions
            .called(session, |owner| who.answers_for(owner))?;
        let (id, uid) = (live.cgroup.id, live.about.uid);
        if let Some(admitted) = self.admit(id, clock::now()) {
            let kept = |text: String| text.chars().take(LONGEST).collect::<String>().into();
            let record = record::Appeared {
                host: kept(place.host),
                ports: kept(place.ports),
                service: kept(place.service),
                file: kept(place.file),
                line: place.line.into(),
                key: kept(place.key),
                verdict: kept(place.verdict),
            };
            let entry = LogEntry::of(ids::session(id), uid, record);
            self.recorder.note(entry.admitted(admitted));
        }
        Ok(self.sessions.slot_apart(id))
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
        for host in ["db.example.net", "192.0.2.10", "2001:db8::1"] {
            let (name, rule) = rule(&place(host, "tcp/5432", "allow")).unwrap();
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
