//! Where something is. What is no host for certain is none: a wrong parse would show a piece of a password as one.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde::Serialize;

/// RFC 1035: octets of a name, and of a label.
const NAME: usize = 253;
const LABEL: usize = 63;

/// An address, a network of them, or a name of letters, digits and hyphens, in lower case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Host(String);

impl Host {
    /// Reads it; IPv6 with brackets or without.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(text).parse::<Ipv6Addr>() {
            return Some(Self(address.to_string()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self(address.to_string()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        // A last label of digits is an address in another form, or no host at all.
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = !is_number && name.len() <= NAME && name.split('.').all(is_label);
        is_name.then(|| Self(name.to_ascii_lowercase()))
    }

    /// An address.
    pub(crate) fn of(address: IpAddr) -> Self {
        Self(address.to_string())
    }

    /// A network, by its first address and the bits that all of them begin with. What a file calls a host is none.
    pub(crate) fn network(first: IpAddr, length: u8) -> Self {
        Self(format!("{first}/{length}"))
    }

    /// The host as a policy writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where it is an address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.0.parse().ok()
    }

    /// Whether the text names this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self.address() {
            Some(IpAddr::V6(address)) => {
                let address = address
                    .to_ipv4_mapped()
                    .map_or(IpAddr::V6(address), IpAddr::V4);
                address.is_loopback() || address.is_unspecified()
            }
            Some(address) => address.is_loopback() || address.is_unspecified(),
            None => {
                let local = [
                    "localhost",
                    "host.docker.internal",
                    "ip6-localhost",
                    "localhost.localdomain",
                ];
                local.contains(&self.as_str())
                    || self.0.ends_with(".localhost")
                    || self.0.ends_with(".test")
            }
        }
    }

    /// Whether it stands for a host that somebody is still to write.
    #[must_use]
    pub fn is_placeholder(&self) -> bool {
        let bare = [
            "example.com",
            "example.org",
            "example.net",
            "host",
            "hostname",
            "ip-address",
            "none",
            "null",
            "server-ip",
            "undefined",
        ];
        bare.contains(&self.as_str())
            || self.0.ends_with(".example")
            || stands_for(&self.0)
            || self.0.split('.').any(is_yours)
            || self.0.split('.').all(is_crosses)
            || self
                .telling()
                .split('.')
                .any(|label| label.len() > 2 && is_crosses(label))
    }

    /// Whether it is this name, or below it.
    #[must_use]
    pub fn is_below(&self, suffix: &str) -> bool {
        let before = self.0.strip_suffix(suffix);
        before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
    }

    /// What of it may say which stage it belongs to: a top-level domain does not (`.dev`, `.live`).
    pub(crate) fn telling(&self) -> &str {
        if self.address().is_some() || self.0.contains('/') {
            return "";
        }
        self.0
            .rsplit_once('.')
            .map_or(&self.0, |(before, _)| before)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What `your` stands before, for people to write their own in its place. Some names begin so, too.
const YOURS: [&str; 43] = [
    "access",
    "account",
    "api",
    "app",
    "aws",
    "bucket",
    "business",
    "client",
    "cluster",
    "company",
    "connection",
    "corp",
    "database",
    "db",
    "deploy",
    "domain",
    "endpoint",
    "github",
    "host",
    "instance",
    "ip",
    "key",
    "name",
    "nas",
    "org",
    "pass",
    "port",
    "prod",
    "project",
    "region",
    "registry",
    "remote",
    "secret",
    "server",
    "service",
    "shop",
    "site",
    "store",
    "subdomain",
    "team",
    "tenant",
    "token",
    "user",
];

/// Whether a word is for whoever copies it to replace by their own.
pub(crate) fn is_yours(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    word.strip_prefix("your").is_some_and(|rest| {
        rest.is_empty()
            || !rest.starts_with(|c: char| c.is_ascii_alphanumeric())
            || YOURS.iter().any(|known| rest.starts_with(known))
    })
}

/// Whether it says that something else is to stand there.
pub(crate) fn stands_for(text: &str) -> bool {
    let plain = |c: &char| !"-_".contains(*c);
    let bare: String = text.chars().filter(plain).take(32).collect();
    let words = [
        "changeit",
        "changeme",
        "changethis",
        "fillme",
        "fixme",
        "placeholder",
        "replaceme",
        "replacethis",
        "tbd",
        "todo",
    ];
    words.contains(&bare.to_ascii_lowercase().as_str())
}

/// `xxx`, and each of `x.x.x.x`.
pub(crate) fn is_crosses(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.eq_ignore_ascii_case(&b'x'))
}

fn is_label(label: &str) -> bool {
    let inside = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=LABEL).contains(&label.len())
        && label.bytes().all(inside)
        && !label.starts_with('-')
        && !label.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_host_for_certain_is_none() {
        for (text, host) in [
            ("DB.example.net.", "db.example.net"),
            ("[2001:DB8::1]", "2001:db8::1"),
            ("192.0.2.1", "192.0.2.1"),
            ("nas", "nas"),
        ] {
            assert_eq!(Host::parse(text).map(|host| host.0).as_deref(), Some(host));
        }
        for text in [
            "",
            "a_b",
            "ss@db",
            "a..b",
            "-a",
            "12345",
            "1.2.3",
            "a b",
            "a\u{1b}[2J",
            "${X}",
        ] {
            assert_eq!(Host::parse(text), None, "{text}");
        }
        assert_eq!(Host::parse(&"a.".repeat(200)), None);
    }

    #[test]
    fn this_machine_is_local() {
        for text in [
            "localhost",
            "127.3.2.1",
            "::1",
            "::ffff:127.0.0.1",
            "app.test",
            "0.0.0.0",
        ] {
            assert!(
                Host::parse(text).is_some_and(|host| host.is_local()),
                "{text}"
            );
        }
        for text in ["nas.local", "192.0.2.1", "contest"] {
            assert!(
                Host::parse(text).is_some_and(|host| !host.is_local()),
                "{text}"
            );
        }
    }
}
