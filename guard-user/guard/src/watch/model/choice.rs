//! What a yes is to be for, where it is not what a plain yes would be for.

use std::fmt::{self, Display, Formatter};

use guard_proto::{Call, HoleTerms};

use super::OpenedRequest;
use crate::size::parse_size;

/// A yes that is being put together.
#[derive(Debug)]
pub(crate) struct DraftYes {
    /// To which request.
    pub(crate) subject: OpenedRequest,
    /// For what.
    pub(crate) what: YesFor,
}

/// For what a yes is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum YesFor {
    /// What was asked, and no more.
    Asked,
    /// A number of connections, or of HTTP requests: the digits typed so far.
    Connections(Typed),
    /// A number of bytes, as `64KiB`: what has been typed so far.
    Bytes(Typed),
    /// All with the method and a path like this.
    Path {
        /// The path, with `*` for any text.
        pattern: String,
        /// Whether it is still being typed.
        typing: bool,
    },
    /// All that change something at its host, or of statements at the destination.
    Writes,
    /// All of a burst's prefix.
    Prefix,
    /// Reads over HTTP.
    Reads,
    /// The address alone, and not the name that it is known by.
    Address,
    /// This listener, and for good its program, owner and port.
    Always,
}

/// What stands in a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Typed {
    text: String,
    /// Nobody has typed it: the first character goes in its place.
    is_suggested: bool,
}

impl Typed {
    /// What stands there at first.
    pub(crate) fn suggested(text: &str) -> Self {
        Self {
            text: text.to_owned(),
            is_suggested: true,
        }
    }

    fn push(&mut self, c: char, longest: usize) {
        if std::mem::take(&mut self.is_suggested) {
            self.text.clear();
        }
        if self.text.len() < longest {
            self.text.push(c);
        }
    }

    fn pop(&mut self) {
        self.is_suggested = false;
        self.text.pop();
    }
}

impl Display for Typed {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// More digits make no sense, and fewer cannot overflow.
const DIGITS: usize = 6;
/// Limit of the characters of a size with its unit.
const SIZE: usize = 12;

impl YesFor {
    /// The number typed; none where that is no number of connections.
    pub(crate) fn connections(&self) -> Option<u32> {
        match self {
            Self::Connections(digits) => digits.text.parse().ok().filter(|count| *count > 0),
            _ => None,
        }
    }

    /// The size typed; none where that is none.
    pub(crate) fn bytes(&self) -> Option<u64> {
        match self {
            Self::Bytes(size) => parse_size(&size.text).ok(),
            _ => None,
        }
    }

    /// Takes a character. Whether it took it.
    pub(crate) fn typed(&mut self, c: char) -> bool {
        match self {
            Self::Connections(digits) if c.is_ascii_digit() => {
                digits.push(c, DIGITS);
                true
            }
            // None of the keys that say yes is in a unit's name.
            Self::Bytes(size) if c.is_ascii_digit() || "kmgib".contains(c.to_ascii_lowercase()) => {
                size.push(c, SIZE);
                true
            }
            Self::Path {
                pattern,
                typing: true,
            } => {
                pattern.push(c);
                true
            }
            _ => false,
        }
    }

    /// Takes the last character back.
    pub(crate) fn erase(&mut self) {
        match self {
            Self::Connections(typed) | Self::Bytes(typed) => typed.pop(),
            Self::Path {
                pattern,
                typing: true,
            } => drop(pattern.pop()),
            _ => {}
        }
    }

    /// Whether it says all that a yes needs.
    pub(crate) fn is_whole(&self) -> bool {
        match self {
            Self::Connections(_) => self.connections().is_some(),
            Self::Bytes(_) => self.bytes().is_some(),
            Self::Path { pattern, typing } => !typing && !pattern.is_empty(),
            Self::Asked
            | Self::Writes
            | Self::Prefix
            | Self::Reads
            | Self::Address
            | Self::Always => true,
        }
    }

    /// The yes, as `guard approve` gives it. `tried`: so many addresses of a burst have been seen.
    pub(crate) fn approve(&self, id: &str, seconds: f64, tried: Option<u32>) -> Call {
        let path = match self {
            Self::Path { pattern, .. } => Some(pattern.clone()),
            _ => None,
        };
        Call::Approve {
            id: id.to_owned(),
            path,
            writes: *self == Self::Writes,
            prefix: *self == Self::Prefix,
            tried: tried.filter(|_| *self != Self::Prefix),
            address: *self == Self::Address,
            always: *self == Self::Always,
            terms: HoleTerms {
                seconds: Some(seconds),
                connections: self.connections(),
                bytes: self.bytes(),
                read_only: *self == Self::Reads,
                ..HoleTerms::default()
            },
        }
    }
}
