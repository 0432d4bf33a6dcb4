//! The job that this process is a part of, as the shell that started it sees that.

use guard_sys::pidfd::parent_of;
use guard_sys::process::{group_of, session_of};
use rustix::process::{Pid, getpid};

/// Whether somebody would have this process go on if ^Z stopped it: a parent of its process group, in the same session, as a
/// shell with job control is. The kernel calls a group without one orphaned, and no key stops that (setpgid(2)).
pub(super) fn can_be_resumed() -> bool {
    let mut pid = getpid();
    let (Ok(session), Ok(group)) = (session_of(pid), group_of(pid)) else {
        return false;
    };
    while let Some(parent) = parent(pid) {
        if group_of(parent).ok() != Some(group) {
            return session_of(parent).ok() == Some(session);
        }
        // What started this process, such as sudo(8), may be a part of the job itself.
        pid = parent;
    }
    false
}

fn parent(of: Pid) -> Option<Pid> {
    let parent = parent_of(of.as_raw_nonzero().get().cast_unsigned()).ok()?;
    Pid::from_raw(parent.try_into().ok()?)
}
