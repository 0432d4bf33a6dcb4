//! How long a CPU was kept from what is most urgent on it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::sys;

/// How often each looks. What is shorter is not seen.
const PERIOD: Duration = Duration::from_micros(200);

/// A thread on each CPU, of a priority above all ordinary ones, that sleeps a moment at a time and notes how
/// much too late it wakes: the kernel did not let go of the CPU for so long.
#[derive(Debug)]
pub struct Watch {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Result<Duration>>>,
}

impl Watch {
    /// Starts them, on every CPU there is.
    ///
    /// # Errors
    ///
    /// That the number of CPUs is unknown.
    pub fn start() -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let cpus = thread::available_parallelism()?.get();
        let threads = (0..cpus).map(|cpu| {
            let over = Arc::clone(&over);
            thread::spawn(move || watch(cpu, &over))
        });
        Ok(Self {
            threads: threads.collect(),
            over,
        })
    }

    /// Ends them. The longest delay on any CPU.
    ///
    /// # Errors
    ///
    /// That a thread could not get its CPU or its priority.
    pub fn stop(self) -> Result<Duration> {
        self.over.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        for thread in self.threads {
            let late = thread
                .join()
                .map_err(|_| anyhow!("a watching thread panicked"))??;
            longest = longest.max(late);
        }
        Ok(longest)
    }
}

fn watch(cpu: usize, over: &AtomicBool) -> Result<Duration> {
    let mut cpus = CpuSet::new();
    cpus.set(cpu);
    sched_setaffinity(None, &cpus).with_context(|| format!("cannot run on CPU {cpu}"))?;
    sys::sched::real_time().context("cannot get a real-time priority")?;
    let mut longest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        let asleep = Instant::now();
        thread::sleep(PERIOD);
        longest = longest.max(asleep.elapsed().saturating_sub(PERIOD));
    }
    Ok(longest)
}
