//! Services as sessions, on a machine with systemd that is thrown away afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod begins;
mod lifecycle;
mod machine;
mod policy;
mod questions;
mod runner;
mod settings;
mod user;
