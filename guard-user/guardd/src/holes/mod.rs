//! Holes: what a person has opened to a session for a while (`hole.rs`). One is for connections, for questions for names, or for
//! HTTP requests and SQL statements; `known.rs` owns all of them.
//!
//! One for connections is checked (`checked.rs`) and opened (`opening.rs`, `widening.rs`) in the kernel, which judges by it and ends
//! it by its own clock. guardd judges the others (`names.rs`, `requests.rs`); answers to requests open them
//! (`resolver/approve.rs`, `proxy/approve.rs`). A person closes any (`closing.rs`), `ending.rs` tidies up after each,
//! and `listed.rs` shows what is open, and through which of it nothing passes any more.

pub(crate) mod checked;
pub(crate) mod closing;
pub(crate) mod covers;
pub(crate) mod ending;
pub(crate) mod hole;
pub(crate) mod known;
mod listed;
pub(crate) mod names;
pub(crate) mod opening;
pub(crate) mod requests;
mod wide;
pub(crate) mod widening;
