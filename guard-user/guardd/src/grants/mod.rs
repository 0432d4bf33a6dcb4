//! What a yes gives: holes, how they are checked, opened and closed.

pub mod closing;
pub mod grant;
pub mod holes;
pub mod opening;
