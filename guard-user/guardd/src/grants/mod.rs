//! Holes: checked (`grant.rs`), opened (`opening.rs`), listed and closed by a person (`closing.rs`), and what the kernel has
//! no room for about them (`holes.rs`). The kernel ends a hole by its own clock; `ending.rs` tidies up after it.
//! Permits, the holes for HTTP requests and SQL statements, are in `proxy/permits.rs`.

pub mod closing;
pub mod ending;
pub mod grant;
pub mod holes;
pub mod names;
pub mod opening;
pub mod widening;
