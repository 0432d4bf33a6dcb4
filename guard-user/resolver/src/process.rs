//! The resolver's life: it begins with guardd's first message, and ends with guardd. Handles guardd's messages (`hear`).

use std::{os::fd::OwnedFd, process::ExitCode, rc::Rc};

use anyhow::{Context as _, Result, bail};
use guard_common::NetnsCookie;
use guard_launch::{GuarddConnection, exchange_versions, first_message};
use guard_proto::names::{FromResolver, ToResolver, VERSION};
use guard_sys::{
    bpf::{NamedMap, Origins, Queues},
    packets::Packets,
};
use tokio::task::{LocalSet, spawn_local};

use super::{
    common::Common,
    link::{self, Link},
    maps::Kernel,
    networks::{Network, Networks},
    sessions::Switches,
};

/// Serves until guardd ends. `without_ech`: keys for encrypting a server's name are taken out of answers.
#[must_use]
pub fn main(guardd: GuarddConnection, without_ech: bool) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start");
    let serving = serve(guardd, without_ech);
    let served = runtime.and_then(|runtime| LocalSet::new().block_on(&runtime, serving));
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the resolver ends: {error:#}");
            ExitCode::from(2)
        }
    }
}

async fn serve(guardd: GuarddConnection, without_ech: bool) -> Result<()> {
    let packets = Rc::new(guardd.packets()?);
    let Hello {
        origins,
        questions,
        named,
        drained,
        least,
    } = greeted(&packets).await?;
    let kernel = Kernel {
        origins: Origins::new(origins).context("guardd has sent no map of origins")?,
        questions: Origins::new(questions).context("guardd has sent no map of questions")?,
        named: NamedMap::new(named).context("guardd has sent no map of names")?,
        queues: Queues::new(drained).context("guardd has sent no map of queues")?,
    };
    let before = kernel.named.all().context("cannot read the map of names")?;
    let link = Rc::new(Link::new());
    let mut common = Common::new(Rc::clone(&link), Box::new(kernel), without_ech);
    common.sessions.recall(before);
    if let Some(least) = least {
        common.times.keep(least);
    }
    let common = Rc::new(common);
    let networks = Networks::new(Rc::clone(&common));
    let sending = link::send_all(link, Rc::clone(&packets));
    let hearing = hear(&packets, &common, &networks);
    tokio::select! {
        sent = sending => sent.context("cannot speak with guardd"),
        heard = hearing => heard,
        never = common.pulse.run() => never,
    }
}

/// What comes with guardd's first word.
struct Hello {
    origins: OwnedFd,
    questions: OwnedFd,
    named: OwnedFd,
    drained: OwnedFd,
    least: Option<u32>,
}

/// Waits for that.
async fn greeted(packets: &Packets) -> Result<Hello> {
    let (hello, descriptors) = first_message::<ToResolver>(packets).await?;
    let mut descriptors = descriptors.into_iter();
    let maps = [(); 4].map(|()| descriptors.next());
    let (
        ToResolver::Hello { version, least },
        [Some(origins), Some(questions), Some(named), Some(drained)],
    ) = (hello, maps)
    else {
        bail!("guardd said something else first: it is of another version");
    };
    let own = FromResolver::Hello {
        version: VERSION.to_owned(),
    };
    exchange_versions(packets, "guard-resolver", &own, Some(version.as_str())).await?;
    Ok(Hello {
        origins,
        questions,
        named,
        drained,
        least,
    })
}

/// Does what guardd says until it says no more: then nothing can be asked, and nobody answers questions.
async fn hear(packets: &Packets, common: &Common, networks: &Networks) -> Result<()> {
    while let Some(packet) = packets.receive().await.context("cannot hear guardd")? {
        let said = serde_json::from_slice(&packet.bytes).context("cannot understand guardd")?;
        obey(said, packet.descriptors, common, networks)?;
    }
    Ok(())
}

/// Does one thing that guardd says.
pub(super) fn obey(
    said: ToResolver,
    descriptors: Vec<OwnedFd>,
    common: &Common,
    networks: &Networks,
) -> Result<()> {
    let sessions = &common.sessions;
    match said {
        ToResolver::Hello { .. } => bail!("guardd was restarted"),
        ToResolver::Listen {
            network,
            cookie,
            ipv6,
            is_roots,
        } => {
            let served = Network::new(network, NetnsCookie(cookie), is_roots);
            let listening = networks.listen(served, ipv6, descriptors);
            listening.with_context(|| format!("cannot listen in network {}", network.0))?;
        }
        ToResolver::Sockets {
            network,
            udp4,
            udp6,
            tcp4,
            tcp6,
        } => networks.stock(network, [udp4, udp6, tcp4, tcp6], descriptors),
        ToResolver::Forget { network } => networks.forget(network),
        ToResolver::Policy {
            slot,
            names,
            patterns,
            silent,
            without_ech,
        } => {
            let switches = Switches {
                silent,
                without_ech,
            };
            sessions.keep_policy(slot, names, &patterns, switches);
        }
        ToResolver::ForgetPolicy { slot } => sessions.forget_policy(slot),
        ToResolver::Session {
            session,
            account,
            policies,
            opened,
        } => sessions.keep(session, account, policies, &opened),
        ToResolver::ForgetSession { session } => sessions.forget(session),
        ToResolver::ForgetNames { session } => sessions.forget_names(session),
        ToResolver::Servers {
            addresses,
            search,
            links,
        } => {
            sessions.trust(&addresses, &search);
            sessions.keep_links(links);
        }
        ToResolver::Answer { number, yes } => common.link.answered(number, yes),
        ToResolver::Mark { number } => {
            // Not at once, where guardd is slow to hear: it is heard all the same.
            let link = Rc::clone(&common.link);
            spawn_local(async move { link.marked(number).await });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsFd as _};

    use super::*;

    /// What a resolver makes of a first word, and what it has said of itself.
    async fn heard(first: &str) -> (Result<Hello>, FromResolver) {
        let (guardd, theirs) = Packets::pair().unwrap();
        let resolver = Packets::of(theirs).unwrap();
        let file = File::open("/dev/null").unwrap();
        let files = [file.as_fd(); 4];
        guardd.send(first.as_bytes(), &files).await.unwrap();
        let hello = greeted(&resolver).await;
        let said = guardd.receive().await.unwrap().unwrap();
        (hello, serde_json::from_slice(&said.bytes).unwrap())
    }

    #[tokio::test]
    async fn a_guardd_of_another_version_is_not_served_and_learns_why() {
        let own = format!(r#"{{"say":"hello","version":"{VERSION}"}}"#);
        assert!(heard(&own).await.0.is_ok());
        let (hello, said) = heard(r#"{"say":"hello","version":"9.9.9"}"#).await;
        let error = hello.err().unwrap().to_string();
        assert!(error.contains("9.9.9"), "{error}");
        assert!(matches!(said, FromResolver::Hello { version } if version == VERSION));
    }
}
