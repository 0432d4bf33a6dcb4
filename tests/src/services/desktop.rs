//! A server of the Desktop Notifications Specification that shows nothing, and presses what it is told to.

use std::collections::HashMap;
use std::future::pending;

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use zbus::object_server::SignalEmitter;
use zbus::{OwnedVariant, connection, interface};

use super::tell;

const PATH: &str = "/org/freedesktop/Notifications";
const NAME: &str = "org.freedesktop.Notifications";

/// What it is like.
#[derive(Debug)]
struct Desktop {
    last: u32,
    /// It never answers.
    hangs: bool,
    /// It knows neither markup nor buttons.
    plain: bool,
}

#[interface(name = "org.freedesktop.Notifications")]
impl Desktop {
    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    async fn notify(
        &mut self,
        app_name: String,
        replaces_id: u32,
        _app_icon: String,
        summary: String,
        body: String,
        actions: Vec<String>,
        hints: HashMap<String, OwnedVariant>,
        expire_timeout: i32,
    ) -> u32 {
        if self.hangs {
            pending::<()>().await;
        }
        let id = if replaces_id == 0 {
            self.last + 1
        } else {
            replaces_id
        };
        self.last = self.last.max(id);
        let urgency = hints
            .get("urgency")
            .and_then(|hint| u8::try_from(hint).ok());
        tell(&json!({
            "call": "notify", "id": id, "app": app_name, "replaces": replaces_id, "summary": summary, "body": body,
            "actions": actions, "urgency": urgency, "timeout": expire_timeout
        }));
        id
    }

    async fn close_notification(&self, id: u32) {
        tell(&json!({"call": "close", "id": id}));
    }

    async fn get_capabilities(&self) -> Vec<String> {
        let all = ["actions", "body", "body-markup"];
        let known = if self.plain { &all[1..2] } else { &all[..] };
        known.iter().map(|one| (*one).to_owned()).collect()
    }

    #[zbus(signal)]
    async fn action_invoked(
        emitter: &SignalEmitter<'_>,
        id: u32,
        action_key: &str,
    ) -> zbus::Result<()>;

    #[zbus(signal)]
    async fn notification_closed(
        emitter: &SignalEmitter<'_>,
        id: u32,
        reason: u32,
    ) -> zbus::Result<()>;
}

pub(super) async fn serve(args: &[String], mut input: UnboundedReceiver<String>) -> Result<()> {
    let has = |option: &str| args.iter().any(|arg| arg == option);
    let desktop = Desktop {
        last: 0,
        hangs: has("--hang"),
        plain: has("--plain"),
    };
    let bus = connection::Builder::session()
        .serve_at(PATH, desktop)
        .name(NAME)
        .build();
    let bus = bus.await.context("cannot serve on the session bus")?;
    let emitter = SignalEmitter::new(&bus, PATH)?;
    tell(&json!({"call": "ready"}));
    while let Some(line) = input.recv().await {
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["press", id, key] => Desktop::action_invoked(&emitter, id.parse()?, key).await?,
            // 2: by the person.
            ["dismiss", id] => Desktop::notification_closed(&emitter, id.parse()?, 2).await?,
            _ => anyhow::bail!("what is {line:?}?"),
        }
    }
    Ok(())
}
