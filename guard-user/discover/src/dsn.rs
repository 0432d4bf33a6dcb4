//! Where a connection string leads. An ambiguous one is unreadable, and nothing of it is kept: a wrong reading takes
//! a piece of the password for the host.

use crate::host::{Host, is_crosses, is_yours, stands_for};
use crate::score::has_token;
use crate::service::Service;
use crate::tokens::{StageWords, said};

/// No connection string is longer.
const LONGEST: usize = 4_096;

/// One of the hosts of a connection string.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct DsnTarget {
    /// None where a placeholder stands there.
    pub(crate) host: Option<Host>,
    pub(crate) port: u16,
    pub(crate) service: Service,
    pub(crate) data: StageWords,
    pub(crate) has_password: bool,
}

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HostPort {
    /// None where a placeholder stands there.
    pub(crate) host: Option<Host>,
    pub(crate) port: u16,
}

impl HostPort {
    pub(crate) fn new(host: Option<Host>, port: u16) -> Self {
        Self { host, port }
    }
}

/// What a value is.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Dsn {
    /// None, or of a kind that is not looked for.
    Other,
    /// An ambiguous one, or one that cannot be parsed.
    Unreadable,
    Targets(Vec<DsnTarget>),
}

/// Reads a value: one connection string, or a list of them.
pub(crate) fn scan(value: &str) -> Dsn {
    let value = value.trim();
    let Some(list) = listed(value) else {
        return scan_one(value);
    };
    let mut all = Vec::new();
    for one in list {
        match scan_one(one) {
            Dsn::Other => {}
            Dsn::Unreadable => return Dsn::Unreadable,
            Dsn::Targets(targets) => all.extend(targets),
        }
    }
    if all.is_empty() {
        Dsn::Other
    } else {
        Dsn::Targets(all)
    }
}

/// `nats://a:4222,nats://b:4222`, also in JSON's brackets, where each is a whole address and none may be a piece of a password or of a
/// query.
fn listed(value: &str) -> Option<Vec<&str>> {
    let inner = value
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let bare = |one: &'_ str| -> bool {
        let scheme = one.split_once("://");
        scheme.is_some_and(|(scheme, _)| is_scheme(scheme)) && !one.contains(['@', '?', '#'])
    };
    let parts = inner.unwrap_or(value).split(',').map(str::trim);
    let parts: Vec<_> = match inner {
        Some(_) => parts.map(|one| one.trim_matches(['"', '\''])).collect(),
        None => parts.collect(),
    };
    let is_list = inner.is_some() || parts.len() > 1;
    (is_list && parts.iter().all(|one| bare(one))).then_some(parts)
}

fn scan_one(value: &str) -> Dsn {
    let (value, is_jdbc) = match value.strip_prefix("jdbc:") {
        Some(rest) => (rest, true),
        None => (value, false),
    };
    let url = value.split_once("://");
    let Some((scheme, rest)) = url.filter(|(scheme, _)| is_scheme(scheme)) else {
        return keywords(value);
    };
    // What an unknown scheme speaks is a guess, but a password beside it opens something.
    // `driver://user:pass@localhost/dbname` is how alembic shows what to fill in.
    let has_login = || {
        scheme != "driver"
            && rest
                .rsplit_once('@')
                .is_some_and(|(user, _)| has_password(user))
    };
    let Some((service, port)) =
        Service::of_scheme(scheme).or_else(|| has_login().then_some((Service::Other, 0)))
    else {
        return Dsn::Other;
    };
    let is_ado = is_jdbc && service == Service::Sqlserver;
    let parts = authority(rest, is_ado).filter(|_| value.len() <= LONGEST);
    let Some((authority, tail)) = parts else {
        return Dsn::Unreadable;
    };
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (Some(user), hosts),
        None => (None, authority),
    };
    if hosts.is_empty() {
        return Dsn::Other;
    }
    let has_password = user.is_some_and(has_password);
    let data = said(data_of(tail, service, is_ado));
    let targets = hosts.split(',').map(|text| {
        let HostPort { host, port } = host_and_port(text, port)?;
        if host.as_ref().is_some_and(is_cut) {
            return None;
        }
        Some(DsnTarget {
            host,
            port,
            service,
            data,
            has_password,
        })
    });
    targets
        .collect::<Option<_>>()
        .map_or(Dsn::Unreadable, Dsn::Targets)
}

/// Returns true if `user:password` stands there, before any path.
fn has_password(user: &str) -> bool {
    let word = user.split_once(':');
    word.is_some_and(|(user, word)| !word.is_empty() && !user.contains('/'))
}

/// Whether a host may be a piece of a password, in which something ended the text: no machine of a short name is called so.
fn is_cut(host: &Host) -> bool {
    let host = host.as_str();
    !host.contains(['.', ':']) && has_token(host)
}

/// User and hosts, and what is behind; nothing where it is ambiguous.
fn authority(rest: &str, is_ado: bool) -> Option<(&str, &str)> {
    let ends: &[char] = if is_ado {
        &[';', '/', '?', '#']
    } else {
        &['/', '?', '#']
    };
    let (authority, tail) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
    // A password with a slash in it: what stands before that is no host. Nor is it where the scheme of a next one does.
    let doubtful = if is_ado { authority } else { tail };
    let is_next = authority.ends_with(':') && tail.starts_with("//");
    (!is_next && !doubtful.contains('@')).then_some((authority, tail))
}

/// The database that is behind the hosts.
fn data_of(tail: &str, service: Service, is_ado: bool) -> &str {
    match service {
        _ if is_ado => parameter(tail, &["databasename", "database"]),
        Service::Http => "",
        _ => {
            let path = tail.strip_prefix('/').unwrap_or_default();
            path.split(['?', '#', '/']).next().unwrap_or_default()
        }
    }
}

/// A host without a port beside it, or none for a placeholder: a colon there is an IPv6 address.
pub(crate) fn host_alone(text: &str, port: u16) -> Option<HostPort> {
    if is_placeholder(text) || is_sealed(text) {
        return Some(HostPort::new(None, port));
    }
    Some(HostPort::new(Some(Host::parse(text)?), port))
}

/// A host, or none for a placeholder, and its port; nothing where it is neither.
pub(crate) fn host_and_port(text: &str, default: u16) -> Option<HostPort> {
    if is_placeholder(text) || is_sealed(text) {
        return Some(HostPort::new(None, default));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']')?;
            (
                host,
                port.strip_prefix(':').or(port.is_empty().then_some(""))?,
            )
        }
        None => text.rsplit_once(':').unwrap_or((text, "")),
    };
    let port = match port {
        "" => default,
        port => port.parse().ok().filter(|port| *port != 0)?,
    };
    Some(HostPort::new(Some(Host::parse(host)?), port))
}

/// Whether sops or dotenvx has encrypted it, which is said of its whole file.
fn is_sealed(text: &str) -> bool {
    let rest = text.strip_prefix("encrypted:");
    // A host of that name may have a port.
    text.starts_with("ENC[AES256_GCM,") || rest.is_some_and(|rest| rest.parse::<u16>().is_err())
}

/// Whether somebody, or a program, is still to write it.
pub(crate) fn is_placeholder(text: &str) -> bool {
    // `[YOUR-PASSWORD]`; an address of IPv6 has colons there.
    let is_bracket = |inner: &str| {
        inner
            .split(']')
            .next()
            .is_some_and(|one| !one.contains(':'))
    };
    text.contains(['$', '<', '{', '%'])
        || text.split('[').skip(1).any(is_bracket)
        || is_yours(text)
        || stands_for(text)
        || (text.len() > 2 && is_crosses(text))
        // As the documentation of AWS has it.
        || text.ends_with("EXAMPLE")
}

fn is_scheme(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"+.-".contains(&byte);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(plain)
}

/// The value of one of these keys among `;key=value`, where one alone has it.
fn parameter<'t>(text: &'t str, keys: &[&str]) -> &'t str {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let mut found =
        pairs.filter(|(key, _)| keys.contains(&key.trim().to_ascii_lowercase().as_str()));
    match (found.next(), found.next()) {
        (Some((_, value)), None) => value.trim(),
        _ => "",
    }
}

const HOST_KEYS: [&str; 8] = [
    "server",
    "data source",
    "host",
    "hostaddr",
    "address",
    "addr",
    "network address",
    "hostname",
];
const DATA_KEYS: [&str; 3] = ["database", "dbname", "initial catalog"];
const OTHER_KEYS: [&str; 8] = [
    "user id",
    "uid",
    "username",
    "user",
    "password",
    "pwd",
    "port",
    "integrated security",
];

/// `Server=…;Database=…` of .NET, and `host=… dbname=…` of libpq.
fn keywords(text: &str) -> Dsn {
    let pairs = key_values(text);
    let of = |keys: &[&str]| {
        pairs
            .iter()
            .filter(|(key, _)| keys.contains(&key.as_str()))
            .collect::<Vec<_>>()
    };
    let hosts = of(&HOST_KEYS);
    if hosts.is_empty() || (of(&DATA_KEYS).is_empty() && of(&OTHER_KEYS).is_empty()) {
        return Dsn::Other;
    }
    // In quotes there may be anything, another host too.
    let [(key, host)] = hosts[..] else {
        return Dsn::Unreadable;
    };
    if text.contains(['"', '\'']) || text.len() > LONGEST {
        return Dsn::Unreadable;
    }
    let data = of(&DATA_KEYS).first().map_or("", |(_, value)| value);
    let port = of(&["port"])
        .first()
        .and_then(|(_, value)| value.parse::<u16>().ok());
    let (service, default) = match (port, key.as_str()) {
        (Some(3306), _) => (Service::Mysql, 3306),
        (Some(5432), _) | (_, "host" | "hostaddr") => (Service::Postgres, 5432),
        _ => (Service::Sqlserver, 1433),
    };
    let host = host.strip_prefix("tcp:").unwrap_or(host);
    let host = host.split('\\').next().unwrap_or_default();
    if host.is_empty() || host == "." || host.starts_with(['(', '/']) {
        return Dsn::Other;
    }
    let has_password = !of(&["password", "pwd"]).is_empty();
    let found = host_and_port(&host.replacen(',', ":", 1), port.unwrap_or(default));
    found.map_or(Dsn::Unreadable, |HostPort { host, port }| {
        Dsn::Targets(vec![DsnTarget {
            host,
            port,
            service,
            data: said(data),
            has_password,
        }])
    })
}

/// The pairs of such a text, with the keys in small letters.
fn key_values(text: &str) -> Vec<(String, &str)> {
    let is_ado = text.contains(';');
    let pairs = text.split(|c: char| {
        if is_ado {
            c == ';'
        } else {
            c.is_ascii_whitespace()
        }
    });
    pairs
        .filter_map(|pair| pair.split_once('='))
        .map(|(key, value)| (key.trim().to_ascii_lowercase(), value.trim()))
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use guard_rounds::rounds;

    fn host(text: &str) -> String {
        match scan(text) {
            Dsn::Targets(all) => {
                let all = all.iter().map(|one| {
                    one.host.as_ref().map_or("placeholder".to_owned(), |host| {
                        format!("{host}:{}", one.port)
                    })
                });
                all.collect::<Vec<_>>().join(" ")
            }
            Dsn::Unreadable => "unreadable".to_owned(),
            Dsn::Other => "other".to_owned(),
        }
    }

    #[test]
    fn hosts_are_read_and_passwords_are_not() {
        for (text, expected) in [
            ("postgres://u:p@db.example.net/app", "db.example.net:5432"),
            (
                "postgres://u:p@ss@db.example.net/app",
                "db.example.net:5432",
            ),
            ("postgres://u:12/3@db.example.net/app", "unreadable"),
            ("postgres://u:12#3@db.example.net/app", "unreadable"),
            ("postgres://u:12?3@db.example.net/app", "unreadable"),
            ("postgresql://u:p@h1:5433,h2:5434/app", "h1:5433 h2:5434"),
            (
                "postgresql+asyncpg://u:p@db.example.net",
                "db.example.net:5432",
            ),
            ("postgres://u:p@[2001:db8::1]:5433/a", "2001:db8::1:5433"),
            ("postgres://${USER}:${PASS}@${HOST}/app", "placeholder"),
            ("postgres:///app", "other"),
            ("postgres://u:p@/app", "other"),
            ("redis://:p@cache.example.net", "cache.example.net:6379"),
            (
                "mongodb+srv://u:p@c.example.net/a?w=1",
                "c.example.net:27017",
            ),
            (
                "jdbc:postgresql://db.example.net:5433/a?user=u&password=p",
                "db.example.net:5433",
            ),
            (
                "jdbc:sqlserver://db.example.net:1433;databaseName=a;password=p@q/r",
                "db.example.net:1433",
            ),
            (
                "Server=tcp:db.example.net,1434;Database=a;User Id=u;Password=p",
                "db.example.net:1434",
            ),
            (
                "Host=db.example.net;Port=5432;Database=a;Password=p",
                "db.example.net:5432",
            ),
            (
                "Server=a.example.net;Password='x;Server=secret'",
                "unreadable",
            ),
            (
                "host=db.example.net dbname=a password=p",
                "db.example.net:5432",
            ),
            (
                "https://hooks.example.net/T0/B0/secret",
                "hooks.example.net:443",
            ),
            ("https://x:secret", "unreadable"),
            ("https://u:@2ma9mvay885t395l726m", "unreadable"),
            (
                "redis://the-database-of-the-application/0",
                "the-database-of-the-application:6379",
            ),
            ("file:///etc/passwd", "other"),
            (
                "mqtts://u:p@broker.example.net:8883",
                "broker.example.net:8883",
            ),
            ("sftp://u:p@files.example.net", "files.example.net:0"),
            ("mqtt://broker.example.net", "other"),
            ("mqtt://u:1/2@broker.example.net", "unreadable"),
            ("s3://acme-live-site", "other"),
            ("oci://example.net/app:1.2@sha256:0a", "other"),
            ("https://db.example.net//v1", "db.example.net:443"),
            (
                "nats://a.example.net:4222, nats://b.example.net:4223",
                "a.example.net:4222 b.example.net:4223",
            ),
            (
                "[\"https://a.example.net:9200\",\"https://b.example.net\"]",
                "a.example.net:9200 b.example.net:443",
            ),
            // A password may look so.
            ("nats://u:1,nats://p@b.example.net", "unreadable"),
            (
                "nats://a.example.net,b.example.net,nats://c.example.net",
                "unreadable",
            ),
            ("hello", "other"),
        ] {
            assert_eq!(host(text), expected, "{text}");
        }
    }

    proptest! {
        #![proptest_config(rounds(256))]

        #[test]
        fn a_password_is_in_no_host(password in "[!-~]{1,24}") {
            let text = format!("postgres://app:{password}@db.example.net:5432/app");
            match scan(&text) {
                Dsn::Targets(all) => {
                    prop_assert_eq!(all.len(), 1);
                    let host = all[0].host.as_ref().map(Host::as_str);
                    prop_assert_eq!(host, Some("db.example.net"));
                }
                Dsn::Unreadable => {}
                Dsn::Other => prop_assert!(false),
            }
        }

        #[test]
        fn nothing_panics(text in any::<String>(), scheme in "postgres|jdbc:sqlserver|https") {
            let _ = scan(&text);
            let _ = scan(&format!("{scheme}://{text}"));
            let _ = scan(&format!("Server={text};Database=a"));
        }
    }
}
