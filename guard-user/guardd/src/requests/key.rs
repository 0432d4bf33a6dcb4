//! What a request is about.

use std::rc::Rc;

use guard_common::{Address, AttemptKey, Protocol, SessionId};
use guard_policy::{PortSpec, Prefix, protocol_name};
use guard_proto::{self as proto, Endpoint};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RequestKey {
    /// The session of the attempt.
    pub(crate) session: SessionId,
    /// Where to.
    pub(crate) destination: Address,
    /// The protocol.
    pub(crate) protocol: Protocol,
    /// The port in host byte order, 0 where the protocol has none.
    pub(crate) port: u16,
    /// The HTTP request or SQL statement that was stopped; none where the connection was.
    pub(crate) http: Option<Rc<HttpRequestKey>>,
    /// The name that was asked for, or a pattern of names; none where it is about a connection. The destination stands for it.
    pub(crate) question: Option<Rc<str>>,
}

/// An HTTP request or SQL statement that an approver is asked about. Two with the same digest are equal, whatever else
/// differs: the number of rows that a statement would change differs from one time to the next.
#[derive(Clone, Debug)]
pub(crate) struct HttpRequestKey {
    /// The request.
    pub(crate) request: proto::HttpRequest,
    /// A number of its own, if it is held and has no digest: requests that look like this may differ in the rest of their
    /// bodies.
    pub(crate) alone: Option<u64>,
    /// Whether method and path say all: no header and nothing in the query names another object or action.
    pub(crate) plain: bool,
    /// Whether it is asked about together with those that follow it: no client is held for the answer, and it is a definition, of which
    /// a migration has many, or no statement.
    pub(crate) series: bool,
    /// A digest of what is done to what: [`guard_proto::wire::HttpAttempt::matter`].
    pub(crate) matter: Option<String>,
}

impl HttpRequestKey {
    fn known_by(&self) -> (Option<u64>, Result<&str, (&proto::HttpRequest, bool)>) {
        let by = self.request.digest.as_deref();
        (self.alone, by.ok_or((&self.request, self.plain)))
    }
}

impl PartialEq for HttpRequestKey {
    fn eq(&self, other: &Self) -> bool {
        self.known_by() == other.known_by()
    }
}

impl Eq for HttpRequestKey {}

impl std::hash::Hash for HttpRequestKey {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.known_by().hash(state);
    }
}

impl RequestKey {
    /// About connections there.
    #[must_use]
    pub(crate) const fn new(
        session: SessionId,
        to: Address,
        protocol: Protocol,
        port: u16,
    ) -> Self {
        Self {
            session,
            destination: to,
            protocol,
            port,
            http: None,
            question: None,
        }
    }

    /// About an HTTP request or SQL statement there.
    #[must_use]
    pub(crate) fn of_http(
        session: SessionId,
        to: Address,
        port: u16,
        http: Rc<HttpRequestKey>,
    ) -> Self {
        Self {
            http: Some(http),
            ..Self::new(session, to, Protocol::TCP, port)
        }
    }

    /// Whether a burst may hold both: they are about connections and differ only in the address. Each listener is asked about by itself.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.session, one.protocol, one.port, one.http.is_none());
        let is_plain = |one: &Self| one.is_connection() && !one.destination.is_listener();
        of(self) == of(other) && is_plain(self) && is_plain(other)
    }

    /// Whether it is about connections: neither about what is sent through one, nor a question for a name.
    #[must_use]
    pub(crate) fn is_connection(&self) -> bool {
        self.http.is_none() && self.question.is_none()
    }

    /// Whether another one is about the same session and destination.
    #[must_use]
    pub(crate) fn is_there(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.session, one.destination, one.protocol, one.port);
        of(self) == of(other)
    }

    /// Whether that is an attempt to connect there.
    #[must_use]
    pub(crate) fn is_tried_by(&self, attempt: &AttemptKey) -> bool {
        attempt.there() == (self.session, self.destination, self.protocol, self.port)
    }

    /// Whether another one asks for the same to be done to the same there, though some header is another.
    #[must_use]
    pub(crate) fn has_matter_of(&self, other: &Self) -> bool {
        let own = self.matter();
        own.is_some() && own == other.matter() && self.is_there(other)
    }

    fn matter(&self) -> Option<&str> {
        self.http.as_deref().and_then(|http| http.matter.as_deref())
    }

    /// The same for another session.
    #[must_use]
    pub(crate) fn of(&self, session: SessionId) -> Self {
        Self {
            session,
            ..self.clone()
        }
    }

    /// The same about another address.
    #[must_use]
    pub(crate) fn at(&self, destination: Address) -> Self {
        Self {
            destination,
            ..self.clone()
        }
    }

    /// The same about the first and the last address of a prefix: what one hole opens to both, it opens to all.
    pub(super) fn ends(&self, prefix: &Prefix) -> [Self; 2] {
        [prefix.bits(), prefix.last_bits()].map(|bits| self.at(Address::from_u128(bits)))
    }

    /// The same without its own number ([`HttpRequestKey::alone`]): equal to all that look like this.
    #[must_use]
    pub(crate) fn alike(&self) -> Self {
        let http = self.http.as_deref().map(|http| {
            Rc::new(HttpRequestKey {
                alone: None,
                ..http.clone()
            })
        });
        Self {
            http,
            ..self.clone()
        }
    }

    /// The destination as people see it.
    #[must_use]
    pub(crate) fn endpoint(&self, host: Option<String>) -> Endpoint {
        let has_ports = matches!(self.protocol, Protocol::TCP | Protocol::UDP);
        Endpoint {
            address: self.destination.to_ip().to_string(),
            port: has_ports.then_some(self.port),
            protocol: protocol_name(self.protocol),
            host,
        }
    }

    /// The ports of a hole that answers it.
    #[must_use]
    pub(crate) fn ports(&self) -> PortSpec {
        match self.protocol {
            Protocol::TCP | Protocol::UDP => PortSpec::one(self.protocol, self.port),
            other => PortSpec::all(other),
        }
    }
}
