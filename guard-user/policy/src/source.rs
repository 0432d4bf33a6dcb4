//! Typed values out of parsed TOML, with a diagnostic and its place in the file for each that is wrong. `parse.rs` drives this.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Lines, Severity},
    invalid::{Invalid, quoted},
    keys,
    model::SourceSpan,
    syntax,
    warnings::written,
};

/// More errors, or more warnings, than a person reads at once.
const MOST_SHOWN: usize = 50;

pub(super) type TomlValue<'s> = Spanned<DeValue<'s>>;

/// A source under inspection, and what has been found in it.
pub(super) struct Source<'s> {
    file: &'s str,
    lines: Lines<'s>,
    /// Lines with a syntax error: what else is found there is only its consequence.
    broken: Vec<usize>,
    found: Vec<Diagnostic>,
    unsaid: usize,
    failed: bool,
    /// See [`written`].
    written: Option<Range<usize>>,
}

/// A table of the source, and what a person calls it.
pub(super) struct Table<'t, 's> {
    pub(super) entries: &'t DeTable<'s>,
    /// Its header.
    pub(super) span: Range<usize>,
    /// The keys that mean something in it.
    pub(super) known: &'static [&'static str],
}

impl<'s> Source<'s> {
    pub(super) fn new(file: &'s str, text: &'s str) -> Self {
        Self {
            file,
            lines: Lines::new(text),
            broken: Vec::new(),
            found: Vec::new(),
            unsaid: 0,
            failed: false,
            written: written(text),
        }
    }

    /// Whether guard has written that.
    pub(super) fn is_written(&self, span: &Range<usize>) -> bool {
        self.written
            .as_ref()
            .is_some_and(|written| written.contains(&span.start))
    }

    /// Whether anything is wrong so far.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    pub(super) fn place(&self, span: Range<usize>) -> SourceSpan {
        self.lines.place(span)
    }

    pub(super) fn error(&mut self, span: Range<usize>, invalid: Invalid) {
        self.failed = true;
        self.say(Severity::Error, span, invalid);
    }

    pub(super) fn warn(&mut self, span: Range<usize>, invalid: Invalid) {
        self.say(Severity::Warning, span, invalid);
    }

    fn say(&mut self, severity: Severity, span: Range<usize>, invalid: Invalid) {
        let same = self.found.iter().filter(|d| d.severity == severity);
        if same.count() >= MOST_SHOWN {
            self.unsaid += 1;
            return;
        }
        let place = self.place(span);
        if !self.broken.contains(&place.line) {
            let said = Diagnostic::new(severity, self.file, place, invalid);
            self.found.push(said);
        }
    }

    pub(super) fn syntax_error(&mut self, error: &toml::de::Error) {
        self.failed = true;
        let span = error.span().unwrap_or_default();
        let line = self.place(span.clone()).line;
        if self.broken.contains(&line) {
            return;
        }
        if self.broken.len() >= MOST_SHOWN {
            self.unsaid += 1;
            return;
        }
        let around = self.lines.around(&span);
        let help = match self.other_header(error, around, line) {
            Some(other) => Some(format!(
                "the other one is on line {other}: write these keys there"
            )),
            None => syntax::help(error.message(), around, self.lines.rest(&span)),
        };
        let invalid = Invalid::new(error.message());
        self.error(span, Invalid { help, ..invalid });
        self.broken.push(line);
    }

    /// The line of another table with the header that is said to be there twice.
    fn other_header(&self, error: &toml::de::Error, around: &str, line: usize) -> Option<usize> {
        let header = around.trim_start();
        let is_table = header.starts_with('[') && !header.starts_with("[[");
        if !is_table || error.message() != "duplicate key" {
            return None;
        }
        let (header, _) = header.split_once(']')?;
        let first = self.lines.first(&format!("{header}]"))?;
        (first < line).then_some(first)
    }

    /// What was found, in the order of the source: as an error where there was any error, whether
    /// it was said or not.
    pub(super) fn finish(mut self) -> Result<Vec<Diagnostic>, Vec<Diagnostic>> {
        self.found.sort_by_key(|diagnostic| diagnostic.span.start);
        if let (Some(last), 1..) = (self.found.last_mut(), self.unsaid) {
            let more = format!("{} more were found and are not shown", self.unsaid);
            last.help = Some(match &last.help {
                Some(help) => format!("{help}\n{more}"),
                None => more,
            });
        }
        if self.failed {
            Err(self.found)
        } else {
            Ok(self.found)
        }
    }

    /// Complains about keys that mean nothing.
    pub(super) fn check_keys(&mut self, table: &Table<'_, 's>) {
        for key in table.entries.keys() {
            let name = key.get_ref().as_ref();
            if !table.known.contains(&name) {
                let unknown = Invalid::new(format!("unknown key {}", quoted(name)));
                self.error(key.span(), unknown.help(keys::help(name, table.known)));
            }
        }
    }

    /// A key that must be there.
    pub(super) fn required<'t>(
        &mut self,
        table: &Table<'t, 's>,
        key: &str,
        help: &str,
    ) -> Option<&'t TomlValue<'s>> {
        let value = table.get(key);
        // A syntax error may have swallowed it, and is said already.
        if value.is_none() && self.broken.is_empty() {
            let missing = Invalid::new(format!("`{key}` is missing")).help(help);
            self.error(table.span.clone(), missing);
        }
        value
    }

    /// The text of a string.
    pub(super) fn text<'t>(&mut self, value: &'t TomlValue<'s>, expected: &str) -> Option<&'t str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.mismatch(value, expected);
        }
        text
    }

    /// Complains that a value has the wrong type.
    pub(super) fn mismatch(&mut self, value: &TomlValue<'s>, expected: &str) {
        let found = value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        let message = format!("expected {expected}, found {article} {found}");
        let invalid = Invalid::new(message);
        let invalid = match meant(value.get_ref(), expected) {
            Some(help) => invalid.help(help),
            None => invalid,
        };
        self.error(value.span(), invalid);
    }

    /// What a string stands for.
    pub(super) fn parsed<T>(
        &mut self,
        value: &TomlValue<'s>,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        let text = self.text(value, expected)?;
        parse(text)
            .map_err(|invalid| self.error(value.span(), invalid))
            .ok()
    }

    /// What the string under a key stands for, where the key is there.
    pub(super) fn optional<T>(
        &mut self,
        table: &Table<'_, 's>,
        key: &str,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<T> {
        self.parsed(table.get(key)?, expected, parse)
    }

    /// What the strings of an array stand for, leaving out those that are wrong.
    pub(super) fn list<T>(
        &mut self,
        value: &TomlValue<'s>,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<Vec<T>> {
        let Some(items) = value.get_ref().as_array() else {
            self.not_a_list(value, expected, |text| parse(text).err());
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.extend(self.parsed(item, expected, &parse));
        }
        Some(list)
    }

    /// Refuses an empty list: a person who writes one may mean nothing, or everything.
    pub(super) fn not_empty(&mut self, value: &TomlValue<'s>, key: &str, help: &str) {
        let empty = |list: &DeArray<'_>| list.is_empty();
        if value.get_ref().as_array().is_some_and(empty) {
            let message = format!("`{key}` is empty, so the rule never holds");
            self.error(value.span(), Invalid::new(message).help(help));
        }
    }

    fn not_a_list(
        &mut self,
        value: &TomlValue<'s>,
        expected: &str,
        wrong: impl Fn(&str) -> Option<Invalid>,
    ) {
        match value.get_ref().as_str() {
            Some(text) => {
                let written = self.place(value.span()).text;
                let message = format!("expected an array, each entry {expected}, found a string");
                // In an array it might be wrong all the same.
                let help = match wrong(text).and_then(|invalid| invalid.help) {
                    Some(help) => in_an_array(&help),
                    None => format!("write `[{written}]`"),
                };
                self.error(value.span(), Invalid::new(message).help(help));
            }
            None => self.mismatch(value, &format!("an array, each entry {expected}")),
        }
    }

    /// Whether that is a table there only for one inside of it, whose header comes first.
    fn stands_above(&self, value: &TomlValue<'s>, header: &str) -> bool {
        let line = self.lines.around(&value.span()).trim_start();
        let inside = line.trim_start_matches('[').trim_start();
        line.starts_with('[') && inside.starts_with(&format!("{header}."))
    }

    /// The tables of an array of tables, written `[[header]]`.
    pub(super) fn tables<'t>(
        &mut self,
        value: Option<&'t TomlValue<'s>>,
        header: &str,
        known: &'static [&'static str],
    ) -> Vec<Table<'t, 's>> {
        let Some(value) = value else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let (wrong, help) = if self.stands_above(value, header) {
                (
                    format!("there is no `[[{header}]]` above this"),
                    format!("write it below the `[[{header}]]` that it is for"),
                )
            } else {
                (
                    format!("`{header}` is not a list of tables"),
                    format!("write `[[{header}]]`"),
                )
            };
            self.error(value.span(), Invalid::new(wrong).help(help));
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for item in items {
            match item.get_ref() {
                DeValue::Table(entries) => tables.push(Table {
                    entries,
                    span: item.span(),
                    known,
                }),
                _ => self.mismatch(item, &format!("a table, written `[[{header}]]`")),
            }
        }
        tables
    }
}

/// What to write in place of a string that should be an array of what a string in it should be.
fn in_an_array(help: &str) -> String {
    let Some(meant) = help.strip_prefix("write ") else {
        return format!("write an array, `[...]`; {help}");
    };
    let word = meant.strip_prefix('`').and_then(|it| it.strip_suffix('`'));
    match word.filter(|word| !word.contains('`')) {
        Some(word) => format!("write `[\"{word}\"]`"),
        None => format!("write an array, `[...]`, and in it {meant}"),
    }
}

/// What is written for yes or no elsewhere.
fn truth(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" => Some("true"),
        "false" | "no" | "off" | "0" => Some("false"),
        _ => None,
    }
}

/// What to write in place of a value of the wrong type.
fn meant(value: &DeValue<'_>, expected: &str) -> Option<String> {
    let write = |meant: String| format!("write `{meant}`");
    let is_one_word = expected.starts_with('"') && expected.matches('"').count() == 2;
    match value {
        DeValue::Boolean(true) if is_one_word => Some(write(expected.to_owned())),
        DeValue::Boolean(false) if is_one_word => {
            Some(format!("leave it out, or write `{expected}`"))
        }
        DeValue::Integer(number) => {
            let number = number.as_str();
            let is_plain = number.bytes().all(|byte| byte.is_ascii_digit());
            match expected {
                _ if !is_plain => None,
                _ if expected.starts_with("a duration") => Some(write(format!("\"{number}s\""))),
                _ if expected.starts_with("a port") => Some(write(format!("\"tcp/{number}\""))),
                "true or false" => truth(number).map(|meant| write(meant.to_owned())),
                _ => None,
            }
        }
        DeValue::String(text) => match expected {
            "true or false" => truth(text).map(|meant| write(meant.to_owned())),
            "the number 1" => (text == "1").then(|| write("1".to_owned())),
            _ => None,
        },
        _ => None,
    }
}

impl<'t, 's> Table<'t, 's> {
    pub(super) fn get(&self, key: &str) -> Option<&'t TomlValue<'s>> {
        self.entries.get(key)
    }
}
