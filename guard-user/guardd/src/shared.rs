//! Owns the [`State`], for the tasks of guardd's one thread: each borrows it by [`Shared::with`], never across an `await`.

use std::{
    cell::RefCell,
    sync::Arc,
    time::{Duration, Instant},
};

use guard_proto::{Counters, LogRecord, Presence, Status};
use tokio::sync::{Mutex, Notify, broadcast, watch};

use crate::{
    control::{fresh::Fresh, server},
    doctor::Doctor,
    quota::{AccountPlaces, Turns},
    sessions::systemd::Manager,
    state::State,
};

/// The shortest time between two readings of what is enforced: a caller that asks all the time leaves time for others.
const STATUSES: Duration = Duration::from_millis(20);
/// The shortest time between two answers about this machine. Each reads back from the kernel, and a courier may be taken over.
const PRESENCES: Duration = Duration::from_millis(50);

/// The shortest time between two answers with the counters of all sessions.
const COUNTERS: Duration = Duration::from_millis(100);

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
    /// Held before `loading`, so that nobody waits for more than one policy of each account.
    pub(crate) turns: Turns,
    /// Held while a policy is parsed or compiled outside `loading`.
    pub(crate) compiling: Turns,
    /// Held by callers from inside a session.
    pub(crate) asking: Turns,
    /// Held before `keeping`, so that nobody waits for more than one decision of each user.
    pub(crate) deciding: Turns,
    /// Held while a decision is kept, since the disk takes its time.
    pub(crate) keeping: Arc<Mutex<()>>,
    /// Places to read a long frame.
    pub(crate) long_frames: AccountPlaces,
    /// The results of the probes.
    pub(crate) doctor: Doctor,
    /// What is enforced, for however many ask.
    pub(crate) status: Fresh<Status>,
    /// What may be told of this machine, for however many ask.
    pub(crate) presence: Fresh<Presence>,
    /// The counters, for however many ask.
    pub(crate) counters: Fresh<Counters>,
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
            turns: Turns::one_each(),
            compiling: Turns::one_each(),
            asking: Turns::one_each(),
            deciding: Turns::one_each(),
            keeping: Arc::default(),
            long_frames: server::long_frames(),
            doctor: Doctor::default(),
            status: Fresh::new(STATUSES),
            presence: Fresh::new(PRESENCES),
            counters: Fresh::new(COUNTERS),
            started: Instant::now(),
        }
    }

    /// Does something with the state. It cannot wait for anything meanwhile, nor call this again.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let mut state = self.state.borrow_mut();
        let state = &mut *state;
        let before = state.requests.version();
        let done = work(state);
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
