//! What answers at a destination, and which rule is proposed for it.

use serde::{Serialize, Serializer};

use crate::host::Host;
use crate::label::Label;

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
    /// Kafka.
    Kafka,
    /// What sends mail.
    Smtp,
    /// Storage with Amazon's interface.
    S3,
    /// Something over HTTP.
    Http,
    /// A forward proxy: it leads anywhere.
    Proxy,
    /// Something of which nothing is known but that a credential is for it.
    Other,
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
        if name.starts_with("tcp") {
            Self::Tcp
        } else {
            Self::Udp
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
const SCHEMES: [(&str, Service, u16); 30] = [
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
    ("kafka", Service::Kafka, 9092),
    ("smtp", Service::Smtp, 587),
    ("smtps", Service::Smtp, 465),
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
            Self::Kafka => "kafka",
            Self::Smtp => "smtp",
            Self::S3 => "s3",
            Self::Http => "http",
            Self::Proxy => "proxy",
            Self::Other => "other",
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
            && !matches!(
                self,
                Self::Http
                    | Self::Proxy
                    | Self::Other
                    | Self::Git
                    | Self::Network
                    | Self::Smtp
                    | Self::Vpn(_)
            )
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

/// Shared doors: what they lead to depends on who knocks, so a rule for one holds for all.
const SHARED: [&str; 6] = [
    AWS,
    "googleapis.com",
    "neon.tech",
    "pooler.supabase.com",
    "psdb.cloud",
    "rlwy.net",
];

/// What an agent works with all day: models, forges, and packages.
const TOOLS: [&str; 36] = [
    "index.docker.io",
    "aiplatform.googleapis.com",
    "api.githubcopilot.com",
    "api.openai.com",
    "api.anthropic.com",
    "cloudcode-pa.googleapis.com",
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

/// Whether a key for it is one that each push to a forge needs.
pub(crate) fn is_forge(host: &Host) -> bool {
    let forges = [
        "api.github.com",
        "bitbucket.org",
        "codeberg.org",
        "github.com",
        "gitlab.com",
    ];
    forges.contains(&host.as_str())
}

/// Whether it is what an agent works with all day.
pub(crate) fn is_tool(host: &Host) -> bool {
    TOOLS.contains(&host.as_str()) || is_of_models(host)
}

/// Whether a cloud's models answer there: each of its regions has such a name.
fn is_of_models(host: &Host) -> bool {
    let name = host.as_str();
    let is_google = name.ends_with("-aiplatform.googleapis.com");
    is_google || (name.starts_with("bedrock-runtime.") && host.is_below("amazonaws.com"))
}

/// The rule that is proposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Proposal {
    /// What it does: `read-only` or `confirm`; `deny` where that is wanted.
    pub action: &'static str,
    /// The protocols that are spoken there.
    pub profile: &'static [&'static str],
    /// How long a hole lasts at most.
    pub max_hole: Option<&'static str>,
}

impl Proposal {
    /// What lets nothing through, and nobody is asked about.
    pub(crate) const DENY: Self = Self {
        action: "deny",
        profile: &[],
        max_hole: None,
    };

    /// Asks about each connection.
    pub const CONFIRM: Self = Self {
        action: "confirm",
        profile: &[],
        max_hole: None,
    };
}

/// Returns the rule that is proposed for a place with that label, if one is. It is `read-only` where a profile knows which requests
/// only read there, and `confirm` at every other server: a server may act by any request.
#[must_use]
pub fn propose(label: Label, service: Service, host: &Host) -> Option<Proposal> {
    match label {
        Label::Maybe => Some(Proposal::CONFIRM),
        Label::Production => Some(match profiles(service, host) {
            [] => Proposal {
                max_hole: Some("15m"),
                ..Proposal::CONFIRM
            },
            profile => Proposal {
                action: "read-only",
                profile,
                max_hole: None,
            },
        }),
        _ => None,
    }
}

/// Returns the profiles that know which requests only read there; none for an unknown server.
fn profiles(service: Service, host: &Host) -> &'static [&'static str] {
    match service {
        Service::Postgres => &["postgres"],
        Service::Kubernetes => &["kubernetes"],
        Service::Elasticsearch => &["elasticsearch"],
        Service::Influxdb => &["influxdb"],
        Service::S3 => &["aws"],
        Service::Git => &["git"],
        Service::Platform => {
            let known = PLATFORMS.iter().find(|(name, _)| *name == host.as_str());
            known.map_or(&[], |(_, profiles)| profiles)
        }
        Service::Home("immich") => &["immich"],
        Service::Home("home-assistant") => &["home-assistant"],
        Service::Home("gitea") => &["git", "gitea"],
        Service::Home("grafana") => &["grafana"],
        Service::Home("nextcloud") => &["nextcloud", "webdav"],
        Service::Home("paperless") => &["paperless"],
        Service::Home("portainer") => &["portainer"],
        Service::Home("proxmox") => &["proxmox"],
        _ => &[],
    }
}

/// Platforms' APIs that profiles know.
const PLATFORMS: [(&str, &[&str]); 11] = [
    (AWS, &["aws"]),
    ("api.cloudflare.com", &["cloudflare", "graphql"]),
    ("api.digitalocean.com", &["digitalocean"]),
    ("api.heroku.com", &["heroku"]),
    ("api.machines.dev", &["graphql"]),
    ("api.netlify.com", &["netlify"]),
    ("api.stripe.com", &["stripe"]),
    ("api.supabase.com", &["supabase"]),
    ("api.vercel.com", &["vercel"]),
    ("backboard.railway.com", &["graphql"]),
    (GOOGLE, &["google"]),
];

/// What stands for AWS, whichever region a file says: a credential opens all of them.
pub(crate) const AWS: &str = "sts.amazonaws.com";
/// What stands for Azure.
pub(crate) const AZURE: &str = "management.azure.com";
/// What stands for Google Cloud, Firebase included.
pub(crate) const GOOGLE: &str = "cloudresourcemanager.googleapis.com";

/// APIs, and the names of all others that the same credential opens. A `*` stands for what is below.
const OPENED: [(&str, &[&str]); 7] = [
    (AWS, &["*.amazonaws.com", "*.amazonaws.com.cn", "*.api.aws"]),
    (
        AZURE,
        &[
            "graph.microsoft.com",
            "*.core.windows.net",
            "*.vault.azure.net",
        ],
    ),
    (GOOGLE, &["*.googleapis.com"]),
    ("api.heroku.com", &["api.data.heroku.com"]),
    ("api.hetzner.cloud", &["api.hetzner.com"]),
    ("api.machines.dev", &["api.fly.io"]),
    ("backboard.railway.com", &["backboard.railway.app"]),
];

/// Whether it is the API that stands for a cloud, and not one host of it.
pub(crate) fn is_cloud(host: &Host) -> bool {
    [AWS, AZURE, GOOGLE].contains(&host.as_str())
}

/// Names of the other APIs that the credential for this one opens as well.
pub(crate) fn others(host: &Host) -> Vec<String> {
    let opened = OPENED.iter().find(|(api, _)| *api == host.as_str());
    let names = opened.map_or(&[][..], |(_, names)| names);
    names.iter().map(|name| (*name).to_owned()).collect()
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
    fn a_credential_of_a_cloud_is_for_all_of_its_regions_and_services() {
        let opens = |host: &str| others(&Host::parse(host).unwrap());
        assert!(opens(AWS).contains(&"*.amazonaws.com".to_owned()));
        assert_eq!(opens(GOOGLE), ["*.googleapis.com"]);
        assert!(opens(AZURE).contains(&"*.vault.azure.net".to_owned()));
        assert_eq!(opens("api.hetzner.cloud"), ["api.hetzner.com"]);
        assert!(opens("s3.eu-west-1.amazonaws.com").is_empty());
        for (host, profile) in [(AWS, "aws"), (GOOGLE, "google")] {
            let host = Host::parse(host).unwrap();
            let proposed = propose(Label::Production, Service::Platform, &host).unwrap();
            assert_eq!(
                (proposed.action, proposed.profile),
                ("read-only", &[profile][..])
            );
        }
    }

    #[test]
    fn where_models_answer_is_a_tool() {
        for host in [
            "generativelanguage.googleapis.com",
            "europe-west1-aiplatform.googleapis.com",
            "bedrock-runtime.eu-west-3.amazonaws.com",
        ] {
            assert!(is_tool(&Host::parse(host).unwrap()), "{host}");
        }
        for host in ["x-aiplatform.example.com", "bedrock-runtime.example.com"] {
            assert!(!is_tool(&Host::parse(host).unwrap()), "{host}");
        }
    }

    #[test]
    fn reading_is_proposed_where_a_profile_knows_what_reads() {
        let proposed = |service, host: &str| {
            let host = Host::parse(host).unwrap();
            propose(Label::Production, service, &host).unwrap()
        };
        for (_, name) in HOME_PREFIXES {
            let one = proposed(Service::Home(name), "nas.home.arpa");
            let is_known = !["plex", "synology"].contains(&name);
            assert_eq!(one.profile.contains(&name), is_known, "{name}");
            assert_eq!(one.action == "read-only", is_known, "{name}");
        }
        for (service, host) in [
            (Service::Http, "api.example.net"),
            (Service::Platform, "vault.example.net"),
            (Service::Other, "broker.example.net"),
        ] {
            assert_eq!(proposed(service, host).action, "confirm", "{host}");
        }
    }
}
