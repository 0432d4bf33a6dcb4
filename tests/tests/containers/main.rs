//! Containers of Podman and Docker as sessions, on a machine with both that is thrown away afterwards.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod engine;
mod life;
// The machine is the one of services, and its helpers are more than are needed here.
#[allow(dead_code)]
#[path = "../services/machine.rs"]
mod machine;
mod names;
mod placed;
mod ways_out;
