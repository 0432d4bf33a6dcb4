//! The lists: requests with what the one under the cursor is about, holes, sessions, the log.

use std::ops::Range;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{Pane, Parts, Tone, View, VisibleRows, cut, piece, rows, width};
use crate::watch::model::cursor::Cursor;

/// A line of a list, and how it looks. Where the list has a cursor, its first character says whether it is marked.
type ListRow = (String, Tone);

impl View<'_> {
    pub(super) fn draw_lists(&self, frame: &mut Frame<'_>, parts: &Parts) -> VisibleRows {
        let model = self.model;
        let is_narrow = parts.title.width < 70;
        let requests = self.draw_requests(frame, parts.requests, is_narrow);
        let read = self.draw_brief(frame, parts.detail);
        let holes = self.draw_holes(frame, parts.holes);
        let sessions = self.draw_sessions(frame, parts.sessions);
        let log = match model.pane {
            Pane::Reached => self.draw_reached(frame, parts.log),
            _ => self.draw_log(frame, parts.log),
        };
        let scroll = match model.pane {
            Pane::Sessions => sessions,
            Pane::Reached | Pane::Log => log,
            Pane::Requests | Pane::Holes => 0,
        };
        VisibleRows {
            requests,
            holes,
            scroll,
            read,
            ..VisibleRows::default()
        }
    }

    fn draw_requests(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        is_narrow: bool,
    ) -> Option<Range<usize>> {
        let model = self.model;
        let requests = model.shown_requests().map(|one| {
            let row = rows::request(one, self.clock, is_narrow);
            let is_marked = model.marked.contains(&one.id);
            let mark = if is_marked { '*' } else { ' ' };
            match model.answering.contains(&one.id) {
                true => (format!("{mark}{row}  (being answered)"), Tone::Dim),
                false if is_marked => (format!("{mark}{row}"), Tone::Strong),
                false => (format!("{mark}{row}"), Tone::Plain),
            }
        });
        let requests: Vec<ListRow> = requests.collect();
        let hidden = self.hidden(requests.len(), model.requests.len());
        let heading = format!("Requests{hidden}");
        let pane = Pane::Requests;
        self.draw_chosen(frame, area, &heading, pane, &requests, &model.asked)
    }

    fn draw_holes(&self, frame: &mut Frame<'_>, area: Rect) -> Option<Range<usize>> {
        let model = self.model;
        let holes = model
            .shown_holes()
            .map(|one| (format!(" {}", rows::hole(one, self.clock)), Tone::Plain));
        let holes: Vec<ListRow> = holes.collect();
        let hidden = self.hidden(holes.len(), model.holes.len());
        let heading = format!("Holes{hidden}");
        let pane = Pane::Holes;
        self.draw_chosen(frame, area, &heading, pane, &holes, &model.opened)
    }

    /// That a filter hides some.
    fn hidden(&self, shown: usize, all: usize) -> String {
        match all - shown {
            0 => String::new(),
            _ => format!(" ({shown} of {all}, Esc lists all)"),
        }
    }

    /// A list with a cursor, and which part of it is to be seen.
    fn draw_chosen(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        heading: &str,
        pane: Pane,
        list: &[ListRow],
        cursor: &Cursor,
    ) -> Option<Range<usize>> {
        let room = usize::from(area.height.saturating_sub(1));
        let first = (cursor.at() + 1)
            .saturating_sub(room)
            .min(list.len().saturating_sub(room));
        let window = first..list.len().min(first + room);
        let part = if window.len() == list.len() {
            String::new()
        } else {
            format!(", {} to {} of {}", first + 1, window.end, list.len())
        };
        let lines = self.draw_heading(frame, area, &format!("{heading}{part}"), pane)?;
        for (at, y) in window.clone().zip(lines.y..) {
            let (text, tone) = &list[at];
            let is_meant = at == cursor.at();
            let text = format!("{}{}", if is_meant { ">" } else { " " }, piece(text));
            let mut style = self.look.of(*tone);
            if is_meant && self.model.pane == pane {
                style = style.patch(self.look.under_cursor());
            }
            let text = cut(&text, lines.width.into());
            frame.render_widget(
                Line::styled(text, style),
                Rect {
                    y,
                    height: 1,
                    ..lines
                },
            );
        }
        if list.is_empty() {
            self.line(frame, lines, "  none", Tone::Dim);
        }
        Some(window)
    }

    /// What is below a heading; nothing where it has no lines.
    fn draw_heading(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        text: &str,
        pane: Pane,
    ) -> Option<Rect> {
        if area.height == 0 {
            return None;
        }
        let in_use = self.model.pane == pane;
        let rule = "─".repeat(usize::from(area.width).saturating_sub(width(text) + 4));
        let mark = if in_use { "▸" } else { "─" };
        let heading = cut(&format!("{mark} {text} {rule}"), area.width.into());
        let head = Rect { height: 1, ..area };
        frame.render_widget(Line::styled(heading, self.look.heading(in_use)), head);
        Some(Rect {
            y: area.y + 1,
            height: area.height - 1,
            ..area
        })
    }

    /// How far down it can be scrolled.
    fn draw_sessions(&self, frame: &mut Frame<'_>, area: Rect) -> usize {
        let Some(lines) = self.draw_heading(frame, area, "Sessions", Pane::Sessions) else {
            return 0;
        };
        let all = self
            .model
            .sessions
            .iter()
            .map(|one| rows::session(one, self.clock));
        let all: Vec<ListRow> = all
            .filter(|row| self.model.lets_through(row))
            .map(|row| (row, Tone::Plain))
            .collect();
        let last = all.len().saturating_sub(lines.height.into());
        let first = match self.model.pane {
            Pane::Sessions => self.model.scrolled.min(last),
            _ => 0,
        };
        self.draw_rows(frame, lines, &all[first..]);
        last
    }

    /// What sessions have reached, in place of the log. How far down it can be scrolled.
    fn draw_reached(&self, frame: &mut Frame<'_>, area: Rect) -> usize {
        let Some(lines) = self.draw_heading(frame, area, "Reached", Pane::Reached) else {
            return 0;
        };
        let all = self.model.reached.iter();
        let all: Vec<ListRow> = all
            .map(|one| (rows::reached(one, self.clock), Tone::Plain))
            .filter(|(row, _)| self.model.lets_through(row))
            .collect();
        let last = all.len().saturating_sub(lines.height.into());
        self.draw_rows(frame, lines, &all[self.model.scrolled.min(last)..]);
        last
    }

    /// The end of it, or so far up from there as it is scrolled. How far that can be.
    fn draw_log(&self, frame: &mut Frame<'_>, area: Rect) -> usize {
        let Some(lines) = self.draw_heading(frame, area, "Log", Pane::Log) else {
            return 0;
        };
        let room = usize::from(lines.height);
        let shown = self
            .model
            .records
            .iter()
            .map(|one| (rows::record(one, self.clock), rows::record_tone(one)));
        // All are needed only where somebody looks for one.
        let is_all = self.model.filter.is_empty() && self.model.pane != Pane::Log;
        let shown: Vec<ListRow> = if is_all {
            shown
                .skip(self.model.records.len().saturating_sub(room))
                .collect()
        } else {
            shown
                .filter(|(row, _)| self.model.lets_through(row))
                .collect()
        };
        let most = shown.len().saturating_sub(room);
        let up = match self.model.pane {
            Pane::Log => self.model.scrolled.min(most),
            _ => 0,
        };
        self.draw_rows(frame, lines, &shown[most - up..]);
        most
    }

    fn draw_rows(&self, frame: &mut Frame<'_>, area: Rect, rows: &[ListRow]) {
        for ((text, tone), y) in rows.iter().zip(area.y..area.bottom()) {
            let text = format!("  {}", piece(text));
            self.line(
                frame,
                Rect {
                    y,
                    height: 1,
                    ..area
                },
                &text,
                *tone,
            );
        }
    }
}
