//! Launching for real: statuses, identity, containment, signals and the terminal, each with processes of
//! its own.
//!
//! Needs root, to make a cgroup and to become somebody else.
pub(crate) mod bench;
mod containment;
mod identity;
mod keyring;
mod others;
mod pty;
mod screen;
mod signals;
mod status;
mod system_calls;
mod terminal;
