//! guardd: sessions, policies, requests, holes, the control socket and the audit log.
//!
//! `service.rs` runs one thread with a task for each source of work: the kernel half's events (`requests/events.rs`), inotify, the
//! control socket (`control/server.rs`), the clock (`State::tick`), host names, and the workers (`workers/life.rs`). A task
//! borrows the [`state::State`] out of [`shared::Shared`] for a moment. What an operation changed is a [`changes::Change`],
//! and `State::apply` does what follows.

pub mod answers;
pub mod args;
pub mod changes;
pub mod config;
pub mod control;
pub mod decisions;
pub mod doctor;
pub mod fleet;
pub mod flows;
pub mod holds;
pub mod holes;
pub mod machine;
pub mod policies;
pub mod process;
pub mod proxy;
pub mod record;
pub mod relays;
pub mod requests;
pub mod resolver;
pub mod service;
pub mod sessions;
pub mod shared;
mod start;
pub mod state;
mod tick;
mod times;
pub mod unix;
pub mod watch;
pub mod workers;
