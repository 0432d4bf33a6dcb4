//! What polkit's authority is asked, and the answers that the input gives: yes, no, challenge, error or hang.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use serde_json::json;
use tokio::sync::mpsc::UnboundedReceiver;
use zbus::{OwnedVariant, connection, fdo, interface};

use super::tell;

const PATH: &str = "/org/freedesktop/PolicyKit1/Authority";
const NAME: &str = "org.freedesktop.PolicyKit1";

/// The subject: its kind, and what is said of it.
type Subject = (String, HashMap<String, OwnedVariant>);
/// Whether it is, whether it would be after a challenge, and details.
type AuthorizationResult = (bool, bool, HashMap<String, String>);

#[derive(Debug)]
struct Authority {
    mode: Arc<Mutex<String>>,
}

#[interface(name = "org.freedesktop.PolicyKit1.Authority", spawn = true)]
impl Authority {
    async fn check_authorization(
        &self,
        subject: Subject,
        action_id: String,
        details: HashMap<String, String>,
        flags: u32,
        cancellation_id: String,
    ) -> fdo::Result<AuthorizationResult> {
        let (kind, about) = subject;
        let mut keys: Vec<_> = about.keys().cloned().collect();
        keys.sort();
        let uid = about.get("uid").and_then(|uid| i32::try_from(uid).ok());
        let pid = about.get("pid").and_then(|pid| u32::try_from(pid).ok());
        tell(&json!({
            "call": "check", "kind": kind, "keys": keys, "uid": uid, "pid": pid, "action": action_id,
            "details": details, "flags": flags, "cancellation": cancellation_id
        }));
        let mode = self
            .mode
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let answer = |yes, challenge| Ok((yes, challenge, HashMap::new()));
        match mode.as_str() {
            "yes" => answer(true, false),
            "challenge" => answer(false, true),
            "error" => Err(fdo::Error::Failed("it is broken".to_owned())),
            "hang" => pending().await,
            _ => answer(false, false),
        }
    }

    async fn cancel_check_authorization(&self, cancellation_id: String) {
        tell(&json!({"call": "cancel", "cancellation": cancellation_id}));
    }
}

pub(super) async fn serve(mut input: UnboundedReceiver<String>) -> Result<()> {
    let mode = Arc::new(Mutex::new("no".to_owned()));
    let authority = Authority {
        mode: Arc::clone(&mode),
    };
    let bus = connection::Builder::system()
        .serve_at(PATH, authority)
        .name(NAME)
        .build();
    let _bus = bus.await.context("cannot serve on the system bus")?;
    tell(&json!({"call": "ready"}));
    while let Some(line) = input.recv().await {
        line.clone_into(&mut mode.lock().unwrap_or_else(PoisonError::into_inner));
        tell(&json!({"call": "mode", "mode": line}));
    }
    Ok(())
}
