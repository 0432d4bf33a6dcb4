//! systemd's slice around the cgroup root.

use std::{path::Path, process::Command};

use crate::datapath::{DatapathError, default_root};

/// The slice whose cgroup is the root where systemd runs.
const SLICE: &str = "guard.slice";

/// The slice whose cgroup `root` is, if it is one of systemd's.
#[must_use]
pub fn at(root: &Path) -> Option<&'static str> {
    let is_slice = root.ends_with(SLICE) && default_root().is_ok_and(|default| default == root);
    is_slice.then_some(SLICE)
}

/// Has systemd stop the slice whose cgroup `root` is, before what is attached to it goes. Else it would count as
/// started still, and the next unit of the slice would run in it without anything in its way.
///
/// # Errors
///
/// [`DatapathError::SliceStands`] with what systemctl says.
pub fn stop(root: &Path) -> Result<(), DatapathError> {
    let Some(slice) = at(root) else {
        return Ok(());
    };
    if !systemctl(&["--quiet", "is-active", slice])?.0 {
        return Ok(());
    }
    match systemctl(&["stop", slice])? {
        (true, _) => Ok(()),
        (false, said) => Err(stands(&said)),
    }
}

/// Whether it succeeded, and what it said.
fn systemctl(args: &[&str]) -> Result<(bool, String), DatapathError> {
    let done = Command::new("systemctl").args(args).output();
    let done = done.map_err(|error| stands(&error.to_string()))?;
    let said = String::from_utf8_lossy(&done.stderr).trim().to_owned();
    Ok((done.status.success(), said))
}

fn stands(why: &str) -> DatapathError {
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
