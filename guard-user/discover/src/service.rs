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
    /// All that is in a network.
    Network,
    /// Where a client of a virtual private network connects to: who has its key is in that network.
    Vpn(Transport),
}

/// What carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Transport {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
}

impl Transport {
    /// What OpenVPN calls so.
    pub(crate) fn of(name: &str) -> Self {
        match name.starts_with("tcp") {
            true => Self::Tcp,
            false => Self::Udp,
        }
    }
}

/// Servers that people have at home: the variables that name one begin so.
const HOME_PREFIXES: [(&str, &str); 16] = [
    ("FORGEJO_", "gitea"),
    ("GITEA_", "gitea"),
    ("GRAFANA_", "grafana"),
    ("HASS_", "home-assistant"),
    ("HOMEASSISTANT_", "home-assistant"),
    ("HOME_ASSISTANT_", "home-assistant"),
    ("IMMICH_", "immich"),
    ("NEXTCLOUD_", "nextcloud"),
    ("PAPERLESS_", "paperless"),
    ("PLEX_", "plex"),
    ("PM_API_", "proxmox"),
    ("PORTAINER_", "portainer"),
    ("PROXMOX_", "proxmox"),
    ("PVE_", "proxmox"),
    ("SYNOLOGY_", "synology"),
    ("TF_VAR_proxmox_", "proxmox"),
];

/// The ports where they listen, but for those where much else does (3000, 8000, 9000).
const HOME_PORTS: [(u16, &str); 6] = [
    (2283, "immich"),
    (5001, "synology"),
    (8006, "proxmox"),
    (8123, "home-assistant"),
    (9443, "portainer"),
    (32400, "plex"),
];

/// A server that people have at home, by the variable that names it, else by its port.
pub(crate) fn home(key: &str, port: u16) -> Option<Service> {
    let by_name = HOME_PREFIXES
        .iter()
        .find(|(prefix, _)| key.starts_with(prefix))
        .map(|(_, name)| *name);
    let by_port = HOME_PORTS.iter().find(|(own, _)| *own == port);
    let name = by_name.or(by_port.map(|(_, name)| *name))?;
    Some(Service::Home(name))
}

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
            Self::Network => "network",
            Self::Vpn(_) => "vpn",
        }
    }

    /// The ports of one, as a policy writes them; none where a rule is for all.
    #[must_use]
    pub fn ports(self, port: u16) -> Option<String> {
        let transport = match self {
            Self::Network => return None,
            Self::Vpn(Transport::Udp) => "udp",
            _ => "tcp",
        };
        Some(match port {
            0 => transport.to_owned(),
            port => format!("{transport}/{port}"),
        })
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
        !self.runs_commands()
            && !matches!(self, Self::Http | Self::Git | Self::Network | Self::Vpn(_))
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
const SHARED: [&str; 5] = [
    "googleapis.com",
    "neon.tech",
    "pooler.supabase.com",
    "psdb.cloud",
    "rlwy.net",
];

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
            Service::Platform => read_only(platform(host)),
            Service::Git => read_only(&["git"]),
            Service::Home("immich") => read_only(&["immich"]),
            Service::Home("home-assistant") => read_only(&["home-assistant"]),
            Service::Home("gitea") => read_only(&["git", "gitea"]),
            Service::Home("grafana") => read_only(&["grafana"]),
            Service::Home("nextcloud") => read_only(&["nextcloud", "webdav"]),
            Service::Home("paperless") => read_only(&["paperless"]),
            Service::Home("portainer") => read_only(&["portainer"]),
            Service::Home("proxmox") => read_only(&["proxmox"]),
            Service::Http | Service::Home(_) => read_only(&[]),
            Service::Mysql
            | Service::Redis
            | Service::Database
            | Service::Mongodb
            | Service::Sqlserver
            | Service::Amqp
            | Service::Clickhouse
            | Service::Nats
            | Service::Ssh
            | Service::Docker
            | Service::Network
            | Service::Vpn(_) => confirm(Some("15m")),
        }),
        _ => None,
    }
}

/// Platforms' APIs, and the profiles that know what reads there though its method does not say so. At the others the method says it.
const PLATFORMS: [(&str, &[&str]); 12] = [
    (AWS_ANYWHERE, &["aws"]),
    ("api.cloudflare.com", &["cloudflare", "graphql"]),
    ("api.digitalocean.com", &["digitalocean"]),
    ("api.heroku.com", &["heroku"]),
    ("api.machines.dev", &["graphql"]),
    ("api.netlify.com", &["netlify"]),
    ("api.stripe.com", &["stripe"]),
    ("api.supabase.com", &["supabase"]),
    ("api.vercel.com", &["vercel"]),
    ("backboard.railway.com", &["graphql"]),
    ("cloudresourcemanager.googleapis.com", &["google"]),
    ("firebase.googleapis.com", &["google"]),
];

/// The profiles of a platform's API.
fn platform(host: &Host) -> &'static [&'static str] {
    if region(host).is_some() {
        return &["aws"];
    }
    let known = PLATFORMS.iter().find(|(name, _)| *name == host.as_str());
    known.map_or(&[], |(_, profiles)| profiles)
}

/// A login at Google opens the API of each service that its account uses: these, at `NAME.googleapis.com`.
const GOOGLE: [&str; 17] = [
    "appengine",
    "artifactregistry",
    "bigquery",
    "bigtableadmin",
    "cloudfunctions",
    "compute",
    "container",
    "dns",
    "firestore",
    "iam",
    "pubsub",
    "redis",
    "run",
    "secretmanager",
    "spanner",
    "sqladmin",
    "storage",
];

/// One of the apps of Firebase opens these.
const FIREBASE: [&str; 4] = ["cloudfunctions", "firebasehosting", "firestore", "storage"];

/// What stands for AWS where no region is said: its services have names in each.
const AWS_ANYWHERE: &str = "sts.amazonaws.com";

/// The API that stands for AWS in any region.
pub(crate) fn aws_anywhere() -> Option<Host> {
    Host::parse(AWS_ANYWHERE)
}

/// Whether it stands for AWS, in one region or in any.
pub(crate) fn is_aws(host: &Host) -> bool {
    is_aws_anywhere(host) || region(host).is_some()
}

/// Whether it stands for AWS in any region.
pub(crate) fn is_aws_anywhere(host: &Host) -> bool {
    host.as_str() == AWS_ANYWHERE
}

/// A key of AWS opens the API of each service of a region: these, at `NAME.REGION.amazonaws.com`, and what has no region.
const AWS: [&str; 13] = [
    "autoscaling",
    "cloudformation",
    "dynamodb",
    "ecs",
    "eks",
    "elasticache",
    "kms",
    "lambda",
    "rds",
    "s3",
    "secretsmanager",
    "sqs",
    "ssm",
];
const AWS_EVERYWHERE: [&str; 4] = ["cloudfront", "iam", "organizations", "route53"];

/// The API that stands for all of AWS in a region.
pub(crate) fn aws(region: &str) -> Option<Host> {
    let mut words = region.split('-');
    let is_word = |word: &str| !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase());
    let begins = words
        .next()
        .is_some_and(|first| first.len() == 2 && is_word(first));
    let number = words.next_back()?;
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    let is_region = begins && is_number && words.clone().count() > 0 && words.all(is_word);
    let host = is_region.then(|| format!("ec2.{region}.amazonaws.com"))?;
    Host::parse(&host)
}

/// The region of the API that stands for AWS.
fn region(host: &Host) -> Option<&str> {
    let rest = host.as_str().strip_prefix("ec2.")?;
    rest.strip_suffix(".amazonaws.com")
}

/// Whether it is the API that stands for a cloud, and not one host of it.
pub(crate) fn is_cloud(host: &Host) -> bool {
    host.as_str() == "management.azure.com" || !others(host).is_empty()
}

/// Names of the other APIs that the credential for this one opens as well.
pub(crate) fn others(host: &Host) -> Vec<String> {
    let below = |names: &[&str], zone: &str| -> Vec<String> {
        names.iter().map(|name| format!("{name}.{zone}")).collect()
    };
    match (host.as_str(), region(host)) {
        (_, Some(region)) => {
            let mut all = below(&AWS, &format!("{region}.amazonaws.com"));
            all.push(format!("*.s3.{region}.amazonaws.com"));
            all.extend(below(&AWS_EVERYWHERE, "amazonaws.com"));
            all
        }
        // One name of a region among them: a rule for the first alone would leave all others open.
        (AWS_ANYWHERE, _) => below(&["*", "ec2.us-east-1"], "amazonaws.com"),
        ("cloudresourcemanager.googleapis.com", _) => below(&GOOGLE, "googleapis.com"),
        ("firebase.googleapis.com", _) => below(&FIREBASE, "googleapis.com"),
        ("api.machines.dev", _) => vec!["api.fly.io".to_owned()],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_tells_more_than_a_port_that_many_share() {
        for (key, port, expected) in [
            ("GRAFANA_URL", 3000, Some("grafana")),
            ("FORGEJO_URL", 3000, Some("gitea")),
            ("API_URL", 3000, None),
            ("PAPERLESS_URL", 8000, Some("paperless")),
            ("API_URL", 8000, None),
            ("NEXTCLOUD_URL", 443, Some("nextcloud")),
            ("PORTAINER_URL", 9000, Some("portainer")),
            ("API_URL", 9443, Some("portainer")),
            ("PM_API_URL", 443, Some("proxmox")),
            ("API_URL", 8006, Some("proxmox")),
            ("PAPERLESS_URL", 8006, Some("paperless")),
            ("IMMICH_URL", 443, Some("immich")),
        ] {
            let expected = expected.map(Service::Home);
            assert_eq!(home(key, port), expected, "{key} {port}");
        }
    }

    #[test]
    fn a_key_of_aws_stands_for_the_services_of_its_region() {
        let host = aws("eu-west-1").unwrap();
        let all = others(&host);
        for name in [
            "rds.eu-west-1.amazonaws.com",
            "*.s3.eu-west-1.amazonaws.com",
            "iam.amazonaws.com",
        ] {
            assert!(all.contains(&name.to_owned()), "{name}: {all:?}");
        }
        assert!(aws("us-gov-west-1").is_some() && aws("ap-southeast-12").is_some());
        for not in [
            "",
            "eu",
            "eu-1",
            "eu-west",
            "eu-west-1.x",
            "EU-west-1",
            "eu--1",
            "eu-west-1a",
            "x-west-1",
            "eu-west-1/a",
            "hunter2",
        ] {
            assert_eq!(aws(not), None, "{not}");
        }
        assert!(others(&Host::parse("s3.eu-west-1.amazonaws.com").unwrap()).is_empty());
    }

    /// A profile that is proposed is one that a policy may have.
    #[test]
    fn each_server_at_home_has_its_profile() {
        let host = Host::parse("nas.home.arpa").unwrap();
        for (_, name) in HOME_PREFIXES {
            let proposed = propose(Label::Production, Service::Home(name), &host).unwrap();
            assert_eq!(proposed.action, "read-only", "{name}");
            let has_list = !["plex", "synology"].contains(&name);
            assert_eq!(proposed.profile.contains(&name), has_list, "{name}");
        }
    }
}
