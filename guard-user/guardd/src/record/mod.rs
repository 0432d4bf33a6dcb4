//! What is written down: the audit log, the journal, metrics, and the files beside the kernel's state.

pub mod audit;
pub mod journal;
pub mod kernel_log;
pub mod metrics;
pub mod shelf;
pub mod trail;
