//! Files that are read beside those that everybody has: settings of frameworks that are programs, scripts, and what clients of databases
//! and commands of platforms keep.

use std::ffi::OsStr;
use std::path::Path;

use super::literals::Language;
use super::{
    Format, Sink, clients, commands, connections, hcl, ini, json, k9s, kamal, literals, logins,
    markdown, xml,
};

/// What such a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    /// Settings that are a program.
    Program(Language),
    Ini,
    Xml,
    /// JSON in which what stands together is a server's.
    Connections,
    /// A Makefile, or a justfile.
    Recipes,
    Shell,
    Procfile,
    Kamal,
    Package,
    /// What is written for people.
    Markdown,
    /// What k9s keeps of a context of Kubernetes.
    K9s,
    Gh,
    Glab,
    ArgoCd,
    Usql,
    Terraform,
    TerraformRc,
    Pulumi,
    Minio,
    Stripe,
    Databricks,
    /// Of `gsutil`, and of what came before boto3.
    Boto,
    GitCredentials,
    /// What opens Google Cloud, as its library takes it.
    GoogleKey,
    /// Docker's own settings.
    Docker,
    Cargo,
    Pip,
    /// Maven's own settings.
    Maven,
    HomeAssistant,
    /// Where Terraform keeps its state, as its backend's file says.
    Backend,
    /// Which workspace Terraform is in.
    Workspace,
    /// What keeps hosts and keys in a way that is not read.
    Kept(&'static str),
    Vault,
}

use Source::{Connections, Ini, Kept, Procfile, Program, Recipes, Xml};

/// Names of a project's files.
pub(super) const NAMES: [(&str, Source); 45] = [
    ("age.key", Kept("a key of age")),
    ("settings.py", Program(Language::Python)),
    ("local_settings.py", Program(Language::Python)),
    ("config.py", Program(Language::Python)),
    ("knexfile.js", Program(Language::JavaScript)),
    ("knexfile.cjs", Program(Language::JavaScript)),
    ("knexfile.mjs", Program(Language::JavaScript)),
    ("knexfile.ts", Program(Language::JavaScript)),
    ("ormconfig.js", Program(Language::JavaScript)),
    ("ormconfig.ts", Program(Language::JavaScript)),
    ("data-source.ts", Program(Language::JavaScript)),
    ("data-source.js", Program(Language::JavaScript)),
    ("drizzle.config.ts", Program(Language::JavaScript)),
    ("drizzle.config.js", Program(Language::JavaScript)),
    ("drizzle.config.mjs", Program(Language::JavaScript)),
    ("prisma.config.ts", Program(Language::JavaScript)),
    ("mikro-orm.config.ts", Program(Language::JavaScript)),
    ("mikro-orm.config.js", Program(Language::JavaScript)),
    ("wp-config.php", Program(Language::Php)),
    ("settings.php", Program(Language::Php)),
    ("settings.local.php", Program(Language::Php)),
    ("configuration.php", Program(Language::Php)),
    (".mongorc.js", Program(Language::JavaScript)),
    (".mongoshrc.js", Program(Language::JavaScript)),
    ("configuration.yaml", Source::HomeAssistant),
    ("pip.conf", Source::Pip),
    ("alembic.ini", Ini),
    ("liquibase.properties", Ini),
    ("flyway.conf", Ini),
    ("flyway.toml", Ini),
    ("odbc.ini", Ini),
    ("ormconfig.json", Connections),
    ("servers.json", Connections),
    ("web.config", Xml),
    ("app.config", Xml),
    ("persistence.xml", Xml),
    ("hibernate.cfg.xml", Xml),
    ("makefile", Recipes),
    ("gnumakefile", Recipes),
    ("justfile", Recipes),
    (".justfile", Recipes),
    ("package.json", Source::Package),
    ("procfile", Procfile),
    ("connections.xml", Xml),
    ("data-sources.json", Connections),
];

/// The same, where the directory has to have a name, too.
pub(super) const PLACES: [(&str, &str, Source); 13] = [
    (".cargo", "config.toml", Source::Cargo),
    (".terraform", "environment", Source::Workspace),
    (".idea", "datasources.xml", Xml),
    (".idea", "sshconfigs.xml", Xml),
    (".idea", "webservers.xml", Xml),
    (".vscode", "settings.json", Connections),
    ("config", "config.json", Connections),
    ("config", "config.js", Program(Language::JavaScript)),
    ("config", "database.js", Program(Language::JavaScript)),
    ("config", "database.ts", Program(Language::JavaScript)),
    ("config", "database.php", Program(Language::Php)),
    ("etc", "env.php", Program(Language::Php)),
    ("meta-inf", "context.xml", Xml),
];

impl Source {
    /// The reader for a project's file.
    pub(super) fn of(path: &Path) -> Option<Format> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let dir = path.parent().and_then(Path::file_name);
        let dir = dir.and_then(OsStr::to_str).unwrap_or_default();
        let dir = dir.to_ascii_lowercase();
        let known = NAMES.iter().find(|(known, _)| *known == name);
        let placed = || {
            let mut places = PLACES.iter();
            places.find(|(at, known, _)| *at == dir && *known == name)
        };
        let source = known
            .map(|(_, source)| *source)
            .or_else(|| placed().map(|(_, _, source)| *source))
            .or_else(|| Self::by_ending(&dir, &name))?;
        Some(Format::Source(source))
    }

    fn by_ending(dir: &str, name: &str) -> Option<Self> {
        let (stem, ending) = name.rsplit_once('.')?;
        let is_of_data = || {
            let words = [
                "db",
                "database",
                "datasource",
                "jdbc",
                "hibernate",
                "persistence",
                "kafka",
                "producer",
                "consumer",
            ];
            stem.split(['-', '_', '.'])
                .any(|word| words.contains(&word))
        };
        Some(match ending {
            "yml" if dir == "config" && (stem == "deploy" || stem.starts_with("deploy.")) => {
                Self::Kamal
            }
            "exs" if dir == "config" => Program(Language::Elixir),
            "py" if dir == "settings" => Program(Language::Python),
            "py" if stem.starts_with("settings_") || stem.ends_with("_settings") => {
                Program(Language::Python)
            }
            "conf" if stem.starts_with("application") => Program(Language::Hocon),
            "properties" if is_of_data() => Ini,
            "config" if stem.starts_with("web.") || stem.starts_with("app.") => Xml,
            "mk" | "just" => Recipes,
            "tfbackend" => Self::Backend,
            "sh" => Self::Shell,
            _ if stem == "procfile" => Procfile,
            _ => return None,
        })
    }

    /// Whether it is read only when all else is: there are many of them, and each says little.
    pub(crate) const fn is_last(self) -> bool {
        matches!(
            self,
            Self::Recipes | Self::Shell | Self::Package | Self::Markdown
        )
    }

    /// Whether a part of it says nothing.
    pub(super) const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Xml
                | Self::Connections
                | Self::Kamal
                | Self::Package
                | Self::K9s
                | Self::Gh
                | Self::Glab
                | Self::ArgoCd
                | Self::Usql
                | Self::Terraform
                | Self::Pulumi
                | Self::Minio
                | Self::GoogleKey
                | Self::Docker
                | Self::Maven
        )
    }

    pub(super) fn read(self, sink: &mut Sink, text: &str) {
        match self {
            Self::Program(language) => literals::settings(sink, text, language),
            Self::Ini => ini::settings(sink, text),
            Self::Xml => xml::settings(sink, text),
            Self::Connections => connections::connections(sink, text),
            Self::Recipes => commands::recipes(sink, text),
            Self::Shell => commands::shell(sink, text),
            Self::Procfile => commands::procfile(sink, text),
            Self::Kamal => kamal::deploy(sink, text),
            Self::Package => commands::package(sink, text),
            Self::Markdown => markdown::document(sink, text),
            Self::K9s => k9s::context(sink, text),
            Self::Gh => logins::gh(sink, text),
            Self::Glab => logins::glab(sink, text),
            Self::ArgoCd => logins::argocd(sink, text),
            Self::Usql => logins::usql(sink, text),
            Self::Terraform => logins::terraform(sink, text),
            Self::TerraformRc => logins::terraformrc(sink, text),
            Self::Pulumi => logins::pulumi(sink, text),
            Self::Minio => logins::minio(sink, text),
            Self::Stripe => logins::stripe(sink, text),
            Self::Databricks => logins::databricks(sink, text),
            Self::Boto => logins::boto(sink, text),
            Self::GitCredentials => clients::git_credentials(sink, text),
            Self::GoogleKey => logins::google_key(sink, text),
            Self::Docker => json::docker(sink, text),
            Self::Cargo => clients::cargo(sink, text),
            Self::Pip => clients::pip(sink, text),
            Self::Maven => xml::maven(sink, text),
            Self::HomeAssistant => clients::home_assistant(sink, text),
            Self::Backend => hcl::backend_settings(sink, text),
            Self::Workspace => hcl::workspace(sink, text),
            Self::Kept(_) | Self::Vault => {}
        }
    }
}

/// Files of a home.
pub(super) const HOME: [(&str, Source); 36] = [
    (".docker/config.json", Source::Docker),
    (".pip/pip.conf", Source::Pip),
    (".config/pip/pip.conf", Source::Pip),
    (".m2/settings.xml", Source::Maven),
    (".cargo/config.toml", Source::Cargo),
    (
        ".cargo/credentials.toml",
        Kept("a token of a registry of cargo"),
    ),
    (".config/op/config", Kept("a login of 1Password")),
    (
        ".config/sops/age/keys.txt",
        Kept("a key to what sops encrypts"),
    ),
    (".git-credentials", Source::GitCredentials),
    (".config/git/credentials", Source::GitCredentials),
    (".config/kcat.conf", Ini),
    (".boto", Source::Boto),
    (".config/gh/hosts.yml", Source::Gh),
    (".config/glab-cli/config.yml", Source::Glab),
    (".config/argocd/config", Source::ArgoCd),
    (".config/stripe/config.toml", Source::Stripe),
    (".terraform.d/credentials.tfrc.json", Source::Terraform),
    (".terraformrc", Source::TerraformRc),
    (".pulumi/credentials.json", Source::Pulumi),
    (".mc/config.json", Source::Minio),
    (".databrickscfg", Source::Databricks),
    (".vault-token", Source::Vault),
    (".config/usql/config.yaml", Source::Usql),
    (".config/pgcli/config", Ini),
    (".myclirc", Ini),
    (".iredisrc", Ini),
    (".odbc.ini", Ini),
    (".mongorc.js", Program(Language::JavaScript)),
    (".mongoshrc.js", Program(Language::JavaScript)),
    (".mysql/workbench/connections.xml", Xml),
    (".config/Code/User/settings.json", Connections),
    (".config/VSCodium/User/settings.json", Connections),
    (".mylogin.cnf", Kept("a login of MySQL's client")),
    (".pgadmin/pgadmin4.db", Kept("servers of pgAdmin")),
    (
        ".config/beekeeper-studio/app.db",
        Kept("connections of Beekeeper Studio"),
    ),
    (
        ".redisinsight-app/redisinsight.db",
        Kept("connections of Redis Insight"),
    ),
];

/// Directories of a home in which a file of each directory, or each file, is of one kind.
pub(super) const HOME_DIRS: [(&str, &str, Format); 7] = [
    (
        ".local/share/k9s/clusters",
        "*/config.yaml",
        Format::Source(Source::K9s),
    ),
    (
        ".config/k9s/clusters",
        "*/config.yaml",
        Format::Source(Source::K9s),
    ),
    (
        ".local/share/DBeaverData/workspace6",
        ".dbeaver/data-sources.json",
        Format::Source(Connections),
    ),
    (
        ".var/app/io.dbeaver.DBeaverCommunity/data/DBeaverData/workspace6",
        ".dbeaver/data-sources.json",
        Format::Source(Connections),
    ),
    (
        ".config/JetBrains",
        "projects/default/.idea/dataSources.xml",
        Format::Source(Xml),
    ),
    (
        ".config/MongoDB Compass/Connections",
        "",
        Format::Source(Connections),
    ),
    (
        ".config/JetBrains",
        "options/sshConfigs.xml",
        Format::Source(Xml),
    ),
];
