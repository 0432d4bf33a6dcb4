//! Opening holes: in the kernel, in the audit log, and in a file.

use guard_common::{BootTime, HoleId, HoleKind, Protocol, SessionId};
use guard_datapath::{Datapath, LiveHole, NewHole};
use guard_policy::{Destination, PortSpec, Prefix};
use guard_proto::{
    self as proto, HoleTerms, moment,
    record::{DecisionOrigin, Field, HoleOpen},
};
use guard_sys::clock::Clocks;

use crate::{
    changes::Change,
    control::{answering::Answering, failure::CallError, ids},
    holds::unrefuse_in_kernel,
    holes::{
        checked::{CheckedHole, ToOpen, no_requests},
        ending::HoleEnd,
        hole::{Connections, Hole, HoleOrigin, Scope},
        known::Holes,
        wide,
        widening::{NameWidening, NamesToOpen},
    },
    proxy::worker::ProxyWorker,
    record::{Recorder, audit::LogEntry},
    requests::{
        RequestKey, Requests,
        given::{self, HoleCoverage, YesOrNo},
    },
    sessions::Sessions,
    state::State,
    times::after,
};

/// The error for a hole for connections to a `read-only` destination.
const NOT_READ_ONLY: &str = "reads pass there without a hole; through this one goes everything, and nobody is asked \
                             about what changes something";

/// What an approver opens without a request.
#[derive(Debug)]
pub(crate) struct WantedByHand<'a> {
    /// Where to.
    pub(crate) to: &'a Destination,
    /// Its ports; empty: all.
    pub(crate) ports: &'a [PortSpec],
    /// How long, and what passes.
    pub(crate) terms: &'a HoleTerms,
    /// Also where that is wide.
    pub(crate) is_wide: bool,
    /// Why.
    pub(crate) reason: Option<String>,
}

/// The addresses and ports that one hole of the kernel is for.
struct OneHole<'a> {
    prefix: &'a Prefix,
    /// Beside the prefix.
    others: &'a [Prefix],
    spec: &'a PortSpec,
}

impl State {
    /// What tells which addresses of a name are open, or may be.
    pub(crate) fn names_to_open(&self) -> NamesToOpen<'_> {
        NamesToOpen {
            sessions: &self.sessions,
            policies: &self.policies,
            machine: &self.machine,
        }
    }

    /// What opens further addresses of names.
    pub(crate) fn widening(&mut self) -> NameWidening<'_> {
        NameWidening {
            kernel: &mut self.datapath,
            holes: &mut self.holes,
            requests: &mut self.requests,
            names: NamesToOpen {
                sessions: &self.sessions,
                policies: &self.policies,
                machine: &self.machine,
            },
        }
    }

    /// Opens holes without a request.
    ///
    /// # Errors
    ///
    /// Why none can be opened there.
    pub(crate) fn open(
        &mut self,
        by: &Answering,
        session: SessionId,
        wanted: WantedByHand<'_>,
    ) -> Result<proto::HolesReply, CallError> {
        let WantedByHand {
            to,
            ports,
            terms,
            is_wide,
            reason,
        } = wanted;
        let prefixes = to.target.prefixes(&self.environment());
        if prefixes.is_empty() {
            return Err(nowhere(&to.to_string()));
        }
        let ports = to.ports(ports);
        if terms.requests.is_some() {
            return Err(no_requests());
        }
        let names = self.names_to_open();
        let name = names.name_to_open(session, to);
        let prefixes = match &name {
            Some(name) => names.addresses_to_open(session, name, prefixes)?,
            None => prefixes,
        };
        let to = ToOpen {
            prefixes,
            ports,
            name,
        };
        names.is_one(session, &to)?;
        let (sessions, policies) = (&self.sessions, &self.policies);
        let mut checked = CheckedHole::of_name(sessions, policies, session, to, terms)?;
        let (prefixes, ports) = (&checked.prefixes, &checked.ports);
        checked.name =
            (checked.name).filter(|name| names.opens_name(session, name, prefixes, ports));
        wide::may_open(&checked, is_wide)?;
        let opened = self.open_all(by, checked, reason, None)?;
        self.note_by_hand(by, session, &opened);
        Ok(opened)
    }

    /// Notes what was opened without a request, for `guard why`.
    fn note_by_hand(&mut self, by: &Answering, session: SessionId, holes: &proto::HolesReply) {
        let ids = holes.holes.iter().map(|hole| ids::parse_hole(&hole.id));
        let ids: Vec<_> = ids.filter_map(Result::ok).collect();
        let live = self.datapath.holes().unwrap_or_default().into_iter();
        let opened = live.map(|hole| hole.entry);
        let opened = opened.filter(|entry| ids.contains(&entry.id));
        let opened = opened.map(|entry| given::OpenedByYes {
            hole: entry.id,
            covers: HoleCoverage::Entry(entry),
            ended: None,
        });
        let said = YesOrNo::Yes(opened.collect());
        self.note_given(by, session, said, None);
    }

    /// Opens what was checked: in the kernel first, then in the audit log (`hole-open`), then the answer. Where one
    /// cannot be opened or written to the audit log, none stays open.
    pub(crate) fn open_all(
        &mut self,
        by: &Answering,
        checked: CheckedHole,
        reason: Option<String>,
        request: Option<&str>,
    ) -> Result<proto::HolesReply, CallError> {
        self.recorder.reserve()?;
        let opener = HoleOpener {
            name: self.machine.name_of(by),
            from: &by.from,
        };
        let mut opening = HoleOpening {
            kernel: &mut self.datapath,
            holes: &mut self.holes,
            recorder: &mut self.recorder,
            names: NamesToOpen {
                sessions: &self.sessions,
                policies: &self.policies,
                machine: &self.machine,
            },
        };
        let mut opened = Vec::new();
        let done = opening.try_open(opener, &checked, reason, request, &mut opened);
        let live = match done.and_then(|()| Ok(self.datapath.holes()?)) {
            Ok(live) => live.into_iter(),
            Err(refusal) => {
                for id in opened {
                    self.close_now(checked.session, id);
                }
                return Err(refusal);
            }
        };
        let live: Vec<LiveHole> = live
            .filter(|hole| opened.contains(&hole.entry.id))
            .collect();
        let (kernel, requests) = (&mut self.datapath, &mut self.requests);
        let session = checked.session;
        let change = (self.holes).settle_requests(kernel, requests, &self.sessions, session, &live);
        self.apply(change);
        if let Some(name) = &checked.name {
            let widened = self.widening().open_known(session, name);
            if let Some(change) = widened {
                self.apply(change);
            }
        }
        let mut warnings = checked.warnings;
        if checked.read_only {
            self.survey_networks::<ProxyWorker>();
        } else if checked.can_be_read {
            warnings.push(NOT_READ_ONLY.to_owned());
        }
        Ok(proto::HolesReply {
            holes: self.holes.shown(&live).into_values().collect(),
            warnings,
        })
    }

    /// Closes a hole that was opened but not written to the audit log.
    fn close_now(&mut self, session: SessionId, id: HoleId) {
        if let Err(error) = self.datapath.close_hole(session, id) {
            tracing::error!(%error, hole = id.0, "cannot be closed; the kernel ends it in its time");
            return;
        }
        match self.holes.remove(id) {
            Some(known) => self.hole_ended(id, &known, HoleEnd::NotWritten, None),
            // It was not noted yet: the kernel took one address of its name, and had no room for the next.
            None => forget_budgets(&mut self.datapath, id),
        }
    }
}

/// Removes the budgets of a hole that was never announced: all sessions share the kernel's room for budgets.
fn forget_budgets(kernel: &mut Datapath, id: HoleId) {
    if let Err(error) = kernel.settle_budgets(id) {
        tracing::warn!(%error, hole = id.0, "its budget takes up room until guardd restarts");
    }
}

/// Who opens holes.
struct HoleOpener<'a> {
    name: String,
    from: &'a DecisionOrigin,
}

/// What it takes to open holes in the kernel, and to write them down.
struct HoleOpening<'s> {
    kernel: &'s mut Datapath,
    holes: &'s mut Holes,
    recorder: &'s mut Recorder,
    names: NamesToOpen<'s>,
}

impl HoleOpening<'_> {
    /// Opens what was checked; `opened` gets what is open by then, also where something fails.
    fn try_open(
        &mut self,
        by: HoleOpener<'_>,
        checked: &CheckedHole,
        reason: Option<String>,
        request: Option<&str>,
        opened: &mut Vec<HoleId>,
    ) -> Result<(), CallError> {
        // Of one moment, so that it lasts as long as was said.
        let clocks = Clocks::read();
        let about = HoleOrigin {
            session: checked.session.0,
            owner: checked.owner,
            opened_by: by.name,
            reason,
            opened_at: clocks.present(),
            bytes: checked.bytes,
        };
        let expires = after(clocks.now(), checked.time);
        let record = HoleOpen {
            request: request.into(),
            expires_at: moment::text(clocks.calendar(expires)).into(),
            from: by.from.clone().into(),
            ..record_of(checked, &about)
        };
        // All addresses of a name are in one hole for each port.
        let (first, others) = match (&checked.name, &checked.prefixes[..]) {
            (Some(_), [first, others @ ..]) => (std::slice::from_ref(first), others),
            (_, all) => (all, &[][..]),
        };
        for prefix in first {
            for spec in every_port_or(&checked.ports) {
                let hole = OneHole {
                    prefix,
                    others,
                    spec: &spec,
                };
                let id = open_in_kernel(self.kernel, checked, &hole, expires, opened)?;
                self.recorder.count("holes_opened");
                self.note_opened(id, checked, &spec, &about, expires);
                self.write_opened(id, checked, &hole, record.clone())?;
                // In this order, so that a hole which the next guardd knows from here is in the audit log.
                self.holes.keep(id);
            }
        }
        Ok(self.recorder.sync()?)
    }

    /// Writes a hole to the audit log; `record` has what all have that are opened with it.
    fn write_opened(
        &mut self,
        id: HoleId,
        checked: &CheckedHole,
        hole: &OneHole<'_>,
        record: HoleOpen,
    ) -> Result<(), CallError> {
        let record = HoleOpen {
            hole: ids::hole(id).into(),
            destination: hole.prefix.to_string().into(),
            ports: ports_shown(hole.spec).into(),
            ..record
        };
        let session = ids::session(checked.session);
        let entry = LogEntry::of(session, checked.owner, record);
        Ok(self.recorder.write(entry)?)
    }

    /// Notes a hole that the kernel has from now on.
    fn note_opened(
        &mut self,
        id: HoleId,
        checked: &CheckedHole,
        spec: &PortSpec,
        about: &HoleOrigin,
        expires: BootTime,
    ) {
        let name = checked.name.as_deref();
        let connections = Connections {
            read_only: checked.read_only,
            counts_bytes: checked.bytes.is_some(),
            name: name.map(|name| self.names.named(name, checked, spec)),
            // Once all of it is open ([`Holes::settle_requests`]).
            covered: Vec::new(),
        };
        let hole = Hole {
            session: checked.session,
            expires,
            about: Some(about.clone()),
            scope: Scope::Connections(connections),
        };
        self.holes.add(id, hole);
    }
}

impl Holes {
    /// Drops the requests that new holes answer, and each earlier no to what they open: attempts after their end ask again.
    pub(crate) fn settle_requests(
        &mut self,
        kernel: &mut Datapath,
        requests: &mut Requests,
        sessions: &Sessions,
        session: SessionId,
        holes: &[LiveHole],
    ) -> Change {
        for key in self.answer_requests(requests, sessions, session, holes) {
            unrefuse_in_kernel(kernel, &key);
        }
        Change::Holes
    }

    /// The same but in the kernel, which has a no to each of the keys that this returns.
    fn answer_requests(
        &mut self,
        requests: &mut Requests,
        sessions: &Sessions,
        session: SessionId,
        holes: &[LiveHole],
    ) -> Vec<RequestKey> {
        let by = |hole: &LiveHole, keys: &[RequestKey]| {
            let mut keys = keys.iter();
            keys.all(|one| one.session == session && answers(hole, one))
        };
        let is_covered = |keys: &[RequestKey]| holes.iter().any(|hole| by(hole, keys));
        self.note_covered(holes);
        requests.take_all(|asked| asked.is_settled(is_covered));
        requests.lift_noes(session, sessions.outermost_of(session), is_covered)
    }
}

/// What the records of all holes have that are opened at once.
fn record_of(checked: &CheckedHole, about: &HoleOrigin) -> HoleOpen {
    HoleOpen {
        name: checked.name.clone().map_or(Field::Absent, Field::Is),
        reason: about.reason.clone().into(),
        connections: checked.connections.map(u64::from).into(),
        bytes: checked.bytes.into(),
        read_only: checked.read_only.then_some(true).into(),
        by: about.opened_by.clone().into(),
        ..HoleOpen::default()
    }
}

/// Opens one hole in the kernel, and has it be for other addresses, too.
fn open_in_kernel(
    datapath: &mut Datapath,
    checked: &CheckedHole,
    hole: &OneHole<'_>,
    expires: BootTime,
    opened: &mut Vec<HoleId>,
) -> Result<HoleId, CallError> {
    let new = NewHole {
        read_only: checked.read_only,
        bytes: checked.bytes,
        ..new_hole(hole.prefix, hole.spec, expires, checked.connections)
    };
    let id = datapath.open_hole(checked.session, new)?;
    opened.push(id);
    for other in hole.others {
        let prefix = other.address();
        let new = NewHole { prefix, ..new };
        datapath.widen_hole(checked.session, id, new)?;
    }
    Ok(id)
}

/// Whether a hole for addresses answers a request. It answers none about a name, and one about HTTP only where it is neither counted
/// nor for reads: else HTTP requests are judged all the same.
fn answers(hole: &LiveHole, key: &RequestKey) -> bool {
    let (to, protocol, port) = (&key.destination, key.protocol, key.port);
    if key.question.is_some() {
        return false;
    }
    let is_for_all = key.http.is_none() || hole.entry.kind == HoleKind::ALL;
    is_for_all && hole.entry.covers(to, protocol, port)
}

/// The given ports, or one specification that stands for all.
fn every_port_or(ports: &[PortSpec]) -> Vec<PortSpec> {
    match ports {
        [] => vec![PortSpec::all(Protocol::ANY)],
        ports => ports.to_vec(),
    }
}

pub(super) fn ports_shown(spec: &PortSpec) -> Option<String> {
    (spec.protocol != Protocol::ANY).then(|| spec.to_string())
}

pub(super) fn new_hole(
    prefix: &Prefix,
    spec: &PortSpec,
    expires: BootTime,
    connections: Option<u32>,
) -> NewHole {
    NewHole {
        prefix: prefix.address(),
        prefix_len: prefix.length(),
        protocol: spec.protocol,
        low: spec.low,
        high: spec.high,
        expires,
        connections,
        bytes: None,
        read_only: false,
    }
}

pub(crate) fn nowhere(to: &str) -> CallError {
    CallError::invalid(
        format!("cannot tell where {to} is"),
        "no address is known for it",
        "give an address, or check that the name resolves:\ngetent ahosts NAME",
    )
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, net::IpAddr, rc::Rc};

    use guard_common::HoleEntry;

    use super::*;
    use crate::{
        quota::Account,
        requests::{HttpRequestKey, tests::shown},
        sessions::none_but,
    };

    fn hole(kind: HoleKind) -> LiveHole {
        let host = Prefix::host(IpAddr::from([192, 0, 2, 1]).into());
        let entry = HoleEntry {
            prefix: host.address(),
            mask: host.mask(),
            low: 443,
            high: 443,
            protocol: Protocol::TCP,
            kind,
            ..HoleEntry::default()
        };
        LiveHole {
            session: SessionId(1),
            entry,
            connections_left: kind.is_counted().then_some(1),
            bytes_left: None,
        }
    }

    #[test]
    fn a_hole_for_counted_connections_or_for_reads_answers_no_http_request() {
        let request = HttpRequestKey {
            request: proto::HttpRequest::default(),
            alone: None,
            plain: true,
            series: false,
            matter: None,
        };
        for (port, http, kind, expected) in [
            (443, None, HoleKind::ALL, true),
            (443, None, HoleKind::COUNTED, true),
            (443, None, HoleKind::READS, true),
            (443, Some(&request), HoleKind::ALL, true),
            (443, Some(&request), HoleKind::COUNTED, false),
            (443, Some(&request), HoleKind::READS, false),
            (80, None, HoleKind::ALL, false),
        ] {
            let key = RequestKey {
                session: SessionId(1),
                destination: IpAddr::from([192, 0, 2, 1]).into(),
                protocol: Protocol::TCP,
                port,
                http: http.cloned().map(Rc::new),
                question: None,
            };
            assert_eq!(answers(&hole(kind), &key), expected, "{key:?} {kind:?}");
        }
    }

    #[test]
    fn a_new_hole_drops_what_it_answers_and_lifts_each_no_to_it() -> Result<(), Infallible> {
        let mut requests = Requests::without_files(10);
        let key = |last: u8, port| {
            let to = IpAddr::from([192, 0, 2, last]).into();
            RequestKey::new(SessionId(1), to, Protocol::TCP, port)
        };
        let owner = || Account::inside(1000, SessionId(1));
        // At two hosts, so that none is a part of another.
        for (id, last) in [(1, 1), (2, 200)] {
            let ask = || Ok::<_, Infallible>(shown(id));
            requests.note(key(last, 443), owner(), BootTime(1), ask)?;
        }
        for (id, port) in [(3, 443), (4, 80)] {
            requests.refuse(key(1, port), None, shown(id), BootTime(u64::MAX));
        }
        let mut holes = Holes::nowhere();
        let sessions = none_but(&[(1, None)]);
        let open = [hole(HoleKind::ALL)];
        let lifted = holes.answer_requests(&mut requests, &sessions, SessionId(1), &open);
        let ports: Vec<_> = lifted.iter().map(|key| key.port).collect();
        assert_eq!(ports, [443]);
        assert!(requests.get("r1").is_none() && requests.get("r2").is_some());
        assert!(requests.is_refused(&key(1, 80), BootTime(2)));
        assert!(!requests.is_refused(&key(1, 443), BootTime(2)));
        Ok(())
    }
}
