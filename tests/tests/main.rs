//! The privileged tests of guard: one program, and a module for each suite.
//!
//! They need root and a kernel that the lab finds fit. `cargo xtask test` runs them.

#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test that cannot go on says so by panicking"
)]

mod half;
mod together;

mod agents;
mod assign;
mod bad_input;
mod clients;
mod completions;
mod console;
mod containers;
mod contract;
mod control;
mod crashes;
mod datagrams;
mod doctor;
mod documents;
mod ends;
mod enforcement;
mod escapes;
mod events;
mod extensions;
mod fleet;
mod flows;
mod holes;
mod https;
mod inbound;
mod invariants;
mod lab;
mod launch;
mod legacy;
mod lifecycle;
mod listeners;
mod metrics;
mod mistakes;
mod names;
mod nested;
mod observed;
mod packages;
mod proxy;
mod read_only;
mod reboot;
mod redirected;
mod reload;
mod report;
mod resolver;
mod root;
mod rotation;
mod services;
mod shown;
mod signed;
mod sockets;
mod systemd;
mod tools;
mod trail;
mod trust;
mod upgrade;
mod waiting;
mod watch;
