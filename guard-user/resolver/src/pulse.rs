//! A timer that is nearer than any server's deadline, while questions come.
//!
//! tokio wakes itself, by a write and one more `epoll_wait`, when a deadline is set that comes before all others. A question sets
//! one, and mostly there is no other.

use std::{cell::Cell, time::Duration};

use tokio::sync::Notify;

const INTERVAL: Duration = Duration::from_millis(500);

/// Whether questions come.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    came: Cell<bool>,
    first: Notify,
}

impl Pulse {
    /// One came.
    pub(super) fn beat(&self) {
        if !self.came.replace(true) {
            self.first.notify_one();
        }
    }

    /// Keeps the timer until none has come for an interval, and then sleeps until one does.
    pub(super) async fn run(&self) -> ! {
        loop {
            self.first.notified().await;
            while self.came.replace(false) {
                tokio::time::sleep(INTERVAL).await;
            }
        }
    }
}
