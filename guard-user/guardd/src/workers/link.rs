//! What guardd knows of one worker: whether it runs, what is still to be sent to it, and the networks that it serves.

use std::{collections::VecDeque, mem, os::fd::OwnedFd, rc::Rc};

use guard_common::NetnsCookie;
use tokio::sync::Notify;

use super::networks::Networks;

/// A message on its way to a worker.
#[derive(Debug)]
pub(crate) struct Outgoing<M> {
    /// The message.
    pub(crate) message: M,
    /// The descriptors that go with it.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// guardd's end of the connection to a worker, whether one is there or not. `M`: the messages to it.
#[derive(Debug)]
pub(crate) struct WorkerLink<M> {
    /// Whether one runs and is connected.
    is_up: bool,
    /// Why none does, if that is known.
    problem: Option<String>,
    /// Messages that are not sent yet.
    unsaid: VecDeque<Outgoing<M>>,
    /// What it knows of policies, sessions and holes may be old.
    is_stale: bool,
    /// Wakes the task of the connection.
    stir: Rc<Notify>,
    /// The networks that it serves.
    pub(crate) networks: Networks,
}

impl<M> Default for WorkerLink<M> {
    fn default() -> Self {
        Self {
            is_up: false,
            problem: None,
            unsaid: VecDeque::new(),
            is_stale: false,
            stir: Rc::default(),
            networks: Networks::default(),
        }
    }
}

impl<M> WorkerLink<M> {
    /// Whether a worker runs, and is connected.
    #[must_use]
    pub(crate) fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether it runs and has been sent all there is to say.
    #[must_use]
    pub(crate) fn is_told(&self) -> bool {
        self.is_up && !self.is_stale && self.unsaid.is_empty()
    }

    /// Why none runs.
    #[must_use]
    pub(crate) fn problem(&self) -> &str {
        self.problem.as_deref().unwrap_or("it has not started yet")
    }

    /// Notified when there is something to say, or when a worker may be needed or not needed any more.
    #[must_use]
    pub(crate) fn stirs(&self) -> Rc<Notify> {
        Rc::clone(&self.stir)
    }

    /// Queues a message, if a worker runs.
    pub(crate) fn say(&mut self, message: M, descriptors: Vec<OwnedFd>) {
        if self.is_up {
            self.unsaid.push_back(Outgoing {
                message,
                descriptors,
            });
            self.stir.notify_one();
        }
    }

    /// Policies, sessions or holes have changed: that is to be sent to it.
    pub(crate) fn renew(&mut self) {
        self.is_stale = true;
        self.stir.notify_one();
    }

    /// Whether that happened since this was last asked.
    pub(crate) fn takes_change(&mut self) -> bool {
        mem::take(&mut self.is_stale)
    }

    /// The messages that are not sent yet, in order.
    pub(crate) fn take_unsaid(&mut self) -> Vec<Outgoing<M>> {
        self.unsaid.drain(..).collect()
    }

    /// A worker is connected from now on.
    pub(crate) fn up(&mut self) {
        self.is_up = true;
        self.problem = None;
    }

    /// None runs any more. Returns the networks that it served.
    pub(super) fn down(&mut self, problem: Option<String>) -> Vec<NetnsCookie> {
        self.is_up = false;
        self.unsaid.clear();
        self.problem = problem;
        self.networks.take_all()
    }
}
