//! CPUs that do not sleep.

use std::hint;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use anyhow::{Context as _, Result};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::sys;

/// A thread on each CPU that runs whenever no other wants to, so that none of them sleeps. It ends with this value.
#[derive(Debug)]
pub struct Awake {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Awake {
    /// Starts them, on every CPU there is.
    ///
    /// # Errors
    ///
    /// That the number of CPUs is unknown, or a thread could not get its CPU or its priority.
    pub fn start() -> Result<Self> {
        let cpus = thread::available_parallelism()?.get();
        let over = Arc::new(AtomicBool::new(false));
        let (ready, begun) = mpsc::channel();
        let threads = (0..cpus).map(|cpu| {
            let (over, ready) = (Arc::clone(&over), ready.clone());
            thread::spawn(move || {
                // Who started it waits for that.
                let _ = ready.send(settle(cpu));
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            })
        });
        let awake = Self {
            threads: threads.collect(),
            over,
        };
        drop(ready);
        for _ in 0..cpus {
            begun.recv().context("a thread has ended")??;
        }
        Ok(awake)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to say.
            let _ = thread.join();
        }
    }
}

fn settle(cpu: usize) -> Result<()> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("cannot run on CPU {cpu}"))?;
    sys::sched::idle().context("cannot get the lowest priority")
}
