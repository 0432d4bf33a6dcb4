//! The HTTP half: what a `read-only` destination is asked for.

pub mod judge;
