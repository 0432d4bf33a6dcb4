//! A crash between any two steps: guardd is killed behind each system call that changes something outside of it.
//!
//! `guard_lab::steps` tells which those are. To be killed behind any other call is to be killed behind the last one
//! of these. Each test runs an operation again and again, one step further each time, until it comes to its end.
//! After each kill nobody runs: what holds then is what the kernel was left with. Then a guardd starts, and has to
//! get to where one would be that nobody had killed.
//!
//! In an emulated machine it stops at a few of them only.

mod again;
mod first;
mod inventory;
pub(crate) mod scene;
mod working;
