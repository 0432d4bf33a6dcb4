//! A reader for each format: from a file's text to clues. None keeps a secret, and none runs, resolves or includes what a file says.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::path::Path;
use std::time::Instant;

use crate::bounds::{OUT_OF_TIME, PassedOver};
use crate::dsn::HostPort;
use crate::host::Host;
use crate::label::Label;
use crate::open::Content;
use crate::score::{Clue, KeyAlone, READ_ONLY, Sighting, is_hidden, judge, shown_key};
use crate::service::{self, Service};
use crate::tokens::{StageWords, said};

mod ansible;
mod ci;
mod clients;
mod commands;
mod connections;
mod databases;
mod frameworks;
mod hcl;
mod ini;
mod json;
mod k9s;
mod kamal;
mod kubernetes;
mod links;
mod literals;
mod logins;
mod markdown;
mod mcp;
mod named;
mod servers;
mod settings;
mod sources;
mod ssh;
mod vpn;
mod xml;
mod yaml;

pub(crate) use ansible::inventories;
pub(crate) use named::{Named, Names};
pub(crate) use settings::of_environment;
pub use settings::proxies;
pub(crate) use sources::Source;
pub(crate) use ssh::is_match;
pub(crate) use vpn::routes;

/// Lines that are longer say nothing that is looked for, and cost.
const LINE: usize = 16_384;

/// Names in names that are longer are no setting's.
const KEY: usize = 256;
const LONG_KEY: &str = "a name that is too long, and what is below it";

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Format {
    /// `KEY=value`.
    Dotenv,
    /// A shell's: `export KEY=value` alone counts.
    Shell,
    Kubeconfig,
    Ssh,
    Pgpass,
    PgService,
    MyCnf,
    Aws,
    DockerContext,
    Compose,
    /// Settings of an agent, with the servers that it starts.
    Mcp,
    /// Codex' own.
    Codex,
    /// Terraform's, and Prisma's.
    Hcl,
    TerraformState,
    Git,
    Pipeline,
    Rails,
    Spring,
    /// Settings by names in names.
    JsonSettings,
    Netrc,
    Npmrc,
    Gcloud,
    Azure,
    Immich,
    /// A client's of WireGuard or OpenVPN.
    Vpn,
    /// Which app, site or project of a platform this one is.
    Link(links::Link),
    Ansible(ansible::AnsibleFile),
    /// Values of a chart, manifests, and what puts them together.
    Kubernetes(kubernetes::KubernetesFile),
    /// A file whose name says that nobody can read it without its key.
    Encrypted,
    /// The settings of a platform's command, and the host that it logs in at: what opens it is not kept.
    Login(&'static str),
    /// A file of source text: a program, a Makefile, XML and the like.
    Source(Source),
}

impl Format {
    /// The reader for a project's file, by its name, and for some by that of its directory.
    pub(crate) fn of(path: &Path) -> Option<Self> {
        // What is no text in it is as little a part of what it is called by.
        let name = path.file_name()?.to_string_lossy();
        let name = name.as_ref();
        let mut dirs = path.iter().rev().skip(1).map(OsStr::as_encoded_bytes);
        let dir = dirs.next().unwrap_or_default();
        if dir == b".git" {
            return (name == "config").then_some(Self::Git);
        }
        Self::by_directories(dirs.next(), dir, name)
            .or_else(|| links::Link::of(dir, name).map(Self::Link))
            .or_else(|| Self::by_name(name))
            .or_else(|| vpn::is_client(dir, name).then_some(Self::Vpn))
            .or_else(|| ansible::AnsibleFile::of(path, name).map(Self::Ansible))
            .or_else(|| kubernetes::KubernetesFile::of(path, name).map(Self::Kubernetes))
            .or_else(|| Source::of(path))
    }

    /// The reader for a file that is written for people, which is read only where that is wanted.
    pub(crate) fn of_prose(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_string_lossy().to_ascii_lowercase();
        let is_prose = name.ends_with(".md") || name.ends_with(".markdown");
        is_prose.then_some(Self::Source(Source::Markdown))
    }

    /// The reader for what has to lie in a certain place, by the last two directories.
    fn by_directories(above: Option<&[u8]>, dir: &[u8], name: &str) -> Option<Self> {
        match (dir, name) {
            (b"workflows", _) if is_yaml(name) && above == Some(&b".github"[..]) => {
                Some(Self::Pipeline)
            }
            (b"config", "database.yml" | "database.yaml") => Some(Self::Rails),
            (b".codex", "config.toml") => Some(Self::Codex),
            (b".claude", "settings.json" | "settings.local.json")
            | (b".gemini", "settings.json") => Some(Self::Mcp),
            _ => None,
        }
    }

    /// The reader for what is called so wherever it lies.
    fn by_name(name: &str) -> Option<Self> {
        let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
        let ends = |words: &[&str]| words.iter().any(|word| name.ends_with(word));
        let is_yaml = is_yaml(name);
        Some(match name {
            _ if unsealed(name).is_some() => Self::Encrypted,
            ".envrc" => Self::Shell,
            ".flaskenv" => Self::Dotenv,
            // `KEY = "value"` below `[env]`.
            ".mise.toml" | ".mise.local.toml" | "mise.toml" | "mise.local.toml" => Self::Dotenv,
            ".mcp.json" | "mcp.json" | "opencode.json" | "opencode.jsonc" => Self::Mcp,
            ".pgpass" => Self::Pgpass,
            ".pg_service.conf" | "pg_service.conf" => Self::PgService,
            ".gitlab-ci.yml" => Self::Pipeline,
            _ if is_yaml && starts(&["taskfile.", "Taskfile."]) => Self::Pipeline,
            ".netrc" => Self::Netrc,
            ".npmrc" => Self::Npmrc,
            _ if ends(&[".tf", ".tfvars", ".prisma"]) => Self::Hcl,
            _ if ends(&[".tfstate", ".tfstate.backup"]) => Self::TerraformState,
            _ if ends(&[".tf.json", ".tfvars.json"]) => Self::JsonSettings,
            _ if starts(&["appsettings"]) && ends(&[".json"]) => Self::JsonSettings,
            _ if is_yaml && starts(&["application.", "application-"]) => Self::Spring,
            _ if starts(&["application"]) && ends(&[".properties"]) => Self::Dotenv,
            _ if starts(&[".env."]) || ends(&[".env"]) => Self::Dotenv,
            _ if starts(&["kubeconfig", "talosconfig"]) => Self::Kubeconfig,
            _ if is_yaml && starts(&["docker-compose", "compose"]) => Self::Compose,
            _ => return None,
        })
    }

    /// The reader for a project's file whose name says that it is encrypted, by its name without that, and else by its ending;
    /// [`Self::Encrypted`] where there is none.
    pub(crate) fn within_seal(path: &Path) -> Self {
        let mut path = path.to_owned();
        let name_of = |path: &Path| unsealed(&path.file_name()?.to_string_lossy());
        while let Some(name) = name_of(&path) {
            path.set_file_name(name);
        }
        let by_ending = || match path.extension()?.to_str()? {
            "json" => Some(Self::JsonSettings),
            "yaml" | "yml" => Some(Self::Spring),
            "ini" | "toml" => Some(Self::Dotenv),
            _ => None,
        };
        Self::of(&path)
            .or_else(by_ending)
            .unwrap_or(Self::Encrypted)
    }

    /// How much of it is read.
    pub(crate) const fn limit(self) -> u64 {
        match self {
            // What an agent keeps beside its servers grows.
            Self::Kubeconfig | Self::Mcp => 2 << 20,
            // What is encrypted differs by all of its bytes.
            Self::TerraformState | Self::Encrypted => 8 << 20,
            _ => 256 << 10,
        }
    }

    /// Whether it is read only when all else is.
    pub(crate) const fn is_last(self) -> bool {
        matches!(self, Self::Source(source) if source.is_last())
    }

    /// Whether some projects have thousands, which leave no other kind less room.
    pub(crate) const fn is_many(self) -> bool {
        matches!(self, Self::Kubernetes(kubernetes::KubernetesFile::Manifest))
    }

    /// Whether a line that is none of its own leaves what the others say as it is.
    pub(crate) const fn is_by_lines(self) -> bool {
        !self.is_whole() && !matches!(self, Self::Ansible(_) | Self::Encrypted)
    }

    /// Whether a part of it says nothing.
    const fn is_whole(self) -> bool {
        match self {
            Self::Source(source) => source.is_whole(),
            Self::Link(link) => link.is_whole(),
            Self::Ansible(kind) => kind.is_whole(),
            _ => matches!(
                self,
                Self::Kubeconfig
                    | Self::DockerContext
                    | Self::Compose
                    | Self::Mcp
                    | Self::TerraformState
                    | Self::Pipeline
                    | Self::Spring
                    | Self::JsonSettings
                    | Self::Azure
                    | Self::Kubernetes(_)
            ),
        }
    }
}

fn is_yaml(name: &str) -> bool {
    name.ends_with(".yml") || name.ends_with(".yaml")
}

/// A file's name without what says that somebody has encrypted it: for Rails, or by sops, age, GnuPG or dotenvx; nothing where it does
/// not say so.
fn unsealed(name: &str) -> Option<String> {
    if [".env.vault", ".env.keys"].contains(&name) {
        return Some(".env".to_owned());
    }
    let starts = |words: &[&str]| words.iter().any(|word| name.starts_with(word));
    let (stem, ending) = name.rsplit_once('.')?;
    let is_last = (["enc", "gpg"].contains(&ending) && starts(&[".env", "credentials", "secret"]))
        || (ending == "age" && !stem.is_empty());
    if is_last {
        return Some(stem.to_owned());
    }
    let is_settings = ["env", "ini", "json", "tfvars", "toml", "yaml", "yml"].contains(&ending);
    // `.sops.yaml` itself says how.
    if !is_settings || stem == ".sops" {
        return None;
    }
    let mut marks = [".enc", ".sops"].iter();
    let bare = marks.find_map(|mark| stem.strip_suffix(mark))?;
    Some(format!("{bare}.{ending}"))
}

/// What sops, dotenvx and Ansible's vault write in the place of a value.
const SEALED: [&str; 5] = [
    "ENC[AES256_GCM,",
    "=encrypted:",
    "=\"encrypted:",
    "='encrypted:",
    "$ANSIBLE_VAULT;",
];
/// What variables are called whose values dotenvx and what came before it have encrypted, or which are keys to such.
const VAULTS: [&str; 2] = ["DOTENV_VAULT", "DOTENV_PRIVATE_KEY"];

/// Whether values in a text are encrypted; `is_named`: as its name has it.
pub(crate) fn has_seals(text: &str, is_named: bool) -> bool {
    let mut vaults = VAULTS.iter().filter(|_| is_named);
    SEALED.iter().any(|mark| text.contains(mark)) || vaults.any(|key| text.contains(key))
}

/// Collects what readers find.
#[derive(Debug, Default)]
pub(crate) struct Sink {
    pub(crate) clues: Vec<Clue>,
    pub(crate) keys: Vec<KeyAlone>,
    pub(crate) passed_over: Vec<PassedOver>,
    file: String,
    /// Whether the author of the project's files has a say in what is read now.
    pub(crate) is_projects: bool,
    in_file: usize,
    /// When the time is over. The file that is read then ends, too.
    deadline: Option<Instant>,
    /// What is called by a name that another file may say more of.
    mentions: Vec<(String, Clue)>,
    /// Where a token of Vault's is, of which a variable says the address.
    vault: Option<Sighting>,
    /// What the project is linked to, and whether it was on this machine.
    links: Vec<(bool, Clue)>,
    /// Inventories that a file names, and that file.
    inventories: Vec<(String, String)>,
    /// What Terraform's workspaces are called, and the directory that each is chosen in; none: wherever it runs.
    workspaces: Vec<(Option<String>, StageWords)>,
    /// The contexts of Docker that are used.
    chosen: Vec<String>,
    /// Contexts of Kubernetes by where k9s keeps what it knows of them, and which clue each is.
    contexts: Vec<(String, usize)>,
    /// Those in which a person has k9s change nothing, and where that is said.
    read_only: Vec<(String, Sighting)>,
    /// Files that variables name.
    pub(crate) named: Vec<Named>,
    /// What settings of ssh include.
    pub(crate) includes: Vec<Include>,
}

/// A file, or several, that another has included.
#[derive(Debug)]
pub(crate) struct Include {
    /// The other.
    pub(crate) file: String,
    pub(crate) line: usize,
    pub(crate) path: String,
}

/// What there is to say of a token of a forge.
const FORGE: &str = "token of a forge (no rule: each push and pull request would ask)";
/// Why something was passed over that stands behind as many places as are kept.
pub const MORE: &str = "more places than are kept: is this file yours?";
/// One file has no more places, unless it is there to be counted.
const IN_FILE: usize = 256;
/// All have no more.
const IN_ALL: usize = 4_096;

impl Sink {
    /// One that takes what is read by then.
    pub(crate) fn until(deadline: Option<Instant>) -> Self {
        Self {
            deadline,
            ..Self::default()
        }
    }

    /// What comes now is of this file.
    pub(crate) fn begin(&mut self, file: String) {
        self.file = file;
        self.in_file = 0;
    }

    /// A line counts as a place: to find that it is none took as long.
    pub(crate) fn pass_over(&mut self, line: Option<usize>, why: &'static str) {
        self.in_file += usize::from(line.is_some());
        self.leave_out(line, why, None);
    }

    /// A key below a path of keys; none where that is too long, which is listed.
    fn path_below(
        &mut self,
        path: &str,
        key: &str,
        line: impl FnOnce() -> usize,
    ) -> Option<String> {
        let path = if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        };
        if path.len() > KEY {
            self.pass_over(Some(line()), LONG_KEY);
            return None;
        }
        Some(path)
    }

    /// What nobody reads without its key.
    pub(crate) fn seal(&mut self, why: &'static str, content: &Content) {
        self.leave_out(None, why, content.sha256());
    }

    pub(crate) fn leave_out(
        &mut self,
        line: Option<usize>,
        why: &'static str,
        sha256: Option<String>,
    ) {
        let one = PassedOver {
            file: self.file.clone(),
            line,
            why,
            sha256,
        };
        if self.passed_over.len() < IN_ALL && self.passed_over.last() != Some(&one) {
            self.passed_over.push(one);
        }
    }

    fn seen(&self, line: Option<usize>, key: &str) -> Sighting {
        let key = shown_key(key);
        Sighting {
            file: self.file.clone(),
            line,
            key,
            dormant: false,
            is_projects: self.is_projects,
        }
    }

    pub(crate) fn key(&mut self, what: &'static str, line: Option<usize>, key: &str) {
        let seen = self.seen(line, key);
        self.key_seen(what, seen);
    }

    fn key_seen(&mut self, what: &'static str, seen: Sighting) {
        if self.keys.len() < IN_ALL {
            self.keys.push(KeyAlone { what, seen });
        } else {
            self.pass_over(None, MORE);
        }
    }

    /// Whether no more of this file is kept: what is read on would cost, and come to nothing.
    fn is_full(&self) -> bool {
        self.in_file > IN_FILE || self.clues.len() >= IN_ALL || self.is_late()
    }

    /// Where there is room for it, the clue as it is kept.
    fn push(&mut self, clue: Clue) -> Option<&mut Clue> {
        self.in_file += 1;
        if self.is_full() {
            self.pass_over(None, MORE);
            return None;
        }
        self.clues.push(clue);
        self.clues.last_mut()
    }

    /// A link to a platform, which opens nothing by itself.
    fn link(
        &mut self,
        line: usize,
        key: &str,
        host: Option<Host>,
        data: StageWords,
        is_here: bool,
    ) {
        self.in_file += 1;
        if self.is_full() || self.links.len() >= IN_ALL {
            self.pass_over(None, MORE);
            return;
        }
        let clue = Clue {
            host,
            port: 443,
            service: Service::Platform,
            seen: self.seen(Some(line), key),
            data,
            credential: None,
            has_sibling: true,
            is_own: false,
        };
        self.links.push((is_here, clue));
    }

    /// Keeps the links that a login opens, once all was read. One that was made on this machine counts without: its login may be
    /// where no file shows it.
    pub(crate) fn settle_links(&mut self) {
        let opened: BTreeSet<Host> = self
            .clues
            .iter()
            .filter(|clue| clue.service == Service::Platform && clue.credential.is_some())
            .filter(|clue| judge(clue).label > Label::Placeholder)
            .filter_map(|clue| clue.host.clone())
            .collect();
        for (is_here, clue) in std::mem::take(&mut self.links) {
            let is_opened = clue.host.as_ref().is_some_and(|host| opened.contains(host));
            let credential = is_opened.then_some("login");
            if is_opened || is_here {
                self.push_late(Clue { credential, ..clue });
            }
        }
    }

    /// Has a person see what pushes their work, though no rule is for it.
    pub(crate) fn keys_of_forges(&mut self) {
        let opens = |clue: &&Clue| {
            let host = clue.host.as_ref().filter(|_| clue.service != Service::Ssh);
            let is_forge = host.is_some_and(service::is_forge);
            is_forge && clue.credential.is_some() && judge(clue).label == Label::Tool
        };
        let all: Vec<_> = self
            .clues
            .iter()
            .filter(opens)
            .map(|clue| clue.seen.clone())
            .collect();
        for seen in all {
            self.key_seen(FORGE, seen);
        }
    }

    /// It was counted among its file's before, and there was time for it.
    fn push_late(&mut self, clue: Clue) {
        if self.clues.len() < IN_ALL {
            self.clues.push(clue);
        } else {
            self.begin(clue.seen.file);
            self.pass_over(None, MORE);
        }
    }

    /// A name of its own in a list of them: a host of ssh, a context, a line of `.pgpass`. One whose host cannot be read is passed
    /// over.
    fn named(
        &mut self,
        line: usize,
        key: &str,
        service: Service,
        at: Option<HostPort>,
        data: StageWords,
    ) -> Option<&mut Clue> {
        let Some(HostPort { host, port }) = at else {
            self.pass_over(Some(line), "an unreadable host");
            return None;
        };
        let seen = self.seen(Some(line), key);
        let credential = Some("login");
        self.push(Clue {
            host,
            port,
            service,
            seen,
            data,
            credential,
            has_sibling: true,
            is_own: false,
        })
    }

    fn is_late(&self) -> bool {
        self.deadline
            .is_some_and(|deadline| Instant::now() > deadline)
    }

    /// Reads what a file has, and says where that was not all.
    pub(crate) fn read(&mut self, format: Format, text: &str, is_cut: bool) {
        self.read_some(format, text, is_cut);
        if self.is_late() {
            self.pass_over(None, OUT_OF_TIME);
        } else if self.is_full() {
            self.pass_over(None, MORE);
        }
    }

    /// Reads what is plain in a file that tools have encrypted, which is said of all of it: that some of it cannot be read is nothing
    /// else.
    pub(crate) fn read_around(&mut self, format: Format, text: &str, is_cut: bool) {
        let before = self.passed_over.len();
        self.read(format, text, is_cut);
        let new = self.passed_over.split_off(before);
        let limits = new
            .into_iter()
            .filter(|one| [OUT_OF_TIME, MORE].contains(&one.why));
        self.passed_over.extend(limits);
    }

    fn read_some(&mut self, format: Format, text: &str, is_cut: bool) {
        if is_cut {
            let why = if format.is_whole() {
                "too long"
            } else {
                "too long: the rest of it"
            };
            self.pass_over(None, why);
            if format.is_whole() {
                return;
            }
        }
        match format {
            Format::Dotenv => settings::dotenv(self, text, false),
            Format::Shell => settings::dotenv(self, text, true),
            Format::Kubeconfig => yaml::kubeconfig(self, text),
            Format::Compose => yaml::compose(self, text),
            Format::Ssh => ssh::config(self, text),
            Format::Pgpass => databases::pgpass(self, text),
            Format::PgService => databases::pg_service(self, text),
            Format::MyCnf => databases::my_cnf(self, text),
            Format::Aws => databases::aws(self, text),
            Format::DockerContext => json::docker_context(self, text),
            Format::Mcp => mcp::settings(self, text),
            Format::Codex => mcp::codex(self, text),
            Format::Hcl => hcl::blocks(self, text),
            Format::TerraformState => json::state(self, text),
            Format::JsonSettings => json::settings(self, text),
            Format::Azure => json::azure(self, text),
            Format::Immich => clients::immich(self, text),
            Format::Vpn => vpn::client(self, text),
            Format::Link(link) => link.read(self, text),
            Format::Ansible(kind) => kind.read(self, text),
            Format::Kubernetes(kind) => kind.read(self, text),
            Format::Git => clients::git(self, text),
            Format::Netrc => clients::netrc(self, text),
            Format::Npmrc => clients::npmrc(self, text),
            Format::Gcloud => clients::gcloud(self, text),
            Format::Pipeline => ci::pipeline(self, text),
            Format::Rails => frameworks::rails(self, text),
            Format::Spring => frameworks::spring(self, text),
            Format::Source(source) => source.read(self, text),
            Format::Login(host) if logins::is_in(text) => self.login(host),
            Format::Encrypted | Format::Login(_) => {}
        }
    }

    /// A place by its name elsewhere; where no file says more, by what is known of it here.
    fn mention(&mut self, name: &str, clue: Clue) {
        self.in_file += 1;
        if self.is_full() || self.mentions.len() >= IN_ALL {
            self.pass_over(None, MORE);
        } else {
            self.mentions.push((shown_key(name), clue));
        }
    }

    /// What is there, though it is not read: whatever it opens, no file here says where.
    pub(crate) fn kept(&mut self, what: &'static str) {
        self.key(what, None, "-");
    }

    /// A token of Vault's.
    pub(crate) fn vault(&mut self) {
        self.vault = Some(self.seen(None, "token"));
    }

    /// A workspace of Terraform's that is chosen in this directory, or wherever it runs.
    fn workspace(&mut self, dir: Option<String>, name: &str) {
        if self.workspaces.len() < IN_ALL {
            self.workspaces.push((dir, said(name)));
        }
    }

    /// A context of Docker that is used.
    fn choose(&mut self, context: &str) {
        if !context.is_empty() && self.chosen.len() < IN_ALL {
            self.chosen.push(shown_key(context));
        }
    }

    /// Keeps which context of Kubernetes the last clue is.
    fn context(&mut self, cluster: &str, name: &str) {
        let is_name = |name: &str| name.len() <= KEY;
        if let Some(at) = self.clues.len().checked_sub(1)
            && is_name(cluster)
            && is_name(name)
        {
            self.contexts.push((k9s::place(cluster, name), at));
        }
    }

    /// A person has k9s change nothing in the context that the file is for: its directories are called so.
    fn context_is_read_only(&mut self, line: usize) {
        let mut dirs = self.file.rsplit('/').skip(1);
        if let (Some(context), Some(cluster)) = (dirs.next(), dirs.next())
            && self.read_only.len() < IN_ALL
        {
            let place = k9s::place(cluster, context);
            let seen = self.seen(Some(line), context);
            self.read_only.push((place, seen));
        }
    }

    /// Where a person has a tool change nothing is production to them. Of a project's own context that makes no place of the home's.
    fn settle_contexts(&mut self) {
        for (place, seen) in std::mem::take(&mut self.read_only) {
            let named = self.contexts.iter().filter(|(name, _)| *name == place);
            let meant = named.filter_map(|(_, at)| self.clues.get(*at));
            let meant: Vec<_> = meant.cloned().collect();
            for clue in meant {
                let data = StageWords {
                    production: Some(READ_ONLY),
                    ..clue.data
                };
                let seen = Sighting {
                    key: clue.seen.key.clone(),
                    is_projects: seen.is_projects || clue.seen.is_projects,
                    ..seen.clone()
                };
                self.push_late(Clue { data, seen, ..clue });
            }
        }
    }

    /// What was chosen is no longer one of many; and production's workspace makes production of what Terraform leads to. One that is
    /// called a developer's makes it nothing less: whoever chooses it next may choose another.
    fn settle_choices(&mut self) {
        let workspaces = std::mem::take(&mut self.workspaces);
        for clue in &mut self.clues {
            if clue.service == Service::Docker && self.chosen.contains(&clue.seen.key) {
                clue.has_sibling = false;
            }
            let dir = terraform_dir(&clue.seen.file);
            let said = workspaces.iter().filter(|(chosen, _)| {
                dir.is_some_and(|dir| chosen.as_ref().is_none_or(|chosen| chosen == dir))
            });
            for (_, said) in said {
                clue.data.production = clue.data.production.or(said.production);
            }
        }
    }

    /// Brings together what one file says of another, when all are read.
    pub(crate) fn finish(&mut self) {
        self.settle_choices();
        self.settle_contexts();
        let known: BTreeMap<_, _> = self
            .clues
            .iter()
            .enumerate()
            .filter(|(_, clue)| {
                [Service::Ssh, Service::Kubernetes, Service::Docker].contains(&clue.service)
            })
            .map(|(at, clue)| ((clue.service, clue.seen.key.clone()), at))
            .rev()
            .collect();
        for (name, clue) in std::mem::take(&mut self.mentions) {
            if self.clues.len() >= IN_ALL {
                self.pass_over(None, MORE);
                break;
            }
            let of_that_name = known.get(&(clue.service, name.clone()));
            match of_that_name.filter(|_| !is_hidden(&name)) {
                Some(at) => {
                    let meant = &self.clues[*at];
                    let (data, seen) = (meant.data.and(clue.data), clue.seen);
                    let clue = Clue {
                        data,
                        seen,
                        ..meant.clone()
                    };
                    self.clues.push(clue);
                }
                None if clue.host.is_some() => self.clues.push(clue),
                None => {
                    let what = match clue.service {
                        Service::Kubernetes => "context of kubectl",
                        Service::Docker => "context of Docker",
                        _ => continue,
                    };
                    self.key_seen(what, clue.seen);
                }
            }
        }
        self.open_vault();
    }

    /// The token is for the address that a variable says. What a project says of that hides no token of the home's: it may be for
    /// elsewhere as well.
    fn open_vault(&mut self) {
        let Some(seen) = self.vault.take() else {
            return;
        };
        let mut is_known = false;
        for clue in self
            .clues
            .iter_mut()
            .filter(|clue| clue.seen.key == "VAULT_ADDR")
        {
            is_known |= !clue.seen.is_projects;
            clue.service = Service::Platform;
            clue.credential = Some("token");
        }
        if !is_known {
            let what = "a token of Vault";
            self.keys.push(KeyAlone { what, seen });
        }
    }

    /// Notes a login at a platform: it reaches all that its account owns.
    pub(crate) fn login(&mut self, host: &str) {
        let seen = self.seen(None, "token");
        self.push(Clue {
            host: Host::parse(host),
            port: 443,
            service: Service::Platform,
            seen,
            data: StageWords::default(),
            credential: Some("login"),
            has_sibling: false,
            is_own: false,
        });
    }
}

/// Where Terraform runs that has that file; none: it is another's.
fn terraform_dir(file: &str) -> Option<&str> {
    let endings = [
        ".tf",
        ".tf.json",
        ".tfbackend",
        ".tfstate",
        ".tfstate.backup",
        ".tfvars",
        ".tfvars.json",
    ];
    let (dir, name) = file.rsplit_once('/').unwrap_or(("", file));
    let is_its = endings.iter().any(|ending| name.ends_with(ending));
    // What it keeps itself lies one step below.
    let dir = match dir.strip_suffix(".terraform") {
        Some(above) => above.trim_end_matches('/'),
        None => dir,
    };
    is_its.then_some(dir)
}

/// Whether it is the API of a platform that is known here, whatever a file says: not one that a file has named.
#[must_use]
pub fn is_platform(host: &Host) -> bool {
    let mut logins = HOME.iter();
    let is_login =
        logins.any(|(_, format)| matches!(format, Format::Login(own) if *own == host.as_str()));
    is_login || settings::has_token(host) || service::is_cloud(host)
}

/// Files of a home, and what they are.
pub(crate) fn of_home() -> impl Iterator<Item = (&'static Path, Format)> {
    let own = HOME.iter().copied();
    let others = sources::HOME.map(|(path, source)| (path, Format::Source(source)));
    own.chain(others)
        .map(|(path, format)| (Path::new(path), format))
}

/// Directories of a home in which each file, or a file of each directory, is of one kind.
pub(crate) fn dirs_of_home() -> impl Iterator<Item = (&'static str, &'static str, Format)> {
    HOME_DIRS.into_iter().chain(sources::HOME_DIRS)
}

/// What begins the path of a file in each directory of those in a directory.
pub(crate) const EACH: &str = "*/";

/// Whether a file is one of those in a directory of a home.
pub(crate) fn lies_in(file: &Path, dir: &str, inner: &str) -> bool {
    let Ok(below) = file.strip_prefix(dir) else {
        return false;
    };
    let mut steps = below.components();
    let (is_below, inner) = match inner.strip_prefix(EACH) {
        Some(inner) => (steps.next().is_some(), inner),
        None => (true, inner),
    };
    is_below && steps.next().is_some() && steps.as_path() == Path::new(inner)
}

const HOME: [(&str, Format); 54] = [
    (".bashrc", Format::Shell),
    (".bash_profile", Format::Shell),
    (".zshrc", Format::Shell),
    (".zshenv", Format::Shell),
    (".zprofile", Format::Shell),
    (".profile", Format::Shell),
    (".config/fish/config.fish", Format::Shell),
    (".env", Format::Dotenv),
    (".kube/config", Format::Kubeconfig),
    (".talos/config", Format::Kubeconfig),
    (".ssh/config", Format::Ssh),
    (".pgpass", Format::Pgpass),
    (".pg_service.conf", Format::PgService),
    (".my.cnf", Format::MyCnf),
    (".aws/config", Format::Aws),
    (".aws/credentials", Format::Aws),
    (".claude.json", Format::Mcp),
    (".claude/.claude.json", Format::Mcp),
    (".claude/settings.json", Format::Mcp),
    (".claude/settings.local.json", Format::Mcp),
    (".codex/config.toml", Format::Codex),
    (".config/opencode/config.json", Format::Mcp),
    (".config/opencode/opencode.json", Format::Mcp),
    (".config/opencode/opencode.jsonc", Format::Mcp),
    (".config/Code/User/mcp.json", Format::Mcp),
    (".config/VSCodium/User/mcp.json", Format::Mcp),
    (".config/Claude/claude_desktop_config.json", Format::Mcp),
    (".config/zed/settings.json", Format::Mcp),
    (".codeium/windsurf/mcp_config.json", Format::Mcp),
    (".copilot/mcp-config.json", Format::Mcp),
    (".aws/amazonq/mcp.json", Format::Mcp),
    (".kiro/settings/mcp.json", Format::Mcp),
    (".mcp.json", Format::Mcp),
    (".gemini/settings.json", Format::Mcp),
    (".cursor/mcp.json", Format::Mcp),
    (
        ".config/doctl/config.yaml",
        Format::Login("api.digitalocean.com"),
    ),
    (
        ".config/hcloud/cli.toml",
        Format::Login("api.hetzner.cloud"),
    ),
    (".fly/config.yml", Format::Login("api.machines.dev")),
    (
        ".railway/config.json",
        Format::Login("backboard.railway.com"),
    ),
    (
        ".local/share/com.vercel.cli/auth.json",
        Format::Login("api.vercel.com"),
    ),
    (".supabase/access-token", Format::Login("api.supabase.com")),
    (
        ".config/neonctl/credentials.json",
        Format::Login("console.neon.tech"),
    ),
    (
        ".config/netlify/config.json",
        Format::Login("api.netlify.com"),
    ),
    (
        ".config/.wrangler/config/default.toml",
        Format::Login("api.cloudflare.com"),
    ),
    (
        ".config/configstore/firebase-tools.json",
        Format::Login(service::GOOGLE),
    ),
    (
        ".config/gcloud/application_default_credentials.json",
        Format::Login(service::GOOGLE),
    ),
    (".azure/azureProfile.json", Format::Azure),
    (".config/immich/auth.yml", Format::Immich),
    (".gitconfig", Format::Git),
    (".config/git/config", Format::Git),
    (".netrc", Format::Netrc),
    (".npmrc", Format::Npmrc),
    (".vultr-cli.yaml", Format::Login("api.vultr.com")),
    (".render/cli.yaml", Format::Login("api.render.com")),
];

const HOME_DIRS: [(&str, &str, Format); 4] = [
    (".kube/config.d", "", Format::Kubeconfig),
    (".ssh/config.d", "", Format::Ssh),
    (".config/gcloud/configurations", "", Format::Gcloud),
    (".docker/contexts/meta", "meta.json", Format::DockerContext),
];

/// Directories of a home in which files whose names end so are of one kind.
pub(crate) const HOME_ENDINGS: [(&str, &str, Format); 12] = [
    (".kube", ".yaml", Format::Kubeconfig),
    (".kube", ".yml", Format::Kubeconfig),
    ("", ".conf", Format::Vpn),
    ("", ".ovpn", Format::Vpn),
    (".config", ".ovpn", Format::Vpn),
    (".config/openvpn", ".conf", Format::Vpn),
    (".config/openvpn", ".ovpn", Format::Vpn),
    (".config/wireguard", ".conf", Format::Vpn),
    ("Downloads", ".conf", Format::Vpn),
    ("Downloads", ".ovpn", Format::Vpn),
    ("openvpn", ".ovpn", Format::Vpn),
    ("wireguard", ".conf", Format::Vpn),
];

/// The lines of a text with their numbers, but for those that are too long.
fn lines<'t>(sink: &mut Sink, text: &'t str) -> Vec<(usize, &'t str)> {
    let mut kept = Vec::new();
    for (at, line) in text.lines().enumerate() {
        if line.len() > LINE {
            sink.pass_over(Some(at + 1), "a line that is too long");
        } else {
            kept.push((at + 1, line));
        }
    }
    kept
}

/// The pairs of a section, with its line and name.
type IniSection<'t> = (usize, &'t str, Vec<(String, &'t str)>);

/// `[section]`s of `key = value`: the line and name of each, with its pairs. One value a line.
fn sections<'t>(sink: &mut Sink, text: &'t str) -> Vec<IniSection<'t>> {
    let mut all: Vec<IniSection<'t>> = Vec::new();
    for (number, line) in lines(sink, text) {
        let bare = line.trim();
        if let Some(name) = bare
            .strip_prefix('[')
            .and_then(|rest| rest.split(']').next())
        {
            all.push((number, name.trim(), Vec::new()));
        } else if !bare.starts_with(['#', ';'])
            && let Some((key, value)) = bare.split_once('=')
            && let Some((_, _, pairs)) = all.last_mut()
        {
            let value = value.trim().trim_matches('"');
            pairs.push((key.trim().to_ascii_lowercase(), value));
        }
    }
    all
}

fn value<'t>(pairs: &[(String, &'t str)], keys: &[&str]) -> Option<&'t str> {
    let found = pairs.iter().find(|(key, _)| keys.contains(&key.as_str()));
    found.map(|(_, value)| *value)
}

fn words_of(all: &[&str]) -> StageWords {
    said(&all.join(" "))
}

#[cfg(test)]
mod tests;
