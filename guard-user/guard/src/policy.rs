//! Policies, without enforcing them: whether a file is valid, and what a policy says of a destination.

pub(crate) mod apply;
mod check;
pub(crate) mod explain;
pub(crate) mod fleet;
pub(crate) mod library;
pub(crate) mod named;

pub(crate) use check::{called_as_another, check, valid};
pub(crate) use explain::explain;
