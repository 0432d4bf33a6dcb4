//! Counts events since guardd's start.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use guard_proto::Call;
use jiff::Timestamp;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

/// A metric with one label.
type ByLabel<M> = Family<[(&'static str, &'static str); 1], M>;

/// Buckets: a person answers in seconds, or in hours.
const ANSWERS: [f64; 9] = [
    1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14_400.0, 86_400.0,
];
/// Buckets: guardd answers in a millisecond, or waits for name servers and processes.
const CALLS: [f64; 9] = [0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];
/// Buckets: a policy is in force in a millisecond, or has a million prefixes.
const APPLIES: [f64; 8] = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 10.0];

/// The counters. What they count is in the help texts of [`Self::register`].
#[derive(Clone, Debug)]
pub struct Counters {
    /// When guardd was started, in seconds since 1970.
    pub(super) started: f64,
    requests: Counter,
    answers: ByLabel<Counter>,
    answer_delay: Histogram,
    holes_opened: Counter,
    holes_closed: ByLabel<Counter>,
    cut: Counter,
    sessions_started: Counter,
    sessions_ended: Counter,
    policy_loads: ByLabel<Counter>,
    policy_apply: Histogram,
    http: ByLabel<Counter>,
    calls: Family<[(&'static str, &'static str); 1], Histogram>,
}

impl Default for Counters {
    fn default() -> Self {
        let counters = Self {
            started: since_1970(),
            requests: Counter::default(),
            answers: Family::default(),
            answer_delay: Histogram::new(ANSWERS),
            holes_opened: Counter::default(),
            holes_closed: Family::default(),
            cut: Counter::default(),
            sessions_started: Counter::default(),
            sessions_ended: Counter::default(),
            policy_loads: Family::default(),
            policy_apply: Histogram::new(APPLIES),
            http: Family::default(),
            calls: Family::new_with_constructor(|| Histogram::new(CALLS)),
        };
        // A series that does not exist before its first event has no rate then.
        for answer in ["yes", "no"] {
            drop(counters.answers.get_or_create(&[("answer", answer)]));
        }
        for result in ["ok", "failed"] {
            drop(counters.policy_loads.get_or_create(&[("result", result)]));
        }
        for why in [
            "expired",
            "closed",
            "session-ended",
            "used-up",
            "not-written-down",
        ] {
            drop(counters.holes_closed.get_or_create(&[("why", why)]));
        }
        for outcome in ["passed", "refused", "failed", "asked"] {
            drop(counters.http.get_or_create(&[("outcome", outcome)]));
        }
        counters
    }
}

impl Counters {
    /// A request was made.
    pub(crate) fn asked(&self) {
        self.requests.inc();
    }

    /// A person answered a request that was made at `asked_at`.
    pub(crate) fn answered(&self, answer: &'static str, asked_at: Timestamp) {
        self.answers.get_or_create(&[("answer", answer)]).inc();
        let waited = asked_at.duration_until(Timestamp::now()).as_secs_f64();
        self.answer_delay.observe(waited.max(0.0));
    }

    /// A hole was opened.
    pub(crate) fn hole_opened(&self) {
        self.holes_opened.inc();
    }

    /// A hole ended for that reason, and so many connections were cut.
    pub(crate) fn hole_closed(&self, why: &'static str, cut: usize) {
        self.holes_closed.get_or_create(&[("why", why)]).inc();
        self.cut.inc_by(cut as u64);
    }

    /// The outcome of a request to a read-only destination that is no read, as the audit log names it; or a person was asked
    /// about it.
    pub(crate) fn http(&self, outcome: &str) {
        let outcome = match outcome {
            "passed" => "passed",
            "asked" => "asked",
            "failed" => "failed",
            // Not about one request.
            "warned" => return,
            _ => "refused",
        };
        self.http.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// A session was made.
    pub(crate) fn session_started(&self) {
        self.sessions_started.inc();
    }

    /// A session ended.
    pub(crate) fn session_ended(&self) {
        self.sessions_ended.inc();
    }

    /// A policy was put in place.
    pub(crate) fn policy_loaded(&self) {
        self.policy_loads.get_or_create(&[("result", "ok")]).inc();
    }

    /// A policy was refused.
    pub(crate) fn policy_refused(&self) {
        self.policy_loads
            .get_or_create(&[("result", "failed")])
            .inc();
    }

    /// The kernel has taken a policy; the time since `began` is counted.
    pub(crate) fn policy_applied(&self, began: Instant) {
        self.policy_apply.observe(began.elapsed().as_secs_f64());
    }

    /// A call was answered.
    pub fn call_answered(&self, method: &'static str, took: Duration) {
        let of = self.calls.get_or_create(&[("method", method)]);
        of.observe(took.as_secs_f64());
    }

    /// Gives all of them their names.
    pub(super) fn register(&self, to: &mut Registry) {
        let all = self.clone();
        to.register("guard_requests", "Requests that came up", all.requests);
        to.register("guard_answers", "Answers of people", all.answers);
        to.register_with_unit(
            "guard_answer_delay",
            "From a request to its answer",
            Unit::Seconds,
            all.answer_delay,
        );
        to.register("guard_holes_opened", "Holes opened", all.holes_opened);
        to.register("guard_holes_closed", "Holes that ended", all.holes_closed);
        to.register(
            "guard_connections_cut",
            "Connections cut when their hole ended",
            all.cut,
        );
        to.register(
            "guard_sessions_started",
            "Sessions made",
            all.sessions_started,
        );
        to.register("guard_sessions_ended", "Sessions ended", all.sessions_ended);
        to.register(
            "guard_policy_loads",
            "Policies put in force, or refused",
            all.policy_loads,
        );
        to.register_with_unit(
            "guard_policy_apply",
            "Time to put a policy into the kernel",
            Unit::Seconds,
            all.policy_apply,
        );
        to.register(
            "guard_http_requests",
            "HTTP requests to read-only destinations that are no reads",
            all.http,
        );
        to.register_with_unit(
            "guard_call_duration",
            "Time to answer calls on the control socket, by `method`",
            Unit::Seconds,
            all.calls,
        );
    }
}

/// A call's method, as a label.
#[must_use]
pub(crate) fn method(call: &Call) -> &'static str {
    match call {
        Call::Run(_) => "Run",
        Call::Enter { .. } => "Enter",
        Call::Assign(_) => "Assign",
        Call::Pending {} => "Pending",
        Call::Held { .. } => "Held",
        Call::Approve { .. } => "Approve",
        Call::Deny { .. } => "Deny",
        Call::Open { .. } => "Open",
        Call::Holes {} => "Holes",
        Call::Always { .. } => "Always",
        Call::Close { .. } => "Close",
        Call::Sessions {} => "Sessions",
        Call::Stop { .. } => "Stop",
        Call::Status {} => "Status",
        Call::Presence {} => "Presence",
        Call::OfferPolicies { .. } => "OfferPolicies",
        Call::Linked { .. } => "Linked",
        Call::FleetTexts {} => "FleetTexts",
        Call::PolicyText { .. } => "PolicyText",
        Call::Apply(_) => "Apply",
        Call::Explain { .. } => "Explain",
        Call::Log { .. } => "Log",
        Call::LogLines { .. } => "LogLines",
        Call::SocketRefused { .. } => "SocketRefused",
        Call::Appeared { .. } => "Appeared",
        Call::InReach { .. } => "InReach",
        Call::Production {} => "Production",
        Call::Decisions { .. } => "Decisions",
        Call::Dismiss { .. } => "Dismiss",
        Call::DismissFile { .. } => "DismissFile",
        Call::Trust { .. } => "Trust",
        Call::NameSockets { .. } => "NameSockets",
        Call::HasSocket { .. } => "HasSocket",
        Call::HasBound { .. } => "HasBound",
        Call::SocketAddress { .. } => "SocketAddress",
        Call::Why {} => "Why",
        Call::Request { .. } => "Request",
        Call::Reload {} => "Reload",
        Call::Doctor {} => "Doctor",
        Call::Flows { .. } => "Flows",
        Call::KernelLog { .. } => "KernelLog",
        Call::Question { .. } => "Question",
        Call::AnswerSigned { .. } => "AnswerSigned",
        Call::Approvers {} => "Approvers",
        Call::Invite { .. } => "Invite",
        Call::Invitation { .. } => "Invitation",
        Call::Present { .. } => "Present",
        Call::Accept { .. } => "Accept",
        Call::Enrol { .. } => "Enrol",
        Call::Remove { .. } => "Remove",
    }
}

fn since_1970() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64())
}
