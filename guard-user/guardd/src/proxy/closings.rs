//! The connections that the proxy closed for what came first on them, and the requests that it refused without asking.

use guard_common::Address;

use crate::sessions::stops::Stops;

/// What the proxy closed of each session.
pub(crate) type Closings = Stops<16, Closing>;

/// Connections to one destination that were closed for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Closing {
    /// Where to.
    pub(crate) to: Address,
    /// The TCP port.
    pub(crate) port: u16,
    /// Why.
    pub(crate) why: String,
}
