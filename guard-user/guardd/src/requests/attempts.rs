//! What policies say of attempts, as they are refused or tried again. Holes are left aside.

use guard_common::{AttemptKey, DNS_PORT, Event, Protocol, Verdict};
use guard_policy::Rule;

use crate::{
    policies::{ChainVerdict, Policies},
    sessions::Sessions,
};

/// Why a connection is refused that a rule allows.
const NOT_SHOWN: &str = "TLS has to show a server's name there (SNI) that the policy allows, in a ClientHello of one record";

/// What judges attempts: the policies of their sessions, as they are now.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AttemptJudge<'s> {
    /// The sessions.
    pub(crate) sessions: &'s Sessions,
    /// Their policies.
    pub(crate) policies: &'s Policies,
}

/// What refuses a connection, as the audit log has it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct RefusedBy {
    pub(super) rule: Option<String>,
    /// The policy of a parent session, if that has the rule.
    pub(super) policy: Option<String>,
    pub(super) why: Option<String>,
}

impl<'s> AttemptJudge<'s> {
    /// The verdict on an event.
    pub(super) fn judge(self, event: &Event) -> Option<ChainVerdict<'s>> {
        let session = self.sessions.live(event.session)?;
        let (to, protocol, port) = (event.destination, event.protocol, event.port);
        self.policies.judge(session.subject(), to, protocol, port)
    }

    /// Whether the resolver should have got it.
    pub(super) fn is_question(self, event: &Event) -> bool {
        let session = self.sessions.live(event.session);
        event.port == DNS_PORT
            && matches!(event.protocol, Protocol::UDP | Protocol::TCP)
            && session.is_some_and(|session| self.policies.speaks_of_names(&session.chain))
    }

    /// The rule that wants TLS to show a name there.
    pub(super) fn sni_rule(self, event: &Event) -> Option<&'s Rule> {
        let session = self.sessions.live(event.session)?;
        let (to, port) = (event.destination, event.port);
        let is_tcp = event.protocol == Protocol::TCP;
        let rule = self.policies.sni_rule(session.subject(), to, port);
        rule.filter(|_| is_tcp)
    }

    /// What TCP gets there, where a UDP socket was refused before it sent anything: the C library has the port that the program wants,
    /// which may be about to connect. None where that is denied, too, or a rule denies UDP.
    pub(crate) fn passes_by_tcp(self, attempt: &AttemptKey) -> Option<Verdict> {
        let is_unsent = attempt.verdict == AttemptKey::NOTHING_SENT;
        let session = self.sessions.live(attempt.session).filter(|_| is_unsent)?;
        let (to, port) = (attempt.destination, attempt.port);
        let judged = |protocol| self.policies.judge(session.subject(), to, protocol, port);
        let denies = |rule: &Rule| rule.action == Verdict::Deny;
        let is_by_rule = judged(Protocol::UDP)?.rule.is_some_and(denies);
        let by_tcp = judged(Protocol::TCP)?.verdict;
        (!is_by_rule && by_tcp != Verdict::Deny).then_some(by_tcp)
    }

    /// What refuses a connection: `why` where no policy does, the rule whose name TLS has not shown, or what the policies say.
    pub(super) fn refused_by(
        self,
        event: &Event,
        judged: Option<ChainVerdict<'_>>,
        why: Option<String>,
    ) -> RefusedBy {
        match (why, self.sni_rule(event)) {
            // The rule that is about it may allow it.
            (Some(why), _) => RefusedBy {
                why: Some(why),
                ..RefusedBy::default()
            },
            (None, Some(by_sni)) => RefusedBy {
                rule: Some(by_sni.name.clone()),
                why: Some(NOT_SHOWN.to_owned()),
                ..RefusedBy::default()
            },
            (None, None) => RefusedBy {
                rule: judged.and_then(|judged| judged.rule.map(|rule| rule.name.clone())),
                policy: judged.and_then(|judged| {
                    let session = self.sessions.live(event.session)?;
                    self.policies.around(&session.chain, &judged)
                }),
                why: None,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::SessionId;

    use super::*;
    use crate::{policies::of_texts, sessions::none_but};

    const TEXT: &str = "version = 1\ndefault = \"deny\"\n\
        [[rule]]\nname = \"web\"\nto = [\"192.0.2.1\"]\nports = [\"tcp/443\"]\naction = \"confirm\"\n\
        [[rule]]\nname = \"no-quic\"\nto = [\"192.0.2.2\"]\nports = [\"udp/443\"]\naction = \"deny\"\n\
        [[rule]]\nname = \"other\"\nto = [\"192.0.2.2\"]\nports = [\"tcp/443\"]\naction = \"allow\"\n";

    fn event(last: u8, protocol: Protocol, port: u16) -> Event {
        Event {
            session: SessionId(1),
            destination: IpAddr::from([192, 0, 2, last]).into(),
            protocol,
            port,
            ..Event::default()
        }
    }

    #[test]
    fn what_udp_was_refused_before_it_sent_anything_may_pass_by_tcp() {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let judge = AttemptJudge {
            sessions: &sessions,
            policies: &policies,
        };
        let passes = |session: u32, last: u8, port: u16, verdict: u8| {
            judge.passes_by_tcp(&AttemptKey {
                destination: IpAddr::from([192, 0, 2, last]).into(),
                session: SessionId(session),
                port,
                protocol: Protocol::UDP,
                verdict,
            })
        };
        let unsent = AttemptKey::NOTHING_SENT;
        assert_eq!(passes(1, 1, 443, unsent), Some(Verdict::Confirm));
        assert_eq!(passes(1, 1, 443, Verdict::Deny as u8), None, "it has sent");
        assert_eq!(passes(1, 1, 80, unsent), None, "TCP is denied, too");
        assert_eq!(passes(1, 2, 443, unsent), None, "a rule denies UDP");
        assert_eq!(passes(9, 1, 443, unsent), None, "there is no such session");
    }

    #[test]
    fn a_question_is_for_the_resolver_where_policies_speak_of_names() {
        let named = format!("{TEXT}[[rule]]\nto = [\"db.example.com\"]\naction = \"allow\"\n");
        for (text, is_named) in [(TEXT, false), (named.as_str(), true)] {
            let policies = of_texts(&[text.to_owned()]);
            let sessions = none_but(&[(1, None)]);
            let judge = AttemptJudge {
                sessions: &sessions,
                policies: &policies,
            };
            for (protocol, port, may_be) in [
                (Protocol::UDP, DNS_PORT, true),
                (Protocol::TCP, DNS_PORT, true),
                (Protocol::UDP, 443, false),
            ] {
                let is_question = judge.is_question(&event(53, protocol, port));
                assert_eq!(is_question, may_be && is_named, "{protocol:?} {port}");
            }
        }
    }

    #[test]
    fn a_refusal_is_by_a_rule_unless_there_is_another_reason() {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let judge = AttemptJudge {
            sessions: &sessions,
            policies: &policies,
        };
        let refused = event(1, Protocol::TCP, 443);
        let judged = judge.judge(&refused);
        let by = judge.refused_by(&refused, judged, None);
        let rule = Some("web".to_owned());
        assert_eq!(
            by,
            RefusedBy {
                rule,
                ..RefusedBy::default()
            }
        );
        let why = Some("it is too late".to_owned());
        let by = judge.refused_by(&refused, judged, why.clone());
        assert_eq!(
            by,
            RefusedBy {
                why,
                ..RefusedBy::default()
            }
        );
    }
}
