//! Owns the [`State`], for the tasks of guardd's one thread: each borrows it by [`Shared::with`], never across an `await`.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Weak},
    time::{Duration, Instant},
};

use guard_common::SessionId;
use guard_proto::{LogRecord, Presence, Status};
use tokio::sync::{Mutex, Notify, OwnedMutexGuard, Semaphore, broadcast, watch};

use crate::{
    control::{fresh::Fresh, server::LongFrames},
    doctor::Doctor,
    sessions::systemd::Manager,
    state::State,
};

/// Policies that are compiled at once.
const COMPILING: usize = 2;

/// The shortest time between two readings of what is enforced: a caller that asks all the time leaves time for others.
const STATUSES: Duration = Duration::from_millis(20);
/// The shortest time between two answers about this machine. Each reads back from the kernel, and a courier may be taken over.
const PRESENCES: Duration = Duration::from_millis(50);

/// Places that wait for the stream that shows them; the oldest are evicted.
const APPEARED: usize = 64;

/// The state, and what wakes the tasks that wait for changes.
#[derive(Debug)]
pub(crate) struct Shared {
    state: RefCell<State>,
    changed: watch::Sender<u64>,
    wake: Notify,
    gone: Notify,
    /// There may be cgroups that the settings have a policy for.
    pub(crate) arrivals: Notify,
    /// What is known of names has changed, other than by a look-up that was due.
    pub(crate) names_moved: Notify,
    /// New cgroups have their policy, or none; there may be more to report.
    pub(crate) settled: Notify,
    /// The kernel half may log its decisions now, or no more.
    pub(crate) log_switched: Notify,
    /// What came into reach, for the command that tells people.
    pub(crate) appeared: broadcast::Sender<Arc<LogRecord>>,
    /// The service manager, asked what units are.
    pub(crate) manager: Manager,
    /// Held while policies are put in place: one at a time.
    pub(crate) loading: Mutex<()>,
    /// Held while the fleet's policies are put in force.
    pub(crate) offering: Mutex<()>,
    /// Held before `loading` by callers in a session or those inside it, by its outermost session.
    turns: RefCell<HashMap<SessionId, Weak<Mutex<()>>>>,
    /// Held by callers from inside a session, in the same way.
    asking: RefCell<HashMap<SessionId, Weak<Mutex<()>>>>,
    /// Whose decision is kept now.
    pub(crate) deciders: Deciders,
    /// Permits to read a long frame.
    pub(crate) long_frames: LongFrames,
    /// Permits to compile a policy: only callers with many compilations wait.
    pub(crate) compiling: Semaphore,
    /// The results of the probes.
    pub(crate) doctor: Doctor,
    /// What is enforced, for however many ask.
    pub(crate) status: Fresh<Status>,
    /// What may be told of this machine, for however many ask.
    pub(crate) presence: Fresh<Presence>,
    /// When the daemon was started.
    pub(crate) started: Instant,
}

impl Shared {
    /// The owner of `state`.
    #[must_use]
    pub(crate) fn new(state: State) -> Self {
        Self {
            state: RefCell::new(state),
            changed: watch::Sender::new(0),
            wake: Notify::new(),
            gone: Notify::new(),
            arrivals: Notify::new(),
            names_moved: Notify::new(),
            settled: Notify::new(),
            log_switched: Notify::new(),
            appeared: broadcast::Sender::new(APPEARED),
            manager: Manager::default(),
            loading: Mutex::new(()),
            offering: Mutex::new(()),
            turns: RefCell::default(),
            asking: RefCell::default(),
            deciders: Deciders::default(),
            long_frames: LongFrames::default(),
            compiling: Semaphore::new(COMPILING),
            doctor: Doctor::default(),
            status: Fresh::new(STATUSES),
            presence: Fresh::new(PRESENCES),
            started: Instant::now(),
        }
    }

    /// Does something with the state. It cannot wait for anything meanwhile, nor call this again.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let before = state.requests.version();
        let done = work(state);
        state.sessions.note_late_starts(&mut state.recorder);
        let after = state.requests.version();
        if after != before {
            self.changed.send_replace(after);
        }
        if state.wants_tick() {
            self.reschedule();
        }
        done
    }

    /// Becomes ready when the pending requests have changed.
    #[must_use]
    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Held while policies are put in place for a session, one at a time.
    #[must_use]
    pub(crate) fn turn_of(&self, session: SessionId) -> Arc<Mutex<()>> {
        turn_in(&mut self.turns.borrow_mut(), session)
    }

    /// Held by callers from inside a session, one at a time.
    #[must_use]
    pub(crate) fn asking_of(&self, session: SessionId) -> Arc<Mutex<()>> {
        turn_in(&mut self.asking.borrow_mut(), session)
    }

    /// Checks whether the cgroup root is there, and opens it so that it stays.
    pub(crate) fn check_root(&self) {
        if self.with(|state| state.datapath.keep_root()).is_err() {
            self.gone.notify_one();
        }
    }

    /// Waits until the cgroup root is gone.
    pub(crate) async fn root_gone(&self) {
        self.gone.notified().await;
    }

    /// Wakes the ticking task. [`Self::with`] does where a tick is to come early, and tasks that begin again where others have to have
    /// their turn.
    pub(crate) fn reschedule(&self) {
        self.wake.notify_one();
    }

    /// Waits for [`Self::reschedule`], but not longer than `longest`.
    pub(crate) async fn wait(&self, longest: Duration) {
        // A timeout is as good as a call.
        let _ = tokio::time::timeout(longest, self.wake.notified()).await;
    }
}

/// Decisions are kept one at a time, since the disk takes its time, and one of each user in turn.
#[derive(Debug, Default)]
pub(crate) struct Deciders {
    all: Arc<Mutex<()>>,
    by_user: RefCell<HashMap<u32, Weak<Mutex<()>>>>,
}

impl Deciders {
    /// A user's turn, for as long as it is held.
    pub(crate) async fn turn_of(&self, uid: u32) -> [OwnedMutexGuard<()>; 2] {
        let own = turn_in(&mut self.by_user.borrow_mut(), uid);
        let own = own.lock_owned().await;
        [own, Arc::clone(&self.all).lock_owned().await]
    }
}

fn turn_in<K: Eq + Hash>(turns: &mut HashMap<K, Weak<Mutex<()>>>, of: K) -> Arc<Mutex<()>> {
    turns.retain(|_, turn| turn.strong_count() > 0);
    let known = turns.get(&of).and_then(Weak::upgrade);
    known.unwrap_or_else(|| {
        let turn = Arc::new(Mutex::new(()));
        turns.insert(of, Arc::downgrade(&turn));
        turn
    })
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, rc::Rc};

    use tokio::task::{LocalSet, yield_now};

    use super::*;

    #[test]
    fn whoever_decides_without_end_waits_for_itself_alone() {
        const MANY: usize = 50;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        LocalSet::new().block_on(&runtime.unwrap(), async {
            let deciders = Rc::new(Deciders::default());
            let done = Rc::new(Cell::new(0));
            let decide = |uid| {
                let (deciders, done) = (Rc::clone(&deciders), Rc::clone(&done));
                tokio::task::spawn_local(async move {
                    let turn = deciders.turn_of(uid).await;
                    done.set(done.get() + 1);
                    yield_now().await;
                    drop(turn);
                })
            };
            let flood: Vec<_> = (0..MANY).map(|_| decide(1)).collect();
            yield_now().await;
            decide(2).await.unwrap();
            // One of the other's was under way, and one waited already.
            assert!(done.get() <= 3, "{}", done.get());
            for one in flood {
                one.await.unwrap();
            }
            assert_eq!(done.get(), MANY + 1);
        });
    }
}
