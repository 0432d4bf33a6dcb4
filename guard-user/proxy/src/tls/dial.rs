//! TLS towards destinations, whose certificates are verified as by a client.

use std::{fs::File, io::Read as _, os::fd::OwnedFd, sync::Arc, time::Duration};

use anyhow::{Context as _, Result};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, ring::default_provider},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _},
    server::ParsedCertificate,
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use webpki::{EndEntityCert, KeyUsage};

use super::{
    super::stream::Stream,
    Protocols,
    authority::nobody,
    explain,
    unarmed::{Unarmed, UnarmedNames},
};

/// How long a destination's handshake may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes of a file of certificates at most.
const MAX_FILE: u64 = 4 * 1024 * 1024;

/// A TLS client with this machine's trusted certificates.
pub(crate) struct Dialer {
    connector: TlsConnector,
    unarmed: Arc<Unarmed>,
    asking: UnarmedNames,
}

/// A TLS connection to a destination.
pub(super) struct Dialled {
    pub(super) stream: Stream,
    /// Whether it has asked for a client certificate.
    pub(super) asks_certificate: bool,
}

impl Dialer {
    /// A dialer that trusts what this machine trusts, and the certificates in these files.
    ///
    /// # Errors
    ///
    /// If one of them cannot be read.
    pub(super) fn new(files: Vec<OwnedFd>) -> Result<Self> {
        let mut own = Vec::new();
        for file in files {
            own.extend(read(file).context("cannot read a file of [proxy] ca")?);
        }
        let provider = Arc::new(default_provider());
        let verifier = Verifier::new(own, &provider)?;
        let unarmed = Arc::new(Unarmed::default());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_cert_resolver(Arc::clone(&unarmed) as Arc<_>);
        Ok(Self {
            connector: TlsConnector::from(Arc::new(config)),
            unarmed,
            asking: UnarmedNames::default(),
        })
    }

    /// Makes a TLS connection to a destination of that name.
    ///
    /// # Errors
    ///
    /// Why it cannot be trusted with a request, as a sentence without a full stop.
    pub(super) async fn dial(
        &self,
        stream: TcpStream,
        name: &ServerName<'static>,
        protocols: Protocols,
    ) -> Result<Dialled, String> {
        let with = self.connector.with_alpn(protocols.names());
        let handshake = timeout(TIMEOUT, with.connect(name.clone(), stream));
        let (dialled, was_asked) = self.unarmed.noting(handshake).await;
        let late = || format!("{} does not end its TLS handshake", name.to_str());
        match dialled.map_err(|_| late())? {
            Ok(stream) => {
                let kind = stream.get_ref().1.handshake_kind();
                Ok(Dialled {
                    stream: Stream::Tls(Box::new(stream.into())),
                    asks_certificate: self.asking.is_one(name, was_asked, kind),
                })
            }
            Err(error) => Err(explain::upstream(name, &error, was_asked)),
        }
    }
}

fn read(file: OwnedFd) -> Result<Vec<CertificateDer<'static>>> {
    let mut text = Vec::new();
    File::from(file).take(MAX_FILE).read_to_end(&mut text)?;
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    Ok(all?)
}

/// Verifies as usual, and also accepts a destination's own certificate if that is among the given ones: self-made certificates
/// for one machine are often no authority's, or of the wrong kind.
#[derive(Debug)]
struct Verifier {
    usual: Arc<WebPkiServerVerifier>,
    own: Vec<CertificateDer<'static>>,
}

impl Verifier {
    fn new(own: Vec<CertificateDer<'static>>, provider: &Arc<CryptoProvider>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::warn!(%error, "some of this machine's certificates cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
        // A certificate that is no authority's stands for itself: as an authority, its key could sign anything.
        roots.add_parsable_certificates(own.iter().filter(|one| is_authority(one)).cloned());
        if roots.is_empty() {
            tracing::warn!(
                "this machine trusts no certificate authority: no HTTPS destination can be reached"
            );
            // The builder takes no empty store; this authority has signed nothing.
            roots.add(nobody()?)?;
        }
        let provider = Arc::clone(provider);
        let usual = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let usual = usual.build().context("cannot verify certificates")?;
        Ok(Self { usual, own })
    }

    fn is_own(&self, certificate: &CertificateDer<'_>) -> bool {
        self.own.iter().any(|own| own == certificate)
    }
}

/// Whether a certificate is an authority's (`cA` in RFC 5280 4.2.1.9), and so no server's.
fn is_authority(certificate: &CertificateDer<'_>) -> bool {
    let (Ok(anchor), Ok(server)) = (
        webpki::anchor_from_trusted_cert(certificate),
        EndEntityCert::try_from(certificate),
    ) else {
        return false;
    };
    let algorithms = default_provider().signature_verification_algorithms.all;
    let (anchors, now) = ([anchor], UnixTime::now());
    let usage = KeyUsage::server_auth();
    let verified = server.verify_for_usage(algorithms, &anchors, &[], now, usage, None, None);
    matches!(verified, Err(webpki::Error::CaUsedAsEndEntity))
}

/// Whether a certificate is wrong only in its issuer, or in being an authority's.
fn is_about_issuer(why: &CertificateError) -> bool {
    match why {
        CertificateError::UnknownIssuer => true,
        CertificateError::Other(other) => {
            let why = other.0.downcast_ref::<webpki::Error>();
            why == Some(&webpki::Error::CaUsedAsEndEntity)
        }
        _ => false,
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let usual = self
            .usual
            .verify_server_cert(certificate, others, name, ocsp, now);
        match usual {
            // Its validity was checked before.
            Err(rustls::Error::InvalidCertificate(why))
                if is_about_issuer(&why) && self.is_own(certificate) =>
            {
                verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                Ok(ServerCertVerified::assertion())
            }
            usual => usual,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.usual
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.usual.supported_verify_schemes()
    }
}
