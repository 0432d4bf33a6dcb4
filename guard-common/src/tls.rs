//! The server's name in the first record of a TLS client (SNI): read by the kernel half from what a program sends, and by the
//! proxy from what it receives.
//!
//! Servers differ in what else they take for a ClientHello. So only what has one reading passes: the whole ClientHello in one
//! record and nothing behind it there, each extension once where that matters, and one name of a host's letters.

use crate::NameId;

/// Bytes of a record's header (RFC 8446 5.1).
pub const HEADER: u32 = 5;
/// Bytes of the longest record with its header.
pub const LONGEST: u32 = HEADER + (1 << 14);

/// A client's first bytes, wherever they are.
pub trait Bytes {
    /// A byte; `None` beyond the end.
    fn byte(&self, at: u32) -> Option<u8>;
    /// The same number, of which the kernel's verifier knows nothing. A number that it knows, such as a position, it follows from one round
    /// of [`Self::find`] to the next, and goes through each round again.
    fn opaque(&self, number: u32) -> u32;
    /// As [`crate::Tables::find`].
    fn find<R>(&self, limit: u32, failed: R, at: impl FnMut() -> Option<R>) -> Option<R>;
}

/// Why a name is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Odd {
    /// It does not begin with a TLS handshake.
    NoTls = 1,
    /// It is no ClientHello, or one that can be read in several ways.
    NoHello = 2,
    /// The ClientHello is not in one record.
    Split = 3,
    /// It shows no name.
    NoName = 4,
    /// The name is none that a host has.
    NoHost = 5,
    /// It has another name that is encrypted (ECH), or pretends to.
    Encrypted = 6,
}

impl Odd {
    /// Why, as a clause without a full stop.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoTls => "the client does not begin with TLS",
            Self::NoHello => "the client begins with no ClientHello that has one reading",
            Self::Split => "the client's ClientHello is not in one record",
            Self::NoName => "the client shows no server's name in TLS (SNI)",
            Self::NoHost => {
                "the server's name that the client shows in TLS (SNI) is none that a host has"
            }
            Self::Encrypted => {
                "the client shows one server's name in TLS and may hide another (Encrypted ClientHello)"
            }
        }
    }
}

/// Where a name stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its first byte.
    pub at: u32,
    /// How many it has.
    pub len: u32,
}

/// Content type of a handshake, the version's first byte, and the type of a ClientHello (RFC 8446 5.1, 4).
const HANDSHAKE: u8 = 22;
const MAJOR: u8 = 3;
const CLIENT_HELLO: u8 = 1;
/// Version and random of a ClientHello (RFC 8446 4.1.2).
const FIXED: u32 = 2 + 32;
const MAX_SESSION_ID: u32 = 32;
/// Extensions (RFC 6066 3, RFC 9849 5), and the type of a host's name.
const SERVER_NAME: u32 = 0;
const ENCRYPTED_HELLO: u32 = 0xfe0d;
const HOST_NAME: u8 = 0;
/// Of one ClientHello; real ones have about twenty.
const MAX_EXTENSIONS: u32 = 128;
/// Bytes of a name (RFC 1035 2.3.4, without the length of the root label).
const LONGEST_NAME: u32 = 253;

#[inline(always)]
fn u16_at<B: Bytes>(bytes: &B, at: u32) -> Option<u32> {
    Some((bytes.byte(at)? as u32) << 8 | bytes.byte(at + 1)? as u32)
}

/// How many bytes the first record has, by its header.
///
/// # Errors
///
/// It begins no ClientHello.
#[inline(always)]
pub fn record_length<B: Bytes>(bytes: &B) -> Result<u32, Odd> {
    let (Some(kind), Some(major), Some(length)) = (bytes.byte(0), bytes.byte(1), u16_at(bytes, 3))
    else {
        return Err(Odd::NoTls);
    };
    if kind != HANDSHAKE || major != MAJOR {
        return Err(Odd::NoTls);
    }
    if !(4..=LONGEST - HEADER).contains(&length) {
        return Err(Odd::NoHello);
    }
    Ok(HEADER + length)
}

/// Where the server's name stands in the first record, of which all bytes are there.
///
/// # Errors
///
/// Why it shows none.
#[inline(always)]
pub fn server_name<B: Bytes>(bytes: &B, length: u32) -> Result<Span, Odd> {
    let extensions = match extensions(bytes, length) {
        Some(Ok(at)) => at,
        Some(Err(odd)) => return Err(odd),
        None => return Err(Odd::NoHello),
    };
    let found = find_name(bytes, extensions, length)?;
    match host_name(bytes, found) {
        Some(span) => Ok(span),
        None => Err(Odd::NoHello),
    }
}

/// Where the extensions begin; they end with the record. `None` where a byte is missing.
#[inline(always)]
fn extensions<B: Bytes>(bytes: &B, length: u32) -> Option<Result<u32, Odd>> {
    let kind = bytes.byte(HEADER)?;
    let high = bytes.byte(HEADER + 1)? as u32;
    let message = high << 16 | u16_at(bytes, HEADER + 2)?;
    if kind != CLIENT_HELLO {
        return Some(Err(Odd::NoHello));
    }
    let mut at = HEADER + 4;
    if message != length - at {
        let is_split = message > length - at;
        return Some(Err(if is_split { Odd::Split } else { Odd::NoHello }));
    }
    at += FIXED;
    let session_id = bytes.byte(at)? as u32;
    if session_id > MAX_SESSION_ID {
        return Some(Err(Odd::NoHello));
    }
    at += 1 + session_id;
    let ciphers = u16_at(bytes, at)?;
    if ciphers > LONGEST {
        return Some(Err(Odd::NoHello));
    }
    at += 2 + ciphers;
    let compressions = bytes.byte(at)? as u32;
    at += 1 + compressions;
    if at == length {
        return Some(Err(Odd::NoName));
    }
    let all = u16_at(bytes, at)?;
    at += 2;
    Some(if at + all == length {
        Ok(at)
    } else {
        Err(Odd::NoHello)
    })
}

/// The extension with the server's name.
#[inline(always)]
fn find_name<B: Bytes>(bytes: &B, mut at: u32, end: u32) -> Result<Span, Odd> {
    let mut name = Span { at: 0, len: 0 };
    const DONE: u32 = 0;
    let failed = Odd::NoHello as u32;
    let ended = bytes.find(MAX_EXTENSIONS, failed, || {
        at = bytes.opaque(at);
        if at == end {
            return Some(DONE);
        }
        let (Some(kind), Some(len)) = (u16_at(bytes, at), u16_at(bytes, at + 2)) else {
            return Some(Odd::NoHello as u32);
        };
        if at + 4 + len > end {
            return Some(Odd::NoHello as u32);
        }
        if kind == ENCRYPTED_HELLO {
            return Some(Odd::Encrypted as u32);
        }
        if kind == SERVER_NAME {
            if name.at != 0 {
                return Some(Odd::NoHello as u32);
            }
            name = Span { at: at + 4, len };
        }
        at += 4 + len;
        None
    });
    match ended {
        Some(DONE) if name.at != 0 => Ok(name),
        Some(DONE) => Err(Odd::NoName),
        Some(code) if code == Odd::Encrypted as u32 => Err(Odd::Encrypted),
        _ => Err(Odd::NoHello),
    }
}

/// The one name in that extension.
#[inline(always)]
fn host_name<B: Bytes>(bytes: &B, extension: Span) -> Option<Span> {
    let Span { at, len } = extension;
    let list = u16_at(bytes, at)?;
    let kind = bytes.byte(at + 2)?;
    let name = u16_at(bytes, at + 3)?;
    let is_one = list + 2 == len && kind == HOST_NAME && name + 5 == len && name != 0;
    is_one.then_some(Span {
        at: at + 5,
        len: name,
    })
}

/// The labels that a name may have. No pattern of a policy is looked for below that.
pub const MAX_LABELS: usize = 32;

/// By which patterns a policy may have a name: the name itself, then the wildcards that cover it, the narrowest first.
pub type Patterns = [u64; MAX_LABELS];

/// How many bytes are looked at for the longest name at most: each suffix is read from its beginning.
const MAX_STEPS: u32 = (LONGEST_NAME + 1) * MAX_LABELS as u32;

/// Finds the patterns of a name, and returns how many there are.
///
/// # Errors
///
/// No host has such a name.
#[inline(always)]
pub fn patterns<B: Bytes>(bytes: &B, name: Span, patterns: &mut Patterns) -> Result<u32, Odd> {
    let end = name.at + name.len;
    if name.len > LONGEST_NAME {
        return Err(Odd::NoHost);
    }
    let (mut at, mut next, mut count) = (name.at, 0, 0_u32);
    let mut hash = NameId::BASIS;
    let mut last = b'.';
    const DONE: u32 = 0;
    const FAILED: u32 = 1;
    let ended = bytes.find(MAX_STEPS, FAILED, || {
        at = bytes.opaque(at);
        if at == end {
            count = bytes.opaque(count);
            let Some(place) = patterns.get_mut(count as usize) else {
                return Some(FAILED);
            };
            *place = NameId::ended(hash);
            count += 1;
            if next == 0 {
                return Some(if last == b'.' { FAILED } else { DONE });
            }
            (at, next) = (next, 0);
            hash = NameId::BELOW;
            return None;
        }
        let Some(byte) = bytes.byte(at) else {
            return Some(FAILED);
        };
        let byte = byte.to_ascii_lowercase();
        if byte == b'.' {
            if last == b'.' {
                return Some(FAILED);
            }
            if next == 0 {
                next = at + 1;
            }
        } else if !is_host_byte(byte) {
            return Some(FAILED);
        }
        last = byte;
        hash = NameId::step(hash, byte);
        at += 1;
        None
    });
    match ended {
        Some(DONE) => Ok(count),
        _ => Err(Odd::NoHost),
    }
}

#[inline(always)]
const fn is_host_byte(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_')
}

impl Bytes for [u8] {
    fn byte(&self, at: u32) -> Option<u8> {
        self.get(at as usize).copied()
    }

    fn opaque(&self, number: u32) -> u32 {
        number
    }

    fn find<R>(&self, limit: u32, _: R, mut at: impl FnMut() -> Option<R>) -> Option<R> {
        (0..limit).find_map(|_| at())
    }
}

impl Bytes for &[u8] {
    fn byte(&self, at: u32) -> Option<u8> {
        (**self).byte(at)
    }

    fn opaque(&self, number: u32) -> u32 {
        number
    }

    fn find<R>(&self, limit: u32, failed: R, at: impl FnMut() -> Option<R>) -> Option<R> {
        (**self).find(limit, failed, at)
    }
}

/// What is known of a client by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard<'b> {
    /// More of them are needed: so many in all.
    More(u32),
    /// The server's name that it shows, as it wrote it.
    Name(&'b str),
}

/// Reads the server's name from a client's first bytes.
///
/// # Errors
///
/// Why it shows none.
pub fn hear(begun: &[u8]) -> Result<Heard<'_>, Odd> {
    if begun.len() < HEADER as usize {
        return match begun.first() {
            Some(kind) if *kind != HANDSHAKE => Err(Odd::NoTls),
            _ => Ok(Heard::More(HEADER)),
        };
    }
    let length = record_length(&begun)?;
    let Some(record) = begun.get(..length as usize) else {
        return Ok(Heard::More(length));
    };
    let Span { at, len } = server_name(&record, length)?;
    patterns(&record, Span { at, len }, &mut [0; MAX_LABELS])?;
    let name = record.get(at as usize..(at + len) as usize);
    let name = name.and_then(|name| core::str::from_utf8(name).ok());
    name.map(Heard::Name).ok_or(Odd::NoHost)
}

#[cfg(test)]
mod tests;
