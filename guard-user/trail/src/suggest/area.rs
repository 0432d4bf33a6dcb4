//! Addresses and ports, put together where together they are exactly what was answered.

use std::collections::{BTreeMap, BTreeSet};

use guard_common::Protocol;
use guard_policy::{PortSpec, Prefix};

use super::super::decisions::ConnectionDecision;

/// Addresses, and ports of them.
#[derive(Clone, Debug)]
pub(super) struct Area {
    pub(super) to: Prefix,
    /// Sorted, neither touching nor overlapping. Empty: all.
    pub(super) ports: Vec<PortSpec>,
    pub(super) why: BTreeSet<String>,
}

/// What no answer is about.
pub(super) const NO_PORT: PortSpec = PortSpec::one(Protocol::ANY, 0);

impl Area {
    pub(super) fn of(one: &ConnectionDecision) -> Self {
        Self {
            to: one.to,
            ports: one.ports.into_iter().collect(),
            why: BTreeSet::from([one.why.clone()]),
        }
    }

    /// Whether all of another one is in it.
    pub(super) fn covers(&self, other: &Self) -> bool {
        let has = |port: &PortSpec| {
            self.ports
                .iter()
                .any(|own| own.intersection(port) == Some(*port))
        };
        let ports =
            self.ports.is_empty() || (!other.ports.is_empty() && other.ports.iter().all(has));
        self.to.contains(&other.to) && ports
    }

    /// Whether a rule for it would decide for connections that are in another one, too: of one prefix the fewest ports
    /// that hold a connection decide, whatever else the rule has.
    pub(super) fn would_hide(&self, other: &Self) -> bool {
        let is_inside = self.to != other.to;
        let hides = |own: &Option<PortSpec>| {
            let decides = |two: &Option<PortSpec>| is_inside || width(*own) <= width(*two);
            let all = other.each();
            all.iter().any(|two| meet(*own, *two) && decides(two))
        };
        other.to.contains(&self.to) && self.each().iter().any(hides)
    }

    /// Its ports; `None` for all of them.
    fn each(&self) -> Vec<Option<PortSpec>> {
        if self.ports.is_empty() {
            vec![None]
        } else {
            self.ports.iter().copied().map(Some).collect()
        }
    }
}

/// Whether both have a port.
fn meet(one: Option<PortSpec>, two: Option<PortSpec>) -> bool {
    one.zip(two)
        .is_none_or(|(one, two)| one.intersection(&two).is_some())
}

/// Less than that of whatever has more ports.
fn width(ports: Option<PortSpec>) -> u32 {
    ports.map_or(u32::MAX, |ports| u32::from(ports.width()))
}

/// What answers of one kind are about, each address and port once: adjacent ones put together, and nothing else.
pub(super) fn areas<'a>(answers: impl Iterator<Item = &'a ConnectionDecision>) -> Vec<Area> {
    let mut by_prefix: BTreeMap<Prefix, Area> = BTreeMap::new();
    let mut everything: BTreeSet<Prefix> = BTreeSet::new();
    for one in answers {
        let area = by_prefix.entry(one.to).or_insert_with(|| Area {
            to: one.to,
            ports: Vec::new(),
            why: BTreeSet::new(),
        });
        area.why.insert(one.why.clone());
        match one.ports {
            Some(ports) => area.ports.push(ports),
            None => {
                everything.insert(one.to);
            }
        }
    }
    for area in by_prefix.values_mut() {
        area.ports = if everything.contains(&area.to) {
            Vec::new()
        } else {
            touching(std::mem::take(&mut area.ports))
        };
    }
    aggregated(by_prefix.into_values().collect())
}

/// Ports of which none touch.
pub(super) fn touching(mut ports: Vec<PortSpec>) -> Vec<PortSpec> {
    ports.sort();
    let mut joined: Vec<PortSpec> = Vec::new();
    for one in ports {
        match joined.last_mut() {
            Some(last)
                if last.protocol == one.protocol && one.low <= last.high.saturating_add(1) =>
            {
                last.high = last.high.max(one.high);
            }
            _ => joined.push(one),
        }
    }
    joined
}

/// Halves of a prefix with the same ports as that prefix, again and again.
fn aggregated(mut areas: Vec<Area>) -> Vec<Area> {
    loop {
        areas.sort_by_key(|area| (std::cmp::Reverse(area.to.length()), area.to));
        let halves = areas.iter().enumerate().find_map(|(at, one)| {
            let parent = one.to.parent()?;
            let other = areas[at + 1..]
                .iter()
                .position(|other| other.ports == one.ports && other.to.parent() == Some(parent))?;
            // Everything of one family is not half of all that there is.
            (parent.length() > 0).then_some((at, at + 1 + other, parent))
        });
        let Some((first, second, parent)) = halves else {
            return areas;
        };
        let other = areas.remove(second);
        let one = &mut areas[first];
        one.to = parent;
        one.why.extend(other.why);
        // It may be one that was answered as a whole, too.
        let (mut whole, rest): (Vec<_>, Vec<_>) =
            areas.into_iter().partition(|area| area.to == parent);
        let ports = whole.iter().flat_map(|area| area.ports.clone()).collect();
        let is_all = whole.iter().any(|area| area.ports.is_empty());
        let why = whole.iter().flat_map(|area| area.why.clone()).collect();
        areas = rest;
        if let Some(area) = whole.pop() {
            let ports = if is_all { Vec::new() } else { touching(ports) };
            areas.push(Area { ports, why, ..area });
        }
    }
}
