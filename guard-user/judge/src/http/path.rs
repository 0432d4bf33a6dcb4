//! The path of a request, in every reading of it.

use std::collections::BTreeSet;

use percent_encoding::percent_decode_str;

use super::spelling::{has_lookalikes, nearest, overlong, overlong_unchecked, unescaped};

/// No server is known to decode more often.
const DECODED: usize = 3;

/// A path with more readings than this is nothing that a person wrote.
const MOST: usize = 256;

/// A longer path that has more than one reading is not read at all, in bytes.
const LONGEST: usize = 4_096;

/// All readings together are not longer, in bytes: whoever makes a long path of many takes the time of others.
const ALL: usize = 64 * 1024;

/// What a server may take the path for.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The path as it was sent.
    raw: String,
    /// All readings, the sent one among them.
    readings: BTreeSet<String>,
    /// Why servers differ about which resource is meant, if they do.
    ambiguous: Option<&'static str>,
    /// Why it is no path, if it is none.
    broken: Option<&'static str>,
    /// Whether there are more readings than are known.
    more: bool,
}

impl Paths {
    /// The readings of a path, and of those that headers may put in its place.
    pub(super) fn of(raw: &str, elsewhere: &[String]) -> Self {
        let mut paths = Self {
            raw: raw.to_owned(),
            readings: BTreeSet::from([raw.to_owned()]),
            ambiguous: ambiguous(raw),
            broken: broken(raw),
            more: false,
        };
        paths.add(raw);
        for other in elsewhere {
            paths.ambiguous = Some("a header names another path");
            paths.add(other);
        }
        paths
    }

    /// Looks at no more of them where there are too many already.
    fn add(&mut self, path: &str) {
        if let Some(readings) = readings(path).filter(|_| !self.more) {
            self.readings.extend(readings);
        } else {
            self.more = true;
        }
        if self.more || self.readings.len() > MOST {
            self.more = true;
            self.broken = Some("the path can be read in too many ways");
        }
    }

    /// Whether it may be read in ways that are not among its readings.
    pub(super) fn has_more(&self) -> bool {
        self.more
    }

    pub(super) fn raw(&self) -> &str {
        &self.raw
    }

    pub(super) fn readings(&self) -> impl Iterator<Item = &str> {
        self.readings.iter().map(String::as_str)
    }

    pub(super) fn ambiguous(&self) -> Option<&'static str> {
        self.ambiguous
    }

    pub(super) fn broken(&self) -> Option<&'static str> {
        self.broken
    }
}

/// Whether a `%` is followed by something else than two hexadecimal digits (RFC 3986 2.1).
pub(super) fn has_broken_percent(text: &str) -> bool {
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_hexdigit);
    let bytes = text.as_bytes();
    let bad = |(at, byte): (usize, &u8)| {
        *byte == b'%' && !(digit(bytes.get(at + 1)) && digit(bytes.get(at + 2)))
    };
    bytes.iter().enumerate().any(bad)
}

fn broken(raw: &str) -> Option<&'static str> {
    let decoded: Vec<u8> = percent_decode_str(raw).collect();
    if has_broken_percent(raw) {
        return Some("a `%` in the path is not followed by two hexadecimal digits");
    }
    if decoded.iter().any(|byte| byte.is_ascii_control()) {
        return Some("there is a control character in the path");
    }
    let deep = decodings(raw).len() > DECODED;
    deep.then_some("the path is encoded many times over")
}

fn ambiguous(raw: &str) -> Option<&'static str> {
    if percent_decode_str(raw).decode_utf8().is_err() {
        return Some("the path is not in UTF-8");
    }
    let decodings = decodings(raw);
    if decodings.len() > 2 {
        return Some("the path is encoded twice");
    }
    let inner = decodings.get(1).map_or("", String::as_str);
    let slashes = |text: &str| text.bytes().filter(|byte| *byte == b'/').count();
    if !inner.is_empty() && slashes(inner) != slashes(raw) {
        return Some("there is an encoded slash in the path");
    }
    if decodings.iter().any(|text| text.contains('\\')) {
        return Some("there is a backslash in the path");
    }
    if inner.contains(['?', '#']) {
        return Some("there is an encoded `?` or `#` in the path");
    }
    if decodings.iter().any(|text| has_lookalikes(text)) {
        return Some("there is a character in the path that looks like one of ASCII");
    }
    let dots = |text: &String| without_parameters(text).split('/').any(is_dots);
    let dotted = decodings.iter().any(dots);
    dotted.then_some("there are dot segments in the path")
}

fn is_dots(segment: &str) -> bool {
    matches!(segment, "." | "..")
}

/// The path as it was sent, and decoded again and again, as often as that changes it.
fn decodings(raw: &str) -> Vec<String> {
    let mut all = vec![raw.to_owned()];
    while let Some(last) = all.last().filter(|_| all.len() <= DECODED) {
        let next = decoded(last);
        if next == *last {
            break;
        }
        all.push(next);
    }
    all
}

/// Every text that a server may take the path for; none where they are too many to be tried.
fn readings(raw: &str) -> Option<BTreeSet<String>> {
    // Servers do these in any order, and again and again; not all of them do each.
    const STEPS: &[fn(&str) -> String] = &[
        decoded,
        overlong,
        overlong_unchecked,
        unescaped,
        nearest,
        unreserved_decoded,
        cut,
        forward,
        without_parameters,
        collapsed,
        resolved,
    ];
    let mut readings = BTreeSet::from([raw.to_owned()]);
    let mut new = vec![raw.to_owned()];
    let mut all = raw.len();
    while let Some(text) = new.pop() {
        for next in STEPS.iter().map(|step| step(&text)) {
            if !readings.contains(&next) {
                all += next.len();
                readings.insert(next.clone());
                new.push(next);
            }
        }
        let is_much = readings.len() > MOST || raw.len() > LONGEST || all > ALL;
        if readings.len() > 1 && is_much {
            return None;
        }
    }
    Some(readings)
}

fn decoded(path: &str) -> String {
    percent_decode_str(path).decode_utf8_lossy().into_owned()
}

/// RFC 3986 6.2.2.2: what need not be encoded is the same decoded.
fn unreserved_decoded(raw: &str) -> String {
    let mut parts = raw.split('%');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part
            .get(..2)
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte.map(char::from) {
            Some(c) if c.is_ascii_alphanumeric() || "-._~".contains(c) => {
                text.push(c);
                text.push_str(&part[2..]);
            }
            _ => {
                text.push('%');
                text.push_str(part);
            }
        }
    }
    text
}

/// Without what follows an encoded `?`, `#` or NUL.
fn cut(path: &str) -> String {
    path.split(['?', '#', '\0'])
        .next()
        .unwrap_or_default()
        .to_owned()
}

fn forward(path: &str) -> String {
    path.replace('\\', "/")
}

/// Without what follows `;` in each segment (RFC 3986 3.3).
fn without_parameters(path: &str) -> String {
    let plain = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    path.split('/').map(plain).collect::<Vec<_>>().join("/")
}

/// The path with one slash in place of several.
fn collapsed(path: &str) -> String {
    let mut text = String::with_capacity(path.len());
    for c in path.chars() {
        if c != '/' || !text.ends_with('/') {
            text.push(c);
        }
    }
    text
}

/// Without dot segments (RFC 3986 5.2.4).
fn resolved(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            ".." if kept.len() > 1 => drop(kept.pop()),
            "." | ".." => {}
            _ => kept.push(segment),
        }
    }
    if path.ends_with("/.") || path.ends_with("/..") {
        kept.push("");
    }
    match kept.join("/") {
        text if path.starts_with('/') && !text.starts_with('/') => format!("/{text}"),
        text => text,
    }
}
