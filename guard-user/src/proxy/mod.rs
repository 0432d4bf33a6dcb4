//! The HTTP half: connections to `read-only` destinations are turned here.

pub mod judge;
pub mod sieve;
pub mod wire;
