//! What came into reach of a session while its command runs, as its launcher tells.

use std::{fmt::Write as _, sync::Arc};

use guard_common::{PolicyId, SessionId, Verdict};
use guard_policy::{Policy, PortSpec, Rule, Target};
use guard_proto::{
    LogRecord,
    production::{Appeared, Place},
    record,
};
use guard_sys::clock;
use jiff::Timestamp;

use crate::{
    control::{auth::Approver, failure::CallError, ids},
    policies::{library::PolicyText, load},
    record::audit::LogEntry,
    sessions::Sessions,
    shared::Shared,
    state::State,
};

/// Characters that are kept of each part: files choose their words.
const LONGEST: usize = 256;

/// Has something asked about from now on that looks like production and has come into reach, where the settings say so, and tells
/// people of it. What the session's owner has dismissed is none. Where more comes than is told, each new connection is asked about.
///
/// # Errors
///
/// `NotFound` for a session that the caller does not answer for; else why its policy could not be narrowed.
pub(crate) async fn appeared(
    shared: &Shared,
    who: Approver,
    session: &str,
    place: Place,
    more: bool,
) -> Result<Appeared, CallError> {
    let Some(reached) = shared.with(|state| state.comes_into_reach(who, session, &place))? else {
        return Ok(Appeared { asks: false });
    };
    let narrowed = match (reached.slot, more) {
        (Some(slot), true) => all_asked(shared, slot, &reached.reads).await,
        (Some(slot), false) => match rule(&place) {
            Some((name, rule)) => load::narrow(shared, slot, &name, &rule)
                .await
                .map(|()| true),
            None => Ok(false),
        },
        (None, _) => Ok(false),
    };
    if let Err(error) = &narrowed {
        tracing::error!(session, host = place.host, more, %error, "what came into reach is not asked about");
    }
    let asks = narrowed.as_ref().is_ok_and(|asks| *asks);
    let told = shared.with(|state| state.record_appeared(&reached, place, asks, more));
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
    /// Rules that leave to its other policies what these open to reads alone.
    reads: String,
}

/// How the name of a rule begins that asks about one place.
const IN_REACH: &str = "in reach: ";
/// What the rule is called that asks about each new connection.
const MORE: &str = "in reach: more than is told";
/// That rule: but for the machine itself and its name servers, which [`PolicyText::apart`] has rules for.
const EVERYTHING: &str = "to = [\"0.0.0.0/0\", \"::/0\"]\naction = \"confirm\"\n\
    reason = \"more places that look like production came into reach than are told, so each new connection is asked about, until the \
    command has ended and is restarted\"\n";

/// Has each new connection asked about.
async fn all_asked(shared: &Shared, slot: PolicyId, reads: &str) -> Result<bool, CallError> {
    let with_reads = format!("{EVERYTHING}{reads}");
    if load::narrow(shared, slot, MORE, &with_reads).await.is_ok() {
        return Ok(true);
    }
    let narrowed = load::narrow(shared, slot, MORE, EVERYTHING).await;
    narrowed.map(|()| true)
}

/// Rules that allow what other policies open to reads alone, as it is left to these: an approver who says yes to a connection where all are
/// asked about says nothing of writes there. None where a wider rule asks about some of it already, and none of a project's policy: an
/// agent may have written that, with HTTP rules that let all through.
fn reads<'p>(others: impl Iterator<Item = (&'p PolicyText, &'p Policy)>, apart: &Policy) -> String {
    let asks = |rule: &&Rule| rule.action == Verdict::Confirm;
    if !apart.rules.iter().filter(asks).all(is_of_one_port) {
        return String::new();
    }
    let list = |all: Vec<String>| serde_json::Value::from_iter(all);
    let own = others.filter(|(source, _)| !source.project);
    let read = own.flat_map(|(_, policy)| &policy.rules);
    let read = read.filter(|rule| rule.action == Verdict::ReadOnly);
    read.enumerate()
        .fold(String::new(), |mut text, (at, rule)| {
            let to = list(rule.to.iter().map(ToString::to_string).collect());
            let ports = rule.ports.iter().map(ToString::to_string).collect();
            let ports = if rule.ports.is_empty() {
                String::new()
            } else {
                format!("ports = {}\n", list(ports))
            };
            let name = format!("reads: {at}");
            let _ = write!(
                text,
                "\n[[rule]]\nname = \"{name}\"\nto = {to}\n{ports}action = \"allow\"\n"
            );
            text
        })
}

/// Whether no rule is narrower.
fn is_of_one_port(rule: &Rule) -> bool {
    let is_port = matches!(&rule.ports[..], [only] if only.low == only.high);
    let is_host = |to: &Target| match to {
        Target::Prefix(prefix) => prefix.is_host(),
        Target::Name(_) => true,
        _ => false,
    };
    is_port && rule.to.iter().all(is_host)
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
        (format!("{IN_REACH}{host} {ports}"), rule)
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
        let slot = self.sessions.slot_apart(id);
        let others = live.chain.iter().filter(|one| Some(**one) != slot);
        let others = others.filter_map(|slot| self.policies.get(*slot));
        let apart = slot.and_then(|slot| self.policies.get(slot));
        let others = others.map(|one| (&one.source, &*one.policy));
        let reads = apart.map(|apart| reads(others, &apart.policy));
        Ok(Some(ReachedSession {
            id,
            uid,
            slot,
            reads: reads.unwrap_or_default(),
        }))
    }

    /// Records it. The record, where there is one.
    fn record_appeared(
        &mut self,
        reached: &ReachedSession,
        place: Place,
        asks: bool,
        more: bool,
    ) -> Option<LogRecord> {
        let ReachedSession { id, uid, .. } = *reached;
        self.sessions.add_production(id, &place, more);
        let is_first = self.sessions.note_appeared(id, asks && more);
        let admitted = self.sessions.admit(&mut self.recorder, id, clock::now());
        // What all that follows is asked about for is in the log, however many records came before.
        if admitted.is_none() && !is_first {
            return None;
        }
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
            more: more.into(),
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
        self.recorder.note(match admitted {
            Some(admitted) => entry.admitted(admitted),
            None => entry,
        });
        Some(told)
    }
}

impl Sessions {
    /// Whether that is the first after which all is asked about.
    fn note_appeared(&mut self, id: SessionId, all_asked: bool) -> bool {
        let Some(session) = self.get_mut(id) else {
            return false;
        };
        let about = &mut session.about;
        let is_first = all_asked && !about.all_asked;
        about.appeared = about.appeared.saturating_add(1);
        about.all_asked |= all_asked;
        self.keep(id);
        is_first
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
    fn beyond_what_is_told_each_connection_is_asked_about_but_to_the_machine_itself() {
        let base = policy::parse("a.toml", "default = \"allow\"\n").unwrap();
        let beside = PolicyText::apart(&base.policy, "1", true);
        let all = beside.narrowed(MORE, EVERYTHING).unwrap();
        assert_eq!(all.narrowed(MORE, EVERYTHING), None);
        let parsed = policy::parse("a.toml", &all.text).unwrap().policy;
        let rules = parsed.rules.iter();
        let rules: Vec<_> = rules
            .map(|rule| {
                let to: Vec<_> = rule.to.iter().map(ToString::to_string).collect();
                (to.join(" "), rule.action.as_str(), rule.ports.len())
            })
            .collect();
        let expected = [
            ("@loopback", "allow", 0),
            ("@dns", "allow", 2),
            ("0.0.0.0/0 ::/0", "confirm", 0),
        ];
        assert_eq!(
            rules,
            expected.map(|(to, action, ports)| (to.to_owned(), action, ports))
        );
    }

    #[test]
    fn what_is_open_to_reads_alone_is_left_to_the_policy_that_says_so() {
        let own = "default = \"allow\"\n\
            [[rule]]\nname = \"a\"\nto = [\"192.0.2.9\"]\naction = \"deny\"\n\
            [[rule]]\nname = \"b\"\nto = [\"db.example.net\", \"*.example.org\", \"192.0.2.0/28\"]\nports = [\"tcp/5432\"]\naction = \"read-only\"\nprofile = [\"postgres\"]\n";
        let own = policy::parse("a.toml", own).unwrap().policy;
        let beside = PolicyText::apart(&own, "1", true);
        let with = |ports: &str| {
            let (name, rule) = rule(&place("db.example.com", ports, "allow")).unwrap();
            let beside = beside.narrowed(&name, &rule).unwrap();
            let apart = policy::parse("a.toml", &beside.text).unwrap().policy;
            let text = PolicyText::brought(None, String::new());
            let projects = reads([(&text.clone().of_project(true), &own)].into_iter(), &apart);
            assert_eq!(projects, "", "it is an agent's to write");
            let reads = reads([(&text, &own)].into_iter(), &apart);
            let all = beside
                .narrowed(MORE, &format!("{EVERYTHING}{reads}"))
                .unwrap();
            let parsed = policy::parse("a.toml", &all.text).unwrap().policy;
            let last = parsed.rules.last().unwrap().clone();
            let to: Vec<_> = last.to.iter().map(ToString::to_string).collect();
            (to.join(" "), last.action)
        };
        let left = "db.example.net *.example.org 192.0.2.0/28".to_owned();
        assert_eq!(with("tcp/5432"), (left, Verdict::Allow));
        // What a wider rule asks about already, none opens.
        assert_eq!(with("tcp"), ("0.0.0.0/0 ::/0".to_owned(), Verdict::Confirm));
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
