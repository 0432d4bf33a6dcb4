//! Scheduling.

use std::io;

use libc::c_int;

use super::check;

/// Gives the calling thread the lowest real-time priority, which is above all ordinary ones.
pub(crate) fn real_time() -> io::Result<()> {
    schedule(libc::SCHED_FIFO, 1)
}

/// Has the calling thread run only where no other wants to.
pub(crate) fn idle() -> io::Result<()> {
    schedule(libc::SCHED_IDLE, 0)
}

fn schedule(policy: c_int, sched_priority: c_int) -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority };
    // SAFETY: 0 is the calling thread, and the kernel reads the parameters.
    check(unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) }).map(drop)
}
