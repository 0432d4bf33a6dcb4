//! What becomes of a refusal, by the policies of now, and its record.

use guard_common::{Cause, Event, Hook, Protocol, SessionId, Verdict};
use guard_policy::protocol_name;
use guard_proto::{
    destination::Listener,
    record::{Denied, Field, RecordedDestination},
};

use super::{RequestKey, attempts::AttemptJudge, decided::counted_as};
use crate::{
    control::ids,
    machine::Machine,
    policies::{NameAsker, Policies},
    process::SeenProcess,
    record::{Recorder, audit::LogEntry},
    sessions::Sessions,
};

/// What becomes of a refusal, by the verdict of now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Handling {
    /// Nothing: it was refused under a policy that has been replaced since.
    Outdated,
    /// A record: the guard's own proxy listens there, and no hole helps.
    OwnProxy,
    /// The connection is held, and an approver is asked.
    Held,
    /// A record: no hole could allow it.
    Denied,
    /// A record: it is what a connection still sends whose hole has just ended, and nobody has tried it again.
    Aftermath,
    /// A record: TLS has to show a name there, and the proxy looks at the next connection from that network, if it can.
    Nameless,
    /// A record that says why the resolver did not get the question.
    Unresolved,
    /// It could have been redirected to the proxy, and was not. Where no proxy runs, or it serves that network only from now on: a record,
    /// and the next one may be. Else as [`Self::Asked`].
    Direct,
    /// A record, and a request.
    Asked,
}

impl AttemptJudge<'_> {
    /// What becomes of a refusal. `is_aftermath` looks up whether a hole has just ended that let it through: it is not called for a refusal
    /// that it changes nothing about.
    pub(super) fn handling(self, event: &Event, is_aftermath: impl Fn() -> bool) -> Handling {
        let is_tcp = event.protocol == Protocol::TCP;
        match self.verdict_on(event) {
            _ if is_own_proxy(event) => Handling::OwnProxy,
            Some(Verdict::Confirm | Verdict::ReadOnly) if is_aftermath() => Handling::Aftermath,
            Some(Verdict::Confirm) if event.held != 0 => Handling::Held,
            Some(Verdict::Allow) if self.sni_rule(event).is_some() => Handling::Nameless,
            Some(Verdict::Allow) if self.is_question(event) => Handling::Unresolved,
            Some(Verdict::Allow) => Handling::Outdated,
            Some(_) if is_socket(event) => Handling::Denied,
            Some(Verdict::ReadOnly) if is_tcp => Handling::Direct,
            Some(Verdict::Confirm | Verdict::ReadOnly) => Handling::Asked,
            Some(Verdict::Deny) | None => Handling::Denied,
        }
    }

    /// The verdict of the session's policies on the event now. If a hole for reads had it redirected, that is `read-only`.
    fn verdict_on(self, event: &Event) -> Option<Verdict> {
        let verdict = self.judge(event)?.verdict;
        match (verdict, Verdict::from_u8(event.verdict)) {
            (Verdict::Confirm, by_hole @ Verdict::ReadOnly) => Some(by_hole),
            _ => Some(verdict),
        }
    }
}

/// What it takes to write refusals to the audit log.
#[derive(Debug)]
pub(super) struct RefusalLog<'s> {
    /// Whose they are.
    pub(super) sessions: &'s Sessions,
    /// What refuses them.
    pub(super) policies: &'s Policies,
    /// Their processes.
    pub(super) machine: &'s Machine,
    /// The audit log.
    pub(super) recorder: &'s mut Recorder,
}

impl RefusalLog<'_> {
    /// Writes a refusal as a `denied` record, unless its session has caused too many. `session`: the one that is refused something; none
    /// where that has ended. `why`: where no policy refuses it. `listener`: what listens there.
    pub(super) fn write(
        &mut self,
        event: &Event,
        session: Option<SessionId>,
        why: Option<String>,
        listener: Option<Listener>,
    ) {
        let (sessions, policies) = (self.sessions, self.policies);
        let Some(admitted) = sessions.admit(self.recorder, event.session, event.at) else {
            return;
        };
        let judge = AttemptJudge { sessions, policies };
        let judged = judge.judge(event);
        let by = judge.refused_by(event, judged, why);
        let host =
            judged.and_then(|judged| policies.host_of(event.session, event.destination, &judged));
        let live = session.and_then(|id| sessions.live(id));
        let seen = (self.machine).process_behind(sessions.live(event.session), event);
        let SeenProcess { pid, process } = seen;
        let who = NameAsker::of(pid, process.comm.as_deref());
        let answered = || policies.answered_to(event.session, event.destination, &who);
        let host = host.or_else(answered);
        let hook = Hook::from_u8(event.hook).map_or("unknown", Hook::as_str);
        let by_tcp = judge.passes_by_tcp(&counted_as(event));
        let record = Denied {
            cgroup: live.map_or(event.cgroup.into(), |_| Field::Absent),
            destination: destination(event, host).into(),
            rule: by.rule.into(),
            policy: by.policy.map_or(Field::Absent, Into::into),
            verdict: Verdict::from_u8(event.verdict).as_str().into(),
            listener: listener.map_or(Field::Absent, Field::Is),
            hook: hook.into(),
            why: by.why.map_or(Field::Absent, Into::into),
            count: event.count.into(),
            pid: pid.into(),
            comm: process.comm.into(),
            exe: process.exe.into(),
            tcp: by_tcp.map_or(Field::Absent, |verdict| verdict.as_str().into()),
            ..Denied::default()
        };
        let entry = match live {
            Some(live) => LogEntry::of(ids::session(live.cgroup.id), live.about.uid, record),
            None => record.into(),
        };
        self.recorder.note(entry.admitted(admitted));
    }
}

/// Whether it asked for the guard's own proxy.
fn is_own_proxy(event: &Event) -> bool {
    Cause::from_u8(event.cause) == Cause::OwnProxy
}

/// Whether it is a `socket` call, which has no destination that a hole could allow.
fn is_socket(event: &Event) -> bool {
    event.hook == Hook::SockCreate as u8
}

/// What a request about it would be about.
pub(super) fn key(event: &Event) -> RequestKey {
    RequestKey::new(event.session, event.destination, event.protocol, event.port)
}

fn destination(event: &Event, host: Option<String>) -> RecordedDestination {
    if is_socket(event) {
        RecordedDestination::Socket {
            protocol: protocol_name(event.protocol),
            socket_type: event.socket_type.into(),
        }
    } else {
        RecordedDestination::Endpoint(key(event).endpoint(host))
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, fs, net::IpAddr, path::Path};

    use guard_common::{BootTime, DNS_PORT};

    use super::*;
    use crate::{machine::machine, policies::of_texts, record::recorder, sessions::none_but};

    /// Under it each destination below has a verdict of its own.
    const TEXT: &str = "version = 1\ndefault = \"allow\"\n\
        [[rule]]\nname = \"never\"\nto = [\"192.0.2.1\"]\naction = \"deny\"\n\
        [[rule]]\nname = \"ask\"\nto = [\"192.0.2.2\"]\naction = \"confirm\"\n\
        [[rule]]\nname = \"look\"\nto = [\"192.0.2.3\"]\nports = [\"tcp/443\"]\naction = \"read-only\"\n";
    const DENIED: [u8; 4] = [192, 0, 2, 1];
    const ASKED: [u8; 4] = [192, 0, 2, 2];
    const READ: [u8; 4] = [192, 0, 2, 3];
    const ALLOWED: [u8; 4] = [192, 0, 2, 4];

    fn event(to: [u8; 4]) -> Event {
        Event {
            at: BootTime(1),
            session: SessionId(1),
            destination: IpAddr::from(to).into(),
            protocol: Protocol::TCP,
            port: 443,
            verdict: Verdict::Deny as u8,
            hook: Hook::Connect4 as u8,
            ..Event::default()
        }
    }

    #[test]
    fn a_refusal_is_handled_by_the_verdict_of_now() {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let judge = AttemptJudge {
            sessions: &sessions,
            policies: &policies,
        };
        let held = Event {
            held: 1,
            ..event(ASKED)
        };
        let of_nobody = Event {
            session: SessionId(9),
            ..event(ASKED)
        };
        let socket = Event {
            hook: Hook::SockCreate as u8,
            ..event(ASKED)
        };
        let by_hole = Event {
            verdict: Verdict::ReadOnly as u8,
            ..event(ASKED)
        };
        let caused = |cause: Cause, to| Event {
            cause: cause as u8,
            ..event(to)
        };
        for (event, handling) in [
            (event(DENIED), Handling::Denied),
            (event(ASKED), Handling::Asked),
            (event(READ), Handling::Direct),
            (event(ALLOWED), Handling::Outdated),
            (held, Handling::Held),
            (of_nobody, Handling::Denied),
            (socket, Handling::Denied),
            // A hole for reads had it redirected.
            (by_hole, Handling::Direct),
            (caused(Cause::OwnProxy, DENIED), Handling::OwnProxy),
        ] {
            assert_eq!(judge.handling(&event, || false), handling, "{event:?}");
        }
        let after = |to| judge.handling(&event(to), || true);
        assert_eq!(after(ASKED), Handling::Aftermath);
        assert_eq!(after(DENIED), Handling::Denied);
    }

    #[test]
    fn nothing_is_looked_up_that_changes_nothing_about_a_refusal() {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let judge = AttemptJudge {
            sessions: &sessions,
            policies: &policies,
        };
        for (to, expected, expected_look_ups) in [
            (DENIED, Handling::Denied, 0),
            (ALLOWED, Handling::Outdated, 0),
            // Whether a hole has just ended.
            (ASKED, Handling::Aftermath, 1),
        ] {
            let look_ups = Cell::new(0);
            let is_aftermath = || {
                look_ups.set(look_ups.get() + 1);
                true
            };
            let handling = judge.handling(&event(to), is_aftermath);
            let found = (handling, look_ups.get());
            assert_eq!(found, (expected, expected_look_ups), "{to:?}");
        }
    }

    #[test]
    fn a_question_past_the_resolver_is_told_apart_where_policies_speak_of_names() {
        let named = format!("{TEXT}[[rule]]\nto = [\"db.example.com\"]\naction = \"deny\"\n");
        let policies = of_texts(&[named]);
        let sessions = none_but(&[(1, None)]);
        let judge = AttemptJudge {
            sessions: &sessions,
            policies: &policies,
        };
        let question = Event {
            protocol: Protocol::UDP,
            port: DNS_PORT,
            ..event(ALLOWED)
        };
        let handling = judge.handling(&question, || false);
        assert_eq!(handling, Handling::Unresolved);
    }

    #[tokio::test]
    async fn a_refusal_is_in_the_log_with_the_rule_or_with_the_reason() {
        let (mut recorder, _dir) = recorder();
        let log = recorder.audit().path().to_owned();
        let last = || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.lines().last().unwrap_or_default().to_owned()
        };
        let mut refusals = RefusalLog {
            sessions: &none_but(&[(1, None)]),
            policies: &of_texts(&[TEXT.to_owned()]),
            machine: &machine(Path::new("/nonexistent")),
            recorder: &mut recorder,
        };
        refusals.write(&event(DENIED), Some(SessionId(1)), None, None);
        let by_rule = last();
        assert!(by_rule.contains(r#""rule":"never""#), "{by_rule}");
        assert!(by_rule.contains(r#""session":"s1""#), "{by_rule}");
        let why = Some("it is too late".to_owned());
        refusals.write(&event(DENIED), None, why, None);
        let by_reason = last();
        let reason = r#""why":"it is too late""#;
        assert!(by_reason.contains(reason), "{by_reason}");
        assert!(!by_reason.contains("never"), "{by_reason}");
    }
}
