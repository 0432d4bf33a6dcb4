//! What the version before has left.

use std::path::{Path, PathBuf};

/// Its kernel half.
pub(crate) const OBJECT: &str = "guard-ebpf.o";

/// A file of it, which was kept when it was released.
pub(crate) fn left(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.join("fixtures/0.1.0").join(name)
}
