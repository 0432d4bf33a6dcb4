//! The chain: each line of the audit log carries its number, and a hash over the line before it and itself.
//!
//! A line is a JSON object that ends with `,"number":N,"hash":"…"}`. The hash is SHA-256 over the 32 bytes of the hash
//! before and the line's bytes up to `,"hash"`: over bytes, so that no other spelling of the same JSON passes. The first
//! line of each file says the hash before it, too (`previous`), so that a file can be judged when those before it are
//! gone. Number 1 has no line before it: its `previous` is SHA-256 over all that stands before it in its file, which are
//! lines of a version that knew no chain, or none.

use std::{
    fmt,
    io::{self, Read},
    str::FromStr,
};

use guard_proto::LogRecord;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

/// A SHA-256. As text 64 hexadecimal digits, in lower case.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    fn over(before: &Self, body: &[u8]) -> Self {
        let hash = Sha256::new().chain_update(before.0).chain_update(body);
        Self(hash.finalize().into())
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// That a text is no head, or no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head is a number, a colon and 64 hexadecimal digits, as `guard log --verify` prints it")]
pub struct NoHead;

impl FromStr for Digest {
    type Err = NoHead;

    /// In lower case alone: another spelling would be another line.
    fn from_str(text: &str) -> Result<Self, NoHead> {
        let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() != 64 || !text.bytes().all(is_hex) {
            return Err(NoHead);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| NoHead)?;
        }
        Ok(Self(bytes))
    }
}

impl TryFrom<String> for Digest {
    type Error = NoHead;

    fn try_from(text: String) -> Result<Self, NoHead> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

/// The last line of a chain: whoever has noted it can tell later whether all up to it is still the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainHead {
    /// Its number; 0: there is none yet.
    pub number: u64,
    /// Its hash; of number 0, that of what stands before the chain.
    pub hash: Digest,
}

impl ChainHead {
    /// The start of a new chain behind these bytes of its file.
    ///
    /// # Errors
    ///
    /// The reader's errors.
    pub fn behind(mut bytes: impl Read) -> io::Result<Self> {
        let (mut hash, mut some) = (Sha256::new(), vec![0; 64 * 1024]);
        loop {
            match bytes.read(&mut some)? {
                0 => break,
                read => hash.update(&some[..read]),
            }
        }
        Ok(Self {
            number: 0,
            hash: Digest(hash.finalize().into()),
        })
    }
}

impl fmt::Display for ChainHead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.number, self.hash)
    }
}

impl FromStr for ChainHead {
    type Err = NoHead;

    fn from_str(text: &str) -> Result<Self, NoHead> {
        let (number, hash) = text.split_once(':').ok_or(NoHead)?;
        Ok(Self {
            number: number.parse().map_err(|_| NoHead)?,
            hash: hash.parse()?,
        })
    }
}

/// What stands before the hash in a line, and behind it.
const OPEN: &[u8] = b",\"hash\":\"";
const CLOSE: &[u8] = b"\"}";

/// A record as the next line of its chain, with its newline, and the head that it makes. `opens`: it is the first of its
/// file.
///
/// # Errors
///
/// Where the record has no JSON form.
pub fn seal(
    head: &ChainHead,
    opens: bool,
    record: &LogRecord,
) -> serde_json::Result<(Vec<u8>, ChainHead)> {
    let mut line = serde_json::to_vec(record)?;
    line.pop();
    let number = head.number.saturating_add(1);
    line.extend(format!(",\"number\":{number}").bytes());
    if opens || number == 1 {
        line.extend(format!(",\"previous\":\"{}\"", head.hash).bytes());
    }
    let hash = Digest::over(&head.hash, &line);
    line.extend(OPEN);
    line.extend(hash.to_string().bytes());
    line.extend(CLOSE);
    line.push(b'\n');
    Ok((line, ChainHead { number, hash }))
}

/// A line as it was read, without its newline.
#[derive(Debug)]
pub enum Line<'l> {
    /// A record that says it is part of a chain.
    Chained(Chained<'l>),
    /// A record of a version without chains.
    Plain(LogRecord),
    /// No record.
    Nothing,
}

/// A line that says that it is of a chain.
#[derive(Debug)]
pub struct Chained<'l> {
    /// The head that the line claims to make.
    pub head: ChainHead,
    /// The hash before it, as it says; none but in the first line of a file.
    pub previous: Option<Digest>,
    /// The record, with the chain's fields among its own.
    pub record: LogRecord,
    body: &'l [u8],
}

impl<'l> Line<'l> {
    /// What a line is.
    #[must_use]
    pub fn of(line: &'l [u8]) -> Self {
        let Ok(record) = serde_json::from_slice::<LogRecord>(line) else {
            return Self::Nothing;
        };
        let says = |field| record.fields.contains_key(field);
        match ChainFields::of(line, &record) {
            Some(fields) => Self::Chained(Chained {
                head: fields.head,
                previous: fields.previous,
                record,
                body: fields.body,
            }),
            // One of a chain that is spelt in another way is none of either.
            None if says("number") || says("hash") => Self::Nothing,
            None => Self::Plain(record),
        }
    }
}

/// What a line has for a chain, beside its record.
struct ChainFields<'l> {
    head: ChainHead,
    previous: Option<Digest>,
    body: &'l [u8],
}

impl<'l> ChainFields<'l> {
    fn of(line: &'l [u8], record: &LogRecord) -> Option<Self> {
        let rest = line.strip_suffix(CLOSE)?;
        let (rest, hash) = rest.split_at_checked(rest.len().checked_sub(64)?)?;
        let body = rest.strip_suffix(OPEN)?;
        let hash = std::str::from_utf8(hash).ok()?.parse().ok()?;
        let number = record.fields.get("number")?.as_u64()?;
        let previous = match record.fields.get("previous") {
            None => None,
            Some(text) => Some(text.as_str()?.parse().ok()?),
        };
        Some(Self {
            head: ChainHead { number, hash },
            previous,
            body,
        })
    }
}

impl Chained<'_> {
    /// Whether it comes right behind a line with that hash.
    #[must_use]
    pub fn follows(&self, before: &Digest) -> bool {
        Digest::over(before, self.body) == self.head.hash
    }
}
