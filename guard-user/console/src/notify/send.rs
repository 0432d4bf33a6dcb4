//! To ntfy, Slack or Matrix, over HTTP.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use http::{
    Method, Request, Uri,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST},
    request,
};
use http_body_util::Full;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::json;
use tokio::{net::TcpStream, time::timeout};

use super::{NotifyArgs, Text, message::Message};
use crate::outgoing;

/// How long it may take to tell.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where messages go.
#[derive(Clone, Debug)]
pub(super) struct Service {
    kind: Kind,
    /// A topic, a webhook or a server.
    url: Uri,
    token: Option<String>,
    tells_address: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    Ntfy,
    Slack,
    Matrix { room: String },
}

impl Service {
    /// That of the options.
    ///
    /// # Errors
    ///
    /// What is wrong with them.
    pub(super) fn of(args: NotifyArgs) -> Result<Self> {
        let (kind, url) = match (args.ntfy, args.slack, args.matrix) {
            (Some(url), ..) => (Kind::Ntfy, url),
            (_, Some(url), _) => (Kind::Slack, url),
            (_, _, Some(url)) => {
                let room = args.room.context("which room: --room '!ID:SERVER'")?;
                (Kind::Matrix { room }, url)
            }
            _ => bail!("whom to tell: --ntfy, --slack or --matrix"),
        };
        Ok(Self {
            kind,
            url: url_of(&url)?,
            token: args.token.map(|Text(token)| token),
            tells_address: args.address,
        })
    }

    pub(super) fn tells_address(&self) -> bool {
        self.tells_address
    }

    /// Tells, and waits until it was taken.
    ///
    /// # Errors
    ///
    /// Why it was not. No text of the URL but its host is in it: the rest may be what lets anybody write there.
    pub(super) fn send(&self, message: &Message) -> Result<()> {
        let host = self.url.host().unwrap_or_default().to_owned();
        let request = self.request(message)?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot begin")?;
        let sent = runtime.block_on(async { timeout(TIMEOUT, exchange(&self.url, request)).await });
        match sent {
            Ok(sent) => sent.with_context(|| host),
            Err(_) => bail!("{host} did not answer within {} s", TIMEOUT.as_secs()),
        }
    }

    fn begun(&self, method: Method, path: &str) -> request::Builder {
        let host = self.url.authority().map_or("", |host| host.as_str());
        let begun = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, host)
            .header("user-agent", "guard-console");
        match &self.token {
            Some(token) => begun.header(AUTHORIZATION, format!("Bearer {token}")),
            None => begun,
        }
    }

    fn request(&self, message: &Message) -> Result<Request<Full<Bytes>>> {
        let Message { title, text, link } = message;
        let json = |request: request::Builder, value: serde_json::Value| {
            request
                .header(CONTENT_TYPE, "application/json")
                .body(value.to_string())
        };
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let made = match &self.kind {
            Kind::Ntfy => self
                .begun(Method::POST, path)
                .header("title", title)
                .header("click", link)
                .header("tags", "lock")
                .body(text.clone()),
            Kind::Slack => {
                let text = format!("*{title}*: {}\n<{link}|Look and answer>", escaped(text));
                json(self.begun(Method::POST, path), json!({ "text": text }))
            }
            Kind::Matrix { room } => {
                let body = format!("{title}: {text}\n{link}");
                let room = utf8_percent_encode(room, NON_ALPHANUMERIC);
                // Of two messages with one number a server takes one.
                let numbered = format!("{} {body}", jiff::Timestamp::now());
                let number = ring::digest::digest(&ring::digest::SHA256, numbered.as_bytes());
                let number = data_encoding::HEXLOWER.encode(&number.as_ref()[..12]);
                let path = format!(
                    "{}/_matrix/client/v3/rooms/{room}/send/m.room.message/{number}",
                    self.url.path().trim_end_matches('/')
                );
                let content = json!({ "msgtype": "m.text", "body": body });
                json(self.begun(Method::PUT, &path), content)
            }
        };
        let made = made.context("the token or the URL cannot stand in a request")?;
        Ok(made.map(|body| Full::new(Bytes::from(body))))
    }
}

/// As Slack has it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

/// A message goes to whom it is for: over TLS, or to this machine.
fn url_of(Text(text): &Text) -> Result<Uri> {
    let url: Uri = text.parse().ok().context("that is no URL")?;
    let host = url.host().unwrap_or_default();
    let is_here =
        host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(is_loopback);
    let scheme = url.scheme_str().unwrap_or_default();
    ensure!(
        !host.is_empty() && (scheme == "https" || (scheme == "http" && is_here)),
        "expected https://NAME/…, or http://localhost:PORT/… on this machine"
    );
    Ok(url)
}

fn is_loopback(address: std::net::IpAddr) -> bool {
    address.is_loopback()
}

async fn exchange(url: &Uri, request: Request<Full<Bytes>>) -> Result<()> {
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']);
    let is_tls = url.scheme_str() == Some("https");
    let port = url.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let stream = TcpStream::connect((host, port)).await?;
    let status = if is_tls {
        outgoing::over_tls(host, stream, request).await?
    } else {
        outgoing::over(stream, request).await?
    };
    // A redirection is no answer: the message is for that place alone.
    ensure!(status.is_success(), "it answered {status}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tls_or_this_machine() {
        let of = |text: &str| url_of(&Text(text.to_owned()));
        for fine in [
            "https://ntfy.sh/topic",
            "http://localhost:8080/topic",
            "http://127.0.0.1/topic",
            "http://[::1]:8080/topic",
        ] {
            assert!(of(fine).is_ok(), "{fine}");
        }
        for other in [
            "http://ntfy.sh/topic",
            "http://192.0.2.1/topic",
            "ftp://localhost/x",
            "ntfy.sh/topic",
            "/topic",
            "https:///topic",
            "",
        ] {
            assert!(of(other).is_err(), "{other}");
        }
    }
}
