//! A person's side: what all machines ask, and an answer to one of them.

mod answer;
pub(crate) mod heard;
pub(crate) mod known;
mod log;
mod push;
mod show;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::time::{Instant, timeout_at};

use crate::{
    VerbOutcome,
    args::MachinesArgs,
    link::NatsLink,
    list::{List, ListedMachine},
    settings::Settings,
};

pub(crate) use answer::{SHORTEST, answer};
use heard::{Fleet, KnownChange};
pub(crate) use log::log;
pub(crate) use push::push;

/// A list is whole when nothing has come for so long.
const QUIET: Duration = Duration::from_millis(700);
/// And at the latest then.
const LONGEST_LIST: Duration = Duration::from_secs(5);

/// `guard-fleet pending`
///
/// # Errors
///
/// That no server takes the key, or nothing can be printed.
pub(crate) async fn pending(settings: &Settings, follow: bool, json: bool) -> Result<VerbOutcome> {
    let mut fleet =
        Fleet::begin(NatsLink::of_a_person(settings).await?, settings.looked_at()).await?;
    if !follow {
        gather(&mut fleet).await?;
        for asked in fleet.questions() {
            print(&show::question(asked, json))?;
        }
        if !json {
            print(&show::rest(&fleet))?;
        }
        return Ok(VerbOutcome::Done);
    }
    let groups = settings.looked_at().into_iter();
    let groups: Vec<_> = groups.map(|group| group.to_string()).collect();
    // Beside what programs read.
    eprintln!(
        "guard-fleet: shows what is asked in {}, by {}, until it is ended",
        groups.join(", "),
        settings.servers()
    );
    loop {
        let text = match fleet.next().await? {
            KnownChange::Asked(asked) => show::question(&asked, json),
            KnownChange::Over(asked) => show::over(&asked, json),
            KnownChange::Machine(..)
            | KnownChange::Removed(..)
            | KnownChange::Receipt(_)
            | KnownChange::Reached(_)
            | KnownChange::Link => continue,
        };
        print(&text)?;
    }
}

/// `guard-fleet machines`
///
/// # Errors
///
/// As for [`pending`].
pub(crate) async fn machines(settings: &Settings, args: &MachinesArgs) -> Result<VerbOutcome> {
    let (fleet, silent) = all_of(settings, args).await?;
    print(&show::machines(&fleet, &silent, args.json))?;
    Ok(all_there(&silent))
}

/// `guard-fleet status`
///
/// # Errors
///
/// As for [`pending`].
pub(crate) async fn status(settings: &Settings, args: &MachinesArgs) -> Result<VerbOutcome> {
    let (fleet, silent) = all_of(settings, args).await?;
    print(&show::status(&fleet, &silent, args.json))?;
    Ok(all_there(&silent))
}

/// The machines that are there, and those that are listed and are not.
async fn all_of(settings: &Settings, args: &MachinesArgs) -> Result<(Fleet, Vec<ListedMachine>)> {
    // What is wrong with it needs no server.
    let listed = List::machines_in(args.list.as_deref())?;
    let groups = settings.looked_at();
    let listed = listed.into_iter().filter(|one| groups.contains(&one.group));
    let mut silent: Vec<_> = listed.collect();
    let mut fleet = Fleet::begin(NatsLink::of_a_person(settings).await?, groups).await?;
    gather(&mut fleet).await?;
    silent.retain(|one| {
        let heard = fleet.machine(&one.group, &one.id);
        heard.is_none_or(|state| state.here.is_none())
    });
    Ok((fleet, silent))
}

fn all_there(silent: &[ListedMachine]) -> VerbOutcome {
    if silent.is_empty() {
        VerbOutcome::Done
    } else {
        VerbOutcome::No
    }
}

/// Hears all that is open now.
async fn gather(fleet: &mut Fleet) -> Result<()> {
    let latest = Instant::now() + LONGEST_LIST;
    loop {
        let quiet = (Instant::now() + QUIET).min(latest);
        match timeout_at(quiet, fleet.next()).await {
            Ok(news) => news?,
            Err(_) => return Ok(()),
        };
    }
}

/// Prints text.
///
/// # Errors
///
/// That nobody reads it.
pub(crate) fn print(text: &str) -> Result<VerbOutcome> {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    written.context("cannot print")?;
    Ok(VerbOutcome::Done)
}
