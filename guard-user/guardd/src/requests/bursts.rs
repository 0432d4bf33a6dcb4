//! Bursts: many requests about neighbouring addresses, merged into one. An approver is offered a prefix that one rule decides.

use std::{net::IpAddr, time::Duration};

use guard_common::{Address, SessionId};
use guard_policy::{PortSpec, Prefix};
use guard_proto as proto;
use serde::{Deserialize, Serialize};

use crate::control::{failure::CallError, ids};

/// Requests that become a burst.
pub(crate) const MANY: usize = 4;
/// The time within which they must have been made.
pub(crate) const WINDOW: Duration = Duration::from_secs(20);
/// Addresses that are kept of a burst. The prefix covers those beyond, too.
pub(super) const MOST: usize = 256;
/// Addresses of a burst that are shown, and that one answer opens without the prefix: each takes a hole of its own.
pub(crate) const MOST_SHOWN: usize = 16;

/// An address that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct TriedAddress {
    address: IpAddr,
    /// The id of the earlier request about this address alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<String>,
}

/// A burst: addresses with one request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Burst {
    prefix: Prefix,
    /// Oldest first. Under one id addresses are only added: a person's yes is for the first so many.
    members: Vec<TriedAddress>,
}

impl Burst {
    /// An empty burst over `prefix`.
    #[must_use]
    pub(crate) fn over(prefix: Prefix) -> Self {
        Self {
            prefix,
            members: Vec::new(),
        }
    }

    /// The ids of the earlier requests about addresses in these prefixes.
    pub(crate) fn ids_in(&self, prefixes: &[Prefix]) -> impl Iterator<Item = &str> {
        let within = self.members.iter();
        let within = within.filter(|one| is_in(one, prefixes));
        within.filter_map(|one| one.id.as_deref())
    }

    /// The part of the burst outside of these prefixes; `None` if nothing is left.
    #[must_use]
    pub(crate) fn without(&self, prefixes: &[Prefix]) -> Option<Self> {
        let members = self.members.iter();
        let members: Vec<_> = members
            .filter(|one| !is_in(one, prefixes))
            .cloned()
            .collect();
        (!members.is_empty()).then_some(Self { members, ..*self })
    }

    /// The id of the earlier request about its first address alone.
    #[must_use]
    pub(crate) fn first_id(&self) -> Option<&str> {
        self.members.first()?.id.as_deref()
    }

    /// The widest prefix that a yes may open.
    #[must_use]
    pub(crate) fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// Adds an address, and the id of the request about it. Returns whether it is new.
    pub(crate) fn add(&mut self, address: Address, id: Option<String>) -> bool {
        let address = address.to_ip();
        let is_known = self.members.iter().any(|member| member.address == address);
        let is_new = !is_known && self.members.len() < MOST;
        if is_new {
            self.members.push(TriedAddress { address, id });
        }
        is_new
    }

    /// The addresses that were tried, oldest first.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = Address> {
        self.members.iter().map(|member| member.address.into())
    }

    /// How many those are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.members.len()
    }

    /// Whether there may be more addresses than are kept.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.members.len() >= MOST
    }

    /// The ids of the requests that became this one.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.members
            .iter()
            .filter_map(|member| member.id.as_deref())
    }

    /// As people see it.
    #[must_use]
    pub(crate) fn to_shown(&self) -> proto::Burst {
        let addresses = self.members.iter().take(MOST_SHOWN);
        proto::Burst {
            prefix: self.prefix.to_string(),
            addresses: addresses.map(|one| one.address.to_string()).collect(),
            count: self.count(),
        }
    }

    /// The first `count` addresses, never those that came later.
    fn first(&self, count: u32) -> Vec<Address> {
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        self.addresses().take(count).collect()
    }

    /// The address that the request `id` was about alone; the burst's own id stands for the first address.
    fn alone(&self, id: &str) -> Vec<Address> {
        let mut members = self.members.iter();
        let found = members.find(|one| one.id.as_deref() == Some(id));
        let found = found.or(self.members.first());
        found.map(|one| one.address.into()).into_iter().collect()
    }
}

/// How much of a burst a yes is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct BurstExtent {
    /// All of the burst's prefix.
    pub(crate) prefix: bool,
    /// The first so many addresses.
    pub(crate) tried: Option<u32>,
    /// Of a request with a name: its address alone.
    pub(crate) address: bool,
}

impl BurstExtent {
    /// Whether no extent is given: the request may be no burst.
    #[must_use]
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }

    /// What a yes opens, to a burst with the id `own` that was named by `id`.
    ///
    /// # Errors
    ///
    /// `Invalid` if that is nothing, or takes more holes than one answer opens; if `id` is that of a part, under which only one
    /// address was shown.
    pub(crate) fn of(self, burst: &Burst, own: &str, id: &str) -> Result<Vec<Prefix>, CallError> {
        if own != id && !self.is_none() {
            return Err(only_a_part(own, id));
        }
        if self.prefix {
            return Ok(vec![burst.prefix]);
        }
        let chosen = match self.tried {
            Some(count) => burst.first(count),
            None => burst.alone(id),
        };
        match chosen.len() {
            0 => Err(for_nothing(burst, id)),
            1..=MOST_SHOWN => Ok(chosen.into_iter().map(Prefix::host).collect()),
            count => Err(too_many(burst, id, count)),
        }
    }
}

/// Where the last bits of an IPv6 address are an IPv4 address, which decides about the network: IPv4-mapped (RFC 4291) and the
/// rest of its /64, IPv4-translated (RFC 2765), NAT64 (RFC 6052, RFC 8215).
const HOLD_IPV4: [(u128, u8); 3] = [
    (0, 64),
    (0x0064_ff9b << 96, 96),
    (0x0064_ff9b_0001 << 80, 48),
];

/// The network in which requests may be one burst: a /24 of IPv4 and of what holds it, a /64 of IPv6.
#[must_use]
pub(crate) fn neighbourhood(address: Address) -> Prefix {
    let host = Prefix::host(address);
    let holds_ipv4 = |(bits, length): &(u128, u8)| Prefix::new(*bits, *length).contains(&host);
    let length = if HOLD_IPV4.iter().any(holds_ipv4) {
        96 + 24
    } else {
        64
    };
    Prefix::new(host.bits(), length)
}

/// The widest prefix around an address, within its neighbourhood, that has enough requests and that `is_one` decision; `None`
/// if only the address itself is.
#[must_use]
pub(crate) fn widest(
    address: Address,
    is_enough: impl Fn(&Prefix) -> bool,
    is_one: impl Fn(&Prefix) -> bool,
) -> Option<Prefix> {
    let host = Prefix::host(address);
    let lengths = neighbourhood(address).length()..host.length();
    let prefixes = lengths.map(|length| Prefix::new(host.bits(), length));
    // A narrower prefix has no more requests.
    prefixes.take_while(is_enough).find(is_one)
}

/// The error if a request is no burst.
pub(crate) fn no_burst(id: &str) -> CallError {
    CallError::invalid(
        format!("cannot answer {id} for a prefix"),
        "it is about one destination, and no prefix was offered",
        format!("guard approve {id}, or open it yourself: guard open PREFIX --ports SPEC"),
    )
}

/// Whether an address is in one of these prefixes.
fn is_in(member: &TriedAddress, prefixes: &[Prefix]) -> bool {
    let address = member.address.into();
    prefixes.iter().any(|prefix| prefix.covers(&address))
}

/// The error if a person has said no to a part of the burst since it was offered.
pub(crate) fn has_refused(
    prefix: &Prefix,
    ports: PortSpec,
    id: &str,
    session: SessionId,
) -> CallError {
    let session = ids::session(session);
    CallError::refused(
        format!("cannot open all of {prefix}"),
        "somebody has said no to a part of it meanwhile",
        format!(
            "guard approve {id} --tried N opens what was tried; all of it:\n\
             guard open {prefix} --ports {ports} --session {session}"
        ),
    )
}

/// The error if the burst was not shown under that id.
pub(super) fn only_a_part(own: &str, id: &str) -> CallError {
    CallError::invalid(
        format!("cannot answer {id} for more than one address"),
        format!("it is a part of {own} by now"),
        format!("guard pending shows {own}; guard approve {id} opens what {id} asked about"),
    )
}

fn for_nothing(burst: &Burst, id: &str) -> CallError {
    CallError::invalid(
        format!("cannot open none of the addresses of {id}"),
        format!("it is about {} of {}", burst.count(), burst.prefix),
        format!("guard approve {id} --tried {}", burst.count()),
    )
}

fn too_many(burst: &Burst, id: &str, count: usize) -> CallError {
    CallError::invalid(
        format!("cannot open the {count} addresses of {id} one by one"),
        format!("one answer opens {MOST_SHOWN} at most, and nothing was opened"),
        format!(
            "guard approve {id} --prefix opens all of {}; guard approve {id} --tried {MOST_SHOWN} the first",
            burst.prefix
        ),
    )
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use guard_common::{PolicyId, Protocol, Verdict};
    use proptest::prelude::*;

    use super::*;

    fn address(last: u8) -> Address {
        IpAddr::from([192, 0, 2, last]).into()
    }

    fn burst(count: u8) -> Burst {
        let mut burst = Burst::over("192.0.2.0/24".parse().unwrap());
        for last in 0..count {
            let id = (last < 4).then(|| format!("r{}", last + 1));
            assert!(burst.add(address(last), id));
        }
        burst
    }

    fn opened(burst: &Burst, extent: BurstExtent, id: &str) -> Vec<String> {
        let opened = extent.of(burst, "r1", id).unwrap();
        opened.iter().map(Prefix::to_short).collect()
    }

    #[test]
    fn a_plain_yes_is_for_what_its_id_asked_about_alone() {
        let mut burst = burst(5);
        let plain = BurstExtent::default();
        assert_eq!(opened(&burst, plain, "r2"), ["192.0.2.1"]);
        burst.add(address(9), None);
        assert_eq!(opened(&burst, plain, "r1"), ["192.0.2.0"]);
        let tried = |count| BurstExtent {
            tried: Some(count),
            ..plain
        };
        assert_eq!(opened(&burst, tried(2), "r1"), ["192.0.2.0", "192.0.2.1"]);
        assert!(tried(0).of(&burst, "r1", "r1").is_err());
        assert!(tried(2).of(&burst, "r1", "r3").is_err());
        let prefix = BurstExtent {
            prefix: true,
            ..plain
        };
        assert_eq!(opened(&burst, prefix, "r1"), ["192.0.2.0/24"]);
    }

    #[test]
    fn what_a_yes_was_not_for_is_left() {
        let burst = burst(6);
        let opened = [address(0), address(1)].map(Prefix::host);
        assert_eq!(burst.ids_in(&opened).collect::<Vec<_>>(), ["r1", "r2"]);
        let rest = burst.without(&opened).unwrap();
        assert_eq!((rest.count(), rest.prefix()), (4, burst.prefix()));
        assert_eq!(rest.first_id(), Some("r3"));
        let own = BurstExtent::default().of(&rest, "r9", "r9").unwrap();
        assert_eq!(own, [Prefix::host(address(2))]);
        let opened: Vec<_> = (0..5).map(|last| Prefix::host(address(last))).collect();
        assert_eq!(burst.without(&opened).unwrap().first_id(), None);
        assert!(burst.without(&[burst.prefix()]).is_none());
    }

    #[test]
    fn too_many_addresses_are_never_a_part_of_them() {
        let burst = burst(17);
        let all = BurstExtent {
            tried: Some(17),
            ..BurstExtent::default()
        };
        let refusal = all.of(&burst, "r1", "r1").unwrap_err();
        assert!(
            refusal.failure.fix.contains("guard approve r1 --prefix"),
            "{refusal}"
        );
        let shown = burst.to_shown();
        assert_eq!((shown.addresses.len(), shown.count), (16, 17));
    }

    #[test]
    fn all_of_it_is_no_more_than_was_asked_about() {
        let prefix = "192.0.2.0/26".parse().unwrap();
        let ports = PortSpec::one(Protocol::TCP, 443);
        let refusal = has_refused(&prefix, ports, "r1", SessionId(2));
        let typed = refusal.failure.fix.lines().last();
        let all = "guard open 192.0.2.0/26 --ports tcp/443 --session s2";
        assert_eq!(typed, Some(all));
    }

    #[test]
    fn no_neighbourhood_holds_many_of_ipv4() {
        for (address, wanted) in [
            ("192.0.2.7", "192.0.2.0/24"),
            ("2001:db8::7", "2001:db8::/64"),
            ("::fffe:0:7", "::fffe:0:0/120"),
            ("::ffff:0:192.0.2.7", "::ffff:0:192.0.2.0/120"),
            ("64:ff9b::192.0.2.7", "64:ff9b::192.0.2.0/120"),
            ("64:ff9b:1:2::7", "64:ff9b:1:2::/120"),
        ] {
            let address: IpAddr = address.parse().unwrap();
            let prefix = neighbourhood(address.into());
            assert_eq!(prefix, wanted.parse().unwrap(), "{address}");
        }
    }

    #[test]
    fn it_remembers_no_more_than_so_many() {
        let mut burst = Burst::over("2001:db8::/64".parse().unwrap());
        for last in 0..1000_u16 {
            let to = std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last);
            burst.add(IpAddr::from(to).into(), None);
        }
        assert!(burst.is_full() && burst.count() == MOST);
        let kept = serde_json::to_string(&burst).unwrap();
        assert_eq!(serde_json::from_str::<Burst>(&kept).unwrap(), burst);
    }

    /// Rules for parts of the neighbourhood, by how they say it.
    fn policy() -> impl Strategy<Value = String> {
        let action = prop::sample::select(vec!["confirm", "confirm", "deny", "allow", "read-only"]);
        let rule = (any::<u8>(), 22_u8..33, action, any::<bool>());
        let default = prop::sample::select(vec!["allow", "deny", "confirm"]);
        (prop::collection::vec(rule, 0..6), default).prop_map(|(rules, default)| {
            let mut text = format!("version = 1\ndefault = \"{default}\"\n");
            for (number, (last, length, action, narrow)) in rules.into_iter().enumerate() {
                let to = Prefix::v4([192, 0, 2, last], length);
                let ports = if narrow { "ports = [\"tcp/443\"]\n" } else { "" };
                text += &format!("[[rule]]\nname = \"r{number}\"\nto = [\"{to}\"]\naction = \"{action}\"\n{ports}");
            }
            text
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// Against every address by itself, under the compiled policies: a prefix is one decision where each policy says
        /// the same of all of it by the same rule, and together they ask.
        #[test]
        fn a_prefix_is_one_decision_where_each_of_its_addresses_is(texts in prop::collection::vec(policy(), 1..3), at in any::<u8>()) {
            let policies = crate::policies::of_texts(&texts);
            let chain: Vec<_> = policies.iter().map(|(slot, _)| slot).collect();
            let port = PortSpec::one(Protocol::TCP, 443);
            let of = |chain: &[PolicyId], last: u8| {
                let judged = policies.judge(chain, address(last), Protocol::TCP, 443).unwrap();
                (judged.verdict, judged.rule.map(|rule| rule.name.clone()))
            };
            let all: Vec<_> = (0..=255_u8).map(|last| {
                let each = chain.iter().map(|slot| of(&[*slot], last));
                (each.collect::<Vec<_>>(), of(&chain, last).0)
            }).collect();
            let found = widest(address(at), |_| true, |prefix| policies.confirm_all(&chain, prefix, port));
            let wanted = (24..32_u8).map(|length| Prefix::new(address(at).to_u128(), 96 + length)).find(|prefix| {
                let within = (0..=255_u8).filter(|last| prefix.covers(&address(*last)));
                let here = &all[usize::from(at)];
                here.1 == Verdict::Confirm && within.into_iter().all(|last| all[usize::from(last)] == *here)
            });
            prop_assert_eq!(found, wanted);
        }
    }

    proptest! {
        /// Against all prefixes, one by one: the widest of those in the neighbourhood where every address has the same
        /// answer.
        #[test]
        fn the_widest_is_the_widest(answers in prop::collection::vec(0_u8..3, 1..9), at in any::<u8>(), enough in 120_u8..129) {
            // Blocks of some addresses with one answer each.
            let answer = |last: u8| answers[usize::from(last) * answers.len() / 256];
            let last = |address: u128| (address & 0xff) as u8;
            let is_one = |prefix: &Prefix| {
                let all = last(prefix.bits())..=last(prefix.last_bits());
                all.into_iter().all(|one| answer(one) == answer(at))
            };
            let is_enough = |prefix: &Prefix| prefix.length() <= enough;
            let found = widest(address(at), is_enough, is_one);
            let wanted = (24..32_u8).find_map(|length| {
                let bits = u32::from(Ipv4Addr::new(192, 0, 2, at)) & (u32::MAX << (32 - length));
                let prefix = Prefix::v4(Ipv4Addr::from(bits).octets(), length);
                let members = (0..=255_u8).filter(|one| prefix.covers(&address(*one)));
                let agree = members.into_iter().all(|one| answer(one) == answer(at));
                (agree && length + 96 <= enough).then_some(prefix)
            });
            prop_assert_eq!(found, wanted);
        }
    }
}
