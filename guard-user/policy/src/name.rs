//! Host names in rules.

use std::{fmt, net::Ipv4Addr, str::FromStr};

use guard_common::NameId;
use serde::{Deserialize, Serialize};

use super::{
    invalid::{Invalid, quoted},
    target::Target,
};

/// A host name in lower case, without the dot at its end (RFC 1123 2.1, and `_`, which many use).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct DomainName(Box<str>);

/// All names below a name: `*.prod.example.com`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wildcard(DomainName);

/// RFC 1035 2.3.4, without the length of the root label.
const LONGEST_NAME: usize = 253;
const LONGEST_LABEL: usize = 63;

impl DomainName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Wildcard {
    /// The name that it stands below.
    #[must_use]
    pub const fn below(&self) -> &DomainName {
        &self.0
    }

    /// Whether a name stands below it.
    #[must_use]
    pub fn covers(&self, name: &DomainName) -> bool {
        let above = name.as_str().strip_suffix(self.0.as_str());
        above.is_some_and(|labels| labels.len() > 1 && labels.ends_with('.'))
    }
}

/// What rules name of names: one, or all below one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NamePattern {
    /// A name.
    Name(DomainName),
    /// All names below one, at any depth, and not the name itself.
    Below(Wildcard),
}

impl NamePattern {
    /// That of a rule's target, if it is one.
    #[must_use]
    pub fn of(target: &Target) -> Option<Self> {
        match target {
            Target::Name(name) => Some(Self::Name(name.clone())),
            Target::Wildcard(wildcard) => Some(Self::Below(wildcard.clone())),
            Target::Prefix(_) | Target::Group(_) => None,
        }
    }

    /// By which the kernel half knows it.
    #[must_use]
    pub fn id(&self) -> NameId {
        NameId::of(&self.to_string())
    }

    /// The wildcards that cover it, the narrowest first. A name's are those of its labels; a wildcard's, those that are wider.
    pub fn around(&self) -> impl Iterator<Item = Self> {
        let below = match self {
            Self::Name(name) => name,
            Self::Below(wildcard) => wildcard.below(),
        };
        let mut rest = below.as_str();
        std::iter::from_fn(move || {
            let (_, above) = rest.split_once('.')?;
            rest = above;
            Some(Self::Below(Wildcard(DomainName(above.into()))))
        })
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => name.fmt(f),
            Self::Below(wildcard) => wildcard.fmt(f),
        }
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for Wildcard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "*.{}", self.0)
    }
}

impl FromStr for DomainName {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let name = text.strip_suffix('.').unwrap_or(text);
        if !name.is_ascii() {
            return Err(not_a_name(text).help("write the form that begins with `xn--`"));
        }
        if name.len() > LONGEST_NAME || !name.split('.').all(is_label) {
            return Err(not_a_name(text).help(
                "a name is labels of letters, digits and `-` with dots between, like `db.example.com`",
            ));
        }
        // A resolver may take `192.0.2` or `0x7f.1` for an address, and `192.0.2.1x` was meant as one: no
        // top-level domain begins with a digit.
        let last = name.rsplit('.').next().unwrap_or(name);
        if last.starts_with(|first: char| first.is_ascii_digit()) {
            let first = text.split_once('-').map(|(first, _)| first);
            let help = match first.map(str::parse::<Ipv4Addr>) {
                Some(Ok(_)) => "a range is written as prefixes, such as `192.0.2.0/29`",
                _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
                    "write an address or a name; a port goes behind it, or into `ports`"
                }
                _ => "an IPv4 address has four parts, each 0 to 255",
            };
            return Err(
                Invalid::new(format!("{} is neither an address nor a name", quoted(text)))
                    .help(help),
            );
        }
        Ok(Self(name.to_ascii_lowercase().into()))
    }
}

impl FromStr for Wildcard {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.strip_prefix("*.") {
            Some(name) if !name.contains('*') => name.parse().map(Self),
            _ => {
                let invalid = Invalid::new(format!("{} is not a wildcard name", quoted(text)));
                Err(invalid.help(match text {
                    "*" => "`0.0.0.0/0` and `::/0` are everything",
                    _ => ONLY_FIRST,
                }))
            }
        }
    }
}

impl TryFrom<String> for DomainName {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<DomainName> for String {
    fn from(name: DomainName) -> Self {
        name.0.into()
    }
}

/// Where the `*` of a wildcard stands.
const ONLY_FIRST: &str = "`*` stands first and alone, as in `*.prod.example.com`, which is all names below `prod.example.com`";

fn not_a_name(text: &str) -> Invalid {
    Invalid::new(format!("{} is not a host name", quoted(text)))
}

fn is_label(label: &str) -> bool {
    let inner = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=LONGEST_LABEL).contains(&label.len())
        && label.bytes().all(inner)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_canonical() {
        let name: DomainName = "DB.Example.com.".parse().unwrap();
        assert_eq!(name.as_str(), "db.example.com");
        assert_eq!("nas".parse::<DomainName>().unwrap().as_str(), "nas");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        let long = "a".repeat(64);
        for text in [
            "",
            ".",
            "a..b",
            "-a",
            "a-",
            "a b",
            "a/b",
            "*",
            "bücher.example",
            &long,
        ] {
            let invalid = text.parse::<DomainName>().unwrap_err();
            assert!(invalid.message.ends_with("is not a host name"), "{invalid}");
        }
        for (text, help) in [
            ("192.0.2.300", "an IPv4 address has four parts"),
            ("192.0.2", "an IPv4 address has four parts"),
            ("192.0.2.1.5", "an IPv4 address has four parts"),
            ("0x7f000001", "an IPv4 address has four parts"),
            ("443", "write an address or a name"),
            ("192.0.2.1-9", "a range is written as prefixes"),
        ] {
            let invalid = text.parse::<DomainName>().unwrap_err();
            assert!(invalid.message.ends_with("nor a name"), "{invalid}");
            assert!(invalid.help.unwrap().starts_with(help), "{text}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_is_below_it() {
        let wildcard: Wildcard = "*.prod.example.com".parse().unwrap();
        let covers = |name: &str| wildcard.covers(&name.parse().unwrap());
        assert!(covers("a.prod.example.com") && covers("a.b.prod.example.com"));
        assert!(!covers("prod.example.com") && !covers("aprod.example.com"));
    }
}
