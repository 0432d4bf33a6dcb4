//! Sockets that are refused for how they were connected, whatever the policies say of where they go.

use guard_common::{Cause, Event, SessionId, Verdict};
use guard_proto::Stopped;
use guard_sys::clock::Clocks;

use super::{RequestKey, Requests};
use crate::{
    control::advice,
    sessions::stops::{Stop, Stops},
};

/// The sockets of each session that were refused lately.
pub(crate) type RefusedSockets = Stops<16, SocketRefusals>;

/// Sockets to one destination that were refused for one cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SocketRefusals {
    /// Where they go.
    pub(crate) to: RequestKey,
    /// Why they are refused.
    pub(crate) why: &'static str,
}

/// Why a socket is refused; none where it is for what the policies say.
#[must_use]
pub(crate) const fn cause(event: &Event) -> Option<&'static str> {
    match Cause::from_u8(event.cause) {
        Cause::Policies | Cause::NothingSent | Cause::ManyBudgets | Cause::OwnProxy => None,
        Cause::ConnectedAgain => {
            Some("the socket was connected again before what it was connected to was judged")
        }
        Cause::PastResolver => Some(
            "the socket was connected before names were judged there, so its questions go past guard's resolver",
        ),
    }
}

impl Requests {
    /// The sockets of a session that were refused lately, in words for it.
    pub(crate) fn stopped_sockets(
        &self,
        id: SessionId,
        clocks: &Clocks,
    ) -> impl Iterator<Item = Stopped> {
        let sockets = self.refused_sockets.of(id);
        sockets.map(|one| stopped(one, clocks))
    }
}

fn stopped(one: &Stop<SocketRefusals>, clocks: &Clocks) -> Stopped {
    let destination = one.what.to.endpoint(None);
    let advice = advice::refused_socket(&destination, one.what.why);
    let (at, verdict) = (clocks.calendar(one.last), Verdict::Deny.as_str());
    Stopped {
        count: one.count,
        ..Stopped::new(at, destination, verdict, advice)
    }
}
