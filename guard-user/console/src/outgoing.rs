//! Requests of the console's own to servers elsewhere, each over a connection that was made for it.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore, crypto::ring::default_provider, pki_types::ServerName};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

/// Sends a request over TLS to a server that presents a certificate for the host, which this machine trusts.
///
/// # Errors
///
/// That the certificate is not for the host, or that the server does not answer.
pub(crate) async fn over_tls(
    host: &str,
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned())?;
    let stream = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    over(stream, request).await
}

/// Sends it. No redirection is followed.
///
/// # Errors
///
/// That there is no answer.
pub(crate) async fn over<S>(stream: S, request: Request<Full<Bytes>>) -> Result<StatusCode>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?.status())
}
