//! systemd's slice around the cgroup root.

use std::{env, path::Path, process::Command};

use guard_datapath::{DatapathError, default_root};

use super::systemd::PATH;

/// The slice whose cgroup is the root where systemd runs.
const SLICE: &str = "guard.slice";

/// The slice whose cgroup `root` is, if it is one of systemd's.
#[must_use]
pub(crate) fn at(root: &Path) -> Option<&'static str> {
    let is_slice = root.ends_with(SLICE) && default_root().is_ok_and(|default| default == root);
    is_slice.then_some(SLICE)
}

/// Where system units are (systemd.unit(5)).
const UNITS: [&str; 5] = [
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];

/// The warning if guardd is a service and the slice of `root` no longer has a unit file: systemd then makes one up that waits
/// for nothing.
#[must_use]
pub(crate) fn without_unit(root: &Path) -> Option<String> {
    env::var_os("NOTIFY_SOCKET")?;
    let slice = at(root)?;
    // A masked one is there: it is a link.
    let is_there = |dir: &&str| Path::new(dir).join(slice).symlink_metadata().is_ok();
    if UNITS.iter().any(is_there) {
        return None;
    }
    Some(format!(
        "the unit {slice} is gone, so units in it start without waiting for guardd; install it again, then run \
         systemctl daemon-reload"
    ))
}

/// Whether systemd counts the slice whose cgroup `root` is as started.
///
/// # Errors
///
/// [`DatapathError::SliceStands`] if systemd cannot be asked.
pub(crate) fn stands(root: &Path) -> Result<bool, DatapathError> {
    at(root).map_or(Ok(false), is_active)
}

/// Has systemd stop the slice of `root` before the hooks are detached. Else it would still count as started, and the next unit
/// of the slice would run in it unguarded.
///
/// # Errors
///
/// [`DatapathError::SliceStands`] with what systemctl says.
pub(crate) fn stop(root: &Path) -> Result<(), DatapathError> {
    tell(root, &["stop"])
}

/// Has systemd start the slice of `root` again, if it still counts as started: its units go on only after a guardd that
/// enforces.
///
/// # Errors
///
/// [`DatapathError::SliceStands`] with what systemctl says.
pub(crate) fn restart(root: &Path) -> Result<(), DatapathError> {
    // guardd is part of the slice, and would wait for its own end.
    tell(root, &["--no-block", "restart"])
}

fn tell(root: &Path, verb: &[&str]) -> Result<(), DatapathError> {
    let Some(slice) = at(root) else {
        return Ok(());
    };
    if !is_active(slice)? {
        return Ok(());
    }
    match systemctl(&[verb, &[slice]].concat())? {
        (true, _) => Ok(()),
        (false, said) => Err(still_there(&said)),
    }
}

fn is_active(slice: &str) -> Result<bool, DatapathError> {
    Ok(systemctl(&["--quiet", "is-active", slice])?.0)
}

/// Whether it succeeded, and what it said.
fn systemctl(args: &[&str]) -> Result<(bool, String), DatapathError> {
    let mut systemctl = Command::new("systemctl");
    let done = systemctl.args(args).env("PATH", PATH).output();
    let done = done.map_err(|error| still_there(&error.to_string()))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Ok((done.status.success(), said))
}

fn still_there(why: &str) -> DatapathError {
    DatapathError::SliceStands { why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_no_slice_of_systemds_is_nothing_to_stop() {
        stop(Path::new("/sys/fs/cgroup/other")).unwrap();
        stop(Path::new("/elsewhere/guard.slice")).unwrap();
    }
}
