//! The connection to a server: by TLS, as whom the key says, and made anew for as long as it takes.

use std::{sync::Mutex, time::Duration};

use anyhow::{Result, anyhow};
use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ServerError};
use bytes::Bytes;
use tokio::sync::watch;

use crate::{key, settings::Settings};

/// How long a server may take to take a connection.
const PATIENCE: Duration = Duration::from_secs(5);
/// How often a server is asked whether it is there: one that hangs is left after two of these.
const PING: Duration = Duration::from_secs(10);
/// The shortest and the longest pause before a server is tried again.
const PAUSES: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// How many messages a machine keeps that it has not read: what comes beyond that is dropped, and comes again.
const UNREAD: usize = 256;

/// A message that is longer is none of ours: a question and an answer have 48 KiB at most, in JSON again.
pub(crate) const LONGEST: usize = 128 * 1024;

/// A connection that lasts.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) client: Client,
    /// Whether it stands now.
    stands: watch::Receiver<bool>,
}

impl Link {
    /// Connects a person: now, or not at all.
    ///
    /// # Errors
    ///
    /// That there is no key, or no server takes it.
    pub(crate) async fn of_a_person(settings: &Settings) -> Result<Self> {
        Self::begin(settings, "guard-fleet", false).await
    }

    /// Connects a machine, whenever a server is there.
    ///
    /// # Errors
    ///
    /// That there is no key.
    pub(crate) async fn of_a_machine(settings: &Settings) -> Result<Self> {
        Self::begin(settings, "guard-fleet serve", true).await
    }

    async fn begin(settings: &Settings, name: &str, waits: bool) -> Result<Self> {
        let seed = key::seed(&settings.key)?;
        let public = key::public(&settings.key)?;
        let (told, stands) = watch::channel(false);
        let said = Mutex::new(String::new());
        let mut options = ConnectOptions::with_nkey(seed)
            .name(name)
            .connection_timeout(PATIENCE)
            .ping_interval(PING)
            // Settings say which servers there are, and no server does.
            .ignore_discovered_servers()
            .reconnect_delay_callback(pause)
            .event_callback(move |event| {
                heard(&event, &told, &said, &public);
                async {}
            });
        if let Some(ca) = &settings.ca {
            options = options.add_root_certificates(ca.clone());
        }
        if waits {
            options = options
                .subscription_capacity(UNREAD)
                .retry_on_initial_connect();
        }
        let servers: Vec<_> = settings.servers.iter().map(|one| one.0.clone()).collect();
        let client = options.connect(&servers[..]).await;
        let client = client.map_err(|error| match error.kind() {
            ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => anyhow!(
                "the server does not know the key of {}: guard-fleet key prints it, for guard-fleet rights",
                settings.key.display()
            ),
            _ => anyhow!("no server answers: {error}\nservers in the settings says which are asked"),
        })?;
        Ok(Self { client, stands })
    }

    /// Whether the connection stands.
    pub(crate) fn stands(&self) -> bool {
        *self.stands.borrow()
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

/// What the connection tells of itself. What is no news is not said again.
fn heard(event: &Event, stands: &watch::Sender<bool>, said: &Mutex<String>, key: &str) {
    let now = match event {
        Event::Connected => Some(true),
        Event::Disconnected | Event::Closed => Some(false),
        _ => None,
    };
    if let Some(now) = now {
        stands.send_replace(now);
    }
    let words = event.to_string();
    let is_news = said
        .lock()
        .is_ok_and(|mut said| std::mem::replace(&mut *said, words.clone()) != words);
    if !is_news {
        return;
    }
    match event {
        Event::Connected => tracing::debug!("a server has taken the connection"),
        Event::Disconnected => tracing::warn!("the server is gone: others are tried"),
        Event::ServerError(ServerError::AuthorizationViolation) => {
            tracing::error!(key, "the server does not know the key: guard-fleet rights");
        }
        Event::ServerError(error) => {
            tracing::error!(%error, "the server refuses: guard-fleet rights gives what is wanted");
        }
        Event::SlowConsumer(_) => tracing::warn!("messages come faster than they are read"),
        Event::ClientError(error) => tracing::warn!(%error, "no server"),
        _ => {}
    }
}

/// How long to wait before the attempt of that number: a fleet does not come back all at once.
fn pause(attempt: usize) -> Duration {
    if attempt <= 1 {
        return Duration::ZERO;
    }
    let doublings = u32::try_from(attempt - 2).unwrap_or(u32::MAX).min(16);
    let whole = (PAUSES.0 * 2_u32.pow(doublings)).min(PAUSES.1);
    // Between half of it and all of it.
    whole.mul_f64(0.5 + random() / 2.0)
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
        assert_eq!(pause(0), Duration::ZERO);
        assert_eq!(pause(1), Duration::ZERO);
        for attempt in 2..100 {
            let whole = PAUSES.0 * 2_u32.pow(u32::try_from(attempt - 2).unwrap_or(16).min(16));
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
