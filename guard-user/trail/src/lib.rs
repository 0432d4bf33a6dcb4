//! The format of the audit log, and what can be read out of it. Pure, but for reading files.

pub mod chain;
pub mod decisions;
pub mod files;
pub mod suggest;
#[cfg(test)]
mod tests;
pub mod trials;
pub mod verify;

pub use chain::{ChainHead, Digest};
