//! Which bytes may be where.

/// A set of bytes.
pub(super) struct Octets([bool; 256]);

impl Octets {
    /// Visible ASCII without these (VCHAR, RFC 5234 B.1).
    const fn visible_without(these: &[u8]) -> Self {
        let mut set = [false; 256];
        let mut byte = 0x21;
        while byte < 0x7f {
            set[byte] = true;
            byte += 1;
        }
        let mut at = 0;
        while at < these.len() {
            set[these[at] as usize] = false;
            at += 1;
        }
        Self(set)
    }

    pub(super) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// Where the first byte is that is not in the set.
    pub(super) fn first_other(&self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|&byte| !self.has(byte))
    }
}

/// `tchar`, RFC 9110 5.6.2: what methods and field names are made of.
pub(super) static TOKEN: Octets = Octets::visible_without(b"\"(),/:;<=>?@[\\]{}");

/// What a path may have. Wider than RFC 3986 3.3 by `[`, `]`, `{`, `|` and `}`, which programs send and which are
/// ambiguous to nobody. A backslash is a slash to some.
pub(super) static PATH: Octets = Octets::visible_without(b"\"#<>?\\^`");

/// What a query may have: wider than RFC 3986 3.4 by what the URL standard of the browsers leaves as it is.
pub(super) static QUERY: Octets = Octets::visible_without(b"\"#<>");

/// What a field's value or a reason phrase may have, RFC 9110 5.5: visible ASCII, blanks, and `obs-text`, which means
/// nothing to anybody and ends nothing.
const fn in_value(byte: u8) -> bool {
    (byte >= 0x20 && byte != 0x7f) || byte == b'\t'
}

/// The first byte that a value may not have.
pub(super) fn not_in_value(value: &[u8]) -> Option<u8> {
    // Without a branch for each byte first: that is done sixteen at a time.
    if value.iter().fold(true, |all, &byte| all & in_value(byte)) {
        None
    } else {
        value.iter().copied().find(|&byte| !in_value(byte))
    }
}
