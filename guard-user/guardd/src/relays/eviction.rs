//! Which listener makes room for a new one. Each is charged to the outermost session that has fewest of those that connect to it, and one
//! goes that is charged to a session with most. So a session loses none while it uses less than an equal part of all, whoever else
//! connects to the same, and however many do so together.

use std::collections::{BTreeSet, HashMap, HashSet};

use guard_common::{BootTime, SessionId, Ticket};

/// In place of clients that are not known, or have all ended.
const NOBODY: SessionId = SessionId(0);

/// The outermost sessions that have connected to a listener, or in which one has.
#[derive(Clone, Debug)]
pub(super) struct ClientSessions(BTreeSet<SessionId>);

impl ClientSessions {
    /// Those of a listener that an earlier guardd knew.
    pub(super) fn unknown() -> Self {
        Self::of(NOBODY)
    }

    /// One.
    pub(super) fn of(outermost: SessionId) -> Self {
        Self(BTreeSet::from([outermost]))
    }

    /// One more.
    pub(super) fn add(&mut self, outermost: SessionId) {
        self.0.insert(outermost);
    }

    /// Whether that is one.
    pub(super) fn has(&self, outermost: SessionId) -> bool {
        self.0.contains(&outermost)
    }

    /// Leaves out those that have ended. Who is not known may not have.
    pub(super) fn keep(&mut self, live: &HashSet<SessionId>) {
        self.0
            .retain(|client| *client == NOBODY || live.contains(client));
    }

    /// Whom the listener may be charged to.
    fn accounts(&self) -> impl Iterator<Item = SessionId> {
        let nobody = self.0.is_empty().then_some(NOBODY);
        self.0.iter().copied().chain(nobody)
    }
}

/// A listener that may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidate<'k> {
    pub(super) ticket: Ticket,
    pub(super) clients: &'k ClientSessions,
    /// No scan finds again all that is known of it.
    pub(super) loses: bool,
    /// When it was last in use.
    pub(super) used: BootTime,
}

/// The listeners that go, `most` at once: those charged to a session with most, in their order ([`EvictionOrder`]). No more at once than
/// that session has beyond the next, but one.
pub(super) fn evicted<'k>(all: impl Iterator<Item = Candidate<'k>>, most: usize) -> Vec<Ticket> {
    let order = EvictionOrder::of(all);
    let most = most.min(order.beyond).max(1);
    order.first(most)
}

/// The same of listeners that wait for their first scan: `most` go, also where several sessions have as many. The kernel reports again those
/// that are connected to, and all are gone through each time that some make room.
pub(super) fn evicted_waiting<'k>(
    all: impl Iterator<Item = Candidate<'k>>,
    most: usize,
) -> Vec<Ticket> {
    EvictionOrder::of(all).first(most)
}

/// The listeners charged to a session with most: the least recently used ones first, and last those with which something is lost.
struct EvictionOrder {
    tickets: Vec<Ticket>,
    /// How many more that session has than the next one.
    beyond: usize,
}

impl EvictionOrder {
    fn of<'k>(all: impl Iterator<Item = Candidate<'k>>) -> Self {
        let all: Vec<_> = all.collect();
        let mut uses = Counts::default();
        for client in all.iter().flat_map(|one| one.clients.accounts()) {
            uses.add(client);
        }
        let all = all.into_iter().map(|one| (uses.fewest(one.clients), one));
        let all: Vec<_> = all.collect();
        let highest = all.iter().map(|(uses, _)| *uses).max();
        let beyond = uses.beyond_the_next(highest.unwrap_or(0));
        let mut first: Vec<_> = all
            .into_iter()
            .filter(|(uses, _)| Some(*uses) == highest)
            .map(|(_, one)| one)
            .collect();
        first.sort_unstable_by_key(|one| (one.loses, one.used));
        let tickets = first.into_iter().map(|one| one.ticket).collect();
        Self { tickets, beyond }
    }

    fn first(mut self, most: usize) -> Vec<Ticket> {
        self.tickets.truncate(most);
        self.tickets
    }
}

/// How many listeners, or turns, each has.
#[derive(Debug, Default)]
pub(super) struct Counts(HashMap<SessionId, usize>);

impl Counts {
    fn of(&self, client: SessionId) -> usize {
        self.0.get(&client).copied().unwrap_or(0)
    }

    fn add(&mut self, client: SessionId) {
        *self.0.entry(client).or_default() += 1;
    }

    /// How many more than the next one a session has that has `highest`; 0 where several have so many.
    fn beyond_the_next(&self, highest: usize) -> usize {
        let mut counts: Vec<_> = self.0.values().map(|uses| (*uses).min(highest)).collect();
        counts.sort_unstable();
        match counts.as_slice() {
            [.., next, most] => most - next,
            [only] => *only,
            [] => 0,
        }
    }

    /// How many that one of a listener's clients has which has fewest.
    fn fewest(&self, clients: &ClientSessions) -> usize {
        let counts = clients.accounts().map(|client| self.of(client));
        counts.min().unwrap_or(0)
    }

    /// Takes a turn for a listener, of that one of its clients which has taken fewest. False if each has taken `limit`.
    pub(super) fn take_turn(&mut self, clients: &ClientSessions, limit: usize) -> bool {
        let fewest = clients.accounts().min_by_key(|client| self.of(*client));
        let client = fewest.filter(|client| self.of(*client) < limit);
        if let Some(client) = client {
            self.add(client);
        }
        client.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A listener of a table that is made up, by its ticket's number.
    #[derive(Clone, Debug)]
    struct Listed {
        clients: ClientSessions,
        loses: bool,
        used: u64,
    }

    fn clients(of: &BTreeSet<u32>) -> ClientSessions {
        ClientSessions(of.iter().copied().map(SessionId).collect())
    }

    fn listed() -> impl Strategy<Value = Listed> {
        let of = prop::collection::btree_set(0_u32..5, 0..4);
        (of, any::<bool>(), 0_u64..8).prop_map(|(of, loses, used)| Listed {
            clients: clients(&of),
            loses,
            used,
        })
    }

    fn candidates(all: &[Listed]) -> impl Iterator<Item = Candidate<'_>> {
        (0..).zip(all).map(|(number, one)| Candidate {
            ticket: Ticket(number),
            clients: &one.clients,
            loses: one.loses,
            used: BootTime(one.used),
        })
    }

    /// Whether a session uses it. What nobody uses counts as that of session 0.
    fn has_client(one: &Listed, session: u32) -> bool {
        one.clients.0.contains(&SessionId(session)) || (session == 0 && one.clients.0.is_empty())
    }

    /// By counting for each client again: all of a listener's clients have at least so many.
    fn naive_fewest(all: &[Listed], one: &Listed) -> usize {
        let counts = (0..5).filter(|session| has_client(one, *session));
        let counts =
            counts.map(|session| all.iter().filter(|one| has_client(one, session)).count());
        counts.min().unwrap()
    }

    /// Whether one is to go before another, as the sentence says.
    fn naive_goes_before(all: &[Listed], one: &Listed, other: &Listed) -> bool {
        let (first, second) = (naive_fewest(all, one), naive_fewest(all, other));
        if first != second {
            first > second
        } else if one.loses != other.loses {
            other.loses
        } else {
            one.used < other.used
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// Against each by itself.
        #[test]
        fn none_is_to_go_before_what_goes(all in prop::collection::vec(listed(), 0..12), most in 1_usize..6) {
            let listed = |ticket: &Ticket| &all[usize::try_from(ticket.0).unwrap()];
            let waiting = evicted_waiting(candidates(&all), most);
            for gone in [evicted(candidates(&all), most), waiting] {
                prop_assert_eq!(gone.is_empty(), all.is_empty());
                prop_assert!(gone.len() <= most);
                let stays = (0..).zip(&all).filter(|(number, _)| !gone.contains(&Ticket(*number)));
                let stays: Vec<_> = stays.map(|(_, one)| one).collect();
                for gone in gone.iter().map(listed) {
                    let before = stays.iter().find(|one| naive_goes_before(&all, one, gone));
                    prop_assert!(before.is_none(), "{:?} before {:?}", before, gone);
                    prop_assert_eq!(naive_fewest(&all, gone), all.iter().map(|one| naive_fewest(&all, one)).max().unwrap());
                }
            }
        }

        /// Whatever the others do, together or not.
        #[test]
        fn who_uses_less_than_its_part_loses_none(
            connects in prop::collection::vec((1_u32..5, 0_u64..40), 1..200),
            room in 4_usize..16,
            most in 1_usize..4,
        ) {
            let mut table: HashMap<u64, ClientSessions> = HashMap::new();
            for (session, listener) in connects {
                if !table.contains_key(&listener) && table.len() == room {
                    let all = table.iter().map(|(ticket, clients)| Candidate {
                        ticket: Ticket(*ticket),
                        clients,
                        loses: false,
                        used: BootTime(*ticket),
                    });
                    let gone = evicted(all, most);
                    prop_assert!(!gone.is_empty());
                    let accounts: BTreeSet<_> = table.values().flat_map(ClientSessions::accounts).collect();
                    for client in gone.iter().flat_map(|gone| table[&gone.0].accounts()) {
                        let uses = table.values().filter(|clients| clients.has(client)).count();
                        prop_assert!(uses * accounts.len() >= room, "{:?} has {}", client, uses);
                    }
                    for gone in gone {
                        table.remove(&gone.0);
                    }
                }
                let outermost = SessionId(session);
                let known = table.entry(listener).or_insert_with(|| ClientSessions::of(outermost));
                known.add(outermost);
            }
        }

        /// A listener waits only where each of its clients has had all of its turns.
        #[test]
        fn whoever_has_a_turn_left_is_enough(
            all in prop::collection::vec(listed(), 0..20),
            limit in 1_usize..4,
        ) {
            let mut turns = Counts::default();
            let mut taken = 0;
            for one in &all {
                let has_left = one.clients.accounts().any(|client| turns.of(client) < limit);
                prop_assert_eq!(turns.take_turn(&one.clients, limit), has_left);
                taken += usize::from(has_left);
            }
            prop_assert_eq!(turns.0.values().sum::<usize>(), taken);
            prop_assert!(turns.0.values().all(|turns| *turns <= limit));
        }
    }

    #[test]
    fn a_session_with_most_loses_no_more_at_once_than_it_has_beyond_the_next() {
        let of = |session: u32, count| {
            let one = Listed {
                clients: clients(&[session].into()),
                loses: false,
                used: 0,
            };
            vec![one; count]
        };
        let gone = |all: &[Listed]| evicted(candidates(all), 64).len();
        assert_eq!(gone(&[of(1, 40), of(2, 37)].concat()), 3);
        assert_eq!(gone(&[of(1, 40), of(2, 40)].concat()), 1);
        assert_eq!(gone(&[of(1, 90), of(2, 3)].concat()), 64);
    }

    #[test]
    fn of_those_that_wait_as_many_go_at_once_where_several_sessions_have_most() {
        let of = |sessions: &[u32], used| Listed {
            clients: clients(&sessions.iter().copied().collect()),
            loses: false,
            used,
        };
        // Two connect to the same ones, and a third to the least recently used of them.
        let mut all: Vec<_> = (1..40).map(|used| of(&[1, 2], used)).collect();
        all.insert(0, of(&[1, 2, 3], 0));
        assert_eq!(evicted(candidates(&all), 32), [Ticket(1)]);
        let gone = evicted_waiting(candidates(&all), 32);
        assert_eq!(gone, (1..=32).map(Ticket).collect::<Vec<_>>());
        let gone = evicted_waiting(candidates(&all), 64);
        assert_eq!(gone.len(), 39, "the third's stays");
    }

    #[test]
    fn what_only_ended_sessions_have_used_is_nobodys() {
        let (mut ended, mut shared) = (clients(&[1].into()), clients(&[1, 2].into()));
        let mut unknown = ClientSessions::unknown();
        unknown.add(SessionId(1));
        let live = HashSet::from([SessionId(2)]);
        for clients in [&mut ended, &mut shared, &mut unknown] {
            clients.keep(&live);
        }
        let accounts = |clients: &ClientSessions| clients.accounts().collect::<Vec<_>>();
        assert_eq!(accounts(&ended), [NOBODY]);
        assert_eq!(accounts(&shared), [SessionId(2)]);
        assert_eq!(accounts(&unknown), [NOBODY]);
        assert!(!ended.has(SessionId(1)) && shared.has(SessionId(2)));
    }
}
