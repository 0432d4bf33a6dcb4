//! The connection to a server: by TLS, with the key's identity, and retried for as long as it takes.

use std::{
    mem::{self, Discriminant},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use async_nats::{Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError};
use bytes::Bytes;
use guard_signed::visible::visible;
use nkeys::KeyPair;
use tokio::{
    sync::{Notify, watch},
    time::{sleep, sleep_until},
};

use crate::{key, settings::Settings, stream};

/// How long a server may take to take a connection.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a server is asked whether it is there: one that hangs is left after two of these.
const PING: Duration = Duration::from_secs(10);
/// The shortest and the longest pause before a server is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// After how long a person is tried once more whom a server does not know.
const ONCE_MORE: Duration = Duration::from_millis(300);
/// How long nothing more is said of a kind.
const AGAIN: Duration = Duration::from_secs(10);
/// Characters of what a server says that are shown.
const LINE: usize = 512;

/// How many messages a machine keeps that it has not read: what comes beyond that is dropped, and comes again.
const UNREAD: usize = 32;
/// The same of a console, of each kind of message: of all machines together, whose messages may be long.
const UNREAD_OF_ALL: usize = 16_384;

/// A message that is longer is none of ours: a question and an answer have 48 KiB at most, in JSON again.
pub(crate) const LONGEST: usize = 128 * 1024;

/// What becomes of a connection where the server does not know the key.
#[derive(Clone, Copy, Debug)]
enum Unknown<'w> {
    /// This is said, and that is all.
    Said(&'w str),
    /// It is tried again and again.
    Tried,
    /// The same, and another one says it.
    Beside,
}

/// A connection that lasts.
#[derive(Clone, Debug)]
pub(crate) struct NatsLink {
    pub(crate) client: Client,
    /// Whether it stands now.
    stands: watch::Receiver<bool>,
}

impl NatsLink {
    /// Connects a person: now, or not at all.
    ///
    /// # Errors
    ///
    /// That there is no key, or no server takes it.
    pub(crate) async fn of_a_person(settings: &Settings) -> Result<Self> {
        let pair = key::pair(&settings.key)?;
        let unknown = format!(
            "the server does not know the key of {}: guard-fleet key prints it, for guard-fleet rights",
            settings.key.display()
        );
        let options = options(&pair, "guard-fleet")?;
        Self::begin(settings, &pair, options, Unknown::Said(&unknown)).await
    }

    /// Connects whoever has that token: now, or not at all.
    ///
    /// # Errors
    ///
    /// That no server takes it.
    pub(crate) async fn of_a_token(settings: &Settings, token: &KeyPair) -> Result<Self> {
        let unknown = "the token has been used, or its time is over: guard-fleet invite makes one";
        let options = options(token, "guard-fleet join")?;
        Self::begin(settings, token, options, Unknown::Said(unknown)).await
    }

    /// Connects a machine, or who keeps the list, whenever a server is there.
    ///
    /// # Errors
    ///
    /// That there is no key.
    pub(crate) async fn of_a_machine(settings: &Settings) -> Result<Self> {
        let pair = key::pair(&settings.key)?;
        let mut options = options(&pair, "guard-fleet serve")?;
        options = options.subscription_capacity(UNREAD);
        Self::begin(settings, &pair, options, Unknown::Tried).await
    }

    /// Connects who serves a console, whenever a server is there. It hears all machines.
    ///
    /// # Errors
    ///
    /// That there is no key.
    pub(crate) async fn of_a_console(settings: &Settings) -> Result<Self> {
        let pair = key::pair(&settings.key)?;
        let mut options = options(&pair, "guard-fleet console")?;
        options = options.subscription_capacity(UNREAD_OF_ALL);
        Self::begin(settings, &pair, options, Unknown::Tried).await
    }

    /// Connects once more whoever has such a connection, for what servers keep: one that cannot write it down may answer nothing any
    /// more of what comes beside it, as nats-server 2.9 does where its disk is full.
    ///
    /// # Errors
    ///
    /// That there is no key.
    pub(crate) async fn for_log(settings: &Settings) -> Result<Self> {
        let pair = key::pair(&settings.key)?;
        let options = options(&pair, "guard-fleet log")?;
        Self::begin(settings, &pair, options, Unknown::Beside).await
    }

    async fn begin(
        settings: &Settings,
        pair: &KeyPair,
        options: ConnectOptions,
        unknown: Unknown<'_>,
    ) -> Result<Self> {
        let public = pair.public_key();
        let waits = !matches!(unknown, Unknown::Said(_));
        let (told, stands) = watch::channel(false);
        let events = Events {
            stands: told,
            key: public.clone(),
            asked: settings.servers(),
            file: settings.file.display().to_string(),
            is_machine: waits,
            is_beside: matches!(unknown, Unknown::Beside),
            unheard: Arc::default(),
            said: Mutex::default(),
        };
        let unheard = events.unheard.clone();
        // Where a server answers: whoever has no right to it hears nothing.
        let mut options = options.custom_inbox_prefix(stream::inbox_of(&public));
        if let Some(ca) = &settings.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if waits {
            options = options.retry_on_initial_connect();
        }
        let servers: Vec<_> = settings.servers.iter().map(|one| one.0.clone()).collect();
        let options = patient(options, events);
        let mut client = options.clone().connect(&servers[..]).await;
        if !waits && client.as_ref().is_err_and(is_unknown) {
            // A server that reads its settings again refuses whoever has not said yet who it is.
            sleep(ONCE_MORE).await;
            client = options.connect(&servers[..]).await;
        }
        let client = client.map_err(|error| not_connected(&error, settings, unknown))?;
        if waits {
            tokio::spawn(reconnect(client.clone(), unheard));
        }
        Ok(Self { client, stands })
    }

    /// Whether the connection stands.
    pub(crate) fn stands(&self) -> bool {
        *self.stands.borrow()
    }

    /// Until it stands.
    pub(crate) async fn standing(&mut self) {
        if self.stands.wait_for(|stands| *stands).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Until it stands, or does not any more.
    pub(crate) async fn change(&mut self) {
        if self.stands.changed().await.is_err() {
            // The client has gone: nothing changes any more.
            std::future::pending::<()>().await;
        }
    }

    /// Publishes, without waiting for the server.
    pub(crate) async fn publish(&self, subject: String, payload: impl Into<Bytes>) {
        if let Err(error) = self.client.publish(subject, payload.into()).await {
            tracing::warn!(%error, "cannot publish");
        }
    }
}

/// As whom that key is, with a name for the server's own lists.
fn options(pair: &KeyPair, name: &str) -> Result<ConnectOptions> {
    let seed = pair.seed().context("the key has no seed")?;
    Ok(ConnectOptions::with_nkey(seed).name(name))
}

/// The same that goes on by whatever server there is, and tells how it goes.
fn patient(options: ConnectOptions, events: Events) -> ConnectOptions {
    let is_first = AtomicBool::new(true);
    options
        .connection_timeout(TIMEOUT)
        .ping_interval(PING)
        // Settings say which servers there are, and no server does.
        .ignore_discovered_servers()
        .reconnect_delay_callback(move |attempt| {
            if is_first.swap(false, Ordering::Relaxed) {
                Duration::ZERO
            } else {
                pause(attempt)
            }
        })
        .event_callback(move |event| {
            events.hear(&event);
            async {}
        })
}

/// Whether the server has said that it does not know who that is.
fn is_unknown(error: &ConnectError) -> bool {
    matches!(
        error.kind(),
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication
    )
}

/// Why there is no connection, and what to do.
fn not_connected(error: &ConnectError, settings: &Settings, unknown: Unknown<'_>) -> anyhow::Error {
    let (asked, file) = (settings.servers(), settings.file.display());
    match error.kind() {
        _ if is_unknown(error) => match unknown {
            Unknown::Said(words) => anyhow!("{words}"),
            _ => anyhow!("the server does not know the key"),
        },
        ConnectErrorKind::Tls => anyhow!(
            "no server of {asked} is believed: {}\nca in {file} names the certificates that servers are believed by",
            visible(error, LINE)
        ),
        _ => anyhow!(
            "no server answers at {asked}: {}\nservers in {file} says which are asked, and ca by what they are believed",
            visible(error, LINE)
        ),
    }
}

/// Hears what the connection tells of itself.
#[derive(Debug)]
struct Events {
    stands: watch::Sender<bool>,
    key: String,
    /// The servers that are asked, and the file that names them.
    asked: String,
    file: String,
    is_machine: bool,
    /// Whether another one says how it goes.
    is_beside: bool,
    /// Notified where a server will not let something be heard.
    unheard: Arc<Notify>,
    /// When each kind was last said.
    said: Mutex<Vec<(Discriminant<Event>, Instant)>>,
}

impl Events {
    fn hear(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.stands.send_replace(true);
            }
            Event::Disconnected | Event::Closed => {
                self.stands.send_replace(false);
            }
            _ => {}
        }
        if let Event::ServerError(error) = event
            && error.to_string().contains("Violation for Subscription")
        {
            self.unheard.notify_one();
        }
        if self.is_beside || !self.is_news(event) {
            return;
        }
        match event {
            Event::Connected if self.is_machine => {
                tracing::info!("a server has taken the connection");
            }
            Event::Disconnected => {
                tracing::warn!("the server is gone: all of {} are tried", self.asked);
            }
            Event::ServerError(ServerError::AuthorizationViolation) => {
                tracing::error!(
                    key = self.key,
                    "the server does not know the key: it is to be in the list of guard-fleet keep, or of guard-fleet rights"
                );
            }
            Event::ServerError(error) => {
                let error = visible(error, LINE);
                tracing::error!(
                    error,
                    "the server refuses: guard-fleet rights gives what is wanted"
                );
            }
            Event::SlowConsumer(_) => tracing::warn!("messages come faster than they are read"),
            Event::ClientError(error) => tracing::warn!(
                error = visible(error, LINE),
                "no server answers at {}: servers in {} says which are asked, and ca by what they are believed; \
                 once that is right, start this again (systemctl restart, if a unit runs it)",
                self.asked,
                self.file
            ),
            _ => {}
        }
    }

    /// Whether nothing of that kind was said a moment ago: a server may come and go as often as it likes.
    fn is_news(&self, event: &Event) -> bool {
        let (kind, now) = (mem::discriminant(event), Instant::now());
        let Ok(mut said) = self.said.lock() else {
            return false;
        };
        said.retain(|(_, at)| now.duration_since(*at) < AGAIN);
        let is_news = said.iter().all(|(one, _)| *one != kind);
        if is_news {
            said.push((kind, now));
        }
        is_news
    }
}

/// Asks again for all that is to be heard, by another connection, where a server has refused or taken away some of it: once its rights are
/// mended, it says nothing.
async fn reconnect(client: Client, unheard: Arc<Notify>) {
    for attempt in 1.. {
        unheard.notified().await;
        sleep(pause(attempt)).await;
        if client.force_reconnect().await.is_err() {
            return;
        }
    }
}

/// How long to wait before the attempt of that number, but for the first of all: a fleet does not come back all at once, and
/// whoever takes each connection and ends it is not asked all the time.
fn pause(attempt: usize) -> Duration {
    let doublings = u32::try_from(attempt.saturating_sub(1))
        .unwrap_or(u32::MAX)
        .min(16);
    let whole = (PAUSES.0 * 2_u32.pow(doublings)).min(PAUSES.1);
    // Between half of it and all of it.
    whole.mul_f64(0.5 + random() / 2.0)
}

/// Until then; without a time for ever.
pub(crate) async fn until(at: Option<tokio::time::Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// From 0 to 1.
pub(crate) fn random() -> f64 {
    let mut bytes = [0; 4];
    // Without random numbers all machines wait as long as each other.
    let read = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    match read {
        Ok(_) => f64::from(u32::from_le_bytes(bytes)) / f64::from(u32::MAX),
        Err(_) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_half_a_minute_and_no_further() {
        for attempt in 1..100 {
            let whole = PAUSES.0 * 2_u32.pow(u32::try_from(attempt - 1).unwrap_or(16).min(16));
            let whole = whole.min(PAUSES.1);
            let paused = pause(attempt);
            assert!(
                (whole / 2..=whole).contains(&paused),
                "{attempt}: {paused:?}"
            );
        }
        assert!(pause(usize::MAX) <= PAUSES.1);
    }
}
