//! The command that is run for each new request, and for what comes into reach: for chat and push services.
//!
//! Its input comes from the agent in part, and it uses the network: so it never runs as root. It runs apart from guardd's
//! decisions: a command that hangs, fails or floods costs a line in the log.

use std::{cell::RefCell, collections::HashSet, rc::Rc, sync::Arc, time::Duration};

use guard_proto::{self as proto, LogRecord};
use tokio::{
    sync::{
        Notify,
        broadcast::{self, error::RecvError},
        watch,
    },
    task::JoinSet,
    time::{Instant, sleep_until},
};

use self::{
    hook::{HookEnd, RequestHook},
    waiting::{WaitingRuns, running},
};
use crate::{
    control::ids, quota::Account, shared::Shared, signed_answers::questions::GivenQuestion,
};

mod hook;
mod waiting;

/// Requests within this time are read together, so that their JSON says whether a connection is held.
const GATHER: Duration = Duration::from_millis(50);
/// Interval between two warnings that requests were dropped.
const QUIET: Duration = Duration::from_secs(10);

/// What the command is run for.
#[derive(Clone, Debug)]
enum News {
    /// A request.
    Request(String),
    /// A request that was announced, and has another code since it asks something else.
    Code(String),
    /// What looks like production and came into reach: its record.
    Appeared(Arc<LogRecord>),
}

impl News {
    fn is_same_request(&self, other: &Self) -> bool {
        let request = self.request();
        request.is_some() && request == other.request()
    }

    fn request(&self) -> Option<&str> {
        match self {
            Self::Request(id) | Self::Code(id) => Some(id),
            Self::Appeared(_) => None,
        }
    }

    /// The account that it is of; none where a request does not wait any more.
    fn account(&self, shared: &Shared) -> Option<Account> {
        shared.with(|state| match self {
            Self::Request(id) | Self::Code(id) => Some(state.requests.get(id)?.account),
            Self::Appeared(record) => {
                let session = ids::parse_session(record.session.as_deref()?).ok()?;
                Some(state.sessions.account_of(session))
            }
        })
    }
}

/// The requests for which the command has run.
#[derive(Debug)]
pub(crate) struct Notified {
    changes: watch::Receiver<u64>,
    appeared: broadcast::Receiver<Arc<LogRecord>>,
    ids: HashSet<ToldRequest>,
}

/// A request as it was announced. One that has grown much is announced again, and one whose code has been used: the next approver needs the
/// next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ToldRequest {
    id: String,
    size: u32,
    codes: u32,
}

impl Notified {
    /// The pending requests: for these an earlier guardd has run the command.
    #[must_use]
    pub(crate) fn until_now(shared: &Shared) -> Self {
        Self {
            changes: shared.changes(),
            appeared: shared.appeared.subscribe(),
            ids: pending(shared).into_iter().map(|one| one.told).collect(),
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
        let news = now.iter().filter_map(|one| {
            let id = one.told.id.clone();
            if self.ids.contains(&one.told) {
                one.has_code_to_tell.then_some(News::Code(id))
            } else {
                Some(News::Request(id))
            }
        });
        let news = news.collect();
        self.ids = now.into_iter().map(|one| one.told).collect();
        news
    }
}

/// A pending request.
#[derive(Debug)]
struct WaitingRequest {
    told: ToldRequest,
    /// Its question has a code that was not announced.
    has_code_to_tell: bool,
}

/// The pending requests, oldest first.
fn pending(shared: &Shared) -> Vec<WaitingRequest> {
    shared.with(|state| {
        let pending = state.requests.pending().iter();
        let told = pending.map(|asked| {
            let question = state.signed_answers.question(&asked.shown.id);
            WaitingRequest {
                told: ToldRequest {
                    id: asked.shown.id.clone(),
                    size: asked.shown.size(),
                    codes: question.map_or(0, |question| question.codes),
                },
                has_code_to_tell: question.is_some_and(GivenQuestion::has_code_to_tell),
            }
        });
        told.collect()
    })
}

/// Runs the command for each new request, for ever.
pub(crate) async fn follow(shared: Rc<Shared>, mut told: Notified) {
    let hook = shared.with(|state| RequestHook::of(&state.config));
    let hook = match hook {
        Ok(Some(hook)) => Rc::new(hook),
        Ok(None) => return std::future::pending().await,
        Err(error) => {
            tracing::error!("on_request is not run, and nobody is told by it: {error:#}");
            return std::future::pending().await;
        }
    };
    let queue = Queue::default();
    let collect = async {
        let mut dropped = Dropped::default();
        loop {
            let (news, forgotten) = told.next(&shared).await;
            dropped.count += forgotten;
            for one in news {
                let Some(account) = one.account(&shared) else {
                    continue;
                };
                let mut waiting = queue.waiting.borrow_mut();
                match one {
                    // The agent changes what it asks as often as it likes. What is left out is told with the next change.
                    News::Code(_) => {
                        waiting.add_again(account, one, Instant::now());
                    }
                    one => dropped.add(!waiting.add(account, one, Instant::now())),
                }
            }
            queue.added.notify_one();
            dropped.say();
        }
    };
    tokio::join!(collect, run(&shared, &hook, &queue));
}

/// What waits for a run, and that there is more of it.
#[derive(Debug, Default)]
struct Queue {
    waiting: RefCell<WaitingRuns>,
    added: Notify,
}

/// Runs the command for each in a queue, a few at a time.
async fn run(shared: &Rc<Shared>, hook: &Rc<RequestHook>, queue: &Queue) {
    let mut tasks = JoinSet::new();
    let running = running();
    loop {
        let next = queue.waiting.borrow_mut().next(&running, Instant::now());
        if let Some((account, one)) = next {
            let (shared, hook) = (Rc::clone(shared), Rc::clone(hook));
            let place = running.take(account);
            tasks.spawn_local(async move {
                let again = tell(&shared, &hook, one).await;
                drop(place);
                again.map(|again| (account, again))
            });
            continue;
        }
        let due = queue.waiting.borrow().due(&running);
        tokio::select! {
            () = queue.added.notified() => {}
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            Some(ended) = tasks.join_next() => {
                if let Ok(Some((account, again))) = ended {
                    // What is left out comes to be known by guard pending, as the command knows it by now.
                    queue.waiting.borrow_mut().add_again(account, again, Instant::now());
                }
            }
        }
    }
}

/// Runs the command; for a request, if it still waits. Returns what it is to be run again for.
async fn tell(shared: &Shared, hook: &RequestHook, news: News) -> Option<News> {
    let ran = match &news {
        News::Request(id) | News::Code(id) => {
            let is_for_code = matches!(news, News::Code(_));
            let shown = shared.with(|state| {
                let question = state.signed_answers.question(id);
                if is_for_code && !question.is_some_and(GivenQuestion::has_code_to_tell) {
                    return None;
                }
                let code = state.code_to_tell(id);
                // Where its question cannot be made again, each change would tell nothing once more.
                if is_for_code && code.is_none() {
                    return None;
                }
                let shown = state.requests.get(id)?.shown.clone();
                Some(proto::Request { code, ..shown })
            });
            hook.run(&shown?).await
        }
        News::Appeared(record) => hook.run(&**record).await,
    };
    match (ran, news) {
        (Ok(HookEnd::Later), News::Request(id) | News::Code(id)) => Some(News::Request(id)),
        (Ok(_), _) => None,
        (Err(error), news) => {
            let of = match &news {
                News::Request(id) | News::Code(id) => id,
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
                "on_request: not told, as too many others of the same session or user wait for it; guard pending has them"
            );
            (self.count, self.said) = (0, Some(Instant::now()));
        }
    }
}
