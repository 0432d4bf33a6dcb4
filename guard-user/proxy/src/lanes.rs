//! Fair scheduling of tasks by account, which is an outermost session: accounts take turns, and so do the tasks of each. An
//! account with thousands of connections holds up only its own.

use std::{cell::RefCell, collections::HashMap, rc::Rc};

use tokio::{
    sync::Notify,
    task::{LocalSet, spawn_local},
};

/// The lanes of all accounts that have tasks.
#[derive(Clone, Debug, Default)]
pub(super) struct Lanes(Rc<RefCell<HashMap<u32, Lane>>>);

/// The tasks of one account.
#[derive(Debug)]
struct Lane {
    tasks: Rc<LocalSet>,
    count: usize,
    is_over: Rc<Notify>,
}

/// Counts while it exists.
struct Within {
    lanes: Lanes,
    account: u32,
}

impl Lanes {
    /// Runs a task in an account's lane. Tasks that it spawns are in the same lane.
    pub(super) fn spawn(&self, account: u32, work: impl Future<Output = ()> + 'static) {
        let mut lanes = self.0.borrow_mut();
        let lane = lanes.entry(account).or_insert_with(Lane::begin);
        lane.count += 1;
        let within = Within {
            lanes: self.clone(),
            account,
        };
        lane.tasks.spawn_local(async move {
            let _within = within;
            work.await;
        });
    }
}

impl Lane {
    /// A task of the thread's executor: a poll of it polls some of the account's tasks.
    fn begin() -> Self {
        let (tasks, is_over) = (Rc::new(LocalSet::new()), Rc::new(Notify::new()));
        let (running, over) = (Rc::clone(&tasks), Rc::clone(&is_over));
        spawn_local(async move {
            running.run_until(over.notified()).await;
            // Tasks that those have left go on to their end.
            if let Ok(rest) = Rc::try_unwrap(running) {
                rest.await;
            }
        });
        Self {
            tasks,
            count: 0,
            is_over,
        }
    }
}

impl Drop for Within {
    fn drop(&mut self) {
        let mut lanes = self.lanes.0.borrow_mut();
        if let Some(lane) = lanes.get_mut(&self.account) {
            lane.count -= 1;
            if lane.count == 0 {
                lane.is_over.notify_one();
                lanes.remove(&self.account);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MANY: usize = 10_000;

    /// How many tasks of one account are done before one of another.
    async fn before_another(spawn: impl Fn(u32, Box<dyn FnOnce()>)) -> usize {
        let (done, told) = (Rc::new(Cell::new(0)), Rc::new(Notify::new()));
        for _ in 0..MANY {
            let done = Rc::clone(&done);
            spawn(1, Box::new(move || done.set(done.get() + 1)));
        }
        let seen = Rc::new(Cell::new(None));
        let (now, tell, keep) = (Rc::clone(&done), Rc::clone(&told), Rc::clone(&seen));
        spawn(
            2,
            Box::new(move || {
                keep.set(Some(now.get()));
                tell.notify_one();
            }),
        );
        told.notified().await;
        seen.get().unwrap()
    }

    #[tokio::test]
    async fn an_account_with_thousands_of_tasks_holds_up_no_other() {
        let work = async {
            let plain = |_, work: Box<dyn FnOnce()>| drop(spawn_local(async move { work() }));
            assert_eq!(before_another(plain).await, MANY);
            let lanes = Lanes::default();
            let own = |account, work: Box<dyn FnOnce()>| {
                lanes.spawn(account, async move { work() });
            };
            assert!(before_another(own).await < MANY / 10);
        };
        LocalSet::new().run_until(work).await;
    }

    #[tokio::test]
    async fn what_a_task_leaves_behind_goes_on_and_nothing_is_kept() {
        let work = async {
            let lanes = Lanes::default();
            let (first, last) = (Rc::new(Notify::new()), Rc::new(Notify::new()));
            let (goes_on, ends) = (Rc::clone(&first), Rc::clone(&last));
            lanes.spawn(1, async move {
                spawn_local(async move {
                    goes_on.notified().await;
                    ends.notify_one();
                });
            });
            while !lanes.0.borrow().is_empty() {
                tokio::task::yield_now().await;
            }
            first.notify_one();
            last.notified().await;
        };
        LocalSet::new().run_until(work).await;
    }
}
