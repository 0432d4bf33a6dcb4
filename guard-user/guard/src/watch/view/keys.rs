//! The keys, in the last line and in the help.

use std::borrow::Cow;

use guard_proto::Request;

use crate::render::requests;
use crate::watch::model::choice::YesFor;
use crate::watch::model::decide::{is_known_program, yes};
use crate::watch::words::width;
use crate::watch::{model::Detail, model::Mode, model::Model, model::Pane};

/// All keys, with what they do.
pub(crate) const HELP: &[(&str, &str)] = &[
    ("f y h", "yes, for 5 minutes, 15 minutes, an hour"),
    ("o", "yes, as you said it last time for the same rule"),
    (
        "c",
        "yes to so many connections or requests: a number, then f, y or h",
    ),
    ("s", "yes to so many bytes: a size, then f, y or h"),
    ("r", "yes to reads over HTTP alone: then f, y or h"),
    ("i", "of a name: yes to this address alone: then f, y or h"),
    (
        "l",
        "of a program on the loopback: yes for good: then f, y or h",
    ),
    (
        "p",
        "many addresses: yes to all of their prefix. HTTP: yes to all with this method and a path like it: edit it, Enter. Then f, y or h",
    ),
    (
        "w",
        "HTTP: yes to all that change something there: then f, y or h",
    ),
    (
        "n",
        "no, for a minute: what is tried after that is asked again",
    ),
    ("N", "no, and stop asking for 8 hours"),
    (
        "Space",
        "mark it: f y h n N answer all that are marked, Esc unmarks them",
    ),
    ("a", "mark all of its session"),
    ("x", "close the hole under the cursor"),
    ("Enter", "details, all that is known; never an answer"),
    (
        "Tab",
        "the next list: requests, holes, sessions, log, reached",
    ),
    (
        "Up Down",
        "move, as k and j do; PageUp, PageDown, Home, End",
    ),
    ("/", "list only lines with some text; Esc lists all again"),
    ("b", "the bell for new requests, on or off"),
    ("^L ^Z", "redraw the screen; suspend, until fg"),
    ("q ^C", "quit; requests go on waiting"),
];

/// A key, and what it does in a word or two.
pub(crate) type KeyHint = (&'static str, Cow<'static, str>);

fn plain(keys: &[(&'static str, &'static str)]) -> Vec<KeyHint> {
    let keys = keys.iter();
    keys.map(|(key, word)| (*key, Cow::Borrowed(*word)))
        .collect()
}

/// Keys and words for the last line, the first the most useful.
pub(crate) fn of(model: &Model) -> Vec<KeyHint> {
    match &model.mode {
        Mode::Lists => in_lists(model),
        Mode::Details(Detail::Request(_), _) => {
            let mut keys = answers(model);
            keys.extend(plain(&[("Esc", "back")]));
            keys
        }
        Mode::Details(Detail::Hole(_), _) => plain(&[("x", "close it"), ("Esc", "back")]),
        Mode::Help(_) => plain(&[("Esc", "back"), ("Down", "more")]),
        Mode::Filter => plain(&[("Enter", "keep"), ("Esc", "list all")]),
        Mode::Choose(choice) => match &choice.what {
            YesFor::Path { typing: true, .. } => plain(&[("Enter", "goes on"), ("Esc", "back")]),
            _ => plain(&[("f", "yes 5m"), ("y", "15m"), ("h", "1h"), ("Esc", "back")]),
        },
        Mode::Together(_) => plain(&[
            ("f", "yes 5m"),
            ("y", "15m"),
            ("h", "1h"),
            ("Esc", "back"),
            ("Down", "more"),
        ]),
    }
}

fn in_lists(model: &Model) -> Vec<KeyHint> {
    let mut keys = match model.pane {
        Pane::Requests if !model.marked.is_empty() => return to_marked(model.marked.len()),
        Pane::Requests if model.asked.id().is_some() => answers(model),
        Pane::Holes if model.opened.id().is_some() => {
            plain(&[("x", "close"), ("Enter", "details")])
        }
        _ => Vec::new(),
    };
    keys.extend(plain(&[
        ("?", "help"),
        ("Tab", "next list"),
        ("/", "filter"),
        ("q", "quit"),
    ]));
    keys
}

fn answers(model: &Model) -> Vec<KeyHint> {
    let subject = model.subject();
    let request = subject.as_ref().map(|subject| &*subject.request);
    let mut keys: Vec<KeyHint> = request.and_then(offered).into_iter().collect();
    if request.is_some_and(|request| request.burst.is_some()) {
        keys.extend(plain(&[("p", "prefix")]));
    }
    keys.extend(plain(&[
        ("f", "yes 5m"),
        ("y", "15m"),
        ("h", "1h"),
        ("n", "no 1m"),
        ("N", "8h"),
    ]));
    if let Some(http) = request.and_then(|request| request.http.as_ref()) {
        let path = plain(&[("p", "path")]);
        keys.extend(path.into_iter().filter(|_| !http.is_statement()));
        keys.extend(plain(&[("w", "writes")]));
    } else if request.is_some_and(|request| request.question.is_none()) {
        keys.extend(plain(&[("c", "count")]));
    }
    if request.is_some_and(|request| request.opens_name) {
        keys.extend(plain(&[("i", "address alone")]));
    }
    if request.is_some_and(is_known_program) {
        keys.extend(plain(&[("l", "always")]));
    }
    if matches!(model.mode, Mode::Lists) && model.requests.len() > 1 {
        keys.extend(plain(&[("Space", "mark")]));
    }
    keys
}

fn to_marked(count: usize) -> Vec<KeyHint> {
    let mut keys = vec![("n", Cow::Owned(format!("no 1m to {count}")))];
    keys.extend(plain(&[
        ("Esc", "unmark"),
        ("f", "yes 5m"),
        ("y", "15m"),
        ("h", "1h"),
        ("N", "no 8h"),
        ("Space", "mark"),
        ("a", "all of the session"),
    ]));
    keys
}

/// What is offered first, unless a key of its own says just that.
fn offered(request: &Request) -> Option<KeyHint> {
    let offer = request.offers.first()?;
    let has_key = "fyh"
        .chars()
        .filter_map(yes)
        .any(|seconds| seconds == offer.seconds);
    let count = offer.connections.map(|count| format!(" {count}x"));
    (!has_key || count.is_some()).then(|| {
        let words = format!(
            "yes {}{}",
            requests::lasting(offer),
            count.unwrap_or_default()
        );
        ("o", Cow::Owned(words))
    })
}

/// The keys that fit, and always the one that shows all.
pub(crate) fn fitting(keys: &[KeyHint], cells: usize) -> Vec<KeyHint> {
    let cost = |(key, word): &KeyHint| width(key) + width(word) + 3;
    let help = keys.iter().find(|(key, _)| *key == "?" || *key == "Esc");
    let mut left = cells.saturating_sub(help.map_or(0, cost));
    let mut shown = Vec::new();
    for key in keys.iter().filter(|key| Some(*key) != help) {
        if cost(key) > left {
            break;
        }
        left -= cost(key);
        shown.push(key.clone());
    }
    shown.extend(help.cloned());
    shown
}
