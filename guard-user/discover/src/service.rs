//! What answers at a destination, and which rule is proposed for it.

use serde::{Serialize, Serializer};

use crate::host::Host;
use crate::score::Label;

/// What answers there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// PostgreSQL, and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    Mysql,
    /// A database of which it is not said what it speaks.
    Database,
    /// Redis and Valkey.
    Redis,
    /// MongoDB.
    Mongodb,
    /// SQL Server.
    Sqlserver,
    /// AMQP, such as RabbitMQ.
    Amqp,
    /// Elasticsearch and OpenSearch.
    Elasticsearch,
    /// InfluxDB.
    Influxdb,
    /// ClickHouse.
    Clickhouse,
    /// NATS.
    Nats,
    /// Storage with Amazon's interface.
    S3,
    /// Something over HTTP.
    Http,
    /// The API of a platform, which owns what runs there.
    Platform,
    /// The API of a Kubernetes cluster.
    Kubernetes,
    /// A shell.
    Ssh,
    /// A Docker engine.
    Docker,
    /// A repository.
    Git,
    /// A server that people have at home, by its name.
    Home(&'static str),
}

/// Servers that people have at home: the variables that name one begin so, and where it listens.
pub(crate) const HOME: [(&str, &str, u16); 8] = [
    ("gitea", "GITEA_", 3000),
    ("gitea", "FORGEJO_", 3000),
    ("immich", "IMMICH_", 2283),
    ("home-assistant", "HASS_", 8123),
    ("proxmox", "PROXMOX_", 8006),
    ("portainer", "PORTAINER_", 9443),
    ("synology", "SYNOLOGY_", 5001),
    ("plex", "PLEX_", 32400),
];

/// Schemes of URLs, what they speak, and the port that they mean.
const SCHEMES: [(&str, Service, u16); 28] = [
    ("postgres", Service::Postgres, 5432),
    ("postgresql", Service::Postgres, 5432),
    ("pgsql", Service::Postgres, 5432),
    ("cockroachdb", Service::Postgres, 26257),
    ("mysql", Service::Mysql, 3306),
    ("mysql2", Service::Mysql, 3306),
    ("mariadb", Service::Mysql, 3306),
    ("redis", Service::Redis, 6379),
    ("rediss", Service::Redis, 6379),
    ("valkey", Service::Redis, 6379),
    ("mongodb", Service::Mongodb, 27017),
    ("mongodb+srv", Service::Mongodb, 27017),
    ("sqlserver", Service::Sqlserver, 1433),
    ("mssql", Service::Sqlserver, 1433),
    ("amqp", Service::Amqp, 5672),
    ("amqps", Service::Amqp, 5671),
    ("elasticsearch", Service::Elasticsearch, 9200),
    ("influxdb", Service::Influxdb, 8086),
    ("clickhouse", Service::Clickhouse, 9000),
    ("nats", Service::Nats, 4222),
    ("s3", Service::S3, 443),
    ("http", Service::Http, 80),
    ("https", Service::Http, 443),
    ("ws", Service::Http, 80),
    ("wss", Service::Http, 443),
    ("ssh", Service::Ssh, 22),
    ("git", Service::Git, 9418),
    ("kubernetes", Service::Kubernetes, 6443),
];

impl Service {
    /// What a URL's scheme says, and the port that it means. `postgresql+asyncpg` is `postgresql`.
    #[must_use]
    pub fn of_scheme(scheme: &str) -> Option<(Self, u16)> {
        let scheme = scheme.to_ascii_lowercase();
        let known = |name: &str| SCHEMES.iter().find(|(known, _, _)| *known == name);
        let found = known(&scheme).or_else(|| known(scheme.split('+').next()?));
        found.map(|(_, service, port)| (*service, *port))
    }

    /// The word that is shown.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Postgres => "postgres",
            Self::Mysql => "mysql",
            Self::Database => "database",
            Self::Redis => "redis",
            Self::Mongodb => "mongodb",
            Self::Sqlserver => "sqlserver",
            Self::Amqp => "amqp",
            Self::Elasticsearch => "elasticsearch",
            Self::Influxdb => "influxdb",
            Self::Clickhouse => "clickhouse",
            Self::Nats => "nats",
            Self::S3 => "s3",
            Self::Http => "http",
            Self::Platform => "platform",
            Self::Kubernetes => "kubernetes",
            Self::Ssh => "ssh",
            Self::Docker => "docker",
            Self::Git => "git",
            Self::Home(name) => name,
        }
    }

    /// Whether whoever reaches it can run commands there.
    pub(crate) const fn runs_commands(self) -> bool {
        matches!(
            self,
            Self::Kubernetes | Self::Ssh | Self::Docker | Self::Platform
        )
    }

    /// Whether it keeps what can be lost.
    pub(crate) const fn holds_data(self) -> bool {
        !self.runs_commands() && !matches!(self, Self::Http | Self::Git)
    }
}

impl Serialize for Service {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Zones of managed databases, clusters and stores: never a person's own machine.
const MANAGED: [&str; 34] = [
    "amazonaws.com",
    "neon.tech",
    "supabase.co",
    "supabase.com",
    "rlwy.net",
    "railway.app",
    "render.com",
    "aivencloud.com",
    "ondigitalocean.com",
    "azure.com",
    "windows.net",
    "azmk8s.io",
    "psdb.cloud",
    "mongodb.net",
    "upstash.io",
    "cockroachlabs.cloud",
    "timescale.com",
    "elastic-cloud.com",
    "es.io",
    "gke.goog",
    "redislabs.com",
    "redis-cloud.com",
    "clickhouse.cloud",
    "cloudamqp.com",
    "confluent.cloud",
    "turso.io",
    "fauna.com",
    "xata.sh",
    "planetscale.com",
    "scw.cloud",
    "ovh.net",
    "vultrdb.com",
    "linodedb.net",
    "instaclustr.com",
];

/// Shared doors: what they lead to is told by who knocks, so a rule for one holds for all.
const SHARED: [&str; 4] = ["pooler.supabase.com", "neon.tech", "psdb.cloud", "rlwy.net"];

/// What an agent works with all day: models, forges, and packages.
const TOOLS: [&str; 32] = [
    "api.openai.com",
    "api.anthropic.com",
    "generativelanguage.googleapis.com",
    "openrouter.ai",
    "api.mistral.ai",
    "api.groq.com",
    "api.cohere.ai",
    "api.cohere.com",
    "api.deepseek.com",
    "api.x.ai",
    "api.together.xyz",
    "huggingface.co",
    "github.com",
    "api.github.com",
    "raw.githubusercontent.com",
    "gitlab.com",
    "bitbucket.org",
    "codeberg.org",
    "registry.npmjs.org",
    "registry.yarnpkg.com",
    "pypi.org",
    "test.pypi.org",
    "files.pythonhosted.org",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "proxy.golang.org",
    "rubygems.org",
    "repo.maven.apache.org",
    "repo1.maven.org",
    "registry-1.docker.io",
    "ghcr.io",
];

/// Whether a provider runs it.
pub(crate) fn is_managed(host: &Host) -> bool {
    MANAGED.iter().any(|suffix| host.is_below(suffix))
}

/// Whether others, of another stage perhaps, have the same address.
pub(crate) fn is_shared(host: &Host) -> bool {
    SHARED.iter().any(|suffix| host.is_below(suffix))
}

/// Whether it is what an agent works with all day.
pub(crate) fn is_tool(host: &Host) -> bool {
    TOOLS.contains(&host.as_str())
}

/// The rule that is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// What it does: `read-only` or `confirm`.
    pub action: &'static str,
    /// The protocols that are spoken there.
    pub profile: &'static [&'static str],
    /// How long a hole lasts at most.
    pub max_hole: Option<&'static str>,
}

/// What is proposed for a place with that label, if anything is.
#[must_use]
pub fn propose(label: Label, service: Service, host: &Host) -> Option<Proposal> {
    let confirm = |max_hole| Proposal {
        action: "confirm",
        profile: &[],
        max_hole,
    };
    let read_only = |profile| Proposal {
        action: "read-only",
        profile,
        max_hole: None,
    };
    match (label, service) {
        (Label::Maybe, _) => Some(confirm(None)),
        (Label::Production, service) => Some(match service {
            Service::Postgres => read_only(&["postgres"]),
            Service::Kubernetes => read_only(&["kubernetes"]),
            Service::Elasticsearch => read_only(&["elasticsearch"]),
            Service::Influxdb => read_only(&["influxdb"]),
            Service::S3 => read_only(&["aws"]),
            Service::Platform if host.as_str() == RAILWAY => read_only(&["graphql"]),
            Service::Git => read_only(&["git"]),
            Service::Home("immich") => read_only(&["immich"]),
            Service::Home("home-assistant") => read_only(&["home-assistant"]),
            Service::Home("gitea") => read_only(&["git", "gitea"]),
            Service::Http | Service::Platform | Service::Home(_) => read_only(&[]),
            Service::Mysql
            | Service::Redis
            | Service::Database
            | Service::Mongodb
            | Service::Sqlserver
            | Service::Amqp
            | Service::Clickhouse
            | Service::Nats
            | Service::Ssh
            | Service::Docker => confirm(Some("15m")),
        }),
        _ => None,
    }
}

const RAILWAY: &str = "backboard.railway.com";
