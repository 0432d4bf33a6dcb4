//! The proxy's life: it begins with guardd's first message, and ends with guardd. Handles guardd's messages (`hear`).

use std::{os::fd::OwnedFd, process::ExitCode, rc::Rc};

use anyhow::{Context as _, Result, bail};
use guard_common::NetnsCookie;
use guard_launch::{GuarddConnection, exchange_versions, first_message};
use guard_sys::{bpf::Origins, packets::Packets};
use tokio::task::LocalSet;

use super::{
    link::{self, GuarddLink},
    networks::Networks,
    tls::Tls,
    wire::{ToDaemon, ToProxy, VERSION},
};

/// Serves until guardd ends.
#[must_use]
pub fn main(guardd: GuarddConnection) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start");
    let served = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, serve(guardd)));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the proxy ends: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn serve(guardd: GuarddConnection) -> Result<()> {
    let packets = Rc::new(guardd.packets()?);
    let Hello {
        origins,
        key,
        certificates,
    } = greeted(&packets).await?;
    let link = Rc::new(GuarddLink::new());
    let origins = Origins::new(origins).context("guardd has sent no map of origins")?;
    let tls = Rc::new(Tls::new(key, certificates).context("there is no certificate authority")?);
    let networks = Networks::new(Rc::clone(&link), origins, Rc::clone(&tls));
    let sending = link::send_all(Rc::clone(&link), Rc::clone(&packets));
    let hearing = hear(&packets, &link, &networks, &tls);
    tokio::select! {
        sent = sending => sent.context("cannot speak with guardd"),
        heard = hearing => heard,
    }
}

/// The content of guardd's first message.
struct Hello {
    origins: OwnedFd,
    key: OwnedFd,
    certificates: Vec<OwnedFd>,
}

/// Waits for guardd's first message.
async fn greeted(packets: &Packets) -> Result<Hello> {
    let (hello, descriptors) = first_message::<ToProxy>(packets).await?;
    let mut descriptors = descriptors.into_iter();
    let (ToProxy::Hello { version }, Some(origins), Some(key)) =
        (hello, descriptors.next(), descriptors.next())
    else {
        bail!("guardd said something else first: it is of another version");
    };
    let own = ToDaemon::Hello {
        version: VERSION.to_owned(),
    };
    exchange_versions(packets, "guard-proxy", &own, version.as_deref()).await?;
    Ok(Hello {
        origins,
        key,
        certificates: descriptors.collect(),
    })
}

/// Handles guardd's messages until it closes: then nothing can be asked, and every connection ends with the process.
async fn hear(packets: &Packets, link: &GuarddLink, networks: &Networks, tls: &Tls) -> Result<()> {
    while let Some(packet) = packets.receive().await.context("cannot hear guardd")? {
        let said = serde_json::from_slice(&packet.bytes).context("cannot understand guardd")?;
        match said {
            ToProxy::Hello { .. } => bail!("guardd was restarted"),
            ToProxy::Listen { network, cookie } => {
                let listening = networks.listen(network, NetnsCookie(cookie), packet.descriptors);
                listening.with_context(|| format!("cannot listen in network {}", network.0))?;
            }
            ToProxy::Sockets { network, ipv4 } => {
                networks.stock(network, ipv4, packet.descriptors);
            }
            ToProxy::Forget { network } => networks.forget(network),
            ToProxy::Renew => link.renew(),
            ToProxy::Reached { number, is_it } => link.reached(number, is_it),
            ToProxy::Name {
                number,
                why,
                rules,
                until,
            } => link.named(number, why, rules, until),
            ToProxy::Vouch { number, scope } => match tls.vouch(&scope) {
                Ok(certificate) => link.vouch(number, certificate),
                Err(error) => tracing::error!("no certificate for a session: {error:#}"),
            },
            ToProxy::Terms {
                number,
                terms,
                until,
            } => link.told(number, terms, until),
            ToProxy::Answer { number, answer } => link.answered(number, answer),
        }
    }
    Ok(())
}

/// Resets the connection of a peer that is not to be served.
pub(super) fn reset(stream: &tokio::net::TcpStream) {
    // If that cannot be set, it ends in the ordinary way.
    let _ = stream.set_zero_linger();
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    /// The proxy's handling of a first message, and its own answer.
    async fn heard(first: &str) -> (Result<Hello>, ToDaemon) {
        let (guardd, theirs) = Packets::pair().unwrap();
        let proxy = Packets::of(theirs).unwrap();
        let file = File::open("/dev/null").unwrap();
        let files = [file.as_fd(), file.as_fd()];
        guardd.send(first.as_bytes(), &files).await.unwrap();
        let hello = greeted(&proxy).await;
        let said = guardd.receive().await.unwrap().unwrap();
        (hello, serde_json::from_slice(&said.bytes).unwrap())
    }

    #[tokio::test]
    async fn a_guardd_of_another_version_is_not_served_and_learns_why() {
        let own = format!(r#"{{"say":"hello","version":"{VERSION}"}}"#);
        assert!(heard(&own).await.0.is_ok());
        for (other, named) in [
            (r#"{"say":"hello"}"#, "earlier than 0.3.0"),
            (r#"{"say":"hello","version":"9.9.9"}"#, "9.9.9"),
        ] {
            let (hello, said) = heard(other).await;
            let error = hello.err().unwrap().to_string();
            assert!(error.contains(named), "{error}");
            assert!(matches!(said, ToDaemon::Hello { version } if version == VERSION));
        }
    }
}
