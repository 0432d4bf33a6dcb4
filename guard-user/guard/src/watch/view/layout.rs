//! How many lines each part of the screen gets.

use ratatui::layout::{Constraint, Layout, Rect};

use crate::watch::model::Pane;

/// A smaller terminal shows too little to decide by.
pub(crate) const SMALLEST: (u16, u16) = (40, 10);
/// What is left of the log however much else there is.
const LOG: u16 = 3;
/// Screens of at least this many lines show all lists at once.
const ALL: u16 = 20;

/// The parts of the screen; those without room have no lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Parts {
    pub(crate) title: Rect,
    pub(crate) sessions: Rect,
    pub(crate) requests: Rect,
    /// All about the request under the cursor, or as much as has room.
    pub(crate) detail: Rect,
    pub(crate) holes: Rect,
    pub(crate) log: Rect,
    pub(crate) notice: Rect,
    pub(crate) keys: Rect,
}

/// How long the lists are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Lengths {
    pub(crate) sessions: usize,
    pub(crate) requests: usize,
    pub(crate) holes: usize,
}

/// Lays the screen out. Each list has a heading.
pub(crate) fn parts(area: Rect, pane: Pane, lengths: Lengths) -> Parts {
    let heights = if area.height >= ALL {
        together(area.height, lengths)
    } else {
        alone(area.height, pane, lengths)
    };
    let [title, sessions, requests, detail, holes, log, notice, keys] =
        Layout::vertical(heights.map(Constraint::Length)).areas(area);
    Parts {
        title,
        sessions,
        requests,
        detail,
        holes,
        log,
        notice,
        keys,
    }
}

/// A list of `length` in at most `most` lines, its heading included.
fn list(length: usize, most: u16) -> u16 {
    let lines = u16::try_from(length.max(1)).unwrap_or(u16::MAX);
    lines.saturating_add(1).min(most)
}

fn together(height: u16, lengths: Lengths) -> [u16; 8] {
    let room = height - 3;
    let sessions = list(lengths.sessions, room / 7);
    let requests = list(lengths.requests, room / 4);
    let holes = list(lengths.holes, room / 5);
    let left = room - sessions - requests - holes;
    let detail = match lengths.requests {
        0 => 0,
        _ => (left - LOG).min(14),
    };
    let log = left - detail;
    [1, sessions, requests, detail, holes, log, 1, 1]
}

/// The pane in use, and the requests that wait, with what the one under the cursor is about.
fn alone(height: u16, pane: Pane, lengths: Lengths) -> [u16; 8] {
    let room = height - 3;
    let has_requests = pane == Pane::Requests || lengths.requests > 0;
    let requests = if has_requests {
        list(lengths.requests, room / 3 + 1)
    } else {
        0
    };
    let most = room - requests;
    // Without requests all of it is for the pane in use.
    let of = |length| {
        if has_requests {
            list(length, most)
        } else {
            most
        }
    };
    let (sessions, holes, log) = match pane {
        Pane::Requests => (0, 0, 0),
        Pane::Sessions => (of(lengths.sessions), 0, 0),
        Pane::Holes => (0, of(lengths.holes), 0),
        Pane::Reached | Pane::Log => (0, 0, most),
    };
    let detail = most - sessions - holes - log;
    [1, sessions, requests, detail, holes, log, 1, 1]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_line_is_somebodys_and_what_is_in_use_has_some(
            height in SMALLEST.1..200, width in SMALLEST.0..300,
            sessions in 0_usize..90, requests in 0_usize..90, holes in 0_usize..90, pane in 0_u8..5,
        ) {
            let pane = [Pane::Requests, Pane::Holes, Pane::Sessions, Pane::Reached, Pane::Log][usize::from(pane)];
            let area = Rect::new(0, 0, width, height);
            let lengths = Lengths { sessions, requests, holes };
            let is = parts(area, pane, lengths);
            let all = [is.title, is.sessions, is.requests, is.detail, is.holes, is.log, is.notice, is.keys];
            prop_assert_eq!(all.iter().map(|part| part.height).sum::<u16>(), height);
            let in_use = match pane {
                Pane::Requests => is.requests,
                Pane::Holes => is.holes,
                Pane::Sessions => is.sessions,
                Pane::Reached | Pane::Log => is.log,
            };
            prop_assert!(in_use.height >= 2);
            prop_assert!([is.title, is.notice, is.keys].iter().all(|part| part.height == 1));
            if requests > 0 {
                prop_assert!(is.requests.height >= 2);
            }
            if requests > 0 && pane == Pane::Requests {
                prop_assert!(is.detail.height >= 3);
            }
        }
    }
}
