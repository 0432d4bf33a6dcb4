//! The conversation with a worker, from its first message to its last.

use std::{io, os::fd::AsFd as _, time::Duration};

use anyhow::{Context as _, Result, bail};
use guard_proto::wire::VERSION;
use guard_sys::packets::{Packet, Packets};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{Worker, link::Outgoing};
use crate::{shared::Shared, state::State};

/// The timeout for a worker to read a message, or to send its first.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Exchanges messages with a worker until none is needed.
///
/// # Errors
///
/// Why it ended before.
pub(super) async fn converse<W: Worker>(shared: &Shared, packets: &Packets) -> Result<()> {
    greet::<W>(shared, packets).await?;
    shared.with(State::worker_up::<W>)?;
    let stir = shared.with(|state| W::link(state).stirs());
    tracing::info!("{}", W::RUNS);
    loop {
        // While it does not read, nothing more is read from it.
        for outgoing in shared.with(due::<W>) {
            say::<W>(packets, outgoing).await?;
        }
        if !shared.with(|state| W::is_needed(state)) {
            return Ok(());
        }
        tokio::select! {
            packet = receive(packets) => W::hear(shared, parse(&packet?)?),
            () = stir.notified() => {}
        }
    }
}

/// Exchanges the first messages: a worker of another version gets no more.
async fn greet<W: Worker>(shared: &Shared, packets: &Packets) -> Result<()> {
    let hello = shared.with(|state| W::hello(state))?;
    say::<W>(packets, hello).await?;
    let answer = timeout(TIMEOUT, receive(packets)).await;
    let answer = answer.context("it does not say of which version it is")??;
    match W::version(&parse(&answer)?) {
        Some(VERSION) => Ok(()),
        Some(version) => bail!(
            "{} is of version {version}, and guardd of {VERSION}: install both of one version, then: systemctl restart guardd",
            W::NAME
        ),
        None => bail!("it did not say of which version it is"),
    }
}

/// The messages that are due, in order.
fn due<W: Worker>(state: &mut State) -> Vec<Outgoing<W::Message>> {
    if W::link_mut(state).takes_change() {
        W::refresh(state);
    }
    W::link_mut(state).take_unsaid()
}

async fn say<W: Worker>(packets: &Packets, outgoing: Outgoing<W::Message>) -> Result<()> {
    let bytes = W::encode(&outgoing.message)?;
    let descriptors: Vec<_> = outgoing.descriptors.iter().map(|fd| fd.as_fd()).collect();
    let said = timeout(TIMEOUT, packets.send(&bytes, &descriptors)).await;
    let said = said.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    said.context("it does not read what it is sent")
}

async fn receive(packets: &Packets) -> Result<Packet> {
    let packet = packets.receive().await;
    let packet = packet.context("its messages cannot be read")?;
    packet.context("it has ended")
}

fn parse<T: DeserializeOwned>(packet: &Packet) -> Result<T> {
    serde_json::from_slice(&packet.bytes).context("its messages cannot be parsed")
}
