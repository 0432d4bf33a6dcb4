//! The values at the moment of a scrape.

use std::{collections::HashMap, fmt};

use guard_common::{SessionId, SessionStats};
use guard_proto::Status;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Unit,
};

use super::process::OwnUse;
use crate::{control::ids, state::State};

/// Bytes of a name in a label.
const MAX_NAME: usize = 64;

/// The labels of a session's counts. There are no more than the kernel has room for, and those of an ended session go after a
/// minute.
type Labels = [(&'static str, String); 3];

/// The counts of one session.
#[derive(Debug)]
struct OfSession {
    labels: Labels,
    stats: SessionStats,
    requests: u64,
    holes: u64,
    names: u64,
}

/// The values; the default has none, for the names of the metrics alone.
#[derive(Debug, Default)]
pub struct Snapshot {
    status: Status,
    refused_policies: usize,
    audit_failures: u64,
    audit_problem: bool,
    sessions: Vec<OfSession>,
    process: OwnUse,
    started: f64,
}

impl Snapshot {
    /// The current values: enforcement is read back, and the kernel's counters are read.
    #[must_use]
    pub(crate) fn of(state: &State) -> Self {
        let status = state.status();
        let in_force = status.policies.iter();
        Self {
            refused_policies: in_force.filter(|policy| policy.error.is_some()).count()
                + state.policies.unusable_count(),
            status,
            audit_failures: state.recorder.audit().failures(),
            audit_problem: state.recorder.audit().problem().is_some(),
            sessions: sessions(state),
            process: OwnUse::look(),
            started: state.recorder.counters().started,
        }
    }
}

/// The sessions that the kernel counts for; it knows of no request.
fn sessions(state: &State) -> Vec<OfSession> {
    let waiting = state.requests.pending();
    let requests = count(waiting.iter().map(|one| one.key.session));
    let open = state.datapath.holes().unwrap_or_default();
    let judged_here = state.holes.judged_here().map(|(_, hole)| hole.session);
    let open = open.iter().filter(|hole| !hole.is_used_up());
    let holes = count(open.map(|hole| hole.session).chain(judged_here));
    let of = |(id, stats)| OfSession {
        labels: labels(state, id),
        stats,
        requests: requests.get(&id).copied().unwrap_or(0),
        holes: holes.get(&id).copied().unwrap_or(0),
        names: state.resolver.names_summed_up(id),
    };
    let stats = state.datapath.stats().unwrap_or_default();
    stats.into_iter().map(of).collect()
}

fn count(ids: impl Iterator<Item = SessionId>) -> HashMap<SessionId, u64> {
    let mut counts = HashMap::new();
    for id in ids {
        *counts.entry(id).or_default() += 1;
    }
    counts
}

fn labels(state: &State, id: SessionId) -> Labels {
    let session = state.sessions.get(id);
    let name = session.map_or("", |session| &session.about.name);
    let default = || {
        let slot = state
            .policies
            .default_slot()
            .filter(|_| id == SessionId(0))?;
        Some(state.policies.get(slot)?.policy.name.clone())
    };
    let policy = match session {
        Some(session) => state.policies.name_of(&session.chain),
        None => default().unwrap_or_default(),
    };
    let id = match id {
        SessionId(0) => "none".to_owned(),
        id => ids::session(id),
    };
    let cut = |name: &str| name.chars().take(MAX_NAME).collect::<String>();
    [
        ("session", id),
        ("name", cut(name)),
        ("policy", cut(&policy)),
    ]
}

impl Collector for Snapshot {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        self.of_enforcement(&mut to)?;
        self.of_sessions(&mut to)?;
        self.of_fleet(&mut to)?;
        self.of_guardd(&mut to)
    }
}

impl Snapshot {
    fn of_enforcement(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let status = &self.status;
        let is = |so: bool| u64::from(so);
        gauge(
            to,
            "guard_enforcing",
            "1 if every hook is attached and every map is there, read back at this scrape.",
            is(status.enforcing),
        )?;
        let mut hooks = to.encode_descriptor(
            "guard_hook_attached",
            "The same for each program, by `hook`.",
            None,
            MetricType::Gauge,
        )?;
        for hook in &status.hooks {
            let labels = [("hook", hook.name.as_str())];
            ConstGauge::new(is(hook.attached)).encode(hooks.encode_family(&labels)?)?;
        }
        for (name, help, value) in [
            ("guard_sessions", "Live sessions.", status.sessions),
            (
                "guard_policies",
                "Policies in force.",
                status.policies.len(),
            ),
            (
                "guard_policies_refused",
                "Policies whose newest text is not in force.",
                self.refused_policies,
            ),
        ] {
            gauge(to, name, help, value as u64)?;
        }
        Ok(())
    }

    fn of_sessions(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.counted_by_the_kernel(to)?;
        let mut names = to.encode_descriptor(
            "guard_names_summed_up",
            "Names refused or not answered, beyond those told one by one, by session.",
            None,
            MetricType::Counter,
        )?;
        for OfSession {
            labels,
            names: count,
            ..
        } in &self.sessions
        {
            ConstCounter::new(*count).encode(names.encode_family(labels)?)?;
        }
        let waiting = "Requests that wait, by session.";
        self.gauges(to, "guard_requests_waiting", waiting, |one| one.requests)?;
        let open = "Open holes, as the kernel has them, by session.";
        self.gauges(to, "guard_holes", open, |one| one.holes)
    }

    fn gauges(
        &self,
        to: &mut DescriptorEncoder<'_>,
        name: &str,
        help: &str,
        value: impl Fn(&OfSession) -> u64,
    ) -> fmt::Result {
        let mut gauges = to.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for one in &self.sessions {
            ConstGauge::new(value(one)).encode(gauges.encode_family(&one.labels)?)?;
        }
        Ok(())
    }

    /// These go on while guardd is down.
    fn counted_by_the_kernel(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let mut refusals = to.encode_descriptor(
            "guard_refusals",
            "Refused attempts, by session.",
            None,
            MetricType::Counter,
        )?;
        for OfSession { labels, stats, .. } in &self.sessions {
            ConstCounter::new(stats.denied).encode(refusals.encode_family(labels)?)?;
        }
        let mut events = to.encode_descriptor(
            "guard_refusal_events",
            "Refusals reported to guardd, summed up in a count, or lost, by session; together guard_refusals_total. `outcome`: `reported`, `summed-up`, `lost`.",
            None,
            MetricType::Counter,
        )?;
        for OfSession { labels, stats, .. } in &self.sessions {
            let [session, name, policy] = labels;
            for (outcome, count) in [
                ("reported", stats.reported),
                ("summed-up", stats.summed_up),
                ("lost", stats.lost),
            ] {
                let outcome = ("outcome", outcome.to_owned());
                let labels = [session.clone(), name.clone(), policy.clone(), outcome];
                ConstCounter::new(count).encode(events.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }

    /// Without a fleet these have no values.
    fn of_fleet(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let link = self.status.fleet_link.as_ref();
        let of = self.status.fleet.as_ref();
        for (name, help, value) in [
            (
                "guard_fleet_connected",
                "1 if the courier says that a server of the fleet is reached.",
                link.map(|link| u64::from(link.connected)),
            ),
            (
                "guard_fleet_serial",
                "Serial of the fleet's policies in force.",
                of.and_then(|of| of.serial),
            ),
            (
                "guard_fleet_problem",
                "1 if something is wrong with the fleet's policies: those kept, or those offered last.",
                of.map(|of| u64::from(of.problem.is_some())),
            ),
        ] {
            some(to, name, help, None, value)?;
        }
        let heard = of.and_then(|of| of.heard_at);
        let heard = heard.and_then(|at| u64::try_from(at.as_second()).ok());
        let help = "When the fleet's policies were last offered, since 1970.";
        let (name, unit) = ("guard_fleet_offered_timestamp", Some(&Unit::Seconds));
        some(to, name, help, unit, heard)
    }

    fn of_guardd(&self, to: &mut DescriptorEncoder<'_>) -> fmt::Result {
        counter(
            to,
            "guard_audit_write_failures",
            "Records missing in the audit log.",
            self.audit_failures,
        )?;
        gauge(
            to,
            "guard_audit_problem",
            "1 if the last record is missing in the audit log.",
            u64::from(self.audit_problem),
        )?;
        let mut build = to.encode_descriptor(
            "guard_build_info",
            "Always 1; labels `version` and `kernel`.",
            None,
            MetricType::Gauge,
        )?;
        let labels = [
            ("version", self.status.version.as_str()),
            ("kernel", self.status.kernel.as_str()),
        ];
        ConstGauge::new(1_u64).encode(build.encode_family(&labels)?)?;
        let process = &self.process;
        let (help, unit) = ("Memory of guardd.", Some(&Unit::Bytes));
        let memory =
            to.encode_descriptor("process_resident_memory", help, unit, MetricType::Gauge)?;
        ConstGauge::new(process.resident_bytes).encode(memory)?;
        let (help, unit) = ("Start of guardd, since 1970.", Some(&Unit::Seconds));
        let start = to.encode_descriptor("process_start_time", help, unit, MetricType::Gauge)?;
        ConstGauge::new(self.started).encode(start)?;
        let (help, unit) = ("CPU time of guardd.", Some(&Unit::Seconds));
        let cpu = to.encode_descriptor("process_cpu", help, unit, MetricType::Counter)?;
        ConstCounter::new(process.cpu_seconds).encode(cpu)?;
        gauge(
            to,
            "process_open_fds",
            "Open descriptors of guardd.",
            process.open_fds,
        )
    }
}

fn gauge(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstGauge::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Gauge)?)
}

/// A gauge that may have no value.
fn some(
    to: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    unit: Option<&Unit>,
    value: Option<u64>,
) -> fmt::Result {
    let encoder = to.encode_descriptor(name, help, unit, MetricType::Gauge)?;
    match value {
        Some(value) => ConstGauge::new(value).encode(encoder),
        None => Ok(()),
    }
}

fn counter(to: &mut DescriptorEncoder<'_>, name: &str, help: &str, value: u64) -> fmt::Result {
    ConstCounter::new(value).encode(to.encode_descriptor(name, help, None, MetricType::Counter)?)
}
