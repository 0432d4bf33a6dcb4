//! Finds what looks like production and is in reach of a command that is started here: by the files and the environment that it would
//! read itself.
//!
//! Nothing here connects, resolves, runs, or writes. No secret is in what is returned: readers drop passwords, keys and tokens where
//! they parse, and [`Clue`] has no field for one.

mod bounds;
mod discovery;
mod dsn;
mod host;
mod label;
mod named;
mod network;
mod open;
mod readers;
mod routes;
mod score;
mod service;
mod tokens;
mod walk;
mod watched;

pub use bounds::{Bounds, LINK, OUT_OF_TIME, PassedOver};
pub use discovery::{Discovery, ENVIRONMENT, Finding, Inputs, PLAIN, discover};
pub use host::Host;
pub use label::Label;
pub use readers::{MORE, is_platform, proxies};
pub use routes::{Changes, ROUTES, Routes, Tunnel};
pub use score::{Clue, Ground, Judged, KeyAlone, Sighting, judge};
pub use service::{Proposal, Service, Transport, propose};
pub use tokens::{Stage, StageWords, said};
pub use walk::DIRS;
pub use watched::{Linked, home_dirs, is_read, linked};
