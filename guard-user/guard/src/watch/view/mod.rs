//! The screen, drawn from the model and nothing else.

use std::collections::BTreeSet;

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};
use ratatui::widgets::Clear;

pub(crate) use self::look::Palette;
use super::model::choice::YesFor;
use super::model::{Detail, GuarddReach, Mode, Model, Pane, SeenBewares, Tone, VisibleRows};
use super::rows;
use super::words::{cut, paragraph, piece, width, wrap};
use crate::render::time::Clock;
use layout::{Lengths, Parts, SMALLEST};

mod detail;
mod keys;
mod layout;
mod lists;
mod look;
#[cfg(test)]
mod tests;
mod together;

/// Where and how to draw.
pub(crate) struct View<'a> {
    pub(crate) model: &'a Model,
    pub(crate) clock: &'a Clock,
    pub(crate) look: Palette,
    /// guardd's socket, for people.
    pub(crate) socket: &'a str,
}

impl View<'_> {
    /// Draws everything, and tells which parts of the lists can be seen; none where nothing can.
    pub(crate) fn draw(&self, frame: &mut Frame<'_>) -> Option<VisibleRows> {
        let area = frame.area();
        if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
            self.draw_too_small(frame, area);
            return None;
        }
        let lengths = Lengths {
            sessions: self.model.sessions.len(),
            requests: self.model.shown_requests().count(),
            holes: self.model.shown_holes().count(),
        };
        let parts = layout::parts(area, self.model.pane, lengths);
        self.line(frame, parts.title, &self.title(), Tone::Strong);
        let shown = self.draw_middle(frame, &parts);
        self.draw_notice(frame, parts.notice);
        self.draw_keys(frame, parts.keys);
        Some(shown)
    }

    /// What lies between the title and the notice.
    fn draw_middle(&self, frame: &mut Frame<'_>, parts: &Parts) -> VisibleRows {
        let top = parts.title.bottom();
        let middle = Rect {
            y: top,
            height: parts.notice.y - top,
            ..parts.title
        };
        let (lines, bewares, scroll) = match &self.model.mode {
            Mode::Details(Detail::Request(subject), scroll) => {
                let (lines, bewares) = self.about_request(&subject.request, middle);
                (lines, bewares, *scroll)
            }
            Mode::Details(Detail::Hole(hole), scroll) => {
                (self.about_hole(hole, middle), Vec::new(), *scroll)
            }
            Mode::Help(scroll) => (self.help(middle), Vec::new(), *scroll),
            Mode::Choose(choice) => {
                let mut lines = self.choice(&choice.what, middle);
                let (about, bewares) = self.about_request(&choice.subject.request, middle);
                let above = lines.len();
                let bewares = bewares.into_iter();
                let bewares = bewares.map(|line| above.saturating_add(line)).collect();
                lines.extend(about);
                (lines, bewares, 0)
            }
            Mode::Together(together) => return self.draw_together(frame, middle, together),
            Mode::Lists | Mode::Filter => return self.draw_lists(frame, parts),
        };
        let shown = self.draw_page(frame, middle, &lines, scroll);
        let Some(subject) = self.model.subject() else {
            return shown;
        };
        let first = scroll.min(shown.scroll);
        // A long notice takes a line from what is above it.
        let window = first..first + usize::from(middle.height.saturating_sub(1));
        let before = subject.bewares.at(middle.width);
        let in_view = bewares.iter().enumerate();
        let in_view = in_view.filter(|(_, line)| window.contains(*line));
        let seen: BTreeSet<_> = in_view.map(|(number, _)| number).chain(before).collect();
        let is_read = (0..bewares.len()).all(|number| seen.contains(&number));
        VisibleRows {
            read: is_read.then_some(subject.request.id),
            bewares: SeenBewares::new(middle.width, seen),
            ..shown
        }
    }

    fn draw_too_small(&self, frame: &mut Frame<'_>, area: Rect) {
        let (width, height) = SMALLEST;
        let lines = [
            format!("guard watch needs {width}x{height},"),
            format!("this is {}x{}.", area.width, area.height),
            format!("Requests that wait: {}", self.model.requests.len()),
            "q quits.".to_owned(),
        ];
        for (line, y) in lines.iter().zip(area.y..area.bottom()) {
            self.line(
                frame,
                Rect {
                    y,
                    height: 1,
                    ..area
                },
                line,
                Tone::Plain,
            );
        }
    }

    fn title(&self) -> String {
        let model = self.model;
        let count = |count: usize, one: &str| match count {
            1 => format!("1 {one}"),
            count => format!("{count} {one}s"),
        };
        let marked = match model.marked.len() {
            0 => String::new(),
            marked => format!(" ({marked} marked)"),
        };
        let open = model.holes.iter().filter(|hole| !hole.is_used_up());
        let mut title = format!(
            "guard watch  {}{marked}, {}, {}",
            count(model.requests.len(), "request"),
            count(open.count(), "hole"),
            count(model.sessions.len(), "session"),
        );
        if !model.bell {
            title.push_str("  (no bell)");
        }
        if !model.filter.is_empty() || matches!(model.mode, Mode::Filter) {
            let caret = if matches!(model.mode, Mode::Filter) {
                "_"
            } else {
                ""
            };
            title.push_str(&format!("  only: {}{caret}", piece(&model.filter)));
        }
        title
    }

    /// What is wrong with the link to guardd, else the last thing to tell. Where that is long it takes a line more, from
    /// what is above.
    fn draw_notice(&self, frame: &mut Frame<'_>, area: Rect) {
        let (tone, text) = match (&self.model.link, &self.model.notice) {
            (GuarddReach::Connecting, _) => {
                (Tone::Dim, format!("asking guardd at {}", self.socket))
            }
            (GuarddReach::Down(failure), _) => (Tone::Bad, self.down(&failure.why)),
            (GuarddReach::Up, Some(notice)) => (notice.tone, notice.text.clone()),
            (GuarddReach::Up, None) => return,
        };
        let lines = wrap(&piece(&text), area.width.into());
        let (first, rest) = lines
            .split_first()
            .map_or(("", &[][..]), |(one, rest)| (one, rest));
        if rest.is_empty() {
            return self.line(frame, area, first, tone);
        }
        let above = Rect {
            y: area.y - 1,
            ..area
        };
        frame.render_widget(Clear, above);
        self.line(frame, above, first, tone);
        self.line(frame, area, &rest.join(" "), tone);
    }

    fn down(&self, why: &str) -> String {
        match why {
            "no guardd listens there" => format!("no guardd at {}; trying again", self.socket),
            why => format!("guardd at {}: {why}; trying again", self.socket),
        }
    }

    fn draw_keys(&self, frame: &mut Frame<'_>, area: Rect) {
        let mut line = Line::default();
        for (key, word) in keys::fitting(&keys::of(self.model), area.width.into()) {
            line.push_span(Span::styled(key, self.look.of(Tone::Strong)));
            line.push_span(Span::styled(format!(" {word}  "), self.look.of(Tone::Dim)));
        }
        frame.render_widget(line, area);
    }

    /// One line, cut at the edge.
    fn line(&self, frame: &mut Frame<'_>, area: Rect, text: &str, tone: Tone) {
        let text = cut(text, area.width.into());
        frame.render_widget(Line::styled(text, self.look.of(tone)), area);
    }
}
