//! Scheduling.

use std::io;

use super::check;

/// Gives the calling thread the lowest real-time priority, which is above all ordinary ones.
pub(crate) fn real_time() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: 0 is the calling thread, and the kernel reads the parameters.
    check(unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameters) }).map(drop)
}
