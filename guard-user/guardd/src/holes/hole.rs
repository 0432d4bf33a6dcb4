//! A hole: what a person has opened to a session for a while, whatever it lets through.

use guard_common::{BootTime, HoleEntry, HoleId, SessionId};
use guard_datapath::LiveHole;
use guard_proto as proto;
use guard_sys::clock::Clocks;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    names::{QUESTIONS, Reaches},
    requests::RequestScope,
};
use crate::control::ids;

/// Who opened a hole, when, and why. Kept in a file, which outlives guardd.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct HoleOrigin {
    /// For which session.
    pub(crate) session: u32,
    /// The session's user.
    pub(crate) owner: u32,
    /// The name of the user who opened it.
    pub(crate) opened_by: String,
    /// Why.
    pub(crate) reason: Option<String>,
    /// When.
    pub(crate) opened_at: Timestamp,
    /// For how many bytes; none: any number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) bytes: Option<u64>,
}

/// A hole that has not ended.
#[derive(Clone, Debug)]
pub(crate) struct Hole {
    /// For which session.
    pub(crate) session: SessionId,
    /// When it ends.
    pub(crate) expires: BootTime,
    /// Who opened it; none if that file is gone.
    pub(crate) about: Option<HoleOrigin>,
    /// What it lets through.
    pub(crate) scope: Scope,
}

/// What a hole lets through.
#[derive(Clone, Debug)]
pub(crate) enum Scope {
    /// Connections. The kernel half has the addresses and ports, judges by them, and ends the hole by its own clock.
    Connections(Connections),
    /// Questions for a name, or for all names below one (`*.zone.example`). guardd judges them.
    Questions(String),
    /// HTTP requests or SQL statements. guardd judges them.
    Requests(Box<RequestScope>),
}

/// What guardd keeps about a hole for connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connections {
    /// Whether it is for reads alone.
    pub(crate) read_only: bool,
    /// Whether the bytes sent through it are counted, so that it may end early.
    pub(crate) counts_bytes: bool,
    /// The name that it is for, whatever addresses that has.
    pub(crate) name: Option<HoleName>,
    /// What it covers in the kernel, as far as guardd has read that: the kernel's list has it no more when it has ended.
    pub(crate) covered: Vec<HoleEntry>,
}

/// The name that a hole for connections is for.
#[derive(Clone, Debug)]
pub(crate) struct HoleName {
    /// The name.
    pub(crate) name: String,
    /// What is reached there.
    pub(crate) reaches: Reaches,
}

impl Hole {
    /// One for connections, as the kernel has it.
    #[must_use]
    pub(crate) fn of_kernel(live: &LiveHole, about: Option<HoleOrigin>) -> Self {
        let kind = live.entry.kind;
        Self {
            session: live.session,
            expires: live.entry.expires,
            about,
            scope: Scope::Connections(Connections {
                read_only: kind.reads(),
                counts_bytes: kind.counts_bytes(),
                name: None,
                covered: vec![live.entry],
            }),
        }
    }

    /// The connections that it is for, if it is.
    #[must_use]
    pub(crate) const fn connections(&self) -> Option<&Connections> {
        match &self.scope {
            Scope::Connections(connections) => Some(connections),
            Scope::Questions(_) | Scope::Requests(_) => None,
        }
    }

    /// As `guard holes` shows it; none of one for connections: of that the kernel knows more.
    #[must_use]
    pub(crate) fn shown(&self, id: HoleId, clocks: &Clocks) -> Option<proto::Hole> {
        let about = self.about.as_ref();
        let (destination, ports, bytes_left, http) = match &self.scope {
            Scope::Connections(_) => return None,
            Scope::Questions(pattern) => (pattern.clone(), QUESTIONS.to_owned(), None, None),
            Scope::Requests(requests) => (
                requests.destination(),
                format!("tcp/{}", requests.port),
                requests.bytes,
                Some(requests.shown()),
            ),
        };
        Some(proto::Hole {
            id: ids::hole(id),
            session: ids::session(self.session),
            destination,
            ports: Some(ports),
            opened_by: about.map(|about| about.opened_by.clone()),
            reason: about.and_then(|about| about.reason.clone()),
            opened_at: about.map(|about| about.opened_at),
            expires_at: clocks.calendar(self.expires),
            connections_left: None,
            bytes_left,
            read_only: false,
            http,
            addresses: Vec::new(),
            shut_by: None,
        })
    }
}
