//! What the version before has left, in here so that a test program is complete in itself.

use std::fs;
use std::path::PathBuf;

use guard_lab::Daemon;
pub(crate) use guard_lab::bins::before_works_here as works_here;

/// Its kernel half, which was kept when it was released.
pub(crate) const OBJECT: &[u8] = include_bytes!("../../fixtures/0.1.0/guard-ebpf.o");

/// Puts it into a file of the daemon's.
pub(crate) fn object(daemon: &Daemon) -> PathBuf {
    let file = daemon.dir().join("before.o");
    fs::write(&file, OBJECT).unwrap();
    file
}
