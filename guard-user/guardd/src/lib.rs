//! guardd: sessions, policies, requests, holes, the control socket and the audit log.
//!
//! `service.rs` runs one thread with a task for each source of work: the kernel half's events (`requests/events.rs`), inotify, the
//! control socket (`control/server.rs`), the clock (`State::tick`), host names, and the workers (`workers/life.rs`). A task
//! borrows the `state::State` out of `shared::Shared` for a moment. What an operation changed is a `changes::Change`,
//! and `State::apply` does what follows.

pub mod args;
mod changes;
pub mod config;
mod control;
mod decisions;
mod doctor;
mod fleet;
mod flows;
mod holds;
mod holes;
mod listeners;
mod machine;
mod policies;
mod process;
mod proxy;
mod quota;
pub mod record;
mod requests;
mod resolver;
pub mod service;
mod sessions;
mod shared;
mod signed_answers;
mod start;
mod state;
mod tick;
mod times;
mod unix;
mod watch;
mod workers;
