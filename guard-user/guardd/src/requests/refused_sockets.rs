//! Sockets that are refused for how they were connected, whatever the policies say of where they go.

use guard_common::{Cause, Event, SessionId, Verdict};
use guard_proto::Stopped;
use guard_sys::clock::Clocks;

use super::{RequestKey, Requests, refusals::key};
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
const fn cause(event: &Event) -> Option<&'static str> {
    match Cause::from_u8(event.cause) {
        Cause::Policies | Cause::NothingSent | Cause::OwnProxy => None,
        Cause::ConnectedAgain => {
            Some("the socket was connected again before what it was connected to was judged")
        }
        Cause::PastResolver => Some(
            "the socket was connected before names were judged there, so its questions go past guard's resolver",
        ),
        Cause::Busy => {
            Some("another thread was connecting the same socket, or the kernel was short of memory")
        }
    }
}

impl Requests {
    /// Notes a socket that is refused for how it was connected, and says why; none where it is about something else.
    pub(super) fn note_refused_socket(&mut self, event: &Event) -> Option<String> {
        let why = cause(event)?;
        let to = key(event);
        let socket = SocketRefusals { to, why };
        self.refused_sockets
            .note(event.session, socket, (), event.at);
        Some(format!("{why}: open a new socket"))
    }

    /// Returns true if sockets to that destination were refused lately.
    pub(crate) fn has_refused_socket(&self, to: &RequestKey) -> bool {
        self.refused_sockets
            .of(to.session)
            .any(|one| one.what.to == *to)
    }

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

#[cfg(test)]
mod tests {
    use guard_common::BootTime;

    use super::*;

    #[test]
    fn a_socket_that_was_connected_again_is_counted_and_told_to_be_opened_anew() {
        let mut requests = Requests::without_files(10);
        let caused = |cause: Cause, second: u64| Event {
            at: BootTime(second * 1_000_000_000),
            session: SessionId(1),
            port: 53,
            cause: cause as u8,
            ..Event::default()
        };
        let by_policy = caused(Cause::Policies, 1);
        assert_eq!(requests.note_refused_socket(&by_policy), None);
        for (cause, second, said) in [
            (Cause::ConnectedAgain, 2, "connected again"),
            (Cause::ConnectedAgain, 3, "connected again"),
            (Cause::Busy, 4, "another thread"),
        ] {
            let why = requests.note_refused_socket(&caused(cause, second));
            let why = why.unwrap_or_default();
            assert!(why.contains(said), "{why}");
            assert!(why.ends_with("open a new socket"), "{why}");
        }
        let clocks = Clocks::read();
        let stopped = requests.stopped_sockets(SessionId(1), &clocks);
        let mut counts: Vec<_> = stopped.map(|one| one.count).collect();
        counts.sort_unstable();
        assert_eq!(counts, [1, 2]);
    }
}
