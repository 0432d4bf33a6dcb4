//! What may be opened: a hole is checked against every policy of its session before it is made.

use std::{collections::BTreeSet, time::Duration};

use guard_common::{PolicyId, Protocol, SessionId, Verdict};
use guard_policy::{self as policy, Opening, PortSpec, Prefix};
use guard_proto::HoleTerms;

use crate::{
    control::{failure::CallError, ids},
    holes::names::Lifted,
    policies::{InForce, Policies, VerdictSubject, library::fleets},
    sessions::Sessions,
    times::DEFAULT_TERM,
};

/// Where the text of a session's policy is gone.
const POLICY_LOST: &str = "the text of the session's policy is gone: it cannot be told what the hole \
                           opens, only that what the policy denies stays denied";
/// Holes that one call may open.
const MAX_AT_ONCE: usize = 16;

/// What is to be opened, and what a person should know about it.
#[derive(Debug)]
pub(crate) struct CheckedHole {
    pub(crate) session: SessionId,
    pub(crate) owner: u32,
    pub(crate) prefixes: Vec<Prefix>,
    /// Empty: all.
    pub(crate) ports: Vec<PortSpec>,
    pub(crate) time: Duration,
    pub(crate) connections: Option<u32>,
    /// How many bytes may be sent.
    pub(crate) bytes: Option<u64>,
    /// For reads alone.
    pub(crate) read_only: bool,
    /// Some of it can be read without a hole.
    pub(crate) can_be_read: bool,
    pub(crate) warnings: Vec<String>,
    /// The name whose addresses these are, and that is opened whatever addresses it gets.
    pub(crate) name: Option<String>,
    /// What stops connections there without the hole.
    pub(crate) lifts: BTreeSet<Lifted>,
    /// Those of them that let nothing pass: stricter than `read-only`.
    pub(crate) confirms: BTreeSet<Lifted>,
}

/// What is to be opened.
#[derive(Clone, Debug)]
pub(crate) struct ToOpen {
    pub(crate) prefixes: Vec<Prefix>,
    /// Empty: all.
    pub(crate) ports: Vec<PortSpec>,
    /// The name whose addresses these are.
    pub(crate) name: Option<String>,
}

impl CheckedHole {
    /// Checks what is to be opened against the session's policies.
    ///
    /// # Errors
    ///
    /// Why no hole can be opened there.
    pub(crate) fn of(
        sessions: &Sessions,
        policies: &Policies,
        session: SessionId,
        prefixes: Vec<Prefix>,
        ports: Vec<PortSpec>,
        terms: &HoleTerms,
    ) -> Result<Self, CallError> {
        let to = ToOpen {
            prefixes,
            ports,
            name: None,
        };
        Self::of_name(sessions, policies, session, to, terms)
    }

    /// The same, where it may be a name that is opened.
    ///
    /// # Errors
    ///
    /// Why no hole can be opened there.
    pub(crate) fn of_name(
        sessions: &Sessions,
        policies: &Policies,
        session: SessionId,
        to: ToOpen,
        terms: &HoleTerms,
    ) -> Result<Self, CallError> {
        let ToOpen {
            prefixes,
            ports,
            name,
        } = to;
        let ports = if terms.read_only {
            for_reads(ports)?
        } else {
            ports
        };
        if prefixes.len() * ports.len().max(1) > MAX_AT_ONCE {
            return Err(too_many(prefixes.len(), ports.len().max(1)));
        }
        let live = sessions.live(session);
        let live = live.ok_or_else(|| ids::no_session(&ids::session(session)))?;
        let mut checked = Self {
            session,
            owner: live.about.uid,
            prefixes,
            ports,
            time: term(terms.seconds)?,
            connections: terms.connections,
            bytes: terms.bytes,
            read_only: terms.read_only,
            can_be_read: false,
            warnings: Vec::new(),
            name,
            lifts: BTreeSet::new(),
            confirms: BTreeSet::new(),
        };
        may_be_counted(terms)?;
        checked.shorten(policies, live.subject())?;
        Ok(checked)
    }

    /// Checks it against every policy of a chain: refuses what one policy denies, leaves alone what all allow, and
    /// shortens it to the shortest `max_hole`.
    fn shorten(
        &mut self,
        policies: &Policies,
        subject: VerdictSubject<'_>,
    ) -> Result<(), CallError> {
        let chain = subject.chain;
        let mut longest: Option<Duration> = None;
        for slot in chain {
            let most = match policies.get(*slot) {
                Some(policy) => match self.covered(policies, subject, *slot, policy) {
                    Some(covered) => self.under(&covered, policy)?,
                    None => None,
                },
                None if self.read_only => return Err(not_judged()),
                None => {
                    // The kernel has its tables, so what it denies stays denied. Its `max_hole` is lost.
                    self.warnings.push(POLICY_LOST.to_owned());
                    Some(DEFAULT_TERM)
                }
            };
            longest = [longest, most].into_iter().flatten().min();
        }
        // Another program's listener there is judged as this machine.
        let longest =
            longest.or_else(|| self.is_on_loopback().then(|| policies.longest_hole(chain)));
        self.cap(longest.ok_or_else(|| self.nothing_to_open())?);
        Ok(())
    }

    /// What a policy says of all that is to be opened. Of an address by what the session knows it by, or would know it by once
    /// it has asked for the name that is opened.
    fn covered<'p>(
        &self,
        policies: &'p Policies,
        subject: VerdictSubject<'_>,
        slot: PolicyId,
        policy: &'p InForce,
    ) -> Option<policy::Coverage<'p>> {
        let name = self.name.as_deref();
        let is_alone = self.prefixes.len() == 1 && !self.ports.is_empty();
        let of = |prefix: &Prefix| {
            let by_names = || policies.over_known(subject, slot, prefix, name, &self.ports);
            let known = (prefix.is_host() && (is_alone || name.is_some())).then(by_names);
            known
                .flatten()
                .unwrap_or_else(|| policy.over(prefix, &self.ports))
        };
        self.prefixes.iter().map(of).reduce(policy::Coverage::and)
    }

    /// How long one policy lets the hole last; `None` if the policy allows all of it anyway.
    fn under(
        &mut self,
        covered: &policy::Coverage<'_>,
        in_force: &InForce,
    ) -> Result<Option<Duration>, CallError> {
        let policy = &in_force.policy;
        let longest = match covered.opening() {
            Opening::Denied { rule } => return Err(denied(rule, in_force)),
            _ if self.read_only => for_what_is_asked(covered, policy),
            Opening::AlreadyAllowed => None,
            Opening::Possible { longest } => Some(longest),
        };
        let mut verdicts = covered.met.iter().map(|met| met.verdict);
        self.can_be_read |= verdicts.any(|verdict| verdict == Verdict::ReadOnly);
        let denies = covered.met.iter().find(|met| met.verdict == Verdict::Deny);
        let warning = denies.map(|met| stays_denied(met.rule));
        self.warnings.extend(warning);
        let mut rules = covered.met.iter().filter_map(|met| met.rule);
        let shows = rules.find(|rule| self.bytes.is_some() && self.has_port_of(&rule.sni_ports()));
        self.warnings
            .extend(shows.map(|rule| counts_no_bytes(&rule.name)));
        let stops = covered.met.iter().filter(|met| met.stops());
        for met in stops {
            let lifted = Lifted {
                policy: policy.name.clone(),
                rule: met.rule.map(|rule| rule.name.clone()),
            };
            if met.verdict == Verdict::Confirm {
                self.confirms.insert(lifted.clone());
            }
            self.lifts.insert(lifted);
        }
        Ok(longest)
    }

    /// Whether one of these ports is to be opened.
    fn has_port_of(&self, ports: &[PortSpec]) -> bool {
        let mut own = self.ports.iter();
        let is_own = own.any(|own| ports.iter().any(|port| own.intersection(port).is_some()));
        is_own || (self.ports.is_empty() && !ports.is_empty())
    }

    /// Whether it is for connections to ports of this machine's loopback.
    fn is_on_loopback(&self) -> bool {
        let is_loopback =
            |prefix: &Prefix| prefix.length() == 128 && prefix.address().is_loopback();
        let is_port = |spec: &PortSpec| spec.protocol == Protocol::TCP && spec.low == spec.high;
        !self.read_only
            && !self.ports.is_empty()
            && self.prefixes.iter().all(is_loopback)
            && self.ports.iter().all(is_port)
    }

    /// The error if the hole would change nothing.
    fn nothing_to_open(&self) -> CallError {
        if self.read_only && self.can_be_read {
            already_read()
        } else {
            already_allowed()
        }
    }

    /// Shortens it to what the policies allow, and warns of that.
    pub(crate) fn cap(&mut self, longest: Duration) {
        if self.time <= longest {
            return;
        }
        self.warnings.push(format!(
            "the hole lasts {} instead of {}: the policy's max_hole",
            policy::format_duration(longest),
            policy::format_duration(self.time),
        ));
        self.time = longest;
    }
}

/// The ports of a hole for reads: those of TCP, since only HTTP requests can be told to be reads.
fn for_reads(ports: Vec<PortSpec>) -> Result<Vec<PortSpec>, CallError> {
    if let Some(other) = ports.iter().find(|spec| spec.protocol != Protocol::TCP) {
        return Err(no_reads(other));
    }
    Ok(if ports.is_empty() {
        vec![PortSpec::all(Protocol::TCP)]
    } else {
        ports
    })
}

/// How long a hole for reads lasts. A `read-only` destination needs none.
fn for_what_is_asked(covered: &policy::Coverage<'_>, policy: &policy::Policy) -> Option<Duration> {
    let met = covered.met.iter();
    let asked = met.filter(|met| met.verdict == Verdict::Confirm);
    asked.map(|met| policy.longest_hole(met.rule)).min()
}

/// A duration that a client gave in seconds.
///
/// # Errors
///
/// `Invalid` if it is no possible time.
pub(crate) fn term(seconds: Option<f64>) -> Result<Duration, CallError> {
    let Some(seconds) = seconds else {
        return Ok(DEFAULT_TERM);
    };
    let time = Duration::try_from_secs_f64(seconds).ok();
    let time = time.filter(|time| !time.is_zero() && *time <= policy::LONGEST);
    time.ok_or_else(|| {
        CallError::invalid(
            format!("{seconds} seconds is no time that this can hold for"),
            format!(
                "it must be more than 0 and at most {}",
                policy::format_duration(policy::LONGEST)
            ),
            "--for 15m",
        )
    })
}

/// Whether a hole may have these budgets.
fn may_be_counted(terms: &HoleTerms) -> Result<(), CallError> {
    if terms.connections == Some(0) {
        return Err(CallError::invalid(
            "cannot open a hole for no connections",
            "it would let nothing through",
            "--connections 1 or more",
        ));
    }
    match terms.bytes {
        Some(0) => Err(no_bytes()),
        Some(_) if terms.read_only => Err(no_bytes_of_reads()),
        _ => Ok(()),
    }
}

fn already_allowed() -> CallError {
    CallError::invalid(
        "there is nothing to open",
        "it is already allowed",
        "see what allows it:\nguard explain DEST --session S",
    )
}

fn already_read() -> CallError {
    CallError::invalid(
        "there is nothing to open",
        "it can be read from without a hole",
        "leave out --read-only to open it for reads and writes",
    )
}

fn no_reads(spec: &PortSpec) -> CallError {
    CallError::invalid(
        format!("cannot open {spec} for reads only"),
        "what reads is told by HTTP over TCP",
        "name ports of tcp, or leave out --read-only",
    )
}

fn no_bytes() -> CallError {
    CallError::invalid(
        "cannot open a hole for no bytes",
        "it would let nothing through",
        "--bytes 1MiB, or less or more",
    )
}

fn no_bytes_of_reads() -> CallError {
    CallError::invalid(
        "cannot count the bytes of reads",
        "what is read goes through the proxy, where each request is judged instead",
        "leave out --bytes or --read-only",
    )
}

/// The error for a budget of requests where requests cannot be told apart.
pub(crate) fn no_requests() -> CallError {
    CallError::invalid(
        "cannot count requests there",
        "it is about a connection, and only requests that go through the proxy can be told apart",
        "--connections N or --bytes SIZE",
    )
}

fn not_judged() -> CallError {
    CallError::refused(
        "cannot open it for reads only",
        "the text of the session's policy is gone, so no request can be judged",
        "leave out --read-only, or start the command again",
    )
}

fn stays_denied(rule: Option<&policy::Rule>) -> String {
    match rule {
        Some(rule) => format!(
            "the rule {:?} denies part of it, and that stays denied",
            rule.name
        ),
        None => "the policy's default denies part of it, and that stays denied".to_owned(),
    }
}

fn counts_no_bytes(rule: &str) -> String {
    format!(
        "the rule {rule:?} has TLS show a name there: a hole that counts bytes opens nothing there, unless the kernel looks ([tls] gate)"
    )
}

fn denied(rule: Option<&policy::Rule>, in_force: &InForce) -> CallError {
    let (policy, source) = (&in_force.policy, &in_force.source);
    let by = match rule {
        Some(rule) => format!("the rule {:?} of the policy {:?}", rule.name, policy.name),
        None => format!("the default of the policy {:?}", policy.name),
    };
    let line = rule.map_or(policy.default_line, |rule| Some(rule.line));
    CallError::refused(
        "no hole can be opened there",
        format!("{by} denies it, and a hole changes only what is to be confirmed"),
        match (policy::built_in(&policy.file), fleets(&policy.file)) {
            (_, Some(name)) => format!(
                "have whoever signs the fleet's policies change it: {}",
                policy::place(name, line)
            ),
            (Some(name), _) => format!(
                "change a copy of the policy, {}:\nguard policy show {name}\nsudo guard policy edit {name}",
                policy::place(&policy.file, line)
            ),
            (None, None) => {
                let place = policy::place(&policy.file, line);
                // The text of a machine's own policies is read again by itself.
                let then = match (&source.name, source.project) {
                    (Some(_), _) => String::new(),
                    (None, false) if is_plain(&policy.file) => {
                        format!("\nguard policy apply {}", policy.file)
                    }
                    (None, _) => ", and start the command again".to_owned(),
                };
                format!("change the policy: {place}{then}")
            }
        },
    )
}

/// Whether a shell takes it for a file and nothing else: a session inside another has named it.
fn is_plain(file: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    file.starts_with('/') && file.bytes().all(plain)
}

/// Each prefix takes one for each range of ports.
fn too_many(prefixes: usize, ports: usize) -> CallError {
    let holes = prefixes * ports;
    let fix = match (prefixes, ports) {
        (_, 1) => "name one prefix of it",
        (1, _) => "name fewer ports",
        _ => "name fewer ports, or one prefix of it",
    };
    CallError::invalid(
        "cannot open that at once",
        format!("it would take {holes} holes, and {MAX_AT_ONCE} is the most"),
        fix,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_takes_too_many_holes_says_which_of_both_are_too_many() {
        for (prefixes, ports, fix) in [
            (74, 1, "name one prefix of it"),
            (1, 20, "name fewer ports"),
            (5, 5, "name fewer ports, or one prefix of it"),
        ] {
            let failure = too_many(prefixes, ports).failure;
            assert_eq!(failure.fix, fix);
            let holes = format!("{} holes", prefixes * ports);
            assert!(failure.why.contains(&holes), "{}", failure.why);
        }
    }

    #[test]
    fn reads_are_of_tcp() {
        let specs = |text: &str| -> Vec<PortSpec> {
            let specs = text.split_terminator(',');
            specs.map(|one| one.parse().unwrap()).collect()
        };
        let ports = |text| for_reads(specs(text));
        assert_eq!(ports("").unwrap(), [PortSpec::all(Protocol::TCP)]);
        let some = "tcp/80,tcp/8000-8100";
        assert_eq!(ports(some).unwrap(), specs(some));
        for (given, named) in [("tcp/443,udp/443", "udp/443"), ("icmp", "icmp")] {
            let refusal = ports(given).unwrap_err();
            assert!(refusal.failure.what.contains(named), "{refusal}");
        }
    }

    #[test]
    fn times_are_checked() {
        assert_eq!(term(None).unwrap(), DEFAULT_TERM);
        assert_eq!(term(Some(0.5)).unwrap(), Duration::from_millis(500));
        for wrong in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e300] {
            assert!(term(Some(wrong)).is_err(), "{wrong}");
        }
    }
}
