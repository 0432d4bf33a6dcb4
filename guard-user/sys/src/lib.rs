//! What the kernel offers and the standard library does not.
//!
//! The only room with `unsafe`, or that calls libc. Whatever rustix wraps is called through rustix; each
//! `unsafe` block here stands for a call that it lacks.

pub mod abi;
pub mod accounts;
pub mod arrival;
pub mod attempt;
pub mod bounded;
pub mod bpf;
pub mod btf;
mod call;
pub mod cgroup2;
pub mod clock;
pub mod errno;
pub mod host;
pub mod memory;
pub mod mounts;
pub mod netns;
pub mod notify;
pub mod open_sockets;
pub mod packets;
pub mod passed;
pub mod pidfd;
pub mod process;
pub mod readiness;
pub mod release;
pub mod scopes;
pub mod service;
pub mod signal;
pub mod sock_destroy;
mod sock_diag;
pub mod sock_owner;
pub mod tcp;
pub mod tcp_listeners;
pub mod threads;
pub mod unix_diag;
pub mod user_namespace;
#[cfg(test)]
mod variadic;
pub mod writer;
