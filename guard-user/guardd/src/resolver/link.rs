//! The connection to a resolver, from its first message to its last.

use std::{io, os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use guard_common::{Address, BootTime, SessionId};
use guard_proto::names::{FromResolver, ToResolver, VERSION};
use guard_sys::{
    clock,
    packets::{Packet, Packets},
};
use tokio::time::timeout;

use super::{Outgoing, asking::Asked};
use crate::{
    policies::{Answered, Asker},
    requests::RequestKey,
    shared::Shared,
    state::State,
};

/// The timeout for a resolver to read a message, or to send its first.
const PATIENCE: Duration = Duration::from_secs(10);
/// An answer counts for so long at least, whatever its TTL, and for [`GRACE`] longer than that: as the resolver has it.
const SHORTEST: u64 = 60;
const GRACE: u64 = 30;
const SECOND: u64 = 1_000_000_000;

/// Serves a resolver until none is needed any more.
///
/// # Errors
///
/// Why it ended before.
pub async fn converse(shared: &Shared, packets: &Packets) -> Result<()> {
    greet(shared, packets).await?;
    let stir = shared.with(|state| {
        state.resolver_up()?;
        Ok::<_, anyhow::Error>(state.resolver.stirs())
    })?;
    tracing::info!("the resolver runs: names in policies hold");
    loop {
        for outgoing in shared.with(State::unsaid_to_resolver) {
            say(packets, outgoing)
                .await
                .context("it does not read what it is sent")?;
        }
        if !shared.with(|state| state.needs_resolver()) {
            return Ok(());
        }
        tokio::select! {
            packet = packets.receive() => match packet.context("its messages cannot be read")? {
                Some(packet) => hear(shared, &packet)?,
                None => bail!("it has ended"),
            },
            () = stir.notified() => {}
        }
    }
}

/// Exchanges first messages: only with a resolver of guardd's own version.
async fn greet(shared: &Shared, packets: &Packets) -> Result<()> {
    let hello = Outgoing {
        message: ToResolver::Hello {
            version: VERSION.to_owned(),
        },
        descriptors: shared.with(|state| {
            let kernel = &state.datapath;
            Ok::<_, anyhow::Error>(vec![kernel.origins()?, kernel.named_map()?])
        })?,
    };
    say(packets, hello)
        .await
        .context("it does not read what it is sent")?;
    let answer = timeout(PATIENCE, packets.receive()).await;
    let answer = answer.context("it does not say of which version it is")?;
    let Some(packet) = answer.context("its messages cannot be read")? else {
        bail!("it has ended");
    };
    match serde_json::from_slice(&packet.bytes).context("its messages cannot be parsed")? {
        FromResolver::Hello { version } if version == VERSION => Ok(()),
        FromResolver::Hello { version } => bail!(
            "guard-resolver is of version {version}, and guardd of {VERSION}: install both of one version, then: systemctl restart guardd"
        ),
        _ => bail!("it did not say of which version it is"),
    }
}

async fn say(packets: &Packets, outgoing: Outgoing) -> io::Result<()> {
    let bytes = serde_json::to_vec(&outgoing.message)?;
    let descriptors: Vec<_> = outgoing.descriptors.iter().map(|fd| fd.as_fd()).collect();
    let said = timeout(PATIENCE, packets.send(&bytes, &descriptors)).await;
    said.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn hear(shared: &Shared, packet: &Packet) -> Result<()> {
    let said = serde_json::from_slice(&packet.bytes).context("its messages cannot be parsed")?;
    if shared.with(|state| state.resolver_says(said)) {
        shared.names_moved.notify_one();
    }
    Ok(())
}

impl State {
    /// Takes note of it. True where policies are to be compiled again for what it says of names.
    fn resolver_says(&mut self, said: FromResolver) -> bool {
        match said {
            FromResolver::Hello { .. } => {}
            FromResolver::Gone { number } => self.question_gone(number),
            FromResolver::Sockets {
                network,
                udp4,
                udp6,
                tcp4,
                tcp6,
            } => self.resolver.stock(network, [udp4, udp6, tcp4, tcp6]),
            FromResolver::Learned {
                session,
                name,
                asked,
                addresses,
                ttl,
                at,
                tgid,
            } => {
                let time = u64::from(ttl).max(SHORTEST) + GRACE;
                let answered = Answered {
                    session: SessionId(session),
                    asked: asked.as_deref().unwrap_or(&name),
                    name: &name,
                    addresses: addresses.into_iter().map(Address::from).collect(),
                    at: BootTime(at.min(clock::now().0)),
                    until: BootTime(clock::now().0 + time * SECOND),
                    asker: self.asker(SessionId(session), tgid.0),
                };
                return self.session_learns(&answered);
            }
            FromResolver::Opens {
                number,
                session,
                name,
                addresses,
            } => {
                let addresses = addresses.into_iter().map(Address::from).collect();
                self.widen_names(SessionId(session), &name, addresses);
                self.answer_question(number, true);
            }
            FromResolver::Ask {
                number,
                session,
                tgid,
                name,
                kind,
                server,
            } => {
                let asked = Asked {
                    session: SessionId(session),
                    tgid,
                    name,
                    kind,
                    server,
                };
                self.resolver_asks(number, asked);
            }
            FromResolver::Refused {
                session,
                tgid,
                name,
                kind,
                server,
                why,
            } => {
                let asked = Asked {
                    session: SessionId(session),
                    tgid,
                    name,
                    kind,
                    server,
                };
                self.note_refused_name(&asked, &why);
            }
        }
        false
    }

    fn session_learns(&mut self, answered: &Answered<'_>) -> bool {
        let Some(session) = self.sessions.live(answered.session) else {
            return false;
        };
        let kernel = &mut self.datapath;
        self.policies.learn_answer(kernel, answered, &session.chain);
        let (policies, id, subject) = (&self.policies, answered.session, session.subject());
        let told = |key: &RequestKey| {
            let judged = policies.judge(subject, key.destination, key.protocol, key.port)?;
            policies.told_of(id, key.destination, judged.rule, None)
        };
        for to in &answered.addresses {
            self.requests.name(id, *to, told);
        }
        let session = id;
        // Where the resolver did not know of the hole yet.
        let (asked, addresses) = (answered.asked.to_owned(), answered.addresses.clone());
        self.widen_names(session, &asked, addresses);
        let names = [answered.asked, answered.name];
        let unanswered = names.map(|name| self.policies.is_unanswered(name).then_some(name));
        let mut unanswered = unanswered.into_iter().flatten().peekable();
        if unanswered.peek().is_none() {
            return false;
        }
        let machine = self.environment();
        self.policies
            .note_told(unanswered, &answered.addresses, &machine)
    }

    fn asker(&self, session: SessionId, tgid: u32) -> Asker {
        let (pid, process) = self.machine.process_of(self.sessions.live(session), tgid);
        let comm = process.comm;
        Asker { pid, comm }
    }
}
