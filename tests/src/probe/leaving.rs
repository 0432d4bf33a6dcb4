//! Ways out of a cgroup.

use std::fs;
use std::path::Path;

use anyhow::Context as _;

use super::{Outcome, Target, say, tcp};
use crate::sys;

/// The same as `tcp`, by a child that is made in the cgroup OTHER; where that fails, by itself.
pub(super) fn clone_into(target: &Target) -> anyhow::Result<Outcome> {
    let cgroup = target.other.as_deref().context("it wants a cgroup")?;
    let dir = fs::File::open(Path::new(cgroup))?;
    let child = sys::clone_into(&dir, || {
        let outcome = tcp::connect(target);
        let ok = outcome.is_ok();
        say(&super::report(&outcome));
        ok
    });
    match child {
        Ok(true) => Ok(Ok("a child's".to_owned())),
        Ok(false) => Ok(Err(super::Failure {
            step: "child",
            error: std::io::ErrorKind::Other.into(),
        })),
        Err(error) => {
            let _ = tcp::connect(target);
            Ok(Err(super::Failure {
                step: "clone3",
                error,
            }))
        }
    }
}
