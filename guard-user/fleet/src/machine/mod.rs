//! A machine's side: questions out while somebody looks, answers in, and that the machine is there.
//!
//! guardd has connections wait while a courier follows its questions. So this one follows only while somebody's word that they
//! look is younger than [`LOOKED`]: a question that nobody can see is refused at once, as it is without a fleet.

mod answers;
mod approvers;
mod join;
mod log;
mod policies;
mod presence;
mod questions;
mod reached;

use std::{cell::RefCell, time::Duration};

use anyhow::{Context as _, Result, anyhow};
use futures_util::StreamExt as _;
use guard_courier::Guardd;
use guard_proto::{Call, Presence};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};

use crate::{
    VerbOutcome, key,
    link::NatsLink,
    messages::{self, LogSent, PublishAgain},
    settings::Settings,
    subjects::{Group, Machine, Subject, SubjectKind},
};

pub(crate) use join::{id_of_this_machine, join};

/// For how long it counts that somebody looks: twice missed, they are gone.
const LOOKED: Duration = Duration::from_secs(15);
/// How long to wait before guardd is tried again.
const PAUSE: Duration = Duration::from_millis(500);
/// How long the last word may take.
const LAST: Duration = Duration::from_secs(1);

/// What the parts of it share.
#[derive(Debug)]
struct Carrier {
    guardd: Guardd,
    link: NatsLink,
    group: Group,
    machine: Machine,
    /// Until when somebody looks.
    looked: watch::Sender<Option<Instant>>,
    /// How far its audit log has come; none: it goes nowhere.
    log: RefCell<Option<LogSent>>,
    /// Somebody has just come, or the server: publish all that is open again.
    anew: Notify,
    /// Policies have come, which may revoke keys, or a hole was closed: look again at what consoles hear.
    look_again: Notify,
}

/// Carries until it is stopped.
///
/// # Errors
///
/// That there is no key, or the machine has no id.
pub(crate) async fn serve(settings: &Settings) -> Result<VerbOutcome> {
    let mut told = signal(SignalKind::terminate()).context("cannot wait for signals")?;
    let mut typed = signal(SignalKind::interrupt()).context("cannot wait for signals")?;
    let key = key::public(&settings.key)?;
    tracing::info!(key, "this machine's key, for guard-fleet rights");
    let link = NatsLink::of_a_machine(settings).await?;
    // Nobody may have asked for it. What guardd and the servers do meanwhile, the log says.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = async {
        tokio::select! {
            _ = told.recv() => {}
            _ = typed.recv() => {}
        }
    };
    tokio::pin!(ended);
    let carrier = tokio::select! {
        carrier = begin(settings, link) => carrier?,
        () = &mut ended => return Ok(VerbOutcome::Done),
    };
    tokio::select! {
        ended = carry(&carrier, settings) => {
            if let Err(error) = ended {
                tracing::error!("{error:#}");
                return Ok(VerbOutcome::Lost);
            }
        }
        () = ended => {}
    }
    let _ = timeout(LAST, carrier.leave()).await;
    Ok(VerbOutcome::Done)
}

/// Waits for guardd, which knows what this machine is called.
async fn begin(settings: &Settings, link: NatsLink) -> Result<Carrier> {
    let guardd = Guardd::at(settings.socket.clone());
    let mut is_told = false;
    let said: Presence = loop {
        match guardd.call(&Call::Presence {}).await {
            Ok(said) => break said,
            Err(refusal) => {
                let failure = refusal.failure;
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!("{}: {}\n{}", failure.what, failure.why, failure.fix);
                }
                sleep(PAUSE).await;
            }
        }
    };
    let machine = said.machine.parse().map_err(|_| {
        anyhow!("this machine has no id of its own: systemd-machine-id-setup makes one, then restart guardd")
    })?;
    tracing::info!(%machine, group = %settings.group, "carries what this machine asks");
    Ok(Carrier {
        guardd,
        link,
        group: settings.group.clone(),
        machine,
        looked: watch::channel(None).0,
        log: RefCell::default(),
        anew: Notify::new(),
        look_again: Notify::new(),
    })
}

async fn carry(carrier: &Carrier, settings: &Settings) -> Result<()> {
    tokio::select! {
        ended = looks(carrier) => ended,
        ended = answers::carry(carrier) => ended,
        ended = approvers::carry(carrier) => ended,
        ended = policies::carry(carrier) => ended,
        ended = reached::carry(carrier) => ended,
        () = questions::carry(carrier) => Ok(()),
        () = presence::tell(carrier) => Ok(()),
        () = presence::tell_here(carrier, settings) => Ok(()),
        () = log::carry(carrier, settings) => Ok(()),
    }
}

/// Hears that somebody looks.
async fn looks(carrier: &Carrier) -> Result<()> {
    let looks = carrier.link.client.subscribe(carrier.group.look()).await;
    let mut looks = looks.context("cannot hear whether somebody looks")?;
    let mut link = carrier.link.clone();
    loop {
        tokio::select! {
            heard = looks.next() => {
                let heard = heard.context("the connection has ended")?;
                let is_published = messages::is_published(&heard);
                let look = messages::read::<PublishAgain>(&heard.payload);
                let Some(look) = look.filter(|_| is_published) else {
                    continue;
                };
                carrier.looked.send_replace(Some(Instant::now() + LOOKED));
                if look.anew {
                    carrier.anew.notify_one();
                }
            }
            () = link.change() => {
                // What was published meanwhile nobody has heard. Whoever looked a moment ago may be back as soon: a server that
                // ends lets no connection go that waits.
                if link.stands() {
                    carrier.anew.notify_one();
                }
            }
        }
    }
}

impl Carrier {
    fn subject(&self, what: SubjectKind, request: Option<&str>) -> String {
        let subject = Subject {
            group: self.group.clone(),
            what,
            machine: self.machine.clone(),
            request: request.map(str::to_owned),
        };
        subject.to_string()
    }

    /// Says that the machine goes.
    async fn leave(&self) {
        presence::publish(self, true).await;
        presence::say_linked(self, false).await;
        // It is the last word: there is nobody to tell that it failed.
        let _ = self.link.client.flush().await;
    }
}
