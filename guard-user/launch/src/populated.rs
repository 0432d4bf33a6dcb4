//! Whether a session has processes left.

use std::{fs, path::Path};

/// Whether a process may be left in a cgroup. cgroup.events in the kernel's cgroup-v2.rst
pub(super) fn may_be_populated(cgroup: &Path) -> bool {
    match fs::read_to_string(cgroup.join("cgroup.events")) {
        Ok(events) => events.lines().any(|line| line == "populated 1"),
        // guardd removes it when it is empty; if cgroups cannot be seen from here, it is unknown.
        Err(_) => !cgroup.parent().is_some_and(Path::is_dir),
    }
}
