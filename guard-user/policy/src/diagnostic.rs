//! What is wrong with a policy, and where.

use std::{cell::OnceCell, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use serde::{Deserialize, Serialize};

use super::{invalid::Invalid, model::SourceSpan, unseen::blanked};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The policy cannot be used.
    Error,
    /// The policy can be used, but may not do what its author thinks.
    Warning,
}

/// Something to say about a piece of a policy's source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The file, as it was named.
    pub file: String,
    /// Counted from 1.
    pub line: usize,
    /// In characters, counted from 1.
    pub column: usize,
    /// The offending text.
    pub text: String,
    /// What is wrong with it.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
    /// The offending text, in bytes from the start of the source.
    pub span: Range<usize>,
}

impl Diagnostic {
    pub(super) fn new(severity: Severity, file: &str, place: SourceSpan, what: Invalid) -> Self {
        Self {
            severity,
            file: file.to_owned(),
            line: place.line,
            column: place.column,
            text: place.text,
            message: what.message,
            help: what.help,
            span: place.span,
        }
    }
}

impl fmt::Display for Diagnostic {
    /// On one line, for a log.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (file, line, column) = (&self.file, self.line, self.column);
        write!(f, "{file}:{line}:{column}: {}", self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({})", help.replace('\n', "; ")),
            None => Ok(()),
        }
    }
}

/// The diagnostics as rustc would show them: the line, the offending text underlined, and help.
///
/// `source` is the text that was parsed. `color` asks for terminal colours.
#[must_use]
pub fn render(diagnostics: &[Diagnostic], source: &str, color: bool) -> String {
    let renderer = if color {
        Renderer::styled()
    } else {
        Renderer::plain()
    };
    let shown = diagnostics
        .iter()
        .map(|diagnostic| render_one(diagnostic, source, &renderer));
    shown.collect::<Vec<_>>().join("\n\n") + if diagnostics.is_empty() { "" } else { "\n" }
}

fn render_one(diagnostic: &Diagnostic, source: &str, renderer: &Renderer) -> String {
    let level = match diagnostic.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    // Only what is shown is handed over: the source may have a million lines.
    let span = within(source, &diagnostic.span);
    let window = window(source, &span);
    let counted = source[window.start..span.start].chars().count() + 1;
    // The renderer replaces some control characters, not all. It gets text without any.
    let [before, marked, after] = [window.start..span.start, span.clone(), span.end..window.end]
        .map(|part| blanked(&source[part]));
    let inside = before.len()..before.len() + marked.len();
    let path = blanked(&diagnostic.file);
    let help = diagnostic.help.as_deref().map(|help| {
        let lines: Vec<_> = help.split('\n').map(blanked).collect();
        lines.join("\n")
    });
    let snippet = Snippet::source(before + &marked + &after)
        .path(path.as_str())
        .line_start(diagnostic.line)
        .annotation(AnnotationKind::Primary.span(inside));
    let mut group = level
        .primary_title(blanked(&diagnostic.message))
        .element(snippet);
    if let Some(help) = help {
        group = group.element(Level::HELP.message(help));
    }
    let shown = renderer.render(&[group]);
    if counted == diagnostic.column {
        return shown;
    }
    // The renderer counts from where a long line is cut.
    let place = |column: usize| format!("{path}:{}:{column}", diagnostic.line);
    shown.replacen(&place(counted), &place(diagnostic.column), 1)
}

/// The part of a span that exists in the source, on one line and between characters.
fn within(source: &str, span: &Range<usize>) -> Range<usize> {
    let start = source.floor_char_boundary(span.start);
    let end = source.floor_char_boundary(span.end.max(start));
    let line = source[start..end].lines().next().unwrap_or_default();
    start..start + line.len()
}

/// The line that a span lies on, cut where it is too long to be shown.
fn window(source: &str, span: &Range<usize>) -> Range<usize> {
    const LONGEST: usize = 400;
    let start = source[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = source[span.end..]
        .find('\n')
        .map_or(source.len(), |at| span.end + at);
    let first = source.ceil_char_boundary(span.start.saturating_sub(LONGEST));
    let last = source.floor_char_boundary(span.end + LONGEST);
    start.max(first)..end.min(last)
}

/// The lines of a source, found when they are first asked for.
pub(super) struct Lines<'s> {
    source: &'s str,
    starts: OnceCell<Vec<usize>>,
    /// Number of characters before each block.
    blocks: OnceCell<Vec<usize>>,
}

/// Bytes of a block: a line may be as long as the source, and is not counted from its beginning for each place in it.
const BLOCK: usize = 1024;

impl<'s> Lines<'s> {
    pub(super) const fn new(source: &'s str) -> Self {
        Self {
            source,
            starts: OnceCell::new(),
            blocks: OnceCell::new(),
        }
    }

    /// The line that a span lies on, or as much of it as is shown.
    pub(super) fn around(&self, span: &Range<usize>) -> &'s str {
        &self.source[window(self.source, &within(self.source, span))]
    }

    /// What stands from the start of a span to the end of its line, or as much of it as is shown.
    pub(super) fn rest(&self, span: &Range<usize>) -> &'s str {
        let within = within(self.source, span);
        let end = window(self.source, &within).end;
        &self.source[within.start..end]
    }

    /// The number of the first line that begins so, but for blanks.
    pub(super) fn first(&self, beginning: &str) -> Option<usize> {
        let mut lines = self.source.lines();
        let at = lines.position(|line| line.trim_start().starts_with(beginning))?;
        Some(at + 1)
    }

    /// Line and column of a span, and what stands there.
    pub(super) fn place(&self, span: Range<usize>) -> SourceSpan {
        const LONGEST: usize = 200;
        let start = self.source.floor_char_boundary(span.start);
        let end = self.source.floor_char_boundary(span.end.max(start));
        let starts = self.starts();
        let line = starts.partition_point(|at| *at <= start);
        let column = self.characters_before(start) - self.characters_before(starts[line - 1]) + 1;
        let shown = self
            .source
            .floor_char_boundary(end.min(start + 4 * LONGEST));
        let text = self.source[start..shown].lines().next().unwrap_or_default();
        SourceSpan {
            line,
            column,
            span: start..end,
            text: text.chars().take(LONGEST).collect(),
        }
    }

    fn characters_before(&self, at: usize) -> usize {
        let blocks = self.blocks.get_or_init(|| {
            let blocks = self.source.as_bytes().chunks(BLOCK);
            let counted = blocks.scan(0, |count, block| {
                *count += characters(block);
                Some(*count)
            });
            std::iter::once(0).chain(counted).collect()
        });
        let block = at / BLOCK;
        blocks[block] + characters(&self.source.as_bytes()[block * BLOCK..at])
    }

    /// Where each line begins. The first begins at 0, so there always is one.
    fn starts(&self) -> &[usize] {
        self.starts.get_or_init(|| {
            let ends = self.source.bytes().enumerate().filter(|(_, b)| *b == b'\n');
            std::iter::once(0)
                .chain(ends.map(|(at, _)| at + 1))
                .collect()
        })
    }
}

/// Returns the number of characters that begin in a piece of UTF-8.
fn characters(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| (**byte & 0xC0) != 0x80).count()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_column_is_counted_in_characters_however_long_the_line_is(
            parts in prop::collection::vec("[a-zé€𝄞\n]{0,900}", 1..8),
            at in any::<prop::sample::Index>(),
        ) {
            let source = parts.concat();
            let start = source.floor_char_boundary(at.index(source.len() + 1));
            let place = Lines::new(&source).place(start..source.len());
            let before = source[..start].rsplit('\n').next().unwrap_or_default();
            prop_assert_eq!(place.column, before.chars().count() + 1);
            prop_assert_eq!(place.line, source[..start].matches('\n').count() + 1);
        }
    }
}
