//! All requests that a yes is to be for together.

use std::ops::Range;

use guard_proto::Request;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;

use super::{Tone, View, VisibleRows, paragraph, piece, rows, wrap};
use crate::watch::model::marks::Together;

impl View<'_> {
    /// A heading that stays, and the list. Tells which requests can be seen from their first line to their last.
    pub(super) fn draw_together(
        &self,
        frame: &mut Frame<'_>,
        area: Rect,
        together: &Together,
    ) -> VisibleRows {
        let count = self.model.together(together).count();
        let heading = format!("yes to all {count}, each as it is asked here:");
        self.line(frame, Rect { height: 1, ..area }, &heading, Tone::Strong);
        let body = Rect {
            y: area.y + 1,
            // A long notice takes a line from what is above it.
            height: area.height - 2,
            ..area
        };
        let (mut lines, mut places) = (Vec::new(), Vec::new());
        for request in self.model.together(together) {
            let start = lines.len();
            lines.extend(self.about_one(request, body));
            places.push((request.id.clone(), start..lines.len()));
        }
        let shown = self.draw_page(frame, body, &lines, together.scrolled);
        let first = together.scrolled.min(shown.scroll);
        let window = first..first + usize::from(body.height);
        let seen = places
            .into_iter()
            .filter(|(_, place)| is_seen(place, &window));
        VisibleRows {
            together: seen.map(|(id, _)| id).collect(),
            ..shown
        }
    }

    /// A request: what it wants in full, and what a person should beware of.
    fn about_one(&self, request: &Request, area: Rect) -> Vec<Line<'static>> {
        let cells = usize::from(area.width).saturating_sub(4);
        let http = request.http.iter().flat_map(|http| &http.warnings);
        let warnings = request.warnings.iter().chain(http);
        let warnings = warnings.map(|text| (paragraph(&format!("beware: {text}")), Tone::Warn));
        let row = rows::request(request, self.clock, area.width < 70);
        let said = std::iter::once((piece(&row), Tone::Plain)).chain(warnings);
        let mut lines = Vec::new();
        for (text, tone) in said {
            for part in wrap(&text, cells) {
                // In a column of their own, where no id of another request ever stands.
                let indent = if lines.is_empty() { "  " } else { "    " };
                lines.push(Line::styled(format!("{indent}{part}"), self.look.of(tone)));
            }
        }
        lines
    }
}

/// Whether all of a request can be seen.
fn is_seen(place: &Range<usize>, window: &Range<usize>) -> bool {
    let last = place.end.checked_sub(1);
    window.contains(&place.start) && last.is_some_and(|last| window.contains(&last))
}
