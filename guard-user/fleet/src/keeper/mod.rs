//! The side of whoever keeps the list: its rights are the server's, and a machine that was invited is written into it.

mod invite;
mod server;

use std::{
    io::{self, BufRead as _, Read as _},
    time::Duration,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use async_nats::Message;
use futures_util::StreamExt as _;
use guard_signed::visible::visible;
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use crate::{
    Outcome,
    args::KeepArgs,
    key,
    link::Link,
    list::{Held, Listed},
    messages::{self, Join, Joined},
    settings::Settings,
    subjects::{Group, Joining, Key},
};

pub(crate) use invite::invite;
use server::Server;

/// How often the list is looked at.
const LOOKS: Duration = Duration::from_secs(1);
/// How long each refusal takes.
const PAUSE: Duration = Duration::from_millis(50);
/// Characters of what somebody who would join says that are logged.
const SHOWN: usize = 512;

/// `guard-fleet keep`: until it is told to end.
///
/// # Errors
///
/// That the list is wrong, the rights cannot be written, or there is no key.
pub(crate) async fn keep(settings: &Settings, args: &KeepArgs) -> Result<Outcome> {
    let mut told = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut typed = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let own: Key = key::public(&settings.key)?
        .parse()
        .map_err(|why: String| anyhow!(why))?;
    let mut server = Server::new(args);
    // The server has to know this one before it is asked.
    server.follow(&own)?;
    let link = Link::of_a_machine(settings).await?;
    let joins = link.client.subscribe(Joining::Join.all()).await;
    let mut joins = joins.context("cannot hear who would join")?;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(list = %args.list.display(), rights = %args.rights.display(), "keeps the rights");
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = told.recv() => return Ok(Outcome::Done),
            _ = typed.recv() => return Ok(Outcome::Done),
            heard = joins.next() => {
                let Some(heard) = heard else {
                    tracing::error!("the connection has ended");
                    return Ok(Outcome::Lost);
                };
                answer(&link, args, &heard).await;
                server.follow_or_say(&own);
            }
            _ = looks.tick() => server.follow_or_say(&own),
        }
    }
}

/// Lets a machine in, or says why not.
async fn answer(link: &Link, args: &KeepArgs, heard: &Message) {
    let Some((group, invitation)) = Joining::Join.parse(&heard.subject) else {
        return;
    };
    let refused = match admit(args, &group, &invitation, &heard.payload) {
        Ok(machine) => {
            tracing::info!(machine = %machine.id, %group, key = %machine.key, "has joined");
            None
        }
        Err(error) => {
            let error = visible(&format!("{error:#}"), SHOWN);
            tracing::warn!(%invitation, error, "has not joined");
            // Whoever has a token may try as often as they like.
            sleep(PAUSE).await;
            Some(error)
        }
    };
    let subject = Joining::Joined.of(&group, &invitation);
    link.publish(subject, messages::bytes(&Joined { refused }))
        .await;
    // The server forgets the invitation next.
    let _ = timeout(LOOKS, link.client.flush()).await;
}

/// Writes it into the list, once.
fn admit(args: &KeepArgs, group: &Group, invitation: &Key, payload: &[u8]) -> Result<Listed> {
    let join: Join = messages::read(payload).context("it does not say which machine it is")?;
    let held = Held::open(&args.list)?;
    let mut invitations = held.list.invitation.iter();
    let invited = invitations.find(|one| one.key == *invitation);
    let invited = invited.context("the invitation has been used")?;
    ensure!(
        invited.until.0 > Timestamp::now(),
        "the invitation's time is over"
    );
    ensure!(invited.group == *group, "it is for {}", invited.group);
    if let Some(id) = &invited.id {
        ensure!(*id == join.id, "it is for {id}, and not for {}", join.id);
    }
    ensure!(
        join.is_signed(invitation),
        "the machine does not have the key that it names"
    );
    let is_there = held.list.machine.iter().any(|one| one.id == join.id);
    ensure!(
        !is_there,
        "{} is in the list: take it out first, where it is to have another key",
        join.id
    );
    let machine = Listed {
        id: join.id,
        key: join.key,
        group: group.clone(),
    };
    held.admit(invitation, &machine)?;
    Ok(machine)
}

/// Reads a token, or another short line, from standard input.
///
/// # Errors
///
/// That it cannot be read.
pub(crate) fn line_of_stdin() -> Result<String> {
    let mut line = String::new();
    let read = io::stdin().lock().take(1024).read_line(&mut line);
    read.context("cannot read standard input")?;
    Ok(line.trim().to_owned())
}
