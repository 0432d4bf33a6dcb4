//! The lab: a production network of one's own, a guardd of one's own, and ways to try to get past it.
//!
//! Everything carries the [`Tag`] of its run and is taken down on drop, and by a helper process also
//! where the run is killed; so runs live side by side. It wants root, and a kernel that [`fit`] accepts.
//!
//! ```no_run
//! # fn main() -> anyhow::Result<()> {
//! use guard_lab::{AGENT, Attempt, Daemon, Network, Production};
//!
//! let network = Network::new()?;
//! let production = Production::start(&network)?;
//! let daemon = Daemon::in_network(&network).policy("ask", "version = 1\ndefault = \"confirm\"\n").start()?;
//!
//! let attempt = Attempt::tcp("192.0.2.10", 80);
//! assert!(attempt.outside(network.dev(), AGENT)?.ok);
//! assert!(!attempt.under(&daemon, "ask")?.ok);
//! assert_eq!(production.reached_at("192.0.2.10", 80)?.len(), 1);
//! # Ok(())
//! # }
//! ```

#![deny(unsafe_code)]

mod attempt;
pub mod bench;
pub mod bins;
mod cgroup;
mod company;
mod daemon;
mod disk;
pub mod exec;
mod extended;
mod fit;
mod guard;
pub mod hand;
mod hub;
pub mod kernel;
mod line;
pub mod mounts;
mod nats;
pub mod network;
pub mod postgres;
pub mod probe;
mod production;
pub mod reap;
mod running;
mod scene;
pub mod server;
pub mod services;
mod shell;
mod ssh;
pub mod steps;
mod sys;
mod tag;
mod tested;
mod tunnel;
mod unowned;
mod wait;
mod watcher;

pub use attempt::{Attempt, Report};
pub use cgroup::Cgroup;
pub use company::{Company, self_signed};
pub use daemon::{Daemon, DaemonBuilder};
pub use disk::SmallDisk;
pub use extended::Extended;
pub use fit::fit;
pub use guard::{Guard, Output};
pub use hub::Hub;
pub use line::Line;
pub use nats::Nats;
pub use network::{DEV_DEVICE, NEVER, Network, OPEN, Side, V4, V6};
pub use production::{Production, Reached};
pub use running::Running;
pub use scene::{ALLOWS, ALLOWS_NAMED, ASKS, CONFIRMS, Scene};
pub use shell::Shell;
pub use ssh::SshKey;
pub use steps::Stepped;
pub use tag::Tag;
pub use tested::{Failed, Json, Tested, is_failing, joined};
pub use tunnel::Tunnel;
pub use unowned::Unowned;
pub use wait::{PATIENCE, SAMPLED, SLOWNESS, eventually, is_sampled, is_slow, lives, patience};
pub use watcher::Watcher;

/// The ordinary user that plays the agent.
pub const AGENT: u32 = 61234;
/// Another ordinary user, who owns none of the agent's sessions.
pub const STRANGER: u32 = 61235;
