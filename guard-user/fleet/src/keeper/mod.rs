//! The keeper's side: its rights are the server's, and a machine that was invited is written into it.

mod bundles;
mod invite;
mod log;
mod remove;
mod server;

use std::{
    collections::{HashMap, HashSet},
    io::{self, BufRead as _, Read as _},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use async_nats::{Message, Subscriber};
use futures_util::StreamExt as _;
use jiff::Timestamp;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{MissedTickBehavior, interval, timeout},
};

use crate::{
    VerbOutcome,
    args::KeepArgs,
    key,
    link::{NatsLink, until},
    list::{ListedMachine, LockedList},
    messages::{self, Join, Joined},
    settings::Settings,
    subjects::{Bundles, Group, Joining, NatsKey},
};

use bundles::KeptBundles;
pub(crate) use invite::invite;
pub(crate) use remove::remove;
use server::Server;

/// How often it is said that a bundle is not kept.
const TOLD: Duration = Duration::from_secs(10);
/// How often the list is looked at.
const LOOKS: Duration = Duration::from_secs(1);
/// How often an invitation may be refused, and how many of those are known: a hundred thousand are nobody's by mistake.
const TRIES: u32 = 10;
const MOST: usize = 100_000;

/// `guard-fleet keep`: until it is stopped.
///
/// # Errors
///
/// That the list is wrong, the rights cannot be written, or there is no key.
pub(crate) async fn keep(settings: &Settings, args: &KeepArgs) -> Result<VerbOutcome> {
    let mut told = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut typed = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let own: NatsKey = key::public(&settings.key)?
        .parse()
        .map_err(|why: String| anyhow!(why))?;
    let (mut server, mut tries) = (Server::new(args), Tries::default());
    // The server has to know this one before it is asked. What is wrong is said now, but for a server that does not run yet.
    drop(LockedList::open(&args.list)?);
    server.follow_or_say(&own);
    let link = NatsLink::of_a_machine(settings).await?;
    let [mut joins, mut policies, mut wants] = heard(&link).await?;
    let mut kept = match (&args.policies, &args.signers) {
        (Some(dir), Some(signers)) => Some(KeptBundles::new(dir, signers, args.signatures)?),
        _ => None,
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    tracing::info!(list = %args.list.display(), rights = %args.rights.display(), "keeps the rights");
    let log = log::keep(&link, settings, args);
    tokio::pin!(log);
    let mut warned: Option<Instant> = None;
    let mut looks = interval(LOOKS);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let due = kept.as_ref().and_then(KeptBundles::due);
        tokio::select! {
            _ = told.recv() => return Ok(VerbOutcome::Done),
            _ = typed.recv() => return Ok(VerbOutcome::Done),
            heard = joins.next() => {
                let Some(heard) = heard else {
                    tracing::error!("the connection has ended");
                    return Ok(VerbOutcome::Lost);
                };
                if messages::is_published(&heard) {
                    answer(&link, args, &own, &mut tries, &heard).await;
                }
                server.follow_or_say(&own);
            }
            Some(heard) = policies.next() => keep_policies(&mut kept, &heard, &mut warned),
            Some(heard) = wants.next() => tell_policies(&mut kept, &link, &heard).await,
            () = until(due) => tell_due_policies(&mut kept, &link).await,
            _ = looks.tick() => server.follow_or_say(&own),
            () = &mut log => {}
        }
        if link.stands() {
            tell_removed(&link, &mut server).await;
        }
    }
}

/// Has those heard of that the list has no more.
async fn tell_removed(link: &NatsLink, server: &mut Server) {
    for subject in server.take_removed() {
        tracing::info!(subject, "is in the list no more");
        link.publish(subject, Vec::new()).await;
    }
}

/// Who would join, policies, and who wants them.
async fn heard(link: &NatsLink) -> Result<[Subscriber; 3]> {
    let hear = async |subject: String, what: &str| {
        let heard = link.client.subscribe(subject).await;
        heard.with_context(|| format!("cannot hear {what}"))
    };
    Ok([
        hear(Joining::Join.all(), "who would join").await?,
        hear(Bundles::Policies.all(), "policies").await?,
        hear(Bundles::Want.all(), "who wants policies").await?,
    ])
}

fn keep_policies(kept: &mut Option<KeptBundles>, heard: &Message, warned: &mut Option<Instant>) {
    let group = Bundles::Policies.parse(&heard.subject);
    let group = group.filter(|_| messages::is_published(heard));
    if let (Some(kept), Some(group)) = (kept, group)
        && let Err(error) = kept.take(&group, &heard.payload)
        && warned.is_none_or(|at| at.elapsed() >= TOLD)
    {
        // A publisher fills no log.
        *warned = Some(Instant::now());
        tracing::warn!(%group, "policies that were published are not kept: {error:#}");
    }
}

async fn tell_policies(kept: &mut Option<KeptBundles>, link: &NatsLink, heard: &Message) {
    let group = Bundles::Want.parse(&heard.subject);
    let group = group.filter(|_| messages::is_empty(heard));
    if let (Some(kept), Some(group)) = (kept, group)
        && let Err(error) = kept.tell(link, &group).await
    {
        tracing::error!("{error:#}");
    }
}

async fn tell_due_policies(kept: &mut Option<KeptBundles>, link: &NatsLink) {
    let Some(kept) = kept else { return };
    // What is wrong with one group's keeps no other waiting.
    for group in kept.take_due() {
        if let Err(error) = kept.tell(link, &group).await {
            tracing::error!("{error:#}");
        }
    }
}

/// Which invitations were tried while this runs.
#[derive(Debug, Default)]
struct Tries {
    in_vain: HashMap<NatsKey, u32>,
    /// A list that somebody saves from an hour ago brings none of these back.
    used: HashSet<NatsKey>,
}

impl Tries {
    /// Whether an invitation may be tried once more: one that was refused too often counts no more while this runs.
    fn may(&self, invitation: &NatsKey) -> bool {
        self.in_vain.len() < MOST
            && self
                .in_vain
                .get(invitation)
                .is_none_or(|tries| *tries < TRIES)
    }
}

/// Why a machine is not let in, in words that whoever has a token may read.
#[derive(Debug)]
struct NotAdmitted(String);

/// Lets a machine in, or says why not.
async fn answer(
    link: &NatsLink,
    args: &KeepArgs,
    own: &NatsKey,
    tries: &mut Tries,
    heard: &Message,
) {
    let Some((group, invitation)) = Joining::Join.parse(&heard.subject) else {
        return;
    };
    if !tries.may(&invitation) {
        return;
    }
    let join = messages::read(&heard.payload);
    let used = tries.used.contains(&invitation);
    let refused = match admit(args, own, &group, &invitation, used, join) {
        Ok(machine) => {
            tries.used.insert(invitation.clone());
            tracing::info!(machine = %machine.id, %group, key = %machine.key, %invitation, "has joined");
            None
        }
        Err(NotAdmitted(why)) => {
            *tries.in_vain.entry(invitation.clone()).or_default() += 1;
            tracing::warn!(%invitation, why, "has not joined");
            Some(why)
        }
    };
    let subject = Joining::Joined.of(&group, &invitation);
    link.publish(subject, messages::bytes(&Joined { refused }))
        .await;
    // The server drops the invitation next.
    let _ = timeout(LOOKS, link.client.flush()).await;
}

/// Writes it into the list, once.
fn admit(
    args: &KeepArgs,
    own: &NatsKey,
    group: &Group,
    invitation: &NatsKey,
    is_used: bool,
    join: Option<Join>,
) -> Result<ListedMachine, NotAdmitted> {
    let refused = |why: &str| NotAdmitted(why.to_owned());
    let join = join.ok_or_else(|| refused("it does not say which machine it is"))?;
    let is_its = join.is_signed(invitation) && join.key != *own && join.key != *invitation;
    if !is_its {
        return Err(refused("the machine's key is not one of its own"));
    }
    // What is wrong with the list is for the keeper.
    let failed = |error: anyhow::Error| {
        tracing::error!("{error:#}");
        refused("the list cannot be changed now: the log of guard-fleet keep has why")
    };
    let held = LockedList::open(&args.list).map_err(failed)?;
    let machine = ListedMachine {
        id: join.id,
        key: join.key,
        group: group.clone(),
    };
    if held.list.machine.contains(&machine) {
        return Ok(machine);
    }
    let mut invitations = held.list.invitation.iter();
    let Some(invited) = invitations.find(|one| one.key == *invitation && !is_used) else {
        return Err(refused("the invitation has been used"));
    };
    let is_there = held.list.machine.iter().any(|one| one.id == machine.id);
    let why = match &invited.id {
        _ if invited.until.0 <= Timestamp::now() => "the invitation's time is over",
        _ if invited.group != *group => "the invitation is for another group",
        Some(id) if *id != machine.id => "the invitation is for another machine",
        _ if is_there => {
            "a machine of that id is in the list: take it out first (guard-fleet remove), where it is to have another key"
        }
        _ => {
            held.admit(invitation, &machine).map_err(failed)?;
            return Ok(machine);
        }
    };
    Err(refused(why))
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
