//! Profiles: protocols of which is known what reads, beyond what HTTP says.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::invalid::{Invalid, nearest, quoted};

/// A protocol on top of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The APIs of Amazon Web Services.
    Aws,
    /// The API of Cloudflare.
    Cloudflare,
    /// The API of `DigitalOcean`.
    Digitalocean,
    /// The API of Docker, and of Podman.
    Docker,
    /// The REST API of Elasticsearch, and of OpenSearch.
    Elasticsearch,
    /// Git's smart HTTP transport, and Git LFS.
    Git,
    /// The API of Gitea, and of Forgejo.
    Gitea,
    /// The REST API of GitHub.
    Github,
    /// The APIs of Google Cloud that have projects, and of Firebase.
    Google,
    /// The API of Grafana.
    Grafana,
    /// GraphQL over HTTP.
    Graphql,
    /// gRPC, by the names of methods.
    Grpc,
    /// The API of Heroku.
    Heroku,
    /// The REST API of Home Assistant.
    #[serde(rename = "home-assistant")]
    HomeAssistant,
    /// The API of Immich.
    Immich,
    /// The HTTP API of `InfluxDB` 1, where statements come with GET.
    Influxdb,
    /// Jenkins, where links change things.
    Jenkins,
    /// JSON-RPC 2.0, by the names of methods.
    Jsonrpc,
    /// The Kubernetes API.
    Kubernetes,
    /// The HTTP API of Grafana Loki.
    Loki,
    /// The API of Netlify.
    Netlify,
    /// The API of Nextcloud beside `WebDAV`.
    Nextcloud,
    /// The API of Paperless-ngx.
    Paperless,
    /// The API of Portainer.
    Portainer,
    /// `PostgreSQL`'s own protocol: not HTTP, and so alone in its rule.
    Postgres,
    /// The HTTP API of Prometheus.
    Prometheus,
    /// The API of Proxmox VE.
    Proxmox,
    /// The API of Stripe.
    Stripe,
    /// The API of Supabase.
    Supabase,
    /// The manager of Apache Tomcat, where links change things.
    Tomcat,
    /// The API of Vercel.
    Vercel,
    /// `WebDAV`, `CalDAV` and `CardDAV`.
    Webdav,
}

/// What some profiles have to know. Empty where the rule does not say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProfileLists {
    /// Where GraphQL is served; `*` stands for any text. Empty means the usual places.
    pub graphql_paths: Vec<String>,
    /// The methods that read, as `package.Service/Method`; `*` stands for any text.
    pub grpc_methods: Vec<String>,
    /// The methods that read; `*` stands for any text.
    pub jsonrpc_methods: Vec<String>,
    /// Where JSON-RPC is served; `*` stands for any text. Empty means the usual places.
    pub jsonrpc_paths: Vec<String>,
    /// The functions that read beside `PostgreSQL`'s own, as `schema.name` or `name`; a `*` at the end stands for any text, and
    /// `@extension` for those of one.
    pub postgres_functions: Vec<String>,
    /// The settings that a session may make for itself beside `PostgreSQL`'s own, as `application.name`; a `*` as there.
    pub postgres_settings: Vec<String>,
}

impl Profile {
    /// All of them.
    pub const ALL: [Self; 32] = [
        Self::Aws,
        Self::Cloudflare,
        Self::Digitalocean,
        Self::Docker,
        Self::Elasticsearch,
        Self::Git,
        Self::Gitea,
        Self::Github,
        Self::Google,
        Self::Grafana,
        Self::Graphql,
        Self::Grpc,
        Self::Heroku,
        Self::HomeAssistant,
        Self::Immich,
        Self::Influxdb,
        Self::Jenkins,
        Self::Jsonrpc,
        Self::Kubernetes,
        Self::Loki,
        Self::Netlify,
        Self::Nextcloud,
        Self::Paperless,
        Self::Portainer,
        Self::Postgres,
        Self::Prometheus,
        Self::Proxmox,
        Self::Stripe,
        Self::Supabase,
        Self::Tomcat,
        Self::Vercel,
        Self::Webdav,
    ];

    /// That of what usually listens at a TCP port, where little else does.
    #[must_use]
    pub const fn of_port(port: u16) -> Option<Self> {
        Some(match port {
            2283 => Self::Immich,
            2375 | 2376 => Self::Docker,
            3100 => Self::Loki,
            5432 => Self::Postgres,
            6443 => Self::Kubernetes,
            8006 => Self::Proxmox,
            8086 => Self::Influxdb,
            8123 => Self::HomeAssistant,
            9090 => Self::Prometheus,
            9200 => Self::Elasticsearch,
            9443 => Self::Portainer,
            _ => return None,
        })
    }

    /// That of whose path it is, where little else has such.
    #[must_use]
    pub fn of_path(path: &str) -> Option<Self> {
        let path = path.split('?').next().unwrap_or_default();
        if path.starts_with("/api/v1/namespaces") || path.starts_with("/apis/") {
            Some(Self::Kubernetes)
        } else {
            (path == "/graphql" || path.ends_with("/graphql")).then_some(Self::Graphql)
        }
    }

    /// As policies write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Aws => "aws",
            Self::Cloudflare => "cloudflare",
            Self::Digitalocean => "digitalocean",
            Self::Docker => "docker",
            Self::Elasticsearch => "elasticsearch",
            Self::Git => "git",
            Self::Gitea => "gitea",
            Self::Github => "github",
            Self::Google => "google",
            Self::Grafana => "grafana",
            Self::Graphql => "graphql",
            Self::Grpc => "grpc",
            Self::Heroku => "heroku",
            Self::HomeAssistant => "home-assistant",
            Self::Immich => "immich",
            Self::Influxdb => "influxdb",
            Self::Jenkins => "jenkins",
            Self::Jsonrpc => "jsonrpc",
            Self::Kubernetes => "kubernetes",
            Self::Loki => "loki",
            Self::Netlify => "netlify",
            Self::Nextcloud => "nextcloud",
            Self::Paperless => "paperless",
            Self::Portainer => "portainer",
            Self::Postgres => "postgres",
            Self::Prometheus => "prometheus",
            Self::Proxmox => "proxmox",
            Self::Stripe => "stripe",
            Self::Supabase => "supabase",
            Self::Tomcat => "tomcat",
            Self::Vercel => "vercel",
            Self::Webdav => "webdav",
        }
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Profile {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        let found = Self::ALL.into_iter().find(|p| p.as_str() == text);
        found.ok_or_else(|| {
            let names = Self::ALL.map(Self::as_str);
            let help = match (other_name(text), nearest(text, &names)) {
                (Some(meant), _) => format!("write `{meant}`"),
                (None, Some(meant)) => format!("did you mean `{meant}`?"),
                (None, None) => format!("the profiles are {}", names.join(" ")),
            };
            Invalid::new(format!("there is no profile {}", quoted(text))).help(help)
        })
    }
}

/// The profile that has in it what people know by another name.
fn other_name(text: &str) -> Option<Profile> {
    Some(match text.to_ascii_lowercase().as_str() {
        "forgejo" => Profile::Gitea,
        "homeassistant" | "hass" => Profile::HomeAssistant,
        "opensearch" | "elastic" => Profile::Elasticsearch,
        "gcp" | "gcloud" => Profile::Google,
        "k8s" | "kube" => Profile::Kubernetes,
        "podman" => Profile::Docker,
        "caldav" | "carddav" => Profile::Webdav,
        "paperless-ngx" => Profile::Paperless,
        "pve" => Profile::Proxmox,
        "postgresql" | "pg" | "psql" => Profile::Postgres,
        "json-rpc" | "json_rpc" => Profile::Jsonrpc,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_the_same_in_toml_and_json() {
        for profile in Profile::ALL {
            assert_eq!(profile.as_str().parse(), Ok(profile));
            let json = serde_json::to_string(&profile).unwrap();
            assert_eq!(json, format!("\"{profile}\""));
        }
    }

    #[test]
    fn typing_errors_and_other_names_are_guessed() {
        let said = |text: &str| text.parse::<Profile>().unwrap_err().to_string();
        assert_eq!(
            said("kubernets"),
            "there is no profile `kubernets`: did you mean `kubernetes`?"
        );
        assert_eq!(said("k8s"), "there is no profile `k8s`: write `kubernetes`");
        assert!(said("smtp-over-http").contains("the profiles are aws cloudflare"));
    }
}
