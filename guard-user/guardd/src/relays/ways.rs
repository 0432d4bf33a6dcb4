//! By whom a scan gets to a listener's network: by a process that is there. Who connected last may have ended since, or have moved that process
//! elsewhere, so that nobody scans what others are connected to: then the other clients have their turns, one in each scan.

use std::collections::{BTreeSet, HashMap};

use guard_common::{BootTime, SessionId};

use super::{eviction::ClientSessions, known::Client};
use crate::sessions::Sessions;

/// Is among the clients of a listener that are not known ([`ClientSessions::unknown`]).
const UNKNOWN: SessionId = SessionId(0);

/// The live sessions, as they have their turns: the first of each outermost session and those inside it, then the second of each. Whoever has
/// many inside delays no others.
#[derive(Debug)]
pub(super) struct LiveSessions(Vec<LiveSession>);

#[derive(Clone, Copy, Debug)]
struct LiveSession {
    id: SessionId,
    outermost: SessionId,
}

impl LiveSessions {
    pub(super) fn of(sessions: &Sessions) -> Self {
        let mut turns: HashMap<SessionId, usize> = HashMap::new();
        let all = sessions.all_live().map(|session| {
            let (id, outermost) = (session.cgroup.id, session.outermost());
            let turn = turns.entry(outermost).or_default();
            *turn += 1;
            (*turn, LiveSession { id, outermost })
        });
        let mut all: Vec<_> = all.collect();
        // The oldest of each turn stays first.
        all.sort_by_key(|(turn, _)| *turn);
        Self(all.into_iter().map(|(_, one)| one).collect())
    }

    fn has(&self, id: SessionId) -> bool {
        self.0.iter().any(|one| one.id == id)
    }

    /// Those that may be connected to a listener: its clients; and behind them all others, where not all clients are known, or none is live.
    fn clients(&self, known: &ClientSessions) -> impl Iterator<Item = SessionId> {
        let all = self.0.iter().copied();
        let (first, others): (Vec<_>, Vec<_>) = all.partition(|one| known.has(one.outermost));
        let are_all = !first.is_empty() && !known.has(UNKNOWN);
        let others = others.into_iter().filter(move |_| !are_all);
        first.into_iter().chain(others).map(|one| one.id)
    }
}

/// By whom a listener's network was tried.
#[derive(Debug, Default)]
pub(super) struct Ways {
    /// By whom the last scan went there.
    tried: Option<Client>,
    /// By whom one found it last.
    led: Option<Client>,
    /// By whom scans have failed since, until they have by all.
    failed: BTreeSet<Client>,
    /// When the first of them did, or could not be done.
    failing: Option<BootTime>,
}

impl Ways {
    /// By whom the next scan goes, of those by whom none has failed: who connected last, who led there before, and the first process of each
    /// session that may be a client.
    pub(super) fn next(
        &self,
        by: Client,
        clients: &ClientSessions,
        live: &LiveSessions,
    ) -> Option<Client> {
        let is_left = |one: &Client| live.has(one.session) && !self.failed.contains(one);
        // Who connects again and again, each time by another thread, has every second turn.
        let last = Some(by).filter(|_| !self.has_process_failed());
        let sessions = live.clients(clients).map(Client::first_of);
        let mut all = last.into_iter().chain(self.led).chain(sessions);
        all.find(is_left)
    }

    /// Whether the last scan has failed by a certain process.
    fn has_process_failed(&self) -> bool {
        let is_one = |one: Client| one.process != 0 && self.failed.contains(&one);
        self.tried.is_some_and(is_one)
    }

    /// Notes by whom a scan goes: who is next; where nobody is, who connected last.
    pub(super) fn begin(
        &mut self,
        by: Client,
        clients: &ClientSessions,
        live: &LiveSessions,
    ) -> Client {
        let next = self.next(by, clients, live).unwrap_or(by);
        self.tried = Some(next);
        next
    }

    /// Notes that it has found the network.
    pub(super) fn found(&mut self) {
        self.led = self.tried;
        self.failed.clear();
        self.failing = None;
    }

    /// Notes that it has failed. False where scans have by all: then each has another turn.
    pub(super) fn fail(
        &mut self,
        now: BootTime,
        by: Client,
        clients: &ClientSessions,
        live: &LiveSessions,
    ) -> bool {
        self.note_undone(now);
        self.failed.insert(self.tried.unwrap_or(by));
        let is_left = self.next(by, clients, live).is_some();
        if !is_left {
            self.failed.clear();
        }
        is_left
    }

    /// Notes that it could not be done, which is nobody's failure.
    pub(super) fn note_undone(&mut self, now: BootTime) {
        self.failing = self.failing.or(Some(now));
    }

    /// Since when no scan has succeeded, if the last one has not.
    pub(super) fn failing_since(&self) -> Option<BootTime> {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::sessions::none_but;

    const NOW: BootTime = BootTime(1);

    fn live(all: &[(u32, Option<u32>)]) -> LiveSessions {
        LiveSessions::of(&none_but(all))
    }

    fn clients(of: &[u32]) -> ClientSessions {
        let mut all = ClientSessions::of(SessionId(of[0]));
        for one in of {
            all.add(SessionId(*one));
        }
        all
    }

    fn first_of(session: u32) -> Client {
        Client::first_of(SessionId(session))
    }

    #[test]
    fn who_has_many_sessions_inside_delays_no_others() {
        let live = live(&[(1, None), (2, Some(1)), (3, Some(1)), (4, None)]);
        let turns: Vec<u32> = live.0.iter().map(|one| one.id.0).collect();
        assert_eq!(turns, [1, 4, 2, 3]);
    }

    /// The second, inside the first, whose process is never where its thread was when it connected.
    #[test]
    fn who_moves_elsewhere_again_and_again_keeps_no_scan_from_others() {
        let live = live(&[(1, None), (2, Some(1)), (3, None)]);
        let (clients, mut ways) = (clients(&[1, 3]), Ways::default());
        let moved = |thread| Client {
            session: SessionId(2),
            process: 7,
            thread,
        };
        let mut tried = Vec::new();
        for thread in 1..=4 {
            let by = moved(thread);
            tried.push(ways.begin(by, &clients, &live));
            if thread < 4 {
                assert!(ways.fail(NOW, by, &clients, &live), "{thread}");
                assert_eq!(ways.failing_since(), Some(NOW));
            }
        }
        assert_eq!(tried, [moved(1), first_of(1), moved(3), first_of(3)]);
        ways.found();
        assert_eq!(ways.failing_since(), None);
        // Who led there is tried at once when it connects again.
        assert_eq!(ways.begin(moved(5), &clients, &live), moved(5));
        assert!(ways.fail(NOW, moved(5), &clients, &live));
        assert_eq!(ways.begin(moved(6), &clients, &live), first_of(3));
    }

    /// Tries all, and each again.
    #[test]
    fn any_session_may_lead_there_where_the_clients_are_unknown_or_have_ended() {
        let live = live(&[(4, None), (5, None)]);
        let mut ended = clients(&[9]);
        ended.keep(&HashSet::new());
        for clients in [ClientSessions::unknown(), ended, clients(&[9])] {
            let (by, mut ways) = (Client::default(), Ways::default());
            for _ in 0..2 {
                assert_eq!(ways.begin(by, &clients, &live), first_of(4));
                assert!(ways.fail(NOW, by, &clients, &live));
                assert_eq!(ways.begin(by, &clients, &live), first_of(5));
                assert!(!ways.fail(NOW, by, &clients, &live));
            }
        }
    }

    #[test]
    fn where_the_clients_are_known_no_others_are_tried() {
        let live = live(&[(4, None), (5, None)]);
        let (clients, mut ways) = (clients(&[4]), Ways::default());
        let by = Client {
            session: SessionId(4),
            process: 7,
            thread: 7,
        };
        assert_eq!(ways.begin(by, &clients, &live), by);
        assert!(ways.fail(NOW, by, &clients, &live));
        assert_eq!(ways.begin(by, &clients, &live), first_of(4));
        assert!(!ways.fail(NOW, by, &clients, &live));
    }

    #[test]
    fn without_a_session_nobody_leads_there() {
        let (live, clients) = (live(&[]), ClientSessions::unknown());
        let (by, mut ways) = (Client::default(), Ways::default());
        assert_eq!(ways.next(by, &clients, &live), None);
        assert_eq!(ways.begin(by, &clients, &live), by);
        assert!(!ways.fail(NOW, by, &clients, &live));
    }
}
