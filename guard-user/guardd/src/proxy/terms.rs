//! The terms of a target: how the current policies and holes judge a connection that was redirected to the proxy.

use std::{cell::OnceCell, time::Duration};

use guard_common::{Address, BootTime, HoleEntry, HoleKind, Protocol, SessionId, Verdict};
use guard_datapath::{Datapath, LiveHole};
use guard_judge::http::Rules;
use guard_policy::{Profile, Rule};
use guard_proto::wire::{Passing, RedirectTarget, TargetTerms};
use guard_sys::clock;

use crate::{
    config::GateBy,
    control::failure::CallError,
    holes::known::Holes,
    listeners::destination,
    policies::{Policies, VerdictSubject},
    sessions::Sessions,
};

/// What passes at a target.
#[derive(Debug)]
pub(crate) enum TargetAccess {
    /// Nothing passes.
    Closed,
    /// Requests are judged by these rules, and a client may be held that long for an answer.
    Judged {
        /// The rules that decide, one for each policy that does not allow it, the outermost first.
        rules: Vec<Rules>,
        /// The shortest hold of the policies.
        hold: Duration,
    },
    /// Everything passes.
    Open,
}

/// What the policies say of a name that a client shows.
#[derive(Debug, Default)]
pub(crate) struct ShownName {
    /// Why it may not; none if it may.
    pub(crate) why: Option<String>,
    /// What its own rules say of requests, which they judge beside the target's terms. Where it may not, the rule by which.
    pub(crate) rules: Vec<Rules>,
    /// Until when no other name of the session is judged that is new as this one, or was judged before as this one, where it shows these too
    /// fast.
    pub(crate) until: Option<BootTime>,
}

impl ShownName {
    fn refused(why: String) -> Self {
        Self {
            why: Some(why),
            ..Self::default()
        }
    }
}

/// What a rule says of requests; none where all pass.
fn of_requests(rule: &Rule) -> Option<Rules> {
    match rule.action {
        Verdict::Allow => None,
        Verdict::ReadOnly => Some(Rules::of(rule)),
        _ => Some(Rules::plain(Some(rule))),
    }
}

/// PostgreSQL's port.
const POSTGRES: u16 = 5432;

/// What passes by a hole for reads: over HTTP, or where a port is PostgreSQL's by that protocol.
fn of_reads(rule: Option<&Rule>, port: u16) -> Rules {
    let profiles = (port == POSTGRES).then_some(Profile::Postgres);
    Rules {
        profiles: profiles.into_iter().collect(),
        ..Rules::plain(rule)
    }
}

/// The verdict of a chain of policies on a TCP connection. Every policy must allow it. If it `may_read`, a hole makes `confirm`
/// `read-only`.
#[must_use]
fn access_by_policies<'c>(
    policies: &Policies,
    subject: impl Into<VerdictSubject<'c>>,
    to: Address,
    port: u16,
    may_read: bool,
) -> TargetAccess {
    let subject = VerdictSubject {
        may_read,
        ..subject.into()
    };
    let Some(each) = policies.judge_each(subject, to, Protocol::TCP, port) else {
        return TargetAccess::Closed;
    };
    let (mut rules, mut hold) = (Vec::new(), Duration::MAX);
    for judged in each.into_iter().rev() {
        match (judged.verdict, judged.rule) {
            (Verdict::Allow, _) => {}
            (Verdict::ReadOnly, Some(rule)) => {
                rules.push(Rules::of(rule));
                hold = hold.min(judged.policy.policy.hold);
            }
            (Verdict::Confirm, rule) if may_read => {
                rules.push(of_reads(rule, port));
                hold = hold.min(judged.policy.policy.hold);
            }
            _ => return TargetAccess::Closed,
        }
    }
    match (subject.chain.is_empty(), rules.is_empty()) {
        (true, _) => TargetAccess::Closed,
        (false, true) => TargetAccess::Open,
        (false, false) => TargetAccess::Judged { rules, hold },
    }
}

impl Policies {
    /// Has TLS looked at by the kernel half if the settings say so and it can, else by the proxy.
    ///
    /// # Errors
    ///
    /// The kernel's.
    pub(crate) fn set_gate(&mut self, kernel: &mut Datapath, by: GateBy) -> anyhow::Result<()> {
        let problem = kernel.gate_problem();
        if let (GateBy::Kernel, Some(problem)) = (by, problem) {
            tracing::warn!("the kernel does not look at TLS, so the proxy does: {problem}");
        }
        let is_used = problem.is_none();
        kernel.use_gate(is_used)?;
        self.set_sni_for_proxy(!is_used);
        Ok(())
    }
}

/// What the kernel half knows of targets.
pub(crate) trait TargetFacts {
    /// Has policies know by which names a session knows an address.
    ///
    /// # Errors
    ///
    /// The kernel's: then nothing can be said of the address.
    fn recall_names(
        &self,
        policies: &Policies,
        subject: VerdictSubject<'_>,
        to: Address,
    ) -> Result<(), CallError>;

    /// The holes for connections; none where they cannot be read.
    fn open_holes(&self) -> Vec<LiveHole>;
}

impl TargetFacts for Datapath {
    fn recall_names(
        &self,
        policies: &Policies,
        subject: VerdictSubject<'_>,
        to: Address,
    ) -> Result<(), CallError> {
        policies.recall_names(self, subject, to)
    }

    fn open_holes(&self) -> Vec<LiveHole> {
        self.holes().unwrap_or_default()
    }
}

/// The kernel half, whose holes for connections are read once.
#[derive(Debug)]
pub(crate) struct HolesOnce<'k> {
    kernel: &'k Datapath,
    holes: OnceCell<Vec<LiveHole>>,
}

impl<'k> HolesOnce<'k> {
    /// Nothing is read yet.
    #[must_use]
    pub(crate) fn of(kernel: &'k Datapath) -> Self {
        let holes = OnceCell::new();
        Self { kernel, holes }
    }
}

impl TargetFacts for HolesOnce<'_> {
    fn recall_names(
        &self,
        policies: &Policies,
        subject: VerdictSubject<'_>,
        to: Address,
    ) -> Result<(), CallError> {
        self.kernel.recall_names(policies, subject, to)
    }

    fn open_holes(&self) -> Vec<LiveHole> {
        self.holes.get_or_init(|| self.kernel.open_holes()).clone()
    }
}

/// What judges targets: policies, holes and listeners, as they are now.
#[derive(Debug)]
pub(crate) struct TargetJudge<'s, K = Datapath> {
    /// The kernel half.
    pub(crate) kernel: &'s K,
    /// The sessions.
    pub(crate) sessions: &'s Sessions,
    /// Their policies.
    pub(crate) policies: &'s Policies,
    /// Holes for HTTP requests and SQL statements.
    pub(crate) holes: &'s Holes,
}

impl<'s, K> TargetJudge<'s, K> {
    /// The same with another view of the kernel half.
    #[must_use]
    pub(crate) fn with<O>(self, kernel: &'s O) -> TargetJudge<'s, O> {
        TargetJudge {
            kernel,
            sessions: self.sessions,
            policies: self.policies,
            holes: self.holes,
        }
    }
}

impl<K: TargetFacts> TargetJudge<'_, K> {
    /// What is said of a name that a client shows there, in TLS or HTTP.
    #[must_use]
    pub(crate) fn name(&self, target: &RedirectTarget, name: &str) -> ShownName {
        let Some(session) = self.sessions.live(SessionId(target.session)) else {
            return ShownName::refused("its session has ended".to_owned());
        };
        let to = destination(target);
        let subject = VerdictSubject {
            stands: true,
            ..session.subject()
        };
        if let Err(error) = self.kernel.recall_names(self.policies, subject, to) {
            return ShownName::refused(format!(
                "it cannot be read what the session knows the address by: {error}"
            ));
        }
        let port = target.port;
        if let Some(refused) = self.policies.refuses_name(subject, to, port, name) {
            let by = refused.rule.map(|rule| Rules::plain(Some(rule)));
            return ShownName {
                rules: by.into_iter().collect(),
                ..ShownName::refused(refused.why)
            };
        }
        let judged = self.policies.judge_name(subject.chain, to, port, name);
        // The outermost policy's first.
        let rules = judged.into_iter().rev().flatten();
        let rules = rules.filter_map(|one| of_requests(one.rule?));
        ShownName {
            rules: rules.collect(),
            ..ShownName::default()
        }
    }

    /// What passes at a target now, by policies and holes.
    #[must_use]
    pub(crate) fn access(&self, target: &RedirectTarget) -> TargetAccess {
        let Some(session) = self.sessions.live(SessionId(target.session)) else {
            return TargetAccess::Closed;
        };
        let to = destination(target);
        let subject = VerdictSubject {
            stands: true,
            ..session.subject()
        };
        // The connection may be here before the resolver has told by which name it was made.
        if let Err(error) = self.kernel.recall_names(self.policies, subject, to) {
            tracing::error!(%error, "cannot read what a session knows an address by");
            return TargetAccess::Closed;
        }
        let access =
            |may_read| access_by_policies(self.policies, subject, to, target.port, may_read);
        let by_policy = access(false);
        if matches!(by_policy, TargetAccess::Open) {
            return TargetAccess::Open;
        }
        let holes = self.holes_over(target);
        // Where TLS has to show a name, the kernel half redirects what a hole lets through, too. Nothing but such a hole, which it has
        // counted, can have let the connection come here: one that is used up lets in no other.
        let shows_name = self.policies.sni_rule(subject, to, target.port).is_some();
        let is_by_counted = shows_name
            && matches!(by_policy, TargetAccess::Closed)
            && !holes.iter().any(|kind| kind.reads());
        let lets_all = |kind: &HoleKind| {
            *kind == HoleKind::ALL || (is_by_counted && *kind == HoleKind::COUNTED)
        };
        if holes.iter().any(lets_all) {
            return TargetAccess::Open;
        }
        if holes.into_iter().any(HoleKind::reads) {
            access(true)
        } else {
            by_policy
        }
    }

    /// [`Self::access`] as the proxy is told of it, with what else it needs to know of the target; `None` if nothing passes there.
    #[must_use]
    pub(crate) fn terms(&self, target: &RedirectTarget) -> Option<TargetTerms> {
        // A hole that ends between this and the next look is gone by then.
        let until = self.first_end(target);
        let passing = match self.access(target) {
            TargetAccess::Closed => return None,
            TargetAccess::Judged { rules, .. } => Passing::Judged(rules),
            TargetAccess::Open => Passing::Everything,
        };
        let id = SessionId(target.session);
        let session = self.sessions.live(id)?;
        let account = session.outermost().0;
        let to = destination(target);
        let subject = VerdictSubject {
            stands: true,
            ..session.subject()
        };
        let by_sni = self.policies.sni_rule(subject, to, target.port);
        Some(TargetTerms {
            passing,
            account,
            by_sni: by_sni.is_some(),
            names: self.policies.speaks_of_names(&session.chain),
            writes: self
                .holes
                .begins_to_write(id, to, target.port, clock::now()),
            until: until.map(|end| end.0),
        })
    }

    /// When the first hole ends by which a target may be open: one that covers it.
    fn first_end(&self, target: &RedirectTarget) -> Option<BootTime> {
        let (session, to) = (SessionId(target.session), destination(target));
        let connections = self.kernel.open_holes().into_iter();
        let connections = connections.filter(|hole| {
            let covers = |hole: &HoleEntry| hole.covers(&to, Protocol::TCP, target.port);
            hole.session == session && covers(&hole.entry)
        });
        let requests = self
            .holes
            .ends_of_requests(session, to, target.port, clock::now());
        let ends = connections.map(|hole| hole.entry.expires).chain(requests);
        ends.min_by_key(|end| end.0)
    }

    /// The kinds of the kernel's holes that cover a target. The kernel half has counted the connection. No hole counts if a policy
    /// denies.
    fn holes_over(&self, target: &RedirectTarget) -> Vec<HoleKind> {
        let (session, to) = (SessionId(target.session), destination(target));
        let policies = self.policies;
        let live = self.sessions.live(session);
        let judged =
            live.and_then(|live| policies.judge(live.subject(), to, Protocol::TCP, target.port));
        let is_stopped =
            judged.is_some_and(|j| matches!(j.verdict, Verdict::Confirm | Verdict::ReadOnly));
        if !is_stopped {
            return Vec::new();
        }
        let holes = self.kernel.open_holes().into_iter();
        let there = holes.filter(|hole| {
            let is_own = hole.session == session;
            is_own && hole.entry.covers(&to, Protocol::TCP, target.port)
        });
        there.map(|hole| hole.entry.kind).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use guard_common::PolicyId;
    use guard_policy::{Environment, Prefix};

    use super::*;
    use crate::{
        policies::{self, InForce, library::PolicyText, of_texts},
        record::shelf::Shelf,
        sessions::none_but,
    };

    /// The text says `confirm` if the policy is to say `read-only`.
    fn policy(text: &str, is_read_only: bool) -> InForce {
        let source = PolicyText::brought(None, format!("version = 1\n{text}"));
        let mut read = policies::parse(&source).unwrap();
        if is_read_only {
            for rule in &mut read.policy.rules {
                rule.action = Verdict::ReadOnly;
            }
        }
        policies::compile(source, read, &Environment::default())
            .unwrap()
            .into()
    }

    fn access(chain: &[u32], last: u8) -> TargetAccess {
        access_with(chain, last, false)
    }

    /// With a hole for reads, if it `may_read`.
    fn access_with(chain: &[u32], last: u8, may_read: bool) -> TargetAccess {
        let rule = |name: &str, to: &str, action: &str| {
            format!("[[rule]]\nname = \"{name}\"\nto = [\"{to}\"]\naction = \"{action}\"\n")
        };
        let reads = |name: &str, hold: &str| {
            let rule = rule(name, "192.0.2.0/28", "confirm");
            policy(
                &format!("default = \"allow\"\nhold = \"{hold}\"\n{rule}"),
                true,
            )
        };
        let asks = rule("asks", "192.0.2.1", "confirm");
        let denies = rule("denies", "192.0.2.2", "deny");
        let mut policies = crate::policies::none();
        policies.put(PolicyId(1), reads("outer", "10s"));
        policies.put(PolicyId(2), reads("inner", "20s"));
        let strict = format!("default = \"allow\"\n{asks}{denies}");
        policies.put(PolicyId(3), policy(&strict, false));
        let chain: Vec<_> = chain.iter().map(|slot| PolicyId(*slot)).collect();
        let to = IpAddr::from([192, 0, 2, last]).into();
        access_by_policies(&policies, &chain, to, 443, may_read)
    }

    /// The names of the rules that judge.
    fn judges(access: TargetAccess) -> Vec<String> {
        match access {
            TargetAccess::Judged { rules, .. } => {
                rules.into_iter().filter_map(|rule| rule.name).collect()
            }
            other => panic!("no rule judges: {other:?}"),
        }
    }

    #[test]
    fn every_policy_that_says_read_only_judges() {
        let TargetAccess::Judged { hold, .. } = access(&[2, 1, 3], 3) else {
            panic!("no rule judges");
        };
        assert_eq!(hold, Duration::from_secs(10));
        // A chain ends with the outermost.
        assert_eq!(judges(access(&[2, 1, 3], 3)), ["outer", "inner"]);
    }

    #[test]
    fn a_hole_for_reads_has_those_rules_judge_that_ask() {
        assert_eq!(judges(access_with(&[3], 1, true)), ["asks"]);
        assert_eq!(judges(access_with(&[3, 1], 1, true)), ["outer", "asks"]);
        let TargetAccess::Judged { rules, .. } = access_with(&[3], 1, true) else {
            panic!("no rule judges");
        };
        assert!(rules[0].http.is_empty() && rules[0].profiles.is_empty());
        // It opens nothing that is denied, and closes nothing.
        assert!(matches!(access_with(&[3], 2, true), TargetAccess::Closed));
        assert!(matches!(
            access_with(&[1, 3], 2, true),
            TargetAccess::Closed
        ));
        assert!(matches!(access_with(&[3], 99, true), TargetAccess::Open));
    }

    #[test]
    fn what_one_policy_stops_in_another_way_is_closed() {
        for last in [1, 2] {
            assert!(
                matches!(access(&[1, 3], last), TargetAccess::Closed),
                "{last}"
            );
        }
        for (chain, last) in [(&[][..], 3), (&[1, 9], 3)] {
            assert!(
                matches!(access(chain, last), TargetAccess::Closed),
                "{chain:?}"
            );
        }
        assert!(matches!(access(&[1, 2], 99), TargetAccess::Open));
    }

    /// A kernel half that knows no names, and these holes.
    #[derive(Debug, Default)]
    struct WithHoles(Vec<LiveHole>);

    impl TargetFacts for WithHoles {
        fn recall_names(
            &self,
            _: &Policies,
            _: VerdictSubject<'_>,
            _: Address,
        ) -> Result<(), CallError> {
            Ok(())
        }

        fn open_holes(&self) -> Vec<LiveHole> {
            self.0.clone()
        }
    }

    /// A hole of session 1 for 192.0.2.0/28 that ends then.
    fn hole(kind: HoleKind, expires: u64) -> LiveHole {
        let prefix: Prefix = "192.0.2.0/28".parse().unwrap();
        LiveHole {
            session: SessionId(1),
            entry: HoleEntry {
                prefix: prefix.address(),
                mask: prefix.mask(),
                prefix_len: prefix.length(),
                expires: BootTime(expires),
                high: u16::MAX,
                protocol: Protocol::ANY,
                kind,
                ..HoleEntry::default()
            },
            connections_left: None,
            bytes_left: None,
        }
    }

    fn target(session: u32, last: u8) -> RedirectTarget {
        RedirectTarget {
            session,
            address: IpAddr::from([192, 0, 2, last]),
            port: 443,
            listener: 0,
        }
    }

    /// What is said under a policy that asks about 192.0.2.1 and denies 192.0.2.2, with these holes.
    fn under<T>(holes: &[LiveHole], says: impl FnOnce(&TargetJudge<'_, WithHoles>) -> T) -> T {
        let text = "version = 1\ndefault = \"allow\"\n\
            [[rule]]\nname = \"asks\"\nto = [\"192.0.2.1\"]\naction = \"confirm\"\n\
            [[rule]]\nname = \"denies\"\nto = [\"192.0.2.2\"]\naction = \"deny\"\n";
        says(&TargetJudge {
            kernel: &WithHoles(holes.to_vec()),
            sessions: &none_but(&[(1, None)]),
            policies: &of_texts(&[text.to_owned()]),
            holes: &Holes::new(Shelf::nowhere(), Shelf::nowhere()),
        })
    }

    #[test]
    fn a_hole_opens_a_target_that_is_asked_about_and_none_that_is_denied() {
        let access = |holes: &[LiveHole], session, last| {
            under(holes, |judge| judge.access(&target(session, last)))
        };
        let all = [hole(HoleKind::ALL, 9)];
        let reads = [hole(HoleKind::READS, 9)];
        // It was used up by another connection, or this one would not have come.
        let counted = [hole(HoleKind::COUNTED, 9)];
        assert!(matches!(access(&[], 1, 1), TargetAccess::Closed));
        assert!(matches!(access(&all, 1, 1), TargetAccess::Open));
        assert_eq!(judges(access(&reads, 1, 1)), ["asks"]);
        assert!(matches!(access(&counted, 1, 1), TargetAccess::Closed));
        assert!(matches!(access(&all, 1, 2), TargetAccess::Closed));
        assert!(matches!(access(&all, 2, 1), TargetAccess::Closed));
        assert!(matches!(access(&[], 1, 3), TargetAccess::Open));
    }

    #[test]
    fn terms_end_with_the_first_hole_there() {
        let holes = [hole(HoleKind::ALL, 9), hole(HoleKind::READS, 7)];
        let terms = under(&holes, |judge| judge.terms(&target(1, 1))).unwrap();
        assert_eq!(terms.passing, Passing::Everything);
        assert_eq!((terms.account, terms.until), (1, Some(7)));
        let terms = under(&holes, |judge| judge.terms(&target(1, 200))).unwrap();
        assert_eq!(terms.until, None, "no hole is there");
        assert_eq!(under(&[], |judge| judge.terms(&target(1, 1))), None);
    }

    #[test]
    fn no_name_may_be_shown_once_a_session_has_ended() {
        let why = |session| {
            under(&[], |judge| {
                judge.name(&target(session, 3), "a.example").why
            })
        };
        assert_eq!(why(1), None);
        assert_eq!(why(2).as_deref(), Some("its session has ended"));
    }
}
