//! Limits by account: whoever exceeds one harms itself alone.
//!
//! An [`Account`] is a user outside all sessions, or an outermost session with all that is nested in it, and is computed once, where something
//! enters guardd. A [`Quota`] counts what accounts have or use, first by outermost session, then by user. What a user's sessions use
//! takes nothing from that user outside, and a reserve is left for everybody. [`AccountPlaces`] are given back by themselves, and for
//! [`Turns`] callers wait.

use std::{
    cell::RefCell,
    collections::HashMap,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use guard_common::{BootTime, SessionId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Levels that are counted before those that have used nothing up are dropped.
const MIN_LEVELS: usize = 1024;

/// Account that a limit counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Account {
    uid: u32,
    /// Outermost session; none: the user outside.
    outermost: Option<SessionId>,
}

impl Account {
    /// root outside all sessions, and guardd itself.
    pub(crate) const ROOT: Self = Self::outside(0);

    /// Returns the account of a user outside all sessions: a person, a courier, or root.
    #[must_use]
    pub(crate) const fn outside(uid: u32) -> Self {
        let outermost = None;
        Self { uid, outermost }
    }

    /// Returns the account of an outermost session and all nested in it.
    #[must_use]
    pub(crate) const fn inside(uid: u32, outermost: SessionId) -> Self {
        let outermost = Some(outermost);
        Self { uid, outermost }
    }

    /// Returns the account of processes that are guarded and in no session.
    #[must_use]
    pub(crate) const fn unowned(uid: u32) -> Self {
        Self::inside(uid, SessionId(0))
    }

    /// Returns the user.
    #[must_use]
    pub(crate) const fn uid(self) -> u32 {
        self.uid
    }

    /// Returns the outermost session; none for a user outside.
    #[must_use]
    pub(crate) const fn session(self) -> Option<SessionId> {
        self.outermost
    }

    /// Returns true for a session.
    #[must_use]
    pub(crate) const fn is_inside(self) -> bool {
        self.outermost.is_some()
    }

    const fn user(self) -> Level {
        let (uid, is_inside) = (self.uid, self.is_inside());
        Level::User { uid, is_inside }
    }

    /// Returns the levels at which it is counted, and the limit at each.
    fn levels(self, limit: &Limit) -> impl Iterator<Item = (Level, Pace)> + use<> {
        let session = self
            .outermost
            .map(|_| (Level::Session(self), limit.session));
        session.into_iter().chain([(self.user(), limit.user)])
    }
}

/// Level at which an account is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Level {
    Session(Account),
    /// All sessions of a user, or the user outside them.
    User {
        uid: u32,
        is_inside: bool,
    },
}

/// Amount that may be used, and how soon it may be used again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Most at once.
    most: u64,
    /// Nanoseconds after which one more may be used; 0: once it is given back.
    refill: u64,
}

impl Pace {
    pub(crate) const UNLIMITED: Self = Self::held(u64::MAX);

    /// Returns the limit of what is given back.
    pub(crate) const fn held(most: u64) -> Self {
        Self { most, refill: 0 }
    }

    /// Returns the limit of what is used up: so much at once, and one more each `refill` nanoseconds.
    pub(crate) const fn used(most: u64, refill: u64) -> Self {
        Self { most, refill }
    }

    /// Returns how long it takes until `amount` more may be used, in nanoseconds.
    fn wait(self, used: Used, amount: u64, now: BootTime) -> u64 {
        let used = used.refilled(self, now);
        let over = used.amount.saturating_add(amount).saturating_sub(self.most);
        match (over, self.refill) {
            (0, _) => 0,
            (_, 0) => u64::MAX,
            (over, refill) => {
                let since = now.0.saturating_sub(used.at.0);
                over.saturating_mul(refill).saturating_sub(since)
            }
        }
    }
}

/// Limits of one thing.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    /// Of an outermost session with all nested in it.
    pub(crate) session: Pace,
    /// Of all sessions of a user together; and as much of the user outside them.
    pub(crate) user: Pace,
    /// Most of all accounts together. root outside may exceed it.
    pub(crate) all: u64,
    /// Amount that each user's sessions may have in spite of `all`, and each user outside; all of these together as much again as `all`.
    pub(crate) reserve: u64,
}

impl Limit {
    /// Returns a limit without one of all accounts together.
    pub(crate) const fn each(session: Pace, user: Pace) -> Self {
        Self {
            session,
            user,
            all: u64::MAX,
            reserve: 0,
        }
    }
}

/// Amount that is used at a level.
#[derive(Clone, Copy, Debug, Default)]
struct Used {
    amount: u64,
    /// Up to when it is refilled.
    at: BootTime,
}

impl Used {
    /// The remainder of the time counts next time.
    fn refilled(mut self, pace: Pace, now: BootTime) -> Self {
        let since = now.0.saturating_sub(self.at.0);
        if let Some(units) = since.checked_div(pace.refill) {
            self.amount = self.amount.saturating_sub(units);
            self.at.0 += units * pace.refill;
        }
        self
    }
}

/// Counts what accounts use of one thing.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: Limit,
    used: HashMap<Level, Used>,
    total: u64,
    /// Number of levels above which those that have used nothing up are dropped.
    tidy_above: usize,
}

impl Quota {
    /// Returns a quota of which nothing is used.
    #[must_use]
    pub(crate) fn new(limit: Limit) -> Self {
        Self {
            limit,
            used: HashMap::new(),
            total: 0,
            tidy_above: MIN_LEVELS,
        }
    }

    /// Returns a quota of which these have so much. For what has a list that is counted anew each time.
    #[must_use]
    pub(crate) fn counted(limit: Limit, had: impl IntoIterator<Item = (Account, u64)>) -> Self {
        let mut quota = Self::new(limit);
        for (account, amount) in had {
            quota.charge(account, amount, BootTime(0));
        }
        quota
    }

    /// Returns how long an account has to wait before it may use `amount` more; none: it may now.
    #[must_use]
    pub(crate) fn wait(&self, account: Account, amount: u64, now: BootTime) -> Option<Duration> {
        let levels = account.levels(&self.limit);
        let wait = levels.map(|(level, pace)| pace.wait(self.of(level), amount, now));
        let wait = wait.max().unwrap_or_default();
        let is_free = |most: u64, used: u64| used.saturating_add(amount) <= most;
        let is_in_all = account == Account::ROOT
            || is_free(self.limit.all, self.total)
            || (is_free(self.limit.reserve, self.of(account.user()).amount)
                && is_free(self.limit.all.saturating_mul(2), self.total));
        let wait = if is_in_all { wait } else { u64::MAX };
        (wait > 0).then(|| Duration::from_nanos(wait))
    }

    /// Returns true if an account may use `amount` more now.
    #[must_use]
    pub(crate) fn has_room(&self, account: Account, amount: u64, now: BootTime) -> bool {
        self.wait(account, amount, now).is_none()
    }

    /// Uses `amount` if the account may. False: it may not.
    pub(crate) fn take(&mut self, account: Account, amount: u64, now: BootTime) -> bool {
        let has_room = self.has_room(account, amount, now);
        if has_room {
            self.charge(account, amount, now);
        }
        has_room
    }

    /// Uses `amount`, if need be beyond the limit: the account waits for longer then.
    pub(crate) fn charge(&mut self, account: Account, amount: u64, now: BootTime) {
        self.total = self.total.saturating_add(amount);
        for (level, pace) in account.levels(&self.limit) {
            let used = self.used.entry(level).or_default();
            *used = used.refilled(pace, now);
            used.amount = used.amount.saturating_add(amount);
        }
        if self.used.len() > self.tidy_above {
            let limit = self.limit;
            self.used.retain(|level, used| {
                let pace = match level {
                    Level::Session(_) => limit.session,
                    Level::User { .. } => limit.user,
                };
                // Without any limit nobody asks how much it is.
                let is_asked = limit.all < u64::MAX || pace.most < u64::MAX;
                is_asked && used.refilled(pace, now).amount > 0
            });
            self.tidy_above = MIN_LEVELS.max(2 * self.used.len());
        }
    }

    /// Gives back what an account had.
    pub(crate) fn give_back(&mut self, account: Account, amount: u64) {
        self.total = self.total.saturating_sub(amount);
        for (level, _) in account.levels(&self.limit) {
            if let Some(used) = self.used.get_mut(&level) {
                used.amount = used.amount.saturating_sub(amount);
                if used.amount == 0 {
                    self.used.remove(&level);
                }
            }
        }
    }

    /// Returns how much an account has.
    #[must_use]
    pub(crate) fn has(&self, account: Account) -> u64 {
        let own = account.levels(&self.limit).next();
        own.map_or(0, |(level, _)| self.of(level).amount)
    }

    /// Returns how much a user's sessions have together, or the user outside: whichever the account belongs to.
    #[must_use]
    pub(crate) fn has_with_others(&self, account: Account) -> u64 {
        self.of(account.user()).amount
    }

    /// Returns the outermost session that gives way to one more of `account`: of the user who has most, the one that has most. None: that is
    /// `account`, or has hardly more.
    #[must_use]
    pub(crate) fn gives_way_to(&self, account: Account) -> Option<Account> {
        let sessions = self.used.iter().filter_map(|(level, used)| match level {
            Level::Session(session) => Some((*session, used.amount)),
            Level::User { .. } => None,
        });
        let rank = |session: Account, amount| {
            let of_user = self.has_with_others(session);
            // A user who has hardly more than the account's is spared, as a session that has hardly more is.
            let is_own = session.user() == account.user();
            let has_more = if is_own {
                amount > self.has(account) + 1
            } else {
                of_user > self.has_with_others(account) + 1
            };
            has_more.then_some((!is_own, of_user, amount, session))
        };
        let ranked = sessions.filter_map(|(session, amount)| rank(session, amount));
        ranked.max().map(|(.., session)| session)
    }

    fn of(&self, level: Level) -> Used {
        self.used.get(&level).copied().unwrap_or_default()
    }
}

/// Places of which each account has so many at once.
#[derive(Clone, Debug)]
pub(crate) struct AccountPlaces(Rc<RefCell<Quota>>);

impl AccountPlaces {
    /// Returns places of which nobody has any.
    #[must_use]
    pub(crate) fn new(limit: Limit) -> Self {
        Self(Rc::new(RefCell::new(Quota::new(limit))))
    }

    /// Returns a place of that account's; none: it has as many as it may.
    pub(crate) fn take(&self, account: Account) -> Option<TakenPlace> {
        let is_taken = self.0.borrow_mut().take(account, 1, BootTime(0));
        is_taken.then(|| TakenPlace {
            places: self.clone(),
            account,
        })
    }

    /// Returns how many places an account has, and its user's sessions together.
    #[must_use]
    pub(crate) fn taken(&self, account: Account) -> (u64, u64) {
        let quota = self.0.borrow();
        (quota.has_with_others(account), quota.has(account))
    }

    /// Returns true if an account may have one more.
    #[must_use]
    pub(crate) fn has_room(&self, account: Account) -> bool {
        self.0.borrow().has_room(account, 1, BootTime(0))
    }
}

/// Place of an account, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct TakenPlace {
    places: AccountPlaces,
    account: Account,
}

impl TakenPlace {
    /// Ends it. A task that names a field of it captures that field alone, and the place would be given back before the task
    /// begins: so each task ends with this.
    pub(crate) fn leave(self) {}
}

impl Drop for TakenPlace {
    fn drop(&mut self) {
        self.places.0.borrow_mut().give_back(self.account, 1);
    }
}

/// Lets callers go on so many at once: whoever comes more often waits behind its own.
#[derive(Debug)]
pub(crate) struct Turns {
    limit: Limit,
    queues: RefCell<HashMap<Level, Weak<Semaphore>>>,
}

/// Queues of one account: its outermost session's, then its user's.
#[derive(Clone, Debug)]
pub(crate) struct TurnQueue(Vec<Arc<Semaphore>>);

/// Turn of one account, until it is dropped.
#[derive(Debug)]
#[must_use]
pub(crate) struct AccountTurn(
    #[expect(dead_code, reason = "held until it is dropped")] Vec<OwnedSemaphorePermit>,
);

impl Turns {
    /// Returns turns that nobody has.
    #[must_use]
    pub(crate) fn new(limit: Limit) -> Self {
        let queues = RefCell::default();
        Self { limit, queues }
    }

    /// Returns turns of which all sessions of a user have one at once, and the user outside has one.
    #[must_use]
    pub(crate) fn one_each() -> Self {
        Self::new(Limit::each(Pace::held(1), Pace::held(1)))
    }

    /// Returns the queues in which the account waits.
    #[must_use]
    pub(crate) fn queue(&self, account: Account) -> TurnQueue {
        let mut queues = self.queues.borrow_mut();
        queues.retain(|_, queue| queue.strong_count() > 0);
        let queues = account.levels(&self.limit).map(|(level, pace)| {
            let known = queues.get(&level).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let most = usize::try_from(pace.most).unwrap_or(Semaphore::MAX_PERMITS);
                let new = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
                queues.insert(level, Arc::downgrade(&new));
                new
            })
        });
        TurnQueue(queues.collect())
    }

    /// Waits for the account's turn.
    pub(crate) async fn of(&self, account: Account) -> AccountTurn {
        self.queue(account).turn().await
    }
}

impl TurnQueue {
    /// Waits for the account's turn.
    pub(crate) async fn turn(self) -> AccountTurn {
        let mut permits = Vec::new();
        for queue in self.0 {
            // They are never closed.
            permits.extend(queue.acquire_owned().await);
        }
        AccountTurn(permits)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const HELD: Limit = Limit {
        session: Pace::held(8),
        user: Pace::held(40),
        all: 60,
        reserve: 4,
    };

    fn at(millis: u64) -> BootTime {
        BootTime(1000 * SECOND + millis * 1_000_000)
    }

    /// A session of another user, that user outside, a courier, root, and the user outside whose sessions have all.
    const OTHERS: [Account; 5] = [
        Account::inside(1001, SessionId(1000)),
        Account::outside(1001),
        Account::outside(999),
        Account::ROOT,
        Account::outside(1000),
    ];

    proptest! {
        /// Whatever 512 sessions of one user do, those of others and that user outside have their reserve.
        #[test]
        fn who_takes_all_takes_nothing_from_others(
            ops in prop::collection::vec((1_u32..=512, any::<bool>()), 0..2000),
        ) {
            let mut quota = Quota::new(HELD);
            let mut held = Vec::new();
            for (session, takes) in ops {
                let account = Account::inside(1000, SessionId(session));
                if takes {
                    held.extend(quota.take(account, 1, at(0)).then_some(account));
                } else if let Some(account) = held.pop() {
                    quota.give_back(account, 1);
                }
                prop_assert!(quota.has(account) <= 8 && quota.has_with_others(account) <= 40);
            }
            // A second user takes the rest.
            while quota.take(Account::outside(1002), 1, at(0)) {}
            for other in OTHERS {
                for taken in 0..HELD.reserve {
                    prop_assert!(quota.take(other, 1, at(0)), "{:?} {}", other, taken);
                }
            }
        }

        /// Whoever has most gives way, until each user has as much, and each of a user's sessions.
        #[test]
        fn who_has_most_gives_way(asks in prop::collection::vec((1_u32..4, 1_u32..4), 0..300)) {
            let limit = Limit {
                all: 30,
                ..Limit::each(Pace::UNLIMITED, Pace::UNLIMITED)
            };
            let mut had: Vec<Account> = Vec::new();
            for (user, session) in asks {
                let account = Account::inside(user, SessionId(10 * user + session));
                let quota = Quota::counted(limit, had.iter().map(|one| (*one, 1)));
                if had.len() == 30 {
                    let Some(other) = quota.gives_way_to(account) else {
                        // It is refused only where no other user has more, and none of its own user's sessions.
                        let has_more = |one: &Account| if one.uid() == user {
                            quota.has(*one) > quota.has(account) + 1
                        } else {
                            quota.has_with_others(*one) > quota.has_with_others(account) + 1
                        };
                        prop_assert!(!had.iter().any(has_more));
                        continue;
                    };
                    let before = if other.uid() == user {
                        (quota.has(other), quota.has(account))
                    } else {
                        (quota.has_with_others(other), quota.has_with_others(account))
                    };
                    prop_assert!(before.0 > before.1 + 1);
                    let at = had.iter().position(|one| *one == other);
                    had.remove(at.unwrap());
                }
                had.push(account);
            }
        }
    }

    #[test]
    fn what_is_used_comes_back_and_what_was_too_much_is_paid_for() {
        let limit = Limit::each(Pace::used(30, SECOND), Pace::used(60, SECOND / 2));
        let mut quota = Quota::new(limit);
        let [one, beside, third, other] = [(1, 1), (1, 2), (1, 3), (2, 4)]
            .map(|(uid, session)| Account::inside(uid, SessionId(session)));
        let mut taken = |account, millis| {
            let all = (0..100).filter(|_| quota.take(account, 1, at(millis)));
            all.count()
        };
        assert_eq!([one, beside, third].map(|of| taken(of, 0)), [30, 30, 0]);
        assert_eq!(taken(other, 0), 30);
        // What is left over of a moment is not lost.
        assert_eq!(
            [999, 1000, 1999, 3000].map(|at| taken(one, at)),
            [0, 1, 0, 2]
        );
        assert_eq!(taken(third, 3000), 3);
        let mut quota = Quota::new(limit);
        quota.charge(one, 100, at(0));
        assert_eq!(quota.wait(one, 1, at(0)), Some(Duration::from_secs(71)));
        assert_eq!(quota.wait(one, 1, at(71_000)), None);
    }

    #[test]
    fn who_has_used_nothing_up_is_forgotten() {
        let mut quota = Quota::new(Limit::each(Pace::used(1, SECOND), Pace::UNLIMITED));
        for uid in 0..3000 {
            quota.take(
                Account::inside(uid, SessionId(uid)),
                1,
                at(u64::from(uid) * 1000),
            );
        }
        assert!(quota.used.len() <= 2 * MIN_LEVELS, "{}", quota.used.len());
    }

    #[test]
    fn who_comes_often_waits_behind_its_own() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_time().build().unwrap();
        runtime.block_on(async {
            let turns = Turns::one_each();
            let [one, beside, other] = [(1, 1), (1, 2), (2, 3)]
                .map(|(uid, session)| Account::inside(uid, SessionId(session)));
            let first = turns.of(one).await;
            let soon = Duration::from_millis(20);
            for waits in [one, beside] {
                let turn = tokio::time::timeout(soon, turns.of(waits)).await;
                assert!(turn.is_err(), "{waits:?}");
            }
            for goes_on in [other, Account::outside(1), Account::ROOT] {
                drop(turns.of(goes_on).await);
            }
            drop(first);
            drop(turns.of(beside).await);
        });
    }
}
