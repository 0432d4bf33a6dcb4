//! `guard-lab serve`: production. It answers, and says what reached it.

mod packet;
pub(crate) mod sniff;
mod tcp;
mod tls;
mod udp;

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// What to answer at, and whether to listen for packets.
#[derive(Debug, Default)]
struct Services {
    tcp: Vec<u16>,
    udp: Vec<u16>,
    sniff: bool,
    /// Whom it is within TLS.
    identity: Option<tls::Identity>,
}

/// Serves until standard input ends. Each thing that arrives is a line of JSON on standard output; the
/// first line says `ready`.
///
/// # Errors
///
/// That an argument is wrong, or a port taken.
pub fn serve(args: impl Iterator<Item = String>) -> Result<()> {
    let services = Services::parse(args)?;
    if services.sniff {
        sniff::start()?;
    }
    let (mut ports, identity) = (services.tcp.into_iter(), services.identity);
    ports.try_for_each(|port| tcp::start(port, identity.as_ref()))?;
    services.udp.into_iter().try_for_each(udp::start)?;
    say(&json!({"kind": "ready"}));
    io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}

impl Services {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut services = Self::default();
        while let Some(option) = args.next() {
            let mut value = || {
                args.next()
                    .with_context(|| format!("{option} wants a value"))
            };
            let mut port = || -> Result<u16> {
                let value = value()?;
                value.parse().with_context(|| format!("{value} is no port"))
            };
            match option.as_str() {
                "--tcp" => services.tcp.push(port()?),
                "--udp" => services.udp.push(port()?),
                "--sniff" => services.sniff = true,
                "--tls" => services.identity = Some(tls::read(value()?.as_ref())?),
                _ => bail!(
                    "serve knows --tcp PORT, --udp PORT, --tls FILE and --sniff, not {option}"
                ),
            }
        }
        Ok(services)
    }
}

/// Writes one line, whole. Who reads them being gone ends the server.
fn say(record: &Value) {
    let line = format!("{record}\n");
    if io::stdout().lock().write_all(line.as_bytes()).is_err() {
        std::process::exit(1);
    }
}

/// A record of something that came from one address to another.
fn record(kind: &str, from: SocketAddr, to: SocketAddr) -> Value {
    json!({
        "kind": kind,
        "from": from.ip().to_canonical(),
        "from_port": from.port(),
        "to": to.ip().to_canonical(),
        "port": to.port(),
    })
}
