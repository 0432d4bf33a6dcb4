//! The user half of guard: one library under the two thin binaries `guard` and `guardd`.

pub mod cli;
pub mod daemon;
