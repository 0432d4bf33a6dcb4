//! One message to one browser's push service: RFC 8030.

use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http::{
    Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, USER_AGENT},
};
use http_body_util::Full;
use tokio::{net::TcpStream, time::timeout};

use super::{
    devices::{Device, DeviceKeys},
    endpoint::Endpoint,
    seal::seal,
    vapid::Vapid,
};
use crate::{Settings, outgoing};

/// How long it may take to tell.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Seconds that a service keeps it for a device that is away. The page has what waits longer.
const KEPT: &str = "900";

/// The outcome of a push message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushOutcome {
    /// The service has it.
    Taken,
    /// The browser has gone: nothing is to be sent there again.
    Gone,
}

/// Sends it, and waits until it was taken.
///
/// # Errors
///
/// Why it was not. Only the service's name is in it: whoever knows the URL may write there.
pub(super) async fn send(
    device: &Device,
    text: &[u8],
    vapid: &Vapid,
    settings: &Settings,
    now: u64,
) -> Result<PushOutcome> {
    let endpoint = Endpoint::of(&device.endpoint, &settings.push_hosts)?;
    let DeviceKeys { key, auth } = device.keys()?;
    let audience = endpoint.origin();
    let request = Request::post(endpoint.path())
        .header(HOST, audience.trim_start_matches("https://"))
        .header(USER_AGENT, "guard-console")
        .header(
            AUTHORIZATION,
            vapid.authorization(&audience, &settings.origin, now)?,
        )
        .header(CONTENT_TYPE, "application/octet-stream")
        .header(CONTENT_ENCODING, "aes128gcm")
        .header("ttl", KEPT)
        .header("urgency", "high")
        .body(Full::new(Bytes::from(seal(text, &key, &auth)?)))?;
    let exchange = async {
        // What is connected to is what was looked at: a name may lead elsewhere the next time.
        let addresses = endpoint.addresses().await?;
        let stream = TcpStream::connect(&addresses[..]).await?;
        let host = endpoint.host().trim_matches(['[', ']']);
        outgoing::over_tls(host, stream, request).await
    };
    let status = timeout(TIMEOUT, exchange).await;
    let status = status
        .context("it does not answer")
        .and_then(|status| status);
    let status = status.with_context(|| endpoint.host().to_owned())?;
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(PushOutcome::Gone),
        status if status.is_success() => Ok(PushOutcome::Taken),
        status => anyhow::bail!("{}: it answered {status}", endpoint.host()),
    }
}
