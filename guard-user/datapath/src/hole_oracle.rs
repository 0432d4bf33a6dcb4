//! The kernel's search for a hole against the sentences that say which holes help.

use std::{cell::RefCell, collections::BTreeMap};

use guard_common::{
    Address, BootTime, BudgetId, Connection, Decision, HoleEntry, HoleId, HoleList, ListId,
    PolicyId, PolicyVerdict, PrefixValue, Protocol, RangeList, Session, SessionId, Tables, Verdict,
    Wanted, decide, find_hole,
};
use proptest::prelude::*;

use super::{
    hole_list,
    holes::{LiveHole, NewHole, budgets, entry},
};

const SESSION: SessionId = SessionId(7);
const NOW: BootTime = BootTime(10);

/// The maps of the kernel, as guardd writes them for holes that have the numbers 1, 2, …
struct Memory {
    list: HoleList,
    budgets: RefCell<BTreeMap<u32, i64>>,
}

impl Memory {
    fn with(holes: &[NewHole]) -> Self {
        let numbered: Vec<_> = (1..).map(HoleId).zip(holes).collect();
        let entries = numbered.iter().map(|(id, new)| entry(*id, new)).collect();
        let budgets = numbered.iter().flat_map(|(id, new)| budgets(*id, new));
        Self {
            list: hole_list::next(SESSION, &hole_list::EMPTY, entries).unwrap(),
            budgets: RefCell::new(budgets.map(|(key, left)| (key.0, left)).collect()),
        }
    }

    fn left(&self, key: BudgetId) -> Option<i64> {
        self.budgets.borrow().get(&key.0).copied()
    }

    fn decide(&self, chain: &[Verdict], to: &Connection, asks: (HoleId, Wanted)) -> Decision {
        let mut session = Session {
            id: SESSION,
            ..Session::default()
        };
        for (at, slot) in session.policies.iter_mut().take(chain.len()).enumerate() {
            *slot = PolicyId(u32::try_from(at).unwrap() + 1);
        }
        let says = |policy: PolicyId| PolicyVerdict {
            verdict: chain[policy.0 as usize - 1],
            ..PolicyVerdict::DENY
        };
        let (used, wanted) = asks;
        decide(&session, wanted, says, |wanted| {
            let found = find_hole(self, SESSION, to, used, || wanted)?;
            found.take(self, used, wanted).then_some(found)
        })
    }

    /// The holes that have not ended, as guardd reads them, in an order of their own.
    fn live(&self) -> Vec<LiveHole> {
        let left = |key| self.left(key).and_then(|left| u64::try_from(left).ok());
        let entries = hole_list::entries(&self.list).iter();
        let living = entries.filter(|entry| entry.expires > NOW);
        let mut live: Vec<_> = living
            .map(|entry| LiveHole {
                session: SESSION,
                entry: *entry,
                connections_left: left(BudgetId::of(entry.id, entry.kind)),
                bytes_left: left(BudgetId::bytes(entry.id)),
            })
            .collect();
        live.sort_by_key(|hole| hole.entry.id);
        live
    }
}

impl Tables for Memory {
    fn prefix(&self, _: PolicyId, _: &Address) -> Option<PrefixValue> {
        None
    }

    fn ranges(&self, _: ListId) -> Option<&RangeList> {
        None
    }

    fn holes(&self, session: SessionId) -> Option<&HoleList> {
        (session == SESSION).then_some(&self.list)
    }

    fn version(&self, holes: &HoleList) -> u32 {
        holes.head
    }

    fn is_whole(&self, holes: &HoleList, of: SessionId, version: u32) -> bool {
        holes.session == of && [holes.head, holes.tail] == [version; 2]
    }

    fn has(&self, budget: BudgetId) -> bool {
        self.left(budget).is_some_and(|left| left > 0)
    }

    fn take(&self, budget: BudgetId) -> bool {
        let mut budgets = self.budgets.borrow_mut();
        let left = budgets.get_mut(&budget.0).filter(|left| **left > 0);
        left.map(|left| *left -= 1).is_some()
    }

    fn give_back(&self, budget: BudgetId) {
        let mut budgets = self.budgets.borrow_mut();
        if let Some(left) = budgets.get_mut(&budget.0) {
            *left += 1;
        }
    }

    fn now(&self) -> BootTime {
        NOW
    }

    fn find<R>(&self, limit: usize, _: R, at: impl FnMut(usize) -> Option<R>) -> Option<R> {
        (0..limit).find_map(at)
    }
}

fn address() -> impl Strategy<Value = Address> {
    (1..4_u8).prop_map(|last| std::net::IpAddr::from([192, 0, 2, last]).into())
}

fn hole() -> impl Strategy<Value = NewHole> {
    let protocol = prop_oneof![
        Just(Protocol::TCP),
        Just(Protocol::ANY),
        Just(Protocol::UDP)
    ];
    let length = prop_oneof![Just(128_u8), Just(127), Just(120), Just(0)];
    let ports = prop_oneof![Just((0, u16::MAX)), Just((443, 443)), Just((80, 500))];
    let connections = prop::option::of(0..3_u32);
    let ends = prop_oneof![4 => Just(11_u64), 1 => Just(10)];
    // Of what is for reads no bytes are counted.
    let bytes = prop::option::of(0..2_u64);
    let parts = (
        address(),
        length,
        protocol,
        ports,
        ends,
        connections,
        any::<bool>(),
        bytes,
    );
    parts.prop_map(
        |(prefix, prefix_len, protocol, (low, high), ends, connections, read_only, bytes)| {
            NewHole {
                prefix,
                prefix_len,
                protocol,
                low,
                high,
                expires: BootTime(ends),
                connections,
                bytes: bytes.filter(|_| !read_only),
                read_only,
            }
        },
    )
}

fn connection() -> impl Strategy<Value = Connection> {
    let protocol = prop_oneof![3 => Just(Protocol::TCP), 1 => Just(Protocol::UDP)];
    let port = prop_oneof![Just(443_u16), Just(80), Just(1)];
    (address(), protocol, port).prop_map(|(to, protocol, port)| Connection::new(to, protocol, port))
}

fn verdict() -> impl Strategy<Value = Verdict> {
    prop_oneof![
        1 => Just(Verdict::Deny),
        3 => Just(Verdict::ReadOnly),
        5 => Just(Verdict::Confirm),
        2 => Just(Verdict::Allow),
    ]
}

fn wanted() -> impl Strategy<Value = Wanted> {
    prop_oneof![
        Just(Wanted::All),
        Just(Wanted::Any),
        Just(Wanted::Redirected)
    ]
}

/// The holes that help, by trying every one: those that make it a verdict, and that verdict. They are equal but for how
/// specific they are.
fn naive(
    strictest: Verdict,
    holes: &[NewHole],
    to: &Connection,
    (used, wanted): (HoleId, Wanted),
) -> Option<(Verdict, Vec<HoleId>)> {
    let numbered = || (1..).map(HoleId).zip(holes);
    let over = |reads: bool| {
        numbered().filter(move |(id, new)| {
            let is_there = entry(*id, new).covers(&to.to, to.protocol, to.port);
            is_there && new.expires > NOW && new.read_only == reads
        })
    };
    let ids = |verdict, ids: Vec<HoleId>| (!ids.is_empty()).then_some((verdict, ids));
    let for_all = over(false).filter(|(id, new)| {
        let has_connections = new.connections != Some(0) || *id == used;
        has_connections && new.bytes != Some(0)
    });
    let for_all = for_all.map(|(id, _)| id).collect();
    let redirected = over(false).filter(|(id, new)| *id == used && new.bytes.is_none());
    let redirected = redirected.map(|(id, _)| id).collect();
    let reads = over(true).filter(|(id, new)| match wanted {
        Wanted::Redirected => *id == used,
        _ => new.connections != Some(0),
    });
    let reads = reads.map(|(id, _)| id).collect();
    match (strictest, wanted) {
        (Verdict::Deny | Verdict::Allow, _) | (Verdict::ReadOnly, Wanted::Redirected) => None,
        (Verdict::Confirm, Wanted::Redirected) => {
            ids(Verdict::Allow, redirected).or_else(|| ids(Verdict::ReadOnly, reads))
        }
        (Verdict::ReadOnly, _) | (_, Wanted::All) => ids(Verdict::Allow, for_all),
        (Verdict::Confirm, Wanted::Any) => {
            ids(Verdict::Allow, for_all).or_else(|| ids(Verdict::ReadOnly, reads))
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn a_hole_helps_as_the_sentences_say(
        holes in prop::collection::vec(hole(), 0..6),
        chain in prop::collection::vec(verdict(), 1..=4),
        to in connection(),
        asks in ((0..6_u32).prop_map(HoleId), wanted()),
    ) {
        let memory = Memory::with(&holes);
        let before = memory.budgets.borrow().clone();
        let decision = memory.decide(&chain, &to, asks);
        let strictest = *chain.iter().max_by_key(|verdict| verdict.strictness()).unwrap();
        let expected = naive(strictest, &holes, &to, asks);
        let (verdict, helping) = expected.unwrap_or((strictest, vec![HoleId(0)]));
        prop_assert_eq!(decision.verdict, verdict);
        prop_assert!(helping.contains(&decision.hole), "{:?}", decision);
        // Whatever may be taken from is the first in the list.
        let order = hole_list::entries(&memory.list).iter().map(|entry| entry.id);
        let mut order = order.filter(|id| helping.contains(id));
        prop_assert_eq!(order.next().unwrap_or_default(), decision.hole);
        // One connection is taken from the hole that lets it through, and from no other.
        let entry = hole_list::entries(&memory.list).iter().find(|entry| entry.id == decision.hole);
        let (used, wanted) = asks;
        let is_new = |entry: &&HoleEntry| {
            if entry.kind.reads() {
                wanted == Wanted::Any
            } else {
                entry.id != used
            }
        };
        let taken = entry.filter(|entry| entry.kind.is_counted()).filter(is_new);
        let taken = taken.map(|entry| BudgetId::of(entry.id, entry.kind));
        for (key, left) in before {
            let one = i64::from(taken == Some(BudgetId(key)));
            prop_assert_eq!(memory.left(BudgetId(key)), Some(left - one));
        }
    }

    #[test]
    fn guardd_finds_the_hole_that_the_kernel_finds(
        holes in prop::collection::vec(hole(), 0..7),
        to in connection(),
    ) {
        let memory = Memory::with(&holes);
        let found = find_hole(&memory, SESSION, &to, HoleId::default(), || Wanted::All);
        let live = memory.live();
        let first = LiveHole::first(&live, SESSION, &to);
        prop_assert_eq!(first.map(|one| one.entry.id), found.map(|one| one.hole));
        prop_assert_eq!(LiveHole::first(&live, SessionId(8), &to), None);
    }
}
