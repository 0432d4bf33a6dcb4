//! What all questions share.

use std::{
    cell::{Cell, RefCell},
    collections::HashSet,
    fmt,
    net::SocketAddr,
    rc::Rc,
    time::Duration,
};

use guard_common::{BootTime, OriginKey, SessionId};

use super::{
    exchange::Ids, link::Link, maps::Maps, paces::Paces, pulse::Pulse, question::Question,
    sessions::Sessions, slots::Slots,
};

/// Questions under way at once, and of one account. Each takes a descriptor, or two.
const MAX_EXCHANGES: usize = 4096;
const MAX_OF_ACCOUNT: usize = 256;
/// Connections at once, and of one account. Each may have a question of 64 KiB half read.
const MAX_CONNECTIONS: usize = 512;
const MAX_CONNECTIONS_OF_ACCOUNT: usize = 64;

/// How long others are waited for, and what is learned is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    /// A server, each time that it is asked.
    pub(super) server: Duration,
    /// A person: programs ask for five seconds, and then the next server.
    pub(super) person: Duration,
    /// Seconds for which an address is known at least, whatever its record says: programs look it up once and connect later.
    pub(super) least: u32,
    /// Seconds more, for what is on its way.
    pub(super) grace: u32,
}

impl Times {
    /// Has addresses known for so many seconds at least.
    pub(super) const fn keep(&mut self, least: u32) {
        (self.least, self.grace) = (least, least / 2);
    }
}

/// The usual ones.
pub(super) const TIMES: Times = Times {
    server: Duration::from_secs(2),
    person: Duration::from_millis(4500),
    least: 60,
    grace: 30,
};

/// What all questions share.
pub(super) struct Common {
    /// The conversation with guardd.
    pub(super) link: Rc<Link>,
    /// The kernel's maps.
    pub(super) maps: Box<dyn Maps>,
    /// What guardd has said.
    pub(super) sessions: Sessions,
    /// Places for questions.
    pub(super) exchanges: Rc<Slots>,
    /// Places for connections.
    pub(super) connections: Rc<Slots>,
    /// When questions by TCP are taken.
    pub(super) paces: Paces,
    /// Keys for encrypting a server's name are taken out of answers.
    pub(super) without_ech: bool,
    /// How long others are waited for, and addresses are known.
    pub(super) times: Times,
    /// Boot time.
    pub(super) now: fn() -> BootTime,
    /// For a datagram of a server: one is read at a time.
    pub(super) buffer: RefCell<Vec<u8>>,
    /// For questions to servers.
    pub(super) ids: Ids,
    pub(super) pulse: Pulse,
    under_way: RefCell<HashSet<Sent>>,
    is_full_told: Cell<bool>,
}

/// By what a datagram is known again that a program sends once more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Sent {
    session: SessionId,
    ends: OriginKey,
    server: SocketAddr,
    id: u16,
    section: Vec<u8>,
}

/// That it is being answered, until it is dropped.
pub(super) struct UnderWay {
    common: Rc<Common>,
    sent: Sent,
}

impl Common {
    /// With nothing under way yet.
    pub(super) fn new(link: Rc<Link>, maps: Box<dyn Maps>, without_ech: bool) -> Self {
        Self {
            link,
            maps,
            sessions: Sessions::default(),
            exchanges: Slots::new(MAX_EXCHANGES, MAX_OF_ACCOUNT),
            connections: Slots::new(MAX_CONNECTIONS, MAX_CONNECTIONS_OF_ACCOUNT),
            paces: Paces::default(),
            without_ech,
            times: TIMES,
            now: guard_sys::clock::now,
            buffer: RefCell::new(vec![0; usize::from(u16::MAX)]),
            ids: Ids::default(),
            pulse: Pulse::default(),
            under_way: RefCell::default(),
            is_full_told: Cell::default(),
        }
    }

    /// Begins to answer a datagram. `None` where the same is being answered already.
    pub(super) fn begin(
        self: &Rc<Self>,
        session: SessionId,
        ends: OriginKey,
        server: SocketAddr,
        question: &Question,
    ) -> Option<UnderWay> {
        let sent = Sent {
            session,
            ends,
            server,
            id: question.head.id,
            section: question.section(),
        };
        self.under_way
            .borrow_mut()
            .insert(sent.clone())
            .then(|| UnderWay {
                common: Rc::clone(self),
                sent,
            })
    }

    /// Says once that the kernel's map does not take more.
    pub(super) fn warn_full(&self, error: &std::io::Error) {
        if !self.is_full_told.replace(true) {
            tracing::warn!("an address cannot be noted, so its name is not answered: {error}");
        }
    }
}

impl fmt::Debug for Common {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Common")
            .field("sessions", &self.sessions)
            .finish_non_exhaustive()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.common.under_way.borrow_mut().remove(&self.sent);
    }
}
