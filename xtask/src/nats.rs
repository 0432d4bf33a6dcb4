//! A server of NATS, for tests and measurements of fleets.

use std::path::PathBuf;

use anyhow::Result;

use crate::install;

/// Sees to it that one is here, and gives the directory into which it is unpacked: one that is installed would start.
///
/// # Errors
///
/// That it could not be had.
pub fn obtain(why: &str) -> Result<PathBuf> {
    install::obtain_tree("nats", &["nats-server"], why)
}
