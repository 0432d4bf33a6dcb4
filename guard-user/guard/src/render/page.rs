//! Text on its way to a terminal. Whatever is put on a page is escaped first, so that no verb can forget to.

use std::fmt::{Display, Write};
use std::ops::Range;

use anstyle::{AnsiColor, Style};
use comfy_table::{ContentArrangement, Table, presets};
use ratatui::text::Span;

use super::doctor;
use super::escape::{LIMIT, escaped, visible, visible_again};

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
/// Blanks between columns.
const GAP: u16 = 2;
/// A cell that is wider makes its column no wider, where there is not room for all of them.
const COLUMN: usize = 40;
/// Beside a label, in a terminal of 80 columns, there is room for this many characters.
const LINE: usize = 66;
/// Limit of the characters shown of a paragraph.
const PARAGRAPH: usize = 4000;

/// Lines of text with styles. Written through `anstream`, which drops the styles where no terminal reads.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
    /// Its tables.
    tables: Vec<PageTable>,
    /// What stands beside labels.
    fields: Vec<PageField>,
}

/// Text beside a label: a terminal that has no room for it would go on where labels begin, and what an agent has written could look like
/// one there.
#[derive(Debug)]
struct PageField {
    /// Where it is in the text.
    at: Range<usize>,
    text: String,
    /// The column at which it begins.
    begin: usize,
}

/// A table on a page.
#[derive(Debug)]
struct PageTable {
    /// Where it is in the text.
    at: Range<usize>,
    heads: Vec<String>,
    cells: Vec<Vec<String>>,
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
            let style = match line.chars().next() {
                Some('+') => GOOD,
                Some('-') => BAD,
                Some('@') => HEAD,
                _ => Style::new(),
            };
            // What a person says yes to is all of it.
            let _ = writeln!(self.text, "{style}{}{style:#}", visible(line, usize::MAX));
        }
    }

    /// Adds a whole line.
    pub(crate) fn line(&mut self, text: impl Display) -> &mut Self {
        self.text(text).end()
    }

    /// Ends the line with text of which nothing is left out: what a person is to say yes to. Where it is long, it goes on in lines that
    /// begin at that column.
    pub(crate) fn rest_of_line(&mut self, text: impl Display, begin: usize) -> &mut Self {
        let text = escaped(text, usize::MAX);
        if text.chars().count() <= LIMIT {
            return self.line(text);
        }
        self.broken(&text, begin)
    }

    /// Adds a whole line that was made visible before.
    pub(crate) fn shown(&mut self, line: impl Display) -> &mut Self {
        self.text.push_str(&visible_again(line, LIMIT));
        self.end()
    }

    /// Adds an indented line: a label, and what it says.
    pub(crate) fn field(&mut self, label: &str, text: impl Display) -> &mut Self {
        self.styled(HEAD, format_args!("{INDENT}{label:<8} "));
        let (start, text) = (self.text.len(), escaped(text, LIMIT));
        self.text.push_str(&visible(&text, usize::MAX));
        self.fields.push(PageField {
            at: start..self.text.len(),
            begin: INDENT.len() + label.chars().count().max(8) + 1,
            text,
        });
        self.end()
    }

    /// Adds an indented label, and several sentences beside it: broken between words, and printed to their end.
    pub(crate) fn paragraph(&mut self, label: &str, text: impl Display) -> &mut Self {
        self.styled(HEAD, format_args!("{INDENT}{label:<8} "));
        self.broken(&escaped(text, PARAGRAPH), INDENT.len() + 9)
    }

    /// Ends the line with text that is broken between words, and goes on at that column.
    fn broken(&mut self, text: &str, begin: usize) -> &mut Self {
        let mut line = String::new();
        let mut column = 0;
        for word in text.split(' ') {
            let length = word.chars().count();
            if column > 0 && column + 1 + length > LINE {
                self.text.push_str(&visible(&line, usize::MAX));
                // Writing to a String cannot fail.
                let _ = write!(self.text, "\n{:begin$}", "");
                line.clear();
                column = 0;
            }
            if column > 0 {
                line.push(' ');
                column += 1;
            }
            line.push_str(word);
            column += length;
        }
        self.text.push_str(&visible(&line, usize::MAX));
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
            // Somebody may copy it.
            let line = escaped(line, LIMIT);
            // Writing to a String cannot fail.
            let _ = writeln!(self.text, "{style}{line}{style:#}");
        }
        self
    }

    /// Adds rows in aligned columns under heads.
    pub(crate) fn table<const N: usize>(
        &mut self,
        heads: [&str; N],
        rows: impl IntoIterator<Item = [String; N]>,
    ) {
        let start = self.text.len();
        let mut table = PageTable {
            at: start..start,
            heads: heads.map(str::to_owned).into(),
            // No line breaks are left in them.
            cells: rows
                .into_iter()
                .map(|row| row.map(|cell| escaped(cell, LIMIT)).into())
                .collect(),
        };
        self.text.push_str(&table.text(usize::MAX));
        table.at.end = self.text.len();
        self.tables.push(table);
    }

    /// Folds the tables, and the text beside labels, that are wider than the terminal.
    pub(crate) fn fit(mut self, columns: usize) -> Self {
        let tables = self.tables.drain(..);
        let tables = tables.map(|table| (table.at.clone(), table.text(columns)));
        let fields = self.fields.drain(..);
        let fields = fields.filter_map(|field| Some((field.at.clone(), field.folded(columns)?)));
        let mut folded: Vec<_> = tables.chain(fields).collect();
        folded.sort_by_key(|(at, _)| at.start);
        for (at, text) in folded.into_iter().rev() {
            self.text.replace_range(at, &text);
        }
        self
    }

    /// How many lines of a terminal that wide it takes.
    pub(crate) fn height(&self, columns: usize) -> usize {
        // A letter that takes two columns does not begin in the last one.
        let room = columns.saturating_sub(1).max(1);
        let text = self.plain();
        let lines = text.lines().map(|line| shown(line).div_ceil(room).max(1));
        lines.sum()
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

impl PageField {
    /// In several lines, each behind the label, where a terminal that wide has no room for it in one.
    fn folded(&self, columns: usize) -> Option<String> {
        let room = columns.saturating_sub(self.begin).max(1);
        let shown = shown(&self.text);
        if shown <= room {
            return None;
        }
        // Letters may take two columns each.
        let is_wide = shown > self.text.chars().count();
        let lines = doctor::broken(&self.text, if is_wide { room.div_ceil(2) } else { room });
        let lines = lines.iter().map(|line| visible(line, usize::MAX));
        let lines: Vec<_> = lines.collect();
        Some(lines.join(&format!("\n{:begin$}", "", begin = self.begin)))
    }
}

impl PageTable {
    /// The table, for a terminal that wide.
    fn text(&self, width: usize) -> String {
        let lines: Vec<_> = self.table().lines().collect();
        let widest = lines.iter().map(|line| shown(line.trim_end())).max();
        if widest.unwrap_or(0) > width {
            return self.folded(width);
        }
        let mut text = String::new();
        for (number, line) in lines.iter().enumerate() {
            push(&mut text, number, line);
        }
        text
    }

    /// Without borders.
    fn table(&self) -> Table {
        let mut table = Table::new();
        table
            .load_style(presets::NOTHING)
            .set_content_arrangement(ContentArrangement::Disabled)
            .set_header(&self.heads)
            .add_rows(&self.cells);
        for column in table.column_iter_mut() {
            column.set_padding((0, GAP));
        }
        table
    }

    /// The table where a line has no room for all columns: the others follow below it, in each row and in the head.
    fn folded(&self, width: usize) -> String {
        let widths = self.widths();
        let groups = groups(&widths, width);
        let mut text = String::new();
        for (number, row) in [&self.heads].into_iter().chain(&self.cells).enumerate() {
            for (below, group) in groups.iter().enumerate() {
                let indent = if below == 0 { 0 } else { INDENT.len() };
                for line in broken(&row[group.clone()], &widths[group.clone()], indent) {
                    push(&mut text, number, &line);
                }
            }
        }
        text
    }

    /// How wide each column is: as its cells, but for those few that are much longer.
    fn widths(&self) -> Vec<usize> {
        let rows = || [&self.heads].into_iter().chain(&self.cells);
        let width = |column: usize| {
            let widths = rows().map(|row| shown(&row[column]));
            let head = shown(&self.heads[column]);
            widths
                .filter(|width| *width <= COLUMN)
                .fold(head, usize::max)
        };
        (0..self.heads.len()).map(width).collect()
    }
}

/// Adds a line of a table, of which the first is the head.
fn push(text: &mut String, number: usize, line: &str) {
    let line = visible(line.trim_end(), usize::MAX);
    // Writing to a String cannot fail.
    let _ = match number {
        _ if line.is_empty() => Ok(()),
        0 => writeln!(text, "{HEAD}{line}{HEAD:#}"),
        _ => writeln!(text, "{line}"),
    };
}

/// Which columns share a line; one at least.
fn groups(widths: &[usize], width: usize) -> Vec<Range<usize>> {
    let mut groups = Vec::new();
    let (mut begins, mut taken) = (0, 0);
    for (column, own) in widths.iter().enumerate() {
        if column > begins && taken + own > width {
            groups.push(begins..column);
            (begins, taken) = (column, INDENT.len());
        }
        taken += own + usize::from(GAP);
    }
    groups.push(begins..widths.len());
    groups
}

/// The cells in one line, which goes on below behind one that is wider than its column.
fn broken(cells: &[String], widths: &[usize], indent: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut stop) = (" ".repeat(indent), indent);
    for (cell, width) in cells.iter().zip(widths) {
        line.push_str(cell);
        stop += width + usize::from(GAP);
        match stop.checked_sub(shown(&line)) {
            Some(left) if left >= GAP.into() => line.push_str(&" ".repeat(left)),
            _ => lines.push(std::mem::replace(&mut line, " ".repeat(stop))),
        }
    }
    lines.push(line);
    lines
}

/// How many columns of a terminal a text takes.
fn shown(text: &str) -> usize {
    Span::raw(text).width()
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
    fn lines_are_counted_as_a_terminal_folds_them() {
        let mut page = Page::default();
        page.line("")
            .line("a b")
            .styled(STRONG, "x".repeat(90))
            .end();
        assert_eq!(page.height(200), 3);
        assert_eq!(page.height(80), 4);
        assert_eq!(page.height(31), 5);
        assert_eq!(Page::of("\u{4e16}".repeat(60)).height(80), 2);
        assert_eq!(Page::of("abc").height(0), 3);
    }

    #[test]
    fn what_an_agent_writes_begins_no_line_where_labels_do() {
        let forged = format!(
            "npm install{:56}r8  npm wants tcp registry.npmjs.org:443",
            ""
        );
        for text in [
            forged,
            "x".repeat(300),
            "\u{4e16} ".repeat(90),
            "a b ".repeat(60),
        ] {
            let mut page = Page::default();
            page.field("command", &text).field("rule", "photos");
            page.table(["ID"], [["h1".into()]]);
            let whole = page.plain();
            let fitted = page.fit(80).plain();
            let (begin, labels) = (
                " ".repeat(13),
                ["    command ", "    rule     photos", "ID", "h1"],
            );
            for line in fitted.lines() {
                assert!(shown(line) <= 80, "{fitted}");
                let is_label = labels.iter().any(|label| line.starts_with(label));
                assert!(is_label || line.starts_with(&begin), "{fitted}");
            }
            let words = |text: &str| text.split_whitespace().collect::<String>();
            assert_eq!(words(&whole), words(&fitted));
        }
    }

    #[test]
    fn what_is_agreed_to_is_told_to_its_end() {
        let places: Vec<_> = (0..60).map(|number| format!("10.0.{number}.11")).collect();
        let text = places.join(", ");
        let mut page = Page::default();
        page.text("  widens  ").rest_of_line(&text, 10);
        let long = format!("+to = [ {text} ]");
        page.diff([&*long].into_iter());
        let plain = page.plain();
        let (told, diff) = plain.split_at(plain.find('+').unwrap());
        assert!(places.iter().all(|place| told.contains(place)), "{told}");
        assert!(
            told.lines().all(|line| line.chars().count() <= 80),
            "{told}"
        );
        assert_eq!(diff.trim_end(), long);
    }

    #[test]
    fn words_from_right_to_left_turn_nothing_beside_them() {
        let words = "אבג דהו זחט";
        let mut page = Page::default();
        page.table(
            ["ID", "NAME", "PORT"],
            [["h1".into(), words.into(), "15".into()]],
        );
        page.paragraph("name", words.repeat(8)).commands(words);
        let isolates = |line: &str| {
            [
                line.matches('\u{2068}').count(),
                line.matches('\u{2069}').count(),
            ]
        };
        for page in [page.plain(), page.fit(12).plain()] {
            let is_command = |line: &&str| line.trim() == words;
            assert_eq!(page.lines().filter(is_command).count(), 1, "{page:?}");
            for line in page.lines().filter(|line| !is_command(line)) {
                let is_turned = line.contains('א') || line.contains('ד') || line.contains('ז');
                assert_eq!(isolates(line), [usize::from(is_turned); 2], "{page:?}");
            }
        }
    }

    fn of_two_holes() -> Page {
        let mut page = Page::default();
        page.line("a line that is long");
        page.table(
            ["ID", "WHERE", "WHY"],
            [
                ["h1".into(), "größer 日本".into(), "a reason".into()],
                ["h2".into(), "a".into(), String::new()],
            ],
        );
        page.paragraph("label", "word ".repeat(20).trim_end());
        page
    }

    #[test]
    fn what_a_line_has_no_room_for_follows_below_it() {
        insta::assert_snapshot!(of_two_holes().fit(22).plain(), @r"
        a line that is long
        ID  WHERE
            WHY
        h1  größer 日本
            a reason
        h2  a
            label    word word word word word word word word word word word word word
                     word word word word word word word
        ");
        insta::assert_snapshot!(of_two_holes().fit(5).plain(), @r"
        a line that is long
        ID
            WHERE
            WHY
        h1
            größer 日本
            a reason
        h2
            a
            label    word word word word word word word word word word word word word
                     word word word word word word word
        ");
    }

    #[test]
    fn one_long_cell_makes_no_other_row_longer() {
        let long = format!("{}.example.com", "a".repeat(40));
        let mut page = Page::default();
        page.table(
            ["ID", "WHERE", "WHY"],
            [
                ["h1".into(), "a.example.com".into(), "a reason".into()],
                ["h2".into(), long, "another".into()],
            ],
        );
        insta::assert_snapshot!(page.fit(60).plain(), @r"
        ID  WHERE          WHY
        h1  a.example.com  a reason
        h2  aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.example.com
                           another
        ");
    }

    #[test]
    fn a_table_that_fits_stays_as_it_is() {
        let whole = of_two_holes().plain();
        assert_eq!(of_two_holes().fit(25).plain(), whole);
        assert_ne!(of_two_holes().fit(24).plain(), whole);
    }

    #[test]
    fn a_long_label_stands_apart_from_what_it_says() {
        let mut page = Page::default();
        page.field("rule", "a").field("dismissed", "by games");
        page.paragraph("dismissed", "by games");
        insta::assert_snapshot!(page.plain(), @r"
            rule     a
            dismissed by games
            dismissed by games
        ");
    }

    #[test]
    fn foreign_text_cannot_add_lines_or_styles() {
        let mut page = Page::default();
        page.line("a\nb\u{1b}[31m").styled(BAD, "c\nd").end();
        assert_eq!(page.plain(), "a\\nb\\u{1b}[31m\nc\\nd\n");
    }
}
