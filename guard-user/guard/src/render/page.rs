//! Text on its way to a terminal. Whatever is put on a page is escaped first, so that no verb can forget to.

use std::fmt::{Display, Write};
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};

use super::escape::{LIMIT, visible};

/// Table heads.
pub(crate) const HEAD: Style = Style::new().dimmed();
/// Ids and what the eye looks for first.
pub(crate) const STRONG: Style = Style::new().bold();
/// What to type next.
pub(crate) const COMMAND: Style = AnsiColor::Cyan.on_default();
/// The style of what is in order.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Stopped, or broken.
pub(crate) const BAD: Style = AnsiColor::Red.on_default().bold();
/// Worth a look.
pub(crate) const WARN: Style = AnsiColor::Yellow.on_default();

const INDENT: &str = "    ";
/// Beside a label, in a terminal of 80 columns, there is room for this many characters.
const LINE: usize = 66;
/// Limit of the characters shown of a paragraph.
const PARAGRAPH: usize = 4000;

/// Lines of text with styles. Written through `anstream`, which drops the styles where no terminal reads.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
    /// Where the rows of tables are in it.
    rows: Vec<Range<usize>>,
}

impl Page {
    /// A page with one line.
    pub(crate) fn of(text: impl Display) -> Self {
        let mut page = Self::default();
        page.line(text);
        page
    }

    /// Adds text to the current line, whatever it holds made visible.
    pub(crate) fn text(&mut self, text: impl Display) -> &mut Self {
        self.text.push_str(&visible(text, LIMIT));
        self
    }

    /// Adds text in a style.
    pub(crate) fn styled(&mut self, style: Style, text: impl Display) -> &mut Self {
        // Writing to a String cannot fail.
        let _ = write!(self.text, "{style}{}{style:#}", visible(text, LIMIT));
        self
    }

    /// Ends the current line.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.text.push('\n');
        self
    }

    /// Adds the lines of a diff: what comes, what goes, and where.
    pub(crate) fn diff<'a>(&mut self, lines: impl Iterator<Item = &'a str>) {
        for line in lines {
            match line.chars().next() {
                Some('+') => self.styled(GOOD, line),
                Some('-') => self.styled(BAD, line),
                Some('@') => self.styled(HEAD, line),
                _ => self.text(line),
            };
            self.end();
        }
    }

    /// Adds a whole line.
    pub(crate) fn line(&mut self, text: impl Display) -> &mut Self {
        self.text(text).end()
    }

    /// Adds an indented line: a label, and what it says.
    pub(crate) fn field(&mut self, label: &str, text: impl Display) -> &mut Self {
        self.styled(HEAD, format_args!("{INDENT}{label:<9}"))
            .line(text)
    }

    /// Adds an indented label, and several sentences beside it: broken between words, and told to their end.
    pub(crate) fn paragraph(&mut self, label: &str, text: impl Display) -> &mut Self {
        self.styled(HEAD, format_args!("{INDENT}{label:<9}"));
        let text = visible(text, PARAGRAPH);
        let mut column = 0;
        for word in text.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > LINE {
                self.text.push_str("\n             ");
                column = 0;
            }
            if column > 0 {
                self.text.push(' ');
                column += 1;
            }
            self.text.push_str(word);
            column += length;
        }
        self.end()
    }

    /// Adds indented lines: what a person may type, with words between.
    pub(crate) fn commands(&mut self, commands: impl Display) -> &mut Self {
        for line in commands.to_string().lines() {
            self.text.push_str(INDENT);
            let style = if is_command(line) {
                COMMAND
            } else {
                Style::new()
            };
            self.styled(style, line).end();
        }
        self
    }

    /// Adds rows in aligned columns under heads.
    pub(crate) fn table<const N: usize>(
        &mut self,
        heads: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let mut table = aligned(rows);
        table.set_header(heads);
        for (number, line) in table.lines().enumerate() {
            let line = line.trim_end();
            if number == 0 {
                self.styled(HEAD, line).end();
            } else {
                let start = self.text.len();
                self.text.push_str(line);
                self.rows.push(start..self.text.len());
                self.end();
            }
        }
    }

    /// Cuts the rows of tables at the edge of a terminal that wide: a broken row is hard to read, and all of
    /// it is in the JSON.
    pub(crate) fn fit(mut self, columns: usize) -> Self {
        for row in self.rows.drain(..).rev() {
            let line = &self.text[row.clone()];
            let at = |column| {
                line.char_indices()
                    .nth(column)
                    .map(|(at, _)| row.start + at)
            };
            if let (Some(cut), Some(_)) = (at(columns.saturating_sub(1)), at(columns)) {
                self.text.replace_range(cut..row.end, "…");
            }
        }
        self
    }

    /// The text, styles included.
    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }

    /// The text without styles.
    pub(crate) fn into_plain(self) -> String {
        anstream::adapter::strip_str(&self.text).to_string()
    }

    /// The text without styles.
    pub(crate) fn plain(&self) -> String {
        anstream::adapter::strip_str(&self.text).to_string()
    }
}

/// Whether a line of advice can be typed as it stands.
fn is_command(line: &str) -> bool {
    let program = line.split(' ').next().unwrap_or_default();
    ["guard", "guardd", "sudo", "journalctl", "ls"].contains(&program)
}

/// A table without borders. Cells are escaped here: no line breaks are left in them.
fn aligned<const N: usize>(rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    for row in rows {
        table.add_row(row.map(|cell| visible(cell, LIMIT)));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_align_and_escape() {
        let mut page = Page::default();
        page.table(
            ["ID", "WHERE"],
            [
                ["h1".into(), "192.0.2.10".into()],
                ["h1000".into(), "a\u{1b}[2J\nb".into()],
            ],
        );
        insta::assert_snapshot!(page.plain(), @r"
        ID     WHERE
        h1     192.0.2.10
        h1000  a\u{1b}[2J\nb
        ");
    }

    #[test]
    fn rows_end_at_the_edge_and_nothing_else_does() {
        let mut page = Page::default();
        page.line("a line that is long");
        page.table(
            ["ID", "WHERE"],
            [
                ["h1".into(), "größer 日本".into()],
                ["h2".into(), "a".into()],
            ],
        );
        page.paragraph("label", "word ".repeat(20).trim_end());
        insta::assert_snapshot!(page.fit(10).plain(), @r"
        a line that is long
        ID  WHERE
        h1  größe…
        h2  a
            label    word word word word word word word word word word word word word
                     word word word word word word word
        ");
    }

    #[test]
    fn foreign_text_cannot_add_lines_or_styles() {
        let mut page = Page::default();
        page.line("a\nb\u{1b}[31m").styled(BAD, "c\nd").end();
        assert_eq!(page.plain(), "a\\nb\\u{1b}[31m\nc\\nd\n");
    }
}
