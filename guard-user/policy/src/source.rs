//! Reading typed values out of TOML, with a diagnostic for each that is not what it should be.

use std::ops::Range;

use toml::{
    Spanned,
    de::{DeArray, DeTable, DeValue},
};

use super::{
    diagnostic::{Diagnostic, Lines, Severity},
    invalid::{Invalid, nearest, quoted},
    model::Place,
};

/// More errors, or more warnings, than a person reads at once.
const MOST_SHOWN: usize = 50;

pub(super) type Value<'s> = Spanned<DeValue<'s>>;

/// A source under inspection, and what has been found in it.
pub(super) struct Source<'s> {
    file: &'s str,
    lines: Lines<'s>,
    /// Lines with a syntax error: what else is found there is only its consequence.
    broken: Vec<usize>,
    found: Vec<Diagnostic>,
    unsaid: usize,
    failed: bool,
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
    pub(super) const fn new(file: &'s str, text: &'s str) -> Self {
        Self {
            file,
            lines: Lines::new(text),
            broken: Vec::new(),
            found: Vec::new(),
            unsaid: 0,
            failed: false,
        }
    }

    pub(super) fn place(&self, span: Range<usize>) -> Place {
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
        let span = error.span().unwrap_or_default();
        self.error(span.clone(), Invalid::new(error.message()));
        if self.broken.len() < MOST_SHOWN {
            self.broken.push(self.place(span).line);
        }
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
        match self.failed {
            true => Err(self.found),
            false => Ok(self.found),
        }
    }

    /// Complains about keys that mean nothing.
    pub(super) fn check_keys(&mut self, table: &Table<'_, 's>) {
        for key in table.entries.keys() {
            let name = key.get_ref().as_ref();
            if !table.known.contains(&name) {
                let help = match nearest(name, table.known) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None => format!("known here are {}", table.known.join(", ")),
                };
                let unknown = Invalid::new(format!("unknown key {}", quoted(name))).help(help);
                self.error(key.span(), unknown);
            }
        }
    }

    /// A key that must be there.
    pub(super) fn required<'t>(
        &mut self,
        table: &Table<'t, 's>,
        key: &str,
        help: &str,
    ) -> Option<&'t Value<'s>> {
        let value = table.get(key);
        // A syntax error may have swallowed it, and is said already.
        if value.is_none() && self.broken.is_empty() {
            let missing = Invalid::new(format!("`{key}` is missing")).help(help);
            self.error(table.span.clone(), missing);
        }
        value
    }

    /// The text of a string.
    pub(super) fn text<'t>(&mut self, value: &'t Value<'s>, expected: &str) -> Option<&'t str> {
        let text = value.get_ref().as_str();
        if text.is_none() {
            self.mismatch(value, expected);
        }
        text
    }

    /// Complains that a value has the wrong type.
    pub(super) fn mismatch(&mut self, value: &Value<'s>, expected: &str) {
        let found = value.get_ref().type_str();
        let article = if found.starts_with(['a', 'i']) {
            "an"
        } else {
            "a"
        };
        let message = format!("expected {expected}, found {article} {found}");
        self.error(value.span(), Invalid::new(message));
    }

    /// What a string stands for.
    pub(super) fn parsed<T>(
        &mut self,
        value: &Value<'s>,
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
        value: &Value<'s>,
        expected: &str,
        parse: impl Fn(&str) -> Result<T, Invalid>,
    ) -> Option<Vec<T>> {
        let Some(items) = value.get_ref().as_array() else {
            self.not_a_list(value, expected);
            return None;
        };
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            list.extend(self.parsed(item, expected, &parse));
        }
        Some(list)
    }

    /// Refuses an empty list: a person who writes one may mean nothing, or everything.
    pub(super) fn not_empty(&mut self, value: &Value<'s>, key: &str, help: &str) {
        let empty = |list: &DeArray<'_>| list.is_empty();
        if value.get_ref().as_array().is_some_and(empty) {
            let message = format!("`{key}` is empty, so the rule never holds");
            self.error(value.span(), Invalid::new(message).help(help));
        }
    }

    fn not_a_list(&mut self, value: &Value<'s>, expected: &str) {
        match value.get_ref().as_str() {
            Some(_) => {
                let written = self.place(value.span()).text;
                let message = format!("expected an array, each entry {expected}, found a string");
                let invalid = Invalid::new(message).help(format!("write `[{written}]`"));
                self.error(value.span(), invalid);
            }
            None => self.mismatch(value, &format!("an array, each entry {expected}")),
        }
    }

    /// The tables of an array of tables, written `[[header]]`.
    pub(super) fn tables<'t>(
        &mut self,
        value: Option<&'t Value<'s>>,
        header: &str,
        known: &'static [&'static str],
    ) -> Vec<Table<'t, 's>> {
        let Some(value) = value else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let wrong = Invalid::new(format!("`{header}` is not a list of tables"));
            self.error(value.span(), wrong.help(format!("write `[[{header}]]`")));
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

impl<'t, 's> Table<'t, 's> {
    pub(super) fn get(&self, key: &str) -> Option<&'t Value<'s>> {
        self.entries.get(key)
    }
}
