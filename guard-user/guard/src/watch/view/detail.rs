//! All about one thing. What others say has a column of its own, in which no label of ours ever stands.

use guard_proto::{Hole, Request};
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::{Line, Span};

use super::{Tone, View, YesFor, cut, keys, paragraph, piece, rows, wrap};
use crate::watch::rows::LabelledText;

/// The width of labels, and what is before them.
const LABEL: usize = 12;
/// Limit of the lines of each field that are shown beside the list.
const BRIEF: usize = 3;

impl View<'_> {
    /// All about a request, and which lines of it say what a person should beware of.
    pub(super) fn about_request(
        &self,
        request: &Request,
        area: Rect,
    ) -> (Vec<Line<'static>>, Vec<usize>) {
        let mut lines = Vec::new();
        let state = if self.model.waits(&request.id) {
            String::new()
        } else {
            format!("  [{}]", self.model.fate(&request.id))
        };
        let heading = format!("{}{state}", rows::request_title(request));
        for line in wrap(&piece(&heading), area.width.into()) {
            lines.push(Line::styled(line, self.look.of(Tone::Strong)));
        }
        let fields = rows::request_fields(request, self.clock);
        let heading = lines.len();
        let bewares = bewares(&fields, area, usize::MAX).into_iter();
        let bewares = bewares.map(|line| heading.saturating_add(line)).collect();
        lines.extend(self.fields(&fields, area, usize::MAX));
        (lines, bewares)
    }

    pub(super) fn about_hole(&self, hole: &Hole, area: Rect) -> Vec<Line<'static>> {
        let is_open = self.model.holes.iter().any(|one| one.id == hole.id);
        let heading = if is_open {
            hole.id.clone()
        } else {
            format!("{}  [closed]", hole.id)
        };
        let mut lines = vec![Line::styled(piece(&heading), self.look.of(Tone::Strong))];
        lines.extend(self.fields(&rows::hole_fields(hole, self.clock), area, usize::MAX));
        lines
    }

    pub(super) fn help(&self, area: Rect) -> Vec<Line<'static>> {
        let fields: Vec<LabelledText> = keys::HELP
            .iter()
            .map(|(key, does)| (*key, (*does).to_owned(), Tone::Plain))
            .collect();
        self.fields(&fields, area, usize::MAX)
    }

    /// What a yes would be for.
    pub(super) fn choice(&self, what: &YesFor, area: Rect) -> Vec<Line<'static>> {
        // Each address of a burst gets a hole of its own.
        let is_burst = |one: super::super::model::OpenedRequest| one.request.burst.is_some();
        let each = if self.model.subject().is_some_and(is_burst) {
            " for each"
        } else {
            ""
        };
        let said = match what {
            YesFor::Asked => "what it asks for".to_owned(),
            YesFor::Connections(digits) => {
                format!("connections, or HTTP requests{each}: {digits}_")
            }
            YesFor::Bytes(size) => {
                format!("what it sends{each}, up to (as 64KiB or 10MB): {size}_")
            }
            YesFor::Path {
                pattern,
                typing: true,
            } => format!("paths like (* is any text): {pattern}_"),
            YesFor::Path {
                pattern,
                typing: false,
            } => format!("all with this method and a path like {pattern}"),
            YesFor::Writes => {
                let http = self.model.subject().and_then(|one| one.request.http);
                let at = if http.is_some_and(|http| !http.is_statement()) {
                    "its host"
                } else {
                    "this destination"
                };
                format!("ALL that change something at {at}")
            }
            YesFor::Prefix => match self.model.subject().and_then(|one| one.request.burst) {
                Some(burst) => format!(
                    "ALL of {}, not the addresses alone that were tried",
                    burst.prefix
                ),
                None => "all of its prefix".to_owned(),
            },
            YesFor::Reads => "reads over HTTP alone".to_owned(),
            YesFor::Address => "this address alone, not the name".to_owned(),
            YesFor::Always => "this program, owner and port, for good".to_owned(),
        };
        let mut lines = self.fields(&[("yes to", said, Tone::Strong)], area, usize::MAX);
        lines.push(Line::default());
        lines
    }

    /// The request under the cursor beside the list, as much of it as has room. Its id, where that is all that a person should beware of.
    pub(super) fn draw_brief(&self, frame: &mut Frame<'_>, area: Rect) -> Option<String> {
        let subject = self.model.subject().filter(|_| area.height > 0)?;
        let fields = rows::request_below(&subject.request, self.clock);
        let bewares = bewares(&fields, area, BRIEF);
        let mut lines = self.fields(&fields, area, BRIEF);
        let room = usize::from(area.height);
        let mut shown = lines.len();
        if lines.len() > room {
            shown = room - 1;
            let more = lines.len() - shown;
            lines.truncate(shown);
            let text = format!("{:LABEL$}… {more} more lines: Enter", "");
            lines.push(Line::styled(text, self.look.of(Tone::Strong)));
        }
        self.draw_page(frame, area, &lines, 0);
        let is_read = bewares.iter().all(|line| *line < shown);
        is_read.then_some(subject.request.id)
    }

    /// Labels with what stands beside them, each at most `most` lines.
    fn fields(&self, fields: &[LabelledText], area: Rect, most: usize) -> Vec<Line<'static>> {
        let cells = usize::from(area.width).saturating_sub(LABEL);
        let mut lines = Vec::new();
        for (label, text, tone) in fields {
            let mut wrapped = wrap(&paragraph(text), cells);
            if wrapped.len() > most {
                wrapped.truncate(most);
                if let Some(last) = wrapped.last_mut() {
                    *last = cut(&format!("{last}…………"), cells);
                }
            }
            for (number, part) in wrapped.into_iter().enumerate() {
                let label = if number == 0 { *label } else { "" };
                let label = format!("  {label:<9} ");
                lines.push(Line::from(vec![
                    Span::styled(label, self.look.of(Tone::Dim)),
                    Span::styled(part, self.look.of(*tone)),
                ]));
            }
        }
        lines
    }

    /// Lines from the `scroll`th on. How far that can be.
    pub(super) fn draw_page(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        lines: &[Line<'static>],
        scroll: usize,
    ) -> super::VisibleRows {
        let last = lines.len().saturating_sub(area.height.into());
        let shown = &lines[scroll.min(last)..];
        for (line, y) in shown.iter().zip(area.y..area.bottom()) {
            frame.render_widget(
                line.clone(),
                Rect {
                    y,
                    height: 1,
                    ..area
                },
            );
        }
        super::VisibleRows {
            scroll: last,
            ..super::VisibleRows::default()
        }
    }
}

/// Which lines of fields say what to beware of, as [`View::fields`] lays them out; where that is cut, also one that no page has.
fn bewares(fields: &[LabelledText], area: Rect, most: usize) -> Vec<usize> {
    let cells = usize::from(area.width).saturating_sub(LABEL);
    let (mut first, mut found) = (0, Vec::new());
    for (label, text, _) in fields {
        let length = wrap(&paragraph(text), cells).len();
        let end = first + length.min(most);
        if *label == "beware" {
            found.extend(first..end);
            found.extend((length > most).then_some(usize::MAX));
        }
        first = end;
    }
    found
}
