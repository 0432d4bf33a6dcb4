//! The keys, in the last line and in the help.

use crate::cli::watch::model::choice::What;
use crate::cli::watch::model::{Detail, Mode, Model, Pane};
use crate::cli::watch::words::width;

/// All keys, with what they do.
pub(crate) const HELP: &[(&str, &str)] = &[
    ("f", "yes, for 5 minutes"),
    ("y", "yes, for 15 minutes"),
    ("h", "yes, for an hour"),
    (
        "c",
        "yes to some connections, or HTTP requests: type how many, then f, y or h",
    ),
    ("s", "yes to so many bytes: type a size, then f, y or h"),
    ("r", "yes to reads over HTTP alone: then f, y or h"),
    (
        "p",
        "HTTP: yes to all with this method and a path like it: edit it, Enter, then f, y or h",
    ),
    (
        "w",
        "HTTP: yes to all that change something there: then f, y or h",
    ),
    ("n", "no; what is tried again after a minute is asked again"),
    ("N", "no, and stop asking for 8 hours"),
    ("x", "close the hole under the cursor"),
    ("Enter", "details, all that is known; never an answer"),
    ("Tab", "the next list: questions, holes, sessions, log"),
    (
        "Up Down",
        "move, as k and j do; PageUp, PageDown, Home, End",
    ),
    ("/", "list only lines with some text; Esc lists all again"),
    ("b", "the bell for new questions, on or off"),
    ("^L", "draw the screen anew"),
    ("^Z", "suspend, until fg"),
    ("q ^C", "quit; questions go on waiting"),
];

/// Keys and words for the last line, the first the most useful.
pub(crate) fn of(model: &Model) -> Vec<(&'static str, &'static str)> {
    match &model.mode {
        Mode::Lists => in_lists(model),
        Mode::Details(Detail::Request(_), _) => {
            let mut keys = answers(model);
            keys.push(("Esc", "back"));
            keys
        }
        Mode::Details(Detail::Hole(_), _) => vec![("x", "close it"), ("Esc", "back")],
        Mode::Help(_) => vec![("Esc", "back"), ("Down", "more")],
        Mode::Filter => vec![("Enter", "keep"), ("Esc", "list all")],
        Mode::Choose(choice) => match &choice.what {
            What::Path { typing: true, .. } => vec![("Enter", "goes on"), ("Esc", "back")],
            _ => vec![("f", "yes 5m"), ("y", "15m"), ("h", "1h"), ("Esc", "back")],
        },
    }
}

fn in_lists(model: &Model) -> Vec<(&'static str, &'static str)> {
    let mut keys = match model.pane {
        Pane::Questions if model.asked.id().is_some() => answers(model),
        Pane::Holes if model.opened.id().is_some() => vec![("x", "close"), ("Enter", "details")],
        _ => Vec::new(),
    };
    keys.extend([
        ("?", "help"),
        ("Tab", "next list"),
        ("/", "filter"),
        ("q", "quit"),
    ]);
    keys
}

fn answers(model: &Model) -> Vec<(&'static str, &'static str)> {
    let is_http = model
        .subject()
        .is_some_and(|subject| subject.request.http.is_some());
    let mut keys = vec![
        ("f", "yes 5m"),
        ("y", "15m"),
        ("h", "1h"),
        ("n", "no"),
        ("N", "stop asking"),
    ];
    if is_http {
        keys.extend([("p", "path"), ("w", "writes")]);
    } else {
        keys.push(("c", "count"));
    }
    keys
}

/// As many as have room, and always how to see all.
pub(crate) fn fitting(
    keys: &[(&'static str, &'static str)],
    cells: usize,
) -> Vec<(&'static str, &'static str)> {
    let cost = |(key, word): &(&str, &str)| width(key) + width(word) + 3;
    let help = keys.iter().find(|(key, _)| *key == "?" || *key == "Esc");
    let mut left = cells.saturating_sub(help.map_or(0, cost));
    let mut shown = Vec::new();
    for key in keys.iter().filter(|key| Some(*key) != help) {
        if cost(key) > left {
            break;
        }
        left -= cost(key);
        shown.push(*key);
    }
    shown.extend(help);
    shown
}
