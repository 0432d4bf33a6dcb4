//! JSON: contexts of Docker, settings of .NET, subscriptions of Azure, and states of Terraform.

use jsonc_parser::ast::{Object, Value};
use jsonc_parser::{ParseOptions, parse_to_ast};

use crate::dsn::{HostPort, host_and_port};
use crate::host::Host;
use crate::service::Service;
use crate::tokens::said;

use super::Sink;
use super::settings::{ServicePort, Variable, by_driver, variables};

/// Objects in each other.
const DEPTH: usize = 64;

/// Where lines end, so that a place is found without counting each time.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn of_text(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte, from 1.
    pub(super) fn of(&self, at: usize) -> usize {
        self.0.partition_point(|end| *end < at) + 1
    }
}

pub(super) fn object<'v, 't>(value: Option<&'v Value<'t>>) -> Option<&'v Object<'t>> {
    match value {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    }
}

pub(super) fn get<'v, 't>(object: &'v Object<'t>, key: &str) -> Option<&'v Value<'t>> {
    let found = object
        .properties
        .iter()
        .find(|one| one.name.as_str() == key);
    found.map(|one| &one.value)
}

pub(super) fn string<'v>(value: Option<&'v Value<'_>>) -> &'v str {
    match value {
        Some(Value::StringLit(text)) => &text.value,
        _ => "",
    }
}

/// Reads it, or says so: the parser's own words have the file's.
pub(super) fn with_root_of(sink: &mut Sink, text: &str, read: impl FnOnce(&mut Sink, &Value<'_>)) {
    let parsed = parse_to_ast(text, &Default::default(), &ParseOptions::default());
    match parsed.ok().and_then(|parsed| parsed.value) {
        Some(root) => read(sink, &root),
        None => sink.pass_over(None, "unreadable JSON"),
    }
}

/// The same of an object.
pub(super) fn with_root(sink: &mut Sink, text: &str, read: impl FnOnce(&mut Sink, &Object<'_>)) {
    with_root_of(sink, text, |sink, root| match object(Some(root)) {
        Some(root) => read(sink, root),
        None => sink.pass_over(None, "unreadable JSON"),
    });
}

/// Where an engine listens.
pub(super) fn docker_context(sink: &mut Sink, text: &str) {
    with_root(sink, text, |sink, root| {
        let name = string(get(root, "Name"));
        let engine = object(get(root, "Endpoints")).and_then(|all| object(get(all, "docker")));
        let host = engine.map_or("", |engine| string(get(engine, "Host")));
        let (scheme, rest) = host.split_once("://").unwrap_or_default();
        let port = match scheme {
            "ssh" => 22,
            "tcp" => 2375,
            _ => return,
        };
        let at = rest.rsplit('@').next().and_then(|at| at.split('/').next());
        let at = at.and_then(|at| host_and_port(at, port));
        sink.named(1, name, Service::Docker, at, said(""));
    });
}

/// Docker's own settings: the context that is used, and where somebody is logged in to push.
pub(super) fn docker(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        sink.choose(string(get(root, "currentContext")));
        let logins = object(get(root, "auths"));
        for login in logins.map_or(&[][..], |all| &all.properties) {
            let name = login.name.as_str();
            let bare = name.split_once("://").map_or(name, |(_, rest)| rest);
            let at = host_and_port(bare.split('/').next().unwrap_or_default(), 443);
            let line = source.of(login.range.start);
            sink.named(line, "auths", Service::Http, at, said(""));
        }
    });
}

/// `appsettings.json`, and others that hold settings by names in names.
pub(super) fn settings(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        let mut all = Vec::new();
        flatten(sink, &source, root, "", DEPTH, &mut all);
        let all: Vec<_> = all
            .iter()
            .map(|(at, key, value)| Variable {
                line: Some(source.of(*at)),
                key,
                value,
                dormant: false,
            })
            .collect();
        variables(sink, &all, &[]);
    });
}

fn flatten<'v>(
    sink: &mut Sink,
    source: &Lines,
    object: &'v Object<'_>,
    path: &str,
    depth: usize,
    all: &mut Vec<(usize, String, &'v str)>,
) {
    let Some(depth) = depth.checked_sub(1) else {
        return sink.pass_over(Some(source.of(object.range.start)), "too deep");
    };
    for property in &object.properties {
        let name = property.name.as_str();
        let line = || source.of(property.range.start);
        let Some(path) = sink.path_below(path, name, line) else {
            continue;
        };
        match &property.value {
            Value::StringLit(text) => all.push((property.range.start, path, &text.value)),
            Value::NumberLit(number) => all.push((property.range.start, path, number.value)),
            Value::Object(inner) => flatten(sink, source, inner, &path, depth, all),
            _ => {}
        }
    }
}

/// Subscriptions of Azure that somebody is logged in to.
pub(super) fn azure(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        for one in array(get(root, "subscriptions")) {
            let Some(subscription) = object(Some(one)) else {
                continue;
            };
            let name = string(get(subscription, "name"));
            let is_used =
                matches!(get(subscription, "isDefault"), Some(Value::BooleanLit(lit)) if lit.value);
            let at = Some(HostPort::new(Host::parse("management.azure.com"), 443));
            let line = source.of(subscription.range.start);
            let clue = sink.named(line, name, Service::Platform, at, said(name));
            if let Some(clue) = clue {
                clue.has_sibling = !is_used;
            }
        }
    });
}

fn array<'v, 't>(value: Option<&'v Value<'t>>) -> &'v [Value<'t>] {
    match value {
        Some(Value::Array(array)) => &array.elements,
        _ => &[],
    }
}

/// A kind of resource, what it is, its usual port, and which of its attributes say where.
type ResourceKind = (&'static str, Service, u16, &'static [&'static str]);

const RESOURCES: [ResourceKind; 22] = [
    ("aws_db_instance", Service::Database, 0, &["address"]),
    ("aws_rds_cluster", Service::Database, 0, &["endpoint"]),
    (
        "aws_rds_cluster_instance",
        Service::Database,
        0,
        &["endpoint"],
    ),
    (
        "aws_elasticache_replication_group",
        Service::Redis,
        6379,
        &["primary_endpoint_address", "configuration_endpoint_address"],
    ),
    (
        "aws_elasticache_cluster",
        Service::Redis,
        6379,
        &["configuration_endpoint", "cluster_address"],
    ),
    ("aws_docdb_cluster", Service::Mongodb, 27017, &["endpoint"]),
    (
        "aws_opensearch_domain",
        Service::Elasticsearch,
        443,
        &["endpoint"],
    ),
    ("aws_eks_cluster", Service::Kubernetes, 443, &["endpoint"]),
    (
        "aws_instance",
        Service::Ssh,
        22,
        &["public_ip", "public_dns", "private_ip"],
    ),
    (
        "google_sql_database_instance",
        Service::Database,
        0,
        &["public_ip_address", "private_ip_address"],
    ),
    (
        "google_container_cluster",
        Service::Kubernetes,
        443,
        &["endpoint"],
    ),
    ("google_redis_instance", Service::Redis, 6379, &["host"]),
    (
        "azurerm_postgresql_flexible_server",
        Service::Postgres,
        5432,
        &["fqdn"],
    ),
    (
        "azurerm_postgresql_server",
        Service::Postgres,
        5432,
        &["fqdn"],
    ),
    (
        "azurerm_mysql_flexible_server",
        Service::Mysql,
        3306,
        &["fqdn"],
    ),
    (
        "azurerm_mssql_server",
        Service::Sqlserver,
        1433,
        &["fully_qualified_domain_name"],
    ),
    (
        "azurerm_kubernetes_cluster",
        Service::Kubernetes,
        443,
        &["fqdn"],
    ),
    (
        "digitalocean_database_cluster",
        Service::Database,
        0,
        &["host"],
    ),
    (
        "digitalocean_kubernetes_cluster",
        Service::Kubernetes,
        443,
        &["endpoint"],
    ),
    ("digitalocean_droplet", Service::Ssh, 22, &["ipv4_address"]),
    ("hcloud_server", Service::Ssh, 22, &["ipv4_address"]),
    ("vultr_instance", Service::Ssh, 22, &["main_ip"]),
];

/// A state of Terraform: what there is, without a credential to it.
pub(super) fn state(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        if let Some(backend) = object(get(root, "backend")) {
            state_elsewhere(sink, &source, backend);
        }
        for resource in array(get(root, "resources")) {
            if sink.is_full() {
                return;
            }
            let Some(resource) = object(Some(resource)) else {
                continue;
            };
            let kind = string(get(resource, "type"));
            let Some(known) = RESOURCES.iter().find(|(name, ..)| *name == kind) else {
                continue;
            };
            let key = format!("{kind}.{}", string(get(resource, "name")));
            for instance in array(get(resource, "instances")) {
                let attributes =
                    object(Some(instance)).and_then(|one| object(get(one, "attributes")));
                if let Some(attributes) = attributes {
                    self::resource(sink, &source, &key, known, attributes);
                }
            }
        }
    });
}

fn resource(
    sink: &mut Sink,
    source: &Lines,
    key: &str,
    kind: &ResourceKind,
    attributes: &Object<'_>,
) {
    let (_, service, port, hosts) = *kind;
    let of = |key: &str| string(get(attributes, key));
    let host = hosts
        .iter()
        .map(|host| of(host))
        .find(|host| !host.is_empty());
    let Some(host) = host else { return };
    let told = match get(attributes, "port") {
        Some(Value::NumberLit(number)) => number.value.parse().ok(),
        _ => None,
    };
    let (service, port) = match service {
        Service::Database => {
            let ServicePort { service, usual } = by_driver(
                &format!("{} {}", of("engine"), of("database_version")),
                told,
            );
            (service, told.unwrap_or(usual))
        }
        service => (service, told.unwrap_or(port)),
    };
    let host = host.strip_prefix("https://").unwrap_or(host);
    let at = host_and_port(host, port);
    let tags = object(get(attributes, "tags"));
    let tags = tags.map_or(&[][..], |tags| &tags.properties);
    let tags: Vec<_> = tags.iter().map(|tag| string(Some(&tag.value))).collect();
    let data = said(&format!(
        "{} {} {}",
        of("db_name"),
        of("identifier"),
        tags.join(" ")
    ));
    let line = source.of(attributes.range.start);
    if let Some(clue) = sink.named(line, key, service, at, data) {
        clue.credential = None;
    }
}

/// Where the state itself is, as Terraform notes it.
fn state_elsewhere(sink: &mut Sink, source: &Lines, backend: &Object<'_>) {
    let config = object(get(backend, "config"));
    let of = |key: &str| config.map_or("", |config| string(get(config, key)));
    let host = match (string(get(backend, "type")), of("endpoint"), of("region")) {
        ("s3", "", region) if !region.is_empty() => format!("s3.{region}.amazonaws.com"),
        ("s3", endpoint, _) if !endpoint.is_empty() => {
            endpoint.trim_start_matches("https://").to_owned()
        }
        _ => return,
    };
    let data = said(&format!("{} {}", of("bucket"), of("key")));
    let line = source.of(backend.range.start);
    sink.named(
        line,
        "backend.s3",
        Service::S3,
        host_and_port(&host, 443),
        data,
    );
}
