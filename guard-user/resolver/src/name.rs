//! Names as DNS messages carry them: labels of any bytes (RFC 1035 3.1, RFC 2181 11).

use std::fmt;

use guard_policy::DomainName;

/// Bytes of a name at most, with the lengths of its labels and the root's.
pub(super) const MAX_NAME: usize = 255;
/// Bytes of a label at most. Larger lengths are pointers, or reserved.
pub(super) const MAX_LABEL: usize = 63;

/// A name in lower case: each label behind its length, and a 0 for the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct WireName(Box<[u8]>);

impl WireName {
    /// Reads a name from the beginning of these bytes. `None` where it is not whole, longer than names are, or has a pointer.
    #[must_use]
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let mut end = 0;
        loop {
            match usize::from(*bytes.get(end)?) {
                0 => break,
                length if length <= MAX_LABEL => end += 1 + length,
                _ => return None,
            }
            if end >= MAX_NAME {
                return None;
            }
        }
        // Lengths are below the letters, so that all bytes can be treated alike.
        let name = bytes.get(..=end)?.to_ascii_lowercase();
        Some(Self(name.into()))
    }

    /// From its labels, the root's left out. `None` where one is empty, or something is too long.
    pub(super) fn of_labels<'a>(labels: impl IntoIterator<Item = &'a [u8]>) -> Option<Self> {
        let mut bytes = Vec::with_capacity(MAX_NAME);
        for label in labels {
            if label.is_empty() || label.len() > MAX_LABEL {
                return None;
            }
            bytes.push(label.len() as u8);
            bytes.extend(label.iter().map(u8::to_ascii_lowercase));
        }
        bytes.push(0);
        (bytes.len() <= MAX_NAME).then(|| Self(bytes.into()))
    }

    /// The bytes, with the root's.
    #[must_use]
    pub(super) const fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of this name and of each name above it but the root, the longest first.
    pub(super) fn suffixes(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.bytes();
        std::iter::from_fn(move || {
            let suffix = rest;
            let length = usize::from(*suffix.first()?);
            rest = suffix.get(1 + length..)?;
            (length > 0).then_some(suffix)
        })
    }

    /// Its labels, the root's left out.
    pub(super) fn labels(&self) -> impl Iterator<Item = &[u8]> {
        self.suffixes()
            .filter_map(|suffix| suffix.get(1..=usize::from(suffix[0])))
    }

    /// Returns the host of a service's name, `_SERVICE._PROTO.HOST` (RFC 2782; RFC 6335 5.1 has what a service may be called).
    pub(super) fn host_of_service(&self) -> Option<Self> {
        let labels: Vec<_> = self.labels().collect();
        let [[b'_', service @ ..], b"_tcp" | b"_udp", host @ ..] = &labels[..] else {
            return None;
        };
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let is_service = (1..=15).contains(&service.len()) && service.iter().all(is_plain);
        let host = Self::of_labels(host.iter().copied()).filter(Self::is_host);
        host.filter(|_| is_service)
    }

    /// Whether a policy could have it: whether it is a [`DomainName`], as a test compares. Each question is judged by it three times,
    /// so it makes no text.
    #[must_use]
    pub(super) fn is_host(&self) -> bool {
        let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let is_label = |label: &[u8]| {
            label.iter().all(is_plain) && !label.starts_with(b"-") && !label.ends_with(b"-")
        };
        let top = self.labels().last().and_then(<[u8]>::first);
        // No top-level domain begins with a digit: it would be an address.
        top.is_some_and(|first| !first.is_ascii_digit()) && self.labels().all(is_label)
    }

    /// The labels of this name in front of `other`; `None`: it is not below `other`.
    #[must_use]
    pub(super) fn before(&self, other: &Self) -> Option<Self> {
        let own = self.bytes().strip_suffix(other.bytes())?;
        let is_below = self != other && self.is_within(other);
        is_below
            .then(|| Self::read(&[own, &[0]].concat()))
            .flatten()
    }

    /// Whether it is that name, or one below.
    #[must_use]
    pub(super) fn is_within(&self, other: &Self) -> bool {
        other.bytes() == [0] || self.suffixes().any(|suffix| suffix == other.bytes())
    }
}

impl From<&DomainName> for WireName {
    fn from(name: &DomainName) -> Self {
        let mut bytes = Vec::with_capacity(name.as_str().len() + 2);
        for label in name.as_str().split('.') {
            bytes.push(label.len() as u8);
            bytes.extend(label.bytes());
        }
        bytes.push(0);
        Self(bytes.into())
    }
}

/// Text without anything that a terminal obeys: other bytes than those of host names as `\DDD`, without the dot at the end
/// (RFC 1035 5.1).
impl fmt::Display for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.bytes() == [0] {
            return f.write_str(".");
        }
        for (at, label) in self.labels().enumerate() {
            if at > 0 {
                f.write_str(".")?;
            }
            for byte in label {
                match byte {
                    b'.' | b'\\' => write!(f, "\\{}", char::from(*byte))?,
                    b'!'..=b'~' => write!(f, "{}", char::from(*byte))?,
                    odd => write!(f, "\\{odd:03}")?,
                }
            }
        }
        Ok(())
    }
}

/// For names that are known to be good.
#[cfg(test)]
pub(crate) fn name(text: &str) -> WireName {
    WireName::from(&text.parse::<DomainName>().unwrap())
}

#[cfg(test)]
mod tests {
    use guard_rounds::rounds;
    use proptest::prelude::*;

    use super::*;

    /// The same name as policies have it, by way of its text.
    fn domain(name: &WireName) -> Option<DomainName> {
        let labels = name.labels().map(|label| std::str::from_utf8(label).ok());
        let labels: Option<Vec<_>> = labels.collect();
        let text = labels?.join(".");
        let parsed: DomainName = text.parse().ok()?;
        // What reads as another name is another.
        (WireName::from(&parsed) == *name).then_some(parsed)
    }

    fn odd_labels() -> impl Strategy<Value = Vec<Vec<u8>>> {
        let byte = prop_oneof![
            8 => prop::sample::select(&b"ab09-_.AZ"[..]),
            1 => any::<u8>(),
        ];
        prop::collection::vec(prop::collection::vec(byte, 1..4), 0..4)
    }

    proptest! {
        #![proptest_config(rounds(1024))]

        #[test]
        fn a_host_is_what_policies_can_name(labels in odd_labels()) {
            let name = WireName::of_labels(labels.iter().map(Vec::as_slice)).unwrap();
            prop_assert_eq!(name.is_host(), domain(&name).is_some(), "{}", name);
        }
    }

    #[test]
    fn a_name_is_read_to_its_end_and_in_lower_case() {
        let read = WireName::read(b"\x02Db\x07EXAMPLE\x03com\0rest").unwrap();
        assert_eq!(read, name("db.example.com"));
        assert_eq!(read.bytes().len(), 16);
        assert_eq!(read.to_string(), "db.example.com");
        assert_eq!(WireName::read(&[0]).unwrap().to_string(), ".");
    }

    #[test]
    fn what_is_no_name_is_not_read() {
        let pointer = b"\x01a\xc0\x0c";
        let cut = b"\x03ab";
        let without_end = b"\x01a";
        let reserved = [&[64][..], &[b'a'; 64], &[0]].concat();
        for bytes in [&pointer[..], cut, without_end, &reserved, b""] {
            assert_eq!(WireName::read(bytes), None, "{bytes:?}");
        }
        let label = [&[63][..], &[b'a'; 63]].concat();
        let longest = [&label[..], &label, &label, &[61], &[b'b'; 61], &[0]].concat();
        assert_eq!(longest.len(), MAX_NAME);
        assert!(WireName::read(&longest).is_some());
        let longer = [&label[..], &label, &label, &[62], &[b'b'; 62], &[0]].concat();
        assert_eq!(WireName::read(&longer), None);
    }

    #[test]
    fn odd_bytes_are_escaped_and_make_no_name_of_a_policy() {
        let odd = WireName::read(b"\x04a.\x1b[\x06github\x03com\0").unwrap();
        assert_eq!(odd.to_string(), r"a\.\027[.github.com");
        assert!(!odd.is_host());
        assert!(odd.is_within(&name("github.com")));
        for bytes in [
            &b"\x02-a\x03com\0"[..],
            b"\x01a\x03127\0",
            b"\x02a \x03com\0",
            b"\0",
        ] {
            assert!(!WireName::read(bytes).unwrap().is_host());
        }
        assert!(name("a.example").is_host());
    }

    #[test]
    fn a_name_is_within_those_above_it_by_whole_labels() {
        let below = name("a.github.com");
        let text = |bytes: &[u8]| WireName::read(bytes).unwrap().to_string();
        let above: Vec<_> = below.suffixes().map(text).collect();
        assert_eq!(above, ["a.github.com", "github.com", "com"]);
        assert!(below.is_within(&below) && below.is_within(&name("com")));
        assert!(!name("evilgithub.com").is_within(&name("github.com")));
        assert!(!name("github.com.evil.test").is_within(&name("github.com")));
    }
}
