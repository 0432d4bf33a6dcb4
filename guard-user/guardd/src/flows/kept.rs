//! What one session has reached, as it is kept in a file.

use std::{collections::BTreeMap, net::IpAddr};

use guard_common::{Address, BootTime, FlowKey, SessionId};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::sessions::SessionFacts;

/// Names that are kept of one destination.
const MAX_NAMES: usize = 16;

/// Destinations at which reads are counted.
const MAX_READ: usize = 256;

/// A session: when it began, and its id, which another one has after a reboot.
pub(crate) type Began = (Timestamp, u32);

/// A destination of a program's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ProgramTarget {
    /// Where to.
    pub(crate) address: IpAddr,
    /// IANA's number.
    pub(crate) protocol: u8,
    /// 0 if the protocol has none.
    pub(crate) port: u16,
    /// What the thread called itself; empty: unknown.
    pub(crate) program: String,
}

impl ProgramTarget {
    /// That of the kernel's key.
    #[must_use]
    pub(crate) fn of(key: &FlowKey) -> Self {
        let bytes: Vec<u8> = key
            .program
            .iter()
            .flat_map(|half| half.to_ne_bytes())
            .collect();
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or(&[]);
        Self {
            address: key.address.to_ip(),
            protocol: key.protocol.0,
            port: key.port,
            program: String::from_utf8_lossy(name).into_owned(),
        }
    }
}

/// What went there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FlowTotals {
    /// When the first connection was established.
    pub(crate) first_at: Timestamp,
    /// When the last one was, or one was closed.
    pub(crate) last_at: Timestamp,
    /// How many there were.
    pub(crate) connections: u64,
    /// Bytes.
    pub(crate) sent: u64,
    /// Bytes.
    pub(crate) received: u64,
    /// What the policies said.
    pub(crate) verdict: String,
    /// By which rule; none: by default.
    pub(crate) rule: Option<String>,
    /// `last_at` by the kernel's clock: what has changed since is another.
    pub(crate) boot: u64,
    /// `first_at` by that clock.
    #[serde(default)]
    pub(crate) first: u64,
    /// The names by which the program is likely to have known the address when it connected, the latest first.
    pub(crate) names: Vec<String>,
    /// How many connections there were when a name was looked for last.
    #[serde(default)]
    pub(super) named: u64,
}

/// Requests and statements that read at one destination.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ReadsAt {
    address: IpAddr,
    port: u16,
    /// How many.
    pub(super) count: u64,
    /// When the last ones were counted.
    pub(super) last_at: Timestamp,
}

/// What a session has reached.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct KeptFlows {
    /// The session.
    session: u32,
    /// When it began.
    started_at: Timestamp,
    /// Who answers for it.
    pub(crate) uid: u32,
    /// The sessions around it.
    pub(crate) around: Vec<u32>,
    /// Connections that there was no room to add up.
    pub(crate) left_out: u64,
    /// By destination.
    #[serde(with = "as_list")]
    flows: BTreeMap<ProgramTarget, FlowTotals>,
    /// At read-only destinations.
    #[serde(default)]
    reads: Vec<ReadsAt>,
    /// The file is not up to date.
    #[serde(skip)]
    is_unwritten: bool,
}

impl KeptFlows {
    /// Of a session that has reached nothing yet.
    #[must_use]
    pub(crate) fn of(id: SessionId, about: &SessionFacts) -> Self {
        Self {
            session: id.0,
            started_at: about.started_at,
            uid: about.uid,
            around: about.around.clone(),
            left_out: 0,
            flows: BTreeMap::new(),
            reads: Vec::new(),
            is_unwritten: false,
        }
    }

    /// The session's id.
    #[must_use]
    pub(crate) fn id(&self) -> SessionId {
        SessionId(self.session)
    }

    /// The id of the outermost session around it, or its own.
    #[must_use]
    pub(crate) fn outermost(&self) -> u32 {
        self.around.first().copied().unwrap_or(self.session)
    }

    /// What tells it from other sessions.
    #[must_use]
    pub(crate) fn began(&self) -> Began {
        (self.started_at, self.session)
    }

    /// The name of its file.
    #[must_use]
    pub(crate) fn file(&self) -> String {
        format!("s{}-{}", self.session, self.started_at.as_millisecond())
    }

    /// How many flows there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.flows.len()
    }

    /// Whether it has reached nothing.
    #[must_use]
    pub(crate) fn is_empty(&self) -> bool {
        self.flows.is_empty()
    }

    /// Its flows.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ProgramTarget, &FlowTotals)> {
        self.flows.iter()
    }

    /// Whether it is that session, or inside it.
    #[must_use]
    pub(crate) fn belongs_to(&self, id: SessionId) -> bool {
        self.session == id.0 || self.around.contains(&id.0)
    }

    /// Takes over what the kernel has of a flow.
    pub(super) fn take(&mut self, spot: ProgramTarget, now: impl FnOnce() -> FlowTotals) {
        let now = now();
        match self.flows.get_mut(&spot) {
            Some(known) if known.counts() == now.counts() => return,
            Some(known) => {
                *known = FlowTotals {
                    // The calendar may have been set since.
                    first_at: known.first_at,
                    named: known.named,
                    names: std::mem::take(&mut known.names),
                    ..now
                }
            }
            None => {
                self.flows.insert(spot, now);
            }
        }
        self.is_unwritten = true;
    }

    /// Counts requests and statements that read, while their connections last.
    pub(super) fn note_reads(&mut self, at: (IpAddr, u16), count: u64, last_at: Timestamp) {
        let (address, port) = at;
        let before = self.reads_at(at).map_or(0, |known| known.count);
        if before == 0 && self.reads.len() >= MAX_READ {
            return;
        }
        self.reads.retain(|one| (one.address, one.port) != at);
        self.reads.push(ReadsAt {
            address,
            port,
            count: before.saturating_add(count),
            last_at,
        });
        self.is_unwritten = true;
    }

    /// Returns the reads that were counted at a destination.
    pub(super) fn reads_at(&self, at: (IpAddr, u16)) -> Option<&ReadsAt> {
        self.reads.iter().find(|one| (one.address, one.port) == at)
    }

    pub(super) fn note_left_out(&mut self, left_out: u64) {
        self.is_unwritten |= left_out > self.left_out;
        self.left_out = left_out.max(self.left_out);
    }

    /// Takes note of the name that each new connection was made by. What was asked for later is another connection's.
    pub(super) fn name(&mut self, name_then: impl Fn(Address, &str, BootTime) -> Option<String>) {
        for (spot, flow) in &mut self.flows {
            if flow.named == flow.connections {
                continue;
            }
            let name = |then| name_then(spot.address.into(), &spot.program, BootTime(then));
            let Some(name) = name(if flow.named == 0 {
                flow.first
            } else {
                flow.boot
            }) else {
                continue;
            };
            flow.named = flow.connections;
            flow.names.retain(|known| *known != name);
            flow.names.insert(0, name);
            flow.names.truncate(MAX_NAMES);
            self.is_unwritten = true;
        }
    }

    /// Whether its file has to be written, which it is from now on.
    pub(super) fn take_unwritten(&mut self) -> bool {
        std::mem::take(&mut self.is_unwritten)
    }
}

impl FlowTotals {
    fn counts(&self) -> (u64, u64, u64, u64, &str) {
        let Self {
            connections,
            sent,
            received,
            boot,
            verdict,
            ..
        } = self;
        (*connections, *sent, *received, *boot, verdict)
    }
}

/// JSON has objects with texts for keys only.
mod as_list {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{FlowTotals, ProgramTarget};

    pub(super) fn serialize<S: Serializer>(
        flows: &BTreeMap<ProgramTarget, FlowTotals>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_seq(flows)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<ProgramTarget, FlowTotals>, D::Error> {
        let all: Vec<(ProgramTarget, FlowTotals)> = Vec::deserialize(from)?;
        Ok(all.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use guard_common::{Connection, Protocol};

    use super::*;

    fn spot(last: u8) -> ProgramTarget {
        let to = Connection::new(
            Address::from(IpAddr::from([192, 0, 2, last])),
            Protocol::TCP,
            443,
        );
        let program = [u64::from_ne_bytes(*b"curl\0\0\0\0"), 0];
        ProgramTarget::of(&FlowKey::new(SessionId(1), &to, program))
    }

    fn reached(connections: u64) -> FlowTotals {
        FlowTotals {
            first_at: Timestamp::UNIX_EPOCH,
            last_at: Timestamp::UNIX_EPOCH,
            connections,
            sent: 1,
            received: 2,
            verdict: "allow".to_owned(),
            rule: None,
            boot: connections * 10,
            first: 10,
            names: Vec::new(),
            named: 0,
        }
    }

    fn kept() -> KeptFlows {
        KeptFlows {
            session: 1,
            started_at: Timestamp::UNIX_EPOCH,
            uid: 1000,
            around: Vec::new(),
            left_out: 0,
            flows: BTreeMap::new(),
            reads: Vec::new(),
            is_unwritten: false,
        }
    }

    #[test]
    fn reads_are_added_up_by_destination_and_bounded() {
        let mut flows = kept();
        let at = |port| (IpAddr::from([192, 0, 2, 10]), port);
        for (port, count) in [(80, 2), (443, 5), (80, 3)] {
            flows.note_reads(at(port), count, Timestamp::UNIX_EPOCH);
        }
        let count = |flows: &KeptFlows, port| flows.reads_at(at(port)).map(|one| one.count);
        assert_eq!((count(&flows, 80), count(&flows, 443)), (Some(5), Some(5)));
        for port in 1000..2000 {
            flows.note_reads(at(port), 1, Timestamp::UNIX_EPOCH);
        }
        flows.note_reads(at(80), 1, Timestamp::UNIX_EPOCH);
        assert_eq!(flows.reads.len(), MAX_READ);
        assert_eq!((count(&flows, 80), count(&flows, 1999)), (Some(6), None));
    }

    #[test]
    fn a_file_reads_as_it_was_written_and_is_written_where_something_is_new() {
        let mut flows = kept();
        assert!(!flows.take_unwritten());
        flows.take(spot(10), || reached(1));
        assert!(flows.take_unwritten() && !flows.take_unwritten());
        flows.take(spot(10), || reached(1));
        flows.note_left_out(0);
        assert!(!flows.take_unwritten());
        flows.take(spot(10), || reached(2));
        flows.note_left_out(7);
        assert!(flows.take_unwritten());
        let text = serde_json::to_string(&flows).unwrap();
        assert_eq!(serde_json::from_str::<KeptFlows>(&text).unwrap(), flows);
        assert_eq!(spot(10).program, "curl");
    }

    #[test]
    fn a_connection_has_the_name_that_it_was_made_by() {
        let mut flows = kept();
        flows.take(spot(10), || reached(1));
        let names = |flows: &KeptFlows| flows.iter().next().unwrap().1.names.clone();
        // Nothing is known yet, and it is looked for again.
        flows.name(|_, _, _| None);
        flows.take_unwritten();
        let at = |then: BootTime| match then.0 {
            10 => Some("a.example.com".to_owned()),
            _ => Some("b.example.com".to_owned()),
        };
        flows.name(|_, program, then| at(then).filter(|_| program == "curl"));
        assert!(flows.take_unwritten());
        assert_eq!(names(&flows), ["a.example.com"]);
        // Another name of the address says nothing of the connection that there was.
        flows.name(|_, _, _| Some("evil.example.net".to_owned()));
        assert_eq!(names(&flows), ["a.example.com"]);
        flows.take(spot(10), || reached(2));
        flows.name(|_, _, then| at(then));
        assert_eq!(names(&flows), ["b.example.com", "a.example.com"]);
        flows.take_unwritten();
        flows.name(|_, _, then| at(then));
        assert!(!flows.take_unwritten());
    }
}
