//! The pages. What comes from guardd, and so from agents, is written by maud, which escapes it, and has been through
//! [`seen`] before: nothing in it hides, or reorders a line.

pub(crate) mod central;
pub(crate) mod chart;
pub(crate) mod lists;
pub(crate) mod log;
pub(crate) mod login;
pub(crate) mod question;
pub(crate) mod questions;
mod revoked;
#[cfg(test)]
mod tests;

use std::time::Duration;

use data_encoding::HEXLOWER;
use guard_courier::Refusal;
use guard_policy::format_duration;
use guard_proto::{ErrorName, Request};
use guard_signed::visible::{self, visible, visible_again};
use http::StatusCode;
use jiff::Timestamp;
use maud::{DOCTYPE, Markup, html};
use ring::digest::{SHA256, digest};

use crate::{
    reply::{self, Reply},
    scope::Scope,
};

/// Characters of a text in a list, and of one alone.
const SHORT: usize = 200;
const LONG: usize = 4096;

const STYLE: &[u8] = include_bytes!("../../assets/console.css");
const SCRIPT: &[u8] = include_bytes!("../../assets/console.js");
const KEYS: &[u8] = include_bytes!("../../assets/keys.js");
const ICON: &[u8] = include_bytes!("../../assets/icon.svg");

/// The style, the scripts and the icon, under names that have their hashes.
#[derive(Debug)]
pub(crate) struct Assets {
    style: String,
    script: String,
    keys: String,
    icon: String,
}

impl Assets {
    pub(crate) fn new() -> Self {
        let named = |name: &str, bytes: &[u8], kind: &str| {
            let hash = HEXLOWER.encode(&digest(&SHA256, bytes).as_ref()[..8]);
            format!("{name}.{hash}.{kind}")
        };
        Self {
            style: named("console", STYLE, "css"),
            script: named("console", SCRIPT, "js"),
            keys: named("keys", KEYS, "js"),
            icon: named("icon", ICON, "svg"),
        }
    }

    /// The icon's place.
    pub(crate) fn icon(&self) -> String {
        format!("/assets/{}", self.icon)
    }

    pub(crate) fn get(&self, name: &str) -> Option<Reply> {
        match name {
            name if name == self.style => Some(reply::asset("text/css; charset=utf-8", STYLE)),
            name if name == self.script => {
                Some(reply::asset("text/javascript; charset=utf-8", SCRIPT))
            }
            name if name == self.keys => Some(reply::asset("text/javascript; charset=utf-8", KEYS)),
            name if name == self.icon => Some(reply::asset("image/svg+xml", ICON)),
            _ => None,
        }
    }
}

/// One of the console's pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tab {
    Questions,
    Sessions,
    Holes,
    Flows,
    Log,
    Approvers,
    /// Of a console for many machines.
    Fleet,
    Machines,
}

impl Tab {
    const FLEET: [TabLink; 2] = [
        TabLink::new(Self::Fleet, "/", "Questions"),
        TabLink::new(Self::Machines, "/machines", "Machines"),
    ];
    const ALL: [TabLink; 6] = [
        TabLink::new(Self::Questions, "/", "Questions"),
        TabLink::new(Self::Sessions, "/sessions", "Sessions"),
        TabLink::new(Self::Holes, "/holes", "Holes"),
        TabLink::new(Self::Flows, "/flows", "Flows"),
        TabLink::new(Self::Log, "/log", "Log"),
        TabLink::new(Self::Approvers, "/approvers", "Keys"),
    ];
}

/// A tab, where it leads, and what stands on it.
struct TabLink {
    tab: Tab,
    place: &'static str,
    name: &'static str,
}

impl TabLink {
    const fn new(tab: Tab, place: &'static str, name: &'static str) -> Self {
        Self { tab, place, name }
    }
}

impl Tab {
    /// All beside it.
    fn beside(self) -> &'static [TabLink] {
        match self {
            Self::Fleet | Self::Machines => &Self::FLEET,
            _ => &Self::ALL,
        }
    }

    /// That of a path's first part.
    pub(crate) fn at(first: &str) -> Self {
        let mut all = Self::ALL.iter();
        let found = all.find(|one| one.place.strip_prefix('/') == Some(first));
        found.map_or(Self::Questions, |one| one.tab)
    }
}

/// What all pages have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) assets: &'a Assets,
    /// The page; none: its visitor has no session.
    pub(crate) tab: Option<Tab>,
}

impl Frame<'_> {
    /// A page. `kind` is for the script and the style.
    pub(crate) fn page(&self, title: &str, kind: &str, content: &Markup) -> Markup {
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1, viewport-fit=cover";
                    meta name="color-scheme" content="light dark";
                    meta name="robots" content="noindex";
                    title { (title) " · guard" }
                    link rel="icon" type="image/svg+xml" href=(self.assets.icon());
                    link rel="manifest" href="/manifest.webmanifest";
                    link rel="stylesheet" href={ "/assets/" (self.assets.style) };
                    script type="module" src={ "/assets/" (self.assets.script) } {}
                    @if matches!(kind, "questions" | "question") {
                        script type="module" src={ "/assets/" (self.assets.keys) } {}
                    }
                }
                body class=(kind) data-page=(kind) {
                    a.skip href="#main" { "Skip to the content" }
                    @if let Some(tab) = self.tab { (bar(tab)) }
                    main id="main" tabindex="-1" { (content) }
                }
            }
        }
    }
}

fn bar(now: Tab) -> Markup {
    html! {
        header.bar {
            a.name href="/" { span.mark aria-hidden="true" {} "guard" }
            nav aria-label="Pages" {
                @for one in now.beside() {
                    a href=(one.place) aria-current=[(one.tab == now).then_some("page")] {
                        (one.name)
                        @if matches!(one.tab, Tab::Questions | Tab::Fleet) { span.count id="waiting" hidden {} }
                    }
                }
            }
            span.live id="live" role="status" {}
            form method="post" action="/logout" { button.quiet type="submit" { "Log out" } }
        }
    }
}

/// The keys that are taken while the focus is there, and what each does. Without script there are none.
fn keyboard(keys: &[(&str, &str)]) -> Markup {
    html! {
        details.keyboard id="keyboard" hidden {
            summary { "Keyboard" }
            p {
                "While the focus is on a question: "
                @for (key, does) in keys { span { kbd { (key) } " " (does) } " " }
            }
        }
    }
}

/// The keys on a request's own page.
fn keyboard_of_one() -> Markup {
    keyboard(&[
        ("y", "goes to the yes, which your passkey signs"),
        ("n", "says no"),
        ("?", "shows this"),
    ])
}

/// Where somebody ends their sessions in all browsers. Only a machine's own console notifies devices.
fn browsers(tells_devices: bool) -> Markup {
    html! {
        section.devices {
            h2 { "Your browsers" }
            p {
                "This ends your sessions in all browsers, and links that nobody has used"
                @if tells_devices { ", and devices are told nothing more" }
                ". A yes takes a passkey in any case."
            }
            form method="post" action="/logout/everywhere" {
                button.no type="submit" { "Log out everywhere" }
            }
        }
    }
}

/// Text of somebody's, with what cannot be seen written out.
pub(crate) fn seen(text: &str) -> String {
    visible(text, SHORT)
}

/// What names read as that have labels in ASCII for letters beyond it, each behind the name as it is.
fn letters<'n>(names: impl IntoIterator<Item = &'n str>) -> Markup {
    let names = names.into_iter();
    let read = names.filter_map(|name| Some((name, visible::in_letters(name)?)));
    html! {
        @for (name, letters) in read {
            p.to { span.host { (seen(name)) } " in letters: " span.host { (seen(&letters)) } }
        }
    }
}

/// What asks: its file's name, else what it calls itself, in quotes as `guard pending` shows that.
pub(crate) fn asker(request: &Request, unknown: &str) -> String {
    match (&request.comm, &request.exe) {
        (Some(comm), Some(_)) => visible::program(comm),
        (Some(comm), None) => visible::claimed(comm),
        (None, _) => unknown.to_owned(),
    }
}

/// The name of a program's file, where it is known.
pub(crate) fn program(name: Option<&str>, unknown: &str) -> String {
    name.map_or_else(|| unknown.to_owned(), visible::program)
}

/// The same of what is shown alone, and may be longer.
pub(crate) fn seen_long(text: &str) -> String {
    visible(text, LONG)
}

/// The same of what a machine of a fleet has made visible before it said it.
pub(crate) fn shown(text: &str) -> String {
    visible_again(text, SHORT)
}

pub(crate) fn shown_long(text: &str) -> String {
    visible_again(text, LONG)
}

/// How long ago, or how soon; the script keeps it true.
pub(crate) fn moment(at: Timestamp) -> Markup {
    html! { time datetime=(at.to_string()) title=(at.strftime("%F %T UTC")) { (relative(at)) } }
}

fn relative(at: Timestamp) -> String {
    let seconds = at.duration_since(Timestamp::now()).as_secs();
    let lasting = |seconds: u64| match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86400),
    };
    match seconds {
        0 => "now".to_owned(),
        1.. => format!("in {}", lasting(seconds.unsigned_abs())),
        ..0 => format!("{} ago", lasting(seconds.unsigned_abs())),
    }
}

/// "15m"
pub(crate) fn lasting(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds.round()).unwrap_or_default();
    format_duration(time)
}

/// An address with its port.
pub(crate) fn place(address: &str, port: Option<u16>) -> String {
    match (port, address.contains(':')) {
        (Some(port), true) => format!("[{address}]:{port}"),
        (Some(port), false) => format!("{address}:{port}"),
        (None, _) => address.to_owned(),
    }
}

/// guardd's no, or that it is away.
pub(crate) fn refused(frame: &Frame<'_>, refusal: &Refusal) -> Markup {
    let failure = &refusal.failure;
    let content = html! {
        h1 { (seen(&failure.what)) }
        div.note.bad role="alert" {
            p { (seen_long(&failure.why)) }
            @if !failure.fix.is_empty() { pre { (seen_long(&failure.fix)) } }
        }
        p { a href="" { "Try again" } }
    };
    // The script reloads the page once guardd is back.
    let kind = match refusal.name {
        Some(_) => "refused",
        None => "away",
    };
    frame.page("Not done", kind, &content)
}

/// The status of a no.
pub(crate) const fn status(refusal: &Refusal) -> StatusCode {
    match refusal.name {
        None => StatusCode::SERVICE_UNAVAILABLE,
        Some(ErrorName::Refused) => StatusCode::FORBIDDEN,
        Some(ErrorName::NotFound) => StatusCode::NOT_FOUND,
        Some(ErrorName::Invalid) => StatusCode::BAD_REQUEST,
        Some(ErrorName::No) => StatusCode::CONFLICT,
        Some(ErrorName::Failed) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The text in place of an empty list.
pub(crate) fn none(what: &str, more: &str) -> Markup {
    html! { div.empty { p.what { (what) } p { (more) } } }
}

/// That there is none of the users that somebody answers for, and how to see others'.
pub(crate) fn none_of(scope: &Scope, what: &str, more: &str) -> Markup {
    let (name, users) = (seen(&scope.name), seen_long(&scope.users().join(", ")));
    html! {
        div.empty {
            @if scope.is_empty() {
                p.what { (name) " answers for nobody here" }
                p { "There is no user " (users) " on this machine whose sessions could be shown. Root says for which user, and you make a new passkey:" }
            } @else {
                p.what { (what) }
                p { (more) }
                p { "Here is what concerns sessions of " (users) ", for whom " (name) " answers. For another user, too, root invites you again:" }
            }
            pre { (invite(scope)) }
        }
    }
}

/// What has somebody answer for more users.
fn invite(scope: &Scope) -> String {
    let kept = scope.users().iter().filter(|_| !scope.is_empty());
    let kept: String = kept
        .map(|user| format!("--answers-for {} ", seen(user)))
        .collect();
    format!(
        "sudo guard approver invite {} {kept}--answers-for USER",
        seen(&scope.name)
    )
}
