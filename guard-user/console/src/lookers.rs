//! Who looks at pages, and for how long that counts.

use std::{cell::Cell, rc::Rc, time::Duration};

use tokio::{sync::Notify, time::timeout};

/// How long somebody counts after their last page has gone: one that is only loaded again is back sooner.
const LINGER: Duration = Duration::from_secs(3);

/// How many look.
#[derive(Debug, Default)]
pub(crate) struct Lookers {
    count: Cell<usize>,
    changed: Notify,
}

impl Lookers {
    /// How many look.
    pub(crate) fn count(&self) -> usize {
        self.count.get()
    }

    /// Somebody looks, until this is dropped.
    pub(crate) fn look(self: &Rc<Self>) -> Looker {
        self.count.set(self.count.get() + 1);
        self.changed.notify_one();
        Looker(Rc::clone(self))
    }

    /// Until somebody looks.
    pub(crate) async fn somebody(&self) {
        while self.count.get() == 0 {
            self.changed.notified().await;
        }
    }

    /// Until nobody has looked for a while.
    pub(crate) async fn nobody(&self) {
        loop {
            let is_left = self.count.get() == 0;
            match timeout(LINGER, self.changed.notified()).await {
                Err(_) if is_left && self.count.get() == 0 => return,
                _ => {}
            }
        }
    }
}

/// Somebody who looks.
#[derive(Debug)]
pub(crate) struct Looker(Rc<Lookers>);

impl Drop for Looker {
    fn drop(&mut self) {
        self.0.count.set(self.0.count.get() - 1);
        self.0.changed.notify_one();
    }
}
