//! Whether disks have room before anything begins: what fails for want of it fails in many ways, and few of them say so.

use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use rustix::fs::statvfs;

use crate::cache;
use crate::shell::target;

/// What has to be free, in MiB: below `target` where nothing is compiled there, and where something is;
const FOR_TARGET: u64 = 6 * 1024;
const FOR_MORE_OF_TARGET: u64 = 1024;
/// in the cache where it has no tools, and where it has some.
const FOR_TOOLS: u64 = 3 * 1024;
const FOR_MORE_TOOLS: u64 = 256;

/// Whether what tests are built from and with has room.
///
/// # Errors
///
/// Which directory has too little, how much is wanted, and where else it can be.
pub(crate) fn for_build() -> Result<()> {
    let target = target();
    std::fs::create_dir_all(&target)
        .with_context(|| format!("cannot make {}", target.display()))?;
    let is_built = target.join("debug/deps").is_dir();
    ensure_free(
        &target,
        if is_built {
            FOR_MORE_OF_TARGET
        } else {
            FOR_TARGET
        },
        "all is compiled there",
        "put the clone on a disk with room",
    )?;
    let cache = cache::dir()?;
    let has_tools = cache.join("tools/bin").is_dir();
    ensure_free(
        &cache,
        if has_tools { FOR_MORE_TOOLS } else { FOR_TOOLS },
        "tools are built there",
        "set GUARD_CACHE to a directory with room",
    )
}

/// Whether a directory's disk has `wanted` MiB, for `why`; `or` is what else can be done than to remove something there.
///
/// # Errors
///
/// That it has less.
pub(crate) fn ensure_free(dir: &Path, wanted: u64, why: &str, or: &str) -> Result<()> {
    let about = statvfs(dir).with_context(|| format!("cannot look at {}", dir.display()))?;
    let free = (about.f_bavail * about.f_frsize) >> 20;
    ensure!(
        free >= wanted,
        "{} has {free} MiB free, and {wanted} MiB are wanted ({why}): remove something there, or {or}",
        dir.display()
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_of_before_anything_begins() {
        let dir = std::env::temp_dir();
        let told =
            |wanted| ensure_free(&dir, wanted, "why", "move").map_err(|error| error.to_string());
        assert_eq!(told(0), Ok(()));
        let problem = told(u64::MAX).unwrap_err();
        assert!(
            problem.ends_with("remove something there, or move"),
            "{problem}"
        );
    }
}
