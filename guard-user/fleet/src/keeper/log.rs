//! The stream of audit logs, which is made where there is none, and keeps what the keeper says.

use std::time::Duration;

use anyhow::{Context as _, Result};
use async_nats::jetstream::{
    self, ErrorCode,
    context::{CreateStreamError, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, StorageType},
};
use guard_signed::visible::visible;
use tokio::time::timeout;

use crate::{
    args::KeepArgs,
    link::{LONGEST, NatsLink},
    settings::Settings,
    stream,
    subjects::{Group, SubjectKind},
};

/// How often it is looked for, and how long a server may take.
const LOOKS: Duration = Duration::from_secs(5);
/// The first moments after a server is there: the others may not be.
const SOON: Duration = Duration::from_millis(500);
/// In that time nothing is kept twice; the servers' own default.
const DUPLICATES: Duration = Duration::from_secs(120);
/// On how many servers, where there are several.
const COPIES: usize = 3;

/// Keeps it, if it is to, for as long as this runs.
pub(super) async fn keep(first: &NatsLink, settings: &Settings, args: &KeepArgs) {
    let Some(age) = args.log else {
        return std::future::pending().await;
    };
    // The server knows the key, once it has taken that.
    first.clone().standing().await;
    let mut link = match NatsLink::for_log(settings).await {
        Ok(link) => link,
        Err(error) => {
            tracing::error!("the servers keep no logs: {error:#}");
            return std::future::pending().await;
        }
    };
    let servers = jetstream::ContextBuilder::new()
        .timeout(LOOKS)
        .build(link.client.clone());
    let mut config = config(age.unsigned_abs(), args);
    let (mut is_as_said, mut said) = (false, None);
    loop {
        link.standing().await;
        let looked = if is_as_said {
            look(&servers).await.map(|found| found.is_some())
        } else {
            make(&servers, &mut config, args.log_copies.is_none()).await
        };
        let pause = match looked {
            Ok(is_there) => {
                if is_there && !is_as_said {
                    tracing::info!(
                        stream = stream::NAME,
                        copies = config.num_replicas,
                        "the servers keep logs"
                    );
                }
                said = None;
                let was = std::mem::replace(&mut is_as_said, is_there);
                // It was removed: it is made again at once.
                if was && !is_there { continue } else { LOOKS }
            }
            Err(error) => {
                say_once(&mut said, &error);
                SOON
            }
        };
        let _ = timeout(pause, link.change()).await;
    }
}

/// Says why, unless that was said last.
fn say_once(said: &mut Option<String>, error: &anyhow::Error) {
    let why = visible(format!("{error:#}"), 512);
    if said.as_ref() != Some(&why) {
        tracing::warn!("the servers keep no logs: {why}");
    }
    *said = Some(why);
}

/// The stream as it shall be.
fn config(age: Duration, args: &KeepArgs) -> Config {
    Config {
        name: stream::NAME.to_owned(),
        description: Some("audit logs of machines under guardd".to_owned()),
        subjects: vec![Group::every(SubjectKind::Log)],
        max_age: age,
        // A machine that sends more hears so. What it has sent stays: else an attacker who has taken it could push out the evidence.
        discard_new_per_subject: true,
        max_messages_per_subject: i64::from(args.log_records),
        // Not so many bytes of all: nats-server 2.9 counts less of a new message than it keeps, and then drops the oldest to keep to
        // that number, whose they may be. Its max_file_store drops nothing.
        max_bytes: -1,
        max_message_size: i32::try_from(LONGEST).unwrap_or(i32::MAX),
        duplicate_window: DUPLICATES.min(age),
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        num_replicas: args.log_copies.map_or(COPIES, usize::from),
        deny_delete: true,
        deny_purge: true,
        ..Config::default()
    }
}

/// On how many servers it is; none: it is not there.
async fn look(servers: &jetstream::Context) -> Result<Option<usize>> {
    match servers.get_stream(stream::NAME).await {
        Ok(found) => Ok(Some(found.cached_info().config.num_replicas)),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(why)
                if why.error_code() == ErrorCode::STREAM_NOT_FOUND =>
            {
                Ok(None)
            }
            _ => Err(error).context("cannot look for the stream"),
        },
    }
}

/// Makes it, or has it keep what is said.
async fn make(servers: &jetstream::Context, config: &mut Config, falls_back: bool) -> Result<bool> {
    let copies = look(servers).await?;
    if let Some(copies) = copies.filter(|_| falls_back) {
        // A server that is alone takes more of a stream that is there, and has none when it starts again.
        config.num_replicas = copies;
    }
    loop {
        let made = if copies.is_some() {
            servers.update_stream(&*config).await.map(|_| ())
        } else {
            servers.create_stream(config.clone()).await.map(|_| ())
        };
        match made {
            Ok(()) => return Ok(true),
            Err(error) if falls_back && config.num_replicas > 1 && is_alone(&error) => {
                config.num_replicas = 1;
            }
            Err(error) => return Err(error).context("cannot make the stream"),
        }
    }
}

/// Whether it is refused because the server is the only one.
fn is_alone(error: &CreateStreamError) -> bool {
    matches!(error.kind(), CreateStreamErrorKind::JetStream(why)
        if why.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED)
}
