//! What messages and rows mean, for `guard explain-error` and `guard doctor --explain`. The tables of docs/reference/errors.md and
//! doctor.md are made from the same.

pub mod errors;
pub mod rows;
