//! The command that is run for each new request, and for what comes into reach: for chat and push services.
//!
//! Its input comes from the agent in part, and it uses the network: so it never runs as root. It runs apart from guardd's
//! decisions: a command that hangs, fails or floods costs a line in the log.

use std::{
    collections::{HashSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use guard_proto::{self as proto, LogRecord};
use tokio::{
    sync::{
        broadcast::{self, error::RecvError},
        mpsc, watch,
    },
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::hook::{Ended, Hook};
use crate::shared::Shared;

mod hook;

/// Commands at once.
const AT_ONCE: usize = 4;
/// Requests that wait for a command.
const QUEUE: usize = 64;
/// Requests within this time are read together, so that their JSON says whether a connection is held.
const GATHER: Duration = Duration::from_millis(50);
/// How much later the command is run again that has asked for it, and for how many requests at most.
const LATER: Duration = Duration::from_secs(15);
const MOST_LATER: usize = 16;
/// Interval between two warnings that requests were dropped.
const QUIET: Duration = Duration::from_secs(10);

/// What the command is run for.
#[derive(Clone, Debug)]
enum News {
    /// A request.
    Request(String),
    /// What looks like production and came into reach: its record.
    Appeared(Arc<LogRecord>),
}

/// The requests for which the command has run.
#[derive(Debug)]
pub struct Notified {
    changes: watch::Receiver<u64>,
    appeared: broadcast::Receiver<Arc<LogRecord>>,
    ids: HashSet<(String, u32)>,
}

impl Notified {
    /// The pending requests: for these an earlier guardd has run the command.
    #[must_use]
    pub fn until_now(shared: &Shared) -> Self {
        Self {
            changes: shared.changes(),
            appeared: shared.appeared.subscribe(),
            ids: pending(shared).into_iter().collect(),
        }
    }

    /// Waits for a change; returns what is new, and how much of it was forgotten.
    async fn next(&mut self, shared: &Shared) -> (Vec<News>, u64) {
        tokio::select! {
            // The sender lives as long as `shared`.
            _ = self.changes.changed() => (self.requests(shared).await, 0),
            one = self.appeared.recv() => match one {
                Ok(one) => (vec![News::Appeared(one)], 0),
                Err(RecvError::Lagged(count)) => (Vec::new(), count),
                Err(RecvError::Closed) => (Vec::new(), 0),
            },
        }
    }

    async fn requests(&mut self, shared: &Shared) -> Vec<News> {
        tokio::time::sleep(GATHER).await;
        self.changes.mark_unchanged();
        let now = pending(shared);
        let new = now.iter().filter(|one| !self.ids.contains(*one));
        let new = new.map(|(id, _)| News::Request(id.clone())).collect();
        self.ids = now.into_iter().collect();
        new
    }
}

/// The ids of the pending requests, oldest first, each with its size: one that has grown much is told again.
fn pending(shared: &Shared) -> Vec<(String, u32)> {
    shared.with(|state| {
        let pending = state.requests.pending().iter();
        let keys = pending.map(|asked| (asked.shown.id.clone(), asked.shown.size()));
        keys.collect()
    })
}

/// Runs the command for each new request, for ever.
pub async fn follow(shared: Rc<Shared>, mut told: Notified) {
    let hook = shared.with(|state| Hook::of(&state.config));
    let hook = match hook {
        Ok(Some(hook)) => Rc::new(hook),
        Ok(None) => return std::future::pending().await,
        Err(error) => {
            tracing::error!("on_request is not run, and nobody is told by it: {error:#}");
            return std::future::pending().await;
        }
    };
    let (queue, waiting) = mpsc::channel(QUEUE);
    let collect = async {
        let mut dropped = Dropped::default();
        loop {
            let (news, forgotten) = told.next(&shared).await;
            dropped.count += forgotten;
            for one in news {
                dropped.add(queue.try_send(one).is_err());
            }
            dropped.say();
        }
    };
    tokio::join!(collect, run(&shared, &hook, waiting));
}

/// Runs the command for each in a queue, a few at a time.
async fn run(shared: &Rc<Shared>, hook: &Rc<Hook>, mut waiting: mpsc::Receiver<News>) {
    let mut running = JoinSet::new();
    let mut later: VecDeque<(Instant, News)> = VecDeque::new();
    loop {
        let has_room = running.len() < AT_ONCE;
        let next = later.front().map(|(at, _)| *at);
        let one = tokio::select! {
            Some(one) = waiting.recv(), if has_room => one,
            () = sleep_until(next.unwrap_or_else(Instant::now)), if has_room && next.is_some() => {
                match later.pop_front() {
                    Some((_, one)) => one,
                    None => continue,
                }
            }
            Some(ended) = running.join_next() => {
                // More than that only come to be known by guard pending, as the command knows them by now.
                let again = ended.ok().flatten().filter(|_| later.len() < MOST_LATER);
                later.extend(again.map(|one| (Instant::now() + LATER, one)));
                continue;
            }
        };
        let (shared, hook) = (Rc::clone(shared), Rc::clone(hook));
        running.spawn_local(async move { tell(&shared, &hook, one).await });
    }
}

/// Runs the command; for a request, if it still waits. Returns what it is to be run again for.
async fn tell(shared: &Shared, hook: &Hook, news: News) -> Option<News> {
    let ran = match &news {
        News::Request(id) => {
            let shown = shared.with(|state| {
                let code = state.code_of(id);
                let shown = state.requests.get(id)?.shown.clone();
                Some(proto::Request { code, ..shown })
            });
            hook.run(&shown?).await
        }
        News::Appeared(record) => hook.run(&**record).await,
    };
    match (ran, news) {
        (Ok(Ended::Later), News::Request(id)) => Some(News::Request(id)),
        (Ok(_), _) => None,
        (Err(error), news) => {
            let of = match &news {
                News::Request(id) => id,
                News::Appeared(record) => record.session.as_deref().unwrap_or_default(),
            };
            tracing::warn!(of, "on_request: {error:#}");
            None
        }
    }
}

/// Requests for which no command was run.
#[derive(Debug, Default)]
struct Dropped {
    count: u64,
    said: Option<Instant>,
}

impl Dropped {
    fn add(&mut self, is_one: bool) {
        self.count += u64::from(is_one);
    }

    fn say(&mut self) {
        let is_quiet = self.said.is_some_and(|said| said.elapsed() < QUIET);
        if self.count > 0 && !is_quiet {
            tracing::warn!(
                keys = self.count,
                "on_request: not told, as {QUEUE} others wait for it; guard pending has them"
            );
            (self.count, self.said) = (0, Some(Instant::now()));
        }
    }
}
