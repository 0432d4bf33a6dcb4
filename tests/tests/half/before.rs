//! What the version before has left, in here so that a test program is complete in itself.

use std::fs;
use std::path::PathBuf;

use guard_lab::Daemon;

/// Its kernel half, which was kept when it was released.
const OBJECT: &[u8] = include_bytes!("../../fixtures/0.1.0/guard-ebpf.o");

/// Puts it into a file of the daemon's.
pub(crate) fn object(daemon: &Daemon) -> PathBuf {
    let file = daemon.dir().join("before.o");
    fs::write(&file, OBJECT).unwrap();
    file
}

/// Whether the version before works on this kernel. Before 6.2 it puts no policy in place, and before 6.6 it lacks a
/// program that this version attaches there.
pub(crate) fn works_here() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    let mut next = || parts.next().and_then(Result::ok).unwrap_or(0_u32);
    let works = (next(), next()) >= (6, 6);
    if !works {
        eprintln!("the version before does not work on Linux {release}: nothing to upgrade from");
    }
    works
}
