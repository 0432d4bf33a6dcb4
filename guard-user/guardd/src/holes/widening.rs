//! Holes for what a name stands for: each address that its session is told of is opened before the program has it.

use std::collections::{BTreeMap, BTreeSet};

use guard_common::{Address, HoleId, Protocol, SessionId};
use guard_datapath::{Datapath, LiveHole, NewHole};
use guard_policy::{Destination, Environment, Group, PortSpec, Prefix, Target};
use guard_proto::{self as proto, HoleTerms};
use guard_sys::clock::{self, Clocks};

use crate::{
    changes::Change,
    control::{failure::CallError, ids},
    holes::{
        checked::{CheckedHole, ToOpen},
        hole::{Hole, HoleName},
        known::Holes,
        names::{HoleByName, Lifted, Reaches},
        opening::{new_hole, ports_shown},
    },
    machine::Machine,
    policies::{Policies, VerdictSubject},
    requests::Requests,
    sessions::Sessions,
    times::after,
};

/// Addresses that a name has open at once. What is over makes requests of its own.
const MAX_ADDRESSES: usize = 16;
/// Addresses of a name that are tried at once: its owner says how many there are.
const MAX_TRIED: usize = 64;

/// The ports of a hole for a name.
fn ports_of(reaches: &Reaches) -> Option<Vec<PortSpec>> {
    match &reaches.ports {
        Some(ports) => Some(vec![ports.parse().ok()?]),
        None => Some(Vec::new()),
    }
}

/// What it takes to tell which addresses of a name are open, or may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct NamesToOpen<'s> {
    /// The sessions that know them.
    pub(crate) sessions: &'s Sessions,
    /// Their policies.
    pub(crate) policies: &'s Policies,
    /// The machine whose networks addresses may belong to.
    pub(crate) machine: &'s Machine,
}

impl NamesToOpen<'_> {
    /// What names and groups stand for now.
    pub(super) fn environment(&self) -> Environment {
        self.policies.environment(self.machine.host())
    }

    /// The name that `guard open` opens, where what the session is told counts.
    pub(super) fn name_to_open(&self, session: SessionId, to: &Destination) -> Option<String> {
        let Target::Name(name) = &to.target else {
            return None;
        };
        let live = self.sessions.live(session)?;
        let counts = self.policies.speaks_of_names(&live.chain);
        counts.then(|| name.as_str().to_owned())
    }

    /// Whether a hole for these addresses of a name is for the name, whatever addresses it gets ([`Policies::opens_name`]).
    pub(crate) fn opens_name(
        &self,
        session: SessionId,
        name: &str,
        addresses: &[Prefix],
        ports: &[PortSpec],
    ) -> bool {
        let Some(live) = self.sessions.live(session) else {
            return false;
        };
        let now = self.environment();
        addresses.iter().all(|prefix| {
            self.policies
                .opens_name(live.subject(), prefix.address(), ports, name, &now)
        })
    }

    /// The addresses of a name that may be opened: what the session was told, or else what guardd has looked up.
    ///
    /// # Errors
    ///
    /// That no name opens any of them.
    pub(super) fn addresses_to_open(
        &self,
        session: SessionId,
        name: &str,
        looked_up: Vec<Prefix>,
    ) -> Result<Vec<Prefix>, CallError> {
        let (now, at) = (self.environment(), clock::now());
        let known = self.policies.known_names();
        let known = known.addresses_of(session, name, at);
        let mut told: Vec<_> = known.map(|(address, _)| Prefix::host(address)).collect();
        told.sort_unstable_by_key(Prefix::bits);
        let all = if told.is_empty() { looked_up } else { told };
        open_to_names(name, all, &now)
    }

    /// Checks that the addresses of a name are one decision: the same rules are about all of them, names left aside, and all are
    /// this machine's own networks', or none.
    ///
    /// # Errors
    ///
    /// Which rule is about which: one yes would open what a person has not seen.
    pub(super) fn is_one(&self, session: SessionId, to: &ToOpen) -> Result<(), CallError> {
        let Some(name) = to.name.as_deref().filter(|_| to.prefixes.len() > 1) else {
            return Ok(());
        };
        let live = self.sessions.live(session);
        let live = live.ok_or_else(|| ids::no_session(&ids::session(session)))?;
        let now = self.environment();
        let mut kinds: BTreeMap<_, Vec<Address>> = BTreeMap::new();
        for prefix in &to.prefixes {
            let policies = live
                .chain
                .iter()
                .filter_map(|slot| self.policies.get(*slot));
            let rules = policies.flat_map(|one| {
                let about = one.over(prefix, &to.ports).met.into_iter();
                about.map(|met| Lifted {
                    policy: one.policy.name.clone(),
                    rule: met.rule.map(|rule| rule.name.clone()),
                })
            });
            let is_inner = Group::any_reached(&Group::INNER, prefix.address(), &now);
            let kind = kinds.entry((rules.collect(), is_inner)).or_default();
            kind.push(prefix.address());
        }
        if kinds.len() > 1 {
            Err(several(name, &kinds))
        } else {
            Ok(())
        }
    }

    /// What a hole is for: the kernel has the addresses alone.
    pub(super) fn named(&self, name: &str, checked: &CheckedHole, spec: &PortSpec) -> HoleName {
        let now = self.environment();
        let is_inner = |prefix: &Prefix| Group::any_reached(&Group::INNER, prefix.address(), &now);
        HoleName {
            name: name.to_owned(),
            reaches: Reaches {
                ports: ports_shown(spec),
                read_only: checked.read_only,
                connections: checked.connections,
                private: checked.prefixes.iter().any(is_inner),
                lifts: Some(checked.lifts.clone()),
            },
        }
    }

    /// The addresses of a name that its session knows already.
    fn known(&self, session: SessionId, name: &str) -> Vec<Address> {
        let known = self.policies.known_names();
        let known = known.addresses_of(session, name, clock::now());
        known.map(|(address, _)| address).collect()
    }

    /// What has the hole cover an address, where it belongs there; none where a policy denies it, or allows it anyway. What takes
    /// the longest to tell comes last: the name's owner chooses its addresses. `recall` reads from the kernel by which names the session
    /// knows the address.
    fn belonging(
        &self,
        requests: &Requests,
        named: &HoleByName,
        to: Address,
        now: &Environment,
        recall: impl FnOnce(VerdictSubject<'_>) -> Result<(), CallError>,
    ) -> Option<NewHole> {
        let HoleByName { hole, reaches, .. } = named;
        let is_in = |groups: &[Group]| Group::any_reached(groups, to, now);
        if is_in(&Group::LOCAL) || (!reaches.private && is_in(&Group::INNER)) {
            return None;
        }
        let bytes = hole.about.as_ref().and_then(|about| about.bytes);
        // Where the file with its budget is gone, nobody knows what is left.
        if bytes.is_none() && hole.connections().is_some_and(|of| of.counts_bytes) {
            return None;
        }
        let ports = ports_of(reaches)?;
        let spec = ports.first().copied();
        let spec = spec.unwrap_or_else(|| PortSpec::all(Protocol::ANY));
        if requests.is_refused_at(self.sessions, hole.session, to, &spec) {
            return None;
        }
        let subject = self.sessions.live(hole.session)?.subject();
        // guardd may not have heard of the answer yet.
        recall(subject).ok()?;
        let checked = self.checked(hole, reaches, &ports, to)?;
        // The yes was for a `confirm`, and for the rules that were shown: another address of the name lifts no `read-only`, no
        // other rule, nor a person's no; and where a rule is about that address, the name is not what decides.
        let lifts = checked.can_be_read && !reaches.read_only;
        let is_same = |all: &BTreeSet<Lifted>| checked.lifts.is_subset(all);
        let is_other = !reaches.lifts.as_ref().is_none_or(is_same);
        if lifts || is_other {
            return None;
        }
        let name = checked.name?;
        if !self.policies.opens_name(subject, to, &ports, &name, now) {
            return None;
        }
        let expires = hole.expires.min(after(clock::now(), checked.time));
        Some(NewHole {
            read_only: reaches.read_only,
            bytes,
            ..new_hole(&Prefix::host(to), &spec, expires, reaches.connections)
        })
    }

    /// What opening that address would lift; none where a policy denies it, or allows it anyway.
    fn checked(
        &self,
        hole: &Hole,
        reaches: &Reaches,
        ports: &[PortSpec],
        to: Address,
    ) -> Option<CheckedHole> {
        let terms = HoleTerms {
            read_only: reaches.read_only,
            ..HoleTerms::default()
        };
        let opened = ToOpen {
            prefixes: vec![Prefix::host(to)],
            ports: ports.to_vec(),
            name: hole.named().map(|named| named.name.clone()),
        };
        CheckedHole::of_name(self.sessions, self.policies, hole.session, opened, &terms).ok()
    }
}

/// What it takes to open further addresses of names.
#[derive(Debug)]
pub(crate) struct NameWidening<'s> {
    /// The kernel half.
    pub(crate) kernel: &'s mut Datapath,
    /// The holes for the names.
    pub(crate) holes: &'s mut Holes,
    /// What may be answered by then.
    pub(crate) requests: &'s mut Requests,
    /// What may be opened.
    pub(crate) names: NamesToOpen<'s>,
}

impl NameWidening<'_> {
    /// Opens the addresses of a name that its session knows already.
    pub(super) fn open_known(&mut self, session: SessionId, name: &str) -> Option<Change> {
        let known = self.names.known(session, name);
        self.widen(session, name, &known)
    }

    /// Has the holes for a name cover addresses that its session is about to be told of, as far as these belong there.
    pub(crate) fn widen(
        &mut self,
        session: SessionId,
        name: &str,
        to: &[Address],
    ) -> Option<Change> {
        let holes = self.holes.reaching(session, name, clock::now());
        if holes.is_empty() {
            return None;
        }
        let open = self.kernel.holes().ok()?;
        let at = clock::now();
        // Of one moment. Reading it takes files of `/proc`, and mostly there is nothing new to try.
        let mut machine = None;
        let mut widened = Vec::new();
        for named in holes {
            let id = named.id;
            let own = open.iter().filter(|one| one.entry.id == id);
            let mut covered: Vec<_> = own.map(|one| one.entry.prefix).collect();
            for address in to.iter().take(MAX_TRIED) {
                let is_new = !covered.contains(address) && covered.len() < MAX_ADDRESSES;
                if !is_new || self.holes.has_left_out(id, *address, at) {
                    continue;
                }
                let names = self.names;
                let now = &*machine.get_or_insert_with(|| names.environment());
                if self.open(&named, *address, now) {
                    covered.push(*address);
                    widened.push(id);
                }
            }
        }
        if widened.is_empty() {
            return None;
        }
        let live = self.kernel.holes().unwrap_or_default().into_iter();
        let live: Vec<_> = live.filter(|one| widened.contains(&one.entry.id)).collect();
        let sessions = self.names.sessions;
        Some((self.holes).settle_requests(self.kernel, self.requests, sessions, session, &live))
    }

    /// Opens one address, where it belongs in the hole.
    fn open(&mut self, named: &HoleByName, to: Address, now: &Environment) -> bool {
        let (id, names) = (named.id, self.names);
        let recall = |subject: VerdictSubject<'_>| {
            let kernel = &*self.kernel;
            names.policies.recall_names(kernel, subject, to)
        };
        let Some(new) = names.belonging(self.requests, named, to, now, recall) else {
            self.holes.leave_out(id, to, clock::now());
            return false;
        };
        match self.kernel.widen_hole(named.hole.session, id, new) {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, hole = id.0, "an address of its name stays closed");
                false
            }
        }
    }
}

impl Holes {
    /// Open holes as people see them: one for a name by that, with the addresses that it has had.
    pub(crate) fn shown(&self, live: &[LiveHole]) -> BTreeMap<HoleId, proto::Hole> {
        let mut listed = self.listed(live, &Clocks::read());
        for (id, shown) in &mut listed {
            if let Some(named) = self.get(*id).and_then(Hole::named) {
                shown.destination.clone_from(&named.name);
                let own = live.iter().filter(|one| one.entry.id == *id);
                let addresses = own.map(|one| one.entry.prefix.to_ip().to_string());
                shown.addresses = addresses.collect();
            }
        }
        listed
    }
}

/// Those addresses of a name that a name may open.
///
/// # Errors
///
/// That it has none of them, and why: the name resolves, so that nothing else says it.
fn open_to_names(
    name: &str,
    addresses: Vec<Prefix>,
    now: &Environment,
) -> Result<Vec<Prefix>, CallError> {
    let is_closed = |prefix: &Prefix| Group::any_reached(&Group::LOCAL, prefix.address(), now);
    let (closed, mut open): (Vec<_>, Vec<_>) = addresses.into_iter().partition(is_closed);
    if open.is_empty() && !closed.is_empty() {
        return Err(closed_to_names(name, &closed, now));
    }
    open.truncate(MAX_ADDRESSES);
    Ok(open)
}

/// The error for a name that has only addresses which no name opens.
fn closed_to_names(name: &str, closed: &[Prefix], now: &Environment) -> CallError {
    let shown = closed.iter().take(MAX_ADDRESSES).map(|prefix| {
        let is_in = |group: &&Group| Group::any_reached(&[**group], prefix.address(), now);
        let group = Group::LOCAL.iter().find(is_in);
        let group = group.map(|group| format!(" ({group})"));
        format!("{}{}", prefix.address().to_ip(), group.unwrap_or_default())
    });
    let shown: Vec<_> = shown.collect();
    CallError::invalid(
        format!("cannot open {name}"),
        format!(
            "no name opens an address like those that it has: {}",
            shown.join(", ")
        ),
        "if that address is meant, open it by itself: guard open ADDRESS --ports SPEC",
    )
}

/// The error for a name whose addresses are several decisions.
fn several(name: &str, kinds: &BTreeMap<(BTreeSet<Lifted>, bool), Vec<Address>>) -> CallError {
    let kinds = kinds.iter().map(|((lifts, _), addresses)| {
        let rules = lifts.iter().map(|one| match &one.rule {
            Some(rule) => format!("rule {rule}"),
            None => format!("the default of {}", one.policy),
        });
        let rules: Vec<_> = rules.collect();
        let addresses = addresses.iter().map(|one| one.to_ip().to_string());
        let addresses: Vec<_> = addresses.collect();
        format!("{} ({})", addresses.join(", "), rules.join(", "))
    });
    let kinds: Vec<_> = kinds.collect();
    CallError::invalid(
        format!("cannot open {name} as one"),
        format!("its addresses are not one decision: {}", kinds.join("; ")),
        "open the address that is meant: guard open ADDRESS --ports SPEC",
    )
}

#[cfg(test)]
mod tests {
    use std::{error::Error, path::Path};

    use guard_common::BootTime;

    use super::*;
    use crate::{
        holes::hole::{Connections, Scope},
        machine::machine,
        policies::of_texts,
        requests::{RequestKey, tests::shown},
        sessions::none_but,
    };

    const TEXT: &str = "version = 1\ndefault = \"deny\"\n\
        [[rule]]\nname = \"db\"\nto = [\"db.example.com\"]\naction = \"confirm\"\n";

    /// A hole for a name, at one port.
    fn for_name(name: &str, counts_bytes: bool) -> HoleByName {
        let reaches = Reaches {
            ports: Some("tcp/443".to_owned()),
            read_only: false,
            connections: None,
            private: false,
            lifts: None,
        };
        let named = HoleName {
            name: name.to_owned(),
            reaches: reaches.clone(),
        };
        let connections = Connections {
            counts_bytes,
            name: Some(named),
            ..Connections::default()
        };
        let hole = Hole {
            session: SessionId(1),
            expires: BootTime(u64::MAX),
            about: None,
            scope: Scope::Connections(connections),
        };
        HoleByName {
            id: HoleId(7),
            hole,
            reaches,
        }
    }

    #[tokio::test]
    async fn an_address_belongs_in_a_hole_for_its_name_unless_something_else_is_about_it()
    -> Result<(), Box<dyn Error>> {
        let policies = of_texts(&[TEXT.to_owned()]);
        let sessions = none_but(&[(1, None)]);
        let machine = machine(Path::new("/nonexistent"));
        let names = NamesToOpen {
            sessions: &sessions,
            policies: &policies,
            machine: &machine,
        };
        let mut requests = Requests::without_files(10);
        let now = Environment::default();
        let address = |to: &str| to.parse::<Prefix>().map(|prefix| prefix.address());
        let opens = |requests: &Requests, named: &HoleByName, to: Address, is_read: bool| {
            let recall = |_: VerdictSubject<'_>| {
                if is_read {
                    Ok(())
                } else {
                    Err(ids::no_session("s1"))
                }
            };
            let new = names.belonging(requests, named, to, &now, recall);
            new.is_some_and(|new| new.prefix == to && (new.low, new.high) == (443, 443))
        };
        let own = for_name("db.example.com", false);
        let to = address("192.0.2.7")?;
        assert!(opens(&requests, &own, to, true));
        // This machine's own, and a private one where the hole had none.
        for other in ["127.0.0.1", "10.0.0.7"] {
            assert!(!opens(&requests, &own, address(other)?, true), "{other}");
        }
        let other = for_name("other.example.com", false);
        assert!(!opens(&requests, &other, to, true), "it is denied");
        let counted = for_name("db.example.com", true);
        assert!(
            !opens(&requests, &counted, to, true),
            "of an unknown budget"
        );
        assert!(
            !opens(&requests, &own, to, false),
            "the kernel cannot be read"
        );
        let refused = RequestKey::new(SessionId(1), to, Protocol::TCP, 443);
        requests.refuse(refused, None, shown(1), BootTime(u64::MAX));
        assert!(!opens(&requests, &own, to, true), "a person said no");
        Ok(())
    }

    fn hosts(addresses: &[&str]) -> Vec<Prefix> {
        let parsed = addresses
            .iter()
            .map(|address| address.parse::<Prefix>().unwrap());
        parsed.collect()
    }

    #[test]
    fn a_name_of_this_machine_is_refused_by_its_addresses_and_not_as_unknown() {
        let now = Environment {
            host: vec!["192.0.2.7".parse().unwrap()],
            ..Environment::default()
        };
        let open = |addresses: &[&str]| open_to_names("box.example", hosts(addresses), &now);
        let refused = open(&["127.0.1.1", "fe80::1", "192.0.2.7"]).unwrap_err();
        for said in [
            "127.0.1.1 (@loopback)",
            "fe80::1 (@link-local)",
            "192.0.2.7 (@guarded-host)",
        ] {
            assert!(refused.failure.why.contains(said), "{said}: {refused}");
        }
        // One that others reach, too, is opened there alone; of one without addresses somebody else says so.
        let also = open(&["127.0.1.1", "192.0.2.8"]);
        assert_eq!(also.unwrap(), hosts(&["192.0.2.8"]));
        assert_eq!(open(&[]).unwrap(), []);
    }
}
