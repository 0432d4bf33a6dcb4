//! What is asked now, for every page that is looked at.
//!
//! One call to guardd follows the questions for as long as somebody looks, and no longer: guardd holds connections while a
//! courier follows, and there is no use in that while nobody would see them.

use std::{rc::Rc, time::Duration};

use guard_courier::{Guardd, Refusal};
use guard_proto::{Call, Request, RequestsReply};
use tokio::{sync::watch, time::sleep};

use crate::lookers::{Looker, Lookers};

/// How long to wait before guardd is tried again.
const PAUSE: Duration = Duration::from_millis(500);

/// What is asked.
#[derive(Clone, Debug, Default)]
pub(crate) struct Live {
    /// Whether guardd tells it.
    pub(crate) is_connected: bool,
    /// Oldest first.
    pub(crate) requests: Rc<Vec<Request>>,
}

/// Keeps it.
#[derive(Debug)]
pub(crate) struct Hub {
    live: watch::Sender<Live>,
    lookers: Rc<Lookers>,
}

impl Hub {
    /// Follows guardd as soon as somebody looks.
    pub(crate) fn begin(guardd: Guardd) -> Rc<Self> {
        let hub = Rc::new(Self {
            live: watch::channel(Live::default()).0,
            lookers: Rc::default(),
        });
        let following = Rc::clone(&hub);
        tokio::task::spawn_local(async move { following.run(&guardd).await });
        hub
    }

    /// How many look.
    pub(crate) fn looking(&self) -> usize {
        self.lookers.count()
    }

    /// Somebody looks, until this is dropped.
    pub(crate) fn look(&self) -> Looking {
        Looking {
            live: self.live.subscribe(),
            _looker: self.lookers.look(),
        }
    }

    async fn run(&self, guardd: &Guardd) {
        loop {
            self.lookers.somebody().await;
            tokio::select! {
                ended = self.follow(guardd) => {
                    if let Err(refusal) = ended {
                        tracing::debug!(why = refusal.failure.why, "guardd is away");
                    }
                    self.tell(false, Rc::default());
                    sleep(PAUSE).await;
                }
                () = self.lookers.nobody() => self.tell(false, Rc::default()),
            }
        }
    }

    async fn follow(&self, guardd: &Guardd) -> Result<(), Refusal> {
        let mut answers = guardd.stream::<RequestsReply>(&Call::Pending {}).await?;
        while let Some(asked) = answers.next().await? {
            self.tell(true, Rc::new(asked.requests));
        }
        Ok(())
    }

    fn tell(&self, is_connected: bool, requests: Rc<Vec<Request>>) {
        self.live.send_if_modified(|live| {
            // Nothing is reported twice of a guardd that is away.
            let is_news = is_connected || live.is_connected;
            *live = Live {
                is_connected,
                requests,
            };
            is_news
        });
    }
}

/// Somebody who looks.
#[derive(Debug)]
pub(crate) struct Looking {
    live: watch::Receiver<Live>,
    _looker: Looker,
}

impl Looking {
    /// What is asked now.
    pub(crate) fn now(&mut self) -> Live {
        self.live.borrow_and_update().clone()
    }

    /// Until that changes.
    pub(crate) async fn change(&mut self) {
        // The hub lives for as long as this does.
        let _ = self.live.changed().await;
    }
}
