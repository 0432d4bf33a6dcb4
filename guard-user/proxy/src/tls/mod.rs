//! TLS on both sides: towards a client as the destination that it asked for, and towards the destination as a client.
//!
//! The destination's handshake comes first. What it has agreed on is what the client can agree on, so that both ends speak the
//! same HTTP; and the destination has proved the client's name before a certificate is signed for it.

mod authority;
mod dial;
mod explain;
mod scope;
mod unarmed;

use std::{
    cell::{Cell, OnceCell, RefCell},
    io,
    net::IpAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use anyhow::Result;
use guard_proto::wire::AuthorityScope;
use http::uri;
use rustls::{
    ServerConfig,
    crypto::ring::default_provider,
    pki_types::ServerName,
    server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCertUsingSni},
    sign::SingleCertAndKey,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use self::{
    authority::Authority,
    dial::{Dialer, Dialled},
};
use super::{client::ConnectionContext, name_cache::RefusedBy, stream::Stream, upstream::Version};

pub(super) use explain::GONE;

/// Content type of the first record of a client (RFC 8446 5.1).
pub(super) const HANDSHAKE: u8 = 22;
/// How long a client's handshake may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// HTTP/2, as RFC 7301 names it.
pub(super) const H2: &[u8] = b"h2";
const HTTP11: &[u8] = b"http/1.1";
const HTTP10: &[u8] = b"http/1.0";
/// `PostgreSQL`'s protocol, as IANA has it.
const POSTGRES: &[u8] = b"postgresql";

/// The protocol within TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// One of the versions of HTTP.
    Http,
    /// `PostgreSQL`'s protocol.
    Postgres,
}

/// The state for handshakes.
pub(super) struct Tls {
    authority: Authority,
    /// The server's configuration, but for the certificate and the protocols.
    server: ServerConfig,
    files: RefCell<Vec<OwnedFd>>,
    dialer: OnceCell<Dialer>,
}

/// The protocols that a client offers within TLS, or a destination has agreed on. None: nothing was offered, which means 1.1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Protocols {
    h2: bool,
    http1: Http1,
    postgres: bool,
}

/// How HTTP/1 is offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Http1 {
    #[default]
    Unsaid,
    /// As 1.1.
    V11,
    /// As 1.0, and perhaps as 1.1: within TLS there is no difference.
    V10,
}

impl Http1 {
    fn names(self) -> &'static [&'static [u8]] {
        match self {
            Self::Unsaid => &[],
            Self::V11 => &[HTTP11],
            Self::V10 => &[HTTP11, HTTP10],
        }
    }
}

impl Protocols {
    /// As RFC 7301 names them.
    fn names(self) -> Vec<Vec<u8>> {
        let h2 = self.h2.then(|| H2.to_vec());
        h2.into_iter()
            .chain(self.http1.names().iter().map(|name| name.to_vec()))
            .chain(self.postgres.then(|| POSTGRES.to_vec()))
            .collect()
    }

    /// The result of an offer. A server that agrees on none speaks HTTP/1, and a client that has offered that may be told so;
    /// `PostgreSQL` servers before 17 agree on none.
    fn agreed(self, stream: &Stream) -> Self {
        let agreed = Self {
            h2: stream.agreed() == Some(H2),
            ..self
        };
        agreed.settled()
    }

    /// One of the offered protocols.
    fn settled(self) -> Self {
        let http1 = if self.h2 { Http1::Unsaid } else { self.http1 };
        Self { http1, ..self }
    }

    /// The HTTP version.
    pub(super) fn version(self) -> Version {
        if self.h2 {
            Version::Http2
        } else {
            Version::Http1
        }
    }
}

impl Tls {
    /// With the key of the authority in one file, and certificates of destinations in others.
    ///
    /// # Errors
    ///
    /// If there is no key.
    pub(super) fn new(key: OwnedFd, files: Vec<OwnedFd>) -> Result<Self> {
        let authority = Authority::open(key)?;
        let mut server = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        // A client that comes again gets the certificate again: another session may not trust it.
        server.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(Self {
            authority,
            server,
            files: RefCell::new(files),
            dialer: OnceCell::new(),
        })
    }

    /// A certificate of the authority for a session to trust, as PEM.
    ///
    /// # Errors
    ///
    /// If there is no randomness, or a name is invalid.
    pub(super) fn vouch(&self, scope: &AuthorityScope) -> Result<String> {
        self.authority.vouch(scope)
    }

    /// This machine's trusted certificates are read when they are first needed.
    fn dialer(&self) -> Result<&Dialer, String> {
        if let Some(dialer) = self.dialer.get() {
            return Ok(dialer);
        }
        let dialer = Dialer::new(self.files.take()).map_err(|error| format!("{error:#}"))?;
        Ok(self.dialer.get_or_init(|| dialer))
    }

    /// The configuration with one certificate and these protocols.
    fn shows(&self, name: &ServerName<'_>, agrees: Protocols) -> Result<Arc<ServerConfig>> {
        let certified = self.authority.certified(name)?;
        let mut config = self.server.clone();
        config.cert_resolver = Arc::new(SingleCertAndKey::from(certified));
        config.alpn_protocols = agrees.names();
        Ok(Arc::new(config))
    }
}

/// A client's ClientHello.
pub(super) struct Greeting {
    handshake: StartHandshake<TcpStream>,
    /// The connection that it asks for.
    pub(super) secure: Rc<Secure>,
}

/// The connection is to end: nothing passes there any more, or the client's session shows names too fast, as the audit log has it. The next
/// one may be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ConnectionEnds;

/// TLS with one destination.
pub(super) struct Secure {
    tls: Rc<Tls>,
    name: ServerName<'static>,
    /// Whether the client has shown the name.
    is_shown: bool,
    /// Why that name may not be shown there, if it may not.
    refused: OnceCell<Rc<str>>,
    protocols: Cell<Protocols>,
    asks_certificate: Cell<bool>,
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Greeting {
    /// Reads a client's ClientHello: the server's name and the protocols. Without a name, it is the destination's address.
    ///
    /// # Errors
    ///
    /// Why not, as a sentence without a full stop.
    pub(super) async fn hear(
        tls: Rc<Tls>,
        stream: TcpStream,
        to: IpAddr,
        speaks: Speaks,
    ) -> Result<Self, String> {
        let hello = LazyConfigAcceptor::new(Acceptor::default(), stream);
        let handshake = timely(hello).await?;
        let (name, is_shown, protocols) = {
            let hello = handshake.client_hello();
            let is_shown = hello.server_name().is_some();
            (name(&hello, to)?, is_shown, offered(&hello, speaks)?)
        };
        let secure = Rc::new(Secure {
            tls,
            name,
            is_shown,
            refused: OnceCell::new(),
            protocols: Cell::new(protocols),
            asks_certificate: Cell::default(),
        });
        Ok(Self { handshake, secure })
    }

    /// Completes the client's handshake as the destination, with the protocol on which that has agreed.
    ///
    /// # Errors
    ///
    /// Why not, as a sentence without a full stop.
    pub(super) async fn answer(self) -> Result<Stream, String> {
        let Secure {
            tls,
            name,
            protocols,
            ..
        } = &*self.secure;
        let config = tls
            .shows(name, protocols.get())
            .map_err(|error| format!("{error:#}"))?;
        let stream = timely(self.handshake.into_stream(config)).await?;
        Ok(Stream::Tls(Box::new(stream.into())))
    }
}

impl Secure {
    /// Does the TLS handshake with the destination. Later ones offer the protocol agreed on the first time.
    ///
    /// # Errors
    ///
    /// Why it cannot be trusted with a request, as a sentence without a full stop.
    pub(super) async fn dial(&self, stream: TcpStream) -> Result<Stream, String> {
        if let Some(why) = self.refused.get() {
            return Err(format!(
                "the name in TLS (SNI) may not be shown there: {why}"
            ));
        }
        let dialer = self.tls.dialer()?;
        let offered = self.protocols.get();
        let Dialled {
            stream,
            asks_certificate,
        } = dialer.dial(stream, &self.name, offered).await?;
        self.asks_certificate.set(asks_certificate);
        let agreed = offered.agreed(&stream);
        if !offered.h2 && agreed.h2 {
            return Err("the destination agrees to what nobody offered".to_owned());
        }
        self.protocols.set(agreed);
        Ok(stream)
    }

    /// Holds the name that the client has shown to those that the policies have there. Without one, it is reached by its address.
    ///
    /// # Errors
    ///
    /// Where it is not judged now, or nothing passes there.
    pub(super) async fn hold(&self, context: &ConnectionContext) -> Result<(), ConnectionEnds> {
        let (link, target) = (&context.link, context.target);
        // The destination hears no name where nothing passes. Nor is guardd asked about it: only the terms say on whose account that is.
        let terms = link.terms(target).await.ok_or(ConnectionEnds)?;
        if !self.is_shown || !terms.names || terms.is_open() {
            return Ok(());
        }
        let name = self.name();
        let Some(refusal) = link.refuses_name(target, terms.account, &name).await else {
            return Ok(());
        };
        context.log_name(refusal.by, refusal.entry(&refusal.why));
        match refusal.by {
            RefusedBy::Policies => {
                // It is held once.
                let _ = self.refused.set(refusal.why);
                Ok(())
            }
            RefusedBy::Pace | RefusedBy::Pause => Err(ConnectionEnds),
        }
    }

    /// The problem if the destination has asked for a client certificate.
    pub(super) fn lacks_certificate(&self) -> Option<String> {
        let asks = self.asks_certificate.get();
        asks.then(|| explain::certificate_asked(&self.name.to_str()))
    }

    /// The name that the client has shown; none where it goes by the address.
    pub(super) fn shown(&self) -> Option<String> {
        self.is_shown.then(|| self.name())
    }

    /// The name that the client asked for.
    pub(super) fn name(&self) -> String {
        self.name.to_str().into_owned()
    }

    /// Whether a request to that host belongs on this connection. A server may go by the handshake's name and not by the
    /// request's, so both must be the same (RFC 9110 7.4); without a name, it is the address.
    pub(super) fn is_for(&self, host: &str) -> bool {
        let name = self.name.to_str();
        let is_name = |host: uri::Authority| {
            let host = host.host();
            let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
            let host = host.strip_suffix('.').unwrap_or(host);
            match address {
                // An IPv4 address may be written as an IPv6 one.
                Some(address) => name.parse() == Ok(address.to_canonical()),
                None => host.eq_ignore_ascii_case(&name),
            }
        };
        host.parse().is_ok_and(is_name)
    }

    /// The HTTP version: if the destination has not agreed on one, it is the client's first choice.
    pub(super) fn version(&self) -> Version {
        self.protocols.get().version()
    }

    /// Agrees on one of the client's protocols, without a destination.
    pub(super) fn settle(&self) {
        self.protocols.set(self.protocols.get().settled());
    }
}

fn name(hello: &ClientHello<'_>, to: IpAddr) -> Result<ServerName<'static>, String> {
    match hello.server_name() {
        // A final dot has no meaning.
        Some(name) => ServerName::try_from(name.strip_suffix('.').unwrap_or(name).to_owned())
            .map_err(|_| "the client asks for what is no name".to_owned()),
        None => Ok(ServerName::from(to)),
    }
}

fn offered(hello: &ClientHello<'_>, speaks: Speaks) -> Result<Protocols, String> {
    let Some(names) = hello.alpn() else {
        return Ok(Protocols::default());
    };
    let names: Vec<_> = names.collect();
    let is_http = speaks == Speaks::Http;
    let protocols = Protocols {
        h2: is_http && names.contains(&H2),
        http1: match () {
            () if is_http && names.contains(&HTTP10) => Http1::V10,
            () if is_http && names.contains(&HTTP11) => Http1::V11,
            () => Http1::Unsaid,
        },
        postgres: !is_http && names.contains(&POSTGRES),
    };
    if protocols == Protocols::default() {
        let names: Vec<_> = names
            .iter()
            .map(|name| name.escape_ascii().to_string())
            .collect();
        let wanted = if is_http { "HTTP" } else { "PostgreSQL" };
        let names = names.join(", ");
        Err(format!(
            "the client speaks no {wanted} within TLS, but {names}"
        ))
    } else {
        Ok(protocols)
    }
}

/// A step of a client's handshake, with a timeout.
async fn timely<T>(part: impl Future<Output = io::Result<T>>) -> Result<T, String> {
    match timeout(TIMEOUT, part).await {
        Ok(done) => done.map_err(|error| explain::client(&error)),
        Err(_) => Err("the client does not end its TLS handshake".to_owned()),
    }
}
