//! Beside a console: shows it what all machines say, and carries to them what it hands in.
//!
//! The console talks to a socket (`socket.rs`), and so has no part in NATS or its keys. What it shows comes from `desk.rs`, what
//! it hands in goes to `carried.rs`, and what it asks one machine alone to `reached.rs`; both are published until there is an answer
//! (`unanswered.rs`). Machines hear that somebody looks while somebody looks at its pages, and no longer.

mod carried;
mod desk;
mod reached;
mod socket;
mod unanswered;

use std::{rc::Rc, time::Duration};

use anyhow::{Context as _, Result};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval},
};

use crate::{
    VerbOutcome,
    args::ConsoleSocketArgs,
    key,
    link::{NatsLink, until},
    people::heard::{Fleet, KnownChange},
    settings::Settings,
};
use carried::{Handing, OpenAnswers};
use desk::Desk;
use reached::{Asking, OpenAsks};
use socket::ToMachines;

/// How often it is looked which machines are silent.
const AGES: Duration = Duration::from_secs(5);
/// When machines are asked once more who may answer: servers tell each other a moment late who listens.
const AGAIN: Duration = Duration::from_secs(1);
/// What consoles hand in, and is not taken yet.
const WAITING: usize = 16;

/// Serves until it is stopped.
///
/// # Errors
///
/// That there is no key, or nowhere to listen.
pub(crate) async fn console(settings: &Settings, args: &ConsoleSocketArgs) -> Result<VerbOutcome> {
    let told = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let typed = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let key = key::public(&settings.key)?;
    tracing::info!(
        key,
        "this console's key, for the list: [[person]] with console = true"
    );
    let user = socket::user(&args.user)?;
    let listener = socket::listen(&args.at)?;
    let link = NatsLink::of_a_console(settings).await?;
    let fleet = Fleet::begin_console(link, settings.looked_at()).await?;
    let desk = Rc::new(Desk::default());
    let ((hand, handed), (ask, asked)) = (mpsc::channel(WAITING), mpsc::channel(WAITING));
    let to = ToMachines { hand, ask };
    let served = tokio::task::spawn_local(socket::serve(listener, user, Rc::clone(&desk), to));
    // Nobody may have asked for it.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let outcome = attend(&desk, fleet, handed, asked, [told, typed]).await;
    served.abort();
    Ok(outcome)
}

/// Hears what comes from machines and from the console, until one of these signals comes, or no server is heard any more.
async fn attend(
    desk: &Desk,
    mut fleet: Fleet,
    mut handed: mpsc::Receiver<Handing>,
    mut asked: mpsc::Receiver<Asking>,
    [mut told, mut typed]: [Signal; 2],
) -> VerbOutcome {
    let (mut carried, mut asks) = (OpenAnswers::default(), OpenAsks::default());
    let mut ages = interval(AGES);
    ages.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut again = None;
    loop {
        tokio::select! {
            news = fleet.next() => match news {
                Ok(news) => {
                    if matches!(news, KnownChange::Link) && fleet.link.stands() {
                        again = Some(Instant::now() + AGAIN);
                    }
                    hear(desk, &fleet, &mut carried, &mut asks, news);
                }
                Err(error) => {
                    tracing::error!("{error:#}");
                    return VerbOutcome::Lost;
                }
            },
            Some(handing) = handed.recv() => carried.hand_in(&fleet, handing).await,
            () = until(carried.next()) => carried.again(&fleet.link).await,
            Some(asking) = asked.recv() => asks.ask(&fleet, asking).await,
            () = until(asks.next()) => asks.again(&fleet.link).await,
            () = until(again) => {
                again = None;
                fleet.ask_who().await;
            }
            () = desk.looked() => {
                if desk.is_looked() != fleet.is_looked() {
                    fleet.set_looked(desk.is_looked()).await;
                    desk.hear_all(&fleet);
                }
            }
            _ = ages.tick() => {
                let is_one_unknown = desk.age(&fleet);
                if is_one_unknown && again.is_none() {
                    again = Some(Instant::now() + AGES * 4);
                }
            }
            _ = told.recv() => return VerbOutcome::Done,
            _ = typed.recv() => return VerbOutcome::Done,
        }
    }
}

fn hear(
    desk: &Desk,
    fleet: &Fleet,
    carried: &mut OpenAnswers,
    asks: &mut OpenAsks,
    news: KnownChange,
) {
    match news {
        KnownChange::Link => desk.link(fleet),
        KnownChange::Machine(group, machine) => desk.hear(fleet, (group, machine)),
        KnownChange::Removed(group, machine) => desk.remove(&(group, machine)),
        KnownChange::Asked(of) => desk.hear(fleet, (of.group, of.machine)),
        KnownChange::Over(of) => desk.over(fleet, *of),
        KnownChange::Receipt(receipt) => {
            let (subject, receipt) = *receipt;
            desk.receipt(fleet, &subject, &receipt);
            carried.receipt(&subject, receipt);
        }
        KnownChange::Reached(said) => {
            let (subject, said) = *said;
            asks.heard(&subject, &said);
        }
    }
}
