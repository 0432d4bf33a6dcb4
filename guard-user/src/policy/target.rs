//! What rules and people aim at.

use std::{fmt, net::IpAddr, str::FromStr};

use guard_common::Protocol;

use super::{
    group::Group,
    invalid::{Invalid, quoted},
    model::Environment,
    name::{DomainName, Wildcard},
    ports::{PortSpec, parse_port},
    prefix::Prefix,
};

/// One entry of a rule's `to`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// Addresses.
    Prefix(Prefix),
    /// The addresses that a name has.
    Name(DomainName),
    /// The addresses that names below a name have.
    Wildcard(Wildcard),
    /// A group.
    Group(Group),
}

impl Target {
    /// The prefixes that it stands for here and now. A name without an address stands for none, and
    /// so does a wildcard, whose names nobody can list.
    #[must_use]
    pub fn prefixes(&self, environment: &Environment) -> Vec<Prefix> {
        match self {
            Self::Prefix(prefix) => vec![*prefix],
            Self::Name(name) => environment.resolved(name).collect(),
            Self::Wildcard(_) => Vec::new(),
            Self::Group(group) => group.prefixes(environment),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => f.write_str(&prefix.to_short()),
            Self::Name(name) => name.fmt(f),
            Self::Wildcard(wildcard) => wildcard.fmt(f),
            Self::Group(group) => group.fmt(f),
        }
    }
}

impl FromStr for Target {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        match text.as_bytes() {
            [] => Err(Invalid::new("it is empty").help(WHAT_TO_WRITE)),
            [b'@', ..] => text.parse().map(Self::Group),
            [b'*', ..] => text.parse().map(Self::Wildcard),
            _ if text.contains("://") => Err(no_url(text)),
            _ if text.contains(['/', ':']) => text.parse().map(Self::Prefix),
            _ => match text.parse::<IpAddr>() {
                Ok(address) => Ok(Self::Prefix(address.into())),
                Err(_) => text.parse().map(Self::Name),
            },
        }
    }
}

const WHAT_TO_WRITE: &str =
    "write an address, a prefix, a name or a group, like `192.0.2.0/24` or `@private`";

fn no_url(text: &str) -> Invalid {
    let host = text.split("://").nth(1).unwrap_or(text);
    let host = host.split(['/', '?', '#']).next().unwrap_or(host);
    Invalid::new(format!("{} is a URL", quoted(text))).help(format!("write {}", quoted(host)))
}

/// What a person aims at on a command line: an address, a prefix, a name or a group, and perhaps a
/// port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Destination {
    /// Where. Never a wildcard.
    pub target: Target,
    /// The port after the colon, if any.
    pub port: Option<u16>,
}

impl Destination {
    /// The ports that are meant: those in `specs`, else the one after the colon, which is TCP's. None
    /// means all.
    #[must_use]
    pub fn ports(&self, specs: &[PortSpec]) -> Vec<PortSpec> {
        match self.port {
            Some(port) if specs.is_empty() => vec![PortSpec::one(Protocol::TCP, port)],
            _ => specs.to_vec(),
        }
    }

    /// Whether `specs` say no other port than the one after the colon.
    ///
    /// # Errors
    ///
    /// Where both are there and differ: one of them is a mistake.
    pub fn agree(&self, specs: &[PortSpec]) -> Result<(), Invalid> {
        let Some(port) = self.port else { return Ok(()) };
        match specs
            .iter()
            .find(|spec| (spec.low, spec.high) != (port, port))
        {
            None => Ok(()),
            Some(other) => Err(
                Invalid::new(format!("port {port} and {other} differ")).help(format!(
                    "write `{} --ports {other}`, or leave out --ports",
                    self.target
                )),
            ),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.target, self.port) {
            (target, None) => target.fmt(f),
            (Target::Prefix(prefix), Some(port)) if !Prefix::IPV4.contains(prefix) => {
                write!(f, "[{}]:{port}", prefix.to_short())
            }
            (target, Some(port)) => write!(f, "{target}:{port}"),
        }
    }
}

impl FromStr for Destination {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let (host, port) = split_port(text)?;
        let destination = Self {
            target: host.parse()?,
            port: port.map(parse_port).transpose()?,
        };
        match &destination.target {
            Target::Wildcard(_) => Err(Invalid::new(format!(
                "{} stands for names that nobody can list",
                quoted(text)
            ))
            .help("write one of the names")),
            Target::Prefix(prefix) if port.is_some() && !prefix.is_host() => {
                Err(Invalid::new(format!("{} is not one address", quoted(host)))
                    .help(format!("write `{prefix} --ports tcp/443`")))
            }
            _ => Ok(destination),
        }
    }
}

/// The host, and the port where there is one.
fn split_port(text: &str) -> Result<(&str, Option<&str>), Invalid> {
    if let Some(inside) = text.strip_prefix('[') {
        let closed = inside.split_once(']').and_then(|(host, rest)| match rest {
            "" => Some((host, None)),
            rest => rest.strip_prefix(':').map(|port| (host, Some(port))),
        });
        return closed.ok_or_else(|| {
            Invalid::new(format!("{} is not an address and a port", quoted(text)))
                .help("write `[2001:db8::1]:443`")
        });
    }
    match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') && !text.contains("://") => {
            Ok((host, Some(port)))
        }
        _ => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destinations_read_back_as_written() {
        for text in [
            "192.0.2.10",
            "192.0.2.10:443",
            "[2001:db8::1]:443",
            "2001:db8::1",
            "192.0.2.0/24",
            "2001:db8::/32",
            "db.example.com",
            "db.example.com:5432",
            "@private",
            "@dns:53",
        ] {
            let destination: Destination = text.parse().unwrap();
            assert_eq!(destination.to_string(), text);
        }
        let mapped: Destination = "[::ffff:192.0.2.10]:443".parse().unwrap();
        assert_eq!(mapped.to_string(), "192.0.2.10:443");
    }

    #[test]
    fn a_port_after_a_colon_is_tcps_unless_said_otherwise() {
        let web: Destination = "192.0.2.10:443".parse().unwrap();
        let spec = |text: &str| text.parse::<PortSpec>().unwrap();
        assert_eq!(web.ports(&[]), [spec("tcp/443")]);
        assert_eq!(web.ports(&[spec("udp/443")]), [spec("udp/443")]);
        assert!(web.agree(&[spec("udp/443"), spec("tcp/443")]).is_ok());
        let differ = web.agree(&[spec("tcp/80")]).unwrap_err();
        assert_eq!(
            differ.to_string(),
            "port 443 and tcp/80 differ: write `192.0.2.10 --ports tcp/80`, or leave out --ports"
        );
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for (given, said) in [
            (
                "https://db.example.com/x",
                "`https://db.example.com/x` is a URL: write `db.example.com`",
            ),
            (
                "2001:db8::1:99999",
                "`2001:db8::1:99999` is not an IPv4 or IPv6 address: write an address or a prefix, like `192.0.2.10` or `2001:db8::/32`",
            ),
            (
                "[2001:db8::1]443",
                "`[2001:db8::1]443` is not an address and a port: write `[2001:db8::1]:443`",
            ),
            (
                "192.0.2.0/24:443",
                "`192.0.2.0/24` is not one address: write `192.0.2.0/24 --ports tcp/443`",
            ),
            (
                "192.0.2.1:http",
                "`http` is not a port: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
            (
                "*.example.com",
                "`*.example.com` stands for names that nobody can list: write one of the names",
            ),
        ] {
            assert_eq!(given.parse::<Destination>().unwrap_err().to_string(), said);
        }
    }
}
