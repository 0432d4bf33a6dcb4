//! The query of a request, and forms, in every reading of them.

use super::path::has_broken_percent;

/// The query of a request.
#[derive(Clone, Debug, Default)]
pub(super) struct Query {
    raw: String,
    /// Names as [`folded`] writes them.
    pairs: Vec<(String, String)>,
    /// Names as they were sent, decoded.
    exact: Vec<(String, String)>,
}

impl Query {
    pub(super) fn of(raw: &str) -> Self {
        let exact = pairs(raw.as_bytes());
        let fold = |(name, value): &(String, String)| (folded(name), value.clone());
        Self {
            raw: raw.to_owned(),
            pairs: exact.iter().map(fold).collect(),
            exact,
        }
    }

    /// All that may be a parameter, its name folded and its value decoded.
    pub(super) fn pairs(&self) -> impl Iterator<Item = &(String, String)> {
        self.pairs.iter()
    }

    /// The values that a parameter has in any reading of its name, which is given folded.
    pub(super) fn values(&self, name: &str) -> impl Iterator<Item = &str> {
        let named = move |pair: &&(String, String)| pair.0 == name;
        self.pairs
            .iter()
            .filter(named)
            .map(|(_, value)| value.as_str())
    }

    /// The value of a parameter that is there once, in one reading only.
    pub(super) fn one(&self, name: &str) -> Option<&str> {
        let mut exact = self.exact.iter().filter(|pair| pair.0 == name);
        let value = exact.next().map(|(_, value)| value.as_str())?;
        let alone = exact.next().is_none() && self.values(&folded(name)).count() == 1;
        (alone && !self.is_odd()).then_some(value)
    }

    /// Whether it says nothing.
    pub(super) const fn is_empty(&self) -> bool {
        self.raw.is_empty()
    }

    /// Whether servers differ about what it says.
    pub(super) fn is_odd(&self) -> bool {
        self.raw.contains(';') || has_broken_percent(&self.raw) || self.raw.contains("%00")
    }

    /// The texts that a pattern is held against: as it was sent, and decoded.
    pub(super) fn readings(&self) -> Vec<String> {
        let mut readings = vec![self.raw.clone()];
        for _ in 0..2 {
            let last = readings.last().cloned().unwrap_or_default();
            let decoded = percent_encoding::percent_decode_str(&last).decode_utf8_lossy();
            for text in [decoded.replace('+', " "), decoded.into_owned()] {
                if !readings.contains(&text) {
                    readings.push(text);
                }
            }
        }
        readings
    }
}

/// The pairs of a form or a query. Some servers end a pair at `;` too: both readings are in it.
pub(super) fn pairs(form: &[u8]) -> Vec<(String, String)> {
    let parse = |part: &[u8]| {
        form_urlencoded::parse(part)
            .into_owned()
            .collect::<Vec<_>>()
    };
    let mut all = parse(form);
    if form.contains(&b';') {
        all.extend(
            form.split(|byte| matches!(byte, b';' | b'&'))
                .flat_map(parse),
        );
    }
    all
}

/// A name as the most generous server reads it: in lower case, cut at NUL, and with `_` for what PHP
/// makes that of.
pub(super) fn folded(name: &str) -> String {
    let name = name.split('\0').next().unwrap_or_default();
    let name = name.trim_start().to_ascii_lowercase();
    name.replace([' ', '.', '['], "_")
}
