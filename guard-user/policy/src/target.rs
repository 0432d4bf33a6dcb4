//! What rules and people aim at.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use guard_common::Protocol;

use super::{
    group::{Group, PUBLIC},
    invalid::{Invalid, blanks, quoted},
    misread,
    model::Environment,
    name::{DomainName, Wildcard},
    ports::{PortSpec, parse_port, well_known},
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

impl Target {
    /// Whether it is about all of the internet, and not about some addresses of it.
    #[must_use]
    pub fn is_internet(&self) -> bool {
        match self {
            Self::Prefix(prefix) => PUBLIC.iter().any(|all| prefix.contains(all)),
            Self::Group(group) => *group == Group::Public,
            Self::Name(_) | Self::Wildcard(_) => false,
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
        Self::read(text).map_err(|invalid| misread::target(text).unwrap_or(invalid))
    }
}

impl Target {
    pub(super) fn read(text: &str) -> Result<Self, Invalid> {
        match text.as_bytes() {
            [] => Err(Invalid::new("it is empty").help(WHAT_TO_WRITE)),
            [b'@', ..] => text.parse().map(Self::Group),
            [b'*', ..] => text.parse().map(Self::Wildcard),
            _ if text.contains('*') && !text.contains(['/', ':']) => {
                text.parse().map(Self::Wildcard)
            }
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

/// Who is reached, of what follows `://`: without the name and password of a person.
pub(super) fn host_of(rest: &str) -> &str {
    let host = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    host.rsplit_once('@').map_or(host, |(_, host)| host)
}

/// Returns the host and port of a URL, as a destination: the scheme says which port. None where it is no URL.
#[must_use]
pub fn place_of_url(text: &str) -> Option<String> {
    let (scheme, rest) = text.split_once("://")?;
    let host = host_of(rest);
    let has_port = split_port(host).is_ok_and(|(_, port)| port.is_some());
    Some(match well_known(scheme).filter(|_| !has_port) {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    })
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
                if prefix.is_host() {
                    write!(f, "[{}]:{port}", prefix.address().to_ip())
                } else {
                    write!(f, "[{prefix}]:{port}")
                }
            }
            (target, Some(port)) => write!(f, "{target}:{port}"),
        }
    }
}

impl FromStr for Destination {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        if let Some(ambiguous) = Ambiguous::of(text) {
            return Err(ambiguous.on_a_command_line());
        }
        if let Some(place) = place_of_url(text) {
            let invalid = Invalid::new(format!("{} is a URL", quoted(text)));
            return Err(invalid.help(format!("write {}", quoted(&place))));
        }
        if let Some(invalid) = blanks(text) {
            return Err(invalid);
        }
        let (host, port) = split_port(text)?;
        let target: Target = host.parse()?;
        let port = port.map(|port| {
            let wrong = |invalid| misread::ports_behind(&target, port, invalid);
            parse_port(port).map_err(wrong)
        });
        let port = port.transpose()?;
        let destination = Self { target, port };
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

/// An address as a word of a command line that is read as that address.
#[must_use]
pub fn as_word(address: &str) -> String {
    match Ambiguous::of(address) {
        Some(_) => format!("[{address}]"),
        None => address.to_owned(),
    }
}

/// An IPv6 address without brackets whose last group reads as a port, as in `2001:db8::1:443`: one address to the letter, and
/// most likely another one and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ambiguous<'t> {
    text: &'t str,
    host: &'t str,
    port: &'t str,
    address: Ipv6Addr,
}

impl<'t> Ambiguous<'t> {
    /// An IPv6 address without brackets whose end reads as a port, if the text is one.
    pub(super) fn of(text: &'t str) -> Option<Self> {
        let address = text.parse().ok()?;
        let (host, port) = text.rsplit_once(':')?;
        let is_port = port.parse().is_ok_and(|port: u16| port > 0);
        // What is left is an address only where `::` stands for the group that is missing then.
        let found = Self {
            text,
            host,
            port,
            address,
        };
        (is_port && host.parse::<Ipv6Addr>().is_ok()).then_some(found)
    }

    /// The address, written so that nothing in it reads as a port.
    fn whole(&self) -> String {
        let groups = self.address.segments().map(|group| format!("{group:x}"));
        groups.join(":")
    }

    fn on_a_command_line(&self) -> Invalid {
        let Self { host, port, .. } = self;
        self.invalid().help(format!(
            "did you mean `[{host}]:{port}`? write `{}` for the address",
            self.whole()
        ))
    }

    /// The same in a rule's `to`, which has no ports.
    pub(super) fn in_a_policy(&self) -> Invalid {
        let Self { host, port, .. } = self;
        self.invalid().help(format!(
            "did you mean `[{host}]:{port}`? write \"{host}\" with ports = [\"tcp/{port}\"], or \"{}\" for the address",
            self.whole()
        ))
    }

    fn invalid(&self) -> Invalid {
        let text = quoted(self.text);
        Invalid::new(format!("{text} is one address, whose end reads as a port"))
    }
}

/// The host, and the port where there is one.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<&str>), Invalid> {
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
        // No one address, and not shown as one.
        let prefix = Destination {
            target: "fc00::/7".parse().unwrap(),
            port: Some(443),
        };
        assert_eq!(prefix.to_string(), "[fc00::/7]:443");
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
    fn an_ipv6_address_and_a_port_want_brackets() {
        for (given, said) in [
            (
                "fd91::2:443",
                "`fd91::2:443` is one address, whose end reads as a port: did you mean `[fd91::2]:443`? \
                 write `fd91:0:0:0:0:0:2:443` for the address",
            ),
            (
                "2001:db8::1:443",
                "`2001:db8::1:443` is one address, whose end reads as a port: did you mean `[2001:db8::1]:443`? \
                 write `2001:db8:0:0:0:0:1:443` for the address",
            ),
        ] {
            assert_eq!(given.parse::<Destination>().unwrap_err().to_string(), said);
        }
        for address in [
            "fd91:0:0:0:0:0:2:443",
            "[fd91::2:443]",
            "fd91::2:443/128",
            "fd91::443",
            "::1",
            "2001:db8::1:ff",
            "1:2:3:4:5:6:7:8",
        ] {
            let read: Destination = address.parse().unwrap();
            assert_eq!(read.port, None, "{address}");
            // What is shown of it reads back as the same.
            assert_eq!(
                read.to_string().parse::<Destination>().unwrap(),
                read,
                "{address}"
            );
        }
    }

    #[test]
    fn nonsense_is_refused_with_a_way_out() {
        for (given, said) in [
            (
                "https://db.example.com/x",
                "`https://db.example.com/x` is a URL: write `db.example.com:443`",
            ),
            (
                "http://u:secret@[2001:db8::1]?x",
                "`http://u:secret@[2001:db8::1]?x` is a URL: write `[2001:db8::1]:80`",
            ),
            (
                "postgres://app@10.9.0.5/shop",
                "`postgres://app@10.9.0.5/shop` is a URL: write `10.9.0.5:5432`",
            ),
            (
                "gopher://db.example.com",
                "`gopher://db.example.com` is a URL: write `db.example.com`",
            ),
            (
                "http://db.example.com:8080",
                "`http://db.example.com:8080` is a URL: write `db.example.com:8080`",
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
                "`http` is not a port: write `192.0.2.1:80`",
            ),
            (
                "[2001:db8::1]:https",
                "`https` is not a port: write `[2001:db8::1]:443`",
            ),
            (
                "10.0.0.1:80-90",
                "`80-90` is not a port: write `10.0.0.1 --ports tcp/80-90`",
            ),
            (
                "db.example.com:80,443",
                "`80,443` is not a port: write `db.example.com --ports tcp/80,tcp/443`",
            ),
            (
                "10.0.0.0/8:https",
                "`https` is not a port: write `10.0.0.0/8 --ports tcp/443`",
            ),
            (
                "example.com:8443/path",
                "`8443/path` is not a port: write `example.com:8443`",
            ),
            (
                "192.0.2.1:0",
                "`0` is not a port: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
            (
                "192.0.2.1:",
                "a port is missing: a port is a number from 1 to 65535, a range is `8000-8100`",
            ),
            (
                "example.com/",
                "`example.com/` has a path in it: write `example.com`",
            ),
            (
                " 192.0.2.1:443",
                "` 192.0.2.1:443` begins or ends with a blank: write `192.0.2.1:443`",
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
