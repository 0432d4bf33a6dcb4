//! Types of records (IANA, DNS Resource Record types).

use std::fmt;

/// The type of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Kind(pub(super) u16);

/// Those that may be asked for, by number.
const KNOWN: [(u16, &str); 21] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (43, "DS"),
    (44, "SSHFP"),
    (46, "RRSIG"),
    (47, "NSEC"),
    (48, "DNSKEY"),
    (50, "NSEC3"),
    (52, "TLSA"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (256, "URI"),
    (257, "CAA"),
];

/// `OPT`, which is no record: what is said beside a question (RFC 6891).
pub(super) const OPT: Kind = Kind(41);
/// `SOA`.
pub(super) const SOA: Kind = Kind(6);
/// `SRV`, by which a program finds the servers of a service (RFC 2782).
pub(super) const SRV: Kind = Kind(33);
/// `TXT`, which carries most a name.
pub(super) const TXT: Kind = Kind(16);

impl Kind {
    /// Whether such records may be asked for.
    #[must_use]
    pub(super) fn is_known(self) -> bool {
        self.text().is_some()
    }

    /// Whether a program asks for it to connect: A, AAAA, SVCB and HTTPS, of which most ask for more than one.
    #[must_use]
    pub(super) const fn leads_on(self) -> bool {
        matches!(self.0, 1 | 28 | 64 | 65)
    }

    fn text(self) -> Option<&'static str> {
        let found = KNOWN.binary_search_by_key(&self.0, |(number, _)| *number);
        found.ok().map(|at| KNOWN[at].1)
    }
}

/// As in zone files; those without a name as `TYPE65280` (RFC 3597 5).
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_known_by_number_and_have_names() {
        assert!(KNOWN.is_sorted());
        assert_eq!(Kind(65).to_string(), "HTTPS");
        assert_eq!(Kind(65280).to_string(), "TYPE65280");
        for carrier in [10, 41, 251, 252, 255, 65280] {
            assert!(!Kind(carrier).is_known(), "{carrier}");
        }
    }
}
