//! What `guard` and `guardd` say to each other, and guardd and its own helpers: types of serde, and the codec.
//!
//! Each module carries one thing. Named here as well is what most callers use.

pub mod approvers;
pub mod calls;
pub mod central;
pub mod counters;
pub mod decisions;
pub mod destination;
pub mod doctor;
pub mod explain;
pub mod failure;
pub mod fleet;
pub mod flows;
pub mod holes;
pub mod http;
pub mod inside;
pub mod moment;
pub mod names;
pub mod production;
pub mod record;
pub mod requests;
pub mod sessions;
pub mod sockets;
pub mod status;
pub mod varlink;
pub mod wire;

pub use approvers::ApproverShown;
pub use calls::{Call, HoleTerms, PolicyRef};
pub use counters::Counters;
pub use destination::Endpoint;
pub use doctor::Row;
pub use failure::{ErrorName, Failure};
pub use flows::Flow;
pub use holes::{Hole, HolesReply, HttpHole};
pub use http::HttpRequest;
pub use inside::Stopped;
pub use record::{LogKind, LogRecord};
pub use requests::{Burst, DnsQuestion, Offer, Request, RequestsReply};
pub use sessions::{Applied, Session, SessionsReply, Started};
pub use status::{HookStatus, Presence, Status};
