//! README and docs, as they stand: their blocks of commands are run, and what they show is compared with what comes.
//!
//! What installs things or needs systemd runs in machines that are thrown away.

mod agent;
pub(crate) mod block;
mod job;
mod machine;
mod model;
mod person;
mod recording;
mod typed;
mod what_happened;
