//! What command line clients keep: git, netrc, npm, gcloud, Immich's.

use crate::dsn::{Dsn, HostPort, host_alone, scan};
use crate::host::Host;
use crate::service::{self, Service};
use crate::tokens::said;

use super::links::heroku_remote;
use super::{Sink, lines, sections, value};

/// Settings of git: where a push goes, and what stands for the beginning of an address.
pub(super) fn git(sink: &mut Sink, text: &str) {
    for (line, name, pairs) in sections(sink, text) {
        let is_instead = value(&pairs, &["insteadof", "pushinsteadof"]).is_some();
        if let Some(url) = name.strip_prefix("url ").filter(|_| is_instead) {
            remote(sink, line, "insteadOf", url.trim_matches('"'));
            continue;
        }
        let Some(name) = name.strip_prefix("remote ") else {
            continue;
        };
        let name = name.trim_matches('"');
        let urls = pairs
            .iter()
            .filter(|(key, _)| ["url", "pushurl"].contains(&key.as_str()));
        for (_, url) in urls {
            remote(sink, line, name, url);
        }
    }
}

fn remote(sink: &mut Sink, line: usize, name: &str, url: &str) {
    let (host, port, service, has_password) = match scan(url) {
        Dsn::Targets(mut targets) if targets.len() == 1 => {
            let target = targets.remove(0);
            let service = match target.service {
                Service::Ssh if !is_gits(url) => Service::Ssh,
                _ => Service::Git,
            };
            (target.host, target.port, service, target.has_password)
        }
        Dsn::Unreadable => return sink.pass_over(Some(line), "an unreadable address"),
        // `user@host:path`; what has a slash before its colon is a file.
        _ => match url.split_once(':') {
            Some((at, _)) if at.contains('@') && !at.contains('/') => {
                let host = at.rsplit('@').next().unwrap_or_default();
                let service = if is_gits(url) {
                    Service::Git
                } else {
                    Service::Ssh
                };
                match host_alone(host, 22) {
                    Some(HostPort { host, port }) => (host, port, service, false),
                    None => return sink.pass_over(Some(line), "an unreadable host"),
                }
            }
            _ => return,
        },
    };
    if let Some(host) = &host {
        heroku_remote(sink, line, name, host);
    }
    let at = Some(HostPort::new(host, port));
    let clue = sink.named(line, name, service, at, said(""));
    if let Some(clue) = clue
        && service == Service::Git
    {
        // A forge is where work goes every day; who deploys by a push calls the remote so.
        clue.credential = has_password.then_some("password");
    }
}

/// What git keeps in place of asking: an address with a password on each line.
pub(super) fn git_credentials(sink: &mut Sink, text: &str) {
    for (line, url) in lines(sink, text) {
        if !url.trim().is_empty() {
            remote(sink, line, "credential", url.trim());
        }
    }
}

/// Forges know one user.
fn is_gits(url: &str) -> bool {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.starts_with("git@")
}

/// `machine HOST login USER password WORD`, on one line or several.
pub(super) fn netrc(sink: &mut Sink, text: &str) {
    let lines = lines(sink, text);
    let mut words = lines
        .iter()
        .filter(|(_, line)| !line.trim_start().starts_with('#'))
        .flat_map(|(number, line)| line.split_whitespace().map(|word| (*number, word)));
    while let Some((line, word)) = words.next() {
        match word {
            "machine" => {
                let Some((_, host)) = words.next() else {
                    return;
                };
                let Some(host) = Host::parse(host) else {
                    sink.pass_over(Some(line), "an unreadable host");
                    continue;
                };
                let service = match host.as_str() {
                    "api.heroku.com" => Service::Platform,
                    _ => Service::Http,
                };
                let at = Some(HostPort::new(Some(host), 443));
                sink.named(line, "machine", service, at, said(""));
            }
            // What follows is somebody's secret, whatever it says.
            "login" | "password" | "account" => {
                words.next();
            }
            // Its lines may say anything.
            "macdef" => return sink.pass_over(Some(line), "a macro, and what is behind it"),
            _ => {}
        }
    }
}

/// Registries of npm, and whether there is a token for one.
pub(super) fn npmrc(sink: &mut Sink, text: &str) {
    for (line, text) in lines(sink, text) {
        let Some((key, rest)) = text.split_once('=') else {
            continue;
        };
        let (key, rest) = (key.trim(), rest.trim());
        if key.starts_with(['#', ';']) {
            continue;
        }
        if key == "registry" || key.ends_with(":registry") {
            registry(sink, line, "registry", rest);
        } else if let Some(registry) = key.strip_prefix("//")
            && ["_authToken", "_auth", "_password"]
                .iter()
                .any(|end| key.ends_with(end))
        {
            let at = registry.split(['/', ':']).next().unwrap_or_default();
            let at = host_alone(at, 443);
            sink.named(line, "token", Service::Http, at, said(""));
        }
    }
}

/// Where packages come from, and are published to.
pub(super) fn registry(sink: &mut Sink, line: usize, key: &str, url: &str) {
    match scan(url) {
        Dsn::Targets(targets) => {
            for target in targets {
                let service = match target.service {
                    Service::Http => Service::Http,
                    _ => Service::Git,
                };
                let at = Some(HostPort::new(target.host, target.port));
                let clue = sink.named(line, key, service, at, target.data);
                if let Some(clue) = clue {
                    clue.credential = target.has_password.then_some("password");
                }
            }
        }
        Dsn::Other => {}
        Dsn::Unreadable => sink.pass_over(Some(line), "an unreadable address"),
    }
}

/// Indexes of pip: one, and others beside it.
pub(super) fn pip(sink: &mut Sink, text: &str) {
    for (line, _, pairs) in sections(sink, text) {
        let urls = pairs.iter().filter(|(key, _)| {
            [
                "index-url",
                "index_url",
                "extra-index-url",
                "extra_index_url",
            ]
            .contains(&key.as_str())
        });
        for (key, urls) in urls {
            // What is no address belongs to the one before it.
            if urls.split_whitespace().any(|url| !url.contains("://")) {
                sink.pass_over(Some(line), "an unreadable address");
                continue;
            }
            for url in urls.split_whitespace() {
                registry(sink, line, key, url);
            }
        }
    }
}

/// Registries of cargo, and what stands in their place.
pub(super) fn cargo(sink: &mut Sink, text: &str) {
    for (line, name, pairs) in sections(sink, text) {
        let Some(name) = ["registries.", "source."]
            .iter()
            .find_map(|kind| name.strip_prefix(kind))
        else {
            continue;
        };
        if let Some(url) = value(&pairs, &["index", "registry"]) {
            let url = url.split('"').next().unwrap_or_default();
            registry(sink, line, name, url.strip_prefix("sparse+").unwrap_or(url));
        }
    }
}

/// Home Assistant's own settings: where it answers, and where it keeps what was.
pub(super) fn home_assistant(sink: &mut Sink, text: &str) {
    let service = Service::Home("home-assistant");
    for (line, text) in lines(sink, text) {
        let Some((key, value)) = text.trim().split_once(':') else {
            continue;
        };
        let value = value.trim().trim_matches(['"', '\'']);
        let is_own = ["internal_url", "external_url"].contains(&key);
        if !is_own && key != "db_url" {
            continue;
        }
        match scan(value) {
            Dsn::Targets(targets) => {
                for target in targets {
                    let at = Some(HostPort::new(target.host, target.port));
                    let service = if is_own { service } else { target.service };
                    let clue = sink.named(line, key, service, at, target.data);
                    if let Some(clue) = clue {
                        clue.has_sibling = false;
                        clue.credential = target.has_password.then_some("password");
                    }
                }
            }
            // In another file, as `!secret` has it.
            Dsn::Other => {}
            Dsn::Unreadable => sink.pass_over(Some(line), "an unreadable address"),
        }
    }
}

/// A configuration of gcloud: an account, and the project that is meant.
pub(super) fn gcloud(sink: &mut Sink, text: &str) {
    for (line, name, pairs) in sections(sink, text) {
        if name != "core" || value(&pairs, &["account"]).is_none() {
            continue;
        }
        let data = said(value(&pairs, &["project"]).unwrap_or_default());
        let at = Some(HostPort::new(Host::parse(service::GOOGLE), 443));
        let clue = sink.named(line, "project", Service::Platform, at, data);
        if let Some(clue) = clue {
            clue.has_sibling = false;
        }
    }
}

/// Where Immich's client is logged in, as its versions name it, and a key beside it.
pub(super) fn immich(sink: &mut Sink, text: &str) {
    for (line, text) in lines(sink, text) {
        let names = ["url:", "instanceUrl:"];
        let Some(url) = names.iter().find_map(|name| text.strip_prefix(name)) else {
            continue;
        };
        match scan(url.trim().trim_matches(['"', '\''])) {
            Dsn::Targets(targets) => {
                for target in targets {
                    let at = Some(HostPort::new(target.host, target.port));
                    let clue = sink.named(line, "url", Service::Home("immich"), at, target.data);
                    if let Some(clue) = clue {
                        // It is the only one: there is no list of them.
                        clue.has_sibling = false;
                    }
                }
            }
            Dsn::Other | Dsn::Unreadable => sink.pass_over(Some(line), "an unreadable address"),
        }
    }
}
