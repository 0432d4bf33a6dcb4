//! The connection to a proxy, from its first message to its last.

use std::{io, os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use guard_common::SessionId;
use guard_proto::record::{Destination, Http};
use guard_proto::wire::{Entry, Target, ToDaemon, ToProxy, VERSION};
use guard_sys::{
    clock,
    packets::{MAX_MESSAGE, Packet, Packets},
};
use tokio::time::timeout;

use super::{Outgoing, closings::Closing};
use crate::{
    control::ids, record::audit::LogEntry, requests::RequestKey, shared::Shared, state::State,
};

/// The timeout for a proxy to read a message, or to send its first.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes that the audit log keeps of each text.
const MAX_WORD: usize = 1024;

/// Exchanges messages with a proxy until none is needed.
///
/// # Errors
///
/// Why it ended before.
pub async fn converse(shared: &Shared, packets: &Packets) -> Result<()> {
    greet(shared, packets).await?;
    let stir = shared.with(|state| {
        state.proxy_up()?;
        Ok::<_, anyhow::Error>(state.proxy.stirs())
    })?;
    tracing::info!("the proxy runs: what is read-only can be read");
    loop {
        // While it does not read, nothing more is read from it.
        for outgoing in shared.with(State::unsaid) {
            say(packets, outgoing).await.context("it does not hear")?;
        }
        if !shared.with(|state| state.needs_proxy()) {
            return Ok(());
        }
        tokio::select! {
            packet = packets.receive() => match packet.context("it cannot be heard")? {
                Some(packet) => hear(shared, &packet)?,
                None => bail!("it has ended"),
            },
            () = stir.notified() => {}
        }
    }
}

/// Exchanges the first messages: a proxy of another version gets no more.
async fn greet(shared: &Shared, packets: &Packets) -> Result<()> {
    let hello = Outgoing {
        message: ToProxy::Hello {
            version: Some(VERSION.to_owned()),
        },
        descriptors: shared.with(|state| state.proxy.files(&state.datapath, &state.config))?,
    };
    say(packets, hello).await.context("it does not hear")?;
    let answer = timeout(PATIENCE, packets.receive()).await;
    let answer = answer.context("it does not say of which version it is")?;
    let Some(packet) = answer.context("it cannot be heard")? else {
        bail!("it has ended");
    };
    match serde_json::from_slice(&packet.bytes).context("it cannot be understood")? {
        ToDaemon::Hello { version } if version == VERSION => Ok(()),
        ToDaemon::Hello { version } => bail!(
            "guard-proxy is of version {version}, and guardd of {VERSION}: install both of one version, then: systemctl restart guardd"
        ),
        _ => bail!("it did not say of which version it is"),
    }
}

async fn say(packets: &Packets, outgoing: Outgoing) -> io::Result<()> {
    let mut bytes = serde_json::to_vec(&outgoing.message)?;
    if let (ToProxy::Terms { number, .. }, true) = (&outgoing.message, bytes.len() > MAX_MESSAGE) {
        tracing::error!(
            "a policy has more HTTP rules than the proxy can be told of: it stays closed"
        );
        let (number, terms) = (*number, None);
        bytes = serde_json::to_vec(&ToProxy::Terms { number, terms })?;
    }
    let descriptors: Vec<_> = outgoing.descriptors.iter().map(|fd| fd.as_fd()).collect();
    let said = timeout(PATIENCE, packets.send(&bytes, &descriptors)).await;
    said.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

fn hear(shared: &Shared, packet: &Packet) -> Result<()> {
    let said = serde_json::from_slice(&packet.bytes).context("it cannot be understood")?;
    shared.with(|state| state.proxy_says(said));
    shared.reschedule();
    Ok(())
}

impl State {
    fn proxy_says(&mut self, said: ToDaemon) {
        match said {
            // Sent once, and received before.
            ToDaemon::Hello { .. } => {}
            ToDaemon::Terms { number, target } => {
                let terms = self.proxy_terms(&target);
                self.proxy.say(ToProxy::Terms { number, terms }, Vec::new());
            }
            ToDaemon::Name {
                number,
                target,
                name,
            } => {
                let why = self.proxy_name(&target, &name);
                self.proxy.say(ToProxy::Name { number, why }, Vec::new());
            }
            ToDaemon::Ask {
                number,
                target,
                request,
            } => self.proxy_asks(number, &target, request),
            ToDaemon::Gone { number } => self.proxy.leaves(&mut self.requests, number),
            ToDaemon::Log { target, entry } => self.proxy_tells(&target, entry),
            ToDaemon::Sockets {
                network,
                ipv4,
                ipv6,
            } => self.proxy.stock(network, ipv4, ipv6),
            ToDaemon::Vouched {
                number,
                certificate,
            } => self.proxy.vouching.told(number, certificate),
        }
    }

    /// Writes the outcome of a request to the audit log, as the proxy reports it.
    fn proxy_tells(&mut self, target: &Target, entry: Entry) {
        self.recorder.counters().http(&entry.outcome);
        let id = SessionId(target.session);
        if let (None, Some(why)) = (&entry.method, &entry.why)
            && entry.outcome == "refused"
        {
            let closing = Closing {
                to: target.address.into(),
                port: target.port,
                why: why.clone(),
            };
            self.proxy.closings.note(id, closing, (), clock::now());
        }
        let Some(owner) = self.sessions.get(id).map(|session| session.about.uid) else {
            return;
        };
        let Some(admitted) = self.admit(id, clock::now()) else {
            return;
        };
        let key = RequestKey::new(
            id,
            target.address.into(),
            guard_common::Protocol::TCP,
            target.port,
        );
        let record = Http {
            destination: Destination::Endpoint(key.endpoint(None)).into(),
            outcome: cut(Some(entry.outcome)).into(),
            method: cut(entry.method).into(),
            path: cut(entry.path).into(),
            host: cut(entry.host).into(),
            rule: cut(entry.rule).into(),
            why: cut(entry.why).into(),
            status: entry.status.into(),
            ..Http::default()
        };
        let entry = LogEntry::of(ids::session(id), owner, record);
        self.recorder.note(entry.admitted(admitted));
    }
}

fn cut(text: Option<String>) -> Option<String> {
    text.map(|mut text| {
        text.truncate(text.floor_char_boundary(MAX_WORD));
        text
    })
}
