//! Logins of commands that say where they are for: forges, Vault, Terraform, Pulumi, Argo CD, MinIO, Stripe. What opens them is not read.

use jsonc_parser::ast::Value;
use saphyr::{Scalar, YamlData};

use crate::dsn::{Dsn, HostPort, host_and_port, scan};
use crate::score::Clue;
use crate::service::{self, Service};
use crate::tokens::{StageWords, said};

use super::json::{Lines, get, object, string, with_root};
use super::yaml::{self, Node, items, load, pairs, text};
use super::{Sink, lines, sections, value};

impl Sink {
    /// A login at a host: it reaches all that its account owns there.
    fn login_at(&mut self, line: usize, key: &str, host: &str, data: StageWords) {
        let bare = host.split_once("://").map_or(host, |(_, rest)| rest);
        let bare = bare.split('/').next().unwrap_or_default();
        let bare = bare.rsplit('@').next().unwrap_or_default();
        let Some(HostPort { host, port }) = host_and_port(bare, 443) else {
            return self.pass_over(Some(line), "an unreadable host");
        };
        let seen = self.seen(Some(line), key);
        self.push(Clue {
            host,
            port,
            service: Service::Platform,
            seen,
            data,
            credential: Some("login"),
            has_sibling: false,
            is_own: false,
        });
    }
}

/// Characters of a value that are looked at, and of one that is a token by itself: a UUID has 36.
const LONG: usize = 64;
const TOKEN: usize = 40;

/// Words of a name whose value opens something.
const OPENING: [&str; 6] = ["token", "key", "secret", "password", "auth", "credential"];

/// Whether the settings of a command hold what logs it in: a value under such a name, or one word alone. Such a command writes its
/// settings without a login, too, and leaves them when it logs out.
pub(super) fn is_in(text: &str) -> bool {
    let mut words = text.split_whitespace();
    let is_one = |word: &str| {
        let word = word.trim_end_matches('=');
        word.len() >= 8 && !word.contains(['{', '=', ':'])
    };
    if words.next().is_some_and(is_one) && words.next().is_none() {
        return true;
    }
    let mut rest = text;
    while let Some(at) = rest.find([':', '=']) {
        let (before, behind) = (rest[..at].trim_end(), &rest[at + 1..]);
        let name = before.trim_end_matches(['"', '\'']);
        let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        let name = name.rsplit(|c| !is_name(c)).next().unwrap_or_default();
        let name = name.to_ascii_lowercase();
        rest = behind;
        let is_opening = OPENING.iter().any(|word| name.contains(word));
        let value = behind.trim_start_matches([' ', '\t', '"', '\'']);
        let is_end = |c: char| c.is_whitespace() || "\"',}]{[#".contains(c);
        // No longer one is looked at: whoever writes the file has a say in how long that takes.
        let value = value.chars().take(LONG).take_while(|c| !is_end(*c));
        let value: String = value.collect();
        let is_set = !["", "null", "~", "true", "false"].contains(&value.as_str());
        // A context's own token stands under the context's name.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        let is_token = value.len() >= TOKEN && value.chars().all(is_plain);
        if (is_set && is_opening) || is_token {
            return true;
        }
    }
    false
}

const NOTHING_SAID: StageWords = StageWords {
    production: None,
    staging: None,
    development: None,
};

fn line(node: &Node<'_>) -> usize {
    node.span.start.line()
}

/// Whether there is something, other than nothing.
fn is_set(node: Option<&Node<'_>>) -> bool {
    node.is_some_and(|node| match &node.data {
        YamlData::Value(Scalar::Null) => false,
        YamlData::Value(Scalar::String(text)) => !text.is_empty(),
        _ => true,
    })
}

/// `hosts.yml` of GitHub's command: by host, who is logged in. The token may be in a keyring.
pub(super) fn gh(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        for (host, login) in pairs(document) {
            let is_in = ["oauth_token", "user", "users"]
                .iter()
                .any(|key| is_set(yaml::get(login, key)));
            if !is_in {
                continue;
            }
            let api = if host == "github.com" || host.ends_with(".ghe.com") {
                format!("api.{host}")
            } else {
                host.to_owned()
            };
            sink.login_at(line(login), "gh", &api, NOTHING_SAID);
        }
    }
}

/// `config.yml` of GitLab's: by host, what opens it.
pub(super) fn glab(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        for (host, login) in yaml::get(document, "hosts").into_iter().flat_map(pairs) {
            let is_in = ["token", "job_token", "user", "is_oauth2"]
                .iter()
                .any(|key| is_set(yaml::get(login, key)));
            if is_in {
                let api = yaml::get(login, "api_host").and_then(text);
                let api = api.filter(|api| !api.is_empty()).unwrap_or(host);
                sink.login_at(line(login), "glab", api, NOTHING_SAID);
            }
        }
    }
}

/// Contexts of Argo CD's command, each with its server.
pub(super) fn argocd(sink: &mut Sink, source: &str) {
    for document in &load(sink, source) {
        for context in items(yaml::get(document, "contexts")) {
            let name = yaml::string(yaml::get(context, "name"));
            let server = yaml::string(yaml::get(context, "server"));
            if !server.is_empty() {
                sink.login_at(line(context), name, server, said(name));
            }
        }
    }
}

/// Connections of usql, by name: an address, or its parts.
pub(super) fn usql(sink: &mut Sink, source: &str) {
    use super::servers::{ServerBlock, block};

    for document in &load(sink, source) {
        for (name, connection) in yaml::get(document, "connections")
            .into_iter()
            .flat_map(pairs)
        {
            let mut settings = ServerBlock::of("connections");
            match text(connection) {
                Some(url) => settings.push(line(connection), name, Some(url)),
                None => {
                    settings.path = format!("connections.{name}");
                    for (key, value) in pairs(connection) {
                        let key = match key {
                            "protocol" | "proto" => "driver",
                            key => key,
                        };
                        let value = yaml::scalar(value);
                        settings.push(line(connection), key, value.as_deref());
                    }
                }
            }
            block(sink, &settings);
        }
    }
}

/// `credentials.tfrc.json`, by host.
pub(super) fn terraform(sink: &mut Sink, source: &str) {
    let lines = Lines::of_text(source);
    with_root(sink, source, |sink, root| {
        let all = object(get(root, "credentials"));
        for login in all.map_or(&[][..], |all| &all.properties) {
            let line = lines.of(login.range.start);
            sink.login_at(line, "credentials", login.name.as_str(), NOTHING_SAID);
        }
    });
}

/// `.terraformrc`: `credentials "host" {`.
pub(super) fn terraformrc(sink: &mut Sink, source: &str) {
    for (line, text) in lines(sink, source) {
        let host = text.trim().strip_prefix("credentials \"");
        if let Some((host, _)) = host.and_then(|rest| rest.split_once('"')) {
            sink.login_at(line, "credentials", host, NOTHING_SAID);
        }
    }
}

/// Accounts of Pulumi, by the address of what keeps the states. A directory here is none.
pub(super) fn pulumi(sink: &mut Sink, source: &str) {
    let lines = Lines::of_text(source);
    with_root(sink, source, |sink, root| {
        let tokens = object(get(root, "accessTokens"));
        for login in tokens.map_or(&[][..], |all| &all.properties) {
            let address = login.name.as_str();
            let is_in = matches!(&login.value, Value::StringLit(text) if !text.value.is_empty());
            if is_in && address.starts_with("http") {
                let line = lines.of(login.range.start);
                sink.login_at(line, "accessTokens", address, NOTHING_SAID);
            }
        }
    });
}

/// Aliases of MinIO's client. It comes with some, of which nobody has the keys.
pub(super) fn minio(sink: &mut Sink, source: &str) {
    let lines = Lines::of_text(source);
    with_root(sink, source, |sink, root| {
        let aliases = object(get(root, "aliases"));
        for alias in aliases.map_or(&[][..], |all| &all.properties) {
            let Some(login) = object(Some(&alias.value)) else {
                continue;
            };
            let key = string(get(login, "accessKey"));
            let name = alias.name.as_str();
            let url = string(get(login, "url"));
            if key.is_empty() || key.starts_with("YOUR-") || name == "play" {
                continue;
            }
            let line = lines.of(alias.range.start);
            match scan(url) {
                Dsn::Targets(targets) => {
                    for target in targets {
                        let at = Some(HostPort::new(target.host, target.port));
                        sink.named(line, name, Service::S3, at, said(name));
                    }
                }
                Dsn::Other | Dsn::Unreadable => {
                    sink.pass_over(Some(line), "an unreadable address");
                }
            }
        }
    });
}

/// Profiles of Stripe's command: those with a key for what is live, and those for trying alone.
pub(super) fn stripe(sink: &mut Sink, source: &str) {
    for (line, name, pairs) in sections(sink, source) {
        let has = |key: &str| {
            value(&pairs, &[key]).is_some_and(|value| !value.trim_matches('\'').is_empty())
        };
        let stage = match (has("live_mode_api_key"), has("test_mode_api_key")) {
            (true, _) => "live",
            (false, true) => "test",
            (false, false) => continue,
        };
        sink.login_at(line, name, "api.stripe.com", said(stage));
    }
}

/// Workspaces of Databricks, by profile.
pub(super) fn databricks(sink: &mut Sink, source: &str) {
    for (line, name, pairs) in sections(sink, source) {
        if let Some(host) = value(&pairs, &["host"]).filter(|host| !host.is_empty()) {
            sink.login_at(line, name, host, said(name));
        }
    }
}

/// Credentials of `gsutil`, for Google's stores and Amazon's.
pub(super) fn boto(sink: &mut Sink, source: &str) {
    for (line, name, pairs) in sections(sink, source) {
        let google = [
            "gs_oauth2_refresh_token",
            "gs_service_key_file",
            "gs_access_key_id",
        ];
        for (keys, host) in [
            (&google[..], service::GOOGLE),
            (&["aws_access_key_id"], service::AWS),
        ] {
            if value(&pairs, keys).is_some_and(|value| !value.is_empty()) {
                sink.login_at(line, name, host, NOTHING_SAID);
            }
        }
    }
}

/// A key of a service's account, or a person's login. The project that it is of may say for what.
pub(super) fn google_key(sink: &mut Sink, source: &str) {
    with_root(sink, source, |sink, root| {
        let of = |key: &str| string(get(root, key));
        if of("type").is_empty() {
            return;
        }
        let projects = ["project_id", "quota_project_id"].map(of).join(" ");
        sink.login_at(1, "key", service::GOOGLE, said(&projects));
    });
}
