//! guardd's own use of memory, CPU and descriptors, by `/proc`.

use std::{fs, io};

/// What this process uses.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OwnUse {
    /// Memory in use.
    pub(super) resident_bytes: u64,
    /// Time on a CPU.
    pub(super) cpu_seconds: f64,
    /// Open descriptors.
    pub(super) open_fds: u64,
}

impl OwnUse {
    /// The current values. One that cannot be read is 0.
    pub(super) fn look() -> Self {
        Self {
            resident_bytes: resident().unwrap_or_default(),
            cpu_seconds: cpu().unwrap_or_default(),
            open_fds: fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64),
        }
    }
}

/// The second field of proc_pid_statm(5), in pages.
fn resident() -> io::Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse().ok());
    Ok(pages.unwrap_or(0) * rustix::param::page_size() as u64)
}

/// utime and stime of proc_pid_stat(5), the 14th and 15th field. The second ends with the last bracket.
fn cpu() -> io::Result<f64> {
    let text = fs::read_to_string("/proc/self/stat")?;
    let after = text.rsplit(')').next().unwrap_or_default();
    let fields = after.split_whitespace().skip(11).take(2);
    let ticks: u64 = fields.filter_map(|field| field.parse::<u64>().ok()).sum();
    Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_something() {
        let process = OwnUse::look();
        assert!(process.resident_bytes > 100_000, "{process:?}");
        assert!(process.open_fds >= 3, "{process:?}");
        assert!(process.cpu_seconds < 10_000.0, "{process:?}");
    }
}
