//! Protocols and ports, as rules and people write them.

use std::{fmt, str::FromStr};

use guard_common::Protocol;
use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, blanks, nearest, quoted};

/// Ports of a protocol: `tcp/443`, `tcp/8000-8100`, `udp`, `icmp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PortSpec {
    /// Which protocol.
    pub protocol: Protocol,
    /// First port; 0 where all ports are meant.
    pub low: u16,
    /// Last port.
    pub high: u16,
}

const PROTOCOLS: [(&str, Protocol); 3] = [
    ("tcp", Protocol::TCP),
    ("udp", Protocol::UDP),
    ("icmp", Protocol::ICMP),
];

/// The ports of what people have URLs of, and names for.
const WELL_KNOWN: &[(&str, u16)] = &[
    ("amqp", 5672),
    ("amqps", 5671),
    ("ftp", 21),
    ("http", 80),
    ("https", 443),
    ("ldap", 389),
    ("ldaps", 636),
    ("mongodb", 27017),
    ("mysql", 3306),
    ("nats", 4222),
    ("postgres", 5432),
    ("postgresql", 5432),
    ("redis", 6379),
    ("rediss", 6379),
    ("ssh", 22),
    ("ws", 80),
    ("wss", 443),
];

/// The port of TCP that a scheme or a service is known to have.
pub(super) fn well_known(name: &str) -> Option<u16> {
    let mut known = WELL_KNOWN.iter();
    let known = known.find(|(known, _)| name.eq_ignore_ascii_case(known));
    known.map(|(_, port)| *port)
}

/// The ports of TCP that people write behind a destination: `443`, `80-90`, `80,443`, `https`.
pub(super) fn behind_a_colon(text: &str) -> Option<Vec<PortSpec>> {
    if text.len() > LONGEST_MISREAD {
        return None;
    }
    let one = |text: &str| match well_known(text) {
        Some(port) => Some(PortSpec::one(Protocol::TCP, port)),
        None => {
            let (low, high) = parse_range("tcp", text).ok()?;
            let protocol = Protocol::TCP;
            Some(PortSpec {
                protocol,
                low,
                high,
            })
        }
    };
    text.split(',').map(one).collect()
}

/// What is longer is not looked at for what it was meant to be.
const LONGEST_MISREAD: usize = 60;

/// `tcp`, `udp`, `icmp`, or the number.
#[must_use]
pub fn protocol_name(protocol: Protocol) -> String {
    let known = PROTOCOLS.iter().find(|(_, known)| *known == protocol);
    known.map_or_else(|| protocol.0.to_string(), |(name, _)| (*name).to_owned())
}

/// The same the other way.
#[must_use]
pub fn protocol_number(name: &str) -> Option<Protocol> {
    let known = PROTOCOLS.iter().find(|(known, _)| *known == name);
    let by_number = || name.parse().ok().map(Protocol);
    known.map(|(_, protocol)| *protocol).or_else(by_number)
}

impl PortSpec {
    /// All ports of a protocol.
    #[must_use]
    pub const fn all(protocol: Protocol) -> Self {
        Self {
            protocol,
            low: 0,
            high: u16::MAX,
        }
    }

    /// One port of a protocol.
    #[must_use]
    pub const fn one(protocol: Protocol, port: u16) -> Self {
        Self {
            protocol,
            low: port,
            high: port,
        }
    }

    /// Whether it covers a port of a protocol.
    #[must_use]
    pub const fn covers(&self, protocol: Protocol, port: u16) -> bool {
        self.protocol.covers(protocol) && self.low <= port && port <= self.high
    }

    /// How many ports it has, less one. The narrower of two that cover a connection decides.
    #[must_use]
    pub const fn width(&self) -> u16 {
        self.high - self.low
    }

    /// What both have.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (low, high) = (self.low.max(other.low), self.high.min(other.high));
        let protocol = match (self.protocol, other.protocol) {
            (Protocol::ANY, protocol) | (protocol, Protocol::ANY) => protocol,
            (one, two) if one == two => one,
            _ => return None,
        };
        (low <= high).then_some(Self {
            protocol,
            low,
            high,
        })
    }
}

impl fmt::Display for PortSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match PROTOCOLS.iter().find(|(_, p)| *p == self.protocol) {
            Some((name, _)) => f.write_str(name)?,
            None if self.protocol == Protocol::ANY => f.write_str("any")?,
            None => write!(f, "protocol-{}", self.protocol.0)?,
        }
        match (self.low, self.high) {
            (0, u16::MAX) => Ok(()),
            (low, high) if low == high => write!(f, "/{low}"),
            (low, high) => write!(f, "/{low}-{high}"),
        }
    }
}

impl FromStr for PortSpec {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Self::read(text).map_err(|invalid| match meant(text) {
            Some(help) => invalid.help(help),
            None => invalid,
        })
    }
}

impl PortSpec {
    fn read(text: &str) -> Result<Self, Invalid> {
        if let Some(invalid) = blanks(text) {
            return Err(invalid);
        }
        let (name, ports) = match text.split_once('/') {
            Some((name, ports)) => (name, Some(ports)),
            None => (text, None),
        };
        let known = PROTOCOLS.iter().find(|(known, _)| *known == name);
        let (_, protocol) = known.ok_or_else(|| unknown_protocol(text, name))?;
        let Some(ports) = ports else {
            return Ok(Self::all(*protocol));
        };
        if *protocol == Protocol::ICMP {
            return Err(Invalid::new("icmp has no ports").help("write `icmp`"));
        }
        let (low, high) = parse_range(name, ports)?;
        Ok(Self {
            protocol: *protocol,
            low,
            high,
        })
    }
}

impl TryFrom<String> for PortSpec {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<PortSpec> for String {
    fn from(spec: PortSpec) -> Self {
        spec.to_string()
    }
}

/// What to write where other tools take a text for ports.
fn meant(text: &str) -> Option<String> {
    if text.len() > LONGEST_MISREAD {
        return None;
    }
    if let Some(several) = several(text) {
        return Some(several);
    }
    let Some((name, ports)) = text.split_once('/') else {
        return match text {
            "dns" | "domain" => Some("write `udp/53` and `tcp/53`".to_owned()),
            name => well_known(name).map(|port| format!("write `tcp/{port}`")),
        };
    };
    if !matches!(name, "tcp" | "udp") {
        return None;
    }
    let range = ports.replace(':', "-").replace("..", "-");
    match ports {
        "" => Some(format!(
            "write `{name}/443`, or `{name}` for all of its ports"
        )),
        "*" | "any" | "all" => Some(format!("write `{name}`")),
        "dns" | "domain" => Some(format!("write `{name}/53`")),
        _ if range != ports => {
            let (low, high) = parse_range(name, &range).ok()?;
            Some(format!("write `{name}/{low}-{high}`"))
        }
        service => well_known(service).map(|port| format!("write `{name}/{port}`")),
    }
}

/// What to write in place of several ports in one text.
fn several(text: &str) -> Option<String> {
    let (first, _) = text.split_once(',')?;
    let protocol = first.split_once('/').map_or("tcp", |(name, _)| name);
    let one = |text: &str| {
        let text = text.trim();
        let spec = PortSpec::read(text).or_else(|_| PortSpec::read(&format!("{protocol}/{text}")));
        spec.ok().map(|spec| format!("\"{spec}\""))
    };
    let all: Vec<_> = text.split(',').map(one).collect::<Option<_>>()?;
    Some(format!("write {}", all.join(", ")))
}

fn unknown_protocol(text: &str, name: &str) -> Invalid {
    let names = PROTOCOLS.map(|(name, _)| name);
    let invalid = Invalid::new(format!("{} names no protocol", quoted(text)));
    if parse_range("tcp", text).is_ok() {
        return invalid.help(format!("write `tcp/{text}` or `udp/{text}`"));
    }
    if let Some(meant) = respelt(text) {
        return invalid.help(format!("did you mean `{meant}`?"));
    }
    if ["any", "all", "*"].contains(&name) {
        return invalid
            .help("where no ports are named, all are meant; `guard open` takes --all-ports");
    }
    match nearest(name, &names) {
        Some(meant) => {
            let meant = quoted(&text.replacen(name, meant, 1));
            invalid.help(format!("did you mean {meant}?"))
        }
        None => invalid.help("write `tcp/443`, `tcp/8000-8100`, `udp/53`, `tcp`, `udp` or `icmp`"),
    }
}

/// What other tools write so: `tcp:443`, `443/tcp`, `TCP/443`.
fn respelt(text: &str) -> Option<PortSpec> {
    let text = text.to_ascii_lowercase().replace([':', ' '], "/");
    let turned = text
        .split_once('/')
        .map(|(one, two)| format!("{two}/{one}"));
    let known = |text: &str| {
        PROTOCOLS
            .iter()
            .any(|(name, _)| text.split('/').next() == Some(name))
    };
    [Some(text), turned]
        .into_iter()
        .flatten()
        .find(|text| known(text))
        .and_then(|text| text.parse().ok())
}

fn parse_range(protocol: &str, text: &str) -> Result<(u16, u16), Invalid> {
    let Some((low, high)) = text.split_once('-') else {
        return parse_port(text).map(|port| (port, port));
    };
    let (low, high) = (parse_port(low)?, parse_port(high)?);
    if low <= high {
        Ok((low, high))
    } else {
        Err(Invalid::new("the range ends before it begins")
            .help(format!("write `{protocol}/{high}-{low}`")))
    }
}

/// A port: 1 to 65535.
pub(super) fn parse_port(text: &str) -> Result<u16, Invalid> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    let wrong = || match text {
        "" => "a port is missing".to_owned(),
        text => format!("{} is not a port", quoted(text)),
    };
    match text.parse() {
        Ok(port) if digits && port != 0 => Ok(port),
        _ => Err(Invalid::new(wrong())
            .help("a port is a number from 1 to 65535, a range is `8000-8100`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_read_back_as_written() {
        for text in ["tcp/443", "tcp/8000-8100", "udp/53", "icmp", "tcp", "udp"] {
            assert_eq!(text.parse::<PortSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for (given, said) in [
            (
                "443",
                "`443` names no protocol: write `tcp/443` or `udp/443`",
            ),
            (
                "tpc/443",
                "`tpc/443` names no protocol: did you mean `tcp/443`?",
            ),
            ("TCP", "`TCP` names no protocol: did you mean `tcp`?"),
            (
                "tcp:443",
                "`tcp:443` names no protocol: did you mean `tcp/443`?",
            ),
            (
                "443/udp",
                "`443/udp` names no protocol: did you mean `udp/443`?",
            ),
            (
                "8000-8100",
                "`8000-8100` names no protocol: write `tcp/8000-8100` or `udp/8000-8100`",
            ),
            (
                "any",
                "`any` names no protocol: where no ports are named, all are meant; `guard open` takes --all-ports",
            ),
            (
                "sctp/7",
                "`sctp/7` names no protocol: write `tcp/443`, `tcp/8000-8100`, `udp/53`, `tcp`, `udp` or `icmp`",
            ),
            ("https", "`https` names no protocol: write `tcp/443`"),
            ("ssh", "`ssh` names no protocol: write `tcp/22`"),
            (
                "dns",
                "`dns` names no protocol: write `udp/53` and `tcp/53`",
            ),
            ("tcp/http", "`http` is not a port: write `tcp/80`"),
            ("udp/dns", "`dns` is not a port: write `udp/53`"),
            (
                "tcp/8000:8100",
                "`8000:8100` is not a port: write `tcp/8000-8100`",
            ),
            (
                "tcp/8000..8100",
                "`8000..8100` is not a port: write `tcp/8000-8100`",
            ),
            ("udp/*", "`*` is not a port: write `udp`"),
            (
                "tcp/443,80",
                "`443,80` is not a port: write \"tcp/443\", \"tcp/80\"",
            ),
            (
                "tcp/443, udp/80",
                "`443, udp/80` is not a port: write \"tcp/443\", \"udp/80\"",
            ),
            (
                "443,80",
                "`443,80` names no protocol: write \"tcp/443\", \"tcp/80\"",
            ),
            (
                "tcp/",
                "a port is missing: write `tcp/443`, or `tcp` for all of its ports",
            ),
            (
                "tcp/80-",
                "a port is missing: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
            (
                "udp/53 ",
                "`udp/53 ` begins or ends with a blank: write `udp/53`",
            ),
            ("icmp/8", "icmp has no ports: write `icmp`"),
            (
                "tcp/90-80",
                "the range ends before it begins: write `tcp/80-90`",
            ),
            (
                "tcp/0",
                "`0` is not a port: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
            (
                "tcp/65536",
                "`65536` is not a port: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
            (
                "tcp/+1",
                "`+1` is not a port: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
        ] {
            assert_eq!(given.parse::<PortSpec>().unwrap_err().to_string(), said);
        }
    }
}
