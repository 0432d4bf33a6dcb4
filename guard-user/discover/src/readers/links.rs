//! What a project is linked to: files in which platforms' commands note the app, site, project or stack that they work on. None of
//! them opens anything by itself; with a login beside it each says what the login is used for.

use std::collections::HashSet;

use crate::dsn::{HostPort, host_and_port};
use crate::host::Host;
use crate::score::Clue;
use crate::service::{AWS, AZURE, GOOGLE, Service};
use crate::tokens::{StageWords, said};

use super::json::{Lines, get as json_get, object, string, with_root};
use super::yaml::{self, get, items, load, pairs, scalar};
use super::{Sink, commands, lines};

/// A kind of file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Link {
    Firebase,
    Fly,
    HerokuApp,
    HerokuProcesses,
    Netlify,
    NetlifySite,
    Pulumi,
    Railway,
    Render,
    Sam,
    Serverless,
    Supabase,
    SupabasePooler,
    SupabaseProject,
    Vercel,
    Wrangler,
    WranglerJson,
}

pub(super) const CLOUDFLARE: &str = "api.cloudflare.com";
pub(super) const FLY: &str = "api.machines.dev";
pub(super) const HEROKU: &str = "api.heroku.com";
pub(super) const NETLIFY: &str = "api.netlify.com";
const PULUMI: &str = "api.pulumi.com";
pub(super) const RAILWAY: &str = "backboard.railway.com";
const RENDER: &str = "api.render.com";
pub(super) const SUPABASE: &str = "api.supabase.com";
pub(super) const VERCEL: &str = "api.vercel.com";

/// Letters of a project's name at Supabase, which its hosts have as well.
const PROJECT: usize = 20;

impl Link {
    /// The kind, by a file's name and that of its directory.
    pub(super) fn of(dir: &[u8], name: &str) -> Option<Self> {
        Some(match (dir, name) {
            (b".vercel", "project.json") => Self::Vercel,
            (b".netlify", "state.json") => Self::NetlifySite,
            (b".temp", "project-ref") => Self::SupabaseProject,
            (b".temp", "pooler-url") => Self::SupabasePooler,
            (b"supabase", "config.toml") => Self::Supabase,
            (_, "netlify.toml") => Self::Netlify,
            (_, ".firebaserc") => Self::Firebase,
            (_, "railway.json" | "railway.toml") => Self::Railway,
            (_, "render.yaml" | "render.yml") => Self::Render,
            (_, "app.json") => Self::HerokuApp,
            (_, "Procfile") => Self::HerokuProcesses,
            (_, "wrangler.toml") => Self::Wrangler,
            (_, "wrangler.json" | "wrangler.jsonc") => Self::WranglerJson,
            (_, "serverless.yml" | "serverless.yaml") => Self::Serverless,
            (_, "samconfig.toml") => Self::Sam,
            _ if name.starts_with("fly.") && name.ends_with(".toml") => Self::Fly,
            _ if name.starts_with("Pulumi.")
                && (name.ends_with(".yaml") || name.ends_with(".yml")) =>
            {
                Self::Pulumi
            }
            _ => return None,
        })
    }

    /// Whether a part of it says nothing.
    pub(super) const fn is_whole(self) -> bool {
        matches!(
            self,
            Self::Firebase
                | Self::HerokuApp
                | Self::NetlifySite
                | Self::Pulumi
                | Self::Render
                | Self::Serverless
                | Self::Vercel
                | Self::WranglerJson
        )
    }

    /// Reads one.
    pub(super) fn read(self, sink: &mut Sink, text: &str) {
        match self {
            Self::Firebase => firebase(sink, text),
            Self::Fly => toml_name(sink, text, "app", FLY),
            Self::HerokuApp => heroku_app(sink, text),
            Self::HerokuProcesses => {
                shared(sink, 1, "app", HEROKU, StageWords::default());
                commands::procfile(sink, text);
            }
            Self::Netlify => shared(sink, 1, "site", NETLIFY, StageWords::default()),
            Self::NetlifySite => with_root(sink, text, |sink, root| {
                if !string(json_get(root, "siteId")).is_empty() {
                    own(sink, 1, "site", NETLIFY, StageWords::default());
                }
            }),
            Self::Pulumi => pulumi(sink, text),
            Self::Railway => shared(sink, 1, "project", RAILWAY, StageWords::default()),
            Self::Render => render(sink, text),
            Self::Sam => sam(sink, text),
            Self::Serverless => serverless(sink, text),
            Self::Supabase => toml_name(sink, text, "project_id", SUPABASE),
            Self::SupabaseProject => supabase_project(sink, text),
            Self::SupabasePooler => supabase_pooler(sink, text),
            Self::Vercel => with_root(sink, text, |sink, root| {
                let name = said(string(json_get(root, "projectName")));
                if !string(json_get(root, "projectId")).is_empty() {
                    own(sink, 1, "project", VERCEL, name);
                }
            }),
            Self::Wrangler => wrangler(sink, text),
            Self::WranglerJson => wrangler_json(sink, text),
        }
    }
}

/// A link that whoever has the project has.
fn shared(sink: &mut Sink, line: usize, key: &str, host: &str, data: StageWords) {
    sink.link(line, key, Host::parse(host), data, false);
}

/// A link that a platform's command made on this machine: somebody was logged in.
fn own(sink: &mut Sink, line: usize, key: &str, host: &str, data: StageWords) {
    sink.link(line, key, Host::parse(host), data, true);
}

/// A remote of git by which Heroku deploys.
pub(super) fn heroku_remote(sink: &mut Sink, line: usize, name: &str, host: &Host) {
    if ["git.heroku.com", "heroku.com"].contains(&host.as_str()) {
        own(sink, line, name, HEROKU, StageWords::default());
    }
}

fn firebase(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        let Some(projects) = object(json_get(root, "projects")) else {
            return;
        };
        for one in &projects.properties {
            let project = said(string(Some(&one.value)));
            let line = source.of(one.range.start);
            shared(sink, line, one.name.as_str(), GOOGLE, project);
        }
    });
}

/// Expo's file has the same name.
fn heroku_app(sink: &mut Sink, text: &str) {
    with_root(sink, text, |sink, root| {
        let mut known = ["addons", "buildpacks", "formation", "stack"].iter();
        if known.any(|key| json_get(root, key).is_some()) {
            let name = said(string(json_get(root, "name")));
            shared(sink, 1, "app", HEROKU, name);
        }
    });
}

fn render(sink: &mut Sink, text: &str) {
    for document in &load(sink, text) {
        for kind in ["services", "databases"] {
            for one in items(get(document, kind)) {
                let name = yaml::string(get(one, "name"));
                let line = one.span.start.line();
                shared(sink, line, name, RENDER, StageWords::default());
            }
        }
    }
}

fn serverless(sink: &mut Sink, text: &str) {
    for document in &load(sink, text) {
        let Some(provider) = get(document, "provider") else {
            continue;
        };
        let of = |key: &str| yaml::string(get(provider, key));
        // A short form is the name alone.
        let name = yaml::text(provider).unwrap_or_else(|| of("name"));
        let line = provider.span.start.line();
        let data = said(of("stage")).and(said(of("profile")));
        let host = match name {
            "aws" => AWS,
            "google" => GOOGLE,
            "azure" => AZURE,
            _ => continue,
        };
        shared(sink, line, "provider", host, data);
    }
}

/// A stack's settings. The file's name says which stack.
fn pulumi(sink: &mut Sink, text: &str) {
    let documents = load(sink, text);
    shared(sink, 1, "stack", PULUMI, StageWords::default());
    for document in &documents {
        let Some(config) = get(document, "config") else {
            continue;
        };
        for (key, value) in pairs(config) {
            let Some(text) = scalar(value) else { continue };
            let host = match key {
                "aws:region" | "aws-native:region" => AWS,
                "gcp:project" => GOOGLE,
                "azure-native:location" | "azure:location" => AZURE,
                _ => continue,
            };
            let line = value.span.start.line();
            let name = key.split_once(':').map_or(key, |(_, name)| name);
            shared(sink, line, name, host, project_of(key, &text));
        }
    }
}

fn project_of(key: &str, value: &str) -> StageWords {
    match key {
        "gcp:project" => said(value),
        _ => StageWords::default(),
    }
}

/// The project that `supabase link` noted: its API, and its database.
fn supabase_project(sink: &mut Sink, text: &str) {
    let project = text.trim();
    let is_name = project.len() == PROJECT && project.bytes().all(|byte| byte.is_ascii_lowercase());
    if !is_name {
        sink.pass_over(Some(1), "an unreadable project");
        return;
    }
    own(sink, 1, "project-ref", SUPABASE, StageWords::default());
    let host = Host::parse(&format!("db.{project}.supabase.co"));
    supabase_database(sink, "project-ref", HostPort::new(host, 5432));
}

/// What `supabase link` noted of the way to the project's database. A placeholder stands for the password.
fn supabase_pooler(sink: &mut Sink, text: &str) {
    let (_, after) = text.trim().rsplit_once('@').unwrap_or_default();
    let at = after.split(['/', '?']).next().unwrap_or_default();
    match host_and_port(at, 5432) {
        Some(at) => supabase_database(sink, "pooler-url", at),
        None => sink.pass_over(Some(1), "an unreadable address"),
    }
}

fn supabase_database(sink: &mut Sink, key: &str, at: HostPort) {
    let seen = sink.seen(Some(1), key);
    sink.push(Clue {
        host: at.host,
        port: at.port,
        service: Service::Postgres,
        seen,
        data: StageWords::default(),
        credential: None,
        has_sibling: true,
        is_own: false,
    });
}

/// The file's own name of what it is for, at its top.
fn toml_name(sink: &mut Sink, text: &str, key: &str, host: &str) {
    let all = toml(sink, text);
    if let Some(one) = all
        .iter()
        .find(|one| one.section.is_empty() && one.key == key)
    {
        shared(sink, one.line, key, host, said(one.value));
    }
}

/// A worker, and its environments.
fn wrangler(sink: &mut Sink, text: &str) {
    let mut known: HashSet<&str> = HashSet::new();
    for one in toml(sink, text) {
        let environment = one.section.strip_prefix("env.");
        let environment = environment.map(|rest| rest.split('.').next().unwrap_or(rest));
        match (one.section, environment) {
            ("", _) if one.key == "name" => {
                shared(sink, one.line, "name", CLOUDFLARE, said(one.value));
            }
            (_, Some(name)) if known.insert(name) => {
                shared(sink, one.line, name, CLOUDFLARE, StageWords::default());
            }
            _ => {}
        }
    }
}

fn wrangler_json(sink: &mut Sink, text: &str) {
    let source = Lines::of_text(text);
    with_root(sink, text, |sink, root| {
        let name = string(json_get(root, "name"));
        if !name.is_empty() {
            shared(sink, 1, "name", CLOUDFLARE, said(name));
        }
        let environments = object(json_get(root, "env"));
        for one in environments.map_or(&[][..], |all| &all.properties) {
            let line = source.of(one.range.start);
            shared(
                sink,
                line,
                one.name.as_str(),
                CLOUDFLARE,
                StageWords::default(),
            );
        }
    });
}

/// `[prod.deploy.parameters]`, with the stack and its region.
fn sam(sink: &mut Sink, text: &str) {
    let all = toml(sink, text);
    for one in all.iter().filter(|one| one.key == "region") {
        if sink.is_full() {
            return;
        }
        let beside = |key: &str| {
            let mut same = all.iter().filter(|other| other.section == one.section);
            same.find(|other| other.key == key)
                .map_or("", |other| other.value)
        };
        let data = said(beside("stack_name")).and(said(beside("profile")));
        let name = one.section.split('.').next().unwrap_or("default");
        shared(sink, one.line, name, AWS, data);
    }
}

/// A text in TOML, or the head of a table without key and value.
struct TomlText<'t> {
    line: usize,
    section: &'t str,
    key: &'t str,
    value: &'t str,
}

/// `key = "value"`, one a line. What goes over several is skipped, and says nothing here.
fn toml<'t>(sink: &mut Sink, text: &'t str) -> Vec<TomlText<'t>> {
    let mut all = Vec::new();
    let (mut section, mut long) = ("", None);
    for (line, text) in lines(sink, text) {
        let bare = text.trim();
        if let Some(quotes) = long {
            if bare.contains(quotes) {
                long = None;
            }
            continue;
        }
        if let Some(name) = bare.strip_prefix('[') {
            let name = name.trim_start_matches('[');
            section = name.split(']').next().unwrap_or_default().trim();
            all.push(TomlText {
                line,
                section,
                key: "",
                value: "",
            });
            continue;
        }
        let Some((key, value)) = bare.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim().trim_matches('"'), value.trim());
        long = ["\"\"\"", "'''"]
            .into_iter()
            .find(|quotes| value.starts_with(quotes) && !value[quotes.len()..].contains(quotes));
        let quote = value
            .chars()
            .next()
            .filter(|quote| ['"', '\''].contains(quote));
        let inner = quote.and_then(|quote| value[1..].split_once(quote));
        if let (None, Some((value, _))) = (long, inner) {
            all.push(TomlText {
                line,
                section,
                key,
                value,
            });
        }
    }
    all
}
