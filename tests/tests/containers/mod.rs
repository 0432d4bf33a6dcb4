//! Containers of Podman and Docker as sessions, on a machine with both that is thrown away afterwards.

mod engine;
mod life;
mod names;
mod placed;
mod ways_out;

/// The machine is the one of services.
use crate::services::machine;
