//! The programs that parse what sessions and the network send, as users without rights: guard-proxy and guard-resolver.
//!
//! `life.rs` has each run while something in force needs it, as a child (`process.rs`, `program.rs`) or from a service manager
//! (`socket.rs`). What is said to it is in `proxy` and `resolver`.

pub mod life;
pub mod process;
pub mod program;
pub mod socket;

use std::{future::Future, rc::Rc};

use anyhow::Result;
use guard_sys::packets::Packets;
use tokio::sync::Notify;

use crate::{shared::Shared, state::State};

/// One of them.
pub trait Worker {
    /// The name of its program, of its unit, and of its user on a machine where guard was installed.
    const NAME: &'static str;
    /// That it is gone, and what that means.
    const GONE: &'static str;

    /// Whether anything in force needs it.
    fn is_needed(state: &State) -> bool;
    /// Notified when there is something to say to it, or when it may be needed or not needed any more.
    fn stirs(state: &State) -> Rc<Notify>;
    /// The user to run it as, if the settings say so.
    fn user(state: &State) -> Option<String>;
    /// Records that none runs, and why.
    fn down(state: &mut State, problem: Option<String>);
    /// Serves it until it is not needed any more.
    fn converse(shared: &Shared, packets: &Packets) -> impl Future<Output = Result<()>>;
}
