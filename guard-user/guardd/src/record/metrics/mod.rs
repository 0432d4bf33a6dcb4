//! Metrics for Prometheus: off unless the settings say where to listen.
//!
//! The kernel's counters are read at each scrape ([`Snapshot`]); what only guardd sees is counted as it happens ([`Counters`]).

mod counters;
mod crowd;
mod listen;
mod process;
mod serve;
mod snapshot;
mod text;

pub use counters::Counters;
pub(crate) use counters::method;
pub use listen::MetricsListen;
pub(crate) use serve::{serve, unlisten};
pub use snapshot::Snapshot;
pub use text::{MetricsFormat, render};
