//! What the audit trail is made of, and what can be read out of it. Pure, but for reading files.

pub mod chain;
pub mod decisions;
pub mod files;
pub mod replay;
pub mod suggest;
#[cfg(test)]
mod tests;
pub mod verify;

pub use chain::{Digest, Head};
