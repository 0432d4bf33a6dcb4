//! Which requests are shown, what becomes of a pressed button, and what is said when somebody else has answered.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use guard_proto::{Failure, LogRecord, Request};
use tokio::sync::mpsc::Receiver;
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{Instant, sleep_until};
use tokio_stream::StreamExt as _;

use super::answers::{CallOutcome, tell, who_answered};
use super::buttons::ButtonChoice;
use super::desktop::{ActionInvoked, Desktop, NotificationClosed, Urgency};
use super::follow::GuarddNews;
use super::say;
use super::words::{Abilities, Words};
use crate::error::CliError;
use crate::render::log::appeared;
use crate::render::time::Clock;

/// Requests that are shown at once; one more notification says how many there are beside them.
const MAX_SHOWN: usize = 5;
/// A server that does not answer is tried again after this long,
const RETRY: Duration = Duration::from_secs(2);
/// and for so long. A notifier that cannot show a request does not count as an approver.
const GIVE_UP: Duration = Duration::from_secs(20);
/// A request that is, or was, on the desktop.
#[derive(Debug)]
struct ShownRequest {
    /// The server's number of it; none: the person has put it away.
    notification: Option<u32>,
    words: Words,
    /// [`Request::size`]
    size: u32,
    session: String,
    /// A button was pressed, and guardd has not answered yet; or it has, and that is shown.
    answered: bool,
}

/// Shows requests as notifications of the desktop.
#[derive(Debug)]
pub(super) struct Notifier {
    socket: Arc<PathBuf>,
    desktop: Desktop,
    abilities: Abilities,
    waiting: Vec<Request>,
    shown: BTreeMap<String, ShownRequest>,
    /// What says how many more there are.
    rest: Option<u32>,
    /// What says what came into reach last, and how much that has been since the person saw one.
    appeared: Option<(u32, usize)>,
    outcomes: JoinSet<CallOutcome>,
    failing: Option<Instant>,
    retry: Option<Instant>,
    is_lost: bool,
}

impl Notifier {
    pub(super) fn new(socket: PathBuf, desktop: Desktop) -> Self {
        Self {
            socket: Arc::new(socket),
            desktop,
            abilities: Abilities::default(),
            waiting: Vec::new(),
            shown: BTreeMap::new(),
            rest: None,
            appeared: None,
            outcomes: JoinSet::new(),
            failing: None,
            retry: None,
            is_lost: false,
        }
    }

    /// Shows what waits, and answers what is pressed, for ever.
    ///
    /// # Errors
    ///
    /// guardd's refusal; where the bus is gone, or nobody shows anything.
    pub(super) async fn run(
        mut self,
        mut news: Receiver<GuarddNews>,
    ) -> Result<Infallible, CliError> {
        let server = self.desktop.server.clone();
        let mut actions = server.receive_action_invoked().await.map_err(no_bus)?;
        let mut closed = server.receive_notification_closed().await.map_err(no_bus)?;
        let mut owners = server
            .inner()
            .receive_owner_changed()
            .await
            .map_err(no_bus)?;
        self.learn().await;
        loop {
            let retry = self.retry;
            tokio::select! {
                one = news.recv() => self.hear(one).await?,
                one = actions.next() => self.pressed(one.ok_or_else(bus_gone)?).await,
                one = closed.next() => self.put_away(&one.ok_or_else(bus_gone)?),
                owner = owners.next() => {
                    if owner.ok_or_else(bus_gone)?.is_some() {
                        self.begin_again().await?;
                    }
                }
                Some(Ok(outcome)) = self.outcomes.join_next() => self.came_of_it(outcome).await,
                () = sleep_until(retry.unwrap_or_else(Instant::now)), if retry.is_some() => self.show().await?,
            }
        }
    }

    async fn learn(&mut self) {
        self.abilities = Abilities {
            markup: self.desktop.can("body-markup").await,
            actions: self.desktop.can("actions").await,
        };
    }

    /// Another server: it knows nothing of what the last one has shown.
    async fn begin_again(&mut self) -> Result<(), CliError> {
        self.learn().await;
        (self.rest, self.appeared) = (None, None);
        self.shown.retain(|_, shown| shown.notification.is_none());
        self.show().await
    }

    async fn hear(&mut self, news: Option<GuarddNews>) -> Result<(), CliError> {
        match news {
            Some(GuarddNews::Waiting(requests)) => {
                if std::mem::take(&mut self.is_lost) {
                    say("guardd is back");
                }
                self.waiting = requests;
                self.look_for_gone();
                self.show().await
            }
            Some(GuarddNews::Appeared(record)) => {
                self.show_appeared(&record).await;
                Ok(())
            }
            Some(GuarddNews::Lost(why)) => {
                if !std::mem::replace(&mut self.is_lost, true) {
                    say(&format!("waits for guardd: {why}"));
                }
                Ok(())
            }
            Some(GuarddNews::Refused(error)) => Err(error),
            None => Err(bus_gone()),
        }
    }

    /// Shows what came into reach. There is nothing to answer; it stays until the person has seen it.
    async fn show_appeared(&mut self, record: &LogRecord) {
        let Some((head, below)) = appeared(record) else {
            return;
        };
        // Whoever writes files without end covers the desktop with one notification, and hides none by another.
        let (known, before) = self.appeared.unwrap_or_default();
        let more = match before {
            0 => String::new(),
            count => format!("; and {count} before: guard log"),
        };
        let words = self.abilities.told(&head, &format!("{below}{more}"));
        match self.desktop.show(known, &words, Urgency::Asked).await {
            Ok(shown) => self.appeared = Some((shown, before + 1)),
            Err(error) => say(&format!("{head}, and that cannot be shown: {error}")),
        }
    }

    /// Finds out what became of the requests that do not wait any more.
    fn look_for_gone(&mut self) {
        let waits = |id: &String| self.waiting.iter().any(|request| request.id == *id);
        // What a button has answered does not wait any more before it is known here what came of that, which takes the
        // request's place.
        let is_open = |shown: &ShownRequest| shown.answered && shown.notification.is_some();
        let gone = self.shown.iter();
        let gone: Vec<_> = gone
            .filter(|(id, shown)| !waits(id) && !is_open(shown))
            .map(|(id, _)| id.clone())
            .collect();
        for request in gone {
            let Some(shown) = self.shown.remove(&request) else {
                continue;
            };
            let (Some(notification), false) = (shown.notification, shown.answered) else {
                continue;
            };
            let socket = Arc::clone(&self.socket);
            self.outcomes.spawn(async move {
                let asked = request.clone();
                let by = spawn_blocking(move || who_answered(&socket, &shown.session, &asked));
                let by = by.await.ok().flatten();
                CallOutcome::Gone {
                    request,
                    notification,
                    by,
                }
            });
        }
    }

    /// Shows what is to be shown and is not, or says something else by now.
    async fn show(&mut self) -> Result<(), CliError> {
        match self.try_show().await {
            Ok(()) => {
                if self.failing.take().is_some() {
                    say("notifications are shown again");
                }
                self.retry = None;
                Ok(())
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(&mut self, error: &zbus::Error) -> Result<(), CliError> {
        let since = *self.failing.get_or_insert_with(|| {
            say(&format!(
                "no notification can be shown, and it is tried again: {error}"
            ));
            Instant::now()
        });
        if since.elapsed() >= GIVE_UP {
            return Err(CliError::Local(Failure {
                what: "cannot notify anybody".into(),
                why: format!("no notification can be shown: {error}"),
                fix: "start the desktop's notification server, or use a terminal:\nguard notify --bell".into(),
            }));
        }
        self.retry = Some(Instant::now() + RETRY);
        Ok(())
    }

    async fn try_show(&mut self) -> zbus::Result<()> {
        let clock = Clock::system();
        let mut order: Vec<_> = self.waiting.iter().collect();
        order.sort_by_key(|request| !request.held);
        let is_there = |request: &&&Request| self.shown.contains_key(&request.id);
        let (known, new): (Vec<_>, Vec<_>) = order
            .iter()
            .copied()
            .partition(|request| is_there(&request));
        let on_screen = self
            .shown
            .values()
            .filter(|shown| shown.notification.is_some())
            .count();
        let room = MAX_SHOWN.saturating_sub(on_screen);
        let to_show: Vec<Request> = known
            .into_iter()
            .chain(new.iter().copied().take(room))
            .cloned()
            .collect();
        let rest = new.len().saturating_sub(room);
        for request in to_show {
            self.show_one(&request, &clock).await?;
        }
        self.show_rest(rest).await
    }

    async fn show_one(&mut self, request: &Request, clock: &Clock) -> zbus::Result<()> {
        let words = self.abilities.of_request(request, clock);
        let mut replaces = 0;
        if let Some(shown) = self.shown.get(&request.id) {
            let has_grown = request.size() > shown.size;
            match shown.notification.filter(|_| !shown.answered) {
                Some(notification) if shown.words != words => replaces = notification,
                // Somebody has put it away: what it is about by now they have not seen.
                None if has_grown => {}
                _ => return Ok(()),
            }
        }
        let urgency = if request.held {
            Urgency::Waits
        } else {
            Urgency::Asked
        };
        let notification = Some(self.desktop.show(replaces, &words, urgency).await?);
        let shown = ShownRequest {
            notification,
            words,
            size: request.size(),
            session: request.session.clone(),
            answered: false,
        };
        self.shown.insert(request.id.clone(), shown);
        Ok(())
    }

    /// Says how many more there are than are shown.
    async fn show_rest(&mut self, count: usize) -> zbus::Result<()> {
        if count == 0 {
            if let Some(known) = self.rest.take() {
                self.desktop.server.close_notification(known).await?;
            }
            return Ok(());
        }
        let words = self.abilities.told(
            &format!("{count} more requests wait"),
            "guard pending lists all of them",
        );
        let known = self.rest.unwrap_or(0);
        self.rest = Some(self.desktop.show(known, &words, Urgency::Asked).await?);
        Ok(())
    }

    /// A button was pressed; who says so?
    async fn pressed(&mut self, signal: ActionInvoked) {
        let Ok(pressed) = signal.args() else {
            return;
        };
        let is_that =
            |shown: &ShownRequest| shown.notification == Some(pressed.id) && !shown.answered;
        let found = self.shown.iter_mut().find(|(_, shown)| is_that(shown));
        let (Some((request, shown)), Some(answer)) = (found, ButtonChoice::of(pressed.action_key))
        else {
            return;
        };
        let header = signal.message().header();
        let outside = match header.sender() {
            Some(sender) => self.desktop.is_outside(sender).await,
            None => Ok(false),
        };
        match outside {
            Ok(true) => {}
            Ok(false) => {
                return say(&format!(
                    "{request} is not answered: a guarded process pressed the button, or is the bus"
                ));
            }
            Err(why) => {
                return say(&format!(
                    "{request} is not answered: it cannot be told who pressed the button: {why}"
                ));
            }
        }
        shown.answered = true;
        let (request, socket) = (request.clone(), Arc::clone(&self.socket));
        self.outcomes.spawn(async move {
            let asked = request.clone();
            let text = spawn_blocking(move || tell(&socket, &asked, answer)).await;
            let text = text.unwrap_or_else(|error| Err(error.to_string()));
            CallOutcome::Answered { request, text }
        });
    }

    /// The person, or the server, has put a notification away. The request waits all the same.
    fn put_away(&mut self, signal: &NotificationClosed) {
        let Ok(closed) = signal.args() else {
            return;
        };
        if self.rest == Some(closed.id) {
            self.rest = None;
        }
        if self.appeared.is_some_and(|(known, _)| known == closed.id) {
            self.appeared = None;
        }
        for shown in self
            .shown
            .values_mut()
            .filter(|shown| shown.notification == Some(closed.id))
        {
            shown.notification = None;
        }
    }

    async fn came_of_it(&mut self, outcome: CallOutcome) {
        let (notification, words) = match outcome {
            CallOutcome::Answered { request, text } => {
                let is_done = text.is_ok();
                let text = text.unwrap_or_else(|why| why);
                let head = if is_done {
                    format!("{request} is answered")
                } else {
                    format!("{request} is not answered")
                };
                say(&format!("{head}: {}", text.replace('\n', " ")));
                (
                    self.answered(&request, is_done),
                    self.abilities.told(&head, &text),
                )
            }
            CallOutcome::Gone {
                request,
                notification,
                by,
            } => {
                // It has no buttons any more, whatever can be said.
                let _ = self.desktop.server.close_notification(notification).await;
                let Some(by) = by else {
                    return;
                };
                (
                    None,
                    self.abilities.told(&format!("{request} is answered"), &by),
                )
            }
        };
        let shown = self
            .desktop
            .show(notification.unwrap_or(0), &words, Urgency::Told)
            .await;
        if let Err(error) = shown {
            say(&format!("it cannot be shown what came of it: {error}"));
        }
    }

    /// Where to show what came of a pressed button. Where nothing did, the request waits: it can be shown again.
    fn answered(&mut self, request: &str, is_done: bool) -> Option<u32> {
        if is_done {
            // This frees a place for another request, which guardd may have sent before.
            self.retry = Some(Instant::now());
            self.shown.get_mut(request)?.notification.take()
        } else {
            let shown = self.shown.remove(request);
            self.retry = Some(Instant::now() + RETRY);
            shown?.notification
        }
    }
}

fn no_bus(error: zbus::Error) -> CliError {
    CliError::Local(super::no_desktop(&error))
}

fn bus_gone() -> CliError {
    CliError::Local(Failure {
        what: "cannot notify anybody any more".into(),
        why: "the session bus is gone: the desktop has ended".into(),
        fix: "start it in the next desktop's session:\nsystemctl --user enable --now guard-notify"
            .into(),
    })
}
