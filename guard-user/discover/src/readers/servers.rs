//! Settings that stand together and are a server's, whatever they are written in: `host`, `port`, `database`, and what it speaks.

use crate::dsn::{Dsn, DsnTarget, HostPort, host_alone, host_and_port, scan};
use crate::score::Clue;
use crate::service::Service;
use crate::tokens::{StageWords, said};

use super::settings::{
    Around, Lead, ServicePort, Variable, by_driver, is_database, kind, variables_in,
};
use super::{KEY, Sink};

/// One setting.
#[derive(Debug)]
pub(super) struct ServerSetting {
    pub(super) line: usize,
    pub(super) key: String,
    /// None of what is no literal.
    pub(super) value: Option<String>,
}

/// Settings that stand together.
#[derive(Debug, Default)]
pub(super) struct ServerBlock {
    /// The names that it stands below, with dots between.
    pub(super) path: String,
    pub(super) pairs: Vec<ServerSetting>,
    /// The protocol, where only the settings around it name one.
    pub(super) driver: String,
}

const HOSTS: [&str; 4] = ["host", "hostname", "server", "host_name"];
const DRIVERS: [&str; 8] = [
    "engine", "client", "dialect", "adapter", "driver", "provider", "dbtype", "type",
];
const DATABASES: [&str; 6] = [
    "database",
    "dbname",
    "db",
    "databasename",
    "database_name",
    "maintenancedb",
];
const PASSWORDS: [&str; 5] = ["password", "passwd", "pass", "pwd", "sslkey"];

impl ServerBlock {
    pub(super) fn of(path: &str) -> Self {
        Self {
            path: path.to_owned(),
            ..Self::default()
        }
    }

    pub(super) fn push(&mut self, line: usize, key: &str, value: Option<&str>) {
        self.pairs.push(ServerSetting {
            line,
            key: key.to_owned(),
            value: value.map(str::to_owned),
        });
    }

    fn find(&self, keys: &[&str]) -> Option<&ServerSetting> {
        let mut pairs = self.pairs.iter();
        pairs.find(|pair| keys.contains(&pair.key.to_ascii_lowercase().as_str()))
    }

    fn value(&self, keys: &[&str]) -> &str {
        let found = self.find(keys).and_then(|pair| pair.value.as_deref());
        found.unwrap_or_default()
    }

    /// The protocol that the settings name.
    pub(super) fn driver(&self) -> String {
        let pairs = self.pairs.iter();
        let is_driver =
            |pair: &&ServerSetting| DRIVERS.contains(&pair.key.to_ascii_lowercase().as_str());
        let values = pairs
            .filter(is_driver)
            .filter_map(|pair| pair.value.as_deref());
        let short = values.filter(|value| value.len() <= 64).take(DRIVERS.len());
        let names = short.map(|value| match value {
            "pg" | "psql" | "pdo_pgsql" => "postgres",
            "tedious" => "mssql",
            value => value,
        });
        names.collect::<Vec<_>>().join(" ")
    }

    /// Whether a password is beside it, as far as it can be known: what is no literal is one, too.
    fn credential(&self) -> Option<&'static str> {
        let found = self.find(&PASSWORDS)?;
        (found.value.as_deref() != Some("")).then_some("password")
    }

    fn key(&self, key: &str) -> String {
        let whole = match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (false, true) => self.path.clone(),
            (false, false) => format!("{}.{key}", self.path),
        };
        if whole.len() > 64 {
            key.to_owned()
        } else {
            whole
        }
    }
}

/// `a.b`, as long as names go.
pub(super) fn below(path: &str, key: &str) -> String {
    match (path.is_empty(), path.len() + key.len() > KEY) {
        (true, _) => key.to_owned(),
        (false, true) => path.to_owned(),
        (false, false) => format!("{path}.{key}"),
    }
}

/// What the settings lead to. What is fetched over HTTP is no server that they are for.
pub(super) fn block(sink: &mut Sink, block: &ServerBlock) {
    let credential = block.credential();
    let names = block.find(&["name"]).and_then(|pair| pair.value.as_deref());
    // What DBeaver says of a connection's type is said by a person.
    let about = said(block.value(&DATABASES))
        .and(said(names.unwrap_or_default()))
        .and(said(&block.driver()));
    let known = urls(sink, block, about);
    if sink.is_full() {
        return;
    }
    let host = block.find(&HOSTS);
    let server = host.and_then(|pair| server(block, pair.value.as_deref()?));
    if let (Some(pair), Some(BlockServer { service, at })) = (host, server) {
        match at {
            // Where an address beside it says the same.
            Some(at) if known.contains(&at) => {}
            Some(at) => {
                let to = Lead {
                    at,
                    service,
                    data: about,
                    credential,
                };
                lead(sink, block, pair, to);
            }
            None => sink.pass_over(Some(pair.line), "an unreadable host"),
        }
    }
    named(sink, block);
}

/// What connection strings lead to, each of which is a clue.
fn urls(sink: &mut Sink, block: &ServerBlock, about: StageWords) -> Vec<HostPort> {
    let credential = block.credential();
    let mut known = Vec::new();
    for pair in &block.pairs {
        if sink.is_full() {
            return known;
        }
        let Some(value) = pair.value.as_deref() else {
            continue;
        };
        for target in url(sink, pair, value) {
            let at = HostPort::new(target.host, target.port);
            known.push(at.clone());
            let own = target.has_password.then_some("password");
            if target.service == Service::Smtp && own.or(credential).is_none() {
                continue;
            }
            let to = Lead {
                at,
                service: target.service,
                data: target.data.and(about),
                credential: own.or(credential),
            };
            lead(sink, block, pair, to);
        }
    }
    known
}

/// What says by its own name what it is the host of, and platforms' tokens.
fn named(sink: &mut Sink, block: &ServerBlock) {
    let is_name = |pair: &&ServerSetting| !HOSTS.contains(&pair.key.to_ascii_lowercase().as_str());
    let pairs = block.pairs.iter().filter(is_name);
    let all: Vec<_> = pairs
        .filter_map(|pair| {
            let value = pair.value.as_deref()?;
            matches!(scan(value), Dsn::Other).then_some(Variable {
                line: Some(pair.line),
                key: &pair.key,
                value,
                dormant: false,
            })
        })
        .collect();
    let around = Around {
        data: said(&block.path),
        ..Around::default()
    };
    variables_in(sink, &all, &around);
}

/// What a block's host is the host of.
struct BlockServer {
    service: Service,
    /// None where the host cannot be read.
    at: Option<HostPort>,
}

/// The server that a host is of, where it is that of a database.
fn server(block: &ServerBlock, host: &str) -> Option<BlockServer> {
    // A socket's directory, or nothing.
    if host.is_empty() || host.contains('/') {
        return None;
    }
    let host = host.split('\\').next().unwrap_or_default();
    let port: Option<u16> = block.value(&["port"]).parse().ok();
    // What is said around it is said of all that is there, and of most for nothing.
    let (driver, is_around) = match block.driver() {
        driver if driver.is_empty() => (block.driver.clone(), !block.driver.is_empty()),
        driver => (driver, false),
    };
    let told = by_driver(&driver, port);
    let ServicePort { service, usual } = match told.service {
        Service::Database => kind(&block.path.to_ascii_lowercase()).unwrap_or(told),
        _ => told,
    };
    let has_password = block.find(&PASSWORDS).is_some();
    let is_sure = !is_around && service != Service::Smtp;
    let is_data = (service != Service::Database && (is_sure || has_password))
        || block.find(&DATABASES).is_some()
        || block.path.split('.').any(is_database);
    if !is_data {
        return None;
    }
    let port = port.unwrap_or(usual);
    let at = host_alone(host, port).or_else(|| host_and_port(host, port));
    Some(BlockServer { service, at })
}

fn lead(sink: &mut Sink, block: &ServerBlock, pair: &ServerSetting, to: Lead) {
    let key = block.key(&pair.key);
    let seen = sink.seen(Some(pair.line), &key);
    // What may not be shown says what it says all the same.
    let data = match seen.key.as_str() {
        "-" => to.data.and(said(&key)),
        _ => to.data,
    };
    sink.push(Clue {
        host: to.at.host,
        port: to.at.port,
        service: to.service,
        seen,
        data,
        credential: to.credential,
        has_sibling: false,
        is_own: false,
    });
}

/// Where a text leads, if it is a connection string.
fn url(sink: &mut Sink, pair: &ServerSetting, value: &str) -> Vec<DsnTarget> {
    let to = |service| !matches!(service, Service::Http | Service::Ssh | Service::Git);
    match scan(value) {
        Dsn::Targets(targets) => {
            let all = targets.into_iter();
            all.filter(|target| to(target.service)).collect()
        }
        // A percent sign is in many a password.
        Dsn::Unreadable if is_of_data(value) && !value.contains(['$', '<', '{']) => {
            sink.pass_over(Some(pair.line), "an unreadable connection string");
            Vec::new()
        }
        Dsn::Unreadable | Dsn::Other => Vec::new(),
    }
}

/// Whether it begins as what leads to a server that holds data.
fn is_of_data(value: &str) -> bool {
    let value = value.trim().trim_start_matches("jdbc:");
    let scheme = value.split_once("://").map(|(scheme, _)| scheme);
    let service = scheme.and_then(Service::of_scheme);
    service.is_some_and(|(service, _)| service.holds_data())
}
