//! What guardd has said of sessions, their policies, and the servers whose answers count.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, HashSet},
    net::{IpAddr, Ipv6Addr},
    rc::Rc,
};

use guard_common::{BootTime, MAX_TAUGHT, Named, NamedKey, PolicyId, SessionId};
use guard_policy::DomainName;
use guard_proto::names::{Names, OnLink, Pattern};

use super::{
    budget::Budget,
    judge::NamePolicy,
    name::WireName,
    reports::{Reports, SharedPaces},
};

/// Addresses that the kernel knows at once for an outermost session and those inside it, for each of their policies.
pub(super) const MAX_LEARNED: usize = 16 * 1024;
/// So many of them where all together have what the resolver notes: no agent's keep others from being answered.
const RESERVE: usize = 256;

const SHARE: &str = "the session knows as many addresses as are kept for one";
const ALL: &str = "all sessions together know as many addresses as are kept of them";

/// A session.
#[derive(Debug)]
pub(super) struct Session {
    /// Its policies, its own first. `None` where guardd has said nothing of one: then nothing can be said of any name.
    pub(super) policies: Option<Vec<(PolicyId, Rc<NamePolicy>)>>,
    /// One of them has what hides names from TLS's first record taken out of answers.
    pub(super) without_ech: bool,
}

/// What a policy says beside its patterns.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Switches {
    /// Names that a search list may have made are refused where a person would be asked about them.
    pub(super) silent: bool,
    /// What hides names from TLS's first record is taken out of answers.
    pub(super) without_ech: bool,
}

/// What is kept of a session for as long as it lives.
#[derive(Debug, Default)]
struct Kept {
    account: u32,
    slots: Vec<u32>,
    opened: HashSet<WireName>,
    budget: Rc<RefCell<Budget>>,
    learned: Rc<RefCell<Learned>>,
    reports: Rc<RefCell<Reports>>,
    paces: Rc<RefCell<SharedPaces>>,
}

/// What is kept of one that has ended.
#[derive(Debug)]
struct Ended {
    account: u32,
    learned: Rc<RefCell<Learned>>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Sessions {
    sessions: RefCell<HashMap<u32, Kept>>,
    policies: RefCell<HashMap<u32, Rc<NamePolicy>>>,
    /// Of an outermost session and those inside it.
    budgets: RefCell<HashMap<u32, Rc<RefCell<Budget>>>>,
    /// Likewise.
    paces: RefCell<HashMap<u32, Rc<RefCell<SharedPaces>>>>,
    /// Likewise: an agent can start as many sessions inside its own as it likes.
    learned: RefCell<HashMap<u32, Rc<RefCell<Learned>>>>,
    /// That of sessions which have ended, or learn nothing any more: what the kernel has of them takes room until guardd removes it.
    ended: RefCell<HashMap<u32, Ended>>,
    /// How many the kernel knows for all of them.
    taught: Rc<Cell<usize>>,
    /// What it knew before this resolver began, by session, until guardd says what holds for that.
    before: RefCell<HashMap<u32, Vec<(NamedKey, BootTime)>>>,
    without_ech: RefCell<HashSet<u32>>,
    servers: RefCell<HashSet<IpAddr>>,
    search: RefCell<Vec<WireName>>,
    links: RefCell<Vec<OnLink>>,
}

impl Sessions {
    /// Counts what the kernel knew before this resolver began.
    pub(super) fn recall(&self, all: impl IntoIterator<Item = (NamedKey, Named)>) {
        let mut before = self.before.borrow_mut();
        for (key, named) in all {
            let times = named.patterns.iter().map(|learned| learned.until);
            let until = times.max_by_key(|until| until.0).unwrap_or_default();
            let of_it = before.entry(key.session.0).or_default();
            of_it.push((key, until));
        }
    }

    /// Whose policies hold for a session. What it has asked for so far stays counted.
    pub(super) fn keep(&self, session: u32, account: u32, slots: Vec<u32>, opened: &[String]) {
        let opened = opened.iter().filter_map(|name| name.parse().ok());
        let opened = opened
            .map(|name: DomainName| WireName::from(&name))
            .collect();
        let mut sessions = self.sessions.borrow_mut();
        let kept = sessions.entry(session).or_default();
        let mut budgets = self.budgets.borrow_mut();
        kept.budget = Rc::clone(budgets.entry(account).or_default());
        let mut paces = self.paces.borrow_mut();
        kept.paces = Rc::clone(paces.entry(account).or_default());
        let mut learned = self.learned.borrow_mut();
        let learned = learned.entry(account);
        let learned = learned.or_insert_with(|| Learned::among(&self.taught));
        kept.learned = Rc::clone(learned);
        if let Some(before) = self.before.borrow_mut().remove(&session) {
            kept.learned.borrow_mut().extend(before);
        }
        kept.learned.borrow_mut().keep(SessionId(session), &slots);
        (kept.account, kept.slots, kept.opened) = (account, slots, opened);
        self.ended.borrow_mut().remove(&session);
    }

    /// It has ended, and learns nothing any more. What it has learned stays counted: else an agent that starts one session after the
    /// other would fill the map of all.
    pub(super) fn forget(&self, session: u32) {
        let Some(gone) = self.sessions.borrow_mut().remove(&session) else {
            return;
        };
        let account = gone.account;
        let ended = Ended {
            account,
            learned: Rc::clone(&gone.learned),
        };
        drop(gone);
        self.ended.borrow_mut().insert(session, ended);
        let mut budgets = self.budgets.borrow_mut();
        budgets.retain(|of, budget| *of != account || Rc::strong_count(budget) > 1);
        let mut paces = self.paces.borrow_mut();
        paces.retain(|of, pace| *of != account || Rc::strong_count(pace) > 1);
    }

    /// The kernel knows nothing of it any more.
    pub(super) fn forget_names(&self, session: u32) {
        self.before.borrow_mut().remove(&session);
        let Some(gone) = self.ended.borrow_mut().remove(&session) else {
            return;
        };
        gone.learned.borrow_mut().keep(SessionId(session), &[]);
        let account = gone.account;
        drop(gone);
        let mut learned = self.learned.borrow_mut();
        learned.retain(|of, learned| *of != account || Rc::strong_count(learned) > 1);
    }

    /// What a policy says. One that cannot be understood refuses every name.
    pub(super) fn keep_policy(
        &self,
        slot: u32,
        names: Names,
        patterns: &[Pattern],
        switches: Switches,
    ) {
        if switches.without_ech {
            self.without_ech.borrow_mut().insert(slot)
        } else {
            self.without_ech.borrow_mut().remove(&slot)
        };
        let policy = NamePolicy::new(names, patterns, switches.silent).unwrap_or_else(|invalid| {
            tracing::error!(
                slot,
                "guardd has sent an odd pattern, so the policy lets no name pass: {invalid}"
            );
            NamePolicy::closed()
        });
        self.policies.borrow_mut().insert(slot, Rc::new(policy));
    }

    /// It is in force no more.
    pub(super) fn forget_policy(&self, slot: u32) {
        self.policies.borrow_mut().remove(&slot);
        self.without_ech.borrow_mut().remove(&slot);
    }

    /// The only ones whose answers teach, and the search list.
    pub(super) fn trust(&self, servers: &[IpAddr], search: &[String]) {
        let servers = servers.iter().map(IpAddr::to_canonical).collect();
        *self.servers.borrow_mut() = servers;
        let search = search.iter().filter_map(|one| one.parse().ok());
        *self.search.borrow_mut() = search.map(|one: DomainName| WireName::from(&one)).collect();
    }

    /// On which links servers are.
    pub(super) fn keep_links(&self, links: Vec<OnLink>) {
        *self.links.borrow_mut() = links;
    }

    /// On which link a server is; `None`: guardd has not said so.
    pub(super) fn link_of(&self, server: &Ipv6Addr) -> Option<u32> {
        let links = self.links.borrow();
        let found = links.iter().find(|one| one.address == *server);
        found.map(|one| one.link)
    }

    /// Whether a search list may have made a name.
    pub(super) fn is_searched(&self, name: &WireName) -> bool {
        let search = self.search.borrow();
        search.iter().any(|one| name.before(one).is_some())
    }

    /// The names that a search list may have made a name of.
    pub(super) fn before_search(&self, name: &WireName) -> Vec<WireName> {
        let search = self.search.borrow();
        let all = search.iter().filter_map(|one| name.before(one));
        all.collect()
    }

    /// Whether a server's answers teach.
    pub(super) fn is_trusted(&self, server: IpAddr) -> bool {
        self.servers.borrow().contains(&server.to_canonical())
    }

    /// On whose account a session's questions are; `None`: there is no such session.
    pub(super) fn account(&self, session: u32) -> Option<u32> {
        let sessions = self.sessions.borrow();
        sessions.get(&session).map(|kept| kept.account)
    }

    /// What holds for it now; `None`: there is no such session.
    pub(super) fn get(&self, session: u32) -> Option<Session> {
        let sessions = self.sessions.borrow();
        let kept = sessions.get(&session)?;
        let policies = self.policies.borrow();
        let known = |slot: &u32| Some((PolicyId(*slot), Rc::clone(policies.get(slot)?)));
        let without_ech = self.without_ech.borrow();
        Some(Session {
            without_ech: kept.slots.iter().any(|slot| without_ech.contains(slot)),
            policies: kept.slots.iter().map(known).collect(),
        })
    }

    /// Whether a person has opened what a name stands for.
    pub(super) fn is_opened(&self, session: u32, name: &WireName) -> bool {
        let sessions = self.sessions.borrow();
        let kept = sessions.get(&session);
        kept.is_some_and(|kept| kept.opened.contains(name))
    }

    /// What it may still ask for.
    pub(super) fn budget(&self, session: u32) -> Option<Rc<RefCell<Budget>>> {
        let sessions = self.sessions.borrow();
        sessions.get(&session).map(|kept| Rc::clone(&kept.budget))
    }

    /// What of it was reported to guardd.
    pub(super) fn reports(&self, session: u32) -> Option<Rc<RefCell<Reports>>> {
        let sessions = self.sessions.borrow();
        sessions.get(&session).map(|kept| Rc::clone(&kept.reports))
    }

    /// How quickly its answers are reported to guardd.
    pub(super) fn paces(&self, session: u32) -> Option<Rc<RefCell<SharedPaces>>> {
        let sessions = self.sessions.borrow();
        sessions.get(&session).map(|kept| Rc::clone(&kept.paces))
    }

    /// How much the kernel knows for it.
    pub(super) fn learned(&self, session: u32) -> Option<Rc<RefCell<Learned>>> {
        let sessions = self.sessions.borrow();
        sessions.get(&session).map(|kept| Rc::clone(&kept.learned))
    }
}

/// The addresses that the kernel knows for an outermost session and those inside it, so that one agent does not fill the map of all.
#[derive(Debug, Default)]
pub(super) struct Learned {
    known: HashMap<NamedKey, BootTime>,
    /// How many all of these have.
    all: Rc<Cell<usize>>,
}

impl Learned {
    /// None yet, of those that are counted together.
    fn among(all: &Rc<Cell<usize>>) -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            known: HashMap::new(),
            all: Rc::clone(all),
        }))
    }

    /// Changes what is known, and counts.
    fn change<R>(&mut self, change: impl FnOnce(&mut HashMap<NamedKey, BootTime>) -> R) -> R {
        let before = self.known.len();
        let done = change(&mut self.known);
        self.all.set(self.all.get() + self.known.len() - before);
        done
    }

    fn extend(&mut self, more: Vec<(NamedKey, BootTime)>) {
        self.change(|known| known.extend(more));
    }

    /// Under other policies a session knows nothing any more: guardd removes that from the kernel's maps.
    fn keep(&mut self, session: SessionId, slots: &[u32]) {
        let is_kept = |key: &NamedKey| key.session != session || slots.contains(&key.policy.0);
        self.change(|known| known.retain(|key, _| is_kept(key)));
    }

    /// Whether there is room for so many more where so many have gone; else why not.
    fn has_room(&self, new: usize, gone: usize) -> Result<(), &'static str> {
        let own = self.known.len() - gone + new;
        let all = self.all.get() - gone + new;
        match () {
            () if own > MAX_LEARNED => Err(SHARE),
            () if own > RESERVE && all > MAX_TAUGHT => Err(ALL),
            () => Ok(()),
        }
    }

    /// Counts addresses until that time: all of them, or none. Returns those that are to make room for them, whose time is over.
    ///
    /// # Errors
    ///
    /// Why they would be too many.
    pub(super) fn count(
        &mut self,
        keys: &[NamedKey],
        until: BootTime,
        now: BootTime,
    ) -> Result<Vec<NamedKey>, &'static str> {
        let mut new = HashSet::new();
        for key in keys {
            match self.known.get_mut(key) {
                Some(known) => known.0 = known.0.max(until.0),
                None => {
                    new.insert(*key);
                }
            }
        }
        let mut over = Vec::new();
        if self.has_room(new.len(), 0).is_err() {
            let is_over = |until: &BootTime| until.0 <= now.0;
            let gone = self.known.values().filter(|until| is_over(until)).count();
            self.has_room(new.len(), gone)?;
            over = self.change(|known| {
                let old = known.extract_if(|_, until| is_over(until));
                old.map(|(key, _)| key).collect()
            });
        }
        self.change(|known| known.extend(new.into_iter().map(|key| (key, until))));
        Ok(over)
    }
}

impl Drop for Learned {
    fn drop(&mut self) {
        self.change(HashMap::clear);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_session_without_all_of_its_policies_has_none() {
        let sessions = Sessions::default();
        assert!(sessions.get(1).is_none() && sessions.account(1).is_none());
        sessions.keep(1, 9, vec![3, 4], &[]);
        sessions.keep_policy(3, Names::Any, &[], Switches::default());
        assert!(sessions.get(1).unwrap().policies.is_none());
        sessions.keep_policy(4, Names::Any, &[], Switches::default());
        assert_eq!(sessions.get(1).unwrap().policies.unwrap().len(), 2);
        assert!(!sessions.get(1).unwrap().without_ech);
        sessions.keep_policy(
            4,
            Names::Any,
            &[],
            Switches {
                without_ech: true,
                ..Switches::default()
            },
        );
        assert!(sessions.get(1).unwrap().without_ech);
        sessions.forget_policy(3);
        assert!(sessions.get(1).unwrap().policies.is_none());
        sessions.forget(1);
        assert!(sessions.get(1).is_none());
    }

    #[test]
    fn a_session_inside_has_the_budget_of_the_one_around_it() {
        let sessions = Sessions::default();
        for session in [1, 2] {
            sessions.keep(session, 1, vec![3], &[]);
        }
        sessions.keep(5, 5, vec![3], &[]);
        let budget = |session| sessions.budget(session).unwrap();
        assert!(Rc::ptr_eq(&budget(1), &budget(2)) && !Rc::ptr_eq(&budget(1), &budget(5)));
        let before = Rc::downgrade(&budget(1));
        sessions.forget(1);
        assert!(before.upgrade().is_some());
        sessions.forget(2);
        assert!(before.upgrade().is_none());
    }

    #[test]
    fn sessions_inside_one_another_share_what_the_kernel_knows_for_them() {
        let sessions = Sessions::default();
        for session in [1, 2] {
            sessions.keep(session, 1, vec![3], &[]);
        }
        sessions.keep(5, 5, vec![3], &[]);
        let key = |session: u32, number: usize| {
            let address = Ipv6Addr::from_bits(number as u128).into();
            NamedKey::new(SessionId(session), PolicyId(3), address)
        };
        let count = |session: u32, number| {
            let learned = sessions.learned(session).unwrap();
            let key = key(session, number);
            let counted = learned
                .borrow_mut()
                .count(&[key], BootTime(10), BootTime(1));
            counted.is_ok()
        };
        assert!((0..MAX_LEARNED - 1).all(|number| count(1, number)));
        assert!(count(2, 0) && !count(2, 1) && count(5, 1));
        // What has ended leaves room once the kernel has forgotten it, and so does what another policy judges.
        sessions.forget(1);
        assert!(sessions.learned(1).is_none() && !count(2, 1));
        sessions.forget_names(1);
        assert!(count(2, 1));
        sessions.keep(2, 1, vec![4], &[]);
        assert_eq!(sessions.learned(2).unwrap().borrow().known.len(), 0);
    }

    #[test]
    fn sessions_that_end_one_after_the_other_have_no_more_than_one() {
        let sessions = Sessions::default();
        sessions.keep(1, 1, vec![3], &[]);
        let key = |session: u32, number: usize| {
            let address = Ipv6Addr::from_bits(number as u128).into();
            NamedKey::new(SessionId(session), PolicyId(3), address)
        };
        let mut counted = 0;
        for inner in 2..40 {
            sessions.keep(inner, 1, vec![3], &[]);
            let keys: Vec<_> = (0..1000).map(|number| key(inner, number)).collect();
            let learned = sessions.learned(inner).unwrap();
            let done = learned.borrow_mut().count(&keys, BootTime(10), BootTime(1));
            counted += usize::from(done.is_ok()) * keys.len();
            sessions.forget(inner);
        }
        assert_eq!((counted, sessions.taught.get()), (16_000, 16_000));
        // Those that went on meanwhile are of the same account.
        sessions.keep(2, 1, vec![3], &[]);
        sessions.forget_names(2);
        assert_eq!(sessions.taught.get(), 16_000, "it is there again");
        sessions.forget(1);
        (2..40).for_each(|inner| sessions.forget(inner));
        (1..40).for_each(|inner| sessions.forget_names(inner));
        assert_eq!(sessions.taught.get(), 0);
        assert!(sessions.learned.borrow().is_empty() && sessions.ended.borrow().is_empty());
    }

    #[test]
    fn servers_are_trusted_in_either_form() {
        let sessions = Sessions::default();
        let search = ["corp.example".to_owned()];
        sessions.trust(&["::ffff:192.0.2.1".parse().unwrap()], &search);
        assert!(sessions.is_trusted("192.0.2.1".parse().unwrap()));
        let name = |text: &str| super::super::name::name(text);
        assert!(sessions.is_searched(&name("github.com.corp.example")));
        assert!(!sessions.is_searched(&name("corp.example")));
        assert!(!sessions.is_searched(&name("evilcorp.example")));
        sessions.trust(&[], &[]);
        assert!(!sessions.is_trusted("192.0.2.1".parse().unwrap()));
    }

    #[test]
    fn a_session_fills_no_more_than_its_part_of_the_map() {
        let mut learned = Learned::default();
        let key = |number: usize| {
            let address = Ipv6Addr::from_bits(number as u128).into();
            NamedKey::new(SessionId(1), PolicyId(1), address)
        };
        let now = BootTime(1);
        let none = Ok(Vec::new());
        // All of an answer or nothing.
        let keys: Vec<_> = (0..=MAX_LEARNED).map(key).collect();
        let too_many = learned.count(&keys, BootTime(10), now);
        assert_eq!((too_many, learned.known.len()), (Err(SHARE), 0));
        assert_eq!(learned.count(&keys[1..], BootTime(10), now), none);
        let full = learned.count(&keys[..2], BootTime(20), now);
        assert_eq!(full, Err(SHARE));
        assert_eq!(learned.count(&keys[2..3], BootTime(20), now), none);
        // The kernel is to forget what makes room, and nothing where that is not enough.
        let many: Vec<_> = (MAX_LEARNED..2 * MAX_LEARNED).map(key).collect();
        let full = learned.count(&many[1..], BootTime(20), BootTime(10));
        assert_eq!((full, learned.known.len()), (Err(SHARE), MAX_LEARNED));
        let over = learned.count(&keys[..1], BootTime(20), BootTime(10));
        assert_eq!(over.map(|over| over.len()), Ok(MAX_LEARNED - 2));
        assert_eq!(learned.known.len(), 3);
        assert_eq!(learned.all.get(), 3);
    }

    #[test]
    fn all_sessions_leave_room_for_those_that_know_little_and_for_guardd() {
        let sessions = Sessions::default();
        let key = |session: u32, number: usize| {
            let address = Ipv6Addr::from_bits(number as u128).into();
            NamedKey::new(SessionId(session), PolicyId(3), address)
        };
        let count = |session: u32, number: usize, now| {
            let learned = sessions.learned(session).unwrap();
            let mut learned = learned.borrow_mut();
            learned.count(&[key(session, number)], BootTime(10), BootTime(now))
        };
        let full = (MAX_TAUGHT / MAX_LEARNED) as u32;
        // Those of before this resolver count as well.
        let pattern = guard_common::Learned {
            pattern: guard_common::NameId(1),
            until: BootTime(10),
        };
        let before = (0..MAX_LEARNED).map(|number| {
            let key = key(1, number);
            let named = Named::default().with(&key, pattern, BootTime(1));
            (key, named.unwrap())
        });
        sessions.recall(before);
        for session in 1..=full + 1 {
            sessions.keep(session, session, vec![3], &[]);
        }
        for session in 2..=full {
            assert!((0..MAX_LEARNED).all(|number| count(session, number, 1).is_ok()));
        }
        assert_eq!(sessions.taught.get(), MAX_TAUGHT);
        assert_eq!(count(1, MAX_LEARNED, 1), Err(SHARE));
        let other = full + 1;
        assert!((0..RESERVE).all(|number| count(other, number, 1).is_ok()));
        assert_eq!(count(other, RESERVE, 1), Err(ALL));
        // What is over makes room, and so does who has ended.
        assert_eq!(
            count(other, RESERVE, 10).map(|over| over.len()),
            Ok(RESERVE)
        );
        sessions.forget(1);
        assert_eq!(sessions.taught.get(), MAX_TAUGHT + 1);
        sessions.forget_names(1);
        assert_eq!(sessions.taught.get(), MAX_TAUGHT - MAX_LEARNED + 1);
        assert!((0..MAX_LEARNED / 2).all(|number| count(other, number, 1).is_ok()));
    }
}
