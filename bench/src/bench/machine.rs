//! What it was measured on, and how busy that was.

use std::fs;
use std::thread;

use serde_json::{Value, json};

/// The machine, and its load average of a minute when it began and when it was over.
pub(super) struct Machine {
    kernel: String,
    cpus: usize,
    before: String,
    after: String,
    rounds: usize,
}

impl Machine {
    /// Before anything is measured.
    pub(super) fn before(rounds: usize) -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Self {
            kernel: kernel.trim().to_owned(),
            cpus: thread::available_parallelism().map_or(0, usize::from),
            before: load(),
            after: String::new(),
            rounds,
        }
    }

    /// When it is over.
    pub(super) fn after(&mut self) {
        self.after = load();
    }

    pub(super) fn text(&self) -> String {
        format!(
            "Linux {}, {} CPUs, load average {} before and {} after; {} rounds, medians; ratio: median of \
             the rounds' ratios, and the middle half of them",
            self.kernel, self.cpus, self.before, self.after, self.rounds
        )
    }

    pub(super) fn as_json(&self) -> Value {
        json!({
            "kernel": self.kernel,
            "cpus": self.cpus,
            "load_before": self.before,
            "load_after": self.after,
            "rounds": self.rounds,
        })
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').next().unwrap_or("unknown").to_owned()
}
