//! Services as sessions, on a machine with systemd that is thrown away afterwards.

mod begins;
mod lifecycle;
pub(crate) mod machine;
pub(crate) mod names;
mod policy;
mod questions;
mod runner;
mod settings;
mod user;
