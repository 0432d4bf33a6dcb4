//! Threads that connect. Each may wait as long as a server takes to accept; the thread that receives calls never waits, so that
//! a server which connects to another one before it accepts is not blocked.

use std::{
    collections::HashSet,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use caps::{CapSet, Capability};
use guard_sys::notify::{NotifyListener, NotifyResponse, WaitingCall};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::{
    set_keep_capabilities, set_thread_groups, set_thread_res_gid, set_thread_res_uid,
};

use super::{
    Whom,
    answer::{ConnectTarget, connect_to},
    unread::Unread,
};

/// Connections that wait for servers at a time; more get EAGAIN.
const MOST: usize = 128;

type Job = (WaitingCall, ConnectTarget);

/// The threads of one session.
pub(super) struct Workers {
    shared: Arc<WorkerQueue>,
    jobs: Sender<Job>,
}

struct WorkerQueue {
    listener: NotifyListener,
    unread: Unread,
    jobs: Mutex<Receiver<Job>>,
    /// How many threads have nothing to do and no job coming.
    idle: AtomicUsize,
    all: AtomicUsize,
}

impl Workers {
    pub(super) fn new(listener: NotifyListener, unread: Unread) -> Self {
        let (jobs, to_do) = channel();
        let shared = WorkerQueue {
            listener,
            unread,
            jobs: Mutex::new(to_do),
            idle: AtomicUsize::new(0),
            all: AtomicUsize::new(0),
        };
        Self {
            shared: Arc::new(shared),
            jobs,
        }
    }

    pub(super) fn listener(&self) -> &NotifyListener {
        &self.shared.listener
    }

    /// Has a call's socket connected. Called by one thread only, after [`become_user`].
    pub(super) fn connect(&self, call: WaitingCall, target: ConnectTarget) {
        let (id, again) = (call.id, NotifyResponse::Done(Errno::AGAIN.raw_os_error()));
        if self.has_idle() || self.one_more() {
            // They end with this sender.
            let _ = self.jobs.send((call, target));
        } else {
            let _ = self.listener().answer(id, again);
        }
    }

    /// Reserves an idle thread, if there is one.
    fn has_idle(&self) -> bool {
        let idle = &self.shared.idle;
        let taken = idle.fetch_update(Ordering::AcqRel, Ordering::Acquire, |idle| {
            idle.checked_sub(1)
        });
        taken.is_ok()
    }

    fn one_more(&self) -> bool {
        if self.shared.all.load(Ordering::Acquire) >= MOST {
            return false;
        }
        let shared = Arc::clone(&self.shared);
        let made = thread::Builder::new().name("guard-connects".to_owned());
        let is_made = made.spawn(move || shared.work()).is_ok();
        if is_made {
            self.shared.all.fetch_add(1, Ordering::AcqRel);
        }
        is_made
    }
}

impl WorkerQueue {
    fn work(&self) {
        loop {
            let job = self.jobs.lock().map(|jobs| jobs.recv());
            let Ok(Ok((call, target))) = job else { return };
            let answer = match target {
                ConnectTarget::Unread => self.unread.answer(&call, &self.listener),
                target => connect_to(&call, &self.listener, &target),
            };
            let _ = self.listener.answer(call.id, answer);
            self.idle.fetch_add(1, Ordering::AcqRel);
        }
    }
}

/// Gives this thread, and those that it starts, that user's rights: it may read that user's processes, whatever Yama says, and
/// has no other right of root's. Threads that it starts inherit them, and could not do so themselves: the right to is given up here.
pub(super) fn become_user(whom: &Whom) -> io::Result<()> {
    let gid = Gid::from_raw(whom.gid);
    let uid = Uid::from_raw(whom.uid);
    let groups: Vec<_> = whom.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
    set_keep_capabilities(true)?;
    set_thread_groups(&groups)?;
    // The real ids stay root's: else that user might signal it.
    set_thread_res_gid(None, gid, None)?;
    set_thread_res_uid(None, uid, None)?;
    let kept = HashSet::from([Capability::CAP_SYS_PTRACE]);
    for set in [CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        let kept = match set {
            CapSet::Inheritable => HashSet::new(),
            _ => kept.clone(),
        };
        caps::set(None, set, &kept).map_err(io::Error::other)?;
    }
    Ok(())
}
