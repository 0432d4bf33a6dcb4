//! Variables that name a file, or a directory of files, in place of the usual ones: those are read as if they lay there.

use super::settings::Variable;
use super::{Format, Sink, Source};
use crate::bounds::MORE_FILES;

/// What a variable names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Names {
    /// A file.
    File(Format),
    /// Several, with colons between.
    Files(Format),
    /// What is otherwise this directory of a home.
    Dir(&'static str),
}

use Names::{Dir, File, Files};

pub(super) const NAMED: [(&str, Names); 32] = [
    ("ARGOCD_CONFIG_DIR", Dir(".config/argocd")),
    ("AWS_CONFIG_FILE", File(Format::Aws)),
    ("AWS_SHARED_CREDENTIALS_FILE", File(Format::Aws)),
    ("AZURE_CONFIG_DIR", Dir(".azure")),
    ("BOTO_CONFIG", File(Format::Source(Source::Boto))),
    ("BOTO_PATH", Files(Format::Source(Source::Boto))),
    ("CLAUDE_CONFIG_DIR", Dir(".claude")),
    ("CLOUDSDK_CONFIG", Dir(".config/gcloud")),
    ("CODEX_HOME", Dir(".codex")),
    (
        "DATABRICKS_CONFIG_FILE",
        File(Format::Source(Source::Databricks)),
    ),
    ("DOCKER_CONFIG", Dir(".docker")),
    ("FLY_CONFIG_DIR", Dir(".fly")),
    ("GH_CONFIG_DIR", Dir(".config/gh")),
    ("GLAB_CONFIG_DIR", Dir(".config/glab-cli")),
    (
        "GOOGLE_APPLICATION_CREDENTIALS",
        File(Format::Source(Source::GoogleKey)),
    ),
    (
        "GOOGLE_CREDENTIALS",
        File(Format::Source(Source::GoogleKey)),
    ),
    (
        "CLOUDSDK_AUTH_CREDENTIAL_FILE_OVERRIDE",
        File(Format::Source(Source::GoogleKey)),
    ),
    ("HCLOUD_CONFIG", File(Format::Login("api.hetzner.cloud"))),
    ("K9S_CONFIG_DIR", Dir(".config/k9s")),
    ("KUBECONFIG", Files(Format::Kubeconfig)),
    ("MC_CONFIG_DIR", Dir(".mc")),
    ("NETRC", File(Format::Netrc)),
    ("NPM_CONFIG_USERCONFIG", File(Format::Npmrc)),
    ("OPENCODE_CONFIG", File(Format::Mcp)),
    ("PGPASSFILE", File(Format::Pgpass)),
    ("PGSERVICEFILE", File(Format::PgService)),
    ("TALOSCONFIG", Files(Format::Kubeconfig)),
    ("PULUMI_HOME", Dir(".pulumi")),
    (
        "TF_CLI_CONFIG_FILE",
        File(Format::Source(Source::TerraformRc)),
    ),
    (
        "TERRAFORM_CONFIG",
        File(Format::Source(Source::TerraformRc)),
    ),
    ("XDG_CONFIG_HOME", Dir(".config")),
    ("XDG_DATA_HOME", Dir(".local/share")),
];

/// A path that a variable says.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The file that has the variable, or the environment.
    pub(crate) file: String,
    pub(crate) line: Option<usize>,
    pub(crate) key: String,
    pub(crate) path: String,
    pub(crate) names: Names,
    /// Whether a file of the project's says it, or one that such a file has named.
    pub(crate) by_project: bool,
}

/// No more of them are followed.
const FOLLOWED: usize = 256;

impl Sink {
    /// Keeps what a variable names, if it names anything: a file, or which of many is meant.
    pub(super) fn name(&mut self, one: &Variable<'_>) {
        match one.key {
            "TF_WORKSPACE" if !one.dormant => self.workspace(None, one.value),
            "DOCKER_CONTEXT" if !one.dormant => self.choose(one.value),
            _ => {}
        }
        let known = |(key, _): &&(&str, Names)| key.eq_ignore_ascii_case(one.key);
        let Some((key, names)) = NAMED.iter().find(known).filter(|_| !one.dormant) else {
            return;
        };
        // mise has its own word for the file's directory.
        let value = one.value.strip_prefix("{{config_root}}/");
        let value = value.unwrap_or(one.value);
        // A key may stand there itself.
        if value.starts_with('{') {
            return;
        }
        let paths = value.split(|c| c == ':' && matches!(names, Files(_)));
        for path in paths.filter(|path| !path.is_empty()) {
            self.follow(one.line, key, path, *names);
        }
    }

    /// Keeps a file of variables that another names.
    pub(super) fn name_file(&mut self, line: usize, key: &str, path: &str) {
        if !path.is_empty() {
            self.follow(Some(line), key, path, File(Format::Dotenv));
        }
    }

    fn follow(&mut self, line: Option<usize>, key: &str, path: &str, names: Names) {
        if self.named.len() == FOLLOWED {
            return self.pass_over(line, MORE_FILES);
        }
        self.named.push(Named {
            file: self.file.clone(),
            line,
            key: key.to_owned(),
            path: path.to_owned(),
            names,
            by_project: self.is_projects,
        });
    }
}
