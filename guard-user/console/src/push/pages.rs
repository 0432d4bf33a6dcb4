//! Devices on the page of keys, and what a browser loads for them.

use http::StatusCode;
use jiff::Timestamp;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::{
    Devices, Vapid,
    devices::{Device, DeviceKeys, id_of, named},
    endpoint::Endpoint,
    is_told,
    seal::seal,
};
use crate::{
    Console, Settings,
    files::Identity,
    pages::{moment, seen},
    reply::{self, Reply},
};

/// What shows a push, as a worker of the browser's that no page has to be open for.
const WORKER: &str = include_str!("../../assets/push.js");
/// Bytes of a browser's own name that are looked at.
const AGENT: usize = 512;

/// A subscription, as browsers write it.
#[derive(Debug, Deserialize)]
struct Subscription {
    endpoint: String,
    keys: Keys,
    /// The one in whose place the browser has it now; none: it has had none.
    replaces: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Keys {
    p256dh: String,
    auth: String,
}

/// What browsers ask for by its name, without a session: the worker, and what a home screen shows.
pub(crate) fn asset(console: &Console, path: &[&str]) -> Option<Reply> {
    match path {
        ["push.js"] => Some(reply::with(
            StatusCode::OK,
            "text/javascript; charset=utf-8",
            WORKER,
        )),
        ["manifest.webmanifest"] => Some(reply::with(
            StatusCode::OK,
            "application/manifest+json",
            manifest(console).to_string(),
        )),
        _ => None,
    }
}

fn manifest(console: &Console) -> serde_json::Value {
    let icon = console.assets.icon();
    json!({
        "name": "guard", "short_name": "guard", "id": "/", "start_url": "/", "scope": "/", "display": "standalone",
        "background_color": "#0f6b5c", "theme_color": "#0f6b5c",
        "icons": [{ "src": icon, "type": "image/svg+xml", "sizes": "any" }],
    })
}

/// All that the page of keys says of them.
pub(crate) struct Shown {
    devices: Vec<Device>,
    key: String,
    is_told: bool,
}

impl Shown {
    /// Those of somebody; none: the settings want none, or they cannot be kept.
    pub(crate) fn of(settings: &Settings, name: &str) -> Option<Self> {
        if !settings.pushes() {
            return None;
        }
        let shown = || {
            let (devices, dir) = Devices::open(&settings.state_dir)?;
            let mut devices = devices.all();
            devices.retain(|one| one.identity.name == name);
            anyhow::Ok(Self {
                devices,
                key: Vapid::open(&dir)?.public(),
                is_told: is_told(&dir),
            })
        };
        let shown = shown();
        shown
            .inspect_err(|error| tracing::error!("devices cannot be kept: {error:#}"))
            .ok()
    }

    pub(crate) fn markup(&self) -> Markup {
        html! {
            section.devices {
                h2 { "Your devices" }
                p { "A device is told that a session asks, by the request's number and a link, encrypted on its way; never a yes." }
                @if !self.is_told {
                    p.note { "Nobody tells them now. On the machine: " code { "sudo systemctl enable --now guard-console-push" } }
                }
                div.passkey id="device" data-key=(self.key) {
                    button.main type="button" disabled { "Tell this device" }
                    p.said role="status" {}
                    noscript { p { "A browser is told only with script." } }
                }
                ul.cards id="devices" {
                    @for one in &self.devices {
                        li data-id=(one.id()) {
                            p.title { b { (seen(&one.name)) } span.id.own hidden { "this device" } }
                            dl.row {
                                div { dt { "Since" } dd { (moment(one.since)) } }
                                div { dt { "By" } dd { (seen(host(one))) } }
                            }
                            form method="post" action={ "/devices/" (one.id()) "/remove" } {
                                button.no type="submit" aria-label={ "Remove " (seen(&one.name)) } { "Remove" }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn host(device: &Device) -> &str {
    let host = device.endpoint.strip_prefix("https://");
    host.and_then(|rest| rest.split(['/', '?']).next())
        .unwrap_or_default()
}

/// Has a browser of somebody's notified, who is logged in still once that is done.
pub(crate) async fn add(
    console: &Console,
    identity: Identity,
    is_logged_in: impl Fn() -> bool,
    agent: Option<&str>,
    body: &[u8],
) -> Reply {
    let settings = &console.settings;
    if !settings.pushes() {
        return refused("No device is told: push in console.toml does not have webpush.");
    }
    let Ok(said) = serde_json::from_slice::<Subscription>(body) else {
        return refused("That is no subscription of a browser.");
    };
    let endpoint = match Endpoint::of(&said.endpoint, &settings.push_hosts) {
        Ok(endpoint) => endpoint,
        Err(error) => return refused(&format!("Not told: {error:#}.")),
    };
    // Where nothing can be looked up from here, it is when something is sent.
    if let Ok(Err(error)) = tokio::time::timeout(LOOKED_UP, endpoint.check()).await {
        return refused(&format!("Not told: {error:#}."));
    }
    let agent: String = agent.unwrap_or_default().chars().take(AGENT).collect();
    let device = Device {
        identity,
        endpoint: said.endpoint,
        p256dh: said.keys.p256dh,
        auth: said.keys.auth,
        name: named(&agent),
        since: Timestamp::now(),
    };
    match keep(settings, &device, said.replaces.as_deref(), is_logged_in) {
        Ok(()) => reply::json(StatusCode::OK, &json!({ "id": device.id() })),
        Err(error) => {
            tracing::info!("a device is not added: {error:#}");
            refused(&format!("Not told: {error}."))
        }
    }
}

/// Keeps a device, in place of the one at that endpoint, if it replaces one.
fn keep(
    settings: &Settings,
    device: &Device,
    replaces: Option<&str>,
    is_logged_in: impl Fn() -> bool,
) -> anyhow::Result<()> {
    let DeviceKeys { key, auth } = device.keys()?;
    // Its key has to be one.
    seal(b"", &key, &auth)?;
    let (devices, _) = Devices::open(&settings.state_dir)?;
    match replaces {
        Some(before) => devices.replace(&id_of(before), device)?,
        None => devices.add(device)?,
    }
    // Who has logged out everywhere meanwhile has removed those that were there.
    if !is_logged_in() {
        devices.remove(&device.id());
        anyhow::bail!("this browser's session has ended");
    }
    Ok(())
}

/// How long it may take to look where a name leads.
const LOOKED_UP: std::time::Duration = std::time::Duration::from_secs(3);

fn refused(why: &str) -> Reply {
    reply::json(StatusCode::BAD_REQUEST, &json!({ "error": why }))
}

/// Removes one of somebody's own.
pub(crate) fn remove(console: &Console, name: &str, id: &str) -> Reply {
    if let Ok((devices, _)) = Devices::open(&console.settings.state_dir) {
        let mut all = devices.all().into_iter();
        if all.any(|one| one.identity.name == name && one.id() == id) {
            devices.remove(id);
            return reply::to("/approvers");
        }
    }
    reply::text(StatusCode::NOT_FOUND, "There is no such device of yours.")
}
